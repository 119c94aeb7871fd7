"""Shares of cells on one side of a plane."""

import itertools

import numpy as np
import pytest
from ground_models import boxes

from surrogates.pde.ert.models.cuts import horizontal, oblique

pytestmark = pytest.mark.fenicsx  # by the package; the modules need numpy and scipy alone

NORMAL = np.array([0.48, 0.6, 0.64])
UP = np.array([0.0, 0.0, 1.0])


def tetrahedra(n, seed=0):
    """Return the vertices of tetrahedra (n, 4, 3), and their quadrature points of degree 2."""
    vertices = np.random.default_rng(seed).uniform(-1, 1, (n, 4, 3))
    return vertices, degree_2(vertices)


def degree_2(vertices):
    a = (5 - np.sqrt(5)) / 20
    return a * vertices.sum(axis=1, keepdims=True) + (1 - 4 * a) * vertices


def kuhn(n):
    """Return the vertices of tetrahedra that divide boxes [0, n] x [0, 1]^2 along x3, up."""
    found = []
    for k, order in itertools.product(range(n), itertools.permutations(range(3))):
        corner = np.zeros((4, 3))
        for step, axis in enumerate(order, 1):
            corner[step:, axis] += 1
        found.append(corner + [0, 0, k])
    return np.array(found)


def test_shares_of_tetrahedra_are_those_of_random_points():
    vertices, points = tetrahedra(60)
    inside = np.random.default_rng(1).dirichlet(np.ones(4), 40000)
    weights = np.full(4, 0.25)
    for normal, offset in ((NORMAL, 0.1), (UP, -0.2)):
        expected = (vertices @ normal - offset).swapaxes(0, 1)
        expected = (np.einsum("vn,sv->sn", expected, inside) > 0).mean(axis=0)
        d = points @ normal - offset
        found = oblique(d, normal, points, weights)
        assert ((expected > 0) & (expected < 1)).sum() > 30
        assert np.abs(found - expected).max() < 5 * 0.5 / 200
        assert found == pytest.approx(horizontal(d, weights), abs=1e-15)


@pytest.mark.parametrize("cells", ["tetrahedra", "boxes"])
def test_shares_and_their_derivatives_by_the_plane_s_place_add_up(cells):
    # A column of cells between x3 = 0 and 3: the derivative of its volume is the section, also
    # where the plane is on faces of cells, which rounding moves.
    if cells == "boxes":
        points, weights, _ = boxes((0, 0, 0), (1, 1, 3), (1, 1, 3))
        volumes = np.ones(3)
    else:
        points, weights, volumes = degree_2(kuhn(3)), np.full(4, 0.25), np.full(18, 1 / 6)
    steps = 1e-30j
    for place in np.concatenate([np.linspace(0.1, 2.9, 57), [3, 1, 2, 1 + 2e-16, 2 - 5e-16]]):
        share = horizontal(points[..., 2] - place + steps, weights)
        assert share.real @ volumes == pytest.approx(3 - place, rel=1e-12)
        assert share.imag @ volumes / 1e-30 == pytest.approx(1, rel=1e-7)


def test_shares_of_boxes_are_exact():
    points, weights, _ = boxes((-3, -3, -4), (3, 3, 0), (6, 5, 4))
    fine, _, _ = boxes((-3, -3, -4), (3, 3, 0), (240, 200, 160), order=1)
    expected = (fine[:, 0] @ NORMAL + 0.5 > 0).reshape(6, 40, 5, 40, 4, 40).mean(axis=(1, 3, 5))
    found = oblique(points @ NORMAL + 0.5, NORMAL, points, weights)
    assert ((expected > 0) & (expected < 1)).sum() > 20
    # A tenth of a box, which the edges are at least long, smears the share by half a percent.
    assert np.abs(found - expected.ravel()).max() < 0.005
    middle = horizontal(points[..., 2] + 1.3, weights).reshape(6, 5, 4)
    assert middle == pytest.approx(np.broadcast_to([0, 0, 0.3, 1], (6, 5, 4)), abs=1e-13)


@pytest.mark.parametrize("cells", ["tetrahedra", "boxes"])
def test_derivatives_of_oblique_shares_are_those_of_differences(cells):
    if cells == "boxes":
        points, weights, _ = boxes((-1, -1, -1), (1, 1, 1), (3, 3, 3))
    else:
        points, weights = tetrahedra(50, seed=2)[1], np.full(4, 0.25)

    def share(t):
        normal = NORMAL + np.array([0.3, -0.1, 0.2]) * t
        return oblique(points @ normal - 0.1 * t, normal, points, weights)

    slope = share(1e-30j).imag / 1e-30
    h = 1e-4
    expected = (8 * (share(h) - share(-h)) - (share(2 * h) - share(-2 * h))) / (12 * h)
    assert np.abs(slope).max() > 0.1
    assert np.abs(slope - expected).max() < 1e-5
    if cells == "boxes":  # where a plane is along faces too, the slope does not jump
        d = points @ UP
        slopes = [
            oblique(d + 1 / 3 + eps + 1e-30j, UP, points, weights).imag / 1e-30
            for eps in (-1e-7, 0, 1e-7)
        ]
        assert np.abs(np.diff(slopes, axis=0)).max() < 1e-4


def test_a_single_point_has_no_extent():
    points = np.random.default_rng(0).uniform(-1, 1, (20, 1, 3))
    expected = points[:, 0, 2] > 0.1
    for found in (
        horizontal(points[..., 2] - 0.1, np.ones(1)),
        oblique(points[..., 2] - 0.1, UP, points, np.ones(1)),
    ):
        assert (found == expected).all()
