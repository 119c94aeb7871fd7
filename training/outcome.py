"""A training's outcome: the surrogate, its held-out errors, and the report on them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from surrogates.data import PARTS, Dataset
from surrogates.model.classifier import Classifier, assess
from surrogates.model.held_out import held_out_errors
from surrogates.model.metrics import compared
from surrogates.model.summaries import Assessment, Evaluation
from surrogates.model.surrogate import Surrogate
from surrogates.types import Array

from .advice import data_warnings, mirror_warnings, poor_outputs, ridge_warning
from .config import TrainConfig
from .deploy import assembled_classes
from .fit import FitResult
from .history import Record
from .outer.multilevel import Reason
from .scaling import moments
from .selection import classes
from .selection.regression import Selection, Tried
from .selection.start import too_few
from .slopes import Used
from .weights import Start, checksums, packed

INTERRUPTED = Reason.INTERRUPTED.name.lower()
"""The reason, in the metadata, of a training that was told to stop before its end."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A surrogate and its training.

    Attributes:
        surrogate: The module.
        training: How it was trained, for the metadata of its file.
        errors: Errors on held-out samples, by the part's name.
        history: One record per iteration of one network; empty if none was trained.
        reason: Why training stopped, or what was chosen, in words.
        interrupted: Whether it was told to stop before its end: it is the best so far.
        tried: What a selection tried, the best first; empty where there was none.
        warnings: What a user should know, a line each.
        seconds: Wall time.
        weights: Part of the surrogate's file from which another training can start.
        kept: Whether a checkpoint holds the training's end.
    """

    surrogate: Surrogate
    training: dict[str, Any]
    errors: dict[str, Evaluation | Assessment]
    history: tuple[Record, ...]
    reason: str
    interrupted: bool
    tried: tuple[Tried, ...]
    warnings: tuple[str, ...]
    seconds: float
    weights: bytes = b""
    kept: bool = False


def where_there(selection: Selection, dataset: Dataset) -> Selection:
    """Replace the residuals of missing observables by NaN."""
    there = torch.isfinite(torch.from_numpy(dataset.C[selection.rows]))
    residual = torch.where(there, selection.residual, math.nan)
    return dataclasses.replace(selection, residual=residual)


def about(
    surrogate: Surrogate, result: FitResult, dataset: Dataset, settings: TrainConfig
) -> dict[str, Any]:
    """Return how a surrogate was trained by `fit`, for the metadata of its file."""
    used = dataset.part("train")[1]
    mean, spread = _centre(used)
    training = {
        "optimizer": settings.optimizer.name,
        "settings": settings,
        "effort": "fast",
        "reason": result.reason.name.lower(),
        "work_units": result.history[-1].work_units,
        "samples": len(used),
        "c_mean": mean,
        "c_std": spread,
    }
    if result.used is not None:
        training["derivatives"] = _about_derivatives(result.used)
    if isinstance(surrogate, Classifier):
        training["temperature"] = float(surrogate.temperature)
    return training


def _about_derivatives(used: Used) -> dict[str, Any]:
    """Return which derivatives a training has used, for the metadata of its file."""
    directions = "all" if used.whole else used.directions
    return {"directions": directions, "samples": used.samples, "weight": used.weight}


def _centre(C: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of each output, without missing entries."""
    columns = [torch.from_numpy(c[np.isfinite(c)])[:, None] for c in C.T]
    found = [moments(column)[:2] for column in columns]
    mean, spread = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
    return mean, spread


def told_selection(
    surrogate: Surrogate,
    selection: Selection,
    dataset: Dataset,
    learned: Dataset,
    settings: TrainConfig,
    effort: str,
    seconds: float,
) -> Trained:
    """Return the outcome of a choice for a regression.

    Args:
        surrogate: The surrogate that was assembled.
        selection: The choice.
        dataset: The samples.
        learned: The samples as they were learned: logarithms, and without missing observables.
        settings: Settings of the training.
        effort: Effort of the choice.
        seconds: Wall time.
    """
    mean, spread = _centre(dataset.C[selection.train])
    truth = torch.from_numpy(dataset.C[selection.rows])
    prediction = torch.from_numpy(learned.C[selection.rows]) + selection.residual.nan_to_num(0.0)
    if surrogate.logs is not None:
        prediction = torch.where(surrogate.logs.outputs, prediction.exp(), prediction)
    errors: dict[str, Evaluation | Assessment] = {
        "validation": compared(
            prediction, truth, mean=torch.from_numpy(mean), spread=torch.from_numpy(spread)
        )
    }
    if dataset.has("test"):
        errors["test"] = held_out_errors(surrogate, dataset, "test", mean, spread)
    training = {
        **_about_choice(selection, settings, effort, "held-out errors"),
        "c_mean": mean,
        "c_std": spread,
    }
    if selection.used is not None:
        training["derivatives"] = _about_derivatives(selection.used)
    warnings = [*data_warnings(dataset, "test"), *poor_outputs(errors, dataset)]
    ridges = [one for one in selection.tried if one.name.endswith("ridge")]
    if ridges and ridges[0].weight == 0 and ridges[0] is selection.tried[0]:
        warnings.append(ridge_warning(ridges[0].name, "held-out samples"))
    return Trained(
        surrogate=surrogate,
        training=training,
        errors=errors,
        history=selection.history,
        reason=training["chosen"],
        interrupted=selection.interrupted,
        tried=selection.tried,
        warnings=tuple(warnings),
        seconds=seconds,
    )


