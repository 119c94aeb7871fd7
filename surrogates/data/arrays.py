"""Arrays in files of other programs: .npy, .npz, .mat of any version from 5 to 7.3, and HDF5.

Objects that are not numbers are refused by name and never read as numbers: a MATLAB file of version
7.3 stores text as codes, an empty matrix as its size, and objects as references.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
import scipy.io
import scipy.sparse

from surrogates.config import check, unknown
from surrogates.errors import InputError
from surrogates.files import members, reading, within
from surrogates.types import Array

_HDF5 = (".h5", ".hdf5")
_MOST = 1 << 31  # entries of a sparse matrix, once it is dense
_MATLAB_NUMBERS = frozenset(
    (
        "double",
        "single",
        "logical",
        *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)),
    )
)


class NotNumbersError(InputError):
    """Raised for an array that holds something else than numbers."""


class _Reader(NamedTuple):
    """The functions for one format: list the names of a file's arrays, and read one of them."""

    names: Callable[[Path], list[str]]
    read: Callable[[Path, str], Any]


def names(path: Path) -> list[str]:
    """List the names of the arrays of a file; in groups of an HDF5 file, these are paths.

    Raises:
        InputError: If it is missing, truncated or of another format.
    """
    with reading(path, f"{path.suffix} file"):
        return READERS[path.suffix.lower()].names(path)


def read(path: Path, name: str) -> npt.NDArray[Any]:
    """Read one array of a file; a sparse matrix becomes a dense one.

    Raises:
        InputError: If the file is damaged, has no such array, or the array does not hold numbers.
    """
    there = names(path)
    with reading(path, f"{path.suffix} file"):
        found = READERS[path.suffix.lower()].read(path, name)
    if found is None:
        raise InputError(f"{path}: {unknown(f'array {name!r}', name, there or ['none'])}")
    if scipy.sparse.issparse(found):
        check(np.prod(found.shape, dtype=float) <= _MOST, f"{path}: {name} is sparse and too large")
        with reading(path, f"{path.suffix} file"):
            # Indices beyond the end would be written to; only this format checks them.
            found.tocsc().check_format(full_check=True)
        found = found.toarray()
    return np.asarray(found)


def has_order(path: Path, name: str) -> bool:
    """Return whether the order of an array's dimensions is known.

    MATLAB reverses the dimensions in a file of version 7.3 and marks each array, so that `read`
    transposes it. An HDF5 array without the mark was written by another program, which may or may
    not have reversed them.
    """
    with reading(path, f"{path.suffix} file"):
        if not h5py.is_hdf5(path):
            return True
        with h5py.File(path, "r") as file:
            return "MATLAB_class" in file[name].attrs


