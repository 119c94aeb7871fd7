"""`._domain.Coordinates` at a single point, in Python's floats.

Samplers call it point by point, and its loop over parameters is one of a few operations each: numpy
takes ten times as long for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ._domain import Coordinates

_LEAST = 1e-300  # in place of zero, where a logarithm follows


class Step(NamedTuple):
    """What chooses a free parameter.

    Attributes:
        lower: Its ends.
        upper: Its ends.
        rate: Of its density.
        slack: By how much the ends may cross, by rounding.
        relations: Of each relation that it is in the index, the coefficient, and the ends of the
            rest over later parameters.
    """

    lower: float
    upper: float
    rate: float
    slack: float
    relations: tuple[tuple[int, float, float, float], ...]


class Chosen(NamedTuple):
    """A free parameter's value, and what it was chosen by.

    Attributes:
        x: Its value.
        w: The width between its ends.
        lo_of: The relation that makes the lower end; -1 for none.
        hi_of: The relation that makes the upper end; -1 for none.
    """

    x: float
    w: float
    lo_of: int
    hi_of: int


def steps(own: Coordinates) -> list[Step]:
    """Return the steps of coordinates, one for each free parameter."""
    found = []
    for i, j in enumerate(own.free):
        relations = tuple(
            (r, float(own.A[r, i]), float(own.later[0, r, i]), float(own.later[1, r, i]))
            for r in own.A[:, i].nonzero()[0].tolist()
        )
        lower, upper = float(own.lower[j]), float(own.upper[j])
        slack = 1e-12 * (upper - lower)
        found.append(Step(lower, upper, float(own.rates[i]), slack, relations))
    return found


def forward(
    plan: Sequence[Step], b: Sequence[float], u: Sequence[float]
) -> tuple[list[Chosen], list[float], float]:
    """Return the free parameters, the dependent x, (k,), and the log determinant at u."""
    s, log_det, found = list(b), 0.0, []
    for step, p in zip(plan, u, strict=True):
        (lo, hi), lo_of, hi_of = step[:2], -1, -1
        for r, a, least, most in step.relations:
            first, last = (s[r] - most) / a, (s[r] - least) / a
            if a < 0:
                first, last = last, first
            if first > lo:
                lo, lo_of = first, r
            if last < hi:
                hi, hi_of = last, r
        w = max(hi - lo, _LEAST)
        if step.rate:
            E = math.expm1(-step.rate * w)
            log_d = _log_d(p, E)
            x, log_slope = -log_d / step.rate, math.log(-E / step.rate) - log_d
        else:
            x, log_slope = p * w, math.log(w)
        x += lo
        log_det += log_slope if hi >= lo - step.slack else -math.inf
        for r, a, _, _ in step.relations:
            s[r] -= a * x
        found.append(Chosen(x, w, lo_of, hi_of))
    return found, s, log_det


def vjp(
    plan: Sequence[Step],
    chosen: Sequence[Chosen],
    u: Sequence[float],
    by_free: Sequence[float],
    by_dependent: Sequence[float],
    by_log: float,
) -> list[float]:
    """Return the gradient by u of a sum over the results of `forward` with these weights."""
    g_s, found = list(by_dependent), [0.0] * len(plan)
    for i in range(len(plan) - 1, -1, -1):
        step, one, p, g_x = plan[i], chosen[i], u[i], by_free[i]
        for r, a, _, _ in step.relations:
            g_x -= a * g_s[r]
        if step.rate:
            E = math.expm1(-step.rate * one.w)
            D = math.exp(_log_d(p, E))
            found[i] = (g_x / step.rate + by_log) * -E / D
            by_w = g_x * p * (1 + E) / D + by_log * step.rate * (1 + E) * (p / D - 1 / E)
        else:
            found[i], by_w = g_x * one.w, g_x * p + by_log / one.w
        for r, a, _, _ in step.relations:
            if r == one.lo_of:
                g_s[r] += (g_x - by_w) / a
            if r == one.hi_of:
                g_s[r] += by_w / a
    return found


def _log_d(u: float, E: float) -> float:
    """Return log(1 + u E), also where u is near 1 and E near -1."""
    if u * E > -0.5:
        return math.log1p(u * E)
    return math.log(max((1 - u) + u * (1 + E), _LEAST))
