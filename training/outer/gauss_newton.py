"""Gauss-Newton steps for the reduced problem: two models, a trust region, work units."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..features import Features
from ..inner.losses import LeastSquares, Loss
from ..inner.newton import Start
from ..inner.solution import Inner, ReducedJacobian
from ..inner.solve import solve
from ..known import CORRECTION, least
from ..trust_region import (
    Multiplier,
    RadiusRule,
    solve_by_cholesky,
    solve_factored,
    solve_subproblem,
)
from .dense import Structure, gauss_newton_matrix
from .krylov import lanczos
from .penalty import Penalty

Memory = Mapping[str, Tensor]
"""The tensors that a method keeps from step to step, and a checkpoint stores."""


def only(memory: Memory, *names: str) -> Memory:
    """Return the entries of a memory with these names."""
    return {name: memory[name] for name in names if name in memory}


@dataclass(frozen=True, kw_only=True)
class Point:
    """Weights, with the features and Phi there.

    Attributes:
        theta: Parameters, (n_theta,).
        F: Features, (n_rows, width).
        W: Linear weights, (n_out, width + 1).
        phi: Phi.
    """

    theta: Tensor
    F: Tensor
    W: Tensor
    phi: float


@dataclass(frozen=True, kw_only=True)
class ReducedPoint(Point):
    """A theta with W(theta), where Phi is Phi_red.

    Attributes:
        inner: The inner problem's solution.
    """

    inner: Inner


@dataclass(frozen=True, kw_only=True)
class ReducedProblem:
    """Phi_red(theta) = min_W Phi(W, theta), the penalty on theta included.

    `losses` and `penalty` say what Phi is.

    Attributes:
        features: The features as a function of theta.
        C: Targets, (n_rows, n_out) float64, finite: rows of derivatives follow those of samples.
        alpha1: Weight of the penalty on theta, >= 0.
        alpha2: Weight of ||W - W_ref||^2, >= 0.
        loss: The loss.
        smooth: Whether the penalty prefers weights that are smooth in time.
        theta_ref: Where the penalty on theta is zero, (n_theta,); zero if None.
        W_ref: (n_out, width + 1); zero if None.
        W_first: Start of iterations for W if no solution nearby is known; W_ref if None.
    """

    features: Features
    C: Tensor
    alpha1: float
    alpha2: float
    loss: Loss = field(default_factory=LeastSquares)
    smooth: bool = False
    theta_ref: Tensor | None = None
    W_ref: Tensor | None = None
    W_first: Tensor | None = None

    @cached_property
    def structure(self) -> Structure:
        """The derivatives of the features for the dense model."""
        return Structure(self.features)

    @cached_property
    def penalty(self) -> Penalty:
        """The penalty on theta."""
        return Penalty(
            self.features.module, self.alpha1, smooth=self.smooth, theta_ref=self.theta_ref
        )

    def at(
        self, theta: Tensor, F: Tensor | None = None, start: Start = None
    ) -> ReducedPoint | None:
        """Solve the inner problem at theta.

        Args:
            theta: Parameters, (n_theta,).
            F: The features there, if they are known.
            start: A solution nearby, or its W, from which iterations start.

        Returns:
            The point, or None if the features there are not finite, or the solution is not found.
        """
        Z = self.features.design(self.features(theta) if F is None else F)
        comm = self.features.comm
        if comm.count(int(torch.isfinite(Z).logical_not().sum())) > 0:
            return None
        start = self.W_first if start is None else start
        n_samples = self.features.n_samples
        known = (self.loss, Z, self.C, self.alpha2, start, self.W_ref)
        inner = solve(*known, comm=comm, n_samples=n_samples)
        if not inner.converged:
            return None
        phi = inner.phi + self.penalty.value(theta)
        return ReducedPoint(theta=theta, F=Z[:, :-1], W=inner.W, phi=phi, inner=inner)

    def linearised(
        self, theta: Tensor, start: Start = None
    ) -> tuple[ReducedPoint, ReducedJacobian, Tensor]:
        """Return the point, the residual's Jacobian and the gradient at theta.

        Raises:
            ValueError: If the features there are not finite, or the inner problem is not solved.
        """
        dF = self.features.jacobian(theta)
        here = self.at(theta, dF.F, start)
        if here is None:
            raise ValueError("expected finite features, and a W, at the starting point")
        J = ReducedJacobian(dF, here.inner)
        return here, J, J.gradient + self.penalty.gradient(theta)

    def kept(self, memory: Memory, point: Point) -> Memory:
        """Return the memory, with the W to start the next inner solution from if that iterates."""
        return {**memory, "W": point.W} if self.loss.iterative else memory


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A step that a model proposes.

    Attributes:
        s: The step in theta, (n_theta,).
        length: Length of the model's minimiser, before any correction.
        predicted: Decrease that the model predicts for the minimiser.
    """

    s: Tensor
    length: float
    predicted: float


