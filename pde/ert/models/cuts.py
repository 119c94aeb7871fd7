r"""Shares of cells on the positive side of a plane.

Cells are known by their quadrature points. Four points of equal weights are those of a tetrahedron,
whose vertices are then sqrt(5) times as far from its centre. Other points are taken as those of a
box with their mean and second moments; with two Gauss points along each edge or more, that is the
cell itself if it is a box. So shares are exact for tetrahedra and boxes, and as a plane moves
through a mesh, those of all its cells change as the volume does. Shares of other moments, or of a
plane that is smeared over a cell, do not: derivatives by a plane's place were wrong by half.

All functions take complex distances, for derivatives by the complex step. Where a derivative jumps,
as a plane along a cell's face passes it, it is that of the side to which the distance grows.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from surrogates.types import Array

from .laminate import Values

_LEAST = 0.1
"""Least length of a box's edge along the normal of an oblique plane, over the size of the box."""
_NEAR = 1e-9
"""A plane that is nearer to a face than this part of the cell is on it."""


def horizontal(d: Values, weights: Array) -> Values:
    """Return the shares above a horizontal plane.

    Args:
        d: Heights of the cells' points above the plane [m], (n, k).
        weights: Weights of the points, (k,).

    Returns:
        Shares, (n,). They have kinks as the plane passes a box's top or bottom.
    """
    if _tetrahedra(weights):
        return _of_tetrahedra(d, weights)
    middle = d @ weights
    height = np.sqrt(12 * ((d.real - middle.real[:, None]) ** 2) @ weights)
    return _ratio(middle + height / 2, height, height)


def oblique(d: Values, normal: Values, points: Array, weights: Array) -> Values:
    """Return the shares on the positive side of a plane.

    A box's shape along the normal is the convolution of its three edges. None is taken as shorter
    than a tenth of the box: the share has two continuous derivatives, even where a plane passes
    the side of a box.

    Args:
        d: Distances of the points from the plane [m], (n, k).
        normal: Its normal, (3,).
        points: Points of the cells [m], (n, k, 3).
        weights: Their weights, (k,).

    Returns:
        Shares, (n,).
    """
    if _tetrahedra(weights):
        return _of_tetrahedra(d, weights)
    middle = d @ weights
    spread = np.sqrt(((d.real - middle.real[:, None]) ** 2) @ weights)
    share = np.where(middle.real > 0, 0 * middle + 1, 0 * middle)
    # Half of the sum of three edges along the normal is at most 3 times the spread, and half of
    # what is added to them at most this part of the spread in space.
    x = points - (weights @ points)[:, None]
    size = np.sqrt((x**2).sum(axis=2) @ weights)
    cut = np.flatnonzero(np.abs(middle.real) < 3 * spread + 3 * _LEAST * size)
    if points.shape[1] == 1 or not len(cut):
        return share
    moments, axes = np.linalg.eigh(np.einsum("k,nki,nkj->nij", weights, x[cut], x[cut]))
    edges2 = 12 * moments.clip(0)
    least2 = _LEAST**2 * edges2.prod(axis=1, keepdims=True) ** (1 / 3)
    w = np.sqrt((np.einsum("nij,i->nj", axes, normal)) ** 2 * edges2 + least2)
    share[cut] = _sum_of_uniform(middle[cut] / w.sum(axis=1), w / w.sum(axis=1)[:, None])
    return share


def _tetrahedra(weights: Array) -> bool:
    return len(weights) == 4 and bool(np.ptp(weights) < 1e-6)


def _of_tetrahedra(d: Values, weights: Array) -> Values:
    """Return the shares of tetrahedra by the distances of their points, (n, 4)."""
    middle = (d @ weights)[:, None]
    corners = middle + np.sqrt(5) * (d - middle)
    corners = np.take_along_axis(corners, np.argsort(-corners.real, axis=1), axis=1)
    a, b, c, e = corners.T  # falling
    ab, ac, ae = (_ratio(a, a - other, a - e) for other in (b, c, e))
    bc, be = (_ratio(b, b - other, a - e) for other in (c, e))
    ce = _ratio(c, c - e, a - e)
    one = ab * ac * ae  # a alone is on the positive side: a smaller tetrahedron
    # a and b are: a prism between two triangles, of three tetrahedra.
    two = ac * ae + bc * (1 - ac) * ae + (1 - ae) * bc * be
    three = 1 - (1 - ae) * (1 - be) * (1 - ce)
    below = -_NEAR * (a - e).real
    return np.asarray(np.where(b.real < below, one, np.where(c.real < below, two, three)))


def _ratio(part: Values, whole: Values, size: Values) -> Values:
    """Return part / whole between 0 and 1; a step for a whole of 0, next to the cell's size."""
    some = whole.real > _NEAR * size.real
    t = np.where(some, part / np.where(some, whole, 1), part.real >= -_NEAR * size.real)
    value = np.clip(t.real, 0, 1)
    if not np.iscomplexobj(t):
        return np.asarray(value)
    inside = some & (t.real > -_NEAR) & (t.real < 1 - _NEAR)
    return np.asarray(value + 1j * np.where(inside, t.imag, 0))


def _sum_of_uniform(t: Values, w: Values) -> Values:
    """Return the probability that a sum of three uniform variables is below t.

    Args:
        t: Bounds, (n,).
        w: Widths of the variables, which have the mean 0, (n, 3).
    """
    found = 0 * t
    for signs in product((1, -1), repeat=3):
        u = t + w @ np.array(signs) / 2
        found = found + np.prod(signs) * np.where(u.real > 0, u, 0) ** 3
    return np.asarray(np.where(t.real >= 0.5, 0 * t + 1, found / (6 * w.prod(axis=1))))
