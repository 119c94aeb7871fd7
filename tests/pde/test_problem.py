"""Problems of one's own: what they say of themselves, how they fail, where they are; Darcy."""

import hashlib
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from places import EXAMPLES, ROOT

from surrogates import config
from surrogates.data import Dataset
from surrogates.errors import InputError
from surrogates.export import npz
from surrogates.pde import SOLVER, Batch, Problem, Settings, Solution
from surrogates.pde.loading import load
from surrogates.pde.problem import BUILT_IN
from surrogates.pde.solving import solved

pytestmark = pytest.mark.fenicsx

DARCY = str(EXAMPLES / "darcy.py") + ":Darcy"
MPIRUN = ("mpirun", "--oversubscribe", "-n", "2")

OSCILLATOR = """
from dataclasses import dataclass
import numpy as np
from surrogates.pde import Problem, Settings

class Oscillator(Problem):
    y_names, y_units = ["stiffness", "damping"], ("N/m", "kg/s")
    y_lower, y_upper = (1.0, 0.0), np.array([4.0, 0.5])
    c_names, c_units = ("x1", "x2", "x3"), "m"
    coordinates = {"time": (1, 2, 3)}

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        mass: float = 1.0
        times: tuple[float, ...] = (1.0, 2.0, 3.0)

    def solve(self, y):
        decay = y[1] / (2 * self.config.mass)
        omega = np.sqrt(y[0] / self.config.mass - decay**2)
        return [np.exp(-decay * t) * np.cos(omega * t) for t in self.config.times]
"""


def run(*words: str, seconds: int = 120) -> str:
    apart = {**os.environ}  # without what MPI has set for this process
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=seconds, env=apart, cwd=ROOT
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def path_kept(monkeypatch):
    """Let `load` change the path of imports for one test."""
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def write(tmp_path, path_kept):
    def write_(text: str, name: str = "own.py") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_


def refusal(name: object) -> str:
    with pytest.raises(InputError) as caught:
        load(str(name))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# What a class says of itself


class Plain(Problem):
    y_names, y_lower, y_upper = ("a", "b"), 0.0, 2.0
    c_names = ("sum", "product")

    def solve(self, y):
        return y.sum(), y.prod()


def solve(problem: type[Problem], Y: object):
    return problem(problem.Config(), MPI.COMM_SELF).solve_batch(np.array(Y, dtype=float))


def test_a_file_with_a_class_is_a_problem(write):
    path = write(OSCILLATOR)
    problem = load(f"{path}:Oscillator")
    assert problem.name == "own.py:Oscillator"
    assert problem.source == hashlib.sha256(path.read_bytes()).hexdigest()
    settings = config.read(problem.Config, None, ["mass=2", "batch=7", "design=sobol"])
    assert settings.mass == 2.0
    assert (problem.design(settings), problem.batch(settings)) == ("sobol", 7)
    assert config.from_toml(problem.Config, config.to_toml(settings)) == settings
    about = problem.describe(settings)
    assert about["y_names"] == ("stiffness", "damping")
    assert about["y_units"] == ("N/m", "kg/s")
    assert about["c_units"] == ("m", "m", "m")
    np.testing.assert_array_equal(about["y_lower"], [1, 0])
    np.testing.assert_array_equal(about["y_upper"], [4, 0.5])
    np.testing.assert_array_equal(about["coordinates"]["time"], [1, 2, 3])
    Y = problem.parameters(settings, total=8, seed=0, start=2, stop=6)
    assert Y.shape == (4, 2)
    assert ((about["y_lower"] <= Y) & (about["y_upper"] >= Y)).all()
    batch = problem(settings, MPI.COMM_SELF).solve_batch(Y)
    assert batch.failure == [""] * 4
    omega = np.sqrt(Y[:, 0] / 2 - (Y[:, 1] / 4) ** 2)
    np.testing.assert_allclose(
        batch.C[:, 1], np.exp(-Y[:, 1] / 2) * np.cos(2 * omega), rtol=1e-14, atol=1e-14
    )
    assert np.isnan(batch.solver["residual"]).all()
    assert (batch.solver["seconds"] > 0).all()
    assert load(f"{path}:Oscillator") is problem
    write(OSCILLATOR.replace("mass: float = 1.0", "mass: float = 3.0"))
    assert load(f"{path}:Oscillator").Config().mass == 3.0


