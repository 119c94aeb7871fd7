"""The weighted mean of candidates with the least held-out residual."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import nnls
from torch import Tensor

_LEFT_OUT = 0.03  # members with a smaller weight are left out
_HOPELESS = 100.0  # times the least error; beyond it, a weight is smaller than that


def stacked(residuals: Sequence[Tensor]) -> npt.NDArray[np.float64]:
    """Return weights >= 0 with sum one for the mean with the least held-out residual.

    Small weights are dropped: they cost a member and gain nothing.

    Args:
        residuals: The candidates' residuals on the same samples, (n, n_out) each.
    """
    flat = torch.stack([residual.reshape(-1) for residual in residuals])
    gram = (flat @ flat.T).numpy()
    # A far larger error would be left out below, and would hide the others' digits.
    kept = np.flatnonzero(gram.diagonal() <= _HOPELESS**2 * gram.diagonal().min())
    size = math.sqrt(float(gram.diagonal()[kept].sum())) or 1.0
    while True:
        # Least squares with non-negative weights; a heavy row holds their sum.
        root = np.linalg.cholesky(gram[np.ix_(kept, kept)] / size**2 + 1e-14 * np.eye(len(kept))).T
        system = np.vstack([root, np.full(len(kept), 1e4)])
        found = nnls(system, np.append(np.zeros(len(kept)), 1e4))[0]
        found /= found.sum()
        if (found >= _LEFT_OUT).all():
            weights = np.zeros(len(residuals))
            weights[kept] = found
            return weights
        kept = kept[found >= _LEFT_OUT]


def weighted(residuals: Sequence[Tensor], weights: Sequence[float] | npt.NDArray[Any]) -> Tensor:
    """Return the weighted sum of residuals."""
    total = torch.zeros_like(residuals[0])
    for residual, weight in zip(residuals, weights, strict=True):
        total += float(weight) * residual
    return total
