"""Pictures of DOLFINx functions: curves on a line, contours in the plane, sections in space."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.plots import style
from surrogates.types import Array

from .collective import on_root
from .fields import Field
from .functions import along, dimension, extent, sampled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_Section = tuple[int, float, Array, Array, dict[str, Array]]  # see `_sections`

_COLUMNS = 4  # of panels, at most
_ARROWS = 14  # of a vector, along the longer side of its panel
_GRID = 160  # parts of the longer side of a section


def draw(functions: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw functions, each on a panel with its own scale. Collective; rank 0 writes the file.

    Args:
        functions: DOLFINx functions on one mesh by name, from `functions.checked`.
        path: The figure.

    Raises:
        InputError: On every process, if a value is not finite, the mesh is a surface or a curve in
            a space of more dimensions, or the figure cannot be written.
    """
    comm = next(iter(functions.values())).function_space.mesh.comm
    cells, space = dimension(functions)
    check(
        cells == space,
        f"cannot draw a mesh of dimension {cells} in a space of dimension {space}: write it for "
        "ParaView, by surrogates solve",
    )
    if cells == 3:
        sections = _sections(functions)
        on_root(comm, lambda: _draw_sections(sections, path))
        return
    field = sampled(functions)
    on_root(comm, lambda: (_draw_curves if cells == 1 else _draw_plane)(field, path))


