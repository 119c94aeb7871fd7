r"""The surrogate that users call, and how its error is measured.

    c(y) = W [F((y - y_shift) / y_scale), 1]^T

takes parameters to observables, both in the dataset's units: scaling, features and the linear
layer are inside. The module is double precision, holds no training code, and every method of it
can be scripted: `surrogates.export` writes it as a file that needs only torch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .networks import FeatureExtractor

Values = Tensor | npt.NDArray[np.float64]


class Surrogate(torch.nn.Module):
    """The map y -> c with its Jacobian in closed form.

    Every method takes one sample, (n_in,), or a batch, (n, n_in), of any real dtype, and gives
    float64 results with or without the leading n alike. Sizes that do not fit raise a one-line
    ``ValueError``; in a scripted module it arrives as torch's own error with that line at its end.

    Attributes:
        features: The feature extractor.
        W: Linear layer, its last column the bias, (n_out, n_feat + 1), units of c.
        y_shift: Subtracted from y, (n_in,), units of y.
        y_scale: Divides y after that, (n_in,), units of y.
        lower: Lower corner of the training box, (n_in,), units of y.
        upper: Upper corner of the training box, (n_in,), units of y.
    """

    if TYPE_CHECKING:  # TorchScript would read these when it runs, and not know the types
        features: FeatureExtractor
        W: Tensor
        y_shift: Tensor
        y_scale: Tensor
        lower: Tensor
        upper: Tensor

    def __init__(
        self,
        features: FeatureExtractor,
        W: Values,
        y_shift: Values,
        y_scale: Values,
        lower: Values,
        upper: Values,
    ) -> None:
        """Copy the parts, as float64 constants in evaluation mode; see the class for their shapes.

        Raises:
            ValueError: If shapes disagree, a value is not finite, or a scale is not positive.
        """
        super().__init__()
        self.features = copy.deepcopy(features)
        for name, value in {
            "W": W,
            "y_shift": y_shift,
            "y_scale": y_scale,
            "lower": lower,
            "upper": upper,
        }.items():
            tensor = torch.as_tensor(value).detach().clone()
            if not torch.isfinite(tensor).all():
                raise ValueError(f"expected finite values in {name}")
            self.register_buffer(name, tensor)
        self.to(torch.float64).eval().requires_grad_(False)
        self._check_parts()

    def _check_parts(self) -> None:
        n_in, n_feat = self.features.n_in, self.features.width
        for name in ("y_shift", "y_scale", "lower", "upper"):
            if (shape := tuple(getattr(self, name).shape)) != (n_in,):
                raise ValueError(f"expected {name} of shape ({n_in},); got {shape}")
        if self.W.ndim != 2 or self.W.shape[1] != n_feat + 1:
            shape = tuple(self.W.shape)
            raise ValueError(f"expected W of shape (n_out, {n_feat + 1}); got {shape}")
        if not (self.y_scale > 0).all():
            raise ValueError(f"expected y_scale > 0; the least is {self.y_scale.min():g}")

    def forward(self, y: Tensor) -> Tensor:
        """Predict the observables.

        Args:
            y: Parameters, (n_in,) or (n, n_in), units of the dataset.

        Returns:
            c, (n_out,) or (n, n_out), units of the dataset.
        """
        F = self.features.forward(self._scaled(y))
        c = torch.addmm(self.W[:, -1], F, self.W[:, :-1].t())
        return c if y.dim() == 2 else c[0]

    @torch.jit.export
    def jacobian(self, y: Tensor) -> Tensor:
        """Differentiate the prediction.

        Args:
            y: Parameters, (n_in,) or (n, n_in).

        Returns:
            dc/dy, (n_out, n_in) or (n, n_out, n_in), units of c over units of y.
        """
        J = torch.matmul(self.W[:, :-1], self._feature_jacobian(y))
        return J if y.dim() == 2 else J[0]

    @torch.jit.export
    def jvp(self, y: Tensor, v: Tensor) -> Tensor:
        """Apply the Jacobian to a direction, without forming it.

        Args:
            y: Parameters, (n_in,) or (n, n_in).
            v: Directions, same shape, units of y.

        Returns:
            dc/dy v, (n_out,) or (n, n_out), units of c.
        """
        dF = self._feature_jacobian(y)
        V = self._rows(v, "v", self.y_shift.size(0), y)
        product = torch.matmul(torch.matmul(dF, V[:, :, None])[:, :, 0], self.W[:, :-1].t())
        return product if y.dim() == 2 else product[0]

    @torch.jit.export
    def vjp(self, y: Tensor, w: Tensor) -> Tensor:
        """Apply the transposed Jacobian, without forming it: gradients of scalars of c.

        Args:
            y: Parameters, (n_in,) or (n, n_in).
            w: Cotangents, (n_out,) or (n, n_out), units of the scalar over units of c.

        Returns:
            (dc/dy)^T w, (n_in,) or (n, n_in).
        """
        dF = self._feature_jacobian(y)
        cotangent = torch.matmul(self._rows(w, "w", self.W.size(0), y), self.W[:, :-1])
        product = torch.matmul(cotangent[:, None, :], dF)[:, 0, :]
        return product if y.dim() == 2 else product[0]

    @torch.jit.export
    def in_domain(self, y: Tensor) -> Tensor:
        """Tell whether parameters lie in the training box, where the held-out errors apply.

        The box allows for rounding, 1e-9 of its width. It knows no other constraint: where the
        training parameters satisfy one (weights that sum to one, on the simplex), so must y, and
        nothing here checks it.

        Args:
            y: Parameters, (n_in,) or (n, n_in).

        Returns:
            bool, () or (n,); False for a parameter that is NaN.
        """
        Y = self._rows(y, "y", self.y_shift.size(0), y)
        slack = 1e-9 * (self.upper - self.lower)
        inside = torch.logical_and(self.lower - slack <= Y, Y <= self.upper + slack).all(dim=1)
        return inside if y.dim() == 2 else inside[0]

    def _feature_jacobian(self, y: Tensor) -> Tensor:
        """Differentiate the features by unscaled parameters, (n, n_feat, n_in)."""
        return self.features.forward_and_jacobian(self._scaled(y))[1] / self.y_scale

    def _scaled(self, y: Tensor) -> Tensor:
        return (self._rows(y, "y", self.y_shift.size(0), y) - self.y_shift) / self.y_scale

    def _rows(self, x: Tensor, name: str, size: int, y: Tensor) -> Tensor:
        """Give x as float64 rows; it must have ``size`` columns, and one row for each of y's."""
        if x.dim() < 1 or x.dim() > 2 or x.size(-1) != size:
            shape = list(x.shape)
            raise ValueError(f"expected {name} of shape ({size},) or (n, {size}); got {shape}")
        if x.shape[:-1] != y.shape[:-1]:
            raise ValueError(
                f"expected {name} for each y, of shape {list(y.shape)}; got {list(x.shape)}"
            )
        return x.reshape(-1, size).to(self.W)


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
    """

    samples: int
    relative: ErrorSummary
    centred: ErrorSummary
    output_rms: tuple[float, ...]
    output_relative: tuple[float, ...]


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
    predict: Callable[[Tensor], Tensor], Y: Tensor, C: Tensor, *, mean: Tensor, batch: int = 8192
) -> Evaluation:
    """Measure a surrogate's errors.

    Args:
        predict: A `Surrogate`, or any function (n, n_in) -> (n, n_out).
        Y: Parameters, (n, n_in), n >= 1.
        C: True observables, (n, n_out).
        mean: Mean of the training observables, (n_out,).
        batch: Samples predicted at once, which bounds the memory.

    Raises:
        ValueError: If there is no sample, or the shapes disagree.
    """
    if not len(Y) == len(C) > 0:
        raise ValueError(f"expected as many Y as C, at least 1; got {len(Y)} and {len(C)}")
    with torch.no_grad():
        prediction = torch.cat([predict(Y[i : i + batch]) for i in range(0, len(Y), batch)])
    errors = relative_errors(prediction, C)
    rms = (prediction - C).square().mean(dim=0).sqrt()
    return Evaluation(
        samples=len(C),
        relative=ErrorSummary.of(errors),
        centred=ErrorSummary.of(relative_errors(prediction - mean, C - mean)),
        output_rms=tuple(rms.tolist()),
        output_relative=tuple((rms / C.square().mean(dim=0).sqrt()).tolist()),
    )
