r"""A survey over flat ground of layers, with a conductivity that changes in a bounded region.

The potential of a unit current into electrode j is u_j + d_j, with u_j that of the layers, known
exactly (`layers`). With A0 the stiffness matrix of the layers and D(y) that of the change, in
trilinear elements,

    (A0 + D) d_j = -D u_j,    T_ij = T0_ij - u_i^T D (u_j + d_j)

The second equation is reciprocity: the charges that the change brings, -D (u_j + d_j), seen by the
exact potential of electrode i. So no mesh between the region and the electrodes is involved, the
electrodes' singularities never touch the mesh, and T is symmetric. D has entries only between the
nodes of the cells that differ from the layers; A0^-1 is needed only between the nodes of the box
around them (`background`), and so are the potentials u_j. These nearly depend on each other if the
electrodes are a few cells away: then a basis of them is solved for (`columns`), and the cost grows
with its size, not with the electrodes or the data. For electrodes next to the change, its size
tends to the number of electrodes. An electrode inside of a changed cell is a failure of the sample.

**Extrapolation.** As in `dcr`, T is (9 T_h - 4 T_H) / 5, with cells 3/2 as large in T_H.

**Derivatives.** In a direction that leaves the layers, dT_ij = -(u_i + d_i)^T dD (u_j + d_j) is the
derivative of the discrete equations, from the solutions that are there. A direction that changes
the layers needs no further solutions either: u, A0^-1 and D are differentiated by central
differences, and T0 exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from surrogates.config import check
from surrogates.types import Array

from .. import meshes
from ..dcr.body import INDICES
from . import layers as layered
from .background import Background, Nodes, grid
from .cells import Cells, Change, Stiffness
from .columns import Basis, Equation, compress
from .layers import Layers
from .models import Model

Integers = npt.NDArray[np.int64]

_WEIGHTS = {1: (1.0,), 2: (9 / 5, -4 / 5)}  # of the grids' T, by the number of grids
_CAP = 3.0
"""Largest weight of a cell in the norm of the compression, over the layers' conductivity."""
_STEP = 1e-4
"""Step of central differences, over the range of the parameters."""
_ELECTRODES = 64  # whose potentials are held at a time


@dataclass(frozen=True, kw_only=True)
class BoxSettings:
    """The grid in the region that changes, and its solver.

    Attributes:
        cells: Numbers of cells in the region along x1, x2 and x3; zeros choose nearly cubic ones.
        number: About the number of the region's cells if they are chosen.
        layers: Layers of cells around the region, which grow outwards.
        far: Distance of the far sides from the region, over its half-width.
        extrapolate: Whether a second, coarser grid removes the leading error of the finer one.
        compression: Largest relative error of an electrode's potential in the region, in the
            energy norm of the change.
        rtol: Relative tolerance of the solutions d.
        max_iterations: Largest number of iterations.
    """

    cells: tuple[int, int, int] = (0, 0, 0)
    number: int = 30000
    layers: int = 24
    far: float = 10.0
    extrapolate: bool = True
    compression: float = 1e-5
    rtol: float = 1e-6
    max_iterations: int = 1000

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(
            all(0 <= n <= 1000 for n in self.cells) and (all(self.cells) or not any(self.cells)),
            f"box.cells must be 1 to 1000 each, or all 0; got {self.cells}",
        )
        check(27 <= self.number <= 10**7, f"box.number must be 27 to 10000000; got {self.number}")
        check(2 <= self.layers <= 1000, f"box.layers must be 2 to 1000; got {self.layers}")
        check(
            not self.extrapolate or all(n % 3 == 0 for n in (*self.cells, self.layers)),
            "box.cells and box.layers must be multiples of 3 with box.extrapolate; got "
            f"{self.cells} and {self.layers}",
        )
        check(self.far >= 1, f"box.far must be at least 1; got {self.far:g}")
        check(
            1e-7 <= self.compression < 1,
            f"box.compression must be 1e-7 or more, and below 1; got {self.compression:g}",
        )
        check(
            0 < self.rtol <= 1e-3, f"box.rtol must be positive, and at most 1e-3; got {self.rtol}"
        )
        check(
            self.max_iterations >= 1,
            f"box.max_iterations must be at least 1; got {self.max_iterations}",
        )