def read_npy(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read the one array of a .npy file.

    Raises:
        InputError: If it is missing, truncated or foreign.
    """
    with reading(path, ".npy file"), open(path, "rb") as file:
        array = _loaded(str(path), lambda: np.load(file, allow_pickle=False))
        check(isinstance(array, np.ndarray), f"{path} is an .npz file, not one array")
        return np.asarray(array)


def check_numbers(array: npt.NDArray[Any], what: str) -> None:
    """Refuse an array unless it holds real numbers in one or two dimensions."""
    if array.dtype.kind not in "biuf":
        raise NotNumbersError(f"{what} holds {_kind(array)}, not real numbers")
    if array.ndim not in (1, 2):
        raise InputError(f"{what} must have 2 dimensions; got {array.ndim}")


def check_finite(array: npt.NDArray[Any], what: str) -> Array:
    """Return an array of numbers as float64, (n_rows, n_columns); one dimension means one column.

    Raises:
        InputError: If it has another shape, or holds anything else than finite real numbers; the
            message names the first such place, counted from 1.
    """
    check_numbers(array, what)
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


def _kind(array: npt.NDArray[Any]) -> str:
    """Return a description of the content of an array that does not hold real numbers."""
    if array.dtype.names:
        return f"a structure of {', '.join(array.dtype.names[:5])}"
    kinds = {"O": "objects (a cell array, say)", "U": "text", "S": "text"}
    return kinds.get(array.dtype.kind, array.dtype.name)


def _names_mat(path: Path) -> list[str]:
    if h5py.is_hdf5(path):
        return _names_hdf5(path)
    return [name for name, _, _ in scipy.io.whosmat(path)]


def _read_mat(path: Path, name: str) -> Any:
    if h5py.is_hdf5(path):
        return _read_hdf5(path, name)
    kinds = {key: kind for key, _, kind in scipy.io.whosmat(path)}
    if kinds.get(name) in ("struct", "cell", "char", "function", "object", "opaque", "unknown"):
        raise NotNumbersError(f"{path}: {name} is a MATLAB {kinds[name]}, not an array of numbers")
    return scipy.io.loadmat(path, variable_names=[name]).get(name)


def _names_npz(path: Path) -> list[str]:
    with open(path, "rb") as file:
        arrays = np.load(file, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            raise InputError(f"{path} holds one array, not Y and C")
        members(path, arrays.zip, _memory())
        return list(arrays.files)


def _memory() -> int:
    """Return the memory of this machine in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _read_npz(path: Path, name: str) -> Any:
    with np.load(path, allow_pickle=False) as arrays:
        if name not in arrays.files:
            return None
        return _loaded(f"{path}: {name}", lambda: arrays[name])


def _loaded(what: str, load: Callable[[], Any]) -> Any:
    """Load an array of numpy; refuse one of objects, which would run code of the file."""
    try:
        return load()
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise NotNumbersError(f"{what} holds objects, not real numbers") from error
        raise


def _names_hdf5(path: Path) -> list[str]:
    found: list[str] = []

    def visit(name: str, item: Any) -> None:
        sparse = isinstance(item, h5py.Group) and "MATLAB_sparse" in item.attrs
        within = any(name.startswith(f"{group}/") for group in groups)
        if sparse:
            groups.append(name)
        if (sparse or isinstance(item, h5py.Dataset)) and name[0] != "#" and not within:
            found.append(name)

    groups: list[str] = []
    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


def _read_hdf5(path: Path, name: str) -> Any:
    with h5py.File(path, "r") as file:
        item = within(file, name)
        if item is None:
            return None
        kind = _text(item.attrs.get("MATLAB_class", b""))
        if fault := _fault(item, kind):
            raise NotNumbersError(f"{path}: {name} is {fault}")
        if "MATLAB_sparse" in item.attrs:
            parts = {part: within(file, f"{name}/{part}") for part in ("jc", "ir", "data")}
            lacks = [part for part in parts if parts[part] is None]
            check(
                lacks in ([], ["ir", "data"]),
                f"{path}: {name} is a sparse matrix without its {' and '.join(lacks)}",
            )
            return _sparse(parts, int(item.attrs["MATLAB_sparse"]))
        array = np.asarray(item[()])
        for blank in ("_FillValue", "missing_value"):  # netCDF's marks of missing values
            if blank in item.attrs and array.dtype.kind in "iuf":
                array = np.where(np.isin(array, item.attrs[blank]), np.nan, array)
        # MATLAB's columns are HDF5's rows.
        return array.T if kind or path.suffix.lower() == ".mat" else array


def _fault(item: Any, kind: str) -> str:
    """Return why an object of an HDF5 file is not an array of numbers; empty if it is one."""
    attributes = item.attrs
    if kind and kind not in _MATLAB_NUMBERS:
        return f"a MATLAB {kind}, not an array of numbers"
    if "MATLAB_object_decode" in attributes:
        return "an object of MATLAB, not an array of numbers"
    if attributes.get("MATLAB_empty", 0) or getattr(item, "shape", ()) is None:
        return "empty"
    if "MATLAB_sparse" not in attributes and not isinstance(item, h5py.Dataset):
        return "a group of arrays, not an array"
    packed = [name for name in ("scale_factor", "add_offset") if name in attributes]
    return f"packed ({packed[0]}): unpack it first" if packed else ""


def _sparse(parts: Mapping[str, Any], n_rows: int) -> Any:
    """Return a sparse matrix from MATLAB's arrays: by columns; no data means that it is zero."""
    starts = parts["jc"][()].astype(np.int64)
    shape = (n_rows, len(starts) - 1)
    if parts["data"] is None:
        return scipy.sparse.csc_matrix(shape)
    data, rows = parts["data"][()], parts["ir"][()].astype(np.int64)
    if data.dtype.names:
        data = data[data.dtype.names[0]] + 1j * data[data.dtype.names[1]]
    return scipy.sparse.csc_matrix((data, rows, starts), shape)


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.size == 1:  # as other programs than MATLAB write it
        value = value.ravel()[0]
    return value.decode() if isinstance(value, bytes) else str(value)


READERS = {
    ".mat": _Reader(_names_mat, _read_mat),
    ".npz": _Reader(_names_npz, _read_npz),
    **dict.fromkeys(_HDF5, _Reader(_names_hdf5, _read_hdf5)),
}
