"""The parameters at which a problem is checked, and its solves there."""

from __future__ import annotations

from typing import Any

import numpy as np

from surrogates.config import check, check_seed
from surrogates.types import Array

from ..problem import Problem
from ..results import Batch
from ..solving import comm_of, described, solved

AGREEMENT = 1e-10
"""Largest relative difference of numbers that should be the same but for rounding."""


class Trial:
    """Random parameters of a problem, lines and a curve within its bounds, and solves.

    Attributes:
        problem: The problem.
        about: Its description.
        rng: Draws what the checks need.
        Y: Parameters, (n, n_y): samples of a design with the seed.
        D: Differences, (n, n_y): the lines Y + h D are within the bounds for h in [0, 1]. Samples
            on the simplex leave it along them, as dc/dy has all directions.
        lower: Lower bounds, (n_y,); of the simplex, those of most samples.
        range: Their distance to the upper bounds, (n_y,).
    """

    def __init__(self, problem: Problem, samples: int, seed: int) -> None:
        """Draw the parameters.

        Raises:
            InputError: If an argument is out of range.
        """
        check(samples >= 1, f"the number of samples must be at least 1; got {samples}")
        check_seed(seed)
        config = problem.config
        self.problem = problem
        self.about = described(problem.describe, config)
        self.rng = np.random.default_rng([seed, 1])
        self.size = problem.batch(config)
        rows = {"total": samples, "start": 0, "stop": samples}
        self.Y = problem.parameters(config, seed=seed, **rows)
        self._simplex = problem.design(config) == "simplex"
        lower, upper = (np.asarray(self.about[f"y_{side}"], float) for side in ("lower", "upper"))
        if self._simplex:
            upper = np.full_like(upper, 2 / len(upper))
        self.lower, self.range = lower, upper - lower
        self.D = lower + self.range * self.rng.random(self.Y.shape) - self.Y

    def solve(self, Y: Array, **asked: Any) -> Batch:
        """Solve, in batches of the problem's size; the result is whole on every process."""
        batch = solved(self.problem, Y, size=self.size, **asked)
        comm = comm_of(self.problem)
        return batch if comm.size == 1 else comm.bcast(batch)

    def values(self, Y: Array) -> Array:
        """Solve for c alone, (n, n_c); NaN where a solve fails."""
        return self.solve(Y).C

    def curve(self, phases: Array, t: Array) -> Array:
        """Return y (k, n_y) on a closed curve that takes each y from bound to bound.

        Args:
            phases: Phase of each y, (n_y,), between 0 and 1.
            t: Places, (k,); the period is 1.
        """
        waves = 0.5 + 0.5 * np.sin(2 * np.pi * (t[:, None] + phases))
        Y = self.lower + self.range * waves
        return np.asarray(Y / Y.sum(axis=1, keepdims=True) if self._simplex else Y)


def difference(A: Array, B: Array) -> float:
    """Return the largest relative difference of two arrays of samples, (n, ...), by their norms."""
    A, B = (X.reshape(len(X), -1) for X in (A, B))
    size = np.maximum(np.linalg.norm(A, axis=1), np.linalg.norm(B, axis=1))
    apart = np.linalg.norm(A - B, axis=1) / np.where(size > 0, size, 1)
    return float(np.max(np.where(np.isfinite(apart), apart, np.inf), initial=0.0))


def inverse(scales: Array) -> Array:
    """Return 1 / scales, and 0 for scales of 0."""
    return np.divide(1.0, scales, out=np.zeros_like(scales), where=scales > 0)
