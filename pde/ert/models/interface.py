r"""A dipping plane between two media.

A cell that a sharp plane cuts is a laminate of the two media. The share of each is that of the box
with the mean and the second moments of the cell's points: the exact one for boxes with two Gauss
points along each edge or more. The box's shape along the plane's normal is the convolution of its
three edges, of which none is taken as shorter than a tenth of the cell. So the share has two
continuous derivatives in position, dip and strike, even where a plane passes the side of a box.

A blended plane has m(x; y) = m_1^(1 - S) m_2^S, S a smoothstep of the distance over the width.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from ..layers import Layers
from .base import Model, Quantity, Tags, conductivity, resistivity
from .laminate import INDICES, Values, laminate, smoothstep
from .settings import InterfaceSettings

_LEAST = 0.1
"""Least length of a box's edge along the normal, over the size of the box."""


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
            share = _share(d, normal, points, weights)
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


def _share(d: Values, normal: Values, points: Array, weights: Array) -> Values:
    """Return the share of each cell on the positive side of a plane, (n,).

    Args:
        d: Distances of the points from the plane [m], (n, k).
        normal: Its normal, (3,).
        points: Points of the cells [m], (n, k, 3).
        weights: Their weights, (k,).
    """
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
    x = x[cut]
    moments, axes = np.linalg.eigh(np.einsum("k,nki,nkj->nij", weights, x, x))
    edges2 = 12 * moments.clip(0)
    least2 = _LEAST**2 * edges2.prod(axis=1, keepdims=True) ** (1 / 3)
    w = np.sqrt((np.einsum("nij,i->nj", axes, normal)) ** 2 * edges2 + least2)
    share[cut] = _sum_of_uniform(middle[cut] / w.sum(axis=1), w / w.sum(axis=1)[:, None])
    return share


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
    return np.where(t.real >= 0.5, 0 * t + 1, found / (6 * w.prod(axis=1)))
