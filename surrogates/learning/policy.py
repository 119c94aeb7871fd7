"""Numbers of samples, the levels of the looks, and when to stop.

The chance to stop although the error is above the target is at most 10 %, over all looks together.
Each look that may end the run is a test at a level that was fixed before its samples were solved
for: 0.1 / (j (j + 1)) for the j-th, so 5 %, 1.7 %, 0.8 %, ..., whose sum is 10 % for any number of
looks. (Bonferroni's sum needs neither independence of the looks nor one surrogate in all of them.)
Looks at surrogates that are probably above the target, by the errors of earlier rounds, spend
nothing and cannot end the run. Whether a look may end it is decided before its samples are known:
else one would test only where the samples happen to be easy ones. If a look that could not end the
run finds a low error, further samples are taken, and count alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .asked import Budget
from .estimate import Estimate

CONFIDENCE = 0.9
"""Chance that the error of the surrogate that ends a run is below the target."""
_FRESH = 12  # fewest samples of a fresh batch: fewer say nothing on its variation
_MOST_FRESH = 40  # and most of one that cannot end the run
_SHARE = 0.15  # of the training samples, of such a batch
_COSTLY = 0.35  # largest share of the training samples of a batch that can
_NEAR = 1.1  # expected error over target, below which a look may end the run
_HOPELESS = 0.9  # above which a larger batch would rather not certify
_AIM = 0.75  # expected error over target that the next round aims at
_GROWTH = (1.15, 1.5)  # of the training samples from round to round: a quarter is in vain
_PIECES = 4  # most batches for one surrogate
_SLOPE, _SLOPE_DEVIATION = 1.0, 0.5  # of log error against log n, before any is known
_VARIATION = 0.8  # of the samples' errors, likewise
_CURVE = 3  # rounds that a curve with a floor is fitted to
_HOPE = 0.05  # least probability that the floor is below the target
_ENDLESS = 100  # times the solves so far: as far as a floor


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look at a surrogate.

    Attributes:
        round: Its number, from 0.
        trained: Samples that the surrogate was trained on.
        solves: Solves so far.
        estimate: The error.
        level: Chance of a wrong stop that this look spends; None if it cannot stop.
    """

    round: int
    trained: int
    solves: int
    estimate: Estimate
    level: float | None

    def certifies(self, target: float) -> bool:
        """Return whether the error is below the target with the confidence that is left."""
        return self.level is not None and self.estimate.upper < target


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The rules of a run.

    Attributes:
        target: The error to reach.
        budget: What may be spent.
    """

    target: float
    budget: Budget

    def first(self, n_y: int, wanted: int | None) -> int:
        """Return the number of samples of the first design: five for each parameter, 20 to 100.

        Args:
            n_y: Number of parameters.
            wanted: The caller's number, if any.
        """
        n = wanted or min(max(5 * n_y, 20), 100)
        solves = self.budget.solves
        return n if solves is None else min(n, max(2, solves - _FRESH))

    def fresh(self, looks: Sequence[Look], trained: int, held_out: float, left: float) -> Any:
        """Decide on the first fresh batch for a surrogate: its size, and the look's level.

        Args:
            looks: All looks so far.
            trained: Samples that the surrogate was trained on.
            held_out: Its own estimate of the error, from held-out samples of its training.
            left: Solves that the budget leaves.
        """
        expected = Curve.of(looks).error(trained) if looks else held_out
        ratio = expected / self.target
        level = _level(looks) if ratio < _NEAR else None
        few = min(max(_FRESH, round(_SHARE * trained)), _MOST_FRESH)
        n = float(few)
        if level is not None and ratio < _HOPELESS:
            variation = looks[-1].estimate.variation if looks else _VARIATION
            n = min(_needed(ratio, variation, level), max(few, round(_COSTLY * trained)))
        return {"kind": "fresh", "samples": int(max(_FRESH, min(n, left))), "level": level}

    def stop(self, looks: Sequence[Look], hours: float, last: float) -> str:
        """Return why a run ends after the last look; empty if it goes on.

        Args:
            looks: All looks.
            hours: Hours spent.
            last: Hours of the last round.
        """
        if looks[-1].certifies(self.target):
            return "target"
        solves = self.budget.solves
        if solves is not None and solves - looks[-1].solves < _FRESH + 1:
            return "budget"
        if self.budget.hours is not None and hours + last > self.budget.hours:
            return "budget"
        endless = solves is None and self.budget.hours is None
        return "floor" if endless and self.projected(looks).hopeless else ""

    def projected(self, looks: Sequence[Look]) -> Projection:
        """Return how many solves the target seems to need, with those of a last look.

        From three rounds on, a learning curve with a floor is fitted (see
        `surrogates.training.planning.curve`); before, a power law with a usual slope.

        Args:
            looks: All looks.
        """
        rounds = {look.round: look for look in looks if look.estimate.value > 0}.values()
        other = looks[-1].solves - looks[-1].trained
        if len({look.trained for look in rounds}) < _CURVE:
            n = Curve.of(looks).samples(self.target) + other
            return Projection(low=n, middle=n, high=n)
        from surrogates.training.planning.curve import fit_curve

        deviations = [look.estimate.variation / math.sqrt(look.estimate.samples) for look in rounds]
        curve = fit_curve(
            np.array([float(look.trained) for look in rounds]),
            np.array([look.estimate.value for look in rounds]),
            np.array(deviations),
        )
        low, middle, high = (n + other for n in curve.samples_for(self.target))
        far = middle > _ENDLESS * looks[-1].solves or curve.reached(self.target) < _HOPE
        hopeless = len(rounds) > _CURVE and far
        floor = curve.floors()[1]
        return Projection(low=low, middle=middle, high=high, hopeless=hopeless, floor=floor)

    def next(self, looks: Sequence[Look], left: float) -> Any:
        """Decide on the next step: more fresh samples for this surrogate, or a new round.

        A surrogate whose error seems to be below the target is rather measured again than trained
        again, if the samples that would show it are fewer than a new round needs.

        Args:
            looks: All looks.
            left: Solves that the budget leaves.
        """
        look = looks[-1]
        n, ratio = look.trained, look.estimate.value / self.target
        pieces = sum(1 for one in looks if one.round == look.round)
        level = _level(looks)
        more = _needed(ratio, look.estimate.variation, level)
        if look.level is not None:
            more -= look.estimate.samples
        if pieces < _PIECES and more <= max(0.25 * n, _FRESH):
            samples = int(max(_FRESH, min(more, left)))
            alone = look.level is None
            return {"kind": "fresh", "samples": samples, "level": level, "alone": alone}
        wanted = Curve.of(looks).samples(_AIM * self.target)
        total = min(max(wanted, _GROWTH[0] * n), _GROWTH[1] * n)
        known = look.estimate.samples + look.estimate.failed
        new = max(total - n - known, 0.05 * n, 1)
        return {"kind": "design", "samples": int(min(math.ceil(new), left - _FRESH))}


def left(looks: Sequence[Look]) -> Look:
    """Return the last look at the surrogate that a run leaves: as a rule that of the last round.

    A training may fail where an earlier one did not. The surrogate of another round is left if its
    error was below the lower limit of the last one's, and only where the last does not end the run.
    (The estimate of the lowest of several is low by chance; among surrogates that are alike, the
    one with most samples is better than it looks.)
    """
    last = looks[-1]
    each = {look.round: look for look in looks}.values()
    best = min(each, key=lambda look: look.estimate.value)
    return best if best.estimate.value < last.estimate.lower else last


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Solves that a target seems to need.

    Attributes:
        low: Lower limit, 90 %; as ``middle`` while too little is known.
        middle: Middle.
        high: Upper limit; infinite if the target may be out of reach.
        hopeless: Whether it is out of reach, by the curve so far.
        floor: The error that more samples seem not to bring down; 0 while not known, and where the
            error falls without one, but too slowly.
    """

    low: float
    middle: float
    high: float
    hopeless: bool = False
    floor: float = 0.0


