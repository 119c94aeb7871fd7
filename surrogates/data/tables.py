"""Tables of text: .csv, .tsv, .txt and .dat files, also compressed by gzip.

The separator (comma, semicolon, tab, runs of blanks) is inferred from the file: it divides most
lines into the same number of cells, most of them numbers. Decimal commas are read unless the
separator is a comma; numbers with thousands separators are refused. Lines that start with # or %
are comments, unless they start with an error of a spreadsheet, such as #DIV/0!.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.files import reading
from surrogates.types import Array

ENDINGS = (".csv", ".tsv", ".txt", ".dat")
_SEPARATORS = (";", "\t", ",", " ")
_SAMPLE = 100  # lines from which the separator is inferred
_NUMBER = re.compile(
    r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[ed][+-]?\d+)?|inf|infinity|nan)", re.ASCII | re.IGNORECASE
)
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:([,.'\u2019\s])\d{3})(?:\1\d{3})*(?:[.,]\d+)?")
_COMMA_GROUP = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)  # or a decimal comma
_SHEET_ERROR = re.compile(r"\s*#(?:N/A|[A-Z][A-Z0-9_/]*[!?])")
_MISSING = frozenset(("", "na", "n/a", "#n/a", "<na>", "nan", "null"))
_Row = tuple[int, list[str]]  # the number of its line, counted from 1, and its cells
_INDICES = frozenset(("", "index", "id", "sample", "unnamed: 0"))


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text.

    Attributes:
        path: The file.
        names: Names of the columns; None if the file has none.
        units: Units of the columns; empty if the file has none.
        values: The numbers, (n_rows, n_columns); NaN where a cell is not a number.
        odd: The text of each cell that is not a finite number, by row and column from 0.
        lines: The line of each row in the file, counted from 1.
        comma: Place of the first decimal comma that could separate thousands; empty if there is
            none.
    """

    path: Path
    names: tuple[str, ...] | None
    values: Array
    odd: Mapping[tuple[int, int], str]
    lines: Sequence[int]
    units: tuple[str, ...] = ()
    comma: str = ""

    def indices(self) -> list[int]:
        """Return the columns that count the rows, from 0 or 1, and are named accordingly."""
        if len(self.values) < 2:
            return []
        counts = np.arange(len(self.values))[:, None]
        found = (self.values == counts).all(axis=0) | (self.values == counts + 1).all(axis=0)
        names = self.names or ()
        return [i for i, name in enumerate(names) if found[i] and name.lower() in _INDICES]

    def without(self, columns: Sequence[int]) -> Table:
        """Return the table without some columns."""
        kept = [i for i in range(self.values.shape[1]) if i not in columns]
        place = {column: k for k, column in enumerate(kept)}
        return replace(
            self,
            names=None if self.names is None else tuple(self.names[i] for i in kept),
            values=self.values[:, kept],
            units=tuple(self.units[i] for i in kept) if self.units else (),
            odd={(i, place[k]): text for (i, k), text in self.odd.items() if k in place},
        )

    def check_names(self, but: Sequence[int] = ()) -> None:
        """Refuse columns with no name or with the same name; columns in ``but`` need none."""
        names = self.names or ()
        for i, name in enumerate(names):
            check(bool(name) or i in but, f"{self.path}: column {i + 1} has no name")
        for name, number in Counter(names).items():
            at = " and ".join(str(i + 1) for i, other in enumerate(names) if other == name)
            check(number == 1 or not name, f"{self.path}: the columns {at} have one name, {name!r}")

    def refuse(self, row: int, column: int, why: str = "is not a finite number") -> None:
        """Raise `InputError` about a cell, with its place in the file."""
        cell = self.odd.get((row, column), f"{self.values[row, column]:g}")
        hint = "; write numbers without thousands separators" * bool(_GROUPED.fullmatch(cell))
        place = f"{self.path}, row {self.lines[row]}, column {column + 1}"
        raise InputError(f"{place}: {_short(repr(cell))} {why}{hint}")


def is_text(cell: str) -> bool:
    """Return whether a cell is neither a number nor a mark of a missing one."""
    return cell.lower() not in _MISSING and not _NUMBER.fullmatch(cell)


def ending(path: Path) -> str:
    """Return a file's ending in small letters, two where the last is .gz."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix + ".gz" * name.endswith(".gz")


def is_table(path: Path) -> bool:
    """Return whether a file's ending is that of a table."""
    return ending(path).removesuffix(".gz") in ENDINGS


def read(path: str | os.PathLike[str]) -> Table:
    """Read a table.

    A first line without any number holds the names. So does a comment right above the numbers, if
    it has as many cells as the lines of numbers. A line of text between the names and the numbers
    holds the units.

    Raises:
        InputError: If the file is missing, truncated or not UTF-8, has no numbers, lines of
            different lengths, or numbers with decimal points and others with commas.
    """
    path = Path(path)
    what = f"{ending(path)} file"
    with reading(path, what):
        try:
            with _text(path) as file:
                return _Parser(path, file).table()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path} is not a whole {what}: byte {error.start} is not UTF-8 text; save it as "
                "UTF-8"
            ) from error