def test_the_simplex_has_bounds_of_its_own():
    about = Plain.describe(Settings(design="simplex"))
    assert (about["y_lower"].tolist(), about["y_upper"].tolist()) == ([0, 0], [1, 1])
    Y = Plain.parameters(Settings(design="simplex"), total=9, seed=0, start=0, stop=9)
    np.testing.assert_allclose(Y.sum(axis=1), 1, rtol=1e-15)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"y_names": ()}, r"y_names must be a sequence of names; got \(\)"),
        ({"y_names": "ab"}, "y_names must be a sequence of names; got 'ab'"),
        ({"c_names": ("sum", 2)}, "c_names must be a sequence of names"),
        ({"c_names": None}, "c_names must be a sequence of names; got None"),
        ({"c_names": ("sum", "sum")}, r"c_names has \['sum'\] twice"),
        ({"y_units": ("m",)}, "y_units must be a text or 2 of them"),
        ({"c_units": 1}, "c_units must be a text or 2 of them"),
        ({"y_lower": None}, "y_lower must be a finite number or 2 of them, as y_names; got None"),
        ({"y_upper": (1, 2, 3)}, "y_upper must be a finite number or 2 of them"),
        ({"y_upper": np.inf}, "y_upper must be a finite number or 2 of them, as y_names; got inf"),
        ({"y_lower": (0, 2)}, "y_lower must be below y_upper; got 2 and 2 for b"),
        ({"coordinates": {"time": (1.0,) * 3}}, r"coordinates\['time'\] must be a finite number"),
        ({"coordinates": (1.0, 2.0)}, "coordinates must be a dict"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(attributes, message):
    wrong = type("Wrong", (Plain,), attributes)
    with pytest.raises(InputError, match=f"^Wrong: {message}"):
        wrong.describe(Settings())


@pytest.mark.parametrize(
    ("settings", "message"),
    [("design=sobel", "did you mean 'sobol'"), ("batch=0", "batch must be at least 1; got 0")],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(InputError, match=message):
        config.read(Plain.Config, None, [settings])


def test_a_problem_without_pictures_says_so(tmp_path):
    problem = Plain(Settings(), MPI.COMM_SELF)
    for action in (lambda y: problem.picture(y, tmp_path / "a.png"), problem.field):
        with pytest.raises(InputError, match="^Plain has no solution to draw or write: let solve"):
            action(np.ones(2))


# How samples fail


class Fragile(Plain):
    def solve(self, y):
        if y[0] == 1:
            raise ArithmeticError("no root")
        if y[0] == 2:
            return Solution([1.0, np.nan], residual=0.5)
        if y[0] == 3:
            raise RuntimeError("error code 91\n[0] KSPSolve() at itfunc.c\n[0] not converged")
        if y[0] == 4:
            raise InputError("outside of the table")
        if y[0] == 5:
            return Solution(y, iterations=None)
        y *= 2  # a copy: the next one is not changed
        return Solution((y.sum(), y.prod()), residual=1e-9, iterations=3)


def test_samples_that_fail_are_recorded_and_the_others_are_not_touched():
    Y = np.array([[k, 7.0] for k in (0, 1, 2, 3, 4, 5, 6)])
    before = Y.copy()
    batch = Fragile(Settings(), MPI.COMM_SELF).solve_batch(Y)
    assert np.array_equal(Y, before)
    assert batch.failure[0] == batch.failure[6] == ""
    assert batch.failure[1:5] == [
        "ArithmeticError: no root",
        "c is not finite",
        "RuntimeError: error code 91: [0] not converged",
        "InputError: outside of the table",
    ]
    assert batch.failure[5] == "iterations must be a whole number, >= 0; got None"
    assert batch.C[0].tolist() == [14, 0]
    assert batch.C[6].tolist() == [26, 168]
    assert np.isnan(batch.C[1:6]).all()
    assert batch.solver["iterations"].tolist() == [3, 0, 0, 0, 0, 0, 3]
    np.testing.assert_array_equal(
        batch.solver["residual"][[0, 1, 2, 3, 6]], [1e-9, np.nan, 0.5, np.nan, 1e-9]
    )


@pytest.mark.parametrize(
    ("solution", "reason"),
    [
        (np.ma.array([1.0, 2.0], mask=[0, 1]), "c has masked values"),
        (Solution([1.0, 2.0], residual="small"), "residual must be a number of at least 0, or NaN"),
        (Solution([1.0, 2.0], residual=-1e-9), "residual must be a number"),
        (Solution([1.0, 2.0], residual=1j), "residual must be a number"),
        (Solution([1.0, 2.0], iterations=-1), "iterations must be a whole number, >= 0; got -1"),
        (Solution([1.0, 2.0], iterations=2.5), "iterations must be a whole number"),
        (ValueError("a\0b\n\udc80"), "ValueError: a b: ?"),
    ],
)
def test_a_solution_that_is_no_data_is_a_failure(solution, reason):
    class Wrong(Plain):
        def solve(self, y):
            if isinstance(solution, Exception):
                raise solution
            return solution

    batch = solve(Wrong, [[1, 1]])
    assert batch.failure[0].startswith(reason)
    assert np.isnan(batch.C).all()


def test_nothing_masked_is_data():
    class Whole(Plain):
        def solve(self, y):
            return np.ma.array(y, mask=[0, 0])

    assert solve(Whole, [[1, 2]]).C.tolist() == [[1, 2]]


@pytest.mark.parametrize("stacked", [True, False])
def test_tensors_with_a_graph_are_taken_as_numbers(stacked):
    torch = pytest.importorskip("torch")

    class Graph(Plain):
        def solve(self, y):
            t = torch.tensor(y, requires_grad=True)
            c = [t[0] + t[1], t[0] * t[1]]
            return torch.stack(c) if stacked else c

    assert solve(Graph, [[2, 3]]).C.tolist() == [[5, 6]]


# Batches


class Batched(Plain):
    """Returns, or raises, what a function makes of Y and the right C."""

    made = staticmethod(lambda Y, C: Batch(C=C))

    def solve_batch(self, Y, *, tangents=False):
        return self.made(Y, np.column_stack([Y.sum(axis=1), Y.prod(axis=1)]))


def batches(made, *, tangents: bool = False) -> Batch:
    cls = type("Wrong", (Batched,), {"made": staticmethod(made), "has_tangents": True})
    return solved(cls(Settings(), MPI.COMM_SELF), np.array([[1.0, 2], [3, 4]]), tangents=tangents)


def test_a_batch_may_change_its_parameters_and_leave_out_how_good_it_is():
    Y = np.array([[1.0, 2], [3, 4]])

    def scale(Y, C):
        Y *= 10
        return Batch(C=Y)

    cls = type("Scaling", (Batched,), {"made": staticmethod(scale)})
    batch = solved(cls(Settings(), MPI.COMM_SELF), Y)
    assert Y.tolist() == [[1, 2], [3, 4]]
    assert batch.C.tolist() == [[10, 20], [30, 40]]
    assert batch.failure == ["", ""]
    assert np.isnan(batch.solver["residual"]).all()


def records(**values) -> np.ndarray:
    solver = np.zeros(2, SOLVER)
    for name, value in values.items():
        solver[name] = value
    return solver


class Kilometres(np.ndarray):
    unit = "km"


class Unwritable(list):
    def __repr__(self):
        raise RuntimeError

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError


class UnwritableError(Exception):
    def __str__(self):
        raise RuntimeError


def as_frame(C, names):
    return {name: C[:, k] for k, name in enumerate(names)}


def raised(error: BaseException):
    raise error


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda Y, C: raised(ZeroDivisionError("of zero\nlast")), "ZeroDivisionError: of zero: la"),
        (lambda Y, C: raised(SystemExit(3)), "SystemExit: 3"),
        (lambda Y, C: raised(InputError("outside")), "InputError: outside"),
        (lambda Y, C: C, "solve_batch must give a surrogates.pde.Batch; got array"),
        (lambda Y, C: Batch(C=C[:, :1]), r"C of shape \(2, 2\), as c_names; got \(2, 1\)"),
        (lambda Y, C: Batch(C=C * 1j), "C as real numbers; got array"),
        (lambda Y, C: Batch(C=C.astype(object)), "C as real numbers; got array"),
        (lambda Y, C: Batch(C=[[1], [1, 2]]), r"C as real numbers; got .*C cannot be read as an a"),
        (lambda Y, C: Batch(C=C.view(Kilometres)), "C has the unit km"),
        (lambda Y, C: Batch(C=[C[0].view(Kilometres), C[1]]), "C, row 0 has the unit km"),
        (
            lambda Y, C: Batch(C=as_frame(C, "ab")),
            "C lacks 'sum', 'product', has the unknown 'a', 'b'",
        ),
        (lambda Y, C: Unwritable(), "must give a surrogates.pde.Batch; got a Unwritable"),
        (lambda Y, C: Batch(C=[[Unwritable()] * 2] * 2), "C as real numbers; got a list"),
        (lambda Y, C: raised(UnwritableError()), "^UnwritableError$"),
        (lambda Y, C: Batch(C=C, failure=[""]), r"failure as a list of 2 texts; got \[''\]"),
        (lambda Y, C: Batch(C=C, failure=[None, None]), "failure as a list of 2 texts"),
        (lambda Y, C: Batch(C=C, failure="ok"), "failure as a list of 2 texts; got 'ok'"),
        (lambda Y, C: Batch(C=C, failure={"a", "b"}), "failure as a list of 2 texts; got {"),
        (lambda Y, C: Batch(C=C, solver=np.ma.array(records())), "give solver without a mask"),
        (lambda Y, C: Batch(C=C, solver=Unwritable([0, 0])), "^RuntimeError$"),
        (lambda Y, C: Batch(C=C, solver=np.zeros(2)), r"solver of shape \(2,\) and dtype SOLVER"),
        (lambda Y, C: Batch(C=C, solver=np.zeros(3, SOLVER)), "solver of shape"),
    ],
)
def test_a_batch_that_is_wrong_is_the_failure_of_its_samples(made, message):
    batch = batches(made)
    assert batch.failure[0] == batch.failure[1]
    assert re.search(message, batch.failure[0]) and "\n" not in batch.failure[0]
    assert batch.C.shape == (2, 2) and np.isnan(batch.C).all()


