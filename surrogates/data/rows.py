"""Rows of parameters and of predictions in files: .csv, .npy, and .h5 (/Y, /C)."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from surrogates import given
from surrogates.config import check
from surrogates.files import atomic, atomic_hdf5, reading, within
from surrogates.types import Array

from .arrays import check_finite
from .format import is_dataset
from .stored import opened
from .tables import read_csv

_TABLES = (".csv", ".npy", ".h5")


def read_table(path: str | os.PathLike[str], names: Sequence[str]) -> Array:
    """Read rows of parameters from a .csv (names in the first line or not), .npy or .h5 (/Y) file.

    Args:
        path: The file; a one-dimensional .npy or /Y is one row.
        names: Of the parameters. Those of a .csv file, of a structured array, of a dataset, or of
            the attribute ``names`` of /Y may be in any order; the columns follow.

    Returns:
        (n_rows, n_parameters) float64, in the order of ``names``.

    Raises:
        InputError: If the file is missing, truncated, of another format or size, names other
            parameters, or holds a value that is not a finite number (row and column are said).
    """
    path = Path(path)
    ending = _table_ending(path)
    there = None
    if ending == ".csv":
        there, table = read_csv(path)
    else:
        with reading(path, f"{ending} file"):
            array, there = (_read_npy(path), None) if ending == ".npy" else _read_Y(path)
        if array.dtype.names:
            array = given.real(array, names, os.fspath(path))
        table = check_finite(array[None] if array.ndim == 1 else array, os.fspath(path))
        if is_dataset(path):
            with opened(path) as stored:
                there = own_names(stored.info.y_names, "y")
        there = own_names(names, "y") and there
    n = table.shape[1]
    expected = f"expected {len(names)}, one for each parameter"
    check(n == len(names), f"{path} has {n} columns; {expected}")
    if there is None or there == list(names):
        return table
    check(len(there) == n, f"{path} has {len(there)} names for {n} columns")
    wrong = [name for name in names if there.count(name) != 1]
    check(not wrong, f"{path} must have one column {', '.join(wrong[:3])}; it has {there[:3]}, ...")
    return table[:, [there.index(name) for name in names]]


def write_table(
    path: str | os.PathLike[str],
    array: Array,
    names: Sequence[str],
    classes: Sequence[str] = (),
    *,
    array_name: str = "C",
) -> None:
    """Write rows of numbers, exactly, as .csv with a line of names, .npy, or .h5 (/C).

    Args:
        path: The file; written whole or not at all.
        array: (n_rows, n_columns) float64.
        names: Names of the columns.
        classes: Of the rows: the first column, ``class``, of a .csv file. The others hold numbers
            only.
        array_name: Name of the array in an .h5 file.

    Raises:
        InputError: If the ending is unknown or the path cannot be written.
    """
    ending = _table_ending(Path(path))
    if ending == ".h5":
        with atomic_hdf5(path) as file:
            file[array_name] = array
            file[array_name].attrs["names"] = list(names)
        return
    with atomic(path) as beside:
        if ending == ".npy":
            np.save(beside, array)
        else:
            with open(beside, "w", newline="", encoding="utf-8") as text:
                rows: list[Sequence[Any]] = [names, *array.tolist()]
                if classes:
                    first = ("class", *classes)
                    rows = [(name, *row) for name, row in zip(first, rows, strict=True)]
                csv.writer(text, lineterminator="\n").writerows(rows)


def _table_ending(path: Path) -> str:
    ending = path.suffix.lower()
    check(ending in _TABLES, f"cannot tell the format of {path}: know {', '.join(_TABLES)}")
    return ending


def _read_npy(path: Path) -> Any:
    with open(path, "rb") as file:
        array = np.load(file, allow_pickle=False)
        check(isinstance(array, np.ndarray), f"{path} is an .npz file, not one array")
        return array


def _read_Y(path: Path) -> tuple[Any, list[str] | None]:
    """Read /Y, and the names that its attribute has; None without it."""
    with h5py.File(path, "r") as file:
        array = within(file, "Y")
        check(isinstance(array, h5py.Dataset), f"{path} has no array /Y")
        found = np.atleast_1d(array.attrs.get("names", [])).tolist()
        names = [text.decode() if isinstance(text, bytes) else str(text) for text in found]
        return array[()], own_names(names, "y") if names else None


def own_names(names: Sequence[str], letter: str) -> list[str] | None:
    """Return names; None if they are an import's default names."""
    numbered = [f"{letter}{i}" for i in range(len(names))]
    return None if list(names) == numbered else list(names)
