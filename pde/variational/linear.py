"""Linear systems of a variational problem: factor once, solve for many columns, also transposed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from dolfinx.fem.petsc import assemble_matrix, create_matrix
from petsc4py import PETSc

from surrogates.types import Array

from ..fenicsx import form as compiled
from ..linear import destroy, failure

RTOL = 1e-10
"""Relative tolerance of iterative solves."""

LARGEST = 100 * RTOL
"""The largest relative residual of a solution, as for the problems that are built in."""

_SMALL = 4000
"""Unknowns up to which PETSc's own factorisation is taken, on one process and in the plane.

Without MUMPS's set-up it takes a third of the time for 1000 unknowns, and as long for 4000. In
space its ordering fills more: 5 times the time for 5000 unknowns.
"""


class Unsolved(Exception):
    """A solve that did not converge; the text says why."""


class Matrix:
    """A bilinear form and its PETSc matrix.

    Attributes:
        mat: The matrix.
    """

    def __init__(self, form: Any, *, fixed: bool = False) -> None:
        """Compile the form, and make the matrix.

        Args:
            form: The UFL form.
            fixed: Whether nothing in the form changes from one assembly to the next.
        """
        self._form = compiled(form)
        self.mat = create_matrix(self._form)
        self.mat.setOption(PETSc.Mat.Option.KEEP_NONZERO_PATTERN, True)
        self._fixed, self._done = fixed, False

    def assemble(self) -> Any:
        """Assemble, if something may have changed, and return the PETSc matrix."""
        if not (self._fixed and self._done):
            self.mat.zeroEntries()
            assemble_matrix(self.mat, self._form)
            self.mat.assemble()
            self._done = True
        return self.mat

    def __matmul__(self, X: Array) -> Array:
        """Multiply this process's rows of an array, (n, r)."""
        dense = _dense(self.mat.getSizes()[1], X, self.mat.comm)
        product = self.mat.matMult(dense)
        values = np.array(product.getDenseArray())
        destroy(dense, product)
        return values

    def transposed_times(self, X: Array) -> Array:
        """Multiply this process's rows of an array, (n, r), by the transposed matrix."""
        x, y = self.mat.createVecLeft(), self.mat.createVecRight()
        values = np.empty((y.getLocalSize(), X.shape[1]))
        for k in range(X.shape[1]):
            x.array[:] = X[:, k]
            self.mat.multTranspose(x, y)
            values[:, k] = y.array
        destroy(x, y)
        return values


