"""Numbers of samples: read from a text, found in a mask, and put into words."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from surrogates.config import check


def read_rows(text: str, n: int) -> npt.NDArray[np.int64]:
    """Read numbers of rows, from 0, such as ``3,77,100-120``; a range includes its end.

    Args:
        text: The numbers.
        n: Number of rows.

    Returns:
        Each number once, in ascending order.

    Raises:
        InputError: If a word is neither a number nor a range, or there is no such row.
    """
    chosen = np.zeros(n, dtype=bool)
    for word in text.split(","):
        found = re.fullmatch(r"\s*([0-9]+)\s*(?:-\s*([0-9]+)\s*)?", word)
        check(found is not None, f"cannot read the rows {text!r}; write 3,77,100-120")
        assert found is not None
        first, last = int(found[1]), int(found[2] or found[1])
        check(first <= last, f"the rows {word.strip()} end before they begin")
        check(last < n, f"there is no row {last}: there are {n}, from 0 to {n - 1}")
        chosen[first : last + 1] = True
    return np.flatnonzero(chosen)


def runs(mask: npt.NDArray[np.bool_], first: int = 0) -> list[range]:
    """Return the runs of true entries; the mask's first entry has the number ``first``."""
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False)) + first
    return [range(start, stop) for start, stop in edges.reshape(-1, 2).tolist()]


def sentence(runs: Sequence[range], predicate: str) -> str:
    """Return a sentence about samples, such as ``samples 3 to 5 and 9 are missing``.

    Args:
        runs: Runs of samples, at least one; runs that touch are joined.
        predicate: What the samples are, such as ``missing``.
    """
    joined = [runs[0]]
    for run in runs[1:]:
        if run.start == joined[-1].stop:
            joined[-1] = range(joined[-1].start, run.stop)
        else:
            joined.append(run)
    names = [f"{r.start} to {r.stop - 1}" if len(r) > 1 else f"{r.start}" for r in joined]
    text = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    several = sum(map(len, joined)) > 1
    return f"sample{'s' * several} {text} {'are' if several else 'is'} {predicate}"
