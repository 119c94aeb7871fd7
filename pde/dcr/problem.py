r"""DC resistivity in three dimensions: y in R^3 to c in R^882.

Strong form in a box with the surface x3 = 0, lengths in m, conductivity m in S/m, current I in A,
potential u in V:

    -div(m(x; y) grad u) = I (delta(x - x_A) - delta(x - x_B)),   m grad u . n = 0 on the boundary

A and B are electrodes at the surface, y = (depth, volume, rotation) of a conductive body (see
`body`), and c the differences of u over receiver dipoles at a grid of stations, first those along
x1, then those along x2. The problem is that of Newman, Ruthotto, Hart and van Bloemen Waanders,
"Train Like a (Var)Pro" (2021); its constants are not published, so the defaults are our own.

`potential` discretises it on one mesh: u is the known potential without the body plus the body's
part, and c is observed by reciprocity, so that its error is that of u in the body, with an
expansion in h^2. `condensed` solves on the built-in mesh, `multigrid` on any other.

**Extrapolation.** On the built-in mesh, c is (9 c_h - 4 c_H) / 5, from c_h on the mesh and c_H with
cells 3/2 as large (Richardson, for an error in h^2). The remaining term in h^4 is 9/16 of that with
cells twice as large, whose own error is hardly proportional to h^2.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from functools import cached_property
from typing import Any

import numpy as np
from mpi4py import MPI

from surrogates.config import check
from surrogates.data import SOLVER
from surrogates.errors import InputError
from surrogates.types import Array

from .. import meshes, resolution
from ..collective import on_root
from ..fields import Field
from ..problem import Problem
from ..results import Batch
from . import figures, mesh_fit
from .condensed import Condensed, HalfSpace
from .multigrid import Multigrid
from .potential import Level, compile_forms
from .survey import DCRConfig

_WEIGHTS = {1: (1.0,), 2: (9 / 5, -4 / 5)}  # of the meshes' c, by the number of meshes
_THICKEST = 4.0  # largest first layer around the core, over the core's half-width
_MOST_UNKNOWNS = 2e6  # of a mesh for an estimate of the error: about half a minute


class DCR(Problem):
    """The discrete problem on one communicator, ready for any number of samples."""

    name = "dcr"
    file_settings = ("mesh.file",)
    has_tangents = True
    has_directions = True
    has_adjoints = True
    needs_bounds = True
    Config = DCRConfig

    def __init__(self, config: DCRConfig, comm: MPI.Comm) -> None:
        """Make the meshes, assemble the background, and solve for its potentials.

        Args:
            config: The configuration.
            comm: Communicator over which the mesh is divided.

        Raises:
            InputError: If the mesh's file does not fit the problem.
        """
        super().__init__(config, comm)
        if config.mesh.file:
            made: list[Any] = [_from_file(config, comm)]
        else:
            made = _built_in(config)
        self._levels: list[Level] = [_level(mesh, config, comm) for mesh in made]
        self._weights = _WEIGHTS[len(self._levels)]

    @classmethod
    def check(cls, config: DCRConfig) -> None:
        """Check the mesh, from a file or built in; raises `InputError`."""
        if config.mesh.file:
            cls.notes(config)
        else:
            _built_in(config)

    @classmethod
    def notes(cls, config: DCRConfig) -> tuple[str, ...]:
        """Estimate the discretisation error, and say so if it is not small.

        The default's error was measured, and is small. So is the error of settings that are no
        worse in any number on which it depends. For a mesh from a file, the notes also name its
        mended faults, and its groups of cells.

        Raises:
            InputError: If the error is larger than `resolution.LARGE`, or the mesh in the file has
                a fault, or does not fit the settings.
        """
        if config.mesh.file:
            return mesh_fit.notes(config, meshes.read(config.mesh.file))
        if config.solver.formulation == "total":
            return (
                "solver.formulation=total is for checks: its electrodes are points of the mesh, "
                "and c is wrong near them; secondary is right everywhere",
            )
        if bool((_scales(config) <= _scales(DCRConfig()) * (1 + 1e-9)).all()):
            return ()
        old, unit = config.mesh, 3 if config.mesh.extrapolate else 1

        def more(n: int, factor: float) -> int:
            return unit * math.ceil(factor * n / unit - 1e-6)

        def finer(factor: float) -> tuple[str, ...]:
            # All together: layers out of proportion to the core's cells spoil the extrapolation.
            cells, above, layers = (
                [more(n, factor) for n in numbers]
                for numbers in (old.cells, [old.above], [old.layers])
            )
            return f"mesh.cells={cells}", f"mesh.above={above[0]}", f"mesh.layers={layers[0]}"

        order = 4 if old.extrapolate else 2
        refinement = resolution.Refinement(order=order, factor=1.5, settings=finer)
        n1, n2, n3 = old.cells
        wide = (n1 + 2 * old.layers) * (n2 + 2 * old.layers)
        unknowns = 1.5**3 * wide * (n3 + old.above + old.layers)
        # Far sides add hardly any error, and take most of the time.
        near = config.nearness(*config.box) > DCRConfig().nearness(*DCRConfig().box)
        solved = cls if near else _HalfSpace
        fewer = _fewer_stations(config)
        return resolution.notes(solved, fewer, [refinement], unknowns / _MOST_UNKNOWNS)

    @classmethod
    def compile(cls, config: DCRConfig) -> None:
        """Compile the forms, which every process and later run then finds in the cache."""
        kind = meshes.read(config.mesh.file).kind if config.mesh.file else "hexahedron"
        one = meshes.Cells(kind, *meshes.one_cell(kind))
        for _ in range(2):  # as for CDR
            domain = one.create(MPI.COMM_SELF)
            compile_forms(domain)

    @classmethod
    def design(cls, config: DCRConfig) -> str:
        """Return the name of the sampling design."""
        return config.sampling.design

    @classmethod
    def batch(cls, config: DCRConfig) -> int:
        """Return the number of samples that are solved and saved together."""
        return config.solver.batch

    @cached_property
    def mesh(self) -> str:
        """Size and hash, one line; collective at its first use."""
        return "; extrapolated with ".join(level.description() for level in self._levels)

    def solve_batch(
        self, Y: Array, *, tangents: bool | Array = False, adjoints: Array | None = None
    ) -> Batch:
        """Solve for a batch of samples.

        Args:
            Y: Parameters, (n, 3), the same on every process of the communicator.
            tangents: Whether to solve for dc/dy as well; or directions, (n, r, 3), in units of y.
            adjoints: Functionals of c, (r, n_c), in 1/V. They are cheaper than all tangents if
                there are one or two.

        Returns:
            The batch, complete on every process.

        Raises:
            InputError: If a parameter is outside the bounds, for which the mesh is made.
        """
        config = self.config
        about = self.describe(config)
        check(
            bool(((about["y_lower"] <= Y) & (about["y_upper"] >= Y)).all()),
            f"parameters must be within {about['y_lower'].tolist()} and "
            f"{about['y_upper'].tolist()}",
        )
        n, n_c = len(Y), len(about["c_names"])
        directions, name = np.broadcast_to(np.eye(3), (n, 3, 3)), "dC_dY"
        if isinstance(tangents, np.ndarray):
            directions, name = tangents, "dC_dV"
        found = {"C": np.full((n, n_c), np.nan)}
        if tangents is not False:
            found[name] = np.full((n, n_c, directions.shape[1]), np.nan)
        if adjoints is not None:
            found["dW_dY"] = np.full((n, len(adjoints), 3), np.nan)
        solver = np.zeros(n, SOLVER)
        reasons = []
        for i, y in enumerate(Y):
            start = time.perf_counter()
            V = directions[i] if name in found else np.empty((0, 3))
            values, reason = self._solve_one(y, V, adjoints, solver[i])
            reasons.append(reason)
            for array, value in zip(found.values(), values, strict=True):
                if not reason:
                    array[i] = value
            solver["seconds"][i] = time.perf_counter() - start
        return Batch(failure=reasons, solver=solver, **found)

    def _solve_one(
        self, y: Array, V: Array, W: Array | None, record: Any
    ) -> tuple[list[Array], str]:
        """Solve for one sample, with r directions V (r, 3) and functionals W, and fill in a record.

        Returns:
            c, then its derivatives in the directions and those of the functionals if there are any;
            and why a solve failed, empty if none did.
        """
        c = self._levels[0].c0.copy()
        tangents = np.zeros((len(c), len(V)))
        adjoints = np.zeros((0 if W is None else len(W), 3))
        reason = ""
        for level, weight in zip(self._levels, self._weights, strict=True):
            K = level.region.change(y)
            c += weight * level.solve(K)
            if len(V):
                tangents += weight * level.tangents(level.region.derivatives(y, V, K))
            if W is not None:
                dK = level.region.derivatives(y, np.eye(3), K)
                adjoints += weight * level.adjoints(W, dK)
            record["iterations"] += level.iterations
            record["residual"] = max(record["residual"], level.residual)
            reason = reason or level.failure
        return [c, *([tangents] if len(V) else []), *([] if W is None else [adjoints])], reason

    def picture(self, y: Array, path: str | os.PathLike[str]) -> None:
        """Solve for one sample, y (3,), and draw body, section and c; on one process."""
        config, level = self.config, self._levels[0]
        values = np.asarray(self.solve(y).c)
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
        figures.draw(
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
        self.solve(y)
        return self._levels[0].field(y)

    @property
    def background(self) -> Array:
        """Observables without the body, (n_c,)."""
        level = self._levels[0]
        total = self.config.solver.formulation == "total"
        return level.solve(np.zeros((len(level.region.midpoints), 6))) if total else level.c0

    @classmethod
    def describe(cls, config: DCRConfig) -> dict[str, Any]:
        """Return the fields of `Info` on parameters and observables: names, units, bounds."""
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


def _scales(config: DCRConfig) -> Array:
    """Return numbers on which the discretisation error depends; it falls with each of them.

    These are the cells over the thickness of the thinnest body, over the edge's width and over the
    depth of the bodies' top; the first layer over the region that bodies can reach; the nearness of
    this region, electrodes and stations to the box's sides and bottom; the contrast; the bounds'
    nearness; and features that the default does not have.
    """
    grid = _built_in(config)[0]
    assert isinstance(grid, meshes.Grid)
    sampling, core = config.sampling, config.core
    cell = max(config.core_cells)
    contrast = config.conductivity.body / config.conductivity.background
    low, high = sampling.volume
    return np.array(
        [
            cell / config.body.semi_axes(low).min(),
            cell / config.body.blend,
            cell / core[2],
            core[2] / config.mesh.above / cell,
            max(_first_layers(grid)) / _core_radius(config),
            config.nearness(*config.box),
            abs(np.log(contrast)),
            1 / abs(np.log(contrast)) if contrast != 1 else np.inf,
            sampling.depth[0] / (sampling.depth[1] - sampling.depth[0]),
            low / (high - low),
            1 / (sampling.rotation[1] - sampling.rotation[0]),
            config.body.shape != "ellipsoid",
            not config.mesh.extrapolate,
            max(config.body.aspect) / min(config.body.aspect),
        ]
    )


def _first_layers(grid: meshes.Grid) -> list[float]:
    """Return the thickness of the layers next to the core, along x1, x2 and x3."""
    return [float(a[k.start] - a[k.start - 1]) for a, k in zip(grid.axes, grid.core, strict=True)]


class _HalfSpace(DCR):
    """The problem on the built-in mesh without the sides of the box: its set-up is faster."""

    def __init__(self, config: DCRConfig, comm: MPI.Comm) -> None:
        self.config, self.comm = config, comm
        self._levels = [HalfSpace(grid, config) for grid in _grids(config)]
        self._weights = _WEIGHTS[len(self._levels)]


def _fewer_stations(config: DCRConfig) -> DCRConfig:
    """Return the problem with about five stations along each direction, and the faster method.

    The discretisation error hardly differs between neighbours, and does not depend on the method.
    """
    old = config.stations
    (n1, n2), (s1, s2) = old.number, old.spacing
    k1, k2 = max(1, (n1 - 1) // 4), max(1, (n2 - 1) // 4)
    stations = dataclasses.replace(
        old,
        number=((n1 - 1) // k1 + 1, (n2 - 1) // k2 + 1),
        spacing=(k1 * s1, k2 * s2),
    )
    solver = dataclasses.replace(config.solver, method="condensed")
    return dataclasses.replace(config, stations=stations, solver=solver)


def _level(mesh: meshes.Cells | meshes.Grid, config: DCRConfig, comm: MPI.Comm) -> Level:
    if isinstance(mesh, meshes.Grid):
        if config.condensed:
            return Condensed(mesh, config, comm)
        mesh = mesh.cells()
    return Multigrid(mesh, config, comm)


def _from_file(config: DCRConfig, comm: MPI.Comm) -> meshes.Cells:
    """Read and check the mesh's file on rank 0 alone; the others get a mesh without cells."""
    mesh: list[meshes.FileMesh] = []

    def read() -> str:
        mesh.append(meshes.read(config.mesh.file))
        mesh_fit.notes(config, mesh[0])  # of the mesh of the solves, whatever was read before
        return mesh[0].kind

    kind = on_root(comm, read)
    nothing = np.empty((0, len(meshes.VTK[kind])), dtype=np.int64)
    return mesh[0] if mesh else meshes.Cells(kind, np.empty((0, 3)), nothing)


