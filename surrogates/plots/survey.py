"""Figures of DC resistivity surveys: pseudosections of lines, or all data in space.

A datum is drawn at the middle of its electrodes, at its median depth of investigation below the
surface; between boreholes, by the depths of its current and of its potential electrodes. Its colour
is the apparent resistivity, or without measured values the size of the geometric factor.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from surrogates.survey import quality
from surrogates.survey.depth import data_places
from surrogates.survey.describing import Description
from surrogates.survey.profiles import Profile, profiles
from surrogates.types import Array

from .style import (
    COLORMAP,
    GREY,
    RED,
    WIDTH,
    legend_below,
    legend_key,
    log_colors,
    round_bar,
    saved_figure,
)

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
            colors = Colors(found)
            for axes, line in zip(panels, lines, strict=True):
                cells = draw_data(axes, found, line, colors, _scale(found, line))
            round_bar(figure.colorbar(cells, ax=list(panels), pad=0.02, label=colors.label), 7)
            _legend(figure, found, colors)
        return
    with saved_figure(path, (WIDTH, 0.75 * WIDTH), title) as figure:
        colors = Colors(found)
        cells = in_space(figure.add_subplot(projection="3d"), found, colors)
        bar = figure.colorbar(cells, ax=figure.axes, shrink=0.6, pad=0.12, label=colors.label)
        round_bar(bar, 7)
        _legend(figure, found, colors)


class Colors:
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
        measured = found.resistivity is not None
        self.values: Array = (
            np.abs(found.factors) if found.resistivity is None else found.resistivity
        )
        self.label = "apparent resistivity [ohm m]" if measured else "geometric factor [m]"
        placed = np.isfinite(found.depths) & np.isfinite(self.values)
        self.shown, self.crossed = placed & (self.values > 0), placed & (self.values <= 0)
        shown = self.values[self.shown]
        self.norm: Any = log_colors(np.percentile(shown, [1, 99]) if len(shown) else shown)[1]


def places(found: Description) -> Array:
    """Return where data are drawn [m], (n_d, 3); see `data_places`."""
    return data_places(found.survey, found.ground, found.depths)


def _scale(found: Description, line: Profile) -> tuple[float, float]:
    """Return the inches of a metre along the axes of one of several pseudosections."""
    x = line.along(found.survey.electrodes[line.electrodes])
    z = np.append(places(found)[line.data, 2], found.survey.electrodes[line.electrodes, 2])
    return 6.3 / (float(np.ptp(x)) or 1.0), 1.25 / (float(np.ptp(z[np.isfinite(z)])) or 1.0)


def draw_data(
    axes: Axes, found: Description, line: Profile, colors: Colors, scale: tuple[float, float]
) -> ScalarMappable:
    """Draw the data of a line: a pseudosection, or between boreholes by both depths.

    Args:
        axes: Where.
        found: The survey.
        line: The line.
        colors: The data's colours.
        scale: Inches of a metre along the axes of a pseudosection, for the size of points.
    """
    if is_between_holes(found, line):
        return _between_holes(axes, found, line, colors)
    return _pseudosection(axes, found, line, colors, scale)


def _pseudosection(
    axes: Axes, found: Description, line: Profile, colors: Colors, scale: tuple[float, float]
) -> ScalarMappable:
    """Draw the data of a line against its coordinate and their elevation, as `draw_data`."""
    at = places(found)
    zero, label = line.zero(found.survey)
    x, z = line.along(at) - zero, at[:, 2]
    electrodes = found.survey.electrodes[line.electrodes]
    here = np.zeros(len(x), dtype=bool)
    here[line.data] = True
    one, other = here & colors.shown, here & colors.crossed
    area = _area(x[one], z[one], scale)
    drawn = axes.scatter(
        x[one], z[one], c=colors.values[one], s=area, cmap=COLORMAP, norm=colors.norm, linewidths=0
    )
    axes.plot(x[other], z[other], "x", color=RED, markersize=5)
    ring = found.outliers[here[found.outliers]]
    axes.plot(x[ring], z[ring], "o", mfc="none", color=RED, markersize=np.sqrt(area) + 2)
    buried = found.ground.buried[line.electrodes]
    draw_electrodes(axes, line.along(electrodes) - zero, electrodes[:, 2], buried)
    axes.set(xlabel=label, ylabel="$x_3$ [m]", title=_title(found, line))
    return drawn


def draw_electrodes(axes: Axes, x: Array, z: Array, buried: npt.NDArray[np.bool_]) -> None:
    """Draw electrodes: triangles, whose tips are their places, and points for buried ones.

    Args:
        axes: Where.
        x: Coordinates along axes, (n,).
        z: Coordinates across, (n,).
        buried: Which are buried, (n,) bool.
    """
    from matplotlib.markers import CARETDOWN

    down: Any = CARETDOWN
    some: dict[str, Any] = {"linewidth": 0, "color": GREY, "zorder": 3}
    axes.plot(x[~buried], z[~buried], marker=down, markersize=4, mew=0, **some)
    axes.plot(x[buried], z[buried], marker="o", markersize=4.5, mew=0.6, mec="white", **some)


def _area(x: Array, z: Array, scale: tuple[float, float]) -> float:
    """Return the area of points [square points] that neighbours leave free, from 9 to 90.

    Args:
        x: Coordinates along axes [m], (n,).
        z: Coordinates across [m], (n,).
        scale: Inches of a metre along the axes.
    """
    from scipy.spatial import cKDTree

    at = np.unique(np.round(np.column_stack([x, z]) * scale, 3), axis=0)
    if len(at) < 2:
        return 30.0
    apart = 72 * float(np.median(cKDTree(at).query(at, k=2)[0][:, 1]))
    return float(np.clip((0.95 * apart) ** 2, 9, 90))


def data_slice(
    axes: Axes, found: Description, part: int, colors: Colors, scale: tuple[float, float]
) -> ScalarMappable:
    """Draw the shallow or the deep half of the data as a map, at their electrodes' middles.

    Args:
        axes: Where.
        found: The survey.
        part: 0 for depths up to the median, 1 for those below.
        colors: The data's colours.
        scale: Inches of a metre along the axes, for the size of points.
    """
    finite = np.where(np.isfinite(found.depths), found.depths, 0.0)
    deep = finite > float(np.median(finite))
    here = deep if part and deep.any() else ~deep
    at = places(found)
    one, other = here & colors.shown, here & colors.crossed
    draw = {"cmap": COLORMAP, "norm": colors.norm, "linewidths": 0}
    area = _area(at[one, 0], at[one, 1], scale)
    drawn = axes.scatter(at[one, 0], at[one, 1], c=colors.values[one], s=area, **draw)
    axes.plot(at[other, 0], at[other, 1], "x", color=RED, markersize=4)
    axes.plot(*found.survey.electrodes[:, :2].T, "o", color=GREY, markersize=1, mew=0)
    depths = finite[here]
    title = f"depths {depths.min():.2g} to {depths.max():.2g} m" if len(depths) else ""
    axes.set(xlabel="$x_1$ [m]", ylabel="$x_2$ [m]", title=title)
    return drawn


def is_between_holes(found: Description, line: Profile) -> bool:
    """Return whether most data of a line have electrodes in boreholes: none but the highest."""
    numbers = found.survey.data[line.data]
    return bool((found.ground.buried[numbers] & (numbers >= 0)).any(axis=1).mean() > 0.5)


def _between_holes(axes: Axes, found: Description, line: Profile, colors: Colors) -> ScalarMappable:
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
        xlabel="$x_3$ of a and b, middle [m]",
        ylabel="$x_3$ of m and n, middle [m]",
        title=_title(found, line),
    )
    return drawn


def _title(found: Description, line: Profile) -> str:
    """Return the name of a line: where it starts, and its direction."""
    start = found.survey.electrodes[line.electrodes]
    first = start[line.along(start).argmin()]
    angle = np.degrees(np.arctan2(line.direction[1], line.direction[0])) + 0.0
    place = f"$x_1$ = {first[0]:g}, $x_2$ = {first[1]:g} m"
    return f"from {place}, at {angle:.0f}°: {len(line.data)} data"


def in_space(axes: Any, found: Description, colors: Colors) -> ScalarMappable:
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
    axes.set(xlabel="$x_1$ [m]", ylabel="$x_2$ [m]", zlabel="$x_3$ [m]")
    return drawn


def _legend(figure: Figure, found: Description, colors: Colors) -> None:
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
