r"""The covariance of a surrogate's error between two points, and what a new sample takes off it.

Of one output, up to the size of its errors, the error has the covariance k(y, y'). There are three:

    kriging     kappa and finer structure, less what the samples have told (Rasmussen and Williams
                2006, "Gaussian processes for machine learning", equation 2.26)
    features    k = z(y)^T G z(y'), the posterior covariance of W; z are the features and one
    unknown     a Matern kernel over the domain, less what known samples have told

A sample at x takes k(y, x) k(x, y') / (k(x, x) + noise) off k(y, y'): this rank-one update needs no
value of c. The first two are in the file, as the rows of leverage of
`surrogates.model.parts.ErrorBars`. The third is for rows of zeros, of features that fit every
sample or whose leverage does not tell the size of errors, and for a user's own features.

Of kriging, negative rows are sqrt(scale) L^-1 with K + nugget I = L L^T. Scale and nugget follow
from them, as K follows from the centres, the samples. The covariance is computed anew, and not as
that of the error bars:

  * A PDE's solution has no noise. Its nugget, often a tenth of the variance where samples are few,
    is structure that is finer than these: here a Matern kernel as long as the distance of samples
    from the next one. A nugget of noise would be taken to leave no use in samples there.
  * The trend counts as known. Coefficients that are not would draw samples to the corners, as
    designs for polynomials do, and leave the inner of the domain to chance.
  * Lengths are at most 1.5 sqrt(n_in) standard deviations of the inputs. The trend may leave a
    kernel nothing to do along an input, as long as few samples show more: a design that followed it
    would never find out.
  * A nugget of `_NUGGET` is added: with the least one of training, 1e-10, what is left of kappa is
    as small as its rounding.

Of features, the leverages of N samples in the fit of r coefficients have the sum r, so k is
noise (Z^T Z)^-1 with noise = (1 - floor) (N - r) / r, if left-out samples have the mean leverage
1 - floor.

This module needs numpy and scipy alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.spatial

from surrogates.errors import InputError
from surrogates.types import Array

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

_LENGTH = 1.5  # largest length in standard deviations of an input, times a root of their number
_SHARE = 0.2  # least share of an input in products
_PIECE = 2000  # points at once
_NUGGET = 1e-8

Rows = npt.NDArray[np.int64]


class Posterior(Protocol):
    """The covariance of errors between points, up to their size."""

    @property
    def noise(self) -> float:
        """Variance of a sample beside k: what a sample of its own leaves at its place."""

    @property
    def fixed(self) -> float:
        """Variance of the error beside k that is the same everywhere."""

    def points(self, X: Array) -> Points:
        """Prepare points, (n, n_in)."""

    def scaled(self, Y: Array) -> Array:
        """Return points in coordinates in which errors vary alike in all directions."""


class Points(Protocol):
    """Points between which the covariance is wanted."""

    def covariance(self, rows: Rows) -> Array:
        """Return k between some of them and all: (n_rows, n)."""

    def variance(self) -> Array:
        """Return k(y, y), (n,)."""


def posterior(surrogate: LoadedSurrogate, seen: Array) -> Posterior:
    """Return the covariance of a surrogate's error.

    Args:
        surrogate: The surrogate.
        seen: Its training samples as far as the caller knows them, (n, n_in). They matter only if
            its file says nothing on the shape of its error.
    """
    from surrogates.export.constants import constants

    try:
        found = constants(surrogate)
    except InputError:  # features of the user's own module
        return _Unknown.of(surrogate, seen)
    if not np.any(found.leverage) or not np.isfinite(found.floor):
        return _Unknown.of(surrogate, seen)
    minus = found.signs < 0
    if not minus.any():
        return _Features.of(found)
    return _Kriging.of(found, minus)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Features:
    """The covariance of the linear layer's error, for features of least squares."""

    constants: Any
    noise: float
    fixed: float

    @classmethod
    def of(cls, constants: Any) -> _Features:
        """Take it from the arrays of a surrogate, a `surrogates.export.reference.Reference`."""
        rank = len(constants.leverage)
        n = max(int(constants.metadata["training"].get("samples") or 2 * rank), rank + 1)
        noise = max(1 - float(constants.floor), 1e-3) * (n - rank) / rank
        return cls(constants=constants, noise=noise, fixed=max(float(constants.floor), 0.0))

    def points(self, X: Array) -> _Products:
        """Evaluate the rows of leverage at points."""
        X = self.constants.seen(X)
        rows, constant = self.constants.leverage, self.constants.constant
        pieces = np.array_split(X, max(1, len(X) // _PIECE))
        T = [rows @ _features(self.constants, x).T + constant[:, None] for x in pieces]
        return _Products(plus=np.concatenate(T, axis=1), size=len(X))

    def scaled(self, Y: Array) -> Array:
        """Return points in units of the domain."""
        X = self.constants.seen(Y) - self.constants.centre
        return np.asarray(X / self.constants.unit)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Kriging:
    """The covariance of kriging, kappa and finer structure less what the samples have told.

    Attributes:
        constants: The arrays of the surrogate.
        kernel: The block of functions about the samples.
        fine: Variance of the finer structure.
        length: Its length, in units of the kernel's.
        factor: L, with L L^T the covariance of the samples, (n, n).
        fixed: See `Posterior`.
        noise: See `Posterior`.
    """

    constants: Any
    kernel: Any
    fine: float
    length: float
    factor: Array
    fixed: float
    noise: float = _NUGGET

    @classmethod
    def of(cls, constants: Any, minus: npt.NDArray[np.bool_]) -> _Kriging:
        """Take it from the arrays of a surrogate; ``minus`` marks its negative rows."""
        M = constants.leverage[minus]
        start = int(np.flatnonzero(M.any(axis=0))[0])
        widths = np.cumsum([0, *(block.width for block in constants.blocks)])
        kernel = constants.blocks[int(np.flatnonzero(widths == start)[0])]
        K = _kappa(kernel, kernel.centres, kernel.centres)
        scale, nugget = _scale(M[:, start : start + kernel.width], K)
        kernel = _bounded(kernel, constants)
        K = _kappa(kernel, kernel.centres, kernel.centres)
        near = scipy.spatial.cKDTree(kernel.centres).query(kernel.centres, 2)[0][:, -1]
        length = float(np.median(near[near > 0])) if (near > 0).any() else 1.0
        K = K + nugget * _matern(kernel.centres / length, kernel.centres / length)
        return cls(
            constants=constants,
            kernel=kernel,
            fine=nugget,
            length=length,
            factor=np.linalg.cholesky(K + _NUGGET * np.eye(len(K))),
            fixed=max(float(constants.floor) / scale - 1 - nugget, 0.0),
        )

    def points(self, X: Array) -> _Products:
        """Evaluate at points what the samples take off."""
        x = self.scaled(X)
        k = self._covariance(self.kernel.centres, x)
        return _Products(
            minus=scipy.linalg.solve_triangular(self.factor, k, lower=True),
            kappa=lambda rows: self._covariance(x[rows], x),
            before=1 + self.fine,
            size=len(x),
        )

    def scaled(self, Y: Array) -> Array:
        """Return points in units of the kernel's lengths."""
        X = self.constants.seen(Y) - self.kernel.shift
        return np.asarray(X * self.kernel.factor)

    def _covariance(self, A: Array, B: Array) -> Array:
        k = _kappa(self.kernel, A, B)
        if self.fine:
            k = k + self.fine * _matern(A / self.length, B / self.length)
        return k


@dataclass(frozen=True, kw_only=True, eq=False)
class _Unknown:
    """A Matern kernel about the samples that are known, if any."""

    box: Any
    length: Array
    seen: Array
    factor: Array
    noise: float = 1e-4
    fixed: float = 0.0

    @classmethod
    def of(cls, surrogate: LoadedSurrogate, seen: Array) -> _Unknown:
        """Take the longest lengths."""
        box = surrogate.engine.box
        length = _longest(box.unit, box.normals)
        bare = cls(box=box, length=length, seen=seen[:0], factor=np.empty((0, 0)))
        seen = bare.scaled(seen)
        K = _matern(seen, seen) + bare.noise * np.eye(len(seen))
        return dataclasses.replace(bare, seen=seen, factor=np.linalg.cholesky(K))

    def points(self, X: Array) -> _Products:
        """Evaluate what the samples take off at points."""
        X, minus = self.scaled(X), None
        if len(self.seen):
            k = _matern(self.seen, X)
            minus = scipy.linalg.solve_triangular(self.factor, k, lower=True)
        return _Products(
            minus=minus, kappa=lambda rows: _matern(X[rows], X), before=1.0, size=len(X)
        )

    def scaled(self, Y: Array) -> Array:
        """Return points in units of the length."""
        logs = self.box.log_inputs
        X = np.where(logs, np.log(np.where(logs, Y, 1.0)), Y)
        return np.asarray((X - self.box.centre) / self.length)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Products:
    """Points with k = kappa - minus^T minus + plus^T plus, matrices of a column for each point.

    Attributes:
        plus: (any, n); None for none.
        minus: (any, n); None for none.
        kappa: Returns kappa between points of these rows and all; None for 0.
        before: kappa of a point with itself.
        size: n.
    """

    size: int

    plus: Array | None = None
    minus: Array | None = None
    kappa: Callable[[Rows], Array] | None = None
    before: float = 0.0

    def covariance(self, rows: Rows) -> Array:
        """Return k between some of the points and all, (n_rows, n)."""
        found: Any = 0.0 if self.kappa is None else self.kappa(rows)
        if self.minus is not None:
            found = found - self.minus[:, rows].T @ self.minus
        if self.plus is not None:
            found = found + self.plus[:, rows].T @ self.plus
        return np.asarray(found)

    def variance(self) -> Array:
        """Return k(y, y), (n,)."""
        found: Any = self.before
        if self.minus is not None:
            found = found - np.einsum("ij,ij->j", self.minus, self.minus)
        if self.plus is not None:
            found = found + np.einsum("ij,ij->j", self.plus, self.plus)
        return np.maximum(found, np.zeros(self.size))


def _features(constants: Any, X: Array) -> Array:
    """Return all features at points as the surrogate sees them, (n, width)."""
    return np.concatenate([block.features(X) for block in constants.blocks], axis=1)


def _bounded(kernel: Any, constants: Any) -> Any:
    """Return a kernel whose lengths are at most those of `_Unknown`, as its shares are at least."""
    longest = _longest(constants.unit, constants.normals)
    factor = np.where(kernel.factor > 0, np.hypot(kernel.factor, 1 / longest), 0.0)
    ratio = factor / np.where(kernel.factor > 0, kernel.factor, 1.0)
    kernel = dataclasses.replace(kernel, factor=factor, centres=kernel.centres * ratio)
    if hasattr(kernel, "shares"):
        return dataclasses.replace(kernel, shares=np.maximum(kernel.shares, _SHARE))
    return kernel


def _longest(unit: Array, normals: Array) -> Array:
    """Return the lengths of a function that samples show, but which does not vary much, (n_in,)."""
    return np.asarray(_LENGTH * math.sqrt(max(1, len(unit) - len(normals))) * unit)


def _kappa(kernel: Any, A: Array, B: Array) -> Array:
    """Evaluate a kernel between points in units of its lengths, (n_a, n_b)."""
    one = np.ones(A.shape[1])
    about = dataclasses.replace(kernel, centres=A, shift=0 * one, factor=one)
    return np.asarray(about.features(B).T)


def _scale(M: Array, K: Array) -> tuple[float, float]:
    """Return scale and nugget from M = sqrt(scale) L^-1 with L L^T = K + nugget I."""
    half = scipy.linalg.solve_triangular(M, np.eye(len(M)), lower=True)
    G = half @ half.T  # (K + nugget I) / scale
    apart = ~np.eye(len(K), dtype=bool)
    square = float((G[apart] ** 2).sum())
    if square < 1e-12 * float((np.diagonal(G) ** 2).sum()):  # no kernel reaches the next one
        return 1 / float(np.diagonal(G).mean()), 0.0
    scale = float((K * G)[apart].sum()) / square
    return scale, max(0.0, scale * float(np.diagonal(G).mean()) - 1)


def _matern(A: Array, B: Array) -> Array:
    """Evaluate the Matern kernel of smoothness 5/2 at distances in units of its length."""
    s = math.sqrt(5) * scipy.spatial.distance.cdist(A, B)
    return np.asarray((1 + s + s * s / 3) * np.exp(-s))
