"""The solver on a mesh with the model's layers as its reference, on the built-in grid."""

import numpy as np
import pytest
from grounds import of_one_and_two_processes
from mpi4py import MPI

from surrogates import config
from surrogates.pde.ert import ERT, ERTConfig
from surrogates.pde.ert.layers import pair_potentials
from surrogates.survey.arrays import ARRAYS
from surrogates.survey.arrays import made as made_survey

pytestmark = pytest.mark.fenicsx

LINE = ("survey.electrodes=6", "survey.array=pole-pole", "solver.method=direct")
TWO = ("model.kind=layers", "layers.resistivity=[[10,20],[100,250]]", "layers.thickness=[[0.6,4]]")
THREE = (
    "model.kind=layers",
    "layers.resistivity=[[50,200],[5,20],[100,250]]",
    "layers.thickness=[[0.6,2],[0.6,4]]",
)
BODY = (
    "model.kind=body-in-layers",
    "layers.resistivity=[[50,80],[5,10],[100,250]]",
    "layers.thickness=[[0.5,0.8],[0.6,0.9]]",
    "body.x1=[2,3]",
    "body.x2=[-0.5,0.5]",
    "body.depth=[1.9,2.2]",
    "body.a1=[0.9,1.1]",
    "body.a2=[0.9,1.1]",
    "body.a3=[0.7,0.9]",
    "body.resistivity=[10,20]",
)


def problem(*settings: str) -> ERT:
    return ERT(config.read(ERTConfig, None, settings), MPI.COMM_WORLD)


def inside(made: ERT, seed: int = 0) -> np.ndarray:
    model = made.case.model
    unit = np.random.default_rng(seed).uniform(0.2, 0.8, len(model.y_lower))
    return np.asarray(model.y_lower + unit * (model.y_upper - model.y_lower))


def worst(made: ERT, T: np.ndarray, right: np.ndarray) -> float:
    """The largest relative error of the data of all arrays, by potentials of all pairs."""
    where = {tuple(pair): k for k, pair in enumerate(made.case.survey.pairs)}
    found = []
    for array in ARRAYS:
        survey = made_survey(array, 6)
        own = [where[tuple(pair)] for pair in survey.pairs]
        found.append(np.abs(survey.combine(T[own]) / survey.combine(right[own]) - 1).max())
    return float(max(found))


@pytest.mark.parametrize("model", [TWO, THREE], ids=["two", "three"])
def test_layers_for_any_array(model):
    made = problem(*LINE, *model)
    assert made.case.method == "direct"
    y, case = inside(made), made.case
    right = pair_potentials(case.model.layers(y), case.electrodes, case.survey.pairs)
    assert worst(made, made._way.solve(y), right) < 1e-8
    assert "corrected by the model's layers" in made.mesh
    # It is the reference that makes them so.
    direct = made._way._direct
    K = case.model.tensor(y, direct.points, direct.weights)
    assert worst(made, direct.solve(K), right) > 0.005


def test_a_body_in_layers_beside_the_box():
    """The box has the layers exactly, and another grid."""
    made, box = problem(*LINE, *BODY), problem(*LINE, *BODY, "solver.method=auto")
    assert box.case.method == "box"
    y = inside(made)
    T, right = (one._way.solve(y) for one in (made, box))
    direct = made._way._direct
    by_homogeneous = direct.solve(made.case.model.tensor(y, direct.points, direct.weights))
    new, old = (worst(made, one, right) for one in (T, by_homogeneous))
    assert new < 0.02 and old > 3 * new, (new, old)


@pytest.mark.parametrize("free", ["layers", "body"])
def test_taylor(free):
    made = problem(*LINE, *BODY)
    y, model = inside(made), made.case.model
    of_layers = np.array(["layer" in name for name in model.y_names])
    v = 0.2 * (model.y_upper - model.y_lower) * (of_layers if free == "layers" else ~of_layers)
    batch = made.solve_batch(y[None], tangents=v[None, None])
    rest = [
        np.linalg.norm(np.asarray(made.solve(y + h * v).c) - batch.C[0] - h * batch.dC_dV[0, :, 0])
        for h in 2.0 ** -np.arange(4, 8)
    ]
    orders = np.log2(np.divide(rest[:-1], rest[1:]))
    assert orders[-2:].min() > 1.8, orders


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from mpi4py import MPI
from test_reference_ground import BODY, LINE, inside, problem
made = problem(*LINE, *BODY, "grid.cells=2")
batch = made.solve_batch(inside(made)[None], tangents=True)
again = made.solve_batch(inside(made, 1)[None], tangents=True)
if MPI.COMM_WORLD.rank == 0:
    np.savez(sys.argv[2], C=[batch.C, again.C], dC=[batch.dC_dY, again.dC_dY])
"""


@pytest.mark.mpi
@pytest.mark.slow
def test_two_processes_give_the_same(tmp_path):
    one, two = of_one_and_two_processes(PROGRAM, tmp_path)
    np.testing.assert_allclose(two["C"], one["C"], rtol=1e-9)
    np.testing.assert_allclose(two["dC"], one["dC"], rtol=1e-6, atol=1e-8)
