"""A body in a box under a survey: a sphere's series, `dcr`, symmetry, derivatives."""

import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse.linalg
from bodies import body, deep_sphere, electrodes, hemisphere, in_layers, inner
from mpi4py import MPI
from places import ROOT
from surveys import make

from surrogates.config import read
from surrogates.errors import InputError
from surrogates.pde.dcr.body import Body
from surrogates.pde.dcr.potential import receivers
from surrogates.pde.ert import layers as layered
from surrogates.pde.ert import region
from surrogates.pde.ert.background import Background
from surrogates.pde.ert.box import Box, BoxSettings
from surrogates.pde.ert.case import Case, case_of
from surrogates.pde.ert.cells import laminate
from surrogates.pde.ert.config import ERTConfig
from surrogates.pde.ert.layers import Layers
from surrogates.pde.ert.ways import way_of
from surrogates.survey import Survey

pytestmark = pytest.mark.fenicsx

SMALL = {"number": 3000, "layers": 12}


def solved(model, y, places, pairs, comm=MPI.COMM_SELF, **settings):
    box = Box(places, pairs, model, BoxSettings(**settings), comm)
    T = box.solve(y)
    assert not box.failure
    return box, T


def anomaly(model, y, places, pairs, **settings):
    T = solved(model, y, places, pairs, **settings)[1]
    return T - layered.pair_potentials(model.layers(y), places, pairs)


@pytest.mark.parametrize("numbers", [(9, 10, 11), (9, 12, 11), (13, 10, 11)])
def test_the_background_s_inverse_is_that_of_its_matrix(numbers):
    axes = tuple(np.cumsum(np.random.default_rng(n).uniform(1, 3, n)) for n in numbers)
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
        exact = scipy.sparse.linalg.spsolve(A.tocsc(), B)
        found = background.within(part, vertical).solve(B[inside.ravel()])
        assert np.abs(found - exact[inside.ravel()]).max() < 1e-11 * np.abs(exact).max()
        b = B[inside.ravel(), 0].reshape([k.stop - k.start for k in part])
        found = background.everywhere(b, part, vertical).ravel()
        assert np.abs(found - exact[:, 0]).max() < 1e-11 * np.abs(exact).max()


def test_only_the_cells_of_the_body_change():
    model = in_layers()
    y = inner(model)
    box, _ = solved(model, y, *electrodes(4), **SMALL)
    for level in box._levels:
        cells = level._cells
        edges = [axis[core] for axis, core in zip(level._grid.axes, level._grid.core, strict=True)]
        fine, part = cells._divided(model.layers(y))
        n1, n2 = (slice(0, len(x) - 1) for x in edges[:2])
        all_of_them = model.changed(y, cells._points(n1, n2, fine))
        parts = all_of_them.reshape(n1.stop, n2.stop, -1)
        assert len(fine) > len(edges[2])  # a bottom divides cells
        assert (np.logical_or.reduceat(parts, part, axis=2) == cells._changed).all()


@pytest.mark.parametrize("resistivity", [1.0, 10000.0])
@pytest.mark.parametrize("place", [deep_sphere, hemisphere])
def test_a_sphere_has_its_legendre_series(place, resistivity):
    *case, exact = place(resistivity, 25.0)
    error = np.linalg.norm(anomaly(*case, number=12000) - exact) / np.linalg.norm(exact)
    assert error < 3e-3


def test_the_resolution_is_chosen_by_the_least_semi_axis():
    *case, exact = deep_sphere(1.0, 20.0, blend=5.0)
    box, T = solved(*case)
    assert max(box._levels[0]._cells.size) <= 9.0 / 6  # the semi-axes are 9 m or more
    found = T - layered.pair_potentials(case[0].layers(case[1]), *case[2:])
    assert np.linalg.norm(found - exact) < 5e-3 * np.linalg.norm(exact)


def test_a_large_body_limits_the_cells_and_that_is_said():
    model = body((20, 30), ((1, 12),) * 3, blend=0.5)
    (note,) = region.notes(model, BoxSettings())
    assert note.startswith("the smallest body has 1.8 cells over its least semi-axis, not ")
    made = region.grids(model, BoxSettings())[0]
    size = np.diff(made.axes[0][made.core[0]])[0]
    assert 80_000 < (24.5 / size) ** 3 < 110_000
    assert region.notes(model, BoxSettings(resolution=1.5)) == ()
    assert region.notes(body((20, 30), ((9, 12),) * 3), BoxSettings()) == ()


