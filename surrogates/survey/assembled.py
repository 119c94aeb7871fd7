"""The survey of what a file holds: the checks that all formats share, with lines in messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from surrogates.errors import check
from surrogates.types import Array

from . import columns
from .lines import Line
from .survey import FARTHEST, Survey, same_place, wrong_datum


def as_places(names: Sequence[str], rows: Sequence[Line], values: Array) -> Array:
    """Return places [m] of columns of numbers (n, k), (n, 3); those without a column are 0.

    A depth counts from the elevation h beside it, or 0; beside z it is part of z.
    """
    found = np.zeros((len(rows), 3))
    read = [columns.place_column(rows[0], name) for name in names]
    rows[0].check(len({name for name, _ in read}) == len(read), "two columns have one name")
    for k, (name, factor) in enumerate(read):
        if name == columns.DEPTH:
            given = "z" in (columns.split_unit(one)[0] for one in names)
            found[:, 2] -= 0 if given else np.abs(values[:, k] * factor)
        else:
            found[:, "xyz".index(name)] += values[:, k] * factor
    return found


def assembled(
    name: str,
    electrodes: Array,
    places: Sequence[Line],
    found: Mapping[str, Array],
    rows: Sequence[Line],
    topography: Array | None = None,
) -> Survey:
    """Return the survey of the columns of a file.

    Data whose ``valid`` is 0 are left out, and so are columns of zeros, which stand for values that
    are not there. The resistance is u / i where it is not given. Errors in units of the data become
    relative. Where no electrode has an elevation and the topography has some, the electrodes' are
    interpolated.

    Args:
        name: The file.
        electrodes: Places [m], (n_e, 3).
        places: Their lines.
        found: Columns (n_d,) in SI units by name; a, b, m, n count from 1, and 0 is at infinity.
        rows: The lines of the data.
        topography: Points of the surface [m], (n_t, 3).

    Raises:
        InputError: If electrodes are at one place, data name electrodes that are not there or one
            electrode twice, a geometric factor is 0, or no data are left.
    """
    missing = [key for key in columns.DATA if key not in found]
    rows[0].check(not missing, f"no column of the data is named {', '.join(missing)}")
    data = _numbers(found, rows)
    if len(far := np.flatnonzero((np.abs(electrodes) > FARTHEST).any(axis=1))):
        places[far[0]].refuse(
            f"an electrode is farther than {FARTHEST:g} m from the origin; electrodes at infinity "
            "have no place"
        )
    if twice := same_place(electrodes):
        first, second = twice
        places[second].refuse(
            f"electrode {second + 1} is at the place of electrode {first + 1} (line "
            f"{places[first].number})"
        )
    if wrong := wrong_datum(data, len(electrodes)):
        rows[wrong[0]].refuse(wrong[1])
    values, kept = _values(name, found, rows)
    points = np.zeros((0, 3)) if topography is None else topography
    return Survey(
        electrodes=_raised(electrodes, points),
        data=data[kept],
        values={key: column[kept] for key, column in values.items()},
        name=name,
        topography=points,
    )


def _values(
    name: str, found: Mapping[str, Array], rows: Sequence[Line]
) -> tuple[dict[str, Array], npt.NDArray[np.bool_]]:
    """Return the columns besides a b m n, (n_d,) each, and which data are valid, (n_d,)."""
    values = {
        key: column
        for key, column in found.items()
        if key not in columns.DATA and (np.any(column != 0) or key == "valid")
    }
    kept = values.pop("valid", np.ones(len(rows))) != 0
    check(bool(kept.any()), f"{name}: all data are marked as not valid")
    for key in values.keys() & {"r", "rhoa", "k", "err", "u", "i"}:
        if len(wrong_ones := np.flatnonzero(~np.isfinite(values[key]) & kept)):
            first = wrong_ones[0]
            rows[first].refuse(
                f"{key} is {values[key][first]:g}; leave the datum out, or mark it by valid = 0"
            )
    for key in ("k", *(("i",) if "u" in values and "r" not in values else ())):
        if key in values and len(zero := np.flatnonzero((values[key] == 0) & kept)):
            rows[zero[0]].refuse(f"{_WORDS[key]} is 0")
    if "r" not in values and {"u", "i"} <= values.keys():
        current = np.where(values["i"] == 0, np.nan, values["i"])
        values["r"] = values["u"] / current
    for key in values.keys() & columns.ABSOLUTE.keys():
        of = columns.ABSOLUTE[key]
        rows[0].check(of in values, f"errors in units of {of} need a column {of}")
        rows[0].check("err" not in values, "two columns are errors")
        size = np.abs(values[of])
        values["err"] = np.abs(values.pop(key)) / np.where(size > 0, size, np.inf)
    return values, kept


_WORDS = {"k": "the geometric factor k", "i": "the current i"}


def numbered(places: Array) -> tuple[Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Number the electrodes of data that give places; places of one millionth apart are one.

    Places are rounded first, which leaves few of them; those that rounding divided are joined.

    Args:
        places: Places of a b m n [m], NaN at infinity, (n_d, 4, 3).

    Returns:
        The electrodes in the order of x1, x2, x3, (n_e, 3); their numbers from 1 in the data, 0 at
        infinity, (n_d, 4); the number from 0 of the first datum that has each, (n_e,).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    there = np.isfinite(places).all(axis=2)
    flat = places[there]
    size = 1e-6 * (float(np.ptp(flat, axis=0).max()) or 1.0)
    keys = np.round((flat - flat.min(axis=0)) / size).astype(np.int64)
    _, first, number = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    near = cKDTree(flat[first]).query_pairs(2 * size, output_type="ndarray")
    graph = coo_matrix((np.ones(len(near)), (near[:, 0], near[:, 1])), shape=(len(first),) * 2)
    _, group = connected_components(graph, directed=False)
    _, least = np.unique(group, return_index=True)
    rank = np.argsort(np.argsort(least))  # in the order of the places
    numbers = np.zeros(there.shape, dtype=np.int64)
    numbers[there] = rank[group[number.ravel()]] + 1
    first = first[np.sort(least)]
    return flat[first], numbers, np.nonzero(there)[0][first]


def _numbers(found: Mapping[str, Array], rows: Sequence[Line]) -> npt.NDArray[np.int64]:
    """Return the numbers from 0 of a, b, m, n, (n_d, 4)."""
    given = np.stack([found[key] for key in columns.DATA], axis=1)
    wrong = np.argwhere(~(np.abs(given) < 2.0**53) | (given != np.round(given)))
    if len(wrong):
        i, k = wrong[0]
        rows[i].refuse(f"electrode {columns.DATA[k]} must be a whole number; got {given[i, k]:g}")
    return given.astype(np.int64) - 1


def _raised(electrodes: Array, topography: Array) -> Array:
    """Return electrodes with the elevations of the topography, if they have none of their own."""
    if len(topography) < 2 or np.any(electrodes[:, 2]) or not np.any(topography[:, 2]):
        return electrodes
    raised = electrodes.copy()
    raised[:, 2] = elevations(topography, electrodes[:, :2])
    return raised


def elevations(topography: Array, places: Array) -> Array:
    """Interpolate elevations of points of the surface, linearly; outside the nearest holds.

    Args:
        topography: Points [m], (n_t, 3); if all have one x2, elevations depend on x1 alone.
        places: x1 and x2 [m], (n, 2).

    Returns:
        x3 [m], (n,).
    """
    if np.ptp(topography[:, 1]) == 0:
        order = np.argsort(topography[:, 0], kind="stable")
        return np.interp(places[:, 0], topography[order, 0], topography[order, 2])
    from scipy.interpolate import griddata

    plane, height = topography[:, :2], topography[:, 2]
    nearest = griddata(plane, height, places, method="nearest")
    if len(topography) < 3 or np.linalg.matrix_rank(plane - plane.mean(axis=0)) < 2:
        return np.asarray(nearest)
    linear = griddata(plane, height, places, method="linear")
    return np.where(np.isfinite(linear), linear, nearest)
