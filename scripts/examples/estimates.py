"""Statistics of samples with their errors: moments, distributions and Sobol indices.

Each statistic has influence values, the change that each sample makes to it (Hampel, "The influence
curve and its role in robust estimation", 1974). They yield its standard error, and that of the
difference of two statistics of the same samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from SALib.analyze import sobol
from scipy import stats
from tqdm import tqdm

from surrogates.types import Array

DEGREE = 2  # of the regression's polynomials in each x_k
_BINS = 1024
_HALF_RANGE = 8.0  # of the histograms, in standard deviations


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A statistic of n independent samples.

    Attributes:
        value: The statistic, of any shape.
        influence: n times the change that each sample makes to it, (n, *shape); their mean is 0.
    """

    value: Array
    influence: Array

    @property
    def error(self) -> Array:
        """Return the standard error, in the statistic's shape."""
        n = len(self.influence)
        return np.asarray(np.sqrt((self.influence**2).sum(axis=0) / (n * (n - 1))))

    def __sub__(self, other: Estimate) -> Estimate:
        """Subtract a statistic of the same samples."""
        return Estimate(value=self.value - other.value, influence=self.influence - other.influence)

    def sum(self) -> Estimate:
        """Sum over the first axis of the value."""
        return Estimate(value=self.value.sum(axis=0), influence=self.influence.sum(axis=1))

    def column(self, j: int) -> Estimate:
        """Take one column of the value, its last axis."""
        return Estimate(value=self.value[..., j], influence=self.influence[..., j])


def mean(C: Array) -> Estimate:
    """Estimate the mean of each column of C, (n, n_c)."""
    value = C.mean(axis=0)
    return Estimate(value=value, influence=C - value)


def std(C: Array) -> Estimate:
    """Estimate the standard deviation of each column of C, (n, n_c), none of them constant."""
    value, square = C.std(axis=0, ddof=1), (C - C.mean(axis=0)) ** 2
    return Estimate(value=value, influence=(square - square.mean(axis=0)) / (2 * value))


def first_order(X: Array, C: Array, degree: int = DEGREE) -> Estimate:
    r"""Estimate first-order Sobol indices from any independent samples, by regression.

    With orthonormal Legendre polynomials P_d on [0, 1], the least-squares fit
    c = a_0 + sum_kd a_kd P_d(x_k) + rest gives

        S_k = sum_d a_kd^2 / V,   V = sum_kd a_kd^2 + var rest

    This V is far more accurate than the variance of the samples, as it uses the exact variances and
    correlations of the x_k instead of the samples'. The bias of a_kd^2, the variance of a_kd, is
    subtracted; the part of E[c | x_k] outside the polynomials counts as rest. The influence values
    are those of leaving a sample out.

    Args:
        X: Independent variables, uniform in [0, 1], (n, n_x) with n > 1 + degree n_x.
        C: Observables, (n, n_c), none of them constant.
        degree: Degree of the polynomials, >= 1.

    Returns:
        S, (n_x, n_c).
    """
    n, n_x = X.shape
    polynomials = [
        np.sqrt(2 * d + 1) * np.polynomial.legendre.Legendre.basis(d, domain=[0, 1])(X)
        for d in range(1, degree + 1)
    ]
    Q, R = np.linalg.qr(np.column_stack([np.ones(n), *polynomials]))
    a = np.linalg.solve(R, Q.T @ C)
    rest, leverage = C - Q @ (Q.T @ C), (Q**2).sum(axis=1, keepdims=True)
    inverse = n * np.linalg.solve(R, Q.T).T  # influence of a residual on a, (n, 1 + degree n_x)
    left_out = rest / (1 - leverage)
    explained, change = np.zeros((n_x, C.shape[1])), np.zeros((n, n_x, C.shape[1]))
    for d in range(degree):
        columns = slice(1 + d * n_x, 1 + (d + 1) * n_x)
        of_a = inverse[:, columns, None] * left_out[:, None]
        explained += a[columns] ** 2 - (of_a**2).sum(axis=0) / (n * (n - 1))
        change += 2 * a[columns] * of_a
    unexplained = rest**2 / (1 - leverage)
    V = explained.sum(axis=0) + unexplained.mean(axis=0)
    change_of_V = change.sum(axis=1) + unexplained - unexplained.mean(axis=0)
    S = explained / V
    return Estimate(value=S, influence=(change - S * change_of_V[:, None]) / V)


def probability(z: Array, estimate: Estimate, draws: int = 5000) -> float:
    """Return the probability of a largest |z| at least this large by chance.

    Args:
        z: Differences of an estimate's entries from their expected values, in standard errors.
        estimate: The estimate; its influence values determine the correlation of these errors.
        draws: Number of draws of the multiplier bootstrap, whose seed is fixed.
    """
    n, error = len(estimate.influence), estimate.error.ravel()
    varies = error > 0
    scaled = estimate.influence.reshape(n, -1)[:, varies] / (n * error[varies])
    multipliers = np.random.default_rng(0).standard_normal((draws, n))
    chance = np.abs(multipliers @ scaled).max(axis=1)
    return float((1 + (chance >= np.abs(z).max()).sum()) / (1 + draws))


