r"""Taylor tests of derivatives whose values have noise of unknown size.

For values c(h) along a line and a claimed slope s, the error of the difference quotient is

    E(h) = (c(h) - c(0)) / h - s  =  e + a h + b h^2 + ... + noise / h,

where e = 0 if and only if the slope is right. The remainder h |E(h)| then falls at order 2 with h
until noise dominates: rounding, and the tolerance of solvers. Otherwise it falls at order 1. Orders
alone cannot tell a small e from noise, so e is estimated as well. E at halved steps is extrapolated
to h = 0 (Richardson), and the entry of the table that agrees best with its neighbours is taken
(Ridders, "Accurate computation of F'(x) and F'(x) F''(x)", 1982). The disagreement bounds the
effects of truncation and noise. Where it stays large, the steps go down to `_LAST` halvings, and
the scatter about a parabola of the last twelve is the noise. Entries of larger steps must agree
with those of smaller ones, as far as noise allows: where c is steep they do not.

A slope is wrong where e is above a tolerance and that bound together, at two sets of steps: noise
that deceives one hardly deceives both. The sum of all outputs, weighted by their slopes, is tested
too: it has less noise than each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

TOLERANCE = 1e-4
"""Largest relative error of a right slope where the solves are precise."""

DOUBT = 1e-3
"""Largest relative uncertainty of a slope's error with which the slope counts as tested."""

_FIRST, _MORE, _LAST = 8, 4, 24  # halvings: at first, in each extension, and at most
_SURE = 36  # halvings before a slope is called wrong, or noise too large
_CLEAR = 1e-6  # relative uncertainty at which no more steps are needed
_COLUMNS = 4  # of Richardson's table
_FITTED = 12  # steps to which the parabola is fitted
_SAFETY = 10.0
_OTHER = 0.8  # factor of the second set of steps
_AT_REST = 100.0  # an output that changes by less than so many times its noise is not judged


