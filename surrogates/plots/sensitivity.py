"""Figures of where a survey's data see homogeneous ground: its coverage, or one datum."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from surrogates.errors import check
from surrogates.survey.describing import Description
from surrogates.survey.planes import Plane, planes, resampled
from surrogates.survey.sensitivity import coverage, half_space_gradients, sensitivity
from surrogates.types import Array

from .ground import Quantity, View, ground
from .style import SIGNED_MAP, log_colors

_DECADES = 3.0
"""Of the coverage that colours show, below its percentile 98: it is infinite at electrodes."""
_MOST = 95.0
"""Percentile at which colours end for one datum, whose electrodes have infinite values."""


def sensitivities(
    found: Description, path: str | os.PathLike[str], datum: int | None = None, *, title: str = ""
) -> None:
    """Draw where a survey's data see homogeneous ground.

    On topography it is an estimate, as `half_space_gradients`, below a surface through the
    electrodes.

    Args:
        found: The survey.
        path: The figure.
        datum: The number from 0 of the datum whose sensitivity is drawn; None for the coverage.
        title: Above the figure.

    Raises:
        InputError: If there is no such datum, its geometric factor is undefined, or the figure
            cannot be written.
    """
    survey, n = found.survey, len(found.survey.data)
    if datum is not None:
        check(0 <= datum < n, f"{survey.name} has the data 1 to {n}; got {datum + 1}")
        check(
            bool(np.isfinite(found.factors[datum])),
            f"{survey.name}: the geometric factor of datum {datum + 1} is undefined",
        )
    shown = planes(found, None if datum is None else _around(found, datum))
    pixels = np.concatenate([plane.pixels()[2].reshape(-1, 3) for plane in shown])
    inside = _below(found, pixels)
    gradients = half_space_gradients(survey, found.ground, pixels[inside])
    of, values = (survey, found.factors, gradients, int(inside.sum())), np.full(len(pixels), np.nan)
    if datum is None:
        values[inside] = coverage(*of)
        quantity = covering(values, shown, estimate=not found.ground.flat)
    else:
        values[inside] = sensitivity(*of, datum)
        quantity = _seeing(values, shown, estimate=not found.ground.flat)
        names = zip("abmn", survey.data[datum] + 1, strict=True)
        title += f", datum {datum + 1}: {', '.join(f'{name} = {e}' for name, e in names)}"
    view = View(found=found, planes=shown, quantities=[quantity], data=False)
    ground(view, path, title=title)


def covering(values: Array, of: Sequence[Plane], *, estimate: bool) -> Quantity:
    """Return the coverage at the pixels of planes [1/m^3], (n,), as a quantity to draw.

    The label says if it is an ``estimate``, as on topography.
    """
    finite = values[np.isfinite(values)]
    most = float(np.percentile(finite, 98)) if len(finite) else 1.0
    return Quantity(
        name="coverage",
        label="coverage, estimate [1/m³]" if estimate else "coverage [1/m³]",
        maps=resampled(values, of),
        colors=log_colors(np.minimum(values, most), decades=_DECADES),
    )


def _seeing(values: Array, of: Sequence[Plane], *, estimate: bool) -> Quantity:
    """Return a datum's sensitivity at the pixels of planes [1/m^3], (n,), as `covering`."""
    from matplotlib.colors import Normalize

    limit = float(np.percentile(np.abs(values[np.isfinite(values)]), _MOST)) or 1.0
    return Quantity(
        name="sensitivity",
        label="sensitivity, estimate [1/m³]" if estimate else "sensitivity [1/m³]",
        maps=resampled(values, of),
        colors=(SIGNED_MAP, Normalize(-limit, limit)),
    )


def _around(found: Description, datum: int) -> Array:
    """Return the electrodes of a datum, and as many places twice its median depth below them."""
    numbers = found.survey.data[datum]
    places, depth = found.survey.electrodes[numbers[numbers >= 0]], found.depths[datum]
    return np.vstack([places, places - [0.0, 0.0, 2 * depth if np.isfinite(depth) else 0.0]])


def _below(found: Description, places: Array) -> npt.NDArray[np.bool_]:
    """Return which places (n, 3) are below the surface, (n,)."""
    if found.ground.flat:
        return np.asarray(places[:, 2] <= found.ground.top)
    from surrogates.survey.terrain import Terrain

    top = found.survey.electrodes[~found.ground.buried]
    return np.asarray(places[:, 2] <= Terrain(top)(places))
