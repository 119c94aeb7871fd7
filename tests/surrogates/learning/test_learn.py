"""The loop on a small analytic problem: its files, what it says, and how it goes on."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from commands import refused, run

import surrogates
from surrogates.data import Dataset, Split, Status
from surrogates.pde import Problem

PROBLEM = """
import numpy as np
from surrogates.pde import Problem

class Decay(Problem):
    y_names, y_lower, y_upper = ("a", "b"), (1.0, 0.0), (2.0, 1.0)
    c_names = ("u1", "u2", "u3")

    def solve(self, y):
        return [2 + np.exp(-y[0] * t) * np.cos(y[1] * t) for t in (0.5, 1.0, 1.5)]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the problem, and a finished run."""
    folder = tmp_path_factory.mktemp("learn")
    (folder / "decay.py").write_text(PROBLEM)
    words = ("learn", f"{folder / 'decay.py'}:Decay", "--target", "0.003", "--effort", "fast")
    command = [sys.executable, "-m", "surrogates", *words, "--out", str(folder / "best.pt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stdout)
    return folder


def again(folder, *words):
    problem = f"{folder / 'decay.py'}:Decay"
    return ("learn", problem, "--effort", "fast", "--out", folder / "best.pt", *words)


def test_it_leaves_surrogate_and_samples_of_the_stated_error(folder):
    found = surrogates.load(folder / "best.pt")
    data = Dataset.read(folder / "best.h5")
    test = data.split == Split.TEST
    error = found.evaluate(data).relative.mean
    said = (folder / "said.txt").read_text()
    assert found.errors["test"].relative.mean == pytest.approx(error, rel=1e-9)
    learned = found.metadata["learned"]
    assert learned["met"] is True and learned["error"] == pytest.approx(error, rel=1e-9)
    assert learned["lower"] < error < learned["upper"] < learned["target"] == 0.003
    assert f"error {100 * error:.3g} %" in said and "target 0.3 %: met" in said
    assert int(test.sum()) >= 10 and test[-1] and not test[0]
    assert found.metadata["training"]["samples"] <= (~test).sum()
    truth = np.random.default_rng(3).uniform((1, 0), (2, 1), (1000, 2))
    t = np.array([0.5, 1.0, 1.5])
    C = 2 + np.exp(-truth[:, :1] * t) * np.cos(truth[:, 1:] * t)
    new = np.linalg.norm(found.predict(truth) - C, axis=1) / np.linalg.norm(C, axis=1)
    assert new.mean() < 0.003


def test_info_says_what_was_certified(folder, capsys):
    assert run("info", folder / "best.pt") == 0
    assert "target 0.3 % met" in capsys.readouterr().out


def test_designed_samples_are_marked(folder):
    data = Dataset.read(folder / "best.h5")
    files = sorted((folder / "best.pt.learn").glob("*-designed.h5"))
    notes = " ".join(data.info.notes)
    if files:
        Y = Dataset.read(files[0]).Y
        start = int(np.flatnonzero((data.Y == Y[0]).all(axis=1))[0])
        assert f"samples {start}-{start + len(Y) - 1}" in notes and "were designed" in notes
    else:
        assert "all samples are random" in notes


def test_the_page_is_whole_and_says_what_was_certified(folder):
    text = (folder / "best.html").read_text()
    assert text.startswith("<!DOCTYPE html>") and text.rstrip().endswith("</html>")
    assert "is below the target, 0.3 %, with 90 % confidence" in text
    assert text.count("<svg") == 1 and "<script" not in text and "http://" not in _links(text)
    for word in ("surrogates evaluate best.pt best.h5", "batch = 1", "core-seconds of solves"):
        assert word in text


def _links(text: str) -> str:
    """Addresses that a browser would fetch."""
    return " ".join(re.findall(r'(?:src|href)="([^"#]*)"', text))


def test_a_finished_run_says_so_and_changes_nothing(folder, capsys):
    before = {path: path.read_bytes() for path in folder.glob("best.*") if path.is_file()}
    assert run(*again(folder, "--target", "0.003")) == 0
    assert "finished before" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in folder.glob("best.*") if path.is_file()}


def test_other_settings_are_refused(folder, capsys):
    error = refused(capsys, *again(folder, "--target", "0.003", "--seed", "5"))
    assert "seed is '0' there and '5' here" in error
    error = refused(capsys, *again(folder, "--target", "0.003", "--set", "batch=3"))
    assert "other settings: batch" in error
    error = refused(capsys, *again(folder, "--target", "0.003", "--measure", "worst"))
    assert "measure is 'relative' there and 'worst' here" in error


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--target", "0"), "must be a positive error"),
        (("--target", "0.1", "--budget", "soon"), "cannot read the budget"),
        (("--target", "0.1", "--budget", "5"), "at least 12 solves"),
        (("--target", "0.1", "--processes", "0"), "processes must be at least 1"),
        (("--target", "0.1", "--first", "1"), "at least 3 samples"),
    ],
)
def test_wrong_arguments_are_one_line(tmp_path, capsys, words, says):
    (tmp_path / "decay.py").write_text(PROBLEM)
    problem = f"{tmp_path / 'decay.py'}:Decay"
    assert says in refused(capsys, "learn", problem, "--out", tmp_path / "a.pt", *words)
    assert not (tmp_path / "a.pt.learn").exists()


def test_a_budget_that_is_too_small_leaves_the_best_and_status_1(tmp_path, capsys):
    (tmp_path / "decay.py").write_text(PROBLEM)
    problem = f"{tmp_path / 'decay.py'}:Decay"
    words = ("learn", problem, "--out", tmp_path / "a.pt", "--effort", "fast", "--first", "12")
    assert run(*words, "--target", "1e-9", "--budget", "30") == 1
    said = capsys.readouterr()
    assert "is not met within the budget, 30 solves" in said.err
    assert len(Dataset.read(tmp_path / "a.h5").Y) <= 30
    assert surrogates.load(tmp_path / "a.pt").metadata["learned"]["met"] is False
    assert run(*words, "--target", "0.5", "--budget", "60") == 0  # another target goes on
    assert "target 50 %: met" in capsys.readouterr().out
    assert surrogates.load(tmp_path / "a.pt").metadata["learned"]["target"] == 0.5


class Fragile(Problem):
    """A problem whose solves fail in a part of its box."""

    y_names, y_lower, y_upper = ("a", "b"), (1.0, 0.0), (2.0, 1.0)
    c_names = ("u1", "u2")

    def solve(self, y):
        if y[0] > 1.7:
            raise ValueError("no convergence")
        return [2 + np.exp(-y[0] * t) * np.cos(y[1] * t) for t in (0.5, 1.0)]


@pytest.mark.filterwarnings("ignore")  # a class that is in no file
def test_a_notebook_class_whose_solves_fail_often(tmp_path):
    looks = []
    found = surrogates.learn(
        Fragile,
        target=0.01,
        out=tmp_path / "a.pt",
        effort="fast",
        measure="worst",
        budget="150,1h",
        on_look=lambda look, needed: looks.append(look),
    )
    assert found.metadata["learned"]["measure"] == "worst"
    assert sum(look.estimate.failed for look in looks) > 0
    data = Dataset.read(tmp_path / "a.h5")
    assert looks[-1].solves == len(data.Y) and (data.Y[data.status == Status.FAILED, 0] > 1.7).all()
    designed = sorted((tmp_path / "a.pt.learn").glob("*-designed.h5"))
    if designed:  # no more is asked for in the midst of failures
        assert (Dataset.read(designed[-1]).Y[:, 0] > 1.8).mean() < 0.2


def test_files_of_something_else_are_left_alone(tmp_path, capsys):
    (tmp_path / "decay.py").write_text(PROBLEM)
    (tmp_path / "a.h5").write_text("precious")
    problem = f"{tmp_path / 'decay.py'}:Decay"
    error = refused(capsys, "learn", problem, "--target", "0.1", "--out", tmp_path / "a.pt")
    assert "a.h5 is there" in error and (tmp_path / "a.h5").read_text() == "precious"


def test_under_mpirun_it_says_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    error = refused(capsys, "learn", "cdr", "--target", "0.1", "--out", tmp_path / "a.pt")
    assert "--processes 4" in error


def test_importing_the_room_imports_neither_torch_nor_mpi():
    code = (
        "import sys, surrogates.learning.loop, surrogates.learning.learn\n"
        "assert not {'torch', 'dolfinx', 'mpi4py', 'scipy'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
