r"""Features that are not one network: functions about centres, monomials, and joined features.

They are feature extractors of scaled inputs x, as `surrogates.model.networks` describes them. Only
the parts of joined features may have parameters to train. The Matern kernel of smoothness 5/2 is
twice differentiable, the Gaussian kernel infinitely often (Rasmussen and Williams 2006, "Gaussian
Processes for Machine Learning", section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from surrogates.config import check, unknown

from .centred import Anova, Radial, radial
from .forms import Blocks, Polynomial, form_of
from .kinds import KERNELS
from .networks import FeatureExtractor


def _float64(name: str, value: Tensor) -> Tensor:
    tensor = torch.as_tensor(value).detach().to(torch.float64, copy=True)
    check(bool(torch.isfinite(tensor).all()), f"expected finite values in {name}")
    return tensor


class _AboutCentres(nn.Module):
    """The common part of functions about centres.

    Attributes:
        centres: Centres of the functions, (width, n_in).
        scales: Inverse lengths, (n_in,).
        kernel: One of `surrogates.model.kinds.KERNELS`.
        n_in: Number of inputs.
        width: Number of features.
    """

    if TYPE_CHECKING:
        centres: Tensor
        scales: Tensor

    def __init__(self, centres: Tensor, scales: Tensor, kernel: str) -> None:
        """Copy the centres and lengths, as float64 buffers.

        Args:
            centres: Centres in scaled inputs x, (width, n_in), width and n_in >= 1.
            scales: Inverse lengths, (n_in,), >= 0; an input of scale 0 is ignored.
            kernel: One of `surrogates.model.kinds.KERNELS`.

        Raises:
            InputError: If a shape or the kernel is wrong, a value is not finite, or a scale < 0.
        """
        super().__init__()
        centres, scales = _float64("centres", centres), _float64("scales", scales)
        check(
            centres.ndim == 2 and centres.numel() > 0,
            f"expected centres of shape (width, n_in); got {tuple(centres.shape)}",
        )
        self.width, self.n_in = centres.shape
        check(
            tuple(scales.shape) == (self.n_in,),
            f"expected scales of shape ({self.n_in},); got {tuple(scales.shape)}",
        )
        check(bool((scales >= 0).all()), f"expected scales >= 0; the least is {scales.min():g}")
        check(kernel in KERNELS, unknown(f"kernel {kernel!r}", kernel, KERNELS))
        self.kernel = kernel
        self.register_buffer("centres", centres)
        self.register_buffer("scales", scales)


class RadialBasis(_AboutCentres):
    r"""Radial functions about centres: F_k(x) = kappa(||scales (x - centre_k)||).

        gaussian    kappa(r) = exp(-r^2 / 2)
        matern52    kappa(r) = (1 + s + s^2 / 3) exp(-s),    s = sqrt(5) r

    Distances are sums of squared differences, accurate to rounding for r near 0 too.
    """

    def forward(self, Y: Tensor) -> Tensor:
        """Map inputs (N, n_in) to features (N, width)."""
        return radial(self.kernel, self.centres * self.scales, Y * self.scales).t()

    def forward_and_jacobian(self, Y: Tensor) -> tuple[Tensor, Tensor]:
        """Map inputs (N, n_in) to features (N, width) and their Jacobians (N, width, n_in)."""
        slope = radial(self.kernel, self.centres * self.scales, Y * self.scales, 1).t()
        differences = (Y.unsqueeze(1) - self.centres) * self.scales.square()
        return self.forward(Y), slope.unsqueeze(2) * differences

    def fused(self, y_shift: Tensor, y_scale: Tensor) -> Radial:
        """Return the form for the surrogate file, which takes unscaled y."""
        return Radial(
            centres=self.centres * self.scales,
            shift=y_shift,
            factor=self.scales / y_scale,
            kernel=self.kernel,
        )


class AnovaBasis(_AboutCentres):
    r"""Products over the inputs: F_k(x) = prod_i (1 + shares_i (kappa(scales_i |x_i - c_ki|) - 1)).

    Multiplied out, these are sums of functions of no, one, two and more inputs. The shares, in
    [0, 1], are their proportions: near 0 the features are sums of functions of one input, and at 1
    products of functions of all inputs. For a Gaussian kappa these products are radial functions
    (Durrande, Ginsbourger, Roustant and Carraro 2013, "ANOVA kernels and RKHS of zero mean
    functions for model-based sensitivity analysis").

    Attributes:
        shares: Share of each factor that varies with its input, (n_in,).
    """

    if TYPE_CHECKING:
        shares: Tensor

    def __init__(self, centres: Tensor, scales: Tensor, shares: Tensor, kernel: str) -> None:
        """Copy the parts, as float64 buffers.

        Args:
            centres: Centres in scaled inputs x, (width, n_in), width and n_in >= 1.
            scales: Inverse lengths, (n_in,), >= 0; an input of scale 0 is ignored.
            shares: Share of each factor that varies with its input, (n_in,), from 0 to 1.
            kernel: One of `surrogates.model.kinds.KERNELS`.

        Raises:
            InputError: If a shape or the kernel is wrong, a value is not finite or out of range.
        """
        super().__init__(centres, scales, kernel)
        shares = _float64("shares", shares)
        check(
            tuple(shares.shape) == (self.n_in,),
            f"expected shares of shape ({self.n_in},); got {tuple(shares.shape)}",
        )
        check(bool(((shares >= 0) & (shares <= 1)).all()), "expected shares from 0 to 1")
        self.register_buffer("shares", shares)

    def forward(self, Y: Tensor) -> Tensor:
        """Map inputs (N, n_in) to features (N, width)."""
        return self._form(Y).forward(Y).t()

    def forward_and_jacobian(self, Y: Tensor) -> tuple[Tensor, Tensor]:
        """Map inputs (N, n_in) to features (N, width) and their Jacobians (N, width, n_in)."""
        form = self._form(Y)
        return form.forward(Y).t(), form.jacobian(Y)

    def fused(self, y_shift: Tensor, y_scale: Tensor) -> Anova:
        """Return the form for the surrogate file, which takes unscaled y."""
        return Anova(
            centres=self.centres * self.scales,
            shift=y_shift,
            factor=self.scales / y_scale,
            shares=self.shares,
            kernel=self.kernel,
        )

    def _form(self, Y: Tensor) -> Anova:
        return self.fused(torch.zeros_like(Y[0]), torch.ones_like(Y[0]))


class Monomials(nn.Module):
    """The inputs, and products of two of them: [x_1 .. x_n, x_i x_j for (i, j) in pairs].

    Attributes:
        pairs: Indices from 0, int64 (n_pairs, 2).
        n_in: Number of inputs.
        width: Number of features, n_in + n_pairs.
    """

    if TYPE_CHECKING:
        pairs: Tensor

    def __init__(self, n_in: int, pairs: Tensor) -> None:
        """Copy the pairs.

        Args:
            n_in: Number of inputs, >= 1.
            pairs: Integers (n_pairs, 2), each row 0 <= i <= j < n_in; (0, 2) for none.

        Raises:
            InputError: If n_in < 1, or the shape, the type or an index is wrong.
        """
        super().__init__()
        check(n_in >= 1, f"expected at least 1 input; got {n_in}")
        pairs = torch.as_tensor(pairs)
        whole = not (pairs.is_floating_point() or pairs.is_complex() or pairs.dtype == torch.bool)
        check(
            whole and pairs.ndim == 2 and pairs.shape[1] == 2,
            f"expected integers pairs of shape (n_pairs, 2); got {pairs.dtype} of shape "
            f"{tuple(pairs.shape)}",
        )
        i, j = pairs[:, 0], pairs[:, 1]
        check(
            bool(((0 <= i) & (i <= j) & (j < n_in)).all()),
            f"expected pairs (i, j) with 0 <= i <= j < {n_in}",
        )
        self.n_in, self.width = n_in, n_in + len(pairs)
        self.register_buffer("pairs", pairs.detach().to(torch.int64, copy=True))

    def forward(self, Y: Tensor) -> Tensor:
        """Map inputs (N, n_in) to features (N, width)."""
        return torch.cat([Y, Y[:, self.pairs[:, 0]] * Y[:, self.pairs[:, 1]]], dim=1)

    def forward_and_jacobian(self, Y: Tensor) -> tuple[Tensor, Tensor]:
        """Map inputs (N, n_in) to features (N, width) and their Jacobians (N, width, n_in)."""
        form = self.fused(torch.zeros_like(Y[0]), torch.ones_like(Y[0]))
        return self.forward(Y), form.jacobian(Y)

    def fused(self, y_shift: Tensor, y_scale: Tensor) -> Polynomial:
        """Return the form for the surrogate file, which takes unscaled y."""
        return Polynomial(pairs=self.pairs, shift=y_shift, scale=y_scale)


class Joined(nn.Module):
    """The features of several parts, one after the other; part p takes (x - shifts[p]) / scales[p].

    Attributes:
        parts: The feature extractors, an ``nn.ModuleList``.
        shifts: Shift of the inputs of each part, (n_parts, n_in).
        scales: Scale of the inputs of each part, (n_parts, n_in), > 0.
        n_in: Number of inputs.
        width: Number of all features.
    """

    if TYPE_CHECKING:
        parts: Sequence[FeatureExtractor]  # a ModuleList, whose entries mypy would not know
        shifts: Tensor
        scales: Tensor

    def __init__(self, parts: Sequence[FeatureExtractor], shifts: Tensor, scales: Tensor) -> None:
        """Keep the parts, and copy shifts and scales as float64 buffers.

        Args:
            parts: Feature extractors with equal numbers of inputs, at least one; not copied.
            shifts: Subtracted from the inputs x, (n_parts, n_in).
            scales: Divide the inputs after that, (n_parts, n_in), > 0.

        Raises:
            InputError: If there is no part, sizes disagree, a value is not finite or a scale <= 0.
        """
        super().__init__()
        sizes = sorted({part.n_in for part in parts})
        check(len(sizes) == 1, f"expected parts of one number of inputs; got {sizes}")
        self.n_in, self.width = sizes[0], sum(part.width for part in parts)
        for name, value in {"shifts": shifts, "scales": scales}.items():
            tensor = _float64(name, value)
            shape = (len(parts), self.n_in)
            check(
                tuple(tensor.shape) == shape,
                f"expected {name} of shape {shape}; got {tuple(tensor.shape)}",
            )
            self.register_buffer(name, tensor)
        least = float(self.scales.min())
        check(least > 0, f"expected scales > 0; the least is {least:g}")
        self.parts = nn.ModuleList(cast(Sequence[nn.Module], parts))  # type: ignore[assignment]

    def forward(self, Y: Tensor) -> Tensor:
        """Map inputs (N, n_in) to features (N, width)."""
        pieces = zip(self.parts, self.shifts, self.scales, strict=True)
        return torch.cat([part.forward((Y - shift) / scale) for part, shift, scale in pieces], 1)

    def forward_and_jacobian(self, Y: Tensor) -> tuple[Tensor, Tensor]:
        """Map inputs (N, n_in) to features (N, width) and their Jacobians (N, width, n_in)."""
        form = self.fused(torch.zeros_like(Y[0]), torch.ones_like(Y[0]))
        eye = torch.eye(self.width, self.width + 1, dtype=Y.dtype, device=Y.device)
        return self.forward(Y), torch.matmul(form.folded(eye)[:, :-1], form.jacobian(Y))

    def fused(self, y_shift: Tensor, y_scale: Tensor) -> Blocks:
        """Return the form for the surrogate file, of unscaled y: each part has its own scaling.

        A part without a method ``fused`` is kept as it is.
        """
        pieces = zip(self.parts, self.shifts, self.scales, strict=True)
        return Blocks([form_of(part, y_shift + y_scale * a, y_scale * b) for part, a, b in pieces])
