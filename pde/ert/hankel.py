r"""Hankel integrals of the kernels of layered ground, by trapezoidal rules without oscillation.

    F(r) = \int_0^\infty g(l) J0(l r) dl

A kernel g of horizontal layers is real for real l, bounded and analytic in the right half of the
complex plane of l: the exponentials in it decay there, and reflections stay below one. So the path
of integration may be turned, and the integrand is smooth in t = log l, however far apart the scales
of the layers and r are. The trapezoidal rule in t converges exponentially, as exp(-2 pi w / step)
for a function analytic in a strip of half width w (Trefethen and Weideman, "The exponentially
convergent trapezoidal rule", SIAM Review 56, 2014).

- Far: J0 is the real part of the Hankel function H0, which decays on the line
  l = x exp(i pi / 4) (w = pi / 4).
- Near: where g decays as exp(-l d) and r <= d / 4, the path is the real axis.

The points are exp(step k) for all r and d, so that a kernel is computed once. r enters by weights,
which are polynomials in log r (on intervals of one step) and in (r / d)^2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import hankel1, j0

from surrogates.types import Array

from .jets import Numbers

Integers = npt.NDArray[np.int64]
Kernel = Callable[[Numbers], Numbers]
"""g of m kernels in c channels at l (n_l,): (c, m, n_l). Channels are, say, derivatives."""

_NEAR = 0.25
"""r below this part of d is near: the kernel decays before J0 oscillates."""

_LOW = -28.0
"""Lowest log(l r) or log(l d): below it g is constant, and its part is in the first weight."""

_REST = 10.0
"""The span of log(l r) below the lowest one that counts: exp(-38) remains."""

_TERMS = 9
"""Chebyshev polynomials of the weights: exact to rounding."""

_BLOCK = 2_000_000
"""Numbers that are held at a time."""


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """A trapezoidal rule in log l.

    Attributes:
        step: Its step.
        turn: Direction of the path in the complex plane.
        first: Number of the lowest point for r = 1 or d = 1.
        weights: Chebyshev coefficients of the weights of Re g, then of Im g, (2 n, terms).
    """

    step: float
    turn: complex
    first: int
    weights: Array

    @property
    def n(self) -> int:
        """Number of points."""
        return len(self.weights) // 2


def _chebyshev() -> tuple[Array, Array]:
    """Return Chebyshev points in [0, 1], and the matrix from values there to coefficients."""
    angles = np.pi * (np.arange(_TERMS) + 0.5) / _TERMS
    matrix = 2 / _TERMS * np.cos(np.outer(angles, np.arange(_TERMS)))
    matrix[:, 0] /= 2
    return (1 + np.cos(angles)) / 2, matrix


def _polynomials(x: Array) -> Array:
    """Return Chebyshev polynomials on [0, 1] at x (n,), (n, terms)."""
    found = np.ones((len(x), _TERMS))
    found[:, 1] = 2 * x - 1
    for k in range(2, _TERMS):
        found[:, k] = 2 * found[:, 1] * found[:, k - 1] - found[:, k - 2]
    return found


def _rule(
    step: float, high: float, turn: complex, weight: Callable[[Array, Array], Numbers]
) -> _Rule:
    """Return the rule with the weights of points, `weight(number (n, 1), places in [0, 1])`."""
    first, rest = round(_LOW / step), round(_REST / step)
    places, matrix = _chebyshev()
    points = np.arange(first - rest, round(high / step), dtype=np.float64)
    weights = weight(points[:, None], places) @ matrix
    weights[rest] += weights[:rest].sum(axis=0)
    parts = np.concatenate([weights[rest:].real, -weights[rest:].imag])
    return _Rule(step=step, turn=turn, first=first, weights=parts)


@lru_cache
def _far() -> _Rule:
    """Return the rule for r F; the place is that of log r between two points."""
    step, turn = 0.125, complex(np.exp(0.25j * np.pi))

    def weight(number: Array, places: Array) -> Numbers:
        x = np.exp(step * (number + places)) * turn
        found: Numbers = step * x * hankel1(0, x)
        return found

    return _rule(step, 4.0, turn, weight)


@lru_cache
def _near() -> _Rule:
    """Return the rule for d F; the place is that of r^2 between 0 and (d / 4)^2."""
    step = 0.2

    def weight(number: Array, places: Array) -> Numbers:
        x = np.exp(step * number)
        found: Numbers = step * x * j0(x * _NEAR * np.sqrt(places))
        return found

    return _rule(step, 3.8, 1.0, weight)


class _Samples:
    """Kernels at the points of a rule, for r or d on a range of its steps."""

    def __init__(self, rule: _Rule, kernel: Kernel, number: Integers) -> None:
        """Compute the kernels for the numbers of steps, (n,): log(r) / step, rounded down."""
        self._rule = rule
        self._low, self._high = int(number.min()), int(number.max())
        points = np.arange(rule.first - self._high, rule.first + rule.n - self._low)
        self.values = kernel(np.exp(rule.step * points) * rule.turn)

    def sums(self, which: Integers, number: Integers) -> Array:
        """Return coefficients of kernels ``which`` (n,) on steps ``number`` (n,): (c, n, terms)."""
        columns = (self._high - number)[:, None] + np.arange(self._rule.n)
        part = self.values[:, which[:, None], columns]
        weights = self._rule.weights
        found: Array = part.real @ weights[: self._rule.n]
        if np.iscomplexobj(part):
            found += part.imag @ weights[self._rule.n :]
        return found

    def at(self, which: Integers, number: Integers, place: Array) -> Array:
        """Return the sums at places in [0, 1] (n,), for kernels and steps (n,): (c, n)."""
        found = np.empty((len(self.values), len(which)))
        polynomials = _polynomials(place)
        codes = which * (self._high - self._low + 1) + number - self._low
        codes, own = np.unique(codes, return_inverse=True)  # equal ones are summed once
        order = np.argsort(own, kind="stable")
        size = max(1, _BLOCK // (2 * self._rule.n * len(self.values)))
        for start in range(0, len(codes), size):
            kernels, steps = np.divmod(codes[start : start + size], self._high - self._low + 1)
            table = self.sums(kernels, steps + self._low)
            rows = order[slice(*np.searchsorted(own[order], [start, start + size]))]
            found[:, rows] = (table[:, own[rows] - start] * polynomials[rows]).sum(axis=-1)
        return found


def integrals(kernel: Kernel, d: Array, which: Integers, r: Array) -> Array:
    """Return F of kernels at distances.

    Args:
        kernel: The kernels g, m of them in c channels.
        d: Lengths d > 0 [m] such that each kernel decays as exp(-l d), (m,).
        which: Number of the kernel that each distance is for, (n,).
        r: Distances [m], (n,), n > 0.

    Returns:
        F [1/m], (c, n).
    """
    number, short = _shortened(d)
    near = r <= _NEAR * short[which]
    parts = []
    if near.any():
        own = which[near]
        place = np.square(r[near] / (_NEAR * short[own]))
        samples = _Samples(_near(), kernel, number[own])
        parts.append((near, samples.at(own, number[own], place) / short[own]))
    if not near.all():
        far = ~near
        steps, place = _steps(r[far])
        samples = _Samples(_far(), kernel, steps)
        parts.append((far, samples.at(which[far], steps, place) / r[far]))
    found = np.empty((len(parts[0][1]), len(r)))
    for rows, values in parts:
        found[:, rows] = values
    return found


def all_integrals(kernel: Kernel, d: Array, r: Array) -> Array:
    """Return F of every kernel, in its first channel, at every distance.

    Args:
        kernel: The kernels g, m of them.
        d: Lengths d > 0 [m] such that each kernel decays as exp(-l d), (m,).
        r: Distances [m], (n,).

    Returns:
        F [1/m], (n, m).
    """
    _, short = _shortened(d)
    found = np.empty((len(r), len(d)))
    far = np.flatnonzero(r > _NEAR * short.min())
    if len(far):
        number, place = _steps(r[far])
        samples = _Samples(_far(), kernel, number)
        polynomials = _polynomials(place) / r[far, None]
        order = np.argsort(number, kind="stable")
        steps, starts = np.unique(number[order], return_index=True)
        everyone = np.arange(len(d))
        for step, rows in zip(steps, np.split(order, starts[1:]), strict=True):
            table = samples.sums(everyone, np.full(len(d), step))[0]
            found[far[rows]] = polynomials[rows] @ table.T
    rows, columns = np.nonzero(r[:, None] <= _NEAR * short)
    if len(rows):
        found[rows, columns] = integrals(kernel, d, columns, r[rows])[0]
    return found


def _shortened(d: Array) -> tuple[Integers, Array]:
    """Return log(d) / step of the near rule, rounded down, and the lengths of these numbers."""
    step = _near().step
    number = np.floor(np.log(d) / step).astype(np.int64)
    return number, np.exp(step * number)


def _steps(r: Array) -> tuple[Integers, Array]:
    """Return log(r) / step of the far rule, rounded down, and the remainder."""
    place = np.log(r) / _far().step
    number = np.floor(place).astype(np.int64)
    return number, place - number
