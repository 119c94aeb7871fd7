"""Datasets from files of other programs: parameters Y and observables C in tables and arrays.

`surrogates.data.tables` reads text, `surrogates.data.arrays` reads the files of numpy, MATLAB and
HDF5, and `surrogates.data.columns` decides which columns are Y and which are C:

A table (or one .npy file) has a sample in each line; a line of units may follow the names.
``inputs`` and ``outputs`` are either names of columns, separated by commas, or a number n: the
first n columns are inputs, or the last n are outputs. If one of the two is given, the remaining
columns are the other. If neither is given, columns whose names start with y are parameters, and
those with c are observables. A column that counts the lines, and has no name or is called index, id
or sample, is left out.

A .mat file (any version from 5 to 7.3), .npz or HDF5 file holds arrays ``Y`` and ``C``, or those
that ``inputs`` and ``outputs`` name, in HDF5 by their paths. Several names mean several arrays of
one dimension, a column each. Two files of one array each, usually .npy, are Y and C. A file of
arrays may also hold derivatives of C, ``dC_dY``, or ``directions`` with ``dC_dV``
(`surrogates.data.attached`).

For a classification, C holds the samples' labels, integers from 0, in one column or row. It may
also hold class probabilities, usually one-hot, with a class in each column (row, where samples are
columns). Labels may be texts, which name the classes, and in a table any integers.

A sample whose c is not finite is kept as failed, with NaN.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import scipy

from surrogates.config import check, unknown
from surrogates.errors import InputError, listed
from surrogates.given import check_plain
from surrogates.provenance import provenance, readable
from surrogates.types import Array

from . import attached, columns, tables
from .columns import LEAST, ORIENTATIONS, Asked, Rows, Samples
from .dataset import Dataset
from .description import TASKS, Info, Split, Status
from .format import SOLVER
from .inspection import are_probabilities
from .outliers import decades, outliers
from .split import assign_split, check_classes, rows_of_classes

MISSING = ("fail", "mask")
_MOST_ENTRIES = 1 << 28  # of class probabilities

_log = logging.getLogger(__name__)


def import_file(
    path: str | os.PathLike[str],
    second: str | os.PathLike[str] | None = None,
    *,
    task: str = "regression",
    split: str = "0.8/0.1/0.1",
    seed: int = 0,
    samples: str = "auto",
    inputs: str | None = None,
    outputs: str | None = None,
    missing: str = "fail",
    exclude: str = "",
    note: Callable[[str], object] = _log.info,
) -> Dataset:
    """Import the parameters Y and observables C of a file, as the module's docstring describes.

    Args:
        path: The file.
        second: The file of C, if C is in another one.
        task: ``regression`` or ``classification``.
        split: A split for `assign_split`; failed samples are in no part.
        seed: Seed of the split, >= 0.
        samples: Whether ``rows`` or ``columns`` of the arrays (the latter is common in MATLAB) are
            samples; ``auto`` takes the dimension in which Y and C agree, and refuses to guess.
        inputs: Names or number of the parameters.
        outputs: Names or number of the observables.
        missing: With ``fail``, a NaN in C fails its sample; with ``mask``, only the entry is lost.
        exclude: Samples to leave out, counted from 0, such as ``3,77,100-120``.
        note: Called with a line for everything that is left out, failed, missing, or looks wrong.

    Returns:
        The samples; the problem is named after the file, bounds are the parameters' extremes.

    Raises:
        InputError: If the file lacks what is asked for, Y is not finite, or C is text.
    """
    path = Path(path)
    _check_options(samples, task, missing)
    classes = task == "classification"
    asked = Asked(classes=classes, samples=samples, inputs=inputs, outputs=outputs, exclude=exclude)
    found = columns.read(path, None if second is None else Path(second), asked, note)
    check(len(found.Y) > 0, f"{found.what}: no samples are left")
    C, c_names = _class_probabilities(found) if classes else (found.C, found.c_names)
    dataset = as_dataset(
        found.Y,
        C,
        problem=readable(path.name[: -len(tables.ending(path))]),
        task=task,
        y_names=found.y_names,
        c_names=c_names or [f"{'class ' if classes else 'c'}{k}" for k in range(C.shape[1])],
        y_units=found.y_units,
        c_units=() if classes else found.c_units,
        split=split,
        seed=seed,
        missing=missing,
    )
    for line in _remarks(dataset, found.rows, exclude):
        note(line)
    derivatives = {} if second or classes else attached.of_file(path, found)
    return attached.attach(dataset, derivatives, note, str(path))


def _check_options(samples: str, task: str, missing: str) -> None:
    """Refuse unknown words as options, and masked entries in a classification."""
    for what, name, known in (
        ("orientation", samples, ORIENTATIONS),
        ("task", task, TASKS),
        ("meaning of missing", missing, MISSING),
    ):
        check(name in known, unknown(f"{what} {name!r}", name, known))
    masked = task == "classification" and missing == "mask"
    check(not masked, "missing entries are masked in a regression only")


def as_dataset(
    Y: Array,
    C: Array,
    *,
    problem: str,
    task: str,
    y_names: Sequence[str],
    c_names: Sequence[str],
    split: str,
    seed: int,
    y_units: Sequence[str] = (),
    c_units: Sequence[str] = (),
    libraries: Sequence[ModuleType] = (),
    missing: str = "fail",
) -> Dataset:
    """Make a dataset of arrays; only C may hold values that are not finite.

    Args:
        Y: Parameters, (n, n_y), finite.
        C: Observables or class probabilities, (n, n_c); not finite where a sample failed.
        problem: The dataset's name.
        task: ``regression`` or ``classification``.
        y_names: Names of the parameters.
        c_names: Names of the observables or classes.
        split: A split for `assign_split`.
        seed: Seed of the split.
        y_units: Units of the parameters; empty if they are not known.
        c_units: Units of the observables, likewise.
        libraries: Modules that the arrays come from, beside numpy, scipy and h5py.
        missing: Meaning of a NaN in C, ``fail`` or ``mask``; see `import_file`.

    Raises:
        InputError: If an array is masked, the split cannot be made, fewer than 3 samples are done
            (where some are for training), an output has no value, or a class no training samples.
    """
    check_plain(Y, "Y")
    check_plain(C, "C")
    n, done = len(Y), _done(C, c_names, missing)
    C = np.where(done[:, None], C, np.nan)
    parts = _split(C, done, c_names if task == "classification" else (), split, seed)
    info = Info(
        problem=problem,
        task=task,
        design="imported",
        seed=seed,
        split=split,
        total=n,
        y_names=tuple(y_names),
        y_units=_units(y_units, len(y_names)),
        y_lower=Y.min(axis=0),
        y_upper=Y.max(axis=0),
        c_names=tuple(c_names),
        c_units=_units(c_units, len(c_names)),
        missing="mask" if np.isnan(C[done]).any() else "",
        **provenance(np, scipy, h5py, *libraries),
    )
    return Dataset(info=info, Y=Y, C=C, split=parts, solver=np.zeros(n, SOLVER), **_states(done))


def _states(done: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return the status of each sample, and the reason of its failure."""
    return {
        "status": np.where(done, Status.DONE, Status.FAILED).astype(np.uint8),
        "failure": ["" if ok else "no finite c in the imported file" for ok in done],
    }