@pytest.mark.parametrize(
    ("made", "failure"),
    [
        (lambda Y, C: Batch(C=np.where(C == 3, np.nan, C)), "c is not finite"),
        (lambda Y, C: Batch(C=np.ma.masked_equal(C, 3)), "c has masked values"),
        (lambda Y, C: Batch(C=list(np.ma.masked_equal(C, 3))), "c has masked values"),
        (lambda Y, C: Batch(C=C, failure=["a\0b\nc", ""]), "a b c"),
        (lambda Y, C: Batch(C=C, failure=[" ", ""]), "failed"),
        (lambda Y, C: Batch(C=C, solver=records(residual=[-1, 0])), "residual must be a number"),
        (lambda Y, C: Batch(C=C, solver=records(iterations=[-1, 0])), "iterations must be a whole"),
        (lambda Y, C: Batch(C=C, solver=records(seconds=[np.nan, 0])), "seconds must be a number"),
        (
            lambda Y, C: Batch(C=C, solver=records(seconds=[-1, 0])),
            "seconds must be a number of at",
        ),
    ],
)
def test_a_sample_that_is_wrong_does_not_cost_the_others_of_its_batch(made, failure):
    batch = batches(made)
    assert batch.failure[0].startswith(failure) and batch.failure[1] == ""
    assert np.isnan(batch.C[0]).all() and batch.C[1].tolist() == [7, 12]


