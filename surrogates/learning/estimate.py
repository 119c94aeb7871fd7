"""The mean error of a surrogate, with an interval, from a fresh batch of random samples.

Errors of samples are positive, and a few are often much larger than the others: their standard
deviation is one to four times their mean where a smooth function was interpolated, as the errors
are in the corners. For 10 to 60 of them, the upper end of Student's interval of their mean is too
low: sample mean and deviation are both small when no large error was drawn. Two other limits are
better, for different reasons:

- Hall's (1992, "On the removal of skewness by transformation", J. R. Stat. Soc. B 54) corrects
  Student's t for the skewness of the sample by a monotone transform. It assumes no distribution,
  and follows single large errors.
- Cox's (see Zhou and Gao 1997, "Confidence intervals for the log-normal mean") takes logarithms as
  normal. It knows of the long tail from the other errors, even where no large one was drawn. It
  would be far too high for errors that come close to 0; so `_SHIFT` of their mean is added before
  the logarithm, and taken off afterwards.

The upper limit is the higher of the two, the lower limit Hall's. The variance of the logarithms is
at least that of earlier batches: errors of surrogates of one problem have tails that are alike, and
12 samples may show none.
"""

from __future__ import annotations

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
_SHIFT = 0.05  # of the mean


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The error of a surrogate on samples that it has not seen.

    Attributes:
        value: The error.
        lower: Lower limit of its interval.
        upper: Upper limit.
        samples: Samples that it was measured on.
        failed: Samples of the batch whose solve failed; they are left out.
        variation: Standard deviation of the error from one sample, over the error: that of the
            samples' errors over their mean; for ``spread`` and ``worst`` half of that of their
            squares, since the error is a root.
        shape: Variance of the logarithms of the samples' errors (or squares), each over the mean
            and shifted.
    """

    value: float
    lower: float
    upper: float
    samples: int
    failed: int = 0
    variation: float = 1.0
    shape: float = 0.0

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
    values: Array,
    measure: str,
    *,
    upper: float = UPPER,
    failed: int = 0,
    first: int = 0,
    shape: float = 0.0,
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
        shape: The `Estimate.shape` of earlier batches; the upper limit takes no smaller one.

    Raises:
        InputError: If there are fewer than 3 samples.
    """
    n = len(values)
    check(n >= _LEAST, f"an error with an interval needs at least {_LEAST} samples; got {n}")
    means = values.mean(axis=0)
    worst = int(means.argmax())
    high = float(limits(values, upper, above=True, shape=shape).max())
    low = float(limits(values[:, [first]], LOWER, above=False)[0])
    power = 1.0 if measure == "relative" else 0.5
    mean = float(means[worst])
    return Estimate(
        value=mean**power,
        lower=min(low, mean) ** power,
        upper=max(high, mean) ** power,
        samples=n,
        failed=failed,
        variation=power * float(values[:, worst].std(ddof=1) / mean) if mean > 0 else 0.0,
        shape=float(_logs(values[:, worst] / mean).var(ddof=1)) if mean > 0 else 0.0,
    )


def limits(values: Array, chance: float, *, above: bool, shape: float = 0.0) -> Array:
    """Return upper or lower limits of the means of positive numbers from samples of them.

    Args:
        values: k samples, (n, k), n >= 3, not negative.
        chance: Chance that a mean lies beyond its limit.
        above: Whether the limits are upper ones.
        shape: Least variance of the logarithms, for the upper limits.

    Returns:
        (k,); at least 0.
    """
    from scipy.stats import t

    n, means = len(values), values.mean(axis=0)
    x = values / np.where(means > 0, means, 1.0)
    quantile = float(t.isf(chance, n - 1)) * (-1 if above else 1)
    found = _hall(x, quantile)
    if above:
        found = np.maximum(found, _cox(_logs(x), -quantile, shape) - _SHIFT)
    return np.asarray(means * np.maximum(found, 0.0))


def _hall(x: Array, quantile: float) -> Array:
    """Return limits of means: those that Student's quantile gives, corrected for skewness.

    Hall's transform is T + k T^2 / 3 + k^2 T^3 / 27 + k / 6 of Student's T, with k the skewness
    over the root of n; the limit takes its inverse at the quantile.
    """
    n, mean, deviation = len(x), x.mean(axis=0), x.std(axis=0, ddof=1)
    unit = np.where(deviation > 0, deviation, 1.0)
    k = (((x - mean) / unit) ** 3).sum(axis=0) * np.sqrt(n) / ((n - 1) * (n - 2))
    small = np.abs(k) < 1e-6
    slope = np.where(small, 1.0, k)
    corrected = 3 / slope * (np.cbrt(1 + slope * (quantile - slope / 6)) - 1)
    at = np.where(small, quantile, corrected)
    return np.asarray(mean - at * deviation / np.sqrt(n))


def _logs(x: Array) -> Array:
    """Return the logarithms of numbers of mean 1, shifted away from 0."""
    return np.asarray(np.log(x + _SHIFT))


def _cox(logs: Array, quantile: float, shape: float) -> Array:
    """Return limits of means of log-normal numbers: exp(m + s^2 / 2 + quantile * its deviation)."""
    n = len(logs)
    square = np.maximum(logs.var(axis=0, ddof=1), shape)
    deviation = np.sqrt(square / n + square**2 / (2 * (n - 1)))
    return np.asarray(np.exp(logs.mean(axis=0) + square / 2 + quantile * deviation))
