"""Figures: training history, parity, observations, confusion and reliability.

Each function writes one file, whole or not at all; the ending (.png, .pdf, .svg) is the format.
Colours are those of Okabe and Ito (2008), cividis, and red and blue for values of both signs, which
colour-blind readers can tell apart.

A figure depends on its data and on matplotlib's release alone: matplotlib's defaults and the style
below hold while it is drawn, whatever a matplotlibrc or MPLBACKEND says, and it bears no date.
Names of users are plain text (`plain`), and every name is in its legend (`legend`).
Matplotlib is imported when the first figure is drawn, and its pyplot interface never.
"""

from __future__ import annotations

import io
import itertools
import logging
import os
import sys
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from surrogates.config import check
from surrogates.data.dataset import Array, Info
from surrogates.errors import InputError
from surrogates.files import atomic, check_writable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D

    from surrogates.model.classifier import Assessment

_log = logging.getLogger(__name__)

# By ending: what matplotlib would write of its own into the file, and that changes by the clock.
_ENDINGS: dict[str, dict[str, Any]] = {
    ".png": {},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}
_DPI = 150
BLUE, ORANGE, GREEN, PURPLE, SKY, RED, GREY = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"),
    "#666666",
)
CYCLE = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)
COLORMAP = "cividis"
SIGNED_MAP = "RdBu_r"
# Direction, x1 (n1,), x2 (n2,), and the observables' indices (n2, n1).
_Grid = tuple[float, Array, Array, npt.NDArray[np.intp]]
_HISTORY_LABELS = {
    "": ("loss", "error (mean relative, or misclassified)"),
    "regression": ("loss (of scaled observables)", "mean relative error"),
    "classification": ("mean cross-entropy", "misclassified"),
}
_FONT = "DejaVu Sans"  # which matplotlib brings
_STAND_IN = "\N{REPLACEMENT CHARACTER}"
_DRAWING = threading.Lock()
_LONGEST = 60  # characters of a name in a figure
_NUMBERED = 30  # classes up to which a confusion matrix has its numbers written in
_STYLE: dict[str, Any] = {
    "font.family": _FONT,
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
    records_by_label: Mapping[str, Sequence[Any]],
    path: str | os.PathLike[str],
    *,
    against: Literal["work", "time"] = "work",
    task: Literal["", "regression", "classification"] = "",
    title: str = "",
) -> None:
    """Draw loss and error of training runs against work units, or wall time.

    Solid lines are training samples, dashed ones validation samples; a dot on a line is the start
    of a level.

    Args:
        records_by_label: For each run its records in order, objects or mappings with ``level``,
            ``work_units`` or ``seconds``, ``train_loss``, ``validation_loss``, ``train_error``
            and ``validation_error``.
        path: The figure.
        against: What the horizontal axis is: work units, or seconds on a logarithmic axis, since
            one method's iteration may take a thousand times as long as another's.
        task: Of the runs, for the labels of loss and error; histories do not tell it.
        title: Above it.

    Raises:
        InputError: If there is no record, or the figure cannot be written.
    """
    runs = {label: records for label, records in records_by_label.items() if len(records)}
    check(bool(runs), "the history is empty")
    multilevel = any(_column(records, "level").max() > 0 for records in runs.values())
    column, xlabel = {
        "work": ("work_units", "work units (one forward and backward pass: 2)"),
        "time": ("seconds", "seconds"),
    }[against]
    with saved_figure(path, (8.4, 3.7), title) as figure:
        for axes, quantity, label in zip(
            figure.subplots(1, 2),
            ("loss", "error"),
            _HISTORY_LABELS[task],
            strict=True,
        ):
            for records, color in zip(runs.values(), itertools.cycle(CYCLE), strict=False):
                x = _column(records, column)
                level = _column(records, "level")
                starts = [i for i in range(len(level)) if i == 0 or level[i] != level[i - 1]]
                for part, dashes in (("train", "-"), ("validation", (0, (3, 1.5)))):
                    axes.plot(
                        x,
                        _column(records, f"{part}_{quantity}"),
                        linestyle=dashes,
                        color=color,
                        alpha=1 if part == "train" else 0.85,
                        marker="o" if multilevel else "",
                        markersize=4,
                        markevery=starts,
                    )
            axes.set(xlabel=xlabel, ylabel=label)
            logarithmic = any(np.max(line.get_ydata()) > 0 for line in axes.lines)
            if logarithmic:  # or no sample is misclassified, ever
                axes.set_yscale("log")
            axes.margins(x=0.02)
            if against == "time":
                axes.set_xscale("log")
            if quantity == "error" and logarithmic:
                _show_per_cent(axes.yaxis)
        several = len(runs) > 1
        keys = [legend_key(GREY if several else BLUE, dashes) for dashes in ("-", "--")]
        labels = ["training", "validation"]
        if several:
            colors = itertools.islice(itertools.cycle(CYCLE), len(runs))
            keys = [legend_key(color, "-") for color in colors] + keys
            labels = [*map(plain, runs), *labels]
        if multilevel:
            keys.append(legend_key(GREY, "", marker="o", markersize=4))
            labels.append("start of a level")
        legend_below(figure, keys, labels, 6)


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
    with saved_figure(path, (8.4, 3.9), title) as figure:
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
    mean: Array | None = None,
    title: str = "",
) -> None:
    """Draw predicted and true observables of a few samples.

    With coordinates ``direction``, ``x1`` and ``x2`` whose places form a full grid in each
    direction, the first two samples are drawn as maps: observed, predicted and their difference,
    one line for each direction. Otherwise each sample has one panel: with a coordinate ``time``,
    each place (the other coordinates together) is a time series, and without it the observables
    are drawn in their order.

    Args:
        prediction: Predicted observables, (n, n_c).
        C: True observables, (n, n_c).
        info: What the dataset is: coordinates and units.
        path: The figure.
        rows: Which samples; those beyond n are left out.
        mean: What to subtract from both before they are drawn as maps, (n_c,), units of C: the
            mean of the training samples, which hides what differs among samples where it is large.
            The relative error is then given both of the observables and of what is left of them.
        title: Above the figure.

    Raises:
        InputError: If the shapes differ, a value is not finite, the observables of a sample are
            all 0 or all the mean's, there is no such row, or the figure cannot be written.
    """
    _check_same(prediction, C)
    check(C.shape[1] == len(info.c_names), f"expected {len(info.c_names)} observables")
    rows = [row for row in rows if 0 <= row < len(C)]
    check(bool(rows), f"there is no such sample among the {len(C)}")
    errors = _relative_errors(prediction, C)
    titles = {row: f"sample {row}: relative error {errors[row]:.2%}" for row in rows}
    unit = info.c_units[0] if len(set(info.c_units)) == 1 else ""
    if grids := _grids(info):
        rows = rows[:2]
        if mean is not None:
            check_values("a mean", mean, (C.shape[1],))
            centred = _relative_errors(prediction, C, mean)
            titles = {
                row: f"sample {row} minus the training mean: relative error {errors[row]:.2%}, "
                f"centred {centred[row]:.2%}"
                for row in rows
            }
            prediction, C = prediction - mean, C - mean
        titles = {row: titles[row].replace("%", " %") for row in rows}
        _observation_maps(prediction, C, grids, path, titles=titles, unit=unit, title=title)
        return
    groups, x, xlabel = _series(info)
    colors = list(itertools.islice(itertools.cycle(CYCLE), len(groups)))
    columns = min(2, len(rows))
    lines = -(-len(rows) // columns)
    with saved_figure(path, (4.2 * columns, 2.6 * lines + 0.6), title) as figure:
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes, row in zip(panels.flat, rows, strict=False):
            for group, color in zip(groups.values(), colors, strict=True):
                size = 4 if len(group) <= 100 else 1.5
                axes.plot(x[group], C[row, group], "o", color=color, markersize=size, mfc="none")
                axes.plot(x[group], prediction[row, group], color=color, linewidth=1.2)
            axes.set_title(titles[row].replace("%", " %"))
            if row in rows[-columns:]:
                axes.set_xlabel(xlabel)
                axes.tick_params(labelbottom=True)
        for axes in panels.flat[len(rows) :]:
            axes.set_visible(False)
        for axes in panels[:, 0]:
            axes.set_ylabel(_with_unit("observable", unit))
        keys = [legend_key(GREY, "", marker="o", mfc="none"), legend_key(GREY, "-")]
        labels = ["true", "predicted"]
        if len(groups) > 1:
            keys += [legend_key(color, "-", linewidth=1.2) for color in colors]
            labels += groups
        legend_below(figure, keys, labels, 4)


def confusion(
    counts: npt.ArrayLike,
    class_names: Sequence[str],
    path: str | os.PathLike[str],
    *,
    title: str = "",
) -> None:
    """Draw a confusion matrix: of the samples of each true class, the shares of the predicted ones.

    Shares are in per cent; those up to a half are left blank, and all of them beyond 30 classes. A
    class without samples has an empty row.

    Args:
        counts: Samples by true class (row) and predicted one (column), (n_classes, n_classes).
        class_names: Of the classes, (n_classes,).
        path: The figure.
        title: Above the figure.

    Raises:
        InputError: If the sizes disagree, a count is negative or not finite, all are 0, or the
            figure cannot be written.
    """
    counts = np.asarray(counts, dtype=np.float64)
    names = [plain(name) for name in class_names]
    n = len(names)
    check_values("counts", counts, (n, n))
    totals = counts.sum(axis=1, keepdims=True)
    check(bool((counts >= 0).all() and (counts > 0).any()), "expected counts >= 0, not all 0")
    shares = 100 * counts / np.where(totals > 0, totals, np.nan)
    numbered = n <= _NUMBERED
    labels = [f"{name} ({total:g})" for name, total in zip(names, totals[:, 0], strict=True)]
    cells = max(1.8, (0.34 if numbered else 0.17) * n)  # inches, and 0.08 for a letter
    width = cells + 0.08 * max(map(len, labels)) + 1.8
    size = (width, cells + 0.08 * max(map(len, names)) + 0.7)
    with saved_figure(path, size, title, layout="compressed") as figure:
        from matplotlib.colors import PowerNorm

        axes = figure.add_subplot()
        image = axes.imshow(shares, cmap=COLORMAP, norm=PowerNorm(0.5, 0, 100))
        axes.set_xticks(range(n), names, rotation=90)
        axes.set_yticks(range(n), labels)
        axes.grid(False)
        axes.tick_params(length=0)
        axes.set(xlabel="predicted class", ylabel="true class (samples)")
        bar = figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.04)
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        for row, column in np.argwhere(shares > 0.5) if numbered else ():
            share = shares[row, column]
            color = "black" if share > 30 else "white"
            axes.text(column, row, f"{share:.0f}", color=color, ha="center", va="center", size=7)


