r"""The equation of DC resistivity on one mesh: solutions, observables, tangents.

**Secondary potential.** u = u0 + d, where u0 is the potential without the body. It is the
electrodes' potential in a half-space, +-I/(2 pi m0 |x - x_e|), and a correction u_far, found once,
whose flux cancels the half-space's through the sides and the bottom of the box. d is smooth. In
trilinear elements (linear on tetrahedra), with the stiffness matrices A(y) = A0 + D(y), A0 of the
background,

    A(y) d = -D(y) u0

D has entries only at nodes of the body, and only its cells are assembled for each sample.

**Observables.** A0 d = -D(y)(u0 + d) =: q is the current from the body's charges, at the nodes of
the body. c = c0 + G^T q, where c0 comes from u0. By reciprocity, column j of G is the potential at
those nodes of a unit current through receiver dipole j, without the body: again the half-space's,
and a correction for the far sides. This correction is a smooth function of the receiver's place,
found by 16 solves and Chebyshev interpolation. No mesh between the body and the stations is
involved, so the cells can grow fast outside the region that bodies can reach, and the error of c is
that of u in the body, with an expansion in h^2.

**Tangents.** dc/dy_k = G^T A0 d', with A(y) d' = -dD/dy_k (u0 + d): one more solve each, with the
same matrix, all of them together. dD/dy is differentiated in closed form. A direction v of y takes
one solve too, with sum_k v_k dD/dy_k.

**Adjoints.** For a functional w of c, w^T dc/dy_k = -l^T dD/dy_k (u0 + d) with A(y) l = A0 G w, as
A(y) is symmetric: by reciprocity, l is the potential of all receivers with currents w, with the
body. One solve serves all y_k; with three of them, it is worth it for one or two functionals.

`condensed` and `multigrid` are two ways to solve.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem, mesh
from dolfinx.fem.petsc import assemble_matrix, assemble_vector
from mpi4py import MPI
from petsc4py import PETSc

from surrogates.types import Array

from .. import meshes
from ..fenicsx import form, function_space
from ..fields import Field
from ..linear import destroy
from ..points import digest, evaluation
from .body import INDICES
from .survey import DCRConfig, Stations

# Chebyshev knots along x1 and x2, for the far-side correction of the receivers. It varies faster
# near the sides and over a near bottom: with four knots, the error is 0.4 % of c's spread at a
# nearness of 0.77, and 6 % at 0.87.
_KNOTS, _NEAR, _KNOTS_NEAR = 4, 0.5, 8


class Region:
    """Cells where the conductivity can change.

    Attributes:
        midpoints: Their midpoints [m], (n, 3).
    """

    def __init__(self, config: DCRConfig, kind: str, corners: Array) -> None:
        """Prepare `change`.

        Args:
            config: The configuration.
            kind: Kind of the cells.
            corners: Their corners, in the order of DOLFINx, (n, 8 or 4, 3).
        """
        self._config = config
        self.midpoints = corners.mean(axis=1)
        self._radius = np.linalg.norm(corners - self.midpoints[:, None], axis=2).max(axis=1)
        shape, self._weights = meshes.quadrature(kind)
        self._points = np.einsum("qv,nvi->nqi", shape, corners)
        self._contrast = config.conductivity.body / config.conductivity.background

    def within(self, plane: float, top: float, bottom: float) -> npt.NDArray[np.intp]:
        """Return the cells within a distance from the body's axis, between two depths."""
        x, margin = self.midpoints, self._radius
        distance = np.hypot(*(x[:, :2] - self._config.body.centre).T)
        depth = -x[:, 2]
        return np.flatnonzero(
            (distance < plane + margin) & (top - margin < depth) & (depth < bottom + margin)
        )

    def change(self, y: Array) -> Array:
        """Return K / m0 - I (n, 6), exactly 0 outside the body."""
        plane, upwards = self._config.body.reach(float(y[1]))
        depth = float(y[0])
        near = self.within(plane, depth - upwards, depth + upwards)
        K = np.zeros((len(self.midpoints), len(INDICES)))
        K[near] = self._config.body.tensor(y, self._contrast, self._points[near], self._weights)
        return K

    def derivatives(self, y: Array, V: Array, K: Array) -> Array:
        """Return the derivatives of `change`, which is K, in directions of y.

        Args:
            y: Parameters, (3,).
            V: Directions, (r, 3), in units of y.
            K: K / m0 - I, (n, 6). Where it is 0, so are its derivatives: S is a smoothstep.

        Returns:
            Derivatives of K / m0, (r, n, 6).
        """
        there = np.flatnonzero(K.any(axis=1))
        dK = np.zeros((len(V), *K.shape))
        body, points = self._config.body, self._points[there]
        dK[:, there] = body.derivatives(y, V, self._contrast, points, self._weights)
        return dK


