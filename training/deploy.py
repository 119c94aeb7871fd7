"""From a training's result to the surrogate.

A surrogate of a regression has a domain and error bars; a classifier has a domain and the
temperature that calibrates its probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from surrogates.data import Dataset
from surrogates.model.classifier import Classifier
from surrogates.model.parts import Domain, Logs
from surrogates.model.radial import Joined
from surrogates.model.surrogate import Surrogate

from .features import CHUNK
from .fit import FitResult
from .member import Member
from .selection.bars import error_bars, members_of
from .selection.classes import Choice
from .selection.regression import Selection
from .slopes import DerivativeRows
from .temperature import temperature


def deployed(result: FitResult, dataset: Dataset, logs: Logs | None = None) -> Surrogate:
    """Make the surrogate of a training, a `Classifier` if the dataset's task is classification.

    Args:
        result: Result of `fit`.
        dataset: Its dataset; the training and validation samples are used.
        logs: Inputs and outputs whose logarithms the dataset holds.

    Returns:
        The surrogate with error bars, or calibrated on the validation samples by `temperature`.
    """
    if dataset.info.task == "classification":
        domain = Domain.of(dataset.part("train")[0])
        parts = (result.features, result.W, result.y_shift, result.y_scale, domain)
        bare = Classifier(*parts)
        Y, C = map(torch.from_numpy, dataset.part("validation"))
        logits = torch.cat([bare(piece) for piece in torch.split(Y, CHUNK)])
        return Classifier(*parts, temperature(logits, C))
    return assembled(alone(result, dataset), dataset, logs)


def assembled(selection: Selection, dataset: Dataset, logs: Logs | None = None) -> Surrogate:
    """Make the surrogate of a selection, with error bars.

    Args:
        selection: Result of `regression.choose`, or of `alone`.
        dataset: Its dataset.
        logs: Inputs and outputs whose logarithms the dataset holds.
    """
    seen = torch.from_numpy(dataset.Y[selection.train])
    domain = Domain.of(dataset.Y[selection.train])
    members = members_of(selection)
    first = selection.members[0]
    if members is None:
        parts = (first.features, first.W, first.y_shift, first.y_scale, domain)
    else:
        W = torch.cat([member.W[:, :-1] for member in selection.members], dim=1)
        W = torch.cat([W, W.new_zeros((len(W), 1))], dim=1)
        shift = torch.zeros_like(first.y_shift)
        parts = (_joined(selection.members), W, shift, shift + 1, domain)
    bare = Surrogate(*parts, members=members)
    held = torch.from_numpy(dataset.Y[selection.rows])
    used = selection.used
    along = None if used is None else DerivativeRows.of(dataset, selection.train, used.weight)
    C = torch.from_numpy(dataset.C[selection.train])
    bars = error_bars(selection, bare, held, seen, along, C=C)
    return Surrogate(*parts, bars, members=members, logs=logs)


def assembled_classes(choice: Choice, dataset: Dataset) -> Classifier:
    """Make the classifier of a choice, with the weighted mean of its members' logits.

    Args:
        choice: Result of `classes.choose`.
        dataset: Its dataset.
    """
    domain = Domain.of(dataset.Y[choice.train])
    first = choice.members[0]
    if len(choice.members) == 1:
        parts = (first.features, first.W, first.y_shift, first.y_scale, domain)
        return Classifier(*parts, choice.temperature)
    blocks = [member.weight * member.W for member in choice.members]
    bias = torch.stack([W[:, -1:] for W in blocks]).sum(dim=0)
    W = torch.cat([*(W[:, :-1] for W in blocks), bias], dim=1)
    shift = torch.zeros_like(first.y_shift)
    return Classifier(_joined(choice.members), W, shift, shift + 1, domain, choice.temperature)


def _joined(members: Sequence[Member]) -> Joined:
    return Joined(
        [member.features for member in members],
        torch.stack([member.y_shift for member in members]),
        torch.stack([member.y_scale for member in members]),
    )


def alone(result: FitResult, dataset: Dataset) -> Selection:
    """Make a selection of one training on the dataset's own parts, judged by validation."""
    rows = {name: dataset.rows_of(name) for name in ("train", "validation")}
    member = Member(
        features=result.features, y_shift=result.y_shift, y_scale=result.y_scale, W=result.W
    )
    Y, C = map(torch.from_numpy, dataset.part("validation"))
    return Selection(
        members=(member,),
        tried=(),
        rows=rows["validation"],
        residual=member.predict(Y) - C,
        variance=None,
        kriging=None,
        history=result.history,
        train=rows["train"],
        used=result.used,
    )
