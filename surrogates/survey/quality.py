"""What a survey's measured values say of themselves: reciprocity, outliers, units in question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from surrogates.errors import listed
from surrogates.types import Array

from .ground import rising

if TYPE_CHECKING:
    from .survey import Survey

Integers = npt.NDArray[np.int64]

_NEIGHBOURS = 8
_FAR = 5.0
"""An outlier's distance from its neighbours' median, in standard deviations (robust, normal)."""
_ALIKE = 2
"""Neighbours to which an outlier may be close, as outliers themselves."""
_LEAST = np.log(1.2)
"""Least distance of an outlier in the logarithm, as an even section has a spread of nearly 0."""


def resistances(survey: Survey, factors: Array) -> Array | None:
    """Return measured transfer resistances [ohm], (n_d,), or None: ``r``, or ``rhoa`` over k."""
    if "r" in survey.values:
        return survey.values["r"]
    if "rhoa" in survey.values:
        return survey.values["rhoa"] / survey.values.get("k", factors)
    return None


def apparent_resistivities(survey: Survey, factors: Array) -> Array | None:
    """Return measured apparent resistivities [ohm m], (n_d,), or None: ``rhoa``, or ``r`` times k.

    Args:
        survey: The survey; its column ``k`` holds in place of ``factors``.
        factors: Geometric factors [m], (n_d,).
    """
    if "rhoa" in survey.values:
        return survey.values["rhoa"]
    if "r" in survey.values:
        return survey.values["r"] * survey.values.get("k", factors)
    return None


def reciprocal(survey: Survey) -> Integers:
    """Return pairs of data that exchange current and potential electrodes, (n, 2) from 0.

    The second datum of a pair may have the opposite sign, as for a b m n and n m a b.
    """
    currents, potentials = np.sort(survey.data[:, :2], axis=1), np.sort(survey.data[:, 2:], axis=1)
    first: dict[tuple[int, ...], int] = {}
    for i, key in enumerate(map(tuple, np.hstack([currents, potentials]).tolist())):
        first.setdefault(key, i)
    pairs = []
    for i, (a, b, m, n) in enumerate(np.hstack([currents, potentials]).tolist()):
        other = first.get((m, n, a, b))
        if other is not None and other < i:
            pairs.append((other, i))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def repeated(survey: Survey) -> Integers:
    """Return the numbers from 0 of data whose four electrodes an earlier datum has."""
    seen: set[tuple[int, ...]] = set()
    found = []
    both = np.hstack([np.sort(survey.data[:, :2], axis=1), np.sort(survey.data[:, 2:], axis=1)])
    for i, key in enumerate(map(tuple, both.tolist())):
        if key in seen:
            found.append(i)
        seen.add(key)
    return np.array(found, dtype=np.int64)


def misfits(pairs: Integers, resistance: Array) -> Array:
    """Return the relative differences of reciprocal pairs: sizes' difference over their mean."""
    size = np.abs(resistance[pairs])
    mean = size.mean(axis=1)
    return np.asarray(np.abs(size[:, 0] - size[:, 1]) / np.where(mean > 0, mean, 1.0))


def outliers(survey: Survey, depths: Array, resistivity: Array, *, holes: bool = False) -> Integers:
    """Return the numbers from 0 of data whose apparent resistivity is unlike its neighbours'.

    Neighbours are near in the pseudosection: by the middle of the electrodes and the median depth.
    In a survey with boreholes they are near by the middles of their current and of their potential
    electrodes.
    A datum is an outlier if it is more than 20 % from all but two of its eight neighbours, and its
    logarithm is farther from their median than five standard deviations of such distances (from
    their median absolute deviation). In a corner of a section that has a trend, neighbours are on
    one side, and the nearest ones are alike. Negative values and zeros are no candidates.

    Args:
        survey: The survey.
        depths: Median depths [m], (n_d,).
        resistivity: Apparent resistivities [ohm m], (n_d,).
        holes: Whether electrodes are buried.
    """
    from scipy.spatial import cKDTree

    usable = np.flatnonzero((resistivity > 0) & np.isfinite(resistivity) & np.isfinite(depths))
    if len(usable) < 2 * _NEIGHBOURS:
        return np.zeros(0, dtype=np.int64)
    value = np.log(resistivity[usable])
    places = np.hstack(centres(survey)) if holes else np.hstack([middles(survey), depths[:, None]])
    places = places[usable]
    _, near = cKDTree(places).query(places, k=_NEIGHBOURS + 1)
    apart = value[:, None] - value[near[:, 1:]]
    distance = np.median(apart, axis=1)
    alone = np.sort(np.abs(apart), axis=1)[:, _ALIKE] > _LEAST
    return np.asarray(usable[alone & (np.abs(distance) > max(_FAR * _spread(distance), _LEAST))])


