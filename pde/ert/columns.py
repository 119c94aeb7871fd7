r"""Many electrodes at a time: a basis of their potentials, and block conjugate gradients for it.

**Basis.** The potentials U of n_e electrodes at the nodes of a body away from them are smooth, and
nearly depend on each other: U = Q R with r columns Q. The change of the transfer resistances is
dT = -U^T X U with X = D - D A^-1 D. For a conductive body 0 <= X <= D, so with the norm of |D|, the
error of dT_ij is at most (2 t + t^2) |u_i| |u_j| if each column of U is met with a relative error
t. And |u_i|^2 bounds the change of the electrode's own potential. For a resistive body X can exceed
|D|, by the contrast at most. The columns are found by a Cholesky decomposition with pivots of the
Gram matrix: each new pivot is the electrode that is met worst (Harbrecht, Peters and Schneider
2012, "On the low-rank approximation by the pivoted Cholesky decomposition").

**Iteration.** A0^-1 scaled by S = (diagonal of A0 / diagonal of A)^(1/2) preconditions A = A0 + D,
as `dcr.linearised` explains, and all columns share the space that is searched (O'Leary 1980, "The
block conjugate gradient algorithm and related methods"). A column leaves the search when it is
accurate enough, later columns, which count less, earlier. Errors e of the solutions change dT by
e^T A e: the square of the tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from surrogates.types import Array

from ..dcr.linearised import independent_inverse
from .background import Inside


@dataclass(frozen=True, kw_only=True)
class Basis:
    """Potentials U = Q R of electrodes.

    Attributes:
        Q: Basis, orthonormal in the norm of the compression, (n, r).
        R: Coefficients of each electrode, (r, n_e).
        error: Largest relative error of an electrode in that norm.
    """

    Q: Array
    R: Array
    error: float


def compress(U: Array, W: Any, tolerance: float) -> Basis:
    """Find a basis of the rows of U.

    Args:
        U: Potentials of the electrodes at the nodes, (n_e, n).
        W: Matrix of the norm, sparse, (n, n); positive semidefinite.
        tolerance: Largest relative error of an electrode; at least about 1e-7, as the norms are
            computed from squares.
    """
    there = np.diff(W.indptr) > 0
    some = U[:, there]
    G = some @ (W[there][:, there] @ some.T)
    size = np.sqrt(G.diagonal())
    scale = np.where(size > 0, 1 / np.where(size > 0, size, 1), 0)
    G *= scale[:, None] * scale
    rest = G.diagonal().copy()
    L = np.zeros((len(G), len(G)))
    pivots: list[int] = []
    while len(pivots) < len(G) and rest.max() > tolerance**2:
        k, r = int(rest.argmax()), len(pivots)
        L[:, r] = (G[:, k] - L[:, :r] @ L[k, :r]) / np.sqrt(rest[k])
        rest -= L[:, r] ** 2
        pivots.append(k)
        rest[pivots] = 0.0
    r = len(pivots)
    chosen = scale[pivots, None] * U[pivots]
    Q = scipy.linalg.solve_triangular(L[pivots, :r], chosen, lower=True).T
    error = float(np.sqrt(max(rest.max(initial=0.0), 0.0)))
    return Basis(Q=np.ascontiguousarray(Q), R=L[:, :r].T * size, error=error)


@dataclass(frozen=True, kw_only=True)
class Solved:
    """Solutions of A x = b for the columns of B.

    Attributes:
        X: Solutions, (n, r).
        R: Residuals of the recurrence, (n, r).
        iterations: Iterations of the block.
        columns: Columns that were iterated, summed over the iterations.
        residual: Relative residual of q + D A0^-1 q = b with q = A0 x, all columns together.
        failure: Why the iteration did not converge; empty if it did.
    """

    X: Array
    R: Array
    iterations: int
    columns: int
    residual: float
    failure: str


class Equation:
    """A sample's equation (A0 + D) x = b between the nodes of a box."""

    def __init__(self, A0: Any, D: Any, inside: Inside, faces: Array) -> None:
        """Find the scaling.

        Args:
            A0: The background between the nodes, sparse, (n, n); right but at the faces.
            D: Change of the stiffness matrix, sparse, (n, n).
            inside: A0^-1 for right-hand sides that are 0 outside of the box.
            faces: Whether a node is at a face of the box inside of the ground, (n,) bool.
        """
        self.D, self._A0, self._inside = D, A0, inside
        d0 = A0.diagonal()
        self._scale = np.where(faces, 1.0, np.sqrt(d0 / (d0 + D.diagonal())))[:, None]

    def solve(self, B: Array, rtol: Array, max_iterations: int) -> Solved:
        """Solve for all columns of B. Collective.

        Args:
            B: Right-hand sides, (n, r).
            rtol: Tolerance of each column relative to x = 0, in the norm of the preconditioner,
                (r,).
            max_iterations: Largest number of iterations.
        """
        R, X = B.copy(), np.zeros_like(B)
        Z, A_Z = self._precondition(R)
        limit = rtol**2 * np.einsum("ir,ir->r", R, Z)
        P, A_P = Z, A_Z
        active = np.arange(B.shape[1])[limit > 0]
        count = columns = 0
        while len(active) and count < max_iterations:
            inverse = independent_inverse(P.T @ A_P)
            step = inverse @ (P.T @ R)
            X += P @ step
            R -= A_P @ step
            Z, A_Z = self._precondition(np.ascontiguousarray(R[:, active]))
            size = np.einsum("ir,ir->r", R[:, active], Z)
            step = inverse @ (A_P.T @ Z)
            P, A_P = Z - P @ step, A_Z - A_P @ step
            count, columns = count + 1, columns + P.shape[1]
            keep = ~(size <= limit[active])
            active, P, A_P = active[keep], P[:, keep], A_P[:, keep]
            if not np.isfinite(size).all():
                break
        why = ""
        if len(active):
            why = "diverged_max_it" if np.isfinite(R).all() else "diverged_nanorinf"
        return Solved(
            X=X,
            R=R,
            iterations=count,
            columns=columns,
            residual=self._residual(B, X, R, rtol),
            failure=f"linear solve: {why} after {count} iterations" if why else "",
        )

    def _residual(self, B: Array, X: Array, R: Array, rtol: Array) -> float:
        """Check the solutions without the recurrence; columns with looser tolerances count less."""
        if not B.size:
            return 0.0
        q = B - R - self.D @ X
        weight = rtol.min() / rtol
        defect = np.linalg.norm((B - q - self.D @ self._inside.solve(q)) * weight)
        norm = np.linalg.norm(B * weight)
        return float(defect / norm) if norm > 0 else 0.0

    def _precondition(self, R: Array) -> tuple[Array, Array]:
        """Return the preconditioned R, and the product of the matrix with it, (n, r) each."""
        b = R * self._scale
        W = self._inside.solve(b)
        Z = self._scale * W
        b += self._A0 @ (Z - W)
        b += self.D @ Z
        return Z, b
