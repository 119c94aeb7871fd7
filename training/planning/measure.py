"""Held-out errors of trainings on nested subsets: the points of a learning curve.

The samples are divided into five folds, as a choice by held-out errors divides them
(`selection.folds`). Each fold is held out of trainings on nested subsets of the others: each
subset is a part of the next larger one. So the errors at different sizes differ by the sizes, and
neither by the samples that judge nor by entirely different draws, and the slope is sharper than its
points are.

Training chooses among candidates, and so does this, at a lower cost: the best kernel of the whole
set, whose scales are found again on each subset; the ridge regressions; and the best network of a
first round on one fold, on as many of the folds as the cost allows. They are weighed at each size
by held-out errors as in `selection.stacking`. A choice uses the mean of the networks of its folds.
Here one network is trained, and its residuals are multiplied by the factor that such a mean brings,
measured at the smallest size by the correlation of two networks' residuals.

Costs are estimated from sizes, not by clocks, and all results depend on the samples and the seed
alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogates.config import check, replaced
from surrogates.data import Dataset, Split
from surrogates.types import Array

from ..config import TrainConfig
from ..pool import Task
from ..selection.contest import SHARE, trained
from ..selection.effort import Asked
from ..selection.folds import Fold, Rows, divided
from ..selection.frame import Frame, framed
from ..selection.kernel import Fit, solve
from ..selection.likelihood import search
from ..selection.regression_candidates import kernels, ridges
from ..selection.ridge import ridge
from ..selection.squares import Squares
from ..selection.stacking import chosen

FEWEST = 40
"""Least number of samples for training and validation of a learning curve."""

_FOLDS = 5
_SIZES = (0.35, 0.46, 0.6, 0.77, 1.0)  # of the samples outside a fold
_LEAST = 10  # samples of the smallest subset
_TRIED = 5  # networks of the first round, before variants of the best
_BUDGET = 90.0  # estimated seconds of one core for the networks' curve
_HOPELESS = 3.0  # times the kernel's error: networks beyond it are left out
_STEPS = 40  # of a search for scales that starts at those of all samples
_ANEW = 100  # samples below which a search also starts anew
_MEMBERS = 5  # networks in a choice's mean


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Held-out residuals at each size, on the folds that were used.

    Attributes:
        sizes: Samples for training and validation of each training, (k,).
        rows: Rows of the dataset that were held out, of each fold.
        residual: Prediction less c for each size and fold, (n_held, n_out), units of c.
        candidates: The candidates in words, with their mean weight at the largest size.
        network: The settings of the network among them; None if none is.
    """

    sizes: Array
    rows: tuple[Rows, ...]
    residual: tuple[tuple[Array, ...], ...]
    candidates: tuple[str, ...]
    network: TrainConfig | None = None


@dataclass(frozen=True, kw_only=True)
class Subsets:
    """The divisions of a dataset for learning curves.

    Attributes:
        dataset: All samples.
        frame: The samples of training, ordered, divided and scaled.
        asked: Settings, and what runs tasks.
        sizes: Sizes of the subsets, (k,).
        folds: The largest subset of each fold in the order of nesting, and what is held out.
        told: Called with the trainings done, their number and a note; None for nobody.
    """

    dataset: Dataset
    frame: Frame
    asked: Asked
    sizes: Array
    folds: tuple[Fold, ...]
    told: Callable[[int, int, str], None] | None = None

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        asked: Asked,
        told: Callable[[int, int, str], None] | None = None,
    ) -> Subsets:
        """Divide the samples of training and validation.

        Raises:
            InputError: If there are too few.
        """
        frame = framed(dataset, asked.settings)
        n = len(frame.rows)
        check(
            n >= FEWEST,
            f"a learning curve needs at least {FEWEST} samples for training and validation; "
            f"got {n}",
        )
        seed = asked.settings.seed
        found = frame.folds if frame.closed else divided(frame.rows, _FOLDS, seed)
        folds = []
        for k, fold in enumerate(found):
            order = np.random.default_rng((seed, k)).permutation(fold.train)
            folds.append(Fold(train=order, held=fold.held))
        largest = min(len(fold.train) for fold in folds)
        sizes = np.unique([max(_LEAST, round(share * largest)) for share in _SIZES])
        return cls(
            dataset=dataset,
            frame=frame,
            asked=asked,
            sizes=sizes.astype(float),
            folds=tuple(folds),
            told=told,
        )

    def part(self, fold: int, size: float) -> Fold:
        """Return a nested subset of a fold and the held-out samples."""
        one = self.folds[fold]
        return Fold(train=one.train[: int(size)], held=one.held)

    def curve(
        self, function: Callable[..., Array], folds: Sequence[int], note: str, **arguments: object
    ) -> list[list[Array]]:
        """Run a task for each size and fold; return the residuals by size, then by fold."""
        pairs = [(size, fold) for size in self.sizes for fold in folds]
        found = self.run(
            function, [{"fold": self.part(fold, size), **arguments} for size, fold in pairs], note
        )
        step = len(folds)
        return [found[i : i + step] for i in range(0, len(found), step)]

    def run(
        self, function: Callable[..., Array], each: Sequence[dict[str, object]], note: str
    ) -> list[Array]:
        """Run a task with each of several arguments, beside the dataset; return their results."""
        tasks = [
            Task(function=function, arguments={"dataset": self.dataset, **one}) for one in each
        ]
        found: dict[int, Array] = {}
        for number, result in self.asked.each(tasks):
            found[number] = result
            if self.told is not None:
                self.told(len(found), len(tasks), f", {note}")
        return [found[i] for i in range(len(tasks))]


