"""A mesh of tetrahedra for a survey, by gmsh: the surface through electrodes, which are nodes.

gmsh divides a box with a flat top, in which electrodes are nodes. Then each node moves up by the
elevation of the ground above it: at depth the mean elevation around it, within a radius that grows
with the depth, less with depth and not at all at the bottom. Without this mean, edges of the
triangulated surface would fold large cells far below. Slopes shear the tetrahedra, so that cliffs
want finer cells.

The length of edges at an electrode is a part of the distance to the nearest other one (and, for a
buried one, of twice its depth: the distance to its image). It grows linearly with the distance from
electrodes, as the potential of a point source varies over lengths like this distance.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.files import atomic, check_writable
from surrogates.types import Array

from .survey import Survey
from .terrain import Terrain
from .tetrahedra import relaxed, shapes

Integers = npt.NDArray[np.int64]

GROUND = "ground"
"""The name of the physical group of all tetrahedra."""
POOR = 0.1
"""Cells with a shape below this (`tetrahedra.shapes`) are mended, as far as it goes."""
LEAST = 0.01
"""The poorest shape that a mesh may have."""
ASKED = 0.8
"""Part of the lengths of edges that gmsh is asked for: its edges are longer, by 1.2 on average."""
_CLASS = 1.3
"""Lengths at electrodes are rounded down to powers of this: gmsh has one field for each length."""
_WITHIN = 0.7
"""Radius of the mean elevation, as a part of the depth."""
_AROUND = np.array(
    [
        [radius * np.cos(2 * np.pi * k / n), radius * np.sin(2 * np.pi * k / n)]
        for radius, n in ((0.0, 1), (0.5, 6), (1.0, 12))
        for k in range(n)
    ]
)
"""Places of the mean within a unit circle; each stands for about the same area."""


@dataclass(frozen=True, kw_only=True)
class MeshSettings:
    """Sizes of tetrahedra.

    Attributes:
        cells: Edges from an electrode to its nearest neighbour.
        growth: Growth of the edges with the distance from electrodes.
        far: Distance of the far sides and the bottom from the electrodes, in extents of the survey.
        refine: Factor by which all edges are shorter: 2 makes about eight times as many cells.
        fine: A box with edges of about a length or less, as around a body: bounds [m] along x1, x2
            and x3, and the length [m]; None for no such box. ``refine`` shortens this length too.
    """

    cells: float = 4.0
    growth: float = 0.3
    far: float = 4.0
    refine: float = 1.0
    fine: tuple[float, float, float, float, float, float, float] | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(0.5 <= self.cells <= 100, f"cells of a mesh must be 0.5 to 100; got {self.cells}")
        check(0.05 <= self.growth <= 2, f"growth of a mesh must be 0.05 to 2; got {self.growth}")
        check(1 <= self.far <= 100, f"far sides must be 1 to 100 extents away; got {self.far}")
        check(0.1 <= self.refine <= 10, f"refine must be 0.1 to 10; got {self.refine}")
        if self.fine is not None:
            low, high = np.array(self.fine[:6:2]), np.array(self.fine[1:6:2])
            check(
                len(self.fine) == 7 and bool((low < high).all()) and self.fine[6] > 0,
                "the fine box of a mesh must be three increasing pairs of bounds and a positive "
                f"length; got {list(self.fine)}",
            )


@dataclass(frozen=True, kw_only=True)
class MeshMade:
    """A mesh that was written.

    Attributes:
        path: The file.
        nodes: Number of nodes.
        cells: Number of tetrahedra.
        least: The least shape of a cell by `tetrahedra.shapes`: 1 is best.
    """

    path: str
    nodes: int
    cells: int
    least: float

    def __str__(self) -> str:
        """Return the file and the mesh's size in words."""
        return (
            f"{self.path}: {self.nodes} nodes, {self.cells} tetrahedra, the poorest of shape "
            f"{self.least:.2g} (1 is best)"
        )


