"""Warnings to the user about a dataset and a surrogate's errors, a line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogates.data import Dataset, Split, Status
from surrogates.data.outliers import outliers
from surrogates.errors import listed

from .scaling import moments
from .selection.folds import fresh
from .selection.ridge import ridge

POOR = 0.5
"""Least error of an output, over its spread, for a warning."""

_SHOWN = 5  # names or numbers in a warning


def data_warnings(dataset: Dataset, *judges: str) -> list[str]:
    """Return warnings about the samples: repeats, too few of them, and outliers.

    Args:
        dataset: The samples.
        judges: The parts whose errors are reported.
    """
    lines = [line for part in judges for line in _seen_inputs(dataset, part)]
    done = np.flatnonzero(
        (dataset.status == Status.DONE) & np.isin(dataset.split, (Split.TRAIN, Split.VALIDATION))
    )
    n, n_in = len(done), dataset.Y.shape[1]
    derivatives = dataset.derivatives(done)
    if derivatives is not None and (text := derivatives.gaps_in_words()):
        lines.append(text)
    if n < 2 * n_in and derivatives is None:
        lines.append(
            f"{n} samples of {n_in} inputs are fewer than 2 for each: little can be learned "
            "beyond a trend"
        )
    if dataset.info.task == "classification":
        counts = dataset.C[done].sum(axis=0)
        few = [name for name, count in zip(dataset.info.c_names, counts, strict=True) if count < 2]
        if few:
            lines.append(f"classes with a single sample: {listed(few, _SHOWN)}")
        return lines
    found = outliers(dataset.C[done])
    if found:
        worst = max(found, key=lambda one: one[2])
        numbers = [str(done[row]) for row, _, _ in found]
        several = len(found) > 1
        lines.append(
            f"sample{'s' * several} {listed(numbers, _SHOWN)} (from 0) "
            f"{'lie' if several else 'lies'} far from all others, by up to {worst[2]:.3g} robust "
            f"deviations ({dataset.info.c_names[worst[1]]}), and may decide the fit: --exclude "
            f"leaves {'them' if several else 'it'} out"
        )
    return lines


def _seen_inputs(dataset: Dataset, part: str) -> list[str]:
    """Return a warning if samples of a part have the inputs of samples of earlier parts."""
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
    """Return a warning that names badly fitted outputs, by the errors on the last part."""
    if not errors:
        return []
    part, found = list(errors.items())[-1]
    names = dataset.info.c_names
    poor = [j for j, value in enumerate(found.output_spread) if not value <= POOR]
    if not poor:
        return []
    poor.sort(key=lambda j: -found.output_spread[j])
    said = listed([f"{names[j]} {found.output_spread[j]:.2f}" for j in poor], _SHOWN)
    return [f"badly fitted, by their error over their spread on {part}: {said}"]


def mirror_warnings(dataset: Dataset, errors: dict[str, Any]) -> list[str]:
    """Return a warning if ridge regression has less error on the last part."""
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
            return [ridge_warning(f"{name} ridge", f"the {part} samples")]
    return []


def ridge_warning(name: str, where: str) -> str:
    """Return the warning that a ridge regression has less error."""
    return (
        f"{name} regression on the same rows has less error on {where} than this surrogate: "
        "take --effort default, or more samples"
    )
