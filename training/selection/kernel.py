r"""Kernel regression: radial basis functions at the samples, whose scales are found by likelihood.

With kappa a kernel of the scaled distance and H a polynomial trend, c is modelled by

    c(x) = sum_k a_k kappa(||s * (x - x_k)||) + H(x) b

with the x_k among the samples (`surrogates.model.radial.RadialBasis`). kappa may also be a product
over the inputs (`surrogates.model.radial.AnovaBasis`). For given scales s and nugget the weights
are those of kriging (Rasmussen and Williams 2006, "Gaussian processes for machine learning",
section 2.7), again a linear inner problem. The scales, one for each input, and the nugget maximise
the restricted likelihood of all outputs, each with its own variance:

    -2 log L = sum_j (n - q) log v_j + n_out (log |K| + log |H^T K^-1 H|)
    v_j = c_j^T P c_j / (n - q),    P = K^-1 - K^-1 H (H^T K^-1 H)^-1 H^T K^-1
    K = kappa + nugget I

(Harville 1977, "Maximum likelihood approaches to variance component estimation"). At fixed scales,
the residual of a left-out sample is (P c)_i / P_ii, and that of a left-out block of samples is
P_BB^-1 (P c)_B (Dubrule 1983, "Cross validation of kriging in a unique neighborhood").

With more than `CENTRES` samples the x_k are some of them, and all samples determine the weights
(subset of regressors): with the Cholesky factor kappa(x_k, x_l) = L L^T this is a ridge regression
on the features kappa(x, x_k) L^-T.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from surrogates.model.radial import AnovaBasis, RadialBasis

from .folds import Rows
from .left_out import apart

CENTRES = 1000
"""Largest number of centres."""
FACTORS = 20
"""Largest number of inputs for products: one factor costs as much as all distances."""

EACH = 200
"""Largest number of inputs for which each has its own scale."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """Which kernel and which trend.

    Attributes:
        kernel: One of `surrogates.model.forms.KERNELS`.
        degree: Degree of the trend: 0, constant; 1, linear; or 2, quadratic.
        anova: Whether the kernel is a product over the inputs, with shares.
    """

    kernel: str
    degree: int
    anova: bool = False

    def size(self, n_in: int) -> int:
        """Return the number of columns of the trend."""
        return (1, 1 + n_in, (1 + n_in) * (2 + n_in) // 2)[self.degree]

    def trend(self, X: Tensor) -> Tensor:
        """Return the trend's monomials, the constant last, (n, size)."""
        one = X.new_ones((len(X), 1))
        if self.degree == 0:
            return one
        i, j = pairs(X.shape[1], self.degree).T
        return torch.cat([X, X[:, i] * X[:, j], one], dim=1)