def reliability(assessment: Assessment, path: str | os.PathLike[str], *, title: str = "") -> None:
    """Draw how often the predicted class is right against the probability that it was given.

    A class is right to the extent of its true probability.

    Args:
        assessment: Of `surrogates.model.classifier.assess`.
        path: The figure.
        title: Above the figure.

    Raises:
        InputError: If the figure cannot be written.
    """
    bins = [bin for bin in assessment.reliability if bin.samples]
    middles, widths, accuracies, confidences, samples = (
        np.array(values, dtype=np.float64)
        for values in zip(
            *(
                ((b.lower + b.upper) / 2, b.upper - b.lower, b.accuracy, b.confidence, b.samples)
                for b in bins
            ),
            strict=True,
        )
    )
    with saved_figure(path, (4.6, 5.2), title) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.bar(middles, accuracies, widths, color=SKY, edgecolor="white", label="accuracy")
        above.plot((0, 1), (0, 1), color=GREY, linewidth=0.8, label="calibrated")
        above.plot(confidences, accuracies, "o", color=BLUE, markersize=4, label="mean of the bin")
        error = f"{assessment.calibration_error:.1%}".replace("%", " %")
        above.set(
            xlim=(0, 1),
            ylim=(0, 1.02),
            ylabel="share classified rightly",
            title=f"expected calibration error {error}",
        )
        above.legend(loc="upper left")
        below.bar(middles, samples, widths, color=GREY, edgecolor="white")
        below.set(xlabel="largest probability", ylabel=f"samples (of {assessment.samples})")
        below.locator_params(axis="y", nbins=4, integer=True)
        for axis in (above.xaxis, above.yaxis):
            axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")