def write_mesh(
    survey: Survey,
    path: str | os.PathLike[str],
    settings: MeshSettings | None = None,
    *,
    top: float | None = None,
) -> MeshMade:
    """Write a mesh of tetrahedra for a survey, in the survey's coordinates.

    Args:
        survey: The survey; its points of the surface count too.
        path: The file; its ending chooses the format (``.msh``, or another one of gmsh's).
        settings: Sizes; the defaults if None.
        top: Elevation of flat ground [m]; None: found from the electrodes.

    Raises:
        InputError: If gmsh is not there or fails, or the surface folds the mesh.
    """
    ground = survey.ground(top)
    if ground.flat:
        points = np.array([[*survey.electrodes[0, :2], ground.top]])
    else:
        points = np.concatenate([survey.electrodes[~ground.buried], survey.topography])
    return write_ground(survey.electrodes, ground.buried, Terrain(points), path, settings)


def write_ground(
    electrodes: Array,
    buried: npt.NDArray[np.bool_],
    terrain: Terrain,
    path: str | os.PathLike[str],
    settings: MeshSettings | None = None,
) -> MeshMade:
    """Write a mesh of the ground under a surface, with electrodes as nodes.

    Args:
        electrodes: Places [m], (n_e, 3); those that are not buried are put on the surface.
        buried: Which are below the surface, (n_e,).
        terrain: The surface.
        path: The file; its ending chooses the format (``.msh``, or another one of gmsh's).
        settings: Sizes; the defaults if None.

    Raises:
        InputError: If gmsh is not there or fails, electrodes coincide, or a buried one is not below
            the surface.
    """
    settings = settings or MeshSettings()
    check(len(electrodes) > 1, f"a mesh for a survey needs two electrodes; got {len(electrodes)}")
    check_writable(path)
    extent = float(np.ptp(electrodes, axis=0).max())
    moved = _Map(terrain, electrodes, settings.far * extent)
    places = moved.inverse(electrodes)
    places[~buried, 2] = 0.0
    above = np.flatnonzero(buried & (places[:, 2] >= -1e-9 * extent))
    check(len(above) == 0, f"the buried electrodes {(above + 1).tolist()} are not below the ground")
    apart = cKDTree(places).query(places, k=2)[0][:, 1]
    apart[buried] = np.minimum(apart, -2 * places[:, 2])[buried]
    check(bool((apart > 0).all()), "two electrodes are at one place of the surface")
    low = np.array([*(places[:, :2].min(axis=0) - settings.far * extent), -moved.depth])
    high = np.array([*(places[:, :2].max(axis=0) + settings.far * extent), 0.0])
    with _gmsh() as gmsh:
        fine = moved.covering(settings.fine) if settings.fine else None
        x, cells, at = _divided(gmsh, (low, high), places, apart, settings, fine)
        fixed = (np.isclose(x, low) | np.isclose(x, high)).any(axis=1)
        fixed[at] = True
        x = moved(x)
        x[at] = electrodes
        x = relaxed(x, cells, fixed, POOR)
        quality = shapes(x[cells])
        check(
            quality.min() > LEAST,
            f"slopes of the ground fold {int((quality <= LEAST).sum())} cells of the mesh; shorter "
            "edges at electrodes would do, or more points of the surface",
        )
        for node, place in enumerate(x.tolist(), 1):
            gmsh.model.mesh.setNode(node, place, [])
        with atomic(path) as beside, tempfile.TemporaryDirectory() as folder:
            written = Path(folder, f"mesh{Path(path).suffix}")
            gmsh.write(str(written))
            shutil.copyfile(written, beside)
    least = float(quality.min())
    return MeshMade(path=str(path), nodes=len(x), cells=len(cells), least=least)


