"""The page in a browser: sliders, links, the fit, strangers' names, narrow screens, no network."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import started
from chromium import Browser
from exports import saved
from extended import draw, joined, made

from surrogates.export import html
from surrogates.model.loaded import LoadedSurrogate
from surrogates.model.parts import Domain, ErrorBars
from surrogates.model.radial import Joined, Monomials
from surrogates.model.surrogate import Surrogate

EVIL = "</script><img src=x onerror=alert(1)>"
N_IN, N_OUT = 4, 24
TIMES = [0.5 * (i // 2) for i in range(N_OUT)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from started()


def module(*, n_in: int = N_IN, n_out: int = N_OUT, weights: bool = False) -> Surrogate:
    """A smooth surrogate of the box (1, 2)^n_in; with weights, of those that sum to one."""
    features = joined("ode linear", n_in)
    Y = 1 + np.random.default_rng(1).random((300, n_in))
    if weights:
        Y /= Y.sum(axis=1, keepdims=True)
    bars = ErrorBars(
        leverage=draw(features.width + 1, features.width + 1, seed=7) / 20,
        floor=0.5,
        sigma=0.02 + 0.01 * draw(n_out, seed=8).abs(),
    )
    W = draw(n_out, features.width + 1, seed=3)
    return Surrogate(features, W, Y.mean(0), Y.std(0), Domain.of(Y), bars)


def loaded(folder: Path, surrogate: Surrogate, **metadata) -> LoadedSurrogate:
    n_out = len(surrogate.c)
    about = {"coordinates": {"time": TIMES, "x1": [0.1, 0.9] * (n_out // 2)}} if n_out == 24 else {}
    return saved(surrogate, folder / "s.pt", **{**about, **metadata})


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[LoadedSurrogate, Path]:
    """A surrogate of curves over time at two places, and its page."""
    folder = tmp_path_factory.mktemp("page")
    surrogate = loaded(folder, module())
    html.save(surrogate, folder / "s.html")
    return surrogate, folder / "s.html"


@pytest.fixture(scope="module")
def relation(tmp_path_factory) -> tuple[LoadedSurrogate, Path]:
    """One whose 20 parameters sum to one, and its page."""
    folder = tmp_path_factory.mktemp("relation")
    surrogate = loaded(folder, module(n_in=20, weights=True))
    html.save(surrogate, folder / "s.html")
    return surrogate, folder / "s.html"


def opened(browser: Browser, path: Path, fragment: str = "", width: int = 1400) -> None:
    browser.resize(width, 844)
    browser.open(path, fragment)
    browser.wait("window.page && page.now && !page.waiting")
    assert browser.complaints == []


def setting(browser: Browser) -> np.ndarray:
    return np.array(browser.evaluate("Array.from(page.state.y)"))


def test_a_slider_moves_the_curves_and_keys_move_the_slider(browser, written):
    surrogate, path = written
    opened(browser, path)
    before = setting(browser)
    browser.evaluate(
        "(s => { s.value = 700; s.dispatchEvent(new Event('input')); })"
        "(document.querySelector('#parameter-1-slider'))"
    )
    browser.wait("!page.waiting")
    y = setting(browser)
    assert y[1] != before[1] and (np.delete(y, 1) == np.delete(before, 1)).all()
    drawn = browser.evaluate("page.charts[0].plot.data.map(column => Array.from(column))")
    c, ends = surrogate.predict(y), surrogate.predict_interval(y, 0.95)
    assert np.allclose(drawn[0], TIMES[::2])
    for place in (0, 1):
        for column, values in zip(drawn[1 + 3 * place :][:3], (*ends, c), strict=True):
            np.testing.assert_allclose(column, values[place::2], rtol=1e-12)
    browser.evaluate("document.querySelector('#parameter-2-slider').focus()")
    browser.press("ArrowRight", code=39)
    browser.wait(f"page.state.y[2] > {y[2]!r}")
    assert browser.evaluate("document.activeElement.getAttribute('aria-label')") == "y2, m"


def test_every_control_is_reached_by_the_tab_key_and_has_a_name(browser, written):
    opened(browser, written[1])
    seen = []
    for _ in range(60):
        browser.press("Tab", code=9)
        seen.append(
            browser.evaluate(
                "(e => e === document.body ? '' : e.id || e.className || e.tagName)"
                "(document.activeElement)"
            )
        )
    for wanted in ("skip", "pin", "copy-link", "parameter-0", "parameter-3-slider", "output"):
        assert wanted in seen, wanted
    assert seen.index("pin") < seen.index("parameter-0") < seen.index("output")
    nameless = browser.evaluate(
        "[...document.querySelectorAll('button, input, select, textarea')].filter(e =>"
        " e.offsetParent && !(e.getAttribute('aria-label') || e.labels?.length"
        " || e.textContent.trim())).map(e => e.outerHTML)"
    )
    assert nameless == []


def test_the_warning_names_the_parameter_that_is_outside(browser, written):
    _, path = written
    opened(browser, path)
    text = "document.getElementById('warning').textContent"
    assert browser.evaluate(text) == ""
    browser.evaluate(
        "(n => { n.value = '2.5'; n.dispatchEvent(new Event('change')); })"
        "(document.getElementById('parameter-3'))"
    )
    browser.wait(f"{text} !== ''")
    found = browser.evaluate(text)
    assert "y3 is 2.5, in training it was" in found and "y2" not in found
    assert browser.evaluate("document.getElementById('warning').getAttribute('aria-live')")
    browser.evaluate("document.getElementById('reset').click()")
    browser.wait(f"{text} === ''")


def test_a_link_restores_the_setting_to_the_last_bit(browser, written):
    _, path = written
    opened(browser, path)
    browser.evaluate("document.getElementById('random').click()")
    browser.evaluate("document.getElementById('pin').click()")
    browser.evaluate("document.getElementById('random').click(); page.choose(5)")
    y, pinned = setting(browser), browser.evaluate("Array.from(page.state.pins[0].point.y)")
    fragment = browser.evaluate("page.fragment()")
    opened(browser, path, fragment)
    assert (setting(browser) == y).all()
    assert browser.evaluate("Array.from(page.state.pins[0].point.y)") == pinned
    assert browser.evaluate("page.state.output") == 5
    opened(browser, path, "#y=1,2")
    assert "not of this surrogate" in browser.evaluate(
        "document.getElementById('toast').textContent"
    )


def test_settings_stand_side_by_side_and_are_copied(browser, written):
    surrogate, path = written
    opened(browser, path)
    for _ in range(2):
        browser.evaluate("document.getElementById('random').click()")
        browser.evaluate("document.getElementById('pin').click()")
    browser.evaluate("document.getElementById('reset').click()")
    browser.wait("document.querySelectorAll('#settings thead th').length === 4")
    rows = [line.split("\t") for line in browser.evaluate("page.table()").split("\n")]
    assert rows[0] == ["", "unit", "current", "A", "B", "std"]
    values = np.array([row[2:5] for row in rows[1:]], float)
    Y, C = values[:N_IN].T, values[N_IN:].T
    right = surrogate.predict(Y)
    np.testing.assert_allclose(C, right, rtol=0, atol=1e-12 * np.abs(right).max())
    copied = json.loads(browser.evaluate("JSON.stringify(page.values())"))
    assert list(copied["parameters"].values()) == Y[0].tolist()
    browser.evaluate(
        "document.querySelector('#settings button[aria-label=\"Remove setting A\"]').click()"
    )
    browser.wait("document.querySelectorAll('#settings thead th').length === 3")
    assert browser.evaluate("page.state.pins.map(pin => pin.letter)") == ["B"]


def given(browser: Browser, text: str) -> str:
    """Paste a table of data, and return what the page says of it."""
    browser.evaluate(f"page.data.read({json.dumps(text)})")
    said: str = browser.evaluate("page.data.message.textContent")
    return said


def fitted(browser: Browser) -> dict:
    browser.evaluate("page.data.fit()")
    found = browser.evaluate(
        "({...page.data.result, y: [...page.data.result.y],"
        " error: [...page.data.result.error], still: [...page.data.result.still]})"
    )
    return dict(found)


def test_a_fit_recovers_y_of_data_without_noise(browser, written):
    surrogate, path = written
    opened(browser, path)
    right = np.array([1.3, 1.8, 1.1, 1.6])
    c = surrogate.predict(right)
    names = surrogate.metadata["c_names"]
    table = {
        "names": ",".join(names) + "\n" + ",".join(map(repr, c.tolist())),
        "list": "name;value\n" + "\n".join(f"{n};{v!r}" for n, v in zip(names, c, strict=True)),
        "coordinates": "x1\ttime\tvalue\tstd\n"
        + "\n".join(f"{(0.1, 0.9)[i % 2]}\t{TIMES[i]}\t{v!r}\t0.1" for i, v in enumerate(c)),
    }
    for what, text in table.items():
        assert given(browser, text).startswith("24 of 24 observables have data"), what
        browser.evaluate("document.getElementById('reset').click()")
        found = fitted(browser)
        np.testing.assert_allclose(found["y"], right, rtol=1e-8, err_msg=what)
        assert found["chi2"] < 1e-10 and found["freedom"] == 20
    s = np.hypot(0.1, surrogate.predict_std(right))
    J = surrogate.jacobian(right) / s[:, None]
    np.testing.assert_allclose(found["error"], np.sqrt(np.diag(np.linalg.inv(J.T @ J))), rtol=1e-3)


def test_a_fit_of_noisy_data_is_a_minimum_within_the_bounds(browser, written):
    surrogate, path = written
    opened(browser, path)
    right = np.array([1.95, 1.5, 1.02, 1.5])
    c = surrogate.predict(right) + 0.3 * np.random.default_rng(2).standard_normal(N_OUT)
    names = surrogate.metadata["c_names"]
    given(
        browser,
        "name,value,std\n" + "\n".join(f"{n},{v!r},0.3" for n, v in zip(names, c, strict=True)),
    )
    found = fitted(browser)
    y, still = np.array(found["y"]), found["still"]
    lower, upper = surrogate.module.lower.numpy(), surrogate.module.upper.numpy()
    assert ((lower - 1e-12 <= y) & (y <= upper + 1e-12)).all()
    s = np.hypot(0.3, surrogate.predict_std(y))
    residual = (surrogate.predict(y) - c) / s
    assert found["chi2"] == pytest.approx(float(residual @ residual), rel=1e-2)
    slope = (surrogate.jacobian(y) / s[:, None]).T @ residual
    scale = np.abs(surrogate.jacobian(y) / s[:, None]).sum()
    free = [j for j in range(N_IN) if j not in still]
    assert np.abs(slope[free]).max() < 1e-3 * scale
    for j in still:
        assert (slope[j] > 0) == (abs(y[j] - lower[j]) < abs(y[j] - upper[j]))


def test_a_fit_finds_the_best_of_several_minima(browser, tmp_path):
    """c is even in y0 - 1.5, but for a small part: from the centre either side looks as good."""
    features = Joined([Monomials(2, torch.tensor([[0, 0]]))], torch.zeros(1, 2), torch.ones(1, 2))
    Y = 1 + np.random.default_rng(1).random((300, 2))
    W = torch.tensor([[0.02, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.03, 0.5, 1.0, 0.0]])
    bars = ErrorBars(leverage=torch.zeros(1, 4), floor=1.0, sigma=1e-3 * torch.ones(3))
    shape = np.full(2, 1.5), np.full(2, 0.25), Domain.of(Y), bars
    surrogate = loaded(tmp_path, Surrogate(features, W.double(), *shape))
    html.save(surrogate, tmp_path / "s.html")
    opened(browser, tmp_path / "s.html")
    for right in ([1.1, 1.7], [1.9, 1.7]):
        c = surrogate.predict(right).tolist()
        given(browser, "name,value\n" + "\n".join(f"c{i},{v!r}" for i, v in enumerate(c)))
        np.testing.assert_allclose(fitted(browser)["y"], right, rtol=1e-7)


def test_bad_data_are_refused_in_a_line_that_says_what_would_be_right(browser, written):
    opened(browser, written[1])
    for text, words in {
        "a,b\n1,2": "The table has the columns a, b: expected columns of observables' names",
        "name,value\nc99,1": "Line 2: there is no observable c99.",
        "name,value\nc1,x": "Line 2: c1 has no number as its value, but x.",
        "name,value\nc1,1\nc1,2": "Line 3: c1 is there twice.",
        "time,x1,value\n0.25,0.1,3": "Line 2: there is no observable time 0.25, x1 0.1.",
        "time,value\n0.5,3": "2 observables lie at time 0.5: add columns among time, x1",
        "name,value,std\nc1,1,-1": "Line 2: std must be above 0.",
        "c1": "no row below its header",
    }.items():
        assert words in given(browser, text), text
        assert browser.evaluate("page.state.data") is None


def test_parameters_of_a_relation_keep_it(browser, relation):
    surrogate, path = relation
    opened(browser, path)
    assert "The parameters add up to 1." in browser.evaluate(
        "document.getElementById('relation').textContent"
    )
    lower, upper = surrogate.module.lower.numpy(), surrogate.module.upper.numpy()
    start = setting(browser)
    browser.evaluate(f"page.state.held.add(4); page.move(2, {float(upper[2])!r})")
    y = setting(browser)
    assert y[2] == upper[2] and y[4] == start[4] and abs(y.sum() - 1) < 1e-12
    assert surrogate.in_domain(y)
    moved = np.delete(y - start, [2, 4])
    assert (moved < 0).all()
    # Beyond what the others can make good, the parameter goes only as far as they can.
    browser.evaluate("for (let i = 3; i < 20; i++) page.state.held.add(i); page.move(0, 0.9)")
    y = setting(browser)
    assert abs(y.sum() - 1) < 1e-9 and y[0] < 0.9 and y[1] == pytest.approx(lower[1])
    for _ in range(5):
        browser.evaluate("page.state.held.clear(); document.getElementById('random').click()")
        y = setting(browser)
        assert surrogate.in_domain(y) and abs(y.sum() - 1) < 1e-12
    browser.evaluate(
        "(s => { s.value = 'Y19'; s.dispatchEvent(new Event('input')); })"
        "(document.getElementById('search'))"
    )
    shown = "[...document.querySelectorAll('.parameter')].filter(e => e.checkVisibility()).length"
    assert browser.evaluate(shown) == 1


def test_on_paper_all_parameters_have_their_values(browser, relation):
    _, path = relation
    opened(browser, path)
    browser.evaluate("document.getElementById('random').click()")
    browser.wait("!page.waiting")
    y = setting(browser)
    fields = "[...document.querySelectorAll('.parameter input[type=text]')]"
    shown = f"{fields}.filter(e => e.checkVisibility({{contentVisibilityAuto: true}})).length"
    before = browser.evaluate(shown)
    browser.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.evaluate(shown) == len(y) > before
    values = browser.evaluate(f"{fields}.map(e => Number(e.value))")
    np.testing.assert_allclose(values, y, rtol=1e-3)
    browser.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert browser.evaluate(shown) == before
    browser.evaluate("document.getElementById('pin').click()")
    browser.call("Emulation.setEmulatedMedia", media="print")
    buttons = "[...document.querySelectorAll('button')].filter(e => e.checkVisibility()"
    left = browser.evaluate(f"{buttons} && !e.matches('.chip, .name')).map(e => e.textContent)")
    browser.call("Emulation.setEmulatedMedia", media="")
    assert left == []


def test_a_prior_determines_what_the_data_leave_open(browser, relation):
    surrogate, path = relation
    opened(browser, path)
    y = np.full(20, 1 / 20)
    given(
        browser,
        "name,value\n"
        + "\n".join(f"c{i},{v!r}" for i, v in enumerate(surrogate.predict(y)[:5].tolist())),
    )
    assert browser.evaluate("page.data.prior.checked")
    found = fitted(browser)
    assert abs(sum(found["y"]) - 1) < 1e-12 and np.isfinite(found["error"]).all()
    assert surrogate.in_domain(np.array(found["y"]))
    browser.evaluate("page.data.prior.checked = false")
    fitted(browser)
    assert "do not determine" in browser.evaluate("page.data.report.textContent")


def test_strangers_names_are_text_and_nothing_else(browser, tmp_path):
    about = {
        "problem": EVIL,
        "y_names": [EVIL, "__proto__", "a&b;", "<b>"],
        "c_names": [EVIL, *(f"<i>{i}" for i in range(N_OUT - 1))],
        "y_units": [EVIL] * N_IN,
        "c_units": [EVIL] * N_OUT,
        "coordinates": {EVIL: [float(i) for i in range(N_OUT)], "__proto__": TIMES},
    }
    surrogate = loaded(tmp_path, module(), **about)
    html.save(surrogate, tmp_path / "s.html")
    opened(browser, tmp_path / "s.html")
    assert EVIL in browser.evaluate("document.getElementById('summary').textContent")
    assert browser.evaluate("document.querySelectorAll('img, i').length") == 0
    assert browser.evaluate("document.querySelectorAll('script').length") == 4
    label = "document.querySelector('label[for=parameter-0]').firstChild.textContent"
    assert browser.evaluate(label) == EVIL


def test_nothing_leaves_the_page(browser, written):
    _, path = written
    opened(browser, path)
    assert {url.split(":")[0] for url in browser.requests} == {"file"}
    assert len(browser.requests) == 1
    for attempt in ("fetch('http://127.0.0.1:9/')", "import('data:text/javascript,1')"):
        refused = browser.evaluate(f"{attempt}.then(() => false, () => true)")
        assert refused, attempt
    assert any("Content Security Policy" in line for line in browser.complaints)
    ran = browser.evaluate(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        " document.body.append(s); document.body.insertAdjacentHTML('beforeend',"
        " '<button id=b onclick=\"window.ran = 2\">b</button>');"
        " document.getElementById('b').click(); return window.ran ?? 0; })()"
    )
    assert ran == 0


def picture(content: bytes) -> np.ndarray:
    """Decode a .png of 8 bits per channel, (height, width, channels)."""
    at, data, about = 8, b"", b""
    while at < len(content):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        body = content[at + 8 : at + 8 + size]
        about, data = (body if kind == b"IHDR" else about), data + body * (kind == b"IDAT")
        at += 12 + size
    width, height = (int.from_bytes(about[i : i + 4], "big") for i in (0, 4))
    channels = {2: 3, 6: 4}[about[9]]
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + width * channels)
    return lines


@pytest.mark.parametrize("dark", [False, True])
def test_pictures_are_not_blank(dark, browser, written, tmp_path):
    opened(browser, written[1])
    browser.resize(1400, 900, dark=dark)
    browser.wait("!page.waiting")
    content = browser.screenshot(tmp_path / "page.png")
    assert len(np.unique(picture(content))) > 100
    drawn = browser.evaluate(
        "(c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " const seen = new Set(); for (let i = 0; i < d.length; i += 4)"
        " if (d[i + 3] === 255) seen.add(d.slice(i, i + 3).join()); return seen.size; })"
        "(document.querySelector('.chart canvas'))"
    )
    assert drawn > 20
    back = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (np.mean([int(x) for x in re.findall(r"\d+", back)]) < 60) == dark


@pytest.mark.parametrize("width", [390, 768, 1400])
def test_no_width_needs_sideways_scrolling(width, browser, written, relation, tmp_path):
    for surrogate, path in (written, relation):
        opened(browser, path, width=width)
        browser.evaluate("document.getElementById('pin').click()")
        names = surrogate.metadata["c_names"]
        given(browser, ",".join(names) + "\n" + ",".join(["0.1"] * len(names)))
        fitted(browser)
        browser.wait("!page.waiting")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_outputs_on_grids_are_maps(browser, tmp_path):
    x1, x2 = np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 2, 4))
    coordinates = {"x1": x1.ravel().tolist(), "x2": x2.ravel().tolist()}
    surrogate = loaded(tmp_path, module(n_out=20), coordinates=coordinates)
    html.save(surrogate, tmp_path / "s.html")
    opened(browser, tmp_path / "s.html")
    assert browser.evaluate("page.layout.kind") == "maps"
    grid = browser.evaluate("Array.from(page.layout.panels[0].grid)")
    assert grid == list(range(20))
    browser.evaluate("page.choose(7)")
    browser.evaluate("document.querySelector('.frame canvas').focus()")
    browser.press("ArrowUp", code=38)
    browser.wait("page.state.output === 12")
    colours = browser.evaluate(
        "(c => new Set(new Uint32Array(c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data.buffer)).size)"
        "(document.querySelector('.frame canvas'))"
    )
    assert colours > 10


def test_without_error_bars_there_are_no_bands(browser, tmp_path):
    bars = module()
    features, domain = joined("ode linear", N_IN), Domain.of(1 + draw(300, N_IN).numpy())
    W = torch.cat([bars.W, bars.c[:, None]], dim=1)
    surrogate = loaded(tmp_path, Surrogate(features, W, np.ones(N_IN), np.ones(N_IN), domain))
    html.save(surrogate, tmp_path / "s.html")
    opened(browser, tmp_path / "s.html")
    assert browser.evaluate("page.now.lower === undefined && page.now.std === undefined")
    y = np.array([1.1, 0.9, 1.2, 0.7])
    c = surrogate.predict(y)
    given(browser, "name,value\n" + "\n".join(f"c{i},{v!r}" for i, v in enumerate(c.tolist())))
    np.testing.assert_allclose(fitted(browser)["y"], y, rtol=1e-7)
    assert "residuals\u2019 own scatter" in browser.evaluate(
        "page.data.report.textContent.replace(\"'\", '\u2019')"
    )


def test_a_parameter_without_a_logarithm_is_a_warning_and_no_numbers(browser, tmp_path):
    surrogate = saved(made("ode", False, False, True, True), tmp_path / "s.pt", schema_version=4)
    html.save(surrogate, tmp_path / "s.html")
    opened(browser, tmp_path / "s.html")
    y = setting(browser)
    assert surrogate.in_domain(y) and y[2] == pytest.approx(y[0] * y[1])
    browser.evaluate(f"page.move(0, {1.1 * float(y[0])!r})")
    moved = setting(browser)
    assert moved[2] == pytest.approx(moved[0] * moved[1], rel=1e-9)
    browser.evaluate("page.move(0, -1)")
    browser.wait("!page.waiting")
    assert browser.complaints == [] and (setting(browser)[1:] == moved[1:]).all()
    assert "y0 is \u22121" in browser.evaluate("document.getElementById('warning').textContent")
    assert browser.evaluate("[...page.now.c].every(Number.isNaN)")
