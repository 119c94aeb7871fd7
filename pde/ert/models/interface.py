r"""A dipping plane between two media.

A cell that a sharp plane cuts is a laminate of the two media, with the shares of `cuts`.

A blended plane has m(x; y) = m_1^(1 - S) m_2^S, S a smoothstep of the distance over the width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from ..layers import Layers
from .base import Model, Quantity, Tags, conductivity, resistivity
from .cuts import oblique
from .laminate import INDICES, Values, laminate, smoothstep
from .settings import InterfaceSettings


class InterfaceModel(Model):
    """A dipping plane between two media. See the module."""

    def __init__(self, settings: InterfaceSettings) -> None:
        """Make the parameters: two log10 resistivities, position, dip and strike.

        Args:
            settings: The plane; no entry is None.
        """
        assert settings.position is not None
        super().__init__(
            [
                resistivity(" of side 1", settings.resistivity[0]),
                resistivity(" of side 2", settings.resistivity[1]),
                Quantity("position", "m", settings.position),
                Quantity("dip", "rad", settings.dip),
                Quantity("strike", "rad", settings.strike),
            ]
        )
        self.blend = settings.blend

    def layers(self, y: Array) -> Layers:
        """Return the first side as a half-space."""
        return Layers(resistivity=10.0 ** self.quantities(y)[:1], thickness=np.zeros(0))

    def layer_derivatives(self, y: Array, V: Array) -> Array:
        """Differentiate the layers, as `Model.layer_derivatives`."""
        rho = 10 ** self.quantities(y)[:1]
        return np.asarray(self.directions(V)[:, :1] * np.log(10) * rho)

    def tensor(self, y: Values, points: Array, weights: Array, tags: Tags | None = None) -> Any:
        """Average over cells, as `Model.tensor`."""
        q = self.quantities(y)
        d, normal = self._distance(q, points)
        one, two = conductivity(q[:2])
        if self.blend > 0:
            m = one * (two / one) ** smoothstep(0.5 + d / self.blend)[0]
            arithmetic, harmonic = m @ weights, 1 / ((1 / m) @ weights)
        else:
            share = oblique(d, normal, points, weights)
            arithmetic = one + (two - one) * share
            harmonic = 1 / (1 / one + (1 / two - 1 / one) * share)
        return laminate(arithmetic, harmonic, np.stack([normal[i] * normal[j] for i, j in INDICES]))

    def changed(self, y: Array, points: Array) -> npt.NDArray[np.bool_]:
        """Return that all cells differ from the layers."""
        return np.ones(len(points), dtype=bool)

    def at(self, y: Array, points: Array, tags: Tags | None = None) -> Array:
        """Return the conductivity at points."""
        q = self.quantities(y)
        d, _ = self._distance(q, points)
        one, two = conductivity(q[:2])
        S = smoothstep(0.5 + d / self.blend)[0] if self.blend > 0 else d > 0
        return np.asarray(one * (two / one) ** S)

    @staticmethod
    def _distance(q: Values, points: Array) -> tuple[Any, Values]:
        """Return the distance from the plane (...), positive on the second side, and its normal."""
        position, dip, strike = q[2:]
        normal = np.array([np.sin(dip) * np.cos(strike), np.sin(dip) * np.sin(strike), np.cos(dip)])
        return points @ normal - position * normal[0], normal
