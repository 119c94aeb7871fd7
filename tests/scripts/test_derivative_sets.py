"""The sets of the benchmark of derivatives: Jacobians, directions, samples of a problem."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the suite's functions are read with scikit-learn")

import derivative_sets as sets


@pytest.mark.parametrize("name", sets.FUNCTIONS)
def test_jacobians_of_functions_are_those_of_differences(name):
    function = sets.FUNCTIONS[name]
    dataset = function.dataset(20, 3, "train")
    ranges = np.array(function.upper) - function.lower
    assert dataset.C.std() > 0
    assert ((dataset.Y >= function.lower) & (dataset.Y <= function.upper)).all()
    for k, unit in enumerate(np.diag(ranges)):
        errors = []
        for h in (1e-3, 5e-4):
            ends = [function(dataset.Y + sign * h * unit)[0] for sign in (1, -1)]
            slope = (ends[0] - ends[1]) / (2 * h)
            errors.append(np.abs(slope - dataset.dC_dY[:, :, k] * ranges[k]).max())
        size = np.abs(dataset.dC_dY * ranges).max()
        assert errors[0] < 1e-3 * size
        assert errors[1] < errors[0] / 3.5 or errors[1] < 1e-9 * size  # order 2, or rounding


def test_functions_have_their_known_values():
    values = {
        ("rosenbrock", (1.0, 1.0)): 0,
        ("rosenbrock", (0.0, 1.0)): 101,
        ("rastrigin", (0.0, 0.0)): 0,
        ("rastrigin", (0.5, 1.0)): 0.25 + 20 + 1,
        ("sphere", (3.0, -4.0)): 25,
        ("sinusoid", (np.pi / 2,)): np.pi / 2,
        ("tensor_product", (1.0, 1.0, 1.0, -1.0)): -(np.tanh(1) ** 4),
    }
    for (name, y), value in values.items():
        assert sets.FUNCTIONS[name](np.array([y]))[0][0, 0] == pytest.approx(value, abs=1e-12)


def test_training_and_test_points_of_a_function_differ():
    train, test = (sets.FUNCTIONS["sphere"].dataset(50, 1, part) for part in ("train", "test"))
    assert not np.isin(train.Y, test.Y).any()
    assert train.has("validation") and not train.has("test")
    assert test.has("test") and not test.has("train")


def test_directions_are_orthonormal_in_the_ranges_and_their_derivatives_those_of_the_whole():
    whole = sets.FUNCTIONS["borehole"].dataset(30, 1, "train")
    found = sets.in_directions(whole, 3, seed=1)
    ranges = whole.info.y_upper - whole.info.y_lower
    Q = found.directions / ranges
    np.testing.assert_allclose(Q @ Q.transpose(0, 2, 1), np.tile(np.eye(3), (30, 1, 1)), atol=1e-12)
    for i in range(30):
        np.testing.assert_allclose(
            found.dC_dV[i], whole.dC_dY[i] @ found.directions[i].T, rtol=1e-12
        )
    assert found.info.directions == 3 and not found.info.tangents and found.dC_dY is None
    other = sets.in_directions(whole, 3, seed=2)
    assert not np.allclose(other.directions, found.directions)


def test_the_first_samples_have_a_split_of_their_own():
    whole = sets.FUNCTIONS["sphere"].dataset(50, 1, "train")
    part = sets.first(whole, 20, seed=4)
    assert np.array_equal(part.Y, whole.Y[:20]) and np.array_equal(part.dC_dY, whole.dC_dY[:20])
    assert part.size("train") == 16 and part.size("validation") == 4
    assert part.info.total == 20
    assert sets.without(part).derivatives() is None
    assert sets.without(part).info.tangents is False


@pytest.mark.fenicsx
@pytest.mark.slow
def test_samples_of_a_problem_are_made_once_and_fewer_are_the_first_of_more(tmp_path):
    few = sets.generated("darcy", 4, 1, True, tmp_path)
    more = sets.generated("darcy", 7, 1, False, tmp_path)
    assert np.array_equal(few.Y, more.Y[:4])
    np.testing.assert_allclose(few.C, more.C[:4], rtol=1e-12)
    assert few.dC_dY.shape == (4, 25, 8) and more.dC_dY is None
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    sets.generated("darcy", 4, 1, True, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
    tests = sets.held_out("darcy", 3, tmp_path)
    assert tests.size("test") == 3 and not np.isin(tests.Y, more.Y).any()


@pytest.mark.fenicsx
def test_costs_are_measured_once_for_each_kind(tmp_path):
    found = sets.costs("darcy", 2, tmp_path, rounds=1)
    assert list(found) == ["values", "tangents", "directions"]
    assert all(0 < seconds < 10 for seconds in found.values())
    assert sets.costs("darcy", 2, tmp_path, rounds=1) == found