def pairs(n_in: int, degree: int) -> Tensor:
    """Return the products of a trend, (n_pairs, 2) int64; none below degree 2."""
    if degree < 2:
        return torch.zeros((0, 2), dtype=torch.int64)
    return torch.triu_indices(n_in, n_in).T


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Scales and nugget of a form.

    Attributes:
        form: The form.
        scales: Inverse lengths, of standardised inputs, (n_in,).
        nugget: Variance of noise over that of the kernel.
        shares: Shares of the inputs in a product, (n_in,); None for a radial kernel.
    """

    form: Form
    scales: Tensor
    nugget: float
    shares: Tensor | None = None

    def basis(self, centres: Tensor) -> RadialBasis | AnovaBasis:
        """Return the functions about centres, (n_centres, n_in), as features."""
        if self.shares is None:
            return RadialBasis(centres, self.scales, self.form.kernel)
        return AnovaBasis(centres, self.scales, self.shares, self.form.kernel)

    def kappa(self, A: Tensor, B: Tensor) -> Tensor:
        """Evaluate the kernel at all pairs of standardised inputs, (n_a, n_b)."""
        if self.shares is None:
            return kappa(self.form.kernel, distances(A, B, self.scales))
        product = A.new_ones((len(A), len(B)))
        for a, b, scale, share in zip(A.T, B.T, self.scales, self.shares, strict=True):
            product *= 1 + share * (kappa(self.form.kernel, (a[:, None] - b) * scale) - 1)
        return product


@dataclass(frozen=True, kw_only=True)
class Kriging:
    """Weights of kriging, with left-out residuals and variances.

    Attributes:
        fit: Scales and nugget.
        centres: (n_centres, n_in), standardised.
        weights: Weights of kernels and trend, the constant last, (n_seen, n_centres + size).
        left_out: Residual of each sample when it, with any of the same number, is left out,
            (n, n_seen): prediction less c.
        variance: The variance of that residual over v_j, (n,).
        negative: Rows M: the variance of a prediction over v_j is
            1 + nugget - ||M k||^2 + ||N [k, h]||^2, with k the kernels' values and h the trend's;
            (n_centres, n_centres).
        positive: N, (size, n_centres + size); with a subset of regressors it has n_centres rows
            more.
    """

    fit: Fit
    centres: Tensor
    weights: Tensor
    left_out: Tensor
    variance: Tensor
    negative: Tensor
    positive: Tensor

    def predict(self, X: Tensor) -> Tensor:
        """Predict at standardised inputs, (n, n_seen)."""
        k = self.fit.kappa(X, self.centres)
        return torch.cat([k, self.fit.form.trend(X)], dim=1) @ self.weights.T


def distances(A: Tensor, B: Tensor, scales: Tensor) -> Tensor:
    """Return scaled distances, (n_a, n_b), from differences: close points keep their digits."""
    mode = "donot_use_mm_for_euclid_dist" if A.shape[1] <= EACH else "use_mm_for_euclid_dist"
    return torch.cdist(A * scales, B * scales, compute_mode=mode)


def kappa(kernel: str, r: Tensor) -> Tensor:
    """Evaluate a kernel at scaled distances."""
    return kappa_and_slope(kernel, r.square())[0]


def kappa_and_slope(kernel: str, square: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate a kernel, and its derivative over r, at distances r given by their squares."""
    if kernel == "gaussian":
        value = torch.exp(-square / 2)
        return value, -value
    s = (5 * square).sqrt()
    decay = torch.exp(-s)
    return (1 + s + square * (5 / 3)) * decay, (-5 / 3) * (1 + s) * decay


def projection(k: Tensor, nugget: float, H: Tensor) -> tuple[Tensor, float] | None:
    """Return P (see the module's text) and log |K| + log |H^T K^-1 H|; None where K is singular."""
    K = k.clone()
    K.diagonal().add_(nugget)
    L, failed = torch.linalg.cholesky_ex(K)
    if failed:
        return None
    inverse = torch.cholesky_inverse(L)
    lifted = inverse @ H
    gram = H.T @ lifted
    gram.diagonal().mul_(1 + 1e-13)
    G, failed = torch.linalg.cholesky_ex(gram)
    if failed:
        return None
    half = torch.linalg.solve_triangular(G, lifted.T, upper=False)
    logs = L.diagonal().log().sum() + G.diagonal().log().sum()
    return inverse - half.T @ half, 2 * float(logs)


def solve(X: Tensor, C: Tensor, fit: Fit, same: Rows | None = None) -> Kriging | None:
    """Find the weights, with at most `CENTRES` centres; None if they are not determined.

    Args:
        X: Standardised inputs, (n, n_in).
        C: Scaled targets, (n, n_seen).
        fit: Scales and nugget.
        same: Samples of one number are left out together, (n,); each alone if None.
    """
    if len(X) > CENTRES:
        return _solve_many(X, C, fit, same)
    k = fit.kappa(X, X)
    H = fit.form.trend(X)
    projected = projection(k, fit.nugget, H)
    if projected is None:
        return None
    P, _ = projected
    k.diagonal().add_(fit.nugget)
    L = torch.linalg.cholesky(k)
    # The same triangular solve for H and C: b comes from least squares, not normal equations.
    half_H, half_C = (torch.linalg.solve_triangular(L, M, upper=False) for M in (H, C))
    Q, R = torch.linalg.qr(half_H)
    b = torch.linalg.solve_triangular(R, Q.T @ half_C, upper=True)
    a = torch.cholesky_solve(C - H @ b, L)
    inverse = torch.linalg.solve_triangular(L, torch.eye(len(L), dtype=L.dtype), upper=False)
    # h - H^T K^-1 k, in the metric of (H^T K^-1 H)^-1 = R^-1 R^-T.
    towards = torch.cat([-Q.T @ inverse, torch.linalg.inv(R).T], dim=1)
    left, variance, _ = apart(
        -(P @ C), P.diagonal(), lambda rows: P[rows][:, rows], same, floor=1e-300
    )
    return Kriging(
        fit=fit,
        centres=X,
        weights=torch.cat([a, b]).T,
        left_out=left,
        variance=variance,
        negative=inverse,
        positive=towards,
    )


