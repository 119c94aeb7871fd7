"""The networks of a selection: several settings on folds, by successive halving.

Every setting is first trained for a part of the work on one fold, or two where there are few
samples; the best of them then on all folds. How many settings there are is decided by what their
trainings are estimated to cost, from the sizes alone: no clock is asked.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from surrogates.dataset import Dataset, Split

from .dense import flops
from .fit import FitResult, TrainConfig, fit
from .folds import Fold
from .pool import Task

if TYPE_CHECKING:
    from .selection import Member

_LEAST = 20  # samples from which networks are tried
_NEAR = 1.5  # times the best network's error, within which another is trained on all folds
_HOPELESS = 2.0  # times the error of what is no network, beyond which none is
_RATE = 4e10  # operations a second of one core, about
_TRAFFIC = 1e-8  # seconds for an entry of the features' derivative, about
_OVERHEAD = 0.02  # seconds of an iteration, about
_LONGER = 5.0  # times the seconds of 1000 samples that many samples may take
_FEWEST = 300  # work units that a training is cut to before it is left out

SHARE = 0.6
"""Of the work of a training, what the first round takes."""

NETWORKS: tuple[dict[str, Any], ...] = (
    {"network": "mlp", "width": 16, "alpha1": 1e-3},
    {"network": "ode", "width": 8, "alpha1": 1e-6},
    {"network": "mlp", "width": 16, "alpha1": 1e-4},
    {"network": "mlp", "width": 16, "alpha1": 1e-2},
    {"network": "ode", "width": 12, "alpha1": 1e-5},
    {"network": "mlp", "width": 8, "alpha1": 1e-4},
    {"network": "mlp", "width": 24, "alpha1": 1e-3},
    {"network": "resnet", "width": 16, "alpha1": 1e-4},
    {"network": "ode", "width": 16, "alpha1": 1e-4},
    {"network": "mlp", "width": 16, "alpha1": 1e-6},
)
"""Settings in the order in which they are tried."""

STARTED: tuple[dict[str, Any], ...] = (
    {"alpha1": 1e-4, "alpha2": 1e-6},
    {"alpha1": 1e-2, "alpha2": 1e-4},
    {"alpha1": 1e-6, "alpha2": 1e-10},
    {"alpha1": 1e-1, "alpha2": 1e-2},
)
"""Those of networks that start from others' weights."""


class Effort(Protocol):
    """What a selection may cost."""

    @property
    def seconds(self) -> float:
        """Of one core, about, for up to 1000 samples, and up to ten times that for more."""

    @property
    def candidates(self) -> int:
        """Largest number of settings that are tried."""

    @property
    def finalists(self) -> int:
        """Largest number of them that are trained on all folds."""


