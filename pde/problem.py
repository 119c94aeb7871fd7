"""What a PDE problem is to the code that generates datasets and pictures."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from .sampling import draw

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a batch of solves gave, on the first process of the communicator.

    Attributes:
        C: Observables, (n, n_c); NaN where a solve failed.
        failure: Why a solve failed, empty where it did not; n texts.
        solver: Iterations, largest relative residual and seconds, (n,) of dtype `SOLVER`.
        dC_dY: Tangents, (n, n_c, n_y), if they were asked for; NaN where a solve failed.
    """

    C: Array
    failure: list[str]
    solver: npt.NDArray[np.void]
    dC_dY: Array | None = None


@dataclass(frozen=True, kw_only=True)
class Field:
    """A solution on the whole mesh, for a file that others read.

    Attributes:
        points: Nodes, (n, 3).
        kind: What meshio calls the cells: ``quad``, ``hexahedron``, ``tetra``.
        cells: Their nodes in meshio's order, (n_cells, k).
        at_points: Values at the nodes by name, (n,) each.
        at_cells: Values of the cells by name, (n_cells,) or (n_cells, 9) each.
    """

    points: Array
    kind: str
    cells: npt.NDArray[np.int64]
    at_points: dict[str, Array]
    at_cells: dict[str, Array]


class Problem(ABC):
    """A PDE with its parameters and observables, discretised on one communicator.

    Attributes:
        has_tangents: Whether `solve` can give dc/dy.
    """

    has_tangents = False

    @abstractmethod
    def __init__(self, config: Any, comm: MPI.Comm) -> None:
        """Prepare all that the samples share; collective."""

    @staticmethod
    def check(config: Any) -> None:
        """Raise `InputError` if a file that the configuration names does not fit it."""
        return  # most name none

    @staticmethod
    @abstractmethod
    def compile(config: Any) -> None:
        """Compile the forms, which every process and later run then finds in the cache."""

    @staticmethod
    @abstractmethod
    def describe(config: Any) -> dict[str, Any]:
        """Name parameters and observables: the fields of `surrogates.dataset.Info` about them."""

    @classmethod
    def parameters(cls, config: Any, *, total: int, seed: int, start: int, stop: int) -> Array:
        """Draw the samples ``start`` to ``stop``: Y, (stop - start, n_y); see `sampling.draw`."""
        about = cls.describe(config)
        return draw(
            config.sampling.design,
            about["y_lower"],
            about["y_upper"],
            total=total,
            seed=seed,
            start=start,
            stop=stop,
        )

    @property
    @abstractmethod
    def mesh(self) -> str:
        """Size and hash of the mesh, one line; collective."""

    @abstractmethod
    def solve(self, Y: Array, *, tangents: bool = False) -> Batch:
        """Solve for a batch, Y (n, n_y); collective, and complete on rank 0."""

    @abstractmethod
    def picture(self, y: Array, path: str | os.PathLike[str]) -> None:
        """Solve for one sample, y (n_y,), and draw the solution; on one process."""

    @abstractmethod
    def field(self, y: Array) -> Field:
        """Solve for one sample, y (n_y,); on one process."""
