"""Generate a dataset: an ensemble of solves over the processes of a communicator.

The processes form groups, each with a mesh of its own. A batch is the unit of computing:
consecutive samples, the same for any number of processes and after any kill. A process of its own
hands the batches out (`dispatcher`); each group appends what it has finished to a journal in the
folder ``<out>.parts`` (`surrogates.shards`), and at the end the dataset is assembled from there and
the folder removed. The same call after a kill at any moment solves for what is not there yet.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from surrogates.config import check, to_toml
from surrogates.dataset import (
    SOLVER,
    Dataset,
    Info,
    Status,
    Stored,
    assign_split,
    opened,
    read_info,
    write,
)
from surrogates.errors import InputError
from surrogates.files import check_writable, remove_leftovers
from surrogates.provenance import Provenance, provenance
from surrogates.shards import DESCRIPTION, Journal, Parts

from .dispatcher import Dispatcher, Requests, Task
from .limits import Mark, TimeLimit, TimeLimitError, marks, too_long
from .problem import Batch, Problem, made
from .sampling import Array, draw

T = TypeVar("T")

TEMPORARY_FAILURE = 75
"""Exit status of a run that ended before all was done, and that the same command continues."""

_LIBRARIES = ("dolfinx", "ufl", "basix", "ffcx", "petsc4py", "mpi4py", "h5py", "numpy", "scipy")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is: samples finished, those of them that failed, and all."""

    done: int
    failed: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run did, the same on every process.

    Attributes:
        total: Samples that the file has, or will have.
        done: Samples that are done; fewer than ``total`` if the run was asked to stop.
        solved: Samples that this run solved; the others were there already.
        failed: Samples that failed.
        reason: Why the first of them failed, empty if none did.
        seconds: Wall time of this run's set-up of the solver and its solves.
        mesh: Size of the mesh, one line.
    """

    total: int
    done: int
    solved: int
    failed: int
    reason: str
    seconds: float
    mesh: str


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What every process needs to know.

    Attributes:
        info: What the set is, with this run among its makers.
        maker: Index of this run's versions among them.
        samples: Those of the file.
        done: How many of them are there already.
        address: Where to ask for tasks; None if there is nothing to do.
        marks: What earlier runs did not come back from.
    """

    info: Info
    maker: int
    samples: range
    done: int = 0
    address: dict[str, Any] | None = None
    marks: list[Mark] = field(default_factory=list)


