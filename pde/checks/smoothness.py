r"""Search a map along a closed curve for kinks, jumps and noise.

On a smooth curve c(t), the change of the slope from one interval of length l to the next is about
c'' l: it halves with l. At a kink it stays; at a jump, or in noise, it doubles, as it is then a
fixed difference of c over l. So the search takes the spots of a coarse grid where the slope changes
most, halves the intervals there, and follows the largest change down to intervals of 2^-`_LEVELS`
of the first ones. It finds a kink unless more than `_SPOTS` spots have larger changes of the slope
on the coarse grid, or its own is below `_SMALL` of the largest slope.

Only numpy is used here; `check` has the curve, and solves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from surrogates.types import Array

NOISE = 1e-5
"""Largest noise of c, relative to its spread, with which c counts as smooth."""

_LEVELS = 12
_SPOTS = 3
_SMALL = 0.02  # change of the slope, relative to the output's largest slope
_CLOSE = 2.0**-24  # distance of points between which a smooth c hardly bends
_LEAST = 1e-6  # spread of an output, relative to the largest of the outputs of its unit

Curve = Callable[[Array], Array]
"""Returns c at places t (k,) of any real number, with period 1: (k, n_c), NaN where it fails."""


@dataclass(frozen=True, kw_only=True)
class Smoothness:
    """The finding at the worst spot.

    Attributes:
        kind: ``smooth``, ``kink``, ``jump`` or ``noise``.
        at: Its place on the curve.
        output: The output.
        size: For a kink, the change of the slope relative to the output's largest slope; for a
            jump, or noise, that of c relative to its spread; else 0.
        noise: Noise of c between close points, relative to its spread: the root mean square of
            all outputs.
    """

    kind: str
    at: float
    output: int
    size: float
    noise: float = 0.0


@dataclass(frozen=True)
class _Spot:
    """Three points at a distance ``length``, scaled c there (3, n_c), and the slope's changes.

    ``changes`` has one number for each level so far, relative to the output's largest slope.
    """

    middle: float
    length: float
    values: Array
    output: int
    changes: tuple[float, ...]

    @property
    def is_settled(self) -> bool:
        """Whether the changes are small and fall with the length."""
        return len(self.changes) > 1 and self.changes[-1] < min(_SMALL, 0.7 * self.changes[-2])


def searched(curve: Curve, points: int, units: tuple[str, ...]) -> Smoothness | None:
    """Search a closed curve.

    Args:
        curve: The map along it.
        points: Points of the coarse grid, at least 8.
        units: Units of the outputs, (n_c,): the spreads of outputs of one unit are compared.

    Returns:
        The worst finding; None if c is missing at half of the coarse points or more.
    """
    length = 1 / points
    t = (np.arange(points) + 0.5) * length
    C = curve(t)
    if np.isfinite(C).all(axis=1).mean() <= 0.5:
        return None
    spread = np.nanmax(C, axis=0) - np.nanmin(C, axis=0)
    kinds = np.array(units)
    spread = np.maximum(spread, [_LEAST * spread[kinds == kind].max() for kind in kinds])
    per = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    C = C * per
    steps = np.diff(C, axis=0, append=C[:1])
    slope = np.nanmax(np.abs(steps), axis=0) / length
    around = np.vstack([C[-1:], C, C[:1]])
    windows = [_spot(t[i], length, around[i : i + 3], slope) for i in range(points)]
    spots = _separate([spot for spot in windows if np.isfinite(spot.values).all()], length)
    for _ in range(_LEVELS):
        spots = _halved(spots, curve, per, slope)
    found = [_found(spot, curve, per, slope) for spot in spots]
    order = ("smooth", "kink", "noise", "jump")
    worst = max(found, key=lambda one: (order.index(one.kind), one.size), default=None)
    return worst and replace(worst, noise=_noise(curve, per))


def _noise(curve: Curve, per: Array) -> float:
    """Return the noise of scaled c, by its third differences at eight close points."""
    t = 0.25 + np.arange(8) * _CLOSE
    third = np.diff(curve(t) * per, n=3, axis=0) / np.sqrt(20)
    there = per > 0
    known = bool(there.any() and np.isfinite(third).all())
    return float(np.sqrt((third[:, there] ** 2).mean())) if known else np.nan


def _spot(
    middle: float, length: float, values: Array, slope: Array, before: tuple[float, ...] = ()
) -> _Spot:
    """Make a spot of three points."""
    change = np.abs(values[2] - 2 * values[1] + values[0]) / length
    relative = np.divide(change, slope, out=np.zeros_like(change), where=slope > 0)
    output = int(relative.argmax())
    return _Spot(middle, length, values, output, (*before, float(relative[output])))


def _separate(spots: list[_Spot], length: float) -> list[_Spot]:
    """Return the spots with the largest changes, no two of them neighbours."""
    chosen: list[_Spot] = []
    for spot in sorted(spots, key=lambda spot: -spot.changes[-1]):
        apart = (abs(spot.middle - other.middle) for other in chosen)
        if all(1.5 * length < d < 1 - 1.5 * length for d in apart) and len(chosen) < _SPOTS:
            chosen.append(spot)
    return chosen


def _halved(spots: list[_Spot], curve: Curve, per: Array, slope: Array) -> list[_Spot]:
    """Halve the intervals of the spots, and keep the largest change of each."""
    active = [spot for spot in spots if not spot.is_settled]
    if not active:
        return spots
    new = [spot.middle + sign * spot.length / 2 for spot in active for sign in (-1, 1)]
    values = (curve(np.array(new)) * per).reshape(len(active), 2, -1)
    after = [spot for spot in spots if spot.is_settled]
    for spot, (left, right) in zip(active, values, strict=True):
        five = np.array([spot.values[0], left, spot.values[1], right, spot.values[2]])
        half = spot.length / 2
        halves = [
            _spot(spot.middle + k * half, half, five[k + 1 : k + 4], slope, spot.changes)
            for k in (-1, 0, 1)
        ]
        if np.isfinite(five).all():
            after.append(max(halves, key=lambda one: one.changes[-1]))
    return after


def _found(spot: _Spot, curve: Curve, per: Array, slope: Array) -> Smoothness:
    """Say what a spot is, from the trend of its last changes."""
    last, j = spot.changes[-1], spot.output

    def is_(kind: str, size: float = 0.0) -> Smoothness:
        return Smoothness(kind=kind, at=spot.middle, output=j, size=size)

    if spot.is_settled or len(spot.changes) <= _LEVELS:
        return is_("smooth")
    trend = last / max(spot.changes[-5], 1e-300)  # 1/16 if smooth, 1 at a kink, 16 in noise
    height = last * spot.length * float(slope[j])
    if trend > 4 and height > NOISE and _is_single(spot, curve, per):
        return is_("jump", height)
    if trend > 4:
        size = height / np.sqrt(6)  # of one of three values
        return is_("noise" if size > 3 * NOISE else "smooth", size)
    return is_("smooth") if trend < 0.3 or last < _SMALL else is_("kink", last)


def _is_single(spot: _Spot, curve: Curve, per: Array) -> bool:
    """Return whether c jumps once between the points of a spot, rather than scatters."""
    t = np.linspace(spot.middle - spot.length, spot.middle + spot.length, 9)
    steps = np.abs(np.diff(curve(t)[:, spot.output] * per[spot.output]))
    return bool(np.nanmax(steps) > 0.8 * np.nansum(steps))
