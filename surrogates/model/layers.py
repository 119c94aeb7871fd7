"""Layers of a surrogate file before and after its features: logarithms, and members.

A `surrogates.model.surrogate.Surrogate` has these modules only if it needs them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn


class Logarithms(nn.Module):
    """The logarithms of marked inputs, and the exponentials of marked outputs.

    Attributes:
        inputs: Marks of the inputs, bool (n_in,).
        outputs: Marks of the outputs, bool (n_out,).
        exponential: Whether any output is marked.
    """

    __constants__ = ("exponential",)

    if TYPE_CHECKING:
        inputs: Tensor
        outputs: Tensor

    def __init__(self, inputs: Tensor, outputs: Tensor) -> None:
        """Keep the marks."""
        super().__init__()
        self.exponential = bool(outputs.any())
        self.register_buffer("inputs", inputs)
        self.register_buffer("outputs", outputs)

    def forward(self, y: Tensor) -> Tensor:
        """Map y to the argument of the features. A marked input that is not > 0 becomes NaN."""
        return torch.where(self.inputs, self._positive(y).log(), y)

    def inverse(self, x: Tensor) -> Tensor:
        """Invert `forward`."""
        return torch.where(self.inputs, x.exp(), x)

    def physical(self, c: Tensor) -> Tensor:
        """Map the output of the linear layer to c."""
        # Other outputs have no exponential: its gradient could be infinite.
        exponents = torch.where(self.outputs, c, torch.zeros_like(c))
        return torch.where(self.outputs, exponents.exp(), c)

    def input_factor(self, y: Tensor) -> Tensor:
        """Return the derivative of each marked input's logarithm, and 1 for other inputs."""
        return self._positive(y).reciprocal()

    def output_factor(self, c: Tensor) -> Tensor:
        """Return c for marked outputs, the derivative of their exponential, and 1 for others."""
        return torch.where(self.outputs, c, torch.ones_like(c))

    def _positive(self, y: Tensor) -> Tensor:
        known = torch.where(y > 0, y, torch.full_like(y, math.nan))
        return torch.where(self.inputs, known, torch.ones_like(y))


class Ensemble(nn.Module):
    """The spread of the members' own predictions, before any exponential.

    Attributes:
        W: The members' own linear layers side by side, (n_out, width).
        biases: Biases of the members, (M, n_out).
        weights: Weights of the members, (M, n_out).
        spread: Factor of their weighted variance, ().
        widths: Number of features of each member.
        spreads: Whether ``spread`` is positive.
    """

    __constants__ = ("spreads", "widths")

    if TYPE_CHECKING:
        W: Tensor
        biases: Tensor
        weights: Tensor
        spread: Tensor

    def __init__(
        self, *, W: Tensor, biases: Tensor, weights: Tensor, spread: float, widths: list[int]
    ) -> None:
        """Copy the parts; see the attributes."""
        super().__init__()
        self.widths, self.spreads = widths, spread > 0
        parts = {"W": W, "biases": biases, "weights": weights, "spread": W.new_tensor(spread)}
        for name, value in parts.items():
            self.register_buffer(name, value.clone(memory_format=torch.contiguous_format))

    @torch.jit.export
    def deviations(self, F: Tensor, c: Tensor) -> Tensor:
        """Return sqrt(spread weights_m) (c_m - c) of the members m, (n_out, M) or (n, n_out, M)."""
        features = torch.split_with_sizes(F, self.widths)
        layers = torch.split_with_sizes(self.W, self.widths, 1)
        found: list[Tensor] = []
        for m in range(len(self.widths)):
            if c.dim() == 1:
                own = torch.addmv(self.biases[m], layers[m], features[m])
            else:
                own = nn.functional.linear(features[m].t(), layers[m], self.biases[m])
            found.append((self.spread * self.weights[m]).sqrt() * (own - c))
        return torch.stack(found, -1)

    def forward(self, F: Tensor, c: Tensor) -> Tensor:
        """Return spread sum_m weights_m (c_m - c)^2 for features F and their prediction c."""
        total = torch.zeros_like(c)
        if not self.spreads:
            return total
        features = torch.split_with_sizes(F, self.widths)
        layers = torch.split_with_sizes(self.W, self.widths, 1)
        for m in range(len(self.widths)):
            if c.dim() == 1:
                own = torch.addmv(self.biases[m], layers[m], features[m])
            else:
                own = nn.functional.linear(features[m].t(), layers[m], self.biases[m])
            total = total + self.weights[m] * (own - c).square()
        return self.spread * total


class Sizes(nn.Module):
    """Sizes h and h' of errors at y; see `surrogates.model.covariance`.

    Attributes:
        sizes: (2, n_in + 1, n_in + 1), or (2, 0, 0) for 1.
        ends: (2, 2).
        along: ().
    """

    if TYPE_CHECKING:
        sizes: Tensor
        ends: Tensor
        along: Tensor

    def __init__(self, sizes: Tensor, ends: Tensor, along: Tensor) -> None:
        """Copy the constants."""
        super().__init__()
        self.register_buffer("sizes", sizes.clone())
        self.register_buffer("ends", ends.clone())
        self.register_buffer("along", along.clone())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return h and h' at x, (n_in,) to () or (n, n_in) to (n,); see `Correlation.sizes`."""
        if self.sizes.size(1) == 0:
            one = torch.ones_like(x.sum(-1))
            return one, one
        a = torch.cat([torch.ones_like(x[..., :1]), x], -1)
        h = self._form(a, self.sizes[0])
        own = self._form(a, self.sizes[1])
        lower, upper = self.ends[0], self.ends[1]
        h = torch.minimum(torch.maximum(h, lower[0]), upper[0])
        own = torch.minimum(torch.maximum(own, lower[1]), upper[1])
        return h.exp(), own.exp()

    def _form(self, a: Tensor, M: Tensor) -> Tensor:
        # By einsum: with products by broadcasting, the fuser of torch 2.6 does not end.
        return torch.einsum("...i,...i->...", torch.einsum("...i,ij->...j", a, M), a)
