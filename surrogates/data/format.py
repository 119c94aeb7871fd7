"""The HDF5 format of dataset files, known to this module and `description` alone.

A dataset is one HDF5 file. Samples are rows:

    /Y        (n, n_y)  float64   parameters; attributes names, units, lower, upper
    /C        (n, n_c)  float64   observables, or class probabilities; attributes names, units,
                                  coordinate_<name> (n_c,)
    /status   (n,)      uint8     `Status`: 0 missing, 1 done, 2 failed
    /failure  (n,)      text      why a sample failed, empty otherwise
    /solver   (n,)      compound  iterations, residual (NaN: the problem computes none), seconds
    /split    (n,)      uint8     `Split`: 0 train, 1 validation, 2 test, 255 unused
    /made_by  (n,)      uint16    index into `Info.makers`; absent if the first made all samples

and one kind of derivatives of c, or none (`derivatives`); NaN where there are none:

    /dC_dY        (n, n_c, n_y) float64   whole tangents dc/dy
    /directions   (n, r, n_y)   float64   directions V of each sample, in units of y, with
    /dC_dV        (n, n_c, r)   float64   dc/dy V^T
    /functionals  (r, n_c)      float64   functionals W of c of the set, in 1 over units of c, with
                                          the attribute scale (n_c,), and with
    /dW_dY        (n, r, n_y)   float64   W dc/dy

Attributes of the file: ``schema_version``, and the fields of `Info`. Every array carries
Fletcher-32 checksums and is read a chunk at a time. Damage therefore raises an error when it is
read, never returns a wrong number or word, and costs the samples of its chunk alone.

A file holds the samples ``first`` to ``first + n`` of a set of ``total``. The shards of an array
job and the whole dataset therefore have one format; `surrogates.data.merge` joins shards. Files
larger than memory are written from pieces (`write`) and read in windows (`surrogates.data.opened`).
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from surrogates.errors import InputError
from surrogates.files import atomic_hdf5, check_free, reading, within
from surrogates.types import Array

from . import derivatives
from .description import Info, read_attributes, write_attributes

SCHEMA_VERSION = 3
_OLDEST = 2  # the same without directions and functionals
SOLVER: np.dtype[np.void] = np.dtype(
    [("iterations", "<i8"), ("residual", "<f8"), ("seconds", "<f8")]
)
"""Type of the entries of /solver: iterations, relative residual and seconds of a sample's solve."""
FAILURE_BYTES = 200
_WHAT = "dataset file"
_CHUNK_BYTES = 1 << 18
_CHUNK_ROWS = 1024  # limits how many samples one damaged chunk of short rows can cost
_BASIC = ("Y", "C", "status", "split", "failure", "solver", "made_by")
_ARRAYS = (*_BASIC, *derivatives.ARRAYS, "functionals")
_COMPRESSED = ("status", "failure", "split", "made_by")
_Kind = tuple[tuple[int, ...], Any]  # shape and dtype


@dataclass(frozen=True, kw_only=True)
class SampleArrays:
    """Consecutive rows of a dataset file's arrays.

    `surrogates.data.Dataset` adds the description and says what each array holds.
    """

    Y: Array
    C: Array
    status: npt.NDArray[np.uint8]
    split: npt.NDArray[np.uint8]
    failure: Sequence[str]
    solver: npt.NDArray[np.void]
    dC_dY: Array | None = None
    directions: Array | None = None
    dC_dV: Array | None = None
    dW_dY: Array | None = None
    made_by: npt.NDArray[np.uint16] = field(default_factory=lambda: np.empty(0, np.uint16))

    def __post_init__(self) -> None:
        """Assign all samples to the first maker unless makers are given."""
        if not len(self.made_by):
            object.__setattr__(self, "made_by", np.zeros(len(self.Y), np.uint16))


# Reading