class Distribution:
    """Moments and histograms of observables, from samples that are added in pieces.

    Attributes:
        n: Samples so far.
        edges: Edges of the bins, (n_bins + 1, n_c).
        counts: Samples in each bin, (n_bins, n_c); the outer bins count all beyond them too.
    """

    def __init__(self, like: Array) -> None:
        """Place the bins around the mean of a smaller sample, (n, n_c), with no constant column."""
        self.n = 0
        self._centre, self._scale = like.mean(axis=0), like.std(axis=0)
        grid = np.linspace(-_HALF_RANGE, _HALF_RANGE, _BINS + 1)
        self.edges = self._centre + grid[:, None] * self._scale
        self.counts = np.zeros((_BINS, like.shape[1]), dtype=np.int64)
        self._powers = np.zeros((4, like.shape[1]))

    def add(self, C: Array) -> None:
        """Add samples, (n, n_c)."""
        Z = (C - self._centre) / self._scale
        squares = Z * Z
        pairs = ((Z, np.ones_like(Z)), (Z, Z), (squares, Z), (squares, squares))
        self._powers += [np.einsum("ij,ij->j", a, b) for a, b in pairs]
        self.n += len(C)
        n_c = C.shape[1]
        bins = ((Z + _HALF_RANGE) * (_BINS / (2 * _HALF_RANGE))).clip(0, _BINS - 1).astype(np.intp)
        flat = (bins * n_c + np.arange(n_c)).ravel()
        self.counts += np.bincount(flat, minlength=_BINS * n_c).reshape(_BINS, n_c)

    def mean(self) -> tuple[Array, Array]:
        """Return the means and their standard errors, (n_c,) each."""
        m1, m2 = self._powers[:2] / self.n
        return self._centre + self._scale * m1, self._scale * np.sqrt((m2 - m1**2) / self.n)

    def std(self) -> tuple[Array, Array]:
        """Return the standard deviations and their standard errors, (n_c,) each."""
        m1, m2, m3, m4 = self._powers / self.n
        variance = m2 - m1**2
        fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
        error = np.sqrt((fourth - variance**2) / (4 * variance * self.n))
        return self._scale * np.sqrt(variance), self._scale * error

    def quantiles(self, shares: Sequence[float]) -> Array:
        """Return quantiles, interpolated within the bins, (n_shares, n_c)."""
        below = np.vstack([np.zeros(self.counts.shape[1]), self.counts.cumsum(axis=0)]) / self.n
        columns = zip(below.T, self.edges.T, strict=True)
        return np.array([np.interp(shares, b, e) for b, e in columns]).T


def sobol_indices(
    function: Callable[[Array], Array], n_x: int, n_base: int, scramblings: int, seed: int
) -> tuple[Estimate, Estimate]:
    """Estimate Sobol indices of a function of independent variables, uniform in [0, 1].

    Points are Saltelli's: A and B from a scrambled Sobol sequence, and for each k a copy of A with
    column k of B. SALib's own sampler makes the same points one number at a time, which takes
    longer than the surrogate's calls. Its bootstrap assumes independent points, which overstates
    the errors by a factor of three to four here; these errors come from independent scramblings.

    Args:
        function: (n, n_x) to (n, n_c), none of its columns constant.
        n_x: Number of variables.
        n_base: Rows of A, a power of two; the function is called with n_base (n_x + 2) rows for
            each scrambling.
        scramblings: Number of scramblings.
        seed: Seed of the scramblings.

    Returns:
        First-order and total indices, (n_x, n_c) each, with the scramblings as samples.
    """
    # An array of names, as pandas 3 takes no list; as few as possible of the unused resamples.
    problem = {"num_vars": n_x, "names": np.array([f"x{k}" for k in range(n_x)])}
    how = {"calc_second_order": False, "num_resamples": 2, "seed": 1}
    first, total = [], []
    for i in tqdm(range(scramblings), unit=" scramblings", disable=None, leave=False):
        sequence = stats.qmc.Sobol(2 * n_x, seed=np.random.default_rng([seed, 2, i]))
        A, B = np.split(sequence.random(n_base), 2, axis=1)
        rows = [A, *(np.where(np.arange(n_x) == k, B, A) for k in range(n_x)), B]
        C = np.stack([function(X) for X in rows], axis=1).reshape(n_base * (n_x + 2), -1)
        found = [sobol.analyze(problem, c, **how) for c in C.T]
        first.append([one["S1"] for one in found])
        total.append([one["ST"] for one in found])
    return mean(np.array(first).swapaxes(1, 2)), mean(np.array(total).swapaxes(1, 2))