class Level(ABC):
    """The equation on one mesh.

    Attributes:
        V: Space of the potential.
        region: Cells where the conductivity can change.
        c0: Observables without the body, (n_c,); 0 with point sources on the mesh.
        iterations: Iterations of the last sample's solves.
        residual: Their largest relative residual.
        failure: Why one of them failed; empty if none did.
    """

    region: Region
    c0: Array
    iterations: int
    residual: float
    failure: str

    def __init__(self, cells: meshes.Cells, config: DCRConfig, comm: MPI.Comm) -> None:
        """Make the mesh over a communicator."""
        self.config = config
        self.kind = cells.kind
        # A file's hash covers its cells too: other cells can have the same nodes.
        self._sha256 = comm.bcast(cells.sha256 if isinstance(cells, meshes.FileMesh) else "")
        self.V = function_space(cells.create(comm), 1)
        self._own = self.V.dofmap.index_map.size_local
        self._u0 = fem.Function(self.V)
        self._places, self._ends = receivers(config.stations)

    @abstractmethod
    def solve(self, K: Array) -> Array:
        """Solve for a conductivity.

        Args:
            K: K / m0 - I in the region's cells, (n, 6).

        Returns:
            The change of the observables, (n_c,), on every process.
        """

    @abstractmethod
    def tangents(self, dK: Array) -> Array:
        """Solve for derivatives of the last solution.

        Args:
            dK: Derivatives of K / m0 in the region's cells, (r, n, 6).

        Returns:
            Derivatives of the observables, (n_c, r), on every process.
        """

    @abstractmethod
    def adjoints(self, W: Array, dK: Array) -> Array:
        """Solve for functionals of the last solution's derivatives.

        Args:
            W: Functionals, (r, n_c).
            dK: Derivatives of K / m0 in the region's cells, (k, n, 6).

        Returns:
            W times the derivatives of the observables, (r, k), on every process.
        """

    @abstractmethod
    def added(self) -> Array:
        """Return d of the last sample at the nodes of V, (n,); on one process."""

    def description(self) -> str:
        """Return size and hash of the mesh as text; collective."""
        n_cells = self.V.mesh.topology.index_map(3).size_global
        unknowns = self.V.dofmap.index_map.size_global
        kind = {"hexahedron": "hexahedra", "tetrahedron": "tetrahedra"}[self.kind]
        own = self.V.tabulate_dof_coordinates()[: self._own]
        sha = self._sha256[:12] or digest(self.V.mesh.comm, own)
        return f"{n_cells} {kind}, {unknowns} unknowns, sha256 {sha}"

    def potential(self, points: Array) -> Array:
        """Evaluate the last sample's potential [V] at points, (n, 3); on one process."""
        smooth = fem.Function(self.V)
        smooth.x.array[:] = self._u0.x.array + self.added()
        known = np.zeros(len(points))
        if self.config.solver.formulation == "secondary":
            smooth.x.array[:] -= half_space(self.config, self.V.tabulate_dof_coordinates())
            known = half_space(self.config, points)
        return np.asarray(known + _values(evaluation(self.V, points), smooth))

    def field(self, y: Array) -> Field:
        """Return the last sample's model and solution; on one process."""
        vertices = self._vertices()
        m0 = self.config.conductivity.background
        points = self.V.tabulate_dof_coordinates()
        K = Region(self.config, self.kind, points[vertices]).change(y)
        tensor = np.empty((len(vertices), 9))
        for (i, j), k in zip(INDICES, K.T, strict=True):
            tensor[:, 3 * i + j] = tensor[:, 3 * j + i] = m0 * (k + (i == j))
        added = self.added()
        return Field(
            points=points,
            kind=meshes.NAMES[self.kind],
            cells=vertices[:, meshes.VTK[self.kind]].astype(np.int64),
            at_points={
                "potential [V]": self._u0.x.array + added,
                "potential of the body [V]": added,
            },
            at_cells={
                "conductivity [S/m]": tensor[:, [0, 4, 8]].mean(axis=1),
                "conductivity tensor [S/m]": tensor,
            },
        )

    def _vertices(self) -> npt.NDArray[np.int32]:
        """Return the nodes of each of this process's own cells, (n, 8 or 4)."""
        cells = range(self.V.mesh.topology.index_map(3).size_local)
        rows = [self.V.dofmap.cell_dofs(cell) for cell in cells]
        return np.array(rows, dtype=np.int32).reshape(len(rows), len(meshes.VTK[self.kind]))

    def _without_body(self, solve: Callable[[Any], Any], nodes: npt.NDArray[np.intp]) -> Array:
        """Find u0 and c0.

        Args:
            solve: Solves the background's system for a right-hand side, a PETSc vector.
            nodes: This process's nodes where the body can be.

        Returns:
            G, (n_nodes, n_c).
        """
        config, places = self.config, self._places
        x = self.V.tabulate_dof_coordinates()
        far = _FarSides(self.V, solve)
        u_far = far.potential(config.source.electrodes, currents(config))
        self._u0.x.array[:] = u_far.x.array + half_space(config, x)
        u0 = half_space(config, places) + _values(evaluation(self.V, places), u_far)
        self.c0 = u0[self._ends[0]] - u0[self._ends[1]]

        # The far sides' part for a pole at a receiver, interpolated between Chebyshev knots.
        low, high = places[:, :2].min(axis=0), places[:, :2].max(axis=0)
        comm = self.V.mesh.comm
        ends = [np.empty(3), np.empty(3)]
        comm.Allreduce(x.min(axis=0, initial=np.inf), ends[0], MPI.MIN)
        comm.Allreduce(x.max(axis=0, initial=-np.inf), ends[1], MPI.MAX)
        n = _KNOTS if config.nearness(*ends) <= _NEAR else _KNOTS_NEAR
        knots = np.cos(np.pi * (np.arange(n) + 0.5) / n)  # in (-1, 1)
        grid = np.array([(s, t, 0.0) for s in knots for t in knots])
        grid[:, :2] = low + (grid[:, :2] + 1) / 2 * (high - low)
        at_knots = np.array([far.potential([pole], [1.0]).x.array[nodes] for pole in grid])
        scaled = 2 * (places[:, :2] - low) / (high - low) - 1
        others = np.array([np.delete(knots, k) for k in range(n)])
        L1, L2 = (  # Lagrange's polynomials, (n_places, n)
            np.prod((x[:, None, None] - others) / (knots[:, None] - others), axis=2)
            for x in scaled.T
        )
        u = at_knots.T @ (L1[:, :, None] * L2[:, None, :]).reshape(len(places), -1).T
        return self._poles(x[nodes], u)

    def _poles(self, x: Array, u: Array) -> Array:
        """Add the half-space potentials of poles at the receivers to u, and take differences.

        Args:
            x: Nodes [m], (n, 3).
            u: The rest of the potentials, (n, n_places); overwritten.

        Returns:
            G, (n, n_c).
        """
        for j, place in enumerate(self._places):
            distance = np.linalg.norm(x - place, axis=1)
            u[:, j] += 1 / (2 * np.pi * self.config.conductivity.background * distance)
        G = u[:, self._ends[0]]
        G -= u[:, self._ends[1]]
        return np.asarray(G)


