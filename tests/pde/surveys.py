"""Small problems of DC resistivity."""

import numpy as np
from mpi4py import MPI

from surrogates import config
from surrogates.pde import meshes
from surrogates.pde.dcr import problem as dcr
from surrogates.pde.dcr.condensed import EVERYWHERE
from surrogates.pde.dcr.survey import DCRConfig

SMALL = ("mesh.cells=[12,12,15]", "mesh.above=3", "mesh.layers=6")


def settings(*overrides: str) -> DCRConfig:
    return config.read(DCRConfig, None, overrides)


def make(*overrides: str) -> dcr.DCR:
    return dcr.DCR(settings(*overrides), MPI.COMM_SELF)


def solve(problem: dcr.DCR, *ys: tuple[float, float, float]) -> np.ndarray:
    batch = problem.solve_batch(np.array(ys, dtype=float))
    assert batch.failure == [""] * len(ys)
    return batch.C


def grid(*axes: np.ndarray) -> meshes.Cells:
    """Hexahedra of a tensor-product grid."""
    x1, x2, x3 = axes
    return meshes.Grid((x1, x2, x3), EVERYWHERE).cells()
