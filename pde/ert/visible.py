"""Fields of a survey's sample for ParaView: the ground in cells, electrodes and data as points."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI

from surrogates.survey.sensitivity import coverage, half_space_gradients
from surrogates.types import Array

from .. import meshes
from ..dcr.body import INDICES
from ..fenicsx import locate
from ..fields import Field
from .case import Case

COVERAGE = {True: "coverage [1/m^3]", False: "coverage, estimate [1/m^3]"}
"""Name of the coverage by whether the surface is a plane."""


def field(case: Case, y: Array, rhoa: Array) -> Field:
    """Return a sample's ground on the mesh of the way ``direct``, with electrodes and data beside.

    The coverage is that of homogeneous ground, at the middles of the cells. On topography its name
    says that it is an estimate.

    Args:
        case: The survey and its model.
        y: Parameters, (n_y,).
        rhoa: Apparent resistivities of the data [ohm m], (n_d,).
    """
    cells, up = case.cells, np.array([0.0, 0.0, case.ground.top])
    shape, weights = meshes.quadrature(cells.kind)
    corners = cells.points[cells.vertices]
    K = case.model.tensor(y, np.einsum("qv,nvi->nqi", shape, corners), weights, case.tags)
    tensor = np.empty((len(K), 9))
    for (i, j), k in zip(INDICES, K.T, strict=True):
        tensor[:, 3 * i + j] = tensor[:, 3 * j + i] = k
    return Field(
        points=cells.points + up,
        kind=meshes.NAMES[cells.kind],
        cells=cells.vertices[:, meshes.VTK[cells.kind]],
        at_points={},
        at_cells={
            "resistivity [ohm m]": 3 / tensor[:, [0, 4, 8]].sum(axis=1),
            "conductivity tensor [S/m]": tensor,
            COVERAGE[case.level]: covered(case, corners.mean(axis=1) + up),
        },
        beside={"electrodes": _electrodes(case), "data": _data(case, rhoa)},
    )


def resistivity(case: Case, y: Array, places: Array) -> Array:
    """Return a sample's resistivity at places (n, 3) [ohm m], (n,); NaN outside the ground."""
    points = places - [0.0, 0.0, case.ground.top]
    if case.flat:
        inside, tags = np.flatnonzero(points[:, 2] <= 0), None
    else:
        domain = case.cells.create(MPI.COMM_SELF)
        cell = locate(domain, points)
        inside = np.flatnonzero(cell >= 0)
        given = np.asarray(domain.topology.original_cell_index)[cell[inside]]
        tags = None if case.tags is None else case.tags[given]
    found = np.full(len(points), np.nan)
    found[inside] = 1 / case.model.at(y, points[inside], tags)
    return found


def covered(case: Case, places: Array) -> Array:
    """Return the coverage at places (n, 3) [1/m^3], (n,).

    On topography it is an estimate, by the potentials of straight distances, as
    `half_space_gradients`, and the geometric factors of the ground: factors by straight distances
    would give data the wrong weights.
    """
    factors = np.where(case.factors == 0, np.inf, case.factors)  # 0 stands for none
    gradients = half_space_gradients(case.survey, case.ground, places)
    return coverage(case.survey, factors, gradients, len(places))


def _electrodes(case: Case) -> Field:
    """Return the electrodes as points, with their numbers from 1."""
    numbers = np.arange(1.0, len(case.electrodes) + 1)
    return _points(
        case.survey.electrodes,
        {"electrode": numbers, "buried": case.ground.buried.astype(np.float64)},
    )


def _data(case: Case, rhoa: Array) -> Field:
    """Return the data as points where pseudosections draw them."""
    numbers = {name: column + 1.0 for name, column in zip("abmn", case.survey.data.T, strict=True)}
    return _points(
        case.places + [0.0, 0.0, case.ground.top],
        {
            "apparent resistivity [ohm m]": rhoa,
            "geometric factor [m]": case.factors,
            "median depth [m]": case.depths,
            **numbers,
        },
    )


def _points(places: Array, values: dict[str, Array]) -> Field:
    """Return values at points, each of which is a cell."""
    cells = np.arange(len(places), dtype=np.int64)[:, None]
    return Field(points=places, kind="vertex", cells=cells, at_points=values, at_cells={})
