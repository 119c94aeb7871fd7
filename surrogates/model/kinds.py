"""Surrogates in memory, made from the content of their files; the task decides the class."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from . import script, torchscript
from .loaded import METADATA, LoadedClassifier, LoadedSurrogate
from .metadata import parsed, task_of


def loaded(
    members: torchscript.Members, metadata: Mapping[str, Any], *, path: str, **known: Any
) -> LoadedSurrogate:
    """Return the surrogate of an archive, whose code is run: check it before.

    Args:
        members: Of the archive.
        metadata: Its description.
        path: Where it came from, for messages.
        known: Further fields of `LoadedSurrogate`.
    """
    kind = LoadedClassifier if task_of(metadata) == "classification" else LoadedSurrogate
    module = script.module(members)
    return kind(module=module, metadata=metadata, path=path, members=members, **known)


def unpickled(
    content: bytes,
    path: str,
    refuse_outside: bool,
    history: Sequence[Any],
    warnings: tuple[str, ...],
) -> LoadedSurrogate:
    """Return a surrogate from the bytes of its file, as pickle keeps it."""
    members = torchscript.read(io.BytesIO(content))
    about = parsed(members[f"extra/{METADATA}"], path)
    known = {"refuse_outside": refuse_outside, "history": history, "warnings": warnings}
    return loaded(members, about, path=path, **known)
