"""S = A^-1 m, the operator of every stage of CDR's scheme, and its transpose, on many columns.

`Propagator` uses PETSc's matrices and the factorisation that the samples share. On one process and
a mesh of moderate size, `Dissected` is about three times as fast.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from petsc4py import PETSc

from surrogates.types import Array

from ..linear import LinearSystem, destroy
from .dissection import Dissection


class Workspace:
    """Arrays for the solves of some columns.

    Attributes:
        right: Right-hand sides, (k, K) for k columns and K nodes of the propagator's order.
        solution: Products with S, (k, K).
        stack: Arrays to be combined, (m, k, K).
        spare: One more array, (k, K).
        other: And one more, (k, K).
        matrices: PETSc's matrices for right-hand sides, whose array is `right`, for solutions, and
            for products between; none with `Dissected`.
    """

    def __init__(self, k: int, K: int, stacked: int, matrices: list[Any]) -> None:
        """Make the arrays.

        Args:
            k: Number of columns.
            K: Number of nodes.
            stacked: Number of arrays to be combined.
            matrices: Dense PETSc matrices, (K, k) each; none for arrays of numpy.
        """
        self.matrices = matrices
        self.right: Array
        self.solution: Array
        self.right, self.solution = (
            [matrix.getDenseArray().T for matrix in matrices[:2]]
            if matrices
            else np.empty((2, k, K))
        )
        self.stack = np.empty((stacked, k, K))
        self.spare, self.other = np.empty((k, K)), np.empty((k, K))

    def combine(self, weights: Array, out: Array) -> None:
        """Set an array (k, K) to the sum of the stack's first arrays with weights, (m,)."""
        m = len(weights)
        np.dot(np.ascontiguousarray(weights), self.stack[:m].reshape(m, -1), out=out.reshape(-1))


class Propagator:
    """S or its transpose on columns that are divided over processes as the nodes are.

    Attributes:
        system: The linear system, with its records of the samples' solves.
    """

    def __init__(self, M: Any, system: LinearSystem, *, transposed: bool = False) -> None:
        """Keep the matrices.

        Args:
            M: The matrix m.
            system: The system of A, or of its transpose.
            transposed: Whether this is the transpose of S, m^T A^-T.
        """
        self._M = M.transpose(PETSc.Mat()) if transposed else M
        self._transposed = transposed
        self.system = system.again()

    def arranged(self, values: Array) -> Array:
        """Return values at the nodes, (..., N), in the order of the columns, (..., K)."""
        return values

    def restored(self, values: Array) -> Array:
        """Return values of columns, (..., K), in the order of the nodes, (..., N)."""
        return values

    def workspace(self, k: int, stacked: int) -> Workspace:
        """Make arrays for k columns, of which some are to be combined; collective."""
        sizes = self._M.getSizes()[0]
        matrices = []
        for _ in range(3):
            X = PETSc.Mat().createDense((sizes, (None, k)), comm=self._M.comm)
            X.setUp()
            X.assemble()
            matrices.append(X)
        return Workspace(k, sizes[0], stacked, matrices)

    def apply(self, work: Workspace, rows: slice, width: int, into: Array | None = None) -> None:
        """Multiply a workspace's right-hand sides by S; collective.

        Args:
            work: The workspace, whose `Workspace.solution` is overwritten.
            rows: The samples of the columns.
            width: Columns of each sample.
            into: An array for the products instead, (k, K); overwritten.
        """
        R, X, B = work.matrices
        samples = np.repeat(np.arange(rows.start, rows.stop), width)
        R.assemble()
        if self._transposed:
            self.system.solve(R, B, samples)
            self._M.matMult(B, result=X)
        else:
            self._M.matMult(R, result=B)
            self.system.solve(B, X, samples)
        if into is not None:
            into[:] = work.solution

    def check(self, solutions: Array, rows: slice, width: int) -> None:
        """Record the residuals of the products that the last `apply` has found; collective."""
        self.system.check(solutions.T)

    def destroy(self, works: Iterable[Workspace]) -> None:
        """Free workspaces, on all processes together."""
        for work in works:
            work.right = work.solution = np.empty((0, 0))
            destroy(*work.matrices)


class Dissected(Propagator):
    """S or its transpose by `Dissection`, on one process; methods as of `Propagator`."""

    def __init__(self, blocks: Dissection, system: LinearSystem, *, transposed: bool) -> None:
        """Keep the blocks, and a system for the records alone."""
        self._blocks, self._transposed = blocks, transposed
        self.system = system.again()

    def arranged(self, values: Array) -> Array:
        """Take the nodes in the order of the blocks."""
        return np.asarray(np.take(values, self._blocks.nodes, axis=-1))

    def restored(self, values: Array) -> Array:
        """Return to the order of the nodes."""
        return np.asarray(np.take(values, self._blocks.places, axis=-1))

    def workspace(self, k: int, stacked: int) -> Workspace:
        """Make arrays of numpy."""
        return Workspace(k, len(self._blocks.nodes), stacked, [])

    def apply(self, work: Workspace, rows: slice, width: int, into: Array | None = None) -> None:
        """Multiply by the blocks."""
        out = work.solution if into is None else into
        self._blocks.apply(work.right, out, self._transposed)
        self.system.iterations[rows] += width

    def check(self, solutions: Array, rows: slice, width: int) -> None:
        """Record the error of the blocks, which is that of every product."""
        samples = np.repeat(np.arange(rows.start, rows.stop), width)
        finite = np.isfinite(solutions).all(axis=1)
        self.system.record(samples, np.full(len(samples), self._blocks.error), finite)
