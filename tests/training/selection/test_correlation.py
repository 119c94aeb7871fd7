"""The covariance of errors from residuals whose covariance is known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from surrogates.model.covariance import Covariance
from surrogates.training.selection.correlation import Seen, correlation, directions

M, K = 120, 6


def planted(n, seed=0, scatter=(0.0, 0.0)):
    """Residuals (n, M) within K directions and beside them, and columns that span the K."""
    rng = np.random.default_rng(seed)
    V = np.linalg.qr(np.random.default_rng(9).standard_normal((M, K)))[0]
    variances, own = 40.0 * 0.4 ** np.arange(K), 0.02
    sizes = np.exp(np.array(scatter) * rng.standard_normal((n, 2)) / 2 - np.array(scatter) ** 2 / 4)
    z = sizes[:, :1] * (rng.standard_normal((n, K)) * np.sqrt(variances)) @ V.T
    z += sizes[:, 1:] * np.sqrt(own) * rng.standard_normal((n, M))
    return z, V * 10.0 ** -np.arange(K), V * variances @ V.T + own * np.eye(M)


def of(found, n=M):
    return Covariance(mean=np.zeros(n), factor=found.loadings, diagonal=found.unique)


@pytest.mark.parametrize("n", [30, 3000])
def test_a_planted_covariance_is_found_from_fewer_residuals_than_outputs(n):
    z, spans, right = planted(n)
    found = correlation(z, spans)
    assert found.loadings.shape == (M, K)
    level = max(1.0, np.exp(-np.log(np.diagonal(right)).mean()))
    ratios = np.linalg.eigvals(np.linalg.solve(right * level, of(found).dense())).real
    assert (np.abs(ratios - 1) < 8 / np.sqrt(n)).all()
    fresh, _, _ = planted(2000, seed=1)
    chi2 = of(found).chi2(fresh) / M * level
    assert abs(chi2.mean() - 1) < 0.15
    assert (found.scatter < 0.35).all()


def test_scatter_is_found():
    z, spans, _ = planted(3000, scatter=(1.0, 0.5))
    found = correlation(z, spans)
    np.testing.assert_allclose(found.scatter, [1.0, 0.5], atol=0.05)


def test_missing_residuals_do_not_count():
    z, spans, right = planted(500)
    z[np.random.default_rng(3).random(z.shape) < 0.1] = np.nan
    z[7] = np.nan
    ratios = np.linalg.eigvals(np.linalg.solve(right, of(correlation(z, spans)).dense())).real
    level = np.median(ratios)
    assert (np.abs(ratios / level - 1) < 0.6).all()


def test_outputs_without_error_or_residuals_are_left_out():
    z, spans, _ = planted(100)
    z[:, 5], spans[5], z[:, 8] = np.nan, np.nan, np.nan
    found = correlation(z, spans)
    assert (found.loadings[[5, 8]] == 0).all() and (found.unique[[5, 8]] == 1).all()
    assert np.isfinite(found.loadings).all() and (found.unique > 0).all()
    none = correlation(np.full((3, M), np.nan), spans)
    assert none.loadings.shape == (M, 0) and (none.unique == 1).all()


def test_directions_span_the_columns_in_their_order():
    A = np.random.default_rng(0).standard_normal((50, 8)) * 10.0 ** -np.arange(8)
    V = directions(A)
    U = np.linalg.svd(A, full_matrices=False)[0]
    np.testing.assert_allclose(np.abs(np.sum(V * U, axis=0)), 1, rtol=1e-6)
    mixed = A @ np.random.default_rng(1).standard_normal((8, 300))
    for columns in (A, np.concatenate([A, 0 * np.ones((50, 100))], axis=1), mixed):
        found = directions(columns)
        np.testing.assert_allclose(found.T @ found, np.eye(8), atol=1e-12)
        np.testing.assert_allclose(found @ (found.T @ A[:, :4]), A[:, :4], atol=1e-9)


def test_a_single_output_keeps_its_size():
    """Its prediction is 1e12 times its error, which is no reason to make the error larger."""
    z = np.random.default_rng(0).standard_normal((400, 1))
    found = correlation(z, 1e12 * np.random.default_rng(1).standard_normal((1, 50)))
    variance = (found.loadings**2).sum() + found.unique[0]
    assert abs(variance / np.mean(z**2) - 1) < 0.15


def test_few_residuals_leave_the_error_bars_alone():
    """With four residuals, R is the unit matrix; rows without any number do not count."""
    z = np.full((9, M), np.nan)
    z[:4] = planted(4)[0]
    found = correlation(z, planted(4)[1])
    assert found.loadings.shape == (M, 0) and (found.unique == 1).all()


def seen(x, J=None, own=None, left=None):
    """What is known of residuals at x; Jacobians J (n, M, n_in)."""
    n, n_in = x.shape
    J = np.random.default_rng(3).standard_normal((n, M, n_in)) if J is None else J
    own = np.full(n, -1) if own is None else own
    left = np.zeros((M, 0)) if left is None else left
    return Seen(x=x, own=own, jacobians=lambda rows: J[rows], left=left)


def test_sizes_of_both_parts_are_found():
    """log h = 1.5 x_0 and log h' = x_0 x_1, times numbers; chi-squared is right everywhere."""
    z, spans, _ = planted(2000)
    x = np.random.default_rng(2).uniform(-1.7, 1.7, (2000, 2))
    V = directions(spans)
    inside = z @ V @ V.T
    h, own = np.exp(1.5 * x[:, :1]), np.exp(x[:, :1] * x[:, 1:])
    z = np.sqrt(h) * inside + np.sqrt(own) * (z - inside)
    found = correlation(z, spans, seen(x))
    ratios = np.log(found.size(x)) - np.log(np.hstack([h, own]))
    assert (ratios.std(axis=0) < [0.15, 0.05]).all()
    covariance = Covariance(
        mean=np.zeros((2000, M)),
        factor=np.sqrt(found.size(x)[:, :1, None]) * found.loadings,
        diagonal=found.size(x)[:, 1:] * found.unique,
    )
    chi2 = covariance.chi2(z) / M
    low, high = x[:, 0] < -1, x[:, 0] > 1
    assert abs(chi2[low].mean() / chi2[high].mean() - 1) < 0.05 and (found.scatter < 0.3).all()


