r"""Shapes of bodies: S between 0 and 1 across a blended edge, and its gradient.

S is a smoothstep of t = 1/2 - d / width. For the ellipsoid, d is the first-order distance from its
surface, (q - 1) q / |grad q^2 / 2| with q^2 = sum (x_i / a_i)^2. For the cuboid, S is the product
of three such factors, one for each pair of faces. These are the edges of `dcr.body`; here centre,
semi-axes and rotation are parameters. S has two continuous derivatives in x and in all of them.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from .laminate import Values, smoothstep

_TINY = 1e-12
"""A length over the semi-axes: nearer to the centre the ellipsoid's gradient is 0."""


def indicator(shape: str, body: Values, blend: float, x: Array) -> tuple[Any, Any]:
    """Evaluate S and its gradient.

    Args:
        shape: ``ellipsoid`` or ``cuboid``.
        body: Centre x1, x2 [m], depth [m], semi-axes a1, a2, a3 [m], rotation [rad]; (7,), also
            complex.
        blend: Width of the blended edge [m].
        x: Points [m], (..., 3).

    Returns:
        S, (...), and blend times its gradient, (..., 3).
    """
    centre1, centre2, depth, *axes, rotation = body
    c, s = np.cos(rotation), np.sin(rotation)
    x1, x2 = x[..., 0] - centre1, x[..., 1] - centre2
    local = np.stack([c * x1 + s * x2, c * x2 - s * x1, x[..., 2] + depth], axis=-1)
    S, g = (_ellipsoid if shape == "ellipsoid" else _cuboid)(local, np.array(axes), blend)
    g1, g2 = g[..., 0], g[..., 1]
    return S, np.stack([c * g1 - s * g2, s * g1 + c * g2, g[..., 2]], axis=-1)


def _ellipsoid(local: Values, axes: Values, blend: float) -> tuple[Any, Any]:
    q = np.sqrt(((local / axes) ** 2).sum(axis=-1) + _TINY**2)
    normal = local / axes**2
    length = np.sqrt((normal**2).sum(axis=-1) + (_TINY / axes[2]) ** 2)
    S, slope = smoothstep(0.5 - (q - 1) * q / (length * blend))
    return S, -normal * (slope / length)[..., None]


def _cuboid(local: Values, axes: Values, blend: float) -> tuple[Any, Any]:
    sign = np.where(local.real < 0, -1.0, 1.0)
    factors, slopes = smoothstep(0.5 - (sign * local - axes) / blend)
    others = [factors[..., [1, 2]], factors[..., [0, 2]], factors[..., [0, 1]]]
    rest = np.stack([pair.prod(axis=-1) for pair in others], axis=-1)
    return factors.prod(axis=-1), -sign * slopes * rest


def half_extents(shape: str, lower: Array, upper: Array, blend: float) -> Array:
    """Return the largest distances [m] of a body's edge from its centre along x1, x2 and x3.

    Args:
        shape: ``ellipsoid`` or ``cuboid``.
        lower: Least semi-axes [m] and rotation [rad], (4,).
        upper: Largest ones, (4,).
        blend: Width of the blended edge [m].

    Returns:
        The largest distances over all semi-axes and rotations between the bounds, (3,), with 2 %
        to spare where the shape is curved or turned.
    """
    turns = np.unique(np.linspace(lower[3], upper[3], 33))
    found: Array = np.zeros(3)
    for axes in product(*zip(lower[:3], upper[:3], strict=True)):
        outline = _outline(shape, np.array(axes), blend)
        for turn in turns:
            c, s = np.cos(turn), np.sin(turn)
            x = outline @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
            found = np.maximum(found, np.abs(x).max(axis=0))
    spare: float = 1.0 if shape == "cuboid" and len(turns) == 1 else 1.02
    return np.asarray(found * spare)


def _outline(shape: str, axes: Array, blend: float) -> Array:
    """Return points (n, 3) around which S becomes 0, in the body's own axes."""
    if shape == "cuboid":
        return np.asarray(np.array(list(product((-1, 1), repeat=3))) * (axes + blend / 2))
    polar, around = np.meshgrid(np.linspace(0, np.pi / 2, 37), np.linspace(0, 2 * np.pi, 73))
    u = np.stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=-1
    ).reshape(-1, 3)
    # d is the distance of parallel tangent planes: it grows with |u / a|, the inverse distance of
    # the surface's tangent plane from the centre.
    return np.asarray(u * axes * (1 + blend / 2 * np.linalg.norm(u / axes, axis=1))[:, None])


def surface(shape: str, body: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    """Triangulate a body's surface, for drawings.

    Args:
        shape: ``ellipsoid`` or ``cuboid``.
        body: As for `indicator`.

    Returns:
        Vertices [m], (n, 3), and triangles, (m, 3).
    """
    n = 33  # odd, and 4 divides n - 1: a cuboid's corners and edges are among the vertices
    polar, around = np.meshgrid(np.linspace(0, np.pi, n), np.linspace(0, 2 * np.pi, 2 * n - 1))
    x = np.stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=-1
    ).reshape(-1, 3)
    if shape == "cuboid":
        x /= np.abs(x).max(axis=1, keepdims=True)
    c, s = np.cos(body[6]), np.sin(body[6])
    vertices = (x * body[3:6]) @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    number = np.arange(len(x)).reshape(polar.shape)
    a, b, d, e = number[:-1, :-1], number[1:, :-1], number[:-1, 1:], number[1:, 1:]
    triangles = np.stack([a, b, d, b, e, d], axis=-1).reshape(-1, 3)
    return vertices + [body[0], body[1], -body[2]], triangles
