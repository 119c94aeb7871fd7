"""Potentials of electrodes on a mesh: against images, reciprocity, derivatives, processes."""

import numpy as np
import pytest
from grounds import (
    all_pairs,
    box,
    contact,
    half_space,
    isotropic,
    of_one_and_two_processes,
    two_layers,
)
from mpi4py import MPI

from surrogates.errors import InputError
from surrogates.pde import meshes
from surrogates.pde.ert.direct import Direct, DirectSettings, cover

pytestmark = pytest.mark.fenicsx

LINE = np.array([(x, 0.0, 0.0) for x in range(-7, 8, 2)])
PAIRS = all_pairs(len(LINE))


def made(cells, electrodes, pairs, **settings):
    homogeneous = half_space(electrodes, pairs)
    return Direct(
        cells,
        electrodes,
        pairs,
        DirectSettings(**settings),
        MPI.COMM_WORLD,
        homogeneous=homogeneous,
    )


def errors(found, exact):
    return np.abs(found / exact - 1)


@pytest.mark.parametrize("tetrahedra", [False, True])
def test_homogeneous_ground(tetrahedra):
    direct = made(box(8, 1, wide=2, tetrahedra=tetrahedra), LINE, PAIRS, degree=1)
    found = direct.solve(isotropic(np.full(len(direct.cells), 0.02)))
    np.testing.assert_allclose(found, 50 * half_space(LINE, PAIRS), rtol=1e-10)
    assert direct.failure == "" and direct.residual < 1e-10 and direct.iterations == 1
    # Electrodes a few cells apart need no large correction.
    apart = np.diff(LINE[PAIRS][:, :, 0])[:, 0] >= 4
    assert np.abs(direct.correction.ratio - 1)[apart].max() < 0.06


def test_vertical_contact_between_electrodes():
    direct = made(box(8, 0.5, wide=2), LINE, PAIRS)
    left = direct.points.mean(axis=1)[:, 0] < 0
    for contrast in (10.0, 0.1):
        found = direct.solve(isotropic(np.where(left, 1.0, contrast)))
        error = errors(found, contact(LINE, PAIRS, 0.0, 1.0, contrast))
        assert np.median(error) < 0.004 and error.max() < 0.03


def test_buried_electrodes_and_a_contact():
    deep = np.array([(x, 0.0, -z) for x in (-3.0, 3.0) for z in (0.0, 1.0, 2.0, 4.0)])
    pairs = all_pairs(len(deep))
    direct = made(box(5, 0.5, wide=2, fine=5), deep, pairs)
    np.testing.assert_allclose(
        direct.placement.angles, np.where(deep[:, 2] < 0, 4, 2) * np.pi, rtol=1e-9
    )
    found = direct.solve(isotropic(np.ones(len(direct.cells))))
    np.testing.assert_allclose(found, half_space(deep, pairs), rtol=1e-10)
    left = direct.points.mean(axis=1)[:, 0] < 0
    found = direct.solve(isotropic(np.where(left, 1.0, 5.0)))
    error = errors(found, contact(deep, pairs, 0.0, 1.0, 5.0))
    assert np.median(error) < 0.004 and error.max() < 0.02


@pytest.mark.parametrize("tetrahedra", [False, True])
def test_two_layers(tetrahedra):
    direct = made(box(8, 0.5, wide=2, tetrahedra=tetrahedra), LINE, PAIRS, degree=1)
    upper = direct.points.mean(axis=1)[:, 2] > -2
    for lower in (0.2, 5.0):
        found = direct.solve(isotropic(np.where(upper, 1.0, lower)))
        assert errors(found, two_layers(LINE, PAIRS, 2.0, 1.0, lower)).max() < 0.035


