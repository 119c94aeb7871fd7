"""The regions of a mesh, each with its resistivity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.config import check, unknown
from surrogates.errors import listed
from surrogates.types import Array

from ..layers import Layers
from .base import Model, Tags, conductivity, resistivity
from .laminate import INDICES, UNIT, Values
from .settings import RegionsSettings


class RegionsModel(Model):
    """Regions of a mesh. Tags number its regions, in the mesh's order of names."""

    def __init__(self, settings: RegionsSettings, names: Sequence[str]) -> None:
        """Make the parameters, in the order of the settings.

        Args:
            settings: Names and bounds.
            names: Names of the mesh's regions; tag i is of the i-th.

        Raises:
            InputError: If the names of settings and mesh are not the same.
        """
        check(all(names), "the mesh has a region without a name; give its physical group a name")
        for name in settings.names:
            check(name in names, f"regions.names: {unknown(f'region {name!r}', name, names)}")
        left = [name for name in names if name not in settings.names]
        check(
            not left,
            f"regions.names must name every region of the mesh; it has none of {listed(left)}",
        )
        pairs = zip(settings.names, settings.resistivity, strict=True)
        super().__init__([resistivity(f" of {name}", bounds) for name, bounds in pairs])
        self._order = np.array([settings.names.index(name) for name in names])

    def layers(self, y: Array) -> Layers:
        """Return a half-space with the geometric mean of the regions' resistivities."""
        return Layers(
            resistivity=10 ** self.quantities(y).mean(keepdims=True), thickness=np.zeros(0)
        )

    def layer_derivatives(self, y: Array, V: Array) -> Array:
        """Differentiate the layers, as `Model.layer_derivatives`."""
        rho = self.layers(y).resistivity
        return np.asarray(self.directions(V).mean(axis=1, keepdims=True) * np.log(10) * rho)

    def tensor(self, y: Values, points: Array, weights: Array, tags: Tags | None = None) -> Any:
        """Return the conductivities of the cells' regions, as `Model.tensor`."""
        return conductivity(self.quantities(y))[self._numbers(tags)][:, None] * UNIT

    def derivatives(
        self, y: Array, V: Array, points: Array, weights: Array, tags: Tags | None = None
    ) -> Array:
        """Return the derivatives of `tensor`, as `Model.derivatives`."""
        slopes = -np.log(10) * conductivity(self.quantities(y)) * self.directions(V)
        found = np.zeros((len(V), len(points), len(INDICES)))
        found[..., :3] = slopes[:, self._numbers(tags), None]
        return found

    def changed(self, y: Array, points: Array) -> npt.NDArray[np.bool_]:
        """Return that all cells differ from the layers."""
        return np.ones(len(points), dtype=bool)

    def at(self, y: Array, points: Array, tags: Tags | None = None) -> Array:
        """Return the conductivity at points, by the tags of their cells."""
        return np.asarray(conductivity(self.quantities(y))[self._numbers(tags)])

    def _numbers(self, tags: Tags | None) -> Any:
        assert tags is not None, "a model of regions needs the region of each cell"
        return self._order[tags]
