"""The fit in the page: the covariance of errors, and Gauss-Newton with it, against numpy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import started
from chromium import Browser
from exports import saved
from extended import both, draw, every_surrogate, joined, points

from surrogates.export import html
from surrogates.export.html import pack, write
from surrogates.model.covariance import Correlation
from surrogates.model.loaded import LoadedSurrogate
from surrogates.model.parts import Domain, ErrorBars
from surrogates.model.surrogate import Surrogate

N_IN, N_OUT = 4, 24
NOISE = 0.05


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from started()


def opened(browser: Browser, path: Path) -> None:
    browser.open(path)
    browser.wait("window.page && page.now && !page.waiting")
    assert browser.complaints == []


def dense(browser: Browser, Y: np.ndarray, rows: list[int]) -> np.ndarray:
    """The page's covariance of the errors of some outputs, (n, m, m)."""
    found = browser.evaluate(
        f"{json.dumps(Y.tolist())}.map(y => {{ const e = page.model.errors("
        f"page.model.at(Float64Array.from(y)), {json.dumps(rows)});"
        " return [Array.from(e.d), Array.from(e.F)]; })"
    )
    F = [np.reshape(f, (len(rows), -1)) for _, f in found]
    return np.array([np.diag(d) + f @ f.T for (d, _), f in zip(found, F, strict=True)])


@every_surrogate
@pytest.mark.parametrize("reduced", [False, True])
def test_the_covariance_of_errors_is_that_of_the_file(name, reduced, browser, tmp_path):
    module, surrogate = both(name)
    packed = pack.packed(pack.constants_of(surrogate), reduced=reduced)
    path = tmp_path / "s.html"
    path.write_bytes(write.page(packed, surrogate.metadata, "s.pt"))
    opened(browser, path)
    Y, rows = points(module), [7, 0, 2, 3]
    right = surrogate.predict_cov(Y).dense()[:, rows][:, :, rows]
    size = np.sqrt(np.einsum("nii->ni", right))
    difference = (dense(browser, Y, rows) - right) / size[:, :, None] / size[:, None]
    assert np.abs(difference).max() < (1e-7 if reduced else 1e-11)


@pytest.mark.parametrize("name", ["everything", "members", "anova", "network"])
def test_shared_errors_in_the_span_of_predictions_are_a_product(name, browser, tmp_path):
    """As those of a training are: 882 outputs with 64 directions would take half a megabyte."""
    module, surrogate = both(name)
    r = pack.constants_of(surrogate)
    L = r.W / r.sigma[:, None] @ draw(r.W.shape[1], 3, seed=2).numpy()
    known = Correlation(loadings=L, unique=1e-6 + r.sigma**2, scatter=np.zeros(2))
    r = dataclasses.replace(r, correlation=known)
    packed = pack.packed(r, reduced=True)
    assert "shared" in packed.listing and "loadings" not in packed.listing
    (tmp_path / "s.html").write_bytes(write.page(packed, surrogate.metadata, "s.pt"))
    opened(browser, tmp_path / "s.html")
    Y, rows = points(module), list(range(4))
    factor, diagonal = (part[:, :4] for part in r.predict_cov(Y))
    right = factor @ factor.swapaxes(1, 2) + diagonal[:, :, None] * np.eye(4)
    size = np.sqrt(np.einsum("nii->ni", right))
    difference = (dense(browser, Y, rows) - right) / size[:, :, None] / size[:, None]
    assert np.abs(difference).max() < 1e-9


@pytest.mark.parametrize("kind", ["products", "rows", "none"])
def test_sizes_of_errors_are_those_of_the_file(kind, browser, tmp_path):
    made = module()
    assert made.sizes is not None
    if kind == "rows":
        made.sizes.sizes[:, 1:, 1:] = 0.0
    elif kind == "none":
        made.sizes.sizes[:] = 0.0
    surrogate = saved(made, tmp_path / "s.pt")
    html.save(surrogate, tmp_path / "s.html")
    opened(browser, tmp_path / "s.html")
    Y = points(made)
    right = surrogate.predict_cov(Y).dense()[:, :3, :3]
    np.testing.assert_allclose(dense(browser, Y, [0, 1, 2]), right, rtol=1e-10, atol=1e-14)
    assert (kind == "none") == browser.evaluate("page.model.sizes === null")


def test_a_page_that_is_too_large_leaves_the_covariance_out_and_says_so(browser, tmp_path):
    surrogate = saved(module(directions=20), tmp_path / "s.pt")  # beside the span of predictions
    html.save(surrogate, tmp_path / "s.html", limit=None)
    r = pack.constants_of(surrogate)
    alone = pack.packed(dataclasses.replace(r, correlation=None), reduced=True)
    limit = len(write.page(alone, surrogate.metadata, "s.pt")) + 100
    assert (tmp_path / "s.html").stat().st_size > limit
    html.save(surrogate, tmp_path / "s.html", limit=limit)
    opened(browser, tmp_path / "s.html")
    data = surrogate.predict(surrogate.engine.box.centre)
    given(browser, data)
    assert "count as independent" in browser.evaluate("page.data.report.textContent")


