"""From a training's result to the surrogate that is called, with its domain and error bars."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor

from surrogates.dataset import Dataset
from surrogates.surrogate import Domain, ErrorBars, Surrogate

from .features import CHUNK
from .fit import FitResult
from .varpro import tall_svd, with_ones

_SHARES = torch.linspace(0, 1, 101, dtype=torch.float64)


def deployed(result: FitResult, dataset: Dataset, *, alpha2: float) -> Surrogate:
    """Make the surrogate of a training.

    The shape of the error bars (see `ErrorBars`) is that of W's posterior and a share of constant
    variance, and their size is one factor for each output. Both are those of the largest likelihood
    of the validation samples' errors, taken as independent and normal: for a given share rho,

        g_i = 1 - rho + rho z_i^T G z_i / mean + d_i^2,    sigma_j^2 = mean_i r_ij^2 / g_i

    and rho, one of 101 values, minimises mean_i log g_i + mean_j log sigma_j^2. The solver's data
    have no noise, and rho is close to 1 there: the errors are small where the features are well
    covered. Noise in c makes it smaller.

    Args:
        result: Of `fit`.
        dataset: What it was trained on; its training and validation samples are used.
        alpha2: Weight of ||W||^2 / 2 in the training.
    """
    Y = torch.from_numpy(dataset.part("train")[0])
    Z = _Z(result, Y)
    _, s, V = tall_svd(Z, len(Z) ** -0.5)
    values = torch.clamp(s.square() + alpha2, min=1e-16 * float(s[0]) ** 2)
    leverage = V.T / values.sqrt()[:, None] / (s.square() / values).sum().sqrt()
    parts = (result.features, result.W, result.y_shift, result.y_scale, Domain.of(Y.numpy()))
    bare = Surrogate(*parts)
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
    bars = ErrorBars(leverage=share**0.5 * leverage, floor=1 - share, sigma=variances[best].sqrt())
    return Surrogate(*parts, bars)


def _Z(result: FitResult, Y: Tensor) -> Tensor:
    """Give the features of unscaled parameters, in double precision, and the column of ones."""
    features = copy.deepcopy(result.features)
    cast(torch.nn.Module, features).double()
    with torch.no_grad():
        pieces = torch.split(Y, CHUNK)
        F = [features.forward((piece - result.y_shift) / result.y_scale) for piece in pieces]
    return with_ones(torch.cat(F))
