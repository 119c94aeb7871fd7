"""PyMC calls the surrogate, and NUTS its gradient."""

import numpy as np
import pymc
import pytensor
import pytensor.tensor as tensor

from surrogates.adapters import pymc as adapter


def test_values_and_gradients_are_those_of_the_surrogate(surrogate, draws, close):
    y, w = tensor.dmatrix(), tensor.dmatrix()
    c = adapter.function(surrogate)(y)
    gradient = pytensor.grad((c * w).sum(), y)
    W = np.random.default_rng(0).normal(size=(len(draws), 3))
    value, slope = pytensor.function([y, w], [c, gradient])(draws, W)
    np.testing.assert_array_equal(value, surrogate.predict(draws))
    J = surrogate.jacobian(draws)
    close(slope, np.einsum("no,noi->ni", W, J))


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
