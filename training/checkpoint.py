"""The checkpoint of a training: written now and then, and read to resume."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

from surrogates import config as configuration
from surrogates.data import Dataset
from surrogates.errors import InputError
from surrogates.files import atomic, check_own, check_writable, check_zip, reading

from .config import TrainConfig, stored
from .history import Record
from .inner.losses import Loss
from .member import Member
from .outer.multilevel import Best, Reason, State

_log = logging.getLogger(__name__)

_VERSION = 6

_MAY_GROW = ("stopping.work_units", "stopping.patience", "threads")
"""Settings that a resumed training may change."""

_SECONDS = 1.0  # least time between two writes


def is_finished(path: str | os.PathLike[str]) -> bool:
    """Return whether a checkpoint's training has ended.

    Raises:
        InputError: If it is damaged or no checkpoint.
    """
    content = _content(Path(path))
    levels = _settings(content).network.levels
    return content["reason"] is not None and content["level"] + 1 == levels


def _content(path: Path) -> dict[str, Any]:
    with reading(path, "checkpoint"), open(path, "rb") as file:
        check_own(path, file)
        check_zip(path, file)
        file.seek(0)
        content = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or content.get("version") != _VERSION:
            raise InputError(f"{path} is not a checkpoint of this version of the package")
    return content


def _settings(content: Mapping[str, Any]) -> TrainConfig:
    """Return the settings of a checkpoint, with defaults for newer settings."""
    return stored(configuration.table(content["config"]))


def _digest(start: Member) -> str:
    """Return a checksum of the weights and scalings that a training starts from."""
    theta = parameters_to_vector(cast(nn.Module, start.features).parameters()).detach()
    numbers = torch.cat([theta, start.W.reshape(-1), start.y_shift, start.y_scale])
    return hashlib.sha256(numbers.numpy().tobytes()).hexdigest()


def _sizes(network: nn.Module) -> str:
    """Name a network's class, and its parameters and their shapes."""
    sizes = (f"{name} {tuple(p.shape)}" for name, p in network.named_parameters())
    return f"{type(network).__name__} with {', '.join(sizes)}"


class Checkpoint:
    """The file that a run can be resumed from.

    It holds the whole history: writing it each iteration would cost more than training.
    """

    def __init__(
        self,
        path: Path,
        dataset: Dataset,
        config: TrainConfig,
        network: nn.Module,
        loss: Loss,
        start: Member | None = None,
    ) -> None:
        """Take what identifies this run; nothing is written yet."""
        self._path = path
        self._digest = dataset.digest
        self._config = configuration.to_toml(config)
        self._work_units = config.stopping.work_units
        self._network = _sizes(network)
        self._loss = type(loss).__name__
        self._start = "" if start is None else _digest(start)
        self._state: State | None = None
        self._failed = False
        self._due = time.monotonic() + _SECONDS

    def update(self, state: State) -> None:
        """Take a newer state, and write it if the last one written is old."""
        self._state = state
        if time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> bool:
        """Write the newest state, whole or not at all, unless it has been written.

        If the disk is full or fails, warn once: the training matters more than its checkpoint. The
        last file is kept.

        Returns:
            Whether the file holds the newest state.
        """
        if self._state is None:
            return True
        try:
            self._write(self._state)
        except (OSError, InputError) as error:
            if not self._failed:
                _log.warning("%s; the training goes on, and tries it again", error)
            self._failed = True
        else:
            self._state = None
        self._due = time.monotonic() + _SECONDS
        return self._state is None

    def _write(self, state: State) -> None:
        content = {
            "version": _VERSION,
            "digest": self._digest,
            "config": self._config,
            "network": self._network,
            "loss": self._loss,
            "from": self._start,
            **{f.name: getattr(state, f.name) for f in dataclasses.fields(state)},
            "reason": state.reason.name if state.reason else None,
            "best": dataclasses.asdict(state.best) if state.best else None,
            "records": [dataclasses.asdict(record) for record in state.records],
        }
        buffer = io.BytesIO()  # torch would report a full disk in its own way
        torch.save(content, buffer)
        with atomic(self._path) as beside:
            beside.write_bytes(buffer.getvalue())

    def opened(self, resume: bool) -> State | None:
        """Check that the file can be written, and read the state to resume from."""
        check_writable(self._path)
        return self.read() if resume else None

    def read(self) -> State:
        """Read the state of the same run.

        Raises:
            InputError: If the file is missing, damaged, of another run, or of another user.
        """
        if not self._path.is_file():
            raise InputError(f"there is no checkpoint {self._path} to resume from")
        content = _content(self._path)
        before = _settings(content)
        self._check_same(content, configuration.to_toml(before))
        values = {f.name: content[f.name] for f in dataclasses.fields(State)}
        values["reason"] = Reason[values["reason"]] if values["reason"] else None
        if values["reason"] is Reason.WORK_UNITS and before.stopping.work_units < self._work_units:
            values["reason"] = None
        values["best"] = Best(**values["best"]) if values["best"] else None
        values["records"] = tuple(Record(**record) for record in values["records"])
        return State(**values)

    def _check_same(self, content: Mapping[str, Any], settings: str) -> None:
        """Refuse a checkpoint of another run; ``settings`` are its own as TOML text."""
        if content["digest"] != self._digest:
            raise InputError(
                f"{self._path} is of another dataset: its digest is {content['digest'][:12]} "
                f"there and {self._digest[:12]} here"
            )
        differences = configuration.differences(settings, self._config, but=_MAY_GROW)
        if differences:
            raise InputError(f"{self._path} is of another configuration: {differences[0]}")
        if content["network"] != self._network:
            raise InputError(
                f"{self._path} is of another network: {content['network']} there, "
                f"{self._network} here"
            )
        if content["loss"] != self._loss:
            raise InputError(
                f"{self._path} is of another loss: {content['loss']} there, {self._loss} here"
            )
        there, here = (text[:12] or "drawn" for text in (content.get("from", ""), self._start))
        if there != here:
            raise InputError(
                f"{self._path} started from other weights: {there} there and {here} here"
            )
