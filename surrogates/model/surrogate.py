r"""The surrogate that users call.

    c(y) = W [F((y - y_shift) / y_scale), 1]^T

maps parameters to observables, both in the dataset's units: scaling, features and the linear layer
are inside. The module is in double precision, holds no training code, and all its methods can be
scripted: `surrogates.model.file` writes it as a file that needs only torch. The prediction may be
the weighted mean of `Members`. With `Logs` the formula holds for logarithms of parameters and
observables. `surrogates.model.parts` has these, the domain and the error bars.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from .covariance import CORRELATION, SIZES, arrays_of
from .forms import Form, form_of
from .layers import Ensemble, Logarithms, Sizes
from .networks import FeatureExtractor
from .parts import (
    Domain,
    ErrorBars,
    Logs,
    Members,
    Values,
    finite,
    joined,
    logarithms,
    tensors,
)
from .tails import MIDDLE


class Surrogate(torch.nn.Module):
    """The map y -> c with its Jacobian in closed form, its domain and its error bars.

    Every method takes one sample, (n_in,), or a batch, (n, n_in) with n >= 1, of any real dtype.
    Results are in float64, and have the leading n if y has it. Sizes, devices and dtypes that do
    not fit raise a one-line ``ValueError``; a scripted module raises torch's own error with that
    line at its end. For a NaN in y the results are NaN, and y is outside the domain.

    Attributes:
        W: Linear layer of ``features``' output, (n_out, width), units of c.
        c: Its bias, (n_out,), units of c.
        features: The feature extractor for unscaled y, a `Fused` if it has that form.
        lower: Lower corner of the training box, (n_in,), units of y.
        upper: Upper corner of the training box, (n_in,), units of y.
    """

    if TYPE_CHECKING:  # TorchScript would read them at run time, and does not know the types
        features: Form
        logs: Logarithms | None
        members: Ensemble | None
        signs: Tensor | None
        tail: Tensor | None
        loadings: Tensor | None
        unique: Tensor | None
        scatter: Tensor | None
        sizes: Sizes | None
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
            error_bars: Error bars of the predictions; if None, `predict_std` returns NaN.
            members: The surrogates whose mean is the prediction; if None, there is one.
            logs: The inputs and outputs that are logarithms in all other arguments: inputs in
                ``y_shift``, ``y_scale`` and ``domain``, outputs in ``W``, ``error_bars`` and
                ``members``.

        Raises:
            ValueError: If shapes disagree, a value is not finite, a scale is not positive, or the
                members' weights do not sum to 1.
        """
        super().__init__()
        W = finite("W", W)
        if W.ndim != 2 or W.shape[1] != features.width + 1:
            expected = f"(n_out, {features.width + 1})"
            raise ValueError(f"expected W of shape {expected}; got {tuple(W.shape)}")
        constants, bars = tensors(features, W, y_shift, y_scale, domain, error_bars)
        shift, scale = constants.pop("y_shift"), constants.pop("y_scale")
        features = copy.deepcopy(features)
        cast(torch.nn.Module, features).to(W)
        self.features = form_of(features, shift, scale)
        self.logs = logarithms(logs, n_in=features.n_in, n_out=len(W))
        if self.logs is not None:
            self.logs.to(W.device)
            for name in ("lower", "upper"):
                constants[name] = self.logs.inverse(constants[name])
        self.members = None
        if members is not None:
            W, self.members = joined(members, W, bars.spread, self.features)
        self._register(W, bars.floor, constants)
        self._correlate(bars)
        self.eval().requires_grad_(False)

    def _register(self, W: Tensor, floor: float, constants: dict[str, Tensor]) -> None:
        """Copy the constants into buffers; W and leverage become those of the features' form."""
        signs, tail = constants.pop("signs"), constants.pop("tail")
        self.register_buffer("signs", None if bool((signs > 0).all()) else signs)
        self.register_buffer("tail", tail.clone() if bool((tail > 0).any()) else None)
        W, leverage = (self.features.folded(M) for M in (W, constants["leverage"]))
        constants.update(
            {"W": W[:, :-1], "c": W[:, -1], "leverage": leverage[:, :-1]},
            constant=leverage[:, -1],
            floor=W.new_tensor(floor),
        )
        for name, constant in constants.items():
            self.register_buffer(name, constant.clone(memory_format=torch.contiguous_format))

    def _correlate(self, bars: ErrorBars) -> None:
        """Copy the correlation of errors into buffers, which are None without one."""
        known, shape = bars.correlation, (len(self.lower), len(self.c))
        if known is not None and (fault := known.fault(*shape)):
            raise ValueError(f"the error bars have {fault}")
        arrays = arrays_of(known).items()
        tensors = {name: finite(name, np.array(value)).to(self.c) for name, value in arrays}
        for name in CORRELATION:
            self.register_buffer(name, tensors.get(name))
        self.sizes = None if known is None else Sizes(**{name: tensors[name] for name in SIZES})

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
        gradient = self.features.vjp(self._seen(y), self._by_features(w))
        if self.logs is not None:
            gradient = gradient * self.logs.input_factor(y)
        return gradient

    @torch.jit.export
    def hvp(self, y: Tensor, w: Tensor, v: Tensor) -> Tensor:
        """Apply the second derivative of w^T c to a direction: the derivative of `vjp` along v.

        Args:
            y: Parameters, (n_in,) or (n, n_in).
            w: Cotangents, (n_out,) or (n, n_out), units of the scalar over units of c.
            v: Directions, of y's shape, units of y.

        Returns:
            d/de [(dc/dy)(y + e v)^T w] at e = 0, (n_in,) or (n, n_in).
        """
        y = self._given(y)
        w = self._checked(w, "w", self.W.size(0), y)
        v = self._checked(v, "v", y.size(-1), y)
        x = self._seen(y)
        if self.logs is None:
            return self.features.hvp(x, self._by_features(w), v)
        by = self.logs.input_factor(y)
        along = v * by
        dF = self.features.jvp(x, along)
        dc = torch.mv(self.W, dF) if y.dim() == 1 else torch.mm(dF.t(), self.W.t())
        w = w * self._factor(y)
        g = self._by_features(w)
        dg = self._by_features(torch.where(self.logs.outputs, w * dc, torch.zeros_like(w)))
        h = self.features.hvp(x, g, along) + self.features.vjp(x, dg)
        turn = torch.where(self.logs.inputs, along, torch.zeros_like(v))
        return by * (h - turn * self.features.vjp(x, g))

    @torch.jit.export
    def predict_std(self, y: Tensor) -> Tensor:
        """Return the standard deviation of the prediction's error; see `ErrorBars`.

        For an output that is an exponential it is c times the deviation of its logarithm. This is
        right to first order, for deviations of few per cent; `predict_interval` has no such limit.

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
    def predict_cov(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the covariance of all outputs' errors, factor factor^T + diag(diagonal).

        `surrogates.model.covariance` has its form. For an output that is an exponential it is right
        to first order, as `predict_std`.

        Args:
            y: Parameters, (n_in,) or (n, n_in).

        Returns:
            The factor, (n_out, k) or (n, n_out, k), units of c; and the diagonal, (n_out,) or
            (n, n_out), units of c squared.
        """
        if self.loadings is None or self.unique is None:
            raise ValueError("no covariance of errors: train it again")
        x = self._seen(self._given(y))
        F = self.features.forward(x)
        c = self._linear(F)
        std = self._share(x, F).sqrt().unsqueeze(-1) * self.sigma
        own = std
        if self.sizes is not None:
            h, h_own = self.sizes.forward(self.place(x))
            std = torch.einsum("...j,...->...j", std, h.sqrt())
            own = torch.einsum("...j,...->...j", own, h_own.sqrt())
        # By einsum: with products by broadcasting, the fuser of torch 2.6 does not end.
        factor = torch.einsum("...j,jk->...jk", std, self.loadings)
        diagonal = own.square() * self.unique
        if self.members is not None:
            if self.members.spreads:
                factor = torch.cat([factor, self.members.deviations(F, c)], -1)
        if self.logs is not None:
            by = self.logs.output_factor(self.logs.physical(c))
            factor = torch.einsum("...jk,...j->...jk", factor, by)
            diagonal = diagonal * by.square()
        return factor, diagonal

    @torch.jit.export
    def predict_interval(self, y: Tensor, level: float) -> Tensor:
        """Return the interval in which each output lies with a probability; see `ErrorBars`.

        Its ends are c -/+ k(q) std with the normal quantile q of (1 + level) / 2, and k of
        `surrogates.model.tails`: k(q) = q without a tail. For an output that is an exponential they
        are the exponentials of the ends for its logarithm, so c is not in the middle.

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
        """Return whether parameters lie in the training domain, where the held-out errors apply.

        The box allows for rounding, 1e-9 of its width. The flat allows for rounding to single
        precision, 1e-4 of the domain's unit; see `Domain`.

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
        """Return the squared distance of y, float64 (n_in,) or (n, n_in), from the domain."""
        return self._distance(self._seen(y))

    def _seen(self, y: Tensor) -> Tensor:
        """Return the argument of features and domain: y, with logarithms for marked inputs."""
        if self.logs is not None:
            return self.logs.forward(y)
        return y

    def _linear(self, F: Tensor) -> Tensor:
        """Apply the linear layer to features (width,) or (width, n)."""
        if F.dim() == 1:
            return torch.addmv(self.c, self.W, F)
        return torch.nn.functional.linear(F.t(), self.W, self.c)

    def _by_features(self, w: Tensor) -> Tensor:
        """Return the gradient by the features, (width,) or (width, n), of w^T c."""
        return torch.mv(self.W.t(), w) if w.dim() == 1 else torch.mm(self.W.t(), w.t())

    def _factor(self, y: Tensor) -> Tensor:
        """Return the derivative of each output by the output of the linear layer."""
        assert self.logs is not None
        if self.logs.exponential:
            return self.logs.output_factor(self.forward(y))
        return torch.ones_like(self.c)

    def _deviation(self, x: Tensor, F: Tensor, c: Tensor) -> Tensor:
        """Return the standard deviation of the linear layer's output, c."""
        variance = self._share(x, F)
        if self.members is not None:
            noise = variance.unsqueeze(-1) * self.sigma.square()
            return (noise + self.members.forward(F, c)).sqrt()
        return variance.sqrt().unsqueeze(-1) * self.sigma

    def _share(self, x: Tensor, F: Tensor) -> Tensor:
        """Return the variance that all outputs share, in units of sigma squared: () or (n,)."""
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
        return torch.clamp(self.floor + total + self._distance(x), min=1e-12)

    def _distance(self, x: Tensor) -> Tensor:
        lower, upper = self._seen(self.lower), self._seen(self.upper)
        beyond = torch.relu(torch.maximum(lower - x, x - upper)) / self.unit
        return beyond.square().sum(-1) + self._off_flat(x).square().sum(-1)

    def place(self, x: Tensor) -> Tensor:
        """Return the point of the box next to x, less its centre and over its unit."""
        lower, upper = self._seen(self.lower), self._seen(self.upper)
        return (torch.minimum(torch.maximum(x, lower), upper) - self.centre) / self.unit

    def _off_flat(self, x: Tensor) -> Tensor:
        return torch.matmul((x - self.centre) / self.unit, self.normals.t())

    def _given(self, y: Tensor) -> Tensor:
        return self._checked(y, "y", self.lower.size(0), y)

    def _checked(self, x: Tensor, name: str, size: int, y: Tensor) -> Tensor:
        """Return x in double precision, checked: ``size`` columns, and as many rows as y."""
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
    """Compute `tails.widened` of tensors. In a script, ``middle`` is a constant."""
    return q * torch.exp(0.5 * tail * (q * q - middle))
