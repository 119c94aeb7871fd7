"""A survey: electrodes and four-electrode data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from surrogates.errors import check
from surrogates.types import Array

Integers = npt.NDArray[np.int64]

INFINITY = -1
"""The number of an electrode at infinity."""

_SIGNS = (((0, 2), 1), ((0, 3), -1), ((1, 2), -1), ((1, 3), 1))
"""Columns of a current and of a potential electrode, and the sign of its part of the resistance."""


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
    """

    electrodes: Array
    data: Integers
    values: Mapping[str, Array] = field(default_factory=dict)
    name: str = "survey"

    def __post_init__(self) -> None:
        """Check the shapes, and the numbers of electrodes."""
        check(
            self.electrodes.ndim == 2 and self.electrodes.shape[1] == 3,
            f"{self.name}: electrodes must be (n, 3); got {self.electrodes.shape}",
        )
        check(
            self.data.ndim == 2 and self.data.shape[1] == 4,
            f"{self.name}: data must be (n, 4); got {self.data.shape}",
        )
        wrong = np.flatnonzero(((self.data < -1) | (self.data >= len(self.electrodes))).any(axis=1))
        check(
            len(wrong) == 0,
            f"{self.name}: datum {wrong[:1] + 1} names an electrode that is not there; there are "
            f"{len(self.electrodes)}",
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
        found = np.zeros((*potentials.shape[:-1], len(self.data)))
        for where, (_, sign) in zip(self._pairing[1], _SIGNS, strict=True):
            there = where >= 0
            found[..., there] += sign * potentials[..., where[there]]
        return found

    @cached_property
    def _pairing(self) -> tuple[Integers, Integers]:
        """The pairs, and the number of the pair of each part of each datum, (4, n_d), or -1."""
        n = len(self.electrodes)
        parts = np.array([self.data[:, list(columns)] for columns, _ in _SIGNS])
        there = (parts != INFINITY).all(axis=2)
        low, high = parts.min(axis=2), parts.max(axis=2)
        codes, number = np.unique((low * n + high)[there], return_inverse=True)
        where = np.full(there.shape, -1, dtype=np.int64)
        where[there] = number.ravel()
        return np.stack([codes // n, codes % n], axis=1), where