def read_csv(path: str | os.PathLike[str]) -> tuple[list[str] | None, Array]:
    """Read a table of numbers.

    Returns:
        The names, None if there are none, and the numbers, (n_rows, n_columns).

    Raises:
        InputError: As for `read`, or if a cell is not a finite number; the message names its line
            and column, counted from 1.
    """
    table = read(path)
    if table.odd:
        table.refuse(*min(table.odd))
    return None if table.names is None else list(table.names), table.values


@contextlib.contextmanager
def _text(path: Path) -> Iterator[IO[str]]:
    """Open a file as text, compressed or not; a byte order mark indicates UTF-16."""
    with open(path, "rb") as raw:
        packed = raw.peek(2)[:2] == b"\x1f\x8b"
        binary: Any = io.BufferedReader(gzip.GzipFile(fileobj=raw)) if packed else raw
        wide = binary.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff")
        yield io.TextIOWrapper(binary, encoding="utf-16" if wide else "utf-8-sig", newline="")


class _Parser:
    """Reads one table, line by line."""

    def __init__(self, path: Path, file: Iterable[str]) -> None:
        self._path, self._file = path, file
        self._comment = ""  # the comment right above the first line that is not one
        self._first: list[str] = []  # the first row's cells
        self._units: tuple[str, ...] = ()
        self._rows: list[Array] = []
        self._lines: list[int] = []
        self._odd: dict[tuple[int, int], str] = {}
        self._comma = ""  # the first number with a comma, and its place
        self._point = False  # whether any number has a point
        self._grouped: Counter[int] = Counter()  # for each column the number of cells like 1,234
        self._decimal = False  # whether any comma can only be a decimal one

    def table(self) -> Table:
        content = self._content()
        head = list(itertools.islice(content, _SAMPLE))
        given = re.fullmatch("sep=(.)", head[0][1].strip()) if head else None  # as Excel writes it
        head = head[1:] if given else head
        separator = given[1] if given else _separator([text for _, text in head])
        names = self._read(self._split(itertools.chain(head, content), separator), separator)
        check(bool(self._rows), f"{self._path} holds no numbers")
        check(
            not (self._comma and self._point),
            f"{self._comma} has a comma, and other numbers have points; write numbers without "
            "thousands separators",
        )
        table = self._complete(names)
        if self._decimal or not self._comma:
            return table
        # If all commas are decimal ones with three digits, a column has no numbers without a comma.
        there = np.isfinite(np.array(self._rows)).sum(axis=0)
        check(
            all(count == there[k] for k, count in self._grouped.items()),
            f"{self._comma} has a comma, and other numbers of such columns have none; write "
            "numbers without thousands separators",
        )
        return replace(table, comma=self._comma)

    def _content(self) -> Iterator[tuple[int, str]]:
        """Yield the lines that are neither blank nor comments, with their numbers."""
        above, first = "", True
        for number, line in enumerate(self._file, start=1):
            text = line.rstrip("\r\n")
            check(
                "\0" not in text,
                f"{self._path}, row {number}: a null byte, so that it is not UTF-8 text; save it "
                "as UTF-8",
            )
            if text.lstrip().startswith(("#", "%")) and not _SHEET_ERROR.match(text):
                above = text.strip().lstrip("#%").strip()
            elif text.strip():
                if first:
                    self._comment, first = above, False
                yield number, text
            else:
                above = ""

    def _split(self, content: Iterable[tuple[int, str]], separator: str) -> Iterator[_Row]:
        """Yield the number of the last line and the cells of each row that has any."""
        at = 0

        def lines() -> Iterator[str]:
            nonlocal at
            for number, text in content:
                at = number
                yield f"{text} "  # a blank for the line break within a quoted name

        for cells in _cells(lines(), separator):
            if any(cells):
                yield at, cells

    def _read(self, rows: Iterator[_Row], separator: str) -> list[str] | None:
        """Read all rows; return the names, None if there are none."""
        head = list(itertools.islice(rows, 3))
        first = head[0][1] if head else []
        names, expected = self._commented(len(first), separator), len(first)
        if not any(map(_is_number, _pointed(first, separator))):
            names, head = first, head[1:]
        units: list[str] = []
        if len(head) > 1 and _are_units(*(_pointed(cells, separator) for _, cells in head[:2])):
            line, units = head.pop(0)
            if len(units) not in (len(names or units), len(head[0][1])):
                raise self._of_another_length(len(names or units), len(units), line)
        self._first = head[0][1] if head else []
        if names is first:
            # Every line may have one cell more: a row number without a name, or an empty last cell.
            expected = len(names) + (len(self._first) == len(names) + 1)
        self._units = (*[""] * (expected - len(units)), *units) if units else ()
        for line, cells in itertools.chain(head, rows):
            if len(cells) != expected:
                raise self._of_another_length(len(names or self._first), len(cells), line)
            self._append(line, cells, separator)
        return names

    def _commented(self, n: int, separator: str) -> list[str] | None:
        """Return the names of n columns in the comment above the numbers, None if it has none."""
        for apart in (",", separator) if separator == " " else (separator,):
            names = next(_cells([self._comment], apart), [])
            if len(names) == n and not any(map(_is_number, names)) and all(names):
                return names
        return None

    def _append(self, line: int, cells: list[str], separator: str) -> None:
        pointed = _pointed(cells, separator)
        if pointed is not cells and not (self._comma and self._decimal):
            for k in (k for k, cell in enumerate(pointed) if cell != cells[k]):
                if not self._comma:
                    self._comma = f"{self._path}, row {line}, column {k + 1}: {cells[k]!r}"
                if _COMMA_GROUP.fullmatch(cells[k]):
                    self._grouped[k] += 1
                else:
                    self._decimal = True
        if not self._point:
            self._point = any("." in cell and _is_number(cell) for cell in cells)
        values = _values(pointed)
        for k in np.flatnonzero(~np.isfinite(values)).tolist():
            self._odd[len(self._rows), k] = cells[k]
        self._rows.append(values)
        self._lines.append(line)

    def _complete(self, names: list[str] | None) -> Table:
        """Return the table, without what spreadsheets and statistics programs add to it."""
        values, start = np.array(self._rows), 0
        n = values.shape[1]
        if names is None and _are_numbers_of_columns(self._first, values):
            names, start = self._first, 1
        table = Table(
            path=self._path,
            names=None,
            values=values[start:],
            odd={(row - start, k): text for (row, k), text in self._odd.items() if row >= start},
            lines=self._lines[start:],
            units=self._units,
        )
        empty = all(table.odd.get((row, n - 1)) == "" for row in range(len(table.values)))
        named = names is not None and len(names) == n and names[-1] != ""
        if n > 1 and empty and not named:
            names = None if names is None else names[: n - 1]
            return replace(table.without([n - 1]), names=None if names is None else tuple(names))
        if names is not None and len(names) < n:
            table = replace(table, names=("", *names))
            if table.indices() != [0]:
                raise self._of_another_length(n - 1, n, table.lines[0])
            return table
        return replace(table, names=None if names is None else tuple(names))

    def _of_another_length(self, expected: int, got: int, line: int) -> InputError:
        return InputError(f"{self._path}, row {line}: expected {expected} columns; got {got}")


