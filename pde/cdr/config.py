"""The settings of CDR: every constant of the equation, its discretisation, and the observations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surrogates.config import check, unknown
from surrogates.types import Array

from ..linear import Solver
from ..sampling import DESIGNS

_FARTHEST = 2.5  # largest distance of nodes, over a Gaussian's standard deviation


def _ignition(u: Array, saturation: float, activation: float) -> Array:
    hot = np.maximum(u, 1e-3 * activation)  # exp(-1000) is 0
    return np.asarray(saturation * np.exp(-activation / hot))


# |u| keeps the denominator away from 0 if an unresolved front undershoots.
LAWS: dict[str, Callable[[Array, Any], Array]] = {
    "linear": lambda u, p: u,
    "logistic": lambda u, p: u * (1 - u / p.capacity),
    "michaelis-menten": lambda u, p: u / (1 + np.abs(u) / p.saturation),
    "ignition": lambda u, p: _ignition(u, p.saturation, p.activation),
}


def _logistic_slope(u: Array, p: Any) -> tuple[Array, Array]:
    part = u / p.capacity
    return u * (1 - part), 1 - 2 * part


def _michaelis_menten_slope(u: Array, p: Any) -> tuple[Array, Array]:
    inverse = np.abs(u)
    inverse *= 1 / p.saturation
    inverse += 1
    np.divide(1, inverse, out=inverse)
    return u * inverse, inverse * inverse


def _ignition_slope(u: Array, p: Any) -> tuple[Array, Array]:
    hot = np.maximum(u, 1e-3 * p.activation)
    s = p.saturation * np.exp(-p.activation / hot)
    return s, np.where(u > 1e-3 * p.activation, s * p.activation / hot**2, 0.0)


SLOPES: dict[str, Callable[[Array, Any], tuple[Array, Array]]] = {
    "linear": lambda u, p: (u, np.ones_like(u)),
    "logistic": _logistic_slope,
    "michaelis-menten": _michaelis_menten_slope,
    "ignition": _ignition_slope,
}
"""s(u) and its derivative s'(u), which is continuous, for each of `LAWS`."""


# The largest |s'(u)| for u >= 0; for logistic growth, for u up to the capacity.
STEEPEST: dict[str, Callable[[Any], float]] = {
    "linear": lambda p: 1.0,
    "logistic": lambda p: 1.0,
    "michaelis-menten": lambda p: 1.0,
    "ignition": lambda p: 4 * np.exp(-2) * float(p.saturation / p.activation),
}


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
    u / (1 + u / saturation), ``ignition`` saturation exp(-activation / u), which is nearly 0 until
    u comes near the activation, similar to wildfire models (Grasso and Innocente 2018).

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
    """Places and times at which u is observed; every time is a multiple of the time step.

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
        design: Sampling design: ``simplex``, ``box``, ``latin-hypercube``, ``sobol`` or
            ``nested-latin-hypercube``.
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
        """Check that the observations' times are multiples of the time step."""
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

        Nodes three standard deviations apart miss a Gaussian: c is 30 % off, and an estimate from a
        finer mesh no longer shows the error. With nodes at half a standard deviation (at a quarter
        for degree 1) the error is 1 % of c's spread.
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
        """Whether this is the default problem, on the default mesh and steps or finer ones."""
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
