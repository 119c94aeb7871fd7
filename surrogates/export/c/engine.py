"""The C source of an engine: a surrogate's functions, and the calls that Python makes of them.

    full.c      the exported source, for error bars, domain and all that has no faster form
    lean.c      the same surrogate with its linear parts joined, for products with the Jacobian
    engine.c    values and Jacobians in lanes of eight numbers, batches, and calls from Python

Networks have a form of their own there, as have functions about centres (`kernels`).

The features of a surrogate of several members have a linear part of each. Their sum is one linear
map. Joined, the demonstration's 315 features are 95. Sums are reordered by that, so results differ
from those of the exported source by rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from surrogates import __version__
from surrogates.types import Array

from ..blocks import Block, Network, Polynomial, Radial
from ..reference import ClassifierReference, Reference
from .kernels import kernels
from .source import texts
from .tables import PANEL, padded, panels, table
from .templates import filled, read

_PHI = {"sigmoid": 0, "softplus": 1, "relu": 2}
_BARS = """        case 5: full_predict_std(y, out); break;
        case 6: full_predict_interval(y, call->q, out, out + N_OUT); break;
"""
_COVARIANCE = """        case 10: {
            double c[N_OUT];
            full_predict_cov(y, c, out, out + N_OUT * N_COV);
            break;
        }
"""
_CLASSES = """        case 8: full_probabilities(y, out); break;
        case 9: ((int64_t *)call->out)[i] = full_predict(y); break;
"""
_EIGHT = """    if (call->method == 0)
        for (; i + 8 <= call->n; i += 8, y += 8 * N_IN, out += 8 * N_OUT)
            fast_forward_8(y, out);
