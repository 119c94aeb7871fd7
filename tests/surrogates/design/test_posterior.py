"""The covariance of errors against dense formulas, and rank-one updates against a new fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import surrogates
from surrogates.design.greedy import Left
from surrogates.design.posterior import posterior
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


def test_variance_follows_the_error_bars(kriged, points):
    """The bars are a constant and a factor of the variance, but for the larger nugget here."""
    points = np.random.default_rng(2).random((300, 3))
    points = points[kriged.in_domain(points)]
    share = (kriged.predict_std(points) / kriged.module.sigma.numpy())[:, 0] ** 2
    variance = posterior(kriged, points[:0]).points(points).variance()
    assert np.corrcoef(variance, share)[0, 1] > 0.9


def test_covariance_is_that_of_kriging_and_an_update_is_a_new_fit(kriged, points):
    found = posterior(kriged, points[:0])
    kernel_of = found.kernel
    X = torch.from_numpy((points - kernel_of.shift) * kernel_of.factor)
    centres = torch.from_numpy(kernel_of.centres)
    form = Form(kernel="gaussian", degree=1)
    fit = Fit(form=form, scales=torch.ones(3).double(), nugget=found.noise)

    def left(seen):
        """The covariance of all points by kriging's formulas, densely."""
        K = fit.kappa(seen, seen) + fit.nugget * torch.eye(len(seen))
        k, H, h = fit.kappa(seen, X), form.trend(seen), form.trend(X)
        solved, trend = torch.linalg.solve(K, k), torch.linalg.solve(K, H)
        rest = h - k.T @ trend
        beside = rest @ torch.linalg.solve(H.T @ trend, rest.T)
        return (fit.kappa(X, X) - k.T @ solved + beside).numpy()

    everything = np.arange(len(points))
    before = left(centres)
    size = before.diagonal().max()
    np.testing.assert_allclose(
        found.points(points).covariance(everything), before, atol=1e-6 * size
    )
    updated = Left(found, points, everything, 2)
    for row in (3, 17):
        updated.take(row)
    after = left(torch.cat([centres, X[[3, 17]]]))
    np.testing.assert_allclose(updated.own, after.diagonal(), atol=1e-6 * size)
    assert after.diagonal().mean() < 0.98 * before.diagonal().mean()
