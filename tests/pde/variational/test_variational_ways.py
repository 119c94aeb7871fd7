"""Ways to write the same: modes, parts of the boundary, components, starts, spaces."""

from __future__ import annotations

import numpy as np
import pytest
import ufl
from dolfinx import fem, mesh
from ufl import as_vector, dot, dx, exp, grad, inner, sin
from weak_forms import Square, around, drawn, left, made, taylor_orders

from surrogates.pde import At, Dirichlet, Time, VariationalProblem, WeakForm, function_space
from surrogates.pde.fenicsx import mixed_space

pytestmark = pytest.mark.fenicsx


def modes(x):
    return np.stack([np.cos(3 * x[0]), x[1]])


def solved(define, **attributes) -> np.ndarray:
    problem = made(type("Way", (Square,), {"define": define}), **attributes)
    batch = problem.solve_batch(drawn(problem, 2), tangents=True)
    assert batch.failure == ["", ""]
    return np.concatenate([batch.C[:, :, None], batch.dC_dY], axis=2)


def test_modes_may_be_one_function_several_coefficients_or_functions():
    def given(self, way):
        if way == "one function":
            return modes
        if way == "several":
            return [lambda x: np.cos(3 * x[0]), lambda x: x[1]]
        W = function_space(self.domain, 1)
        coefficients = modes(W.tabulate_dof_coordinates().T)
        if way == "coefficients":
            return coefficients
        functions = [fem.Function(W) for _ in coefficients]
        for one, values in zip(functions, coefficients, strict=True):
            one.x.array[:] = values
        return functions

    def define(self, u, v, y):
        k = self.expansion(y, given(self, self.way))
        return WeakForm(
            residual=exp(k) * dot(grad(u), grad(v)) * dx - v * dx,
            conditions=[Dirichlet(u, 0, around)],
            observables=[u * dx],
        )

    ways = ["one function", "several", "coefficients", "functions"]
    found = [solved(define, way=way, c_names=("c",)) for way in ways]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-12)


def test_a_condition_is_on_points_or_facets_with_any_kind_of_value():
    def define(self, u, v, y):
        facets = mesh.locate_entities_boundary(self.domain, 1, left)
        on = {"points": left, "facets": facets}[self.on]
        value = {
            "number": 2.0,
            "function": lambda x: 2 + 0 * x[0],
            "expression": 2 + 0 * self.x[0] + self.t,
            "numbers of UFL": ufl.as_ufl(2),
        }[self.value]
        return WeakForm(
            residual=y[0] * dot(grad(u), grad(v)) * dx + u * v * dx - y[1] * v * dx,
            conditions=[Dirichlet(u, value, on)],
            observables=[At(u, [[0, 0.3], [0.7, 0.3]])],
        )

    values = ["number", "function", "expression", "numbers of UFL"]
    found = [solved(define, value=value, on="points", c_names=("a", "b")) for value in values]
    found.append(solved(define, value="number", on="facets", c_names=("a", "b")))
    np.testing.assert_allclose(found[0][:, 0, 0], 2, rtol=1e-12)
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-12, atol=1e-14)


def test_the_later_of_two_conditions_holds():
    def define(self, u, v, y):
        return WeakForm(
            residual=y[0] * dot(grad(u), grad(v)) * dx,
            conditions=[Dirichlet(u, y[1], around), Dirichlet(u, 3, left)],
            observables=[At(u, [[0, 0], [1, 0]])],
        )

    problem = made(type("Way", (Square,), {"define": define}), c_names=("a", "b"))
    batch = problem.solve_batch(np.array([[1.0, 0.7]]), tangents=True)
    np.testing.assert_allclose(batch.C, [[3, 0.7]])
    np.testing.assert_allclose(batch.dC_dY, [[[0, 0], [0, 1]]], atol=1e-14)


def test_one_component_may_slide_while_the_other_is_held():
    def define(self, u, v, y):
        strain = ufl.sym(grad(u))
        return WeakForm(
            residual=inner(2 * strain + ufl.tr(strain) * ufl.Identity(2), grad(v)) * dx,
            conditions=[
                Dirichlet(u[0], 0, left),
                Dirichlet(u[1], 0, lambda x: np.isclose(x[1], 0)),
                Dirichlet(u[0], y[0], lambda x: np.isclose(x[0], 1)),
                Dirichlet(u[1], -y[1] * self.x[1], lambda x: np.isclose(x[1], 1)),
            ],
            observables=[At(u[0], [[0.3, 0.6]]), At(u[1], [[0.3, 0.6]])],
        )

    problem = made(type("Way", (Square,), {"define": define}), shape=(2,), c_names=("u1", "u2"))
    batch = problem.solve_batch(np.array([[0.5, 0.25]]), tangents=True)
    np.testing.assert_allclose(batch.C, [[0.15, -0.15]], rtol=1e-12)  # uniform strains
    np.testing.assert_allclose(batch.dC_dY[0], [[0.3, 0], [0, -0.6]], atol=1e-13)


