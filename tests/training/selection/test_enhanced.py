"""Kriging with derivatives, against torch.func, finite differences and fits without samples."""

import dataclasses

import numpy as np
import pytest
import torch
from draws import dataset, normal
from torch.func import grad, jvp, vmap

from surrogates.training.config import Derivatives, Network, TrainConfig
from surrogates.training.selection import enhanced as module
from surrogates.training.selection.effort import COSTS, Asked
from surrogates.training.selection.enhanced import Points, Scales, enhanced, left_out, solve
from surrogates.training.selection.frame import framed
from surrogates.training.selection.regression_candidates import kernels

SCALES = torch.tensor([0.7, 0.3]).double()


def function(Y):
    return np.stack([np.sin(2 * Y[:, 0]) * Y[:, 1], np.exp(Y[:, 0] / 2) + Y[:, 1] ** 2], axis=1)


def jacobian(Y):
    J = np.empty((len(Y), 2, 2))
    J[:, 0, 0], J[:, 0, 1] = 2 * np.cos(2 * Y[:, 0]) * Y[:, 1], np.sin(2 * Y[:, 0])
    J[:, 1, 0], J[:, 1, 1] = np.exp(Y[:, 0] / 2) / 2, 2 * Y[:, 1]
    return J


def drawn(n=20, **missing):
    """Samples of a function of inputs of other sizes than one, with derivatives."""
    Y = normal(n, 2, seed=1).numpy()
    J = jacobian(Y) / [10, 0.1]
    for sample in missing.get("without", ()):
        J[sample] = np.nan
    data = dataset(Y * [10, 0.1] + [3, 0], function(Y), "1/0/0")
    info = dataclasses.replace(data.info, tangents=True)
    return dataclasses.replace(data, info=info, dC_dY=J)


def asked(settings=None):
    return Asked(
        settings=settings or TrainConfig(),
        given=frozenset(),
        effort=COSTS["default"],
        each=lambda tasks: ((i, t.function(**t.arguments)) for i, t in enumerate(tasks)),
        on_progress=lambda *arguments: None,
    )


def points(n=20, **missing):
    found = Points.of(framed(drawn(n, **missing), TrainConfig()))
    assert found is not None
    return found


def test_covariances_are_derivatives_of_the_kernel():
    some = points(6)

    def kappa(x, z):
        return torch.exp(-((x - z) * SCALES).square().sum() / 2)

    def along(x, z, u):
        return jvp(lambda z: kappa(x, z), (z,), (u,))[1]

    X, Z, U = some.X, some.X[some.at], some.U
    values = vmap(vmap(kappa, (None, 0)), (0, None))(X, X)
    across = vmap(vmap(along, (None, 0, 0)), (0, None, None))(X, Z, U)
    pairs = list(zip(Z, U, strict=True))
    rows = [[grad(along)(x, z, u) @ w for z, u in pairs] for x, w in pairs]
    within = torch.stack([torch.stack(row) for row in rows])
    K = torch.cat([torch.cat([values, across], 1), torch.cat([across.T, within], 1)])
    found = some.covariance(SCALES, 0.0)
    torch.testing.assert_close(found, K, rtol=1e-5, atol=1e-6)  # differences of step 1e-3
    added = some.covariance(SCALES, 0.1) - found
    torch.testing.assert_close(added, 0.1 * torch.diag(K.diagonal()), rtol=1e-9, atol=1e-13)


def test_covariances_are_those_of_the_functions_about_centres():
    some = points(6)
    basis, factor = module.features(some, SCALES)
    A = (basis.centres * SCALES).numpy().astype(np.longdouble)  # differences lose 6 digits
    k = np.exp(-np.square(A[:, None] - A).sum(axis=2) / 2)
    D = module._about(torch.eye(len(some.T)).double(), factor).numpy().astype(np.longdouble)
    K = torch.from_numpy((D @ k @ D.T).astype(float))
    torch.testing.assert_close(some.covariance(SCALES, 0.0), K, rtol=1e-9, atol=1e-10)


