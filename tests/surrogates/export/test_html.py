"""The page: its numbers, its parts and its manners, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import started
from chromium import Browser
from exports import saved
from extended import both, draw, every_surrogate, joined, points

from surrogates.errors import InputError
from surrogates.export import html
from surrogates.export.html import pack, write
from surrogates.model.classifier import Classifier
from surrogates.model.parts import Domain, ErrorBars
from surrogates.model.radial import RadialBasis
from surrogates.model.surrogate import Surrogate

# Everything that the page computes at some y, as lists.
RESULTS = """(Y => Y.map(y => {
  const r = page.result(Float64Array.from(y)), plain = a => a && Array.from(a, v => v);
  const found = {c: r.c, std: r.std, lower: r.lower, upper: r.upper,
                 jacobian: page.model.jacobian(r.point)};
  for (const name in found) found[name] = plain(found[name]);
  const out = page.model.outside(Float64Array.from(y));
  return {...found, inside: !out.parameters.length && !out.offFlat};
}))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from started()


def opened(browser: Browser, surrogate, path: Path, fragment: str = "") -> Browser:
    """Write a page, and open it."""
    html.save(surrogate, path)
    browser.resize(1400, 900)
    browser.open(path, fragment)
    assert browser.complaints == []
    return browser


def results(browser: Browser, Y: np.ndarray) -> dict[str, np.ndarray]:
    """What the page computes, by name, (n, ...)."""
    found = browser.evaluate(f"{RESULTS}({json.dumps(Y.tolist())})")
    return {name: np.array([row[name] for row in found], float) for name in found[0]}


@every_surrogate
def test_the_page_computes_what_torch_does(name, browser, tmp_path):
    module, loaded = both(name)
    Y = points(module)
    found = results(opened(browser, loaded, tmp_path / "s.html"), Y)
    right = {
        "c": loaded.predict(Y),
        "std": loaded.predict_std(Y),
        "jacobian": loaded.jacobian(Y),
        "inside": loaded.in_domain(Y),
    }
    right["lower"], right["upper"] = np.moveaxis(loaded.predict_interval(Y, 0.95), 1, 0)
    for what, values in right.items():
        scale = np.abs(values).max(axis=0)
        error = np.abs(found[what].reshape(values.shape) - values)
        assert (error <= 1e-12 * scale).all(), what
    assert 0 < right["inside"].mean() < 1


def test_a_classifier_has_probabilities(browser, tmp_path):
    features = joined("ode gaussian quadratic", 3)
    W = draw(4, features.width + 1, seed=3)
    Y = draw(30, 3, seed=4)
    domain = Domain.of(Y.numpy())
    module = Classifier(features, W, np.zeros(3), np.ones(3), domain, temperature=1.5)
    loaded = saved(module, tmp_path / "s.pt", task="classification", schema_version=4)
    found = results(opened(browser, loaded, tmp_path / "s.html"), Y.numpy())
    np.testing.assert_allclose(found["c"], loaded.probabilities(Y.numpy()), rtol=1e-12)
    J = loaded.jacobian(Y.numpy())
    error = np.abs(found["jacobian"].reshape(J.shape) - J)
    assert (error <= 1e-12 * np.abs(J).max()).all()
    assert browser.evaluate("document.querySelectorAll('.strip').length") == 4


def kriging(n: int = 60, n_out: int = 40) -> Surrogate:
    """A kernel's surrogate of smooth functions, with the error bars of kriging."""
    X, nugget, s = 0.6 * draw(n, 3, seed=1), 1e-8, 1e5
    basis = RadialBasis(X, torch.tensor([0.05, 0.07, 0.06]), "matern52")
    K = basis(X) + nugget * torch.eye(n)
    phases = torch.linspace(0, 3, n_out)
    C = torch.sin(X[:, :1] + phases) * torch.cos(X[:, 1:2] * phases) + X[:, 2:]
    W = torch.cat([torch.linalg.solve(K, C), phases[None]]).T
    inverse = torch.linalg.inv(torch.linalg.cholesky(K)).tril()
    rows = torch.cat([s**0.5 * inverse, 0.1 * draw(3, n, seed=4)])
    bars = ErrorBars(
        leverage=torch.cat([rows, torch.zeros(n + 3, 1)], dim=1),
        floor=s * (1 + nugget),
        sigma=1e-3 * (1 + draw(n_out, seed=5).abs()),
        signs=torch.cat([-torch.ones(n), torch.ones(3)]),
    )
    return Surrogate(basis, W, np.zeros(3), np.ones(3), Domain.of(X.numpy()), bars)


