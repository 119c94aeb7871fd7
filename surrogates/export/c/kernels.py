"""The words of ``kernels.c.in``: functions about centres, and polynomials, for the engine.

Kriging of many outputs has weights of low rank: outputs vary in few directions. Then W = outer
inner, to the rounding of W itself, takes a fraction of the operations, and fits in a cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from surrogates.types import Array

from ..blocks import Polynomial, Radial
from ..reference import Reference
from .tables import PANEL, padded, panels, table

_KAPPA = {"gaussian": 0, "matern52": 1}
_ROUNDING = 2e-15  # of a row of W, over its length; its entries have 1e-16 each
_GAIN = 0.7  # largest share of the operations for which factors pay


def kernels(r: Reference) -> Mapping[str, object]:
    """Return the words for radial blocks, at least one, and polynomials."""
    ends = np.cumsum([block.width for block in r.blocks])[:-1]
    pairs = list(zip(r.blocks, np.split(r.W, ends, axis=1), strict=True))
    radial = [(block, W) for block, W in pairs if isinstance(block, Radial)]
    others = [(block, W) for block, W in pairs if isinstance(block, Polynomial)]
    W_k = np.concatenate([_widened(W) for _, W in radial], axis=1)
    W_t = np.concatenate([np.zeros((len(r.c_0), 0)), *(W for _, W in others)], axis=1)
    rank, inner = 0, np.zeros((0, W_k.shape[1]))
    if (factors := factored(W_k)) is not None:
        outer, inner = factors
        rank = len(inner) + -len(inner) % PANEL
        inner = np.pad(inner, ((0, rank - len(inner)), (0, 0)))
        W_k = _widened(outer)
    arrays: dict[str, Any] = {
        "zeros": np.zeros(max(rank, PANEL)),
        "inner": panels(inner),
        "W": panels(np.concatenate([W_k, W_t], axis=1)),
        "c_0": padded(r.c_0),
        "log_inputs": r.log_inputs.astype(int),
        "log_outputs": r.log_outputs.astype(int),
    }
    lines = {"blocks": "", "polynomials": ""}
    for i, (block, _) in enumerate(radial):
        names = [f"{name}_{i}" for name in ("shift", "factor", "centres")]
        arrays.update(zip(names, (block.shift, block.factor, panels(block.centres)), strict=True))
        sizes = f"{_KAPPA[block.kernel]}, {-(-block.width // PANEL)}"
        lines["blocks"] += f"    {{{sizes}, {', '.join(names)}}},\n"
    for i, (other, _) in enumerate(others):
        names = [f"{name}_{i}" for name in ("least", "scale", "first", "second")]
        values = (other.shift, other.scale, other.first, other.second)
        arrays.update(zip(names, values, strict=True))
        lines["polynomials"] += f"    {{{len(other.first)}, {', '.join(names)}}},\n"
    return {
        **lines,
        "polynomials": lines["polynomials"] or "    {0, NULL, NULL, NULL, NULL},\n",
        "kernels": sum(block.width + -block.width % PANEL for block, _ in radial),
        "rank": rank,
        "rest": W_t.shape[1],
        "padded_out": len(padded(r.c_0)),
        "n_blocks": len(radial),
        "n_polynomials": len(others),
        "tables": "\n".join(table(name, values) for name, values in arrays.items()),
    }


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


def _widened(W: Array) -> Array:
    """Append columns of zeros, to whole panels."""
    return np.pad(W, ((0, 0), (0, -W.shape[1] % PANEL)))
