r"""Other outer methods, to compare GNvpro with: same network, data, history and work units.

    gn      Gauss-Newton without variable projection, on theta and W together
    lbfgs   L-BFGS with variable projection, on Phi_red(theta)
    adam    Adam on theta and W together, by mini-batches
    sgd     stochastic gradients with momentum, likewise

Each is a `multilevel.Method`. Methods that hold a W of their own carry it on from level to level.
They start from a regularised least-squares solution at the first theta, and not from W(theta): the
features start nearly linear, hence nearly dependent where there are few inputs, and a large W is
one that steps in theta and W together do not get away from. How strong each method wants it was
measured on convection-diffusion-reaction and DC resistivity.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from surrogates.model.networks import with_ones

from ..features import FeatureJacobian
from ..inner.losses import outputs_of
from ..inner.solution import Inner
from ..inner.tall import Tall
from ..trust_region import RadiusRule
from .gauss_newton import (
    KrylovModel,
    Memory,
    Point,
    ReducedPoint,
    ReducedProblem,
    Step,
    only,
    step_within,
)


def _point(problem: ReducedProblem, theta: Tensor, W: Tensor, F: Tensor | None = None) -> Point:
    """Evaluate Phi(W, theta)."""
    F = problem.features(theta) if F is None else F
    comm = problem.features.comm
    total = F.new_zeros(())
    for rows, outputs in outputs_of(F, W):
        total += problem.loss.values(outputs, problem.C[rows]).sum()
    away = _away(problem, W)
    weights = problem.penalty.value(theta) + problem.alpha2 / 2 * float(away.square().sum())
    phi = float(comm.total(total)[0]) / comm.count(len(F)) + weights
    return Point(theta=theta, F=F, W=W, phi=phi)


def _away(problem: ReducedProblem, W: Tensor) -> Tensor:
    """Return W - W_ref."""
    return W if problem.W_ref is None else W - problem.W_ref


def _own_W(problem: ReducedProblem, theta: Tensor, memory: Memory, ridge: float) -> Tensor:
    """Give the W that a method holds, or the one that it starts from."""
    if "W" in memory:
        return memory["W"]
    found = replace(problem, alpha2=ridge).at(theta)
    if found is None:
        raise ValueError("expected finite features at the starting point")
    return found.W


class JointJacobian:
    """The Jacobian J of the residual of Phi in x = [theta, W by rows], by products only.

    The residual is [(Z W^T - C) / sqrt(N), sqrt(alpha1) theta, sqrt(alpha2) W], less theta_ref and
    W_ref, so that Phi is half its squared norm, or, for any other loss or penalty, one of the same
    Gauss-Newton matrix.
    """

    def __init__(self, problem: ReducedProblem, dF: FeatureJacobian, W: Tensor) -> None:
        """Combine the derivative of the features with W."""
        self._problem, self._dF, self._W = problem, dF, W
        self.Z = with_ones(dF.F)

    def gradient(self, theta: Tensor) -> Tensor:
        """Give the gradient of Phi, (n_theta + n_out (width + 1),)."""
        problem = self._problem
        slope = problem.loss.tall_gradient(self.Z, self._W, problem.C, problem.features.comm)
        penalty = problem.penalty.gradient(theta)
        return self._back(slope, penalty, _away(problem, self._W))

    def gram(self, v: Tensor) -> Tensor:
        """Multiply J^T J by a vector (n_theta + n_out (width + 1),)."""
        problem = self._problem
        theta, W = _split(v, self._W)
        comm, root = problem.features.comm, math.sqrt(self._n_samples)
        parts = ((self._dF.jvp(theta), self._W[:, :-1].T / root), (self.Z, W.T / root))
        none = self._W.new_zeros((0, len(W)))
        change = Tall(parts=parts, last=none, n_samples=self._n_samples, comm=comm)
        curved = problem.loss.tall_hvp(self.Z, self._W, problem.C, change)
        return self._back(curved, problem.penalty.times(theta), W)

    @cached_property
    def _n_samples(self) -> int:
        return self._problem.features.comm.count(len(self.Z))

    def _back(self, M: Tall, penalty: Tensor, W: Tensor) -> Tensor:
        root = math.sqrt(M.n_samples)
        by_theta = self._dF.vjp(M @ (self._W[:, :-1] / root)) + penalty
        by_W = M.transposed_times(self.Z) / root + self._problem.alpha2 * W
        return torch.cat([by_theta, by_W.reshape(-1)])


def _split(x: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Divide x into theta and a W of the same shape as another, in memory of their own."""
    n = len(x) - like.numel()
    return x[:n].clone(), x[n:].clone().view(like.shape)


