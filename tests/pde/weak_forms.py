"""Problems in weak form that tests solve, and what they measure of them."""

from __future__ import annotations

import numpy as np
import ufl
from dolfinx import fem, mesh
from mpi4py import MPI
from ufl import avg, div, dot, dS, ds, dx, exp, grad, inner, jump, sin

from surrogates.pde import (
    At,
    Dirichlet,
    Settings,
    Time,
    VariationalProblem,
    WeakForm,
    function_space,
)
from surrogates.pde.fenicsx import mixed_space


def left(x):
    return np.isclose(x[0], 0)


def around(x):
    return np.isclose(x[0] * (1 - x[0]) * x[1] * (1 - x[1]), 0)


class Square(VariationalProblem):
    """A mesh of the unit square, for derived classes."""

    y_names, y_lower, y_upper = ("a", "b"), 0.5, 1.5
    n, degree, shape = 6, 1, ()

    def space(self):
        return function_space(
            mesh.create_unit_square(self.comm, self.n, self.n), self.degree, self.shape
        )


class Linear(Square):
    """-div(a grad u) = f with u = b sin(pi x1) sin(pi x2): c is the square of the L2 error."""

    c_names = ("square of the error",)

    def define(self, u, v, y):
        exact = y[1] * sin(ufl.pi * self.x[0]) * sin(ufl.pi * self.x[1])
        f = 2 * ufl.pi**2 * y[0] * exact
        fine = dx(metadata={"quadrature_degree": 10})
        return WeakForm(
            residual=y[0] * dot(grad(u), grad(v)) * dx - f * v * fine,
            conditions=[Dirichlet(u, 0, around)],
            observables=[(u - exact) ** 2 * fine],
        )


class Nonlinear(Square):
    """-div((1 + a u^2) grad u) + u^3 = f, with a smooth exact u that also holds at the boundary."""

    c_names = ("square of the error",)

    def define(self, u, v, y):
        def flux(w):
            return (1 + y[0] * w**2) * grad(w)

        exact = y[1] * exp(self.x[0]) * sin(1 + 2 * self.x[1])
        f = -div(flux(exact)) + exact**3
        fine = dx(metadata={"quadrature_degree": 10})
        return WeakForm(
            residual=(dot(flux(u), grad(v)) + u**3 * v - f * v) * fine,
            conditions=[Dirichlet(u, exact, around)],
            observables=[(u - exact) ** 2 * fine],
        )


class InTime(Square):
    """du/dt = div((1 + u/4) grad u) + f; the exact u has degree 2 in x: the error is time's."""

    c_names, degree, n, steps = ("square of the error",), 2, 2, 4

    def define(self, u, v, y):
        def exact(t):
            return 1 + sin(3 * y[0] * t) * (1 + self.x[0] ** 2 - y[1] * self.x[0] * self.x[1])

        def flux(w):
            return (1 + w / 4) * grad(w)

        t = ufl.variable(self.t)
        f = ufl.diff(exact(t), t) - div(flux(exact(self.t)))
        fine = dx(metadata={"quadrature_degree": 8})
        return WeakForm(
            residual=(self.u_t * v + dot(flux(u), grad(v)) - f * v) * fine,
            conditions=[Dirichlet(u, exact(self.t), around)],
            observables=[(u - exact(self.t)) ** 2 * fine],
            time=Time(final=1.0, steps=self.steps),
            initial=exact(0.0),
        )


class Fields(Square):
    """A linear problem without symmetry: constants, fields, and conditions that depend on both."""

    y_names, c_names = ("a", "b", "k0", "k1", "q0"), [f"c{k}" for k in range(6)]

    def define(self, u, v, y):
        k = self.expansion(y[2:4], [lambda x: np.cos(3 * x[0]), lambda x: np.sin(2 * x[1])], 2)
        q = self.expansion(y[4:], lambda x: x[:1] * x[1])
        (end,) = self.boundaries(lambda x: np.isclose(x[0], 1))
        wind = ufl.as_vector([2 * y[0], self.x[0]])
        return WeakForm(
            residual=(exp(k) * dot(grad(u), grad(v)) + dot(wind, grad(u)) * v - q * v) * dx
            - y[1] * v * end,
            conditions=[Dirichlet(u, y[1] * sin(self.x[1]) + k, left)],
            observables=[
                At(u, [[0.31, 0.62], [0.5, 0.5], [1, 1]]),
                u**2 * dx,
                y[0] * u * end,
                k * u * ds,
            ],
        )


