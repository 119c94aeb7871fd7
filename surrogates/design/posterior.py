r"""The covariance of a surrogate's error between two points, and what a new sample takes off it.

Of one output, up to the size of its errors, the error has the covariance k(y, y'). There are three:

    kriging     k = kappa(y, y') less what the samples have told, the trend's part added
                (Rasmussen and Williams 2006, "Gaussian processes for machine learning", equation
                2.42)
    features    k = z(y)^T G z(y'), the posterior covariance of W; z are the features and one
    unknown     a Matern kernel over the domain, less what known samples have told

A sample at x takes k(y, x) k(x, y') / (k(x, x) + noise) off k(y, y'): this rank-one update needs no
value of c. The first two are in the file, as the rows of leverage of
`surrogates.model.parts.ErrorBars`; the third is for features that fit every sample, whose rows are
zero, and for a user's own features.

Of kriging, negative rows are sqrt(scale) L^-1 with K + nugget I = L L^T. Scale and nugget follow
from them, as K follows from the centres, the samples. The covariance is computed anew with a
nugget of at least `_NUGGET`: with the least one of training, 1e-10, what is left of kappa is as
small as its rounding. Of features, the leverages of N samples in the fit of r coefficients have the
sum r, so k is noise (Z^T Z)^-1 with noise = (1 - floor) (N - r) / r, if left-out samples have the
mean leverage 1 - floor.

This module needs numpy and scipy alone.
"""

from __future__ import annotations

import dataclasses
import math
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

_LENGTH = 1.5  # of the Matern kernel, in standard deviations of an input, times a root of n_in
_PIECE = 2000  # points at once
_NUGGET = 1e-8

Rows = npt.NDArray[np.int64]


