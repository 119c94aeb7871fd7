"""The number of samples that a stated error takes, and what it costs: ``surrogates plan``."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surrogates.config import check, override
from surrogates.data import Dataset, Status
from surrogates.model.loaded import LoadedSurrogate
from surrogates.progress import Told, bar_of
from surrogates.types import Array

from ..run import Bar
from ..selection.effort import COSTS, EFFORTS, Terms
from ..settings import SEED, Config, settings_of
from .curve import Curve, fit_curve
from .errors import WORDS, check_measure, drawn, resampled, spreads, total, values
from .measure import Compared, Measured, Subsets, compared, measured
from .words import FARTHEST, answer, lines, plain

WIDEST = 2.5
"""Largest ratio of an interval's ends; a wider one is no answer."""

_CALLS = 20  # calls of a surrogate that are timed
Interval = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a change of the training does to the error, measured at one size.

    Attributes:
        change: The change in words.
        samples: Samples of the trainings that were compared.
        factor: Error with the change over that without: low, median and high over samples.
    """

    change: str
    samples: int
    factor: Interval


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What samples cost, by the dataset's own solver times.

    Attributes:
        solve: Core-seconds of one sample, failed ones included.
        ranks: Processes that shared a solve.
        core_hours: Of the samples that are to come, low, median and high; infinite if unknown.
        training: Core-seconds of a training, about.
        call: Seconds of one call of the surrogate; None if no surrogate was given.
        calls: Calls after which the surrogate has paid for itself, likewise quantiles; infinite if
            a call is no cheaper than a solve.
    """

    solve: float
    ranks: int
    core_hours: Interval
    training: float
    call: float | None
    calls: Interval


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many samples an error takes.

    Attributes:
        name: The problem's.
        target: The error that is asked for.
        measure: ``relative``, ``spread`` or ``worst`` (see `errors`).
        n: Samples for training and validation that are there.
        of: Samples in the whole file, test samples included.
        answer: ``met``, ``needed``, ``too far`` or ``not reachable``.
        samples: Samples for training and validation: low, median and high, an interval of 90 %.
        error: Error with the samples that are there, likewise.
        left: Error with a hundred times the samples that are there, likewise.
        curve: The learning curve.
        candidates: What was trained, with weights at the largest size.
        effects: What changes of the training bring, as far as measured.
        cost: None if the file has no solver times.
        notes: Remarks, a line each.
        seconds: Wall time of the plan.
    """

    name: str
    target: float
    measure: str
    n: int
    of: int
    answer: str
    samples: Interval
    error: Interval
    left: Interval
    curve: Curve = field(repr=False)
    candidates: tuple[str, ...]
    effects: tuple[Effect, ...]
    cost: Cost | None
    notes: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        """Return the answer in lines."""
        return "\n".join(lines(self))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON; an infinite one is None."""
        return plain(self)

    def plot(self, path: str | os.PathLike[str], title: str = "") -> None:
        """Draw the curve with its band, the measured errors, the target, and what is there."""
        from surrogates.plots.planning import planning

        most = 2 * max(self.n, float(self.curve.n[-1]))
        if self.answer == "needed":
            most = max(most, 1.2 * self.samples[2])
        n = np.geomspace(float(self.curve.n[0]), most, 60)
        planning(
            (self.curve.n, self.curve.errors, self.curve.deviations),
            (n, np.array([self.curve.errors_at(float(x)) for x in n])),
            path,
            target=self.target,
            there=self.n,
            samples=self.samples if self.answer == "needed" else None,
            label=WORDS[self.measure],
            title=title or f"{self.name}: {self.answer_in_words}",
        )

    @property
    def answer_in_words(self) -> str:
        """The answer in one line."""
        return answer(self)


