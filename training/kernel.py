r"""Kernel regression: radial basis functions at the samples, whose scales are found by likelihood.

With kappa a kernel of the scaled distance and H a polynomial trend, c is modelled by

    c(x) = sum_k a_k kappa(||s * (x - x_k)||) + H(x) b

with the x_k among the samples (`surrogates.radial.RadialBasis`). For given scales s and nugget the
weights are those of kriging (Rasmussen and Williams 2006, "Gaussian processes for machine
learning", section 2.7), a linear inner problem again. The scales, one for each input, and the
nugget maximise the restricted likelihood of all outputs, each with a variance of its own:

    -2 log L = sum_j (n - q) log v_j + n_out (log |K| + log |H^T K^-1 H|)
    v_j = c_j^T P c_j / (n - q),    P = K^-1 - K^-1 H (H^T K^-1 H)^-1 H^T K^-1
    K = kappa + nugget I

(Harville 1977, "Maximum likelihood approaches to variance component estimation"). The residual of a
sample that is left out, with the scales as they are, is (P c)_i / P_ii, and of a block of samples
P_BB^-1 (P c)_B (Dubrule 1983, "Cross validation of kriging in a unique neighborhood").

With more than `CENTRES` samples the x_k are some of them, and all samples determine the weights
(subset of regressors): with the Cholesky factor kappa(x_k, x_l) = L L^T this is a ridge regression
on the features kappa(x, x_k) L^-T.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor

CENTRES = 1000
"""Largest number of centres."""

_SEARCHED = 300  # samples that the scales are sought on
EACH = 200
"""Largest number of inputs of which each has a scale of its own."""

_SCALES = (1e-3, 30.0)
_NUGGETS = (1e-10, 10.0)
_PRIOR = (math.log(0.2), 3.0)  # of the scales' logarithms: it decides where the samples say nothing


@dataclass(frozen=True, kw_only=True)
class Form:
    """Which kernel and which trend.

    Attributes:
        kernel: One of `surrogates.forms.KERNELS`.
        degree: Of the trend: 0, a constant; 1, linear; or 2, quadratic.
    """

    kernel: str
    degree: int

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
    """

    form: Form
    scales: Tensor
    nugget: float


