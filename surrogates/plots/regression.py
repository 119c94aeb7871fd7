"""Predictions of a surrogate beside the observables, and their errors."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from surrogates.config import check
from surrogates.data import Info
from surrogates.errors import InputError
from surrogates.model.metrics import relative_errors
from surrogates.types import Array

from .style import (
    BLUE,
    COLORMAP,
    CYCLE,
    GREY,
    HEIGHT,
    RED,
    SKY,
    WIDTH,
    check_values,
    colors_for,
    draw_map,
    legend_below,
    legend_key,
    saved_figure,
    show_per_cent,
    with_unit,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Direction, x1 (n1,), x2 (n2,), and the observables' indices (n2, n1).
_Grid = tuple[float, Array, Array, npt.NDArray[np.intp]]


@dataclass(frozen=True)
class _Series:
    """The observables grouped by their place.

    Attributes:
        groups: Indices of the observables of each place.
        x: Abscissa of each observable.
        label: Label of the abscissa.
    """

    groups: Mapping[str, npt.NDArray[np.intp]]
    x: Array
    label: str

    @classmethod
    def of(cls, info: Info) -> _Series:
        """Make a time series of each place; without a time, one series of all observables."""
        time = info.coordinates.get("time")
        if time is None:
            n = len(info.c_names)
            return cls({"all": np.arange(n)}, np.arange(float(n)), "index of the observable")
        others = [name for name in sorted(info.coordinates) if name != "time"]
        places: dict[str, list[int]] = {}
        for i in range(len(time)):
            place = ", ".join(f"{info.coordinates[name][i]:.3g}" for name in others)
            places.setdefault(f"({place})", []).append(i)
        groups = {name: np.array(group) for name, group in places.items()}
        return cls(groups, np.asarray(time), "time")


def parity(
    prediction: Array,
    C: Array,
    path: str | os.PathLike[str],
    *,
    unit: str = "1",
    title: str = "",
) -> None:
    """Draw predicted against true observables, and the distribution of the samples' errors.

    Args:
        prediction: Predicted observables, (n, n_c).
        C: True observables, (n, n_c).
        path: The figure.
        unit: Unit of the observables, ``1`` for none.
        title: Above the figure.

    Raises:
        InputError: If the shapes differ, a value is not finite, the observables of a sample are
            all 0, or the figure cannot be written.
    """
    _check_same(prediction, C)
    errors = _errors(prediction, C)
    with saved_figure(path, (WIDTH, HEIGHT), title) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        low, high = min(C.min(), prediction.min()), max(C.max(), prediction.max())
        margin = 0.03 * ((high - low) or 1.0)
        ends = (low - margin, high + margin)
        left.plot(ends, ends, color=RED, linewidth=0.8, label="prediction = truth", zorder=3)
        bins = left.hexbin(
            C.ravel(),
            prediction.ravel(),
            gridsize=70,
            extent=(*ends, *ends),
            bins="log",
            mincnt=1,
            cmap=COLORMAP,
            linewidths=0.2,
        )
        left.set(
            xlim=ends,
            ylim=ends,
            aspect="equal",
            xlabel=with_unit("true observable", unit),
            ylabel=with_unit("predicted observable", unit),
        )
        left.legend(loc="upper left")
        figure.colorbar(bins, ax=left, label="values per cell", fraction=0.05)
        _draw_errors(right, errors, C.shape[1])


def observations(
    prediction: Array,
    C: Array,
    info: Info,
    path: str | os.PathLike[str],
    *,
    rows: Sequence[int] = (0, 1, 2, 3),
    mean: Array | None = None,
    title: str = "",
) -> None:
    """Draw predicted and true observables of a few samples.

    If there are coordinates ``direction``, ``x1`` and ``x2`` whose places form a full grid in each
    direction, the first two samples are drawn as maps: observed, predicted and their difference,
    one line for each direction. Otherwise each sample has one panel. With a coordinate ``time`` it
    shows a time series for each place, that is, for each set of other coordinates. Without it the
    observables are drawn in their order.

    Args:
        prediction: Predicted observables, (n, n_c).
        C: True observables, (n, n_c).
        info: Description of the dataset: coordinates and units.
        path: The figure.
        rows: Indices of the samples; those beyond n are left out.
        mean: Subtracted from both before they are drawn as maps, (n_c,), units of C: the mean of
            the training samples. Where the mean is large, it hides how samples differ. The title
            then has the relative errors with and without the mean.
        title: Above the figure.

    Raises:
        InputError: If the shapes differ, a value is not finite, the observables of a sample are
            all 0 or equal to the mean, there is no such row, or the figure cannot be written.
    """
    _check_same(prediction, C)
    check(C.shape[1] == len(info.c_names), f"expected {len(info.c_names)} observables")
    rows = [row for row in rows if 0 <= row < len(C)]
    check(bool(rows), f"there is no such sample among the {len(C)}")
    errors = _errors(prediction, C)
    titles = {row: f"sample {row}: relative error {_per_cent(errors[row])}" for row in rows}
    unit = info.c_units[0] if len(set(info.c_units)) == 1 else ""
    grids = _grids(info)
    if not grids:
        _draw_series(prediction, C, _Series.of(info), path, titles=titles, unit=unit, title=title)
        return
    rows = rows[:2]
    if mean is not None:
        check_values("a mean", mean, (C.shape[1],))
        centred = _errors(prediction, C, mean)
        for row in rows:
            titles[row] = (
                f"sample {row} minus the training mean: relative error {_per_cent(errors[row])}, "
                f"centred {_per_cent(centred[row])}"
            )
        prediction, C = prediction - mean, C - mean
    titles = {row: titles[row] for row in rows}
    _draw_maps(prediction, C, grids, path, titles=titles, unit=unit, title=title)


def _draw_series(
    prediction: Array,
    C: Array,
    series: _Series,
    path: str | os.PathLike[str],
    *,
    titles: Mapping[int, str],
    unit: str,
    title: str,
) -> None:
    """Draw the rows that have a title, one panel for each."""
    x, rows = series.x, list(titles)
    colors = list(itertools.islice(itertools.cycle(CYCLE), len(series.groups)))
    columns = min(2, len(rows))
    lines = -(-len(rows) // columns)
    with saved_figure(path, (WIDTH, max(HEIGHT, 2.6 * lines + 0.6)), title) as figure:
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes, row in zip(panels.flat, rows, strict=False):
            for group, color in zip(series.groups.values(), colors, strict=True):
                size = 4 if len(group) <= 100 else 1.5
                axes.plot(x[group], C[row, group], "o", color=color, markersize=size, mfc="none")
                axes.plot(x[group], prediction[row, group], color=color, linewidth=1.2)
            axes.set_title(titles[row])
            if row in rows[-columns:]:
                axes.set_xlabel(series.label)
                axes.tick_params(labelbottom=True)
        for axes in panels.flat[len(rows) :]:
            axes.set_visible(False)
        for axes in panels[:, 0]:
            axes.set_ylabel(with_unit("observable", unit))
        keys = [legend_key(GREY, "", marker="o", mfc="none"), legend_key(GREY, "-")]
        labels = ["true", "predicted"]
        if len(colors) > 1:
            keys += [legend_key(color, "-", linewidth=1.2) for color in colors]
            labels += series.groups
        legend_below(figure, keys, labels, 4)


def _draw_maps(
    prediction: Array,
    C: Array,
    grids: Sequence[_Grid],
    path: str | os.PathLike[str],
    *,
    titles: Mapping[int, str],
    unit: str,
    title: str,
) -> None:
    """Draw the rows that have a title: observed, predicted and difference, by direction."""
    factor, unit = (1e3, "mV") if unit == "V" else (1, unit)
    label = with_unit("", unit).strip()
    lines = len(grids) * len(titles)
    with saved_figure(path, (WIDTH, 2.5 * lines + 0.3 * len(titles) + 0.3), title) as figure:
        parts = figure.subfigures(len(titles), 1, squeeze=False)[:, 0]
        for part, (row, text) in zip(parts, titles.items(), strict=True):
            part.suptitle(text, fontsize=9)
            panels = part.subplots(len(grids), 3, sharex=True, sharey=True, squeeze=False)
            for line, (direction, x1, x2, indices) in zip(panels, grids, strict=True):
                true, predicted = factor * C[row, indices], factor * prediction[row, indices]
                shared, error = colors_for(true, predicted), predicted - true
                for axes, data, colors, what in (
                    (line[0], true, shared, "observed"),
                    (line[1], predicted, shared, "predicted"),
                    (line[2], error, colors_for(error, signed=True), "predicted - observed"),
                ):
                    draw_map(axes, x1, x2, data, colors, f"{what} along $x_{direction:g}$", label)
                line[0].set_ylabel("$x_2$")
            for axes in panels[-1]:
                axes.set_xlabel("$x_1$")


def _draw_errors(axes: Axes, errors: Array, n_outputs: int) -> None:
    """Draw a histogram of the samples' relative errors."""
    low, high = max(errors.min(), 1e-16), max(errors.max(), 2e-16)
    edges = np.geomspace(low, high * (1 + 1e-9), min(31, max(6, len(errors) // 6)))
    axes.hist(errors, edges.tolist(), color=SKY, edgecolor="white", linewidth=0.5)
    axes.axvline(errors.mean(), color=BLUE, label=f"mean {_per_cent(errors.mean())}")
    axes.set_xscale("log")
    show_per_cent(axes.xaxis)
    axes.set(
        xlabel=f"relative error of a sample ({n_outputs} observables)",
        ylabel=f"samples (of {len(errors)})",
    )
    stats = {"std": errors.std(), "min": errors.min(), "max": errors.max()}
    lines = [f"{name} {_per_cent(value)}" for name, value in stats.items()]
    axes.plot([], [], " ", label="\n".join(lines))
    axes.locator_params(axis="y", integer=True)
    axes.legend(loc="best")


def _grids(info: Info) -> list[_Grid]:
    """Order the observables of each direction as a map; none unless each fills its grid."""
    if not {"direction", "x1", "x2"} <= set(info.coordinates):
        return []
    directions = np.asarray(info.coordinates["direction"])
    grids = []
    for direction in np.unique(directions):
        chosen = np.flatnonzero(directions == direction)
        # Places on one line of the grid may differ by rounding.
        (x1, column), (x2, line) = (
            np.unique(np.round(info.coordinates[name][chosen], 9), return_inverse=True)
            for name in ("x1", "x2")
        )
        indices = np.full((len(x2), len(x1)), -1)
        indices[line, column] = chosen
        if min(indices.shape) < 2 or indices.size != len(chosen) or (indices < 0).any():
            return []
        grids.append((float(direction), x1, x2, indices))
    return grids


def _errors(prediction: Array, C: Array, mean: Array | None = None) -> Array:
    """Return the relative errors of the samples, after a mean is subtracted from both."""
    if mean is not None:
        prediction, C = prediction - mean, C - mean
    zero = (C == 0).all(axis=1)
    if zero.any():
        value = "0" if mean is None else "the mean's"
        raise InputError(
            f"sample {zero.argmax()} has no relative error: its observables are all {value}"
        )
    return relative_errors(torch.from_numpy(prediction), torch.from_numpy(C)).numpy()


def _per_cent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _check_same(prediction: Array, C: Array) -> None:
    """Check that predictions and observables have one shape and are finite."""
    same = prediction.shape == C.shape and C.ndim == 2 and len(C) > 0
    check(same, f"expected predictions of shape {C.shape}; got {prediction.shape}")
    for what, values in (("predictions", prediction), ("observables", C)):
        check(bool(np.isfinite(values).all()), f"cannot draw {what} that are not finite")