def _units(units: Sequence[str], n: int) -> tuple[str, ...]:
    """Return n units, 1 where there is none."""
    return tuple(unit if unit.strip("-") else "1" for unit in units) or ("1",) * n


def _done(C: Array, c_names: Sequence[str], missing: str) -> npt.NDArray[np.bool_]:
    """Return which samples are done, judged by their c."""
    finite = np.isfinite(C)
    if missing == "fail":
        return np.asarray(finite.all(axis=1))
    done = finite.any(axis=1) & ~np.isinf(C).any(axis=1)
    for name, some in zip(c_names, finite[done].any(axis=0), strict=True):
        check(bool(some), f"{name} has no value in any sample")
    return np.asarray(done)


def _split(
    C: Array, done: npt.NDArray[np.bool_], class_names: Sequence[str], split: str, seed: int
) -> npt.NDArray[np.uint8]:
    """Assign the done samples to the parts of a split; the others are unused."""
    C = C[done]
    classes = rows_of_classes(class_names, C) if class_names else None
    try:
        parts = assign_split(split, len(C), seed, classes)
    except InputError as error:
        failed = len(done) - len(C)
        raise InputError(f"{error}{f' ({failed} without c)' * bool(failed)}") from error
    train = parts == Split.TRAIN
    check(
        len(C) >= LEAST or (len(C) > 0 and not train.any()),
        f"{len(C)} of {len(done)} samples can be used: a surrogate needs at least {LEAST} with a "
        "finite c",
    )
    if class_names and train.any():
        check_classes(class_names, C[train])
    assigned = np.full(len(done), Split.UNUSED, dtype=np.uint8)
    assigned[done] = parts
    return assigned


