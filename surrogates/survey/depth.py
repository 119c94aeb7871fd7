r"""The median depth of investigation of any four-electrode datum.

In a homogeneous half-space, a thin layer at depth z changes the resistance of a datum by an amount
that is the datum's depth characteristic (Roy and Apparao 1971, "Depth of investigation in direct
current methods", Geophysics 36). Half of its integral lies above the median depth (Edwards 1977,
"A modified pseudosection for resistivity and IP", Geophysics 42; Barker 1989). For a pole-pole
array of length r this is 0.866 r, for Wenner's of spacing a 0.519 a.

The integral down to z of two electrodes at depths d_i <= d_j and horizontal distance r is in closed
form: the plane integral of grad G_i . grad G_j of the half-space's potentials G is a Hankel
transform of exponentials, and

    int_0^inf k J0(k r) exp(-k s) dk = s / (r^2 + s^2)^(3/2)

has the antiderivative -1 / sqrt(r^2 + s^2) in s. For electrodes at the surface the share above z is
1 - r / sqrt(r^2 + 4 z^2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from surrogates.types import Array

from .ground import Ground, depths_of
from .quality import middles

if TYPE_CHECKING:
    from .survey import Survey

_GRID = 400
"""Depths over six decades between which shares are interpolated: errors are below 1e-3."""


def median_depths(survey: Survey, ground: Ground) -> Array:
    """Return the depth below which half of each datum's sensitivity lies [m], (n_d,).

    On topography distances are straight, and depths count from the surface. A datum whose
    characteristic changes its sign has the least depth with one half above it; NaN if there is
    none, as for a datum without potential difference.
    """
    buried = depths_of(survey.electrodes, ground)
    i, j = survey.pairs.T
    difference = survey.electrodes[i] - survey.electrodes[j]
    apart = np.hypot(difference[:, 0], difference[:, 1])
    if not ground.flat:
        both = ~(ground.buried[i] | ground.buried[j])
        apart = np.where(both, np.linalg.norm(difference, axis=1), apart)
    upper, lower = np.sort(buried[survey.pairs], axis=1).T
    scale = float(np.median(apart + lower)) or 1.0

    def shares(depth: float) -> Array:
        """Return the share of each datum's sensitivity above a depth, (n_d,)."""
        return survey.combine(_above(apart, upper, lower, depth))

    found = np.full(len(survey.data), np.nan)
    whole, before, shallow = shares(np.inf), np.zeros(len(found)), 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        for depth in scale * np.geomspace(1e-3, 1e3, _GRID):
            share = shares(depth) / whole
            new = np.isnan(found) & (share >= 0.5)
            weight = (0.5 - before[new]) / (share[new] - before[new])
            found[new] = shallow + weight * (depth - shallow)
            before, shallow = share, depth
    return found


def data_places(survey: Survey, ground: Ground, depths: Array) -> Array:
    """Return where pseudosections draw data [m], (n_d, 3): their electrodes' middle, at a depth.

    The surface is there at the mean elevation of the datum's electrodes that are not buried, or at
    `Ground.top` if all are, or the ground is flat.

    Args:
        survey: The survey.
        ground: Its ground.
        depths: Depths below the surface [m], (n_d,).
    """
    surface = np.full(len(survey.data), ground.top)
    if not ground.flat:
        at_top = ~ground.buried[survey.data] & (survey.data >= 0)
        total = np.where(at_top, survey.electrodes[:, 2][survey.data], 0.0).sum(axis=1)
        number = at_top.sum(axis=1)
        surface = np.where(number > 0, total / np.maximum(number, 1), ground.top)
    return np.column_stack([middles(survey), surface - depths])


def _above(apart: Array, upper: Array, lower: Array, depth: float) -> Array:
    """Return the integrals of the characteristic of pairs from the surface to a depth, (n_p,)."""

    def g(s: Array) -> Array:
        return 1 / np.hypot(apart, s)

    both, between = upper + lower, lower - upper
    there = g(both) - g(both + 2 * depth)  # of both images
    there += g(both - 2 * np.minimum(depth, upper)) - g(both)  # above both electrodes
    there += np.where(depth > upper, g(both) - g(2 * depth + between), 0.0)
    below = g(between) - g(2 * depth - both) + g(both) - g(2 * depth - between)
    return np.asarray(there + np.where(depth > lower, below, 0.0))
