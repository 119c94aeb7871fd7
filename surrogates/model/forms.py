r"""Features other than one network, in the form in which a surrogate file runs them.

Each class here has the methods of `surrogates.model.fused.Fused`. They take unscaled parameters:
one sample, (n_in,), or a batch, (n, n_in). Their features are (width,) or (width, n).

    Polynomial   F = [x, x_i x_j of the pairs (i, j)],    x = (y - shift) / scale
    Blocks       the features of several forms, one after the other
    Unfused      the features of any module, of x

Functions about centres are in `surrogates.model.centred`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from .centred import Radial
from .fused import Fused

if TYPE_CHECKING:
    from .networks import FeatureExtractor


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

    def hvp(self, y: Tensor, g: Tensor, v: Tensor) -> Tensor:
        """Differentiate `vjp` along directions v, of y's shape, at fixed g; the shape of y."""
        x, d = self._scaled(y), v / self.scale
        if y.dim() == 2:
            d = d.t()
        products = g[x.size(0) :]
        first, second = products * d[self.second], products * d[self.first]
        zero = torch.zeros_like(d) + _nan_where_nan(x)
        hx = zero.index_add(0, self.first, first).index_add(0, self.second, second)
        return (hx if y.dim() == 1 else hx.t()) / self.scale

    def jacobian(self, y: Tensor) -> Tensor:
        """Return the features' derivative, (width, n_in) or (n, width, n_in)."""
        if self.width == y.size(-1):  # no products
            nan = _nan_where_nan(self._scaled(y))
            return self.units + (nan if y.dim() == 1 else nan.view(-1, 1, 1))
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

    def hvp(self, y: Tensor, g: Tensor, v: Tensor) -> Tensor:
        """Refuse: a module gives first derivatives alone."""
        raise ValueError(
            "no second derivatives: the features are a module of your own, "
            "which has first derivatives alone"
        )

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

    def hvp(self, y: Tensor, g: Tensor, v: Tensor) -> Tensor:
        """Differentiate `vjp` along directions v, of y's shape, at fixed g; the shape of y."""
        total, start = torch.zeros_like(y), 0
        for part in self.parts:
            total = total + part.hvp(y, g[start : start + part.width], v)
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
