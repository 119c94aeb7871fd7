r"""From u(0) to c: stages in time, the discrete tangent along them, the discrete adjoint back.

The scheme is SDIRK2, the diagonally implicit Runge-Kutta method of two stages by Alexander (1977,
"Diagonally implicit Runge-Kutta methods for stiff O.D.E.'s"): gamma = 1 - 1/sqrt(2), order 2,
L-stable, and its last stage is the step's result. A stage solves

    F(U, (U - u_base) / (gamma dt), t; y) = 0

with u_base = u_n at t_n + gamma dt, and u_base = (1 - b) u_n + b U_1, b = (1 - gamma)/gamma, at
t_n + dt. It was chosen for three reasons: both stages have the same matrix, so that a linear
problem with constant coefficients needs one factorisation; stiff parts of the initial state are
damped, unlike by Crank and Nicolson's method; conditions hold at the end of each step.

The tangent differentiates the stages, so it is exact for the discrete map; the adjoint runs the
transposed stages backwards, with the stages kept. A nonlinear problem is linearised and factored
again at each stage. A steady problem is one stage.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from surrogates.types import Array

from .equations import Equations
from .linear import total
from .observables import Observables
from .statement import Time
from .values import State

GAMMA = 1 - 1 / math.sqrt(2)
_NODES = (GAMMA, 1.0)
_WEIGHTS = ((1.0, 0.0), (1 - (1 - GAMMA) / GAMMA, (1 - GAMMA) / GAMMA))
"""Row i: the weights of u_n and of the first stage in the base of stage i."""

COLUMNS = 64
"""Directions of y whose right-hand sides an adjoint holds at a time."""


class March:
    """The discrete map from y to c, for y as the parameters' present values.

    Attributes:
        snapshots: u's coefficients of this process after the last `run`, by the time as text; at
            four of the observed times, if there are more.
    """

    def __init__(
        self,
        equations: Equations,
        observables: Observables,
        initial: State,
        t: Any,
        time: Time | None,
    ) -> None:
        """Put the parts together.

        Args:
            equations: The equations of a stage.
            observables: The observables of a state.
            initial: u at t = 0, or the guess of a steady problem.
            t: The time, a constant.
            time: The interval; None for a steady problem.
        """
        self._equations, self._observables, self._initial = equations, observables, initial
        self._t, self._time = t, time
        self._observed = [0] if time is None else time.observed_steps
        self.snapshots: dict[str, Array] = {}

    @property
    def n_c(self) -> int:
        """Number of observables at all times."""
        return len(self._observables) * len(self._observed)

    def run(
        self, V: Array | None = None, *, keep: bool = False
    ) -> tuple[Array, Array, list[Array]]:
        """Solve, along with tangents.

        Args:
            V: Directions, (r, n_y).
            keep: Whether to keep the stages, for `adjoint`.

        Returns:
            c (n_c,), dc/dy V (n_c, r), and the stages.

        Raises:
            Unsolved: If a stage is not solved.
        """
        directions = None if V is None or not len(V) else V
        self._t.value = 0.0
        u = self._initial.values()
        stages: list[Array] = []
        c: list[Array] = []
        dc: list[Array] = []
        if self._time is None:
            u = self._equations.solve(u, 0)
            self.snapshots = {"": u}
            du = None if directions is None else self._tangent(directions, 0, None)
            self._observe(c, dc, du, directions)
            return np.concatenate(c), _joined(dc), [u]
        self.snapshots = {}
        few = np.unique(np.linspace(0, len(self._observed) - 1, 4).round().astype(int))
        pictured = {self._observed[k] for k in few}
        du = None if directions is None else self._initial.tangent(directions)
        for step in range(self._time.steps):
            first, dfirst = u, du
            U, dU = u, du
            for i, (own, other) in enumerate(_WEIGHTS):
                number = 2 * step + i
                self._to(step, i, own * first + other * U if i else first)
                U = self._equations.solve(U, number)
                if directions is not None:
                    assert dfirst is not None and dU is not None
                    dbase = own * dfirst + other * dU if i else dfirst
                    dU = self._tangent(directions, number, dbase)
                if keep:
                    stages.append(U)
            u, du = U, dU
            if step + 1 in self._observed:
                self._observe(c, dc, du, directions)
            if step + 1 in pictured:
                self.snapshots[f"t = {(step + 1) * self._time.step:.4g}"] = u
        return np.concatenate(c), _joined(dc), stages

    def adjoint(self, W: Array, stages: list[Array], n_y: int) -> Array:
        """Differentiate functionals of c, backwards along the stages that `run` has kept.

        Args:
            W: The functionals, (r, n_c).
            stages: The stages.
            n_y: Number of parameters.

        Returns:
            W dc/dy, (r, n_y).
        """
        result = np.zeros((len(W), n_y))
        parts = W.reshape(len(W), len(self._observed), len(self._observables))
        if self._time is None:
            self._equations.set(stages[0])
            bar, by_y = self._observables.adjoint(parts[:, 0])
            result += by_y
            self._back(bar, 0, result)
            return result
        bar = np.zeros((self._equations.n, len(W)))
        start = self._initial.values()
        for step in reversed(range(self._time.steps)):
            u = stages[2 * step - 1] if step else start
            if step + 1 in self._observed:
                self._t.value = (step + 1) * self._time.step
                self._equations.set(stages[2 * step + 1])
                by_u, by_y = self._observables.adjoint(parts[:, self._observed.index(step + 1)])
                bar = bar + by_u
                result += by_y
            before = np.zeros_like(bar)  # the functionals' derivative by u_n
            for i, (own, other) in reversed(list(enumerate(_WEIGHTS))):
                number = 2 * step + i
                self._to(step, i, own * u + other * stages[number - 1] if i else u)
                self._equations.set(stages[number])
                base = self._back(bar, number, result)
                before += own * base
                bar = other * base
            bar = before
        self._t.value = 0.0
        self._add(result, bar, self._initial.tangent)
        return result

    def _to(self, step: int, i: int, base: Array) -> None:
        """Set time and base of a stage."""
        assert self._time is not None
        self._t.value = (step + _NODES[i]) * self._time.step
        self._equations.base.x.array[: self._equations.n] = base
        self._equations.base.x.scatter_forward()

    def _tangent(self, V: Array, stage: int, dbase: Array | None) -> Array:
        """Differentiate the present stage."""
        self._equations.factor(stage)
        return self._equations.solver.solve(self._equations.right(V, dbase))

    def _observe(self, c: list[Array], dc: list[Array], du: Array | None, V: Array | None) -> None:
        """Observe the present u."""
        c.append(self._observables.values())
        if du is not None and V is not None:
            dc.append(self._observables.tangent(du, V))

    def _back(self, bar: Array, stage: int, into: Array) -> Array:
        """Go back through a stage: add its part of W dc/dy, and return that of its base."""
        self._equations.factor(stage)
        mu = self._equations.solver.solve(bar, transposed=True)
        self._add(into, mu, self._equations.right)
        return self._equations.base_adjoint(mu)

    def _add(self, into: Array, mu: Array, right: Any) -> None:
        """Add mu^T R for all directions of y, some at a time; collective."""
        n_y, comm = into.shape[1], self._equations.u.function_space.mesh.comm
        for first in range(0, n_y, COLUMNS):
            V = np.eye(n_y)[first : first + COLUMNS]
            into[:, first : first + COLUMNS] += total(mu.T @ right(V), comm)


def _joined(parts: list[Array]) -> Array:
    return np.concatenate(parts) if parts else np.empty((0, 0))
