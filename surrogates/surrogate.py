r"""The surrogate that users call, and how its error is measured.

    c(y) = W [F((y - y_shift) / y_scale), 1]^T

takes parameters to observables, both in the dataset's units: scaling, features and the linear
layer are inside. The module is double precision, holds no training code, and every method of it
can be scripted: `surrogates.export` writes it as a file that needs only torch.

Its error bars come from the linear layer. For given features, a least-squares fit of W to N
samples has the posterior covariance sigma^2 G, with the SVD Z / sqrt(N) = U S V^T of the training
samples' Z = [F, 1] and G = V (S^2 + alpha2)^-1 V^T / N, so that the prediction at y has the
variance sigma^2 z^T G z: it grows with the distance of z from the training samples, in the
directions in which they leave W undetermined. `ErrorBars` says what is made of it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .fused import Fused
from .networks import FeatureExtractor

Values = Tensor | npt.NDArray[np.float64]

LEVELS = (0.5, 0.9, 0.95)
"""Of intervals, prediction plus and minus a quantile of the normal distribution times the std."""
_QUANTILES = tuple(NormalDist().inv_cdf((1 + level) / 2) for level in LEVELS)


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

        std_j(y) = sigma_j sqrt(floor + ||leverage z||^2 + d(y)^2),    z = [F, 1]

    where ||leverage z||^2 is z^T G z (see the module's text) in units of its mean over the training
    samples, and d(y) the distance of y from the training `Domain` in its units: a direction that
    the features do not see has no leverage, and a step of one standard deviation out of the box is
    then taken to add an error of the size of those inside. `surrogates.training.deploy` finds
    ``floor`` and ``sigma`` from validation samples.

    They cover the error against the solver that made the data, at parameters drawn as the training
    samples were. They do not cover the solver's own error or the model's, nor correlation: errors
    of outputs at one y are far from independent. Outside the domain they only say so.

    Attributes:
        leverage: (width + 1, width + 1).
        floor: Share of the variance that is the same for all y, >= 0.
        sigma: Of each output, (n_out,), units of c.
    """

    leverage: Values
    floor: float
    sigma: Values


