"""The class `Model`: a map from parameters y to the conductivity of the ground."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from surrogates.types import Array

from ..layers import Layers
from .laminate import INDICES, Values
from .settings import Bounds

Tags = npt.NDArray[np.int64]

_STEP = 1e-30
"""The complex step: rounding does not depend on it (Squire and Trapp 1998)."""


@dataclass(frozen=True)
class Quantity:
    """One quantity of a model, free or fixed.

    Attributes:
        name: Its name.
        unit: Its unit.
        bounds: Its bounds; fixed if they are equal.
        normal: Whether its prior is the standard normal distribution within the bounds; else it is
            uniform.
    """

    name: str
    unit: str
    bounds: Bounds
    normal: bool = False


def resistivity(name: str, bounds: Bounds) -> Quantity:
    """Return the quantity log10 resistivity for bounds of the resistivity [ohm m]."""
    low, high = np.log10(bounds)
    return Quantity(f"log10 resistivity{name}", "log10(ohm m)", (float(low), float(high)))


class Model(ABC):
    """A map from y to the conductivity [S/m] of the ground; x3 = 0 is the surface, x3 upwards.

    On topography, x3 = 0 is the mean elevation of the electrodes at the surface: depths are
    measured from there, and layers are horizontal.

    Attributes:
        y_names: Names of the parameters.
        y_units: Their units.
        y_lower: Their lower bounds, (n_y,).
        y_upper: Their upper bounds, (n_y,).
        normal: Which parameters have the standard normal prior within their bounds, (n_y,); those
            of the others are uniform.
        reach: Lower and upper corner [m] of the box that the changes of the layers can reach,
            (3,) each; None if they can be everywhere.
        layered: Whether the ground is its layers alone, for all y: then the reach is empty.
        size: Least semi-axis [m] of a body, which a mesh must resolve; None without a body.
        notes: What users should know, one line each.
    """

    reach: tuple[Array, Array] | None = None
    layered = False
    size: float | None = None
    notes: tuple[str, ...] = ()

    def __init__(self, quantities: Sequence[Quantity]) -> None:
        """Make the parameters.

        Args:
            quantities: All quantities of the model, in the order of the parameters.
        """
        lower, upper = np.array([q.bounds for q in quantities], dtype=float).T
        self._fixed, self._free = lower, np.flatnonzero(lower < upper)
        self.y_names = tuple(quantities[i].name for i in self._free)
        self.y_units = tuple(quantities[i].unit for i in self._free)
        self.y_lower, self.y_upper = lower[self._free], upper[self._free]
        self.normal = np.array([quantities[i].normal for i in self._free], dtype=bool)

    def of_prior(self, Y: Array) -> Array:
        """Return samples of the prior for samples Y (n, n_y) that are uniform within the bounds."""
        Y, some = Y.copy(), self.normal
        low, high = ndtr(self.y_lower[some]), ndtr(self.y_upper[some])
        share = (Y[:, some] - self.y_lower[some]) / (self.y_upper - self.y_lower)[some]
        Y[:, some] = ndtri(low + share * (high - low)).clip(self.y_lower[some], self.y_upper[some])
        return Y

    def log_prior(self, Y: Array) -> Array:
        """Return the log density of the prior within the bounds, up to a constant: (..., n_y)."""
        return np.asarray(-0.5 * (Y[..., self.normal] ** 2).sum(axis=-1))

    def quantities(self, y: Values) -> Values:
        """Return the values of all quantities, free and fixed, for y (n_y,), real or complex."""
        values: Values = self._fixed.astype(np.result_type(y, float))
        values[self._free] = y
        return values

    def directions(self, V: Array) -> Array:
        """Return directions V (r, n_y) of y as directions of all quantities, 0 for fixed ones."""
        values = np.zeros((len(V), len(self._fixed)))
        values[:, self._free] = V
        return values

    @abstractmethod
    def layers(self, y: Array) -> Layers:
        """Return the layers of the background: one half-space where there are no layers."""

    @abstractmethod
    def layer_derivatives(self, y: Array, V: Array) -> Array:
        """Differentiate the layers in directions V (r, n_y).

        Returns:
            Derivatives of the n resistivities [ohm m], then of the thicknesses [m], (r, 2 n - 1).
        """

    @abstractmethod
    def tensor(self, y: Values, points: Array, weights: Array, tags: Tags | None = None) -> Any:
        """Average the conductivity over cells.

        Args:
            y: Parameters, (n_y,); also complex, for derivatives by the complex step.
            points: Quadrature points of the cells [m], (n, k, 3).
            weights: Their weights, (k,), with the sum 1.
            tags: Number of each cell's region of the mesh, (n,), for models that have regions.

        Returns:
            The conductivity tensor [S/m] of each cell, (n, 6), with the entries of `INDICES`.
        """

    def derivatives(
        self, y: Array, V: Array, points: Array, weights: Array, tags: Tags | None = None
    ) -> Array:
        """Return the derivatives of `tensor` in directions V (r, n_y), (r, n, 6).

        They are those of the complex step, exact to rounding, where a kind has no closed form.
        """
        found = np.empty((len(V), len(points), len(INDICES)))
        for row, v in zip(found, V, strict=True):
            row[:] = complex_step(lambda z: self.tensor(z, points, weights, tags), y, v)
        return found

    @abstractmethod
    def changed(self, y: Array, points: Array) -> npt.NDArray[np.bool_]:
        """Return which cells, by their points (n, k, 3), differ from the layers, (n,)."""

    def reached(self, y: Array) -> tuple[Array, Array] | None:
        """Return the corners of a box around all cells that `changed` can find for y, as `reach`.

        It spares looking at the others.
        """
        return self.reach

    @abstractmethod
    def at(self, y: Array, points: Array, tags: Tags | None = None) -> Array:
        """Return the conductivity [S/m] at points (..., 3), for drawings.

        Args:
            y: Parameters, (n_y,).
            points: Points [m], (..., 3).
            tags: Number of the region at each point, (...), for models that have regions.
        """

    def surface(self, y: Array) -> tuple[Array, npt.NDArray[np.int64]] | None:
        """Return a body's surface for drawings: vertices (n, 3) [m] and triangles (m, 3).

        None where the model has no body.
        """
        return None

    def check_flat(self) -> None:  # noqa: B027 - most kinds have no body
        """Raise `InputError` if, with some y, a body reaches the surface of flat ground."""


def complex_step(f: Callable[[Values], Values], y: Array, v: Array) -> Array:
    """Return the derivative of f at y in the direction v, exact to rounding."""
    return np.asarray(f(y + 1j * _STEP * v).imag / _STEP)


def conductivity(log10_resistivity: Any) -> Any:
    """Return conductivities [S/m] for log10 of resistivities in ohm m."""
    return np.exp(-np.log(10) * log10_resistivity)
