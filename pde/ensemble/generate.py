"""Generate a dataset: an ensemble of solves over the processes of a communicator.

The processes form groups, each with a mesh of its own. A batch is the unit of computing:
consecutive samples, the same for any number of processes and after any kill. A process of its own
hands the batches out (`dispatcher`); each group appends what it has finished to a journal in the
folder ``<out>.parts`` (`surrogates.pde.ensemble.shards`), and at the end the dataset is assembled
from there and the folder removed. The same call after a kill at any moment solves for what is not
there yet.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from surrogates.config import check
from surrogates.data import Info, Status, Stored, opened, read_info, write
from surrogates.data.ranges import runs
from surrogates.files import check_own, check_writable, remove_leftovers
from surrogates.folders import TEMPORARY, Folder
from surrogates.provenance import Provenance

from ..collective import abort_on_error, on_root
from .dispatcher import Dispatcher
from .limits import marks
from .network import Interfaces, addresses, interfaces
from .shards import DESCRIPTION, Journal, Parts, describe, described
from .solvers import Solver
from .work import Plan, Progress, Work

# What a run leaves in its folder, in the order in which it is removed: without the description,
# what is left by a kill is known as such.
_LEFT = (
    DESCRIPTION,
    "shard-*.shard",
    "mark-*.txt",
    "progress.json",
    "lock",
    TEMPORARY,
)


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


def generate(
    solver: Solver,
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
    interface: str = "",
    stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[Progress], None] | None = None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Summary:
    """Generate a dataset file, or finish one that was begun. Collective over ``comm``.

    To be called from the main thread, as a time limit works by signals. A solve that ends its
    process costs its sample where the solver is a `processes.SolverProcess`, as the command's is.
    It ends this process where the solver is a `solvers.LocalSolver`, and then the same call, made
    again, goes on without the samples that have done so twice.

    Args:
        solver: The problem with its settings, such as ``LocalSolver(load("cdr"), config)``; closed
            at the end.
        comm: The processes to use.
        out: The dataset file; what is finished is kept beside it, in ``<out>.parts``, until the
            end. All processes must see that folder.
        samples: Samples in the whole set.
        seed: Seed of the sampling design and the split, >= 0.
        split: Counts or fractions of train, validation and test.
        ranks_per_sample: Processes that share a mesh; must divide the size of ``comm``.
        shard: (i, n): do only the i-th of n parts of the set, 1 <= i <= n; merge them later.
        tangents: Whether to solve for dc/dy as well, for a problem that can.
        time_limit: Seconds that a sample may take. A batch that takes longer is solved again one
            sample at a time; where processes share a mesh it may take that for each sample.
        repair: Whether to solve again for samples that are damaged on disk, and for them alone.
        retry_failed: Whether to solve again for samples that failed.
        allow_version_change: Whether to go on with other versions of the libraries than before.
        interface: Name or address of the network interface of rank 0's host at which the other
            hosts reach it; chosen among those that the hosts share if empty.
        stop: Whether to end once the samples in flight are done; asked on each process.
        on_progress: Called on rank 0 between its tasks.
        on_note: Called on rank 0, before the first solve, with each note on the samples.

    Returns:
        What was done.

    Raises:
        InputError: On every process alike, if an argument is out of range, ``out`` cannot be
            written, another run is writing it, or there is a dataset of another configuration.
    """
    out = Path(out).absolute()  # a solve may change the working folder
    check(bool(out.name), f"{str(out)!r} is a folder; give the name of a file")
    path = out.with_name(out.name + ".parts")
    folder: Folder | None = None
    dispatcher: Dispatcher | None = None

    def plan() -> Plan:
        nonlocal folder, dispatcher
        check(
            1 <= ranks_per_sample <= comm.size and comm.size % ranks_per_sample == 0,
            f"ranks per sample must divide the {comm.size} ranks; got {ranks_per_sample}",
        )
        check(time_limit > 0, f"the time limit must be positive; got {time_limit:g}")
        check(not (repair and retry_failed), "give either --repair or --retry-failed")
        check(
            1 <= samples <= 10**9,
            f"the number of samples must be at least 1 and at most 10^9; got {samples}",
        )
        info, size = solver.describe(samples, seed, split, tangents, _inputs_of(out, path))
        whole = _share(samples, size, shard)
        check_writable(out)
        finished = Plan(info=info, maker=0, samples=whole, size=size, done=len(whole))
        there, right = out.exists(), False
        if there:
            _same_set(out, info, whole)
            check_own(out)
            with opened(out) as stored:
                right = bool(_to_keep(stored, repair, retry_failed).all())
            if right and not os.path.lexists(path):
                return finished
        folder, dispatcher = _begun(path)
        if out.exists() and not there:  # by a run that has just ended
            return finished
        if right and not _to_be_ended(folder, whole):
            return finished
        new = info
        info, maker = _continued(folder, out, new, allow_version_change)
        if info is new:  # nothing is there yet
            info = dataclasses.replace(info, notes=solver.notes())
        remove_leftovers(out)
        parts = Parts(folder, info)
        parts.recover()
        if repair or retry_failed:
            parts.drop(damaged=repair, failed=retry_failed)
        found = marks(folder, time_limit, forget=retry_failed)
        if there:
            _keep(out, parts, size, repair, retry_failed)
        covered, failed = _covered(parts, whole)
        for note in info.notes:
            on_note(note)
        missing = ~np.logical_and.reduceat(covered, np.arange(0, len(whole), size))
        offset, done = whole.start // size, int(covered.sum())
        address = dispatcher.open(
            [(run.start + offset, run.stop + offset) for run in runs(missing)],
            groups=comm.size // ranks_per_sample,
            most=max(1, parts.most // size),
            total=len(whole),
            done=done,
            failed=failed,
            hosts=addresses(list(networks.values()), interface),
        )
        return dataclasses.replace(
            finished,
            info=info,
            maker=maker,
            done=done,
            address=address,
            folder=folder.number,
            marks=found,
        )

    networks: dict[str, Interfaces] = {}
    for host, about in comm.allgather((MPI.Get_processor_name(), interfaces())):
        networks.setdefault(host, about)  # that of rank 0 first
    ended = False
    try:
        begun = on_root(comm, plan)
        seconds, mesh, solved = 0.0, "", 0
        changes: list[str] = []
        if begun.done < len(begun.samples):
            with abort_on_error(comm):
                start = time.perf_counter()
                group = comm.Split(comm.rank // ranks_per_sample, comm.rank)
                if comm.rank == 0 and comm.size > 1:
                    solver.compile()  # the others then find it in the cache
                comm.barrier()
                own = Folder.again(path, begun.folder) if folder is None else folder
                mesh = solver.make(group, own, time_limit, begun.size, tangents)
                made = comm.gather((mesh, solver.needs(list(begun.info.inputs))))
                info = on_root(comm, lambda: _settle(own, begun.info, made or []))
                solver.expect(info.inputs)
                work = Work(solver, group, dataclasses.replace(begun, info=info), time_limit)
                solved = work.run(own, comm, stop, on_progress)
                changes = on_root(comm, lambda: solver.changes(info))
                solver.close()
                group.Free()
                seconds = time.perf_counter() - start

        def finish() -> Summary:
            if begun.address is None:
                return _summary(out)
            assert folder is not None and dispatcher is not None
            info = dataclasses.replace(described(folder), first=begun.samples.start)
            parts = Parts(folder, info)
            covered, failed = _covered(parts, begun.samples)
            reason = ""
            if changes:
                info = dataclasses.replace(info, notes=(*info.notes, *changes))
                for note in changes:
                    on_note(note)
            if covered.all():
                reason = _first_reason(parts)
                write(out, info, len(begun.samples), parts.pieces())
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

        summary = on_root(comm, finish)
        ended = True
        return summary
    finally:
        solver.close(kill=not ended)
        if folder is not None and dispatcher is not None:
            dispatcher.end()
            if not folder.names("shard-*", "mark-*"):
                _remove(folder)


def _begun(path: Path) -> tuple[Folder, Dispatcher]:
    """Open the folder of a run, and start the process that takes its lock."""
    while True:
        folder = Folder.made(path)
        check(
            not folder.names("*") or bool(folder.names(*_LEFT, "shard-*.part")),
            f"{path} is in the way: it is not the folder of a run",
        )
        folder.shut()
        with contextlib.suppress(FileNotFoundError):  # a run has just ended, and removed it
            return folder, Dispatcher(folder)


def _share(samples: int, size: int, shard: tuple[int, int]) -> range:
    """Give the samples of a shard: whole batches, whatever the number of processes."""
    check(1 <= shard[0] <= shard[1], f"a shard is i/n with 1 <= i <= n; got {shard}")
    n = -(-samples // size)
    first, stop = ((shard[0] - 1) * n // shard[1], shard[0] * n // shard[1])
    check(first < stop, f"shard {shard[0]}/{shard[1]} is empty: there are fewer batches")
    return range(first * size, min(stop * size, samples))


def _same_set(path: Path, info: Info, samples: range) -> None:
    """Refuse a file of another set, or of other samples."""
    there, n = read_info(path)
    further = []
    if (there.first, n) != (samples.start, len(samples)):
        further = [
            f"samples are {there.first} to {there.first + n - 1} there and "
            f"{samples.start} to {samples.stop - 1} here"
        ]
    there.check_same(info, path, further)


def _continued(
    folder: Folder, out: Path, info: Info, allow_version_change: bool
) -> tuple[Info, int]:
    """Add this run to the makers of what is there; give the set's description and its maker."""
    has_description = folder.stat(DESCRIPTION) is not None
    if not out.exists() and not Parts(folder, info).files():
        # Nothing is lost by a start from the beginning, as with a file that has been corrected.
        if has_description and described(folder).differences(info):
            folder.remove(*folder.names("mark-*.txt"))
        folder.remove(DESCRIPTION)
        return info, 0
    if has_description:
        there = described(folder)
        there.check_same(info, folder.path / DESCRIPTION)
    else:
        check(
            out.exists(),
            f"{folder.path} is in the way: nothing says what its shards are; remove it",
        )
        there = read_info(out)[0]
    this = Provenance(
        versions=info.versions, command=info.command, created=info.created, revision=info.revision
    )
    added, index = dataclasses.replace(there, first=0).with_maker(this)
    check(
        allow_version_change or index < len(there.makers),
        f"{folder.path} was begun with other versions: {_version_changes(there.makers[-1], this)}; "
        "go on with those, or with --allow-version-change",
    )
    describe(folder, added)
    return added, index


