"""A surrogate that is exact at one y, by a solve of the PDE with derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from surrogates.types import Array


class Corrected:
    """A surrogate with the values and derivatives of the PDE at one y_0, and its value at y_1.

    c_s(y) + a + B (y - y_0): a simple form of the error model of Cui, Fox and O'Sullivan (2011).
    """

    def __init__(self, surrogate: Any, y: Array, c: Array, J: Array) -> None:
        """Take y_0, (n_y,), with c there, (n_c,), and dc/dy, (n_c, n_y)."""
        self._surrogate, self._y = surrogate, y
        self._a, self._B = c - surrogate.predict(y), J - surrogate.jacobian(y)

    def move(self, y: Array, c: Array) -> None:
        """Take y_1, (n_y,), with c there, (n_c,)."""
        self._a = self._a + c - self.predict(y)

    def predict(self, y: Array) -> Array:
        """Return c of y (..., n_y), (..., n_c)."""
        return np.asarray(self._surrogate.predict(y) + self._a + (y - self._y) @ self._B.T)

    def jacobian(self, y: Array) -> Array:
        """Return dc/dy of y (n_y,), (n_c, n_y)."""
        return np.asarray(self._surrogate.jacobian(y) + self._B)
