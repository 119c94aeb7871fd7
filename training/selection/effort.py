"""The arguments of a selection, and its limits of cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .. import pool
from ..config import TrainConfig

EFFORTS = ("fast", "default", "high")


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Limits of a selection's cost.

    Attributes:
        seconds: Seconds of one core for networks, about.
        candidates: Largest number of networks tried.
        finalists: Largest number of them trained on all folds.
    """

    seconds: float
    candidates: int
    finalists: int


COSTS = {
    "default": Effort(seconds=70.0, candidates=6, finalists=2),
    "high": Effort(seconds=700.0, candidates=10, finalists=4),
}
"""The limits of each effort."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of a choice (see `Terms`), and what runs tasks."""

    settings: TrainConfig
    given: frozenset[str]
    effort: Effort
    each: Callable[[Sequence[pool.Task]], Iterator[tuple[int, Any]]]
    on_progress: Callable[[int, int, str], None]

    def run(self, tasks: Sequence[pool.Task]) -> list[Any]:
        """Run tasks and return their results in order."""
        return [result for _, result in sorted(self.each(tasks), key=lambda pair: pair[0])]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What is asked of a choice by held-out errors, of a regression or of classes.

    Attributes:
        settings: Of the networks; what ``given`` does not name is chosen.
        given: Keys of settings that are fixed.
        effort: ``default`` or ``high``.
        processes: How many; one for each core if None. The result is the same to rounding.
        stop: Asked now and then whether to end.
        on_progress: Called with the trainings done, their number, and a note.
    """

    settings: TrainConfig
    given: frozenset[str] = frozenset()
    effort: str = "default"
    processes: int | None = None
    stop: Callable[[], bool] | None = None
    on_progress: Callable[[int, int, str], None] | None = None

    @contextmanager
    def at_work(self) -> Iterator[Asked]:
        """Yield what is asked, with processes that run tasks until the block ends."""
        processes = pool.cores() if self.processes is None else self.processes
        with pool.Pool(processes, self.stop) as workers:
            yield Asked(
                settings=self.settings,
                given=self.given,
                effort=COSTS[self.effort],
                each=workers.run,
                on_progress=self.on_progress or (lambda done, total, note: None),
            )
