r"""The Karhunen-Loeve expansion of a stationary Gaussian random field with a separable covariance.

On a box, with C(x, x') = c_1(|x1 - x1'| / l1) c_2(|x2 - x2'| / l2) c_3(|x3 - x3'| / l3), the
eigenvalues and eigenfunctions of C are products of those along the axes, each of

    1/L int_a^b c(|x - x'| / l) phi(x') dx' = lambda phi(x),   1/L int phi_i phi_j dx = delta_ij

by Nystroem's method with Gauss-Legendre nodes on equal panels. As the variance is 1, the lambda of
an axis add up to 1, and so do those of the box: the sum of the kept ones is the share of the
variance that is kept. The same equation gives phi outside the box, where it falls to 0 over the
correlation length: the field there is the conditional mean of the field in the box.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.special
from scipy.interpolate import CubicSpline

from surrogates.types import Array

CORRELATIONS: dict[str, Callable[[Array], Array]] = {
    "exponential": lambda r: np.exp(-r),
    "squared-exponential": lambda r: np.exp(-(r**2) / 2),
    "matern": lambda r: (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r),
}
"""Correlations over distance / length; `matern` has the smoothness 3/2."""

_PANELS, _NODES = 240, 4
"""The first 20 eigenvalues of the exponential, whose kink spoils the order, are then right within
0.1 % for correlation lengths of a fiftieth of the extent or more."""
_LEAST = 1e-10
"""Smallest eigenvalue of an axis: below, rounding spoils the eigenfunction."""
_FAR = {"exponential": 16.0, "squared-exponential": 7.0, "matern": 12.0}
"""Distance / length outside the box beyond which the field is its mean: about 1e-7 is left."""


class Modes:
    """Eigenvalues and eigenfunctions along one axis.

    Attributes:
        values: Eigenvalues, falling, (m,); their sum is 1 but for those left out.
    """

    def __init__(self, kind: str, lower: float, upper: float, length: float, most: int) -> None:
        """Solve the eigenvalue problem.

        Args:
            kind: A key of `CORRELATIONS`.
            lower: Lower end of the axis [m].
            upper: Upper end [m]; equal ends give one constant mode, as for a line of electrodes.
            length: Correlation length [m].
            most: Largest number of modes.
        """
        self._spline: Any = None
        self._table: Array | None = None
        self.values: Array = np.ones(1)
        if lower == upper:
            return
        correlation = CORRELATIONS[kind]
        nodes, weights = scipy.special.roots_legendre(_NODES)
        ends = np.linspace(lower, upper, _PANELS + 1)
        x = ((ends[1:] + ends[:-1])[:, None] + np.diff(ends)[:, None] * nodes).ravel() / 2
        root = np.sqrt(np.tile(weights, _PANELS) / (2 * _PANELS))
        C = root[:, None] * correlation(np.abs(x[:, None] - x) / length) * root
        n = len(x)
        values, vectors = scipy.linalg.eigh(C, subset_by_index=(max(0, n - most), n - 1))
        keep = np.flatnonzero(values > _LEAST)[::-1]
        self.values = values[keep]
        far = _FAR[kind] * length
        table = np.unique(np.concatenate([ends, *_outside(lower, upper, far, length / 12), x]))
        kernel = correlation(np.abs(table[:, None] - x) / length) * root
        self._table, self._values = table, kernel @ vectors[:, keep] / self.values

    def __call__(self, x: Array, number: int) -> Array:
        """Evaluate the first eigenfunctions at places [m] (n,), (n, number)."""
        if self._table is None:
            return np.ones((len(x), 1))
        if self._spline is None or self._spline.c.shape[-1] < number:
            self._spline = CubicSpline(self._table, self._values[:, :number])
        low, high = self._table[[0, -1]]
        found = self._spline(np.clip(x, low, high))[:, :number]
        found[(x < low) | (x > high)] = 0
        return np.asarray(found)


def _outside(lower: float, upper: float, far: float, step: float) -> tuple[Array, Array]:
    """Return places below and above an interval, up to a distance."""
    away = np.linspace(0, far, int(np.ceil(far / step)) + 1)
    return lower - away, upper + away


class Expansion:
    """The largest terms of the expansion on a box.

    Attributes:
        values: Their eigenvalues, falling, (terms,).
        kept: Share of the variance, averaged over the box, that they keep.
    """

    def __init__(self, kind: str, lower: Array, upper: Array, length: Array, terms: int) -> None:
        """Find the terms.

        Args:
            kind: A key of `CORRELATIONS`.
            lower: Lower corner of the box [m], (3,).
            upper: Upper corner [m], (3,); equal to the lower one along axes without variation.
            length: Correlation lengths [m], (3,).
            terms: Number of terms.
        """
        self._modes = [Modes(kind, *ends, terms) for ends in zip(lower, upper, length, strict=True)]
        index = _candidates([len(modes.values) for modes in self._modes], terms)
        values = np.prod(
            [modes.values[i] for modes, i in zip(self._modes, index, strict=True)], axis=0
        )
        # Stable: equal eigenvalues keep the order of their axes.
        order = np.argsort(-values, kind="stable")[:terms]
        self._index = index[:, order]
        self.values: Array = values[order]
        self.kept = float(self.values.sum())

    def __call__(self, x: Array) -> Array:
        """Evaluate sqrt(eigenvalue) times each eigenfunction at points x [m] (n, 3), (n, terms)."""
        found: Array = np.sqrt(self.values) * np.ones((len(x), 1))
        for modes, index, places in zip(self._modes, self._index, x.T, strict=True):
            found *= modes(places, index.max() + 1)[:, index]
        return found


def _candidates(numbers: list[int], terms: int) -> npt.NDArray[np.intp]:
    """Return the indices (3, n) of the products that can be among the largest ones.

    At least (i + 1) (j + 1) (k + 1) products are as large as that of the modes i, j, k.
    """
    n1, n2, n3 = numbers
    found = [
        (i, j, k)
        for i in range(min(n1, terms))
        for j in range(min(n2, terms // (i + 1)))
        for k in range(min(n3, terms // ((i + 1) * (j + 1))))
    ]
    return np.array(found, dtype=np.intp).T
