r"""Search a map along a closed curve for kinks, jumps and noise.

On a smooth curve c(t), the change of the slope from one interval of length l to the next is about
c'' l, and like those beside it: what the changes beside it do not explain falls fast with l. At a
kink it stays; at a jump, or in noise, it doubles when l is halved, as it is a fixed difference of c
over l. So the search halves the intervals around the largest unexplained changes until all are
below `_SMALL` of the largest slope, or one that is not has intervals of 2^-`_LEVELS` of the first
ones. Second differences of c at two lengths then say what it is.

Only numpy is used here; `check` has the curve, and solves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from surrogates.types import Array

NOISE = 1e-5
"""Largest noise of c, relative to its spread, with which c counts as smooth."""

_LEVELS = 12
_SMALL = 0.005  # change of the slope, relative to the output's largest slope
_MOST = 6  # new points at most, for each of the first ones
_AT_ONCE = 4  # spots whose intervals are halved together
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
            jump, or noise, that of c relative to its spread. For a smooth curve the change of the
            slope that a kink may have of which the search, cut short, does not know.
        noise: Noise of c between close points, relative to its spread: the root mean square of
            all outputs.
    """

    kind: str
    at: float
    output: int
    size: float
    noise: float = 0.0


def searched(curve: Curve, points: int, units: tuple[str, ...]) -> Smoothness | None:
    """Search a closed curve.

    Args:
        curve: The map along it.
        points: Number of first points, at least 8; there are up to `_MOST` as many later.
        units: Units of the outputs, (n_c,): the spreads of outputs of one unit are compared.

    Returns:
        The finding; None if c is missing at half of the first points or more.
    """
    t = (np.arange(points) + 0.5) / points
    C = curve(t)
    there = np.isfinite(C).all(axis=1)
    if there.mean() <= 0.5:
        return None
    spread = np.ptp(C[there], axis=0)
    kinds = np.array(units)
    spread = np.maximum(spread, [_LEAST * spread[kinds == kind].max() for kind in kinds])
    per = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    path = _Path(lambda t: curve(t) * per, t, C * per)
    return path.found(_noise(path.scaled, per))


class _Path:
    """Points on the curve, and scaled c there."""

    def __init__(self, scaled: Curve, t: Array, values: Array) -> None:
        """Take the first points, (k,), and c there, (k, n_c)."""
        self.scaled, self._t, self._values = scaled, t, values
        self._most = _MOST * len(t)
        self._first = t[1] - t[0]
        slopes = np.abs(np.diff(values, axis=0, append=values[:1])) / self._first
        self._per = np.zeros(values.shape[1])
        largest = np.nanmax(slopes, axis=0)
        np.divide(1.0, largest, out=self._per, where=largest > 0)

    def found(self, noise: float) -> Smoothness:
        """Halve intervals until the worst spot is known."""
        finest = self._first * 2.0**-_LEVELS
        while True:
            left, right, changes, outputs = self._changes()
            worst = int(changes.argmax())
            fine = max(left[worst], right[worst]) < 1.5 * finest
            small = changes[worst] < _SMALL
            if small or fine or len(self._t) > self._most:
                kind, size = "smooth", 0.0 if small else float(changes[worst])
                if not small and fine:
                    kind, size = self._kind(worst, float(left[worst]), int(outputs[worst]))
                at, output = float(self._t[worst]), int(outputs[worst])
                return Smoothness(kind=kind, at=at, output=output, size=size, noise=noise)
            chosen = np.argsort(-changes)[:_AT_ONCE]
            chosen = chosen[changes[chosen] > max(_SMALL, 0.3 * changes[worst])]
            # An interval that is much shorter than its neighbour waits for that.
            longer = np.maximum(left, right)[chosen]
            new = [
                self._t[i] + sign * length[i] / 2
                for i, most in zip(chosen, longer, strict=True)
                for sign, length in ((-1.0, left), (1.0, right))
                if length[i] > max(0.6 * most, 1.1 * finest)
            ]
            self._add(np.unique(np.array(new) % 1.0))

    def _add(self, new: Array) -> None:
        t = np.append(self._t, new)
        values = np.vstack([self._values, self.scaled(new)])
        order = np.argsort(t)
        self._t, self._values = t[order], values[order]

    def _changes(self) -> tuple[Array, Array, Array, Array]:
        """Return the intervals before and after each point, and the slope's unexplained changes.

        The changes, (k,), are relative to the largest slope of the output that they are of, whose
        index is the last result.
        """
        right = np.diff(self._t, append=self._t[:1] + 1)
        left = np.roll(right, 1)
        slopes = np.diff(self._values, axis=0, append=self._values[:1]) / right[:, None]
        length = ((left + right) / 2)[:, None]
        bend = (slopes - np.roll(slopes, 1, axis=0)) / length  # c''
        beside = (np.roll(bend, 1, axis=0) + np.roll(bend, -1, axis=0)) / 2
        changes = np.abs(bend - beside) * length * self._per
        changes[~np.isfinite(changes).all(axis=1)] = 0.0  # beside a failed solve
        return left, right, changes.max(axis=1), changes.argmax(axis=1)

    def _kind(self, i: int, length: float, output: int) -> tuple[str, float]:
        """Say what the spot at a point is, and its size."""
        t = self._t[i] + length * np.array([-16, *np.linspace(-1, 1, 9), 16])
        c = self.scaled(t)[:, output]
        if not np.isfinite(c).all():
            return "smooth", 0.0
        coarse = float(np.abs(c[0] - 2 * c[5] + c[-1]))
        fine = float(np.abs(np.diff(c[1:-1], n=2)).max())
        # Lengths of 16 and of 1/4: the ratio is 1/4096 if smooth, 1/64 at a kink, 1 else.
        if fine > coarse / 8:
            steps = np.abs(np.diff(c[1:-1]))
            if fine > NOISE and steps.max() > 0.8 * steps.sum():
                return "jump", float(steps.max())
            size = fine / np.sqrt(6)  # of one of three values
            return ("noise", size) if size > 3 * NOISE else ("smooth", 0.0)
        change = coarse / (16 * length) * float(self._per[output])
        return ("kink", change) if fine > coarse / 512 else ("smooth", 0.0)


def _noise(scaled: Curve, per: Array) -> float:
    """Return the noise of scaled c, by its third differences at eight close points.

    Args:
        scaled: The curve.
        per: What c was multiplied by, (n_c,); 0 for outputs that are constant.
    """
    there = per > 0
    third = np.diff(scaled(0.25 + np.arange(8) * _CLOSE), n=3, axis=0) / np.sqrt(20)
    known = bool(there.any() and np.isfinite(third).all())
    return float(np.sqrt((third[:, there] ** 2).mean())) if known else np.nan