def test_tangents_of_a_batch_are_checked_and_those_not_asked_for_are_left_out():
    right = np.ones((2, 2, 2))
    assert batches(lambda Y, C: Batch(C=C, dC_dY=right)).dC_dY is None
    batch = batches(lambda Y, C: Batch(C=C, dC_dY=right), tangents=True)
    assert np.array_equal(batch.dC_dY, right) and batch.failure == ["", ""]
    for wrong, message in (
        (None, "dC_dY as real numbers; got None"),
        (right[:, :1], "dC_dY of shape"),
        (right * 1j, "dC_dY as real numbers"),
    ):
        batch = batches(lambda Y, C, given=wrong: Batch(C=C, dC_dY=given), tangents=True)
        assert all(message in text for text in batch.failure)
        assert np.isnan(batch.dC_dY).all()
    infinite = right.copy()
    infinite[1, 0, 1] = np.inf
    batch = batches(lambda Y, C: Batch(C=C, dC_dY=infinite), tangents=True)
    assert batch.failure == ["", "dC_dY is not finite"]


def test_no_memory_is_no_sample_s_failure():
    class Greedy(Plain):
        def solve(self, y):
            raise MemoryError

    with pytest.raises(MemoryError):
        solve(Greedy, [[1, 1]])
    with pytest.raises(MemoryError):
        batches(lambda Y, C: raised(MemoryError()))


