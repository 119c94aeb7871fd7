"""The neural ODE with antisymmetric weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..fused import Stages
from .stages import Network, Stage, StageAlong

# Node within the step, length, and weight of each stage.
_RUNGE_KUTTA = ((0, 0.0, 1.0), (1, 0.5, 2.0), (1, 0.5, 2.0), (2, 1.0, 1.0))


class AntisymmetricODE(Network):
    r"""A neural ODE with antisymmetric weights (Newman et al. 2021, "Train Like a (Var)Pro").

        u(0) = sigma(K_in y + b_in),    u' = sigma((K(t) - K(t)^T - gamma I) u + b(t)),    F = u(T)

    The paper's sigma is tanh. The antisymmetric part has imaginary eigenvalues. gamma moves them
    slightly to the left, so the flow neither explodes nor forgets (Haber and Ruthotto 2017, "Stable
    architectures for deep neural networks"). The classical Runge-Kutta method of order 4 solves it,
    on ``n_cells`` cells of equal length. K and b are linear between their nodes, which are the ends
    and midpoints of the cells.

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
        activation: Name of sigma.
    """

    def __init__(
        self,
        n_in: int,
        width: int,
        n_cells: int = 1,
        final_time: float = 1.0,
        gamma: float = 1e-4,
        *,
        activation: str = "tanh",
        scale: float = 1.0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        """Draw the weights; the biases start at zero.

        K_in has standard deviation ``scale sqrt(2 / n_in)``. K starts at one value for all times:
        weights that are rough in time would be a different network after refinement. This value is
        the antisymmetric part, as no other matters, of a matrix with standard deviation
        ``sqrt(1 / width)``.

        Args:
            n_in: Number of inputs, >= 1.
            width: Number of features, >= 1.
            n_cells: Number of Runge-Kutta cells, >= 1.
            final_time: T, > 0.
            gamma: Damping, >= 0.
            activation: One of `ACTIVATIONS`.
            scale: Factor of the first weights, >= 0. With a small one the features start nearly
                linear in y.
            generator: Source of the random numbers; torch's own if None.
            dtype: Type of the weights.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(n_in, width, n_cells, activation, scale, generator, dtype)
        if not (0 < final_time < math.inf and 0 <= gamma < math.inf):
            raise ValueError(
                f"expected 0 < final_time and 0 <= gamma, both finite; got {(final_time, gamma)}"
            )
        self.n_cells = n_cells
        self.final_time = float(final_time)
        self.gamma = float(gamma)
        self.step = self.final_time / n_cells
        K = torch.randn((1, width, width), generator=generator, dtype=dtype)
        K = (K - K.transpose(1, 2)) / (2 * math.sqrt(width))
        self._set_nodes(K.repeat(2 * n_cells + 1, 1, 1))

    def refined(self) -> AntisymmetricODE:
        """Return a network with twice the cells and the same K(t) and b(t).

        The weights at the new nodes are interpolated linearly, which is exact: only the error of
        the time stepping changes.
        """
        fine = self._halved(4 * self.n_cells + 1)
        fine.n_cells = 2 * self.n_cells
        return fine

    def roughness(self) -> Tensor:
        """Return the matrix of the integral of x'(t)^2 over [0, T], for x linear between nodes."""
        return self._roughness(self.step / 2)

    def forward(self, Y: Tensor) -> Tensor:
        """Map inputs (N, n_in) to features (N, width), dtype of the weights."""
        A_t = self._transposed_operators()
        h = self.step
        u = self._layer(Y, self.K_in.t(), self.b_in)
        for cell in range(self.n_cells):
            first, middle, last = 2 * cell, 2 * cell + 1, 2 * cell + 2
            k1 = self._layer(u, A_t[first], self.b[first])
            k2 = self._layer(u + h / 2 * k1, A_t[middle], self.b[middle])
            k3 = self._layer(u + h / 2 * k2, A_t[middle], self.b[middle])
            k4 = self._layer(u + h * k3, A_t[last], self.b[last])
            u = u + h / 6 * (k1 + 2 * (k2 + k3) + k4)
        return u

    def _stages(self) -> Stages:
        return _RUNGE_KUTTA

    def _transposed_operators(self) -> Tensor:
        eye = torch.eye(self.width, dtype=self.K.dtype, device=self.K.device)
        return self.K.transpose(1, 2) - self.K - self.gamma * eye

    def _at_nodes(self, stages: Sequence[Stage]) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        n_samples, width, _ = stages[0][1].shape
        towards = self._directions()
        n_nodes, n_entries = len(self.b), len(towards)
        towards = towards.permute(2, 1, 0).flatten(1)
        dK = towards.new_zeros((n_nodes, n_samples, width, n_entries))
        db = towards.new_zeros((n_nodes, n_samples, width, width))
        for at, z, v in stages:
            dK[at].baddbmm_(z, (v @ towards).view(n_samples, width, n_entries))
            db[at] += z
        return [], torch.cat([dK, db], dim=3).permute(1, 2, 0, 3).flatten(2)

    def _at_nodes_along(
        self, stages: Sequence[StageAlong]
    ) -> tuple[list[tuple[Tensor, Tensor, Tensor, Tensor]], Tensor]:
        n, r, width, _ = stages[0].dz.shape
        towards = self._directions()
        n_nodes, n_entries = len(self.b), len(towards)
        towards = towards.permute(2, 1, 0).flatten(1)
        dK = towards.new_zeros((n_nodes, n, r, width, n_entries))
        D = towards.new_zeros((n, r, width, n_nodes, n_entries + width))
        for at, z, v, dz, dv in stages:
            # v is the same for all directions: they are rows of one product.
            rows = dK[at].view(n, r * width, n_entries)
            by_v = (v @ towards).view(n, width, n_entries)
            rows.baddbmm_(dz.reshape(n, r * width, width), by_v)
            by_dv = (dv.reshape(n * r, width) @ towards).view(n * r, width, n_entries)
            each = z[:, None].expand(n, r, width, width).reshape(n * r, width, width)
            dK[at].view(n * r, width, n_entries).baddbmm_(each, by_dv)
            D[:, :, :, at, n_entries:] += dz
        D[..., :n_entries] = dK.permute(1, 2, 3, 0, 4)
        return [], D.flatten(3)

    def _entries(self, K: Tensor, b: Tensor) -> Tensor:
        """Return the antisymmetric part's entries below the diagonal, then b.

        Each stands for two entries of K, and is larger by sqrt(2): the norm is the same.
        """
        row, column = torch.tril_indices(self.width, self.width, -1, device=K.device)
        return torch.cat([(K[:, row, column] - K[:, column, row]) / math.sqrt(2), b], dim=1)

    def _weights(self, entries: Tensor) -> tuple[Tensor, Tensor]:
        row, column = torch.tril_indices(self.width, self.width, -1, device=entries.device)
        below, b = entries[:, : len(row)] / math.sqrt(2), entries[:, len(row) :]
        K = entries.new_zeros(self.K.shape)
        K[:, row, column] = below
        K[:, column, row] = -below
        return K, b

    def _directions(self) -> Tensor:
        """Return the derivatives of A by a node's entries, (n_entries, width, width)."""
        row, column = torch.tril_indices(self.width, self.width, -1, device=self.K.device)
        change = self.K.new_zeros((len(row), self.width, self.width))
        change[range(len(row)), row, column] = math.sqrt(2)  # K - K^T has twice the change of K
        change[range(len(row)), column, row] = -math.sqrt(2)
        return change
