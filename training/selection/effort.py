"""The arguments of a selection, and its limits of cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
    """The arguments of `choose`, and the pool that runs tasks."""

    settings: TrainConfig
    given: frozenset[str]
    effort: Effort
    each: Callable[[Sequence[pool.Task]], Iterator[tuple[int, Any]]]
    on_progress: Callable[[int, int, str], None]

    def run(self, tasks: Sequence[pool.Task]) -> list[Any]:
        """Run tasks and return their results in order."""
        return [result for _, result in sorted(self.each(tasks), key=lambda pair: pair[0])]
