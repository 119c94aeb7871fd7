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

from ..linear import LinearSystem, destroy
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
        system: The linear system of a stage, with the records of the samples.
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

    def start(self, n: int) -> Array:
        """Return u = 0 of n samples, (N, n)."""
        return np.zeros((len(self.points), n), order="F")

    def march(
        self,
        Y: Array,
        u: Array,
        steps: range,
        *,
        forcing: Forcing | None = None,
        visit: Visit | None = None,
    ) -> Iterator[Array]:
        """Step through time; ``system.start`` comes before.

        Args:
            Y: Parameters, (n, n_y), the same on every process.
            u: u before the first step at this process's nodes, (N, n) in Fortran's order.
            steps: The steps, counted from 0.
            forcing: Added to f: ``forcing(points, t)`` returns (N,) values.
            visit: Called after each step with its number and its stages 0 to 3, (N, n) each.

        Yields:
            u after each step at this process's nodes, (N, n).
        """
        reaction, law = self._config.reaction, LAWS[self._config.reaction.law]
        rate = np.asfortranarray(self.basis @ Y.T)

        def explicit(U: Array, t: float) -> Array:
            f = self._source if forcing is None else self._source + forcing(self.points, t)
            return np.asarray(f[:, None] + rate * law(U, reaction))

        R, B, X = (self.dense(u.shape[1]) for _ in range(3))
        right, stage = R.getDenseArray(), X.getDenseArray()
        dt = self.dt
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
                    R.assemble()
                    self._M.matMult(R, result=B)
                    self.system.solve(B, X)
                    if i < len(NODES) - 1:
                        N.append(explicit(stage, (step + NODES[i]) * dt))
                        G.append((stage - right) / (GAMMA * dt))
                        if visit is not None:
                            stages.append(stage.copy(order="F"))
                u = stage.copy(order="F")
                if visit is not None:
                    visit(step, stages)
                yield u
        destroy(R, B, X)

    def tangents(self, Y: Array, V: Array) -> Tangents:
        """Prepare the derivatives in directions of y.

        Args:
            Y: Parameters, (n, n_y).
            V: Directions, (n, r, n_y), or (1, r, n_y) for all samples.
        """
        S = self._propagator(transposed=False)
        return Tangents(S, self._reaction(Y, S), V @ S.arranged(self.basis.T))

    def adjoints(self, Y: Array, r: int) -> Adjoints:
        """Prepare the derivatives of r functionals of samples with parameters Y, (n, n_y)."""
        S = self._propagator(transposed=True)
        return Adjoints(S, self._reaction(Y, S), r)

    def _propagator(self, transposed: bool) -> Propagator:
        """Return S or its transpose, with new records."""
        if self._blocks is not None:
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
            rate=Y @ S.arranged(self.basis.T),
            law=lambda u: LAWS[p.law](u, p),
            slope=lambda u: SLOPES[p.law](u, p),
            dt=self.dt,
        )

    def dense(self, n: int) -> Any:
        """Make a dense PETSc matrix of n columns that is divided as the nodes are."""
        sizes = self._M.getSizes()[0]
        X = PETSc.Mat().createDense((sizes, (None, n)), comm=self._M.comm)
        X.setUp()
        X.assemble()
        return X


class Trajectory:
    """The stages of a march, from the last step to the first, in bounded memory.

    If they need more than `_MOST_BYTES`, then u is kept once in about sqrt(steps)/2 steps, and the
    steps between are computed again (Griewank and Walther, "Revolve", 2000).

    Attributes:
        Y: Parameters, (n, n_y).
    """

    def __init__(self, scheme: Scheme, Y: Array) -> None:
        """Prepare for the samples with parameters Y, (n, n_y), on every process."""
        self._scheme, self.Y = scheme, Y
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
        """Yield each step's number and its stages, (N, n) each."""
        for first in reversed(self._starts):
            steps = range(first, min(first + self._length, self._steps))
            if first not in self._stages:
                for _ in self._scheme.march(
                    self.Y, self._u[first], steps, visit=self._stages.__setitem__
                ):
                    pass
            for step in reversed(steps):
                yield step, self._stages.pop(step)