def test_finer_cells_have_smaller_errors():
    worst = []
    for h in (1.0, 0.5):
        direct = made(box(8, h, wide=2), LINE, PAIRS)
        upper = direct.points.mean(axis=1)[:, 2] > -2
        found = direct.solve(isotropic(np.where(upper, 1.0, 5.0)))
        worst.append(errors(found, two_layers(LINE, PAIRS, 2.0, 1.0, 5.0)).mean())
    assert worst[1] < worst[0] / 2.5


def random_ground(n, seed):
    """Return positive definite tensors, (n, 6), and a change of them."""
    draw = np.random.default_rng(seed)
    K = isotropic(np.exp(draw.normal(0, 0.5, n)))
    K[:, 3:] = draw.uniform(-0.2, 0.2, (n, 3)) * K[:, :1]
    return K, draw.normal(0, 0.3, (n, 6)) * K[:, :1]


def test_reciprocity():
    cells, forward = box(6, 1.5, fine=3), all_pairs(4)
    four = np.array([(-3.0, 0, 0), (3.0, 1.5, 0), (0.4, -2.3, -1.1), (1.5, 0, -3)])
    K, _ = random_ground(len(cells.vertices), 1)
    solved = []
    for pairs in (forward, forward[:, ::-1]):
        direct = made(cells, four, pairs)
        solved.append(direct.solve(K[direct.cells]))
        # The electrode that is solved for depends on the order of numbers alone.
    np.testing.assert_allclose(solved[0], solved[1], rtol=1e-11)
    # Each electrode in turn as the source of all others.
    for source in range(4):
        pairs = np.array([(source, other) for other in range(4) if other != source])
        direct = made(cells, four, pairs)
        assert list(cover(pairs)) == [source]
        found = direct.solve(K[direct.cells])
        for (i, j), T in zip(np.sort(pairs, axis=1), found, strict=True):
            same = (forward == (i, j)).all(axis=1)
            np.testing.assert_allclose(T, solved[0][same], rtol=1e-11)


@pytest.mark.parametrize("degree", [1, 2])
def test_tangents(degree):
    cells = box(6, 2, fine=2, tetrahedra=True)
    direct = made(cells, LINE[1:-1:2], all_pairs(3), degree=degree)
    K, dK = random_ground(len(direct.cells), 2)
    T = direct.solve(K)
    tangent = direct.tangents(np.stack([dK, 2 * dK]))
    np.testing.assert_allclose(tangent[1], 2 * tangent[0], rtol=1e-10)
    steps = 2.0 ** -np.arange(2, 7)
    defects = [np.linalg.norm(direct.solve(K + s * dK) - T - s * tangent[0]) for s in steps]
    orders = np.log2(np.divide(defects[:-1], defects[1:]))
    assert orders.min() > 1.8, orders


def test_quadratic_elements_need_less_correction():
    far = []
    for degree in (1, 2):
        direct = made(box(8, 1, wide=2), LINE, PAIRS, degree=degree)
        far.append(np.median(np.abs(direct.correction.ratio - 1)))
    assert far[1] < far[0] / 5


def test_the_degree_depends_on_the_mesh():
    settings = DirectSettings()
    tetrahedra = box(4, 2, tetrahedra=True)
    assert settings.degree_on(tetrahedra) == 2
    assert settings.degree_on(box(4, 2)) == 1
    many = meshes.Cells("tetrahedron", np.zeros((60_001, 3)), tetrahedra.vertices)
    assert settings.degree_on(many) == 1
    assert DirectSettings(degree=1).degree_on(tetrahedra) == 1


def test_an_electrode_inside_a_cell():
    places = LINE + [0.13, 0.37, 0.0]
    places[2, 2] = -0.7
    direct = made(box(8, 0.5, wide=2), places, PAIRS)
    np.testing.assert_allclose(direct.placement.places, places, atol=1e-12)
    upper = direct.points.mean(axis=1)[:, 2] > -2
    found = direct.solve(isotropic(np.where(upper, 1.0, 5.0)))
    surface = (PAIRS != 2).all(axis=1)
    exact = two_layers(places, PAIRS, 2.0, 1.0, 5.0)
    assert errors(found, exact)[surface].max() < 0.015


