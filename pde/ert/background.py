r"""The inverse of a layered background's stiffness matrix on a grid, between the nodes of a box.

With stiffness and mass matrices K_i, M_i of linear elements along the axes, those along x3 weighted
by the conductivities of the layers,

    A0 = K_1 x M_2 x M_3 + M_1 x K_2 x M_3 + M_1 x M_2 x K_3

Each layer of cells has the tensor of a laminate of the ground's layers: M_3 the arithmetic mean of
the conductivity, as currents along x1 and x2 flow in all of them at once, and K_3 the harmonic
mean, as the current along x3 flows through one after the other. With the modes of
K_i V_i = M_i V_i L_i, V_i^T M_i V_i = I (Lynch, Rice and Thomas 1964) along two axes, a tridiagonal
matrix is left along the third for each pair of modes, as K_3 + (l_1 + l_2) M_3. Elimination from
both ends reduces it to the nodes of the box; the inverse is dense and small. The third axis is the
one with the most nodes: they cost hardly anything. Modes along x1 and x2 are found once, and those
along x3, which take no time, for the layers of each sample.

The top is the surface, without flux. The far sides have du/dn + g u = 0 with constant g: charges
whose sum is 0 make u fall with the square of the distance, g = 2 / distance would be right in the
middle of a side, and 1.5 / distance is right on average. The matrix then has no null space.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse
from mpi4py import MPI

from surrogates.types import Array

from ..dcr.linearised import line

Nodes = tuple[slice, slice, slice]
Line = tuple[Array, Array]

_FAR = 1.5
"""The far sides' g times the distance of the side."""


class Background:
    """The background on a grid; modes are divided over a communicator."""

    def __init__(self, axes: tuple[Array, Array, Array], comm: MPI.Comm) -> None:
        """Find the modes along x1 and x2 that do not depend on the layers.

        Args:
            axes: Coordinates of the nodes along x1, x2 and x3; the last one of x3 is the surface.
            comm: Communicator.
        """
        self._axes, self._comm = axes, comm
        self._lines = [_with_far_sides(axis) for axis in axes[:2]]
        last = int(np.argmax([len(axis) for axis in axes]))
        first = 1 if last == 0 else 0
        self._order = first, 3 - first - last, last
        self._modes = {
            axis: scipy.linalg.eigh(*self._lines[axis]) for axis in self._order[:2] if axis < 2
        }
        self._mine = np.array_split(np.arange(len(axes[first])), comm.size)[comm.rank]

    def vertical(self, arithmetic: Array, harmonic: Array) -> Line:
        """Return stiffness and mass matrix along x3, (n3, n3) each.

        Args:
            arithmetic: Arithmetic means of the conductivity [S/m] of the layers of cells along x3,
                (n3 - 1,).
            harmonic: Harmonic means.
        """
        x3 = self._axes[2]
        h, n = np.diff(x3), len(x3)
        K, M = np.zeros((n, n)), np.zeros((n, n))
        for i, j, stiff, mass in ((0, 0, 1, 2), (1, 1, 1, 2), (0, 1, -1, 1), (1, 0, -1, 1)):
            at = np.arange(n - 1) + i, np.arange(n - 1) + j
            K[at] += stiff * harmonic / h
            M[at] += mass * arithmetic * h / 6
        K[0, 0] += harmonic[0] * _FAR / (x3[-1] - x3[0])
        return K, M

    def within(self, box: Nodes, vertical: Line) -> Inside:
        """Prepare the inverse between the nodes of a box, for matrices of `vertical`."""
        Va, Vb, diagonal, off = self._tridiagonal(vertical)
        part_a, part_b, part = (box[axis] for axis in self._order)
        inner = diagonal[..., part].copy()
        pivot = diagonal[..., 0]
        for k in range(part.start):
            pivot = diagonal[..., k + 1] - off[..., k] ** 2 / pivot
        inner[..., 0] = pivot
        pivot = diagonal[..., -1]
        for k in reversed(range(part.stop - 1, diagonal.shape[-1] - 1)):
            pivot = diagonal[..., k] - off[..., k] ** 2 / pivot
        inner[..., -1] += pivot - diagonal[..., part.stop - 1]
        i = np.arange(part.stop - part.start)
        matrix = np.zeros((*inner.shape, len(i)))
        matrix[..., i, i] = inner
        beside = off[..., part.start : part.stop - 1]
        matrix[..., i[1:], i[:-1]] = matrix[..., i[:-1], i[1:]] = beside
        return Inside(Va[part_a], Vb[part_b], np.linalg.inv(matrix), self._order, self._comm)

    def everywhere(self, b: Array, box: Nodes, vertical: Line) -> Array:
        """Return A0^-1 b on the whole grid, (N1, N2, N3), for b in a box, (n1, n2, n3). Collective.

        It is right on rank 0 of the communicator.
        """
        Va, Vb, diagonal, off = self._tridiagonal(vertical)
        u = np.zeros(diagonal.shape)
        part_a, part_b, part = (box[axis] for axis in self._order)
        there = b.transpose(self._order)
        u[..., part] = np.einsum("ia,ijk,jb->abk", Va[part_a], there, Vb[part_b], optimize=True)
        pivots = diagonal.copy()
        for k in range(1, u.shape[-1]):
            factor = off[..., k - 1] / pivots[..., k - 1]
            pivots[..., k] -= factor * off[..., k - 1]
            u[..., k] -= factor * u[..., k - 1]
        u[..., -1] /= pivots[..., -1]
        for k in reversed(range(u.shape[-1] - 1)):
            u[..., k] = (u[..., k] - off[..., k] * u[..., k + 1]) / pivots[..., k]
        found = np.einsum("ia,abk,jb->ijk", Va, u, Vb, optimize=True)
        found = np.ascontiguousarray(found.transpose(np.argsort(self._order)))
        total = np.empty_like(found)
        self._comm.Reduce(found, total)
        return np.asarray(total)

    def _tridiagonal(self, vertical: Line) -> tuple[Array, Array, Array, Array]:
        """Return the modes along two axes, and the matrices that are left along the third.

        Returns:
            The own modes (n_a, N_a), the modes (n_b, N_b), and for each pair of them the diagonal
            (N_a, N_b, n) and off-diagonal (N_a, N_b, n - 1).
        """
        first, second, last = self._order
        La, Va = self._modes[first]
        Lb, Vb = self._modes[second] if second < 2 else scipy.linalg.eigh(*vertical)
        K, M = vertical if last == 2 else self._lines[last]
        shift = (La[self._mine, None] + Lb)[..., None]
        diagonal, off = (np.diag(K, k) + np.diag(M, k) * shift for k in (0, 1))
        return np.ascontiguousarray(Va[:, self._mine]), Vb, diagonal, off

    def matrix(self, box: Nodes, vertical: Line) -> scipy.sparse.csr_matrix:
        """Return A0 between the nodes of a box, (n, n); right for all but those at its faces."""
        parts = zip((*self._lines, vertical), box, strict=True)
        (K1, M1), (K2, M2), (K3, M3) = (
            [scipy.sparse.csr_matrix(X[part, part]) for X in pair] for pair, part in parts
        )
        kron = scipy.sparse.kron
        across = kron(kron(K1, M2) + kron(M1, K2), M3)
        return scipy.sparse.csr_matrix(across + kron(kron(M1, M2), K3))


