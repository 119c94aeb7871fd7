"""Intervals of errors with heavier tails than a normal distribution.

Half the width of an interval is k(q) standard deviations, with the normal quantile q of its level:

    k(q) = q exp(tail (q^2 - MIDDLE) / 2)

With tail = 0 the distribution is normal. With tail > 0 it is Tukey's h distribution (Hoaglin 1985,
"Summarizing shape numerically: the g-and-h distributions"): the probability of an error beyond x
falls like the power x^(-1 / tail). Whatever the tail, the standard deviation fixes the interval of
79 %, where q^2 = MIDDLE.
"""

from __future__ import annotations

import math
from statistics import NormalDist

MIDDLE = sum(NormalDist().inv_cdf((1 + level) / 2) ** 2 for level in (0.5, 0.9)) / 2
"""Mean of the squared normal quantiles of the intervals of 50 and 90 %, 1.58.

The geometric mean of k(q) over these two does not depend on the tail, so that one standard
deviation serves both as well as it can."""

LIMIT = 0.5
"""Bound of the tail: from here on the error has no finite variance."""


def widened(q: float, tail: float) -> float:
    """Return k(q), for the normal quantile q of an interval and a tail >= 0."""
    return q * math.exp(0.5 * tail * (q * q - MIDDLE))
