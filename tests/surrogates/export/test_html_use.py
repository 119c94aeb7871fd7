"""The page as people use it: their tables, numbers as they write them, names of all controls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import started
from chromium import Browser
from exports import saved
from extended import draw, joined, made

from surrogates.export import html
from surrogates.model.loaded import LoadedSurrogate
from surrogates.model.parts import Domain, ErrorBars
from surrogates.model.surrogate import Surrogate

N_IN, N_OUT = 3, 6
NAMES = [f"u(s{i // 3}, {0.5 * (i % 3):g})" for i in range(N_OUT)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from started()


def module(n_out: int = N_OUT) -> Surrogate:
    """A smooth surrogate of the box (1, 2)^3."""
    features = joined("ode linear", N_IN)
    bars = ErrorBars(
        leverage=draw(features.width + 1, features.width + 1, seed=7) / 20,
        floor=0.5,
        sigma=0.02 + 0.01 * draw(n_out, seed=8).abs(),
    )
    Y = 1 + np.random.default_rng(1).random((300, N_IN))
    W = draw(n_out, features.width + 1, seed=3)
    return Surrogate(features, W, Y.mean(0), Y.std(0), Domain.of(Y), bars)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[LoadedSurrogate, Path]:
    """A surrogate of two stations at three times, in V, and its page."""
    folder = tmp_path_factory.mktemp("page")
    about = {
        "c_names": NAMES,
        "c_units": ["V"] * N_OUT,
        "coordinates": {"time": [0.0, 0.5, 1.0] * 2, "station": [0.0] * 3 + [1.0] * 3},
    }
    surrogate = saved(module(), folder / "s.pt", **about)
    html.save(surrogate, folder / "s.html")
    return surrogate, folder / "s.html"


def opened(browser: Browser, path: Path) -> None:
    browser.resize(1400, 900)
    browser.open(path)
    browser.wait("window.page && page.now && !page.waiting")
    assert browser.complaints == []


def given(browser: Browser, text: str) -> str:
    """Paste a table of data, and return what the page says of it."""
    browser.evaluate(f"page.data.read({json.dumps(text)})")
    said: str = browser.evaluate("page.data.message.textContent")
    return said


QUOTED = ",".join(f'"{name}"' for name in NAMES)
TABLES = {
    "names in quotes": f"{QUOTED}\n1.5,2,3,4,5,6",
    "names without quotes": f"{','.join(NAMES)}\n1.5,2,3,4,5,6",
    "other blanks": f"{','.join(NAMES).replace(' ', '')}\n1.5,2,3,4,5,6",
    "a byte order mark": "\ufeffname;value\n"
    + "\n".join(f"{n};{v}" for n, v in zip(NAMES, "123456", strict=True)),
    "decimal commas": "name;value;std\n" + "\n".join(f"{n};1,5;0,25" for n in NAMES),
    "rows without quotes": "name,value,std\n" + "\n".join(f"{n},1.5,0.25" for n in NAMES),
    "units": "Time [s]\tStation\tValue [V]\tstd (V)\n0.5\t1\t\u22121.5e0\t0.25\n0\t0\t1.5\t0.25",
    "gaps": "name,value,std\n"
    + "\n".join(f"{n},{v}," for n, v in zip(NAMES, "1,,NaN,NA,5,6".split(","), strict=True)),
}
COUNTS = {"units": 2, "gaps": 3}


@pytest.mark.parametrize("what", TABLES)
def test_tables_are_read_as_people_have_them(what, browser, written):
    opened(browser, written[1])
    count = COUNTS.get(what, N_OUT)
    assert given(browser, TABLES[what]) == f"{count} of {N_OUT} observables have data."
    values = browser.evaluate("[...page.state.data.values].map(v => Number.isNaN(v) ? null : v)")
    sigma = browser.evaluate("[...page.state.data.sigma].map(v => Number.isNaN(v) ? null : v)")
    assert sum(v is not None for v in values) == count
    if what == "units":
        assert values[4] == -1.5 and values[0] == 1.5 and sigma[4] == 0.25
    if what == "decimal commas":
        assert values == [1.5] * N_OUT and sigma == [0.25] * N_OUT
    if what == "gaps":
        assert values == [1, None, None, None, 5, 6] and sigma == [None] * N_OUT
    if "names" in what:
        assert values == [1.5, 2, 3, 4, 5, 6]


def test_tables_that_cannot_be_read_leave_no_data(browser, written):
    opened(browser, written[1])
    for text, words in {
        "name,value\nu(s0,1,5": "Line 2 has 3 cells, and the header 2: put names with commas in",
        "name,value [mV]\nu(s0, 0),1": "The column value [mV] is in mV: expected V.",
        "PK\x03\0\0": "This is no text: save the table as CSV.",
        "name,value\nu(s0, 0),x": "Line 2: u(s0, 0) has no number as its value, but x.",
        "# a note\n\nname,value\nu(s9, 0),1": "Line 4: there is no observable u(s9, 0).",
        "name,value,std\nu(s0, 0),1,inf": "Line 2: std must be above 0.",
        "name,value\nu(s0, 0),NaN": "The table has no numbers",
    }.items():
        given(browser, TABLES["gaps"])
        assert words in given(browser, text), text
        assert browser.evaluate("page.state.data") is None
    assert given(browser, f"{QUOTED},when\n1,2,3,4,5,6,noon").endswith("No observables: when.")


def test_files_are_opened(browser, written):
    opened(browser, written[1])

    def of(content: str, size: str = "") -> str:
        browser.evaluate(
            f"(f => {{ {size}; return page.data.open(f); }})"
            f"(new File([{json.dumps(content)}], 'mine.csv'))"
        )
        said: str = browser.evaluate("page.data.message.textContent")
        return said

    assert of(TABLES["gaps"]) == "3 of 6 observables have data."
    assert browser.evaluate("page.data.text.value") == TABLES["gaps"]
    assert of(" \n") == "mine.csv is empty."
    huge = "Object.defineProperty(f, 'size', {value: 3e7})"
    assert of("x", huge) == "mine.csv has more than 20 MB."
    lines = "\n".join("time,station,value" if not i else f"{i % 3},{i},1" for i in range(200_000))
    assert of(lines) == "Line 3: there is no observable time 2, station 2."


def typed(browser: Browser, field: int, text: str) -> tuple[float, str]:
    """Type into a parameter's field: its value then, and what the page says."""
    browser.evaluate(
        f"(n => {{ n.value = {json.dumps(text)}; n.dispatchEvent(new Event('change')); }})"
        f"(document.getElementById('parameter-{field}'))"
    )
    browser.wait("!page.waiting")
    value: float = browser.evaluate(f"page.state.y[{field}]")
    return value, browser.evaluate("document.getElementById('toast').textContent")


