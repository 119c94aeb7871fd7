"""The words of ``kernels.c.in``: functions about centres, and polynomials, for the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from surrogates.types import Array

from ..blocks import Polynomial, Radial
from ..reference import Reference
from .low_rank import factored
from .tables import PANEL, padded, panels, table

_KAPPA = {"gaussian": 0, "matern52": 1}


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


def _widened(W: Array) -> Array:
    """Append columns of zeros, to whole panels."""
    return np.pad(W, ((0, 0), (0, -W.shape[1] % PANEL)))
