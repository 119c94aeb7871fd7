"""What the samples of a dataset are like and what is wrong with them, seen window by window."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from surrogates.config import check
from surrogates.types import Array

from .description import PARTS, Info, Split, Status

if TYPE_CHECKING:
    from .dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the samples of a file are like.

    Attributes:
        status: Samples of each `Status`.
        split: Samples of each part: train, validation, test.
        made_by: Samples of each of ``info.makers``.
        y_range: Least and largest value of Y.
        c_range: The same of C over the done samples; NaN if there are none.
        spread: Standard deviation of each output over the done samples, relative to its size (the
            root of its mean square), (n_c,); NaN where it is always zero, or no sample is done.
        classes: Done samples of each class and part, (n_c, 3); None unless it is a classification.
        digest: As `Dataset.digest`.
        missing: Entries of C that done samples lack.
    """

    status: dict[Status, int]
    split: dict[str, int]
    made_by: tuple[int, ...]
    y_range: tuple[float, float]
    c_range: tuple[float, float]
    spread: Array
    classes: npt.NDArray[np.int64] | None
    digest: str
    missing: int = 0


DIGESTED = ("Y", "C", "status", "split")


def digest(arrays: Iterable[tuple[tuple[int, ...], Iterable[npt.NDArray[Any]]]]) -> str:
    """Hash arrays, each given as its shape and consecutive pieces of it."""
    sha = hashlib.sha256()
    for shape, pieces in arrays:
        sha.update(str(shape).encode())
        for piece in pieces:
            sha.update(np.ascontiguousarray(piece).data)
    return sha.hexdigest()


class Tally:
    """Range and spread of chosen rows, of pieces that come one after the other.

    Sums of squares about the mean are merged as in Chan, Golub, LeVeque 1983, "Algorithms for
    computing the sample variance": a small spread about a large mean keeps its digits.

    Attributes:
        range: Least and largest value, NaN if there is none.
        missing: Entries of the chosen rows that are NaN, if they are counted.
    """

    def __init__(self, chosen: npt.NDArray[np.bool_], missing: str = "") -> None:
        """Start with nothing seen.

        Args:
            chosen: Whether a row counts, of each row to come.
            missing: ``mask`` to leave NaN out, as `Info.missing`; else NaN comes through.
        """
        self.range = (np.nan, np.nan)
        self.missing = 0
        self._chosen, self._seen, self._masked = chosen, 0, missing == "mask"
        self._n, self._mean, self._squares = np.zeros(1), np.zeros(1), np.zeros(1)

    def over(self, pieces: Iterable[Array]) -> Iterator[Array]:
        """Give the pieces on, once they are counted."""
        for piece in pieces:
            chosen = self._chosen[self._seen : self._seen + len(piece)]
            self._seen += len(piece)
            if chosen.any():
                self._add(piece if chosen.all() else piece[chosen])
            yield piece

    @property
    def spread(self) -> Array:
        """Standard deviation of each column relative to the root of its mean square."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            variance = self._squares / self._n
            return np.asarray(np.sqrt(variance) / np.sqrt(self._mean**2 + variance))

    def _add(self, rows: Array) -> None:
        with np.errstate(invalid="ignore", over="ignore"):
            more = np.full(rows.shape[1], float(len(rows)))
            mean = rows.mean(axis=0)
            there = rows
            if self._masked and (gaps := np.isnan(rows)).any():
                more -= gaps.sum(axis=0)
                mean = np.where(gaps, 0, rows).sum(axis=0) / np.maximum(more, 1)
                rows, there = np.where(gaps, mean, rows), rows[~gaps]
                self.missing += int(gaps.sum())
            if there.size:
                low, high = there.min(), there.max()
                if self._n.any():  # NaN stays NaN
                    low, high = np.minimum(low, self.range[0]), np.maximum(high, self.range[1])
                self.range = float(low), float(high)
            deviations = rows - mean
            squares = np.einsum("ij,ij->j", deviations, deviations)
            n, step = self._n + more, mean - self._mean
            share = more / np.maximum(n, 1)
            self._squares = self._squares + squares + step**2 * (self._n * share)
            self._mean = self._mean + step * share
            self._n = n


class Census:
    """Count the samples of each class in each part, of pieces that come one after the other.

    A sample is of its most probable class.

    Attributes:
        counts: Samples, (n_c, 3).
    """

    def __init__(self, n_c: int, part: npt.NDArray[np.uint8]) -> None:
        """Start with nothing seen; ``part`` has the `Split` of each row to come, to be counted."""
        self.counts = np.zeros((n_c, len(PARTS)), np.int64)
        self._part, self._seen = part, 0

    def over(self, pieces: Iterable[Array]) -> Iterator[Array]:
        """Give the pieces on, once they are counted."""
        for piece in pieces:
            part = self._part[self._seen : self._seen + len(piece)]
            self._seen += len(piece)
            chosen = part < len(PARTS)
            np.add.at(self.counts, (piece[chosen].argmax(axis=1), part[chosen]), 1)
            yield piece


def are_probabilities(C: Array) -> npt.NDArray[np.bool_]:
    """Tell of each row whether it is of class probabilities, (n,): none negative, their sum 1.

    The sum may be off by 1e-6, as single precision leaves it.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray((C >= 0).all(axis=1) & (np.abs(C.sum(axis=1) - 1) <= 1e-6))


