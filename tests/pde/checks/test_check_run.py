"""The command check, `surrogates.check`, and the test of derivatives that begins a run."""

import os
import subprocess
import sys

import numpy as np
import pytest
from mpi4py import MPI
from places import ROOT
from problems import MPIRUN

import surrogates
from surrogates.data import Dataset
from surrogates.errors import InputError

pytestmark = pytest.mark.fenicsx

DARCY = ROOT / "scripts" / "examples" / "darcy.py"
OWN = """
import os
from dataclasses import dataclass
import numpy as np
from surrogates.pde import Batch, Problem, Settings

class Right(Problem):
    y_names, y_lower, y_upper = ("a", "b"), 0.0, 2.0
    c_names = ("wave", "product")
    has_tangents = True

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        factor: float = 1.0

    def solve_batch(self, Y, *, tangents=False):
        a, b = Y.T
        J = np.array([[np.cos(a) * b, np.sin(a)], [b, a]]).transpose(2, 0, 1)
        C = np.column_stack([np.sin(a) * b, a * b])
        return Batch(C=C, dC_dY=self.config.factor * J if tangents else None)

class Process(Right):
    def solve_batch(self, Y, *, tangents=False):
        batch = super().solve_batch(Y, tangents=tangents)
        return Batch(C=batch.C * (1 + 1e-6 * os.getpid()), dC_dY=batch.dC_dY)

class Crash(Right):
    def solve_batch(self, Y, *, tangents=False):
        os._exit(3)

class Shape(Right):
    def solve_batch(self, Y, *, tangents=False):
        return Batch(C=np.zeros((len(Y), 3)))

class Plain(Problem):
    y_names, y_lower, y_upper = ("a", "b"), 0.0, 2.0
    c_names = ("wave", "product")

    def solve(self, y):
        return np.sin(y[0]) * y[1], y[0] * y[1]
"""
WRONG = ("--set", "factor=1.005")


@pytest.fixture
def own(write):
    return write(OWN)