def _cells(lines: Iterable[str], separator: str) -> Iterator[list[str]]:
    """Divide lines into cells, without the blanks around each cell."""
    blank = separator == " "
    lines = (" ".join(line.split()) for line in lines) if blank else lines
    for cells in csv.reader(lines, delimiter=separator, skipinitialspace=separator != "\t"):
        yield [cell.strip() for cell in cells]


def _separator(lines: Sequence[str]) -> str:
    """Infer the separator of some lines; a comma if there is none."""
    best, most = ",", 0.0
    for separator in _SEPARATORS:
        rows = list(_cells(lines, separator))
        length, alike = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
        cells = [cell for row in rows for cell in _pointed(row, separator)]
        numbers = sum(not is_text(cell) or bool(_GROUPED.fullmatch(cell)) for cell in cells)
        score = alike / max(1, len(rows)) * numbers
        score = (score + 1e-3) / max(1, len(cells))
        if length > 1 and score > most:
            best, most = separator, score
    return best


def _pointed(cells: list[str], separator: str) -> list[str]:
    """Replace decimal commas of numbers by points, unless commas separate the cells."""
    if separator == "," or not any("," in cell for cell in cells):
        return cells
    points = [cell.replace(",", ".") if cell.count(",") == 1 else cell for cell in cells]
    return [p if _is_number(p) else cell for p, cell in zip(points, cells, strict=True)]


def _are_units(cells: Sequence[str], below: Sequence[str]) -> bool:
    """Return whether a line holds units: it has no numbers, and text above a number.

    A sample with a class and no numbers is not a line of units: its text is above text.
    """
    pairs = list(zip(cells, below, strict=False))
    above = any(is_text(cell) and _is_number(number) for cell, number in pairs)
    return above and not any(map(_is_number, cells))


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def _values(cells: Sequence[str]) -> Array:
    """Return numbers, NaN for cells that are not numbers."""
    if not any("_" in cell for cell in cells):  # Python reads 1_000
        try:
            return np.array(cells, dtype=np.float64)
        except ValueError:
            pass
    return np.array([float(re.sub("[dD]", "e", c)) if _is_number(c) else np.nan for c in cells])


def _are_numbers_of_columns(cells: Sequence[str], values: Array) -> bool:
    """Return whether a first row holds pandas's default names of columns: 0, 1, 2, ..."""
    start = int(cells[0] == "")
    if list(cells[start:]) != [str(k) for k in range(len(cells) - start)] or len(values) == 1:
        return False
    with np.errstate(invalid="ignore"):
        return bool(start or (len(cells) > 2 and (values[1:] % 1 != 0).any()))


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:36]}...{text[-1]}"
