r"""DC resistivity on the built-in mesh: the background is solved for exactly, the body iteratively.

The mesh is a tensor product of three axes. With the stiffness and mass matrices K_i, M_i of linear
elements along each, the background's matrix is

    A0 = m0 (K_1 x M_2 x M_3 + M_1 x K_2 x M_3 + M_1 x M_2 x K_3)

and with K_i V_i = M_i V_i L_i, V_i^T M_i V_i = I (Lynch, Rice and Thomas 1964),

    A0^-1 = (V_1 x V_2 x V_3) (m0 (L_1 + L_2 + L_3))^-1 (V_1 x V_2 x V_3)^T

which takes six products with small dense matrices. In conjugate gradients on (A0 + D) d = b with
this preconditioner, residuals are zero except at the nodes of the body, as b = -D u0 and
(A0 + D) d - b have entries only there. So A0^-1 and D are needed only between the nodes of a box
around the body, and A0 p follows by the recurrence of the search direction p. The rest of the mesh
costs nothing.

The condition number is at most the contrast of the conductivities, for any mesh: the iterations do
not grow with the unknowns. Derivatives need fewer (`linearised`). The processes of a communicator
divide the modes along x3, and add up their parts of A0^-1 r.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
from mpi4py import MPI

from surrogates.types import Array

from .. import meshes
from ..fenicsx import function_space
from .body import INDICES
from .linearised import Linearised, line
from .potential import Change, Level, Region, half_space, receivers, stiffness
from .survey import DCRConfig

Box = tuple[slice, slice, slice]

EVERYWHERE: Box = (slice(None), slice(None), slice(None))

_RTOL = 1e-11
"""Largest tolerance of derivatives: a digit costs an iteration or two, and tangents and adjoints
then agree to 1e-10."""


class Background:
    """The inverse of the background's stiffness matrix on a grid."""

    def __init__(self, axes: tuple[Array, Array, Array], m0: float, comm: MPI.Comm) -> None:
        """Find the modes.

        Args:
            axes: Coordinates of the nodes along x1, x2 and x3.
            m0: Conductivity.
            comm: Communicator over which the modes are divided.
        """
        self._comm = comm
        L, V = zip(*(_modes(axis) for axis in axes), strict=True)
        mine = np.array_split(np.arange(len(L[2])), comm.size)[comm.rank]
        self._V = (V[0], V[1], np.ascontiguousarray(V[2][:, mine]))
        total = L[0][:, None, None] + L[1][:, None] + L[2][mine]
        constant = total == 0  # in the null space
        self._inverse = np.where(constant, 0, 1 / (m0 * np.where(constant, 1, total)))
        self._m0, self._line = m0, line(axes[1])
        self._shift = L[0][:, None] + L[2][mine]
        self._constant = self._shift == 0
        self._inverse_constant = np.append(0, 1 / (m0 * L[1][1:]))

    def solve(self, b: Array, there: Box, here: Box) -> Array:
        """Return A0^-1 b up to a constant. Collective.

        Args:
            b: Right-hand side at the nodes of the box ``there``, (n1, n2, n3); 0 elsewhere.
            there: Box of the right-hand side, in nodes of the axes.
            here: Box of the solution.

        Returns:
            The solution at the nodes of the box ``here``.
        """
        V1, V2, V3 = (V[box] for V, box in zip(self._V, there, strict=True))
        W1, W2, W3 = (V[box] for V, box in zip(self._V, here, strict=True))
        N1, N2, N3 = self._inverse.shape
        u = b.reshape(-1, b.shape[2]) @ V3
        u = (V1.T @ u.reshape(len(V1), -1)).reshape(N1, len(V2), N3)
        u = V2.T @ u
        u *= self._inverse
        u = W2 @ u
        u = W1 @ u.reshape(N1, -1)
        u = (u.reshape(-1, N3) @ W3.T).reshape(len(W1), len(W2), len(W3))
        return self._added(u)

    def solve_several(self, B: Array, box: Box) -> Array:
        """Return A0^-1 b of several b in one box, as `solve`. Collective.

        Along x2, elimination takes the place of the modes: with those along x1 and x3, a
        tridiagonal matrix is left for each pair of them, whose factors from either end hold for any
        box. This takes half of the time. `solve`, for c itself, keeps its digits.

        Args:
            B: Right-hand sides at the nodes of the box, (r, n1, n2, n3); 0 elsewhere.
            box: The box, in nodes of the axes.
        """
        factors, inverse, last = self._pivots
        r, n1, n2, n3 = B.shape
        start, end = box[1].start, box[1].stop - 1
        V1, V2, V3 = (V[part] for V, part in zip(self._V, box, strict=True))
        u = np.ascontiguousarray(np.moveaxis(B, 2, 0)).reshape(-1, n3) @ V3
        u = V1.T @ u.reshape(n2, r, n1, -1)
        constant = u[..., self._constant]
        product = np.empty_like(u[0])
        for j in range(n2 - 1):
            np.multiply(factors[start + j], u[j], out=product)
            u[j + 1] -= product
        u[:-1] *= inverse[start:end, None]
        u[-1] *= last[end]
        for j in reversed(range(n2 - 1)):
            np.multiply(factors[start + j], u[j + 1], out=product)
            u[j] -= product
        # In the null space of the other axes, the pseudo-inverse, as in `solve`.
        u[..., self._constant] = np.tensordot((V2 * self._inverse_constant) @ V2.T, constant, 1)
        u = (V1 @ u).reshape(-1, V3.shape[1]) @ V3.T
        return self._added(np.ascontiguousarray(np.moveaxis(u.reshape(n2, r, n1, n3), 0, 2)))

    @cached_property
    def _pivots(self) -> tuple[Array, Array, Array]:
        """Factor along x2 for each pair of modes along x1 and x3.

        Returns:
            Over nodes along x2 and the two modes: the factors of an elimination from the first node
            on, its inverse pivots, and the inverse pivots where an elimination from the other end
            meets it.
        """
        K, M = self._line
        shift = np.where(self._constant, 1, self._shift)  # in the null space not used
        diagonal, off = (
            self._m0 * (np.diag(K, k)[:, None, None] + np.diag(M, k)[:, None, None] * shift)
            for k in (0, 1)
        )
        onwards, back = diagonal.copy(), diagonal.copy()
        for j in range(1, len(K)):
            onwards[j] -= off[j - 1] ** 2 / onwards[j - 1]
            back[-1 - j] -= off[-j] ** 2 / back[-j]
        return off / onwards[:-1], 1 / onwards, 1 / (onwards + back - diagonal)

    def _added(self, u: Array) -> Array:
        """Add up the parts of the processes: bit for bit equal, so that all iterate as often."""
        if self._comm.size > 1:
            total = np.empty_like(u)
            self._comm.Reduce(u, total)
            self._comm.Bcast(total)
            u = total
        return np.asarray(u)


