"""Meshes of hexahedra or tetrahedra: the built-in one, and those that meshio reads."""

from __future__ import annotations

import contextlib
import io
import itertools
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


@dataclass(frozen=True)
class Grid:
    """Hexahedra of a tensor-product grid, with equal ones in its core.

    Attributes:
        axes: Coordinates of the nodes along x1, x2 and x3, rising.
        core: Which of these are the core's.
    """

    axes: tuple[Array, Array, Array]
    core: tuple[slice, slice, slice]

    def cells(self) -> Cells:
        """Give the mesh as arrays; the last index of a vertex is the fastest."""
        n = [len(axis) for axis in self.axes]
        points = np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1).reshape(-1, 3)
        return Cells("hexahedron", points, corners(*n))


def corners(n1: int, n2: int, n3: int) -> Integers:
    """Number the vertices of the hexahedra of a grid with so many nodes: (n_cells, 8)."""
    number = np.arange(n1 * n2 * n3).reshape(n1, n2, n3)
    return np.stack(
        [
            number[i : n1 - 1 + i, j : n2 - 1 + j, k : n3 - 1 + k].ravel()
            for k, j, i in itertools.product((0, 1), repeat=3)
        ],
        axis=1,
    )


def graded(
    core: tuple[float, float, float, float],
    size: tuple[float, float, float],
    cells: tuple[int, int, int],
    above: int,
    layers: int,
) -> Grid:
    """Make hexahedra for a box: equal ones in a core, and layers around it that grow outwards.

    The first layer is about as thick as the core's cells, and the thickness grows so that the last
    one ends at the box. With all the numbers doubled, every cell is divided in eight, nearly.

    Args:
        core: Half-widths along x1 and x2, and depths of top and bottom.
        size: Of the box, which is centred at x1 = x2 = 0 and has its top at x3 = 0.
        cells: In the core along each direction.
        above: Between the core's top and x3 = 0.
        layers: On each side of the core, and below it.
    """
    n1, n2, n3 = cells
    x1 = np.linspace(-core[0], core[0], n1 + 1)
    x2 = np.linspace(-core[1], core[1], n2 + 1)
    x3 = np.linspace(-core[3], -core[2], n3 + 1)
    out1, out2, below = (
        _layers(x[1] - x[0], end + x[0], layers)
        for x, end in ((x1, size[0] / 2), (x2, size[1] / 2), (x3, size[2]))
    )
    axes = (
        np.concatenate([x1[0] - out1[::-1], x1, x1[-1] + out1]),
        np.concatenate([x2[0] - out2[::-1], x2, x2[-1] + out2]),
        np.concatenate([x3[0] - below[::-1], x3, np.linspace(-core[2], 0, above + 1)[1:]]),
    )
    inside = (slice(layers, layers + n + 1) for n in cells)
    return Grid(axes, (next(inside), next(inside), next(inside)))


def _layers(first: float, length: float, n: int) -> Array:
    """Give the ends of n layers that fill a length, the first about as thick as asked for.

    Their ends are at (1 + a t)^3 - 1 times a factor. Of the maps tried for DC resistivity (powers
    2, 3 and 5, exponential, sinh), this one leaves the least error after the extrapolation.
    """
    t = np.arange(1, n + 1) / n
    slope = first * n / length
    a = brentq(lambda a: 3 * a / ((1 + a) ** 3 - 1) - slope, 1e-9, 1e6) if slope < 1 else 1e-9
    return np.asarray(length * ((1 + a * t) ** 3 - 1) / ((1 + a) ** 3 - 1))


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
