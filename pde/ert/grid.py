"""A grid of hexahedra for electrodes in flat ground, for solves with the electrodes on the mesh.

The grid is a product of three axes. Each axis has knots, the coordinates where the potential is
steep, and cells of about (d + 0.6 x) / n at a distance x from the nearest knot: d is the electrode
spacing, the median distance of an electrode to its nearest neighbour, and n the number of cells in
it, as the potential of a point source varies over lengths like the distance from it. Farther than
`GridSettings.depth`, cells grow faster. `correction` has errors of data on
such grids. n should be even: trilinear cubes hardly couple the neighbours that share a face, so
that three cells between electrodes were no better than two.

- x1 and x2: if the electrodes lie on lines x_i = const, each line is a knot, and electrodes are
  nodes. Lines must be at least d / 2n apart. Else the knots fill the electrodes' extent: cells
  there have the size d / n, and electrodes lie within cells.
- x3: knots are the surface and the depths of buried electrodes, under the same rule. Down
  to `GridSettings.depth` cells are not larger than the electrode spacing or a tenth of this depth,
  whichever is larger.
- Where the grid has more nodes than allowed, n falls until it has not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.integrate import cumulative_trapezoid
from scipy.spatial import cKDTree

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.types import Array

from ..meshes import Grid

GROWTH = (0.6, 0.3)
"""Growth of a cell's size with its distance from the nearest knot, times n; and its largest value.

