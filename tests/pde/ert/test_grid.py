"""The grid for flat ground: nodes at electrodes, fine there, growing outwards, of bounded size."""

import itertools

import numpy as np
import pytest
from mpi4py import MPI

from surrogates.errors import InputError
from surrogates.pde.ert.direct import Direct, DirectSettings
from surrogates.pde.ert.grid import FAR, GridSettings, electrode_spacing, flat_grid

pytestmark = pytest.mark.fenicsx

LINE = np.stack([np.arange(41.0), np.zeros(41), np.zeros(41)], axis=1)
SQUARE = np.stack(np.meshgrid(np.arange(9.0), 2 * np.arange(5.0), [0.0]), axis=-1).reshape(-1, 3)
BOREHOLES = np.stack(
    [np.repeat([0.0, 10.0], 15), np.zeros(30), -np.tile(np.arange(15.0), 2)], axis=1
)


def scattered(n: int = 60) -> np.ndarray:
    places = np.random.default_rng(3).uniform([0, 0, 0], [50, 20, 0], (n, 3))
    return places


def off_nodes(grid, electrodes) -> float:
    """The largest distance of an electrode from a node."""
    gaps = [np.abs(electrodes[:, i, None] - grid.axes[i]).min(axis=1) for i in range(3)]
    return float(np.max(gaps))


@pytest.mark.parametrize("electrodes", [LINE, SQUARE, BOREHOLES], ids=["line", "square", "holes"])
def test_electrodes_on_lines_are_nodes_of_a_fine_grid(electrodes):
    grid = flat_grid(electrodes)
    assert off_nodes(grid, electrodes) < 1e-12
    for i in range(3):
        axis, at = grid.axes[i], np.unique(electrodes[:, i])
        sizes = np.diff(axis)
        assert (sizes > 0).all()
        nearest = sizes[np.searchsorted(axis[:-1], at.clip(axis[1], axis[-2]) - 1e-9)]
        assert nearest.max() < 0.4  # a third of the spacing, with the growth of one cell
        extent = np.ptp(electrodes, axis=0).max()
        assert axis[0] == pytest.approx(at[0] - 4 * extent)
        assert axis[-1] == pytest.approx(at[-1] + (4 * extent if i < 2 else 0))


@pytest.mark.parametrize("electrodes", [LINE, SQUARE, BOREHOLES, scattered()])
def test_neighbours_differ_by_little(electrodes):
    for axis in flat_grid(electrodes).axes:
        sizes = np.diff(axis)
        ratio = np.maximum(sizes[1:] / sizes[:-1], sizes[:-1] / sizes[1:])
        assert ratio.max() < np.exp(FAR[0] / 3) * 1.02


def test_core_is_the_survey_down_to_the_depth():
    grid = flat_grid(SQUARE, GridSettings(depth=3.0))
    core = [axis[part] for axis, part in zip(grid.axes, grid.core, strict=True)]
    low, high = [axis[0] for axis in core], [axis[-1] for axis in core]
    assert low[:2] == [0, 0] and high == [8, 8, 0] and -4 < low[2] <= -3
    sizes = np.diff(grid.axes[2][grid.core[2]])
    assert sizes[1:].max() < 1.01  # the electrode spacing is 1 m


def test_scattered_electrodes_lie_in_small_cells():
    places = scattered()
    grid = flat_grid(places, GridSettings(nodes=1_000_000))
    h = electrode_spacing(places) / 3
    for i in range(2):
        sizes = np.diff(grid.axes[i][grid.core[i]])
        assert sizes.max() <= h * (1 + 1e-9) and np.ptp(sizes) < 1e-9


def test_doubled_cells_halve_the_cells_at_electrodes():
    coarse, fine = (flat_grid(LINE, GridSettings(cells=n, nodes=10**6)) for n in (2, 4))
    for i in range(3):
        ratio = np.diff(fine.axes[i]).min() / np.diff(coarse.axes[i]).min()
        assert 0.4 < ratio < 0.6  # the number of cells is rounded up


def test_few_nodes_make_larger_cells():
    places = scattered(400)
    for most in (60_000, 120_000):
        grid = flat_grid(places, GridSettings(nodes=most))
        n = np.prod([len(axis) for axis in grid.axes])
        assert 0.7 * most < n <= most


@pytest.mark.parametrize(
    ("electrodes", "settings", "words"),
    [
        (LINE + [0, 0, 1], {}, "must have x3 <= 0; the highest is at 1"),
        (LINE[:1], {}, "a survey needs two electrodes; it has 1"),
        (LINE[[0, 0, 0, 1]], {}, "half of the electrodes are at the place of another one"),
        (scattered(400), {"nodes": 1000}, r"needs more nodes than grid.nodes = 1000: \d+ with"),
    ],
)
def test_what_cannot_be_gridded_is_refused(electrodes, settings, words):
    with pytest.raises(InputError, match=words):
        flat_grid(electrodes, GridSettings(**settings))


@pytest.mark.parametrize("name", ["cells", "depth", "far", "nodes"])
def test_settings_out_of_range_are_refused(name):
    with pytest.raises(InputError, match=f"grid.{name} must be .*; got -1"):
        GridSettings(**{name: -1})


@pytest.mark.parametrize("place", [[0.0, 0, 0], [3, 4, 0]])
def test_homogeneous_ground_on_the_grid_is_the_half_space(place):
    """An electrode may be at the origin."""
    electrodes = np.array(place) + LINE[:9]
    pairs = np.array(list(itertools.combinations(range(9), 2)))
    cells = flat_grid(electrodes, GridSettings(cells=2, nodes=20_000)).cells()
    found = Direct(cells, electrodes, pairs, DirectSettings(), MPI.COMM_SELF).homogeneous
    apart = np.abs(pairs[:, 0] - pairs[:, 1])
    assert found == pytest.approx(1 / (2 * np.pi * apart), rel=2e-3)
