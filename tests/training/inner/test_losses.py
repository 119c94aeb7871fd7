"""Losses: what they give in closed form is what torch derives of their values."""

import doctest
import math

import pytest
import torch
from draws import PseudoHuber, classes, normal
from torch.nn.functional import cross_entropy

from surrogates.training.data import Part
from surrogates.training.inner import losses
from surrogates.training.inner.losses import CrossEntropy, LeastSquares, Loss

each_loss = pytest.mark.parametrize("loss", [LeastSquares(), CrossEntropy(), PseudoHuber()])


def soft(n, n_classes, seed):
    return torch.softmax(normal(n, n_classes, seed=seed), dim=1)


@each_loss
@pytest.mark.parametrize("size", [1.0, 50.0])
def test_derivatives_are_those_of_torch(loss, size):
    outputs, C = size * normal(8, 4, seed=0), soft(8, 4, seed=1)

    def one(o, c):
        return loss.values(o[None], c[None])[0]

    D = torch.func.vmap(torch.func.hessian(one))(outputs, C)
    slopes = torch.func.vmap(torch.func.grad(one))(outputs, C)
    change = normal(8, 4, seed=2)
    torch.testing.assert_close(loss.gradient(outputs, C), slopes, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(loss.hessian(outputs, C), D, rtol=1e-12, atol=1e-14)
    product = (D @ change[:, :, None])[:, :, 0]
    torch.testing.assert_close(loss.hvp(outputs, C)(change), product, rtol=1e-12, atol=1e-14)
    M = loss.roots(outputs, C)
    torch.testing.assert_close(M.transpose(1, 2) @ M, D, rtol=1e-12, atol=1e-14)


def test_cross_entropy_is_that_of_torch_where_logits_are_huge():
    outputs = torch.cat([normal(5, 3, seed=0), 1e4 * normal(5, 3, seed=1)])
    for C in (classes(10, 3, seed=2), soft(10, 3, seed=3)):
        expected = cross_entropy(outputs, C, reduction="none")
        torch.testing.assert_close(CrossEntropy().values(outputs, C), expected)
    for values in (
        CrossEntropy().gradient(outputs, C),
        CrossEntropy().hessian(outputs, C),
        CrossEntropy().roots(outputs, C),
    ):
        assert bool(torch.isfinite(values).all())


def test_errors_are_misclassified_samples_or_relative():
    outputs = torch.tensor([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0], [0.0, 0.0, 1.0]]).double()
    C = torch.tensor([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).double()
    assert CrossEntropy().errors(outputs, C).tolist() == [0.5, 1.0, 0.0]
    expected = [math.dist(o, c) / math.hypot(*c) for o, c in zip(outputs, C, strict=True)]
    assert PseudoHuber().errors(outputs, C).tolist() == pytest.approx(expected)
    found = Part(Y=C, C=C, loss=CrossEntropy()).measure(
        outputs, torch.eye(3, 4, dtype=torch.float64)
    )
    assert found.error == pytest.approx(1.5 / 3)
    assert found.loss == pytest.approx(float(cross_entropy(outputs, C)))
    assert found.outputs is None and all(map(math.isnan, found.median_and_worst()))


def test_the_example_of_the_module_is_a_loss():
    test = doctest.DocTestFinder().find(losses, "losses", globs={"Loss": Loss})[0]
    assert test.examples
    runner = doctest.DocTestRunner()
    assert runner.run(test, clear_globs=False).failed == 0
    poisson = test.globs["Poisson"]()
    outputs, C = normal(4, 2, seed=0), normal(4, 2, seed=1).abs()
    torch.testing.assert_close(poisson.gradient(outputs, C), outputs.exp() - C)
