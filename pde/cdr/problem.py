r"""Convection, diffusion and reaction of a species in the unit square: y in R^55 to c in R^72.

Strong form (all quantities dimensionless), with Omega = (0,1)^2 and t in (0, T]:

    du/dt = div(D grad u) - v . grad u + f + r(x; y) s(u),   r(x; y) = rate sum_k y_k psi_k(x)
    D grad u . n = 0 on the boundary,   u(., 0) = 0

v is a constant drift plus the swirl (sin(pi x1) cos(pi x2), -cos(pi x1) sin(pi x2)) times its
largest speed, f a sum of Gaussians, s a reaction law. psi_k are Gaussians divided by their mean at
x, so that equal weights y_k = 1/n_y make the rate uniform. The centre of psi_k, k = j m1 + i, is
((i + 1/2)/m1, (j + 1/2)/m2) on an m1 x m2 lattice; its standard deviation in each direction is
width times the lattice's spacing. c holds u at the sensors at each time, sensor fastest. The
problem is that of Newman, Ruthotto, Hart and van Bloemen Waanders, "Train Like a (Var)Pro" (2021);
its constants are not published, so the defaults are our own, chosen for a map as rich as the
published data's.

`discretisation` has the weak form and the method in time, `config` the settings.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
from dolfinx import mesh
from mpi4py import MPI
from petsc4py import PETSc

from surrogates.config import check
from surrogates.data import SOLVER
from surrogates.types import Array

from .. import resolution
from ..fenicsx import function_space
from ..fields import Field
from ..linear import LinearSystem, Solver, destroy
from ..points import digest, evaluation, function
from ..problem import Problem
from ..results import Batch
from . import figures
from .config import LAWS, STEEPEST, CDRConfig
from .discretisation import (
    EXPLICIT,
    GAMMA,
    IMPLICIT,
    NODES,
    bumps,
    mesh_peclet,
    operators,
    sources,
)

Forcing = Callable[[Array, float], Array]

_LARGEST_STEP = 2.0  # largest dt |r s'(u)|
_MOST_WORK = 3e7  # for an estimate of the error, unknowns times steps: about half a minute


class CDR(Problem):
    """The discrete problem on one communicator, ready for any number of samples."""

    name = "cdr"
    Config = CDRConfig

    def __init__(self, config: CDRConfig, comm: MPI.Comm) -> None:
        """Assemble and factor.

        Args:
            config: The configuration.
            comm: Communicator over which the mesh is divided.
        """
        super().__init__(config, comm)
        degree = config.mesh.degree
        domain = mesh.create_unit_square(comm, *config.mesh.cells, mesh.CellType.quadrilateral)
        self.V = function_space(domain, degree)
        index_map = self.V.dofmap.index_map
        self._sizes = (index_map.size_local, index_map.size_global)
        self.points: Array = self.V.tabulate_dof_coordinates()[: self._sizes[0], :2].copy()
        self.dt = config.time.final / config.time.steps
        self.peclet = mesh_peclet(config)
        self._M, A = operators(
            self.V, degree, config.flow, max(config.node_distances), self.peclet > 1
        )
        A.scale(GAMMA * self.dt)
        A.axpy(1.0, self._M)
        self._solver = LinearSystem(A, config.solver, "cdr_")
        sensors = [(*sensor, 0.0) for sensor in config.observations.sensors]
        self._sensors = evaluation(self.V, np.array(sensors))
        self._basis = config.reaction.rate * bumps(self.points, config.bumps)
        self._source = sources(self.points, config.sources)
        self._law = LAWS[config.reaction.law]

    @classmethod
    def notes(cls, config: CDRConfig) -> tuple[str, ...]:
        """Estimate the discretisation error, and say so if it is not small.

        The default's error was measured, and is small. Any other setting may change the error, or
        the spread of c. An estimate costs less than a batch.

        Raises:
            InputError: If the error is larger than `resolution.LARGE`.
        """
        if config.is_no_coarser:
            return ()
        n1, n2, steps = *config.mesh.cells, config.time.steps

        def cells(factor: float) -> tuple[str, ...]:
            return (f"mesh.cells={[math.ceil(factor * n1 - 1e-6), math.ceil(factor * n2 - 1e-6)]}",)

        def more_steps(factor: float) -> tuple[str, ...]:
            # A multiple, as the observations' times must remain times of steps.
            return (f"time.steps={math.ceil(factor - 1e-6) * steps}",)

        order = config.mesh.degree + 1
        finer = [
            resolution.Refinement(order=order, factor=1.5, settings=cells),
            resolution.Refinement(order=3, factor=2.0, settings=more_steps),
        ]
        unknowns = 1.5**2 * n1 * n2 * config.mesh.degree**2
        direct = dataclasses.replace(config, solver=Solver())  # the same c with less work
        return resolution.notes(cls, direct, finer, unknowns * steps / _MOST_WORK)

    @classmethod
    def compile(cls, config: CDRConfig) -> None:
        """Compile the forms, which every process and later run then finds in the cache."""
        degree = config.mesh.degree
        # Twice, each time on a new mesh: FFCx 0.5 names a form differently after it has compiled
        # another form on the same mesh, and other processes find the first one in the cache.
        for _ in range(2):
            one = mesh.create_unit_square(MPI.COMM_SELF, 1, 1, mesh.CellType.quadrilateral)
            V = function_space(one, degree)
            operators(V, degree, config.flow, 1.0, mesh_peclet(config) > 1)

    @classmethod
    def design(cls, config: CDRConfig) -> str:
        """Return the name of the sampling design."""
        return config.sampling.design

    @classmethod
    def batch(cls, config: CDRConfig) -> int:
        """Return the number of samples that are solved and saved together."""
        return config.solver.batch

    @cached_property
    def mesh(self) -> str:
        """Size, mesh Peclet number and hash, one line; collective at its first use."""
        cells = " x ".join(map(str, self.config.mesh.cells))
        return (
            f"{cells} quadrilaterals of degree {self.config.mesh.degree}, {self._sizes[1]} "
            f"unknowns, mesh Peclet number {self.peclet:.2g}"
            f"{' (SUPG)' if self.peclet > 1 else ''}, sha256 {digest(self.comm, self.points)}"
        )

    def solve_batch(self, Y: Array, *, tangents: bool = False) -> Batch:
        """Solve for a batch of samples.

        Args:
            Y: Parameters, (n, n_y), the same on every process of the communicator.
            tangents: Not supported here.

        Returns:
            The batch; C, failure and solver are complete on rank 0 of the communicator.
        """
        assert not tangents
        start = time.perf_counter()
        n = len(Y)
        observed = {round(t / self.dt) for t in self.config.observations.times}
        series = []
        for step, U in enumerate(self.march(Y), start=1):
            if step in observed:
                self._check(Y, U)
                series.append(self.observe(U))
        C = np.stack(series).transpose(2, 0, 1).reshape(n, -1)  # sensor fastest
        failure = self._solver.failure
        C[[bool(text) for text in failure]] = np.nan
        solver = np.zeros(n, SOLVER)
        solver["iterations"] = self._solver.iterations
        solver["residual"] = self._solver.residual
        solver["seconds"] = (time.perf_counter() - start) / n
        return Batch(C=C, failure=failure, solver=solver)

    def _check(self, Y: Array, U: Array) -> None:
        """Fail the samples whose u, (n_nodes, n), is wrong although the linear solves are right.

        The time step may be unstable; and by the maximum principle u has the sign of the sources.
        """
        self._solver.check(U)
        strength = self.config.sources.strength
        rate = np.abs(self._basis @ Y.T).max(axis=0, initial=0.0)
        signed = U if strength >= 0 else -U
        with np.errstate(invalid="ignore"):
            values = np.array(
                [rate, -signed.min(axis=0, initial=0.0), signed.max(axis=0, initial=0)]
            )
        rate, below, above = np.max(self.comm.allgather(values), axis=0)
        step = self.dt * rate * STEEPEST[self.config.reaction.law](self.config.reaction)
        for j, text in enumerate(self._solver.failure):
            if not text and step[j] > _LARGEST_STEP:
                self._solver.failure[j] = (
                    "the time step is too long for the reaction: "
                    f"dt |r s'(u)| is up to {step[j]:.2g}, the limit is {_LARGEST_STEP:g}"
                )
            elif not text and below[j] > 0.1 * above[j]:
                self._solver.failure[j] = (
                    f"u has the wrong sign, {below[j]:.2g} against {above[j]:.2g}: the mesh "
                    f"(Peclet number {self.peclet:.2g}) or the time step is too coarse"
                )

    def march(
        self, Y: Array, *, forcing: Forcing | None = None, initial: Array | None = None
    ) -> Iterator[Array]:
        """Step through time.

        Args:
            Y: Parameters, (n, n_y), the same on every process.
            forcing: Added to f: ``forcing(points (n_nodes, 2), t)`` returns (n_nodes,) values, for
                manufactured solutions.
            initial: u at t = 0 at this process's nodes, (n_nodes,); zero if None.

        Yields:
            u after each step at this process's nodes `points`, (n_nodes, n).
        """
        self._solver.start(len(Y))
        rate = np.asfortranarray(self._basis @ Y.T)
        u = np.zeros(rate.shape, order="F")
        if initial is not None:
            u += initial[:, None]

        def explicit(U: Array, t: float) -> Array:
            f = self._source if forcing is None else self._source + forcing(self.points, t)
            return np.asarray(f[:, None] + rate * self._law(U, self.config.reaction))

        R, B, X = (self._dense(u.shape[1]) for _ in range(3))
        right, stage = R.getDenseArray(), X.getDenseArray()
        dt = self.dt
        with np.errstate(over="ignore", invalid="ignore"):  # recorded as a failure
            for step in range(self.config.time.steps):
                N, G = [explicit(u, step * dt)], [u]  # G[0], the implicit part of u, has no weight
                for i in range(1, len(NODES)):
                    right[:] = u
                    for j in range(i):
                        right += (dt * EXPLICIT[i, j]) * N[j]
                        if IMPLICIT[i, j]:
                            right += (dt * IMPLICIT[i, j]) * G[j]
                    R.assemble()
                    self._M.matMult(R, result=B)
                    self._solver.solve(B, X)
                    if i < len(NODES) - 1:
                        N.append(explicit(stage, (step + NODES[i]) * dt))
                        G.append((stage - right) / (GAMMA * dt))
                u = stage.copy(order="F")
                yield u
        destroy(R, B, X)

    def snapshots(self, Y: Array) -> tuple[Array, Array, list[str], dict[str, Array]]:
        """Solve for one sample, for a picture; the communicator has one process.

        Args:
            Y: Parameters, (1, n_y).

        Returns:
            Nodes (n_nodes, 2), u there at four times (4, n_nodes), or at each step if there are
            fewer, the times as titles, and the places to mark, (n, 2) each, by name.

        Raises:
            InputError: If the solve fails.
        """
        steps = np.unique(np.linspace(0, self.config.time.steps, 5).round().astype(int)[1:])
        steps = steps[steps > 0]
        values = np.empty((len(steps), len(self.points)))
        for step, U in enumerate(self.march(Y), start=1):
            if step in steps:
                self._check(Y, U)
                values[steps == step] = U[:, 0]
        failure = self._solver.failure[0]
        check(not failure, f"the solve failed: {failure}")
        titles = [f"t = {step * self.dt:.2f}" for step in steps]
        marks = {
            "sensor": np.array(self.config.observations.sensors),
            "source": np.array(self.config.sources.centres).reshape(-1, 2),
        }
        return self.points, values, titles, marks

    def picture(self, y: Array, path: str | os.PathLike[str]) -> None:
        """Solve for one sample, y (n_y,), and draw u at four times; on one process."""
        points, values, titles, marks = self.snapshots(y[None])
        figures.draw(points, values, path, titles=titles, markers=marks)

    def field(self, y: Array) -> Field:
        """Solve for one sample, y (n_y,), and return u at four times; on one process."""
        points, values, titles, _ = self.snapshots(y[None])
        # The nodes form a grid, which is divided into its smallest quadrilaterals.
        order = np.lexsort(points.round(9).T)
        n = [len(np.unique(points[:, k].round(9))) for k in (0, 1)]
        number = order.reshape(n[1], n[0])
        corners = (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1])
        return Field(
            points=np.column_stack([points, np.zeros(len(points))]),
            kind="quad",
            cells=np.stack([corner.ravel() for corner in corners], axis=1),
            at_points={f"u({title})": u for title, u in zip(titles, values, strict=True)},
            at_cells={},
        )

    def observe(self, U: Array) -> Array:
        """Evaluate u (n_nodes, n) at the sensors: (n_sensors, n) on rank 0, empty elsewhere."""
        X = self._dense(U.shape[1])
        X.getDenseArray()[:] = U
        X.assemble()
        observed = self._sensors.matMult(X)
        values = observed.getDenseArray().copy()  # PETSc's array lives only as long as the matrix
        destroy(X, observed)
        return np.asarray(values)

    def function(self, values: Array) -> Any:
        """Make a DOLFINx function from this process's nodal values, (n_nodes,)."""
        return function(self.V, values)

    @classmethod
    def describe(cls, config: CDRConfig) -> dict[str, Any]:
        """Return the fields of `Info` on parameters and observables: names, units, bounds."""
        n_y = config.bumps.lattice[0] * config.bumps.lattice[1]
        sensors, times = config.observations.sensors, config.observations.times
        simplex = config.sampling.design == "simplex"
        return {
            "y_names": tuple(f"y{k}" for k in range(n_y)),
            "y_units": ("1",) * n_y,
            "y_lower": np.full(n_y, 0.0 if simplex else config.sampling.lower),
            "y_upper": np.full(n_y, 1.0 if simplex else config.sampling.upper),
            "c_names": tuple(f"u(s{j}, {t:g})" for t in times for j in range(len(sensors))),
            "c_units": ("1",) * (len(sensors) * len(times)),
            "coordinates": {
                "time": np.repeat(times, len(sensors)),
                "x1": np.tile([s[0] for s in sensors], len(times)),
                "x2": np.tile([s[1] for s in sensors], len(times)),
            },
        }

    def _dense(self, n: int) -> Any:
        X = PETSc.Mat().createDense((self._sizes, (None, n)), comm=self.comm)
        X.setUp()
        X.assemble()
        return X
