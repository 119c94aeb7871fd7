"""Choice of the columns or arrays of a file that are the parameters Y and the observables C.

They are given by name or by number, or recognised by their first letters. Samples of arrays may be
rows or columns.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.config import check, unknown
from surrogates.errors import InputError, listed
from surrogates.types import Array

from . import arrays, tables
from .format import is_dataset
from .ranges import read_rows
from .tables import Table

ORIENTATIONS = ("auto", "rows", "columns")
LEAST = 3  # samples that training needs
_FEW = 10  # so few samples may be columns in truth
_ENDINGS = (*arrays.READERS, ".npy", *tables.ENDINGS)
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Samples of a file, in rows.

    Attributes:
        what: The file, for messages.
        Y: Parameters, (n, n_y).
        C: Observables, class probabilities, or labels in one column, (n, n_c).
        y_names: Names of the parameters.
        c_names: Names of the observables; empty if the file has none.
        y_units: Units of the parameters; empty if the file has none.
        c_units: Units of the observables, likewise.
        rows: The samples' numbers in the file, from 0.
        labels: The labels, if they are texts; otherwise whether C may hold labels of any integers.
        total: Number of samples in the file.
        turned: Whether samples are columns of the file's arrays.
    """

    what: str
    Y: Array
    C: Array
    y_names: Sequence[str]
    c_names: Sequence[str] = ()
    y_units: Sequence[str] = ()
    c_units: Sequence[str] = ()
    rows: Rows
    labels: bool | Sequence[str] = False
    total: int = 0
    turned: bool = False


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of an import; see `import_file`."""

    classes: bool
    samples: str
    inputs: str | None
    outputs: str | None
    exclude: str

    def rows(self, n: int) -> Rows:
        """Return the numbers of the samples that remain of n."""
        rows = np.arange(n)
        return np.delete(rows, read_rows(self.exclude, n)) if self.exclude else rows

    def words(self, option: str) -> list[str] | None:
        """Return the names in an option's text, None if it is not given."""
        text = getattr(self, option)
        if text is None:
            return None
        words = [word.strip() for word in next(csv.reader([text], skipinitialspace=True), [])]
        check(all(words) and bool(words), f"--{option} has an empty name: {text!r}")
        return words


def _each_once(words: list[str], option: str) -> list[str]:
    twice = [word for word in words if words.count(word) > 1]
    check(not twice, f"--{option} names {twice[0] if twice else ''!r} twice")
    return words


def read(path: Path, second: Path | None, asked: Asked, note: Callable[[str], object]) -> Samples:
    """Read the samples of a table, a file of arrays, or two files of one array each.

    Raises:
        InputError: If a file cannot be read, or lacks what the options name.
    """
    if second is None and (tables.is_table(path) or _is_npy(path)):
        return _of_table(path, asked, note)
    return _of_arrays(path, second, asked, note)


# Tables


def _of_table(path: Path, asked: Asked, note: Callable[[str], object]) -> Samples:
    """Read the samples of a table, or of one .npy file, a sample in each row."""
    check(asked.samples != "columns", f"{path} is a table, and has its samples in rows")
    table = tables.read(path) if tables.is_table(path) else _table_of_array(path)
    named = [word for option in ("inputs", "outputs") for word in asked.words(option) or ()]
    counting = [i for i in table.indices() if not table.names or table.names[i] not in named]
    for i in counting:
        name = repr(table.names[i]) if table.names and table.names[i] else "without a name"
        note(f"column {i + 1}, {name}, counts the samples and is left out")
    table.check_names(but=counting)
    y, c = _columns(table, [i for i in range(table.values.shape[1]) if i not in counting], asked)
    if table.comma:
        note(f"{table.comma} is read with a decimal comma, as all numbers are")
    if table.units:
        note(f"the line below the names has the units: {listed([u or '-' for u in table.units])}")
    rows = asked.rows(len(table.values))
    kept, inputs, targets = set(rows.tolist()), set(y), set(c)
    bad = sorted((i, k) for i, k in table.odd if i in kept and k in inputs)
    if bad:
        samples = sorted({i for i, _ in bad})
        table.refuse(*bad[0], f"is not a finite number{_left_out(samples, len(rows))}")
    texts = {
        (i, k): cell
        for (i, k), cell in table.odd.items()
        if i in kept and k in targets and tables.is_text(cell)
    }
    labels: bool | list[str] = asked.classes and len(c) == 1
    if labels and texts and not np.isfinite(table.values[rows, c[0]]).any():
        labels = [texts.get((row, c[0]), "") for row in rows.tolist()]
    elif texts:
        among = " among labels that are numbers" if labels else ""
        hint = "; --task classification takes words as classes" * (len(c) == 1 and not labels)
        table.refuse(*min(texts), f"is not a finite number{among}{hint}")
    names = table.names
    return Samples(
        what=str(path),
        Y=table.values[rows][:, y],
        C=table.values[rows][:, c],
        y_names=[f"y{i}" for i in range(len(y))] if names is None else [names[i] for i in y],
        c_names=() if names is None else [names[i] for i in c],
        y_units=[table.units[i] for i in y] if table.units else (),
        c_units=[table.units[i] for i in c] if table.units else (),
        rows=rows,
        labels=labels,
    )


