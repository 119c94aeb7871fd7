"""Figures of PDE solutions: fields in the plane, and samples of a resistivity survey."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from surrogates.config import check
from surrogates.types import Array

from .style import (
    BLUE,
    COLORMAP,
    GREY,
    ORANGE,
    RED,
    SIGNED_MAP,
    check_values,
    colors_for,
    draw_map,
    finish_map,
    legend_below,
    legend_key,
    plain,
    round_levels,
    saved_figure,
)

_SYMBOLS = "o^sDv*"


def field(
    points: Array,
    values: Array,
    path: str | os.PathLike[str],
    *,
    titles: Sequence[str] = (),
    label: str = "u",
    markers: Mapping[str, Array] | None = None,
    title: str = "",
) -> None:
    """Draw a solution in the plane as filled contours, one panel for each time or case.

    All panels share one colour scale.

    Args:
        points: Where the values are, (n, 2); triangulated here.
        values: (n,) or (n_panels, n).
        path: The figure.
        titles: Of the panels.
        label: Of the colour scale, with its unit.
        markers: Places to mark by what they are, such as ``{"sensors": (k, 2)}``.
        title: Above the figure.

    Raises:
        InputError: If the sizes disagree, a value is not finite, there are fewer than 3 points, or
            the figure cannot be written.
    """
    panels_of_values = np.atleast_2d(values)
    n_panels = len(panels_of_values)
    check(
        points.ndim == 2 and points.shape == (panels_of_values.shape[1], 2),
        f"expected points (n, 2) for values {values.shape}; got {points.shape}",
    )
    check(len(points) >= 3, f"expected at least 3 points; got {len(points)}")
    check(bool(np.isfinite(values).all()), "cannot draw values that are not finite")
    check(len(titles) in (0, n_panels), f"expected {n_panels} titles; got {len(titles)}")
    columns = min(n_panels, 4)
    lines = -(-n_panels // columns)
    low, high = float(panels_of_values.min()), float(panels_of_values.max())
    high = high if high > low else low + 1
    size = (2.6 * columns + 1.3, 2.7 * lines + 0.5 + (0.3 if markers else 0))
    symbols = list(itertools.islice(itertools.cycle(_SYMBOLS), len(markers or {})))
    with saved_figure(path, size, title, layout="compressed") as figure:
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        levels = round_levels(low, high)
        for i, axes in enumerate(panels.flat):
            if i >= n_panels:
                axes.set_visible(False)
                continue
            drawn = axes.tricontourf(*points.T, panels_of_values[i], levels=levels, cmap=COLORMAP)
            for places, symbol in zip((markers or {}).values(), symbols, strict=True):
                axes.plot(*places.T, symbol, mfc="white", mec="black", clip_on=False)
            axes.set(aspect="equal", title=plain(titles[i]) if titles else "")
            axes.grid(False)
            if i >= n_panels - columns:
                axes.set_xlabel("$x_1$")
                axes.tick_params(labelbottom=True)
            if i % columns == 0:
                axes.set_ylabel("$x_2$")
        figure.colorbar(drawn, ax=panels, label=plain(label), ticks=round_levels(low, high, 6))
        if markers:
            keys = [legend_key("black", "", marker=symbol, mfc="white") for symbol in symbols]
            legend_below(figure, keys, list(map(plain, markers)), 4)


def resistivity(
    path: str | os.PathLike[str],
    *,
    box: Sequence[Sequence[float]],
    body: Mapping[str, Any],
    section: Mapping[str, Array],
    maps: Mapping[str, Array],
    title: str = "",
) -> None:
    """Draw one sample of a survey: the body, a vertical section, and the potential differences.

    The potential's colours end at its percentiles 1 and 99, for it is singular at the electrodes.

    Args:
        path: The figure.
        box: The region around the body that is drawn in 3D: low and high of each axis, (3, 2) [m].
            Stations and electrodes beside it are left out.
        body: ``vertices`` (k, 3) [m] and ``triangles`` (m, 3), indices of vertices, of its surface;
            ``stations`` (n, 3) and ``electrodes`` (2, 3), their places [m].
        section: ``x1`` (p,) and ``x3`` (q,) [m], increasing; ``conductivity`` (q, p) [S/m] and
            ``potential`` (q, p) [V], blank where NaN.
        maps: ``x1`` (n1,) and ``x2`` (n2,) [m], increasing; ``values`` (2, n2, n1) [V], the
            potential differences along x1 and along x2, and ``anomaly`` (2, n2, n1) [V], these
            minus those without the body.
        title: Above the figure.

    Raises:
        InputError: If an array is missing, unknown or of the wrong shape, a value is not finite, a
            conductivity is not positive, or the figure cannot be written.
    """
    limits = np.asarray(box, dtype=np.float64)
    check_values("a box", limits, (3, 2))
    check(bool((limits[:, 0] < limits[:, 1]).all()), f"expected low < high in the box; got {box}")
    vertices, triangles, stations, electrodes = _parts(
        "body", body, ("vertices", "triangles", "stations", "electrodes")
    )
    for what, places in (("vertices", vertices), ("triangles", triangles), ("stations", stations)):
        check_values(what, places, (max(1, len(np.atleast_1d(places))), 3))
    check_values("electrodes", electrodes, (2, 3))
    check(
        triangles.dtype.kind in "iu"
        and bool(((triangles >= 0) & (triangles < len(vertices))).all()),
        f"expected triangles of integers from 0 to {len(vertices) - 1}",
    )
    x1, x3, conductivity, potential = _parts(
        "section", section, ("x1", "x3", "conductivity", "potential")
    )
    shape = _check_grid("section", x1=x1, x3=x3)
    check_values("a conductivity", conductivity, shape)
    check(bool((conductivity > 0).all()), "expected a conductivity > 0")
    defined = ~np.isnan(potential)
    check(bool(defined.any()), "the potential is NaN everywhere")
    check_values("a potential", np.where(defined, potential, 0), shape)
    places1, places2, values, anomaly = _parts("maps", maps, ("x1", "x2", "values", "anomaly"))
    shape = _check_grid("maps", x1=places1, x2=places2)
    check_values("values", values, (2, *shape))
    check_values("an anomaly", anomaly, (2, *shape))
    with saved_figure(path, (11, 6), title) as figure:
        from matplotlib.colors import LogNorm

        top, bottom = figure.subfigures(2, 1, height_ratios=(1.1, 1))
        # The layout does not see the labels of x3, on the right of the 3D view: a column for them.
        left, _, middle, right = top.add_gridspec(1, 4, width_ratios=(1.3, 0.4, 1, 1))
        _draw_body(
            top.add_subplot(left, projection="3d", computed_zorder=False),
            limits,
            vertices,
            triangles,
            stations,
            electrodes,
        )
        middle, right = top.add_subplot(middle), top.add_subplot(right)
        low, high = float(conductivity.min()), float(conductivity.max())
        colors = (COLORMAP, LogNorm(low, high if high > low else 10 * low))
        draw_map(middle, x1, x3, conductivity, colors, "conductivity", "[S/m]")
        _draw_potential(right, x1, x3, potential)
        for axes in (middle, right):
            axes.set(xlabel="$x_1$ [m]", ylabel="$x_3$ [m]")
            axes.locator_params(nbins=5)
        panels = bottom.subplots(1, 4, sharex=True, sharey=True)
        names = [f"{what} along $x_{i}$" for what in (r"$\Delta V$", "anomaly") for i in (1, 2)]
        for axes, data, name in zip(panels, (*values, *anomaly), names, strict=True):
            data = 1e3 * data
            draw_map(axes, places1, places2, data, colors_for(data), name, "[mV]")
            axes.set_xlabel("$x_1$ [m]")
        panels[0].set_ylabel("$x_2$ [m]")


def _draw_potential(axes: Any, x: Array, y: Array, potential: Array) -> None:
    """Draw contours whose colours are symmetric about 0 and end at the percentiles 1 and 99."""
    limit = float(np.abs(np.nanpercentile(potential, (1, 99))).max()) or 1.0
    levels = round_levels(-limit, limit, 20)
    drawn = axes.contourf(x, y, potential, levels=levels, cmap=SIGNED_MAP, extend="both")
    axes.contour(drawn, levels=levels, colors=GREY, linewidths=0.4, linestyles="solid")
    ticks = round_levels(-limit, limit, 4)
    finish_map(axes, drawn, "potential", "[V]", ticks[np.abs(ticks) <= levels[-1]])


def _draw_body(
    axes: Any,  # of the projection 3d, which publishes no types
    limits: Array,
    vertices: Array,
    triangles: Array,
    stations: Array,
    electrodes: Array,
) -> None:
    """Draw the body under the stations and electrodes of the box."""
    axes.plot_trisurf(*vertices.T, triangles=triangles, color=ORANGE, linewidth=0, zorder=1)
    for places, name, color, size in (
        (stations, "stations", BLUE, 1.5),
        (electrodes, "electrodes", RED, 5),
    ):
        inside = ((limits[:2, 0] <= places[:, :2]) & (places[:, :2] <= limits[:2, 1])).all(axis=1)
        if inside.any():
            axes.plot(
                *places[inside].T, "o", color=color, markersize=size, mew=0, label=name, zorder=2
            )
    axes.set(xlim=limits[0], ylim=limits[1], zlim=limits[2])
    axes.set(xlabel="$x_1$ [m]", ylabel="$x_2$ [m]", zlabel="$x_3$ [m]")
    axes.zaxis.labelpad = 5
    axes.set_box_aspect(limits[:, 1] - limits[:, 0])
    axes.locator_params(nbins=4)
    axes.locator_params(axis="z", nbins=3)
    handles, labels = axes.get_legend_handles_labels()
    handles, labels = [legend_key(ORANGE, "", marker="s"), *handles], ["body", *labels]
    axes.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)


def _check_grid(what: str, **axes: Array) -> tuple[int, ...]:
    """Check a grid's two axes, and give the shape of the values on it: the first axis is last."""
    for name, x in axes.items():
        good = x.ndim == 1 and len(x) > 1 and bool((np.diff(x) > 0).all())
        check(good, f"expected at least 2 increasing {name} of the {what}; got shape {x.shape}")
        check_values(f"{name} of the {what}", x, x.shape)
    return tuple(len(x) for x in axes.values())[::-1]


def _parts(what: str, given: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """Take the arrays of a mapping, which must be those named."""
    expected, got = (", ".join(sorted(keys)) for keys in (names, given))
    check(expected == got, f"expected for {what}: {expected}; got {got}")
    return [np.asarray(given[name]) for name in names]
