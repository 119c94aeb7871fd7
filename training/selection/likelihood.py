"""Search for the scales of a kernel regression by the largest restricted likelihood (`kernel`)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor

from .kernel import EACH, Fit, Form, distances, kappa_and_slope, projection

Derivatives = Callable[[Tensor], npt.NDArray[np.float64]]

_SEARCHED = 300  # samples that the scales are sought on
_SCALES = (1e-3, 30.0)
_NUGGETS = (1e-10, 10.0)
_SHARES = (0.005, 0.9995)
# Mean and deviation of the scales' logarithms, and of the shares' logits: priors that decide if the
# samples do not.
_PRIOR = (math.log(0.2), 3.0)
_SHARE_PRIOR = (0.0, 3.0)


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
        X: Standardised inputs, (n, n_in); of more than 300 samples some are used.
        C: Scaled targets, (n, n_seen).
        form: The form.
        start: Start of the first search; a smooth function if None.
        steps: Largest number of iterations of each search.
        anew: Whether a second search starts at a rough function even if there is a ``start``.
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

    Its variables are the logarithms of the scales, the logits of the shares if there are any, and
    the logarithm of the nugget.
    """

    def __init__(self, X: Tensor, C: Tensor, form: Form) -> None:
        self._X, self._C, self._form = X, C, form
        self._H = form.trend(X)
        n_in = X.shape[1]
        self.each = n_in <= EACH or form.anova
        self._n_scales = n_in if self.each else 1
        # Inputs that do not vary have no scale: the samples do not show their effect.
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
        """Return the variables of a fit of this form, or of a radial one."""
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
        projected = projection(k, fit.nugget, self._H)
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
            # The derivative of kappa by log s_d is its slope over r times s_d^2 (x_d - x'_d)^2.
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
            others = torch.empty_like(squares)  # product of the other factors
            for i in reversed(range(len(factors))):
                torch.mul(after, before[i], out=others[i])
                after = after * factors[i]
            by_scales = (others * slopes * squares).sum(dim=1)
            by_shares = (others * varying).sum(dim=1)
            return (shares * torch.stack([by_scales, by_shares * (1 - shares)])).flatten().numpy()

        return k, derivatives
