"""SimPEG predicts data of a surrogate, differentiates and inverts them."""

import numpy as np
from discretize import TensorMesh
from simpeg import (
    data,
    data_misfit,
    directives,
    inverse_problem,
    inversion,
    maps,
    optimization,
    regularization,
)
from simpeg.electromagnetics.static import resistivity as dc
from simpeg.electromagnetics.static.utils import static_utils

from surrogates.adapters import simpeg as adapter
from surrogates.survey import Survey, half_space_factors, made
from surrogates.survey.ground import half_space_potentials


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


def test_a_survey_has_its_data_in_their_order(layers):
    survey = adapter.survey(layers)
    assert survey.nD == layers.n_out
    # SimPEG's own factors are potentials of 1 ohm m, of the same electrodes in the same order.
    np.testing.assert_allclose(
        1 / static_utils.geometric_factor(survey), layers.c_coordinates["k"], rtol=1e-9
    )
    assert adapter.survey(layers.select([5, 3, 40])).nD == 3


def solved(survey, h, cells, middle):
    """Data of homogeneous ground of 100 ohm m by SimPEG, on cells of h [m], and wider ones around.

    Args:
        survey: SimPEG's survey.
        h: Size of the cells at the electrodes.
        cells: Their numbers along x2 and x1.
        middle: x1 of their middle.
    """
    across, along, down = ([(h, 8, -1.5), (h, n), (h, 8, 1.5)] for n in (*cells, 5))
    mesh = TensorMesh([along, across, down[:2]], x0="CCN")
    mesh.origin = mesh.origin + [middle, 0, 0]
    simulation = dc.Simulation3DNodal(mesh, survey=survey, rhoMap=maps.IdentityMap(mesh))
    return simulation.dpred(np.full(mesh.n_cells, 100.0))


def test_poles_on_any_side_are_what_simpeg_solves_for():
    places = np.array([[0.0, 0, 0], [8, 2, 0], [14, 0, 0], [20, -2, 0], [26, 2, 0]])
    abmn = np.array(
        [
            *([0, 1, 2, 3], [0, 1, 2, -1], [0, 1, -1, 2], [0, 1, 3, 4]),
            *([0, -1, 2, 3], [-1, 0, 2, 3], [-1, 0, -1, 2], [0, -1, -1, 3]),
            *([-1, 0, 2, -1], [0, -1, 3, -1], [4, 3, 0, 1]),
        ]
    )
    survey = Survey(electrodes=places, data=abmn)
    exact = survey.combine(100 * half_space_potentials(survey, survey.ground()))
    own = adapter.resistivity(survey)
    assert own.nD == len(abmn)
    found = solved(own, 2.0, (10, 22), 13.0)
    assert (np.abs(exact) > 0.05).all()
    np.testing.assert_allclose(found, exact, rtol=0.15)


def test_apparent_resistivities_have_the_factors_of_the_survey():
    survey = made("dipole-dipole", electrodes=6, spacing=2.0, levels=2)
    factors = half_space_factors(survey, survey.ground())
    survey = Survey(electrodes=survey.electrodes, data=survey.data, values={"k": factors})
    own = adapter.resistivity(survey, "rhoa")
    found = solved(own, 1.0, (6, 16), 5.0)
    np.testing.assert_allclose(found, 100, rtol=0.2)


def test_an_inversion_of_a_survey_finds_the_truth(layers, standard_errors):
    lower, upper = layers.bounds
    rng, noise = np.random.default_rng(3), 0.005
    start = layers.bounds.mean(axis=0)
    for truth in lower + rng.uniform(0.2, 0.8, (3, layers.n_in)) * (upper - lower):
        c = layers.predict(truth) + noise * rng.normal(size=layers.n_out)
        simulation = adapter.simulation(layers)
        observed = data.Data(simulation.survey, dobs=c, standard_deviation=noise)
        misfit = data_misfit.L2DataMisfit(observed, simulation=simulation)
        smallness = regularization.Smallness(TensorMesh([3]), reference_model=start)
        optimizer = optimization.ProjectedGNCG(
            maxIter=20, lower=lower, upper=upper, tolF=1e-6, tolX=1e-4
        )
        problem = inverse_problem.BaseInvProblem(misfit, smallness, optimizer, beta=1.0)
        found = inversion.BaseInversion(problem, [directives.BetaSchedule()]).run(start)
        errors = standard_errors(truth, noise, layers)
        np.testing.assert_array_less(np.abs(found - truth), 4 * errors)
        assert (4 * errors < 0.5 * (upper - lower)).all()
