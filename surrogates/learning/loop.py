"""The rounds of a run, from the first design to the surrogate of the stated error."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.config import check, override, to_toml
from surrogates.data import Dataset
from surrogates.files import atomic, check_writable, remove_leftovers
from surrogates.progress import Told
from surrogates.types import Array

from . import certified, report
from . import samples as solves
from .asked import PAIRED, Asked
from .estimate import Estimate, estimated, parts
from .fidelities import PILOT, Coarse, Shares
from .policy import Look, Policy, Projection, left, shape
from .samples import Samples, core_seconds, done, seed_of
from .state import State

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate
    from surrogates.pde import Problem

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What a caller sees of a run.

    Attributes:
        on_look: Called after each look, with it and the solves that the target seems to need.
        on_note: Called with what a user should know, a line each.
        solving: Bar of the solves, as for `surrogates.generate`.
        training: Bar of the trainings, as for `surrogates.train`.
        stop: Returns whether the run is to end, asked after each training.
    """

    on_look: Callable[[Look, Projection], object] = lambda look, needed: None
    on_note: Callable[[str], object] = _log.warning
    solving: bool | Told = False
    training: bool | Told = False
    stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True, kw_only=True)
class Learned:
    """The outcome of a run.

    Attributes:
        asked: Its arguments.
        looks: All looks, in order.
        left: The last look at the surrogate that is left.
        why: Why the run has ended: ``target``, which is met with 90 % confidence; ``budget``, which
            is spent; or ``floor``, below which more samples seem not to bring the error.
        new: Whether anything was solved, trained or written by this call.
        core_seconds: Of all solves.
        hours: Wall time of all calls.
        fidelities: How coarse solves compare with fine ones, in words; empty without.
    """

    asked: Asked
    looks: Sequence[Look]
    left: Look
    why: str
    new: bool
    core_seconds: float
    hours: float
    fidelities: str = ""

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.why == "target"

    @property
    def estimate(self) -> Estimate:
        """The error of the surrogate that is left."""
        return self.left.estimate


@dataclass(kw_only=True)
class _Round:
    """One surrogate: the files that it is trained on, and those that it is measured on."""

    number: int
    trained: list[tuple[Path, bool]]
    fresh: list[Path] = field(default_factory=list)
    counted: int = 0
    coarse: list[Path] = field(default_factory=list)
    surrogate: LoadedSurrogate | None = None

    @property
    def measured(self) -> list[Path]:
        """The fresh files that count, from the first one after `counted` others."""
        return self.fresh[self.counted :]


def learned(asked: Asked, watch: Watch) -> Learned:
    """Run until the target is met or the budget is spent, or go on with an earlier run.

    Args:
        asked: The arguments.
        watch: What the caller sees.

    Raises:
        InputError: If an argument does not fit, or the folder is of another run.
        KeyboardInterrupt: If interrupted; all that is finished is kept.
    """
    from surrogates.pde.run import settled
    from surrogates.training.settings import settings_of

    found, config = settled(asked.problem, asked.config, asked.settings)
    _check_place(asked)
    settings_of(asked.training or None, "regression")  # before the first solve
    about = {
        "problem": asked.problem if isinstance(asked.problem, str) else found.name,
        "source": found.source,
        "config": to_toml(config),
        **{name: getattr(asked, name) for name in _SAME if name != "training"},
        "training": sorted(override(key, value) for key, value in asked.training.items()),
    }
    n_y = len(found.describe(config)["y_names"])
    cheap = None
    if asked.coarse:
        own = {**asked.settings, **asked.coarse}
        _, cheap = settled(asked.problem, asked.config, own)
    state = State(asked.folder.absolute(), about)
    try:
        run = _Run(asked, watch, state, found, config)
        if cheap is not None:
            run.coarse = Coarse(asked, cheap, state.path, watch.solving)
        return run.done(n_y)
    finally:
        state.close()


_SAME = ("measure", "seed", "first", "effort", "training", "tangents", "coarse")
"""Arguments that a run goes on with unchanged; a target or a budget may be another."""


