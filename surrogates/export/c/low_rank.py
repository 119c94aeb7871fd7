"""Weights of low rank as two factors.

Kriging of many outputs has such weights: outputs vary in few directions. Then W = outer inner, to
the rounding of W itself, takes a fraction of the operations, and fits in a cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surrogates.types import Array

from ..blocks import Radial
from ..reference import Reference

_ROUNDING = 2e-15  # of a row of W, over its length; its entries have 1e-16 each
_GAIN = 0.7  # largest share of the operations for which factors pay


@dataclass(frozen=True, kw_only=True, eq=False)
class LowRank:
    """Weights W of features of which the first are radial: W = [outer inner, rest].

    Attributes:
        inner: (rank, n_first).
        W: outer and the rest, (n_out, rank + width - n_first).
    """

    inner: Array
    W: Array


def low_rank(r: Reference) -> LowRank | None:
    """Return the weights of a surrogate in that form, if it has it and is the better for it."""
    kinds = [isinstance(block, Radial) for block in r.blocks]
    if sorted(kinds, reverse=True) != kinds or not kinds[0]:
        return None
    first = sum(block.width for block in r.blocks if isinstance(block, Radial))
    if (factors := factored(r.W[:, :first])) is None:
        return None
    outer, inner = factors
    return LowRank(inner=inner, W=np.concatenate([outer, r.W[:, first:]], axis=1))


def factored(W: Array) -> tuple[Array, Array] | None:
    """Return outer and inner of W = outer inner, if that is so to rounding and takes less work.

    The rows are scaled to one length, as outputs have units of their own. The singular values end
    in a gap; what they leave is taken from the residual in more digits, once for each factor.

    Args:
        W: Weights, (m, n).

    Returns:
        The factors, (m, k) and (k, n), or None.
    """
    lengths = np.linalg.norm(W, axis=1, keepdims=True)
    rows = W / np.where(lengths > 0, lengths, 1.0)
    U, s, V = np.linalg.svd(rows, full_matrices=False)
    k = int((s > 4 * np.finfo(float).eps * s[0]).sum())
    if k == 0 or k * sum(W.shape) > _GAIN * W.size:
        return None
    outer, inner = U[:, :k], s[:k, None] * V[:k]
    inner = inner + np.linalg.lstsq(outer, _residual(rows, outer, inner), rcond=None)[0]
    outer = outer + np.linalg.lstsq(inner.T, _residual(rows, outer, inner).T, rcond=None)[0].T
    if np.linalg.norm(_residual(rows, outer, inner), axis=1).max() > _ROUNDING:
        return None
    return lengths * outer, inner


def _residual(W: Array, outer: Array, inner: Array) -> Array:
    """Return W - outer inner, summed in more digits where the machine has them."""
    more = outer.astype(np.longdouble) @ inner.astype(np.longdouble)
    return np.asarray(W.astype(np.longdouble) - more, np.float64)