@pytest.mark.parametrize(
    ("c", "message"),
    [
        ([1.0, 2.0, 3.0], r"shape \(2,\), as c_names; got \(3,\)"),
        ([[1.0, 2.0]], r"shape \(2,\), as c_names; got \(1, 2\)"),
        (1.0, r"shape \(2,\), as c_names; got \(\)"),
        (None, "real numbers; got None"),
        (np.array([1j, 2.0]), "real numbers; got array"),
        (["1", "2"], "real numbers; got"),
        ([[1.0], [1.0, 2.0]], "c cannot be read as an array of numbers"),
        ({"x": 1.0, "z": 2.0}, "c lacks 'sum', 'product', has the unknown 'x', 'z'"),
        (np.ones(2).view(Kilometres), "c has the unit km; give plain numbers"),
    ],
)
def test_observables_of_another_kind_are_a_mistake_in_the_class(c, message):
    class Wrong(Plain):
        def solve(self, y):
            return c

    with pytest.raises(InputError, match=f"^Wrong: solve must give .*{message}"):
        solve(Wrong, [[1, 1]])


@pytest.mark.parametrize(
    "c", [{"y": 2.0, "x": 1.0}, np.array((2.0, 1.0), [("y", "f8"), ("x", "f4")]), [1.0, 2.0]]
)
def test_observables_that_bear_names_are_matched_by_them(c):
    class Named(Plain):
        c_names = ("x", "y")

        def solve(self, y):
            return c

    assert solve(Named, [[1, 1]]).C.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "c", [[1.0, np.ma.masked], [np.ma.masked, 1.0], np.ma.array([1, 2], mask=[0, 1])]
)
def test_a_masked_observable_is_the_failure_of_its_sample(c):
    class Masked(Plain):
        def solve(self, y):
            return c

    assert solve(Masked, [[1, 1]]).failure == ["c has masked values"]


def test_a_masked_residual_is_not_known_to_be_zero():
    class Masked(Plain):
        def solve(self, y):
            return Solution([1, 2], residual=np.ma.masked)

    assert solve(Masked, [[1, 1]]).failure[0].startswith("residual must be a number of at least 0")


def test_what_a_class_must_leave_to_the_base_is_said():
    class Forgetful(Plain):
        def __init__(self, config, comm):
            self.n = 3

    with pytest.raises(InputError, match=r"Forgetful: .*super\(\).__init__\(config, comm\)"):
        solve(Forgetful, [[1, 1]])

    class Meshed(Plain):
        def __init__(self, config, comm):
            super().__init__(config, comm)
            self.mesh = config

    with pytest.raises(InputError, match="Meshed: self.mesh is the text"):
        Meshed(Settings(), MPI.COMM_SELF)
    Meshed.__init__ = lambda self, config, comm: setattr(self, "mesh", "4 cells")
    assert Meshed(Settings(), MPI.COMM_SELF).mesh == "4 cells"
    assert Plain(Settings(), MPI.COMM_SELF).mesh == ""


@pytest.mark.mpi
def test_processes_agree_on_what_failed(write):
    path = write(
        """
import sys
import numpy as np
from mpi4py import MPI
from surrogates.errors import InputError
from surrogates.pde import Batch, Problem
from surrogates.pde.solving import solved

class Split(Problem):
    y_names, y_lower, y_upper, c_names = ["a"], 0.0, 9.0, ["b"]

    def solve(self, y):
        rank = self.comm.rank
        if y[0] == 1 and rank == 1:
            raise ValueError("on one")
        if y[0] == 2 and rank == 0:
            raise ValueError("on the first")
        if y[0] == 3:
            return [np.nan if rank == 0 else 1.0]
        return [y[0]] if rank == 0 else None if y[0] < 5 else [y[0]] * 7

class Mistaken(Split):
    def solve(self, y):
        return [1.0] * (2 if self.comm.rank == 0 else 1)

class Together(Split):
    def solve_batch(self, Y, *, tangents=False):
        if Y[0] == 1 and self.comm.rank == 1:
            raise ValueError("on one")
        if Y[0] == 2:
            return Batch(C=Y * (1j if self.comm.rank == 0 else 1))
        return Batch(C=Y) if self.comm.rank == 0 else None

comm = MPI.COMM_WORLD
batch = Split(Split.Config(), comm).solve_batch(np.arange(6.0)[:, None])
assert batch.failure == ["", "ValueError: on one", "ValueError: on the first",
                         "c is not finite", "", ""], batch.failure
if comm.rank == 0:
    np.testing.assert_array_equal(batch.C[:, 0], [0, np.nan, np.nan, np.nan, 4, 5])
together = Together(Split.Config(), comm)
failures = [solved(together, np.full((1, 1), k)).failure[0] for k in range(4)]
assert failures[:2] == ["", "ValueError: on one"], failures
assert "real numbers" in failures[2] and failures[3] == "", failures
try:
    Mistaken(Split.Config(), comm).solve_batch(np.ones((1, 1)))
except InputError as error:
    assert "got (2,)" in str(error)
else:
    sys.exit(1)
print("agreed", flush=True)
"""
    )
    assert run(*MPIRUN, sys.executable, str(path), seconds=60).count("agreed") == 2