def reduced(browser: Browser, surrogate, path: Path) -> pack.Packed:
    """Open the page of a surrogate with its constants in their short form."""
    constants = pack.packed(pack.constants_of(surrogate), reduced=True)
    path.write_bytes(write.page(constants, surrogate.metadata, "s.pt"))
    browser.open(path)
    assert browser.complaints == []
    return constants


def test_a_short_page_of_a_kernel_is_as_precise_as_the_rounding_of_its_file(browser, tmp_path):
    module = kriging()
    loaded = saved(module, tmp_path / "s.pt")
    constants = reduced(browser, loaded, tmp_path / "s.html")
    whole = pack.packed(pack.constants_of(loaded))
    assert len(constants.content) < 0.6 * len(whole.content)
    assert browser.evaluate("page.model.whitening.nugget !== 0 && page.model.factors.length") == 2
    rng = np.random.default_rng(3)
    Y = rng.uniform(module.lower.numpy(), module.upper.numpy(), (40, 3))
    found, spread = results(browser, Y), loaded.predict(Y).std(axis=0)
    (kernel,) = pack.constants_of(loaded).blocks
    terms = kernel.features(Y) @ np.abs(module.W.numpy()).T
    rounding = 1e-15 * terms + 1e-12 * spread
    assert np.abs(module.W.numpy()).max() > 1e3  # whose terms cancel
    assert (np.abs(found["c"] - loaded.predict(Y)) <= rounding).all()
    assert constants.error <= (1e-15 * terms / spread).max()
    np.testing.assert_allclose(found["std"], loaded.predict_std(Y), rtol=1e-6)
    J = loaded.jacobian(Y)
    assert (np.abs(found["jacobian"].reshape(J.shape) - J) <= 1e-8 * np.abs(J).max()).all()


@every_surrogate
def test_a_short_page_loses_no_more_than_it_says(name, browser, tmp_path):
    module, loaded = both(name)
    constants = reduced(browser, loaded, tmp_path / "s.html")
    assert constants.error <= 1e-11
    Y = points(module)
    Y = Y[loaded.in_domain(Y)]
    found = results(browser, Y)
    right = loaded.predict(Y)
    scale = np.broadcast_to(np.abs(right).max(axis=0), right.shape).copy()
    logs = constants.form["log_outputs"]
    scale[:, logs] = right[:, logs]  # errors of logarithms are relative errors
    assert (np.abs(found["c"] - right) <= 1e-10 * scale).all()
    np.testing.assert_allclose(found["std"], loaded.predict_std(Y), rtol=1e-8)


def test_numbers_of_any_length_survive_the_text(browser, tmp_path):
    rng = np.random.default_rng(5)
    array = rng.standard_normal((30, 7)) * 10.0 ** rng.integers(-8, 8, (30, 1))
    array[3] = 0.0
    constants = pack.packed(pack.constants_of(both("network")[1]))
    read = {}
    for triangle in (False, True):
        for what, tolerance in {"exact": None, "graded": 10.0 ** rng.uniform(-20, 3, 30)}.items():
            square = array[:7] if triangle else array
            limit = None if tolerance is None else tolerance[: len(square)]
            name = f"{what}{triangle}"
            read[name] = constants.add(name, square, tolerance=limit, triangle=triangle)
            if limit is not None:
                upper = np.triu(square) if triangle else square
                assert (np.abs(read[name] - upper) <= limit[:, None]).all()
    path = tmp_path / "s.html"
    path.write_bytes(write.page(constants, both("network")[1].metadata, "s.pt"))
    browser.open(path)
    for name, values in read.items():
        found = browser.evaluate(f"Array.from(page.arrays[{name!r}].data)")
        kept = values[np.triu_indices(7)] if name.endswith("True") else values.ravel()
        assert found == kept.tolist(), name


def test_a_page_has_at_most_a_megabyte(tmp_path):
    _, loaded = both("network")
    path = tmp_path / "s.html"
    html.save(loaded, path)
    assert path.stat().st_size < 300_000
    with pytest.raises(InputError, match=r"would have 0\.2 MB, at most 0\.1 MB: 11 observables of"):
        html.save(loaded, tmp_path / "t.html", limit=100_000)
    assert not (tmp_path / "t.html").exists()
    with pytest.raises(InputError, match=r"expected the name of an \.html file"):
        html.save(loaded, tmp_path / "s.htm")
