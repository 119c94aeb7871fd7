"""The boundary of a mesh: its top, its far sides, and electrodes on it.

**Far sides.** A face of the boundary belongs to the far sides if it lies on a side or on the bottom
of the mesh's bounding box, or if it faces sideways or downwards and is further from the survey's
centre than every electrode: a mesh may end in a cylinder or in a half-sphere. All other faces are
the top, whatever its form.

**Electrodes.** An electrode within a tolerance of the top is put on it, at the nearest point. The
others are buried, in a cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from surrogates.config import check
from surrogates.types import Array

from ..meshes import Cells

Integers = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]

_FACES = {
    "hexahedron": np.array(
        [[0, 4, 6, 2], [1, 3, 7, 5], [0, 1, 5, 4], [2, 6, 7, 3], [0, 2, 3, 1], [4, 5, 7, 6]]
    ),
    "tetrahedron": np.array([[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]]),
}
"""Vertices of each face of a cell, in a cycle that is anticlockwise from outside."""

_SIDEWAYS = 1e-3  # largest upward part of the unit normal of a far face
_PLANE = 1e-6  # distance from a side of the bounding box that counts as on it, over the box's size
_SAME = 1e-6  # distance of an electrode from a node that counts as on it, over a cell's size


@dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """The boundary of a mesh.

    Attributes:
        points: Vertices of the mesh [m], (n_points, 3).
        faces: Vertices of the boundary's faces, anticlockwise from outside, (n, 3 or 4).
        owners: The cell of each face, (n,).
        far: Which faces belong to the far sides, (n,).
        centre: Mean of the electrodes [m], (3,).
    """

    points: Array
    faces: Integers
    owners: Integers
    far: Marks
    centre: Array

    def triangles(self, faces: Integers) -> tuple[Array, Integers]:
        """Divide faces, by their vertices, into triangles.

        Returns:
            The corners [m], (n, 3, 3), and the number of each triangle's face.
        """
        n, k = faces.shape
        parts = [faces[:, [0, i, i + 1]] for i in range(1, k - 1)]
        return self.points[np.concatenate(parts)], np.tile(np.arange(n), k - 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """Electrodes on a mesh.

    Attributes:
        places: Where they are [m]; on the top if they were near it, (n_e, 3).
        cells: A cell that holds each; -1 if it is buried and no node of the mesh, (n_e,).
        moved: How far each was moved [m], (n_e,).
        buried: Which are below the top, (n_e,).
        angles: Solid angle of the ground as seen from each, (n_e,): 2 pi on flat ground.
        images: The mirror image of each buried one in the nearest point of the top [m], (n_e, 3);
            NaN if it is not in the air, and for those on the top.
    """

    places: Array
    cells: Integers
    moved: Array
    buried: Marks
    angles: Array
    images: Array


def boundary(cells: Cells, electrodes: Array) -> Surface:
    """Find the boundary of a mesh, and which of its faces belong to the far sides.

    Raises:
        InputError: If none does.
    """
    local = _FACES[cells.kind]
    faces = cells.vertices[:, local].reshape(-1, local.shape[1])
    keys = np.sort(faces, axis=1)[:, :3]  # three corners are enough to know a quadrilateral
    order = np.lexsort(keys.T)
    same = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
    single = np.ones(len(faces), dtype=bool)
    single[order[1:][same]] = False
    single[order[:-1][same]] = False
    outside = np.flatnonzero(single)
    faces, owners = faces[outside], outside // len(local)
    centre = electrodes.mean(axis=0)
    corners = cells.points[faces]
    normal = np.cross(corners[:, 2] - corners[:, 0], corners[:, -1] - corners[:, 1])
    if faces.shape[1] == 3:
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    middle = corners.mean(axis=1)
    inwards = cells.points[cells.vertices[owners]].mean(axis=1) - middle
    mirrored = np.einsum("ni,ni->n", normal, inwards) > 0
    faces[mirrored], normal[mirrored] = faces[mirrored, ::-1], -normal[mirrored]
    low, high = cells.points.min(axis=0), cells.points.max(axis=0)
    near = _PLANE * (high - low).max()
    on_box = (np.abs(corners - low) <= near).all(axis=1).any(axis=1)
    on_box |= (np.abs(corners - high) <= near).all(axis=1)[:, :2].any(axis=1)
    radius = np.linalg.norm(electrodes - centre, axis=1).max()
    sideways = normal[:, 2] <= _SIDEWAYS * np.linalg.norm(normal, axis=1)
    far = on_box | (sideways & (np.linalg.norm(middle - centre, axis=1) > radius))
    check(
        bool(far.any()),
        "the mesh has no far sides: none of its outer faces is on a side or the bottom of its "
        "bounding box, or faces sideways or downwards further out than the electrodes",
    )
    return Surface(points=cells.points, faces=faces, owners=owners, far=far, centre=centre)


def place(
    cells: Cells,
    surface: Surface,
    electrodes: Array,
    tolerance: float,
    below: npt.NDArray[np.bool_] | None = None,
) -> Placement:
    """Put electrodes on the top of a mesh, or find that they are buried.

    Args:
        cells: The mesh.
        surface: Its boundary.
        electrodes: Their places [m], (n_e, 3).
        tolerance: Largest distance from the top, over the longest edge of its nearest face.
        below: Which electrodes may be buried, (n_e,); None: all of them.

    Raises:
        InputError: If the mesh has no top, an electrode is above it, or one is below it that must
            not be.
    """
    top = np.flatnonzero(~surface.far)
    check(len(top) > 0, "the mesh has no top: all its outer faces are far sides")
    triangles, number = surface.triangles(surface.faces[top])
    middle = triangles.mean(axis=1)
    radius = np.linalg.norm(triangles - middle[:, None], axis=2).max(axis=1)
    corner = cKDTree(triangles.reshape(-1, 3)).query(electrodes)[0]
    nearest, face = np.empty_like(electrodes), np.empty(len(electrodes), dtype=np.int64)
    for i, x in enumerate(electrodes):
        around = np.flatnonzero(np.linalg.norm(middle - x, axis=1) <= corner[i] + radius + 1e-9)
        found = closest(triangles[around], x)
        best = int(np.argmin(np.linalg.norm(found - x, axis=1)))
        nearest[i], face[i] = found[best], top[number[around[best]]]
    edges = surface.points[surface.faces[face]]
    size = np.linalg.norm(edges - np.roll(edges, 1, axis=1), axis=2).max(axis=1)
    distance = np.linalg.norm(nearest - electrodes, axis=1)
    on_top = distance <= tolerance * size
    places = np.where(on_top[:, None], nearest, electrodes)
    cell = np.where(on_top, surface.owners[face], -1)
    away, node = cKDTree(surface.points).query(places)
    exact = away <= _SAME * size
    places[exact] = surface.points[node[exact]]
    cell[exact] = _cells_of(cells, node[exact])
    _check_apart(places, size)
    everywhere, _ = surface.triangles(surface.faces)
    angles = np.array([solid_angle(everywhere, x) for x in places])
    # Outside of a closed surface, the angles of its triangles cancel.
    outside = ~on_top & (angles < np.pi / 100)
    deep = ~on_top & ~outside & (False if below is None else ~below)
    limit = tolerance * size
    _refuse(outside, "outside the mesh, {} m from its top", electrodes, distance, limit)
    below_top = "in no borehole of the survey, and {} m below the mesh's top"
    _refuse(deep, below_top, electrodes, distance, limit)
    return Placement(
        places=places,
        cells=cell,
        moved=np.where(on_top, distance, 0.0),
        buried=~on_top,
        angles=angles,
        images=_images(places, nearest, ~on_top, everywhere, triangles),
    )


def _refuse(wrong: Marks, what: str, electrodes: Array, distance: Array, limit: Array) -> None:
    """Raise `InputError` for the first wrong electrode, if there is one."""
    i = int(np.argmax(wrong))
    text = ", ".join(f"{x:g}" for x in electrodes[i])
    check(
        not wrong.any(),
        f"electrode {i + 1} at ({text}) m is {what.format(f'{distance[i]:.3g}')}; electrodes "
        f"within {limit[i]:.3g} m of the top are put on it: use a mesh whose top meets the "
        "electrodes",
    )


def _images(places: Array, nearest: Array, buried: Marks, everywhere: Array, top: Array) -> Array:
    """Mirror buried electrodes in the nearest points of the top, (n_e, 3); NaN for the others.

    An image must be in the air, and nearly as far from the top as the electrode: in a valley it may
    be in or near the other slope.

    Args:
        places: Electrodes [m], (n_e, 3).
        nearest: Their nearest points of the top [m], (n_e, 3).
        buried: Which electrodes are buried, (n_e,).
        everywhere: Triangles of the whole boundary [m], (n, 3, 3).
        top: Triangles of the top [m], (m, 3, 3).
    """
    images = np.full_like(places, np.nan)
    for i in np.flatnonzero(buried):
        image = 2 * nearest[i] - places[i]
        depth = np.linalg.norm(nearest[i] - places[i])
        clear = np.linalg.norm(closest(top, image) - image, axis=1).min()
        if clear > 0.7 * depth and solid_angle(everywhere, image) < np.pi / 100:
            images[i] = image
    return images


def _check_apart(places: Array, size: Array) -> None:
    """Refuse two electrodes at one place."""
    if len(places) < 2:
        return
    distance, other = cKDTree(places).query(places, k=2)
    same = distance[:, 1] <= _SAME * size
    if same.any():
        i = int(np.argmax(same))
        j = int(other[i][other[i] != i][0])
        text = ", ".join(f"{x:g}" for x in places[i])
        check(
            False,
            f"electrodes {min(i, j) + 1} and {max(i, j) + 1} are at one place of the mesh, "
            f"({text}) m: leave one of them out, or use smaller cells there",
        )


def _cells_of(cells: Cells, nodes: Integers) -> Integers:
    """Return a cell of each of some nodes."""
    first = np.full(len(cells.points), -1, dtype=np.int64)
    k = cells.vertices.shape[1]
    first[cells.vertices.ravel()] = np.repeat(np.arange(len(cells.vertices)), k)
    return first[nodes]


def closest(triangles: Array, x: Array) -> Array:
    """Return the closest point of each triangle, (n, 3, 3), to a point x (3,): (n, 3)."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    normal = np.cross(b - a, c - a)
    square = np.maximum(np.einsum("ni,ni->n", normal, normal), 1e-300)
    weights = [  # barycentric coordinates of the projection
        np.einsum("ni,ni->n", np.cross(q - p, x - p), normal) / square
        for p, q in ((b, c), (c, a), (a, b))
    ]
    projection = sum(w[:, None] * p for w, p in zip(weights, (a, b, c), strict=True))
    found, best = np.asarray(projection), np.linalg.norm(projection - x, axis=1)
    best[np.min(weights, axis=0) < 0] = np.inf
    for p, q in ((a, b), (b, c), (c, a)):
        length = np.maximum(np.einsum("ni,ni->n", q - p, q - p), 1e-300)
        t = np.clip(np.einsum("ni,ni->n", x - p, q - p) / length, 0, 1)
        on_edge = p + t[:, None] * (q - p)
        distance = np.linalg.norm(on_edge - x, axis=1)
        nearer = distance < best
        found[nearer], best[nearer] = on_edge[nearer], distance[nearer]
    return found


def solid_angle(triangles: Array, x: Array) -> float:
    """Return the solid angle of the inside of a closed surface as seen from a point.

    It is 4 pi inside, 2 pi on a face, and that of the polyhedron at an edge or a corner: the
    triangles that hold the point add nothing. Van Oosterom and Strackee, "The solid angle of a
    plane triangle" (1983).

    Args:
        triangles: Corners, anticlockwise from outside, (n, 3, 3).
        x: The point, (3,).
    """
    a, b, c = (triangles[:, k] - x for k in range(3))
    la, lb, lc = (np.linalg.norm(e, axis=1) for e in (a, b, c))
    volume = np.einsum("ni,ni->n", a, np.cross(b, c))
    size = la * lb * lc
    dots = (np.einsum("ni,ni->n", p, q) * r for p, q, r in ((a, b, lc), (b, c, la), (c, a, lb)))
    flat = np.abs(volume) <= 1e-10 * np.maximum(la, np.maximum(lb, lc)) ** 3
    angle = 2 * np.arctan2(np.where(flat, 0.0, volume), size + sum(dots))
    return float(np.where(flat, 0.0, angle).sum())
