r"""Error bars of a surrogate from held-out residuals.

    std_j(y)^2 = sigma_j^2 g(y) + spread sum_m weights_mj (c_mj(y) - c_j(y))^2
    g(y) = 1 - rho + rho q(y) + d(y)^2

(see `surrogates.model.parts.ErrorBars`). The shape q has mean one over the held-out samples. It is
the variance of kriging if a kernel is a member, and else the posterior variance of W for the
networks' features. The share rho and the sizes sigma_j come from quantiles of the residuals: one
outlier does not decide them, as it would a root mean square. So does the tail of the intervals: g
captures only a part of the errors' variation with y, and a mixture of sizes has heavier tails than
a normal distribution.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surrogates.model.covariance import Correlation
from surrogates.model.parts import ErrorBars, Members
from surrogates.model.surrogate import Surrogate
from surrogates.types import Array

from ..inner.tall import tall_svd
from ..slopes import DerivativeRows
from .correlation import Seen, correlation
from .regression import Selection

_SHARES = torch.linspace(0, 1, 21, dtype=torch.float64)
_LEVELS = (0.5, 0.9)  # quantiles for the sizes; too few samples lie above 0.95
_TAIL_LEVELS = (0.5, 0.9, 0.95)  # quantiles for the tail
_FEWEST_FOR_TAIL = 19  # samples: their largest residual bounds the next one with 95 %
_TAIL_ERROR = 0.8  # standard error of the tail of n normal residuals, times sqrt(n)
_LARGEST_TAIL = 0.45  # below `surrogates.model.tails.LIMIT`
_FEWEST = 0.25  # least share of the residuals' variance that is left after the members' spread
_LEFT = 1e-3  # least share of a sample that a fit of all leaves undetermined
_UNSEEN = 200  # points at which the members' spread is measured
_SEEN = 400  # samples whose predictions span those of all


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A quadratic form in the features and one, (leverage z)^T diag(signs) (leverage z) + constant.

    Attributes:
        leverage: (k, n_feat + 1).
        signs: (k,).
        constant: Added to the form.
        share: Factor that turns the form into a training sample's leverage on its own fit.
    """

    leverage: Tensor
    signs: Tensor
    constant: float
    share: float = 0.0

    def at(self, Z: Tensor) -> Tensor:
        """Evaluate it for rows of features and one, (n,)."""
        return self.constant + (Z @ self.leverage.T).square() @ self.signs


def error_bars(
    selection: Selection,
    bare: Surrogate,
    Y: Tensor,
    trained: Tensor,
    along: DerivativeRows | None = None,
    *,
    C: Tensor | None = None,
) -> ErrorBars:
    """Find the error bars of a surrogate that has none.

    Args:
        selection: The chosen members, with residuals of held-out samples.
        bare: The surrogate, which scales y as the selection did.
        Y: The held-out samples' inputs, (n, n_in).
        trained: Inputs of the surrogate's training samples.
        along: DerivativeRows of their derivatives; None if no member was trained with any.
        C: Their targets, (n_trained, n_out).
    """
    shape, q = _shape(selection, Y, trained, along)
    mean = float(q.mean().clamp(min=1e-300))
    distance = bare.squared_distance(Y)
    residual, between = _shrunk(selection, trained)
    best: tuple[float, float, Tensor, float, Tensor, Tensor] | None = None
    for share in _SHARES.tolist():
        g = 1 - share + share * q / mean + distance
        alike = residual / g.clamp(min=1e-12).sqrt()[:, None]
        sigma = sizes(alike)
        told = sigma[sigma > 0]  # an output without error carries no information on the share
        misfit = float(g.clamp(min=1e-12).log().mean())
        misfit += float(told.square().log().mean()) if len(told) else 0.0
        if best is None or misfit < best[0]:
            best = misfit, share, sigma, tail(alike), alike, g
    assert best is not None
    _, share, sigma, heavier, alike, g = best
    spread, held_out = 0.0, sigma
    if len(selection.members) > 1:
        size = sizes(residual).square()
        spread = min(1.0, 0.5 / max(_mean_ratio(between, size), 1e-300))
        left = 1 - spread * between / size.clamp(min=1e-300)
        sigma = sigma * left.clamp(min=_FEWEST).sqrt()
    return ErrorBars(
        leverage=math.sqrt(share / mean) * shape.leverage,
        floor=1 - share + share / mean * shape.constant,
        sigma=sigma,
        signs=shape.signs if bool((shape.signs < 0).any()) or spread else None,
        spread=spread,
        tail=heavier,
        correlation=_correlation(
            alike,
            sigma,
            held_out,
            _varying(selection, trained, sigma, C),
            functools.partial(_seen, selection, bare, Y, g, _left(bare, trained, C)),
        ),
    )


