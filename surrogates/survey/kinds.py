"""The arrays of a survey, recognised by the places of the electrodes of each datum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from .ground import Ground

if TYPE_CHECKING:
    from .survey import Survey

_CLOSE = 0.05
"""Lengths that differ by less than this part of the array's length count as equal.

Electrodes in the field stand on uneven ground, and are surveyed after they are planted.
"""

WENNER, SCHLUMBERGER, GRADIENT = "wenner", "schlumberger", "gradient"
DIPOLE_DIPOLE, WENNER_GAMMA = "dipole-dipole", "wenner-gamma"
POLE_DIPOLE, POLE_POLE, DIPOLE_POLE = "pole-dipole", "pole-pole", "dipole-pole"
ANOTHER, BURIED = "off one line", "with buried electrodes"


def kinds(survey: Survey, ground: Ground) -> npt.NDArray[np.str_]:
    """Return the name of the array of each datum, (n_d,).

    Four electrodes on a line are named by their order: a b m n dipole-dipole, a m n b Wenner,
    Schlumberger if the centres are one, else gradient, and a m b n Wenner gamma. By reciprocity
    current and potential electrodes may be exchanged, but for poles: one electrode at infinity is
    pole-dipole if it is b or a, dipole-pole if it is m or n.
    """
    there = survey.data >= 0
    found = np.full(len(survey.data), ANOTHER, dtype="<U24")
    missing = (~there).sum(axis=1)
    found[missing == 2] = POLE_POLE
    found[(missing == 1) & ~there[:, :2].all(axis=1)] = POLE_DIPOLE
    found[(missing == 1) & ~there[:, 2:].all(axis=1)] = DIPOLE_POLE
    buried = (ground.buried[survey.data] & there).any(axis=1)
    four = missing == 0
    found[four] = _of_four(survey.electrodes[survey.data[four]])
    found[buried & four] = BURIED
    return found


def _of_four(places: Array) -> npt.NDArray[np.str_]:
    """Return the names of arrays of four electrodes, (n, 4, 3)."""
    found = np.full(len(places), ANOTHER, dtype="<U24")
    plane = places[:, :, :2] - places[:, :, :2].mean(axis=1, keepdims=True)
    # The direction of the line: from the middle to the farthest electrode.
    far = np.linalg.norm(plane, axis=2).argmax(axis=1)
    axis = plane[np.arange(len(plane)), far]
    length = np.linalg.norm(axis, axis=1, keepdims=True)
    axis = axis / np.where(length > 0, length, 1.0)
    along = np.einsum("nki,ni->nk", plane, axis)
    off = np.abs(plane[:, :, 0] * axis[:, 1:] - plane[:, :, 1] * axis[:, :1]).max(axis=1)
    on_line = off <= _CLOSE * np.maximum(length[:, 0], 1e-300)
    size = np.ptp(along, axis=1)
    order = np.sort(along, axis=1)
    current = np.argsort(along, axis=1) < 2  # which of the four in order are current electrodes
    inner = current[:, 1] == current[:, 2]
    apart = (current[:, 0] == current[:, 1]) & ~inner
    found[on_line & apart] = DIPOLE_DIPOLE
    found[on_line & ~apart & ~inner] = WENNER_GAMMA
    step = np.diff(order, axis=1)
    centred = np.abs(step[:, 0] - step[:, 2]) <= _CLOSE * size
    equal = centred & (np.abs(step[:, 1] - step[:, 0]) <= _CLOSE * size)
    found[on_line & inner] = GRADIENT
    found[on_line & inner & centred] = SCHLUMBERGER
    found[on_line & inner & equal] = WENNER
    return found
