"""dynesty finds the posterior of a surrogate's parameters, and its evidence."""

import pickle

import dynesty
import numpy as np
import pytest
from known import normal_log_likelihood, posterior_on_a_grid
from scipy.stats import norm

import surrogates
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


def test_a_prior_of_ones_own(surrogate):
    """A normal prior, cut off at the bounds."""
    middle, width = surrogate.bounds.mean(axis=0), (surrogate.bounds[1] - surrogate.bounds[0]) / 4
    likelihood = surrogate.likelihood([0.1, -0.7, -0.3], 0.3)
    arguments = adapter.arguments(
        likelihood, prior_transform=lambda u: middle + width * norm.ppf(u)
    )
    rng = np.random.default_rng(2)
    sampler = dynesty.NestedSampler(**arguments, nlive=300, rstate=rng)
    sampler.run_nested(print_progress=False)
    results = sampler.results

    def log_density(Y):
        return likelihood.log_density(Y) + norm.logpdf(Y, middle, width).sum(axis=1)

    exact, spread, log_mean = posterior_on_a_grid(log_density, surrogate.bounds)
    weights = results.importance_weights()
    effective = 1 / (weights**2).sum()
    mean = weights @ results.samples
    assert surrogate.in_domain(results.samples[weights > 0]).all()
    np.testing.assert_array_less(np.abs(mean - exact), 4 * spread / effective**0.5)
    log_evidence = log_mean + np.log(np.prod(surrogate.bounds[1] - surrogate.bounds[0]))
    assert abs(results.logz[-1] - log_evidence) < 3 * results.logzerr[-1]


@pytest.mark.parametrize("own", [False, True])
def test_weights_sum_to_one(folder, own):
    """A uniform prior on the domain; and on the simplex, by exponentials over their sum."""
    weights = surrogates.load(folder / "weights.npz")
    likelihood = weights.likelihood([1.6, 1.0], 0.1)
    arguments = adapter.arguments(likelihood, prior_transform=weights_of if own else None)
    sampler = dynesty.NestedSampler(**arguments, nlive=300, rstate=np.random.default_rng(3))
    sampler.run_nested(print_progress=False)
    results = sampler.results
    p = results.importance_weights()
    np.testing.assert_allclose(results.samples.sum(axis=1), 1, atol=1e-12)

    # By the midpoint rule on the triangle of two weights, whose area is 1 / 2.
    n = 1000
    u = (np.arange(n) + 0.5) / n
    Y = np.stack(np.meshgrid(u, u, indexing="ij"), axis=-1).reshape(-1, 2)
    Y = Y[Y.sum(axis=1) < 1 - 1e-9]
    Y = np.concatenate([Y, 1 - Y.sum(axis=1, keepdims=True)], axis=1)
    inside = weights.in_domain(Y)
    density = np.where(inside, np.exp(likelihood.log_density(Y)), 0.0)
    exact = density @ Y / density.sum()
    spread = np.sqrt(density @ (Y - exact) ** 2 / density.sum())
    effective = 1 / (p**2).sum()
    np.testing.assert_array_less(np.abs(p @ results.samples - exact), 4 * spread / effective**0.5)
    log_evidence = np.log(density.sum() / (len(Y) if own else inside.sum()))
    assert abs(results.logz[-1] - log_evidence) < 3 * results.logzerr[-1]


def weights_of(u):
    return np.log(u) / np.log(u).sum()


def test_arguments_reach_other_processes(surrogate, draws):
    arguments = adapter.arguments(surrogate.likelihood([0.1, -0.7, -0.3], 0.02))
    sent = pickle.loads(pickle.dumps(arguments))
    for name in ("loglikelihood", "prior_transform"):
        np.testing.assert_array_equal(sent[name](draws[0]), arguments[name](draws[0]))
    assert type(arguments["loglikelihood"](draws[0])) is float
