"""Problems in weak form: orders of convergence, exact solutions, failures, other processes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import weak_forms
from problems import MPIRUN, run
from weak_forms import Bratu, Channel, InTime, Linear, Nonlinear, drawn, made

from surrogates.pde import functions

pytestmark = pytest.mark.fenicsx


def errors(problem, **levels) -> np.ndarray:
    """The L2 errors of a problem for values of one attribute, at one y."""
    ((key, values),) = levels.items()
    found = []
    for value in values:
        solved = made(problem, **{key: value})
        batch = solved.solve_batch(drawn(solved, 1, seed=4))
        assert batch.failure == [""]
        assert batch.solver["residual"][0] < 1e-9
        found.append(np.sqrt(batch.C[0, 0]))
    return np.array(found)


@pytest.mark.parametrize(("problem", "degree", "bound"), [(Linear, 1, 1e-3), (Linear, 2, 1e-5)])
def test_a_linear_problem_converges_at_the_order_of_its_elements(problem, degree, bound):
    finer = type(problem.__name__, (problem,), {"degree": degree})
    found = errors(finer, n=(8, 16, 32))
    orders = np.log2(found[:-1] / found[1:])
    assert ((orders > degree + 0.9) & (orders < degree + 1.3)).all(), orders
    assert found[-1] < 3 * bound


@pytest.mark.parametrize("degree", [1, 2])
def test_a_nonlinear_problem_converges_at_the_order_of_its_elements(degree):
    finer = type("Nonlinear", (Nonlinear,), {"degree": degree})
    found = errors(finer, n=(4, 8, 16))
    orders = np.log2(found[:-1] / found[1:])
    assert ((orders > degree + 0.9) & (orders < degree + 1.3)).all(), orders
    assert found[-1] < (1e-2, 1e-4)[degree - 1]


def test_a_transient_problem_converges_at_order_two_in_time():
    found = errors(InTime, steps=(16, 32, 64, 128))
    orders = np.log2(found[:-1] / found[1:])
    assert ((orders[-2:] > 1.9) & (orders[-2:] < 2.3)).all(), orders
    assert found[-1] < 1e-3


def test_a_mixed_problem_whose_solution_is_in_the_space_is_solved_exactly():
    problem = made(Channel)
    Y = drawn(problem, 3)
    batch = problem.solve_batch(Y, tangents=True)
    assert batch.failure == [""] * 3
    a, b = Y.T
    exact = np.stack([0.24 * a, 0 * a, 2 * a * b, a * b, a / 6], axis=1)
    np.testing.assert_allclose(batch.C, exact, atol=1e-9)
    zero = 0 * a
    by_a = np.stack([0.24 + zero, zero, 2 * b, b, 1 / 6 + zero], axis=1)
    by_b = np.stack([zero, zero, 2 * a, a, zero], axis=1)
    np.testing.assert_allclose(batch.dC_dY, np.stack([by_a, by_b], axis=2), atol=1e-9)
    assert set(problem.solution) == {"u0", "u1"}


def test_newton_s_method_finds_bratu_s_solution_and_no_other():
    problem = made(Bratu)
    theta = np.array([0.7, 1.5, 2.5])
    a = theta**2 / (2 * np.cosh(theta / 4) ** 2)
    batch = problem.solve_batch(a[:, None])
    np.testing.assert_allclose(batch.C[:, 0], 2 * np.log(np.cosh(theta / 4)), rtol=1e-6)
    assert (batch.solver["iterations"] >= 2).all()


def test_a_problem_without_a_solution_is_a_failed_sample_with_its_reason():
    problem = made(Bratu)
    batch = problem.solve_batch(np.array([[1.0], [5.0], [2.0]]), tangents=True, adjoints=np.eye(1))
    assert [bool(text) for text in batch.failure] == [False, True, False]
    assert "Newton's method: diverged" in batch.failure[1]
    for values in (batch.C, batch.dC_dY, batch.dW_dY):
        assert np.isnan(values[1]).all()
        assert np.isfinite(values[[0, 2]]).all()


def test_a_sample_does_not_depend_on_those_before_it():
    for problem in (weak_forms.Conduction, weak_forms.Fields, weak_forms.Heat, Bratu):
        Y = drawn(made(problem), 3) * 0.6
        together = made(problem).solve_batch(Y, tangents=True)
        alone = made(problem).solve_batch(Y[2:], tangents=True)
        assert np.array_equal(together.C[2:], alone.C)
        assert np.array_equal(together.dC_dY[2:], alone.dC_dY)


def test_a_solution_in_time_is_pictured_at_its_observed_times():
    problem = made(weak_forms.Heat)
    problem.solve_batch(drawn(problem, 1))
    assert list(problem.solution) == ["u(t = 0.2)", "u(t = 0.5)"]
    at_wells = functions.along(problem.solution, np.array([[0.31, 0.62, 0]]))
    C = problem.solve_batch(drawn(problem, 1)).C[0]
    found = [at_wells[name][0, 0] for name in problem.solution]
    np.testing.assert_allclose(found, C[[0, 3]], rtol=1e-12)


def test_iterative_solvers_find_the_same():
    options = {"ksp_type": "gmres", "pc_type": "ilu"}
    Y = drawn(made(weak_forms.Fields), 2)
    W = np.random.default_rng(1).standard_normal((2, 6))
    by_factors = made(weak_forms.Fields).solve_batch(Y, tangents=True, adjoints=W)
    by_iteration = made(weak_forms.Fields, petsc_options=options).solve_batch(
        Y, tangents=True, adjoints=W
    )
    assert by_iteration.failure == ["", ""]
    assert (by_iteration.solver["iterations"] > 5).all()
    for name in ("C", "dC_dY", "dW_dY"):
        one, other = getattr(by_factors, name), getattr(by_iteration, name)
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-8)


def test_derivatives_by_a_solver_that_is_too_weak_are_a_failure():
    options = {"ksp_type": "preonly", "pc_type": "ilu", "snes_max_it": 400}
    problem = made(Nonlinear, petsc_options=options)
    Y = drawn(problem, 1)
    assert problem.solve_batch(Y).failure == [""]  # Newton's method gets there in small steps
    for asked in ({"tangents": True}, {"adjoints": np.eye(1)}):
        batch = problem.solve_batch(Y, **asked)
        assert "relative residual" in batch.failure[0]
        assert np.isnan(batch.C).all()


ON_RANKS = """
import sys
import numpy as np
from mpi4py import MPI
from weak_forms import Channel, Conduction, Fields, Heat, Jumps, Rubber, drawn, made
results = {}
for problem in (Channel, Conduction, Fields, Heat, Rubber, Jumps):
    solved = made(problem, MPI.COMM_WORLD)
    n_c = len(problem.c_names)
    W = np.random.default_rng(1).standard_normal((2, n_c))
    batch = solved.solve_batch(drawn(solved, 1), tangents=True, adjoints=W)
    assert batch.failure == [""], batch.failure
    for name in ("C", "dC_dY", "dW_dY"):
        results[problem.__name__ + name] = getattr(batch, name)
    results[problem.__name__ + "mesh"] = solved.mesh
if MPI.COMM_WORLD.rank == 0:
    np.savez(sys.argv[1], **results)
"""


@pytest.mark.mpi
def test_one_and_two_processes_find_the_same(tmp_path, monkeypatch):
    program = tmp_path / "on_ranks.py"
    program.write_text(ON_RANKS)
    monkeypatch.setenv("PYTHONPATH", str(Path(weak_forms.__file__).parent))
    run(sys.executable, str(program), str(tmp_path / "one.npz"), seconds=100)
    run(*MPIRUN, sys.executable, str(program), str(tmp_path / "two.npz"), seconds=180)
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "two.npz") as two:
        for name in one:
            if name.endswith("mesh"):
                assert one[name] == two[name]
            else:
                np.testing.assert_allclose(
                    one[name], two[name], rtol=1e-9, atol=1e-10, err_msg=name
                )
