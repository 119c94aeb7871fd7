"""Flow through random sand: -div(exp(k(x; y)) grad h) = 1/d on (0, 1 m)^2, heads h [m].

h = 0 at x1 = 0 and x1 = 1 m, no flow through the other sides. k has mean 0 and the covariance
exp(-(d1/0.4 m)^2/2 - (d2/0.3 m)^2/2): eight terms of its Karhunen-Loeve expansion, 96 %.
"""

import numpy as np
from dolfinx.mesh import create_unit_square
from ufl import dot, dx, exp, grad

from surrogates.pde import At, Dirichlet, VariationalProblem, WeakForm, function_space


def modes(x):
    """Evaluate the terms of the expansion, for y = 1, at points x (3, n): (8, n)."""
    t = np.indices((16, 16)).reshape(2, -1).T / 16 + 1 / 32
    C, K = (np.exp(-(((p[:, None] - t) / [0.4, 0.3]) ** 2).sum(2) / 2) for p in (t, x[:2].T))
    size, v = np.linalg.eigh(C)
    return (K @ (v * np.sign(v[0]))[:, :-9:-1] / np.sqrt(size[:-9:-1])).T  # signs: as everywhere


class Darcy(VariationalProblem):
    """Linear elements on 30 x 30 squares, halved; y are coefficients of variance 1."""

    cells, wells = 30, [(i / 6, j / 6) for j in range(1, 6) for i in range(1, 6)]
    y_names, y_lower, y_upper = [f"y{k}" for k in range(8)], -(3**0.5), 3**0.5
    c_names, c_units = [f"h({x1:.2f}, {x2:.2f})" for x1, x2 in wells], "m"

    def space(self):
        return function_space(create_unit_square(self.comm, self.cells, self.cells), 1)

    def define(self, h, v, y):
        F = dot(exp(self.expansion(y, modes)) * grad(h), grad(v)) * dx - v * dx
        ends = Dirichlet(h, 0, on=lambda x: np.isclose(x[0] * (1 - x[0]), 0))
        return WeakForm(residual=F, conditions=[ends], observables=[At(h, self.wells)])
