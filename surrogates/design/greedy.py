r"""A batch chosen point after point, each by what it takes off the expected error.

Let t(e) be the expected square error at e, and k the covariance that the samples and the points so
far have left. A point x takes the share k(e, x)^2 / (k(e, e) (k(x, x) + noise)) off t(e), and so,
to first order,

    sum_e sqrt(t(e)) / 2  k(e, x)^2 / (k(e, e) (k(x, x) + noise))

off the sum of the errors sqrt(t) over the domain. (For t = k(e, e) and a sum of squares: Cohn 1996,
"Neural network exploration using optimal experiment design".) The root is of the measure: a mean
of errors, and not of their squares, weighs a few large errors less.

Every `EXPLORING`-th point is chosen with t = k(e, e): the sizes of errors are themselves learned
from the samples, and where none has seen a second peak, nothing but distance from samples leads to
it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from .posterior import Posterior, Rows

EXPLORING = 4
"""Every point of this number is chosen as if errors had one size everywhere."""

_NOISE = 1e-3  # of the mean variance


class Left:
    """The covariance between points of evaluation and candidates, less what points have taken off.

    Attributes:
        own: Variance left at the candidates, (n,).
        at: Rows of the points of evaluation among the candidates, (n_e,).
    """

    def __init__(self, posterior: Posterior, X: Array, at: Rows, most: int) -> None:
        """Evaluate it at candidates X, (n, n_in), of which at most ``most`` are taken."""
        self._points = posterior.points(X)
        self.at = at
        self._between = self._points.covariance(at)
        self._room = np.empty_like(self._between)  # for intermediate numbers
        self.own = self._points.variance()
        # Less would be rounding, and no sample says everything about its place: the features, and
        # the kernel's lengths, are themselves estimates.
        self._noise = max(posterior.noise, _NOISE * float(self.own[at].mean()))
        self.own = np.maximum(self.own, _NOISE * self._noise)
        self._taken, self._number = np.empty((most, len(X))), 0

    def take(self, row: int) -> None:
        """Take off what a sample at a candidate takes off."""
        before = self._taken[: self._number]
        one = self._points.covariance(np.array([row]))[0] - before[:, row] @ before
        one /= np.sqrt(self.own[row] + self._noise)
        bound = np.sqrt(self.own)  # by Cauchy and Schwarz; but for rounding, it changes nothing
        one = np.clip(one, -bound, bound)
        self._taken[self._number] = one
        self._number += 1
        np.multiply.outer(one[self.at], one, out=self._room)
        self._between -= self._room
        self.own = np.maximum(self.own - one * one, _NOISE * self._noise)

    def gains(self, weights: Array) -> Array:
        """Return what each candidate takes off a weighted sum of the variances, (n,)."""
        np.multiply(self._between, self._between, out=self._room)
        return np.asarray(weights @ self._room / (self.own + self._noise))


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A batch.

    Attributes:
        rows: Rows of its points among the candidates, in the order in which they were chosen.
        before: Mean expected error before the batch.
        after: The same after it.
    """

    rows: Rows
    before: float
    after: float


def choose(left: Left, sizes: Array, n: int, free: npt.NDArray[np.bool_]) -> Chosen:
    """Choose candidates.

    Args:
        left: The covariance that is left; the batch is taken off it.
        sizes: The expected square error over the variance at points of evaluation, (n_e,).
        n: Number of points.
        free: Candidates that may be chosen, (n_candidates,); at least n.
    """
    free, rows = free.copy(), []

    def errors() -> Array:
        return np.asarray(np.sqrt(sizes * left.own[left.at]))

    before = float(errors().mean())
    for i in range(n):
        own = left.own[left.at]
        t = own if i % EXPLORING == EXPLORING - 1 else sizes * own
        weights = np.sqrt(t) / own
        gains = np.where(free, left.gains(weights / weights.sum()), -1.0)
        row = int(gains.argmax())
        rows.append(row)
        free[row] = False
        left.take(row)
    return Chosen(rows=np.array(rows, np.int64), before=before, after=float(errors().mean()))