@contextmanager
def saved_figure(
    path: str | os.PathLike[str],
    size: tuple[float, float],
    title: str,
    layout: Literal["constrained", "compressed"] = "constrained",
) -> Iterator[Figure]:
    """Yield an empty figure of a size in inches, and write it when the block succeeds.

    Until then matplotlib's settings are its defaults with this module's style. The caller's
    settings, backend and open figures stay as they are. The settings are of the whole process: the
    figures of several threads are drawn one after the other, and a thread that uses matplotlib
    otherwise meanwhile has this module's style.
    """
    ending = Path(path).suffix.lower()
    check(ending in _ENDINGS, f"cannot draw {path}: the known endings are {', '.join(_ENDINGS)}")
    check_writable(path)
    _import_matplotlib()
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _DRAWING, style.context(["default", _STYLE]):
        figure = Figure(figsize=size, layout=layout)
        FigureCanvasAgg(figure)
        if title:
            figure.suptitle(plain(title, 160), fontsize=10)
        yield figure
        buffer = io.BytesIO()  # its writers report a full disk each in words of their own
        figure.savefig(buffer, format=ending[1:], dpi=_DPI, metadata=_ENDINGS[ending])
        with atomic(path) as beside:
            beside.write_bytes(buffer.getvalue())


def _import_matplotlib() -> None:
    """Import matplotlib, whatever backend MPLBACKEND names: none that is missing stops a figure.

    The caller's choice of a backend stays for figures of their own.
    """
    if sys.modules.get("matplotlib"):
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    except ImportError as error:
        raise InputError("plots need matplotlib: pip install varpro-surrogates[plots]") from error
    except (OSError, ValueError) as error:
        raise InputError(f"matplotlib cannot read its settings (matplotlibrc): {error}") from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):  # it names no backend
            matplotlib.rcParams["backend"] = backend


