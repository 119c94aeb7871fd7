"""The networks of a selection: several settings on folds, by successive halving.

Every setting is first trained for a part of the work on one fold, or on two if there are few
samples and derivatives of these. For regressions, variants of the best setting are trained next:
with a larger alpha2, with a linear part (see `beside`), and with both. The best variant, if it is
better, takes the setting's place. Then the best settings are trained on all folds. For regressions
W is solved for again with larger alpha2, and the value with the least held-out error over all folds
is kept. The number of settings depends on the estimated cost of their trainings, which sizes alone
determine: wall-clock time is not used.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from surrogates.config import replaced
from surrogates.data import Dataset, Split

from ..config import TrainConfig
from ..fit import FitResult, fit
from ..inner.losses import Loss
from ..inner.varpro import solve_path
from ..member import Member
from ..pool import Task
from ..scaling import moments
from ..slopes import DerivativeRows, design
from .effort import Effort
from .folds import Fold, Rows

_LEAST = 20  # least number of samples, and of derivatives of these, for networks
_LONGER = 5.0  # largest factor, for many samples and derivatives, on the seconds of 1000
_FEWEST = 300  # least work units of a training; one that still costs too much is left out
_FIRST = 3  # settings that are tried even if no time is left for variants

SHARE = 0.6
"""Share of a training's work in the first round."""

STARTED: tuple[dict[str, Any], ...] = (
    {"regularisation.alpha1": 1e-4, "regularisation.alpha2": 1e-6},
    {"regularisation.alpha1": 1e-2, "regularisation.alpha2": 1e-4},
    {"regularisation.alpha1": 1e-6, "regularisation.alpha2": 1e-10},
    {"regularisation.alpha1": 1e-1, "regularisation.alpha2": 1e-2},
)
"""This share for networks that start from others' weights."""


class Judge(Protocol):
    """The settings to try, and how held-out samples judge trainings."""

    @property
    def near(self) -> float:
        """A network within this multiple of the best network's score is trained on all folds."""

    @property
    def hopeless(self) -> float:
        """Networks beyond this multiple of the best other candidate's score are given up."""

    @property
    def loss(self) -> Loss | None:
        """The loss that trainings minimise; None for the loss of the dataset's task."""

    @property
    def networks(self) -> tuple[dict[str, Any], ...]:
        """Settings in the order in which they are tried."""

    def name(self, settings: TrainConfig) -> str:
        """Return settings in words."""

    def held(self, dataset: Dataset, result: FitResult, rows: Rows) -> Tensor:
        """Return a training's residuals or logits at held-out rows, (n_rows, n_out)."""

    @property
    def variants(self) -> tuple[dict[str, Any], ...]:
        """Changes of the best setting, which are tried after the settings."""

    def score(self, dataset: Dataset, held: Tensor, rows: Rows) -> float:
        """Return the mean error or cross-entropy from `held`."""

    @property
    def alphas(self) -> tuple[float, ...]:
        """Values of alpha2 to try for the last W, which least squares finds."""

    def seconds(self, settings: TrainConfig, n: int, n_in: int) -> float:
        """Estimate the seconds of a training of n samples on one core."""

    @property
    def directions(self) -> float:
        """Mean number of directions with derivatives of a sample."""


class _Ranked(NamedTuple):
    """Settings of a round.

    Attributes:
        rank: Mean of the squared scores of trainings; derivatives of held-out samples count, if
            there are some: there are few samples in a fold, and many rows of derivatives.
        score: The judge's score, of held-out values alone.
        settings: The settings.
    """

    rank: float
    score: float
    settings: TrainConfig


def _mean_square(results: Sequence[FitResult]) -> float:
    """Return the mean of the squared scores that selected the weights, of folds."""
    least = [min(one.validation_score for one in result.history) for result in results]
    return float(np.square(least).mean())


def _path(
    dataset: Dataset, result: FitResult, fold: Fold, alphas: Sequence[float]
) -> list[FitResult]:
    """Solve for W of a training on a fold at several alpha2; theta does not change."""
    Y, C = (torch.from_numpy(values[fold.train]) for values in (dataset.Y, dataset.C))
    with torch.no_grad():
        F = result.features.forward((Y - result.y_shift) / result.y_scale)
    shift = moments(C)[0]  # scales do not matter: each output has its own row of W
    C = C - shift
    weight = 0.0 if result.used is None else result.used.weight
    rows = DerivativeRows.of(dataset, fold.train, weight) if weight else None
    if rows is None:
        Z = design(F)
    else:
        Z = design(F, rows.features(result.features, result.y_shift, result.y_scale))
        C = torch.cat([C, rows.T])
    found = []
    for W in solve_path(Z, C, alphas, len(Y)):
        W[:, -1] += shift
        found.append(dataclasses.replace(result, W=W))
    return found


