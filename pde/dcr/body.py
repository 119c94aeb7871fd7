r"""The conductivity model of DC resistivity: a body with a blended edge in a homogeneous earth.

The body is an ellipsoid or a cuboid of semi-axes s (a1, a2, a3), with the factor s from its volume.
Its first axis is turned from x1 towards x2 by the rotation. With S between 0 and 1,

    m(x; y) = m0 (m1 / m0)^S

blends the logarithms of the background's conductivity m0 and the body's m1 across the body's
surface, over a band of fixed width, and is constant elsewhere. S is a smoothstep,
6 t^5 - 15 t^4 + 10 t^3, of t = 1/2 - d / width. For the ellipsoid, d is the first-order distance
from its surface, (q - 1) q / |grad q^2 / 2| with q^2 = sum (x_i / (s a_i))^2. For the cuboid, S is
the product of three such factors, one for each pair of faces. m has two continuous derivatives in x
and in y.

On a mesh, each cell gets the tensor of a laminate: the harmonic mean of m along the mean normal n
of the body's edge, the arithmetic mean across it (Moskow, Druskin, Habashy, Lee and Davydycheva
1999),

    K = <m> (I - n n^T) + <1/m>^-1 n n^T

K tends to m as the cells shrink, and on a given mesh is more accurate than a scalar mean: the
current density along n and the field across n are continuous.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.config import check, unknown
from surrogates.types import Array

SHAPES = {"ellipsoid": 4 / 3 * np.pi, "cuboid": 8.0}
"""The volume of each shape with semi-axes of 1."""

INDICES = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Indices of the six entries of a symmetric tensor."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """Shape, ratio of the semi-axes, centre [m] in the plane, and width [m] of the blended edge.

    Attributes:
        shape: ``ellipsoid`` or ``cuboid``.
        aspect: Ratio of the semi-axes.
        centre: Place of the centre [m] along x1 and x2.
        blend: Width of the blended edge [m].
    """

    shape: str = "ellipsoid"
    aspect: tuple[float, float, float] = (2.0, 1.4, 1.0)
    centre: tuple[float, float] = (0.0, 0.0)
    blend: float = 5.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(self.shape in SHAPES, unknown(f"body.shape {self.shape!r}", self.shape, SHAPES))
        check(all(a > 0 for a in self.aspect), f"body.aspect must be positive; got {self.aspect}")
        check(
            self.blend > 0,
            f"body.blend must be positive; got {self.blend:g}: with a sharp edge, c is not "
            "differentiable in y",
        )

    def semi_axes(self, volume: Any) -> Any:
        """Return the semi-axes [m] of a body of a volume [m^3]: (3,)."""
        aspect = np.array(self.aspect)
        return (volume / (SHAPES[self.shape] * aspect.prod())) ** (1 / 3) * aspect

    def reach(self, volume: float) -> tuple[float, float]:
        """Return the reach [m] of a body with its edge from its centre: in the plane, and up."""
        axes = self.semi_axes(volume)
        plane = float(axes[:2].max() if self.shape == "ellipsoid" else np.hypot(*axes[:2]))
        # At a corner of two faces, the cuboid's edge extends beyond both.
        stretch = 1.0 if self.shape == "ellipsoid" else np.sqrt(2)
        return plane + stretch * self.blend / 2, float(axes[2]) + self.blend / 2

    def indicator(self, y: npt.NDArray[Any], x: Array) -> tuple[Any, Any]:
        """Evaluate S and the direction of its steepest descent.

        Args:
            y: Depth of the centre [m], volume [m^3], rotation [rad]; (3,), also complex, for
                derivatives by the complex step.
            x: Points [m], (..., 3).

        Returns:
            S, (...), and a vector along -grad S with the length dS/dt, (..., 3).
        """
        depth, volume, rotation = y
        axes = self.semi_axes(volume)
        c, s = np.cos(rotation), np.sin(rotation)
        x1, x2 = x[..., 0] - self.centre[0], x[..., 1] - self.centre[1]
        local = np.stack([c * x1 + s * x2, c * x2 - s * x1, x[..., 2] + depth], axis=-1)
        if self.shape == "ellipsoid":
            tiny = 1e-12
            q = np.sqrt(((local / axes) ** 2).sum(axis=-1) + tiny**2)
            normal = local / axes**2
            length = np.sqrt((normal**2).sum(axis=-1) + (tiny / axes[2]) ** 2)
            S, slope = _smoothstep(0.5 - (q - 1) * q / (length * self.blend))
            normal = normal * (slope / length)[..., None]
        else:
            sign = np.where(local.real < 0, -1.0, 1.0)
            factors, slopes = _smoothstep(0.5 - (sign * local - axes) / self.blend)
            S = factors.prod(axis=-1)
            others = [factors[..., [1, 2]], factors[..., [0, 2]], factors[..., [0, 1]]]
            rest = np.stack([pair.prod(axis=-1) for pair in others], axis=-1)
            normal = sign * slopes * rest
        n1, n2 = normal[..., 0], normal[..., 1]
        turned = np.stack([c * n1 - s * n2, s * n1 + c * n2, normal[..., 2]], axis=-1)
        return S, turned

    def surface(self, y: Array) -> tuple[Array, npt.NDArray[np.int64]]:
        """Triangulate the body's surface: vertices (k, 3) [m] and triangles (m, 3)."""
        n = 33  # odd, and 4 divides n - 1: a cuboid's corners and edges are among the vertices
        polar, around = np.meshgrid(np.linspace(0, np.pi, n), np.linspace(0, 2 * np.pi, 2 * n - 1))
        local = np.stack(
            [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=-1
        ).reshape(-1, 3)
        if self.shape == "cuboid":
            local /= np.abs(local).max(axis=1, keepdims=True)
        local *= self.semi_axes(y[1])
        c, s = np.cos(y[2]), np.sin(y[2])
        vertices = local @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + [*self.centre, -y[0]]
        number = np.arange(len(local)).reshape(polar.shape)
        a, b, d, e = (
            part.ravel()
            for part in (number[:-1, :-1], number[1:, :-1], number[:-1, 1:], number[1:, 1:])
        )
        return vertices, np.concatenate([np.stack([a, b, d], 1), np.stack([b, e, d], 1)])

    def tensor(self, y: npt.NDArray[Any], contrast: float, points: Array, weights: Array) -> Any:
        """Average the conductivity over cells.

        Args:
            y: As for `indicator`.
            contrast: m1 / m0.
            points: Quadrature points of the cells [m], (n, k, 3).
            weights: Their weights, (k,), with the sum 1.

        Returns:
            K / m0 - I, (n, 6), with the entries of `INDICES`; exactly 0 outside the body.
        """
        S, normal = self.indicator(y, points)
        m = np.exp(np.log(contrast) * S)
        arithmetic, harmonic = 1 + (m - 1) @ weights, 1 / ((1 / m) @ weights)
        n = np.einsum("nki,k->ni", normal, weights)
        square = (n * n).sum(axis=1)
        drop = (harmonic - arithmetic) / np.where(square == 0, 1, square)
        return np.stack(
            [(arithmetic - 1 if i == j else 0) + drop * n[:, i] * n[:, j] for i, j in INDICES],
            axis=1,
        )


def _smoothstep(t: Any) -> tuple[Any, Any]:
    """Evaluate the smoothstep and its derivative; t may be complex."""
    t = np.where(t.real <= 0, 0 * t, np.where(t.real >= 1, 0 * t + 1, t))
    return t**3 * (10 + t * (6 * t - 15)), 30 * (t * (1 - t)) ** 2
