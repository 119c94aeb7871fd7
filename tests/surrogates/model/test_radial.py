from __future__ import annotations

import math
import re
from fractions import Fraction

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from extended import draw, joined, part
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.errors import InputError
from surrogates.model.centred import squared_distances
from surrogates.model.kinds import KERNELS
from surrogates.model.networks import MLP
from surrogates.model.radial import AnovaBasis, Joined, Monomials, RadialBasis

KINDS = (
    *KERNELS,
    "anova_gaussian",
    "linear",
    "quadratic",
    "ode gaussian anova_matern52 quadratic mlp",
)
every_kernel = pytest.mark.parametrize("kernel", KERNELS)

LAWS = {
    "gaussian": lambda r: np.exp(-(r**2) / 2),
    "matern52": lambda r: (1 + 5**0.5 * r + 5 * r**2 / 3) * np.exp(-(5**0.5) * r),
}


def jacobians(features, Y):
    return torch.func.vmap(torch.func.jacrev(lambda y: features(y[None])[0]))(Y)


@every_kernel
def test_radial_features_are_the_documented_kernels(kernel):
    features = part(kernel, 3, seed=1)
    Y = draw(5, 3)
    differences = (Y[:, None] - features.centres).numpy() * features.scales.numpy()
    expected = LAWS[kernel](np.linalg.norm(differences, axis=2))
    assert features(Y).shape == (5, features.width) == (5, 9)
    np.testing.assert_allclose(features(Y).numpy(), expected, rtol=1e-13)
    assert torch.equal(features(features.centres).diagonal(), torch.ones(9).double())
    assert not list(features.parameters()) and features.n_in == 3


@every_kernel
def test_anova_features_are_the_documented_products(kernel):
    features = part(f"anova_{kernel}", 3, seed=1)
    Y = draw(5, 3)
    r = (Y[:, None] - features.centres).abs().numpy() * features.scales.numpy()
    expected = np.prod(1 + features.shares.numpy() * (LAWS[kernel](r) - 1), axis=2)
    np.testing.assert_allclose(features(Y).numpy(), expected, rtol=1e-13)
    assert features.width == 9 and features.n_in == 3


def test_anova_features_of_shares_one_are_gaussian_and_of_small_ones_sums():
    centres, scales, Y = draw(4, 3), draw(3, seed=2).abs(), draw(6, 3, seed=3)
    product = AnovaBasis(centres, scales, torch.ones(3), "gaussian")
    torch.testing.assert_close(product(Y), RadialBasis(centres, scales, "gaussian")(Y))
    small = 1e-6 * torch.tensor([1.0, 2.0, 3.0]).double()
    kappa = torch.exp(-((Y[:, None] - centres) * scales).square() / 2)
    features = AnovaBasis(centres, scales, small, "gaussian")
    torch.testing.assert_close(
        (features(Y) - 1) / 1e-6, (kappa - 1) @ (small / 1e-6), rtol=1e-5, atol=1e-5
    )


def test_monomials_are_the_inputs_and_their_products():
    Y = draw(6, 3)
    features = Monomials(3, torch.tensor([[0, 0], [0, 2], [1, 2]], dtype=torch.int32))
    a, b, c = Y.t()
    expected = torch.stack([a, b, c, a * a, a * c, b * c], dim=1)
    assert features.width == 6 and torch.equal(features(Y), expected)
    assert torch.equal(Monomials(3, torch.zeros(0, 2, dtype=torch.int64))(Y), Y)


def test_joined_features_are_those_of_the_parts_with_their_own_scaling():
    features = joined(KINDS[-1], 4)
    Y, start = draw(6, 4), 0
    for i, own in enumerate(features.parts):
        X = (Y - features.shifts[i]) / features.scales[i]
        assert torch.equal(features(Y)[:, start : start + own.width], own(X))
        start += own.width
    assert start == features.width and features.n_in == 4


