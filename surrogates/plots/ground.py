"""Figures of the ground below a survey: maps of quantities on planes, electrodes, and data.

Maps have one scale for both axes. Panels are placed in inches, since maps of any shape stand above
one another: a line's sections are wide, those between boreholes are high.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.survey.describing import Description
from surrogates.survey.planes import Plane, near
from surrogates.survey.profiles import Profile
from surrogates.types import Array

from . import style
from .survey import (
    Colors,
    data_slice,
    draw_data,
    draw_electrodes,
    in_space,
    is_between_holes,
    places,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

Box = tuple[float, float, float, float]
"""Left, top, width and height of axes [inches] from the figure's upper left corner."""

_LEFT, _TITLE, _LABELS, _BAR = 0.72, 0.34, 0.5, 0.11
"""Room [inches] left of axes, above and below them, and the width of a colour bar."""
_WIDE = 6.25
"""Width of a section [inches] that has a page's width."""
_HIGH = 0.6
"""Height over width of a section from which sections stand side by side."""
_HIGHEST = 4.2
"""Largest height of a map [inches]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantity:
    """A quantity of the ground on planes.

    Attributes:
        name: Its name.
        label: Its name and unit, for the colour bar.
        maps: Its values at the pixels of each plane, (n2, n1) each; NaN outside the ground.
        colors: Colour map and range.
    """

    name: str
    label: str
    maps: Sequence[Array]
    colors: tuple[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """What a figure shows.

    Attributes:
        found: The survey.
        planes: The planes, those of `surrogates.survey.planes.planes`.
        quantities: Quantities on them.
        data: Whether the survey's data are drawn.
        body: Vertices (n, 3) [m] and triangles (m, 3) of a body's surface; None for none.
    """

    found: Description
    planes: Sequence[Plane]
    quantities: Sequence[Quantity]
    data: bool = True
    body: tuple[Array, Any] | None = None


def ground(view: View, path: str | os.PathLike[str], *, title: str = "") -> None:
    """Draw the ground below a survey.

    Args:
        view: What is drawn.
        path: The figure.
        title: Above the figure.

    Raises:
        InputError: If the figure cannot be written.
    """
    crossed = view.data and bool(Colors(view.found).crossed.any())
    page = _Page(view.found, crossed, top=0.32 if title else 0.05)
    if len(view.planes) > 1:
        _space(page, view)
    elif view.planes[0].ratio > _HIGH:
        _columns(page, view)
    else:
        _lines(page, view)
    size = style.WIDTH, page.top + 0.3
    with style.saved_figure(path, size, title, layout=None) as figure:
        page.draw(figure)


@dataclass
class _Page:
    """A figure that grows downwards.

    Attributes:
        found: The survey.
        crossed: Whether data are drawn as crosses.
        top: Height that is used so far [inches].
        todo: Axes and what is drawn there, in 3D or not.
    """

    found: Description
    crossed: bool
    top: float
    todo: list[tuple[Box, Callable[[Any], None], bool]] = field(default_factory=list)

    def add(self, box: Box, draw: Callable[[Any], None], space: bool = False) -> None:
        """Add axes to what is to be drawn."""
        self.todo.append((box, draw, space))

    def draw(self, figure: Figure) -> None:
        """Draw all, and below it what the marks mean."""
        width, height = figure.get_size_inches()
        for (left, top, wide, high), draw, space in self.todo:
            place = left / width, 1 - (top + high) / height, wide / width, high / height
            draw(figure.add_axes(place, projection="3d" if space else None))
        keys = [style.legend_key(style.GREY, "", marker="v", markersize=4)]
        labels = ["electrode"]
        buried = self.found.ground.buried
        if buried.any():
            dot = style.legend_key(style.GREY, "", marker="o", markersize=4, mec="white")
            keys, labels = (keys, labels) if not buried.all() else ([], [])
            keys, labels = [*keys, dot], [*labels, "buried electrode"]
        if self.crossed:
            keys.append(style.legend_key(style.RED, "", marker="x", markersize=5))
            labels.append("apparent resistivity not positive")
        where: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.0)}
        style.legend(figure, keys, labels, ncols=3, borderaxespad=0.3, **where)


def _lines(page: _Page, view: View) -> None:
    """Place sections of a line above one another, then the pseudosection."""
    plane, beside = view.planes[0], _LEFT + _WIDE + 0.15
    for quantity in view.quantities:
        high = _WIDE * plane.ratio
        page.top += _TITLE
        shown = _Map(view, quantity, 0)
        page.add((_LEFT, page.top, _WIDE, high), shown.draw)
        page.add((beside, page.top, _BAR, high), shown.bar)
        page.top += high + _LABELS
    if view.data:
        page.top += _TITLE
        data = _Data(view, (_WIDE, 1.7))
        page.add((_LEFT, page.top, _WIDE, 1.7), data.draw)
        page.add((beside, page.top, _BAR, 1.7), data.bar)
        page.top += 1.7 + _LABELS


def _columns(page: _Page, view: View) -> None:
    """Place high sections side by side, their colour bars below."""
    plane, shown = view.planes[0], list[_Map | _Data]()
    column = style.WIDTH / max(2, len(view.quantities) + view.data)
    wide = column - _LEFT - 0.1
    high = min(wide * plane.ratio, 1.3 * _HIGHEST)
    wide = high / plane.ratio
    shown += [_Map(view, quantity, 0) for quantity in view.quantities]
    shown += [_Data(view, (wide, high))] * view.data
    page.top += _TITLE
    left = (style.WIDTH - column * len(shown)) / 2
    for i, one in enumerate(shown):
        start = left + i * column + _LEFT
        page.add((start, page.top, wide, high), one.draw)
        page.add((start, page.top + high + _LABELS, wide, _BAR), one.bar)
    page.top += high + 2 * _LABELS + _BAR


def _space(page: _Page, view: View) -> None:
    """Place a survey in space and slices of its data, then a column of maps for each quantity."""
    level = view.planes[0]
    if view.data:
        wide = 1.75
        high = min(wide * level.ratio, _HIGHEST)
        wide, row = high / level.ratio, max(high, 1.6)
        page.top += _TITLE
        page.add((0.0, page.top - 0.3, 2.8, row + 0.6), _Space(view).draw, True)
        top = page.top + (row - high) / 2
        for part in (0, 1):
            shown = _Data(view, (wide, high), part)
            page.add((3.55 + 2.05 * part, top, wide, high), shown.draw)
        page.add((3.55 + 2.05 + wide + 0.12, top, _BAR, high), shown.bar)
        page.top += row + _LABELS
    column, tops = style.WIDTH / 2, []
    single = len(view.quantities) == 1
    for i, quantity in enumerate(view.quantities):
        start, top = i * column + _LEFT, page.top
        for j, plane in enumerate(view.planes):
            if single and j == 1:
                tops.append(top)
                start, top = column + _LEFT, page.top
            wide = column - _LEFT - 0.25
            high = min(wide * plane.ratio, _HIGHEST)
            shown_map = _Map(view, quantity, j)
            top += _TITLE
            page.add((start, top, high / plane.ratio, high), shown_map.draw)
            top += high + _LABELS
        page.add((start, top, wide, _BAR), shown_map.bar)
        tops.append(top + _BAR + _LABELS)
    page.top = max(tops)


class _Map:
    """A quantity on one plane, with the electrodes near it."""

    def __init__(self, view: View, quantity: Quantity, number: int) -> None:
        self._view, self._quantity, self._number = view, quantity, number

    def draw(self, axes: Axes) -> None:
        """Draw the map."""
        quantity, found = self._quantity, self._view.found
        plane = self._view.planes[self._number]
        first, second, _ = plane.pixels()
        name, norm = quantity.colors
        self._drawn = axes.pcolormesh(
            first,
            second,
            quantity.maps[self._number],
            shading="nearest",
            cmap=name,
            norm=norm,
            rasterized=True,
        )
        axes.grid(False)
        title = f"{quantity.name}, {plane.name}" if plane.name else quantity.name
        axes.set(xlabel=plane.labels[0], ylabel=plane.labels[1], title=title)
        electrodes, buried = found.survey.electrodes, found.ground.buried
        if plane.axes[1][2]:
            there = near(plane, electrodes)
            x, z = plane.place(electrodes[there]).T
            draw_electrodes(axes, x, z, buried[there])
        else:
            mark: dict[str, Any] = {"color": "black", "markersize": 2.6, "mew": 0.4, "mec": "white"}
            axes.plot(*plane.place(electrodes).T, "o", **mark)
        _limit(axes, plane)

    def bar(self, axes: Axes) -> None:
        """Draw the colour bar of the map, which is drawn."""
        _bar(axes, self._drawn, self._quantity.label)


class _Data:
    """The data: a pseudosection, or half of them by depth in a map."""

    def __init__(self, view: View, size: tuple[float, float], part: int | None = None) -> None:
        self._view, self._part = view, part
        plane, found = view.planes[0], view.found
        heights = places(found)[:, 2]
        heights = heights[np.isfinite(heights)]
        bottom = float(heights.min()) if len(heights) else float(plane.lower[1])
        self._low = bottom - 0.08 * (found.ground.top - bottom)
        width, height = plane.upper - plane.lower
        if part is None and plane.ratio <= _HIGH:
            height = plane.upper[1] - self._low
        self._scale = size[0] / width, size[1] / height
        self._colors: Colors | None = None

    def draw(self, axes: Axes) -> None:
        """Draw the data."""
        found, plane = self._view.found, self._view.planes[0]
        self._colors = Colors(found)
        if self._part is not None:
            self._drawn = data_slice(axes, found, self._part, self._colors, self._scale)
            _limit(axes, plane)
            if self._part:
                axes.set_ylabel("")
            return
        every = np.arange(len(found.survey.data))
        line = Profile(
            start=plane.origin[:2],
            direction=plane.axes[0][:2],
            data=every,
            electrodes=np.arange(len(found.survey.electrodes)),
        )
        self._drawn = draw_data(axes, found, line, self._colors, self._scale)
        axes.set_title(f"{len(every)} data")
        if is_between_holes(found, line):
            axes.set_aspect("auto")
        elif plane.ratio > _HIGH:
            _limit(axes, plane)
        else:
            axes.set(xlim=(plane.lower[0], plane.upper[0]), ylim=(self._low, plane.upper[1]))

    def bar(self, axes: Axes) -> None:
        """Draw the colour bar of the data, which are drawn."""
        assert self._colors is not None
        _bar(axes, self._drawn, self._colors.label)


class _Space:
    """The electrodes in space, with the body, or with the data if there is none."""

    def __init__(self, view: View) -> None:
        self._view = view

    def draw(self, axes: Any) -> None:
        """Draw them."""
        found, body = self._view.found, self._view.body
        if body is None:
            in_space(axes, found, Colors(found))
        else:
            vertices, triangles = body
            axes.plot_trisurf(
                *vertices.T, triangles=triangles, color=style.ORANGE, linewidth=0, alpha=0.8
            )
            axes.plot(*found.survey.electrodes.T, "o", color=style.GREY, markersize=1.8, mew=0)
            both = np.vstack([vertices, found.survey.electrodes])
            size = np.maximum(np.ptp(both, axis=0), 1e-3 * np.ptp(both))
            axes.set_box_aspect(size, zoom=1.0)
            axes.set(xlabel="$x_1$ [m]", ylabel="$x_2$ [m]", zlabel="$x_3$ [m]")
        axes.locator_params(nbins=4)
        axes.locator_params(axis="z", nbins=2)
        axes.tick_params(labelsize=7, pad=-1)
        for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
            axis.labelpad = 0
        axes.zaxis.labelpad = -7


def _limit(axes: Axes, plane: Plane) -> None:
    """Set the limits to those of a plane, with one scale."""
    (x0, z0), (x1, z1) = plane.lower, plane.upper
    axes.set(xlim=(x0, x1), ylim=(z0, z1), aspect="equal")


def _bar(axes: Axes, drawn: ScalarMappable, label: str) -> None:
    """Draw a colour bar along the longer side of axes, with as many ticks as fit."""
    box = axes.get_window_extent()
    flat = box.width > box.height
    inches = max(box.width, box.height) / axes.figure.dpi
    if not flat and 0.075 * len(label) > inches:
        label = label.replace(" [", "\n[")
    bar = axes.figure.colorbar(
        drawn, cax=axes, orientation="horizontal" if flat else "vertical", label=label
    )
    style.round_bar(bar, int(np.clip(inches / (0.5 if flat else 0.25), 2, 7)))