"""


def sources(r: Reference) -> dict[str, str]:
    """Return the files of an engine, by name.

    Args:
        r: The constants of the surrogate.
    """
    source, header = texts("full", r)
    files = {"full.c": source, "full.h": header}
    of_networks = all(_is_linear(block) or isinstance(block, Network) for block in r.blocks)
    of_networks = of_networks and any(isinstance(block, Network) for block in r.blocks)
    of_kernels = all(isinstance(block, Polynomial | Radial) for block in r.blocks)
    of_kernels = of_kernels and any(isinstance(block, Radial) for block in r.blocks)
    fast, kind = of_networks or of_kernels, "full"
    words: dict[str, object] = {"n_in": len(r.lower), "n_out": len(r.c_0), "n_cov": r.n_cov}
    words.update(version=__version__, fast="")
    if of_networks:
        lean, kind = joined_linear(r), "lean"
        files["lean.c"], files["lean.h"] = texts("lean", lean)
        form = filled(read("lanes.c.in"), _lanes(lean))
        words["fast"] = f'#include "lean.h"\n\n{read("vectors.c.in")}\n{form}'
    elif of_kernels:
        words["fast"] = f"{read('vectors.c.in')}\n{filled(read('kernels.c.in'), kernels(r))}"
    of = "fast" if fast else "full"
    words.update(forward=f"{of}_forward", jacobian=f"{of}_jacobian", batch=_EIGHT if fast else "")
    words.update({f"per_sample_{name}": f"{kind}_{name}" for name in ("jvp", "vjp", "hvp")})
    covariance = "" if r.correlation is None else _COVARIANCE
    words["trust"] = _CLASSES if isinstance(r, ClassifierReference) else _BARS + covariance
    return {**files, "engine.c": filled(read("engine.c.in"), words)}


def joined_linear(r: Reference) -> Reference:
    """Return constants of the same c, whose linear blocks are one; they have no error bars."""
    others = [(b, W) for b, W in _with_weights(r) if not _is_linear(b)]
    linear = [(b, W) for b, W in _with_weights(r) if _is_linear(b)]
    blocks, weights, c_0 = [b for b, _ in others], [W for _, W in others], r.c_0
    if linear:
        first = linear[0][0]
        assert isinstance(first, Polynomial)
        total = np.zeros((len(r.c_0), len(r.lower)))
        for block, W in linear:
            assert isinstance(block, Polynomial)
            total += W / block.scale
            c_0 = c_0 + (W / block.scale) @ (first.shift - block.shift)
        blocks.append(replace(first, scale=np.ones_like(first.scale)))
        weights.append(total)
    W = np.concatenate(weights, axis=1)
    return replace(
        r,
        blocks=tuple(blocks),
        W=W,
        c_0=c_0,
        ensemble=replace(r.ensemble, spread=0.0),
        leverage=np.zeros((1, W.shape[1])),
        constant=np.zeros(1),
        signs=np.ones(1),
        correlation=None,
    )


def _is_linear(block: Block) -> bool:
    return isinstance(block, Polynomial) and len(block.first) == 0


def _with_weights(r: Reference) -> list[tuple[Block, Array]]:
    ends = np.cumsum([block.width for block in r.blocks])[:-1]
    return list(zip(r.blocks, np.split(r.W, ends, axis=1), strict=True))


def _lanes(r: Reference) -> Mapping[str, object]:
    """Return the words of ``lanes.c.in`` for networks and at most one linear block after them."""
    nets = [(b, W) for b, W in _with_weights(r) if isinstance(b, Network)]
    linear = [(b, W) for b, W in _with_weights(r) if isinstance(b, Polynomial)]
    n_in, n_out = len(r.lower), len(r.c_0)
    K_in = np.concatenate([_rows(net.K_in) for net, _ in nets])
    WA = np.concatenate([_rows(W.T).T for _, W in nets] + [W for _, W in linear], axis=1)
    arrays: dict[str, Any] = {
        "zeros": np.zeros(PANEL * -(-max(n_out, len(K_in)) // PANEL)),
        "K_in": panels(K_in),
        "K_rows": _rows(K_in.T).T.ravel(),
        "b_in": np.concatenate([padded(net.b_in) for net, _ in nets]),
        "WA": panels(WA),
        "c_0": padded(r.c_0),
        "A_rows": _rows(linear[0][1].T).T.ravel()
        if linear
        else np.zeros(PANEL * -(-n_in // PANEL)),
        "shift": linear[0][0].shift if linear else np.zeros(1),
        "log_inputs": _rows(r.log_inputs.astype(int)),
        "log_outputs": r.log_outputs.astype(int),
    }
    lines, kept, widest, shapes = "", 0, 0, []
    for m, (net, _) in enumerate(nets):
        steps, stages, width = net.A.shape[:3]
        size = width + -width % PANEL
        A = [panels(_rows(_rows(M).T).T) for M in net.A.reshape(-1, width, width)]
        arrays[f"A_{m}"] = np.concatenate([*A, np.zeros(0)])
        arrays[f"b_{m}"] = np.concatenate(
            [*(padded(b) for b in net.b.reshape(-1, width)), np.zeros(0)]
        )
        arrays[f"lengths_{m}"], arrays[f"weights_{m}"] = net.lengths, net.weights
        shapes.append((_PHI[net.phi], size, steps, stages))
        sizes = f"{', '.join(map(str, shapes[-1]))}, {float(net.carry)!r}"
        lines += f"    {{{sizes}, A_{m}, b_{m}, lengths_{m}, weights_{m}}},\n"
        kept, widest = kept + (1 + steps * stages) * size, max(widest, size)
    tables = "\n".join(table(name, values) for name, values in arrays.items())
    return {
        "any_log_inputs": int(r.log_inputs.any()),
        "any_log_outputs": int(r.log_outputs.any()),
        "alike": int(len(set(shapes)) == 1),
        "shape": ", ".join(map("{} = {}".format, ("PHI", "PADDED", "STEPS", "STAGES"), shapes[0])),
        "linear": n_in if linear else 0,
        "padded": len(K_in),
        "padded_out": n_out + -n_out % PANEL,
        "padded_in": n_in + -n_in % PANEL,
        "kept": kept,
        "widest": widest,
        "tables": tables,
        "nets": lines,
        "n_nets": len(nets),
    }


def _rows(M: Any) -> Any:
    """Append rows of zeros, to whole panels."""
    return np.pad(M, ((0, -len(M) % PANEL),) + ((0, 0),) * (M.ndim - 1))
