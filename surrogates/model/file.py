"""Surrogate files: a TorchScript module that needs only torch, with its description inside.

``torch.jit.load(path)(y)`` predicts, in a process without this package or from C++. The extra file
``metadata.json`` in it holds what `surrogates.model.describe.metadata` describes.

Such a file is code, and plain torch runs all of it. `load` checks it first, see
`surrogates.model.torchscript_check`. The .npz file of `surrogates.export.npz` holds no code:
it is the one for exchange with strangers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, BinaryIO, cast

import torch

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.files import Source, atomic, opened, reading

from . import forms, fused, script, torchscript, torchscript_check
from .describe import plain
from .eager import OPTIONAL
from .engines.scripted import Scripted
from .loaded import LoadedClassifier, LoadedSurrogate
from .metadata import SCHEMA_VERSION, parsed, task_of
from .surrogate import Surrogate

METADATA = "metadata.json"
_WHAT = "surrogate file"
_EXTENDED = 4  # the first version that reads what `_is_extended`, but for tails
_WEIGHTS = "weights.npz"
_UNSAVED = "the surrogate"  # in messages, of one that has no file


def save(
    surrogate: Surrogate,
    metadata: Mapping[str, Any],
    path: str | os.PathLike[str],
    weights: bytes = b"",
) -> None:
    """Write a surrogate file, whole or not at all.

    Args:
        surrogate: The module, on any device; in the file it is on the CPU.
        metadata: Its description; see `archive`.
        path: The file.
        weights: What a training can start from; see `archive`.

    Raises:
        InputError: If the path cannot be written.
    """
    content = torchscript.pack(archive(surrogate, metadata, weights))
    with atomic(path) as beside:
        beside.write_bytes(content)


def archive(
    surrogate: Surrogate, metadata: Mapping[str, Any], weights: bytes = b""
) -> dict[str, bytes]:
    """Return the members of a surrogate file.

    Args:
        surrogate: The module.
        metadata: Its description, from `surrogates.model.describe.metadata`. Its schema version is
            raised where the surrogate has parts that older versions of this package cannot read:
            features other than one network, members, signs, logarithms or tails.
        weights: What a training can start from (see `surrogates.training.weights`), an extra file
            that no reader of the surrogate looks at; none if empty.
    """
    if _is_extended(surrogate):
        tailed = surrogate.tail is not None
        metadata = {**metadata, "schema_version": SCHEMA_VERSION if tailed else _EXTENDED}
    text = json.dumps(plain(metadata), indent=1, allow_nan=False)
    extra = {f"extra/{METADATA}": text.encode()}
    if weights:
        extra[f"extra/{_WEIGHTS}"] = weights
    return {**script.compiled(surrogate), **extra}


def in_memory(members: torchscript.Members, **known: Any) -> LoadedSurrogate:
    """Return a surrogate as `load` would return it from its file, without a file.

    Args:
        members: Of `archive`.
        known: Further fields of `LoadedSurrogate`: its history, say.
    """
    described = parsed(members[f"extra/{METADATA}"], _UNSAVED)
    return loaded(members, described, path=_UNSAVED, **known)


def _is_extended(surrogate: Surrogate) -> bool:
    rows, columns = surrogate.leverage.shape
    return (
        not isinstance(surrogate.features, fused.Fused | forms.Unfused)
        or rows != columns + 1
        or any(getattr(surrogate, name) is not None for name in OPTIONAL)
    )


def load(path: Source, *, refuse_outside: bool = False, trust: bool = False) -> LoadedSurrogate:
    """Read a .pt file, to the CPU.

    TorchScript is code, which could write files as soon as it is read. Before that, the file is
    checked to hold nothing but functions of tensors (see `surrogates.model.torchscript_check`), as
    files of this package's own networks do. The same bytes are checked and loaded.

    Args:
        path: The file, its bytes, or a file object that is open for reading bytes.
        refuse_outside: Refuse y outside the training domain, which is evaluated otherwise.
        trust: Load it without the check of its code. Only for files of people whose programs you
            would run.

    Raises:
        InputError: If it is missing, truncated, damaged, of another program, or of a newer version
            of this one; or if its code is more than functions of tensors.
    """
    with opened(path, _WHAT) as (stream, name):
        members, described = _read(stream, name)
        if not trust:
            check_code(members, name)
        with reading(name, _WHAT, stream):
            found = loaded(members, described, path=name, refuse_outside=refuse_outside)
    _check_module(found)
    return found


def read_metadata(path: str | os.PathLike[str]) -> tuple[dict[str, Any], str]:
    """Read the metadata of a surrogate file, without loading its module.

    Returns:
        The metadata, and the reason why `load` would refuse the code; empty where it would not.

    Raises:
        InputError: As `load`, but for the code.
    """
    with opened(path, _WHAT) as (stream, name):
        members, described = _read(stream, name)
    try:
        check_code(members, path)
    except InputError as error:
        return described, str(error)
    return described, ""


def weights_in(members: torchscript.Members) -> bytes:
    """Return the weights in the members of a surrogate file, as `archive` had them, or none."""
    return members.get(f"extra/{_WEIGHTS}", b"")


def check_code(members: torchscript.Members, path: str | os.PathLike[str]) -> None:
    """Refuse a file whose code is more than functions of tensors.

    Raises:
        InputError: With what was found, and what to do.
    """
    try:
        torchscript_check.check(members)
    except InputError as error:
        raise InputError(
            f"{path} is not loaded, as it may run other code than a surrogate's: {error}. If it is "
            "from someone whose programs you would run, give --trust (trust=True)"
        ) from error


def _read(stream: BinaryIO, path: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Read the members of a surrogate file, and its metadata."""
    with reading(path, _WHAT, stream):
        members = torchscript.read(stream, path)
        whole = {"data.pkl", "constants.pkl"} <= members.keys()  # torch.save writes no constants
        check(whole, f"{path} is not a whole surrogate file: it is not TorchScript")
        return members, parsed(members.get(f"extra/{METADATA}", b""), path)


