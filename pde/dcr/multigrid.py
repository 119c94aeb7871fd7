"""DC resistivity on any mesh, over any number of processes: conjugate gradients with GAMG.

With ``solver.formulation = "total"``, for checks, the electrodes are point sources on the mesh and
u is interpolated at the stations; the error near an electrode is then large.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc

from surrogates.config import check
from surrogates.types import Array

from .. import meshes
from ..linear import LARGEST_RTOL, destroy, failure
from ..points import evaluation
from .body import INDICES
from .potential import Change, Level, Region, currents, stiffness
from .survey import DCRConfig, Solver

PREFIX = "dcr_"
OPTIONS = {
    "ksp_norm_type": "natural",
    "pc_gamg_reuse_interpolation": "true",
    "pc_gamg_agg_nsmooths": 0,
    "pc_gamg_square_graph": 0,  # up to PETSc 3.18
    "pc_gamg_aggressive_coarsening": 0,
    "mg_levels_ksp_type": "chebyshev",
    "mg_levels_pc_type": "sor",
    "mg_coarse_pc_type": "svd",
}
"""Default PETSc options under the prefix.

With plain aggregation the hierarchy is made once, for the background, and its coarse matrices are
sums of the fine one's entries, so that a sample's set-up costs little. The coarsest matrix is
singular, as A is.
"""
EIGENVALUES = {"mg_levels_ksp_chebyshev_eigenvalues": "0.1,1.0"}
"""On one process: the largest eigenvalue of symmetric relaxation is 1, and needs no estimate."""


class Multigrid(Level):
    """The equation on a mesh that is divided over the processes of a communicator.

    Attributes:
        cells: This process's cells where the conductivity can change, (n,).
    """

    def __init__(
        self,
        cells: meshes.Cells,
        config: DCRConfig,
        comm: MPI.Comm,
        reach: tuple[float, float, float] | None = None,
    ) -> None:
        """Prepare all that does not depend on the sample.

        Args:
            cells: The mesh.
            config: The configuration.
            comm: Communicator over which the mesh is divided.
            reach: Region where the conductivity can change: distance from the body's centre in the
                plane, depths of top and bottom; by default the region that bodies can reach.
        """
        super().__init__(cells, config, comm)
        if reach is None:
            reach = (config.body.reach(config.sampling.volume[1])[0], *config.core[2:])
        corners = self.V.tabulate_dof_coordinates()[self._vertices()]
        self.cells = Region(config, self.kind, corners).within(*reach).astype(np.int32)
        self.region = Region(config, self.kind, corners[self.cells])
        self._A0 = stiffness(self.V, config.conductivity.background)
        self._A = self._A0.copy()
        self._ksp = _prepared(self._A, config.solver)
        self._change = Change(self.V, self.cells)
        self._d = self._A0.createVecRight()
        self._q = self._A0.createVecLeft()  # A(y) (u0 + d) = q for every y
        self._u = fem.Function(self.V)
        if config.solver.formulation == "total":
            self._P = evaluation(self.V, self._places)
            electrodes = evaluation(self.V, np.array(config.source.electrodes))
            sent = electrodes.createVecLeft()
            sent.array[:] = currents(config)[: sent.local_size]
            electrodes.multTranspose(sent, self._q)
            self.c0 = np.zeros(len(self._ends[0]))
            return
        # The nodes of the cells, also another process's.
        ones = np.ones((len(self.cells), len(INDICES))) * [1, 1, 1, 0, 0, 0]
        self._change.add(ones * config.conductivity.background, self._A0, self._A)
        changed = self._A.getDiagonal().array != self._A0.getDiagonal().array
        self._body_nodes = np.flatnonzero(changed)
        ksp, null = _prepared(self._A0, Solver(rtol=1e-7)), self._A0.getNullSpace()

        def solve(b: Any) -> Array:
            null.remove(b)  # the current of a single pole could not leave the box
            ksp.solve(b, self._d)
            why = failure(ksp)
            check(not why, f"the background's potential: {why}")
            return np.asarray(self._d.array)

        self._G = self._without_body(solve, self._body_nodes)
        self._d.array[:] = self._u0.x.array[: self._own]
        self._A0.mult(self._d, self._q)

    def solve(self, K: Array) -> Array:
        """Solve for a conductivity, as `Level.solve`."""
        self.iterations, self.residual, self.failure = 0, 0.0, ""
        self._change.add(K * self.config.conductivity.background, self._A0, self._A)
        b = self._A.createVecLeft()
        self._d.array[:] = self._u0.x.array[: self._own]
        self._A.mult(self._d, b)
        b.aypx(-1.0, self._q)
        c = self._respond(b)
        self._u.x.array[:] = self._u0.x.array
        self._u.x.array[: self._own] += self._d.array
        self._u.x.scatter_forward()
        return c

    def tangents(self, dK: Array) -> Array:
        """Solve for derivatives of the last solution, as `Level.tangents`."""
        found = []
        for change in dK * self.config.conductivity.background:
            b = self._change.act(change, self._u)
            b.scale(-1.0)
            found.append(self._respond(b))
        return np.stack(found, axis=1)

    def adjoints(self, W: Array, dK: Array) -> Array:
        """Solve for functionals of the last solution's derivatives, as `Level.adjoints`."""
        m0 = self.config.conductivity.background
        changes = [self._change.act(change * m0, self._u) for change in dK]
        found = np.empty((len(W), len(dK)))
        b = self._A.createVecLeft()
        for k, w in enumerate(W):
            if self.config.solver.formulation == "secondary":
                self._d.set(0)
                self._d.array[self._body_nodes] = self._G @ w
                self._A0.mult(self._d, b)
            else:
                currents = np.zeros(len(self._places))
                np.add.at(currents, self._ends, [w, -w])
                sent = self._P.createVecLeft()
                sent.array[:] = currents[: sent.local_size]
                self._P.multTranspose(sent, b)
                destroy(sent)
            self._solve(b)
            found[k] = [-self._d.dot(change) for change in changes]
        destroy(b, *changes)
        return found

    def added(self) -> Array:
        """Return d of the last sample at the nodes of V, (n,); on one process."""
        return np.asarray(self._u.x.array - self._u0.x.array)

    def _solve(self, b: Any) -> None:
        """Solve A d = b, and record iterations and residual."""
        self._ksp.setOperators(self._A)
        self._ksp.setUp()
        self._ksp.solve(b, self._d)
        self.iterations += self._ksp.getIterationNumber()
        self.failure = self.failure or failure(self._ksp)
        r = self._A.createVecLeft()
        self._A.mult(self._d, r)
        r.axpy(-1.0, b)
        size = b.norm()
        self.residual = max(self.residual, r.norm() / size if size else 0.0)
        destroy(r)

    def _respond(self, b: Any) -> Array:
        """Solve A d = b, record iterations and residual, and observe d."""
        self._solve(b)
        r = self._A.createVecLeft()
        if self.config.solver.formulation == "secondary":
            self._A0.mult(self._d, r)
            c = r.array[self._body_nodes] @ self._G
            total = np.empty_like(c)
            self.V.mesh.comm.Allreduce(c, total)
        else:
            u = self._P.createVecLeft()
            self._P.mult(self._d, u)
            values = self.V.mesh.comm.bcast(u.array)
            total = values[self._ends[0]] - values[self._ends[1]]
            destroy(u)
        destroy(r, b)
        return np.asarray(total)


def _prepared(A: Any, config: Solver) -> Any:
    """Prepare conjugate gradients with GAMG for a matrix."""
    options = PETSc.Options(PREFIX)
    for name, value in (OPTIONS | EIGENVALUES).items():
        ours = value if A.comm.size == 1 or name not in EIGENVALUES else None
        if ours is not None and not options.hasName(name):
            options[name] = ours
        elif ours is None and options.getString(name, "") == value:
            options.delValue(name)  # left by a problem on one process
    ksp = PETSc.KSP().create(A.comm)
    ksp.setOptionsPrefix(PREFIX)
    ksp.setType("cg")
    ksp.getPC().setType("gamg")
    ksp.setOperators(A)
    ksp.setTolerances(rtol=config.rtol, atol=0.0, max_it=config.max_iterations)
    ksp.setFromOptions()
    check(
        ksp.rtol <= LARGEST_RTOL and ksp.atol <= 1e-50,
        f"PETSc's options {PREFIX}ksp_rtol and {PREFIX}ksp_atol must be at most {LARGEST_RTOL:g} "
        f"and 1e-50; got {ksp.rtol:g} and {ksp.atol:g}",
    )
    ksp.setUp()  # now: the hierarchy is this matrix's, not that of the first solve
    return ksp