@contextmanager
def open_arrays(
    path: str | os.PathLike[str],
) -> Iterator[tuple[Info, dict[str, h5py.Dataset]]]:
    """Open a dataset file; yield its description and its arrays, whose rows are not yet read.

    Raises:
        InputError: If it is missing, truncated, foreign, or of a newer schema.
    """
    with _open(path) as file:
        with reading(path, _WHAT):
            info = read_attributes(file)
            n = len(file["Y"])
            layout = _layout(info, n)
            if "made_by" not in file:
                del layout["made_by"]
            arrays = {name: file[name] for name in layout}
            if misfit := _misfit(arrays, layout):
                raise ValueError(misfit)
            if not 0 < n <= info.total - info.first:
                raise ValueError(f"it has {n} samples from {info.first} on, of {info.total}")
        yield info, arrays


def read_array(
    path: str | os.PathLike[str], array: h5py.Dataset, start: int = 0, stop: int | None = None
) -> Any:
    """Read rows of one array of a dataset file; those of /failure become a list of texts.

    Args:
        path: The file, for messages.
        array: The array, from `open_arrays`.
        start: The first row.
        stop: The row after the last one; None reads to the end.

    Raises:
        InputError: If the rows are damaged.
    """
    with reading(path, _WHAT):
        values = array[start:stop]
        is_text = array.name == "/failure"
        return [text.decode() for text in values.tolist()] if is_text else values


def read_info(path: str | os.PathLike[str], file: BinaryIO | None = None) -> tuple[Info, int]:
    """Read a dataset file's description and its number of samples, without its arrays.

    Args:
        path: The file.
        file: The same file, if it is already open.

    Raises:
        InputError: If it is missing, truncated, foreign, or of a newer schema.
    """
    with _open(path, file) as opened, reading(path, _WHAT, file):
        return read_attributes(opened), len(opened["Y"])


@contextmanager
def _open(path: str | os.PathLike[str], source: BinaryIO | None = None) -> Iterator[h5py.File]:
    """Open a file of this schema for reading."""
    with contextlib.ExitStack() as stack:
        with reading(path, _WHAT, source):
            file = stack.enter_context(h5py.File(path if source is None else source, "r"))
            if "schema_version" not in file.attrs:
                raise InputError(f"{path} is an HDF5 file but not a dataset of this package")
            version = int(file.attrs["schema_version"])
        if version < _OLDEST:
            raise InputError(
                f"{path} has schema version {version}, of a trial before the first release; this "
                f"package reads {_OLDEST} to {SCHEMA_VERSION}: make it again"
            )
        if version > SCHEMA_VERSION:
            raise InputError(
                f"{path} has schema version {version}, this package reads "
                f"{SCHEMA_VERSION}; update varpro-surrogates"
            )
        with reading(path, _WHAT, source):
            for name in _ARRAYS:
                within(file, name)
        yield file


