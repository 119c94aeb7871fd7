"""Checks of a user's mesh before solves: safe faults are mended, other faults are refused.

The domain is a half-space that is cut off far away (see `pde.dcr.potential`), or ground with a
curved top. Its mesh must be

- one connected whole of convex shape (a box, a cylinder, half of a ball), with the flat top x3 = 0;
- or, with a curved top, between that and upright or undercut sides and a bottom that are convex; as
  seen from above, the top has no overhang or vertical step;
- conforming: two cells meet in a whole face, an edge, a vertex, or not at all, and no cell is there
  twice, flat, or tangled.

Convexity distinguishes a hole, a crack or an overlap from an intended shape: every face with a cell
on one side only must lie on the convex hull of the points, the two cells of any other face must lie
on its two sides, and the volumes must add up to that of the hull. With a curved top, this holds for
the faces that do not look up, and those that do must together be as large as the hull, as seen from
above.

Tolerances are relative to the cells: see the constants. If a mesh generator did not merge the faces
of two volumes, the mesh is torn; merging coincident points makes it whole. A crack would insulate,
and is never intended here.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError, cKDTree

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.types import Array

from .cell_shapes import chunks, quality, shortest_edges, volumes

Integers = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]

TOP = 0.01
"""Largest distance [m] of a point of the top from x3 = 0; the point is moved there.

The distance must also be below a hundredth of the shortest edge at the point, to keep cells' shape.
"""
MERGED = 1e-4
"""Points are merged if they are closer than this part of the shortest edge at either."""
FLAT = 1e-4
"""Least height of a tetrahedron over its longest edge; of a hexahedron see `quality`."""
HULL = 0.25
"""Largest distance of a boundary face from the hull, as a part of its cell's and its own size.

