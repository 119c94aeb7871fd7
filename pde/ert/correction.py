r"""The error of potentials on a mesh, corrected by what it is in a ground where they are known.

The mesh does not resolve 1/r at an electrode, nor layers of a few cells. Its error is known in a
reference ground under the same top: in homogeneous ground, or in the horizontal layers of the
model, whose potentials are integrals (`layers`). With H the potentials of the reference, H_h and
T_h the mesh's potentials of that ground and of the sample's,

    T = T_h (1 + (H / H_h - 1) q),   q = (s H_h / T_h)^w,   w = 1 / (1 + (r / 2 d)^2)

s is the geometric mean over the two electrodes of the sample's resistivity over the reference's,
T_h / H_h that which the pair sees, r its distance, and d the geometric mean of the distances to
each electrode's nearest neighbour. Near its source, w near 1, the potential is that of the
reference times s and a smooth part, which has no such error: H - H_h counts, times s. Far from it,
w near 0, the error is a factor, as of a current that the mesh spreads a little differently. In a
ground that is its reference, T is exact.

The form and the scale 2 d were chosen on two-layer grounds of contrast 10, with homogeneous ground
as the reference. With that, on other grounds, of three random layers (`python
scripts/point_sources.py`, four cells between electrodes), the median error of data is 0.5 to 1.1 %
so, and 1.5 % for pole-pole; with w = 0 it is 0.7 to 1.4 % and 1.5 %, with w = 1 0.7 to 1.1 % and
2.1 %.

Layers that are fitted to the mean of the conductivity at each depth were tried as a reference for
dipping planes and random fields: data under planes that dip by 10 to 50 degrees became wrong by up
to six times as much, and fields gained nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from mpi4py import MPI
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from surrogates.types import Array

_NEAR = 2.0
"""Distance, in electrode spacings, at which both kinds of error count equally."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """A ground whose potentials are known.

    Attributes:
        known: H [V/A], (n_p,).
        computed: H_h, (n_p,).
        K: Its conductivity tensor [S/m] in this process's own cells, (n_own, 6).
    """

    known: Array
    computed: Array
    K: Array


class Correction:
    """The correction of the potentials of pairs of electrodes.

    Attributes:
        ratio: H / H_h of homogeneous ground, (n_p,).
    """

    def __init__(
        self,
        homogeneous: Reference,
        places: Array,
        pairs: npt.NDArray[np.int64],
        cells: Any,
        comm: MPI.Comm,
    ) -> None:
        """Take the potentials of homogeneous ground.

        Args:
            homogeneous: Homogeneous ground of 1 ohm m.
            places: Electrodes [m], (n_e, 3).
            pairs: Pairs of electrodes, (n_p, 2).
            cells: Matrix with 1 for each of this process's own cells at an electrode, (n_e, n_own).
            comm: The processes that share the mesh.
        """
        self.ratio = homogeneous.known / homogeneous.computed
        self._homogeneous, self._pairs, self._comm = homogeneous, pairs, comm
        number = comm.allreduce(np.asarray(cells.sum(axis=1)).ravel())
        self._mean = csr_matrix(cells.multiply(1 / number[:, None]))
        nearest = cKDTree(places).query(places, k=2)[0][:, 1]
        i, j = pairs.T
        r = np.linalg.norm(places[i] - places[j], axis=1)
        self._w = 1 / (1 + r**2 / (_NEAR**2 * nearest[i] * nearest[j]))

    def apply(self, T: Array, K: Array, reference: Reference | None = None) -> Array:
        """Correct the mesh's potentials T (n_p,) for K (n_own, 6) [S/m].

        The reference is homogeneous ground if it is None.
        """
        self._T, self._reference = T, reference or self._homogeneous
        self._m, self._of_reference = (X[:, :3].mean(axis=1) for X in (K, self._reference.K))
        s = np.exp(self._at_pairs(np.log(self._of_reference / self._m)))
        self._q = (s * self._reference.computed / T) ** self._w
        self._g = self._reference.known / self._reference.computed
        return np.asarray(T * (1 + (self._g - 1) * self._q))

    def differentiate(self, dT: Array, dK: Array, of_reference: Reference | None = None) -> Array:
        """Differentiate the last `apply` for dT (r, n_p) and dK (r, n_own, 6).

        Args:
            dT: Derivatives of the mesh's potentials.
            dK: Derivatives of K.
            of_reference: Derivatives of the reference, with a first axis of r; 0 if it is None.
        """
        found, T, q, g = np.empty_like(dT), self._T, self._q, self._g
        for k, (row, change, K) in enumerate(zip(found, dT, dK, strict=True)):
            d_log_s, d_log, d_g = -K[:, :3].mean(axis=1) / self._m, -change / T, np.zeros_like(T)
            if of_reference is not None:
                d_log_s = d_log_s + of_reference.K[k, :, :3].mean(axis=1) / self._of_reference
                d_computed = of_reference.computed[k] / self._reference.computed
                d_log = d_log + d_computed
                d_g = of_reference.known[k] / self._reference.computed - g * d_computed
            d_q = self._w * q * (self._at_pairs(d_log_s) + d_log)
            row[:] = change * (1 + (g - 1) * q) + T * (d_g * q + (g - 1) * d_q)
        return found

    def _at_pairs(self, values: Array) -> Array:
        """Average values of the own cells at the two electrodes of each pair: (n_p,)."""
        at = self._comm.allreduce(self._mean @ values)
        i, j = self._pairs.T
        return np.asarray((at[i] + at[j]) / 2)
