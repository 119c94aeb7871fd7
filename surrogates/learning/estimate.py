"""The mean error of a surrogate, with an interval, from a fresh batch of random samples.

Errors of samples are positive, and a few are often much larger than the others. For 10 to 60 of
them, the upper end of Student's interval of their mean is too low: sample mean and deviation are
both small when no large error was drawn. The interval here corrects Student's t for the skewness by
the monotone transform of Hall (1992, "On the removal of skewness by transformation", J. R. Stat.
Soc. B 54). It needs no shape of the distribution, as an interval of logarithms does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from surrogates.config import check, unknown
from surrogates.types import Array

MEASURES = ("relative", "spread", "worst")
LOWER = 0.05
"""Chance that the error is below the lower limit."""
UPPER = 0.05
"""Chance that it is above the upper limit, where no look has spent less."""
_LEAST = 3  # samples


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The error of a surrogate on samples that it has not seen.

    Attributes:
        value: The error.
        lower: Lower limit of its interval.
        upper: Upper limit.
        samples: Samples that it was measured on.
        failed: Samples of the batch whose solve failed; they are left out.
        variation: Standard deviation of the samples' errors (of their squares, for ``spread`` and
            ``worst``) over their mean.
    """

    value: float
    lower: float
    upper: float
    samples: int
    failed: int = 0
    variation: float = 1.0

    def __str__(self) -> str:
        """Return the error with its interval, in per cent."""
        value, lower, upper = (percent(x) for x in (self.value, self.lower, self.upper))
        return f"{value} % ({lower} to {upper} %)"


def percent(share: float) -> str:
    """Return a share in per cent, with three digits."""
    return f"{100 * share:.3g}"


def parts(surrogate: Any, Y: Array, C: Array, measure: str) -> Array:
    """Return what each sample adds to the error.

    Args:
        surrogate: A `LoadedSurrogate`.
        Y: Parameters of solved samples, (n, n_y).
        C: Their observables, (n, n_c).
        measure: One of `MEASURES`.

    Returns:
        Relative errors, (n, 1); for ``spread`` the mean squares over all outputs, in units of the
        outputs' spreads, (n, 1); for ``worst`` the squares, (n, n_c). The error is the mean, or the
        root of the (largest) mean.

    Raises:
        InputError: If a relative error is undefined, as c = 0.
    """
    check(measure in MEASURES, unknown(f"measure {measure!r}", measure, MEASURES))
    residual = surrogate.predict(Y) - C
    if measure == "relative":
        size = np.linalg.norm(C, axis=1)
        check(
            bool((size > 0).all()),
            "a fresh sample has c = 0, where a relative error is undefined: give --measure spread",
        )
        return np.asarray(np.linalg.norm(residual, axis=1) / size)[:, None]
    spread = np.array(surrogate.metadata["training"]["c_std"], dtype=float)
    size = np.sqrt((C**2).mean(axis=0))
    unit = np.where(spread > 1e-13 * size, spread, np.where(size > 0, size, 1.0))
    squares = np.asarray((residual / unit) ** 2)
    return squares if measure == "worst" else squares.mean(axis=1, keepdims=True)


def estimated(
    values: Array, measure: str, *, upper: float = UPPER, failed: int = 0, first: int = 0
) -> Estimate:
    """Return the error and its interval from the `parts` of a fresh batch.

    Args:
        values: Of each sample, (n, k).
        measure: One of `MEASURES`.
        upper: Chance that the error is above the upper limit.
        failed: Samples that failed.
        first: The output that was worst before this batch was solved for, of ``worst``. The lower
            limit is that of this output: the limit of the output that happens to be worst here
            would be too high. The upper limit is the highest of all outputs, and needs no
            correction for their number: it is wrong only if the one of the output that is truly
            worst is.

    Raises:
        InputError: If there are fewer than 3 samples.
    """
    n = len(values)
    check(n >= _LEAST, f"an error with an interval needs at least {_LEAST} samples; got {n}")
    means = values.mean(axis=0)
    worst = int(means.argmax())
    high = max(limit(column, upper, above=True) for column in values.T)
    low = limit(values[:, first], LOWER, above=False)
    root: Callable[[float], float] = float if measure == "relative" else lambda x: float(x**0.5)
    mean = float(means[worst])
    return Estimate(
        value=root(mean),
        lower=root(min(low, mean)),
        upper=root(max(high, mean)),
        samples=n,
        failed=failed,
        variation=float(values[:, worst].std(ddof=1) / mean) if mean > 0 else 0.0,
    )


def limit(values: Array, chance: float, *, above: bool) -> float:
    """Return an upper or lower limit of the mean of positive numbers from a sample of them.

    Args:
        values: The sample, (n,), n >= 2, not negative.
        chance: Chance that the mean lies beyond the limit.
        above: Whether the limit is the upper one.
    """
    from scipy.stats import t

    n, mean, deviation = len(values), float(values.mean()), float(values.std(ddof=1))
    if deviation == 0:
        return mean
    third = float((((values - mean) / deviation) ** 3).mean())
    k = third * n * np.sqrt(n * (n - 1)) / ((n - 1) * (n - 2)) / np.sqrt(n)
    quantile = float(t.isf(chance, n - 1)) * (-1 if above else 1)
    if abs(k) > 1e-6:
        quantile = 3 / k * (float(np.cbrt(1 + k * (quantile - k / 6))) - 1)
    return max(mean - quantile * deviation / float(np.sqrt(n)), 0.0)
