"""What a user may get wrong in a problem in weak form: one line each, which says what is right."""

from __future__ import annotations

import numpy as np
import pytest
import ufl
from mpi4py import MPI
from ufl import dot, ds, dx, grad
from weak_forms import Bratu, Square, around, left, made

from surrogates.errors import InputError
from surrogates.pde import (
    At,
    Dirichlet,
    Problem,
    Settings,
    Time,
    VariationalProblem,
    WeakForm,
    function_space,
    solving,
)
from surrogates.pde.loading import load

pytestmark = pytest.mark.fenicsx

INSIDE = [[0.5, 0.5]]


def statement(define, **attributes) -> VariationalProblem:
    """Make a problem of one parameter and one observable, with this method."""
    return made(type("Wrong", (Square,), {"define": define}), n=2, **attributes)


def changed(**parts):
    """Define a right problem, but for some parts."""

    def define(self, u, v, y):
        whole = {
            "residual": y[0] * dot(grad(u), grad(v)) * dx - y[1] * v * dx,
            "conditions": [Dirichlet(u, 0, around)],
            "observables": [At(u, INSIDE)],
        }
        made_of = {key: part(self, u, v, y) for key, part in parts.items()}
        return WeakForm(**{**whole, **made_of})

    return define


WRONG = {
    "outside": (
        {"observables": lambda self, u, v, y: [At(u, [[0.5, 1.2]])]},
        r"Wrong: At: the mesh has no cell at \[0.5, 1.2, 0.0\]",
    ),
    "points": (
        {"observables": lambda self, u, v, y: [At(u, [[0.5]])]},
        r"At: points must have shape \(n, 2\) or \(n, 3\); got \(1, 1\)",
    ),
    "not linear in v": (
        {"residual": lambda self, u, v, y: y[0] * u * v**2 * dx - y[1] * v * dx},
        "residual: it must be linear in the test function v",
    ),
    "a square of v alone": (
        {"residual": lambda self, u, v, y: y[0] * dot(grad(u), grad(v)) * dx - y[1] * v * v * dx},
        "residual: it must be linear in the test function v",
    ),
    "without a measure": (
        {"residual": lambda self, u, v, y: y[0] * u * v - y[1] * v},
        "every term times a measure such as dx; got Sum",
    ),
    "an equation": (
        {"residual": lambda self, u, v, y: y[0] * u * v * dx == y[1] * v * dx},
        "a UFL form, F in F = 0, .* got Equation",
    ),
    "observables of other kinds": (
        {"observables": lambda self, u, v, y: [u * dx, u]},
        r"observables must be a list of At\(u, points\) or UFL forms; got \[Form, Function\]",
    ),
    "one coefficient": (
        {"residual": lambda self, u, v, y: self.expansion(y[0], INSIDE) * u * v * dx},
        r"expansion: its coefficients must be a part of y, such as y\[:8\] or \[y\[0\]\]; got c",
    ),
    "no v": (
        {"residual": lambda self, u, v, y: y[0] * u * y[1] * dx},
        "residual: the test function v is in none of its terms",
    ),
    "a term without v": (
        {"residual": lambda self, u, v, y: y[0] * u * v * dx - y[1] * dx},
        "residual: it must be linear in the test function v",
    ),
    "no u": (
        {"residual": lambda self, u, v, y: (y[0] + y[1]) * v * dx},
        "residual: the unknown u is in none of its terms",
    ),
    "a trial function": (
        {
            "residual": lambda self, u, v, y: (
                y[0] * y[1] * dot(grad(ufl.TrialFunction(self.V)), grad(v)) * dx
            )
        },
        "residual: write the unknown u itself, not a TrialFunction",
    ),
    "another test function": (
        {
            "residual": lambda self, u, v, y: (
                (y[0] * u - y[1]) * ufl.TestFunction(function_space(self.domain, 2)) * dx
            )
        },
        "residual: its test function must be the v that define gets",
    ),
    "unused": (
        {"residual": lambda self, u, v, y: dot(grad(u), grad(v)) * dx - y[1] * v * dx},
        "y is not used: a in no term of the residual, the conditions or the observables",
    ),
    "no form": (
        {"residual": lambda self, u, v, y: y[0] * u * v},
        "residual must be a UFL form, .*; got ",
    ),
    "too many": (
        {"observables": lambda self, u, v, y: [At(u, INSIDE), u * ds]},
        "the observables are 2 numbers at all times together, but c_names has 1",
    ),
    "none": ({"observables": lambda self, u, v, y: []}, "observables is empty"),
    "a point itself": (
        {"observables": lambda self, u, v, y: INSIDE},
        r"observables must be a list of At\(u, points\) or UFL forms",
    ),
    "an observable with v": (
        {"observables": lambda self, u, v, y: [u * v * dx]},
        "an observable is a form without test function",
    ),
    "nowhere": (
        {"conditions": lambda self, u, v, y: [Dirichlet(u, 0, lambda x: x[0] > 2)]},
        "condition 0 holds nowhere",
    ),
    "of something else": (
        {"conditions": lambda self, u, v, y: [Dirichlet(2 * u, 0, left)]},
        "a condition or an observable must be of the unknown u or a part",
    ),
    "a vector's value": (
        {"conditions": lambda self, u, v, y: [Dirichlet(u, [1, 2], left)]},
        "condition 0: its value must be a number, 1 numbers",
    ),
    "a vector's expression": (
        {"conditions": lambda self, u, v, y: [Dirichlet(u, self.x, left)]},
        r"condition 0: its value must have shape \(\); got \(2,\)",
    ),
    "bad `on`": (
        {"conditions": lambda self, u, v, y: [Dirichlet(u, 0, 0.5)]},
        "condition 0: `on` must be a function of points x",
    ),
    "du/dt without time": (
        {"residual": lambda self, u, v, y: (y[0] * self.u_t + y[1] * u) * v * dx},
        "so WeakForm needs time=Time",
    ),
    "time without du/dt": (
        {"time": lambda self, u, v, y: Time(final=1.0, steps=2)},
        "WeakForm has a time, but its residual does not contain du/dt",
    ),
    "du/dt in an observable": (
        {"observables": lambda self, u, v, y: [self.u_t * dx]},
        r"du/dt \(u_t\) may only be in the residual",
    ),
    "a field of vectors": (
        {
            "residual": lambda self, u, v, y: (
                self.expansion(y, np.zeros, function_space(self.domain, 1, (2,)))[0] * u * v * dx
            )
        },
        "expansion: the field's space must be one of scalars",
    ),
    "a boundary without facets": (
        {
            "residual": lambda self, u, v, y: (
                y[0] * y[1] * u * v * self.boundaries(lambda x: x[0] > 2)[0]
            )
        },
        "boundaries: part 0 has no facet",
    ),
    "boundaries twice": (
        {
            "residual": lambda self, u, v, y: (
                y[0] * u * v * self.boundaries(left)[0] + y[1] * v * self.boundaries(left)[0]
            )
        },
        "boundaries: name all parts in one call",
    ),
    "coefficients": (
        {"residual": lambda self, u, v, y: self.expansion([2 * y[0], y[1]], np.zeros) * u * v * dx},
        "expansion: the coefficients must be different parameters",
    ),
    "modes": (
        {"residual": lambda self, u, v, y: self.expansion(y, lambda x: x) * u * v * dx},
        r"expansion: modes of 2 coefficients y_j must have shape \(2, 9\)",
    ),
    "modes that are not finite": (
        {
            "residual": lambda self, u, v, y: (
                self.expansion(y, lambda x: np.log(0 * x[:2])) * u * v * dx
            )
        },
        "expansion: a mode is not finite",
    ),
    "modes of another kind": (
        {"residual": lambda self, u, v, y: self.expansion(y, "cos") * u * v * dx},
        "expansion: modes must be a function of points",
    ),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_wrong_statement_is_one_line(name):
    parts, message = WRONG[name]
    with pytest.raises(InputError, match=message) as raised:
        statement(changed(**parts), c_names=("c",))
    assert str(raised.value).startswith("Wrong: ")
    assert "\n" not in str(raised.value)


def test_the_right_statement_is_right():
    problem = statement(changed(), c_names=("c",))
    assert problem.solve_batch(np.ones((1, 2))).failure == [""]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"final": 0.0, "steps": 2}, "final must be positive; got 0"),
        ({"final": 1.0, "steps": 0}, "steps must be a whole number, at least 1; got 0"),
        ({"final": 1.0, "steps": 2.5}, "steps must be a whole number, at least 1; got 2.5"),
        ({"final": 1.0, "steps": 4, "observed": (0.3,)}, "multiples of 0.25 .*; got 0.3"),
        ({"final": 1.0, "steps": 4, "observed": (0.0, 1.0)}, "up to 1; got 0"),
        ({"final": 1.0, "steps": 4, "observed": (1.0, 0.5)}, "observed must increase"),
    ],
)
def test_a_wrong_time_is_one_line(given, message):
    with pytest.raises(InputError, match=message):
        Time(**given)


