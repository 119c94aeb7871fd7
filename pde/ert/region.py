"""The grid in the region where a model changes the layers, and its settings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from surrogates.config import check
from surrogates.types import Array

from .. import meshes
from .models import Model

_NUMBER = 30000
"""Number of the region's cells for a model without a body."""
_BODY, _REGION = 100_000, 10_000_000
"""Largest numbers of cells around the largest body, and in the region, if they are chosen."""


@dataclass(frozen=True, kw_only=True)
class BoxSettings:
    """The grid in the region that changes, and its solver.

    Attributes:
        cells: Numbers of cells in the region along x1, x2 and x3; zeros choose nearly cubic ones.
        number: About the number of the region's cells if they are chosen; 0 chooses it by the
            resolution, with at most 100000 around the largest body; it is 30000 for a model without
            a body.
        resolution: Cells over the least semi-axis of a body. With 6 and an edge half as wide as the
            axis, the anomaly of a sphere has an error below 0.5 %.
        layers: Layers of cells around the region, which grow outwards.
        far: Distance of the far sides from the region, over the half-width of the largest body.
        extrapolate: Whether a second, coarser grid removes the leading error of the finer one.
        compression: Largest relative error of an electrode's potential in the region, in the
            energy norm of the change.
        rtol: Relative tolerance of the solutions d.
        max_iterations: Largest number of iterations.
    """

    cells: tuple[int, int, int] = (0, 0, 0)
    number: int = 0
    resolution: float = 6.0
    layers: int = 24
    far: float = 10.0
    extrapolate: bool = True
    compression: float = 1e-5
    rtol: float = 1e-6
    max_iterations: int = 1000

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(
            all(0 <= n <= 1000 for n in self.cells) and (all(self.cells) or not any(self.cells)),
            f"box.cells must be 1 to 1000 each, or all 0; got {self.cells}",
        )
        check(
            self.number == 0 or 27 <= self.number <= 10**7,
            f"box.number must be 27 to 10000000, or 0; got {self.number}",
        )
        check(
            1 <= self.resolution <= 100, f"box.resolution must be 1 to 100; got {self.resolution}"
        )
        check(2 <= self.layers <= 1000, f"box.layers must be 2 to 1000; got {self.layers}")
        check(
            not self.extrapolate or all(n % 3 == 0 for n in (*self.cells, self.layers)),
            "box.cells and box.layers must be multiples of 3 with box.extrapolate; got "
            f"{self.cells} and {self.layers}",
        )
        check(self.far >= 1, f"box.far must be at least 1; got {self.far:g}")
        check(
            1e-7 <= self.compression < 1,
            f"box.compression must be 1e-7 or more, and below 1; got {self.compression:g}",
        )
        check(
            0 < self.rtol <= 1e-3, f"box.rtol must be positive, and at most 1e-3; got {self.rtol}"
        )
        check(
            self.max_iterations >= 1,
            f"box.max_iterations must be at least 1; got {self.max_iterations}",
        )


def apart(model: Model, electrodes: Array) -> bool:
    """Return whether no electrode (n_e, 3) is where the model can change the layers."""
    if model.reach is None:
        return False
    lower, upper = model.reach
    return not ((electrodes >= lower) & (electrodes <= upper)).all(axis=1).any()


def grids(model: Model, settings: BoxSettings) -> list[meshes.Grid]:
    """Make the grid, and the coarse one of an extrapolation.

    Raises:
        InputError: If the region that changes has no extent, or is not bounded.
    """
    lower, upper, body = _extents(model)
    extent = upper - lower
    unit = 3 if settings.extrapolate else 1
    cells = settings.cells
    if not any(cells):
        size = _size(model, settings, extent, body)
        n1, n2, n3 = (unit * max(2, math.ceil(length / size / unit - 0.1)) for length in extent)
        cells = n1, n2, n3
    # A region that nearly touches the surface is extended to it.
    depth, h = -upper[2], extent[2] / cells[2]
    above = unit * math.ceil(min(depth / h, settings.layers) / unit)
    if depth < h / 2:
        above, upper[2] = 0, 0.0
    far = settings.far * body.max() / 2
    made = []
    for k in (3, 2) if settings.extrapolate else (3,):
        n1, n2, n3, layers, over = (n * k // 3 for n in (*cells, settings.layers, above))
        made.append(_grid(lower, upper, (n1, n2, n3), layers, over, far))
    return made


def notes(model: Model, settings: BoxSettings) -> tuple[str, ...]:
    """Return a line if the largest body forbids the resolution of the smallest one."""
    if model.size is None or settings.number or any(settings.cells):
        return ()
    lower, upper, body = _extents(model)
    found = model.size / _size(model, settings, upper - lower, body)
    if found >= 0.95 * settings.resolution:
        return ()
    return (
        f"the smallest body has {found:.2g} cells over its least semi-axis, not box.resolution="
        f"{settings.resolution:g}, as the largest one would have too many: narrow the bounds of "
        "its semi-axes, or set box.number",
    )


def _extents(model: Model) -> tuple[Array, Array, Array]:
    """Return the region's lower and upper corner [m], and the extent of the largest body."""
    assert model.reach is not None
    lower, upper = (np.asarray(corner, dtype=np.float64) for corner in model.reach)
    upper = np.append(upper[:2], min(upper[2], 0.0))
    extent = upper - lower
    check(
        bool(np.isfinite(extent).all()) and bool((extent > 0).all()),
        f"the region that changes must have an extent below the surface; got {lower} to {upper}",
    )
    low, high = model.reached(model.y_upper) or (lower, upper)
    return lower, upper, np.minimum(high - low, extent)


def _size(model: Model, settings: BoxSettings, extent: Array, body: Array) -> float:
    """Return the size [m] of the cells, before they are fitted to the region."""

    def of(volume: float, number: float) -> float:
        return float((volume / number) ** (1 / 3))

    if settings.number or model.size is None:
        return of(extent.prod(), settings.number or _NUMBER)
    wanted = model.size / settings.resolution
    return max(wanted, of(body.prod(), _BODY), of(extent.prod(), _REGION))


def _grid(
    lower: Array, upper: Array, cells: tuple[int, int, int], layers: int, above: int, far: float
) -> meshes.Grid:
    """Make equal cells in a region, and layers around it that grow outwards.

    Args:
        lower: The region's lower corner [m], (3,).
        upper: Its upper corner; x3 is at most 0, the surface.
        cells: Numbers of cells in the region.
        layers: Layers on each side of the region, and below.
        above: Layers between the region and the surface; 0 if it ends there.
        far: Distance [m] of the far sides from the region.
    """
    axes, core = [], []
    for i in range(3):
        x = np.linspace(lower[i], upper[i], cells[i] + 1)
        first = x[1] - x[0]
        out = meshes.growing(first, far, layers)
        after = out if i < 2 else meshes.growing(first, -x[-1], above) if above else np.empty(0)
        axes.append(np.concatenate([x[0] - out[::-1], x, x[-1] + after]))
        core.append(slice(layers, layers + len(x)))
    axes[2][-1] = 0.0
    return meshes.Grid((axes[0], axes[1], axes[2]), (core[0], core[1], core[2]))