class _Unfused(torch.nn.Module):
    """Any feature extractor, behind the methods of `Fused`."""

    if TYPE_CHECKING:
        features: FeatureExtractor
        shift: Tensor
        scale: Tensor

    def __init__(self, features: FeatureExtractor, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def folded(self, W: Tensor) -> Tensor:
        return W

    def forward(self, y: Tensor) -> Tensor:
        F = self.features.forward(self._rows(y)).t()
        return F if y.dim() == 2 else F[:, 0]

    def jacobian(self, y: Tensor) -> Tensor:
        dF = self.features.forward_and_jacobian(self._rows(y))[1] / self.scale
        return dF if y.dim() == 2 else dF[0]

    def jvp(self, y: Tensor, v: Tensor) -> Tensor:
        dF = self.jacobian(y)
        if y.dim() == 1:
            return torch.mv(dF, v)
        return torch.matmul(dF, v.unsqueeze(2))[:, :, 0].t()

    def vjp(self, y: Tensor, g: Tensor) -> Tensor:
        dF = self.jacobian(y)
        if y.dim() == 1:
            return torch.mv(dF.t(), g)
        return torch.matmul(g.t().unsqueeze(1), dF)[:, 0]

    def _rows(self, y: Tensor) -> Tensor:
        return (y.view(-1, y.size(-1)) - self.shift) / self.scale


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
        features: Fused | _Unfused
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
    ) -> None:
        """Copy the parts, as float64 constants in evaluation mode.

        Args:
            features: A network of `networks`, or any module with the methods of `FeatureExtractor`.
            W: Linear layer of [F, 1], (n_out, n_feat + 1), units of c.
            y_shift: Subtracted from y, (n_in,), units of y.
            y_scale: Divides y after that, (n_in,), units of y.
            domain: Where the training parameters lie.
            error_bars: Of the predictions; where None, `predict_std` gives NaN.

        Raises:
            ValueError: If shapes disagree, a value is not finite, or a scale is not positive.
        """
        super().__init__()
        n_in, n_feat = features.n_in, features.width
        W = _constant("W", W)
        if W.ndim != 2 or W.shape[1] != n_feat + 1:
            raise ValueError(f"expected W of shape (n_out, {n_feat + 1}); got {tuple(W.shape)}")
        n_out = len(W)
        bars = error_bars or ErrorBars(
            leverage=W.new_zeros(n_feat + 1, n_feat + 1), floor=math.nan, sigma=W.new_zeros(n_out)
        )
        vector = (n_in,)
        parts = {
            "y_shift": (y_shift, vector),
            "y_scale": (y_scale, vector),
            "lower": (domain.lower, vector),
            "upper": (domain.upper, vector),
            "unit": (domain.unit, vector),
            "centre": (domain.centre, vector),
            "normals": (domain.normals, (len(domain.normals), n_in)),
            "leverage": (bars.leverage, (n_feat + 1, n_feat + 1)),
            "sigma": (bars.sigma, (n_out,)),
        }
        constants = {"W": W}
        for name, (value, shape) in parts.items():
            constants[name] = _constant(name, value).to(W)
            if (got := tuple(constants[name].shape)) != shape:
                raise ValueError(f"expected {name} of shape {shape}; got {got}")
            if name in ("y_scale", "unit") and not (constants[name] > 0).all():
                raise ValueError(f"expected {name} > 0; the least is {constants[name].min():g}")
        shift, scale = constants.pop("y_shift"), constants.pop("y_scale")
        features = copy.deepcopy(features)
        cast(torch.nn.Module, features).to(W)
        fused = getattr(features, "fused", None)
        self.features = fused(shift, scale) if fused else _Unfused(features, shift, scale)
        W, leverage = (self.features.folded(constants[name]) for name in ("W", "leverage"))
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
        y = self._given(y)
        F = self.features.forward(y)
        if y.dim() == 1:
            return torch.addmv(self.c, self.W, F)
        return torch.nn.functional.linear(F.t(), self.W, self.c)

    @torch.jit.export
    def jacobian(self, y: Tensor) -> Tensor:
        """Differentiate the prediction.

        Args:
            y: Parameters, (n_in,) or (n, n_in).

        Returns:
            dc/dy, (n_out, n_in) or (n, n_out, n_in), units of c over units of y.
        """
        dF = self.features.jacobian(self._given(y))
        return torch.mm(self.W, dF) if dF.dim() == 2 else torch.matmul(self.W, dF)

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
        dF = self.features.jvp(y, self._checked(v, "v", y.size(-1), y))
        return torch.mv(self.W, dF) if y.dim() == 1 else torch.mm(dF.t(), self.W.t())

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
        g = torch.mv(self.W.t(), w) if y.dim() == 1 else torch.mm(self.W.t(), w.t())
        return self.features.vjp(y, g)

    @torch.jit.export
    def predict_std(self, y: Tensor) -> Tensor:
        """Give the standard deviation of the prediction's error; see `ErrorBars`.

        Args:
            y: Parameters, (n_in,) or (n, n_in).

        Returns:
            (n_out,) or (n, n_out), units of c.
        """
        y = self._given(y)
        F = self.features.forward(y)
        if y.dim() == 1:
            z = torch.addmv(self.constant, self.leverage, F)
        else:
            z = torch.addmm(self.constant.unsqueeze(1), self.leverage, F)
        variance = self.floor + z.square().sum(0) + self.squared_distance(y)
        return variance.sqrt().unsqueeze(-1) * self.sigma

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
        y = self._given(y)
        slack = 1e-9 * (self.upper - self.lower)
        inside = torch.logical_and(self.lower - slack <= y, y <= self.upper + slack).all(-1)
        return torch.logical_and(inside, (self._off_flat(y).abs() <= 1e-4).all(-1))

    def squared_distance(self, y: Tensor) -> Tensor:
        """Measure how far y, float64 (n_in,) or (n, n_in), is from the domain in its units."""
        beyond = torch.relu(torch.maximum(self.lower - y, y - self.upper)) / self.unit
        return beyond.square().sum(-1) + self._off_flat(y).square().sum(-1)

    def _off_flat(self, y: Tensor) -> Tensor:
        return torch.matmul((y - self.centre) / self.unit, self.normals.t())

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


