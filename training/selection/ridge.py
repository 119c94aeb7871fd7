r"""Ridge regression on the inputs, or on them and their products: the simplest member.

    min_B ||[X, 1] B^T - C||_F^2 + a ||B||^2 without its constant column

The weight a has the least error of left-out samples, in closed form: with the SVD X = U S V^T of
centred columns, the fit is H C with H = 1/n + U S^2 (S^2 + a)^-1 U^T, and the residual of a
left-out sample is its residual over 1 - H_ii (Allen 1974, "The relationship between variable
selection and data augmentation and a method for prediction"; `left_out`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .folds import Rows
from .kernel import pairs
from .left_out import apart

_WEIGHTS = torch.logspace(4, -12, 33, dtype=torch.float64)  # times the largest singular value^2
_RESOLVED = 1e-5


@dataclass(frozen=True, kw_only=True)
class Ridge:
    """A ridge regression.

    Attributes:
        degree: 1 for the inputs; 2 for their products too.
        weights: Weights of the monomials, the constant last, (n_seen, size + 1).
        left_out: Residual of each sample when it is left out, prediction less c, (n, n_seen).
    """

    degree: int
    weights: Tensor
    left_out: Tensor

    def predict(self, X: Tensor) -> Tensor:
        """Predict at standardised inputs, (n, n_seen)."""
        return _monomials(X, self.degree) @ self.weights[:, :-1].T + self.weights[:, -1]


def ridge(X: Tensor, C: Tensor, degree: int, same: Rows | None = None) -> Ridge:
    """Fit a ridge regression.

    Args:
        X: Standardised inputs, (n, n_in).
        C: Scaled targets, (n, n_seen).
        degree: 1 or 2.
        same: Samples of one number are left out together, (n,); each alone if None.
    """
    weights, left_out = shrunk(_monomials(X, degree), C, same)
    return Ridge(degree=degree, weights=weights, left_out=left_out)


def shrunk(M: Tensor, C: Tensor, same: Rows | None = None) -> tuple[Tensor, Tensor]:
    """Fit a ridge regression on any features.

    Args:
        M: Features, (n, width); they are standardised here.
        C: Scaled targets, (n, n_seen).
        same: Samples of one number are left out together, (n,); each alone if None.

    Returns:
        Weights, the constant last, (n_seen, width + 1), and the residual of each sample when it is
        left out, (n, n_seen).
    """
    shift, c_shift = M.mean(dim=0), C.mean(dim=0)
    spread = (M - shift).square().mean(dim=0).sqrt()
    varies = spread > 1e-12
    spread = torch.where(varies, spread, 1.0)
    U, s, Vh = torch.linalg.svd((M - shift) / spread, full_matrices=False)
    UtC = U.T @ (C - c_shift)
    best = None
    for weight in _WEIGHTS * s[0].square().clamp(min=1e-300):
        kept = s.square() / (s.square() + weight)
        residual = U @ (kept[:, None] * UtC) - (C - c_shift)

        def without(rows: Tensor, kept: Tensor = kept) -> Tensor:
            hat: Tensor = 1 / len(M) + (U[rows] * kept) @ U[rows].T
            return torch.eye(len(rows)).to(hat) - hat

        diagonal = 1 - 1 / len(M) - U.square() @ kept
        left_out, _, least = apart(residual, diagonal, without, same, floor=_RESOLVED)
        if least < _RESOLVED and best is not None:
            continue  # the fit passes through a sample: its left-out residual is rounding
        score = float(left_out.square().sum())
        if best is None or score < best[0]:
            best = score, left_out, Vh.T @ ((s / (s.square() + weight))[:, None] * UtC)
    assert best is not None
    B = torch.where(varies, best[2].T / spread, 0.0)
    return torch.cat([B, (c_shift - B @ shift)[:, None]], dim=1), best[1]


def _monomials(X: Tensor, degree: int) -> Tensor:
    i, j = pairs(X.shape[1], degree).T
    return torch.cat([X, X[:, i] * X[:, j]], dim=1)
