r"""Many right-hand sides of one sample: block conjugate gradients with the scaled background.

With the background's inverse A0^-1 alone the condition number is up to the contrast, and the
eigenvalues lie all over, as m takes all values between those of background and body. With
w = m^(1/2) u,

    -div(m grad u) = m^(1/2) (-Laplace w + p w),   p = m^(-1/2) Laplace m^(1/2)

so S A0^-1 S with S = (m0 / m)^(1/2) differs from A^-1, A = A0 + D, by the term in p alone, which is
of lower order: most eigenvalues are near 1 (Concus and Golub 1973, "Use of fast direct methods for
the efficient numerical solution of nonseparable elliptic equations"). With a body 100 times as
conductive, it takes a quarter of the iterations, and a further digit takes one or two.

Here S^2 is the ratio of the diagonals of A0 and A, and 1 at the faces of the body's box. So
residuals remain 0 outside of the box: with w = A0^-1 b, b = S r and z = S w,

    A0 z = b + A0 (z - w)

where z - w is 0 but inside the box. The pseudo-inverse G of A0 that is at hand gives solutions of
mean 0, and currents b whose sum is 0; with S, sums do not remain 0. But any solution of
(G^-1 + D) d = b between the nodes of the box has A0 d = b - D d, whose sum is 0, and so is one of
A d = b. With t the mean of z - w over the earth, z - t belongs to b + A0 (z - w) + D z in it. The
transpose of this step, applied to r, keeps the preconditioner symmetric.

All right-hand sides share the space that is searched (O'Leary 1980, "The block conjugate gradient
algorithm and related methods"). Directions of search that depend on the others are left out (Ji and
Li 2017, "A breakdown-free block conjugate gradient method").

c itself is solved for without the scaling, and so keeps the digits of earlier releases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from surrogates.types import Array

_DEPENDENT = 1e-12
"""Eigenvalue of the directions' Gram matrix, scaled to a diagonal of 1, below which they depend."""


@dataclass(frozen=True, kw_only=True)
class Solved:
    """Solutions for several right-hand sides.

    Attributes:
        d: Solutions at the nodes of the box, (r, n1, n2, n3).
        q: A0 d there, as d.
        iterations: Iterations of each right-hand side.
        residual: Largest relative residual of q + D A0^-1 q = b.
        failure: Why the iteration did not converge; empty if it did.
    """

    d: Array
    q: Array
    iterations: int
    residual: float
    failure: str


