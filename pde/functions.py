"""DOLFINx functions as arrays: sampled on the cells of their mesh, and on plane sections of it.

A cell is sampled on a lattice, whose fineness depends on the functions' degree, and divided along
it into cells with straight sides. The kind of the elements does not matter, as functions are
evaluated in cells: they may be of any degree, continuous or not, scalars, vectors or tensors.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from dolfinx import fem

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.types import Array

from .fenicsx import cell_name, geometry_nodes, locate, shape_functions
from .fields import Field

Integers = npt.NDArray[np.int64]

_MOST = 8  # divisions of a cell's edge
_KINDS = {
    "interval": "line",
    "triangle": "triangle",
    "quadrilateral": "quad",
    "tetrahedron": "tetra",
    "hexahedron": "hexahedron",
}
"""meshio's name of each kind of cell."""


def checked(solution: Any, problem: str) -> dict[str, Any]:
    """Return the functions of `Problem.solution` by name; one alone is called ``solution``.

    Args:
        solution: A DOLFINx function, or a dict of such.
        problem: The problem's name, for messages.

    Raises:
        InputError: If it is something else, the functions are not on one mesh, or are of a part of
            a mixed space.
    """
    functions = dict(solution) if isinstance(solution, Mapping) else {"solution": solution}
    check(bool(functions), f"{problem}: self.solution is a dict without functions")
    for name, u in functions.items():
        check(
            isinstance(name, str) and isinstance(u, fem.Function),
            f"{problem}: self.solution must be a DOLFINx function or a dict of such functions by "
            f"name; got {type(u).__name__} as {name!r}",
        )
    domains = [u.function_space.mesh for u in functions.values()]
    check(
        all(domain.geometry is domains[0].geometry or domain == domains[0] for domain in domains),
        f"{problem}: the functions of self.solution must be on one mesh",
    )
    kind = cell_name(domains[0])
    check(
        kind in _KINDS,
        f"{problem}: self.solution is on cells of the kind {kind}; those known are "
        f"{', '.join(_KINDS)}",
    )
    for name, u in functions.items():
        u.x.scatter_forward()
        try:
            u.eval(np.zeros((0, 3)), np.zeros(0, np.int32))
        except (RuntimeError, ValueError, IndexError) as error:
            raise InputError(
                f"{problem}: {name} of self.solution cannot be evaluated ({error}); of a mixed "
                "function give its parts, as by sub(0).collapse()"
            ) from error
    return functions


def sampled(functions: Mapping[str, Any]) -> Field:
    """Evaluate functions on the whole of their mesh. Collective.

    Args:
        functions: Functions from `checked`.

    Returns:
        The values at points, on rank 0 for the whole mesh and on others without cells: (n,) for a
        scalar, (n, 3) for a vector in up to three dimensions, (n, k) for anything else. A point at
        which no function jumps occurs once.
    """
    domain = next(iter(functions.values())).function_space.mesh
    comm, kind = domain.comm, cell_name(domain)
    n = comm.allreduce(max(map(_degree, functions.values())), max)
    lattice, division = _divided(kind, min(max(n, 1), _MOST))
    points = _in_cells(domain, lattice)
    n_cells = len(points)
    at = points.reshape(-1, 3)
    cells = np.repeat(np.arange(n_cells, dtype=np.int32), len(lattice))
    parts = [np.asarray(u.eval(at, cells)).reshape(len(at), -1) for u in functions.values()]
    gathered = comm.gather((points, *parts))
    if gathered is None:
        gathered = [(points[:0], *(part[:0] for part in parts))]
    points, *parts = (np.concatenate(arrays) for arrays in zip(*gathered, strict=True))
    numbers = np.arange(len(points) * len(lattice)).reshape(len(points), len(lattice))
    corners = numbers[:, division].reshape(-1, division.shape[1])
    first, same = _merged(np.column_stack([points.reshape(-1, 3), *parts]))
    return Field(
        points=points.reshape(-1, 3)[first],
        kind=_KINDS[kind],
        cells=same[corners],
        at_points={name: _padded(part[first]) for name, part in zip(functions, parts, strict=True)},
        at_cells={},
    )


def along(functions: Mapping[str, Any], points: Array) -> dict[str, Array]:
    """Evaluate functions at points, (n, 3), the same on every process. Collective.

    Returns:
        Their values, (n, k) each, on every process; NaN outside the mesh.
    """
    domain = next(iter(functions.values())).function_space.mesh
    cells = locate(domain, points)
    here = np.flatnonzero(cells >= 0)
    found = {}
    for name, u in functions.items():
        part = np.asarray(u.eval(points[here], cells[here])).reshape(len(here), -1)
        values = np.full((len(points), part.shape[1]), np.nan)
        values[here] = part
        reports = np.array(domain.comm.allgather(values))
        first = np.argmax(np.isfinite(reports[:, :, 0]), axis=0)
        found[name] = reports[first, np.arange(len(points))]
    return found