@dataclass(frozen=True, kw_only=True)
class Taylor:
    """The Taylor test of one slope.

    Attributes:
        steps: Steps h, (k,), each half of the one before.
        remainders: Norms of c(h) - c(0) - h s, each output relative to its scale, (k,).
        noise: Estimate of their part that is noise.
        error: Relative errors of the slopes, (n_c + 1,); the last one is of the weighted sum.
        doubt: Uncertainties of these errors, (n_c + 1,); infinite for outputs that only have noise.
        slopes: Slopes by extrapolation, (n_c,).
        tolerance: Largest relative error of a right slope.
    """

    steps: Array
    remainders: Array
    noise: float
    error: Array
    doubt: Array
    slopes: Array
    tolerance: float = TOLERANCE

    @property
    def orders(self) -> Array:
        """Orders of the remainders from each step to the next, (k - 1,); NaN at a remainder 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            orders = np.log2(self.remainders[:-1] / self.remainders[1:])
        return np.where(np.isfinite(orders), orders, np.nan)

    @property
    def clear(self) -> npt.NDArray[np.bool_]:
        """Whether both remainders of each order are well above noise, (k - 1,).

        Where the slopes are right, they are also above the slopes' small errors.
        """
        above = self.remainders > 30 * self.noise
        if not self.wrong.any():
            above &= self.remainders > 8 * self.steps * np.linalg.norm(self.error[:-1])
        return above[:-1] & above[1:]

    @property
    def order(self) -> float:
        """Median order of the last four clear halvings; NaN if there are none."""
        last = self.orders[self.clear][-4:]
        return float(np.median(last)) if len(last) else np.nan

    @property
    def wrong(self) -> npt.NDArray[np.bool_]:
        """Whether each slope is wrong, (n_c + 1,)."""
        return self.error > self.tolerance + self.doubt

    @property
    def worst(self) -> int:
        """The output whose slope is the most wrong."""
        surely = np.where(self.wrong[:-1], self.error[:-1], -1.0)
        return int(surely.argmax() if (surely > 0).any() else self.error[:-1].argmax())

    @property
    def certain(self) -> float:
        """Error below which the slopes certainly are: of nine tenths of the outputs that change."""
        known = np.isfinite(self.doubt[:-1])
        if not known.any():
            return np.inf
        return float(np.quantile((self.error + self.doubt)[:-1][known], 0.9))


def tested(
    curve: Callable[[Array], Array],
    c0: Array,
    slope: Array,
    scale: Array | None = None,
    *,
    tolerance: float = TOLERANCE,
) -> Taylor | None:
    """Test a slope.

    Args:
        curve: Returns the values at steps (k,) between 0 and 1: (k, n_c), NaN where there are none.
        c0: Values at 0, (n_c,).
        slope: The slope that is claimed, (n_c,).
        scale: Least scale of each output's slope, (n_c,); zero if None.
        tolerance: Largest relative error of a right slope.

    Returns:
        The test; None if values are missing at more than a few steps.
    """
    scale = np.zeros(len(c0)) if scale is None else scale
    found = _at(1.0, curve, c0, slope, scale, tolerance)
    if found is None or not found.wrong.any():
        return found
    again = _at(_OTHER, curve, c0, slope, scale, tolerance)
    if again is None:
        return found
    return replace(found, doubt=np.where(again.wrong, found.doubt, found.doubt + found.error))


def _at(
    factor: float,
    curve: Callable[[Array], Array],
    c0: Array,
    slope: Array,
    scale: Array,
    tolerance: float,
) -> Taylor | None:
    """Test a slope at the steps 2^-k times a factor."""
    h, C = np.empty(0), np.empty((0, len(c0)))
    asked = 0
    while True:
        halvings = np.arange(asked + 1.0, asked + 1 + (_MORE if asked else _FIRST))
        new = factor * 2.0**-halvings
        asked += len(new)
        values = curve(new)
        there = np.isfinite(values).all(axis=1)
        if asked == _FIRST:  # the largest steps may leave the solver's range
            there &= np.arange(len(new)) > np.flatnonzero(~there).max(initial=-1)
        if there.sum() < 4 or (asked > _FIRST and not there.all()):
            return None
        h, C = np.append(h, new[there]), np.vstack([C, values[there]])
        found = _judged(h, C, c0, slope, scale)
        found = replace(found, tolerance=tolerance)
        clear = np.max(found.doubt, initial=0.0) < _CLEAR
        enough = clear or (asked >= _LAST and found.certain < DOUBT)
        if asked >= _SURE or (enough and not found.wrong.any()):
            return found


def _judged(h: Array, C: Array, c0: Array, slope: Array, scale: Array) -> Taylor:
    """Judge a slope by the values C, (k, n_c), at steps h, (k,)."""
    change = (C - c0) / h[:, None]
    coarse = max(4, int((h > 0.05).sum()))
    scale = np.max([scale, np.abs(slope), *np.abs(change[:coarse])], axis=0)
    per = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    # In units of each output's scale, with the weighted sum as the last output.
    weights = slope * per
    total = max(float(weights @ weights), 1.0)  # its slope
    R = (C - c0 - h[:, None] * slope) * per
    R = np.column_stack([R, R @ weights / total])
    values = np.max(np.abs([*C, c0]), axis=0) * per
    rounding = np.finfo(float).eps * np.append(values, np.linalg.norm(values * weights) / total)
    if len(h) >= 20:
        rounding = np.maximum(rounding, 3 * _scatter(h, R))
    error, spread = _extrapolated(h, R, rounding)
    doubt = _SAFETY * spread
    doubt[:-1][rounding[:-1] * _AT_REST > 1] = np.inf
    doubt[:-1][per == 0] = 0.0
    with np.errstate(invalid="ignore"):
        return Taylor(
            steps=h,
            remainders=np.linalg.norm(R[:, :-1], axis=1),
            noise=float(np.linalg.norm(rounding[:-1])),
            error=np.abs(error),
            doubt=doubt,
            slopes=slope + error[:-1] * scale,
        )


def _extrapolated(h: Array, R: Array, rounding: Array) -> tuple[Array, Array]:
    """Extrapolate R / h to h = 0: the limits and their spreads, (n_c + 1,) each.

    Args:
        h: Steps, (k,).
        R: Remainders, (k, n_c + 1).
        rounding: Their noise, (n_c + 1,).
    """
    k = len(h)
    table = np.full((_COLUMNS, k, R.shape[1]), np.nan)
    spread = np.full_like(table, np.inf)
    table[0], noise = R / h[:, None], rounding / h[:, None]
    for m in range(1, _COLUMNS):
        before = table[m - 1]
        table[m, m:] = before[m:] + (before[m:] - before[m - 1 : -1]) / (2**m - 1)
        # Several neighbours: by chance, noise makes two agree.
        new, rows = table[m, m + 1 :], slice(m + 1, k)
        others = (before[rows], table[m, m : k - 1], before[m : k - 1])
        spread[m, rows] = np.max([np.abs(new - other) for other in others], axis=0)
        # And what smaller steps say, up to noise: a steep curve is another one there.
        for i in range(m + 1, k - 1):
            apart = np.abs(table[m, i + 1 :] - table[m, i]) - 10 * noise[i + 1 :]
            spread[m, i] = np.maximum(spread[m, i], apart.max(axis=0))
    spread = np.maximum(spread, noise)
    flat = spread.reshape(_COLUMNS * k, -1)
    best = flat.argmin(axis=0), np.arange(R.shape[1])
    return table.reshape(_COLUMNS * k, -1)[best], flat[best]


def _scatter(h: Array, R: Array) -> Array:
    """Return the scatter of the remainders of the last steps, and of 0, about a parabola."""
    steps = np.append(0.0, h[-_FITTED:])
    basis, _ = np.linalg.qr(np.vander(steps / steps[1], 3))
    last = np.vstack([np.zeros(R.shape[1]), R[-_FITTED:]])
    rest = last - basis @ (basis.T @ last)
    return np.asarray(np.sqrt((rest**2).sum(axis=0) / (len(steps) - 3)))