class Wave(VariationalProblem):
    """d2u/dt2 = c^2 u'' as a system of first order: u = A sin(pi x) cos(c pi t)."""

    y_names, y_lower, y_upper = ("c", "A"), 0.5, 1.5
    c_names, steps = ("u(0.5)", "u(1)"), 200

    def space(self):
        return mixed_space(mesh.create_unit_interval(self.comm, 20), (2, ()), (2, ()))

    def define(self, w, z, y):
        (u, p), (v, q), (u_t, p_t) = ufl.split(w), ufl.split(z), ufl.split(self.u_t)
        ends = [Dirichlet(part, 0, lambda x: np.isclose(x[0] * (1 - x[0]), 0)) for part in (u, p)]
        return WeakForm(
            residual=((u_t - p) * v + p_t * q + y[0] ** 2 * dot(grad(u), grad(q))) * dx,
            conditions=ends,
            observables=[At(u, [[0.5]])],
            time=Time(final=1.0, steps=self.steps, observed=(0.5, 1.0)),
            initial=[y[1] * sin(ufl.pi * self.x[0]), 0],
        )


def test_a_wave_is_a_system_whose_start_has_parts():
    problem = made(Wave)
    c, A = 0.9, 1.2
    batch = problem.solve_batch(np.array([[c, A]]), tangents=True)
    exact = [A * np.cos(c * np.pi * t) for t in (0.5, 1.0)]
    np.testing.assert_allclose(batch.C[0], exact, atol=2e-3)
    by_c = [-A * np.pi * t * np.sin(c * np.pi * t) for t in (0.5, 1.0)]
    np.testing.assert_allclose(batch.dC_dY[0, :, 0], by_c, atol=1e-2)
    np.testing.assert_allclose(batch.dC_dY[0, :, 1], batch.C[0] / A, rtol=1e-9)
    orders = taylor_orders(made(Wave, steps=10), np.array([c, A]), np.array([0.3, 0.1]))
    assert (orders[-4:] > 1.8).all(), orders


def test_a_start_needs_a_value_for_each_part():
    def define(self, w, z, y):
        weak = Wave.define(self, w, z, y)
        return WeakForm(
            residual=weak.residual, observables=weak.observables, time=weak.time, initial=[0, 0, 0]
        )

    from surrogates.errors import InputError

    with pytest.raises(InputError, match="a value for each of the 2 parts of the mixed space"):
        made(Wave, define=define)


def test_newton_starts_where_it_is_told():
    def define(self, u, v, y):
        return WeakForm(
            residual=dot(grad(u), grad(v)) * dx + y[0] * y[1] * u * (u**2 - 1) * v * dx,
            observables=[At(u, [[0.5, 0.5]])],
            initial=self.start,
        )

    for start, end in ((0.8, 1.0), (-0.8, -1.0), (0.0, 0.0)):
        problem = made(type("Way", (Square,), {"define": define}), c_names=("c",), start=start)
        batch = problem.solve_batch(np.array([[3.0, 2.0]]))
        np.testing.assert_allclose(batch.C, [[end]], atol=1e-9)


def test_a_vector_may_be_given_by_numbers_or_an_expression():
    def define(self, u, v, y):
        value = {"numbers": (1, 2), "expression": as_vector([1 + 0 * self.x[0], 2])}[self.value]
        return WeakForm(
            residual=y[0] * y[1] * inner(grad(u), grad(v)) * dx,
            conditions=[Dirichlet(u, value, around)],
            observables=[At(u[0], [[0.4, 0.4]]), At(u[1], [[0.4, 0.4]])],
        )

    for value in ("numbers", "expression"):
        found = solved(define, value=value, shape=(2,), c_names=("a", "b"))
        np.testing.assert_allclose(found[:, :, 0], [[1, 2]] * 2, rtol=1e-12)
