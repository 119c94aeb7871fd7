r"""The equation of DC resistivity on one mesh: solutions, observables, tangents.

**Secondary potential.** u = u0 + d, where u0 is the potential without the body: that of the
electrodes in a half-space, +-I/(2 pi m0 |x - x_e|), and a correction u_far, found once, whose flux
cancels the half-space's through the sides and the bottom of the box. The rest is smooth. In
trilinear elements (linear on tetrahedra), with the stiffness matrices A(y) = A0 + D(y), A0 of the
background,

    A(y) d = -D(y) u0

D has entries at nodes of the body only, and only its cells are assembled for each sample.

**Observables.** A0 d = -D(y)(u0 + d) =: r is the current that the body's charges send out, at the
nodes of the body. c = c0 + G^T r, where c0 is of u0, and column j of G the potential at those nodes
of a unit current through receiver dipole j, without the body (reciprocity): again that of a
half-space, and a correction for the far sides, which is so smooth a function of the receiver's
place that 16 solves and Chebyshev interpolation give it. No mesh between the body and the stations
is involved, so the cells can grow fast outside of the region that bodies can reach, and the error
of c is that of u in the body, with an expansion in h^2.

**Tangents.** dc/dy_k = G^T A0 d', with A(y) d' = -dD/dy_k (u0 + d): one more solve each, with the
same preconditioner. dD/dy is the complex step's, exact to rounding.

With ``solver.formulation = "total"``, for checks, the electrodes are point sources on the mesh and
u is interpolated at the stations; the error near an electrode is then large.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem, mesh
from dolfinx.fem.petsc import assemble_matrix, assemble_vector
from mpi4py import MPI
from petsc4py import PETSc

from surrogates.config import check

from . import meshes
from .body import INDICES
from .fenicsx import cell_vertices, form, function_space
from .linear import destroy, failure
from .points import digest, evaluation
from .problem import Field
from .survey import DCRConfig, Solver, Stations

Array = npt.NDArray[np.float64]

PREFIX = "dcr_"
MULTIGRID = {
    "ksp_norm_type": "natural",
    "pc_gamg_reuse_interpolation": "true",
    "pc_gamg_agg_nsmooths": 0,
    "pc_gamg_square_graph": 0,  # up to PETSc 3.18
    "pc_gamg_aggressive_coarsening": 0,
    "mg_levels_ksp_type": "chebyshev",
    "mg_levels_pc_type": "sor",
    "mg_coarse_pc_type": "svd",
}
"""PETSc's options under the prefix that hold unless the user gives others.

