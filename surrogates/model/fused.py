r"""Networks in the form in which a surrogate file runs them: few operations, and no training code.

The networks of `networks` are a first layer u = sigma(K_in y + b_in) and steps after it. A step has
the stages

    k_1 = sigma(A_1 u + b_1),    k_i = sigma(A_i (u + l_i k_{i-1}) + b_i),    i = 2, ..., s

and replaces u by carry u + sum_i w_i k_i. Everything that does not depend on y is computed once,
here. K_in and b_in absorb the scaling of y. All A_i u + b_i of a step are one product, and so is
the sum. For one sample the number of operations then dominates the cost; for a batch, tanh does.
torch's logistic function takes 0.4 of the time of its tanh, and tanh(x) = 2 / (1 + exp(-2 x)) - 1
is affine in it. The weights absorb that, and the features are affine in those of the network
(`Fused.folded`).

One sample is a vector, and n samples are the columns of a matrix. So the stages of a step are
blocks of rows, each contiguous in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

Stages = Sequence[tuple[int, float, float]]
"""The stages of a step: node (0 is the first of the step), length l, weight w."""

# sigma(x) = alpha phi(gain x) + beta: name of phi, gain, alpha, beta.
_PHI = {
    "tanh": ("sigmoid", 2.0, 2.0, -1.0),
    "sigmoid": ("sigmoid", 1.0, 1.0, 0.0),
    "softplus": ("softplus", 1.0, 1.0, 0.0),
    "relu": ("relu", 1.0, 1.0, 0.0),
}


_WHOLE = 256  # largest number of stage values for which derivatives solve one triangular system


def _affine(b: Tensor, A: Tensor, x: Tensor) -> Tensor:
    """Return b + A x for a vector or columns x."""
    if x.dim() == 1:
        return torch.addmv(b, A, x)
    # TorchScript makes two passes of addmm, but not of addmm_.
    return torch.mm(A, x).add_(b.unsqueeze(1))


def phi(name: str, x: Tensor) -> Tensor:
    """Evaluate phi, one of sigmoid, softplus and relu."""
    if name == "sigmoid":
        return torch.sigmoid(x)
    if name == "softplus":
        # Above the threshold torch is linear. With the default, 20, it would jump by 2e-9.
        return torch.nn.functional.softplus(x, 1.0, 40.0)
    return torch.relu(x)


def _phi_(name: str, x: Tensor) -> Tensor:
    """Evaluate phi in place if possible."""
    if name == "sigmoid":
        return x.sigmoid_()
    if name == "relu":
        return x.relu_()
    return phi(name, x)


def slope_at(name: str, k: Tensor) -> Tensor:
    """Return the derivative of phi where its value is k."""
    if name == "sigmoid":
        return torch.addcmul(k, k, k, value=-1.0)
    if name == "softplus":
        return -torch.expm1(-k)
    return torch.where(k > 0, torch.ones_like(k), k)  # NaN for NaN


def _bend_at(name: str, k: Tensor) -> Tensor:
    """Return the derivative by k of `slope_at`: phi'' = bend phi'. It is 0 at the kink of relu."""
    if name == "sigmoid":
        return 1.0 - 2.0 * k
    if name == "softplus":
        return torch.exp(-k)
    return torch.where(torch.isnan(k), k, torch.zeros_like(k))


def _bent(slope: Tensor, turn: Tensor, d: Tensor) -> Tensor:
    """Multiply [h, dh], side by side, (w, 2 n), by a slope that changes by ``turn``, (w, n)."""
    n = slope.size(1)
    h = d[:, :n]
    return torch.cat([slope * h, torch.addcmul(turn * h, slope, d[:, n:])], 1)


def _times(slope: Tensor, d: Tensor) -> Tensor:
    """Multiply derivatives in m directions, (w, m n) with the samples fastest, by (w, n)."""
    w, n = slope.shape
    return (slope.unsqueeze(1) * d.view(w, -1, n)).flatten(1)


def scripting() -> bool:
    """Return whether TorchScript runs this."""
    # torch.jit has it, but its types do not say so.
    return torch.jit.is_scripting()  # type: ignore[attr-defined]


def _plus_(z: Tensor, A: Tensor, x: Tensor) -> Tensor:
    """Add A x to z in place, for a vector or columns x."""
    if x.dim() == 2:
        return z.addmm_(A, x)
    if scripting():
        return z.addmv_(A, x)
    return torch.addmv(z, A, x)  # torch.func.vmap has no rule for addmv_


