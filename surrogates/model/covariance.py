r"""Covariances of a surrogate's errors, all outputs together.

    Cov(y) = g(y) S (h(y) L L^T + h'(y) diag(unique)) S + B(y) B(y)^T,    S = diag(sigma)

in the notation of `surrogates.model.parts.ErrorBars`: g(y) is the maximum of its formula, and the
columns of B(y) are sqrt(spread weights_m) (c_m(y) - c(y)), one for each member. So the covariance
grows with `predict_std`, also outside the domain. L and ``unique`` come from held-out residuals:
see `surrogates.training.selection.correlation`. So do h and h', which say where in the domain
errors are larger than elsewhere, and the variances differ from the squares of `predict_std` by
these factors: log h is a quadratic polynomial in y, between two ends. For an output that is an
exponential, the covariance is multiplied by c, as the deviation is.

Errors differ in size from y to y beyond this too. Both parts have a factor of their own for this,

    error(y) = sqrt(s) F x + sqrt(u) diag(unique part)^(1/2) x',    x, x' normal,    E[s] = E[u] = 1

with log s and log u normal, of the standard deviations ``scatter``. Cov(y) is the covariance over
all s and u. Chi-squared of n outputs therefore has the mean n, and spreads more than sqrt(2 n). The
likelihood has another distribution of s, see `surrogates.model.likelihood`.

This module needs numpy alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from surrogates import given
from surrogates.errors import InputError, check
from surrogates.types import Array

from .low_rank import LowRank

CORRELATION = ("loadings", "unique", "scatter")
"""Names of the arrays of a `Correlation` in files."""

SIZES = ("sizes", "ends", "along")
"""Names of its arrays that files of older versions do not have."""

_BATCH = 2**22  # entries of factors that an engine returns at once


@dataclass(frozen=True, kw_only=True, eq=False)
class Correlation:
    """The covariance of errors in units of sigma, loadings loadings^T + diag(unique).

    Its diagonal is about one.

    Attributes:
        loadings: L, (n_out, k), k >= 0.
        unique: The variance of each output that no other shares, (n_out,), > 0.
        scatter: Standard deviations of log s and log u, (2,), >= 0.
        sizes: Symmetric matrices M of log h and log h', (2, n_in + 1, n_in + 1): log h is
            (1, x)^T M (1, x), with x the point of the training box next to y, less the centre and
            over the unit of the `Domain`. (2, 0, 0) stands for h = h' = 1.
        ends: Lower ends of log h and log h', and upper ones, (2, 2).
        along: Variance of the errors along the Jacobian over what the covariance says there, >= 1:
            see `surrogates.model.likelihood`.
    """

    loadings: Array
    unique: Array
    scatter: Array
    sizes: Array = field(default_factory=lambda: np.zeros((2, 0, 0)))
    ends: Array = field(default_factory=lambda: np.zeros((2, 2)))
    along: Array = field(default_factory=lambda: np.array(1.0))

    def size(self, x: Array) -> Array:
        """Return h and h' at x, (n, n_in) to (n, 2)."""
        if self.sizes.shape[1] == 0:
            return np.ones((len(x), 2))
        return np.exp(np.clip(self._logs(x), *self.ends))

    def size_slopes(self, x: Array) -> Array:
        """Return the derivatives of log h and log h' by x, (n, 2, n_in)."""
        if self.sizes.shape[1] == 0:
            return np.zeros((len(x), 2, x.shape[1]))
        logs = self._logs(x)
        between = (self.ends[0] < logs) & (logs < self.ends[1])
        slopes = 2 * np.swapaxes(_with_one(x) @ self.sizes[:, :, 1:], 0, 1)
        return np.where(between[:, :, None], slopes, 0.0)

    def _logs(self, x: Array) -> Array:
        a = _with_one(x)
        return np.asarray(((a @ self.sizes) * a).sum(axis=-1).T)

    def selected(self, rows: npt.NDArray[np.int64]) -> Correlation:
        """Return the correlation of some outputs."""
        return replace(self, loadings=self.loadings[rows], unique=self.unique[rows])

    def fault(self, n_in: int, n_out: int) -> str:
        """Return what is wrong with it, or an empty text."""
        if self.loadings.shape[:1] != (n_out,) or self.unique.shape != (n_out,):
            return f"loadings of shape {self.loadings.shape} for {n_out} outputs"
        if not (self.unique > 0).all():
            return "a unique variance that is not > 0"
        if not (self.scatter.shape == (2,) and (self.scatter >= 0).all()):
            return f"the scatter {self.scatter}"
        shapes = [(2, n, n) for n in (0, n_in + 1)]
        if not (self.sizes.shape in shapes and self.ends.shape == (2, 2)):
            return f"sizes of shape {self.sizes.shape} for {n_in} inputs"
        if not (self.ends[0] <= self.ends[1]).all():
            return f"ends of the sizes that are out of order, {self.ends.tolist()}"
        fits = self.along.shape == () and self.along >= 1
        return "" if fits else f"{self.along} along the Jacobian"


