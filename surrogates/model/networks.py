"""Feature extractors: the nonlinear part F(y; theta) of a surrogate c = [F(y), 1] W^T.

A feature extractor is a `torch.nn.Module` with integer attributes ``n_in`` and ``width`` and two
methods: ``forward`` maps inputs (N, n_in) to features (N, width), and ``forward_and_jacobian``
gives these and their derivatives (N, width, n_in). Training uses the first alone and export both,
so that any module with them works in place of the ones here, which have, instead of the second, a
`fused` form for export. Multilevel training also calls ``refined``, and only where there is more
than one level; where weights are to be smooth in time, training asks for ``roughness``;
``sensitivities``, with ``coordinates`` and ``parameters_at``, is how a module tells training more
of its structure than torch can find out.

The networks here are a first layer, u = sigma(K_in y + b_in), and stages sigma(A u + b) after it:
those of Runge-Kutta steps (`AntisymmetricODE`), or layers with a skip connection (`ResNet`) or
without (`MLP`). `ACTIVATIONS` names the sigma that each of them takes.

``forward`` can be transformed by ``torch.func``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from .fused import Fused, Stages, phi, slope_at

ACTIVATIONS = ("tanh", "softplus", "sigmoid", "relu")
"""Names of the activation functions. relu has the derivative 0 at 0."""

# The stages of a step: node within the step, length l, weight w.
_RUNGE_KUTTA = ((0, 0.0, 1.0), (1, 0.5, 2.0), (1, 0.5, 2.0), (2, 1.0, 1.0))
_EULER = ((0, 0.0, 1.0),)

Stage = tuple[int, Tensor, Tensor]
"""A stage's node and two tensors, see `_Network._at_nodes`."""

_Net = TypeVar("_Net", bound="_Network")


@dataclass(frozen=True, kw_only=True)
class Sensitivities:
    """Features and their derivatives with respect to the parameters, sample by sample.

    The parameters are the weights of some layers, which each sample meets once, and others. The
    derivative of feature j of sample n with respect to entry (a, b) of a layer's weights, biases in
    the last column, is S[n, j, a] A[n, b]. It is not formed.

    Attributes:
        F: Features, (N, width or more): those beyond the width have no derivative.
        layers: S and A of each layer: derivatives with respect to what it gives, before sigma,
            (N, width, n_a), and what it takes, (N, n_b), with a last column of ones.
        D: Derivatives with respect to all other parameters, (N, width, q).
    """

    F: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...]
    D: Tensor


class FeatureExtractor(Protocol):
    """What training and export ask of a module of the caller's (see the module's text)."""

    n_in: int
    width: int

    def forward(self, Y: Tensor) -> Tensor:
        """Map inputs (N, n_in) to features (N, width)."""

    def forward_and_jacobian(self, Y: Tensor) -> tuple[Tensor, Tensor]:
        """Map inputs (N, n_in) to features (N, width) and their Jacobians (N, width, n_in)."""


def with_ones(X: Tensor) -> Tensor:
    """Append the column of ones that carries the bias: [X, 1]."""
    return torch.cat([X, X.new_ones((len(X), 1))], dim=1)


def _sigma(activation: str, x: Tensor) -> Tensor:
    return torch.tanh(x) if activation == "tanh" else phi(activation, x)


def _slope(activation: str, k: Tensor) -> Tensor:
    """Differentiate sigma where its value is k: none of them needs to know more."""
    return 1 - k * k if activation == "tanh" else slope_at(activation, k)


