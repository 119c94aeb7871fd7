"""Which derivatives a run stores: random directions, and the options' contradictions."""

import dataclasses

import numpy as np
import pytest

from surrogates.data import Info
from surrogates.data.from_arrays import from_arrays
from surrogates.errors import InputError
from surrogates.pde import Problem
from surrogates.pde.sampling import draw
from surrogates.pde.wanted import Wanted

pytestmark = pytest.mark.fenicsx

RANGES = np.array([1.0, 30, 0.01, 2])
INFO = Info(
    problem="toy",
    seed=5,
    total=100,
    y_names=("a", "b", "c", "d"),
    y_units=("1",) * 4,
    y_lower=np.array([0.0, 10, 0, -1]),
    y_upper=np.array([1.0, 40, 0.01, 1]),
    c_names=("u",),
    c_units=("V",),
)


@pytest.mark.parametrize("r", [1, 3, 4])
def test_random_directions_are_orthonormal_in_units_of_the_ranges(r):
    V = Wanted(directions=r).draw(INFO, 0, 50)
    U = V / RANGES
    assert V.shape == (50, r, 4)
    assert np.allclose(U @ U.transpose(0, 2, 1), np.eye(r), atol=1e-14)


def test_directions_are_a_function_of_seed_and_sample_alone():
    wanted = Wanted(directions=3)
    whole = wanted.draw(INFO, 0, 30)
    parts = [wanted.draw(INFO, start, stop) for start, stop in ((20, 30), (0, 1), (1, 20))]
    assert np.array_equal(whole, np.concatenate([parts[1], parts[2], parts[0]]))
    longer = dataclasses.replace(INFO, total=1000, split="8/1/1")
    assert np.array_equal(wanted.draw(longer, 0, 30), whole)
    other = wanted.draw(dataclasses.replace(INFO, seed=6), 0, 30)
    assert not np.isclose(other, whole).any()
    assert len(np.unique(whole)) == whole.size
    assert np.allclose(Wanted(directions=1).draw(INFO, 0, 30), whole[:, :1], rtol=1e-12)


def test_the_design_is_drawn_from_another_stream():
    lower, upper = np.zeros(4), np.ones(4)
    Y = draw("box", lower, upper, total=30, seed=5, start=0, stop=30)
    before = Y.copy()
    V = Wanted(directions=1).draw(INFO, 0, 30)[:, 0] / RANGES
    after = draw("box", lower, upper, total=30, seed=5, start=0, stop=30)
    assert np.array_equal(before, after)
    assert np.abs(np.corrcoef(Y.T, V.T)[:4, 4:]).max() < 0.6


def test_directions_are_uniform_so_that_few_estimate_the_whole_jacobian():
    rng = np.random.default_rng(0)
    J = rng.standard_normal((2, 4)) * [3, 1, 1, 0.1]
    n, r = 20000, 2
    U = Wanted(directions=r).draw(INFO, 0, n) / RANGES
    estimates = (4 / r) * ((J @ U.transpose(0, 2, 1)) ** 2).sum(axis=(1, 2))
    off = estimates.mean() - (J**2).sum()
    assert abs(off) < 4 * estimates.std() / np.sqrt(n)
    # No direction or sign is preferred.
    first = U[:, 0]
    assert np.abs(first.mean(axis=0)).max() < 4 / np.sqrt(4 * n)
    assert np.allclose((first**2).mean(axis=0), 0.25, atol=0.01)


def test_simplex_directions_are_as_they_are_and_a_fixed_y_has_none_of_its_own():
    simplex = dataclasses.replace(INFO, design="simplex", y_lower=np.zeros(4), y_upper=np.ones(4))
    V = Wanted(directions=2).draw(simplex, 3, 4)[0]
    assert np.allclose(V @ V.T, np.eye(2), atol=1e-14)


def test_the_directions_of_a_subspace_are_the_same_for_all_samples():
    basis = np.arange(8.0).reshape(2, 4)
    V = Wanted(directions=2, basis=basis).draw(INFO, 7, 10)
    assert V.shape == (3, 2, 4) and (V == basis).all()
    assert Wanted(whole=True).draw(INFO, 0, 3) is None and Wanted().draw(INFO, 0, 3) is None


@pytest.fixture
def pilot(tmp_path):
    rng = np.random.default_rng(2)
    Y, J = rng.random((20, 4)), rng.random((20, 3, 4))
    names = {"y_names": list("abcd"), "c_names": list("uvw")}
    from_arrays(Y, rng.random((20, 3)), dC_dY=J, **names).write(tmp_path / "pilot.h5")
    return tmp_path / "pilot.h5"


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"tangents": 0}, "--tangents must be at least 1; got 0"),
        ({"tangents": -2}, "--tangents must be at least 1; got -2"),
        ({"tangents": 2.5}, "--tangents must be a whole number; got 2.5"),
        ({"adjoints": 1.5, "pilot": "p.h5"}, "--adjoints must be a whole number; got 1.5"),
        ({"adjoints": -1}, "--adjoints must be at least 1; got -1"),
        ({"tangents": True, "adjoints": 2}, "give either --tangents or --adjoints"),
        ({"adjoints": 2}, "--adjoints needs a pilot set: --pilot F.h5"),
        ({"pilot": "p.h5"}, "--pilot is for --adjoints; a subspace for --tangents"),
        ({"subspace": "p.h5"}, "--subspace needs a number of directions: --tangents R"),
        ({"subspace": "p.h5", "tangents": True}, "--subspace needs a number of directions"),
        ({"subspace": "p.h5", "tangents": 1}, "there is no file"),
        ({"pilot": "p.h5", "adjoints": 1}, "there is no file"),
    ],
)
def test_options_that_contradict_each_other_are_one_line(asked, reason):
    with pytest.raises(InputError, match=reason) as error:
        Wanted.of(**asked)
    assert "\n" not in str(error.value)


class Some(Problem):
    y_names, y_lower, y_upper = tuple("abcd"), 0.0, 1.0
    c_names = tuple("uvw")

    def solve(self, y):
        return y[:3]


class Other(Some):
    y_names, c_names = tuple("abce"), tuple("uvx")
    has_tangents = True


def test_a_problem_without_derivatives_or_of_other_names_is_refused(pilot):
    has = type("Has", (Some,), {"has_adjoints": True})
    whole, some = Wanted.of(True), Wanted.of(2)
    along, of = Wanted.of(2, subspace=pilot), Wanted.of(adjoints=2, pilot=pilot)
    for wanted, option in ((whole, "tangents"), (some, "tangents"), (of, "adjoints")):
        with pytest.raises(InputError, match=f"Some has no tangents; leave out --{option}"):
            wanted.check(Some, Some.describe(Some.Config()))
        wanted.check(has, has.describe(has.Config()))
    assert Wanted.of(np.True_).whole and Wanted.of(np.int64(2)).directions == 2
    Wanted.of(False).check(Some, Some.describe(Some.Config()))
    with pytest.raises(InputError, match="--tangents can be 4 at most; got 5"):
        Wanted.of(5).check(has, has.describe(has.Config()))
    for wanted, name in ((along, "y_names"), (of, "c_names")):
        with pytest.raises(InputError, match=f"its {name} are not those of Other"):
            wanted.check(Other, Other.describe(Other.Config()))
    assert list(along.inputs) == ["--subspace"] and list(of.inputs) == ["--pilot"]
