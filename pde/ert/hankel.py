r"""Hankel integrals of the kernels of layered ground, by trapezoidal rules without oscillation.

    F(r) = \int_0^\infty g(l) J0(l r) dl

A kernel g of horizontal layers is real for real l, bounded and analytic in the right half of the
complex plane of l: the exponentials in it decay there, and reflections stay below one. So the path
of integration may be turned, and the integrand is smooth in t = log l, however far apart the scales
of the layers and r are. The trapezoidal rule in t converges exponentially, as exp(-2 pi w / step)
for a function analytic in a strip of half width w (Trefethen and Weideman, "The exponentially
convergent trapezoidal rule", SIAM Review 56, 2014).

- Far, `Far`: J0 is the real part of the Hankel function H0, which decays on the line
  l = x exp(i pi / 4) (w = pi / 4). All r share the same points l, so that g is computed once.
- Near, `Near`: where g decays as exp(-l d) and r <= d / 4, the path is the real axis.

In both, r enters by fixed weights, which are polynomials in log r (on intervals of one step of the
rule) and in (r / d)^2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import hankel1, j0

from surrogates.types import Array

from .jets import Jet, Numbers

Integers = npt.NDArray[np.int64]

NEAR = 0.25
"""r below this part of d is near: the kernel decays before J0 oscillates."""

_LOW = -28.0
"""Lowest log(l r) or log(l d): below it g is constant, and its part is in the first weight."""

_STEP, _HIGH, _TERMS = 0.125, 4.0, 9
_TURN = np.exp(0.25j * np.pi)
_NEAR_STEP, _NEAR_HIGH, _NEAR_TERMS = 0.2, 3.8, 9
_BLOCK = 2_000_000
"""Numbers that are held at a time."""


def _fold(weights: Numbers, first: int) -> Numbers:
    """Return the rows from ``first``; the first of them has the sum of those before it added."""
    kept = weights[first:].copy()
    kept[0] += weights[:first].sum(axis=0)
    return kept


def _chebyshev(terms: int) -> tuple[Array, Array]:
    """Return Chebyshev points in [0, 1], and the matrix from values there to coefficients."""
    angles = np.pi * (np.arange(terms) + 0.5) / terms
    matrix = 2 / terms * np.cos(np.outer(angles, np.arange(terms)))
    matrix[:, 0] /= 2
    return (1 + np.cos(angles)) / 2, matrix


def _polynomials(x: Array, terms: int) -> Array:
    """Return Chebyshev polynomials on [0, 1] at x (n,), (n, terms)."""
    found = np.ones((len(x), terms))
    found[:, 1] = 2 * x - 1
    for k in range(2, terms):
        found[:, k] = 2 * found[:, 1] * found[:, k - 1] - found[:, k - 2]
    return found


@lru_cache
def _far_weights() -> Array:
    """Return the coefficients of the weights of Re g and Im g, (2 n, terms), for r F."""
    before = 80  # steps below _LOW: exp(-38) remains
    numbers = np.arange(round(_LOW / _STEP) - before, round(_HIGH / _STEP))
    places, matrix = _chebyshev(_TERMS)
    x = np.exp(_STEP * (numbers[:, None] + places)) * _TURN
    weights = _fold(_STEP * x * hankel1(0, x), before) @ matrix
    return np.concatenate([weights.real, -weights.imag])


@lru_cache
def _near_weights() -> tuple[Array, Array]:
    """Return l d (n,), and the coefficients of the weights of g, (n, terms), for d F."""
    before = 50
    numbers = np.arange(round(_LOW / _NEAR_STEP) - before, round(_NEAR_HIGH / _NEAR_STEP))
    places, matrix = _chebyshev(_NEAR_TERMS)
    x = np.exp(_NEAR_STEP * numbers)[:, None]
    weights = _fold(_NEAR_STEP * x * j0(x * NEAR * np.sqrt(places)), before) @ matrix
    return x[before:, 0], weights


class Near:
    """The integrals F of kernels that decay as exp(-l d), for r <= d / 4."""

    def __init__(self, kernel: Callable[[Array], Jet], d: Array) -> None:
        """Integrate.

        Args:
            kernel: Return g at l (n, n_l), one row for each kernel.
            d: Lengths d [m], (n,).
        """
        x, weights = _near_weights()
        values = kernel(x / d[:, None])
        self._d = d
        self._table = Jet(values.value @ weights / d[:, None], values.slope @ weights / d[:, None])

    def at(self, which: Integers, r: Array) -> Jet:
        """Return F at r (n,) of the kernels with the numbers ``which`` (n,)."""
        polynomials = _polynomials(np.square(r / (NEAR * self._d[which])), _NEAR_TERMS)
        table = self._table[which]
        return Jet((table.value * polynomials).sum(-1), (table.slope * polynomials).sum(-1))


class Far:
    """The integrals F of kernels for r in a range."""

    def __init__(self, kernel: Callable[[Numbers], Jet], r: Array) -> None:
        """Compute the kernels at the points that all r share.

        Args:
            kernel: Return g at l (1, n_l), one row for each kernel.
            r: Distances [m] > 0 that will be asked for: their range is used.
        """
        self._low, self._high = (int(np.floor(np.log(x) / _STEP)) for x in (r.min(), r.max()))
        first, last = round(_LOW / _STEP), round(_HIGH / _STEP)
        self._n = last - first
        points = np.exp(_STEP * np.arange(first - self._high, last - self._low)) * _TURN
        values = kernel(points[None])
        self._values = Jet(values.value, values.slope)

    def _pieces(self, r: Array) -> tuple[Integers, Array]:
        """Return the numbers of the steps that hold r, (n,), and the polynomials there over r."""
        place = np.log(r) / _STEP
        number = np.clip(np.floor(place).astype(np.int64), self._low, self._high)
        return number, _polynomials(place - number, _TERMS) / r[:, None]

    def _coefficients(self, which: Integers, number: Integers) -> Jet:
        """Return the coefficients of r F of kernels ``which`` on steps ``number``, (n, terms)."""
        columns = (self._high - number)[:, None] + np.arange(self._n)
        weights = _far_weights()

        def product(values: Numbers) -> Array:
            part = values[..., which[:, None], columns]
            found: Array = np.concatenate([part.real, part.imag], axis=-1) @ weights
            return found

        return Jet(product(self._values.value), product(self._values.slope))

    def at(self, which: Integers, r: Array) -> Jet:
        """Return F at r (n,) of the kernels with the numbers ``which`` (n,)."""
        number, polynomials = self._pieces(r)
        span = self._high - self._low + 1
        codes, place = np.unique(which * span + number - self._low, return_inverse=True)
        p = len(self._values.slope)
        found = Jet(np.empty(len(r)), np.empty((p, len(r))))
        size = max(1, _BLOCK // (2 * self._n * (1 + p)))
        order = np.argsort(place, kind="stable")
        cuts = np.searchsorted(place[order], np.arange(0, len(codes) + size, size))
        for start, (low, high) in zip(
            range(0, len(codes), size), zip(cuts[:-1], cuts[1:], strict=True), strict=False
        ):
            kernels, steps = np.divmod(codes[start : start + size], span)
            table = self._coefficients(kernels, steps + self._low)
            rows = order[low:high]
            own = table[place[rows] - start]
            found.value[rows] = (own.value * polynomials[rows]).sum(-1)
            found.slope[:, rows] = (own.slope * polynomials[rows]).sum(-1)
        return found

    def all_at(self, r: Array) -> Array:
        """Return F of all kernels at r (n,), (n, n_kernels), without derivatives."""
        number, polynomials = self._pieces(r)
        n_kernels = len(self._values.value)
        found = np.empty((len(r), n_kernels))
        order = np.argsort(number, kind="stable")
        steps, starts = np.unique(number[order], return_index=True)
        everyone = np.arange(n_kernels)
        for step, rows in zip(steps, np.split(order, starts[1:]), strict=True):
            table = self._coefficients(everyone, np.full(n_kernels, step)).value
            found[rows] = polynomials[rows] @ table.T
        return found
