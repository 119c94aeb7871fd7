"""Made surveys: the usual arrays on lines and grids of electrodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np

from surrogates.errors import InputError, check

from .survey import INFINITY, Integers, Survey

Datum = tuple[int, int, int, int]


def _dipole_dipole(n: int, levels: int) -> Iterator[Datum]:
    for level in range(1, levels + 1):
        for i in range(n - level - 2):
            yield i, i + 1, i + level + 1, i + level + 2


def _wenner(n: int, levels: int) -> Iterator[Datum]:
    for level in range(1, levels + 1):
        for i in range(n - 3 * level):
            yield i, i + 3 * level, i + level, i + 2 * level


def _schlumberger(n: int, levels: int) -> Iterator[Datum]:
    for level in range(1, levels + 1):
        for i in range(n - 2 * level - 1):
            yield i, i + 2 * level + 1, i + level, i + level + 1


def _pole_dipole(n: int, levels: int) -> Iterator[Datum]:
    for level in range(1, levels + 1):
        for i in range(n - level - 1):
            yield i, INFINITY, i + level, i + level + 1
            yield i + level + 1, INFINITY, i + 1, i  # the same to the other side


def _pole_pole(n: int, levels: int) -> Iterator[Datum]:
    for level in range(1, levels + 1):
        for i in range(n - level):
            yield i, INFINITY, i + level, INFINITY


def _gradient(n: int, levels: int) -> Iterator[Datum]:
    """Yield a multiple gradient array: level 1 has a and b at the line's ends, each next half.

    Current dipoles of a level overlap by half. m and n are neighbours between a and b, and no
    neighbours of them.
    """
    for level in range(levels):
        length = (n - 1) // 2**level  # too short ones have no place for m and n
        for a in range(0, n - length, max(1, length // 2)):
            for m in range(a + 2, a + length - 2):
                yield a, a + length, m, m + 1


_ARRAYS: dict[str, tuple[Callable[[int, int], Iterator[Datum]], Callable[[int], int], int]] = {
    "dipole-dipole": (_dipole_dipole, lambda n: min(8, n - 3), 4),
    "wenner": (_wenner, lambda n: (n - 1) // 3, 4),
    "schlumberger": (_schlumberger, lambda n: (n - 2) // 2, 4),
    "pole-dipole": (_pole_dipole, lambda n: n - 2, 3),
    "pole-pole": (_pole_pole, lambda n: n - 1, 2),
    "gradient": (_gradient, lambda n: int(np.log2((n - 1) / 5)) + 1, 6),
}
"""By name: the data of a line, the default of the levels, and the least number of electrodes."""

ARRAYS = tuple(_ARRAYS)
"""The names of arrays that `made` knows."""


def made(
    array: str,
    electrodes: int = 24,
    spacing: float = 1.0,
    *,
    lines: int = 1,
    line_spacing: float | None = None,
    levels: int | None = None,
    both: bool = False,
) -> Survey:
    """Make a survey of an array on flat ground, x3 = 0.

    Lines run along x1 from 0, the first at x2 = 0. The level is the separation in units of the
    electrodes' spacing: from current to potential dipole (dipole-dipole, pole-dipole, pole-pole),
    between neighbours (Wenner), from a to m (Schlumberger); of gradient, the number of lengths of a
    b, each half the one before.

    Args:
        array: One of `ARRAYS`.
        electrodes: Number of electrodes of a line.
        spacing: Their distance [m].
        lines: Number of lines.
        line_spacing: Their distance [m]; None: that of the electrodes.
        levels: The largest level; None: all that fit the line, but at most 8 for dipole-dipole,
            whose signal falls with the cube of the level.
        both: Whether lines also run along x2, through the electrodes of all lines.

    Raises:
        InputError: If there is no such array, or a line has too few electrodes for it.
    """
    if array not in _ARRAYS:
        from surrogates.config import unknown  # with packages that readers of surveys do without

        raise InputError(unknown(f"array {array!r}", array, ARRAYS))
    data, most, least = _ARRAYS[array]
    check(
        electrodes >= least,
        f"a line of {array} has at least {least} electrodes; got {electrodes}",
    )
    apart = spacing if line_spacing is None else line_spacing
    _check_sizes(array, spacing, lines, apart, levels, least if both else 1)
    x1, x2 = np.arange(electrodes) * spacing, np.arange(lines) * apart
    places = np.zeros((lines, electrodes, 3))
    places[:, :, 0], places[:, :, 1] = x1, x2[:, None]
    numbers = np.arange(lines * electrodes).reshape(lines, electrodes)
    runs = chain(numbers, numbers.T) if both else iter(numbers)
    found = list[Integers]()
    for run in runs:
        n = len(run)
        numbered = np.array(list(data(n, most(n) if levels is None else levels)))
        found.append(np.where(numbered == INFINITY, INFINITY, run[numbered]))
    size = f"{electrodes} x {lines}" if lines > 1 else f"{electrodes}"
    return Survey(
        electrodes=places.reshape(-1, 3),
        data=np.concatenate(found),
        name=f"{array}, {size} electrodes",
    )


def _check_sizes(
    array: str, spacing: float, lines: int, apart: float, levels: int | None, least: int
) -> None:
    """Raise `InputError` for wrong sizes of a made survey; ``least`` is the least of lines."""
    check(lines >= 1, f"there is at least one line; got {lines}")
    for what, length in (("spacing", spacing), ("line spacing", apart)):
        check(0 < length < np.inf, f"the {what} must be positive; got {length:g}")
    check(levels is None or levels >= 1, f"the largest level is at least 1; got {levels}")
    check(
        lines >= least,
        f"lines along x2 have as many electrodes as there are lines, at least {least} for {array}; "
        f"got {lines}",
    )
