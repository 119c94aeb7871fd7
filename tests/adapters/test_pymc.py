"""PyMC calls the surrogate, and NUTS its gradient."""

import numpy as np
import pymc
import pytensor
import pytensor.tensor as tensor
import pytest

from surrogates.adapters import pymc as adapter

DATA = [0.1, -0.7, -0.3]


def test_values_and_gradients_are_those_of_the_surrogate(surrogate, draws, close):
    y, w = tensor.dmatrix(), tensor.dmatrix()
    c = adapter.function(surrogate)(y)
    gradient = pytensor.grad((c * w).sum(), y)
    W = np.random.default_rng(0).normal(size=(len(draws), 3))
    value, slope = pytensor.function([y, w], [c, gradient])(draws, W)
    np.testing.assert_array_equal(value, surrogate.predict(draws))
    J = surrogate.jacobian(draws)
    close(slope, np.einsum("no,noi->ni", W, J))


def test_where_a_trajectory_diverges_there_is_nan_and_no_error(noisy, draws):
    y = tensor.dvector()
    c = adapter.function(noisy)(y)
    with pymc.Model() as model:
        adapter.likelihood(noisy, y, DATA, 0.01)
    outputs = [c, pytensor.grad(c.sum(), y), model.potentials[0]]
    function = pytensor.function([y], outputs)
    for at in (np.array([np.nan, 0.3]), np.array([np.inf, 0.3])):
        assert all(np.isnan(found).all() for found in function(at))
    assert all(np.isfinite(found).all() for found in function(draws[0]))


def test_a_gradient_is_that_of_finite_differences(surrogate, draws):
    pytensor.gradient.verify_grad(
        adapter.function(surrogate), [draws[0]], rng=np.random.default_rng(0), eps=1e-6
    )


def test_a_posterior_is_that_of_a_grid(program, surrogate, grid, without_torch):
    names = program("pymc")
    trace = names["trace"]
    assert trace.posterior["y"].coords["y_names"].values.tolist() == list(surrogate.y_names)
    assert trace.posterior["c"].coords["c_names"].values.tolist() == list(surrogate.c_names)
    samples = trace.posterior["y"].values.reshape(-1, 2)
    mean, std = grid(names["data"], names["noise"])
    # The mean of n effective draws has the error std / sqrt(n): four of them are allowed.
    ess = pymc.ess(trace, var_names="y")["y"].values
    assert (ess > 300).all()
    np.testing.assert_array_less(np.abs(samples.mean(axis=0) - mean), 4 * std / np.sqrt(ess))
    np.testing.assert_allclose(samples.std(axis=0), std, rtol=4 / np.sqrt(2 * ess.min()))
    without_torch("pymc", "pymc", "pytensor")


def test_a_likelihood_with_the_covariance_of_errors_has_its_gradient(noisy, draws):
    likelihood = noisy.likelihood(DATA, 0.01)
    with pymc.Model() as model:
        y = adapter.parameters(noisy)
        adapter.likelihood(noisy, y, DATA, 0.01)
    value = model.compile_fn(model.potentials[0], inputs=[y])
    slope = model.compile_fn(pytensor.grad(model.potentials[0], y), inputs=[y])
    for at in draws:
        right, gradient = likelihood.value_and_gradient(at)
        np.testing.assert_allclose(value({"y": at}), right, rtol=1e-10)
        np.testing.assert_allclose(slope({"y": at}), gradient, rtol=1e-10)
    assert np.ptp(likelihood(draws)) > 10


def test_two_processes_sample(noisy):
    with pymc.Model():
        y = adapter.parameters(noisy)
        adapter.likelihood(noisy, y, DATA, 0.01)
        options = {"chains": 2, "cores": 2, "mp_ctx": "spawn", "progressbar": False}
        trace = pymc.sample(50, tune=50, random_seed=1, **options)
    samples = trace.posterior["y"].values
    assert samples.shape == (2, 50, 2) and (samples.std(axis=1) > 0).all()
    assert noisy.in_domain(samples).all()


def test_jax_evaluates_the_same(noisy, draws, close):
    w = np.array([1.0, -2.0, 0.5])
    with pymc.Model() as model:
        y = adapter.parameters(noisy)
        adapter.likelihood(noisy, y, DATA, 0.01)
        pymc.Potential("sum", (adapter.function(noisy)(y) * w).sum())
    outputs = [*model.potentials, *pytensor.grad(sum(model.potentials), [y])]
    function = pytensor.function([y], outputs, mode="JAX")
    likelihood = noisy.likelihood(DATA, 0.01)
    for at in draws:
        value, total, slope = function(at)
        right, gradient = likelihood.value_and_gradient(at)
        close(value, right)
        close(total, noisy.predict(at) @ w)
        np.testing.assert_allclose(slope, gradient + noisy.vjp(at, w), rtol=1e-9)


def test_numpyro_samples_the_same_posterior(surrogate, grid):
    with pymc.Model():
        adapter.data(
            surrogate, adapter.observables(surrogate, adapter.parameters(surrogate)), DATA, 0.02
        )
        options = {"chains": 1, "progressbar": False, "nuts_sampler": "numpyro"}
        trace = pymc.sample(1000, tune=500, random_seed=1, **options)
    samples = trace.posterior["y"].values.reshape(-1, 2)
    mean, std = grid(DATA, 0.02)
    ess = pymc.ess(trace, var_names="y")["y"].values
    assert (ess > 150).all()
    np.testing.assert_array_less(np.abs(samples.mean(axis=0) - mean), 4 * std / np.sqrt(ess))


def test_weights_that_sum_to_one_are_uniform_on_their_domain(weights, triangle, alike):
    with pymc.Model() as model:
        y = adapter.parameters(weights)
        drawn = pymc.sample_prior_predictive(2000, random_seed=0)
    drawn = drawn.prior["y"].values.reshape(-1, 3)
    assert weights.in_domain(drawn).all()
    alike(drawn, 2000, triangle())
    trace = sampled(model, 1)
    assert trace.posterior["y"].coords["y_names"].values.tolist() == list(weights.y_names)
    alike(*effective(trace), triangle())
    # The gradient of the density in the coordinates that NUTS has.
    at = {name: np.array([0.3, -0.8]) for name in model.initial_point()}
    slope, step = model.compile_dlogp()(at), 1e-6
    logp = model.compile_logp()
    ends = [[logp({k: v + h * e for k, v in at.items()}) for e in np.eye(2)] for h in (step, -step)]
    difference = (np.array(ends[0]) - np.array(ends[1])) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-5, atol=1e-7)
    assert y.eval().shape == (3,)


@pytest.mark.parametrize("sampler", ["pymc", "numpyro"])
def test_a_posterior_of_weights_is_that_of_the_midpoint_rule(weights, triangle, alike, sampler):
    likelihood = weights.likelihood([1.6, 1.0], 0.1)
    with pymc.Model() as model:
        adapter.likelihood(weights, adapter.parameters(weights), [1.6, 1.0], 0.1)
    trace = sampled(model, 2, draws=800, tune=300, nuts_sampler=sampler)
    alike(*effective(trace), triangle(likelihood.log_density))


def sampled(model, seed, draws=2000, tune=500, **options):
    options |= {"chains": 1, "cores": 1, "progressbar": False, "random_seed": seed}
    with model:
        return pymc.sample(draws, tune=tune, **options)


def effective(trace):
    """The samples of y, and how many count as independent."""
    number = float(pymc.ess(trace, var_names="y")["y"].values.min())
    assert number > 100
    return trace.posterior["y"].values.reshape(-1, 3), number
