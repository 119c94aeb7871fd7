"""The parts of a surrogate beside its features: domain, error bars, members, logarithms.

Callers describe them by the dataclasses here. The functions check them, and make tensors and
modules of them for `surrogates.model.surrogate.Surrogate`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surrogates.config import check

from .covariance import Correlation
from .forms import Form
from .layers import Ensemble, Logarithms
from .networks import FeatureExtractor
from .tails import LIMIT

Values = Tensor | npt.NDArray[np.float64]
Marks = Tensor | npt.NDArray[np.bool_] | Sequence[bool]


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The set in which the training parameters lie: a box, and a flat in it if they fill less.

    Attributes:
        lower: Lower corner of the box, (n_in,), units of y.
        upper: Upper corner of the box, (n_in,), units of y.
        unit: Unit of distances from the box, (n_in,), units of y, > 0.
        normals: Directions in which the parameters do not vary, orthonormal in these units,
            (k, n_in). k = 0 if they vary in all directions, and k = 1 for weights of sum one.
        centre: A point of the flat, (n_in,), units of y.
    """

    lower: Values
    upper: Values
    unit: Values
    normals: Values
    centre: Values

    @classmethod
    def of(cls, Y: npt.NDArray[np.float64]) -> Domain:
        """Find the domain of training parameters (n, n_in).

        The unit is the standard deviation of a uniform distribution over the box; for an input
        that does not vary it is the input's size, or 1. Few samples always lie in some flat, so a
        flat counts only if more samples lie in it than its dimension explains.
        """
        lower, upper, centre = Y.min(axis=0), Y.max(axis=0), Y.mean(axis=0)
        size = np.abs(Y).max(axis=0)
        varies = upper - lower > 1e-12 * size
        unit = np.where(varies, (upper - lower) / math.sqrt(12), np.where(size > 0, size, 1.0))
        # The triangular factor has the same right vectors. The left vectors of many samples would
        # fill the memory.
        _, s, V = np.linalg.svd(np.linalg.qr((Y - centre) / unit, mode="r"), full_matrices=True)
        rank = int((s > 1e-9 * s[0]).sum()) if s[0] > 0 else 0
        flat = V[rank:] if rank < len(Y) - 1 else V[:0]
        return cls(lower=lower, upper=upper, unit=unit, normals=flat, centre=centre)


@dataclass(frozen=True, kw_only=True)
class ErrorBars:
    r"""Standard deviations of the prediction's error.

        std_j(y)^2 = sigma_j^2 max(1e-12, floor + sum_r signs_r (leverage z)_r^2 + d(y)^2)
                     + spread sum_m weights_mj (c_mj(y) - c_j(y))^2,    z = [F, 1]

    They come from the linear layer. For given features, a least-squares fit of W to N samples has
    the posterior covariance sigma^2 G, with the SVD Z / sqrt(N) = U S V^T of the training samples'
    Z = [F, 1] and G = V (S^2 + alpha2)^-1 V^T / N. The prediction at y then has the variance
    sigma^2 z^T G z. It grows with the distance of z from the training samples, in the directions in
    which they leave W undetermined.

    As a rule all signs are +1 and there is one member: std_j is sigma_j times one factor. There
    ||leverage z||^2 is z^T G z in units of its mean over the training samples, and d(y) is the
    distance of y from the training `Domain` in its units. It is needed because a direction that the
    features do not see has no leverage. A step of one standard deviation out of the box then adds
    an error of the size of the errors inside. `surrogates.training.deploy` finds ``floor`` and
    ``sigma`` from validation samples. Negative signs are for variances that data have reduced: a
    Gaussian process has 1 - ||L^-1 k(y)||^2. If `Logs` marks an output, its error bars are those of
    its logarithm.

    Intervals are those of a normal distribution if the tail is 0, and of one with heavier tails
    otherwise (see `surrogates.model.tails`). In both cases std is the deviation of the normal
    distribution whose interval of 79 % is right. With a tail, the intervals of 50 and 90 % of that
    normal distribution are wrong by the same factor: too wide and too narrow. A code that takes std
    for the deviation of a Gaussian, as inversions do, has these intervals. A sum over outputs keeps
    the tails, as at one y the errors of all outputs are large or small together. With a tail, the
    root mean square of the error is larger than std; a few y decide it.

    The bars cover the error against the solver that made the data, at parameters drawn as the
    training samples were. They do not cover the solver's own error or the model's error. Errors of
    outputs at one y are far from independent: `surrogates.model.covariance` has their covariance.
    Outside the domain they only warn.

    Attributes:
        leverage: (k, n_feat + 1), k >= 1; as a rule n_feat + 1 rows.
        floor: Share of the variance that is the same for all y, >= 0.
        sigma: Scale of each output's error, (n_out,), units of c.
        signs: Signs of the rows of leverage, (k,), each +1 or -1; all +1 if None.
        spread: Factor of the members' variance, >= 0.
        tail: Tail of the intervals of each output, (n_out,), or of all, >= 0 and below 0.5.
        correlation: Of the errors of all outputs at one y; None if it is not known.
    """

    leverage: Values
    floor: float
    sigma: Values
    signs: Values | None = None
    spread: float = 0.0
    tail: Values | float = 0.0
    correlation: Correlation | None = None


@dataclass(frozen=True, kw_only=True)
class Members:
    """Surrogates of the same outputs, whose weighted mean is the prediction.

    Member m has features F_m of its own and predicts c_m = W[:, its columns] F_m + biases[m]. The
    prediction is c = sum_m weights[m] c_m, output by output.

    Attributes:
        widths: Number of features of each member, each >= 1. Their columns lie side by side.
        weights: Weights of the members, (M, n_out). Those of each output sum to 1.
        biases: Biases of the members, (M, n_out), units of c.
    """

    widths: Sequence[int]
    weights: Values
    biases: Values


