"""Feature extractors: the nonlinear part F(y; theta) of a surrogate c = [F(y), 1] W^T.

A feature extractor is a `torch.nn.Module` with integer attributes ``n_in`` and ``width`` and two
methods: ``forward`` maps inputs (N, n_in) to features (N, width), and ``forward_and_jacobian``
gives these and their derivatives (N, width, n_in). Training and export use nothing else, so that
any module with them works in place of the ones here. Multilevel training also calls ``refined``,
and only where there is more than one level; ``sensitivities``, with ``coordinates`` and
``parameters_at``, is how a module tells training more of its structure than torch can find out.

No method calls torch.jit, and each of the two can be compiled by ``torch.jit.script`` and
transformed by ``torch.func``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

# The classical Runge-Kutta method of order 4: nodes within a cell, steps, weights of 1/6.
_NODES = (0, 1, 1, 2)
_STEPS = (0.0, 0.5, 0.5, 1.0)
_WEIGHTS = (1.0, 2.0, 2.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Sensitivities:
    """Features and their derivatives with respect to the parameters, sample by sample.

    The derivative of feature j of sample n with respect to entry (a, b) of the first layer's
    weights, biases in the last column, is S[n, j, a] A[n, b]. It is not formed.

    Attributes:
        F: Features, (N, width).
        S: Derivatives with respect to what the first layer gives, (N, width, n_a).
        A: What the first layer takes, (N, n_b), with a last column of ones.
        D: Derivatives with respect to all other parameters, (N, width, q).
    """

    F: Tensor
    S: Tensor
    A: Tensor
    D: Tensor


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
        the antisymmetric part, all that counts, of a matrix with standard deviation
        ``sqrt(1 / width)``: a rough weight in time would be a different network after refinement.

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
        K = (K - K.transpose(1, 2)) / (2 * math.sqrt(width))
        self.K = nn.Parameter(K.repeat(n_nodes, 1, 1))
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

    def sensitivities(self, Y: Tensor) -> Sensitivities:
        """Differentiate the features with respect to the parameters, in their `coordinates`.

        The adjoint equations go backwards through the time stepping, for all features at once.
        """
        A_t = self._transposed_operators()
        h = self.final_time / self.n_cells
        n_samples, width = len(Y), self.width
        u = torch.tanh(torch.addmm(self.b_in, Y, self.K_in.t()))
        first_slope = 1 - u * u
        taken, slopes = [], []
        for cell in range(self.n_cells):
            k = torch.zeros_like(u)
            total = torch.zeros_like(u)
            for stage, node in enumerate(_NODES):
                v = u + _STEPS[stage] * h * k
                k = torch.tanh(torch.addmm(self.b[2 * cell + node], v, A_t[2 * cell + node]))
                total = total + _WEIGHTS[stage] * k
                taken.append(v)
                slopes.append((1 - k * k).unsqueeze(1))
            u = u + h / 6 * total
        n_nodes = 2 * self.n_cells + 1
        dK = Y.new_zeros((n_samples, width, n_nodes, width, width))  # of K - K^T
        db = Y.new_zeros((n_samples, width, n_nodes, width))
        # costate[n, j, :] is the derivative of feature j with respect to u.
        costate = torch.eye(width, dtype=Y.dtype, device=Y.device).expand(n_samples, -1, -1)
        for cell in range(self.n_cells - 1, -1, -1):
            back, total = torch.zeros_like(costate), torch.zeros_like(costate)
            for stage in (3, 2, 1, 0):
                node, at = 2 * cell + _NODES[stage], 4 * cell + stage
                z = (_WEIGHTS[stage] * h / 6 * costate + back) * slopes[at]
                dK[:, :, node].addcmul_(z.unsqueeze(3), taken[at][:, None, None])
                db[:, :, node] += z
                through = z @ A_t[node].t()
                total = total + through
                back = _STEPS[stage] * h * through
            costate = costate + total
        row, column = torch.tril_indices(width, width, -1, device=Y.device)
        lower = Y.new_zeros((width, width, len(row)))
        lower[row, column, range(len(row))] = math.sqrt(2)  # K - K^T has twice the change of K
        lower[column, row, range(len(row))] = -math.sqrt(2)
        D = torch.cat([dK.flatten(3) @ lower.flatten(0, 1), db], dim=3)
        return Sensitivities(
            F=u,
            S=costate * first_slope.unsqueeze(1),
            A=torch.cat([Y, Y.new_ones((n_samples, 1))], dim=1),
            D=D.flatten(2),
        )

    def coordinates(self, theta: Tensor) -> Tensor:
        """Turn the parameters as one vector, K antisymmetric, into what `sensitivities` is for.

        First [K_in, b_in] by rows; then for each node the entries below the diagonal of K, times
        sqrt(2) as each is there twice, and b. Norms are the same.
        """
        K_in, b_in, K, b = self._divided(theta)
        row, column = torch.tril_indices(self.width, self.width, -1, device=theta.device)
        first = torch.cat([K_in, b_in[:, None]], dim=1).reshape(-1)
        lower = (K[:, row, column] - K[:, column, row]) / math.sqrt(2)
        return torch.cat([first, torch.cat([lower, b], dim=1).reshape(-1)])

    def parameters_at(self, z: Tensor) -> Tensor:
        """Invert `coordinates`."""
        row, column = torch.tril_indices(self.width, self.width, -1, device=z.device)
        n_first = self.width * (self.n_in + 1)
        first = z[:n_first].view(self.width, self.n_in + 1)
        others = z[n_first:].view(len(self.b), -1)
        lower, b = others[:, : len(row)], others[:, len(row) :]
        K = z.new_zeros(self.K.shape)
        K[:, row, column] = lower / math.sqrt(2)
        K[:, column, row] = -lower / math.sqrt(2)
        parts = (first[:, :-1], first[:, -1], K, b)
        return torch.cat([part.reshape(-1) for part in parts])

    def _divided(self, theta: Tensor) -> list[Tensor]:
        shapes = [parameter.shape for parameter in self.parameters()]
        parts = torch.split_with_sizes(theta, [shape.numel() for shape in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def _stage(self, u: Tensor, d: Tensor, A_t: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        k = torch.tanh(torch.addmm(b, u, A_t))
        return k, (1 - k * k).unsqueeze(1) * torch.matmul(d, A_t)

    def _transposed_operators(self) -> Tensor:
        eye = torch.eye(self.width, dtype=self.K.dtype, device=self.K.device)
        return self.K.transpose(1, 2) - self.K - self.gamma * eye
