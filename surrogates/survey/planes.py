"""The planes on which figures show the ground below a survey: vertical sections and a level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from .describing import Description

_LINE = 0.05
"""Width of a survey over its length below which one section shows it."""
_LEAST = 0.2
"""Least depth of a section over its length."""
_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, kw_only=True, eq=False)
class Plane:
    """A part of a plane, whose second axis is upwards in a section, and x2 in a level.

    Attributes:
        origin: Where both coordinates are 0 [m], (3,).
        axes: Unit vectors of its axes, (2, 3).
        lower: Least coordinates [m], (2,).
        upper: Largest coordinates [m], (2,).
        labels: Names of the coordinates.
        name: What it is and where.
        most: Pixels along its longer side.
    """

    origin: Array
    axes: Array
    lower: Array
    upper: Array
    labels: tuple[str, str]
    name: str
    most: int = 160

    @property
    def ratio(self) -> float:
        """Height over width."""
        width, height = self.upper - self.lower
        return float(height / width)

    def place(self, places: Array) -> Array:
        """Return the coordinates of places (..., 3) [m], (..., 2)."""
        return np.asarray((places - self.origin) @ self.axes.T)

    def distance(self, places: Array) -> Array:
        """Return the distances of places (..., 3) from the plane [m], (...)."""
        return np.asarray(np.abs((places - self.origin) @ np.cross(*self.axes)))

    def pixels(self) -> tuple[Array, Array, Array]:
        """Divide the part into square pixels.

        Returns:
            The first and the second coordinates of their middles [m], (n1,) and (n2,), and the
            places of these [m], (n2, n1, 3).
        """
        size = self.upper - self.lower
        counts = np.maximum(np.rint(self.most * size / size.max()).astype(int), 2)
        first, second = (
            low + length * (np.arange(n) + 0.5) / n
            for low, length, n in zip(self.lower, size, counts, strict=True)
        )
        places = (
            self.origin + first[None, :, None] * self.axes[0] + second[:, None, None] * self.axes[1]
        )
        return first, second, places


def planes(found: Description, body: Array | None = None) -> list[Plane]:
    """Return the planes that show a survey.

    Electrodes near one line, as in a line or in boreholes, have a section through them. Others
    have a level, and sections along x1 and along x2. These pass through the middle of the body,
    or else of the electrodes, and the level lies at the median depth of the data.

    Args:
        found: The survey.
        body: Points of a body's surface [m], (n, 3), which the planes show too.
    """
    places = found.survey.electrodes
    shown = places if body is None else np.vstack([places, body])
    centre = _middle(places if body is None else body)
    finite = found.depths[np.isfinite(found.depths)]
    deep = 1.3 * float(finite.max(initial=0.0))
    apart = places[:, :2] - places[:, :2].mean(axis=0)
    _, spread, directions = np.linalg.svd(apart, full_matrices=False)
    if len(spread) < 2 or spread[1] <= _LINE * max(spread[0], 1e-300):
        through = places.mean(axis=0)
        one = _section(found, shown, _along(directions[0], spread[0]), through, deep)
        return [replace(one, most=320)]
    if body is None and len(finite):
        centre[2] = found.ground.top - float(np.median(finite))
    lower, upper = shown.min(axis=0), shown.max(axis=0)
    margin = 0.05 * float((upper - lower)[:2].max())
    level = Plane(
        origin=np.array([0.0, 0.0, centre[2]]),
        axes=np.eye(3)[:2],
        lower=lower[:2] - margin,
        upper=upper[:2] + margin,
        labels=("$x_1$ [m]", "$x_2$ [m]"),
        name=f"$x_3$ = {_rounded(centre[2], margin)} m",
    )
    return [level, *(_section(found, shown, axis, centre, deep) for axis in np.eye(3)[:2])]


def _section(
    found: Description, shown: Array, direction: Array, through: Array, deep: float
) -> Plane:
    """Return a vertical section in a direction through a point, which shows places."""
    along = shown @ direction
    length = float(np.ptp(along))
    surface = _surface(found)
    depth = max(deep, 1.1 * float(surface[0] - shown[:, 2].min()), _LEAST * length)
    margin = max(0.05 * length, 0.15 * depth)
    through = np.array([*through[:2], 0.0])
    origin, name, label = through - (through @ direction) * direction, "", "distance [m]"
    exact = np.flatnonzero(np.abs(direction) == 1)
    if len(exact):
        axis, other = int(exact[0]), 1 - int(exact[0])
        label = f"$x_{axis + 1}$ [m]"
        name = f"$x_{other + 1}$ = {_rounded(through[other], margin)} m"
    else:  # from the first electrode
        start = float((found.survey.electrodes @ direction).min())
        origin, along = origin + start * direction, along - start
    return Plane(
        origin=origin,
        axes=np.stack([direction, _UP]),
        lower=np.array([along.min() - margin, surface[0] - depth]),
        upper=np.array([along.max() + margin, surface[1] + max(0.05 * depth, 0.018 * length)]),
        labels=(label, "$x_3$ [m]"),
        name=name,
    )


def near(plane: Plane, places: Array) -> npt.NDArray[np.bool_]:
    """Return which places are near enough to a plane to be drawn on it: the nearest line, (n,)."""
    distance = plane.distance(places)
    return np.asarray(distance <= distance.min() + 0.02 * float(np.ptp(places, axis=0).max()))


def _surface(found: Description) -> tuple[float, float]:
    """Return the lowest and the highest elevation of the surface at electrodes [m]."""
    height = found.survey.electrodes[~found.ground.buried, 2]
    if found.ground.flat or not len(height):
        return found.ground.top, found.ground.top
    return float(height.min()), float(height.max())


def _along(direction: Array, spread: float) -> Array:
    """Return a direction of the plane as one in space: towards x1, and exact along an axis."""
    if not spread > 0:  # one borehole
        return np.array([1.0, 0.0, 0.0])
    found = np.array([*direction, 0.0]) * (1.0 if direction.sum() >= 0 else -1.0)
    largest = int(np.abs(found).argmax())
    return np.eye(3)[largest] if abs(found[largest]) > 1 - 1e-9 else found


def _middle(places: Array) -> Array:
    """Return the middle of the box around places, (3,)."""
    return np.asarray((places.min(axis=0) + places.max(axis=0)) / 2)


def _rounded(value: float, scale: float) -> str:
    """Return a number with digits below a tenth of a scale."""
    digits = max(0, int(np.ceil(1 - np.log10(scale)))) if scale > 0 else 2
    return f"{round(value, digits) + 0.0:g}".replace("-", "−")


def resampled(values: Array, of: Sequence[Plane]) -> list[Array]:
    """Divide values at the pixels of planes, one after the other, (n,), into maps (n2, n1)."""
    shapes = [plane.pixels()[2].shape[:2] for plane in of]
    cuts = np.cumsum([n2 * n1 for n2, n1 in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(values, cuts), shapes, strict=True)]
