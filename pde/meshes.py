"""Meshes of hexahedra or tetrahedra: the built-in mesh, and files that meshio reads."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import itertools
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import meshio
import numpy as np
import numpy.typing as npt
from mpi4py import MPI
from scipy.optimize import brentq
from scipy.special import roots_legendre

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.files import check_hdf5
from surrogates.types import Array

from . import mesh_checks, mesh_groups
from .fenicsx import create_mesh

Integers = npt.NDArray[np.int64]

# From the order of a cell's vertices in VTK and meshio to DOLFINx's; its own inverse.
VTK = {"hexahedron": [0, 1, 3, 2, 4, 5, 7, 6], "tetrahedron": [0, 1, 2, 3]}


@dataclass(frozen=True)
class Cells:
    """A mesh as arrays.

    Attributes:
        kind: ``hexahedron`` or ``tetrahedron``.
        points: Vertices, (n_points, 3).
        vertices: Vertices of each cell in the order of DOLFINx, (n_cells, 8 or 4).
    """

    kind: str
    points: Array
    vertices: Integers

    def create(self, comm: MPI.Comm) -> Any:
        """Make a DOLFINx mesh over the processes of a communicator. Collective.

        Only rank 0's arrays are used.
        """
        if comm.rank == 0:
            return create_mesh(comm, self.kind, self.points, self.vertices)
        return create_mesh(comm, self.kind, self.points[:0], self.vertices[:0])


@dataclass(frozen=True)
class Grid:
    """A tensor-product grid of hexahedra, with equal cells in its core.

    Attributes:
        axes: Coordinates of the nodes along x1, x2 and x3, increasing.
        core: The core's nodes among these.
    """

    axes: tuple[Array, Array, Array]
    core: tuple[slice, slice, slice]

    def cells(self) -> Cells:
        """Return the mesh as arrays; the last index of a vertex is the fastest."""
        n = [len(axis) for axis in self.axes]
        points = np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1).reshape(-1, 3)
        return Cells("hexahedron", points, corners(*n))


def corners(n1: int, n2: int, n3: int) -> Integers:
    """Number the vertices of a grid's hexahedra, from its numbers of nodes: (n_cells, 8)."""
    number = np.arange(n1 * n2 * n3).reshape(n1, n2, n3)
    return np.stack(
        [
            number[i : n1 - 1 + i, j : n2 - 1 + j, k : n3 - 1 + k].ravel()
            for k, j, i in itertools.product((0, 1), repeat=3)
        ],
        axis=1,
    )


def one_cell(kind: str) -> tuple[Array, Integers]:
    """Return points and vertices of a mesh of one cell, to compile forms for its kind."""
    corners = [(i, j, k - 1) for k in (0, 1) for j in (0, 1) for i in (0, 1)]
    keep = range(8) if kind == "hexahedron" else (0, 1, 2, 4)
    points = np.array([corners[i] for i in keep], dtype=float)
    return points, np.arange(len(points))[None]


def graded(
    core: tuple[float, float, float, float],
    size: tuple[float, float, float],
    cells: tuple[int, int, int],
    above: int,
    layers: int,
) -> Grid:
    """Make hexahedra for a box: equal cells in a core, and layers around it that grow outwards.

    The first layer is about as thick as the core's cells, and the thickness grows so that the last
    layer ends at the box. If all numbers are doubled, every cell is divided nearly into eight.

    Args:
        core: Half-widths along x1 and x2, and depths of top and bottom.
        size: Extent of the box, which is centred at x1 = x2 = 0 and has its top at x3 = 0.
        cells: Numbers of cells in the core along each direction.
        above: Number of layers between the core's top and x3 = 0.
        layers: Number of layers on each side of the core, and below it.
    """
    n1, n2, n3 = cells
    x1 = np.linspace(-core[0], core[0], n1 + 1)
    x2 = np.linspace(-core[1], core[1], n2 + 1)
    x3 = np.linspace(-core[3], -core[2], n3 + 1)
    out1, out2, below = (
        growing(x[1] - x[0], end + x[0], layers)
        for x, end in ((x1, size[0] / 2), (x2, size[1] / 2), (x3, size[2]))
    )
    axes = (
        np.concatenate([x1[0] - out1[::-1], x1, x1[-1] + out1]),
        np.concatenate([x2[0] - out2[::-1], x2, x2[-1] + out2]),
        np.concatenate([x3[0] - below[::-1], x3, np.linspace(-core[2], 0, above + 1)[1:]]),
    )
    inside = (slice(layers, layers + n + 1) for n in cells)
    return Grid(axes, (next(inside), next(inside), next(inside)))


def growing(first: float, length: float, n: int) -> Array:
    """Return the ends of n layers that fill a length; the first is about as thick as ``first``.

    Their ends are at (1 + a t)^3 - 1 times a factor. Of the maps tried for DC resistivity (powers
    2, 3 and 5, exponential, sinh), this one leaves the least error after the extrapolation.
    """
    t = np.arange(1, n + 1) / n
    slope = first * n / length
    a = brentq(lambda a: 3 * a / ((1 + a) ** 3 - 1) - slope, 1e-9, 1e6) if slope < 1 else 1e-9
    return np.asarray(length * ((1 + a * t) ** 3 - 1) / ((1 + a) ** 3 - 1))


