"""The metadata of a surrogate file, checked before anything uses them.

Metadata are JSON, and anyone may have written them. `parsed` accepts them if every entry that this
package reads has the right type and length; `surrogates.model.describe.metadata` makes them.
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from surrogates.errors import InputError

FORMAT = "varpro-surrogates"
# 1 had no error bars, 2 no classifiers, 3 no blocks, members, signs and logs, 4 no tails.
SCHEMA_VERSION = 5
DESCRIBED = (
    *("problem", "y_names", "y_units", "y_lower", "y_upper"),
    *("c_names", "c_units", "coordinates"),
)
"""Keys of the metadata that describe parameters and outputs."""

_TASKS = ("regression", "classification")
_DEPTH = 50  # of nested values
# The entries that are read, and their kinds. A * stands for every key. A key with a ? may be
# missing from its object. Lists with y have an entry for each parameter, with c for each output.
_KINDS = {
    **{key: "text" for key in ("problem", "command?", "created?", "revision?")},
    **{"y_names": "texts y", "y_units": "texts y", "y_lower": "numbers y", "y_upper": "numbers y"},
    **{"c_names": "texts c", "c_units": "texts c", "coordinates": "object"},
    **{"coordinates.*": "numbers c", "versions?": "object", "versions.*": "text"},
    **{"training": "object", "training.settings?": "object"},
    **{f"training.{key}?": "text" for key in ("optimizer", "effort", "chosen", "reason")},
    **{f"training.{key}?": "count" for key in ("samples", "work_units", "members")},
    **{f"training.{key}?": "numbers c" for key in ("c_mean", "c_std")},
    **{"training.temperature?": "number", "training.from?": "text or null"},
    **{"dataset?": "object", "dataset.digest": "text", "dataset.seed?": "count"},
    **{f"dataset.{key}?": "text" for key in ("command", "config", "created", "design")},
    **{"errors?": "object", "errors.*": "object", "errors.*.samples": "count"},
}
_OF_TASKS = {
    "regression": {
        "errors.*.relative?": "object",
        **{f"errors.*.relative.{key}": "number" for key in ("mean", "std", "min", "max")},
    },
    "classification": {
        "errors.*.accuracy": "number",
        "errors.*.calibration_error": "number",
    },
}


def parsed(
    text: str | bytes, path: str | os.PathLike[str], what: str = "a TorchScript file"
) -> dict[str, Any]:
    """Parse and check metadata.

    Args:
        text: JSON; empty if the file has none.
        path: The file, for messages.
        what: The kind of the file, for messages.

    Raises:
        InputError: If they are missing, of another program or a newer version of this one, or
            damaged.
    """
    foreign = f"{path} is {what} but not a surrogate of this package"
    if not text:
        raise InputError(
            f"{foreign}, or was saved again by torch.jit.save, which keeps no metadata.json unless "
            "it is given in _extra_files: use the file that surrogates wrote"
        )
    try:
        found: Any = json.loads(
            text, parse_constant=_refuse_constant, object_pairs_hook=_each_key_once
        )
    except (ValueError, RecursionError) as error:
        raise InputError(f"{foreign}: its metadata are no JSON ({str(error)[:80]})") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(foreign)
    version = found.get("schema_version")
    if type(version) is not int or version < 1:
        raise InputError(f"{foreign}: it has the schema version {json.dumps(version)[:40]}")
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {str(version)[:20]}, this package reads up to "
            f"{SCHEMA_VERSION}; update varpro-surrogates"
        )
    if missing := {"training", *DESCRIBED} - found.keys():
        raise InputError(f"{path} is damaged: its metadata lack {', '.join(sorted(missing))}")
    if wrong := _fault(text):
        raise InputError(f"{path} is damaged: its metadata have {wrong}")
    return dict(found)


def task_of(metadata: Mapping[str, Any]) -> str:
    """Return the task. Files of older versions do not name it: theirs is regression."""
    return str(metadata.get("task", _TASKS[0]))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not in JSON")


def _each_key_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object, and refuse a repeated key: readers differ about its value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


@functools.lru_cache(maxsize=16)
def _fault(text: str | bytes) -> str:
    """Return the first fault of metadata, or an empty text. The last results are kept."""
    return next(_faults(json.loads(text)), "")


def _faults(found: Mapping[str, Any]) -> Iterator[str]:
    """Return all faults of metadata in turn."""
    yield from _unreadable(found)
    if (task := found.get("task", _TASKS[0])) not in _TASKS:
        yield f"the task {str(task)[:40]!r}; expected {' or '.join(_TASKS)}"
        return
    sizes = {}
    for key in ("y", "c"):
        names = found[f"{key}_names"]
        if not isinstance(names, list) or not names:
            yield f"no {key}_names; expected a list of texts"
            return
        sizes[key] = len(names)
    for path, kind in {**_KINDS, **_OF_TASKS[task]}.items():
        yield from _wrong(found, path.split("."), kind, sizes)
    for name, *ends in zip(
        *(found[f"y_{key}"] for key in ("names", "lower", "upper")), strict=True
    ):
        if None not in ends and ends[0] > ends[1]:
            yield f"a lower bound of {name[:40]} above the upper one"


def _unreadable(found: Any) -> Iterator[str]:
    """Return faults that no kind finds: texts and numbers that cannot be written, deep nesting."""
    waiting = [(found, 0)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str) and not _is_text(value):
            yield f"a text that is no Unicode, {value[:40]!r}"
        if isinstance(value, float) and not math.isfinite(value):
            yield "a number that is too large"
        if isinstance(value, dict):
            waiting += [(one, depth + 1) for one in (*value, *value.values())]
        elif isinstance(value, list):
            waiting += [(one, depth + 1) for one in value]
        if depth > _DEPTH:
            yield "too deeply nested values"
            return


def _wrong(
    found: Any, path: Sequence[str], kind: str, sizes: Mapping[str, int], where: str = ""
) -> Iterator[str]:
    """Return the entries that are missing or of another kind, at a path that may have a *."""
    if not isinstance(found, dict):
        return  # the kind of the object itself is checked on its own
    key = path[0].removesuffix("?")
    for name in list(found) if key == "*" else [key]:
        place = f"{where}{name[:40]}"
        if name not in found:
            if len(path) == 1 and path[0] == key:
                yield f"no {place}"
        elif len(path) > 1:
            yield from _wrong(found[name], path[1:], kind, sizes, f"{place}.")
        elif not _fits(found[name], kind, sizes):
            what, _, of = kind.partition(" ")
            expected = f"a list of {sizes[of]} {what}" if of in sizes else f"a {kind}"
            yield f"{place} = {json.dumps(found[name])[:40]}; expected {expected}"


def _fits(value: Any, kind: str, sizes: Mapping[str, int]) -> bool:
    what, _, of = kind.partition(" ")
    if of in sizes:
        one = _is_text if what == "texts" else _is_number
        return isinstance(value, list) and len(value) == sizes[of] and all(map(one, value))
    if kind == "count":
        return type(value) is int and 0 <= value < 2**63
    if kind == "object":
        return isinstance(value, dict)
    if kind == "number":
        return _is_number(value)
    return _is_text(value) or (kind == "text or null" and value is None)


def _is_text(value: Any) -> bool:
    """Return whether a value is a text that can be written."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _is_number(value: Any) -> bool:
    """Return whether a value is a double-precision number, or null for one that is not finite."""
    return value is None or (type(value) in (int, float) and abs(value) <= 1.7e308)
