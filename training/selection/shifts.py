r"""How much larger errors are along the Jacobian than their covariance says.

An error z at y shifts the estimate of y from exact data, to first order, by H^-1 J^T R^-1 z, with
H = J^T R^-1 J. Its square in units of its covariance,

    a = z^T R^-1 J H^-1 J^T R^-1 z,

has a chi-squared distribution of n_in degrees of freedom if R is right along J. It is larger: where
the prediction varies most with y, a surrogate errs most, in the same outputs, and R has the mean
over all y. The factor of R along J is the ratio of quantiles of a at held-out samples to those of
chi-squared, at 50 and 90 %: the geometric mean of both, as `bars.sizes` takes them, so that regions
of both levels together hold as many truths as they say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.stats

from surrogates.model.low_rank import LowRank
from surrogates.types import Array

_LEVELS = (0.5, 0.9)
_FEWEST = 9  # samples: the largest of them bounds the next one with 90 %
_MOST = 200  # samples
_WORK = 3e9  # operations for the factors of R
_SEEN = 1e-10  # least eigenvalue of H that counts, relative to the largest

Jacobians: TypeAlias = Callable[[npt.NDArray[np.int64]], Array]


def along(
    z: Array,
    jacobians: Jacobians,
    factors: Sequence[tuple[npt.NDArray[np.bool_], Array]],
    own: Array,
    sizes: Array,
) -> float:
    """Return the factor of the covariance along the Jacobian.

    Args:
        z: Residuals, (n, m); those with NaN do not count.
        jacobians: Returns J at some of them, (k, m, n_in).
        factors: Which residuals have the factor L (m, k) of the covariance, for each L.
        own: The diagonal part of the covariance, (m,).
        sizes: Factors of L L^T and of the diagonal part at each residual, (2, n).
    """
    whole = np.flatnonzero(np.isfinite(z).all(axis=1))
    widest = max(L.shape[1] for _, L in factors) + 1
    most = int(min(_MOST, max(2 * _FEWEST, _WORK / (len(own) * widest**2))))
    chosen = whole[np.linspace(0, len(whole) - 1, min(most, len(whole))).round().astype(int)]
    ratios = []
    for rows, L in factors:
        for i in chosen[rows[chosen]]:
            R = LowRank(sizes[1, i] * own, math.sqrt(sizes[0, i]) * L)
            found = _shift(z[i], jacobians(np.array([i]))[0], R)
            if found is not None:
                ratios.append(found)
    n = len(ratios)
    if n < _FEWEST:
        return 1.0
    logs = [
        math.log(max(np.sort(column)[min(n, math.ceil((n + 1) * level)) - 1], 1e-300))
        for column, level in zip(np.array(ratios).T, _LEVELS, strict=True)
    ]
    return math.exp(sum(logs) / len(logs))


def _shift(z: Array, J: Array, R: LowRank) -> list[float] | None:
    """Return a over the quantiles of chi-squared; None if J is 0."""
    values, vectors = np.linalg.eigh(R.inverse_between(J))
    seen = values > _SEEN * max(float(values[-1]), 1e-300)
    if not seen.any():
        return None
    turned = vectors[:, seen].T @ (J.T @ R.solve(z))
    a = float((turned**2 / values[seen]).sum())
    return [a / float(scipy.stats.chi2.ppf(level, seen.sum())) for level in _LEVELS]
