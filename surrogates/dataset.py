"""The dataset file: parameters Y, observables C, and where they came from. The format's one owner.

A dataset is one HDF5 file. Samples are rows:

    /Y        (n, n_y)  float64   parameters; attributes names, units, lower, upper
    /C        (n, n_c)  float64   observables; attributes names, units, coordinate_<name> (n_c,)
    /status   (n,)      uint8     `Status`: 0 missing, 1 done, 2 failed
    /failure  (n,)      text      why a sample failed, empty otherwise
    /solver   (n,)      compound  iterations, residual, seconds
    /split    (n,)      uint8     `Split`: 0 train, 1 validation, 2 test, 255 unused
    /dC_dY    (n, n_c, n_y) float64, optional: tangents

Attributes of the file: ``schema_version``, and the fields of `Info`. Every array carries
Fletcher-32 checksums, and texts have a fixed length, which puts them among what HDF5 checks of
itself: damage is an error when it is read, never a wrong number or word.

A file holds the samples ``first`` to ``first + n`` of a set of ``total``. The batches that a run
has finished, the shards of an array job and the whole dataset are therefore one format, and
`merge` makes the latter of the former.
"""

from __future__ import annotations

import enum
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from . import config
from .errors import InputError
from .files import atomic_hdf5, reading

SCHEMA_VERSION = 2
SOLVER = np.dtype([("iterations", "<i8"), ("residual", "<f8"), ("seconds", "<f8")])
FAILURE_BYTES = 200
_CHUNK_BYTES = 1 << 20

Array = npt.NDArray[np.float64]


class Status(enum.IntEnum):
    """What became of a sample."""

    MISSING = 0
    DONE = 1
    FAILED = 2


