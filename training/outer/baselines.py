r"""Outer methods that GNvpro is compared with: same network, data, history and work units.

    gn      Gauss-Newton without variable projection, on theta and W together
    lbfgs   L-BFGS with variable projection, on Phi_red(theta) (`lbfgs`)
    adam    Adam on theta and W together, by mini-batches
    sgd     stochastic gradients with momentum, by mini-batches

Each is a `multilevel.Method`. Methods that hold a W of their own carry it on from level to level.
They start from a ridge regression at the first theta, and not from W(theta): the features start
nearly linear, hence nearly dependent if there are few inputs. W(theta) is large then, and joint
steps cannot escape a large initial W. The ridge weight of each method was measured on
convection-diffusion-reaction and DC resistivity.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from surrogates.model.networks import with_ones

from ..features import FeatureJacobian, Tangents
from ..inner.losses import outputs_of
from ..inner.tall import Tall
from ..known import least
from ..trust_region import RadiusRule
from .gauss_newton import (
    KrylovModel,
    Memory,
    Point,
    ReducedProblem,
    Step,
    only,
    step_within,
)


def _point(problem: ReducedProblem, theta: Tensor, W: Tensor, F: Tensor | None = None) -> Point:
    """Evaluate Phi(W, theta)."""
    features = problem.features
    F = features(theta) if F is None else F
    comm, n = features.comm, len(features.Y)
    total = F.new_zeros(())
    for own, here in ((slice(0, n), W), (slice(n, None), _without_bias(W))):
        C = problem.C[own]
        for rows, outputs in outputs_of(F[own], here):
            total += problem.loss.values(outputs, C[rows]).sum()
    away = _away(problem, W)
    weights = problem.penalty.value(theta) + problem.alpha2 / 2 * float(away.square().sum())
    phi = float(comm.total(total)[0]) / features.n_samples + weights
    return Point(theta=theta, F=F, W=W, phi=phi)


def _without_bias(W: Tensor) -> Tensor:
    """Return weights whose bias is zero, for rows of derivatives."""
    return torch.cat([W[:, :-1], torch.zeros_like(W[:, -1:])], dim=1)


def _away(problem: ReducedProblem, W: Tensor) -> Tensor:
    """Return W - W_ref."""
    return W if problem.W_ref is None else W - problem.W_ref


def _own_W(problem: ReducedProblem, theta: Tensor, memory: Memory, ridge: float) -> Tensor:
    """Return the W in a method's memory, or the first W."""
    if "W" in memory:
        return memory["W"]
    found = replace(problem, alpha2=ridge).at(theta)
    if found is None:
        raise ValueError("expected finite features at the starting point")
    return found.W


def _along(problem: ReducedProblem, module: nn.Module, W: Tensor, samples: Tensor) -> Tensor:
    """Return the sum of the loss over the rows of directions that some samples have."""
    features = problem.features
    assert features.directions is not None
    own = features.directions
    at = torch.nonzero(torch.isin(own.samples, samples))[:, 0]
    r = own.V.shape[1]
    F = Tangents(module)(features.Y[own.samples[at]], own.V[at]).flatten(0, 1).double()
    rows = (len(features.Y) + r * at[:, None] + torch.arange(r).to(at)).reshape(-1)
    return problem.loss.values(F @ W[:, :-1].T, problem.C[rows]).sum()


