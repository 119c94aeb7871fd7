r"""Kriging with derivatives: radial basis functions at the samples and along their directions.

The values and derivatives of c at the samples are jointly normal. With kappa the Gaussian kernel of
scaled inputs, the covariances of derivatives along u_j at x_j are derivatives of kappa,

    Cov(c(x), u_j . c'(x_j))             =  kappa d . u_j,                              d = x - x_j
    Cov(u_i . c'(x_i), u_j . c'(x_j))    =  kappa (u_i . u_j - (d . u_i)(d . u_j)),   d = x_i - x_j

(Morris, Mitchell and Ylvisaker 1993, "Bayesian design and analysis of computer experiments: use of
derivatives in surface prediction"). All else is as in `kernel`: a constant trend, the restricted
likelihood for scales and nugget, left-out residuals in closed form, each sample with its
derivatives. The nugget of a derivative is relative to its own variance.

The prediction is a sum of kappa(x - x_k), and of derivatives of kappa by its centre along u_j. A
derivative is a difference of two kernels here, with centres x_j + h u_j and x_j - h u_j: so
features remain radial functions about centres, which every export knows. The weights are corrected
for the difference, until the functions fit the values and derivatives no better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor

from surrogates.model.radial import RadialBasis

from .. import pool
from ..member import Member
from ..slopes import Slopes, Used, given, standard
from .effort import Asked
from .folds import Rows, divided
from .frame import Candidate, Frame
from .kernel import EACH

LARGEST = 2000
"""Largest number of samples and derivatives: the cost grows with its third power."""

_SEARCHED = 600  # values and derivatives that the scales are sought on
_FOLDS = 5  # on which scales are found again
_STEP = 3e-4  # of a difference, in scaled inputs: it has an error of 1e-8, and of rounding 1e-13
_CORRECTIONS = 3
_SCALES = (1e-3, 30.0)
_NUGGETS = (1e-8, 10.0)  # a smaller one makes weights so large that differences lose digits
_PRIOR = (np.log(0.2), 3.0)  # mean and deviation of the scales' logarithms, as in `likelihood`


@dataclass(frozen=True, kw_only=True)
class Points:
    """Samples with derivatives along directions.

    Attributes:
        X: Standardised inputs, (n, n_in).
        at: Sample of each derivative, (m,) int64.
        U: Its direction, of size one, (m, n_in).
        T: Scaled targets, of the samples and then of the derivatives, (n + m, n_seen).
    """

    X: Tensor
    at: Tensor
    U: Tensor
    T: Tensor

    @classmethod
    def of(cls, frame: Frame) -> Points | None:
        """Take the samples of a frame; None if none has derivatives."""
        own = given(frame.dataset, frame.rows)
        if own is None:
            return None
        data = frame.data
        varies = standard(torch.from_numpy(frame.dataset.Y[frame.rows]))[1]
        slopes = Slopes.of(own, data.y_scale, varies)
        if slopes is None:
            return None
        assert data.scaling is not None
        T = slopes.T[slopes.there] / data.scaling.scale
        T = T if data.scaling.basis is None else T @ data.scaling.basis
        sample, _ = torch.nonzero(slopes.there, as_tuple=True)
        return cls(
            X=frame.X,
            at=slopes.samples[sample],
            U=slopes.X[slopes.there],
            T=torch.cat([frame.C, T]),
        )

    def some(self, samples: Tensor) -> Points:
        """Take some samples, ascending, with their derivatives."""
        place = torch.full((len(self.X),), -1)
        place[samples] = torch.arange(len(samples))
        rows = torch.nonzero(place[self.at] >= 0)[:, 0]
        return Points(
            X=self.X[samples],
            at=place[self.at[rows]],
            U=self.U[rows],
            T=torch.cat([self.T[samples], self.T[len(self.X) + rows]]),
        )

    def thinned(self, most: int) -> Points:
        """Take evenly spread samples, with about ``most`` values and derivatives."""
        n = max(2, int(len(self.X) * most / len(self.T)))
        if n >= len(self.X):
            return self
        return self.some(torch.linspace(0, len(self.X) - 1, n).round().long())

    def covariance(self, scales: Tensor, nugget: Tensor | float) -> Tensor:
        """Return the covariance of values and derivatives, (n + m, n + m)."""
        A, U, at = self.X * scales, self.U * scales, self.at
        squares = A.square().sum(dim=1)
        k = torch.exp(A @ A.T - (squares[:, None] + squares) / 2)
        # (x_i - x_j) . u_j for samples i and derivatives j; no array has a dimension more.
        E = A @ U.T
        E = E - E[at, torch.arange(len(at))]
        across = k[:, at] * E
        within = k[at][:, at] * (U @ U.T + E[at] * E[at].T)
        K = torch.cat([torch.cat([k, across], 1), torch.cat([across.T, within], 1)])
        return K + torch.diag(nugget * torch.cat([torch.ones_like(squares), U.square().sum(dim=1)]))


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Inverse lengths of standardised inputs, (n_in,), and the nugget."""

    scales: Tensor
    nugget: float


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Weights of values and derivatives, and what is needed to leave samples out.

    Attributes:
        a: Weights, (n + m, n_seen).
        constant: The trend, (n_seen,).
        P: See `kernel`, (n + m, n + m).
        logs: log |K| + log (H^T K^-1 H).
    """

    a: Tensor
    constant: Tensor
    P: Tensor
    logs: float


def solve(K: Tensor, T: Tensor, n: int) -> Solution | None:
    """Solve with a covariance and a constant of the n values; None where it is singular."""
    L, failed = torch.linalg.cholesky_ex(K)
    if failed:
        return None
    inverse = torch.cholesky_inverse(L)
    lifted = inverse[:, :n].sum(dim=1)
    size = lifted[:n].sum()
    if not float(size) > 0:
        return None
    constant = lifted @ T / size
    H = (torch.arange(len(T)) < n).to(T)
    a = torch.cholesky_solve(T - H[:, None] * constant, L)
    P = inverse - torch.outer(lifted, lifted) / size
    logs = float(2 * L.diagonal().log().sum() + size.log())
    return Solution(a=a, constant=constant, P=P, logs=logs)


def search(points: Points, start: Scales | None = None, steps: int = 80) -> Scales:
    """Find scales and nugget by the largest restricted likelihood.

    Args:
        points: Some samples; of many, some are used.
        start: Start of the only search; two searches if None.
        steps: Largest number of iterations of each search.
    """
    points = points.thinned(_SEARCHED)
    n_in = points.X.shape[1]
    n_scales = n_in if n_in <= EACH else 1
    bounds = [*[tuple(np.log(_SCALES))] * n_scales, tuple(np.log(_NUGGETS))]
    if start is None:
        shrunk = 1.0 if n_scales > 1 or n_in == 1 else n_in**-0.5
        begins = [np.log([*[shrunk * s] * n_scales, g]) for s, g in ((0.2, 1e-6), (0.7, 1e-4))]
    else:
        own = np.log(start.scales.clamp(*_SCALES).numpy()[:n_scales])
        begins = [np.append(own, np.log(start.nugget))]

    def objective(x: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        return _likelihood(points, x)

    options = {"maxiter": steps}
    found = [
        minimize(objective, x, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        for x in begins
    ]
    best = np.exp(min(found, key=lambda one: float(one.fun)).x)
    scales = torch.from_numpy(best[:-1]).expand(n_in).clone()
    return Scales(scales=scales, nugget=float(best[-1]))


def _likelihood(
    points: Points, x: npt.NDArray[np.float64]
) -> tuple[float, npt.NDArray[np.float64]]:
    """Return minus the logarithm of the restricted likelihood for one output, and its gradient."""
    variables = torch.from_numpy(x.copy()).requires_grad_()
    own = variables.exp()
    K = points.covariance(own[:-1].expand(points.X.shape[1]), own[-1])
    T = points.T
    found = solve(K.detach(), T, len(points.X))
    if found is None:
        return 1e10, np.zeros_like(x)
    PT = found.P @ T
    n = len(T) - 1
    v = ((T * PT).sum(dim=0) / n).clamp(min=1e-300)
    M = 0.5 * (found.P - (PT / v) @ PT.T / T.shape[1])
    (gradient,) = torch.autograd.grad((M * K).sum(), [variables])
    far = (x[:-1] - _PRIOR[0]) / _PRIOR[1]
    value = 0.5 * float(n * v.log().mean()) + 0.5 * found.logs + 0.5 * float(far @ far)
    slope = gradient.numpy().copy()
    slope[:-1] += far / _PRIOR[1]
    return value, slope


def left_out(points: Points, found: Solution, number: Rows) -> Tensor:
    """Return residuals of values without the samples of one number and their derivatives.

    Args:
        points: The samples.
        found: The solution with all of them.
        number: Number of each sample, (n,).

    Returns:
        Prediction less c, scaled, (n, n_seen).
    """
    n = len(points.X)
    residual = points.T.new_empty((n, points.T.shape[1]))
    PT = found.P @ points.T
    of_rows = np.concatenate([number, number[points.at.numpy()]])
    order = np.argsort(of_rows, kind="stable")
    _, counts = np.unique(of_rows, return_counts=True)
    for rows in map(torch.from_numpy, np.split(order, np.cumsum(counts)[:-1])):
        values = rows < n  # the first ones: the sort is stable
        block = found.P[rows][:, rows]
        residual[rows[values]] = -torch.linalg.solve(block, PT[rows])[values]
    return residual


def features(points: Points, scales: Tensor) -> tuple[RadialBasis, Tensor]:
    """Return functions about centres, and the lengths h of the differences, (m,)."""
    h = _STEP / torch.linalg.vector_norm(points.U * scales, dim=1)
    at, step = points.X[points.at], h[:, None] * points.U
    return RadialBasis(torch.cat([points.X, at + step, at - step]), scales, "gaussian"), h


def weights(points: Points, fit: Scales, found: Solution) -> tuple[RadialBasis, Tensor]:
    """Return the features, and their weights with the constant last, (n_seen, n + m + 1)."""
    basis, h = features(points, fit.scales)
    n = len(points.X)
    F, J = basis.forward_and_jacobian(points.X)
    along = torch.stack([J[i] @ u for i, u in zip(points.at.tolist(), points.U, strict=True)])
    design = torch.cat([F, along])
    H = (torch.arange(len(points.T)) < n).to(F)
    K = points.covariance(fit.scales, fit.nugget)
    noise = K.diagonal() - points.covariance(fit.scales, 0.0).diagonal()

    def differences(a: Tensor) -> Tensor:
        last = a[n:] / (2 * h[:, None])
        return torch.cat([a[:n], last, -last])

    def rest(a: Tensor, constant: Tensor) -> Tensor:
        fitted = design @ differences(a) + noise[:, None] * a
        return points.T - fitted - torch.outer(H, constant)

    a, constant = found.a, found.constant
    missed = rest(a, constant)
    for _ in range(_CORRECTIONS):
        change = found.P @ missed
        shift = (missed - K @ change)[:n].mean(dim=0)
        left = rest(a + change, constant + shift)
        if not float(left.norm()) < float(missed.norm()):
            break
        a, constant, missed = a + change, constant + shift, left
    return basis, torch.cat([differences(a), constant[None]]).T


def enhanced(frame: Frame, asked: Asked) -> list[Candidate]:
    """Return kriging with derivatives, if the samples have some and are not too many."""
    settings, task = asked.settings, frame.dataset.info.task
    if not frame.closed or settings.derivatives.weight == 0 or task != "regression":
        return []
    if settings.network.kernel not in (None, "gaussian") or settings.network.trend:
        return []
    points = Points.of(frame)
    if points is None or not len(points.X) < len(points.T) <= LARGEST:
        return []
    (fit,) = asked.run([pool.Task(function=search, arguments={"points": points})])
    n = len(points.X)
    found = solve(points.covariance(fit.scales, fit.nugget), points.T, n)
    if found is None:
        return []
    number = np.arange(n) if frame.same is None else frame.same

    def members() -> Sequence[Member]:
        return [frame.member(*weights(points, fit, found))]

    return [
        Candidate(
            name="rbf gaussian with derivatives",
            residual=frame.residual(left_out(points, found, number)),
            members=members,
            used=_used(points),
            growth=lambda: _growth(frame, asked, points, fit),
        )
    ]


def _used(points: Points) -> Used:
    counts = torch.bincount(points.at)
    most = int(counts.max())
    whole = most >= points.X.shape[1]
    return Used(directions=most, whole=whole, samples=int((counts > 0).sum()), weight=1.0)


def _growth(frame: Frame, asked: Asked, points: Points, fit: Scales) -> float:
    """Return the factor, 1 to 3, by which errors grow when the scales are found without a fold."""
    n = len(points.X)
    folds = divided(np.arange(n), _FOLDS, frame.settings.seed, frame.same)
    parts = [points.some(torch.from_numpy(fold.train)) for fold in folds]
    task = {"start": fit, "steps": 40}
    fits = asked.run([pool.Task(function=search, arguments={"points": p, **task}) for p in parts])
    before = after = 0.0
    for fold, part, own in zip(folds, parts, fits, strict=True):
        target = points.T[torch.from_numpy(fold.held)]
        X = points.X[torch.from_numpy(fold.held)]
        for one in (fit, own):
            found = solve(part.covariance(one.scales, one.nugget), part.T, len(part.X))
            if found is None:
                return 1.0
            seen = predict(part, one, found, X)
            squares = float((seen - target).square().sum())
            if one is fit:
                before += squares
            else:
                after += squares
    return float(min(max(1.0, np.sqrt(after / max(before, 1e-300))), 3.0))


def predict(points: Points, fit: Scales, found: Solution, X: Tensor) -> Tensor:
    """Predict at standardised inputs, (n_new, n_seen)."""
    A, B, U = points.X * fit.scales, X * fit.scales, points.U * fit.scales
    k = torch.exp(-torch.cdist(B, A).square() / 2)
    across = k[:, points.at] * (B @ U.T - (A[points.at] * U).sum(dim=1))
    return torch.cat([k, across], dim=1) @ found.a + found.constant
