"""Residuals of left-out samples in closed form: each alone, or all with equal inputs together.

If a linear fit has residuals r = A c with a symmetric A (I less the hat matrix, or the inverse of a
kernel's matrix without the trend), samples B that are left out together have the residuals
A_BB^-1 r_B. Samples with equal inputs are left out together: the error at an input that the
surrogate has seen does not show its error elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .folds import Rows


def apart(
    values: Tensor,
    diagonal: Tensor,
    block: Callable[[Tensor], Tensor],
    same: Rows | None,
    floor: float,
) -> tuple[Tensor, Tensor, float]:
    """Solve with the diagonal blocks of a symmetric positive matrix A.

    Args:
        values: (n, k).
        diagonal: Diagonal of A, (n,).
        block: Returns A at some rows and columns, (m,) to (m, m).
        same: The number of each sample's block, (n,); None if each has its own.
        floor: Smaller eigenvalues are replaced by this.

    Returns:
        A_BB^-1 values_B of all blocks B, (n, k); the diagonal of all A_BB^-1, (n,); and the least
        eigenvalue of all A_BB.
    """
    least = float(diagonal.min())
    diagonal = diagonal.clamp(min=floor)
    solved, inverse = values / diagonal[:, None], 1 / diagonal
    if same is None:
        return solved, inverse, least
    numbers, counts = np.unique(same, return_counts=True)
    for number in numbers[counts > 1]:
        rows = torch.from_numpy(np.flatnonzero(same == number))
        size, V = torch.linalg.eigh(block(rows))
        least = min(least, float(size[0]))
        size = size.clamp(min=floor)
        solved[rows] = V @ ((V.T @ values[rows]) / size[:, None])
        inverse[rows] = V.square() @ (1 / size)
    return solved, inverse, least
