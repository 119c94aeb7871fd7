"""Errors by sample and by output: missing entries, tiny units, constants, and coverage."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from surrogates.model.metrics import compared, evaluate, relative_errors
from surrogates.model.summaries import LEVELS, ErrorSummary


def normal(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def predictions(n=50, n_out=3):
    """Targets, and predictions with errors of a tenth."""
    C = 3 + normal(n, n_out, seed=0)
    return C + 0.1 * normal(n, n_out, seed=1), C


def numbers(found):
    """All numbers of an evaluation, flat."""
    values = []
    for value in dataclasses.asdict(found).values():
        if isinstance(value, dict):
            values += value.values()
        else:
            values += value if isinstance(value, tuple) else [value]
    return values


def test_errors_are_those_of_the_formulas():
    prediction, C = predictions()
    mean, spread = C.mean(dim=0) + 0.1, torch.tensor([0.5, 1.0, 2.0]).double()
    found = compared(prediction, C, mean=mean, spread=spread)
    P, T, M = prediction.numpy(), C.numpy(), mean.numpy()
    relative = np.linalg.norm(P - T, axis=1) / np.linalg.norm(T, axis=1)
    centred = np.linalg.norm(P - T, axis=1) / np.linalg.norm(T - M, axis=1)
    for summary, errors in ((found.relative, relative), (found.centred, centred)):
        assert summary.mean == pytest.approx(errors.mean())
        assert summary.std == pytest.approx(errors.std())
        assert (summary.min, summary.max) == pytest.approx((errors.min(), errors.max()))
    rms = np.sqrt(((P - T) ** 2).mean(axis=0))
    np.testing.assert_allclose(found.output_rms, rms)
    np.testing.assert_allclose(found.output_relative, rms / np.sqrt((T**2).mean(axis=0)))
    np.testing.assert_allclose(found.output_spread, rms / spread.numpy())
    assert found.samples == 50


def test_without_a_spread_it_is_that_of_the_targets():
    prediction, C = predictions()
    found = compared(prediction, C, mean=C.mean(dim=0))
    given = compared(prediction, C, mean=C.mean(dim=0), spread=C.std(dim=0, correction=0))
    np.testing.assert_allclose(found.output_spread, given.output_spread)


def test_the_mean_is_as_good_as_a_spread_of_one():
    _, C = predictions()
    mean = C.mean(dim=0)
    found = compared(mean.expand_as(C), C, mean=mean)
    np.testing.assert_allclose(found.output_spread, 1)


@pytest.mark.parametrize("spread", [None, torch.tensor([0.5, 1.0, 2.0]).double()])
def test_missing_entries_count_nowhere(spread):
    prediction, C = predictions()
    gaps = torch.rand(50, 3, generator=torch.Generator().manual_seed(5)) < 0.3
    gaps[:, 0] |= ~gaps.any(dim=1) & (torch.arange(50) % 7 == 0)
    gaps[gaps.all(dim=1)] = False
    C[gaps] = math.nan
    mean = torch.tensor([3.0, 2.5, 3.5]).double()
    found = compared(prediction, C, mean=mean, spread=spread)
    assert all(math.isfinite(value) for value in numbers(found))
    for j in range(3):
        rows = ~gaps[:, j]
        own = compared(
            prediction[rows, j : j + 1],
            C[rows, j : j + 1],
            mean=mean[j : j + 1],
            spread=None if spread is None else spread[j : j + 1],
        )
        assert found.output_rms[j] == pytest.approx(own.output_rms[0])
        assert found.output_relative[j] == pytest.approx(own.output_relative[0])
        assert found.output_spread[j] == pytest.approx(own.output_spread[0])
    expected = []
    for p, c in zip(prediction.numpy(), C.numpy(), strict=True):
        there = np.isfinite(c)
        expected.append(np.linalg.norm((p - c)[there]) / np.linalg.norm(c[there]))
    np.testing.assert_allclose(relative_errors(prediction, C), expected)
    # What is predicted where nothing is known has no effect.
    other = compared(prediction + 1e6 * gaps, C, mean=mean, spread=spread)
    assert numbers(other) == numbers(found)


def test_missing_entries_do_not_count_for_coverage():
    prediction, C = predictions()
    C[10:, 1] = math.nan
    std = torch.full_like(C, 0.1)
    std[10:, 1] = 1e9
    Y = torch.arange(50.0).double()[:, None]

    def rows_of(values):
        return lambda Y: values[Y[:, 0].long()]

    found = evaluate(rows_of(prediction), Y, C, mean=C[:10].mean(dim=0), predict_std=rows_of(std))
    there = torch.isfinite(C)
    sizes = (prediction - C).abs()[there] / 0.1
    expected = [float((sizes <= q).double().mean()) for q in (0.674490, 1.644854, 1.959964)]
    assert found.coverage == pytest.approx(expected)
    assert len(LEVELS) == 3


def test_an_output_of_which_nothing_is_known_does_not_spoil_the_others():
    prediction, C = predictions()
    C[:, 1] = math.nan
    mean = torch.tensor([3.0, 0.0, 3.0]).double()
    found = compared(prediction, C, mean=mean)
    others = compared(prediction[:, [0, 2]], C[:, [0, 2]], mean=mean[[0, 2]])
    assert found.relative == others.relative
    assert [found.output_spread[j] for j in (0, 2)] == list(others.output_spread)
    assert found.output_rms[1] == 0


def test_a_constant_that_is_predicted_exactly_has_coverage_one():
    C = torch.tensor([[1e200, 1 / 3, 0.0]], dtype=torch.float64).repeat(20, 1)
    rounded = C * (1 + 2**-52)  # as a file of another platform may be
    Y = torch.zeros(20, 1).double()
    for predicted in (C, rounded):
        found = evaluate(
            lambda Y, values=predicted: values,
            Y,
            C,
            mean=C[0],
            spread=torch.zeros(3).double(),
            predict_std=lambda Y: torch.zeros(20, 3).double(),
        )
        assert found.coverage == (1.0, 1.0, 1.0)
        assert max(found.output_spread) < 1e-15
    found = evaluate(
        lambda Y: C + 1e-3 * torch.tensor([0, 1.0, 0]).double(),
        Y,
        C,
        mean=C[0],
        predict_std=lambda Y: torch.zeros(20, 3).double(),
    )
    assert found.coverage == pytest.approx((2 / 3,) * 3)
    assert found.output_spread[1] == pytest.approx(3e-3)  # over its size


@pytest.mark.parametrize("size", [1e-200, 1e-300, 1e150])
def test_errors_do_not_depend_on_the_unit(size):
    prediction, C = predictions()
    mean = C.mean(dim=0)
    expected = compared(prediction, C, mean=mean)
    found = compared(prediction * size, C * size, mean=mean * size)
    np.testing.assert_allclose(found.output_spread, expected.output_spread, rtol=1e-9)
    np.testing.assert_allclose(found.output_relative, expected.output_relative, rtol=1e-9)
    np.testing.assert_allclose(np.array(found.output_rms) / size, expected.output_rms, rtol=1e-9)
    assert found.relative.mean == pytest.approx(expected.relative.mean, rel=1e-9)
    assert found.centred.max == pytest.approx(expected.centred.max, rel=1e-9)
    assert found.relative.near_zero == expected.relative.near_zero == 0


def test_outputs_of_far_apart_sizes_are_measured_each():
    prediction, C = predictions()
    sizes = torch.tensor([1e-200, 1.0, 1e200], dtype=torch.float64)
    expected = compared(prediction, C, mean=C.mean(dim=0))
    found = compared(prediction * sizes, C * sizes, mean=C.mean(dim=0) * sizes)
    np.testing.assert_allclose(found.output_spread, expected.output_spread, rtol=1e-9)


def test_samples_near_zero_are_told():
    prediction, C = predictions()
    C = C - 3
    C[4] = 1e-5
    C[7] = 0.01
    found = compared(prediction - 3, C, mean=C.mean(dim=0))
    assert found.relative.near_zero == 2
    assert "says little: c is near 0 in 2 samples" in str(found.relative)
    assert found.centred.near_zero == 0
    C[[4, 7]] = 1.0
    plain = compared(prediction - 3, C, mean=C.mean(dim=0))
    assert plain.relative.near_zero == 0
    assert "near 0" not in str(plain.relative)


def test_samples_are_near_zero_in_units_of_the_outputs_own_spreads():
    prediction, C = predictions()
    C = C - 3
    C[4] = 0
    sizes = torch.tensor([1e-6, 1.0, 1e6]).double()
    found = compared(prediction * sizes, C * sizes, mean=C.mean(dim=0) * sizes)
    assert found.relative.near_zero == 1


def test_a_sample_of_zero_is_said_to_have_no_relative_error():
    summary = ErrorSummary.of(torch.tensor([0.1, math.inf]))
    assert str(summary) == "undefined, as a sample has c = 0"


def test_the_worst_output_is_named():
    prediction, C = predictions()
    found = compared(prediction, C, mean=C.mean(dim=0), spread=torch.tensor([1.0, 0.1, 1]).double())
    assert found.by_spread(["u", "v", "w"]).endswith("(v)")
    one = compared(prediction[:, :1], C[:, :1], mean=C[:, :1].mean(dim=0))
    assert one.by_spread(["u"]) == f"{one.output_spread[0]:.4f} (u)"


def test_batches_change_nothing():
    prediction, C = predictions()
    Y = torch.arange(50.0).double()[:, None]

    def predict(Y):
        return prediction[Y[:, 0].long()]

    whole, pieces = (
        evaluate(predict, Y, C, mean=C.mean(dim=0), predict_std=predict, batch=batch)
        for batch in (8192, 7)
    )
    assert whole == pieces


def test_no_sample_and_other_shapes_are_errors():
    prediction, C = predictions()
    with pytest.raises(ValueError, match="at least 1; got 0 and 0"):
        evaluate(lambda Y: Y, torch.zeros(0, 1), C[:0], mean=C[0])
    with pytest.raises(ValueError, match="of one shape"):
        compared(prediction[:, :2], C, mean=C[0])