class JointJacobian:
    """The Jacobian J of Phi's residual with respect to x = [theta, W by rows], by products only.

    The residual is [(Z W^T - C) / sqrt(N), sqrt(alpha1) theta, sqrt(alpha2) W], less theta_ref and
    W_ref, so that Phi is half its squared norm. For any other loss or penalty, it is a residual
    with the same Gauss-Newton matrix.
    """

    def __init__(self, problem: ReducedProblem, dF: FeatureJacobian, W: Tensor) -> None:
        """Combine the derivative of the features with W."""
        self._problem, self._dF, self._W = problem, dF, W
        self.Z = problem.features.design(dF.F)

    def gradient(self, theta: Tensor) -> Tensor:
        """Return the gradient of Phi, (n_theta + n_out (width + 1),)."""
        problem = self._problem
        comm = problem.features.comm
        slope = problem.loss.tall_gradient(self.Z, self._W, problem.C, comm, self._n_samples)
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

    @property
    def _n_samples(self) -> int:
        return self._problem.features.n_samples

    def _back(self, M: Tall, penalty: Tensor, W: Tensor) -> Tensor:
        root = math.sqrt(M.n_samples)
        by_theta = self._dF.vjp(M @ (self._W[:, :-1] / root)) + penalty
        by_W = M.transposed_times(self.Z) / root + self._problem.alpha2 * W
        return torch.cat([by_theta, by_W.reshape(-1)])


def _split(x: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Divide x into copies of theta and of W, which has the shape of ``like``."""
    n = len(x) - like.numel()
    return x[:n].clone(), x[n:].clone().view(like.shape)


@dataclass(frozen=True, kw_only=True)
class JointGaussNewton:
    """Gauss-Newton without variable projection, in the same trust region on a Krylov space.

    Work units are those of GNvpro: 2 + 2 rank for an iteration, 1 for each step after a rejection.

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
        """Return the work units of the cheapest iteration."""
        return least("gn", None, width)

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
        """Return the part of the memory that the next level starts with: W."""
        return only(memory, "W")


@dataclass(frozen=True, kw_only=True)
class Stochastic:
    """Mini-batch gradients of Phi by theta and W; an iteration is an epoch, of 2 work units.

    The gradient's norm is the norm of the epoch's mean gradient. The order of the samples depends
    only on the seed and the epoch's number.

    Attributes:
        optimizer: ``adam`` or ``sgd``.
        learning_rate: Step size.
        ridge: Tikhonov weight of the first W.
        seed: Seed of the order of the samples.
        momentum: Momentum of ``sgd``.
        batch: Samples in a mini-batch.
    """

    optimizer: str
    learning_rate: float
    ridge: float
    seed: int = 0
    momentum: float = 0.9
    batch: int = 32

    def least(self, width: int) -> int:
        """Return the work units of an epoch."""
        return least(self.optimizer, None, width)

    def step(
        self, problem: ReducedProblem, theta: Tensor, radius: float, budget: int, memory: Memory
    ) -> Step:
        """Do one epoch. If Phi overflows, the epoch is rejected and training ends."""
        features = problem.features
        module = copy.deepcopy(features.module).requires_grad_(True)
        vector_to_parameters(theta.to(features.Y, copy=True), module.parameters())
        start = _own_W(problem, theta, memory, self.ridge)
        W = nn.Parameter(start.clone())
        parameters = [*module.parameters(), W]
        optimizer = self._optimizer(parameters)
        _restore(optimizer, parameters, memory)
        epoch = int(memory["epoch"]) if memory else 0
        order = np.random.default_rng([self.seed, epoch]).permutation(len(features.Y))
        rows_in_order = torch.from_numpy(order).to(features.Y.device)
        batches = [rows_in_order[i : i + self.batch] for i in range(0, len(order), self.batch)]
        total = [torch.zeros_like(parameter) for parameter in parameters]
        for rows in batches:
            outputs = with_ones(module(features.Y[rows]).double()) @ W.T
            loss = problem.loss.values(outputs, problem.C[rows]).mean()
            if features.directions is not None:
                loss = loss + _along(problem, module, W, rows) / len(rows)
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
        """Return the part of the memory that the next level starts with: W, and the epochs."""
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
"""The stochastic methods with their default settings."""


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
    """Put copies of the remembered tensors into the optimizer, which changes them in place."""
    for key, value in memory.items():
        name, dot, i = key.partition(".")
        if dot:
            optimizer.state[parameters[int(i)]][name] = value.clone()
