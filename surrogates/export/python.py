"""What the exports that are Python modules have in common: their names, their tables of names."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

from surrogates import __version__
from surrogates.errors import InputError

from .about import about
from .reference import ClassifierReference, Reference

_TAKEN = frozenset(("jax", "jaxlib", "numpy", "surrogates"))  # beside Python's own modules


def name_of(path: Path) -> str:
    """Return NAME of a file NAME.py, by which programs import it.

    Raises:
        InputError: If it cannot be imported, or would hide a module that an export imports.
    """
    if path.suffix != ".py" or not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", path.stem):
        raise InputError(
            f"cannot write {path}: expected NAME.py, where NAME is a letter, then letters, digits "
            "and _, as programs import it by that name"
        )
    if path.stem in _TAKEN or path.stem in sys.stdlib_module_names:
        raise InputError(f"cannot write {path}: it would hide the module {path.stem}; rename it")
    return path.stem


def has_bars(r: Reference) -> bool:
    """Return whether the error bars of a surrogate are known."""
    return not (isinstance(r, ClassifierReference) or math.isnan(r.floor))


def words(name: str, r: Reference) -> dict[str, object]:
    """Return the words that the templates of all modules have.

    Args:
        name: Name of the module.
        r: The constants of the surrogate.
    """
    classifies = isinstance(r, ClassifierReference)
    texts = {
        key: [literal(text) for text in r.metadata[key]]
        for key in ("y_names", "y_units", "c_names", "c_units")
    }
    ends = (map(repr, end.tolist()) for end in (r.lower, r.upper))
    inputs = zip(texts["y_names"], texts["y_units"], *ends, strict=True)
    outputs = zip(texts["c_names"], texts["c_units"], strict=True)
    return {
        "name": name,
        "version": __version__,
        "what": "a classifier" if classifies else "a surrogate of a PDE's solution",
        "result": "the calibrated logits c of classes" if classifies else "the prediction c",
        "about": "".join(f"# {line}\n" for line in about(r.metadata)),
        "usage": _usage(name, r),
        "n_in": len(r.lower),
        "n_out": len(r.c_0),
        "inputs": "".join(f"    ({', '.join(row)}),\n" for row in inputs),
        "outputs": "".join(f"    ({', '.join(row)}),\n" for row in outputs),
    }


def literal(text: str) -> str:
    """Return a text as Python source, in double quotes where that takes no escapes."""
    found = repr(text)
    return found if '"' in found else f'"{found[1:-1]}"'


def _usage(name: str, r: Reference) -> str:
    """Return the lines that show the functions."""
    calls = {"forward": "c", "jacobian": "dc/dy, (..., n_out, n_in)"}
    if isinstance(r, ClassifierReference):
        calls.update(forward="the logits c", probabilities="the probabilities of the classes")
        calls.update(predict="the index of the most probable class")
    elif has_bars(r):
        calls["predict_std"] = "the standard deviations of the errors of c"
    calls["in_domain"] = "whether y lies in the domain of the training data"
    width = len(name) + max(map(len, calls)) + 6
    return "\n".join(f"    {f'{name}.{key}(y)':{width}}# {what}" for key, what in calls.items())
