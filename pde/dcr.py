r"""DC resistivity in three dimensions: y in R^3 to c in R^882.

Strong form in a box with the surface x3 = 0, lengths in m, conductivity m in S/m, current I in A,
potential u in V:

    -div(m(x; y) grad u) = I (delta(x - x_A) - delta(x - x_B)),   m grad u . n = 0 on the boundary

A and B are electrodes at the surface, y = (depth, volume, rotation) of a conductive body (see
`body`), and c the differences of u over receiver dipoles at a grid of stations, first those along
x1, then those along x2. The problem is that of Newman, Ruthotto, Hart and van Bloemen Waanders,
"Train Like a (Var)Pro" (2021); its constants are not published, so the defaults are our own.

**Secondary potential.** u = u0 + d, where u0 is the potential without the body: that of the
electrodes in a half-space, +-I/(2 pi m0 |x - x_e|), and a correction u_far, found once, whose flux
cancels the half-space's through the sides and the bottom of the box. The rest is smooth. In
trilinear elements (linear on tetrahedra), with the stiffness matrices A(y) = A0 + D(y), A0 of the
background,

    A(y) d = -D(y) u0

D has entries at nodes of the body only, and only its cells are assembled for each sample.

**Observables.** A0 d = -D(y)(u0 + d) =: r is the current that the body's charges send out, at the
nodes of the body. c = c0 + G^T r, where c0 is of u0, and column j of G the potential at those nodes
of a unit current through receiver dipole j, without the body (reciprocity): again that of a
half-space, and a correction for the far sides, which is so smooth a function of the receiver's
place that 16 solves and Chebyshev interpolation give it. No mesh between the body and the stations
is involved, so the cells can grow fast outside of the region that bodies can reach, and the error
of c is that of u in the body, with an expansion in h^2.

**Extrapolation.** On the built-in mesh, c is made of those of the mesh and of one with cells 3/2
as large: (9 c_h - 4 c_H) / 5 (Richardson, for an error in h^2). The term in h^4 that is left is
9/16 of what is left with cells twice as large, whose own error is hardly one in h^2.

**Tangents.** dc/dy_k = G^T A0 d', with A(y) d' = -dD/dy_k (u0 + d): one more solve each, with the
same preconditioner. dD/dy is the complex step's, exact to rounding.

With ``solver.formulation = "total"``, for checks, the electrodes are point sources on the mesh and
u is interpolated at the stations; the error near an electrode is then large.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem, mesh
from dolfinx.fem.petsc import assemble_matrix, assemble_vector
from mpi4py import MPI
from petsc4py import PETSc

from surrogates import plotting
from surrogates.config import check, unknown
from surrogates.dataset import SOLVER

from . import meshes
from .body import INDICES, Body
from .fenicsx import cell_vertices, form, function_space
from .linear import destroy, failure
from .points import digest, evaluation
from .problem import Batch, Field
from .sampling import DESIGNS, draw

Array = npt.NDArray[np.float64]

PREFIX = "dcr_"
MULTIGRID = {
    "ksp_norm_type": "natural",
    "pc_gamg_reuse_interpolation": "true",
    "pc_gamg_agg_nsmooths": 0,
    "pc_gamg_square_graph": 0,  # up to PETSc 3.18
    "pc_gamg_aggressive_coarsening": 0,
    "mg_levels_ksp_type": "chebyshev",
    "mg_levels_pc_type": "sor",
    "mg_coarse_pc_type": "svd",
}
"""PETSc's options under the prefix that hold unless the user gives others.

Plain aggregation: the hierarchy is made once, of the background, and its coarse matrices are sums
of the fine one's entries, so that a sample's set-up costs little. The coarsest matrix is singular,
as A is.
"""
EIGENVALUES = {"mg_levels_ksp_chebyshev_eigenvalues": "0.1,1.0"}
"""On one process: symmetric relaxation has its largest eigenvalue at 1, which needs no estimate."""

_KNOTS = 4  # along x1 and x2, for the far-side correction of the receivers


@dataclass(frozen=True, kw_only=True)
class Domain:
    """Box: extent [m] along x1, x2 and x3, centred at x1 = x2 = 0, below x3 = 0."""

    size: tuple[float, float, float] = (1000.0, 1000.0, 500.0)

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(all(s > 0 for s in self.size), f"domain.size must be positive; got {self.size}")


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Hexahedra, as `meshes.graded` takes them, or a file that meshio reads.

    ``cells`` are those of the region that bodies can reach, ``above`` those between it and the
    surface, ``layers`` those around it. With ``extrapolate``, 3 divides all of these. A file's
    lengths are in m and its top is x3 = 0; it takes the place of the box, and there is no
    extrapolation.
    """

    cells: tuple[int, int, int] = (18, 18, 24)
    above: int = 3
    layers: int = 9
    extrapolate: bool = True
    file: str = ""

    def __post_init__(self) -> None:
        """Check the ranges."""
        numbers = (*self.cells, self.above, self.layers)
        check(
            all(1 <= n <= 1000 for n in numbers),
            f"mesh.cells, mesh.above and mesh.layers must be 1 to 1000; got {numbers}",
        )
        check(
            not self.extrapolate or bool(self.file) or all(n % 3 == 0 for n in numbers),
            "mesh.cells, mesh.above and mesh.layers must be multiples of 3 with mesh.extrapolate; "
            f"got {numbers}",
        )


