"""Intervals with heavier tails than a normal distribution's."""

import math
from statistics import NormalDist

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.model.surrogate import _widened
from surrogates.model.tails import MIDDLE, widened

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)


@settings(derandomize=True)
@given(st.floats(0, 6), st.floats(0, 0.49))
def test_the_tensors_of_a_script_are_the_numbers(q, tail):
    found = _widened(*torch.tensor([q, tail], dtype=torch.float64))
    assert float(found) == pytest.approx(widened(q, tail), rel=1e-14)
    assert widened(q, 0.0) == q


@pytest.mark.parametrize("tail", [0.0, 0.1, 0.25, 0.45])
def test_one_deviation_serves_50_and_90_per_cent_alike(tail):
    low, high = (NormalDist().inv_cdf((1 + level) / 2) for level in (0.5, 0.9))
    found = widened(low, tail) * widened(high, tail)
    assert found == pytest.approx(low * high, rel=1e-14)
    middle = math.sqrt(MIDDLE)
    assert widened(middle, tail) == pytest.approx(middle, rel=1e-14)
    assert 2 * NormalDist().cdf(middle) - 1 == pytest.approx(0.79, abs=0.005)


@pytest.mark.parametrize("tail", [0.0, 0.1, 0.3])
def test_intervals_hold_their_share_of_tukeys_h_distribution(tail):
    z = torch.randn(40_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    errors = z * torch.exp(tail / 2 * (z.square() - MIDDLE))
    for level in LEVELS:
        inside = errors.abs() <= widened(NormalDist().inv_cdf((1 + level) / 2), tail)
        assert float(inside.double().mean()) == pytest.approx(level, abs=0.01)