class _Network(nn.Module):
    """What the networks share: the first layer, and the adjoint equations of the stages.

    A step h from u takes the stages k_i = sigma(A v_i + b), v_i = u + l_i h k_{i-1}, and gives
    carry u + h sum_i w_i k_i / sum_i w_i. A subclass adds the parameters K and b, by nodes, and
    may say how A follows from K.
    """

    def __init__(
        self,
        n_in: int,
        width: int,
        depth: int,
        activation: str,
        scale: float,
        generator: torch.Generator | None,
        dtype: torch.dtype,
    ) -> None:
        """Check what the networks share, and draw the first weights."""
        super().__init__()
        if min(n_in, width, depth) < 1:
            raise ValueError(f"expected sizes of at least 1, got {(n_in, width, depth)}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"expected an activation of {ACTIVATIONS}, got {activation!r}")
        if not 0 <= scale < math.inf:
            raise ValueError(f"expected 0 <= scale, finite; got {scale}")
        self.n_in = n_in
        self.width = width
        self.activation = activation
        self.step = 1.0
        self.carry = 1.0
        K_in = torch.randn((width, n_in), generator=generator, dtype=dtype)
        self.K_in = nn.Parameter(scale * math.sqrt(2 / n_in) * K_in)
        self.b_in = nn.Parameter(torch.zeros(width, dtype=dtype))

    def _set_nodes(self, K: Tensor) -> None:
        """Take the starting weights at the nodes, (n_nodes, width, width); biases start at zero."""
        self.K = nn.Parameter(K)
        self.b = nn.Parameter(K.new_zeros(K.shape[:2]))

    def sensitivities(self, Y: Tensor) -> Sensitivities:
        """Differentiate the features with respect to the parameters, in their `coordinates`.

        The adjoint equations go backwards through the stages, for all features at once.
        """
        A_t = self._transposed_operators()
        stages = self._stages()
        last = stages[-1][0]
        share = sum(weight for _, _, weight in stages)
        h, carry = self.step, self.carry
        n_samples, width, n_nodes = len(Y), self.width, len(self.b)
        steps = range(0, n_nodes - last, max(1, last))  # by their first nodes
        u = self._layer(Y, self.K_in.t(), self.b_in)
        first_slope = _slope(self.activation, u)
        taken, slopes = [], []
        for first in steps:
            k = torch.zeros_like(u)
            total = torch.zeros_like(u)
            for node, length, weight in stages:
                v = u + length * h * k
                k = self._layer(v, A_t[first + node], self.b[first + node])
                total = total + weight * k
                taken.append(v)
                slopes.append(_slope(self.activation, k).unsqueeze(1))
            u = carry * u + h / share * total
        at_stages = []
        # costate[n, j, :] is the derivative of feature j with respect to u.
        costate = torch.eye(width, dtype=Y.dtype, device=Y.device).expand(n_samples, -1, -1)
        for first in reversed(steps):
            back, total = torch.zeros_like(costate), torch.zeros_like(costate)
            for node, length, weight in reversed(stages):
                at = first + node
                z = (weight * h / share * costate + back) * slopes.pop()
                at_stages.append((at, z, taken.pop()))
                through = z @ A_t[at].t()
                total = total + through
                back = length * h * through
            costate = carry * costate + total
        layers, D = self._at_nodes(at_stages[::-1])
        return Sensitivities(
            F=u, layers=((costate * first_slope.unsqueeze(1), with_ones(Y)), *layers), D=D
        )

    def coordinates(self, theta: Tensor) -> Tensor:
        """Turn the parameters as one vector into what `sensitivities` is for.

        First [K_in, b_in] by rows, then what counts of [K, b] at each node. Norms are the same.
        """
        K_in, b_in, K, b = self._divided(theta)
        first = torch.cat([K_in, b_in[:, None]], dim=1)
        return torch.cat([first.reshape(-1), self._entries(K, b).reshape(-1)])

    def parameters_at(self, z: Tensor) -> Tensor:
        """Invert `coordinates`."""
        n_first = self.width * (self.n_in + 1)
        first = z[:n_first].view(self.width, self.n_in + 1)
        parts = (first[:, :-1], first[:, -1], *self._weights(z[n_first:].view(len(self.b), -1)))
        return torch.cat([part.reshape(-1) for part in parts])

    def mixed(self: _Net, mixing: Tensor) -> _Net:
        """Give the network that takes x where this one takes mixing @ x, (n_in, n_x)."""
        other = copy.deepcopy(self)
        other.n_in = mixing.shape[1]
        other.K_in = nn.Parameter(self.K_in.detach() @ mixing.to(self.K_in))
        return other

    def fused(self, y_shift: Tensor, y_scale: Tensor) -> Fused:
        """Give the form for export, which takes unscaled y; see `Fused` for the arguments."""
        return Fused(
            K_in=self.K_in.detach(),
            b_in=self.b_in.detach(),
            A=self._transposed_operators().detach().transpose(1, 2),
            b=self.b.detach(),
            stages=self._stages(),
            step=self.step,
            carry=self.carry,
            activation=self.activation,
            y_shift=y_shift,
            y_scale=y_scale,
        )

    def _stages(self) -> Stages:
        return _EULER

    def _transposed_operators(self) -> Tensor:
        """Give A^T at the nodes."""
        return self.K.transpose(1, 2)

    def _at_nodes(self, stages: Sequence[Stage]) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """Return the derivatives with respect to `_entries`, as `Sensitivities` has them.

        Args:
            stages: Each one's node, the features' derivative with respect to what sigma takes,
                (N, width, width), and what A takes, (N, width), in order.
        """
        none = stages[0][1]
        return [(z, with_ones(v)) for _, z, v in stages], none.new_empty((*none.shape[:2], 0))

    def _entries(self, K: Tensor, b: Tensor) -> Tensor:
        """Return what counts of K and b at the nodes, (n_nodes, n_entries), of the same norm."""
        return torch.cat([K, b[:, :, None]], dim=2).flatten(1)

    def _weights(self, entries: Tensor) -> tuple[Tensor, Tensor]:
        """Invert `_entries`."""
        both = entries.view(len(self.b), self.width, -1)
        return both[:, :, :-1], both[:, :, -1]

    def _divided(self, theta: Tensor) -> list[Tensor]:
        shapes = [parameter.shape for parameter in self.parameters()]
        parts = torch.split_with_sizes(theta, [shape.numel() for shape in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def _halved(self: _Net, n_nodes: int) -> _Net:
        """Give a network of half the step, K and b linear between their nodes, then constant."""
        fine = copy.deepcopy(self)
        fine.step = self.step / 2
        for name in ("K", "b"):
            old = getattr(self, name).detach()
            new = old.new_empty((n_nodes, *old.shape[1:]))
            new[0::2] = old
            new[1::2] = ((torch.cat([old[1:], old[-1:]]) + old) / 2)[: n_nodes // 2]
            setattr(fine, name, nn.Parameter(new))
        return fine

    def _roughness(self, spacing: float) -> Tensor:
        """Give T, (n_nodes, n_nodes): x^T T x is that of x'(t)^2, for x linear between nodes."""
        n = len(self.b)
        D = torch.eye(n, dtype=self.b.dtype).diff(dim=0)
        return D.T @ D / spacing

    def _layer(self, u: Tensor, A_t: Tensor, b: Tensor) -> Tensor:
        return _sigma(self.activation, torch.addmm(b, u, A_t))


class AntisymmetricODE(_Network):
    r"""A neural ODE with antisymmetric weights (Newman et al. 2021, "Train Like a (Var)Pro").

        u(0) = sigma(K_in y + b_in),    u' = sigma((K(t) - K(t)^T - gamma I) u + b(t)),    F = u(T)

    The source's sigma is tanh. The antisymmetric part has imaginary eigenvalues and gamma moves
    them slightly to the left, so that the flow neither explodes nor forgets (Haber and Ruthotto
    2017, "Stable architectures for deep neural networks"). Classical Runge-Kutta of order 4 with
    ``n_cells`` cells of equal length; K and b are linear between their nodes, the ends and
    midpoints of the cells.

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

        K_in has standard deviation ``scale sqrt(2 / n_in)``. K starts at one value for all times,
        the antisymmetric part, all that counts, of a matrix with standard deviation
        ``sqrt(1 / width)``: a rough weight in time would be a different network after refinement.

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
            dtype: Of the weights.

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
        """Give a network with twice the cells and the same K(t) and b(t).

        The weights at the new nodes are interpolated linearly, which is exact: only the error of
        the time stepping changes.
        """
        fine = self._halved(4 * self.n_cells + 1)
        fine.n_cells = 2 * self.n_cells
        return fine

    def roughness(self) -> Tensor:
        """Give the matrix of the integral of x'(t)^2 over [0, T], for x linear between nodes."""
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

    def _entries(self, K: Tensor, b: Tensor) -> Tensor:
        """Return the antisymmetric part's entries below the diagonal, each for two, then b."""
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


class _Layers(_Network):
    """Layers u_{j+1} = carry u_j + step sigma(K_j u_j + b_j)."""

    def forward(self, Y: Tensor) -> Tensor:
        """Map inputs (N, n_in) to features (N, width), dtype of the weights."""
        A_t = self._transposed_operators()
        u = self._layer(Y, self.K_in.t(), self.b_in)
        for j in range(len(self.b)):
            u = self.carry * u + self.step * self._layer(u, A_t[j], self.b[j])
        return u


class ResNet(_Layers):
    r"""A residual network (He et al. 2016, "Deep residual learning for image recognition").

        u_0 = sigma(K_in y + b_in),    u_{j+1} = u_j + h sigma(K_j u_j + b_j),    F = u_n

    With h = T / n these are forward Euler steps of u' = sigma(K(t) u + b(t)). The weights of layer
    j are those at the time j h, the start of its step; K and b are linear between these nodes, and
    constant in the last step.

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
            dtype: Of the weights.

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
        """Give a network with twice the layers and the same K(t) and b(t).

        A new layer between two old ones has the mean of their weights, one after the last the
        last's: only the error of the time stepping changes.
        """
        fine = self._halved(2 * self.n_layers)
        fine.n_layers = 2 * self.n_layers
        return fine

    def roughness(self) -> Tensor:
        """Give the matrix of the integral of x'(t)^2 between the nodes, x linear between them."""
        return self._roughness(self.step)


class MLP(_Layers):
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
            dtype: Of the weights.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(n_in, width, n_layers, activation, scale, generator, dtype)
        self.n_layers = n_layers
        self.carry = 0.0
        K = torch.randn((n_layers, width, width), generator=generator, dtype=dtype)
        self._set_nodes(math.sqrt(2 / width) * K)
