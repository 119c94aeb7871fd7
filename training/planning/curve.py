r"""A learning curve: the error of a surrogate against its number of samples, with its floor.

    e(n) = f + (e_1 - f) (n / n_1)^-b

n_1 is the largest measured number. Floor f >= 0, level e_1 and slope b have a posterior on a grid,
since few noisy points do not determine them: the intervals below are quantiles of what the points
leave possible, not of a linearised fit. Errors are compared on the log scale.

Real curves are no power laws. The slope is taken to wander with log n as a Brownian motion, whose
deviation over a factor e in n is one of `_WANDERS`, in shares of the slope. Points far below n_1
then count less for the slope at n_1, and an interval widens with the distance that it extrapolates
over, as the 1.5th power of log n. The points themselves tell how much it wanders: a curve that has
just bent may bend again, and its interval is wide. The priors were chosen on functions of
``scripts/suite_sets.py``, not on the problems that the documentation reports (see
``scripts/benchmark_plan.py``).

The model is that of Viering and Loog 2023, "The shape of learning curves: a review".
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from surrogates.config import check
from surrogates.types import Array

LEVEL = 0.9
"""Probability of the intervals, as far as the design sets tell (see `_TAIL`)."""

FEWEST = 3
"""Least number of points of a curve."""

_SLOPE = (math.log(0.6), 0.8)  # mean and deviation of the slope's logarithm
_SLOPES = np.exp(np.linspace(math.log(0.03), math.log(6.0), 48))
_FLOORS = np.concatenate([[0.0], np.exp(np.linspace(math.log(0.01), math.log(0.99), 24))])
_NO_FLOOR = 0.8  # prior probability
_WANDERS = {0.1: 0.6, 0.4: 0.4}  # with their prior probabilities
_LEVELS = np.linspace(-3.5, 3.5, 21)  # in deviations about the last points' mean
_LEAST = 0.01  # least deviation of a point's logarithm
_TAIL = (
    0.03  # probability beyond each end: the ends at 5 % held 80 % on the design sets, these 86 %
)
_KEPT = 1e-4  # least weight, over the largest, of a point of the grid
_LUCKY = 1.0  # largest deviation of log n by one training's luck
_NODES, _FEW = (np.array([NormalDist().inv_cdf((i + 0.5) / k) for i in range(k)]) for k in (15, 7))


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The possible laws of a learning curve, with their probabilities.

    Attributes:
        n: Numbers of samples that were measured, (k,), ascending.
        errors: Errors there, (k,).
        covariance: Of the errors' logarithms, (k, k).
        level: Error at the largest n, for each law, (m,).
        slope: Slope b, (m,).
        floor: Floor f, units of the errors, (m,).
        wander: Deviation of the slope over a factor e in n, in shares of it, (m,).
        weight: Probabilities of the laws, (m,), of sum one.
        scatter: Standard deviation of the logarithm of one more training's error.
    """

    n: Array
    errors: Array
    covariance: Array
    level: Array
    slope: Array
    floor: Array
    wander: Array
    weight: Array
    scatter: float

    @property
    def deviations(self) -> Array:
        """Standard deviations of the errors' logarithms, (k,)."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    def samples_for(self, target: float) -> tuple[float, float, float]:
        """Return how many samples a training needs for an error: low, median and high.

        The ends are those of an interval of 90 %. One is infinite where too many laws never reach
        the error.

        Raises:
            InputError: If the target is not positive.
        """
        check(target > 0, f"the target must be a positive error; got {target:g}")
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            share = (target - self.floor) / (self.level - self.floor)
            far = np.where(share > 0, -np.log(share) / self.slope, np.inf)
            local = np.maximum(self.slope * (1 - self.floor / target), 1e-3)
            lucky = np.minimum(self.scatter / local, _LUCKY)
        # A slope that wanders by a factor divides the distance by it: far never becomes near.
        drift = np.where(np.isfinite(far), _wandered(self.wander, far), 0.0)
        logs = np.where(far > 0, far, 0.0)[:, None] * np.exp(drift[:, None] * _NODES)
        logs = logs + np.where(far > 0, 0.0, far)[:, None]
        logs = logs[:, :, None] + lucky[:, None, None] * _FEW
        size = logs[0].size
        weights = np.repeat(self.weight / size, size)
        found = _quantiles(logs.ravel(), weights)
        low, middle, high = (
            float(self.n[-1]) * math.exp(x) if x < 500 else math.inf for x in found
        )
        return low, middle, high

    def scaled(self, factor: float) -> Curve:
        """Return the curve with all errors times a factor."""
        return dataclasses.replace(
            self,
            errors=factor * self.errors,
            level=factor * self.level,
            floor=factor * self.floor,
        )

    def reached(self, target: float) -> float:
        """Return the probability that the floor is below a target."""
        return float(self.weight[self.floor < target].sum())

    def errors_at(self, n: float) -> tuple[float, float, float]:
        """Return the mean error of trainings with n samples: low, median and high."""
        t = math.log(n / float(self.n[-1]))
        drift = np.exp(_wandered(self.wander, np.array(t))[:, None] * _NODES)
        above = (self.level - self.floor)[:, None] * np.exp(-(self.slope * t)[:, None] * drift)
        values = np.log(self.floor[:, None] + above)
        weights = np.repeat(self.weight[:, None] / len(_NODES), len(_NODES), axis=1)
        low, middle, high = np.exp(_quantiles(values.ravel(), weights.ravel())).tolist()
        return low, middle, high

    def floors(self) -> tuple[float, float, float]:
        """Return the floor: low, median and high."""
        low, middle, high = _quantiles(self.floor, self.weight)
        return low, middle, high

    def slopes(self) -> tuple[float, float, float]:
        """Return the slope of the part above the floor: low, median and high."""
        low, middle, high = _quantiles(self.slope, self.weight)
        return low, middle, high


def fit_curve(n: Array, errors: Array, deviations: Array, scatter: float = 0.0) -> Curve:
    """Find the laws that a few measured errors leave possible.

    Args:
        n: Numbers of samples, (k,), k >= 3, different and positive.
        errors: Errors, (k,), positive, in any unit.
        deviations: Standard deviations of the errors' logarithms, (k,), or their covariance,
            (k, k): errors of nested subsets, judged on the same samples, are correlated.
        scatter: Standard deviation of the logarithm of one more training's error about the mean
            over trainings; it widens the interval of samples, which one training will need.

    Raises:
        InputError: If there are fewer than three points, or values are out of range.
    """
    n, errors, deviations = (np.asarray(values, np.float64) for values in (n, errors, deviations))
    k = len(n)
    check(k >= FEWEST, f"a learning curve needs {FEWEST} numbers of samples at least; got {k}")
    check(
        errors.shape == (k,) and deviations.shape in ((k,), (k, k)),
        f"expected {k} errors and their deviations; got {errors.shape} and {deviations.shape}",
    )
    sound = bool(np.isfinite(errors).all() and (errors > 0).all() and (n > 0).all())
    check(sound, "errors and numbers of samples of a learning curve must be positive")
    check(len(np.unique(n)) == k, "the numbers of samples of a learning curve must differ")
    order = np.argsort(n)
    covariance = np.diag(deviations**2) if deviations.ndim == 1 else deviations
    covariance = covariance[np.ix_(order, order)] + _LEAST**2 * np.eye(k)
    return _posterior(n[order], errors[order], covariance, scatter)


def _posterior(n: Array, errors: Array, covariance: Array, scatter: float) -> Curve:
    """Weigh the laws of the grid; arguments as in `fit_curve`, in ascending order."""
    t, logs = np.log(n / n[-1]), np.log(errors)
    back = np.minimum(-t[:, None], -t), np.maximum(-t[:, None], -t)
    motion = back[0] ** 2 * (3 * back[1] - back[0]) / 6  # covariance of an integrated motion
    centre, width = logs[-1], math.sqrt(covariance[-1, -1]) + 0.05
    heights = (centre + width * _LEVELS)[:, None]
    level = np.exp(heights[:, 0])
    found = []
    for wander, b in itertools.product(_WANDERS, _SLOPES):
        precision = np.linalg.inv(covariance + (wander * b) ** 2 * motion)
        sign = 0.5 * float(np.linalg.slogdet(precision)[1])
        prior = math.log(_WANDERS[wander]) - 0.5 * ((math.log(b) - _SLOPE[0]) / _SLOPE[1]) ** 2
        above = np.exp(-b * t)
        law = np.log(_FLOORS[:, None] + (1 - _FLOORS[:, None]) * above)  # over the level
        # The misfit of logs - law - log level is a parabola in the log of the level.
        rest = logs - law
        pulled = rest @ precision
        square, linear, own = (pulled * rest).sum(axis=1), pulled.sum(axis=1), precision.sum()
        misfit = 0.5 * (square - 2 * heights * linear + own * heights**2)
        found.append(sign + prior - misfit)
    log = np.stack(found)  # (wander and slope, level, floor)
    share = np.full(len(_FLOORS), (1 - _NO_FLOOR) / (len(_FLOORS) - 1))
    share[0] = _NO_FLOOR
    log = log + np.log(share)
    weight = np.exp(log - log.max())
    i, j, k = np.nonzero(weight > _KEPT)
    kept = weight[i, j, k]
    return Curve(
        n=n,
        errors=errors,
        covariance=covariance,
        level=level[j],
        slope=_SLOPES[i % len(_SLOPES)],
        floor=_FLOORS[k] * level[j],
        wander=np.array(list(_WANDERS))[i // len(_SLOPES)],
        weight=kept / kept.sum(),
        scatter=scatter,
    )


def _wandered(wander: Array, far: Array) -> Array:
    """Return the deviation of the logarithm of the mean slope over a distance in log n.

    It is that of the mean of a Brownian motion. Between measured points it is left out: their own
    deviations are larger.
    """
    return np.asarray(wander * np.sqrt(np.maximum(far, 0.0) / 3))


def _quantiles(values: Array, weights: Array) -> list[float]:
    """Return the ends of an interval and the median of weighted values."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    wanted = np.array([_TAIL, 0.5, 1 - _TAIL]) * total[-1]
    at = np.minimum(np.searchsorted(total, wanted), len(order) - 1)
    return [float(x) for x in values[order][at]]
