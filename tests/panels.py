"""What is in a figure: its panels, maps and colour bars."""

from __future__ import annotations

import numpy as np

MAGIC = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}  # how a file of each ending begins
X1, X2 = np.array([-2.0, -1.0, 1.0, 2.0]), np.array([-3.0, 0.0, 3.0])  # stations of a survey


def panels_of(figure):
    """Its axes by their title; the colour bars are inside them."""
    return {axes.get_title(): axes for axes in figure.axes}


def mapped(axes):
    """The values, limits of the colours, and the name of the colours of a map."""
    (cells,) = axes.collections
    return np.asarray(cells.get_array()), cells.get_clim(), cells.get_cmap().name


def bar_label(axes):
    (bar,) = axes.child_axes
    return bar.get_ylabel()