@dataclass(frozen=True, kw_only=True)
class Winner:
    """Settings that were trained on all folds.

    Attributes:
        name: What they are.
        results: Of each fold.
        residuals: Of each fold's held-out samples, scaled, (n_held, n_out).
    """

    name: str
    results: tuple[FitResult, ...]
    residuals: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A contest of settings on a dataset.

    Attributes:
        dataset: All samples.
        folds: Divisions of some of them.
        scale: What divides residuals, (n_out,), units of c.
        n_seen: Number of targets that training sees.
        run: Runs tasks and gives their numbers and results.
        on_progress: Called with the trainings done, their number, and a note.
        starts: Networks of one kind that the networks of the folds start from, in turn; they are
            drawn where there are none.
    """

    dataset: Dataset
    folds: tuple[Fold, ...]
    scale: Tensor
    n_seen: int
    run: Callable[[Sequence[Task]], Iterator[tuple[int, Any]]]
    on_progress: Callable[[int, int, str], None]
    starts: tuple[Member, ...] = ()

    def winners(
        self, base: TrainConfig, given: frozenset[str], effort: Effort, other: float
    ) -> list[Winner]:
        """Hold the contest.

        Args:
            base: What holds for all settings.
            given: Names of settings that are fixed.
            effort: What it may cost.
            other: Least mean square of what is no network: far worse networks win nothing.
        """
        settings = self.affordable(base, given, effort)
        if not settings:
            return []
        trial = range(min(len(self.folds), 2 if self._size < 400 else 1))
        short = [
            dataclasses.replace(one, work_units=max(int(SHARE * one.work_units), one.width + 5))
            for one in settings
        ]
        first = self._train(short, trial, "first round") if len(settings) > 1 else []
        scores = [self._score(results, trial) for results in first] or [0.0]
        budget = self._budget(effort)
        finalists = effort.finalists
        while finalists > 1 and self._total(settings, finalists) > budget:
            finalists -= 1
        order = sorted(range(len(settings)), key=scores.__getitem__)[:finalists]
        leader = scores[order[0]]
        if leader > _HOPELESS**2 * other:
            return []
        final = [settings[i] for i in order if scores[i] <= _NEAR**2 * leader]
        everything = range(len(self.folds))
        return [
            Winner(
                name=self._name(one),
                results=tuple(results),
                residuals=tuple(self._residual(results[k], k) for k in everything),
            )
            for one, results in zip(final, self._train(final, everything, "all folds"), strict=True)
        ]

    def affordable(
        self, base: TrainConfig, given: frozenset[str], effort: Effort
    ) -> list[TrainConfig]:
        """Return the settings that can be tried; none where even one costs too much."""
        if self._size < _LEAST and not self.starts:
            return []
        budget = self._budget(effort)
        settings: list[TrainConfig] = []
        for choice in STARTED if self.starts else NETWORKS:
            free = {key: value for key, value in choice.items() if key not in given}
            one = dataclasses.replace(base, **free)
            if one not in settings and len(settings) < effort.candidates:
                settings.append(one)
        kept: list[TrainConfig] = []
        for one in settings:
            if self._total([*kept, one], 1) <= budget:
                kept.append(one)
        if kept:
            return kept
        cheapest = min(settings, key=self.seconds)
        share = budget / (len(self.folds) * self.seconds(cheapest))
        units = int(cheapest.work_units * share)
        if units < _FEWEST:
            return []
        return [dataclasses.replace(cheapest, work_units=units)]

    def _name(self, settings: TrainConfig) -> str:
        name = f"{settings.network} {settings.width}, alpha1 {settings.alpha1:.0e}"
        return f"old {name}, alpha2 {settings.alpha2:.0e}" if self.starts else name

    @property
    def _size(self) -> int:
        return len(self.folds[0].train) + len(self.folds[0].held)

    def _budget(self, effort: Effort) -> float:
        return effort.seconds * min(max(1.0, self._size / 1000), _LONGER)

    def _total(self, settings: Sequence[TrainConfig], finalists: int) -> float:
        """Estimate what a contest costs at most, on one core."""
        costs = sorted(map(self.seconds, settings))
        return SHARE * sum(costs) + len(self.folds) * sum(costs[-finalists:])

    def seconds(self, settings: TrainConfig) -> float:
        """Estimate what a training on one fold costs, on one core."""
        n, n_in = len(self.folds[0].train), self.dataset.Y.shape[1]
        width, cells = settings.width, settings.cells
        first = width * (n_in + 1)
        nodes = 2 * cells + 1 if settings.network == "ode" else cells
        entries = width * (width - 1) // 2 if settings.network == "ode" else width**2
        theta = first + nodes * (entries + width)
        operations = flops(theta, n_in, n, width, self.n_seen) + 2 * theta**3
        iterations = settings.work_units / (width + 5)
        entries_of_dF = n * width * theta
        return iterations * (operations / _RATE + entries_of_dF * _TRAFFIC + _OVERHEAD)

    def _train(
        self, settings: Sequence[TrainConfig], folds: Sequence[int], rung: str
    ) -> list[list[FitResult]]:
        pairs = [(i, k) for i in range(len(settings)) for k in folds]
        tasks = [
            Task(
                function=trained,
                arguments={
                    "dataset": self.dataset,
                    "settings": settings[i],
                    "fold": self.folds[k],
                    "start": self.starts[k % len(self.starts)] if self.starts else None,
                },
            )
            for i, k in pairs
        ]
        found: dict[tuple[int, int], FitResult] = {}
        for number, result in self.run(tasks):
            found[pairs[number]] = result
            self.on_progress(len(found), len(tasks), f", networks, {rung}")
        return [[found[i, k] for k in folds] for i in range(len(settings))]

    def _score(self, results: Sequence[FitResult], folds: Sequence[int]) -> float:
        pieces = [self._residual(result, k) for result, k in zip(results, folds, strict=True)]
        score = float(torch.cat(pieces).square().mean())
        return score if math.isfinite(score) else math.inf

    def _residual(self, result: FitResult, k: int) -> Tensor:
        held = self.folds[k].held
        Y, C = (torch.from_numpy(values[held]) for values in (self.dataset.Y, self.dataset.C))
        return (result.predict(Y) - C) / self.scale


def trained(
    dataset: Dataset, settings: TrainConfig, fold: Fold, start: Member | None = None
) -> FitResult:
    """Train a network on a fold: a task."""
    split = np.full(len(dataset.Y), Split.UNUSED, np.uint8)
    split[fold.train], split[fold.held] = Split.TRAIN, Split.VALIDATION
    return fit(dataclasses.replace(dataset, split=split), settings, start=start)