class Heat(Square):
    """A nonlinear transient problem; y is in its mass, its conditions and its initial state."""

    y_names = ("a", "b", "c", "d", "k0", "k1")
    c_names, steps = [f"c{k}" for k in range(6)], 5

    def define(self, u, v, y):
        k = self.expansion(y[4:], lambda x: [np.cos(3 * x[0]), np.sin(2 * x[1])])
        return WeakForm(
            residual=self.u_t * (1 + y[0] * u**2) * v * dx
            + exp(k) * dot(grad(u), grad(v)) * dx
            - y[1] * (1 + self.t) * v * dx,
            conditions=[Dirichlet(u, y[2] * sin(self.x[1]) * (1 + self.t * k), left)],
            observables=[
                At(u, [[0.31, 0.62], [0.5, 0.5]]),
                y[3] * u**2 * (1 + self.t) * ds + k * u * dx,
            ],
            time=Time(final=0.5, steps=self.steps, observed=(0.2, 0.5)),
            initial=y[2] * sin(self.x[1]) * exp(-k * self.x[0]),
        )


class Conduction(Square):
    """A linear transient problem: y is in its mass, its matrix, its source, and its conditions."""

    y_names = ("a", "b", "c", "d", "q0", "q1")
    c_names, steps, unit = [f"c{k}" for k in range(6)], 5, 1.0

    def define(self, u, v, y):
        a, b, c, d = y[0], y[1] / self.unit, y[2], y[3]
        q = self.expansion(y[4:], lambda x: [np.cos(3 * x[0]), np.sin(2 * x[1])])
        wind = ufl.as_vector([d, self.x[0]])
        return WeakForm(
            residual=self.u_t * (1 + a) * v * dx
            + (b + 1) * dot(grad(u), grad(v)) * dx
            + dot(wind, grad(u)) * v * dx
            - (c**2 * (1 + self.t) * v + q * v) * dx
            + b * u * v * ds,
            conditions=[Dirichlet(u, c * sin(self.x[1]) * (1 + self.t * q), left)],
            observables=[At(u, [[0.31, 0.62], [0.5, 0.5]]), d * u**2 * (1 + self.t) * ds],
            time=Time(final=0.5, steps=self.steps, observed=(0.2, 0.5)),
            initial=c * sin(self.x[1]) * exp(-q * self.x[0]),
        )


class Channel(VariationalProblem):
    """Stokes flow between plates: u1 = a x2 (1 - x2), p = 2 a b (1 - x1), both in the space."""

    y_names, y_lower, y_upper = ("speed", "viscosity"), 0.5, 1.5
    c_names = ("u1", "u2", "p(0, 0)", "p(1/2, 1/2)", "flux")

    def space(self):
        return mixed_space(mesh.create_unit_square(self.comm, 4, 4), (2, (2,)), (1, ()))

    def define(self, w, z, y):
        (u, p), (v, q) = ufl.split(w), ufl.split(z)
        (end,) = self.boundaries(lambda x: np.isclose(x[0], 1))
        profile = y[0] * self.x[1] * (1 - self.x[1])
        return WeakForm(
            residual=(y[1] * inner(grad(u), grad(v)) - p * div(v) - q * div(u)) * dx,
            conditions=[
                Dirichlet(
                    u,
                    ufl.as_vector([profile, 0]),
                    lambda x: ~np.isclose(x[0] * x[1], 9) & around(x),
                ),
                Dirichlet(p, 0, lambda x: np.isclose(x[0], 1) & np.isclose(x[1], 0)),
            ],
            observables=[
                At(w[0], [[0.3, 0.4]]),
                At(w[1], [[0.3, 0.4]]),
                At(p, [[0, 0], [0.5, 0.5]]),
                u[0] * end,
            ],
        )


