"""Logarithms that a surrogate may learn instead of inputs and outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.config import check, unknown
from surrogates.data import Dataset, Status
from surrogates.errors import InputError
from surrogates.model.parts import Logs


def logs_of(dataset: Dataset, outputs: Sequence[str], inputs: Sequence[str]) -> Logs | None:
    """Mark inputs and outputs by name; ``all`` is all of them. Return None if nothing is named.

    Raises:
        InputError: If a name is not known, the task is classification, or a value is not positive;
            the message names its sample.
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
    """Replace marked inputs and outputs by their logarithms, and derivatives by theirs.

    By the chain rule, d log c / d log y = (y / c) dc/dy.
    """
    inputs, outputs = (np.asarray(mark, dtype=bool) for mark in (logs.inputs, logs.outputs))
    Y, C = dataset.Y.copy(), dataset.C.copy()
    with np.errstate(invalid="ignore", divide="ignore"):  # failed samples
        Y[:, inputs] = np.log(Y[:, inputs])
        C[:, outputs] = np.log(C[:, outputs])
    units = tuple(
        "1" if mark else unit for unit, mark in zip(dataset.info.c_units, outputs, strict=True)
    )
    info = dataclasses.replace(dataset.info, c_units=units)
    changes = _derivatives(dataset, inputs, outputs)
    if "dW_dY" in changes:  # c's logarithm has other functionals at each sample
        info = dataclasses.replace(
            info, tangents=True, functionals=np.empty((0, 0)), c_scale=np.empty(0)
        )
    return dataclasses.replace(dataset, Y=Y, C=C, info=info, **changes)


def lost_in_words(dataset: Dataset, learned: Dataset) -> str:
    """Return how many rows of derivatives have no logarithm; empty if none.

    d log c is dc / c, which takes c: a sample that lacks it has no row.

    Args:
        dataset: The samples.
        learned: Those of `logarithms`.
    """
    before, after = (one.derivatives(slice(None)) for one in (dataset, learned))
    if before is None or after is None:
        return ""
    lost = before.there & ~after.there
    if not lost.any():
        return ""
    return (
        f"{int(lost.sum())} rows of derivatives are left out, in {int(lost.any(axis=1).sum())} "
        "samples: an observable is missing there, and so the derivative of its logarithm"
    )


def _derivatives(
    dataset: Dataset, inputs: npt.NDArray[np.bool_], outputs: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """Return the arrays of derivatives that logarithms of marked inputs and outputs change.

    Adjoints become whole tangents, the part of dc/dy that the functionals see.
    """
    found = dataset.derivatives(slice(None))
    if found is None:
        return {}
    T = found.T / np.where(outputs, dataset.C, 1.0)[:, :, None]
    size = np.where(inputs, dataset.Y, 1.0)
    if dataset.directions is not None:
        return {"directions": found.V / size[:, None], "dC_dV": T}
    T *= size[:, None]
    return {"dC_dY": T} if dataset.dW_dY is None else {"dC_dY": T, "dW_dY": None}
