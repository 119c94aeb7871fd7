"""dynesty finds the posterior of a surrogate's parameters, and its evidence."""

import pickle

import numpy as np
from known import normal_log_likelihood, posterior_on_a_grid

from surrogates.adapters import dynesty as adapter


def test_the_prior_is_uniform_on_the_bounds(surrogate):
    transform = adapter.arguments(surrogate.likelihood(np.zeros(3), 0.1))["prior_transform"]
    for corner, bound in zip(([0, 0], [1, 1]), surrogate.bounds, strict=True):
        np.testing.assert_allclose(transform(np.array(corner)), bound, rtol=1e-15)


def test_posterior_and_evidence_are_those_of_a_grid(program, surrogate):
    names = program("dynesty")
    results = names["sampler"].results
    weights = results.importance_weights()
    mean = weights @ results.samples

    def log_likelihood(Y):
        std = np.full(3, names["noise"])  # the surrogate's errors are of 1e-6
        return normal_log_likelihood(surrogate.predict(Y), names["data"], std)

    exact, spread, log_evidence = posterior_on_a_grid(log_likelihood, surrogate.bounds)
    effective = 1 / (weights**2).sum()
    assert effective > 500
    np.testing.assert_array_less(np.abs(mean - exact), 4 * spread / effective**0.5)
    std = np.sqrt(weights @ (results.samples - mean) ** 2)
    np.testing.assert_allclose(std, spread, rtol=4 / (2 * effective) ** 0.5)
    # The error that dynesty states, of one standard deviation.
    assert results.logzerr[-1] < 0.3
    assert abs(results.logz[-1] - log_evidence) < 3 * results.logzerr[-1]


def test_arguments_reach_other_processes(surrogate, draws):
    arguments = adapter.arguments(surrogate.likelihood([0.1, -0.7, -0.3], 0.02))
    sent = pickle.loads(pickle.dumps(arguments))
    for name in ("loglikelihood", "prior_transform"):
        np.testing.assert_array_equal(sent[name](draws[0]), arguments[name](draws[0]))
    assert type(arguments["loglikelihood"](draws[0])) is float
