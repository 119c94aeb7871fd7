"""The residual network."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .stages import Layers


class ResNet(Layers):
    r"""A residual network (He et al. 2016, "Deep residual learning for image recognition").

        u_0 = sigma(K_in y + b_in),    u_{j+1} = u_j + h sigma(K_j u_j + b_j),    F = u_n

    With h = T / n these are forward Euler steps of u' = sigma(K(t) u + b(t)). Layer j has the
    weights at time j h, the start of its step. K and b are linear between these nodes, and constant
    in the last step.

    Attributes:
        K_in: First weights, (width, n_in).
        b_in: First biases, (width,).
        K: Weights of the layers, (n_layers, width, width).
        b: Biases of the layers, (n_layers, width).
        n_in: Number of inputs.
        width: Number of features.
        n_layers: Number of layers after the first.
        final_time: T, dimensionless.
        activation: Name of sigma.
    """

    def __init__(
        self,
        n_in: int,
        width: int,
        n_layers: int = 1,
        final_time: float = 1.0,
        *,
        activation: str = "tanh",
        scale: float = 1.0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        """Draw the weights; the biases start at zero.

        K_in has standard deviation ``scale sqrt(2 / n_in)``. K starts at one value for all times,
        with standard deviation ``sqrt(1 / width)``.

        Args:
            n_in: Number of inputs, >= 1.
            width: Number of features, >= 1.
            n_layers: Number of layers after the first, >= 1.
            final_time: T, > 0.
            activation: One of `ACTIVATIONS`.
            scale: Factor of the first weights, >= 0.
            generator: Source of the random numbers; torch's own if None.
            dtype: Type of the weights.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(n_in, width, n_layers, activation, scale, generator, dtype)
        if not 0 < final_time < math.inf:
            raise ValueError(f"expected 0 < final_time, finite; got {final_time}")
        self.n_layers = n_layers
        self.final_time = float(final_time)
        self.step = self.final_time / n_layers
        K = torch.randn((1, width, width), generator=generator, dtype=dtype)
        self._set_nodes((K / math.sqrt(width)).repeat(n_layers, 1, 1))

    def refined(self) -> ResNet:
        """Return a network with twice the layers and the same K(t) and b(t).

        A new layer between two old ones has the mean of their weights; a new last layer has the
        weights of the old last one. Only the error of the time stepping changes.
        """
        fine = self._halved(2 * self.n_layers)
        fine.n_layers = 2 * self.n_layers
        return fine

    def roughness(self) -> Tensor:
        """Return the matrix of the integral of x'(t)^2 between the nodes, x linear between them."""
        return self._roughness(self.step)