def generate(
    problem: type[Problem],
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
    time_limit: float = 3600.0,
    repair: bool = False,
    retry_failed: bool = False,
    allow_version_change: bool = False,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Generate a dataset file, or finish one that was begun. Collective over ``comm``.

    To be called from the main thread, as a time limit works by signals.

    Args:
        problem: The problem, of `problem.load`.
        config: Its settings, a ``problem.Config``.
        comm: The processes to use.
        out: The dataset file; what is finished is kept beside it, in ``<out>.parts``, until the
            end. All processes must see that folder.
        samples: Samples in the whole set.
        seed: Seed of the sampling design and the split, >= 0.
        split: Counts or fractions of train, validation and test.
        ranks_per_sample: Processes that share a mesh; must divide the size of ``comm``.
        shard: (i, n): do only the i-th of n parts of the set, 1 <= i <= n; merge them later.
        tangents: Whether to solve for dc/dy as well, for a problem that can.
        time_limit: Seconds that a sample may take; a batch may take them for each of its samples.
        repair: Whether to solve again for samples that are damaged on disk, and for them alone.
        retry_failed: Whether to solve again for samples that failed.
        allow_version_change: Whether to go on with other versions of the libraries than before.
        stop: Whether to end once the samples in flight are done; asked on each process.
        on_progress: Called on rank 0 between its tasks.

    Returns:
        What was done.

    Raises:
        InputError: On every process alike, if an argument is out of range, ``out`` cannot be
            written, another run is writing it, or there is a dataset of another configuration.
    """
    out = Path(out)
    check(bool(out.name), f"{str(out)!r} is a folder; give the name of a file")
    folder = out.with_name(out.name + ".parts")
    dispatcher: Dispatcher | None = None

    def plan() -> _Plan:
        nonlocal dispatcher
        check(
            1 <= ranks_per_sample <= comm.size and comm.size % ranks_per_sample == 0,
            f"ranks per sample must divide the {comm.size} ranks; got {ranks_per_sample}",
        )
        check(time_limit > 0, f"the time limit must be positive; got {time_limit:g}")
        check(not (repair and retry_failed), "give either --repair or --retry-failed")
        info, whole = _described(problem, config, samples, seed, split, shard, tangents)
        check_writable(out)
        finished = _Plan(info=info, maker=0, samples=whole, done=len(whole))
        there, right = out.exists(), False
        if there:
            _same_set(out, info, whole)
            with opened(out) as stored:
                right = bool(_to_keep(stored, repair, retry_failed).all())
            if right and not folder.exists():
                return finished
        check(
            folder.is_dir() or not folder.exists(),
            f"{folder} is in the way: it is not a folder of shards",
        )
        folder.mkdir(exist_ok=True)
        dispatcher = Dispatcher(folder)
        if out.exists() and not there:  # by a run that has just ended
            return finished
        if right and not _to_be_ended(folder, whole):
            return finished
        info, maker = _continued(folder, out, info, allow_version_change)
        remove_leftovers(out.resolve().parent, re.escape(out.resolve().name))
        parts, size = Parts(folder, info), problem.batch(config)
        parts.recover()
        if repair or retry_failed:
            parts.drop(damaged=repair, failed=retry_failed)
        found = marks(folder, time_limit, forget=retry_failed)
        if there:
            _keep(out, parts, size, repair, retry_failed)
        covered, failed = _covered(parts, whole)
        missing = ~np.logical_and.reduceat(covered, np.arange(0, len(whole), size))
        offset, done = whole.start // size, int(covered.sum())
        address = dispatcher.open(
            [(run.start + offset, run.stop + offset) for run in _runs(missing)],
            groups=comm.size // ranks_per_sample,
            most=max(1, parts.most // size),
            total=len(whole),
            done=done,
            failed=failed,
            hosts=hosts,
        )
        return dataclasses.replace(
            finished,
            info=info,
            maker=maker,
            done=done,
            address=address,
            marks=found,
        )

    hosts = len(set(comm.allgather(MPI.Get_processor_name())))
    try:
        begun = on_root(comm, plan)
        seconds, mesh, solved = 0.0, "", 0
        if begun.done < len(begun.samples):
            with _abort_on_error(comm):
                start = time.perf_counter()
                group = comm.Split(comm.rank // ranks_per_sample, comm.rank)
                if comm.rank == 0 and comm.size > 1:
                    problem.compile(config)  # the others then find it in the cache
                comm.barrier()
                work = _Work(problem, config, group, begun, time_limit)
                mesh = on_root(comm, lambda: _settle(folder, begun, work.mesh))
                solved = work.run(folder, comm, stop, on_progress)
                group.Free()
                seconds = time.perf_counter() - start

        def finish() -> Summary:
            if begun.address is None:
                return _summary(out)
            info = read_info(folder / DESCRIPTION)[0]
            info = dataclasses.replace(info, first=begun.samples.start)
            parts = Parts(folder, info)
            covered, failed = _covered(parts, begun.samples)
            reason = ""
            if covered.all():
                reason = _first_reason(parts)
                write(out, info, len(begun.samples), parts.pieces())
                assert dispatcher is not None
                dispatcher.end()
                _remove(folder)
            return Summary(
                total=len(begun.samples),
                done=int(covered.sum()),
                solved=solved,
                failed=failed,
                reason=reason,
                seconds=seconds,
                mesh=mesh or info.mesh,
            )

        return on_root(comm, finish)
    finally:
        if dispatcher is not None:
            dispatcher.end()
            if folder.exists() and not [*folder.glob("shard-*"), *folder.glob("mark-*")]:
                _remove(folder)


class _Work:
    """A group's share of the solves."""

    def __init__(
        self, problem: type[Problem], config: Any, group: MPI.Comm, plan: _Plan, time_limit: float
    ) -> None:
        """Prepare what all samples share."""
        self._problem = problem
        self._config = config
        self._group = group
        self._plan = plan
        self._seconds = time_limit
        self._size = problem.batch(config)
        self._solver = made(problem, config, group)
        self._limit: TimeLimit | None = None
        self.mesh = self._solver.mesh

    def run(
        self,
        folder: Path,
        comm: MPI.Comm,
        stop: Callable[[], bool],
        on_progress: Callable[[Progress], None] | None,
    ) -> int:
        """Work until nothing is left, or the run is to stop; give the samples solved by all."""
        group, plan = self._group, self._plan
        root = group.rank == 0
        assert plan.address is not None
        solved = 0
        report: dict[str, Any] = {}
        self._limit = TimeLimit(self._seconds, folder, interrupt=group.size == 1)
        requests = Requests(plan.address) if root else None
        journal = Journal(Parts(folder, plan.info))
        try:
            while True:
                task = requests.next(stop, **report) if requests else None
                if requests and comm.rank == 0 and on_progress is not None:
                    total = len(plan.samples)
                    on_progress(Progress(done=requests.done, failed=requests.failed, total=total))
                task = group.bcast(task) if group.size > 1 else task
                if task is None:
                    break
                start = time.perf_counter()
                data = self._task(task)
                if root:
                    journal.append(data)
                    failed = int((data.status == Status.FAILED).sum())
                    seconds = time.perf_counter() - start
                    report = {"samples": len(data.Y), "failed": failed, "seconds": seconds}
                    solved += len(data.Y)
        except ConnectionError as error:
            journal.close()
            time.sleep(1)  # whoever has failed ends all, and says why
            _complain(f"{error}, all stop; run the same command again to go on")
            comm.Abort(TEMPORARY_FAILURE)
        finally:
            self._limit.close()
            journal.close()
        if requests:
            requests.close()
        return cast(int, comm.allreduce(solved))

    def _task(self, task: Task) -> Dataset:
        """Solve for the batches of a task."""
        plan, info = self._plan, self._plan.info
        first = task.first * self._size
        rows = range(first, min(first + task.count * self._size, plan.samples.stop))
        bounds = {"total": info.total, "start": rows.start, "stop": rows.stop}
        Y = draw(info.design, info.y_lower, info.y_upper, seed=info.seed, **bounds)
        batch = self._within_limit(Y, rows.start)
        failure = batch.failure
        if self._group.rank == 0:
            finite = np.isfinite(batch.C).all(axis=1)
            if batch.dC_dY is not None:
                finite &= np.isfinite(batch.dC_dY).all(axis=(1, 2))
            failure = [
                text or ("" if good else "c is not finite")
                for text, good in zip(failure, finite, strict=True)
            ]
        bad = np.array([bool(text) for text in failure])
        batch.C[bad] = np.nan
        return Dataset(
            info=dataclasses.replace(info, first=rows.start),
            Y=Y,
            C=batch.C,
            status=np.where(bad, Status.FAILED, Status.DONE).astype(np.uint8),
            split=np.zeros(len(Y), np.uint8),
            failure=failure,
            solver=batch.solver,
            dC_dY=batch.dC_dY,
            made_by=np.full(len(Y), plan.maker, np.uint16),
        )

    def _within_limit(self, Y: Array, start: int) -> Batch:
        """Solve for samples from ``start`` on: batches, one batch, or a sample of one.

        What is over the limit, or ended an earlier run, is divided until the sample is found.
        """
        assert self._limit is not None
        n, stop = len(Y), start + len(Y)
        reasons = [m.reason for m in self._plan.marks if m.start < stop and start < m.stop]
        alone = (m.reason for m in self._plan.marks if (m.start, m.stop) == (start, start + 1))
        reason = next(alone, "") if n == 1 else ""
        if not reason and (n == 1 or not reasons):
            try:
                # A task of many short batches may take what one of them may: it is divided else.
                limit = self._seconds * n if n <= self._size else max(self._seconds * self._size, 1)
                with self._limit(start, stop, limit):
                    tangents = self._plan.info.tangents
                    return _joined(
                        [
                            self._solver.solve_batch(Y[i : i + self._size], tangents=tangents)
                            for i in range(0, n, self._size)
                        ]
                    )
            except TimeLimitError:
                self._solver = made(self._problem, self._config, self._group)
                reason = too_long(self._seconds)
        if n > 1:
            size = self._size if n > self._size else 1
            return _joined(
                [self._within_limit(Y[i : i + size], start + i) for i in range(0, n, size)]
            )
        n_c, n_y = len(self._plan.info.c_names), len(self._plan.info.y_names)
        return Batch(
            C=np.full((1, n_c), np.nan),
            failure=[reason],
            solver=np.zeros(1, SOLVER),
            dC_dY=np.full((1, n_c, n_y), np.nan) if self._plan.info.tangents else None,
        )


def _joined(batches: list[Batch]) -> Batch:
    tangents = [batch.dC_dY for batch in batches if batch.dC_dY is not None]
    return Batch(
        C=np.concatenate([batch.C for batch in batches]),
        failure=[text for batch in batches for text in batch.failure],
        solver=np.concatenate([batch.solver for batch in batches]),
        dC_dY=np.concatenate(tangents) if tangents else None,
    )


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


def on_each(comm: MPI.Comm, action: Callable[[], T]) -> T:
    """Do something on every process, or raise the `InputError` that one of them has met, on all."""
    error: str | None = None
    with _abort_on_error(comm):
        try:
            result = action()
        except InputError as caught:
            error = str(caught)
        errors = [text for text in comm.allgather(error) if text is not None]
    if errors:
        raise InputError(errors[0])
    return result


@contextlib.contextmanager
def _abort_on_error(comm: MPI.Comm) -> Iterator[None]:
    """End all processes when one fails where others wait for it: else they would wait forever."""
    try:
        yield
    except BaseException as error:
        if comm.size > 1:
            text = (str(error).splitlines() or [""])[0]
            if isinstance(error, InputError):
                _complain(text)
                comm.Abort(2)
            _complain(
                f"rank {comm.rank} failed, all stop: {type(error).__name__}: {text}; run the same "
                "command again to go on"
            )
            comm.Abort(1)
        raise


def _complain(text: str) -> None:
    print(f"error: {text}", file=sys.stderr, flush=True)


def _described(
    problem: type[Problem],
    config: Any,
    samples: int,
    seed: int,
    split: str,
    shard: tuple[int, int],
    tangents: bool,
) -> tuple[Info, range]:
    """Check what is asked for, and give its description and the samples of the shard."""
    check(
        1 <= samples <= 10**9,
        f"the number of samples must be at least 1 and at most 10^9; got {samples}",
    )
    check(1 <= shard[0] <= shard[1], f"a shard is i/n with 1 <= i <= n; got {shard}")
    check(
        problem.has_tangents or not tangents,
        f"{problem.name} has no tangents; leave out --tangents",
    )
    problem.check(config)
    assign_split(split, samples, seed)
    info = Info(
        problem=problem.name,
        source=problem.source,
        config=to_toml(config),
        design=problem.design(config),
        seed=seed,
        split=split,
        total=samples,
        tangents=tangents,
        **_made(),
        **problem.describe(config),
    )
    size, largest = problem.batch(config), Parts(Path(), info).largest
    check(size <= largest, f"a batch can have {largest} samples at most; got {size}")
    return info, _share(samples, size, shard)


def _share(samples: int, size: int, shard: tuple[int, int]) -> range:
    """Give the samples of a shard: whole batches, whatever the number of processes."""
    n = -(-samples // size)
    first, stop = ((shard[0] - 1) * n // shard[1], shard[0] * n // shard[1])
    check(first < stop, f"shard {shard[0]}/{shard[1]} is empty: there are fewer batches")
    return range(first * size, min(stop * size, samples))


def _same_set(path: Path, info: Info, samples: range | None) -> Info:
    """Refuse a file of another set, and give what it is."""
    there, n = read_info(path)
    differences = there.differences(info)
    if not differences and samples and (there.first, n) != (samples.start, len(samples)):
        differences = [
            f"samples are {there.first} to {there.first + n - 1} there and "
            f"{samples.start} to {samples.stop - 1} here"
        ]
    if differences:
        raise InputError(
            f"{path} is another dataset: {'; '.join(differences)}; it is left as it is, "
            "give another --out"
        )
    return there


def _continued(folder: Path, out: Path, info: Info, allow_version_change: bool) -> tuple[Info, int]:
    """Add this run to the makers of what is there; give the set's description and its maker."""
    description = folder / DESCRIPTION
    if not out.exists() and not Parts(folder, info).files():
        # Nothing is lost by a start from the beginning, as with a file that has been corrected.
        if description.exists() and read_info(description)[0].differences(info):
            for path in folder.glob("mark-*.txt"):
                path.unlink()
        description.unlink(missing_ok=True)
        return info, 0
    if description.exists():
        there = _same_set(description, info, None)
    else:
        check(out.exists(), f"{folder} is in the way: nothing says what its shards are; remove it")
        there = read_info(out)[0]
    this = Provenance(
        versions=info.versions, command=info.command, created=info.created, revision=info.revision
    )
    added, index = dataclasses.replace(there, first=0).with_maker(this)
    check(
        allow_version_change or index < len(there.makers),
        f"{folder} was begun with other versions: {_version_changes(there.makers[-1], this)}; go "
        "on with those, or with --allow-version-change",
    )
    write(description, added, 0, [])
    return added, index


def _to_be_ended(folder: Path, samples: range) -> bool:
    """Tell whether a run was killed between its last sample and its end; remove mere remains."""
    if not (folder / DESCRIPTION).exists():
        _remove(folder)
        return False
    return bool(_covered(Parts(folder, read_info(folder / DESCRIPTION)[0]), samples)[0].all())


def _version_changes(before: Provenance, now: Provenance) -> str:
    old, new = (
        {**maker["versions"], "revision": maker["revision"] or "unknown"} for maker in (before, now)
    )
    return ", ".join(
        f"{name} is {old.get(name, 'absent')} there and {new.get(name, 'absent')} here"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    )


def _to_keep(stored: Stored, repair: bool, retry_failed: bool) -> npt.NDArray[np.bool_]:
    """Say which samples of a finished dataset need not be solved for again, (n,)."""
    if repair:
        return stored.readable_rows()
    return stored.status != Status.FAILED if retry_failed else np.ones(len(stored), dtype=bool)


def _keep(out: Path, parts: Parts, size: int, repair: bool, retry_failed: bool) -> None:
    """Bring the batches of a finished dataset that are to be kept back into shards."""
    journal = Journal(parts)
    with opened(out) as stored:
        first, n = stored.info.first, len(stored)
        keep = _to_keep(stored, repair, retry_failed)
        keep = np.repeat(np.logical_and.reduceat(keep, np.arange(0, n, size)), size)[:n]
        keep &= ~_covered(parts, range(first, first + n))[0]
        for run in _runs(keep):
            for start in range(run.start, run.stop, parts.most):
                data = stored.rows(start, min(start + parts.most, run.stop))
                for maker in np.unique(data.made_by):
                    for same in _runs(data.made_by == maker):
                        journal.append(data.rows(same))
    journal.close()


def _settle(folder: Path, plan: _Plan, mesh: str) -> str:
    """Write what the set is, now that the mesh is known, or compare it with what it was."""
    if plan.info.mesh:
        check(
            plan.info.mesh == mesh,
            f"{folder} has samples of another mesh: {plan.info.mesh} there and {mesh} here; "
            "give another --out",
        )
    if not (folder / DESCRIPTION).exists():
        write(folder / DESCRIPTION, dataclasses.replace(plan.info, mesh=mesh), 0, [])
    return mesh


def _covered(parts: Parts, samples: range) -> tuple[npt.NDArray[np.bool_], int]:
    """Say which samples are there, (n,), and how many of them failed.

    Raises:
        InputError: If there are others.
    """
    covered, failed = np.zeros(len(samples), dtype=bool), 0
    for block in parts.all_blocks():
        check(
            samples.start <= block.start and block.start + block.count <= samples.stop,
            f"{parts.folder} has samples of another --shard of the set, such as {block.start}; "
            "give another --out",
        )
        begin = block.start - samples.start
        covered[begin : begin + block.count] = True
        failed += block.failed
    return covered, failed


def _runs(mask: npt.NDArray[np.bool_]) -> list[slice]:
    """Find the runs of what is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _made() -> Provenance:
    """Say which versions make the samples: of what the problem has imported by now."""
    made = provenance(*(sys.modules[name] for name in _LIBRARIES if name in sys.modules))
    vendor, number = MPI.get_vendor()
    below = {vendor: number}
    if "petsc4py.PETSc" in sys.modules:
        below["PETSc"] = sys.modules["petsc4py.PETSc"].Sys.getVersion()
    texts = {name: ".".join(map(str, numbers)) for name, numbers in below.items()}
    return {**made, "versions": {**made["versions"], **texts}}


def _summary(out: Path) -> Summary:
    """Sum up a dataset that was there."""
    with opened(out) as stored:
        failed = np.flatnonzero(stored.status == Status.FAILED)
        first = stored.rows(failed[0], failed[0] + 1).failure if len(failed) else [""]
        return Summary(
            total=len(stored),
            done=len(stored),
            solved=0,
            failed=len(failed),
            reason=first[0],
            seconds=0.0,
            mesh=stored.info.mesh,
        )


def _first_reason(parts: Parts) -> str:
    for block in sorted(parts.all_blocks(), key=lambda block: block.start):
        if block.failed and (data := parts.read(block)) is not None:
            return next(filter(None, data.failure))
    return ""


def _remove(folder: Path) -> None:
    """Remove what a run has left in the folder, and the folder, if it holds nothing else."""
    # The description first: without it, what is left by a kill is known as such.
    for pattern in (DESCRIPTION, "shard-*.shard", "mark-*.txt", "progress*", "lock"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
    remove_leftovers(folder, r".*")
    with contextlib.suppress(OSError):
        folder.rmdir()
