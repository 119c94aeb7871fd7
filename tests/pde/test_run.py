"""`surrogates.generate`: in this process, by mpirun, and what a notebook's class can and cannot."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import scipy

import surrogates
from surrogates import InputError
from surrogates.data import Dataset, Status
from surrogates.pde import Problem, Settings

pytestmark = pytest.mark.fenicsx


class Wave(Problem):
    """A problem of a few lines, some of whose solves fail."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        power: int = 1

    y_names, y_lower, y_upper = ("a", "b"), 0.0, (1.0, 2.0)
    c_names, c_units = ("u", "v"), "m"

    def solve(self, y):
        if y[0] > 0.9:
            raise RuntimeError("no convergence")
        return np.sin(y) ** self.config.power


HEADER = """
import numpy as np
from dataclasses import dataclass
from surrogates.pde import Problem, Settings
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "wave.py"
    path.write_text(HEADER + inspect.getsource(Wave))
    return path


def same(one: Dataset, other: Dataset) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name == "C")
        for name in ("Y", "C", "status", "split")
    )


def test_a_class_an_object_and_a_file_give_the_same_samples(file, tmp_path, caplog):
    from mpi4py import MPI

    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
    before = [signal.getsignal(kind) for kind in kinds]
    told = []
    asked = {"samples": 30, "seed": 1, "progress": lambda *one: told.append(one)}
    by_class = surrogates.generate(Wave, settings={"power": 2}, **asked)
    by_object = surrogates.generate(Wave(Wave.Config(power=2), MPI.COMM_SELF), **asked)
    by_file = surrogates.generate(
        f"{file}:Wave", settings={"power": 2}, out=tmp_path / "wave.h5", **asked
    )
    assert [signal.getsignal(kind) for kind in kinds] == before
    assert same(by_class, by_object) and same(by_class, by_file)
    assert same(by_file, Dataset.read(tmp_path / "wave.h5"))
    done = by_class.status == Status.DONE
    assert np.array_equal(done, by_class.Y[:, 0] <= 0.9) and 0 < done.sum() < 30
    assert np.allclose(by_class.C[done], np.sin(by_class.Y[done]) ** 2, rtol=1e-14)
    assert told[-1][:2] == (30, 30)
    assert "samples failed; the first: RuntimeError: no convergence" in caplog.text
    (note,) = by_class.info.notes
    assert "was defined in no file" in note and not by_class.info.source
    assert by_file.info.source and not by_file.info.notes


def test_the_same_call_finishes_what_was_begun(tmp_path):
    class Stopped(Wave):
        solved = 0

        def solve(self, y):
            Stopped.solved += 1
            if Stopped.solved == 12:
                raise KeyboardInterrupt
            return super().solve(y)

    out = tmp_path / "wave.h5"
    with pytest.raises(KeyboardInterrupt):
        surrogates.generate(Stopped, samples=20, out=out)
    assert not out.exists() and (tmp_path / "wave.h5.parts").is_dir()
    whole = surrogates.generate(Stopped, samples=20, out=out)
    assert Stopped.solved < 32 and sorted(os.listdir(tmp_path)) == ["wave.h5"]
    assert same(whole, surrogates.generate(Wave, samples=20))
    with pytest.raises(InputError, match="is another dataset: seed is 0 there and 1 here"):
        surrogates.generate(Stopped, samples=20, out=out, seed=1)


@pytest.mark.fenicsx
def test_numpy_and_scipy_are_recorded_whatever_is_imported_yet():
    code = """
import surrogates
small = {"mesh.cells": (4, 4), "mesh.degree": 2, "time.steps": 15}
found = surrogates.generate("cdr", samples=3, settings=small).info.versions
print(found["numpy"], found["scipy"])
"""
    words = [sys.executable, "-c", code]
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=200).stdout
    assert said.split() == [np.__version__, scipy.__version__]


def test_a_dataset_becomes_a_surrogate_without_a_file():
    dataset = surrogates.generate(Wave, samples=40)
    found = surrogates.train(dataset, {"stopping.work_units": 60}, effort="fast")
    assert found.metadata["c_units"] == ["m", "m"] and found.errors["validation"].samples > 0


@pytest.mark.mpi
def test_mpirun_solves_for_the_same_samples(file, tmp_path, caplog):
    told = []
    asked = {"samples": 30, "config": Wave.Config(power=2), "seed": 1}
    alone = surrogates.generate(Wave, **asked)
    asked = {"samples": 30, "settings": {"power": 2}, "seed": 1}
    out = tmp_path / "wave.h5"
    found = surrogates.generate(
        f"{file}:Wave", processes=2, out=out, progress=lambda *one: told.append(one), **asked
    )
    assert same(alone, found)
    assert "samples failed; the first: RuntimeError: no convergence" in caplog.text
    with pytest.raises(InputError, match="is another dataset: power is 2 there and 3 here"):
        surrogates.generate(
            f"{file}:Wave", processes=2, out=out, samples=30, seed=1, settings={"power": 3}
        )


def test_without_mpirun_there_is_one_clear_line(file, monkeypatch):
    monkeypatch.setenv("PATH", str(file.parent))
    with pytest.raises(InputError, match="there is no mpirun or mpiexec to start 2 processes"):
        surrogates.generate(f"{file}:Wave", processes=2)


class Empty(Problem):
    """Solves nothing."""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"problem": "heat"}, "unknown problem 'heat'"),
        ({"problem": 3}, "problem must be a name, or a class or an object"),
        ({"problem": Empty}, "Empty has no method solve"),
        ({"problem": Wave(Wave.Config(), None)}, "the Wave has no communicator"),
        ({"processes": 2}, "mpirun's processes cannot know a class"),
        ({"processes": 0}, "processes must be at least 1"),
        ({"settings": {"pover": 2}}, "unknown configuration key 'pover'; did you mean 'power'"),
        ({"config": 3}, "config must be a TOML file, or a Wave Config"),
        ({"samples": 0}, "the number of samples must be at least 1"),
        ({"tangents": True}, "has no tangents"),
    ],
)
def test_a_mistake_is_one_clear_line(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        surrogates.generate(**{"problem": Wave, "samples": 4, **given})
    assert "\n" not in str(caught.value) and not os.listdir(tmp_path)
