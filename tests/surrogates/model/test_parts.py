"""Members, signs, logarithms, tails, joined features: their formulas, and parts that do not fit."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from derivatives import second
from exports import METHODS, arguments, expected
from extended import N_IN, N_OUT, SURROGATES, both, draw, every_surrogate, joined, points
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.model.metrics import evaluate
from surrogates.model.parts import Domain, ErrorBars, Logs, Members
from surrogates.model.radial import RadialBasis
from surrogates.model.surrogate import Surrogate


@every_surrogate
def test_all_derivatives_are_those_of_automatic_differentiation(name):
    surrogate, _ = both(name)
    Y = torch.from_numpy(points(surrogate))
    J = torch.func.vmap(torch.func.jacrev(surrogate.forward))(Y)
    v, w = draw(len(Y), N_IN, seed=2), draw(len(Y), N_OUT, seed=3)
    right = {
        "jacobian": ((), J),
        "jvp": ((v,), torch.einsum("noi,ni->no", J, v)),
        "vjp": ((w,), torch.einsum("noi,no->ni", J, w)),
        "hvp": ((w, v), second(surrogate.forward, Y, w, v)),
    }
    for method, (more, value) in right.items():
        for rows in (slice(None), slice(0, 1), 0):
            found = getattr(surrogate, method)(Y[rows], *(x[rows] for x in more))
            atol = 1e-12 * float(value.abs().max())
            torch.testing.assert_close(found, value[rows], rtol=1e-11, atol=atol)


def parts_of_everything():
    """The drawn parts of a surrogate with members, signs and logarithms, and its features."""
    features = joined("ode gaussian linear", 3)
    n, n_out = features.width, 2
    weights = torch.tensor([[0.25, 1.0], [0.75, 0.0]], dtype=torch.float64)
    return {
        "features": features,
        "W": draw(n_out, n + 1, seed=1) / 3,
        "y_shift": draw(3, seed=2),
        "y_scale": 1 + draw(3, seed=3).abs(),
        "domain": Domain(
            lower=np.array([0.0, 1.0, 0.0]),
            upper=np.array([1.0, 3.0, 0.5]),
            unit=np.array([0.3, 1.0, 0.2]),
            normals=np.zeros((0, 3)),
            centre=np.array([0.5, 2.0, 0.2]),
        ),
        "error_bars": ErrorBars(
            leverage=draw(2, n + 1, seed=4) / n,
            floor=3.0,
            sigma=torch.tensor([0.1, 0.2]),
            signs=torch.tensor([1.0, -1.0]),
            spread=0.5,
            tail=torch.tensor([0.0, 0.2]),
        ),
        "members": Members(widths=[4, n - 4], weights=weights, biases=draw(2, n_out, seed=5)),
        "logs": Logs(inputs=[True, False, True], outputs=[False, True]),
    }


def test_is_the_documented_formula():
    p = parts_of_everything()
    surrogate = Surrogate(**p)
    Y = torch.tensor([[1.5, 2.0, 1.2], [2.0, 1.0, 5.0]], dtype=torch.float64)
    X = Y.clone()
    X[:, [0, 2]] = X[:, [0, 2]].log()
    F = p["features"]((X - p["y_shift"]) / p["y_scale"]).detach()
    members, bars, domain = p["members"], p["error_bars"], p["domain"]
    c = torch.stack(
        [
            F[:, :4] @ p["W"][:, :4].T + members.biases[0],
            F[:, 4:] @ p["W"][:, 4:-1].T + members.biases[1],
        ]
    )
    mean = (members.weights[:, None] * c).sum(dim=0)
    physical = torch.stack([mean[:, 0], mean[:, 1].exp()], dim=1)
    torch.testing.assert_close(surrogate(Y), physical, rtol=1e-12, atol=1e-12)

    z = torch.cat([F, torch.ones(2, 1)], dim=1) @ bars.leverage.T
    lower, upper, unit = map(torch.from_numpy, (domain.lower, domain.upper, domain.unit))
    beyond = torch.relu(torch.maximum(lower - X, X - upper)) / unit
    share = bars.floor + z[:, 0] ** 2 - z[:, 1] ** 2 + beyond.square().sum(dim=1)
    spread = 0.5 * (members.weights[:, None] * (c - mean).square()).sum(dim=0)
    std = (share[:, None] * bars.sigma.double().square() + spread).sqrt()
    of_c = std * torch.stack([torch.ones(2), physical[:, 1]], dim=1)
    torch.testing.assert_close(surrogate.predict_std(Y), of_c, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(surrogate.lower, torch.tensor([1.0, 1.0, 1.0]).double())
    torch.testing.assert_close(surrogate.squared_distance(Y), beyond.square().sum(dim=1))

    q = NormalDist().inv_cdf(0.95)
    middle = (NormalDist().inv_cdf(0.75) ** 2 + q**2) / 2
    widths = torch.tensor([q, q * math.exp(0.2 * (q**2 - middle) / 2)])
    found = surrogate.predict_interval(Y, 0.9)
    for ends, sign in ((found[:, 0], -1), (found[:, 1], 1)):
        right = mean + sign * widths * std
        torch.testing.assert_close(ends[:, 0], right[:, 0], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(ends[:, 1], right[:, 1].exp(), rtol=1e-6, atol=1e-9)


def test_one_member_of_weight_one_and_no_spread_change_nothing(parts, Y):
    plain = Surrogate(**parts)
    W = parts["W"].clone()
    bias, W[:, -1] = W[:, -1].clone(), 7.0  # ignored
    one = Members(widths=[5], weights=torch.ones(1, 6), biases=bias[None])
    with_member = Surrogate(**{**parts, "W": W}, members=one)
    for method in ("forward", "jacobian", "predict_std"):
        found, right = getattr(with_member, method)(Y), getattr(plain, method)(Y)
        torch.testing.assert_close(found, right, rtol=1e-13, atol=1e-14)
    none = Logs(inputs=np.zeros(4, bool), outputs=np.zeros(6, bool))
    assert Surrogate(**parts, logs=none).logs is None


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.floats(-5, 5), st.floats(0.01, 0.99), st.integers(0, 100))
def test_an_interval_of_an_exponential_is_the_exponential_of_the_interval(shift, level, seed):
    parts = parts_of_everything()
    inputs = np.array([True, False, True])
    plain = Logs(inputs=inputs, outputs=[False, False])
    parts["W"] = draw(2, parts["features"].width + 1, seed=seed) + shift / 10
    y = torch.tensor([1.5, 2.0, 1.2], dtype=torch.float64)
    low, high = Surrogate(**parts).predict_interval(y, level)
    log_low, log_high = Surrogate(**{**parts, "logs": plain}).predict_interval(y, level)
    c = Surrogate(**parts)(y)
    torch.testing.assert_close(low, torch.stack([log_low[0], log_low[1].exp()]))
    torch.testing.assert_close(high, torch.stack([log_high[0], log_high[1].exp()]))
    assert (low < c).all() and (c < high).all() and low[1] > 0
    torch.testing.assert_close(low[1] * high[1], c[1] ** 2, rtol=1e-9, atol=0)


def test_a_gaussian_process_has_its_posterior_deviation():
    """prior 1 - ||L^-1 k||^2, where L L^T is the kernel matrix of the training points."""
    X = draw(12, 2)
    basis = RadialBasis(X, torch.tensor([0.7, 0.4]), "matern52")
    nugget = 1e-6
    K = basis(X) + nugget * torch.eye(12)
    L_inverse = torch.linalg.inv(torch.linalg.cholesky(K))
    leverage = torch.cat([L_inverse, torch.zeros(12, 1)], dim=1)
    Y = draw(6, 2, seed=3)
    surrogate = Surrogate(
        basis,
        torch.ones(1, 13),
        np.zeros(2),
        np.ones(2),
        Domain(
            lower=np.full(2, -9.0),
            upper=np.full(2, 9.0),
            unit=np.ones(2),
            normals=np.zeros((0, 2)),
            centre=np.zeros(2),
        ),
        ErrorBars(leverage=leverage, floor=1 + nugget, sigma=torch.ones(1), signs=-torch.ones(12)),
    )
    k = basis(Y)
    variance = 1 + nugget - (k * torch.linalg.solve(K, k.T).T).sum(dim=1)
    torch.testing.assert_close(surrogate.predict_std(Y)[:, 0] ** 2, variance, rtol=0, atol=1e-9)
    at_data = surrogate.predict_std(X)[:, 0]
    assert (at_data > 0).all() and (at_data < 1.1 * math.sqrt(2 * nugget)).all()


def test_a_variance_that_cancels_is_positive():
    parts = parts_of_everything()
    bars = replace(parts["error_bars"], floor=0.0, signs=-np.ones(2), spread=0.0)
    surrogate = Surrogate(**{**parts, "error_bars": bars, "logs": None})
    y = torch.tensor([0.5, 2.0, 0.2], dtype=torch.float64)
    torch.testing.assert_close(surrogate.predict_std(y), 1e-6 * bars.sigma.double())


@every_surrogate
def test_nan_and_what_has_no_logarithm_give_nan(name):
    surrogate, loaded = both(name)
    Y = points(surrogate)[:4]
    marked = SURROGATES[name][3]
    Y[1, 0], Y[2, 0], Y[3, 4] = (0.0, -1.0, math.nan) if marked else (math.nan,) * 3
    module = loaded.module
    for method in METHODS:
        values = expected(surrogate, method, Y, *arguments(surrogate, method, 4))
        again = expected(module, method, Y, *arguments(surrogate, method, 4))
        if method == "in_domain":
            assert values.tolist() == again.tolist() == [True, False, False, False]
            continue
        for found in (values, again):
            nan = np.isnan(found).reshape(4, -1)
            assert nan[1:].all() and not nan[0].any(), method
    interval = surrogate.predict_interval(torch.from_numpy(Y), 0.9).isnan().flatten(1)
    assert interval[1:].all() and not interval[0].any()


def test_coverage_counts_exponentials_by_their_logarithms():
    surrogate, _ = both("everything")
    Y = torch.from_numpy(points(surrogate))
    q = NormalDist().inv_cdf(0.95)
    low, high = surrogate.predict_interval(Y, 0.9).unbind(-2)
    inside = low + (high - low) * torch.linspace(0.01, 0.99, N_OUT).double()
    outside = torch.where(surrogate.logs.outputs, low / 1.001, low - 1e-3)
    mean = inside.mean(dim=0)
    found = evaluate(surrogate, Y, inside, mean=mean, predict_std=surrogate.predict_std)
    assert found.coverage[1] == 1.0
    found = evaluate(surrogate, Y, outside, mean=mean, predict_std=surrogate.predict_std)
    assert found.coverage[1] == 0.0 and found.coverage[2] == 1.0
    # Of one function alone nothing is known of logarithms: c -/+ q std is another interval.
    assert not torch.allclose(low, surrogate(Y) - q * surrogate.predict_std(Y))


# Mistakes


def changed(change):
    parts = parts_of_everything()
    bars = {"leverage", "signs", "spread", "floor", "tail"} & change.keys()
    if bars:
        return {**parts, "error_bars": replace(parts["error_bars"], **change)}
    if {"widths", "weights", "biases"} & change.keys():
        return {**parts, "members": replace(parts["members"], **change)}
    return {**parts, **change}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signs": [1.0, 2.0]}, "expected signs of +1 and -1 alone"),
        ({"signs": [1.0]}, "expected signs of shape (2,); got (1,)"),
        ({"leverage": np.ones((2, 3))}, "expected leverage of shape (2, 17); got (2, 3)"),
        ({"leverage": np.ones((0, 17)), "signs": None}, "expected at least one row of leverage"),
        ({"spread": -1.0}, "expected a finite spread >= 0; got -1.0"),
        ({"spread": math.nan}, "expected a finite spread >= 0; got nan"),
        ({"tail": [0.1, -0.1]}, "expected a tail >= 0 and below 0.5; got -0.1 to 0.1"),
        ({"tail": 0.5}, "expected a tail >= 0 and below 0.5; got 0.5 to 0.5"),
        ({"tail": [0.1]}, "expected tail of shape (2,); got (1,)"),
        ({"tail": math.nan}, "expected finite values in tail"),
        ({"widths": [4, 4]}, "expected widths of at least 1 with the sum 16, the number of"),
        ({"widths": [0, 16]}, "expected widths of at least 1 with the sum 16"),
        ({"widths": []}, "expected widths of at least 1 with the sum 16"),
        ({"weights": np.ones((2, 2))}, "expected weights of the members with the sum 1; it is off"),
        ({"weights": np.ones((1, 2))}, "expected weights of the members of shape (2, 2); got (1,"),
        ({"biases": np.ones((2, 3))}, "expected biases of the members of shape (2, 2); got (2, 3)"),
        (
            {"weights": np.array([[2.0, 0.5], [-1.0, 0.5]])},
            "expected weights of the members >= 0 where there is a spread; the least is -1",
        ),
        (
            {"logs": Logs(inputs=np.zeros(2, bool), outputs=np.zeros(2, bool))},
            "expected inputs of Logs to be bool of shape (3,); got torch.bool of shape (2,)",
        ),
        (
            {"logs": Logs(inputs=np.zeros(3, bool), outputs=np.zeros(2))},
            "expected outputs of Logs to be bool of shape (2,); got torch.float64 of shape (2,)",
        ),
    ],
)
def test_parts_that_do_not_fit_are_one_clear_line(change, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        Surrogate(**changed(change))
    assert len(str(caught.value).splitlines()) == 1


def test_an_input_that_does_not_vary_is_in_the_domain_by_any_library_of_logarithms():
    parts = parts_of_everything()
    x = np.log(np.array([0.3, 0.3, 0.3]))
    domain = replace(parts["domain"], lower=x, upper=x)
    logs = Logs(inputs=[True] * 3, outputs=[False] * 2)
    surrogate = Surrogate(**{**parts, "domain": domain, "logs": logs})
    y = torch.full((3,), 0.3, dtype=torch.float64)
    for near in (y, torch.nextafter(y, y + 1), torch.nextafter(y, y - 1), surrogate.lower):
        assert surrogate.in_domain(near)
    assert not surrogate.in_domain(y * (1 + 1e-11))
