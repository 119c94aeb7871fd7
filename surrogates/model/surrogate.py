r"""The surrogate that users call, and how its error is measured.

    c(y) = W [F((y - y_shift) / y_scale), 1]^T

takes parameters to observables, both in the dataset's units: scaling, features and the linear
layer are inside. The module is double precision, holds no training code, and every method of it
can be scripted: `surrogates.model.file` writes it as a file that needs only torch. The prediction
may be the weighted mean of `Members`, and with `Logs` the formula holds for logarithms of
parameters and observables.

Its error bars come from the linear layer. For given features, a least-squares fit of W to N
samples has the posterior covariance sigma^2 G, with the SVD Z / sqrt(N) = U S V^T of the training
samples' Z = [F, 1] and G = V (S^2 + alpha2)^-1 V^T / N, so that the prediction at y has the
variance sigma^2 z^T G z: it grows with the distance of z from the training samples, in the
directions in which they leave W undetermined. `ErrorBars` says what is made of it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surrogates.config import check

from .forms import Form, form_of
from .layers import Ensemble, Logarithms
from .networks import FeatureExtractor
from .tails import LIMIT, MIDDLE

Values = Tensor | npt.NDArray[np.float64]
Marks = Tensor | npt.NDArray[np.bool_] | Sequence[bool]


@dataclass(frozen=True, kw_only=True)
class Domain:
    """Where the training parameters lie: a box, and a flat within it where they fill less.

    Attributes:
        lower: Lower corner of the box, (n_in,), units of y.
        upper: Upper corner of the box, (n_in,), units of y.
        unit: Length in which distances from the box are told, (n_in,), units of y, > 0.
        normals: Directions in which they do not vary, orthonormal in these units, (k, n_in); k = 0
            where they vary in all, and k = 1 for weights that sum to one.
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
        that does not vary it is its own size, or 1. A flat is one that more samples lie in than
        its dimension explains: few samples always lie in one.
        """
        lower, upper, centre = Y.min(axis=0), Y.max(axis=0), Y.mean(axis=0)
        size = np.abs(Y).max(axis=0)
        varies = upper - lower > 1e-12 * size
        unit = np.where(varies, (upper - lower) / math.sqrt(12), np.where(size > 0, size, 1.0))
        # Of the triangular factor, as the left vectors of many samples would fill the memory.
        _, s, V = np.linalg.svd(np.linalg.qr((Y - centre) / unit, mode="r"), full_matrices=True)
        rank = int((s > 1e-9 * s[0]).sum()) if s[0] > 0 else 0
        flat = V[rank:] if rank < len(Y) - 1 else V[:0]
        return cls(lower=lower, upper=upper, unit=unit, normals=flat, centre=centre)


@dataclass(frozen=True, kw_only=True)
class ErrorBars:
    r"""Standard deviations of the prediction's error.

        std_j(y)^2 = sigma_j^2 max(1e-12, floor + sum_r signs_r (leverage z)_r^2 + d(y)^2)
                     + spread sum_m weights_mj (c_mj(y) - c_j(y))^2,    z = [F, 1]

    As a rule all signs are +1 and there is one member: std_j is sigma_j times one factor. There
    ||leverage z||^2 is z^T G z (see the module's text) in units of its mean over the training
    samples, and d(y) the distance of y from the training `Domain` in its units: a direction that
    the features do not see has no leverage, and a step of one standard deviation out of the box is
    then taken to add an error of the size of those inside. `surrogates.training.deploy` finds
    ``floor`` and ``sigma`` from validation samples. Negative signs are for variances that data
    have reduced: that of a Gaussian process is 1 - ||L^-1 k(y)||^2. Where `Logs` marks an output,
    all of this is of its logarithm.

    Intervals are those of a normal distribution where the tail is 0, and of one with heavier tails
    where it is not (see `surrogates.model.tails`). In both cases std is the deviation of the normal
    distribution whose interval of 79 % is right; its intervals of 50 and 90 % are wrong by the same
    factor, too wide and too narrow. A code that takes std for the deviation of a Gaussian, as
    inversions do, has such intervals: at one y the errors of all outputs are large together, or
    small, and their sum keeps the tails. Where there is a tail the root mean square of the error is
    larger than std; a few y decide it.

    They cover the error against the solver that made the data, at parameters drawn as the training
    samples were. They do not cover the solver's own error or the model's, nor correlation: errors
    of outputs at one y are far from independent. Outside the domain they only say so.

    Attributes:
        leverage: (k, n_feat + 1), k >= 1; n_feat + 1 rows as a rule.
        floor: Share of the variance that is the same for all y, >= 0.
        sigma: Of each output, (n_out,), units of c.
        signs: Of the rows of leverage, (k,), each +1 or -1; where None, all are +1.
        spread: Factor of the members' variance, >= 0.
        tail: Of the intervals of each output, (n_out,), or one for all, >= 0 and below 0.5.
    """

    leverage: Values
    floor: float
    sigma: Values
    signs: Values | None = None
    spread: float = 0.0
    tail: Values | float = 0.0


@dataclass(frozen=True, kw_only=True)
class Members:
    """Surrogates of the same outputs whose weighted mean is the prediction.

    Member m predicts c_m = W[:, its columns] F_m + biases[m] from features of its own, and the
    prediction is c = sum_m weights[m] c_m, output by output.

    Attributes:
        widths: Number of features of each member, which lie side by side; each >= 1.
        weights: Of the members, (M, n_out); those of each output sum to 1.
        biases: Of the members, (M, n_out), units of c.
    """

    widths: Sequence[int]
    weights: Values
    biases: Values


@dataclass(frozen=True, kw_only=True)
class Logs:
    """Which inputs and outputs a surrogate sees as natural logarithms.

    Attributes:
        inputs: bool (n_in,).
        outputs: bool (n_out,).
    """

    inputs: Marks
    outputs: Marks


class Surrogate(torch.nn.Module):
    """The map y -> c with its Jacobian in closed form, its domain and its error bars.

    Every method takes one sample, (n_in,), or a batch, (n, n_in) with n >= 1, of any real dtype,
    and gives float64 results with or without the leading n alike. Sizes, devices and dtypes that do
    not fit raise a one-line ``ValueError``; in a scripted module it arrives as torch's own error
    with that line at its end. A NaN gives NaN, and is outside the domain.

    Attributes:
        W: Linear layer of ``features``' output, (n_out, width), units of c.
        c: Its bias, (n_out,), units of c.
        features: The feature extractor for unscaled y, a `Fused` where it has that form.
        lower: Lower corner of the training box, (n_in,), units of y.
        upper: Upper corner of the training box, (n_in,), units of y.
    """

    if TYPE_CHECKING:  # TorchScript would read these when it runs, and not know the types
        features: Form
        logs: Logarithms | None
        members: Ensemble | None
        signs: Tensor | None
        tail: Tensor | None
        W: Tensor
        c: Tensor
        lower: Tensor
        upper: Tensor
        unit: Tensor
        normals: Tensor
        centre: Tensor
        leverage: Tensor
        constant: Tensor
        sigma: Tensor
        floor: Tensor

    def __init__(
        self,
        features: FeatureExtractor,
        W: Values,
        y_shift: Values,
        y_scale: Values,
        domain: Domain,
        error_bars: ErrorBars | None = None,
        *,
        members: Members | None = None,
        logs: Logs | None = None,
    ) -> None:
        """Copy the parts, as float64 constants in evaluation mode.

        Args:
            features: A network of `networks`, or any module with the methods of `FeatureExtractor`.
            W: Linear layer of [F, 1], (n_out, n_feat + 1), units of c. With ``members``, their own
                layers side by side, unweighted; the last column is ignored.
            y_shift: Subtracted from y, (n_in,), units of y.
            y_scale: Divides y after that, (n_in,), units of y.
            domain: Where the training parameters lie.
            error_bars: Of the predictions; where None, `predict_std` gives NaN.
            members: Of what the prediction is the mean; where None, there is one.
            logs: Which inputs and outputs are logarithms in all other arguments: those inputs in
                ``y_shift``, ``y_scale`` and ``domain``, those outputs in ``W``, ``error_bars`` and
                ``members``.

        Raises:
            ValueError: If shapes disagree, a value is not finite, a scale is not positive, or the
                members' weights do not sum to 1.
        """
        super().__init__()
        W = _constant("W", W)
        if W.ndim != 2 or W.shape[1] != features.width + 1:
            expected = f"(n_out, {features.width + 1})"
            raise ValueError(f"expected W of shape {expected}; got {tuple(W.shape)}")
        constants, bars = _constants(features, W, y_shift, y_scale, domain, error_bars)
        shift, scale = constants.pop("y_shift"), constants.pop("y_scale")
        features = copy.deepcopy(features)
        cast(torch.nn.Module, features).to(W)
        self.features = form_of(features, shift, scale)
        self.logs = _logarithms(logs, n_in=features.n_in, n_out=len(W))
        if self.logs is not None:
            self.logs.to(W.device)
            for name in ("lower", "upper"):
                constants[name] = self.logs.inverse(constants[name])
        self.members = None
        if members is not None:
            W, self.members = _joined(members, W, bars.spread, self.features)
        signs, tail = constants.pop("signs"), constants.pop("tail")
        self.register_buffer("signs", None if bool((signs > 0).all()) else signs)
        self.register_buffer("tail", tail.clone() if bool((tail > 0).any()) else None)
        W, leverage = (self.features.folded(M) for M in (W, constants["leverage"]))
        constants.update(
            {"W": W[:, :-1], "c": W[:, -1], "leverage": leverage[:, :-1]},
            constant=leverage[:, -1],
            floor=W.new_tensor(bars.floor),
        )
        for name, constant in constants.items():
            self.register_buffer(name, constant.clone(memory_format=torch.contiguous_format))
        self.eval().requires_grad_(False)

    def forward(self, y: Tensor) -> Tensor:
        """Predict the observables.

        Args:
            y: Parameters, (n_in,) or (n, n_in), units of the dataset.

        Returns:
            c, (n_out,) or (n, n_out), units of the dataset.
        """
        c = self._linear(self.features.forward(self._seen(self._given(y))))
        if self.logs is not None:
            return self.logs.physical(c)
        return c

    @torch.jit.export
    def jacobian(self, y: Tensor) -> Tensor:
        """Differentiate the prediction.

        Args:
            y: Parameters, (n_in,) or (n, n_in).

        Returns:
            dc/dy, (n_out, n_in) or (n, n_out, n_in), units of c over units of y.
        """
        y = self._given(y)
        dF = self.features.jacobian(self._seen(y))
        J = torch.mm(self.W, dF) if dF.dim() == 2 else torch.matmul(self.W, dF)
        if self.logs is not None:
            J = J * self.logs.input_factor(y).unsqueeze(-2) * self._factor(y).unsqueeze(-1)
        return J

    @torch.jit.export
    def jvp(self, y: Tensor, v: Tensor) -> Tensor:
        """Apply the Jacobian to a direction, without forming it.

        Args:
            y: Parameters, (n_in,) or (n, n_in).
            v: Directions, same shape, units of y.

        Returns:
            dc/dy v, (n_out,) or (n, n_out), units of c.
        """
        y = self._given(y)
        v = self._checked(v, "v", y.size(-1), y)
        if self.logs is not None:
            v = v * self.logs.input_factor(y)
        dF = self.features.jvp(self._seen(y), v)
        dc = torch.mv(self.W, dF) if y.dim() == 1 else torch.mm(dF.t(), self.W.t())
        if self.logs is not None:
            dc = dc * self._factor(y)
        return dc

    @torch.jit.export
    def vjp(self, y: Tensor, w: Tensor) -> Tensor:
        """Apply the transposed Jacobian, without forming it: gradients of scalars of c.

        Args:
            y: Parameters, (n_in,) or (n, n_in).
            w: Cotangents, (n_out,) or (n, n_out), units of the scalar over units of c.

        Returns:
            (dc/dy)^T w, (n_in,) or (n, n_in).
        """
        y = self._given(y)
        w = self._checked(w, "w", self.W.size(0), y)
        if self.logs is not None:
            w = w * self._factor(y)
        g = torch.mv(self.W.t(), w) if y.dim() == 1 else torch.mm(self.W.t(), w.t())
        gradient = self.features.vjp(self._seen(y), g)
        if self.logs is not None:
            gradient = gradient * self.logs.input_factor(y)
        return gradient

    @torch.jit.export
    def predict_std(self, y: Tensor) -> Tensor:
        """Return the standard deviation of the prediction's error; see `ErrorBars`.

        That of an output that is an exponential is c times the deviation of its logarithm, which
        is right to first order, for deviations of few per cent; `predict_interval` has no such
        limit.

        Args:
            y: Parameters, (n_in,) or (n, n_in).

        Returns:
            (n_out,) or (n, n_out), units of c.
        """
        x = self._seen(self._given(y))
        F = self.features.forward(x)
        c = self._linear(F)
        std = self._deviation(x, F, c)
        if self.logs is not None:
            std = std * self.logs.output_factor(self.logs.physical(c))
        return std

    @torch.jit.export
    def predict_interval(self, y: Tensor, level: float) -> Tensor:
        """Return the ends between which each output lies with a probability; see `ErrorBars`.

        They are c -/+ k(q) std with the normal quantile q of (1 + level) / 2, and k of
        `surrogates.model.tails`: k(q) = q without a tail. Of an output that is an exponential they
        are those of its logarithm, so that c is not in the middle.

        Args:
            y: Parameters, (n_in,) or (n, n_in).
            level: The probability, between 0 and 1.

        Returns:
            Lower and upper ends, (2, n_out) or (n, 2, n_out), units of c.
        """
        if not (0.0 < level and level < 1.0):
            raise ValueError(f"expected a level between 0 and 1; got {level}")
        x = self._seen(self._given(y))
        F = self.features.forward(x)
        c = self._linear(F)
        q = math.sqrt(2.0) * torch.erfinv(torch.full_like(self.floor, level))
        if self.tail is not None:
            q = _widened(q, self.tail)
        half = q * self._deviation(x, F, c)
        ends = torch.stack([c - half, c + half], -2)
        if self.logs is not None:
            return self.logs.physical(ends)
        return ends

    @torch.jit.export
    def in_domain(self, y: Tensor) -> Tensor:
        """Tell whether parameters lie in the training domain, where the held-out errors apply.

        The box allows for rounding, 1e-9 of its width, and the flat for that of single precision,
        1e-4 of the domain's unit; see `Domain`.

        Args:
            y: Parameters, (n_in,) or (n, n_in).

        Returns:
            bool, () or (n,); False for a parameter that is NaN.
        """
        x = self._seen(self._given(y))
        lower, upper = self._seen(self.lower), self._seen(self.upper)
        slack = 1e-9 * (upper - lower)
        if self.logs is not None:
            slack = slack + 1e-12 * self.logs.inputs
        inside = torch.logical_and(lower - slack <= x, x <= upper + slack).all(-1)
        return torch.logical_and(inside, (self._off_flat(x).abs() <= 1e-4).all(-1))

    def squared_distance(self, y: Tensor) -> Tensor:
        """Measure how far y, float64 (n_in,) or (n, n_in), is from the domain in its units."""
        return self._distance(self._seen(y))

    def _seen(self, y: Tensor) -> Tensor:
        """Return what the features and the domain take, x: y, or its logarithms."""
        if self.logs is not None:
            return self.logs.forward(y)
        return y

    def _linear(self, F: Tensor) -> Tensor:
        """Apply the linear layer to features (width,) or (width, n)."""
        if F.dim() == 1:
            return torch.addmv(self.c, self.W, F)
        return torch.nn.functional.linear(F.t(), self.W, self.c)

    def _factor(self, y: Tensor) -> Tensor:
        """Return the derivative of each output by what the linear layer gives."""
        assert self.logs is not None
        if self.logs.exponential:
            return self.logs.output_factor(self.forward(y))
        return torch.ones_like(self.c)

    def _deviation(self, x: Tensor, F: Tensor, c: Tensor) -> Tensor:
        """Return the standard deviation of what the linear layer gives, c."""
        if x.dim() == 1:
            z = torch.addmv(self.constant, self.leverage, F)
        else:
            z = torch.addmm(self.constant.unsqueeze(1), self.leverage, F)
        z = z.square()
        if self.signs is not None:
            z = z.t() * self.signs if z.dim() == 2 else z * self.signs
            total = z.sum(-1)
        else:
            total = z.sum(0)
        variance = torch.clamp(self.floor + total + self._distance(x), min=1e-12)
        if self.members is not None:
            noise = variance.unsqueeze(-1) * self.sigma.square()
            return (noise + self.members.forward(F, c)).sqrt()
        return variance.sqrt().unsqueeze(-1) * self.sigma

    def _distance(self, x: Tensor) -> Tensor:
        lower, upper = self._seen(self.lower), self._seen(self.upper)
        beyond = torch.relu(torch.maximum(lower - x, x - upper)) / self.unit
        return beyond.square().sum(-1) + self._off_flat(x).square().sum(-1)

    def _off_flat(self, x: Tensor) -> Tensor:
        return torch.matmul((x - self.centre) / self.unit, self.normals.t())

    def _given(self, y: Tensor) -> Tensor:
        return self._checked(y, "y", self.lower.size(0), y)

    def _checked(self, x: Tensor, name: str, size: int, y: Tensor) -> Tensor:
        """Give x in double precision; it has ``size`` columns, and one row for each of y's."""
        if x.dim() < 1 or x.dim() > 2 or x.size(-1) != size:
            shape = list(x.shape)
            raise ValueError(f"expected {name} of shape ({size},) or (n, {size}); got {shape}")
        if x.dim() != y.dim() or x.size(0) != y.size(0) and x.dim() == 2:
            raise ValueError(
                f"expected {name} for each y, of shape {list(y.shape)}; got {list(x.shape)}"
            )
        if x.size(0) == 0:
            raise ValueError(f"expected {name} of at least one sample; got {list(x.shape)}")
        if x.device != self.W.device:
            raise ValueError(f"expected {name} on {self.W.device}; got {x.device}")
        if x.is_complex():
            raise ValueError(f"expected real numbers in {name}; got {x.dtype}")
        return x if x.dtype == self.W.dtype else x.to(self.W)


def _widened(q: Tensor, tail: Tensor, middle: float = MIDDLE) -> Tensor:
    """Return what `tails.widened` does, as tensors; a default is a constant of the script."""
    return q * torch.exp(0.5 * tail * (q * q - middle))


def _constants(
    features: FeatureExtractor,
    W: Tensor,
    y_shift: Values,
    y_scale: Values,
    domain: Domain,
    error_bars: ErrorBars | None,
) -> tuple[dict[str, Tensor], ErrorBars]:
    """Check what a surrogate is made of beside W; return it as tensors, and the error bars."""
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
        constants[name] = _constant(name, value).to(W)
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


def _logarithms(logs: Logs | None, *, n_in: int, n_out: int) -> Logarithms | None:
    """Check the marks; None where nothing is marked."""
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


def _joined(members: Members, W: Tensor, spread: float, form: Form) -> tuple[Tensor, Ensemble]:
    """Return the linear layer of the weighted mean, and the members one by one."""
    widths, (n_out, n) = [int(width) for width in members.widths], W.shape
    check(
        len(widths) > 0 and min(widths) > 0 and sum(widths) == n - 1,
        f"expected widths of at least 1 with the sum {n - 1}, the number of features; got {widths}",
    )
    shape = (len(widths), n_out)
    weights, biases = (
        _constant(name, value).to(W)
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


def _constant(name: str, value: Values) -> Tensor:
    tensor = torch.as_tensor(value).detach().to(torch.float64)
    if not torch.isfinite(tensor).all():
        raise ValueError(f"expected finite values in {name}")
    return tensor
