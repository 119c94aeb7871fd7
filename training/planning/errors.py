"""The three measures of error, from held-out residuals, and what the samples leave uncertain.

    relative   mean over samples of ||prediction - c|| / ||c||
    spread     root mean square error over the outputs' spreads
    worst      the same of the worst output

A measure is a mean of one value or more for each sample, and then a function of the means. So its
bootstrap over samples (Efron 1979, "Bootstrap methods: another look at the jackknife") is a product
of two matrices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surrogates.config import check, unknown
from surrogates.types import Array

MEASURES = ("relative", "spread", "worst")
WORDS = {
    "relative": "mean relative error",
    "spread": "error over spread",
    "worst": "worst output's error over its spread",
}

_DRAWS = 200
_UNKNOWN = 0.1  # deviation by draws where it cannot be measured
_LEAST = 0.02


def check_measure(measure: str) -> None:
    """Refuse an unknown measure."""
    check(measure in MEASURES, unknown(f"measure {measure!r}", measure, MEASURES))


def values(measure: str, residual: Array, C: Array, spread: Array) -> Array:
    """Return what a measure averages over samples, (n, k).

    Args:
        measure: One of `MEASURES`.
        residual: Prediction less c, (n, n_out).
        C: Observables, (n, n_out).
        spread: Standard deviations of the outputs, or sizes of constant ones, (n_out,).
    """
    if measure == "relative":
        sizes = np.linalg.norm(C, axis=1)
        check(
            bool((sizes > 0).all()),
            "the relative error is undefined, as a sample has c = 0: take --measure spread",
        )
        return np.asarray(np.linalg.norm(residual, axis=1) / sizes)[:, None]
    squares: Array = np.square(residual / spread)
    return np.asarray(squares.mean(axis=1, keepdims=True)) if measure == "spread" else squares


def total(measure: str, means: Array) -> Array:
    """Return the measure from means over samples, (..., k) -> (...)."""
    if measure == "relative":
        return np.asarray(means[..., 0])
    return np.asarray(np.sqrt(means.max(axis=-1)))


def resampled(measure: str, parts: Sequence[Array], seed: int = 0) -> Array:
    """Return the measure of several trainings on bootstrap draws of their samples.

    Args:
        measure: One of `MEASURES`.
        parts: `values` of each training at the same samples, (n, k) each.
        seed: Of the draws.

    Returns:
        (n_draws, n_parts).
    """
    n = len(parts[0])
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=_DRAWS) / n
    return np.stack([total(measure, counts @ part) for part in parts], axis=1)


def drawn(measure: str, parts: Sequence[Sequence[Array]], seed: int = 0) -> float:
    """Return the standard deviation of the logarithm of a training's error by its draw of samples.

    It is the deviation of the errors of all sizes and folds from the effects of their size and
    their fold, less what the few samples of a fold bring: a bootstrap of these, which doubles it,
    measures that.

    Args:
        measure: One of `MEASURES`.
        parts: `values` for each size and each fold, the same samples for all sizes.
        seed: Of the bootstrap's draws.
    """
    folds = len(parts[0])
    if folds < 2 or len(parts) < 2:
        return _UNKNOWN
    logs = [[total(measure, part.mean(axis=0)) for part in row] for row in parts]
    generator = np.random.default_rng(seed)
    counts = [
        generator.multinomial(len(part), np.full(len(part), 1 / len(part)), size=_DRAWS) / len(part)
        for part in parts[0]
    ]
    again = [[total(measure, w @ v) for w, v in zip(counts, row, strict=True)] for row in parts]
    own = _interaction(np.array(logs)[..., None])[0]
    sampled = float(_interaction(np.array(again)).mean()) - own
    return float(np.sqrt(max(own - max(sampled, 0.0), _LEAST**2)))


def _interaction(errors: Array) -> Array:
    """Return the variance of log errors (k, folds, m) without effects of rows and columns, (m,)."""
    logs = np.log(np.maximum(errors, 1e-300))
    k, folds, _ = logs.shape
    rows, columns = logs.mean(axis=1, keepdims=True), logs.mean(axis=0, keepdims=True)
    rest = logs - rows - columns + logs.mean(axis=(0, 1))
    return np.asarray(np.square(rest).sum(axis=(0, 1)) / ((k - 1) * (folds - 1)))


def spreads(C: Array) -> Array:
    """Return the standard deviations of outputs; the size of one that does not vary, or 1."""
    spread, size = C.std(axis=0), np.abs(C).max(axis=0)
    return np.where(spread > 1e-13 * size, spread, np.where(size > 0, size, 1.0))