@dataclass(frozen=True, kw_only=True)
class Kriging:
    """The weights, and what is known of their errors.

    Attributes:
        fit: Scales and nugget.
        centres: (n_centres, n_in), standardised.
        weights: Of the kernels and the trend, the constant last, (n_seen, n_centres + size).
        left_out: Residual of each sample when it is left out, (n, n_seen): prediction less c.
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
        k = kappa(self.fit.form.kernel, distances(X, self.centres, self.fit.scales))
        return torch.cat([k, self.fit.form.trend(X)], dim=1) @ self.weights.T


def distances(A: Tensor, B: Tensor, scales: Tensor) -> Tensor:
    """Return scaled distances, (n_a, n_b), from differences: close points keep their digits."""
    mode = "donot_use_mm_for_euclid_dist" if A.shape[1] <= EACH else "use_mm_for_euclid_dist"
    return torch.cdist(A * scales, B * scales, compute_mode=mode)


def kappa(kernel: str, r: Tensor) -> Tensor:
    """Evaluate a kernel at scaled distances."""
    if kernel == "gaussian":
        return torch.exp(-r * r / 2)
    s = math.sqrt(5) * r
    return (1 + s + s * s / 3) * torch.exp(-s)


def search(
    X: Tensor,
    C: Tensor,
    form: Form,
    start: Fit | None = None,
    steps: int = 150,
    anew: bool = True,
) -> Fit:
    """Find the scales and the nugget of a form.

    Args:
        X: Standardised inputs, (n, n_in); of more than 300 samples some are looked at.
        C: Scaled targets, (n, n_seen).
        form: The form.
        start: Where to begin as well, beside a rough function; a smooth one if None.
        steps: Largest number of iterations of each.
        anew: Whether to begin at a rough function too where there is a ``start``.
    """
    if len(X) > _SEARCHED:
        chosen = torch.linspace(0, len(X) - 1, _SEARCHED).round().long()
        X, C = X[chosen], C[chosen]
    likelihood = _Likelihood(X, C, form)
    starts = [likelihood.begin(0.2, 1e-4) if start is None else likelihood.at(start)]
    if anew or start is None:
        starts.append(likelihood.begin(0.7, 1e-2))
    found = [
        minimize(
            likelihood,
            x,
            jac=True,
            method="L-BFGS-B",
            bounds=likelihood.bounds,
            options={"maxiter": steps},
        )
        for x in starts
    ]
    best = min(found, key=lambda result: float(result.fun))
    scales, nugget = likelihood.read(best.x)
    return Fit(form=form, scales=scales, nugget=nugget)


class _Likelihood:
    """Minus the logarithm of the restricted likelihood for one output, and its gradient."""

    def __init__(self, X: Tensor, C: Tensor, form: Form) -> None:
        self._X, self._C, self._form = X, C, form
        self._H = form.trend(X)
        self.each = X.shape[1] <= EACH
        n_scales = X.shape[1] if self.each else 1
        # Inputs that do not vary have no scale: nothing is known of what they do.
        self._varies = (X != 0).any(dim=0)
        size = [np.log(_SCALES)] * n_scales
        self.bounds = [*size, tuple(np.log(_NUGGETS))]

    def begin(self, scale: float, nugget: float) -> npt.NDArray[np.float64]:
        shrunk = scale if self.each else scale / math.sqrt(self._X.shape[1])
        x = np.full(len(self.bounds), math.log(max(shrunk, 2 * _SCALES[0])))
        x[-1] = math.log(nugget)
        return x

    def at(self, fit: Fit) -> npt.NDArray[np.float64]:
        scales = fit.scales.clamp(*_SCALES)[: None if self.each else 1]
        nugget = min(max(fit.nugget, _NUGGETS[0]), _NUGGETS[1])
        return np.append(scales.log().numpy(), math.log(nugget))

    def read(self, x: npt.NDArray[np.float64]) -> tuple[Tensor, float]:
        scales = torch.from_numpy(np.exp(x[:-1])).expand(self._X.shape[1])
        return torch.where(self._varies, scales, 0.0), float(np.exp(x[-1]))

    def __call__(self, x: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        X, C = self._X, self._C
        scales, nugget = self.read(x)
        r = distances(X, X, scales)
        k = kappa(self._form.kernel, r)
        projected = _projection(k, nugget, self._H)
        if projected is None:
            return 1e10, np.zeros_like(x)
        P, log_determinant = projected
        A = P @ C
        n = len(X) - self._H.shape[1]
        v = ((C * A).sum(dim=0) / n).clamp(min=1e-300)
        value = 0.5 * float(n * v.log().mean() + log_determinant)
        M = 0.5 * (P - (A / v) @ A.T / C.shape[1])
        if self._form.kernel == "gaussian":
            M_k = M * k
        else:
            s = math.sqrt(5) * r
            M_k = M * ((5 / 3) * (1 + s) * torch.exp(-s))
        # The derivative of kappa by log s_d is -(its slope over r) s_d^2 (x_d - x'_d)^2.
        by_scales = 2 * (((M_k @ X) * X).sum(dim=0) - M_k.sum(dim=1) @ X.square()) * scales.square()
        if not self.each:
            by_scales = by_scales.sum()[None]
        gradient = np.append(by_scales.numpy(), nugget * float(M.diagonal().sum()))
        mean, deviation = _PRIOR
        far = (x[:-1] - mean) / deviation
        gradient[:-1] += far / deviation
        return value + 0.5 * float(far @ far), gradient


def _projection(k: Tensor, nugget: float, H: Tensor) -> tuple[Tensor, float] | None:
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


def solve(X: Tensor, C: Tensor, fit: Fit) -> Kriging | None:
    """Find the weights of all samples, at most `CENTRES`; None where they are not determined.

    Args:
        X: Standardised inputs, (n, n_in).
        C: Scaled targets, (n, n_seen).
        fit: Scales and nugget.
    """
    if len(X) > CENTRES:
        return _solve_many(X, C, fit)
    k = kappa(fit.form.kernel, distances(X, X, fit.scales))
    H = fit.form.trend(X)
    projected = _projection(k, fit.nugget, H)
    if projected is None:
        return None
    P, _ = projected
    k.diagonal().add_(fit.nugget)
    L = torch.linalg.cholesky(k)
    # H and C by the same triangular solve: b by least squares, not by normal equations.
    half_H, half_C = (torch.linalg.solve_triangular(L, M, upper=False) for M in (H, C))
    Q, R = torch.linalg.qr(half_H)
    b = torch.linalg.solve_triangular(R, Q.T @ half_C, upper=True)
    a = torch.cholesky_solve(C - H @ b, L)
    inverse = torch.linalg.solve_triangular(L, torch.eye(len(L), dtype=L.dtype), upper=False)
    # h - H^T K^-1 k, in the metric of (H^T K^-1 H)^-1 = R^-1 R^-T.
    towards = torch.cat([-Q.T @ inverse, torch.linalg.inv(R).T], dim=1)
    diagonal = P.diagonal().clamp(min=1e-300)
    return Kriging(
        fit=fit,
        centres=X,
        weights=torch.cat([a, b]).T,
        left_out=-(P @ C) / diagonal[:, None],
        variance=1 / diagonal,
        negative=inverse,
        positive=towards,
    )


def _solve_many(X: Tensor, C: Tensor, fit: Fit) -> Kriging | None:
    """Solve by a subset of regressors."""
    chosen = torch.linspace(0, len(X) - 1, CENTRES).round().long()
    centres = X[chosen]
    k = kappa(fit.form.kernel, distances(centres, centres, fit.scales))
    k.diagonal().add_(1e-10)
    L, failed = torch.linalg.cholesky_ex(k)
    if failed:
        return None
    B = kappa(fit.form.kernel, distances(X, centres, fit.scales))
    F = torch.linalg.solve_triangular(L, B.T, upper=False).T
    H = fit.form.trend(X)
    # Ridge on F, none on H: the trend's share of F and C is taken out first.
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
    residual = F @ a + H @ b - C
    left = (1 - hat).clamp(min=1e-3)
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
        left_out=residual / left[:, None],
        variance=(1 - F.square().sum(dim=1)).clamp(min=0) + fit.nugget / left,
        negative=inverse,
        positive=positive,
    )


def blocks_left_out(X: Tensor, C: Tensor, fit: Fit, folds: Tensor) -> Tensor | None:
    """Return residuals of folds that are left out, the scales kept, (n, n_seen).

    Args:
        X: Standardised inputs, (n, n_in), n <= `CENTRES`.
        C: Scaled targets, (n, n_seen).
        fit: Scales and nugget, of all samples.
        folds: Fold of each sample, (n,).
    """
    k = kappa(fit.form.kernel, distances(X, X, fit.scales))
    projected = _projection(k, fit.nugget, fit.form.trend(X))
    if projected is None:
        return None
    P, A = projected[0], projected[0] @ C
    out = torch.empty_like(C)
    for fold in range(int(folds.max()) + 1):
        rows = torch.nonzero(folds == fold)[:, 0]
        out[rows] = -torch.linalg.solve(P[rows][:, rows], A[rows])
    return out
