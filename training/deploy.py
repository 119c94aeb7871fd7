"""From a training's result to the surrogate that is called.

That of a regression has its domain and error bars, that of a classification its domain and the
temperature that calibrates its probabilities.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from scipy.optimize import brentq
from torch import Tensor

from surrogates.classifier import Classifier
from surrogates.dataset import Dataset
from surrogates.surrogate import Domain, ErrorBars, Surrogate

from .features import CHUNK
from .fit import FitResult, TrainConfig
from .varpro import tall_svd, with_ones

TEMPERATURES = (1e-3, 1e3)
"""Bounds of `temperature`."""

_SHARES = torch.linspace(0, 1, 101, dtype=torch.float64)


def deployed(result: FitResult, dataset: Dataset, *, alpha2: float) -> Surrogate:
    """Make the surrogate of a training, a `Classifier` where the dataset's task is classification.

    Args:
        result: Of `fit`.
        dataset: What it was trained on; its training and validation samples are used.
        alpha2: Weight of ||W||^2 / 2 in the training.

    Returns:
        With error bars, or calibrated on the validation samples by `temperature`.
    """
    domain = Domain.of(dataset.part("train")[0])
    parts = (result.features, result.W, result.y_shift, result.y_scale, domain)
    if dataset.info.task == "classification":
        bare = Classifier(*parts)
        Y, C = map(torch.from_numpy, dataset.part("validation"))
        logits = torch.cat([bare(piece) for piece in torch.split(Y, CHUNK)])
        return Classifier(*parts, temperature(logits, C))
    return Surrogate(*parts, _error_bars(result, dataset, alpha2, Surrogate(*parts)))


def about(
    surrogate: Surrogate, result: FitResult, dataset: Dataset, settings: TrainConfig
) -> dict[str, Any]:
    """Say how a surrogate was trained, for the metadata of its file."""
    said = {
        "optimizer": settings.optimizer,
        "settings": settings,
        "reason": result.reason.name.lower(),
        "work_units": result.history[-1].work_units,
        "samples": dataset.size("train"),
        "c_mean": dataset.part("train")[1].mean(axis=0),
    }
    if isinstance(surrogate, Classifier):
        said["temperature"] = float(surrogate.temperature)
    return said


def _error_bars(result: FitResult, dataset: Dataset, alpha2: float, bare: Surrogate) -> ErrorBars:
    """Find the error bars of a surrogate that has none.

    Their shape (see `ErrorBars`) is that of W's posterior and a share of constant variance, and
    their size is one factor for each output. Both are those of the largest likelihood of the
    validation samples' errors, taken as independent and normal: for a given share rho,

        g_i = 1 - rho + rho z_i^T G z_i / mean + d_i^2,    sigma_j^2 = mean_i r_ij^2 / g_i

    and rho, one of 101 values, minimises mean_i log g_i + mean_j log sigma_j^2. The solver's data
    have no noise, and rho is close to 1 there: the errors are small where the features are well
    covered. Noise in c makes it smaller.
    """
    Z = _Z(result, torch.from_numpy(dataset.part("train")[0]))
    _, s, V = tall_svd(Z, len(Z) ** -0.5)
    values = torch.clamp(s.square() + alpha2, min=1e-16 * float(s[0]) ** 2)
    leverage = V.T / values.sqrt()[:, None] / (s.square() / values).sum().sqrt()
    Y, C = map(torch.from_numpy, dataset.part("validation"))
    variances = torch.zeros((len(_SHARES), C.shape[1]), dtype=torch.float64)
    misfit = torch.zeros(len(_SHARES), dtype=torch.float64)
    for y, c in zip(torch.split(Y, CHUNK), torch.split(C, CHUNK), strict=True):
        q = (_Z(result, y) @ leverage.T).square().sum(dim=1)
        g = 1 + _SHARES[:, None] * (q - 1) + bare.squared_distance(y)
        variances += (1 / g) @ (bare(y) - c).square() / len(Y)
        misfit += g.log().sum(dim=1) / len(Y)
    wrong = (variances > 0).all(dim=0)  # an output without any error says nothing of the share
    misfit += variances[:, wrong].log().sum(dim=1) / max(1, int(wrong.sum()))
    best = int(misfit.argmin())
    share = float(_SHARES[best])
    sigma = variances[best].sqrt()
    return ErrorBars(leverage=share**0.5 * leverage, floor=1 - share, sigma=sigma)


def temperature(logits: Tensor, C: Tensor) -> float:
    r"""Find the temperature that calibrates logits (Guo et al. 2017).

    T > 0 minimises the mean cross-entropy of softmax(logits / T), which is convex in 1 / T: at the
    minimum the mean logit of the true class, mean_i c_i^T l_i, is that which the probabilities
    expect, mean_i p_i^T l_i.

    Where every sample is classified rightly there is no minimum: the smaller T, the less the
    cross-entropy. That n of n samples are right says that the next one is, with the probability
    (n + 1) / (n + 2) (rule of succession), and T is then such that the mean of the largest
    probabilities is this. In any case T lies within `TEMPERATURES`; the upper bound is met where
    the logits are no better than equal ones.

    Args:
        logits: (n, n_classes), finite float64.
        C: True probabilities of the classes, one-hot as a rule, (n, n_classes).
    """
    n = len(logits)
    logits = logits - logits.max(dim=1, keepdim=True).values
    true = float((C * logits).sum()) / n

    def excess(inverse: float) -> float:
        p = torch.softmax(inverse * logits, dim=1)
        if true == 0:
            return float(p.max(dim=1).values.mean()) - (n + 1) / (n + 2)
        return float((p * logits).sum()) / n - true

    low, high = (1 / bound for bound in reversed(TEMPERATURES))
    if excess(low) >= 0:
        return 1 / low
    if excess(high) <= 0:
        return 1 / high
    return 1 / float(brentq(excess, low, high, xtol=1e-15))


def _Z(result: FitResult, Y: Tensor) -> Tensor:
    """Give the features of unscaled parameters, in double precision, and the column of ones."""
    features = copy.deepcopy(result.features)
    cast(torch.nn.Module, features).double()
    with torch.no_grad():
        pieces = torch.split(Y, CHUNK)
        F = [features.forward((piece - result.y_shift) / result.y_scale) for piece in pieces]
    return with_ones(torch.cat(F))
