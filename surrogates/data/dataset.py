"""The dataset file: parameters Y, observables C, and where they came from. The format's one owner.

A dataset is one HDF5 file. Samples are rows:

    /Y        (n, n_y)  float64   parameters; attributes names, units, lower, upper
    /C        (n, n_c)  float64   observables, or class probabilities; attributes names, units,
                                  coordinate_<name> (n_c,)
    /status   (n,)      uint8     `Status`: 0 missing, 1 done, 2 failed
    /failure  (n,)      text      why a sample failed, empty otherwise
    /solver   (n,)      compound  iterations, residual (NaN: the problem gives none), seconds
    /split    (n,)      uint8     `Split`: 0 train, 1 validation, 2 test, 255 unused
    /made_by  (n,)      uint16    index into `Info.makers`; absent where the first made all
    /dC_dY    (n, n_c, n_y) float64, optional: tangents

Attributes of the file: ``schema_version``, and the fields of `Info`. Every array carries
Fletcher-32 checksums and is read a chunk at a time: damage is an error when it is read, never a
wrong number or word, and costs the samples of its chunk alone.

A file holds the samples ``first`` to ``first + n`` of a set of ``total``. The shards of an array
job and the whole dataset are therefore one format, and `merge` makes the latter of the former.
Files larger than memory are written from pieces (`write`) and read in windows (`opened`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from surrogates import config
from surrogates.errors import InputError
from surrogates.files import atomic_hdf5, check_free, reading, within

from .description import PARTS as PARTS
from .description import TASKS as TASKS
from .description import Array as Array
from .description import Info as Info
from .description import Split as Split
from .description import Status as Status
from .description import read_attributes, write_attributes
from .html import shown
from .inspection import DIGESTED, Census, Summary, Tally, digest, problems, runs, say

SCHEMA_VERSION = 2
SOLVER = np.dtype([("iterations", "<i8"), ("residual", "<f8"), ("seconds", "<f8")])
FAILURE_BYTES = 200
WINDOW_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 18
_CHUNK_ROWS = 1024  # what damage to one chunk of an array with short rows may cost
_ARRAYS = ("Y", "C", "status", "split", "failure", "solver", "made_by", "dC_dY")
_COMPRESSED = ("status", "failure", "split", "made_by")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The samples of one file in memory, rows as in the file (see the module's text).

    Attributes:
        info: What the dataset is.
        Y: Parameters, (n, n_y) float64.
        C: Observables, (n, n_c) float64; NaN where ``status`` is not done, and, if ``info.missing``
            is ``mask``, where an entry is missing.
        status: `Status` values, (n,) uint8.
        split: `Split` values, (n,) uint8.
        failure: Reasons of failure, n texts.
        solver: Iterations, residual and seconds, (n,) of dtype `SOLVER`.
        dC_dY: Tangents, (n, n_c, n_y) float64, or None.
        made_by: Indices into ``info.makers``, (n,) uint16; zeros where none are given.
    """

    info: Info
    Y: Array
    C: Array
    status: npt.NDArray[np.uint8]
    split: npt.NDArray[np.uint8]
    failure: Sequence[str]
    solver: npt.NDArray[np.void]
    dC_dY: Array | None = None
    made_by: npt.NDArray[np.uint16] = field(default_factory=lambda: np.empty(0, np.uint16))

    def __post_init__(self) -> None:
        """Name the first maker where none is named."""
        if not len(self.made_by):
            object.__setattr__(self, "made_by", np.zeros(len(self.Y), np.uint16))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Dataset:
        """Read a dataset file.

        Raises:
            InputError: If it is missing, truncated, damaged, foreign, or of a newer schema.
        """
        with opened(path) as stored:
            return stored.rows()

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the dataset as one file, whole or not at all."""
        write(path, self.info, len(self.Y), [self])

    def rows(self, chosen: slice) -> Dataset:
        """Take consecutive samples, as a dataset of their own."""
        arrays: dict[str, Any] = {
            name: values[chosen]
            for name, values in vars(self).items()
            if name not in ("info", "digest") and values is not None
        }
        first = self.info.first + chosen.indices(len(self.Y))[0]
        return Dataset(info=dataclasses.replace(self.info, first=first), **arrays)

    def part(self, name: str, share: slice = slice(None)) -> tuple[Array, Array]:
        """Copy Y and C of the done samples of a part: train, validation or test.

        C has NaN where ``info.missing`` is ``mask`` and the entry is missing.

        Args:
            name: The part.
            share: Which of them.

        Raises:
            InputError: If there is no such part, or none of its samples is done.
        """
        chosen = self.rows_of(name)[share]
        return self.Y[chosen], self.C[chosen]

    def has(self, name: str) -> bool:
        """Tell whether a part, train, validation or test, has a done sample."""
        done = self.split[self.status == Status.DONE]
        return bool((done == Split[name.upper()]).any())

    def size(self, name: str) -> int:
        """Count the done samples of a part; errors are those of `part`."""
        return len(self.rows_of(name))

    def rows_of(self, name: str) -> npt.NDArray[np.int64]:
        """Return the indices of the done samples of a part; errors are those of `part`."""
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
        arrays = (self.Y, self.C, self.status, self.split)
        return digest((array.shape, [array]) for array in arrays)

    def problems(self, max_residual: float = 1e-5) -> list[str]:
        """List what is wrong with the samples, as `Stored.problems`."""
        return problems(self.info, len(self.Y), [self], max_residual)

    def _repr_html_(self) -> str:
        """Return a table of names, sizes and bounds, for notebooks."""
        return shown(self)


class Stored:
    """An open dataset file, whose rows are read when they are asked for; `opened` gives it.

    What is damaged raises `InputError` when it is read, and not before.

    Attributes:
        path: The file.
        info: What the dataset is.
    """

    def __init__(self, path: str | os.PathLike[str], file: h5py.File) -> None:
        """Read the description and look whether the arrays fit it; ValueError if they do not."""
        self.path = path
        self.info = read_attributes(file)
        n = len(file["Y"])
        layout = _layout(self.info, n)
        if "made_by" not in file:
            del layout["made_by"]
        self._arrays = {name: file[name] for name in layout}
        if misfit := _misfit(self._arrays, layout):
            raise ValueError(misfit)
        if not 0 < n <= self.info.total - self.info.first:
            raise ValueError(f"it has {n} samples from {self.info.first} on, of {self.info.total}")

    def __len__(self) -> int:
        """Count the samples in the file."""
        return len(self._arrays["Y"])

    def rows(self, start: int = 0, stop: int | None = None) -> Dataset:
        """Read the samples of some rows, as a dataset of their own.

        Raises:
            InputError: If any of it is damaged.
        """
        return Dataset(
            info=dataclasses.replace(self.info, first=self.info.first + start),
            **{name: self._read(name, start, stop) for name in self._arrays},
        )

    def windows(self, size: int = WINDOW_BYTES) -> Iterator[Dataset]:
        """Read all samples in turn, some ``size`` bytes at a time, in whole chunks of /C."""
        for rows in self._spans("C", size // self._row_bytes(*self._arrays)):
            yield self.rows(rows.start, rows.stop)

    @cached_property
    def status(self) -> npt.NDArray[np.uint8]:
        """All of /status, (n,) uint8."""
        return np.asarray(self._read("status"))

    @cached_property
    def split(self) -> npt.NDArray[np.uint8]:
        """All of /split, (n,) uint8."""
        return np.asarray(self._read("split"))

    def damage(self) -> list[tuple[str, range]]:
        """List the arrays of which something cannot be read, each with a run of such rows."""
        return [(name, rows) for name, bad in self._damaged.items() for rows in runs(bad)]

    def readable_rows(self) -> npt.NDArray[np.bool_]:
        """Tell of each sample whether all of it can be read, (n,)."""
        return np.asarray(~np.any(list(self._damaged.values()), axis=0))

    def problems(self, max_residual: float = 1e-5) -> list[str]:
        """List what is wrong with the samples, empty if nothing is, in one pass over the file.

        Samples are named by their indices in the whole set.

        Args:
            max_residual: Largest relative residual that a done sample may have. One of NaN is no
                fault: the problem gives none.
        """
        damaged = self._undamaged()
        found = problems(self.info, len(self), self._sound(damaged), max_residual)
        lines = [
            say(runs(bad, self.info.first), f"damaged: the checksum of /{name} is wrong")
            for name, bad in damaged.items()
            if bad.any()
        ]
        return lines + found

    @cached_property
    def digest(self) -> str:
        """As `Dataset.digest`, reading a window at a time."""
        return digest((self._arrays[name].shape, self._pieces(name)) for name in DIGESTED)

    def summary(self) -> Summary:
        """Sum up the samples, in one pass over the file."""
        done = self.status == Status.DONE
        y, c = Tally(np.ones(len(self), dtype=bool)), Tally(done, self.info.missing)
        pieces: dict[str, Iterable[npt.NDArray[Any]]] = {
            "Y": y.over(self._pieces("Y")),
            "C": c.over(self._pieces("C")),
            "status": [self.status],
            "split": [self.split],
        }
        census = None
        if self.info.task == "classification":
            census = Census(len(self.info.c_names), np.where(done, self.split, Split.UNUSED))
            pieces["C"] = census.over(pieces["C"])
        numbers = digest((self._arrays[name].shape, pieces[name]) for name in DIGESTED)
        makers = self._read("made_by") if "made_by" in self._arrays else np.zeros(len(self), int)
        return Summary(
            status={value: int((self.status == value).sum()) for value in Status},
            split={name: int((self.split == Split[name.upper()]).sum()) for name in PARTS},
            made_by=tuple(np.bincount(makers, minlength=len(self.info.makers)).tolist()),
            y_range=y.range,
            c_range=c.range,
            spread=c.spread,
            missing=c.missing,
            classes=census.counts if census else None,
            digest=numbers,
        )

    def _read(self, name: str, start: int = 0, stop: int | None = None) -> Any:
        with reading(self.path, "dataset file"):
            values = self._arrays[name][start:stop]
            return [text.decode() for text in values.tolist()] if name == "failure" else values

    def _pieces(self, name: str) -> Iterator[npt.NDArray[Any]]:
        for rows in self._spans(name, WINDOW_BYTES // self._row_bytes(name)):
            yield self._read(name, rows.start, rows.stop)

    def _row_bytes(self, *names: str) -> int:
        arrays = [self._arrays[name] for name in names]
        sizes: list[int] = [a.dtype.itemsize * math.prod(a.shape[1:]) for a in arrays]
        return max(1, sum(sizes))

    def _spans(self, name: str, rows: int, within: range | None = None) -> list[range]:
        """Divide rows, or all rows, into spans of some ``rows``: whole chunks of an array."""
        within = range(len(self)) if within is None else within
        chunk = (self._arrays[name].chunks or (len(self),))[0]
        step = chunk * max(1, rows // chunk)
        inner = range((within.start // step + 1) * step, within.stop, step)
        return [range(*pair) for pair in itertools.pairwise([within.start, *inner, within.stop])]

    def _undamaged(self) -> dict[str, npt.NDArray[np.bool_]]:
        return {name: np.zeros(len(self), dtype=bool) for name in self._arrays}

    @cached_property
    def _damaged(self) -> dict[str, npt.NDArray[np.bool_]]:
        """For each array, the rows that cannot be read."""
        damaged = self._undamaged()
        self._mark(damaged, range(len(self)))
        return damaged

    def _mark(self, damaged: dict[str, npt.NDArray[np.bool_]], within: range) -> None:
        """Mark the rows that cannot be read, chunk by chunk where more cannot at once."""

        def fails(name: str, rows: range) -> bool:
            try:
                self._read(name, rows.start, rows.stop)
            except InputError:
                return True
            return False

        for name, bad in damaged.items():
            for span in self._spans(name, WINDOW_BYTES // self._row_bytes(name), within):
                if fails(name, span):
                    for chunk in self._spans(name, 1, span):
                        bad[chunk.start : chunk.stop] = fails(name, chunk)

    def _sound(self, damaged: dict[str, npt.NDArray[np.bool_]]) -> Iterator[Dataset]:
        """Read all samples in windows but the damaged ones, and mark these."""
        for span in self._spans("C", WINDOW_BYTES // self._row_bytes(*self._arrays)):
            try:
                sound = self.rows(span.start, span.stop)
            except InputError:
                self._mark(damaged, span)
                bad = np.any([rows[span.start : span.stop] for rows in damaged.values()], axis=0)
                yield from (self.rows(run.start, run.stop) for run in runs(~bad, span.start))
            else:
                yield sound


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Stored]:
    """Open a dataset file, to read its rows when they are needed.

    Raises:
        InputError: If it is missing, truncated, foreign, or of a newer schema.
    """
    with _open(path) as file:
        with reading(path, "dataset file"):
            stored = Stored(path, file)
        yield stored


def read_info(path: str | os.PathLike[str], file: BinaryIO | None = None) -> tuple[Info, int]:
    """Read what a dataset file is, and how many samples it holds, without its arrays.

    Args:
        path: The file.
        file: The same, where it is open already.

    Raises:
        InputError: If it is missing, truncated, foreign, or of a newer schema.
    """
    with _open(path, file) as opened_file, reading(path, "dataset file", file):
        return read_attributes(opened_file), len(opened_file["Y"])


@contextmanager
def _open(path: str | os.PathLike[str], source: BinaryIO | None = None) -> Iterator[h5py.File]:
    """Open a file for reading if it is of this schema."""
    with contextlib.ExitStack() as stack:
        with reading(path, "dataset file", source):
            file = stack.enter_context(h5py.File(path if source is None else source, "r"))
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
        with reading(path, "dataset file"):
            for name in _ARRAYS:
                within(file, name)
        yield file


def is_dataset(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is HDF5 and has a dataset's schema attribute.

    Raises:
        InputError: If another program has it open for writing.
    """
    try:
        with h5py.File(path, "r") as file:
            return "schema_version" in file.attrs
    except (OSError, KeyError, RuntimeError) as error:  # the latter two at damage in the midst
        check_free(path, error)
        return False