@dataclass(frozen=True, kw_only=True, eq=False)
class Covariance:
    """The covariance of errors, factor factor^T + diag(diagonal), of one y or of a batch.

    No method forms a matrix of n_out^2 numbers but `dense`.

    Attributes:
        mean: The prediction, (..., n_out), units of c.
        factor: (..., n_out, k), units of c.
        diagonal: (..., n_out), >= 0, units of c squared.
        scatter: Standard deviations of log s and log u; see the module's text. 0 for normal errors.
    """

    mean: Array
    factor: Array
    diagonal: Array
    scatter: Array = field(default_factory=lambda: np.zeros(2))

    @functools.cached_property
    def _factorised(self) -> LowRank:
        return LowRank(self.diagonal, self.factor)

    @property
    def variance(self) -> Array:
        """The variances, (..., n_out): the diagonal of `dense`."""
        return np.asarray(self.diagonal + (self.factor**2).sum(axis=-1))

    def dense(self) -> Array:
        """Return the matrix, (..., n_out, n_out)."""
        found: Array = self.factor @ np.swapaxes(self.factor, -1, -2)
        index = range(found.shape[-1])
        found[..., index, index] += self.diagonal
        return found

    def solve(self, r: npt.ArrayLike) -> Array:
        """Return the inverse times r, (..., n_out)."""
        return self._factorised.solve(self._residual(r))

    def logdet(self) -> Array:
        """Return the logarithm of the determinant, (...)."""
        return self._factorised.logdet()

    def chi2(self, r: npt.ArrayLike) -> Array:
        """Return chi-squared, r^T Cov^-1 r, of residuals r (..., n_out) such as data - mean: (...).

        Its expected value is n_out. Its standard deviation is `chi2_std`.
        """
        return self._factorised.chi2(self._residual(r))

    @property
    def chi2_std(self) -> float:
        """The standard deviation of `chi2`: sqrt(2 n_out) for normal errors, more with scatter."""
        n, k = self.factor.shape[-2:]
        k = min(k, n)
        parts = zip((k, n - k), np.exp(self.scatter**2).tolist(), strict=True)
        return math.sqrt(sum((m * m + 2 * m) * growth - m * m for m, growth in parts))

    def sample(self, n: int, *, seed: int | np.random.Generator = 0) -> Array:
        """Draw observables: the mean with errors, (..., n, n_out).

        Args:
            n: Number of draws, independent of each other.
            seed: Seed, or a generator of numpy.
        """
        check(
            isinstance(n, int | np.integer) and n >= 0,
            f"expected a number of draws >= 0; got {n!r}",
        )
        rng = np.random.default_rng(seed)
        lead = (*self.mean.shape[:-1], n)
        sizes = np.exp(self.scatter * rng.standard_normal((*lead, 2)) / 2 - self.scatter**2 / 4)
        x = rng.standard_normal((*lead, self.factor.shape[-1]))
        errors = sizes[..., :1] * (x @ np.swapaxes(self.factor, -1, -2))
        own = np.sqrt(self.diagonal)[..., None, :]
        errors += sizes[..., 1:] * own * rng.standard_normal((*lead, own.shape[-1]))
        return np.asarray(self.mean[..., None, :] + errors)

    def __add__(self, noise: Any) -> Covariance:
        """Add independent noise, and return the covariance of the sum, as of normal errors.

        Args:
            noise: Its variance, a number; variances, (n_out,); a covariance matrix,
                (n_out, n_out); or a `Covariance`.
        """
        d, G = noise_of(noise, self.mean.shape[-1], "variance")
        G = np.broadcast_to(G, (*self.factor.shape[:-1], G.shape[-1]))
        return replace(
            self,
            factor=np.concatenate([self.factor, G], axis=-1),
            diagonal=self.diagonal + d,
            scatter=np.zeros(2),
        )

    __radd__ = __add__
    __array_ufunc__: ClassVar[None] = None  # numbers and arrays of numpy leave the sum to this

    def _residual(self, r: npt.ArrayLike) -> Array:
        found = given.unnamed(r, "residuals")
        n = self.mean.shape[-1]
        if found.ndim == 0 or found.shape[-1] != n:
            raise InputError(f"expected residuals of shape (..., {n}); got {found.shape}")
        return found