@cache
def _glyphs() -> frozenset[int]:
    """Return the characters that the font of figures has."""
    _import_matplotlib()
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties(family=_FONT))).get_charmap())


def plain(name: str, longest: int = _LONGEST) -> str:
    r"""Return a name as matplotlib draws it: as it is, on one line, and no mathematics.

    A dollar sign is written as ``\$``. A stand-in is drawn for each character that the font lacks
    or that would not be seen, with a warning, and long names are cut short.
    """
    text = " ".join(unicodedata.normalize("NFC", name).split())
    if len(text) > longest:
        text = f"{text[: longest - 1]}…"
    drawable = "".join(
        letter if ord(letter) in _glyphs() and unicodedata.category(letter)[0] != "C" else _STAND_IN
        for letter in text
    )
    if drawable != text:
        _log.warning("the figures' font lacks characters of %a: drawn as %s", text, drawable)
    return drawable.replace("$", r"\$")


def legend(
    owner: Axes | Figure, handles: Sequence[Any], labels: Sequence[str], **options: Any
) -> Legend:
    """Draw a legend that shows every label; matplotlib's own leaves out those like ``_a``."""
    drawn: Legend = owner.legend(handles, ["-"] * len(labels), **options)
    for text, label in zip(drawn.get_texts(), labels, strict=True):
        text.set_text(label)
    return drawn