def _table_of_array(path: Path) -> Table:
    array = arrays.read_npy(path)
    arrays.check_numbers(array, str(path))
    check(array.size > 0, f"{path} holds no samples")
    values = np.array(array, dtype=np.float64).reshape(len(array), -1)
    odd = {(i, k): f"{values[i, k]}" for i, k in np.argwhere(~np.isfinite(values)).tolist()}
    lines = range(1, len(values) + 1)
    return Table(path=path, names=None, values=values, odd=odd, lines=lines)


def _columns(table: Table, there: list[int], asked: Asked) -> tuple[list[int], list[int]]:
    """Return the columns of Y and those of C, out of the columns ``there``."""
    y, c = (_chosen(table, there, asked, option) for option in ("inputs", "outputs"))
    if y is None and c is None:
        groups = [table.names[i][:1].lower() if table.names else "" for i in there]
        y, c = ([i for i, group in zip(there, groups, strict=True) if group == g] for g in "yc")
        if not y or not c or len(y) + len(c) < len(there):
            names = [table.names[i] for i in there] if table.names else []
            if not names:
                two = "give two files, Y.npy C.npy, or say" if _is_npy(table.path) else "say"
                raise InputError(
                    f"{table.path} has {len(there)} columns without names; {two} how many of them "
                    "are parameters: --inputs 3 are the first three, and the rest are outputs"
                )
            raise InputError(
                f"{table.path} has the columns {listed(names)}; name parameters y... and outputs "
                "c..., or say which they are: --inputs A,B (or --inputs 3, the first three); the "
                "rest are outputs, or those of --outputs"
            )
    elif y is None:
        y = [i for i in there if i not in (c or ())]
    elif c is None:
        c = [i for i in there if i not in y]
    assert y is not None and c is not None
    check(bool(y), f"{table.path}: --outputs leaves no column for the inputs")
    check(bool(c), f"{table.path}: --inputs leaves no column for the outputs")
    both = [i for i in y if i in c]
    what = table.names[both[0]] if both and table.names else f"column {both[0] + 1 if both else 0}"
    check(not both, f"{table.path}: {what} is an input and an output")
    return y, c


def _chosen(table: Table, there: list[int], asked: Asked, option: str) -> list[int] | None:
    """Return the columns that an option names or counts, None if it is not given."""
    words = asked.words(option)
    if words is None:
        return None
    if len(words) == 1 and words[0].isdecimal():
        n = int(words[0])
        check(
            0 < n < len(there),
            f"--{option} {n}: {table.path} has {len(there)} columns, of which at least one is an "
            f"input and one an output",
        )
        return there[:n] if option == "inputs" else there[-n:]
    if table.names is None:
        raise InputError(
            f"--{option} {','.join(words)}: {table.path} has no names; give a number of columns"
        )
    whole = getattr(asked, option)
    words = [whole] if whole in table.names else _each_once(words, option)
    for word in words:
        if word not in table.names:
            raise InputError(f"{table.path}: {unknown(f'column {word!r}', word, table.names)}")
    return [table.names.index(word) for word in words]


# Arrays


