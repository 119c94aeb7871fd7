"""Solve for a few samples of a dataset again, and compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

from surrogates.config import check, entries, from_toml
from surrogates.data import Dataset, Info, Status, Stored
from surrogates.types import Array

from ..inputs import inputs, of_files
from ..prescribed import DESIGN
from ..problem import Problem
from ..results import Batch, derivatives
from ..sampling import draw
from ..solving import drawn, made, solved
from ..wanted import Wanted


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A sample in the file compared with a new solve.

    Attributes:
        sample: Its index in the whole set.
        y: Largest difference of a parameter, relative to its bounds' distance.
        c: Relative difference of c, ||c - c'|| / ||c||; infinite if the solve fails now.
        residual: Relative residual of the new solve; NaN if the problem returns none.
        derivatives: As ``c``, of the derivatives of the sample; None if it has none.
        directions: Largest difference of their directions, relative to the size of the largest.
    """

    sample: int
    y: float
    c: float
    residual: float
    derivatives: float | None = None
    directions: float = 0.0


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
    given = info.design in ("joined", DESIGN)  # of several seeds, or given: y is not checked
    own = None if given else drawn(problem, config, info.total, info.seed)
    solver = made(problem, config, MPI.COMM_SELF)
    found = []
    for row in rows.tolist():
        there = stored.rows(row, row + 1)
        i = info.first + row
        rows_of = {"total": info.total, "start": i, "stop": i + 1}
        if given:
            y = there.Y
        elif own is not None:
            y = own[i : i + 1]
        else:
            y = draw(info.design, info.y_lower, info.y_upper, seed=info.seed, **rows_of)
        batch = solved(solver, y, **_asked(there))
        found.append(
            Comparison(
                sample=i,
                y=float(np.max(np.abs(y - there.Y) / (info.y_upper - info.y_lower))),
                c=_difference(batch.C, there.C),
                residual=float(batch.solver["residual"][0]),
                derivatives=_of_derivatives(batch, there),
                directions=_of_directions(there, i),
            )
        )
    return found


def _asked(there: Dataset) -> dict[str, Any]:
    """Return the arguments of `solved` for the derivatives that a sample has."""
    if there.dC_dY is not None:
        return {"tangents": True}
    if there.directions is not None:
        return {"tangents": np.nan_to_num(there.directions)}
    return {"adjoints": there.info.functionals if there.info.adjoints else None}


def _difference(now: Array, then: Array) -> float:
    """Return the relative difference of numbers; infinite if one of them is not finite."""
    difference = float(np.linalg.norm(now - then)) / (float(np.linalg.norm(then)) or 1.0)
    return difference if np.isfinite(difference) else np.inf


def _of_derivatives(batch: Batch, there: Dataset) -> float | None:
    """Compare the derivatives that a sample has with those of a new solve."""
    for name, now in derivatives(batch).items():
        then = getattr(there, name)
        known = ~np.isnan(then)  # of joined sets, some samples or directions have none
        return _difference(now[known], then[known]) if known.any() else None
    return None


def _of_directions(there: Dataset, i: int) -> float:
    """Compare random directions of sample i with those that its number gives; 0 for others."""
    info = there.info
    if there.directions is None or info.design == "joined" or "--subspace" in info.inputs:
        return 0.0
    V = Wanted(directions=info.directions).draw(info, i, i + 1)
    assert V is not None
    return float(np.abs(V - there.directions).max() / np.abs(V).max())


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
