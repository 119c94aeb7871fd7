"""Fields on a mesh, and their files for ParaView."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.files import atomic
from surrogates.types import Array


@dataclass(frozen=True, kw_only=True)
class Field:
    """Fields on a whole mesh, for `write`.

    Attributes:
        points: Nodes, (n, 3).
        kind: meshio's name of the cells: ``vertex``, ``line``, ``triangle``, ``quad``, ``tetra`` or
            ``hexahedron``.
        cells: The nodes of each cell in meshio's order, (n_cells, k).
        at_points: Values at the nodes by name, (n,), or (n, 3) for a vector.
        at_cells: Values in the cells by name, (n_cells,), or (n_cells, 9) for a tensor.
        beside: Fields on other places, such as electrodes, by the names of their files.
    """

    points: Array
    kind: str
    cells: npt.NDArray[np.int64]
    at_points: dict[str, Array]
    at_cells: dict[str, Array]
    beside: Mapping[str, Field] = dataclasses.field(default_factory=dict)


def write(path: str | os.PathLike[str], field: Field) -> list[str]:
    """Write fields for ParaView, as one file: VTU, or XDMF with the numbers in it as text.

    The fields ``beside`` are files beside it: F.vtu has F.NAME.vtu.

    Args:
        path: The file.
        field: The fields.

    Returns:
        The paths of the files, the first as it is given.

    Raises:
        InputError: If the ending is neither ``.vtu`` nor ``.xdmf``, or there is no such folder.
    """
    try:
        import meshio  # slow to import, and few runs write fields
    except ImportError as error:
        raise InputError("fields need meshio: pip install varpro-surrogates[meshes]") from error
    ending = Path(path).suffix.lower()
    check(ending in (".vtu", ".xdmf"), f"a solution's file ends in .vtu or .xdmf; got {path}")
    mesh = meshio.Mesh(
        field.points,
        [(field.kind, field.cells)],
        point_data=field.at_points,
        cell_data={name: [values] for name, values in field.at_cells.items()},
    )
    with atomic(path) as beside:
        mesh.write(beside, **({"data_format": "XML"} if ending == ".xdmf" else {}))
    written = [os.fspath(path)]
    for name, other in field.beside.items():
        written += write(Path(path).with_suffix(f".{name}{Path(path).suffix}"), other)
    return written
