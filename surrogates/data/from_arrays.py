"""Datasets of arrays and data frames in memory."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates import given
from surrogates.config import check, unknown
from surrogates.errors import InputError
from surrogates.types import Array

from .attached import attach
from .dataset import Dataset
from .description import PARTS, Split, Status
from .importing import MISSING, as_dataset

_log = logging.getLogger(__name__)

Shares = str | Sequence[float] | Sequence[str] | npt.NDArray[Any]
"""A split: a text as `assign_split` takes it, three counts or fractions, or each sample's part."""
Bounds = Mapping[str, tuple[float, float]] | Sequence[Any]
"""Lower and upper bounds of parameters: by name, or two sequences."""


def from_arrays(
    Y: Any,
    C: Any = None,
    *,
    labels: Any = None,
    y_names: Sequence[str] = (),
    c_names: Sequence[str] = (),
    y_units: Sequence[str] = (),
    c_units: Sequence[str] = (),
    bounds: Bounds | None = None,
    dC_dY: Any = None,
    directions: Any = None,
    dC_dV: Any = None,
    split: Shares = "0.8/0.1/0.1",
    seed: int = 0,
    missing: str = "fail",
    name: str = "data",
) -> Dataset:
    """Return a dataset of parameters Y, and of observables C or labels, perhaps with derivatives.

    Args:
        Y: Parameters, (n, n_y), or (n,) of one parameter: an array, a list, or a data frame, whose
            columns are named.
        C: Observables, (n, n_c) or (n,), in the same forms.
        labels: Instead of C, the class of each sample: n texts or integers.
        y_names: Names of the parameters; a data frame's own, or y0, y1, ... if empty.
        c_names: Names of the observables, likewise; of the classes in the order of sorted labels.
        y_units: Units of the parameters; none if empty.
        c_units: Units of the observables; none if empty.
        bounds: Bounds of the parameters, ``{name: (lower, upper)}`` or two sequences; the samples'
            extremes otherwise.
        split: Counts or fractions of training, validation and test samples, ``0.8/0.1/0.1`` or
            ``(400, 200, 200)``; or the part of each sample, a text of `PARTS` or ``unused``.
        seed: Seed of the split, >= 0.
        missing: What a NaN in C means: ``fail``, that the sample failed and is left out, or
            ``mask``, that this entry alone is missing.
        name: The dataset's name.
        dC_dY: Derivatives of C by Y, (n, n_c, n_y). They are left out where they are not finite.
        directions: Instead of dC_dY, directions of each sample, (n, r, n_y), in units of y.
        dC_dV: Derivatives of C in these, (n, n_c, r): ``dc_i/dy @ directions[i, k]``.

    Raises:
        InputError: If the arrays do not fit each other, are no numbers, or have too few samples.
    """
    check(missing in MISSING, unknown(f"meaning of missing {missing!r}", missing, MISSING))
    parameters, y_names = _table(Y, "Y", "y", y_names)
    _check_finite(parameters, y_names)
    task, values, c_names = _targets(C, labels, c_names)
    rows, n = len(values), len(parameters)
    check(rows == n, f"Y has {n} samples, and {rows} are given to learn from it")
    _check_units("y", y_names, y_units)
    _check_units("c", c_names, c_units)
    parts = _parts(split, n)
    about: dict[str, Any] = {"y_units": y_units, "c_units": c_units, "missing": missing}
    about |= {"y_names": y_names, "c_names": c_names, "problem": name, "task": task}
    about |= {"split": _text(split) if parts is None else "1/0/0", "seed": seed}
    derivatives = {"dC_dY": dC_dY, "directions": directions, "dC_dV": dC_dV}
    dataset = attach(as_dataset(parameters, values, **about), derivatives, _log.warning)
    dataset = dataset if bounds is None else _bounded(dataset, bounds)
    return dataset if parts is None else _divided(dataset, parts)


def _targets(C: Any, labels: Any, names: Sequence[str]) -> tuple[str, Array, Sequence[str]]:
    """Return the task, the observables or class probabilities, and their names."""
    check((C is None) != (labels is None), "give either C, observables, or labels, of classes")
    if labels is None:
        return ("regression", *_table(C, "C", "c", names))
    return ("classification", *_one_hot(labels, names))


def _check_finite(Y: Array, names: Sequence[str]) -> None:
    wrong = np.argwhere(~np.isfinite(Y))
    if len(wrong):
        row, column = wrong[0]
        raise InputError(
            f"{names[column]} of sample {row} is {Y[row, column]}: expected finite numbers in Y"
        )


def _check_units(letter: str, names: Sequence[str], units: Sequence[str]) -> None:
    check(
        len(units) in (0, len(names)) and not isinstance(units, str),
        f"{letter}_units must be {len(names)} texts, one for each name; got {units!r}",
    )


