"""One linear system for many right-hand sides, with the iterations and residual of each solve."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from petsc4py import PETSc

from surrogates.config import check, unknown
from surrogates.types import Array

LARGEST_RTOL = 1e-6
"""The largest tolerance of a linear solve, relative.

For cdr by GMRES and dcr by either method, the error of c is then 0.001 % of its spread; with 1e-3
it is up to 0.9 %, and with 1e-2 up to 29 %. ``surrogates verify`` accepts the residuals.
"""


def check_rtol(rtol: float) -> None:
    """Raise `InputError` unless a solver's relative tolerance is small enough for c."""
    check(
        0 < rtol <= LARGEST_RTOL,
        f"solver.rtol must be positive and at most {LARGEST_RTOL:g}; got {rtol:g}",
    )


@dataclass(frozen=True, kw_only=True)
class Solver:
    """How the linear systems are solved, and how many samples at a time.

    ``lu`` factors once with MUMPS and solves for a batch of right-hand sides in one call. ``gmres``
    needs less memory on a mesh too fine to factor; its solutions differ, within the tolerance, with
    the number of processes that share the mesh. PETSc options with the problem's name as prefix
    apply, such as ``cdr_mat_mumps_icntl_14`` and, with ``gmres``, ``cdr_ksp_monitor``.

    Attributes:
        method: ``lu``, a sparse factorisation by MUMPS, or ``gmres``.
        rtol: Relative tolerance; a solve whose relative residual is 100 times larger fails.
        max_iterations: Largest number of iterations of ``gmres``.
        batch: Samples that are solved together.
    """

    method: str = "lu"
    rtol: float = 1e-10
    max_iterations: int = 500
    batch: int = 40

    def __post_init__(self) -> None:
        """Check the ranges."""
        methods = ("lu", "gmres")
        check(
            self.method in methods,
            unknown(f"solver.method {self.method!r}", self.method, methods),
        )
        check_rtol(self.rtol)
        check(
            self.max_iterations >= 1,
            f"solver.max_iterations must be at least 1; got {self.max_iterations}",
        )
        check(self.batch >= 1, f"solver.batch must be at least 1; got {self.batch}")


def destroy(*matrices: Any) -> None:
    """Free matrices now, together on all processes; Python's collector would not be collective."""
    for matrix in matrices:
        matrix.destroy()


_REASONS = {
    value: name.lower()
    for name, value in vars(PETSc.KSP.ConvergedReason).items()
    if isinstance(value, int) and value < 0
}


def failure(ksp: Any) -> str:
    """Return why the last solve did not converge; empty if it did."""
    reason = ksp.getConvergedReason()
    if reason >= 0:
        return ""
    return (
        f"linear solve: {_REASONS.get(reason, reason)} after {ksp.getIterationNumber()} iterations"
    )


class LinearSystem:
    """A X = B with one matrix A; a sample has one column of B, or several.

    Attributes:
        iterations: Iterations of each sample so far, (n,) int64.
        residual: Largest relative residual of each sample so far, (n,).
        failure: Why each sample failed, n texts; empty if it did not.
    """

    def __init__(self, A: Any, config: Solver, prefix: str) -> None:
        """Factor A, or prepare the iteration.

        Args:
            A: An assembled PETSc matrix.
            config: The method.
            prefix: Prefix of the PETSc options that apply.
        """
        self._A = A
        self._lu = config.method == "lu"
        self._ksp = PETSc.KSP().create(A.comm)
        self._ksp.setOptionsPrefix(prefix)
        self._ksp.setOperators(A)
        self._ksp.setType("preonly" if self._lu else "gmres")
        pc = self._ksp.getPC()
        if self._lu:
            pc.setType("lu")
            pc.setFactorSolverType("mumps")
        else:
            pc.setType("bjacobi")
            self._ksp.setTolerances(rtol=config.rtol, atol=0.0, max_it=config.max_iterations)
        self._ksp.setFromOptions()
        self._ksp.setUp()
        if self._lu and pc.getFactorSolverType() == "mumps":  # which raises at the first solve
            code = pc.getFactorMatrix().getMumpsInfog(1)
            if code < 0:
                raise MemoryError(
                    f"the matrix could not be factored (MUMPS's error {code}): use more processes "
                    "for each mesh, or solver.method=gmres"
                )
        self._largest = 100 * config.rtol
        self.start(0)

    def start(self, n: int) -> None:
        """Forget earlier solves; the next ones are for n samples."""
        self.iterations = np.zeros(n, dtype=np.int64)
        self.residual = np.zeros(n)
        self.failure = [""] * n

    def again(self) -> LinearSystem:
        """Return the same system, factored once, with records of its own."""
        other = copy.copy(self)
        other.start(0)
        return other

    @property
    def factor(self) -> Any:
        """The factored matrix; None with an iterative method."""
        return self._ksp.getPC().getFactorMatrix() if self._lu else None

    def solve(self, B: Any, X: Any, samples: npt.NDArray[np.intp] | None = None) -> None:
        """Solve for all columns of a dense matrix.

        Args:
            B: Right-hand sides, a dense PETSc matrix.
            X: Solutions, a dense PETSc matrix; overwritten.
            samples: The sample of each column; the columns are the samples if None.
        """
        if samples is None:
            samples = np.arange(len(self.failure))
        self._last = B, X, samples
        if self._lu:
            self.factor.matSolve(B, X)
            np.add.at(self.iterations, samples, 1)
            return
        right, solution = B.getDenseArray(), X.getDenseArray()
        sizes = B.getSizes()[0]
        for j, sample in enumerate(samples):
            if self.failure[sample]:
                solution[:, j] = 0
                continue
            b = PETSc.Vec().createWithArray(right[:, j], size=sizes, comm=B.comm)
            x = PETSc.Vec().createWithArray(solution[:, j], size=sizes, comm=B.comm)
            self._ksp.solve(b, x)
            self.iterations[sample] += self._ksp.getIterationNumber()
            self.failure[sample] = failure(self._ksp)
            b.destroy()
            x.destroy()
        X.assemble()

    def check(self, U: Array) -> None:
        """Record the residuals of the last solve, and the samples not finite or not solved.

        The solver does not report every wrong solution: an explicit reaction that is too fast for
        the time step overflows, and a factorisation may lose its accuracy.
        """
        B, X, samples = self._last
        right = B.getDenseArray()
        product = self._A.matMult(X)
        defect = right - product.getDenseArray()
        destroy(product)
        comm = B.comm.tompi4py()
        with np.errstate(over="ignore", invalid="ignore"):
            squares = [np.einsum("ij,ij->j", a, a) for a in (defect, right)]
            sums = comm.allreduce(np.array([*squares, ~np.isfinite(U).all(axis=0)]))
            residual = np.sqrt(sums[0] / np.where(sums[1] > 0, sums[1], 1))
        self.record(samples, residual, sums[2] == 0)

    def record(
        self, samples: npt.NDArray[np.intp], residual: Array, finite: npt.NDArray[np.bool_]
    ) -> None:
        """Record solves, and fail the samples that are not finite or not solved.

        Args:
            samples: The sample of each column, (k,).
            residual: Relative residuals, (k,).
            finite: Whether the solutions are finite on all processes, (k,).
        """
        np.fmax.at(self.residual, samples, residual)
        for j, sample in enumerate(samples):
            if self.failure[sample]:
                continue
            if not finite[j] or not np.isfinite(residual[j]):
                self.failure[sample] = "u is not finite: the time step is too long for the reaction"
            elif residual[j] > self._largest:
                self.failure[sample] = (
                    f"relative residual {residual[j]:.1e} above {self._largest:.0e}"
                )
