r"""Kriging with derivatives: radial basis functions at the samples and along their directions.

The values and derivatives of c at the samples are jointly normal. With kappa the Gaussian kernel of
scaled inputs, the covariances of derivatives along u_j at x_j are derivatives of kappa,

    Cov(c(x), u_j . c'(x_j))             =  kappa d . u_j,                              d = x - x_j
    Cov(u_i . c'(x_i), u_j . c'(x_j))    =  kappa (u_i . u_j - (d . u_i)(d . u_j)),   d = x_i - x_j

(Morris, Mitchell and Ylvisaker 1993, "Bayesian design and analysis of computer experiments: use of
derivatives in surface prediction"). All else is as in `kernel`: a constant trend, the restricted
likelihood for scales and nugget, left-out residuals in closed form, each sample with its
derivatives, and the variance. The nugget of a derivative is relative to its own variance.

Each derivative is a central difference of c at x_j + h u_j and x_j - h u_j here. So prediction
and variance are sums of kappa(x - x_k) with centres x_k at the samples and beside them, which every
export knows. Their covariances have closed forms without cancellation: with e_j = u_j of size
one, h and d in scaled inputs,

    Cov(c(x), difference j)             =  kappa(d) exp(-h^2 / 2) sinh(h d . e_j) / h
    Cov(difference i, difference j)     =  kappa(d) exp(-h^2) (sinh(g) cosh(a) cosh(b)
                                               - cosh(g) sinh(a) sinh(b)) / h^2,
    g = h^2 e_i . e_j,  a = h d . e_i,  b = h d . e_j.

Scales are sought with a step so small that differences are derivatives. The functions of the
surrogate would lose digits with it, as two kernels cancel: they have a larger one, and the targets
are corrected by the difference of the two in the fit itself (`coarsened`).
"""

from __future__ import annotations

import dataclasses
import math
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
from .kernel import EACH, Fit, Form, Kriging

LARGEST = 2000
"""Largest number of samples and derivatives: the cost grows with its third power."""