def _divided(dataset: Dataset, parts: npt.NDArray[np.uint8]) -> Dataset:
    """Return a dataset whose samples are in the parts that the caller gave."""
    done = dataset.status == Status.DONE
    split = np.where(done, parts, Split.UNUSED).astype(np.uint8)
    info = dataclasses.replace(dataset.info, split="given")
    return dataclasses.replace(dataset, info=info, split=split)


def _table(values: Any, what: str, letter: str, names: Sequence[str]) -> tuple[Array, list[str]]:
    """Return numbers, (n, k), and the names of their columns."""
    if hasattr(values, "to_frame"):  # a series of pandas or polars is one column
        values = values.to_frame()
    own = given.column_names(values)
    check(not isinstance(names, str), f"{letter}_names must be a list of names; got {names!r}")
    order = list(names) or own
    array = given.real(values, order, what)
    array = array[:, None] if array.ndim == 1 else array
    check(
        array.ndim == 2 and array.shape[1] > 0,
        f"expected {what} of shape (n, k), samples in rows; got {array.shape}",
    )
    order = order or [f"{letter}{k}" for k in range(array.shape[1])]
    check(
        len(order) == array.shape[1],
        f"{what} has {array.shape[1]} columns, and {len(order)} names are given",
    )
    twice = [name for name, count in Counter(order).items() if count > 1]
    check(not twice, f"{letter}_names has {twice[:1]} twice")
    return np.ascontiguousarray(array), [str(name) for name in order]


def _one_hot(labels: Any, names: Sequence[str]) -> tuple[Array, list[str]]:
    """Return class probabilities, (n, n_classes), and the names of the classes."""
    values = np.asarray(labels)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    check(values.ndim == 1, f"expected one label for each sample; got the shape {values.shape}")
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values % 1 == 0).all():
        values = values.astype(np.int64)
    known = values.dtype.kind in "iubUS" or all(isinstance(value, str) for value in values)
    check(known, f"expected texts or integers as labels, none missing; got {values.dtype}")
    found, index = np.unique(
        values.astype(str) if values.dtype.kind == "O" else values, return_inverse=True
    )
    order = [str(name) for name in names] or [str(label) for label in found.tolist()]
    check(
        len(order) == len(found),
        f"there are {len(found)} classes in labels, and {len(order)} names in c_names",
    )
    return np.eye(len(found))[index.reshape(-1)], order


def _text(split: Shares) -> str:
    """Return a split as `assign_split` takes it."""
    if isinstance(split, str):
        return split
    return "/".join(f"{number:g}" if isinstance(number, float) else str(number) for number in split)


def _parts(split: Shares, n: int) -> npt.NDArray[np.uint8] | None:
    """Return the part of each sample where these are given; None otherwise."""
    if isinstance(split, str):
        return None
    values = np.asarray(split)
    if values.dtype.kind not in "UO":
        check(
            values.shape == (3,),
            "expected a split of three counts or fractions, or each sample's part as a text; got "
            f"the shape {values.shape}",
        )
        return None
    known = (*PARTS, Split.UNUSED.name.lower())
    for part in set(values.tolist()):
        check(part in known, unknown(f"part {part!r} in split", str(part), known))
    check(values.shape == (n,), f"expected the part of each of {n} samples; got {values.shape}")
    return np.array([Split[str(part).upper()] for part in values.tolist()], np.uint8)


def _bounded(dataset: Dataset, bounds: Bounds) -> Dataset:
    """Return a dataset with bounds of the parameters."""
    info = dataset.info
    lower, upper = info.y_lower.copy(), info.y_upper.copy()
    if isinstance(bounds, Mapping):
        for name, ends in bounds.items():
            check(name in info.y_names, unknown(f"name {name!r} in bounds", name, info.y_names))
            pair = np.asarray(ends, dtype=np.float64)
            check(pair.shape == (2,), f"bounds of {name} must be two numbers; got {ends!r:.60}")
            k = info.y_names.index(name)
            lower[k], upper[k] = pair
    else:
        check(len(bounds) == 2, f"bounds must be lower and upper ones; got {len(bounds)} sequences")
        shape = lower.shape
        lower, upper = (np.broadcast_to(np.asarray(b, float), shape).copy() for b in bounds)
    check(
        bool(np.isfinite([lower, upper]).all() and (lower <= upper).all()),
        "bounds must be finite, and no lower one above its upper one",
    )
    outside = np.argwhere((dataset.Y < lower) | (dataset.Y > upper))
    if len(outside):
        row, k = outside[0]
        raise InputError(
            f"{info.y_names[k]} of sample {row} is {dataset.Y[row, k]:.6g}, outside its bounds "
            f"{lower[k]:.6g} to {upper[k]:.6g}"
        )
    info = dataclasses.replace(info, y_lower=lower, y_upper=upper)
    return dataclasses.replace(dataset, info=info)
