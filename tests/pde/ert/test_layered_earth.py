"""The solver on a mesh against exact potentials of layered ground, for all arrays.

The two share no code. On trilinear cubes, errors at an odd number of cells from a current electrode
are several times those at the next even one, so that grids have even numbers between electrodes.
"""

import numpy as np
import pytest
from grounds import all_pairs, axis, half_space
from mpi4py import MPI

from surrogates.pde import meshes
from surrogates.pde.ert.direct import Direct, DirectSettings
from surrogates.pde.ert.layers import pair_potentials
from surrogates.pde.ert.models.layered import LayeredModel, layer_quantities
from surrogates.survey.arrays import ARRAYS, made

pytestmark = pytest.mark.fenicsx

ELECTRODES = 6
"""Along x1, 1 m apart."""

PAIRS = all_pairs(ELECTRODES)
TWO = ((100.0, 10.0), (2.0,))
RESISTIVE = ((10.0, 100.0), (2.0,))
THREE = ((100.0, 10.0, 200.0), (1.0, 2.0))


def layered(resistivity, thickness) -> LayeredModel:
    fixed = ([(x, x) for x in values] for values in (resistivity, thickness))
    return LayeredModel(layer_quantities(*fixed), len(resistivity))


def direct(cells: int, far: float) -> Direct:
    """A grid with some cells in 1 m around the electrodes, and growing ones outside."""
    growth = np.exp(2.2 / cells)
    x1 = axis(
        np.arange(-cells // 2, (2 * ELECTRODES - 1) * cells // 2 + 1) / cells,
        1 / cells,
        far,
        growth,
    )
    x2 = axis(np.arange(-cells // 2, cells // 2 + 1) / cells, 1 / cells, far, growth)
    x3 = axis(np.arange(-2 * cells, 1) / cells, 1 / cells, far, growth)
    grid = meshes.Grid((x1, x2, x3[x3 <= 0]), (slice(0), slice(0), slice(0)))
    electrodes = made("wenner", ELECTRODES).electrodes
    return Direct(
        grid.cells(),
        electrodes,
        PAIRS,
        DirectSettings(),
        MPI.COMM_SELF,
        homogeneous=half_space(electrodes, PAIRS),
    )


def potentials(solver: Direct, grounds) -> list[np.ndarray]:
    y = np.zeros(0)
    return [
        solver.solve(layered(*ground).tensor(y, solver.points, solver.weights))
        for ground in grounds
    ]


def errors(array: str, T: np.ndarray, ground) -> np.ndarray:
    """Relative errors of all data of an array."""
    survey = made(array, ELECTRODES)
    exact = pair_potentials(layered(*ground).layers(np.zeros(0)), survey.electrodes, PAIRS)
    where = {tuple(pair): k for k, pair in enumerate(PAIRS)}
    chosen = [where[tuple(pair)] for pair in survey.pairs]
    return np.abs(survey.combine(T[chosen]) / survey.combine(exact[chosen]) - 1)


@pytest.fixture(scope="module")
def coarse() -> Direct:
    return direct(4, 1000.0)


@pytest.mark.parametrize("ground", [TWO, RESISTIVE], ids=["conductive", "resistive"])
def test_all_arrays(coarse, ground):
    (T,) = potentials(coarse, [ground])
    worst = {array: errors(array, T, ground).max() for array in ARRAYS}
    assert max(worst.values()) < (0.012 if ground is TWO else 0.02), worst


@pytest.mark.thorough
def test_all_arrays_extrapolated(coarse):
    """Two grids, extrapolated to cells of size 0: each datum within 0.5 %."""
    grounds = [RESISTIVE, THREE]
    fine = potentials(direct(6, 1000.0), grounds)
    for ground, T, other in zip(grounds, fine, potentials(coarse, grounds), strict=True):
        extrapolated = T + (T - other) / (1.5**2 - 1)
        worst = {array: errors(array, extrapolated, ground).max() for array in ARRAYS}
        assert max(worst.values()) < 0.005, (ground, worst)
        assert errors("wenner", T, ground).max() < errors("wenner", other, ground).max()
