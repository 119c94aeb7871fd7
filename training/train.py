"""From a dataset to a surrogate and what is to be said of it: what ``surrogates train`` does."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from surrogates.config import check, unknown
from surrogates.data import Dataset, Split
from surrogates.model.parts import Logs

from .communicator import Communicator
from .completion import completed
from .config import DEFAULTS, TrainConfig
from .deploy import alone, assembled, deployed
from .fit import fit
from .history import Record
from .logs import logarithms
from .outcome import Trained, kept, told_choice, told_fit, told_selection, where_there
from .selection import classes
from .selection.effort import EFFORTS
from .selection.regression import choose
from .selection.start import candidates
from .weights import Start


def train(
    dataset: Dataset,
    settings: TrainConfig | None = None,
    *,
    given: frozenset[str] = frozenset(),
    effort: str = "default",
    logs: Logs | None = None,
    start: Start | None = None,
    network: nn.Module | None = None,
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
        network: A module of the caller's in place of a network that settings describe; see `fit`.
            Such a training is fast.
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
    chosen = network is None and chooses(dataset, settings, effort)
    if chosen and alone_here and not (start and of_classes):
        asked: dict[str, Any] = {
            "given": given,
            "effort": "default" if effort == "fast" else effort,
            "processes": processes,
            "stop": stop,
            "on_progress": on_progress,
        }
        if of_classes:
            choice = classes.choose(learned, settings, **asked)
            return told_choice(choice, dataset, settings, effort, time.perf_counter() - clock)
        more = None if start is None else functools.partial(candidates, start, dataset)
        selection = where_there(choose(learned, settings, **asked, more=more), dataset)
        surrogate = assembled(selection, learned, logs)
        seconds = time.perf_counter() - clock
        found = told_selection(surrogate, selection, dataset, learned, settings, effort, seconds)
        return kept(found, selection, dataset, start)
    first = None
    if start is not None:
        first, settings = start.network(settings, given)
    files: dict[str, Any] = {"checkpoint": checkpoint, "resume": resume}
    watched: dict[str, Any] = {"on_iteration": on_iteration, "stop": stop, "comm": comm}
    result = fit(learned, settings, network=network, start=first, **files, **watched)
    surrogate = deployed(result, learned, logs)
    found = told_fit(surrogate, result, dataset, settings, time.perf_counter() - clock)
    return kept(found, alone(result, learned), dataset, start)


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


def without(dataset: Dataset, rows: Sequence[int]) -> Dataset:
    """Return a dataset in which samples, counted from 0, are in no part.

    Raises:
        InputError: If there is no such sample.
    """
    n = len(dataset.Y)
    wrong = [row for row in rows if not 0 <= row < n]
    check(not wrong, f"there is no sample {wrong[:1]} to leave out: there are {n}, from 0")
    split = dataset.split.copy()
    split[list(rows)] = Split.UNUSED
    return dataclasses.replace(dataset, split=split)
