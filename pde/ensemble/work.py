"""The work of a group of processes: take tasks, solve within the time limit, save the results."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from mpi4py import MPI

from surrogates.data import SOLVER, Dataset, Info, Status
from surrogates.data.derivatives import TARGETS, shapes
from surrogates.folders import Folder
from surrogates.types import Array

from ..collective import complain
from ..results import Batch, derivatives
from ..sampling import draw
from ..wanted import Wanted
from .dispatcher import Requests, Task
from .journal import Journal, Writer
from .limits import Mark, TimeLimitError, too_long, verdict
from .processes import SolveEnded
from .solvers import Solver, joined

TEMPORARY_FAILURE = 75
"""Exit status of a run that ended before all samples were done; the same command continues it."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of a run: numbers of finished samples, failed samples, and all samples."""

    done: int
    failed: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a run, the same on every process.

    Attributes:
        info: The description of the set, with this run among its makers.
        maker: Index of this run's versions among the makers.
        samples: The samples of the file.
        size: Number of samples of a batch.
        done: Number of samples that are finished already.
        address: Address for requests of tasks; None if there is nothing to do.
        folder: Inode number of the journal's folder.
        wanted: The derivatives to solve for.
        marks: The samples at which processes of earlier runs have ended.
        kept: Samples of a shorter set that are there, in a batch that is solved for as a whole.
        points: The points of the whole set, (total, n_y), if they were given, or the problem has a
            distribution of its own.
    """

    info: Info
    maker: int
    samples: range
    size: int
    done: int = 0
    address: dict[str, Any] | None = None
    folder: int = 0
    wanted: Wanted = field(default_factory=Wanted)
    marks: list[Mark] = field(default_factory=list)
    kept: range = range(0)
    points: Array | None = None

    def parameters(self, rows: range) -> Array:
        """Return the parameters of consecutive samples, (n, n_y)."""
        if self.points is not None:
            return self.points[rows.start : rows.stop]
        info = self.info
        bounds = {"total": info.total, "start": rows.start, "stop": rows.stop}
        return draw(info.design, info.y_lower, info.y_upper, seed=info.seed, **bounds)


class Work:
    """A group's share of the solves."""

    def __init__(self, solver: Solver, comm: MPI.Comm, plan: Plan, time_limit: float) -> None:
        """Take a solver with its problem made, and the processes that share its mesh."""
        self._solver = solver
        self._comm = comm
        self._plan = plan
        self._seconds = time_limit
        self._size = plan.size
        self._marks = list(plan.marks)
        self._first = 0  # of the task at work
        self._V: Array | None = None  # its directions

    def run(
        self,
        folder: Folder,
        world: MPI.Comm,
        stop: Callable[[], bool],
        on_progress: Callable[[Progress], None] | None,
    ) -> int:
        """Work until nothing is left, or the run is to stop; count the samples of all groups."""
        comm, plan = self._comm, self._plan
        root = comm.rank == 0
        assert plan.address is not None
        solved, ended = 0, False
        report: dict[str, Any] = {}
        requests = Requests(plan.address) if root else None
        writer = Writer(Journal(folder, plan.info))
        try:
            while True:
                task = requests.next(stop, **report) if requests else None
                if requests and world.rank == 0 and on_progress is not None:
                    total = len(plan.samples)
                    on_progress(Progress(done=requests.done, failed=requests.failed, total=total))
                task = comm.bcast(task) if comm.size > 1 else task
                if task is None:
                    ended = True
                    break
                start = time.perf_counter()
                data = self._task(task)
                if root:
                    new = list(self._new(data))
                    for piece in new:
                        writer.append(piece)
                    self._solver.settle()
                    samples = sum(len(piece.Y) for piece in new)
                    failed = sum(int((piece.status == Status.FAILED).sum()) for piece in new)
                    seconds = time.perf_counter() - start
                    report = {"samples": samples, "failed": failed, "seconds": seconds}
                    solved += samples
        except ConnectionError as error:
            writer.close()
            time.sleep(
                5
            )  # the process that has failed says why and ends all, late on a busy machine
            complain(f"{error}, all stop; run the same command again to go on")
            world.Abort(TEMPORARY_FAILURE)
        finally:
            try:
                writer.close()
            finally:
                if requests:
                    requests.close(leave=ended)
        return cast(int, world.allreduce(solved))

    def _new(self, data: Dataset) -> Iterator[Dataset]:
        """Yield the samples of a task without those that are kept from a shorter set."""
        first, kept = data.info.first, self._plan.kept
        before, after = (min(max(at - first, 0), len(data.Y)) for at in (kept.start, kept.stop))
        for rows in (slice(0, before), slice(after, None)):
            piece = data.rows(rows)
            if len(piece.Y):
                yield piece

    def _task(self, task: Task) -> Dataset:
        """Solve for the batches of a task."""
        plan, info = self._plan, self._plan.info
        first = task.first * self._size
        rows = range(first, min(first + task.count * self._size, plan.samples.stop))
        Y = plan.parameters(rows)
        V = plan.wanted.draw(info, rows.start, rows.stop)
        self._first, self._V = rows.start, V
        batch = self._solved(Y, rows.start)
        bad = np.array([bool(text) for text in batch.failure])
        return Dataset(
            info=dataclasses.replace(info, first=rows.start),
            Y=Y,
            C=batch.C,
            status=np.where(bad, Status.FAILED, Status.DONE).astype(np.uint8),
            split=np.zeros(len(Y), np.uint8),
            failure=batch.failure,
            solver=batch.solver,
            directions=V,
            **derivatives(batch),
            made_by=np.full(len(Y), plan.maker, np.uint16),
        )

    def _solved(self, Y: Array, start: int) -> Batch:
        """Solve for samples from ``start`` on: batches, one batch, or a sample of one."""
        while True:
            marks = self._on(start, len(Y))
            if marks and len(Y) > 1:
                return self._divided(Y, start)
            if reason := verdict(marks):
                return self._failed(reason)
            if batch := self._tried(Y, start):
                return batch

    def _on(self, start: int, n: int) -> list[Mark]:
        """Return the marks on n samples."""
        return [mark for mark in self._marks if mark.start < start + n and start < mark.stop]

    def _divided(self, Y: Array, start: int) -> Batch:
        """Solve one by one for the samples of a batch that exceeded the limit or ended a process.

        If no sample does so by itself, there was another reason, such as a kill. Then the whole
        batch is solved again: its numbers differ in the last bits from those of single samples, and
        must not depend on a kill.
        """
        n = len(Y)
        size = self._size if n > self._size else 1
        batch = joined([self._solved(Y[i : i + size], start + i) for i in range(0, n, size)])
        alone = [mark for mark in self._on(start, n) if mark.stop - mark.start == 1]
        if n > self._size or alone:
            return batch
        return self._tried(Y, start, together=n) or batch

    def _tried(self, Y: Array, start: int, together: int = 1) -> Batch | None:
        """Solve for some samples within their time limit; else add a mark, and return None.

        The caller divides a batch that exceeded the limit. Processes that share a mesh cannot
        continue after that, so their batch may take as long as all its samples.
        """
        n = len(Y)
        together = together if self._comm.size == 1 else min(n, self._size)
        limit = max(self._seconds * together, 1.0 if n > 1 else 0.0)
        try:
            return self._solver.solve(Y, self._directions(start, n), start, limit)
        except TimeLimitError:
            self._marks.append(Mark(start, start + n, too_long(self._seconds), self._seconds))
            self._solver.remake()
        except SolveEnded as error:
            self._marks.append(error.mark)
            _report(error.mark)
        return None

    def _directions(self, start: int, n: int) -> Array | None:
        """Return the directions of n samples of the task at work; None if there are none."""
        begin = start - self._first
        return None if self._V is None else self._V[begin : begin + n]

    def _failed(self, reason: str) -> Batch:
        """Make the batch of one sample that failed."""
        info = self._plan.info
        kinds = {name: shape for name, shape in shapes(info).items() if name in TARGETS}
        return Batch(
            C=np.full((1, len(info.c_names)), np.nan),
            failure=[reason],
            solver=np.zeros(1, SOLVER),
            **{name: np.full((1, *shape), np.nan) for name, shape in kinds.items()},
        )


def _report(mark: Mark) -> None:
    """Print why a process has ended, as one line."""
    first, last = mark.start, mark.stop - 1
    samples = f"sample {first}" if first == last else f"samples {first} to {last}"
    print(f"warning: {samples}: {mark.reason}; the run goes on", file=sys.stderr, flush=True)