class _Coupling(nn.Module):
    """The matrix that couples a stage to the one before it."""

    if TYPE_CHECKING:
        M: Tensor

    def __init__(self, M: Tensor) -> None:
        super().__init__()
        self.register_buffer("M", M.contiguous())


class _Step(nn.Module):
    """A step: it maps u to carry u + w k.

    The stages are k_1 = phi(P_1 u + p_1) and k_i = phi(P_i u + p_i + M_i k_{i-1}).
    """

    __constants__ = ("width", "carry", "phi")

    if TYPE_CHECKING:
        P: Tensor
        p: Tensor
        w: Tensor
        couplings: Sequence[_Coupling]  # ModuleLists, whose entries mypy would not know
        backwards: Sequence[_Coupling]

    def __init__(
        self, P: Tensor, p: Tensor, M: Sequence[Tensor], w: Tensor, carry: float, phi: str
    ) -> None:
        super().__init__()
        self.width, self.carry, self.phi = P.shape[1], carry, phi
        for name, value in {"P": P, "p": p, "w": w}.items():
            self.register_buffer(name, value.contiguous())
        couplings = [_Coupling(block) for block in M]
        # TorchScript takes wrong entries of a ModuleList that is sliced backwards.
        self.couplings = nn.ModuleList(couplings)  # type: ignore[assignment]
        self.backwards = nn.ModuleList(reversed(couplings))  # type: ignore[assignment]

    def forward(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next u, and the k of the stages in rows."""
        z = _affine(self.p, self.P, u)
        # If no gradient needs the old values, all k are written into z. Otherwise the blocks may be
        # overwritten too, but z may not be read afterwards.
        in_place = scripting() and self.phi != "softplus" and not z.requires_grad
        if in_place:
            blocks = torch.split(z, self.width)
        else:
            blocks = torch.unsafe_split(z, self.width)
        k = _phi_(self.phi, blocks[0])
        stages = [k]
        for i, coupling in enumerate(self.couplings):
            k = _phi_(self.phi, _plus_(blocks[i + 1], coupling.M, k))
            stages.append(k)
        if not in_place:
            z = torch.cat(stages)
        if z.dim() == 1:
            return torch.addmv(u, self.w, z, beta=self.carry), z
        return torch.mm(self.w, z).add_(u, alpha=self.carry), z

    def tangent(self, d: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Push derivatives of u, (w, m n), to the next u; return those of all k too."""
        slope = torch.split(slope_at(self.phi, k), self.width)
        z = torch.unsafe_split(torch.mm(self.P, d), self.width)
        dk = _times(slope[0], z[0])
        stages = [dk]
        for i, coupling in enumerate(self.couplings):
            dk = _times(slope[i + 1], _plus_(z[i + 1], coupling.M, dk))
            stages.append(dk)
        dk = torch.cat(stages)
        return torch.mm(self.w, dk).add_(d, alpha=self.carry), dk

    def cotangent(self, g: Tensor, k: Tensor) -> Tensor:
        """Pull derivatives with respect to the next u, (w, m n), back to u."""
        slope = torch.split(slope_at(self.phi, k), self.width)
        z = torch.unsafe_split(torch.mm(self.w.t(), g), self.width)
        gk = _times(slope[-1], z[-1])
        stages = [gk]
        for i, coupling in enumerate(self.backwards):
            gk = _times(slope[-2 - i], _plus_(z[-2 - i], coupling.M.t(), gk))
            stages.append(gk)
        stages.reverse()
        return torch.mm(self.P.t(), torch.cat(stages)).add_(g, alpha=self.carry)

    def cotangent_along(self, g: Tensor, k: Tensor, dk: Tensor) -> Tensor:
        """Do as `cotangent` with g and its derivative along a direction, in which k changes by dk.

        Args:
            g: Both, side by side, (w, 2 n).
            k: The k of the stages, (s w, n).
            dk: Their derivatives, (s w, n).
        """
        slope = torch.split(slope_at(self.phi, k), self.width)
        turn = torch.split(_bend_at(self.phi, k) * dk, self.width)
        z = torch.unsafe_split(torch.mm(self.w.t(), g), self.width)
        gk = _bent(slope[-1], turn[-1], z[-1])
        stages = [gk]
        for i, coupling in enumerate(self.backwards):
            gk = _bent(slope[-2 - i], turn[-2 - i], _plus_(z[-2 - i], coupling.M.t(), gk))
            stages.append(gk)
        stages.reverse()
        return torch.mm(self.P.t(), torch.cat(stages)).add_(g, alpha=self.carry)


class Fused(nn.Module):
    """The features of a network and their derivatives, up to the affine map of `folded`.

    Attributes:
        K_in: First weights, for unscaled y, (width, n_in).
        b_in: First biases, (width,).
        steps: The steps; of each, for s stages of the network's width w: P, (s w, w), p, (s w,),
            couplings[i].M, (w, w), and w, (w, s w), with ``carry`` and the name ``phi``.
        width: Number of features.
    """

    __constants__ = ("width", "phi", "whole")

    if TYPE_CHECKING:
        K_in: Tensor
        b_in: Tensor
        L: Tensor
        w: Tensor
        eye: Tensor
        steps: Sequence[_Step]  # ModuleLists, whose entries mypy would not know
        backwards: Sequence[_Step]

    def __init__(
        self,
        *,
        K_in: Tensor,
        b_in: Tensor,
        A: Tensor,
        b: Tensor,
        stages: Stages,
        step: float,
        carry: float,
        activation: str,
        y_shift: Tensor,
        y_scale: Tensor,
    ) -> None:
        """Compute everything that does not depend on y.

        Args:
            K_in: First weights, for scaled y, (width, n_in).
            b_in: First biases, (width,).
            A: Operators at the nodes, (n_nodes, width, width).
            b: Biases at the nodes, (n_nodes, width).
            stages: Stages of each step, whose last node is the first of the next step. Lengths
                are in units of ``step``. Weights are relative: they are scaled to the sum ``step``.
            step: Length of a step.
            carry: Factor of u in a step.
            activation: Name of sigma.
            y_shift: Subtracted from y, (n_in,).
            y_scale: Divides y after that, (n_in,).
        """
        super().__init__()
        phi, gain, alpha, beta = _PHI[activation]
        self.width, self.phi = len(b_in), phi
        K = K_in / y_scale
        self.register_buffer("K_in", (gain * K).contiguous())
        self.register_buffer("b_in", gain * (b_in - K @ y_shift))
        self.register_buffer("eye", torch.eye(self.width, dtype=A.dtype, device=A.device))
        # The network's u is alpha u + offset in terms of the u here.
        offset = torch.full_like(b_in, beta)
        share = step / sum(weight for _, _, weight in stages)
        w = torch.cat([share * weight * self.eye for _, _, weight in stages], dim=1)
        last = stages[-1][0]
        steps = []
        for first in range(0, len(A) - last, max(1, last)):
            operators = [A[first + node] for node, _, _ in stages]
            M = [length * step * A_i for A_i, (_, length, _) in zip(operators, stages, strict=True)]
            p = [
                b[first + node] + A_i @ offset + beta * M_i.sum(dim=1)
                for A_i, M_i, (node, _, _) in zip(operators, M, stages, strict=True)
            ]
            P = gain * alpha * torch.cat(operators)
            couplings = [gain * alpha * M_i for M_i in M[1:]]
            steps.append(_Step(P, gain * torch.cat(p), couplings, w, carry, phi))
            offset = carry * offset + beta * w.sum(dim=1)
        self.steps = nn.ModuleList(steps)  # type: ignore[assignment]
        self.backwards = nn.ModuleList(reversed(steps))  # type: ignore[assignment]
        self._alpha, self._offset = alpha, offset
        self.assemble()

    def assemble(self) -> None:
        """Assemble all steps into one triangular system, for the derivatives of one sample.

        Its unknowns x are the first u and all k. Their changes satisfy dx = S (K_in dy - L dx) with
        the slopes S, and the features change by w dx.
        """
        sizes = [self.width, *(len(step.p) for step in self.steps)]
        self.whole = sum(sizes) <= _WHOLE
        n = sum(sizes) if self.whole else 0
        L, w = self.K_in.new_zeros((n, n)), self.K_in.new_zeros((self.width, n))
        if self.whole:
            first, *rest = torch.split(torch.arange(n), sizes)
            w[:, first] = self.eye
            for step, rows in zip(self.steps, rest, strict=True):
                L[rows] = -step.P @ w
                blocks = torch.split(rows, self.width)
                for i, coupling in enumerate(step.couplings):
                    L[blocks[i + 1][:, None], blocks[i]] -= coupling.M
                w *= step.carry
                w[:, rows] = step.w
        self.register_buffer("L", L)
        self.register_buffer("w", w)

    def folded(self, W: Tensor) -> Tensor:
        """Return the weights of [F, 1], (n, width + 1), for the features here."""
        bias = W[:, -1] + W[:, :-1] @ self._offset
        return torch.cat([self._alpha * W[:, :-1], bias[:, None]], dim=1)

    def forward(self, y: Tensor) -> Tensor:
        """Map parameters (n_in,) or (n, n_in) to features (width,) or (width, n)."""
        u = self._first(y)
        for step in self.steps:
            u, _ = step(u)
        return u

    def jvp(self, y: Tensor, v: Tensor) -> Tensor:
        """Apply the features' derivative to directions v, of y's shape: (width,) or (width, n)."""
        if y.dim() == 1:
            return torch.mv(self._response(y), torch.mv(self.K_in, v))
        return self._push(y, torch.mm(self.K_in, v.t()))

    def vjp(self, y: Tensor, g: Tensor) -> Tensor:
        """Apply its transpose to g, (width,) or (width, n): (n_in,) or (n, n_in)."""
        if y.dim() == 1:
            return torch.mv(self.K_in.t(), torch.mv(self._response(y).t(), g))
        return torch.mm(self._pull(y, g).t(), self.K_in)

    def hvp(self, y: Tensor, g: Tensor, v: Tensor) -> Tensor:
        """Differentiate `vjp` along directions v, of y's shape, at fixed g; the shape of y."""
        rows, columns = y.view(-1, y.size(-1)), g.reshape(self.width, -1)
        u = first = self._first(rows)
        slope = slope_at(self.phi, first)
        dz = torch.mm(self.K_in, v.view(-1, v.size(-1)).t())
        d = slope * dz
        turn = _bend_at(self.phi, first) * d
        ks: list[Tensor] = []
        dks: list[Tensor] = []
        for step in self.steps:
            after, k = step(u)
            d, dk = step.tangent(d, k)
            ks.append(k)
            dks.append(dk)
            u = after
        both = torch.cat([columns, torch.zeros_like(columns)], 1)
        for i, step in enumerate(self.backwards):
            both = step.cotangent_along(both, ks[-1 - i], dks[-1 - i])
        bent = _bent(slope, turn, both)[:, rows.size(0) :]
        return torch.mm(bent.t(), self.K_in).view(y.size())

    def jacobian(self, y: Tensor) -> Tensor:
        """Return the features' derivative, (width, n_in) or (n, width, n_in)."""
        if y.dim() == 1:
            return torch.mm(self._response(y), self.K_in)
        w, n_in = self.K_in.shape
        n = y.size(0)
        if n_in < w:
            d = self._push(y, self.K_in.unsqueeze(2).expand(w, n_in, n).flatten(1))
            return d.view(w, n_in, n).permute(2, 0, 1)
        g = self._pull(y, self.eye.unsqueeze(2).expand(w, w, n).flatten(1))
        return torch.matmul(g.view(w, w, n).permute(2, 1, 0), self.K_in)

    def _first(self, y: Tensor) -> Tensor:
        return _phi_(self.phi, _affine(self.b_in, self.K_in, y if y.dim() == 1 else y.t()))

    def _response(self, y: Tensor) -> Tensor:
        """Differentiate the features of one sample by K_in y + b_in, (width, width)."""
        if not self.whole:
            return self._pull(y.unsqueeze(0), self.eye).t()
        u = self._first(y)
        x = [u]
        for step in self.steps:
            u, k = step(u)
            x.append(k)
        slope = slope_at(self.phi, torch.cat(x))
        B: Tensor = torch.linalg.solve_triangular(
            slope.unsqueeze(1) * self.L, self.w, upper=False, left=False, unitriangular=True
        )
        return B[:, : self.width] * slope[: self.width]

    def _push(self, y: Tensor, d: Tensor) -> Tensor:
        """Push derivatives of K_in y + b_in, (w, m n), to the features."""
        u = self._first(y)
        d = _times(slope_at(self.phi, u), d)
        for step in self.steps:
            after, k = step(u)
            d, _ = step.tangent(d, k)
            u = after
        return d

    def _pull(self, y: Tensor, g: Tensor) -> Tensor:
        """Pull derivatives with respect to the features, (w, m n), to K_in y + b_in."""
        u = first = self._first(y)
        ks: list[Tensor] = []
        for step in self.steps:
            u, k = step(u)
            ks.append(k)
        for i, step in enumerate(self.backwards):
            g = step.cotangent(g, ks[-1 - i])
        return _times(slope_at(self.phi, first), g)