def _constant(name: str, value: Values) -> Tensor:
    tensor = torch.as_tensor(value).detach().to(torch.float64)
    if not torch.isfinite(tensor).all():
        raise ValueError(f"expected finite values in {name}")
    return tensor


@dataclass(frozen=True, kw_only=True)
class ErrorSummary:
    """Mean, standard deviation and extremes of the samples' relative errors, dimensionless."""

    mean: float
    std: float
    min: float
    max: float

    @classmethod
    def of(cls, errors: Tensor) -> ErrorSummary:
        """Summarise errors, (n,) with n >= 1; the deviation is that of the whole population."""
        return cls(
            mean=float(errors.mean()),
            std=float(errors.std(correction=0)),
            min=float(errors.min()),
            max=float(errors.max()),
        )

    def __str__(self) -> str:
        """Give one line, in per cent."""
        if not math.isfinite(self.mean):
            return "undefined, as a sample has c = 0"
        values = f"mean {self.mean:.3%}, std {self.std:.3%}, min {self.min:.3%}, max {self.max:.3%}"
        return values.replace("%", " %")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Errors of a surrogate over some samples.

    Attributes:
        samples: How many samples.
        relative: Of ||prediction - c|| / ||c||.
        centred: Of ||prediction - c|| / ||c - mean||, mean that of the training samples.
        output_rms: Root mean square error of each output, units of c.
        output_relative: The same over the root mean square of the output, dimensionless.
        coverage: Share of all errors within the error bars' intervals, for each of `LEVELS`.
    """

    samples: int
    relative: ErrorSummary
    centred: ErrorSummary
    output_rms: tuple[float, ...]
    output_relative: tuple[float, ...]
    coverage: tuple[float, ...]


def relative_errors(prediction: Tensor, C: Tensor) -> Tensor:
    """Relative error of each sample, ||prediction - c||_2 / ||c||_2.

    Args:
        prediction: Predicted observables, (n, n_out).
        C: True observables, same shape, dtype and device.

    Returns:
        (n,), dimensionless; infinite or NaN for a sample with c = 0.

    Raises:
        ValueError: If the shapes differ or are not (n, n_out).
    """
    if prediction.shape != C.shape or C.ndim != 2:
        got = f"{tuple(prediction.shape)} and {tuple(C.shape)}"
        raise ValueError(f"expected prediction and C of one shape (n, n_out); got {got}")
    error: Tensor = torch.linalg.vector_norm(prediction - C, dim=1)
    norm: Tensor = torch.linalg.vector_norm(C, dim=1)
    return error / norm


def evaluate(
    predict: Callable[[Tensor], Tensor],
    Y: Tensor,
    C: Tensor,
    *,
    mean: Tensor,
    predict_std: Callable[[Tensor], Tensor] | None = None,
    batch: int = 8192,
) -> Evaluation:
    """Measure a surrogate's errors.

    Args:
        predict: A `Surrogate`, or any function (n, n_in) -> (n, n_out).
        predict_std: Its method of that name, for the coverage; where None, that is empty.
        Y: Parameters, (n, n_in), n >= 1.
        C: True observables, (n, n_out).
        mean: Mean of the training observables, (n_out,).
        batch: Samples predicted at once, which bounds the memory.

    Raises:
        ValueError: If there is no sample, or the shapes disagree.
    """
    if not len(Y) == len(C) > 0:
        raise ValueError(f"expected as many Y as C, at least 1; got {len(Y)} and {len(C)}")
    pieces = torch.split(Y, batch)
    coverage: tuple[float, ...] = ()
    with torch.no_grad():
        prediction = torch.cat([predict(piece) for piece in pieces])
        if predict_std is not None:
            sizes = (prediction - C).abs() / torch.cat([predict_std(piece) for piece in pieces])
            coverage = tuple(float((sizes <= q).double().mean()) for q in _QUANTILES)
    errors = relative_errors(prediction, C)
    rms = (prediction - C).square().mean(dim=0).sqrt()
    return Evaluation(
        samples=len(C),
        relative=ErrorSummary.of(errors),
        centred=ErrorSummary.of(relative_errors(prediction - mean, C - mean)),
        output_rms=tuple(rms.tolist()),
        output_relative=tuple((rms / C.square().mean(dim=0).sqrt()).tolist()),
        coverage=coverage,
    )
