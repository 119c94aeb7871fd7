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

import numpy as np
from mpi4py import MPI

from surrogates.config import check
from surrogates.types import Array

from ..fields import Field
from . import layers as layered
from .anomaly import Integers, Level, Shift
from .models import Model
from .region import BoxSettings as BoxSettings
from .region import grids

_WEIGHTS: dict[int, tuple[float, ...]] = {0: (), 1: (1.0,), 2: (9 / 5, -4 / 5)}
"""Of the grids' T, by the number of grids."""
_STEP = 1e-4
"""Step of central differences, over the range of the parameters."""


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
        made = [] if model.layered else grids(model, settings)
        self._levels = [Level(one, electrodes, pairs, model, settings, comm) for one in made]
        self._weights = _WEIGHTS[len(made)]

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
        slopes = self._model.layer_derivatives(y, V)
        shifts = {int(i): self._shift(y, V[i]) for i in np.flatnonzero(slopes.any(axis=1))}
        left = [i for i in range(len(V)) if i not in shifts]
        found = np.zeros((len(V), len(self._pairs)))
        if shifts:
            by_layers = layered.pair_derivatives(self._layers, self._electrodes, self._pairs)
            found += slopes @ by_layers
        for level, weight in zip(self._levels, self._weights, strict=True):
            found[left] += weight * level.tangents(y, V[left])
            for i, shift in shifts.items():
                found[i] += weight * level.tangent(shift)
        return found

    def _shift(self, y: Array, v: Array) -> Shift:
        """Return points at both sides of y along v, a small step over the ranges apart."""
        span = self._model.y_upper - self._model.y_lower
        step = _STEP / float((np.abs(v) / span).max())
        points = y + step * v, y - step * v
        plus, minus = (self._model.layers(point) for point in points)
        return Shift(points=points, layers=(plus, minus), length=2 * step)

    def description(self) -> str:
        """Return the size of the grids as text."""
        if not self._levels:
            return "no mesh: layers are solved for exactly"
        return "; extrapolated with ".join(level.description() for level in self._levels)

    def field(self, y: Array) -> Field:
        """Solve for one sample; return the conductivity and a potential. Collective.

        The potential is that of electrode 1, on the finer grid, and its part that the change of
        the layers brings.

        Args:
            y: Parameters, (n_y,).

        Returns:
            The field, whole on rank 0 of the communicator.

        Raises:
            InputError: If the model is layers alone, or the solve fails.
        """
        check(bool(self._levels), "layers alone have no mesh, and so no field to write")
        self.solve(y)
        check(not self.failure, f"the solve failed: {self.failure}")
        return self._levels[0].field(y, self._layers)