def _of_arrays(
    path: Path, second: Path | None, asked: Asked, note: Callable[[str], object]
) -> Samples:
    """Read the samples of one file of arrays, or of two files with an array each."""
    if second is not None:
        given = asked.inputs or asked.outputs
        check(not given, "of two files, the first is Y and the second C: no --inputs or --outputs")
        (Y, y_names, y_units), (C, c_names, c_units) = (
            _alone(path, "Y"),
            _alone(second, "C", asked.classes),
        )
        what = {"Y": str(path), "C": str(second)}
    else:
        if path.suffix.lower() not in arrays.READERS:
            raise _foreign(path)
        if is_dataset(path) and not (asked.inputs and asked.outputs):
            raise InputError(
                f"{path} is a dataset already, and needs no import; this is for files such as .npz"
            )
        (Y, y_names), (C, c_names) = (
            _named(path, asked.words(option), default)
            for option, default in (("inputs", "Y"), ("outputs", "C"))
        )
        y_units = c_units = ()
        what = {"Y": f"{path}: {asked.inputs or 'Y'}", "C": f"{path}: {asked.outputs or 'C'}"}
    texts: list[str] = []
    if asked.classes and C.dtype.kind in "US" and max(C.shape) == C.size:
        texts = [_decoded(text, what["C"]).strip() for text in C.ravel().tolist()]
        C = np.zeros(C.size)
    arrays.check_numbers(Y, what["Y"])
    arrays.check_numbers(C, what["C"])
    check(min(*Y.shape, *C.shape) > 0, f"{path} holds no samples, parameters or observables")
    if asked.samples == "auto" and not _agree(Y, C):
        # MATLAB's vectors are rows or columns; as arrays of one dimension they agree.
        Y, C = (array.ravel() if 1 in array.shape else array for array in (Y, C))
    labels = asked.classes and (C.ndim == 1 or 1 in C.shape)
    turned = _turned(str(path), Y, C, asked.samples, labels, note)
    Y, C = (_in_rows(array, turned) for array in (Y, C.ravel() if labels else C))
    total, rows = len(Y), asked.rows(len(Y))
    _check_finite(Y, rows, what["Y"], turned)
    return Samples(
        what=what["C"],
        Y=Y[rows],
        C=C[rows],
        y_names=y_names if len(y_names) == Y.shape[1] else [f"y{i}" for i in range(Y.shape[1])],
        c_names=c_names if len(c_names) == C.shape[1] else (),
        y_units=y_units if len(y_units) == Y.shape[1] else (),
        c_units=c_units if len(c_units) == C.shape[1] else (),
        rows=rows,
        labels=[texts[row] for row in rows.tolist()] if texts else False,
        total=total,
        turned=turned,
    )


def _decoded(text: str | bytes, what: str) -> str:
    """Return a label as text."""
    try:
        return text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise InputError(f"{what} has the label {text!r:.40}, which is not UTF-8 text") from error


def _is_npy(path: Path) -> bool:
    return path.suffix.lower() == ".npy"


def _foreign(path: Path) -> InputError:
    hint = "; save it as .csv" if path.suffix.lower() in (".xlsx", ".xls", ".ods") else ""
    return InputError(f"cannot import {path}: the known endings are {', '.join(_ENDINGS)}{hint}")


def _alone(
    path: Path, name: str, classes: bool = False
) -> tuple[npt.NDArray[Any], Sequence[str], Sequence[str]]:
    """Read the only array of a file, with names and units of its columns if it has them.

    With ``classes``, a table of one column may hold texts.
    """
    if tables.is_table(path):
        table = tables.read(path)
        table = table.without(table.indices())
        table.check_names()
        texts = {place for place, text in table.odd.items() if tables.is_text(text)}
        if classes and texts and table.values.shape[1] == 1 and len(table.odd) == len(table.values):
            missing = set(table.odd) - texts
            odd = {place: "" if place in missing else text for place, text in table.odd.items()}
            return np.array([odd[i, 0] for i in range(len(odd))]), table.names or (), ()
        if texts:
            table.refuse(*min(texts))
        return table.values, table.names or (), table.units
    if _is_npy(path):
        return arrays.read_npy(path), (), ()
    if path.suffix.lower() not in arrays.READERS:
        raise _foreign(path)
    there = arrays.names(path)
    if name not in there and len(there) != 1:
        raise InputError(f"{path} has no array {name}, nor a single one; it has {listed(there)}")
    return arrays.read(path, name if name in there else there[0]), (), ()


