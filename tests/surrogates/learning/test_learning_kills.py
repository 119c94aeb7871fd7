"""A run that is killed again and again ends with the numbers of one that is not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import surrogates
from surrogates.data import Dataset

pytestmark = pytest.mark.slow

SECONDS = 240
PROBLEM = """
import time
import numpy as np
from surrogates.pde import Problem

class Decay(Problem):
    y_names, y_lower, y_upper = ("a", "b"), (1.0, 0.0), (2.0, 1.0)
    c_names = ("u1", "u2", "u3")

    def solve(self, y):
        time.sleep(0.05)
        return [2 + np.exp(-y[0] * t) * np.cos(y[1] * t) for t in (0.5, 1.0, 1.5)]
"""


def started(folder: Path, *words: str) -> subprocess.Popen:
    (folder / "decay.py").write_text(PROBLEM)
    command = [sys.executable, "-m", "surrogates", "learn", f"{folder / 'decay.py'}:Decay"]
    command += ["--target", "0.0005", "--effort", "fast", "--out", str(folder / "best.pt"), *words]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen, status: int) -> str:
    out, error = process.communicate(timeout=SECONDS)
    assert process.returncode == status, f"{out}\n{error}"
    assert "Traceback" not in error
    return out + error


def wait_for(folder: Path, name: str, process: subprocess.Popen) -> None:
    stop = time.monotonic() + SECONDS
    while not list(folder.glob(name)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < stop, f"no {name} after {SECONDS} s"
        time.sleep(0.005)


def decisions(folder: Path) -> list:
    return json.loads((folder / "best.pt.learn" / "state" / "decisions.json").read_text())


def check_same(folder: Path, other: Path) -> None:
    assert decisions(folder) == decisions(other)
    ours, theirs = (Dataset.read(one / "best.h5") for one in (folder, other))
    assert ours.digest == theirs.digest and np.array_equal(ours.C, theirs.C)
    Y = ours.Y[:50]
    found = (surrogates.load(one / "best.pt").predict(Y) for one in (folder, other))
    assert np.array_equal(*found)
    assert not list(other.glob("best.pt.learn/*.parts"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    ended(started(folder), 0)
    assert len(decisions(folder)) >= 4
    return folder


MOMENTS = (
    "best.pt.learn/state/settings.json",
    "best.pt.learn/000-first.h5.parts/*.shard",  # in the midst of solves
    "best.pt.learn/000-first.h5",  # before, or while it trains
    "best.pt.learn/000-surrogate.pt",
    "best.pt.learn/000-fresh-0.h5.parts/*.shard",
    "best.pt",  # before the next decision
    "best.pt.learn/001-*.h5",
)


@pytest.mark.thorough
def test_kills_at_many_moments_change_no_number(whole, tmp_path):
    for moment in MOMENTS:
        process = started(tmp_path)
        wait_for(tmp_path, moment, process)
        os.killpg(process.pid, signal.SIGKILL)  # solves are a session of their own, and go on
        process.communicate(timeout=SECONDS)
    ended(started(tmp_path), 0)
    check_same(whole, tmp_path)
    assert "finished before" in ended(started(tmp_path), 0)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_it_in_order(whole, tmp_path, kind):
    process = started(tmp_path)
    wait_for(tmp_path, "best.pt.learn/000-first.h5.parts/*.shard", process)
    process.send_signal(kind)
    said = ended(process, 130 if kind == signal.SIGINT else 75)
    assert "run the same command again" in said
    left = [path.name for path in (tmp_path / "best.pt.learn").glob("000-*")]
    assert left in (["000-first.h5.parts"], ["000-first.h5"])  # what was solved for
    process = started(tmp_path)
    wait_for(tmp_path, "best.pt.learn/000-first.h5", process)
    process.send_signal(kind)  # while it trains
    with contextlib.suppress(AssertionError):  # or its training has just ended
        ended(process, 130 if kind == signal.SIGINT else 75)
    ended(started(tmp_path), 0)
    check_same(whole, tmp_path)


def test_two_runs_at_once_are_refused(tmp_path):
    first = started(tmp_path)
    wait_for(tmp_path, "best.pt.learn/000-first.h5.parts", first)
    assert "another run" in ended(started(tmp_path), 2)
    first.send_signal(signal.SIGINT)
    ended(first, 130)
