"""Members, signs, logarithms and joined features, in the module, its file and all exports."""

from __future__ import annotations

import ctypes
import math
import os
import re
import shutil
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from extended import METHODS, N_IN, N_OUT, SURROGATES, both, draw, joined, made, points
from hypothesis import given, settings
from hypothesis import strategies as st
from test_c_source import C99, Library, build
from test_export import alone
from test_reference import arguments, check_close, expected, saved

import surrogates
from surrogates.errors import InputError
from surrogates.export import c as c_source
from surrogates.export import npz, pt2
from surrogates.export.constants import constants
from surrogates.model.classifier import Classifier
from surrogates.model.metrics import evaluate
from surrogates.model.networks import AntisymmetricODE
from surrogates.model.parts import Domain, ErrorBars, Logs, Members
from surrogates.model.radial import RadialBasis
from surrogates.model.surrogate import Surrogate

every_surrogate = pytest.mark.parametrize("name", SURROGATES)
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def given_to(surrogate, method, Y):
    return [torch.from_numpy(x) for x in (Y, *arguments(surrogate, method, len(Y)))]


# The module


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


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95.0, math.nan])
def test_a_level_that_is_no_probability_is_one_clear_line(level, tmp_path):
    surrogate, loaded = both("everything")
    y = points(surrogate)[0]
    for found in (loaded, constants(loaded)):
        with pytest.raises(InputError, match="expected a level between 0 and 1; got"):
            found.predict_interval(y, level)
    with pytest.raises(ValueError, match="expected a level between 0 and 1; got"):
        surrogate.predict_interval(torch.from_numpy(y), level)


# The file


@every_surrogate
def test_a_file_is_the_surrogate_scripted_frozen_and_eager(name):
    surrogate, loaded = both(name)
    assert loaded.metadata["schema_version"] == (5 if surrogate.tail is not None else 4)
    assert loaded.n_members == (2 if SURROGATES[name][1] else 1)
    frozen = torch.jit.freeze(
        loaded.module.eval(), preserved_attrs=[*METHODS[1:], "predict_interval"]
    )
    eager = loaded.eager()
    Y = points(surrogate)
    for method in METHODS:
        tensors = given_to(surrogate, method, Y)
        attribute = "forward" if method == "predict" else method
        right = getattr(surrogate, attribute)(*tensors)
        for module in (loaded.module, frozen, eager):
            for _ in range(2):  # torch compiles anew after the first calls
                found = getattr(module, attribute)(*tensors)
                torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)
                first = getattr(module, attribute)(*(x[0] for x in tensors))
                torch.testing.assert_close(first, right[0], rtol=1e-11, atol=1e-11)
    right = surrogate.predict_interval(torch.from_numpy(Y), 0.8)
    for module in (loaded.module, frozen, eager):
        found = module.predict_interval(torch.from_numpy(Y), 0.8)
        torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)
    assert loaded.predict_interval(Y[0], 0.8).shape == (2, N_OUT)
    check_close(loaded.predict_interval(Y, 0.8), right.numpy(), "interval")


def test_the_file_needs_only_torch(tmp_path):
    surrogate, _ = both("everything")
    loaded = saved(surrogate, tmp_path / "s.pt")
    Y = torch.from_numpy(points(surrogate))
    torch.save(Y, tmp_path / "Y.pt")
    script = """
module, Y = torch.jit.load(sys.argv[1]), torch.load(sys.argv[2])
frozen = torch.jit.freeze(module.eval(), preserved_attrs=["jacobian", "predict_interval"])
w = torch.ones(len(Y), 11)
results = [m(Y) for m in (module, frozen)] + [m.jacobian(Y) for m in (module, frozen)]
results += [m.predict_interval(Y, 0.9) for m in (module, frozen)]
results += [module.jvp(Y, Y), module.vjp(Y, w), module.predict_std(Y), module.in_domain(Y)]
torch.save(results, sys.argv[3])
"""
    alone(script, loaded.path, tmp_path / "Y.pt", tmp_path / "results.pt", cwd=tmp_path)
    right = [surrogate(Y)] * 2 + [surrogate.jacobian(Y)] * 2
    right += [surrogate.predict_interval(Y, 0.9)] * 2
    right += [surrogate.jvp(Y, Y), surrogate.vjp(Y, torch.ones(len(Y), N_OUT))]
    right += [surrogate.predict_std(Y), surrogate.in_domain(Y)]
    for found, value in zip(torch.load(tmp_path / "results.pt"), right, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "method",
    [
        "forward",
        "jacobian",
        *[pytest.param(x, marks=pytest.mark.thorough) for x in ("jvp", "vjp", "predict_std")],
    ],
)
def test_methods_can_be_programs_of_torch_export(method, tmp_path):
    pytest.importorskip("torch", minversion="2.6", reason="torch.export cannot before")
    surrogate, loaded = both("everything")
    pt2.save(loaded, tmp_path / "s.pt2", method=method)
    program = torch.export.load(tmp_path / "s.pt2").module()
    tensors = given_to(surrogate, method, points(surrogate))
    for n in (1, 3, len(tensors[0])):
        rows = [x[:n] for x in tensors]
        found, right = program(*rows), getattr(surrogate, method)(*rows)
        torch.testing.assert_close(found, right, rtol=1e-11, atol=1e-12)


