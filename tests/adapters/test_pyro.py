"""Pyro samples parameters with the surrogate's gradient; torch differentiates it twice."""

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import MCMC, NUTS, Predictive

import surrogates
from surrogates.adapters import pyro as adapter
from surrogates.adapters._domain import coordinates


@pytest.fixture(params=["oscillator.npz", "oscillator.pt"])
def function(request, folder):
    """The map, by the engines numpy and torch."""
    return adapter.function(surrogates.load(folder / request.param))


def test_values_and_gradients_are_those_of_the_surrogate(function, surrogate, draws, close):
    y = torch.tensor(draws.reshape(7, 1, 2), requires_grad=True)
    w = np.random.default_rng(0).normal(size=(7, 1, 3))
    c = function(y)
    (slope,) = torch.autograd.grad((c * torch.tensor(w)).sum(), y)
    close(c.detach().numpy(), surrogate.predict(draws)[:, None])
    close(slope.numpy(), np.einsum("nko,noi->nki", w, surrogate.jacobian(draws)))


def test_second_derivatives_are_those_of_finite_differences(function, surrogate, draws):
    y, w = draws[0], np.array([1.0, -2.0, 0.5])
    found = torch.func.hessian(lambda y: function(y) @ torch.tensor(w))(torch.tensor(y))
    step = 1e-4
    ends = [[surrogate.vjp(y + sign * step * e, w) for e in np.eye(2)] for sign in (1, -1)]
    difference = (np.array(ends[0]) - np.array(ends[1])) / (2 * step)
    # The error of central differences, and the rounding of terms that cancel, over the step.
    np.testing.assert_allclose(found.numpy(), difference, atol=100 * step**2 + 1e-9 / step)
    assert np.abs(difference).max() > 0.1


def test_it_is_mapped_and_differentiated_by_torch_func(function, surrogate, draws, close):
    Y = torch.tensor(draws)
    J = torch.func.vmap(torch.func.jacrev(function))(Y)
    close(J.numpy(), surrogate.jacobian(draws))
    close(torch.func.vmap(function, in_dims=1)(Y.T).numpy(), surrogate.predict(draws))


def test_where_a_trajectory_diverges_there_is_nan_and_no_error(function):
    y = torch.tensor([[2.0, 0.3], [np.nan, 0.3]], dtype=torch.float64, requires_grad=True)
    c = function(y)
    c.sum().backward()
    assert torch.isnan(c).all(dim=1).tolist() == [False, True]
    assert torch.isnan(y.grad).all(dim=1).tolist() == [False, True]


def test_single_precision_is_taken_and_its_gradient_is_in_single_precision(function, surrogate):
    y = torch.tensor([2.0, 0.25], dtype=torch.float32, requires_grad=True)
    c = function(y)
    c.sum().backward()
    assert c.dtype == torch.float64 and y.grad.dtype == torch.float32
    right = surrogate.vjp([2.0, 0.25], np.ones(3))
    np.testing.assert_allclose(y.grad.numpy(), right, rtol=1e-6, atol=1e-6)


def test_of_a_classifier_it_gives_the_logits(folder, draws, close):
    classifier = surrogates.load(folder / "sides.npz")
    function = adapter.function(classifier)
    Y = torch.tensor(draws)
    close(function(Y).numpy(), classifier.logits(draws))
    close(torch.func.vmap(torch.func.jacrev(function))(Y).numpy(), classifier.jacobian(draws))


def test_the_prior_is_uniform_on_the_bounds(surrogate):
    site = pyro.poutine.trace(lambda: adapter.parameters(surrogate)).get_trace().nodes["y"]
    uniform = site["fn"].base_dist
    np.testing.assert_array_equal(torch.stack([uniform.low, uniform.high]), surrogate.bounds)


def test_a_posterior_is_that_of_a_grid(program, grid):
    names = program("pyro")
    samples, s = names["samples"], names["s"]
    mean, std = grid(names["data"], names["noise"])
    # Half of the 500 draws count as independent. Means may differ by four of their errors.
    np.testing.assert_array_less(np.abs(samples.mean(axis=0) - mean), 4 * std / np.sqrt(250))
    np.testing.assert_allclose(samples.std(axis=0), std, rtol=4 / np.sqrt(2 * 250))
    found = Predictive(names["model"], names["sampler"].get_samples(), return_sites=["c"])()["c"]
    np.testing.assert_allclose(found.numpy(), s.predict(samples), rtol=1e-12)


def test_a_likelihood_with_the_covariance_of_errors_has_its_gradient(noisy, draws):
    data = [0.1, -0.7, -0.3]
    value, gradient = noisy.likelihood(data, 0.01).value_and_gradient(draws)
    y = torch.tensor(draws, requires_grad=True)

    def model():
        adapter.likelihood(noisy, y, data, 0.01)

    density = pyro.poutine.trace(model).get_trace().log_prob_sum()
    density.backward()
    np.testing.assert_allclose(density.item(), value.sum(), rtol=1e-10)
    np.testing.assert_allclose(y.grad.numpy(), gradient, rtol=1e-10)


def test_weights_that_sum_to_one_are_uniform_on_their_domain(weights, triangle, alike):
    pyro.set_rng_seed(0)
    drawn = Predictive(lambda: adapter.parameters(weights), num_samples=1000)()["y"].numpy()
    assert weights.in_domain(drawn.reshape(-1, 3)).all()
    alike(drawn.reshape(-1, 3), 1000, triangle())


def test_a_posterior_of_weights_is_that_of_the_midpoint_rule(weights, triangle, alike):
    likelihood = weights.likelihood([1.6, 1.0], 0.1)

    def model():
        adapter.likelihood(weights, adapter.parameters(weights), [1.6, 1.0], 0.1)

    pyro.set_rng_seed(1)
    sampler = MCMC(NUTS(model), num_samples=400, warmup_steps=150, disable_progbar=True)
    sampler.run()
    U = sampler.get_samples()["y_cube"]
    samples = coordinates(weights).to_y(U.numpy())[0]
    number = float(pyro.ops.stats.effective_sample_size(U[None]).min())
    assert number > 100
    alike(samples, number, triangle(likelihood.log_density))
