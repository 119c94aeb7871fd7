"""Shapes of tetrahedra, and a mending of the few poor ones by moves of their nodes."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

Integers = npt.NDArray[np.int64]

_DIRECTIONS = np.array([d for d in itertools.product((-1, 0, 1), repeat=3) if any(d)], dtype=float)
_DIRECTIONS /= np.linalg.norm(_DIRECTIONS, axis=1)[:, None]
_SWEEPS = 20


def shapes(corners: Array) -> Array:
    """Return the mean ratio of tetrahedra (..., 4, 3): 1 is regular, negative inside out, (...,).

    It is 12 (3 V)^(2/3) over the sum of the squared edges (Liu and Joe, "On the shape of
    tetrahedra from bisection", 1994).
    """
    edges = corners[..., 1:, :] - corners[..., :1, :]
    six = (np.cross(edges[..., 0, :], edges[..., 1, :]) * edges[..., 2, :]).sum(axis=-1)
    squares = sum(
        ((corners[..., a, :] - corners[..., b, :]) ** 2).sum(axis=-1)
        for a, b in itertools.combinations(range(4), 2)
    )
    return np.asarray(np.sign(six) * 12 * (np.abs(six) / 2) ** (2 / 3) / squares)


def relaxed(points: Array, cells: Integers, fixed: npt.NDArray[np.bool_], least: float) -> Array:
    """Move nodes of cells with a poor shape so that the worst cell at each node gets better.

    Args:
        points: Nodes, (n, 3).
        cells: Nodes of each tetrahedron, (n_cells, 4).
        fixed: Which nodes stay, (n,).
        least: Shape below which a cell is poor.

    Returns:
        The nodes, (n, 3). Cells can remain poor.
    """
    points = points.copy()
    order = np.argsort(cells, axis=None, kind="stable")
    starts = np.searchsorted(cells.ravel()[order], np.arange(len(points) + 1))
    for sweep in range(_SWEEPS):
        poor = shapes(points[cells]) < least
        nodes = np.unique(cells[poor])
        nodes = nodes[~fixed[nodes]]
        if not len(nodes):
            break
        for node in nodes.tolist():
            around = cells[order[starts[node] : starts[node + 1]] // 4]
            if shapes(points[around]).min() >= least:
                continue  # by the move of another node
            points[node] = _moved(points, around, node, 0.5 / (1 + sweep % 4))
    return points


def _moved(points: Array, around: Integers, node: int, part: float) -> Array:
    """Return the best place of a node for the worst of the cells around it."""
    corners, mine = points[around], around == node
    length = float(np.median(np.linalg.norm(corners - points[node], axis=-1)[~mine]))
    step = part * length
    best, place = float(_worth(corners, length).min()), np.array(points[node], dtype=np.float64)
    for _ in range(8):
        tried = place + step * _DIRECTIONS
        moved = np.where(mine[None, :, :, None], tried[:, None, None, :], corners[None])
        found = _worth(moved, length).min(axis=1)
        first = int(np.argmax(found))
        if found[first] > best:
            best, place = float(found[first]), tried[first]
        else:
            step /= 2
    return place


def _worth(corners: Array, length: float) -> Array:
    """Return the shape of proper cells; of others the volume, as large edges better their shape."""
    edges = corners[..., 1:, :] - corners[..., :1, :]
    six = (np.cross(edges[..., 0, :], edges[..., 1, :]) * edges[..., 2, :]).sum(axis=-1)
    return np.asarray(np.where(six > 0, shapes(corners), six / length**3))