def test_the_gradient_of_the_likelihood_is_that_of_differences():
    some, x = points(9), np.log([0.5, 0.4, 1e-3])
    slope = module._likelihood(some, x)[1]
    for k, step in enumerate(np.eye(3) * 1e-5):
        change = module._likelihood(some, x + step)[0] - module._likelihood(some, x - step)[0]
        assert slope[k] == pytest.approx(change / 2e-5, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("number", [np.arange(12), np.arange(12) // 2])
def test_left_out_residuals_are_those_of_fits_without_the_samples(number):
    some, fit = points(12, without=(3,)), Scales(scales=SCALES, nugget=1e-4)
    found = solve(some.covariance(SCALES, 1e-4), some.T, 12)
    residual, variance = left_out(some, found, number)
    for i in range(int(number.max()) + 1):
        kept, held = (torch.from_numpy(np.flatnonzero(x)) for x in (number != i, number == i))
        part = some.some(kept)
        own = solve(part.covariance(SCALES, 1e-4), part.T, len(kept))
        expected = module.predict(part, fit, own, some.X[held]) - some.T[held]
        torch.testing.assert_close(residual[held], expected, rtol=1e-7, atol=1e-9)
        expected = posterior(part, 1e-4, some.X[held])
        torch.testing.assert_close(variance[held], expected, rtol=1e-6, atol=1e-9)


def covariances(some, X):
    """Return those of c at X."""
    h = some.step
    k = torch.exp(-torch.cdist(X * SCALES, some.X * SCALES).square() / 2)
    size = torch.linalg.vector_norm(some.U * SCALES, dim=1)
    d = ((X[:, None] - some.X[some.at]) * some.U * SCALES**2).sum(dim=2) / size
    along = torch.sinh(h * d) / h * np.exp(-(h**2) / 2)
    return torch.cat([k, k[:, some.at] * along * size], dim=1)


def posterior(some, nugget, X):
    """Return the variance of c and a nugget at X."""
    K, k = some.covariance(SCALES, nugget), covariances(some, X)
    H = (torch.arange(len(K)) < len(some.X)).double()
    solved, lifted = torch.linalg.solve(K, k.T), torch.linalg.solve(K, H)
    return 1 + nugget - (k.T * solved).sum(dim=0) + (1 - H @ solved) ** 2 / (H @ lifted)


@pytest.mark.parametrize("nugget", [1e-8, 1e-3])
def test_functions_about_centres_keep_their_digits_and_predict_what_kriging_predicts(nugget):
    fine, fit = points(20), Scales(scales=SCALES, nugget=nugget)
    X = normal(50, 2, seed=7)
    some, found = module.coarsened(fine, fit)
    assert some.step == 100 * fine.step
    basis, W = module.weights(some, fit, found)
    assert basis.width == 20 + 2 * 40
    F = basis.forward(X) @ W[:, :-1].T + W[:, -1]
    expected = covariances(some, X) @ found.a + found.constant
    assert float((F - expected).norm() / expected.norm()) < 2e-10
    own = solve(fine.covariance(SCALES, nugget), fine.T, 20)
    expected = covariances(fine, X) @ own.a + own.constant
    assert float((F - expected).norm() / expected.norm()) < 2e-3  # less than their error
    along = basis.forward_and_jacobian(fine.X)[1].transpose(1, 2) @ W[:, :-1].T
    along = (fine.U[:, :, None] * along[fine.at]).sum(dim=1)
    K = some.covariance(SCALES, nugget).diagonal() - some.covariance(SCALES, 0.0).diagonal()
    missed = along + K[20:, None] * found.a[20:] - fine.T[20:]
    assert float(missed.norm() / fine.T[20:].norm()) < 1e-6


@pytest.mark.parametrize("shaped", [600, 30])
def test_the_variance_is_the_posterior_one_of_the_samples_that_shape_it(shaped, monkeypatch):
    monkeypatch.setattr(module, "_SHAPED", shaped)
    some, fit = points(20, without=(3,)), Scales(scales=SCALES, nugget=1e-4)
    found = solve(some.covariance(SCALES, 1e-4), some.T, 20)
    kriged = module.kriging(some, found, fit, np.arange(20))
    taken = some.spread(shaped)
    part = some.some(taken)
    assert len(taken) == (20 if shaped == 600 else 10)

    def variance(X):
        F = torch.cat([kriged.fit.kappa(X, kriged.centres), torch.ones(len(X), 1)], dim=1)
        less = (F[:, :-1] @ kriged.negative.T).square().sum(dim=1)
        return 1 + kriged.fit.nugget - less + (F @ kriged.positive.T).square().sum(dim=1)

    X = normal(50, 2, seed=7)
    least = 1e-8 - 1e-11  # the nugget's bound is no noise
    expected = posterior(part, 1e-4, X) - least
    torch.testing.assert_close(variance(X), expected, rtol=1e-6, atol=1e-11)
    others = torch.tensor([i for i in range(20) if i not in taken], dtype=torch.int64)
    expected = posterior(part, 1e-4, some.X[others]) - least
    torch.testing.assert_close(kriged.variance[others], expected, rtol=1e-6, atol=1e-11)
    own = solve(part.covariance(SCALES, 1e-4), part.T, len(taken))
    expected = left_out(part, own, np.arange(len(taken)))[1]
    torch.testing.assert_close(kriged.variance[taken], expected - least, rtol=1e-9, atol=0)


def test_derivatives_are_worth_samples_and_the_error_is_known():
    frame = framed(drawn(20), TrainConfig())
    (found,) = enhanced(frame, asked())
    assert found.used.samples == 20 and found.used.whole and found.used.directions == 2
    values = TrainConfig(network=Network(kernel="gaussian", trend=0))
    alone, *_ = kernels(frame, asked(values), apart=False)
    Y = normal(300, 2, seed=5).numpy().clip(-1.5, 1.5)
    sizes = []
    for (member,) in (found.members(), alone.members()):
        error = member.predict(torch.from_numpy(Y * [10, 0.1] + [3, 0])).numpy() - function(Y)
        sizes.append(np.sqrt(np.square(error / function(Y).std(axis=0)).mean()))
    assert sizes[0] < 0.02 and sizes[0] < 0.2 * sizes[1]
    assert found.score < alone.score
    assert 1 <= np.sqrt(found.grown().score / found.score) <= 3


def test_it_is_tried_where_it_can_be():
    frame = framed(drawn(10), TrainConfig())
    assert len(enhanced(frame, asked())) == 1
    off = TrainConfig(derivatives=Derivatives(weight=0.0))
    other = TrainConfig(network=Network(kernel="matern52"))
    assert enhanced(frame, asked(off)) == enhanced(frame, asked(other)) == []
    values = dataclasses.replace(drawn(10), dC_dY=None)
    values = dataclasses.replace(values, info=dataclasses.replace(values.info, tangents=False))
    assert enhanced(framed(values, TrainConfig()), asked()) == []
    many = drawn(module.LARGEST // 3 + 1)
    assert enhanced(framed(many, TrainConfig()), asked()) == []
