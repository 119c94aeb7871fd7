"""A problem without cost, to measure the overhead of `surrogates generate`.

    surrogates generate scripts/synthetic.py:Synthetic --samples 10000 --out synthetic.h5

c(t; y) = sin(y1) + y2^2 t + exp(-y3) t^2 at equal steps of t in [0, 1]. There are as many steps as
DC resistivity has outputs. A whole batch is one product of matrices, which takes some microseconds
a sample. ``delay`` makes each sample take longer without using the core, like a solve on another
machine.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

from surrogates.config import check
from surrogates.data import SOLVER
from surrogates.pde import Batch, Problem, Settings
from surrogates.types import Array


class Synthetic(Problem):
    """A smooth map of R^3 to R^outputs, solved for a batch at a time."""

    y_names, y_lower, y_upper = ("y1", "y2", "y3"), -1.0, 1.0
    c_names = ("c",)  # `describe` has one for each output

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        """Settings.

        Attributes:
            outputs: Length of c.
            batch: Samples of a batch.
            delay: Seconds that a sample sleeps.
        """

        outputs: int = 882
        batch: int = 40
        delay: float = 0.0

        def __post_init__(self) -> None:
            """Check the ranges."""
            super().__post_init__()
            check(self.outputs >= 1, f"outputs must be at least 1; got {self.outputs}")
            check(0 <= self.delay <= 1e6, f"delay must be in [0, 1e6] s; got {self.delay:g}")

    def __init__(self, config: Config, comm: MPI.Comm) -> None:
        """Make the powers of t, (3, outputs)."""
        super().__init__(config, comm)
        self._powers = _times(config) ** np.arange(3)[:, None]

    @classmethod
    def describe(cls, config: Config) -> dict[str, Any]:
        """Name the requested outputs."""
        return {
            **super().describe(config),
            "c_names": tuple(f"c{i}" for i in range(1, config.outputs + 1)),
            "c_units": ("1",) * config.outputs,
            "coordinates": {"time": _times(config)},
        }

    def solve_batch(self, Y: Array, *, tangents: bool = False) -> Batch:
        """Evaluate c, (n, outputs); the residual is zero, as for an exact solve."""
        solver = np.zeros(len(Y), SOLVER)
        if self.config.delay:
            time.sleep(self.config.delay * len(Y))
            solver["seconds"] = self.config.delay
        y1, y2, y3 = Y.T
        C = np.stack([np.sin(y1), y2**2, np.exp(-y3)], axis=1) @ self._powers
        return Batch(C=C, failure=[""] * len(Y), solver=solver)


def _times(config: Synthetic.Config) -> Array:
    return np.linspace(0, 1, config.outputs)
