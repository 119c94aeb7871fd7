"""CUQIpy evaluates and differentiates the surrogate, and samples a posterior by NUTS."""

import cuqi
import numpy as np
from known import normal_log_likelihood, posterior_on_a_grid, quartiles_on_a_grid

import surrogates
from surrogates.adapters import cuqipy as adapter


def test_names_are_those_of_the_surrogate(surrogate):
    model, y = adapter.model(surrogate), adapter.parameters(surrogate)
    assert tuple(model.domain_geometry.variables) == surrogate.y_names
    assert tuple(model.range_geometry.variables) == surrogate.c_names
    assert tuple(y.geometry.variables) == surrogate.y_names and y.name == "y"
    c = adapter.data(surrogate, y, 0.1)
    assert tuple(c.geometry.variables) == surrogate.c_names and c.name == "c"


def test_values_and_gradients_are_those_of_the_surrogate(surrogate, draws):
    model = adapter.model(surrogate)
    W = np.random.default_rng(0).normal(size=(len(draws), 3))
    for y, w in zip(draws, W, strict=True):
        np.testing.assert_array_equal(model(y), surrogate.predict(y))
        exact = w @ surrogate.jacobian(y)
        np.testing.assert_allclose(model.gradient(w, y), exact, rtol=0, atol=1e-8)
    samples = cuqi.samples.Samples(draws.T, geometry=model.domain_geometry)
    found = model(samples)
    np.testing.assert_allclose(found.samples.T, surrogate.predict(draws), rtol=0, atol=1e-9)
    assert tuple(found.geometry.variables) == surrogate.c_names


def test_a_density_is_zero_where_the_model_has_no_logarithm(folder):
    logarithmic = surrogates.load(folder / "logarithmic.npz")
    y, off = logarithmic.bounds.mean(axis=0), np.array([-1.0, 0.3])
    model = adapter.model(logarithmic)
    np.testing.assert_array_equal(model(y), logarithmic.predict(y))
    assert (model(off) > 1e99).all() and (model.gradient(np.ones(3), off) == 0).all()
    refusing = adapter.model(surrogates.load(folder / "noisy.npz", refuse_outside=True))
    assert (refusing(off) > 1e99).all() and (refusing(y) < 1).all()
    prior = adapter.parameters(logarithmic)
    data = adapter.data(logarithmic, prior, 0.5)
    problem = cuqi.problem.BayesianProblem(prior, data).set_data(c=logarithmic.predict(y))
    for posterior in (problem.posterior, adapter.posterior(logarithmic.likelihood([0.0] * 3, 0.5))):
        assert posterior.logd(off) == -np.inf and np.isfinite(posterior.logd(y))
        np.random.seed(0)
        sampler = cuqi.sampler.NUTS(posterior, initial_point=y, step_size=1.0)  # far too long
        sampler.sample(200)
        samples = sampler.get_samples().samples.T
        assert logarithmic.in_domain(samples).all() and samples.std(axis=0).min() > 0


def test_the_prior_is_uniform_on_the_bounds(surrogate, draws):
    y, (lower, upper) = adapter.parameters(surrogate), surrogate.bounds
    density = -np.log(upper - lower).sum()
    for at in draws:
        np.testing.assert_allclose(y.logd(at), density, rtol=1e-14)
    assert y.logd(9 * draws[0]) == -np.inf
    assert (y.gradient(9 * draws[0]) == 0).all()
    samples = y.sample(100, rng=np.random.RandomState(0)).samples.T
    assert surrogate.in_domain(samples).all()


def test_a_posterior_is_that_of_a_grid(program, surrogate):
    names = program("cuqipy")
    samples = names["samples"]
    rms = surrogate.metadata["errors"]["test"]["output_rms"]
    std = np.hypot(names["noise"], rms)

    def log_likelihood(Y):
        return normal_log_likelihood(surrogate.predict(Y), names["data"], std)

    mean, spread, _ = posterior_on_a_grid(log_likelihood, surrogate.bounds)
    effective = min(samples.compute_ess())
    assert effective > 300
    np.testing.assert_array_less(np.abs(samples.mean() - mean), 4 * spread / effective**0.5)
    found = samples.samples.std(axis=1)
    np.testing.assert_allclose(found, spread, rtol=4 / (2 * effective) ** 0.5)


def test_the_best_point_is_found_with_the_gradient(surrogate):
    y = adapter.parameters(surrogate)
    truth, noise = np.array([2.5, 0.35]), 0.01
    c = adapter.data(surrogate, y, noise)
    problem = cuqi.problem.BayesianProblem(y, c).set_data(c=surrogate.predict(truth))
    found = problem.MAP(x0=surrogate.bounds.mean(axis=0))
    np.testing.assert_allclose(np.asarray(found), truth, rtol=1e-4)


