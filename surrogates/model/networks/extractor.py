"""The interface between feature extractors and the rest: training and surrogates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Sensitivities:
    """Features and their derivatives with respect to the parameters, sample by sample.

    Some parameters are the weights of layers that each sample passes once. For these, with the
    biases in the last column, the derivative of feature j of sample n with respect to entry (a, b)
    of a layer's weights is S[n, j, a] A[n, b]. The product is not formed.

    Attributes:
        F: Features, (N, width or more). Those beyond the width have no derivative.
        layers: S and A of each layer. S, (N, width, n_a), are derivatives with respect to the
            layer's output before sigma. A, (N, n_b), is its input, with a last column of ones.
        D: Derivatives with respect to all other parameters, (N, width, q).
    """

    F: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...]
    D: Tensor


@dataclass(frozen=True, kw_only=True)
class SensitivitiesAlong:
    """Derivatives of `Sensitivities` along directions of the inputs, r for each sample.

    The derivative of feature j of sample n along direction k has, with respect to entry (a, b) of a
    layer's weights, the derivative dS[n, k, j, a] A[n, b] + S[n, j, a] dA[n, k, b].

    A network sees directions through its first layer only, as the tangents of ``width`` numbers. If
    r > width, the r rows of each sample are turned by an orthogonal matrix [Q, Q'] so that all
    derivatives are zero beyond the first k = width of them, but for dA of the first layer. The sum
    of products over a sample's rows is that over turned rows, of which Q^T gives the first k.

    Attributes:
        layers: S, A, dS and dA of each layer: S (N, width, n_a) and A (N, n_b) as in
            `Sensitivities`, dS (N, k, width, n_a) and dA (N, k, n_b) their derivatives. Of the
            last layer, S and dS may be diagonals, (N, width) and (N, k, width): then feature j
            depends on the layer's output j alone.
        D: Derivatives with respect to all other parameters, (N, k, width, q).
        Q: Orthonormal columns, (N, r, k); None if k = r, and rows are not turned.
        beyond: With ``Q``, the part of dA of the first layer that Q Q^T leaves out, (N, r, n_b).
    """

    layers: tuple[tuple[Tensor, Tensor, Tensor, Tensor], ...]
    D: Tensor
    Q: Tensor | None = None
    beyond: Tensor | None = None


class FeatureExtractor(Protocol):
    """The methods that a module of the caller's needs; see `surrogates.model.networks`."""

    n_in: int
    width: int

    def forward(self, Y: Tensor) -> Tensor:
        """Map inputs (N, n_in) to features (N, width)."""

    def forward_and_jacobian(self, Y: Tensor) -> tuple[Tensor, Tensor]:
        """Map inputs (N, n_in) to features (N, width) and their Jacobians (N, width, n_in)."""


def with_ones(X: Tensor) -> Tensor:
    """Append the column of ones that carries the bias: [X, 1]."""
    return torch.cat([X, X.new_ones((len(X), 1))], dim=1)
