"""Surrogates of every kind design samples: networks, kernels, weights, logarithms, any engine."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import surrogates
from surrogates.design.candidates import drawn
from surrogates.design.greedy import Left
from surrogates.design.posterior import posterior
from surrogates.errors import InputError
from surrogates.export import npz
from surrogates.export.constants import constants

LINE = {"stopping.work_units": 60, "network.width": 4}


def function(Y):
    return 1 + np.stack([np.exp(-Y[:, 0] * Y[:, 1]), Y[:, 1] / (1 + Y[:, 2])], axis=1)


@pytest.fixture(scope="module")
def network():
    Y = np.random.default_rng(0).random((60, 3)) + 0.1
    return surrogates.fit(Y, function(Y), effort="fast", config=LINE)


def test_a_networks_covariance_is_that_of_its_linear_layer(network):
    """G is (Z^T Z)^-1 times the noise: an update by one sample is the fit with it."""
    arrays = constants(network)
    Y = network.dataset.Y[network.dataset.rows_of("train")]

    def z(y):
        u = np.concatenate([block.features(y) for block in arrays.blocks], axis=1)
        return np.concatenate([u, np.ones((len(y), 1))], axis=1)

    Z, new = z(Y), np.random.default_rng(1).random((20, 3)) + 0.1
    n, rank, floor = len(Z), Z.shape[1], 0.4
    noise = (1 - floor) * (n - rank) / rank
    # Rows whose left-out leverage has the mean 1 - floor, about, as error bars have them.
    rows = np.sqrt(noise) * np.linalg.inv(np.linalg.cholesky(Z.T @ Z))
    engine = dataclasses.replace(
        arrays, leverage=rows[:, :-1], constant=rows[:, -1], floor=floor, signs=np.ones(rank)
    )
    metadata = {**network.metadata, "training": {**network.metadata["training"], "samples": n}}
    made = dataclasses.replace(network, engine=engine, metadata=metadata)
    found = posterior(made, Y[:0])
    assert found.noise == pytest.approx(noise)
    left = Left(found, new, np.arange(20), 1)
    at = z(new)
    np.testing.assert_allclose(left.own, noise * np.diag(at @ np.linalg.inv(Z.T @ Z) @ at.T), 1e-6)
    left.take(4)
    Z = np.concatenate([Z, at[4:5]])
    np.testing.assert_allclose(left.own, noise * np.diag(at @ np.linalg.inv(Z.T @ Z) @ at.T), 1e-5)
    assert surrogates.Designer(made, candidates=300).suggest(5).shape == (5, 3)


def test_a_network_suggests_within_its_bounds(network):
    found = surrogates.suggest(network, 10, candidates=300)
    lower, upper = network.bounds
    assert ((found >= lower) & (found <= upper)).all()


def test_weights_that_sum_to_one_do_so_in_suggestions():
    Y = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    C = np.exp(Y @ np.random.default_rng(1).random((4, 3)))
    s = surrogates.fit(Y, C, config={"network.kind": "rbf", "network.trend": 0}, processes=1)
    found = surrogates.suggest(s, 12, candidates=400)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-9)
    assert s.in_domain(found).all()

    # A problem of the published simplex draws them otherwise, also after designed samples.
    def of_all(**about):
        known = {**s.metadata["dataset"], **about}
        made = dataclasses.replace(s, metadata={**s.metadata, "dataset": known})
        return drawn(made, 4000, np.random.default_rng(0))

    uniform = of_all()
    published = of_all(design="simplex")
    assert published.max(axis=1).mean() < 0.95 * uniform.max(axis=1).mean()
    joined = of_all(design="joined", config='[sampling]\ndesign = "simplex"\n')
    np.testing.assert_array_equal(joined, published)


def test_logarithms_of_inputs_and_outputs():
    Y = np.exp(np.random.default_rng(0).random((60, 2)) * 4)
    C = np.stack([Y[:, 0] ** 2 / Y[:, 1], Y[:, 1] ** 0.5], axis=1)
    s = surrogates.fit(
        Y,
        C,
        log=["all"],
        log_inputs=["all"],
        y_names=("a", "b"),
        config={"network.kind": "rbf", "network.kernel": "matern52", "network.trend": 0},
        processes=1,
    )
    one = surrogates.Designer(s, candidates=300)
    found = one.suggest(8)
    assert s.in_domain(found).all() and 0 < one.report.after < one.report.before
    one.ingest(found, s.predict(found))
    assert one.suggest(4).shape == (4, 2)


def test_any_engine_suggests_the_same(network, tmp_path):
    npz.save(network, tmp_path / "s.npz")
    plain = surrogates.load(tmp_path / "s.npz")
    network = dataclasses.replace(network, dataset=None)  # a file has no samples
    first = surrogates.suggest(network, 6, candidates=300)
    np.testing.assert_array_equal(first, surrogates.suggest(plain, 6, candidates=300))
    assert surrogates.suggest(tmp_path / "s.npz", 2, candidates=300).shape == (2, 3)
    half = network.select([1])
    assert surrogates.suggest(half, 4, candidates=300).shape == (4, 3)


def test_features_that_fit_every_sample_leave_distances(network):
    """Error bars then have rows of zeros: points keep away from each other, and known samples."""
    arrays = constants(network)
    engine = dataclasses.replace(
        arrays, leverage=0 * arrays.leverage[:1], constant=np.zeros(1), signs=np.ones(1), floor=1.0
    )
    blind = dataclasses.replace(network, engine=engine, dataset=None)
    seen = 0.1 + 0.5 * np.random.default_rng(5).random((30, 3))
    rng = np.random.default_rng(6)
    usual = np.linalg.norm(rng.random((300, 1, 3)) - rng.random((300, 30, 3)), axis=2).min(1).mean()
    for known in (None, seen):
        found = surrogates.Designer(blind, candidates=500, seen=known).suggest(15)
        apart = np.linalg.norm(found[:, None] - found, axis=2) + 9 * np.eye(15)
        assert apart.min() > 0.15
    assert np.linalg.norm(found[:, None] - seen, axis=2).min(axis=1).mean() > 1.2 * usual


def test_a_classifier_is_refused():
    Y = np.random.default_rng(0).random((40, 2))
    labels = np.where(Y[:, 0] > 0.5, "right", "left")
    s = surrogates.fit(Y, labels=labels, effort="fast", config=LINE)
    with pytest.raises(InputError, match="is a classifier, without error bars"):
        surrogates.suggest(s, 3)
