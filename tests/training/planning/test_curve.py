"""The fit of learning curves: laws that are known, and intervals that hold them."""

import math

import numpy as np
import pytest

from surrogates.errors import InputError
from surrogates.training.planning.curve import fit_curve

N = np.array([100.0, 141.0, 200.0, 283.0, 400.0, 566.0, 800.0])


def law(n, floor=0.0, slope=1.0, level=0.02):
    return floor + (level - floor) * (n / 800.0) ** -slope


def test_an_exact_power_law_is_continued():
    for slope in (0.4, 1.0, 2.0):
        low, middle, high = fit_curve(N, law(N, slope=slope), np.full(7, 0.005)).samples_for(0.01)
        truth = 800 * 2 ** (1 / slope)
        assert low < truth < high
        assert middle == pytest.approx(truth, rel=0.1 if slope >= 1 else 0.3)


def test_intervals_hold_the_truth_as_often_as_they_say():
    generator, inside = np.random.default_rng(5), 0
    for _ in range(200):
        slope = math.exp(generator.normal(-0.5, 0.5))
        noisy = law(N, slope=slope) * np.exp(0.05 * generator.normal(size=7))
        low, _, high = fit_curve(N, noisy, np.full(7, 0.05)).samples_for(0.02 * 2**-slope)
        inside += low <= 1600 <= high
    assert inside >= 176  # 90 % of 200, less two standard errors


def test_a_floor_is_told_from_a_slope():
    floored = fit_curve(N, law(N, floor=0.018, slope=1.5), np.full(7, 0.01))
    assert floored.reached(0.01) < 0.1 and math.isinf(floored.samples_for(0.01)[1])
    low, middle, high = floored.floors()
    assert low < 0.018 < high and middle == pytest.approx(0.018, rel=0.15)
    free = fit_curve(N, law(N, slope=1.5), np.full(7, 0.01))
    assert free.reached(0.005) > 0.9 and free.floors()[1] < 0.005


def test_uncertainty_grows_with_noise_distance_and_scatter():
    def width(deviation, target, scatter=0.0):
        curve = fit_curve(N, law(N), np.full(7, deviation), scatter)
        low, _, high = curve.samples_for(target)
        return high / low

    assert width(0.02, 0.012) < width(0.1, 0.012)
    assert width(0.02, 0.015) < width(0.02, 0.008) < width(0.02, 0.004)
    assert width(0.02, 0.015) < width(0.02, 0.015, scatter=0.1)


def test_the_error_of_all_points_at_once_does_not_tilt_the_slope():
    shared = 0.1**2 * np.ones((7, 7)) + 0.01**2 * np.eye(7)
    apart = np.full(7, math.hypot(0.1, 0.01))
    slopes = [fit_curve(N, law(N), d).slopes() for d in (shared, apart)]
    widths = [high - low for low, _, high in slopes]
    assert widths[0] < 0.7 * widths[1]


def test_the_unit_of_errors_and_the_order_of_points_do_not_matter():
    turned = fit_curve(N[::-1], 100 * law(N)[::-1], np.full(7, 0.03)).samples_for(1.0)
    assert turned == pytest.approx(fit_curve(N, law(N), np.full(7, 0.03)).samples_for(0.01))


def test_errors_at_other_numbers_are_around_the_law():
    curve = fit_curve(N, law(N), np.full(7, 0.02))
    for n in (200.0, 800.0, 1600.0):
        low, middle, high = curve.errors_at(n)
        assert low < law(n) < high and middle == pytest.approx(law(n), rel=0.06)


@pytest.mark.parametrize(
    ("n", "errors", "said"),
    [
        ([100, 200], [0.1, 0.05], "3 numbers"),
        ([100, 200, 400], [0.1, 0.0, 0.02], "positive"),
        ([100, 200, 200], [0.1, 0.05, 0.02], "differ"),
        ([100, 200, 400], [0.1, 0.05], "expected 3"),
    ],
)
def test_what_is_no_curve_is_refused(n, errors, said):
    with pytest.raises(InputError, match=said):
        fit_curve(np.array(n, float), np.array(errors), np.full(len(n), 0.1))
    with pytest.raises(InputError, match="positive"):
        fit_curve(N, law(N), np.full(7, 0.1)).samples_for(0.0)