@dataclass(frozen=True, kw_only=True)
class Logs:
    """Marks of the inputs and outputs that a surrogate takes as natural logarithms.

    Attributes:
        inputs: bool (n_in,).
        outputs: bool (n_out,).
    """

    inputs: Marks
    outputs: Marks


def tensors(
    features: FeatureExtractor,
    W: Tensor,
    y_shift: Values,
    y_scale: Values,
    domain: Domain,
    error_bars: ErrorBars | None,
) -> tuple[dict[str, Tensor], ErrorBars]:
    """Check the parts of a surrogate beside W; return them as tensors, and the error bars."""
    n_in, n_feat, n_out = features.n_in, features.width, len(W)
    bars = error_bars or ErrorBars(
        leverage=W.new_zeros(n_feat + 1, n_feat + 1), floor=math.nan, sigma=W.new_zeros(n_out)
    )
    vector, rows = (n_in,), len(bars.leverage)
    check(rows > 0, "expected at least one row of leverage; got none")
    check(0 <= bars.spread < math.inf, f"expected a finite spread >= 0; got {bars.spread}")
    signs = W.new_ones(rows) if bars.signs is None else bars.signs
    tail = torch.as_tensor(bars.tail)
    tail = tail.expand(n_out) if tail.ndim == 0 else tail
    parts = {
        "y_shift": (y_shift, vector),
        "y_scale": (y_scale, vector),
        "lower": (domain.lower, vector),
        "upper": (domain.upper, vector),
        "unit": (domain.unit, vector),
        "centre": (domain.centre, vector),
        "normals": (domain.normals, (len(domain.normals), n_in)),
        "leverage": (bars.leverage, (rows, n_feat + 1)),
        "sigma": (bars.sigma, (n_out,)),
        "signs": (signs, (rows,)),
        "tail": (tail, (n_out,)),
    }
    constants = {}
    for name, (value, shape) in parts.items():
        constants[name] = finite(name, value).to(W)
        if (got := tuple(constants[name].shape)) != shape:
            raise ValueError(f"expected {name} of shape {shape}; got {got}")
        if name in ("y_scale", "unit") and not (constants[name] > 0).all():
            raise ValueError(f"expected {name} > 0; the least is {constants[name].min():g}")
    check(bool((constants["signs"].abs() == 1).all()), "expected signs of +1 and -1 alone")
    least, largest = (float(value) for value in constants["tail"].aminmax())
    check(
        0 <= least and largest < LIMIT,
        f"expected a tail >= 0 and below {LIMIT}; got {least:g} to {largest:g}",
    )
    return constants, bars


def logarithms(logs: Logs | None, *, n_in: int, n_out: int) -> Logarithms | None:
    """Check marks, and return their layer; None if nothing is marked."""
    if logs is None:
        return None
    marks = [torch.as_tensor(marks).detach().cpu() for marks in (logs.inputs, logs.outputs)]
    for name, given, n in zip(("inputs", "outputs"), marks, (n_in, n_out), strict=True):
        check(
            given.dtype == torch.bool and tuple(given.shape) == (n,),
            f"expected {name} of Logs to be bool of shape ({n},); got {given.dtype} of shape "
            f"{tuple(given.shape)}",
        )
    return Logarithms(*marks) if any(bool(given.any()) for given in marks) else None


def joined(members: Members, W: Tensor, spread: float, form: Form) -> tuple[Tensor, Ensemble]:
    """Return the linear layer of the members' weighted mean, and the layer of the members."""
    widths, (n_out, n) = [int(width) for width in members.widths], W.shape
    check(
        len(widths) > 0 and min(widths) > 0 and sum(widths) == n - 1,
        f"expected widths of at least 1 with the sum {n - 1}, the number of features; got {widths}",
    )
    shape = (len(widths), n_out)
    weights, biases = (
        finite(name, value).to(W)
        for name, value in (("weights", members.weights), ("biases", members.biases))
    )
    for name, value in {"weights": weights, "biases": biases}.items():
        got = tuple(value.shape)
        check(got == shape, f"expected {name} of the members of shape {shape}; got {got}")
    off = float((weights.sum(dim=0) - 1).abs().max())
    check(off <= 1e-9, f"expected weights of the members with the sum 1; it is off by {off:g}")
    least = float(weights.min())
    check(
        spread == 0 or least >= 0,
        f"expected weights of the members >= 0 where there is a spread; the least is {least:g}",
    )
    own, mean, biases, start = W.clone(), W.clone(), biases.clone(), 0
    mean[:, -1] = (weights * biases).sum(dim=0)
    for m, width in enumerate(widths):
        columns = slice(start, start + width)
        mean[:, columns] *= weights[m][:, None]
        alone = torch.zeros_like(W)
        alone[:, columns], alone[:, -1] = W[:, columns], biases[m]
        folded = form.folded(alone)
        own[:, columns], biases[m] = folded[:, columns], folded[:, -1]
        start += width
    ensemble = Ensemble(W=own[:, :-1], biases=biases, weights=weights, spread=spread, widths=widths)
    return mean, ensemble


def finite(name: str, value: Values) -> Tensor:
    """Return values as a tensor in double precision, and refuse any that is not finite."""
    tensor = torch.as_tensor(value).detach().to(torch.float64)
    if not torch.isfinite(tensor).all():
        raise ValueError(f"expected finite values in {name}")
    return tensor
