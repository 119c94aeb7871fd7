r"""The covariance of a surrogate's errors over all outputs, from held-out residuals.

A residual over its deviation, z of (n_out,), is modelled at y with the covariance

    R = h V diag(variances) V^T + h' diag(unique)

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

A left-out sample must have no part in V. Kriging interpolates: samples themselves span V, so that
none has anything beside it, and the components that vary least are those of single samples. The
error at a new y has no such limit. So residuals of samples that the surrogate has seen are measured
by folds, each in components of all other samples, and variances are means over the folds of equal
components.

What the surrogate leaves beside V of its own samples bounds ``unique`` from below. Left-out
residuals of kriging come from a formula: they lack the round-off of predictions with large weights,
and small components of c that training leaves out.

Sizes of errors h and h' at y come from the sums of squares, see `dispersion`: with them, a few
samples near the edges, whose left-out residuals are extrapolations, do not decide the mean squares.

The diagonal of R is near one. It is not made one: sigma comes from quantiles, R from mean squares,
and to scale R by outputs would turn its span out of that of the Jacobian. The geometric mean of the
diagonal over y and outputs is at least one, as few residuals do not show the largest errors, for
which the quantiles of `bars.sizes` allow. All is multiplied by n / (n - 2), the mean of a new
square over the mean square of n normal residuals.

Chi-squared of a residual varies more than that of normal errors: errors differ in size from y to y,
beyond what the error bars and h say, and those beside the span have few directions of their own.
``scatter`` is the deviation of the logarithm of each part's sum of squares, beyond that of normal
errors. Within the span, as many independent coordinates are counted as they amount to.

Errors along the Jacobian are larger than R says, which is right for all directions together.
`shifts` measures by how much: see there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.special

from surrogates.model.covariance import Correlation
from surrogates.types import Array

from .dispersion import Dispersion, fit, none
from .shifts import Jacobians, along

_MOST = 64  # directions
_VARIES = 1e-8  # least singular value of the prediction that counts, relative to the largest
_LEAST = 1e-10  # of the variance of an output that is its own
_UNKNOWN = 1e-9  # of c: `surrogates.training.scaling` may leave out components below it
_FEWEST = 5  # residuals
_FOLDS = 10
_SOME = 0.01  # of the least own variance: from here on, sizes beside the span are measured
_ROUNDS = 2  # of variances and sizes: with the sizes, the variances change


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What is known of the samples of residuals beside these.

    Attributes:
        x: Their places, (n, n_in), as `Correlation.sizes` takes them.
        own: The column of ``prediction`` that is the sample's own, (n,); -1 for none.
        jacobians: Returns the Jacobians at some of them, in units of the residuals.
        left: What it leaves of its own samples' targets, in units of z, (n_out, n_points).
        share: The part of the squares of errors that z has. Members' differences have the rest:
            they are known at new y, but not at samples that members have seen.
    """

    x: Array
    own: npt.NDArray[np.int64]
    jacobians: Jacobians
    left: Array
    share: float = 1.0

    def of(self, rows: npt.NDArray[np.bool_], told: npt.NDArray[np.bool_]) -> Seen:
        """Return those of some samples and outputs."""
        numbers = np.flatnonzero(rows)
        return replace(
            self,
            x=self.x[rows],
            own=self.own[rows],
            jacobians=lambda some: self.jacobians(numbers[some])[:, told],
            left=self.left[told],
        )


def correlation(z: Array, prediction: Array, seen: Seen | None = None) -> Correlation:
    """Find the covariance of errors in units of their deviations.

    Args:
        z: Residuals of held-out samples over their deviations, (n, n_out); NaN does not count.
        prediction: Predictions less their mean over sigma, (n_out, n_points); NaN for outputs
            without error.
        seen: What is known of the samples; if None, errors have the same size everywhere.
    """
    n_out = len(prediction)
    told = np.isfinite(prediction).all(axis=1) & (np.isfinite(z).sum(axis=0) >= _FEWEST)
    if not told.any():
        return Correlation(
            loadings=np.zeros((n_out, 0)), unique=np.ones(n_out), scatter=np.zeros(2)
        )
    z = z[:, told]
    rows = np.isfinite(z).any(axis=1)
    found = _found(z[rows], prediction[told], None if seen is None else seen.of(rows, told))
    loadings, unique = np.zeros((n_out, found.loadings.shape[1])), np.ones(n_out)
    loadings[told], unique[told] = found.loadings, found.unique
    return replace(found, loadings=loadings, unique=unique)


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