def write(path: str | os.PathLike[str], info: Info, n: int, pieces: Iterable[Dataset]) -> None:
    """Write a dataset file of samples that come in pieces, whole or not at all.

    Args and errors are those of `fill`, but for the path.

    Raises:
        InputError: If ``path`` cannot be written.
        OSError: If the disk is full or fails.
    """
    with atomic_hdf5(path) as file:
        fill(file, info, n, pieces)


def fill(file: h5py.File, info: Info, n: int, pieces: Iterable[Dataset]) -> None:
    """Fill a new HDF5 file with samples that come in pieces.

    One piece at a time is in memory. A file of 0 samples has the description alone, for
    `read_info`.

    Args:
        file: The file.
        info: What it is.
        n: Its samples.
        pieces: The samples, in order; what the pieces' own ``info`` says does not count.

    Raises:
        InputError: If a piece has other arrays than ``info`` says.
        ValueError: If the pieces have more or fewer samples than n.
    """
    file.attrs["schema_version"] = SCHEMA_VERSION
    # These stay open: HDF5 then completes a chunk in memory that several pieces fill.
    arrays = {name: _create(file, name, *kind) for name, kind in _layout(info, n).items()}
    write_attributes(file, info)
    start = 0
    for piece in pieces:
        given, stop = _arrays(piece), start + len(piece.Y)
        if misfit := _misfit(given, _layout(info, len(piece.Y))):
            raise InputError(f"samples {start} to {stop - 1} do not fit the description: {misfit}")
        if stop > n:
            raise ValueError(f"there are more than the {n} samples said")
        for name, array in arrays.items():
            array[start:stop] = given[name]
        start = stop
    if start < n:
        raise ValueError(f"there are {start} samples, not the {n} said")


