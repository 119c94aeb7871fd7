r"""A batch chosen point after point, so that samples are denser where errors are larger.

Let the error at e be a(e) density(e)^-b. Of all densities of one number of samples, the mean over
the domain is least for density ~ a^(1 / (1 + b)), and the mean square for a^(2 / (1 + 2 b)): where
errors are ten times as large, samples are two or three times as dense. More would cost the rest of
the domain more than it brings. b is taken as 1.5, as errors of smooth functions of a few inputs
often fall.

With the expected square error t(e) and the covariance k that the samples have left, a is
sqrt(t / k(e, e)): k has the density of the samples in it. Points with the wanted density w make

    sum_e w(e) log k(e, e)

least, as the density that is least for sum_e -w log density is w itself. So each point is the one
that takes most off this sum, to first order (w = 1 and a sum of k instead of its logarithm: Cohn
1996, "Neural network exploration using optimal experiment design"),

    sum_e w(e) k(e, x)^2 / (k(e, e) (k(x, x) + noise))

Every `EXPLORING`-th point is chosen with w = 1: the sizes of errors are themselves learned from the
samples, and where none has seen a second peak, nothing but distance from samples leads to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from .posterior import Posterior, Rows

EXPLORING = 4
"""Every point of this number is chosen as if errors had one size everywhere."""

_RATE = 1.5  # b

_NOISE = 1e-3  # of the mean variance


class Left:
    """The covariance between points of evaluation and candidates, less what points have taken off.

    Attributes:
        own: Variance left at the candidates, (n,).
        at: Rows of the points of evaluation among the candidates, (n_e,).
        first: Variance at the points of evaluation before anything is taken, (n_e,).
        fixed: Variance that no sample takes off.
    """

    def __init__(self, posterior: Posterior, X: Array, at: Rows, most: int) -> None:
        """Evaluate it at candidates X, (n, n_in), of which at most ``most`` are taken."""
        self._points = posterior.points(X)
        self.at = at
        self.fixed = posterior.fixed
        self._between = self._points.covariance(at)
        self._room = np.empty_like(self._between)  # for intermediate numbers
        self.own = self._points.variance()
        # Less would be rounding, and no sample says everything about its place: the features, and
        # the kernel's lengths, are themselves estimates.
        self._noise = max(posterior.noise, _NOISE * float(self.own[at].mean()))
        self.own = np.maximum(self.own, _NOISE * self._noise)
        self.first = self.own[at]
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
        after: The same after it, by the error bars' own formula: of the variance, the part that is
            the same everywhere stays.
    """

    rows: Rows
    before: float
    after: float


def choose(
    left: Left, expected: Array, n: int, free: npt.NDArray[np.bool_], squares: bool
) -> Chosen:
    """Choose candidates.

    Args:
        left: The covariance that is left; the batch is taken off it.
        expected: The expected square error at points of evaluation with nothing taken, (n_e,).
        n: Number of points.
        free: Candidates that may be chosen, (n_candidates,); at least n.
        squares: Whether the error is a root mean square over the domain, and not a mean.
    """
    free, rows = free.copy(), []
    fixed = left.fixed / (left.fixed + left.first)

    def error() -> float:
        still = fixed + (1 - fixed) * left.own[left.at] / left.first
        t = expected * still
        return float(np.sqrt(t.mean()) if squares else np.sqrt(t).mean())

    before = error()
    power = 1 / (1 / 2 + _RATE) / 2 if squares else 1 / (1 + _RATE) / 2
    density = (expected / left.first) ** power
    even = np.full_like(density, density.mean())
    for i in range(n):
        weights = (even if i % EXPLORING == EXPLORING - 1 else density) / left.own[left.at]
        gains = np.where(free, left.gains(weights / weights.sum()), -1.0)
        row = int(gains.argmax())
        rows.append(row)
        free[row] = False
        left.take(row)
    return Chosen(rows=np.array(rows, np.int64), before=before, after=error())
