"""Write the module: choose among the template's sections, and fill them in."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from surrogates.files import atomic

from .. import npz, python
from ..blocks import Anova, Block, Network, Polynomial, Radial
from ..constants import constants
from ..reference import ClassifierReference, Reference
from ..templates import filled, sections

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

_PHI = {"sigmoid": "jax.nn.sigmoid", "softplus": "jax.nn.softplus", "relu": "jax.nn.relu"}


def save(surrogate: LoadedSurrogate, path: str | os.PathLike[str]) -> None:
    """Write a surrogate as a Python module of JAX functions, whole or not at all.

    Args:
        surrogate: From `surrogates.load`.
        path: The file, NAME.py; NAME is the name by which programs import it.

    Raises:
        InputError: If NAME cannot be imported, or would hide a module that this one imports; if the
            surrogate's features have no such form (see `surrogates.export.constants.constants`);
            or if the file cannot be written.
    """
    path = Path(path)
    content = text(python.name_of(path), constants(surrogate))
    with atomic(path) as beside:
        beside.write_text(content, encoding="utf-8")


def text(name: str, r: Reference) -> str:
    """Return the text of a module.

    Args:
        name: Its name.
        r: The constants of the surrogate.
    """
    parts = sections("surrogates.export.jax", "module.py.in")
    words = _words(name, r)
    return "".join(filled(parts[section], words) for section in _sections(r)).rstrip() + "\n"


def _sections(r: Reference) -> Iterator[str]:
    """Yield the names of the sections that a surrogate needs, in their order."""
    yield "head"
    kinds = {type(block) for block in r.blocks}
    kernels = {block.kernel for block in r.blocks if isinstance(block, Radial | Anova)}
    yield from ("network",) * (Network in kinds)
    yield from sorted(kernels)
    for kind in (Radial, Anova, Polynomial):
        yield from (kind.KIND,) * (kind in kinds)
    yield "features"
    yield from ("seen",) * bool(r.log_inputs.any())
    yield from ("physical",) * bool(r.log_outputs.any())
    yield from ("off_flat",) * bool(len(r.normals))
    yield "forward"
    if isinstance(r, ClassifierReference):
        yield "classes"
    elif not python.has_bars(r):
        yield "alias"
    else:
        yield from ("members",) * bool(r.ensemble.spread)
        yield "bars"
    yield from ("domain", "names")


def _words(name: str, r: Reference) -> dict[str, object]:
    """Return the words of the template."""
    of_logs = bool(r.log_inputs.any())
    return {
        **python.words(name, r),
        "width": r.W.shape[1],
        "n_blocks": len(r.blocks),
        "features": _features(r.blocks),
        "see": "    x = seen(y)\n" if of_logs else "",
        "x": "x" if of_logs else "y",
        "x_of_y": "seen(y)" if of_logs else "y",
        "lower": "seen(lower)" if of_logs else "lower",
        "upper": "seen(upper)" if of_logs else "upper",
        "slack": " + 1e-12 * log_inputs" if of_logs else "",
        "jac": "jacfwd" if len(r.lower) <= len(r.c_0) else "jacrev",
        **_formulas(r),
        **_tables(r),
    }


def _features(blocks: tuple[Block, ...]) -> str:
    """Return the statement of ``features``."""
    calls = []
    for i, block in enumerate(blocks):
        function = ""
        if isinstance(block, Network):
            function = f"{_PHI[block.phi]}, "
        elif isinstance(block, Radial | Anova):
            function = f"{block.kernel}, "
        calls.append(f"{block.KIND}(x, {function}**B[{i}])")
    if len(calls) == 1:
        return f"    return {calls[0]}"
    lines = "".join(f"            {call},\n" for call in calls)
    return f"    return jnp.concatenate(\n        [\n{lines}        ]\n    )"


def _formulas(r: Reference) -> dict[str, str]:
    """Return the expressions that depend on logarithms, members, signs and the flat."""
    of_logs, has_flat = bool(r.log_outputs.any()), bool(len(r.normals))
    x, seen = ("x", "seen(y)") if r.log_inputs.any() else ("y", "y")
    c = f"W @ features({seen}) + c_0"
    share, std = "jnp.maximum(1e-12, share)", "jnp.sqrt(jnp.maximum(1e-12, share)) * sigma"
    if r.ensemble.spread:
        std = f"jnp.sqrt({share} * sigma**2 + spread * disagreement(u))"
    by = " * jnp.where(log_outputs, physical(W @ u + c_0), 1.0)" if of_logs else ""
    return {
        "c": f"physical({c})" if of_logs else c,
        "squares": "signs @ z**2" if (r.signs < 0).any() else "z @ z",
        "off": f" + off_flat({x}) @ off_flat({x})" if has_flat else "",
        "std": f"std = {std}\n    return std{by}" if by else f"return {std}",
        "domain": " and the flat in which those data lie" if has_flat else "",
        "flat": f" & (jnp.abs(off_flat({x})) <= 1e-4).all()" if has_flat else "",
    }


def _tables(r: Reference) -> dict[str, str]:
    """Return the numbers."""
    named, of_functions = npz.named(r, least=2)[1], list(_globals(r))
    kept = {key: named[key] for key in named if key in of_functions or re.match(r"block\d", key)}
    buffer = io.BytesIO()
    np.savez(buffer, metadata=json.dumps(r.metadata, allow_nan=False), **kept)
    content = base64.b64encode(buffer.getvalue()).decode()
    return {
        "data": "\n".join(content[i : i + 100] for i in range(0, len(content), 100)),
        "globals": "".join(f'{one} = _all["{one}"]\n' for one in of_functions),
    }


def _globals(r: Reference) -> Iterator[str]:
    """Yield the names of the arrays that the functions use."""
    has_bars = python.has_bars(r)
    yield from ("W", "c_0", "lower", "upper")
    yield from ("unit",) * (has_bars or bool(len(r.normals)))
    yield from ("normals", "centre") * bool(len(r.normals))
    yield from ("leverage", "constant", "floor", "sigma") * has_bars
    yield from ("signs",) * (has_bars and bool((r.signs < 0).any()))
    if has_bars and r.ensemble.spread:
        yield from ("spread", "member_W", "member_biases", "member_weights", "member_widths")
    yield from ("log_inputs",) * bool(r.log_inputs.any())
    yield from ("log_outputs",) * bool(r.log_outputs.any())
