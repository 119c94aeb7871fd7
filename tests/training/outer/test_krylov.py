"""Lanczos: the space, the projection, and when it stops."""

import math

import pytest
import torch
from draws import normal

from surrogates.training.outer.krylov import lanczos


def operator(values, seed=0):
    """A symmetric matrix with the given eigenvalues, and a right-hand side."""
    Q, _ = torch.linalg.qr(normal(len(values), len(values), seed=seed))
    return (Q * values) @ Q.T, normal(len(values), seed=seed + 1)


def test_projection_of_a_badly_conditioned_operator():
    H, g = operator(torch.logspace(0, -10, 60, dtype=torch.float64))
    space = lanczos(lambda v: H @ v, g, 25, 0.0)
    Q = space.Q
    eye = torch.eye(25, dtype=torch.float64)
    assert space.rank == 25
    assert float((Q.T @ Q - eye).abs().max()) < 1e-13
    assert float((Q.T @ H @ Q - space.H).abs().max()) < 1e-13
    assert float((Q.T @ g - space.g).abs().max()) < 1e-12
    # The space is that of powers of H on g.
    power = H @ (H @ g)
    assert float((power - Q[:, :3] @ (Q[:, :3].T @ power)).abs().max()) < 1e-12


def test_residual_told_is_the_true_one_and_ends_the_iteration():
    H, g = operator(torch.linspace(1, 30, 40, dtype=torch.float64))
    ranks = []
    for tolerance in (1e-1, 1e-2, 1e-6):
        space = lanczos(lambda v: H @ v, g, 40, tolerance)
        s = -torch.linalg.solve(space.H, space.g)
        true = torch.linalg.vector_norm(H @ (space.Q @ s) + g) / torch.linalg.vector_norm(g)
        assert space.residual == pytest.approx(float(true), rel=1e-6, abs=1e-14)
        assert space.residual <= tolerance
        shorter = lanczos(lambda v: H @ v, g, space.rank - 1, 0.0)
        assert shorter.residual > tolerance
        ranks.append(space.rank)
    assert ranks == sorted(set(ranks)) and ranks[-1] < 40


def test_full_rank_solves_the_system():
    H, g = operator(torch.linspace(1, 5, 12, dtype=torch.float64))
    space = lanczos(lambda v: H @ v, g, 100, 0.0)
    s = -space.Q @ torch.linalg.solve(space.H, space.g)
    assert float((H @ s + g).abs().max()) < 1e-11


@pytest.mark.parametrize("zeros", [0, 5])
def test_an_invariant_space_ends_the_iteration(zeros):
    # Three different eigenvalues that g meets: three vectors, whatever the rank allows.
    values = torch.tensor([1.0, 2.0, 3.0] * 4 + [0.0] * zeros, dtype=torch.float64)
    H, g = operator(values)
    g = H @ g
    space = lanczos(lambda v: H @ v, g, 10, 0.0)
    assert space.rank == 3
    s = -space.Q @ torch.linalg.solve(space.H, space.g)
    assert float((H @ s + g).abs().max()) < 1e-12


def test_a_singular_operator_has_no_residual_to_stop_at():
    g = torch.tensor([1.0, 0.0], dtype=torch.float64)
    space = lanczos(torch.zeros_like, g, 2, 1e-2)
    assert space.rank == 1 and not space.H.any() and not math.isfinite(space.residual)


@pytest.mark.parametrize(("g", "rank"), [(torch.zeros(3), 2), (torch.ones(3), 0)])
def test_refuses_a_zero_vector_or_rank(g, rank):
    with pytest.raises(ValueError, match="rank >= 1 and g not zero"):
        lanczos(lambda v: v, g, rank, 0.0)
