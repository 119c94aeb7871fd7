"""A training from its dataset to its files, for `surrogates.train` and ``surrogates train``.

Beside the surrogate ``NAME.pt`` a training writes ``NAME.history.jsonl`` and, if it trains one
network, ``NAME.checkpoint``.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import nn

from surrogates.config import check
from surrogates.data import Dataset, is_dataset
from surrogates.data.ranges import read_rows
from surrogates.errors import InputError
from surrogates.files import atomic, check_writable, remove_leftovers
from surrogates.model import describe, file, torchscript
from surrogates.model.loaded import LoadedSurrogate
from surrogates.model.parts import Logs

from . import history
from .checkpoint import is_finished
from .communicator import Communicator, of_environment
from .config import TrainConfig, stored
from .history import Record
from .logs import logs_of
from .outcome import INTERRUPTED, Trained
from .train import chooses, train, without
from .weights import Start

FAST = "fast"


class Bar(Protocol):
    """Shows a training's progress."""

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show that ``done`` of ``total`` are finished."""

    def close(self) -> None:
        """End."""


class Asked(Protocol):
    """Tells whether a training is to stop."""

    @property
    def asked(self) -> bool:
        """Whether to stop."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Interruption and progress bar of a training.

    Attributes:
        interruption: Context entered while training; it tells whether to stop.
        bar: Makes a progress bar of ``trainings`` or ``work units``; None shows none.
    """

    interruption: AbstractContextManager[Asked]
    bar: Callable[[str], Bar] | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of a training.

    Attributes:
        read: Reads the dataset; called on each process.
        settings: Settings of the training.
        given: Keys of the settings that are fixed.
        effort: ``fast``, ``default`` or ``high``; see `training.train.train`.
        log: Names of outputs whose logarithms are learned.
        log_inputs: Names of inputs whose logarithms are used.
        exclude: Samples that are left out, or a text of them for `read_rows`.
        start: Reads the surrogate to start from; None for none.
        coarse: Reads samples of the fidelity that it has learned; None for none.
        network: The caller's module, instead of a network that settings describe.
        resume: Whether to continue from the checkpoint.
        processes: Number of processes of a choice; one for each core if None.
    """

    read: Callable[[], Dataset]
    settings: TrainConfig
    given: frozenset[str] = frozenset()
    effort: str = "default"
    log: Sequence[str] = ()
    log_inputs: Sequence[str] = ()
    exclude: Sequence[int] | str = ()
    start: Callable[[], Start] | None = None
    coarse: Callable[[], Dataset] | None = None
    network: nn.Module | None = None
    resume: bool = False
    processes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A training that has ended.

    Attributes:
        members: The content of the surrogate's file.
        trained: The training's outcome; None if the same training's file existed before.
        dataset: The samples.
        history_fault: Why the history is not written, empty if it is, or was not asked for.
        written: Whether its file is written now.
        rank: Of this process.
    """

    members: torchscript.Members
    trained: Trained | None
    dataset: Dataset
    history_fault: str = ""
    written: bool = False
    rank: int = 0

    def surrogate(self) -> LoadedSurrogate:
        """Load the surrogate from the content of its file."""
        known: dict[str, Any] = {"dataset": self.dataset}
        if self.trained is not None:
            known |= {"history": self.trained.history, "warnings": self.trained.warnings}
        return file.in_memory(self.members, **known)


class Output:
    """The files of one training.

    Attributes:
        path: The surrogate's file.
        checkpoint: The training's state.
        records: The history.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Derive the files' names from the surrogate's file."""
        self.path = Path(path)
        self.checkpoint = self.path.with_suffix(".checkpoint")
        self.records = self.path.with_suffix(".history.jsonl")

    def prepare(self, resume: bool) -> None:
        """Check the paths, and remove temporary files of a killed run.

        Raises:
            InputError: If a path cannot be written, or is a file that is to be kept.
        """
        out = self.path
        check_writable(out)
        check(
            not is_dataset(out),
            f"{out} is a dataset; it is left as it is, give another --out",
        )
        check(out.suffix == ".pt", f"a surrogate's file ends in .pt; got {str(out)!r}")
        if out.exists() and not zipfile.is_zipfile(out):
            raise InputError(f"{out} is not a surrogate; it is left as it is, give another --out")
        if self.checkpoint.exists() and not resume and not is_finished(self.checkpoint):
            raise InputError(
                f"{self.checkpoint} is of a training that was interrupted: go on with --resume, or "
                "remove it"
            )
        for path in (out, self.checkpoint, self.records):
            check_writable(path)
            remove_leftovers(path)

    def of_before(
        self,
        dataset: Dataset,
        settings: TrainConfig,
        logs: Logs | None,
        effort: str,
        start: Start | None,
    ) -> LoadedSurrogate | None:
        """Return the surrogate in the file, if this training would write the same.

        Return None if there is a checkpoint to continue from.
        """
        if not self.path.exists() or (self.checkpoint.exists() and effort == FAST):
            return None
        there = file.load(self.path)
        training = there.metadata["training"]
        same = (
            there.metadata.get("dataset", {}).get("digest") == dataset.digest
            and _are_stored(settings, training.get("settings"))
            and _marks(getattr(there.module, "logs", None)) == _marks(logs)
            and training.get("effort", FAST) == effort
            and training.get("from") == (start and start.digest)
            and not ("tried" in training and training["reason"] == INTERRUPTED)
        )
        return there if same else None

    def save(self, members: torchscript.Members, kept: bool) -> None:
        """Write the surrogate; on failure, the error names the file that keeps the training.

        Args:
            members: The content of its file.
            kept: Whether the checkpoint holds the training's end.

        Raises:
            OSError: If it is not written. The training is then kept in a checkpoint of its end, or
                the surrogate in a temporary folder; if that is full too, the last checkpoint is
                kept.
        """
        content = torchscript.pack(members)
        try:
            _write(self.path, content)
            return
        except OSError as error:
            if kept:
                raise OSError(
                    f"{error}; the training is in {self.checkpoint}: make room, and --resume "
                    "writes it"
                ) from error
            full = error
        safe = Path(tempfile.mkdtemp(prefix="surrogates-")) / self.path.name  # this user's
        try:
            _write(safe, content)
        except OSError:
            safe.parent.rmdir()
            raise full from None
        try:
            self.checkpoint.unlink(missing_ok=True)  # an earlier state; frees its space
            _write(self.path, content)
        except OSError:
            raise OSError(f"{full}; the surrogate is in {safe}: move it") from None
        safe.unlink()
        safe.parent.rmdir()

    def write_history(self, records: Sequence[Record]) -> str:
        """Write the history; return why it cannot be written, or an empty text."""
        try:
            history.write(self.records, records)
        except (InputError, OSError) as error:  # its folder has gone, say
            return str(error)
        return ""


def _write(path: Path, content: bytes) -> None:
    try:
        with atomic(path) as beside:
            beside.write_bytes(content)
    except InputError as error:  # its folder has gone, say
        raise OSError(str(error)) from error


def _are_stored(settings: TrainConfig, there: Any) -> bool:
    """Return whether a file's settings are equal to these; older releases had other keys."""
    try:
        return bool(there) and stored(there) == settings
    except InputError:  # a setting of a later release
        return False


