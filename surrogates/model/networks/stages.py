"""The common part of the networks: stages of steps, and their adjoint equations."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ..fused import Fused, Stages, phi, slope_at
from ..kinds import ACTIVATIONS
from .extractor import Sensitivities, SensitivitiesAlong, with_ones

# The stages of a step: node within the step, length, weight.
_EULER = ((0, 0.0, 1.0),)

Stage = tuple[int, Tensor, Tensor]
"""A stage's node and two tensors, see `Network._at_nodes`."""


class StageAlong(NamedTuple):
    """A stage and its derivatives along r directions of the inputs, as `_at_nodes_along` has it.

    Attributes:
        at: Node.
        z: Features' derivative with respect to sigma's argument, (N, width, width).
        v: Vector that A multiplies, (N, width).
        dz: Derivative of z, (N, r, width, width).
        dv: Derivative of v, (N, r, width).
    """

    at: int
    z: Tensor
    v: Tensor
    dz: Tensor
    dv: Tensor


_Passed = tuple[int, Tensor, Tensor, Tensor, Tensor]  # node, v and its derivative, k and its

_Net = TypeVar("_Net", bound="Network")


def _sigma(activation: str, x: Tensor) -> Tensor:
    return torch.tanh(x) if activation == "tanh" else phi(activation, x)


def _slope(activation: str, k: Tensor) -> Tensor:
    """Return the derivative of sigma where its value is k, which determines it."""
    return 1 - k * k if activation == "tanh" else slope_at(activation, k)


def _bend(activation: str, k: Tensor) -> Tensor:
    """Return the derivative, with respect to k, of `_slope`."""
    if activation == "tanh":
        return -2 * k
    if activation == "sigmoid":
        return 1 - 2 * k
    return torch.exp(-k) if activation == "softplus" else torch.zeros_like(k)


