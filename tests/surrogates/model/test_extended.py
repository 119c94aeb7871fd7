"""Files of surrogates of members, signs, logarithms, tails and joined features."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from exports import METHODS, alone, check_close, in_numpy, saved
from extended import N_OUT, SURROGATES, both, draw, every_surrogate, given_to, points
from places import STORED

import surrogates
from surrogates.errors import InputError
from surrogates.model.networks import AntisymmetricODE
from surrogates.model.surrogate import Surrogate


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95.0, math.nan])
def test_a_level_that_is_no_probability_is_one_clear_line(level, tmp_path):
    surrogate, loaded = both("everything")
    y = points(surrogate)[0]
    for found in (loaded, in_numpy(loaded)):
        with pytest.raises(InputError, match="expected a level between 0 and 1; got"):
            found.predict_interval(y, level)
        for no_number in ("0.9", None, [0.5, 0.9]):
            with pytest.raises(InputError, match="expected a level between 0 and 1; got"):
                found.predict_interval(y, no_number)
    with pytest.raises(ValueError, match="expected a level between 0 and 1; got"):
        surrogate.predict_interval(torch.from_numpy(y), level)


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
    loaded = surrogates.load(STORED / "schema2-torch2.6-ode.pt")
    y = np.array(loaded.metadata["reference"]["forward"]["arguments"][0])
    low, high = np.moveaxis(loaded.predict_interval(y, 0.9), -2, 0)
    q = NormalDist().inv_cdf(0.95)
    np.testing.assert_allclose(high, loaded(y) + q * loaded.predict_std(y), rtol=1e-12)
    np.testing.assert_allclose(low, loaded(y) - q * loaded.predict_std(y), rtol=1e-12)
    assert loaded.n_members == 1