def _built_in(config: DCRConfig) -> list[meshes.Grid]:
    """Make the mesh, and the coarse one of an extrapolation."""
    made = _grids(config)
    _check_layers(config, made[0])
    return made


def _grids(config: DCRConfig) -> list[meshes.Grid]:
    """Make the built-in mesh, and the coarse one of an extrapolation."""
    settings, made = config.mesh, []
    for k in (3, 2) if settings.extrapolate else (3,):
        n1, n2, n3, above, layers = (
            n * k // 3 for n in (*settings.cells, settings.above, settings.layers)
        )
        made.append(meshes.graded(config.core, config.domain.size, (n1, n2, n3), above, layers))
    return made


def _core_radius(config: DCRConfig) -> float:
    """Return the half of the core's smallest extent [m]."""
    half1, half2, top, bottom = config.core
    return min(half1, half2, (bottom - top) / 2)


def _check_layers(config: DCRConfig, grid: meshes.Grid) -> None:
    """Check that the layers around the core do not start too thick.

    The field of a body falls over its own size. A first layer many times as thick as the core does
    not resolve it, nor does one half as thick: no estimate shows the error.
    """
    radius, layers = _core_radius(config), config.mesh.layers
    first = max(_first_layers(grid))
    if first <= _THICKEST * radius:
        return
    above, cells = config.mesh.above, config.mesh.cells
    while layers < 999 and max(_first_layers(grid)) > radius:
        layers += 3
        grid = meshes.graded(config.core, config.domain.size, cells, above, layers)
    raise InputError(
        f"domain.size={list(config.domain.size)} needs more layers, mesh.layers={layers} would do, "
        f"or a smaller box; got {config.mesh.layers}, of which the first one is {first:.3g} m "
        f"thick, and the region that bodies can reach is {radius:.3g} m wide from its centre"
    )
