"""Files of Res2DInv: the general array format (11, 15), and index-based ones (1 to 7).

    title
    1.0                          spacing of the electrodes [m]
    11                           array; for 11 three lines follow
    0                            its kind
    Type of measurement (0=app. resistivity,1=resistance)
    1
    2                            number of data
    1                            how x is given: 0, 1 true horizontal distance, 2 along the ground
    0                            1: induced polarisation, with three lines: its name, unit, times
    4 0 0 3 0 1 0 2 0 7.96       number of electrodes, x and z of a b m n, value
    3 0 0 1 0 2 0 5.2            three: b is at infinity; two: b and n are
    2                            topography: 0 none, 1 true horizontal distance, 2 along the ground
    3                            number of its points, x and z of each
    0 100
    ...
    1                            the point at which the first electrode stands
    0 0 0 0

Before the data a line "Error estimate for data present" may stand, with two lines, the text and
the number of its unit: each value is then followed by its error, and polarisations by theirs. The
unit 0 is that of the data; errors of the unit 1 are ratios, and per cent if they are larger than
real ones can be. Without a list of points, z of electrodes at the surface are their elevations.

Index-based rows are x, a (, n), apparent resistivity: x is that of the leftmost electrode, or with
the flag 1 of the middle. Devices write thirds as n: n a is a number of spacings, but for rounding.
Before the number of data of arrays 2 and 6 the places of the remote electrodes may stand, each
below a heading. Commas, tabs and blanks separate numbers; text behind ; is a comment. Source:
M. H. Loke, "RES2DINVx64 manual".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from surrogates.errors import InputError, check
from surrogates.types import Array

from .assembled import assembled, numbered
from .lines import Line
from .survey import Survey

_GENERAL = (11, 15)
"""The general array, and the multiple-gradient array that has its rows."""
_INDEXED = {1: False, 2: False, 3: True, 4: False, 5: False, 6: True, 7: True}
"""Arrays of the index-based format: whether rows have n."""

_RATIO = 0.5
"""Most that errors as ratios can be, in the median: larger ones are per cent."""

_NEAR = 0.02
"""Part of a spacing by which n a may be off a number of spacings, as n has few digits."""


def is_res2dinv(lines: Sequence[Line]) -> bool:
    """Return whether lines begin as a file of Res2DInv: a title, a number, the array's number."""
    content = _titled(lines)[:3]
    if len(content) < 3:
        return False
    spacing, array = _cells(content[1]), _cells(content[2])
    try:
        return len(spacing) == 1 and _number(spacing[0]) > 0 and _array(array) > 0
    except ValueError:
        return False


def _titled(lines: Sequence[Line]) -> Sequence[Line]:
    """Return lines with a first one for the title, which may be blank; blank lines are left out."""
    if len(lines) > 1 and lines[0].number > 1 and all(_is_number(_cells(x)) for x in lines[:2]):
        return [Line(file=lines[0].file, number=1, text=""), *lines]
    return lines


def parse(lines: Sequence[Line], name: str) -> Survey:
    """Return the survey of a file's lines.

    Raises:
        InputError: If the file is cut short, a count or a number is wrong, its array is not known,
            or the survey is wrong.
    """
    content = _Content(_titled(lines), name)
    content.line("the title")
    line = content.line("the spacing of electrodes")
    spacing = line.number_of(_cells(line)[0])
    line = content.line("the number of the array")
    array, resistance, remote = _array(_cells(line)), False, np.zeros((0, 3))
    if array in _GENERAL:
        content.line("the kind of array")
        content.heading()
        resistance = content.whole("the type of measurement, 0 or 1", (0, 1)) == 1
    elif array in _INDEXED:
        remote = content.remote()
    else:
        line.refuse(
            f"the array {array} is not known: known are 11 and 15 (general), 1 (Wenner), 2 "
            "(pole-pole), 3 (dipole-dipole), 4 and 5 (Wenner beta, gamma), 6 (pole-dipole), 7 "
            "(Schlumberger)"
        )
    n = content.whole("the number of data")
    line.check(n > 0, f"the number of data must be positive; got {n}")
    kind = content.whole("how x is given, 0, 1 or 2", (0, 1, 2))
    polarised = content.polarisation()
    unit = content.errors()
    rows = [content.line(f"data {k} of {n}") for k in range(1, n + 1)]
    if array in _GENERAL:
        (places, given), along = _general(rows), kind == 2
    else:
        (places, given), along = _indexed(rows, array, spacing, middle=kind == 1), False
        for column, place in zip((1, 3), remote, strict=False):
            line.check(bool(np.isnan(places[:, column]).all()), "this array has no remote pole")
            places[:, column] = place
    electrodes, numbers, owner = numbered(places)
    columns = dict(zip("abmn", numbers.T.astype(float), strict=True))
    columns |= _values(rows, given, "r" if resistance else "rhoa", unit, polarised=polarised)
    electrodes, topography = _on_ground(electrodes, content, along)
    return assembled(name, electrodes, [rows[i] for i in owner], columns, rows, topography)


