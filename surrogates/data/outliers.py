"""Rows that look like mistakes, and columns that span many powers of ten."""

from __future__ import annotations

import numpy as np

from surrogates.types import Array

FAR = 50.0  # robust deviations
_FAR_IN_LOG = 4.5  # times the distance of the 90 % quantile from the median, in logarithms
_LEAST_ROWS = 8
_MOST_FAR = 0.02  # a column with a larger share of far rows has heavy tails by nature


def outliers(C: Array) -> list[tuple[int, int, float]]:
    """Find rows that are so far from the others that they look like mistakes.

    The robust deviation of c is |c - median| / (1.4826 MAD), with the median absolute deviation
    MAD = median of |c - median|. It is in units of the standard deviation if c is normal. If the
    MAD is zero (more than half of a column is one value), the mean of |c - median| over the nine
    tenths next to the median takes the place of 1.4826 MAD. A column in which that is zero as well,
    or as small as rounding errors, is skipped. A row is far in a column if

        its robust deviation is more than 50, and
        log(|c - median| / MAD) is more than 4.5 times log(q / MAD), or 2.25 if that is larger, with
        q the 90 % quantile of |c - median|.

    The second rule adapts to heavy tails. For a normal distribution it is met at 37 robust
    deviations, and the first rule decides; for the exponential of a normal one with sigma 2, or the
    cube of a normal one, it is met at 1e5. A column in which more than 2 % of the rows (and more
    than 2 rows) are far is skipped: such values are in its nature.

    Args:
        C: The columns, (n, n_c); NaN and infinity are ignored.

    Returns:
        For each such row, in ascending order: the row, the column in which it is farthest, and its
        robust deviation there. Columns with fewer than 8 finite values are skipped.
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
    """Return the robust deviation of each value that is far, 0 for the others."""
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
    """Return how many powers of ten each column spans, (n_c,); 0 unless all values are positive."""
    with np.errstate(all="ignore"):
        low = np.where(np.isnan(C), np.inf, C).min(axis=0, initial=np.inf)
        high = np.where(np.isnan(C), -np.inf, C).max(axis=0, initial=-np.inf)
        positive = (low > 0) & np.isfinite(low) & np.isfinite(high)
        return np.where(positive, np.log10(high) - np.log10(low), 0.0)
