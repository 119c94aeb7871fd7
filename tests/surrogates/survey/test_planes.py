"""The planes on which the ground below a survey is shown."""

from __future__ import annotations

import numpy as np
import pytest

from surrogates.survey import Survey, made
from surrogates.survey.describing import describe
from surrogates.survey.planes import near, planes, resampled


def shown(survey, body=None):
    return planes(describe(survey), body)


def test_a_line_has_one_section_through_it():
    line = made("wenner", 10, 2.0)
    (section,) = shown(line)
    np.testing.assert_allclose(section.axes, [[1, 0, 0], [0, 0, 1]])
    assert section.labels == ("$x_1$ [m]", "$x_3$ [m]") and section.name == "$x_2$ = 0 m"
    at = section.place(line.electrodes)
    np.testing.assert_allclose(at, line.electrodes[:, [0, 2]])
    assert (section.lower[0] < 0) and (section.upper[0] > 18)
    assert section.lower[1] < -1.29 * 0.519 * 6 and 0 < section.upper[1] < 0.5


def test_a_line_in_any_direction_is_measured_from_its_first_electrode():
    line, angle = made("wenner", 10, 2.0), -0.7
    places = np.outer(line.electrodes[:, 0], [np.cos(angle), np.sin(angle), 0]) + [5, 3, 0]
    (section,) = shown(Survey(electrodes=places, data=line.data))
    np.testing.assert_allclose(section.place(places)[:, 0], line.electrodes[:, 0], atol=1e-9)
    np.testing.assert_allclose(section.distance(places), 0, atol=1e-9)
    np.testing.assert_allclose(section.distance(places + [0, 1, 0]), np.cos(angle), rtol=1e-9)
    assert section.labels[0] == "distance [m]"


def test_a_grid_has_a_level_and_two_sections_through_the_body():
    grid = made("pole-dipole", 8, 2.0, lines=5, line_spacing=3.0)
    body = np.array([[4.0, 5, -3], [6, 9, -7], [20, 6, -5]])
    level, first, second = shown(grid, body)
    assert level.origin[2] == -5 and level.name == "$x_3$ = −5 m"
    np.testing.assert_allclose([first.origin[1], second.origin[0]], [7, 12])
    for plane in (level, first, second):
        at = plane.place(np.vstack([body, grid.electrodes]))
        assert (at > plane.lower).all() and (at < plane.upper).all()
    found = describe(grid)
    level, first, _ = planes(found)
    assert level.origin[2] == pytest.approx(-np.median(found.depths))
    np.testing.assert_allclose(first.origin[1], 6)
    np.testing.assert_allclose(grid.electrodes[near(first, grid.electrodes), 1], 6)


def test_boreholes_have_a_section_down_to_their_ends():
    places = np.array([[x, 2.0, -z] for x in (3, 9) for z in (1, 5, 10)])
    data = np.array([[0, 1, 3, 4], [1, 2, 4, 5]])
    (section,) = shown(Survey(electrodes=places, data=data))
    assert section.name == "$x_2$ = 2 m" and section.lower[1] < -10.9
    one = Survey(electrodes=places[:3] * [1, 1, 1.5], data=np.array([[0, -1, 1, 2]]))
    (section,) = shown(one)
    assert section.lower[0] < 3 < section.upper[0] and section.lower[1] < -16


def test_pixels_are_square_and_fill_the_plane():
    level, *rest = shown(made("pole-pole", 12, 1.0, lines=4, line_spacing=2.0))
    first, second, places = level.pixels()
    assert places.shape == (len(second), len(first), 3) and len(first) == 160
    np.testing.assert_allclose(level.place(places)[..., 0], np.tile(first, (len(second), 1)))
    np.testing.assert_allclose(level.place(places)[:, 0, 1], second)
    width, height = first[1] - first[0], second[1] - second[0]
    assert height == pytest.approx(width, rel=0.01)
    assert first[0] - width / 2 == pytest.approx(level.lower[0])
    assert second[-1] + height / 2 == pytest.approx(level.upper[1])
    every = [plane.pixels()[2] for plane in (level, *rest)]
    values = np.concatenate([part[..., 1].ravel() for part in every])
    for part, found in zip(every, resampled(values, [level, *rest]), strict=True):
        np.testing.assert_allclose(found, part[..., 1])