class _Map:
    """The map from the box below x3 = 0 to the ground.

    Attributes:
        depth: Depth of the box [m].
    """

    def __init__(self, terrain: Terrain, electrodes: Array, far: float) -> None:
        """Put the bottom at a distance below electrodes and surface."""
        self._terrain = terrain
        # The box lies around x1 = x2 = 0: coordinates in metres of a country lose digits.
        self._middle = np.array([*electrodes[:, :2].mean(axis=0), 0.0])
        self._level = float(terrain.points[:, 2].mean())
        lowest = min(electrodes[:, 2].min(), terrain.points[:, 2].min())
        self.depth = self._level - float(lowest) + far

    def __call__(self, places: Array) -> Array:
        """Return the places of the ground for places in the box, (n, 3)."""
        found, depth = places + self._middle, -places[:, 2]
        mean = np.zeros(len(places))
        for offset in _AROUND:
            mean += self._terrain(found[:, :2] + _WITHIN * depth[:, None] * offset)
        mean = (mean / len(_AROUND) - self._level) * (1 - depth / self.depth)
        found[:, 2] += self._level + mean
        return np.asarray(found)

    def inverse(self, places: Array) -> Array:
        """Return the places in the box for places of the ground, (n, 3); x3 = 0 if above it."""
        box = places - self._middle
        low, high = np.full(len(places), -self.depth), np.zeros(len(places))
        for _ in range(60):  # halvings
            box[:, 2] = (low + high) / 2
            above = self(box)[:, 2] > places[:, 2]
            low, high = np.where(above, low, box[:, 2]), np.where(above, box[:, 2], high)
        box[:, 2] = high
        return np.asarray(box)

    def covering(self, fine: tuple[float, ...]) -> Array:
        """Return bounds in the box, (2, 3), that hold a box of the ground, by three pairs."""
        bounds = np.reshape(fine[:6], (3, 2)).T - self._middle
        x, y = (np.linspace(bounds[0, i], bounds[1, i], 9) for i in (0, 1))
        plane = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2) + self._middle[:2]
        height = self._terrain(plane)
        bounds[:, 2] -= height.max(), height.min()
        return np.minimum(bounds, [np.inf, np.inf, 0.0])


