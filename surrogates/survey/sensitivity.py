r"""Sensitivities of apparent resistivities to the resistivity at points of homogeneous ground.

With the potentials u_i of 1 A into electrode i in ground of 1 ohm m, the resistance of a datum
a b m n changes with the resistivity rho(x) of a small volume by

    d R / d log rho = (grad u_a - grad u_b) . (grad u_m - grad u_n)    [ohm / m^3]

(Geselowitz 1971, "An application of electrocardiographic lead theory to impedance
plethysmography"). Times the geometric factor k = 1 / R, that is d log rhoa / d log rho per volume
[1/m^3], whose integral over the ground is 1. The coverage is the sum of its sizes over all data, as
in pyGIMLi: it is small where no datum sees the ground.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from .ground import Ground

if TYPE_CHECKING:
    from .survey import Integers, Survey

Gradients = Callable[[slice], Array]
"""Returns grad u_i [V/m] of unit currents for a part of the points, (3, n_e, n)."""

_NUMBERS = 1 << 20
"""Numbers of the arrays of a part of the points, for the caches of processors."""


def half_space_gradients(survey: Survey, ground: Ground, points: Array) -> Gradients:
    """Return the gradients of the electrodes' potentials in a half-space of 1 ohm m.

    On topography, the potential of an electrode at the surface is that below a plane through it,
    and a buried electrode has its image at the elevation `Ground.top`: an estimate, as
    `estimated_factors`. Distances are straight: with depths below the local surface in place of
    elevations, the coverage under a ridge of a right angle is farther from that by images. There a
    tenth of the values is off by a factor of more than 4, instead of less than 2. An electrode has
    no gradient at its own place.

    Args:
        survey: The survey.
        ground: Its ground.
        points: Where [m], (n, 3).
    """
    places = survey.electrodes
    images = places * [1.0, 1.0, -1.0] + [0.0, 0.0, 2 * ground.top]
    images = np.where(ground.buried[:, None], images, places)
    least = (1e-9 * float(np.ptp(places, axis=0).max())) ** 2

    def gradients(part: slice) -> Array:
        found = np.zeros((3, len(places), len(points[part])))
        for sources in (places, images):
            away = sources.T[:, :, None] - points[part].T[:, None]
            square = np.maximum(np.einsum("ien,ien->en", away, away), least)
            found += away / (4 * np.pi * square * np.sqrt(square))
        return found

    return gradients


def sensitivity(survey: Survey, factors: Array, gradients: Gradients, n: int, datum: int) -> Array:
    """Return d log rhoa / d log rho of one datum per volume [1/m^3], (n,).

    Args:
        survey: The survey.
        factors: Geometric factors [m] of the ground that the gradients are of, (n_d,).
        gradients: Gradients at n points.
        n: The number of points.
        datum: The datum's number from 0.
    """
    found = np.empty(n)
    for part in _parts(n, len(survey.electrodes)):
        g = gradients(part)
        current, potential = (_dipoles(g, survey.data[[datum]][:, two]) for two in _TWO)
        found[part] = factors[datum] * (current * potential).sum(axis=0)[0]
    return found


def coverage(survey: Survey, factors: Array, gradients: Gradients, n: int) -> Array:
    """Return the sum of the sizes of all data's sensitivities per volume [1/m^3], (n,).

    Data whose factor is not finite are left out. Gradients are in single precision, for speed: the
    result has five digits where electrodes are nearer than a hundred lengths of the dipoles.
    Arguments as of `sensitivity`.
    """
    usable = np.isfinite(factors)
    weights = np.abs(factors[usable]).astype(np.float32)
    # Dipoles of several data are computed once.
    found, of_each = zip(
        *(np.unique(survey.data[usable][:, two], axis=0, return_inverse=True) for two in _TWO),
        strict=True,
    )
    result = np.empty(n)
    for part in _parts(n, 2 * len(weights)):
        g = gradients(part).astype(np.float32)
        pairs = (_dipoles(g, dipoles) for dipoles in found)
        products = np.zeros((len(weights), g.shape[2]), dtype=np.float32)
        for current, potential in zip(*pairs, strict=True):
            products += current[of_each[0].ravel()] * potential[of_each[1].ravel()]
        result[part] = weights @ np.abs(products, out=products)
    return result


_TWO = (slice(0, 2), slice(2, 4))
"""Columns of the current and of the potential electrodes of data."""


def _dipoles(g: npt.NDArray[Any], dipoles: Integers) -> npt.NDArray[Any]:
    """Return the gradients of dipoles of electrodes, one of which may be at infinity, (3, n, n_p).

    Args:
        g: Gradients of the electrodes, (3, n_e, n_p).
        dipoles: Numbers of two electrodes each, (n, 2).
    """
    g = np.concatenate([g, np.zeros_like(g[:, :1])], axis=1)  # of the number -1
    found: npt.NDArray[Any] = g[:, dipoles[:, 0]] - g[:, dipoles[:, 1]]
    return found


def _parts(n: int, each: int) -> list[slice]:
    """Divide n points, for which arrays have so many numbers each, into parts."""
    size = max(1, _NUMBERS // each)
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
