"""The samples of a dataset in memory."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates import config
from surrogates.errors import InputError
from surrogates.types import Array

from .derivatives import Derivatives, derivatives
from .description import PARTS, Info, Split, Status
from .format import SampleArrays, digest, digested, open_arrays, read_array, write
from .html import shown
from .inspection import problems


@dataclass(frozen=True, kw_only=True)
class Dataset(SampleArrays):
    """The samples of one file in memory, in the order of the file.

    Attributes:
        info: The description of the dataset.
        Y: Parameters, (n, n_y) float64.
        C: Observables, (n, n_c) float64; NaN where ``status`` is not done, and, if ``info.missing``
            is ``mask``, where an entry is missing.
        status: `Status` values, (n,) uint8.
        split: `Split` values, (n,) uint8.
        failure: Reasons of failure, n texts.
        solver: Iterations, residual and seconds, (n,) of dtype `SOLVER`.
        dC_dY: Tangents dc/dy, (n, n_c, n_y) float64, or None.
        directions: Directions V of each sample, (n, r, n_y) float64, in units of y, or None.
        dC_dV: dc/dy V^T, (n, n_c, r) float64, or None.
        dW_dY: W dc/dy, (n, r, n_y) float64, with W the functionals of ``info``, or None. A set has
            one kind of derivatives at most; `derivatives` returns any kind in one form.
        made_by: Indices into ``info.makers``, (n,) uint16; zeros by default.
    """

    info: Info

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Dataset:
        """Read a dataset file.

        Raises:
            InputError: If it is missing, truncated, damaged, foreign, or of a newer schema.
        """
        with open_arrays(path) as (info, arrays):
            return cls(
                info=info, **{name: read_array(path, array) for name, array in arrays.items()}
            )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the dataset as one file, whole or not at all."""
        write(path, self.info, len(self.Y), [self])

    def rows(self, chosen: slice) -> Dataset:
        """Return consecutive samples as a dataset of their own."""
        arrays: dict[str, Any] = {
            name: values[chosen]
            for name, values in vars(self).items()
            if name not in ("info", "digest") and values is not None
        }
        first = self.info.first + chosen.indices(len(self.Y))[0]
        return Dataset(info=dataclasses.replace(self.info, first=first), **arrays)

    def part(self, name: str, share: slice = slice(None)) -> tuple[Array, Array]:
        """Return copies of Y and C of the done samples of a part.

        C has NaN where ``info.missing`` is ``mask`` and the entry is missing.

        Args:
            name: The part: ``train``, ``validation`` or ``test``.
            share: The samples of the part to take, all by default.

        Raises:
            InputError: If there is no such part, or none of its samples is done.
        """
        chosen = self.rows_of(name)[share]
        return self.Y[chosen], self.C[chosen]

    def has(self, name: str) -> bool:
        """Return whether a part, train, validation or test, has a done sample."""
        done = self.split[self.status == Status.DONE]
        return bool((done == Split[name.upper()]).any())

    def size(self, name: str) -> int:
        """Count the done samples of a part; errors are those of `part`."""
        return len(self.rows_of(name))

    def rows_of(self, name: str) -> npt.NDArray[np.int64]:
        """Return the indices of the done samples of a part; errors are those of `part`."""
        if name not in PARTS:
            raise InputError(config.unknown(f"part {name!r}", name, PARTS))
        rows = (self.split == Split[name.upper()]) & (self.status == Status.DONE)
        if not rows.any():
            failed = int((self.status == Status.FAILED).sum())
            raise InputError(
                f"the dataset has no {name} samples; its split is {self.info.split}"
                + (f", and {failed} of {len(self.Y)} samples failed" if failed else "")
            )
        return np.flatnonzero(rows)

    def derivatives(
        self, rows: slice | npt.NDArray[np.int64] | npt.NDArray[np.bool_] = slice(None)
    ) -> Derivatives | None:
        """Return the derivatives of some samples; None if the dataset has none.

        Args:
            rows: The samples: a slice, indices such as those of `rows_of`, or a mask.
        """
        return derivatives(self.info, self, rows)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of Y, C, status, split and derivatives: equal digests mean equal numbers."""
        there = {name for name, values in vars(self).items() if values is not None}
        arrays = (getattr(self, name) for name in digested(there))
        return digest((array.shape, [array]) for array in arrays)

    def problems(self, max_residual: float = 1e-5) -> list[str]:
        """List the faults of the samples, as `Stored.problems` does."""
        return problems(self.info, len(self.Y), [(self.info.first, self)], max_residual)

    def _repr_html_(self) -> str:
        """Return a table of names, sizes and bounds, for notebooks."""
        return shown(self)