class Box:
    """Transfer resistances of a model that changes layers in a bounded region.

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
        electrodes: Array,
        pairs: Integers,
        model: Model,
        settings: BoxSettings,
        comm: MPI.Comm,
    ) -> None:
        """Make the grids, and find the modes.

        Args:
            electrodes: Places [m], x3 <= 0 with the surface at x3 = 0, (n_e, 3).
            pairs: Pairs of electrodes, (n_p, 2).
            model: The model; its ``reach`` is bounded.
            settings: The settings.
            comm: Communicator over which the modes and electrodes are divided.

        Raises:
            InputError: If the model's changes are not bounded.
        """
        check(
            model.reach is not None,
            "the changes of this model are everywhere; the method box needs a bounded region",
        )
        self._electrodes, self._pairs, self._model = electrodes, pairs, model
        self._levels = [
            _Level(made, electrodes, pairs, model, settings, comm)
            for made in _grids(model, settings)
        ]
        self._weights = _WEIGHTS[len(self._levels)]

    def solve(self, y: Array) -> Array:
        """Solve for one sample. Collective.

        Args:
            y: Parameters, (n_y,).

        Returns:
            T [V/A] of the pairs, (n_p,), on every process.
        """
        self.iterations, self.residual, self.failure = 0, 0.0, ""
        self._layers = self._model.layers(y)
        T = layered.pair_potentials(self._layers, self._electrodes, self._pairs)
        for level, weight in zip(self._levels, self._weights, strict=True):
            T = T + weight * level.solve(y, self._layers)
            self.iterations += level.iterations
            self.residual = max(self.residual, level.residual)
            self.failure = self.failure or level.failure
        return np.asarray(T)

    def tangents(self, y: Array, V: Array) -> Array:
        """Return derivatives of the last solution. Collective.

        Args:
            y: The parameters of the last `solve`, (n_y,).
            V: Directions, (r, n_y).

        Returns:
            Derivatives of T, (r, n_p), on every process.
        """
        shifts = {i: shift for i, v in enumerate(V) if (shift := self._shift(y, v)) is not None}
        left = [i for i in range(len(V)) if i not in shifts]
        found = np.zeros((len(V), len(self._pairs)))
        if shifts:
            slopes = layered.pair_derivatives(self._layers, self._electrodes, self._pairs)
        for i, shift in shifts.items():
            found[i] = _by_layers(shift) @ slopes
        for level, weight in zip(self._levels, self._weights, strict=True):
            found[left] += weight * level.tangents(y, V[left])
            for i, shift in shifts.items():
                found[i] += weight * level.tangent(shift)
        return found

    def _shift(self, y: Array, v: Array) -> _Shift | None:
        """Return the layers at both sides of y along v; None if they are the same."""
        span = self._model.y_upper - self._model.y_lower
        share = np.abs(v) / np.where(span > 0, span, 1)
        step = _STEP / max(float(share.max()), 1e-300)
        points = y + step * v, y - step * v
        plus, minus = (self._model.layers(point) for point in points)
        same = np.array_equal(plus.resistivity, minus.resistivity)
        if same and np.array_equal(plus.thickness, minus.thickness):
            return None
        return _Shift(points=points, layers=(plus, minus), length=2 * step)

    def description(self) -> str:
        """Return the size of the grids as text."""
        return "; extrapolated with ".join(level.description() for level in self._levels)


@dataclass(frozen=True, kw_only=True)
class _Shift:
    """Two points at both sides of y, the layers there, and the points' distance along v."""

    points: tuple[Array, Array]
    layers: tuple[Layers, Layers]
    length: float


def _by_layers(shift: _Shift) -> Array:
    """Return the change of resistivities and thicknesses along a direction, (2 n - 1,)."""
    plus, minus = (np.concatenate([x.resistivity, x.thickness]) for x in shift.layers)
    return np.asarray((plus - minus) / shift.length)


def _grids(model: Model, settings: BoxSettings) -> list[meshes.Grid]:
    """Make the grid, and the coarse one of an extrapolation."""
    assert model.reach is not None
    lower, upper = (np.asarray(corner, dtype=np.float64) for corner in model.reach)
    upper = np.append(upper[:2], min(upper[2], 0.0))
    extent = upper - lower
    check(
        bool(np.isfinite(extent).all()) and bool((extent > 0).all()),
        f"the region that changes must have an extent below the surface; got {lower} to {upper}",
    )
    unit = 3 if settings.extrapolate else 1
    size = (extent.prod() / settings.number) ** (1 / 3)
    cells = settings.cells
    if not any(cells):
        n1, n2, n3 = (unit * max(2, round(length / size / unit)) for length in extent)
        cells = n1, n2, n3
    # A region that nearly touches the surface is extended to it.
    depth, h = -upper[2], extent[2] / cells[2]
    above = unit * int(np.ceil(min(depth / h, settings.layers) / unit))
    if depth < h / 2:
        above, upper[2] = 0, 0.0
    far = settings.far * extent.max() / 2
    made = []
    for k in (3, 2) if settings.extrapolate else (3,):
        n1, n2, n3, layers, over = (n * k // 3 for n in (*cells, settings.layers, above))
        made.append(grid(lower, upper, (n1, n2, n3), layers, over, far))
    return made


class _Level:
    """The equation on one grid."""

    def __init__(
        self,
        made: meshes.Grid,
        electrodes: Array,
        pairs: Integers,
        model: Model,
        settings: BoxSettings,
        comm: MPI.Comm,
    ) -> None:
        self._grid, self._electrodes, self._pairs = made, electrodes, pairs
        self._settings, self._comm, self._model = settings, comm, model
        self._background = Background(made.axes, comm)
        self._cells = Cells(made, model)

    def solve(self, y: Array, layers: Layers) -> Array:
        """Return the change of T, (n_p,); see `Box.solve`."""
        self.iterations, self.residual, self.failure = 0, 0.0, ""
        arithmetic, harmonic = layers.averages(self._grid.axes[2])
        change = self._cells.change(y, layers, arithmetic, harmonic)
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

    def tangent(self, shift: _Shift) -> Array:
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

    def _potentials_times(self, shift: _Shift, q: Array) -> Array:
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

    def description(self) -> str:
        """Return the size of the grid as text."""
        cells = [len(axis) - 1 for axis in self._grid.axes]
        region = [part.stop - part.start - 1 for part in self._grid.core]
        size = " x ".join(f"{h:.3g}" for h in self._cells.size)
        return (
            f"{int(np.prod(cells))} hexahedra, {int(np.prod(region))} of them, of {size} m, in the "
            "region that changes"
        )