@dataclass(frozen=True, kw_only=True)
class JointGaussNewton:
    """Gauss-Newton without variable projection, in the same trust region on a Krylov space.

    Work units are those of GNvpro: 2 + 2 rank for an iteration, 1 for a step tried again.

    Attributes:
        rank: Largest number of Krylov vectors.
        tolerance: Relative residual at which Lanczos stops.
        rule: The trust region's rule.
        ridge: Tikhonov weight of the first W.
    """

    rank: int = 20
    tolerance: float = 1e-2
    rule: RadiusRule = field(default_factory=RadiusRule)
    ridge: float = 1e-4

    def least(self, width: int) -> int:
        """Give the work units of the cheapest iteration."""
        return 4

    def step(
        self, problem: ReducedProblem, theta: Tensor, radius: float, budget: int, memory: Memory
    ) -> Step:
        """Take one step in theta and W."""
        W = _own_W(problem, theta, memory, self.ridge)
        dF = problem.features.jacobian(theta)
        J = JointJacobian(problem, dF, W)
        gradient = J.gradient(theta)

        def at(x: Tensor) -> Point | None:
            point = _point(problem, *_split(x, W))
            return point if math.isfinite(point.phi) else None

        def model() -> KrylovModel:
            rank = min(self.rank, (budget - 2) // 2)
            return KrylovModel(J.gram, gradient, rank=rank, tolerance=self.tolerance)

        step = step_within(
            at,
            torch.cat([theta, W.reshape(-1)]),
            _point(problem, theta, W, J.Z[:, :-1]),
            gradient,
            model,
            radius=radius,
            budget=budget,
            rule=self.rule,
        )
        return replace(step, memory={"W": step.point.W})

    def carried(self, memory: Memory) -> Memory:
        """Give what of the memory the next level starts with: W."""
        return only(memory, "W")


class Initial(ABC):
    """An initial matrix of L-BFGS, symmetric and positive definite."""

    @abstractmethod
    def solve(self, v: Tensor) -> Tensor:
        """Multiply its inverse by a vector (n_theta,)."""


@dataclass(frozen=True, kw_only=True)
class LBFGS:
    """L-BFGS with variable projection (Nocedal and Wright 2006, "Numerical Optimization", 7.2).

    The line search brackets a step that decreases Phi_red enough and has a slope that has risen
    enough (Lewis and Overton 2013, "Nonsmooth optimization via quasi-Newton methods"), which keeps
    the matrix positive definite. The first step of a level has the length of the radius; the radius
    is then the length of the last step. Work units are 2 for each value with its gradient. A
    subclass may bring an initial matrix of its own (see `kronecker`).

    Attributes:
        size: Number of pairs that are remembered.
        decrease: Part of the decrease along the tangent that a step must reach.
        slope: Part of the slope that may be left.
        trials: Largest number of steps tried.
    """

    size: int = 10
    decrease: float = 1e-4
    slope: float = 0.9
    trials: int = 20

    def least(self, width: int) -> int:
        """Give the work units of an iteration that is a level's first: its start, and a step."""
        return 4

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
        """Return the initial matrix, what a checkpoint holds of it, and its work units.

        Args:
            problem: What is minimised.
            here: The point that the step starts from.
            memory: The last step's.
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
        """Search along a line; return the point with its gradient, the ratio, and work units."""
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
                # The minimum of the parabola through what is known, kept inside the bracket.
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
        """Give what of the memory the next level starts with: W, if it is kept."""
        return only(memory, "W")


def _evaluate(
    problem: ReducedProblem, theta: Tensor, start: Inner
) -> tuple[ReducedPoint, Tensor] | None:
    """Give the point and the gradient at theta; None if there is none."""
    try:
        here, _, gradient = problem.linearised(theta, start)
    except ValueError:
        return None
    return here, gradient


def inverse_times(s: Tensor, y: Tensor, gradient: Tensor, initial: Initial | None = None) -> Tensor:
    """Multiply the inverse Hessian of the pairs s, y, oldest first, by the gradient.

    The initial matrix, the unit matrix if None, is scaled to the last pair.
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
    """Append a pair, and drop the oldest beyond the size, unless its curvature is not positive."""
    if not float(step @ change) > 1e-14 * float(step.norm() * change.norm()):
        return s, y
    old = slice(max(0, len(s) + 1 - size), None)
    return torch.cat([s[old], step[None]]), torch.cat([y[old], change[None]])


@dataclass(frozen=True, kw_only=True)
class Stochastic:
    """Mini-batch gradients of Phi in theta and W; an iteration is an epoch, of 2 work units.

    The gradient's norm is that of the mean over the epoch. The order of the samples depends on the
    seed and the epoch's number alone.

    Attributes:
        optimizer: ``adam`` or ``sgd``.
        learning_rate: Step size.
        ridge: Tikhonov weight of the first W.
        seed: Of the order of the samples.
        momentum: Of ``sgd``.
        batch: Samples in a mini-batch.
    """

    optimizer: str
    learning_rate: float
    ridge: float
    seed: int = 0
    momentum: float = 0.9
    batch: int = 32

    def least(self, width: int) -> int:
        """Give the work units of an epoch."""
        return 2

    def step(
        self, problem: ReducedProblem, theta: Tensor, radius: float, budget: int, memory: Memory
    ) -> Step:
        """Do one epoch. It is refused, and training ends, if it has led to infinity."""
        features = problem.features
        module = copy.deepcopy(features.module).requires_grad_(True)
        vector_to_parameters(theta.to(features.Y, copy=True), module.parameters())
        start = _own_W(problem, theta, memory, self.ridge)
        W = nn.Parameter(start.clone())
        parameters = [*module.parameters(), W]
        optimizer = self._optimizer(parameters)
        _restore(optimizer, parameters, memory)
        epoch = int(memory["epoch"]) if memory else 0
        order = np.random.default_rng([self.seed, epoch]).permutation(len(problem.C))
        rows_in_order = torch.from_numpy(order).to(features.Y.device)
        batches = [rows_in_order[i : i + self.batch] for i in range(0, len(order), self.batch)]
        total = [torch.zeros_like(parameter) for parameter in parameters]
        for rows in batches:
            outputs = with_ones(module(features.Y[rows]).double()) @ W.T
            loss = problem.loss.values(outputs, problem.C[rows]).mean()
            loss = loss + problem.alpha2 / 2 * _away(problem, W).square().sum()
            loss = loss + problem.penalty.of(parameters_to_vector(parameters[:-1]).double())
            gradients = torch.autograd.grad(loss, parameters)
            for sum_, parameter, gradient in zip(total, parameters, gradients, strict=True):
                parameter.grad = gradient
                sum_ += gradient
            optimizer.step()
        theta_after = parameters_to_vector(parameters[:-1]).detach().double()
        point = _point(problem, theta_after, W.detach())
        accepted = math.isfinite(point.phi)
        if accepted:
            memory = _kept(optimizer, parameters, epoch + 1)
        else:
            point = _point(problem, theta, start)
        return Step(
            point=point,
            gradient_norm=float(torch.cat([g.reshape(-1) for g in total]).norm()) / len(batches),
            radius=math.nan,
            ratio=math.nan,
            rank=0,
            work_units=2,
            accepted=accepted,
            memory=memory,
        )

    def carried(self, memory: Memory) -> Memory:
        """Give what of the memory the next level starts with: W, and the number of epochs."""
        return only(memory, "W", "epoch")

    def _optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        make: dict[str, Callable[[], torch.optim.Optimizer]] = {
            "adam": lambda: torch.optim.Adam(parameters, lr=self.learning_rate),
            "sgd": lambda: torch.optim.SGD(
                parameters, lr=self.learning_rate, momentum=self.momentum
            ),
        }
        return make[self.optimizer]()


STOCHASTIC = {
    "adam": Stochastic(optimizer="adam", learning_rate=1e-2, ridge=0.1),
    "sgd": Stochastic(optimizer="sgd", learning_rate=1e-2, ridge=1.0),
}
"""With the defaults of each."""


def _kept(
    optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], epoch: int
) -> dict[str, Tensor]:
    """Collect the memory after an epoch: W, the epochs done, and the optimizer's tensors."""
    memory = {"W": parameters[-1].detach(), "epoch": torch.tensor(epoch)}
    for i, parameter in enumerate(parameters):
        for name, value in optimizer.state[parameter].items():
            memory[f"{name}.{i}"] = value
    return memory


def _restore(
    optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], memory: Memory
) -> None:
    """Put the optimizer's tensors back, as copies since they are changed in place."""
    for key, value in memory.items():
        name, dot, i = key.partition(".")
        if dot:
            optimizer.state[parameters[int(i)]][name] = value.clone()
