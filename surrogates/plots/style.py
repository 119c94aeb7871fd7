"""The size and style of all figures, and the common parts of their panels.

Colours are those of Okabe and Ito (2008), cividis, and red and blue for values of both signs.
Colour-blind readers can distinguish them.

A figure depends only on its data and on matplotlib's release. While it is drawn, matplotlib's
defaults and the style below hold, whatever a matplotlibrc or MPLBACKEND says. It bears no date.
Names that users chose are drawn as plain text (`plain`), and every name is in its legend
(`legend`). Matplotlib is imported when the first figure is drawn; its pyplot interface never is.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.files import atomic, check_writable
from surrogates.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D

_log = logging.getLogger(__name__)

# By ending: metadata that matplotlib would write, and that change with the time of day.
_ENDINGS: dict[str, dict[str, Any]] = {
    ".png": {},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}
_DPI = 150
WIDTH = 8.4
"""Width of every figure in inches, except one whose contents do not fit."""
HEIGHT = 3.8
"""Height in inches of a figure with one row of panels."""
BLUE, ORANGE, GREEN, PURPLE, SKY, RED, GREY = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"),
    "#666666",
)
CYCLE = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)
COLORMAP = "cividis"
SIGNED_MAP = "RdBu_r"
_FONT = "DejaVu Sans"  # a part of matplotlib
_STAND_IN = "\N{REPLACEMENT CHARACTER}"
_DRAWING = threading.Lock()
_LONGEST = 60  # characters of a name in a figure
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


@contextmanager
def saved_figure(
    path: str | os.PathLike[str],
    size: tuple[float, float],
    title: str,
    layout: Literal["constrained", "compressed"] | None = "constrained",
) -> Iterator[Figure]:
    """Yield an empty figure of a size in inches, and write it when the block succeeds.

    In the block, matplotlib's settings are its defaults with this module's style. The caller's
    settings, backend and open figures stay as they are. As matplotlib's settings belong to the
    whole process, figures of several threads are drawn one after the other; a thread that uses
    matplotlib by other means meanwhile has this module's style.
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
        buffer = io.BytesIO()  # on a full disk, each writer of matplotlib has its own error
        figure.savefig(buffer, format=ending[1:], dpi=_DPI, metadata=_ENDINGS[ending])
        with atomic(path) as beside:
            beside.write_bytes(buffer.getvalue())


def _import_matplotlib() -> None:
    """Import matplotlib, even if MPLBACKEND names a backend that is missing.

    Figures here need no backend. The caller's choice is kept for figures of their own.
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
    r"""Return a name as text that matplotlib draws on one line, without mathematics.

    A dollar sign becomes ``\$``. A character that the font lacks, or that cannot be seen, becomes a
    stand-in, with a warning. Long names are cut.
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
    """Draw a legend that shows every label; matplotlib itself leaves out labels like ``_a``."""
    drawn: Legend = owner.legend(handles, ["-"] * len(labels), **options)
    for text, label in zip(drawn.get_texts(), labels, strict=True):
        text.set_text(label)
    return drawn


