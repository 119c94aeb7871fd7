"""The split of a dataset into training, validation and test samples.

A set that is extended keeps the parts of its samples, and divides the new ones by themselves. Its
split has a text for each step, with the number of samples that it divides:

    0.8/0.1/0.1 of 800 + 0.8/0.1/0.1 of 400

Each step draws from a stream of its own, which the seed and the step's first sample give.
"""

from __future__ import annotations

import re
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
            ``balanced:250/10/0.2``. Or the split of an extended set, from `extended`.
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
    steps = _steps(split)
    if steps:
        there = sum(number for _, number in steps)
        config.check(there == n, f"the split {split} is of {there} samples; there are {n}")
        firsts = np.cumsum([0, *(number for _, number in steps)]).tolist()
        return np.concatenate(
            [
                _assigned(text, number, seed, first, None)
                for (text, number), first in zip(steps, firsts, strict=False)
            ]
        )
    return _assigned(split, n, seed, 0, classes)


def _assigned(
    split: str,
    n: int,
    seed: int,
    first: int,
    classes: Mapping[str, npt.NDArray[np.int64]] | None,
) -> npt.NDArray[np.uint8]:
    """Assign the n samples of one step, whose first is ``first`` in the set; see `assign_split`."""
    rng = np.random.default_rng([seed, 0x5B117, first] if first else [seed, 0x5B117])
    kind, _, numbers = split.partition(":")
    if kind == "balanced":
        if classes is None:
            raise InputError(f"the split {split!r} is for a classification; write 0.8/0.1/0.1")
        return _balanced(split, _three(numbers or "250/10/0.2"), n, rng, classes)
    parts = _three(split)
    if not parts:
        more = "" if classes is None else ", or balanced"
        raise InputError(f"cannot read the split {split!r}; write 400/200/200 or 0.8/0.1/0.1{more}")
    if _are_fractions(split, further=first > 0):
        ends = [0, round(parts[0] * n), round((parts[0] + parts[1]) * n), n]
        counts = [stop - start for start, stop in zip(ends, ends[1:], strict=False)]
        if parts[0] and not first:
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


def extended(split: str, n: int, total: int, asked: str | None, seed: int) -> str:
    """Return the split of a set of n samples that is extended to ``total``.

    Args:
        split: Its split so far.
        n: Its number of samples.
        total: The new number.
        asked: The split asked for now. None divides the new samples as those there are: by the
            fractions of the last step, or by the shares of the parts in the set if counts were
            given. Fractions divide the new samples. Counts are of the whole set: new samples fill
            what its parts lack, and others are unused.
        seed: Seed of the split.

    Raises:
        InputError: If a part would have to lose samples, or the counts need more samples.
    """
    steps, rest = _steps(split) or [("".join(split.split()), n)], total - n
    before = " + ".join(f"{text} of {number}" for text, number in steps)
    if asked is not None and _steps(asked):
        config.check(
            asked.startswith(f"{before} + "),
            f"a sample keeps its part: the split must begin with {before}; got {asked}",
        )
        return asked
    assigned = assign_split(split, n, seed)
    there = [int((assigned == Split[part.upper()]).sum()) for part in PARTS]
    text = steps[-1][0] if asked is None else asked
    numbers = _three(text)
    if _are_fractions(text, further=asked is None and len(steps) > 1):
        further = "/".join(map(repr, numbers))
    elif asked is None:
        ends = np.round(np.cumsum([0, *there]) * rest / n).astype(int)
        further = "/".join(map(str, np.diff(ends).tolist()))
    elif not numbers or any(number % 1 for number in numbers):
        further = asked  # which `assign_split` refuses
    else:
        more = [int(number) - had for number, had in zip(numbers, there, strict=True)]
        config.check(
            min(more) >= 0,
            f"a sample keeps its part: the split {asked} has fewer than the "
            f"{'/'.join(map(str, there))} samples that there are",
        )
        config.check(
            sum(more) <= rest, f"the split {asked} needs {sum(more)} new samples; there are {rest}"
        )
        further = "/".join(map(str, more))
    return f"{before} + {further} of {rest}"


def continued(split: str, total: int, asked: str | None, seed: int) -> str:
    """Return the split of a set that is asked for again, with no more samples than it has.

    Args:
        split: Its split.
        total: Its number of samples.
        asked: The split asked for now; None for that of the set.
        seed: Seed of the split.

    Returns:
        ``split`` if the same command has made it, perhaps as the last step of several; else
        ``asked``.
    """
    steps = _steps(split)
    if asked is None or not steps:
        return split if asked is None else asked
    n = total - steps[-1][1]
    before = " + ".join(f"{text} of {number}" for text, number in steps[:-1])
    if len(steps) == 2:
        before = steps[0][0]
    try:
        same = extended(before, n, total, asked, seed) == split
    except InputError:
        same = False
    return split if same else asked


def _steps(split: str) -> list[tuple[str, int]]:
    """Return the texts of an extended set's split and their numbers of samples, else nothing."""
    found = re.findall(r"(\S+) of (\d+)(?: \+ |$)", split)
    steps = [(text, int(number)) for text, number in found]
    whole = " + ".join(f"{text} of {number}" for text, number in steps)
    return steps if whole == split else []


def _are_fractions(text: str, *, further: bool = False) -> bool:
    """Return whether a text has fractions; in a further step, 1/0/0 is a count of one sample."""
    return abs(sum(_three(text)) - 1) < 1e-9 and ("." in text or not further)


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
