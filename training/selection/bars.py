r"""Error bars of a surrogate from residuals of samples that it has not seen.

    std_j(y)^2 = sigma_j^2 g(y) + spread sum_m weights_mj (c_mj(y) - c_j(y))^2
    g(y) = 1 - rho + rho q(y) + d(y)^2

(see `surrogates.model.parts.ErrorBars`). The shape q, of mean one over these samples, is the
variance of kriging where a kernel is a member, and that of W's posterior for the features of the
networks else. The share rho and the sizes sigma_j are found from the residuals by their quantiles:
one sample that is far off does not decide them, as it would a root mean square. So is the tail of
the intervals: g does not know all of how the size of errors varies with y, and a mixture of sizes
has heavier tails than a normal distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from surrogates.model.parts import ErrorBars, Members
from surrogates.model.surrogate import Surrogate

from ..inner.tall import tall_svd
from .regression import Selection

_SHARES = torch.linspace(0, 1, 21, dtype=torch.float64)
_LEVELS = (0.5, 0.9)  # whose quantiles decide the sizes; that of 0.95 is too few samples'
_TAIL_LEVELS = (0.5, 0.9, 0.95)  # whose quantiles decide the tail
_FEWEST_FOR_TAIL = 19  # samples, of which the largest holds the next one with 95 %
_TAIL_ERROR = 0.8  # standard error of the tail of normal residuals, times the root of their number
_LARGEST_TAIL = 0.45  # below `surrogates.model.tails.LIMIT`
_FEWEST = 0.25  # of the variance of residuals that members' spread can explain
_UNSEEN = 200  # points at which the members' spread is measured


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A quadratic form in the features and one, (leverage z)^T diag(signs) (leverage z) + constant.

    Attributes:
        leverage: (k, n_feat + 1).
        signs: (k,).
        constant: Added to it.
        share: What makes it the leverage of a training sample, which a fit has on itself.
    """

    leverage: Tensor
    signs: Tensor
    constant: float
    share: float = 0.0

    def at(self, Z: Tensor) -> Tensor:
        """Evaluate it for rows of features and one, (n,)."""
        return self.constant + (Z @ self.leverage.T).square() @ self.signs


def error_bars(selection: Selection, bare: Surrogate, Y: Tensor, trained: Tensor) -> ErrorBars:
    """Find the error bars of a surrogate that has none.

    Args:
        selection: What was chosen, with residuals of held-out samples.
        bare: The surrogate, for the scale of y that the selection has seen.
        Y: The held-out samples' inputs, (n, n_in).
        trained: Inputs of the samples that it was trained on.
    """
    shape, q = _shape(selection, Y, trained)
    mean = float(q.mean().clamp(min=1e-300))
    distance = bare.squared_distance(Y)
    residual, between = _shrunk(selection, trained)
    best: tuple[float, float, Tensor, float] | None = None
    for share in _SHARES.tolist():
        g = 1 - share + share * q / mean + distance
        alike = residual / g.clamp(min=1e-12).sqrt()[:, None]
        sigma = sizes(alike)
        told = sigma[sigma > 0]  # an output without any error says nothing of the share
        misfit = float(g.clamp(min=1e-12).log().mean())
        misfit += float(told.square().log().mean()) if len(told) else 0.0
        if best is None or misfit < best[0]:
            best = misfit, share, sigma, tail(alike)
    assert best is not None
    _, share, sigma, heavier = best
    spread = 0.0
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
    )