# Where problems are found


def test_a_file_s_neighbours_are_imported_and_dolfinx_is_not(write, tmp_path):
    write("SCALE = 3.0", "neighbour.py")
    path = write(
        "from neighbour import SCALE\nfrom surrogates.pde import Problem\n"
        "class Scaled(Problem):\n"
        "    y_names, y_lower, y_upper, c_names = ['a'], 0, 1, ['b']\n"
        "    def solve(self, y):\n        return SCALE * y\n"
    )
    program = (
        "import sys; from surrogates.pde.loading import load; problem = load(sys.argv[1]); "
        "print(problem.name, *{'dolfinx', 'petsc4py', 'mpi4py', 'torch'} & set(sys.modules))"
    )
    assert run(sys.executable, "-c", program, f"{path}:Scaled") == "own.py:Scaled\n"
    assert {entry.name for entry in tmp_path.iterdir()} <= {
        "own.py",
        "neighbour.py",
        "__pycache__",
    }
    assert not list(tmp_path.glob("__pycache__/own*"))


def test_settings_of_a_file_can_be_sent_to_other_processes(write):
    path = write(OSCILLATOR, "numpy.py")
    settings = load(f"{path}:Oscillator").Config(mass=2.5)
    assert sys.modules["numpy"] is np
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cdx", "unknown problem 'cdx'; did you mean 'cdr'? or FILE.py:CLASS"),
        ("heat", "unknown problem 'heat'; known are cdr, dcr or FILE.py:CLASS"),
        ("heat.c:Heat", "known are cdr, dcr or FILE.py:CLASS"),
        ("nowhere.py:Heat", "cannot read nowhere.py: No such file or directory"),
        ("tests/__init__.py/x.py:Heat", "cannot read"),
    ],
)
def test_an_unknown_problem_is_refused(name, message):
    assert message in refusal(name)


@pytest.mark.parametrize(
    ("text", "wanted", "message"),
    [
        ("x = 1\nraise ValueError('no y')", "A", ", line 2: ValueError: no y"),
        ("x = 1\n\nx x", "A", ", line 3: SyntaxError: "),
        ("import nonesuch", "A", ", line 1: ModuleNotFoundError: "),
        ("import json\n\njson.loads('x')", "A", ", line 3: JSONDecodeError: "),
        ("raise SystemExit('use me otherwise')", "A", ", line 1: SystemExit: use me otherwise"),
        ("from surrogates.pde import Problem", "Problem", "defines no class that derives"),
        (OSCILLATOR, "Osciladora", "unknown class 'Osciladora'; did you mean 'Oscillator'?"),
        (OSCILLATOR, "", "unknown class ''; known are Oscillator"),
        (OSCILLATOR + "\nclass Other: pass", "Other", "Other does not derive from surrogates.pde"),
        (OSCILLATOR.replace("solve", "slove"), "Oscillator", "has no method solve(self, y)"),
        (
            OSCILLATOR.replace("    @dataclass(frozen=True, kw_only=True)\n", ""),
            "Oscillator",
            "with @dataclass(frozen=True, kw_only=True) above it",
        ),
        (OSCILLATOR.replace("(Settings)", ""), "Oscillator", "that derives from surrogates.pde.Se"),
        (
            OSCILLATOR.replace("float = 1.0", "float"),
            "Oscillator",
            "each with a default: TypeError",
        ),
        (
            OSCILLATOR.replace("float = 1.0", "dict = None"),
            "Oscillator",
            "must be bool, int, float",
        ),
        (OSCILLATOR.replace("float = 1.0", "int = 1.5"), "Oscillator", "must be of type int"),
        (
            OSCILLATOR.replace("solve(self, y)", "solve_batch(self, Y)"),
            "Oscillator",
            "solve_batch must be solve_batch(self, Y, *, tangents=False): ",
        ),
        (
            OSCILLATOR.replace("c_units =", "source ="),
            "Oscillator",
            "`name`, `source` and `neighbours`",
        ),
    ],
)
def test_a_file_that_holds_no_problem_is_refused(write, text, wanted, message):
    assert message in refusal(f"{write(text)}:{wanted}")


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_problems_are_of_the_same_kind(name):
    problem = load(name)
    settings = problem.Config()
    assert (problem.name, problem.source) == (name, "")
    assert problem.design(settings) == settings.sampling.design
    assert problem.batch(settings) == settings.solver.batch
    Y = problem.parameters(settings, total=30, seed=1, start=4, stop=6)
    assert Y.shape == (2, len(problem.describe(settings)["y_names"]))