def legend_below(
    figure: Figure, handles: Sequence[Any], labels: Sequence[str], columns: int
) -> None:
    """Draw a legend below the panels, in as many columns as fit; many lines make it higher."""
    width, height = figure.get_size_inches()
    letters = max(map(len, labels))  # of 0.08 inches, beside a handle
    columns = max(1, min(columns, int(width / (0.08 * letters + 0.55))))
    lines = -(-len(labels) // columns)
    figure.set_size_inches(width, height + 0.18 * max(0, lines - 3))
    legend(figure, handles, labels, loc="outside lower center", ncols=columns)


def _observation_maps(
    prediction: Array,
    C: Array,
    grids: Sequence[_Grid],
    path: str | os.PathLike[str],
    *,
    titles: Mapping[int, str],
    unit: str,
    title: str,
) -> None:
    """Draw the rows that have a title: observed, predicted, difference for each direction."""
    factor, unit = (1e3, "mV") if unit == "V" else (1, unit)
    label = _with_unit("", unit).strip()
    lines = len(grids) * len(titles)
    with saved_figure(path, (9.4, 2.7 * lines + 0.3 * len(titles) + 0.3), title) as figure:
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


def draw_map(
    axes: Axes,
    x: Array,
    y: Array,
    values: Array,
    colors: tuple[str, Normalize],
    title: str,
    label: str,
) -> None:
    """Draw values (n_y, n_x), each as a cell around its place (x, y), and their colour bar."""
    from matplotlib.colors import LogNorm

    name, norm = colors
    cells = axes.pcolormesh(x, y, values, shading="nearest", cmap=name, norm=norm, rasterized=True)
    # Ticks that depend on the bar's length would move after the layout has made room for them.
    ticks = None if isinstance(norm, LogNorm) else round_levels(*cells.get_clim(), 5)
    finish_map(axes, cells, title, label, ticks)


def finish_map(
    axes: Axes, drawn: ScalarMappable, title: str, label: str, ticks: Array | None
) -> None:
    """Set the title of a map and draw its colour bar."""
    axes.grid(False)
    axes.set(aspect="equal", title=title)
    beside = axes.inset_axes((1.04, 0, 0.05, 1))  # as high as the map, whatever its aspect
    axes.figure.colorbar(drawn, cax=beside, label=label, ticks=ticks)
    beside.grid(False)


def _draw_errors(axes: Axes, errors: Array, n_outputs: int) -> None:
    low, high = max(errors.min(), 1e-16), max(errors.max(), 2e-16)
    edges = np.geomspace(low, high * (1 + 1e-9), min(31, max(6, len(errors) // 6)))
    axes.hist(errors, edges.tolist(), color=SKY, edgecolor="white", linewidth=0.5)
    axes.axvline(errors.mean(), color=BLUE, label=f"mean {errors.mean():.2%}".replace("%", " %"))
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


def _grids(info: Info) -> list[_Grid]:
    """Order the observables of each direction as a map, empty unless each fills its grid."""
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


def colors_for(*values: Array, signed: bool = False) -> tuple[str, Normalize]:
    """Give colours for all the values: symmetric about 0 if their sign changes or ``signed``."""
    from matplotlib.colors import Normalize

    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    if signed or low < 0 < high:
        limit = max(-low, high) or 1.0
        return SIGNED_MAP, Normalize(-limit, limit)
    return COLORMAP, Normalize(low, high if high > low else low + 1)


def _relative_errors(prediction: Array, C: Array, mean: Array | None = None) -> Array:
    norms: Array = np.linalg.norm(C if mean is None else C - mean, axis=1)
    if (norms == 0).any():
        value = "0" if mean is None else "the mean's"
        raise InputError(
            f"sample {norms.argmin()} has no relative error: its observables are all {value}"
        )
    errors: Array = np.linalg.norm(prediction - C, axis=1) / norms
    return errors


def _check_same(prediction: Array, C: Array) -> None:
    same = prediction.shape == C.shape and C.ndim == 2 and len(C) > 0
    check(same, f"expected predictions of shape {C.shape}; got {prediction.shape}")
    for what, values in (("predictions", prediction), ("observables", C)):
        check(bool(np.isfinite(values).all()), f"cannot draw {what} that are not finite")


def check_values(what: str, values: Array, shape: tuple[int, ...]) -> None:
    """Check the shape of an array, and that its values are finite."""
    check(values.shape == shape, f"expected {what} of shape {shape}; got {values.shape}")
    check(bool(np.isfinite(values).all()), f"cannot draw {what}: a value is not finite")


def _column(records: Sequence[Any], name: str) -> Array:
    values = (r[name] if isinstance(r, Mapping) else getattr(r, name) for r in records)
    return np.array([float(value) for value in values])


def _with_unit(text: str, unit: str) -> str:
    return text if unit in ("", "1") else f"{text} [{plain(unit)}]"


def legend_key(color: str, linestyle: str, **style: Any) -> Line2D:
    """Make a line for a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, linestyle=linestyle, **style)


def round_levels(low: float, high: float, intervals: int = 40) -> Array:
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
