r"""The change of a layered background in the equal cells of a grid.

A cell that an interface of the layers cuts is divided there: the model is averaged over the parts,
in which the layers are constant, and the parts are joined as a laminate along x3 (Backus 1962,
"Long-wave elastic anisotropy produced by horizontal layering"; here for conductivities). So the
change tends to 0 at the edge of a body, as the averages of the layers alone are the same laminate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse

from surrogates.types import Array

from .. import meshes
from .layers import Layers
from .models import Model
from .models.laminate import INDICES

_TINY = 1e-9
"""Distance of an interface from a node, over the cell's size, below which it does not cut."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """The change of a sample in the bounding box of the cells that differ from the layers.

    Attributes:
        box: Its cells, as slices of the region's cells along x1, x2 and x3.
        K: Change of the conductivity tensor [S/m] of its cells, (n1 n2 n3, 6); exactly 0 where
            there is none.
    """

    box: tuple[slice, slice, slice]
    K: Array


class Cells:
    """The equal cells of a grid's core."""

    def __init__(self, grid: meshes.Grid, model: Model) -> None:
        """Keep the edges of the cells, and the model."""
        self._model, self._core = model, grid.core
        self._edges = [axis[part] for axis, part in zip(grid.axes, grid.core, strict=True)]
        shape, self._weights = meshes.quadrature("hexahedron")
        # Places of the quadrature points in a cell, from 0 to 1 along each axis.
        number = np.arange(8)
        self._places = np.stack(
            [shape @ ((number >> bit) & 1).astype(np.float64) for bit in range(3)], axis=1
        )
        self.size = tuple(float(edges[1] - edges[0]) for edges in self._edges)

    def change(self, y: Array, layers: Layers, arithmetic: Array, harmonic: Array) -> Change:
        """Average the model over the cells.

        Args:
            y: Parameters, (n_y,).
            layers: The layers at y.
            arithmetic: Means of their conductivity in all cells of the grid along x3.
            harmonic: Harmonic means there.
        """
        changed = self._find(y, layers)
        self._changed = changed
        some = [np.flatnonzero(changed.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
        ends = [(int(i[0]), int(i[-1]) + 1) if len(i) else (0, 0) for i in some]
        box = slice(*ends[0]), slice(*ends[1]), slice(*ends[2])
        self._where = np.flatnonzero(changed[box])
        self._box, self._layers = box, layers
        K = np.zeros((changed[box].size, len(INDICES)))
        if len(self._where):
            K[self._where] = self._averaged(y, None, layers)
            self._subtract(K, arithmetic, harmonic)
        return Change(box=box, K=K)

    def _find(self, y: Array, layers: Layers) -> npt.NDArray[np.bool_]:
        """Return which cells differ from the layers, (n1, n2, n3)."""
        found = np.zeros([len(edges) - 1 for edges in self._edges], dtype=bool)
        reached = self._model.reached(y)
        assert reached is not None
        (a1, b1), (a2, b2), (a3, b3) = (
            (
                int(np.clip(np.searchsorted(edges, low, "right") - 1, 0, len(edges) - 1)),
                int(np.searchsorted(edges[:-1], high)),
            )
            for edges, low, high in zip(self._edges, *reached, strict=True)
        )
        if a2 >= b2 or a3 >= b3:
            return found
        fine, part = self._divided(layers)
        last = int(part[b3]) if b3 < len(part) else len(fine) - 1
        x3 = fine[part[a3] : last + 1]
        for i in range(a1, b1):  # one after another: a cell has 27 points
            points = self._points(slice(i, i + 1), slice(a2, b2), x3)
            some = self._model.changed(y, points).reshape(b2 - a2, -1)
            found[i, a2:b2, a3:b3] = np.logical_or.reduceat(some, part[a3:b3] - part[a3], axis=1)
        return found

    def _subtract(self, K: Array, arithmetic: Array, harmonic: Array) -> None:
        """Subtract the layers' means from K in the cells that change."""
        at = self._core[2].start + self._box[2].start
        at = at + self._where % (self._box[2].stop - self._box[2].start)
        for entry, means in enumerate((arithmetic, arithmetic, harmonic)):
            K[self._where, entry] -= means[at]

    def holds(self, places: Array) -> npt.NDArray[np.intp]:
        """Return which places (n, 3) are in, or at the faces of, cells of the last `change`."""
        ends = [
            (np.searchsorted(edges, x, "left") - 1, np.searchsorted(edges, x, "right"))
            for edges, x in zip(self._edges, places.T, strict=True)
        ]
        around = np.array(
            [
                self._changed[tuple(slice(max(a[i], 0), b[i]) for a, b in ends)].any()
                for i in range(len(places))
            ],
            dtype=bool,
        )
        return np.flatnonzero(around)

    def derivatives(self, y: Array, V: Array) -> Array:
        """Return the derivatives of the last `change` in directions that leave the layers.

        Args:
            y: Parameters, (n_y,).
            V: Directions, (r, n_y).

        Returns:
            Derivatives of K, (r, n1 n2 n3, 6).
        """
        found = np.zeros((len(V), self._size, len(INDICES)))
        if len(self._where):
            found[:, self._where] = self._averaged(y, V, self._layers)
        return found

    def again(self, y: Array, layers: Layers, arithmetic: Array, harmonic: Array) -> Array:
        """Return K of the cells of the last `change` at other parameters, (n1 n2 n3, 6)."""
        K = np.zeros((self._size, len(INDICES)))
        K[self._where] = self._averaged(y, None, layers)
        self._subtract(K, arithmetic, harmonic)
        return K

    @property
    def _size(self) -> int:
        """Number of cells of the last box."""
        return int(np.prod([part.stop - part.start for part in self._box]))

    def _averaged(self, y: Array, V: Array | None, layers: Layers) -> Array:
        """Average the model, or its derivatives in directions V, over the changed cells."""
        fine, part = self._divided(layers)
        n1, n2, n3 = (k.stop - k.start for k in self._box)
        i, j, k = np.unravel_index(self._where, (n1, n2, n3))
        count = np.diff(np.append(part, len(fine) - 1))
        k = k + self._box[2].start
        # Fine cells of each changed cell, one after another.
        many = count[k]
        first = np.concatenate([[0], np.cumsum(many)])
        number = np.arange(first[-1]) - np.repeat(first[:-1], many) + np.repeat(part[k], many)
        points = np.empty((len(number), *self._places.shape))
        for axis, (edges, at) in enumerate(
            (
                (self._edges[0], np.repeat(i + self._box[0].start, many)),
                (self._edges[1], np.repeat(j + self._box[1].start, many)),
                (fine, number),
            )
        ):
            low, high = edges[at], edges[at + 1]
            points[..., axis] = low[:, None] + (high - low)[:, None] * self._places[:, axis]
        K = self._model.tensor(y, points, self._weights)
        share = np.diff(fine)[number] / self.size[2]
        if V is None:
            return K if len(K) == len(many) else laminate(K, share, first[:-1])
        dK = self._model.derivatives(y, V, points, self._weights)
        if len(K) == len(many):
            return dK
        step = 1e-30  # complex: exact to rounding
        return np.array(
            [laminate(K + step * 1j * part, share, first[:-1]).imag / step for part in dK]
        )

    def _divided(self, layers: Layers) -> tuple[Array, npt.NDArray[np.intp]]:
        """Return the edges along x3 with the interfaces among them, and each cell's first one."""
        x3, margin = self._edges[2], _TINY * self.size[2]
        interfaces = -np.cumsum(layers.thickness)
        near = np.abs(interfaces[:, None] - x3).min(axis=1, initial=np.inf)
        inside = (interfaces > x3[0]) & (interfaces < x3[-1]) & (near > margin)
        fine = np.unique(np.concatenate([x3, interfaces[inside]]))
        return fine, np.searchsorted(fine, x3[:-1])

    def _points(self, cells1: slice, cells2: slice, x3: Array) -> Array:
        """Return the quadrature points of cells, (n, k, 3); the last axis is the fastest."""
        edges = (
            self._edges[0][cells1.start : cells1.stop + 1],
            self._edges[1][cells2.start : cells2.stop + 1],
            x3,
        )
        n = [len(part) - 1 for part in edges]
        points = np.empty((*n, *self._places.shape))
        for axis, part in enumerate(edges):
            along = part[:-1, None] + np.diff(part)[:, None] * self._places[:, axis]
            shape = [1, 1, 1, along.shape[1]]
            shape[axis] = n[axis]
            points[..., axis] = along.reshape(shape)
        return points.reshape(-1, *self._places.shape)


def laminate(K: Array, share: Array, first: npt.NDArray[np.intp]) -> Array:
    """Average tensors of layers along x3.

    The current density along x3 and the field along x1 and x2 are the same in all of them.

    Args:
        K: Tensors of the parts, (n, 6), with the entries of `INDICES`; also complex.
        share: Share of each part in its cell, (n,).
        first: Number of each cell's first part, (m,).

    Returns:
        Tensors of the cells, (m, 6).
    """

    def mean(values: Array) -> Array:
        return np.asarray(np.add.reduceat(share * values, first))

    k11, k22, k33, k12, k13, k23 = K.T
    up = 1 / mean(1 / k33)
    c1, c2 = mean(k13 / k33) * up, mean(k23 / k33) * up
    return np.stack(
        [
            mean(k11 - k13 * k13 / k33) + c1 * c1 / up,
            mean(k22 - k23 * k23 / k33) + c2 * c2 / up,
            up,
            mean(k12 - k13 * k23 / k33) + c1 * c2 / up,
            c1,
            c2,
        ],
        axis=1,
    )


class Stiffness:
    """Stiffness matrices of tensors in the equal cells of a box."""

    def __init__(self, size: tuple[float, ...], cells: tuple[int, int, int]) -> None:
        """Find the element matrices, for the cells' size [m] and the box's numbers of cells."""
        n1, n2, n3 = cells
        self._nodes = meshes.corners(n1 + 1, n2 + 1, n3 + 1)
        self._n = (n1 + 1) * (n2 + 1) * (n3 + 1)
        both = []
        for h in size:
            mass = h / 6 * np.array([[2.0, 1], [1, 2]])
            slope = np.array([[-0.5, -0.5], [0.5, 0.5]])  # of the first function times the second
            both.append((mass, slope, np.array([[1.0, -1], [-1, 1]]) / h))
        entries = []
        for i, j in INDICES:
            parts = []
            for axis, (mass, slope, stiff) in enumerate(both):
                k = (axis == i) + (axis == j)
                parts.append(stiff if k == 2 else mass if k == 0 else slope)
            if i != j:  # the axis of the second derivative has the slope transposed
                other = list(parts)
                parts[j] = parts[j].T
                other[i] = other[i].T
                entries.append(_element(parts) + _element(other))
            else:
                entries.append(_element(parts))
        self._elements = np.array(entries).reshape(len(INDICES), 64)

    def assemble(self, K: Array) -> scipy.sparse.csr_matrix:
        """Assemble the matrix of tensors (n1 n2 n3, 6) between the nodes of the box."""
        some = np.flatnonzero(K.any(axis=1))
        nodes = self._nodes[some]
        rows = np.repeat(nodes, 8, axis=1).ravel()
        columns = np.tile(nodes, (1, 8)).ravel()
        values = (K[some] @ self._elements).ravel()
        return scipy.sparse.csr_matrix((values, (rows, columns)), (self._n, self._n))


def _element(parts: list[Array]) -> Array:
    """Multiply the matrices along the axes; the first axis is the fastest of a cell's corners."""
    return np.kron(parts[2], np.kron(parts[1], parts[0]))
