"""Points y in files, at which a run solves or a program evaluates: .csv, .npy, .h5.

A .csv file has the names of the parameters in its first line, an .h5 file the array /Y with the
attribute ``names``, as a dataset has: the columns are matched by name. A .npy file has no names.
All numbers come back to the bit.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import numpy as np

from surrogates.config import check
from surrogates.types import Array

from .rows import read_table, write_table


def write_points(path: str | os.PathLike[str], Y: Array, names: Sequence[str]) -> None:
    """Write points to a file, whole or not at all.

    Args:
        path: The file: .csv, .npy or .h5.
        Y: The points, (n, n_y) float64.
        names: Names of the parameters, n_y of them.

    Raises:
        InputError: If the ending is unknown, or the path cannot be written.
    """
    write_table(path, np.ascontiguousarray(Y, dtype=np.float64), names, array_name="Y")


def read_points(path: str | os.PathLike[str], names: Sequence[str]) -> Array:
    """Read points from a file, which `write_points` or another program has written.

    Args:
        path: The file: .csv, .npy or .h5; a dataset's points are its Y, of failed samples too.
        names: Names of the parameters; the columns of files with names may have any order.

    Returns:
        Y, (n, n_y) float64, finite, in the order of ``names``.

    Raises:
        InputError: If the file is missing, damaged, of another format or size, or empty, has other
            parameters, or a value that is not a finite number; the message says which.
    """
    Y = read_table(path, names)
    check(len(Y) > 0, f"{path} holds no points")
    return Y


def digest_of(Y: Array) -> str:
    """Return the SHA-256 of points, (n, n_y): equal digests mean equal numbers, in any file."""
    sha = hashlib.sha256(str(Y.shape).encode())
    sha.update(np.ascontiguousarray(Y, dtype="<f8").data)
    return sha.hexdigest()