@dataclass(frozen=True, kw_only=True)
class Conductivity:
    """Conductivities [S/m] of the background and of the body."""

    background: float = 0.01
    body: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("background", "body"):
            value = getattr(self, name)
            check(value > 0, f"conductivity.{name} must be positive; got {value}")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Electrodes [m] where the current [A] comes in and goes out, at the surface."""

    electrodes: tuple[tuple[float, float, float], tuple[float, float, float]] = (
        (-75.0, 0.0, 0.0),
        (75.0, 0.0, 0.0),
    )
    current: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(self.current != 0, "source.current must not be 0")
        check(
            self.electrodes[0] != self.electrodes[1],
            f"source.electrodes must be two places; got {list(self.electrodes[0])} twice",
        )


@dataclass(frozen=True, kw_only=True)
class Stations:
    """Grid of stations at the surface: the first one [m], spacing [m] and number along x1 and x2.

    At each station, u is measured over two dipoles of a length [m] with their centres there.
    """

    first: tuple[float, float, float] = (-50.0, -50.0, 0.0)
    spacing: tuple[float, float] = (5.0, 5.0)
    number: tuple[int, int] = (21, 21)
    dipole: float = 5.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(all(s > 0 for s in self.spacing), f"stations.spacing must be positive; got {self}")
        check(
            all(1 <= n <= 1000 for n in self.number),
            f"stations.number must be 1 to 1000; got {list(self.number)}",
        )
        check(self.dipole > 0, f"stations.dipole must be positive; got {self.dipole}")

    @property
    def centres(self) -> Array:
        """Places of the stations, x1 fastest, (n, 3)."""
        x1, x2 = (
            a + s * np.arange(n)
            for a, s, n in zip(self.first, self.spacing, self.number, strict=False)
        )
        plane = np.stack(np.meshgrid(x1, x2), axis=-1).reshape(-1, 2)
        return np.column_stack([plane, np.full(len(plane), self.first[2])])

    @property
    def ends(self) -> tuple[Array, Array]:
        """Places of the two electrodes of each receiver dipole, each (2 n, 3)."""
        steps = self.dipole / 2 * np.eye(3)[:2]
        plus, minus = (
            np.concatenate([self.centres + sign * step for step in steps]) for sign in (1, -1)
        )
        return plus, minus


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Sampling design, and bounds of depth [m], volume [m^3] and rotation [rad]."""

    design: str = "box"
    depth: tuple[float, float] = (20.0, 35.0)
    volume: tuple[float, float] = (1500.0, 4000.0)
    rotation: tuple[float, float] = (-1.5707963, 1.5707963)

    def __post_init__(self) -> None:
        """Check the ranges."""
        designs = [design for design in DESIGNS if design != "simplex"]
        check(
            self.design in designs,
            unknown(f"sampling.design {self.design!r}", self.design, designs),
        )
        for name in ("depth", "volume", "rotation"):
            low, high = getattr(self, name)
            check(
                name == "rotation" or low > 0,
                f"sampling.{name} must be positive; got {low:g} to {high:g}",
            )
            check(low < high, f"sampling.{name} must be [low, high]; got {low:g} and {high:g}")


@dataclass(frozen=True, kw_only=True)
class Solver:
    """How the systems are solved: conjugate gradients with an algebraic multigrid method (GAMG).

    PETSc options with the prefix ``dcr_`` apply, such as ``dcr_ksp_monitor`` and ``dcr_pc_type``.
    The tolerance is relative to d = 0, in the norm of the preconditioner; it keeps the error of c
    well below that of the mesh.
    """

    formulation: str = "secondary"
    rtol: float = 1e-6
    max_iterations: int = 200
    batch: int = 20

    def __post_init__(self) -> None:
        """Check the ranges."""
        formulations = ("secondary", "total")
        check(
            self.formulation in formulations,
            unknown(f"solver.formulation {self.formulation!r}", self.formulation, formulations),
        )
        check(0 < self.rtol < 1, f"solver.rtol must be between 0 and 1; got {self.rtol}")
        check(
            self.max_iterations >= 1,
            f"solver.max_iterations must be at least 1; got {self.max_iterations}",
        )
        check(self.batch >= 1, f"solver.batch must be at least 1; got {self.batch}")


