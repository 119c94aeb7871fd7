"""Derivatives of c in a dataset: which arrays hold them, and what a training takes from them.

A dataset has none of them, or one kind:

    whole tangents   dC_dY (n, n_c, n_y)
    directions       directions V (n, r, n_y) in units of y, dC_dV (n, n_c, r) = dc/dy V^T
    adjoints         functionals W (r, n_c) of the whole set, dW_dY (n, r, n_y) = W dc/dy

NaN marks what is not there: failed samples, samples without derivatives, rows left out. A direction
of size 0 says nothing, and counts as one that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from .description import Info

if TYPE_CHECKING:
    from .format import SampleArrays

ARRAYS = ("dC_dY", "directions", "dC_dV", "dW_dY")
"""All arrays of derivatives with a row for each sample."""

TARGETS = ("dC_dY", "dC_dV", "dW_dY")
"""Those that hold derivatives; a set has at most one of them."""


def shapes(info: Info) -> dict[str, tuple[int, int]]:
    """Return the arrays of derivatives that a set has, each with the shape of one sample's."""
    n_y, n_c = len(info.y_names), len(info.c_names)
    found = {"dC_dY": (n_c, n_y)} if info.tangents else {}
    if info.directions:
        found |= {"directions": (info.directions, n_y), "dC_dV": (n_c, info.directions)}
    if info.adjoints:
        found["dW_dY"] = (info.adjoints, n_y)
    return found


def in_words(info: Info) -> str:
    """Return which derivatives a set has; empty if it has none."""
    if info.tangents:
        return "tangents dc/dy"
    if info.directions:
        return f"dc/dy in {info.directions} direction{'s' * (info.directions > 1)}"
    if info.adjoints:
        return f"dc/dy of {info.adjoints} functional{'s' * (info.adjoints > 1)} of c"
    return ""


@dataclass(frozen=True, kw_only=True)
class Derivatives:
    """Derivatives of some samples in directions, whatever kind the dataset has.

    Attributes:
        V: Directions, (n, r, n_y), in units of y, finite. For whole tangents and adjoints they are
            the unit vectors, (n, n_y, n_y), of which one copy is in memory.
        T: Derivatives in them, (n, n_c, r): T[i, :, k] = dc_i/dy @ V[i, k]. NaN in all of
            T[i, :, k] marks a direction without data. For adjoints it is the part of dc/dy that
            the functionals see; see `derivatives`.
    """

    V: Array
    T: Array

    @property
    def there(self) -> npt.NDArray[np.bool_]:
        """Whether each direction has data, (n, r)."""
        return np.asarray(~np.isnan(self.T[:, 0]))

    def gaps_in_words(self) -> str:
        """Return how many directions of samples with derivatives have no data; empty if none."""
        there = self.there[self.there.any(axis=1)]
        n = int((~there).sum())
        if not n:
            return ""
        return (
            f"{n} of {there.size} rows of derivatives are not finite and are left out, in "
            f"{int((~there).any(axis=1).sum())} of {len(there)} samples"
        )


def derivatives(
    info: Info, arrays: SampleArrays, rows: slice | npt.NDArray[np.int64] | npt.NDArray[np.bool_]
) -> Derivatives | None:
    """Return the derivatives of some samples; None if the dataset has none.

    Of adjoints, the derivatives of r functionals W, T is the part of dc/dy that W sees:

        T = S (W S)^+ W dc/dy,

    the orthogonal projection of dc/dy onto the functionals' span, with outputs in units of their
    scales S. These are `Info.c_scale`, equal for outputs of one unit: then T = W^+ W dc/dy. If W
    holds the leading singular vectors of scaled outputs, the rest of dc/dy is as small as the
    singular values left out.

    Args:
        info: The description of the dataset.
        arrays: Its arrays.
        rows: The samples.
    """
    n_y = len(info.y_names)
    if arrays.dC_dV is not None and arrays.directions is not None:
        V, T = arrays.directions[rows], arrays.dC_dV[rows]
        missing = ~np.isfinite(T).all(axis=1) | _useless(V)
        if missing.any():
            V = np.where(missing[:, :, None], 0.0, V)
        return Derivatives(V=V, T=_without(T, missing))
    if arrays.dW_dY is not None:
        T = _lifted(info) @ arrays.dW_dY[rows]
    elif arrays.dC_dY is not None:
        T = arrays.dC_dY[rows]
    else:
        return None
    V = np.broadcast_to(np.eye(n_y), (len(T), n_y, n_y))
    return Derivatives(V=V, T=_without(T, ~np.isfinite(T).all(axis=1)))


def seen(info: Info) -> Array | None:
    """Return the projection of c, (n_c, n_c), that a dataset's derivatives are of; see above.

    It is S (W S)^+ W for functionals W; None where the derivatives are of c itself.
    """
    return _lifted(info) @ info.functionals if info.adjoints else None


def _lifted(info: Info) -> Array:
    """Return S (W S)^+, (n_c, r), which takes values of the functionals W back to c."""
    S = info.c_scale[:, None]
    return np.asarray(S * np.linalg.pinv(info.functionals * S.T))


def _without(T: Array, missing: npt.NDArray[np.bool_]) -> Array:
    """Return derivatives with NaN in all entries of the missing directions, (n, r)."""
    return np.where(missing[:, None], np.nan, T) if missing.any() else T


def _useless(V: Array) -> npt.NDArray[np.bool_]:
    """Return which directions, (n, r, n_y), are not finite or of size 0, (n, r)."""
    return np.asarray(~(np.isfinite(V).all(axis=2) & V.any(axis=2)))


def gaps(arrays: SampleArrays) -> npt.NDArray[np.bool_]:
    """Return which rows of derivatives are left out of trainings, (n, r).

    They are not finite, or along a direction that is zero. A row is a direction of a sample, or one
    y of whole tangents and of adjoints.
    """
    for name in TARGETS:
        if (values := getattr(arrays, name)) is not None:
            bad = ~np.isfinite(values).all(axis=1)
            if name == "dC_dV" and arrays.directions is not None:
                bad |= _useless(arrays.directions)
            return np.asarray(bad)
    return np.zeros((len(arrays.Y), 0), dtype=bool)
