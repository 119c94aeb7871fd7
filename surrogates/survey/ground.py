"""The ground under a survey: flat or topography, electrodes at the surface or buried.

Files tell neither. The rule of `ground_of`:

- Electrodes that share (x1, x2) with others are a column, as in a borehole. All of a column but its
  highest electrode are buried.
- If the electrodes outside columns have one elevation, the ground is flat there. The highest
  electrode of a column is buried too if it lies below.
- If they have several elevations, the surface passes through them: topography. The highest
  electrode of a column is at the surface, unless it lies below the nearest electrode outside
  columns by more than the distance to it, a slope of 45 degrees.
- If all electrodes are in columns, the ground is flat at 0, and none may lie above.
- An elevation that is given (``top``) makes the ground flat there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from surrogates.errors import check, listed
from surrogates.types import Array

if TYPE_CHECKING:
    from .survey import Survey

Flags = npt.NDArray[np.bool_]

_SAME = 1e-6
"""Places that differ by less than this part of the survey's extent count as equal."""

CANCELLATION = 1e6
"""Most that the terms of a geometric factor may cancel: sum of sizes over size of the sum.

Beyond, an error of one millionth in a distance changes the factor by as much as its size.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """The surface of the ground, and the electrodes below it.

    Attributes:
        flat: Whether the surface is a plane x3 = ``top``.
        top: Elevation of the surface [m]; on topography the mean over electrodes at the surface.
        buried: Which electrodes are below the surface, (n_e,).
    """

    flat: bool
    top: float
    buried: Flags


def ground_of(electrodes: Array, top: float | None = None, name: str = "survey") -> Ground:
    """Return the ground of electrodes by the rule of this module.

    Args:
        electrodes: Places [m], x3 upwards, (n_e, 3).
        top: Elevation of flat ground [m]; None: found from the electrodes.
        name: The survey's name, for messages.

    Raises:
        InputError: If an electrode is above ``top``, or all are in columns and one above 0.
    """
    height = electrodes[:, 2]
    tolerance = _SAME * (float(np.ptp(electrodes, axis=0).max()) or 1.0)
    if top is not None:
        above = np.flatnonzero(height > top + tolerance)
        check(
            len(above) == 0,
            f"{name}: electrodes {_numbers(above)} are above the surface x3 = {top:g} m; x3 is "
            "upwards, and depths are negative",
        )
        return Ground(flat=True, top=float(top), buried=height < top - tolerance)
    column, highest = _columns(electrodes, tolerance)
    single, lower = ~column, column & ~highest
    if not single.any():
        above = np.flatnonzero(height > tolerance)
        check(
            len(above) == 0,
            f"{name}: all electrodes are in boreholes, and electrodes {_numbers(above)} are above "
            "x3 = 0; give the elevation of the surface, and depths as negative x3",
        )
        return Ground(flat=True, top=0.0, buried=height < -tolerance)
    level = float(np.median(height[single]))
    if (np.abs(height[single] - level) <= tolerance).all() and (
        height[highest & column] <= level + tolerance
    ).all():
        return Ground(flat=True, top=level, buried=height < level - tolerance)
    buried = lower | (column & highest & _far_below(electrodes, single))
    return Ground(flat=False, top=float(height[~buried].mean()), buried=buried)


def _columns(electrodes: Array, tolerance: float) -> tuple[Flags, Flags]:
    """Return which electrodes share (x1, x2) with others, and which is highest there, (n_e,)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    n = len(electrodes)
    near = cKDTree(electrodes[:, :2]).query_pairs(tolerance, output_type="ndarray")
    graph = coo_matrix((np.ones(len(near)), (near[:, 0], near[:, 1])), shape=(n, n))
    _, group = connected_components(graph, directed=False)
    tops = np.full(group.max(initial=-1) + 1, -np.inf)
    np.maximum.at(tops, group, electrodes[:, 2])
    return np.bincount(group)[group] > 1, electrodes[:, 2] >= tops[group]


