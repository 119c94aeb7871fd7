"""PyApprox takes the surrogate as a function, an objective, a constraint and an observation."""

import numpy as np
import pytest
from known import sobol_indices
from pyapprox.interface.functions.derivative_checks.derivative_checker import DerivativeChecker
from pyapprox.interface.functions.protocols import (
    FunctionWithJacobianAndHVPProtocol,
    FunctionWithJacobianAndWHVPProtocol,
)
from pyapprox.inverse.protocols.forward_model import ObservationOperatorWithHessianProtocol
from pyapprox.optimization.minimize.scipy.trust_constr import ScipyTrustConstrOptimizer
from scipy.optimize import minimize

from surrogates import InputError
from surrogates.adapters import pyapprox as adapter


@pytest.fixture
def function(surrogate):
    return adapter.function(surrogate)


def test_the_function_satisfies_the_protocols(surrogate, function):
    one = adapter.function(surrogate.select(0))
    assert isinstance(function, FunctionWithJacobianAndWHVPProtocol)
    assert isinstance(function, ObservationOperatorWithHessianProtocol)
    assert not hasattr(function, "hvp")
    assert isinstance(one, FunctionWithJacobianAndHVPProtocol)
    assert (function.nvars(), function.nqoi(), function.nobs(), one.nqoi()) == (2, 3, 3, 1)


def test_values_and_derivatives_are_those_of_the_surrogate(surrogate, function, draws, close):
    np.testing.assert_array_equal(function(draws.T), surrogate.predict(draws).T)
    np.testing.assert_array_equal(function.jacobian_batch(draws.T), surrogate.jacobian(draws))
    H = function.hessian_batch(draws.T)
    assert H.shape == (7, 3, 2, 2)
    rng = np.random.default_rng(0)
    for y, h in zip(draws, H, strict=True):
        column, v, w = y[:, None], rng.normal(size=(2, 1)), rng.normal(size=(3, 1))
        J = function.jacobian(column)
        close(J, surrogate.jacobian(y))
        close(function.apply_jacobian(column, v), J @ v)
        close(function.apply_jacobian_transpose(column, w), J.T @ w)
        close(function.whvp(column, v, w), np.einsum("o,oij,jk->ik", w[:, 0], h, v))
        close(function.apply_weighted_hessian(column, v, w), function.whvp(column, v, w))
        close(function.apply_hessian(column, v), function.whvp(column, v, np.ones((3, 1))))


def test_pyapprox_finds_the_derivatives_right(surrogate, function):
    y = surrogate.bounds.mean(axis=0)[:, None]
    for one, weights in (
        (function, np.ones((1, 3))),
        (adapter.function(surrogate.select(1)), None),
    ):
        checker = DerivativeChecker(one)
        # The error of finite differences falls with the step, until rounding: V-shaped.
        for errors in checker.check_derivatives(y, weights=weights):
            assert checker.error_ratio(errors) < 1e-5


def test_parameters_are_uniform_on_the_bounds(surrogate):
    Y, (lower, upper) = adapter.parameters(surrogate), surrogate.bounds
    np.random.seed(0)
    draws = Y.rvs(1000).T
    assert surrogate.in_domain(draws).all()
    u = (draws - lower) / (upper - lower)
    np.testing.assert_allclose(u.mean(axis=0), 0.5, atol=4 / (12 * 1000) ** 0.5)
    np.testing.assert_allclose(Y.logpdf(draws[:5].T), -np.log(upper - lower).sum(), rtol=1e-14)


def test_indices_are_those_of_the_function(program, surrogate, without_torch):
    names = program("pyapprox")
    first, total = sobol_indices(surrogate.bounds)
    # Of 4096 points of a scrambled Sobol sequence, better than 1 / 4096^0.5 of random points.
    np.testing.assert_allclose(names["study"].main_effects().T, first, atol=1 / 64)
    np.testing.assert_allclose(names["study"].total_effects().T, total, atol=1 / 64)
    without_torch("pyapprox", "pyapprox")


def test_an_optimiser_takes_gradients_and_hessians(surrogate):
    """The lowest position after two seconds, on the side of least damping."""
    one = surrogate.select("x(2 s)")
    start, bounds = surrogate.bounds.mean(axis=0), surrogate.bounds.T.copy()
    optimiser = ScipyTrustConstrOptimizer(adapter.function(one), bounds, gtol=1e-10)
    found = optimiser.minimize(start[:, None]).optima()[:, 0]
    right = minimize(lambda y: one.predict(y)[0], start, bounds=bounds, method="Nelder-Mead")
    assert one.predict(found)[0] == pytest.approx(right.fun, abs=1e-5)
    np.testing.assert_allclose(found, right.x, atol=2e-3)
    assert found[1] == pytest.approx(bounds[1, 0], abs=1e-4)


def test_weights_that_sum_to_one_are_refused_with_what_to_do(weights):
    with pytest.raises(InputError, match=r"not independent, .*emcee.start\(s, n\)"):
        adapter.parameters(weights)
