"""The solves of a run: batches, each a dataset file in its folder, and the files joined."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surrogates.config import check
from surrogates.data import Dataset, Split, Status, append
from surrogates.files import atomic
from surrogates.progress import Told
from surrogates.types import Array

from .asked import Asked

_SPLIT = "0.9/0.1/0"  # of every batch: a choice by folds takes both parts
_WAIT = 1.0  # seconds between looks at a run that still solves


def seed_of(seed: int, round: int, piece: int) -> int:
    """Return the seed of a fresh batch: other random numbers for each, and for each run's seed.

    A batch is a design of its own, whatever the design: the rows of a Latin hypercube or of Sobol's
    sequence that follow those of another batch would avoid them, and overestimate the error.
    """
    text = f"surrogates learn {seed} {round} {piece}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


class Samples:
    """Solves for batches.

    Args:
        asked: The arguments of the run.
        config: All settings of the problem, as TOML text.
        folder: Where the files are.
        progress: As for `surrogates.generate`.
    """

    def __init__(self, asked: Asked, config: str, folder: Path, progress: bool | Told) -> None:
        """Solve for nothing yet."""
        self._asked, self._config, self._folder, self._progress = asked, config, folder, progress
        self.solved = 0  # files made by this object

    def random(self, name: str, samples: int, seed: int) -> Path:
        """Return the file of a batch of the problem's own design."""
        return self._made(name, {"samples": samples, "seed": seed})

    def at(self, name: str, points: Callable[[], Array]) -> Path:
        """Return the file of a batch at given parameters.

        Args:
            name: Its name.
            points: Chooses the parameters, (n, n_y); called only if they were not chosen before.
        """
        if (self._folder / f"{name}.h5").exists():
            return self._folder / f"{name}.h5"
        chosen = self._folder / f"{name}-points.npy"
        if not chosen.exists():
            with atomic(chosen) as beside:
                np.save(beside, points())
        return self._made(name, {"points": chosen, "seed": self._asked.seed})

    def _made(self, name: str, what: dict[str, Any]) -> Path:
        """Return a file, which is made if it is not there."""
        out = self._folder / f"{name}.h5"
        if out.exists():
            return out
        self.solved += 1
        asked = self._asked
        run = {**what, "split": _SPLIT, "tangents": asked.tangents, "unchecked": asked.unchecked}
        run |= {"ranks_per_sample": asked.ranks_per_sample, "time_limit": asked.time_limit}
        from surrogates.pde.run import generate, generate_apart

        if not isinstance(asked.problem, str):
            check(asked.processes == 1, "processes need a problem in a file, FILE.py:CLASS")
            where: dict[str, Any] = {"config": asked.config, "settings": asked.settings}
            generate(asked.problem, out=out, progress=self._progress, **where, **run)
            return out
        self._await(out)
        file = self._folder / "problem.toml"
        with atomic(file) as beside:
            beside.write_text(self._config, encoding="utf-8")
        how: dict[str, Any] = {"processes": asked.processes, "launcher": asked.launcher}
        generate_apart(asked.problem, out, file, run, progress=self._progress, **how)
        return out

    def _await(self, out: Path) -> None:
        """Wait for solves that a killed run has left at work: they are the same."""
        from surrogates.folders import Folder
        from surrogates.pde.ensemble.lock import held

        parts = out.with_name(f"{out.name}.parts")
        while parts.is_dir() and held(Folder.there(parts)):
            time.sleep(_WAIT)


def joined(paths: Sequence[Path], folder: Path) -> Dataset:
    """Return the samples of several files as one dataset; the first file's names and units."""
    if len(paths) == 1:
        return Dataset.read(paths[0])
    together = folder / "joined.h5"
    try:
        append(paths, together)
        return Dataset.read(together)
    finally:
        together.unlink(missing_ok=True)


def done(paths: Sequence[Path]) -> tuple[Array, Array, Array]:
    """Return Y and C of the solved samples of files, and Y of those that failed."""
    sets = [Dataset.read(path) for path in paths]
    Y, C = (np.concatenate([getattr(one, name) for one in sets]) for name in ("Y", "C"))
    good = np.concatenate([one.status for one in sets]) == Status.DONE
    return Y[good], C[good], Y[~good]


def core_seconds(paths: Sequence[Path], ranks: int) -> float:
    """Return the core-seconds of the solves in files, each by ``ranks`` processes."""
    return ranks * float(sum(np.nansum(Dataset.read(path).solver["seconds"]) for path in paths))


def write_all(
    out: str | os.PathLike[str],
    trained: Sequence[tuple[Path, bool]],
    fresh: Sequence[Path],
    folder: Path,
) -> None:
    """Write all samples of a run as one dataset, in the order of the solves.

    The samples that the surrogate has not seen are its test part, and notes say which samples were
    designed.

    Args:
        out: The file.
        trained: The files that are not the test part, and whether they were designed.
        fresh: The files of random samples that the error was measured on.
        folder: The run's folder.
    """
    files = [*trained, *((path, False) for path in fresh)]
    data = joined([path for path, _ in files], folder)
    ends = np.cumsum([0, *(Dataset.read(path).info.total for path, _ in files)])
    split = data.split.copy()
    split[ends[len(trained)] :] = Split.TEST
    marked = [
        f"{start}-{stop - 1}"
        for start, stop, (_, designed) in zip(ends, ends[1:], files, strict=False)
        if designed and stop > start
    ]
    notes = [
        f"samples {', '.join(marked)} were designed by surrogates suggest; the others are random"
        if marked
        else "all samples are random",
        f"samples {ends[len(trained)]}-{ends[-1] - 1} are the test part: random, and not seen by "
        "the surrogate of this run",
    ]
    info = dataclasses.replace(data.info, notes=(*data.info.notes, *notes), split="joined")
    dataclasses.replace(data, info=info, split=split).write(out)
