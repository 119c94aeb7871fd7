"""The change of the layers' potentials that a body brings, on one grid; `box` has the equations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from surrogates.types import Array

from .. import meshes
from ..fields import Field
from . import layers as layered
from .background import Background, Nodes
from .cells import Cells, Change, Stiffness
from .columns import Basis, Equation, compress
from .layers import Layers
from .models import Model
from .models.laminate import INDICES
from .region import BoxSettings

Integers = npt.NDArray[np.int64]

_CAP = 3.0
"""Largest weight of a cell in the norm of the compression, over the layers' conductivity."""
_ELECTRODES = 64  # whose potentials are held at a time


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Two points at both sides of y, the layers there, and the points' distance along v."""

    points: tuple[Array, Array]
    layers: tuple[Layers, Layers]
    length: float


class Level:
    """The equation on one grid.

    Attributes:
        iterations: Iterations of the last sample's solves, summed over the columns.
        residual: Their largest relative residual.
        failure: Why one of them failed; empty if none did.
    """

    iterations: int
    residual: float
    failure: str

    def __init__(
        self,
        made: meshes.Grid,
        electrodes: Array,
        pairs: Integers,
        model: Model,
        settings: BoxSettings,
        comm: MPI.Comm,
    ) -> None:
        """Find the modes; the arguments are those of `Box`, and its grid."""
        self._grid, self._electrodes, self._pairs = made, electrodes, pairs
        self._settings, self._comm, self._model = settings, comm, model
        self._background = Background(made.axes, comm)
        self._cells = Cells(made, model)

    def solve(self, y: Array, layers: Layers) -> Array:
        """Return the change of T, (n_p,); see `Box.solve`."""
        self.iterations, self.residual, self.failure = 0, 0.0, ""
        arithmetic, harmonic = layers.averages(self._grid.axes[2])
        self._change = change = self._cells.change(y, layers, arithmetic, harmonic)
        self._nothing = not change.K.any()
        if self._nothing:
            return np.zeros(len(self._pairs))
        near = self._cells.holds(self._electrodes)
        if len(near):
            self._nothing = True
            self.failure = f"the change of the ground reaches electrode {near[0] + 1}"
            return np.zeros(len(self._pairs))
        n1, n2, n3 = (part.stop - part.start for part in change.box)
        self._stiffness = Stiffness(self._cells.size, (n1, n2, n3))
        self._D = D = self._stiffness.assemble(change.K)
        self._nodes = nodes = self._box(change)
        basis = self._basis(layers, self._norm(change, arithmetic))
        vertical = self._background.vertical(arithmetic, harmonic)
        inside = self._background.within(nodes, vertical)
        equation = Equation(self._background.matrix(nodes, vertical), D, inside, self._faces(nodes))
        B = -(D @ basis.Q)
        # Columns whose coefficients are small need fewer digits.
        largest = np.abs(basis.R).max(axis=1)
        rtol = np.minimum(self._settings.rtol * largest.max() / largest, 0.1)
        found = equation.solve(B, rtol, self._settings.max_iterations)
        self.iterations, self.residual = found.columns, found.residual
        self.failure = found.failure
        self._W, self._R = basis.Q + found.X, basis.R
        # With the residuals, the error is the square of that of X.
        core = B.T @ self._W + found.X.T @ found.R
        return self._at_pairs((core + core.T) / 2)

    def tangents(self, y: Array, V: Array) -> Array:
        """Return derivatives in directions that leave the layers, (r, n_p)."""
        if self._nothing or not len(V):
            return np.zeros((len(V), len(self._pairs)))
        return np.array(
            [
                self._at_pairs(-(self._W.T @ (self._stiffness.assemble(dK) @ self._W)))
                for dK in self._cells.derivatives(y, V)
            ]
        )

    def tangent(self, shift: Shift) -> Array:
        """Return the derivative in a direction that changes the layers, (n_p,). Collective.

        With q = -D w, w = u + d,

            dT_ij = -w_i^T dD w_j + q_i^T d(A0^-1) q_j - du_i^T D w_j - w_i^T D du_j
        """
        if self._nothing:
            return np.zeros(len(self._pairs))
        q = -(self._D @ self._W)
        ends = []
        for y, layers in zip(shift.points, shift.layers, strict=True):
            means = layers.averages(self._grid.axes[2])
            inside = self._background.within(self._nodes, self._background.vertical(*means))
            ends.append((self._cells.again(y, layers, *means), q.T @ inside.solve(q)))
        dK, by_background = ((a - b) / shift.length for a, b in zip(*ends, strict=True))
        core = by_background - self._W.T @ (self._stiffness.assemble(dK) @ self._W)
        by_potentials = self._potentials_times(shift, q)
        i, j = self._pairs.T
        R = self._R.T
        return np.asarray(
            self._at_pairs((core + core.T) / 2)
            + np.einsum("pr,pr->p", by_potentials[i], R[j])
            + np.einsum("pr,pr->p", R[i], by_potentials[j])
        )

    def _potentials_times(self, shift: Shift, q: Array) -> Array:
        """Return du_i^T q for all electrodes, (n_e, r). Collective."""
        axes = self._axes_of(self._nodes)
        there = q.any(axis=1)
        plus, minus = shift.layers
        parts = np.array_split(np.arange(len(self._electrodes)), self._comm.size)
        mine = parts[self._comm.rank]
        found = [np.zeros((0, q.shape[1]))]
        for start in range(0, len(mine), _ELECTRODES):
            some = self._electrodes[mine[start : start + _ELECTRODES]]
            both = (layered.grid_potentials(layers, some, axes) for layers in (plus, minus))
            u, v = (part.reshape(len(some), -1)[:, there] for part in both)
            found.append((u - v) @ q[there] / shift.length)
        return np.concatenate(self._comm.allgather(np.concatenate(found)))

    def _at_pairs(self, core: Array) -> Array:
        """Return R_i^T core R_j of the pairs, (n_p,)."""
        right = (core @ self._R).T
        left = self._R.T
        i, j = self._pairs.T
        return np.asarray(np.einsum("pr,pr->p", left[i], right[j]))

    def _box(self, change: Change) -> Nodes:
        """Return the nodes of the bounding box, in those of the axes."""
        s1, s2, s3 = (
            slice(core.start + part.start, core.start + part.stop + 1)
            for core, part in zip(self._grid.core, change.box, strict=True)
        )
        return s1, s2, s3

    def _axes_of(self, nodes: Nodes) -> tuple[Array, Array, Array]:
        x1, x2, x3 = (axis[part] for axis, part in zip(self._grid.axes, nodes, strict=True))
        return x1, x2, x3

    def _basis(self, layers: Layers, norm: Array) -> Basis:
        """Find a basis of the electrodes' potentials without the change. Collective."""
        axes, comm = self._axes_of(self._nodes), self._comm
        parts = np.array_split(np.arange(len(self._electrodes)), comm.size)
        mine = self._electrodes[parts[comm.rank]]
        U = layered.grid_potentials(layers, mine, axes).reshape(len(mine), -1)
        # D does not act at the other nodes, and an electrode can be at one of them.
        U[:, np.diff(self._D.indptr) == 0] = 0.0
        if comm.size > 1:
            whole = np.empty((len(self._electrodes), U.shape[1]))
            comm.Allgatherv(U, (whole, [len(part) * U.shape[1] for part in parts]))
            U = whole
        return compress(U, self._stiffness.assemble(norm), self._settings.compression)

    def _norm(self, change: Change, arithmetic: Array) -> Array:
        """Return the weights of the cells in the norm of the compression, as tensors (n, 6)."""
        K = change.K
        tensor = np.empty((len(K), 3, 3))
        for (i, j), k in zip(INDICES, K.T, strict=True):
            tensor[:, i, j] = tensor[:, j, i] = k
        size = np.abs(np.linalg.eigvalsh(tensor)).max(axis=1)
        start = self._grid.core[2].start + change.box[2].start
        n = change.box[2].stop - change.box[2].start
        cap = _CAP * np.tile(arithmetic[start : start + n], len(K) // n)
        weights = np.zeros_like(K)
        weights[:, :3] = np.minimum(size, cap)[:, None]
        return weights

    def _faces(self, nodes: Nodes) -> Array:
        """Return which nodes are at faces of the box that are not the surface, (n,) bool."""
        n1, n2, n3 = (part.stop - part.start for part in nodes)
        faces = np.ones((n1, n2, n3), dtype=bool)
        surface = nodes[2].stop == len(self._grid.axes[2])
        faces[1:-1, 1:-1, 1 : n3 if surface else n3 - 1] = False
        return faces.ravel()

    def field(self, y: Array, layers: Layers) -> Field:
        """Return conductivity and potential; see `Box.field`. Collective."""
        axes = self._grid.axes
        shape = [len(axis) for axis in axes]
        arithmetic, harmonic = layers.averages(axes[2])
        means = np.stack([arithmetic, arithmetic, harmonic], axis=1)
        tensor = np.zeros((*(n - 1 for n in shape), 9))
        tensor[..., [0, 4, 8]] = means
        added = np.zeros(shape)
        s1, s2, s3 = (
            slice(part.start + box.start, part.start + box.stop)
            for part, box in zip(self._grid.core, self._change.box, strict=True)
        )
        for (i, j), k in zip(INDICES, self._change.K.T, strict=True):
            for entry in {3 * i + j, 3 * j + i}:
                part = tensor[s1, s2, s3, entry]
                part += k.reshape(part.shape)
        if not self._nothing:
            vertical = self._background.vertical(arithmetic, harmonic)
            q = -(self._D @ (self._W @ self._R[:, 0]))
            n1, n2, n3 = (part.stop - part.start for part in self._nodes)
            added = self._background.everywhere(q.reshape(n1, n2, n3), self._nodes, vertical)
        known = layered.grid_potentials(layers, self._electrodes[:1], axes)[0]
        known[np.isinf(known)] = known[np.isfinite(known)].max()  # at the electrode
        cells = self._grid.cells()
        tensor = tensor.reshape(-1, 9)
        return Field(
            points=cells.points,
            kind=meshes.NAMES[cells.kind],
            cells=cells.vertices[:, meshes.VTK[cells.kind]],
            at_points={
                "potential of electrode 1 [V/A]": (known + added).ravel(),
                "potential of the change [V/A]": added.ravel(),
            },
            at_cells={
                "conductivity [S/m]": tensor[:, [0, 4, 8]].mean(axis=1),
                "conductivity tensor [S/m]": tensor,
            },
        )

    def description(self) -> str:
        """Return the size of the grid as text."""
        cells = [len(axis) - 1 for axis in self._grid.axes]
        region = [part.stop - part.start - 1 for part in self._grid.core]
        size = " x ".join(f"{h:.3g}" for h in self._cells.size)
        return (
            f"{int(np.prod(cells))} hexahedra, {int(np.prod(region))} of them, of {size} m, in the "
            "region that changes"
        )
