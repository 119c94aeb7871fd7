"""Derivatives from callers and from files of other programs, attached to a dataset.

They are whole tangents ``dC_dY``, (n, n_c, n_y), or derivatives ``dC_dV``, (n, n_c, r), in
``directions``, (n, r, n_y), in units of y: dC_dV[i, :, k] = dc_i/dy @ directions[i, k]. Axes of
length 1 may be left out: the gradients of one output may be (n, n_y).

A row is the derivative of a sample in one direction, or along one y. A row with a value that is not
finite, or along a direction of size 0, is left out, and counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from surrogates import given
from surrogates.config import check
from surrogates.types import Array

from . import arrays
from .columns import Samples
from .dataset import Dataset
from .derivatives import gaps
from .description import Status

NAMES = ("dC_dY", "directions", "dC_dV")
"""Arguments, and arrays of files, with derivatives."""


def attach(
    dataset: Dataset, derivatives: dict[str, Any], note: Callable[[str], object], what: str = ""
) -> Dataset:
    """Return a dataset with derivatives of its samples.

    Args:
        dataset: A regression without derivatives.
        derivatives: Some of `NAMES`, arrays of real numbers, which may hold NaN; None counts as
            absent.
        note: Called with a line on rows that are left out.
        what: The file that they are from, for messages; empty for arguments.

    Raises:
        InputError: If they do not belong together, have another shape, or hold no finite row.
    """
    found = {name: values for name, values in derivatives.items() if values is not None}
    if not found:
        return dataset
    where = f"{what}: " if what else ""
    check(
        dataset.info.task == "regression",
        f"{where}derivatives are of a regression; leave out {' and '.join(found)}",
    )
    check(
        set(found) in ({"dC_dY"}, {"directions", "dC_dV"}),
        f"{where}give dC_dY, or directions with dC_dV; got {' and '.join(found)}",
    )
    values = {name: given.real(array, (), f"{where}{name}") for name, array in found.items()}
    shapes = _shapes(dataset, values)
    for name, (text, shape) in shapes.items():
        values[name] = _shaped(values[name], shape, f"{where}{name} must be of shape {text}")
    info = dataclasses.replace(
        dataset.info,
        tangents="dC_dY" in values,
        directions=values["directions"].shape[1] if "directions" in values else 0,
    )
    attached = dataclasses.replace(dataset, info=info, **cast(Any, values))
    return _without_gaps(attached, note, where)


def _shapes(dataset: Dataset, values: dict[str, Array]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the shape that each array must have, in letters and in numbers."""
    n, n_y, n_c = len(dataset.Y), dataset.Y.shape[1], dataset.C.shape[1]
    if "dC_dY" in values:
        return {"dC_dY": ("(n, n_c, n_y)", (n, n_c, n_y))}
    V = values["directions"]
    r = V.shape[1] if V.ndim == 3 or (V.ndim == 2 and n_y == 1) else 1
    return {
        "directions": ("(n, r, n_y)", (n, max(r, 1), n_y)),
        "dC_dV": ("(n, n_c, r)", (n, n_c, max(r, 1))),
    }


def _shaped(values: Array, shape: tuple[int, ...], text: str) -> Array:
    """Return an array with the axes of length 1 that its owner has left out."""
    long = [[size for size in one if size != 1] for one in (values.shape, shape)]
    fits = long[0] == long[1] and values.ndim <= len(shape)
    check(fits, f"{text} = {shape}; got {values.shape}")
    return values.reshape(shape)


def _without_gaps(dataset: Dataset, note: Callable[[str], object], where: str) -> Dataset:
    """Return a dataset whose rows of derivatives are finite, or NaN; say how many are not."""
    bad, done = gaps(dataset), dataset.status == Status.DONE
    name = "dC_dY" if dataset.dC_dY is not None else "dC_dV"
    V = dataset.directions
    still = V is not None and bool((V[done] == 0).all(axis=2).any())
    along = " along a direction of a size above 0" if still else ""
    check(
        not bad[done].all(),
        f"{where}{name} has no finite derivative{along} of a sample with a finite c",
    )
    values = getattr(dataset, name)
    values.transpose(0, 2, 1)[bad | ~done[:, None]] = np.nan
    lost = bad[done]
    if lost.any():
        note(
            f"{lost.sum()} of {lost.size} rows of {name} are not finite"
            f"{' or along a direction of size 0,' if still else ''} and are left out, in "
            f"{lost.any(axis=1).sum()} of {len(lost)} samples"
        )
    return dataset


def of_file(path: Path, samples: Samples) -> dict[str, Array]:
    """Read the derivatives in a file of arrays.

    If samples are columns of the file's Y and C, they are the last axis of its derivatives:
    dC_dY (n_c, n_y, n), directions (n_y, r, n) and dC_dV (n_c, r, n).

    Args:
        path: The file.
        samples: Its samples.

    Returns:
        Arrays by `NAMES`, samples first.

    Raises:
        InputError: If an array cannot be read, or is not of as many samples.
    """
    if path.suffix.lower() not in arrays.READERS:
        return {}
    there, turned, n = arrays.names(path), samples.turned, samples.total
    found: dict[str, Array] = {}
    for name in NAMES:
        if name not in there:
            continue
        array = arrays.read(path, name)
        if array.dtype.kind not in "biuf":
            raise arrays.NotNumbersError(f"{path}: {name} holds no real numbers")
        axis = "last" if turned else "first"
        length = array.shape[-1 if turned else 0] if array.ndim else 0
        check(
            length == n,
            f"{path}: {name} is {_sizes(array.shape)}; expected {n} samples along the {axis} axis, "
            f"as in Y: {_expected(name, turned)}",
        )
        found[name] = _samples_first(array, name, turned)[samples.rows]
    return found


def _samples_first(array: npt.NDArray[Any], name: str, turned: bool) -> Array:
    if not turned:
        return np.array(array, dtype=np.float64)
    values = np.moveaxis(array, -1, 0)
    if name == "directions" and values.ndim == 3:  # vectors are columns there
        values = values.transpose(0, 2, 1)
    return np.array(values, dtype=np.float64)


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _expected(name: str, turned: bool) -> str:
    axes = {"dC_dY": ("n_c", "n_y"), "directions": ("r", "n_y"), "dC_dV": ("n_c", "r")}[name]
    if turned:
        axes = axes[::-1] if name == "directions" else axes
        return f"({', '.join(axes)}, n)"
    return f"(n, {', '.join(axes)})"