def measured(subsets: Subsets, effort: str) -> Measured:
    """Train on nested subsets.

    Args:
        subsets: The divisions.
        effort: ``fast`` for one network with the settings, else a choice among candidates.
    """
    asked = subsets.asked
    kind, given = asked.settings.network.kind, "network.kind" in asked.given
    if effort == "fast" and kind != "rbf":
        folds = _affordable(subsets, asked.settings)
        found = subsets.curve(by_network, folds, "network", settings=asked.settings)
        return _alone(subsets, folds, found, _judge(subsets).name(asked.settings), asked.settings)
    everything = range(len(subsets.folds))
    candidates: dict[str, list[list[Array]]] = {}
    if not given or kind == "rbf":
        best = kernels(subsets.frame, asked, apart=False)[0]
        assert best.kriging is not None
        candidates[best.name] = subsets.curve(
            by_kernel, everything, best.name, fit=best.kriging.fit
        )
    if not given:
        for one in ridges(subsets.frame):
            degree = 2 if one.name.startswith("quadratic") else 1
            candidates[one.name] = subsets.curve(by_ridge, everything, one.name, degree=degree)
    settings = None if given and kind == "rbf" else _first_round(subsets, candidates)
    if settings is None:
        return _joined(subsets, list(everything), candidates, None)
    folds = _affordable(subsets, settings)
    networks = subsets.curve(by_network, folds, "network", settings=settings)
    factor = _averaged(subsets, settings, folds, networks[0])
    candidates = {name: [[row[f] for f in folds] for row in c] for name, c in candidates.items()}
    name = _judge(subsets).name(settings)
    candidates[name] = [[factor * residual for residual in row] for row in networks]
    return _joined(subsets, folds, candidates, settings)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Residuals of the network and of a changed one, trained and judged on the same samples.

    Attributes:
        change: The change in words.
        size: Samples of a training.
        rows: Rows of the dataset that were held out.
        before: Prediction less c of the network, (n_held, n_out), units of c.
        after: The same of the changed one.
    """

    change: str
    size: int
    rows: Rows
    before: Array
    after: Array


def compared(subsets: Subsets, found: Measured) -> list[Compared]:
    """Compare the network with a wider one, and one that sees no derivatives if there are some.

    They are trained at the middle size on two folds; what costs too much is left out.
    """
    network = found.network
    if network is None:
        return []
    judge = _judge(subsets)
    width = network.network.width
    broad = -(-3 * width // 2)
    changes: dict[str, dict[str, Any]] = {
        f"a network of width {broad} instead of {width}": {"network.width": broad},
        "the values alone, without derivatives": {"derivatives.weight": 0.0},
    }
    if not judge.directions:
        changes.popitem()
    size, n_in = subsets.sizes[len(subsets.sizes) // 2], subsets.dataset.Y.shape[1]
    costs = {
        change: judge.seconds(replaced(network, keys), int(0.8 * size), n_in)
        for change, keys in changes.items()
    }
    kept = [change for change, cost in costs.items() if 2 * cost <= _BUDGET / 3]
    if not kept:
        return []
    settings = [network, *(replaced(network, changes[change]) for change in kept)]
    folds = (0, 1)
    each = [{"settings": one, "fold": subsets.part(f, size)} for one in settings for f in folds]
    residual = subsets.run(by_network, each, "changed networks")
    pairs = [np.concatenate(residual[i : i + 2]) for i in range(0, len(residual), 2)]
    rows = np.concatenate([subsets.folds[fold].held for fold in folds])
    return [
        Compared(change=change, size=int(size), rows=rows, before=pairs[0], after=after)
        for change, after in zip(kept, pairs[1:], strict=True)
    ]


def _joined(
    subsets: Subsets,
    folds: Sequence[int],
    candidates: dict[str, list[list[Array]]],
    network: TrainConfig | None,
) -> Measured:
    """Weigh the candidates at each size by their held-out residuals."""
    assert subsets.frame.data.scaling is not None
    scale = subsets.frame.data.scaling.scale
    residual, weights = [], np.zeros(len(candidates))
    for k in range(len(subsets.sizes)):
        parts = [torch.from_numpy(np.concatenate(found[k])) for found in candidates.values()]
        sound = [bool(torch.isfinite(part).all()) for part in parts]
        kept = [part for part, good in zip(parts, sound, strict=True) if good]
        check(bool(kept), f"no candidate could be fitted on {subsets.sizes[k]:.0f} samples")
        shares = chosen([part / scale for part in kept])
        mean = sum(torch.from_numpy(w) * part for w, part in zip(shares, kept, strict=True))
        assert isinstance(mean, Tensor)
        lengths = [len(subsets.folds[f].held) for f in folds]
        residual.append(tuple(np.split(mean.numpy(), np.cumsum(lengths)[:-1])))
        weights = np.zeros(len(candidates))
        weights[sound] = shares.mean(axis=1)
    said = [
        f"{name} ({weight:.0%})"
        for name, weight in sorted(zip(candidates, weights, strict=True), key=lambda p: -p[1])
        if weight > 0
    ]
    return Measured(
        sizes=subsets.sizes,
        rows=tuple(subsets.folds[f].held for f in folds),
        residual=tuple(residual),
        candidates=tuple(said),
        network=network,
    )


def _alone(
    subsets: Subsets,
    folds: Sequence[int],
    found: list[list[Array]],
    name: str,
    network: TrainConfig | None,
) -> Measured:
    """Return the residuals of one candidate."""
    return _joined(subsets, folds, {name: found}, network)


def _judge(subsets: Subsets) -> Squares:
    """Return the judge of networks, which lists and names settings."""
    frame = subsets.frame
    assert frame.data.scaling is not None
    derivatives = None
    if subsets.asked.settings.derivatives.weight != 0:
        derivatives = subsets.dataset.derivatives(frame.rows)
    directions = 0.0 if derivatives is None else float(derivatives.there.sum()) / len(frame.rows)
    n_seen = min(int(frame.C.shape[1] * (1 + directions)), subsets.dataset.C.shape[1])
    return Squares(scale=frame.data.scaling.scale, n_seen=n_seen, directions=directions)


def _affordable(subsets: Subsets, settings: TrainConfig) -> list[int]:
    """Return the folds on which a network's curve is measured: two at least."""
    judge, n_in = _judge(subsets), subsets.dataset.Y.shape[1]
    cost = sum(judge.seconds(settings, int(0.8 * size), n_in) for size in subsets.sizes)
    return list(range(min(len(subsets.folds), max(2, int(_BUDGET / cost)))))