def _check_place(asked: Asked) -> None:
    """Refuse to overwrite files of something else."""
    cheap = [asked.coarse_dataset] if asked.coarse else []
    for path in (asked.out, asked.dataset, asked.page, *cheap):
        check_writable(path)
        remove_leftovers(path)
        check(
            asked.folder.exists() or not path.exists(),
            f"{path} is there, and not of a run that can go on, whose folder would be "
            f"{asked.folder}: give another --out",
        )


class _Run:
    """A run whose folder is open."""

    def __init__(
        self, asked: Asked, watch: Watch, state: State, found: type[Problem], config: Any
    ) -> None:
        self._asked, self._watch, self._state = asked, watch, state
        self._found, self._settings = found, config
        self._samples = Samples(asked, to_toml(config), state.path, watch.solving)
        self._policy = Policy(target=asked.target, budget=asked.budget)
        self.coarse: Coarse | None = None
        self._all_coarse: Coarse | None = None  # also where they did not pay
        self._looks: list[Look] = []
        self._rounds: list[_Round] = []
        self._solves = 0
        self._new = False
        self._round_hours = 0.0

    def done(self, n_y: int) -> Learned:
        """Go through the rounds, and write the results."""
        asked, policy, state = self._asked, self._policy, self._state
        step = state.decided(
            "first", lambda: {"kind": "first", "samples": policy.first(n_y, asked.first)}
        )
        if self.coarse is None:
            design = self._count(self._samples.random("000-first", step["samples"], asked.seed))
            now = _Round(number=0, trained=[(design, False)])
        else:
            now = self._pilot(max(step["samples"], PAIRED))
        while True:
            self._rounds.append(now)
            begun = time.monotonic()
            self._train(now)
            why = self._measured(now)
            self._round_hours = (time.monotonic() - begun) / 3600
            if why:
                return self._finished(now, why)
            later = self._next(now)
            now.surrogate = None  # a file has it
            now = later

    def _pilot(self, samples: int) -> _Round:
        """Solve for the first design of two fidelities, and compare them."""
        both = self._all_coarse = self.coarse
        assert both is not None
        Y = both.first(samples)
        files = [self._count(self._samples.at("000-first", lambda: Y[:PILOT]))]
        step = self._state.decided(
            "fidelities",
            lambda: {"kind": "fidelities", **dataclasses.asdict(both.compare(files[0]))},
        )
        shares = Shares(cost=step["cost"], unexplained=step["unexplained"])
        both.shares = shares
        self._watch.on_note(both.said())
        if not shares.worth:
            self._solves += math.ceil(both.fine_solves)
            self.coarse = None
            if samples > PILOT:
                files.append(self._count(self._samples.at("000-more", lambda: Y[PILOT:])))
        coarse = list(both.files) if shares.worth else []
        return _Round(number=0, trained=[(path, False) for path in files], coarse=coarse)

    def _left(self) -> float:
        solves = self._asked.budget.solves
        return math.inf if solves is None else solves - self._spent

    @property
    def _spent(self) -> int:
        """The solves so far; coarse ones count by their cost."""
        return self._solves + (0 if self.coarse is None else math.ceil(self.coarse.fine_solves))

    def _count(self, path: Path) -> Path:
        """Count the solves of a file, and return it."""
        from surrogates.data import read_info

        self._solves += read_info(path)[1]
        return path

    def _surrogate(self, number: int) -> Path:
        """Return the file of a round's surrogate."""
        return self._state.path / f"{number:03d}-surrogate.pt"

    def _train(self, now: _Round) -> None:
        """Train on all samples of a round, or load what an earlier run has trained."""
        import surrogates

        path = self._surrogate(now.number)
        if not path.exists():
            self._new = True
            asked = self._asked
            data = solves.joined([path for path, _ in now.trained], self._state.path)
            how: dict[str, Any] = {"effort": asked.effort, "seed": asked.seed}
            bar, kind = self._watch.training, asked.training.get("network.kind")
            if self.coarse is not None:
                start = self.coarse.surrogate(now.number, now.coarse, bar)
                how |= {"start": start, "coarse": self.coarse.data(now.coarse)}
            elif now.number and asked.effort == "fast" and kind != "rbf":
                # One network goes on from its weights. A choice, as radial functions always are,
                # would take the whole surrogate before among its candidates, and grow by rounds.
                how["start"] = self._surrogate(now.number - 1)
            found = surrogates.train(data, asked.training or None, progress=bar, **how)
            if found.metadata["training"].get("reason") == "interrupted":
                raise KeyboardInterrupt("interrupted while training")
            with atomic(path) as beside:
                found.save(beside)
            for line in found.warnings:
                _log.info(line)
            if self._watch.stop():
                raise KeyboardInterrupt("interrupted at the end of a training")
        now.surrogate = surrogates.load(path)

    def _measured(self, now: _Round) -> str:
        """Measure a surrogate on fresh batches; return why the run ends, empty if it goes on."""
        state, policy, held_out = self._state, self._policy, _held_out(now, self._asked.measure)
        assert now.surrogate is not None
        n = int(now.surrogate.metadata["training"]["samples"])
        if self.coarse is not None:
            n += math.ceil(self.coarse.fine_solves)
        step = state.decided("fresh", lambda: policy.fresh(self._looks, n, held_out, self._left()))
        while True:
            self._look(now, n, step)
            last = self._looks[-1]
            hours = state.hours()
            why = ""
            if not state.replaying:
                why = policy.stop(self._looks, hours, self._round_hours)
                self._write(now, last)  # for those who cannot wait for the end
            self._watch.on_look(last, policy.projected(self._looks))
            if why:
                return why
            step = state.decided("fresh design", lambda: policy.next(self._looks, self._left()))
            if step["kind"] == "design":
                self._design = step
                return ""

    def _look(self, now: _Round, n: int, step: dict[str, Any]) -> None:
        """Solve for a fresh batch, and add a look at all fresh samples of this surrogate."""
        piece = len(now.fresh)
        if step.get("alone"):
            now.counted = piece
        seed = seed_of(self._asked.seed, now.number, piece)
        name = f"{now.number:03d}-fresh-{piece}"
        now.fresh.append(self._count(self._samples.random(name, step["samples"], seed)))
        Y, C, wrong = done(now.measured)
        failed, measure = len(wrong), self._asked.measure
        assert now.surrogate is not None
        check(
            len(Y) >= 3,
            f"{failed} of {failed + len(Y)} fresh samples failed: a surrogate needs a problem "
            "whose solves succeed as a rule; `surrogates check` tells more",
        )
        values = parts(now.surrogate, Y, C, measure)
        level = step["level"]
        how: dict[str, Any] = {} if level is None else {"upper": level}
        if measure == "worst":
            how["first"] = _worst(now)
        before = shape(self._looks, now.number)
        found = estimated(values, measure, failed=failed, shape=before, **how)
        self._looks.append(
            Look(round=now.number, trained=n, solves=self._spent, estimate=found, level=level)
        )

    def _next(self, now: _Round) -> _Round:
        """Solve for the samples of the next round, which the surrogate suggests."""
        number, samples = now.number + 1, self._design["samples"]
        if self.coarse is not None:
            return self._next_of_two(self.coarse, now, samples)
        designed = self._samples.at(f"{number:03d}-designed", lambda: self._suggested(now, samples))
        fresh = [(path, False) for path in now.fresh]
        return _Round(number=number, trained=[*now.trained, *fresh, (self._count(designed), True)])

    def _next_of_two(self, coarse: Coarse, now: _Round, samples: int) -> _Round:
        """Solve for the samples of the next round in two fidelities."""
        name = f"{now.number + 1:03d}"
        before = now.coarse
        for k, path in enumerate(now.fresh):
            coarse.at(f"{name}-coarse-fresh-{k}", functools.partial(_parameters, path))
        files = [*now.trained, *((path, False) for path in now.fresh)]
        fine = sum(len(Dataset.read(path).Y) for path, _ in files)
        more, new = coarse.shares.divided(samples, coarse.count, fine)

        def chosen() -> Array:
            return coarse.suggested(now.number, before, self._candidates(now, more), more)

        Y = coarse.at(f"{name}-coarse", chosen)
        if new:
            designed = self._samples.at(f"{name}-designed", lambda: Y[:new])
            files.append((self._count(designed), True))
        return _Round(number=now.number + 1, trained=files, coarse=list(coarse.files))

    def _candidates(self, now: _Round, samples: int) -> Array:
        """Return parameters to choose from, which the problem itself draws."""
        from surrogates.design.designer import CANDIDATES

        seed = seed_of(self._asked.seed, now.number, -1)
        n = max(CANDIDATES, 10 * samples)
        rows = {"total": n, "start": 0, "stop": n}
        return self._found.parameters(self._settings, seed=seed, **rows)

    def _suggested(self, now: _Round, samples: int) -> Array:
        """Return the parameters that take most off the expected error, (samples, n_y).

        Candidates are drawn by the problem itself, whose design may be one of its own. The fresh
        batches of this surrogate are known by then, and so are all failures.
        """
        from surrogates.design.designer import Designer

        assert now.surrogate is not None
        candidates = self._candidates(now, samples)
        known, _, failed = done([path for path, _ in now.trained])
        measure = self._asked.measure
        about: dict[str, Any] = {"measure": measure, "candidates": candidates, "seen": known}
        designer = Designer(now.surrogate, seed=self._asked.seed, **about)
        designer.ingest(failed, np.full((len(failed), now.surrogate.n_out), np.nan))
        Y, C, failed = done(now.fresh)
        designer.ingest(Y, C)
        designer.ingest(failed, np.full((len(failed), now.surrogate.n_out), np.nan))
        return designer.suggest(samples)

    def _finished(self, now: _Round, why: str) -> Learned:
        """Write surrogate, dataset and report, unless they are there."""
        asked = self._asked
        look = self._looks[-1] if why == "target" else left(self._looks)
        paths = [*(path for path, _ in now.trained), *now.fresh]
        both = self._all_coarse
        cheap, spent = (0, 0.0) if both is None else (both.samples.solved, both.seconds())
        there = asked.out.exists() and asked.dataset.exists() and asked.page.exists()
        found = Learned(
            asked=asked,
            looks=tuple(self._looks),
            left=look,
            why=why,
            new=self._new or self._samples.solved + cheap > 0 or not there,
            core_seconds=core_seconds(paths, asked.ranks_per_sample) + spent,
            hours=self._state.hours(),
            fidelities="" if both is None else f"{both.count} coarse samples; {both.said()}",
        )
        if found.new:
            best = self._rounds[look.round]
            if best is not now:
                self._train(best)
                self._write(best, look)
            others = [*now.trained, *((path, False) for path in now.fresh)]
            others = [pair for pair in others if pair[0] not in best.measured]
            solves.write_all(asked.dataset, others, best.measured, self._state.path)
            if both is not None:
                both.data(both.files).write(asked.coarse_dataset)
            report.write(found, self._found.name, to_toml(self._settings))
        return found

    def _write(self, now: _Round, look: Look) -> None:
        """Write the surrogate of a round as the result so far."""
        assert now.surrogate is not None
        written = certified.write(now.surrogate, look, self._asked, now.measured, self._state.path)
        self._new = self._new or written


def _parameters(path: Path) -> Array:
    return Dataset.read(path).Y


def _held_out(now: _Round, measure: str) -> float:
    """Return a surrogate's own estimate of its error, from its training's held-out samples."""
    assert now.surrogate is not None
    found = now.surrogate.errors.get("validation")
    if found is None:
        return math.inf
    spread = np.nan_to_num(np.array(found.output_spread))
    error = {
        "relative": found.relative.mean,
        "spread": float(np.sqrt((spread**2).mean())),
        "worst": float(spread.max()),
    }[measure]
    return error if math.isfinite(error) else math.inf


def _worst(now: _Round) -> int:
    """Return the output with the largest held-out error, known before any fresh sample."""
    assert now.surrogate is not None
    found = now.surrogate.errors.get("validation")
    spread = None if found is None else np.nan_to_num(np.array(found.output_spread))
    return 0 if spread is None or not len(spread) else int(spread.argmax())
