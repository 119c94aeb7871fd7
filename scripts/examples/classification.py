"""What the examples of classification share: a training with its costs, its accuracy, its file."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import surrogates
from surrogates.config import check
from surrogates.data import PARTS, Dataset
from surrogates.files import check_writable
from surrogates.model import describe
from surrogates.model import file as export
from surrogates.model.classifier import Assessment, Classifier, assess
from surrogates.model.loaded import LoadedClassifier
from surrogates.training import history
from surrogates.training.config import TrainConfig
from surrogates.training.deploy import deployed
from surrogates.training.fit import FitResult, fit
from surrogates.training.train import about

OPTIMIZERS = {
    "gnvpro": "GNvpro",
    "gn": "GN without VarPro",
    "lbfgs": "L-BFGS, VarPro",
    "adam": "Adam",
    "sgd": "SGD",
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training and what came of it.

    Attributes:
        settings: Of the training.
        result: The training's result.
        classifier: The calibrated classifier.
        found: How good it is on each part, by the part's name.
        wall: Seconds of training.
        cpu: The same, of processor time.
    """

    settings: TrainConfig
    result: FitResult
    classifier: Classifier
    found: Mapping[str, Assessment]
    wall: float
    cpu: float

    @property
    def label(self) -> str:
        """The name of the optimizer."""
        return OPTIMIZERS[self.settings.optimizer.name]

    def reached(self, accuracy: float) -> float:
        """Give the seconds until the validation accuracy exceeded one, infinity if never."""
        return next(
            (r.seconds for r in self.result.history if 1 - r.validation_error > accuracy), math.inf
        )


def train(dataset: Dataset, settings: TrainConfig, network: torch.nn.Module | None = None) -> Run:
    """Train a classifier, and look at each part of the dataset; `fit` has the arguments."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = fit(dataset, settings, network=network)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    classifier = deployed(result, dataset)
    assert isinstance(classifier, Classifier)
    found = {name: assess(classifier, *map(torch.from_numpy, dataset.part(name))) for name in PARTS}
    return Run(
        settings=settings, result=result, classifier=classifier, found=found, wall=wall, cpu=cpu
    )


def check_out(path: Path) -> None:
    """Refuse the path of a classifier's file that could not be written in the end."""
    check(path.suffix == ".pt", f"a classifier's file ends in .pt; got {str(path)!r}")
    check_writable(path)


def save(run: Run, dataset: Dataset, path: Path) -> LoadedClassifier:
    """Write a classifier and its history, and give what is loaded from the file.

    Raises:
        RuntimeError: If the loaded classifier is not the one that was trained.
    """
    training = about(run.classifier, run.result, dataset, run.settings)
    held_out = {name: run.found[name] for name in PARTS[1:]}
    export.save(
        run.classifier, describe.metadata(dataset, training=training, errors=held_out), path
    )
    history.write(path.with_suffix(".history.jsonl"), run.result.history)
    loaded = surrogates.load(path)
    assert isinstance(loaded, LoadedClassifier)
    Y = dataset.part("test")[0]
    expected = run.classifier(torch.from_numpy(Y)).numpy()
    if not np.allclose(loaded.logits(Y), expected, rtol=1e-9, atol=1e-9):
        raise RuntimeError(f"{path} does not give the logits of the classifier that was trained")
    return loaded


def per_cent(share: float) -> str:
    """Write a share, without the sign."""
    return f"{100 * share:.2f}"