# Classes


def _class_probabilities(found: Samples) -> tuple[Array, Sequence[str]]:
    """Return class probabilities, NaN for samples without a class, and the names of the classes."""
    C = found.C
    if not isinstance(found.labels, bool):
        texts = np.array(found.labels)
        names = sorted(set(found.labels) - {""})
        check(bool(names), f"{found.what}: no sample has a class")
        _check_number(found.what, len(names), len(texts))
        one = np.array([texts == name for name in names], dtype=np.float64).T
        return np.where((texts == "")[:, None], np.nan, one), names
    known = np.isfinite(C).all(axis=1)
    check(bool(known.any()), f"{found.what}: no sample has a class")
    if C.shape[1] == 1:
        what, rows = f"{found.what}: C" if found.labels else found.what, found.rows[known]
        one, names = _one_hot(C[known, 0], rows, what, gaps=found.labels)
        whole = np.full((len(C), len(names)), np.nan)
        whole[known] = one
        return whole, names
    wrong = np.flatnonzero(known & ~are_probabilities(np.where(known[:, None], C, 0)))
    if len(wrong):
        raise InputError(
            f"{found.what} of sample {found.rows[wrong[0]] + 1} is not a set of class "
            "probabilities: none is negative, and their sum is 1 (samples counted from 1; "
            f"{len(wrong)} such samples)"
        )
    return C, found.c_names


def _check_number(what: str, classes: int, n: int) -> None:
    """Refuse too many classes, before each label becomes a column."""
    if classes * n > _MOST_ENTRIES:
        raise InputError(f"{what} has {classes} different labels in {n} samples: no classes")


def _one_hot(labels: Array, rows: Rows, what: str, *, gaps: bool) -> tuple[Array, list[str]]:
    """Return class probabilities, with a 1 at each sample's label, and the names of the classes.

    Args:
        labels: The class of each sample, finite numbers, (n,).
        rows: The samples' numbers in the file, from 0.
        what: Name of the labels in messages.
        gaps: Whether they may be any integers.

    Raises:
        InputError: If they are no integers, or, without ``gaps``, not all the integers from 0 to
            some number, each at least once.
    """
    wrong = np.flatnonzero((labels % 1 != 0) | ((labels < 0) & (not gaps)))
    if len(wrong):
        raise InputError(
            f"{what} of sample {rows[wrong[0]] + 1} is {labels[wrong[0]]:g}; labels are integers "
            f"from 0 (samples counted from 1; {len(wrong)} such samples)"
        )
    there = np.unique(labels)
    absent = np.flatnonzero(there != np.arange(len(there)))
    if len(absent) and not gaps:
        hint = ": subtract 1 from all of them" if there[0] == 1 else ""
        raise InputError(
            f"{what} has labels from {there[0]:g} to {there[-1]:g}, but no sample of class "
            f"{absent[0]}; labels are integers from 0{hint}"
        )
    _check_number(what, len(there), len(labels))
    one = np.asarray(labels[:, None] == there, dtype=np.float64)
    return one, [f"class {label:.0f}" for label in there]


