"""Solve for a few samples of a dataset again, and compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from surrogates.config import check, entries, from_toml
from surrogates.data import Info, Status, Stored

from ..inputs import inputs, of_files
from ..problem import Problem
from ..sampling import draw
from ..solving import made, solved


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A sample in the file compared with a new solve.

    Attributes:
        sample: Its index in the whole set.
        y: Largest difference of a parameter, relative to its bounds' distance.
        c: Relative difference of c, ||c - c'|| / ||c||; infinite if the solve fails now.
        residual: Relative residual of the new solve; NaN if the problem returns none.
    """

    sample: int
    y: float
    c: float
    residual: float


def recompute(stored: Stored, problem: type[Problem], n: int, seed: int) -> list[Comparison]:
    """Draw some done samples at random, and solve for them again, on this process alone.

    Args:
        stored: The dataset.
        problem: Its problem; the configuration is the stored one.
        n: Largest number of samples.
        seed: Seed of the draw.

    Raises:
        InputError: If the problem cannot be set up, a file that it depends on differs from that of
            the dataset, or a row cannot be read.
    """
    info = stored.info
    done = np.flatnonzero(stored.status == Status.DONE)
    rows = np.sort(np.random.default_rng(seed).choice(done, min(n, len(done)), replace=False))
    if not len(rows):
        return []
    config = from_toml(problem.Config, info.config)
    _check_inputs(info, inputs(problem, config, info.inputs))
    about = problem.describe(config)
    for name in ("y_names", "c_names"):
        check(about[name] == getattr(info, name), f"its {name} are not those of {problem.name}")
    solver = made(problem, config, MPI.COMM_SELF)
    found = []
    for row in rows.tolist():
        there = stored.rows(row, row + 1)
        i = info.first + row
        rows_of = {"total": info.total, "start": i, "stop": i + 1}
        if info.design == "joined":  # of several seeds: its y is not checked
            y = there.Y
        else:
            y = draw(info.design, info.y_lower, info.y_upper, seed=info.seed, **rows_of)
        batch = solved(solver, y)
        size = float(np.linalg.norm(there.C)) or 1.0
        difference = float(np.linalg.norm(batch.C - there.C)) / size
        found.append(
            Comparison(
                sample=i,
                y=float(np.max(np.abs(y - there.Y) / (info.y_upper - info.y_lower))),
                c=difference if np.isfinite(difference) else np.inf,
                residual=float(batch.solver["residual"][0]),
            )
        )
    return found


def _check_inputs(info: Info, found: Mapping[str, str]) -> None:
    """Refuse files that differ from those that made the samples, before any is read."""
    paths = entries(info.config)
    for name in of_files({**found, **info.inputs}):
        # The dataset, which may come from anybody, names the files of settings.
        if name in info.inputs or name in paths:
            check(
                found.get(name) == info.inputs.get(name),
                f"{paths.get(name, name)} is not the file that made it: its SHA-256 is "
                f"{found.get(name, 'absent')[:12]}, not {info.inputs.get(name, 'known')[:12]}",
            )
