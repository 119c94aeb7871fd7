r"""How large errors are at y: the logarithm of their size as a quadratic polynomial.

    log h(x) = (1, x)^T M (1, x)

is fitted to the logarithms of the sizes of held-out errors (Davidian and Carroll 1987, "Variance
function estimation"): errors of smooth functions differ by orders of magnitude over a domain, more
than the shape of a kriging variance says, and mostly in one direction. Ridge regression on the
standardised monomials; its weight has the least error at left-out samples (Allen 1974, "The
relationship between variable selection and data augmentation and a method for prediction"). Where
no weight is better than a constant, h = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surrogates.types import Array

_FEWEST = 12  # samples
_QUADRATIC = 60  # largest number of inputs with products
_RIDGES = np.logspace(-3, 3, 25)  # weights over the number of samples
_BEYOND = 0.5  # of the range of log h at samples, by which it may be larger elsewhere


@dataclass(frozen=True, kw_only=True, eq=False)
class Dispersion:
    """A fitted log h.

    Attributes:
        matrix: M, symmetric, (n_in + 1, n_in + 1).
        ends: Bounds of log h, (2,).
        left_out: log h at each sample, from all others, (n,).
    """

    matrix: Array
    ends: Array
    left_out: Array


def none(n: int, n_in: int) -> Dispersion:
    """Return h = 1 for n samples."""
    return Dispersion(matrix=np.zeros((n_in + 1,) * 2), ends=np.zeros(2), left_out=np.zeros(n))


def fit(x: Array, logs: Array) -> Dispersion:
    """Fit log h, with the mean 0 over the samples.

    Args:
        x: Places of the samples, (n, n_in), of about unit size.
        logs: Logarithms of the size of their errors, (n,).
    """
    n, n_in = x.shape
    if n < _FEWEST:
        return none(n, n_in)
    i, j = np.triu_indices(n_in if n_in <= _QUADRATIC else 0)
    monomials = np.concatenate([x, x[:, i] * x[:, j]], axis=1)
    mean, deviation = monomials.mean(axis=0), monomials.std(axis=0)
    deviation = np.where(deviation > 1e-12, deviation, np.inf)
    apart = logs - logs.mean()
    U, s, Vt = np.linalg.svd((monomials - mean) / deviation, full_matrices=False)
    coordinates = U.T @ apart
    best, least = None, float(np.mean((apart * n / (n - 1)) ** 2))
    for ridge in _RIDGES * n:
        kept = s * s / (s * s + ridge)
        leverage = (U * U) @ kept + 1 / n
        errors = (apart - U @ (kept * coordinates)) / np.maximum(1 - leverage, 1e-9)
        if (error := float(np.mean(errors**2))) < least:
            least, best = error, (ridge, errors)
    if best is None:
        return none(n, n_in)
    ridge, errors = best
    b = Vt.T @ (s / (s * s + ridge) * coordinates) / deviation
    matrix = np.zeros((n_in + 1, n_in + 1))
    matrix[0, 0] = -mean @ b
    matrix[0, 1:] = b[:n_in]
    matrix[i + 1, j + 1] = b[n_in:]
    matrix = (matrix + matrix.T) / 2
    fitted = (monomials - mean) @ b
    lower, upper = float(fitted.min()), float(fitted.max())
    ends = np.array([lower, upper + _BEYOND * (upper - lower)])
    return Dispersion(matrix=matrix, ends=ends, left_out=np.clip(apart - errors, *ends))
