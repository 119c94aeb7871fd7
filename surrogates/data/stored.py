"""Dataset files that are read a window at a time, even if parts of them are damaged."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from surrogates.errors import InputError
from surrogates.types import Array

from .dataset import Dataset
from .derivatives import TARGETS
from .description import PARTS, Info, Split, Status
from .format import digest, digested, open_arrays, read_array
from .inspection import Summary, problems
from .ranges import runs, sentence
from .statistics import ClassCounts, DerivativeCounts, RunningStats

WINDOW_BYTES = 8 << 20


class Stored:
    """An open dataset file whose rows are read on request; `opened` makes it.

    Damage raises `InputError` when the damaged part is read, and not before.

    Attributes:
        path: The file.
        info: The description of the dataset.
    """

    def __init__(
        self, path: str | os.PathLike[str], info: Info, arrays: Mapping[str, h5py.Dataset]
    ) -> None:
        """Keep what `surrogates.data.format.open_arrays` returns."""
        self.path = path
        self.info = info
        self._arrays = arrays

    def __len__(self) -> int:
        """Return the number of samples in the file."""
        return len(self._arrays["Y"])

    def rows(self, start: int = 0, stop: int | None = None) -> Dataset:
        """Read consecutive samples as a dataset of their own.

        Raises:
            InputError: If any of them is damaged.
        """
        return Dataset(
            info=dataclasses.replace(self.info, first=self.info.first + start),
            **{name: self._read(name, start, stop) for name in self._arrays},
        )

    def windows(self, size: int | None = None) -> Iterator[Dataset]:
        """Read all samples in turn, about ``size`` bytes at a time, in whole chunks of /C."""
        size = WINDOW_BYTES if size is None else size
        for rows in self._spans("C", size // self._row_bytes(*self._arrays)):
            yield self.rows(rows.start, rows.stop)

    @property
    def Y(self) -> Array:
        """All of /Y, (n, n_y) float64, which is read each time."""
        return np.asarray(self._read("Y"))

    @cached_property
    def status(self) -> npt.NDArray[np.uint8]:
        """All of /status, (n,) uint8."""
        return np.asarray(self._read("status"))

    @cached_property
    def split(self) -> npt.NDArray[np.uint8]:
        """All of /split, (n,) uint8."""
        return np.asarray(self._read("split"))

    def damage(self) -> list[tuple[str, range]]:
        """List the damaged arrays, each with a run of rows that cannot be read."""
        return [(name, rows) for name, bad in self._damaged.items() for rows in runs(bad)]

    def readable_rows(self) -> npt.NDArray[np.bool_]:
        """Return for each sample whether all of it can be read, (n,)."""
        return np.asarray(~np.any(list(self._damaged.values()), axis=0))

    def problems(self, max_residual: float = 1e-5) -> list[str]:
        """List the faults of the samples, in one pass over the file; empty if there are none.

        Samples are named by their indices in the whole set.

        Args:
            max_residual: Largest relative residual that a done sample may have. A residual of NaN
                is no fault: the problem computes none.
        """
        damaged = self._undamaged()
        windows = ((window.info.first, window) for window in self._sound(damaged))
        found = problems(self.info, len(self), windows, max_residual)
        lines = [
            sentence(runs(bad, self.info.first), f"damaged: the checksum of /{name} is wrong")
            for name, bad in damaged.items()
            if bad.any()
        ]
        return lines + found

    @cached_property
    def digest(self) -> str:
        """The same as `Dataset.digest`, computed a window at a time."""
        names = digested(self._arrays)
        return digest((self._arrays[name].shape, self._pieces(name)) for name in names)

    def summary(self) -> Summary:
        """Summarise the samples, in one pass over the file."""
        done = self.status == Status.DONE
        y = RunningStats(np.ones(len(self), dtype=bool))
        c = RunningStats(done, self.info.missing)
        pieces: dict[str, Iterable[npt.NDArray[Any]]] = {
            "Y": y.over(self._pieces("Y")),
            "C": c.over(self._pieces("C")),
            "status": [self.status],
            "split": [self.split],
        }
        classes = None
        if self.info.task == "classification":
            classes = ClassCounts(len(self.info.c_names), np.where(done, self.split, Split.UNUSED))
            pieces["C"] = classes.over(pieces["C"])
        names, derivatives = digested(self._arrays), DerivativeCounts(done)
        pieces |= {name: self._pieces(name) for name in names if name not in pieces}
        pieces |= {name: derivatives.over(pieces[name]) for name in TARGETS if name in pieces}
        numbers = digest((self._arrays[name].shape, pieces[name]) for name in names)
        makers = self._read("made_by") if "made_by" in self._arrays else np.zeros(len(self), int)
        return Summary(
            status={value: int((self.status == value).sum()) for value in Status},
            split={name: int((self.split == Split[name.upper()]).sum()) for name in PARTS},
            made_by=tuple(np.bincount(makers, minlength=len(self.info.makers)).tolist()),
            y_range=y.range,
            c_range=c.range,
            spread=c.spread,
            missing=c.missing,
            derivatives=derivatives.samples,
            derivative_gaps=derivatives.gaps,
            derivative_rows=derivatives.rows,
            classes=classes.counts if classes else None,
            digest=numbers,
        )

    def _read(self, name: str, start: int = 0, stop: int | None = None) -> Any:
        return read_array(self.path, self._arrays[name], start, stop)

    def _pieces(self, name: str) -> Iterator[npt.NDArray[Any]]:
        for rows in self._spans(name, WINDOW_BYTES // self._row_bytes(name)):
            yield self._read(name, rows.start, rows.stop)

    def _row_bytes(self, *names: str) -> int:
        arrays = [self._arrays[name] for name in names]
        sizes: list[int] = [a.dtype.itemsize * math.prod(a.shape[1:]) for a in arrays]
        return max(1, sum(sizes))

    def _spans(self, name: str, rows: int, within: range | None = None) -> list[range]:
        """Divide rows, all by default, into spans of about ``rows``: whole chunks of an array."""
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
        """Mark the rows that cannot be read; a span that fails is tried again chunk by chunk."""

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
        """Yield all samples in windows, except the damaged ones, which are marked."""
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
    """Open a dataset file to read its rows when they are needed.

    Raises:
        InputError: If it is missing, truncated, foreign, or of a newer schema.
    """
    with open_arrays(path) as (info, arrays):
        yield Stored(path, info, arrays)
