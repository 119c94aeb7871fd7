"""Shared code of the classification examples: a training with its costs, accuracy and file."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

import surrogates
from surrogates import Dataset, LoadedClassifier, TrainConfig
from surrogates.config import check
from surrogates.data import PARTS
from surrogates.files import check_writable
from surrogates.model.summaries import Assessment
from surrogates.training import history

OPTIMIZERS = {
    "gnvpro": "GNvpro",
    "gn": "GN without VarPro",
    "lbfgs": "L-BFGS, VarPro",
    "adam": "Adam",
    "sgd": "SGD",
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training and its results.

    Attributes:
        settings: Settings of the training.
        classifier: The calibrated classifier.
        found: Its accuracy and other measures on each part, by the part's name.
        wall: Seconds of training.
        cpu: Seconds of processor time.
    """

    settings: TrainConfig
    classifier: LoadedClassifier
    found: Mapping[str, Assessment]
    wall: float
    cpu: float

    @property
    def label(self) -> str:
        """The name of the optimizer."""
        return OPTIMIZERS[self.settings.optimizer.name]

    def reached(self, accuracy: float) -> float:
        """Return the seconds until the validation accuracy exceeds a value; infinity if never."""
        return next(
            (r.seconds for r in self.classifier.history if 1 - r.validation_error > accuracy),
            math.inf,
        )


def train(dataset: Dataset, settings: TrainConfig, network: torch.nn.Module | None = None) -> Run:
    """Train a classifier, and measure it on each part of the dataset.

    Args:
        dataset: The dataset.
        settings: All settings: nothing is chosen.
        network: A module instead of the network that they describe.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    classifier = surrogates.train(dataset, settings, effort="fast", network=network)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert isinstance(classifier, LoadedClassifier)
    found = {name: classifier.evaluate(dataset, name) for name in PARTS}
    return Run(settings=settings, classifier=classifier, found=found, wall=wall, cpu=cpu)


def check_out(path: Path) -> None:
    """Refuse, before the work, a path to which a classifier cannot be written."""
    check(path.suffix == ".pt", f"a classifier's file ends in .pt; got {str(path)!r}")
    check_writable(path)


def save(run: Run, path: Path) -> LoadedClassifier:
    """Write a classifier and its history, and return the classifier loaded from the file."""
    run.classifier.save(path)
    history.write(path.with_suffix(".history.jsonl"), run.classifier.history)
    loaded = surrogates.load(path)
    assert isinstance(loaded, LoadedClassifier)
    return loaded


def per_cent(share: float) -> str:
    """Write a share in per cent, without the sign."""
    return f"{100 * share:.2f}"