class Model(ABC):
    """Phi_red near a point: a quadratic, and its minimiser within a radius.

    Attributes:
        rank: Dimension of the space that steps are sought in.
        work_units: Cost of the model, the point's forward pass and the gradient included.
        proposal: Cost of a proposal, without the trial.
        multiplier: The last trust region's Lagrange multiplier, a first guess for the next.
    """

    rank: int
    work_units: int
    proposal: int = 0
    multiplier: Multiplier = Multiplier()

    @abstractmethod
    def propose(self, radius: float) -> Proposal:
        """Minimise the model within a radius."""


class KrylovModel(Model):
    """The Gauss-Newton matrix on a Krylov space, as in the paper: 2 work units a vector."""

    def __init__(self, apply: Callable[[Tensor], Tensor], gradient: Tensor, **limits: Any) -> None:
        """Build the space; ``apply`` multiplies by the matrix, limits are those of `lanczos`."""
        self._space = lanczos(apply, gradient, **limits)
        self.rank = self._space.rank
        self.work_units = 2 + 2 * self.rank

    def propose(self, radius: float) -> Proposal:
        """Minimise the model within a radius."""
        space = self._space
        s = solve_subproblem(space.H, space.g, radius)
        return Proposal(
            s=space.Q @ s,
            length=float(torch.linalg.vector_norm(s)),
            predicted=-float(space.g @ s + s @ (space.H @ s) / 2),
        )


class DenseModel(Model):
    """The Gauss-Newton matrix of `dense`, and a second-order correction of its steps.

    The correction is that of Transtrum and Sethna (2012, "Improvements to the Levenberg-Marquardt
    algorithm for nonlinear least-squares minimization"): with R'' the second derivative of the
    reduced residual along s, the step is s + a / 2, (H + shift I) a = -J^T R''. R'' is a finite
    difference along s; a is cut to 3/4 of the length of s. The corrected step follows curved
    valleys, where the trust region is small. It costs one forward pass, and one product each with J
    and its transpose.
    """

    def __init__(
        self,
        problem: ReducedProblem,
        here: ReducedPoint,
        J: ReducedJacobian,
        gradient: Tensor,
        multiplier: Multiplier,
    ) -> None:
        """Compute the matrix."""
        self._problem, self._here, self._J = problem, here, J
        self._g = problem.structure.coordinates(gradient)
        self._H = gauss_newton_matrix(problem.structure, here.theta, here.inner)
        problem.penalty.add_to(self._H)
        self.rank = len(self._g)
        self.multiplier = multiplier
        self.proposal = CORRECTION
        self.work_units = least("gnvpro", "dense", problem.features.trained) - self.proposal

    def propose(self, radius: float) -> Proposal:
        """Minimise the model within a radius, and correct the step; zero if H overflows."""
        H, g = self._H, self._g
        found = solve_by_cholesky(H, g, radius, self.multiplier)
        if found is None:
            return Proposal(s=torch.zeros_like(self._here.theta), length=0.0, predicted=0.0)
        z, self.multiplier, factor = found
        predicted = -float(g @ z + z @ (H @ z) / 2)
        structure = self._problem.structure
        s = structure.parameters_at(z)
        curvature = self._curvature(s)
        if curvature is not None:
            a = -solve_factored(factor, structure.coordinates(curvature))
            ratio = float(torch.linalg.vector_norm(a) / torch.linalg.vector_norm(z))
            s = s + min(1.0, 0.75 / ratio if ratio > 0 else 1.0) / 2 * structure.parameters_at(a)
        return Proposal(
            s=s,
            length=float(torch.linalg.vector_norm(z)),
            predicted=predicted,
        )

    def _curvature(self, s: Tensor) -> Tensor | None:
        """Return J^T R'' along s, (n_theta,); None where the features overflow."""
        here = self._here
        there = self._problem.at(here.theta + _DIFFERENCE * s, start=here.inner)
        if there is None:
            return None
        change = here.inner.change(there.inner)
        return self._J.T @ (change - self._J @ (_DIFFERENCE * s)) * (2 / _DIFFERENCE**2)


_DIFFERENCE = 0.1


@dataclass(frozen=True, kw_only=True)
class Step:
    """The result of one iteration.

    Attributes:
        point: The new point; the old one if no step was accepted.
        gradient_norm: Norm of the gradient before the step.
        radius: Trust-region radius for the next iteration.
        ratio: Actual over predicted decrease of the last step tried; NaN if no step was tried.
        rank: Dimension of the model.
        work_units: Cost of the iteration.
        accepted: Whether a step was accepted. If not, the gradient was zero, the work units ran
            out, or steps down to rounding were rejected.
        memory: What the method keeps for the next iteration.
    """

    point: Point
    gradient_norm: float
    radius: float
    ratio: float
    rank: int
    work_units: int
    accepted: bool
    memory: Memory = field(default_factory=dict)


