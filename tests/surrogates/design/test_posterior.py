"""The covariance of errors against dense formulas, and rank-one updates against a new fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import surrogates
from surrogates.design.greedy import Left
from surrogates.design.posterior import _scale, posterior
from surrogates.training.selection.kernel import Fit, Form


def function(Y):
    return np.stack([np.sin(2 * Y[:, 0] + Y[:, 1]), np.exp(-Y[:, 2] * Y[:, 0])], axis=1)


@pytest.fixture(scope="module")
def kriged():
    Y = np.random.default_rng(0).random((40, 3))
    config = {"network.kind": "rbf", "network.kernel": "gaussian", "network.trend": 1}
    return surrogates.fit(Y, function(Y), config=config, processes=1)


@pytest.fixture
def points():
    return np.random.default_rng(1).random((30, 3))


def test_covariance_is_that_of_kriging_and_an_update_is_a_new_fit(kriged, points):
    found = posterior(kriged, points[:0])
    x, centres = found.scaled(points), found.kernel.centres
    fit = Fit(
        form=Form(kernel="gaussian", degree=0), scales=torch.ones(3).double(), nugget=found.noise
    )
    assert found.fine > 0

    def kappa(A, B):
        fine = Fit(
            form=Form(kernel="matern52", degree=0), scales=fit.scales / found.length, nugget=0.0
        )
        A, B = torch.from_numpy(A), torch.from_numpy(B)
        return (fit.kappa(A, B) + found.fine * fine.kappa(A, B)).numpy()

    def left(seen):
        """The covariance of all points by the formulas of kriging, densely."""
        K, k = kappa(seen, seen) + fit.nugget * np.eye(len(seen)), kappa(seen, x)
        return kappa(x, x) - k.T @ np.linalg.solve(K, k)

    everything = np.arange(len(points))
    before = left(centres)
    size = before.diagonal().max()
    np.testing.assert_allclose(
        found.points(points).covariance(everything), before, atol=1e-6 * size
    )
    updated = Left(found, points, everything, 2)
    for row in (3, 17):
        updated.take(row)
    after = left(np.concatenate([centres, x[[3, 17]]]))
    # A sample leaves a thousandth of the mean variance, and here nothing.
    np.testing.assert_allclose(updated.own, after.diagonal(), atol=2e-3 * size)
    assert after.diagonal().mean() < 0.98 * before.diagonal().mean()


def test_the_nugget_is_found_from_the_rows_of_leverage():
    """Of a kernel whose scales and nugget are known, by the rows that error bars have."""
    rng = np.random.default_rng(3)
    X = rng.random((30, 2)) * 3
    K = np.exp(-((X[:, None] - X) ** 2).sum(axis=2) / 2)
    for scale, nugget in ((0.3, 1e-6), (7.0, 0.2), (1e4, 1e-9)):
        M = np.sqrt(scale) * np.linalg.inv(np.linalg.cholesky(K + nugget * np.eye(30)))
        found = _scale(M, K)
        assert found[0] == pytest.approx(scale, rel=1e-5)
        assert found[1] == pytest.approx(nugget, rel=1e-3, abs=1e-8)
