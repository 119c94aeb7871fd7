"""Generate a dataset: an ensemble of solves over the processes of a communicator.

The processes form groups, each with a mesh of its own, and the samples batches of consecutive
indices, dealt to the groups in turn. A finished batch is written at once, as a dataset file in the
folder ``<out>.parts``; at the end the batches are merged into ``out`` and the folder is removed.
The same call after a kill at any moment goes on with the batches that are not there yet.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import basix
import dolfinx
import ffcx
import h5py
import mpi4py
import numpy as np
import petsc4py
import scipy
import ufl
from mpi4py import MPI
from petsc4py import PETSc

from surrogates.config import check, to_toml
from surrogates.dataset import Dataset, Info, Status, assign_split, merge, read_info
from surrogates.errors import InputError
from surrogates.files import check_writable, remove_leftovers
from surrogates.provenance import provenance

from .cdr import CDR, CDRConfig
from .dcr import DCR
from .problem import Problem
from .survey import DCRConfig

T = TypeVar("T")

PROBLEMS: dict[str, tuple[type[Any], type[Problem]]] = {
    "cdr": (CDRConfig, CDR),
    "dcr": (DCRConfig, DCR),
}
"""For each problem its configuration and its class."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is: samples finished, those that failed (rank 0's until the end), and all."""

    done: int
    failed: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run did, the same on every process.

    Attributes:
        samples: Samples in the file.
        solved: Samples that this run solved; the others were there already.
        failed: Samples in the file that failed, and the first one's reason.
        reason: Why the first of them failed, empty if none did.
        seconds: Wall time of this run's set-up of the solver and its solves.
        mesh: Size of the mesh, one line.
    """

    samples: int
    solved: int
    failed: int
    reason: str
    seconds: float
    mesh: str


def generate(
    problem: str,
    config: Any,
    comm: MPI.Comm,
    *,
    out: str | os.PathLike[str],
    samples: int,
    seed: int = 0,
    split: str = "0.8/0.1/0.1",
    ranks_per_sample: int = 1,
    shard: tuple[int, int] = (1, 1),
    tangents: bool = False,
    on_batch: Callable[[Progress], None] | None = None,
) -> Summary:
    """Generate a dataset file, or finish one that was begun. Collective over ``comm``.

    Args:
        problem: One of `PROBLEMS`.
        config: Its configuration.
        comm: The processes to use.
        out: The dataset file; batches are kept beside it, in ``<out>.parts``, until the end. All
            processes must see that folder.
        samples: Samples in the whole set.
        seed: Seed of the sampling design and the split, >= 0.
        split: Counts or fractions of train, validation and test.
        ranks_per_sample: Processes that share a mesh; must divide the size of ``comm``.
        shard: (i, n): do only the i-th of n parts of the set, 1 <= i <= n; merge them later.
        tangents: Whether to solve for dc/dy as well, for a problem that can.
        on_batch: Called on rank 0 after its batches, at most once a second, and at the end.

    Returns:
        What was done.

    Raises:
        InputError: On every process alike, before anything is written, if an argument is out of
            range, ``out`` cannot be written, or there is a dataset of another configuration.
    """
    out = Path(out)
    check(bool(out.name), f"{str(out)!r} is a folder; give the name of a file")
    parts = out.with_name(out.name + ".parts")

    def plan() -> tuple[Info, list[range], list[range], bool]:
        check(
            1 <= samples <= 10**9,
            f"the number of samples must be at least 1 and at most 10^9; got {samples}",
        )
        check(
            1 <= ranks_per_sample <= comm.size and comm.size % ranks_per_sample == 0,
            f"ranks per sample must divide the {comm.size} ranks; got {ranks_per_sample}",
        )
        check(1 <= shard[0] <= shard[1], f"a shard is i/n with 1 <= i <= n; got {shard}")
        make = PROBLEMS[problem][1]
        check(make.has_tangents or not tangents, f"{problem} has no tangents; leave out --tangents")
        make.check(config)
        assign_split(split, samples, seed)
        check_writable(out)
        info = _info(problem, config, samples, seed, split, tangents)
        batches = _batches(samples, config.solver.batch, shard)
        check(len(batches) > 0, f"shard {shard[0]}/{shard[1]} is empty: there are fewer batches")
        finished = out.exists()
        if finished:
            whole = range(batches[0].start, batches[-1].stop)
            _same_set(out, info, whole)
            return info, batches, [], finished
        if parts.exists():
            check(parts.is_dir(), f"{parts} is in the way: it is not a folder of batches")
            there = {_part(parts, batch) for batch in batches}
            for path in sorted(parts.glob("batch-*.h5")):
                if path not in there:
                    raise InputError(
                        f"{path} is of another run; give another --out, or remove {parts}"
                    )
            for batch in batches:
                if (path := _part(parts, batch)).exists():
                    _same_set(path, info, batch)
        pending = [batch for batch in batches if not _part(parts, batch).exists()]
        parts.mkdir(exist_ok=True)
        target = out.resolve()
        remove_leftovers(target.parent, re.escape(target.name))
        remove_leftovers(parts, r"batch-\d+\.h5")
        return info, batches, pending, finished

    info, batches, pending, finished = on_root(comm, plan)
    if not finished:
        with _abort_on_error(comm):
            start = time.perf_counter()
            mesh = _solve(
                problem, config, comm, info, batches, pending, parts, ranks_per_sample, on_batch
            )
            seconds = time.perf_counter() - start
    else:
        seconds, mesh = 0.0, ""

    def finish() -> Summary:
        if not finished:
            merge([_part(parts, batch) for batch in batches], out, whole=shard[1] == 1)
        if parts.exists():
            shutil.rmtree(parts)
        dataset = Dataset.read(out)
        failed = np.flatnonzero(dataset.status == Status.FAILED)
        return Summary(
            samples=len(dataset.Y),
            solved=sum(map(len, pending)),
            failed=len(failed),
            reason=dataset.failure[failed[0]] if len(failed) else "",
            seconds=seconds,
            mesh=mesh or dataset.info.mesh,
        )

    return on_root(comm, finish)


def on_root(comm: MPI.Comm, action: Callable[[], T]) -> T:
    """Do something on rank 0 and give every process its result, or raise its `InputError`."""
    result: Any = None
    error: str | None = None
    with _abort_on_error(comm):
        if comm.rank == 0:
            try:
                result = action()
            except InputError as caught:
                error = str(caught)
        result, error = comm.bcast((result, error))
    if error is not None:
        raise InputError(error)
    return cast(T, result)


class _abort_on_error:
    """End all processes when one fails where others wait for it: else they would wait forever."""

    def __init__(self, comm: MPI.Comm) -> None:
        self.comm = comm

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: Any, traceback: Any) -> None:
        if error is not None and self.comm.size > 1:
            text = str(error).splitlines()
            print(
                f"error: rank {self.comm.rank} failed, all stop: {kind.__name__ if kind else ''}: "
                f"{text[0] if text else ''}; run the same command again to go on",
                file=sys.stderr,
                flush=True,
            )
            self.comm.Abort(1)


def _solve(
    problem: str,
    config: Any,
    comm: MPI.Comm,
    info: Info,
    batches: list[range],
    pending: list[range],
    parts: Path,
    ranks_per_sample: int,
    on_batch: Callable[[Progress], None] | None,
) -> str:
    """Solve for the pending batches and write each; give the mesh's description."""
    make = PROBLEMS[problem][1]
    if comm.rank == 0:
        make.compile(config)  # one process compiles the forms, the others then find them
    comm.barrier()
    groups, number = comm.size // ranks_per_sample, comm.rank // ranks_per_sample
    group = comm.Split(number, comm.rank)
    solver = make(config, group)
    info = dataclasses.replace(info, mesh=solver.mesh)
    split = assign_split(info.split, info.total, info.seed)
    total = sum(map(len, batches))
    failed, due = 0, 0.0  # the folder is looked through at most once a second
    for batch in pending[number::groups]:
        rows = {"start": batch.start, "stop": batch.stop}
        Y = make.parameters(config, total=info.total, seed=info.seed, **rows)
        result = solver.solve(Y, tangents=info.tangents)
        if group.rank == 0:
            bad = np.array([bool(text) for text in result.failure])
            Dataset(
                info=dataclasses.replace(info, first=batch.start),
                Y=Y,
                C=result.C,
                status=np.where(bad, Status.FAILED, Status.DONE).astype(np.uint8),
                split=split[batch.start : batch.stop],
                failure=result.failure,
                solver=result.solver,
                dC_dY=result.dC_dY,
            ).write(_part(parts, batch))
            failed += int(bad.sum())
        if comm.rank == 0 and on_batch is not None and time.monotonic() >= due:
            there = set(os.listdir(parts))
            done = sum(len(b) for b in batches if _part(parts, b).name in there)
            on_batch(Progress(done=done, failed=failed, total=total))
            due = time.monotonic() + 1
    failed = comm.allreduce(failed)
    if comm.rank == 0 and on_batch is not None:
        on_batch(Progress(done=total, failed=failed, total=total))
    group.Free()
    return str(solver.mesh)