def panels(figure: Figure, n: int) -> list[Axes]:
    """Divide a figure into n panels, at most four in a line, with shared axes."""
    columns = min(n, _COLUMNS)
    lines = -(-n // columns)
    every = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes in every.flat[n:]:
        axes.set_visible(False)
    for i, axes in enumerate(every.flat[:n]):
        axes.grid(False)
        axes.set_aspect("equal")
        if i >= n - columns:
            axes.set_xlabel("$x_1$")
            axes.tick_params(labelbottom=True)
        if i % columns == 0:
            axes.set_ylabel("$x_2$")
    return list(every.flat[:n])


def panels_size(n: int) -> tuple[float, float]:
    """Return the size in inches of a figure with n panels."""
    columns = min(n, _COLUMNS)
    return style.WIDTH, min(3.4, style.WIDTH / columns) * -(-n // columns) + 0.4


def levels_of(values: Array, intervals: int = 40) -> Array:
    """Return round levels from the smallest to the largest value, and beyond."""
    low, high = float(values.min()), float(values.max())
    return style.round_levels(low, high if high > low else low + 1, intervals)


def _checked(name: str, values: Array) -> Array:
    check(bool(np.isfinite(values).all()), f"cannot draw {name}: a value is not finite")
    return values


def _draw_curves(field: Field, path: str | os.PathLike[str]) -> None:
    """Draw functions on a line, a panel for each and a curve for each component."""
    x = field.points[field.cells, 0]
    order = np.argsort(x.mean(axis=1))
    nodes = np.take_along_axis(field.cells, np.argsort(x, axis=1), axis=1)[order].ravel()
    n = len(field.at_points)
    with style.saved_figure(path, (style.WIDTH, 2.4 * n + 0.4), "") as figure:
        every = figure.subplots(n, 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, values) in zip(every, field.at_points.items(), strict=True):
            components = _checked(name, values).reshape(len(values), -1).T
            for values, color in zip(components, itertools.cycle(style.CYCLE), strict=False):
                axes.plot(field.points[nodes, 0], values[nodes], color=color)
            axes.set_ylabel(style.plain(name))
        every[-1].set_xlabel("$x_1$")


def _draw_plane(field: Field, path: str | os.PathLike[str]) -> None:
    """Draw functions in the plane as filled contours, with arrows on those of vectors."""
    corners = [[0, 1, 2], [0, 2, 3]] if field.kind == "quad" else [[0, 1, 2]]
    triangles = np.concatenate([field.cells[:, three] for three in corners])
    x1, x2 = field.points[:, 0], field.points[:, 1]
    n = len(field.at_points)
    with style.saved_figure(path, panels_size(n), "", layout="compressed") as figure:
        from matplotlib.tri import Triangulation

        mesh = Triangulation(x1, x2, triangles)
        for axes, (name, values) in zip(panels(figure, n), field.at_points.items(), strict=True):
            size = _sizes(_checked(name, values))
            levels = levels_of(size)
            drawn = axes.tricontourf(mesh, size, levels=levels, cmap=style.COLORMAP)
            if values.ndim == 2 and values.shape[1] == 3:
                some = _spread(field.points[:, :2])
                u1, u2 = values[some, :2].T
                axes.quiver(x1[some], x2[some], u1, u2, color="white", pivot="mid")
            axes.set_title(_title(name, values))
            figure.colorbar(drawn, ax=axes, ticks=levels_of(size, 6))


def _sections(functions: Mapping[str, Any]) -> list[_Section]:
    """Evaluate functions on the planes through the middle of the mesh. Collective.

    Returns:
        For each plane: the axis that is normal to it, its place there, coordinates along the two
        other axes, and the values by name, (n2, n1, k) each, NaN outside of the mesh.
    """
    low, high = extent(functions)
    found = []
    for axis in (2, 1, 0):
        a, b = (k for k in range(3) if k != axis)
        sizes = high - low
        longest = max(sizes[a], sizes[b])
        # A little inside: a point that rounding puts outside is in no cell.
        p, q = (
            low[k] + sizes[k] * np.linspace(1e-9, 1 - 1e-9, 1 + round(_GRID * sizes[k] / longest))
            for k in (a, b)
        )
        points = np.zeros((len(q), len(p), 3))
        points[..., a], points[..., b] = np.meshgrid(p, q)
        points[..., axis] = middle = float((low[axis] + high[axis]) / 2)
        values = along(functions, points.reshape(-1, 3))
        shaped = {name: u.reshape(len(q), len(p), -1) for name, u in values.items()}
        found.append((axis, middle, p, q, shaped))
    return found


def _draw_sections(sections: Sequence[_Section], path: str | os.PathLike[str]) -> None:
    """Draw sections through functions in space, a line of panels for each function."""
    names = list(sections[0][4])
    with style.saved_figure(
        path, (style.WIDTH, 2.7 * len(names) + 0.3), "", layout="compressed"
    ) as figure:
        every = figure.subplots(len(names), 3, squeeze=False)
        for line, name in zip(every, names, strict=True):
            sizes = [_sizes(u[name].reshape(-1, u[name].shape[2])) for *_, u in sections]
            inside = np.concatenate(sizes)
            inside = inside[~np.isnan(inside)]
            if not len(inside):
                raise InputError(f"cannot draw {name}: the mesh has no cell on its middle planes")
            levels = levels_of(_checked(name, inside))
            for axes, size, (axis, middle, p, q, u) in zip(line, sizes, sections, strict=True):
                a, b = (k + 1 for k in range(3) if k != axis)
                drawn = axes.contourf(
                    p, q, size.reshape(len(q), len(p)), levels=levels, cmap=style.COLORMAP
                )
                axes.set(xlabel=f"$x_{a}$", ylabel=f"$x_{b}$", aspect="equal")
                axes.grid(False)
                axes.set_title(f"{_title(name, u[name][0])}, $x_{axis + 1}$ = {middle:.4g}")
            figure.colorbar(drawn, ax=list(line), ticks=levels_of(inside, 6))


def _sizes(values: Array) -> Array:
    """Return scalars unchanged, (n,), and the Euclidean norms of vectors and tensors."""
    if values.ndim == 1:
        return values
    return values[:, 0] if values.shape[1] == 1 else np.asarray(np.linalg.norm(values, axis=1))


def _title(name: str, values: Array) -> str:
    """Return a panel's title: the name, or that of the norm if there are several components."""
    scalar = values.ndim == 1 or values.shape[-1] == 1
    return style.plain(name) if scalar else f"|{style.plain(name)}|"


def _spread(points: Array) -> npt.NDArray[np.intp]:
    """Choose points for arrows: the point nearest to the middle of each lattice square, (n,)."""
    low, size = points.min(axis=0), float(np.ptp(points, axis=0).max()) or 1.0
    at = (points - low) / size * _ARROWS
    squares = np.floor(at)
    order = np.argsort(((at - squares - 0.5) ** 2).sum(axis=1), kind="stable")
    return order[np.unique(squares[order], axis=0, return_index=True)[1]]