def sizes(residual: Tensor) -> Tensor:
    """Return standard deviations whose normal intervals have their nominal coverage.

    They are the quantiles of |residual| at 50 and 90 % over those of the normal distribution: their
    geometric mean, or the larger one if half of the residuals are 0. The quantile at p of n samples
    is value number ceil((n + 1) p), which bounds the next sample with this probability (Lei et al.
    2018, "Distribution-free predictive inference for regression"), or the largest value if there
    are too few samples.

    Args:
        residual: (n, n_out); NaN does not count.
    """
    quantiles, _ = _quantiles(residual, _LEVELS)
    normal = [NormalDist().inv_cdf((1 + level) / 2) for level in _LEVELS]
    both = (quantiles / residual.new_tensor(normal)[:, None]).log()
    mean = torch.where(torch.isfinite(both).all(dim=0), both.mean(dim=0), both.amax(dim=0))
    return mean.exp().nan_to_num(0.0)


def tail(residual: Tensor) -> float:
    """Return the tail of residuals (see `surrogates.model.tails`), one for all outputs.

    With q the normal distribution's quantile, the logarithm of a residual's quantile over q is a
    straight line in q^2 / 2, and its slope is the tail. The line is fitted to three quantiles by
    least squares, each at the level that it covers (see `sizes`); the outputs' slopes are averaged.
    The standard error for normal residuals is 0.8 / sqrt(n), with n the number of samples: the
    errors of all outputs at one y are correlated. The slope is shrunk by the factor
    1 - error^2 / slope^2, to 0 if it is no larger than its error (James and Stein 1961, "Estimation
    with quadratic loss"). Fewer than 19 samples have no quantile at 95 %: their tail is 0.

    Args:
        residual: Over its expected size at each y, (n, n_out); NaN does not count.
    """
    n = torch.isfinite(residual).sum(dim=0)
    quantiles, held = _quantiles(residual, _TAIL_LEVELS)
    told = (n >= _FEWEST_FOR_TAIL) & (quantiles > 0).all(dim=0)
    if not bool(told.any()):
        return 0.0
    normal = math.sqrt(2) * torch.erfinv(held[:, told])
    across = normal.square() / 2
    across = across - across.mean(dim=0)
    logs = (quantiles[:, told] / normal).log()
    slope = float(((across * logs).sum(dim=0) / across.square().sum(dim=0)).mean())
    error = _TAIL_ERROR / math.sqrt(float(n[told].double().mean()))
    return min(slope * (1 - (error / slope) ** 2), _LARGEST_TAIL) if slope > error else 0.0


