"""Settings of the models of the ground: the tables of the configuration.

Every quantity has bounds [low, high]: it is a parameter y if they differ, and fixed if they are
equal. Lengths in m, angles in rad, resistivities in ohm m. "auto" is a share of the survey's
extent along x1, x2 and of its depth of investigation; `models.make` says which.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from surrogates.config import check, unknown

Bounds = tuple[float, float]

KINDS = ("half-space", "body", "layers", "body-in-layers", "interface", "regions", "field")
SHAPES = ("ellipsoid", "cuboid")
COVARIANCES = ("exponential", "squared-exponential", "matern")
MOST_TERMS = 1000
"""Largest number of terms of a field: parameters of a surrogate."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Kind of the model, and resistivity of the ground around a body.

    Attributes:
        kind: Kind of the model: ``half-space``, ``body``, ``layers``, ``body-in-layers``,
            ``interface``, ``regions`` or ``field``; each has a table of its name.
        background: Bounds of the resistivity [ohm m] of a half-space, alone or around a body.
    """

    kind: str = "body"
    background: Bounds = (10.0, 1000.0)

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(self.kind in KINDS, unknown(f"model.kind {self.kind!r}", self.kind, KINDS))
        check_bounds("model.background", self.background, positive=True)


@dataclass(frozen=True, kw_only=True)
class BodySettings:
    """A body: shape, place, semi-axes, rotation, resistivity, and width of its blended edge.

    Attributes:
        shape: ``ellipsoid`` or ``cuboid``.
        x1: Bounds of the centre's place [m] along x1; None for the middle half of the survey.
        x2: Bounds of the centre's place [m] along x2; None for the middle half of the survey.
        depth: Bounds of the centre's depth [m]; None for 0.35 to 0.6 of the depth of investigation.
        a1: Bounds of the first semi-axis [m]; None for 0.15 to 0.5 of the depth of investigation.
        a2: Bounds of the second semi-axis [m]; None for 0.15 to 0.5 of the depth of investigation.
        a3: Bounds of the semi-axis along x3 [m]; None for 0.15 to 0.28 of the depth of
            investigation.
        rotation: Bounds of the angle [rad] from x1 towards x2 to the first axis.
        resistivity: Bounds of the body's resistivity [ohm m].
        blend: Width of the blended edge [m]; None for half of the smallest semi-axis.
    """

    shape: str = "ellipsoid"
    x1: Bounds | None = None
    x2: Bounds | None = None
    depth: Bounds | None = None
    a1: Bounds | None = None
    a2: Bounds | None = None
    a3: Bounds | None = None
    rotation: Bounds = (0.0, 0.0)
    resistivity: Bounds = (1.0, 10000.0)
    blend: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(self.shape in SHAPES, unknown(f"body.shape {self.shape!r}", self.shape, SHAPES))
        for name in ("x1", "x2"):
            check_bounds(f"body.{name}", getattr(self, name))
        for name in ("depth", "a1", "a2", "a3", "resistivity"):
            check_bounds(f"body.{name}", getattr(self, name), positive=True)
        check_bounds("body.rotation", self.rotation)
        check(
            self.blend is None or self.blend > 0,
            f"body.blend must be positive; got {self.blend}: with a sharp edge, data are not "
            "differentiable in y",
        )


@dataclass(frozen=True, kw_only=True)
class LayersSettings:
    """Horizontal layers from the surface downwards; the last one has no bottom.

    Attributes:
        resistivity: Bounds of each layer's resistivity [ohm m], from the top.
        thickness: Bounds of each layer's thickness [m], one fewer; None for equal bounds that add
            up to 0.2 to 0.8 of the depth of investigation.
    """

    resistivity: tuple[Bounds, ...] = ((10.0, 1000.0), (10.0, 1000.0))
    thickness: tuple[Bounds, ...] | None = None

    def __post_init__(self) -> None:
        """Check counts and ranges."""
        n = len(self.resistivity)
        check(n >= 1, "layers.resistivity must have bounds for each layer; got none")
        check(
            self.thickness is None or len(self.thickness) == n - 1,
            f"layers.thickness must have bounds for {n - 1} layers, one fewer than "
            f"layers.resistivity: the last layer has no bottom; got {len(self.thickness or ())}",
        )
        for i, bounds in enumerate(self.resistivity):
            check_bounds(f"layers.resistivity[{i}]", bounds, positive=True)
        for i, bounds in enumerate(self.thickness or ()):
            check_bounds(f"layers.thickness[{i}]", bounds, positive=True)


@dataclass(frozen=True, kw_only=True)
class InterfaceSettings:
    """A dipping plane between two media.

    The plane meets the line x1 of the surface at the position. With a strike of 0 it does not
    depend on x2; a strike turns it from x1 towards x2. With a dip of pi/2 it is vertical; with a
    smaller one it goes down towards larger x1.

    Attributes:
        position: Bounds of the place [m] where the plane meets the x1 axis; None for the middle
            half of the survey.
        dip: Bounds of the angle [rad] from the horizontal to the plane, between 0 and pi.
        strike: Bounds of the angle [rad] from x1 towards x2 by which the plane is turned.
        resistivity: Bounds of the resistivities [ohm m]: of the side of small x1, which is below
            the plane, and of the other side.
        blend: Width [m] over which the logarithm of the resistivity changes; 0 for a sharp plane.
    """

    position: Bounds | None = None
    dip: Bounds = (math.pi / 4, 3 * math.pi / 4)
    strike: Bounds = (0.0, 0.0)
    resistivity: tuple[Bounds, Bounds] = ((10.0, 1000.0), (10.0, 1000.0))
    blend: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_bounds("interface.position", self.position)
        check_bounds("interface.dip", self.dip)
        low, high = self.dip
        check(
            low > 0 and high < math.pi,
            f"interface.dip must be between 0 and pi rad (pi/2 is vertical); got {low:g} to "
            f"{high:g}",
        )
        check_bounds("interface.strike", self.strike)
        for i, bounds in enumerate(self.resistivity):
            check_bounds(f"interface.resistivity[{i}]", bounds, positive=True)
        check(self.blend >= 0, f"interface.blend must not be negative; got {self.blend:g}")


@dataclass(frozen=True, kw_only=True)
class RegionsSettings:
    """Regions of a mesh, by the names of its physical groups.

    Attributes:
        names: Names of the mesh's physical groups.
        resistivity: Bounds of the resistivity [ohm m] of each of them.
    """

    names: tuple[str, ...] = ()
    resistivity: tuple[Bounds, ...] = ()

    def __post_init__(self) -> None:
        """Check counts, names and ranges."""
        check(
            len(self.names) == len(self.resistivity),
            "regions.resistivity must have bounds for each of regions.names; got "
            f"{len(self.resistivity)} for {len(self.names)} names",
        )
        check(all(self.names), "regions.names has an empty name; name the mesh's physical groups")
        twice = [name for name, count in Counter(self.names).items() if count > 1]
        check(not twice, f"regions.names has {twice[:1]} twice")
        for name, bounds in zip(self.names, self.resistivity, strict=True):
            check_bounds(f"regions.resistivity of {name!r}", bounds, positive=True)


@dataclass(frozen=True, kw_only=True)
class FieldSettings:
    """A Gaussian random field of log10 resistivity, by its Karhunen-Loeve expansion.

    Attributes:
        mean: Bounds of the field's median resistivity [ohm m].
        deviation: Standard deviation of log10 resistivity.
        length: Correlation lengths [m] along x1, x2 and x3; None for a quarter of the survey's
            extent along x1 and x2, and a third of the depth of investigation.
        terms: Number of terms, each with a parameter.
        covariance: ``exponential``, ``squared-exponential`` or ``matern`` (smoothness 3/2), a
            product over x1, x2 and x3.
        bounds: Bounds of the terms' coefficients, whose prior is standard normal within them.
    """

    mean: Bounds = (10.0, 1000.0)
    deviation: float = 0.5
    length: tuple[float, float, float] | None = None
    terms: int = 20
    covariance: str = "exponential"
    bounds: Bounds = (-3.0, 3.0)

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_bounds("field.mean", self.mean, positive=True)
        check(self.deviation > 0, f"field.deviation must be positive; got {self.deviation:g}")
        check(
            self.length is None or all(a > 0 for a in self.length),
            f"field.length must be positive; got {self.length}",
        )
        check(
            1 <= self.terms <= MOST_TERMS,
            f"field.terms must be 1 to {MOST_TERMS}; got {self.terms}",
        )
        check(
            self.covariance in COVARIANCES,
            unknown(f"field.covariance {self.covariance!r}", self.covariance, COVARIANCES),
        )
        check_bounds("field.bounds", self.bounds)
        low, high = self.bounds
        check(low < high, f"field.bounds must be [low, high]; got {low:g} and {high:g}")


@dataclass(frozen=True, kw_only=True)
class GroundConfig:
    """The tables of a model of the ground; a problem's configuration derives from it."""

    model: ModelSettings = field(default_factory=ModelSettings)
    body: BodySettings = field(default_factory=BodySettings)
    layers: LayersSettings = field(default_factory=LayersSettings)
    interface: InterfaceSettings = field(default_factory=InterfaceSettings)
    regions: RegionsSettings = field(default_factory=RegionsSettings)
    field: FieldSettings = field(default_factory=FieldSettings)

    def __post_init__(self) -> None:
        """Check settings of different tables against each other."""
        check(
            self.model.kind != "regions" or len(self.regions.names) > 0,
            "model.kind=regions needs regions.names and regions.resistivity: the mesh's physical "
            "groups and bounds for each",
        )


def check_bounds(key: str, bounds: Bounds | None, *, positive: bool = False) -> None:
    """Raise `InputError` unless bounds are ordered, and positive if asked; None is right.

    Args:
        key: Key of the setting.
        bounds: Lower and upper bound.
        positive: Whether they must be positive.
    """
    if bounds is None:
        return
    low, high = bounds
    check(not positive or low > 0, f"{key} must be positive; got {low:g} to {high:g}")
    check(
        low <= high,
        f"{key} must be [low, high], equal for a fixed value; got {low:g} and {high:g}",
    )
