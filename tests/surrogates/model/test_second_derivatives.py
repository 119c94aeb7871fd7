"""Hessian-vector products: differences of vjp, symmetry, files, and what has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from exports import saved
from extended import N_IN, N_OUT, both, draw, every_surrogate, joined, points
from places import STORED
from plain import NETWORKS, Sine
from plain import both as plain
from plain import points as plain_points

import surrogates
from surrogates.errors import InputError
from surrogates.export.constants import constants
from surrogates.model.classifier import Classifier
from surrogates.model.parts import Domain
from surrogates.model.surrogate import Surrogate

SMOOTH = [network for network in NETWORKS if network[1] != "relu"]


def orders(module, y, w, v):
    """Orders at which central differences of vjp come near hvp, over halved steps."""
    exact, errors = module.hvp(y, w, v), []
    for k in range(3, 8):
        step = 2.0**-k * v
        difference = (module.vjp(y + step, w) - module.vjp(y - step, w)) / 2.0 ** (1 - k)
        errors.append(float((difference - exact).norm()))
    assert float(exact.norm()) > 0
    return [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]


@pytest.mark.parametrize("network", SMOOTH, ids=str)
def test_central_differences_come_near_at_order_two(network):
    surrogate, _ = plain(*network)
    n_in, n_out = len(surrogate.lower), len(surrogate.c)
    y, width = surrogate.lower.lerp(surrogate.upper, 0.4), surrogate.upper - surrogate.lower
    v = 0.2 * draw(n_in, seed=2) * width / math.sqrt(n_in)
    found = orders(surrogate, y, draw(n_out, seed=3), v)
    assert all(1.9 < order < 2.3 for order in found[-2:]), found


def test_of_every_part_with_logarithms_central_differences_come_near_at_order_two():
    surrogate, _ = both("anova")
    y = torch.from_numpy(points(surrogate)[0])
    found = orders(surrogate, y, draw(N_OUT, seed=3), 0.05 * draw(N_IN, seed=2))
    assert all(1.9 < order < 2.1 for order in found[-2:]), found


@every_surrogate
def test_the_hessian_is_symmetric(name):
    surrogate, _ = both(name)
    Y = torch.from_numpy(points(surrogate))
    w, a, b = draw(len(Y), N_OUT, seed=3), draw(len(Y), N_IN, seed=4), draw(len(Y), N_IN, seed=5)
    ab, ba = surrogate.hvp(Y, w, a), surrogate.hvp(Y, w, b)
    gap = ((ab * b).sum(1) - (ba * a).sum(1)).abs()
    assert (gap <= 1e-12 * (ab.norm(dim=1) * b.norm(dim=1) + ba.norm(dim=1) * a.norm(dim=1))).all()


@pytest.mark.parametrize("network", NETWORKS[::3], ids=str)
def test_all_forms_agree(network):
    surrogate, loaded = plain(*network)
    Y = plain_points(surrogate)
    w, v = draw(len(Y), len(surrogate.c), seed=3), draw(*Y.shape, seed=4)
    right = surrogate.hvp(torch.from_numpy(Y), w, v).numpy()
    for form in (loaded, constants(loaded)):
        found = form.hvp(Y, w.numpy(), v.numpy())
        np.testing.assert_allclose(found, right, rtol=1e-11, atol=1e-12 * np.abs(right).max())
        one = form.hvp(Y[3], w[3].numpy(), v[3].numpy())
        np.testing.assert_allclose(one, right[3], rtol=1e-11, atol=1e-12 * np.abs(right).max())


def test_of_a_classifier_it_is_that_of_the_logits():
    features = joined("ode gaussian", 3)
    domain = Domain.of(np.random.default_rng(0).random((50, 3)))
    classifier = Classifier(
        features, draw(4, features.width + 1), np.zeros(3), np.ones(3), domain, temperature=1.5
    )
    scripted = torch.jit.script(classifier)
    y, w, v = draw(3), draw(4, seed=2), draw(3, seed=3)
    _, right = torch.func.jvp(torch.func.grad(lambda y: classifier(y) @ w), (y,), (v,))
    for module in (classifier, scripted):
        torch.testing.assert_close(module.hvp(y, w, v), right, rtol=1e-11, atol=1e-12)


def test_sizes_that_do_not_fit_are_one_clear_line():
    surrogate, _ = both("network")
    y, w = draw(N_IN).abs(), draw(N_OUT)
    with pytest.raises(ValueError, match=r"expected w of shape \(11,\) or \(n, 11\); got \[5\]"):
        surrogate.hvp(y, y, y)
    with pytest.raises(ValueError, match=r"expected v for each y, of shape \[5\]; got \[1, 5\]"):
        surrogate.hvp(y, w, y[None])


def test_what_has_no_second_derivatives_says_so(parts, tmp_path):
    older = next(path for path in sorted(STORED.glob("*.pt")) if "ode" in path.stem)
    loaded = surrogates.load(older)
    y, w = np.ones(loaded.n_in), np.ones(loaded.n_out)
    with pytest.raises(InputError, match="has no second derivatives; train it again"):
        loaded.hvp(y, w, y)
    changes = {"features": Sine(), "W": torch.ones(6, 5), "error_bars": None}
    own = saved(Surrogate(**{**parts, **changes}), tmp_path / "own.pt")
    with pytest.raises(InputError, match="fails in hvp: .*a module of your own"):
        own.hvp(np.ones(4), np.ones(6), np.ones(4))
