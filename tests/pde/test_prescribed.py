"""Points that the user gives: each is a sample, wherever it comes from; mistakes are one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from problems import OSCILLATOR
from runs import Run, run
from waiting import until

import surrogates
from surrogates import InputError
from surrogates.data import Dataset, Status, append
from surrogates.data.points import write_points
from surrogates.pde import Problem

pytestmark = pytest.mark.fenicsx

NAMES = ("a", "b")


class Wave(Problem):
    y_names, y_lower, y_upper = NAMES, 0.0, (1.0, 2.0)
    c_names = ("u", "v")

    def solve(self, y):
        if y[0] > 0.9:
            raise RuntimeError("no convergence")
        return np.sin(y)


def points(n: int = 8, most: float = 0.9) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, most, (n, 2))


def test_a_point_is_a_sample_wherever_it_comes_from(tmp_path):
    Y = points()
    expected = surrogates.generate(Wave, points=Y)
    assert np.array_equal(expected.Y, Y) and np.allclose(expected.C, np.sin(Y), rtol=1e-14)
    assert expected.info.design == "points" and expected.info.total == len(Y)
    write_points(tmp_path / "turned.csv", Y[:, ::-1], NAMES[::-1])
    write_points(tmp_path / "plain.npy", Y, NAMES)
    for source in (
        tmp_path / "turned.csv",
        str(tmp_path / "plain.npy"),
        {"b": Y[:, 1], "a": Y[:, 0]},
    ):
        found = surrogates.generate(Wave, points=source, samples=8)
        assert found.digest == expected.digest
        assert found.info.inputs == expected.info.inputs and "--points" in found.info.inputs


def test_a_dataset_is_solved_for_again_with_other_settings(tmp_path):
    (tmp_path / "own.py").write_text(OSCILLATOR)
    problem, out = f"{tmp_path / 'own.py'}:Oscillator", tmp_path / "coarse.h5"
    coarse = surrogates.generate(problem, samples=6, out=out)
    same = surrogates.generate(problem, points=out)
    assert same.digest == coarse.digest  # the split too: it is of the number and the seed
    heavy = surrogates.generate(problem, points=out, settings={"mass": 2.0})
    assert np.array_equal(heavy.Y, coarse.Y) and not np.allclose(heavy.C, coarse.C)


def test_other_points_are_another_dataset(tmp_path):
    out, Y = tmp_path / "wave.h5", points()
    surrogates.generate(Wave, points=Y, out=out)
    before = out.stat().st_mtime_ns
    surrogates.generate(Wave, points=Y, out=out)
    assert out.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="is another dataset: --points has SHA-256"):
        surrogates.generate(Wave, points=np.nextafter(Y, 1), out=out)
    with pytest.raises(InputError, match="design is points there and box here"):
        surrogates.generate(Wave, samples=8, out=out)


def test_points_outside_the_bounds_are_solved_for_and_noted(tmp_path, caplog):
    Y = np.array([[0.5, 2.5], [0.1, -1.0], [0.3, 1.0], [0.2, 2 + 1e-15]])
    out = tmp_path / "wave.h5"
    found = surrogates.generate(Wave, points=Y, out=out)
    (note,) = [text for text in found.info.notes if "points" in text]
    assert note.startswith("2 of 4 points lie outside the bounds") and "b: 2.5" in note
    assert note in caplog.text
    assert (found.status == Status.DONE).all() and found.problems() == []
    assert found.info.y_lower.tolist() == [0, -1] and found.info.y_upper.tolist() == [1, 2.5]
    assert found.Y[3, 1] == 2.0  # outside by rounding


def test_points_that_fail_are_marked(caplog):
    Y = np.vstack([points(), [[0.95, 0.1]]])
    found = surrogates.generate(Wave, points=Y)
    assert found.status.tolist() == [Status.DONE] * 8 + [Status.FAILED]
    assert np.array_equal(found.Y, Y) and np.isnan(found.C[8]).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones((3, 3)), r"points must be of shape \(n, 2\), as Wave has 2 parameters"),
        (np.ones(2), "points must be of shape"),
        (np.empty((0, 2)), "points must be of shape"),
        (np.array([[0.1, 0.2], [0.3, np.nan]]), "points, row 1: b is nan"),
        ({"a": [0.1], "c": [0.2]}, "points lacks 'b', has the unknown 'c'"),
        ("missing.csv", "missing.csv"),
        (Path("points.txt"), "cannot tell the format of .*points.txt"),
    ],
)
def test_points_that_are_none_are_refused(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        surrogates.generate(Wave, points=given)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_what_a_problem_cannot_solve_for_is_refused_before_the_first_solve():
    class Bounded(Wave):
        needs_bounds = True

    with pytest.raises(InputError, match="1 of 2 points lies outside .* Bounded solves only"):
        surrogates.generate(Bounded, points=np.array([[0.1, 0.2], [0.1, 3.0]]))
    for problem, y in (("dcr", [[1e3, 3000.0, 0.6]]), ("cdr", np.full((2, 55), 0.02))):
        with pytest.raises(InputError, match="outside the bounds|sum to one; those of point 0"):
            surrogates.generate(problem, points=np.array(y))
    with pytest.raises(InputError, match="there are 8 points.*leave --samples out; got 7"):
        surrogates.generate(Wave, points=points(), samples=7)


def test_points_and_a_design_are_joined_with_their_origin(tmp_path, inside):
    (tmp_path / "own.py").write_text(OSCILLATOR)
    problem = f"{tmp_path / 'own.py'}:Oscillator"
    drawn = surrogates.generate(problem, samples=30, seed=3, out=tmp_path / "drawn.h5")
    Y = np.array([[2.0, 0.1], [5.0, 0.2]])
    given = surrogates.generate(problem, points=Y, out=tmp_path / "given.h5")
    append([tmp_path / "drawn.h5", tmp_path / "given.h5"], tmp_path / "both.h5")
    both = Dataset.read(tmp_path / "both.h5")
    assert np.array_equal(both.Y, np.vstack([drawn.Y, given.Y])) and both.problems() == []
    assert both.info.config == drawn.info.config and both.info.source == drawn.info.source
    assert [note for note in both.info.notes if note.startswith("joined: ")] == [
        "joined: 30 samples of box, seed 3",
        f"joined: 2 samples of given points, SHA-256 {given.info.inputs['--points'][:12]}",
    ]
    said = inside("verify", tmp_path / "both.h5", "--problem", problem, "--recompute", 32)
    assert "c differs by 0.0e+00 at most" in said and "all is well" in said
    with pytest.raises(InputError, match="design is joined there and box here"):
        surrogates.generate(problem, samples=40, seed=3, out=tmp_path / "both.h5")
    trained = surrogates.train(both, {"stopping.work_units": 60}, effort="fast")
    assert trained.errors["test"].samples == both.size("test")


@pytest.mark.mpi
def test_mpirun_and_kills_change_nothing(site, tmp_path):
    Y = points(40, 1.0)
    write_points(tmp_path / "next.csv", Y, NAMES)
    words = ("generate", *site.problem, "--points", str(tmp_path / "next.csv"))
    out = ("--out", str(site.out))
    killed = Run(2, *words, *out, more={"PACE": "0.1"})
    until(lambda: site.saved() > 1000, killed.process)
    killed.kill()
    assert not site.out.exists()
    run(2, *words, *out)
    for i in (1, 2):
        run(1, *words, "--shard", f"{i}/2", "--out", str(tmp_path / f"{i}.h5"))
    run(
        1,
        "merge",
        *(str(tmp_path / f"{i}.h5") for i in (2, 1)),
        "--out",
        str(tmp_path / "alone.h5"),
    )
    one, two = Dataset.read(site.out), Dataset.read(tmp_path / "alone.h5")
    assert one.digest == two.digest and np.array_equal(one.Y, Y)
    said = run(1, "verify", str(site.out), "--problem", *site.problem).stdout
    assert "c differs by 0.0e+00 at most" in said
    found = surrogates.generate(site.problem[0], points=Y, processes=2)
    assert found.digest == one.digest
