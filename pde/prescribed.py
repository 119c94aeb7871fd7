"""Points y at which a run solves because the user gives them, in place of a sampling design.

Sample i is point i. The design of such a set is ``points``, and its identity includes the SHA-256
of the points, under ``--points`` among its inputs: the same points in another file are the same
set. Points may lie outside the bounds of the problem, unless its mesh is made for these
(`Problem.needs_bounds`): the set's bounds are then wider, and a note says so.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from surrogates import given
from surrogates.config import check
from surrogates.data import Info
from surrogates.data.points import digest_of, read_points
from surrogates.types import Array

DESIGN = "points"
OPTION = "--points"
_ROUNDING = 1e-12  # of a bound, beyond which a point is outside
_OFF_SIMPLEX = 1e-6  # of a sum of y, as of points that were written with few digits


@dataclass(frozen=True, kw_only=True)
class Space:
    """The space of a problem's parameters, with some settings.

    Attributes:
        problem: Name of the problem.
        names: Names of the parameters.
        lower: Lower bounds, (n_y,).
        upper: Upper bounds, (n_y,).
        sums: Whether the parameters sum to one.
        needs_bounds: Whether the problem solves only within the bounds.
    """

    problem: str
    names: tuple[str, ...]
    lower: Array
    upper: Array
    sums: bool
    needs_bounds: bool

    def points(self, source: Any) -> Array:
        """Read points, from a file or an array, and check them.

        Args:
            source: A .csv, .npy or .h5 file; or numbers, (n, n_y), with or without names.

        Returns:
            Y, (n, n_y) float64. Those outside a bound by rounding are at the bound.

        Raises:
            InputError: If they cannot be read, are not of these parameters, or the problem cannot
                solve for them.
        """
        is_file = isinstance(source, str | os.PathLike)
        what = os.fspath(source) if is_file else "points"
        Y = read_points(source, self.names) if is_file else self._array(source, what)
        slack = _ROUNDING * np.maximum(np.abs(self.lower), np.abs(self.upper))
        inside = np.clip(Y, self.lower, self.upper)
        Y = np.where(np.abs(Y - inside) <= slack, inside, Y)
        if self.sums:
            off = np.abs(Y.sum(axis=1) - 1)
            check(
                bool((off <= _OFF_SIMPLEX).all()),
                f"{what}: the parameters of {self.problem} sum to one; those of point "
                f"{off.argmax()} to {Y[off.argmax()].sum():.6g} (points count from 0)",
            )
        outside = self.outside(Y)
        check(
            not (outside and self.needs_bounds),
            f"{what}: {outside}; {self.problem} solves only within them: widen them by its "
            "settings, or leave such points out",
        )
        return Y

    def _array(self, source: Any, what: str) -> Array:
        """Return the points of an array or a table."""
        Y = given.real(source, self.names, what)
        check(
            Y.ndim == 2 and len(Y) > 0 and Y.shape[1] == len(self.names),
            f"{what} must be of shape (n, {len(self.names)}), as {self.problem} has "
            f"{len(self.names)} parameters; got {Y.shape}",
        )
        bad = np.argwhere(~np.isfinite(Y))
        if len(bad):
            i, k = bad[0]
            check(False, f"{what}, row {i}: {self.names[k]} is {Y[i, k]:g}, not a finite number")
        return Y

    def outside(self, Y: Array) -> str:
        """Say which points lie outside the bounds; empty if none does."""
        beyond = np.argwhere((Y < self.lower) | (Y > self.upper))
        if not len(beyond):
            return ""
        i, k = beyond[0]
        n = len(np.unique(beyond[:, 0]))
        ends = f"{self.lower[k]:.6g} to {self.upper[k]:.6g}"
        return (
            f"{n} of {len(Y)} points lie{'s' * (n == 1)} outside the bounds of {self.problem}, the "
            f"first in {self.names[k]}: {Y[i, k]:.6g} is not within {ends}"
        )

    def describe(self, info: Info, Y: Array) -> Info:
        """Return the description of a set that has these points, from that of a design."""
        note = self.outside(Y)
        return dataclasses.replace(
            info,
            design=DESIGN,
            inputs={**info.inputs, OPTION: digest_of(Y)},
            y_lower=np.minimum(info.y_lower, Y.min(axis=0)),
            y_upper=np.maximum(info.y_upper, Y.max(axis=0)),
            notes=(*info.notes, note) if note else info.notes,
        )
