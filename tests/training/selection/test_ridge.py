"""Ridge regression: its closed forms, and weights that claim no more than they know."""

import numpy as np
import pytest
import torch
from draws import normal

from surrogates.training.selection.ridge import _WEIGHTS, ridge


def monomials(X, degree):
    """The inputs, and all products of two of them, by a loop."""
    columns = [X[:, i] for i in range(X.shape[1])]
    if degree == 2:
        columns += [X[:, i] * X[:, j] for i in range(X.shape[1]) for j in range(i, X.shape[1])]
    return np.stack(columns, axis=1)


def solved(M, C, spread, a):
    """Ridge by the normal equations: what predicts at monomials."""
    shift, c_shift = M.mean(axis=0), C.mean(axis=0)
    S = (M - shift) / spread
    B = np.linalg.solve(S.T @ S + a * np.eye(S.shape[1]), S.T @ (C - c_shift))
    return lambda at: (at - shift) / spread @ B + c_shift


def weight_of(found, M, C):
    """The ridge weight among those tried whose fit has the found left-out residuals."""
    spread = M.std(axis=0)
    largest = np.linalg.svd((M - M.mean(axis=0)) / spread, compute_uv=False)[0]
    candidates = _WEIGHTS.numpy() * largest**2
    misfits = []
    for a in candidates:
        predicted = solved(M, C, spread, a)(M)
        misfits.append(np.abs(predicted - found).max())
    return float(candidates[int(np.argmin(misfits))]), min(misfits)


def drawn(n, n_in, noise=0.3):
    X = normal(n, n_in, seed=n)
    C = X @ normal(n_in, 2, seed=1) + X[:, :1] ** 2 + noise * normal(n, 2, seed=2) + 5
    return X, C


@pytest.mark.parametrize("degree", [1, 2])
def test_the_fit_is_that_of_the_normal_equations_for_one_of_the_weights(degree):
    X, C = drawn(30, 3)
    found = ridge(X, C, degree).predict(X).numpy()
    M = monomials(X.numpy(), degree)
    assert weight_of(found, M, C.numpy())[1] < 1e-9


@pytest.mark.parametrize(("n", "n_in", "degree"), [(12, 3, 1), (25, 3, 2), (8, 15, 1)])
def test_left_out_residuals_are_those_of_samples_left_out(n, n_in, degree):
    X, C = drawn(n, n_in)
    found = ridge(X, C, degree)
    M, C = monomials(X.numpy(), degree), C.numpy()
    a, misfit = weight_of(found.predict(X).numpy(), M, C)
    assert misfit < 1e-9
    for i in range(n):
        others = np.arange(n) != i
        left = solved(M[others], C[others], M.std(axis=0), a)(M[i : i + 1])[0] - C[i]
        np.testing.assert_allclose(found.left_out[i], left, rtol=1e-6, atol=1e-9)


def test_samples_of_one_number_are_left_out_together():
    X, C = drawn(25, 3)
    same = np.array([0, 0, 1, 2, 2, 2, *range(3, 22)])
    X[1], X[4], X[5] = X[0], X[3], X[3]
    found = ridge(X, C, 2, same)
    M, C = monomials(X.numpy(), 2), C.numpy()
    a, misfit = weight_of(found.predict(X).numpy(), M, C)
    assert misfit < 1e-9
    for number in range(4):
        held = same == number
        left = solved(M[~held], C[~held], M.std(axis=0), a)(M[held]) - C[held]
        np.testing.assert_allclose(found.left_out[held], left, rtol=1e-6, atol=1e-9)


def test_the_weight_has_the_least_left_out_error():
    X, C = drawn(15, 4)
    found = ridge(X, C, 1)
    M = monomials(X.numpy(), 1)
    spread = M.std(axis=0)
    largest = np.linalg.svd((M - M.mean(axis=0)) / spread, compute_uv=False)[0]
    scores = []
    for a in _WEIGHTS.numpy() * largest**2:
        score = 0.0
        for i in range(15):
            others = np.arange(15) != i
            predict = solved(M[others], C.numpy()[others], spread, a)
            score += float(((predict(M[i : i + 1])[0] - C.numpy()[i]) ** 2).sum())
        scores.append(score)
    assert float(found.left_out.square().sum()) == pytest.approx(min(scores), rel=1e-8)


def test_more_inputs_than_samples_do_not_break():
    X = normal(6, 40, seed=0)
    C = X[:, :1] + 3
    found = ridge(X, C, 1)
    assert bool(torch.isfinite(found.weights).all())
    assert bool(torch.isfinite(found.left_out).all())
    assert found.weights.shape == (1, 41)


@pytest.mark.parametrize("degree", [1, 2])
def test_exact_data_are_reproduced(degree):
    X = normal(40, 3, seed=0)
    C = 2 - X @ normal(3, 2, seed=1)
    if degree == 2:
        C = C + (X[:, :1] * X[:, 1:2]) * torch.tensor([1.0, -2.0])
    found = ridge(X, C, degree)
    assert float(found.left_out.abs().max()) < 1e-8
    fresh = normal(10, 3, seed=7)
    expected = 2 - fresh @ normal(3, 2, seed=1)
    if degree == 2:
        expected = expected + (fresh[:, :1] * fresh[:, 1:2]) * torch.tensor([1.0, -2.0])
    assert float((found.predict(fresh) - expected).abs().max()) < 1e-8


@pytest.mark.parametrize("seed", range(8))
def test_noise_is_not_interpolated_and_called_exact(seed):
    # Nine monomials of five samples: a small weight interpolates, and leaves only rounding.
    X = normal(5, 3, seed=seed)
    C = normal(5, 1, seed=100 + seed)
    C = C - C.mean(dim=0)
    claimed = float(ridge(X, C, 2).left_out.square().mean() / C.square().mean())
    assert claimed > 0.05


def test_an_input_that_does_not_vary_has_no_weight():
    X = normal(20, 3, seed=0)
    X[:, 1] = 0
    found = ridge(X, X[:, :1] + X[:, 2:], 1)
    assert float(found.weights[:, 1].abs().max()) == 0
    assert float(found.left_out.abs().max()) < 1e-8


def test_targets_that_are_all_equal_are_their_mean():
    X = normal(10, 2, seed=0)
    found = ridge(X, torch.full((10, 1), 3.0).double(), 1)
    torch.testing.assert_close(found.predict(X), torch.full((10, 1), 3.0).double())


def test_inputs_that_are_all_equal_give_the_mean():
    found = ridge(torch.zeros(6, 2).double(), normal(6, 1, seed=0), 1)
    expected = normal(6, 1, seed=0).mean()
    torch.testing.assert_close(found.predict(torch.zeros(1, 2).double())[0, 0], expected)