The triangles of a sphere do not all lie on the hull of their corners.
"""
TANGLED = "cells that are flat or tangled"
STEEP = 0.01
"""Faces of the boundary look up, with a curved top, if the cosine of their slope is above this."""
LARGEST = 1e7
"""Largest coordinate [m], of the size of the earth."""

# Faces in the order of DOLFINx's vertices, counterclockwise from outside.
_FACES = {
    "hexahedron": np.array(
        [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]]
    ),
    "tetrahedron": np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
}
_MIRRORED = {"hexahedron": [4, 5, 6, 7, 0, 1, 2, 3], "tetrahedron": [0, 2, 1, 3]}


@dataclass(frozen=True)
class Solid:
    """A mesh that passed the checks.

    Attributes:
        points: Vertices, (n_points, 3).
        vertices: Vertices of each cell in the order of DOLFINx, with a positive Jacobian.
        hull: Planes (normal, offset) of the convex hull: n . x + offset <= 0 inside, (n, 4).
        top: Vertices of the boundary's faces at the top, (n, 4 or 3).
        sides: Vertices of its other faces, (n, 4 or 3).
        numbers: Number of each given cell in this mesh.
        mended: The mended faults, one line each.
    """

    points: Array
    vertices: Integers
    hull: Array
    top: Integers
    sides: Integers
    numbers: Integers
    mended: tuple[str, ...]


def solid(kind: str, points: Array, vertices: Integers, *, curved: bool = False) -> Solid:
    """Check and mend a mesh.

    Args:
        kind: ``hexahedron`` or ``tetrahedron``.
        points: Vertices, (n_points, 3).
        vertices: Vertices of each cell in the order of DOLFINx, (n_cells, 8 or 4).
        curved: Whether the top may be other than the plane x3 = 0.

    Raises:
        InputError: If the mesh has other faults; the message says which, where, in how many cells.
    """
    mended: list[str] = []
    points, vertices = _used(points, vertices, mended)
    if not curved:
        points = _levelled(points, vertices, mended)
    given, tangled = vertices, _signs(kind, points, vertices) == 0
    vertices = _oriented(kind, points, vertices, tangled, mended)
    merged, vertices = _merged(points, vertices, mended)
    vertices, numbers = _single(merged, vertices, mended)
    try:
        hull, top, sides = _whole(kind, merged, vertices, curved)
    except InputError:  # the cells do not match with the order of corners found here
        _refuse(tangled, TANGLED, points, given)
        raise
    return Solid(merged, vertices, hull, top, sides, numbers, tuple(mended))


def place(x: Array) -> str:
    """Write a point, in m, to three decimals."""
    return f"[{', '.join(f'{value:.7g}' for value in x.round(3) + 0.0)}]"


def _place(points: Array, vertices: Integers) -> str:
    """Write the centre of a cell or a face."""
    return place(points[vertices].mean(axis=0))


def _refuse(wrong: Marks, what: str, points: Array, vertices: Integers) -> None:
    """Refuse a mesh if there are cells or faces with a fault.

    Args:
        wrong: Whether each has the fault.
        what: The fault, after "has".
        points: The mesh's points.
        vertices: Vertices of each cell or face.
    """
    if wrong.any():
        where = _place(points, vertices[int(np.argmax(wrong))])
        raise InputError(f"has {what}: {int(wrong.sum())}, the first around {where} m")


def _used(points: Array, vertices: Integers, mended: list[str]) -> tuple[Array, Integers]:
    """Check indices and coordinates, and drop points without a cell."""
    wrong = (vertices < 0) | (vertices >= len(points))
    if wrong.any():
        raise InputError(
            f"has {int(wrong.any(axis=1).sum())} cells with points that do not exist: there are "
            f"{len(points)}, and the first such cell has point {int(vertices[wrong][0])} "
            "(counted from 0)"
        )
    ordered = np.sort(vertices, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    what = "cells with a corner twice, such as wedges written as hexahedra"
    _refuse(twice, what, points, vertices)
    used, inverse = np.unique(vertices, return_inverse=True)
    if len(used) < len(points):
        mended.append(f"{len(points) - len(used)} points that no cell has were left out")
    points, vertices = points[used], inverse.reshape(vertices.shape).astype(np.int64)
    # NaN compares as false.
    far = ~(np.abs(points) <= LARGEST).all(axis=1)
    what = f"cells with coordinates that are not finite, or above {LARGEST:g} m"
    _refuse(far[vertices].any(axis=1), what, np.nan_to_num(points, posinf=0, neginf=0), vertices)
    return points, vertices


def _levelled(points: Array, vertices: Integers, mended: list[str]) -> Array:
    """Move points near x3 = 0 to it."""
    highest = points[:, 2].max()
    check(
        abs(highest) <= TOP,
        f"must have its top at x3 = 0, within {TOP:g} m, and depths below zero; its points go from "
        f"x3 = {points[:, 2].min():g} to {highest:g} m",
    )
    height = np.abs(points[:, 2])
    near = height <= np.minimum(TOP, shortest_edges(points, vertices) / 100)
    rough = float(height[near].max(initial=0))
    if rough == 0:
        return points
    if rough > 1e-9:
        n = int((near & (height > 0)).sum())
        mended.append(f"{n} points of the top were moved to x3 = 0, by {rough:.2g} m at most")
    return np.where(near[:, None] & np.array([False, False, True]), 0.0, points)


def _signs(kind: str, points: Array, vertices: Integers) -> npt.NDArray[np.int8]:
    """Classify cells: 1 for proper, -1 for proper but mirrored, 0 for flat or tangled."""
    signs = np.zeros(len(vertices), dtype=np.int8)
    for part in chunks(len(vertices)):
        least, most = quality(kind, points[vertices[part]])
        signs[part] = (least > FLAT).astype(np.int8) - (most < -FLAT)
    return signs


def _oriented(
    kind: str, points: Array, vertices: Integers, tangled: Marks, mended: list[str]
) -> Integers:
    """Reorder the vertices of mirrored cells, and of tangled hexahedra.

    Eight points are the corners of at most one hexahedron, so that the order in which all Jacobians
    have one sign is the right one. All orders tried have the same four points at the bottom; VTK's
    voxels have one of them.
    """
    vertices, wrong = vertices.copy(), np.flatnonzero(tangled)
    for bottom in ([0, 1, 2, 3], [0, 1, 3, 2], [0, 3, 2, 1]) if kind == "hexahedron" else ():
        for top in itertools.permutations([4, 5, 6, 7]):
            reordered = vertices[wrong][:, [*bottom, *top]]
            right = _signs(kind, points, reordered) != 0
            vertices[wrong[right]] = reordered[right]
            wrong = wrong[~right]
    signs = _signs(kind, points, vertices)
    _refuse(signs == 0, TANGLED, points, vertices)
    mirrored = signs < 0
    vertices[mirrored] = vertices[mirrored][:, _MIRRORED[kind]]
    for n, what in ((tangled.sum(), "tangled"), (mirrored.sum(), "inside out")):
        if n:
            mended.append(f"{n} cells were {what}: their corners were put in order")
    return vertices


def _same(rows: Integers) -> tuple[Integers, Integers]:
    """Number the different rows of a matrix, (n, k).

    Returns:
        The number of each row, (n,), and the first row with each number.
    """
    order = np.lexsort(rows.T[::-1])
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (rows[order[1:]] != rows[order[:-1]]).any(axis=1)
    numbers = np.empty(len(rows), dtype=np.int64)
    numbers[order] = np.cumsum(new) - 1
    return numbers, order[new].astype(np.int64)  # lexsort keeps the order of equal rows


def _merged(points: Array, vertices: Integers, mended: list[str]) -> tuple[Array, Integers]:
    """Merge coincident points."""
    before, where = len(points), ""
    while True:
        tolerance = MERGED * shortest_edges(points, vertices)
        distance, nearest = cKDTree(points).query(points, k=2)
        # The nearest of coincident points may be the point itself, or another one.
        other = np.where(nearest[:, 1] == np.arange(len(points)), nearest[:, 0], nearest[:, 1])
        close = distance[:, 1] <= np.minimum(tolerance, tolerance[other])
        if not close.any():
            break
        where = where or _place(points, np.flatnonzero(close)[:1])
        some = np.flatnonzero(close)
        pairs = coo_matrix((np.ones(len(some)), (some, other[some])), (len(points),) * 2)
        number = connected_components(pairs, directed=False)[1]
        points, vertices = points[np.unique(number, return_index=True)[1]], number[vertices]
    if len(points) < before:
        mended.append(
            f"{before - len(points)} points that coincide with others were merged with them, as "
            f"around {where} m: the mesh was torn there"
        )
    return points, vertices.astype(np.int64)


def _single(points: Array, vertices: Integers, mended: list[str]) -> tuple[Integers, Integers]:
    """Keep one of several cells with the same vertices; number the given cells."""
    same, first = _same(np.sort(vertices, axis=1))
    kept = np.sort(first)
    if len(kept) < len(vertices):
        again = np.setdiff1d(np.arange(len(vertices)), kept)
        mended.append(
            f"{len(again)} cells that are there more than once were left out, as around "
            f"{_place(points, vertices[again[0]])} m"
        )
    return vertices[kept], np.searchsorted(kept, first[same])


def _whole(
    kind: str, points: Array, vertices: Integers, curved: bool
) -> tuple[Array, Integers, Integers]:
    """Check that cells of positive orientation fill their convex hull, or the ground, once.

    Returns:
        The hull's planes, and the boundary's faces at the top and elsewhere.
    """
    local = _FACES[kind]
    faces = vertices[:, local].reshape(-1, local.shape[1])
    owner = np.repeat(np.arange(len(vertices)), len(local))
    # The smallest vertex first, then its smaller neighbour: equal for both senses of rotation.
    turns = (np.argmin(faces, axis=1)[:, None] + np.arange(faces.shape[1])) % faces.shape[1]
    keys = np.take_along_axis(faces, turns, axis=1)
    backwards = keys[:, -1] < keys[:, 1]
    keys[backwards, 1:] = keys[backwards, :0:-1]
    number, first = _same(keys)
    shared = np.bincount(number)
    sense = np.bincount(number, np.where(backwards, -1.0, 1.0))
    what = "faces with more than two cells, where cells overlap"
    _refuse(shared > 2, what, points, keys[first])
    what = "faces with two cells on the same side, where cells overlap"
    _refuse((shared == 2) & (sense != 0), what, points, keys[first])
    _check_connected(points, vertices, number, owner)

    outside = first[shared == 1]
    filled = np.concatenate(
        [volumes(kind, points[vertices[part]]) for part in chunks(len(vertices))]
    )
    boundary = faces[outside]
    nodes = points[np.unique(boundary)]
    try:
        hull = ConvexHull(nodes)
    except QhullError as error:
        raise InputError("is too small for its distance from the origin") from error
    area = float(np.abs(_normals(nodes[hull.simplices])[:, 2]).sum()) / 2
    if curved:
        top = _looks_up(points, boundary, area)
    else:
        _check_top(points, boundary, area)
        top = ~(points[boundary, 2] < 0).any(axis=1)
    planes = np.unique(hull.equations.round(9), axis=0)
    inner = np.zeros(len(boundary), dtype=bool)
    there = ~top if curved else np.ones(len(boundary), dtype=bool)
    inner[there] = _off_hull(
        points, boundary[there], planes, filled[owner[outside[there]]], len(local)
    )
    step = ", or a vertical step of the top" if curved else ""
    what = (
        "faces inside with a cell on one side only, at a hole, a crack, or cells that do not match"
        f"{step} (it must fill {'the ground up to its top' if curved else 'its convex hull'})"
    )
    _refuse(inner, what, points, boundary)
    ratio = filled.sum() / hull.volume
    check(
        curved or abs(ratio - 1) < 0.01,
        f"has cells that overlap: together they are {ratio:.4g} times as large as their hull",
    )
    return planes, boundary[top], boundary[~top]


def _looks_up(points: Array, boundary: Integers, area: float) -> Marks:
    """Mark the boundary's faces that look up; check that they cover the hull's area once."""
    normals = _normals(points[boundary])
    up = normals[:, 2] > STEEP * np.linalg.norm(normals, axis=1)
    ratio = float(normals[up, 2].sum()) / area
    lowest = points[boundary[up]].mean(axis=1) if up.any() else np.zeros((1, 3))
    check(
        abs(ratio - 1) < 1e-3,
        f"must have a top without gaps and overhangs: the faces that look up are {ratio:.4g} times "
        "as large as the ground, seen from above; the lowest is around "
        f"{place(lowest[np.argmin(lowest[:, 2])])} m",
    )
    return np.asarray(up)


def _check_connected(points: Array, vertices: Integers, number: Integers, owner: Integers) -> None:
    """Check that faces connect all cells.

    Args:
        points: Vertices.
        vertices: Vertices of each cell.
        number: Numbers of the cells' faces, one cell after another.
        owner: The cell of each of these faces.
    """
    n_cells, n_faces = len(vertices), int(number.max()) + 1
    size = n_cells + n_faces
    graph = coo_matrix((np.ones(len(owner)), (owner, n_cells + number)), (size, size))
    count, part = connected_components(graph, directed=False)
    if count > 1:
        sizes = np.bincount(part[:n_cells], minlength=count)
        small = int(np.argmin(sizes))
        apart = vertices[np.argmax(part[:n_cells] == small)]
        raise InputError(
            f"has {count} parts that share no face: the smallest has {sizes[small]} cells, around "
            f"{_place(points, apart)} m"
        )


def _off_hull(
    points: Array, boundary: Integers, planes: Array, volumes: Array, n_faces: int
) -> Marks:
    """Mark the boundary's faces that are not on the hull, (n,).

    Args:
        points: Vertices.
        boundary: Vertices of each face.
        planes: Planes of the hull.
        volumes: Volume of each face's cell.
        n_faces: Number of a cell's faces.
    """
    corners = points[boundary]
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
    area = np.linalg.norm(_normals(corners), axis=1)
    height = volumes / area * (3 if n_faces == 4 else 1)
    within = HULL * np.minimum(height, sides.min(axis=1))
    at = np.concatenate([corners, corners.mean(axis=1, keepdims=True)], axis=1)
    depth = np.empty(at.shape[:2])
    for start in range(0, len(at), max(1, 4_000_000 // (len(planes) * at.shape[1]))):
        part = slice(start, start + max(1, 4_000_000 // (len(planes) * at.shape[1])))
        depth[part] = (-(at[part] @ planes[:, :3].T) - planes[:, 3]).min(axis=2)
    return np.asarray((depth > within[:, None]).any(axis=1))


def _normals(corners: Array) -> Array:
    """Return the normals of faces, (n, 3 or 4, 3), with their areas as lengths: (n, 3)."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    if corners.shape[1] == 3:
        return np.asarray(np.cross(a, b) / 2)
    return np.asarray(np.cross(b, corners[:, 3] - corners[:, 1]) / 2)


def _check_top(points: Array, boundary: Integers, area: float) -> None:
    """Check that faces that look up are at x3 = 0, unless some are inside the hull.

    Args:
        points: Vertices.
        boundary: Vertices of each face.
        area: Area of the hull, seen from above.
    """
    corners = points[boundary]
    normals = _normals(corners)
    if normals[:, 2].clip(0).sum() > area * (1 + 1e-7):
        return  # refused by `_off_hull`
    up = normals[:, 2] > np.cos(np.pi / 4) * np.linalg.norm(normals, axis=1)
    height = np.abs(corners[..., 2]).max(axis=1)
    what = (
        f"faces of the top off x3 = 0, by {height[up].max(initial=0):.3g} m at most, with a "
        f"tolerance of {TOP:g} m and of a hundredth of an edge (no topography)"
    )
    _refuse(up & (height > 0), what, points, boundary)