def _about_choice(
    found: Selection | classes.Choice, settings: TrainConfig, effort: str, by: str
) -> dict[str, Any]:
    chosen = [one for one in found.tried if one.weight > 0]
    return {
        "optimizer": settings.optimizer.name,
        "settings": settings,
        "effort": effort,
        "reason": INTERRUPTED if found.interrupted else f"chosen by {by}",
        "chosen": "; ".join(
            one.name + (f" ({one.weight:.0%})" if len(chosen) > 1 else "") for one in chosen
        ),
        "work_units": found.history[-1].work_units if found.history else 0,
        "samples": len(found.train),
        "members": len(found.members),
        "tried": [dataclasses.asdict(one) for one in found.tried],
    }


def told_choice(
    choice: classes.Choice, dataset: Dataset, settings: TrainConfig, effort: str, seconds: float
) -> Trained:
    """Return the outcome of a choice for classes; arguments as in `told_selection`."""
    surrogate = assembled_classes(choice, dataset)
    truth = torch.from_numpy(dataset.C[choice.rows])
    errors: dict[str, Evaluation | Assessment] = {
        "validation": assess(lambda logits: logits, choice.logits / choice.temperature, truth)
    }
    if dataset.has("test"):
        errors["test"] = held_out_errors(surrogate, dataset, "test")
    mean, spread = _centre(dataset.C[choice.train])
    training = {
        **_about_choice(choice, settings, effort, "held-out cross-entropies"),
        "c_mean": mean,
        "c_std": spread,
        "temperature": choice.temperature,
    }
    return Trained(
        surrogate=surrogate,
        training=training,
        errors=errors,
        history=choice.history,
        reason=training["chosen"],
        interrupted=choice.interrupted,
        tried=choice.tried,
        warnings=tuple(data_warnings(dataset, "test")),
        seconds=seconds,
    )


def told_fit(
    surrogate: Surrogate,
    result: FitResult,
    dataset: Dataset,
    settings: TrainConfig,
    seconds: float,
) -> Trained:
    """Return the outcome of the training of one network; arguments as in `told_selection`."""
    training = about(surrogate, result, dataset, settings)
    mean, spread = training["c_mean"], training["c_std"]
    parts = [name for name in PARTS[1:] if dataset.has(name)]
    errors = {name: held_out_errors(surrogate, dataset, name, mean, spread) for name in parts}
    warnings = data_warnings(dataset, "validation", "test")
    if dataset.info.task == "regression":
        warnings += poor_outputs(errors, dataset)
        warnings += mirror_warnings(dataset, errors)
    return Trained(
        surrogate=surrogate,
        training=training,
        errors=errors,
        history=result.history,
        reason=result.said,
        interrupted=result.reason is Reason.INTERRUPTED,
        tried=(),
        warnings=tuple(warnings),
        seconds=seconds,
        kept=result.kept,
    )


def kept(trained: Trained, selection: Selection, dataset: Dataset, start: Start | None) -> Trained:
    """Return an outcome with the weights that another training can start from.

    If this training started from another surrogate, the metadata name it.
    """
    error = selection.residual.square().nanmean(dim=0).sqrt()
    seen = checksums(dataset, selection.train)
    trained = dataclasses.replace(
        trained, weights=packed(selection.members, seen, error, before=start)
    )
    if start is None:
        return trained
    known = start.overlap(dataset)[0][selection.rows]
    path, n, warnings = start.surrogate.path, int(known.sum()), list(trained.warnings)
    if not trained.tried and n:
        warnings.append(
            f"{path} was trained on {n} of {len(known)} validation samples: errors and error bars "
            "from these are too small"
        )
    elif trained.tried and too_few(known):
        warnings.append(
            f"{path} was trained on all but {len(known) - n} samples, too few to judge it by: it "
            "was left out; --effort fast starts from its network"
        )
    return dataclasses.replace(
        trained, training={**trained.training, "from": start.digest}, warnings=tuple(warnings)
    )