def problems(info: Info, n: int, windows: Iterable[Dataset], max_residual: float) -> list[str]:
    """List what is wrong with n samples that come in windows; see `Stored.problems`."""
    missing: list[range] = []
    counts: dict[str, list[Any]] = {}  # for each fault the number of samples, and the first one
    for window in windows:
        first = window.info.first
        missing += runs(window.status == Status.MISSING, first)
        for fault, bad in _faults(window, max_residual).items():
            rows = np.flatnonzero(bad)
            seen = counts.setdefault(fault, [0, ""])
            if len(rows) and not seen[0]:
                why = f" ({window.failure[rows[0]]})" if fault == "failed" else ""
                seen[1] = f"{first + rows[0]}{why}"
            seen[0] += len(rows)
    found = []
    if n < info.total:
        found.append(f"{n} of {info.total} samples: a shard; merge it with the others")
    if missing:
        found.append(say(missing, "missing"))
    for fault, (number, at) in counts.items():
        if number:
            found.append(f"{number} sample{'s' * (number > 1)} {fault}, first {at}")
    return found


def _faults(window: Dataset, max_residual: float) -> dict[str, npt.NDArray[np.bool_]]:
    """For each fault that a sample may have, those that have it, (n,)."""
    info, done = window.info, window.status == Status.DONE
    slack = 1e-12 * np.maximum(np.abs(info.y_lower), np.abs(info.y_upper))
    inside = (info.y_lower - slack <= window.Y) & (info.y_upper + slack >= window.Y)
    loose = window.solver["residual"] > max_residual  # NaN is not: the problem gives none
    tangents = np.zeros((len(done), 1)) if window.dC_dY is None else window.dC_dY
    finite = {
        name: np.isfinite(array).reshape(len(done), -1).all(axis=1)
        for name, array in (("Y", window.Y), ("C", window.C), ("dC_dY", tangents))
    }
    if info.missing == "mask":
        some = ~np.isnan(window.C).all(axis=1)
        finite["C"] = some & ~np.isinf(window.C).any(axis=1)
    faults = {
        "failed": window.status == Status.FAILED,
        "with a value of Y that is not finite": ~finite["Y"],
        "with a value of C that is not finite": done & ~finite["C"],
        "with a value of dC_dY that is not finite": done & ~finite["dC_dY"],
        "with parameters out of bounds": ~inside.all(axis=1),
        f"with a residual above {max_residual:g}": done & loose,
        "with an unknown status": ~np.isin(window.status, list(Status)),
        "with an unknown split": ~np.isin(window.split, list(Split)),
        "with an unknown maker": window.made_by >= len(info.makers),
    }
    if info.task == "classification":
        unlikely = done & finite["C"] & ~are_probabilities(window.C)
        faults["with a C that is no class probabilities"] = unlikely
    return faults


FAR = 50.0  # robust deviations
_FAR_IN_LOG = 4.5  # times the distance of the 90 % quantile from the median, in logarithms
_LEAST_ROWS = 8
_MOST_FAR = 0.02  # a column with a larger share of rows far away is like that


