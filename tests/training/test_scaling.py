"""How targets are scaled and turned back, in any unit and at any size."""

import numpy as np
import pytest
import torch
from draws import normal

from surrogates.errors import InputError
from surrogates.training.scaling import Scaling, groups_of, moments, weights_of

N = 40
UNITS = ("V", "m", "V", "", "1", "V", "1")
each_way = pytest.mark.parametrize("way", ["unit", "column", "common", "weighted"])


def targets(n_out, rank=None, seed=0):
    """Targets of sizes 1e-3 to 1e3 about means that are larger."""
    C = normal(N, n_out, seed=seed)
    if rank is not None:
        C = C[:, :rank] @ normal(rank, n_out, seed=seed + 1)
    sizes = torch.logspace(-3, 3, n_out, dtype=torch.float64)
    return (C + 5) * sizes


def scaled_by(way, C):
    """The scaling of targets, half of them of one unit."""
    n_out = C.shape[1]
    units = ["V" if j % 2 else "" for j in range(n_out)]
    groups = groups_of("unit" if way == "weighted" else way, units)
    weights = torch.linspace(0.5, 3, n_out, dtype=torch.float64) if way == "weighted" else None
    return Scaling.of(C, groups, weights)


def partition(groups):
    """The sets of outputs that share a scale."""
    return {frozenset(torch.nonzero(groups == g)[:, 0].tolist()) for g in groups.tolist()}


def test_outputs_of_a_known_unit_share_a_scale():
    found = partition(groups_of("unit", UNITS))
    assert found == {frozenset({0, 2, 5}), *(frozenset({j}) for j in (1, 3, 4, 6))}


@pytest.mark.parametrize("unit", ["", "1", "?", "-", "unknown", " ", " 1 "])
def test_outputs_of_an_unknown_unit_share_none(unit):
    assert len(partition(groups_of("unit", [unit] * 3))) == 3


def test_a_unit_that_looks_like_a_number_is_no_number_of_an_output():
    # An output without a unit is known by its number, here 0.
    assert len(partition(groups_of("unit", ["", "0", "[0]"]))) == 3


def test_column_shares_nothing_and_common_everything():
    assert len(partition(groups_of("column", UNITS))) == len(UNITS)
    assert len(partition(groups_of("common", UNITS))) == 1
    assert groups_of("unit", UNITS).dtype == torch.int64


def test_an_unknown_way_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'column'"):
        groups_of("columns", UNITS)


def test_weights_are_read_by_name():
    names = ("u", "a=b", "w")
    found = weights_of(["a=b=2.5", "w=1e-3"], names)
    assert found.tolist() == [1.0, 2.5, 1e-3]
    assert weights_of([], names) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("u", "write name=2"),
        ("uu=2", "did you mean 'u'"),
        ("u=0", "must be positive; got '0'"),
        ("u=-1", "must be positive"),
        ("u=nan", "must be positive"),
        ("u=inf", "must be positive"),
        ("u=two", "must be positive; got 'two'"),
        ("u=", "must be positive"),
    ],
)
def test_a_wrong_weight_is_refused_in_one_line(text, said):
    with pytest.raises(InputError, match=said) as caught:
        weights_of([text], ("u", "velocity"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1.0, 1e200, 1e300])
def test_moments_neither_overflow_nor_vanish(size):
    X = normal(50, 3, seed=1) + 2
    shift, spread, largest = moments(X * size)
    torch.testing.assert_close(shift / size, X.mean(dim=0), rtol=1e-13, atol=0)
    torch.testing.assert_close(spread / size, X.std(dim=0, correction=0), rtol=1e-13, atol=0)
    torch.testing.assert_close(largest / size, X.abs().amax(dim=0), rtol=1e-13, atol=0)


def test_a_small_spread_on_a_large_mean_is_measured():
    x = normal(50, 1, seed=1)
    X = 1e6 + 1e-3 * x
    spread = moments(X)[1]
    torch.testing.assert_close(spread, 1e-3 * x.std(dim=0, correction=0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e-200, 1e200, 1 / 3])
def test_a_constant_column_has_its_value_as_mean_and_no_spread(value):
    shift, spread, size = moments(torch.full((7, 1), value, dtype=torch.float64))
    assert (float(shift), float(spread), float(size)) == (value, 0.0, abs(value))