# Remarks


def _remarks(dataset: Dataset, rows: Rows, exclude: str) -> list[str]:
    """Return remarks for the user on an import; samples have their numbers in the file."""
    info, found = dataset.info, []
    failed, done = (
        np.flatnonzero(dataset.status == status) for status in (Status.FAILED, Status.DONE)
    )
    if len(failed):
        one = len(failed) == 1
        lacks = "class" if info.task == "classification" else "finite c"
        found.append(
            f"{len(failed)} sample{'' if one else 's'} of {len(rows)} {'has' if one else 'have'} "
            f"no {lacks} and {'is' if one else 'are'} kept as failed: {_some(rows[failed])}"
        )
    C = dataset.C[done]
    if info.missing:
        gaps = np.isnan(C)
        found.append(
            f"{gaps.sum()} of {gaps.size} entries of c are missing and masked, in "
            f"{gaps.any(axis=1).sum()} of {len(C)} samples"
        )
    classes = info.task == "classification"
    both = dataset.Y[done] if classes else np.hstack([dataset.Y[done], C])
    far = outliers(both)
    if far:
        names = (*info.y_names, *info.c_names)
        worst = max(far, key=lambda one: one[2])
        numbers = rows[done[[row for row, _, _ in far]]]
        leave = f"{exclude}{',' * bool(exclude)}{_ranges(numbers)}"
        several = len(far) > 1
        at = f" (sample {rows[done[worst[0]]]})" if several else ""
        found.append(
            f"warning: {'samples' if several else 'sample'} {_some(numbers)} "
            f"{'are' if several else 'is'} far from the others: {'up to ' * several}"
            f"{worst[2]:.2g} robust deviations in {names[worst[1]]}{at}; --exclude "
            f"{leave} leaves {'them' if several else 'it'} out"
        )
    # The extremes of inputs are ignored: one of many uniform draws may be near 0.
    near = np.delete(dataset.Y, done[[row for row, _, _ in far]], axis=0)
    inner = np.quantile(near, (0.05, 0.95), axis=0)
    found += _logarithms(info.y_names, decades(inner), "--log-inputs")
    if not classes:
        C = np.delete(C, [row for row, _, _ in far], axis=0)
        found += _logarithms(info.c_names, decades(C), "--log")
    if exclude and found:
        found.append("samples are counted from 0, before --exclude")
    return found


def _logarithms(names: Sequence[str], spans: Array, option: str) -> list[str]:
    """Return a remark on the quantities whose logarithm is better learnt, if there are any.

    Args:
        names: Names of all quantities.
        spans: Powers of ten that each spans.
        option: The option of `surrogates train` that takes their logarithms.
    """
    wide = np.flatnonzero(spans > 3)
    if not len(wide):
        return []
    found = [names[k] for k in wide]
    low, high = f"{spans[wide].min():.2g}", f"{spans[wide].max():.2g}"
    size = low if low == high else f"{low} to {high}"
    its = "its logarithm" if len(wide) == 1 else "their logarithms"
    return [
        f"{listed(found, 5)} span{'s' * (len(wide) == 1)} {size} decades: train {option} "
        f"{','.join(found[:5])}{',...' * (len(found) > 5)} learns {its}"
    ]


def _some(numbers: Rows) -> str:
    return listed([str(number) for number in numbers.tolist()], 5)


def _ranges(numbers: Rows) -> str:
    """Return the first numbers as a value of --exclude."""
    return ",".join(map(str, numbers[:20].tolist())) + ",..." * (len(numbers) > 20)
