"""Tables of surveys (.csv): a line of names and a line for each datum.

Either with numbers of electrodes from 1, 0 at infinity, and a second table with their places: in
the same file, above or below, or in a file ``NAME.electrodes.csv`` beside ``NAME.csv``,

    electrode,x,y,z
    1,0,0,0
    ...
    a,b,m,n,rhoa [ohm m],err [%]
    1,4,2,3,102.5,2

or with places in each row, empty at infinity:

    xa,za,xb,zb,xm,zm,xn,zn,R [ohm]
    0,0,,,1,0,2,0,5.2

Commas, semicolons and tabs separate cells; with the latter two, commas may be decimal ones. Names
of columns are those of the unified data format; a(x) and c1x stand for xa too, and units stand in
brackets or behind a slash. Columns without numbers are left out. Text after # is a comment.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surrogates.errors import InputError
from surrogates.types import Array

from . import columns
from .assembled import as_places, assembled, numbered
from .lines import Line, lines_of
from .survey import Survey

_PLACE = re.compile(r"(?:([xyz])_?(a|b|m|n|[cp][12])|(a|b|m|n|[cp][12])_?\(?([xyz])\)?)")
_INFINITE = ("", "inf", "infinity", "nan", "-")
_COUNTS = ("electrode", "number", "no", "id")


@dataclass(frozen=True, kw_only=True)
class _Table:
    """A table: the line of names, the names, and for each row its line and its cells."""

    head: Line
    names: list[str]
    rows: list[Line]
    cells: list[list[str]]

    def numbers(self, k: int) -> Array:
        """Return a column of numbers, (n,)."""
        pairs = zip(self.rows, self.cells, strict=True)
        name = self.names[k]
        return np.array([row.number_of(cells[k], f"a number {name}") for row, cells in pairs])


def is_table(lines: Sequence[Line]) -> bool:
    """Return whether the first line with text holds names of a table of a survey."""
    first = next((line for line in lines if line.text.strip()), None)
    return first is not None and _kind(_cells(first.text, _separator(first.text))) != ""


def parse(lines: Sequence[Line], name: str) -> Survey:
    """Return the survey of a file's lines.

    Raises:
        InputError: If a table or a column is missing, a cell is no number, or the survey is wrong.
    """
    tables = _tables(lines)
    data = next((tables[kind] for kind in ("places", "data") if kind in tables), None)
    if data is None:
        raise InputError(f"{name} has electrodes and no data: add a table with a, b, m, n")
    if not data.rows:
        data.head.refuse("the table has no data")
    if data is tables.get("places"):
        electrodes, numbers, owner = numbered(_places(data))
        where = [data.rows[i] for i in owner]
        found = dict(zip(columns.DATA, numbers.T.astype(float), strict=True))
        return assembled(name, electrodes, where, {**_values(data), **found}, data.rows)
    table = tables.get("electrodes") or _beside(name, data.head)
    electrodes = _electrodes(table)
    found = _values(data)
    for key in columns.DATA:
        found[key] = _renumbered(found[key], table, data, key)
    return assembled(name, electrodes, table.rows, found, data.rows)


def _tables(lines: Sequence[Line]) -> dict[str, _Table]:
    """Return the tables of a file by kind: ``data``, ``places`` (of each datum), ``electrodes``."""
    found: dict[str, _Table] = {}
    table, separator = None, ","
    for line in lines:
        if not line.text.strip():
            continue
        cells = _cells(line.text, _separator(line.text))
        if kind := _kind(cells):
            line.check(kind not in found, "the file has two such tables")
            separator = _separator(line.text)
            table = found[kind] = _Table(head=line, names=cells, rows=[], cells=[])
            continue
        assert table is not None  # the first line has names: `is_table`
        cells = _cells(line.text, separator)
        while len(cells) > len(table.names) and not cells[-1]:
            cells.pop()
        line.check(
            len(cells) == len(table.names),
            f"expected {len(table.names)} cells, as in line {table.head.number}; got {len(cells)}",
        )
        table.rows.append(line)
        table.cells.append([c.replace(",", ".") for c in cells] if separator != "," else cells)
    return found


def _beside(name: str, head: Line) -> _Table:
    """Read the table of electrodes from the file beside a table of data."""
    path = Path(name)
    other = path.with_name(f"{path.stem}.electrodes{path.suffix}")
    if not other.is_file():
        head.refuse(
            "the table has numbers of electrodes; add a table with x, y, z of the electrodes, or "
            f"write it to {other.name}"
        )
    table = _tables(lines_of(other)).get("electrodes") if is_table(lines_of(other)) else None
    if table is None:
        raise InputError(f"{other}: expected a table with x, y, z of the electrodes")
    return table


def _electrodes(table: _Table) -> Array:
    """Return the places of a table of electrodes [m], (n, 3)."""
    if not table.rows:
        table.head.refuse("the table has no electrodes")
    which = [k for k, name in enumerate(table.names) if columns.is_place(name)]
    values = np.stack([table.numbers(k) for k in which], axis=1)
    return as_places([table.names[k] for k in which], table.rows, values)


def _renumbered(given: Array, table: _Table, data: _Table, key: str) -> Array:
    """Return electrodes' numbers in the order of their table, from 1; 0 is at infinity."""
    k = next((k for k, name in enumerate(table.names) if name.lower() in _COUNTS), None)
    if k is None:
        return given
    order = {number: i for i, number in enumerate(table.numbers(k).tolist(), start=1)}
    table.head.check(len(order) == len(table.rows), "two electrodes have one number")
    table.head.check(0 not in order, "an electrode has the number 0, which stands for infinity")
    for row, number in zip(data.rows, given.tolist(), strict=True):
        row.check(
            number == 0 or number in order,
            f"electrode {key} = {number:g} is not in the table of electrodes",
        )
    return np.array([order.get(number, 0) for number in given.tolist()], dtype=np.float64)