@contextmanager
def _gmsh() -> Iterator[Any]:
    """Start gmsh with an empty model, and end it; its failures become one line.

    Raises:
        InputError: If it is not there, or fails.
    """
    try:
        import gmsh
    except (ImportError, OSError) as error:  # OSError: of the system's libraries, such as libGLU
        raise InputError(
            "a mesh for a survey needs gmsh (pip install 'varpro-surrogates[meshing]'; on Linux it "
            f"needs libGLU, libXrender, libXcursor, libXft and libXinerama): {error}"
        ) from error
    if not hasattr(gmsh, "lib") or not hasattr(gmsh.lib, "gmshInitialize"):
        raise InputError("gmsh's library is not where its module is: install gmsh by pip")
    # Else it would let SIGINT end the process, for good.
    gmsh.initialize(readConfigFiles=False, interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.model.add("survey")
        yield gmsh
    except InputError:
        raise
    except Exception as error:  # gmsh raises nothing more special
        raise InputError(f"gmsh could not make the mesh: {' '.join(str(error).split())}") from error
    finally:
        gmsh.finalize()


def _divided(
    gmsh: Any,
    box: tuple[Array, Array],
    places: Array,
    apart: Array,
    settings: MeshSettings,
    fine: Array | None,
) -> tuple[Array, Integers, Integers]:
    """Divide a box into tetrahedra.

    Args:
        gmsh: The module, started.
        box: Lower and upper corner; the top is x3 = 0.
        places: Electrodes in the box, (n_e, 3).
        apart: Distance of each from the nearest other one, (n_e,).
        settings: Sizes.
        fine: Bounds of the fine box, (2, 3), or None.

    Returns:
        Nodes (n, 3), the nodes of each cell (n_cells, 4), and the nodes of the electrodes (n_e,).
    """
    low, high = box
    volume = gmsh.model.occ.addBox(*low, *(high - low))
    tags = [int(gmsh.model.occ.addPoint(*place)) for place in places]
    lengths = apart / settings.cells
    # gmsh asks for sizes inside only where it adds a node, and adds none next to a lonely point.
    below = places[:, 2] < 0
    near = np.minimum(lengths / settings.refine, 0.3 * apart)[below]
    star = places[below, None] + near[:, None, None] * np.concatenate([np.eye(3), -np.eye(3)])
    stars = [int(gmsh.model.occ.addPoint(*place)) for place in star.reshape(-1, 3)]
    gmsh.model.occ.synchronize()
    (top,) = [
        tag
        for _, tag in gmsh.model.getEntities(2)
        if gmsh.model.occ.getCenterOfMass(2, tag)[2] > 1e-9 * low[2]
    ]
    surface = [tag for tag, deep in zip(tags, below, strict=True) if not deep]
    inside = [tag for tag, deep in zip(tags, below, strict=True) if deep] + stars
    for points, dimension, entity in ((surface, 2, top), (inside, 3, volume)):
        if points:
            gmsh.model.mesh.embed(0, points, dimension, entity)
    gmsh.model.addPhysicalGroup(3, [volume], name=GROUND)
    fields = _sizes(gmsh, tags, lengths, settings, float(np.ptp(box, axis=0).max()))
    if fine is not None and settings.fine is not None:
        fields.append(_fine(gmsh, fine, settings, float(np.ptp(box, axis=0).max())))
    _limit(gmsh, fields)
    gmsh.model.mesh.generate(3)
    gmsh.model.mesh.renumberNodes()
    numbers, x, _ = gmsh.model.mesh.getNodes()
    x = np.reshape(x, (-1, 3))[np.argsort(numbers)]
    cells = np.reshape(gmsh.model.mesh.getElementsByType(4)[1], (-1, 4)).astype(np.int64) - 1
    at = np.array([gmsh.model.mesh.getNodes(0, tag)[0][0] for tag in tags]).astype(np.int64) - 1
    return x, cells, at


def _sizes(
    gmsh: Any, tags: list[int], lengths: Array, settings: MeshSettings, largest: float
) -> list[int]:
    """Make gmsh's fields of lengths of edges that grow linearly from those at the electrodes."""
    number = np.floor(np.log(lengths) / np.log(_CLASS)).astype(int)
    field, fields = gmsh.model.mesh.field, []
    factor = ASKED / settings.refine
    for one in np.unique(number):
        length = float(lengths[number == one].min())
        near, linear = field.add("Distance"), field.add("Threshold")
        points = [tag for tag, other in zip(tags, number, strict=True) if other == one]
        field.setNumbers(near, "PointsList", points)
        for key, value in (
            ("InField", near),
            ("SizeMin", factor * length),
            ("SizeMax", factor * (length + settings.growth * largest)),
            ("DistMin", 0.0),
            ("DistMax", largest),
        ):
            field.setNumber(linear, key, value)
        fields.append(linear)
    return fields


def _fine(gmsh: Any, bounds: Array, settings: MeshSettings, largest: float) -> int:
    """Make gmsh's field of the lengths of edges in the fine box, and growing around it."""
    assert settings.fine is not None
    field = gmsh.model.mesh.field
    inside = field.add("Box")
    factor, length = ASKED / settings.refine, settings.fine[6]
    for axis, (low, high) in zip("XYZ", bounds.T, strict=True):
        field.setNumber(inside, f"{axis}Min", low)
        field.setNumber(inside, f"{axis}Max", high)
    field.setNumber(inside, "VIn", factor * length)
    field.setNumber(inside, "VOut", factor * (length + settings.growth * largest))
    field.setNumber(inside, "Thickness", largest)
    return int(inside)


def _limit(gmsh: Any, fields: list[int]) -> None:
    """Tell gmsh that edges have the least of the fields' lengths."""
    field = gmsh.model.mesh.field
    least = field.add("Min")
    field.setNumbers(least, "FieldsList", fields)
    field.setAsBackgroundMesh(least)
    for key in ("MeshSizeExtendFromBoundary", "MeshSizeFromPoints", "MeshSizeFromCurvature"):
        gmsh.option.setNumber(f"Mesh.{key}", 0)
