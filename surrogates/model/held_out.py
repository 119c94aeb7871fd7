"""The errors of a surrogate or classifier on a part of a dataset."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surrogates.data import Dataset
from surrogates.data.derivatives import seen

from .classifier import assess
from .metrics import evaluate, jacobian_errors
from .summaries import Assessment, ErrorSummary, Evaluation

if TYPE_CHECKING:
    from .loaded import LoadedSurrogate


def evaluated(surrogate: LoadedSurrogate, dataset: Dataset, part: str) -> Evaluation | Assessment:
    """Measure the errors of a surrogate in memory; see `LoadedSurrogate.evaluate`."""
    first = dataset.part(part)[0][:1]  # whose predictions are checked
    surrogate(first)
    bars = surrogate.task == "regression" and surrogate.metadata["schema_version"] > 1
    if bars:
        surrogate.predict_std(first)
    mean, spread = None, surrogate.metadata["training"].get("c_std")
    if surrogate.task == "regression":
        mean = surrogate.training_mean
    if spread is not None and None in spread:
        spread = None
    engine: Any = surrogate.engine
    module = getattr(engine, "module", None)
    try:
        return held_out_errors(module or _OfTensors(engine, bars), dataset, part, mean, spread)
    except engine.FAILURES as error:
        raise surrogate.failure("forward", error) from error


class _OfTensors:
    """An engine's methods for tensors, as its module would have them."""

    def __init__(self, engine: Any, bars: bool) -> None:
        constants = getattr(engine, "reference", engine)
        self.engine, self.tail = engine, torch.from_numpy(constants.tail)
        marks = torch.from_numpy(constants.log_outputs)
        self.logs = types.SimpleNamespace(outputs=marks) if bool(marks.any()) else None
        if bars:
            self.predict_std = self._on_tensors("predict_std")
        self.jacobian = self._on_tensors("jacobian")

    def __call__(self, y: Tensor) -> Tensor:
        return self._on_tensors("forward")(y)

    def _on_tensors(self, name: str) -> Callable[[Tensor], Tensor]:
        method = getattr(self.engine, name)
        return lambda y: torch.from_numpy(method(y.contiguous().numpy()))


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
