"""A species that diffuses, reacts and is fed: -div(exp(k) grad u) + u^3 = q on (0, 1)^2.

All is dimensionless; u = 0 at x1 = 0, and no flow through the other sides. The log-diffusivity
k(x; y) is a cosine series of twelve terms, q(x; y) a sum of eight Gaussian sources.
"""

import numpy as np
from dolfinx.mesh import create_unit_square
from ufl import dot, dx, exp, grad

from surrogates.pde import At, Dirichlet, VariationalProblem, WeakForm, function_space

WAVES = [(i, j) for i in range(4) for j in range(4)][1:13]


def waves(x):
    """Evaluate the terms of k at points x (3, n): (12, n)."""
    return [np.cos(i * np.pi * x[0]) * np.cos(j * np.pi * x[1]) / np.hypot(i, j) for i, j in WAVES]


def sources(x):
    """Evaluate the terms of q at points x (3, n): (8, n)."""
    centres = [((i + 0.5) / 4, (j + 0.5) / 2) for j in range(2) for i in range(4)]
    return [np.exp(-((x[0] - a) ** 2 + (x[1] - b) ** 2) / 0.02) for a, b in centres]


class ReactionDiffusion(VariationalProblem):
    """Quadratic elements on 20 x 20 squares, halved; c is u at 25 points, and its mean."""

    sensors = [((i + 0.5) / 5, (j + 0.5) / 5) for j in range(5) for i in range(5)]
    y_names = [f"k{i}{j}" for i, j in WAVES] + [f"q{n}" for n in range(8)]
    y_lower, y_upper = [-1.0] * 12 + [0.0] * 8, [1.0] * 12 + [100.0] * 8
    c_names = [f"u({x1:.1f}, {x2:.1f})" for x1, x2 in sensors] + ["mean of u"]

    def space(self):
        return function_space(create_unit_square(self.comm, 20, 20), 2)

    def define(self, u, v, y):
        k, q = self.expansion(y[:12], waves, 2), self.expansion(y[12:], sources, 2)
        F = dot(exp(k) * grad(u), grad(v)) * dx + (u**3 - q) * v * dx
        wall = Dirichlet(u, 0, on=lambda x: np.isclose(x[0], 0))
        return WeakForm(residual=F, conditions=[wall], observables=[At(u, self.sensors), u * dx])
