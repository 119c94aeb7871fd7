"""The libraries that solving a PDE needs; the error of a missing one says how to get it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surrogates.errors import InputError

from .loading import load
from .problem import Problem

if TYPE_CHECKING:
    from surrogates.data import Info


def mpi() -> Any:
    """Import `mpi4py.MPI`, which starts MPI.

    Raises:
        InputError: If it is missing.
    """
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise _missing(error) from error
    return MPI


def problem_of(name: str, info: Info | None = None) -> type[Problem]:
    """Find a problem by its name; arguments and errors are those of `loading.load`.

    Raises:
        InputError: If a library is missing.
    """
    try:
        return load(name, info)
    except ImportError as error:
        raise _missing(error) from error


def _missing(error: ImportError) -> InputError:
    return InputError(
        f"solving a PDE needs DOLFINx, petsc4py, mpi4py and meshio (scripts/setup.sh): {error}"
    )
