"""A cantilever of random stiffness under a load at its end: -div sigma(u; y) = 0, plane strain.

The beam (0, 2 m) x (0, 0.4 m) is held at x1 = 0, and the traction g [MPa] acts at x1 = 2 m. Young's
modulus is 10 GPa exp(k(x; y)), with k a cosine series of ten terms; Poisson's ratio is 0.3.
"""

import numpy as np
from dolfinx.mesh import CellType, create_rectangle
from ufl import Identity, as_vector, dot, dx, exp, grad, inner, sym, tr

from surrogates.pde import At, Dirichlet, VariationalProblem, WeakForm, function_space

WAVES = [(i, j) for j in range(2) for i in range(6)][1:11]


def waves(x):
    """Evaluate the terms of k at points x (3, n): (10, n)."""
    terms = [np.cos(i * np.pi * x[0] / 2) * np.cos(j * np.pi * x[1] / 0.4) for i, j in WAVES]
    return [term / (2 + i) for term, (i, _) in zip(terms, WAVES, strict=True)]


class Cantilever(VariationalProblem):
    """Quadratic elements on 40 x 8 rectangles; c: deflections of the top, and the load's work."""

    top = [(0.2 * k, 0.4) for k in range(1, 11)]
    y_names, y_units = [f"k{i}{j}" for i, j in WAVES] + ["g1", "g2"], ["1"] * 10 + ["MPa"] * 2
    y_lower, y_upper = [-1.0] * 10 + [-5.0, -2.0], [1.0] * 10 + [5.0, -1.0]
    c_names, c_units = [f"u2({x1:.1f} m)" for x1, _ in top] + ["work"], ["mm"] * 10 + ["kJ/m"]

    def space(self):
        beam = create_rectangle(self.comm, [(0, 0), (2, 0.4)], [40, 8], CellType.quadrilateral)
        return function_space(beam, 2, shape=(2,))

    def define(self, u, v, y):
        E, strain = 10 * exp(self.expansion(y[:10], waves)), sym(grad(u))  # with u in mm
        sigma = E / 1.3 * (strain + 0.3 / 0.4 * tr(strain) * Identity(2))
        (end,), g = self.boundaries(lambda x: np.isclose(x[0], 2)), as_vector(y[10:])
        clamp = Dirichlet(u, 0, on=lambda x: np.isclose(x[0], 0))
        F = inner(sigma, grad(v)) * dx - dot(g, v) * end
        return WeakForm(
            residual=F, conditions=[clamp], observables=[At(u[1], self.top), dot(g, u) * end]
        )
