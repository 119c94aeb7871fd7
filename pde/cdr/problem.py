r"""Convection, diffusion and reaction of a species in the unit square: y in R^55 to c in R^72.

Strong form (all quantities dimensionless), with Omega = (0,1)^2 and t in (0, T]:

    du/dt = div(D grad u) - v . grad u + f + r(x; y) s(u),   r(x; y) = rate sum_k y_k psi_k(x)
    D grad u . n = 0 on the boundary,   u(., 0) = 0

v is a constant drift plus the swirl (sin(pi x1) cos(pi x2), -cos(pi x1) sin(pi x2)) times its
largest speed, f a sum of Gaussians, s a reaction law. psi_k are Gaussians divided by their mean at
x, so that equal weights y_k = 1/n_y give the uniform rate: k = j m1 + i has its centre at
((i + 1/2)/m1, (j + 1/2)/m2) on an m1 x m2 lattice, and in each direction the standard deviation
width times the lattice's spacing. c holds u at the sensors at each time, sensor fastest. The
problem is that of Newman, Ruthotto, Hart and van Bloemen Waanders, "Train Like a (Var)Pro" (2021);
its constants are not published, so the defaults are our own, for a map as rich as the published
data's.

Weak form, in Lagrange elements on quadrilaterals:

    m(du/dt - N(u), w) + a(u, w) = 0,   m(u, w) = (u, w + tau v . grad w)
    a(u, w) = (D grad u, grad w) + (v . grad u - D lap u, tau v . grad w) + (v . grad u, w)
              + 0.3 h^2 <max(-v . n, 0) n . grad u, n . grad w>

where N(u) = f + r s(u) is interpolated at the nodes, and tau = max(0, h/(2 |v|) - D/|v|^2), h the
distance of nodes, is zero unless the mesh Peclet number |v| h / (2 D) exceeds one (SUPG: Brooks and
Hughes 1982). So is the term on the boundary where the flow comes in: nothing but diffusion holds u
there, and on a mesh that does not resolve its layer errors would grow as exp(8 t) with degree 4
(with the term as exp(0.8 t), by the eigenvalues of m and a). Both vanish for the solution.

In time, the implicit-explicit Runge-Kutta method (4,4,3) of Ascher, Ruuth and Spiteri (1997), N
explicit: it is of order 3, its last stage is the step's result, and with N at the nodes no mass
matrix is ever inverted. All its stages, steps and samples share one matrix, m + dt/2 a, which is
factored once. The explicit part is stable only while dt |r s'(u)| is below 2.5 or so.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import ufl
from dolfinx import fem, mesh
from dolfinx.fem.petsc import assemble_matrix
from mpi4py import MPI
from petsc4py import PETSc

from surrogates.config import check, unknown
from surrogates.data import SOLVER
from surrogates.types import Array

from .. import resolution
from ..fenicsx import form, function_space
from ..fields import Field
from ..linear import LinearSystem, Solver, destroy
from ..points import digest, evaluation
from ..problem import Problem
from ..results import Batch
from ..sampling import DESIGNS
from . import figures

Forcing = Callable[[Array, float], Array]

# Ascher, Ruuth, Spiteri (1997), section 2.8. Row i: the weights of stages 0 to i.
IMPLICIT = np.array(
    [
        [0, 0, 0, 0, 0],
        [0, 1 / 2, 0, 0, 0],
        [0, 1 / 6, 1 / 2, 0, 0],
        [0, -1 / 2, 1 / 2, 1 / 2, 0],
        [0, 3 / 2, -3 / 2, 1 / 2, 1 / 2],
    ]
)
EXPLICIT = np.array(
    [
        [0, 0, 0, 0],
        [1 / 2, 0, 0, 0],
        [11 / 18, 1 / 18, 0, 0],
        [5 / 6, -5 / 6, 1 / 2, 0],
        [1 / 4, 7 / 4, 3 / 4, -7 / 4],
    ]
)
GAMMA = 1 / 2
NODES = IMPLICIT.sum(axis=1)


def _ignition(u: Array, saturation: float, activation: float) -> Array:
    hot = np.maximum(u, 1e-3 * activation)  # exp(-1000) is 0
    return np.asarray(saturation * np.exp(-activation / hot))


# |u| keeps the denominator away from 0 where an unresolved front undershoots.
LAWS: dict[str, Callable[[Array, Any], Array]] = {
    "linear": lambda u, p: u,
    "logistic": lambda u, p: u * (1 - u / p.capacity),
    "michaelis-menten": lambda u, p: u / (1 + np.abs(u) / p.saturation),
    "ignition": lambda u, p: _ignition(u, p.saturation, p.activation),
}


# The largest |s'(u)| for u >= 0, and up to the capacity for logistic growth.
STEEPEST: dict[str, Callable[[Any], float]] = {
    "linear": lambda p: 1.0,
    "logistic": lambda p: 1.0,
    "michaelis-menten": lambda p: 1.0,
    "ignition": lambda p: 4 * np.exp(-2) * float(p.saturation / p.activation),
}
_LARGEST_STEP = 2.0  # of dt |r s'(u)|
_FARTHEST = 2.5  # of a node from the next one, over a Gaussian's standard deviation
_MOST_WORK = 3e7  # for an estimate of the error, unknowns times steps: half a minute or so


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Quadrilaterals in each direction and the degree of the elements on them.

    Attributes:
        cells: Numbers of cells along x1 and x2.
        degree: Polynomial degree of the elements, 1 to 8.
    """

    cells: tuple[int, int] = (8, 8)
    degree: int = 4

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(
            all(1 <= n <= 10_000 for n in self.cells),
            f"mesh.cells must be 1 to 10000; got {list(self.cells)}",
        )
        check(1 <= self.degree <= 8, f"mesh.degree must be 1 to 8; got {self.degree}")


