"""The picture of CDR: the solution in the plane at several times, with sensors and sources."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence

import numpy as np

from surrogates.config import check
from surrogates.plots import style
from surrogates.types import Array

from ..figures import levels_of, panels, panels_size

_SYMBOLS = "o^sDv*"


def draw(
    points: Array,
    values: Array,
    path: str | os.PathLike[str],
    *,
    titles: Sequence[str] = (),
    label: str = "u",
    markers: Mapping[str, Array] | None = None,
    title: str = "",
) -> None:
    """Draw a solution in the plane as filled contours, one panel for each time.

    All panels share one colour scale.

    Args:
        points: Places of the values, (n, 2); triangulated here.
        values: (n,) or (n_panels, n).
        path: The figure.
        titles: Titles of the panels.
        label: Label of the colour scale, with its unit.
        markers: Places to mark, by name, such as ``{"sensors": (k, 2)}``.
        title: Title of the figure.

    Raises:
        InputError: If the sizes disagree, a value is not finite, there are fewer than 3 points, or
            the figure cannot be written.
    """
    every = np.atleast_2d(values)
    n = len(every)
    check(
        points.ndim == 2 and points.shape == (every.shape[1], 2),
        f"expected points (n, 2) for values {values.shape}; got {points.shape}",
    )
    check(len(points) >= 3, f"expected at least 3 points; got {len(points)}")
    check(bool(np.isfinite(values).all()), "cannot draw values that are not finite")
    check(len(titles) in (0, n), f"expected {n} titles; got {len(titles)}")
    marks = markers or {}
    symbols = list(itertools.islice(itertools.cycle(_SYMBOLS), len(marks)))
    width, height = panels_size(n)
    size = (width, height + (0.3 if marks else 0))
    with style.saved_figure(path, size, title, layout="compressed") as figure:
        from matplotlib.tri import Triangulation

        mesh = Triangulation(points[:, 0], points[:, 1])
        shown, levels = panels(figure, n), levels_of(every)
        for i, axes in enumerate(shown):
            drawn = axes.tricontourf(mesh, every[i], levels=levels, cmap=style.COLORMAP)
            for places, symbol in zip(marks.values(), symbols, strict=True):
                axes.plot(*places.T, symbol, mfc="white", mec="black", clip_on=False)
            axes.set_title(style.plain(titles[i]) if titles else "")
        figure.colorbar(drawn, ax=shown, label=style.plain(label), ticks=levels_of(every, 6))
        if marks:
            keys = [style.legend_key("black", "", marker=one, mfc="white") for one in symbols]
            style.legend_below(figure, keys, list(map(style.plain, marks)), 4)
