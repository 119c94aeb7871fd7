"""A low-rank model of a large symmetric operator: Lanczos with full reorthogonalisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Subspace:
    """A Krylov space of H and g, and H on it.

    Attributes:
        Q: Orthonormal basis, (n, rank); its first vector is g / ||g||.
        H: The projected operator Q^T H Q, (rank, rank), tridiagonal.
        g: The projected vector Q^T g, (rank,).
        residual: ||H s + g|| / ||g|| for the s in the space with Q^T (H s + g) = 0.
    """

    Q: Tensor
    H: Tensor
    g: Tensor
    residual: float

    @property
    def rank(self) -> int:
        """Number of basis vectors, which is the number of products with H."""
        return self.Q.shape[1]


def lanczos(apply: Callable[[Tensor], Tensor], g: Tensor, rank: int, tolerance: float) -> Subspace:
    """Build the Krylov space span(g, H g, H^2 g, ...) of a symmetric positive operator.

    It ends at ``rank`` vectors, or as soon as the space holds a solution of H s = -g to the
    relative residual ``tolerance`` (Golub and Van Loan, "Matrix Computations", section 10.1; the
    residual is the last off-diagonal entry times the last component of s). Each vector is
    orthogonalised against all others, twice: the ranks are small and J^T J is badly conditioned.

    Args:
        apply: Multiplies a vector (n,) by H.
        g: Right-hand side, (n,), not zero.
        rank: Largest number of vectors, >= 1.
        tolerance: Relative residual to stop at, >= 0.

    Raises:
        ValueError: If g is zero or ``rank`` is less than 1.
    """
    size = torch.linalg.vector_norm(g)
    if rank < 1 or not size > 0:
        raise ValueError(f"expected rank >= 1 and g not zero, got {rank} and norm {float(size)}")
    rank = min(rank, len(g))
    Q = g.new_zeros((len(g), rank))
    H = g.new_zeros((rank, rank))
    q = g / size
    residual = 1.0
    k = 0
    while True:
        Q[:, k] = q
        h = apply(q)
        H[k, k] = q @ h
        basis = Q[:, : k + 1]
        for _ in range(2):
            h = h - basis @ (basis.T @ h)
        off = torch.linalg.vector_norm(h)
        k += 1
        residual = float(off) * _last_component(H[:k, :k])
        if k == rank or residual <= tolerance or off <= 1e-14 * H.abs().max():
            break
        H[k, k - 1] = H[k - 1, k] = off
        q = h / off
    projected = g.new_zeros(k)
    projected[0] = size
    return Subspace(Q=Q[:, :k], H=H[:k, :k], g=projected, residual=residual)


def _last_component(H: Tensor) -> float:
    """Return the size of the last component of H^-1 e_1; infinite if H is numerically singular."""
    values, vectors = torch.linalg.eigh(H)
    if not values[0] > 1e-15 * values[-1]:
        return torch.inf
    return float((vectors[-1] * vectors[0] / values).sum().abs())
