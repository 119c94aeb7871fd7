"""A surrogate of a dataset, or of arrays: `surrogates.train` and `surrogates.fit`."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from surrogates.config import override
from surrogates.data import Dataset, read_info
from surrogates.data.from_arrays import Bounds, Shares, from_arrays
from surrogates.interruption import Work
from surrogates.model.loaded import LoadedSurrogate
from surrogates.progress import Told, bar_of

from . import pool
from .run import Finished, Request, Watch, run
from .settings import SEED, Config, settings_of
from .weights import Start

Effort = Literal["fast", "default", "high"]
PathLike = str | os.PathLike[str]

_log = logging.getLogger(__name__)


def train(
    dataset: Dataset | PathLike,
    config: Config | None = None,
    *,
    out: PathLike | None = None,
    effort: Effort = "default",
    seed: int | None = None,
    log: Sequence[str] = (),
    log_inputs: Sequence[str] = (),
    exclude: Sequence[int] | str = (),
    start: LoadedSurrogate | PathLike | None = None,
    coarse: Dataset | PathLike | None = None,
    network: nn.Module | None = None,
    resume: bool = False,
    processes: int | None = None,
    progress: bool | Told = False,
) -> LoadedSurrogate:
    """Train a surrogate on a dataset, as ``surrogates train`` does.

    An interrupt (Ctrl-C, a notebook's stop button) ends a training: the surrogate has the best
    weights so far, or is the best of what a choice has tried so far. Then ``interrupted`` is the
    reason in its metadata, and a warning is logged. What a choice was training is lost; its
    surrogate is not written where ``out`` was there before.

    Args:
        dataset: The dataset, or its file; needs at least 3 samples for training and validation.
        config: Settings: a mapping such as ``{"network.width": 16}``, a TOML file, or a
            `TrainConfig`. A choice keeps these, and chooses the others (see
            `surrogates.training.settings`).
        out: The surrogate's file, NAME.pt; None for no file. NAME.history.jsonl and, if one network
            is trained, NAME.checkpoint are written beside it.
        effort: ``default``, a choice by held-out errors, in about a minute for 400 samples on two
            cores; ``high``, in ten times that; or ``fast``, the training of one network.
        seed: Seed of the first weights; the settings' seed if None.
        log: Names of outputs whose logarithms are learned, or ``["all"]``.
        log_inputs: Names of inputs whose logarithms are used, or ``["all"]``.
        exclude: Samples to leave out, counted from 0, or their text, ``3,77,100-120``.
        start: A surrogate of the same inputs and outputs to start from, or its file.
        coarse: Samples of the fidelity that ``start`` has learned, or their file, some at the same
            parameters as the dataset's: they show the difference of the fidelities exactly.
        network: Your own module, in double precision, instead of a network that the settings
            describe; see `surrogates.training.fit.fit`.
        resume: Whether to continue from the checkpoint of ``out``.
        processes: Number of processes of a choice; one for each core if None.
        progress: Whether to show a bar; or a function that is called with done, total and a note.

    Returns:
        The surrogate; for a dataset of classes, a `LoadedClassifier`.

    Raises:
        InputError: If the dataset, a setting or a file does not fit; the message says why.
        KeyboardInterrupt: If it was interrupted twice, or before there was anything to return.
    """
    task = (dataset.info if isinstance(dataset, Dataset) else read_info(dataset)[0]).task
    overrides = [] if seed is None else [override(SEED, seed)]
    settings, given = settings_of(config, task, overrides)
    about: dict[str, Any] = {"log": log, "log_inputs": log_inputs, "exclude": exclude}
    about |= {"effort": effort, "resume": resume, "processes": processes}
    first = None if start is None else lambda: _start(start)
    beside = None if coarse is None else lambda: _read(coarse)
    about |= {"start": first, "coarse": beside, "network": network}
    request = Request(read=lambda: _read(dataset), settings=settings, given=given, **about)
    return _finished(request, out, progress)


def _read(dataset: Dataset | PathLike) -> Dataset:
    return dataset if isinstance(dataset, Dataset) else Dataset.read(dataset)


def _start(start: LoadedSurrogate | PathLike) -> Start:
    return Start.of(start) if isinstance(start, LoadedSurrogate) else Start.read(start)


def _finished(request: Request, out: PathLike | None, progress: bool | Told) -> LoadedSurrogate:
    """Train, and log an interruption or an unwritten history."""
    work = Work[Finished]()
    watch = Watch(interruption=work, bar=bar_of(progress))
    try:
        found = work.done(lambda: run(request, out, watch))
    except pool.Interrupted:
        raise KeyboardInterrupt("interrupted before anything was chosen") from None
    trained = found.trained
    if trained is not None and trained.interrupted:
        best = "is the best of what was tried" if trained.tried else "has the best weights"
        there = out is None or found.written or found.rank
        left = "" if there else f"; {out} is left as it was"
        _log.warning("interrupted: the surrogate %s so far%s", best, left)
    if found.history_fault:
        _log.warning("no history is written: %s", found.history_fault)
    return found.surrogate()


def fit(
    Y: Any,
    C: Any = None,
    *,
    labels: Any = None,
    y_names: Sequence[str] = (),
    c_names: Sequence[str] = (),
    y_units: Sequence[str] = (),
    c_units: Sequence[str] = (),
    bounds: Bounds | None = None,
    dC_dY: Any = None,
    directions: Any = None,
    dC_dV: Any = None,
    split: Shares = "0.8/0.1/0.1",
    missing: Literal["fail", "mask"] = "fail",
    name: str = "data",
    config: Config | None = None,
    out: PathLike | None = None,
    effort: Effort = "default",
    seed: int | None = None,
    log: Sequence[str] = (),
    log_inputs: Sequence[str] = (),
    processes: int | None = None,
    progress: bool | Told = False,
) -> LoadedSurrogate:
    """Train a surrogate on arrays or data frames; for labels it is a `LoadedClassifier`.

    Args:
        Y: Parameters, (n, n_y) or (n,): an array, a list, or a data frame with names.
        C: Observables, (n, n_c) or (n,), likewise.
        labels: Instead of C, the class of each sample, n texts or integers.
        y_names: Names of the parameters; a data frame's own, or y0, y1, ... if empty.
        c_names: Names of the observables, likewise; with labels, of the classes in their order.
        y_units: Units of the parameters; none if empty.
        c_units: Units of the observables; none if empty.
        bounds: Bounds of the parameters, ``{name: (lower, upper)}`` or two sequences.
        dC_dY: Derivatives of C by Y, (n, n_c, n_y). They are left out where they are not finite.
        directions: Instead of dC_dY, directions of each sample, (n, r, n_y), in units of y.
        dC_dV: Derivatives of C in these, (n, n_c, r): ``dc_i/dy @ directions[i, k]``.
        split: Shares or counts of training, validation, test samples, or the part of each sample.
        missing: Meaning of NaN in C: a failed sample (``fail``), or a missing entry (``mask``).
        name: Name of the data.
        config: As for `train`.
        out: As for `train`.
        effort: As for `train`.
        seed: Seed of the split, and as for `train`.
        log: As for `train`.
        log_inputs: As for `train`.
        processes: As for `train`.
        progress: As for `train`.

    Raises:
        InputError: If the arrays do not fit each other, or hold other values than finite numbers.
    """
    about: dict[str, Any] = {"labels": labels, "y_names": y_names, "c_names": c_names}
    about |= {"y_units": y_units, "c_units": c_units, "bounds": bounds, "split": split}
    about |= {"dC_dY": dC_dY, "directions": directions, "dC_dV": dC_dV}
    dataset = from_arrays(Y, C, seed=seed or 0, missing=missing, name=name, **about)
    how: dict[str, Any] = {"log": log, "log_inputs": log_inputs, "processes": processes}
    return train(dataset, config, out=out, effort=effort, seed=seed, progress=progress, **how)