@dataclass(frozen=True, kw_only=True)
class DCRConfig:
    """The problem's whole configuration; each field is a TOML table."""

    domain: Domain = field(default_factory=Domain)
    mesh: Mesh = field(default_factory=Mesh)
    conductivity: Conductivity = field(default_factory=Conductivity)
    body: Body = field(default_factory=Body)
    source: Source = field(default_factory=Source)
    stations: Stations = field(default_factory=Stations)
    sampling: Sampling = field(default_factory=Sampling)
    solver: Solver = field(default_factory=Solver)

    def __post_init__(self) -> None:
        """Check what is between the tables."""
        small, large = self.sampling.volume
        thinnest = float(self.body.semi_axes(small).min())
        check(
            thinnest > self.body.blend / 2,
            f"body.blend must be below the body's smallest thickness, {2 * thinnest:.3g} m at a "
            f"volume of {small:g} m^3; got {self.body.blend:g} m",
        )
        plane, upwards = self.body.reach(large)
        top = self.sampling.depth[0] - upwards
        check(
            top > 0,
            f"the body touches the surface: with its edge it reaches {upwards:.3g} m upwards at a "
            f"volume of {large:g} m^3, and the depth of its centre can be "
            f"{self.sampling.depth[0]:g} m",
        )
        receivers = np.concatenate(self.stations.ends)
        for x in self.source.electrodes:
            check(
                float(np.linalg.norm(receivers - np.array(x), axis=1).min()) > 1e-6,
                f"there is a station's electrode on the source's electrode {list(x)}",
            )
        for what, points in (("electrode", self.source.electrodes), ("station", receivers)):
            for x in points:
                check(
                    x[2] == 0,
                    f"every {what} must be at the surface, x3 = 0; got {[float(v) for v in x]}",
                )
        if not self.mesh.file:
            half = np.array(self.domain.size)
            half[:2] /= 2
            self.check_box(np.array([*-half[:2], -half[2]]), np.array([*half[:2], 0]), "the box")
            core = self.core
            steps = 2 * core[0], 2 * core[1], core[3] - core[2]
            self.check_cells(
                max(s / n for s, n in zip(steps, self.mesh.cells, strict=True))
                * (1.5 if self.mesh.extrapolate else 1)
            )

    @property
    def core(self) -> tuple[float, float, float, float]:
        """Half-widths and depths of top and bottom of the region that bodies can reach [m]."""
        plane, upwards = self.body.reach(self.sampling.volume[1])
        low, high = self.sampling.depth
        half = [abs(c) + 1.02 * plane for c in self.body.centre]
        return half[0], half[1], low - upwards, high + upwards

    def check_box(self, lower: Array, upper: Array, name: str) -> None:
        """Check that a box holds all bodies, electrodes and stations."""
        half1, half2, _, bottom = self.core
        for x in self.source.electrodes:
            self._check_inside(x, lower, upper, f"an electrode is outside {name}")
        for end in self.stations.ends:
            for x in end[[0, -1]]:
                self._check_inside(x, lower, upper, f"a station is outside {name}")
        check(
            bool((lower < [-half1, -half2, -bottom]).all() and (upper[:2] > [half1, half2]).all()),
            f"the body leaves {name}: with its edge it can reach {half1:.4g} m along x1, "
            f"{half2:.4g} m along x2 and {bottom:.4g} m down; the limits are "
            f"{lower.tolist()} and {upper.tolist()} m",
        )

    @staticmethod
    def _check_inside(x: Any, lower: Array, upper: Array, message: str) -> None:
        check(
            bool((lower[:2] < x[:2]).all() and (x[:2] < upper[:2]).all()),
            f"{message}: {[float(v) for v in x]} m, and the limits are {lower.tolist()} and "
            f"{upper.tolist()} m",
        )

    def check_cells(self, size: float) -> None:
        """Check that cells of a size resolve the thinnest body."""
        thickness = 2 * float(self.body.semi_axes(self.sampling.volume[0]).min())
        check(
            size <= thickness / 2,
            f"the mesh is too coarse for the body: cells of {size:.3g} m, and at a volume of "
            f"{self.sampling.volume[0]:g} m^3 the body is {thickness:.3g} m thick; at least two "
            "cells must fit",
        )