Neighbours differ by the factor exp(growth)."""
FAR = (2.0, 0.7)
"""The same beyond `GridSettings.depth`, where potentials at electrodes hardly depend on cells."""
_SAME = 1e-6
"""Coordinates closer than this part of the electrode spacing are one line."""


@dataclass(frozen=True, kw_only=True)
class GridSettings:
    """The built-in grid for flat ground.

    Attributes:
        cells: Cells per electrode spacing, at electrodes.
        depth: Distance [m] from electrodes in which cells are fine; None for half of the survey's
            extent.
        far: Distance of the far sides from the electrodes, in extents of the survey. Where layers
            are the reference of `correction`, data hardly depend on it. With homogeneous ground as
            the reference pole-pole data do: over three random layers their median error is 0.73 %
            with 4 and 0.19 % with 16, that of other arrays changes by less than 0.05 %, and the
            grid has half as many nodes more (`python scripts/point_sources.py --grounds 6 --far
            16`). Above a basement that is 20 times as resistive it was 8 % with 4 for a line of 7.
        nodes: Largest number of nodes; cells grow until the grid has no more.
    """

    cells: float = 4.0
    depth: float | None = None
    far: float = 4.0
    nodes: int = 150_000

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(0.5 <= self.cells <= 100, f"grid.cells must be 0.5 to 100; got {self.cells}")
        check(
            self.depth is None or self.depth > 0, f"grid.depth must be positive; got {self.depth}"
        )
        check(1 <= self.far <= 1000, f"grid.far must be 1 to 1000; got {self.far}")
        check(
            1000 <= self.nodes <= 100_000_000, f"grid.nodes must be 1000 to 1e8; got {self.nodes}"
        )


def flat_grid(electrodes: Array, settings: GridSettings | None = None) -> Grid:
    """Make the grid; its core is the electrodes' extent, down to ``settings.depth``.

    Args:
        electrodes: Places [m] of at least two electrodes, x3 <= 0, (n_e, 3).
        settings: The settings; the defaults if None.

    Raises:
        InputError: If there are fewer than two electrodes or one above x3 = 0, or the grid cannot
            have as few nodes as ``settings.nodes`` with cells of at most two electrode spacings.
    """
    settings = settings or GridSettings()
    check(
        bool((electrodes[:, 2] <= 0).all()),
        f"electrodes in flat ground must have x3 <= 0; the highest is at {electrodes[:, 2].max()}",
    )
    spacing, extent = electrode_spacing(electrodes), float(np.ptp(electrodes, axis=0).max())
    cells = settings.cells
    while True:
        axes, core = zip(
            *(_axis(electrodes, i, cells, spacing, extent, settings) for i in range(3)), strict=True
        )
        n = int(np.prod([len(axis) for axis in axes]))
        if n <= settings.nodes:
            return Grid((axes[0], axes[1], axes[2]), (core[0], core[1], core[2]))
        check(
            cells > 0.5,
            f"the grid for {len(electrodes)} electrodes needs more nodes than "
            f"grid.nodes = {settings.nodes}: {n} with cells of two electrode spacings "
            f"({2 * spacing:.3g} m)",
        )
        cells = max(0.5, cells / 1.05)


def electrode_spacing(electrodes: Array) -> float:
    """Return the median distance [m] of an electrode to its nearest neighbour.

    Raises:
        InputError: If there is one electrode, or half of them coincide with others.
    """
    check(len(electrodes) > 1, f"a survey needs two electrodes; it has {len(electrodes)}")
    spacing = float(np.median(cKDTree(electrodes).query(electrodes, k=2)[0][:, 1]))
    if not spacing > 0:
        raise InputError("half of the electrodes are at the place of another one")
    return spacing


def _axis(
    electrodes: Array, i: int, cells: float, spacing: float, extent: float, settings: GridSettings
) -> tuple[Array, slice]:
    """Return the nodes along an axis, and the core's nodes among them."""
    h = spacing / cells
    growth, faster = (min(factor / cells, most) for factor, most in (GROWTH, FAR))
    knots = _knots(electrodes[:, i], h, _SAME * spacing, surface=i == 2)
    depth = settings.depth if settings.depth is not None else extent / 2
    far, most = settings.far * extent, max(spacing, depth / 10, h)

    def size(x: Array) -> Array:
        after = np.searchsorted(knots, x).clip(1, max(1, len(knots) - 1))
        near = np.minimum(np.abs(x - knots[after - 1]), np.abs(x - knots[after % len(knots)]))
        found = h + growth * np.minimum(near, depth) + faster * np.maximum(near - depth, 0)
        if i == 2:
            found = np.minimum(found, most + faster * np.maximum(-depth - x, 0))
        return np.asarray(found)

    ends = [knots[0] - far, *knots] if i == 2 else [knots[0] - far, *knots, knots[-1] + far]
    parts = [_nodes(low, high, size) for low, high in itertools.pairwise(ends)]
    axis = np.concatenate([*(part[:-1] for part in parts), parts[-1][-1:]])
    low = min(knots[0], -depth) if i == 2 else knots[0]
    first, last = np.searchsorted(axis, [low + _SAME * h, knots[-1] - _SAME * h])
    return axis, slice(int(first) - 1, int(last) + 1)


def _knots(x: Array, h: float, same: float, *, surface: bool) -> Array:
    """Return the coordinates of lines of electrodes, or ones at most h apart if lines are close."""
    knots = np.unique(np.append(x, 0.0) if surface else x) + 0.0
    knots = knots[np.append(np.diff(knots) > same, True)]
    if len(knots) > 1 and np.diff(knots).min() < h / 2:
        knots = np.linspace(knots[0], knots[-1], int(np.ceil(np.ptp(knots) / h)) + 1)
    return np.asarray(knots)


def _nodes(low: float, high: float, size: Callable[[Array], Array]) -> Array:
    """Divide an interval into cells of about the given sizes, equal in the integral of 1 / size."""
    t = np.linspace(-1, 1, 2001)
    x = (low + high) / 2 + (high - low) / 2 * np.sin(np.pi / 2 * t)  # dense at both ends
    count = cumulative_trapezoid(1 / size(x), x, initial=0.0)
    n = max(1, int(np.ceil(count[-1] - 1e-3)))
    nodes = np.interp(np.linspace(0, count[-1], n + 1), count, x)
    nodes[[0, -1]] = low, high
    return np.asarray(nodes)