@each_way
@pytest.mark.parametrize("rank", [None, 2])
def test_weights_in_units_of_c_reproduce_the_scaled_fit(way, rank):
    C = targets(9, rank)
    scaling = scaled_by(way, C)
    seen, whole = scaling.apply(C.clone())
    if rank is None:
        assert scaling.basis is None and whole is None
    else:
        assert scaling.basis.shape == (9, rank)
        eye = torch.eye(rank, dtype=torch.float64)
        torch.testing.assert_close(scaling.basis.T @ scaling.basis, eye)
    Z = torch.cat([normal(N, 4, seed=5), torch.ones(N, 1, dtype=torch.float64)], dim=1)
    W = normal(seen.shape[1], 5, seed=6)
    outputs = scaling.seen_to_all(Z @ W.T)
    expected = outputs * scaling.scale + scaling.shift
    found = Z @ scaling.physical(W.clone()).T
    assert float(((found - expected).abs() / expected.abs().amax(dim=0)).max()) < 1e-13
    # What is seen holds all of the targets.
    again = scaling.seen_to_all(seen) * scaling.scale + scaling.shift
    assert float(((again - C).abs() / scaling.scale).max()) < 1e-11


@each_way
def test_the_scale_is_the_mean_spread_of_those_that_share_it(way):
    C = targets(6)
    spread = C.std(dim=0, correction=0)
    odd = torch.arange(6) % 2 == 1
    expected = spread.clone()
    if way == "common":
        expected[:] = spread.square().mean().sqrt()
    if way in ("unit", "weighted"):
        expected[odd] = spread[odd].square().mean().sqrt()
    if way == "weighted":
        expected = expected / torch.linspace(0.5, 3, 6, dtype=torch.float64)
    scaling = scaled_by(way, C)
    torch.testing.assert_close(scaling.scale, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(scaling.over_spread, expected / spread, rtol=1e-12, atol=0)


@each_way
@pytest.mark.parametrize("rank", [None, 3])
def test_constant_outputs_are_predicted_bit_for_bit(way, rank):
    C = targets(12, rank)
    values = {1: 0.1, 4: 1 / 3, 5: -1e200, 8: 0.0, 11: 1e-200}
    for j, value in values.items():
        C[:, j] = value
    scaling = scaled_by(way, C)
    seen, _ = scaling.apply(C.clone())
    assert seen.shape[1] == (rank or 12 - len(values))
    W = scaling.physical(normal(seen.shape[1], 5, seed=6))
    Z = torch.cat([normal(N, 4, seed=5), torch.ones(N, 1, dtype=torch.float64)], dim=1)
    found = Z @ W.T
    for j, value in values.items():
        assert bool((found[:, j] == value).all()), j


def test_outputs_that_are_all_constant_leave_one_to_train_on():
    C = torch.tensor([[0.1, -3.0]], dtype=torch.float64).repeat(5, 1)
    scaling = Scaling.of(C)
    seen, whole = scaling.apply(C.clone())
    assert seen.shape == (5, 1) and whole.shape == (5, 2)
    assert not bool(seen.any()) and not bool(whole.any())
    assert bool((scaling.physical(torch.zeros(1, 3).double())[:, -1] == C[0]).all())


@pytest.mark.parametrize("size", [1e-200, 1e150])
def test_a_column_of_any_size_is_scaled_like_another(size):
    C = normal(N, 3, seed=0)
    seen = Scaling.of(C).apply(C.clone())[0]
    C[:, 1] *= size
    found = Scaling.of(C).apply(C.clone())[0]
    torch.testing.assert_close(found, seen, rtol=1e-12, atol=1e-12)


def test_targets_whose_spread_is_no_number_are_refused():
    C = torch.tensor([[-1.7e308], [1.7e308], [1.7e308]], dtype=torch.float64)
    with pytest.raises(InputError, match="too large"):
        Scaling.of(C)


@each_way
@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_relative_errors_are_those_of_c_in_its_units(way, size):
    C = targets(5)
    prediction = C * (1 + 0.1 * normal(N, 5, seed=3))
    expected = (prediction - C).norm(dim=1) / C.norm(dim=1)
    scaling = scaled_by(way, C * size)
    scaled = (C * size - scaling.shift) / scaling.scale
    residual = (prediction - C) * size / scaling.scale
    found = scaling.relative_errors(residual, scaled)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("n_out", [3, 40])
def test_weights_for_what_is_seen_are_those_for_c_and_back(n_out):
    C = 1e3 + normal(30, 2, seed=0) @ normal(2, n_out, seed=1) * torch.linspace(1, 50, n_out)
    scaling = Scaling.of(C)
    assert scaling.basis is not None and scaling.basis.shape[1] == 2
    W = normal(2, 5, seed=2)
    torch.testing.assert_close(scaling.seen(scaling.physical(W)), W, rtol=1e-10, atol=1e-10)
    kept = scaling.physical(W)
    scaling.seen(kept)
    assert torch.equal(kept, scaling.physical(W))  # it is copied
