"""The multilayer perceptron."""

from __future__ import annotations

import math

import torch

from .stages import Layers


class MLP(Layers):
    r"""A multilayer perceptron: u_0 = sigma(K_in y + b_in), u_{j+1} = sigma(K_j u_j + b_j).

    Layers without a skip connection have no time, and no refinement that keeps the function.

    Attributes:
        K_in: First weights, (width, n_in).
        b_in: First biases, (width,).
        K: Weights of the layers, (n_layers, width, width).
        b: Biases of the layers, (n_layers, width).
        n_in: Number of inputs.
        width: Number of features.
        n_layers: Number of layers after the first.
        activation: Name of sigma.
    """

    def __init__(
        self,
        n_in: int,
        width: int,
        n_layers: int = 1,
        *,
        activation: str = "tanh",
        scale: float = 1.0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        """Draw the weights; the biases start at zero.

        K_in has standard deviation ``scale sqrt(2 / n_in)``, and each K one of ``sqrt(2 / width)``
        (He et al. 2015, "Delving deep into rectifiers").

        Args:
            n_in: Number of inputs, >= 1.
            width: Number of features, >= 1.
            n_layers: Number of layers after the first, >= 1.
            activation: One of `ACTIVATIONS`.
            scale: Factor of the first weights, >= 0.
            generator: Source of the random numbers; torch's own if None.
            dtype: Type of the weights.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(n_in, width, n_layers, activation, scale, generator, dtype)
        self.n_layers = n_layers
        self.carry = 0.0
        K = torch.randn((n_layers, width, width), generator=generator, dtype=dtype)
        self._set_nodes(math.sqrt(2 / width) * K)
