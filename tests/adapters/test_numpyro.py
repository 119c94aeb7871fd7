"""NumPyro samples parameters with the surrogate's native gradient."""

import jax
import numpy as np
import numpyro
import pytest
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import MCMC, NUTS, Predictive

from surrogates import InputError
from surrogates.adapters import jax as of_jax
from surrogates.adapters import numpyro as adapter
from surrogates.adapters._domain import coordinates


def test_a_posterior_is_that_of_a_grid(program, surrogate, grid, without_torch):
    names = program("numpyro")
    samples = names["sampler"].get_samples()
    mean, std = grid(names["data"], names["noise"])
    # The mean of n effective draws has the error std / sqrt(n): four of them are allowed.
    ess = effective_sample_size(np.asarray(samples["y"])[None])
    assert (ess > 300).all()
    found = np.asarray(samples["y"])
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - mean), 4 * std / np.sqrt(ess))
    np.testing.assert_allclose(found.std(axis=0), std, rtol=4 / np.sqrt(2 * ess.min()))
    np.testing.assert_allclose(samples["c"], surrogate.predict(found), rtol=1e-9, atol=1e-9)
    without_torch("numpyro", "jax", "numpyro")


def test_sites_are_uniform_and_normal_with_both_errors(surrogate):
    numpyro.enable_x64()

    def model():
        y = adapter.parameters(surrogate, "parameters")
        adapter.data(
            surrogate,
            adapter.observables(surrogate, y),
            {"x(3 s)": 3.0, "x(1 s)": 1.0, "x(2 s)": 2.0},
            0.1,
        )

    sites = numpyro.handlers.trace(numpyro.handlers.seed(model, 0)).get_trace()
    assert list(sites) == ["parameters", "c", "data"]
    uniform = sites["parameters"]["fn"].base_dist
    np.testing.assert_array_equal([uniform.low, uniform.high], surrogate.bounds)
    normal = sites["data"]["fn"].base_dist
    rms = np.array(surrogate.metadata["errors"]["test"]["output_rms"])
    np.testing.assert_allclose(normal.scale, np.hypot(0.1, rms), rtol=1e-15)
    assert sites["data"]["value"].tolist() == [1.0, 2.0, 3.0]


def test_single_precision_is_refused(surrogate):
    with jax.enable_x64(False), pytest.raises(InputError, match=r"call numpyro.enable_x64\(\) f"):
        adapter.parameters(surrogate)


def test_a_likelihood_with_the_covariance_of_errors_has_its_gradient(noisy, draws):
    numpyro.enable_x64()
    data = [0.1, -0.7, -0.3]
    value, gradient = noisy.likelihood(data, 0.01).value_and_gradient(draws)

    def model(y):
        adapter.likelihood(noisy, y, data, 0.01)

    def density(y):
        return numpyro.infer.util.log_density(model, (y,), {}, {})[0]

    found = jax.jit(jax.vmap(jax.value_and_grad(density)))(draws)
    np.testing.assert_allclose(found[0], value, rtol=1e-10)
    np.testing.assert_allclose(found[1], gradient, rtol=1e-10)
    np.testing.assert_allclose(jax.grad(density)(draws[0]), gradient[0], rtol=1e-10)


def test_weights_that_sum_to_one_are_uniform_on_their_domain(weights, triangle, alike):
    numpyro.enable_x64()
    drawn = Predictive(lambda: adapter.parameters(weights), num_samples=2000)(jax.random.key(0))
    assert weights.in_domain(np.asarray(drawn["y"])).all()
    alike(np.asarray(drawn["y"]), 2000, triangle())
    sampler = MCMC(NUTS(lambda: adapter.parameters(weights)), **STEPS)
    sampler.run(jax.random.key(1))
    alike(*effective(sampler), triangle())


def test_a_posterior_of_weights_is_that_of_the_midpoint_rule(weights, triangle, alike):
    numpyro.enable_x64()
    likelihood = weights.likelihood([1.6, 1.0], 0.1)

    def model():
        adapter.likelihood(weights, adapter.parameters(weights), [1.6, 1.0], 0.1)

    sampler = MCMC(NUTS(model), **STEPS | {"num_warmup": 300, "num_samples": 800})
    sampler.run(jax.random.key(2))
    alike(*effective(sampler), triangle(likelihood.log_density))


def test_coordinates_in_jax_are_those_of_numpy(weights):
    numpyro.enable_x64()
    known, rng = coordinates(weights), np.random.default_rng(3)
    U, W = rng.random((20, 2)), rng.normal(size=(20, 3))
    call = of_jax.from_cube(known)
    for found, right in zip(jax.jit(call)(U), known.to_y(U), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-11, atol=1e-13)
    _, back = jax.vjp(call, U)
    (slope,) = back((W, np.ones(20)))
    np.testing.assert_allclose(slope, known.vjp(U, W, np.ones(20)), rtol=1e-9, atol=1e-11)


STEPS = {"num_warmup": 500, "num_samples": 2000, "progress_bar": False}


def effective(sampler):
    """The samples of y, and how many count as independent."""
    samples = np.asarray(sampler.get_samples()["y"])
    number = effective_sample_size(samples[None]).min()
    assert number > 100
    return samples, number
