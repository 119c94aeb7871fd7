r"""Potentials of electrodes on any mesh, by one sparse factorisation for each sample.

Strong form, lengths in m, conductivity K in S/m (a tensor in each cell), potential u_j in V of a
current of 1 A into electrode j:

    -div(K grad u_j) = delta(x - x_j),   K grad u_j . n = 0 on the top,
    n . K (grad u_j + (r / r^2) u_j) = 0 on the far sides (see `stiffness`)

With the stiffness matrix A(K) and e_j, the values of the basis functions at electrode j, A u_j =
e_j, and T_ij = e_i^T u_j is the potential at electrode i. T is symmetric: exchanging current and
potential electrodes changes data by rounding alone. Its derivative is exact for the discrete
problem, dT_ij = -u_i^T A(dK) u_j.

**Point sources and layers.** The mesh does not resolve 1/r at an electrode, and T_ij is wrong for
electrodes a few cells apart. `correction` takes this error from homogeneous ground, where T is
known, or from the model's layers: with a body in them, that takes a second factorisation for each
sample whose layers are new.

**Memory.** The factor, of MUMPS's entries (8 bytes each), and five blocks of `columns` solutions.
Tangents need a solution for each electrode too: 8 bytes times unknowns times electrodes. 577
electrodes on 33 583 nodes of tetrahedra have 4.4 million entries with linear elements, 84 million
with quadratic ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from dolfinx import fem
from mpi4py import MPI
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from surrogates.config import check
from surrogates.types import Array

from .. import meshes
from ..collective import on_each, on_root
from ..dcr.body import INDICES
from ..fenicsx import geometry_nodes, locate
from ..fields import Field
from ..linear import destroy
from ..points import digest
from .correction import Correction, Reference
from .factor import Factor, dense
from .primary import Primary
from .stiffness import Stiffness
from .surface import Placement, boundary, place

Integers = npt.NDArray[np.int64]

_IDENTITY = np.array([float(i == j) for i, j in INDICES])
_QUADRATIC = 60_000  # nodes of tetrahedra up to which elements are quadratic, by default
_RESIDUAL = 1e-8  # largest relative residual of a solve


@dataclass(frozen=True, kw_only=True)
class DirectSettings:
    """How potentials on a mesh are found.

    Attributes:
        degree: Degree of the elements, 1 or 2; None: 2 on tetrahedra with at most 60 000 nodes.
            Then potentials are more accurate than of degree 1 on a mesh of the same time.
        tolerance: Largest distance of an electrode from the top of the mesh, over the longest edge
            of the face there, at which it is put on the top.
        columns: Right-hand sides that are solved together.
    """

    degree: int | None = None
    tolerance: float = 0.1
    columns: int = 64

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(self.degree in (None, 1, 2), f"the degree of elements is 1 or 2; got {self.degree}")
        check(
            0 < self.tolerance <= 0.5,
            f"the tolerance of electrodes must be in (0, 0.5]; got {self.tolerance:g}",
        )
        check(self.columns >= 1, f"columns must be at least 1; got {self.columns}")

    def degree_on(self, cells: meshes.Cells) -> int:
        """Return the degree of the elements on a mesh."""
        if self.degree is not None:
            return self.degree
        return 2 if cells.kind == "tetrahedron" and len(cells.points) <= _QUADRATIC else 1


class Direct:
    """The potentials of electrodes on one mesh.

    Attributes:
        points: Quadrature points of this process's own cells [m], (n_own, k, 3).
        weights: Their weights, (k,), of sum 1.
        cells: Numbers of these cells in the given mesh, (n_own,).
        homogeneous: T of unit resistivity, (n_p,), to which results are corrected.
        correction: The correction to it.
        notes: The estimated error of that, if it was computed here.
        iterations: Iterations of the last sample's solves: 1 for a factorisation.
        residual: Their largest relative residual.
        failure: Why one of them failed; empty if none did.
    """

    def __init__(
        self,
        cells: meshes.Cells,
        electrodes: Array,
        pairs: Integers,
        settings: DirectSettings,
        comm: MPI.Comm,
        *,
        homogeneous: Array | None = None,
        below: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Divide the mesh over the processes, put the electrodes on it, and solve once. Collective.

        Args:
            cells: The mesh; only that of rank 0 is used.
            electrodes: Places [m], (n_e, 3).
            pairs: Pairs of electrodes whose potentials are wanted, (n_p, 2).
            settings: Settings.
            comm: The communicator.
            homogeneous: T of unit resistivity [V/A], (n_p,), if it is known: on flat ground.
            below: Which electrodes may be buried, (n_e,); None: all of them.

        Raises:
            InputError: If the mesh has no far sides or no top, an electrode is outside it, or one
                is below its top that must not be.
        """
        self._comm, self.pairs, self.settings = comm, pairs, settings
        self._kind = cells.kind

        def prepare() -> tuple[Placement, Array, Array, int]:
            surface = boundary(cells, electrodes)
            far = surface.points[surface.faces[surface.far]].mean(axis=1)
            placement = place(cells, surface, electrodes, settings.tolerance, below)
            return placement, far, surface.centre, settings.degree_on(cells)

        self.placement, far, centre, degree = on_root(comm, prepare)
        domain = cells.create(comm)
        self._stiffness = Stiffness(domain, degree, far, centre)
        self.V = self._stiffness.V
        self.cells = np.asarray(domain.topology.original_cell_index, dtype=np.int64)
        self.cells = self.cells[: domain.topology.index_map(3).size_local]
        corners = domain.geometry.x[geometry_nodes(domain)[: len(self.cells)]]
        shape, self.weights = _quadrature(cells.kind)
        self.points = np.einsum("qv,nvi->nqi", shape, corners)
        self._E = self._evaluation()
        self._factor = Factor(self._stiffness.matrix, comm)
        self._K = np.empty(0)  # of the last factor
        self.iterations, self.residual, self.failure = 0, 0.0, ""
        self.notes: tuple[str, ...] = ()
        unit = np.tile(_IDENTITY, (len(self.cells), 1))
        if homogeneous is None:
            self.homogeneous, computed = self._under_top(unit)
        else:
            self.homogeneous, computed = homogeneous, self.uncorrected(unit)
        if self.failure:
            raise MemoryError(self.failure)
        first = Reference(known=self.homogeneous, computed=computed, K=unit)
        at = self._at_electrodes(corners)
        self.correction = Correction(first, self.placement.places, pairs, at, comm)
        self._solved, self._reference = self._K, first

    def solve(self, K: Array, layers: tuple[Array, Array] | None = None) -> Array:
        """Solve for a conductivity.

        Args:
            K: Conductivity tensor [S/m] of this process's own cells, (n_own, 6).
            layers: A similar ground of horizontal layers below a plane, from which the error is
                known: its exact T, (n_p,), and its tensor. The mesh's T of it is solved for too,
                unless it is that of K or of the last sample. None for homogeneous ground.

        Returns:
            T of the pairs [V/A], (n_p,), on every process.
        """
        old, residual = self._reference, 0.0
        computed = None if layers is None or not self._same(layers[1], old.K) else old.computed
        again = layers is not None and self._same(layers[1], K)
        if layers is not None and computed is None and not again:
            computed = self.uncorrected(layers[1])
            residual = self.residual
            if self.failure:
                return computed
        T = self.uncorrected(K)
        self._solved = self._K
        self.residual = max(self.residual, residual)
        if self.failure:
            return T
        if layers is None:
            return self.correction.apply(T, K)
        computed = T if computed is None else computed
        self._reference = Reference(known=layers[0], computed=computed, K=layers[1])
        return self.correction.apply(T, K, self._reference)

    def uncorrected(self, K: Array) -> Array:
        """Solve for K, as `solve`; return T as the mesh has it, (n_p,)."""
        self._set(K)
        T = np.full(len(self.pairs), np.nan)
        if self.failure:
            return T
        sources = cover(self.pairs)
        number = np.full(len(self.placement.places), -1, dtype=np.int64)
        number[sources] = np.arange(len(sources))
        swapped = number[self.pairs[:, 0]] < 0
        source = number[np.where(swapped, self.pairs[:, 1], self.pairs[:, 0])]
        other = np.where(swapped, self.pairs[:, 0], self.pairs[:, 1])
        for part in _slices(len(sources), self.settings.columns):
            X = self._solutions(sources[part])
            values = self._comm.allreduce(self._own_E() @ X.getDenseArray())
            destroy(X)
            here = np.flatnonzero((source >= part.start) & (source < part.stop))
            T[here] = values[other[here], source[here] - part.start]
        return T

    def tangents(self, dK: Array, layers: tuple[Array, Array] | None = None) -> Array:
        """Differentiate the last solution.

        Args:
            dK: Derivatives of K [S/m] in this process's own cells, (r, n_own, 6).
            layers: Derivatives of T and of the tensor of the layers that `solve` was given, (r,
                n_p) and (r, n_own, 6). If they are not 0, the layers' matrix is factored again.

        Returns:
            Derivatives of T [V/A], (r, n_p), on every process.
        """
        dT = self._changes(self._solved, dK)
        if layers is None:
            return self.correction.differentiate(dT, dK)
        change = self._comm.allreduce(np.abs(layers[1]).max(axis=(1, 2), initial=0.0)) > 0
        computed = np.zeros_like(dT)
        if change.any():
            computed[change] = self._changes(self._reference.K, layers[1][change])
        of_layers = Reference(known=layers[0], computed=computed, K=layers[1])
        return self.correction.differentiate(dT, dK, of_layers)

    def _changes(self, K: Array, dK: Array) -> Array:
        """Return derivatives of `uncorrected` at K in directions dK (r, n_own, 6), (r, n_p)."""
        if not self._same(K, self._K):
            self._set(K)
        needed = np.unique(self.pairs)
        first, second = (np.searchsorted(needed, side) for side in self.pairs.T)
        n = self._stiffness.matrix.getLocalSize()[0]
        U = np.empty((len(needed), n))  # an electrode is a row
        for part in _slices(len(needed), self.settings.columns):
            X = self._solutions(needed[part])
            U[part] = X.getDenseArray().T
            destroy(X)
        dA = self._stiffness.matrix.duplicate()
        found = np.zeros((len(dK), len(self.pairs)))
        for row, K in zip(found, dK, strict=True):
            self._stiffness.assemble(K, dA)
            there = _rows(dA)
            left = U if len(there) == n else np.ascontiguousarray(U[:, there])
            for part in _slices(len(needed), self.settings.columns):
                right = dense(U[part].T, self._comm)
                product = dA.matMult(right)
                changes = np.ascontiguousarray(product.getDenseArray()[there].T)
                destroy(product, right)
                some = np.flatnonzero((second >= part.start) & (second < part.stop))
                for few in np.array_split(some, 1 + len(some) // 64):
                    parts = left[first[few]], changes[second[few] - part.start]
                    row[few] = -np.einsum("in,in->i", *parts)
        destroy(dA)
        return np.asarray(self._comm.allreduce(found))

    def description(self) -> str:
        """Return size and hash of the mesh as text; collective."""
        n_cells = self.V.mesh.topology.index_map(3).size_global
        unknowns = self.V.dofmap.index_map.size_global
        kind = {"hexahedron": "hexahedra", "tetrahedron": "tetrahedra"}[self._kind]
        own = self.V.tabulate_dof_coordinates()[: self.V.dofmap.index_map.size_local]
        sha = digest(self._comm, own)
        return f"{n_cells} {kind}, {unknowns} unknowns, sha256 {sha}"

    def field(self, K: Array) -> Field:
        """Return the conductivity of the cells, K (n_own, 6), on the mesh; on one process."""
        tensor = np.empty((len(K), 9))
        for (i, j), k in zip(INDICES, K.T, strict=True):
            tensor[:, 3 * i + j] = tensor[:, 3 * j + i] = k
        domain = self.V.mesh
        return Field(
            points=domain.geometry.x,
            kind=meshes.NAMES[self._kind],
            cells=geometry_nodes(domain)[: len(K)][:, meshes.VTK[self._kind]],
            at_points={},
            at_cells={
                "conductivity [S/m]": tensor[:, [0, 4, 8]].mean(axis=1),
                "conductivity tensor [S/m]": tensor,
            },
        )

    def _evaluation(self) -> Any:
        """Return the matrix of e_j, (n_e, all unknowns), on every process."""
        V, places, given = self.V, self.placement.places, self.placement.cells
        index_map = V.dofmap.index_map
        buried = np.flatnonzero(given < 0)
        where = np.full(len(places), -1, dtype=np.int64)
        inside = locate(V.mesh, places[buried])
        where[buried] = np.where(inside < len(self.cells), inside, -1)
        own = {int(number): i for i, number in enumerate(self.cells)}
        for i in np.flatnonzero(given >= 0):
            where[i] = own.get(int(given[i]), -1)
        owner = np.argmax(self._comm.allgather(where >= 0), axis=0)
        self._where = np.where(owner == self._comm.rank, where, -1)
        basis, entries = fem.Function(V), list[tuple[int, int, float]]()
        for i in np.flatnonzero((owner == self._comm.rank) & (where >= 0)):
            dofs = np.asarray(V.dofmap.cell_dofs(int(where[i])), dtype=np.int32)
            cell = np.array([where[i]], dtype=np.int32)
            for k, dof in zip(index_map.local_to_global(dofs), dofs, strict=True):
                basis.x.array[dof] = 1
                value = float(basis.eval(places[i], cell)[0])
                basis.x.array[dof] = 0
                if abs(value) > 1e-9:  # at a node, the other values are rounding
                    entries.append((int(i), int(k), value))
        everyone = [entry for part in self._comm.allgather(entries) for entry in part]
        rows, columns, values = (np.array(x) for x in zip(*everyone, strict=True))
        E = csr_matrix((values, (rows, columns)), shape=(len(places), index_map.size_global))

        def checked() -> None:
            missing = np.flatnonzero(np.diff(E.indptr) == 0)
            text = ", ".join(f"{x:g}" for x in places[missing[0]]) if len(missing) else ""
            check(
                not len(missing),
                f"electrode {missing[:1] + 1} at ({text}) m is in no cell of the mesh",
            )

        on_each(self._comm, checked)
        return E

    def _at_electrodes(self, corners: Array) -> Any:
        """Mark the own cells at each electrode, (n_e, n_own): around a node, or the one it is in.

        Args:
            corners: Vertices of the own cells [m], (n_own, k, 3).
        """
        places, (n, k, _) = self.placement.places, corners.shape
        found = np.zeros((0, 2), dtype=np.int64)
        if n:
            size = float(np.ptp(corners.reshape(-1, 3), axis=0).max())
            near = cKDTree(corners.reshape(-1, 3)).query_ball_point(places, 1e-9 * size)
            around = [(i, c // k) for i, some in enumerate(near) for c in some]
            found = np.array(around, dtype=np.int64).reshape(-1, 2)
        nodes = self._comm.allreduce(np.bincount(found[:, 0], minlength=len(places)))
        inside = np.flatnonzero((nodes == 0) & (self._where >= 0))
        found = np.concatenate([found, np.stack([inside, self._where[inside]], axis=1)])
        ones = np.ones(len(found))
        return csr_matrix((ones, (found[:, 0], found[:, 1])), shape=(len(places), n))

    def _under_top(self, unit: Array) -> tuple[Array, Array]:
        """Find T of unit resistivity, K = unit, under the top, and as the mesh has it."""
        self._set(unit)
        if self.failure:
            raise MemoryError(self.failure)
        primary = Primary(self._stiffness, self.placement)
        needed = np.unique(self.pairs)
        T = np.full((2, len(self.placement.places), len(self.placement.places)), np.nan)
        for part in _slices(len(needed), self.settings.columns):
            rows = needed[part]
            X = self._solutions(rows)
            U = X.getDenseArray()
            T[:, rows] = self._comm.allreduce(np.stack([primary.smooth(U), (self._own_E() @ U).T]))
            T[0, rows] += primary.potential(self.placement.places[rows])
            destroy(X)
        i, j = self.pairs.T
        exact, computed = (T[:, i, j] + T[:, j, i]) / 2
        error = np.abs(T[0, i, j] / T[0, j, i] - 1)
        self.notes = (
            "potentials of homogeneous ground with this topography, to which results are "
            f"corrected: exchanging the two electrodes changes them by {np.median(error):.1g} "
            f"(median) and {error.max():.1g} (largest) of their values",
        )
        return exact, computed

    def _set(self, K: Array) -> None:
        """Factor the matrix of K."""
        self._K = K.copy()
        self._factor.set(self._stiffness.assemble(K))
        self.iterations, self.residual, self.failure = 1, 0.0, self._factor.failure

    def _same(self, K: Array, other: Array) -> bool:
        """Return whether two tensors are equal in all cells; collective."""
        return bool(self._comm.allreduce(int(not np.array_equal(K, other))) == 0)

    def _own_E(self) -> Any:
        """Return the columns of e_j of this process's own unknowns, (n_e, n_own)."""
        start, end = self.V.dofmap.index_map.local_range
        return self._E[:, start:end]

    def _solutions(self, electrodes: Integers) -> Any:
        """Solve for currents into electrodes; return a dense matrix with a column for each."""
        B = self._own_E()[electrodes].toarray().T
        X, residual = self._factor.solve(B)
        self.residual = max(self.residual, residual)
        if not residual <= _RESIDUAL:
            self.failure = f"relative residual {residual:.1e} above {_RESIDUAL:.0e}"
        return X


def _rows(matrix: Any) -> Integers:
    """Return this process's rows of a matrix that are not zero."""
    starts, _, values = matrix.getValuesCSR()
    return np.flatnonzero(np.add.reduceat(np.abs(values), starts[:-1]) > 0)


def cover(pairs: Integers) -> Integers:
    """Choose electrodes so that each pair has one of them: the one with the most pairs first."""
    n = int(pairs.max()) + 1
    links = csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    links = ((links + links.T) > 0).astype(np.int64).tocsr()
    degree = np.asarray(links.sum(axis=1)).ravel()
    done, chosen = np.zeros(n, dtype=bool), list[int]()
    while degree.max() > 0:
        best = int(np.argmax(degree))
        neighbours = links.indices[links.indptr[best] : links.indptr[best + 1]]
        degree[neighbours[~done[neighbours]]] -= 1
        degree[best], done[best] = 0, True
        chosen.append(best)
    return np.sort(np.array(chosen, dtype=np.int64))


def _quadrature(kind: str) -> tuple[Array, Array]:
    """Return points of a cell for averages: its vertices' shape functions there, and weights."""
    if kind == "tetrahedron":
        return np.full((4, 4), (5 - np.sqrt(5)) / 20) + np.eye(4) / np.sqrt(5), np.full(4, 0.25)
    ends = np.array([0.5 + s / np.sqrt(12) for s in (-1, 1)])
    one = np.stack([1 - ends, ends], axis=1)  # (point, end)
    return np.einsum("ck,bj,ai->abckji", one, one, one).reshape(8, 8), np.full(8, 1 / 8)


def _slices(n: int, size: int) -> Iterator[slice]:
    """Divide n things into parts."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
