"""The settings of a DC resistivity problem, and the checks between them.

Lengths in m, conductivities in S/m, currents in A. The box is centred at x1 = x2 = 0, below x3 = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surrogates.config import check, unknown
from surrogates.types import Array

from ..linear import check_rtol
from ..sampling import DESIGNS
from .body import Body


@dataclass(frozen=True, kw_only=True)
class Domain:
    """Box: extent [m] along x1, x2 and x3, centred at x1 = x2 = 0, below x3 = 0.

    Attributes:
        size: Extent of the box [m] along x1, x2 and x3.
    """

    size: tuple[float, float, float] = (1000.0, 1000.0, 500.0)

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(all(s > 0 for s in self.size), f"domain.size must be positive; got {self.size}")


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Numbers of hexahedra for `meshes.graded`, or a file that meshio reads.

    ``cells`` are in the region that bodies can reach, ``above`` between it and the surface,
    ``layers`` around it. With ``extrapolate``, all are multiples of 3. A file's lengths are in m
    and its top is x3 = 0; it replaces the box, and there is no extrapolation.

    Attributes:
        cells: Numbers of cells along x1, x2 and x3 in the region that bodies can reach.
        above: Layers of cells between that region and the surface.
        layers: Layers of cells around that region.
        extrapolate: Whether a second, coarser mesh removes the leading error of the finer one.
        file: A mesh file that meshio reads; empty for the built-in mesh.
    """

    cells: tuple[int, int, int] = (24, 24, 30)
    above: int = 3
    layers: int = 15
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
    """Conductivities [S/m] of the background and of the body.

    Attributes:
        background: Conductivity of the background [S/m].
        body: Conductivity of the body [S/m].
    """

    background: float = 0.01
    body: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("background", "body"):
            value = getattr(self, name)
            check(value > 0, f"conductivity.{name} must be positive; got {value}")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Electrodes [m] at the surface, where the current [A] enters and leaves.

    Attributes:
        electrodes: Places [m] where the current enters and where it leaves.
        current: Current [A].
    """

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

    @property
    def nearest(self) -> float:
        """Least distance from an electrode [m] at which the potential differs from that at it."""
        return 1e-6 * float(np.linalg.norm(np.subtract(*self.electrodes)))


@dataclass(frozen=True, kw_only=True)
class Stations:
    """Grid of stations at the surface: the first one [m], spacing [m] and number along x1 and x2.

    At each station, u is measured over two dipoles of a length [m], centred there.

    Attributes:
        first: Place of the first station [m].
        spacing: Distances of neighbouring stations along x1 and x2 [m].
        number: Numbers of stations along x1 and x2.
        dipole: Length of the receiver dipoles [m].
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
    """Sampling design, and bounds of depth [m], volume [m^3] and rotation [rad].

    Attributes:
        design: Sampling design: ``box``, ``latin-hypercube``, ``sobol`` or
            ``nested-latin-hypercube``.
        depth: Bounds of the depth of the body's centre [m].
        volume: Bounds of the body's volume [m^3].
        rotation: Bounds of the body's rotation in the x1-x2 plane [rad].
    """

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
    """Settings of the conjugate gradients.

    ``condensed`` needs the built-in mesh and the secondary potential; the preconditioner is the
    background's exact inverse. ``multigrid`` is for any mesh: PETSc's algebraic multigrid (GAMG),
    to which PETSc options with the prefix ``dcr_`` apply, such as ``dcr_ksp_monitor`` and
    ``dcr_pc_type``. ``auto`` is ``condensed`` if that is possible and not slower: its iterations
    grow with the root of the contrast. The tolerance is relative to d = 0, in the norm of the
    preconditioner; it keeps the error of c well below that of the mesh.

    Attributes:
        method: Preconditioner: ``condensed``, ``multigrid`` or ``auto``.
        formulation: Unknown of the equation: the ``secondary`` or the ``total`` potential.
        rtol: Relative tolerance of the conjugate gradients.
        max_iterations: Largest number of iterations.
        batch: Samples that are solved together.
    """

    method: str = "auto"
    formulation: str = "secondary"
    rtol: float = 1e-6
    max_iterations: int = 1000
    batch: int = 20

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, known in (
            ("method", ("auto", "condensed", "multigrid")),
            ("formulation", ("secondary", "total")),
        ):
            value = getattr(self, name)
            check(value in known, unknown(f"solver.{name} {value!r}", value, known))
        check_rtol(self.rtol)
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
        """Check settings of different tables against each other."""
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
        check(
            self.solver.method != "condensed" or self.condensed,
            "solver.method=condensed needs the built-in mesh and the secondary potential",
        )
        receivers = np.concatenate(self.stations.ends)
        for x in self.source.electrodes:
            check(
                float(np.linalg.norm(receivers - np.array(x), axis=1).min()) > self.source.nearest,
                f"there is a station's electrode on the source's electrode {list(x)}, or nearer to "
                f"it than {self.source.nearest:g} m",
            )
        for what, points in (("electrode", self.source.electrodes), ("station", receivers)):
            for x in points:
                check(
                    x[2] == 0,
                    f"every {what} must be at the surface, x3 = 0; got {[float(v) for v in x]}",
                )
        if not self.mesh.file:
            self.check_box(*self.box, "the box")
            self.check_cells(max(self.core_cells) * (1.5 if self.mesh.extrapolate else 1))

    @property
    def core_cells(self) -> tuple[float, float, float]:
        """Size of the built-in mesh's cells where bodies can be [m]."""
        core, (n1, n2, n3) = self.core, self.mesh.cells
        return 2 * core[0] / n1, 2 * core[1] / n2, (core[3] - core[2]) / n3

    @property
    def condensed(self) -> bool:
        """Whether the method is ``condensed``."""
        if self.mesh.file or self.solver.formulation == "total":
            return False
        contrast = self.conductivity.body / self.conductivity.background
        method = self.solver.method
        return method == "condensed" or (method == "auto" and 1e-4 <= contrast <= 1e4)

    @property
    def core(self) -> tuple[float, float, float, float]:
        """Half-widths and depths of top and bottom of the region that bodies can reach [m]."""
        plane, upwards = self.body.reach(self.sampling.volume[1])
        low, high = self.sampling.depth
        half = [abs(c) + 1.02 * plane for c in self.body.centre]
        return half[0], half[1], low - upwards, high + upwards

    def nearness(self, lower: Array, upper: Array) -> float:
        """Return the nearness of bodies, electrodes and stations to a box's sides and bottom.

        It is 0 in the middle of the surface, 1 at a side or at the bottom.
        """
        core, (middle, half) = self.core, ((upper + lower)[:2] / 2, (upper - lower)[:2] / 2)
        places = np.concatenate([*self.stations.ends, self.source.electrodes])[:, :2]
        corners = np.array([[i * core[0], j * core[1]] for i in (-1, 1) for j in (-1, 1)])
        sides = np.abs(np.concatenate([places, corners]) - middle) / half
        return max(float(sides.max()), core[3] / float(upper[2] - lower[2]))

    @property
    def box(self) -> tuple[Array, Array]:
        """Lower and upper limits of the built-in box [m]."""
        half1, half2, depth = self.domain.size[0] / 2, self.domain.size[1] / 2, self.domain.size[2]
        return np.array([-half1, -half2, -depth]), np.array([half1, half2, 0.0])

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