class Rubber(Square):
    """A large deformation, by the derivative of its energy; vectors, and a field of cells."""

    y_names, c_names, shape = ("mu", "lambda", "load", "k"), ("u2", "energy"), (2,)

    def define(self, u, v, y):
        F = ufl.Identity(2) + grad(u)
        J = ufl.det(F)
        k = exp(self.expansion(y[3:], [lambda x: np.cos(x[0])], 0))
        psi = k * (y[0] / 2 * (inner(F, F) - 2) - y[0] * ufl.ln(J) + y[1] / 2 * ufl.ln(J) ** 2)
        (end,) = self.boundaries(lambda x: np.isclose(x[0], 1))
        energy = psi * dx - y[2] / 4 * u[1] * end
        return WeakForm(
            residual=ufl.derivative(energy, u, v),
            conditions=[Dirichlet(u, (0, 0), left)],
            observables=[At(u[1], [[1, 0.5]]), psi * dx],
        )


class Jumps(Square):
    """Diffusion by discontinuous elements: integrals over the facets between cells."""

    y_names, c_names = ("a", "b", "k"), ("u", "mean of u")

    def space(self):
        domain = mesh.create_unit_square(self.comm, self.n, self.n)
        make = getattr(fem, "functionspace", None) or fem.FunctionSpace
        return make(domain, ("DG", 1))

    def define(self, u, v, y):
        n, h = ufl.FacetNormal(self.domain), 1 / self.n
        k = y[0] * exp(self.expansion(y[2:], [lambda x: np.cos(2 * x[0])], 0))
        inside = (
            -dot(avg(k * grad(u)), n("+")) * jump(v)
            - dot(avg(k * grad(v)), n("+")) * jump(u)
            + 20 / h * avg(k) * jump(u) * jump(v)
        )
        edge = -k * dot(grad(u), n) * v - k * dot(grad(v), n) * u + 20 / h * k * u * v
        return WeakForm(
            residual=(k * dot(grad(u), grad(v)) - y[1] * v) * dx + inside * dS + edge * ds,
            observables=[At(u, [[0.52, 0.31]]), u * dx],
        )


class Bratu(VariationalProblem):
    """-u'' = a exp(u), u(0) = u(1) = 0: without a solution for a > 3.5138."""

    y_names, y_lower, y_upper, c_names = ("a",), 0.5, 6.0, ("u(1/2)",)

    def space(self):
        return function_space(mesh.create_unit_interval(self.comm, 40), 2)

    def define(self, u, v, y):
        ends = Dirichlet(u, 0, lambda x: np.isclose(x[0] * (1 - x[0]), 0))
        return WeakForm(
            residual=dot(grad(u), grad(v)) * dx - y[0] * exp(u) * v * dx,
            conditions=[ends],
            observables=[At(u, [[0.5]])],
        )


def made(problem: type[VariationalProblem], comm=MPI.COMM_SELF, **attributes) -> VariationalProblem:
    """Make a problem, with some attributes of its class changed."""
    return type(problem.__name__, (problem,), attributes)(Settings(), comm)


def drawn(problem: VariationalProblem, n: int, seed: int = 0) -> np.ndarray:
    """Draw parameters, (n, n_y)."""
    about = problem.describe(problem.config)
    lower, upper = about["y_lower"], about["y_upper"]
    return lower + (upper - lower) * np.random.default_rng(seed).random((n, len(lower)))


def taylor_orders(problem: VariationalProblem, y: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Orders of |c(y + h v) - c(y) - h dc/dy v| over the halvings of h = 2^-1 to 2^-9."""
    batch = problem.solve_batch(y[None], tangents=v[None, None])
    assert batch.failure == [""]
    steps = 2.0 ** -np.arange(1, 10)
    moved = problem.solve_batch(y + steps[:, None] * v)
    assert not any(moved.failure)
    left = moved.C - batch.C[0] - steps[:, None] * batch.dC_dV[0, :, 0]
    errors = np.linalg.norm(left, axis=1)
    return np.log2(errors[:-1] / errors[1:])
