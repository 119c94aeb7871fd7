"""Models of the ground in a solver on meshes that do not follow them: against exact potentials."""

import numpy as np
import pytest
from ground_models import BODY, LAYERS, inner, model
from grounds import all_pairs, box, contact, half_space
from mpi4py import MPI

from surrogates import config
from surrogates.pde import meshes
from surrogates.pde.ert import ERT, ERTConfig
from surrogates.pde.ert.direct import Direct, DirectSettings
from surrogates.pde.ert.layers import Layers, pair_derivatives, pair_potentials

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
            assert np.linalg.norm(found - expected) < 0.12 * np.linalg.norm(expected)


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


def test_regions_of_a_mesh_s_file_are_layers_if_they_lie_so(tmp_path, monkeypatch):
    meshio = pytest.importorskip("meshio", reason="needs the extra meshes")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cells = box(8, 0.5, wide=1, far=80.0, deep=60.0)
    points = cells.points + [7.0, 0.0, 0.0]  # the electrodes are at x1 = 0 to 14
    upper = points[cells.vertices].mean(axis=1)[:, 2] > -2
    tags = np.where(upper, 7, 4)
    meshio.Mesh(
        points,
        [("hexahedron", cells.vertices[:, meshes.VTK["hexahedron"]])],
        cell_data={"gmsh:physical": [tags], "gmsh:geometrical": [tags]},
        field_data={"clay": np.array([7, 3]), "rock": np.array([4, 3])},
    ).write(tmp_path / "ground.msh", file_format="gmsh22")
    settings = (
        *("survey.array=schlumberger", "survey.electrodes=8", "survey.spacing=2.0"),
        *(f"mesh.file={tmp_path / 'ground.msh'}", "model.kind=regions"),
        *('regions.names=["rock","clay"]', "regions.resistivity=[[100,900],[5,50]]"),
    )
    problem = ERT(config.read(ERTConfig, None, settings), MPI.COMM_SELF)
    case = problem.case
    assert case.method == "direct"
    assert case.model.y_names == ("log10 resistivity of rock", "log10 resistivity of clay")
    y = np.array([2.3, 1.2])
    batch = problem.solve_batch(y[None], tangents=True)
    layers = Layers(resistivity=10 ** y[::-1], thickness=np.array([2.0]))
    exact = case.survey.combine(pair_potentials(layers, case.electrodes, case.survey.pairs))
    error = np.abs(batch.C[0] / (case.factors * exact) - 1)
    assert error.max() < 0.025
    step = 1e-4 * np.array([1.0, -1.0])
    plus, minus = problem.solve_batch(np.stack([y + step, y - step])).C
    assert batch.dC_dY[0] @ (2 * step) == pytest.approx(plus - minus, rel=1e-5)