class Inside:
    """A0^-1 between the nodes of a box, for right-hand sides that are 0 elsewhere."""

    def __init__(
        self, Va: Array, Vb: Array, inverse: Array, order: tuple[int, int, int], comm: MPI.Comm
    ) -> None:
        """Keep modes and inverses.

        Args:
            Va: Own modes along the first axis at the nodes of the box, (n_a, N_a).
            Vb: Modes along the second axis, (n_b, N_b).
            inverse: Inverses along the third axis, (N_a, N_b, n, n).
            order: The three axes.
            comm: Communicator.
        """
        self._Va, self._Vb, self._inverse, self._comm = Va, Vb, inverse, comm
        self._order, self._back = order, np.argsort(order)

    def solve(self, B: Array) -> Array:
        """Return A0^-1 B. Collective.

        Args:
            B: Right-hand sides at the nodes of the box, (n1 n2 n3, r).

        Returns:
            Solutions there, bit for bit equal on every process.
        """
        n_a, n_b, n, r = len(self._Va), len(self._Vb), self._inverse.shape[-1], B.shape[1]
        shape = np.array([n_a, n_b, n])[self._back]
        b = B.reshape(*shape, r).transpose(*self._order, 3).reshape(n_a, -1)
        u = self._Va.T @ b
        for part, inverse in zip(u, self._inverse, strict=True):  # one part fits the cache
            modes = (self._Vb.T @ part.reshape(n_b, -1)).reshape(-1, n, r)
            part[:] = (self._Vb @ (inverse @ modes).reshape(len(modes), -1)).ravel()
        found = (self._Va @ u).reshape(n_a, n_b, n, r).transpose(*self._back, 3)
        found = np.ascontiguousarray(found).reshape(-1, r)
        if self._comm.size > 1:
            total = np.empty_like(found)
            self._comm.Reduce(found, total)
            self._comm.Bcast(total)
            found = total
        return np.asarray(found)


def _with_far_sides(x: Array) -> Line:
    """Return stiffness, with the far sides at both ends, and mass matrix of a horizontal axis."""
    K, M = line(x)
    far = 2 * _FAR / (x[-1] - x[0])
    K[0, 0] += far
    K[-1, -1] += far
    return K, M