@pytest.mark.parametrize("method", ["space", "define"])
def test_both_methods_are_needed(method):
    missing = type("Missing", (Bratu,), {method: getattr(VariationalProblem, method)})
    with pytest.raises(InputError, match=f"Missing has no method {method}"):
        made(missing)
    assert issubclass(missing, Problem)


def test_a_space_and_a_statement_must_be_such():
    with pytest.raises(InputError, match="space must return a DOLFINx function space; got 3"):
        made(Bratu, space=lambda self: 3)
    with pytest.raises(InputError, match="define must return a WeakForm; got None"):
        made(Bratu, define=lambda self, u, v, y: None)


def test_a_mesh_goes_by_another_name():
    def space(self):
        self.mesh = "cells"
        self.mesh = Bratu.space(self).mesh

    with pytest.raises(InputError, match="call the mesh itself self.domain"):
        made(Bratu, space=space)


def test_a_vector_is_observed_by_components():
    def define(self, u, v, y):
        return WeakForm(
            residual=y[0] * dot(u, v) * dx - y[1] * v[0] * dx, observables=[At(u, INSIDE)]
        )

    with pytest.raises(InputError, match=r"observe a component of u, as in At\(u\[0\], points\)"):
        statement(define, shape=(2,), c_names=("c",))


def test_a_singular_problem_is_a_failed_sample():
    def define(self, u, v, y):
        return WeakForm(
            residual=y[0] * dot(grad(u), grad(v)) * dx - y[1] * v * dx,
            observables=[At(u, INSIDE)],
        )

    batch = statement(define, c_names=("c",)).solve_batch(np.ones((2, 2)))
    assert all("the matrix" in text for text in batch.failure), batch.failure
    assert np.isnan(batch.C).all()


def test_a_residual_that_is_not_finite_is_a_failed_sample_with_its_reason():
    def define(self, u, v, y):
        return WeakForm(
            residual=y[0] * dot(grad(u), grad(v)) * dx - ufl.sqrt(y[1] - 1) * v * dx,
            conditions=[Dirichlet(u, 0, around)],
            observables=[At(u, INSIDE)],
        )

    batch = statement(define, c_names=("c",)).solve_batch(np.array([[1, 0.5], [1, 1.5]]))
    assert "F is not finite" in batch.failure[0]
    assert batch.failure[1] == ""


def test_an_error_in_define_is_one_line_with_its_place(tmp_path, capfd):
    path = tmp_path / "branches.py"
    path.write_text(
        "from weak_forms import Square\n\n\nclass Branches(Square):\n    c_names = ('c',)\n\n"
        "    def define(self, u, v, y):\n        return 1 if y[0] > 1 else 2\n"
    )
    with pytest.raises(InputError, match=r"branches.py:Branches, line 8: \w+: UFL conditions"):
        solving.made(load(f"{path}:Branches"), Settings(), MPI.COMM_SELF)
    assert capfd.readouterr() == ("", "")
