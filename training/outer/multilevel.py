"""Multilevel training: a shallow network first, then refined ones from its weights."""

from __future__ import annotations

import copy
import dataclasses
import enum
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from surrogates.config import check
from surrogates.errors import InputError

from ..data import Data, Measured
from ..features import Features
from ..history import Record
from ..inner.newton import ITERATIONS
from .gauss_newton import Memory, Point, ReducedProblem, Step

WARM_UP = 30

_PROGRESS = 0.02
_HUGE = 1e100  # the fourth power of larger features overflows


class Reason(enum.Enum):
    """Why training stopped, on its last level."""

    WORK_UNITS = "the work units are spent"
    TOLERANCE = "the gradient has reached the tolerance"
    PATIENCE = "the validation {watched} has not fallen by 2 % in {patience} iterations"
    STALLED = "no step decreases the objective by more than rounding"
    INTERRUPTED = "it was interrupted"


class Refinable(Protocol):
    """A feature extractor that multilevel training can refine."""

    def refined(self) -> nn.Module:
        """Return a deeper network that computes nearly the same features."""


class Method(Protocol):
    """An outer method: `GaussNewton`, `Kronecker`, or one of `baselines`."""

    def least(self, width: int) -> int:
        """Return the work units of the cheapest iteration."""

    def step(
        self,
        problem: ReducedProblem,
        theta: Tensor,
        radius: float,
        budget: int,
        memory: Memory,
    ) -> Step:
        """Do one iteration from theta; the radius and the memory are the last step's.

        The memory is empty at first. It must not be changed: a checkpoint may yet be written of it.
        """

    def carried(self, memory: Memory) -> Memory:
        """Return the part of the memory that the next level starts with."""


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best weights on the validation samples so far.

    Attributes:
        level: Level of the network they belong to.
        theta: Parameters of that network, (n_theta,).
        W: Linear weights in physical units, (n_out, width + 1).
        score: Their score on the validation samples, see `data.Measured`.
        iteration: Iteration that found them.
    """

    level: int
    theta: Tensor
    W: Tensor
    score: float
    iteration: int


@dataclass(frozen=True, kw_only=True)
class State:
    """All that training needs to continue after an iteration.

    Attributes:
        level: Current level, from 0.
        theta: Parameters of this level's network, (n_theta,).
        radius: Trust-region radius.
        memory: The method's memory.
        spent: Work units spent on this level.
        start: Iterations before this level.
        first_gradient: Norm of this level's first gradient; 0 before it is known.
        mark: Validation score that the next progress is counted from.
        progress: Iteration that reached the mark, or the last of the warm-up.
        reason: Why this level ended, None while it goes on.
        best: Best weights so far, None before the first iteration.
        records: The history.
    """

    level: int
    theta: Tensor
    radius: float
    memory: Memory = field(default_factory=dict)
    spent: int = 0
    start: int = 0
    first_gradient: float = 0.0
    mark: float = math.inf
    progress: int = 0
    reason: Reason | None = None
    best: Best | None = None
    records: tuple[Record, ...] = ()

    def to(self, device: torch.device) -> State:
        """Move theta and the memory to a device."""
        memory = {name: value.to(device) for name, value in self.memory.items()}
        return dataclasses.replace(self, theta=self.theta.to(device), memory=memory)


@dataclass(frozen=True, kw_only=True)
class Multilevel:
    """Levels of training; each refines the network and halves alpha1.

    A level starts from the prolonged last weights and the trust region of the level before, unless
    the region has shrunk to nothing. The first radius is a tenth of the norm of the first weights:
    with the whole norm, a first step that is far too long can pass the test, and end in a poor
    minimum.

    Attributes:
        levels: Number of levels, >= 1.
        work_units: Work units of each level.
        alpha1: Weight of the penalty on theta on the first level.
        alpha2: Weight of ||W - W_ref||^2.
        tolerance: A level ends when the gradient's norm is below this times its first value.
        patience: A level ends if the best validation score (see `Best`) has not fallen by 2 % in
            this many iterations.
        method: The outer method.
        smooth: Whether the penalty prefers weights that are smooth in time (see `penalty`).
        W_ref: In the units of training, (n_out, width + 1); zero if None. If it is given, theta_ref
            of each level is the first level's first weights, prolonged.
        warm_up: The outer method of the first `WARM_UP` iterations, or until it fails: far from a
            minimum a few passes of L-BFGS gain as much as an iteration with the dense matrix, in a
            small part of the time.
    """

    levels: int
    work_units: int
    alpha1: float
    alpha2: float
    tolerance: float
    patience: int
    method: Method
    warm_up: Method
    smooth: bool = False
    W_ref: Tensor | None = None

    def run(
        self,
        network: nn.Module,
        data: Data,
        *,
        state: State | None = None,
        after: Callable[[State], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> State:
        """Train.

        Args:
            network: The first level's feature extractor, with the starting weights; it is not
                changed.
            data: Samples.
            state: The state to continue from; None to start.
            after: Called after each iteration.
            stop: Called after each iteration; returns whether to end.

        Returns:
            The last state. If ``stop`` ended it, on any process, that is a state of a level that
            has not ended, or is not the last.

        Raises:
            InputError: If the features at a level's first weights are not finite.
        """
        if state is None:
            theta = _weights(network, data)
            state = State(level=0, theta=theta, radius=_first_radius(theta))
        stopped = False
        while True:
            if state.reason is None:
                level = self.network(network, state.level)
                state, stopped = self._iterate(level, data, state, after, stop)
            if stopped or state.level + 1 == self.levels:
                return state
            coarse = self.network(network, state.level, state.theta)
            fine = cast(Refinable, coarse).refined()
            theta = _weights(fine, data)
            state = State(
                level=state.level + 1,
                theta=theta,
                radius=_first_radius(theta) if state.reason is Reason.STALLED else state.radius,
                memory=self.method.carried(state.memory),
                start=len(state.records),
                mark=state.mark,
                progress=state.progress,
                best=state.best,
                records=state.records,
            )

    def network(self, network: nn.Module, level: int, theta: Tensor | None = None) -> nn.Module:
        """Return the network of a level, with weights theta if they are given."""
        for _ in range(level):
            network = cast(Refinable, network).refined()
        if theta is not None:
            network = copy.deepcopy(network)
            vector_to_parameters(theta.cpu(), network.parameters())
        return network

    def _iterate(
        self,
        network: nn.Module,
        data: Data,
        state: State,
        after: Callable[[State], None] | None,
        stop: Callable[[], bool] | None,
    ) -> tuple[State, bool]:
        """Iterate until a level ends or ``stop`` says so; return whether it did."""
        comm = data.train.comm
        problem = ReducedProblem(
            features=Features(network, data.train.Y, comm=comm, directions=data.train.directions),
            C=data.train.targets,
            alpha1=self.alpha1 / 2**state.level,
            alpha2=self.alpha2,
            loss=data.train.loss,
            smooth=self.smooth,
            theta_ref=None if self.W_ref is None else _weights(network, data),
            W_ref=self.W_ref,
        )
        held = data.validation
        validation = Features(network, held.Y, comm=comm, directions=held.directions)
        if state.spent == 0:
            problem = dataclasses.replace(problem, W_first=_checked_first(problem, state))
        while state.reason is None:
            before = state.records[-1].seconds if state.records else 0.0
            clock = time.perf_counter()
            budget = self.work_units - state.spent
            method = self._next_method(state.records)
            # No variable holds the step: its arrays of N rows are freed at once.
            state = self._advance(
                state,
                method.step(problem, state.theta, state.radius, budget, state.memory),
                data,
                validation,
                warming_up=method is not self.method,
                least=self.method.least(problem.features.trained),
            )
            seconds = before + time.perf_counter() - clock
            last = dataclasses.replace(state.records[-1], seconds=seconds)
            state = dataclasses.replace(state, records=(*state.records[:-1], last))
            if after is not None:
                after(state)
            if comm.count(int(stop is not None and stop())) > 0:
                return state, True
        return state, False

    def _next_method(self, records: tuple[Record, ...]) -> Method:
        """Return the outer method of the next iteration; a warm-up that has failed ends early."""
        if len(records) >= WARM_UP or any(math.isnan(record.ratio) for record in records):
            return self.method
        return self.warm_up

    def _advance(
        self,
        state: State,
        step: Step,
        data: Data,
        validation: Features,
        *,
        warming_up: bool,
        least: int,
    ) -> State:
        """Enter a step into the state; another costs ``least`` work units at least."""
        point = step.point
        train = data.train.measure(point.F, point.W)
        held_out = data.validation.measure(validation(point.theta), point.W)
        iteration = len(state.records) + 1
        mark, progress = state.mark, state.progress
        if held_out.score < (1 - _PROGRESS) * mark:
            mark, progress = held_out.score, iteration
        state = dataclasses.replace(
            state,
            theta=point.theta,
            radius=step.radius,
            memory=step.memory,
            spent=state.spent + step.work_units,
            first_gradient=state.first_gradient or step.gradient_norm,
            mark=mark,
            progress=iteration if warming_up else progress,
            best=_better(state, point, data, held_out),
            records=(*state.records, _record(state, step, train, held_out)),
        )
        return dataclasses.replace(state, reason=self._reason(state, step, warming_up, least))

    def _reason(self, state: State, step: Step, warming_up: bool, least: int) -> Reason | None:
        """Return why the level ends after a step; None if it goes on."""
        exhausted = self.work_units - state.spent < least
        if step.gradient_norm <= self.tolerance * state.first_gradient:
            return Reason.TOLERANCE
        if not (step.accepted or warming_up):
            return Reason.WORK_UNITS if exhausted else Reason.STALLED
        if len(state.records) - max(state.progress, state.start) >= self.patience:
            return Reason.PATIENCE
        return Reason.WORK_UNITS if exhausted else None


def _better(state: State, point: Point, data: Data, held_out: Measured) -> Best:
    """Return the best weights so far, or the step's if they are better."""
    best, score = state.best, held_out.score
    if best is not None:
        # The loss decides between equal shares of misclassified samples.
        loss = state.records[best.iteration - 1].validation_loss
        if (score, held_out.loss) >= (best.score, loss):
            return best
    return Best(
        level=state.level,
        theta=point.theta,
        W=data.physical(point.W),
        score=score,
        iteration=len(state.records) + 1,
    )


