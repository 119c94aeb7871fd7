"""Arrays with their derivatives by parameters: forward differentiation of short formulas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]
"""An array of float64 or complex128."""


@dataclass(frozen=True)
class Jet:
    """An array and its derivatives by p parameters; with p = 0, the array alone.

    Jets that meet in a formula have values of the same number of dimensions, which numpy's rules
    for shapes make equal; so have plain arrays and jets.

    Attributes:
        value: The array, any shape.
        slope: Its derivatives, (p, ...).
    """

    value: Numbers
    slope: Numbers

    # numpy leaves products of an array and a jet to the jet.
    __array_ufunc__ = None

    def __add__(self, other: Jet | Numbers | float) -> Jet:
        """Return the sum."""
        if isinstance(other, Jet):
            return Jet(self.value + other.value, self.slope + other.slope)
        return Jet(self.value + other, self.slope + np.zeros_like(other))

    def __neg__(self) -> Jet:
        """Return the negative."""
        return Jet(-self.value, -self.slope)

    def __sub__(self, other: Jet | Numbers | float) -> Jet:
        """Return the difference."""
        return self + (-other)

    def __mul__(self, other: Jet | Numbers | float) -> Jet:
        """Return the product."""
        if isinstance(other, Jet):
            return Jet(
                self.value * other.value, self.slope * other.value + self.value * other.slope
            )
        return Jet(self.value * other, self.slope * other)

    def __truediv__(self, other: Jet) -> Jet:
        """Return the quotient."""
        value = self.value / other.value
        return Jet(value, (self.slope - value * other.slope) / other.value)

    def __rsub__(self, other: Numbers | float) -> Jet:
        """Return a constant minus the jet."""
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def exp(self) -> Jet:
        """Return the exponential."""
        value = np.exp(self.value)
        return Jet(value, value * self.slope)

    def sqrt(self) -> Jet:
        """Return the square root."""
        value = np.sqrt(self.value)
        return Jet(value, self.slope / (2 * value))

    def __getitem__(self, places: Any) -> Jet:
        """Return a part of the array."""
        own = places if isinstance(places, tuple) else (places,)
        return Jet(self.value[own], self.slope[(slice(None), *own)])
