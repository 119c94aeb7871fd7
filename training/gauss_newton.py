"""Gauss-Newton steps for the reduced problem: Lanczos model, trust region, honest accounting."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .krylov import lanczos
from .trust_region import RadiusRule, solve_subproblem
from .varpro import Features, InnerSolution, ReducedJacobian, with_ones


@dataclass(frozen=True, kw_only=True)
class Point:
    """A theta and what is known there.

    Attributes:
        theta: Parameters, (n_theta,).
        F: Features, (n_samples, width).
        inner: The inner problem's solution.
        phi: Phi_red.
    """

    theta: Tensor
    F: Tensor
    inner: InnerSolution
    phi: float


@dataclass(frozen=True, kw_only=True)
class ReducedProblem:
    """Phi_red(theta) = min_W Phi(W, theta) + alpha1/2 ||theta||^2 (see `varpro`).

    Attributes:
        features: The features as a function of theta.
        C: Targets, (n_samples, n_out) float64.
        alpha1: Weight of ||theta||^2, >= 0.
        alpha2: Weight of ||W||^2, >= 0.
    """

    features: Features
    C: Tensor
    alpha1: float
    alpha2: float

    def at(self, theta: Tensor, F: Tensor | None = None) -> Point | None:
        """Solve the inner problem at theta, whose features F may be known already.

        Returns:
            The point, or None if the features there are not finite.
        """
        F = self.features(theta) if F is None else F
        if not torch.isfinite(F).all():
            return None
        inner = InnerSolution.of(with_ones(F), self.C, self.alpha2)
        phi = inner.phi + self.alpha1 / 2 * float(theta.square().sum())
        return Point(theta=theta, F=F, inner=inner, phi=phi)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one iteration did.

    Attributes:
        point: Where it arrived; where it started if no step was accepted.
        gradient_norm: Norm of the gradient before the step.
        radius: Trust-region radius for the next iteration.
        ratio: Actual over predicted decrease of the last step tried; NaN if none was.
        rank: Number of Krylov vectors.
        work_units: Cost of the iteration.
        accepted: Whether a step was accepted. If not, the gradient was zero, the work units ran
            out, or steps down to rounding were rejected.
    """

    point: Point
    gradient_norm: float
    radius: float
    ratio: float
    rank: int
    work_units: int
    accepted: bool


@dataclass(frozen=True, kw_only=True)
class GaussNewton:
    """The outer method, GNvpro of Newman et al. 2021.

    Work units are counted as there: 2 for a forward and a backward pass, 2 for each Krylov
    vector, hence 2 + 2 rank for an iteration. A step that is tried again with a smaller radius
    after a rejection reuses the subspace, and costs 1, its forward pass.

    Attributes:
        rank: Largest number of Krylov vectors.
        tolerance: Relative residual at which Lanczos stops.
        rule: The trust region's rule.
    """

    rank: int = 20
    tolerance: float = 1e-2
    rule: RadiusRule = field(default_factory=RadiusRule)

    def step(self, problem: ReducedProblem, theta: Tensor, radius: float, budget: int) -> Step:
        """Take one step.

        Args:
            problem: What to minimise.
            theta: Where to start, (n_theta,).
            radius: Trust-region radius, > 0.
            budget: Work units left, at least 4: the rank is cut to stay within them.

        Raises:
            ValueError: If the features at ``theta`` are not finite.
        """
        dF = problem.features.jacobian(theta)
        here = problem.at(theta, dF.F)
        if here is None:
            raise ValueError("expected finite features at the starting point")
        J = ReducedJacobian(dF, here.inner)
        gradient = J.gradient + problem.alpha1 * theta
        gradient_norm = float(torch.linalg.vector_norm(gradient))
        work, rank, ratio, accepted = 2, 0, math.nan, False
        if gradient_norm > 0:
            space = lanczos(
                lambda v: J.gram(v) + problem.alpha1 * v,
                gradient,
                min(self.rank, (budget - 2) // 2),
                self.tolerance,
            )
            rank = space.rank
            work += 2 * rank
            resolution = 1e-14 * (float(torch.linalg.vector_norm(theta)) or 1.0)
            while True:
                s = solve_subproblem(space.H, space.g, radius)
                length = float(torch.linalg.vector_norm(s))
                predicted = -float(space.g @ s + s @ (space.H @ s) / 2)
                trial = problem.at(theta + space.Q @ s)
                decrease = here.phi - trial.phi if trial else -math.inf
                ratio = decrease / predicted if predicted > 0 else -math.inf
                radius = self.rule.next_radius(radius, length, ratio)
                if trial and ratio > self.rule.accept:
                    accepted, here = True, trial
                    break
                if work >= budget or radius <= resolution:
                    break
                work += 1
        return Step(
            point=here,
            gradient_norm=gradient_norm,
            radius=radius,
            ratio=ratio,
            rank=rank,
            work_units=work,
            accepted=accepted,
        )
