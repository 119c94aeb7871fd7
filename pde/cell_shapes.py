"""Shapes of tetrahedra and hexahedra: edges, volumes, quality, shape functions.

Vertices are in the order of DOLFINx.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

Integers = npt.NDArray[np.int64]

SLIVER = 4.0
"""The largest `poorness`, that of a nearly flat tetrahedron."""

_CUBE = np.array(list(itertools.product((0, 1), repeat=3)))[:, ::-1]  # corners, x1 fastest
_GAUSS = np.array(list(itertools.product((1 + np.array([-1, 1]) / np.sqrt(3)) / 2, repeat=3)))


def edges(points: Array, vertices: Integers) -> tuple[Array, Array]:
    """Measure the shortest and the longest edge of each cell, (n_cells,) each."""
    n = vertices.shape[1]
    pairs = [
        (a, b)
        for a, b in itertools.combinations(range(n), 2)
        if n == 4 or np.abs(_CUBE[a] - _CUBE[b]).sum() == 1
    ]
    shortest, longest = np.full(len(vertices), np.inf), np.zeros(len(vertices))
    for a, b in pairs:
        length = np.linalg.norm(points[vertices[:, a]] - points[vertices[:, b]], axis=1)
        np.minimum(shortest, length, out=shortest)
        np.maximum(longest, length, out=longest)
    return shortest, longest


def poorness(kind: str, points: Array, vertices: Integers) -> Array:
    """Return the factor by which poorly shaped tetrahedra enlarge the error, (n_cells,).

    It is 1 for hexahedra. For a tetrahedron it is 0.756 over the mean ratio (Liu and Joe 1994),
    12 (3 V)^(2/3) over the sum of the squared edges; the six tetrahedra of a cube have 0.756. It is
    limited to 1 to `SLIVER`: neighbours compensate in part.
    """
    if kind == "hexahedron":
        return np.ones(len(vertices))
    x = points[vertices]
    squares = sum(
        ((x[:, a] - x[:, b]) ** 2).sum(axis=1) for a, b in itertools.combinations(range(4), 2)
    )
    ratio = 12 * (3 * np.abs(volumes(kind, x))) ** (2 / 3) / squares
    return np.asarray(np.clip(0.756 / ratio, 1, SLIVER))


def shortest_edges(points: Array, vertices: Integers) -> Array:
    """Measure the shortest edge of the cells at each point, (n_points,); each must have one."""
    order = np.argsort(vertices, axis=None, kind="stable")
    at = np.searchsorted(vertices.ravel()[order], np.arange(len(points)))
    lengths = np.repeat(edges(points, vertices)[0], vertices.shape[1])
    return np.asarray(np.minimum.reduceat(lengths[order], at))


def _trilinear(at: Array) -> tuple[Array, Array]:
    """Return a hexahedron's shape functions, (n, 8), and their slopes, (n, 3, 8), at points."""
    factors = np.where(_CUBE == 1, at[:, None], 1 - at[:, None])  # a shape function's product
    signs = 2.0 * _CUBE - 1
    slopes = [signs[:, i] * factors[..., i - 1] * factors[..., i - 2] for i in range(3)]
    return factors.prod(axis=-1), np.stack(slopes, axis=1)


def elements(kind: str) -> tuple[Array, Array, float]:
    """Evaluate shape functions at one Gauss point of a tetrahedron, or 8 of a hexahedron.

    Returns:
        Shape functions, (n, 4 or 8), their slopes in the reference cell, (n, 3, 4 or 8), and the
        weight of each point there.
    """
    if kind == "hexahedron":
        return *_trilinear(_GAUSS), 1 / 8
    slopes = np.concatenate([np.full((3, 1), -1.0), np.eye(3)], axis=1)
    return np.full((1, 4), 0.25), slopes[None], 1 / 6


def _maps(corners: Array) -> Array:
    """Evaluate the derivatives of hexahedra's maps: (n, 16, 3 edges, 3).

    First at the eight corners, then at the eight Gauss points.
    """
    slopes = _trilinear(np.concatenate([_CUBE, _GAUSS]).astype(float))[1]
    return np.asarray(slopes.reshape(-1, 8) @ corners).reshape(-1, 16, 3, 3)


def _determinants(J: Array) -> Array:
    """Multiply out the determinants of matrices, (..., 3, 3); faster than numpy.linalg.det."""
    return np.asarray((np.cross(J[..., 0, :], J[..., 1, :]) * J[..., 2, :]).sum(axis=-1))


def quality(kind: str, corners: Array) -> tuple[Array, Array]:
    """Measure how far cells are from being flat or tangled.

    Args:
        kind: Kind of the cells.
        corners: Their vertices, (n, 8 or 4, 3).

    Returns:
        For tetrahedra, twice the same: the least height over the longest edge. For hexahedra, the
        least and the largest scaled Jacobian at corners and Gauss points, times the ratio of the
        edges. (n,) each, negative if mirrored.
    """
    if kind == "hexahedron":
        J = _maps(corners)
        sides = np.linalg.norm(J, axis=3)
        size = sides.prod(axis=2) * sides.max(axis=2)
        det = _determinants(J) * sides.min(axis=2)
        scaled = np.divide(det, size, out=np.zeros_like(det), where=size > 0)
        return scaled.min(axis=1), scaled.max(axis=1)
    a, b, c = (corners[:, k] - corners[:, 0] for k in (1, 2, 3))
    faces = [np.cross(a, b), np.cross(b, c), np.cross(c, a), np.cross(b - a, c - a)]
    largest = np.max([np.linalg.norm(face, axis=1) for face in faces], axis=0)
    longest = np.max([np.linalg.norm(e, axis=1) for e in (a, b, c, b - a, c - a, c - b)], axis=0)
    size, six = largest * longest, np.einsum("ni,ni->n", faces[0], c)
    height = np.divide(six, size, out=np.zeros_like(size), where=size > 0)
    return height, height


def volumes(kind: str, corners: Array) -> Array:
    """Measure the volumes of cells of positive orientation, (n,)."""
    if kind == "hexahedron":
        return np.asarray(_determinants(_maps(corners)[:, 8:]).mean(axis=1))
    return np.asarray(_determinants(corners[:, 1:] - corners[:, :1]) / 6)


def chunks(n: int) -> Iterator[slice]:
    """Divide n cells into parts that need little memory."""
    return (slice(start, start + 20_000) for start in range(0, n, 20_000))