def test_layers_alone_are_exact():
    model = body(10, (1, 1, 1), "model.kind=layers", "layers.resistivity=[[5,20],[50,200]]")
    places, both = electrodes()
    y = inner(model)
    box, T = solved(model, y, places, both)
    assert np.allclose(T, layered.pair_potentials(model.layers(y), places, both), rtol=1e-12)
    tangents = box.tangents(y, np.eye(len(y)))
    exact = layered.pair_derivatives(model.layers(y), places, both)
    assert np.allclose(tangents, model.layer_derivatives(y, np.eye(len(y))) @ exact, rtol=1e-12)
    with pytest.raises(InputError, match="no field to write"):
        box.field(y)


def test_the_field_is_the_potential_of_the_pairs():
    """At a node far from the body, the field is an electrode's potential there by reciprocity."""
    model, (places, both) = in_layers(), electrodes(6)
    y = inner(model)
    box, _ = solved(model, y, places, both, number=8000, layers=24)
    field = box.field(y)
    away = np.linalg.norm(field.points - [0, 0, -28], axis=1)
    nodes = np.flatnonzero((away > 30) & (away < 50) & (field.points[:, 2] < -5))[::97]
    others = np.concatenate([places[:1], field.points[nodes]])
    new = np.array([(0, 1 + k) for k in range(len(nodes))])
    exact = anomaly(model, y, others, new, number=8000, layers=24)
    found = field.at_points["potential of the change [V/A]"][nodes]
    assert len(nodes) > 20
    assert np.linalg.norm(found - exact) < 0.03 * np.linalg.norm(exact)
    conductivity = field.at_cells["conductivity [S/m]"]
    assert np.isclose(conductivity.max(), 10 ** -y[-1], rtol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("resistivity", [1.0, 10000.0])
@pytest.mark.parametrize("place", [deep_sphere, hemisphere])
def test_finer_cells_come_nearer_to_the_series(place, resistivity):
    """With electrodes near the sphere's edge, and the order of the extrapolation."""
    *case, exact = place(resistivity, 13.0)
    coarse, fine = (
        np.linalg.norm(anomaly(*case, number=n, layers=layers) - exact) / np.linalg.norm(exact)
        for n, layers in ((8000, 24), (64000, 48))
    )
    assert fine < 1e-3
    assert fine < coarse / 4


def test_the_body_of_dcr_has_the_anomaly_of_dcr():
    problem = make("stations.number=[5,5]", "stations.spacing=[20,20]")
    places, ends = receivers(problem.config.stations)
    n = len(places)
    both = np.concatenate([problem.config.source.electrodes, places])
    some = np.array([(a, 2 + k) for a in (0, 1) for k in range(n)])
    model = body(
        (20, 35), Body().semi_axes(2700.0), "body.rotation=[-1,1]", blend=problem.config.body.blend
    )
    d = anomaly(model, np.array([26.3, 0.37]), both, some)
    u = d[:n] - d[n:]
    ours = u[ends[0]] - u[ends[1]]
    c = problem.solve_batch(np.array([[26.3, 2700.0, 0.37]])).C[0]
    theirs = c - problem.background
    # dcr's own error, mostly that of its far sides, is half a percent.
    assert np.linalg.norm(ours - theirs) < 7e-3 * np.linalg.norm(theirs)


@pytest.mark.thorough
def test_the_whole_mesh_comes_nearer_to_the_box_as_it_is_refined():
    """`direct` shares no code with the box but the model: its error of the anomaly has order 2."""
    settings = ["survey.electrodes=16", "survey.spacing=5", "body.blend=2", "body.x2=[0,2]"]
    settings += ["model.background=[100,100]", "body.resistivity=[2,5]", "body.x1=[35,40]"]
    settings += ["body.depth=[9,10]", "body.a1=[8,9]", "body.a2=[6,7]", "body.a3=[4,5]"]

    def found(*overrides):
        case = case_of(read(ERTConfig, None, (*settings, *overrides)))
        y = inner(case.model)
        T = way_of(case, MPI.COMM_SELF).solve(y)
        known = layered.pair_potentials(case.model.layers(y), case.electrodes, case.survey.pairs)
        return case.survey.combine(T) / case.survey.combine(known) - 1

    ours = found("solver.method=box")
    coarse, fine = (
        np.linalg.norm(found("solver.method=direct", f"grid.cells={n}", "grid.nodes=200000") - ours)
        for n in (3, 5)
    )
    assert fine < 0.06 * np.linalg.norm(ours)
    assert fine < coarse / 2.5


def test_reciprocity_and_the_order_of_electrodes():
    model, (places, both) = in_layers(), electrodes()
    y = inner(model)
    T = solved(model, y, places, both, compression=1e-7, **SMALL)[1]
    other = np.random.default_rng(1).permutation(len(places))
    swapped = np.argsort(other)[both][:, ::-1]
    again = solved(model, y, places[other], swapped, compression=1e-7, **SMALL)[1]
    assert np.abs(again - T).max() < 1e-9 * np.abs(T).max()


def test_the_compression_bounds_the_error():
    model, (places, both) = in_layers(), electrodes(60)
    y = inner(model)
    exact = solved(model, y, places, both, compression=1e-7, rtol=1e-9, **SMALL)[1]
    sizes = []
    for tolerance in (1e-2, 1e-4):
        box, T = solved(model, y, places, both, compression=tolerance, rtol=1e-9, **SMALL)
        bound = np.zeros(len(both))
        for level, weight in zip(box._levels, box._weights, strict=True):
            size = np.sqrt((level._R**2).sum(axis=0))  # |u_i| in the norm of the compression
            i, j = both.T
            bound += abs(weight) * (2 * tolerance + tolerance**2) * size[i] * size[j]
        assert (np.abs(T - exact) < bound).all()
        sizes.append(len(box._levels[0]._R))
    assert sizes[0] < sizes[1] < 60


def test_a_body_like_the_ground_changes_nothing():
    model = body((20, 35), ((8, 12),) * 3, resistivity=100.0)
    places, both = electrodes()
    y = inner(model)
    T = solved(model, y, places, both, **SMALL)[1]
    exact = layered.pair_potentials(model.layers(y), places, both)
    assert np.abs(T - exact).max() < 1e-12 * np.abs(exact).max()


def test_layers_of_equal_resistivity_are_a_half_space():
    places, both = electrodes()
    changes = ("model.kind=body-in-layers", "layers.thickness=[[25.3,25.3]]")
    two = body((20, 35), (12, 8, 6), *changes, "layers.resistivity=[[100,100],[100,100]]")
    one = body((20, 35), (12, 8, 6))
    y = np.array([26.3])
    first, second = (anomaly(model, y, places, both, **SMALL) for model in (one, two))
    # The bottom divides a layer of cells, which then have more quadrature points.
    assert np.abs(first - second).max() < 3e-3 * np.abs(first).max()


@pytest.mark.thorough
def test_a_body_that_bottoms_of_layers_cut_converges():
    model, (places, both) = in_layers(), electrodes()
    y = inner(model)
    values = [
        anomaly(model, y, places, both, number=n, layers=layers)
        for n, layers in ((4000, 24), (16000, 36), (64000, 60))
    ]
    first, second = (np.linalg.norm(v - values[2]) / np.linalg.norm(values[2]) for v in values[:2])
    assert second < 5e-3
    assert second < first / 2


def test_tangents_are_derivatives():
    """Taylor tests, in each parameter of the layers and of the body."""
    model, (places, both) = in_layers(), electrodes(6)
    y = inner(model)
    tight = {"number": 2000, "layers": 6, "rtol": 1e-11, "compression": 1e-7}
    box, T = solved(model, y, places, both, **tight)
    V = np.diag(model.y_upper - model.y_lower)
    slopes = box.tangents(y, V)
    assert len(V) == 11
    for name, v, slope in zip(model.y_names, V, slopes, strict=True):
        errors = [
            np.linalg.norm(box.solve(y + step * v) - T - step * slope)
            for step in 2.0 ** -np.arange(7, 10)
        ]
        orders = -np.diff(np.log2(errors))
        assert (orders > 1.8).all(), (name, orders)


def test_tangents_of_directions_are_linear_and_leave_the_record():
    model, (places, both) = in_layers(), electrodes(6)
    y = inner(model)
    box, _ = solved(model, y, places, both, **SMALL)
    before = box.iterations, box.residual, box.failure
    J = box.tangents(y, np.eye(11))
    assert (box.iterations, box.residual, box.failure) == before
    V = np.random.default_rng(0).standard_normal((2, 11))
    assert np.abs(box.tangents(y, V) - V @ J).max() < 1e-6 * np.abs(V @ J).max()


def test_a_laminate_has_the_means_along_and_across_it():
    K = np.zeros((3, 6))
    K[:, :3] = np.array([1.0, 4.0, 10.0])[:, None]
    share = np.array([0.5, 0.25, 0.25])
    (found,) = laminate(K, share, np.array([0]))
    arithmetic, harmonic = share @ K[:, 0], 1 / (share @ (1 / K[:, 0]))
    assert np.allclose(found, [arithmetic, arithmetic, harmonic, 0, 0, 0], rtol=1e-14)


def test_a_body_at_an_electrode_is_a_failure():
    model, (places, both) = in_layers(), electrodes(6)
    y = inner(model)
    places[2] = 0, 0, -y[model.y_names.index("depth")]
    box = Box(places, both, model, BoxSettings(**SMALL), MPI.COMM_SELF)
    box.solve(y)
    assert box.failure == "the change of the ground reaches electrode 3"


def test_a_box_is_chosen_unless_the_body_can_reach_an_electrode():
    settings = [f"body.{key}=[10,10]" for key in ("x1", "depth")] + ["body.x2=[0,0]"]
    settings += [f"body.a{i}=[3,4]" for i in (1, 2, 3)]
    line = np.array([(2.0 * i, 0.0, 0.0) for i in range(12)])

    def case(depth, method):
        places = np.concatenate([line, [(9.0, 0.0, -depth)]])
        survey = Survey(electrodes=places, data=np.array([(0, 3, 6, 12), (1, 2, 4, 5)]))
        made = read(ERTConfig, None, (*settings, f"solver.method={method}"))
        return Case(made, survey, survey.ground(0.0))

    assert case(3.0, "auto").method == "box"
    assert case(10.0, "auto").method == "direct"
    with pytest.raises(InputError, match="no electrode where the body can be"):
        case(10.0, "box").method  # noqa: B018 - it is found when it is read


def test_few_iterations_are_a_failure():
    model, (places, both) = in_layers(), electrodes(6)
    box = Box(places, both, model, BoxSettings(max_iterations=2, **SMALL), MPI.COMM_SELF)
    box.solve(inner(model))
    assert box.failure.startswith("linear solve: diverged_max_it after 2 iterations")


def test_changes_without_bounds_are_refused():
    model = in_layers()
    model.reach = None
    with pytest.raises(InputError, match="needs a bounded region"):
        Box(*electrodes(6), model, BoxSettings(), MPI.COMM_SELF)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"cells": (3, 0, 3)}, "1 to 1000 each, or all 0"),
        ({"cells": (4, 6, 6)}, "multiples of 3"),
        ({"number": 8}, "27 to 10000000"),
        ({"resolution": 0.5}, "1 to 100"),
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
model = t.in_layers()
y = t.inner(model)
box, T = t.solved(model, y, *t.electrodes(), comm=MPI.COMM_WORLD, **t.SMALL)
tangents = box.tangents(y, np.eye(11)[::2])
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
        env={**os.environ, "PYTHONPATH": path},
        timeout=200,
        check=True,
    )
    model = in_layers()
    y = inner(model)
    box, T = solved(model, y, *electrodes(), **SMALL)
    tangents = box.tangents(y, np.eye(11)[::2])
    with np.load(tmp_path / "found.npz") as found:
        assert np.abs(found["T"] - T).max() < 1e-9 * np.abs(T).max()
        assert np.abs(found["tangents"] - tangents).max() < 1e-6 * np.abs(tangents).max()