def merge(
    paths: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], *, whole: bool = True
) -> Info:
    """Make one dataset of files that together hold each of its samples once.

    One window of one file is in memory. Nothing is written unless all fit together.

    Args:
        paths: Shards, in any order.
        out: The dataset file to write.
        whole: Whether the files must make up the whole set; else any run of samples will do.

    Returns:
        What the new file is.

    Raises:
        InputError: If the files are of different sets, overlap, leave a sample out, or hold
            different arrays (tangents in some of them only).
    """
    files = sorted(((*read_info(path), path) for path in paths), key=lambda file: file[0].first)
    if not files:
        raise InputError("nothing to merge; name at least one dataset file")
    head = files[0][0]
    reached = start = 0 if whole else head.first
    absent: list[range] = []
    makers = []
    for info, n, path in files:
        if differences := head.differences(info):
            raise InputError(f"{path} is of another set than {files[0][2]}: {differences[0]}")
        if info.first < reached:
            twice = say([range(info.first, min(reached, info.first + n))], "there twice")
            raise InputError(f"{twice}; {path} starts at {info.first}")
        absent += [range(reached, info.first)]
        reached = info.first + n
        notes = tuple(dict.fromkeys((*head.notes, *info.notes)))
        head = dataclasses.replace(head, notes=notes)
        indices = []
        for maker in info.makers:
            head, index = head.with_maker(maker)
            indices.append(index)
        makers.append(np.array(indices, np.uint16))
    if whole:
        absent += [range(reached, head.total)]
    if any(absent):
        raise InputError(say([rows for rows in absent if rows], "missing"))

    def windows() -> Iterator[Dataset]:
        for (_, _, path), indices in zip(files, makers, strict=True):
            with opened(path) as stored:
                for window in stored.windows():
                    with reading(path, "dataset file"):
                        made_by = indices[window.made_by]
                    yield dataclasses.replace(window, made_by=made_by)

    write(out, head, reached - start, windows())
    return head