def compile_forms(domain: Any) -> None:
    """Compile the forms for a mesh's kind of cells."""
    V = function_space(domain, 1)
    stiffness(V, 1.0)
    _FarFlux(V)
    Change(V, np.zeros(1, np.int32))


class Change:
    """Stiffness matrices of a tensor given in some cells, and zero elsewhere."""

    def __init__(self, V: Any, cells: npt.NDArray[np.int32]) -> None:
        """Compile the forms for a space and some of this process's cells."""
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
        """Set A to A0 plus the stiffness matrix of K, (n, 6) in the order of the cells."""
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
        """Return the right-hand side for electrodes with given currents."""
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

    def __init__(self, V: Any, solve: Callable[[Any], Any]) -> None:
        self._V = V
        self._flux = _FarFlux(V)
        self._solve = solve

    def potential(self, electrodes: Any, currents: Any) -> Any:
        """Solve for electrodes with given currents: a DOLFINx function."""
        b = self._flux.assemble(electrodes, currents)
        u = fem.Function(self._V)
        u.x.array[: b.local_size] = self._solve(b)
        u.x.scatter_forward()
        destroy(b)
        return u


def stiffness(V: Any, m: float) -> Any:
    """Assemble the stiffness matrix of a constant conductivity."""
    domain = V.mesh
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    constant = fem.Constant(domain, PETSc.ScalarType(m))
    dx = ufl.dx(domain, metadata={"quadrature_degree": 2})
    A = assemble_matrix(form(constant * ufl.inner(ufl.grad(u), ufl.grad(v)) * dx))
    A.assemble()
    A.setNullSpace(PETSc.NullSpace().create(constant=True, comm=domain.comm))
    return A


def half_space(config: DCRConfig, x: Array) -> Array:
    """Evaluate the electrodes' potential in a half-space, (n,); finite on an electrode."""
    u = np.zeros(len(x))
    nearest = config.source.nearest
    for place, current in zip(config.source.electrodes, currents(config), strict=True):
        distance = np.linalg.norm(x - np.array(place), axis=1)
        u += current / (2 * np.pi * config.conductivity.background * np.maximum(distance, nearest))
    return u


def currents(config: DCRConfig) -> tuple[float, float]:
    """Return the currents [A] into the two electrodes."""
    return config.source.current, -config.source.current


def receivers(stations: Stations) -> tuple[Array, npt.NDArray[np.intp]]:
    """Return the places of all receivers' electrodes, and the two of each dipole, (2, n)."""
    both = np.concatenate(stations.ends)
    # Stations share electrodes, up to rounding.
    grain = 1e-9 * stations.dipole
    _, first, inverse = np.unique(
        (both / grain).round(), axis=0, return_index=True, return_inverse=True
    )
    places = both[first]
    return places, inverse.reshape(2, -1)


def _values(P: Any, u: Any) -> Array:
    """Evaluate a function at points by a matrix of `evaluation`, on every process."""
    x, y = P.createVecRight(), P.createVecLeft()
    x.array[:] = u.x.array[: x.local_size]
    P.mult(x, y)
    values = P.comm.tompi4py().bcast(y.array)
    destroy(x, y)
    return np.asarray(values)
