"""A summary of a dataset's samples, and the faults in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from .derivatives import ARRAYS
from .description import Info, Split, Status
from .format import SampleArrays
from .ranges import runs, sentence


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Numbers that summarise the samples of a file.

    Attributes:
        status: Number of samples of each `Status`.
        split: Number of samples of each part: train, validation, test.
        made_by: Number of samples of each of ``info.makers``.
        y_range: Least and largest value of Y.
        c_range: The same of C over the done samples; NaN if there are none.
        spread: Standard deviation of each output over the done samples, relative to its root mean
            square, (n_c,); NaN where the output is always zero, or no sample is done.
        classes: Number of done samples of each class and part, (n_c, 3); None for a regression.
        digest: As `Dataset.digest`.
        missing: Number of entries of C that done samples lack.
        derivatives: Number of done samples that have derivatives.
        derivative_gaps: Number of rows of derivatives of these samples, directions or y, that are
            not finite and are left out of trainings.
        derivative_rows: Number of all rows of these samples.
    """

    status: dict[Status, int]
    split: dict[str, int]
    made_by: tuple[int, ...]
    y_range: tuple[float, float]
    c_range: tuple[float, float]
    spread: Array
    classes: npt.NDArray[np.int64] | None
    digest: str
    missing: int = 0
    derivatives: int = 0
    derivative_gaps: int = 0
    derivative_rows: int = 0


def are_probabilities(C: Array) -> npt.NDArray[np.bool_]:
    """Return for each row whether it holds class probabilities, (n,): none negative, their sum 1.

    The sum may be off by 1e-6, which allows for single precision.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray((C >= 0).all(axis=1) & (np.abs(C.sum(axis=1) - 1) <= 1e-6))


def problems(
    info: Info, n: int, windows: Iterable[tuple[int, SampleArrays]], max_residual: float
) -> list[str]:
    """List the faults of n samples that come in windows; see `Stored.problems`.

    Args:
        info: The description of the dataset.
        n: Number of samples.
        windows: Consecutive samples, each window with the number of its first sample in the set.
        max_residual: Largest relative residual that a done sample may have.
    """
    missing: list[range] = []
    counts: dict[str, list[Any]] = {}  # for each fault the number of samples, and the first one
    for first, window in windows:
        missing += runs(window.status == Status.MISSING, first)
        for fault, bad in _faults(info, window, max_residual).items():
            rows = np.flatnonzero(bad)
            seen = counts.setdefault(fault, [0, ""])
            if len(rows) and not seen[0]:
                why = f" ({window.failure[rows[0]]})" if fault == "failed" else ""
                seen[1] = f"{first + rows[0]}{why}"
            seen[0] += len(rows)
    found = []
    if n < info.total:
        found.append(f"{n} of {info.total} samples: a shard; merge it with the others")
    if missing:
        found.append(sentence(missing, "missing"))
    for fault, (number, at) in counts.items():
        if number:
            found.append(f"{number} sample{'s' * (number > 1)} {fault}, first {at}")
    return found


def _derivative_faults(
    info: Info, window: SampleArrays, done: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return which done samples have derivatives that are no data.

    In sets that no run of this package has made as a whole, NaN says that there are none.
    """
    faults = {}
    for name in ARRAYS:
        if (values := getattr(window, name)) is not None:
            rows = values.reshape(len(done), -1)
            bad = np.isinf(rows) if info.design in ("imported", "joined") else ~np.isfinite(rows)
            faults[f"with a value of {name} that is not finite"] = done & bad.any(axis=1)
    return faults


def _faults(
    info: Info, window: SampleArrays, max_residual: float
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return for each possible fault which samples have it, (n,)."""
    done = window.status == Status.DONE
    slack = 1e-12 * np.maximum(np.abs(info.y_lower), np.abs(info.y_upper))
    inside = (info.y_lower - slack <= window.Y) & (info.y_upper + slack >= window.Y)
    loose = window.solver["residual"] > max_residual  # false for NaN: the problem computes none
    finite = {
        name: np.isfinite(array).reshape(len(done), -1).all(axis=1)
        for name, array in (("Y", window.Y), ("C", window.C))
    }
    if info.missing == "mask":
        some = ~np.isnan(window.C).all(axis=1)
        finite["C"] = some & ~np.isinf(window.C).any(axis=1)
    faults = {
        "failed": window.status == Status.FAILED,
        "with a value of Y that is not finite": ~finite["Y"],
        "with a value of C that is not finite": done & ~finite["C"],
        **_derivative_faults(info, window, done),
        "with parameters out of bounds": ~inside.all(axis=1),
        f"with a residual above {max_residual:g}": done & loose,
        "with an unknown status": ~np.isin(window.status, list(Status)),
        "with an unknown split": ~np.isin(window.split, list(Split)),
        "with an unknown maker": window.made_by >= len(info.makers),
    }
    if info.task == "classification":
        unlikely = done & finite["C"] & ~are_probabilities(window.C)
        faults["with a C that is not a set of class probabilities"] = unlikely
    return faults
