"""Regressions judged by the mean square of their scaled held-out residuals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from surrogates.data import Dataset

from ..config import TrainConfig
from ..fit import FitResult
from ..inner.losses import Loss
from ..outer.dense import flops
from .contest import parameters
from .folds import Rows

_RATE = 4e10  # operations a second of one core, about
_TRAFFIC = 8e-9  # seconds for an entry of the features' derivative, about
_FORMED = 27e-9  # seconds more where it is formed
_OVERHEAD = 0.02  # seconds of an iteration, about

NETWORKS: tuple[dict[str, Any], ...] = (
    {"network.kind": "mlp", "network.width": 16, "regularisation.alpha1": 1e-3},
    {"network.kind": "ode", "network.width": 8, "regularisation.alpha1": 1e-6},
    {"network.kind": "mlp", "network.width": 16, "regularisation.alpha1": 1e-4},
    {"network.kind": "mlp", "network.width": 16, "regularisation.alpha1": 1e-2},
    {"network.kind": "ode", "network.width": 12, "regularisation.alpha1": 1e-5},
    {"network.kind": "mlp", "network.width": 8, "regularisation.alpha1": 1e-4},
    {"network.kind": "mlp", "network.width": 24, "regularisation.alpha1": 1e-3},
    {"network.kind": "resnet", "network.width": 16, "regularisation.alpha1": 1e-4},
    {"network.kind": "ode", "network.width": 16, "regularisation.alpha1": 1e-4},
    {"network.kind": "mlp", "network.width": 16, "regularisation.alpha1": 1e-6},
)
"""Settings in the order in which they are tried."""

ALONG: tuple[dict[str, Any], ...] = (
    {"network.kind": "mlp", "network.width": 16, "regularisation.alpha1": 1e-6},
    {
        "network.kind": "mlp",
        "network.width": 32,
        "network.cells": 1,
        "regularisation.alpha1": 1e-6,
    },
    {"network.kind": "mlp", "network.width": 16, "regularisation.alpha1": 1e-4},
    {"network.kind": "ode", "network.width": 8, "regularisation.alpha1": 1e-6},
    {"network.kind": "mlp", "network.width": 24, "regularisation.alpha1": 1e-6},
    {"network.kind": "mlp", "network.width": 16, "regularisation.alpha1": 1e-2},
    {
        "network.kind": "mlp",
        "network.width": 48,
        "network.cells": 1,
        "regularisation.alpha1": 1e-6,
    },
    {"network.kind": "mlp", "network.width": 32, "regularisation.alpha1": 1e-6},
    {"network.kind": "ode", "network.width": 12, "regularisation.alpha1": 1e-6},
    {"network.kind": "resnet", "network.width": 16, "regularisation.alpha1": 1e-6},
)
"""The same where each sample has derivatives in one direction or more.

A sample with r directions gives 1 + r equations for each output. They determine wider networks, and
leave less for the penalty to decide: where the equations determine theta, alpha1 only biases it.
The setting with a large alpha1 is for noisy derivatives.
"""

VARIANTS: tuple[dict[str, Any], ...] = (
    {"regularisation.alpha2": 1e-6},
    {"regularisation.alpha2": 1e-6, "network.linear": True},
    {"network.linear": True},
)
"""Changes of the best setting, which are tried after the settings."""

ALPHAS = tuple(10.0**k for k in range(-10, -1))
"""Values of alpha2 for the last W, if they are larger than in training."""


@dataclass(frozen=True, kw_only=True)
class Squares:
    """Judge regressions by the mean square of their scaled residuals.

    Attributes:
        scale: Divides residuals, (n_out,), units of c.
        n_seen: Number of targets in training.
        directions: Mean number of directions with derivatives of a sample.
    """

    scale: Tensor
    n_seen: int
    directions: float = 0.0
    near: float = 1.5**2
    hopeless: float = 2.0**2
    loss: Loss | None = None
    alphas: tuple[float, ...] = ALPHAS

    @property
    def networks(self) -> tuple[dict[str, Any], ...]:
        """Settings in the order in which they are tried."""
        return ALONG if self.directions >= 1 else NETWORKS

    @property
    def variants(self) -> tuple[dict[str, Any], ...]:
        """Changes of the best setting, which are tried after the settings."""
        return VARIANTS

    def name(self, settings: TrainConfig) -> str:
        """Return settings in words; alpha2 and the linear part only if they are no defaults."""
        network, weights = settings.network, settings.regularisation
        words = f"{network.kind} {network.width}"
        if network.cells != TrainConfig().network.cells:
            words += f", cells {network.cells}"
        words += f", alpha1 {weights.alpha1:.0e}"
        if weights.alpha2 != TrainConfig().regularisation.alpha2:
            words += f", alpha2 {weights.alpha2:.0e}"
        return words + ", linear part" * network.linear

    def held(self, dataset: Dataset, result: FitResult, rows: Rows) -> Tensor:
        """Return scaled residuals."""
        Y, C = (torch.from_numpy(values[rows]) for values in (dataset.Y, dataset.C))
        return (result.predict(Y) - C) / self.scale

    def score(self, dataset: Dataset, held: Tensor, rows: Rows) -> float:
        """Return the residuals' mean square."""
        return float(held.square().mean())

    def seconds(self, settings: TrainConfig, n: int, n_in: int) -> float:
        """Estimate the seconds of a training of n samples on one core."""
        width = settings.network.width
        theta = parameters(settings, n_in)
        others = theta - width * (n_in + 1) if settings.network.kind == "ode" else 0
        operations = flops(theta, others, n, width, self.n_seen, self.directions)
        operations += 2 * theta**3
        iterations = settings.stopping.work_units / (width + 5)
        if settings.network.linear:
            operations += n_in * width * theta * (2 * n * (1 + self.directions) + theta)
        n_rows = n * (1 + self.directions)
        traffic = width * (n * theta * _TRAFFIC + n_rows * others * _FORMED)
        return iterations * (operations / _RATE + traffic + _OVERHEAD)