def assign_split(
    split: str, n: int, seed: int, classes: Mapping[str, npt.NDArray[np.int64]] | None = None
) -> npt.NDArray[np.uint8]:
    """Assign samples to train, validation and test at random.

    A balanced split keeps frequent classes from outweighing rare ones in training: of a class of m
    samples min(POOL, m - HELD) are drawn, of which the share TEST is test, rounded but never all,
    and the others are training; what is not drawn, HELD or more of each class, is validation.

    Args:
        split: Three counts (``400/200/200``) or fractions (``0.8/0.1/0.1``). Counts may leave
            samples over: these are unused. Fractions are rounded, but where that of training is not
            0, it has at least one sample, and it and validation have three together if there are
            so many. Of a classification also ``balanced:POOL/HELD/TEST``,
            or ``balanced`` for ``balanced:250/10/0.2``.
        n: Number of samples.
        seed: Seed of the permutations.
        classes: Rows of the samples of each class, of `rows_of_classes`; None of a regression.

    Returns:
        `Split` values, (n,) uint8.

    Raises:
        InputError: If the text is none of these, asks for more than n samples, or for more than a
            class has, or the seed is out of range.
    """
    config.check_seed(seed)
    rng = np.random.default_rng([seed, 0x5B117])
    kind, _, numbers = split.partition(":")
    if kind == "balanced":
        if classes is None:
            raise InputError(f"the split {split!r} is for a classification; write 0.8/0.1/0.1")
        return _balanced(split, _three(numbers or "250/10/0.2"), n, rng, classes)
    parts = _three(split)
    if not parts:
        more = "" if classes is None else ", or balanced"
        raise InputError(f"cannot read the split {split!r}; write 400/200/200 or 0.8/0.1/0.1{more}")
    if abs(sum(parts) - 1) < 1e-9:
        ends = [0, round(parts[0] * n), round((parts[0] + parts[1]) * n), n]
        counts = [stop - start for start, stop in zip(ends, ends[1:], strict=False)]
        if parts[0]:
            _move_to_training(counts)
    elif all(number == int(number) for number in parts):
        counts = [int(number) for number in parts]
    else:
        raise InputError(f"the split {split!r} is neither counts nor fractions that add up to 1")
    if sum(counts) > n:
        raise InputError(f"the split {split} needs {sum(counts)} samples; there are {n}")
    assigned = np.full(n, Split.UNUSED, dtype=np.uint8)
    order = rng.permutation(n)
    for part, stop in zip(PARTS, np.cumsum(counts), strict=True):
        start = stop - counts[PARTS.index(part)]
        assigned[order[start:stop]] = Split[part.upper()]
    return assigned


