"""CDR's scheme on one mesh, without the mesh: matrices and arrays of nodes, and the march in time.

`discretisation` states the method, `linearised` its derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
from petsc4py import PETSc

from surrogates.types import Array

from ..linear import LinearSystem
from .config import LAWS, SLOPES, CDRConfig
from .discretisation import EXPLICIT, GAMMA, IMPLICIT, NODES, bumps, sources
from .dissection import Dissection, divided
from .linearised import STAGES, Adjoints, Reaction, Tangents
from .propagators import Dissected, Propagator

Forcing = Callable[[Array, float], Array]
Visit = Callable[[int, list[Array]], None]

_MOST_BYTES = 1 << 28  # of the stages that are held


class Scheme:
    """The scheme for any number of samples; all its methods are collective.

    Attributes:
        points: This process's nodes, (N, 2).
        steps: Number of steps.
        dt: Time step.
        unknowns: Number of nodes on all processes.
        basis: rate psi_k at the nodes, (N, n_y).
        system: The linear system of a stage.
    """

    def __init__(self, config: CDRConfig, points: Array, M: Any, a: Any) -> None:
        """Factor the matrix of a stage.

        Args:
            config: The configuration.
            points: This process's nodes, (N, 2).
            M: The matrix m.
            a: The matrix a; overwritten.
        """
        self._config, self.points, self._M = config, points, M
        self.steps = config.time.steps
        self.dt = config.time.final / self.steps
        self.unknowns = int(M.getSize()[0])
        a.scale(GAMMA * self.dt)
        a.axpy(1.0, M)
        self._A = a
        self.system = LinearSystem(a, config.solver, "cdr_")
        self.basis = config.reaction.rate * bumps(points, config.bumps)
        self._source = sources(points, config.sources)

    def march(
        self,
        Y: Array,
        S: Propagator,
        steps: range,
        *,
        u: Array | None = None,
        forcing: Forcing | None = None,
        visit: Visit | None = None,
    ) -> Iterator[Array]:
        """Step through time; ``S.system.start`` comes before.

        Arrays of nodes are in the order of S, whose `Propagator.restored` returns to that of the
        mesh.

        Args:
            Y: Parameters, (n, n_y), the same on every process.
            S: S, with the records of the samples.
            steps: The steps, counted from 0.
            u: u before the first step, (n, K); zero if None.
            forcing: Added to f: ``forcing(points, t)`` returns (N,) values.
            visit: Called after each step with its number and its stages 0 to 3, (n, K) each.

        Yields:
            u after each step, (n, K).
        """
        reaction, law = self._config.reaction, LAWS[self._config.reaction.law]
        rate = S.arranged(np.ascontiguousarray((self.basis @ Y.T).T))
        source = S.arranged(self._source)
        rows, dt = slice(0, len(Y)), self.dt
        u = np.zeros_like(rate) if u is None else u

        def explicit(U: Array, t: float) -> Array:
            f = source if forcing is None else source + S.arranged(forcing(self.points, t))
            return np.asarray(f + rate * law(U, reaction))

        work = S.workspace(len(Y), 0)
        right, stage = work.right, work.solution
        with np.errstate(over="ignore", invalid="ignore"):  # recorded as a failure
            for step in steps:
                N, G = [explicit(u, step * dt)], [u]  # G[0], the implicit part of u, has no weight
                stages = [u]
                for i in range(1, len(NODES)):
                    right[:] = u
                    for j in range(i):
                        right += (dt * EXPLICIT[i, j]) * N[j]
                        if IMPLICIT[i, j]:
                            right += (dt * IMPLICIT[i, j]) * G[j]
                    S.apply(work, rows, 1)
                    if i < len(NODES) - 1:
                        N.append(explicit(stage, (step + NODES[i]) * dt))
                        G.append((stage - right) / (GAMMA * dt))
                        if visit is not None:
                            stages.append(stage.copy())
                u = stage.copy()
                if visit is not None:
                    visit(step, stages)
                yield u
        S.destroy([work])

    def tangents(self, Y: Array, V: Array) -> Tangents:
        """Prepare the derivatives in directions of y.

        Args:
            Y: Parameters, (n, n_y).
            V: Directions, (n, r, n_y), or (1, r, n_y) for all samples.
        """
        S = self.propagator(fast=True)
        return Tangents(S, self._reaction(Y, S), V @ S.arranged(self.dt * self.basis.T))

    def adjoints(self, Y: Array, r: int) -> Adjoints:
        """Prepare the derivatives of r functionals of samples with parameters Y, (n, n_y)."""
        S = self.propagator(fast=True, transposed=True)
        return Adjoints(S, self._reaction(Y, S), r)

    def propagator(self, *, fast: bool = False, transposed: bool = False) -> Propagator:
        """Return S or its transpose, with new records.

        Args:
            fast: Whether to use the dense blocks where they are faster. Values alone do without
                them, as they are not worth their set-up for a few samples.
            transposed: Whether to return the transpose.
        """
        if fast and self._blocks is not None:
            return Dissected(self._blocks, self.system, transposed=transposed)
        system = self._transposed if transposed else self.system
        return Propagator(self._M, system, transposed=transposed)

    @cached_property
    def _transposed(self) -> LinearSystem:
        """The system of the transpose of A."""
        return LinearSystem(self._A.transpose(PETSc.Mat()), self._config.solver, "cdr_")

    @cached_property
    def _blocks(self) -> Dissection | None:
        """The blocks of S, if the mesh is on one process and they are faster than the factor."""
        if self._M.comm.size > 1 or self.system.factor is None:
            return None
        sizes = [matrix.getInfo()["nz_used"] for matrix in (self.system.factor, self._M)]
        mesh = self._config.mesh
        patch = divided(self.points, mesh.cells, mesh.degree, int(sum(sizes)))
        if patch is None:
            return None
        A, M = (
            scipy.sparse.csr_matrix(matrix.getValuesCSR()[::-1], matrix.getSize())
            for matrix in (self._A, self._M)
        )
        blocks = Dissection(A, M, patch)
        return blocks if blocks.error < self._config.solver.rtol else None

    def _reaction(self, Y: Array, S: Propagator) -> Reaction:
        p = self._config.reaction
        return Reaction(
            rate=self.dt * (Y @ S.arranged(self.basis.T)),
            law=lambda u: SLOPES[p.law](u, p),
        )


class Trajectory:
    """The stages of a march, from the last step to the first, in bounded memory.

    If they need more than `_MOST_BYTES`, then u is kept once in about sqrt(steps)/2 steps, and the
    steps between are computed again (Griewank and Walther, "Revolve", 2000).

    Attributes:
        Y: Parameters, (n, n_y).
    """

    def __init__(self, scheme: Scheme, Y: Array, S: Propagator) -> None:
        """Prepare for the samples with parameters Y, (n, n_y), which march by S."""
        self._scheme, self.Y, self._S = scheme, Y, S
        self._steps = scheme.steps
        size = 8 * scheme.unknowns * len(Y) * (STAGES * self._steps)
        self._length = self._steps
        if size > _MOST_BYTES:
            self._length = max(1, math.ceil(math.sqrt(self._steps) / 2))
        self._starts = range(0, self._steps, self._length)
        self._u: dict[int, Array] = {}
        self._stages: dict[int, list[Array]] = {}

    def keep(self, step: int, stages: list[Array]) -> None:
        """Take the stages of the next step, as `Scheme.march` passes them."""
        if step in self._starts:
            self._u[step] = stages[0]
        if step >= self._starts[-1]:
            self._stages[step] = stages

    def backwards(self) -> Iterator[tuple[int, list[Array]]]:
        """Yield each step's number and its stages, (n, K) each."""
        for first in reversed(self._starts):
            steps = range(first, min(first + self._length, self._steps))
            if first not in self._stages:
                u, visit = self._u[first], self._stages.__setitem__
                for _ in self._scheme.march(self.Y, self._S, steps, u=u, visit=visit):
                    pass
            for step in reversed(steps):
                yield step, self._stages.pop(step)