def test_one_sample_of_a_built_in_problem():
    problem = load("cdr")
    settings = config.read(problem.Config, None, ["mesh.cells=[4,4]", "mesh.degree=2"])
    cdr = problem(settings, MPI.COMM_SELF)
    y = np.full(55, 1 / 55)
    alone, batch = cdr.solve(y), cdr.solve_batch(y[None])
    assert np.array_equal(alone.c, batch.C[0])
    assert alone.residual == batch.solver["residual"][0] > 0
    with pytest.raises(InputError, match="the solve failed: the time step is too long"):
        cdr.solve(500 * y)


# Darcy


def darcy(cells: int) -> Problem:
    class Finer(load(DARCY)):
        pass

    Finer.cells = cells
    return Finer(Settings(), MPI.COMM_SELF)


def modes(points: np.ndarray) -> np.ndarray:
    return sys.modules[load(DARCY).__module__].modes(points)


def test_the_expansion_is_that_of_the_covariance(path_kept):
    t = (np.arange(40) + 0.5) / 40
    points = np.stack(np.meshgrid(t, t), axis=-1).reshape(-1, 2)
    terms = modes(points)
    products = terms.T @ terms / len(points)
    sizes = np.diag(products)
    # Orthogonal in L2, and as large as the covariance's eigenvalues, which are products of those
    # in one dimension.
    assert np.abs(products - np.diag(sizes)).max() < 2e-3 * sizes[0]
    one, two = (
        np.linalg.eigvalsh(np.exp(-(((t[:, None] - t) / length) ** 2) / 2) / len(t))
        for length in (0.4, 0.3)
    )
    expected = np.sort(np.outer(one, two).ravel())[::-1]
    np.testing.assert_allclose(sizes, expected[:8], rtol=5e-3)
    assert abs(sizes.sum() - 0.963) < 1e-3  # of the variance, 1
    # Nothing is left of the covariance but the terms that are cut off.
    differences = (points[:, None] - points) / [0.4, 0.3]
    left = np.exp(-(differences**2).sum(axis=2) / 2) - terms @ terms.T
    norm = np.linalg.norm(left) / len(points)
    np.testing.assert_allclose(norm, np.linalg.norm(expected[8:]), rtol=1e-2)


def collocation(y: np.ndarray, n: int = 26) -> np.ndarray:
    """Solve the flow by Chebyshev collocation, which shares no code: heads at the wells."""
    k = np.arange(n + 1)
    x = (1 - np.cos(np.pi * k / n)) / 2
    c = np.where((k == 0) | (k == n), 2.0, 1.0) * (-1.0) ** k
    D = np.outer(c, 1 / c) / (x[:, None] - x + np.eye(n + 1))
    D -= np.diag(D.sum(axis=1))
    points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    K, one = np.exp(modes(points) @ y)[:, None], np.eye(n + 1)
    D1, D2 = np.kron(D, one), np.kron(one, D)
    A = -(D1 @ (K * D1) + D2 @ (K * D2))
    b = np.ones(len(points))
    flow, ends = (np.isclose(points[:, i] * (1 - points[:, i]), 0) for i in (1, 0))
    A[flow], b[flow] = D2[flow], 0
    A[ends], b[ends] = np.eye(len(points))[ends], 0
    h = np.linalg.solve(A, b).reshape(n + 1, n + 1)
    wells = np.arange(1, 6) / 6
    weights = (-1.0) ** k * np.where((k == 0) | (k == n), 0.5, 1.0)
    L = weights / (wells[:, None] - x)
    L /= L.sum(axis=1, keepdims=True)
    return (L @ h @ L.T).T.ravel()  # x1 fastest