def _to_be_ended(folder: Folder, samples: range) -> bool:
    """Tell whether a run was killed between its last sample and its end; remove mere remains."""
    if folder.stat(DESCRIPTION) is None:
        _remove(folder)
        return False
    return bool(_covered(Parts(folder, described(folder)), samples)[0].all())


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
        for run in runs(keep):
            for start in range(run.start, run.stop, parts.most):
                data = stored.rows(start, min(start + parts.most, run.stop))
                for maker in np.unique(data.made_by):
                    for same in runs(data.made_by == maker):
                        journal.append(data.rows(slice(same.start, same.stop)))
    journal.close()


def _settle(folder: Folder, info: Info, made: Sequence[tuple[str, Mapping[str, str]]]) -> Info:
    """Write what the set is, now that the problem is made, or compare it with what it was.

    Args:
        folder: Of the shards.
        info: What the set is, as far as it was known.
        made: The mesh, and what the samples depend on (`inputs`), of each process.
    """
    mesh, needed = made[0]
    for rank, (its_mesh, its) in enumerate(made):
        wrong = sorted({name for name, _ in needed.items() ^ its.items()})
        check(not wrong, f"{wrong[:1]} is another file on process {rank} than on process 0")
        check(mesh == its_mesh, f"the mesh is {mesh} on process 0 and {its_mesh} on {rank}")
    found = dataclasses.replace(info, inputs=dict(needed), mesh=mesh)
    if folder.stat(DESCRIPTION) is not None:
        there = described(folder)
        there.check_same(found, folder.path / DESCRIPTION)
    else:
        changed = info.changed(found)
        check(not changed, f"{', '.join(changed)} has changed since the run was begun")
        describe(folder, found)
    return found


def _inputs_of(out: Path, folder: Path) -> list[str]:
    """Name the files that the samples of an earlier run depend on."""
    names = [*read_info(out)[0].inputs] if out.is_file() else []
    with contextlib.suppress(FileNotFoundError):
        there = Folder.there(folder)
        if there.stat(DESCRIPTION) is not None:
            names += described(there).inputs
    return names


def _covered(parts: Parts, samples: range) -> tuple[npt.NDArray[np.bool_], int]:
    """Say which samples are there, (n,), and how many of them failed.

    Raises:
        InputError: If there are others.
    """
    covered, failed = np.zeros(len(samples), dtype=bool), 0
    for block in parts.all_blocks():
        check(
            samples.start <= block.start and block.start + block.count <= samples.stop,
            f"{parts.folder.path} has samples of another --shard of the set, such as "
            f"{block.start}; give another --out",
        )
        begin = block.start - samples.start
        covered[begin : begin + block.count] = True
        failed += block.failed
    return covered, failed


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


def _remove(folder: Folder) -> None:
    """Remove what a run has left in the folder, and the folder, if it holds nothing else."""
    for pattern in _LEFT:
        folder.remove(*folder.names(pattern))
    folder.remove_itself()