@dataclass(frozen=True, kw_only=True)
class Time:
    """Final time and the number of equal steps to it.

    Attributes:
        final: Final time T.
        steps: Number of time steps.
    """

    final: float = 1.5
    steps: int = 60

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(self.final > 0, f"time.final must be positive; got {self.final}")
        check(1 <= self.steps <= 10**7, f"time.steps must be 1 to 10^7; got {self.steps}")


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Diffusivity and velocity: the swirl's largest speed, and the drift.

    Attributes:
        diffusivity: Diffusivity D.
        swirl: Largest speed of the divergence-free swirl.
        drift: Constant velocity that is added to the swirl, along x1 and x2.
    """

    diffusivity: float = 0.02
    swirl: float = 0.5
    drift: tuple[float, float] = (0.2, 0.1)

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(self.diffusivity > 0, f"flow.diffusivity must be positive; got {self.diffusivity}")


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Gaussian sources: centres, standard deviation, and rate at a centre.

    Attributes:
        centres: Centres of the sources; none for no source.
        width: Standard deviation of each source.
        strength: Rate at the centre of a source.
    """

    centres: tuple[tuple[float, float], ...] = ((0.25, 0.3), (0.5, 0.7), (0.75, 0.35))
    width: float = 0.08
    strength: float = 5.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(self.width > 0, f"sources.width must be positive; got {self.width}")


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """Reaction law s(u), the rate in front of it, and the constants that the laws use.

    ``linear`` is u, ``logistic`` u (1 - u / capacity), ``michaelis-menten``
    u / (1 + u / saturation), ``ignition`` saturation exp(-activation / u): nothing happens until u
    comes near the activation, in the spirit of wildfire models (Grasso and Innocente 2018).

    Attributes:
        law: Reaction law: ``linear``, ``logistic``, ``michaelis-menten`` or ``ignition``.
        rate: Factor of the law; 0 for no reaction.
        saturation: Constant of ``michaelis-menten`` and ``ignition``.
        capacity: Carrying capacity of ``logistic``.
        activation: Value of u near which ``ignition`` begins.
    """

    law: str = "michaelis-menten"
    rate: float = 4.0
    saturation: float = 40.0
    capacity: float = 20.0
    activation: float = 5.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(self.law in LAWS, unknown(f"reaction.law {self.law!r}", self.law, LAWS))
        for name in ("saturation", "capacity", "activation"):
            value = getattr(self, name)
            check(value > 0, f"reaction.{name} must be positive; got {value}")


