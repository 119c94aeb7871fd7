"""Numbers from callers, converted to arrays of float64 in the order of the names.

A caller's y may be an array, a list or a tensor, whose last axis is in the order of the names. It
may also have names itself: a data frame of pandas, polars or pyarrow, a dict or named tuple of
columns, a structured array of numpy, a series of pandas, or an array of xarray with the names as a
coordinate. Named columns may come in any order. Each name must occur once, and no other name may
occur: an unknown column may be a misspelt one. Columns that pandas has numbered 0, 1, 2, ... count
as unnamed.

None of these libraries is imported: their objects are recognised by their attributes.

Values of a dict, generators and the like are read once. Objects that are real numbers, such as
Python's in an array of objects, decimals, fractions and those of mpmath, are taken as such.

Objects that numpy would convert silently are refused: masked arrays, whose masked values would
pass for numbers, categories, and quantities with units. Integers beyond 2^53 and numbers of more
than 64 bits are rounded, as every decimal number is.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from .errors import InputError, listed

_Pairs = list[tuple[Any, Any]]  # names and columns
_T = TypeVar("_T")
_SHOWN = 5  # names in a message


def real(values: Any, names: Sequence[str], what: str) -> Array:
    """Return a caller's real numbers as float64, with named columns in the order of the names.

    Args:
        values: The numbers, as the module's docstring describes.
        names: Names of the entries of the last axis.
        what: Description of the numbers in messages.

    Returns:
        A contiguous copy. Values without names keep their shape: the caller checks whether their
        last axis is as long as the names.

    Raises:
        InputError: If a name is missing, unknown or repeated, or the values are not real numbers.
    """
    found = numbers(values, names, what)
    if found.dtype.itemsize > 8:
        with np.errstate(over="ignore"):  # to infinity, which the caller may refuse
            return np.array(found, dtype=np.float64, order="C")
    return np.array(found, dtype=np.float64, order="C")


def numbers(values: Any, names: Sequence[str], what: str) -> npt.NDArray[Any]:
    """Return the result of `real` in any real dtype; a plain array is returned without a copy."""
    found: npt.NDArray[Any] = values
    if type(values) is not np.ndarray or values.dtype.names is not None:
        found = _array(values, names, what)
    if found.dtype.kind == "O":
        found = _of_objects(found, what)
    if found.dtype.kind not in "fiub":
        raise InputError(f"expected real numbers in {what}, of dtype float64; got {found.dtype}")
    return found


def unnamed(values: Any, what: str) -> Array:
    """Return a caller's real numbers as float64, of any shape; names that they bear do not count.

    Args:
        values: The numbers, or one.
        what: Description of the numbers in messages.

    Raises:
        InputError: If they are not real numbers, or `check_plain` refuses them.
    """
    if type(values) is np.ndarray and values.dtype == np.float64:
        return values
    check_plain(values, what)
    found = _read(values, what)
    if found.dtype.kind == "O":
        found = _of_objects(found, what)
    if found.dtype.kind not in "fiub":
        raise InputError(f"expected real numbers in {what}, of dtype float64; got {found.dtype}")
    return np.asarray(found, dtype=np.float64)


def column_names(values: Any) -> list[str]:
    """Return the names that a caller's columns bear, in their order; none where they bear none.

    Labels of an array of xarray do not count: without names to match, they may be of the samples.
    """
    if type(values) in (list, tuple, np.ndarray) and getattr(values, "dtype", None) is None:
        return []
    if hasattr(values, "coords"):
        return []
    pairs = _tried(lambda: _pairs(values, ()), "an argument")
    labels = [label for label, _ in pairs or []]
    return [] if labels == list(range(len(labels))) else [str(label) for label in labels]


def check_plain(values: Any, what: str) -> None:
    """Refuse values with a mask, categories or a unit, which `numpy.asarray` would drop.

    A sparse matrix is refused too: numpy would convert it to a single object. So is what is no
    number yet, as arrays of JAX within its transformations, and what numpy would cut from a graph.

    Raises:
        InputError: If they are such values.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(
            f"{what} is a masked array; leave its masked values out, or fill them, and give plain "
            "numbers"
        )
    if str(getattr(values, "dtype", "")) == "category":
        raise InputError(f"{what} holds categories; give numbers")
    if hasattr(values, "toarray") and hasattr(values, "nnz"):
        raise InputError(f"{what} is a sparse matrix; give a full one, by its toarray()")
    if any(kind.__name__ == "Tracer" for kind in type(values).__mro__):
        raise InputError(
            f"{what} is traced by JAX, as within jit, grad and vmap, and has no numbers yet; call "
            "the function that surrogates.adapters.jax.function makes of a surrogate"
        )
    if getattr(values, "requires_grad", False) is True:
        raise InputError(
            f"{what} is a tensor with gradients, which end here; give its detach(), or call the "
            "surrogate's module, by which torch differentiates"
        )
    if hasattr(type(values), "collect") and hasattr(type(values), "collect_schema"):
        raise InputError(f"{what} is a lazy frame; give what its collect() returns")
    unit = getattr(values, "unit", None) or getattr(values, "units", None)
    if unit is not None and hasattr(values, "__array__"):
        raise InputError(f"{what} has the unit {unit}; give plain numbers, in the dataset's units")


