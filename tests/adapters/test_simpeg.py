"""SimPEG predicts data of a surrogate, differentiates and inverts them."""

import numpy as np
from simpeg import maps

from surrogates.adapters import simpeg as adapter


def test_products_with_the_jacobian_are_those_of_the_surrogate(surrogate, draws, close):
    simulation = adapter.simulation(surrogate)
    rng = np.random.default_rng(0)
    for y in draws:
        v, w, J = rng.normal(size=2), rng.normal(size=3), surrogate.jacobian(y)
        np.testing.assert_array_equal(simulation.dpred(y), surrogate.predict(y))
        close(simulation.Jvec(y, v), J @ v)
        close(simulation.Jtvec(y, w), J.T @ w)
        np.testing.assert_array_equal(simulation.getJ(y), J)
        W = np.diag([1.0, 2.0, 3.0])
        diagonal = np.diag(J.T @ W.T @ W @ J)
        np.testing.assert_allclose(simulation.getJtJdiag(y, W), diagonal, rtol=1e-13)
        np.testing.assert_allclose(simulation.getJtJdiag(y), np.diag(J.T @ J), rtol=1e-13)


def test_a_map_of_the_model_is_differentiated_too(surrogate, draws, close):
    simulation = adapter.simulation(surrogate, yMap=maps.ExpMap(nP=2))
    m, v, w = np.log(draws[0]), np.array([0.3, -0.7]), np.array([1.0, -2.0, 0.5])
    step = 1e-3
    close(simulation.dpred(m), surrogate.predict(draws[0]))
    ends = [simulation.dpred(m + sign * step * v) for sign in (1, -1)]
    # The error of central differences is of the size of step^2.
    difference = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(simulation.Jvec(m, v), difference, atol=10 * step**2)
    close(simulation.Jvec(m, v) @ w, simulation.Jtvec(m, w) @ v)
    close(simulation.getJ(m) @ v, simulation.Jvec(m, v))


def test_the_survey_has_a_datum_for_each_observable(surrogate):
    assert adapter.survey(surrogate).nD == surrogate.n_out == 3


def test_an_inversion_finds_the_truth(program, surrogate, standard_errors, without_torch):
    names = program("simpeg")
    found, truth, data = names["found"], names["truth"], names["data"]
    lower, upper = surrogate.bounds
    assert ((found > lower) & (found < upper)).all()
    errors = standard_errors(truth, data.standard_deviation)
    np.testing.assert_array_less(np.abs(found - truth), 4 * errors)
    assert (4 * errors < 0.05 * (upper - lower)).all()
    without_torch("simpeg", "simpeg")
