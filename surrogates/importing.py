"""Datasets from other programs: parameters Y and observables C, in tables and files of arrays.

`surrogates.tables` reads text, `surrogates.arrays` the files of numpy, MATLAB and HDF5. This module
tells Y from C and samples from columns, and makes a dataset of them. Samples without a finite c are
kept as failed. The targets C of a classification may be labels too.
"""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import scipy

from . import arrays, tables
from .config import check, unknown
from .dataset import (
    SOLVER,
    TASKS,
    Array,
    Dataset,
    Info,
    Split,
    Status,
    assign_split,
    check_classes,
    is_dataset,
    rows_of_classes,
)
from .errors import InputError
from .inspection import are_probabilities, decades, outliers, read_rows
from .provenance import provenance, readable
from .tables import Table

ORIENTATIONS = ("auto", "rows", "columns")
MISSING = ("fail", "mask")
LEAST = 3  # samples that training needs
_ENDINGS = (*arrays.READERS, ".npy", *tables.ENDINGS)
_Rows = npt.NDArray[np.int64]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Samples:
    """Samples in rows, as they are in the file.

    Attributes:
        what: The file, for messages.
        Y: Parameters, (n, n_y).
        C: Observables, class probabilities, or labels in one column, (n, n_c).
        y_names: Names of the parameters.
        c_names: Names of the observables; none where the file has none.
        rows: The samples' numbers in the file, from 0.
        labels: Whether C may be labels of any integers, (n,) texts instead of C where it has texts.
    """

    what: str
    Y: Array
    C: Array
    y_names: Sequence[str]
    c_names: Sequence[str] = ()
    rows: _Rows
    labels: bool | Sequence[str] = False


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What was asked for; see `import_file`."""

    classes: bool
    samples: str
    inputs: str | None
    outputs: str | None
    exclude: str

    def rows(self, n: int) -> _Rows:
        """Return the numbers of the samples that are not left out, of n."""
        return np.setdiff1d(np.arange(n), read_rows(self.exclude, n)) if self.exclude else _all(n)

    def words(self, option: str) -> list[str] | None:
        """Return the names that an option has, None if it is not given."""
        text = getattr(self, option)
        if text is None:
            return None
        words = [word.strip() for word in next(csv.reader([text], skipinitialspace=True), [])]
        check(all(words) and bool(words), f"--{option} has an empty name: {text!r}")
        twice = [word for word in words if words.count(word) > 1]
        check(not twice, f"--{option} names {twice[0] if twice else ''!r} twice")
        return words


def import_file(
    path: str | os.PathLike[str],
    second: str | os.PathLike[str] | None = None,
    *,
    task: str = "regression",
    split: str = "0.8/0.1/0.1",
    seed: int = 0,
    samples: str = "auto",
    inputs: str | None = None,
    outputs: str | None = None,
    missing: str = "fail",
    exclude: str = "",
    note: Callable[[str], object] = _log.info,
) -> Dataset:
    """Make a dataset of another program's parameters Y and observables C.

    A table (`surrogates.tables`, or one .npy file) has a sample in each line. ``inputs`` and
    ``outputs`` are names of columns, separated by commas, or a number: of columns from the first
    on, or up to the last. What only one of them names leaves the others to the other. Without
    either, names that start with y are parameters, and with c observables. A column that counts
    the lines and has no name but index, id or sample is left out.

    A .mat file (any version from 5 to 7.3), .npz or HDF5 file holds arrays ``Y`` and ``C``, or
    those that ``inputs`` and ``outputs`` name, by their paths in HDF5. Several names are several
    arrays of one dimension, a column each. Two files of one array each, .npy as a rule, are Y and
    C. The bounds of the parameters are their extremes.

    Of a classification C holds the samples' labels, integers from 0, in one column or row, or class
    probabilities, one-hot as a rule, a class in each column (row, where samples are columns). In a
    table labels may be any integers or texts, which name the classes.

    A sample of which c is not finite is kept as failed, with NaN.

    Args:
        path: The file.
        second: The file of C, if it is another one.
        task: ``regression`` or ``classification``.
        split: As `assign_split` takes it; failed samples are in no part.
        seed: Seed of the split, >= 0.
        samples: Where the arrays hold one sample: ``rows``, ``columns`` (as MATLAB programs often
            do), or ``auto``: along the one dimension in which Y and C agree. Where they agree in
            both, ``auto`` refuses to guess. A table always has them in rows.
        inputs: Names or number of the parameters.
        outputs: Names or number of the observables.
        missing: What a NaN in C means: ``fail``, that the sample failed, or ``mask``, that this
            entry is missing, unless all of the sample's are.
        exclude: Samples to leave out, counted from 0, as `read_rows` takes them.
        note: Is told, in a line each, what is left out, failed, missing, or looks wrong.

    Returns:
        The samples, with residual 0; the file's stem is the problem's name.

    Raises:
        InputError: If the file is missing, truncated, of another format, lacks an array or column,
            holds text, or NaN or infinity in Y (said where), or has fewer samples than the split
            needs, or 3; if labels or probabilities are none, or a class has no training samples.
    """
    path = Path(path)
    check(samples in ORIENTATIONS, unknown(f"orientation {samples!r}", samples, ORIENTATIONS))
    check(task in TASKS, unknown(f"task {task!r}", task, TASKS))
    check(missing in MISSING, unknown(f"meaning of missing {missing!r}", missing, MISSING))
    classes = task == "classification"
    check(not (classes and missing == "mask"), "missing entries are masked in a regression only")
    asked = _Asked(
        classes=classes, samples=samples, inputs=inputs, outputs=outputs, exclude=exclude
    )
    if second is None and (tables.is_table(path) or path.suffix.lower() == ".npy"):
        found = _of_table(path, asked, note)
    else:
        found = _of_arrays(path, None if second is None else Path(second), asked)
    check(len(found.Y) > 0, f"{found.what}: no samples are left")
    C, c_names = _class_probabilities(found) if classes else (found.C, found.c_names)
    dataset = as_dataset(
        found.Y,
        C,
        problem=readable(path.name[: -len(tables.ending(path))]),
        task=task,
        y_names=found.y_names,
        c_names=c_names or [f"{'class ' if classes else 'c'}{k}" for k in range(C.shape[1])],
        split=split,
        seed=seed,
        missing=missing,
    )
    for line in _remarks(dataset, found.rows, bool(exclude)):
        note(line)
    return dataset


def as_dataset(
    Y: Array,
    C: Array,
    *,
    problem: str,
    task: str,
    y_names: Sequence[str],
    c_names: Sequence[str],
    split: str,
    seed: int,
    libraries: Sequence[ModuleType] = (),
    missing: str = "fail",
) -> Dataset:
    """Make a dataset of arrays that are known to be sound but for C; see `import_file`.

    Args:
        Y: Parameters, (n, n_y).
        C: Observables or class probabilities, (n, n_c); not finite where a sample failed.
        problem: The dataset's name.
        task: ``regression`` or ``classification``.
        y_names: Names of the parameters.
        c_names: Names of the observables or classes.
        split: As `assign_split` takes it.
        seed: Seed of the split.
        libraries: Modules that gave the arrays, beside numpy, scipy and h5py.
        missing: What a NaN in C means, ``fail`` or ``mask``.

    Raises:
        InputError: If the split cannot be made, fewer than 3 samples are done and some are for
            training, an output has no value, or a class has no training samples.
    """
    n, finite = len(Y), np.isfinite(C)
    done = finite.all(axis=1)
    if missing == "mask":
        done = finite.any(axis=1) & ~np.isinf(C).any(axis=1)
        for name, some in zip(c_names, finite[done].any(axis=0), strict=True):
            check(bool(some), f"{name} has no value in any sample")
    C = np.where(done[:, None], C, np.nan)
    classes = rows_of_classes(c_names, C[done]) if task == "classification" else None
    parts = np.full(n, Split.UNUSED, dtype=np.uint8)
    parts[done] = assign_split(split, int(done.sum()), seed, classes)
    train = parts == Split.TRAIN
    check(
        done.sum() >= LEAST or bool(done.any() and not train.any()),
        f"{done.sum()} of {n} samples can be used: a surrogate needs at least {LEAST} with a "
        "finite c",
    )
    if classes is not None and train.any():
        check_classes(c_names, C[train])
    info = Info(
        problem=problem,
        task=task,
        design="imported",
        seed=seed,
        split=split,
        total=n,
        y_names=tuple(y_names),
        y_units=("1",) * len(y_names),
        y_lower=Y.min(axis=0),
        y_upper=Y.max(axis=0),
        c_names=tuple(c_names),
        c_units=("1",) * len(c_names),
        missing="mask" if np.isnan(C[done]).any() else "",
        **provenance(np, scipy, h5py, *libraries),
    )
    return Dataset(
        info=info,
        Y=Y,
        C=C,
        status=np.where(done, Status.DONE, Status.FAILED).astype(np.uint8),
        split=parts,
        failure=["" if ok else "c is not finite in the imported file" for ok in done],
        solver=np.zeros(n, SOLVER),
    )


# Tables


def _of_table(path: Path, asked: _Asked, note: Callable[[str], object]) -> _Samples:
    """Read the samples of a table, or of one .npy file, a sample in each row."""
    check(asked.samples != "columns", f"{path} is a table, and has its samples in rows")
    table = tables.read(path) if tables.is_table(path) else _table_of_array(path)
    named = [word for option in ("inputs", "outputs") for word in asked.words(option) or ()]
    counting = [i for i in table.indices() if not table.names or table.names[i] not in named]
    for i in counting:
        name = repr(table.names[i]) if table.names and table.names[i] else "without a name"
        note(f"column {i + 1}, {name}, counts the samples and is left out")
    table.check_names(but=counting)
    y, c = _columns(table, [i for i in range(table.values.shape[1]) if i not in counting], asked)
    rows = asked.rows(len(table.values))
    bad = sorted({i for i, k in table.odd if k in set(y)} & set(rows.tolist()))
    if bad:
        column = min(k for i, k in table.odd if i == bad[0] and k in set(y))
        table.refuse(bad[0], column, f"is not a finite number{_left_out(bad)}")
    labels: bool | list[str] = asked.classes and len(c) == 1
    for k in c:
        texts = table.texts(k, rows.tolist())
        numbers = np.isfinite(table.values[rows, k]).any()
        if texts and labels and not numbers:
            labels = [texts.get(row, "") for row in rows.tolist()]
        elif texts:
            among = " among labels that are numbers" if labels else ""
            table.refuse(min(texts), k, f"is not a finite number{among}")
    names = table.names
    return _Samples(
        what=str(path),
        Y=table.values[rows][:, y],
        C=table.values[rows][:, c],
        y_names=[f"y{i}" for i in range(len(y))] if names is None else [names[i] for i in y],
        c_names=() if names is None else [names[i] for i in c],
        rows=rows,
        labels=labels,
    )


def _table_of_array(path: Path) -> Table:
    array = arrays.read_npy(path)
    arrays.check_numbers(array, str(path))
    values = np.array(array, dtype=np.float64).reshape(len(array), -1)
    check(values.size > 0, f"{path} holds no samples")
    odd = {(i, k): f"{values[i, k]}" for i, k in np.argwhere(~np.isfinite(values)).tolist()}
    lines = range(1, len(values) + 1)
    return Table(path=path, names=None, values=values, odd=odd, lines=lines)


def _columns(table: Table, there: list[int], asked: _Asked) -> tuple[list[int], list[int]]:
    """Tell the columns of Y from those of C; ``there`` are all that count."""
    y, c = (_chosen(table, there, asked, option) for option in ("inputs", "outputs"))
    if y is None and c is None:
        groups = [table.names[i][:1].lower() if table.names else "" for i in there]
        y, c = ([i for i, group in zip(there, groups, strict=True) if group == g] for g in "yc")
        if not y or not c or len(y) + len(c) < len(there):
            names = [table.names[i] for i in there] if table.names else []
            has = f"the columns {_listed(names)}" if names else f"{len(there)} columns, no names"
            raise InputError(
                f"{table.path} has {has}: parameters are those that start with y and outputs with "
                "c, or those of --inputs A,B and --outputs C,D; --inputs 3 are the first three, "
                "and the rest are outputs"
            )
    elif y is None:
        y = [i for i in there if i not in (c or ())]
    elif c is None:
        c = [i for i in there if i not in y]
    assert y is not None and c is not None
    check(bool(y), f"{table.path}: --outputs leaves no column for the inputs")
    check(bool(c), f"{table.path}: --inputs leaves no column for the outputs")
    both = [i for i in y if i in c]
    what = table.names[both[0]] if both and table.names else f"column {both[0] + 1 if both else 0}"
    check(not both, f"{table.path}: {what} is an input and an output")
    return y, c


def _chosen(table: Table, there: list[int], asked: _Asked, option: str) -> list[int] | None:
    """Return the columns that an option names, None if it is not given."""
    words = asked.words(option)
    if words is None:
        return None
    if len(words) == 1 and words[0].isdecimal():
        n = int(words[0])
        check(
            0 < n < len(there),
            f"--{option} {n}: {table.path} has {len(there)} columns, of which at least one is an "
            f"input and one an output",
        )
        return there[:n] if option == "inputs" else there[-n:]
    if table.names is None:
        raise InputError(
            f"--{option} {','.join(words)}: {table.path} has no names; give a number of columns"
        )
    whole = getattr(asked, option)
    words = [whole] if whole in table.names else words
    for word in words:
        if word not in table.names:
            raise InputError(f"{table.path}: {unknown(f'column {word!r}', word, table.names)}")
    return [table.names.index(word) for word in words]


# Arrays


def _of_arrays(path: Path, second: Path | None, asked: _Asked) -> _Samples:
    """Read the samples of one file of arrays, or of two files with an array each."""
    if second is not None:
        given = asked.inputs or asked.outputs
        check(not given, "of two files, the first is Y and the second C: no --inputs or --outputs")
        (Y, y_names), (C, c_names) = _alone(path, "Y"), _alone(second, "C")
        what = {"Y": str(path), "C": str(second)}
    else:
        if path.suffix.lower() not in arrays.READERS:
            raise _foreign(path)
        if is_dataset(path) and not (asked.inputs and asked.outputs):
            raise InputError(
                f"{path} is a dataset already, and needs no import; this is for files such as .npz"
            )
        (Y, y_names), (C, c_names) = (
            _named(path, asked.words(option), default)
            for option, default in (("inputs", "Y"), ("outputs", "C"))
        )
        what = {"Y": f"{path}: Y", "C": f"{path}: C"}
    arrays.check_numbers(Y, what["Y"])
    arrays.check_numbers(C, what["C"])
    check(min(*Y.shape, *C.shape) > 0, f"{path} holds no samples, parameters or observables")
    labels = asked.classes and (C.ndim == 1 or 1 in C.shape)
    turned = _turned(str(path), Y, C, asked.samples, labels)
    Y, C = (_in_rows(array, turned) for array in (Y, C.ravel() if labels else C))
    rows = asked.rows(len(Y))
    _check_finite(Y, rows, what["Y"], turned)
    return _Samples(
        what=what["C"],
        Y=Y[rows],
        C=C[rows],
        y_names=y_names if len(y_names) == Y.shape[1] else [f"y{i}" for i in range(Y.shape[1])],
        c_names=c_names if len(c_names) == C.shape[1] else (),
        rows=rows,
    )


def _foreign(path: Path) -> InputError:
    hint = "; save it as .csv" if path.suffix.lower() in (".xlsx", ".xls", ".ods") else ""
    return InputError(f"cannot import {path}: the known endings are {', '.join(_ENDINGS)}{hint}")


def _alone(path: Path, name: str) -> tuple[npt.NDArray[Any], Sequence[str]]:
    """Read the one array of a file, with the names of its columns if it has them."""
    if tables.is_table(path):
        table = tables.read(path)
        table = table.without(table.indices())
        table.check_names()
        for i, k in sorted(table.odd):
            if name == "Y" or k in range(table.values.shape[1]) and tables.is_text(table.odd[i, k]):
                table.refuse(i, k)
        return table.values, table.names or ()
    if path.suffix.lower() == ".npy":
        return arrays.read_npy(path), ()
    if path.suffix.lower() not in arrays.READERS:
        raise _foreign(path)
    there = arrays.names(path)
    if name not in there and len(there) != 1:
        raise InputError(f"{path} has no array {name}, nor a single one; it has {_listed(there)}")
    return arrays.read(path, name if name in there else there[0]), ()


def _named(
    path: Path, words: list[str] | None, default: str
) -> tuple[npt.NDArray[Any], Sequence[str]]:
    """Read an array by its name; several, of one dimension each, are columns of one."""
    if words is None:
        there = arrays.names(path)
        if default not in there:
            scene = " (a hyperspectral scene takes --ground-truth)" * _has_cube(path, there)
            raise InputError(
                f"{path} has no array {default}; it has {_listed(there)}{scene}; --inputs NAME "
                "and --outputs NAME say which are Y and C"
            )
        return arrays.read(path, default), ()
    found = [arrays.read(path, word) for word in words]
    names = [word.rpartition("/")[2] for word in words]
    if len(found) == 1:
        return found[0], names
    for word, array in zip(words, found, strict=True):
        what = f"{path}: {word}"
        arrays.check_numbers(array, what)
        check(array.ndim == 1 or 1 in array.shape, f"{what} is not of one dimension")
        check(
            array.size == found[0].size,
            f"{what} has {array.size} values, {words[0]} {found[0].size}",
        )
    return np.column_stack([array.ravel() for array in found]), names


def _has_cube(path: Path, names: Sequence[str]) -> bool:
    for name in names:
        try:
            if arrays.read(path, name).ndim == 3:
                return True
        except arrays.NotNumbersError:
            continue
    return False


def _turned(
    path: str, Y: npt.NDArray[Any], C: npt.NDArray[Any], samples: str, labels: bool
) -> bool:
    """Tell whether samples lie in columns; an array of one dimension has a sample in each entry."""

    def sizes(array: npt.NDArray[Any], flat: bool) -> tuple[int, int]:
        return (array.size, array.size) if flat else (array.shape[0], array.shape[-1])

    of_Y, of_C = sizes(Y, Y.ndim == 1), sizes(C, labels or C.ndim == 1)
    ways = [way for way, n, m in zip(ORIENTATIONS[1:], of_Y, of_C, strict=True) if n == m]
    said = " and ".join(
        f"{name} is {' x '.join(map(str, array.shape))}" for name, array in (("Y", Y), ("C", C))
    )
    if samples != "auto":
        check(samples in ways, f"{path}: {said}: not as many samples in {samples}")
        return samples == "columns"
    check(bool(ways), f"{path}: {said}: no dimension that would be the number of samples")
    if len(ways) == 2 and Y.ndim == 2 and (min(of_Y) >= LEAST or of_Y[0] == of_Y[1]):
        raise InputError(
            f"{path}: {said}: samples may lie in rows or in columns; say which (--samples)"
        )
    # Fewer samples than training needs are none: a column, or a row, is of many.
    return ways == ["columns"] or (len(ways) == 2 and of_Y[1] > of_Y[0])


def _in_rows(array: npt.NDArray[Any], turned: bool) -> Array:
    if array.ndim == 1:
        return np.array(array[:, None], dtype=np.float64)
    return np.array(array.T if turned else array, dtype=np.float64, order="C")


def _check_finite(Y: Array, rows: _Rows, what: str, turned: bool) -> None:
    """Refuse parameters that are not finite, in rows of Y; say where they lie in the file."""
    bad = np.argwhere(~np.isfinite(Y[rows]))
    if len(bad):
        sample, column = int(rows[bad[0, 0]]), int(bad[0, 1])
        at = (column, sample) if turned else (sample, column)
        raise InputError(
            f"{what} is {Y[sample, column]} at row {at[0] + 1}, column {at[1] + 1} (counted from "
            f"1; {len(bad)} such values){_left_out(np.unique(rows[bad[:, 0]]).tolist())}"
        )


def _left_out(rows: Sequence[int]) -> str:
    """Say how to leave samples out."""
    return f"; --exclude {','.join(map(str, rows))} leaves out" if len(rows) <= 20 else ""


# Classes


def _class_probabilities(found: _Samples) -> tuple[Array, Sequence[str]]:
    """Return the class probabilities of samples, NaN where there are none, and the names."""
    C = found.C
    if not isinstance(found.labels, bool):
        texts = np.array(found.labels)
        names = sorted(set(found.labels) - {""})
        check(bool(names), f"{found.what}: no sample has a class")
        one = np.array([texts == name for name in names], dtype=np.float64).T
        return np.where((texts == "")[:, None], np.nan, one), names
    known = np.isfinite(C).all(axis=1)
    check(bool(known.any()), f"{found.what}: no sample has a class")
    if C.shape[1] == 1:
        what, rows = f"{found.what}: C" if found.labels else found.what, found.rows[known]
        one, names = _one_hot(C[known, 0], rows, what, gaps=found.labels)
        whole = np.full((len(C), len(names)), np.nan)
        whole[known] = one
        return whole, names
    wrong = np.flatnonzero(known & ~are_probabilities(np.where(known[:, None], C, 0)))
    if len(wrong):
        raise InputError(
            f"{found.what} of sample {found.rows[wrong[0]] + 1} is no class probabilities: none is "
            f"negative, and their sum is 1 (samples counted from 1; {len(wrong)} such ones)"
        )
    return C, found.c_names


def _one_hot(labels: Array, rows: _Rows, what: str, *, gaps: bool) -> tuple[Array, list[str]]:
    """Return class probabilities, a 1 at each sample's label, and the classes' names.

    Args:
        labels: The class of each sample, finite numbers, (n,).
        rows: The samples' numbers in the file, from 0.
        what: What the labels are, for messages.
        gaps: Whether they may be any integers.

    Raises:
        InputError: If they are no integers, or, without ``gaps``, not all the integers from 0 to
            some number, each at least once.
    """
    wrong = np.flatnonzero((labels % 1 != 0) | ((labels < 0) & (not gaps)))
    if len(wrong):
        raise InputError(
            f"{what} of sample {rows[wrong[0]] + 1} is {labels[wrong[0]]:g}; labels are integers "
            f"from 0 (samples counted from 1; {len(wrong)} such ones)"
        )
    there = np.unique(labels)
    absent = np.flatnonzero(there != np.arange(len(there)))
    if len(absent) and not gaps:
        hint = ": subtract 1 from all of them" if there[0] == 1 else ""
        raise InputError(
            f"{what} has labels from {there[0]:g} to {there[-1]:g}, but no sample of class "
            f"{absent[0]}; labels are integers from 0{hint}"
        )
    one = np.asarray(labels[:, None] == there, dtype=np.float64)
    return one, [f"class {label:.0f}" for label in there]


# Remarks


def _remarks(dataset: Dataset, rows: _Rows, excluded: bool) -> list[str]:
    """Say what a user ought to know of an import, with the samples' numbers in the file."""
    info, found = dataset.info, []
    failed, done = (
        np.flatnonzero(dataset.status == status) for status in (Status.FAILED, Status.DONE)
    )
    if len(failed):
        one = len(failed) == 1
        lacks = "class" if info.task == "classification" else "finite c"
        found.append(
            f"{len(failed)} sample{'' if one else 's'} of {len(rows)} {'has' if one else 'have'} "
            f"no {lacks} and {'is' if one else 'are'} kept as failed: {_some(rows[failed])}"
        )
    C = dataset.C[done]
    if info.missing:
        gaps = np.isnan(C)
        found.append(
            f"{gaps.sum()} entries of c are missing, in {gaps.any(axis=1).sum()} of {len(C)} "
            "samples, and masked"
        )
    classes = info.task == "classification"
    both = dataset.Y[done] if classes else np.hstack([dataset.Y[done], C])
    far = outliers(both)
    if far:
        names = (*info.y_names, *info.c_names)
        worst = max(far, key=lambda one: one[2])
        numbers = rows[done[[row for row, _, _ in far]]]
        several = len(far) > 1
        at = f" (sample {rows[done[worst[0]]]})" if several else ""
        found.append(
            f"warning: {'samples' if several else 'sample'} {_some(numbers)} "
            f"{'are' if several else 'is'} far from the others: {'up to ' * several}"
            f"{worst[2]:.2g} robust deviations in {names[worst[1]]}{at}; --exclude "
            f"{_ranges(numbers)} leaves out"
        )
    if not classes:
        found += _logarithms(info, np.delete(C, [row for row, _, _ in far], axis=0))
    if excluded and found:
        found.append("samples are counted from 0, before --exclude")
    return found


