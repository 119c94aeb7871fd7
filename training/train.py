"""From a dataset to a surrogate and what is to be said of it: what ``surrogates train`` does."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogates.config import check, unknown
from surrogates.data.dataset import PARTS, Array, Dataset, Split, Status
from surrogates.data.inspection import outliers
from surrogates.errors import InputError
from surrogates.model.classifier import Assessment, Classifier, assess
from surrogates.model.metrics import Evaluation, compared, evaluate
from surrogates.model.surrogate import Logs, Surrogate

from .communicator import Communicator
from .completion import completed
from .config import DEFAULTS, TrainConfig
from .deploy import alone, assembled, assembled_classes, deployed
from .fit import FitResult, fit
from .history import Record
from .outer.multilevel import Reason
from .scaling import moments
from .selection import classes
from .selection.effort import EFFORTS
from .selection.folds import fresh
from .selection.regression import Selection, Tried, choose
from .selection.ridge import ridge
from .selection.start import candidates, too_few
from .weights import Start, checksums, packed

POOR = 0.5
"""Error of an output over its spread from which it is warned of."""

_SHOWN = 5  # names or numbers in a warning


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A surrogate and what is known of it.

    Attributes:
        surrogate: The module.
        training: How it was trained, for the metadata of its file.
        errors: On held-out samples, by the part's name.
        history: One record per iteration of one network; empty if none was trained.
        reason: Why training stopped, or what was chosen, in words.
        interrupted: Whether it was told to stop before its end.
        tried: What a selection tried, the best first; empty where there was none.
        warnings: What a user should know, a line each.
        seconds: Wall time.
        weights: What its file needs so that another training can start from it.
        kept: Whether a checkpoint holds its end.
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


def train(
    dataset: Dataset,
    settings: TrainConfig | None = None,
    *,
    given: frozenset[str] = frozenset(),
    effort: str = "default",
    logs: Logs | None = None,
    start: Start | None = None,
    processes: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    stop: Callable[[], bool] | None = None,
    on_iteration: Callable[[Record], None] | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
    comm: Communicator | None = None,
) -> Trained:
    """Train a surrogate, with settings chosen from the data.

    Args:
        dataset: Needs at least 3 samples for training and validation.
        settings: Of the training; the task's defaults if None.
        given: Keys of settings that are fixed, such as ``network.width``; the others are chosen,
            unless ``effort`` is fast.
        effort: ``fast``, one training with ``settings``; ``default``, what `selection.choose`
            finds in about a minute for 400 samples on two cores, for classes `classes.choose`;
            or ``high``, in ten times that. Optimizers other than GNvpro, and several processes of
            ``comm``, are fast.
        logs: Inputs and outputs to learn the logarithms of; see `logs_of`.
        start: A surrogate of the same inputs and outputs to start from. A fast training has its
            network, and theta_ref and W_ref are its weights; a selection tries what `start` says
            as well. That of classes is fast.
        processes: Of a selection; one for each core if None.
        checkpoint: Of a fast training, see `fit`.
        resume: Go on from the checkpoint.
        stop: Asked now and then whether to stop.
        on_iteration: Called after each iteration of a fast training.
        on_progress: Called after each training of a selection.
        comm: The processes that the samples are divided over.

    Raises:
        InputError: If the dataset, the settings, the checkpoint or ``start`` do not do.
        Interrupted: If ``stop`` ended a selection.
    """
    check(effort in EFFORTS, unknown(f"effort {effort!r}", effort, EFFORTS))
    settings = settings or DEFAULTS[dataset.info.task]
    clock = time.perf_counter()
    if start is not None:
        start.check(dataset, logs)
    learned = completed(dataset if logs is None else logarithms(dataset, logs))
    of_classes = dataset.info.task == "classification"
    alone_here = comm is None or comm.size == 1
    if chooses(dataset, settings, effort) and alone_here and not (start and of_classes):
        asked: dict[str, Any] = {
            "given": given,
            "effort": "default" if effort == "fast" else effort,
            "processes": processes,
            "stop": stop,
            "on_progress": on_progress,
        }
        if of_classes:
            choice = classes.choose(learned, settings, **asked)
            return _told_choice(choice, dataset, settings, effort, clock)
        more = None if start is None else functools.partial(candidates, start, dataset)
        selection = _where_there(choose(learned, settings, **asked, more=more), dataset)
        surrogate = assembled(selection, learned, logs)
        found = _told_selection(
            surrogate, selection, dataset, learned, settings, effort, time.perf_counter() - clock
        )
        return _kept(found, selection, dataset, start)
    network = None
    if start is not None:
        network, settings = start.network(settings, given)
    result = fit(
        learned,
        settings,
        start=network,
        checkpoint=checkpoint,
        resume=resume,
        on_iteration=on_iteration,
        stop=stop,
        comm=comm,
    )
    surrogate = deployed(result, learned, logs)
    found = _told_fit(surrogate, result, dataset, settings, time.perf_counter() - clock)
    return _kept(found, alone(result, learned), dataset, start)


def _where_there(selection: Selection, dataset: Dataset) -> Selection:
    """Leave the residuals of missing observables out."""
    there = torch.isfinite(torch.from_numpy(dataset.C[selection.rows]))
    residual = torch.where(there, selection.residual, math.nan)
    return dataclasses.replace(selection, residual=residual)


def chooses(dataset: Dataset, settings: TrainConfig, effort: str) -> bool:
    """Tell whether there is a choice: by GNvpro on a CPU there is.

    Radial basis functions have no other training.
    """
    return (
        (effort != "fast" or settings.network.kind == "rbf")
        and settings.optimizer.name == "gnvpro"
        and settings.device == "cpu"
        and settings.regularisation.penalty == "tikhonov"
        and settings.network.levels == 1
    )


def logs_of(dataset: Dataset, outputs: Sequence[str], inputs: Sequence[str]) -> Logs | None:
    """Mark inputs and outputs by name; ``all`` is all of them. None where nothing is named.

    Raises:
        InputError: If a name is not known, the task is classification, or a value is not positive
            (its sample is said).
    """
    if not outputs and not inputs:
        return None
    info = dataset.info
    check(info.task == "regression", "logarithms are for regression: classes have none")
    marks = []
    sides = (inputs, info.y_names, dataset.Y), (outputs, info.c_names, dataset.C)
    for names, known, values in sides:
        for name in names:
            check(name in (*known, "all"), unknown(f"name {name!r} for a logarithm", name, known))
        mark = np.array([name in names or "all" in names for name in known])
        done = dataset.status == Status.DONE
        bad = np.argwhere((values <= 0) & mark & done[:, None])
        if len(bad):
            row, column = bad[0]
            raise InputError(
                f"{known[column]} of sample {row} is {values[row, column]:g}: it has no logarithm "
                f"({len(bad)} such values)"
            )
        marks.append(mark)
    return Logs(inputs=marks[0], outputs=marks[1])


def logarithms(dataset: Dataset, logs: Logs) -> Dataset:
    """Replace marked inputs and outputs by their logarithms."""
    inputs, outputs = (np.asarray(mark, dtype=bool) for mark in (logs.inputs, logs.outputs))
    Y, C = dataset.Y.copy(), dataset.C.copy()
    with np.errstate(invalid="ignore", divide="ignore"):  # of samples that have failed
        Y[:, inputs] = np.log(Y[:, inputs])
        C[:, outputs] = np.log(C[:, outputs])
    units = tuple(
        "1" if mark else unit for unit, mark in zip(dataset.info.c_units, outputs, strict=True)
    )
    return dataclasses.replace(
        dataset, Y=Y, C=C, info=dataclasses.replace(dataset.info, c_units=units)
    )


def without(dataset: Dataset, rows: Sequence[int]) -> Dataset:
    """Leave samples out of all parts."""
    split = dataset.split.copy()
    split[list(rows)] = Split.UNUSED
    return dataclasses.replace(dataset, split=split)


def held_out_errors(
    module: Any, dataset: Dataset, part: str, mean: Any = None, spread: Any = None
) -> Any:
    """Measure a surrogate's errors on a part of a dataset.

    Args:
        module: The surrogate, or classifier.
        dataset: The dataset.
        part: Its part.
        mean: Of the training observables, (n_out,); for a regression.
        spread: Their standard deviation, (n_out,); see `surrogates.model.metrics.evaluate`.

    Returns:
        An `Evaluation`, of a classification an `Assessment`.
    """
    Y, C = map(torch.from_numpy, dataset.part(part))
    if dataset.info.task == "classification":
        return assess(module, Y, C)
    mean = torch.as_tensor(mean, dtype=torch.float64)
    spread = None if spread is None else torch.as_tensor(spread, dtype=torch.float64)
    std = getattr(module, "predict_std", None)  # a file of schema version 1 has none
    return evaluate(module, Y, C, mean=mean, spread=spread, predict_std=std)


def about(
    surrogate: Surrogate, result: FitResult, dataset: Dataset, settings: TrainConfig
) -> dict[str, Any]:
    """Say how a surrogate was trained by `fit`, for the metadata of its file."""
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
    if isinstance(surrogate, Classifier):
        training["temperature"] = float(surrogate.temperature)
    return training


def _centre(C: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of each output, without missing entries."""
    columns = [torch.from_numpy(c[np.isfinite(c)])[:, None] for c in C.T]
    found = [moments(column)[:2] for column in columns]
    mean, spread = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
    return mean, spread


