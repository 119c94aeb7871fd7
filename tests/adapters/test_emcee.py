"""emcee samples the posterior of a surrogate's parameters."""

import pickle

import emcee
import numpy as np
import pytest
from known import normal_log_likelihood, posterior_on_a_grid

import surrogates
from surrogates.adapters import emcee as adapter

DATA, NOISE = [0.1, -0.7, -0.3], np.array([0.02, 0.03, 0.01])


def test_the_log_density_is_that_of_normal_errors(surrogate, draws):
    for with_errors in (False, True):
        log_p = adapter.arguments(surrogate, DATA, NOISE, surrogate_errors=with_errors)
        std = np.hypot(NOISE, surrogate.predict_std(draws)) if with_errors else NOISE
        exact = normal_log_likelihood(surrogate.predict(draws), DATA, std)
        np.testing.assert_allclose(log_p["log_prob_fn"](draws), exact, rtol=1e-13)
        assert log_p["log_prob_fn"](draws[0]) == pytest.approx(exact[0], rel=1e-9)
    named = dict(zip(reversed(surrogate.c_names), reversed(DATA), strict=True))
    log_q = adapter.arguments(surrogate, named, NOISE)["log_prob_fn"]
    np.testing.assert_array_equal(log_q(draws), log_p["log_prob_fn"](draws))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(log_q))(draws), log_q(draws))


def test_the_surrogate_is_called_once_and_only_inside(surrogate, draws, monkeypatch):
    log_p = adapter.arguments(surrogate, DATA, NOISE, surrogate_errors=False)["log_prob_fn"]
    calls = []
    call = type(surrogate).__call__
    monkeypatch.setattr(
        type(surrogate), "__call__", lambda s, y: calls.append(np.shape(y)) or call(s, y)
    )
    Y = np.concatenate([draws, 9 * draws])
    found = log_p(Y)
    assert np.isfinite(found[:7]).all() and (found[7:] == -np.inf).all() and calls == [(7, 2)]


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
    std = np.hypot(names["noise"], surrogate.predict_std(names["samples"].mean(axis=0)))

    def log_likelihood(Y):
        return normal_log_likelihood(surrogate.predict(Y), names["data"], std)

    mean, spread, _ = posterior_on_a_grid(log_likelihood, surrogate.bounds)
    effective = len(names["samples"]) / names["sampler"].get_autocorr_time().max()
    assert effective > 500
    error = np.abs(names["samples"].mean(axis=0) - mean)
    np.testing.assert_array_less(error, 4 * spread / effective**0.5)
    np.testing.assert_allclose(
        names["samples"].std(axis=0), spread, rtol=4 / (2 * effective) ** 0.5
    )


def test_bad_data_and_noise_are_one_line(surrogate):
    for data, noise, message in (
        ([0.1, 0.2], 0.1, "expected 3 finite data"),
        (DATA, 0.0, "> 0 as noise"),
        (DATA, [0.1, 0.1], "> 0 as noise"),
    ):
        with pytest.raises(surrogates.InputError, match=message):
            adapter.arguments(surrogate, data, noise)
