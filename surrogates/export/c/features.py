"""The features of a surrogate as C source: functions and tables for each kind of block.

Each block has five functions. They take x, which is y with its logarithms:

    features    maps x to the features u, and keeps values that the derivatives need
    slopes      maps x to the factors of the derivatives
    push        maps a direction in x to the direction of the features
    pull        maps a gradient by the features to the gradient by x
    bends       maps x, a gradient by the features and a direction in x to the derivative of the
                gradient by x along it

The functions of a single block have these names. With several blocks, the number of the block is
appended to the names of its own functions, and functions of the plain names call them one after
the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surrogates.types import Array

from ..blocks import Anova, Block, Network, Polynomial, Radial
from .tables import PANEL, padded, panels, table
from .templates import filled, read, sections

# The names that a block defines, as whole words of its text; or a comment, which has none.
_OWN = re.compile(
    r"/\*.*?\*/|\b(WIDTH|PADDED|STEPS|STAGES|VALUES|PAIRS|carry|K_in|b_in|A|b|lengths|weights|K_in_t|A_t|"
    r"activate|slope|bend|features|slopes|changes|tangent|cotangent|push|pull|bends|kappa|kappa_slope|"
    r"kappa_bend|matern_s|centres|"
    r"shift|factor|scale|shares|distances|first|second|nothing)\b",
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Features:
    """The C source of features.

    Attributes:
        text: Tables and functions.
        values: Number of doubles that ``features`` writes beside u, and that ``slopes`` writes.
        work: Largest number of doubles that one of the functions keeps on the stack for itself.
    """

    text: str
    values: int
    work: int


def features(blocks: Sequence[Block]) -> Features:
    """Write the functions of a surrogate's blocks."""
    parts = [_one(block) for block in blocks]
    work = max(part.work for part in parts)
    if len(parts) == 1:
        return parts[0]
    start = value = 0
    texts, calls = [], {name: "" for name in ("features", "slopes", "push", "pull", "bends")}
    optional = sections("optional.c.in")
    for i, (block, part) in enumerate(zip(blocks, parts, strict=True)):
        s = f"_{i}"
        texts.append(_suffixed(part.text, s))
        calls["features"] += f"    features{s}(y, u + {start}, values + {value});\n"
        calls["slopes"] += f"    slopes{s}(y, slope_of + {value});\n"
        calls["push"] += f"    push{s}(slope_of + {value}, v, d + {start});\n"
        for name in ("pull", "bends"):
            calls[name] += filled(optional[name], {"s": s, "value": value, "start": start})
        start, value = start + block.width, value + part.values
    texts.append(filled(read("joined.c.in"), {**calls, "width": start, "values": value}))
    n_in = _n_in(blocks[0])
    return Features(text="\n".join(texts), values=value, work=work + n_in)


def _suffixed(text: str, suffix: str) -> str:
    """Append a suffix to a block's own names, but not in comments."""

    def name(found: re.Match[str]) -> str:
        return found[0] + suffix if found[1] else found[0]

    return _OWN.sub(name, text)


def _n_in(block: Block) -> int:
    return block.K_in.shape[1] if isinstance(block, Network) else len(block.shift)


def _one(block: Block) -> Features:
    """Write the functions of one block, under the plain names."""
    if isinstance(block, Network):
        return _network(block)
    if isinstance(block, Anova):
        return _anova(block)
    if isinstance(block, Radial):
        return _radial(block)
    return _polynomial(block)


def _network(block: Network) -> Features:
    width, (steps, stages) = block.width, block.A.shape[:2]
    values = (1 + steps * stages) * width
    text = _text(
        block,
        "network.c.in",
        _network_tables(block),
        steps=steps,
        stages=stages,
        values=values,
        carry=repr(float(block.carry)),
        phi=sections("phi.c.in")[block.phi],
    )
    return Features(text=text, values=values, work=3 * values + 10 * width)


def _radial(block: Radial) -> Features:
    tables = {"shift": block.shift, "factor": block.factor, "centres": panels(block.centres)}
    phi = sections("kappa.c.in")[block.kernel]
    text = _text(block, "radial.c.in", tables, phi=phi)
    n_in = _n_in(block)
    return Features(text=text, values=block.width + n_in, work=_padded(block.width) + 2 * n_in)


def _anova(block: Anova) -> Features:
    tables = {name: getattr(block, name) for name in ("shift", "factor", "shares")}
    tables["centres"] = panels(block.centres)
    phi = sections("kappa.c.in")[block.kernel]
    text = _text(block, "anova.c.in", tables, phi=phi)
    n_in = _n_in(block)
    return Features(text=text, values=block.width * n_in, work=4 * n_in)


def _polynomial(block: Polynomial) -> Features:
    tables = {name: getattr(block, name) for name in ("shift", "scale", "first", "second")}
    n_in = _n_in(block)
    return Features(text=_text(block, "polynomial.c.in", tables), values=n_in, work=n_in)


def _text(block: Block, template: str, tables: Mapping[str, Any], **words: object) -> str:
    """Fill in the template of a kind of block."""
    lines = "\n".join(table(name, values) for name, values in tables.items())
    sizes = {"width": block.width, "padded": _padded(block.width)}
    return filled(read(template), {**sizes, **words, "tables": lines})


def _padded(width: int) -> int:
    return width + -width % PANEL


def _network_tables(block: Network) -> dict[str, Array]:
    width = block.width
    stages, biases = block.A.reshape(-1, width, width), block.b.reshape(-1, width)
    return {
        **{"K_in": panels(block.K_in), "b_in": padded(block.b_in)},
        **{"A": np.concatenate([panels(A) for A in stages])},
        **{"b": np.concatenate([padded(b) for b in biases])},
        **{"lengths": block.lengths, "weights": block.weights},
        **{"K_in_t": panels(block.K_in.T)},
        **{"A_t": np.concatenate([panels(A.T) for A in stages])},
    }