def _named(
    path: Path, words: list[str] | None, default: str
) -> tuple[npt.NDArray[Any], Sequence[str]]:
    """Read an array by its name; several arrays of one dimension become the columns of one."""
    if words is None:
        there = arrays.names(path)
        if default not in there:
            scene = " (a hyperspectral scene takes --ground-truth)" * _has_cube(path, there)
            raise InputError(
                f"{path} has no array {default}; it has {listed(there)}{scene}; --inputs NAME "
                "and --outputs NAME say which are Y and C"
            )
        return arrays.read(path, default), ()
    found = [arrays.read(path, word) for word in words]
    names = [word.rpartition("/")[2] for word in words]
    if len(found) == 1:
        return found[0], names
    for word, array in zip(words, found, strict=True):
        what = f"{path}: {word}"
        arrays.check_numbers(array, what)
        check(array.ndim == 1 or 1 in array.shape, f"{what} is not of one dimension")
        check(
            array.size == found[0].size,
            f"{what} has {array.size} values, {words[0]} {found[0].size}",
        )
    return np.column_stack([array.ravel() for array in found]), names


def _has_cube(path: Path, names: Sequence[str]) -> bool:
    for name in names:
        try:
            if arrays.read(path, name).ndim == 3:
                return True
        except arrays.NotNumbersError:
            continue
    return False


def _agree(Y: npt.NDArray[Any], C: npt.NDArray[Any]) -> bool:
    return Y.ndim == C.ndim and any(n == m for n, m in zip(Y.shape, C.shape, strict=True))


def _turned(
    path: str,
    Y: npt.NDArray[Any],
    C: npt.NDArray[Any],
    samples: str,
    labels: bool,
    note: Callable[[str], object],
) -> bool:
    """Return whether samples are columns; in an array of one dimension each entry is a sample."""
    flat_Y, flat_C = Y.ndim == 1, C.ndim == 1 or labels
    of_Y = (Y.size, Y.size) if flat_Y else Y.shape
    of_C = (C.size, C.size) if flat_C else C.shape
    ways = [way for way, n, m in zip(ORIENTATIONS[1:], of_Y, of_C, strict=True) if n == m]
    said = " and ".join(
        f"{name} is {' x '.join(map(str, array.shape))}" for name, array in (("Y", Y), ("C", C))
    )
    if samples != "auto":
        check(samples in ways, f"{path}: {said}: not as many samples in {samples}")
        return samples == "columns"
    check(bool(ways), f"{path}: {said}: no dimension that would be the number of samples")
    if len(ways) == 1 and ways[0] == "columns" and of_Y[1] < min(_FEW, of_Y[0], of_C[0]):
        raise InputError(
            f"{path}: {said}: not as many samples in rows; --samples columns takes them as "
            f"{of_Y[1]} samples"
        )
    if len(ways) == 1 or (flat_Y and flat_C):
        return ways == ["columns"]
    few, many = sorted(of_Y)
    # One column or row holds many samples, and few samples of many values are rare.
    if not (few < LEAST <= many or (few < _FEW and many >= _FEW * few)):
        raise InputError(
            f"{path}: {said}: samples may lie in rows or in columns; say which (--samples)"
        )
    way = "rows" if of_Y[0] == many else "columns"
    if few > 1:
        note(f"{said}: taken as {many} samples in {way} (--samples says otherwise)")
    return way == "columns"


def _in_rows(array: npt.NDArray[Any], turned: bool) -> Array:
    if array.ndim == 1:
        return np.array(array[:, None], dtype=np.float64)
    return np.array(array.T if turned else array, dtype=np.float64, order="C")


def _check_finite(Y: Array, rows: Rows, what: str, turned: bool) -> None:
    """Refuse parameters that are not finite, with their place in the file, in rows of Y."""
    bad = np.argwhere(~np.isfinite(Y[rows]))
    if len(bad):
        sample, column = int(rows[bad[0, 0]]), int(bad[0, 1])
        at = (column, sample) if turned else (sample, column)
        raise InputError(
            f"{what} is {Y[sample, column]} at row {at[0] + 1}, column {at[1] + 1} (counted from "
            f"1; {len(bad)} such values){_left_out(np.unique(rows[bad[:, 0]]).tolist(), len(rows))}"
        )


def _left_out(rows: Sequence[int], n: int) -> str:
    """Return a hint how to leave some of n samples out, empty if they are many."""
    words = ",".join(map(str, rows))
    its = "it" if len(rows) == 1 else "them"
    return f"; --exclude {words} leaves {its} out" if len(rows) <= min(20, n / 2) else ""