class DCR:
    """The discrete problem on one communicator, ready for any number of samples."""

    name = "dcr"
    has_tangents = True

    def __init__(self, config: DCRConfig, comm: MPI.Comm) -> None:
        """Make the meshes, assemble the background, and solve for what all samples share.

        Args:
            config: The configuration.
            comm: Communicator over which the mesh is divided.

        Raises:
            InputError: If the mesh's file does not fit the problem.
        """
        self.config = config
        self.comm = comm
        self._levels = [Level(cells, config, comm) for cells in _meshes(config)]
        self._weights = (9 / 5, -4 / 5) if len(self._levels) == 2 else (1.0,)

    @staticmethod
    def check(config: DCRConfig) -> None:
        """Check the mesh's file, if there is one; raises `InputError`."""
        _meshes(config)

    @staticmethod
    def compile(config: DCRConfig) -> None:
        """Compile the forms, which every process and later run then finds in the cache."""
        kind = _meshes(config)[0].kind
        corners = [(i, j, k - 1) for k in (0, 1) for j in (0, 1) for i in (0, 1)]
        keep = range(8) if kind == "hexahedron" else (0, 1, 2, 4)
        points = np.array([corners[i] for i in keep], dtype=float)
        one = meshes.Cells(kind, points, np.arange(len(points))[None])
        for _ in range(2):  # as for CDR
            domain = one.create(MPI.COMM_SELF)
            V = function_space(domain, 1)
            _stiffness(V, 1.0)
            _FarFlux(V)
            _Change(V, np.zeros(1, np.int32))

    @cached_property
    def mesh(self) -> str:
        """Size and hash, one line; collective when first asked for."""
        return "; extrapolated with ".join(level.description() for level in self._levels)

    def solve(self, Y: Array, *, tangents: bool = False) -> Batch:
        """Solve for a batch of samples.

        Args:
            Y: Parameters, (n, 3), the same on every process of the communicator.
            tangents: Whether to solve for dc/dy as well.

        Returns:
            The batch, complete on every process.

        Raises:
            InputError: If a parameter is outside of the bounds, for which the mesh is made.
        """
        config = self.config
        about = DCR.describe(config)
        check(
            bool(((about["y_lower"] <= Y) & (about["y_upper"] >= Y)).all()),
            f"parameters must be within {about['y_lower'].tolist()} and "
            f"{about['y_upper'].tolist()}",
        )
        n_c = len(about["c_names"])
        C = np.full((len(Y), n_c), np.nan)
        dC_dY = np.full((len(Y), n_c, 3), np.nan) if tangents else None
        solver = np.zeros(len(Y), SOLVER)
        reasons = []
        for i, y in enumerate(Y):
            start = time.perf_counter()
            c, jacobian, reason = self._levels[0].c0.copy(), np.zeros((n_c, 3)), ""
            for level, weight in zip(self._levels, self._weights, strict=True):
                c += weight * level.solve(level.change(y))
                for k in range(3 if tangents else 0):
                    dK = level.change(y + 1e-30j * np.eye(3)[k]).imag / 1e-30
                    jacobian[:, k] += weight * level.tangent(dK)
                solver["iterations"][i] += level.iterations
                solver["residual"][i] = max(solver["residual"][i], level.residual)
                reason = reason or level.failure
            if not reason:
                C[i] = c
                if dC_dY is not None:
                    dC_dY[i] = jacobian
            reasons.append(reason)
            solver["seconds"][i] = time.perf_counter() - start
        return Batch(C=C, failure=reasons, solver=solver, dC_dY=dC_dY)

    def picture(self, y: Array, path: str | os.PathLike[str]) -> None:
        """Solve for one sample, y (3,), and draw model, potential and c; on one process."""
        config, level = self.config, self._levels[0]
        values = self._solve_one(y)
        n1, n2 = config.stations.number
        x1, x2 = (
            config.stations.centres.reshape(n2, n1, 3)[part]
            for part in (np.s_[0, :, 0], np.s_[:, 0, 1])
        )
        places = np.concatenate([*config.stations.ends, config.source.electrodes])
        low, high = places.min(axis=0) - 5, places.max(axis=0) + 5
        bottom = -1.2 * config.core[3]
        line = np.linspace(low[0], high[0], 241)
        depths = np.linspace(bottom, 0, 121)
        section = np.stack(np.meshgrid(line, depths), axis=-1)
        points = np.column_stack(
            [
                section[..., 0].ravel(),
                np.full(section[..., 0].size, config.body.centre[1]),
                section[..., 1].ravel(),
            ]
        )
        S, _ = config.body.indicator(y, points)
        m = config.conductivity
        vertices, triangles = config.body.surface(y)
        plotting.resistivity(
            path,
            box=((low[0], high[0]), (low[1], high[1]), (bottom, 0.0)),
            body={
                "vertices": vertices,
                "triangles": triangles,
                "stations": config.stations.centres,
                "electrodes": np.array(config.source.electrodes),
            },
            section={
                "x1": line,
                "x3": depths,
                "conductivity": (m.background * (m.body / m.background) ** S).reshape(121, 241),
                "potential": level.potential(points).reshape(121, 241),
            },
            maps={
                "x1": x1,
                "x2": x2,
                "values": values.reshape(2, n2, n1),
                "anomaly": (values - self.background).reshape(2, n2, n1),
            },
            title=f"depth {y[0]:.3g} m, volume {y[1]:.4g} m³, rotation {y[2]:.3g} rad; the section "
            f"is at x2 = {config.body.centre[1]:g} m",
        )

    def field(self, y: Array) -> Field:
        """Solve for one sample, y (3,); on one process."""
        self._solve_one(y)
        return self._levels[0].field(y)

    def _solve_one(self, y: Array) -> Array:
        batch = self.solve(y[None])
        check(not batch.failure[0], f"the solve failed: {batch.failure[0]}")
        c: Array = batch.C[0]
        return c

    @property
    def background(self) -> Array:
        """Observables without the body, (n_c,)."""
        level = self._levels[0]
        return level.c0 if level.secondary else level.solve(np.zeros((len(level.cells), 6)))

    @staticmethod
    def describe(config: DCRConfig) -> dict[str, Any]:
        """Name parameters and observables: the fields of `surrogates.dataset.Info` about them."""
        places = config.stations.centres
        bounds = [getattr(config.sampling, name) for name in ("depth", "volume", "rotation")]
        names = [f"dV{k}({x[0]:g}, {x[1]:g})" for k in (1, 2) for x in places]
        return {
            "y_names": ("depth", "volume", "rotation"),
            "y_units": ("m", "m^3", "rad"),
            "y_lower": np.array([low for low, _ in bounds]),
            "y_upper": np.array([high for _, high in bounds]),
            "c_names": tuple(names),
            "c_units": ("V",) * len(names),
            "coordinates": {
                "direction": np.repeat([1.0, 2.0], len(places)),
                "x1": np.tile(places[:, 0], 2),
                "x2": np.tile(places[:, 1], 2),
            },
        }

    @staticmethod
    def parameters(config: DCRConfig, *, total: int, seed: int, start: int, stop: int) -> Array:
        """Draw the samples ``start`` to ``stop``: Y, (stop - start, 3); see `sampling.draw`."""
        about = DCR.describe(config)
        return draw(
            config.sampling.design,
            about["y_lower"],
            about["y_upper"],
            total=total,
            seed=seed,
            start=start,
            stop=stop,
        )


