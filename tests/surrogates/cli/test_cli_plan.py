"""The command plan."""

from __future__ import annotations

import json

import numpy as np
import pytest
from commands import imported, refused, run

RBF = ("--set", "network.kind=rbf")


@pytest.fixture
def made(tmp_path):
    Y = np.random.default_rng(0).random((60, 2))
    C = 1 + np.abs(Y @ [[1.0, 0.5], [0.3, 1.0]] - 0.6)
    return imported(tmp_path, Y, C, "--split", "1/0/0")


def test_plan_prints_the_answer_the_curve_and_what_is_unknown(made, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the plots extra is not installed")
    assert run("plan", made, "--target", 0.01, *RBF, "--plot", tmp_path / "p.png") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("mean relative error 1 %: ")
    assert any(line.startswith("learning curve:   falls as n^-") for line in said)
    assert any("the file has no solver times" in line for line in said)
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_plan_prints_json(made, capsys):
    assert run("plan", made, "--target", 0.01, "--measure", "worst", "--json", *RBF) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["measure"] == "worst" and len(found["curve"]["errors"]) == 5


def test_a_surrogate_gives_the_level(made, tmp_path, capsys):
    assert run("train", made, "--out", tmp_path / "s.pt", *RBF) == 0
    assert run("plan", made, *RBF, "--surrogate", tmp_path / "s.pt") == 0
    assert "the curve passes through the surrogate's held-out error" in capsys.readouterr().out
    (tmp_path / "more").mkdir()
    other = imported(tmp_path / "more", np.random.default_rng(1).random((60, 2)), np.ones((60, 2)))
    error = refused(capsys, "plan", other, *RBF, "--surrogate", tmp_path / "s.pt")
    assert "trained on other samples" in error


def test_bad_targets_are_refused(made, capsys):
    assert "positive" in refused(capsys, "plan", made, "--target", "-1")
    assert "invalid" in refused(capsys, "plan", made, "--target", "much")
    assert "no file" in refused(capsys, "plan", made.with_name("none.h5"))
