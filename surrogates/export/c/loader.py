"""A C export with a Python module beside it, which calls it through ctypes: NAME.py.

The module needs Python's own library and a C compiler. It has the names, units, bounds and errors
of the surrogate.
"""

from __future__ import annotations

import os
import pprint
from pathlib import Path
from typing import TYPE_CHECKING

from .. import python
from ..constants import constants
from ..reference import ClassifierReference, Reference
from . import bars
from .templates import filled, sections
from .write import name_of, sources, written

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate


def save(surrogate: LoadedSurrogate, path: str | os.PathLike[str]) -> None:
    """Write a surrogate as NAME.py, and NAME.c and NAME.h beside it: all, whole, or none.

    Args:
        surrogate: From `surrogates.load`.
        path: NAME.py.

    Raises:
        InputError: As `surrogates.export.c.save`, and if NAME would hide a module of Python.
    """
    path = Path(path)
    name, reference = python.name_of(path), constants(surrogate)
    name_of(path, ".py")
    written({**sources(name, reference), ".py": text(name, reference)}, path)


def text(name: str, r: Reference) -> str:
    """Return the text of a module.

    Args:
        name: Its name.
        r: The constants of the surrogate.
    """
    parts = sections("loader.py.in")
    trust = ["classes" if isinstance(r, ClassifierReference) else "bars"]
    if trust == ["bars"] and not python.has_bars(r):
        trust = ["alias"]
    elif r.correlation is not None:
        trust.append("covariance")
    errors = pprint.pformat(r.metadata.get("errors", {}), width=99, compact=True, sort_dicts=False)
    words = {**python.words(name, r), **bars.covariance_words(r), "errors": errors}
    return "".join(filled(parts[section], words) for section in ("head", *trust, "tail"))
