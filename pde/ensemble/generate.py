"""Generate a dataset: an ensemble of solves over the processes of a communicator.

The processes form groups, each with its own mesh. A batch is the unit of computing: consecutive
samples, the same for any number of processes and after any kill. A separate process hands the
batches out (`dispatcher`). Each group appends its finished samples to the journal in the folder
``<out>.parts`` (`surrogates.pde.ensemble.journal`). At the end the dataset is assembled from it,
and the folder is removed. After a kill at any moment, the same call solves for the missing samples
(`continuation`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from surrogates.config import check
from surrogates.data import Status, opened, write
from surrogates.data.ranges import runs
from surrogates.errors import InputError
from surrogates.files import check_own, check_writable, remove_leftovers
from surrogates.folders import Folder

from ..collective import abort_on_error, on_root
from ..problem import BUILT_IN
from ..wanted import Wanted
from . import continuation, extension
from .dispatcher import Dispatcher
from .journal import Journal, described
from .limits import marks
from .network import Interfaces, addresses, interfaces
from .request import Hooks, Request
from .solvers import Solver
from .work import Plan, Work


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The outcome of a run, the same on every process.

    Attributes:
        total: Number of samples of the file, finished or not.
        done: Samples that are done; fewer than ``total`` if the run was stopped.
        solved: Samples that this run solved; earlier runs solved the others.
        failed: Samples that failed.
        reason: Why the first of them failed; empty if none did.
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
    solver: Solver, comm: MPI.Comm, request: Request, hooks: Hooks | None = None
) -> Summary:
    """Generate a dataset file, or finish one that was begun. Collective over ``comm``.

    It must be called from the main thread, as a time limit works by signals. If the solver is a
    `processes.SolverProcess`, a solve that ends its process fails only its sample. If it is a
    `solvers.LocalSolver`, the solve ends this process; the same call, made again, continues, and
    leaves out samples that have done so twice.

    Args:
        solver: The problem with its settings, such as ``LocalSolver(load("cdr"), config)``; it is
            closed at the end.
        comm: The processes.
        request: What is asked for; read on rank 0 alone.
        hooks: The caller's functions.

    Raises:
        InputError: On every process, if an argument is out of range, ``out`` cannot be written, is
            written by another run or of another configuration, or derivatives are wrong.
    """
    return _Run(solver, comm, request, hooks or Hooks()).done()


@dataclass
class _Solved:
    """The outcome of a run's solves: time, mesh, number of samples, files that changed."""

    seconds: float = 0.0
    mesh: str = ""
    samples: int = 0
    changes: list[str] = dataclasses.field(default_factory=list)