class Solver:
    """Solve A X = R and A^T X = R for many columns, with the PETSc options of a problem.

    Without options, A is factored: by PETSc itself for small meshes on one process, else by MUMPS.

    Attributes:
        ksp: PETSc's solver.
        iterations: Iterations so far; a solve by factors counts as one.
        defect: R - A X of the last solve, this process's rows, (n, r).
    """

    def __init__(
        self, matrix: Matrix, options: Mapping[str, Any], prefix: str, *, simple: bool
    ) -> None:
        """Prepare the solver.

        Args:
            matrix: A.
            options: PETSc's options, without the prefix.
            prefix: The prefix.
            simple: Whether factors need no pivoting and fill little: no saddle point, nor in space.
        """
        self._matrix = matrix
        self._A = A = matrix.mat
        self.iterations = 0
        self.ksp = PETSc.KSP().create(A.comm)
        self.ksp.setOptionsPrefix(prefix)
        self.ksp.setOperators(A)
        self.ksp.setTolerances(rtol=RTOL, atol=0.0, max_it=1000)
        self.ksp.setType("preonly")
        pc = self.ksp.getPC()
        pc.setType("lu")
        small = A.comm.size == 1 and A.getSize()[0] <= _SMALL and simple
        pc.setFactorSolverType("petsc" if small else "mumps")
        with_options(self.ksp, options, prefix)
        self.direct = self.ksp.getType() == "preonly" and pc.getType() in ("lu", "cholesky")
        self._symmetric: bool | None = None

    def factor(self) -> None:
        """Factor A, or set up the preconditioner, for its present values.

        Raises:
            Unsolved: If A cannot be factored.
        """
        self._symmetric = None
        self.ksp.setOperators(self._A)
        try:
            self.ksp.setUp()
        except PETSc.Error as error:
            raise Unsolved(f"the matrix cannot be factored: {_last_line(error)}") from error
        factor = self.ksp.getPC()
        if self.direct and factor.getFactorSolverType() == "mumps":
            code = factor.getFactorMatrix().getMumpsInfog(1)
            if code < 0:
                raise Unsolved(f"the matrix cannot be factored (MUMPS's error {code})")

    def solve(self, R: Array, *, transposed: bool = False) -> Array:
        """Solve A X = R, or A^T X = R, for this process's rows of all columns, (n, r).

        Raises:
            Unsolved: If an iteration does not converge, or a residual is too large: factors without
                pivoting may be inaccurate, and Newton's method may converge all the same.
        """
        if transposed and self._symmetric is None:
            self._symmetric = self._is_symmetric()
        transposed = transposed and not self._symmetric
        if self.direct and not transposed:
            X = self._by_factors(R)
        else:
            X = self._by_columns(R, self.ksp.solveTranspose if transposed else self.ksp.solve)
        self.defect = R - (self._matrix.transposed_times(X) if transposed else self._matrix @ X)
        comm = self._A.comm.tompi4py()
        with np.errstate(over="ignore", invalid="ignore"):
            defect, size = (np.sqrt(comm.allreduce((B**2).sum(axis=0))) for B in (self.defect, R))
        wrong = ~(defect <= LARGEST * size)  # true for NaN
        if wrong.any():
            relative = (defect / np.where(size > 0, size, 1)).max()
            raise Unsolved(f"relative residual {relative:.1e} above {LARGEST:.0e}")
        return X

    def _by_factors(self, R: Array) -> Array:
        B = _dense(self._A.getSizes()[0], R, self._A.comm)
        X = _dense(self._A.getSizes()[0], np.zeros_like(R), self._A.comm)
        try:
            self.ksp.getPC().getFactorMatrix().matSolve(B, X)
        except PETSc.Error as error:
            raise Unsolved(f"the matrix cannot be factored: {_last_line(error)}") from error
        self.iterations += 1
        values = np.array(X.getDenseArray())
        destroy(B, X)
        return values

    def _by_columns(self, R: Array, solve: Any) -> Array:
        b, x = self._A.createVecs()
        X = np.empty_like(R)
        for k in range(R.shape[1]):
            b.array[:] = R[:, k]
            x.set(0.0)
            solve(b, x)
            reason = failure(self.ksp)
            if reason:
                raise Unsolved(reason)
            self.iterations += self.ksp.getIterationNumber()
            X[:, k] = x.array
        destroy(b, x)
        return X

    def _is_symmetric(self) -> bool:
        """Compare x^T A z with z^T A x for two random vectors: equal for a symmetric A alone."""
        x, Az = self._A.createVecs()
        z, Ax = self._A.createVecs()
        random = np.random.default_rng(self._A.comm.rank)
        x.array[:], z.array[:] = (random.standard_normal(x.getLocalSize()) for _ in range(2))
        self._A.mult(z, Az)
        self._A.mult(x, Ax)
        same = abs(x.dot(Az) - z.dot(Ax)) <= 1e-14 * (x.norm() * Az.norm() + z.norm() * Ax.norm())
        destroy(x, z, Ax, Az)
        return bool(same)


def with_options(target: Any, options: Mapping[str, Any], prefix: str) -> None:
    """Set PETSc options of a solver by its prefix; those of the command line stay in force."""
    known, added = PETSc.Options(), []
    for key, value in options.items():
        if not known.hasName(prefix + key):
            known[prefix + key] = value
            added.append(prefix + key)
    target.setFromOptions()
    for key in added:
        known.delValue(key)


def norm(values: Array, comm: Any) -> float:
    """Return the Euclidean norm of an array whose rows are divided over processes."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(comm.allreduce(float(values @ values))))


def _dense(sizes: tuple[int, int], X: Array, comm: Any) -> Any:
    """Make a dense PETSc matrix of this process's rows, (n, r)."""
    dense = PETSc.Mat().createDense((sizes, (None, X.shape[1])), comm=comm)
    dense.setUp()
    dense.getDenseArray()[:] = X
    dense.assemble()
    return dense


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1]
