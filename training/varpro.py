r"""Variable projection: the linear weights W are eliminated, and theta alone is trained.

With features F = F(Y; theta), (N, w), and Z = [F, 1],

    Phi(W, theta) = 1/(2N) ||Z W^T - C||_F^2 + alpha2/2 ||W - W_ref||_F^2 = 1/2 ||A W^T - B||_F^2
    A = [Z / sqrt(N); sqrt(alpha2) I],    B = [C / sqrt(N); sqrt(alpha2) W_ref^T]

and W(theta) minimises Phi for every theta (Golub and Pereyra 1973, "The differentiation of
pseudo-inverses and nonlinear least squares problems whose variables separate"; Newman et al.
2021, "Train Like a (Var)Pro"). The part alpha1/2 ||theta||^2 is the outer problem's affair.

The reduced residual R(theta) = A W^T - B has the derivative, with A = U S V^T,

    dR = (I - U U^T) dA W^T - U S^-1 V^T dA^T R

which is exact for any alpha2 > 0, and for alpha2 = 0 where the rank of Z does not change. Only the
upper N rows of dA are not zero. A is never decomposed itself: with the thin SVD of Z / sqrt(N), it
has the same right vectors V and the singular values sqrt(s^2 + alpha2).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

CHUNK = 8192


def solve_w(Z: Tensor, C: Tensor, alpha2: float, W_ref: Tensor | None = None) -> Tensor:
    r"""Minimise Phi over W at fixed features, by QR and then SVD of the small factor.

    W = argmin 1/(2N) ||Z W^T - C||_F^2 + alpha2/2 ||W - W_ref||_F^2
    (Newman et al. 2021, inner problem). The part of W_ref outside range(Z^T) is kept: it matters
    when n_feat + 1 > n_samples. The normal equations would square the condition number, which
    leaves nothing of alpha2 = 1e-10.

    Args:
        Z: Features with a last column of ones, (n_samples, n_feat + 1), float64.
        C: Targets, (n_samples, n_out), same dtype and device as Z.
        alpha2: Tikhonov weight, >= 0; with 0, the solution nearest to W_ref.
        W_ref: Reference weights, (n_out, n_feat + 1); zero if None.

    Returns:
        W, (n_out, n_feat + 1).

    Raises:
        ValueError: If shapes, dtypes or devices disagree, alpha2 < 0, or a value is not finite.
    """
    return InnerSolution.of(Z, C, alpha2, W_ref).W


@dataclass(frozen=True, kw_only=True)
class InnerSolution:
    """The inner problem's solution and what its derivative needs (see the module's text).

    Attributes:
        W: Linear weights, (n_out, m) with m = n_feat + 1.
        residual: R, (n_samples + m, n_out); its last m rows are sqrt(alpha2) (W - W_ref)^T.
        U: Left singular vectors of A, (n_samples + m, m); columns of vanishing values are zero.
        inverse: 1 / s of A, (m,); zero where s vanishes.
        V: Right singular vectors, (m, m).
    """

    W: Tensor
    residual: Tensor
    U: Tensor
    inverse: Tensor
    V: Tensor

    @classmethod
    def of(cls, Z: Tensor, C: Tensor, alpha2: float, W_ref: Tensor | None = None) -> InnerSolution:
        """Solve the inner problem; arguments and errors are those of `solve_w`."""
        if W_ref is None:
            W_ref = C.new_zeros((C.shape[-1], Z.shape[-1]))
        _check(Z, C, alpha2, W_ref)
        n, m = Z.shape
        Q, R = torch.linalg.qr(Z / math.sqrt(n))
        U, s, Vh = torch.linalg.svd(R, full_matrices=True)
        # Fewer samples than columns: the missing singular values are zero.
        s = torch.cat([s, s.new_zeros(m - len(s))])
        U = torch.cat([Q @ U, U.new_zeros((n, m - U.shape[1]))], dim=1)
        values = torch.sqrt(s * s + alpha2)
        tiny = max(n, m) * torch.finfo(s.dtype).eps * values[0]
        inverse = torch.where(values > tiny, 1 / values, 0)
        V = Vh.T
        U_all = torch.cat([U * (s * inverse), V * (math.sqrt(alpha2) * inverse)])
        # W - W_ref solves the same problem for the targets C - Z W_ref^T and the reference zero.
        defect = U.T @ C - (U.T @ Z) @ W_ref.T
        step = V @ ((s * inverse**2)[:, None] * defect) / math.sqrt(n)
        W = W_ref + step.T
        residual = C.new_empty((n + m, C.shape[1]))  # the only array of this size
        torch.mm(Z, W.T, out=residual[:n])
        residual[:n].sub_(C).mul_(1 / math.sqrt(n))
        residual[n:] = math.sqrt(alpha2) * step
        return cls(W=W, residual=residual, U=U_all, inverse=inverse, V=V)

    @property
    def phi(self) -> float:
        """The value of Phi: half the squared norm of the residual."""
        return 0.5 * float(self.residual.square().sum())


def _check(Z: Tensor, C: Tensor, alpha2: float, W_ref: Tensor) -> None:
    if Z.ndim != 2 or C.ndim != 2 or len(Z) != len(C) or 0 in (*Z.shape, *C.shape):
        raise ValueError(
            f"expected Z (n_samples, n_feat + 1) and C (n_samples, n_out), "
            f"got {tuple(Z.shape)} and {tuple(C.shape)}"
        )
    if W_ref.shape != (C.shape[1], Z.shape[1]):
        raise ValueError(f"expected W_ref {(C.shape[1], Z.shape[1])}, got {tuple(W_ref.shape)}")
    if any(x.dtype != torch.float64 or x.device != Z.device for x in (Z, C, W_ref)):
        raise ValueError(
            "expected Z, C and W_ref of dtype float64 on one device, "
            f"got {[(x.dtype, x.device) for x in (Z, C, W_ref)]}"
        )
    if not (0 <= alpha2 < math.inf):
        raise ValueError(f"expected alpha2 >= 0, got {alpha2}")
    if not all(bool(torch.isfinite(x).all()) for x in (Z, C, W_ref)):
        raise ValueError("expected finite values in Z, C and W_ref")


def with_ones(F: Tensor) -> Tensor:
    """Append the column of ones that carries the bias: [F, 1]."""
    return torch.cat([F, F.new_ones((len(F), 1))], dim=1)


class Features:
    """A module's features at given inputs as a function of its parameters, one flat vector.

    Args:
        module: Maps (N, n_in) to (N, width); its parameters are float64.
        Y: Inputs, (n_samples, n_in) float64.
        chunk: Samples per pass. With more samples than this each product with the Jacobian records
            the graphs of its passes anew, since only that of a single chunk is held.
    """

    def __init__(self, module: nn.Module, Y: Tensor, chunk: int = CHUNK) -> None:
        """Keep the module and the inputs; nothing is computed."""
        self.module = module
        self.Y = Y
        self.chunk = chunk
        self._names = [name for name, _ in module.named_parameters()]
        self._shapes = [parameter.shape for parameter in module.parameters()]
        self.n_theta = sum(shape.numel() for shape in self._shapes)

    def __call__(self, theta: Tensor) -> Tensor:
        """Compute the features, (n_samples, width), without a graph."""
        with torch.no_grad():
            leaves = self._leaves(theta)
            return torch.cat([self._features(leaves, rows) for rows in self._chunks()])

    def jacobian(self, theta: Tensor) -> FeatureJacobian:
        """Give the Jacobian at theta (n_theta,), and the features with it."""
        return FeatureJacobian(self, theta)

    def _chunks(self) -> Iterator[slice]:
        for start in range(0, len(self.Y), self.chunk):
            yield slice(start, start + self.chunk)

    def _leaves(self, theta: Tensor) -> list[Tensor]:
        leaves, start = [], 0
        for shape in self._shapes:
            leaves.append(theta.detach()[start : start + shape.numel()].view(shape))
            start += shape.numel()
        return leaves

    def _features(self, leaves: list[Tensor], rows: slice) -> Tensor:
        parameters = dict(zip(self._names, leaves, strict=True))
        F: Tensor = torch.func.functional_call(self.module, parameters, (self.Y[rows],))
        return F


class FeatureJacobian:
    """dF/dtheta at one theta, by products only: nothing of size n_samples x n_theta is held.

    `jvp` is the derivative, with respect to the cotangent, of the backward pass. It costs two
    backward passes of one recorded graph, which torch replays without Python.
    """

    def __init__(self, features: Features, theta: Tensor) -> None:
        """Record the graph, if one chunk holds all samples, and keep the features."""
        self._features = features
        self._theta = theta
        single = len(features.Y) <= features.chunk
        self._held = _Graph(features, theta, slice(None)) if single else None
        self.F = self._held.F.detach() if self._held else features(theta)

    def jvp(self, v: Tensor) -> Tensor:
        """Multiply by a vector: (n_theta,) to (n_samples, width)."""
        pieces = self._features._leaves(v)
        return torch.cat([graph.jvp(pieces) for _, graph in self._graphs()])

    def vjp(self, T: Tensor) -> Tensor:
        """Multiply the transpose by cotangents: (n_samples, width) to (n_theta,)."""
        total = T.new_zeros(self._features.n_theta)
        for rows, graph in self._graphs():
            total += graph.vjp(T[rows])
        return total

    def _graphs(self) -> Iterator[tuple[slice, _Graph]]:
        if self._held:
            yield slice(None), self._held
            return
        for rows in self._features._chunks():
            yield rows, _Graph(self._features, self._theta, rows)


class _Graph:
    """The recorded forward pass of one chunk, and its backward pass once `jvp` asks for it."""

    def __init__(self, features: Features, theta: Tensor, rows: slice) -> None:
        self.leaves = [leaf.requires_grad_() for leaf in features._leaves(theta.clone())]
        self.F = features._features(self.leaves, rows)

    @cached_property
    def _backward(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A cotangent, and the gradients as functions of it."""
        cotangent = torch.zeros_like(self.F, requires_grad=True)
        gradients = torch.autograd.grad(
            self.F, self.leaves, cotangent, create_graph=True, materialize_grads=True
        )
        return cotangent, gradients

    def jvp(self, pieces: list[Tensor]) -> Tensor:
        cotangent, gradients = self._backward
        used = [
            (gradient, piece)
            for gradient, piece in zip(gradients, pieces, strict=True)
            if gradient.requires_grad
        ]
        (product,) = torch.autograd.grad(
            [gradient for gradient, _ in used],
            [cotangent],
            [piece for _, piece in used],
            retain_graph=True,
        )
        return product

    def vjp(self, T: Tensor) -> Tensor:
        gradients = torch.autograd.grad(
            self.F, self.leaves, T, retain_graph=True, materialize_grads=True
        )
        return torch.cat([gradient.reshape(-1) for gradient in gradients])