def centres(survey: Survey) -> tuple[Array, Array]:
    """Return the middles of a and b, and of m and n, of each datum [m], (n_d, 3) each."""
    found = []
    for numbers in (survey.data[:, :2], survey.data[:, 2:]):
        there = (numbers >= 0)[:, :, None]
        total = np.where(there, survey.electrodes[numbers], 0.0).sum(axis=1)
        found.append(np.asarray(total / there.sum(axis=1)))
    return found[0], found[1]


def middles(survey: Survey) -> Array:
    """Return the middle of the electrodes of each datum in the plane [m], (n_d, 2)."""
    there = survey.data >= 0
    places = np.where(there[:, :, None], survey.electrodes[survey.data][:, :, :2], 0.0)
    return np.asarray(places.sum(axis=1) / there.sum(axis=1)[:, None])


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """Where units are in question.

    Attributes:
        factor: Ratio of given to computed values.
        resistivity: Median apparent resistivities of real ground [ohm m].
        error: Median relative error.
    """

    factor: float = 1.5
    resistivity: tuple[float, float] = (0.05, 1e6)
    error: float = 0.5


def questions(survey: Survey, factors: Array, *, flat: bool) -> list[str]:
    """Return what is doubtful in the measured values, a line each.

    Negative apparent resistivities; geometric factors and resistances of the file that disagree
    with the electrodes; apparent resistivities out of the range of the ground, or that behave as
    resistances; errors that look like per cent.

    Args:
        survey: The survey.
        factors: Geometric factors by the electrodes' places [m], (n_d,); on topography estimates.
        flat: Whether the ground is flat.
    """
    found = [
        *_sideways(survey.electrodes),
        *_upside_down(survey.electrodes),
        *_undefined(factors),
        *_of_units(survey, factors, _Limits(), flat=flat),
    ]
    resistivity = apparent_resistivities(survey, factors)
    if resistivity is not None:
        found += _negative(resistivity)
    return found


def _negative(resistivity: Array) -> list[str]:
    """Say which apparent resistivities are negative."""
    negative = np.flatnonzero(resistivity < 0)
    n = len(negative)
    if n == 0:
        return []
    what = "1 apparent resistivity is" if n == 1 else f"{n} apparent resistivities are"
    if n > len(resistivity) / 2:
        hint = "check the order of a b m n, the sign and the name of the column"
    else:
        hint = "leave them out (--clean), or mark them by a column valid = 0"
    return [f"{what} negative ({data(negative)}): {hint}"]


def _sideways(electrodes: Array) -> list[str]:
    """Say whether x2 may be the elevation: it varies gently along x1, and x3 does not.

    Files of two-dimensional programs have the elevation in y.
    """
    x, y, z = electrodes[np.argsort(electrodes[:, 0])].T
    step = np.diff(x)
    if np.ptp(z) or not np.ptp(y) or not (step > 0).all() or (np.abs(np.diff(y)) > step).any():
        return []
    slope = np.diff(y) / step
    if np.ptp(slope) < 1e-6:  # a straight line of any direction
        return []
    return [
        "x2 varies along the line and x3 does not: if the column y holds elevations, as in files "
        "of 2-D programs, name the columns x z y"
    ]


