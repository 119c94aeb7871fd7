r"""Kernel regression: radial basis functions at the samples, whose scales are found by likelihood.

With kappa a kernel of the scaled distance and H a polynomial trend, c is modelled by

    c(x) = sum_k a_k kappa(||s * (x - x_k)||) + H(x) b

with the x_k among the samples (`surrogates.model.radial.RadialBasis`), or with the products over
the inputs of `surrogates.model.radial.AnovaBasis` in its place. For given scales s and nugget the
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
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor

from surrogates.model.radial import AnovaBasis, RadialBasis

from .folds import Rows
from .left_out import apart

Derivatives = Callable[[Tensor], npt.NDArray[np.float64]]
CENTRES = 1000
"""Largest number of centres."""
FACTORS = 20
"""Largest number of inputs whose products are tried: a factor costs as much as all distances."""

_SEARCHED = 300  # samples that the scales are sought on
EACH = 200
"""Largest number of inputs of which each has a scale of its own."""

_SCALES = (1e-3, 30.0)
_NUGGETS = (1e-10, 10.0)
_SHARES = (0.005, 0.9995)
# Mean and deviation of the scales' logarithms, and of the shares' logits: they decide where the
# samples say nothing.
_PRIOR = (math.log(0.2), 3.0)
_SHARE_PRIOR = (0.0, 3.0)


@dataclass(frozen=True, kw_only=True)
class Form:
    """Which kernel and which trend.

    Attributes:
        kernel: One of `surrogates.model.forms.KERNELS`.
        degree: Of the trend: 0, a constant; 1, linear; or 2, quadratic.
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
        shares: Of a product over the inputs, (n_in,); None else.
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
    """The weights, and what is known of their errors.

    Attributes:
        fit: Scales and nugget.
        centres: (n_centres, n_in), standardised.
        weights: Of the kernels and the trend, the constant last, (n_seen, n_centres + size).
        left_out: Residual of each sample when it is left out, with those of its inputs where
            `solve` was told of them, (n, n_seen): prediction less c.
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
    """Evaluate a kernel, and its derivative over r, where the squares of the distances r are."""
    if kernel == "gaussian":
        value = torch.exp(-square / 2)
        return value, -value
    s = (5 * square).sqrt()
    decay = torch.exp(-s)
    return (1 + s + square * (5 / 3)) * decay, (-5 / 3) * (1 + s) * decay


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
    return likelihood.read(best.x)


class _Likelihood:
    """Minus the logarithm of the restricted likelihood for one output, and its gradient.

    It is a function of the logarithms of the scales, the logits of the shares if there are some,
    and the logarithm of the nugget.
    """

    def __init__(self, X: Tensor, C: Tensor, form: Form) -> None:
        self._X, self._C, self._form = X, C, form
        self._H = form.trend(X)
        n_in = X.shape[1]
        self.each = n_in <= EACH or form.anova
        self._n_scales = n_in if self.each else 1
        # Inputs that do not vary have no scale: nothing is known of what they do.
        self._varies = (X != 0).any(dim=0)
        if form.anova:
            self._pairs = torch.triu_indices(len(X), len(X), 1)
            self._squares = (X[self._pairs[0]] - X[self._pairs[1]]).square().T.contiguous()
        shares = [tuple(torch.logit(torch.tensor(_SHARES)).tolist())] * (n_in * form.anova)
        self.bounds = [*[tuple(np.log(_SCALES))] * self._n_scales, *shares, tuple(np.log(_NUGGETS))]

    def begin(self, scale: float, nugget: float) -> npt.NDArray[np.float64]:
        shrunk = scale if self.each else scale / math.sqrt(self._X.shape[1])
        x = np.zeros(len(self.bounds))
        x[: self._n_scales] = math.log(max(shrunk, 2 * _SCALES[0]))
        x[-1] = math.log(nugget)
        return x

    def at(self, fit: Fit) -> npt.NDArray[np.float64]:
        """Return the place of a fit, of this form or a radial one."""
        x = self.begin(1.0, min(max(fit.nugget, _NUGGETS[0]), _NUGGETS[1]))
        x[: self._n_scales] = fit.scales.clamp(*_SCALES)[: self._n_scales].log().numpy()
        if fit.shares is not None:
            x[self._n_scales : -1] = torch.logit(fit.shares.clamp(*_SHARES)).numpy()
        return x

    def read(self, x: npt.NDArray[np.float64]) -> Fit:
        scales = torch.from_numpy(np.exp(x[: self._n_scales])).expand(self._X.shape[1])
        shares = torch.from_numpy(x[self._n_scales : -1]).sigmoid() if self._form.anova else None
        scales = torch.where(self._varies, scales, 0.0)
        return Fit(form=self._form, scales=scales, nugget=float(np.exp(x[-1])), shares=shares)

    def __call__(self, x: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        C, fit = self._C, self.read(x)
        if fit.shares is None:
            k, derivatives = self._radial(fit)
        else:
            k, derivatives = self._products(fit)
        projected = _projection(k, fit.nugget, self._H)
        if projected is None:
            return 1e10, np.zeros_like(x)
        P, log_determinant = projected
        A = P @ C
        n = len(C) - self._H.shape[1]
        v = ((C * A).sum(dim=0) / n).clamp(min=1e-300)
        value = 0.5 * float(n * v.log().mean() + log_determinant)
        M = 0.5 * (P - (A / v) @ A.T / C.shape[1])
        gradient = np.append(derivatives(M), fit.nugget * float(M.diagonal().sum()))
        scales, shares = slice(self._n_scales), slice(self._n_scales, -1)
        for part, (mean, deviation) in ((scales, _PRIOR), (shares, _SHARE_PRIOR)):
            far = (x[part] - mean) / deviation
            gradient[part] += far / deviation
            value += 0.5 * float(far @ far)
        return value, gradient

    def _radial(self, fit: Fit) -> tuple[Tensor, Derivatives]:
        X = self._X
        k, slopes = kappa_and_slope(self._form.kernel, distances(X, X, fit.scales).square())

        def derivatives(M: Tensor) -> npt.NDArray[np.float64]:
            # That of kappa by log s_d is its slope over r times s_d^2 (x_d - x'_d)^2.
            M = M * slopes
            by_scales = 2 * (M.sum(dim=1) @ X.square() - ((M @ X) * X).sum(dim=0))
            by_scales = by_scales * fit.scales.square()
            return (by_scales if self.each else by_scales.sum()[None]).numpy()

        return k, derivatives

    def _products(self, fit: Fit) -> tuple[Tensor, Derivatives]:
        shares, (rows, columns) = fit.shares, self._pairs
        assert shares is not None
        squares = self._squares * fit.scales.square()[:, None]
        varying, slopes = kappa_and_slope(self._form.kernel, squares)
        varying -= 1
        factors = 1 + shares[:, None] * varying
        before = [torch.ones_like(squares[0])]
        for factor in factors:
            before.append(before[-1] * factor)
        k = torch.eye(len(self._X), dtype=torch.float64)
        k[rows, columns] = k[columns, rows] = before[-1]

        def derivatives(M: Tensor) -> npt.NDArray[np.float64]:
            after = 2 * M[rows, columns]
            others = torch.empty_like(squares)  # what is multiplied by the change of a factor
            for i in reversed(range(len(factors))):
                torch.mul(after, before[i], out=others[i])
                after = after * factors[i]
            by_scales = (others * slopes * squares).sum(dim=1)
            by_shares = (others * varying).sum(dim=1)
            return (shares * torch.stack([by_scales, by_shares * (1 - shares)])).flatten().numpy()

        return k, derivatives


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


def solve(X: Tensor, C: Tensor, fit: Fit, same: Rows | None = None) -> Kriging | None:
    """Find the weights of all samples, at most `CENTRES`; None where they are not determined.

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
    """Return residuals of folds that are left out, the scales kept, (n, n_seen).

    Args:
        X: Standardised inputs, (n, n_in), n <= `CENTRES`.
        C: Scaled targets, (n, n_seen).
        fit: Scales and nugget, of all samples.
        folds: Fold of each sample, (n,).
    """
    k = fit.kappa(X, X)
    projected = _projection(k, fit.nugget, fit.form.trend(X))
    if projected is None:
        return None
    P = projected[0]
    return apart(
        -(P @ C), P.diagonal(), lambda rows: P[rows][:, rows], folds.numpy(), floor=1e-300
    )[0]