class Posterior(Protocol):
    """The covariance of errors between points, up to their size."""

    @property
    def noise(self) -> float:
        """Variance of a sample beside k: what a sample of its own leaves at its place."""

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

    @classmethod
    def of(cls, constants: Any) -> _Features:
        """Take it from the arrays of a surrogate, a `surrogates.export.reference.Reference`."""
        rank = int(np.linalg.matrix_rank(constants.leverage))
        n = max(int(constants.metadata["training"].get("samples") or 2 * rank), rank + 1)
        noise = max(1 - float(constants.floor), 1e-3) * (n - rank) / rank
        return cls(constants=constants, noise=noise)

    def points(self, X: Array) -> _Products:
        """Evaluate the rows of leverage at points."""
        X = self.constants.seen(X)
        rows, constant = self.constants.leverage, self.constants.constant
        pieces = np.array_split(X, max(1, len(X) // _PIECE))
        T = [rows @ _features(self.constants, x).T + constant[:, None] for x in pieces]
        return _Products(plus=np.concatenate(T, axis=1))

    def scaled(self, Y: Array) -> Array:
        """Return points in units of the domain."""
        X = self.constants.seen(Y) - self.constants.centre
        return np.asarray(X / self.constants.unit)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Kriging:
    """The covariance of kriging, with a trend.

    Attributes:
        constants: The arrays of the surrogate.
        kernel: The block of functions about the samples.
        trend: Columns of its trend among all features; the constant one beside.
        factor: L, (n, n).
        half: L^-1 H, for the trend H at the samples, (n, q).
        metric: R, with half = Q R, (q, q).
        noise: The nugget.
    """

    constants: Any
    kernel: Any
    trend: Rows
    factor: Array
    half: Array
    metric: Array
    noise: float

    @classmethod
    def of(cls, constants: Any, minus: npt.NDArray[np.bool_]) -> _Kriging:
        """Take it from the arrays of a surrogate; ``minus`` marks its negative rows."""
        M = constants.leverage[minus]
        start = int(np.flatnonzero(M.any(axis=0))[0])
        widths = np.cumsum([0, *(block.width for block in constants.blocks)])
        kernel = constants.blocks[int(np.flatnonzero(widths == start)[0])]
        own = slice(start, start + kernel.width)
        varies = constants.leverage[~minus].any(axis=0)
        varies[own] = False
        K = _about(kernel, kernel.centres).features(_places(kernel))
        nugget = max(_nugget(M[:, own], K), _NUGGET)
        L = np.linalg.cholesky(K + nugget * np.eye(len(K)))
        found = cls(
            constants=constants,
            kernel=kernel,
            trend=np.flatnonzero(varies),
            factor=L,
            half=np.empty((0, 0)),
            metric=np.empty((0, 0)),
            noise=nugget,
        )
        half = scipy.linalg.solve_triangular(L, found._trend(_places(kernel)), lower=True)
        return dataclasses.replace(
            found, half=half, metric=np.asarray(np.linalg.qr(half, mode="r"))
        )

    def points(self, X: Array) -> _Products:
        """Evaluate at points what the samples take off, and what the trend adds."""
        X = self.constants.seen(X)
        k = self.kernel.features(X).T
        minus = scipy.linalg.solve_triangular(self.factor, k, lower=True)
        rest = self._trend(X).T - self.half.T @ minus
        plus = scipy.linalg.solve_triangular(self.metric, rest, trans="T")

        def kappa(rows: Rows) -> Array:
            centres = (X[rows] - self.kernel.shift) * self.kernel.factor
            return np.asarray(_about(self.kernel, centres).features(X).T)

        return _Products(plus=plus, minus=minus, kappa=kappa)

    def scaled(self, Y: Array) -> Array:
        """Return points in units of the kernel's lengths."""
        X = self.constants.seen(Y) - self.kernel.shift
        return np.asarray(X * self.kernel.factor)

    def _trend(self, X: Array) -> Array:
        u = _features(self.constants, X)[:, self.trend]
        return np.concatenate([u, np.ones((len(X), 1))], axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Unknown:
    """A Matern kernel about the samples that are known, if any."""

    box: Any
    length: float
    seen: Array
    factor: Array
    noise: float = 1e-4

    @classmethod
    def of(cls, surrogate: LoadedSurrogate, seen: Array) -> _Unknown:
        """Take a length in which functions that samples show at all do not vary much."""
        box = surrogate.engine.box
        length = _LENGTH * math.sqrt(max(1, surrogate.n_in - len(box.normals)))
        bare = cls(box=box, length=length, seen=seen[:0], factor=np.empty((0, 0)))
        seen = bare.scaled(seen)
        K = _matern(seen, seen) + bare.noise * np.eye(len(seen))
        return dataclasses.replace(bare, seen=seen, factor=np.linalg.cholesky(K))

    def points(self, X: Array) -> _Products:
        """Evaluate what the samples take off at points."""
        X = self.scaled(X)
        minus = scipy.linalg.solve_triangular(self.factor, _matern(self.seen, X), lower=True)
        return _Products(minus=minus, kappa=lambda rows: _matern(X[rows], X))

    def scaled(self, Y: Array) -> Array:
        """Return points in units of the length."""
        logs = self.box.log_inputs
        X = np.where(logs, np.log(np.where(logs, Y, 1.0)), Y)
        return np.asarray((X - self.box.centre) / self.box.unit / self.length)


class _Products:
    """Points with k = kappa - minus^T minus + plus^T plus, matrices of a column for each point."""

    def __init__(self, *, plus: Any = None, minus: Any = None, kappa: Any = None) -> None:
        self._plus, self._minus, self._kappa = plus, minus, kappa

    def covariance(self, rows: Rows) -> Array:
        """Return k between some of the points and all, (n_rows, n)."""
        found: Any = 0.0 if self._kappa is None else self._kappa(rows)
        if self._minus is not None:
            found = found - self._minus[:, rows].T @ self._minus
        if self._plus is not None:
            found = found + self._plus[:, rows].T @ self._plus
        return np.asarray(found)

    def variance(self) -> Array:
        """Return k(y, y), (n,)."""
        found: Any = 0.0 if self._kappa is None else 1.0
        if self._minus is not None:
            found = found - np.einsum("ij,ij->j", self._minus, self._minus)
        if self._plus is not None:
            found = found + np.einsum("ij,ij->j", self._plus, self._plus)
        return np.asarray(np.maximum(found, 0.0))


def _features(constants: Any, X: Array) -> Array:
    """Return all features at points as the surrogate sees them, (n, width)."""
    return np.concatenate([block.features(X) for block in constants.blocks], axis=1)


def _about(kernel: Any, centres: Array) -> Any:
    """Return the kernel's functions about other centres, in units of its lengths."""
    return dataclasses.replace(kernel, centres=centres)


def _places(kernel: Any) -> Array:
    """Return the centres as the surrogate sees points, (n, n_in)."""
    return np.asarray(
        kernel.centres / np.where(kernel.factor > 0, kernel.factor, 1.0) + kernel.shift
    )


def _nugget(M: Array, K: Array) -> float:
    """Return the nugget from M = sqrt(scale) L^-1 with L L^T = K + nugget I."""
    half = scipy.linalg.solve_triangular(M, np.eye(len(M)), lower=True)
    G = half @ half.T  # (K + nugget I) / scale
    apart = ~np.eye(len(K), dtype=bool)
    square = float((G[apart] ** 2).sum())
    if square < 1e-12 * float((np.diagonal(G) ** 2).sum()):  # no kernel reaches the next one
        return 0.0
    scale = float((K * G)[apart].sum()) / square
    return max(0.0, scale * float(np.diagonal(G).mean()) - 1)


def _matern(A: Array, B: Array) -> Array:
    """Evaluate the Matern kernel of smoothness 5/2 at distances in units of its length."""
    s = math.sqrt(5) * scipy.spatial.distance.cdist(A, B)
    return np.asarray((1 + s + s * s / 3) * np.exp(-s))
