"""The derivatives of a dataset's samples as training takes them: along directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surrogates.types import Array


@dataclass(frozen=True, kw_only=True)
class Derivatives:
    """Derivatives of some samples along directions of the parameters.

    Attributes:
        V: Directions, (n, r, n_y), units of y.
        T: Derivatives along them, T[i, :, k] = dc_i/dy @ V[i, k], (n, n_c, r), units of c. NaN
            marks a direction without a derivative.
    """

    V: Array
    T: Array


def of_tangents(dC_dY: Array, rows: Sequence[int] | npt.NDArray[np.int64]) -> Derivatives:
    """Return whole tangents (n, n_c, n_y) of some samples along the unit directions."""
    T = dC_dY[np.asarray(rows, np.int64)]
    n_y = T.shape[2]
    return Derivatives(V=np.broadcast_to(np.eye(n_y), (len(T), n_y, n_y)), T=T)
