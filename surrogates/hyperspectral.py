"""Hyperspectral scenes as classification: the spectrum of a pixel to the class of its ground.

A scene is a pair of files as they are published: a cube of rows x columns x bands, and a map of the
ground truth, rows x columns, whose 0 is background, pixels of no known class. The Indian Pines
scene (Baumgardner, Biehl, Landgrebe 2015, "220 Band AVIRIS Hyperspectral Image Data Set: June 12,
1992 Indian Pine Test Site 3", CC BY 3.0) also comes with the package tensorly.

Bands are taken as they are. Of Indian Pines there is a file of all 220 bands and one, called
corrected, of the 200 that water vapour does not absorb; tensorly has the latter.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from . import arrays
from .config import check
from .dataset import Array, Dataset
from .errors import InputError
from .importing import as_dataset
from .provenance import readable

INDIAN_PINES = "indian_pines"
_PINES_CLASSES = {  # and their pixels, by which the scene is known
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
        name: Its name.
        cube: Radiance or reflectance as in the file, (n_rows, n_columns, n_bands) float64.
        truth: The class of each pixel, (n_rows, n_columns) int64: 0 is background, and k the class
            of ``class_names[k - 1]``.
        class_names: Names of the classes, each of which has pixels.
        wavelengths: Of each band, nm; None if not known.
        libraries: Modules that the scene came with.
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
            split: As `surrogates.dataset.assign_split` takes it.
            seed: Seed of the split.

        Returns:
            Y are the pixels' spectra, C their classes, one-hot.

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


def read_scene(path: str | os.PathLike[str], truth: str | os.PathLike[str]) -> Scene:
    """Read a scene and its ground truth from .mat files (any version from 5 to 7.3), or .npz.

    The arrays may have any name: the cube is the file's one array of three dimensions, the ground
    truth the one of two, and both may be in one file. Classes are named by their numbers in the
    file, those of Indian Pines by what they are.

    Raises:
        InputError: If a file is missing, truncated or foreign, has no such array or several, the
            sizes differ, a pixel holds NaN or infinity, the truth holds anything but integers from
            0, or less than two classes.
    """
    path, truth = Path(path), Path(truth)
    cubes, maps = _arrays(path, 3), _arrays(truth, 2)
    for cube, labels in zip(cubes, maps, strict=True):
        if cube.shape[:2] == labels.shape:
            return _scene(readable(path.stem), cube, labels, str(path), str(truth))
    raise InputError(
        f"{path} is {_size(cubes[0])} and {truth} is {_size(maps[0])}: not the rows x columns x "
        "bands and the rows x columns of one scene"
    )


def indian_pines() -> Scene:
    """Give the Indian Pines scene that the optional package tensorly ships: 200 bands, 16 classes.

    Raises:
        InputError: If tensorly is not installed, or is one without the scene.
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


def _arrays(path: Path, n_dimensions: int) -> list[npt.NDArray[Any]]:
    """Read a file's one array of so many dimensions, in the two orders that they may have.

    The first is MATLAB's. A file of version 7.3 is HDF5, and what did not come from MATLAB may have
    its dimensions the other way round.
    """
    known = " or ".join(arrays.READERS)
    check(path.suffix.lower() in arrays.READERS, f"cannot read {path}: a scene is a file {known}")
    found, others = {}, []
    for name in arrays.names(path):
        try:
            found[name] = arrays.read(path, name)
        except arrays.NotNumbersError:  # MATLAB's structures and texts
            others.append(f"{name} (no numbers)")
    reversible = h5py.is_hdf5(path)
    fits = [
        array
        for array in found.values()
        if array.dtype.kind in "biuf" and array.ndim == n_dimensions and min(array.shape) > 1
    ]
    if len(fits) != 1:
        sizes = [f"{name} ({_size(array)})" for name, array in found.items()]
        there = ", ".join(sizes + others) or "nothing"
        number = "several arrays" if fits else "no array"
        raise InputError(f"{path} has {number} of {n_dimensions} dimensions; it has {there}")
    return [fits[0], fits[0].T if reversible else fits[0]]


def _size(array: npt.NDArray[Any]) -> str:
    return " x ".join(map(str, array.shape))


def _scene(
    name: str,
    cube: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    where_cube: str,
    where_labels: str,
    **more: Any,
) -> Scene:
    """Check a scene's arrays, whose sizes fit, and number its classes from 1 on."""
    bad = np.argwhere(~np.isfinite(cube))
    if len(bad):
        row, column, band = bad[0]
        raise InputError(
            f"{where_cube} is {cube[row, column, band]} at row {row + 1}, column {column + 1}, "
            f"band {band + 1} (counted from 1; {len(bad)} such values)"
        )
    with np.errstate(invalid="ignore"):
        bad = np.argwhere(~(labels >= 0) | (labels % 1 != 0))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"{where_labels} is {labels[row, column]} at row {row + 1}, column {column + 1}, and "
            f"classes are integers, 0 the background (counted from 1; {len(bad)} such values)"
        )
    numbers, pixels = np.unique(labels[labels > 0], return_counts=True)
    check(len(numbers) > 0, f"{where_labels} is 0 everywhere: no pixel has a class")
    names = [f"class {number:g}" for number in numbers]
    if pixels.tolist() == list(_PINES_CLASSES.values()):
        names = list(_PINES_CLASSES)
    return Scene(
        name=name,
        cube=np.ascontiguousarray(cube, dtype=np.float64),
        truth=np.where(labels > 0, np.searchsorted(numbers, labels) + 1, 0),
        class_names=tuple(names),
        **more,
    )