def legend_below(
    figure: Figure, handles: Sequence[Any], labels: Sequence[str], columns: int
) -> None:
    """Draw a legend below the panels, in at most ``columns`` columns, as many as fit.

    A legend of many lines makes the figure higher.
    """
    width, height = figure.get_size_inches()
    letters = max(map(len, labels))  # each 0.08 inches wide, after a handle
    columns = max(1, min(columns, int(width / (0.08 * letters + 0.55))))
    lines = -(-len(labels) // columns)
    figure.set_size_inches(width, height + 0.18 * max(0, lines - 3))
    legend(figure, handles, labels, loc="outside lower center", ncols=columns)


def draw_map(
    axes: Axes,
    x: Array,
    y: Array,
    values: Array,
    colors: tuple[str, Normalize],
    title: str,
    label: str,
) -> None:
    """Draw values (n_y, n_x) as a map, each as a cell around its place (x, y)."""
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
    beside = axes.inset_axes((1.04, 0, 0.05, 1))  # as high as the map, for any aspect
    axes.figure.colorbar(drawn, cax=beside, label=label, ticks=ticks)
    beside.grid(False)


def colors_for(*values: Array, signed: bool = False) -> tuple[str, Normalize]:
    """Return the colour map and the range for all the values.

    The range is symmetric about 0 if ``signed``, or if the values change their sign.
    """
    from matplotlib.colors import Normalize

    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    if signed or low < 0 < high:
        limit = max(-low, high) or 1.0
        return SIGNED_MAP, Normalize(-limit, limit)
    return COLORMAP, Normalize(low, high if high > low else low + 1)


def check_values(what: str, values: Array, shape: tuple[int, ...]) -> None:
    """Check the shape of an array, and that its values are finite."""
    check(values.shape == shape, f"expected {what} of shape {shape}; got {values.shape}")
    check(bool(np.isfinite(values).all()), f"cannot draw {what}: a value is not finite")


def with_unit(text: str, unit: str) -> str:
    """Return a label with its unit; ``1`` and an empty unit are left out."""
    return text if unit in ("", "1") else f"{text} [{plain(unit)}]"


def legend_key(color: str, linestyle: str, **style: Any) -> Line2D:
    """Return a line for a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, linestyle=linestyle, **style)


def round_levels(low: float, high: float, intervals: int = 40) -> Array:
    """Return round numbers that divide a range, the first and last beyond its ends."""
    from matplotlib.ticker import MaxNLocator

    return np.asarray(MaxNLocator(intervals).tick_values(low, high))


def log_ticks(low: float, high: float, most: int) -> Array:
    """Return round numbers for a logarithmic scale between positive ends, as many as fit.

    Args:
        low: The lower end.
        high: The upper end.
        most: Largest number of ticks, at least 2.
    """
    if high < 3 * low:
        levels = round_levels(low, high, most - 1)
        return np.asarray(levels[(levels >= low) & (levels <= high)][:most])
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    every = max(1, -(-(len(decades) - 1) // most))
    best = np.zeros(0)
    for powers in (decades[decades % every == 0], *(decades + s[:, None] for s in _STEPS)):
        ticks = np.sort(10 ** powers.ravel())
        ticks = ticks[(ticks >= low * (1 - 1e-9)) & (ticks <= high * (1 + 1e-9))]
        if len(best) < len(ticks) <= most:
            best = ticks
    return best


_STEPS = [np.log10(steps) for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7))]
"""Ticks of a decade."""


def log_colors(*values: Array, decades: float = np.inf) -> tuple[str, Normalize]:
    """Return the colour map and a logarithmic range for all positive values.

    Args:
        values: Values; those that are not finite and positive are left out.
        decades: Most decades of the range, from its upper end.
    """
    from matplotlib.colors import LogNorm

    every = np.concatenate([v[np.isfinite(v) & (v > 0)] for v in values])
    low, high = (float(every.min()), float(every.max())) if len(every) else (1.0, 1.0)
    low = max(low, high * 10**-decades)
    if high < low * 1.01:  # one value, but for rounding
        low, high = low / 1.1, high * 1.1
    return COLORMAP, LogNorm(low, high)


def round_bar(bar: Colorbar, most: int) -> None:
    """Set the ticks of a colour bar to round numbers, written plainly.

    Args:
        bar: The bar.
        most: Largest number of ticks, at least 2.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FixedLocator, NullLocator

    low, high = bar.norm.vmin or 0.0, bar.norm.vmax or 1.0
    of_log = isinstance(bar.norm, LogNorm)
    ticks = log_ticks(low, high, most) if of_log else round_levels(low, high, most - 1)
    axis = bar.ax.xaxis if bar.orientation == "horizontal" else bar.ax.yaxis
    axis.set_major_locator(FixedLocator(ticks[(ticks >= low) & (ticks <= high)].tolist()))
    axis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    axis.set_minor_locator(NullLocator())
    bar.ax.grid(False)


def show_per_cent(axis: Axis) -> None:
    """Label a logarithmic axis in per cent: at 1, 2, 5 if it spans few decades."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 150 * low else (1,)))
    axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axis.set_minor_formatter(NullFormatter())
