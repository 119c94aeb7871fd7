"""Checks of problems that are right, and of problems that are wrong in one way each."""

import maps
import numpy as np
import pytest
from maps import Map, made, only

from surrogates.errors import InputError
from surrogates.pde.checks.check import checked
from surrogates.pde.checks.lines import fault

pytestmark = pytest.mark.fenicsx

WHOLE = {"tangents": True}


def states(problem, **options):
    """The findings that are not right, by name."""
    report = checked(made(problem), **options)
    return {one.name: one.state for one in report.findings if one.state not in ("ok", "none")}


def test_a_right_problem_passes_every_check():
    report = checked(made(Map))
    assert report.ok and report.verdict == "all is well"
    assert [one.name for one in report.findings] == [
        *("solves", "repeatable", "residuals", "smooth", "tangents", "adjoints", "directions")
    ]
    assert "Taylor tests of order 2.00 on 4 random lines" in report["tangents"].text
    orders = [float(line.split()[2]) for line in report.table[-6:]]
    assert min(orders) > 1.9 and max(orders) < 2.1
    assert str(report).splitlines()[-1] == "verdict: all is well"


@pytest.mark.parametrize(
    ("name", "check", "says"),
    [
        ("Half", "tangents", "wrong by 0.5 %"),
        ("Entry", "tangents", "the worst entry is that of c4 by b"),
        ("Zero", "tangents", "it is 0 along a line"),
        ("Kink", "smooth", "not differentiable: the slope of c"),
        ("Jump", "smooth", "not continuous: c"),
        ("Loud", "smooth", "has noise"),
        ("Restless", "repeatable", "when it is solved for again: it must depend on y"),
        ("Order", "repeatable", "it must depend on y"),
        ("Tilted", "adjoints", "where 1e-10 is the limit"),
        ("Other", "tangents", "c differs by 1.0e-07 when they are solved for as well"),
        ("Rough", "residuals", "up to 1.0e-03"),
        ("Failing", "solves", "c is not finite"),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_fault_is_told_apart(name, check, says, seed):
    report = checked(made(getattr(maps, name)), seed=seed)
    wrong = [one.name for one in report.findings if one.state == "wrong"]
    assert wrong == [check]
    assert says in report[check].text
    assert not report.ok and report.verdict == f"wrong: {check}"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_small_noise_is_a_note(seed):
    report = checked(made(maps.Noise), seed=seed)
    assert report.ok and report["smooth"].state == "note"
    size = float(report["smooth"].text.split("noise ")[1].split()[0])
    assert 1e-7 < size < 1e-5
    assert "notes on smooth" in report.verdict


@pytest.mark.parametrize("kind", ["tangents", "directions", "adjoints"])
@pytest.mark.parametrize("problem", [Map, maps.Half])
def test_every_kind_is_tested_alone(kind, problem):
    report = checked(made(only(problem, kind)))
    name = "adjoints" if kind == "adjoints" else "tangents"
    assert report[name].state == ("ok" if problem is Map else "wrong")
    assert len(report.findings) == 5


def test_adjoints_are_compared_with_directions():
    assert states(only(Map, "directions", "adjoints")) == {}
    assert states(only(maps.Tilted, "directions", "adjoints")) == {"adjoints": "wrong"}


def test_iterative_solves_agree_as_their_residuals_allow():
    finding = checked(made(maps.Iterative))["adjoints"]
    assert finding.state == "note" and "as residuals of 1e-09 allow" in finding.text


def test_a_problem_without_derivatives_has_all_other_checks():
    report = checked(made(maps.Mute, batch=1), samples=1)
    assert report.ok and report.table == ()
    assert [one.name for one in report.findings] == ["solves", "repeatable", "residuals", "smooth"]
    assert report["residuals"].state == "none"
    assert checked(made(only(maps.Kink)))["smooth"].state == "note"  # no derivative is claimed


def test_a_linear_map_has_remainders_of_rounding():
    report = checked(made(maps.Linear))
    assert report.ok
    rows = [line.split() for line in report.table[2:]]
    assert all(row[2] in ("noise", "0") for row in rows)
    assert "remainders of rounding" in report["tangents"].text


def test_samples_on_the_simplex_are_left_along_the_lines():
    class Simplex(Map):
        def tangents(self, Y):  # wrong by a constant across the simplex alone
            J = self.jacobian(Y)
            return J + 0.1 * np.abs(J).mean(axis=2, keepdims=True)

    right = checked(made(Map, design="simplex"))
    wrong = checked(made(Simplex, design="simplex"))
    assert right.ok and wrong["tangents"].state == "wrong"


@pytest.mark.parametrize("settings", [{"samples": 0}, {"seed": -1}])
def test_bad_arguments_are_refused(settings):
    with pytest.raises(InputError, match=r"at least|seed"):
        checked(made(Map), **settings)


class Random(Map):
    """A random map of one of five kinds, with 1 to 40 parameters and observables."""

    kinds = (
        (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
        (np.sin, np.cos),
        (np.exp, np.exp),
        (lambda z: z, np.ones_like),
        (np.square, lambda z: 2 * z),
    )

    @classmethod
    def of(cls, seed, noise=0.0):
        rng = np.random.default_rng([seed, 8])
        n_y, n_c, n_h = rng.integers(1, [41, 41, 7])
        f, slope = cls.kinds[rng.integers(len(cls.kinds))]
        A = rng.standard_normal((n_h, n_y)) * 10 ** rng.uniform(-1.5, 1) / np.sqrt(n_y)
        W = rng.standard_normal((n_c, n_h)) * 10 ** rng.uniform(-3, 3, (n_c, 1))
        lower = rng.standard_normal(n_y)
        parts = {
            **{"A": A, "W": W, "b": rng.standard_normal(n_h) - A @ lower, "noise": noise},
            **{"f": staticmethod(f), "slope": staticmethod(slope)},
            **{"y_names": tuple(f"y{k}" for k in range(n_y)), "y_lower": lower},
            **{"y_upper": lower + 1, "c_units": "1"},
            **{"c_names": tuple(f"c{j}" for j in range(n_c))},
            "offset": rng.standard_normal(n_c) * rng.integers(0, 2),
        }
        return made(type("Random", (cls,), parts), batch=8)

    def value(self, Y):
        C = self.f(Y @ self.A.T + self.b) @ self.W.T + self.offset
        size = self.noise * np.abs(self.W).sum(axis=1)
        return C + size * scattered(Y, len(size)) if self.noise else C

    def jacobian(self, Y):
        return np.einsum("ch,nh,hk->nck", self.W, self.slope(Y @ self.A.T + self.b), self.A)


def scattered(Y, n_c):
    return maps.scattered(Y, n_c)


@pytest.mark.parametrize("noise", [0.0, 1e-12, 1e-8])
def test_right_tangents_are_never_refused(noise):
    refused = {seed: fault(Random.of(seed, noise), WHOLE, seed) for seed in range(200)}
    assert {seed: text for seed, text in refused.items() if text} == {}


def test_tangents_that_are_wrong_by_half_a_per_cent_are_always_refused():
    passed = []
    for seed in range(200):
        problem = Random.of(seed)
        right = problem.jacobian
        problem.tangents = lambda Y, right=right: 1.005 * right(Y)
        if "wrong by 0.5 %: it is" not in fault(problem, WHOLE, seed):
            passed.append(seed)
    assert passed == []