def _first_round(subsets: Subsets, others: dict[str, list[list[Array]]]) -> TrainConfig | None:
    """Return the best settings of networks; None if they are far worse than the others."""
    judge, asked = _judge(subsets), subsets.asked
    at = len(subsets.sizes) // 2
    settings: list[TrainConfig] = []
    for choice in judge.networks[:_TRIED]:
        free = {key: value for key, value in choice.items() if key not in asked.given}
        if (one := replaced(asked.settings, free)) not in settings:
            settings.append(one)

    def scores(some: Sequence[TrainConfig]) -> list[float]:
        short = [
            replaced(one, {"stopping.work_units": int(SHARE * one.stopping.work_units)})
            for one in some
        ]
        fold = subsets.part(0, subsets.sizes[at])
        each = [{"fold": fold, "settings": one} for one in short]
        found = subsets.run(by_network, each, "networks, first round")
        return [_size(subsets, residual) for residual in found]

    found = dict(zip(settings, scores(settings), strict=True)) if len(settings) > 1 else {}
    best = min(found, key=found.__getitem__) if found else settings[0]
    variants = [
        replaced(best, change) for change in judge.variants if not change.keys() & asked.given
    ]
    n_in = subsets.dataset.Y.shape[1]
    variants = [
        one
        for one in variants
        if not one.network.linear or 2 * (one.network.width + n_in) < subsets.sizes[0]
    ]
    more = [one for one in variants if one not in found] + ([] if found else [best])
    found |= dict(zip(more, scores(more), strict=True))
    best = min(found, key=found.__getitem__)
    least = min((_size(subsets, c[at][0]) for c in others.values()), default=math.inf)
    return best if found[best] <= _HOPELESS * least else None


