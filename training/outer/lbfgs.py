r"""L-BFGS with variable projection, on Phi_red(theta), from any initial matrix.

With the matrix of `kronecker` it is a method of GNvpro. With the usual multiple of the identity it
is compared with GNvpro, and is the warm-up of GNvpro's dense method.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..inner.solution import Inner
from ..known import least
from .gauss_newton import Memory, ReducedPoint, ReducedProblem, Step, only


class Initial(ABC):
    """An initial matrix of L-BFGS, symmetric and positive definite."""

    @abstractmethod
    def solve(self, v: Tensor) -> Tensor:
        """Multiply its inverse by a vector (n_theta,)."""


@dataclass(frozen=True, kw_only=True)
class LBFGS:
    """L-BFGS with variable projection (Nocedal and Wright 2006, "Numerical Optimization", 7.2).

    The line search brackets a step that decreases Phi_red enough, and whose slope has risen enough
    (Lewis and Overton 2013, "Nonsmooth optimization via quasi-Newton methods"), which keeps the
    matrix positive definite. The first step of a level has the length of the radius; the radius is
    then the length of the last step. A value with its gradient costs 2 work units. A subclass may
    bring its own initial matrix (see `kronecker`).

    Attributes:
        size: Number of pairs that are remembered.
        decrease: Part of the tangent's decrease that a step must reach.
        slope: Part of the first slope that a step may leave.
        trials: Largest number of steps tried.
    """

    size: int = 10
    decrease: float = 1e-4
    slope: float = 0.9
    trials: int = 20

    def least(self, width: int) -> int:
        """Return the work units of a level's first iteration: its start, and a step."""
        return least("lbfgs", None, width)

    def step(
        self, problem: ReducedProblem, theta: Tensor, radius: float, budget: int, memory: Memory
    ) -> Step:
        """Take one step in theta."""
        first = "gradient" not in memory
        if first:
            here, _, gradient = problem.linearised(theta, memory.get("W"))
            s = y = theta.new_zeros((0, len(theta)))
            work = 2
        else:
            found = problem.at(theta, start=memory.get("W"))
            if found is None:
                raise ValueError("expected finite features at the starting point")
            here, gradient, work = found, memory["gradient"], 0
            s, y = memory["s"], memory["y"]
        norm = float(torch.linalg.vector_norm(gradient))
        initial, kept, cost = self.initial(problem, here, memory, budget - work)
        work += cost
        direction = -inverse_times(s, y, gradient, initial)
        if first and norm > 0:
            longest = radius / float(torch.linalg.vector_norm(direction))
            direction *= longest if initial is None else min(longest, 1.0)
        new, ratio, cost = self._searched(problem, here, gradient, direction, budget - work)
        if new is not None:
            s, y = _remember(s, y, new[0].theta - theta, new[1] - gradient, self.size)
            here, gradient = new
            radius = float(torch.linalg.vector_norm(here.theta - theta))
        return Step(
            point=here,
            gradient_norm=norm,
            radius=radius,
            ratio=ratio,
            rank=len(s),
            work_units=work + cost,
            accepted=new is not None,
            memory=problem.kept({**kept, "s": s, "y": y, "gradient": gradient}, here),
        )

    def initial(
        self, problem: ReducedProblem, here: ReducedPoint, memory: Memory, budget: int
    ) -> tuple[Initial | None, Memory, int]:
        """Return the initial matrix, its part of the memory, and its work units.

        Args:
            problem: The problem to minimise.
            here: The point that the step starts from.
            memory: The last step's memory.
            budget: Work units left.
        """
        return None, {}, 0

    def _searched(
        self,
        problem: ReducedProblem,
        here: ReducedPoint,
        gradient: Tensor,
        direction: Tensor,
        budget: int,
    ) -> tuple[tuple[ReducedPoint, Tensor] | None, float, int]:
        """Search along a line; return a point with its gradient, the ratio, and work units."""
        slope = float(gradient @ direction)
        new, low, high, t = None, 0.0, math.inf, 1.0
        ratio, work = math.nan, 0
        for _ in range(self.trials if slope < 0 else 0):
            if work + 2 > budget:
                break
            work += 2
            trial = _evaluate(problem, here.theta + t * direction, here.inner)
            decrease = here.phi - trial[0].phi if trial else -math.inf
            if trial is None or not decrease > -self.decrease * t * slope:
                high = t
                # The minimum of the parabola through the known values, kept inside the bracket.
                least = -slope * t * t / (2 * (slope * -t - decrease)) if trial else low
                t = min(max(least, low + 0.1 * (high - low)), low + 0.5 * (high - low))
                continue
            new, ratio = trial, -decrease / (t * slope)
            if float(trial[1] @ direction) >= self.slope * slope:
                break
            low = t
            t = 2 * t if math.isinf(high) else (low + high) / 2
        return new, ratio, work

    def carried(self, memory: Memory) -> Memory:
        """Return the part of the memory that the next level starts with: W, if it is kept."""
        return only(memory, "W")


def _evaluate(
    problem: ReducedProblem, theta: Tensor, start: Inner
) -> tuple[ReducedPoint, Tensor] | None:
    """Return the point and the gradient at theta; None if the point is not found."""
    try:
        here, _, gradient = problem.linearised(theta, start)
    except ValueError:
        return None
    return here, gradient


def inverse_times(s: Tensor, y: Tensor, gradient: Tensor, initial: Initial | None = None) -> Tensor:
    """Multiply the inverse Hessian of the pairs s, y, oldest first, by the gradient.

    The initial matrix (the unit matrix if None) is scaled to the last pair.
    """
    q = gradient.clone()
    weights = []
    for a, b in zip(s.flip(0), y.flip(0), strict=True):
        weight = (a @ q) / (a @ b)
        weights.append(weight)
        q -= weight * b
    if initial is not None:
        q = initial.solve(q)
    if len(s):
        scaled = y[-1] if initial is None else initial.solve(y[-1])
        q *= (s[-1] @ y[-1]) / (y[-1] @ scaled)
    for a, b, weight in zip(s, y, reversed(weights), strict=True):
        q += (weight - (b @ q) / (a @ b)) * a
    return q


def _remember(
    s: Tensor, y: Tensor, step: Tensor, change: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """Append a pair if its curvature is positive, and drop the oldest pairs beyond the size."""
    if not float(step @ change) > 1e-14 * float(step.norm() * change.norm()):
        return s, y
    old = slice(max(0, len(s) + 1 - size), None)
    return torch.cat([s[old], step[None]]), torch.cat([y[old], change[None]])
