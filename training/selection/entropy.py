"""Classifiers judged by the cross-entropy of held-out logits, at their best temperature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor

from surrogates.data import Dataset

from ..config import TrainConfig
from ..fit import FitResult
from ..inner.losses import CrossEntropy, Loss
from ..temperature import temperature
from .contest import parameters
from .folds import Rows

_RIDGE = 1e-3  # penalty on the weights' squares: held-out logits may separate the classes
_LEFT_OUT = 0.03  # members with a smaller share of the weights are left out
_ITERATIONS = 100  # of a training, about; it ends when the loss no longer falls
_RATE = 2e10  # operations a second of one core, about
_OVERHEAD = 0.015  # seconds of an iteration, about

NETWORKS: tuple[dict[str, Any], ...] = (
    {
        "network.kind": "ode",
        "network.width": 8,
        "regularisation.alpha1": 1e-3,
        "regularisation.alpha2": 1e-3,
    },
    {
        "network.kind": "mlp",
        "network.width": 16,
        "regularisation.alpha1": 1e-3,
        "regularisation.alpha2": 1e-3,
    },
    {
        "network.kind": "mlp",
        "network.width": 16,
        "regularisation.alpha1": 1e-2,
        "regularisation.alpha2": 1e-3,
    },
    {
        "network.kind": "ode",
        "network.width": 12,
        "regularisation.alpha1": 1e-3,
        "regularisation.alpha2": 1e-4,
    },
    {
        "network.kind": "mlp",
        "network.width": 16,
        "regularisation.alpha1": 1e-4,
        "regularisation.alpha2": 1e-2,
    },
    {
        "network.kind": "mlp",
        "network.width": 8,
        "regularisation.alpha1": 1e-4,
        "regularisation.alpha2": 1e-4,
    },
    {
        "network.kind": "resnet",
        "network.width": 16,
        "regularisation.alpha1": 1e-3,
        "regularisation.alpha2": 1e-3,
    },
    {
        "network.kind": "mlp",
        "network.width": 24,
        "regularisation.alpha1": 1e-3,
        "regularisation.alpha2": 1e-4,
    },
    {
        "network.kind": "ode",
        "network.width": 16,
        "regularisation.alpha1": 1e-2,
        "regularisation.alpha2": 1e-3,
    },
    {
        "network.kind": "ode",
        "network.width": 8,
        "regularisation.alpha1": 1e-5,
        "regularisation.alpha2": 1e-4,
    },
)
"""Settings in the order in which they are tried: `fast`'s, then ten times its alpha1 or alpha2."""


def calibrated(logits: Tensor, C: Tensor) -> tuple[float, float]:
    """Return the best temperature, and the mean cross-entropy at it; infinity if not finite.

    The temperature is best for these samples and one more, whose classes are equally probable
    (similar to Platt 1999, "Probabilistic outputs for support vector machines"): it stays above
    zero even if all of a few samples are classified correctly.
    """
    if not bool(torch.isfinite(logits).all()):
        return 1.0, math.inf
    n, n_classes = C.shape
    t = temperature(logits, (n * C + 1 / n_classes) / (n + 1))
    return t, float(CrossEntropy().values(logits / t, C).mean())


class HeldOutEntropy(CrossEntropy):
    """Cross-entropy whose best iteration has the least held-out loss.

    With few held-out samples, the least share of errors over many iterations is low by luck: a
    candidate chosen by it cannot be compared with others.
    """

    selects_by_error = False
    watched = "loss"


@dataclass(frozen=True, kw_only=True)
class Entropy:
    """Judge classifiers by the cross-entropy of their held-out logits at the best temperature.

    Attributes:
        n_classes: Number of classes.
    """

    n_classes: int
    near: float = 1.5
    hopeless: float = 2.0
    loss: Loss | None = HeldOutEntropy()

    variants: tuple[dict[str, Any], ...] = ()
    alphas: tuple[float, ...] = ()  # they are among the settings that are tried

    @property
    def networks(self) -> tuple[dict[str, Any], ...]:
        """Settings in the order in which they are tried."""
        return NETWORKS

    def name(self, settings: TrainConfig) -> str:
        """Return settings in words."""
        weights, network = settings.regularisation, settings.network
        alphas = f"alpha1 {weights.alpha1:.0e}, alpha2 {weights.alpha2:.0e}"
        return f"{network.kind} {network.width}, {alphas}"

    def held(self, dataset: Dataset, result: FitResult, rows: Rows) -> Tensor:
        """Return logits."""
        return result.predict(torch.from_numpy(dataset.Y[rows]))

    def score(self, dataset: Dataset, held: Tensor, rows: Rows) -> float:
        """Return the cross-entropy of the held-out logits."""
        return calibrated(held, torch.from_numpy(dataset.C[rows]))[1]

    @property
    def directions(self) -> float:
        """No directions: classes have no derivatives."""
        return 0.0

    def seconds(self, settings: TrainConfig, n: int, n_in: int) -> float:
        """Estimate the seconds of a training of n samples on one core: some 100 iterations."""
        iterations = min(settings.stopping.work_units / 2.2, _ITERATIONS)
        m = settings.network.width + 1
        unknowns = self.n_classes * m
        hessian = n * unknowns**2 / 2 + unknowns**3 / 3
        products = 15 * 4 * n * unknowns
        passes = 40 * n * parameters(settings, n_in)
        return iterations * ((hessian + products + passes) / _RATE + _OVERHEAD)


def mixed(logits: Sequence[Tensor], C: Tensor) -> npt.NDArray[np.float64]:
    """Return weights >= 0 with sum one for the mean logits of the least cross-entropy.

    The search leaves the sum free, as it acts as a temperature, and divides by it at the end. Small
    weights are dropped: they cost a member and gain nothing.

    Args:
        logits: The candidates' calibrated logits of the same samples, (n, n_classes) each.
        C: Classes, (n, n_classes).
    """
    stack = torch.stack(list(logits))
    kept = np.arange(len(stack))
    while True:
        some = stack[torch.from_numpy(kept)]

        def objective(
            w: npt.NDArray[np.float64], some: Tensor = some
        ) -> tuple[float, npt.NDArray[np.float64]]:
            outputs = torch.einsum("m,mnk->nk", torch.from_numpy(w), some)
            value = float(CrossEntropy().values(outputs, C).mean()) + _RIDGE / 2 * float(w @ w)
            slopes = CrossEntropy().gradient(outputs, C) / len(C)
            gradient = torch.einsum("nk,mnk->m", slopes, some).numpy()
            return value, gradient + _RIDGE * w

        start = np.full(len(kept), 1 / len(kept))
        bounds = [(0.0, None)] * len(kept)
        found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds).x
        if not found.sum() > 0:
            found = np.eye(len(kept))[0]
        found = found / found.sum()
        if (found >= _LEFT_OUT).all():
            weights = np.zeros(len(stack))
            weights[kept] = found
            return weights
        kept = kept[found >= _LEFT_OUT]
