"""Datasets from other programs: arrays Y and C in .mat, .npz and .csv files.

The targets C of a classification may be labels too, integers from 0.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import scipy
import scipy.io

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
    rows_of_classes,
)
from .errors import InputError
from .files import reading
from .inspection import are_probabilities
from .provenance import provenance, readable

ORIENTATIONS = ("auto", "rows", "columns")


def import_file(
    path: str | os.PathLike[str],
    *,
    task: str = "regression",
    split: str = "0.8/0.1/0.1",
    seed: int = 0,
    samples: str = "auto",
) -> Dataset:
    """Make a dataset of another program's parameters Y and observables C.

    A .mat file (any version from 5 to 7.3) or .npz file holds two arrays named ``Y`` and ``C``. A
    .csv file has a line of names, then one line per sample; columns whose names start with y are
    parameters, those with c observables. The bounds of the parameters are their extremes.

    Of a classification C holds the samples' labels, integers from 0, in one column or row, or class
    probabilities, one-hot as a rule, a class in each column (row, where samples are columns).

    Args:
        path: The file.
        task: ``regression`` or ``classification``.
        split: As `assign_split` takes it.
        seed: Seed of the split, >= 0.
        samples: Where the arrays hold one sample: ``rows``, ``columns`` (as MATLAB programs often
            do), or ``auto``: along the one dimension in which Y and C agree. Where they agree in
            both, ``auto`` refuses to guess. A .csv file always has them in rows.

    Returns:
        All samples done, with residual 0; the file's stem is the problem's name.

    Raises:
        InputError: If the file is missing, truncated, of another format, lacks an array, holds
            NaN, infinity or text (said where), or has fewer samples than the split needs; if labels
            or probabilities are none, or a class has no training samples.
    """
    path = Path(path)
    check(samples in ORIENTATIONS, unknown(f"orientation {samples!r}", samples, ORIENTATIONS))
    check(task in TASKS, unknown(f"task {task!r}", task, TASKS))
    ending, classes = path.suffix.lower(), task == "classification"
    c_names: list[str] = []
    if ending == ".csv":
        Y, C, y_names, c_names = _read_columns(path)
    elif ending in READERS:
        Y, C = _read_arrays(path)
        Y, C = _orient(path, Y, C, samples, labels=classes and 1 in C.shape)
        y_names = [f"y{i}" for i in range(Y.shape[1])]
    else:
        known = ", ".join((*READERS, ".csv"))
        raise InputError(f"cannot import {path}: the known endings are {known}")
    check(min(*Y.shape, *C.shape) > 0, f"{path} holds no samples, parameters or observables")
    if classes and C.shape[1] == 1:
        C, c_names = one_hot(C[:, 0], f"{path}: C"), []
    elif classes and len(wrong := np.flatnonzero(~are_probabilities(C))):
        raise InputError(
            f"{path}: C of sample {wrong[0] + 1} is no class probabilities: none is negative, and "
            f"their sum is 1 (samples counted from 1; {len(wrong)} such ones)"
        )
    check(not classes or len(set(c_names)) == len(c_names), f"{path}: two classes have one name")
    c_names = c_names or [f"{'class ' if classes else 'c'}{k}" for k in range(C.shape[1])]
    return as_dataset(
        Y,
        C,
        problem=readable(path.stem),
        task=task,
        y_names=y_names,
        c_names=c_names,
        split=split,
        seed=seed,
    )


def one_hot(labels: Array, what: str) -> Array:
    """Give class probabilities, (n, n_classes), of which each row has a 1 at the sample's label.

    Args:
        labels: The class of each sample, finite numbers, (n,).
        what: What they are, for messages.

    Raises:
        InputError: If they are not all the integers from 0 to some number, each at least once.
    """
    wrong = np.flatnonzero((labels < 0) | (labels % 1 != 0))
    if len(wrong):
        raise InputError(
            f"{what} of sample {wrong[0] + 1} is {labels[wrong[0]]:g}; labels are integers from 0 "
            f"(samples counted from 1; {len(wrong)} such ones)"
        )
    there = np.unique(labels)
    absent = np.flatnonzero(there != np.arange(len(there)))
    if len(absent):
        hint = ": subtract 1 from all of them" if there[0] == 1 else ""
        raise InputError(
            f"{what} has labels from {there[0]:g} to {there[-1]:g}, but no sample of class "
            f"{absent[0]}; labels are integers from 0{hint}"
        )
    return np.asarray(labels[:, None] == there, dtype=np.float64)


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
) -> Dataset:
    """Make a dataset of arrays that are known to be sound; see `import_file`.

    Args:
        Y: Parameters, (n, n_y).
        C: Observables or class probabilities, (n, n_c).
        problem: The dataset's name.
        task: ``regression`` or ``classification``.
        y_names: Names of the parameters.
        c_names: Names of the observables or classes.
        split: As `assign_split` takes it.
        seed: Seed of the split.
        libraries: Modules that gave the arrays, beside numpy, scipy and h5py.

    Raises:
        InputError: If the split cannot be made, or a class has no training samples.
    """
    n = len(Y)
    classes = rows_of_classes(c_names, C) if task == "classification" else None
    parts = assign_split(split, n, seed, classes)
    train = parts == Split.TRAIN
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
        **provenance(np, scipy, h5py, *libraries),
    )
    return Dataset(
        info=info,
        Y=Y,
        C=C,
        status=np.full(n, Status.DONE, np.uint8),
        split=parts,
        failure=[""] * n,
        solver=np.zeros(n, SOLVER),
    )


def read_csv(path: str | os.PathLike[str]) -> tuple[list[str] | None, Array]:
    """Read a table of numbers, separated by commas.

    A first line of which no cell is a number is taken as names.

    Returns:
        The names, None if there are none, and the numbers, (n_rows, n_columns).

    Raises:
        InputError: If the file cannot be read, has no numbers, lines of different lengths, or a
            cell that is not a finite number (line and column are said, counted from 1).
    """
    names: list[str] | None = None
    rows: list[Array] = []
    with reading(path, ".csv file"), open(path, newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        for cells in filter(None, lines):
            if names is None and not rows and not any(map(_is_number, cells)):
                names = [cell.strip() for cell in cells]
                continue
            where = f"{path}, row {lines.line_num}"
            expected = len(names) if names else len(rows[0] if rows else cells)
            if len(cells) != expected:
                raise InputError(f"{where}: expected {expected} columns; got {len(cells)}")
            rows.append(_numbers(cells, where))
    check(bool(rows), f"{path} holds no numbers")
    return names, np.array(rows)


def check_finite(array: npt.NDArray[Any], what: str) -> Array:
    """Give an array of numbers as float64, (n_rows, n_columns); one dimension means one column.

    Raises:
        InputError: If it has no such shape, or holds anything else than finite real numbers; the
            first such place is said, counted from 1.
    """
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what} holds {array.dtype.name}, not real numbers")
    if array.ndim not in (1, 2):
        raise InputError(f"{what} must have 2 dimensions; got {array.ndim}")
    columns = array[:, None] if array.ndim == 1 else array
    values = np.ascontiguousarray(columns, dtype=np.float64)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"{what} is {values[row, column]} at row {row + 1}, column {column + 1} "
            f"(counted from 1; {len(bad)} such values)"
        )
    return values


def _numbers(cells: Sequence[str], where: str) -> Array:
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        values = np.array([float(cell) if _is_number(cell) else np.nan for cell in cells])
    if not np.isfinite(values).all():
        column = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(f"{where}, column {column + 1}: {cells[column]!r} is not a finite number")
    return values


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_columns(path: Path) -> tuple[Array, Array, list[str], list[str]]:
    names, values = read_csv(path)
    if names is None:
        raise InputError(f"{path} must start with a line of names: y..., c...")
    groups = [name[:1].lower() for name in names]
    for name, group in zip(names, groups, strict=True):
        check(group in ("y", "c"), f"{path}: a name starts with y or c; got {name!r}")
    for group in ("y", "c"):
        check(group in groups, f"{path} has no column whose name starts with {group}")
    y, c = ([i for i, group in enumerate(groups) if group == wanted] for wanted in "yc")
    return values[:, y], values[:, c], [names[i] for i in y], [names[i] for i in c]


def _read_mat(path: Path) -> Mapping[str, Any]:
    if not h5py.is_hdf5(path):
        return dict(scipy.io.loadmat(path))
    with h5py.File(path, "r") as file:  # version 7.3; HDF5 sees MATLAB's columns as rows
        return {name: file[name][()].T for name in file if isinstance(file[name], h5py.Dataset)}


def _read_npz(path: Path) -> Mapping[str, Any]:
    with open(path, "rb") as file:
        arrays = np.load(file, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            raise InputError(f"{path} holds one array, not Y and C")
        return {name: arrays[name] for name in arrays.files}


READERS: dict[str, Callable[[Path], Mapping[str, Any]]] = {".mat": _read_mat, ".npz": _read_npz}


def _read_arrays(path: Path) -> tuple[Array, Array]:
    """Read and check Y and C as they lie in the file."""
    with reading(path, f"{path.suffix} file"):
        arrays = READERS[path.suffix.lower()](path)
    there = ", ".join(key for key in arrays if not key.startswith("__")) or "nothing"
    if any(np.ndim(array) == 3 for array in arrays.values()):
        there += " (a hyperspectral scene takes --ground-truth)"
    for name in ("Y", "C"):
        check(name in arrays, f"{path} has no array {name}; it has {there}")
    Y, C = (check_finite(np.asarray(arrays[name]), f"{path}: {name}") for name in ("Y", "C"))
    return Y, C


def _orient(path: Path, Y: Array, C: Array, samples: str, labels: bool) -> tuple[Array, Array]:
    """Give Y and C with samples in rows; labels are C of one row or column, whichever Y has."""
    sizes_of_C = (C.size, C.size) if labels else C.shape
    agree = {way: Y.shape[axis] == sizes_of_C[axis] for axis, way in enumerate(ORIENTATIONS[1:])}
    sizes = f"Y is {Y.shape[0]} x {Y.shape[1]} and C is {C.shape[0]} x {C.shape[1]}"
    if samples == "auto":
        ways = [way for way, fits in agree.items() if fits]
        if len(ways) > 1:
            raise InputError(
                f"{path}: {sizes}: samples may lie in rows or in columns; say which (samples)"
            )
        check(bool(ways), f"{path}: {sizes}: no dimension that would be the number of samples")
        samples = ways[0]
    check(agree[samples], f"{path}: {sizes}: not as many samples in {samples}")
    if samples == "columns":
        Y, C = Y.T.copy(), C.T.copy()
    return Y, C.reshape(-1, 1) if labels else C
