"""Meshes with a curved top, and the regions of meshes."""

import itertools

import meshio
import numpy as np
import pytest

from surrogates.errors import InputError
from surrogates.pde import mesh_checks, meshes

pytestmark = pytest.mark.fenicsx

KINDS = ("hexahedron", "tetrahedron")
KUHN = [[0, 1 << a, (1 << a) | (1 << b), 7] for a, b in itertools.permutations(range(3), 2)]


def ground(kind: str, height=lambda x, y: 2 + np.sin(x) + 0.3 * y) -> tuple[np.ndarray, ...]:
    """Points and vertices of a box of 8 by 8 m down to -4 m, under a surface."""
    axes = np.linspace(0, 8, 9), np.linspace(0, 8, 9), np.linspace(-4, 0, 5)
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    points[:, 2] += height(points[:, 0], points[:, 1]) * (1 + points[:, 2] / 4)
    cells = meshes.corners(9, 9, 5)
    if kind == "tetrahedron":
        cells = np.concatenate([cells[:, path] for path in KUHN])
    return points, cells


def solid(kind, points, vertices):
    return mesh_checks.solid(kind, points, vertices, curved=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "height",
    [
        lambda x, y: 2 + np.sin(x) + 0.3 * y,
        lambda x, y: -1.5 * np.exp(-((x - 4) ** 2)),  # a valley through two sides
        lambda x, y: 3 * np.exp(-((x - 4) ** 2) - (y - 4) ** 2),
        lambda x, y: 0 * x + 116.5,
    ],
    ids=["slopes", "valley", "hill", "plane"],
)
def test_the_top_may_be_any_surface_without_overhangs(kind, height):
    points, vertices = ground(kind, height)
    found = solid(kind, points, vertices)
    assert found.mended == () or "inside out" in found.mended[0]
    per = 1 if kind == "hexahedron" else 2
    assert len(found.top) == 64 * per and len(found.sides) == (64 + 4 * 32) * per
    at = found.points[np.unique(found.top)]
    assert at[:, 2] == pytest.approx(height(at[:, 0], at[:, 1]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_curved_top_is_refused_where_it_must_be_flat(kind):
    with pytest.raises(InputError, match="must have its top at x3 = 0"):
        mesh_checks.solid(kind, *ground(kind))


def near(points, vertices, place, size):
    return (np.abs(points[vertices].mean(axis=1) - place) < size).all(axis=1)


def holed(points, vertices):
    """Cells are missing inside."""
    return points, vertices[~near(points, vertices, [4, 4, -2], [1, 1, 1])]


def cut(points, vertices):
    """A vertical crack from the top: the cells at its sides do not match."""
    right = points[vertices].mean(axis=1)[:, 0] > 4
    along = (points[:, 0] == 4) & (points[:, 2] > -1.5) & (np.abs(points[:, 1] - 4) < 4)
    number = np.arange(len(points))
    number[along] = len(points) + np.arange(along.sum())
    other = np.where(right[:, None], number[vertices], vertices)
    return np.concatenate([points, points[along] + [0, 0.3, 0]]), other


def stepped(points, vertices):
    """The cells at the top are missing on one side."""
    centre = points[vertices].mean(axis=1)
    return points, vertices[(centre[:, 0] < 4) | (centre[:, 2] < -1)]


def cave(points, vertices):
    """A cave that is open to one side."""
    return points, vertices[~near(points, vertices, [7, 4, -1.5], [1.1, 1.1, 0.6])]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (holed, "top without gaps and overhangs: .* times as large|with a cell on one side only"),
        (cut, r"with a cell on one side only.*: \d+, the first around \[4, "),
        (stepped, r"with a cell on one side only.* or a vertical step of the top.*: \d+, the"),
        (cave, "top without gaps and overhangs: the faces that look up are 1.* the lowest is arou"),
    ],
)
def test_other_shapes_are_refused(kind, fault, words):
    with pytest.raises(InputError, match=words):
        solid(kind, *fault(*ground(kind, lambda x, y: 0 * x)))


def save(path, *, points=None, names=("clay", "sand"), tags=None, twice=0):
    """A mesh of gmsh's with two groups, with some cells twice; return its cells' centres."""
    given, vertices = ground("tetrahedron")
    points = given if points is None else points
    centre = points[vertices].mean(axis=1)
    tags = np.where(centre[:, 0] < 4, 5, 9) if tags is None else tags
    order = np.random.default_rng(2).permutation(len(vertices))
    order = np.concatenate([order, order[:twice]])
    data = {"gmsh:physical": [tags[order]], "gmsh:geometrical": [tags[order]]}
    fields = {name: np.array([tag, 3]) for name, tag in zip(names, (5, 9), strict=False)}
    cells = [("tetra", vertices[order])]
    meshio.Mesh(points, cells, cell_data=data, field_data=fields).write(path, file_format="gmsh22")
    return centre


def test_regions_are_the_groups_of_cells_after_the_mending(tmp_path):
    save(tmp_path / "m.msh", twice=100)
    found = meshes.read(tmp_path / "m.msh", curved=True)
    assert any("100 cells that are there more than once" in line for line in found.mended)
    left = found.points[found.vertices].mean(axis=1)[:, 0] < 4
    assert np.array_equal(found.regions(["sand", "clay"]), np.where(left, 1, 0))
    assert np.array_equal(found.groups["clay"], np.flatnonzero(left))
    assert sum("do not depend on: " in line for line in found.notes) == 1
    assert not any("do not depend on: " in line for line in found.mended)


def test_the_same_file_is_read_anew_for_another_top(tmp_path):
    save(tmp_path / "m.msh")
    assert len(meshes.read(tmp_path / "m.msh", curved=True).top) == 128
    with pytest.raises(InputError, match="must have its top at x3 = 0"):
        meshes.read(tmp_path / "m.msh")


def test_wrong_regions_are_refused(tmp_path):
    centre = save(tmp_path / "m.msh")
    found = meshes.read(tmp_path / "m.msh", curved=True)
    with pytest.raises(InputError, match=r"no group of cells 'silt'; its groups are: .*clay \("):
        found.regions(["clay", "silt"])
    with pytest.raises(InputError, match=r"768 cells in no region of \['clay'\].*group 'sand'"):
        found.regions(["clay"])
    with pytest.raises(InputError, match=r"768 cells in the groups 'clay' and 'clay'"):
        found.regions(["clay", "clay"])
    save(tmp_path / "n.msh", names=("clay",), tags=np.where(centre[:, 0] < 2, 5, 9))
    found = meshes.read(tmp_path / "n.msh", curved=True)
    with pytest.raises(InputError, match="cells in no region of .*, in the group 'gmsh:physical 9"):
        found.regions(["clay"])