def _quantiles(residual: Tensor, levels: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return quantiles of |residual|, and their probabilities of bounding the next sample.

    Both are (n_levels, n_out); see `sizes`.
    """
    ordered = residual.abs().sort(dim=0).values  # NaN comes last
    n = torch.isfinite(residual).sum(dim=0)
    of = residual.new_tensor(levels)[:, None]
    number = torch.minimum(((n + 1) * of).ceil().long(), n).clamp(min=1)
    return ordered.gather(0, number - 1), number.to(residual) / (n + 1)


def members_of(selection: Selection) -> Members | None:
    """Return the members' parts of the prediction; None if there is only one member."""
    if len(selection.members) == 1:
        return None
    n_out = len(selection.members[0].W)
    weights = _shares(selection)
    return Members(
        widths=[member.features.width for member in selection.members],
        weights=(weights / weights.sum(dim=0)).expand(-1, n_out).contiguous(),
        biases=torch.stack([member.W[:, -1] for member in selection.members]),
    )


def _shares(selection: Selection) -> Tensor:
    """Return the weights of the members, (n_members, n_out); (n_members, 1) if they are common."""
    shares = [member.shares for member in selection.members]
    size = max(len(share) for share in shares)
    return torch.stack([share.expand(size) for share in shares])


def features_of(selection: Selection, Y: Tensor) -> Tensor:
    """Return the features of all members and a column of ones, (n, n_feat + 1)."""
    blocks = []
    with torch.no_grad():
        for member in selection.members:
            blocks.append(member.features.forward((Y - member.y_shift) / member.y_scale))
    return torch.cat([*blocks, Y.new_ones((len(Y), 1))], dim=1)


def _shape(
    selection: Selection, Y: Tensor, trained: Tensor, along: DerivativeRows | None = None
) -> tuple[Shape, Tensor]:
    """Return the shape of the variance, and its values at the held-out samples."""
    if selection.kriging is not None:
        return _kriging_shape(selection, Y)
    Z = features_of(selection, trained)
    n = len(Z)
    everything = np.array_equal(selection.rows, selection.train)
    n_rows = n if along is None else n + len(along.T)
    if everything and Z.shape[1] >= n_rows:  # the features fit every sample: the shape is unknown
        return Shape(leverage=0 * Z[:1], signs=Y.new_ones(1), constant=1.0), Y.new_ones(len(Y))
    if along is not None:
        Z = torch.cat([Z, _along(selection, along)])
    shape = _posterior(Z)
    if not everything:  # held out of all members
        return shape, shape.at(features_of(selection, Y))
    # Members have seen these samples. In a fit without one sample alone, it has the leverage of a
    # new one; in a fit without a whole fold it has more, and new samples would seem better.
    q = shape.at(Z[:n])
    q = q / (1 - q * shape.share).clamp(min=_LEFT)
    if along is not None:
        blocks = Z[n:].view(len(along.samples), -1, Z.shape[1])
        q[along.samples] = _left_out(shape, Z[along.samples], blocks)
    return shape, q


def _correlation(
    alike: Tensor,
    sigma: Tensor,
    held_out: Tensor,
    varying: Array,
    seen: Callable[[Tensor], Seen],
) -> Correlation:
    """Return the correlation of errors in units of sigma.

    Args:
        alike: Residuals over the root of their shared variance, (n, n_out).
        sigma: Sizes beside the members' spread, (n_out,).
        held_out: Sizes of ``alike``, (n_out,).
        varying: See `_varying`.
        seen: Returns what is known of the residuals, for factors of ``alike``.
    """
    told = sigma > 0
    share = float((sigma[told] / held_out[told]).square().mean()) if bool(told.any()) else 1.0
    unit = math.sqrt(share) / sigma
    z = unit * alike  # NaN where both are 0
    return correlation(z.numpy(), varying, replace(seen(unit), share=share))


def _varying(selection: Selection, Y: Tensor, sigma: Tensor, C: Tensor | None) -> Array:
    """Return what varies, less its mean and in units of sigma, a column for each of many points.

    It is the targets C of training samples if a kernel interpolates them: predictions at others
    would have parts of all samples, and none could be left out. Else it is predictions at samples
    and at other points. A row is NaN where sigma is 0.
    """
    some = _columns(len(Y))
    if selection.kriging is not None and C is not None:
        found = C[some]
    else:
        points = torch.cat([Y[some], unseen(Y)])
        parts = [member.shares * member.predict(points) for member in selection.members]
        found = torch.stack(parts).sum(0)
    apart = (found - found.mean(dim=0)) / sigma
    columns: Array = torch.where(sigma > 0, apart, math.nan).T.numpy()
    return columns


def _columns(n: int) -> Tensor:
    """Return the training samples that have columns in `_varying`."""
    return torch.arange(0, n, -(-n // _SEEN))


def _left(bare: Surrogate, trained: Tensor, C: Tensor | None) -> Tensor:
    """Return the residuals of training samples that have columns, (n_points, n_out)."""
    if C is None:
        return trained.new_zeros((0, len(bare.c)))
    some = _columns(len(trained))
    left: Tensor = C[some] - bare(trained[some])
    return left


def _seen(
    selection: Selection, bare: Surrogate, Y: Tensor, g: Tensor, left: Tensor, unit: Tensor
) -> Seen:
    """Return what is known of residuals (n, n_out) at Y, for factors of those over sqrt(g)."""
    unit = unit / g.clamp(min=1e-12).sqrt()[:, None]
    column = {int(selection.train[i]): j for j, i in enumerate(_columns(len(selection.train)))}
    own = [-1] * len(Y)
    if selection.kriging is not None:
        own = [column.get(int(row), -1) for row in selection.rows]

    def jacobians(rows: npt.NDArray[np.int64]) -> Array:
        J: Array = (bare.jacobian(Y[rows]) * unit[rows, :, None]).numpy()
        return J

    return Seen(
        x=bare.place(Y).numpy(),
        own=np.array(own, np.int64),
        jacobians=jacobians,
        left=(left * unit.square().mean(dim=0).sqrt()).T.numpy(),
    )


def _along(selection: Selection, along: DerivativeRows) -> Tensor:
    """Return rows of derivatives of the features of all members, and a column of zeros."""
    blocks = [
        along.features(member.features, member.y_shift, member.y_scale)
        for member in selection.members
    ]
    return torch.nn.functional.pad(torch.cat(blocks, dim=1), (0, 1))


def _left_out(shape: Shape, Z: Tensor, blocks: Tensor) -> Tensor:
    """Return the form at samples in a fit without their value and their derivatives.

    With B the rows of a sample, its value first, G the inverse of the normal matrix of all rows and
    H = B G B^T, a fit without these rows has the leverage (H (1 - H)^-1)_11 at the sample.

    Args:
        shape: The form of a fit with all rows.
        Z: Features and one, (m, n_feat + 1).
        blocks: Rows of their derivatives, (m, r, n_feat + 1).
    """
    B = torch.cat([Z[:, None], blocks], dim=1) @ shape.leverage.T * math.sqrt(shape.share)
    values, vectors = torch.linalg.eigh(B @ B.transpose(1, 2))
    values = values.clamp(min=0) / (1 - values).clamp(min=_LEFT)
    left_out: Tensor = (vectors[:, 0].square() * values).sum(dim=1) / shape.share
    return left_out


def _kriging_shape(selection: Selection, Y: Tensor) -> tuple[Shape, Tensor]:
    kriging = selection.kriging
    assert kriging is not None
    widths = [member.features.width for member in selection.members]
    own = next(i for i, member in enumerate(selection.members) if member.kriging)
    first = sum(widths[:own])
    n_centres, size = len(kriging.centres), kriging.positive.shape[1]
    leverage = torch.zeros((len(kriging.negative) + len(kriging.positive), sum(widths) + 1))
    leverage = leverage.to(torch.float64)
    leverage[: len(kriging.negative), first : first + n_centres] = kriging.negative
    # The trend is the last of the member's features; its constant is the last column of all.
    end = first + widths[own]
    trend = range(end - (size - n_centres - 1), end)
    columns = [*range(first, first + n_centres), *trend, sum(widths)]
    leverage[len(kriging.negative) :, columns] = kriging.positive
    signs = torch.ones(len(leverage), dtype=torch.float64)
    signs[: len(kriging.negative)] = -1
    shape = Shape(leverage=leverage, signs=signs, constant=1 + kriging.fit.nugget)
    if selection.variance is not None:
        return shape, selection.variance
    return shape, shape.at(features_of(selection, Y)).clamp(min=1e-12)


def _posterior(Z: Tensor) -> Shape:
    """Return the shape of W's posterior variance, with mean one over the samples."""
    _, s, V = tall_svd(Z, len(Z) ** -0.5)
    values = torch.clamp(s.square(), min=1e-12 * float(s[0]) ** 2)
    rank = (s.square() / values).sum()
    leverage = V.T / values.sqrt()[:, None] / rank.sqrt()
    signs = torch.ones(len(leverage)).double()
    return Shape(leverage=leverage, signs=signs, constant=0.0, share=float(rank) / len(Z))


def _shrunk(selection: Selection, trained: Tensor) -> tuple[Tensor, Tensor]:
    """Return the residuals of the prediction, and the square spread of its members, (n_out,).

    If networks are means over folds, a held-out residual is that of one network, but the prediction
    is the mean of all, which averages their differences out. The differences are measured at points
    that none of them has seen, by medians: between samples, networks may be far off at a few
    points, which would decide a mean.
    """
    residual = selection.residual
    n_out = residual.shape[1]
    if len(selection.members) == 1:
        return residual, residual.new_zeros(n_out)
    points = unseen(trained)
    predictions = torch.stack([member.predict(points) for member in selection.members])
    weights = _shares(selection)
    apart = (predictions - _mean(weights, predictions)).square()
    between = _mean(weights, apart).median(dim=0).values
    taken = residual.new_zeros(n_out)
    for group in {member.group for member in selection.members}:
        own = [i for i, member in enumerate(selection.members) if member.group == group]
        if len(own) > 1:
            apart = (predictions[own] - predictions[own].mean(dim=0)).flatten(0, 1).square()
            part = weights[own].sum(dim=0) ** 2 * _averaged(weights[own].mean(dim=1))
            taken += part * apart.median(dim=0).values
    size = residual.square().nanmedian(dim=0).values
    ratio = _mean_ratio(taken, size)
    return residual * math.sqrt(max(1 - ratio, _FEWEST)), between


def _mean(weights: Tensor, values: Tensor) -> Tensor:
    """Return the mean of values (n_members, n, n_out) with weights of `_shares`, (n, n_out)."""
    found: Tensor
    if weights.shape[1] == 1:
        found = torch.tensordot(weights[:, 0], values, dims=1)
    else:
        found = (weights[:, None] * values).sum(dim=0)
    return found


def _averaged(weights: Tensor) -> float:
    """Return the share of the members' variance that their mean averages out, over that of equals.

    The mean of independent members with weights w of sum one has the share sum w^2 of a member's
    variance; with one that outweighs all others, nothing is averaged out.
    """
    if bool((weights == weights[0]).all()):
        return 1.0
    left = float((weights / weights.sum()).square().sum())
    return (1 - left) / (1 - 1 / len(weights))


def _mean_ratio(part: Tensor, whole: Tensor) -> float:
    """Return the mean ratio over the outputs where it is defined: outputs may have any units."""
    there = whole > 0
    return float((part[there] / whole[there]).mean()) if bool(there.any()) else 0.0


def unseen(Y: Tensor) -> Tensor:
    """Return new points with the distribution of the samples, at most 200.

    Three samples are drawn, since a selection's samples are sorted. The point is the fourth corner
    of their parallelogram, moved towards the centre so that the covariance is that of the samples.
    The points lie in every flat of the samples, but not all in their box: with many inputs, points
    drawn into the box lie near the centre, where members agree more than on new samples.
    """
    centre = Y.mean(dim=0)
    drawn = np.random.default_rng(0).permutation(len(Y))
    first, second, third = (Y[np.roll(drawn, shift)][:_UNSEEN] for shift in range(3))
    return centre + (first + second - third - centre) / math.sqrt(3)