class ReducedJacobian:
    """dR/dtheta of the reduced residual, an operator of shape ((n_samples + m) n_out, n_theta).

    ``J @ v`` and ``J.T @ r`` take and give flat vectors; the residual is flattened by rows. See
    the module's text for the formula.
    """

    def __init__(self, dF: FeatureJacobian, inner: InnerSolution) -> None:
        """Combine the derivative of the features with the inner problem's solution."""
        n, width = dF.F.shape
        if inner.W.shape[1] != width + 1 or len(inner.residual) != n + width + 1:
            raise ValueError(
                f"expected W (n_out, {width + 1}) for features {(n, width)}, "
                f"got {tuple(inner.W.shape)}"
            )
        self._dF = dF
        self._inner = inner
        self._n = n
        self._W = inner.W[:, :width]
        # The part of S^-1 V^T that meets the feature columns; that of ones does not change.
        self._lift = inner.inverse[:, None] * inner.V.T[:, :width]
        self._R = inner.residual[:n]
        self._WtW = self._W.T @ self._W
        self.shape = (inner.residual.numel(), dF._features.n_theta)

    @property
    def T(self) -> Transposed:
        """The transposed operator."""
        return Transposed(self)

    @property
    def gradient(self) -> Tensor:
        """J^T R, the gradient of Phi_red, (n_theta,)."""
        return self._dF.vjp(self._R @ self._W / math.sqrt(self._n))

    def __matmul__(self, v: Tensor) -> Tensor:
        """Multiply by a vector (n_theta,)."""
        _check_vector(v, self.shape[1])
        inner = self._inner
        D = self._dF.jvp(v) / math.sqrt(self._n)
        G = D @ self._W.T
        H = inner.U[: self._n].T @ G + self._lift @ (D.T @ self._R)
        product = -inner.U @ H
        product[: self._n] += G
        return product.reshape(-1)

    def rmatvec(self, r: Tensor) -> Tensor:
        """Multiply the transpose by a vector ((n_samples + m) n_out,)."""
        _check_vector(r, self.shape[0])
        inner = self._inner
        M = r.reshape(inner.residual.shape)
        E = inner.U.T @ M
        T = (M[: self._n] - inner.U[: self._n] @ E) @ self._W - self._R @ (E.T @ self._lift)
        return self._dF.vjp(T / math.sqrt(self._n))

    def gram(self, v: Tensor) -> Tensor:
        """Multiply J^T J by a vector (n_theta,).

        The two parts of J v are orthogonal, so that J^T J is the sum of their Gram matrices, and
        the product costs less than ``J.T @ (J @ v)``: the outputs enter through W^T W alone, and
        through R R^T.
        """
        _check_vector(v, self.shape[1])
        U = self._inner.U[: self._n]
        D = self._dF.jvp(v) / math.sqrt(self._n)
        T = (D - U @ (U.T @ D)) @ self._WtW
        T += self._R @ ((self._R.T @ D) @ (self._lift.T @ self._lift))
        return self._dF.vjp(T / math.sqrt(self._n))


class Transposed:
    """The transpose of a `ReducedJacobian`."""

    def __init__(self, J: ReducedJacobian) -> None:
        """Keep the operator."""
        self._J = J
        self.shape = J.shape[::-1]

    @property
    def T(self) -> ReducedJacobian:
        """The operator itself."""
        return self._J

    def __matmul__(self, r: Tensor) -> Tensor:
        """Multiply by a vector ((n_samples + m) n_out,)."""
        return self._J.rmatvec(r)


def _check_vector(v: Tensor, size: int) -> None:
    if v.shape != (size,):
        raise ValueError(f"expected a vector ({size},), got {tuple(v.shape)}")