def test_the_cover_has_one_electrode_of_each_pair():
    draw = np.random.default_rng(0)
    for n, many in ((2, 1), (9, 12), (40, 200)):
        pairs = np.sort(all_pairs(n)[draw.choice(n * (n - 1) // 2, many, replace=False)], axis=1)
        chosen = cover(pairs)
        assert np.isin(pairs, chosen).any(axis=1).all()
        assert len(chosen) < n
    assert list(cover(np.array([(0, 3), (1, 3), (3, 4)]))) == [3]


def test_a_mesh_that_does_not_meet_the_electrodes():
    cells = box(8, 1)
    with pytest.raises(InputError, match=r"electrode 3 at \(-3, 0, 0.4\) m is outside the mesh, 0"):
        made(cells, LINE + [0, 0, 0.4] * (np.arange(8) == 2)[:, None], PAIRS)
    with pytest.raises(InputError, match="electrodes 4 and 5 are at one place"):
        places = LINE.copy()
        places[4] = places[3]
        made(cells, places, PAIRS[:3])
    near = made(cells, LINE + [0, 0, 0.05], PAIRS)
    np.testing.assert_allclose(near.placement.places, LINE, atol=1e-12)
    np.testing.assert_allclose(near.placement.moved, 0.05, rtol=1e-9)
    with pytest.raises(InputError, match="degree of elements is 1 or 2; got 3"):
        DirectSettings(degree=3)


def test_a_matrix_that_is_not_definite_is_a_failure():
    direct = made(box(8, 2), LINE, PAIRS)
    K = isotropic(np.ones(len(direct.cells)))
    K[:50] *= -1
    found = direct.solve(K)
    assert direct.failure and not np.isfinite(found).any()
    found = direct.solve(np.abs(K))
    assert direct.failure == ""
    np.testing.assert_allclose(found, half_space(LINE, PAIRS), rtol=1e-10)


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from test_direct import all_pairs, box, made, random_ground
places = np.array([(-3.0, 0, 0), (3.0, 1.5, 0), (0.4, -2.3, -1.1), (1.5, 0, -3), (2.2, 0.3, 0)])
cells = box(6, 1.5, fine=3)
direct = made(cells, places, all_pairs(5))
K, dK = random_ground(len(cells.vertices), 1)
T = direct.solve(K[direct.cells])
tangent = direct.tangents(dK[None, direct.cells])
text = direct.description()
if direct.V.mesh.comm.rank == 0:
    np.savez(sys.argv[2], T=T, tangent=tangent, text=text)
"""


@pytest.mark.mpi
@pytest.mark.slow
def test_two_processes_give_the_same(tmp_path):
    one, two = of_one_and_two_processes(PROGRAM, tmp_path)
    np.testing.assert_allclose(two["T"], one["T"], rtol=1e-10)
    np.testing.assert_allclose(two["tangent"], one["tangent"], rtol=1e-8)
    assert str(one["text"]) == str(two["text"])


def test_cells_and_fields():
    cells = box(6, 2, fine=2)
    direct = made(cells, LINE[1:-1:2], all_pairs(3))
    corners = cells.points[cells.vertices[direct.cells]]
    np.testing.assert_allclose(direct.points.mean(axis=1), corners.mean(axis=1), atol=1e-9)
    np.testing.assert_allclose(direct.weights.sum(), 1)
    field = direct.field(isotropic(np.arange(1.0, 1 + len(direct.cells))))
    assert field.at_cells["conductivity [S/m]"].max() == len(direct.cells)
    middle = field.points[field.cells].mean(axis=1)
    np.testing.assert_allclose(middle, corners.mean(axis=1), atol=1e-9)
    assert isinstance(cells, meshes.Cells) and "hexahedra" in direct.description()
