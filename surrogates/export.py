"""Surrogate files: a TorchScript module that needs only torch, with its description inside.

``torch.jit.load(path)(y)`` predicts, in a process without this package or from C++. The extra file
``metadata.json`` in it holds what `metadata` describes. TorchScript is deprecated in favour of
torch.export, which has no C++ loader without a compiler nor several methods in one file; torch
says so at each call, and this one file that calls ``torch.jit`` keeps it from the users.
"""

from __future__ import annotations

import copy
import csv
import dataclasses
import io
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import torch

from .config import check
from .dataset import Array, Dataset, Info
from .errors import InputError
from .files import atomic, atomic_hdf5, check_zip, reading
from .importing import check_finite, read_csv
from .provenance import provenance
from .surrogate import Evaluation, Surrogate

FORMAT = "varpro-surrogates"
SCHEMA_VERSION = 1
_METADATA = "metadata.json"
_DESCRIBED = (
    *("problem", "y_names", "y_units", "y_lower", "y_upper"),
    *("c_names", "c_units", "coordinates"),
)
_TABLES = (".csv", ".npy", ".h5")


@dataclass(frozen=True, kw_only=True)
class LoadedSurrogate:
    """A surrogate file in memory.

    Attributes:
        module: Its TorchScript module: ``forward``, ``jacobian``, ``jvp``, ``vjp``, ``in_domain``
            (see `surrogates.surrogate.Surrogate`).
        metadata: What it is, see `metadata`.
        path: Where it came from, for messages.
    """

    module: torch.jit.ScriptModule
    metadata: Mapping[str, Any]
    path: str

    @property
    def n_in(self) -> int:
        """Number of parameters."""
        return len(self.metadata["y_names"])

    @property
    def n_out(self) -> int:
        """Number of observables."""
        return len(self.metadata["c_names"])

    def predict(self, Y: Array, *, batch: int = 8192) -> Array:
        """Predict the observables.

        Args:
            Y: Parameters, (n, n_in), in the units of the metadata.
            batch: Samples predicted at once, which bounds the memory.

        Returns:
            C, (n, n_out) float64.

        Raises:
            InputError: If Y has another size.
        """
        tensor = self._tensor(Y)
        with torch.no_grad():
            parts = [self.module(tensor[i : i + batch]) for i in range(0, len(Y), batch)]
        return np.concatenate(parts) if parts else np.empty((0, self.n_out))

    def in_domain(self, Y: Array) -> npt.NDArray[np.bool_]:
        """Tell whether parameters, (n, n_in), lie in the training box, (n,) bool.

        Raises:
            InputError: If Y has another size.
        """
        inside: npt.NDArray[np.bool_] = self.module.in_domain(self._tensor(Y)).numpy()
        return inside

    def _tensor(self, Y: Array) -> torch.Tensor:
        if Y.ndim != 2 or Y.shape[1] != self.n_in:
            raise InputError(
                f"{self.path} takes {self.n_in} parameters: expected (n, {self.n_in}); "
                f"got {Y.shape}"
            )
        return torch.tensor(Y, dtype=torch.float64)

    def check_matches(self, info: Info) -> None:
        """Refuse a dataset whose sizes are not the surrogate's.

        Raises:
            InputError: If the numbers of parameters or observables differ.
        """
        there = (len(info.y_names), len(info.c_names))
        if there != (self.n_in, self.n_out):
            raise InputError(
                f"{self.path} takes {self.n_in} parameters and gives {self.n_out} observables; "
                f"the dataset ({info.problem}) has {there[0]} and {there[1]}"
            )


def metadata(
    dataset: Dataset, *, training: Mapping[str, Any], errors: Mapping[str, Evaluation]
) -> dict[str, Any]:
    """Describe a surrogate for those who have only its file.

    Args:
        dataset: What it was trained on.
        training: Settings and outcome of the training: dataclasses, mappings, arrays and values.
        errors: Errors on held-out parts of the dataset, by the part's name.

    Returns:
        Values that JSON knows; a number that is not finite becomes None. ``problem``, names, units,
        bounds and coordinates as in `Info`; ``dataset`` with its digest and provenance;
        ``training``; ``errors``; ``versions``, ``command``, ``created``, ``revision``.
    """
    info = plain(dataset.info)
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        **{key: info.pop(key) for key in _DESCRIBED},
        "dataset": {"digest": dataset.digest, **info},
        "training": plain(training),
        "errors": plain(errors),
        **provenance(torch, np),
    }