class _Content:
    """The lines of a file, read from its start.

    Attributes:
        name: The file.
    """

    def __init__(self, lines: Sequence[Line], name: str) -> None:
        """Begin at the first line."""
        self._lines, self.name, self._next = lines, name, 0

    def line(self, what: str) -> Line:
        """Return the next line."""
        if self._next == len(self._lines):
            last = self._lines[-1].number if self._lines else 0
            raise InputError(f"{self.name} is cut short: it ends at line {last}, before {what}")
        self._next += 1
        return self._lines[self._next - 1]

    def whole(self, what: str, known: Sequence[int] = ()) -> int:
        """Return the next line's first word as a whole number; text may follow it."""
        line = self.line(what)
        found = line.whole(what, (_cells(line) or [""])[0])
        line.check(not known or found in known, f"expected {what}; got {found}")
        return found

    def heading(self) -> None:
        """Pass by a line of text, if the next line is one and no number."""
        if self._next < len(self._lines) and not _is_number(_cells(self._lines[self._next])):
            self._next += 1

    def remote(self) -> Array:
        """Return the places of remote electrodes [m], those of C2 and of P2, (n, 3)."""
        found: list[list[float]] = []
        there = self._next < len(self._lines)
        there = there and self._lines[self._next].text.strip().lower().startswith("remote")
        while there and self._next < len(self._lines):
            cells = _cells(self._lines[self._next])
            if _is_number(cells):
                if len(cells) != 3:
                    break
                found.append(self._lines[self._next].numbers(cells))
            self._next += 1
        return np.reshape(np.array(found, dtype=np.float64), (-1, 3))

    def polarisation(self) -> bool:
        """Return whether values have polarisations; their name, unit and times are passed by."""
        windows = self.whole("whether there is induced polarisation, 0 or 1")
        check(windows >= 0, f"{self.name}: expected 0 or 1 for induced polarisation; got {windows}")
        for what in ("its name", "its unit", "its times") if windows else ():
            self.line(f"induced polarisation: {what}")
        return windows > 0

    def errors(self) -> int | None:
        """Return the unit of errors, 0 that of the values, 1 ratios; None without errors."""
        there = self._next < len(self._lines)
        if not there or not self._lines[self._next].text.strip().lower().startswith("error"):
            return None
        self.line("errors")
        self.line("the type of errors")
        return self.whole("the type of errors, 0 (as the data) or 1 (relative)", (0, 1))

    def topography(self) -> tuple[int, Array]:
        """Return how the topography's x are given, 0 for none, and its points x and z, (n, 2)."""
        self.heading()
        if self._next == len(self._lines):
            return 0, np.zeros((0, 2))
        kind = self.whole("whether there is topography, 0, 1 or 2", (0, 1, 2))
        if kind == 0:
            return 0, np.zeros((0, 2))
        n = self.whole("the number of points of topography")
        rows = [self.line(f"point {k} of {n} of the topography") for k in range(1, n + 1)]
        points = np.zeros((n, 2))
        for k, row in enumerate(rows):
            cells = _cells(row)
            row.check(
                len(cells) == 2, f"expected x and z of a point; got {row.text.strip()[:40]!r}"
            )
            points[k] = row.numbers(cells)
        wrong = np.flatnonzero(np.diff(points[:, 0]) <= 0)
        if len(wrong):
            rows[wrong[0] + 1].refuse("the points of the topography must have increasing x")
        return kind, points


def _values(
    rows: Sequence[Line],
    given: Sequence[list[str]],
    kind: str,
    unit: int | None,
    *,
    polarised: bool,
) -> dict[str, Array]:
    """Return the values of rows by their names in the unified data format, (n,) each.

    Args:
        rows: The lines of the data.
        given: The words behind the places of each.
        kind: ``r`` or ``rhoa``, what is measured.
        unit: That of the errors, as `_Content.errors`.
        polarised: Whether polarisations follow.
    """
    value = _column(rows, given, 0, "a value")
    found = {kind: value}
    if unit is not None:
        error = np.abs(_column(rows, given, 1, "an error"))
        if unit == 0:
            error = error / np.where(value == 0, np.inf, np.abs(value))
        found["err"] = error / (100 if unit == 1 and np.median(error) > _RATIO else 1)
    if polarised:
        k = 1 if unit is None else 2
        found["ip"] = _column(rows, given, k, "the polarisation")
        if unit is not None and all(len(words) > k + 1 for words in given):
            found["iperr"] = _column(rows, given, k + 1, "its error")
    return found


def _general(rows: Sequence[Line]) -> tuple[Array, list[list[str]]]:
    """Return the places of a b m n, NaN at infinity, (n, 4, 3), and the words behind them."""
    places, given = np.full((len(rows), 4, 3), np.nan), []
    for i, row in enumerate(rows):
        cells = _cells(row)
        n = row.whole("the number of electrodes, 2, 3 or 4", cells[0])
        row.check(n in (2, 3, 4), f"expected the number of electrodes, 2, 3 or 4; got {n}")
        row.check(
            len(cells) > 2 * n + 1,
            f"expected x and z of {n} electrodes and a value; got {len(cells) - 1} numbers",
        )
        which = {4: [0, 1, 2, 3], 3: [0, 2, 3], 2: [0, 2]}[n]
        places[i, which] = 0.0
        places[np.ix_([i], which, [0, 2])] = np.reshape(row.numbers(cells[1 : 2 * n + 1]), (n, 2))
        given.append(cells[2 * n + 1 :])
    return places, given