@dataclass(frozen=True)
class FileMesh(Cells):
    """A mesh from a file, checked and mended.

    Attributes:
        path: Path of the file, as it was given.
        hull: Planes of its convex hull: n . x + offset <= 0 inside, (n, 4).
        top: Vertices of the boundary's faces at the top, (n, 4 or 3).
        sides: Vertices of its other faces, (n, 4 or 3).
        mended: The mended faults, one line each.
        grouped: The file's groups of cells in words; empty if there are none.
        groups: Numbers of the cells in each of the file's groups, by the groups' names.
        sha256: Hash of the kind, the points and the vertices.
    """

    path: str
    hull: Array
    top: Integers
    sides: Integers
    mended: tuple[str, ...]
    grouped: str
    groups: Mapping[str, Integers]
    sha256: str

    @property
    def notes(self) -> tuple[str, ...]:
        """The mended faults, and the groups of cells where conductivities do not depend on them."""
        about = "groups of cells, which conductivities do not depend on"
        said = (f"the mesh {self.path}: {about}: {self.grouped}",) if self.grouped else ()
        return (*self.mended, *said)

    def regions(self, names: Sequence[str]) -> Integers:
        """Return the number in ``names`` of each cell's group, (n_cells,).

        Raises:
            InputError: If the file has no group of such a name, or a cell is in none of them or in
                two.
        """
        found = np.full(len(self.vertices), -1, dtype=np.int64)
        for number, name in enumerate(names):
            there = self.grouped or "none"
            check(
                name in self.groups,
                f"the mesh {self.path} has no group of cells {name!r}; its groups are: {there}",
            )
            cells = self.groups[name]
            twice = cells[found[cells] >= 0]
            check(
                len(twice) == 0,
                f"the mesh {self.path} has {len(twice)} cells in the groups {name!r} and "
                f"{names[int(found[twice[:1]].sum())]!r}; regions must not overlap",
            )
            found[cells] = number
        out = np.flatnonzero(found < 0)
        if len(out):
            inside = [key for key, cells in self.groups.items() if out[0] in cells]
            where = mesh_checks.place(self.points[self.vertices[out[0]]].mean(axis=0))
            raise InputError(
                f"the mesh {self.path} has {len(out)} cells in no region of {list(names)}, the "
                f"first around {where} m"
                + (f", in the group {inside[0]!r}" if inside else ", in no group with a name")
            )
        return found

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """Least and largest coordinates of each cell, (n_cells, 3) each."""
        corners = self.points[self.vertices]
        return corners.min(axis=1), corners.max(axis=1)


def read(path: str | os.PathLike[str], *, curved: bool = False) -> FileMesh:
    """Read a mesh in any format that meshio reads; check and mend it by `mesh_checks`.

    With ``curved`` the top may be any surface without overhangs; else it is the plane x3 = 0.

    The last file is kept in memory, as a run reads its mesh several times: it always gets the mesh
    that was checked.

    Raises:
        InputError: If meshio cannot read the file, or the mesh has a fault.
    """
    path = Path(path)
    check(not path.is_dir(), f"the mesh file {str(path)!r} is a folder")
    check(path.is_file(), f"there is no mesh file {str(path)!r}")
    about = path.stat()
    state = (about.st_ino, about.st_size, about.st_mtime_ns)
    # Other files of the same mesh can change without this one.
    apart = path.suffix.lower() in (".xdmf", ".xmf", ".node", ".ele")
    return (_read.__wrapped__ if apart else _read)(str(path), path.resolve(), state, curved)


@functools.lru_cache(maxsize=1)
def _read(path: str, _place: Path, _state: tuple[int, ...], curved: bool) -> FileMesh:
    said = io.StringIO()  # its readers print, raise anything, and exit
    try:
        _check_itself(Path(path))
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            mesh = meshio.read(path)
        words = " ".join(said.getvalue().split())  # they are printed in lines of any length
        left_out = re.search(r"cells that meshio cannot handle \(type (\d+)\)", words)
        check(
            left_out is None,
            f"{path} has cells that meshio cannot read, of VTK's type {left_out and left_out[1]}; "
            "write tetrahedra or hexahedra",
        )
        kind, points, vertices = _volume_cells(path, mesh)
        groups = mesh_groups.groups(mesh, NAMES[kind])
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        why = said.getvalue() or f"{type(error).__name__}: {error}"
        raise InputError(
            f"{path} is not a mesh that meshio reads: {mesh_groups.printable(why)}"
        ) from error
    try:
        found = mesh_checks.solid(kind, points, vertices[:, VTK[kind]], curved=curved)
    except InputError as error:
        raise InputError(f"the mesh {path} {error}") from error
    sha = hashlib.sha256(kind.encode() + found.points.tobytes() + found.vertices.tobytes())
    return FileMesh(
        kind=kind,
        points=found.points,
        vertices=found.vertices,
        path=path,
        hull=found.hull,
        top=found.top,
        sides=found.sides,
        mended=tuple(f"the mesh {path}: {text}" for text in found.mended),
        grouped=mesh_groups.described(groups),
        groups={name: np.unique(found.numbers[cells]) for name, cells in groups.items()},
        sha256=sha.hexdigest(),
    )


