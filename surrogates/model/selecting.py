"""A surrogate of some of the outputs of another."""

from __future__ import annotations

import dataclasses
import difflib
import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.errors import InputError, check

from .engines.selected import Rows, Selected

if TYPE_CHECKING:
    from .loaded import LoadedSurrogate


def selected(
    surrogate: LoadedSurrogate, outputs: str | int | slice | Sequence[str | int]
) -> LoadedSurrogate:
    """Return a surrogate of some outputs; see `LoadedSurrogate.select`."""
    check(
        surrogate.task == "regression",
        f"{surrogate.path} is a classifier, whose classes belong together: select a regression's",
    )
    rows = rows_of(surrogate, outputs)
    engine: Any = surrogate.engine
    if hasattr(engine, "selected"):
        engine = engine.selected(rows)
    elif isinstance(engine, Selected):
        engine = Selected(engine.whole, engine.rows[rows], engine.n_out)
    else:
        engine = Selected(engine, rows, surrogate.n_out)
    about = _of_outputs(surrogate.metadata, rows)
    if hasattr(engine, "metadata"):  # a `Reference`, which knows its metadata
        engine = dataclasses.replace(engine, metadata=about)
    return dataclasses.replace(surrogate, engine=engine, metadata=about, dataset=None)


def rows_of(surrogate: LoadedSurrogate, outputs: str | int | slice | Sequence[str | int]) -> Rows:
    """Return the indices of outputs, each checked."""
    names = surrogate.c_names
    if isinstance(outputs, slice):
        return _some(np.arange(len(names))[outputs])
    one: bool = isinstance(outputs, str) or not np.iterable(outputs)
    several: list[Any] = [outputs] if one else list(outputs)  # type: ignore[arg-type]
    if len(several) == len(names) and all(isinstance(mark, bool | np.bool_) for mark in several):
        return _some(np.flatnonzero(several))
    return _some(np.array([_index(one, names) for one in several], np.int64))


def _some(rows: Rows) -> Rows:
    check(len(rows) > 0, "expected at least one output to select; got none")
    return rows


def _index(one: Any, names: Sequence[str]) -> int:
    if isinstance(one, str):
        if one in names:
            return names.index(one)
        near = difflib.get_close_matches(one, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the first is {names[0]!r}"
        raise InputError(f"there is no output {one[:80]!r}; {hint}")
    check(
        not isinstance(one, bool | np.bool_),
        f"expected names or indices of outputs to select, or a mark for each of {len(names)}; got "
        f"{one!r}",
    )
    try:
        index = operator.index(one)
    except TypeError as error:
        raise InputError(
            f"expected the name or index of an output to select; got {one!r}"
        ) from error
    check(
        -len(names) <= index < len(names),
        f"expected an index of one of {len(names)} outputs; got {one!r}",
    )
    return index % len(names)


def _of_outputs(metadata: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """Return the metadata of some outputs. Errors of all outputs together are left out."""

    def some(values: Sequence[Any]) -> list[Any]:
        return [values[i] for i in rows]

    training = dict(metadata["training"])
    training.update({key: some(training[key]) for key in ("c_mean", "c_std") if training.get(key)})
    of_each = ("output_rms", "output_relative", "output_spread")
    errors = {
        part: {
            "samples": found["samples"],
            **{key: some(found[key]) for key in of_each if found.get(key)},
        }
        for part, found in metadata.get("errors", {}).items()
    }
    return {
        **metadata,
        **{key: some(metadata[key]) for key in ("c_names", "c_units")},
        "coordinates": {name: some(values) for name, values in metadata["coordinates"].items()},
        "training": training,
        "errors": errors,
    }
