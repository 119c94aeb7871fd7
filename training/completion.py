"""Single missing observables: filled in before training, and not counted afterwards.

If entries of C are missing (NaN), kernel regression predicts each output from the samples that have
it, and the predictions replace the missing entries. The scales come from the complete samples if
there are enough. The predictions add no information beyond the samples, but let all outputs share
features and one factorisation. Errors and error bars use only entries that are present.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from surrogates.config import check
from surrogates.data import Dataset, Status

from .scaling import moments
from .selection import kernel
from .selection.kernel import Form
from .selection.likelihood import search

_FORM = Form(kernel="matern52", degree=0)  # rough: it stays near the samples' values
_LEAST = 3
_ENOUGH = 20  # least number of complete samples to find the scales from them alone


def completed(dataset: Dataset) -> Dataset:
    """Fill in the missing entries of the done samples; return an unchanged dataset if none is.

    Raises:
        InputError: If fewer than three samples have an output.
    """
    done = dataset.status == Status.DONE
    C = torch.from_numpy(dataset.C[done].copy())
    missing = torch.isnan(C)
    if not bool(missing.any()):
        return dataset
    counts = (~missing).sum(dim=0)
    few = int(counts.argmin())
    check(
        int(counts[few]) >= _LEAST,
        f"the observable {dataset.info.c_names[few]} is there in {int(counts[few])} samples; "
        f"training needs it in {_LEAST}",
    )
    Y = torch.from_numpy(dataset.Y[done])
    shift, spread, _ = moments(Y)
    X = (Y - shift) / torch.where(spread > 0, spread, 1.0)
    whole = ~missing.any(dim=1)
    chosen = whole if int(whole.sum()) >= _ENOUGH else torch.ones_like(whole)
    fit = search(X[chosen], _by_means(C[chosen], missing[chosen]), _FORM)
    for j in torch.nonzero(missing.any(dim=0))[:, 0].tolist():
        there = ~missing[:, j]
        mean = C[there, j].mean()
        unit = C[there, j].std().clamp(min=1e-300)
        found = kernel.solve(X[there], ((C[there, j] - mean) / unit)[:, None], fit)
        guess = 0.0 if found is None else found.predict(X[~there])[:, 0]
        C[~there, j] = mean + unit * guess
    filled = dataset.C.copy()
    filled[done] = C.numpy()
    return dataclasses.replace(dataset, C=filled)


def _by_means(C: Tensor, missing: Tensor) -> Tensor:
    """Standardise the outputs, with their means in place of missing entries."""
    mean = C.nanmean(dim=0)
    centred = torch.where(missing, 0.0, C - mean)
    spread = (centred.square().sum(dim=0) / (~missing).sum(dim=0)).sqrt()
    return centred / torch.where(spread > 0, spread, 1.0)
