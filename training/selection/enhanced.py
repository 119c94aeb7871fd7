r"""Kriging with derivatives: radial basis functions at the samples and along their directions.

`covariances` has the covariances of values and derivatives. All else is as in `kernel`: a constant
trend, the restricted likelihood for scales and nuggets, left-out residuals in closed form, each
sample with its derivatives, and the variance.

The functions of the surrogate have a larger step than that of the covariances of derivatives, as
they lose digits where two kernels cancel. The targets are corrected by the difference of the two in
the fit itself (`coarsened`).

Few outputs may also have a kernel, scales and nuggets each (`_apart`). Common ones are a
compromise: an output with bends, or one of few of the inputs, takes digits from the others. The
values and derivatives of one output are enough to determine a scale for each input.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor

from surrogates.model.kinds import KERNELS
from surrogates.model.radial import Joined, RadialBasis

from .. import pool
from ..member import Member
from ..slopes import Used
from .covariances import Kriged, Points, Scales, solve
from .effort import Asked
from .folds import Rows, divided
from .frame import Candidate, Frame
from .kernel import EACH, Fit, Form, Kriging

LARGEST = 2000
"""Largest number of samples and derivatives: the cost grows with its third power."""

_SEARCHED = 600  # values and derivatives that the scales are sought on
_FOLDS = 5  # on which scales are found again
_APART = 12  # largest number of outputs with scales of their own
_APART_COST = 2e9  # largest number of outputs times values and derivatives cubed: about 10 s
_APART_FEATURES = 10_000  # largest number of functions of all these outputs
_APART_SEARCHED = 300  # values and derivatives that scales of one output are sought on
_GROWN_OUTPUTS = 3  # outputs for which it is measured how errors grow
_STEPS = (0.1, 0.03, 0.01)  # of the surrogate: rounding errors of its features grow by 1 / (2 h)
_CORRECTIONS = 8  # each makes an error of derivatives smaller by a factor of about h^2
_CORRECT = 1e-2  # largest error of the derivatives, in those of the least nugget
_ROUNDING = 1e-11  # of a variance over that of the kernel
_SHAPED = 600  # values and derivatives that decide the variance's shape, which a file holds
_SCALES = (1e-3, 30.0)
_NUGGETS = (1e-8, 10.0)  # a smaller one makes weights so large that differences lose digits
_PRIOR = (np.log(0.2), 3.0)  # mean and deviation of the scales' logarithms, as in `likelihood`


def coarsened(points: Points, fit: Scales) -> tuple[Points, Kriged] | None:
    """Take a larger step, and turn the derivatives into differences with it; None if singular.

    A difference is a derivative and h^2 / 6 of the third one, which is that of the fit. The largest
    step is taken for which this converges.
    """
    n, found = len(points.X), None
    enough = _CORRECT * _NUGGETS[0] ** 0.5 * float(points.T[n:].norm())
    for step in _STEPS:
        coarse = dataclasses.replace(points, step=step)
        K = coarse.covariance(fit)
        more = coarse.kernels(fit, step) - coarse.kernels(fit, points.step)
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


def search(
    points: Points,
    start: Scales | None = None,
    kernel: str = "gaussian",
    steps: int = 80,
    most: int = _SEARCHED,
) -> Scales:
    """Find scales and nuggets by the largest restricted likelihood.

    Args:
        points: Some samples; of many, some are used.
        start: Start of the only search; two searches if None.
        kernel: The kernel.
        steps: Largest number of iterations of each search.
        most: Values and derivatives that are used.
    """
    points = points.some(points.spread(most))
    n_in = points.X.shape[1]
    n_scales = n_in if n_in <= EACH else 1
    bounds = [*[tuple(np.log(_SCALES))] * n_scales, *[tuple(np.log(_NUGGETS))] * 2]
    if start is None:
        shrunk = 1.0 if n_scales > 1 or n_in == 1 else n_in**-0.5
        begins = [np.log([*[shrunk * s] * n_scales, g, g]) for s, g in ((0.2, 1e-6), (0.7, 1e-4))]
    else:
        own = np.log(start.scales.clamp(*_SCALES).numpy()[:n_scales])
        begins = [np.append(own, np.log(start.nugget.numpy()))]

    def objective(x: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        return _likelihood(points, kernel, x)

    options = {"maxiter": steps}
    found = [
        minimize(objective, x, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        for x in begins
    ]
    best = torch.from_numpy(np.exp(min(found, key=lambda one: float(one.fun)).x))
    return Scales(kernel=kernel, scales=best[:-2].expand(n_in).clone(), nugget=best[-2:].clone())


def _likelihood(
    points: Points, kernel: str, x: npt.NDArray[np.float64]
) -> tuple[float, npt.NDArray[np.float64]]:
    """Return minus the logarithm of the restricted likelihood for one output, and its gradient."""
    variables = torch.from_numpy(x.copy()).requires_grad_()
    own = variables.exp()
    scales = own[:-2].expand(points.X.shape[1])
    K = points.covariance(Scales(kernel=kernel, scales=scales, nugget=own[-2:]))
    T = points.T
    found = solve(K.detach(), T, len(points.X))
    if found is None:
        return 1e10, np.zeros_like(x)
    PT = found.P @ T
    n = len(T) - 1
    v = ((T * PT).sum(dim=0) / n).clamp(min=1e-300)
    M = 0.5 * (found.P - (PT / v) @ PT.T / T.shape[1])
    (gradient,) = torch.autograd.grad((M * K).sum(), [variables])
    far = (x[:-2] - _PRIOR[0]) / _PRIOR[1]
    value = 0.5 * float(n * v.log().mean()) + 0.5 * found.logs + 0.5 * float(far @ far)
    slope = gradient.numpy().copy()
    slope[:-2] += far / _PRIOR[1]
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


def features(points: Points, fit: Scales) -> tuple[RadialBasis, Tensor]:
    """Return functions about samples, and before and behind them, and differences' factors."""
    size = torch.linalg.vector_norm(points.U * fit.scales, dim=1)
    at, step = points.X[points.at], (points.step / size)[:, None] * points.U
    centres = torch.cat([points.X, at + step, at - step])
    return RadialBasis(centres, fit.scales, fit.kernel), size / (2 * points.step)


