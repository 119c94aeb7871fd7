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
from collections.abc import Iterator
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
from .config import STEEPEST, CDRConfig
from .discretisation import mesh_peclet, operators
from .propagators import Propagator
from .scheme import Forcing, Scheme, Trajectory

_LARGEST_STEP = 2.0  # largest dt |r s'(u)|
_MOST_WORK = 3e7  # for an estimate of the error, unknowns times steps: about half a minute
_MOST_BYTES = 1 << 28  # of the derivatives of u that are held


class CDR(Problem):
    """The discrete problem on one communicator, ready for any number of samples."""

    name = "cdr"
    has_tangents = True
    has_directions = True
    has_adjoints = True
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
        self.peclet = mesh_peclet(config)
        M, A = operators(self.V, degree, config.flow, max(config.node_distances), self.peclet > 1)
        self._scheme = Scheme(config, self.points, M, A)
        sensors = [(*sensor, 0.0) for sensor in config.observations.sensors]
        self._sensors = evaluation(self.V, np.array(sensors))

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

    def solve_batch(
        self, Y: Array, *, tangents: bool | Array = False, adjoints: Array | None = None
    ) -> Batch:
        """Solve for a batch of samples.

        Args:
            Y: Parameters, (n, n_y), the same on every process of the communicator.
            tangents: Whether to solve for dc/dy as well; or directions, (n, r, n_y).
            adjoints: Functionals of c, (r, n_c).

        Returns:
            The batch, complete on rank 0 of the communicator.
        """
        start = time.perf_counter()
        n, n_y = Y.shape
        V = np.eye(n_y)[None] if tangents is True else None
        if isinstance(tangents, np.ndarray):
            V = tangents
        size = self._together(V, adjoints)
        if size >= n:
            batch = self._march(Y, V, adjoints)
            parts = [batch]
        else:
            batch, parts = self._march(Y, None, None), []
            for i in range(0, n, size):
                rows = slice(i, i + size)
                directions = V if V is None or len(V) == 1 else V[rows]
                parts.append(self._march(Y[rows], directions, adjoints))
                _add_records(batch, rows, parts[-1])
        found: dict[str, Any] = {}
        for name in ("dC_dV", "dW_dY"):
            arrays = [getattr(part, name) for part in parts]
            found[name] = None if arrays[0] is None else np.concatenate(arrays)
        for array in (batch.C, *found.values()):
            if array is not None:
                array[[bool(text) for text in batch.failure]] = np.nan
        if tangents is True:
            found["dC_dY"] = found.pop("dC_dV")
        batch.solver["seconds"] = (time.perf_counter() - start) / n
        return dataclasses.replace(batch, **found)

    def _together(self, V: Array | None, W: Array | None) -> int:
        """Return how many samples march together, so that memory is bounded: the same everywhere.

        A sample holds two numbers a node for each of its derivatives, and for adjoints its stages
        in the best division of the steps (`Trajectory`).
        """
        arrays = 0.0 if V is None else 2 * V.shape[1]
        if W is not None:
            arrays += 2 * len(W) + 4 * math.sqrt(self.config.time.steps)
        return max(1, int(_MOST_BYTES / (8 * self._sizes[1] * arrays))) if arrays else 1 << 62

    def _march(self, Y: Array, V: Array | None, W: Array | None) -> Batch:
        """Solve for some samples, and for derivatives in directions V and of functionals W."""
        n, N, steps = len(Y), len(self.points), self.config.time.steps
        scheme = self._scheme
        S = scheme.propagator(fast=V is not None or W is not None)
        S.system.start(n)
        tangents = None if V is None else scheme.tangents(Y, V)
        trajectory = None if W is None else Trajectory(scheme, Y, S)

        def visit(step: int, stages: list[Array]) -> None:
            if tangents is not None:
                tangents.step(stages, step == steps - 1)
            if trajectory is not None:
                trajectory.keep(step, stages)

        series, derivatives = [], []
        march = scheme.march(Y, S, range(steps), visit=visit)
        for step, U in enumerate(march, start=1):
            if step in self._observed:
                self._check(Y, U, S)
                series.append(self.observe(S.restored(U).T))
                if tangents is not None:
                    derivatives.append(self.observe(S.restored(tangents.W).reshape(-1, N).T))
        found: dict[str, Any] = {}
        records = [S.system]
        if tangents is not None:
            dC = np.stack(derivatives)
            dC = dC.reshape(*dC.shape[:2], *tangents.W.shape[:2])
            found["dC_dV"] = dC.transpose(2, 0, 1, 3).reshape(n, -1, dC.shape[3])
            records.append(tangents.propagator.system)
            tangents.destroy()
        if W is not None and trajectory is not None:
            with np.errstate(over="ignore", invalid="ignore"):  # of samples that have failed
                found["dW_dY"], system = self._backwards(trajectory, W)
            records.append(system)
        C = np.stack(series).transpose(2, 0, 1).reshape(n, -1)  # sensor fastest
        solver = np.zeros(n, SOLVER)
        solver["iterations"] = sum(record.iterations for record in records)
        solver["residual"] = np.max([record.residual for record in records], axis=0)
        failure = [max(texts) for texts in zip(*[r.failure for r in records], strict=True)]
        return Batch(C=C, failure=failure, solver=solver, **found)

    def _backwards(self, trajectory: Trajectory, W: Array) -> tuple[Array, LinearSystem]:
        """Return W dc/dy, (n, r, n_y), and the records of the solves."""
        times = sorted(self._observed)
        weights = W.reshape(len(W), len(times), -1)
        adjoints = self._scheme.adjoints(trajectory.Y, len(W))
        e, weight = self._sensors.createVecLeft(), self._sensors.createVecRight()
        for step, stages in trajectory.backwards():
            if step + 1 in self._observed:
                for k, row in enumerate(weights[:, times.index(step + 1)]):
                    e.array[:] = row[: e.local_size]
                    self._sensors.multTranspose(e, weight)
                    adjoints.W[:, k] += adjoints.propagator.arranged(weight.array)
            adjoints.step(stages, step == 0)
        destroy(e, weight)
        gradient = adjoints.propagator.restored(adjoints.gradient)
        dW_dY = self.comm.allreduce(gradient @ (self._scheme.dt * self._scheme.basis))
        adjoints.destroy()
        return dW_dY, adjoints.propagator.system

    @property
    def _observed(self) -> set[int]:
        """The steps after which u is observed."""
        return {round(t / self._scheme.dt) for t in self.config.observations.times}

    def _check(self, Y: Array, U: Array, S: Propagator) -> None:
        """Fail the samples whose u, (n, K), is wrong although the linear solves are right.

        The time step may be unstable; and by the maximum principle u has the sign of the sources.
        """
        S.check(U, slice(0, len(U)), 1)
        strength = self.config.sources.strength
        rate = np.abs(self._scheme.basis @ Y.T).max(axis=0, initial=0.0)
        signed = U if strength >= 0 else -U
        with np.errstate(invalid="ignore"):
            values = np.array(
                [rate, -signed.min(axis=1, initial=0.0), signed.max(axis=1, initial=0)]
            )
        rate, below, above = np.max(self.comm.allgather(values), axis=0)
        step = self._scheme.dt * rate * STEEPEST[self.config.reaction.law](self.config.reaction)
        for j, text in enumerate(S.system.failure):
            if not text and step[j] > _LARGEST_STEP:
                S.system.failure[j] = (
                    "the time step is too long for the reaction: "
                    f"dt |r s'(u)| is up to {step[j]:.2g}, the limit is {_LARGEST_STEP:g}"
                )
            elif not text and below[j] > 0.1 * above[j]:
                S.system.failure[j] = (
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
        S = self._scheme.propagator()
        S.system.start(len(Y))
        u = None if initial is None else np.tile(initial, (len(Y), 1))
        steps = range(self.config.time.steps)
        for U in self._scheme.march(Y, S, steps, u=u, forcing=forcing):
            yield U.T

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
        S = self._scheme.propagator()
        S.system.start(1)
        march = self._scheme.march(Y, S, range(self.config.time.steps))
        for step, U in enumerate(march, start=1):
            if step in steps:
                self._check(Y, U, S)
                values[steps == step] = U[0]
        failure = S.system.failure[0]
        check(not failure, f"the solve failed: {failure}")
        titles = [f"t = {step * self._scheme.dt:.2f}" for step in steps]
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
        X = PETSc.Mat().createDense((self._sizes, (None, U.shape[1])), comm=self.comm)
        X.setUp()
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


def _add_records(batch: Batch, rows: slice, part: Batch) -> None:
    """Add the records of another march of some samples to theirs."""
    solver, failure = batch.solver[rows], batch.failure
    failure[rows] = [a or b for a, b in zip(failure[rows], part.failure, strict=True)]
    solver["iterations"] += part.solver["iterations"]
    solver["residual"] = np.fmax(solver["residual"], part.solver["residual"])
