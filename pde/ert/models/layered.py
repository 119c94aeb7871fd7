"""Models of horizontal layers: the half-space and n layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from ..layers import Layers
from .base import Model, Quantity, Tags, complex_step, conductivity, resistivity
from .cuts import horizontal
from .laminate import INDICES, VERTICAL, Values, laminate
from .settings import Bounds


def layer_quantities(resistivities: Sequence[Bounds], thicknesses: Sequence[Bounds]) -> list[Any]:
    """Return the quantities of layers: log10 resistivities from the top, then thicknesses."""
    n = len(resistivities)
    names = [f" of layer {i + 1}" if n > 1 else "" for i in range(n)]
    return [resistivity(*one) for one in zip(names, resistivities, strict=True)] + [
        Quantity(f"thickness of layer {i + 1}", "m", bounds) for i, bounds in enumerate(thicknesses)
    ]


class LayeredModel(Model):
    """Layers, of which a half-space is one; models with more than layers derive from it.

    The first 2 n - 1 quantities are those of the n layers.
    """

    layered = True

    def __init__(self, quantities: Sequence[Quantity], n_layers: int) -> None:
        """Make the parameters.

        Args:
            quantities: Quantities of `layer_quantities`, and others after them.
            n_layers: Number of layers n.
        """
        super().__init__(quantities)
        self._n = n_layers
        self.reach = (np.zeros(3), np.zeros(3))

    def layers(self, y: Array) -> Layers:
        """Return the layers."""
        q = self.quantities(y)
        return Layers(resistivity=10.0 ** q[: self._n], thickness=q[self._n : 2 * self._n - 1])

    def layer_derivatives(self, y: Array, V: Array) -> Array:
        """Differentiate the layers, as `Model.layer_derivatives`."""
        found = self.directions(V)[:, : 2 * self._n - 1]
        found[:, : self._n] *= np.log(10) * 10 ** self.quantities(y)[: self._n]
        return found

    def tensor(self, y: Values, points: Array, weights: Array, tags: Tags | None = None) -> Any:
        """Average over cells, as `Model.tensor`; for the shares of layers see `cuts`."""
        return self.background(y, points, weights)

    def background(self, y: Values, points: Array, weights: Array) -> Any:
        """Average the conductivity of the layers alone over cells, as `Model.tensor`."""
        q = self.quantities(y)
        return self._means(q, self._shares(q, points, weights))

    def background_derivatives(self, y: Array, V: Array, points: Array, weights: Array) -> Array:
        """Return the derivatives of `background` in directions V (r, n_y), (r, n, 6)."""
        found = np.zeros((len(V), len(points), len(INDICES)))
        for k in np.flatnonzero(self.directions(V)[:, : 2 * self._n - 1].any(axis=1)):
            found[k] = complex_step(lambda z: self.background(z, points, weights), y, V[k])
        return found

    def changed(self, y: Array, points: Array) -> npt.NDArray[np.bool_]:
        """Return that no cell differs from the layers."""
        return np.zeros(len(points), dtype=bool)

    def at(self, y: Array, points: Array, tags: Tags | None = None) -> Array:
        """Return the conductivity at points."""
        return np.asarray(self._at(self.quantities(y), points))

    def _at(self, q: Values, points: Array) -> Any:
        bottoms = -np.cumsum(q[self._n : 2 * self._n - 1].real)
        number = (points[..., 2][..., None] < bottoms).sum(axis=-1)
        return conductivity(q[: self._n])[number]

    def _shares(self, q: Values, points: Array, weights: Array) -> Any:
        """Return each layer's share of each cell, (n, layers)."""
        x3, ends = points[..., 2], np.ones((1, len(points)))
        bottoms = -np.cumsum(q[self._n : 2 * self._n - 1])
        above = [horizontal(x3 - bottom, weights)[None] for bottom in bottoms]
        return np.diff(np.concatenate([0 * ends, *above, ends]), axis=0).T

    def _means(self, q: Values, shares: Any) -> Any:
        m = conductivity(q[: self._n])
        return laminate(shares @ m, 1 / (shares @ (1 / m)), VERTICAL)
