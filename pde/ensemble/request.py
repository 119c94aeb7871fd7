"""The arguments of a run: what it is asked for, and the caller's functions."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surrogates.config import check
from surrogates.types import Array

from .work import Progress

SAMPLES, SPLIT = 800, "0.8/0.1/0.1"  # unless others are asked for


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of a run.

    Attributes:
        out: The dataset file. Finished samples are kept beside it, in ``<out>.parts``, until the
            end. All processes must see that folder.
        samples: Number of samples of the whole set; None for 800, or as many as there are points.
            If a finished file has fewer, it is extended (`extension`).
        points: Points y to solve for in place of a sampling design: a file (.csv, .npy, .h5, whose
            names match those of the parameters) or an array, (n, n_y); see `prescribed`.
        seed: Seed of the sampling design and the split, >= 0.
        split: Counts or fractions of train, validation and test; None for those of samples that
            are there, or 0.8/0.1/0.1.
        ranks_per_sample: Processes that share a mesh; must divide the size of the communicator.
        shard: (i, n): do only the i-th of n parts of the set, 1 <= i <= n; merge them later.
        tangents: Whether to solve for dc/dy as well, if the problem can; or in how many directions
            of each sample.
        subspace: Pilot set with derivatives: the directions are the leading ones of its active
            subspace, and not random.
        adjoints: Number of functionals of c whose derivatives to solve for; 0 for none.
        pilot: Pilot set whose outputs show the functionals.
        time_limit: Seconds that a sample may take. A batch that takes longer is solved again one
            sample at a time; if processes share a mesh, a batch may take that for each sample.
        repair: Whether to solve again for samples that are damaged on disk, and only for them.
        retry_failed: Whether to solve again for samples that failed.
        allow_version_change: Whether to continue with other versions of the libraries.
        interface: Name or address of the network interface of rank 0's host at which the other
            hosts reach it; if empty, one in a common network of the hosts is chosen.
        unchecked: Whether to store derivatives of a user's problem without a test at one sample.
    """

    out: Path
    samples: int | None = None
    points: Any = None
    seed: int = 0
    split: str | None = None
    ranks_per_sample: int = 1
    shard: tuple[int, int] = (1, 1)
    tangents: bool | int = False
    subspace: str | os.PathLike[str] | None = None
    adjoints: int = 0
    pilot: str | os.PathLike[str] | None = None
    time_limit: float = 3600.0
    repair: bool = False
    retry_failed: bool = False
    allow_version_change: bool = False
    interface: str = ""
    unchecked: bool = False

    def __post_init__(self) -> None:
        """Make the path absolute: a solve may change the working folder."""
        path = Path(self.out).absolute()
        check(bool(path.name), f"{str(path)!r} is a folder; give the name of a file")
        object.__setattr__(self, "out", path)

    @property
    def parts(self) -> Path:
        """The folder of the journal."""
        return self.out.with_name(self.out.name + ".parts")

    def check(self, ranks: int) -> None:
        """Raise `InputError` if a number is out of range for a run on so many ranks."""
        check(
            1 <= self.ranks_per_sample <= ranks and ranks % self.ranks_per_sample == 0,
            f"ranks per sample must divide the {ranks} ranks; got {self.ranks_per_sample}",
        )
        check(self.time_limit > 0, f"the time limit must be positive; got {self.time_limit:g}")
        check(not (self.repair and self.retry_failed), "give either --repair or --retry-failed")
        check(
            self.samples is None or 1 <= self.samples <= 10**9,
            f"the number of samples must be at least 1 and at most 10^9; got {self.samples}",
        )

    def number(self, points: Array | None) -> int:
        """Return the number of samples of the whole set, whose points are given or drawn."""
        if points is None:
            return SAMPLES if self.samples is None else self.samples
        n = len(points)
        check(
            self.samples in (None, n),
            f"there are {n} points, and a sample is solved for each: leave --samples out; got "
            f"{self.samples}",
        )
        return n


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """The caller's functions that a run calls.

    Attributes:
        stop: Returns whether to end once the samples in flight are done; called on each process.
        on_progress: Called on rank 0 between its tasks.
        on_note: Called on rank 0, before the first solve, with each note on the samples.
    """

    stop: Callable[[], bool] = lambda: False
    on_progress: Callable[[Progress], None] | None = None
    on_note: Callable[[str], None] = lambda note: None