class Network(nn.Module):
    """The common part of the networks: the first layer, and the adjoint equations of the stages.

    A step of length h takes u to carry u + h sum_i w_i k_i / sum_i w_i. Its stages are
    k_i = sigma(A v_i + b) with v_i = u + l_i h k_{i-1}. A subclass adds the parameters K and b at
    the nodes, and may define A as another function of K.
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
        """Check the common arguments, and draw the first weights."""
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
        """Set the weights at the nodes, (n_nodes, width, width), and the biases to zero."""
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

    def tangents(self, Y: Tensor, V: Tensor) -> Tensor:
        """Differentiate the features along directions of the inputs.

        Args:
            Y: Inputs, (N, n_in).
            V: r directions for each sample, (N, r, n_in).

        Returns:
            The derivatives, (N, r, width), by operations that torch differentiates.
        """
        u, du = self._entered(Y, V)
        if V.shape[1] <= self.width:
            return self._passed(u, du)[1]
        # Unit vectors behind the first layer are fewer: all directions are their combinations.
        eye = torch.eye(self.width, dtype=Y.dtype, device=Y.device)
        return du @ self._passed(u, eye.expand(len(Y), -1, -1))[1]

    def sensitivities_along(self, Y: Tensor, V: Tensor) -> SensitivitiesAlong:
        """Differentiate `sensitivities` along directions of the inputs (see `tangents`).

        The adjoint equations and their derivatives go backwards together, so that all that does not
        depend on the direction is computed once for each sample.
        """
        A_t = self._transposed_operators()
        stages = self._stages()
        share = sum(weight for _, _, weight in stages)
        h, carry = self.step, self.carry
        n, width = len(Y), self.width
        first, first_along = self._entered(Y, V)
        Q, dV = None, V
        if V.shape[1] > width:
            Q, first_along = torch.linalg.qr(first_along)
            dV = Q.transpose(1, 2) @ V
        passed: list[_Passed] = []
        self._passed(first, first_along, passed)
        at_stages: list[StageAlong] = []
        costate = torch.eye(width, dtype=Y.dtype, device=Y.device).expand(n, -1, -1)
        moved = costate.new_zeros((n, dV.shape[1], width, width))
        while passed:
            back, total = torch.zeros_like(costate), torch.zeros_like(costate)
            dback, dtotal = torch.zeros_like(moved), torch.zeros_like(moved)
            for _, length, weight in reversed(stages):
                at, v, dv, *value = passed.pop()
                z, dz = self._before_sigma(
                    weight * h / share * costate + back,
                    weight * h / share * moved + dback,
                    *value,
                )
                at_stages.append(StageAlong(at, z, v, dz, dv))
                through, dthrough = z @ A_t[at].t(), dz @ A_t[at].t()
                total, dtotal = total + through, dtotal + dthrough
                back, dback = length * h * through, length * h * dthrough
            costate, moved = carry * costate + total, carry * moved + dtotal
        layers, D = self._at_nodes_along(at_stages[::-1])
        z, dz = self._before_sigma(costate, moved, first, first_along)
        return SensitivitiesAlong(
            layers=((z, with_ones(Y), dz, _without(dV)), *layers),
            D=D,
            Q=Q,
            beyond=None if Q is None else _without(V - Q @ dV),
        )

    def _before_sigma(self, g: Tensor, dg: Tensor, k: Tensor, dk: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply a costate and its derivative by sigma's slope, where its value is k."""
        slope = _slope(self.activation, k)[:, None]
        bent = (_bend(self.activation, k)[:, None] * dk)[:, :, None]
        return g * slope, dg * slope[:, None] + g[:, None] * bent

    def _entered(self, Y: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first layer's values, and their derivatives along the directions."""
        u = self._layer(Y, self.K_in.t(), self.b_in)
        return u, (V @ self.K_in.t()) * _slope(self.activation, u)[:, None]

    def _passed(
        self, u: Tensor, du: Tensor, passed: list[_Passed] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Take the first layer's values, and derivatives, to the features; append each stage."""
        A_t = self._transposed_operators()
        stages = self._stages()
        last = stages[-1][0]
        share = sum(weight for _, _, weight in stages)
        h, carry = self.step, self.carry
        for first in range(0, len(self.b) - last, max(1, last)):
            k, dk = torch.zeros_like(u), torch.zeros_like(du)
            total, dtotal = torch.zeros_like(u), torch.zeros_like(du)
            for node, length, weight in stages:
                at = first + node
                v, dv = u + length * h * k, du + length * h * dk
                k = self._layer(v, A_t[at], self.b[at])
                dk = (dv @ A_t[at]) * _slope(self.activation, k)[:, None]
                total, dtotal = total + weight * k, dtotal + weight * dk
                if passed is not None:
                    passed.append((at, v, dv, k, dk))
            u, du = carry * u + h / share * total, carry * du + h / share * dtotal
        return u, du

    def coordinates(self, theta: Tensor) -> Tensor:
        """Map the parameters, as one vector, to the coordinates of `sensitivities`.

        First come the rows of [K_in, b_in], then the entries of [K, b] at each node on which the
        network depends. Norms are the same.
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
        """Return the network of x that this network is of mixing @ x; mixing is (n_in, n_x)."""
        other = copy.deepcopy(self)
        other.n_in = mixing.shape[1]
        other.K_in = nn.Parameter(self.K_in.detach() @ mixing.to(self.K_in))
        return other

    def fused(self, y_shift: Tensor, y_scale: Tensor) -> Fused:
        """Return the form for the surrogate file, of unscaled y; `Fused` has the arguments."""
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
        """Return A^T at the nodes."""
        return self.K.transpose(1, 2)

    def _at_nodes(self, stages: Sequence[Stage]) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """Return the derivatives with respect to `_entries`, as `Sensitivities` has them.

        Args:
            stages: In order, the node of each stage, the features' derivative with respect to
                sigma's argument, (N, width, width), and the vector v that A multiplies,
                (N, width).
        """
        none = stages[0][1]
        return [(z, with_ones(v)) for _, z, v in stages], none.new_empty((*none.shape[:2], 0))

    def _at_nodes_along(
        self, stages: Sequence[StageAlong]
    ) -> tuple[list[tuple[Tensor, Tensor, Tensor, Tensor]], Tensor]:
        """Return the derivatives of `_at_nodes` along directions of the inputs."""
        none = stages[0].dz
        layers = [(s.z, with_ones(s.v), s.dz, _without(s.dv)) for s in stages]
        S, A, dS, dA = layers[-1]  # the features' own layer: S and dS are diagonal
        layers[-1] = S.diagonal(dim1=1, dim2=2), A, dS.diagonal(dim1=2, dim2=3), dA
        return layers, none.new_empty((*none.shape[:3], 0))

    def _entries(self, K: Tensor, b: Tensor) -> Tensor:
        """Return the entries of K and b at the nodes that matter, (n_nodes, n_entries)."""
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
        """Return a network of half the step, with the same K(t) and b(t).

        They are linear between their nodes, and constant after the last.
        """
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
        """Return T: x^T T x is the integral of x'(t)^2, for x linear between nodes."""
        n = len(self.b)
        D = torch.eye(n, dtype=self.b.dtype).diff(dim=0)
        return D.T @ D / spacing

    def _layer(self, u: Tensor, A_t: Tensor, b: Tensor) -> Tensor:
        return _sigma(self.activation, torch.addmm(b, u, A_t))


def _without(V: Tensor) -> Tensor:
    """Append a column of zeros: the derivative of `with_ones`."""
    return torch.nn.functional.pad(V, (0, 1))


class Layers(Network):
    """Layers u_{j+1} = carry u_j + step sigma(K_j u_j + b_j)."""

    def forward(self, Y: Tensor) -> Tensor:
        """Map inputs (N, n_in) to features (N, width), dtype of the weights."""
        A_t = self._transposed_operators()
        u = self._layer(Y, self.K_in.t(), self.b_in)
        for j in range(len(self.b)):
            u = self.carry * u + self.step * self._layer(u, A_t[j], self.b[j])
        return u