class Level:
    """The equation on one mesh.

    Attributes:
        V: Space of the potential.
        cells: This process's cells where the conductivity can change, (n,).
        midpoints: Theirs [m], (n, 3).
        u: The last sample's potential, a DOLFINx function.
        c0: Observables without the body, (n_c,); 0 with point sources on the mesh.
        secondary: Whether u is the sum of a known potential and what the body adds to it.
        iterations: Of the last sample's solves.
        residual: The largest relative residual of these.
        failure: Why one of these failed, empty if none did.
    """

    def __init__(
        self,
        cells: meshes.Cells,
        config: DCRConfig,
        comm: MPI.Comm,
        reach: tuple[float, float, float] | None = None,
    ) -> None:
        """Make the mesh, and prepare all that does not depend on the sample.

        Args:
            cells: The mesh.
            config: The configuration.
            comm: Communicator over which the mesh is divided.
            reach: Distance from the body's centre in the plane, and depths of top and bottom, of
                the region where the conductivity can change; by default, where bodies can be.
        """
        self.config = config
        self.kind = cells.kind
        domain = cells.create(comm)
        self.V = function_space(domain, 1)
        corners = domain.geometry.x[cell_vertices(domain, cells.vertices.shape[1])]
        mid = corners.mean(axis=1)
        radius = np.linalg.norm(corners - mid[:, None], axis=2).max(axis=1)
        if reach is None:
            reach = (config.body.reach(config.sampling.volume[1])[0], *config.core[2:])
        self.cells = np.flatnonzero(self._within(mid, radius, *reach)).astype(np.int32)
        self.midpoints, self._radius = mid[self.cells], radius[self.cells]
        shape, self._weights = meshes.quadrature(cells.kind)
        self._points = np.einsum("qv,nvi->nqi", shape, corners[self.cells])
        self._A0 = _stiffness(self.V, config.conductivity.background)
        self._A = self._A0.copy()
        self._ksp = _multigrid(self._A, config.solver)
        self._change = _Change(self.V, self.cells)
        self._d = self._A0.createVecRight()
        self._q = self._A0.createVecLeft()  # A(y) (u0 + d) = q for every y
        self._own = self._d.local_size
        self._u0, self.u = fem.Function(self.V), fem.Function(self.V)
        places, self._ends = _receivers(config.stations)
        self.secondary = config.solver.formulation == "secondary"
        if not self.secondary:
            self._P = evaluation(self.V, places)
            electrodes = evaluation(self.V, np.array(config.source.electrodes))
            sent = electrodes.createVecLeft()
            sent.array[:] = _currents(config)[: sent.local_size]
            electrodes.multTranspose(sent, self._q)
            self.c0 = np.zeros(len(self._ends[0]))
            return
        x = self.V.tabulate_dof_coordinates()
        # The nodes of the cells, also where those are another process's.
        ones = np.ones((len(self.cells), len(INDICES))) * [1, 1, 1, 0, 0, 0]
        self._change.add(ones * config.conductivity.background, self._A0, self._A)
        changed = self._A.getDiagonal().array != self._A0.getDiagonal().array
        self._body_nodes = np.flatnonzero(changed)
        self._far = _FarSides(self.V, self._A0)
        self._G = self._reciprocal(x[: self._own][self._body_nodes], places)
        u_far = self._far.potential(config.source.electrodes, _currents(config))
        self._u0.x.array[:] = u_far.x.array + _half_space(config, x)
        self._d.array[:] = self._u0.x.array[: self._own]
        self._A0.mult(self._d, self._q)
        u0 = _half_space(config, places) + _values(evaluation(self.V, places), u_far)
        self.c0 = u0[self._ends[0]] - u0[self._ends[1]]

    def description(self) -> str:
        """Say size and hash of the mesh; collective."""
        n_cells = self.V.mesh.topology.index_map(3).size_global
        unknowns = self.V.dofmap.index_map.size_global
        kind = {"hexahedron": "hexahedra", "tetrahedron": "tetrahedra"}[self.kind]
        own = self.V.tabulate_dof_coordinates()[: self._own]
        sha = digest(self.V.mesh.comm, own)
        return f"{n_cells} {kind}, {unknowns} unknowns, sha256 {sha}"

    def change(self, y: npt.NDArray[Any]) -> Any:
        """Give K / m0 - I of a sample in `cells`, (n, 6); of complex y its imaginary part."""
        plane, upwards = self.config.body.reach(float(y[1].real))
        depth = float(y[0].real)
        near = np.flatnonzero(
            self._within(self.midpoints, self._radius, plane, depth - upwards, depth + upwards)
        )
        contrast = self.config.conductivity.body / self.config.conductivity.background
        K = np.zeros((len(self.cells), len(INDICES)), dtype=y.dtype)
        K[near] = self.config.body.tensor(y, contrast, self._points[near], self._weights)
        return K

    def solve(self, K: Array) -> Array:
        """Solve for a conductivity.

        Args:
            K: K / m0 - I in `cells`, (n, 6).

        Returns:
            What the change adds to the observables, (n_c,), on every process.
        """
        self.iterations, self.residual, self.failure = 0, 0.0, ""
        self._change.add(K * self.config.conductivity.background, self._A0, self._A)
        b = self._A.createVecLeft()
        self._d.array[:] = self._u0.x.array[: self._own]
        self._A.mult(self._d, b)
        b.aypx(-1.0, self._q)
        c = self._respond(b)
        self.u.x.array[:] = self._u0.x.array
        self.u.x.array[: self._own] += self._d.array
        self.u.x.scatter_forward()
        return c

    def tangent(self, dK: Array) -> Array:
        """Solve for a derivative of the last solution.

        Args:
            dK: Derivative of K / m0 in `cells`, (n, 6).

        Returns:
            Derivative of the observables, (n_c,), on every process.
        """
        b = self._change.act(dK * self.config.conductivity.background, self.u)
        b.scale(-1.0)
        return self._respond(b)

    def potential(self, points: Array) -> Array:
        """Evaluate the last sample's potential [V] at points, (n, 3); on one process."""
        smooth = fem.Function(self.V)
        smooth.x.array[:] = self.u.x.array
        known = np.zeros(len(points))
        if self.secondary:
            smooth.x.array[:] -= _half_space(self.config, self.V.tabulate_dof_coordinates())
            known = _half_space(self.config, points)
        return np.asarray(known + _values(evaluation(self.V, points), smooth))

    def field(self, y: Array) -> Field:
        """Give the last sample's model and solution; on one process."""
        cells = range(self.V.mesh.topology.index_map(3).size_local)
        vertices = np.array([self.V.dofmap.cell_dofs(c) for c in cells])
        m0 = self.config.conductivity.background
        K = np.zeros((len(vertices), len(INDICES)))
        K[self.cells] = self.change(y)
        tensor = np.empty((len(vertices), 9))
        for (i, j), k in zip(INDICES, K.T, strict=True):
            tensor[:, 3 * i + j] = tensor[:, 3 * j + i] = m0 * (k + (i == j))
        points = self.V.tabulate_dof_coordinates()
        return Field(
            points=points,
            kind=meshes.NAMES[self.kind],
            cells=vertices[:, meshes.VTK[self.kind]].astype(np.int64),
            at_points={
                "potential [V]": self.u.x.array.copy(),
                "potential of the body [V]": self.u.x.array - self._u0.x.array,
            },
            at_cells={
                "conductivity [S/m]": tensor[:, [0, 4, 8]].mean(axis=1),
                "conductivity tensor [S/m]": tensor,
            },
        )

    def _within(self, x: Array, margin: Any, plane: float, top: float, bottom: float) -> Any:
        """Tell which points are in the reach of bodies, with a margin."""
        distance = np.hypot(*(x[:, :2] - self.config.body.centre).T)
        depth = -x[:, 2]
        return (distance < plane + margin) & (top - margin < depth) & (depth < bottom + margin)

    def _respond(self, b: Any) -> Array:
        """Solve A d = b, keep an account of how, and observe d."""
        self._ksp.setOperators(self._A)
        self._ksp.setUp()
        self._ksp.solve(b, self._d)
        self.iterations += self._ksp.getIterationNumber()
        self.failure = self.failure or failure(self._ksp)
        r = self._A.createVecLeft()
        self._A.mult(self._d, r)
        r.axpy(-1.0, b)
        size = b.norm()
        self.residual = max(self.residual, r.norm() / size if size else 0.0)
        if self.secondary:
            self._A0.mult(self._d, r)
            c = self._G.T @ r.array[self._body_nodes]
            total = np.empty_like(c)
            self.V.mesh.comm.Allreduce(c, total)
        else:
            u = self._P.createVecLeft()
            self._P.mult(self._d, u)
            values = self.V.mesh.comm.bcast(u.array)
            total = values[self._ends[0]] - values[self._ends[1]]
            destroy(u)
        destroy(r, b)
        return np.asarray(total)

    def _reciprocal(self, nodes: Array, places: Array) -> Array:
        """Give the potentials at nodes of a unit current through each receiver: (n_nodes, n_c)."""
        m0 = self.config.conductivity.background
        low, high = places[:, :2].min(axis=0), places[:, :2].max(axis=0)
        knots = np.cos(np.pi * (np.arange(_KNOTS) + 0.5) / _KNOTS)  # Chebyshev's, in (-1, 1)
        grid = np.array([(s, t, 0.0) for s in knots for t in knots])
        grid[:, :2] = low + (grid[:, :2] + 1) / 2 * (high - low)
        far = np.array([self._far.potential([pole], [1.0]).x.array for pole in grid])
        scaled = 2 * (places[:, :2] - low) / (high - low) - 1
        others = np.array([np.delete(knots, k) for k in range(_KNOTS)])
        L1, L2 = (  # Lagrange's polynomials, (n_places, _KNOTS)
            np.prod((x[:, None, None] - others) / (knots[:, None] - others), axis=2)
            for x in scaled.T
        )
        weights = (L1[:, :, None] * L2[:, None, :]).reshape(len(places), -1)
        u = (weights @ far[:, self._body_nodes]).T
        for j, place in enumerate(places):
            u[:, j] += 1 / (2 * np.pi * m0 * np.linalg.norm(nodes - place, axis=1))
        return np.asfortranarray(u[:, self._ends[0]] - u[:, self._ends[1]])


