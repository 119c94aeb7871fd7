"""What adapters of inversion codes ask of a model: a surrogate has it, and so has a PDE."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from surrogates.types import Array


class Model(Protocol):
    """A map y -> c with derivatives: a `LoadedSurrogate`, or a `surrogates.pde.Simulator`.

    Attributes are those of `LoadedSurrogate`, which describes them.
    """

    path: str

    @property
    def n_in(self) -> int:
        """Number of parameters."""

    @property
    def n_out(self) -> int:
        """Number of observables."""

    @property
    def c_names(self) -> tuple[str, ...]:
        """Names of the observables."""

    @property
    def c_units(self) -> tuple[str, ...]:
        """Units of the observables."""

    @property
    def c_coordinates(self) -> dict[str, Array]:
        """Coordinates of the observables."""

    @property
    def bounds(self) -> Array:
        """Lower and upper ends of the parameters, (2, n_in)."""

    @property
    def domain(self) -> Any:
        """Their domain."""

    def __call__(self, y: npt.ArrayLike) -> Array:
        """Return c of y."""

    def in_domain(self, y: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return whether y lies in the domain."""

    def jacobian(self, y: npt.ArrayLike) -> Array:
        """Return dc/dy."""

    def jvp(self, y: npt.ArrayLike, v: npt.ArrayLike) -> Array:
        """Return dc/dy @ v."""

    def vjp(self, y: npt.ArrayLike, w: npt.ArrayLike) -> Array:
        """Return w @ dc/dy."""
