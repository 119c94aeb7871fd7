"""A C export with a Fortran module beside it, by iso_c_binding: NAME.f90.

The module is standard Fortran 2008. It has the names, units and bounds of the surrogate. The C
files are NAME_c.c and NAME_c.h: of NAME.c and NAME.f90, make would write the same NAME.o.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from surrogates import __version__
from surrogates.config import check

from ..about import about, quoted
from ..constants import constants
from ..reference import ClassifierReference, Reference
from . import bars
from .templates import filled, sections
from .write import name_of, sources, written

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

_LONGEST = 63 - len("_predict_interval")  # names of Fortran have 63 characters
_PIECE = 90  # bytes of a text on one line, which may have 132 characters
_ROWS = 100  # rows of an array in one statement, which may have 255 lines of continuation


def save(surrogate: LoadedSurrogate, path: str | os.PathLike[str]) -> None:
    """Write a surrogate as NAME.f90, and NAME_c.c and NAME_c.h beside it: all, whole, or none.

    Args:
        surrogate: From `surrogates.load`.
        path: NAME.f90. The module is NAME, its procedures NAME_forward and so on.

    Raises:
        InputError: As `surrogates.export.c.save`, and if NAME is too long for Fortran.
    """
    path = Path(path)
    name, reference = name_of(path, ".f90"), constants(surrogate)
    check(
        len(name) <= _LONGEST,
        f"cannot write {path}: names in Fortran take at most {_LONGEST} characters here; rename it",
    )
    files = {f"_c{suffix}": source for suffix, source in sources(f"{name}_c", reference).items()}
    written({**files, ".f90": text(name, reference)}, path)


def text(name: str, r: Reference) -> str:
    """Return the text of a module.

    Args:
        name: Its name.
        r: The constants of the surrogate.
    """
    parts, classifies = sections("module.f90.in"), isinstance(r, ClassifierReference)
    trust = ["probabilities", "predict"] if classifies else ["predict_std", "predict_interval"]
    if correlated := r.correlation is not None:
        trust.append("predict_cov")
    public = ("forward", "jacobian", "jvp", "vjp", "hvp", *trust, "in_domain")
    words: dict[str, object] = {
        "name": name,
        "version": __version__,
        "what": "a classifier" if classifies else "a surrogate of a PDE's solution",
        "logits": ", the calibrated logits of classes" if classifies else "",
        "bars": ": NaN, as it is not known" if math.isnan(r.floor) else "",
        **bars.covariance_words(r),
        "about": "".join(f"! {line}\n" for line in about(r.metadata)),
        "n_in": len(r.lower),
        "n_out": len(r.c_0),
        "tables": "\n".join(_tables(name, r)),
        "public": ", &\n        ".join(f"{name}_{what}" for what in public),
    }
    trusted = ["classes" if classifies else "bars", *(["covariance"] if correlated else [])]
    words["trust"] = "".join(filled(parts[section], words) for section in trusted)
    words["columns"] = filled(parts["columns"], words) if correlated else ""
    words["more"] = filled(parts["classes more"], words) if classifies else ""
    return filled(parts["head"], words)


def _tables(name: str, r: Reference) -> Iterator[str]:
    """Yield the declarations of bounds, names and units."""
    for what, values in (("lower", r.lower), ("upper", r.upper)):
        numbers = [f"{value!r}_c_double" for value in values.tolist()]
        yield from _array(f"{name}_{what}", "real(c_double)", numbers)
    for what in ("y_names", "y_units", "c_names", "c_units"):
        texts = [quoted(text)[1:-1].replace('\\"', '"') for text in r.metadata[what]]
        length = max(1, *(len(text.encode()) for text in texts))
        kind = f"character(len={length})"
        yield from _array(f"{name}_{what}", kind, [_text(text) for text in texts])


def _array(name: str, kind: str, rows: Sequence[str]) -> Iterator[str]:
    """Yield the declaration of a constant array, in several statements if it is long."""
    typed = f"{kind} :: " if kind.startswith("character") else ""
    pieces = [rows[i : i + _ROWS] for i in range(0, len(rows), _ROWS)]
    names = [name] if len(pieces) == 1 else [f"p{i}_{name}"[:63] for i in range(len(pieces))]
    for one, piece in zip(names, pieces, strict=True):
        listed = ", &\n        ".join(piece)
        access = ", public" if len(pieces) == 1 else ""
        yield f"    {kind}, parameter{access} :: {one}({len(piece)}) = [ &"
        yield f"        {typed}{listed}]" if not typed else f"        {typed} &\n        {listed}]"
    if len(pieces) > 1:
        joined = ", &\n        ".join(names)
        yield f"    {kind}, parameter, public :: {name}({len(rows)}) = [ &\n        {joined}]"


def _text(text: str) -> str:
    """Return a text as Fortran source, a line for each of its pieces."""
    pieces = [""]
    for char in text:
        if len((pieces[-1] + char).encode()) > _PIECE:
            pieces.append("")
        pieces[-1] += char
    return " // &\n            ".join('"' + piece.replace('"', '""') + '"' for piece in pieces)