def _logarithms(info: Info, C: Array) -> list[str]:
    """Name the outputs of which a surrogate had better learn the logarithm."""
    spans = decades(C)
    wide = np.flatnonzero(spans > 3)
    if not len(wide):
        return []
    names = [info.c_names[k] for k in wide]
    low, high = f"{spans[wide].min():.2g}", f"{spans[wide].max():.2g}"
    size = low if low == high else f"{low} to {high}"
    its = "its logarithm" if len(wide) == 1 else "their logarithms"
    return [
        f"{_listed(names, 5)} span{'s' * (len(wide) == 1)} {size} decades: train --log "
        f"{','.join(names[:5])}{',...' * (len(names) > 5)} learns {its}"
    ]


def _some(numbers: _Rows) -> str:
    return _listed([str(number) for number in numbers.tolist()], 5)


def _ranges(numbers: _Rows) -> str:
    """Write the first numbers as --exclude takes them."""
    return ",".join(map(str, numbers[:20].tolist())) + ",..." * (len(numbers) > 20)


def _listed(texts: Sequence[str], most: int = 20) -> str:
    """List texts, or the first of them and the number of the others."""
    more = len(texts) - most
    return (", ".join(texts[:most]) or "nothing") + (f" and {more} more" if more > 0 else "")


def _all(n: int) -> _Rows:
    return np.arange(n)
