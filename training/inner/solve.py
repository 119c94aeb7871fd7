"""The inner problem: W at fixed features, in closed form or by Newton's method."""

from __future__ import annotations

from torch import Tensor

from ..communicator import ALONE, Communicator
from .losses import LeastSquares, Loss
from .newton import Start, minimise
from .solution import Inner
from .varpro import LeastSquaresSolution


def solve(
    loss: Loss,
    Z: Tensor,
    C: Tensor,
    alpha2: float,
    start: Start = None,
    W_ref: Tensor | None = None,
    *,
    comm: Communicator = ALONE,
    n_samples: int | None = None,
) -> Inner:
    """Minimise Phi over W at fixed features.

    Args:
        loss: Least squares is solved by an SVD, any other loss by Newton's method.
        Z: Features with a last column of ones, (n_samples, n_feat + 1), float64.
        C: Targets, (n_samples, n_out).
        alpha2: Weight of ||W - W_ref||^2 / 2, >= 0.
        start: Start of Newton's method: a solution nearby, or a W, (n_out, n_feat + 1).
        W_ref: (n_out, n_feat + 1); zero if None.
        comm: The processes that the samples are divided over.
        n_samples: Number of samples of all processes, if Z has rows of derivatives too, which only
            least squares takes.

    Raises:
        InputError: If there is no minimum, which is possible only for alpha2 = 0.
    """
    if isinstance(loss, LeastSquares):
        return LeastSquaresSolution.of(Z, C, alpha2, W_ref, comm=comm, n_samples=n_samples)
    return minimise(loss, Z, C, alpha2, start, W_ref, comm=comm)
