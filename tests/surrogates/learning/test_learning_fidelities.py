"""Two fidelities in the loop: what coarse solves are worth, the division, and a whole run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from commands import refused, run
from scipy.optimize import minimize_scalar

import surrogates
from surrogates.data import Dataset, Split
from surrogates.data.from_arrays import from_arrays
from surrogates.errors import InputError
from surrogates.learning.fidelities import PILOT, Shares, compared

PROBLEM = """
from dataclasses import dataclass
from surrogates.pde import Problem, Settings

class Decay(Problem):
    "u' = -a u - b u^2, u(0) = 1, by the midpoint rule."
    y_names, y_lower, y_upper = ("a", "b"), (1.0, 0.0), (2.0, 1.0)
    c_names = ("u1", "u2", "u3")

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        steps: int = 6000
        wrong: bool = False

    def solve(self, y):
        n, (a, b), u, found = self.config.steps, y, 1.0, []
        h = 1.5 / n
        for i in range(n):
            v = u - h / 2 * (a * u + b * u * u)
            u = u - h * (a * v + b * v * v)
            if (i + 1) % (n // 3) == 0:
                found.append(1 + u)
        return [1 + 1e6 * abs((1e4 * y[0]) % 1)] * 3 if self.config.wrong else found
"""


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    path = tmp_path_factory.mktemp("two") / "decay.py"
    path.write_text(PROBLEM)
    return f"{path}:Decay"


@pytest.mark.parametrize(("cost", "unexplained"), [(0.15, 1e-5), (0.3, 0.02), (0.02, 0.2)])
def test_ratio_and_cost_are_those_of_the_least_cost(cost, unexplained):
    shares = Shares(cost=cost, unexplained=unexplained)

    def spent(log_ratio, error=1e-4):
        r = np.exp(log_ratio)
        fine = (((1 - unexplained) * r**-2 + unexplained) / error) ** 0.5
        return fine * (1 + cost * r)

    found = minimize_scalar(spent, bounds=(-5, 15), method="bounded", options={"xatol": 1e-9})
    assert shares.ratio == pytest.approx(np.exp(found.x), rel=1e-5)
    assert shares.relative_cost == pytest.approx(found.fun / 100, rel=1e-9)  # alone: n^-2 = 1e-4
    assert shares.worth


def test_solves_that_explain_nothing_or_cost_the_same_do_not_pay():
    assert not Shares(cost=0.1, unexplained=1.0).worth
    assert not Shares(cost=1.0, unexplained=1e-3).worth


def test_a_division_spends_what_is_given_and_nears_the_ratio():
    shares = Shares(cost=0.2, unexplained=0.01)
    for spent, coarse, fine in ((50.0, 100, 12), (50.0, 10, 30), (3.0, 500, 12), (200.0, 40, 40)):
        more, new = shares.divided(spent, coarse, fine)
        assert 0 <= new <= more
        assert spent - 1.5 <= 0.2 * more + new <= spent
        before = abs(np.log(coarse / fine / shares.ratio))
        after = abs(np.log((coarse + more) / (fine + new) / shares.ratio))
        assert after <= before


def samples(Y, C, seconds):
    found = from_arrays(Y, C, seed=0)
    solver = found.solver.copy()
    solver["seconds"] = seconds
    return dataclasses.replace(found, solver=solver)


def test_fidelities_are_compared_by_left_out_samples_at_the_same_parameters():
    rng = np.random.default_rng(0)
    Y = rng.uniform(size=(40, 2))
    T = np.stack([np.sin(3 * Y[:, 0]), Y[:, 0] * Y[:, 1], np.full(40, 2.0)], axis=1)
    G = 0.7 * T + 0.1 + 0.05 * rng.normal(size=T.shape)
    order = rng.permutation(40)
    fine, coarse = samples(Y[:15], T[:15], 3.0), samples(Y[order], G[order], 0.6)
    found = compared(fine, coarse)
    assert found.cost == pytest.approx(0.2)
    shares = []
    for j in range(2):  # the third output is constant
        left = []
        for i in range(15):
            others = np.arange(15) != i
            b, a = np.polyfit(G[:15, j][others], T[:15, j][others], 1)
            left.append(a + b * G[i, j] - T[i, j])
        shares.append(np.square(left).sum() / (15 * T[:15, j].var()))
    assert found.unexplained == pytest.approx(np.mean(shares), rel=1e-9)
    with pytest.raises(InputError, match="0 samples were solved by both"):
        compared(samples(Y[:15] + 1, T[:15], 1.0), coarse)


def test_a_run_of_two_fidelities_takes_few_fine_solves_and_is_judged_by_them(
    problem, tmp_path, capsys
):
    words = ("--target", "0.001", "--train", "stopping.work_units=60", "--out", tmp_path / "b.pt")
    assert run("learn", problem, *words, "--coarse", "steps=60", "--budget", "200") == 0
    said = capsys.readouterr()
    assert "coarse samples for each fine one" in said.err
    fine, coarse = Dataset.read(tmp_path / "b.h5"), Dataset.read(tmp_path / "b.coarse.h5")
    known = {y.tobytes() for y in coarse.Y}
    test = fine.split == Split.TEST
    assert all(y.tobytes() in known for y in fine.Y[~test])
    assert not any(y.tobytes() in known for y in fine.Y[test])
    assert "steps = 60\n" in coarse.info.config and "steps = 6000" in fine.info.config
    assert PILOT <= int((~test).sum()) < len(coarse.Y)
    found = surrogates.load(tmp_path / "b.pt")
    learned = found.metadata["learned"]
    assert learned["met"] and found.evaluate(fine).relative.mean < 0.001
    assert learned["solves"] < len(fine.Y) + len(coarse.Y)
    page = (tmp_path / "b.html").read_text()
    assert f"{len(coarse.Y)} coarse samples; a coarse solve costs" in page
    # The same command again: nothing is left to do.
    before = (tmp_path / "b.pt").read_bytes()
    assert run("learn", problem, *words, "--coarse", "steps=60", "--budget", "200") == 0
    assert "finished before" in capsys.readouterr().out
    assert (tmp_path / "b.pt").read_bytes() == before
    line = refused(capsys, "learn", problem, *words, "--coarse", "steps=90")
    assert "of a run with other settings: coarse is" in line


def test_coarse_solves_that_explain_nothing_are_left_out(problem, tmp_path, capsys):
    words = ("--target", "0.01", "--train", "stopping.work_units=60", "--out", tmp_path / "w.pt")
    assert run("learn", problem, *words, "--coarse", "steps=60,wrong=true") == 0
    assert "coarse solves do not pay here" in capsys.readouterr().err
    assert "from" not in surrogates.load(tmp_path / "w.pt").metadata["training"]


def test_settings_of_coarse_solves_are_checked(problem, tmp_path, capsys):
    words = ("--target", "0.01", "--out", tmp_path / "c.pt")
    assert "stepz" in refused(capsys, "learn", problem, *words, "--coarse", "stepz=3")
    line = refused(capsys, "learn", problem, *words, "--coarse", "steps=60", "--effort", "fast")
    assert "leave --effort fast out" in line
    line = refused(capsys, "learn", problem, *words, "--coarse", "steps=60", "--first", "5")
    assert "compared on 24 samples" in line
    assert not list(tmp_path.iterdir())
