"""A survey: electrodes and four-electrode data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from surrogates.errors import check
from surrogates.types import Array

from .ground import Ground, ground_of

Integers = npt.NDArray[np.int64]

INFINITY = -1
"""The number of an electrode at infinity."""

FARTHEST = 1e9
"""Most that a coordinate may be [m]; distances of much larger ones overflow."""

_PARTS = ((0, 2), (0, 3), (1, 2), (1, 3))
"""Columns of the current and the potential electrode of each term of a resistance."""

_NAMES = "abmn"


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """Electrodes and data of a survey.

    Attributes:
        electrodes: Places [m], x3 upwards, (n_e, 3).
        data: Numbers of the electrodes a, b, m, n of each datum from 0, (n_d, 4); `INFINITY` is
            an electrode at infinity. Current enters at a and leaves at b.
        values: Columns (n_d,) by their names in the unified data format, in SI units: ``r`` is the
            transfer resistance [ohm], ``rhoa`` the apparent resistivity [ohm m], ``k`` the
            geometric factor [m], ``err`` the relative error.
        name: Where the survey is from: a file, or the name of an array.
        topography: Points of the surface besides the electrodes [m], (n_t, 3).
    """

    electrodes: Array
    data: Integers
    values: Mapping[str, Array] = field(default_factory=dict)
    name: str = "survey"
    topography: Array = field(default_factory=lambda: np.zeros((0, 3)))

    def __post_init__(self) -> None:
        """Check the shapes, the places of electrodes, and their numbers in the data."""
        check(
            self.electrodes.ndim == 2 and self.electrodes.shape[1] == 3,
            f"{self.name}: electrodes must be (n, 3); got {self.electrodes.shape}",
        )
        check(
            self.data.ndim == 2 and self.data.shape[1] == 4,
            f"{self.name}: data must be (n, 4); got {self.data.shape}",
        )
        check(
            bool((np.abs(self.electrodes) < FARTHEST).all()),
            f"{self.name}: an electrode is farther than {FARTHEST:g} m from the origin; electrodes "
            "at infinity have no place",
        )
        if twice := same_place(self.electrodes):
            first, second = twice
            check(False, f"{self.name}: electrodes {first + 1} and {second + 1} are at one place")
        if wrong := wrong_datum(self.data, len(self.electrodes)):
            check(False, f"{self.name}, datum {wrong[0] + 1}: {wrong[1]}")
        for key, column in self.values.items():
            check(
                column.shape == (len(self.data),),
                f"{self.name}: {key} must have {len(self.data)} values; got {column.shape}",
            )

    @cached_property
    def pairs(self) -> Integers:
        """Pairs i < j of electrodes whose potentials the data need, (n_p, 2)."""
        return self._pairing[0]

    def combine(self, potentials: Array) -> Array:
        """Return transfer resistances from potentials.

        Args:
            potentials: Potential [V] at one electrode of each pair of 1 A into the other one,
                (..., n_p).

        Returns:
            Transfer resistances u_am - u_an - u_bm + u_bn [ohm], (..., n_d).
        """
        return self._sum(potentials, (1, -1, -1, 1))

    def sizes(self, potentials: Array) -> Array:
        """Return the sums |u_am| + |u_an| + |u_bm| + |u_bn| of `combine`'s terms, (..., n_d)."""
        return self._sum(np.abs(potentials), (1, 1, 1, 1))

    def _sum(self, potentials: Array, signs: tuple[int, ...]) -> Array:
        """Add the potentials of the pairs am, an, bm, bn with signs."""
        found = np.zeros((*potentials.shape[:-1], len(self.data)))
        for where, sign in zip(self._pairing[1], signs, strict=True):
            there = where >= 0
            found[..., there] += sign * potentials[..., where[there]]
        return found

    def ground(self, top: float | None = None) -> Ground:
        """Return whether the ground is flat, and which electrodes are buried; see `ground_of`."""
        return ground_of(self.electrodes, top, self.name)

    def select(self, data: Integers | npt.NDArray[np.bool_]) -> Survey:
        """Return the survey with some of the data, by their numbers from 0 or a mask (n_d,)."""
        values = {name: column[data] for name, column in self.values.items()}
        return replace(self, data=self.data[data], values=values)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the survey in the unified data format; see `writing`."""
        from .writing import write

        write(self, path)

    @cached_property
    def _pairing(self) -> tuple[Integers, Integers]:
        """The pairs, and the number of the pair of each part of each datum, (4, n_d), or -1."""
        n = len(self.electrodes)
        parts = np.array([self.data[:, list(columns)] for columns in _PARTS])
        there = (parts != INFINITY).all(axis=2)
        low, high = parts.min(axis=2), parts.max(axis=2)
        codes, number = np.unique((low * n + high)[there], return_inverse=True)
        where = np.full(there.shape, -1, dtype=np.int64)
        where[there] = number.ravel()
        return np.stack([codes // n, codes % n], axis=1), where


def same_place(electrodes: Array) -> tuple[int, int] | None:
    """Return the numbers from 0 of two electrodes at one place, None if there are none.

    Places count as one if they differ by less than a millionth of the survey's extent: the digits
    of files.
    """
    if len(electrodes) < 2:
        return None
    from scipy.spatial import cKDTree

    extent = float(np.ptp(electrodes, axis=0).max()) or 1.0
    near = cKDTree(electrodes).query_pairs(1e-6 * extent)
    return min(near) if near else None


def wrong_datum(data: Integers, n_electrodes: int) -> tuple[int, str] | None:
    """Return the number from 0 of the first wrong datum and what is wrong, None if all are right.

    Args:
        data: Numbers of electrodes from 0, or `INFINITY`, (n_d, 4).
        n_electrodes: The number of electrodes.
    """
    missing = (data < INFINITY) | (data >= n_electrodes)
    equal = {
        (i, j): (data[:, i] == data[:, j]) & (data[:, i] != INFINITY)
        for i in range(4)
        for j in range(i + 1, 4)
    }
    currents, potentials = (data[:, :2] == INFINITY).all(1), (data[:, 2:] == INFINITY).all(1)
    wrong = missing.any(axis=1) | np.any(list(equal.values()), axis=0) | currents | potentials
    if not wrong.any():
        return None
    i = int(np.flatnonzero(wrong)[0])
    if missing[i].any():
        column = int(np.flatnonzero(missing[i])[0])
        return i, (
            f"electrode {_NAMES[column]} = {data[i, column] + 1} is not there; numbers go from 1 "
            f"to {n_electrodes}, and 0 is an electrode at infinity"
        )
    for (j, k), same in equal.items():
        if same[i]:
            return i, f"{_NAMES[j]} and {_NAMES[k]} are one electrode, {data[i, j] + 1}"
    which = "current electrodes a and b" if currents[i] else "potential electrodes m and n"
    return i, f"both {which} are at infinity; at least one must be there"