def _marks(logs: Any) -> Any:
    return logs and [np.asarray(mark).tolist() for mark in (logs.inputs, logs.outputs)]


def run(request: Request, out: str | os.PathLike[str] | None, watch: Watch) -> Finished:
    """Train a surrogate, and write its files.

    Args:
        request: The training's arguments.
        out: The surrogate's file; None writes nothing.
        watch: Interruption and progress bar.

    Raises:
        InputError: If the dataset, the settings, the paths or the surrogate to start from do not
            fit, or ``resume`` finds no checkpoint.
        OSError: If a file cannot be written; see `Output.save`.
        Interrupted: If a choice was stopped before there was anything to choose from, which writes
            nothing.
        ConnectionError: If one of the processes of ``torchrun`` has died.
    """
    output = None if out is None else Output(out)
    check(output is not None or not request.resume, "resume goes on from a file: give its out")
    with of_environment(request.settings.device) as comm:
        if output is not None:
            comm.on_root(lambda: output.prepare(request.resume))
        dataset = comm.on_each(lambda: _samples(request))
        return _Training(request, output, dataset, comm).finished(watch)


def _samples(request: Request) -> Dataset:
    dataset, rows = request.read(), request.exclude
    if isinstance(rows, str):
        rows = read_rows(rows, len(dataset.Y)).tolist() if rows else []
    return without(dataset, rows) if len(rows) else dataset


