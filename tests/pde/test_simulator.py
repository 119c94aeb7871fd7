"""A PDE is called as a surrogate is; what is known at the last y costs no second solve."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from mpi4py import MPI
from problems import MPIRUN, Plain, run

import surrogates
from surrogates import InputError
from surrogates.adapters import common
from surrogates.adapters.simpeg import observed
from surrogates.pde import Batch, Problem, Settings, Simulator, Solution
from surrogates.pde.ert.ways import Exact
from surrogates.survey import Survey, survey_of

pytestmark = pytest.mark.fenicsx

LAYERS = {
    "survey.electrodes": 8,
    "survey.spacing": 4.0,
    "model.kind": "layers",
    "layers.resistivity": [[20.0, 50.0], [100.0, 300.0]],
    "layers.thickness": [[2.0, 6.0]],
}


PLAIN = """
from dataclasses import dataclass
from surrogates.pde import Problem, Settings

class Own(Problem):
    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        power: int = 1

    y_names, y_lower, y_upper, c_names = ("a", "b"), 0.0, 1.0, ("c", "d")

    def solve(self, y):
        return y**self.config.power
"""


class Curve(Problem):
    """c = A y + y^2, with derivatives of every kind; calls are counted."""

    A = np.random.default_rng(0).normal(size=(4, 3))
    y_names, y_lower, y_upper = ("a", "b", "c"), -1.0, 1.0
    c_names = ("p", "q", "r", "s")
    has_tangents = has_directions = has_adjoints = True

    def solve_batch(self, Y, *, tangents=False, adjoints=None):
        vars(self).setdefault("calls", []).append(
            "adjoints" if adjoints is not None else "V" if np.ndim(tangents) else bool(tangents)
        )
        square = np.zeros((4, 3))
        square[0] = 1
        C = Y @ self.A.T + Y**2 @ square.T
        J = self.A + 2 * Y[:, None] * square
        found = {}
        if np.ndim(tangents):
            found["dC_dV"] = J @ np.asarray(tangents).transpose(0, 2, 1)
        elif tangents:
            found["dC_dY"] = J
        if adjoints is not None:
            found["dW_dY"] = adjoints @ J
        return Batch(C=C, **found)


class Tangents(Curve):
    """Only whole tangents."""

    has_directions = has_adjoints = False


class Fails(Problem):
    y_names, y_lower, y_upper, c_names = ("a",), 0.0, 1.0, ("c",)

    def solve(self, y):
        if y[0] > 0.5:
            raise RuntimeError("no convergence")
        return Solution([y[0]])


class Shares(Problem):
    class Config(Settings):
        design = "simplex"

    y_names, c_names = ("a", "b", "c"), ("c",)

    def solve(self, y):
        return [y @ [1.0, 2.0, 3.0]]


@pytest.fixture
def solves(monkeypatch):
    """The parameters that the exact layers were solved for."""
    found, original = [], Exact.solve
    monkeypatch.setattr(Exact, "solve", lambda self, y: found.append(y) or original(self, y))
    return found


def test_ert_solves_once_for_data_and_derivatives(solves):
    model = Simulator("ert", settings=LAYERS)
    y = model.bounds.mean(axis=0)
    c, J = model.predict(y), model.jacobian(y)
    v, w = np.array([0.3, -1.0, 0.2]), np.linspace(-1, 1, model.n_out)
    np.testing.assert_allclose(model.jvp(y, v), J @ v, rtol=1e-12)
    np.testing.assert_allclose(model.vjp(y, w), w @ J, rtol=1e-12)
    assert len(solves) == model.solves == 1
    h = 1e-4 * (model.bounds[1] - model.bounds[0]) * v
    ends = model.predict(np.stack([y + h, y - h]))
    assert len(solves) == model.solves == 3
    difference = (ends[0] - ends[1]) / 2e-4
    np.testing.assert_allclose(
        J @ (h / 1e-4), difference, rtol=1e-5, atol=1e-6 * np.abs(difference).max()
    )
    np.testing.assert_allclose(model(y), c, rtol=1e-12)
    assert model.c_coordinates.keys() >= {"a", "k", "n_x3"}
    assert (model.n_in, model.n_out) == J.shape[::-1] == (3, len(c))


def test_another_y_between_is_solved_for_again(solves):
    model = Simulator("ert", settings=LAYERS)
    y = model.bounds.mean(axis=0)
    J = model.jacobian(y)
    model.predict(0.9 * y + 0.1 * model.bounds[0])
    np.testing.assert_allclose(model.jacobian(y), J, rtol=1e-12)
    assert len(solves) == model.solves == 3


@pytest.mark.parametrize("problem", [Curve, Tangents])
def test_results_have_the_leading_dimensions_of_y(problem):
    model = Simulator(problem)
    rng = np.random.default_rng(1)
    Y, V, W = rng.uniform(-1, 1, (2, 3, 3)), rng.normal(size=3), rng.normal(size=(2, 3, 4))
    J = model.jacobian(Y)
    right = problem.A + 2 * Y[..., None, :] * [[1], [0], [0], [0]]
    np.testing.assert_allclose(J, right, rtol=1e-14)
    np.testing.assert_allclose(model.jvp(Y, V), J @ V, rtol=1e-14)
    products = np.einsum("...ij,...i->...j", J, W)
    np.testing.assert_allclose(model.vjp(Y, W), products, rtol=1e-13)
    assert model.predict(Y).shape == (2, 3, 4) and model.predict(Y[0, 0]).shape == (4,)
    named = dict(zip("cba", Y[0, 0, ::-1], strict=True))
    np.testing.assert_allclose(model.predict(named), model.predict(Y[0, 0]))


def test_products_are_solved_for_as_such_until_many_are_asked_at_one_y():
    model = Simulator(Curve)
    y, x = np.full(3, 0.25), np.ones(3)
    for i in range(3):
        model.predict(i * y)
        model.vjp(i * y, np.ones(4))
    assert model.problem.calls == [False, "adjoints"] * 3
    model.problem.calls.clear()
    for _ in range(5):
        model.jvp(y, x)
    assert model.problem.calls == ["V", True]
    for _ in range(5):
        model.jvp(3 * y, x)
        model.vjp(3 * y, np.ones(4))
    assert model.problem.calls == ["V", True, True]


def test_both_are_solved_for_together_once_both_were_asked_at_one_y():
    model = Simulator(Tangents)
    for i in range(3):
        model.predict(np.full(3, i / 4))
    assert model.problem.calls == [False] * 3
    model.jacobian(np.full(3, 2 / 4))
    for i in range(3):
        model.predict(np.full(3, -i / 4))
        model.jacobian(np.full(3, -i / 4))
    assert model.problem.calls == [False] * 3 + [True] * 4
    assert model.solves == 7


def test_what_the_caller_changes_is_not_what_is_kept():
    model = Simulator(Curve)
    y = np.full(3, 0.5)
    model.predict(y)[:] = 0
    model.jacobian(y)[:] = 0
    assert np.abs(model.predict(y)).min() > 0 and np.abs(model.jacobian(y)).max() > 0
    y[:] = 0.25
    np.testing.assert_allclose(model.jacobian(y)[1], Curve.A[1])
    assert model.predict(y)[1] == pytest.approx(Curve.A[1] @ y)


def test_weights_that_sum_to_one_are_a_domain_with_a_normal():
    model = Simulator("cdr", settings={"mesh.cells": [4, 4]})
    y = np.full(model.n_in, 1 / model.n_in)
    domain = model.domain
    np.testing.assert_allclose(domain.normals @ (y - domain.centre), 0, atol=1e-15)
    assert domain.contains(y) and not domain.contains(0.9 * y)
    with pytest.raises(InputError, match=r"outside the domain of cdr .* its sum is 0.9, not 1"):
        model.predict(0.9 * y)
    J, v = model.jacobian(y), np.zeros(model.n_in)
    v[:2] = 1, -1
    h = 1e-3
    difference = (model.predict(y + h * v) - model.predict(y - h * v)) / (2 * h)
    np.testing.assert_allclose(J @ v, difference, rtol=1e-4, atol=1e-4 * np.abs(difference).max())


def test_an_object_is_used_as_it_is():
    made = Curve(Settings(), MPI.COMM_SELF)
    model = Simulator(made)
    assert model.problem is made and model.path == "Curve"
    with pytest.raises(InputError, match="this Curve is made already"):
        Simulator(made, settings={"batch": 2})


def test_the_problem_of_a_dataset_is_made_again(tmp_path):
    file = tmp_path / "plain.py"
    file.write_text(PLAIN)
    for problem, settings, own in (
        ("ert", LAYERS, ""),
        (f"{file}:Own", {"power": 3}, f"{file}:Own"),
    ):
        dataset = surrogates.generate(problem, settings=settings, samples=6, split="4/1/1")
        model = Simulator.of(dataset, file=own)
        np.testing.assert_allclose(model.predict(dataset.Y), dataset.C, rtol=1e-12)
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_allclose(again.predict(dataset.Y[0]), dataset.C[0], rtol=1e-12)
    assert model.problem.config.power == 3
    with pytest.raises(InputError, match="file='FILE.py:CLASS': its name here is 'plain.py:Own'"):
        Simulator.of(dataset)


def test_the_problem_of_a_surrogate_is_made_again_or_refused():
    about = surrogates.generate("ert", settings=LAYERS, samples=6, split="4/1/1").info
    metadata = {"problem": "ert", "dataset": {"config": about.config}}
    metadata |= {"y_names": list(about.y_names), "c_names": list(about.c_names)}
    metadata["coordinates"] = {key: x.tolist() for key, x in about.coordinates.items()}
    model = Simulator.of(SimpleNamespace(metadata=metadata), settings={"survey.top": 0.0})
    assert model.c_names == about.c_names and model.problem.config.survey.top == 0
    model = Simulator.of(SimpleNamespace(metadata=metadata), settings={"survey.spacing": 5.0})
    assert model.c_coordinates["b_x1"].max() == 5 / 4 * about.coordinates["b_x1"].max()
    metadata["coordinates"]["m_x1"][3] += 0.01
    with pytest.raises(InputError, match="^the coordinate m_x1 is not that of ert with these"):
        Simulator.of(SimpleNamespace(metadata=metadata))
    metadata["c_names"] = metadata["c_names"][:3]
    with pytest.raises(InputError, match="^c_names are not those of ert with these settings"):
        Simulator.of(SimpleNamespace(metadata=metadata))


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: Simulator("dcrr"), "unknown problem 'dcrr'; did you mean 'dcr'"),
        (lambda: Simulator("ert", settings={"survey.elect": 8}), "survey.electrodes"),
        (lambda: Simulator(Curve).predict([0.0, 0.0]), r"expected y of shape \(3,\)"),
        (lambda: Simulator(Curve).predict([0.0, 0.0, np.nan]), "expected finite numbers in y"),
        (lambda: Simulator(Curve).predict([0.0, 2.0, 0.0]), "b is 2, its bounds are -1 and 1"),
        (lambda: Simulator(Curve).vjp(np.zeros(3), np.zeros(3)), r"expected w of shape \(4,\)"),
        (lambda: Simulator(Curve).jvp(np.zeros((2, 3)), np.zeros((4, 3))), "expected v for each y"),
        (lambda: pickle.dumps(Simulator(Plain)), "Plain cannot be sent to another process"),
        (lambda: Simulator(Plain).jacobian([1.0, 1.0]), "Plain has no derivatives"),
        (lambda: Simulator(Fails).predict([0.75]), "solve failed at a 0.75: .*no convergence"),
    ],
)
def test_faults_are_one_line(call, line):
    with pytest.raises(InputError, match=line) as error:
        call()
    assert "\n" not in str(error.value)


def test_y_outside_by_rounding_is_at_the_bound():
    model = Simulator(Curve)
    y = np.array([1.0, -1.0, 0.0])
    np.testing.assert_allclose(model.predict(y * (1 + 1e-12)), model.predict(y), rtol=1e-15)


def test_samplers_get_nan_outside_the_bounds_and_errors_of_the_noise_alone():
    model = Simulator(Curve)
    Y = np.array([[0.5, 0.5, 0.5], [0.5, 1.5, 0.5], [np.nan, 0.5, 0.5]])
    W = np.array([[1.0, 2.0, 3.0, 4.0]] * 3)
    found = common.or_nan(model, model.vjp, Y, W)
    np.testing.assert_allclose(found[0], W[0] @ model.jacobian(Y[0]))
    assert np.isnan(found[1:]).all()
    W[0, 1] = np.inf
    assert np.isnan(common.or_nan(model, model.vjp, Y, W)).all()
    assert common.spread(model, 0.5).tolist() == [0.5] * 4


def test_a_failed_solve_leaves_nothing_behind():
    model = Simulator(Fails)
    assert model.predict([0.25]) == [0.25]
    for _ in range(2):
        with pytest.raises(InputError):
            model.predict([0.75])
    assert model.predict([0.25]) == [0.25]


SHARED = """
import sys
import numpy as np
from mpi4py import MPI
from surrogates.pde import Simulator
small = {"mesh.cells": [12, 12, 15], "mesh.above": 3, "mesh.layers": 6}
for comm in (MPI.COMM_SELF, MPI.COMM_WORLD):
    model = Simulator("dcr", settings=small, comm=comm)
    y = model.bounds.mean(axis=0)
    found = np.column_stack([model.predict(y), model.jacobian(y)])
    np.save(f"{sys.argv[1]}/{comm.size}-{MPI.COMM_WORLD.rank}.npy", found)