def _array(values: Any, names: Sequence[str], what: str) -> npt.NDArray[Any]:
    """Return an array of values that are not a plain array."""
    if isinstance(values, dict) and len(values) == len(names):  # as samplers give one sample
        row = [values.get(name) for name in names]
        if {float, int, np.float64}.issuperset(map(type, row)):
            return _tried(lambda: np.array(row, dtype=np.float64), what)
    if type(values) not in (list, tuple):
        check_plain(values, what)
        pairs = _tried(lambda: _pairs(values, names), what)
        if pairs is not None:
            return _matched(pairs, names, what)
        if _is_read_once(values):
            return numbers(list(values), names, what)
    elif values and type(values[0]) not in (float, int) and not _are_plain(values):
        values = [real(row, names, f"{what}, row {i}") for i, row in enumerate(values)]
    return _read(values, what)


def _is_read_once(values: Any) -> bool:
    """Return whether values are a generator, those of a dict, and so on; sets have no order."""
    stored = hasattr(values, "__getitem__") or hasattr(values, "__array__")
    return hasattr(values, "__iter__") and not stored and not isinstance(values, Set)


def _of_objects(array: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
    """Return the numbers of an array of objects; an array with other objects as it is.

    Raises:
        InputError: If one has a mask or a unit, or is what `check_plain` refuses for another
            reason.
    """
    for one in array.flat:
        check_plain(one, what)
        text = isinstance(one, str | bytes | np.complexfloating | np.ndarray)
        if text or not hasattr(type(one), "__float__"):
            kind = type(one).__name__
            raise InputError(f"expected real numbers in {what}; got an object of type {kind}")
    found: npt.NDArray[Any] = _tried(lambda: array.astype(np.float64), what)
    return found


def _are_plain(rows: Sequence[Any]) -> bool:
    """Return whether numpy reads the rows of a list without losing names or a mask."""
    plain = (float, int, str, list, tuple, np.ndarray)
    if not all(kind in plain or issubclass(kind, np.number) for kind in set(map(type, rows))):
        return False
    inner = (row for row in rows if type(row) in (list, tuple) and row)
    return all(type(row[0]) in (float, int) or _are_plain(row) for row in inner)


def _pairs(values: Any, names: Sequence[str]) -> _Pairs | None:
    """Return names and columns of values that have names, and None otherwise."""
    if str(getattr(values, "dtype", "")).startswith("Struct"):  # a series of polars
        values = values.struct.unnest()
    fields = getattr(getattr(values, "dtype", None), "names", None)  # of structured arrays
    if fields:
        return [(name, values[name]) for name in fields]
    if isinstance(values, Mapping):
        return list(values.items())
    if isinstance(values, tuple) and hasattr(values, "_fields"):
        return list(zip(values._fields, values, strict=True))
    if hasattr(values, "column_names"):  # of pyarrow
        return list(zip(values.column_names, values.columns, strict=True))
    if hasattr(values, "columns"):  # of pandas and polars
        return [(name, _column(values, i)) for i, name in enumerate(values.columns)]
    if getattr(values, "ndim", 0) == 1 and not callable(getattr(values, "index", callable)):
        return list(zip(values.index, values, strict=True))  # a series of pandas
    if hasattr(values, "coords") and hasattr(values, "isel"):  # of xarray
        return _labelled(values, names)
    return None


def _labelled(array: Any, names: Sequence[str]) -> _Pairs | None:
    """Return names and columns of an array of xarray, whose labels may be along any dimension.

    The dimension with the most known names holds the columns; texts along another one label
    samples. Integer labels are column numbers if they are those of all columns.
    """
    found = []
    for labels in array.coords.values():
        if labels.ndim == 1 and labels.dtype.kind in "OUSiu":
            texts, of = labels.values.tolist(), labels.dims[0]
            known = len(set(texts) & set(names))
            numbered = labels.dtype.kind in "iu" and of == array.dims[-1]
            if known or len(texts) == len(names) and labels.dtype.kind in "OUS":
                found.append((known, of, texts))
            elif numbered and sorted(texts) == list(range(len(texts))):
                found.append((-1, of, texts))
    if not found:
        return None
    _, dim, texts = max(found, key=lambda one: one[0])
    return [(text, array.isel({dim: i})) for i, text in enumerate(texts)]


def _column(frame: Any, i: int) -> Any:
    return frame.iloc[:, i] if hasattr(frame, "iloc") else frame[:, i]


def _matched(pairs: _Pairs, names: Sequence[str], what: str) -> npt.NDArray[Any]:
    """Return the columns as one array, in the order of the names."""
    labels = [label for label, _ in pairs]
    numbered = labels == list(range(len(labels) or 1))
    keys = [str(label) for label in labels]
    if not numbered:
        _check_names(keys, names, what)
    found = [_numbers(column, f"{what}, column {label!r}") for label, column in pairs]
    rows = [index for _, column in pairs if hasattr(index := _index(column), "equals")]
    if not all(index.equals(rows[0]) for index in rows[1:]):
        raise InputError(f"the columns of {what} are series with rows of different labels")
    shapes = {array.shape for array in found}
    dims = {getattr(column, "dims", None) for _, column in pairs}  # of xarray
    if len(dims) > 1 and max(map(len, shapes)) > 1:
        raise InputError(f"the dimensions of the columns of {what} differ; give each the same ones")
    if len(shapes) != 1 or (None in dims and len(next(iter(shapes))) > 1):
        raise InputError(
            f"expected columns of one length in {what}; got the shapes "
            + listed([str(shape) for shape in sorted(shapes)], _SHOWN)
        )
    order = range(len(keys)) if numbered else [keys.index(name) for name in names]
    return np.stack([found[i] for i in order], axis=-1)


def _check_names(there: Sequence[str], names: Sequence[str], what: str) -> None:
    """Refuse names unless they are the expected ones, each once."""
    faults = []
    for text, found in (
        ("lacks", [name for name in names if name not in there]),
        ("has twice", sorted({name for name in there if there.count(name) > 1})),
        ("has the unknown", [name for name in there if name not in names]),
    ):
        if found:
            faults.append(f"{text} {listed([repr(name) for name in found], _SHOWN)}")
    if faults:
        near = [
            f"did you mean {close[0]!r}?"
            for name in there
            if name not in names and (close := difflib.get_close_matches(name, names, n=1))
        ]
        hint = near[0] if near else f"expected are {listed(names, _SHOWN)}"
        raise InputError(f"{what} {', '.join(faults)}; {hint}")


def _index(column: Any) -> Any:
    """Return the row labels of a series of pandas; for other objects, anything."""
    return getattr(column, "index", None)


def _numbers(column: Any, what: str) -> npt.NDArray[Any]:
    """Read one column; a missing value of pandas becomes NaN."""
    check_plain(column, what)
    array = _read(column, what)
    dtype = getattr(column, "dtype", None)
    if array.dtype.kind == "O" and getattr(dtype, "kind", "O") in "fiub":
        array = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if array.dtype.kind == "O":
        array = _of_objects(array, what)
    if array.dtype.kind not in "fiub":
        raise InputError(f"expected real numbers in {what}; got {dtype or array.dtype}")
    return array


def _read(values: Any, what: str) -> npt.NDArray[Any]:
    """Return an array of values without names; refuse one that has a mask."""
    array: npt.NDArray[Any] = _tried(lambda: np.asanyarray(values), what)
    if type(array) is not np.ndarray:
        check_plain(array, what)
    return array


def _tried(read: Callable[[], _T], what: str) -> _T:
    try:
        return read()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # ragged, on a GPU, ...
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())
        raise InputError(f"{what} cannot be read as an array of numbers: {reason}") from error