def _far_below(electrodes: Array, single: Flags) -> Flags:
    """Return which electrodes lie below the nearest of ``single`` by more than their distance."""
    from scipy.spatial import cKDTree

    distance, nearest = cKDTree(electrodes[single, :2]).query(electrodes[:, :2])
    there = electrodes[single, 2][nearest] - electrodes[:, 2] > distance
    return np.asarray(there, dtype=bool)


def rising(electrodes: Array) -> bool:
    """Return whether most electrodes of boreholes lie far above the surface near them.

    Far is more than their distance to the nearest electrode outside boreholes: 45 degrees.
    """
    column, _ = _columns(electrodes, _SAME * (float(np.ptp(electrodes, axis=0).max()) or 1.0))
    if column.all() or not column.any():
        return False
    below = _far_below(electrodes * [1, 1, -1], ~column)
    return float(below[column].mean()) > 0.5


def depths_of(electrodes: Array, ground: Ground) -> Array:
    """Return the depths of electrodes below the surface [m], (n_e,), 0 at the surface.

    On topography the surface above a buried electrode is at the elevation of the nearest one at
    the surface.
    """
    if ground.flat or not ground.buried.any():
        return np.where(ground.buried, ground.top - electrodes[:, 2], 0.0)
    from scipy.spatial import cKDTree

    surface = electrodes[~ground.buried]
    _, nearest = cKDTree(surface[:, :2]).query(electrodes[:, :2])
    return np.where(ground.buried, np.maximum(surface[nearest, 2] - electrodes[:, 2], 0.0), 0.0)


def half_space_potentials(survey: Survey, ground: Ground) -> Array:
    """Return T of each pair for a half-space of 1 ohm m [V/A], (n_p,), with images of electrodes.

    On topography, two electrodes at the surface count as on a plane through both of them, and a
    buried electrode lies below a flat surface of its own (`depths_of`): an estimate, no solution.
    """
    depth = depths_of(survey.electrodes, ground)
    difference, (i, j) = survey.electrodes[survey.pairs], survey.pairs.T
    difference = difference[:, 0] - difference[:, 1]
    direct = np.linalg.norm(difference, axis=1)
    image = np.hypot(np.hypot(difference[:, 0], difference[:, 1]), depth[i] + depth[j])
    image = np.where(ground.buried[i] | ground.buried[j], image, direct)
    return np.asarray((1 / direct + 1 / image) / (4 * np.pi))


def half_space_factors(survey: Survey, ground: Ground) -> Array:
    """Return the geometric factors of flat ground: apparent resistivity over resistance.

    Args:
        survey: The survey.
        ground: Its ground, which must be flat.

    Returns:
        k [m], (n_d,), of the sign of the resistance of a homogeneous half-space.

    Raises:
        InputError: If the ground is not flat, or a factor is undefined: the potentials cancel by
            more than `CANCELLATION`.
    """
    check(
        ground.flat,
        f"{survey.name}: the ground is not flat; on topography geometric factors need a solve",
    )
    factors = estimated_factors(survey, ground)
    wrong = np.flatnonzero(~np.isfinite(factors))
    check(
        len(wrong) == 0,
        f"{survey.name}: the geometric factors of data {_numbers(wrong)} are undefined, as m and n "
        "have the same potential in homogeneous ground; leave these data out",
    )
    return factors


def estimated_factors(survey: Survey, ground: Ground) -> Array:
    """Return geometric factors [m] by `half_space_potentials`, (n_d,); infinite where undefined."""
    T = half_space_potentials(survey, ground)
    resistance, size = survey.combine(T), survey.sizes(T)
    defined = np.abs(resistance) * CANCELLATION > size
    return np.where(defined, 1 / np.where(defined, resistance, 1.0), np.inf)


def _numbers(indices: npt.NDArray[np.int64]) -> str:
    """Return numbers from 1 in words."""
    return listed([str(i + 1) for i in indices.tolist()], 5)
