r"""Functions about centres, in the form in which a surrogate file runs them.

The classes have the methods of `surrogates.model.fused.Fused`, and take unscaled parameters: one
sample, (n_in,), or a batch, (n, n_in). Their features are (width,) or (width, n).

    Radial       F_k = kappa(||a - c_k||),    a = (y - shift) factor
    Anova        F_k = prod_i (1 + shares_i (kappa(|a_i - c_ki|) - 1))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .fused import scripting


def radial(kernel: str, centres: Tensor, a: Tensor, order: int = 0) -> Tensor:
    """Evaluate a kernel, or a derivative of it, at the distances of a from centres.

    Args:
        kernel: One of `surrogates.model.kinds.KERNELS`.
        centres: (width, n_in).
        a: (n_in,) or (n, n_in).
        order: 0 for kappa(r), 1 for kappa'(r) / r, and 2 for the derivative of that by r, over r.
            All are finite at r = 0 too.

    Returns:
        (width,) or (width, n).
    """
    if a.dim() == 1:
        return _kappa(kernel, (a - centres).square().sum(1), order)
    # TorchScript takes a few centres at a time, so that their part of the result stays in the
    # cache. A program of torch.export would hold each pass of the loop, and would not know n.
    size = max(1, 65536 // a.size(0)) if scripting() else centres.size(0)
    a_t = a.t().contiguous()
    pieces = [
        _kappa(kernel, squared_distances(piece, a_t), order) for piece in torch.split(centres, size)
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


def _kappa(kernel: str, square: Tensor, order: int) -> Tensor:
    """Return what `radial` does for this order, from the square of r."""
    if kernel == "gaussian":
        value = torch.exp(square * -0.5)
        return -value if order == 1 else value
    # The added number changes no value; the root has a derivative at 0 by it. Beyond 1000, exp(-s)
    # is 0, and the factor before it must stay finite.
    s = torch.clamp(torch.sqrt(5.0 * square + 1e-300), max=1000.0)
    if order == 2:
        return (25.0 / 3.0) * torch.exp(-s)
    factor = (1.0 + s) * (-5.0 / 3.0) if order == 1 else 1.0 + s * (1.0 + s / 3.0)
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
        slope = radial(self.kernel, self.centres, a, 1)
        if y.dim() == 1:
            return slope * torch.mv(a - self.centres, b)
        return slope * ((a * b).sum(1) - torch.mm(self.centres, b.t()))

    def vjp(self, y: Tensor, g: Tensor) -> Tensor:
        """Apply its transpose to g, (width,) or (width, n): (n_in,) or (n, n_in)."""
        a = (y - self.shift) * self.factor
        h = g * radial(self.kernel, self.centres, a, 1)
        if y.dim() == 1:
            return torch.mv((a - self.centres).t(), h) * self.factor
        return (a * h.sum(0).unsqueeze(1) - torch.mm(h.t(), self.centres)) * self.factor

    def jacobian(self, y: Tensor) -> Tensor:
        """Return the features' derivative, (width, n_in) or (n, width, n_in)."""
        a = (y - self.shift) * self.factor
        slope = radial(self.kernel, self.centres, a, 1)
        if y.dim() == 1:
            return slope.unsqueeze(1) * (a - self.centres) * self.factor
        return (slope.t().unsqueeze(2) * (a.unsqueeze(1) - self.centres)) * self.factor

    def hvp(self, y: Tensor, g: Tensor, v: Tensor) -> Tensor:
        """Differentiate `vjp` along directions v, of y's shape, at fixed g; the shape of y."""
        a, b = (y - self.shift) * self.factor, v * self.factor
        # Of F_k the second derivative is slope_k I + bend_k (a - c_k) (a - c_k)^T.
        slope = (g * radial(self.kernel, self.centres, a, 1)).sum(0)
        h = g * radial(self.kernel, self.centres, a, 2)
        if y.dim() == 1:
            d = a - self.centres
            return (slope * b + torch.mv(d.t(), h * torch.mv(d, b))) * self.factor
        h = h * ((a * b).sum(1) - torch.mm(self.centres, b.t()))
        gradient = a * h.sum(0).unsqueeze(1) - torch.mm(h.t(), self.centres)
        return (slope.unsqueeze(1) * b + gradient) * self.factor


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

    def hvp(self, y: Tensor, g: Tensor, v: Tensor) -> Tensor:
        """Differentiate `vjp` along directions v, of y's shape, at fixed g; the shape of y."""
        a_t, b_t, start = self._scaled(y), (v * self.factor).view(-1, v.size(-1)).t(), 0
        total = torch.zeros_like(a_t)
        for centres in self._pieces(a_t):
            own = g[start : start + centres.size(0)].reshape(centres.size(0), -1)
            bends = self._bends(a_t, b_t, centres)
            total = total + torch.stack([(bend * own).sum(0) for bend in bends])
            start += centres.size(0)
        hy = total.t() * self.factor
        return hy if y.dim() == 2 else hy[0]

    def _bends(self, a_t: Tensor, b_t: Tensor, centres: Tensor) -> list[Tensor]:
        """Return the derivatives along b of the products' slopes, (centres, n) for each input.

        They are f_i'' b_i B_i A_i + f_i' (dB_i A_i + B_i dA_i) for the products B_i of the factors
        before input i, and A_i of those after it.
        """
        factors: list[Tensor] = []
        slopes: list[Tensor] = []
        after = torch.ones_like(centres[:, :1] * a_t[:1])
        afters = [(after, torch.zeros_like(after))]
        n_in = a_t.size(0)
        for j in range(n_in):
            i = n_in - 1 - j
            factor, slope = self._factor(a_t, centres, i)
            factors.append(factor)
            slopes.append(slope)
            after, d_after = afters[-1]
            afters.append((after * factor, d_after * factor + after * slope * b_t[i]))
        before, d_before = afters[0]
        bends: list[Tensor] = []
        for i in range(n_in):
            j = n_in - 1 - i
            after, d_after = afters[j]
            square = (a_t[i].unsqueeze(0) - centres[:, i].unsqueeze(1)).square()
            second = _kappa(self.kernel, square, 1) + square * _kappa(self.kernel, square, 2)
            bend = self.shares[i] * second * b_t[i] * (before * after)
            bends.append(bend + slopes[j] * (d_before * after + before * d_after))
            d_before = d_before * factors[j] + before * slopes[j] * b_t[i]
            before = before * factors[j]
        return bends

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
        value = 1.0 + self.shares[i] * (_kappa(self.kernel, square, 0) - 1.0)
        return value, self.shares[i] * (_kappa(self.kernel, square, 1) * d)

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
