"""Errors of a classifier: its confusion matrix, and the reliability of its probabilities."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from surrogates.config import check

from .style import (
    BLUE,
    COLORMAP,
    GREY,
    HEIGHT,
    SKY,
    WIDTH,
    check_values,
    plain,
    saved_figure,
)

if TYPE_CHECKING:
    from surrogates.model.summaries import Assessment

_NUMBERED = 30  # classes up to which numbers are written into a confusion matrix


def confusion(
    counts: npt.ArrayLike,
    class_names: Sequence[str],
    path: str | os.PathLike[str],
    *,
    title: str = "",
) -> None:
    """Draw a confusion matrix: each row has the predicted classes of one true class.

    Shares are in per cent. Shares up to 0.5 % are left blank, and so are all beyond 30 classes. A
    class without samples has an empty row.

    Args:
        counts: Samples by true class (row) and predicted class (column), (n_classes, n_classes).
        class_names: Names of the classes, (n_classes,).
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
    cells = (0.34 if numbered else 0.17) * n  # inches; a letter takes 0.08
    width = cells + 0.08 * max(map(len, labels)) + 1.8
    size = (max(WIDTH, width), max(HEIGHT, cells + 0.08 * max(map(len, names)) + 0.7))
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
    """Draw how often the predicted class is right, against its predicted probability.

    A sample counts as right to the extent of the true probability of the predicted class.

    Args:
        assessment: From `surrogates.model.classifier.assess`.
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
    with saved_figure(path, (WIDTH, HEIGHT), title) as figure:
        left, right = figure.subplots(1, 2)
        left.bar(middles, accuracies, widths, color=SKY, edgecolor="white", label="accuracy")
        left.plot((0, 1), (0, 1), color=GREY, linewidth=0.8, label="calibrated")
        left.plot(confidences, accuracies, "o", color=BLUE, markersize=4, label="mean of the bin")
        error = f"{assessment.calibration_error:.1%}".replace("%", " %")
        left.set(ylim=(0, 1.02), ylabel="share classified rightly")
        left.set_title(f"expected calibration error {error}")
        left.legend(loc="upper left")
        right.bar(middles, samples, widths, color=GREY, edgecolor="white")
        right.set_ylabel(f"samples (of {assessment.samples})")
        right.locator_params(axis="y", integer=True)
        for axes in (left, right):
            axes.set(xlim=(0, 1), xlabel="largest probability")
        for axis in (left.xaxis, right.xaxis, left.yaxis):
            axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
