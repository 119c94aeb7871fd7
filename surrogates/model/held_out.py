"""The errors of a surrogate or classifier on a part of a dataset."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from surrogates.data import Dataset
from surrogates.data.derivatives import seen

from .classifier import Assessment, assess
from .metrics import ErrorSummary, Evaluation, evaluate, jacobian_errors


def held_out_errors(
    module: Any, dataset: Dataset, part: str, mean: Any = None, spread: Any = None
) -> Evaluation | Assessment:
    """Measure a surrogate's errors on a part of a dataset.

    Args:
        module: The surrogate, or classifier.
        dataset: The dataset.
        part: Its part.
        mean: Mean of the training observables, (n_out,); for a regression.
        spread: Their standard deviation, (n_out,); see `surrogates.model.metrics.evaluate`.

    Returns:
        An `Evaluation`, of a classification an `Assessment`.

    Raises:
        InputError: If the part has no samples.
    """
    Y, C = map(torch.from_numpy, dataset.part(part))
    if dataset.info.task == "classification":
        return assess(module, Y, C)
    mean = torch.as_tensor(mean, dtype=torch.float64)
    spread = None if spread is None else torch.as_tensor(spread, dtype=torch.float64)
    std = getattr(module, "predict_std", None)  # a file of schema version 1 has none
    found = evaluate(module, Y, C, mean=mean, spread=spread, predict_std=std)
    return dataclasses.replace(found, jacobian=held_out_jacobian(module, dataset, part))


def held_out_jacobian(module: Any, dataset: Dataset, part: str) -> dict[str, ErrorSummary]:
    """Measure the errors of a surrogate's dc/dy on a part of a dataset.

    Of a dataset with derivatives of functionals, they are those of the part of c that these see.

    Returns:
        Summaries by the unit of the outputs; see `surrogates.model.metrics.jacobian_errors`. Empty
        if the part has no derivatives.
    """
    info, rows = dataset.info, dataset.rows_of(part)
    known = dataset.derivatives(rows)
    if known is None:
        return {}
    return jacobian_errors(
        module.jacobian,
        dataset.Y[rows],
        known.V,
        known.T,
        units=info.c_units,
        ranges=info.y_upper - info.y_lower,
        seen=seen(info),
    )