def weights(points: Points, fit: Scales, found: Kriged) -> tuple[RadialBasis, Tensor]:
    """Return the features, and their weights with the constant last, (n_seen, n + 2 m + 1)."""
    basis, factor = features(points, fit)
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
    nugget = float(fit.nugget[0])
    noise = nugget - _NUGGETS[0] + _ROUNDING
    basis, W = weights(points, fit, found)
    residual, variance = left_out(points, found, number)
    variance += noise - nugget
    samples, part, own = points.spread(_SHAPED), points, found
    if len(samples) < len(points.X):
        part = points.some(samples)
        some = solve(part.covariance(fit), part.T, len(samples))
        assert some is not None  # a part of a positive definite matrix
        own = some
    place = torch.cat([samples, len(points.X) + points.along(samples)])
    rows = W.new_zeros((len(place) + 1, len(points.T)))
    eye = torch.eye(len(place)).to(W)
    rows[:-1, place] = torch.linalg.solve_triangular(own.L, eye, upper=False)
    rows[-1, place] = -own.lifted / own.size.sqrt()
    rows = _about(rows, features(points, fit)[1])
    last = torch.cat([rows[-1], 1 / own.size.sqrt()[None]])
    if part is not points:
        F = basis.forward(points.X)
        variance = 1 + noise - (F @ rows[:-1].T).square().sum(dim=1)
        variance += (F @ rows[-1] + last[-1]).square()
        alone = left_out(part, own, number[samples.numpy()])[1]
        variance[samples] = alone + noise - nugget
    return Kriging(
        fit=Fit(form=Form(kernel=fit.kernel, degree=0), scales=fit.scales, nugget=noise),
        centres=basis.centres,
        weights=W,
        left_out=residual,
        variance=variance.clamp(min=_ROUNDING),
        negative=rows[:-1],
        positive=last[None],
    )


def enhanced(frame: Frame, asked: Asked) -> list[Candidate]:
    """Return kriging with derivatives, if the samples have some and are not too many.

    With both kernels, unless one is asked for: the Gaussian one for smooth functions, that of
    Matern for those with bends. Its search starts at the other's scales. Few outputs also have a
    kernel and scales of their own.
    """
    settings, task = asked.settings, frame.dataset.info.task
    if not frame.closed or settings.derivatives.weight == 0 or task != "regression":
        return []
    if settings.network.trend:
        return []
    points = Points.of(frame)
    if points is None or not len(points.X) < len(points.T) <= LARGEST:
        return []
    start: Scales | None = None
    fits: list[Scales] = []
    candidates: list[Candidate] = []
    for kernel in KERNELS:
        if settings.network.kernel not in (None, kernel):
            continue
        arguments = {"points": points, "start": start, "kernel": kernel}
        (start,) = asked.run([pool.Task(function=search, arguments=arguments)])
        fits.append(start)
        candidates += _candidate(frame, asked, points, start)
    if candidates:
        candidates += _apart(frame, asked, points, fits, min(candidates, key=attrgetter("score")))
    return candidates


def _candidate(frame: Frame, asked: Asked, points: Points, fit: Scales) -> list[Candidate]:
    """Return kriging with found scales, or nothing where its covariance is singular."""
    coarse = coarsened(points, fit)
    if coarse is None:
        return []
    number = np.arange(len(points.X)) if frame.same is None else frame.same
    kriged = kriging(*coarse, fit, number)

    def members() -> Sequence[Member]:
        return [frame.member(kriged.fit.basis(kriged.centres), kriged.weights)]

    return [
        Candidate(
            name=f"rbf {fit.kernel} with derivatives",
            residual=frame.residual(kriged.left_out),
            members=members,
            kriging=kriged,
            variance=kriged.variance,
            used=_used(points),
            growth=lambda: _growth(frame, asked, [points], [fit]),
        )
    ]


def _used(points: Points) -> Used:
    counts = torch.bincount(points.at)
    most = int(counts.max())
    whole = most >= points.X.shape[1]
    return Used(directions=most, whole=whole, samples=int((counts > 0).sum()), weight=1.0)


