r"""A body with a blended edge in a half-space or in layers.

With S between 0 and 1 from `shapes`,

    m(x; y) = m_layer^(1 - S) m_body^S

A cell that a layer's bottom cuts holds each layer with its share, and the body in all of them with
the same S. The normals of its laminate are those of the body's edge and of the layers' bottoms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.config import check
from surrogates.types import Array

from .base import Quantity, Tags, conductivity, resistivity
from .laminate import INDICES, VERTICAL, Values, laminate, normalised, products
from .layered import LayeredModel, layer_quantities
from .settings import BodySettings, Bounds
from .shapes import half_extents, indicator, surface

_PLACE = (("x1", "m"), ("x2", "m"), ("depth", "m"), ("a1", "m"), ("a2", "m"), ("a3", "m"))


class BodyModel(LayeredModel):
    """A body in layers, of which a half-space is one. See the module."""

    layered = False

    def __init__(
        self,
        settings: BodySettings,
        resistivities: tuple[Bounds, ...],
        thicknesses: tuple[Bounds, ...],
    ) -> None:
        """Make the parameters: of the layers, then of the body.

        Args:
            settings: The body; no entry is None.
            resistivities: Bounds of the layers' resistivities [ohm m].
            thicknesses: Bounds of their thicknesses [m], one fewer.

        Raises:
            InputError: If the blended edge is wider than the thinnest body.
        """
        layers = layer_quantities(resistivities, thicknesses)
        if len(resistivities) == 1:
            layers = [resistivity(" of background", resistivities[0])]
        body = [Quantity(name, unit, getattr(settings, name)) for name, unit in _PLACE]
        body.append(Quantity("rotation", "rad", settings.rotation))
        body.append(resistivity(" of body", settings.resistivity))
        super().__init__([*layers, *body], len(resistivities))
        lower, upper = np.array([quantity.bounds for quantity in body[:7]]).T
        assert settings.blend is not None
        self.shape, self.blend = settings.shape, settings.blend
        thinnest = float(lower[3:6].min())
        check(
            thinnest > self.blend / 2,
            f"body.blend must be below the body's smallest thickness, {2 * thinnest:.3g} m; got "
            f"{self.blend:g} m",
        )
        self.size = thinnest
        half = half_extents(self.shape, lower[3:], upper[3:], self.blend)
        low, high = lower[:3] * [1, 1, -1], upper[:3] * [1, 1, -1]
        self.reach = (np.minimum(low, high) - half, np.maximum(low, high) + half)
        self._least_depth, self._up = float(lower[2]), float(half[2])

    def check_flat(self) -> None:
        """Raise `InputError` if, with some y, the body reaches the surface of flat ground."""
        check(
            self._least_depth > self._up,
            f"the body touches the surface: with its edge it reaches {self._up:.3g} m upwards, and "
            f"body.depth, of its centre, can be {self._least_depth:g} m",
        )

    def surface(self, y: Array) -> tuple[Array, npt.NDArray[np.int64]]:
        """Return the body's surface for drawings, as `Model.surface`."""
        return surface(self.shape, self.body(y))

    def body(self, y: Array) -> Array:
        """Return the centre x1, x2 [m], depth, semi-axes [m] and rotation [rad] for y, (7,)."""
        return np.asarray(self.quantities(y)[-8:-1])

    def tensor(self, y: Values, points: Array, weights: Array, tags: Tags | None = None) -> Any:
        """Average over cells, as `Model.tensor`."""
        q = self.quantities(y)
        shares = self._shares(q, points, weights)
        K = np.asarray(self._means(q, shares))
        near = self._near(q, points)
        if len(near):
            K[near] = self._with_body(q, shares[near], points[near], weights)
        return K

    def derivatives(
        self, y: Array, V: Array, points: Array, weights: Array, tags: Tags | None = None
    ) -> Array:
        """Return the derivatives of `tensor`, as `Model.derivatives`."""
        found = np.zeros((len(V), len(points), len(INDICES)))
        everywhere = self.directions(V)[:, : 2 * self._n - 1].any(axis=1)
        found[everywhere] = super().derivatives(y, V[everywhere], points, weights)
        near = self._near(self.quantities(y), points)
        rest = super().derivatives(y, V[~everywhere], points[near], weights)
        found[np.ix_(~everywhere, near)] = rest
        return found

    def reached(self, y: Array) -> tuple[Array, Array]:
        """Return the corners of a box around the body of y."""
        x1, x2, depth, *size = self.body(y)
        half = half_extents(self.shape, np.array(size), np.array(size), self.blend)
        centre = np.array([x1, x2, -depth])
        return centre - 1.02 * half, centre + 1.02 * half

    def changed(self, y: Array, points: Array) -> npt.NDArray[np.bool_]:
        """Return which cells have a point in the body or its edge."""
        q = self.quantities(y)
        found, near = np.zeros(len(points), dtype=bool), self._near(q, points)
        found[near] = (indicator(self.shape, q[-8:-1], self.blend, points[near])[0] > 0).any(axis=1)
        return found

    def at(self, y: Array, points: Array, tags: Tags | None = None) -> Array:
        """Return the conductivity at points."""
        q = self.quantities(y)
        S, _ = indicator(self.shape, q[-8:-1], self.blend, points)
        return np.asarray(self._at(q, points) ** (1 - S) * conductivity(q[-1]) ** S)

    def _near(self, q: Values, points: Array) -> npt.NDArray[np.intp]:
        """Return the numbers of cells with points in a box around the body of these quantities."""
        x1, x2, depth, *axes, _ = q[-8:-1].real
        wide, up = (
            np.array([max(axes[:2]), axes[2]]) * (1 + self.blend / (2 * min(axes)))
            if self.shape == "ellipsoid"
            else np.array([np.hypot(*axes[:2]), axes[2]]) + self.blend / np.sqrt(2)
        )
        away = np.abs(points - [x1, x2, -depth])
        return np.flatnonzero((away <= [wide, wide, up]).all(axis=-1).any(axis=1))

    def _with_body(self, q: Values, shares: Values, points: Array, weights: Array) -> Values:
        """Return tensors (n, 6) of cells near the body; shares are (n, layers)."""
        n = self._n
        logs, log_body = -np.log(10) * q[:n], -np.log(10) * q[-1]
        S, g = indicator(self.shape, q[-8:-1], self.blend, points)
        arithmetic = harmonic = np.zeros(len(points))
        for share, log_layer in zip(shares.T, logs, strict=True):
            m = np.exp(log_layer + (log_body - log_layer) * S)
            arithmetic = arithmetic + share * (m @ weights)
            harmonic = harmonic + share * ((1 / m) @ weights)
        # Squares of the jump of log m over the width of the edge, and over a cell at a bottom.
        N = products(weights @ g) * ((log_body - shares @ logs) ** 2)[:, None]
        heights = np.sqrt(12) * points[..., 2].std(axis=1)
        for i in range(n - 1):
            above = shares[:, : i + 1].sum(axis=1)
            # A bump of the integral 1 as the bottom passes the cell: K is continuous.
            density = 6 * above * (1 - above) / np.where(heights == 0, 1, heights)
            jump = (logs[i + 1] - logs[i]) * (1 - S @ weights) * density * self.blend
            N = N + (jump**2)[:, None] * VERTICAL
        return laminate(arithmetic, 1 / harmonic, normalised(N))
