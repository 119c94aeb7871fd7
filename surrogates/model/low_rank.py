r"""Matrices S = diag(d) + F F^T, of a diagonal and a low rank, for batches of them.

With A = I + F^T diag(d)^-1 F, a small matrix,

    S^-1 = diag(d)^-1 - diag(d)^-1 F A^-1 F^T diag(d)^-1,    det S = det A prod_j d_j
    r^T S^-1 r = min_x ||diag(d)^(-1/2) (r - F x)||^2 + ||x||^2

(Woodbury 1950, "Inverting modified matrices"). The minimum has no cancellation: an error in x
enters it in second order. No matrix of n_out^2 numbers is formed.
"""

from __future__ import annotations

import numpy as np

from surrogates.errors import check
from surrogates.types import Array


class LowRank:
    """A factorised S, or a batch of them with leading dimensions.

    Attributes:
        d: (..., m), > 0.
        F: (..., m, k).
    """

    def __init__(self, d: Array, F: Array) -> None:
        """Factorise.

        Raises:
            InputError: If an entry of d is not > 0.
        """
        check_positive(d)
        self.d, self.F = d, F
        self._is_diagonal = F.shape[-1] == 0  # which every method has a short way for
        if self._is_diagonal:
            return
        self._G = F / d[..., None]
        A = np.swapaxes(F, -1, -2) @ self._G
        A[..., range(A.shape[-1]), range(A.shape[-1])] += 1
        L = np.linalg.cholesky(A)
        self._T = np.linalg.inv(L)
        self._log_diagonal = np.log(np.diagonal(L, axis1=-2, axis2=-1))

    def apply(self, r: Array) -> Array:
        """Return S r, for r (..., m)."""
        if self._is_diagonal:
            return np.asarray(self.d * r)
        return np.asarray(self.d * r + _times(self.F, _times(_turned(self.F), r)))

    def solve(self, r: Array) -> Array:
        """Return S^-1 r, for r (..., m), with one step of iterative refinement."""
        if self._is_diagonal:
            return np.asarray(r / self.d)
        a = self._solved(r)
        return np.asarray(a + self._solved(r - self.apply(a)))

    def chi2(self, r: Array) -> Array:
        """Return r^T S^-1 r, for r (..., m): (...)."""
        if self._is_diagonal:
            return np.asarray((r * r / self.d).sum(axis=-1))
        x = self._scores(r)
        left = r - _times(self.F, x)
        return np.asarray((left * left / self.d).sum(axis=-1) + (x * x).sum(axis=-1))

    def logdet(self) -> Array:
        """Return log det S, (...)."""
        found = np.log(self.d).sum(axis=-1)
        if not self._is_diagonal:
            found = found + 2 * self._log_diagonal.sum(axis=-1)
        return np.asarray(found)

    def inverse_diagonal(self) -> Array:
        """Return the diagonal of S^-1, (..., m)."""
        if self._is_diagonal:
            return np.asarray(1 / self.d)
        V = self._G @ _turned(self._T)
        return np.asarray(1 / self.d - (V * V).sum(axis=-1))

    def solve_columns(self, X: Array) -> Array:
        """Return S^-1 X, for columns X (..., m, n), with one step of iterative refinement."""
        if self._is_diagonal:
            return np.asarray(X / self.d[..., None])
        Y = self._solved_columns(X)
        left = X - self.d[..., None] * Y - self.F @ (_turned(self.F) @ Y)
        return np.asarray(Y + self._solved_columns(left))

    def inverse_between(self, J: Array) -> Array:
        """Return J^T S^-1 J, for J (..., m, n): (..., n, n), symmetric."""
        scaled = J / self.d[..., None]
        if self._is_diagonal:
            return np.asarray(_turned(J) @ scaled)
        P = self._T @ (_turned(self._G) @ J)
        return np.asarray(_turned(J) @ scaled - _turned(P) @ P)

    def _scores(self, r: Array) -> Array:
        """Return x of the minimum, A^-1 F^T d^-1 r."""
        return _times(_turned(self._T), _times(self._T, _times(_turned(self._G), r)))

    def _solved_columns(self, X: Array) -> Array:
        inside = _turned(self._T) @ (self._T @ (_turned(self._G) @ X))
        return np.asarray((X - self.F @ inside) / self.d[..., None])

    def _solved(self, r: Array) -> Array:
        return np.asarray((r - _times(self.F, self._scores(r))) / self.d)


def check_positive(d: Array) -> None:
    """Raise an `InputError` if an entry of a diagonal is not > 0."""
    there = bool((d > 0).all())
    check(there, "a covariance without inverse: the variance of an output is 0; add noise")


def _turned(M: Array) -> Array:
    return np.swapaxes(M, -1, -2)


def _times(M: Array, x: Array) -> Array:
    return np.asarray((M @ x[..., None])[..., 0])