def outliers(C: Array) -> list[tuple[int, int, float]]:
    """Find rows that are so far from the others that they look like a mistake.

    A robust deviation is |c - median| / (1.4826 MAD), MAD the median of |c - median|: a standard
    deviation if c is normal. Where the MAD is zero (more than half of a column is one value), it is
    the mean of |c - median| over the nine tenths next to the median; a column where that is zero as
    well, or rounding, says nothing. A row is far in a column if it is

        more than 50 robust deviations away, and
        more than 4.5 times as far as the 90 % quantile of |c - median| in logarithms, both measured
        from the MAD.

    The second rule follows the tails. For a normal distribution it is met at 37 robust deviations,
    so that the first rule decides; for the exponential of a normal one with sigma 2, or the cube of
    a normal one, at 1e5. Where values of honest data span many powers of ten, a mistake must be as
    large to be seen. A column in which more than 2 % of the rows (and more than 2 rows) are far has
    such values by nature, and says nothing.

    Args:
        C: (n, n_c); NaN and infinity do not count.

    Returns:
        For each such row, in order: the row, the column in which it is farthest, and how many
        robust deviations that is. Nothing where there are fewer than 8 rows.
    """
    worst: dict[int, tuple[int, float]] = {}
    for column in range(C.shape[1]):
        rows = np.flatnonzero(np.isfinite(C[:, column]))
        if len(rows) < _LEAST_ROWS:
            continue
        far = _deviations(C[rows, column])
        for i in np.flatnonzero(far > 0).tolist():
            row = int(rows[i])
            if far[i] > worst.get(row, (0, 0.0))[1]:
                worst[row] = column, float(far[i])
    return [(row, *worst[row]) for row in sorted(worst)]


def _deviations(c: Array) -> Array:
    """Return the robust deviations of those values that are far, 0 of the others."""
    none = np.zeros(len(c))
    largest = np.abs(c).max()
    if not largest:
        return none
    c = c / largest
    distance = np.abs(c - np.median(c))
    median, high = np.quantile(distance, [0.5, 0.9])
    scale = 1.4826 * median
    if not scale:
        scale = distance[distance <= high].mean()
    if scale <= 1e-13 * np.median(np.abs(c)):
        return none
    unit = scale / 1.4826
    with np.errstate(divide="ignore"):
        spread = max(np.log(high / unit), 0.5)  # 0.59 if c is uniform
        far = (distance > FAR * scale) & (np.log(distance / unit) > _FAR_IN_LOG * spread)
    if far.sum() > max(2, _MOST_FAR * len(c)):
        return none
    return np.where(far, distance / scale, 0.0)


def decades(C: Array) -> Array:
    """Return how many powers of ten each column spans, (n_c,); 0 unless all of it is positive."""
    with np.errstate(all="ignore"):
        low = np.where(np.isnan(C), np.inf, C).min(axis=0, initial=np.inf)
        high = np.where(np.isnan(C), -np.inf, C).max(axis=0, initial=-np.inf)
        positive = (low > 0) & np.isfinite(low) & np.isfinite(high)
        return np.where(positive, np.log10(high) - np.log10(low), 0.0)


def read_rows(text: str, n: int) -> npt.NDArray[np.int64]:
    """Read numbers of rows, from 0, such as ``3,77,100-120``; the end of a range is part of it.

    Args:
        text: The numbers.
        n: How many rows there are.

    Returns:
        Each once, in order.

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
    """Give the runs of true entries, numbered from ``first`` on."""
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False)) + first
    return [range(start, stop) for start, stop in edges.reshape(-1, 2).tolist()]


def say(runs: Sequence[range], fate: str) -> str:
    """Say of runs of samples what became of them; runs that touch are one."""
    joined = [runs[0]]
    for run in runs[1:]:
        if run.start == joined[-1].stop:
            joined[-1] = range(joined[-1].start, run.stop)
        else:
            joined.append(run)
    names = [f"{r.start} to {r.stop - 1}" if len(r) > 1 else f"{r.start}" for r in joined]
    text = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    several = sum(map(len, joined)) > 1
    return f"sample{'s' * several} {text} {'are' if several else 'is'} {fate}"
