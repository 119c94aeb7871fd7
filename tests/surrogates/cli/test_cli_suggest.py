"""The command ``surrogates suggest``: what it writes, prints and refuses."""

from __future__ import annotations

import numpy as np
import pytest
from commands import run

import surrogates
from surrogates.data.points import read_points


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    Y = np.random.default_rng(0).random((40, 3))
    C = np.stack([1 + Y[:, 0] * Y[:, 1], np.exp(-Y[:, 2])], axis=1)
    out = tmp_path_factory.mktemp("suggest") / "made.pt"
    config = {"network.kind": "rbf", "network.kernel": "gaussian", "network.trend": 0}
    about = {"y_names": ("a", "b", "c"), "bounds": (np.zeros(3), np.ones(3)), "processes": 1}
    surrogates.fit(Y, C, config=config, out=out, **about)
    return out


@pytest.mark.parametrize("ending", ["csv", "npy", "h5"])
def test_it_writes_the_points_that_python_suggests(path, tmp_path, ending, capsys):
    out = tmp_path / f"next.{ending}"
    words = ["--samples", "5", "--seed", "3", "--candidates", "500"]
    assert run("suggest", path, "--out", out, *words) == 0
    found = read_points(out, ("a", "b", "c"))
    assert found.shape == (5, 3)
    again = surrogates.suggest(path, 5, seed=3, candidates=500)
    np.testing.assert_array_equal(found, again)
    printed = capsys.readouterr().out
    assert "5 points of 3 parameters, chosen of 500 candidates" in printed
    assert "relative error: expected" in printed


def test_bad_input_is_one_line(path, tmp_path, capsys):
    for words, said in (
        (["--samples", "0"], "at least 1; got 0"),
        (["--samples", "5", "--candidates", "0"], "at least one candidate"),
        (["--samples", "5", "--seed", "-1"], "seed"),
    ):
        assert run("suggest", path, "--out", tmp_path / "next.csv", *words) == 2
        complaint = capsys.readouterr().err
        assert complaint.count("\n") == 1 and said in complaint
    assert run("suggest", path, "--samples", "5", "--out", path) == 2
    assert run("suggest", path, "--samples", "5", "--out", tmp_path / "next.txt") == 2
    assert not list(tmp_path.iterdir())