@dataclass(frozen=True, kw_only=True)
class Bumps:
    """Lattice of the functions psi_k, and their width as a multiple of its spacing.

    Attributes:
        lattice: Numbers of bumps along x1 and x2; y has a weight for each bump.
        width: Standard deviation of a bump, as a multiple of the lattice's spacing.
    """

    lattice: tuple[int, int] = (11, 5)
    width: float = 0.9

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(
            all(1 <= m <= 100 for m in self.lattice),
            f"bumps.lattice must be 1 to 100; got {list(self.lattice)}",
        )
        check(0.3 <= self.width <= 5, f"bumps.width must be 0.3 to 5; got {self.width}")

    @property
    def spread(self) -> tuple[float, float]:
        """Standard deviations along x1 and x2."""
        return self.width * (1 / self.lattice[0]), self.width * (1 / self.lattice[1])


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Where and when u is observed; every time is a multiple of the time step.

    Attributes:
        sensors: Places of the sensors in the unit square.
        times: Times of the observations; they increase.
    """

    sensors: tuple[tuple[float, float], ...] = (
        (0.56, 0.48),
        (0.60, 0.48),
        (0.64, 0.48),
        (0.56, 0.52),
        (0.60, 0.52),
        (0.64, 0.52),
    )
    times: tuple[float, ...] = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(len(self.sensors) > 0, "observations.sensors must name at least one")
        check(len(self.times) > 0, "observations.times must name at least one")
        for sensor in self.sensors:
            check(
                all(0 <= x <= 1 for x in sensor),
                f"observations.sensors must lie in the unit square; got {list(sensor)}",
            )
        check(
            all(a < b for a, b in zip((0.0, *self.times), self.times, strict=False)),
            f"observations.times must be positive and increase; got {list(self.times)}",
        )


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Sampling design, and the bounds of every y_k for those that fill a box.

    Attributes:
        design: Sampling design: ``simplex``, ``box``, ``latin-hypercube`` or ``sobol``.
        lower: Lower bound of every y_k; ``simplex`` does not use it.
        upper: Upper bound of every y_k; ``simplex`` does not use it.
    """

    design: str = "simplex"
    lower: float = 0.0
    upper: float = 2 / 55

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(
            self.design in DESIGNS,
            unknown(f"sampling.design {self.design!r}", self.design, DESIGNS),
        )
        check(
            self.lower < self.upper,
            f"sampling.lower must be below sampling.upper; got {self.lower} and {self.upper}",
        )


