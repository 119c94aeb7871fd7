"""Results as data frames of pandas, polars or pyarrow, where the parameters came as one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from surrogates.types import Array


def framed(values: Any, result: Array, names: Sequence[str]) -> Array:
    """Return a result as a data frame, table or series, if the parameters are one, else as it is.

    Types call it an array, as it is one wherever the parameters are.

    None of the libraries is imported: who has made a data frame has imported its library.

    Args:
        values: The parameters, as the caller gave them.
        result: Numbers, (n, len(names)) or (len(names),).
        names: Names of the entries of the last axis.
    """
    if type(values) is np.ndarray or type(values) is list:
        return result
    for library, make in _MAKERS.items():
        there = sys.modules.get(library)
        found: Array | None = None if there is None else make(there, values, result, list(names))
        if found is not None:
            return found
    return result


def _pandas(pandas: Any, values: Any, result: Array, names: list[str]) -> Any:
    if isinstance(values, pandas.DataFrame) and result.shape == (len(values), len(names)):
        return pandas.DataFrame(result, index=values.index, columns=names)
    if isinstance(values, pandas.Series) and result.shape == (len(names),):
        return pandas.Series(result, index=names, name=values.name)
    return None


def _polars(polars: Any, values: Any, result: Array, names: list[str]) -> Any:
    if isinstance(values, polars.DataFrame) and result.shape == (len(values), len(names)):
        return polars.from_numpy(result, schema=names, orient="row")
    return None


def _pyarrow(pyarrow: Any, values: Any, result: Array, names: list[str]) -> Any:
    kinds = (pyarrow.Table, pyarrow.RecordBatch)
    if isinstance(values, kinds) and result.shape == (values.num_rows, len(names)):
        columns = [pyarrow.array(column) for column in result.T]
        return type(values).from_arrays(columns, names=names)
    return None


_MAKERS = {"pandas": _pandas, "polars": _polars, "pyarrow": _pyarrow}
