"""Datasets from other programs: arrays Y and C in .mat, .npz and .csv files."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import scipy
import scipy.io

from .config import check, unknown
from .dataset import SOLVER, Array, Dataset, Info, Status, assign_split
from .errors import InputError
from .files import reading
from .provenance import provenance, readable

ORIENTATIONS = ("auto", "rows", "columns")


def import_file(
    path: str | os.PathLike[str],
    *,
    split: str = "0.8/0.1/0.1",
    seed: int = 0,
    samples: str = "auto",
) -> Dataset:
    """Make a dataset of another program's parameters Y and observables C.

    A .mat file (any version from 5 to 7.3) or .npz file holds two arrays named ``Y`` and ``C``. A
    .csv file has a line of names, then one line per sample; columns whose names start with y are
    parameters, those with c observables. The bounds of the parameters are their extremes.

    Args:
        path: The file.
        split: Counts or fractions of train, validation and test.
        seed: Seed of the split, >= 0.
        samples: Where the arrays hold one sample: ``rows``, ``columns`` (as MATLAB programs often
            do), or ``auto``: along the one dimension in which Y and C agree. Where they agree in
            both, ``auto`` refuses to guess. A .csv file always has them in rows.

    Returns:
        All samples done, with residual 0; the file's stem is the problem's name.

    Raises:
        InputError: If the file is missing, truncated, of another format, lacks an array, holds
            NaN, infinity or text (said where), or has fewer samples than the split needs.
    """
    path = Path(path)
    check(samples in ORIENTATIONS, unknown(f"orientation {samples!r}", samples, ORIENTATIONS))
    ending = path.suffix.lower()
    if ending == ".csv":
        Y, C, y_names, c_names = _read_columns(path)
    elif ending in _READERS:
        Y, C = _orient(path, *_read_arrays(path, _READERS[ending]), samples)
        y_names = [f"y{i}" for i in range(Y.shape[1])]
        c_names = [f"c{i}" for i in range(C.shape[1])]
    else:
        known = ", ".join((*_READERS, ".csv"))
        raise InputError(f"cannot import {path}: the known endings are {known}")
    n = len(Y)
    check(min(n, *Y.shape, *C.shape) > 0, f"{path} holds no samples, parameters or observables")
    info = Info(
        problem=readable(path.stem),
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
        **provenance(np, scipy, h5py),
    )
    return Dataset(
        info=info,
        Y=Y,
        C=C,
        status=np.full(n, Status.DONE, np.uint8),
        split=assign_split(split, n, seed),
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


_READERS: dict[str, Callable[[Path], Mapping[str, Any]]] = {".mat": _read_mat, ".npz": _read_npz}


def _read_arrays(path: Path, read: Callable[[Path], Mapping[str, Any]]) -> tuple[Array, Array]:
    """Read and check Y and C as they lie in the file."""
    with reading(path, f"{path.suffix} file"):
        arrays = read(path)
    for name in ("Y", "C"):
        there = ", ".join(key for key in arrays if not key.startswith("__")) or "nothing"
        check(name in arrays, f"{path} has no array {name}; it has {there}")
    Y, C = (check_finite(np.asarray(arrays[name]), f"{path}: {name}") for name in ("Y", "C"))
    return Y, C


def _orient(path: Path, Y: Array, C: Array, samples: str) -> tuple[Array, Array]:
    """Give Y and C with samples in rows."""
    agree = {way: Y.shape[axis] == C.shape[axis] for axis, way in enumerate(ORIENTATIONS[1:])}
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
    return (Y, C) if samples == "rows" else (Y.T.copy(), C.T.copy())
