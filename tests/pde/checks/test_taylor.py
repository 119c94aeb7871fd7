"""Taylor tests of slopes along lines whose values have truncation, noise, jumps or gaps."""

import numpy as np
import pytest

from surrogates.pde.checks import taylor

ROW = np.array([1.0, 1e-4, 1e5])


def smooth(h):
    """Three outputs of very different sizes, with slopes 1, 1e-4 and 1e5 at 0."""
    h = np.asarray(h)[:, None]
    return ROW * (np.exp(h) + 0.1 * np.sin(7 * h) ** 2)


C0 = smooth([0.0])[0]


def test_a_right_slope_has_order_two_and_no_error():
    test = taylor.tested(smooth, C0, ROW)
    assert not test.wrong.any()
    assert test.certain < 1e-5
    assert test.orders[test.clear][-4:].min() > 1.8
    assert np.allclose(test.slopes, ROW, rtol=1e-7)


@pytest.mark.parametrize("size", [1e-3, 5e-3, 0.1, -1.0, 10.0])
@pytest.mark.parametrize("output", [0, 1, 2])
def test_a_wrong_slope_of_one_output_is_found_and_measured(size, output):
    slope = ROW.copy()
    slope[output] *= 1 + size
    test = taylor.tested(smooth, C0, slope)
    assert test.wrong[:-1].tolist() == [j == output for j in range(3)]
    assert test.worst == output
    assert abs(test.slopes[output] / ROW[output] - 1) < 1e-6
    if abs(size) >= 0.1:  # the order alone does not show a smaller error at these steps
        assert test.orders[-1] < 1.1


def test_small_errors_are_allowed_to_solvers():
    assert not taylor.tested(smooth, C0, ROW * (1 + 5e-5)).wrong.any()
    slope = ROW * (1 + 5e-3)
    assert taylor.tested(smooth, C0, slope).wrong.any()
    assert not taylor.tested(smooth, C0, slope, tolerance=1e-2).wrong.any()


@pytest.mark.parametrize("noise", [1e-12, 1e-9, 1e-6])
def test_noise_bounds_what_can_be_said(noise):
    def curve(h):
        rng = np.random.default_rng(np.round(1e9 * h).astype(np.uint64))
        return smooth(h) + noise * ROW * rng.standard_normal((len(h), 3))

    right, wrong = taylor.tested(curve, C0, ROW), taylor.tested(curve, C0, 1.02 * ROW)
    assert not right.wrong.any()
    assert wrong.wrong.any()
    # The best step balances truncation h^2 or less and noise / h.
    assert noise < right.certain < 100 * noise ** (2 / 3)
    assert noise < 1e-9 or right.noise > noise / 3


def test_an_output_of_noise_alone_is_not_judged():
    def curve(h):
        rng = np.random.default_rng(np.round(1e9 * h).astype(np.uint64))
        C = smooth(h)
        C[:, 1] = C0[1] * (1 + 1e-15 * rng.standard_normal(len(h)))
        return C

    test = taylor.tested(curve, C0, ROW * [1, 0, 1])
    assert not test.wrong.any() and np.isinf(test.doubt[1])
    assert test.certain < 1e-5  # of the others
    assert taylor.tested(curve, C0, ROW * [1, 1, 1]).wrong.tolist()[1]  # it does not rise


def test_jumps_of_an_iterative_solver_refuse_no_right_slope():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        width, size = 10 ** rng.uniform(-6, 0), 10 ** rng.uniform(-12, -7)
        places, start = rng.uniform(0, 1), rng.standard_normal(3)

        def curve(h, width=width, size=size, places=places, start=start):
            pieces = np.floor(np.asarray(h)[:, None] / width + places)
            return smooth(h) + size * ROW * np.sin(12.9898 * pieces + start)

        assert not taylor.tested(curve, curve([0.0])[0], ROW).wrong.any(), seed


def test_steps_that_fail_are_left_out_at_the_start_alone():
    def fails(bad):
        return lambda h: np.where(bad(h)[:, None], np.nan, smooth(h))

    test = taylor.tested(fails(lambda h: h > 0.1), C0, ROW)
    assert test.steps[0] == 0.0625 and not test.wrong.any() and test.certain < 1e-5
    assert taylor.tested(fails(lambda h: h > 0.006), C0, ROW) is None
    assert taylor.tested(fails(lambda h: h > -1), C0, ROW) is None


def test_a_linear_map_and_a_constant_one_have_no_order():
    for slope in (ROW, 0 * ROW):
        test = taylor.tested(lambda h, slope=slope: C0 + np.asarray(h)[:, None] * slope, C0, slope)
        assert not test.wrong.any() and np.isnan(test.order) and test.certain < 1e-10


@pytest.mark.parametrize("steepness", 10.0 ** np.arange(0, 7.1, 0.5))
@pytest.mark.parametrize("f", ["log", "inverse", "root", "wave"])
def test_steep_curves_refuse_no_right_slope(f, steepness):
    # Large steps agree with each other, and not with the slope at 0.
    y = 1 / steepness
    curve, slope = {
        "log": (lambda h: np.log(y + h), 1 / y),
        "inverse": (lambda h: 1 / (y + h), -1 / y**2),
        "root": (lambda h: np.sqrt(y + h), 0.5 / np.sqrt(y)),
        "wave": (lambda h: np.sin(h / y + 1), np.cos(1) / y),
    }[f]

    def row(h):
        return curve(np.asarray(h))[:, None]

    right, wrong = (taylor.tested(row, row([0.0])[0], np.array([k * slope])) for k in (1, 1.02))
    assert not right.wrong.any()
    assert wrong.wrong.any() or steepness > 1e5
