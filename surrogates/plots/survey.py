"""Figures of DC resistivity surveys: pseudosections of lines, or all data in space.

A datum is drawn at the middle of its electrodes, at its median depth of investigation below the
surface; between boreholes, by the depths of its current and of its potential electrodes. Its colour
is the apparent resistivity, or without measured values the size of the geometric factor.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.survey import quality
from surrogates.survey.depth import data_places
from surrogates.survey.describing import Description
from surrogates.survey.profiles import Profile, profiles
from surrogates.types import Array

from .style import COLORMAP, GREY, RED, WIDTH, colors_for, legend_below, legend_key, saved_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_MOST = 6
"""Lines that are drawn as pseudosections; more are drawn as one view in space."""


def survey(found: Description, path: str | os.PathLike[str], *, title: str = "") -> None:
    """Draw a survey: a pseudosection for each of up to six lines, or all data in space.

    Outliers have red rings, negative apparent resistivities are red crosses.

    Args:
        found: The survey, described.
        path: The figure.
        title: Above the figure.

    Raises:
        InputError: If the figure cannot be written.
    """
    lines = profiles(found.survey)
    on_lines = sum(len(line.data) for line in lines)
    if lines and len(lines) <= _MOST and on_lines > 0.9 * len(found.survey.data):
        height = 0.8 + 1.9 * len(lines)
        with saved_figure(path, (WIDTH, height), title) as figure:
            panels = figure.subplots(len(lines), 1, squeeze=False)[:, 0]
            colors = _Colors(found)
            for axes, line in zip(panels, lines, strict=True):
                draw = _between_holes if _is_between_holes(found, line) else _pseudosection
                cells = draw(axes, found, line, colors)
            colors.bar(figure, cells, ax=list(panels), pad=0.02)
            _legend(figure, found, colors)
        return
    with saved_figure(path, (WIDTH, 0.75 * WIDTH), title) as figure:
        colors = _Colors(found)
        cells = _in_space(figure.add_subplot(projection="3d"), found, colors)
        colors.bar(figure, cells, ax=figure.axes, shrink=0.6, pad=0.12)
        _legend(figure, found, colors)


class _Colors:
    """What the colours of a survey's data mean.

    Attributes:
        values: Numbers to draw, (n_d,), positive where ``shown``.
        shown: Which data have a colour.
        crossed: Which data are drawn as crosses, as their apparent resistivity is not positive.
        label: Of the colour bar.
        norm: From numbers to colours.
    """

    def __init__(self, found: Description) -> None:
        """Choose them."""
        from matplotlib.colors import LogNorm

        measured = found.resistivity is not None
        self.values: Array = (
            np.abs(found.factors) if found.resistivity is None else found.resistivity
        )
        self.label = "apparent resistivity [ohm m]" if measured else "geometric factor [m]"
        placed = np.isfinite(found.depths) & np.isfinite(self.values)
        self.shown, self.crossed = placed & (self.values > 0), placed & (self.values <= 0)
        shown = self.values[self.shown]
        ends = np.percentile(shown, [1, 99]) if len(shown) else np.ones(2)
        spread = ends[1] > ends[0]
        self.norm: Any = LogNorm(*ends) if spread else colors_for(np.append(shown, 1.0))[1]

    def bar(self, figure: Figure, drawn: ScalarMappable, **where: Any) -> None:
        """Draw the colour bar, with plain numbers at 1, 2, 5."""
        from matplotlib.colors import LogNorm
        from matplotlib.ticker import LogLocator, NullFormatter

        bar = figure.colorbar(drawn, label=self.label, **where)
        if isinstance(self.norm, LogNorm):
            bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
            bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            bar.ax.yaxis.set_minor_formatter(NullFormatter())


def places(found: Description) -> Array:
    """Return where data are drawn [m], (n_d, 3); see `data_places`."""
    return data_places(found.survey, found.ground, found.depths)


def _pseudosection(
    axes: Axes, found: Description, line: Profile, colors: _Colors
) -> ScalarMappable:
    """Draw the data of a line against distance and elevation."""
    at = places(found)
    x, z = line.along(at), at[:, 2]
    electrodes = found.survey.electrodes[line.electrodes]
    origin = line.along(electrodes).min()
    here = np.zeros(len(x), dtype=bool)
    here[line.data] = True
    one, other = here & colors.shown, here & colors.crossed
    drawn = axes.scatter(
        x[one] - origin, z[one], c=colors.values[one], s=12, cmap=COLORMAP, norm=colors.norm
    )
    axes.plot(x[other] - origin, z[other], "x", color=RED, markersize=5)
    ring = found.outliers[here[found.outliers]]
    axes.plot(x[ring] - origin, z[ring], "o", mfc="none", color=RED, markersize=7)
    axes.plot(line.along(electrodes) - origin, electrodes[:, 2], "v", color=GREY, markersize=3)
    axes.set(xlabel="distance [m]", ylabel="x3 [m]", title=_title(found, line))
    return drawn


def _is_between_holes(found: Description, line: Profile) -> bool:
    """Return whether most data of a line have electrodes in boreholes: none but the highest."""
    numbers = found.survey.data[line.data]
    return bool((found.ground.buried[numbers] & (numbers >= 0)).any(axis=1).mean() > 0.5)


def _between_holes(
    axes: Axes, found: Description, line: Profile, colors: _Colors
) -> ScalarMappable:
    """Draw data of boreholes by the elevations of their current and potential electrodes.

    In a pseudosection they would lie on each other, in the middle between the holes.
    """
    currents, potentials = (places[:, 2] for places in quality.centres(found.survey))
    here = np.zeros(len(currents), dtype=bool)
    here[line.data] = True
    one, other = here & colors.shown, here & colors.crossed
    drawn = axes.scatter(
        currents[one], potentials[one], c=colors.values[one], s=14, cmap=COLORMAP, norm=colors.norm
    )
    axes.plot(currents[other], potentials[other], "x", color=RED, markersize=5)
    ring = found.outliers[here[found.outliers]]
    axes.plot(currents[ring], potentials[ring], "o", mfc="none", color=RED, markersize=7)
    axes.set(
        xlabel="x3 of the middle of a and b [m]",
        ylabel="of m and n [m]",
        title=_title(found, line),
    )
    return drawn


def _title(found: Description, line: Profile) -> str:
    """Return the name of a line: where it starts, and its direction."""
    start = found.survey.electrodes[line.electrodes]
    first = start[line.along(start).argmin()]
    angle = np.degrees(np.arctan2(line.direction[1], line.direction[0])) + 0.0
    return f"from x1 = {first[0]:g}, x2 = {first[1]:g} m, at {angle:.0f}°: {len(line.data)} data"


def _in_space(axes: Any, found: Description, colors: _Colors) -> ScalarMappable:
    """Draw all data in space, and the electrodes."""
    at, one, other = places(found), colors.shown, colors.crossed
    drawn: ScalarMappable = axes.scatter(
        *at[one].T, c=colors.values[one], s=8, cmap=COLORMAP, norm=colors.norm, depthshade=False
    )
    axes.plot(*at[other].T, "x", color=RED, markersize=4)
    axes.plot(*at[found.outliers].T, "o", mfc="none", color=RED, markersize=6, linewidth=0)
    axes.plot(*found.survey.electrodes.T, "v", color=GREY, markersize=2)
    both = np.vstack([at[one | other], found.survey.electrodes])
    size = np.maximum(np.ptp(both, axis=0), 1e-3 * np.ptp(both))
    size[2] = max(size[2], 0.25 * size[:2].max())
    axes.set_box_aspect(size, zoom=1.1)
    axes.set(xlabel="x1 [m]", ylabel="x2 [m]", zlabel="x3 [m]")
    return drawn


def _legend(figure: Figure, found: Description, colors: _Colors) -> None:
    """Say what electrodes, rings and crosses are, below the panels."""
    keys = [legend_key(GREY, "", marker="v", markersize=4)]
    labels = ["electrode"]
    if len(found.outliers):
        keys.append(legend_key(RED, "", marker="o", mfc="none", markersize=7))
        labels.append("outlier")
    if colors.crossed.any():
        keys.append(legend_key(RED, "", marker="x", markersize=5))
        labels.append("apparent resistivity not positive")
    legend_below(figure, keys, labels, 3)