def _record(state: State, step: Step, train: Measured, held_out: Measured) -> Record:
    """Return the record of a step; its seconds are filled in later."""
    total = state.records[-1].work_units if state.records else 0
    median, worst = held_out.median_and_worst()
    return Record(
        level=state.level,
        iteration=len(state.records) + 1,
        work_units=total + step.work_units,
        seconds=0.0,
        phi=step.point.phi,
        train_loss=train.loss,
        validation_loss=held_out.loss,
        train_error=train.error,
        validation_error=held_out.error,
        validation_score=held_out.score,
        validation_median=median,
        validation_worst=worst,
        gradient_norm=step.gradient_norm,
        radius=step.radius,
        ratio=step.ratio,
        rank=step.rank,
    )


def _weights(network: nn.Module, data: Data) -> Tensor:
    """Return a network's weights as theta, (n_theta,) float64 on the data's device."""
    return parameters_to_vector(network.parameters()).detach().to(data.y_shift)


def _checked_first(problem: ReducedProblem, state: State) -> Tensor | None:
    """Check that training can start, and return the first W if the loss needs iterations."""
    too_large = (problem.features(state.theta).abs() < _HUGE).logical_not().sum()
    check(
        problem.features.comm.count(int(too_large)) == 0,
        f"the network's features overflow at the first weights of level {state.level + 1}; "
        "take a smaller network.final_time or inputs.scale",
    )
    if not problem.loss.iterative:
        return None
    first = problem.at(state.theta)
    if first is None:
        raise InputError(
            f"W is not found at the first weights of level {state.level + 1} in {ITERATIONS} "
            "Newton steps; scale the targets, or take a larger regularisation.alpha2"
        )
    return first.W


def _first_radius(theta: Tensor) -> float:
    """Return a tenth of the norm of theta; 1 if theta is zero."""
    return 0.1 * float(torch.linalg.vector_norm(theta)) or 1.0
