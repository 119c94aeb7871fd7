"""The unified data format of pyGIMLi and BERT (.ohm, .dat, .shm, .udf, .data).

    4                  # number of electrodes
    # x z
    0   0
    1   0
    2   0
    3   0
    1                  # number of data
    # a b m n R/Ohm err/%
    1   4   2   3   7.96  2
    0

Text after # is a comment. The comment with the names of the columns may stand at the count or
below it; names may have units, and prose may follow them. Without names, places are x, x z or
x y z, and data a b m n rhoa err; an elevation h and a depth d make z. Electrodes count from 1; 0 is
an electrode at infinity. After the data a count and points of the topography may follow. Source:
T. Guenther and C. Ruecker, "The unified data format", resistivity.net.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from surrogates.errors import InputError
from surrogates.types import Array

from . import columns
from .assembled import as_places, assembled
from .lines import Line
from .survey import Survey

_PLACES = {1: ("x",), 2: ("x", "z"), 3: ("x", "y", "z")}
_DATA = ("a", "b", "m", "n", "rhoa", "err")


def parse(lines: Sequence[Line], name: str) -> Survey:
    """Return the survey of a file's lines; a comment starts with #.

    Raises:
        InputError: If the file is cut short, a count or a number is wrong, or the survey is.
    """
    content = _Content(lines, name)
    electrodes, places = content.places("electrodes", least=2)
    count, n = content.count("data")
    count.check(n > 0, "the file has no data")
    names, rows = content.table(n, "data", columns.known)
    if not names and len(rows[0].words) in (5, 6):
        names = list(_DATA[: len(rows[0].words)])
    rows[0].check(bool(names), "name the columns of the data in a comment such as # a b m n rhoa")
    found = _columns(names, rows)
    topography = content.places("points of topography")[0] if content.more() else None
    if content.more():
        content.line("nothing").refuse("there are more lines than the counts say")
    return assembled(name, electrodes, places, found, rows, topography)


def _columns(names: Sequence[str], rows: Sequence[Line]) -> dict[str, Array]:
    """Return the columns (n,) in SI units by name; a column of texts without a known name is none.

    Beside x or y, z is where a pseudosection draws the datum, and no impedance.
    """
    read = [columns.data_column(rows[0], word) for word in names]
    given = [columns.split_unit(word)[0] for word in names]
    if {"x", "y"} & set(given):
        read = [
            ("z", 1.0) if one == "z" else as_read for one, as_read in zip(given, read, strict=True)
        ]
    twice = len({name for name, _ in read}) < len(read)
    rows[0].check(not twice, f"two columns have one name: {' '.join(names)}")
    found = {}
    for k, (word, (name, factor)) in enumerate(zip(names, read, strict=True)):
        if columns.known(word) or all(_is_number(row.words[k]) for row in rows):
            values = [row.number_of(row.words[k], finite=False) for row in rows]
            found[name] = np.array(values) * factor
    return found


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


class _Content:
    """The lines of a file, read from its start."""

    def __init__(self, lines: Sequence[Line], name: str) -> None:
        self._lines, self._name, self._next = lines, name, 0
        self._comments: list[str] = []

    def more(self) -> bool:
        """Return whether lines with numbers follow."""
        return any(line.words for line in self._lines[self._next :])

    def line(self, what: str) -> Line:
        """Return the next line with words; collect the comments above it."""
        while self._next < len(self._lines):
            line = self._lines[self._next]
            self._next += 1
            if line.words:
                return line
            self._comments.append(line.comment or "")
        last = self._lines[-1].number if self._lines else 0
        raise InputError(f"{self._name} is cut short: it ends at line {last}, before {what}")

    def count(self, what: str) -> tuple[Line, int]:
        """Return the line of a count, and the count."""
        line = self.line(f"the number of {what}")
        if len(line.words) > 1:
            line.refuse(
                f"expected the number of {what}; got {line.text.strip()[:40]!r}: is the count of "
                "the lines above right?"
            )
        n = line.whole(f"the number of {what}")
        line.check(n >= 0, f"the number of {what} must be positive; got {n}")
        self._comments = [line.comment or ""]
        return line, n

    def table(
        self, n: int, what: str, known: Callable[[str], bool]
    ) -> tuple[list[str], list[Line]]:
        """Return the names of the columns, empty if none are given, and ``n`` lines of numbers."""
        rows = [self.line(f"{what} 1 of {n}")]
        heads = [text.replace(",", " ").split() for text in self._comments]
        names = next((words for words in heads if words and known(words[0])), [])
        width = len(rows[0].words)
        if len(names) > width and not known(names[width]):
            names = names[:width]  # prose follows
        elif names and len(names) != width:
            rows[0].refuse(f"expected {len(names)} numbers, {' '.join(names)}; got {width}")
        for k in range(2, n + 1):
            row = self.line(f"{what} {k} of {n}")
            if len(row.words) < width and not self.more():
                row.refuse(f"the file is cut short here, in {what} {k} of {n}")
            row.check(
                len(row.words) == width,
                f"expected {width} numbers, as in the line above ({what} {k} of {n}); got "
                f"{len(row.words)}",
            )
            rows.append(row)
        return names, rows

    def places(self, what: str, least: int = 0) -> tuple[Array, list[Line]]:
        """Return a count of places and the places [m], (n, 3), with their lines."""
        count, n = self.count(what)
        count.check(n >= least, f"a survey has at least {least} {what}; got {n}")
        if n == 0:
            return np.zeros((0, 3)), []
        names, rows = self.table(n, what, columns.is_place)
        names = names or list(_PLACES.get(len(rows[0].words), ()))
        rows[0].check(bool(names), f"expected x, x z or x y z; got {len(rows[0].words)} numbers")
        return as_places(names, rows, np.array([row.numbers() for row in rows])), rows