def _size(subsets: Subsets, residual: Array) -> float:
    """Return the root mean square of residuals over the outputs' scales; infinite if undefined."""
    assert subsets.frame.data.scaling is not None
    value = float(np.sqrt(np.square(residual / subsets.frame.data.scaling.scale.numpy()).mean()))
    return value if math.isfinite(value) else math.inf


def _averaged(
    subsets: Subsets, settings: TrainConfig, folds: Sequence[int], first: Sequence[Array]
) -> float:
    """Return the factor on the error of one network that the mean of a choice's networks brings."""
    size = subsets.sizes[0]
    each = [{"settings": settings, "inner": 1, "fold": subsets.part(f, size)} for f in folds]
    second = subsets.run(by_network, each, "network")
    assert subsets.frame.data.scaling is not None
    scale = subsets.frame.data.scaling.scale.numpy()
    a, b = (np.concatenate(list(residual)) / scale for residual in (first, second))
    alike = 2 * float((a * b).sum()) / max(float((a * a).sum() + (b * b).sum()), 1e-300)
    alike = min(max(alike, 0.0), 1.0) if math.isfinite(alike) else 1.0
    return math.sqrt(alike + (1 - alike) / _MEMBERS)


def _subset(dataset: Dataset, rows: Rows) -> Dataset:
    """Return the dataset with some rows for training and no others."""
    split = np.full(len(dataset.Y), Split.UNUSED, np.uint8)
    split[rows] = Split.TRAIN
    return dataclasses.replace(dataset, split=split)


def by_network(dataset: Dataset, settings: TrainConfig, fold: Fold, inner: int = 0) -> Array:
    """Train a network on a subset, a fifth of which stops it: a task.

    Args:
        dataset: All samples.
        settings: Of the network.
        fold: The subset, and the held-out rows.
        inner: Which fifth stops the training.

    Returns:
        Prediction less c at the held-out rows, (n_held, n_out), units of c.
    """
    stops = fold.train[inner::_FOLDS]
    kept = np.setdiff1d(fold.train, stops)
    found = trained(dataset, settings, Fold(train=kept, held=np.sort(stops)))
    predicted = found.predict(torch.from_numpy(dataset.Y[fold.held]))
    residual: Array = predicted.numpy() - dataset.C[fold.held]
    return residual


def by_kernel(dataset: Dataset, fit: Fit, fold: Fold, steps: int = _STEPS) -> Array:
    """Find the scales of a kernel again on a subset, and solve: a task; see `by_network`."""
    frame = framed(_subset(dataset, fold.train), TrainConfig())
    n, n_in = frame.X.shape
    form = fit.form
    while form.degree and form.size(n_in) > n / 2:  # as training leaves such trends out
        form = dataclasses.replace(form, degree=form.degree - 1)
    found = search(frame.X, frame.C, form, fit, steps, anew=n < _ANEW)
    kriging = solve(frame.X, frame.C, found)
    if kriging is None:
        return np.full((len(fold.held), dataset.C.shape[1]), np.nan)
    return _apart(frame, dataset, fold, kriging.predict)


def by_ridge(dataset: Dataset, degree: int, fold: Fold) -> Array:
    """Fit a ridge regression on a subset: a task; see `by_network`."""
    frame = framed(_subset(dataset, fold.train), TrainConfig())
    return _apart(frame, dataset, fold, ridge(frame.X, frame.C, degree).predict)


def _apart(frame: Frame, dataset: Dataset, fold: Fold, predict: object) -> Array:
    """Return the residuals of a prediction of scaled outputs from standardised inputs."""
    assert frame.data.scaling is not None and callable(predict)
    X = (torch.from_numpy(dataset.Y[fold.held]) - frame.data.y_shift) / frame.data.y_scale
    scaling = frame.data.scaling
    found = scaling.seen_to_all(predict(X)) * scaling.scale + scaling.shift
    residual: Array = found.numpy() - dataset.C[fold.held]
    return residual