def plan(
    dataset: Dataset | str | os.PathLike[str],
    target: float = 0.01,
    *,
    measure: str = "relative",
    surrogate: LoadedSurrogate | str | os.PathLike[str] | None = None,
    config: Config | None = None,
    effort: str = "default",
    seed: int | None = None,
    processes: int | None = None,
    progress: bool | Told = False,
) -> Plan:
    """Estimate how many samples a surrogate of a stated error takes, as ``surrogates plan`` does.

    Args:
        dataset: The dataset, or its file: a regression of at least 40 samples for training and
            validation without missing observables.
        target: The error, such as 0.01 for 1 %.
        measure: ``relative``, the mean over samples of ||prediction - c|| / ||c||; ``spread``, the
            root mean square error over the outputs' spreads; or ``worst``, the worst output's.
        surrogate: A surrogate that was trained on this dataset, or its file. The curve then passes
            through its held-out error, and the time of its calls is measured.
        config: Settings, as for `surrogates.train`.
        effort: ``fast`` for the training of one network, else a choice by held-out errors.
        seed: Seed of subsets and first weights; the settings' seed if None.
        processes: Number of processes; one for each core if None.
        progress: Whether to show a bar; or a function of done, total and a note.

    Raises:
        InputError: If the dataset, a setting or the target does not fit.
    """
    return planned(
        dataset,
        target,
        measure=measure,
        surrogate=surrogate,
        config=config,
        effort=effort,
        seed=seed,
        processes=processes,
        bar=bar_of(progress),
    )


def planned(
    dataset: Dataset | str | os.PathLike[str],
    target: float,
    *,
    measure: str = "relative",
    surrogate: LoadedSurrogate | str | os.PathLike[str] | None = None,
    config: Config | None = None,
    overrides: Sequence[str] = (),
    effort: str = "default",
    seed: int | None = None,
    processes: int | None = None,
    bar: Callable[[str], Bar] | None = None,
) -> Plan:
    """Do what `plan` does, with ``key=value`` overrides of settings and a maker of bars."""
    clock = time.perf_counter()
    check(
        math.isfinite(target) and target > 0,
        f"the target must be a positive error, such as 0.01 for 1 %; got {target:g}",
    )
    check_measure(measure)
    check(effort in EFFORTS, f"effort must be one of {', '.join(EFFORTS)}; got {effort!r}")
    data = dataset if isinstance(dataset, Dataset) else Dataset.read(dataset)
    check(
        data.info.task == "regression",
        "a plan is for regressions; the error of classes has no such curve",
    )
    check(not data.info.missing, "a plan needs all observables; some of this dataset are masked")
    seeds = [] if seed is None else [override(SEED, seed)]
    settings, given = settings_of(config, "regression", [*overrides, *seeds])
    told = _loaded(surrogate, data)
    terms = Terms(
        settings=settings,
        given=given,
        effort="default" if effort == "fast" else effort,
        processes=processes,
    )
    shown = None if bar is None else bar("trainings")
    try:
        with terms.at_work() as asked:
            subsets = Subsets.of(data, asked, None if shown is None else shown.update)
            found = measured(subsets, effort)
            changes = compared(subsets, found)
    finally:
        if shown is not None:
            shown.close()
    job = _Answer(data, target, measure, subsets, found)
    return job.plan(changes, told, effort, clock)


def _loaded(
    surrogate: LoadedSurrogate | str | os.PathLike[str] | None, data: Dataset
) -> LoadedSurrogate | None:
    """Load a surrogate of this dataset; refuse one of another."""
    if surrogate is None:
        return None
    from surrogates.loading import load

    found = surrogate if isinstance(surrogate, LoadedSurrogate) else load(surrogate)
    assert isinstance(found, LoadedSurrogate)
    check(
        found.metadata.get("dataset", {}).get("digest") == data.digest,
        "the surrogate was trained on other samples than this dataset's: give its own dataset",
    )
    return found