def _found(z: Array, prediction: Array, seen: Seen | None) -> Correlation:
    """Return the correlation for residuals (n, m) and predictions (m, n_points)."""
    n, m = z.shape
    fold, bases = _bases(n, prediction, None if seen is None else seen.own)
    V, scores, beside = bases[-1], *_coordinates(z, fold, bases)
    free = np.maximum(1 - (V * V).sum(axis=1), 1 / m)  # of a variance that is an output's own
    whole = V.shape[1] == m  # nothing is beside the span
    unknown = 0.0 if whole else _UNKNOWN**2 * float(np.mean(prediction**2))
    x = np.empty((n, 0)) if seen is None else seen.x
    size, own_size = _size(x, scores), none(n, x.shape[1]) if whole else _size(x, beside)
    scores = scores * np.exp(-size.left_out / 2)[:, None]
    beside = beside * np.exp(-own_size.left_out / 2)[:, None]
    variances, own = _mean_squares(scores), _mean_squares(beside) / free
    least = np.maximum(_LEAST * (own + V**2 @ variances), max(unknown, 1e-300))
    if float(np.median(own / least)) < _SOME:  # it is not known, nor its size
        own_size, beside = none(n, x.shape[1]), np.full_like(beside, np.nan)
    if seen is not None and not whole and seen.left.size:
        own = np.maximum(own, ((seen.left - V @ (V.T @ seen.left)) ** 2).mean(axis=1) / free)
    own = np.maximum(own, least)
    shared = np.maximum(variances - own @ V**2, 0.0)
    kept = shared > 0  # in other directions, what is beside them is enough
    units = np.maximum(variances, 1e-300)
    most = _independent(scores / np.sqrt(units))
    scatter = [_scatter(scores**2 / units, most), _scatter(beside**2 / (own * free), math.inf)]
    mean = [float(np.log(np.exp(part.left_out).mean())) for part in (size, own_size)]
    diagonal = math.exp(mean[0]) * (V**2 @ shared) + math.exp(mean[1]) * own
    known = max(n, _FEWEST)
    level = math.log(known / (known - 2)) + max(0.0, -float(np.log(diagonal).mean()))
    factor = 1.0
    if seen is not None:
        roots = np.sqrt(shared)
        factor = along(
            z / math.sqrt(seen.share),
            seen.jacobians,
            [(fold == i, B * roots[: B.shape[1]]) for i, B in enumerate(bases)],
            own,
            np.exp(np.stack([size.left_out, own_size.left_out])),
        )
    return Correlation(
        loadings=V[:, kept] * np.sqrt(shared[kept]) * math.exp(level / 2),
        unique=own * math.exp(level),
        scatter=np.array(scatter),
        sizes=np.zeros((2, 0, 0)) if seen is None else np.stack([size.matrix, own_size.matrix]),
        ends=np.stack([size.ends, own_size.ends], axis=1),
        along=np.array(max(1.0, factor * math.exp(-level))),
    )


def _coordinates(z: Array, fold: npt.NDArray[np.int64], bases: list[Array]) -> tuple[Array, Array]:
    """Return coordinates of residuals (n, m) in the directions of their folds, and what is left.

    They are (n, k) with the k directions of all, and (n, m).
    """
    scores, beside = np.full((len(z), bases[-1].shape[1]), np.nan), np.full(z.shape, np.nan)
    for number, basis in enumerate(bases):
        rows = fold == number
        scores[rows, : basis.shape[1]] = found = _scores(z[rows], basis)
        left = z[rows] - np.nan_to_num(found) @ basis.T
        beside[rows] = np.where(np.isfinite(z[rows]), left, np.nan)
    return scores, beside


def _bases(
    n: int, prediction: Array, own: npt.NDArray[np.int64] | None
) -> tuple[npt.NDArray[np.int64], list[Array]]:
    """Return the fold of each of n residuals, and the directions for each; those of all last.

    Args:
        n: Number of residuals.
        prediction: (m, n_points).
        own: See `Seen`.
    """
    V = directions(prediction)
    if own is None or (own < 0).all():
        return np.zeros(n, np.int64), [V]
    number = min(_FOLDS, n)
    fold = np.random.default_rng(0).permutation(n) % number
    bases = []
    for i in range(number):
        there = np.ones(prediction.shape[1], bool)
        there[own[(fold == i) & (own >= 0)]] = False
        others = prediction[:, there]
        bases.append(directions(others - others.mean(axis=1, keepdims=True))[:, : V.shape[1]])
    return fold, [*bases, V]


def _size(x: Array, values: Array) -> Dispersion:
    """Return the sizes of the rows of values, (n, k)."""
    size = none(*x.shape)
    if x.shape[1] == 0 or values.shape[1] == 0:
        return size
    for _ in range(_ROUNDS):
        units = _mean_squares(values * np.exp(-size.left_out / 2)[:, None])
        squares = values[:, units > 0] ** 2 / units[units > 0]
        number = np.isfinite(squares).sum(axis=1)
        means = np.nansum(squares, axis=1) / np.maximum(number, 1)
        if not (means > 0).all():
            return none(*x.shape)
        size = fit(x, np.log(means))
    return size


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
    log s has larger s than any sample where small squares make its deviation large. Squares whose
    mean is below one, since the variance is the least that counts, vary by what they are beside it.

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
    grown = 1 + float(means.var(ddof=1)) / max(float(means.mean()), 1.0) ** 2
    of_moments = math.log(max(grown / (1 + 2 * float((1 / freedom).mean())), 1.0))
    return math.sqrt(max(0.0, min(of_logs, of_moments)))
