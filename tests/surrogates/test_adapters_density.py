"""The posterior and the starting points that samplers get: of boxes, flats and logarithms."""

import numpy as np
import pytest

import surrogates
from surrogates.adapters import emcee
from surrogates.adapters._density import draw
from surrogates.loading import with_engine

N = 60


@pytest.fixture(scope="module")
def on_a_flat():
    """A surrogate of four weights that sum to one, and a factor between 1 and 100."""
    rng = np.random.default_rng(0)
    X = rng.random((N, 4))
    Y = np.concatenate([X / X.sum(axis=1, keepdims=True), 10 ** (2 * rng.random((N, 1)))], axis=1)
    C = np.stack([Y[:, :4] @ [1.0, 2.0, 3.0, 4.0], np.log(Y[:, 4])], axis=1)
    found = surrogates.fit(Y, C, effort="fast", log_inputs=["y4"])
    return with_engine(found, "numpy")


def test_starting_points_keep_the_relations_and_fill_the_domain(on_a_flat):
    assert len(on_a_flat.domain.normals) == 1
    Y = draw(on_a_flat, 500, seed=1)
    assert Y.shape == (500, 5) and on_a_flat.in_domain(Y).all()
    np.testing.assert_allclose(Y[:, :4].sum(axis=1), 1, atol=1e-10)
    lower, upper = on_a_flat.bounds
    reached = (Y.max(axis=0) - Y.min(axis=0)) / (upper - lower)
    assert (reached > 0.8).all()
    # The factor is in no relation: uniform, as it is without any.
    u = (Y[:, 4] - lower[4]) / (upper[4] - lower[4])
    np.testing.assert_allclose(u.mean(), 0.5, atol=4 / (12 * 500) ** 0.5)


def test_the_density_is_zero_outside_the_domain(on_a_flat):
    pytest.importorskip("emcee", reason="the moves are emcee's")
    data = [2.5, 1.0]
    target = emcee.arguments(on_a_flat.likelihood(data, 0.1))["log_prob_fn"]
    Y = draw(on_a_flat, 3, seed=2)
    off, negative = Y.copy(), Y.copy()
    off[:, 0] += 0.01  # the sum is no longer one
    negative[:, 4] = -1  # which has no logarithm
    assert np.isfinite(target(Y)).all()
    assert (target(np.concatenate([off, negative])) == -np.inf).all()


def test_walkers_stay_on_the_flat(on_a_flat):
    package = pytest.importorskip("emcee", reason="the sampler is emcee's")
    target = emcee.arguments(on_a_flat.likelihood([2.5, 3.0], 0.05, surrogate_errors=False))
    sampler = package.EnsembleSampler(20, **target)
    sampler.random_state = np.random.RandomState(0).get_state()
    sampler.run_mcmc(emcee.start(on_a_flat, 20), 3000, skip_initial_state_check=True)
    samples = sampler.get_chain(discard=500, flat=True)
    # Differences of walkers let rounding grow, but not beyond what belongs to the domain.
    np.testing.assert_allclose(samples[:, :4].sum(axis=1), 1, atol=1e-4)
    # By rejection: points of the flat uniform in the box of three weights, with their likelihood.
    rng, (lower, upper) = np.random.default_rng(3), on_a_flat.bounds
    Y = lower + rng.random((200_000, 5)) * (upper - lower)
    Y[:, 3] = 1 - Y[:, :3].sum(axis=1)
    Y = Y[on_a_flat.in_domain(Y)]
    log_p = target["log_prob_fn"](Y)
    p = np.exp(log_p - log_p.max())
    mean = p @ Y / p.sum()
    std = np.sqrt(p @ (Y - mean) ** 2 / p.sum())
    effective = len(samples) / sampler.get_autocorr_time(tol=20).max()
    others = p.sum() ** 2 / (p**2).sum()
    assert min(effective, others) > 200
    error = np.sqrt(1 / effective + 1 / others)
    np.testing.assert_array_less(np.abs(samples.mean(axis=0) - mean), 4 * std * error)


def test_a_number_of_points_is_checked(on_a_flat):
    with pytest.raises(surrogates.InputError, match="at least 1 point"):
        draw(on_a_flat, 0, seed=0)