def parameters(settings: TrainConfig, n_in: int) -> int:
    """Return the number of weights of a network."""
    width, cells, ode = (
        settings.network.width,
        settings.network.cells,
        settings.network.kind == "ode",
    )
    nodes = 2 * cells + 1 if ode else cells
    entries = width * (width - 1) // 2 if ode else width**2
    return width * (n_in + 1) + nodes * (entries + width)


@dataclass(frozen=True, kw_only=True)
class Winner:
    """Settings that were trained on all folds.

    Attributes:
        name: The settings in words.
        results: The training on each fold.
        held: The judge's residuals or logits of each fold's held-out samples, (n_held, n_out).
    """

    name: str
    results: tuple[FitResult, ...]
    held: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A contest of settings on a dataset.

    Attributes:
        dataset: All samples.
        folds: Divisions of some of them.
        judge: Lists the settings to try, and scores trainings.
        run: Runs tasks and returns their numbers and results.
        on_progress: Called with the trainings done, their number, and a note.
        starts: Networks of one kind, from which the networks of the folds start in turn; if empty,
            first weights are drawn.
    """

    dataset: Dataset
    folds: tuple[Fold, ...]
    judge: Judge
    run: Callable[[Sequence[Task]], Iterator[tuple[int, Any]]]
    on_progress: Callable[[int, int, str], None]
    starts: tuple[Member, ...] = ()

    def winners(
        self, base: TrainConfig, given: frozenset[str], effort: Effort, other: float
    ) -> list[Winner]:
        """Hold the contest.

        Args:
            base: Settings that all share.
            given: Keys of settings that are fixed.
            effort: Largest cost.
            other: Least score of a candidate that is no network; far worse networks are left out.
        """
        budget = self._budget(effort)
        settings = self.affordable(base, given, effort)
        if not settings:
            return []
        ranked = self._ranked(settings if len(settings) > 1 else [], "first round")
        if ranked and ranked[0].score > self.judge.hopeless * other:
            return []
        best = ranked[0].settings if ranked else settings[0]
        variants = self._variants(best, settings, given, effort)
        if variants and not ranked:
            ranked = self._ranked([best, *variants], "first round")[:1]
        elif variants:
            # The second-best variant complements the best less than other settings do.
            family = [*ranked[:1], *self._ranked(variants, "second round")]
            first = min(family, key=attrgetter("rank"))
            ranked = sorted([first, *ranked[1:]], key=attrgetter("rank"))
        ranked = ranked or [_Ranked(0.0, 0.0, best)]
        if ranked[0].score > self.judge.hopeless * other:
            return []
        finalists = effort.finalists
        while finalists > 1 and self._total([*settings, *variants], finalists) > budget:
            finalists -= 1
        farthest = self.judge.near * ranked[0].rank
        final = [one.settings for one in ranked[:finalists] if one.rank <= farthest]
        trained_on_all = self._train(final, range(len(self.folds)), "all folds")
        return [
            self._winner(one, results, given)
            for one, results in zip(final, trained_on_all, strict=True)
        ]

    def _ranked(self, settings: Sequence[TrainConfig], rung: str) -> list[_Ranked]:
        """Train settings for a share of their work; return them with their scores, best first.

        Settings with equal scores keep their order.
        """
        trial = range(min(len(self.folds), 2 if self._rows < 400 else 1))
        units = [
            max(int(SHARE * one.stopping.work_units), one.network.width + 5) for one in settings
        ]
        short = [
            replaced(one, {"stopping.work_units": n})
            for one, n in zip(settings, units, strict=True)
        ]
        found = []
        for one, results in zip(settings, self._train(short, trial, rung), strict=True):
            score = self._score(results, trial)
            along = all(result.used is not None for result in results)
            rank = _mean_square(results) if along else score
            found.append(_Ranked(rank if math.isfinite(rank) else math.inf, score, one))
        return sorted(found, key=attrgetter("rank"))

    def _variants(
        self,
        best: TrainConfig,
        settings: Sequence[TrainConfig],
        given: frozenset[str],
        effort: Effort,
    ) -> list[TrainConfig]:
        """Return the affordable variants of the best settings."""
        found: list[TrainConfig] = []
        for change in self._changes:
            one = replaced(best, change)
            wide = one.network.width + self.dataset.Y.shape[1] * one.network.linear + 1
            n_rows = len(self.folds[0].train) * (1 + self.judge.directions)
            determined = not one.network.linear or 2 * wide <= n_rows
            affordable = self._total([*settings, *found, one], 1) <= self._budget(effort)
            if not change.keys() & given and one != best and determined and affordable:
                found.append(one)
        return found

    def _winner(
        self, settings: TrainConfig, results: Sequence[FitResult], given: frozenset[str]
    ) -> Winner:
        if not self.starts and "regularisation.alpha2" not in given:
            settings, results = self._solved_anew(settings, results)
        return Winner(
            name=self._name(settings),
            results=tuple(results),
            held=tuple(self._held(result, k) for k, result in enumerate(results)),
        )

    def _solved_anew(
        self, settings: TrainConfig, results: Sequence[FitResult]
    ) -> tuple[TrainConfig, Sequence[FitResult]]:
        """Choose alpha2 of the last W, one value for all folds, by the least held-out score.

        Theta does not change: one SVD on each fold yields W for all values.
        """
        least = settings.regularisation.alpha2
        larger = [alpha2 for alpha2 in self.judge.alphas if alpha2 > 1.001 * least]
        if not larger:
            return settings, results
        pairs = zip(results, self.folds, strict=True)
        paths = [[result, *_path(self.dataset, result, fold, larger)] for result, fold in pairs]
        choices = list(zip(*paths, strict=True))
        everything = range(len(self.folds))
        scores = [self._score(choice, everything) for choice in choices]
        best = min(range(len(scores)), key=scores.__getitem__)
        chosen = [least, *larger][best]
        return replaced(settings, {"regularisation.alpha2": chosen}), choices[best]

    def affordable(
        self, base: TrainConfig, given: frozenset[str], effort: Effort
    ) -> list[TrainConfig]:
        """Return the settings that can be tried; none if even one costs too much."""
        if self._rows < _LEAST and not self.starts:
            return []
        budget = self._budget(effort)
        settings: list[TrainConfig] = []
        for choice in STARTED if self.starts else self.judge.networks:
            free = {key: value for key, value in choice.items() if key not in given}
            one = replaced(base, free)
            if one not in settings and len(settings) < effort.candidates:
                settings.append(one)
        kept: list[TrainConfig] = []
        for one in settings:
            room = [one] * len(self._changes) if len(kept) >= _FIRST else []
            if self._total([*kept, one, *room], 1) <= budget:
                kept.append(one)
        if kept:
            return kept
        cheapest = min(settings, key=self.seconds)
        share = budget / (len(self.folds) * self.seconds(cheapest))
        units = int(cheapest.stopping.work_units * share)
        if units < _FEWEST:
            return []
        return [replaced(cheapest, {"stopping.work_units": units})]

    def _name(self, settings: TrainConfig) -> str:
        name = self.judge.name(settings)
        return f"old {name}" if self.starts else name

    @property
    def _changes(self) -> tuple[dict[str, Any], ...]:
        """The judge's variants; none if networks start from others, whose form is fixed."""
        return () if self.starts else self.judge.variants

    @property
    def _size(self) -> int:
        return len(self.folds[0].train) + len(self.folds[0].held)

    @property
    def _rows(self) -> float:
        """Number of samples and, on average, of their derivatives."""
        return self._size * (1 + self.judge.directions)

    def _budget(self, effort: Effort) -> float:
        return effort.seconds * min(max(1.0, self._rows / 1000), _LONGER)

    def _total(self, settings: Sequence[TrainConfig], finalists: int) -> float:
        """Estimate the largest cost of a contest, in seconds of one core."""
        costs = sorted(map(self.seconds, settings))
        return SHARE * sum(costs) + len(self.folds) * sum(costs[-finalists:])

    def seconds(self, settings: TrainConfig) -> float:
        """Estimate the seconds of a training on one fold, on one core."""
        return self.judge.seconds(settings, len(self.folds[0].train), self.dataset.Y.shape[1])

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
                    "loss": self.judge.loss,
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
        pieces = [self._held(result, k) for result, k in zip(results, folds, strict=True)]
        rows = np.concatenate([self.folds[k].held for k in folds])
        score = self.judge.score(self.dataset, torch.cat(pieces), rows)
        return score if math.isfinite(score) else math.inf

    def _held(self, result: FitResult, k: int) -> Tensor:
        return self.judge.held(self.dataset, result, self.folds[k].held)


def trained(
    dataset: Dataset,
    settings: TrainConfig,
    fold: Fold,
    loss: Loss | None = None,
    start: Member | None = None,
) -> FitResult:
    """Train a network on a fold: a task."""
    split = np.full(len(dataset.Y), Split.UNUSED, np.uint8)
    split[fold.train], split[fold.held] = Split.TRAIN, Split.VALIDATION
    return fit(dataclasses.replace(dataset, split=split), settings, loss=loss, start=start)