_SEARCHED = 600  # values and derivatives that the scales are sought on
_FOLDS = 5  # on which scales are found again
_FINE = 1e-3  # h in scaled inputs: an error of 1e-6 of derivatives; a nugget's is 1e-4 or more
_STEPS = (0.1, 0.03, 0.01)  # of the surrogate: rounding errors of its features grow by 1 / (2 h)
_CORRECTIONS = 8  # each makes an error of derivatives smaller by a factor of about h^2
_CORRECT = 1e-2  # largest error of the derivatives, in those of the least nugget
_ROUNDING = 1e-11  # of a variance over that of the kernel
_SHAPED = 600  # values and derivatives that decide the variance's shape, which a file holds
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
        step: h of the differences, in scaled inputs.
    """

    X: Tensor
    at: Tensor
    U: Tensor
    T: Tensor
    step: float = _FINE

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
        rows = self.along(samples)
        return dataclasses.replace(
            self,
            X=self.X[samples],
            at=place[self.at[rows]],
            U=self.U[rows],
            T=torch.cat([self.T[samples], self.T[len(self.X) + rows]]),
        )

    def along(self, samples: Tensor) -> Tensor:
        """Return the numbers of the derivatives of some samples."""
        return torch.nonzero(torch.isin(self.at, samples))[:, 0]

    def spread(self, most: int) -> Tensor:
        """Return evenly spread samples, with about ``most`` values and derivatives."""
        n = max(2, int(len(self.X) * most / len(self.T)))
        return torch.linspace(0, len(self.X) - 1, min(n, len(self.X))).round().long()

    def covariance(self, scales: Tensor, nugget: Tensor | float) -> Tensor:
        """Return the covariance of values and derivatives, (n + m, n + m)."""
        own = torch.cat([scales.new_ones(len(self.X)), (self.U * scales).square().sum(dim=1)])
        return self.kernels(scales, self.step) + torch.diag(nugget * own)

    def kernels(self, scales: Tensor, of_rows: float) -> Tensor:
        """Return covariances without noise, with another step for the rows' differences."""
        A, U, at, p, h = self.X * scales, self.U * scales, self.at, of_rows, self.step
        size = torch.linalg.vector_norm(U, dim=1)
        e = U / size[:, None]
        squares = A.square().sum(dim=1)
        k = torch.exp(A @ A.T - (squares[:, None] + squares) / 2)
        # (x_i - x_j) . e_j for samples i and derivatives j; no array has a dimension more.
        E = A @ e.T
        E = E - E[at, torch.arange(len(at))]
        by_rows, by_columns = (math.exp(-(step**2) / 2) / step * size for step in (p, h))
        across, down = (h * E).sinh() * by_columns, ((p * E).sinh() * by_rows).T
        E, g = E[at], p * h * (e @ e.T)
        within = g.sinh() * (h * E).cosh() * (p * E).cosh().T
        within = within + g.cosh() * (h * E).sinh() * (p * E).sinh().T
        within = k[at][:, at] * within * torch.outer(by_rows, by_columns)
        upper = torch.cat([k, k[:, at] * across], dim=1)
        return torch.cat([upper, torch.cat([k[at] * down, within], dim=1)])


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Inverse lengths of standardised inputs, (n_in,), and the nugget."""

    scales: Tensor
    nugget: float


@dataclass(frozen=True, kw_only=True)
class Kriged:
    """Weights of values and derivatives, and what is needed to leave samples out.

    Attributes:
        a: Weights, (n + m, n_seen).
        constant: The trend, (n_seen,).
        P: See `kernel`, (n + m, n + m).
        L: Cholesky factor of the covariance K, (n + m, n + m).
        lifted: K^-1 H, (n + m,), where H is one for values and zero for derivatives.
        size: H^T K^-1 H.
    """

    a: Tensor
    constant: Tensor
    P: Tensor
    L: Tensor
    lifted: Tensor
    size: Tensor

    @property
    def logs(self) -> float:
        """Return log |K| + log (H^T K^-1 H)."""
        return float(2 * self.L.diagonal().log().sum() + self.size.log())


def solve(K: Tensor, T: Tensor, n: int) -> Kriged | None:
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
    return Kriged(a=a, constant=constant, P=P, L=L, lifted=lifted, size=size)


def coarsened(points: Points, fit: Scales) -> tuple[Points, Kriged] | None:
    """Take a larger step, and turn the derivatives into differences with it; None if singular.

    A difference is a derivative and h^2 / 6 of the third one, which is that of the fit. The largest
    step is taken for which this converges.
    """
    n, found = len(points.X), None
    enough = _CORRECT * _NUGGETS[0] ** 0.5 * float(points.T[n:].norm())
    for step in _STEPS:
        coarse = dataclasses.replace(points, step=step)
        K = coarse.covariance(fit.scales, fit.nugget)
        more = coarse.kernels(fit.scales, step) - coarse.kernels(fit.scales, points.step)
        found = solve(K, coarse.T, n)
        for _ in range(_CORRECTIONS):
            if found is None:
                return None
            T = torch.cat([points.T[:n], points.T[n:] + more[n:] @ found.a])
            change = float((T - coarse.T).norm())
            coarse = dataclasses.replace(coarse, T=T)
            found = solve(K, T, n)
            if change <= enough:
                break
        else:
            continue
        break
    return None if found is None else (coarse, found)


def search(points: Points, start: Scales | None = None, steps: int = 80) -> Scales:
    """Find scales and nugget by the largest restricted likelihood.

    Args:
        points: Some samples; of many, some are used.
        start: Start of the only search; two searches if None.
        steps: Largest number of iterations of each search.
    """
    points = points.some(points.spread(_SEARCHED))
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


def left_out(points: Points, found: Kriged, number: Rows) -> tuple[Tensor, Tensor]:
    """Return residuals of values without the samples of one number and their derivatives.

    Args:
        points: The samples.
        found: The solution with all of them.
        number: Number of each sample, (n,).

    Returns:
        Prediction less c, scaled, (n, n_seen); and its variance over that of the kernel, (n,).
    """
    n = len(points.X)
    residual, variance = points.T.new_empty((n, points.T.shape[1])), points.T.new_empty(n)
    PT = found.P @ points.T
    of_rows = np.concatenate([number, number[points.at.numpy()]])
    order = np.argsort(of_rows, kind="stable")
    _, counts = np.unique(of_rows, return_counts=True)
    for rows in map(torch.from_numpy, np.split(order, np.cumsum(counts)[:-1])):
        values = rows < n  # the first ones: the sort is stable
        inverse = torch.linalg.inv(found.P[rows][:, rows])[values]
        residual[rows[values]] = -inverse @ PT[rows]
        variance[rows[values]] = inverse.diagonal()
    return residual, variance


def features(points: Points, scales: Tensor) -> tuple[RadialBasis, Tensor]:
    """Return functions about samples, and before and behind them, and differences' factors."""
    size = torch.linalg.vector_norm(points.U * scales, dim=1)
    at, step = points.X[points.at], (points.step / size)[:, None] * points.U
    centres = torch.cat([points.X, at + step, at - step])
    return RadialBasis(centres, scales, "gaussian"), size / (2 * points.step)


