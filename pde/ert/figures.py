"""The picture of a survey's sample: resistivity and coverage of the ground, electrodes, data."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from surrogates.plots import style
from surrogates.plots.ground import Quantity, View, ground
from surrogates.plots.sensitivity import covering
from surrogates.survey import Survey
from surrogates.survey.describing import describe
from surrogates.survey.planes import planes, resampled
from surrogates.types import Array

from .case import Case
from .visible import covered, resistivity


def draw(case: Case, y: Array, rhoa: Array, path: str | os.PathLike[str]) -> None:
    """Draw one sample: resistivity and coverage on planes, and the data.

    The planes are those of `surrogates.survey.planes`. The coverage is that of homogeneous ground,
    on topography an estimate (`covered`).
    Data are drawn at the middle of their electrodes and their median depth of investigation.

    Args:
        case: The survey and its model.
        y: Parameters, (n_y,).
        rhoa: Apparent resistivities of the data [ohm m], (n_d,).
        path: The figure.

    Raises:
        InputError: If the figure cannot be written.
    """
    up = np.array([0.0, 0.0, case.ground.top])
    survey = Survey(
        electrodes=case.survey.electrodes,
        data=case.survey.data,
        values={"rhoa": rhoa},
        name=case.survey.name,
    )
    none = np.zeros(0, dtype=np.int64)
    found = dataclasses.replace(describe(survey, case.config.survey.top), outliers=none)
    surface = case.model.surface(y)
    body = None if surface is None else (surface[0] + up, surface[1])
    shown = planes(found, None if body is None else body[0])
    pixels = np.concatenate([plane.pixels()[2].reshape(-1, 3) for plane in shown])
    rho = resistivity(case, y, pixels)
    cover = np.full(len(pixels), np.nan)
    inside = np.isfinite(rho)
    cover[inside] = covered(case, pixels[inside])
    resistive = Quantity(
        name="resistivity",
        label="resistivity [ohm m]",
        maps=resampled(rho, shown),
        colors=style.log_colors(rho),
    )
    quantities = [resistive, covering(cover, shown, estimate=not case.level)]
    ground(View(found=found, planes=shown, quantities=quantities, body=body), path)