def test_gradients_of_torch_go_through_the_file():
    surrogate, loaded = both("everything")
    for Y in (points(surrogate)[0], points(surrogate)[:3]):
        for _ in range(3):  # torch compiles anew after the first calls
            y = torch.from_numpy(Y).requires_grad_()
            (gradient,) = torch.autograd.grad(loaded.module(y).sum(), y)
            right = surrogate.vjp(y.detach(), torch.ones_like(surrogate(y.detach())))
            torch.testing.assert_close(gradient, right, rtol=1e-11, atol=1e-11)


def test_what_has_no_logarithm_is_refused_in_one_line():
    surrogate, loaded = both("everything")
    Y = points(surrogate)[:3]
    Y[1, 2] = -0.5
    message = (
        r"s.pt takes the logarithm of y2: expected values > 0; got -0.5 in sample 1 \(from 0\)"
    )
    for method in ("predict", "jacobian", "predict_std"):
        with pytest.raises(InputError, match=message) as caught:
            getattr(loaded, method)(Y)
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(InputError, match="got -0.5 in sample 0"):
        loaded.predict_interval(Y[1], 0.5)
    assert loaded.in_domain(Y).tolist() == [True, False, True]


def test_outside_the_domain_is_said_in_physical_units(tmp_path):
    surrogate, loaded = both("everything")
    strict = replace(loaded, refuse_outside=True)
    y = points(surrogate)[0]
    strict.predict(y)
    lower, upper = (float(x[0]) for x in (surrogate.lower, surrogate.upper))
    assert 1.5 <= lower < upper <= 3.5
    y[0] = 10.0
    bounds = re.escape(f"y0 is 10, in training it was {lower:.6g} to {upper:.6g}")
    with pytest.raises(InputError, match=bounds):
        strict.predict(y)
    y = points(surrogate)[8]
    with pytest.raises(InputError, match="linear relations of the logarithms of the training"):
        strict.predict(y)


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


def test_plain_surrogates_keep_their_schema_version(parts, convolution, Y, tmp_path):
    for name, features in (("ode", AntisymmetricODE(4, 5, 2)), ("own", convolution)):
        plain = Surrogate(**{**parts, "features": features})
        loaded = saved(plain, tmp_path / f"{name}.pt", schema_version=2)
        assert loaded.metadata["schema_version"] == 2 and loaded.n_members == 1
        right = plain.predict_interval(Y, 0.95).numpy()
        check_close(loaded.predict_interval(Y.numpy(), 0.95), right, name)
    rows = replace(parts["error_bars"], leverage=draw(3, 6))
    loaded = saved(Surrogate(**{**parts, "error_bars": rows}), tmp_path / "r.pt", schema_version=2)
    assert loaded.metadata["schema_version"] == 4


def test_a_file_of_an_older_version_has_intervals(monkeypatch):
    path = os.path.join(os.path.dirname(__file__), "stored", "schema2-torch2.6-ode.pt")
    loaded = surrogates.load(path)
    y = np.array(loaded.metadata["reference"]["forward"]["arguments"][0])
    low, high = np.moveaxis(loaded.predict_interval(y, 0.9), -2, 0)
    q = NormalDist().inv_cdf(0.95)
    np.testing.assert_allclose(high, loaded(y) + q * loaded.predict_std(y), rtol=1e-12)
    np.testing.assert_allclose(low, loaded(y) - q * loaded.predict_std(y), rtol=1e-12)
    assert loaded.n_members == 1


# Numpy and C


