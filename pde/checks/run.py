"""Make a problem and check it: over the processes of a communicator, and in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

import surrogates
from surrogates.config import check, from_toml, to_toml
from surrogates.types import Array

from ..collective import abort_on_error, on_each, on_root
from ..ensemble.processes import is_launched
from ..loading import load
from ..problem import Problem
from ..solving import made, noted, solved
from .check import checked
from .reports import Report

_PATIENCE = 20.0  # times the time that this process took for the same, and a minute more


def checked_on(
    comm: MPI.Comm,
    problem: type[Problem],
    settings: Any,
    *,
    file: str,
    samples: int,
    seed: int,
    ranks_per_sample: int = 1,
    given: Problem | None = None,
    told: Callable[[str], None] = lambda what: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Report:
    """Make a problem on the first processes of a communicator, and check it; collective.

    Args:
        comm: The communicator; processes beyond ``ranks_per_sample`` wait.
        problem: The problem's class.
        settings: Its settings.
        file: The name by which `loading.load` finds it in another process; empty if it cannot.
        samples: Number of parameters.
        seed: Their seed.
        ranks_per_sample: Processes that share the mesh.
        given: The problem, if it is made already.
        told: As for `check.checked`, on rank 0.
        on_note: Called on rank 0 with each of the problem's notes.

    Returns:
        The report, on every process.

    Raises:
        InputError: If an argument is out of range, or the problem cannot be made.
    """
    divides = 1 <= ranks_per_sample <= comm.size and comm.size % ranks_per_sample == 0
    check(divides, f"ranks per sample must divide the {comm.size} ranks; got {ranks_per_sample}")
    on_root(comm, lambda: _begin(problem, settings, on_note))
    here, start = Path.cwd(), time.monotonic()  # a problem may change the folder
    first = comm.rank < ranks_per_sample
    with abort_on_error(comm):
        shared = comm.Split(int(not first), comm.rank)
    if comm.rank == 0 and comm.size > 1:
        problem.compile(settings)  # the other processes then find it in the cache
    comm.barrier()

    def elsewhere(Y: Array) -> Array | str:
        seconds = 60 + _PATIENCE * (time.monotonic() - start)
        return _elsewhere(file, to_toml(settings), Y, here, seconds)

    def work() -> Report | None:
        if not first:
            return None
        solver = given or made(problem, settings, shared)
        tell = told if comm.rank == 0 else lambda what: None
        return checked(solver, samples=samples, seed=seed, elsewhere=elsewhere, told=tell)

    report: Report = comm.bcast(on_each(comm, work))
    shared.Free()
    return report


def _begin(problem: type[Problem], settings: Any, on_note: Callable[[str], None]) -> None:
    problem.check(settings)
    for note in noted(problem, settings):
        on_note(note)


def _elsewhere(file: str, settings: str, Y: Array, here: Path, seconds: float) -> Array | str:
    """Solve for Y in another process; return C, or why that failed or is not possible."""
    if is_launched():
        return "not under mpirun"
    if not file:
        return "its code is in no file"
    package = str(Path(surrogates.__file__).resolve().parents[1])
    path = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryDirectory(prefix="surrogates-") as folder:
        Path(folder, "asked.json").write_text(json.dumps([file, settings]), encoding="utf-8")
        np.save(Path(folder, "Y.npy"), Y)
        try:
            # Python's copy of the environment lacks the variables that MPI in this process has set.
            done = subprocess.run(
                [sys.executable, "-m", __name__, folder],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
                cwd=here,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            return f"it took longer than {seconds:.0f} s"
        result = Path(folder, "C.npy")
        if done.returncode or not result.exists():
            return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return np.asarray(np.load(result))


def _answer(folder: Path) -> None:
    """Solve for what another process has asked for in a folder."""
    file, settings = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
    problem = load(file)
    config = from_toml(problem.Config, settings)
    size, Y = problem.batch(config), np.load(folder / "Y.npy")
    np.save(folder / "C.npy", solved(made(problem, config, MPI.COMM_SELF), Y, size=size).C)


if __name__ == "__main__":
    _answer(Path(sys.argv[1]))
