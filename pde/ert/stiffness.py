r"""Stiffness matrices of a conductivity given in each cell, with the far sides.

    a(u, v) = int K grad u . grad v dx + int_far (n . K n) (n . r / r^2) u v ds

On the far sides, r = x - centre of the survey: a potential that falls as 1 / r from there has no
error (Dey and Morrison 1979). The matrix is symmetric, positive definite, and linear in K.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem, mesh
from dolfinx.fem.petsc import assemble_matrix, create_matrix
from petsc4py import PETSc
from scipy.spatial import cKDTree

from surrogates.types import Array

from ..dcr.body import INDICES
from ..fenicsx import cell_name, form, function_space


class Stiffness:
    """The matrices on a mesh that is divided over processes.

    Attributes:
        V: Space of the potential.
        degree: Its degree.
        centre: The survey's centre [m], (3,).
        far: This process's faces of the far sides, int32.
        top: Its other faces of the boundary, int32.
        matrix: The last matrix that `assemble` made.
    """

    def __init__(self, domain: Any, degree: int, far: Array, centre: Array) -> None:
        """Compile the form.

        Args:
            domain: The mesh.
            degree: Degree of the elements, 1 or 2.
            far: Midpoints of the far sides' faces [m], (n, 3), all of them on every process.
            centre: The survey's centre [m], (3,).
        """
        self.degree, self.centre = degree, centre
        self.V = function_space(domain, degree)
        self.far, self.top = _faces(domain, far)
        constants = function_space(domain, 0)
        self._n = domain.topology.index_map(3).size_local
        self._K = [fem.Function(constants) for _ in INDICES]
        cells = range(self._n)
        self._dofs = np.array([constants.dofmap.cell_dofs(c)[0] for c in cells], dtype=np.int32)
        tensor = np.empty((3, 3), dtype=object)
        for k, (i, j) in zip(self._K, INDICES, strict=True):
            tensor[i, j] = tensor[j, i] = k
        K = ufl.as_matrix(tensor.tolist())
        u, v = ufl.TrialFunction(self.V), ufl.TestFunction(self.V)
        normal, r = (
            ufl.FacetNormal(domain),
            ufl.SpatialCoordinate(domain)
            - ufl.as_vector([fem.Constant(domain, PETSc.ScalarType(x)) for x in centre]),
        )
        straight = cell_name(domain) == "tetrahedron"
        dx = ufl.dx(domain, metadata={"quadrature_degree": 2 * degree - 2 * straight})
        tags = mesh.meshtags(domain, 2, self.far, np.ones(len(self.far), dtype=np.int32))
        ds = ufl.Measure("ds", domain, subdomain_data=tags)(1)
        ds = ds(metadata={"quadrature_degree": 2 * degree + 2})
        fall = ufl.inner(normal, K * normal) * ufl.inner(normal, r) / ufl.inner(r, r)
        self._form = form(ufl.inner(K * ufl.grad(u), ufl.grad(v)) * dx + fall * u * v * ds)
        self.matrix = create_matrix(self._form)
        self.matrix.setOption(PETSc.Mat.Option.SPD, True)

    def assemble(self, K: Array, matrix: Any = None) -> Any:
        """Set a matrix, by default `matrix`, to that of K [S/m] in the own cells, (n_own, 6)."""
        matrix = self.matrix if matrix is None else matrix
        for k, values in zip(self._K, K.T, strict=True):
            k.x.array[self._dofs] = values
            k.x.scatter_forward()
        matrix.zeroEntries()
        assemble_matrix(matrix, self._form)
        matrix.assemble()
        return matrix


def _faces(domain: Any, far: Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Find this process's faces of the far sides, by their midpoints, and of the top."""
    domain.topology.create_connectivity(2, 3)
    everywhere = mesh.locate_entities_boundary(domain, 2, lambda x: np.full(x.shape[1], True))
    everywhere = np.asarray(everywhere, dtype=np.int32)
    middle = mesh.compute_midpoints(domain, 2, everywhere).reshape(-1, 3)
    distance = cKDTree(far).query(middle)[0]
    size = np.ptp(far, axis=0).max()
    there = distance <= 1e-9 * size
    return everywhere[there], everywhere[~there]