def is_dataset(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is HDF5 and has the schema attribute of a dataset.

    Raises:
        InputError: If another program has it open for writing.
    """
    try:
        with h5py.File(path, "r") as file:
            return "schema_version" in file.attrs
    except (OSError, KeyError, RuntimeError) as error:  # the latter two if the file is damaged
        check_free(path, error)
        return False


# Writing


def write(path: str | os.PathLike[str], info: Info, n: int, pieces: Iterable[SampleArrays]) -> None:
    """Write a dataset file from samples that come in pieces, whole or not at all.

    Except for the path, arguments and errors are those of `fill`.

    Raises:
        InputError: If ``path`` cannot be written.
        OSError: If the disk is full or fails.
    """
    with atomic_hdf5(path) as file:
        fill(file, info, n, pieces)


def fill(file: h5py.File, info: Info, n: int, pieces: Iterable[SampleArrays]) -> None:
    """Fill a new HDF5 file with samples that come in pieces.

    One piece at a time is in memory. A file of 0 samples holds the description alone, for
    `read_info`.

    Args:
        file: The file.
        info: Its description; descriptions of the pieces are ignored.
        n: Its number of samples.
        pieces: The samples, in order.

    Raises:
        InputError: If the arrays of a piece do not fit ``info``.
        ValueError: If the pieces have more or fewer samples than n.
    """
    file.attrs["schema_version"] = SCHEMA_VERSION if info.directions or info.adjoints else _OLDEST
    # The arrays stay open: HDF5 then completes a chunk in memory that several pieces fill.
    arrays = {name: _create(file, name, *kind) for name, kind in _layout(info, n).items()}
    write_attributes(file, info)
    start = 0
    for piece in pieces:
        given, stop = _encoded(piece), start + len(piece.Y)
        if misfit := _misfit(given, _layout(info, len(piece.Y))):
            raise InputError(f"samples {start} to {stop - 1} do not fit the description: {misfit}")
        if stop > n:
            raise ValueError(f"there are more than the {n} samples announced")
        for name, array in arrays.items():
            array[start:stop] = given[name]
        start = stop
    if start < n:
        raise ValueError(f"there are {start} samples, not the {n} announced")


def _encoded(piece: SampleArrays) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a piece as the file stores them; long reasons of failure are cut."""
    cut = [text and text.encode()[:FAILURE_BYTES].decode(errors="ignore") for text in piece.failure]
    failure = np.array([text.encode() for text in cut], f"S{FAILURE_BYTES}")
    arrays: dict[str, npt.NDArray[Any]] = {
        "Y": piece.Y,
        "C": piece.C,
        "status": piece.status,
        "split": piece.split,
        "failure": failure.astype(h5py.string_dtype("utf-8", FAILURE_BYTES)),
        "solver": piece.solver,
        "made_by": piece.made_by,
    }
    found = {name: getattr(piece, name) for name in derivatives.ARRAYS}
    return arrays | {name: values for name, values in found.items() if values is not None}


def _create(file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any) -> h5py.Dataset:
    if not shape[0]:
        return file.create_dataset(name, shape, dtype)
    row_bytes = max(1, dtype.itemsize * math.prod(shape[1:]))
    rows = min(shape[0], _CHUNK_ROWS, max(1, _CHUNK_BYTES // row_bytes))
    packed = {"compression": "gzip", "shuffle": True} if name in _COMPRESSED else {}
    chunks = (rows, *shape[1:])
    return file.create_dataset(name, shape, dtype, chunks=chunks, fletcher32=True, **packed)


# Layout


def _layout(info: Info, n: int) -> dict[str, _Kind]:
    """Return the shape and type of each array of a file of n samples."""
    n_y, n_c = len(info.y_names), len(info.c_names)
    layout: dict[str, _Kind] = {
        "Y": ((n, n_y), np.dtype(np.float64)),
        "C": ((n, n_c), np.dtype(np.float64)),
        "status": ((n,), np.dtype(np.uint8)),
        "split": ((n,), np.dtype(np.uint8)),
        "failure": ((n,), h5py.string_dtype("utf-8", FAILURE_BYTES)),
        "solver": ((n,), SOLVER),
        "made_by": ((n,), np.dtype(np.uint16)),
    }
    for name, shape in derivatives.shapes(info).items():
        layout[name] = ((n, *shape), np.dtype(np.float64))
    return layout


def _misfit(arrays: Mapping[str, Any], layout: Mapping[str, _Kind]) -> str:
    """Return which array differs from a layout, and how; empty if all fit."""
    there: dict[str, _Kind] = {name: (a.shape, a.dtype) for name, a in arrays.items()}
    for name in {**layout, **there}:
        found, expected = there.get(name), layout.get(name)
        if found != expected:
            texts = [f"{kind[1]} {kind[0]}" if kind else "absent" for kind in (found, expected)]
            return f"/{name} is {texts[0]}; expected {texts[1]}"
    return ""


def digested(there: Container[str]) -> tuple[str, ...]:
    """Return which of the arrays that a dataset has count for its digest."""
    return ("Y", "C", "status", "split", *(name for name in derivatives.ARRAYS if name in there))


def digest(arrays: Iterable[tuple[tuple[int, ...], Iterable[npt.NDArray[Any]]]]) -> str:
    """Return the SHA-256 of arrays, each given as its shape and consecutive pieces of it.

    The digest of a dataset is that of its arrays `digested`, in this order.
    """
    sha = hashlib.sha256()
    for shape, pieces in arrays:
        sha.update(str(shape).encode())
        for piece in pieces:
            sha.update(np.ascontiguousarray(piece).data)
    return sha.hexdigest()
