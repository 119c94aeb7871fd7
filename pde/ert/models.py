"""Models of the ground: parameters y to conductivities."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from .layers import Layers


class Model(ABC):
    """A map from y to the conductivity [S/m] of the ground; x3 = 0 is the surface, x3 upwards.

    Attributes:
        y_names: Names of the parameters.
        y_units: Their units.
        y_lower: Their lower bounds, (n_y,).
        y_upper: Their upper bounds, (n_y,).
        reach: Lower and upper corner [m] of the box that the changes of the layers can reach,
            (3,) each; None if they can be everywhere.
    """

    y_names: tuple[str, ...]
    y_units: tuple[str, ...]
    y_lower: Array
    y_upper: Array
    reach: tuple[Array, Array] | None

    @abstractmethod
    def layers(self, y: Array) -> Layers:
        """Return the layers of the background: one half-space where there are none."""

    @abstractmethod
    def tensor(
        self, y: Array, points: Array, weights: Array, tags: npt.NDArray[np.int64] | None = None
    ) -> Array:
        """Average the conductivity over cells.

        Args:
            y: Parameters, (n_y,).
            points: Quadrature points of the cells [m], (n, k, 3).
            weights: Their weights, (k,), with the sum 1.
            tags: Number of each cell's region of the mesh, (n,), for models that have regions.

        Returns:
            The conductivity tensor [S/m] of each cell, (n, 6), with the entries of `body.INDICES`.
        """

    @abstractmethod
    def derivatives(
        self,
        y: Array,
        V: Array,
        points: Array,
        weights: Array,
        tags: npt.NDArray[np.int64] | None = None,
    ) -> Array:
        """Return the derivatives of `tensor` in directions V (r, n_y), (r, n, 6)."""

    @abstractmethod
    def changed(self, y: Array, points: Array) -> npt.NDArray[np.bool_]:
        """Return which cells, by their points (n, k, 3), differ from the layers, (n,)."""

    @abstractmethod
    def at(self, y: Array, points: Array, tags: npt.NDArray[np.int64] | None = None) -> Array:
        """Return the conductivity [S/m] at points (..., 3), for drawings."""
