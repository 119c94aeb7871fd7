"""The picture of a survey's sample: sections of the ground with the electrodes, and the data."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from surrogates.plots import style
from surrogates.types import Array

from .case import Case

_NODES = 161, 101  # of a section, along it and down


def draw(case: Case, y: Array, c: Array, path: str | os.PathLike[str]) -> None:
    """Draw one sample: resistivity on vertical sections through the survey, and its data.

    The sections pass through the middle of the electrodes, along x1, and along x2 if electrodes
    differ there; electrodes nearer to a section than a tenth of the survey are drawn on it. Data
    are drawn at the middle of their electrodes and their median depth of investigation.

    Args:
        case: The survey and its model.
        y: Parameters, (n_y,).
        c: Data, (n_d,).
        path: The figure.

    Raises:
        InputError: If the figure cannot be written.
    """
    places = case.electrodes
    extent = np.ptp(places, axis=0)
    across = [i for i in (0, 1) if extent[i] > 1e-6 * extent.max()]
    with style.saved_figure(path, (style.WIDTH, 2.6 * (len(across) + 1)), "") as figure:
        rows = figure.subplots(len(across) + 1, 1, squeeze=False)[:, 0]
        for axes, i in zip(rows, across, strict=False):
            _section(axes, case, y, i)
        _data(figure, rows[-1], case, c)


def _section(axes: Any, case: Case, y: Array, i: int) -> None:
    """Draw resistivity on a section along x_i, with the electrodes near it."""
    from matplotlib.colors import LogNorm

    places, other = case.electrodes, 1 - i
    low, high = places.min(axis=0), places.max(axis=0)
    margin = 0.05 * (high[i] - low[i])
    x = np.linspace(low[i] - margin, high[i] + margin, _NODES[0])
    x3 = np.linspace(min(low[2], 1.5 * case.places[:, 2].min()), max(0.0, high[2]), _NODES[1])
    points = np.empty((len(x3), len(x), 3))
    points[..., i], points[..., 2] = np.meshgrid(x, x3)
    points[..., other] = (low[other] + high[other]) / 2
    rho = 1 / case.model.at(y, points)
    least, most = float(rho.min()), float(rho.max())
    colors = (style.COLORMAP, LogNorm(least, most if most > least else 10 * least))
    style.draw_map(axes, x, x3, rho, colors, "resistivity", "[ohm m]")
    near = np.abs(places[:, other] - points[0, 0, other]) <= 0.1 * max(np.ptp(places, axis=0))
    axes.plot(places[near, i], places[near, 2], "v", color=style.RED, markersize=3, mew=0)
    axes.set(xlabel=f"$x_{i + 1}$ [m]", ylabel="$x_3$ [m]")


def _data(figure: Any, axes: Any, case: Case, c: Array) -> None:
    """Draw the data at their places: a pseudosection along x1, of all lines together."""
    kind = case.config.observable.kind
    at = case.places
    drawn = axes.scatter(at[:, 0], at[:, 2], c=c, cmap=style.COLORMAP, s=14, linewidths=0)
    figure.colorbar(drawn, ax=axes, label=kind)
    axes.set(xlabel="$x_1$ [m]", ylabel="median depth [m]")
