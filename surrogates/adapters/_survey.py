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