class _Run:
    """One run: plan, solve, finish. Only rank 0 holds the folder and the dispatcher."""

    def __init__(self, solver: Solver, comm: MPI.Comm, request: Request, hooks: Hooks) -> None:
        self._solver = solver
        self._comm = comm
        self._request = request
        self._hooks = hooks
        self._folder: Folder | None = None
        self._dispatcher: Dispatcher | None = None
        self._networks: dict[str, Interfaces] = {}

    def done(self) -> Summary:
        """Run from plan to summary. Collective."""
        comm = self._comm
        for host, about in comm.allgather((MPI.Get_processor_name(), interfaces())):
            self._networks.setdefault(host, about)  # rank 0's first
        ended = refused = False
        try:
            plan = on_root(comm, self._plan)
            solved = self._solve(plan) if plan.done < len(plan.samples) else _Solved()
            summary = on_root(comm, lambda: self._finish(plan, solved))
            ended = True
            return summary
        except InputError:  # on every process
            refused = True
            raise
        finally:
            self._solver.close(kill=not ended)
            if self._folder is not None and self._dispatcher is not None:
                self._dispatcher.end()
                if not self._folder.names("shard-*", "mark-*"):
                    continuation.remove(self._folder)
            if refused:
                comm.Barrier()  # mpirun ends rank 0 once another process has ended with an error

    def _plan(self) -> Plan:
        """Check the request, find earlier samples, and open the dispatcher if some are missing."""
        asked = self._request
        asked.check(self._comm.size)
        finished = self._described()
        check_writable(asked.out)
        whole, _ = self._found(finished)
        if whole and not os.path.lexists(asked.parts):
            return finished
        folder, self._dispatcher = _begun(asked.parts)
        self._folder = folder
        whole, kept = self._found(finished)  # another run may just have ended
        if whole and not continuation.is_complete(folder, finished.info, finished.samples):
            return finished
        return self._begin(finished, folder, kept)

    def _described(self) -> Plan:
        """Return the plan of a run with nothing to do."""
        asked, solver = self._request, self._solver
        there = continuation.inputs_of(asked.out, asked.parts)
        wanted = Wanted.of(asked.tangents, asked.subspace, asked.adjoints, asked.pilot)
        points = None
        if asked.points is not None:
            space = solver.space()
            points = space.points(asked.points)
        number = asked.number(points)
        split = extension.split_of(asked.out, asked.parts, number, asked.split, asked.seed)
        info, size = solver.describe(number, asked.seed, split, wanted, there)
        if points is not None:
            info = space.describe(info, points)
        else:
            points = solver.drawn(number, asked.seed)
        samples = continuation.share(number, size, asked.shard)
        return Plan(
            info=info,
            maker=0,
            samples=samples,
            size=size,
            done=len(samples),
            wanted=wanted,
            points=points,
        )

    def _found(self, plan: Plan) -> tuple[bool, int]:
        """Look at the existing dataset, if there is one; refuse another set's.

        Returns:
            Whether it needs no sample more or again, and the number of its samples if it has fewer
            than the run asks for; 0 otherwise.
        """
        asked = self._request
        if not asked.out.exists():
            return False, 0
        fewer = extension.samples_kept(asked.out, plan.info, plan.samples, plan.parameters)
        check_own(asked.out)
        if fewer:
            return False, fewer
        continuation.check_same_set(asked.out, plan.info, plan.samples)
        with opened(asked.out) as stored:
            kept = continuation.to_keep(stored, asked.repair, asked.retry_failed)
            return bool(kept.all()), 0

    def _begin(self, finished: Plan, folder: Folder, kept: int) -> Plan:
        """Continue from earlier runs, and open the dispatcher for the missing samples.

        Args:
            finished: The plan, with nothing to do.
            folder: The folder of the journal.
            kept: Number of samples of a finished file that this run extends; 0 if it extends none.
        """
        asked, size = self._request, finished.size
        info, maker = continuation.continued(
            folder, asked.out, finished.info, asked.allow_version_change
        )
        if info is finished.info:  # no samples yet
            info = dataclasses.replace(info, notes=(*self._solver.notes(), *info.notes))
        remove_leftovers(asked.out)
        journal = Journal(folder, info)
        journal.recover()
        if asked.repair or asked.retry_failed:
            journal.drop(damaged=asked.repair, failed=asked.retry_failed)
        found = marks(folder, asked.time_limit, forget=asked.retry_failed)
        if asked.out.exists():
            again = asked.repair, asked.retry_failed
            continuation.copy_kept(asked.out, journal, finished.samples, size, *again)
        covered, failed = continuation.covered(journal, finished.samples)
        partial = extension.last_batch(kept, size)
        for note in info.notes:
            self._hooks.on_note(note)
        done = int(covered.sum())
        return dataclasses.replace(
            finished,
            info=info,
            # Those of earlier samples, from which these may differ by rounding.
            wanted=dataclasses.replace(finished.wanted, functionals=info.functionals),
            maker=maker,
            done=done,
            kept=partial if covered[partial.start : partial.stop].all() else range(0),
            address=self._opened(finished, journal, covered, failed),
            folder=folder.number,
            marks=found,
        )

    def _opened(
        self, plan: Plan, journal: Journal, covered: npt.NDArray[np.bool_], failed: int
    ) -> dict[str, object]:
        """Open the dispatcher for the missing batches; return the address for requests."""
        assert self._dispatcher is not None
        size = plan.size
        missing = ~np.logical_and.reduceat(covered, np.arange(0, len(covered), size))
        first = plan.samples.start // size
        return self._dispatcher.open(
            [(run.start + first, run.stop + first) for run in runs(missing)],
            groups=self._comm.size // self._request.ranks_per_sample,
            most=max(1, journal.most // size),
            total=len(plan.samples),
            done=int(covered.sum()),
            failed=failed,
            hosts=addresses(list(self._networks.values()), self._request.interface),
        )

    def _solve(self, plan: Plan) -> _Solved:
        """Make the problem, and solve for the missing samples. Collective."""
        comm, solver, asked = self._comm, self._solver, self._request
        with abort_on_error(comm):
            start = time.perf_counter()
            shared = comm.Split(comm.rank // asked.ranks_per_sample, comm.rank)
            if comm.rank == 0 and comm.size > 1:
                solver.compile()  # the other processes then find it in the cache
            comm.barrier()
            folder = self._folder
            if folder is None:
                folder = Folder.again(asked.parts, plan.folder)
            mesh = solver.make(shared, folder, asked.time_limit, plan.size, plan.wanted)
            made = comm.gather((mesh, solver.needs(list(plan.info.inputs))))
            info = on_root(comm, lambda: continuation.settle(folder, plan.info, made or []))
            solver.expect(info.inputs)
            fault = self._fault(plan)
        # Every process has it: all raise, and the run's folder is removed.
        check(not fault, f"{fault}; `surrogates check` tells more, --unchecked allows it")
        with abort_on_error(comm):
            work = Work(solver, shared, dataclasses.replace(plan, info=info), asked.time_limit)
            samples = work.run(folder, comm, self._hooks.stop, self._hooks.on_progress)
            changes = on_root(comm, lambda: solver.changes(info))
            solver.close()
            shared.Free()
            return _Solved(time.perf_counter() - start, mesh, samples, changes)

    def _fault(self, plan: Plan) -> str:
        """Return what is wrong with the derivatives of a user's problem. Collective.

        They are tested once, before the first sample.
        """
        asked, name = self._request, self._solver.name
        wanted = plan.wanted.whole or plan.wanted.directions or len(plan.wanted.functionals)
        if asked.unchecked or plan.done or not wanted or name in BUILT_IN:
            return ""
        fault = ""
        if self._comm.rank < asked.ranks_per_sample:
            fault = self._solver.fault(asked.seed, asked.time_limit)
        fault = self._comm.bcast(fault)
        return fault and f"{name}: {fault}"

    def _finish(self, plan: Plan, solved: _Solved) -> Summary:
        """Assemble the dataset if all samples are done; return the summary."""
        asked, folder = self._request, self._folder
        if plan.address is None:
            return _summary_of(asked.out)
        assert folder is not None and self._dispatcher is not None
        info = dataclasses.replace(described(folder), first=plan.samples.start)
        journal = Journal(folder, info)
        covered, failed = continuation.covered(journal, plan.samples)
        reason = ""
        if solved.changes:
            info = dataclasses.replace(info, notes=(*info.notes, *solved.changes))
            for note in solved.changes:
                self._hooks.on_note(note)
        if covered.all():
            reason = continuation.first_reason(journal)
            write(asked.out, info, len(plan.samples), journal.pieces())
            self._dispatcher.end()
            continuation.remove(folder)
        return Summary(
            total=len(plan.samples),
            done=int(covered.sum()),
            solved=solved.samples,
            failed=failed,
            reason=reason,
            seconds=solved.seconds,
            mesh=solved.mesh or info.mesh,
        )


def _begun(path: Path) -> tuple[Folder, Dispatcher]:
    """Open the folder of a run, and start the process that takes its lock."""
    while True:
        folder = Folder.made(path)
        check(
            not folder.names("*") or bool(folder.names(*continuation.LEFT, "shard-*.part")),
            f"{path} is in the way: it is not the folder of a run",
        )
        folder.shut()
        with contextlib.suppress(FileNotFoundError):  # a run has just ended, and removed it
            return folder, Dispatcher(folder)


def _summary_of(out: Path) -> Summary:
    """Return the summary of a dataset that was finished before."""
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
