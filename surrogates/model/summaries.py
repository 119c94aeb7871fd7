"""Errors of a surrogate or classifier over some samples, as a file records them. Needs no torch.

`surrogates.model.metrics` and `surrogates.model.classifier` compute them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

LEVELS = (0.5, 0.9, 0.95)
"""Levels of the intervals whose coverage is measured."""


@dataclass(frozen=True, kw_only=True)
class ErrorSummary:
    """Mean, standard deviation and extremes of the samples' relative errors, dimensionless.

    Attributes:
        near_zero: Number of samples whose c (or dc/dy, for errors of dc/dy) is small beside that
            of the others. Their relative errors say little, and may dominate the mean.
    """

    mean: float
    std: float
    min: float
    max: float
    near_zero: int = 0

    @classmethod
    def of(cls, errors: Tensor, near_zero: int = 0) -> ErrorSummary:
        """Summarise errors, (n,) with n >= 1; the deviation is that of the whole population."""
        return cls(
            mean=float(errors.mean()),
            std=float(errors.std(correction=0)),
            min=float(errors.min()),
            max=float(errors.max()),
            near_zero=near_zero,
        )

    def __str__(self) -> str:
        """Return one line, in per cent."""
        return self.said()

    def said(self, of: str = "c") -> str:
        """Return one line, in per cent; ``of`` is what the errors are of."""
        if not math.isfinite(self.mean):
            return f"undefined, as a sample has {of} = 0"
        values = f"mean {self.mean:.3%}, std {self.std:.3%}, min {self.min:.3%}, max {self.max:.3%}"
        note = (
            f" (says little: {of} is near 0 in {self.near_zero} samples)" if self.near_zero else ""
        )
        return values.replace("%", " %") + note


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Errors of a surrogate over some samples.

    Attributes:
        samples: Number of samples.
        relative: Summary of ||prediction - c|| / ||c||.
        centred: Summary of ||prediction - c|| / ||c - mean||, with the mean of the training
            samples.
        output_rms: Root mean square error of each output, units of c.
        output_relative: ``output_rms`` over the root mean square of the output, dimensionless.
        output_spread: ``output_rms`` over the output's spread, which is its standard deviation on
            the training samples, dimensionless: 1 is as good as their mean. For an output that does
            not vary there, it is over the output's size.
        coverage: Share of all errors within the error bars' intervals, for each of `LEVELS`.
        jacobian: Summary of the relative errors of dc/dy, for each unit of the outputs; see
            `jacobian_errors`. Empty if the samples have no derivatives.
    """

    samples: int
    relative: ErrorSummary
    centred: ErrorSummary
    output_rms: tuple[float, ...]
    output_relative: tuple[float, ...]
    output_spread: tuple[float, ...] = ()
    coverage: tuple[float, ...] = ()
    jacobian: Mapping[str, ErrorSummary] = field(default_factory=dict)

    @property
    def by_unit(self) -> dict[str, str]:
        """One line on each summary in `jacobian`, by a title: dc/dy, with the unit if several."""
        several = len(self.jacobian) > 1
        return {
            "dc/dy" + (f" [{unit}]" if several else ""): summary.said("dc/dy")
            for unit, summary in self.jacobian.items()
        }

    def by_spread(self, names: Sequence[str]) -> str:
        """Return one line on `output_spread`; names are those of the outputs."""
        values = np.nan_to_num(np.array(self.output_spread))
        worst = int(values.argmax())
        if len(values) == 1:
            return f"{_share(float(values[0]))} ({names[0]})"
        median = float(np.median(values))
        return f"median {_share(median)}, worst {_share(float(values[worst]))} ({names[worst]})"


def _share(value: float) -> str:
    return f"{value:.2g}" if value < 1e-3 else f"{value:.4f}"


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Samples whose largest probability lies in one interval.

    Attributes:
        lower: Lower end of the interval, which belongs to it only in the first one.
        upper: Upper end of the interval, which belongs to it.
        samples: Number of samples.
        confidence: Mean of their largest probabilities; NaN without samples.
        accuracy: Mean of the true probabilities of the predicted classes; NaN without samples. If
            the truth is one-hot, it is the share that is classified rightly.
    """

    lower: float
    upper: float
    samples: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """Errors of a classifier on some samples, whose truth is the probability of each class.

    A sample counts for class k with the weight c_k, its true probability. As a rule the truth is
    one-hot, and the sums of these weights are numbers of samples. Otherwise no classifier has an
    accuracy above the mean of the largest c_k. A classifier that predicts the true probabilities is
    calibrated.

    Attributes:
        samples: Number of samples.
        accuracy: Mean of the true probabilities of the predicted classes: the share of the samples
            that is classified rightly.
        class_accuracy: The accuracy on the samples of each true class (recall), (n_classes,); NaN
            for a class without samples.
        confusion: Numbers of samples by true class (row) and predicted class (column), (n_classes,
            n_classes); integers if the truth is one-hot.
        cross_entropy: Mean of -sum_k c_k log p_k, in nats.
        brier: Mean of ||p - c||^2, from 0 to 2.
        calibration_error: Expected calibration error: mean of |accuracy - confidence| over the
            bins, weighted by their samples.
        reliability: The bins, `BINS` of equal width from 0 to 1.
    """

    samples: int
    accuracy: float
    class_accuracy: tuple[float, ...]
    confusion: tuple[tuple[float, ...], ...]
    cross_entropy: float
    brier: float
    calibration_error: float
    reliability: tuple[Bin, ...]
