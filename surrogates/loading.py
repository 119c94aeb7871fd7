"""Surrogate files of both kinds, read and given the engine that is asked for.

This module stands above the rooms `surrogates.model` and `surrogates.export`, as a file of either
may be wanted with an engine of the other.
"""

from __future__ import annotations

import dataclasses
import zipfile
from typing import TYPE_CHECKING, BinaryIO

from .errors import InputError
from .files import Source, opened

if TYPE_CHECKING:
    from .model.loaded import LoadedSurrogate


def load(
    path: Source,
    *,
    refuse_outside: bool = False,
    trust: bool = False,
    engine: str | None = None,
) -> LoadedSurrogate:
    """Read a surrogate: a .pt file, which holds TorchScript, or an .npz file, which holds arrays.

    TorchScript is code, which could write files as soon as it is read. Before that, the file is
    checked to hold nothing but functions of tensors (see `surrogates.model.torchscript_check`), as
    files of this package's own networks do. An .npz file holds no code, and needs no torch.

    Args:
        path: The file, its bytes, or a file object that is open for reading bytes.
        refuse_outside: Refuse y outside the training domain, which is evaluated otherwise.
        trust: Load a .pt file without the check of its code. Only for files of people whose
            programs you would run.
        engine: What evaluates the surrogate: ``torch``, ``numpy``, or ``c``, the C export, which is
            compiled once and kept. By default torch for .pt files, and numpy for .npz files.

    Raises:
        InputError: If the file is missing, truncated, damaged, of another program, or of a newer
            version of this one; if its code is more than functions of tensors; or if it cannot have
            that engine.
    """
    with opened(path, "surrogate file") as (stream, name):
        if _is_of_arrays(stream, name):
            from .export import npz

            found = npz.load(stream, refuse_outside=refuse_outside)
        else:
            from .model import file

            found = file.load(stream, refuse_outside=refuse_outside, trust=trust)
        found = dataclasses.replace(found, path=name)
    return found if engine is None else with_engine(found, engine)


def with_engine(surrogate: LoadedSurrogate, engine: str) -> LoadedSurrogate:
    """Return a surrogate that another engine evaluates, such as one that `fit` has returned.

    Args:
        surrogate: The surrogate.
        engine: As for `load`.

    Raises:
        InputError: If the surrogate cannot have that engine.
    """
    from .model.engines import ENGINES

    if engine not in ENGINES:
        raise InputError(f"expected an engine of {', '.join(ENGINES)}; got {engine!r}")
    if engine == surrogate.engine.NAME:
        return surrogate
    if engine == "torch":
        raise InputError(
            f"{surrogate.path} has no TorchScript module, which the engine torch needs: load the "
            ".pt file"
        )
    from .export.constants import constants

    arrays = constants(surrogate)
    if engine == "numpy":
        return dataclasses.replace(surrogate, engine=arrays)
    from .export.c import compiled

    return dataclasses.replace(surrogate, engine=compiled.engine(arrays))


def _is_of_arrays(stream: BinaryIO, name: str) -> bool:
    """Return whether a file is .npz rather than .pt, by its content; leave it at its start."""
    try:
        with zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
        return any(one.endswith(".npy") for one in names)
    except Exception:  # no whole archive, of any kind: its name says what it was to be
        return name.endswith(".npz")
    finally:
        stream.seek(0)
