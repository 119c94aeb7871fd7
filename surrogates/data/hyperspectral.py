"""Hyperspectral scenes as classification: from the spectrum of a pixel to its ground class.

A scene is published as a pair of files: a cube of rows x columns x bands, and a ground truth of
rows x columns. In the ground truth 0 is background: pixels of no known class.

Arrays of MATLAB and numpy are taken in the order that these store. An HDF5 file without MATLAB's
marks was written by another program, which may have reversed the dimensions, as MATLAB does, or
not. Two such arrays are assumed to have the same order: the one in which their sizes fit. If both
fit, as for the labels of a square scene whose cube is MATLAB's, the user must choose (`ORDERS`). In
any case `read_scene` warns if labels that are transposed, turned or mirrored would fit the spectra
clearly better.

The Indian Pines scene (Baumgardner, Biehl, Landgrebe 2015, "220 Band AVIRIS Hyperspectral Image
Data Set: June 12, 1992 Indian Pine Test Site 3", CC BY 3.0) also comes with the package tensorly.
Of this scene there is a file of all 220 bands and one, called corrected, of the 200 bands that
water vapour does not absorb; tensorly has the latter. All bands of a file are used.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.config import check, unknown
from surrogates.errors import InputError
from surrogates.provenance import readable
from surrogates.types import Array

from . import arrays
from .agreement import agreement, doubt
from .dataset import Dataset
from .importing import as_dataset

_log = logging.getLogger(__name__)
INDIAN_PINES = "indian_pines"
ORDERS = ("auto", "rows", "columns")
"""Orders of dimensions in an HDF5 file without MATLAB's marks: as in the file, or reversed."""
_NO_DATA = (255, 65535)  # the largest labels of 8 and 16 bits, which often stand for no class
_PINES_CLASSES = {  # the scene is recognised by the numbers of pixels of its classes
    "Alfalfa": 46,
    "Corn-notill": 1428,
    "Corn-mintill": 830,
    "Corn": 237,
    "Grass-pasture": 483,
    "Grass-trees": 730,
    "Grass-pasture-mowed": 28,
    "Hay-windrowed": 478,
    "Oats": 20,
    "Soybean-notill": 972,
    "Soybean-mintill": 2455,
    "Soybean-clean": 593,
    "Wheat": 205,
    "Woods": 1265,
    "Buildings-Grass-Trees-Drives": 386,
    "Stone-Steel-Towers": 93,
}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A hyperspectral scene and its ground truth.

    Attributes:
        name: Name of the scene.
        cube: Radiance or reflectance as in the file, (n_rows, n_columns, n_bands) float64.
        truth: The class of each pixel, (n_rows, n_columns) int64: 0 is background, and k the class
            of ``class_names[k - 1]``.
        class_names: Names of the classes, each of which has pixels.
        wavelengths: Wavelength of each band, nm; None if not known.
        libraries: Modules that the scene comes from.
    """

    name: str
    cube: Array
    truth: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    wavelengths: tuple[float, ...] | None = None
    libraries: tuple[ModuleType, ...] = ()

    def dataset(self, *, split: str = "0.8/0.1/0.1", seed: int = 0) -> Dataset:
        """Make a dataset of the labelled pixels, row by row.

        Args:
            split: A split for `surrogates.data.assign_split`.
            seed: Seed of the split.

        Returns:
            The dataset: Y holds the pixels' spectra, C their classes, one-hot.

        Raises:
            InputError: If the split cannot be made, or leaves a class without training samples.
        """
        labelled = self.truth > 0
        bands = [f"band {band + 1}" for band in range(self.cube.shape[2])]
        if self.wavelengths is not None:
            bands = [f"{band} ({x:g} nm)" for band, x in zip(bands, self.wavelengths, strict=True)]
        return as_dataset(
            self.cube[labelled],
            np.eye(len(self.class_names))[self.truth[labelled] - 1],
            problem=self.name,
            task="classification",
            y_names=bands,
            c_names=self.class_names,
            split=split,
            seed=seed,
            libraries=self.libraries,
        )


def read_scene(
    path: str | os.PathLike[str],
    truth: str | os.PathLike[str],
    *,
    order: str = "auto",
    background: str = "",
    note: Callable[[str], object] = _log.warning,
) -> Scene:
    """Read a scene and its ground truth from .mat files (any version from 5 to 7.3), .npz or HDF5.

    The arrays may have any name: the cube is the file's only array of three dimensions, the ground
    truth its only one of two. Both may be in one file. Classes are named by their numbers in the
    file; those of Indian Pines have their published names.

    Args:
        path: The cube.
        truth: The ground truth.
        order: One of `ORDERS`; ``auto`` refuses to guess.
        background: Labels of pixels without a class, separated by commas. Empty means 0, and then a
            label of 255 or 65535 far from the others is refused.
        note: Called with a line if the labels do not seem to belong to the scene.

    Raises:
        InputError: If a file is missing, truncated or foreign, or has no such array or several; if
            the sizes differ, or fit in two orders; if a pixel is not finite, or the ground truth
            holds anything but integers from 0, or no class.
    """
    path, truth = Path(path), Path(truth)
    check(order in ORDERS, unknown(f"order {order!r}", order, ORDERS))
    cube, labels = _Found.read(path, 3), _Found.read(truth, 2)
    without = [one for one in (cube, labels) if not one.has_order]
    pairs = {way: (cube.taken(way), labels.taken(way)) for way in _ways(order, without)}
    fits = {way: pair for way, pair in pairs.items() if pair[0].shape[:2] == pair[1].shape}
    if not fits:
        raise InputError(
            f"{path} is {_size(cube.array)} and {truth} is {_size(labels.array)}: not the rows x "
            "columns x bands and the rows x columns of one scene"
        )
    scenes = {
        way: _scene(readable(path.stem), *pair, str(path), str(truth), background=background)
        for way, pair in fits.items()
    }
    if len(scenes) > 1:
        shares = {way: agreement(scene.cube, scene.truth) for way, scene in scenes.items()}
        said = ", ".join(f"{way} for {100 * share:.0f} %" for way, share in shares.items())
        raise InputError(
            f"{path} is {_size(cube.array)} and {truth} is {_size(labels.array)}, and nothing says "
            f"in which order {' and '.join(str(one.path) for one in without)} has the dimensions: "
            "give --order rows (as in the file) or columns (reversed, as MATLAB stores them); the "
            f"classes account for so much of the spectra: {said}"
        )
    scene = next(iter(scenes.values()))
    if text := doubt(scene.cube, scene.truth):
        note(f"warning: {truth}: {text}")
    return scene


def _ways(order: str, without: Sequence[_Found]) -> tuple[str, ...]:
    """Return the possible orders of the arrays; ``without`` are those of unknown order."""
    check(
        bool(without) or order == "auto",
        f"--order {order} is for HDF5 files without MATLAB's marks; the order of these is known",
    )
    return (ORDERS[1:] if order == "auto" else (order,)) if without else ("rows",)


def indian_pines() -> Scene:
    """Return the Indian Pines scene from the optional package tensorly: 200 bands, 16 classes.

    Raises:
        InputError: If tensorly is not installed, or its version has no such scene.
    """
    try:
        import tensorly
        from tensorly.datasets import load_indian_pines

        bunch = load_indian_pines()
    except (ImportError, OSError) as error:
        raise InputError(
            "the scene indian_pines comes with the package tensorly, from 0.9 on: pip install "
            f"'tensorly>=0.9' ({error})"
        ) from error
    labels, wavelengths = bunch.ticks
    return _scene(
        INDIAN_PINES,
        np.asarray(bunch.tensor),
        np.asarray(labels),
        "tensorly's scene",
        "tensorly's ground truth",
        wavelengths=tuple(wavelengths),
        libraries=(tensorly,),
    )


@dataclass(frozen=True)
class _Found:
    """An array of a file.

    Attributes:
        path: The file.
        array: The array, in MATLAB's order if MATLAB wrote it, and otherwise as in the file.
        has_order: Whether the order of its dimensions is known.
    """

    path: Path
    array: npt.NDArray[Any]
    has_order: bool

    @classmethod
    def read(cls, path: Path, n_dimensions: int) -> _Found:
        """Read a file's only array with a number of dimensions."""
        known = " or ".join(arrays.READERS)
        check(
            path.suffix.lower() in arrays.READERS, f"cannot read {path}: a scene is a file {known}"
        )
        found, others = {}, []
        for name in arrays.names(path):
            try:
                found[name] = arrays.read(path, name)
            except arrays.NotNumbersError:  # MATLAB's structures and texts
                others.append(f"{name} (no numbers)")
        fits = [
            name
            for name, array in found.items()
            if array.dtype.kind in "biuf" and array.ndim == n_dimensions and min(array.shape) > 1
        ]
        if len(fits) != 1:
            sizes = [f"{name} ({_size(array)})" for name, array in found.items()]
            there = ", ".join(sizes + others) or "nothing"
            number = "several arrays" if fits else "no array"
            raise InputError(f"{path} has {number} of {n_dimensions} dimensions; it has {there}")
        array, has_order = found[fits[0]], arrays.has_order(path, fits[0])
        turned = not has_order and path.suffix.lower() == ".mat"  # by `arrays.read`
        return cls(path, array.T if turned else array, has_order)

    def taken(self, order: str) -> npt.NDArray[Any]:
        """Return the array in an order of `ORDERS`, which is ignored if the order is known."""
        return self.array.T if order == "columns" and not self.has_order else self.array


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise InputError(
            f"cannot read the background {text!r}: expected integers, such as 0,255"
        ) from None


