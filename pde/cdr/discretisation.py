r"""The discretisation of CDR: operators in space, a Runge-Kutta method in time.

Weak form, in Lagrange elements on quadrilaterals:

    m(du/dt - N(u), w) + a(u, w) = 0,   m(u, w) = (u, w + tau v . grad w)
    a(u, w) = (D grad u, grad w) + (v . grad u - D lap u, tau v . grad w) + (v . grad u, w)
              + 0.3 h^2 <max(-v . n, 0) n . grad u, n . grad w>

N(u) = f + r s(u) is interpolated at the nodes. tau = max(0, h/(2 |v|) - D/|v|^2), with h the
distance of nodes, is zero unless the mesh Peclet number |v| h / (2 D) exceeds one (SUPG: Brooks and
Hughes 1982). The same holds for the term on the boundary where the flow comes in: only diffusion
controls u there, and on a mesh that does not resolve its layer, errors would grow as exp(8 t) with
degree 4 (with the term as exp(0.8 t), by the eigenvalues of m and a). Both terms vanish for the
solution.

The method in time is the implicit-explicit Runge-Kutta method (4,4,3) of Ascher, Ruuth and Spiteri
(1997), with N explicit: it has order 3, its last stage is the step's result, and with N at the
nodes no mass matrix is inverted. All stages, steps and samples share one matrix, m + dt/2 a, which
is factored once. The explicit part is stable only for dt |r s'(u)| below about 2.5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem.petsc import assemble_matrix
from petsc4py import PETSc

from surrogates.types import Array

from ..fenicsx import form
from .config import Bumps, CDRConfig, Flow, Sources

# Ascher, Ruuth, Spiteri (1997), section 2.8. Row i: the weights of stages 0 to i.
IMPLICIT = np.array(
    [
        [0, 0, 0, 0, 0],
        [0, 1 / 2, 0, 0, 0],
        [0, 1 / 6, 1 / 2, 0, 0],
        [0, -1 / 2, 1 / 2, 1 / 2, 0],
        [0, 3 / 2, -3 / 2, 1 / 2, 1 / 2],
    ]
)
EXPLICIT = np.array(
    [
        [0, 0, 0, 0],
        [1 / 2, 0, 0, 0],
        [11 / 18, 1 / 18, 0, 0],
        [5 / 6, -5 / 6, 1 / 2, 0],
        [1 / 4, 7 / 4, 3 / 4, -7 / 4],
    ]
)
GAMMA = 1 / 2
NODES = IMPLICIT.sum(axis=1)


def stage_weights() -> tuple[Array, Array]:
    """Return the method's stages in terms of earlier stages alone.

    With N_j the explicit part of stage j and S = (m + dt GAMMA a)^-1 m, stage i is

        U_i = S R_i,   R_i = sum_{j<i} (c_ij U_j + dt e_ij N_j),   U_0 = u.

    The implicit part of stage j is G_j = (U_j - R_j) / (GAMMA dt). So with w = IMPLICIT / GAMMA,
    R_i = u + dt sum_j EXPLICIT_ij N_j + sum_{0<j<i} w_ij (U_j - R_j), a recursion for both.

    Returns:
        c and e, (5, 5) each, strictly lower triangular.
    """
    n = len(NODES)
    w, c, e = IMPLICIT / GAMMA, np.zeros((n, n)), np.zeros((n, n))
    c[1:, 0] = 1
    e[:, :-1] = EXPLICIT
    for i in range(1, n):
        for j in range(1, i):
            c[i, j] += w[i, j]
            c[i] -= w[i, j] * c[j]
            e[i] -= w[i, j] * e[j]
    return c, e


def mesh_peclet(config: CDRConfig) -> float:
    """Return the largest |v| h / (2 D), with h the distance of nodes."""
    return largest_speed(config.flow) * max(config.node_distances) / (2 * config.flow.diffusivity)


def largest_speed(flow: Flow) -> float:
    """Return the largest |v|."""
    x1, x2 = np.pi * np.stack(np.meshgrid(*[np.linspace(0, 1, 101)] * 2))
    speed = np.hypot(
        flow.swirl * np.sin(x1) * np.cos(x2) + flow.drift[0],
        -flow.swirl * np.cos(x1) * np.sin(x2) + flow.drift[1],
    )
    return float(speed.max())


def bumps(points: Array, config: Bumps) -> Array:
    """Evaluate psi_k at points (n, 2): (n, n_y), each row with the sum n_y."""
    m1, m2 = config.lattice
    centres = np.array([((i + 0.5) / m1, (j + 0.5) / m2) for j in range(m2) for i in range(m1)])
    square = (((points[:, None] - centres) / config.spread) ** 2).sum(axis=2)
    # The largest exponent is set to 0: narrow bumps do not all vanish between their centres.
    phi = np.exp(-0.5 * (square - square.min(axis=1, keepdims=True)))
    return np.asarray(phi * (m1 * m2 / phi.sum(axis=1, keepdims=True)))


def sources(points: Array, config: Sources) -> Array:
    """Evaluate f at points (n, 2): (n,)."""
    f = np.zeros(len(points))
    for centre in config.centres:
        square = ((points - np.array(centre)) ** 2).sum(axis=1)
        f += config.strength * np.exp(-square / (2 * config.width**2))
    return f


def operators(V: Any, degree: int, flow: Flow, h: float, stabilised: bool) -> tuple[Any, Any]:
    """Assemble m and a. The forms hold constants instead of numbers, to be compiled only once."""
    domain = V.mesh
    u, w = ufl.TrialFunction(V), ufl.TestFunction(V)
    x = ufl.SpatialCoordinate(domain)
    D = fem.Constant(domain, PETSc.ScalarType(flow.diffusivity))
    swirl = fem.Constant(domain, PETSc.ScalarType(flow.swirl))
    drift = fem.Constant(domain, np.array(flow.drift, dtype=PETSc.ScalarType))
    v = drift + swirl * ufl.as_vector(
        [
            ufl.sin(ufl.pi * x[0]) * ufl.cos(ufl.pi * x[1]),
            -ufl.cos(ufl.pi * x[0]) * ufl.sin(ufl.pi * x[1]),
        ]
    )
    test, residual = w, ufl.dot(v, ufl.grad(u))
    a = D * ufl.dot(ufl.grad(u), ufl.grad(w))
    if stabilised:
        distance = fem.Constant(domain, PETSc.ScalarType(h))
        speed = ufl.sqrt(ufl.dot(v, v) + 1e-30)
        tau = ufl.max_value(distance / (2 * speed) - D / speed**2, 0)
        test = w + tau * ufl.dot(v, ufl.grad(w))
        a = a - D * ufl.div(ufl.grad(u)) * tau * ufl.dot(v, ufl.grad(w))
    quadrature = {"quadrature_degree": 2 * degree + 2}
    dx, ds = ufl.dx(metadata=quadrature), ufl.ds(metadata=quadrature)
    a = (a + residual * test) * dx
    if stabilised:
        normal = ufl.FacetNormal(domain)
        inflow = 0.3 * distance**2 * ufl.max_value(-ufl.dot(v, normal), 0)
        a = a + inflow * ufl.dot(normal, ufl.grad(u)) * ufl.dot(normal, ufl.grad(w)) * ds
    m = assemble_matrix(form(u * test * dx))
    m.assemble()
    A = assemble_matrix(form(a))
    A.assemble()
    return m, A