def weights(points: Points, fit: Scales, found: Kriged) -> tuple[RadialBasis, Tensor]:
    """Return the features, and their weights with the constant last, (n_seen, n + 2 m + 1)."""
    basis, factor = features(points, fit.scales)
    return basis, torch.cat([_about(found.a.T, factor), found.constant[:, None]], dim=1)


def _about(A: Tensor, factor: Tensor) -> Tensor:
    """Turn columns for values and derivatives into columns for functions about centres."""
    n = A.shape[1] - len(factor)
    last = A[:, n:] * factor
    return torch.cat([A[:, :n], last, -last], dim=1)


def kriging(points: Points, found: Kriged, fit: Scales, number: Rows) -> Kriging:
    """Return weights, left-out residuals and variances, about the centres of `features`.

    The variance is that of `kernel`, with the values and derivatives as its samples. It needs a row
    of the file for each of them, so some decide its shape if there are many: the other samples have
    the variance of new points there.

    A nugget at its bound is no noise but what the solution needs, and of exact data the error lacks
    it: this part of the nugget does not count. Posterior variances are a tenth to a thousandth of
    it for smooth functions, and it would hide how errors vary.
    """
    noise = fit.nugget - _NUGGETS[0] + _ROUNDING
    basis, W = weights(points, fit, found)
    residual, variance = left_out(points, found, number)
    variance += noise - fit.nugget
    samples, part, own = points.spread(_SHAPED), points, found
    if len(samples) < len(points.X):
        part = points.some(samples)
        some = solve(part.covariance(fit.scales, fit.nugget), part.T, len(samples))
        assert some is not None  # a part of a positive definite matrix
        own = some
    place = torch.cat([samples, len(points.X) + points.along(samples)])
    rows = W.new_zeros((len(place) + 1, len(points.T)))
    eye = torch.eye(len(place)).to(W)
    rows[:-1, place] = torch.linalg.solve_triangular(own.L, eye, upper=False)
    rows[-1, place] = -own.lifted / own.size.sqrt()
    rows = _about(rows, features(points, fit.scales)[1])
    last = torch.cat([rows[-1], 1 / own.size.sqrt()[None]])
    if part is not points:
        F = basis.forward(points.X)
        variance = 1 + noise - (F @ rows[:-1].T).square().sum(dim=1)
        variance += (F @ rows[-1] + last[-1]).square()
        alone = left_out(part, own, number[samples.numpy()])[1]
        variance[samples] = alone + noise - fit.nugget
    return Kriging(
        fit=Fit(form=Form(kernel="gaussian", degree=0), scales=fit.scales, nugget=noise),
        centres=basis.centres,
        weights=W,
        left_out=residual,
        variance=variance.clamp(min=_ROUNDING),
        negative=rows[:-1],
        positive=last[None],
    )


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
    coarse = coarsened(points, fit)
    if coarse is None:
        return []
    number = np.arange(n) if frame.same is None else frame.same
    kriged = kriging(*coarse, fit, number)

    def members() -> Sequence[Member]:
        return [frame.member(kriged.fit.basis(kriged.centres), kriged.weights)]

    return [
        Candidate(
            name="rbf gaussian with derivatives",
            residual=frame.residual(kriged.left_out),
            members=members,
            kriging=kriged,
            variance=kriged.variance,
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


def predict(points: Points, fit: Scales, found: Kriged, X: Tensor) -> Tensor:
    """Predict at standardised inputs, (n_new, n_seen)."""
    basis, W = weights(points, fit, found)
    return basis.forward(X) @ W[:, :-1].T + W[:, -1]
