"""Flat ground, topography, buried electrodes, and geometric factors of the half-space."""

from __future__ import annotations

import numpy as np
import pytest
from written import PYGIMLI, line_survey, parsed

from surrogates.errors import InputError
from surrogates.survey import Survey, half_space_factors
from surrogates.survey.ground import ground_of

LINE = [[x, 0.0, 5.0] for x in range(4)]


def hole(x: float, depths: list[float]) -> list[list[float]]:
    return [[x, 0.0, -depth] for depth in depths]


@pytest.mark.parametrize(
    "places, top, flat, level, buried",
    [
        (LINE, None, True, 5.0, []),
        ([*LINE, [9.0, 0, 5], [9.0, 0, 3]], None, True, 5.0, [5]),  # the hole starts at the surface
        ([*LINE, [9.0, 0, 4], [9.0, 0, 3]], None, True, 5.0, [4, 5]),  # or below it
        ([*LINE, [9.0, 0, 7]], None, False, 5.4, []),
        ([*LINE, [9.0, 0, 7], [4.0, 0, 5], [4.0, 0, 4]], None, False, 32 / 6, [6]),
        # the highest electrode of a hole far below the surface
        ([*LINE, [9.0, 0, 7], [4.0, 0, 2], [4.0, 0, 1]], None, False, 5.4, [5, 6]),
        ([*hole(0, [1, 2]), *hole(5, [0, 2])], None, True, 0.0, [0, 1, 3]),
        ([*hole(0, [1, 2]), *hole(5, [0, 2])], 3.0, True, 3.0, [0, 1, 2, 3]),
        ([*hole(0, [1]), *hole(5, [2])], 0.0, True, 0.0, [0, 1]),  # a hole that is not vertical
    ],
)
def test_ground_is_found_from_electrodes(places, top, flat, level, buried):
    ground = ground_of(np.array(places, dtype=float), top)
    assert ground.flat == flat and np.flatnonzero(ground.buried).tolist() == buried
    np.testing.assert_allclose(ground.top, level)


def test_electrodes_above_the_surface_are_refused():
    with pytest.raises(InputError, match="electrodes 1, 2, 3, 4 are above the surface x3 = 4 m"):
        ground_of(np.array(LINE), 4.0)
    depths = np.array(hole(0, [-1, -2]) + hole(5, [-1, -2]))
    with pytest.raises(InputError, match="give the elevation of the surface"):
        ground_of(depths)


def test_factors_of_known_arrays():
    a, n = 2.0, 3
    survey = line_survey(
        [0, a, 2 * a, 3 * a, a + n * a, 2 * a + n * a],
        [(0, 3, 1, 2), (0, 1, 4, 5), (0, -1, 4, 5), (0, -1, 1, -1)],
    )
    k = half_space_factors(survey, survey.ground())
    expected = [
        2 * np.pi * a,  # Wenner
        -np.pi * n * (n + 1) * (n + 2) * a,  # dipole-dipole: b lies between a and m
        2 * np.pi * (n + 1) * (n + 2) * a,  # pole-dipole of n + 1 spacings
        2 * np.pi * a,  # pole-pole
    ]
    np.testing.assert_allclose(k, expected, rtol=1e-12)


def test_buried_electrodes_have_images():
    electrodes = np.array([[0.0, 0, -3], [4.0, 0, -1], [0.0, 0, 0], [4.0, 0, 0]])
    data = np.array([[0, -1, 1, -1], [2, -1, 3, -1], [0, -1, 3, -1]])
    survey = Survey(electrodes=electrodes, data=data)
    k = half_space_factors(survey, survey.ground())
    expected = 4 * np.pi / np.array([1 / np.hypot(4, 2) + 1 / np.hypot(4, 4), 2 / 4, 2 / 5])
    np.testing.assert_allclose(k, expected, rtol=1e-12)


def test_factors_are_those_of_pygimli(tmp_path):
    survey = parsed(tmp_path, PYGIMLI)
    ground = survey.ground()
    assert np.flatnonzero(ground.buried).tolist() == [4, 5, 6, 8]
    assert survey.values.keys() == {"k", "err", "r", "rhoa"}
    factors = half_space_factors(survey, ground)
    np.testing.assert_allclose(factors, survey.values["k"], rtol=1e-12)
    np.testing.assert_allclose(factors * survey.values["r"], survey.values["rhoa"], rtol=1e-12)


def test_deep_electrodes_have_factors_of_the_whole_space():
    electrodes = np.array([[0.0, 0, -1e6], [4.0, 0, -1e6]])
    survey = Survey(electrodes=electrodes, data=np.array([[0, -1, 1, -1]]))
    factor = half_space_factors(survey, survey.ground(0.0))
    np.testing.assert_allclose(factor, 16 * np.pi, rtol=1e-5)


def test_undefined_factors_and_topography_are_refused():
    places = np.array(
        [[0.0, 0, 0], [2, 0, 0], [1, 1, 0], [1, -1, 0]]
    )  # m and n on an equipotential
    survey = Survey(electrodes=places, data=np.array([[0, 1, 2, 3]]))
    with pytest.raises(InputError, match="geometric factors of data 1 are undefined"):
        half_space_factors(survey, survey.ground())
    places[3, 2] = 1.0
    survey = Survey(electrodes=places, data=np.array([[0, 1, 2, 3]]))
    with pytest.raises(InputError, match="the ground is not flat"):
        half_space_factors(survey, survey.ground())


def test_pairs_and_sums_are_those_of_the_definition():
    rng = np.random.default_rng(1)
    places = rng.uniform(0, 10, (7, 3)) * [1, 1, 0]
    data = np.array([rng.permutation(7)[:4] for _ in range(12)])
    data[0, 1] = data[1, 3] = -1
    survey = Survey(electrodes=places, data=data)
    T = np.linalg.norm(places[:, None] - places, axis=2) + 1
    T = np.pad(T, ((0, 1), (0, 1)))  # the electrode at infinity: number -1
    i, j = survey.pairs.T
    assert (i < j).all() and len(np.unique(survey.pairs, axis=0)) == len(survey.pairs)
    a, b, m, n = data.T
    expected = T[a, m] - T[a, n] - T[b, m] + T[b, n]
    np.testing.assert_allclose(survey.combine(T[i, j]), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(survey.sizes(T[i, j]), T[a, m] + T[a, n] + T[b, m] + T[b, n])
    stacked = survey.combine(np.stack([T[i, j], 2 * T[i, j]]))
    np.testing.assert_allclose(stacked[1], 2 * expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "data, message",
    [
        ([(0, 1, 2, 2)], "datum 1: m and n are one electrode, 3"),
        ([(0, 1, 2, 3), (0, 1, 1, 3)], "datum 2: b and m are one electrode, 2"),
        ([(0, 1, 2, 4)], "datum 1: electrode n = 5 is not there"),
        ([(-1, -1, 2, 3)], "both current electrodes"),
    ],
)
def test_wrong_surveys_are_refused(data, message):
    with pytest.raises(InputError, match=message):
        line_survey([0, 1, 2, 3], data)
    with pytest.raises(InputError, match="electrodes 2 and 3 are at one place"):
        line_survey([0, 1, 1, 3], [(0, 1, 2, 3)])
