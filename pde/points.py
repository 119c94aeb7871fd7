"""Nodes and points of a mesh that is divided over processes."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc

from surrogates.errors import InputError
from surrogates.types import Array

from .fenicsx import locate


def digest(comm: MPI.Comm, points: Array) -> str:
    """Hash the sorted nodes of a mesh, (n, dim) on each process; collective."""
    nodes = np.vstack(comm.allgather(points)).round(9) + 0.0
    return hashlib.sha256(nodes[np.lexsort(nodes.T)].tobytes()).hexdigest()[:12]


def function(V: Any, values: Array) -> Any:
    """Make a DOLFINx function from the coefficients that this process owns; collective.

    Args:
        V: The space.
        values: Its coefficients, such as the array of a PETSc vector.
    """
    u = fem.Function(V)
    u.x.array[: len(values)] = values
    u.x.scatter_forward()
    return u


def evaluation(V: Any, points: Array) -> Any:
    """Make the matrix that evaluates a function of a scalar space at points. Collective.

    Args:
        V: The space.
        points: Coordinates, (n, 3), the same on every process.

    Returns:
        A PETSc matrix, n x the unknowns, with all its rows on rank 0.

    Raises:
        InputError: If a point is in no cell of the mesh.
    """
    comm, index_map = V.mesh.comm, V.dofmap.index_map
    cells = locate(V.mesh, points)
    holders = np.array(comm.allgather(cells >= 0))
    if not holders.any(axis=0).all():
        missing = points[np.argmin(holders.any(axis=0))]
        raise InputError(f"the mesh has no cell at {missing.tolist()} m, or is dented there")
    owner = np.argmax(holders, axis=0)  # a point on a facet may be in several processes' cells
    rows = (len(points) if comm.rank == 0 else 0, len(points))
    P = PETSc.Mat().createAIJ((rows, (index_map.size_local, index_map.size_global)), comm=comm)
    P.setPreallocationNNZ(V.dofmap.cell_dofs(0).size)
    P.setOption(PETSc.Mat.Option.NEW_NONZERO_ALLOCATION_ERR, False)
    basis = fem.Function(V)
    for i in np.flatnonzero(owner == comm.rank):
        dofs = np.asarray(V.dofmap.cell_dofs(cells[i]), dtype=np.int32)
        values = np.zeros(len(dofs))
        for k, dof in enumerate(dofs):
            basis.x.array[dof] = 1
            values[k] = basis.eval(points[i], cells[i : i + 1])[0]
            basis.x.array[dof] = 0
        columns = index_map.local_to_global(dofs).astype(PETSc.IntType)
        P.setValues([int(i)], columns, values)
    P.assemble()
    return P
