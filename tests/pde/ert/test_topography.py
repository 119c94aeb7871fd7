"""Homogeneous ground under a top that is not flat: against images, and around a sphere."""

import numpy as np
import pytest
from grounds import (
    all_pairs,
    box,
    half_space,
    isotropic,
    of_one_and_two_processes,
    pit,
    ridge,
    under_ridge,
    with_pit,
)
from mpi4py import MPI
from scipy.spatial import cKDTree

from surrogates.errors import InputError
from surrogates.pde import meshes
from surrogates.pde.ert.direct import Direct, DirectSettings
from surrogates.pde.ert.surface import boundary, closest, place, solid_angle

pytestmark = pytest.mark.fenicsx


def made(cells, electrodes, **settings):
    pairs = all_pairs(len(electrodes))
    return Direct(cells, electrodes, pairs, DirectSettings(**settings), MPI.COMM_WORLD)


def errors(direct, exact):
    return np.abs(direct.homogeneous / exact - 1)


@pytest.mark.parametrize("tetrahedra", [False, True])
def test_flat_ground_needs_no_correction_of_point_sources(tetrahedra):
    places = np.array([(x, 0.0, -z) for x in (-3.0, 0.0, 1.0) for z in (0.0, 0.5, 1.0, 3.0)])
    places[4] += [0.3, 0.2, 0]  # inside a face, and the next one inside a cell
    places[5] += [0.3, 0.2, 0.1]
    direct = made(box(4, 1, wide=2, tetrahedra=tetrahedra), places, tolerance=0.05, degree=1)
    exact = half_space(places, direct.pairs)
    assert errors(direct, exact).max() < 1e-3  # of the far sides
    found = direct.solve(isotropic(np.full(len(direct.cells), 0.1)))
    np.testing.assert_allclose(found, 10 * direct.homogeneous, rtol=1e-10)
    np.testing.assert_allclose(
        direct.placement.angles, np.where(places[:, 2] < 0, 4, 2) * np.pi, rtol=1e-9
    )
    assert "exchanging the two electrodes" in direct.notes[0]


RIDGE = ridge(np.array([(x, y, 0.0) for x in (-4.0, -2.0, 0.0, 1.0, 3.0) for y in (-1.0, 2.0)]))


@pytest.mark.parametrize(("tetrahedra", "least"), [(False, 0.008), (True, 0.03)])
def test_a_ridge_of_a_right_angle(tetrahedra, least):
    cells = box(5, 0.5, wide=3, growth=1.4, move=ridge, tetrahedra=tetrahedra)
    direct = made(cells, RIDGE, degree=1)
    error = errors(direct, under_ridge(RIDGE, direct.pairs))
    assert np.median(error) < least
    assert error.max() < 0.05
    # The electrodes on the crest see a quarter of a whole space.
    crest = RIDGE[:, 0] == 0
    np.testing.assert_allclose(direct.placement.angles, np.where(crest, 1, 2) * np.pi)


PIT = 4.0
WANTED = np.array(
    [(6, 0, 0), (-6, 0, 0), (0, 6, 0), (9, 0, 0), (9, 9, 0), (4, 0, 0), (0, 0, -4), (0, -3, -3)]
    + [(0, 0, -7), (6, 0, -2)],  # buried, on the bottom's normal and beside the pit
    dtype=float,
)


def in_pit(n, **settings):
    """Return electrodes near the wanted places, at nodes, and the errors of their potentials."""
    cells = pit(n, PIT, 150.0)
    electrodes = cells.points[cKDTree(cells.points).query(WANTED)[1]]
    direct = made(cells, electrodes, **settings)
    return direct, errors(direct, with_pit(electrodes, direct.pairs, PIT))


def test_a_pit_converges_in_two_refinements():
    (_, coarse), (_, middle), (direct, fine) = (in_pit(n) for n in (3, 6, 12))
    medians = np.median([coarse, middle, fine], axis=1)
    orders = np.log2(medians[:-1] / medians[1:])
    assert 1.5 < orders[1] < 2.5, orders
    assert medians[2] < 0.0015 and fine.max() < 0.015
    assert direct.placement.buried.sum() == 2