def _indexed(
    rows: Sequence[Line], array: int, spacing: float, *, middle: bool
) -> tuple[Array, list[list[str]]]:
    """Return the places of a b m n, NaN at infinity, (n, 4, 3), and the words behind them."""
    width = 3 if _INDEXED[array] else 2
    places, given = np.full((len(rows), 4, 3), np.nan), []
    for i, row in enumerate(rows):
        cells = _cells(row)
        row.check(len(cells) > width, f"expected at least {width + 1} numbers; got {len(cells)}")
        x, a, n = (*row.numbers(cells[:width]), 1.0)[:3]
        row.check(a > 0, f"the spacing must be positive; got {a:g}")
        row.check(n != 0 and (n > 0 or array == 6), f"n must be positive; got {n:g}")
        whole = round(n * a / spacing) * spacing
        if n != round(n) and abs(n * a - whole) < _NEAR * spacing:
            n = whole / a
        steps = _steps(array, n)
        length = max(abs(step) for step in steps if step is not None)
        start = min(step for step in steps if step is not None)
        first = x - a * (length / 2 if middle else 0) - a * start
        for k, step in enumerate(steps):
            if step is not None:
                places[i, k] = first + a * step, 0.0, 0.0
        given.append(cells[width:])
    return places, given


def _steps(array: int, n: float) -> tuple[float | None, ...]:
    """Return the places of a b m n in units of the spacing, None at infinity.

    A pole-dipole array with negative n has its dipole to the left of its pole.
    """
    if array == 6:
        sign = 1 if n > 0 else -1
        return (0.0, None, n, n + sign)
    return {
        1: (0.0, 3.0, 1.0, 2.0),
        2: (0.0, None, 1.0, None),
        3: (0.0, 1.0, n + 1, n + 2),
        4: (0.0, 1.0, 2.0, 3.0),
        5: (0.0, 2.0, 1.0, 3.0),
        7: (0.0, 2 * n + 1, n, n + 1),
    }[array]


def _on_ground(electrodes: Array, content: _Content, along: bool) -> tuple[Array, Array | None]:
    """Return electrodes moved along the topography that follows the data, and its points.

    x of points and electrodes count from one origin; the point at which the first electrode
    stands, which a file also gives, is not needed.

    Args:
        electrodes: Places [m], (n_e, 3).
        content: The file, after its data.
        along: Whether x of the electrodes is the distance along the ground.
    """
    kind, points = content.topography()
    if len(points) < 2:
        height = electrodes[:, 2]
        if along and np.ptp(height) and (np.diff(electrodes[:, 0]) > 0).all():
            moved = electrodes.copy()
            moved[:, 0] = _horizontal(electrodes[:, 0], height, f"{content.name}: electrodes")
            return moved, None
        return electrodes, None
    x, z = points.T
    if kind == 2:
        along, s = True, x
        x = _horizontal(s, z, f"{content.name}: points of the topography")
    else:
        s = x[0] + np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(z)))])
    topography = np.stack([x, np.zeros_like(x), z], axis=1)
    if not along or np.any(electrodes[:, 2]):
        return electrodes, topography
    moved = electrodes.copy()
    given = electrodes[:, 0]
    outside = given - np.clip(given, s[0], s[-1])  # the ground is level there
    moved[:, 0] = np.interp(given, s, x) + outside
    return moved, topography


def _horizontal(s: Array, z: Array, what: str) -> Array:
    """Return horizontal places [m], (n,), of distances along the ground and elevations."""
    step = np.diff(s) ** 2 - np.diff(z) ** 2
    check(bool((step > 0).all()), f"{what} rise by more than their distance")
    return np.asarray(s[0] + np.concatenate([[0.0], np.cumsum(np.sqrt(step))]))


def _column(rows: Sequence[Line], given: Sequence[list[str]], k: int, what: str) -> Array:
    """Return the k-th number behind the places of each row."""
    for row, cells in zip(rows, given, strict=True):
        row.check(len(cells) > k, f"expected {what}; the line has too few numbers")
    return np.array([row.number_of(cells[k]) for row, cells in zip(rows, given, strict=True)])


def _cells(line: Line) -> list[str]:
    """Return the words of a line; commas and blanks separate them."""
    return line.text.replace(",", " ").split()


def _is_number(cells: Sequence[str]) -> bool:
    try:
        _number(cells[0])
    except (IndexError, ValueError):
        return False
    return True


def _number(word: str) -> float:
    """Return a word as a number; raises ValueError."""
    return float(re.sub("[dD]", "e", word))


def _array(cells: Sequence[str]) -> int:
    """Return the number of an array; devices write 6R and 6L for the sides of a pole-dipole."""
    return int(cells[0].rstrip("RLrl")) if len(cells) == 1 else 0
