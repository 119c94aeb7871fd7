"""The history of a training run: one record per iteration, kept as JSON lines."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass

from surrogates.errors import InputError
from surrogates.files import atomic


@dataclass(frozen=True, kw_only=True)
class Record:
    """One iteration, after its step.

    For least squares, losses are 1/(2N) ||Z W^T - C||_F^2 in the scaled observables (see
    `scaling`), and errors mean relative errors ||prediction - c|| / ||c|| in physical units. For
    classes, losses are mean cross-entropies in nats, and errors the share of misclassified samples.

    Attributes:
        level: Level of the multilevel scheme, from 0.
        iteration: Iteration over all levels, from 1.
        work_units: Work units spent so far, over all levels; validation is not counted.
        seconds: Wall time of training so far, without that of checkpoints.
        phi: The objective, regularisation included.
        train_loss: Loss on the training samples.
        validation_loss: Loss on the validation samples.
        train_error: Error on the training samples.
        validation_error: Error on the validation samples.
        gradient_norm: Norm of the gradient before the step, or of its mean over an epoch.
        radius: Trust-region radius after the step, or a line search's step length; NaN for epochs.
        ratio: Actual over predicted decrease; NaN if no step was tried, and for epochs.
        rank: Number of Krylov vectors, of the dense model's unknowns, or of L-BFGS pairs.
        validation_score: Selects the best weights, and decides when to stop (see `data.Measured`).
        validation_median: Median over the outputs of the root mean square error on the validation
            samples, over the output's spread on the training samples; NaN for classes.
        validation_worst: The largest of these.
    """

    level: int
    iteration: int
    work_units: int
    seconds: float
    phi: float
    train_loss: float
    validation_loss: float
    train_error: float
    validation_error: float
    gradient_norm: float
    radius: float
    ratio: float
    rank: int
    validation_score: float = math.nan
    validation_median: float = math.nan
    validation_worst: float = math.nan


def write(path: str | os.PathLike[str], records: Iterable[Record]) -> None:
    """Write a history, one JSON object a line, whole or not at all.

    Numbers that JSON does not have are written as Python does: ``Infinity``, ``NaN``.

    Raises:
        InputError: If the file cannot be written.
    """
    with atomic(path) as beside, open(beside, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(dataclasses.asdict(record)) + "\n")


def read(path: str | os.PathLike[str]) -> list[Record]:
    """Read a history.

    Raises:
        InputError: If the file cannot be read, or is not a history; the line is named.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the history {path}: {error}") from error
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
            record = Record(**values)
            for name, value in values.items():
                if type(value) is not float and not (type(value) is int and abs(value) < 2**63):
                    raise TypeError(f"{name} is no number")
            records.append(record)
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(f"{path} is not a training history: line {number}: {error}") from error
    return records
