"""Matrices with a row for each sample, kept in factors, and their thin SVD."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..communicator import ALONE, Communicator
from ..features import CHUNK

Rows = slice | Tensor
"""Some samples of this process, as a slice or as numbers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tall:
    """A matrix of (N + m) rows and n_out columns in factors.

    The upper N rows are the sum of left @ right over ``parts``, less C / sqrt(N) if ``C`` is given.

    Attributes:
        parts: Pairs of left (n, k), the rows of this process, and right (k, n_out).
        last: The lower m rows, (m, n_out), the same on all processes.
        n_samples: N, of all processes.
        comm: The processes.
        C: Targets of this process's rows, (n, n_out), or None.
    """

    parts: tuple[tuple[Tensor, Tensor], ...]
    last: Tensor
    n_samples: int
    comm: Communicator = field(default=ALONE)
    C: Tensor | None = None

    def __matmul__(self, X: Tensor) -> Tensor:
        """Multiply this process's upper rows by (n_out, k): (n, k)."""
        terms = [(left, right @ X) for left, right in self.parts]
        if self.C is not None:
            terms.append((self.C, X / -math.sqrt(self.n_samples)))
        return _sum_of_products(terms)

    def transposed_times(self, P: Tensor) -> Tensor:
        """Multiply the transposed upper rows by all processes' (n, k): (n_out, k)."""
        lefts = [left for left, _ in self.parts] + ([] if self.C is None else [self.C])
        products = self.comm.total(*(left.T @ P for left in lefts))
        rights = [right.T for _, right in self.parts]
        total = _sum_of_products(list(zip(rights, products, strict=False)))
        if self.C is not None:
            total -= products[-1] / math.sqrt(self.n_samples)
        return total

    def __sub__(self, other: Tall) -> Tall:
        """Subtract a matrix with the same C or none."""
        assert other.C is None or other.C is self.C
        negative = tuple((left, -right) for left, right in other.parts)
        C = self.C if other.C is None else None
        return replace(self, parts=self.parts + negative, last=self.last - other.last, C=C)

    def rows(self, rows: Rows) -> Tensor:
        """Form some of this process's upper rows."""
        total = _sum_of_products([(left[rows], right) for left, right in self.parts])
        if self.C is not None:
            total.sub_(self.C[rows], alpha=1 / math.sqrt(self.n_samples))
        return total

    def squared_norm(self) -> float:
        """Sum the squares of all entries."""
        n = len(self.parts[0][0])
        squares = [self.rows(slice(i, i + CHUNK)).square().sum() for i in range(0, n, CHUNK)]
        upper = self.comm.total(torch.stack(squares).sum())[0]
        return float(upper + self.last.square().sum())


def _sum_of_products(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    total = torch.mm(*pairs[0])
    for left, right in pairs[1:]:
        total.addmm_(left, right)
    return total


def tall_svd(Z: Tensor, factor: float, comm: Communicator = ALONE) -> tuple[Tensor, Tensor, Tensor]:
    """Return U, s and V of factor * Z, (n, m), U for this process's rows.

    The QR factors of chunks and processes are stacked and factored again (TSQR; Demmel et al. 2012,
    "Communication-optimal parallel and sequential QR and LU factorizations"). With fewer samples
    than columns, s is padded with zeros to length m, and U with columns of zeros.
    """
    n, m = Z.shape
    pieces = -(-n // CHUNK)
    U = torch.zeros_like(Z)
    factors = []
    for z, u in zip(Z.tensor_split(pieces), U.tensor_split(pieces), strict=True):
        q, r = torch.linalg.qr(factor * z)
        u[:, : q.shape[1]] = q
        factors.append(torch.cat([r, r.new_zeros((m - len(r), m))]))
    Q, R = torch.linalg.qr(torch.cat(factors))
    left, s, Vh = torch.linalg.svd(comm.stacked(R), full_matrices=False)
    blocks = Q @ left[m * comm.rank : m * (comm.rank + 1)]
    for u, block in zip(U.tensor_split(pieces), blocks.split(m), strict=True):
        u.copy_(u @ block)
    return U, s, Vh.T
