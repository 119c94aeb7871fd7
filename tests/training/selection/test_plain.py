"""Features without weights: whitened, they have the kernel as their product."""

import math

import pytest
import torch
from draws import classes, normal

from surrogates.training.inner import logistic
from surrogates.training.inner.losses import CrossEntropy
from surrogates.training.selection.kernel import distances, kappa
from surrogates.training.selection.plain import Plain, path

ALPHAS = (1e-1, 1e-2, 1e-3, 1e-4)


def product(kernel, A, B, scales):
    if kernel == "linear":
        return A @ B.T / A.shape[1]
    return kappa(kernel, distances(A, B, scales))


@pytest.mark.parametrize("kernel", ["linear", "gaussian", "matern52"])
def test_whitened_features_have_the_kernel_as_their_product(kernel):
    X, scales = normal(30, 3, seed=0), torch.tensor([0.5, 1.0, 0.0]).double()
    basis = Plain(kernel=kernel, scales=scales).basis(X)
    Z = basis(X)
    assert bool((Z[:, -1] == 1).all())
    expected = product(kernel, X, X, scales)
    torch.testing.assert_close(Z[:, :-1] @ Z[:, :-1].T, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kernel", ["linear", "gaussian", "matern52"])
def test_weights_of_the_features_themselves_give_the_same_outputs(kernel):
    X, new = normal(30, 3, seed=0), normal(9, 3, seed=1)
    basis = Plain(kernel=kernel, scales=torch.ones(3).double(), n_centres=20).basis(X)
    assert basis.features.width == (3 if kernel == "linear" else 20)
    W = normal(4, basis(X).shape[1], seed=2)
    own = basis.weights(W)
    F = basis.features.forward(new)
    outputs = F @ own[:, :-1].T + own[:, -1]
    torch.testing.assert_close(outputs, basis(new) @ W.T, rtol=1e-6, atol=1e-6)


def test_the_kernel_s_norm_is_the_norm_of_the_weights():
    # Representer theorem: the minimum over a in l = K a + b is that of the whitened features.
    X, C, alpha2 = normal(25, 2, seed=0), classes(25, 3, seed=1), 1e-2
    K = product("matern52", X, X, torch.ones(2).double())
    basis = Plain(kernel="matern52", scales=torch.ones(2).double()).basis(X)
    W = logistic.minimise(CrossEntropy(), basis(X), C, alpha2)
    own = basis.weights(W)
    p = torch.softmax(K @ own[:, :-1].T + own[:, -1], dim=1)
    # Stationary in a: K ((p - C) / n + alpha2 a) = 0.
    a = own[:, :-1].T
    torch.testing.assert_close(K @ (p - C) / 25, -alpha2 * K @ a, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kernel", ["linear", "gaussian"])
def test_inputs_that_do_not_vary_and_repeated_samples_do(kernel):
    C = classes(12, 2, seed=0)
    for X in (torch.zeros(12, 2).double(), normal(3, 2, seed=1).repeat(4, 1)):
        found = path(X, C, X, C, Plain(kernel=kernel, scales=torch.ones(2).double()), ALPHAS)
        assert bool(torch.isfinite(found).all())
        # Equal inputs have equal logits, whatever their classes.
        torch.testing.assert_close(found[:, 0], found[:, 9], rtol=0, atol=1e-9)


def test_a_path_has_the_logits_of_each_alpha2():
    X, C = normal(40, 2, seed=0), classes(40, 3, seed=1)
    X = X + C @ normal(3, 2, seed=2)
    plain = Plain(kernel="gaussian", scales=torch.ones(2).double())
    found = path(X[:30], C[:30], X[30:], C[30:], plain, ALPHAS[:2])
    basis = plain.basis(X[:30])
    for logits, alpha2 in zip(found, ALPHAS, strict=False):
        W = logistic.minimise(CrossEntropy(), basis(X[:30]), C[:30], alpha2)
        torch.testing.assert_close(logits, basis(X[30:]) @ W.T, rtol=0, atol=1e-3)


def test_a_path_ends_where_it_gets_far_worse():
    # Labels without any relation to the inputs: the less alpha2, the worse.
    X, C = 3 * normal(40, 1, seed=0), classes(40, 2, seed=1)
    alphas = tuple(10.0**-k for k in range(12))
    plain = Plain(kernel="gaussian", scales=torch.tensor([5.0]).double())
    X_held = X + 1e-3
    found = path(X, C, X_held, C.flip(1), plain, alphas)
    assert len(found) == len(alphas)
    losses = [float(CrossEntropy().values(one, C.flip(1)).mean()) for one in found]
    assert losses[3] > losses[0] >= math.log(2)
