"""Problems of one's own, in this process and as a file, and commands that must succeed."""

import os
import subprocess

from places import ROOT

from surrogates.pde import Problem

MPIRUN = ("mpirun", "--oversubscribe", "-n", "2")

OSCILLATOR = """
from dataclasses import dataclass
import numpy as np
from surrogates.pde import Problem, Settings

class Oscillator(Problem):
    y_names, y_units = ["stiffness", "damping"], ("N/m", "kg/s")
    y_lower, y_upper = (1.0, 0.0), np.array([4.0, 0.5])
    c_names, c_units = ("x1", "x2", "x3"), "m"
    coordinates = {"time": (1, 2, 3)}

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        mass: float = 1.0
        times: tuple[float, ...] = (1.0, 2.0, 3.0)

    def solve(self, y):
        decay = y[1] / (2 * self.config.mass)
        omega = np.sqrt(y[0] / self.config.mass - decay**2)
        return [np.exp(-decay * t) * np.cos(omega * t) for t in self.config.times]
"""


def run(*words: str, seconds: int = 120) -> str:
    apart = {**os.environ}  # without what MPI has set for this process
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=seconds, env=apart, cwd=ROOT
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


class Plain(Problem):
    y_names, y_lower, y_upper = ("a", "b"), 0.0, 2.0
    c_names = ("sum", "product")

    def solve(self, y):
        return y.sum(), y.prod()
