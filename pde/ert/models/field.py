r"""A Gaussian random field of log10 resistivity by its Karhunen-Loeve expansion.

    log10 rho(x; y) = log10 mean + deviation sum_j sqrt(lambda_j) phi_j(x) z_j

A cell gets the isotropic mean of `laminate`, 2/3 <m> + 1/3 <1/m>^-1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.config import check
from surrogates.types import Array

from ..layers import Layers
from .base import Model, Quantity, Tags, conductivity, resistivity
from .karhunen import Expansion
from .laminate import INDICES, UNIT, Values
from .settings import FieldSettings

_MOST_ENTRIES = 4_000_000
"""Largest number of values of terms at points that are held at a time, 32 MB."""


class FieldModel(Model):
    """A Gaussian random field. See the module."""

    def __init__(self, settings: FieldSettings, lower: Array, upper: Array) -> None:
        """Expand the field.

        Args:
            settings: The field; no entry is None.
            lower: Lower corner of the box [m] on which the expansion is best, (3,).
            upper: Upper corner [m], (3,).

        Raises:
            InputError: If there are not as many terms.
        """
        assert settings.length is not None
        length = np.array(settings.length)
        self.expansion = Expansion(settings.covariance, lower, upper, length, settings.terms)
        n = len(self.expansion.values)
        check(
            n == settings.terms,
            f"field.terms must be at most {n}: with field.length={list(settings.length)} there are "
            f"no more above rounding; got {settings.terms}",
        )
        coefficients = [Quantity(f"z{i + 1}", "1", settings.bounds, normal=True) for i in range(n)]
        super().__init__([resistivity("", settings.mean), *coefficients])
        self._deviation = settings.deviation
        kept = 100 * self.expansion.kept
        self.notes = (
            f"the field's {n} terms keep {kept:.3g} % of its variance, averaged over the survey's "
            "box; field.terms and field.length change that",
        )

    def layers(self, y: Array) -> Layers:
        """Return a half-space with the mean of the logarithm."""
        return Layers(resistivity=10.0 ** self.quantities(y)[:1], thickness=np.zeros(0))

    def layer_derivatives(self, y: Array, V: Array) -> Array:
        """Differentiate the layers, as `Model.layer_derivatives`."""
        rho = 10 ** self.quantities(y)[:1]
        return np.asarray(self.directions(V)[:, :1] * np.log(10) * rho)

    def tensor(self, y: Values, points: Array, weights: Array, tags: Tags | None = None) -> Any:
        """Average over cells, as `Model.tensor`."""
        q = self.quantities(y)
        K = np.empty((len(points), len(INDICES)), dtype=q.dtype)
        for part, terms in self._parts(points):
            m = conductivity(terms @ q)
            K[part] = (2 * (m @ weights) + 1 / ((1 / m) @ weights))[:, None] / 3 * UNIT
        return K

    def derivatives(
        self, y: Array, V: Array, points: Array, weights: Array, tags: Tags | None = None
    ) -> Array:
        """Return the derivatives of `tensor`, as `Model.derivatives`, in closed form."""
        q, directions = self.quantities(y), self.directions(V)
        found = np.zeros((len(V), len(points), len(INDICES)))
        for part, terms in self._parts(points):
            m = conductivity(terms @ q)
            harmonic = 1 / ((1 / m) @ weights)
            by_log = weights * (2 * m + harmonic[:, None] ** 2 / m) / 3
            slopes = -np.log(10) * np.einsum("nk,nkq->nq", by_log, terms) @ directions.T
            found[:, part, :3] = slopes.T[..., None]
        return found

    def changed(self, y: Array, points: Array) -> npt.NDArray[np.bool_]:
        """Return that all cells differ from the layers."""
        return np.ones(len(points), dtype=bool)

    def at(self, y: Array, points: Array, tags: Tags | None = None) -> Array:
        """Return the conductivity at points."""
        x, q = points.reshape(-1, 1, 3), self.quantities(y)
        values = [conductivity(terms @ q)[:, 0] for _, terms in self._parts(x)]
        return np.asarray(np.concatenate([np.zeros(0), *values]).reshape(points.shape[:-1]))

    def _parts(self, points: Array) -> Iterator[tuple[slice, Array]]:
        """Yield parts of the cells, and all quantities' factors at their points, (n, k, q)."""
        n, k, _ = points.shape
        terms = len(self._fixed)
        step = max(1, _MOST_ENTRIES // (k * terms))
        for start in range(0, n, step):
            x = points[start : start + step]
            values = np.empty((len(x) * k, terms))
            values[:, 0] = 1
            values[:, 1:] = self._deviation * self.expansion(x.reshape(-1, 3))
            yield slice(start, start + len(x)), values.reshape(len(x), k, terms)