@every_surrogate
def test_numpy_is_the_surrogate_also_after_a_round_trip(name, tmp_path):
    surrogate, loaded = both(name)
    npz.save(loaded, tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as arrays:
        assert int(arrays["schema_version"]) == (3 if surrogate.tail is not None else 2)
    Y = points(surrogate)
    for found in (constants(loaded), npz.load(tmp_path / "s.npz")):
        for method in METHODS:
            more = arguments(surrogate, method, len(Y))
            for rows in (slice(None), slice(0, 1), 0):
                given_rows = [x[rows] for x in (Y, *more)]
                result = np.asarray(getattr(found, method)(*given_rows))
                check_close(result, expected(surrogate, method, *given_rows), f"{method} {rows}")
            bad = np.full((1, N_IN), np.nan)
            given_bad = (bad, *(x[:1] for x in more))
            nan = expected(surrogate, method, *given_bad)
            check_close(np.asarray(getattr(found, method)(*given_bad)), nan, method)
        for rows in (slice(None), 0):
            right = surrogate.predict_interval(torch.from_numpy(Y)[rows], 0.9).numpy()
            check_close(found.predict_interval(Y[rows], 0.9), right, "interval")


def test_the_documented_formula_of_version_3_needs_no_module_of_ours(tmp_path):
    """The text of `surrogates.export.npz`, read as a user of the arrays alone reads it."""
    _, loaded = both("everything")
    npz.save(loaded, tmp_path / "s.npz")
    y = points(both("everything")[0])[0]
    with np.load(tmp_path / "s.npz", allow_pickle=False) as a:
        kinds = ["network", "radial", "radial", "polynomial", "polynomial", "network"]
        assert a["blocks"].tolist() == kinds
        x = np.where(a["log_inputs"], np.log(y), y)
        u = []
        for i, kind in enumerate(kinds):
            block = {
                key.removeprefix(f"block{i}_"): a[key]
                for key in a.files
                if key.startswith(f"block{i}_")
            }
            u.append(FORMULAS[kind](block, x))
        u = np.concatenate(u)
        log_c = a["W"] @ u + a["c_0"]
        c = np.where(a["log_outputs"], np.exp(log_c), log_c)
        check_close(c, loaded.predict(y), "c")
        lower, upper = (np.where(a["log_inputs"], np.log(a[k]), a[k]) for k in ("lower", "upper"))
        beyond = np.maximum(0, np.maximum(lower - x, x - upper)) / a["unit"]
        off = a["normals"] @ ((x - a["centre"]) / a["unit"])
        z = a["leverage"] @ u + a["constant"]
        share = a["floor"] + a["signs"] @ z**2 + beyond @ beyond + off @ off
        variance = a["sigma"] ** 2 * max(1e-12, share)
        start = 0
        for width, bias, weight in zip(
            a["member_widths"], a["member_biases"], a["member_weights"], strict=True
        ):
            columns = slice(start, start + width)
            c_m = a["member_W"][:, columns] @ u[columns] + bias
            variance += a["spread"] * weight * (c_m - log_c) ** 2
            start += width
        std = np.sqrt(variance) * np.where(a["log_outputs"], c, 1)
        check_close(std, loaded.predict_std(y), "std")
        q = NormalDist().inv_cdf(0.975)
        half = q * np.exp(a["tail"] * (q**2 - 1.5802399386074917) / 2) * np.sqrt(variance)
        ends = np.stack([log_c - half, log_c + half])
        right = loaded.predict_interval(y, 0.95)
        check_close(np.where(a["log_outputs"], np.exp(ends), ends), right, "interval")


def network_formula(block, x):
    phi = {
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "relu": lambda x: np.maximum(0, x),
    }[str(block["phi"])]
    u = phi(block["K_in"] @ x + block["b_in"])
    for A, b in zip(block["A"], block["b"], strict=True):
        k = [phi(A[0] @ u + b[0])]
        for i in range(1, len(A)):
            k.append(phi(A[i] @ (u + block["lengths"][i] * k[i - 1]) + b[i]))
        u = block["carry"] * u + block["weights"] @ k
    return u


def radial_formula(block, x):
    r = np.linalg.norm((x - block["shift"]) * block["factor"] - block["centres"], axis=1)
    s = 5**0.5 * r
    return {"gaussian": np.exp(-(r**2) / 2), "matern52": (1 + s + s**2 / 3) * np.exp(-s)}[
        str(block["kernel"])
    ]


def anova_formula(block, x):
    r = np.abs((x - block["shift"]) * block["factor"] - block["centres"])
    s = 5**0.5 * r
    laws = {"gaussian": np.exp(-(r**2) / 2), "matern52": (1 + s + s**2 / 3) * np.exp(-s)}
    return np.prod(1 + block["shares"] * (laws[str(block["kernel"])] - 1), axis=1)


def polynomial_formula(block, x):
    x = (x - block["shift"]) / block["scale"]
    return np.concatenate([x, x[block["first"]] * x[block["second"]]])


FORMULAS = {
    "network": network_formula,
    "radial": radial_formula,
    "anova": anova_formula,
    "polynomial": polynomial_formula,
}


def test_damaged_files_of_version_3_are_one_line(tmp_path):
    npz.save(both("everything")[1], tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as file:
        arrays = {name: file[name] for name in file.files}
    changes = {
        "kind": (
            {"blocks": [*arrays["blocks"][:-1], "wavelet"]},
            "has a block of the kind 'wavelet'",
        ),
        "fewer": ({"blocks": arrays["blocks"][:-1]}, "its blocks or members have not 38 features"),
        "widths": ({"member_widths": np.array([1, 1])}, "its blocks or members have not 38 feat"),
        "type": ({"log_inputs": np.zeros(5)}, "is damaged: log_inputs is float64 of shape"),
        "tail": ({"tail": np.zeros((N_OUT, 1))}, "is damaged: tail is float64 of shape"),
        "block": ({"block1_centres": np.zeros((9, 4))}, "is damaged: block1_centres is float64"),
    }
    for name, (change, message) in changes.items():
        np.savez(tmp_path / f"{name}.npz", **{**arrays, **change})
        with pytest.raises(InputError, match=message) as caught:
            npz.load(tmp_path / f"{name}.npz")
        assert len(str(caught.value).splitlines()) == 1


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """All of `SURROGATES` in one library."""
    folder = tmp_path_factory.mktemp("libraries")
    for name in SURROGATES:
        c_source.save(both(name)[1], folder / f"{name}.c")
    sources = [f"{name}.c" for name in SURROGATES]
    build("cc", *C99, "-shared", "-fPIC", "-O2", *sources, "-o", "all.so", "-lm", cwd=folder)
    library = ctypes.CDLL(str(folder / "all.so"))
    return {name: Library(library, name, N_IN, N_OUT) for name in SURROGATES}


def interval(library: Library, y: np.ndarray, q: float) -> np.ndarray:
    ends = np.full((2, N_OUT), 123.0)
    pointers = [x.ctypes.data_as(ctypes.c_void_p) for x in (y, *ends)]
    library.function("predict_interval")(pointers[0], ctypes.c_double(q), *pointers[1:])
    return ends


@needs_cc
@every_surrogate
def test_c_is_the_surrogate(name, libraries):
    surrogate, _ = both(name)
    Y = points(surrogate)
    for method in METHODS:
        more = arguments(surrogate, method, len(Y))
        found = libraries[name](method, Y, *more)
        check_close(found, expected(surrogate, method, Y, *more), method)
    found = np.array([interval(libraries[name], y, NormalDist().inv_cdf(0.95)) for y in Y])
    check_close(found, surrogate.predict_interval(torch.from_numpy(Y), 0.9).numpy(), "interval")


@needs_cc
@every_surrogate
def test_c_gives_nan_and_zero_where_torch_does(name, libraries):
    surrogate, _ = both(name)
    Y = points(surrogate)[:4]
    Y[0, 0], Y[1, 4] = (-1.0 if SURROGATES[name][3] else math.nan), math.nan
    Y[2], Y[3] = 1e100, 1e-100
    for method in METHODS:
        more = arguments(surrogate, method, 4)
        found = libraries[name](method, Y, *more)
        check_close(found, expected(surrogate, method, Y, *more), method)
        assert method == "in_domain" or np.isnan(found[:2]).all()
    assert np.isnan(interval(libraries[name], Y[0], 2.0)).all()


@needs_cc
@pytest.mark.parametrize("flags", ["-O3 -march=native", "-O0 -fsanitize=undefined"])
def test_compilers_have_nothing_to_say(flags, tmp_path):
    for name in SURROGATES:
        c_source.save(both(name)[1], tmp_path / f"{name}.c")
    sources = [f"{name}.c" for name in SURROGATES]
    build("cc", *C99, *flags.split(), "-c", *sources, cwd=tmp_path)


def test_the_header_speaks_of_logarithms_in_physical_units(tmp_path):
    surrogate, loaded = both("everything")
    c_source.save(loaded, tmp_path / "net.c")
    header = (tmp_path / "net.h").read_text()
    assert "These inputs must be positive, else all results are NaN:\n * 0, 1, 2\n" in header
    assert "ends, are predicted by their logarithms:\n * 0, 2, 4, 6, 8, 10" in header
    least, largest = float(surrogate.lower[1]), float(surrogate.upper[1])
    assert f'1  "y1"  [m]  {least!r} to {largest!r}' in header


@needs_cc
def test_large_weights_that_cancel_lose_no_more_than_rounding(tmp_path):
    """Those of an interpolation: outputs of size 1 of terms of size 1e5 and more."""
    X = draw(40, 2)
    basis = RadialBasis(X, torch.tensor([0.3, 0.3]), "gaussian")
    targets = torch.stack([X[:, 0].sin(), X.prod(dim=1)], dim=1)
    K = basis(X) + 1e-11 * torch.eye(40)
    W = torch.cat([torch.linalg.solve(K, targets), torch.zeros(1, 2)]).T
    surrogate = Surrogate(basis, W, np.zeros(2), np.ones(2), Domain.of(X.numpy()), None)
    assert float(W.abs().max()) > 1e4
    loaded = saved(surrogate, tmp_path / "s.pt")
    c_source.save(loaded, tmp_path / "net.c")
    build("cc", *C99, "-O2", "-shared", "-fPIC", "net.c", "-o", "net.so", "-lm", cwd=tmp_path)
    library = Library(ctypes.CDLL(str(tmp_path / "net.so")), "net", 2, 2)
    Y = draw(30, 2, seed=2)
    terms = (basis(Y) @ W[:, :-1].abs().T).numpy()
    right = (basis(Y) @ W[:, :-1].T).numpy()
    found = {
        "batch": surrogate(Y).numpy(),
        "single": torch.stack([surrogate(y) for y in Y]).numpy(),
        "numpy": constants(loaded).predict(Y.numpy()),
        "c": library("predict", Y.numpy()),
    }
    for name, values in found.items():
        assert (np.abs(values - right) <= 1e-12 * terms).all(), name


@needs_cc
def test_a_classifier_of_joined_features(tmp_path):
    features = joined("ode gaussian quadratic", 3)
    domain = Domain.of(np.random.default_rng(0).random((50, 3)))
    W = draw(4, features.width + 1)
    classifier = Classifier(features, W, np.zeros(3), np.ones(3), domain, temperature=1.5)
    loaded = saved(classifier, tmp_path / "s.pt", schema_version=3, task="classification")
    assert loaded.metadata["schema_version"] == 4
    c_source.save(loaded, tmp_path / "net.c")
    build("cc", *C99, "-O2", "-shared", "-fPIC", "net.c", "-o", "net.so", "-lm", cwd=tmp_path)
    library = Library(ctypes.CDLL(str(tmp_path / "net.so")), "net", 3, 4)
    library.shapes["probabilities"] = (4,)
    Y = draw(6, 3).numpy()
    right = classifier.probabilities(torch.from_numpy(Y)).numpy()
    npz.save(loaded, tmp_path / "s.npz")
    for found in (loaded, npz.load(tmp_path / "s.npz")):
        check_close(found.probabilities(Y), right, "probabilities")
        with pytest.raises(InputError, match="has probabilities, and no error bars"):
            found.predict_interval(Y, 0.9)
    check_close(library("probabilities", Y), right, "probabilities")
    check_close(loaded.eager().probabilities(torch.from_numpy(Y)).numpy(), right, "eager")
    assert not hasattr(library.library, "net_predict_interval")
    with pytest.raises(NotImplementedError, match="in place of error bars"):
        classifier.predict_interval(torch.from_numpy(Y), 0.9)


@needs_cc
@pytest.mark.parametrize("n_in", [1, 13])
def test_other_sizes(n_in, tmp_path):
    """One input and one output; more inputs than outputs, so that gradients are pulled back."""
    surrogate = made("ode matern52 quadratic", True, True, True, True, n_in=n_in, n_out=1)
    loaded = saved(surrogate, tmp_path / "s.pt")
    c_source.save(loaded, tmp_path / "net.c")
    build("cc", *C99, "-O2", "-shared", "-fPIC", "net.c", "-o", "net.so", "-lm", cwd=tmp_path)
    library = Library(ctypes.CDLL(str(tmp_path / "net.so")), "net", n_in, 1)
    Y = 1.5 + np.random.default_rng(0).random((5, n_in))
    for method in METHODS:
        more = arguments(surrogate, method, len(Y))
        right = expected(surrogate, method, Y, *more)
        check_close(library(method, Y, *more), right, method)
        check_close(getattr(loaded, method)(Y, *more), right, method)
        check_close(np.asarray(getattr(constants(loaded), method)(Y, *more)), right, method)