def _move_to_training(counts: list[int]) -> None:
    """Leave training at least one sample, and it and validation three, of a set that is small."""
    while counts[0] + counts[1] < 3 and counts[2]:
        counts[2] -= 1
        counts[0] += 1
    if not counts[0] and counts[1]:
        counts[1] -= 1
        counts[0] += 1


def _three(text: str) -> list[float]:
    """Read three numbers >= 0, or give none."""
    try:
        numbers = [float(number) for number in text.split("/")]
    except ValueError:
        return []
    fit = len(numbers) == 3 and all(0 <= number < np.inf for number in numbers)
    return numbers if fit else []


def _balanced(
    split: str,
    numbers: Sequence[float],
    n: int,
    rng: np.random.Generator,
    classes: Mapping[str, npt.NDArray[np.int64]],
) -> npt.NDArray[np.uint8]:
    """Assign n samples, class by class, by POOL, HELD and TEST; see `assign_split`."""
    most, held, share = numbers or (0, 0, 0)
    if not (most >= 1 and most % 1 == held % 1 == 0 and share < 1):
        raise InputError(
            f"cannot read the split {split!r}; write balanced:250/10/0.2: at most 250 samples of a "
            "class for training and test, at least 10 for validation, a share of 0.2 for test"
        )
    assigned = np.full(n, Split.VALIDATION, dtype=np.uint8)
    for name, rows in classes.items():
        pool = int(min(most, len(rows) - held))
        if pool < 1:
            raise InputError(
                f"the split {split} needs {held + 1:.0f} samples of each class; {name!r} has "
                f"{len(rows)}"
            )
        drawn = rng.permutation(rows)[:pool]
        assigned[drawn] = Split.TRAIN
        assigned[drawn[: min(round(share * pool), pool - 1)]] = Split.TEST
    return assigned


