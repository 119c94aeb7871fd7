r"""Derivatives of CDR's scheme as it is computed: discrete tangents and the discrete adjoint.

With S = (m + dt/2 a)^-1 m, a step from u = U_0 to U_4 is (`discretisation.stage_weights`)

    U_i = S R_i,   R_i = sum_{j<i} (c_ij U_j + dt e_ij N_j),   N_j = f + r(x; y) s(U_j).

**Tangent.** For a direction v of y, with r_v = r(x; v), the derivative W_j of U_j obeys

    W_i = S (sum_{j<i} alpha_ij W_j + r_v beta_i),
    alpha_ij = c_ij + dt e_ij r(x; y) s'(U_j),   beta_i = dt sum_{j<i} e_ij s(U_j)

at each node. It takes as many solves with the same matrix as u does; alpha and beta belong to the
sample, and serve all its directions.

**Adjoint.** For the derivative of w^T c, L_4 is that of the later steps' part with respect to U_4,
and of the observations of U_4. Backwards, for i = 4, ..., 1,

    rho_i = S^T L_i,   L_j += alpha_ij rho_i  (j < i),   gamma += beta_i rho_i

and L_0 belongs to the step before. At t = 0, dw^T c/dy_k = sum_nodes r(x; e_k) gamma.

Both are exact to rounding: they differentiate the scheme, not the equation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from surrogates.types import Array

from .discretisation import stage_weights
from .propagators import Propagator

_COLUMNS = 64  # solved for at a time, so that the stages of a step stay in the processor's caches

C, E = stage_weights()
STAGES = len(C) - 1


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """The reaction r(x; y) s(u) of some samples at this process's nodes.

    Attributes:
        rate: r(x; y), (n, N).
        law: s(u).
        slope: s'(u).
        dt: Time step.
    """

    rate: Array
    law: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    dt: float

    def coefficients(self, stages: list[Array], rows: slice) -> tuple[list[list[Array]], Array]:
        """Return alpha[i][j] and beta[i], (k, 1, K) each, of k samples with their stages (k, K)."""
        shape = (-1, 1, self.rate.shape[1])
        U = [stage.reshape(shape) for stage in stages]
        rate = self.dt * self.rate[rows].reshape(shape)
        s = [self.dt * self.law(u) for u in U]
        a = [rate * self.slope(u) for u in U]
        alpha = [[C[i, j] + E[i, j] * a[j] for j in range(i)] for i in range(len(C))]
        beta = np.tensordot(E[:, :-1], np.array(s), axes=1)
        return alpha, beta


class _Columns:
    """Derivatives of n samples, r of each, which are found for some columns at a time.

    Attributes:
        W: The derivatives, (n, r, N).
        propagator: S, with the records of the solves.
    """

    def __init__(
        self,
        r: int,
        propagator: Propagator,
        reaction: Reaction,
    ) -> None:
        n, K = reaction.rate.shape
        self.W = np.zeros((n, r, K))
        self.propagator, self._reaction = propagator, reaction
        propagator.system.start(n)
        size, width = max(1, _COLUMNS // max(r, 1)), min(r, _COLUMNS)
        self._pieces = [
            (slice(i, min(i + size, n)), [slice(j, min(j + width, r)) for j in range(0, r, width)])
            for i in range(0, n, size)
        ]
        widths = {
            (rows.stop - rows.start) * (part.stop - part.start)
            for rows, parts in self._pieces
            for part in parts
        }
        self._work = {k: propagator.workspace(k, STAGES + 1) for k in sorted(widths)}

    def _each(self, stages: list[Array]) -> Iterator[tuple[Any, ...]]:
        """Yield rows, columns, workspace, samples and coefficients of each piece."""
        for rows, parts in self._pieces:
            arranged = [self.propagator.arranged(U[rows]) for U in stages]
            alpha, beta = self._reaction.coefficients(arranged, rows)
            for part in parts:
                width = part.stop - part.start
                samples = np.repeat(np.arange(rows.start, rows.stop), width)
                yield rows, part, self._work[len(samples)], samples, alpha, beta

    def destroy(self) -> None:
        """Free the workspaces, on all processes together."""
        self.propagator.destroy(self._work.values())


class Tangents(_Columns):
    """Derivatives of u in r directions of y, for n samples."""

    def __init__(self, propagator: Propagator, reaction: Reaction, rates: Array) -> None:
        """Start with the derivatives of u at t = 0, which are 0.

        Args:
            propagator: S.
            reaction: The samples' reaction.
            rates: r(x; v) of the directions, (n, r, N), or (1, r, N) for all samples.
        """
        super().__init__(rates.shape[1], propagator, reaction)
        self._rates = np.broadcast_to(rates, self.W.shape)

    def step(self, stages: list[Array], last: bool) -> None:
        """Step from one time to the next.

        Args:
            stages: Stages 0 to 3 of the samples' step, (n, N) each.
            last: Whether the solves are to be checked.
        """
        for rows, part, work, samples, alpha, beta in self._each(stages):
            shape = (rows.stop - rows.start, part.stop - part.start, -1)
            W = [self.W[rows, part]] + [array.reshape(shape) for array in work.stages[1:]]
            right, spare = work.right.reshape(shape), work.spare.reshape(shape)
            rates = self._rates[rows, part]
            for i in range(1, STAGES + 1):
                np.multiply(rates, beta[i], out=right)
                for j in range(i):
                    right += np.multiply(alpha[i][j], W[j], out=spare)
                self.propagator.apply(work, i, samples)
            W[0][:] = W[STAGES]
            if last:
                self.propagator.check(work, STAGES, samples)


class Adjoints(_Columns):
    """Derivatives of later observations with respect to u, for r functionals and n samples.

    Attributes:
        gradient: gamma so far, (n, r, N).
    """

    def __init__(self, propagator: Propagator, reaction: Reaction, r: int) -> None:
        """Start after the last observation, with nothing.

        Args:
            propagator: The transpose of S.
            reaction: The samples' reaction.
            r: Number of functionals.
        """
        super().__init__(r, propagator, reaction)
        self.gradient = np.zeros_like(self.W)

    def step(self, stages: list[Array], last: bool) -> None:
        """Step from one time to the one before; arguments as for `Tangents.step`."""
        for rows, part, work, samples, alpha, beta in self._each(stages):
            shape = (rows.stop - rows.start, part.stop - part.start, -1)
            L = [self.W[rows, part]] + [array.reshape(shape) for array in work.stages[1:]]
            gradient, spare = self.gradient[rows, part], work.spare.reshape(shape)
            rho, right = work.stages[0].reshape(shape), work.right.reshape(shape)
            for i in range(STAGES, 0, -1):
                right[:] = L[i] if i < STAGES else L[0]
                self.propagator.apply(work, 0, samples)
                for j in range(i):
                    if i == STAGES:
                        np.multiply(alpha[i][j], rho, out=L[j])
                    else:
                        L[j] += np.multiply(alpha[i][j], rho, out=spare)
                gradient += np.multiply(beta[i], rho, out=spare)
            if last:
                self.propagator.check(work, 0, samples)
