"""How samples and batches are solved, and how they fail."""

import re
import sys

import numpy as np
import pytest
from mpi4py import MPI
from problems import MPIRUN, Plain, run

from surrogates.errors import InputError
from surrogates.pde import SOLVER, Batch, Problem, Settings, Solution
from surrogates.pde.solving import solved

pytestmark = pytest.mark.fenicsx


def solve(problem: type[Problem], Y: object):
    return problem(problem.Config(), MPI.COMM_SELF).solve_batch(np.array(Y, dtype=float))


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
        (lambda Y, C: Batch(C=np.full(C.shape, "1", dtype=object)), "C as real numbers; got array"),
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