def rows_of_classes(c_names: Sequence[str], C: Array) -> dict[str, npt.NDArray[np.int64]]:
    """Give the rows of C, of class probabilities, of which each class is the most probable."""
    labels = C.argmax(axis=1)
    return {name: np.flatnonzero(labels == k) for k, name in enumerate(c_names)}


def check_classes(c_names: Sequence[str], C: Array) -> None:
    """Refuse training samples from which no classifier can be learnt.

    Args:
        c_names: Names of the classes.
        C: Class probabilities of the training samples, (n, n_c).

    Raises:
        InputError: If there are not two classes, or one has no training samples.
    """
    config.check(len(c_names) > 1, "there is a single class, and nothing to tell apart")
    absent = [name for name, weight in zip(c_names, C.sum(axis=0), strict=True) if weight == 0]
    if absent:
        raise InputError(
            f"there are no training samples of {', '.join(map(repr, absent[:5]))}"
            f"{f' and {len(absent) - 5} more' * (len(absent) > 5)}; give another split, another "
            "seed, or leave the class out"
        )


_Kind = tuple[tuple[int, ...], Any]  # shape and dtype


def _layout(info: Info, n: int) -> dict[str, _Kind]:
    """Give the kind of each array of a file of n samples."""
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
    if info.tangents:
        layout["dC_dY"] = ((n, n_c, n_y), np.dtype(np.float64))
    return layout


def _misfit(arrays: Mapping[str, Any], layout: Mapping[str, _Kind]) -> str:
    """Say which array is not as it should be, empty if none is."""
    there: dict[str, _Kind] = {name: (a.shape, a.dtype) for name, a in arrays.items()}
    for name in {**layout, **there}:
        found, expected = there.get(name), layout.get(name)
        if found != expected:
            texts = [f"{kind[1]} {kind[0]}" if kind else "absent" for kind in (found, expected)]
            return f"/{name} is {texts[0]}; expected {texts[1]}"
    return ""


def _arrays(piece: Dataset) -> dict[str, npt.NDArray[Any]]:
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
    if piece.dC_dY is not None:
        arrays["dC_dY"] = piece.dC_dY
    return arrays


def _create(file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any) -> h5py.Dataset:
    if not shape[0]:
        return file.create_dataset(name, shape, dtype)
    row_bytes = max(1, dtype.itemsize * math.prod(shape[1:]))
    rows = min(shape[0], _CHUNK_ROWS, max(1, _CHUNK_BYTES // row_bytes))
    packed = {"compression": "gzip", "shuffle": True} if name in _COMPRESSED else {}
    chunks = (rows, *shape[1:])
    return file.create_dataset(name, shape, dtype, chunks=chunks, fletcher32=True, **packed)
