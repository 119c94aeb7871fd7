"""Arrays as C source, in the order in which the generated loops read them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

PANEL = 8
"""Rows of a panel. The loop of ``affine`` is written for this number."""


def panels(M: Array) -> Array:
    """Order a matrix as ``affine`` reads it: panels of rows, each column by column.

    Zeros fill up the last panel.
    """
    blocks = np.pad(M, ((0, -len(M) % PANEL), (0, 0))).reshape(-1, PANEL, M.shape[1])
    return blocks.transpose(0, 2, 1).ravel()


def padded(b: Array) -> Array:
    """Fill up a bias with zeros to whole panels."""
    return np.pad(b, (0, -len(b) % PANEL))


def table(name: str, values: npt.NDArray[Any]) -> str:
    """Declare an array of doubles, or of ints for integers.

    Each number has as many digits as it takes to read the same number back.
    """
    numbers = [repr(value) for value in values.tolist()] or ["0"]
    kind = "int" if values.dtype.kind in "iub" else "double"
    lines = [", ".join(numbers[i : i + 4]) for i in range(0, len(numbers), 4)]
    return f"static const {kind} {name}[{len(numbers)}] = {{\n    " + ",\n    ".join(lines) + "};\n"
