"""Meshes of hexahedra or tetrahedra: the built-in one, and those that meshio reads."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import meshio
import numpy as np
import numpy.typing as npt
from mpi4py import MPI
from scipy.optimize import brentq
from scipy.special import roots_legendre

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.files import atomic

from .fenicsx import create_mesh
from .problem import Field

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# From VTK's order of a cell's vertices, which is meshio's, to that of DOLFINx; its own inverse.
VTK = {"hexahedron": [0, 1, 3, 2, 4, 5, 7, 6], "tetrahedron": [0, 1, 2, 3]}


@dataclass(frozen=True)
class Cells:
    """A mesh as arrays.

    Attributes:
        kind: ``hexahedron`` or ``tetrahedron``.
        points: Vertices, (n_points, 3).
        vertices: Those of each cell in the order of DOLFINx, (n_cells, 8 or 4).
    """

    kind: str
    points: Array
    vertices: Integers

    def create(self, comm: MPI.Comm) -> Any:
        """Make a DOLFINx mesh over the processes of a communicator. Collective.

        The arrays of rank 0 count.
        """
        if comm.rank == 0:
            return create_mesh(comm, self.kind, self.points, self.vertices)
        return create_mesh(comm, self.kind, self.points[:0], self.vertices[:0])


def graded(
    core: tuple[float, float, float, float],
    size: tuple[float, float, float],
    cells: tuple[int, int, int],
    above: int,
    layers: int,
) -> Cells:
    """Make hexahedra for a box: equal ones in a core, and layers around it that grow outwards.

    Each layer is a copy of the core's sides and bottom, scaled in each direction to end as a side
    of the box; its cells keep their shape, so that an error estimate and a multigrid method find
    the same conditions everywhere. The first layer is as thick as the core's cells. With all the
    numbers doubled, every cell is divided in eight, nearly, and the corners stay where they are.

    Args:
        core: Half-widths along x1 and x2, and depths of top and bottom.
        size: Of the box, which is centred at x1 = x2 = 0 and has its top at x3 = 0.
        cells: In the core along each direction.
        above: Between the core's top and x3 = 0.
        layers: Around the core.
    """
    half = np.array([core[0], core[1], core[3]])
    outer = np.array([size[0] / 2, size[1] / 2, size[2]])
    x1 = np.linspace(-core[0], core[0], cells[0] + 1)
    x2 = np.linspace(-core[1], core[1], cells[1] + 1)
    x3 = np.concatenate(
        [np.linspace(-core[3], -core[2], cells[2] + 1), np.linspace(-core[2], 0, above + 1)[1:]]
    )
    n1, n2, n3 = cells[0], cells[1], cells[2] + above
    points = np.stack(np.meshgrid(x1, x2, x3, indexing="ij"), axis=-1).reshape(-1, 3)
    number = np.arange(len(points)).reshape(n1 + 1, n2 + 1, n3 + 1)
    corners = [
        number[i : n1 + i, j : n2 + j, k : n3 + k].ravel()
        for k in (0, 1)
        for j in (0, 1)
        for i in (0, 1)
    ]
    faces = (number[0], number[-1], number[:, 0], number[:, -1], number[:, :, 0])
    quads = np.concatenate(
        [
            np.stack(
                [f[:-1, :-1].ravel(), f[1:, :-1].ravel(), f[:-1, 1:].ravel(), f[1:, 1:].ravel()],
                axis=1,
            )
            for f in faces
        ]
    )
    rim, inverse = np.unique(quads, return_inverse=True)
    quads_of_rim = inverse.reshape(quads.shape)
    first = np.array([2 * core[0] / n1, 2 * core[1] / n2, (core[3] - core[2]) / cells[2]])
    scales = [_growth(h * layers, o - i) for h, i, o in zip(first, half, outer, strict=True)]
    all_points, all_cells, inside = [points], [np.stack(corners, axis=1)], quads
    for layer in range(1, layers + 1):
        t = layer / layers
        reach = half + (outer - half) * np.array(
            [np.expm1(k * t) / np.expm1(k) if k else t for k in scales]
        )
        outside = len(points) + (layer - 1) * len(rim) + quads_of_rim
        all_points.append(points[rim] * (reach / half))
        all_cells.append(np.concatenate([inside, outside], axis=1))
        inside = outside
    every, vertices = np.concatenate(all_points), np.concatenate(all_cells)
    a, b, c = (every[vertices[:, k]] - every[vertices[:, 0]] for k in (1, 2, 4))
    turned = np.einsum("ni,ni->n", np.cross(a, b), c) < 0
    vertices[turned] = vertices[turned][:, [1, 0, 3, 2, 5, 4, 7, 6]]
    return Cells("hexahedron", every, vertices)


def _growth(slope: float, length: float) -> float:
    """Find k such that length (e^(k t) - 1) / (e^k - 1) has the given slope at t = 0; 0 at most."""
    if slope >= length:
        return 0.0
    return float(brentq(lambda k: k / np.expm1(k) - slope / length, 1e-9, 60))


def read(path: str | os.PathLike[str]) -> Cells:
    """Read the volume cells of a mesh in any format that meshio reads.

    Raises:
        InputError: If nobody reads the format, or there are no tetrahedra or hexahedra, or both.
    """
    check(Path(path).is_file(), f"there is no mesh file {str(path)!r}")
    said = io.StringIO()  # its readers print, raise what they like, and exit
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            mesh = meshio.read(path)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{path} is not a mesh that meshio reads: {said.getvalue().strip() or error}"
        ) from error
    found = {kind: mesh.get_cells_type(name) for kind, name in NAMES.items()}
    kinds = [kind for kind, vertices in found.items() if len(vertices)]
    if len(kinds) != 1:
        there = ", ".join(sorted({block.type for block in mesh.cells})) or "none"
        raise InputError(
            f"{path} must have volume cells of one kind, tetrahedra or hexahedra; its cells are: "
            f"{there}"
        )
    kind = kinds[0]
    points = np.asarray(mesh.points, dtype=np.float64)
    check(points.shape[1] == 3, f"{path} is not a mesh in space: points {points.shape}")
    check(bool(np.isfinite(points).all()), f"{path} has points that are not finite")
    used, vertices = np.unique(found[kind], return_inverse=True)
    vertices = vertices.reshape(found[kind].shape)[:, VTK[kind]].astype(np.int64)
    return Cells(kind, points[used], vertices)


NAMES = {"tetrahedron": "tetra", "hexahedron": "hexahedron"}
"""What meshio calls each kind of cell."""


def quadrature(kind: str) -> tuple[Array, Array]:
    """Give three Gauss points in each direction of a cell, for averages over it.

    Returns:
        The vertices' shape functions at the points, (n_points, 8 or 4), and weights of sum 1.
    """
    x, w = (roots_legendre(3)[0] + 1) / 2, roots_legendre(3)[1] / 2
    r, s, t = (a.ravel() for a in np.meshgrid(x, x, x, indexing="ij"))
    weights = np.einsum("i,j,k->ijk", w, w, w).ravel()
    if kind == "hexahedron":
        ends = [np.stack([1 - a, a]) for a in (t, s, r)]
        return np.einsum("kq,jq,iq->qkji", *ends).reshape(len(r), 8), weights
    # The cube collapsed to the tetrahedron (Duffy 1982).
    weights = weights * (1 - r) ** 2 * (1 - s)
    corner = np.stack([r, s * (1 - r), t * (1 - r) * (1 - s)], axis=1)
    shape = np.column_stack([1 - corner.sum(axis=1), corner])
    return shape, weights / weights.sum()


def write(path: str | os.PathLike[str], field: Field) -> None:
    """Write a solution for ParaView, as one file: VTU, or XDMF with the numbers in it as text.

    Raises:
        InputError: If the ending is neither ``.vtu`` nor ``.xdmf``, or the folder is not there.
    """
    ending = Path(path).suffix.lower()
    check(ending in (".vtu", ".xdmf"), f"a solution's file ends in .vtu or .xdmf; got {path}")
    mesh = meshio.Mesh(
        field.points,
        [(field.kind, field.cells)],
        point_data=field.at_points,
        cell_data={name: [values] for name, values in field.at_cells.items()},
    )
    with atomic(path) as beside:
        mesh.write(beside, **({"data_format": "XML"} if ending == ".xdmf" else {}))
