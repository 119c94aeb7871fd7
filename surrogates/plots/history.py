"""The course of trainings."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from surrogates.config import check
from surrogates.types import Array

from .style import (
    BLUE,
    CYCLE,
    GREY,
    HEIGHT,
    WIDTH,
    legend_below,
    legend_key,
    plain,
    saved_figure,
    show_per_cent,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_AXES = {
    "work": ("work_units", "work units (one forward and backward pass: 2)"),
    "time": ("seconds", "seconds"),
}
_LABELS = {
    "": ("loss", "error (mean relative, or misclassified)"),
    "regression": ("loss (of scaled observables)", "mean relative error"),
    "classification": ("mean cross-entropy", "misclassified"),
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

    Solid lines are for training samples, dashed lines for validation samples. A dot on a line is
    the start of a level.

    Args:
        records_by_label: The records of each run in order, objects or mappings with ``level``,
            ``work_units`` or ``seconds``, ``train_loss``, ``validation_loss``, ``train_error``
            and ``validation_error``.
        path: The figure.
        against: The horizontal axis: work units, or seconds. Seconds are on a logarithmic axis,
            since an iteration of one method may take a thousand times as long as one of another.
        task: The task of the runs, for the labels of loss and error; histories do not hold it.
        title: Above the figure.

    Raises:
        InputError: If there is no record, or the figure cannot be written.
    """
    runs = {label: records for label, records in records_by_label.items() if len(records)}
    check(bool(runs), "the history is empty")
    multilevel = any(_column(records, "level").max() > 0 for records in runs.values())
    column, xlabel = _AXES[against]
    with saved_figure(path, (WIDTH, HEIGHT), title) as figure:
        panels = zip(figure.subplots(1, 2), ("loss", "error"), _LABELS[task], strict=True)
        for axes, quantity, ylabel in panels:
            for records, color in zip(runs.values(), itertools.cycle(CYCLE), strict=False):
                _draw_run(axes, records, column, quantity, color, multilevel=multilevel)
            axes.set(xlabel=xlabel, ylabel=ylabel)
            axes.margins(x=0.02)
            if against == "time":
                axes.set_xscale("log")
            if any(np.max(line.get_ydata()) > 0 for line in axes.lines):
                axes.set_yscale("log")  # not if no sample is ever misclassified
                if quantity == "error":
                    show_per_cent(axes.yaxis)
        legend_below(figure, *_legend(list(runs), multilevel=multilevel), 6)


def _draw_run(
    axes: Axes,
    records: Sequence[Any],
    column: str,
    quantity: str,
    color: str,
    *,
    multilevel: bool,
) -> None:
    """Draw one quantity of a run: a line for training samples and one for validation samples."""
    level = _column(records, "level")
    starts = [i for i in range(len(level)) if i == 0 or level[i] != level[i - 1]]
    for part, dashes, alpha in (("train", "-", 1.0), ("validation", (0, (3, 1.5)), 0.85)):
        axes.plot(
            _column(records, column),
            _column(records, f"{part}_{quantity}"),
            linestyle=dashes,
            color=color,
            alpha=alpha,
            marker="o" if multilevel else "",
            markersize=4,
            markevery=starts,
        )


def _legend(names: Sequence[str], *, multilevel: bool) -> tuple[list[Line2D], list[str]]:
    """Return the keys and labels of a legend: the runs if there are several, and the lines."""
    several = len(names) > 1
    keys = [legend_key(GREY if several else BLUE, dashes) for dashes in ("-", "--")]
    labels = ["training", "validation"]
    if several:
        colors = itertools.islice(itertools.cycle(CYCLE), len(names))
        keys = [legend_key(color, "-") for color in colors] + keys
        labels = [*map(plain, names), *labels]
    if multilevel:
        keys.append(legend_key(GREY, "", marker="o", markersize=4))
        labels.append("start of a level")
    return keys, labels


def _column(records: Sequence[Any], name: str) -> Array:
    """Return one entry of all records."""
    values = (r[name] if isinstance(r, Mapping) else getattr(r, name) for r in records)
    return np.array([float(value) for value in values])