def covariance(mean: Array, y: Array, engine: Any, correlation: Correlation) -> Covariance:
    """Return the covariance that an engine computes for y (..., n_in).

    Args:
        mean: The prediction, (..., n_out).
        y: The parameters, checked.
        engine: A `surrogates.model.engines.Engine`.
        correlation: Its correlation.
    """
    if y.ndim == 1:
        factor, diagonal = engine.predict_cov(y)
    else:
        rows = y.reshape(-1, y.shape[-1])
        most = max(1, _BATCH // max(1, correlation.loadings.size))
        parts = [engine.predict_cov(rows[i : i + most]) for i in range(0, len(rows), most)]
        n_out, lead = mean.shape[-1], y.shape[:-1]
        if not parts:
            parts = [(np.empty((0, n_out, correlation.loadings.shape[1])), np.empty((0, n_out)))]
        factor, diagonal = (np.concatenate(part) for part in zip(*parts, strict=True))
        factor = factor.reshape(*lead, n_out, factor.shape[-1])
        diagonal = diagonal.reshape(*lead, n_out)
    return Covariance(mean=mean, factor=factor, diagonal=diagonal, scatter=correlation.scatter)


def drawn(
    found: Covariance, n: int, seed: int | np.random.Generator, logs: npt.NDArray[np.bool_]
) -> Array:
    """Draw observables. Those that ``logs`` marks, (n_out,), have errors of their logarithms."""
    draws = found.sample(n, seed=seed)
    if logs.any():
        mean = np.broadcast_to(found.mean[..., None, :], draws.shape)[..., logs]
        draws[..., logs] = mean * np.exp(draws[..., logs] / mean - 1)
    return draws


def noise_of(noise: Any, n: int, of: str) -> tuple[Array, Array]:
    """Return noise as a diagonal of variances, (n,), and a factor (n, k).

    Args:
        noise: A number or n numbers, variances or standard deviations as ``of`` says; a matrix
            (n, n) of covariances; or a `Covariance` of one sample.
        n: Number of outputs.
        of: ``variance`` or ``std``.

    Raises:
        InputError: If it is none of these, or the matrix is not positive definite.
    """
    if isinstance(noise, Covariance):
        check(
            noise.diagonal.shape == (n,),
            f"expected a covariance of {n} outputs; got one of shape {noise.diagonal.shape}",
        )
        return noise.diagonal, noise.factor
    found = given.unnamed(noise, "noise")
    check(
        found.shape in ((), (n,), (n, n)),
        f"expected noise as one {of}, {n} of them, or a covariance matrix ({n}, {n}); got the "
        f"shape {found.shape}",
    )
    check(bool(np.isfinite(found).all()), "expected finite numbers in noise")
    if found.ndim == 2 and n > 1:
        return _of_matrix(found)
    check(bool((found >= 0).all()), f"expected each {of} of the noise >= 0")
    variance = found.ravel() ** 2 if of == "std" and found.ndim < 2 else found.ravel()
    return np.array(np.broadcast_to(variance, (n,))), np.empty((n, 0))


def _of_matrix(N: Array) -> tuple[Array, Array]:
    """Return a positive definite matrix as its least eigenvalue, and a factor of what is above."""
    size = float(np.abs(N).max())
    check(
        bool(np.abs(N - N.T).max() <= 1e-12 * size),
        "expected a symmetric covariance matrix of the noise",
    )
    if not np.count_nonzero(N - np.diag(np.diagonal(N))):
        check(bool((np.diagonal(N) > 0).all()), "expected each variance of the noise > 0")
        return np.diagonal(N).copy(), np.empty((len(N), 0))
    values, vectors = np.linalg.eigh(N)
    check(
        values[0] > 1e-13 * values[-1],
        "expected a positive definite covariance matrix of the noise; its least eigenvalue is "
        f"{values[0]:.3g}, and its largest {values[-1]:.3g}",
    )
    above = values - values[0]
    kept = above > 1e-15 * values[-1]
    return np.full(len(N), values[0]), vectors[:, kept] * np.sqrt(above[kept])


def arrays_of(correlation: Correlation | None) -> Mapping[str, Any]:
    """Return a correlation as arrays, by their names in files; none if there is none."""
    if correlation is None:
        return {}
    return {name: getattr(correlation, name) for name in CORRELATION + SIZES}


def _with_one(x: Array) -> Array:
    return np.concatenate([np.ones((len(x), 1)), x], axis=1)
