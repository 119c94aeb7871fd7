"""Tangents and adjoints of problems in weak form, against the discrete map itself."""

from __future__ import annotations

import numpy as np
import pytest
from weak_forms import (
    Bratu,
    Channel,
    Conduction,
    Fields,
    Heat,
    InTime,
    Jumps,
    Nonlinear,
    Rubber,
    drawn,
    made,
    taylor_orders,
)

pytestmark = pytest.mark.fenicsx

PROBLEMS = [Fields, Nonlinear, Conduction, Heat, InTime, Channel, Rubber, Jumps]


def coarse(problem):
    """Make a problem on few cells and steps: derivatives are those of the discrete map."""
    return made(problem, n=4, steps=5)


@pytest.mark.parametrize("problem", [*PROBLEMS, Bratu])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tangents_pass_a_taylor_test_of_order_two(problem, seed):
    solved = coarse(problem)
    y = drawn(solved, 1, seed)[0] * (0.4 if problem is Bratu else 1)
    v = np.random.default_rng(seed).standard_normal(len(y)) / 4
    orders = taylor_orders(solved, y, v)
    assert (orders[-4:] > 1.8).all(), orders


@pytest.mark.parametrize("problem", PROBLEMS)
def test_tangents_directions_and_adjoints_agree(problem):
    solved = coarse(problem)
    Y = drawn(solved, 2)
    rng = np.random.default_rng(3)
    n_c, n_y = len(solved.c_names), Y.shape[1]
    W, V = rng.standard_normal((3, n_c)), rng.standard_normal((2, 2, n_y))
    whole = solved.solve_batch(Y, tangents=True)
    along = solved.solve_batch(Y, tangents=V)
    back = solved.solve_batch(Y, adjoints=W)
    both = solved.solve_batch(Y, tangents=V, adjoints=W)
    for batch in (whole, along, back, both):
        assert np.array_equal(batch.C, solved.solve_batch(Y).C)
    assert whole.dC_dV is None and along.dC_dY is None and back.dC_dY is None
    scale = np.abs(whole.dC_dY).max()
    expected = whole.dC_dY @ V.transpose(0, 2, 1)
    np.testing.assert_allclose(along.dC_dV, expected, rtol=0, atol=1e-11 * scale)
    np.testing.assert_allclose(both.dC_dV, along.dC_dV, rtol=0, atol=1e-11 * scale)
    np.testing.assert_allclose(both.dW_dY, back.dW_dY, rtol=0, atol=1e-11 * scale)
    Jv, JTw = along.dC_dV[:, :, 0], back.dW_dY[:, 0]
    for i in range(2):
        left, right = W[0] @ Jv[i], JTw[i] @ V[i, 0]
        assert abs(left - right) <= 1e-11 * np.linalg.norm(Jv[i]) * np.linalg.norm(W[0])


@pytest.mark.parametrize("problem", [Fields, Heat])
def test_tangents_agree_with_differences(problem):
    solved = coarse(problem)
    y = drawn(solved, 1)[0]
    tangents = solved.solve_batch(y[None], tangents=True).dC_dY[0]
    h = 1e-4 * np.eye(len(y))
    differences = (solved.solve_batch(y + h).C - solved.solve_batch(y - h).C) / 2e-4
    np.testing.assert_allclose(tangents, differences.T, rtol=0, atol=1e-7 * np.abs(tangents).max())


def test_many_parameters_are_taken_in_parts(monkeypatch):
    from surrogates.pde.variational import march

    solved = coarse(Heat)
    Y, W = drawn(solved, 1), np.eye(6)
    whole = solved.solve_batch(Y, adjoints=W).dW_dY
    monkeypatch.setattr(march, "COLUMNS", 2)
    np.testing.assert_allclose(solved.solve_batch(Y, adjoints=W).dW_dY, whole, atol=1e-12)


def test_no_directions_and_no_functionals_are_empty_arrays():
    solved = coarse(Fields)
    batch = solved.solve_batch(
        drawn(solved, 2), tangents=np.empty((2, 0, 5)), adjoints=np.empty((0, 6))
    )
    assert batch.failure == ["", ""]
    assert batch.dC_dV.shape == (2, 6, 0) and batch.dW_dY.shape == (2, 0, 5)
