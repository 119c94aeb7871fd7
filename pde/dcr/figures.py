"""The picture of DCR: the body in space, a vertical section, and maps of the observables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.config import check
from surrogates.plots import style
from surrogates.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure


def draw(
    path: str | os.PathLike[str],
    *,
    box: Sequence[Sequence[float]],
    body: Mapping[str, Any],
    section: Mapping[str, Array],
    maps: Mapping[str, Array],
    title: str = "",
) -> None:
    """Draw one sample of a survey: the body, a vertical section, and the potential differences.

    The potential's colours end at its percentiles 1 and 99, as it is singular at the electrodes.

    Args:
        path: The figure.
        box: The region around the body that is drawn in 3D: low and high of each axis, (3, 2) [m].
            Stations and electrodes outside it are left out.
        body: ``vertices`` (k, 3) [m] and ``triangles`` (m, 3), indices of vertices, of its surface;
            ``stations`` (n, 3) and ``electrodes`` (2, 3), their places [m].
        section: ``x1`` (p,) and ``x3`` (q,) [m], increasing; ``conductivity`` (q, p) [S/m] and
            ``potential`` (q, p) [V], blank where NaN.
        maps: ``x1`` (n1,) and ``x2`` (n2,) [m], increasing; ``values`` (2, n2, n1) [V], the
            potential differences along x1 and along x2, and ``anomaly`` (2, n2, n1) [V], these
            minus those without the body.
        title: Title of the figure.

    Raises:
        InputError: If an array is missing, unknown or of the wrong shape, a value is not finite, a
            conductivity is not positive, or the figure cannot be written.
    """
    limits = np.asarray(box, dtype=np.float64)
    style.check_values("a box", limits, (3, 2))
    check(bool((limits[:, 0] < limits[:, 1]).all()), f"expected low < high in the box; got {box}")
    of_body, of_section, of_maps = _body(body), _section(section), _maps(maps)
    with style.saved_figure(path, (style.WIDTH, 8.2), title) as figure:
        top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.7))
        # The layout ignores the labels of x3 on the right of the 3D view: they get a column.
        grid = top.add_gridspec(2, 3, width_ratios=(1.3, 0.3, 1))
        view = top.add_subplot(grid[:, 0], projection="3d", computed_zorder=False)
        _draw_body(view, limits, *of_body)
        _draw_section((top.add_subplot(grid[0, 2]), top.add_subplot(grid[1, 2])), *of_section)
        _draw_maps(bottom, *of_maps)


def _body(body: Mapping[str, Any]) -> list[Any]:
    """Return vertices, triangles, stations and electrodes, checked."""
    names = ("vertices", "triangles", "stations", "electrodes")
    vertices, triangles, stations, electrodes = found = _parts("body", body, names)
    for what, places in (("vertices", vertices), ("triangles", triangles), ("stations", stations)):
        style.check_values(what, places, (max(1, len(np.atleast_1d(places))), 3))
    style.check_values("electrodes", electrodes, (2, 3))
    check(
        triangles.dtype.kind in "iu"
        and bool(((triangles >= 0) & (triangles < len(vertices))).all()),
        f"expected triangles of integers from 0 to {len(vertices) - 1}",
    )
    return found


def _section(section: Mapping[str, Array]) -> list[Any]:
    """Return x1, x3, conductivity and potential, checked."""
    names = ("x1", "x3", "conductivity", "potential")
    x1, x3, conductivity, potential = found = _parts("section", section, names)
    shape = _check_grid("section", x1=x1, x3=x3)
    style.check_values("a conductivity", conductivity, shape)
    check(bool((conductivity > 0).all()), "expected a conductivity > 0")
    defined = ~np.isnan(potential)
    check(bool(defined.any()), "the potential is NaN everywhere")
    style.check_values("a potential", np.where(defined, potential, 0), shape)
    return found


def _maps(maps: Mapping[str, Array]) -> list[Any]:
    """Return x1, x2, values and anomaly, checked."""
    x1, x2, values, anomaly = found = _parts("maps", maps, ("x1", "x2", "values", "anomaly"))
    shape = _check_grid("maps", x1=x1, x2=x2)
    style.check_values("values", values, (2, *shape))
    style.check_values("an anomaly", anomaly, (2, *shape))
    return found


def _draw_section(
    panels: tuple[Axes, Axes], x1: Array, x3: Array, conductivity: Array, potential: Array
) -> None:
    """Draw conductivity and potential on a vertical section."""
    from matplotlib.colors import LogNorm

    left, right = panels
    low, high = float(conductivity.min()), float(conductivity.max())
    colors = (style.COLORMAP, LogNorm(low, high if high > low else 10 * low))
    style.draw_map(left, x1, x3, conductivity, colors, "conductivity", "[S/m]")
    _draw_potential(right, x1, x3, potential)
    for axes in panels:
        axes.set(xlabel="$x_1$ [m]", ylabel="$x_3$ [m]")
        axes.locator_params(nbins=5)


def _draw_maps(figure: SubFigure, x1: Array, x2: Array, values: Array, anomaly: Array) -> None:
    """Draw the potential differences along x1 and x2, and their anomalies, as maps."""
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    names = [f"{what} along $x_{i}$" for what in (r"$\Delta V$", "anomaly") for i in (1, 2)]
    for axes, volts, name in zip(panels.flat, (*values, *anomaly), names, strict=True):
        data = 1e3 * volts
        style.draw_map(axes, x1, x2, data, style.colors_for(data), name, "[mV]")
    for axes in panels[1]:
        axes.set_xlabel("$x_1$ [m]")
    for axes in panels[:, 0]:
        axes.set_ylabel("$x_2$ [m]")


def _draw_potential(axes: Axes, x: Array, y: Array, potential: Array) -> None:
    """Draw contours whose colours are symmetric about 0 and end at the percentiles 1 and 99."""
    limit = float(np.abs(np.nanpercentile(potential, (1, 99))).max()) or 1.0
    levels = style.round_levels(-limit, limit, 20)
    drawn = axes.contourf(x, y, potential, levels=levels, cmap=style.SIGNED_MAP, extend="both")
    axes.contour(drawn, levels=levels, colors=style.GREY, linewidths=0.4, linestyles="solid")
    ticks = style.round_levels(-limit, limit, 4)
    style.finish_map(axes, drawn, "potential", "[V]", ticks[np.abs(ticks) <= levels[-1]])


def _draw_body(
    axes: Any,  # of the projection 3d, which has no types
    limits: Array,
    vertices: Array,
    triangles: Array,
    stations: Array,
    electrodes: Array,
) -> None:
    """Draw the body under the stations and electrodes of the box."""
    axes.plot_trisurf(*vertices.T, triangles=triangles, color=style.ORANGE, linewidth=0, zorder=1)
    for places, name, color, size in (
        (stations, "stations", style.BLUE, 1.5),
        (electrodes, "electrodes", style.RED, 5),
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
    body = style.legend_key(style.ORANGE, "", marker="s")
    axes.legend(
        [body, *handles], ["body", *labels], loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3
    )


def _check_grid(what: str, **axes: Array) -> tuple[int, ...]:
    """Check the two axes of a grid, and return the shape of values on it: the first axis last."""
    for name, x in axes.items():
        good = x.ndim == 1 and len(x) > 1 and bool((np.diff(x) > 0).all())
        check(good, f"expected at least 2 increasing {name} of the {what}; got shape {x.shape}")
        style.check_values(f"{name} of the {what}", x, x.shape)
    return tuple(len(x) for x in axes.values())[::-1]


def _parts(what: str, given: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """Return the arrays of a mapping in the order of the names, which must be all its keys."""
    expected, got = (", ".join(sorted(keys)) for keys in (names, given))
    check(expected == got, f"expected for {what}: {expected}; got {got}")
    return [np.asarray(given[name]) for name in names]
