"""Linear systems of a variational problem: factor once, solve for many columns, also transposed."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from dolfinx.fem.petsc import assemble_matrix, create_matrix
from petsc4py import PETSc

from surrogates.types import Array

from ..fenicsx import form as compiled
from ..linear import destroy, failure
from .parameters import Parameters, contains

RTOL = 1e-10
"""Relative tolerance of iterative solves."""

LARGEST = 100 * RTOL
"""The largest relative residual of a solution, as for the problems that are built in."""

_SMALL = 4000
"""Unknowns up to which PETSc's own factorisation is taken, on one process and in the plane.

Without MUMPS's set-up it takes a third of the time for 1000 unknowns, and as long for 4000. In
space its ordering fills more: 5 times the time for 5000 unknowns.
"""


TERMS = 16
"""Parameters up to which a matrix that is affine in them is kept as a sum of matrices."""


_SAME = PETSc.Mat.Structure.SAME_NONZERO_PATTERN


class Unsolved(Exception):
    """A solve that did not converge; the text says why."""


class Matrix:
    """A bilinear form and its PETSc matrix.

    If y enters as constants alone, and affinely, the matrix is A_0 + sum_j y_j A_j, with terms that
    are assembled once for all samples: their sum takes a hundredth of an assembly.

    Attributes:
        mat: The matrix.
        of_stage: Whether the form contains what changes from stage to stage.
        of_y: Whether it contains that, y or its fields.
    """

    def __init__(
        self, form: Any, parameters: Parameters | None = None, changing: Sequence[Any] = ()
    ) -> None:
        """Compile the form, and make the matrix.

        Args:
            form: The UFL form.
            parameters: The parameters; None if the form contains everything that changes.
            changing: What changes from one stage to the next besides y and its fields.
        """
        self._form = compiled(form)
        self.mat = create_matrix(self._form)
        self.mat.setOption(PETSc.Mat.Option.KEEP_NONZERO_PATTERN, True)
        self._key: Any = None
        self._parameters = parameters
        self._used: list[int] = []
        self._terms: list[Any] = []
        self.of_y = self.of_stage = True
        if parameters is not None:
            fields = [one.k for one in parameters.fields]
            self.of_stage = contains(form, *changing)
            self.of_y = self.of_stage or contains(form, parameters.constant, *fields)
            if not contains(form, *fields, *changing) and parameters.is_affine(form):
                used = sorted(parameters.used_as_constants(form))
                self._used = used if len(used) <= TERMS else []

    @property
    def has_terms(self) -> bool:
        """Whether y enters as constants alone, affinely, and few."""
        return bool(self._used)

    def duplicate(self) -> Matrix:
        """Return a matrix of the same pattern; its values are for `take`."""
        self._assembled()
        other = copy.copy(self)
        other.mat = self.mat.duplicate(copy=True)
        other.mat.setOption(PETSc.Mat.Option.KEEP_NONZERO_PATTERN, True)
        return other

    def take(self, other: Matrix) -> None:
        """Copy the values of a matrix of the same pattern."""
        other.mat.copy(self.mat, _SAME)

    def assemble(self, at: tuple[int, int] | None = None) -> None:
        """Assemble, unless the values still are those of a sample and its stage.

        Args:
            at: Their numbers; None to assemble always.
        """
        key = None if at is None else self.key(at)
        if key is not None and key == self._key:
            return
        if self._used:
            self._sum_terms()
        else:
            self._assembled()
        self._key = key

    def key(self, at: tuple[int, int]) -> tuple[int, int]:
        """Return what of a sample and its stage the values depend on."""
        return (at[0] if self.of_y else 0, at[1] if self.of_stage else 0)

    def _assembled(self) -> Any:
        self.mat.zeroEntries()
        assemble_matrix(self.mat, self._form)
        self.mat.assemble()
        return self.mat

    def _split(self) -> None:
        """Assemble A_0 and the A_j, by differences in y of its own size, for rounding's sake."""
        assert self._parameters is not None
        constant, sizes = self._parameters.constant, self._parameters.sizes
        kept = constant.value.copy()
        constant.value[:] = 0
        self._terms = [self._assembled().duplicate(copy=True)]
        for j in self._used:
            constant.value[:] = 0
            constant.value[j] = sizes[j]
            term = self._assembled().duplicate(copy=True)
            term.axpy(-1.0, self._terms[0], _SAME)
            term.scale(1 / sizes[j])
            self._terms.append(term)
        constant.value[:] = kept

    def _sum_terms(self) -> None:
        assert self._parameters is not None
        if not self._terms:
            self._split()
        self._terms[0].copy(self.mat, _SAME)
        for j, term in zip(self._used, self._terms[1:], strict=True):
            self.mat.axpy(float(self._parameters.constant.value[j]), term, _SAME)

    def __matmul__(self, X: Array) -> Array:
        """Multiply this process's rows of an array, (n, r)."""
        if X.shape[1] == 1:
            return self.times(X[:, 0])[:, None]
        dense = _dense(self.mat.getSizes()[1], np.asfortranarray(X), self.mat.comm)
        product = self.mat.matMult(dense)
        values = np.array(product.getDenseArray())
        destroy(dense, product)
        return values

    def times(self, values: Array) -> Array:
        """Multiply this process's coefficients, (n,)."""
        return _times(self.mat, values)

    def by_y(self, values: Array) -> tuple[Array, list[int]]:
        """Multiply this process's coefficients by the terms A_j: (n, k), and the k numbers j."""
        if not self._terms:
            self._split()
        products = [_times(term, values) for term in self._terms[1:]]
        return np.stack(products, axis=1), self._used

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

    Without options, A is factored: by PETSc itself for small meshes on one process, else by MUMPS;
    by Cholesky's method if A is symmetric, which takes two thirds of LU's time and half its memory.

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
        self._comm = A.comm.tompi4py()
        self.iterations = 0
        self.ksp = PETSc.KSP().create(A.comm)
        self.ksp.setOptionsPrefix(prefix)
        self.ksp.setOperators(A)
        self.ksp.setTolerances(rtol=RTOL, atol=0.0, max_it=1000)
        self.ksp.setType("preonly")
        pc = self.ksp.getPC()
        pc.setType("lu")
        small = A.comm.size == 1 and A.getSize()[0] <= _SMALL and simple
        self._package = "petsc" if small else "mumps"
        pc.setFactorSolverType(self._package)
        with_options(self.ksp, options, prefix)
        given = any(key.startswith("pc_") for key in options) or PETSc.Options().hasName(
            f"{prefix}pc_type"
        )
        self._free = not given and self.ksp.getType() == "preonly"
        self._random: Any = None
        self.direct = self.ksp.getType() == "preonly" and pc.getType() in ("lu", "cholesky")
        self._symmetric: bool | None = None

    def factor(self) -> None:
        """Factor A, or set up the preconditioner, for its present values.

        Raises:
            Unsolved: If A cannot be factored.
        """
        self.choose()
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

    def choose(self) -> None:
        """Choose the kind of factors for A's present values, unless options name it."""
        self._symmetric = None
        if not self._free:
            return
        self._symmetric = self._is_symmetric()
        kind, pc = "cholesky" if self._symmetric else "lu", self.ksp.getPC()
        if pc.getType() != kind:
            pc.setType(kind)
            pc.setFactorSolverType(self._package)
            pc.setFromOptions()

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
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.array([np.einsum("ij,ij->j", B, B) for B in (self.defect, R)])
            defect, size = np.sqrt(total(squares, self._comm))
        wrong = ~(defect <= LARGEST * size)  # true for NaN
        if wrong.any():
            relative = (defect / np.where(size > 0, size, 1)).max()
            hint = ": the matrix is singular, or nearly so" if self.direct else ""
            raise Unsolved(f"relative residual {relative:.1e} above {LARGEST:.0e}{hint}")
        return X

    def _by_factors(self, R: Array) -> Array:
        given, values = np.asfortranarray(R), np.zeros_like(R, order="F")
        B, X = (_dense(self._A.getSizes()[0], one, self._A.comm) for one in (given, values))
        try:
            self.ksp.getPC().getFactorMatrix().matSolve(B, X)
        except PETSc.Error as error:
            raise Unsolved(f"the matrix cannot be factored: {_last_line(error)}") from error
        self.iterations += 1
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
        if self._random is None:
            x, Az = self._A.createVecs()
            z, Ax = self._A.createVecs()
            random = np.random.default_rng(self._A.comm.rank)
            x.array[:], z.array[:] = (random.standard_normal(x.getLocalSize()) for _ in range(2))
            self._random = x, Az, z, Ax, x.norm(), z.norm()
        x, Az, z, Ax, x_norm, z_norm = self._random
        self._A.mult(z, Az)
        self._A.mult(x, Ax)
        size = x_norm * Az.norm() + z_norm * Ax.norm()
        return bool(abs(x.dot(Az) - z.dot(Ax)) <= 1e-14 * size)


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


def total(values: Any, comm: Any) -> Any:
    """Sum over processes; for one, without the call, which takes as long as a small product."""
    return values if comm.size == 1 else comm.allreduce(values)


def norm(values: Array, comm: Any) -> float:
    """Return the Euclidean norm of an array whose rows are divided over processes."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(total(float(values @ values), comm)))


def _times(mat: Any, values: Array) -> Array:
    """Multiply this process's coefficients, (n,), by a PETSc matrix."""
    x, y = mat.createVecs()
    x.array[:] = values
    mat.mult(x, y)
    product = np.array(y.array)
    destroy(x, y)
    return product


def _dense(sizes: tuple[int, int], X: Array, comm: Any) -> Any:
    """Make a dense PETSc matrix in the memory of this process's rows, (n, r) in Fortran's order."""
    dense = PETSc.Mat().createDense((sizes, (None, X.shape[1])), array=X, comm=comm)
    dense.assemble()
    return dense


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1]
