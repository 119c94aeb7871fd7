"""Which samples are held out of which training, whatever their order in the file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .data import canonical
from .scaling import moments

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One division of the samples.

    Attributes:
        train: Rows that are trained on.
        held: Rows that are held out, none of the others.
    """

    train: Rows
    held: Rows


def ordered(X: Tensor, C: Tensor) -> Rows:
    """Return samples in an order that depends neither on that of samples, inputs or outputs.

    They are sorted along a direction that every input has a share in, so that neighbours in the
    order are near each other, and every so manieth of them are spread like all.

    Args:
        X: Inputs, (n, n_in).
        C: Scaled targets, (n, n_seen); they decide between equal inputs.
    """
    shift, spread, size = moments(X)
    varies = spread > 1e-12 * size
    standard = (X - shift) / torch.where(varies, spread, 1.0)
    mixed = standard @ canonical(standard, varies, C).T
    shares = torch.arange(1, mixed.shape[1] + 1, dtype=X.dtype).rsqrt()
    keys = torch.stack([C.square().sum(dim=1), mixed @ shares]).numpy()
    order: Rows = np.lexsort(keys)
    return order


def divided(order: Rows, n_folds: int, seed: int) -> tuple[Fold, ...]:
    """Divide samples into folds: of every ``n_folds`` neighbours each is in another one.

    Args:
        order: The samples, as `ordered` returns them.
        n_folds: At least 2, and at most as many as there are samples.
        seed: Which of the neighbours is in which fold.
    """
    generator = np.random.default_rng(seed)
    blocks = -(-len(order) // n_folds)
    number = np.concatenate([generator.permutation(n_folds) for _ in range(blocks)])[: len(order)]
    return tuple(
        Fold(train=np.sort(order[number != fold]), held=np.sort(order[number == fold]))
        for fold in range(n_folds)
    )
