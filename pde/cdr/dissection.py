r"""S = A^-1 m by nested dissection into small dense blocks, for many columns on one process.

Lines of nodes between cells divide the square into patches, whose nodes inside are coupled to each
other and to those on the lines near them alone (George 1973, "Nested dissection of a regular finite
element mesh"). With q the nodes inside of a patch, b those near it, and s those on all lines,

    z_q = A_qq^-1 (m_qq w_q + m_qb w_b),   y_s = sum_q (m_bq w_q + m_bb w_b - A_bq z_q),
    x_s = Sigma^-1 y_s,   x_q = z_q - A_qq^-1 A_qb x_b,   Sigma = A_ss - sum_q A_bq A_qq^-1 A_qb

where m_bb is divided over the patches. All factors are dense and small, and are inverted and
multiplied with each other once: S takes three products of matrices for each patch and one for the
lines. A sparse factorisation needs fewer operations, but these run about ten times as fast: MUMPS
takes 25 us a column of the default mesh, and the product with m 9 us; all this takes 11 us.

On one process and a mesh of moderate size; otherwise `linearised.Propagator` serves.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

from surrogates.types import Array

_FASTER = 10.0  # rate of dense products over that of a sparse factorisation's solves
_MOST_BYTES = 16 << 20  # of the blocks: beyond the processor's caches, the products are slow
_MOST_PATCHES = 32  # along a side


class Dissection:
    """S, or its transpose, for columns in an order of nodes of its own.

    The order holds each patch's nodes one after another, with a few empty places so that all
    patches are equally long, and then those of the lines. Products are 0 at empty places, and do
    not depend on what stands there.

    Attributes:
        nodes: The node of each place, (K,); any node at an empty place.
        places: The place of each node, (N,).
        error: Largest relative error of S on random columns.
    """

    def __init__(
        self, A: scipy.sparse.csr_matrix, M: scipy.sparse.csr_matrix, patch: npt.NDArray[np.intp]
    ) -> None:
        """Invert the blocks.

        Args:
            A: The matrix A, (N, N).
            M: The matrix m, (N, N).
            patch: The patch of each node, (N,); -1 on a line.
        """
        lines = np.flatnonzero(patch < 0)
        inside = [np.flatnonzero(patch == q) for q in range(patch.max() + 1)]
        pattern = abs(A) + abs(M)
        near = [np.flatnonzero(np.diff(pattern[q][:, lines].tocsc().indptr)) for q in inside]
        P, e, b = len(inside), max(map(len, inside)), max(map(len, near))
        self._sizes, self._e = (P, e, b, len(lines)), P * e
        self.nodes = np.concatenate([np.zeros(P * e, dtype=np.intp), lines])
        filled = np.concatenate([np.zeros(P * e, bool), np.ones(len(lines), bool)])
        self._near = np.zeros((P, b), dtype=np.intp)
        self._L, self._Q = np.zeros((P, e + b, e + b)), np.zeros((P, b, e))
        sigma, left = A[lines][:, lines].toarray(), M[lines][:, lines].toarray()
        for i, (q, k) in enumerate(zip(inside, near, strict=True)):
            at = i * e + np.arange(len(q))
            self.nodes[at], filled[at] = q, True
            self._near[i, : len(k)] = k
            s, own = lines[k], np.ix_(k, k)
            inverse = np.linalg.inv(A[q][:, q].toarray())
            A_qb, A_bq = A[q][:, s].toarray(), A[s][:, q].toarray()
            z = inverse @ np.hstack([M[q][:, q].toarray(), M[q][:, s].toarray()])
            y = np.hstack([M[s][:, q].toarray(), left[own]]) - A_bq @ z
            left[own] = 0
            local = np.concatenate([np.arange(len(q)), e + np.arange(len(k))])
            self._L[i][np.ix_(local, local)] = np.vstack([z, y]).T
            self._Q[i, : len(k), : len(q)] = -(inverse @ A_qb).T
            sigma[own] -= A_bq @ inverse @ A_qb
        assert not left.any()
        self._inverse = np.linalg.inv(sigma)
        self.places = np.empty(len(patch), dtype=np.intp)
        self.places[self.nodes[filled]] = np.flatnonzero(filled)
        self._shares = _shares(near, b)
        w = np.random.default_rng(0).standard_normal((8, len(patch)))
        x = np.empty((8, len(self.nodes)))
        self.apply(w[:, self.nodes], x, False)
        right = M @ w.T
        self.error = float(abs(A @ x[:, self.places].T - right).max() / abs(right).max())

    def apply(self, right: Array, into: Array, transposed: bool) -> None:
        """Multiply rows by S, or by its transpose.

        Args:
            right: Rows in this order of nodes, (k, K).
            into: The products, (k, K); overwritten.
            transposed: Whether to multiply by the transpose.
        """
        P, e, b, s = self._sizes
        k = len(right)
        inside, lines = (
            right[:, : self._e].reshape(k, P, e).transpose(1, 0, 2),
            right[:, self._e :],
        )
        out = into[:, : self._e].reshape(k, P, e).transpose(1, 0, 2)
        T = np.empty((P, k, e + b))
        T[:, :, :e] = inside
        L = self._L
        if transposed:
            y = self._gathered(self._Q @ inside.transpose(0, 2, 1))
            y += lines.T
            x = (self._inverse.T @ y)[self._near]
            T[:, :, e:] = x.transpose(0, 2, 1)
            np.matmul(T, L[:, :e].transpose(0, 2, 1), out=out)
            into[:, self._e :] = self._gathered(L[:, e:] @ T.transpose(0, 2, 1)).T
        else:
            T[:, :, e:] = lines[:, self._near].transpose(1, 0, 2)
            y = self._gathered(L[:, :, e:].transpose(0, 2, 1) @ T.transpose(0, 2, 1))
            x = self._inverse @ y
            np.matmul(T, L[:, :, :e], out=out)
            out += np.matmul(x[self._near].transpose(0, 2, 1), self._Q)
            into[:, self._e :] = x.T

    def _gathered(self, y: Array) -> Array:
        """Add up the patches' parts (P, b, k) at the lines' nodes: (s, k)."""
        parts = y.reshape(-1, y.shape[2])
        (_, source), *others = self._shares
        total = parts[source]
        for at, source in others:
            total[at] += parts[source]
        return total


def _shares(near: list[npt.NDArray[np.intp]], b: int) -> list[tuple[Any, npt.NDArray[np.intp]]]:
    """List for each node of the lines its first, second, ... part among the patches' parts.

    Returns:
        Pairs of nodes and their parts' indices in (P b,); the first pair has all nodes.
    """
    node = np.concatenate(near)
    part = np.concatenate([i * b + np.arange(len(k)) for i, k in enumerate(near)])
    order = np.argsort(node, kind="stable")
    node, part = node[order], part[order]
    rank = np.arange(len(node)) - np.searchsorted(node, node)
    return [(node[rank == i], part[rank == i]) for i in range(rank.max() + 1)]


def divided(points: Array, cells: tuple[int, int], degree: int, entries: int) -> Any:
    """Divide the unit square into patches such that S takes the fewest operations.

    Args:
        points: All nodes, (N, 2).
        cells: Cells along x1 and x2.
        degree: Degree of the elements.
        entries: Entries of a sparse factorisation and of m.

    Returns:
        The patch of each node, (N,), -1 on a line; None if the sparse factorisation is faster.
    """
    ranges = (range(1, _parts(n, degree) + 1) for n in cells)
    size, numbers = min((_entries(cells, degree, k), k) for k in itertools.product(*ranges))
    if size > min(_FASTER * entries, _MOST_BYTES / 8):
        return None
    on, number = np.zeros(len(points), bool), np.zeros(len(points), dtype=np.intp)
    for x, n, k in zip(points.T, cells, numbers, strict=True):
        edges = np.round(np.arange(1, k) * n / k)
        on |= np.isclose(n * x[:, None], edges, rtol=0, atol=1e-6).any(axis=1)
        number = number * k + np.searchsorted(edges, n * x)
    return np.where(on, -1, number)


def _parts(n: int, degree: int) -> int:
    """Return the largest number of patches along n cells: each has nodes inside of its cells."""
    return min(_MOST_PATCHES, n if degree > 1 else max(1, n // 2))


def _entries(cells: tuple[int, int], degree: int, numbers: tuple[int, ...]) -> int:
    """Return the entries of all blocks, an upper bound."""
    (n1, n2), (k1, k2) = cells, numbers
    e1, e2 = -(-n1 // k1) * degree, -(-n2 // k2) * degree
    s = (k1 - 1) * (n2 * degree + 1) + (k2 - 1) * (n1 * degree + 1) - (k1 - 1) * (k2 - 1)
    e, b = e1 * e2, min(s, 2 * (e1 + e2))
    return k1 * k2 * ((e + b) ** 2 + e * b) + s * s
