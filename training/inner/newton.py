r"""The inner problem of any loss, by Newton's method, and its derivatives for the outer problem.

At fixed features, Z = [F, 1], with D_i and G_i the second and first derivatives of the loss at the
outputs o_i = W z_i, Phi as a function of W has the gradient G^T Z / N + alpha2 (W - W_ref) and the
Hessian

    H = 1/N sum_i D_i (x) z_i z_i^T + alpha2 I,

of size n_out m, m = n_feat + 1. It is formed from the distinct entries of D_i and of z_i z_i^T, and
factored: W has some hundreds of entries, up to a few thousand. Newton's steps use the outer
method's trust region, whose subproblem the factorisation solves exactly.

By the implicit function theorem, a change dF of the features moves W(theta) by

    dW = -H^-1 (B + E),    B = 1/N sum_i (D_i W dF_i) z_i^T,    E = 1/N sum_i G_i dF_i^T,

and with it the outputs, by dO = dF W^T + Z dW^T. The Gauss-Newton model of Phi_red with the loss's
Hessian (Newman et al. 2021, "Train Like a (Var)Pro") is then, B and E as columns,

    1/N sum_i dO_i^T D_i dO_i + alpha2 ||dW||^2
        = 1/N sum_i (W dF_i)^T D_i (W dF_i) - B^T H^-1 B + E^T H^-1 E:

the split of least squares, where D_i = I and H^-1 comes from an SVD.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from surrogates.errors import InputError

from ..communicator import ALONE, Communicator
from ..trust_region import Multiplier, RadiusRule, cholesky, solve_by_cholesky, solve_factored
from .losses import Loss
from .solution import Inner, Pair
from .tall import Rows, Tall

TOLERANCE = 1e-10
"""Largest norm of the gradient, relative to that at W = 0."""
ITERATIONS = 100
_SHIFT = 1e-12
_CG_ITERATIONS = 15  # about the cost of a factorisation
_UNBOUNDED = 0.1  # outputs that still change by this much grow without limit
_CHUNK = 4096  # samples whose products z z^T are held


Start = Inner | Tensor | None


@dataclass(frozen=True, kw_only=True)
class NewtonSolution(Inner):
    """The minimiser W of Phi at fixed features, for any loss (see the module's text).

    Attributes:
        loss: The loss.
        Z: Features with a last column of ones, this process's rows, (n_samples, m).
        C: Targets, (n_samples, n_out).
        alpha2: Weight of ||W||^2 / 2.
        W: Linear weights, (n_out, m).
        value: Phi.
        gradient_norm: Norm of the gradient with respect to W, relative to that at W = 0.
        iterations: Newton steps taken.
        converged: Whether the gradient has come down to `TOLERANCE`, or to rounding.
        n_samples: N, of all processes.
        comm: The processes.
    """

    loss: Loss
    Z: Tensor
    C: Tensor
    alpha2: float
    W: Tensor
    value: float
    gradient_norm: float
    iterations: int
    converged: bool
    n_samples: int
    comm: Communicator

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of this process, and features."""
        return len(self.Z), self.Z.shape[1] - 1

    @property
    def size(self) -> int:
        """Number of entries of the residual."""
        return (self.n_samples + self.Z.shape[1]) * len(self.W)

    @property
    def phi(self) -> float:
        """The value of Phi."""
        return self.value

    @property
    def gradient(self) -> Tensor:
        """The derivative of min_W Phi with respect to the features, as if W were fixed."""
        return self._G @ self._W

    def push(self, dF: Tensor) -> Tall:
        """Differentiate the residual along a change of the features."""
        by_curvature, by_slope = self._moved(dF)
        dW = -(by_curvature + by_slope)
        return self._residual(dF @ self._W.T + self.Z @ dW.T, dW)

    def pull(self, M: Tall) -> Tensor:
        """Apply the transpose of `push`."""
        Q = (M.rows(slice(None))[:, None] @ self._roots)[:, 0] / math.sqrt(self.n_samples)
        K = self.comm.total(Q.T @ self.Z)[0] + math.sqrt(self.alpha2) * M.last.T
        V = self._solved(K)
        return (Q - self._curved(self.Z @ V.T)) @ self._W - self._G @ V[:, :-1]

    def gram(self, dF: Tensor) -> Tensor:
        """Apply both, with D in place of its roots, and dW eliminated."""
        by_curvature, by_slope = self._moved(dF)
        dO = dF @ self._W.T - self.Z @ by_curvature.T
        return self._curved(dO) @ self._W + self._G @ by_slope[:, :-1]

    def change(self, other: Inner) -> Tall:
        """Return the difference of outputs and weights at other features, as a residual."""
        assert isinstance(other, NewtonSolution)
        return self._residual(other._outputs - self._outputs, other.W - self.W)

    def outer_terms(self, rows: Rows) -> tuple[Tensor, tuple[Pair, Pair]]:
        """Return the terms of the Gauss-Newton matrix: B and E, and the roots of D."""
        outputs, C = self._outputs[rows], self.C[rows]
        L = self._roots[rows] @ self._W / math.sqrt(self.n_samples)
        curved = self.loss.hessian(outputs, C) @ self._W / self.n_samples
        return L, ((self._G[rows], None), (self.Z[rows], curved))

    def corrections(self, plus: Tensor, minus: Tensor) -> tuple[Tensor, Tensor]:
        """Return L^-1 E and L^-1 B, where H = L L^T."""
        none = plus.new_zeros((len(plus), self.Z.shape[1] - plus.shape[1], plus.shape[2]))
        E = torch.cat([plus, none], dim=1)
        columns = [X.reshape(-1, X.shape[2]) for X in (E, minus.transpose(0, 1))]
        E, B = (torch.linalg.solve_triangular(self.factor, X, upper=False) for X in columns)
        return E, B

    @property
    def _W(self) -> Tensor:
        return self.W[:, :-1]

    @cached_property
    def _outputs(self) -> Tensor:
        return self.Z @ self.W.T

    @cached_property
    def _G(self) -> Tensor:
        return self.loss.gradient(self._outputs, self.C) / self.n_samples

    @cached_property
    def _roots(self) -> Tensor:
        return self.loss.roots(self._outputs, self.C)

    @cached_property
    def factor(self) -> Tensor:
        """The Cholesky factor of H, with the least shift that makes it positive definite."""
        H = hessian(self.loss, self.Z, self._outputs, self.C, self.alpha2, self.comm)
        shift = 1e-15 * float(H.diagonal().sum())
        while (
            factor := cholesky(H + shift * torch.eye(len(H), dtype=H.dtype, device=H.device))
        ) is None:
            shift *= 10
        return factor

    def _solved(self, K: Tensor) -> Tensor:
        return solve_factored(self.factor, K)

    def _moved(self, dF: Tensor) -> tuple[Tensor, Tensor]:
        """Return H^-1 B and H^-1 E for a change of the features, both (n_out, m)."""
        B = self._curved(dF @ self._W.T).T @ self.Z
        E = torch.nn.functional.pad(self._G.T @ dF, (0, 1))
        B, E = self.comm.total(B, E)
        return self._solved(B), self._solved(E)

    def _curved(self, dO: Tensor) -> Tensor:
        """Multiply by D / N, sample by sample."""
        return self._D(dO) / self.n_samples

    @cached_property
    def _D(self) -> Callable[[Tensor], Tensor]:
        return self.loss.hvp(self._outputs, self.C)

    def _residual(self, dO: Tensor, dW: Tensor) -> Tall:
        rows = (self._roots @ dO[:, :, None])[:, :, 0] / math.sqrt(self.n_samples)
        eye = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
        last = math.sqrt(self.alpha2) * dW.T
        return Tall(parts=((rows, eye),), last=last, n_samples=self.n_samples, comm=self.comm)


def minimise(
    loss: Loss,
    Z: Tensor,
    C: Tensor,
    alpha2: float,
    start: Start = None,
    W_ref: Tensor | None = None,
    *,
    comm: Communicator = ALONE,
) -> NewtonSolution:
    """Minimise Phi over W at fixed features, by Newton's method.

    A known factor, of the solution to start from or of the last exact step, preconditions conjugate
    gradients, so that no Hessian is formed. Without one, and if these take long or lead uphill, or
    H may be singular (alpha2 = 0), steps are exact, in a trust region.

    Args:
        loss: The loss.
        Z: Features with a last column of ones, (n_samples, m), float64.
        C: Targets, (n_samples, n_out).
        alpha2: Weight of ||W - W_ref||^2 / 2, >= 0.
        start: A solution at features nearby, or a W, (n_out, m), to start from. It is W_ref if
            None, or if Phi is less at W_ref.
        W_ref: (n_out, m); zero if None.
        comm: The processes that the samples are divided over.

    Raises:
        InputError: If the outputs grow without limit, so that there is no minimum: alpha2 = 0, and
            data that the features separate.
    """
    objective = _Objective(loss, Z, C, alpha2, W_ref, comm, comm.count(len(Z)))
    search = _Search(objective, start)
    search.run()
    search.check_bounded()
    return search.solution()


class _Iterate(NamedTuple):
    W: Tensor
    outputs: Tensor
    phi: float
    gradient: Tensor
    norm: float


@dataclass(frozen=True)
class _Objective:
    """Phi as a function of W; the fields are the arguments of `minimise`."""

    loss: Loss
    Z: Tensor
    C: Tensor
    alpha2: float
    W_ref: Tensor | None
    comm: Communicator
    n_samples: int

    def at(self, W: Tensor) -> _Iterate:
        """Evaluate Phi and its gradient."""
        outputs = self.Z @ W.T
        value = self.loss.values(outputs, self.C).sum() / self.n_samples
        gradient = self.loss.gradient(outputs, self.C).T @ self.Z / self.n_samples
        value, gradient = self.comm.total(value, gradient)
        away = W if self.W_ref is None else W - self.W_ref
        gradient += self.alpha2 * away
        phi = float(value) + self.alpha2 / 2 * float(away.square().sum())
        return _Iterate(W, outputs, phi, gradient, float(gradient.norm()))

    def hvp(self, here: _Iterate) -> Callable[[Tensor], Tensor]:
        """Return the function that multiplies the Hessian by a change of W."""
        hvp = self.loss.hvp(here.outputs, self.C)

        def product(V: Tensor) -> Tensor:
            (total,) = self.comm.total(hvp(self.Z @ V.T).T @ self.Z / self.n_samples)
            return total + self.alpha2 * V

        return product

    def exact_step(self, here: _Iterate, radius: float) -> tuple[Tensor, Tensor] | None:
        """Return a step within the radius, and the factor that it comes from."""
        H = hessian(self.loss, self.Z, here.outputs, self.C, self.alpha2, self.comm)
        if self.alpha2 == 0:
            # Rounding must not move W where H vanishes, for example along equal outputs.
            H.diagonal().add_(_SHIFT * H.diagonal().mean())
        found = solve_by_cholesky(H, here.gradient.reshape(-1), radius, Multiplier())
        return (found[0].view(here.W.shape), found[2]) if found else None


class _Search:
    """Newton's method: the iterate, the radius, and the factor of the last exact step."""

    def __init__(self, objective: _Objective, start: Start) -> None:
        """Choose the first W."""
        Z, C = objective.Z, objective.C
        self._objective = objective
        self._here = objective.at(Z.new_zeros((C.shape[1], Z.shape[1])))
        self._limit = TOLERANCE * self._here.norm
        if objective.W_ref is not None:
            self._here = objective.at(objective.W_ref)
        self._factor = start.factor if isinstance(start, NewtonSolution) else None
        if start is not None:
            there = objective.at(start if isinstance(start, Tensor) else start.W)
            self._here = there if there.phi < self._here.phi else self._here
        self._rule = RadiusRule()
        self._radius = 1e3 * (1.0 + float(self._here.W.norm()))
        self._iterations = 0
        self._last = self._here.outputs[:0]
        self._stalled = False

    def run(self) -> None:
        """Iterate to the minimum, or until no step decreases Phi."""
        going = True
        while going and self._here.norm > self._limit and self._iterations < ITERATIONS:
            self._iterations += 1
            going = self._advance()

    def _advance(self) -> bool:
        """Try a step; return whether another one may gain more."""
        here, hvp, step = self._here, self._objective.hvp(self._here), None
        if self._factor is not None and self._objective.alpha2 > 0:
            step = conjugate_gradients(hvp, here.gradient, self._factor, 0.5 * self._limit)
        by_iteration = step is not None
        if step is None:
            found = self._objective.exact_step(here, self._radius)
            if found is None:
                return False
            step, self._factor = found
        predicted = -float((here.gradient * step).sum() + (step * hvp(step)).sum() / 2)
        trial = self._objective.at(here.W + step)
        # Near the minimum rounding of Phi hides the decrease; the gradient still shows it.
        resolved = predicted > 1e-10 * abs(here.phi)
        ratio = (here.phi - trial.phi) / predicted if resolved else float(trial.norm < here.norm)
        accepted = ratio > self._rule.accept
        if by_iteration:
            self._factor = self._factor if accepted else None
        else:
            length = float(step.norm())
            self._stalled = not (accepted or resolved) and length < self._radius / 2
            self._radius = self._rule.next_radius(self._radius, length, ratio)
        if accepted:
            self._last = trial.outputs - here.outputs
            self._here = trial
        return accepted or resolved or by_iteration

    def check_bounded(self) -> None:
        """Raise `InputError` if the outputs grow without limit."""
        far = int((self._last.abs() > _UNBOUNDED).sum())
        if self._objective.alpha2 == 0 and self._objective.comm.count(far) > 0:
            raise InputError(
                "with alpha2 = 0 the loss has no minimum: the features separate the training "
                "samples, and the weights W grow without limit; take regularisation.alpha2 > 0"
            )

    def solution(self) -> NewtonSolution:
        """Return the last iterate as a solution."""
        objective, here = self._objective, self._here
        return NewtonSolution(
            loss=objective.loss,
            Z=objective.Z,
            C=objective.C,
            alpha2=objective.alpha2,
            W=here.W,
            value=here.phi,
            gradient_norm=here.norm * TOLERANCE / self._limit if self._limit else 0.0,
            iterations=self._iterations,
            converged=here.norm <= self._limit or self._stalled,
            n_samples=objective.n_samples,
            comm=objective.comm,
        )


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], g: Tensor, factor: Tensor, limit: float
) -> Tensor | None:
    """Solve H s = -g by conjugate gradients, preconditioned by the Cholesky factor of another H.

    Args:
        product: Multiplies an array of the shape of g by H.
        g: Right-hand side.
        factor: Lower, (g.numel(), g.numel()).
        limit: Norm of the residual to stop at; a hundredth of g's norm suffices for a Newton step.

    Returns:
        s, or None if that takes too many iterations, or H is not positive.
    """
    limit = max(limit, 1e-2 * float(g.norm()))
    s, r = torch.zeros_like(g), -g
    direction, weight = r, 0.0
    for _ in range(_CG_ITERATIONS):
        z = solve_factored(factor, r)
        before, weight = weight, float((r * z).sum())
        direction = z if before == 0 else z + weight / before * direction
        curved = product(direction)
        slope = float((direction * curved).sum())
        if not slope > 0:
            return None
        s = s + weight / slope * direction
        r = r - weight / slope * curved
        if float(r.norm()) <= limit:
            return s
    return None