def _parts(dataset: Dataset, *names: str) -> list[str]:
    done = dataset.split[dataset.status == Status.DONE]
    return [name for name in names if (done == Split[name.upper()]).any()]


def _told_selection(
    surrogate: Surrogate,
    selection: Selection,
    dataset: Dataset,
    learned: Dataset,
    settings: TrainConfig,
    effort: str,
    seconds: float,
) -> Trained:
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
    for name in _parts(dataset, "test"):
        errors[name] = held_out_errors(surrogate, dataset, name, mean, spread)
    training = {
        **_about_choice(selection, settings, effort, "held-out errors"),
        "c_mean": mean,
        "c_std": spread,
    }
    warnings = [*_data_warnings(dataset, "test"), *poor_outputs(errors, dataset)]
    ridges = [one for one in selection.tried if one.name.endswith("ridge")]
    if ridges and ridges[0].weight == 0 and ridges[0] is selection.tried[0]:
        warnings.append(_ridge_warning(ridges[0].name, "held-out samples"))
    return Trained(
        surrogate=surrogate,
        training=training,
        errors=errors,
        history=selection.history,
        reason=training["chosen"],
        interrupted=False,
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
        "reason": f"chosen by {by}",
        "chosen": "; ".join(
            one.name + (f" ({one.weight:.0%})" if len(chosen) > 1 else "") for one in chosen
        ),
        "work_units": found.history[-1].work_units if found.history else 0,
        "samples": len(found.train),
        "members": len(found.members),
        "tried": [dataclasses.asdict(one) for one in found.tried],
    }