class Split(enum.IntEnum):
    """Which part of the dataset a sample belongs to."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2
    UNUSED = 255


PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a dataset is: everything in the file but the numbers.

    Attributes:
        problem: Name of the PDE problem, or of the imported file.
        config: The problem's whole configuration, TOML text.
        design: Name of the sampling design.
        seed: Seed of the sampling design and of the split.
        split: The split as asked for, such as ``400/200/200``.
        total: Samples in the whole set.
        first: Index in the whole set of this file's first sample.
        tangents: Whether it has dC_dY.
        y_names: Names of the parameters, n_y of them.
        y_units: Their units, ``1`` where they have none.
        y_lower: Lower bounds, same units.
        y_upper: Upper bounds, same units.
        c_names: Names of the observables, n_c of them.
        c_units: Their units.
        coordinates: For each coordinate its values, n_c of them (``time``, ``x1``, ...).
        mesh: Size and hash of the mesh, one line.
        versions: Versions of the libraries that made the file.
        command: The command line that made it.
        created: When, ISO 8601 in UTC.
        revision: git revision of the code, empty if unknown.
    """

    problem: str
    config: str = ""
    design: str = ""
    seed: int = 0
    split: str = ""
    total: int
    first: int = 0
    tangents: bool = False
    y_names: tuple[str, ...]
    y_units: tuple[str, ...]
    y_lower: Array
    y_upper: Array
    c_names: tuple[str, ...]
    c_units: tuple[str, ...]
    coordinates: Mapping[str, Array] = field(default_factory=dict)
    mesh: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    created: str = ""
    revision: str = ""

    def differences(self, other: Info) -> list[str]:
        """Say in what another dataset's samples are not of the same set, empty if they are."""
        found = [
            f"{name} is {getattr(self, name)} there and {getattr(other, name)} here"
            for name in ("problem", "design", "seed", "split", "total", "tangents")
            if getattr(self, name) != getattr(other, name)
        ]
        return found + config.differences(self.config, other.config)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The samples of one file in memory, rows as in the file (see the module's text).

    Attributes:
        info: What the dataset is.
        Y: Parameters, (n, n_y) float64.
        C: Observables, (n, n_c) float64; NaN where ``status`` is not done.
        status: `Status` values, (n,) uint8.
        split: `Split` values, (n,) uint8.
        failure: Reasons of failure, n texts.
        solver: Iterations, residual and seconds, (n,) of dtype `SOLVER`.
        dC_dY: Tangents, (n, n_c, n_y) float64, or None.
    """

    info: Info
    Y: Array
    C: Array
    status: npt.NDArray[np.uint8]
    split: npt.NDArray[np.uint8]
    failure: Sequence[str]
    solver: npt.NDArray[np.void]
    dC_dY: Array | None = None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Dataset:
        """Read a dataset file.

        Raises:
            InputError: If it is missing, truncated, damaged, foreign, or of a newer schema.
        """
        with _open(path) as file:
            dataset = cls(
                info=_read_info(file),
                Y=file["Y"][:],
                C=file["C"][:],
                status=file["status"][:],
                split=file["split"][:],
                failure=[text.decode() for text in file["failure"][:]],
                solver=file["solver"][:],
                dC_dY=file["dC_dY"][:] if "dC_dY" in file else None,
            )
            dataset._check_layout(path)
            return dataset

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the dataset as one file, whole or not at all."""
        _write(path, self.info, len(self.Y), [self])

    def part(self, name: str, share: slice = slice(None)) -> tuple[Array, Array]:
        """Copy Y and C of the done samples of a part: train, validation or test.

        Args:
            name: The part.
            share: Which of them.

        Raises:
            InputError: If there is no such part, or none of its samples is done.
        """
        chosen = self._rows(name)[share]
        return self.Y[chosen], self.C[chosen]

    def size(self, name: str) -> int:
        """Count the done samples of a part; errors are those of `part`."""
        return len(self._rows(name))

    def _rows(self, name: str) -> npt.NDArray[np.int64]:
        if name not in PARTS:
            raise InputError(config.unknown(f"part {name!r}", name, PARTS))
        rows = (self.split == Split[name.upper()]) & (self.status == Status.DONE)
        if not rows.any():
            failed = int((self.status == Status.FAILED).sum())
            raise InputError(
                f"the dataset has no {name} samples; its split is {self.info.split}"
                + (f", and {failed} of {len(self.Y)} samples failed" if failed else "")
            )
        return np.flatnonzero(rows)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of Y, C, status and split: two datasets with one digest hold the same numbers."""
        sha = hashlib.sha256()
        for array in (self.Y, self.C, self.status, self.split):
            sha.update(str(array.shape).encode())
            sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()

    def problems(self, max_residual: float = 1e-5) -> list[str]:
        """List what is wrong with the samples, empty if nothing is.

        Args:
            max_residual: Largest relative residual that a done sample may have.
        """
        done = self.status == Status.DONE
        if len(self.Y) < self.info.total:
            missing = (
                f"{len(self.Y)} of {self.info.total} samples: a shard; merge it with the others"
            )
            found = [missing]
        else:
            found = []
        for status in (Status.MISSING, Status.FAILED):
            rows = np.flatnonzero(self.status == status)
            if len(rows):
                why = f" ({self.failure[rows[0]]})" if self.failure[rows[0]] else ""
                found.append(f"{len(rows)} samples {status.name.lower()}, first {rows[0]}{why}")
        checks = [
            ("a value of Y that is not finite", ~np.isfinite(self.Y).all(axis=1)),
            ("a value of C that is not finite", done & ~np.isfinite(self.C).all(axis=1)),
            ("a value of dC_dY that is not finite", done & ~self._finite_tangents()),
            ("parameters out of bounds", ~self._in_bounds()),
            (
                f"a residual above {max_residual:g}",
                done & ~(self.solver["residual"] <= max_residual),
            ),
            ("an unknown status", ~np.isin(self.status, list(Status))),
            ("an unknown split", ~np.isin(self.split, list(Split))),
        ]
        for what, bad in checks:
            if bad.any():
                found.append(f"{bad.sum()} samples with {what}, first {np.flatnonzero(bad)[0]}")
        return found

    def _check_layout(self, path: str | os.PathLike[str]) -> None:
        """Refuse arrays that do not fit together."""
        n, n_y, n_c = len(self.Y), len(self.info.y_names), len(self.info.c_names)
        expected: dict[str, tuple[Any, tuple[int, ...]]] = {
            "Y": (np.float64, (n, n_y)),
            "C": (np.float64, (n, n_c)),
            "status": (np.uint8, (n,)),
            "split": (np.uint8, (n,)),
            "solver": (SOLVER, (n,)),
            "dC_dY": (np.float64, (n, n_c, n_y)),
        }
        for name, (dtype, shape) in expected.items():
            array = getattr(self, name)
            if array is not None and (array.dtype != dtype or array.shape != shape):
                raise InputError(
                    f"{path} is not a whole dataset file: /{name} is {array.dtype} {array.shape}; "
                    f"expected {np.dtype(dtype)} {shape}"
                )
        if not 0 < n == len(self.failure):
            raise InputError(
                f"{path} is not a whole dataset file: {n} samples and {len(self.failure)} reasons "
                "of failure"
            )

    def _finite_tangents(self) -> npt.NDArray[np.bool_]:
        if self.dC_dY is None:
            return np.ones(len(self.Y), dtype=bool)
        return np.asarray(np.isfinite(self.dC_dY).all(axis=(1, 2)))

    def _in_bounds(self) -> npt.NDArray[np.bool_]:
        slack = 1e-12 * np.maximum(np.abs(self.info.y_lower), np.abs(self.info.y_upper))
        above = self.info.y_lower - slack <= self.Y
        return np.asarray((above & (self.info.y_upper + slack >= self.Y)).all(axis=1))


def read_info(path: str | os.PathLike[str]) -> tuple[Info, int]:
    """Read what a dataset file is, and how many samples it holds, without its arrays."""
    with _open(path) as file:
        return _read_info(file), len(file["Y"])


def is_dataset(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is HDF5 and has a dataset's schema attribute."""
    try:
        with h5py.File(path, "r") as file:
            return "schema_version" in file.attrs
    except (OSError, KeyError, RuntimeError):  # the latter two at damage in the midst
        return False


def merge(
    paths: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], *, whole: bool = True
) -> Info:
    """Make one dataset of files that together hold each of its samples once.

    One file at a time is in memory. Nothing is written unless all fit together.

    Args:
        paths: Batches or shards, in any order.
        out: The dataset file to write.
        whole: Whether the files must make up the whole set; else any run of samples will do.

    Returns:
        What the new file is.

    Raises:
        InputError: If the files are of different sets, overlap, leave a sample out, or hold
            different arrays (tangents in some of them only).
    """
    pieces = sorted(((*read_info(path), path) for path in paths), key=lambda piece: piece[0].first)
    if not pieces:
        raise InputError("nothing to merge; name at least one dataset file")
    head = pieces[0][0]
    reached = 0 if whole else head.first
    for info, n, path in pieces:
        if differences := head.differences(info):
            raise InputError(f"{path} is of another set than {pieces[0][2]}: {differences[0]}")
        if info.first != reached:
            fault = "are missing" if info.first > reached else "are there twice"
            low, high = sorted((reached, info.first))
            raise InputError(f"samples {low} to {high - 1} {fault}; {path} starts at {info.first}")
        reached += n
    if whole and reached != head.total:
        raise InputError(f"samples {reached} to {head.total - 1} are missing")
    n = reached - head.first
    _write(out, head, n, (Dataset.read(path) for _, _, path in pieces))
    return head


