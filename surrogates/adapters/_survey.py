"""Data of DC resistivity surveys, as inversion codes of the field name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from surrogates.errors import check
from surrogates.survey import Survey, survey_of
from surrogates.types import Array

from . import common

if TYPE_CHECKING:
    from ._model import Model

_KINDS: dict[tuple[str, ...], str] = {("ohm m",): "rhoa", ("ohm",): "r", ("1",): "log10 rhoa"}
"""What is observed, by the unit of all observables."""

_SAME = 1e-5
"""Part of the survey's extent by which an electrode's places may differ: the digits of files."""


def surveyed(model: Model) -> tuple[Survey, str]:
    """Return the survey of a model's observables, with factors ``k``, and what is observed.

    Returns:
        The survey, and ``rhoa``, ``log10 rhoa`` or ``r``, the transfer resistance.

    Raises:
        InputError: If the observables are not data of a survey.
    """
    survey = survey_of(model.c_coordinates, model.path)
    units = tuple(sorted(set(model.c_units)))
    check(
        units in _KINDS and "k" in survey.values,
        f"{model.path}: expected apparent resistivities [ohm m], their logarithms [1] or "
        f"resistances [ohm], with their factors k; got {', '.join(units)}",
    )
    return survey, _KINDS[units]


def observed(model: Model, measured: Survey) -> tuple[Array, Array | None]:
    """Return measured data as observables of a model, and their standard deviations.

    The resistances count: apparent resistivities are divided by their own factors ``k`` and
    multiplied by the model's. On topography factors of files are often those of flat ground.
    Without ``k`` apparent resistivities are taken as they are.

    Args:
        model: A surrogate or a simulator of a survey.
        measured: A survey with the same data among others, in any order and numbering of the
            electrodes; with ``r``, ``rhoa``, or ``u`` and ``i``.

    Returns:
        Data c, (n_d,), and the deviations by the relative errors ``err``, None without them; both
        in units of the observables and in their order.

    Raises:
        InputError: If the observables are not data of a survey, data of the model are not among
            those measured, or nothing was.
    """
    survey, kind = surveyed(model)
    rows = _rows(survey, measured)
    values = {name: column[rows] for name, column in measured.values.items()}
    k = survey.values["k"]
    if "r" in values:
        R = values["r"]
    elif "rhoa" in values:
        R = values["rhoa"] / values.get("k", k)
    else:
        check({"u", "i"} <= values.keys(), f"{measured.name} has no column r, rhoa, or u and i")
        R = values["u"] / values["i"]
    log = kind == "log10 rhoa"
    check(
        not log or bool((k * R > 0).all()),
        f"{measured.name}: negative apparent resistivities have no logarithm; leave these data out",
    )
    c = np.log10(k * R) if log else R if kind == "r" else k * R
    if "err" not in values:
        return c, None
    return c, values["err"] / np.log(10) if log else values["err"] * np.abs(c)


def _rows(survey: Survey, measured: Survey) -> npt.NDArray[np.int64]:
    """Return the rows of measured data that are a survey's, (n_d,); repeated ones in their order.

    Raises:
        InputError: If a datum of the survey is not among those measured.
    """
    from scipy.spatial import cKDTree

    apart, number = cKDTree(measured.electrodes).query(survey.electrodes)
    size = float(np.ptp(survey.electrodes, axis=0).max()) or 1.0
    number = np.where(apart <= _SAME * size, number, -2)
    wanted = np.where(survey.data < 0, survey.data, number[survey.data])
    there: dict[tuple[int, ...], list[int]] = {}
    for i, key in enumerate(map(tuple, measured.data.tolist())):
        there.setdefault(key, []).append(i)
    rows = []
    for i, key in enumerate(map(tuple, wanted.tolist()), start=1):
        left = there.get(key, [])
        check(bool(left), f"datum {i} of {survey.name} is not among the data of {measured.name}")
        rows.append(left.pop(0))
    return np.array(rows, dtype=np.int64)


def columns(
    model: Model, c: npt.ArrayLike | None = None, noise: npt.ArrayLike | None = None
) -> tuple[Survey, dict[str, Array]]:
    """Return a model's survey, and columns of the unified data format, (n_d,) each.

    Args:
        model: A surrogate or a simulator of a survey.
        c: Data, (n_d,), of the model's observables; None for none.
        noise: Their standard deviation, one or (n_d,), in units of the observables.

    Returns:
        The survey, and ``k`` [m]; with data ``rhoa`` [ohm m] and ``r`` [ohm]; with noise ``err``,
        relative.

    Raises:
        InputError: If the observables are not data of a survey, or c or noise do not fit them.
    """
    survey, kind = surveyed(model)
    k = survey.values["k"]
    found = {"k": k}
    check(c is not None or noise is None, "give the data c that the noise belongs to")
    if c is None:
        return survey, found
    data = common.observed(model, c)
    rhoa = {"rhoa": data, "r": k * data}.get(kind)
    found["rhoa"] = 10**data if rhoa is None else rhoa
    found["r"] = found["rhoa"] / k
    if noise is not None:
        sigma = np.asarray(noise, dtype=np.float64)
        check(
            sigma.shape in ((), data.shape) and bool((sigma > 0).all()),
            f"expected one standard deviation of the noise > 0, or {len(data)}; got {sigma.shape}",
        )
        found["err"] = np.log(10) * sigma + 0 * data if rhoa is None else sigma / np.abs(data)
    return survey, found