def _check_itself(path: Path) -> None:
    """Refuse a mesh file that would make meshio read files of something else.

    XDMF names the files of its arrays, and HDF5 may link to others: any file that the user can read
    would pass for a mesh. Arrays of XDMF must be in HDF5 files beside it, or in other files beside
    it whose names begin with its own, as meshio writes them.

    Raises:
        InputError: If it names another file.
    """
    if h5py.is_hdf5(path):
        check_hdf5(path)
    if path.suffix.lower() not in (".xdmf", ".xmf"):
        return
    place = path.resolve()
    for item in ElementTree.parse(path).iter("DataItem"):
        kind, text = item.get("Format"), (item.text or "").strip()
        if kind in ("HDF", "Binary"):
            name = text.rpartition(":")[0] if kind == "HDF" else text
            # meshio takes HDF5 files from the mesh's folder, others from the working folder.
            there = (place.parent / name if kind == "HDF" else Path(name)).resolve()
            own = kind == "HDF" or there.name.startswith(place.stem)
            check(
                own and there.parent == place.parent,
                f"the mesh {path} names the file {name!r}, which is not one of its own",
            )
        if kind == "HDF":
            check_hdf5(there)


def _volume_cells(path: str, mesh: Any) -> tuple[str, Array, Integers]:
    """Take the volume cells of a mesh from meshio; ignore cells of other dimensions.

    Returns:
        Kind, points, and vertices in the order of VTK.
    """
    points = np.asarray(mesh.points, dtype=np.float64)
    blocks = [block for block in mesh.cells if block.dim == 3 and len(block.data)]
    counts = Counter[str]()
    for block in blocks:
        counts[block.type] += len(block.data)
    kinds = [kind for kind, name in NAMES.items() if name in counts]
    if len(counts) != 1 or len(kinds) != 1:
        # Name a place of each kind except the most frequent right one.
        right = max((NAMES[kind] for kind in kinds), key=counts.__getitem__, default="")
        there = []
        for name, n in counts.items():
            first = next(block.data[0] for block in blocks if block.type == name)
            where = "" if name == right else f" (the first around {_centre(points, first)})"
            there.append(f"{n} {name}{where}")
        others = sorted({block.type for block in mesh.cells if block.dim < 3})
        raise InputError(
            f"{path} must have volume cells of one kind, tetra or hexahedron of first order; its "
            f"cells are: {', '.join(there or others) or 'none'}"
        )
    check(
        points.ndim == 2 and points.shape[1] == 3,
        f"{path} is not a mesh in space: points {points.shape}",
    )
    vertices = np.concatenate([np.asarray(block.data) for block in blocks])
    check(
        vertices.dtype.kind in "iu" and vertices.shape[1] == len(VTK[kinds[0]]),
        f"{path} has cells that are not {len(VTK[kinds[0]])} indices of points each",
    )
    return kinds[0], points, vertices.astype(np.int64)


def _centre(points: Array, cell: Any) -> str:
    """Write the centre of a cell of any kind, if its points exist."""
    try:
        corners = np.unique(np.concatenate([np.ravel(part) for part in cell]))
    except ValueError:  # not of faces
        corners = np.unique(cell)
    if not len(corners) or corners.min() < 0 or corners.max() >= len(points):
        return "points that do not exist"
    return f"{mesh_checks.place(points[corners].mean(axis=0))} m"


NAMES = {"tetrahedron": "tetra", "hexahedron": "hexahedron"}
"""meshio's name of each kind of cell."""


def quadrature(kind: str) -> tuple[Array, Array]:
    """Return three Gauss points in each direction of a cell, for averages over it.

    Returns:
        The vertices' shape functions at the points, (n_points, 8 or 4), and weights of sum 1.
    """
    x, w = (roots_legendre(3)[0] + 1) / 2, roots_legendre(3)[1] / 2
    r, s, t = (a.ravel() for a in np.meshgrid(x, x, x, indexing="ij"))
    weights = np.einsum("i,j,k->ijk", w, w, w).ravel()
    if kind == "hexahedron":
        ends = [np.stack([1 - a, a]) for a in (t, s, r)]
        return np.einsum("kq,jq,iq->qkji", *ends).reshape(len(r), 8), weights
    # Collapse the cube to the tetrahedron (Duffy 1982).
    weights = weights * (1 - r) ** 2 * (1 - s)
    corner = np.stack([r, s * (1 - r), t * (1 - r) * (1 - s)], axis=1)
    shape = np.column_stack([1 - corner.sum(axis=1), corner])
    return shape, weights / weights.sum()
