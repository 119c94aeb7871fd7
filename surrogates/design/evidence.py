r"""Where errors are larger than the error bars say: a local mean of the samples' own errors.

At samples whose square error is known, its logarithm over the expected one is

    r_i = log(error_i^2 / expected_i)

and its mean about y is a sum over the samples near y, with weights of a Gaussian of width b,

    r(y) = sum_i w_i(y) (r_i - mean) / (sum_i w_i(y) + 1)

(Nadaraya 1964, "On estimating regression"; Watson 1964, "Smooth regression analysis"), where one
sample more, at the mean, stands for what is known without any near. The width is the one with the
least error at left-out samples. If none is better than the mean, r = 0.
"""

from __future__ import annotations

import numpy as np
import scipy.spatial

from surrogates.types import Array

_WIDTHS = 2.0 ** np.arange(-1, 5)  # over the median distance of samples from the next one
_FEWEST = 10  # samples
_ENDS = (-3.0, 5.0)  # of r


def ratios(x: Array, logs: Array, at: Array) -> Array:
    """Return r at points, (m,).

    Args:
        x: Samples, (n, d), in coordinates in which errors vary alike in all directions.
        logs: r_i of the samples, (n,).
        at: Points, (m, d).
    """
    if len(x) < _FEWEST:
        return np.zeros(len(at))
    apart = np.clip(logs - logs.mean(), *_ENDS)
    squares = scipy.spatial.distance.cdist(x, x, "sqeuclidean")
    np.fill_diagonal(squares, np.inf)
    unit = float(np.median(squares.min(axis=1)))
    best, least = 0.0, float(np.mean((apart * len(x) / (len(x) - 1)) ** 2))
    for width in _WIDTHS:
        error = float(np.mean((_mean(squares / (unit * width**2), apart) - apart) ** 2))
        if error < least:
            best, least = width, error
    if not best or not unit:
        return np.zeros(len(at))
    return _mean(scipy.spatial.distance.cdist(at, x, "sqeuclidean") / (unit * best**2), apart)


def _mean(squares: Array, values: Array) -> Array:
    """Return local means from the squares of distances in units of the width, (m, n)."""
    weights = np.exp(-squares / 2)
    return np.asarray(weights @ values / (weights.sum(axis=1) + 1))
