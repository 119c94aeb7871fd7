"""Statistics of rows that come in pieces: range, spread, and counts of classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from .description import PARTS


class RunningStats:
    """Range, mean and spread of chosen rows of an array that comes in pieces.

    Sums of squares about the mean are merged as in Chan, Golub, LeVeque 1983, "Algorithms for
    computing the sample variance": a small spread about a large mean keeps its digits.

    Attributes:
        range: Least and largest value, NaN if there is none.
        missing: Number of entries of the chosen rows that are NaN, if NaN means missing.
    """

    def __init__(self, chosen: npt.NDArray[np.bool_], missing: str = "") -> None:
        """Start without rows.

        Args:
            chosen: Whether each following row counts.
            missing: ``mask`` to leave NaN out, as `Info.missing`; otherwise NaN makes the results
                NaN.
        """
        self.range = (np.nan, np.nan)
        self.missing = 0
        self._chosen, self._seen, self._masked = chosen, 0, missing == "mask"
        self._n, self._mean, self._squares = np.zeros(1), np.zeros(1), np.zeros(1)

    def over(self, pieces: Iterable[Array]) -> Iterator[Array]:
        """Yield the pieces unchanged, each after it has been counted."""
        for piece in pieces:
            chosen = self._chosen[self._seen : self._seen + len(piece)]
            self._seen += len(piece)
            if chosen.any():
                self._add(piece if chosen.all() else piece[chosen])
            yield piece

    @property
    def spread(self) -> Array:
        """Standard deviation of each column relative to its root mean square."""
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


class DerivativeCounts:
    """Number of rows of derivatives, for an array that comes in pieces: see `Summary`.

    Attributes:
        samples: Number of chosen samples that have a finite row.
        rows: Number of all rows of these.
        gaps: Number of their rows that are not finite.
    """

    def __init__(self, chosen: npt.NDArray[np.bool_]) -> None:
        """Start without rows; ``chosen`` is whether each following sample counts."""
        self.samples = self.rows = self.gaps = 0
        self._chosen, self._seen = chosen, 0

    def over(self, pieces: Iterable[Array]) -> Iterator[Array]:
        """Yield the pieces unchanged, each after it has been counted."""
        for piece in pieces:
            chosen = self._chosen[self._seen : self._seen + len(piece)]
            self._seen += len(piece)
            finite = np.isfinite(piece).all(axis=1)[chosen]
            there = finite[finite.any(axis=1)]
            self.samples += len(there)
            self.rows += there.size
            self.gaps += int((~there).sum())
            yield piece


class ClassCounts:
    """Number of samples of each class in each part, for an array that comes in pieces.

    A sample belongs to its most probable class.

    Attributes:
        counts: Numbers of samples, (n_c, 3).
    """

    def __init__(self, n_c: int, part: npt.NDArray[np.uint8]) -> None:
        """Start without rows; ``part`` is the `Split` of each row to come, unused ones left out."""
        self.counts = np.zeros((n_c, len(PARTS)), np.int64)
        self._part, self._seen = part, 0

    def over(self, pieces: Iterable[Array]) -> Iterator[Array]:
        """Yield the pieces unchanged, each after it has been counted."""
        for piece in pieces:
            part = self._part[self._seen : self._seen + len(piece)]
            self._seen += len(piece)
            chosen = part < len(PARTS)
            np.add.at(self.counts, (piece[chosen].argmax(axis=1), part[chosen]), 1)
            yield piece
