"""Learning curves: error against the number of samples."""

from __future__ import annotations

import os

from surrogates.types import Array

from .style import (
    BLUE,
    GREY,
    HEIGHT,
    RED,
    WIDTH,
    legend_below,
    legend_key,
    saved_figure,
    show_per_cent,
)


def planning(
    points: tuple[Array, Array, Array],
    band: tuple[Array, Array],
    path: str | os.PathLike[str],
    *,
    target: float,
    there: int,
    samples: tuple[float, float, float] | None = None,
    label: str = "error",
    title: str = "",
) -> None:
    """Draw measured errors, a fitted curve with its 90 % band, and the target.

    Args:
        points: Numbers of samples, errors, and deviations of their logarithms, (k,) each.
        band: Numbers of samples (m,), and low, median and high error there, (m, 3).
        path: The figure.
        target: The error that is asked for.
        there: Samples that are there.
        samples: low, median and high samples for the target; None if unknown.
        label: Of the errors' axis.
        title: Above the figure.

    Raises:
        InputError: If the figure cannot be written.
    """
    n, errors, deviations = points
    from numpy import exp

    with saved_figure(path, (0.75 * WIDTH, HEIGHT), title) as figure:
        axes = figure.subplots()
        at, quantiles = band
        axes.fill_between(at, quantiles[:, 0], quantiles[:, 2], color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(at, quantiles[:, 1], color=BLUE)
        spans = errors * (1 - exp(-deviations)), errors * (exp(deviations) - 1)
        axes.errorbar(n, errors, yerr=spans, fmt="o", color=BLUE, markersize=4, capsize=2)
        axes.axhline(target, color=RED)
        axes.axvline(there, color=GREY, linestyle="--")
        keys = [
            legend_key(BLUE, "", marker="o", markersize=4),
            legend_key(BLUE, "-"),
            legend_key(RED, "-"),
            legend_key(GREY, "--"),
        ]
        names = ["held-out errors", "curve with 90 % band", "target", "samples there"]
        if samples is not None:
            low, middle, high = samples
            axes.plot([low, high], [target, target], color=RED, linewidth=5, alpha=0.5)
            axes.plot([middle], [target], "o", color=RED, markersize=6)
            keys.append(legend_key(RED, "-", linewidth=5, alpha=0.5, marker="o", markersize=6))
            names.append("samples for it, 90 %")
        axes.set(xscale="log", yscale="log", xlabel="samples for training and validation")
        axes.set_ylabel(label)
        show_per_cent(axes.yaxis)
        legend_below(figure, keys, names, 5)
