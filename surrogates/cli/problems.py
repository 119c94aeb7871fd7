"""The PDE problems that commands name, and MPI; each says which libraries it needs."""

from __future__ import annotations

from typing import Any

from surrogates.data.dataset import Info
from surrogates.errors import InputError


def load(name: str, info: Info | None = None) -> Any:
    """Return a problem by its name.

    Args:
        name: ``cdr``, ``dcr`` or ``FILE.py:CLASS``.
        info: A dataset that the problem must have made; None for any problem.
    """
    from surrogates.pde.problem import load

    try:
        return load(name, info)
    except ImportError as error:
        raise _no_pde(error) from error


def mpi() -> Any:
    """Import MPI, which every solve needs, and return it."""
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise _no_pde(error) from error
    return MPI


def _no_pde(error: ImportError) -> InputError:
    return InputError(
        f"solving a PDE needs DOLFINx, petsc4py, mpi4py and meshio (scripts/setup.sh): {error}"
    )
