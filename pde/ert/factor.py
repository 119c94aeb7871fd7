"""Sparse Cholesky factorisations by MUMPS, for many right-hand sides together.

Options of PETSc have the prefix ``ert_``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from surrogates.types import Array

from ..linear import destroy


class Factor:
    """A sparse Cholesky factorisation, whose symbolic part is done once.

    Attributes:
        failure: Why the last matrix could not be factored; empty if it could.
    """

    def __init__(self, matrix: Any, comm: MPI.Comm) -> None:
        """Take the entries of a matrix that is divided over processes; it is not factored yet."""
        self._matrix, self._comm, self.failure = matrix, comm, ""
        self._pc = PETSc.PC().create(comm)
        self._pc.setOptionsPrefix("ert_")
        self._pc.setType("cholesky")
        self._pc.setFactorSolverType("mumps")
        self._pc.setOperators(matrix)
        self._pc.setFromOptions()

    def set(self, matrix: Any) -> None:
        """Factor a matrix of the same entries."""
        self._pc.setOperators(matrix)
        self._pc.setUp()
        self.failure = ""
        if self._pc.getFactorSolverType() != "mumps":
            return
        factor = self._pc.getFactorMatrix()
        code, negative = (factor.getMumpsInfog(i) for i in (1, 12))
        if code < 0:
            self.failure = f"the matrix could not be factored (MUMPS's error {code})"
        elif negative > 0:
            self.failure = "the conductivity is not positive definite"

    def solve(self, B: Array) -> tuple[Any, float]:
        """Solve for all columns of B, this process's rows, (n_own, k).

        Returns:
            The solutions, a dense PETSc matrix, and the largest relative residual.
        """
        right = dense(B, self._comm)
        X = right.duplicate()
        self._pc.getFactorMatrix().matSolve(right, X)
        product = self._matrix.matMult(X)
        defect = B - product.getDenseArray()
        squares = [np.einsum("ij,ij->j", a, a) for a in (defect, B)]
        sums = self._comm.allreduce(np.array(squares))
        destroy(product, right)
        return X, float(np.sqrt(np.max(sums[0] / sums[1])))


def dense(values: Array, comm: MPI.Comm) -> Any:
    """Make a dense PETSc matrix of this process's rows, (n_own, k), in the order of Fortran."""
    size = ((len(values), None), (None, values.shape[1]))
    made = PETSc.Mat().createDense(size, array=np.asfortranarray(values), comm=comm)
    made.assemble()
    return made