def assign_split(split: str, n: int, seed: int) -> npt.NDArray[np.uint8]:
    """Assign samples to train, validation and test at random.

    Args:
        split: Three counts (``400/200/200``) or fractions (``0.8/0.1/0.1``). Counts may leave
            samples over: these are unused.
        n: Number of samples.
        seed: Seed of the permutation.

    Returns:
        `Split` values, (n,) uint8.

    Raises:
        InputError: If the text is not three such numbers, or asks for more than n samples, or the
            seed is out of range.
    """
    config.check_seed(seed)
    try:
        numbers = [float(text) for text in split.split("/")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(0 <= number < np.inf for number in numbers):
        raise InputError(f"cannot read the split {split!r}; write 400/200/200 or 0.8/0.1/0.1")
    if abs(sum(numbers) - 1) < 1e-9:
        ends = [0, round(numbers[0] * n), round((numbers[0] + numbers[1]) * n), n]
        counts = [stop - start for start, stop in zip(ends, ends[1:], strict=False)]
    elif all(number == int(number) for number in numbers):
        counts = [int(number) for number in numbers]
    else:
        raise InputError(f"the split {split!r} is neither counts nor fractions that add up to 1")
    if sum(counts) > n:
        raise InputError(f"the split {split} needs {sum(counts)} samples; there are {n}")
    assigned = np.full(n, Split.UNUSED, dtype=np.uint8)
    order = np.random.default_rng([seed, 0x5B117]).permutation(n)
    for part, stop in zip(PARTS, np.cumsum(counts), strict=True):
        start = stop - counts[PARTS.index(part)]
        assigned[order[start:stop]] = Split[part.upper()]
    return assigned


def _write(path: str | os.PathLike[str], info: Info, n: int, pieces: Iterable[Dataset]) -> None:
    with atomic_hdf5(path) as file:
        _write_info(file, info)
        start = 0
        layout: dict[str, tuple[int, ...]] = {}
        for piece in pieces:
            rows = slice(start, start + len(piece.Y))
            arrays = _arrays(piece)
            sizes = {name: array.shape[1:] for name, array in arrays.items()}
            if start == 0:
                layout = sizes
                for name, array in arrays.items():
                    _create(file, name, n, array)
            for name in sorted({*layout, *sizes}):
                here, before = (what.get(name, "absent") for what in (sizes, layout))
                if here != before:
                    raise InputError(
                        f"samples {start} to {rows.stop - 1} do not fit those before them: "
                        f"{name} of one sample is {here} here and {before} there"
                    )
            for name, array in arrays.items():
                file[name][rows] = array
            start = rows.stop
        for name, attributes in (("Y", "y"), ("C", "c")):
            _write_text(file[name], "names", getattr(info, f"{attributes}_names"))
            _write_text(file[name], "units", getattr(info, f"{attributes}_units"))
        file["Y"].attrs["lower"] = info.y_lower
        file["Y"].attrs["upper"] = info.y_upper
        for name, values in info.coordinates.items():
            file["C"].attrs[f"coordinate_{name}"] = values


def _arrays(piece: Dataset) -> dict[str, npt.NDArray[Any]]:
    cut = [text.encode()[:FAILURE_BYTES].decode(errors="ignore") for text in piece.failure]
    failure = np.array([text.encode() for text in cut], f"S{FAILURE_BYTES}")
    arrays: dict[str, npt.NDArray[Any]] = {
        "Y": piece.Y,
        "C": piece.C,
        "status": piece.status,
        "split": piece.split,
        "failure": failure.astype(h5py.string_dtype("utf-8", FAILURE_BYTES)),
        "solver": piece.solver,
    }
    if piece.dC_dY is not None:
        arrays["dC_dY"] = piece.dC_dY
    return arrays


def _create(file: h5py.File, name: str, n: int, like: npt.NDArray[Any]) -> None:
    row_bytes = max(1, like.dtype.itemsize * int(np.prod(like.shape[1:])))
    rows = min(n, max(1, _CHUNK_BYTES // row_bytes))
    file.create_dataset(
        name, (n, *like.shape[1:]), like.dtype, chunks=(rows, *like.shape[1:]), fletcher32=True
    )


_TEXTS = ("problem", "config", "design", "split", "mesh", "command", "created", "revision")
_NUMBERS = ("seed", "total", "first")


def _write_info(file: h5py.File, info: Info) -> None:
    file.attrs["schema_version"] = SCHEMA_VERSION
    for name in _NUMBERS:
        file.attrs[name] = getattr(info, name)
    for name in _TEXTS:
        _write_text(file, name, getattr(info, name))
    _write_text(file, "versions", json.dumps(dict(info.versions), sort_keys=True))


def _write_text(where: Any, name: str, text: str | Sequence[str]) -> None:
    """Write an attribute of fixed length: HDF5 keeps those of variable length without checksum."""
    encoded = np.char.encode(np.array(text, dtype=str), "utf-8")
    where.attrs.create(name, encoded, dtype=h5py.string_dtype("utf-8", max(1, encoded.itemsize)))


def _read_info(file: h5py.File) -> Info:
    Y, C = file["Y"].attrs, file["C"].attrs
    prefix = "coordinate_"
    plain: dict[str, Any] = {name: file.attrs[name].decode() for name in _TEXTS}
    plain.update({name: int(file.attrs[name]) for name in _NUMBERS})
    for letter, attributes in (("y", Y), ("c", C)):
        for name in ("names", "units"):
            plain[f"{letter}_{name}"] = tuple(text.decode() for text in attributes[name])
    info = Info(
        **plain,
        tangents="dC_dY" in file,
        versions=json.loads(file.attrs["versions"].decode()),
        y_lower=Y["lower"],
        y_upper=Y["upper"],
        coordinates={k.removeprefix(prefix): C[k] for k in sorted(C) if k.startswith(prefix)},
    )
    config.differences(info.config, "")  # raises if it is not TOML
    n_y, n_c = len(info.y_names), len(info.c_names)
    lengths = {
        "y units": (len(info.y_units), n_y),
        "lower bounds": (len(info.y_lower), n_y),
        "upper bounds": (len(info.y_upper), n_y),
        "c units": (len(info.c_units), n_c),
        **{f"values of {name}": (len(x), n_c) for name, x in info.coordinates.items()},
    }
    for what, (n, n_names) in lengths.items():
        if n != n_names:
            raise ValueError(f"there are {n} {what} for {n_names} names")
    if not 0 <= info.first < info.total:
        raise ValueError(f"its first sample is {info.first} of {info.total}")
    return info


@contextmanager
def _open(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open a dataset file for reading; what is wrong with it becomes one clear line."""
    with reading(path, "dataset file"), h5py.File(path, "r") as file:
        if "schema_version" not in file.attrs:
            raise InputError(f"{path} is an HDF5 file but not a dataset of this package")
        version = int(file.attrs["schema_version"])
        if version < SCHEMA_VERSION:
            raise InputError(
                f"{path} has schema version {version}, of a trial before the first release; this "
                f"package reads {SCHEMA_VERSION}: make it again"
            )
        if version > SCHEMA_VERSION:
            raise InputError(
                f"{path} has schema version {version}, this package reads "
                f"{SCHEMA_VERSION}; update varpro-surrogates"
            )
        yield file
