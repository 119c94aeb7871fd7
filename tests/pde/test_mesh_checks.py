"""Meshes of users: each fault is mended to the clean mesh, or refused with its number and place."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.errors import InputError
from surrogates.pde import cell_shapes, mesh_checks, meshes

pytestmark = pytest.mark.fenicsx

KINDS = ("hexahedron", "tetrahedron")
KUHN = [[0, 1 << a, (1 << a) | (1 << b), 7] for a, b in itertools.permutations(range(3), 2)]


def box(kind: str, *axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and vertices of a tensor-product grid, its hexahedra divided for tetrahedra."""
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    cells = meshes.corners(*(len(axis) for axis in axes))
    if kind == "tetrahedron":
        cells = np.concatenate([cells[:, path] for path in KUHN])
    return points, cells


def cube(kind: str) -> tuple[np.ndarray, np.ndarray]:
    return box(kind, np.arange(5.0), np.arange(5.0), np.arange(-4.0, 1.0))


def volume(kind: str, points: np.ndarray, vertices: np.ndarray) -> float:
    """Of cells with positive orientation."""
    x = points[vertices]
    if kind == "hexahedron":  # the Kuhn tetrahedra of each, of either orientation
        x = np.concatenate([x[:, path] for path in KUHN])
        return float(np.abs(np.linalg.det(x[:, 1:] - x[:, :1])).sum() / 6)
    return float(np.linalg.det(x[:, 1:] - x[:, :1]).sum() / 6)