def _upside_down(electrodes: Array) -> list[str]:
    """Say whether boreholes may have positive depths: they rise above the surface."""
    return (
        ["boreholes rise above the electrodes at the surface: x3 is upwards, depths are negative"]
        if rising(electrodes)
        else []
    )


def _undefined(factors: Array) -> list[str]:
    """Say which geometric factors are undefined."""
    wrong = np.flatnonzero(~np.isfinite(factors))
    text = f"{len(wrong)} geometric factors are undefined ({data(wrong)}): in homogeneous ground m "
    return [f"{text}and n have one potential; leave these data out"] if len(wrong) else []


def _of_units(survey: Survey, factors: Array, limits: _Limits, *, flat: bool) -> list[str]:
    """Say which units are in question."""
    values, found = survey.values, list[str]()
    far = limits.factor if flat else 2 * limits.factor
    if "k" in values:
        ratio = _ratio(values["k"], factors)
        if not 1 / far < ratio < far:
            found.append(
                f"the geometric factors k are {ratio:.3g} times those of the electrodes' places "
                "(median): check the unit of the places, and whether k has 2 pi"
            )
    k = values.get("k", factors)
    if "r" in values and "rhoa" in values:
        ratio = _ratio(values["rhoa"], values["r"] * k)
        if not 1 / far < ratio < far:
            found.append(
                f"the apparent resistivities are {ratio:.3g} times r k (median): check the units "
                "of r (or of u and i) and rhoa"
            )
    elif {"r", "u", "i"} <= values.keys():
        ratio = _ratio(values["r"] * values["i"], values["u"])
        if not 1 / limits.factor < ratio < limits.factor:
            found.append(f"r is {ratio:.3g} times u / i (median): check the units of u and i")
    resistivity = apparent_resistivities(survey, factors)
    if resistivity is not None:
        found += _implausible(survey, resistivity, k, limits)
    if "err" in values and float(np.median(values["err"])) > limits.error:
        median = float(np.median(values["err"]))
        found.append(
            f"the median relative error is {median:.3g}: if errors are in per cent, name their "
            "column err/%"
        )
    return found


def _implausible(survey: Survey, resistivity: Array, k: Array, limits: _Limits) -> list[str]:
    """Say whether apparent resistivities are out of range, or behave as resistances."""
    size = np.abs(resistivity[np.isfinite(resistivity)])
    median = float(np.median(size)) if len(size) else 1.0
    low, high = limits.resistivity
    if not low <= median <= high:
        return [
            f"the median apparent resistivity is {median:.3g} ohm m, and ground has {low:g} to "
            f"{high:g}: check the units of the data and of the places"
        ]
    usable = (resistivity != 0) & np.isfinite(k) & np.isfinite(resistivity)
    if usable.sum() < 8 or {"r", "rhoa"} <= survey.values.keys():
        return []
    value, factor = np.log(np.abs(resistivity[usable])), np.log(np.abs(k[usable]))
    if _spread(factor) < np.log(1.5):
        return []
    by_name = "rhoa" in survey.values
    other = value + factor if by_name else value - factor
    if _spread(other) > 0.5 * _spread(value):
        return []
    is_now, would = ("rhoa", "r") if by_name else ("r", "rhoa")
    return [
        f"the column {is_now} behaves as {would}: it varies with the geometric factor; check its "
        "name"
    ]


def _ratio(given: Array, expected: Array) -> float:
    """Return the median of the ratio of sizes; 1 if nothing can be compared."""
    usable = np.isfinite(given) & np.isfinite(expected) & (given != 0) & (expected != 0)
    return float(np.median(np.abs(given[usable] / expected[usable]))) if usable.any() else 1.0


def _spread(values: Array) -> float:
    """Return a standard deviation from the median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def data(indices: Integers) -> str:
    """Return the numbers of data, from 1, in words."""
    text = listed([str(i + 1) for i in indices.tolist()], 8)
    return f"data {text}" if len(indices) != 1 else f"datum {text}"
