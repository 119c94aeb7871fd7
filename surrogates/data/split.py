"""The split of a dataset into training, validation and test samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from surrogates import config
from surrogates.errors import InputError, listed
from surrogates.types import Array

from .description import PARTS, Split


def assign_split(
    split: str, n: int, seed: int, classes: Mapping[str, npt.NDArray[np.int64]] | None = None
) -> npt.NDArray[np.uint8]:
    """Assign samples to train, validation and test at random.

    A balanced split keeps frequent classes from outweighing rare ones in training. Of a class of m
    samples, min(POOL, m - HELD) are drawn. The share TEST of these, rounded but never all, is test;
    the others are training. The samples that are not drawn, HELD or more of each class, are
    validation.

    Args:
        split: Three counts (``400/200/200``) or fractions (``0.8/0.1/0.1``). Samples beyond the
            counts are unused. Fractions are rounded; if that of training is not 0, training gets at
            least one sample, and training and validation get three together if there are so many.
            For a classification also ``balanced:POOL/HELD/TEST``, or ``balanced`` for
            ``balanced:250/10/0.2``.
        n: Number of samples.
        seed: Seed of the permutations.
        classes: Rows of the samples of each class, from `rows_of_classes`; None for a regression.

    Returns:
        `Split` values, (n,) uint8.

    Raises:
        InputError: If the text is none of these, asks for more than n samples or for more than a
            class has, or the seed is out of range.
    """
    config.check_seed(seed)
    rng = np.random.default_rng([seed, 0x5B117])
    kind, _, numbers = split.partition(":")
    if kind == "balanced":
        if classes is None:
            raise InputError(f"the split {split!r} is for a classification; write 0.8/0.1/0.1")
        return _balanced(split, _three(numbers or "250/10/0.2"), n, rng, classes)
    parts = _three(split)
    if not parts:
        more = "" if classes is None else ", or balanced"
        raise InputError(f"cannot read the split {split!r}; write 400/200/200 or 0.8/0.1/0.1{more}")
    if abs(sum(parts) - 1) < 1e-9:
        ends = [0, round(parts[0] * n), round((parts[0] + parts[1]) * n), n]
        counts = [stop - start for start, stop in zip(ends, ends[1:], strict=False)]
        if parts[0]:
            _move_to_training(counts)
    elif all(number == int(number) for number in parts):
        counts = [int(number) for number in parts]
    else:
        raise InputError(f"the split {split!r} is neither counts nor fractions that add up to 1")
    if sum(counts) > n:
        raise InputError(f"the split {split} needs {sum(counts)} samples; there are {n}")
    assigned = np.full(n, Split.UNUSED, dtype=np.uint8)
    order = rng.permutation(n)
    for part, stop in zip(PARTS, np.cumsum(counts), strict=True):
        start = stop - counts[PARTS.index(part)]
        assigned[order[start:stop]] = Split[part.upper()]
    return assigned


def _move_to_training(counts: list[int]) -> None:
    """Move samples to training in a small set: it gets one, with validation three, if there are."""
    while counts[0] + counts[1] < 3 and counts[2]:
        counts[2] -= 1
        counts[0] += 1
    if not counts[0] and counts[1]:
        counts[1] -= 1
        counts[0] += 1


def _three(text: str) -> list[float]:
    """Read three numbers >= 0; return an empty list if the text is anything else."""
    try:
        numbers = [float(number) for number in text.split("/")]
    except ValueError:
        return []
    fit = len(numbers) == 3 and all(0 <= number < np.inf for number in numbers)
    return numbers if fit else []


def _balanced(
    split: str,
    numbers: Sequence[float],
    n: int,
    rng: np.random.Generator,
    classes: Mapping[str, npt.NDArray[np.int64]],
) -> npt.NDArray[np.uint8]:
    """Assign n samples, class by class, by POOL, HELD and TEST; see `assign_split`."""
    most, held, share = numbers or (0, 0, 0)
    if not (most >= 1 and most % 1 == held % 1 == 0 and share < 1):
        raise InputError(
            f"cannot read the split {split!r}; write balanced:250/10/0.2: at most 250 samples of a "
            "class for training and test, at least 10 for validation, a share of 0.2 for test"
        )
    assigned = np.full(n, Split.VALIDATION, dtype=np.uint8)
    for name, rows in classes.items():
        pool = int(min(most, len(rows) - held))
        if pool < 1:
            raise InputError(
                f"the split {split} needs {held + 1:.0f} samples of each class; {name!r} has "
                f"{len(rows)}"
            )
        drawn = rng.permutation(rows)[:pool]
        assigned[drawn] = Split.TRAIN
        assigned[drawn[: min(round(share * pool), pool - 1)]] = Split.TEST
    return assigned


def rows_of_classes(c_names: Sequence[str], C: Array) -> dict[str, npt.NDArray[np.int64]]:
    """Return for each class the rows of C, class probabilities, in which it is most probable."""
    labels = C.argmax(axis=1)
    return {name: np.flatnonzero(labels == k) for k, name in enumerate(c_names)}


def check_classes(c_names: Sequence[str], C: Array) -> None:
    """Refuse training samples that no classifier can be trained on.

    Args:
        c_names: Names of the classes.
        C: Class probabilities of the training samples, (n, n_c).

    Raises:
        InputError: If there are not two classes, or one has no training samples.
    """
    config.check(len(c_names) > 1, "there is a single class; a classifier needs two")
    absent = [repr(c_names[k]) for k in np.flatnonzero(C.sum(axis=0) == 0)]
    if absent:
        raise InputError(
            f"there are no training samples of {listed(absent, 5)}; give another split, another "
            "seed, or leave the class out"
        )