def test_without_differences_in_size_there_are_none():
    z, spans, _ = planted(300)
    found = correlation(z, spans, seen(np.random.default_rng(2).uniform(-1, 1, (300, 3))))
    assert np.abs(np.log(found.size(np.zeros((1, 3))))).max() < 0.2
    assert (found.ends[1] - found.ends[0] < 0.5).all()


def test_interpolated_samples_do_not_hide_what_is_beside_the_others():
    """Each residual lies in the span of all samples, and partly beside that of the others.

    Targets of 60 samples are independent, so that the others know nothing of the sample's.
    """
    C = np.random.default_rng(0).standard_normal((60, M))
    z = C - C.mean(axis=0)
    x = np.random.default_rng(2).uniform(-1, 1, (60, 2))
    without = correlation(z, z.T)
    found = correlation(z, z.T, seen(x, own=np.arange(60)))
    fresh = np.random.default_rng(5).standard_normal((500, M))
    assert of(without).chi2(fresh).mean() > 1e4 * M
    assert 0.7 * M < of(found).chi2(fresh).mean() < 1.4 * M


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_errors_that_are_larger_along_the_jacobian_are_found(factor):
    """The Jacobian's column turns from y to y, and errors along it are larger."""
    rng = np.random.default_rng(0)
    V = np.linalg.qr(rng.standard_normal((M, 20)))[0]
    turns = rng.standard_normal((4000, 20))
    turns /= np.linalg.norm(turns, axis=1)[:, None]
    x = rng.standard_normal((4000, 20))
    x += (np.sqrt(factor) - 1) * (x * turns).sum(axis=1, keepdims=True) * turns
    z = 10 * x @ V.T + 0.1 * rng.standard_normal((4000, M))
    J = (turns @ V.T)[:, :, None]
    known = seen(rng.uniform(-1, 1, (4000, 2)), J)
    found = correlation(z, V, known)
    variance = 1 + (factor - 1) / 20  # of all directions together
    assert abs(found.along / (factor / variance) - 1) < 0.25
    shared = correlation(math.sqrt(0.4) * z, V, dataclasses.replace(known, share=0.4))
    assert abs(shared.along / (factor / variance / 0.4) - 1) < 0.25


def test_what_is_left_of_the_surrogates_own_samples_is_a_bound():
    z, spans, right = planted(400)
    x = np.random.default_rng(2).uniform(-1, 1, (400, 2))
    V = np.linalg.qr(spans)[0]
    left = np.random.default_rng(3).standard_normal((M, 500))
    found = correlation(z, spans, seen(x, left=left - V @ (V.T @ left)))
    without = correlation(z, spans, seen(x))
    assert (found.unique > 10 * without.unique).all()
    assert abs(found.unique.mean() - 1) < 0.1


def test_errors_beside_the_span_vary_by_what_they_are_beside_the_least_variance():
    z, spans, _ = planted(400, scatter=(0.0, 1.0))
    x = np.random.default_rng(2).uniform(-1, 1, (400, 2))
    V = np.linalg.qr(spans)[0]
    left = np.random.default_rng(3).standard_normal((M, 500))
    found = correlation(z, spans, seen(x, left=left - V @ (V.T @ left)))
    without = correlation(z, spans, seen(x))
    assert without.scatter[1] > 0.7 and found.scatter[1] < 0.1
