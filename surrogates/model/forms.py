r"""Features other than one network, in the form in which a surrogate file runs them.

Each class here has the methods of `surrogates.model.fused.Fused`. They take unscaled parameters:
one sample, (n_in,), or a batch, (n, n_in). Their features are (width,) or (width, n).

    Radial       F_k = kappa(||a - c_k||),    a = (y - shift) factor
    Anova        F_k = prod_i (1 + shares_i (kappa(|a_i - c_ki|) - 1))
    Polynomial   F = [x, x_i x_j of the pairs (i, j)],    x = (y - shift) / scale
    Blocks       the features of several forms, one after the other
    Unfused      the features of any module, of x
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from .fused import Fused, scripting

if TYPE_CHECKING:
    from .networks import FeatureExtractor


def radial(kernel: str, centres: Tensor, a: Tensor, slope: bool = False) -> Tensor:
    """Evaluate a kernel at the distances of a from centres.

    Args:
        kernel: One of `surrogates.model.kinds.KERNELS`.
        centres: (width, n_in).
        a: (n_in,) or (n, n_in).
        slope: Return kappa'(r) / r, which is finite at r = 0 too, in place of kappa(r).

    Returns:
        (width,) or (width, n).
    """
    if a.dim() == 1:
        return _kappa(kernel, (a - centres).square().sum(1), slope)
    # TorchScript takes a few centres at a time, so that their part of the result stays in the
    # cache. A program of torch.export would hold each pass of the loop, and would not know n.
    size = max(1, 65536 // a.size(0)) if scripting() else centres.size(0)
    a_t = a.t().contiguous()
    pieces = [
        _kappa(kernel, squared_distances(piece, a_t), slope) for piece in torch.split(centres, size)
    ]
    return torch.cat(pieces)


def squared_distances(centres: Tensor, a_t: Tensor) -> Tensor:
    """Return the squared distances of columns of a_t, (n_in, n), from centres: (width, n).

    They are sums of squared differences: the expansion ||a||^2 - 2 a^T c + ||c||^2 would lose
    digits that matter if the weights of the features are large. torch.cdist would do, but
    torch.func differentiates it wrongly (seen in torch 2.13).
    """
    rows, columns = a_t.unsqueeze(1), centres.t().unsqueeze(2)
    d = rows[0] - columns[0]
    total = d * d
    for i in range(1, centres.size(1)):
        d = rows[i] - columns[i]
        total = torch.addcmul(total, d, d)
    return total


def _kappa(kernel: str, square: Tensor, slope: bool) -> Tensor:
    """Return kappa(r), or kappa'(r) / r if ``slope``, from the square of r."""
    if kernel == "gaussian":
        value = torch.exp(square * -0.5)
        return -value if slope else value
    # The added number changes no value; the root has a derivative at 0 by it. Beyond 1000, exp(-s)
    # is 0, and the factor before it must stay finite.
    s = torch.clamp(torch.sqrt(5.0 * square + 1e-300), max=1000.0)
    factor = (1.0 + s) * (-5.0 / 3.0) if slope else 1.0 + s * (1.0 + s / 3.0)
    return factor * torch.exp(-s)


class Radial(nn.Module):
    """Radial features of unscaled parameters.

    Attributes:
        shift: Subtracted from y, (n_in,).
        factor: Multiplies y after that, (n_in,).
        centres: The points (y - shift) factor at which each feature is 1, (width, n_in).
        kernel: One of `surrogates.model.kinds.KERNELS`.
        width: Number of features.
    """

    __constants__ = ("width", "kernel")

    if TYPE_CHECKING:
        shift: Tensor
        factor: Tensor
        centres: Tensor

    def __init__(self, *, centres: Tensor, shift: Tensor, factor: Tensor, kernel: str) -> None:
        """Copy the parts; see the attributes."""
        super().__init__()
        self.width, self.kernel = len(centres), kernel
        for name, value in {"shift": shift, "factor": factor, "centres": centres}.items():
            self.register_buffer(name, value.clone(memory_format=torch.contiguous_format))

    def folded(self, W: Tensor) -> Tensor:
        """Return weights of [F, 1] unchanged: the features here are those of the module."""
        return W

    def forward(self, y: Tensor) -> Tensor:
        """Map parameters (n_in,) or (n, n_in) to features (width,) or (width, n)."""
        return radial(self.kernel, self.centres, (y - self.shift) * self.factor)

    def jvp(self, y: Tensor, v: Tensor) -> Tensor:
        """Apply the features' derivative to directions v, of y's shape: (width,) or (width, n)."""
        a, b = (y - self.shift) * self.factor, v * self.factor
        slope = radial(self.kernel, self.centres, a, True)
        if y.dim() == 1:
            return slope * torch.mv(a - self.centres, b)
        return slope * ((a * b).sum(1) - torch.mm(self.centres, b.t()))

    def vjp(self, y: Tensor, g: Tensor) -> Tensor:
        """Apply its transpose to g, (width,) or (width, n): (n_in,) or (n, n_in)."""
        a = (y - self.shift) * self.factor
        h = g * radial(self.kernel, self.centres, a, True)
        if y.dim() == 1:
            return torch.mv((a - self.centres).t(), h) * self.factor
        return (a * h.sum(0).unsqueeze(1) - torch.mm(h.t(), self.centres)) * self.factor

    def jacobian(self, y: Tensor) -> Tensor:
        """Return the features' derivative, (width, n_in) or (n, width, n_in)."""
        a = (y - self.shift) * self.factor
        slope = radial(self.kernel, self.centres, a, True)
        if y.dim() == 1:
            return slope.unsqueeze(1) * (a - self.centres) * self.factor
        return (slope.t().unsqueeze(2) * (a.unsqueeze(1) - self.centres)) * self.factor


