"""OpenTURNS evaluates, differentiates, and finds failure probabilities and Sobol indices."""

import numpy as np
import openturns as ot
import pytest
from known import oscillator, posterior_on_a_grid, sobol_indices
from scipy.optimize import brentq

import surrogates
from surrogates.adapters import openturns as adapter


@pytest.fixture
def function(surrogate):
    return adapter.function(surrogate)


def test_names_and_bounds_are_those_of_the_surrogate(surrogate, function):
    Y = adapter.parameters(surrogate)
    assert tuple(function.getInputDescription()) == surrogate.y_names
    assert tuple(function.getOutputDescription()) == surrogate.c_names
    assert tuple(Y.getDescription()) == surrogate.y_names
    ends = Y.getRange()
    bounds = np.array([ends.getLowerBound(), ends.getUpperBound()])
    np.testing.assert_array_equal(bounds, surrogate.bounds)
    volume = np.prod(surrogate.bounds[1] - surrogate.bounds[0])
    assert Y.computePDF(surrogate.bounds.mean(axis=0)) == pytest.approx(1 / volume, rel=1e-14)


def test_samples_are_evaluated_in_one_call(surrogate, draws, monkeypatch):
    calls = []
    call = type(surrogate).__call__
    monkeypatch.setattr(
        type(surrogate), "__call__", lambda s, y: calls.append(np.shape(y)) or call(s, y)
    )
    function = adapter.function(surrogate)
    np.testing.assert_array_equal(np.array(function(draws)), surrogate.predict(draws))
    assert calls == [(7, 2)]
    np.testing.assert_array_equal(np.array(function(draws[0])), surrogate.predict(draws[0]))


def test_derivatives_are_those_of_the_surrogate(surrogate, function, draws):
    for y in draws:
        J = surrogate.jacobian(y)
        np.testing.assert_array_equal(np.array(function.gradient(y)).T, J)
        tensor = function.hessian(y)
        for k, w in enumerate(np.eye(3)):
            H = np.array([[tensor[i, j, k] for j in range(2)] for i in range(2)])
            exact = surrogate.hvp(y, w, np.eye(2))
            np.testing.assert_allclose(H, exact, rtol=0, atol=1e-12 + 1e-9 * np.abs(exact).max())


def test_the_hessian_is_that_of_finite_differences(surrogate, function, draws):
    h = 1e-4  # its error: h^2 times third derivatives of order one, and rounding 1e-9 / h
    for y in draws:
        for i, e in enumerate(h * np.eye(2)):
            change = np.array(function.gradient(y + e)) - np.array(function.gradient(y - e))
            found = np.array([[function.hessian(y)[i, j, k] for k in range(3)] for j in range(2)])
            np.testing.assert_allclose(found, change / (2 * h), atol=1e-5)


def test_indices_and_a_failure_probability(program, surrogate):
    names = program("openturns")
    first, total = sobol_indices(surrogate.bounds)
    sobol = names["sobol"]
    for k in range(3):
        # Of 4096 random points: errors of about 1 / 4096^0.5, of which four are allowed.
        np.testing.assert_allclose(sobol.getFirstOrderIndices(k), first[k], atol=4 / 64)
        np.testing.assert_allclose(sobol.getTotalOrderIndices(k), total[k], atol=4 / 64)
    result, (lower, upper) = names["form"].getResult(), surrogate.bounds

    # Which stiffness gives the threshold, by damping: the probability is an integral over damping.
    x, w = np.polynomial.legendre.leggauss(20)
    damping = lower[1] + (x + 1) / 2 * (upper[1] - lower[1])
    limits = [
        brentq(lambda k, d=d: oscillator(np.array([[k, d]]))[0, 0] - 0.4, 0.5, 4) for d in damping
    ]
    exact = w / 2 @ (limits - lower[0]) / (upper[0] - lower[0])
    # FORM has a plane in place of the curved limit: no better than several percent here.
    assert result.getEventProbability() == pytest.approx(exact, rel=0.08)
    y = np.array(result.getPhysicalSpaceDesignPoint())
    assert surrogate.predict(y)[0] == pytest.approx(0.4, abs=1e-5)  # as the solver has it
    # The design point is the nearest of the limit: there u is along the gradient.
    normal, u = ot.Normal(), (y - lower) / (upper - lower)
    u = np.array([normal.computeQuantile(float(p))[0] for p in u])
    density = np.array([normal.computePDF(float(x)) for x in u])
    slope = surrogate.jacobian(y)[0] * density * (upper - lower)
    cosine = u @ slope / np.linalg.norm(u) / np.linalg.norm(slope)
    assert abs(cosine) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(u) == pytest.approx(result.getHasoferReliabilityIndex(), rel=1e-6)


def test_a_posterior_is_that_of_a_grid(folder):
    noisy = surrogates.load(folder / "noisy.npz")
    likelihood, Y = noisy.likelihood([0.1, -0.7, -0.3], 0.02), adapter.parameters(noisy)
    function = adapter.log_density(likelihood)
    for y in np.array(Y.getSample(5)):
        assert function(y)[0] == pytest.approx(likelihood.log_density(y), rel=1e-12)
        found = np.array(function.gradient(y))[:, 0]
        np.testing.assert_allclose(found, likelihood.gradient(y), rtol=1e-12)
    mean, spread, _ = posterior_on_a_grid(likelihood.log_density, noisy.bounds)
    ot.RandomGenerator.SetSeed(1)
    steps = ot.JointDistribution([ot.Normal(0, 1.5 * float(a)) for a in spread])
    sampler = ot.RandomWalkMetropolisHastings(function, Y.getRange(), mean, steps)
    sampler.setBurnIn(500)
    samples = np.array(sampler.getSample(8000))
    error = batch_error(samples)
    assert (error < 0.2 * spread).all()
    np.testing.assert_array_less(np.abs(samples.mean(axis=0) - mean), 4 * error)
    # The error of a standard deviation is at most that of a mean.
    np.testing.assert_array_less(np.abs(samples.std(axis=0) - spread), 4 * error)


def batch_error(samples, n=40):
    """Monte Carlo error of a chain's mean, by the scatter of the means of n parts."""
    return samples.reshape(n, -1, 2).mean(axis=1).std(axis=0, ddof=1) / n**0.5


def test_weights_that_sum_to_one_are_drawn_uniformly(weights, triangle, alike):
    Y = adapter.parameters(weights)
    ot.RandomGenerator.SetSeed(2)
    drawn = Y.getSample(4000)
    assert tuple(Y.getDescription()) == weights.y_names
    assert weights.in_domain(np.array(drawn)).all()
    alike(np.array(drawn), 4000, triangle())
    assert Y.computePDF(drawn[0]) > 1 and Y.computePDF([0.5, 0.5, 0.5]) == 0.0
    # The area of the triangle of two weights is at most 1 / 2, and that of the training data less.
    assert Y.computePDF(drawn[0]) == pytest.approx(2.0, rel=0.2)
    C = ot.CompositeRandomVector(adapter.function(weights), ot.RandomVector(Y)).getSample(500)
    assert np.isfinite(np.array(C)).all()
    with pytest.raises(Exception, match="is for Monte Carlo methods alone"):
        Y.computeCDF([0.5, 0.25, 0.25])