class _Change:
    """Stiffness matrices of a tensor that is given in some cells, and zero elsewhere."""

    def __init__(self, V: Any, cells: npt.NDArray[np.int32]) -> None:
        domain = V.mesh
        constants = function_space(domain, 0)
        self._K = [fem.Function(constants) for _ in INDICES]
        self._dofs = np.array([constants.dofmap.cell_dofs(c)[0] for c in cells], dtype=np.int32)
        K = np.empty((3, 3), dtype=object)
        for k, (i, j) in zip(self._K, INDICES, strict=True):
            K[i, j] = K[j, i] = k
        tags = mesh.meshtags(domain, 3, cells, np.ones(len(cells), dtype=np.int32))
        dx = ufl.Measure("dx", domain, subdomain_data=tags, metadata={"quadrature_degree": 2})(1)
        tensor = ufl.as_matrix(K.tolist())
        u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
        self._w = fem.Function(V)
        self._matrix = form(ufl.inner(tensor * ufl.grad(u), ufl.grad(v)) * dx)
        self._action = form(ufl.inner(tensor * ufl.grad(self._w), ufl.grad(v)) * dx)

    def _set(self, K: Array) -> None:
        for k, values in zip(self._K, K.T, strict=True):
            k.x.array[self._dofs] = values

    def add(self, K: Array, A0: Any, A: Any) -> None:
        """Set A to A0 and the stiffness matrix of K, (n, 6) in the order of the cells."""
        self._set(K)
        A0.copy(A, structure=PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        assemble_matrix(A, self._matrix)
        A.assemble()

    def act(self, K: Array, u: Any) -> Any:
        """Apply the stiffness matrix of K to a function."""
        self._set(K)
        self._w.x.array[:] = u.x.array
        b = assemble_vector(self._action)
        b.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
        return b


class _FarFlux:
    """The flux that keeps the half-space potential of an electrode from crossing the far sides."""

    def __init__(self, V: Any) -> None:
        domain = V.mesh
        domain.topology.create_connectivity(2, 3)
        outside = mesh.locate_entities_boundary(domain, 2, lambda x: np.full(x.shape[1], True))
        top = mesh.locate_entities_boundary(domain, 2, lambda x: x[2] > -1e-6)
        far = np.setdiff1d(outside, top).astype(np.int32)
        tags = mesh.meshtags(domain, 2, far, np.ones(len(far), dtype=np.int32))
        ds = ufl.Measure("ds", domain, subdomain_data=tags, metadata={"quadrature_degree": 6})(1)
        self._place = fem.Constant(domain, np.zeros(3, dtype=PETSc.ScalarType))
        r, normal = ufl.SpatialCoordinate(domain) - self._place, ufl.FacetNormal(domain)
        flux = ufl.inner(r, normal) / (2 * ufl.pi * ufl.sqrt(ufl.inner(r, r)) ** 3)
        self._form = form(flux * ufl.TestFunction(V) * ds)

    def assemble(self, electrodes: Any, currents: Any) -> Any:
        """Give the right-hand side for electrodes with given currents."""
        parts = []
        for place, current in zip(electrodes, currents, strict=True):
            self._place.value[:] = place
            part = assemble_vector(self._form)
            part.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
            part.scale(current)
            parts.append(part)
        for part in parts[1:]:
            parts[0].axpy(1.0, part)
        destroy(*parts[1:])
        return parts[0]


class _FarSides:
    """The part of the background's potential that is due to the box's sides and bottom."""

    def __init__(self, V: Any, A0: Any) -> None:
        self._V = V
        self._flux = _FarFlux(V)
        self._ksp = _multigrid(A0, Solver(rtol=1e-7))
        self._null = A0.getNullSpace()

    def potential(self, electrodes: Any, currents: Any) -> Any:
        """Solve for electrodes with given currents: a DOLFINx function."""
        b = self._flux.assemble(electrodes, currents)
        self._null.remove(b)  # of one pole alone, the box would not let the current out
        d = b.duplicate()
        self._ksp.solve(b, d)
        why = failure(self._ksp)
        check(not why, f"the background's potential: {why}")
        u = fem.Function(self._V)
        u.x.array[: d.local_size] = d.array
        u.x.scatter_forward()
        destroy(b, d)
        return u


def _stiffness(V: Any, m: float) -> Any:
    """Assemble the stiffness matrix of a constant conductivity."""
    domain = V.mesh
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    constant = fem.Constant(domain, PETSc.ScalarType(m))
    dx = ufl.dx(domain, metadata={"quadrature_degree": 2})
    A = assemble_matrix(form(constant * ufl.inner(ufl.grad(u), ufl.grad(v)) * dx))
    A.assemble()
    A.setNullSpace(PETSc.NullSpace().create(constant=True, comm=domain.comm))
    return A


def _multigrid(A: Any, config: Solver) -> Any:
    """Prepare conjugate gradients with GAMG for a matrix."""
    options = PETSc.Options(PREFIX)
    for name, value in (MULTIGRID | EIGENVALUES).items():
        ours = value if A.comm.size == 1 or name not in EIGENVALUES else None
        if ours is not None and not options.hasName(name):
            options[name] = ours
        elif ours is None and options.getString(name, "") == value:
            options.delValue(name)  # of a problem on one process
    ksp = PETSc.KSP().create(A.comm)
    ksp.setOptionsPrefix(PREFIX)
    ksp.setType("cg")
    ksp.getPC().setType("gamg")
    ksp.setOperators(A)
    ksp.setTolerances(rtol=config.rtol, atol=0.0, max_it=config.max_iterations)
    ksp.setFromOptions()
    ksp.setUp()  # now, so that the hierarchy is that of this matrix, whatever is solved first
    return ksp


def _half_space(config: DCRConfig, x: Array) -> Array:
    """Evaluate the electrodes' potential in a half-space, (n,); finite on an electrode."""
    u = np.zeros(len(x))
    for place, current in zip(config.source.electrodes, _currents(config), strict=True):
        distance = np.linalg.norm(x - np.array(place), axis=1)
        u += current / (2 * np.pi * config.conductivity.background * np.maximum(distance, 1e-3))
    return u


def _currents(config: DCRConfig) -> tuple[float, float]:
    return config.source.current, -config.source.current


def _receivers(stations: Stations) -> tuple[Array, npt.NDArray[np.intp]]:
    """Give the places of all receivers' electrodes, and for each dipole the two it has: (2, n)."""
    both = np.concatenate(stations.ends).round(9)
    places, inverse = np.unique(both, axis=0, return_inverse=True)
    return places, inverse.reshape(2, -1)


def _values(P: Any, u: Any) -> Array:
    """Evaluate a function at points by a matrix of `evaluation`, on every process."""
    x, y = P.createVecRight(), P.createVecLeft()
    x.array[:] = u.x.array[: x.local_size]
    P.mult(x, y)
    values = P.comm.tompi4py().bcast(y.array)
    destroy(x, y)
    return np.asarray(values)


def _meshes(config: DCRConfig) -> list[meshes.Cells]:
    """Make or read the mesh, and the coarse one of an extrapolation; raises `InputError`."""
    settings = config.mesh
    if settings.file:
        cells = meshes.read(settings.file)
        lower, upper = cells.points.min(axis=0), cells.points.max(axis=0)
        check(
            abs(upper[2]) <= 1e-6 * (upper[2] - lower[2]),
            f"the top of the mesh {settings.file} must be x3 = 0; it is {upper[2]:g}",
        )
        config.check_box(lower, upper, f"the mesh {settings.file}")
        points = cells.points - [0, 0, upper[2]]
        corners = points[cells.vertices]
        depth = -corners[..., 2]
        distance = np.linalg.norm(corners[..., :2] - config.body.centre, axis=2)
        plane, (top, bottom) = config.body.reach(config.sampling.volume[1])[0], config.core[2:]
        inside = (
            (distance.min(axis=1) < plane)
            & (depth.max(axis=1) > top)
            & (depth.min(axis=1) < bottom)
        )
        config.check_cells(float(np.ptp(corners[inside], axis=1).max(initial=0)))
        return [meshes.Cells(cells.kind, points, cells.vertices)]
    thirds = (3, 2) if settings.extrapolate else (3,)
    made = []
    for k in thirds:
        n1, n2, n3, above, layers = (
            n * k // 3 for n in (*settings.cells, settings.above, settings.layers)
        )
        made.append(meshes.graded(config.core, config.domain.size, (n1, n2, n3), above, layers))
    return made
