r"""Linear weights of many features under a convex loss, by Newton steps without a Hessian.

    Phi(W) = 1/N sum_i ell(W z_i, c_i) + alpha2/2 ||W||_F^2

`newton` minimises Phi too, and forms the Hessian for the derivatives of W(theta). Features without
parameters need no derivatives, and there may be a thousand of them. Newton's equations are solved
by conjugate gradients, more accurately as the gradient falls (truncated Newton; Dembo and Steihaug
1983, "Truncated-Newton algorithms for large-scale unconstrained optimization"). The preconditioner
is the Hessian for curvature independent of the features, and uncorrelated features:

    D (x) diag(mean z_j^2) + alpha2 I,    D = 1/N sum_i D_i.

Features from a principal component analysis are uncorrelated, and need few products.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .losses import Loss

TOLERANCE = 1e-5
"""Largest norm of the gradient, relative to that at W = 0."""

_NEWTON = 50
_PRODUCTS = 100
_HALVINGS = 30


def minimise(
    loss: Loss, Z: Tensor, C: Tensor, alpha2: float, start: Tensor | None = None
) -> Tensor:
    """Return the W that minimises Phi, (n_out, m).

    Args:
        loss: The loss.
        Z: Features with a last column of ones, (n, m), float64.
        C: Targets, (n, n_out).
        alpha2: Weight of ||W||^2 / 2, > 0.
        start: First W; zero if None.
    """
    n = len(Z)
    squares = Z.square().mean(dim=0)

    def value(W: Tensor) -> float:
        return float(loss.values(Z @ W.T, C).mean() + alpha2 / 2 * W.square().sum())

    def slope(W: Tensor) -> Tensor:
        return loss.gradient(Z @ W.T, C).T @ Z / n + alpha2 * W

    W = Z.new_zeros((C.shape[1], Z.shape[1]))
    limit = TOLERANCE * float(slope(W).norm())
    first = max(limit / TOLERANCE, 1e-300)
    if start is not None:
        W = start
    phi, gradient = value(W), slope(W)
    for _ in range(_NEWTON):
        size = float(gradient.norm())
        if size <= limit:
            break
        outputs = Z @ W.T
        curvature = loss.hvp(outputs, C)

        def product(V: Tensor, curvature: Callable[[Tensor], Tensor] = curvature) -> Tensor:
            return curvature(Z @ V.T).T @ Z / n + alpha2 * V

        values, Q = torch.linalg.eigh(loss.hessian(outputs, C).mean(dim=0))
        diagonal = values.clamp(min=0)[:, None] * squares + alpha2
        forcing = min(0.3, (size / first) ** 0.5)
        step = _solved(product, gradient, Q, diagonal, max(forcing * size, 0.3 * limit))
        slack = float((gradient * step).sum())
        for halving in range(_HALVINGS):
            trial = W + 0.5**halving * step
            phi_there = value(trial)
            if phi_there <= phi + 1e-4 * 0.5**halving * slack:
                break
        else:  # rounding of Phi hides the decrease
            break
        W, phi, gradient = trial, phi_there, slope(trial)
    return W


def _solved(
    product: Callable[[Tensor], Tensor], g: Tensor, Q: Tensor, diagonal: Tensor, limit: float
) -> Tensor:
    """Solve H s = -g by preconditioned conjugate gradients, to a residual of norm ``limit``."""
    s, r = torch.zeros_like(g), -g
    direction, before = r, 0.0
    for _ in range(_PRODUCTS):
        z = Q @ ((Q.T @ r) / diagonal)
        weight = float((r * z).sum())
        direction = z if before == 0 else z + weight / before * direction
        curved = product(direction)
        length = weight / float((direction * curved).sum())
        s = s + length * direction
        r = r - length * curved
        before = weight
        if float(r.norm()) <= limit:
            break
    return s