def _told_choice(
    choice: classes.Choice, dataset: Dataset, settings: TrainConfig, effort: str, start: float
) -> Trained:
    surrogate = assembled_classes(choice, dataset)
    truth = torch.from_numpy(dataset.C[choice.rows])
    errors: dict[str, Evaluation | Assessment] = {
        "validation": assess(lambda logits: logits, choice.logits / choice.temperature, truth)
    }
    for name in _parts(dataset, "test"):
        errors[name] = held_out_errors(surrogate, dataset, name)
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
        interrupted=False,
        tried=choice.tried,
        warnings=tuple(_data_warnings(dataset, "test")),
        seconds=time.perf_counter() - start,
    )


def _told_fit(
    surrogate: Surrogate,
    result: FitResult,
    dataset: Dataset,
    settings: TrainConfig,
    seconds: float,
) -> Trained:
    training = about(surrogate, result, dataset, settings)
    mean, spread = training["c_mean"], training["c_std"]
    parts = _parts(dataset, *PARTS[1:])
    errors = {name: held_out_errors(surrogate, dataset, name, mean, spread) for name in parts}
    warnings = _data_warnings(dataset, "validation", "test")
    if dataset.info.task == "regression":
        warnings += poor_outputs(errors, dataset)
        warnings += _mirror_warnings(dataset, errors)
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


def _kept(trained: Trained, selection: Selection, dataset: Dataset, start: Start | None) -> Trained:
    """Add what another training can start from, and say what this one has started from."""
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
            "that they tell are too small"
        )
    elif trained.tried and too_few(known):
        warnings.append(
            f"{path} was trained on all but {len(known) - n} samples, too few to judge it by: it "
            "was left out; --effort fast starts from its network"
        )
    return dataclasses.replace(
        trained, training={**trained.training, "from": start.digest}, warnings=tuple(warnings)
    )


