"""Feature extractors: the nonlinear part F(y; theta) of a surrogate c = [F(y), 1] W^T.

A feature extractor is a `torch.nn.Module` with integer attributes ``n_in`` and ``width`` and two
methods: ``forward`` maps inputs (N, n_in) to features (N, width), and ``forward_and_jacobian``
gives these and their derivatives (N, width, n_in). Training and export use nothing else, so that
any module with them works in place of the ones here. Multilevel training also calls ``refined``,
and only where there is more than one level.

No method calls torch.jit, and each of the two can be compiled by ``torch.jit.script`` and
transformed by ``torch.func``.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn


class FeatureExtractor(Protocol):
    """What training and export ask of a module (see the module's text)."""

    n_in: int
    width: int

    def forward(self, Y: Tensor) -> Tensor:
        """Map inputs (N, n_in) to features (N, width)."""

    def forward_and_jacobian(self, Y: Tensor) -> tuple[Tensor, Tensor]:
        """Map inputs (N, n_in) to features (N, width) and their Jacobians (N, width, n_in)."""


class AntisymmetricODE(nn.Module):
    r"""A neural ODE with antisymmetric weights (Newman et al. 2021, "Train Like a (Var)Pro").

        u(0) = tanh(K_in y + b_in),    u' = tanh((K(t) - K(t)^T - gamma I) u + b(t)),    F = u(T)

    The antisymmetric part has imaginary eigenvalues and gamma moves them slightly to the left, so
    that the flow neither explodes nor forgets (Haber and Ruthotto 2017, "Stable architectures for
    deep neural networks"). Classical Runge-Kutta of order 4 with ``n_cells`` cells of equal
    length; K and b are linear between their nodes, the ends and midpoints of the cells.

    Attributes:
        K_in: First weights, (width, n_in).
        b_in: First biases, (width,).
        K: Weights at the nodes, (2 n_cells + 1, width, width).
        b: Biases at the nodes, (2 n_cells + 1, width).
        n_in: Number of inputs.
        width: Number of features.
        n_cells: Number of Runge-Kutta cells.
        final_time: T, dimensionless.
        gamma: Damping, >= 0.
    """

    def __init__(
        self,
        n_in: int,
        width: int,
        n_cells: int = 1,
        final_time: float = 1.0,
        gamma: float = 1e-4,
        *,
        scale: float = 1.0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        """Draw the weights; the biases start at zero.

        K_in has standard deviation ``scale sqrt(2 / n_in)``. K starts at one value for all times,
        with standard deviation ``sqrt(1 / width)``: a rough weight in time would be a different
        network after refinement.

        Args:
            n_in: Number of inputs, >= 1.
            width: Number of features, >= 1.
            n_cells: Number of Runge-Kutta cells, >= 1.
            final_time: T, > 0.
            gamma: Damping, >= 0.
            scale: Factor of the first weights, >= 0. With a small one the features start nearly
                linear in y.
            generator: Source of the random numbers; torch's own if None.
            dtype: Of the weights.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__()
        if min(n_in, width, n_cells) < 1:
            raise ValueError(f"expected sizes of at least 1, got {(n_in, width, n_cells)}")
        if not (0 < final_time < math.inf and 0 <= gamma < math.inf and 0 <= scale < math.inf):
            raise ValueError(
                "expected 0 < final_time, 0 <= gamma and 0 <= scale, all finite; "
                f"got {(final_time, gamma, scale)}"
            )
        self.n_in = n_in
        self.width = width
        self.n_cells = n_cells
        self.final_time = float(final_time)
        self.gamma = float(gamma)
        n_nodes = 2 * n_cells + 1
        K_in = torch.randn((width, n_in), generator=generator, dtype=dtype)
        K = torch.randn((1, width, width), generator=generator, dtype=dtype)
        self.K_in = nn.Parameter(scale * math.sqrt(2 / n_in) * K_in)
        self.b_in = nn.Parameter(torch.zeros(width, dtype=dtype))
        self.K = nn.Parameter((K / math.sqrt(width)).repeat(n_nodes, 1, 1))
        self.b = nn.Parameter(torch.zeros((n_nodes, width), dtype=dtype))

    def refined(self) -> AntisymmetricODE:
        """Give a network with twice the cells and the same K(t) and b(t).

        The weights at the new nodes are interpolated linearly, which is exact: only the error of
        the time stepping changes.
        """
        fine = AntisymmetricODE(
            self.n_in,
            self.width,
            2 * self.n_cells,
            self.final_time,
            self.gamma,
            scale=0.0,
            generator=torch.Generator(),
            dtype=self.K.dtype,
        ).to(self.K.device)
        with torch.no_grad():
            fine.K_in.copy_(self.K_in)
            fine.b_in.copy_(self.b_in)
            for new, old in ((fine.K, self.K), (fine.b, self.b)):
                new[0::2] = old
                new[1::2] = (old[1:] + old[:-1]) / 2
        return fine

    def forward(self, Y: Tensor) -> Tensor:
        """Map inputs (N, n_in) to features (N, width), dtype of the weights."""
        A_t = self._transposed_operators()
        h = self.final_time / self.n_cells
        u = torch.tanh(torch.addmm(self.b_in, Y, self.K_in.t()))
        for cell in range(self.n_cells):
            first, middle, last = 2 * cell, 2 * cell + 1, 2 * cell + 2
            k1 = torch.tanh(torch.addmm(self.b[first], u, A_t[first]))
            k2 = torch.tanh(torch.addmm(self.b[middle], u + h / 2 * k1, A_t[middle]))
            k3 = torch.tanh(torch.addmm(self.b[middle], u + h / 2 * k2, A_t[middle]))
            k4 = torch.tanh(torch.addmm(self.b[last], u + h * k3, A_t[last]))
            u = u + h / 6 * (k1 + 2 * (k2 + k3) + k4)
        return u

    def forward_and_jacobian(self, Y: Tensor) -> tuple[Tensor, Tensor]:
        """Map inputs (N, n_in) to features and their derivatives with respect to the inputs.

        The tangent goes through the time stepping beside the features: from y where there are
        fewer inputs than features, else from K_in y + b_in.

        Returns:
            Features (N, width) and Jacobians (N, width, n_in), dtype of the weights.
        """
        A_t = self._transposed_operators()
        h = self.final_time / self.n_cells
        u = torch.tanh(torch.addmm(self.b_in, Y, self.K_in.t()))
        slope = 1 - u * u
        few_inputs = self.n_in < self.width
        # d[i, j, :] is the derivative of u_i with respect to y_j, or entry j of K_in y + b_in.
        d = slope.unsqueeze(1) * self.K_in.t() if few_inputs else torch.diag_embed(slope)
        for cell in range(self.n_cells):
            first, middle, last = 2 * cell, 2 * cell + 1, 2 * cell + 2
            k1, d1 = self._stage(u, d, A_t[first], self.b[first])
            k2, d2 = self._stage(u + h / 2 * k1, d + h / 2 * d1, A_t[middle], self.b[middle])
            k3, d3 = self._stage(u + h / 2 * k2, d + h / 2 * d2, A_t[middle], self.b[middle])
            k4, d4 = self._stage(u + h * k3, d + h * d3, A_t[last], self.b[last])
            u = u + h / 6 * (k1 + 2 * (k2 + k3) + k4)
            d = d + h / 6 * (d1 + 2 * (d2 + d3) + d4)
        if not few_inputs:
            d = torch.matmul(self.K_in.t(), d)
        return u, d.transpose(1, 2)

    def _stage(self, u: Tensor, d: Tensor, A_t: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        k = torch.tanh(torch.addmm(b, u, A_t))
        return k, (1 - k * k).unsqueeze(1) * torch.matmul(d, A_t)

    def _transposed_operators(self) -> Tensor:
        eye = torch.eye(self.width, dtype=self.K.dtype, device=self.K.device)
        return self.K.transpose(1, 2) - self.K - self.gamma * eye