def save(surrogate: Surrogate, metadata: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a surrogate file, whole or not at all.

    Args:
        surrogate: The module, on any device; in the file it is on the CPU.
        metadata: Its description, from `metadata`.
        path: Where.

    Raises:
        InputError: If the path cannot be written.
    """
    extra = {_METADATA: json.dumps(plain(metadata), indent=1, allow_nan=False)}
    buffer = io.BytesIO()  # by way of memory, as torch would put the path into the file
    with _no_deprecation():
        torch.jit.save(torch.jit.script(copy.deepcopy(surrogate).cpu()), buffer, _extra_files=extra)
    with atomic(path) as beside:
        beside.write_bytes(buffer.getvalue())


def load(path: str | os.PathLike[str]) -> LoadedSurrogate:
    """Read a surrogate file, to the CPU.

    Raises:
        InputError: If it is missing, truncated, damaged, or of another program.
    """
    extra: dict[str, Any] = {_METADATA: ""}
    read: Callable[..., torch.jit.ScriptModule] = torch.jit.load
    with reading(path, "surrogate file"), _no_deprecation():
        check_zip(path)
        module = read(os.fspath(path), map_location="cpu", _extra_files=extra)
    try:
        described = json.loads(extra[_METADATA])
        known = described["format"] == FORMAT and {"training", *_DESCRIBED} <= described.keys()
    except (ValueError, KeyError, TypeError):
        known = False
    check(known, f"{path} is a TorchScript file but not a surrogate of this package")
    check(
        described["schema_version"] <= SCHEMA_VERSION,
        f"{path} has schema version {described['schema_version']}, this package reads up to "
        f"{SCHEMA_VERSION}; update varpro-surrogates",
    )
    return LoadedSurrogate(module=module, metadata=described, path=os.fspath(path))


def read_table(path: str | os.PathLike[str], names: Sequence[str]) -> Array:
    """Read rows of parameters from a .csv (names in the first line or not), .npy or .h5 (/Y) file.

    Args:
        path: The file; a one-dimensional .npy or /Y is one row.
        names: Of the parameters. Those of a .csv file may be in any order; the columns follow.

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
            array = _read_npy(path) if ending == ".npy" else _read_Y(path)
        table = check_finite(array[None] if array.ndim == 1 else array, os.fspath(path))
    n = table.shape[1]
    expected = f"expected {len(names)}, one for each parameter"
    check(n == len(names), f"{path} has {n} columns; {expected}")
    if there is None:
        return table
    wrong = [name for name in names if there.count(name) != 1]
    check(not wrong, f"{path} must have one column {', '.join(wrong[:3])}; it has {there[:3]}, ...")
    return table[:, [there.index(name) for name in names]]


def write_table(path: str | os.PathLike[str], array: Array, names: Sequence[str]) -> None:
    """Write rows of numbers, exactly, as .csv with a line of names, .npy, or .h5 (/C).

    Args:
        path: The file; written whole or not at all.
        array: (n_rows, n_columns) float64.
        names: Of the columns.

    Raises:
        InputError: If the ending is unknown or the path cannot be written.
    """
    ending = _table_ending(Path(path))
    if ending == ".h5":
        with atomic_hdf5(path) as file:
            file["C"] = array
            file["C"].attrs["names"] = list(names)
        return
    with atomic(path) as beside:
        if ending == ".npy":
            np.save(beside, array)
        else:
            with open(beside, "w", newline="", encoding="utf-8") as text:
                csv.writer(text, lineterminator="\n").writerows([names, *array.tolist()])


def _table_ending(path: Path) -> str:
    ending = path.suffix.lower()
    check(ending in _TABLES, f"cannot tell the format of {path}: know {', '.join(_TABLES)}")
    return ending


def _read_npy(path: Path) -> Any:
    with open(path, "rb") as file:
        array = np.load(file, allow_pickle=False)
        check(isinstance(array, np.ndarray), f"{path} is an .npz file, not one array")
        return array


def _read_Y(path: Path) -> Any:
    with h5py.File(path, "r") as file:
        check(isinstance(file.get("Y"), h5py.Dataset), f"{path} has no array /Y")
        return file["Y"][()]


def plain(value: Any) -> Any:
    """Make of dataclasses, arrays and mappings what JSON knows; None of what is not finite."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextmanager
def _no_deprecation() -> Iterator[None]:
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", "`torch.jit", category)
        yield