Plain aggregation: the hierarchy is made once, of the background, and its coarse matrices are sums
of the fine one's entries, so that a sample's set-up costs little. The coarsest matrix is singular,
as A is.
"""
EIGENVALUES = {"mg_levels_ksp_chebyshev_eigenvalues": "0.1,1.0"}
"""On one process: symmetric relaxation has its largest eigenvalue at 1, which needs no estimate."""

_KNOTS = 4  # along x1 and x2, for the far-side correction of the receivers


class Level:
    """The equation on one mesh.

    Attributes:
        V: Space of the potential.
        cells: This process's cells where the conductivity can change, (n,).
        midpoints: Theirs [m], (n, 3).
        u: The last sample's potential, a DOLFINx function.
        c0: Observables without the body, (n_c,); 0 with point sources on the mesh.
        secondary: Whether u is the sum of a known potential and what the body adds to it.
        iterations: Of the last sample's solves.
        residual: The largest relative residual of these.
        failure: Why one of these failed, empty if none did.
    """

    def __init__(
        self,
        cells: meshes.Cells,
        config: DCRConfig,
        comm: MPI.Comm,
        reach: tuple[float, float, float] | None = None,
    ) -> None:
        """Make the mesh, and prepare all that does not depend on the sample.

        Args:
            cells: The mesh.
            config: The configuration.
            comm: Communicator over which the mesh is divided.
            reach: Distance from the body's centre in the plane, and depths of top and bottom, of
                the region where the conductivity can change; by default, where bodies can be.
        """
        self.config = config
        self.kind = cells.kind
        domain = cells.create(comm)
        self.V = function_space(domain, 1)
        corners = domain.geometry.x[cell_vertices(domain, cells.vertices.shape[1])]
        mid = corners.mean(axis=1)
        radius = np.linalg.norm(corners - mid[:, None], axis=2).max(axis=1)
        if reach is None:
            reach = (config.body.reach(config.sampling.volume[1])[0], *config.core[2:])
        self.cells = np.flatnonzero(self._within(mid, radius, *reach)).astype(np.int32)
        self.midpoints, self._radius = mid[self.cells], radius[self.cells]
        shape, self._weights = meshes.quadrature(cells.kind)
        self._points = np.einsum("qv,nvi->nqi", shape, corners[self.cells])
        self._A0 = _stiffness(self.V, config.conductivity.background)
        self._A = self._A0.copy()
        self._ksp = _multigrid(self._A, config.solver)
        self._change = _Change(self.V, self.cells)
        self._d = self._A0.createVecRight()
        self._q = self._A0.createVecLeft()  # A(y) (u0 + d) = q for every y
        self._own = self._d.local_size
        self._u0, self.u = fem.Function(self.V), fem.Function(self.V)
        places, self._ends = _receivers(config.stations)
        self.secondary = config.solver.formulation == "secondary"
        if not self.secondary:
            self._P = evaluation(self.V, places)
            electrodes = evaluation(self.V, np.array(config.source.electrodes))
            sent = electrodes.createVecLeft()
            sent.array[:] = _currents(config)[: sent.local_size]
            electrodes.multTranspose(sent, self._q)
            self.c0 = np.zeros(len(self._ends[0]))
            return
        x = self.V.tabulate_dof_coordinates()
        # The nodes of the cells, also where those are another process's.
        ones = np.ones((len(self.cells), len(INDICES))) * [1, 1, 1, 0, 0, 0]
        self._change.add(ones * config.conductivity.background, self._A0, self._A)
        changed = self._A.getDiagonal().array != self._A0.getDiagonal().array
        self._body_nodes = np.flatnonzero(changed)
        self._far = _FarSides(self.V, self._A0)
        self._G = self._reciprocal(x[: self._own][self._body_nodes], places)
        u_far = self._far.potential(config.source.electrodes, _currents(config))
        self._u0.x.array[:] = u_far.x.array + _half_space(config, x)
        self._d.array[:] = self._u0.x.array[: self._own]
        self._A0.mult(self._d, self._q)
        u0 = _half_space(config, places) + _values(evaluation(self.V, places), u_far)
        self.c0 = u0[self._ends[0]] - u0[self._ends[1]]

    def description(self) -> str:
        """Say size and hash of the mesh; collective."""
        n_cells = self.V.mesh.topology.index_map(3).size_global
        unknowns = self.V.dofmap.index_map.size_global
        kind = {"hexahedron": "hexahedra", "tetrahedron": "tetrahedra"}[self.kind]
        own = self.V.tabulate_dof_coordinates()[: self._own]
        sha = digest(self.V.mesh.comm, own)
        return f"{n_cells} {kind}, {unknowns} unknowns, sha256 {sha}"

    def change(self, y: npt.NDArray[Any]) -> Any:
        """Give K / m0 - I of a sample in `cells`, (n, 6); of complex y its imaginary part."""
        plane, upwards = self.config.body.reach(float(y[1].real))
        depth = float(y[0].real)
        near = np.flatnonzero(
            self._within(self.midpoints, self._radius, plane, depth - upwards, depth + upwards)
        )
        contrast = self.config.conductivity.body / self.config.conductivity.background
        K = np.zeros((len(self.cells), len(INDICES)), dtype=y.dtype)
        K[near] = self.config.body.tensor(y, contrast, self._points[near], self._weights)
        return K

    def solve(self, K: Array) -> Array:
        """Solve for a conductivity.

        Args:
            K: K / m0 - I in `cells`, (n, 6).

        Returns:
            What the change adds to the observables, (n_c,), on every process.
        """
        self.iterations, self.residual, self.failure = 0, 0.0, ""
        self._change.add(K * self.config.conductivity.background, self._A0, self._A)
        b = self._A.createVecLeft()
        self._d.array[:] = self._u0.x.array[: self._own]
        self._A.mult(self._d, b)
        b.aypx(-1.0, self._q)
        c = self._respond(b)
        self.u.x.array[:] = self._u0.x.array
        self.u.x.array[: self._own] += self._d.array
        self.u.x.scatter_forward()
        return c

    def tangent(self, dK: Array) -> Array:
        """Solve for a derivative of the last solution.

        Args:
            dK: Derivative of K / m0 in `cells`, (n, 6).

        Returns:
            Derivative of the observables, (n_c,), on every process.
        """
        b = self._change.act(dK * self.config.conductivity.background, self.u)
        b.scale(-1.0)
        return self._respond(b)

    def potential(self, points: Array) -> Array:
        """Evaluate the last sample's potential [V] at points, (n, 3); on one process."""
        smooth = fem.Function(self.V)
        smooth.x.array[:] = self.u.x.array
        known = np.zeros(len(points))
        if self.secondary:
            smooth.x.array[:] -= _half_space(self.config, self.V.tabulate_dof_coordinates())
            known = _half_space(self.config, points)
        return np.asarray(known + _values(evaluation(self.V, points), smooth))

    def field(self, y: Array) -> Field:
        """Give the last sample's model and solution; on one process."""
        cells = range(self.V.mesh.topology.index_map(3).size_local)
        vertices = np.array([self.V.dofmap.cell_dofs(c) for c in cells])
        m0 = self.config.conductivity.background
        K = np.zeros((len(vertices), len(INDICES)))
        K[self.cells] = self.change(y)
        tensor = np.empty((len(vertices), 9))
        for (i, j), k in zip(INDICES, K.T, strict=True):
            tensor[:, 3 * i + j] = tensor[:, 3 * j + i] = m0 * (k + (i == j))
        points = self.V.tabulate_dof_coordinates()
        return Field(
            points=points,
            kind=meshes.NAMES[self.kind],
            cells=vertices[:, meshes.VTK[self.kind]].astype(np.int64),
            at_points={
                "potential [V]": self.u.x.array.copy(),
                "potential of the body [V]": self.u.x.array - self._u0.x.array,
            },
            at_cells={
                "conductivity [S/m]": tensor[:, [0, 4, 8]].mean(axis=1),
                "conductivity tensor [S/m]": tensor,
            },
        )

    def _within(self, x: Array, margin: Any, plane: float, top: float, bottom: float) -> Any:
        """Tell which points are in the reach of bodies, with a margin."""
        distance = np.hypot(*(x[:, :2] - self.config.body.centre).T)
        depth = -x[:, 2]
        return (distance < plane + margin) & (top - margin < depth) & (depth < bottom + margin)

    def _respond(self, b: Any) -> Array:
        """Solve A d = b, keep an account of how, and observe d."""
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
        if self.secondary:
            self._A0.mult(self._d, r)
            c = self._G.T @ r.array[self._body_nodes]
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

    def _reciprocal(self, nodes: Array, places: Array) -> Array:
        """Give the potentials at nodes of a unit current through each receiver: (n_nodes, n_c)."""
        m0 = self.config.conductivity.background
        low, high = places[:, :2].min(axis=0), places[:, :2].max(axis=0)
        knots = np.cos(np.pi * (np.arange(_KNOTS) + 0.5) / _KNOTS)  # Chebyshev's, in (-1, 1)
        grid = np.array([(s, t, 0.0) for s in knots for t in knots])
        grid[:, :2] = low + (grid[:, :2] + 1) / 2 * (high - low)
        far = np.array([self._far.potential([pole], [1.0]).x.array for pole in grid])
        scaled = 2 * (places[:, :2] - low) / (high - low) - 1
        others = np.array([np.delete(knots, k) for k in range(_KNOTS)])
        L1, L2 = (  # Lagrange's polynomials, (n_places, _KNOTS)
            np.prod((x[:, None, None] - others) / (knots[:, None] - others), axis=2)
            for x in scaled.T
        )
        weights = (L1[:, :, None] * L2[:, None, :]).reshape(len(places), -1)
        u = (weights @ far[:, self._body_nodes]).T
        for j, place in enumerate(places):
            u[:, j] += 1 / (2 * np.pi * m0 * np.linalg.norm(nodes - place, axis=1))
        return np.asfortranarray(u[:, self._ends[0]] - u[:, self._ends[1]])


