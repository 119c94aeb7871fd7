"""The count of solves, and the sets, of the benchmark of designed samples."""

from __future__ import annotations

import dataclasses

import benchmark_suggest
import numpy as np
import pytest

from surrogates.data.from_arrays import from_arrays


def test_solves_to_an_error_are_interpolated_on_logarithmic_scales():
    sizes, errors = [10, 20, 40], np.array([1.0, 0.25, 1 / 16])  # error ~ n^-2
    assert benchmark_suggest.needed(sizes, errors, 1 / 9) == (pytest.approx(30), True)
    assert benchmark_suggest.needed(sizes, errors, 2.0) == (10, True)
    assert benchmark_suggest.needed(sizes, errors, 0.01) == (40, False)
    worse = np.array([1.0, 2.0, 1 / 16])  # an error that rises is not reached anew
    assert benchmark_suggest.needed(sizes, worse, 0.5)[0] > 20


def test_samples_of_a_pool_stand_for_solves():
    rng = np.random.default_rng(0)
    Y = rng.random((90, 2))
    data = from_arrays(Y, np.exp(Y), bounds=(np.zeros(2), np.ones(2)))
    found = benchmark_suggest.of_pool(dataclasses.replace(data))
    assert len(found.pool) == 60 and len(found.Y) == 30
    chosen = found.random(20, rng)
    assert len(np.unique(chosen, axis=0)) == 20
    np.testing.assert_array_equal(found.solve(chosen), np.exp(chosen))


def test_both_ways_begin_with_the_same_samples():
    one = benchmark_suggest.problem("front")
    random, designed, sizes = benchmark_suggest.curves(one, [15, 24], "spread", 0)
    assert random[0] == designed[0] and len(random) == 2 and sizes[:2] == [15, 24]
    assert 24 <= sizes[-1] <= 36 and (sizes[-1] == 24 or designed[-2] > random[-1])
