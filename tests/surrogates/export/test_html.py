"""The page: its numbers, its parts and its manners, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from exports import saved
from extended import both, draw, every_surrogate, joined, points

from surrogates.export import html
from surrogates.model.classifier import Classifier
from surrogates.model.parts import Domain

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
    browser = Browser()
    yield browser
    browser.close()


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