def compile_forms(domain: Any) -> None:
    """Compile the forms for a mesh's kind of cells."""
    V = function_space(domain, 1)
    _stiffness(V, 1.0)
    _FarFlux(V)
    _Change(V, np.zeros(1, np.int32))


class _Change:
    """Stiffness matrices of a tensor that is given in some cells, and zero elsewhere."""

    def __init__(self, V: Any, cells: npt.NDArray[np.int32]) -> None:
        domain = V.mesh
        constants = function_space(domain, 0)
        self._K = [fem.Function(constants) for _ in INDICES]
        self._dofs = np.array([constants.dofmap.cell_dofs(c)[0] for c in cells], dtype=np.int32)
        K = np.empty((3, 3), dtype=object)
        for k, (i, j) in zip(self._K, INDICES, strict=True):
            K[i, j] = K[j, i] = k
        tags = mesh.meshtags(domain, 3, cells, np.ones(len(cells), dtype=np.int32))
        dx = ufl.Measure("dx", domain, subdomain_data=tags, metadata={"quadrature_degree": 2})(1)
        tensor = ufl.as_matrix(K.tolist())
        u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
        self._w = fem.Function(V)
        self._matrix = form(ufl.inner(tensor * ufl.grad(u), ufl.grad(v)) * dx)
        self._action = form(ufl.inner(tensor * ufl.grad(self._w), ufl.grad(v)) * dx)

    def _set(self, K: Array) -> None:
        for k, values in zip(self._K, K.T, strict=True):
            k.x.array[self._dofs] = values

    def add(self, K: Array, A0: Any, A: Any) -> None:
        """Set A to A0 and the stiffness matrix of K, (n, 6) in the order of the cells."""
        self._set(K)
        A0.copy(A, structure=PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        assemble_matrix(A, self._matrix)
        A.assemble()

    def act(self, K: Array, u: Any) -> Any:
        """Apply the stiffness matrix of K to a function."""
        self._set(K)
        self._w.x.array[:] = u.x.array
        b = assemble_vector(self._action)
        b.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
        return b


class _FarFlux:
    """The flux that keeps the half-space potential of an electrode from crossing the far sides."""

    def __init__(self, V: Any) -> None:
        domain = V.mesh
        domain.topology.create_connectivity(2, 3)
        outside = mesh.locate_entities_boundary(domain, 2, lambda x: np.full(x.shape[1], True))
        top = mesh.locate_entities_boundary(domain, 2, lambda x: x[2] > -1e-6)
        far = np.setdiff1d(outside, top).astype(np.int32)
        tags = mesh.meshtags(domain, 2, far, np.ones(len(far), dtype=np.int32))
        ds = ufl.Measure("ds", domain, subdomain_data=tags, metadata={"quadrature_degree": 6})(1)
        self._place = fem.Constant(domain, np.zeros(3, dtype=PETSc.ScalarType))
        r, normal = ufl.SpatialCoordinate(domain) - self._place, ufl.FacetNormal(domain)
        flux = ufl.inner(r, normal) / (2 * ufl.pi * ufl.sqrt(ufl.inner(r, r)) ** 3)
        self._form = form(flux * ufl.TestFunction(V) * ds)

    def assemble(self, electrodes: Any, currents: Any) -> Any:
        """Give the right-hand side for electrodes with given currents."""
        parts = []
        for place, current in zip(electrodes, currents, strict=True):
            self._place.value[:] = place
            part = assemble_vector(self._form)
            part.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
            part.scale(current)
            parts.append(part)
        for part in parts[1:]:
            parts[0].axpy(1.0, part)
        destroy(*parts[1:])
        return parts[0]


class _FarSides:
    """The part of the background's potential that is due to the box's sides and bottom."""

    def __init__(self, V: Any, A0: Any) -> None:
        self._V = V
        self._flux = _FarFlux(V)
        self._ksp = _multigrid(A0, Solver(rtol=1e-7))
        self._null = A0.getNullSpace()

    def potential(self, electrodes: Any, currents: Any) -> Any:
        """Solve for electrodes with given currents: a DOLFINx function."""
        b = self._flux.assemble(electrodes, currents)
        self._null.remove(b)  # of one pole alone, the box would not let the current out
        d = b.duplicate()
        self._ksp.solve(b, d)
        why = failure(self._ksp)
        check(not why, f"the background's potential: {why}")
        u = fem.Function(self._V)
        u.x.array[: d.local_size] = d.array
        u.x.scatter_forward()
        destroy(b, d)
        return u


def _stiffness(V: Any, m: float) -> Any:
    """Assemble the stiffness matrix of a constant conductivity."""
    domain = V.mesh
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    constant = fem.Constant(domain, PETSc.ScalarType(m))
    dx = ufl.dx(domain, metadata={"quadrature_degree": 2})
    A = assemble_matrix(form(constant * ufl.inner(ufl.grad(u), ufl.grad(v)) * dx))
    A.assemble()
    A.setNullSpace(PETSc.NullSpace().create(constant=True, comm=domain.comm))
    return A


def _multigrid(A: Any, config: Solver) -> Any:
    """Prepare conjugate gradients with GAMG for a matrix."""
    options = PETSc.Options(PREFIX)
    for name, value in (MULTIGRID | EIGENVALUES).items():
        ours = value if A.comm.size == 1 or name not in EIGENVALUES else None
        if ours is not None and not options.hasName(name):
            options[name] = ours
        elif ours is None and options.getString(name, "") == value:
            options.delValue(name)  # of a problem on one process
    ksp = PETSc.KSP().create(A.comm)
    ksp.setOptionsPrefix(PREFIX)
    ksp.setType("cg")
    ksp.getPC().setType("gamg")
    ksp.setOperators(A)
    ksp.setTolerances(rtol=config.rtol, atol=0.0, max_it=config.max_iterations)
    ksp.setFromOptions()
    ksp.setUp()  # now, so that the hierarchy is that of this matrix, whatever is solved first
    return ksp


def _half_space(config: DCRConfig, x: Array) -> Array:
    """Evaluate the electrodes' potential in a half-space, (n,); finite on an electrode."""
    u = np.zeros(len(x))
    for place, current in zip(config.source.electrodes, _currents(config), strict=True):
        distance = np.linalg.norm(x - np.array(place), axis=1)
        u += current / (2 * np.pi * config.conductivity.background * np.maximum(distance, 1e-3))
    return u


def _currents(config: DCRConfig) -> tuple[float, float]:
    return config.source.current, -config.source.current


def _receivers(stations: Stations) -> tuple[Array, npt.NDArray[np.intp]]:
    """Give the places of all receivers' electrodes, and for each dipole the two it has: (2, n)."""
    both = np.concatenate(stations.ends).round(9)
    places, inverse = np.unique(both, axis=0, return_inverse=True)
    return places, inverse.reshape(2, -1)


def _values(P: Any, u: Any) -> Array:
    """Evaluate a function at points by a matrix of `evaluation`, on every process."""
    x, y = P.createVecRight(), P.createVecLeft()
    x.array[:] = u.x.array[: x.local_size]
    P.mult(x, y)
    values = P.comm.tompi4py().bcast(y.array)
    destroy(x, y)
    return np.asarray(values)
