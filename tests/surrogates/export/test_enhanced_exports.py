"""Kriging with derivatives in every export: kernels that nearly cancel keep enough digits."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import torch
from compiled import C99, Library, build, needs_cc
from exports import arguments, expected

import surrogates
from surrogates.data.from_arrays import from_arrays
from surrogates.export import c as c_source
from surrogates.export import npz, pt2
from surrogates.export.constants import constants
from surrogates.model.loaded import LoadedSurrogate

METHODS = ("predict", "jacobian", "jvp", "vjp", "predict_std")
NAME = "rbf gaussian with derivatives"


def function(Y: torch.Tensor) -> torch.Tensor:
    x, z = Y.unbind(-1)
    return torch.stack([x.sin() * (z / 3).exp(), 5 * x.square() + z.cos()], dim=-1)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> LoadedSurrogate:
    """A surrogate of exact data of a smooth function: its nugget is the least one."""
    Y = torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, (50, 2)))
    J = torch.func.vmap(torch.func.jacrev(function))(Y)
    data = from_arrays(Y.numpy(), function(Y).numpy(), split="40/10/0", dC_dY=J.numpy())
    trained = surrogates.train(
        data, {"network.kind": "rbf", "network.kernel": "gaussian"}, effort="default", processes=1
    )
    path = tmp_path_factory.mktemp("kriging") / "s.pt"
    trained.save(path)
    found = surrogates.load(path)
    assert found.metadata["training"]["derivatives"]["samples"] == 50
    return found


def points() -> np.ndarray:
    return np.random.default_rng(2).uniform(-1.1, 1.1, (100, 2))


def check(found, method, right) -> None:
    """Compare to 3e-10 of the largest spread of an output, and of its derivatives.

    Ten digits of weights cancel here, which the least nugget makes large. The error is 1e-5.
    Standard deviations are roots of what cancels, and three digits of them are left.
    """
    difference = np.abs(np.asarray(found) - right)
    if method == "predict_std":
        assert (difference < 2e-3 * right.max(axis=0)).all()
    else:
        assert difference.max() < 3e-10 * 1.6, method


def test_it_is_what_was_trained(loaded):
    std = loaded.predict_std(points())
    error = loaded.predict(points()) - function(torch.from_numpy(points())).numpy()
    assert 1e-8 < np.abs(error).max() < 1e-2 and (std > 0).all()
    inside = np.abs(points()).max(axis=1) < 0.7
    assert std[~inside].mean() > 3 * std[inside].mean()  # it knows how its error varies


def test_numpy_and_the_constants_agree(loaded, tmp_path):
    npz.save(loaded, tmp_path / "s.npz")
    for engine in (npz.load(tmp_path / "s.npz").engine, constants(loaded)):
        for method in METHODS:
            given = (points(), *arguments(loaded.module, method, 100))
            found = getattr(engine, "forward" if method == "predict" else method)(*given)
            check(found, method, expected(loaded.module, method, *given))


@needs_cc
def test_c_agrees(loaded, tmp_path):
    c_source.save(loaded, tmp_path / "s.c")
    build("cc", *C99, "-shared", "-fPIC", "-O2", "s.c", "-o", "kriging.so", "-lm", cwd=tmp_path)
    library = Library(ctypes.CDLL(str(tmp_path / "kriging.so")), "s", 2, 2)
    for method in METHODS:
        given = (points(), *arguments(loaded.module, method, 100))
        check(library(method, *given), method, expected(loaded.module, method, *given))


@pytest.mark.parametrize("method", ["predict", "predict_std"])
def test_programs_of_torch_export_agree(loaded, tmp_path, method):
    pytest.importorskip("torch", minversion="2.6", reason="torch.export cannot before")
    pt2.save(loaded, tmp_path / "s.pt2", method="forward" if method == "predict" else method)
    found = torch.export.load(tmp_path / "s.pt2").module()(torch.from_numpy(points()))
    check(found.detach().numpy(), method, expected(loaded.module, method, points()))


def test_a_point_alone_agrees_with_many(loaded):
    for method in ("predict", "jacobian", "predict_std"):
        one = np.stack([expected(loaded.module, method, point) for point in points()])
        check(one, method, expected(loaded.module, method, points()))
