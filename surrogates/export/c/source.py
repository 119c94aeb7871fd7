"""The texts of NAME.c and NAME.h: choose among the templates, and fill them in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates import __version__

from ..about import about as lines_about
from ..about import quoted
from ..blocks import Network
from ..reference import ClassifierReference, Reference
from . import bars
from .features import Features, features
from .low_rank import LowRank, low_rank
from .tables import padded, panels, table
from .templates import filled, read, sections


def texts(name: str, r: Reference) -> tuple[str, str]:
    """Return the source and the header of a surrogate.

    Args:
        name: Name of the surrogate; the public functions begin with it.
        r: Its constants.
    """
    optional, n_flat = sections("optional.c.in"), len(r.normals)
    parts = features(r.blocks)
    low = low_rank(r) if len(r.lower) <= len(r.c_0) else None
    through, jacobian = _jacobian(r, low)
    places = _logarithms(r)
    words: dict[str, object] = {
        **places,
        **bars.bars(r, needs_c=bool(places["chain_std"])),
        **_described(r),
        "name": name,
        "version": __version__,
        "n_in": len(r.lower),
        "n_out": len(r.c_0),
        "rows": len(r.leverage),
        "n_flat": n_flat,
        "kibibytes": -(-8 * (_doubles(r, parts, through) + _kept(low)) // 1024),
        "tables": "\n".join(table(key, values) for key, values in _tables(r, low).items()),
        "place": optional["place"] if "place(" in parts.text + jacobian else "",
        "features": parts.text,
        "linear": _linear(low),
        "jacobian": jacobian,
        "off_flat": optional["off_flat"] if n_flat else "",
        "off_variance": optional["off_variance"] if n_flat else "",
        "off_check": filled(optional["off_check"], places) if n_flat else "",
    }
    words.update(bars.covariance(r, words))
    trust = "classes" if isinstance(r, ClassifierReference) else "bars"
    source, header = (filled(read(f"{trust}.{ending}.in"), words) for ending in ("c", "h"))
    return (
        filled(read("surrogate.c.in"), {**words, "trust_source": source}),
        filled(read("surrogate.h.in"), {**words, "trust_header": header}),
    )


def _linear(low: LowRank | None) -> str:
    """Return the functions of the linear layer."""
    optional = sections("optional.c.in")
    if low is None:
        return optional["linear"]
    rank, first = low.inner.shape
    return filled(optional["linear of low rank"], {"rank": rank, "first": first})


def _kept(low: LowRank | None) -> int:
    """Return the number of doubles that a linear layer of low rank keeps on the stack."""
    return 0 if low is None else sum(low.W.shape)


def _jacobian(r: Reference, low: LowRank | None) -> tuple[str, str]:
    """Choose the fewest of inputs, outputs and features to differentiate by.

    Returns:
        ``inputs``, ``outputs`` or ``features``, and the statements.
    """
    sizes, kind = {"inputs": len(r.lower), "outputs": len(r.c_0)}, "blocks"
    if len(r.blocks) == 1 and isinstance(r.blocks[0], Network):
        sizes["features"], kind = r.blocks[0].width, "network"
    if low is not None:
        return "inputs", sections("jacobian.c.in")["low rank inputs"]
    through = min(sizes, key=lambda key: sizes[key])
    return through, sections("jacobian.c.in")[f"{kind} {through}"]


def _doubles(r: Reference, parts: Features, through: str) -> int:
    """Estimate the largest number of doubles that a call keeps on the stack."""
    n_rows, width = r.leverage.shape
    n_out, n_in = len(r.c_0), len(r.lower)
    doubles = parts.values + parts.work + 2 * width + n_rows + 4 * n_in + len(r.normals)
    doubles += (3 if r.ensemble.spread else 2) * n_out
    return doubles + ((width + 7) * width if through == "features" else 0)


def _tables(r: Reference, low: LowRank | None) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of the source beside those of the features."""
    n_flat, classifies = len(r.normals), isinstance(r, ClassifierReference)
    W, inner = (r.W, None) if low is None else (low.W, low.inner)
    factor = {} if inner is None else {"inner": panels(inner), "inner_t": panels(inner.T)}
    return {
        **{"W": panels(W), "c_0": padded(r.c_0), "W_t": panels(W.T)},
        **factor,
        **({} if classifies else bars.tables(r)),
        **{"lower": r.seen(r.lower), "upper": r.seen(r.upper)},
        **({"unit": r.unit} if n_flat or not classifies else {}),
        **({"centre": r.centre, "normals": panels(r.normals)} if n_flat else {}),
        **({"log_inputs": r.log_inputs.astype(int)} if r.log_inputs.any() else {}),
        **({"log_outputs": r.log_outputs.astype(int)} if r.log_outputs.any() else {}),
    }


def _logarithms(r: Reference) -> dict[str, str]:
    """Return the statements that logarithms add to the functions, by their place in them."""
    of_inputs, of_outputs = bool(r.log_inputs.any()), bool(r.log_outputs.any())
    words = {"x": "x" if of_inputs else "y", "v": "scaled" if of_inputs else "v"}
    words["w"] = "by" if of_outputs else "w"
    words["slack"] = " + (log_inputs[i] ? 1e-12 : 0.0)" if of_inputs else ""
    numbers = ", ".join(str(i) for i in np.flatnonzero(r.log_inputs))
    words["positive"] = (
        _comment(["These inputs must be positive, else all results are NaN:", f"{numbers}", ""])
        if of_inputs
        else ""
    )
    words["asymmetric"] = ""
    if of_outputs:
        numbers = ", ".join(str(j) for j in np.flatnonzero(r.log_outputs))
        words["asymmetric"] = (
            "\n * These outputs, and their intervals' ends, are predicted by their logarithms:\n"
            f" * {numbers}"
        )
    places: dict[str, str] = {}
    for name, text in sections("logarithms.c.in").items():
        marked, place = name.split()
        present = of_inputs if marked == "inputs" else of_outputs
        places[place] = places.get(place, "") + (text if present else "")
    return {**words, **{place: filled(text, words) for place, text in places.items()}}


def _described(r: Reference) -> dict[str, str]:
    """Return the comments on the surrogate, its inputs and outputs."""
    about, classifies = r.metadata, isinstance(r, ClassifierReference)
    inputs = zip(
        about["y_names"], about["y_units"], r.lower.tolist(), r.upper.tolist(), strict=True
    )
    outputs = zip(about["c_names"], about["c_units"], strict=True)
    return {
        "what": "a classifier" if classifies else "a surrogate of a PDE's solution",
        "logits": ", the calibrated logits of classes" if classifies else "",
        "about": _comment(lines_about(about)),
        "inputs": _comment(
            f"{i:5}  {quoted(what)}  [{quoted(unit)[1:-1]}]  {least!r} to {largest!r}"
            for i, (what, unit, least, largest) in enumerate(inputs)
        ),
        "outputs": _comment(
            f"{j:5}  {quoted(what)}  [{quoted(unit)[1:-1]}]"
            for j, (what, unit) in enumerate(outputs)
        ),
        "domain": "the box above" + (" and the flat that they lie in" if len(r.normals) else ""),
    }


def _comment(lines: Iterable[str]) -> str:
    return "".join(f" * {line}\n" for line in map(_harmless, lines))


def _harmless(line: str) -> str:
    """Return a line that cannot end a comment, nor begin one."""
    return line.replace("*/", "*\\/").replace("/*", "/\\u002a")