@dataclass(frozen=True, kw_only=True)
class CDRConfig:
    """The problem's whole configuration; each field is a TOML table."""

    mesh: Mesh = field(default_factory=Mesh)
    time: Time = field(default_factory=Time)
    flow: Flow = field(default_factory=Flow)
    sources: Sources = field(default_factory=Sources)
    reaction: Reaction = field(default_factory=Reaction)
    bumps: Bumps = field(default_factory=Bumps)
    observations: Observations = field(default_factory=Observations)
    sampling: Sampling = field(default_factory=Sampling)
    solver: Solver = field(default_factory=Solver)

    def __post_init__(self) -> None:
        """Check that the times are those of steps."""
        dt = self.time.final / self.time.steps
        steps = {round(t / dt) for t in self.observations.times}
        check(
            len(steps) == len(self.observations.times),
            f"observations.times must be at different time steps of {dt:g}; "
            f"got {list(self.observations.times)}",
        )
        for t in self.observations.times:
            check(
                0 < round(t / dt) <= self.time.steps and abs(t / dt - round(t / dt)) < 1e-6,
                f"observations.times must be multiples of the time step {dt:g} up to "
                f"{self.time.final:g}; got {t:g}",
            )
        self._check_lengths()

    def _check_lengths(self) -> None:
        """Check that the nodes are close enough for every length in the equation.

        A Gaussian is lost between nodes three standard deviations apart: c is 30 % off, and an
        estimate from a finer mesh no longer sees how much. Nodes at half a standard deviation (at a
        quarter, of degree 1) leave 1 % of c's spread.
        """
        distances, degree = self.node_distances, self.mesh.degree
        for name, lengths in self.lengths.items():
            needed = [np.ceil((4 if degree == 1 else 2) / (degree * s)) for s in lengths]
            cells = [max(n, int(k)) for n, k in zip(self.mesh.cells, needed, strict=True)]
            check(
                all(h <= _FARTHEST * s for h, s in zip(distances, lengths, strict=True)),
                f"{name} needs mesh.cells of at least {cells} at mesh.degree={degree}; got "
                f"{list(self.mesh.cells)}, whose nodes are {distances[0]:.3g} and "
                f"{distances[1]:.3g} apart along x1 and x2, and the standard deviations are "
                f"{lengths[0]:.3g} and {lengths[1]:.3g}",
            )

    @property
    def node_distances(self) -> tuple[float, float]:
        """Distances of nodes along x1 and x2."""
        n1, n2 = self.mesh.cells
        return 1 / (n1 * self.mesh.degree), 1 / (n2 * self.mesh.degree)

    @property
    def lengths(self) -> dict[str, tuple[float, float]]:
        """Standard deviations along x1 and x2 of the equation's Gaussians, by their settings."""
        found = {}
        if self.sources.strength != 0 and self.sources.centres:
            found[f"sources.width={self.sources.width:g}"] = (self.sources.width,) * 2
        if self.reaction.rate != 0:
            # One bump alone is constant.
            spread1, spread2 = (
                s if m > 1 else np.inf
                for s, m in zip(self.bumps.spread, self.bumps.lattice, strict=True)
            )
            found[f"bumps.lattice={list(self.bumps.lattice)}"] = (spread1, spread2)
        return found

    @property
    def is_no_coarser(self) -> bool:
        """Whether this is the default's problem, on the default's mesh and steps or finer ones."""
        default = CDRConfig()
        old, new = default.mesh, self.mesh
        time = dataclasses.replace(default.time, steps=self.time.steps)
        same = dataclasses.replace(default, mesh=new, time=time, solver=self.solver)
        return (
            self == same
            and all(n >= m for n, m in zip(new.cells, old.cells, strict=True))
            and new.degree >= old.degree
            and time.steps >= default.time.steps
        )


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
        self._M, A = _operators(
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

        That of the default was measured, and is small. Any other setting may change it, or how
        much c varies: an estimate costs less than a batch.

        Raises:
            InputError: If c would say nothing of y.
        """
        if config.is_no_coarser:
            return ()
        n1, n2, steps = *config.mesh.cells, config.time.steps

        def cells(factor: float) -> tuple[str, ...]:
            return (f"mesh.cells={[math.ceil(factor * n1 - 1e-6), math.ceil(factor * n2 - 1e-6)]}",)

        def more_steps(factor: float) -> tuple[str, ...]:
            return (
                f"time.steps={math.ceil(factor - 1e-6) * steps}",
            )  # of which times are multiples

        order = config.mesh.degree + 1
        finer = [
            resolution.Refinement(order=order, factor=1.5, settings=cells),
            resolution.Refinement(order=3, factor=2.0, settings=more_steps),
        ]
        unknowns = 1.5**2 * n1 * n2 * config.mesh.degree**2
        direct = dataclasses.replace(config, solver=Solver())  # the same c, for less work
        return resolution.notes(cls, direct, finer, unknowns * steps / _MOST_WORK)

    @classmethod
    def compile(cls, config: CDRConfig) -> None:
        """Compile the forms, which every process and later run then finds in the cache."""
        degree = config.mesh.degree
        # Twice, each time on a new mesh: FFCx 0.5 names a form otherwise where it has just compiled
        # another one on the same mesh, and other processes will find the first one in the cache.
        for _ in range(2):
            one = mesh.create_unit_square(MPI.COMM_SELF, 1, 1, mesh.CellType.quadrilateral)
            V = function_space(one, degree)
            _operators(V, degree, config.flow, 1.0, mesh_peclet(config) > 1)

    @classmethod
    def design(cls, config: CDRConfig) -> str:
        """Give the sampling design."""
        return config.sampling.design

    @classmethod
    def batch(cls, config: CDRConfig) -> int:
        """Give the number of samples that are solved and saved together."""
        return config.solver.batch

    @cached_property
    def mesh(self) -> str:
        """Size, mesh Peclet number and hash, one line; collective when first asked for."""
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
        """Fail the samples whose u, (n_nodes, n), is no solution though the solves are right.

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
            forcing: Added to f: ``forcing(points (n_nodes, 2), t)`` gives (n_nodes,) values, as
                manufactured solutions need.
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
        """Solve for one sample, y (n_y,), and give u at four times; on one process."""
        points, values, titles, _ = self.snapshots(y[None])
        # The nodes are those of a grid of lines, which its smallest quadrilaterals connect.
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
        values = observed.getDenseArray().copy()  # its own array lives as long as the matrix
        destroy(X, observed)
        return np.asarray(values)

    def function(self, values: Array) -> Any:
        """Make a DOLFINx function of this process's nodal values, (n_nodes,)."""
        u = fem.Function(self.V)
        u.x.array[: self._sizes[0]] = values
        u.x.scatter_forward()
        return u

    @classmethod
    def describe(cls, config: CDRConfig) -> dict[str, Any]:
        """Return what `Info` says of the parameters and observables: names, units, bounds."""
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


def mesh_peclet(config: CDRConfig) -> float:
    """Return the largest |v| h / (2 D), h the distance of nodes."""
    return largest_speed(config.flow) * max(config.node_distances) / (2 * config.flow.diffusivity)


def largest_speed(flow: Flow) -> float:
    """Return the largest |v|."""
    x1, x2 = np.pi * np.stack(np.meshgrid(*[np.linspace(0, 1, 101)] * 2))
    speed = np.hypot(
        flow.swirl * np.sin(x1) * np.cos(x2) + flow.drift[0],
        -flow.swirl * np.cos(x1) * np.sin(x2) + flow.drift[1],
    )
    return float(speed.max())


def bumps(points: Array, config: Bumps) -> Array:
    """Evaluate psi_k at points (n, 2): (n, n_y), each row with the sum n_y."""
    m1, m2 = config.lattice
    centres = np.array([((i + 0.5) / m1, (j + 0.5) / m2) for j in range(m2) for i in range(m1)])
    square = (((points[:, None] - centres) / config.spread) ** 2).sum(axis=2)
    # The largest exponent is 0, so that narrow bumps do not all vanish between their centres.
    phi = np.exp(-0.5 * (square - square.min(axis=1, keepdims=True)))
    return np.asarray(phi * (m1 * m2 / phi.sum(axis=1, keepdims=True)))


def sources(points: Array, config: Sources) -> Array:
    """Evaluate f at points (n, 2): (n,)."""
    f = np.zeros(len(points))
    for centre in config.centres:
        square = ((points - np.array(centre)) ** 2).sum(axis=1)
        f += config.strength * np.exp(-square / (2 * config.width**2))
    return f


def _operators(V: Any, degree: int, flow: Flow, h: float, stabilised: bool) -> tuple[Any, Any]:
    """Assemble m and a. Constants, not numbers, in the forms: they are compiled once for all."""
    domain = V.mesh
    u, w = ufl.TrialFunction(V), ufl.TestFunction(V)
    x = ufl.SpatialCoordinate(domain)
    D = fem.Constant(domain, PETSc.ScalarType(flow.diffusivity))
    swirl = fem.Constant(domain, PETSc.ScalarType(flow.swirl))
    drift = fem.Constant(domain, np.array(flow.drift, dtype=PETSc.ScalarType))
    v = drift + swirl * ufl.as_vector(
        [
            ufl.sin(ufl.pi * x[0]) * ufl.cos(ufl.pi * x[1]),
            -ufl.cos(ufl.pi * x[0]) * ufl.sin(ufl.pi * x[1]),
        ]
    )
    test, residual = w, ufl.dot(v, ufl.grad(u))
    a = D * ufl.dot(ufl.grad(u), ufl.grad(w))
    if stabilised:
        distance = fem.Constant(domain, PETSc.ScalarType(h))
        speed = ufl.sqrt(ufl.dot(v, v) + 1e-30)
        tau = ufl.max_value(distance / (2 * speed) - D / speed**2, 0)
        test = w + tau * ufl.dot(v, ufl.grad(w))
        a = a - D * ufl.div(ufl.grad(u)) * tau * ufl.dot(v, ufl.grad(w))
    quadrature = {"quadrature_degree": 2 * degree + 2}
    dx, ds = ufl.dx(metadata=quadrature), ufl.ds(metadata=quadrature)
    a = (a + residual * test) * dx
    if stabilised:
        normal = ufl.FacetNormal(domain)
        inflow = 0.3 * distance**2 * ufl.max_value(-ufl.dot(v, normal), 0)
        a = a + inflow * ufl.dot(normal, ufl.grad(u)) * ufl.dot(normal, ufl.grad(w)) * ds
    m = assemble_matrix(form(u * test * dx))
    m.assemble()
    A = assemble_matrix(form(a))
    A.assemble()
    return m, A