@pytest.mark.parametrize("kinds", KINDS)
def test_jacobians_are_those_of_automatic_differentiation_at_centres_too(kinds):
    features = joined(kinds, 3)
    Y = draw(6, 3)
    if hasattr(features, "centres"):
        Y[:3] = features.centres[:3]
    F, dF = features.forward_and_jacobian(Y)
    torch.testing.assert_close(F, features(Y), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(dF, jacobians(features, Y), rtol=1e-12, atol=1e-12)


@every_kernel
def test_the_jacobian_beside_a_centre_is_the_slope_times_the_difference(kernel):
    """kappa'(r) / r at 0 is -1 and -5 / 3, so that nothing of 1e-9 may be lost."""
    features = RadialBasis(torch.full((1, 2), 1000.0), torch.ones(2), kernel)
    step = torch.tensor([[2.0**-30, -(2.0**-31)]], dtype=torch.float64)
    dF = features.forward_and_jacobian(features.centres + step)[1]
    expected = {"gaussian": -1.0, "matern52": -5 / 3}[kernel] * step
    torch.testing.assert_close(dF[0], expected, rtol=1e-8, atol=0)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(arrays.arrays(np.float64, (2, 4), elements=st.floats(-1e6, 1e6)))
def test_distances_are_exact_to_rounding_for_points_of_any_size(pair):
    a, b = pair
    b = np.where(np.arange(4) % 2, a + 1e-9 * b, b)  # some so near that an expansion would fail
    square = sum((Fraction(x) - Fraction(y)) ** 2 for x, y in zip(a, b, strict=True))
    found = float(squared_distances(torch.from_numpy(a[None]), torch.from_numpy(b[:, None])))
    assert found == pytest.approx(float(square), rel=1e-14, abs=1e-300)


@every_kernel
def test_far_away_the_features_are_zero_and_their_slopes_too(kernel):
    features = part(kernel, 2, seed=1)
    F, dF = features.forward_and_jacobian(torch.tensor([[1e150, -1e150]], dtype=torch.float64))
    assert not F.any() and not dF.any()


def test_an_input_of_scale_zero_is_ignored():
    features = RadialBasis(draw(4, 2), torch.tensor([1.0, 0.0]), "gaussian")
    Y = draw(3, 2)
    assert torch.equal(features(Y), features(Y * torch.tensor([1.0, 7.0])))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: RadialBasis(torch.ones(3), torch.ones(3), "gaussian"),
            "expected centres of shape (width, n_in); got (3,)",
        ),
        (
            lambda: RadialBasis(torch.ones(3, 2), torch.ones(3), "gaussian"),
            "expected scales of shape (2,); got (3,)",
        ),
        (
            lambda: RadialBasis(torch.ones(3, 2), torch.tensor([1.0, -2.0]), "gaussian"),
            "expected scales >= 0; the least is -2",
        ),
        (
            lambda: RadialBasis(torch.ones(3, 2), torch.full((2,), math.nan), "gaussian"),
            "expected finite values in scales",
        ),
        (
            lambda: AnovaBasis(torch.ones(3, 2), torch.ones(2), torch.ones(3), "gaussian"),
            "expected shares of shape (2,); got (3,)",
        ),
        (
            lambda: AnovaBasis(torch.ones(3, 2), torch.ones(2), 2 * torch.ones(2), "gaussian"),
            "expected shares from 0 to 1",
        ),
        (
            lambda: RadialBasis(torch.ones(3, 2), torch.ones(2), "matern"),
            "unknown kernel 'matern'; did you mean 'matern52'?",
        ),
        (lambda: Monomials(0, torch.zeros(0, 2).long()), "expected at least 1 input; got 0"),
        (
            lambda: Monomials(2, torch.zeros(0)),
            "expected integers pairs of shape (n_pairs, 2); got torch.float32 of shape (0,)",
        ),
        (
            lambda: Monomials(2, torch.tensor([[1, 0]])),
            "expected pairs (i, j) with 0 <= i <= j < 2",
        ),
        (lambda: Monomials(2, torch.tensor([[1, 2]])), "expected pairs (i, j) with 0 <= i"),
        (lambda: Joined([], torch.ones(0, 2), torch.ones(0, 2)), "expected parts of one number"),
        (
            lambda: Joined([MLP(2, 1), MLP(3, 1)], torch.ones(2, 2), torch.ones(2, 2)),
            "expected parts of one number of inputs; got [2, 3]",
        ),
        (
            lambda: Joined([MLP(2, 1)], torch.ones(2), torch.ones(1, 2)),
            "expected shifts of shape (1, 2); got (2,)",
        ),
        (
            lambda: Joined([MLP(2, 1)], torch.ones(1, 2), torch.zeros(1, 2)),
            "expected scales > 0; the least is 0",
        ),
    ],
)
def test_what_does_not_fit_is_one_clear_line(make, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        make()
    assert len(str(caught.value).splitlines()) == 1