def middle(points: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Which cells are in the upper half of the cube, away from its sides."""
    centre = points[vertices].mean(axis=1)
    return (np.abs(centre[:, :2] - 2) < 1).all(axis=1) & (centre[:, 2] > -2)


def torn(points, vertices, gap=0.0):
    """Points of their own for the cells in the middle."""
    inside = middle(points, vertices)
    nodes, inverse = np.unique(vertices[inside], return_inverse=True)
    vertices = vertices.copy()
    vertices[inside] = len(points) + inverse.reshape(vertices[inside].shape)
    return np.concatenate([points, points[nodes] + [gap, 0, 0]]), vertices


def reordered(points, vertices):
    """The corners of the cells in the middle in another order: VTK's voxels, or mirrored."""
    vertices, inside = vertices.copy(), middle(points, vertices)
    order = [0, 1, 3, 2, 4, 5, 7, 6] if vertices.shape[1] == 8 else [1, 0, 2, 3]
    vertices[inside] = vertices[inside][:, order]
    return points, vertices


def rough(points, vertices):
    """A top that is rough by 0.2 mm."""
    moved = points.copy()
    moved[:, 2] -= np.where(points[:, 2] == 0, 2e-4, 0) * np.linspace(0, 1, len(points))
    return moved, vertices


def twice(points, vertices):
    return points, np.concatenate([vertices, vertices[middle(points, vertices)]])


def copied(points, vertices):
    """Cells twice, with points of their own."""
    again = vertices[middle(points, vertices)]
    return np.concatenate([points, points]), np.concatenate([vertices, again + len(points)])


def orphans(points, vertices):
    return np.concatenate([[[np.nan, 0, 9]], points, [[0, 0, 7]]]), vertices + 1


MENDED = [
    (torn, "were merged"),
    (reordered, "put in order"),
    (rough, "moved to x3 = 0"),
    (twice, "more than once"),
    (copied, "more than once"),
    (orphans, "2 points that no cell has"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("fault", "words"), MENDED)
def test_what_is_safe_to_mend_becomes_the_clean_mesh(kind, fault, words):
    clean = mesh_checks.solid(kind, *cube(kind))
    found = mesh_checks.solid(kind, *fault(*cube(kind)))
    assert any(words in line for line in found.mended), found.mended
    assert np.array_equal(np.sort(found.points, axis=0), np.sort(clean.points, axis=0))
    assert len(found.vertices) == len(clean.vertices)
    assert volume(kind, found.points, found.vertices) == pytest.approx(64)


def without(points, vertices):
    """A hole."""
    centre = points[vertices].mean(axis=1)
    return points, vertices[(np.abs(centre - [2, 2, -2]) > 1).any(axis=1)]


def pitted(points, vertices):
    """A hole that is open at the top."""
    return points, vertices[~middle(points, vertices)]


def notched(points, vertices):
    """A cell is missing at the bottom."""
    return points, np.delete(vertices, 0, axis=0)


def apart(points, vertices):
    return torn(points, vertices, gap=0.01)


def sheared(points, vertices):
    """The upper half is moved along the lower: its points are between theirs."""
    above = points[vertices].mean(axis=1)[:, 2] > -2
    vertices = vertices.copy()
    vertices[above] += len(points)
    return np.concatenate([points, points + [0.3, 0, 0]]), vertices


def swollen(points, vertices):
    """A point far within its neighbours."""
    points = points.copy()
    points[np.argmin(np.linalg.norm(points - [2, 2, -2], axis=1))] += [1.7, 0, 0]
    return points, vertices


def flat(points, vertices):
    points = points.copy()
    points[points[:, 2] == -1, 2] = -1e-9
    return points, vertices


def hilly(points, vertices):
    points = points.copy()
    top = np.flatnonzero(points[:, 2] == 0)
    points[top[len(top) // 2], 2] = -0.2
    return points, vertices


def raised(points, vertices):
    """A top that is within 1 cm, but not within a hundredth of an edge."""
    return points * 0.1 + [0, 0, 0.005], vertices


def high(points, vertices):
    return points + [0, 0, 2], vertices


def wild(points, vertices):
    return np.where(points == 2, np.nan, points), vertices


def huge(points, vertices):
    return points * 1e200, vertices


def absent(points, vertices):
    return points, np.where(vertices == 3, len(points), vertices)


def negative(points, vertices):
    return points, np.where(vertices == 3, -1, vertices)


def collapsed(points, vertices):
    vertices = vertices.copy()
    vertices[0, 1] = vertices[0, 0]
    return points, vertices


def doubled(points, vertices):
    """A second mesh in the same place, of other points."""
    other = (points - [2, 2, 0]) * [0.9, 0.9, 1] + [2, 2, 0]
    return np.concatenate([points, other]), np.concatenate([vertices, vertices + len(points)])


REFUSED = [
    (without, r"faces inside with a cell on one side only.*: \d+, the first around"),
    (pitted, r"faces of the top off x3 = 0, by 2 m at most.*: (4|8), the first around"),
    (notched, r"faces inside with a cell on one side only.*: \d+, the first around \[.*, -"),
    (apart, "parts that share no face"),
    (sheared, "parts that share no face"),
    (swollen, r"cells that are flat or tangled: \d+, the first around|cells overlap"),
    (flat, r"cells that are flat or tangled: (16|96), the first around"),
    (hilly, r"faces of the top off x3 = 0, by 0.2 m.*: \d, the first around"),
    (raised, r"faces of the top off x3 = 0, by 0.005 m.*: (16|32), the first around"),
    (high, "must have its top at x3 = 0"),
    (wild, "not finite"),
    (huge, "not finite, or above"),
    (absent, r"1|6 cells with points that do not exist.*125"),
    (negative, "points that do not exist.*-1"),
    (collapsed, "corner twice.*: 1, the first around"),
    (doubled, "2 parts that share no face: the smallest has"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("fault", "words"), REFUSED)
def test_the_rest_is_refused_with_number_and_place(kind, fault, words):
    with pytest.raises(InputError, match=words):
        mesh_checks.solid(kind, *fault(*cube(kind)))


def test_a_crack_that_ends_inside_and_hanging_points_are_refused():
    points, vertices = cube("hexahedron")
    above = points[vertices].mean(axis=1)[:, 2] > -1
    corner = (points[vertices].mean(axis=1)[:, :2] < 2).all(axis=1) & above
    fine = box("hexahedron", *[np.arange(0, 2.25, 0.5)] * 2, np.array([-1, -0.5, 0.0]))
    both = np.concatenate([points, fine[0]])
    cells = np.concatenate([vertices[~corner], fine[1] + len(points)])
    with pytest.raises(InputError, match="share no face|faces inside with a cell on one side"):
        mesh_checks.solid("hexahedron", both, cells)
    crack = np.flatnonzero((points == [2, 2, -2]).all(axis=1))
    below = points[vertices].mean(axis=1)[:, 2] < -2
    cells = np.where((vertices == crack) & below[:, None], len(points), vertices)
    opened = np.concatenate([points, points[crack] - [0, 0, 0.05]])
    with pytest.raises(InputError, match=r"one side only.*: 8, the first around \[1.5, 1.5, -2"):
        mesh_checks.solid("hexahedron", opened, cells)


def test_any_convex_shape_is_right():
    """A cylinder whose axis leans."""
    points, vertices = box("tetrahedron", *[np.linspace(-1, 1, 9)] * 2, np.linspace(-1, 0, 5))
    plane = points[:, :2]
    radius, largest = np.linalg.norm(plane, axis=1), np.abs(plane).max(axis=1)
    plane *= np.divide(largest, radius, out=np.ones_like(radius), where=radius > 0)[:, None]
    points[:, 0] += 0.3 * points[:, 2]
    found = mesh_checks.solid("tetrahedron", 100 * points, vertices)
    whole = volume("tetrahedron", found.points, found.vertices)
    assert whole == pytest.approx(np.pi * 1e6, rel=0.03)
    assert len(found.sides) == 2 * (64 + 4 * 32)


def test_poor_tetrahedra_have_a_larger_error():
    """A cube's six and better ones have that of the bound's measurements, slivers four times it."""
    points, vertices = box("tetrahedron", *[np.arange(2.0)] * 3)
    assert cell_shapes.poorness("tetrahedron", points, vertices) == pytest.approx(1, abs=1e-3)
    regular = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]])
    half = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0.3]])
    sliver = np.array([[0, 0, 0], [1, 0, 0.01], [1, 1, 0], [0, 1, 0.01]])
    found = cell_shapes.poorness(
        "tetrahedron",
        np.concatenate([regular, half, sliver]),
        np.arange(12).reshape(3, 4)[:, [1, 0, 2, 3]],
    )
    assert found[0] == 1
    assert 1.2 < found[1] < 2
    assert found[2] == 4
    assert cell_shapes.poorness("hexahedron", *box("hexahedron", *[np.arange(2.0)] * 3)) == [1]


