"""emcee samples the posterior of a surrogate's parameters."""

import pickle

import emcee
import numpy as np
import pytest
from known import normal_log_likelihood, posterior_on_a_grid

import surrogates
from surrogates.adapters import emcee as adapter

DATA, NOISE = [0.1, -0.7, -0.3], np.array([0.02, 0.03, 0.01])


def test_the_log_density_is_the_likelihood(surrogate, draws, folder):
    for one in (surrogate, surrogates.load(folder / "noisy.npz")):
        for with_errors in (False, True):
            likelihood = one.likelihood(DATA, NOISE, surrogate_errors=with_errors)
            log_p = adapter.arguments(likelihood)["log_prob_fn"]
            Y = draws[one.in_domain(draws)]
            assert len(Y) > 3
            np.testing.assert_array_equal(log_p(Y), likelihood.log_density(Y))
            assert log_p(Y[0]) == pytest.approx(log_p(Y)[0], rel=1e-9)
            np.testing.assert_array_equal(pickle.loads(pickle.dumps(log_p))(Y), log_p(Y))
    exact = normal_log_likelihood(surrogate.predict(draws), DATA, NOISE)
    log_p = adapter.arguments(surrogate.likelihood(DATA, NOISE))["log_prob_fn"]
    np.testing.assert_allclose(log_p(draws), exact, rtol=1e-6)  # its errors are of 1e-6


def test_the_surrogate_is_called_once_and_only_inside(surrogate, draws, monkeypatch):
    likelihood = surrogate.likelihood(DATA, NOISE, surrogate_errors=False)
    log_p = adapter.arguments(likelihood)["log_prob_fn"]
    calls = []
    call = type(surrogate).predict
    monkeypatch.setattr(
        type(surrogate), "predict", lambda s, y: calls.append(np.shape(y)) or call(s, y)
    )
    Y = np.concatenate([draws, 9 * draws])
    found = log_p(Y)
    assert np.isfinite(found[:7]).all() and (found[7:] == -np.inf).all() and calls == [(7, 2)]


def test_a_prior_of_ones_own_counts_within_the_domain(surrogate, draws):
    def log_prior(Y):
        return -0.5 * ((Y - [2.0, 0.3]) ** 2).sum(axis=1)

    likelihood = surrogate.likelihood(DATA, NOISE)
    log_p = adapter.arguments(likelihood, log_prior=log_prior)["log_prob_fn"]
    np.testing.assert_array_equal(log_p(draws), likelihood.log_density(draws) + log_prior(draws))
    assert (log_p(9 * draws) == -np.inf).all()


def test_walkers_start_in_the_domain(surrogate):
    Y = adapter.start(surrogate, 1000, seed=3)
    assert surrogate.in_domain(Y).all()
    lower, upper = surrogate.bounds
    u = (Y - lower) / (upper - lower)
    np.testing.assert_allclose(u.mean(axis=0), 0.5, atol=4 / (12 * 1000) ** 0.5)
    np.testing.assert_array_equal(Y, adapter.start(surrogate, 1000, seed=3))


def test_a_posterior_is_that_of_a_grid(program, surrogate):
    names = program("emcee")
    assert isinstance(names["sampler"], emcee.EnsembleSampler)

    def log_likelihood(Y):  # the surrogate's errors are of 1e-6
        return normal_log_likelihood(
            surrogate.predict(Y), names["data"], np.full(3, names["noise"])
        )

    mean, spread, _ = posterior_on_a_grid(log_likelihood, surrogate.bounds)
    effective = len(names["samples"]) / names["sampler"].get_autocorr_time().max()
    assert effective > 500
    error = np.abs(names["samples"].mean(axis=0) - mean)
    np.testing.assert_array_less(error, 4 * spread / effective**0.5)
    np.testing.assert_allclose(
        names["samples"].std(axis=0), spread, rtol=4 / (2 * effective) ** 0.5
    )
