"""The course of a run of `surrogates.learn`: its error against its solves."""

from __future__ import annotations

import os
from collections.abc import Sequence

from surrogates.config import check

from .style import BLUE, GREY, HEIGHT, ORANGE, WIDTH, legend_below, saved_figure, show_per_cent


def learning(
    solves: Sequence[int],
    errors: Sequence[tuple[float, float, float]],
    target: float,
    path: str | os.PathLike[str],
    *,
    left: int = -1,
    label: str = "error",
    title: str = "",
) -> None:
    """Draw measured errors with their intervals against the number of solves.

    Args:
        solves: Solves at each measurement, n of them.
        errors: Lower limit, error and upper limit of each, > 0 but for lower limits.
        target: The error to reach.
        path: The figure.
        left: The measurement of the surrogate that is left.
        label: What the error is.
        title: Above the figure.

    Raises:
        InputError: If there is nothing to draw, or the figure cannot be written.
    """
    check(len(solves) > 0, "there are no errors to draw")
    with saved_figure(path, (WIDTH, HEIGHT), title) as figure:
        axes = figure.subplots()
        values = [value for _, value, _ in errors]
        low = [value - max(lower, 1e-3 * value) for lower, value, _ in errors]
        high = [upper - value for _, value, upper in errors]
        bars = axes.errorbar(
            solves, values, yerr=[low, high], fmt="o-", color=BLUE, capsize=3, markersize=4
        )
        line = axes.axhline(target, color=ORANGE, linestyle="--")
        last = axes.plot(
            [solves[left]], [values[left]], "o", color=GREY, markersize=9, fillstyle="none"
        )
        axes.set(xlabel="solves", ylabel=label, yscale="log")
        if max(solves) > 3 * min(solves):
            axes.set_xscale("log")
        show_per_cent(axes.yaxis)
        keys = [bars, line, last[0]]
        legend_below(figure, keys, ["error, 90 % interval", "target", "the surrogate left"], 3)