def _data_warnings(dataset: Dataset, *judges: str) -> list[str]:
    """Say what of the samples is unusual; ``judges`` are the parts that errors are told of."""
    lines = [line for part in judges for line in _seen_inputs(dataset, part)]
    done = np.flatnonzero(
        (dataset.status == Status.DONE) & np.isin(dataset.split, (Split.TRAIN, Split.VALIDATION))
    )
    n, n_in = len(done), dataset.Y.shape[1]
    if n < 2 * n_in:
        lines.append(
            f"{n} samples of {n_in} inputs are fewer than 2 for each: little can be learned "
            "beyond a trend"
        )
    if dataset.info.task == "classification":
        counts = dataset.C[done].sum(axis=0)
        few = [name for name, count in zip(dataset.info.c_names, counts, strict=True) if count < 2]
        if few:
            lines.append(f"classes with a single sample: {_listed(few)}")
        return lines
    found = outliers(dataset.C[done])
    if found:
        worst = max(found, key=lambda one: one[2])
        numbers = [str(done[row]) for row, _, _ in found]
        several = len(found) > 1
        lines.append(
            f"sample{'s' * several} {_listed(numbers)} (from 0) {'lie' if several else 'lies'} far "
            f"from all others, by up to {worst[2]:.3g} robust deviations "
            f"({dataset.info.c_names[worst[1]]}), and may decide the fit: --exclude leaves "
            f"{'them' if several else 'it'} out"
        )
    return lines


def _seen_inputs(dataset: Dataset, part: str) -> list[str]:
    """Say whether samples of a part have the inputs of samples before it."""
    done = dataset.status == Status.DONE
    own = np.flatnonzero(done & (dataset.split == Split[part.upper()]))
    before = np.flatnonzero(done & (dataset.split < Split[part.upper()]))
    n = len(own) - len(fresh(dataset.Y, before, own))
    if not n:
        return []
    return [
        f"{n} of {len(own)} {part} samples have the inputs of a sample that is trained on: the "
        f"{part} error is too small by them"
    ]


def poor_outputs(errors: Mapping[str, Any], dataset: Dataset) -> list[str]:
    """Name outputs that are badly fitted, on the last part that there is."""
    if not errors:
        return []
    part, found = list(errors.items())[-1]
    names = dataset.info.c_names
    poor = [j for j, value in enumerate(found.output_spread) if not value <= POOR]
    if not poor:
        return []
    poor.sort(key=lambda j: -found.output_spread[j])
    said = [f"{names[j]} {found.output_spread[j]:.2f}" for j in poor[:_SHOWN]]
    more = f" and {len(poor) - _SHOWN} more" if len(poor) > _SHOWN else ""
    return [f"badly fitted, by their error over their spread on {part}: {', '.join(said)}{more}"]


def _mirror_warnings(dataset: Dataset, errors: dict[str, Any]) -> list[str]:
    """Compare with ridge regression on the same rows, on the last part that there is."""
    if not errors:
        return []
    part, found = list(errors.items())[-1]
    Y, C = map(torch.from_numpy, dataset.part("train"))
    Y_held, C_held = map(torch.from_numpy, dataset.part(part))
    shift, spread, _ = moments(Y)
    spread = torch.where(spread > 0, spread, 1.0)
    c_shift, c_spread, size = moments(C)
    unit = torch.where(c_spread > 1e-13 * size, c_spread, torch.where(size > 0, size, 1.0))
    own = float(torch.tensor(found.output_spread).square().mean())
    for degree, name in ((1, "linear"), (2, "quadratic")):
        n_in = Y.shape[1]
        if degree == 2 and n_in * (n_in + 3) / 2 > min(500, len(Y) / 2):
            continue
        mirror = ridge((Y - shift) / spread, (C - c_shift) / unit, degree)
        residual: Tensor = mirror.predict((Y_held - shift) / spread) - (C_held - c_shift) / unit
        if float(residual.square().mean()) < own:
            return [_ridge_warning(f"{name} ridge", f"the {part} samples")]
    return []


def _ridge_warning(name: str, where: str) -> str:
    return (
        f"{name} regression on the same rows has less error on {where} than this surrogate: "
        "take --effort default, or more samples"
    )


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