def test_quadratic_tetrahedra_are_better_under_a_ridge():
    cells = box(5, 1, wide=3, far=60, deep=40, move=ridge, tetrahedra=True)
    medians = []
    for degree in (1, 2):
        direct = made(cells, RIDGE, degree=degree)
        medians.append(np.median(errors(direct, under_ridge(RIDGE, direct.pairs))))
    assert medians[1] < 0.01 and medians[1] < medians[0] / 3, medians


def test_quadratic_elements_are_better_in_a_pit():
    # The form of the cells limits them: their edges are straight.
    assert np.median(in_pit(5, degree=2)[1]) < np.median(in_pit(5)[1]) / 2


def test_solid_angles():
    cells = box(2, 1, far=4, deep=4)
    surface = boundary(cells, np.zeros((1, 3)))
    triangles, _ = surface.triangles(surface.faces)
    low, high = cells.points.min(axis=0), cells.points.max(axis=0)
    inside = (low + high) / 2
    for at, whole in (
        (inside, 4),
        ([inside[0], 0.2, 0], 2),
        ([low[0], 0.2, 0], 1),
        ([*low[:2], 0], 0.5),
        (high + 1, 0),
    ):
        found = solid_angle(triangles, np.array(at))
        np.testing.assert_allclose(found, whole * np.pi, atol=1e-9)


def test_the_closest_points_of_triangles():
    draw = np.random.default_rng(3)
    triangles = draw.normal(size=(60, 3, 3))
    weights = draw.dirichlet(np.ones(3), 4000)
    for x in draw.normal(size=(5, 3)):
        found = closest(triangles, x)
        distance = np.linalg.norm(found - x, axis=1)
        sampled = np.linalg.norm(np.einsum("sk,nki->nsi", weights, triangles) - x, axis=2)
        assert (distance <= sampled.min(axis=1) + 1e-12).all()
        assert np.median(sampled.min(axis=1) - distance) < 0.05
        # They are in the triangles.
        again = np.array([closest(t[None], p)[0] for t, p in zip(triangles, found, strict=True)])
        np.testing.assert_allclose(again, found, atol=1e-9)


def test_electrodes_near_a_slope_are_put_on_it():
    cells = box(5, 1, wide=3, move=ridge)
    off = RIDGE + 0.06 / np.sqrt(2) * np.sign(RIDGE[:, :1]) * [1, 0, 0] + [0, 0, 0.06 / np.sqrt(2)]
    off[RIDGE[:, 0] == 0] = RIDGE[RIDGE[:, 0] == 0]
    placed = place(cells, boundary(cells, off), off, 0.1)
    np.testing.assert_allclose(placed.places, RIDGE, atol=1e-9)
    away = np.where(RIDGE[:, 0] == 0, 0, 0.06)
    np.testing.assert_allclose(placed.moved, away, atol=1e-9)
    with pytest.raises(InputError, match=r"electrode 1 at .* is outside the mesh, 0.06 m"):
        place(cells, boundary(cells, off), off, 0.02)


def test_a_mesh_without_far_sides():
    cells = pit(4, PIT, 10.0)
    with pytest.raises(InputError, match="the mesh has no far sides"):
        # Nothing is further out than the electrodes, and a ball has no sides.
        boundary(cells, np.array([(-11.0, 0, 0), (11.0, 0, 0)]))
    assert isinstance(cells, meshes.Cells)


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from test_topography import RIDGE, box, made, ridge
cells = box(5, 1, wide=3, far=30, deep=20, move=ridge, tetrahedra=True)
direct = made(cells, np.concatenate([RIDGE[::2], [(0.5, 0.0, -2.0), (-1.0, 1.2, -3.3)]]))
assert direct.V.dofmap.index_map.size_global > 3 * len(cells.points)  # quadratic
if direct.V.mesh.comm.rank == 0:
    np.savez(sys.argv[2], T=direct.homogeneous)
"""


@pytest.mark.mpi
@pytest.mark.slow
def test_two_processes_give_the_same_under_a_ridge(tmp_path):
    one, two = of_one_and_two_processes(PROGRAM, tmp_path)
    np.testing.assert_allclose(two["T"], one["T"], rtol=1e-10)
