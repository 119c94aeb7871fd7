"""The error of a surrogate from a fresh batch: its value, and the coverage of its interval."""

from __future__ import annotations

import types

import numpy as np
import pytest
import scipy.stats

from surrogates.errors import InputError
from surrogates.learning.estimate import estimated, limits, parts

SPREAD = np.array([2.0, 0.5, 0.0])


def surrogate(predict):
    return types.SimpleNamespace(predict=predict, metadata={"training": {"c_std": SPREAD.tolist()}})


def test_parts_are_the_errors_that_evaluate_prints():
    rng = np.random.default_rng(0)
    Y, C = rng.random((7, 2)), rng.random((7, 3)) + 1
    wrong = 0.1 * rng.standard_normal((7, 3))
    found = surrogate(lambda Y: C + wrong)
    relative = np.linalg.norm(wrong, axis=1) / np.linalg.norm(C, axis=1)
    assert np.allclose(parts(found, Y, C, "relative")[:, 0], relative, rtol=1e-12)
    unit = np.array([2.0, 0.5, np.sqrt((C[:, 2] ** 2).mean())])  # without spread: its size
    squares = (wrong / unit) ** 2
    assert np.allclose(parts(found, Y, C, "worst"), squares, rtol=1e-12)
    assert np.allclose(parts(found, Y, C, "spread")[:, 0], squares.mean(axis=1), rtol=1e-12)
    by_hand = np.sqrt(squares.mean(axis=0)).max()
    assert np.isclose(estimated(squares, "worst").value, by_hand, rtol=1e-12)


def test_a_relative_error_where_c_is_zero_is_refused():
    found = surrogate(lambda Y: np.ones((4, 3)))
    with pytest.raises(InputError, match="--measure spread"):
        parts(found, np.ones((4, 2)), np.zeros((4, 3)), "relative")
    with pytest.raises(InputError, match="unknown measure"):
        parts(found, np.ones((4, 2)), np.zeros((4, 3)), "wrost")


def test_without_skewness_the_limits_are_those_of_student():
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])[:, None]
    quantile = 2.131846786326649  # of Student's t, 4 degrees of freedom, 95 %
    half = quantile * np.sqrt(2.5 / 5)
    assert np.allclose(limits(values, 0.05, above=False), 3 - half, rtol=1e-9)
    assert limits(values, 0.05, above=True) >= 3 + half - 1e-9
    alike = np.full((5, 1), 0.3)  # nothing is uncertain
    assert np.allclose(limits(alike, 0.05, above=True), 0.3, rtol=1e-12)
    assert (limits(np.zeros((5, 2)), 0.05, above=True) == 0).all()


def test_the_inverse_of_halls_transform():
    """The limits are where the transform of Student's T takes its quantiles."""
    x = np.random.default_rng(2).lognormal(0, 1, 15)
    n, m, s = 15, x.mean(), x.std(ddof=1)
    low = float(limits(x[:, None], 0.05, above=False)[0])
    T = np.sqrt(n) * (m - low) / s
    k = float(scipy.stats.skew(x, bias=False)) / np.sqrt(n)
    transformed = T + k * T**2 / 3 + k**2 * T**3 / 27 + k / 6
    assert np.isclose(transformed, scipy.stats.t.isf(0.05, n - 1), rtol=1e-9)


def covered(draw, mean: float, n: int, trials: int = 2000) -> tuple[float, float]:
    """Shares of samples whose upper and lower limits do not lie beyond the mean."""
    values = draw(np.random.default_rng(5), (n, trials))
    above = limits(values, 0.05, above=True) >= mean
    below = limits(values, 0.05, above=False) <= mean
    return float(above.mean()), float(below.mean())


@pytest.mark.parametrize("n", [12, 25, 50])
@pytest.mark.parametrize("deviation", [0.3, 0.6, 1.0, 1.4])
def test_limits_hold_for_errors_with_long_tails(n, deviation):
    """Nominal: 95 %. Student's upper limit holds 71 to 93 % of these."""
    mean = np.exp(deviation**2 / 2)
    above, below = covered(lambda rng, size: rng.lognormal(0, deviation, size), mean, n)
    assert above > 0.90 and below > 0.94


def test_the_tails_of_earlier_batches_widen_an_interval():
    """With them, 12 samples of a long tail are covered as they should be."""
    rng = np.random.default_rng(8)
    earlier = estimated(rng.lognormal(0, 1.4, (60, 1)), "relative")
    values = rng.lognormal(0, 1.4, (12, 2000))
    mean = np.exp(1.4**2 / 2)
    alone, known = (
        float((limits(values, 0.05, above=True, shape=shape) >= mean).mean())
        for shape in (0.0, earlier.shape)
    )
    assert known > 0.945 and known > alone + 0.01
    narrow = limits(values, 0.05, above=True, shape=1e-3)
    assert np.array_equal(narrow, limits(values, 0.05, above=True))


def test_limits_hold_for_errors_of_one_output_and_are_not_far_off():
    """Errors of one output come close to 0: their logarithms are far from normal."""
    mean = float(np.sqrt(2 / np.pi))
    above, below = covered(lambda rng, size: abs(rng.standard_normal(size)), mean, 25)
    assert above > 0.94 and below > 0.94
    values = abs(np.random.default_rng(6).standard_normal((25, 1000)))
    assert np.median(limits(values, 0.05, above=True)) < 1.7 * mean


def test_the_worst_output_has_one_interval_for_all():
    """Its upper limit is too low only if that of the truly worst output is."""
    rng = np.random.default_rng(1)
    sizes = np.linspace(0.5, 1.0, 20)
    held = []
    for _ in range(400):
        values = sizes**2 * rng.chisquare(6, (30, 20)) / 6
        found = estimated(values, "worst", first=19)
        held.append((found.lower <= 1.0, found.upper >= 1.0))
    low, high = np.mean(held, axis=0)
    assert low > 0.93 and high > 0.93
