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
                checks of `derivatives` by the complex step.
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

    def derivatives(
        self, y: Array, V: Array, contrast: float, points: Array, weights: Array
    ) -> Array:
        """Differentiate `tensor` in directions of y, in closed form.

        What the directions share, as the distance from the edge, is evaluated once.

        Args:
            y: Depth, volume and rotation, (3,).
            V: Directions, (r, 3), in units of y.
            contrast: As for `tensor`.
            points: As for `tensor`.
            weights: As for `tensor`.

        Returns:
            Derivatives of K / m0, (r, n, 6), with the entries of `INDICES`.
        """
        depth, volume, rotation = y
        c, s = np.cos(rotation), np.sin(rotation)
        x1, x2 = points[..., 0] - self.centre[0], points[..., 1] - self.centre[1]
        x = [c * x1 + s * x2, c * x2 - s * x1, points[..., 2] + depth]
        slopes = (_Ellipsoid if self.shape == "ellipsoid" else _Cuboid)(
            x, self.semi_axes(volume), self.blend
        )
        m = np.exp(np.log(contrast) * slopes.S)
        arithmetic, harmonic = m @ weights, 1 / ((1 / m) @ weights)
        by_arithmetic, by_harmonic = np.log(contrast) * weights * m, np.log(contrast) * weights / m
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        n = np.stack([part @ weights for part in slopes.normal]).T @ turn.T
        square = (n * n).sum(axis=1)
        square = np.where(square == 0, 1, square)
        drop = (harmonic - arithmetic) / square
        found = np.empty((len(V), len(points), len(INDICES)))
        for dK, (up, grow, around) in zip(found, V, strict=True):
            dx = [around * x[1], -around * x[0], np.full_like(x[2], up)]
            dS, normals = slopes.along(dx, grow / (3 * volume))
            d_arithmetic = np.einsum("nk,nk->n", by_arithmetic, dS)
            d_harmonic = harmonic**2 * np.einsum("nk,nk->n", by_harmonic, dS)
            dn = np.stack([part @ weights for part in normals]).T @ turn.T
            dn[:, 0] -= around * n[:, 1]
            dn[:, 1] += around * n[:, 0]
            d_drop = (d_harmonic - d_arithmetic - 2 * drop * (n * dn).sum(axis=1)) / square
            for column, (i, j) in zip(dK.T, INDICES, strict=True):
                column[:] = d_drop * n[:, i] * n[:, j]
                column += drop * (dn[:, i] * n[:, j] + n[:, i] * dn[:, j])
                if i == j:
                    column += d_arithmetic
        return found

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


class _Ellipsoid:
    """S and the normal of an ellipsoid as functions of place and size, in the body's own axes.

    Attributes:
        S: Values of S at the points, (n, k).
        normal: The three components of the normal as in `Body.indicator`, (n, k) each.
    """

    def __init__(self, x: list[Array], axes: Array, blend: float) -> None:
        """Evaluate at points, three components (n, k) each, for semi-axes and a width [m]."""
        self._squares = axes**2
        self._g = [part / square for part, square in zip(x, self._squares, strict=True)]
        # At the centre S is 1 all around.
        q = np.sqrt(sum(part * g for part, g in zip(x, self._g, strict=True))).clip(1e-12)
        length = np.sqrt(sum(g * g for g in self._g)).clip(1e-12 / axes[2])
        t = 0.5 - (q - 1) * q / (length * blend)
        self.S, slope = _smoothstep(t)
        self._slope, self._bend = slope, _second(t)
        self._factor, self._length = slope / length, length
        self.normal = [g * self._factor for g in self._g]
        # dt = along x + along the length of q's gradient + along size
        self._by_q = -(2 * q - 1) / (q * length * blend)
        self._by_length = (q - 1) * q / (length**3 * blend)
        self._by_size = q / (length * blend)

    def along(self, dx: list[Array], size: float) -> tuple[Array, list[Array]]:
        """Differentiate for moving points and for log semi-axes that all grow by ``size``.

        Returns:
            Derivatives of S (n, k) and of the normal's components, (n, k) each.
        """
        scaled = [part / square for part, square in zip(dx, self._squares, strict=True)]
        change = sum(g * part for g, part in zip(self._g, dx, strict=True))
        bend = sum(g * part for g, part in zip(self._g, scaled, strict=True))
        dt = self._by_q * change + self._by_length * bend + size * self._by_size
        d_length = bend / self._length**2 - 2 * size  # over the length
        rest = self._bend * dt / self._length - self._factor * (d_length + 2 * size)
        dn = [g * rest + self._factor * part for g, part in zip(self._g, scaled, strict=True)]
        return self._slope * dt, dn


class _Cuboid:
    """S and the normal of a cuboid, as `_Ellipsoid` has them."""

    def __init__(self, x: list[Array], axes: Array, blend: float) -> None:
        """Evaluate at points, as for `_Ellipsoid`."""
        self._blend, self._axes = blend, axes
        self._sign = [np.where(part < 0, -1.0, 1.0) for part in x]
        t = [0.5 - (s * part - a) / blend for s, part, a in zip(self._sign, x, axes, strict=True)]
        values = [_smoothstep(part) for part in t]
        self._factor, self._slope = [v for v, _ in values], [v for _, v in values]
        self._bend = [_second(part) for part in t]
        f1, f2, f3 = self._factor
        self._rest = [f2 * f3, f1 * f3, f1 * f2]
        self.S = f1 * self._rest[0]
        parts = zip(self._sign, self._slope, self._rest, strict=True)
        self.normal = [s * slope * rest for s, slope, rest in parts]

    def along(self, dx: list[Array], size: float) -> tuple[Array, list[Array]]:
        """Differentiate, as `_Ellipsoid.along`."""
        dt = [
            (size * a - s * part) / self._blend
            for s, part, a in zip(self._sign, dx, self._axes, strict=True)
        ]
        df = [slope * part for slope, part in zip(self._slope, dt, strict=True)]
        dn = []
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            others = df[j] * self._factor[k] + self._factor[j] * df[k]
            own = self._bend[i] * dt[i] * self._rest[i] + self._slope[i] * others
            dn.append(self._sign[i] * own)
        dS = sum(part * rest for part, rest in zip(df, self._rest, strict=True))
        return np.asarray(dS), dn


def _second(t: Array) -> Array:
    """Evaluate the smoothstep's second derivative."""
    t = t.clip(0, 1)
    return np.asarray(60 * t * (1 - t) * (1 - 2 * t))