def hessian(
    loss: Loss, Z: Tensor, outputs: Tensor, C: Tensor, alpha2: float, comm: Communicator = ALONE
) -> Tensor:
    """Compute the Hessian of Phi in W, by rows, (n_out m, n_out m).

    It has two pairs of symmetric indices: one product of matrices computes the distinct entries.
    """
    n_out, m = C.shape[1], Z.shape[1]
    i, j = torch.tril_indices(n_out, n_out, device=Z.device)
    a, b = torch.tril_indices(m, m, device=Z.device)
    total = Z.new_zeros((len(i), len(a)))
    for z, o, c in zip(*(torch.split(X, _CHUNK) for X in (Z, outputs, C)), strict=True):
        squares = torch.cat([z[:, k : k + 1] * z[:, : k + 1] for k in range(m)], dim=1)
        total.addmm_(loss.hessian(o, c)[:, i, j].T, squares)
    total = comm.total(total)[0] / comm.count(len(Z))
    blocks = Z.new_empty((len(i), m, m))
    blocks[:, a, b] = blocks[:, b, a] = total
    H = Z.new_empty((n_out, m, n_out, m))
    H[i, :, j] = H[j, :, i] = blocks
    H = H.view(n_out * m, n_out * m)
    H.diagonal().add_(alpha2)
    return H