class _Training:
    """A training on this process, once its dataset is read."""

    def __init__(
        self, request: Request, output: Output | None, dataset: Dataset, comm: Communicator
    ) -> None:
        self._request, self._output, self._dataset, self._comm = request, output, dataset, comm
        settings = request.settings
        self._logs = logs_of(dataset, request.log, request.log_inputs)
        alone = comm.size == 1 and request.network is None
        self._selecting = alone and chooses(dataset, settings, request.effort)
        self._effort = request.effort if self._selecting else FAST
        start = self._start = comm.on_each(self._read_start)
        if start is not None and not self._selecting:
            _, settings = comm.on_each(lambda: start.network(settings, request.given))
        self._settings = settings

    def _read_start(self) -> Start | None:
        request = self._request
        if request.start is None:
            check(request.coarse is None, "coarse samples need the surrogate of them: give --from")
            return None
        start = request.start()
        start.check(self._dataset, self._logs)
        if request.coarse is None:
            return start
        check(
            self._selecting and self._dataset.info.task == "regression",
            "coarse samples are for a choice among surrogates: leave --effort fast and "
            "--coarse out, or one of them; they help no training of classes",
        )
        start = start.beside(request.coarse())
        start.check_pairs(self._dataset)
        return start

    def finished(self, watch: Watch) -> Finished:
        """Train, unless the surrogate exists, and write the files."""
        output, rank = self._output, self._comm.rank
        if output is not None and self._request.resume:
            asked = self._dataset, self._settings, self._logs, self._effort, self._start
            there = output.of_before(*asked)
            if there is not None:
                return Finished(
                    members=there.members, trained=None, dataset=self._dataset, rank=rank
                )
            check(
                not (self._selecting and (output.path.exists() or output.checkpoint.exists())),
                "no checkpoint is kept of a choice by held-out errors: leave --resume out, or go "
                f"on with a training of one network, {output.checkpoint}, by --effort fast",
            )
        trained = self._trained(watch)
        about = describe.metadata(self._dataset, training=trained.training, errors=trained.errors)
        members = file.archive(trained.surrogate, about, trained.weights)
        found = Finished(members=members, trained=trained, dataset=self._dataset, rank=rank)
        return found if output is None or rank else self._written(found, trained, output)

    def _written(self, found: Finished, trained: Trained, output: Output) -> Finished:
        """Write the files of a training, and say so.

        A choice that was interrupted replaces no surrogate that was there before: it cannot go on.
        """
        if trained.tried and trained.interrupted and output.path.exists():
            return found
        output.save(found.members, trained.kept)
        fault = output.write_history(trained.history)
        if self._selecting:  # that of a training whose surrogate was there before
            output.checkpoint.unlink(missing_ok=True)
        return dataclasses.replace(found, written=True, history_fault=fault)

    def _trained(self, watch: Watch) -> Trained:
        unit = "trainings" if self._selecting else "work units"
        bar = watch.bar(unit) if watch.bar is not None and self._comm.rank == 0 else None
        checkpoint = None if self._selecting or self._output is None else self._output.checkpoint
        try:
            with watch.interruption as interruption:
                return train(
                    self._dataset,
                    self._settings,
                    given=self._request.given,
                    effort=self._request.effort,
                    logs=self._logs,
                    start=self._start,
                    network=self._request.network,
                    processes=self._request.processes,
                    checkpoint=checkpoint,
                    resume=self._request.resume,
                    on_iteration=None if bar is None else _Notes(bar, self._settings),
                    on_progress=None if bar is None else bar.update,
                    stop=lambda: interruption.asked,
                    comm=self._comm,
                )
        except ConnectionError as error:
            if checkpoint is None:
                raise
            raise ConnectionError(f"{error}; go on with --resume, from {checkpoint}") from error
        finally:
            if bar is not None:
                bar.close()


class _Notes:
    """Shows each iteration on a bar."""

    def __init__(self, bar: Bar, settings: TrainConfig) -> None:
        self._bar, self._total = bar, settings.network.levels * settings.stopping.work_units

    def __call__(self, record: Record) -> None:
        """Show an iteration."""
        self._bar.update(
            record.work_units,
            self._total,
            f", level {record.level + 1}, iteration {record.iteration}, "
            f"loss {record.train_loss:.2e}, validation loss {record.validation_loss:.2e}",
        )