def _solve_many(X: Tensor, C: Tensor, fit: Fit, same: Rows | None) -> Kriging | None:
    """Solve by a subset of regressors."""
    chosen = torch.linspace(0, len(X) - 1, CENTRES).round().long()
    centres = X[chosen]
    k = fit.kappa(centres, centres)
    k.diagonal().add_(1e-10)
    L, failed = torch.linalg.cholesky_ex(k)
    if failed:
        return None
    B = fit.kappa(X, centres)
    F = torch.linalg.solve_triangular(L, B.T, upper=False).T
    H = fit.form.trend(X)
    # Ridge on F, none on H: the trend is projected out of F and C first.
    Q, R = torch.linalg.qr(H)
    rest = F - Q @ (Q.T @ F)
    gram = rest.T @ rest
    gram.diagonal().add_(fit.nugget)
    G, failed = torch.linalg.cholesky_ex(gram)
    if failed:
        return None
    a = torch.cholesky_solve(rest.T @ C, G)
    b = torch.linalg.solve_triangular(R, Q.T @ (C - F @ a), upper=True)
    half = torch.linalg.solve_triangular(G, rest.T, upper=False)
    hat = half.square().sum(dim=0) + Q.square().sum(dim=1)

    def without(rows: Tensor) -> Tensor:
        hat: Tensor = half[:, rows].T @ half[:, rows] + Q[rows] @ Q[rows].T
        return torch.eye(len(rows)).to(hat) - hat

    left, grown, _ = apart(F @ a + H @ b - C, 1 - hat, without, same, floor=1e-3)
    inverse = torch.linalg.solve_triangular(L, torch.eye(len(L), dtype=L.dtype), upper=False)
    # Posterior variance over v_j, with f = L^-1 k:
    # 1 - ||f||^2 + nugget (1 + ||G^-1 (f - F^T Q R^-T h)||^2 + ||R^-T h||^2).
    root = math.sqrt(fit.nugget)
    by_kernel = root * torch.linalg.solve_triangular(G, inverse, upper=False)
    by_trend = root * torch.linalg.inv(R).T
    shared = -torch.linalg.solve_triangular(G, F.T @ Q @ by_trend, upper=False)
    positive = by_kernel.new_zeros((len(by_kernel) + len(R), len(by_kernel) + len(R)))
    positive[: len(by_kernel), : len(by_kernel)] = by_kernel
    positive[: len(by_kernel), len(by_kernel) :] = shared
    positive[len(by_kernel) :, len(by_kernel) :] = by_trend
    return Kriging(
        fit=fit,
        centres=centres,
        weights=torch.cat([torch.linalg.solve_triangular(L.T, a, upper=True), b]).T,
        left_out=left,
        variance=(1 - F.square().sum(dim=1)).clamp(min=0) + fit.nugget * grown,
        negative=inverse,
        positive=positive,
    )


def blocks_left_out(X: Tensor, C: Tensor, fit: Fit, folds: Tensor) -> Tensor | None:
    """Return residuals of left-out folds at fixed scales, (n, n_seen).

    Args:
        X: Standardised inputs, (n, n_in), n <= `CENTRES`.
        C: Scaled targets, (n, n_seen).
        fit: Scales and nugget from all samples.
        folds: Fold of each sample, (n,).
    """
    k = fit.kappa(X, X)
    projected = projection(k, fit.nugget, fit.form.trend(X))
    if projected is None:
        return None
    P = projected[0]
    return apart(
        -(P @ C), P.diagonal(), lambda rows: P[rows][:, rows], folds.numpy(), floor=1e-300
    )[0]