def test_darcy_s_heads_converge_to_those_of_another_method_at_order_two(path_kept):
    y = load(DARCY).parameters(Settings(), total=1, seed=3, start=0, stop=1)
    reference = collocation(y[0])
    assert np.abs(collocation(y[0], 20) - reference).max() < 1e-5 * reference.max()
    errors = []
    for cells in (12, 24, 48, 96):
        batch = darcy(cells).solve_batch(np.vstack([0 * y, y]))
        assert batch.failure == ["", ""]
        assert 0 < batch.solver["residual"][1] < 1e-9
        errors.append(np.linalg.norm(batch.C[1] - reference) / np.linalg.norm(reference))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert ((orders[-2:] > 1.9) & (orders[-2:] < 2.3)).all(), (errors, orders)
    assert errors[1] < 0.01, errors


@pytest.mark.parametrize("cells", [30, 3])  # with 3, wells are in the cells of the ends too
def test_darcy_s_heads_in_uniform_sand_are_exact_at_the_nodes(path_kept, cells):
    nodes = np.linspace(0, 1, cells + 1)
    x1 = np.tile(np.arange(1, 6) / 6, 5)
    batch = darcy(cells).solve_batch(np.zeros((1, 8)))
    expected = np.interp(x1, nodes, nodes * (1 - nodes) / 2)
    np.testing.assert_allclose(batch.C[0], expected, rtol=1e-8)


@pytest.mark.mpi
def test_darcy_end_to_end(tmp_path):
    surrogates = (sys.executable, "-m", "surrogates")
    out, model = str(tmp_path / "darcy.h5"), str(tmp_path / "darcy.pt")
    words = ("generate", DARCY, "--set", "batch=8")
    run(*MPIRUN, *surrogates, *words, "--samples", "120", "--out", out)
    dataset = Dataset.read(out)
    assert dataset.info.problem == "darcy.py:Darcy"
    assert dataset.problems() == []
    assert 0.02 < dataset.C.std(axis=0).min()
    shared = str(tmp_path / "shared.h5")
    both = ("--samples", "16", "--ranks-per-sample", "2", "--out", shared)
    run(*MPIRUN, *surrogates, *words, *both)
    np.testing.assert_allclose(Dataset.read(shared).C, dataset.C[:16], rtol=1e-6)
    run(
        *surrogates,
        "train",
        out,
        "--out",
        model,
        "--effort",
        "fast",
        "--set",
        "stopping.work_units=100",
    )
    run(*surrogates, "export", model, "--format", "npz", "--out", str(tmp_path / "darcy.npz"))
    h = npz.load(tmp_path / "darcy.npz").predict(np.zeros(8))
    x1 = np.tile(np.arange(1, 6) / 6, 5)
    assert np.linalg.norm(h - x1 * (1 - x1) / 2) < 0.3 * np.linalg.norm(x1 * (1 - x1) / 2)


def test_a_reader_that_has_gone_is_an_error_once_petsc_is_there(tmp_path):
    # PETSc ends its program at SIGPIPE, as in `surrogates verify cdr.h5 | head -1`.
    (tmp_path / "late.py").write_text(
        "from surrogates.pde import Problem\n"
        "class Late(Problem):\n"
        "    y_names, y_lower, y_upper, c_names = ('y',), 0.0, 1.0, ('c',)\n"
        "    def __init__(self, config, comm):\n"
        "        super().__init__(config, comm)\n"
        "        from petsc4py import PETSc\n"
        "    def solve(self, y):\n"
        "        return y\n"
    )
    program = (
        "import os\n"
        "from mpi4py import MPI\n"
        "from surrogates.pde.loading import load\n"
        "from surrogates.pde.solving import made\n"
        "def written():\n"
        "    reader, writer = os.pipe()\n"
        "    os.close(reader)\n"
        "    try: os.write(writer, b'x')\n"
        "    except BrokenPipeError: print('an error')\n"
        "late = load('late.py:Late')\n"
        "made(late, late.Config(), MPI.COMM_SELF)\n"
        "written()\n"
        "load('cdr')\n"
        "written()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stdout) == (0, "an error\n" * 2), done.stderr