def _batches(samples: int, size: int, shard: tuple[int, int]) -> list[range]:
    """Divide the samples into batches, and take those of a shard.

    The batches do not depend on the number of processes, so that any number can go on.
    """
    batches = [range(i, min(i + size, samples)) for i in range(0, samples, size)]
    i, n = shard
    return batches[(i - 1) * len(batches) // n : i * len(batches) // n]


def _part(parts: Path, batch: range) -> Path:
    return parts / f"batch-{batch.start:09d}.h5"


def _same_set(path: Path, info: Info, samples: range) -> None:
    there, n = read_info(path)
    differences = there.differences(info)
    if not differences and (there.first, n) != (samples.start, len(samples)):
        differences = [
            f"samples are {there.first} to {there.first + n - 1} there and "
            f"{samples.start} to {samples.stop - 1} here"
        ]
    if differences:
        raise InputError(
            f"{path} is another dataset: {'; '.join(differences)}; it is left as it is, "
            "give another --out"
        )


def _info(problem: str, config: Any, samples: int, seed: int, split: str, tangents: bool) -> Info:
    made = provenance(dolfinx, ufl, basix, ffcx, petsc4py, mpi4py, h5py, np, scipy)
    vendor, number = MPI.get_vendor()
    below = {"PETSc": PETSc.Sys.getVersion(), vendor: number}
    texts = {name: ".".join(map(str, numbers)) for name, numbers in below.items()}
    made["versions"] = {**made["versions"], **texts}
    return Info(
        problem=problem,
        config=to_toml(config),
        design=config.sampling.design,
        seed=seed,
        split=split,
        total=samples,
        tangents=tangents,
        **made,
        **PROBLEMS[problem][1].describe(config),
    )
