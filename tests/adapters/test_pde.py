"""pyGIMLi and SimPEG invert data by the PDE itself, in an environment with DOLFINx."""

import numpy as np
import pygimli as pg
import pytest
from discretize import TensorMesh
from simpeg import data, data_misfit, inverse_problem, inversion, optimization, regularization

from surrogates import InputError
from surrogates.adapters import pygimli, simpeg
from surrogates.pde import Simulator

BODY = {
    "survey.array": "dipole-dipole",
    "survey.electrodes": 12,
    "survey.spacing": 4.0,
    "model.kind": "body",
    "model.background": [50.0, 200.0],
    "body.x1": [16.0, 28.0],
    "body.x2": [0.0, 0.0],
    "body.depth": [4.5, 8.0],
    "body.a1": [3.0, 3.0],
    "body.a2": [3.0, 3.0],
    "body.a3": [2.5, 2.5],
    "body.resistivity": [5.0, 5.0],
    "box.number": 4000,
}
NOISE = 0.01
"""Of apparent resistivities, relative."""


@pytest.fixture(scope="module")
def body():
    return Simulator("ert", settings=BODY)


@pytest.fixture(scope="module")
def truth(body):
    return body.bounds[0] + np.array([0.6, 0.35, 0.4]) * (body.bounds[1] - body.bounds[0])


@pytest.fixture(scope="module")
def observed(body, truth):
    """Data with noise, and their standard deviations."""
    c = body.predict(truth)
    return c * (1 + NOISE * np.random.default_rng(2).normal(size=len(c))), NOISE * np.abs(c)


@pytest.fixture(scope="module")
def within(body, truth, observed):
    """Check that parameters are within their standard errors of the truth."""
    J = body.jacobian(truth) / observed[1][:, None]
    errors = np.sqrt(np.diag(np.linalg.inv(J.T @ J)))
    assert (4 * errors < 0.25 * (body.bounds[1] - body.bounds[0])).all()

    def check(found):
        np.testing.assert_array_less(np.abs(np.array(found) - truth), 4 * errors)

    return check


def test_the_programs_find_the_truth_by_both(program, standard_errors):
    names = program("pde")
    truth, pde, s = names["truth"], names["pde"], names["s"]
    errors = standard_errors(truth, names["noise"], pde)
    lower, upper = pde.bounds
    assert (4 * errors < 0.2 * (upper - lower)).all()
    for found in (names["by_pygimli"], names["by_simpeg"]):
        assert list(found) == [s.path, "ert"]
        for y in found.values():
            np.testing.assert_array_less(np.abs(y - truth), 4 * errors)
        np.testing.assert_array_less(np.abs(found["ert"] - found[s.path]), 0.5 * errors)
    # A step of Gauss-Newton is a solve or two, with all derivatives.
    assert pde.solves < 30


def test_pygimli_differentiates_a_body(body, truth):
    operator = pygimli.modelling(body)
    before = body.solves
    c = np.array(operator.response(pg.Vector(truth)))
    operator.createJacobian(pg.Vector(truth))
    assert body.solves == before + 1
    J = np.array([np.array(row) for row in operator.jacobian()])
    for j, width in enumerate(np.ptp(body.bounds, axis=0)):
        rests = []
        for part in (0.01, 0.005):
            step = part * width * np.eye(len(truth))[j]
            ends = [np.array(operator.response(pg.Vector(truth + s * step))) for s in (1, -1)]
            difference = (ends[0] - ends[1]) / (2 * part * width)
            rests.append(np.abs(J[:, j] - difference).max() / np.abs(difference).max())
        # The error of central differences is of the size of the step's square.
        assert rests[1] < 2e-3 and rests[0] / rests[1] == pytest.approx(4, rel=0.2)
    assert c.shape == (body.n_out,)


def test_pygimli_finds_a_body(body, observed, within):
    c, deviation = observed
    inversion_ = pg.frameworks.MarquardtInversion(fop=pygimli.modelling(body))
    container = pygimli.data(body, c, deviation)
    found = inversion_.run(container["rhoa"], container["err"], lam=10.0, stopAtChi1=False)
    within(found)
    assert inversion_.chi2() < 2


def test_simpeg_finds_a_body(body, observed, within):
    c, deviation = observed
    lower, upper = body.bounds
    start = body.bounds.mean(axis=0)
    simulation = simpeg.simulation(body)
    misfit = data_misfit.L2DataMisfit(
        data.Data(simulation.survey, dobs=c, standard_deviation=deviation), simulation=simulation
    )
    before = body.solves
    v, w = np.ones(3), np.cos(np.arange(len(c)))
    for _ in range(4):
        left, right = simulation.Jvec(start, v) @ w, simulation.Jtvec(start, w) @ v
        assert left == pytest.approx(right, rel=1e-7)  # the solver's tolerance
    assert body.solves <= before + 1  # products at one y are of one solution
    optimizer = optimization.ProjectedGNCG(
        maxIter=15, lower=lower, upper=upper, tolF=1e-5, tolX=1e-4
    )
    problem = inverse_problem.BaseInvProblem(
        misfit,
        regularization.Smallness(TensorMesh([3]), reference_model=start),
        optimizer,
        beta=0.1,
    )
    within(inversion.BaseInversion(problem, []).run(start))


def test_y_outside_the_bounds_is_one_line(body):
    operator = pygimli.modelling(body)
    with pytest.raises(InputError, match="^y is outside the domain of ert .* its bounds are"):
        operator.response(pg.Vector(3, 99.0))


def test_weights_of_cdr_are_refused_with_what_to_do():
    model = Simulator("cdr", settings={"mesh.cells": [4, 4]})
    with pytest.raises(InputError, match="not independent, .*SLSQP"):
        pygimli.modelling(model)
    simulation = simpeg.simulation(model)
    y = np.full(model.n_in, 1 / model.n_in)
    assert simulation.survey.nD == len(simulation.dpred(y)) == model.n_out
