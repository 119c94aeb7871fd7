"""Solves by several processes, with derivatives, of a built-in problem."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import surrogates
from surrogates.data import Dataset

pytestmark = [pytest.mark.fenicsx, pytest.mark.mpi, pytest.mark.slow]

SMALL = ("mesh.cells=[4,4]", "mesh.degree=2", "time.steps=15", "bumps.lattice=[2,2]")
SETTINGS = [word for setting in SMALL for word in ("--set", setting)]


def test_two_processes_solve_with_derivatives(tmp_path):
    out = tmp_path / "cdr.pt"
    words = ["learn", "cdr", "--target", "0.05", "--budget", "40", "--first", "12", *SETTINGS]
    words += ["--effort", "fast", "--train", "stopping.work_units=60", "--tangents", "2"]
    words += ["--processes", "2", "--launcher", "mpirun --oversubscribe", "--out", str(out)]
    command = [sys.executable, "-m", "surrogates", *words]
    # Python's copy of the environment lacks what MPI in this process has added, which would keep
    # mpirun from starting.
    environment = dict(os.environ)
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr
    data = Dataset.read(out.with_suffix(".h5"))
    assert data.info.directions == 2 and np.isfinite(data.dC_dV).all()
    first = surrogates.generate(
        "cdr",
        samples=12,
        tangents=2,
        settings={
            "mesh.cells": [4, 4],
            "mesh.degree": 2,
            "time.steps": 15,
            "bumps.lattice": [2, 2],
        },
    )
    assert np.array_equal(data.Y[:12], first.Y)  # those of generate with the same seed
    assert np.allclose(data.C[:12], first.C, rtol=1e-9)
    found = surrogates.load(out)
    assert found.metadata["training"]["derivatives"]["directions"] == 2
    assert found.metadata["learned"]["met"] is True


def test_a_launcher_that_is_missing_is_one_line(tmp_path):
    words = ["learn", "cdr", "--target", "0.05", *SETTINGS, "--launcher", "nosuchrun -x"]
    command = [sys.executable, "-m", "surrogates", *words, "--out", str(tmp_path / "a.pt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "there is no nosuchrun to start 1 processes" in done.stderr
