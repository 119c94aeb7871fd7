"""S = A^-1 m, the operator of every stage of CDR's scheme, and its transpose, on many columns.

`Propagator` uses PETSc's matrices and the factorisation that the samples share. On one process and
a mesh of moderate size, `Dissected` is about three times as fast.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from petsc4py import PETSc

from surrogates.types import Array

from ..linear import LinearSystem, destroy
from .dissection import Dissection


class Workspace:
    """Arrays for the solves of some columns.

    Attributes:
        right: Right-hand sides, (k, K) for k columns and K nodes of the propagator's order.
        stages: Solutions, (k, K) each.
        spare: An array, (k, K).
        matrices: PETSc's matrices whose arrays these are; none with `Dissected`.
    """

    def __init__(self, k: int, K: int, stages: int, matrices: list[Any]) -> None:
        """Make the arrays.

        Args:
            k: Number of columns.
            K: Number of nodes.
            stages: Number of arrays for solutions.
            matrices: Dense PETSc matrices (K, k) for right-hand sides, for solutions, and one more;
                none for arrays of numpy.
        """
        self.matrices = matrices
        arrays = [matrix.getDenseArray().T for matrix in matrices]
        if not arrays:
            arrays = [np.zeros((k, K)) for _ in range(1 + stages)]
        self.right: Array = arrays[0]
        self.stages: list[Array] = arrays[1 : 1 + stages]
        self.spare = np.empty_like(self.right)


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

    def workspace(self, k: int, stages: int) -> Workspace:
        """Make arrays for k columns; collective."""
        sizes = self._M.getSizes()[0]
        matrices = []
        for _ in range(stages + 2):
            X = PETSc.Mat().createDense((sizes, (None, k)), comm=self._M.comm)
            X.setUp()
            X.assemble()
            matrices.append(X)
        return Workspace(k, sizes[0], stages, matrices)

    def apply(self, work: Workspace, i: int, samples: npt.NDArray[np.intp]) -> None:
        """Set solution i of a workspace to S times its right-hand side; collective.

        Args:
            work: The workspace.
            i: Index of the solution.
            samples: The sample of each column, (k,).
        """
        R, X, B = work.matrices[0], work.matrices[1 + i], work.matrices[-1]
        R.assemble()
        if self._transposed:
            self.system.solve(R, B, samples)
            self._M.matMult(B, result=X)
        else:
            self._M.matMult(R, result=B)
            self.system.solve(B, X, samples)

    def check(self, work: Workspace, i: int, samples: npt.NDArray[np.intp]) -> None:
        """Record the residuals of the last solve, which gave solution i; collective."""
        self.system.check(work.stages[i].T)

    def destroy(self, works: Iterable[Workspace]) -> None:
        """Free workspaces, on all processes together."""
        for work in works:
            work.right, work.stages = np.empty((0, 0)), []
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

    def workspace(self, k: int, stages: int) -> Workspace:
        """Make arrays of numpy."""
        return Workspace(k, len(self._blocks.nodes), stages, [])

    def apply(self, work: Workspace, i: int, samples: npt.NDArray[np.intp]) -> None:
        """Multiply by the blocks."""
        self._blocks.apply(work.right, work.stages[i], self._transposed)
        np.add.at(self.system.iterations, samples, 1)

    def check(self, work: Workspace, i: int, samples: npt.NDArray[np.intp]) -> None:
        """Record the error of the blocks, which is that of every solve."""
        finite = np.isfinite(work.stages[i]).all(axis=1)
        self.system.record(samples, np.full(len(samples), self._blocks.error), finite)
