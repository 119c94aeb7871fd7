"""Surrogates of every kind, each with its file and points, for tests of exports."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import extended
import numpy as np
import plain
import torch
from exports import arguments, saved

from surrogates.model.classifier import Classifier
from surrogates.model.loaded import LoadedSurrogate
from surrogates.model.parts import Domain
from surrogates.model.radial import RadialBasis
from surrogates.model.surrogate import Surrogate

NETWORKS = {"_".join(map(str, network)): network for network in plain.NETWORKS}
KINDS = (*extended.SURROGATES, *NETWORKS, "kernel", "classes", "names")


def points_of_three() -> np.ndarray:
    """Six points and their neighbours, (12, 3)."""
    Y = np.random.default_rng(4).uniform(-1, 1, (6, 3))
    return np.concatenate([Y, Y + 0.1])


def kernel() -> Surrogate:
    """Radial functions about some of the points at which they are evaluated; no error bars."""
    centres = torch.from_numpy(points_of_three()[:6])
    scales = torch.tensor([0.3, 0.5, 0.9], dtype=torch.float64)
    basis, W = RadialBasis(centres, scales, "matern52"), extended.draw(2, 7, seed=3)
    return Surrogate(basis, W, np.zeros(3), np.ones(3), Domain.of(centres.numpy()), None)


def classifier() -> Classifier:
    """Four classes."""
    features = extended.joined("ode gaussian quadratic", 3)
    W, domain = extended.draw(4, features.width + 1, seed=3), Domain.of(points_of_three())
    return Classifier(features, W, np.zeros(3), np.ones(3), domain, temperature=1.5)


@functools.cache
def case(kind: str) -> tuple[Surrogate, LoadedSurrogate, np.ndarray]:
    """A surrogate of a kind of `KINDS`, what its file holds, and an even number of points."""
    if kind in extended.SURROGATES:
        surrogate, loaded = extended.both(kind)
        return surrogate, loaded, extended.points(surrogate)
    if kind in NETWORKS:
        surrogate, loaded = plain.both(*NETWORKS[kind])
        return surrogate, loaded, plain.points(surrogate)[:20]
    surrogate, about = kernel(), {}
    if kind == "classes":
        surrogate, about = classifier(), {"task": "classification", "schema_version": 4}
    elif kind == "names":
        about = {
            "c_names": ["quote\" ' and \\", 'ends """ and\n*/'],
            "c_units": ["\U000e0001", "é"],
        }
        relative = {"mean": 0.5, "std": 0.1, "min": 0.1, "max": 1.0}
        about["errors"] = {"test": {"samples": 3, "relative": relative}}
    with tempfile.TemporaryDirectory() as folder:
        return surrogate, saved(surrogate, Path(folder, "s.pt"), **about), points_of_three()


def of_torch(kind: str) -> dict[str, np.ndarray]:
    """What torch computes at the points of a case, by the method; vjp and hvp with `arguments`."""
    surrogate, _, Y = case(kind)
    w, v = arguments(surrogate, "hvp", len(Y))
    given = {"vjp": (Y, w), "hvp": (Y, w, v)}
    methods = ["forward", "jacobian", "in_domain", *given]
    if isinstance(surrogate, Classifier):
        methods += ["probabilities", "predict"]
    elif kind not in ("kernel", "names"):
        methods += ["predict_std"]
    return {
        name: np.asarray(getattr(surrogate, name)(*map(torch.from_numpy, given.get(name, (Y,)))))
        for name in methods
    }


def check_columns(found: np.ndarray, right: np.ndarray, what: str) -> None:
    """Compare to 1e-12 of the largest finite value of each output, derivative and so on."""
    assert found.dtype == right.dtype and found.shape == right.shape, what
    if right.dtype.kind != "f":
        assert (found == right).all(), what
        return
    finite = np.isfinite(right)
    np.testing.assert_array_equal(found[~finite], right[~finite], err_msg=what)
    scale = np.abs(right).max(axis=0, where=finite, initial=1e-300)
    error = np.where(finite, np.abs(np.where(finite, found - right, 0.0)), 0.0)
    assert (error <= 1e-12 * scale).all(), what