def test_fields_take_numbers_as_people_write_them(browser, written):
    opened(browser, written[1])
    for text, value in {
        "1.5": 1.5,
        "1,25": 1.25,
        "1e-3": 1e-3,
        "\u22120,5": -0.5,
        " 2 ": 2,
    }.items():
        assert typed(browser, 0, text)[0] == value, text
    for text in ("abc", "", "1.2.3", "0x10", "Infinity", "1 000"):
        value, said = typed(browser, 0, text)
        assert value == 2 and "y0 stays as it was: expected a number" in said, text
        assert browser.evaluate("document.getElementById('parameter-0').value") == "2"
    value, said = typed(browser, 0, "1,500")
    assert value == 2 and said.startswith("1,500 may be 1.5 or 1500")
    browser.evaluate("document.getElementById('parameter-0').focus()")
    browser.press("ArrowDown", code=40)
    browser.wait("page.state.y[0] < 2")
    assert browser.evaluate("page.state.y[0]") > 1.97


def test_the_fit_is_reported_with_bars_and_copied(browser, written):
    surrogate, path = written
    opened(browser, path)
    c = surrogate.predict([1.4, 1.5, 1.6]).tolist()
    given(browser, "name;value\n" + "\n".join(f"{n};{v!r}" for n, v in zip(NAMES, c, strict=True)))
    browser.evaluate("page.data.fit()")
    words = browser.evaluate("page.data.report.textContent")
    assert "count as independent" in words and "3 degrees of freedom" in words
    bars = browser.evaluate(
        "[...document.querySelectorAll('.span .band')].map(e => [e.style.left, e.style.width])"
    )
    lower, upper = surrogate.bounds
    found = [[float(x.rstrip("%")) for x in bar] for bar in bars]
    error = np.array(browser.evaluate("[...page.data.result.error]"))
    y = np.array(browser.evaluate("[...page.data.result.y]"))
    ends = 100 * ((y + 1.96 * error * [[-1], [1]]) - lower) / (upper - lower)
    ends = np.clip(ends, 0, 100)
    np.testing.assert_allclose(found, np.stack([ends[0], ends[1] - ends[0]], axis=1), atol=0.01)
    rows = [line.split("\t") for line in browser.evaluate("page.data.fitted()").split("\n")]
    assert rows[0][:4] == ["", "unit", "fitted", "standard error"] and len(rows) == N_IN + 1
    correlation = np.array([row[4:] for row in rows[1:]], float)
    J = surrogate.jacobian(y) / surrogate.predict_std(y)[:, None]
    C = np.linalg.inv(J.T @ J)
    s = np.sqrt(np.diag(C))
    np.testing.assert_allclose(correlation, C / np.outer(s, s), rtol=0, atol=1e-6)
    # Fewer data than parameters.
    given(browser, f"name;value\n{NAMES[0]};{c[0]!r}")
    browser.evaluate("page.data.fit()")
    words = browser.evaluate("page.data.report.textContent")
    assert "degrees" not in words and "not determined" in words and "\u221e" not in words


