"""A surrogate described for its file: values that JSON knows, of its dataset and its training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from surrogates.data import Dataset
from surrogates.provenance import provenance

from .metadata import DESCRIBED, FORMAT
from .summaries import Assessment, Evaluation

_VERSIONS = {"regression": 2, "classification": 3}  # the first version that reads the file


def metadata(
    dataset: Dataset, *, training: Mapping[str, Any], errors: Mapping[str, Evaluation | Assessment]
) -> dict[str, Any]:
    """Return the description of a surrogate, for those who have only its file.

    Args:
        dataset: The dataset that it was trained on.
        training: Settings and outcome of the training: dataclasses, mappings, arrays and values.
        errors: Errors on held-out parts of the dataset, by the part's name.

    Returns:
        Values that JSON knows; a number that is not finite becomes None. ``task``, ``problem``,
        names, units, bounds and coordinates as in `Info`; ``dataset`` with its digest and
        provenance; ``training``; ``errors``; ``versions`` and ``revision``. Neither the time nor
        the command line is among them: the same training makes the same file, to the byte.
    """
    info = plain(dataset.info)
    task = info.pop("task")
    made = provenance(torch, np)
    return {
        "format": FORMAT,
        "schema_version": _VERSIONS[task],
        "task": task,
        **{key: info.pop(key) for key in DESCRIBED},
        "dataset": {"digest": dataset.digest, **info},
        "training": plain(training),
        "errors": plain(errors),
        "versions": made["versions"],
        "revision": made["revision"],
    }


def plain(value: Any) -> Any:
    """Return dataclasses, arrays and mappings as JSON has them; None for a number not finite."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