class _Answer:
    """The answer from measured residuals."""

    def __init__(
        self, data: Dataset, target: float, measure: str, subsets: Subsets, found: Measured
    ) -> None:
        self._data, self._target, self._measure = data, target, measure
        self._found, self._rows = found, subsets.frame.rows
        self._spread = spreads(data.C[self._rows])
        held = np.concatenate(found.rows)
        self._parts = [self._values(np.concatenate(list(one)), held) for one in found.residual]

    def _values(self, residual: Array, rows: Any) -> Array:
        return values(self._measure, residual, self._data.C[rows], self._spread)

    def plan(
        self, changes: Sequence[Compared], told: LoadedSurrogate | None, effort: str, clock: float
    ) -> Plan:
        """Fit the curve, and find the answer and its cost."""
        n, notes = len(self._rows), []
        curve = self._curve()
        if told is not None:
            level = _held_out(told, self._measure)
            if level is not None:
                curve = curve.scaled(level / curve.errors_at(n)[1])
                notes.append(
                    f"the curve passes through the surrogate's held-out error, {level:.3%}"
                )
        samples = curve.samples_for(self._target)
        kind = _kind(samples, n)
        cost = self._cost(samples if kind in ("met", "needed") else None, told, n)
        if self._data.derivatives(self._rows) is None:
            notes.append(
                "the file has no derivatives, and what they bring is not measured: r directions "
                "of a sample are r more equations for each of its outputs"
            )
        if cost is None:
            notes.append("core-hours and break-even are unknown: the file has no solver times")
        return Plan(
            name=self._data.info.problem,
            target=self._target,
            measure=self._measure,
            n=n,
            of=int((self._data.status == Status.DONE).sum()),
            answer=kind,
            samples=samples,
            error=curve.errors_at(n),
            left=curve.errors_at(FARTHEST * n),
            curve=curve,
            candidates=self._found.candidates,
            effects=tuple(map(self._effect, changes)),
            cost=cost,
            notes=tuple(notes),
            seconds=time.perf_counter() - clock,
        )

    def _curve(self) -> Curve:
        """Fit the law of errors, whose covariance comes from samples and from subset draws."""
        errors = np.array([float(total(self._measure, part.mean(axis=0))) for part in self._parts])
        logs = np.log(np.maximum(resampled(self._measure, self._parts), 1e-300))
        by_samples = np.atleast_2d(np.cov(logs, rowvar=False))
        lengths = np.cumsum([len(rows) for rows in self._found.rows])[:-1]
        by_fold = [[*np.split(part, lengths)] for part in self._parts]
        scatter = drawn(self._measure, by_fold)
        covariance = by_samples + scatter**2 / len(by_fold[0]) * np.eye(len(errors))
        return fit_curve(self._found.sizes, errors, covariance, scatter)

    def _effect(self, one: Compared) -> Effect:
        """Measure what a change does to the error."""
        before, after = self._values(one.before, one.rows), self._values(one.after, one.rows)
        draws = resampled(self._measure, [before, after])
        low, middle, high = np.quantile(draws[:, 1] / draws[:, 0], (0.05, 0.5, 0.95)).tolist()
        return Effect(change=one.change, samples=one.size, factor=(low, middle, high))

    def _cost(self, samples: Interval | None, told: LoadedSurrogate | None, n: int) -> Cost | None:
        """Return the cost by the file's own times; None if there are none."""
        seconds = self._data.solver["seconds"]
        done = self._data.status == Status.DONE
        spent = float(np.nansum(seconds))
        if not spent > 0:
            return None
        shared = re.search(r"--ranks-per-sample[ =](\d+)", self._data.info.command)
        ranks = int(shared[1]) if shared else 1
        each = spent * ranks / int(done.sum())
        share = n / int(done.sum())  # of samples that training sees
        more = [math.inf] * 3
        if samples is not None:
            more = [max(0.0, m - n) / share * each / 3600 for m in samples]
        effort = COSTS["default"]
        training = effort.seconds * max(1.0, (samples[1] if samples else n) / 1000)
        call = None if told is None else _called(told, self._data.Y)
        gain = each - (call or 0.0)
        calls = [math.inf] * 3
        if samples is not None and gain > 0:
            calls = [(max(m, n) / share * each + training) / gain for m in samples]
        return Cost(
            solve=each,
            ranks=ranks,
            core_hours=(more[0], more[1], more[2]),
            training=training,
            call=call,
            calls=(calls[0], calls[1], calls[2]),
        )


def _kind(samples: Interval, n: int) -> str:
    """Return what the interval of samples allows to say."""
    low, _, high = samples
    if high <= n:
        return "met"
    if low > FARTHEST * n:
        return "not reachable"
    return "needed" if high <= WIDEST * low else "too far"


def _held_out(surrogate: LoadedSurrogate, measure: str) -> float | None:
    """Return a surrogate's held-out error; None if its file has none."""
    errors = surrogate.metadata.get("errors", {}).get("validation")
    if not errors:
        return None
    if measure == "relative":
        return float(errors["relative"]["mean"])
    spread = np.array(errors["output_spread"], float)
    return float(np.sqrt(np.square(spread).mean()) if measure == "spread" else spread.max())


def _called(surrogate: LoadedSurrogate, Y: Array) -> float:
    """Return the median seconds of one call."""
    times: list[float] = []
    for y in np.resize(Y, (_CALLS, Y.shape[1])):
        start = time.perf_counter()
        surrogate.predict(y)
        times.append(time.perf_counter() - start)
    return float(np.median(times))