def sizes(residual: Tensor) -> Tensor:
    """Return the standard deviations whose normal intervals hold the shares that they name.

    The quantiles of |residual| at 50 and 90 % over those of the normal distribution, their
    geometric mean, or the larger one where half of the residuals are 0. Of n samples the quantile
    at p is the value number ceil((n + 1) p), which holds the next sample with this probability
    (Lei et al. 2018, "Distribution-free predictive inference for regression"); the largest where
    there are too few.

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

    The logarithm of a quantile over that of the normal distribution, q, is a straight line in
    q^2 / 2 whose slope is the tail. It is laid through three quantiles by least squares, q at the
    level that the value holds (see `sizes`), and the mean of the outputs' slopes is taken. Its
    standard error for normal residuals is 0.8 / sqrt(n), n the number of samples: the errors of all
    outputs at one y go together. Few samples do not show a tail: the slope is shrunk by the factor
    1 - error^2 / slope^2, to 0 where it is no larger than its error (James and Stein 1961,
    "Estimation with quadratic loss"), and is 0 for fewer than 19, which have no quantile at 95 %.

    Args:
        residual: Over what is known of its size at each y, (n, n_out); NaN does not count.
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
    """Return quantiles of |residual|, and the levels at which they hold the next sample.

    Both are (n_levels, n_out); see `sizes`.
    """
    ordered = residual.abs().sort(dim=0).values  # NaN comes last
    n = torch.isfinite(residual).sum(dim=0)
    of = residual.new_tensor(levels)[:, None]
    number = torch.minimum(((n + 1) * of).ceil().long(), n).clamp(min=1)
    return ordered.gather(0, number - 1), number.to(residual) / (n + 1)


def members_of(selection: Selection) -> Members | None:
    """Return how members make the prediction; None for one."""
    if len(selection.members) == 1:
        return None
    n_out = len(selection.members[0].W)
    weights = torch.tensor([member.weight for member in selection.members], dtype=torch.float64)
    return Members(
        widths=[member.features.width for member in selection.members],
        weights=(weights / weights.sum())[:, None].expand(-1, n_out).contiguous(),
        biases=torch.stack([member.W[:, -1] for member in selection.members]),
    )


def features_of(selection: Selection, Y: Tensor) -> Tensor:
    """Return the features of all members and one, (n, n_feat + 1)."""
    blocks = []
    with torch.no_grad():
        for member in selection.members:
            blocks.append(member.features.forward((Y - member.y_shift) / member.y_scale))
    return torch.cat([*blocks, Y.new_ones((len(Y), 1))], dim=1)


def _shape(selection: Selection, Y: Tensor, trained: Tensor) -> tuple[Shape, Tensor]:
    """Return the shape of the variance, and its values at the held-out samples."""
    if selection.kriging is not None:
        return _kriging_shape(selection, Y)
    Z = features_of(selection, trained)
    shape = _posterior(Z)
    if not np.array_equal(selection.rows, selection.train):  # held out of all members
        return shape, shape.at(features_of(selection, Y))
    # Held out of some: of a fit without this sample alone, which is what a new sample is to all. Of
    # fits without a whole fold the leverage is larger, and new ones would seem better off by that.
    if Z.shape[1] >= len(Z):  # every sample decides alone: nothing is known of the shape
        return Shape(leverage=0 * Z[:1], signs=Y.new_ones(1), constant=1.0), Y.new_ones(len(Y))
    q = shape.at(features_of(selection, Y))
    return shape, q / (1 - q * shape.share).clamp(min=1e-3)


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
    # The trend is the last of the member's features, but for the constant, the last column for all.
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
    """Return the shape of W's posterior variance, of mean one over the samples."""
    _, s, V = tall_svd(Z, len(Z) ** -0.5)
    values = torch.clamp(s.square(), min=1e-12 * float(s[0]) ** 2)
    rank = (s.square() / values).sum()
    leverage = V.T / values.sqrt()[:, None] / rank.sqrt()
    signs = torch.ones(len(leverage)).double()
    return Shape(leverage=leverage, signs=signs, constant=0.0, share=float(rank) / len(Z))


def _shrunk(selection: Selection, trained: Tensor) -> tuple[Tensor, Tensor]:
    """Return the residuals of the prediction, and the square spread of its members, (n_out,).

    Where networks are means over folds, a held-out residual is that of one network, and the
    prediction is the mean of all. The mean takes off what they differ from it by. What members
    differ by is measured at points that none of them has seen, by medians: a few far points, which
    networks have between samples, would decide a mean.
    """
    residual = selection.residual
    n_out = residual.shape[1]
    if len(selection.members) == 1:
        return residual, residual.new_zeros(n_out)
    points = unseen(trained)
    predictions = torch.stack([member.predict(points) for member in selection.members])
    weights = torch.tensor([member.weight for member in selection.members], dtype=torch.float64)
    apart = (predictions - torch.tensordot(weights, predictions, dims=1)).square()
    between = torch.tensordot(weights, apart, dims=1).median(dim=0).values
    taken = residual.new_zeros(n_out)
    for group in {member.group for member in selection.members}:
        own = [i for i, member in enumerate(selection.members) if member.group == group]
        if len(own) > 1:
            apart = (predictions[own] - predictions[own].mean(dim=0)).flatten(0, 1).square()
            taken += float(weights[own].sum()) ** 2 * apart.median(dim=0).values
    size = residual.square().nanmedian(dim=0).values
    ratio = _mean_ratio(taken, size)
    return residual * math.sqrt(max(1 - ratio, _FEWEST)), between


def _mean_ratio(part: Tensor, whole: Tensor) -> float:
    """Return the mean of ratios over the outputs that have one: outputs may be of any units."""
    there = whole > 0
    return float((part[there] / whole[there]).mean()) if bool(there.any()) else 0.0


def unseen(Y: Tensor) -> Tensor:
    """Return points distributed like samples that are none of them, at most 200.

    The fourth corners of parallelograms of three samples that are drawn (a selection's samples are
    sorted), moved towards the centre so that the covariance is that of the samples. They lie in
    every flat that the samples do. They need not lie in the samples' box: with many inputs, points
    that are drawn into it lie near the centre, where members agree more than on new samples.
    """
    centre = Y.mean(dim=0)
    drawn = np.random.default_rng(0).permutation(len(Y))
    first, second, third = (Y[np.roll(drawn, shift)][:_UNSEEN] for shift in range(3))
    return centre + (first + second - third - centre) / math.sqrt(3)