def test_scattered_places_are_no_curves(browser, tmp_path):
    places = np.random.default_rng(3).random((3, 30)).tolist()
    surrogate = saved(
        module(30), tmp_path / "s.pt", coordinates={f"x{i}": x for i, x in enumerate(places)}
    )
    html.save(surrogate, tmp_path / "s.html")
    opened(browser, tmp_path / "s.html")
    assert browser.evaluate("page.layout.panels.map(p => p.groups.length)") == [1]
    assert browser.evaluate("page.layout.panels[0].label") == "number of the observable"


def test_sensitivities_over_the_range_of_a_logarithm(browser, tmp_path):
    surrogate = saved(made("ode", False, False, True, False), tmp_path / "s.pt", schema_version=4)
    html.save(surrogate, tmp_path / "s.html")
    opened(browser, tmp_path / "s.html")
    browser.evaluate("page.choose(0)")
    browser.wait("!page.waiting")
    lower, upper = surrogate.bounds
    found = browser.evaluate("page.sensitivities.rows.map(r => r.number.textContent)")
    y = np.array(browser.evaluate("[...page.state.y]"))
    right = (
        surrogate.jacobian(y)[0, 4] * (upper - lower)[4]
    )  # beside the relation of the first three
    assert float(found[4].split()[0].replace("\u2212", "-")) == pytest.approx(right, rel=6e-3)
    sizes = browser.evaluate(
        "page.model.logIn.map((_, j) => page.sensitivities.rangeOf(j, page.state.y[j]))"
    )
    np.testing.assert_allclose(sizes[:3], y[:3] * np.log(upper / lower)[:3], rtol=1e-12)
    assert "logarithms" in browser.evaluate(
        "document.getElementById('sensitivity-hint').textContent"
    )


def test_few_observables_stand_side_by_side(browser, written):
    opened(browser, written[1])
    browser.evaluate("document.getElementById('pin').click()")
    browser.wait("document.querySelector('#settings tbody') !== null")
    rows = browser.evaluate(
        "[...document.querySelectorAll('#settings tbody th[scope=row]')]"
        ".map(e => e.firstChild.data)"
    )
    assert rows[:N_OUT] == NAMES


def test_charts_and_sliders_are_told_in_words(browser, written):
    opened(browser, written[1])
    chart = browser.evaluate("document.querySelector('.chart').getAttribute('aria-label')")
    assert chart.startswith("Curves over time: u(s0) ") and chart.endswith(" V")
    assert browser.evaluate("document.querySelector('.chart').getAttribute('role')") == "img"
    text = browser.evaluate(
        "document.getElementById('parameter-0-slider').getAttribute('aria-valuetext')"
    )
    assert text.split()[1] == "m"


def test_a_link_survives_programs_for_mail(browser, written):
    _, path = written
    for fragment in ("#y=1.25,1.5,1.75&c=2", "#y=1.25%2C1.5%2c1.75&c=2"):
        browser.open(path, fragment)
        browser.wait("window.page && page.now && !page.waiting")
        assert browser.evaluate("[...page.state.y]") == [1.25, 1.5, 1.75], fragment
    browser.open(path, "#y=1.25,,1.75")
    browser.wait("window.page && page.now && !page.waiting")
    said = browser.evaluate("document.getElementById('toast').textContent")
    assert said == "This link is not of this surrogate: it takes 3 numbers."


def test_curves_of_pinned_settings_have_their_letters(browser, written):
    opened(browser, written[1])
    browser.evaluate(
        "window.texts = []; (draw => { CanvasRenderingContext2D.prototype.fillText ="
        " function (text, ...at) { texts.push(text); return draw.call(this, text, ...at); }; })"
        "(CanvasRenderingContext2D.prototype.fillText)"
    )
    for _ in range(3):
        browser.evaluate("document.getElementById('random').click(), page.current()")
        browser.evaluate("document.getElementById('pin').click()")
    browser.evaluate("texts.length = 0; document.getElementById('random').click()")
    browser.wait("texts.includes('C')")
    assert (
        browser.evaluate("['A', 'B', 'C'].map(l => texts.filter(t => t === l).length)") == [2] * 3
    )


def test_bars_keep_their_colours_where_the_system_forces_its_own(browser, written):
    opened(browser, written[1])
    browser.call(
        "Emulation.setEmulatedMedia", features=[{"name": "forced-colors", "value": "active"}]
    )
    back = browser.evaluate(
        "getComputedStyle(document.querySelector('.sensitivity .bar')).backgroundColor"
    )
    browser.call("Emulation.setEmulatedMedia", features=[])
    assert back in ("rgb(0, 114, 178)", "rgb(213, 94, 0)")


def test_the_table_of_a_fit_fits_a_narrow_screen(browser, written):
    surrogate, path = written
    opened(browser, path)
    browser.resize(390, 844)
    c = surrogate.predict([1.4, 1.5, 1.6]).tolist()
    given(browser, "name;value\n" + "\n".join(f"{n};{v!r}" for n, v in zip(NAMES, c, strict=True)))
    browser.evaluate("page.data.fit()")
    sizes = browser.evaluate(
        "(e => [e.scrollWidth, e.clientWidth])(document.querySelector('[aria-label^=Fitted]'))"
    )
    assert sizes[0] <= sizes[1]
