"""The temperature that calibrates a classifier's probabilities."""

from __future__ import annotations

import torch
from scipy.optimize import brentq
from torch import Tensor

TEMPERATURES = (1e-3, 1e3)
"""Bounds of `temperature`."""


def temperature(logits: Tensor, C: Tensor) -> float:
    r"""Find the temperature that calibrates logits (Guo et al. 2017).

    T > 0 minimises the mean cross-entropy of softmax(logits / T), which is convex in 1 / T: at the
    minimum the mean logit of the true class, mean_i c_i^T l_i, is that which the probabilities
    expect, mean_i p_i^T l_i.

    If every sample is classified correctly there is no minimum: the cross-entropy falls as T does.
    After n correct samples the next one is correct with the probability (n + 1) / (n + 2) (rule of
    succession), and T then makes the mean of the largest probabilities equal to this. T always lies
    within `TEMPERATURES`; it is the upper bound if the logits are no better than equal ones.

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