def _check_module(found: LoadedSurrogate) -> None:
    """Refuse a module that is not what its metadata say.

    Raises:
        InputError: If it lacks a method or a tensor, one has another size or type, or a number is
            not finite.
    """
    module, path, metadata = found.module, found.path, found.metadata
    bars = metadata["schema_version"] > 1 and not isinstance(found, LoadedClassifier)
    task = task_of(metadata)
    for name in found.METHODS:
        if name == "predict_std" and not bars:
            continue
        schema: Any = getattr(getattr(module, name, None), "schema", None)
        check(schema is not None, f"{path} is damaged: its task is {task}, but it has no {name}")
        takes = ["Tensor"] * (2 if name in ("jvp", "vjp") else 1)
        fits = [str(one.type) for one in schema.arguments[1:]] == takes
        fits = fits and [str(one.type) for one in schema.returns] == ["Tensor"]
        check(fits, f"{path} is damaged: its {name} takes or gives something else than tensors")
    n_in, n_out = (found.n_in,), (found.n_out,)
    shapes: dict[str, tuple[int, ...]] = {"lower": n_in, "upper": n_in}
    if metadata["schema_version"] > 1:
        shapes.update({"unit": n_in, "centre": n_in, "c": n_out, "sigma": n_out, "floor": ()})
    if isinstance(found, LoadedClassifier):
        shapes["temperature"] = ()
    for name, shape in shapes.items():
        tensor = getattr(module, name, None)
        got = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else "none"
        check(
            got == shape,
            f"{path} is damaged: by its metadata {name} has the shape {shape}; got {got}",
        )
        dtype = cast(torch.Tensor, tensor).dtype
        check(
            dtype == torch.float64,
            f"{path} is a surrogate that was made {dtype}, and loses digits: use the file that "
            "surrogates wrote, which is in torch.float64",
        )
    numbers = [
        tensor.reshape(-1)
        for name, tensor in module.state_dict().items()
        if tensor.dtype == torch.float64 and name != "floor"  # NaN without error bars
    ]
    check(
        bool(torch.cat(numbers).isfinite().all()),
        f"{path} is damaged: it has numbers that are not finite",
    )
    fits = bool((module.lower <= module.upper).all())
    check(fits, f"{path} is damaged: a lower end of its training domain is above the upper one")
    if "unit" in shapes:
        fits = bool((module.unit > 0).all() and (module.sigma >= 0).all())
        check(fits, f"{path} is damaged: its unit is not > 0, or its sigma not >= 0")


def loaded(
    members: torchscript.Members, metadata: Mapping[str, Any], *, path: str, **known: Any
) -> LoadedSurrogate:
    """Return the surrogate of an archive, whose code is run: check it before.

    Args:
        members: Members of the archive.
        metadata: Its description.
        path: Where it came from, for messages.
        known: Further fields of `LoadedSurrogate`.
    """
    kind = LoadedClassifier if task_of(metadata) == "classification" else LoadedSurrogate
    engine = Scripted(script.module(members), members)
    return kind(engine=engine, metadata=metadata, path=path, **known)
