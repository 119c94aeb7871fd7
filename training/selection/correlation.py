r"""The covariance of a surrogate's errors over all outputs, from held-out residuals.

A residual over its deviation, z of (n_out,), is modelled with the covariance

    R = V diag(variances) V^T + diag(unique)

The columns of V are the principal components of the prediction in units of sigma. All that the
surrogate can predict, its Jacobian too, lies in their span. There the errors decide how well
observations determine y, and the variance along each component is the mean square of the residuals'
coordinate, less the part of ``unique`` in it. What residuals have beside the span gives ``unique``.
No number is fitted to another one, so that 882 outputs need no more than some tens of residuals.

Other directions fail. Principal components of the residuals themselves, as many as held-out
likelihood asks for, leave out directions in which few residuals vary. The rest of the variance,
divided among all outputs, is too small there: posteriors are far too narrow, and chi-squared has
the right mean all the same. So do components of the weights of kriging, along which left-out
residuals are small by construction. Correlations between the coordinates hardly narrow the
posteriors, and those of few samples are wrong elsewhere.

The diagonal of R is near one. It is not made one: sigma comes from quantiles, R from mean squares,
and to scale R by outputs would turn its span out of that of the Jacobian. The geometric mean of the
diagonal is at least one, as few residuals do not show the largest errors, for which the quantiles
of `bars.sizes` allow. All is multiplied by n / (n - 2), the mean of a new square over the mean
square of n normal residuals.

Chi-squared of a residual varies more than that of normal errors: errors differ in size from y to y,
beyond what the error bars say, and those beside the span have few directions of their own.
``scatter`` is the deviation of the logarithm of each part's sum of squares, beyond that of normal
errors. Within the span, as many independent coordinates are counted as they amount to.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg
import scipy.special

from surrogates.model.covariance import Correlation
from surrogates.types import Array

_MOST = 64  # directions
_VARIES = 1e-8  # least singular value of the prediction that counts, relative to the largest
_LEAST = 1e-10  # of the variance of an output that is its own
_UNKNOWN = 1e-9  # of c: `surrogates.training.scaling` may leave out components below it
_FEWEST = 5  # residuals


def correlation(z: Array, prediction: Array) -> Correlation:
    """Find the covariance of errors in units of their deviations.

    Args:
        z: Residuals of held-out samples over their deviations, (n, n_out); NaN does not count.
        prediction: Predictions less their mean over sigma, (n_out, n_points); NaN for outputs
            without error.
    """
    n_out = len(prediction)
    told = np.isfinite(prediction).all(axis=1) & (np.isfinite(z).sum(axis=0) >= _FEWEST)
    loadings, unique, scatter = np.zeros((n_out, 0)), np.ones(n_out), np.zeros(2)
    if told.any():
        z = z[:, told]
        V = directions(prediction[told])
        unknown = _UNKNOWN**2 * float(np.mean(prediction[told] ** 2))
        L, own, scatter = _found(z[np.isfinite(z).any(axis=1)], V, unknown)
        loadings = np.zeros((n_out, L.shape[1]))
        loadings[told], unique[told] = L, own
    return Correlation(loadings=loadings, unique=unique, scatter=scatter)


def directions(prediction: Array) -> Array:
    """Return the principal components of columns (n_out, n_points), orthonormal (n_out, k).

    Eigenvectors of the Gram matrix span those that vary least, but round-off of it is as large as
    their eigenvalues. How much each varies is found by the columns in that span.
    """
    m, n_points = prediction.shape
    flat = prediction / max(float(np.abs(prediction).max(initial=0.0)), 1e-300)
    wide = n_points >= m
    small = flat @ flat.T if wide else flat.T @ flat
    first = max(0, len(small) - _MOST)
    _, vectors = scipy.linalg.eigh(small, subset_by_index=(first, len(small) - 1))
    span, _ = np.linalg.qr(vectors if wide else flat @ vectors[:, ::-1])
    turn, sizes, _ = np.linalg.svd(span.T @ flat, full_matrices=False)
    return np.asarray(span @ turn[:, sizes > _VARIES * max(sizes[0], 1e-300)])


def _found(z: Array, V: Array, unknown: float) -> tuple[Array, Array, Array]:
    """Return loadings, unique variances and scatter for residuals (n, m).

    The variance ``unknown`` is the least that is an output's own.
    """
    there = np.isfinite(z)
    scores = _scores(z, V)
    variances = _mean_squares(scores)
    beside = np.where(there, z - np.nan_to_num(scores) @ V.T, np.nan)
    free = np.maximum(1 - (V * V).sum(axis=1), 1 / len(V))  # of a variance that is an output's own
    own = _mean_squares(beside) / free
    own = np.maximum(own, _LEAST * (own + V**2 @ variances))
    whole = V.shape[1] == len(V)  # nothing is beside the span
    own = np.maximum(own, max(0.0 if whole else unknown, 1e-300))
    shared = variances - own @ V**2
    kept = shared > 0  # in other directions, what is beside them is enough
    L = V[:, kept] * np.sqrt(shared[kept])
    seen = np.maximum(variances, 1e-300)
    number = _independent(scores / np.sqrt(seen))
    scatter = [_scatter(scores**2 / seen, number), _scatter(beside**2 / (own * free), math.inf)]
    level = max(0.0, -float(np.log(own + (L**2).sum(axis=1)).mean()))
    n = max(len(z), _FEWEST)
    level += math.log(n / (n - 2))
    return L * math.exp(level / 2), own * math.exp(level), np.array(scatter)


def _scores(z: Array, V: Array) -> Array:
    """Return coordinates of residuals, (n, k); by least squares where entries are missing."""
    scores = z @ V
    for i in np.flatnonzero(np.isnan(scores).any(axis=1)):
        there = np.isfinite(z[i])
        k = min(V.shape[1], int(there.sum()) // 2)
        scores[i] = np.nan
        scores[i, :k] = np.linalg.lstsq(V[there, :k], z[i, there], rcond=1e-6)[0]
    return np.asarray(scores)


def _mean_squares(x: Array) -> Array:
    """Return the mean square of each column without NaN; 0 for a column of NaN alone."""
    number = np.maximum(np.isfinite(x).sum(axis=0), 1)
    return np.asarray((np.nan_to_num(x) ** 2).sum(axis=0) / number)


def _independent(x: Array) -> float:
    """Return the number of independent coordinates that scaled scores (n, k) amount to.

    It is k^2 / ||correlation||^2: as many independent coordinates have a mean square that varies as
    much. Of n samples, independent coordinates have squared correlations of 1 / n.
    """
    n, k = len(x), x.shape[1]
    x = np.nan_to_num(x)
    between = float(((x.T @ x / n) ** 2).sum()) - k
    return k * k / (k + max(0.0, between - k * (k - 1) / n)) if k else 1.0


def _scatter(squares: Array, most: float) -> float:
    """Return the deviation of log s from squares (n, k), s times those of normal numbers.

    The logarithm of chi-squared of k degrees of freedom has the variance trigamma(k / 2), and
    chi-squared the variance 2 k. The smaller of the two estimates counts: a normal distribution of
    log s has larger s than any sample where small squares make its deviation large.

    Args:
        squares: NaN does not count.
        most: Bound of the degrees of freedom.
    """
    number = np.isfinite(squares).sum(axis=1)
    rows = number > 0
    if rows.sum() < _FEWEST:
        return 0.0
    means = np.nanmean(squares[rows], axis=1)
    freedom = np.minimum(number[rows], most)
    noise = float(scipy.special.polygamma(1, freedom / 2).mean())
    of_logs = float(np.log(np.maximum(means, 1e-300)).var(ddof=1)) - noise
    grown = 1 + float(means.var(ddof=1)) / max(float(means.mean()) ** 2, 1e-300)
    of_moments = math.log(max(grown / (1 + 2 * float((1 / freedom).mean())), 1.0))
    return math.sqrt(max(0.0, min(of_logs, of_moments)))