def test_a_posterior_has_the_likelihood_of_the_surrogate(surrogate, draws, folder):
    noisy = surrogates.load(folder / "noisy.npz")
    likelihood = noisy.likelihood([0.1, -0.7, -0.3], 0.02)
    posterior = adapter.posterior(likelihood)
    assert tuple(posterior.geometry.variables) == surrogate.y_names
    constant = -np.log(noisy.bounds[1] - noisy.bounds[0]).sum()
    Y = draws[noisy.in_domain(draws)]
    assert len(Y) > 3
    for y in Y:
        density = likelihood.log_density(y) + constant
        np.testing.assert_allclose(posterior.logd(y), density, rtol=1e-12)
        np.testing.assert_array_equal(posterior.gradient(y), likelihood.gradient(y))
    assert posterior.logd(9 * Y[0]) == -np.inf and (posterior.gradient(9 * Y[0]) == 0).all()


def test_a_posterior_has_a_prior_of_ones_own(surrogate, draws):
    names = cuqi.geometry.Discrete(list(surrogate.y_names))
    prior = cuqi.distribution.Gaussian(np.array([2.0, 0.3]), 0.1**2, geometry=names, name="y")
    likelihood = surrogate.likelihood([0.1, -0.7, -0.3], 0.02)
    posterior = adapter.posterior(likelihood, prior)
    for y in draws:
        density = likelihood.log_density(y) + prior.logd(y)
        np.testing.assert_allclose(posterior.logd(y), density, rtol=1e-12)
        gradient = likelihood.gradient(y) + prior.gradient(y)
        np.testing.assert_allclose(posterior.gradient(y), gradient, rtol=1e-12)


def test_a_posterior_with_the_errors_of_the_surrogate_is_sampled(folder):
    """Its tails are far: a standard deviation would be decided by few samples."""
    noisy = surrogates.load(folder / "noisy.npz")
    likelihood = noisy.likelihood(noisy.predict([2.0, 0.3]), 0.02)
    np.random.seed(1)
    centre = noisy.bounds.mean(axis=0)
    sampler = cuqi.sampler.NUTS(adapter.posterior(likelihood), initial_point=centre)
    sampler.warmup(300, tune_freq=1 / 300)
    sampler.sample(1000)
    samples = sampler.get_samples().burnthin(300)
    right = quartiles_on_a_grid(likelihood.log_density, noisy.bounds)
    effective = min(samples.compute_ess())
    assert effective > 200
    found = np.quantile(samples.samples, (0.25, 0.75), axis=1)
    # A normal distribution has a quartile with an error of as much as is between both, over root n.
    assert (np.abs(found - right) < 4 * np.diff(right, axis=0) / effective**0.5).all()


def test_weights_that_sum_to_one_are_sampled_in_the_cube(weights, triangle, alike):
    prior = adapter.parameters(weights)
    assert prior.dim == 2
    drawn = adapter.from_cube(weights, prior.sample(2000, rng=np.random.RandomState(0)))
    assert weights.in_domain(drawn).all()
    alike(drawn, 2000, triangle())
    likelihood = weights.likelihood([1.6, 1.0], 0.1)
    exact = triangle(likelihood.log_density)
    posterior = adapter.posterior(likelihood)
    u, step = np.array([0.4, 0.7]), 1e-6
    ends = [[posterior.logd(u + h * e).item() for e in np.eye(2)] for h in (step, -step)]
    slope = (np.array(ends[0]) - np.array(ends[1])) / (2 * step)
    np.testing.assert_allclose(posterior.gradient(u), slope, rtol=1e-5)
    np.random.seed(1)
    sampler = cuqi.sampler.NUTS(posterior, initial_point=u)
    sampler.warmup(300, tune_freq=1 / 300)
    sampler.sample(1500)
    samples = sampler.get_samples().burnthin(300)
    effective = min(samples.compute_ess())
    assert effective > 200
    alike(adapter.from_cube(weights, samples), effective, exact)


def test_data_of_weights_have_the_model_of_the_cube(weights):
    prior, u = adapter.parameters(weights), np.array([0.4, 0.7])
    data = adapter.data(weights, prior, 0.1)
    y = adapter.from_cube(weights, u[None])[0]
    problem = cuqi.problem.BayesianProblem(prior, data).set_data(c=weights.predict(y))
    w = np.array([1.0, -2.0])
    model = adapter.model(weights, cube=True)
    np.testing.assert_allclose(model(u), weights.predict(y), rtol=1e-12)
    step = 1e-6
    ends = [[w @ np.asarray(model(u + h * e)) for e in np.eye(2)] for h in (step, -step)]
    slope = (np.array(ends[0]) - np.array(ends[1])) / (2 * step)
    np.testing.assert_allclose(model.gradient(w, u), slope, rtol=1e-6, atol=1e-8)
    assert np.isfinite(problem.posterior.logd(u)) and problem.posterior.logd(u + 1) == -np.inf