def _size(array: npt.NDArray[Any]) -> str:
    return " x ".join(map(str, array.shape))


def _scene(
    name: str,
    cube: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    where_cube: str,
    where_labels: str,
    background: str = "",
    **more: Any,
) -> Scene:
    """Check the arrays of a scene, whose sizes fit, and number its classes from 1."""
    bad = np.argwhere(~np.isfinite(cube))
    if len(bad):
        row, column, band = bad[0]
        raise InputError(
            f"{where_cube} is {cube[row, column, band]} at row {row + 1}, column {column + 1}, "
            f"band {band + 1} (counted from 1; {len(bad)} such values)"
        )
    nothing = np.isin(labels, _numbers(background) if background else [0])
    with np.errstate(invalid="ignore"):
        bad = np.argwhere(~nothing & (~(labels >= 0) | (labels % 1 != 0)))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"{where_labels} is {labels[row, column]} at row {row + 1}, column {column + 1}, and "
            f"classes are integers, 0 the background (counted from 1; {len(bad)} such values)"
        )
    numbers, pixels = np.unique(labels[~nothing], return_counts=True)
    if not len(numbers):
        only = "0" if not background else f"of the background, {background},"
        raise InputError(f"{where_labels} is {only} everywhere: no pixel has a class")
    last = numbers[-1]
    far = len(numbers) > 1 and last in _NO_DATA and last > numbers[-2] + 1
    check(
        bool(background) or not far,
        f"{where_labels} has the label {last} in {pixels[-1]} pixels, which often marks those of "
        f"no class: give --background 0,{last}, or {last} where 0 is a class, or 0 where {last} is",
    )
    names = [f"class {number:g}" for number in numbers]
    if pixels.tolist() == list(_PINES_CLASSES.values()):
        names = list(_PINES_CLASSES)
    return Scene(
        name=name,
        cube=np.ascontiguousarray(cube, dtype=np.float64),
        truth=np.where(nothing, 0, np.searchsorted(numbers, labels) + 1),
        class_names=tuple(names),
        **more,
    )