def _apart(
    frame: Frame, asked: Asked, points: Points, fits: Sequence[Scales], shared: Candidate
) -> list[Candidate]:
    """Return kriging with a kernel and scales for each output, if there are few outputs.

    The searches start at the common scales of each kernel. The error bars have the shape of a
    common kernel, whose features are included with zero weights.
    """
    scaling, kriged = frame.data.scaling, shared.kriging
    assert scaling is not None and kriged is not None
    n_out, n_centres = len(scaling.scale), len(kriged.centres)
    affordable = (n_out + 1) * n_centres <= _APART_FEATURES
    if not 2 <= n_out <= _APART or not affordable or n_out * len(points.T) ** 3 > _APART_COST:
        return []
    T = scaling.seen_to_all(points.T)
    columns = [dataclasses.replace(points, T=T[:, j : j + 1]) for j in range(n_out)]
    own = _own(frame, asked, columns, fits)
    some = range(0, n_out, -(-n_out // _GROWN_OUTPUTS))

    def members() -> Sequence[Member]:
        bases = [kriged.fit.basis(kriged.centres), *(one.basis for one in own)]
        zeros = torch.zeros((len(bases), points.X.shape[1]), dtype=torch.float64)
        W, first = T.new_zeros((n_out, sum(basis.width for basis in bases) + 1)), n_centres
        for j, one in enumerate(own):
            W[j, first : first + one.basis.width] = one.W[0, :-1]
            W[j, -1] = one.W[0, -1]
            first += one.basis.width
        member = frame.member(Joined(bases, zeros, zeros + 1), torch.zeros_like(kriged.weights))
        return [dataclasses.replace(member, W=dataclasses.replace(scaling, basis=None).physical(W))]

    return [
        dataclasses.replace(
            shared,
            name="rbf with derivatives, scales by output",
            residual=torch.cat([one.left_out for one in own], dim=1),
            members=members,
            growth=lambda: _growth(
                frame, asked, [columns[j] for j in some], [own[j].fit for j in some]
            ),
        )
    ]


@dataclass(frozen=True, kw_only=True)
class _Output:
    """Kriging of one output: scales, functions, weights (1, width + 1), residuals (n, 1)."""

    fit: Scales
    basis: RadialBasis
    W: Tensor
    left_out: Tensor

    @classmethod
    def of(cls, points: Points, fit: Scales, number: Rows) -> _Output | None:
        """Solve with given scales; None where the covariance is singular."""
        coarse = coarsened(points, fit)
        if coarse is None:
            return None
        basis, W = weights(coarse[0], fit, coarse[1])
        return cls(fit=fit, basis=basis, W=W, left_out=left_out(*coarse, number)[0])


def _own(
    frame: Frame, asked: Asked, columns: Sequence[Points], fits: Sequence[Scales]
) -> list[_Output]:
    """Return kriging of each output; left-out residuals choose the kernel, at the finest step."""
    number = np.arange(len(columns[0].X)) if frame.same is None else frame.same
    begin = [{"start": fit, "kernel": fit.kernel, "steps": 30} for fit in fits]
    tasks = [{"points": c, **one, "most": _APART_SEARCHED} for c in columns for one in begin]
    found = asked.run([pool.Task(function=search, arguments=task) for task in tasks])

    def score(column: Points, fit: Scales) -> float:
        solved = solve(column.covariance(fit), column.T, len(column.X))
        if solved is None:
            return math.inf
        return float(left_out(column, solved, number)[0].square().mean())

    own = []
    for j, column in enumerate(columns):
        sought = found[j * len(fits) :][: len(fits)]
        order = [*sorted(sought, key=functools.partial(score, column)), *fits]
        solved = (_Output.of(column, fit, number) for fit in order)
        own.append(next(one for one in solved if one is not None))  # a common one is not singular
    return own


def _growth(frame: Frame, asked: Asked, targets: Sequence[Points], fits: Sequence[Scales]) -> float:
    """Return the factor, 1 to 3, by which errors grow when the scales are found without a fold."""
    n = len(targets[0].X)
    folds = divided(np.arange(n), _FOLDS, frame.settings.seed, frame.same)
    parts = [[one.some(torch.from_numpy(fold.train)) for fold in folds] for one in targets]
    steps, most = (40, _SEARCHED) if len(targets) == 1 else (20, _APART_SEARCHED)
    tasks = [
        {"points": part, "start": fit, "kernel": fit.kernel, "steps": steps, "most": most}
        for fit, own in zip(fits, parts, strict=True)
        for part in own
    ]
    found = iter(asked.run([pool.Task(function=search, arguments=task) for task in tasks]))
    before = after = 0.0
    for points, fit, own in zip(targets, fits, parts, strict=True):
        for fold, part in zip(folds, own, strict=True):
            target = points.T[torch.from_numpy(fold.held)]
            X = points.X[torch.from_numpy(fold.held)]
            for one in (fit, next(found)):
                solved = solve(part.covariance(one), part.T, len(part.X))
                if solved is None:
                    return 1.0
                seen = predict(part, one, solved, X)
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