def command(*words, launcher=(), seconds=280):
    """Run a command as users do; return its status, output and errors."""
    done = subprocess.run(
        [*launcher, sys.executable, "-m", "surrogates", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=ROOT,
        env={**os.environ},  # without what MPI has set for this process
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_prints_a_table_and_a_verdict(own):
    status, out, err = command("check", f"{own}:Right")
    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert lines[0] == "own.py:Right: 2 parameters, 2 observables, 4 samples"
    assert "the same bits again, in another order and in another process" in lines[2]
    assert lines[-1] == "verdict: all is well"
    status, out, _ = command("check", f"{own}:Right", *WRONG, "--samples", 2, "--seed", 3)
    assert status == 1 and out.splitlines()[-1] == "verdict: wrong: tangents"
    assert "2 samples" in out and "wrong by 0.5 %" in out


def test_another_process_and_a_crash_are_told(own):
    status, out, _ = command("check", f"{own}:Process")
    assert status == 1 and "when it is solved for in another process" in out
    status, out, err = command("check", f"{own}:Crash")
    assert status > 0 and out == ""
    assert err.startswith("error: ended before all was done: ") and err.endswith("status 3\n")


def test_a_problem_without_derivatives_is_checked(own, inside):
    out = inside("check", f"{own}:Plain", "--samples", 1)
    assert "tangents" not in out and out.endswith("verdict: all is well\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("own.py:Rigt",), "did you mean 'Right'"),
        (("own.py:Right", "--samples", "0"), "must be at least 1; got 0"),
        (("own.py:Right", "--set", "facto=1"), "did you mean 'factor'"),
        (("own.py:Right", "--ranks-per-sample", "2"), "must divide the 1 ranks; got 2"),
        (("dcr", "--set", "body.blend=0"), "with a sharp edge, c is not differentiable in y"),
    ],
)
def test_bad_input_is_one_line(own, inside, monkeypatch, words, says):
    monkeypatch.chdir(own.parent)
    error = inside("check", *words, expect=2)
    assert error.startswith("error: ") and error.count("\n") == 1 and says in error


def test_a_wrong_shape_is_the_failure_of_the_samples(own):
    report = surrogates.check(f"{own}:Shape", settings={"batch": 3})
    assert not report.ok and len(report.findings) == 1
    assert "4 of 4 samples failed: solve_batch must give C of shape (3, 2)" in str(report)


@pytest.mark.mpi
def test_a_mesh_of_two_processes_is_checked():
    words = ("check", f"{DARCY}:Darcy", "--samples", 2, "--ranks-per-sample", 2)
    status, out, _ = command(*words, launcher=MPIRUN)
    assert status == 0 and out.count("verdict: all is well") == 1
    assert "not in another process: not under mpirun" in out


def test_the_example_passes_in_another_process_too():
    report = surrogates.check(f"{DARCY}:Darcy", samples=2, seed=5)
    assert report.ok, report
    assert "another process" in report["repeatable"].text
    assert {"tangents", "adjoints"} < {one.name for one in report.findings}
    orders = [float(line.split()[2]) for line in report.table[-4:]]
    assert min(orders) > 1.8


def test_the_library_checks_classes_and_objects(own, path_kept):
    from surrogates.pde.loading import load

    found = load(f"{own}:Right")
    report = surrogates.check(found)
    assert report.ok and str(report) == repr(report)
    assert "not in another process: its code is in no file" in report["repeatable"].text
    wrong = found(found.Config(factor=1.005), MPI.COMM_SELF)
    assert surrogates.check(wrong)["tangents"].state == "wrong"
    assert surrogates.check(f"{own}:Right", settings={"factor": 2.0})["tangents"].state == "wrong"
    with pytest.raises(InputError, match="problem must be a name"):
        surrogates.check(3)


@pytest.mark.parametrize("words", [("--tangents",), ("--tangents", "1"), ("--adjoints", "1")])
def test_a_run_refuses_wrong_derivatives_unless_told_to(own, tmp_path, words):
    pilot = ("--pilot", tmp_path / "pilot.h5")
    out = tmp_path / "map.h5"
    make = ("generate", f"{own}:Right", "--samples", 8, "--out")
    if words[0] == "--adjoints":
        assert command(*make, pilot[1], *WRONG)[0] == 0  # without derivatives nothing is tested
        words += pilot
    assert command(*make, out, *words)[0] == 0
    assert np.isfinite(Dataset.read(out).C).all()
    out.unlink()
    status, _, error = command(*make, out, *words, *WRONG)
    assert status == 2 and error.count("\n") == 1
    assert error.startswith("error: own.py:Right: the derivative of") and "--unchecked" in error
    assert not list(tmp_path.glob("map.h5*"))
    assert command(*make, out, *words, *WRONG, "--unchecked")[0] == 0
    assert len(Dataset.read(out).Y) == 8


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_on_two_processes_refuses_them_too(own, tmp_path, ranks):
    words = ("generate", f"{own}:Right", "--samples", 8, "--tangents", *WRONG)
    words += ("--ranks-per-sample", ranks, "--out", tmp_path / "map.h5")
    status, _, error = command(*words, launcher=MPIRUN)
    assert status > 0 and error.count("error: ") == 1 and "wrong by 0.5 %" in error
    assert not list(tmp_path.glob("map.h5*"))


def test_the_library_refuses_wrong_derivatives(own, tmp_path):
    asked = {"samples": 8, "tangents": True, "settings": {"factor": 1.005}}
    with pytest.raises(InputError, match=r"wrong by 0\.5 %"):
        surrogates.generate(f"{own}:Right", out=tmp_path / "map.h5", **asked)
    assert not list(tmp_path.glob("map.h5*"))
    made = surrogates.generate(f"{own}:Right", unchecked=True, **asked)
    assert made.dC_dY.shape == (8, 2, 2)


def test_a_run_goes_on_after_a_test_that_ends_its_process(own, tmp_path):
    status, _, error = command(
        *("generate", f"{own}:Crash", "--tangents", "--samples", 1, "--out", tmp_path / "map.h5")
    )
    assert status == 1 and "1 of 1 samples failed" in error
    assert len(Dataset.read(tmp_path / "map.h5").Y) == 1