class Linearised:
    """A sample's equation in the body's box, prepared for many right-hand sides."""

    def __init__(
        self,
        axes: list[Array],
        m0: float,
        volume: float,
        D: Any,
        inverse: Callable[[Array], Array],
    ) -> None:
        """Find the scaling.

        Args:
            axes: Coordinates of the box's nodes along x1, x2 and x3.
            m0: Conductivity of the background.
            volume: Volume of the whole mesh.
            D: Change of the stiffness matrix, sparse, (n, n).
            inverse: A0^-1 in the box, for right-hand sides that are 0 elsewhere: (r, n1, n2, n3).
        """
        self._D, self._inverse = D, inverse
        (K1, M1), (K2, M2), (K3, M3) = (line(axis) for axis in axes)
        self._A0 = (m0 * K1, m0 * M1), (K2, M2), (K3, M3)
        k, m = zip(*((K.diagonal(), M.diagonal()) for K, M in self._A0), strict=True)
        terms = ((k[0], m[1], m[2]), (m[0], k[1], m[2]), (m[0], m[1], k[2]))
        diagonal = sum(np.einsum("i,j,k->ijk", *term) for term in terms)
        inside = (slice(1, -1),) * 3
        self._scale = np.ones(diagonal.shape)
        ratio = diagonal / (diagonal + D.diagonal().reshape(diagonal.shape))
        self._scale[inside] = np.sqrt(ratio[inside])
        volumes = np.einsum("i,j,k->ijk", M1.sum(axis=0), M2.sum(axis=0), M3.sum(axis=0))
        self._mean = (self._scale - 1) * volumes / volume  # of z - w, from w

    def solve(self, B: Array, rtol: float, max_iterations: int) -> Solved:
        """Solve A d = b for each b.

        Args:
            B: Right-hand sides, (r, n1, n2, n3).
            rtol: Tolerance relative to d = 0, in the norm of the preconditioner, of each one.
            max_iterations: Largest number of iterations.
        """
        flat, shape = (len(B), -1), B.shape
        R, X = B.reshape(flat).copy(), np.zeros((len(B), B[0].size))
        Z, A_Z = self._precondition(R, shape)
        size = first = np.einsum("ri,ri->r", R, Z)
        P, A_P, count = Z, A_Z, 0
        while (size > rtol**2 * first).any() and count < max_iterations:
            inverse = independent_inverse(P @ A_P.T)
            step = inverse @ (P @ R.T)
            X += step.T @ P
            R -= step.T @ A_P
            Z, A_Z = self._precondition(R, shape)
            size = np.einsum("ri,ri->r", R, Z)
            step = inverse @ (A_P @ Z.T)
            P, A_P = Z - step.T @ P, A_Z - step.T @ A_P
            count += 1
        why = "" if np.isfinite(size).all() else "diverged_nanorinf"
        if not why and (size > rtol**2 * first).any():
            why = "diverged_max_it"
        B = B.reshape(flat)
        q = B - R - self._change(X)
        defect = np.linalg.norm(
            B - q - self._change(self._inverse(q.reshape(shape)).reshape(flat)), axis=1
        )
        norm = np.linalg.norm(B, axis=1)
        return Solved(
            d=X.reshape(shape),
            q=q.reshape(shape),
            iterations=count,
            residual=float(np.max(defect / np.where(norm > 0, norm, 1), initial=0.0)),
            failure=f"linear solve: {why} after {count} iterations" if why else "",
        )

    def _precondition(self, R: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Return the preconditioned R, and the product of the matrix with it, each (r, n)."""
        b = R.reshape(shape) * self._scale
        b -= R.sum(axis=1)[:, None, None, None] * self._mean
        W = self._inverse(b)
        Z = self._scale * W
        b += self._background(Z - W)
        Z -= np.tensordot(W, self._mean, axes=3)[:, None, None, None]
        Z = Z.reshape(len(R), -1)
        return Z, b.reshape(len(R), -1) + self._change(Z)

    def _change(self, X: Array) -> Array:
        return np.asarray((self._D @ X.T).T)

    def _background(self, X: Array) -> Array:
        """Apply A0 in the box to vectors (r, n1, n2, n3) that are 0 at its faces."""
        (K1, M1), (K2, M2), (K3, M3) = self._A0
        by_M, by_K = X @ M3, X @ K3
        mass = M2 @ by_M
        stiff = K2 @ by_M
        stiff += M2 @ by_K
        rest = (len(X), X.shape[1], -1)
        found = K1 @ mass.reshape(rest) + M1 @ stiff.reshape(rest)
        return np.asarray(found.reshape(X.shape))


def line(x: Array) -> tuple[Array, Array]:
    """Assemble stiffness and mass matrix of linear elements on an axis: (n, n) each."""
    h = np.diff(x)
    n = len(x)
    K, M = np.zeros((n, n)), np.zeros((n, n))
    for i, j, stiff, mass in ((0, 0, 1, 2), (1, 1, 1, 2), (0, 1, -1, 1), (1, 0, -1, 1)):
        at = np.arange(n - 1) + i, np.arange(n - 1) + j
        K[at] += stiff / h
        M[at] += mass * h / 6
    return K, M


def independent_inverse(G: Array) -> Array:
    """Invert a Gram matrix on the span of its independent directions, (r, r)."""
    size = G.diagonal()
    scale = np.where(size > 0, 1 / np.sqrt(np.where(size > 0, size, 1)), 0)
    if not np.isfinite(G).all():
        return np.full_like(G, np.nan)
    values, vectors = np.linalg.eigh(scale[:, None] * (G + G.T) / 2 * scale)
    keep = values > _DEPENDENT
    vectors = scale[:, None] * vectors[:, keep]
    return np.asarray((vectors / values[keep]) @ vectors.T)
