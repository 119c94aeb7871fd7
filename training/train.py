"""From a dataset to a surrogate and its report, for ``surrogates train``."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from surrogates.config import check, unknown
from surrogates.data import Dataset, Split
from surrogates.model.parts import Logs

from .communicator import Communicator
from .completion import completed
from .config import DEFAULTS, Derivatives, TrainConfig
from .deploy import alone, assembled, deployed
from .features import CHUNK
from .fit import fit
from .history import Record
from .logs import logarithms, lost_in_words
from .outcome import Trained, kept, told_choice, told_fit, told_selection, where_there
from .selection import classes
from .selection.effort import EFFORTS, Terms
from .selection.regression import choose
from .selection.start import candidates
from .unseen import jacobians, with_unseen
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
        settings: Settings of the training; the task's defaults if None.
        given: Keys of settings that are fixed, such as ``network.width``; the others are chosen,
            unless ``effort`` is fast.
        effort: ``fast``, one training with ``settings``; ``default``, a choice in about a minute
            for 400 samples on two cores; or ``high``, in ten times that. Optimizers other than
            GNvpro, and several processes of ``comm``, are fast.
        logs: Inputs and outputs whose logarithms are learned; see `logs.logs_of`.
        start: A surrogate of the same inputs and outputs to start from. A fast training starts from
            its network, and theta_ref and W_ref are its weights; a choice tries it beside others. A
            training of classes is then fast.
        network: A module instead of a network that settings describe; the training is then fast.
        processes: Number of processes of a choice; one for each core if None.
        checkpoint: File of a fast training, see `fit`.
        resume: Whether to continue from the checkpoint.
        stop: Called now and then; returns whether to stop.
        on_iteration: Called after each iteration of a fast training.
        on_progress: Called after each training of a choice.
        comm: The processes that the samples are divided over.

    Raises:
        InputError: If the dataset, the settings, the checkpoint or ``start`` do not fit.
        Interrupted: If ``stop`` ended a choice before there was anything to choose from.
    """
    check(effort in EFFORTS, unknown(f"effort {effort!r}", effort, EFFORTS))
    settings = settings or DEFAULTS[dataset.info.task]
    if start is not None:
        start.check(dataset, logs)
    job = _Job(dataset, settings, given, logs, start, time.perf_counter())
    alone_here = comm is None or comm.size == 1
    starts_classes = start is not None and dataset.info.task == "classification"
    chosen = network is None and chooses(dataset, settings, effort)
    if chosen and alone_here and not starts_classes:
        how: dict[str, Any] = {"processes": processes, "stop": stop, "on_progress": on_progress}
        return job.chosen(effort, **how)
    files: dict[str, Any] = {"checkpoint": checkpoint, "resume": resume}
    watched: dict[str, Any] = {"on_iteration": on_iteration, "stop": stop, "comm": comm}
    return job.fitted(network=network, **files, **watched)


class _Job:
    """A training: a choice, or one network."""

    def __init__(
        self,
        dataset: Dataset,
        settings: TrainConfig,
        given: frozenset[str],
        logs: Logs | None,
        start: Start | None,
        clock: float,
    ) -> None:
        self._dataset, self._settings, self._given = dataset, settings, given
        self._logs, self._start, self._clock = logs, start, clock
        self._learned = completed(dataset if logs is None else logarithms(dataset, logs))

    @property
    def _adjoints(self) -> bool:
        """Whether adjoints are learned from (see `unseen`)."""
        return self._dataset.info.adjoints > 0 and self._settings.derivatives.weight != 0

    def _seconds(self) -> float:
        return time.perf_counter() - self._clock

    def chosen(self, effort: str, **how: Any) -> Trained:
        """Choose a surrogate by held-out errors; further arguments are those of `Terms`."""
        dataset, settings = self._dataset, self._settings
        learned, start = self._learned, self._start
        sought = "default" if effort == "fast" else effort
        terms = Terms(settings=settings, given=self._given, effort=sought, **how)
        if dataset.info.task == "classification":
            choice = classes.choose(learned, terms)
            return told_choice(choice, dataset, settings, effort, self._seconds())
        more = None if start is None else functools.partial(candidates, start, dataset)
        if self._adjoints:
            values = dataclasses.replace(terms, settings=_of_values(settings))
            bare = assembled(choose(learned, values, more=more), learned)
            Y = torch.from_numpy(learned.Y)
            J = torch.cat([bare.jacobian(piece) for piece in torch.split(Y, CHUNK)])
            learned = with_unseen(dataset, learned, self._logs, J.numpy())
        selection = where_there(choose(learned, terms, more=more), dataset)
        surrogate = assembled(selection, learned, self._logs)
        seconds = self._seconds()
        found = told_selection(surrogate, selection, dataset, learned, settings, effort, seconds)
        return self._noted(kept(found, selection, dataset, start))

    def fitted(self, **how: Any) -> Trained:
        """Train one network; arguments are those of `fit`."""
        settings, first = self._settings, None
        if self._start is not None:
            first, settings = self._start.network(settings, self._given)
        learned = self._learned
        if self._adjoints:  # as `fit` does, which does not know the logarithms
            same = {name: how[name] for name in ("network", "comm") if name in how}
            bare = fit(learned, _of_values(settings), start=first, **same)
            learned = with_unseen(self._dataset, learned, self._logs, jacobians(bare, learned.Y))
        result = fit(learned, settings, start=first, **how)
        surrogate = deployed(result, learned, self._logs)
        found = told_fit(surrogate, result, self._dataset, settings, self._seconds())
        return self._noted(kept(found, alone(result, learned), self._dataset, self._start))

    def _noted(self, found: Trained) -> Trained:
        """Say which derivatives logarithms have cost."""
        text = "" if self._logs is None else lost_in_words(self._dataset, self._learned)
        return dataclasses.replace(found, warnings=(*found.warnings, text)) if text else found


def _of_values(settings: TrainConfig) -> TrainConfig:
    """Return the settings of a training on values alone."""
    return dataclasses.replace(settings, derivatives=Derivatives(weight=0.0))


def chooses(dataset: Dataset, settings: TrainConfig, effort: str) -> bool:
    """Return whether the training is a choice, which needs GNvpro on a CPU.

    Radial basis functions are always a choice.
    """
    return (
        (effort != "fast" or settings.network.kind == "rbf")
        and settings.optimizer.name == "gnvpro"
        and settings.device == "cpu"
        and settings.regularisation.penalty == "tikhonov"
        and settings.network.levels == 1
    )


def without(dataset: Dataset, rows: Sequence[int]) -> Dataset:
    """Return a dataset without some samples, counted from 0, in any part.

    Raises:
        InputError: If there is no such sample.
    """
    n = len(dataset.Y)
    wrong = [row for row in rows if not 0 <= row < n]
    check(not wrong, f"there is no sample {wrong[:1]} to leave out: there are {n}, from 0")
    split = dataset.split.copy()
    split[list(rows)] = Split.UNUSED
    return dataclasses.replace(dataset, split=split)