class Anova(Radial):
    """Products over the inputs, of unscaled parameters.

    Attributes:
        shares: The share of each factor that varies with its input, (n_in,).
        shift, factor, centres, kernel, width: As in `Radial`.
    """

    if TYPE_CHECKING:
        shares: Tensor

    def __init__(
        self, *, centres: Tensor, shift: Tensor, factor: Tensor, shares: Tensor, kernel: str
    ) -> None:
        """Copy the parts; see the attributes."""
        super().__init__(centres=centres, shift=shift, factor=factor, kernel=kernel)
        self.register_buffer("shares", shares.clone(memory_format=torch.contiguous_format))

    def forward(self, y: Tensor) -> Tensor:
        """Map parameters (n_in,) or (n, n_in) to features (width,) or (width, n)."""
        a_t, pieces = self._scaled(y), []
        for centres in self._pieces(a_t):
            product = self._factor(a_t, centres, 0)[0]
            for i in range(1, a_t.size(0)):
                product = product * self._factor(a_t, centres, i)[0]
            pieces.append(product)
        return self._shaped(torch.cat(pieces), y)

    def jvp(self, y: Tensor, v: Tensor) -> Tensor:
        """Apply the features' derivative to directions v, of y's shape: (width,) or (width, n)."""
        a_t, b_t = self._scaled(y), (v * self.factor).view(-1, v.size(-1)).t()
        pieces = []
        for centres in self._pieces(a_t):
            slopes = self._slopes(a_t, centres)
            total = slopes[0] * b_t[0]
            for i in range(1, a_t.size(0)):
                total = torch.addcmul(total, slopes[i], b_t[i].expand_as(total))
            pieces.append(total)
        return self._shaped(torch.cat(pieces), y)

    def vjp(self, y: Tensor, g: Tensor) -> Tensor:
        """Apply its transpose to g, (width,) or (width, n): (n_in,) or (n, n_in)."""
        a_t, start = self._scaled(y), 0
        total = torch.zeros_like(a_t)
        for centres in self._pieces(a_t):
            own = g[start : start + centres.size(0)].reshape(centres.size(0), -1)
            total = total + torch.stack([(s * own).sum(0) for s in self._slopes(a_t, centres)])
            start += centres.size(0)
        gy = total.t() * self.factor
        return gy if y.dim() == 2 else gy[0]

    def jacobian(self, y: Tensor) -> Tensor:
        """Return the features' derivative, (width, n_in) or (n, width, n_in)."""
        a_t = self._scaled(y)
        pieces = [torch.stack(self._slopes(a_t, c), 2) for c in self._pieces(a_t)]
        J = torch.cat(pieces).transpose(0, 1) * self.factor
        return J if y.dim() == 2 else J[0]

    def _scaled(self, y: Tensor) -> Tensor:
        """Return (y - shift) factor, (n_in, n)."""
        return ((y - self.shift) * self.factor).view(-1, y.size(-1)).t().contiguous()

    def _shaped(self, F: Tensor, y: Tensor) -> Tensor:
        return F if y.dim() == 2 else F[:, 0]

    def _pieces(self, a_t: Tensor) -> list[Tensor]:
        """Return the centres in pieces, as `radial` takes them."""
        size = max(1, 65536 // a_t.size(1)) if scripting() else self.width
        return list(torch.split(self.centres, size))

    def _factor(self, a_t: Tensor, centres: Tensor, i: int) -> tuple[Tensor, Tensor]:
        """Return factor i of the products and its derivative by a, (centres, n) each."""
        d = a_t[i].unsqueeze(0) - centres[:, i].unsqueeze(1)
        square = d * d
        value = 1.0 + self.shares[i] * (_kappa(self.kernel, square, False) - 1.0)
        return value, self.shares[i] * (_kappa(self.kernel, square, True) * d)

    def _slopes(self, a_t: Tensor, centres: Tensor) -> list[Tensor]:
        """Return the derivatives of the products by each input's a, (centres, n) each."""
        factors: list[Tensor] = []
        slopes: list[Tensor] = []
        for i in range(a_t.size(0)):
            factor, slope = self._factor(a_t, centres, i)
            factors.append(factor)
            slopes.append(slope)
        before = torch.ones_like(factors[0])
        after = torch.ones_like(factors[0])
        n_in = len(factors)
        for i in range(n_in):
            slopes[i] = slopes[i] * before
            before = before * factors[i]
            slopes[n_in - 1 - i] = slopes[n_in - 1 - i] * after
            after = after * factors[n_in - 1 - i]
        return slopes


def _nan_where_nan(x: Tensor) -> Tensor:
    """Return NaN for a sample with a NaN, else 0.

    The derivative of x itself is constant, and would not show the NaN.
    """
    return torch.where(torch.isnan(x), x, torch.zeros_like(x)).sum(0)


class Polynomial(nn.Module):
    """Scaled parameters, and products of two of them, as features of unscaled parameters.

    Attributes:
        shift: Subtracted from y, (n_in,).
        scale: Divides y after that, (n_in,).
        first: The index i of each product x_i x_j, int64 (n_pairs,).
        second: The index j of each product, int64 (n_pairs,).
        units: The derivatives of x, (n_in, n_in).
        width: Number of features, n_in + n_pairs.
    """

    __constants__ = ("width",)

    if TYPE_CHECKING:
        shift: Tensor
        scale: Tensor
        first: Tensor
        second: Tensor
        units: Tensor

    def __init__(self, *, pairs: Tensor, shift: Tensor, scale: Tensor) -> None:
        """Copy the parts; pairs is int64 (n_pairs, 2)."""
        super().__init__()
        self.width = len(shift) + len(pairs)
        units = torch.diag(1 / scale)
        parts = {"shift": shift, "scale": scale, "units": units}
        for name, value in {**parts, "first": pairs[:, 0], "second": pairs[:, 1]}.items():
            self.register_buffer(name, value.clone(memory_format=torch.contiguous_format))

    def folded(self, W: Tensor) -> Tensor:
        """Return weights of [F, 1] unchanged: the features here are those of the module."""
        return W

    def forward(self, y: Tensor) -> Tensor:
        """Map parameters (n_in,) or (n, n_in) to features (width,) or (width, n)."""
        x = self._scaled(y)
        return torch.cat([x, x[self.first] * x[self.second]])

    def jvp(self, y: Tensor, v: Tensor) -> Tensor:
        """Apply the features' derivative to directions v, of y's shape: (width,) or (width, n)."""
        x, d = self._scaled(y), v / self.scale
        if y.dim() == 2:
            d = d.t()
        d = d + _nan_where_nan(x)
        products = x[self.first] * d[self.second] + x[self.second] * d[self.first]
        return torch.cat([d, products])

    def vjp(self, y: Tensor, g: Tensor) -> Tensor:
        """Apply its transpose to g, (width,) or (width, n): (n_in,) or (n, n_in)."""
        x = self._scaled(y)
        n_in = x.size(0)
        linear, products = g[:n_in] + _nan_where_nan(x), g[n_in:]
        first, second = products * x[self.second], products * x[self.first]
        gx = linear.index_add(0, self.first, first).index_add(0, self.second, second)
        return (gx if y.dim() == 1 else gx.t()) / self.scale

    def jacobian(self, y: Tensor) -> Tensor:
        """Return the features' derivative, (width, n_in) or (n, width, n_in)."""
        # Column by column: with products by broadcasting, the fuser of torch 2.6 does not end.
        eye = torch.eye(y.size(-1), dtype=y.dtype, device=y.device)
        columns = [self.jvp(y, eye[i].expand_as(y)) for i in range(y.size(-1))]
        J = torch.stack(columns, -1)
        return J if y.dim() == 1 else J.transpose(0, 1)

    def _scaled(self, y: Tensor) -> Tensor:
        x = (y - self.shift) / self.scale
        return x if y.dim() == 1 else x.t()


class Unfused(nn.Module):
    """The features of any feature extractor."""

    __constants__ = ("width",)

    if TYPE_CHECKING:
        features: FeatureExtractor
        shift: Tensor
        scale: Tensor

    def __init__(self, features: FeatureExtractor, shift: Tensor, scale: Tensor) -> None:
        """Keep the module, which takes (y - shift) / scale."""
        super().__init__()
        self.features, self.width = features, features.width
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def folded(self, W: Tensor) -> Tensor:
        """Return weights of [F, 1] unchanged: the features here are those of the module."""
        return W

    def forward(self, y: Tensor) -> Tensor:
        """Map parameters (n_in,) or (n, n_in) to features (width,) or (width, n)."""
        F = self.features.forward(self._rows(y)).t()
        return F if y.dim() == 2 else F[:, 0]

    def jacobian(self, y: Tensor) -> Tensor:
        """Return the features' derivative, (width, n_in) or (n, width, n_in)."""
        dF = self.features.forward_and_jacobian(self._rows(y))[1] / self.scale
        return dF if y.dim() == 2 else dF[0]

    def jvp(self, y: Tensor, v: Tensor) -> Tensor:
        """Apply the features' derivative to directions v, of y's shape: (width,) or (width, n)."""
        dF = self.jacobian(y)
        if y.dim() == 1:
            return torch.mv(dF, v)
        return torch.matmul(dF, v.unsqueeze(2))[:, :, 0].t()

    def vjp(self, y: Tensor, g: Tensor) -> Tensor:
        """Apply its transpose to g, (width,) or (width, n): (n_in,) or (n, n_in)."""
        dF = self.jacobian(y)
        if y.dim() == 1:
            return torch.mv(dF.t(), g)
        return torch.matmul(g.t().unsqueeze(1), dF)[:, 0]

    def _rows(self, y: Tensor) -> Tensor:
        return (y.view(-1, y.size(-1)) - self.shift) / self.scale


class Blocks(nn.Module):
    """The features of several forms, one after the other.

    Attributes:
        parts: The forms.
        width: Number of all features.
    """

    __constants__ = ("width",)

    if TYPE_CHECKING:
        parts: Sequence[Form]  # a ModuleList, whose entries mypy would not know

    def __init__(self, parts: Sequence[Form]) -> None:
        """Keep the forms."""
        super().__init__()
        widths: list[int] = [part.width for part in parts]
        self.width: int = sum(widths)
        self.parts = nn.ModuleList(parts)  # type: ignore[assignment]

    def folded(self, W: Tensor) -> Tensor:
        """Return the weights of [F, 1], (n, width + 1), for the features here.

        Each column stays with its feature: the weights of a feature are scaled, and constants are
        added to the last column, the bias.
        """
        columns, start, bias = [], 0, W[:, -1]
        for part in self.parts:
            own = W[:, start : start + part.width]
            own = part.folded(torch.cat([own, torch.zeros_like(W[:, :1])], dim=1))
            columns.append(own[:, :-1])
            bias = bias + own[:, -1]
            start += part.width
        return torch.cat([*columns, bias[:, None]], dim=1)

    def forward(self, y: Tensor) -> Tensor:
        """Map parameters (n_in,) or (n, n_in) to features (width,) or (width, n)."""
        return torch.cat([part.forward(y) for part in self.parts])

    def jvp(self, y: Tensor, v: Tensor) -> Tensor:
        """Apply the features' derivative to directions v, of y's shape: (width,) or (width, n)."""
        return torch.cat([part.jvp(y, v) for part in self.parts])

    def vjp(self, y: Tensor, g: Tensor) -> Tensor:
        """Apply its transpose to g, (width,) or (width, n): (n_in,) or (n, n_in)."""
        total, start = torch.zeros_like(y), 0
        for part in self.parts:
            total = total + part.vjp(y, g[start : start + part.width])
            start += part.width
        return total

    def jacobian(self, y: Tensor) -> Tensor:
        """Return the features' derivative, (width, n_in) or (n, width, n_in)."""
        return torch.cat([part.jacobian(y) for part in self.parts], dim=-2)


Form = Fused | Radial | Polynomial | Blocks | Unfused
"""The form of a surrogate's features."""


def form_of(features: FeatureExtractor, y_shift: Tensor, y_scale: Tensor) -> Form:
    """Return the form of a feature extractor that takes (y - y_shift) / y_scale.

    The module's own method ``fused`` makes it. A module without this method becomes `Unfused`.
    """
    fused = getattr(features, "fused", None)
    if fused is None:
        return Unfused(features, y_shift, y_scale)
    return cast(Form, fused(y_shift, y_scale))
