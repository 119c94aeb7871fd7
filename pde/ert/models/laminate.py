r"""The conductivity tensor of a cell whose conductivity varies inside it.

A cell that an interface cuts is a laminate: the harmonic mean of the conductivity m holds along the
interface's normal n, where the current density is continuous, and the arithmetic mean across it,
where the field is (Moskow, Druskin, Habashy, Lee and Davydycheva 1999),

    K = <m> (I - N) + <1/m>^-1 N,   N = n n^T

Where the normal of one interface turns within a cell, n is the mean of the gradients of log m over
the points. The mean of their products in place of n n^T was tried in the problem `dcr`: it made the
error of extrapolated data larger, for cuboids several times. Where a cell is cut by several
interfaces, N is the sum of n n^T, by the squares of their gradients, over its trace. N = I / 3 is
the isotropic case, which is right to the second order in the fluctuations (Landau and Lifshitz,
Electrodynamics of Continuous Media, section 9).

All arrays may be complex, for derivatives by the complex step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

INDICES = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Indices of the six entries of a symmetric tensor, as in `dcr.body`, which imports DOLFINx."""

UNIT = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
"""The entries of the identity."""

VERTICAL = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
"""The entries of N for a horizontal interface."""

Values = npt.NDArray[Any]
"""Real or complex numbers."""


def laminate(arithmetic: Values, harmonic: Values, N: Values) -> Values:
    """Return the tensors of laminates.

    Args:
        arithmetic: Arithmetic means of the conductivity [S/m], (n,).
        harmonic: Harmonic means [S/m], (n,).
        N: Products of the normals, (n, 6) or (6,), with the entries of `INDICES`.

    Returns:
        K [S/m], (n, 6).
    """
    K: Values = arithmetic[:, None] * UNIT + (harmonic - arithmetic)[:, None] * N
    return K


def products(n: Values) -> Values:
    """Return n n^T (m, 6), with the entries of `INDICES`, for vectors n (m, 3)."""
    return np.stack([n[:, i] * n[:, j] for i, j in INDICES], axis=1)


def normalised(N: Values) -> Values:
    """Return products (n, 6) over their traces; 0 where the trace is 0."""
    trace = N[:, :3].sum(axis=1)
    nothing = trace.real == 0
    return np.where(nothing[:, None], 0, N / np.where(nothing, 1, trace)[:, None])


def smoothstep(t: Any) -> tuple[Any, Any]:
    """Return 6 t^5 - 15 t^4 + 10 t^3 between 0 and 1, constant elsewhere, and its derivative."""
    t = np.where(t.real <= 0, 0 * t, np.where(t.real >= 1, 0 * t + 1, t))
    return t**3 * (10 + t * (6 * t - 15)), 30 * (t * (1 - t)) ** 2
