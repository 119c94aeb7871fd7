r"""Derivatives of CDR's scheme as it is computed: discrete tangents and the discrete adjoint.

With S = (m + dt/2 a)^-1 m, a step from u = U_0 to U_4 is (`discretisation.stage_weights`)

    U_i = S R_i,   R_i = sum_{j<i} (c_ij U_j + dt e_ij N_j),   N_j = f + r(x; y) s(U_j).

**Tangent.** For a direction v of y, the derivatives W_j of U_j and N'_j of dt N_j obey

    W_i = S sum_{j<i} (c_ij W_j + e_ij N'_j),   N'_j = dt r(x; y) s'(U_j) W_j + dt r(x; v) s(U_j)

at each node: as many solves as for u, with the same matrix. All directions of a sample share the
factors r(x; y) s'(U_j) and s(U_j).

**Adjoint.** For the derivative of w^T c, L_4 is that of the later steps' part with respect to U_4,
and of the observations of U_4. Backwards, for i = 4, ..., 1,

    rho_i = S^T L_i,   p_j = sum_{i>j} c_ij rho_i,   q_j = sum_{i>j} e_ij rho_i,
    L_j = p_j + dt r(x; y) s'(U_j) q_j,   gamma += dt s(U_j) q_j

and L_0 belongs to the step before. At t = 0, dw^T c/dy_k = sum_nodes r(x; e_k) gamma.

Both are exact to rounding: they differentiate the scheme, not the equation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from surrogates.types import Array

from .discretisation import stage_weights
from .propagators import Propagator, Workspace

_COLUMNS = 64  # solved for at a time, so that the stages of a step stay in the processor's caches

C, E = stage_weights()
STAGES = len(C) - 1
_FORWARD = [np.stack([C[i, :i], E[i, :i]], axis=1).ravel() for i in range(STAGES + 1)]
_BACKWARD = [(C[:j:-1, j].copy(), E[:j:-1, j].copy()) for j in range(STAGES)]


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """The reaction r(x; y) s(u) of some samples, in the order of nodes of a propagator.

    Attributes:
        rate: dt r(x; y), (n, K).
        law: Returns s(u) and s'(u), the latter in a new array.
    """

    rate: Array
    law: Callable[[Array], tuple[Array, Array]]

    def factors(self, U: Array, rows: slice) -> tuple[Array, Array]:
        """Return dt r(x; y) s'(U) and s(U), (k, 1, K) each, of k samples with U, (k, K)."""
        s, slope = self.law(U)
        slope *= self.rate[rows]
        return slope[:, None], s[:, None]


@dataclass(frozen=True)
class _Piece:
    """Some columns that are solved for together: ``parts`` of the columns of each of some rows."""

    rows: slice
    parts: slice

    @property
    def width(self) -> int:
        return int(self.parts.stop - self.parts.start)

    @property
    def columns(self) -> int:
        return int(self.rows.stop - self.rows.start) * self.width


class _Columns:
    """Derivatives of n samples, r of each, which are found for some columns at a time.

    Attributes:
        W: The derivatives, (n, r, K).
        propagator: S, with the records of the solves.
    """

    def __init__(self, r: int, propagator: Propagator, reaction: Reaction, stacked: int) -> None:
        n, K = reaction.rate.shape
        self.W = np.zeros((n, r, K))
        self.propagator, self._reaction = propagator, reaction
        propagator.system.start(n)
        size, width = max(1, _COLUMNS // r), -(-r // -(-r // _COLUMNS))
        self._pieces = [
            [
                _Piece(slice(i, min(i + size, n)), slice(j, min(j + width, r)))
                for j in range(0, r, width)
            ]
            for i in range(0, n, size)
        ]
        columns = {piece.columns for pieces in self._pieces for piece in pieces}
        self._work = {k: propagator.workspace(k, stacked) for k in sorted(columns)}

    def _each(
        self, stages: list[Array]
    ) -> Iterator[tuple[_Piece, Workspace, list[tuple[Array, Array]]]]:
        """Yield each piece, with arrays for it, and its samples' factors at each stage."""
        for pieces in self._pieces:
            rows = pieces[0].rows
            factors = [self._reaction.factors(stage[rows], rows) for stage in stages]
            for piece in pieces:
                yield piece, self._work[piece.columns], factors

    def destroy(self) -> None:
        """Free the arrays, on all processes together."""
        self.propagator.destroy(self._work.values())


class Tangents(_Columns):
    """Derivatives of u in r directions of y, for n samples."""

    def __init__(self, propagator: Propagator, reaction: Reaction, rates: Array) -> None:
        """Start with the derivatives of u at t = 0, which are 0.

        Args:
            propagator: S.
            reaction: The samples' reaction.
            rates: dt r(x; v) of the directions, (n, r, K), or (1, r, K) for all samples.
        """
        super().__init__(rates.shape[1], propagator, reaction, 2 * STAGES)
        self._rates = np.broadcast_to(rates, self.W.shape)

    def step(self, stages: list[Array], last: bool) -> None:
        """Step from one time to the next.

        Args:
            stages: Stages 0 to 3 of the samples' step, (n, K) each.
            last: Whether the solves are to be checked.
        """
        for piece, work, factors in self._each(stages):
            W, rates = self.W[piece.rows, piece.parts], self._rates[piece.rows, piece.parts]
            spare = work.spare.reshape(W.shape)
            stack = work.stack.reshape(STAGES, 2, *W.shape)  # W_j and N'_j
            stack[0, 0] = W
            for i in range(1, STAGES + 1):
                slope, s = factors[i - 1]
                np.multiply(slope, stack[i - 1, 0], out=stack[i - 1, 1])
                stack[i - 1, 1] += np.multiply(s, rates, out=spare)
                work.combine(_FORWARD[i], work.right)
                into = work.stack[2 * i] if i < STAGES else work.spare
                self.propagator.apply(work, piece.rows, piece.width, into)
            W[:] = spare
            if last:
                self.propagator.check(work.spare, piece.rows, piece.width)


class Adjoints(_Columns):
    """Derivatives of later observations with respect to u, for r functionals and n samples.

    Attributes:
        gradient: gamma / dt so far, (n, r, K).
    """

    def __init__(self, propagator: Propagator, reaction: Reaction, r: int) -> None:
        """Start after the last observation, with nothing.

        Args:
            propagator: The transpose of S.
            reaction: The samples' reaction.
            r: Number of functionals.
        """
        super().__init__(r, propagator, reaction, STAGES)
        self.gradient = np.zeros_like(self.W)

    def step(self, stages: list[Array], last: bool) -> None:
        """Step from one time to the one before; arguments as for `Tangents.step`."""
        for piece, work, factors in self._each(stages):
            L = self.W[piece.rows, piece.parts]
            gradient = self.gradient[piece.rows, piece.parts]
            right, spare = work.right.reshape(L.shape), work.spare.reshape(L.shape)
            right[:] = L
            for j in reversed(range(STAGES)):  # the stack holds rho_4, rho_3, ...
                solved = STAGES - 1 - j
                self.propagator.apply(work, piece.rows, piece.width, work.stack[solved])
                if last and j == 0:
                    self.propagator.check(work.stack[solved], piece.rows, piece.width)
                slope, s = factors[j]
                for weights, out in zip(_BACKWARD[j], (work.right, work.spare), strict=True):
                    work.combine(weights, out)
                gradient += np.multiply(s, spare, out=work.other.reshape(L.shape))
                right += np.multiply(slope, spare, out=spare)
            L[:] = right
