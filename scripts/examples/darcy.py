"""Flow through random sand: -div(exp(k(x; y)) grad h) = 1/d on (0, 1 m)^2, heads h [m].

h = 0 at x1 = 0 and x1 = 1 m, no flow through the other sides. k has mean 0 and the covariance
exp(-(d1/0.4 m)^2/2 - (d2/0.3 m)^2/2): eight terms of its Karhunen-Loeve expansion, 96 %.
"""

import numpy as np
import ufl
from dolfinx import fem, mesh
from dolfinx.fem.petsc import assemble_matrix, assemble_vector, create_matrix, set_bc
from petsc4py import PETSc

from surrogates.pde import Problem, Solution
from surrogates.pde.fenicsx import form, function_space
from surrogates.pde.points import evaluation, function

WELLS = np.array([(i / 6, j / 6, 0) for j in range(1, 6) for i in range(1, 6)])


def modes(x):
    """Evaluate the terms of the expansion, for y = 1, at points x (n, 3): (n, 8)."""
    t = np.indices((16, 16)).reshape(2, -1).T / 16 + 1 / 32
    C, K = (np.exp(-(((p[:, None, :2] - t) / [0.4, 0.3]) ** 2).sum(axis=2) / 2) for p in (t, x))
    size, v = np.linalg.eigh(C)
    return K @ (v * np.sign(v[0]))[:, :-9:-1] / np.sqrt(size[:-9:-1])  # signs: as everywhere


class Darcy(Problem):
    """Linear elements on 30 x 30 squares, halved; y are coefficients of variance 1."""

    y_names, y_lower, y_upper = [f"y{k}" for k in range(8)], -(3**0.5), 3**0.5
    c_names, c_units, cells = [f"h({x1:.2f}, {x2:.2f})" for x1, x2, _ in WELLS], "m", 30

    def __init__(self, config, comm):
        """Make the objects that all samples share."""
        super().__init__(config, comm)
        V = function_space(mesh.create_unit_square(comm, self.cells, self.cells), 1)
        ends = fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0] * (1 - x[0]), 0))
        self.bcs = [fem.dirichletbc(PETSc.ScalarType(0), ends, V)]
        u, v, self.k = ufl.TrialFunction(V), ufl.TestFunction(V), fem.Function(V)
        self.a = form(ufl.exp(self.k) * ufl.dot(ufl.grad(u), ufl.grad(v)) * ufl.dx)
        self.b = assemble_vector(form(v * ufl.dx))
        self.b.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)
        set_bc(self.b, self.bcs)
        self.modes, self.wells = modes(V.tabulate_dof_coordinates()), evaluation(V, WELLS)
        self.A, self.h = create_matrix(self.a), self.b.duplicate()
        self.ksp = PETSc.KSP().create(comm)
        self.ksp.setOperators(self.A)
        self.ksp.setType("cg")
        self.ksp.setTolerances(rtol=1e-10)

    def solve(self, y):
        """Return h at the wells, with its residual."""
        self.k.x.array[:] = self.modes @ y
        self.A.zeroEntries()
        assemble_matrix(self.A, self.a, bcs=self.bcs)
        self.A.assemble()
        self.ksp.solve(self.b, self.h)
        self.solution = function(self.k.function_space, self.h.array)  # for pictures and ParaView
        c, r = self.wells * self.h, self.A * self.h - self.b
        return Solution(c.array, residual=r.norm() / self.b.norm(), iterations=self.ksp.its)