def extent(functions: Mapping[str, Any]) -> Array:
    """Return the least and the largest coordinates of the functions' mesh, (2, 3). Collective."""
    domain = next(iter(functions.values())).function_space.mesh
    x = domain.geometry.x
    low = np.min(x, axis=0, initial=np.inf) if len(x) else np.full(3, np.inf)
    high = np.max(x, axis=0, initial=-np.inf) if len(x) else np.full(3, -np.inf)
    ends = np.array(domain.comm.allgather((low, high)))
    return np.stack([ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)])


def dimension(functions: Mapping[str, Any]) -> tuple[int, int]:
    """Return the dimension of the functions' cells, and that of the space around them."""
    domain = next(iter(functions.values())).function_space.mesh
    return int(domain.topology.dim), int(domain.geometry.dim)


def _degree(u: Any) -> int:
    """Return the least degree of polynomials that have as many coefficients in a cell as u."""
    V = u.function_space
    domain = V.mesh
    if not domain.topology.index_map(domain.topology.dim).size_local:
        return 0
    n, dim = len(V.dofmap.cell_dofs(0)), domain.topology.dim
    simplex = cell_name(domain) in ("interval", "triangle", "tetrahedron")
    for degree in range(_MOST):
        full = (
            np.prod([(degree + k) / k for k in range(1, dim + 1)])
            if simplex
            else ((degree + 1) ** dim)
        )
        if full >= n - 1e-9:
            return degree
    return _MOST


def _divided(kind: str, n: int) -> tuple[Array, Integers]:
    """Divide a reference cell along the lattice of 1/n.

    Returns:
        The lattice's points in the reference cell, (n_points, dim), and the corners of each of the
        cells into which it divides the cell, in meshio's order.
    """
    dim = {"interval": 1, "triangle": 2, "quadrilateral": 2}.get(kind, 3)
    steps = np.array(list(itertools.product(range(n + 1), repeat=dim)))
    if kind in ("quadrilateral", "hexahedron"):
        ring = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
        paths = [ring if dim == 2 else np.vstack([np.c_[ring, [k] * 4] for k in (0, 1)])]
        inside = steps
    else:
        # Kuhn's division of the cubes of a lattice divides the simplex n >= t1 >= t2 >= t3 >= 0.
        eye = np.eye(dim, dtype=int)
        paths = [
            np.cumsum([0 * eye[0], *(eye[k] for k in order)], axis=0)
            for order in itertools.permutations(range(dim))
        ]
        inside = steps[(np.diff(steps, axis=1) <= 0).all(axis=1)]
    number = {tuple(point): i for i, point in enumerate(inside.tolist())}
    cells = [
        [number[tuple(corner)] for corner in (start + path).tolist()]
        for start in inside
        for path in paths
        if all(tuple(corner) in number for corner in (start + path).tolist())
    ]
    if kind in ("quadrilateral", "hexahedron"):
        return inside / n, np.array(cells, dtype=np.int64)
    # From t to coordinates of the reference simplex, whose sums are at most n.
    lattice = np.column_stack([-np.diff(inside, axis=1), inside[:, -1:]])
    return lattice / n, _positive(lattice, np.array(cells, dtype=np.int64))


def _positive(points: Integers, cells: Integers) -> Integers:
    """Exchange two corners of inverted simplices."""
    edges = points[cells[:, 1:]] - points[cells[:, :1]]
    mirrored = np.linalg.det(edges.astype(float)) < 0
    cells[mirrored, -2:] = cells[mirrored, :-3:-1]
    return cells


def _in_cells(domain: Any, lattice: Array) -> Array:
    """Map a lattice of the reference cell to each cell that this process owns.

    Returns:
        Points, (n_cells, n_points, 3).
    """
    owned = domain.topology.index_map(domain.topology.dim).size_local
    nodes = geometry_nodes(domain)[:owned]
    x = domain.geometry.x[nodes.ravel()].reshape(*nodes.shape, 3)
    shapes = shape_functions(domain, lattice)
    whole = shapes.round()  # 0 and 1 at the nodes: these then keep their coordinates exactly
    shapes = np.where(np.abs(shapes - whole) < 1e-12, whole, shapes)
    return np.asarray(np.einsum("pk,ckd->cpd", shapes, x))


def _merged(rows: Array) -> tuple[Integers, Integers]:
    """Find rows that are equal but for rounding.

    Returns:
        The first of each set of equal rows, and the number of its set for every row.
    """
    if not len(rows):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    finite = np.where(np.isfinite(rows), rows, 0)
    size = np.abs(finite).max(axis=0)
    grain = 1e-9 * np.where(size > 0, size, 1)
    rounded = np.ascontiguousarray((finite / grain).round() + 0.0)
    _, first, same = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    return first.astype(np.int64), same.reshape(-1).astype(np.int64)


def _padded(values: Array) -> Array:
    """Return scalars as (n,), vectors as (n, 3), and two-by-two tensors as (n, 9)."""
    n, k = values.shape
    if k == 1:
        return values[:, 0]
    if k == 2:
        return np.column_stack([values, np.zeros(n)])
    if k == 4:
        tensors = np.zeros((n, 3, 3))
        tensors[:, :2, :2] = values.reshape(n, 2, 2)
        return tensors.reshape(n, 9)
    return values
