"""Newton steps without a Hessian: the minimum is that of the method that forms it."""

import pytest
import torch
from draws import Poisson, classes, normal

from surrogates.training.inner import newton
from surrogates.training.inner.logistic import TOLERANCE, minimise
from surrogates.training.inner.losses import CrossEntropy


def features(n, m, seed):
    """Features of sizes from 1 to 1e-3, with a last column of ones."""
    sizes = torch.logspace(0, -3, m).double()
    return torch.cat([sizes * normal(n, m, seed=seed), torch.ones(n, 1).double()], dim=1)


def gradient(loss, Z, C, W, alpha2):
    return loss.gradient(Z @ W.T, C).T @ Z / len(Z) + alpha2 * W


@pytest.mark.parametrize("alpha2", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize(("n", "m", "n_classes"), [(60, 5, 3), (20, 40, 2)])
def test_is_the_minimum_that_newton_finds(n, m, n_classes, alpha2):
    Z, C = features(n, m, seed=0), classes(n, n_classes, seed=1)
    exact = newton.minimise(CrossEntropy(), Z, C, alpha2)
    W = minimise(CrossEntropy(), Z, C, alpha2)
    first = gradient(CrossEntropy(), Z, C, torch.zeros_like(W), alpha2)
    there = gradient(CrossEntropy(), Z, C, W, alpha2)
    assert float(there.norm()) <= 1.01 * TOLERANCE * float(first.norm())
    value = CrossEntropy().values(Z @ W.T, C).mean() + alpha2 / 2 * W.square().sum()
    # Phi is convex: with a gradient g, it is at most ||g||^2 / (2 alpha2) above its minimum.
    slack = float(there.square().sum()) / (2 * alpha2)
    assert exact.phi - 1e-12 <= float(value) <= exact.phi + slack + 1e-12
    if alpha2 >= 1e-3:
        torch.testing.assert_close(W, exact.W, rtol=0, atol=2 * float(there.norm()) / alpha2)


def test_where_it_starts_does_not_matter_and_classes_that_are_absent_do_not_break():
    Z, C = features(50, 6, seed=0), classes(50, 4, seed=1)
    C[C[:, 3] == 1] = torch.tensor([1.0, 0, 0, 0]).double()
    assert C[:, 3].sum() == 0
    from_zero = minimise(CrossEntropy(), Z, C, 1e-2)
    far = minimise(CrossEntropy(), Z, C, 1e-2, 30 * normal(4, 7, seed=2))
    torch.testing.assert_close(from_zero, far, rtol=0, atol=1e-3)
    assert bool((Z @ from_zero.T).argmax(dim=1).ne(3).all())


def test_at_the_minimum_nothing_moves():
    Z, C = features(50, 6, seed=0), classes(50, 3, seed=1)
    W = minimise(CrossEntropy(), Z, C, 1e-2)
    assert torch.equal(minimise(CrossEntropy(), Z, C, 1e-2, W), W)


def test_any_convex_loss_does():
    Z = features(80, 4, seed=0)
    C = torch.poisson(torch.exp(Z[:, :2]), generator=torch.Generator().manual_seed(0))
    exact = newton.minimise(Poisson(), Z, C, 1e-3)
    torch.testing.assert_close(minimise(Poisson(), Z, C, 1e-3), exact.W, rtol=0, atol=1e-2)
    assert float(gradient(Poisson(), Z, C, exact.W, 1e-3).norm()) < 1e-8
