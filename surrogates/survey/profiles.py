"""The lines of a survey, and where its data lie in their pseudosections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

if TYPE_CHECKING:
    from .survey import Survey

_CLOSE = 0.05
"""Distance from a line, as a part of the array's length, at which an electrode is on it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """A line of electrodes, and the data on it.

    Attributes:
        start: A point of the line, the foot of the origin's perpendicular [m], (2,).
        direction: Its direction, a unit vector, (2,).
        data: Numbers of its data from 0, (n,).
        electrodes: Numbers of the electrodes of its data from 0, (k,).
    """

    start: Array
    direction: Array
    data: npt.NDArray[np.int64]
    electrodes: npt.NDArray[np.int64]

    def along(self, places: Array) -> Array:
        """Return the distances along the line [m] of places (..., 2 or 3), (...)."""
        return np.asarray((places[..., :2] - self.start) @ self.direction)

    def zero(self, survey: Survey) -> tuple[float, str]:
        """Return where figures have 0 on the line [m], and what they call its coordinate.

        A line along x1 or x2 has that coordinate, another one the distance from its first
        electrode.
        """
        exact = np.flatnonzero(np.abs(self.direction - 1) < 1e-9)
        if len(exact):
            return 0.0, f"$x_{exact[0] + 1}$ [m]"
        return float(self.along(survey.electrodes[self.electrodes]).min()), "distance [m]"


def profiles(survey: Survey) -> list[Profile]:
    """Return the lines that hold data, those with most data first.

    A datum is on a line if all its electrodes are, within 5 % of their extent; electrodes at one
    place of the plane, as in a borehole, are on any line through it. Lines are one if their
    directions differ by less than two degrees and their offsets by less than half the distance of
    neighbouring electrodes.
    """
    there = survey.data >= 0
    plane = survey.electrodes[:, :2]
    places = np.where(there[:, :, None], plane[survey.data], np.nan)
    middle = np.nanmean(places, axis=1, keepdims=True)
    apart = np.where(there[:, :, None], places - middle, 0.0)
    axis = apart[np.arange(len(apart)), np.linalg.norm(apart, axis=2).argmax(axis=1)]
    length = np.linalg.norm(axis, axis=1)
    usable = length > 1e-9 * (float(np.ptp(plane, axis=0).max()) or 1.0)
    axis = axis / np.where(usable, length, 1.0)[:, None]
    axis[(axis[:, 0] < -1e-9) | ((np.abs(axis[:, 0]) <= 1e-9) & (axis[:, 1] < 0))] *= -1
    normal = np.stack([-axis[:, 1], axis[:, 0]], axis=1)
    off = np.abs(np.einsum("nki,ni->nk", apart, normal)).max(axis=1)
    usable &= off <= _CLOSE * np.maximum(length, 1e-300)
    return _grouped(survey, axis, middle[:, 0], np.flatnonzero(usable), _spacing(plane) / 2)


def _grouped(
    survey: Survey, axis: Array, middle: Array, usable: npt.NDArray[np.int64], width: float
) -> list[Profile]:
    """Return the lines of data by their directions and middles."""
    found, left = [], usable
    while len(left):
        # The longest of those that are left has the best direction.
        first = left[0]
        direction, start = axis[first], middle[first]
        normal = np.array([-direction[1], direction[0]])
        near = np.abs((middle[left] - start) @ normal) <= width
        near &= np.abs(axis[left] @ normal) <= np.sin(np.radians(2))
        data = left[near]
        numbers = np.unique(survey.data[data])
        foot = start - (start @ direction) * direction
        found.append(
            Profile(start=foot, direction=direction, data=data, electrodes=numbers[numbers >= 0])
        )
        left = left[~near]
    return sorted(found, key=lambda line: -len(line.data))


def _spacing(plane: Array) -> float:
    """Return the median distance of neighbours at different places [m]."""
    from scipy.spatial import cKDTree

    places = np.unique(plane, axis=0)
    if len(places) < 2:
        return 0.0
    return float(np.median(cKDTree(places).query(places, k=2)[0][:, 1]))