def step_within(
    at: Callable[[Tensor], Point | None],
    x: Tensor,
    here: Point,
    gradient: Tensor,
    model_of: Callable[[], Model],
    *,
    radius: float,
    budget: int,
    rule: RadiusRule,
) -> Step:
    """Take one step within a trust region; reduce the radius until a step is accepted.

    Args:
        at: Returns the point at variables; None if the features there are not finite.
        x: The variables to start from.
        here: Their point.
        gradient: The objective's gradient there.
        model_of: Makes the model; not called if the gradient is zero.
        radius: Trust-region radius, > 0.
        budget: Work units left.
        rule: The trust region's rule.
    """
    gradient_norm = float(torch.linalg.vector_norm(gradient))
    work, rank, ratio, accepted = 2, 0, math.nan, False
    memory: Memory = {}
    if gradient_norm > 0:
        model = model_of()
        rank = model.rank
        work = model.work_units
        resolution = 1e-14 * (float(torch.linalg.vector_norm(x)) or 1.0)
        while True:
            proposal = model.propose(radius)
            work += model.proposal
            trial = at(x + proposal.s)
            decrease = here.phi - trial.phi if trial else -math.inf
            predicted = proposal.predicted
            ratio = decrease / predicted if predicted > 0 else -math.inf
            radius = rule.next_radius(radius, proposal.length, ratio)
            if trial and ratio > rule.accept:
                accepted, here = True, trial
                break
            if work + 1 + model.proposal > budget or radius <= resolution:
                break
            work += 1
        memory = {"multiplier": torch.tensor(model.multiplier, dtype=torch.float64)}
    return Step(
        point=here,
        gradient_norm=gradient_norm,
        radius=radius,
        ratio=ratio,
        rank=rank,
        work_units=work,
        accepted=accepted,
        memory=memory,
    )


@dataclass(frozen=True, kw_only=True)
class GaussNewton:
    """The outer method, GNvpro of Newman et al. 2021, with one of two models.

    Work units are counted as in the paper: 2 for a forward and a backward pass, 2 for each Krylov
    vector, hence 2 + 2 rank for an iteration. The dense model costs 2, 1 for each feature's
    backward pass, and 3 for the correction. A step after a rejection reuses the model, and costs 1
    for its forward pass, and the correction.

    Attributes:
        dense: Whether the model is dense.
        rank: Largest number of Krylov vectors.
        tolerance: Relative residual at which Lanczos stops.
        rule: The trust region's rule.
    """

    dense: bool = False
    rank: int = 20
    tolerance: float = 1e-2
    rule: RadiusRule = field(default_factory=RadiusRule)

    def least(self, width: int) -> int:
        """Return the work units of the cheapest iteration."""
        return least("gnvpro", "dense" if self.dense else "krylov", width)

    def step(
        self,
        problem: ReducedProblem,
        theta: Tensor,
        radius: float,
        budget: int,
        memory: Memory | None = None,
    ) -> Step:
        """Take one step.

        Args:
            problem: The problem to minimise.
            theta: The point to start from, (n_theta,).
            radius: Trust-region radius, > 0.
            budget: Work units left, at least `least`: the rank is cut to stay within them.
            memory: The last step's memory: ``multiplier`` is a first guess of the Lagrange
                multiplier, ``W`` of the inner solution.

        Raises:
            ValueError: If the features at ``theta`` are not finite.
        """
        memory = memory or {}
        here, J, gradient = problem.linearised(theta, memory.get("W"))

        def model() -> Model:
            if self.dense:
                last = memory.get("multiplier")
                guess = Multiplier() if last is None else Multiplier(*last.tolist())
                return DenseModel(problem, here, J, gradient, guess)
            rank = min(self.rank, (budget - 2) // 2)
            return KrylovModel(
                lambda v: J.gram(v) + problem.penalty.times(v),
                gradient,
                rank=rank,
                tolerance=self.tolerance,
            )

        def at(x: Tensor) -> Point | None:
            return problem.at(x, start=here.inner)

        step = step_within(
            at, theta, here, gradient, model, radius=radius, budget=budget, rule=self.rule
        )
        return replace(step, memory=problem.kept(step.memory, step.point))

    def carried(self, memory: Memory) -> Memory:
        """Return the part of the memory that the next level starts with: W, if it is kept."""
        return only(memory, "W")
