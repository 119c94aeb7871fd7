"""The search for kinks, jumps and noise along a closed curve."""

import numpy as np
import pytest

from surrogates.pde.checks.smoothness import searched

UNITS = ("V", "V")


def smooth(t):
    w = 2 * np.pi * np.asarray(t)
    return np.column_stack([np.sin(w), np.exp(np.cos(2 * w)) + np.tanh(2 * np.sin(w))])


def test_a_smooth_map_needs_few_points():
    asked = []
    found = searched(lambda t: (asked.extend(t), smooth(t))[1], 32, UNITS)
    assert found.kind == "smooth" and found.noise < 1e-14
    assert len(asked) < 120


@pytest.mark.parametrize("place", np.random.default_rng(1).random(20))
def test_a_kink_is_found_where_it_is(place):
    def curve(t):
        C = smooth(t)
        C[:, 1] += 2 * np.abs((t - place + 0.5) % 1.0 - 0.5)  # and half a period further
        return C

    found = searched(curve, 32, UNITS)
    assert (found.kind, found.output) == ("kink", 1)
    away = (found.at - place) % 0.5
    assert min(away, 0.5 - away) < 1e-4


@pytest.mark.parametrize("place", np.random.default_rng(2).random(20))
def test_a_jump_is_found_where_it_is(place):
    def curve(t):
        C = smooth(t)
        C[:, 0] += 0.02 * ((t - place) % 1.0 < 0.5)
        return C

    found = searched(curve, 32, UNITS)
    assert (found.kind, found.output) == ("jump", 0)
    assert 0.005 < found.size < 0.02
    away = (found.at - place) % 0.5
    assert min(away, 0.5 - away) < 1e-4


@pytest.mark.parametrize("size", [1e-10, 1e-6, 1e-3])
def test_noise_is_measured(size):
    def curve(t):
        rng = np.random.default_rng(np.round(1e12 * (1 + np.asarray(t))).astype(np.uint64))
        C = smooth(t)
        return C + 2 * size * rng.standard_normal(C.shape)

    found = searched(curve, 32, UNITS)
    assert found.kind == ("noise" if size == 1e-3 else "smooth")
    assert size / 5 < found.noise < 5 * size


def test_a_steep_slope_is_no_kink():
    found = searched(lambda t: np.tanh(50 * np.sin(2 * np.pi * np.array([t, t]).T)), 32, UNITS)
    assert (found.kind, found.size) == ("smooth", 0)


def test_an_output_of_rounding_alone_is_not_searched():
    def curve(t):
        rng = np.random.default_rng(np.round(1e12 * (1 + np.asarray(t))).astype(np.uint64))
        return np.column_stack([np.sin(2 * np.pi * t), 1e-12 * rng.standard_normal(len(t))])

    assert searched(curve, 32, UNITS).kind == "smooth"
    assert searched(curve, 32, ("V", "A")).kind == "noise"  # of another unit


def test_failed_solves_are_left_out():
    def fails(share):
        return lambda t: np.where((t % 1.0 < share)[:, None], np.nan, smooth(t))

    assert searched(fails(0.3), 32, UNITS).kind == "smooth"
    assert searched(fails(0.6), 32, UNITS) is None


def test_a_constant_map_is_smooth():
    assert searched(lambda t: np.ones((len(t), 2)), 32, UNITS).kind == "smooth"