"""


@pytest.mark.mpi
def test_processes_that_share_a_mesh_all_have_the_results(tmp_path):
    run(*MPIRUN, "python", "-c", SHARED, str(tmp_path))
    alone, *others = (np.load(tmp_path / f"{name}.npy") for name in ("1-0", "1-1", "2-0", "2-1"))
    assert alone.shape[1] == 4
    for found in others:
        np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6 * np.abs(alone).max())


@pytest.mark.parametrize("column", ["r", "rhoa", "u"])
@pytest.mark.parametrize(
    "kind", ["resistance", "apparent-resistivity", "log10-apparent-resistivity"]
)
def test_measured_data_become_observables_of_a_survey(kind, column):
    """Whatever was measured, and with which factors; none of SimPEG is needed for it."""
    model = Simulator("ert", settings=LAYERS | {"observable.kind": kind})
    c, survey = model.predict(model.bounds.mean(axis=0)), survey_of(model.c_coordinates, "made")
    k = survey.values["k"]
    R = {"resistance": c, "apparent-resistivity": c / k}.get(kind, 10**c / k)
    own = 1.3 * k  # as of a device that knows another ground
    values = {
        "r": {"r": R},
        "rhoa": {"rhoa": own * R, "k": own},
        "u": {"u": 0.2 * R, "i": 0.2 + 0 * R},
    }
    order = np.random.default_rng(0).permutation(len(c))
    measured = Survey(
        electrodes=survey.electrodes + 1e-7,
        data=survey.data[order],
        values={name: x[order] for name, x in {**values[column], "err": 0.02 + 0 * R}.items()},
    )
    found, deviations = observed(model, measured)
    np.testing.assert_allclose(found, c, rtol=1e-12)
    of = {"resistance": np.abs(R), "apparent-resistivity": np.abs(k * R)}.get(kind, 1 / np.log(10))
    np.testing.assert_allclose(deviations, 0.02 * of + 0 * R, rtol=1e-12)


def test_data_that_are_not_measured_or_have_no_values_are_one_line():
    model = Simulator("ert", settings=LAYERS | {"observable.kind": "log10-apparent-resistivity"})
    survey = survey_of(model.c_coordinates, "made")
    one = np.ones(len(survey.data))
    for measured, line in (
        (survey.select(np.arange(3)), "^datum 4 of ert is not among the data of made$"),
        (survey, "^made has no column r, rhoa, or u and i$"),
        (replace(survey, values={"rhoa": -one}), "^made: negative .* have no logarithm"),
        (replace(survey, electrodes=survey.electrodes + 1.0), "^datum 1 of ert is not among"),
    ):
        with pytest.raises(InputError, match=line):
            observed(model, measured)
    assert observed(model, replace(survey, values={"rhoa": 50 * one}))[1] is None