def _places(table: _Table) -> Array:
    """Return the places of a b m n of each row [m], NaN at infinity, (n, 4, 3)."""
    found = np.zeros((len(table.rows), 4, 3))
    there = set()
    for k, name in enumerate(table.names):
        if (place := _place(name)) is None:
            continue
        electrode, axis = place
        table.head.check(place not in there, f"two columns are {'xyz'[axis]} of one electrode")
        there.add(place)
        _, factor = columns.place_column(table.head, f"x/{_length(name)}")
        for i, (row, cells) in enumerate(zip(table.rows, table.cells, strict=True)):
            at_infinity = cells[k].lower() in _INFINITE
            found[i, electrode, axis] = (
                np.nan if at_infinity else factor * row.number_of(cells[k], f"a number {name}")
            )
    for electrode, name in enumerate(columns.DATA):
        axes = [axis for one, axis in there if one == electrode]
        empty = np.isnan(found[:, electrode][:, axes])
        wrong = np.flatnonzero(empty.any(axis=1) & ~empty.all(axis=1))
        if len(wrong):
            table.rows[wrong[0]].refuse(f"a coordinate of {name} is missing")
        found[empty.all(axis=1), electrode] = np.nan  # also an electrode without columns
    return found


def _values(table: _Table) -> dict[str, Array]:
    """Return the columns of the data in SI units by name, but for places and texts."""
    found: dict[str, Array] = {}
    for k, name in enumerate(table.names):
        known = columns.known(name)
        texts = not known and any(not _is_number(cells[k]) for cells in table.cells)
        if _place(name) is not None or texts or not name:
            continue
        key, factor = columns.data_column(table.head, name)
        table.head.check(key not in found, f"two columns are {key}")
        found[key] = table.numbers(k) * factor
    return found


def _kind(cells: Sequence[str]) -> str:
    """Return the kind of table that a line of names begins; "" if it is no such line."""
    if sum(_place(cell) is not None for cell in cells) > 1:
        return "places"
    if set(columns.DATA) <= {columns.name_of(cell) for cell in cells}:
        return "data"
    names = [cell for cell in cells if columns.is_place(cell)]
    counted = any(cell.lower() in _COUNTS for cell in cells)
    return "electrodes" if len(names) > 1 or (names and counted) else ""


def _place(name: str) -> tuple[int, int] | None:
    """Return the electrode (0 to 3) and the axis (0 to 2) that a column's name has, or None."""
    small = name.strip().lower()
    found = _PLACE.fullmatch(small) or _PLACE.fullmatch(columns.split_unit(small)[0])
    if not found:
        return None
    axis, electrode = found[1] or found[4], found[2] or found[3]
    return columns.DATA.index(columns.name_of(electrode)), "xyz".index(axis)


def _length(name: str) -> str:
    """Return the unit of length of a column of places; metres without one."""
    return "m" if _PLACE.fullmatch(name.strip().lower()) else columns.split_unit(name)[1] or "m"


def _separator(text: str) -> str:
    """Return the separator of a line of names."""
    return max((";", "\t", ","), key=text.count) if re.search("[;\t,]", text) else " "


def _cells(text: str, separator: str) -> list[str]:
    """Return the cells of a line, without quotes."""
    cells = text.split() if separator == " " else text.split(separator)
    return [cell.strip().strip("\"'").strip() for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
