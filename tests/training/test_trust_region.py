"""The trust region: the subproblem against brute force and the optimality conditions."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from surrogates.training import trust_region
from surrogates.training.trust_region import (
    Multiplier,
    RadiusRule,
    cholesky,
    solve_by_cholesky,
    solve_factored,
    solve_subproblem,
)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def model(H, g, s):
    return float(g @ s + s @ (H @ s) / 2)


def brute_force(H, g, radius, n=4000):
    """The least value on a fine polar grid of the disk, two unknowns."""
    angle = torch.linspace(0, 2 * math.pi, n, dtype=torch.float64)
    circle = torch.stack([torch.cos(angle), torch.sin(angle)], dim=1)
    values = []
    for r in torch.linspace(0, 1, 201, dtype=torch.float64):
        S = radius * r * circle
        values.append(S @ g + (S * (S @ H)).sum(1) / 2)
    return float(torch.cat(values).min())


PLANE = {
    "inside": ([[3.0, 1.0], [1.0, 2.0]], [1.0, -1.0], 5.0),
    "boundary": ([[3.0, 1.0], [1.0, 2.0]], [1.0, -1.0], 0.3),
    "singular": ([[1.0, 0.0], [0.0, 0.0]], [1.0, 0.0], 2.0),
    "singular, downhill along the null space": ([[1.0, 0.0], [0.0, 0.0]], [1.0, 1e-3], 2.0),
    "indefinite": ([[1.0, 0.0], [0.0, -2.0]], [1.0, 1.0], 1.5),
    "hard case": ([[1.0, 0.0], [0.0, -2.0]], [1.0, 0.0], 1.5),
    "hard case in name only": ([[1.0, 0.0], [0.0, -2.0]], [1.0, 0.0], 0.1),
    "nearly hard": ([[1.0, 0.0], [0.0, -2.0]], [1.0, 1e-9], 1.5),
    "no gradient": ([[1.0, 0.0], [0.0, -2.0]], [0.0, 0.0], 1.5),
    "no curvature": ([[0.0, 0.0], [0.0, 0.0]], [3.0, 4.0], 2.0),
}


@pytest.mark.parametrize("name", PLANE)
def test_subproblem_in_the_plane_against_brute_force(name):
    H, g, radius = PLANE[name]
    H, g = vector(*H[0], *H[1]).view(2, 2), vector(*g)
    s = solve_subproblem(H, g, radius)
    least = brute_force(H, g, radius)
    assert float(torch.linalg.vector_norm(s)) <= radius * (1 + 1e-6)
    size = abs(least) + 1e-12
    assert least - 1e-4 * size <= model(H, g, s) <= least + 1e-12 * size


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    n=st.integers(1, 8),
    seed=st.integers(0, 10_000),
    shift=st.floats(-2, 2),
    decay=st.floats(0, 10),
    exponent=st.floats(-6, 4),
)
def test_subproblem_meets_the_conditions_of_optimality(n, seed, shift, decay, exponent):
    generator = torch.Generator().manual_seed(seed)
    Q, _ = torch.linalg.qr(torch.randn((n, n), generator=generator, dtype=torch.float64))
    values = torch.logspace(0, -decay, n, dtype=torch.float64) + min(shift, 0.0)
    H = (Q * values) @ Q.T
    g = torch.randn(n, generator=generator, dtype=torch.float64)
    radius = 10.0**exponent
    s = solve_subproblem(H, g, radius)
    length = float(torch.linalg.vector_norm(s))
    assert length <= radius * (1 + 1e-9)
    # H s + g = -shift s with shift >= 0, shift (radius - ||s||) = 0, H + shift I >= 0.
    slope = H @ s + g
    found = max(0.0, -float(slope @ s) / length**2)
    size = float(torch.linalg.vector_norm(g)) + float(torch.linalg.vector_norm(H @ s))
    assert float(torch.linalg.vector_norm(slope + found * s)) <= 1e-8 * size
    assert found * (radius - length) <= 1e-8 * size
    assert found >= -float(values.min()) - 1e-8 * (1 + size / length)


@pytest.mark.parametrize("values", [(-2.0,), (-2.0, 1.0)])
@pytest.mark.parametrize("size", [1e-13, 1e-16, 1e-100])
@pytest.mark.parametrize("radius", [1e-3, 7.4, 3770.0])
def test_a_gradient_far_below_the_curvature_gives_a_step_to_the_boundary(values, size, radius):
    # The shift differs from 2 by less than its rounding.
    H = torch.diag(vector(*values))
    s = solve_subproblem(H, vector(*[size] * len(values)), radius)
    assert abs(float(torch.linalg.vector_norm(s)) - radius) <= 1e-9 * radius
    assert abs(float(s[0])) >= radius * (1 - 1e-9)


def test_the_rule_is_that_of_the_published_method():
    assert RadiusRule() == RadiusRule(
        accept=1e-4, shrink_below=0.1, grow_above=0.75, shrink=0.25, grow=2.0
    )


def test_an_infinite_radius_gives_the_newton_step_or_is_refused():
    H, g = vector(3, 1, 1, 2).view(2, 2), vector(1, -1)
    s = solve_subproblem(H, g, math.inf)
    assert float((H @ s + g).abs().max()) < 1e-14
    with pytest.raises(ValueError, match="finite radius"):
        solve_subproblem(-H, g, math.inf)


@pytest.mark.parametrize("radius", [0.0, -1.0, math.nan])
def test_a_radius_that_is_not_positive_is_refused(radius):
    with pytest.raises(ValueError, match="radius > 0"):
        solve_subproblem(vector(1).view(1, 1), vector(1), radius)


@pytest.mark.parametrize(
    ("length", "ratio", "expected"),
    [
        (2.0, 0.05, 0.5),  # poor: shrinks from the step's length
        (2.0, -math.inf, 0.5),
        (2.0, math.nan, 0.5),
        (2.0, 0.1, 4.0),
        (4.0, 0.75, 4.0),
        (4.0, 0.76, 8.0),  # good and on the boundary: grows
        (3.0, 0.99, 4.0),  # good, but inside
    ],
)
def test_the_radius_follows_the_ratio(length, ratio, expected):
    assert RadiusRule().next_radius(4.0, length, ratio) == expected


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rank=st.integers(1, 12),
    log_radius=st.floats(-4, 6),
    log_guess=st.floats(-12, 6),
    log_length=st.floats(-4, 6),
    exponent=st.floats(0.1, 1),
)
def test_the_subproblem_by_cholesky_agrees_with_eigenvalues(
    seed, rank, log_radius, log_guess, log_length, exponent
):
    generator = torch.Generator().manual_seed(seed)
    B = torch.randn((12, rank), generator=generator, dtype=torch.float64)
    B = B * torch.logspace(0, -5, rank, dtype=torch.float64)
    H = B @ B.T  # singular, unless the rank is full, with g in its range
    x = torch.randn(12, generator=generator, dtype=torch.float64)
    g = H @ x
    range_of_H = torch.linalg.qr(B).Q
    free = float((range_of_H.T @ x).norm())  # length of the least minimiser
    radius = 10.0**log_radius
    guess = Multiplier(10.0**log_guess, 10.0**log_length, exponent)
    s, found, factor = solve_by_cholesky(H, g, radius, guess)
    norm = float(s.norm())
    assert norm <= 1.1 * radius * (1 + 1e-9)
    # What s minimises is the model in the ball of its own size.
    best = model(H, g, solve_subproblem(H, g, max(norm, 1e-300)))
    assert model(H, g, s) <= best + 1e-6 * abs(best)
    assert norm >= 0.8 * min(free, radius) * (1 - 1e-3)
    assert norm == found.length
    shifted = H + found.shift * torch.eye(12, dtype=torch.float64)
    assert torch.allclose(factor @ factor.T, shifted, rtol=0, atol=1e-12 * float(shifted.trace()))


def test_the_last_multiplier_is_a_good_guess_at_another_radius(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    Q, _ = torch.linalg.qr(torch.randn((40, 40), generator=generator, dtype=torch.float64))
    H = (Q * torch.logspace(2, -10, 40, dtype=torch.float64)) @ Q.T
    g = H @ torch.randn(40, generator=generator, dtype=torch.float64)
    _, last, _ = solve_by_cholesky(H, g, 1.0, Multiplier())
    count = 0
    factorise = trust_region.cholesky

    def counting(A):
        nonlocal count
        count += 1
        return factorise(A)

    monkeypatch.setattr(trust_region, "cholesky", counting)
    for radius in (0.5, 0.25, 0.125):
        _, last, _ = solve_by_cholesky(H, g, radius, last)
    assert count <= 6
    count = 0
    solve_by_cholesky(H, g, 0.125, last)
    assert count == 1


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_matrix_that_overflows_gives_no_step(value):
    H = torch.eye(3, dtype=torch.float64)
    H[1, 1] = value
    assert solve_by_cholesky(H, torch.ones(3, dtype=torch.float64), 1.0, Multiplier()) is None


@pytest.mark.parametrize("shape", [(12,), (3, 4), (12, 1)])
def test_one_right_hand_side_is_solved_for_in_its_shape(shape):
    A = torch.randn((12, 12), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    H = A @ A.T + torch.eye(12, dtype=torch.float64)
    b = torch.arange(1.0, 13.0, dtype=torch.float64).view(shape)
    kept = b.clone()
    expected = torch.linalg.solve(H, b.reshape(-1)).view(shape)
    for factor in (cholesky(H.clone()), torch.linalg.cholesky(H)):
        torch.testing.assert_close(solve_factored(factor, b), expected, rtol=1e-11, atol=1e-12)
    assert torch.equal(b, kept)
