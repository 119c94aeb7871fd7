"""Extend a finished dataset: more samples of the same set.

Sample i of most designs depends on the configuration, the seed and i alone (`sampling.EXTENDABLE`):
a set of 800 samples is the beginning of one of 1200. A run that is asked for more samples than a
finished file has keeps these as they are, solves for the new ones, and replaces the file once all
are there. A sample keeps its part, train, validation or test, so that a surrogate that was trained
before has not seen any test sample of the longer file (`surrogates.data.split.extended`).

The last batch of the file may be a short one. It is solved for again as a whole, as its numbers may
depend on the batch in their last bits, and only its new samples are stored: they have the same bits
as in a set that was made at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from surrogates.config import check
from surrogates.data import Info, opened, read_info
from surrogates.data.split import continued, extended
from surrogates.folders import Folder
from surrogates.types import Array

from ..prescribed import DESIGN
from .journal import DESCRIPTION, described
from .request import SPLIT


def split_of(out: Path, folder: Path, total: int, asked: str | None, seed: int) -> str:
    """Return the split of a set, which keeps the parts of the samples that are there.

    Args:
        out: The dataset file, which may be finished.
        folder: The folder of the run, where it may have begun.
        total: Number of samples that is asked for.
        asked: Split that is asked for; None if there is none.
        seed: Seed of the split.

    Raises:
        InputError: If a part would have to lose samples, or a file is damaged.
    """
    here = SPLIT if asked is None else asked
    there = read_info(out)[0] if out.is_file() else _description(folder)
    if there is None or there.total > total or there.design in ("imported", "joined"):
        return here
    if out.is_file() and there.total < total and there.seed == seed:
        return extended(there.split, there.total, total, asked, seed)
    return continued(there.split, there.total, asked, seed) if there.total == total else here


def _description(path: Path) -> Info | None:
    """Return the description of the set of a run that has begun; None if there is none."""
    try:
        folder = Folder.there(path)
    except FileNotFoundError:
        return None
    return None if folder.stat(DESCRIPTION) is None else described(folder)


def samples_kept(out: Path, info: Info, samples: range, draw: Callable[[range], Array]) -> int:
    """Return the number of samples of a finished file that a longer set begins with.

    Args:
        out: The file.
        info: The description of the set that is asked for.
        samples: The samples that are asked for.
        draw: Returns the parameters of some samples of the set, (n, n_y).

    Returns:
        The number; 0 if the file has as many samples as are asked for, or is of another set.

    Raises:
        InputError: If the file is of the same set and has more samples, or cannot be extended.
    """
    there, n = read_info(out)
    if there.total == info.total or DESIGN in (there.design, info.design):
        return 0
    if dataclasses.replace(there, total=info.total, split=info.split).differences(info):
        return 0
    check(
        there.total < info.total,
        f"{out} has {there.total} samples, more than {info.total}; it is left as it is: give "
        f"--samples {there.total}, or another --out",
    )
    whole = n == there.total and len(samples) == info.total
    check(
        whole,
        f"{out} cannot be extended as a shard: extend the whole set without --shard, after merge",
    )
    check(
        there.design != "latin-hypercube",
        f"{out} cannot be extended: a Latin hypercube of {there.total} samples is no part of one "
        f"of {info.total}; the designs nested-latin-hypercube, sobol and box can be; give another "
        "--out",
    )
    with opened(out) as stored:
        same = np.array_equal(draw(range(n)), stored.Y)
    check(
        same,
        f"{out} cannot be extended: its y are not the first {n} of the {info.total} that its "
        f"design, {there.design}, draws now; give another --out",
    )
    return n


def check_run(folder: Folder, info: Info) -> None:
    """Refuse to go on with a run that was begun for another number of samples, in one line.

    Raises:
        InputError: If the run's set is the same but for its number of samples.
    """
    there = described(folder)
    alike = dataclasses.replace(there, total=info.total, split=info.split)
    check(
        there.total == info.total or bool(alike.differences(info)),
        f"{folder.path} is a run for {there.total} samples that has not ended: finish it with "
        f"--samples {there.total}, or remove it; here are {info.total}",
    )


def last_batch(kept: int, size: int) -> range:
    """Return the samples of a shorter set in its last batch, if that is not whole.

    Args:
        kept: Number of samples that a finished file has; 0 if there is none.
        size: Number of samples of a batch.
    """
    return range(kept // size * size, kept)
