"""The surface of the ground between points, and the shapes of tetrahedra below it."""

import itertools

import numpy as np
import pytest

from surrogates.errors import InputError
from surrogates.survey.mesh import _Map
from surrogates.survey.terrain import Terrain
from surrogates.survey.tetrahedra import relaxed, shapes

RNG = np.random.default_rng(4)
SCATTERED = RNG.uniform(0, 40, (80, 2))


def with_height(plane, height):
    return np.column_stack([plane, height(plane[:, 0], plane[:, 1])])


def wavy(x, y):
    return 110 + 3 * np.sin(x / 9) * np.cos(y / 7)


def test_the_surface_passes_through_its_points():
    points = with_height(SCATTERED, wavy)
    assert Terrain(points)(points) == pytest.approx(points[:, 2], abs=1e-9)


def test_it_is_linear_between_points_of_a_plane():
    terrain = Terrain(with_height(SCATTERED, lambda x, y: 100 + x / 2 - y / 5))
    places = SCATTERED.mean(axis=0) + RNG.uniform(-8, 8, (50, 2))
    assert terrain(places) == pytest.approx(100 + places @ [1 / 2, -1 / 5])


def test_it_converges_with_more_points():
    places, errors = RNG.uniform(5, 35, (500, 2)), []
    for n in (11, 21):
        axis = np.linspace(0, 40, n)
        grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        errors.append(np.abs(Terrain(with_height(grid, wavy))(places) - wavy(*places.T)).max())
    assert errors[1] < errors[0] / 3


def test_beyond_the_points_the_nearest_of_the_hull_holds():
    corners = np.array([[0.0, 0, 1], [10, 0, 2], [10, 10, 5], [0, 10, 4], [5, 5, 9]])
    far = np.array([[-50.0, -70], [30, -1], [12, 4], [5, 99], [5, -1e6]])
    assert Terrain(corners)(far) == pytest.approx([1, 2, 3.2, 4.5, 1.5], abs=1e-4)


@pytest.mark.parametrize("direction", [[1.0, 0], [0.6, -0.8], [0, 1]])
def test_points_on_a_line_give_a_surface_that_varies_along_it(direction):
    along, across = np.array(direction), np.array([-direction[1], direction[0]])
    t = np.arange(21.0)
    wiggle = 0.05 * (-1) ** np.arange(21)
    plane = t[:, None] * along + wiggle[:, None] * across + [3, 4]
    terrain = Terrain(np.column_stack([plane, np.sin(t)]))
    places = [3, 4] + 4.0 * along + np.outer([-30, 0, 30], across)
    assert terrain(places) == pytest.approx(np.full(3, np.sin(4)), abs=0.01)
    ends = [3, 4] + np.outer([-5.0, 25], along)
    assert terrain(ends) == pytest.approx([0, np.sin(20)])


def test_one_point_is_a_plane_and_none_is_refused():
    assert Terrain(np.array([[3.0, 4, 7]]))(SCATTERED) == pytest.approx(np.full(80, 7.0))
    with pytest.raises(InputError, match="at least one point"):
        Terrain(np.zeros((0, 3)))


def test_the_map_of_the_box_is_the_surface_at_its_top_and_flat_at_its_bottom():
    points = with_height(SCATTERED, wavy)
    moved = _Map(Terrain(points), points, 100.0)
    box = moved.inverse(points)
    assert box[:, 2] == pytest.approx(np.zeros(80), abs=1e-7)
    box[:, 2] = 0
    assert moved(box) == pytest.approx(points)
    bottom = moved(box - [0, 0, moved.depth])
    assert bottom[:, 2] == pytest.approx(np.full(80, points[:, 2].min() - 100))
    below = points - [0, 0, 1] * RNG.uniform(0.1, 50, (80, 1))
    assert moved(moved.inverse(below)) == pytest.approx(below)


def test_the_map_keeps_the_order_of_depths_under_sharp_edges():
    ridge = np.array(
        [[-50.0, 0, 0], [50, 0, 0], [0, 0, 60], [0, 99, 60], [-50, 99, 0], [50, 99, 0]]
    )
    for points in (ridge, ridge * [1, 1, -1]):
        moved = _Map(Terrain(points), points, 200.0)
        z = np.linspace(-moved.depth, 0, 400)
        for x in (-20.0, 0.0, 3.0):
            at = np.column_stack([np.full(400, x), np.full(400, 50.0), z])
            assert (np.diff(moved(at)[:, 2]) > 0).all()


def kuhn(n):
    """A cube of n^3 cubes of six tetrahedra each."""
    number = np.arange((n + 1) ** 3).reshape(n + 1, n + 1, n + 1)
    points = np.stack(np.meshgrid(*[np.arange(n + 1.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    cells = []
    for a, b in itertools.permutations(range(3), 2):
        steps = np.zeros((4, 3), dtype=int)
        steps[1:, a] = steps[2:, b] = steps[3] = 1
        parts = [number[tuple(slice(s, n + s) for s in step)].ravel() for step in steps]
        odd = np.linalg.det(np.diff(steps, axis=0)) < 0
        cells.append(np.stack(parts, axis=1)[:, [1, 0, 2, 3] if odd else [0, 1, 2, 3]])
    return points, np.concatenate(cells)


def test_shapes_are_those_of_known_tetrahedra():
    regular = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])[[0, 1, 3, 2]]
    assert abs(shapes(regular)) == pytest.approx(1)
    assert shapes(regular[[1, 0, 2, 3]]) == pytest.approx(-shapes(regular))
    points, cells = kuhn(1)
    assert shapes(points[cells]) == pytest.approx(0.756, abs=1e-3)
    assert shapes(5 * points[cells]) == pytest.approx(shapes(points[cells]))


def test_folded_cells_are_mended_by_moves_of_free_nodes_alone():
    points, cells = kuhn(4)
    fixed = ((points == 0) | (points == 4)).any(axis=1)
    folded = points + np.where(fixed[:, None], 0, RNG.uniform(-0.9, 0.9, points.shape))
    assert (shapes(folded[cells]) < 0).sum() > 20
    found = relaxed(folded, cells, fixed, 0.2)
    assert shapes(found[cells]).min() > 0.1
    assert np.array_equal(found[fixed], points[fixed])
    assert np.array_equal(relaxed(points, cells, fixed, 0.2), points)
