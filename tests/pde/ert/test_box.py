"""A body in a box under a survey: a sphere's series, `dcr`, symmetry, derivatives."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse.linalg
from bodies import BodyInLayers
from mpi4py import MPI
from places import ROOT
from spheres import sphere
from surveys import make

from surrogates.errors import InputError
from surrogates.pde.dcr.body import Body
from surrogates.pde.dcr.potential import receivers
from surrogates.pde.ert import layers as layered
from surrogates.pde.ert.background import Background
from surrogates.pde.ert.box import Box, BoxSettings
from surrogates.pde.ert.cells import laminate
from surrogates.pde.ert.layers import Layers

pytestmark = pytest.mark.fenicsx

SMALL = {"number": 3000, "layers": 12}
Y = np.array([26.3, 2700.0, 0.37, 2.0])
LAYERED = np.array([26.3, 2700.0, 0.37, 2.0, 1.3, 2.5, 4.3, 24.0])


def electrodes(n=12, seed=0):
    """Some at the surface, and some in boreholes at the side of the body."""
    random = np.random.default_rng(seed)
    places = random.uniform(-40, 40, (n, 3))
    places[:, 2] = 0
    places[: n // 4, :2] = 45.0, 10.0
    places[: n // 4, 2] = -np.linspace(5, 40, n // 4)
    return places, np.array([(i, j) for j in range(n) for i in range(j)])


def solved(model, y, places, pairs, comm=MPI.COMM_SELF, **settings):
    box = Box(places, pairs, model, BoxSettings(**settings), comm)
    T = box.solve(y)
    assert not box.failure
    return box, T


def anomaly(model, y, places, pairs, **settings):
    T = solved(model, y, places, pairs, **settings)[1]
    return T - layered.pair_potentials(model.layers(y), places, pairs)


def three_layers(**others):
    return BodyInLayers(resistivity=(100.0, 20.0, 300.0), thickness=(4.3, 24.0), **others)


def deep_sphere(ratio, distance, radius=10.0, blend=2.0, depth=5000.0):
    """A sphere so deep that the surface hardly matters, electrodes around it, and their series."""
    volume = 4 / 3 * np.pi * radius**3
    model = BodyInLayers(
        Body(aspect=(1, 1, 1), blend=blend),
        ratio=ratio,
        lower=(depth - 1, 0.7 * volume, -1),
        upper=(depth + 1, 1.3 * volume, 1),
    )
    random = np.random.default_rng(0)
    rays = random.standard_normal((12, 3))
    lengths = random.uniform(distance, 1.6 * distance, 12)
    rays *= (lengths / np.linalg.norm(rays, axis=1))[:, None]
    pairs = np.array([(i, j) for j in range(12) for i in range(j)])
    edges = radius + blend * (np.linspace(0, 1, 401) - 0.5)
    middles = np.append(0, (edges[1:] + edges[:-1]) / 2)
    y = np.array([depth, volume, 0.0, 2.0])
    points = np.zeros((len(middles), 3))
    points[:, 0], points[:, 2] = middles, -depth
    exact = sphere(model.at(y, points), edges, 0.01, rays, pairs)
    return model, y, rays - [0, 0, depth], pairs, exact


def test_the_background_s_inverse_is_that_of_its_matrix():
    axes = tuple(np.cumsum(np.random.default_rng(i).uniform(1, 3, 9 + i)) for i in range(3))
    axes = axes[0], axes[1], axes[2] - axes[2][-1]
    layers = Layers(resistivity=np.array([50.0, 3.0, 400.0]), thickness=np.array([4.2, 5.1]))
    background = Background(axes, MPI.COMM_SELF)
    vertical = background.vertical(*layers.averages(axes[2]))
    whole = tuple(slice(0, len(axis)) for axis in axes)
    A = background.matrix(whole, vertical)
    box = slice(2, 6), slice(3, 8), slice(4, 11)  # it ends at the surface
    for part in (box, (slice(2, 6), slice(3, 8), slice(2, 5)), whole):
        inside = np.zeros([len(axis) for axis in axes], dtype=bool)
        inside[part] = True
        B = np.zeros((A.shape[0], 3))
        B[inside.ravel()] = np.random.default_rng(0).standard_normal((inside.sum(), 3))
        exact = scipy.sparse.linalg.spsolve(A.tocsc(), B)[inside.ravel()]
        found = background.within(part, vertical).solve(B[inside.ravel()])
        assert np.abs(found - exact).max() < 1e-11 * np.abs(exact).max()


@pytest.mark.parametrize("ratio", [100.0, 0.01])
def test_a_deep_sphere_has_its_legendre_series(ratio):
    *case, exact = deep_sphere(ratio, 25.0)
    error = np.linalg.norm(anomaly(*case, number=12000) - exact) / np.linalg.norm(exact)
    assert error < 3e-3


@pytest.mark.thorough
@pytest.mark.parametrize("ratio", [100.0, 0.01])
def test_finer_cells_come_nearer_to_the_series_with_electrodes_near_the_sphere(ratio):
    *case, exact = deep_sphere(ratio, 13.0)
    errors = [
        np.linalg.norm(anomaly(*case, number=n) - exact) / np.linalg.norm(exact)
        for n in (8000, 64000)
    ]
    assert errors[1] < 1.5e-3
    assert errors[1] < errors[0] / 2


def test_the_body_of_dcr_has_the_anomaly_of_dcr():
    problem = make()
    places, ends = receivers(problem.config.stations)
    n = len(places)
    both = np.concatenate([problem.config.source.electrodes, places])
    pairs = np.array([(a, 2 + k) for a in (0, 1) for k in range(n)])
    d = anomaly(BodyInLayers(), Y, both, pairs)
    u = d[:n] - d[n:]
    ours = u[ends[0]] - u[ends[1]]
    theirs = problem.solve_batch(Y[None, :3]).C[0] - problem.background
    # dcr's own error, mostly that of its far sides, is half a percent.
    assert np.linalg.norm(ours - theirs) < 7e-3 * np.linalg.norm(theirs)


def test_reciprocity_and_the_order_of_electrodes():
    model, (places, pairs) = three_layers(), electrodes()
    T = solved(model, LAYERED, places, pairs, compression=1e-7, **SMALL)[1]
    other = np.random.default_rng(1).permutation(len(places))
    place_of = np.argsort(other)
    swapped = place_of[pairs][:, ::-1]
    again = solved(model, LAYERED, places[other], swapped, compression=1e-7, **SMALL)[1]
    assert np.abs(again - T).max() < 1e-9 * np.abs(T).max()


def test_the_compression_bounds_the_error():
    model, (places, pairs) = three_layers(), electrodes(60)
    exact = solved(model, LAYERED, places, pairs, compression=1e-7, rtol=1e-9, **SMALL)[1]
    own = np.array([(i, i) for i in range(60)])
    large = np.array([(i, j) for j in range(60) for i in range(j)])
    sizes = []
    for tolerance in (1e-3, 1e-5):
        box, T = solved(model, LAYERED, places, pairs, compression=tolerance, rtol=1e-9, **SMALL)
        level = box._levels[0]
        R = level._R
        size = np.sqrt((R**2).sum(axis=0))  # |u_i| in the norm of the compression
        i, j = large.T
        bound = 3 * tolerance * size[i] * size[j]
        assert (np.abs(T - exact) < bound).all()
        sizes.append(len(R))
    assert len(own) >= sizes[1] > sizes[0]


def test_a_body_like_the_ground_changes_nothing():
    model, (places, pairs) = three_layers(ratio=1.0), electrodes()
    box, T = solved(model, LAYERED, places, pairs, **SMALL)
    exact = layered.pair_potentials(model.layers(LAYERED), places, pairs)
    assert np.abs(T - exact).max() < 1e-10 * np.abs(exact).max()


def test_layers_of_equal_resistivity_are_a_half_space():
    places, pairs = electrodes()
    layered_model = BodyInLayers(resistivity=(100.0, 100.0), thickness=(25.3,))
    one = anomaly(BodyInLayers(), Y, places, pairs, **SMALL)
    two = anomaly(layered_model, np.array([*Y, 2.0, 25.3]), places, pairs, **SMALL)
    # The interface divides a layer of cells, which then have more quadrature points.
    assert np.abs(one - two).max() < 2e-3 * np.abs(one).max()


@pytest.mark.parametrize("k", range(8))
def test_taylor(k):
    model, (places, pairs) = three_layers(), electrodes(6)
    box, T = solved(model, LAYERED, places, pairs, rtol=1e-11, compression=1e-7, **SMALL)
    v = np.zeros(8)
    v[k] = [1.0, 400.0, 0.3, 0.2, 0.2, 0.2, 0.5, 0.5][k]
    (slope,) = box.tangents(LAYERED, v[None])
    errors = []
    for step in 2.0 ** -np.arange(3, 7):
        change = box.solve(LAYERED + step * v) - T
        errors.append(np.linalg.norm(change - step * slope))
    orders = -np.diff(np.log2(errors))
    assert (orders > 1.8).all()


def test_tangents_leave_the_sample_s_record():
    model, (places, pairs) = three_layers(), electrodes(6)
    box, _ = solved(model, LAYERED, places, pairs, **SMALL)
    before = box.iterations, box.residual, box.failure
    first = box.tangents(LAYERED, np.eye(8))
    assert (box.iterations, box.residual, box.failure) == before
    second = box.tangents(LAYERED, np.eye(8)[::-1])[::-1]
    assert np.abs(first - second).max() < 1e-9 * np.abs(first).max()


def test_a_laminate_has_the_means_along_and_across_it():
    K = np.zeros((3, 6))
    K[:, :3] = np.array([1.0, 4.0, 10.0])[:, None]
    share = np.array([0.5, 0.25, 0.25])
    (found,) = laminate(K, share, np.array([0]))
    arithmetic, harmonic = share @ K[:, 0], 1 / (share @ (1 / K[:, 0]))
    assert np.allclose(found, [arithmetic, arithmetic, harmonic, 0, 0, 0], rtol=1e-14)


def test_a_body_at_an_electrode_is_a_failure():
    places, pairs = electrodes(6)
    places[2] = 0, 0, -26.3
    box = Box(places, pairs, BodyInLayers(), BoxSettings(**SMALL), MPI.COMM_SELF)
    box.solve(Y)
    assert box.failure == "the change of the ground reaches electrode 3"


def test_few_iterations_are_a_failure():
    places, pairs = electrodes(6)
    box = Box(places, pairs, BodyInLayers(), BoxSettings(max_iterations=2, **SMALL), MPI.COMM_SELF)
    box.solve(Y)
    assert box.failure.startswith("linear solve: diverged_max_it after 2 iterations")


def test_changes_without_bounds_are_refused():
    model = BodyInLayers()
    model.reach = None
    with pytest.raises(InputError, match="needs a bounded region"):
        Box(*electrodes(6), model, BoxSettings(), MPI.COMM_SELF)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"cells": (3, 0, 3)}, "1 to 1000 each, or all 0"),
        ({"cells": (4, 6, 6)}, "multiples of 3"),
        ({"far": 0.5}, "at least 1"),
        ({"compression": 1e-9}, "1e-7 or more"),
        ({"rtol": 0.1}, "at most 1e-3"),
    ],
)
def test_settings_are_checked(setting, words):
    with pytest.raises(InputError, match=words):
        BoxSettings(**setting)


PROGRAM = """
import numpy as np
from mpi4py import MPI
import test_box as t
box, T = t.solved(t.three_layers(), t.LAYERED, *t.electrodes(), comm=MPI.COMM_WORLD, **t.SMALL)
tangents = box.tangents(t.LAYERED, np.eye(8)[:4])
same = MPI.COMM_WORLD.allgather((T, tangents))
assert all((a == T).all() and (b == tangents).all() for a, b in same)
if MPI.COMM_WORLD.rank == 0:
    np.savez("found.npz", T=T, tangents=tangents)
"""


@pytest.mark.mpi
def test_two_processes_find_the_same(tmp_path):
    path = ":".join(map(str, [ROOT, *(ROOT / "tests" / part for part in ("pde/ert", "pde", "."))]))
    subprocess.run(
        ["mpirun", "-n", "2", "--oversubscribe", "-x", "PYTHONPATH", sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**__import__("os").environ, "PYTHONPATH": path},
        timeout=200,
        check=True,
    )
    box, T = solved(three_layers(), LAYERED, *electrodes(), **SMALL)
    tangents = box.tangents(LAYERED, np.eye(8)[:4])
    with np.load(tmp_path / "found.npz") as found:
        assert np.abs(found["T"] - T).max() < 1e-9 * np.abs(T).max()
        assert np.abs(found["tangents"] - tangents).max() < 1e-6 * np.abs(tangents).max()
