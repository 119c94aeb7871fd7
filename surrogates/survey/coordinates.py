"""A survey as coordinates of its data, by which it travels with datasets and surrogates.

A dataset's coordinates are numbers of each observable. Those of a survey's data are

    a, b, m, n              numbers of the electrodes from 1; 0 is an electrode at infinity
    a_x1, a_x2, a_x3, ...   the place of each of the four [m], as in the survey; 0 at infinity

so that the surrogate alone, or some of its outputs, has the electrodes too: inversion codes ask for
them. The places of an electrode are repeated in each of its data, 12 numbers a datum: a file has no
other entry that is neither of parameters nor of observables, and an output that is selected takes
its own coordinates along.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from surrogates.errors import check
from surrogates.types import Array

from .survey import INFINITY, Survey

_NAMES = "abmn"
_AXES = ("x1", "x2", "x3")


def coordinates_of(survey: Survey) -> dict[str, Array]:
    """Return the coordinates of a survey's data, (n_d,) each; the module says which."""
    found = dict(zip(_NAMES, (survey.data + 1.0).T, strict=True))
    there = (survey.data != INFINITY)[:, :, None]
    places = np.where(there, survey.electrodes[survey.data], 0.0)
    for i, name in enumerate(_NAMES):
        found |= {f"{name}_{axis}": places[:, i, j] for j, axis in enumerate(_AXES)}
    return found


def survey_of(coordinates: Mapping[str, Array], name: str) -> Survey:
    """Return the survey of coordinates, the inverse of `coordinates_of`.

    Electrodes that no datum uses are not among the coordinates: the others keep their order, and
    are numbered anew without gaps.

    Args:
        coordinates: Coordinates of observables, (n_d,) each; ``k``, geometric factors [m], becomes
            a column of the survey.
        name: Name of the survey, for messages.

    Raises:
        InputError: If these are not the coordinates of a survey's data, or disagree.
    """
    names = [*_NAMES, *(f"{name}_{axis}" for name in _NAMES for axis in _AXES)]
    check(
        all(one in coordinates for one in names),
        f"{name} has no survey: its observables do not say their electrodes a, b, m, n and where "
        "they are, as those of the problem ert do",
    )
    numbers = np.stack([coordinates[one] for one in _NAMES], axis=1).astype(np.int64)
    places = np.stack([coordinates[one] for one in names[4:]], axis=1).reshape(-1, 4, 3)
    there = numbers > 0
    used, first, where = np.unique(numbers[there], return_index=True, return_inverse=True)
    electrodes = places[there][first]
    moved = np.flatnonzero((electrodes[where.ravel()] != places[there]).any(axis=1))
    check(
        len(moved) == 0,
        f"{name}: electrode {numbers[there][moved[:1]]} has different places in different data",
    )
    data = np.full(numbers.shape, INFINITY, dtype=np.int64)
    data[there] = np.searchsorted(used, numbers[there])
    values = {"k": np.asarray(coordinates["k"])} if "k" in coordinates else {}
    return Survey(electrodes=electrodes, data=data, values=values, name=name)
