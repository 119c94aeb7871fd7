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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from surrogates.config import check, to_toml
from surrogates.dataset import (
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
from surrogates.inspection import runs
from surrogates.provenance import Provenance, provenance
from surrogates.shards import DESCRIPTION, Journal, Parts

from .collective import abort_on_error, on_root
from .dispatcher import Dispatcher
from .inputs import NEIGHBOURS, expect, files, inputs
from .limits import marks
from .problem import Problem
from .work import Plan, Progress, Work

_LIBRARIES = ("dolfinx", "ufl", "basix", "ffcx", "petsc4py", "mpi4py", "h5py", "numpy", "scipy")


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
    on_note: Callable[[str], None] | None = None,
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
        time_limit: Seconds that a sample may take. A batch that takes longer is solved again one
            sample at a time; where processes share a mesh it may take that for each sample.
        repair: Whether to solve again for samples that are damaged on disk, and for them alone.
        retry_failed: Whether to solve again for samples that failed.
        allow_version_change: Whether to go on with other versions of the libraries than before.
        stop: Whether to end once the samples in flight are done; asked on each process.
        on_progress: Called on rank 0 between its tasks.
        on_note: Called on rank 0, before the first solve, with each of the problem's notes.

    Returns:
        What was done.

    Raises:
        InputError: On every process alike, if an argument is out of range, ``out`` cannot be
            written, another run is writing it, or there is a dataset of another configuration.
    """
    out, here = Path(out), Path.cwd()
    check(bool(out.name), f"{str(out)!r} is a folder; give the name of a file")
    folder = out.with_name(out.name + ".parts")
    dispatcher: Dispatcher | None = None
    tell = on_note or (lambda note: None)

    def plan() -> Plan:
        nonlocal dispatcher
        check(
            1 <= ranks_per_sample <= comm.size and comm.size % ranks_per_sample == 0,
            f"ranks per sample must divide the {comm.size} ranks; got {ranks_per_sample}",
        )
        check(time_limit > 0, f"the time limit must be positive; got {time_limit:g}")
        check(not (repair and retry_failed), "give either --repair or --retry-failed")
        info, whole = _described(problem, config, samples, seed, split, shard, tangents)
        info = dataclasses.replace(info, inputs=inputs(problem, config, _inputs_of(out, folder)))
        for note in info.notes:
            tell(note)
        check_writable(out)
        finished = Plan(info=info, maker=0, samples=whole, done=len(whole))
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
            [(run.start + offset, run.stop + offset) for run in runs(missing)],
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
            with abort_on_error(comm):
                start = time.perf_counter()
                group = comm.Split(comm.rank // ranks_per_sample, comm.rank)
                if comm.rank == 0 and comm.size > 1:
                    problem.compile(config)  # the others then find it in the cache
                comm.barrier()
                work = Work(problem, config, group, begun, time_limit)
                needed = comm.gather(inputs(problem, config, begun.info.inputs, here=here))
                info = on_root(comm, lambda: _settle(folder, begun.info, work.mesh, needed or []))
                expect(problem, info.inputs)
                work.describe(info)
                mesh = info.mesh
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
            if begun.done < len(begun.samples):
                changes = _changes(problem, config, info, here)
                info = dataclasses.replace(info, notes=(*info.notes, *changes))
                for note in changes:
                    tell(note)
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
        NEIGHBOURS.expected = None
        if dispatcher is not None:
            dispatcher.end()
            if folder.exists() and not [*folder.glob("shard-*"), *folder.glob("mark-*")]:
                _remove(folder)


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
        notes=problem.notes(config),
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
        changed = there.changed(info)
        # A digest cannot tell a comment from a number, and the samples of a set are of one problem.
        restore = (
            f"restore {', '.join(changed)} (an edit of a comment counts, too), or "
            if changed
            else ""
        )
        raise InputError(
            f"{path} is another dataset: {'; '.join(differences)}; it is left as it is, "
            f"{restore}give another --out"
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
        for run in runs(keep):
            for start in range(run.start, run.stop, parts.most):
                data = stored.rows(start, min(start + parts.most, run.stop))
                for maker in np.unique(data.made_by):
                    for same in runs(data.made_by == maker):
                        journal.append(data.rows(slice(same.start, same.stop)))
    journal.close()


def _settle(folder: Path, info: Info, mesh: str, needed: Sequence[Mapping[str, str]]) -> Info:
    """Write what the set is, now that the problem is made, or compare it with what it was.

    Args:
        folder: Of the shards.
        info: What the set is, as far as it was known.
        mesh: The mesh.
        needed: What the samples depend on, `inputs`, of each process.
    """
    for rank, other in enumerate(needed):
        wrong = sorted({k for k, _ in needed[0].items() ^ other.items()})
        check(not wrong, f"{wrong[:1]} is another file on process {rank} than on process 0")
    found = dataclasses.replace(info, inputs=dict(needed[0]), mesh=mesh)
    if (folder / DESCRIPTION).exists():
        _same_set(folder / DESCRIPTION, found, None)
    else:
        changed = info.changed(found)
        check(not changed, f"{', '.join(changed)} has changed since the run was begun")
        write(folder / DESCRIPTION, found, 0, [])
    return found


def _inputs_of(*places: Path) -> set[str]:
    """Name the files that the samples of an earlier run depend on."""
    return {
        name
        for place in (places[0], places[1] / DESCRIPTION)
        if place.is_file()
        for name in read_info(place)[0].inputs
    }


def _changes(problem: type[Problem], config: Any, info: Info, here: Path) -> list[str]:
    """Say which files have changed while samples were solved, a line each."""
    try:
        now = dataclasses.replace(info, inputs=files(problem, config, here=here))
    except InputError as error:
        return [f"{error}, now that samples are solved: it may have changed meanwhile"]
    return [
        f"{name} has changed while samples were solved: they may be of both contents"
        for name in info.changed(now)
    ]


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
