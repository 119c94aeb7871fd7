"""Groups of a mesh file's volume cells, as meshio reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.errors import listed

Integers = npt.NDArray[np.int64]

MOST = 20
"""Largest number of groups that are named in a note, or made of data without names."""


def groups(mesh: Any, name: str) -> dict[str, Integers]:
    """Return the numbers of the volume cells in each group, by the groups' names.

    A group is a physical group of gmsh, a set of cells (Abaqus, FLAC3D), a family of MED, or a
    value of any other integer data. Cells are numbered over all blocks of their kind.

    Args:
        mesh: The mesh as meshio reads it.
        name: meshio's name of the volume cells' kind.
    """
    which = [i for i, block in enumerate(mesh.cells) if block.type == name]
    starts = np.cumsum([0, *(len(mesh.cells[i].data) for i in which)])
    found: dict[str, list[Any]] = {}
    for key, sets in mesh.cell_sets.items():
        if not key.startswith("gmsh:"):
            for i, start in zip(which, starts[:-1], strict=True):
                if sets[i] is not None:
                    found.setdefault(key, []).append(np.asarray(sets[i]) + start)
    named: dict[int, list[str]] = {}
    for key, value in mesh.field_data.items():
        tag = np.ravel(value)
        if len(tag) == 2 and tag.dtype.kind in "iu" and tag[1] == 3:  # gmsh: number, dimension
            named[int(tag[0])] = [key]
    for key, data in mesh.cell_data.items():
        values = np.concatenate([np.asarray(data[i]) for i in which])
        if values.ndim != 1 or values.dtype.kind not in "iu" or key == "gmsh:geometrical":
            continue
        names = getattr(mesh, "cell_tags", {}) if key == "cell_tags" else {}
        names = named if key == "gmsh:physical" else names
        tags = np.unique(values)
        if len(tags) > MOST and not names:
            continue  # numbers of cells, of parts, ...
        for tag in tags.tolist():
            for group in names.get(tag, [f"{key} {tag}"]):
                if group not in mesh.cell_sets:  # meshio has gmsh's in both
                    found.setdefault(group, []).append(np.flatnonzero(values == tag))
    joined = {key: np.concatenate(parts).astype(np.int64) for key, parts in found.items()}
    return {key: cells for key, cells in joined.items() if len(cells)}


def described(found: Mapping[str, Integers]) -> str:
    """Name the groups, with the number of cells in each; empty if there are none."""
    texts = [f"{printable(group)[:60]} ({len(cells)})" for group, cells in found.items()]
    return listed(texts, MOST) if texts else ""


def printable(name: str) -> str:
    """Make a text of a file safe to print on one line."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(name.split()))[:300]