def module(n_in: int = N_IN, directions: int = 3) -> Surrogate:
    """A smooth surrogate of the box (1, 2)^n_in, whose errors depend on each other."""
    features = joined("ode linear", n_in)
    M = draw(2, n_in + 1, n_in + 1, seed=5).numpy() / n_in
    bars = ErrorBars(
        leverage=draw(features.width + 1, features.width + 1, seed=7) / 20,
        floor=0.5,
        sigma=0.02 + 0.01 * draw(N_OUT, seed=8).abs(),
        correlation=Correlation(
            loadings=draw(N_OUT, directions, seed=4).numpy(),
            unique=0.1 + draw(N_OUT, seed=12).abs().numpy(),
            scatter=np.zeros(2),
            sizes=0.1 * (M + M.transpose(0, 2, 1)),
            ends=np.array([[-0.5, -0.4], [0.6, 0.7]]),
            along=np.array(1.7),
        ),
    )
    Y = 1 + np.random.default_rng(1).random((300, n_in))
    W = draw(N_OUT, features.width + 1, seed=3)
    return Surrogate(features, W, Y.mean(0), Y.std(0), Domain.of(Y), bars)


def noisy(surrogate: LoadedSurrogate, y: np.ndarray) -> np.ndarray:
    """The covariance of data, with the least scale of the likelihood's, (n_out, n_out)."""
    found, correlation = surrogate.predict_cov(y), surrogate.engine.correlation
    assert correlation is not None
    return np.asarray(float(correlation.along) * found.dense() + NOISE**2 * np.eye(N_OUT))


def least_squares(
    surrogate: LoadedSurrogate, data: np.ndarray, y: np.ndarray, *, prior: bool = False
) -> np.ndarray:
    """The y of J^T C(y)^-1 (c - data) [+ prior] = 0, by Gauss-Newton steps, C as a matrix."""
    box = surrogate.engine.box
    inverse = np.diag(prior / box.unit**2)
    for _ in range(100):
        found, J = surrogate.predict_cov(y), surrogate.jacobian(y)
        C = noisy(surrogate, y)
        slope = J.T @ np.linalg.solve(C, data - found.mean) - inverse @ (y - box.centre)
        step = np.linalg.solve(J.T @ np.linalg.solve(C, J) + inverse, slope)
        y = y + step
        if np.abs(step).max() < 1e-14:
            break
    return y


def given(browser: Browser, data: np.ndarray) -> dict:
    """What the page's fit to data with noise finds."""
    rows = [f"c{i},{v!r},{NOISE}" for i, v in enumerate(data.tolist())]
    browser.evaluate(f"page.data.read({json.dumps(chr(10).join(['name,value,std', *rows]))})")
    browser.evaluate("page.data.fit()")
    found = browser.evaluate(
        "(r => ({y: [...r.y], error: [...r.error], chi2: r.chi2, still: r.still.size}))"
        "(page.data.result)"
    )
    return dict(found)


def test_a_fit_is_that_of_the_likelihood(browser, tmp_path):
    """Data, chi-squared, and standard errors, with the covariance of noise and of the surrogate."""
    surrogate = saved(module(), tmp_path / "s.pt")
    html.save(surrogate, tmp_path / "s.html")
    opened(browser, tmp_path / "s.html")
    truth = np.array([1.4, 1.6, 1.5, 1.3])
    data = surrogate.sample(truth, 1, seed=3)[0]
    data += NOISE * np.random.default_rng(4).standard_normal(N_OUT)
    found = given(browser, data)
    y = np.array(found["y"])
    assert found["still"] == 0
    np.testing.assert_allclose(y, least_squares(surrogate, data, truth), rtol=1e-8)
    likelihood = surrogate.likelihood(data, NOISE)
    assert found["chi2"] == pytest.approx(float(likelihood.chi2(y)), rel=1e-8)
    right = np.sqrt(np.diag(np.linalg.inv(likelihood.hessian(y))))
    np.testing.assert_allclose(found["error"], right, rtol=1e-8)
    # Errors that count as independent give others.
    alone = np.hypot(NOISE, surrogate.predict_std(y))
    J = surrogate.jacobian(y) / alone[:, None]
    assert np.abs(np.sqrt(np.diag(np.linalg.inv(J.T @ J))) / right - 1).max() > 0.05


def test_a_fit_of_many_parameters_with_a_prior(browser, tmp_path):
    surrogate = saved(module(60), tmp_path / "s.pt")
    html.save(surrogate, tmp_path / "s.html")
    opened(browser, tmp_path / "s.html")
    truth = surrogate.engine.box.centre + 0.1 * np.cos(np.arange(60))
    data = surrogate.sample(truth, 1, seed=3)[0]
    found = given(browser, data)
    assert browser.evaluate("page.data.prior.checked") and found["still"] == 0
    y = np.array(found["y"])
    right = least_squares(surrogate, data, truth, prior=True)
    np.testing.assert_allclose(y, right, rtol=1e-8)
    J = surrogate.jacobian(y)
    H = J.T @ np.linalg.solve(noisy(surrogate, y), J) + np.diag(surrogate.engine.box.unit**-2)
    np.testing.assert_allclose(found["error"], np.sqrt(np.diag(np.linalg.inv(H))), rtol=1e-8)