STEPS = st.lists(st.floats(0.3, 3), min_size=4, max_size=6).map(np.cumsum)


@pytest.mark.thorough
@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    axes=st.tuples(STEPS, STEPS, STEPS),
    jitter=st.floats(0, 0.2),
    fault=st.sampled_from([None, twice, copied, orphans, reordered, torn, without, absent, apart]),
    seed=st.integers(0, 2**31),
)
def test_random_meshes_are_right_mended_to_the_same_volume_or_refused(
    kind, axes, jitter, fault, seed
):
    axes = (*axes[:2], axes[2] - axes[2][-1])
    points, vertices = box(kind, *axes)
    low, high = points.min(axis=0), points.max(axis=0)
    random = np.random.default_rng(seed)
    step = 0.3 * jitter * random.uniform(-1, 1, points.shape)
    points = points + np.where((points == low) | (points == high), 0, step)
    size = (high - low) / 4
    bad = points, vertices
    if fault is not None:  # they are made for the cube
        moved, vertices = fault((points - low) / size - [0, 0, 4], vertices)
        bad = (moved + [0, 0, 4]) * size + low, vertices
    try:
        found = mesh_checks.solid(kind, bad[0], random.permutation(bad[1]))
    except InputError:
        assert fault in (without, absent, apart)
    else:
        assert fault is not absent
        assert volume(kind, found.points, found.vertices) == pytest.approx(np.prod(high - low))
