"""Models of the ground in a solver on meshes that do not follow them: against exact potentials."""

import numpy as np
import pytest
from ground_models import BODY, LAYERS, inner, model
from grounds import all_pairs, box, contact, half_space
from mpi4py import MPI

from surrogates.pde.ert.direct import Direct, DirectSettings
from surrogates.pde.ert.layers import pair_derivatives, pair_potentials

pytestmark = pytest.mark.fenicsx

LINE = np.array([(x, 0.0, 0.0) for x in range(-7, 8, 2)])
PAIRS = all_pairs(len(LINE))


def direct(cells):
    known = half_space(LINE, PAIRS)
    return Direct(cells, LINE, PAIRS, DirectSettings(), MPI.COMM_WORLD, homogeneous=known)


def solved(made, solver, y):
    """Return T, and its derivatives by all y."""
    T = solver.solve(made.tensor(y, solver.points, solver.weights))
    dK = made.derivatives(y, np.eye(len(y)), solver.points, solver.weights)
    return T, solver.tangents(dK)


@pytest.mark.parametrize("tetrahedra", [False, True])
def test_layers_whose_bottom_is_within_cells(tetrahedra):
    made = model(
        *("model.kind=layers", "layers.thickness=[[1,3]]"),
        "layers.resistivity=[[0.5,2],[5,20]]",
    )
    solver = direct(box(8, 0.5, wide=1, tetrahedra=tetrahedra))
    for thickness in (1.5, 1.75, 1.9):  # cells end at 1.5 and 2
        y = np.array([0.1, 0.9, thickness])
        layers = made.layers(y)
        T, dT = solved(made, solver, y)
        exact = pair_potentials(layers, LINE, PAIRS)
        slopes = made.layer_derivatives(y, np.eye(3)) @ pair_derivatives(layers, LINE, PAIRS)
        assert np.median(np.abs(T / exact - 1)) < 0.004
        for found, expected in zip(dT, slopes, strict=True):
            assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)


def test_a_vertical_contact_within_cells_converges():
    made = model(
        *("model.kind=interface", "interface.position=[-2,2]"),
        *("interface.resistivity=[[1,1],[10,10]]", "interface.dip=[1.570796327,1.570796327]"),
    )
    errors = []
    for h, place in ((1.0, 0.5), (0.5, 0.25)):  # in the middle of a cell
        solver = direct(box(8, h, wide=2))
        T, _ = solved(made, solver, np.array([place]))
        errors.append(np.abs(T / contact(LINE, PAIRS, place, 1.0, 0.1) - 1))
    assert np.median(errors[1]) < 0.007
    assert errors[1].mean() < 0.5 * errors[0].mean()


def test_data_are_smooth_in_the_parameters_of_a_body_in_layers():
    made = model("model.kind=body-in-layers", *LAYERS, *BODY, "body.depth=[7,9]", "body.a3=[3,4]")
    solver = direct(box(8, 1.0, far=60.0, deep=40.0, fine=4))
    y = inner(made)
    v = np.random.default_rng(0).standard_normal(len(y)) * (made.y_upper - made.y_lower)
    T = solver.solve(made.tensor(y, solver.points, solver.weights))
    (slope,) = solver.tangents(made.derivatives(y, v[None], solver.points, solver.weights))
    steps = 2.0 ** -np.arange(6, 11)
    rest = [
        np.linalg.norm(
            solver.solve(made.tensor(y + h * v, solver.points, solver.weights)) - T - h * slope
        )
        for h in steps
    ]
    orders = -np.diff(np.log2(rest))
    assert orders.min() > 1.8, orders
