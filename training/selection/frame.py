"""The samples of a selection of regressions, and a candidate's residuals on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surrogates.data import Dataset
from surrogates.model.networks import FeatureExtractor

from ..config import TrainConfig
from ..data import Data
from ..history import Record
from ..member import Member
from ..scaling import groups_of, weights_of
from ..slopes import Used
from .folds import Fold, Rows, available, divided, ordered, repeated
from .kernel import Kriging

FOLDED = 2000
"""Largest number of samples that are divided into folds."""

_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A candidate with its scaled residuals on the held-out samples, (n_held, n_out).

    The residuals of a kernel whose scales come from all samples are too small; ``growth`` measures
    the factor when it is called.
    """

    name: str
    residual: Tensor
    members: Callable[[], Sequence[Member]]
    kriging: Kriging | None = None
    variance: Tensor | None = None
    history: tuple[Record, ...] = ()
    growth: Callable[[], float] | None = None
    used: Used | None = None

    @property
    def score(self) -> float:
        """The mean square of the residuals."""
        return float(self.residual.square().mean())

    @property
    def scores(self) -> Tensor:
        """The mean squares of each output, (n_out,)."""
        return self.residual.square().mean(dim=0)

    def grown(self) -> Candidate:
        """Return the candidate with its residuals times the factor."""
        if self.growth is None:
            return self
        return dataclasses.replace(self, residual=self.growth() * self.residual, growth=None)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The samples of a selection, in canonical order, standardised and scaled.

    Attributes:
        dataset: All samples.
        settings: Settings of the training.
        rows: Rows of the dataset, in the order of the arrays here.
        folds: Divisions, by rows of the dataset.
        same: Samples of one number are held out together, (n_rows,); each alone if None.
        closed: Whether ridge and rbf are judged by left-out residuals, and see all rows.
        data: Standardised inputs and scaled targets: ``rows`` in ``train``; unless ``closed``, the
            held-out samples of the one fold in ``validation``.
    """

    dataset: Dataset
    settings: TrainConfig
    rows: Rows
    folds: tuple[Fold, ...]
    same: Rows | None
    closed: bool
    data: Data

    @property
    def X(self) -> Tensor:
        """Standardised inputs of the rows, (n_rows, n_in)."""
        return self.data.train.Y

    @property
    def C(self) -> Tensor:
        """Scaled targets of the rows, (n_rows, n_seen)."""
        return self.data.train.C

    @property
    def held(self) -> Rows:
        """Rows that are held out."""
        return self.rows if self.closed else self.folds[0].held

    def scaled(self, residual: Tensor) -> Tensor:
        """Scale residuals from the units of c to those of training."""
        assert self.data.scaling is not None
        return residual / self.data.scaling.scale

    def residual(self, seen: Tensor) -> Tensor:
        """Turn left-out residuals, or predictions of held-out samples, into scaled residuals."""
        assert self.data.scaling is not None
        outputs = self.data.scaling.seen_to_all(seen)
        if self.closed:
            return outputs
        held = self.data.validation
        return outputs - (held.C if held.whole is None else held.whole)

    def member(self, features: FeatureExtractor, weights: Tensor) -> Member:
        """Make a member from weights for standardised inputs and scaled targets."""
        return Member(
            features=features,
            y_shift=self.data.y_shift,
            y_scale=self.data.y_scale,
            W=self.data.physical(weights),
        )


def framed(dataset: Dataset, settings: TrainConfig) -> Frame:
    """Order, divide and scale the samples."""
    used, held = available(dataset)
    closed = len(used) <= FOLDED
    rows = used if closed else np.setdiff1d(used, held)

    def scaled(rows: Rows, held: Rows) -> Data:
        arrays = [tuple(map(torch.from_numpy, (dataset.Y[r], dataset.C[r]))) for r in (rows, held)]
        return Data.of(
            (arrays[0][0], arrays[0][1]),
            (arrays[1][0], arrays[1][1]),
            groups=groups_of(settings.outputs.scaling, dataset.info.c_units),
            weights=weights_of(settings.outputs.weights, dataset.info.c_names),
        )

    first = scaled(rows, rows[:1])
    rows = rows[ordered(first.train.Y, first.train.C)]
    same = repeated(dataset.Y[rows])
    if closed:
        folds = divided(rows, _FOLDS, settings.seed, same)
    elif len(held):
        folds = (Fold(train=np.sort(rows), held=held),)
    else:  # no sample is for validation
        folds = divided(rows, 2 * _FOLDS, settings.seed, same)[:1]
        held = folds[0].held
        rows = rows[~np.isin(rows, held)]
    data = scaled(rows, rows[:1] if closed else held)
    return Frame(
        dataset=dataset,
        settings=settings,
        rows=rows,
        folds=folds,
        same=same if closed else None,
        closed=closed,
        data=data,
    )
