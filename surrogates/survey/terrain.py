"""The surface of the ground between points of known elevation."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import ConvexHull, Delaunay

from surrogates.errors import check
from surrogates.types import Array

STRAIGHT = 0.25
"""Points are a line if they are off it by less than this part of the spacing (root mean square)."""


class Terrain:
    """The elevation [m] of the ground at any place, from points of the surface.

    Between points it is linear on their Delaunay triangulation; outside their convex hull it is the
    elevation at the nearest place of the hull. Points on a line give a surface that varies along
    the line only, with the elevations of its ends beyond them.

    Attributes:
        points: The points [m], (n, 3).
    """

    def __init__(self, points: Array) -> None:
        """Triangulate points (n, 3); of points at one place of the map the first one counts."""
        check(len(points) > 0, "the surface of the ground needs at least one point")
        _, first = np.unique(points[:, :2], axis=0, return_index=True)
        self.points = np.asarray(points[np.sort(first)], dtype=np.float64)
        self._line = _line(self.points)
        self._inside = self._hull = None
        if self._line is None:
            plane = self.points[:, :2]
            self._inside = LinearNDInterpolator(Delaunay(plane), self.points[:, 2])
            self._hull = plane[ConvexHull(plane).vertices]

    def __call__(self, places: Array) -> Array:
        """Return elevations at places (n, 2 or 3) of the map, (n,)."""
        plane = np.asarray(places, dtype=np.float64)[:, :2]
        if self._line is not None:
            centre, along, at, height = self._line
            return np.asarray(np.interp((plane - centre) @ along, at, height))
        assert self._inside is not None and self._hull is not None
        found = self._inside(plane)
        out = np.isnan(found)
        if out.any():
            nearest = _nearest(self._hull, plane[out])
            # Places on the hull's edges can lie outside by rounding: a little further in.
            middle = self._hull.mean(axis=0)
            found[out] = self._inside(nearest + 1e-9 * (middle - nearest))
        return np.asarray(found)


def _line(points: Array) -> tuple[Array, Array, Array, Array] | None:
    """Return centre, direction, and places and elevations along a line of points, or None."""
    plane = points[:, :2]
    centre = plane.mean(axis=0)
    if len(points) == 1:
        return centre, np.array([1.0, 0.0]), np.zeros(1), points[:, 2]
    across, along = np.linalg.eigh(np.cov((plane - centre).T, bias=True))[1].T
    t = (plane - centre) @ along
    order = np.argsort(t)
    steps = np.diff(t[order])
    off = float(np.sqrt((((plane - centre) @ across) ** 2).mean()))
    if off > STRAIGHT * float(np.median(steps)) or (steps <= 0).any():
        return None
    return centre, along, t[order], points[order, 2]


def _nearest(polygon: Array, places: Array) -> Array:
    """Return the nearest places on the edges of a polygon, (n, 2)."""
    best, found = np.full(len(places), np.inf), np.zeros_like(places)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        t = ((places - a) @ (b - a) / ((b - a) @ (b - a))).clip(0, 1)
        on = a + t[:, None] * (b - a)
        distance = np.linalg.norm(places - on, axis=1)
        closer = distance < best
        best[closer], found[closer] = distance[closer], on[closer]
    return found