def shape(looks: Sequence[Look], round: int) -> float:
    """Return the mean `Estimate.shape` of the rounds before one; 0 if there are none."""
    each = {look.round: look.estimate for look in looks if look.round < round}.values()
    weights = sum(one.samples - 1 for one in each)
    return sum((one.samples - 1) * one.shape for one in each) / weights if weights else 0.0


def _level(looks: Sequence[Look]) -> float:
    """Return the level of the next look that may end the run."""
    j = 1 + sum(1 for look in looks if look.level is not None)
    return (1 - CONFIDENCE) / (j * (j + 1))


def _needed(ratio: float, variation: float, level: float) -> float:
    """Return the samples that show an error below the target; infinite if it is not.

    Args:
        ratio: The error over the target.
        variation: Standard deviation over mean of the samples' errors.
        level: Chance of a wrong stop.
    """
    from statistics import NormalDist

    if ratio >= 1:
        return math.inf
    if ratio <= 0:
        return 0.0
    quantile = NormalDist().inv_cdf(1 - level)
    spread = math.sqrt(math.log1p(variation**2))  # of the logarithm
    return math.ceil(3 + (quantile * max(spread, 0.1) / -math.log(ratio)) ** 2)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Error against training samples, a n^-b.

    Attributes:
        log_a: Logarithm of a.
        slope: b.
    """

    log_a: float
    slope: float

    @classmethod
    def of(cls, looks: Sequence[Look]) -> Curve:
        """Fit it to the last look of each round; a prior on the slope stands for further ones."""
        rounds = {look.round: look for look in looks}.values()
        x = np.array([math.log(look.trained) for look in rounds])
        y = np.array([math.log(max(look.estimate.value, 1e-300)) for look in rounds])
        spread = [look.estimate.variation / math.sqrt(look.estimate.samples) for look in rounds]
        weight = 1 / np.maximum(spread, 0.02) ** 2
        mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
        prior = 1 / _SLOPE_DEVIATION**2
        above = float((weight * (x - mean_x) * (mean_y - y)).sum()) + prior * _SLOPE
        slope = above / (float((weight * (x - mean_x) ** 2).sum()) + prior)
        return cls(log_a=float(mean_y + slope * mean_x), slope=slope)

    def error(self, n: float) -> float:
        """Return the error after n samples."""
        return math.exp(self.log_a - self.slope * math.log(n))

    def samples(self, error: float) -> float:
        """Return the samples that an error takes; infinite if it does not fall."""
        if self.slope < 0.02:
            return math.inf
        return math.exp(min((self.log_a - math.log(error)) / self.slope, 50.0))
