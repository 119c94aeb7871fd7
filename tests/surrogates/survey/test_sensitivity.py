"""Sensitivities of data to the resistivity of homogeneous ground."""

from __future__ import annotations

import numpy as np
import pytest

from surrogates.survey import Survey, half_space_factors, made
from surrogates.survey.depth import _above
from surrogates.survey.ground import estimated_factors
from surrogates.survey.sensitivity import coverage, half_space_gradients, sensitivity


def of_datum(survey, points, datum=0, top=None):
    ground = survey.ground(top)
    factors = half_space_factors(survey, ground)
    gradients = half_space_gradients(survey, ground, points)
    return sensitivity(survey, factors, gradients, len(points), datum)


def plane_integral(survey, depth, datum):
    """The integral of a datum's sensitivity over a horizontal plane, in polar coordinates."""
    middle = survey.electrodes[:, :2].mean(axis=0)
    # r = sinh t: dense near the electrodes, and far enough for a fall with r^-4 and faster.
    t, w = np.polynomial.legendre.leggauss(400)
    t, w = 7 * (t + 1), 7 * w
    angles = 2 * np.pi * (np.arange(160) + 0.5) / 160
    r = np.sinh(t)
    x = np.stack([np.outer(r, np.cos(angles)), np.outer(r, np.sin(angles))], axis=-1)
    points = np.append(x + middle, np.full((*x.shape[:2], 1), -depth), axis=2).reshape(-1, 3)
    values = of_datum(survey, points, datum, top=0.0).reshape(len(r), -1)
    return 2 * np.pi * (values.mean(axis=1) * r * np.cosh(t)) @ w


def share(survey, depth, datum):
    """The share of a datum's sensitivity above a depth, by the closed form of median depths."""
    buried = np.maximum(-survey.electrodes[:, 2], 0)
    i, j = survey.pairs.T
    apart = np.hypot(*(survey.electrodes[i] - survey.electrodes[j])[:, :2].T)
    upper, lower = np.sort(buried[survey.pairs], axis=1).T

    def total(z):
        return survey.combine(_above(apart, upper, lower, z))[datum]

    return total(depth) / total(np.inf)


@pytest.mark.parametrize("datum", [0, 1])
def test_planes_hold_the_closed_form_of_depths(datum):
    """Both are the depth characteristic of Roy and Apparao, here with a buried electrode."""
    places = np.array([[0, 0, 0], [1, 0, 0], [2.5, 0, 0], [4, 0.5, -0.4]])
    survey = Survey(electrodes=places, data=np.array([[0, 1, 2, 3], [0, -1, 3, 2]]))
    depth, h = 1.0, 1e-4
    slope = (share(survey, depth + h, datum) - share(survey, depth - h, datum)) / (2 * h)
    assert plane_integral(survey, depth, datum) == pytest.approx(slope, rel=1e-4)


def test_a_small_volume_changes_the_datum_as_the_gradient_says():
    """A small sphere is a dipole in the field of the current, which the other electrode sees."""
    survey = Survey(
        electrodes=np.array([[0.0, 0, 0], [5.0, 0, 0]]), data=np.array([[0, -1, 1, -1]])
    )
    centre, radius, factor = np.array([2.0, 0.5, -1.5]), 0.05, 1.02
    source, receiver = survey.electrodes
    # Of 1 A in 1 ohm m. In a field E, a sphere has the potential strength (E . r) / r^3.
    E = (centre - source) / (2 * np.pi * np.linalg.norm(centre - source) ** 3)
    strength = (1 - factor) / (2 * factor + 1) * radius**3
    r = receiver - centre
    change = 2 * strength * (E @ r) / np.linalg.norm(r) ** 3  # with its image above the surface
    k = 2 * np.pi * 5.0
    volume = 4 / 3 * np.pi * radius**3
    expected = k * change / (np.log(factor) * volume)
    found = of_datum(survey, centre[None])[0]
    assert found == pytest.approx(expected, rel=0.01)


def test_coverage_is_the_sum_of_sizes():
    survey = made("dipole-dipole", 10, 2.0)
    ground = survey.ground()
    factors = half_space_factors(survey, ground)
    points = np.random.default_rng(0).uniform([0, -3, -6], [18, 3, -0.3], (1000, 3))
    each = sum(np.abs(of_datum(survey, points, i)) for i in range(len(survey.data)))
    gradients = half_space_gradients(survey, ground, points)
    np.testing.assert_allclose(coverage(survey, factors, gradients, 1000), each, rtol=1e-4)
    factors[0] = np.inf
    less = each - np.abs(of_datum(survey, points, 0))
    np.testing.assert_allclose(coverage(survey, factors, gradients, 1000), less, rtol=1e-4)


def test_the_surface_is_where_the_ground_says():
    survey = made("wenner", 4)
    raised = Survey(electrodes=survey.electrodes + [0, 0, 100.0], data=survey.data)
    points = np.array([[1.2, 0.3, -0.7], [8.0, 2.0, -3.0]])
    np.testing.assert_allclose(
        of_datum(raised, points + [0, 0, 100.0]), of_datum(survey, points), rtol=1e-9
    )
    buried = of_datum(survey, points, top=1.0)
    assert not np.allclose(buried, of_datum(survey, points), rtol=0.01)


def under_ridge(survey, points):
    """Factors and gradients below x3 = -|x1|, a right angle, by three images of each electrode."""

    def mirrored(places, sign):
        return places[:, [2, 1, 0]] * [sign, 1, sign]

    places, (i, j) = survey.electrodes, survey.pairs.T
    images = [places, mirrored(places, 1), mirrored(places, -1), mirrored(mirrored(places, 1), -1)]
    T = sum(1 / np.linalg.norm(places[i] - image[j], axis=1) for image in images) / (4 * np.pi)

    def gradients(part):
        away = [image.T[:, :, None] - points[part].T[:, None] for image in images]
        return sum(r / (4 * np.pi * np.linalg.norm(r, axis=0) ** 3) for r in away)

    return 1 / survey.combine(T), gradients


def test_the_estimate_on_topography_is_right_within_a_factor_of_two():
    survey = made("dipole-dipole", electrodes=13, spacing=1.0, levels=6)
    places = survey.electrodes - [6.0, 0, 0]
    places[:, 2] = -np.abs(places[:, 0])
    survey = Survey(electrodes=places, data=survey.data)
    ground = survey.ground()
    points = np.random.default_rng(0).uniform([-7, -4, -9], [7, 4, 0], (20000, 3))
    points = points[-np.abs(points[:, 0]) - points[:, 2] > 0.3]
    n = len(points)
    factors, gradients = under_ridge(survey, points)
    exact = coverage(survey, factors, gradients, n)
    seen = exact > np.percentile(exact, 60)
    straight = half_space_gradients(survey, ground, points)
    for k, most in ((estimated_factors(survey, ground), 2.0), (factors, 1.6)):
        off = np.abs(np.log(coverage(survey, k, straight, n) / exact))[seen]
        assert 1.3 < np.exp(np.percentile(off, 90)) < most  # so it is an estimate
    # Depths below the surface in place of elevations are no better.
    flat = Survey(electrodes=places * [1, 1, 0], data=survey.data)
    depths = points + np.abs(points[:, :1]) * [0, 0, 1]
    k, below = half_space_factors(flat, flat.ground()), half_space_gradients
    other = coverage(flat, k, below(flat, flat.ground(), depths), n)
    assert np.exp(np.percentile(np.abs(np.log(other / exact))[seen], 90)) > 4
