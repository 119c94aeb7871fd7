"""Results as data frames of pandas, where the parameters came as one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from surrogates.types import Array


def framed(values: Any, result: Array, names: Sequence[str]) -> Array:
    """Return a result as a data frame or series, if the parameters are one, else as it is.

    Types call it an array, as it is one wherever the parameters are.

    pandas is not imported: who has made a data frame has imported it.

    Args:
        values: The parameters, as the caller gave them.
        result: Numbers, (n, len(names)) or (len(names),).
        names: Names of the entries of the last axis.
    """
    if type(values) is np.ndarray or type(values) is list:
        return result
    pandas: Any = sys.modules.get("pandas")
    if pandas is None:
        return result
    if isinstance(values, pandas.DataFrame) and result.shape == (len(values), len(names)):
        frame: Array = pandas.DataFrame(result, index=values.index, columns=list(names))
        return frame
    if isinstance(values, pandas.Series) and result.shape == (len(names),):
        series: Array = pandas.Series(result, index=list(names), name=values.name)
        return series
    return result
