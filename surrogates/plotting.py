"""Figures: training history, parity, observations, PDE solutions.

Each function writes one file, whole or not at all; the ending (.png, .pdf, .svg) is the format.
Colours are those of Okabe and Ito (2008), and cividis, which colour-blind readers can tell apart.
Matplotlib is imported when the first figure is drawn, and its pyplot interface never.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .config import check
from .dataset import Array, Info
from .errors import InputError
from .files import atomic, check_writable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_ENDINGS = (".png", ".pdf", ".svg")
_DPI = 150
_BLUE, _ORANGE, _GREEN, _PURPLE, _SKY, _RED, _GREY = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"),
    "#666666",
)
_CYCLE = (_BLUE, _RED, _GREEN, _PURPLE, _ORANGE, _SKY)
_SYMBOLS = "o^sDv*"
_MAP = "cividis"
_STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e5e5",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "surrogates",
}


def history(
    records_by_label: Mapping[str, Sequence[Any]], path: str | os.PathLike[str], *, title: str = ""
) -> None:
    """Draw loss and relative error of training runs against work units.

    Solid lines are training samples, dashed ones validation samples; a dot on a line is the start
    of a level.

    Args:
        records_by_label: For each run its records in order, objects or mappings with ``level``,
            ``work_units``, ``train_loss``, ``validation_loss``, ``train_error`` and
            ``validation_error``.
        path: The figure.
        title: Above it.

    Raises:
        InputError: If there is no record, or the figure cannot be written.
    """
    runs = {label: records for label, records in records_by_label.items() if len(records)}
    check(bool(runs), "the history is empty")
    multilevel = any(_column(records, "level").max() > 0 for records in runs.values())
    with _figure(path, (8.4, 3.7), title) as figure:
        for axes, quantity, label in zip(
            figure.subplots(1, 2),
            ("loss", "error"),
            ("loss (of scaled observables)", "mean relative error"),
            strict=True,
        ):
            for (name, records), color in zip(runs.items(), _cycle(), strict=False):
                work = _column(records, "work_units")
                level = _column(records, "level")
                starts = [i for i in range(len(level)) if i == 0 or level[i] != level[i - 1]]
                for part, dashes in (("train", "-"), ("validation", (0, (3, 1.5)))):
                    axes.plot(
                        work,
                        _column(records, f"{part}_{quantity}"),
                        linestyle=dashes,
                        color=color,
                        alpha=1 if part == "train" else 0.85,
                        marker="o",
                        markersize=4,
                        markevery=starts if multilevel else [],
                        label=name if part == "train" else None,
                    )
            axes.set(xlabel="work units (one forward and backward pass: 2)", ylabel=label)
            axes.set_yscale("log")
            axes.margins(x=0.02)
            if quantity == "error":
                _show_per_cent(axes.yaxis)
        several = len(runs) > 1
        styles = [_key(_GREY if several else _BLUE, dashes) for dashes in ("-", "--")]
        labels = ["training", "validation"]
        if several:
            handles, names = axes.get_legend_handles_labels()
            styles, labels = handles + styles, names + labels
        if multilevel:
            styles.append(_key(_GREY, "", marker="o", markersize=4))
            labels.append("start of a level")
        figure.legend(styles, labels, loc="outside lower center", ncols=6)


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
    errors = _relative_errors(prediction, C)
    with _figure(path, (8.4, 3.9), title) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        low, high = min(C.min(), prediction.min()), max(C.max(), prediction.max())
        margin = 0.03 * ((high - low) or 1.0)
        ends = (low - margin, high + margin)
        left.plot(ends, ends, color=_RED, linewidth=0.8, label="prediction = truth", zorder=3)
        bins = left.hexbin(
            C.ravel(),
            prediction.ravel(),
            gridsize=70,
            extent=(*ends, *ends),
            bins="log",
            mincnt=1,
            cmap=_MAP,
            linewidths=0.2,
        )
        left.set(
            xlim=ends,
            ylim=ends,
            aspect="equal",
            xlabel=_with_unit("true observable", unit),
            ylabel=_with_unit("predicted observable", unit),
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
    title: str = "",
) -> None:
    """Draw predicted and true observables of a few samples, one panel each.

    With a coordinate ``time``, each place (the other coordinates together) is a time series.
    Otherwise the observables are drawn in their order.

    Args:
        prediction: Predicted observables, (n, n_c).
        C: True observables, (n, n_c).
        info: What the dataset is: coordinates and units.
        path: The figure.
        rows: Which samples; those beyond n are left out.
        title: Above the figure.

    Raises:
        InputError: If the shapes differ, a value is not finite, the observables of a sample are
            all 0, there is no such row, or the figure cannot be written.
    """
    _check_same(prediction, C)
    check(C.shape[1] == len(info.c_names), f"expected {len(info.c_names)} observables")
    rows = [row for row in rows if 0 <= row < len(C)]
    check(bool(rows), f"there is no such sample among the {len(C)}")
    errors = _relative_errors(prediction, C)
    groups, x, xlabel = _series(info)
    columns = min(2, len(rows))
    lines = -(-len(rows) // columns)
    with _figure(path, (4.2 * columns, 2.6 * lines + 0.6), title) as figure:
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes, row in zip(panels.flat, rows, strict=False):
            for (label, group), color in zip(groups.items(), _cycle(), strict=False):
                size = 4 if len(group) <= 100 else 1.5
                axes.plot(x[group], C[row, group], "o", color=color, markersize=size, mfc="none")
                axes.plot(x[group], prediction[row, group], color=color, label=label, linewidth=1.2)
            axes.set_title(f"sample {row}: relative error {errors[row]:.2%}".replace("%", " %"))
            if row in rows[-columns:]:
                axes.set_xlabel(xlabel)
                axes.tick_params(labelbottom=True)
        for axes in panels.flat[len(rows) :]:
            axes.set_visible(False)
        unit = info.c_units[0] if len(set(info.c_units)) == 1 else ""
        for axes in panels[:, 0]:
            axes.set_ylabel(_with_unit("observable", unit))
        handles, labels = panels[0, 0].get_legend_handles_labels()
        handles = [_key(_GREY, "", marker="o", mfc="none"), _key(_GREY, "-"), *handles]
        labels = ["true", "predicted", *labels]
        if len(groups) == 1:
            handles, labels = handles[:2], labels[:2]
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4))


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
    with _figure(path, size, title, layout="compressed") as figure:
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        levels = _round_levels(low, high)
        for i, axes in enumerate(panels.flat):
            if i >= n_panels:
                axes.set_visible(False)
                continue
            drawn = axes.tricontourf(*points.T, panels_of_values[i], levels=levels, cmap=_MAP)
            for places, symbol in zip((markers or {}).values(), _SYMBOLS, strict=False):
                axes.plot(*places.T, symbol, mfc="white", mec="black", clip_on=False)
            axes.set(aspect="equal", title=titles[i] if titles else "")
            axes.grid(False)
            if i >= n_panels - columns:
                axes.set_xlabel("$x_1$")
                axes.tick_params(labelbottom=True)
            if i % columns == 0:
                axes.set_ylabel("$x_2$")
        figure.colorbar(drawn, ax=panels, label=label, ticks=_round_levels(low, high, 6))
        if markers:
            handles = [
                _key("black", "", marker=symbol, mfc="white")
                for _, symbol in zip(markers, _SYMBOLS, strict=False)
            ]
            figure.legend(handles, list(markers), loc="outside lower center", ncols=4)


@contextmanager
def _figure(
    path: str | os.PathLike[str],
    size: tuple[float, float],
    title: str,
    layout: Literal["constrained", "compressed"] = "constrained",
) -> Iterator[Figure]:
    """Give an empty figure of a size in inches, and write it when the block succeeds."""
    ending = Path(path).suffix.lower()
    check(ending in _ENDINGS, f"cannot draw {path}: the known endings are {', '.join(_ENDINGS)}")
    check_writable(path)
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("plots need matplotlib: pip install varpro-surrogates[plots]") from error
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout=layout)
        if title:
            figure.suptitle(title, fontsize=10)
        yield figure
        buffer = io.BytesIO()  # its writers report a full disk each in words of their own
        figure.savefig(buffer, format=ending[1:], dpi=_DPI)
        with atomic(path) as beside:
            beside.write_bytes(buffer.getvalue())


def _draw_errors(axes: Axes, errors: Array, n_outputs: int) -> None:
    low, high = max(errors.min(), 1e-16), max(errors.max(), 2e-16)
    edges = np.geomspace(low, high * (1 + 1e-9), min(31, max(6, len(errors) // 6)))
    axes.hist(errors, edges.tolist(), color=_SKY, edgecolor="white", linewidth=0.5)
    axes.axvline(errors.mean(), color=_BLUE, label=f"mean {errors.mean():.2%}".replace("%", " %"))
    axes.set_xscale("log")
    _show_per_cent(axes.xaxis)
    axes.set(
        xlabel=f"relative error of a sample ({n_outputs} observables)",
        ylabel=f"samples (of {len(errors)})",
    )
    stats = f"std {errors.std():.2%}\nmin {errors.min():.2%}\nmax {errors.max():.2%}"
    axes.plot([], [], " ", label=stats.replace("%", " %"))
    axes.locator_params(axis="y", integer=True)
    axes.legend(loc="best")


def _series(info: Info) -> tuple[dict[str, Any], Array, str]:
    """Group the observables into series by their place: indices, abscissa, its label."""
    time = info.coordinates.get("time")
    if time is None:
        n = len(info.c_names)
        return {"all": np.arange(n)}, np.arange(float(n)), "index of the observable"
    others = [name for name in sorted(info.coordinates) if name != "time"]
    places: dict[str, list[int]] = {}
    for i in range(len(time)):
        place = ", ".join(f"{info.coordinates[name][i]:.3g}" for name in others)
        places.setdefault(f"({place})", []).append(i)
    return {name: np.array(group) for name, group in places.items()}, np.asarray(time), "time"


def _relative_errors(prediction: Array, C: Array) -> Array:
    norms: Array = np.linalg.norm(C, axis=1)
    if (norms == 0).any():
        raise InputError(
            f"sample {norms.argmin()} has no relative error: its observables are all 0"
        )
    errors: Array = np.linalg.norm(prediction - C, axis=1) / norms
    return errors


def _check_same(prediction: Array, C: Array) -> None:
    same = prediction.shape == C.shape and C.ndim == 2 and len(C) > 0
    check(same, f"expected predictions of shape {C.shape}; got {prediction.shape}")
    for what, values in (("predictions", prediction), ("observables", C)):
        check(bool(np.isfinite(values).all()), f"cannot draw {what} that are not finite")


def _column(records: Sequence[Any], name: str) -> Array:
    values = (r[name] if isinstance(r, Mapping) else getattr(r, name) for r in records)
    return np.array([float(value) for value in values])


def _cycle() -> tuple[str, ...]:
    return _CYCLE * 20


def _with_unit(text: str, unit: str) -> str:
    return text if unit in ("", "1") else f"{text} [{unit}]"


def _key(color: str, linestyle: str, **style: Any) -> Line2D:
    """Make a line for a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, linestyle=linestyle, **style)


def _round_levels(low: float, high: float, intervals: int = 40) -> Array:
    """Divide a range at round numbers, which reach beyond its ends."""
    from matplotlib.ticker import MaxNLocator

    return np.asarray(MaxNLocator(intervals).tick_values(low, high))


def _show_per_cent(axis: Axis) -> None:
    """Label a logarithmic axis in per cent, at 1, 2, 5 where it spans few decades."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 150 * low else (1,)))
    axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axis.set_minor_formatter(NullFormatter())
