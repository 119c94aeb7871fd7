r"""Linear weights of many features under a convex loss, by Newton steps without a Hessian.

    Phi(W) = 1/N sum_i ell(W z_i, c_i) + alpha2/2 ||W||_F^2

is what `newton` minimises too, which forms the Hessian for the derivatives of W(theta). Features
that are not trained need none, and there may be a thousand of them. Newton's equations are solved
by conjugate gradients, as far as the gradient has come down (truncated Newton; Dembo and Steihaug
1983, "Truncated-Newton algorithms for large-scale unconstrained optimization"). The preconditioner
is the Hessian as it would be if curvature and features were independent, and features uncorrelated:

    D (x) diag(mean z_j^2) + alpha2 I,    D = 1/N sum_i D_i.

Features that a principal component analysis gave are uncorrelated, so that few products do.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .losses import Loss

TOLERANCE = 1e-5
"""Of the gradient's norm, relative to that at W = 0."""

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
        start: Where to begin; at zero if None.
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
        else:  # the decrease is lost in the rounding of Phi
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