class Condensed(Level):
    """The equation on the built-in mesh; each process of the communicator has the whole mesh."""

    def __init__(self, grid: meshes.Grid, config: DCRConfig, comm: MPI.Comm) -> None:
        """Prepare all that does not depend on the sample.

        Args:
            grid: The mesh.
            config: The configuration.
            comm: Communicator over which the work is divided.
        """
        super().__init__(grid.cells(), config, MPI.COMM_SELF)
        self._grid = grid
        self._background = Background(grid.axes, config.conductivity.background, comm)
        x = self.V.tabulate_dof_coordinates()
        self._dofs = np.empty([len(axis) for axis in grid.axes], dtype=np.intp)
        middles = [(axis[1:] + axis[:-1]) / 2 for axis in grid.axes]
        at = tuple(np.searchsorted(m, x[:, i]) for i, m in enumerate(middles))
        self._dofs[at] = np.arange(len(x))

        core = self._dofs[grid.core]
        self._prepare(x[core.ravel()])

        def solve(b: Any) -> Array:
            u = np.empty(len(x))
            u[self._dofs] = self._background.solve(b.array[self._dofs], EVERYWHERE, EVERYWHERE)
            return u

        G = self._without_body(solve, core.ravel())
        self._G = G.reshape(*core.shape, -1)
        self._u0_core = self._u0.x.array[core]

    def _prepare(self, x: Array) -> None:
        """Find the cells of the core, whose nodes are given, (n, 3)."""
        shape = [part.stop - part.start for part in self._grid.core]
        corners = x[meshes.corners(*shape)]
        self.region = Region(self.config, self.kind, corners)
        self._elements = _elements(corners[0]) * self.config.conductivity.background

    def solve(self, K: Array) -> Array:
        """Solve for a conductivity, as `Level.solve`."""
        self.iterations, self.residual, self.failure = 0, 0.0, ""
        changed = K.any(axis=1).reshape([n - 1 for n in self._u0_core.shape])
        some = [np.flatnonzero(changed.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
        ends = [(int(i[0]), int(i[-1]) + 1) if len(i) else (0, 1) for i in some]
        self._cells = _box(ends, (0, 0, 0), 0)  # of the core
        self._nodes = _box(ends, (0, 0, 0), 1)  # of the core
        self._box = _box(ends, [part.start for part in self._grid.core], 1)
        self._D = self._assemble(K)
        self._u = self._u0_core[self._nodes].copy()
        d, self._q = self._respond(-self._apply(self._D, self._u))
        self._u += d
        return self._observe(self._q)

    def tangents(self, dK: Array) -> Array:
        """Solve for derivatives of the last solution, as `Level.tangents`."""
        q = self._linearised(-self._act(dK, self._u))[1]
        found = np.zeros((len(dK), self._G.shape[-1]))
        for at, G in self._lines():
            found += q[(slice(None), *at)] @ G
        return found.T

    def adjoints(self, W: Array, dK: Array) -> Array:
        """Solve for functionals of the last solution's derivatives, as `Level.adjoints`.

        A(y) l = A0 g with g = G w is solved for l - g, whose right-hand side -D g is 0 outside of
        the box.
        """
        g = np.zeros((len(W), *self._u.shape))
        for at, G in self._lines():
            g[(slice(None), *at)] = W @ G.T
        potentials = g + self._linearised(-np.array([self._apply(self._D, part) for part in g]))[0]
        changes = self._act(dK, self._u)
        return np.asarray(-np.tensordot(potentials, changes, axes=([1, 2, 3], [1, 2, 3])))

    def _lines(self) -> Iterator[tuple[tuple[int, int, slice], Array]]:
        """Yield the body's nodes along x3, and G there, (n, n_c): half of the box's, or fewer.

        Only there D and its derivatives have entries. G is large: reading it is what takes time.
        """
        body = np.diff(self._D.indptr).reshape(self._u.shape) > 0
        G = self._G[self._nodes]
        for i, j in np.argwhere(body.any(axis=2)):
            (some,) = np.nonzero(body[i, j])
            at = (int(i), int(j), slice(int(some[0]), int(some[-1]) + 1))
            yield at, G[at]

    def _linearised(self, B: Array) -> tuple[Array, Array]:
        """Solve A d = b for some b at a time; record iterations and residual.

        Args:
            B: Right-hand sides at the nodes of the box, (r, n1, n2, n3).

        Returns:
            d and A0 d there, each as B.
        """
        settings = self.config.solver
        solved = self._equation().solve(B, min(settings.rtol, _RTOL), settings.max_iterations)
        self.iterations += solved.iterations * len(B)
        self.residual = max(self.residual, solved.residual)
        self.failure = self.failure or solved.failure
        return solved.d, solved.q

    def _equation(self) -> Linearised:
        """Prepare the last sample's equation for many right-hand sides."""
        box = self._box
        return Linearised(
            [axis[k] for axis, k in zip(self._grid.axes, box, strict=True)],
            self.config.conductivity.background,
            float(np.prod([np.ptp(axis) for axis in self._grid.axes])),
            self._D,
            lambda B: self._background.solve_several(B, box),
        )

    def _act(self, dK: Array, u: Array) -> Array:
        """Apply the stiffness matrices of changes dK, (r, n, 6), to u in the box: (r, ...) as u."""
        cells = [n - 1 for n in self._u0_core.shape]
        dK = dK.reshape(len(dK), *cells, -1)[(slice(None), *self._cells)]
        nodes = meshes.corners(*u.shape)
        dK = dK.reshape(len(dK), len(nodes), -1)
        some = np.flatnonzero(dK.any(axis=(0, 2)))
        nodes = nodes[some]
        # The products with u of each entry's matrices serve all changes.
        products = u.ravel()[nodes] @ self._elements.reshape(-1, 8, 8)
        sums = np.einsum("rck,kcv->rcv", dK[:, some], products)
        flat = [np.bincount(nodes.ravel(), part.ravel(), minlength=u.size) for part in sums]
        return np.array(flat, dtype=np.float64).reshape(-1, *u.shape)

    def added(self) -> Array:
        """Return d of the last sample at the nodes of V, (n,)."""
        d = np.empty(self._dofs.size)
        d[self._dofs] = self._background.solve(self._q, self._box, EVERYWHERE)
        return d

    def _assemble(self, K: Array) -> Any:
        """Assemble the change of the stiffness matrix between the nodes of the body's box."""
        K = K.reshape(*(n - 1 for n in self._u0_core.shape), -1)[self._cells]
        nodes = meshes.corners(*(n + 1 for n in K.shape[:3]))
        K = K.reshape(len(nodes), -1)
        some = K.any(axis=1)
        rows = np.repeat(nodes[some], 8, axis=1).ravel()
        columns = np.tile(nodes[some], (1, 8)).ravel()
        n = int(nodes.max()) + 1
        return scipy.sparse.csr_matrix(
            ((K[some] @ self._elements).ravel(), (rows, columns)), (n, n)
        )

    @staticmethod
    def _apply(D: Any, u: Array) -> Array:
        return np.asarray((D @ u.ravel()).reshape(u.shape))

    def _respond(self, b: Array) -> tuple[Array, Array]:
        """Solve A d = b for d and q = A0 d in the box; record iterations and residual."""
        settings = self.config.solver

        def inverse(r: Array) -> Array:
            return self._background.solve(r, self._box, self._box)

        d, q, r = np.zeros_like(b), np.zeros_like(b), b.copy()
        z = inverse(r)
        p, A0_p = z, r
        first = size = float(np.vdot(r, z))
        count = 0
        while size > settings.rtol**2 * first and count < settings.max_iterations:
            A_p = A0_p + self._apply(self._D, p)
            step = size / float(np.vdot(p, A_p))
            d += step * p
            q += step * A0_p
            r = r - step * A_p
            z = inverse(r)
            last, size = size, float(np.vdot(r, z))
            p, A0_p = z + size / last * p, r + size / last * A0_p
            count += 1
        self.iterations += count
        if not size <= settings.rtol**2 * first:
            why = "diverged_max_it" if np.isfinite(size) else "diverged_nanorinf"
            self.failure = self.failure or f"linear solve: {why} after {count} iterations"
        if first > 0:
            defect = np.linalg.norm(b - q - self._apply(self._D, d))
            self.residual = max(self.residual, float(defect / np.linalg.norm(b)))
        return d, q

    def _observe(self, q: Array) -> Array:
        return np.asarray((q[:, :, None] @ self._G[self._nodes]).sum(axis=(0, 1, 2)))


class HalfSpace(Condensed):
    """The effect of a body in a half-space on the built-in mesh, on one process, for estimates.

    The known potentials leave out the sides of the box. No mesh is made, which saves most of the
    set-up.
    """

    def __init__(self, grid: meshes.Grid, config: DCRConfig) -> None:
        """Prepare all that does not depend on the sample."""
        self.config, self.kind, self._grid = config, "hexahedron", grid
        self._places, self._ends = receivers(config.stations)
        self._background = Background(grid.axes, config.conductivity.background, MPI.COMM_SELF)
        axes = [axis[part] for axis, part in zip(grid.axes, grid.core, strict=True)]
        x = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        self._prepare(x.reshape(-1, 3))
        self._u0_core = half_space(config, x.reshape(-1, 3)).reshape(x.shape[:3])
        self.c0 = np.subtract(*half_space(config, self._places)[self._ends])
        G = self._poles(x.reshape(-1, 3), np.zeros((x[..., 0].size, len(self._places))))
        self._G = G.reshape(*x.shape[:3], -1)


def _box(ends: Any, start: Any, more: int) -> Box:
    """Make slices of ranges of cells, counted from a start, and longer by ``more``."""
    s1, s2, s3 = (slice(s + a, s + b + more) for (a, b), s in zip(ends, start, strict=True))
    return s1, s2, s3


def _modes(x: Array) -> tuple[Array, Array]:
    """Solve K v = l M v for linear elements on an axis: l (n,), V (n, n); l = 0 is exact."""
    K, M = line(x)
    values, vectors = scipy.linalg.eigh(K, M)
    values[0] = 0
    return values, vectors


def _elements(corners: Array) -> Array:
    """Assemble a cell's stiffness matrix for each entry of the tensor, (6, 64), by DOLFINx."""
    cell = meshes.Cells("hexahedron", corners, np.arange(8)[None])
    V = function_space(cell.create(MPI.COMM_SELF), 1)
    x = V.tabulate_dof_coordinates()
    dofs = np.array([np.argmin(np.linalg.norm(x - corner, axis=1)) for corner in corners])
    nothing = stiffness(V, 0.0)
    change, A = Change(V, np.zeros(1, np.int32)), nothing.copy()
    entries = []
    for K in np.eye(len(INDICES)):
        change.add(K[None], nothing, A)
        entries.append(A.getValues(range(8), range(8))[np.ix_(dofs, dofs)].ravel())
    return np.array(entries)
