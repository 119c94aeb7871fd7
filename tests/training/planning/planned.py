"""Datasets whose learning curves tests plan on."""

import dataclasses

import numpy as np

from surrogates.data import Dataset
from surrogates.data.from_arrays import from_arrays

RBF = {"network.kind": "rbf"}


def rough(n: int, seed: int = 0, noise: float = 0.0, seconds: float = 2.0) -> Dataset:
    """Return samples of two outputs with a bend, solved for in some seconds each."""
    generator = np.random.default_rng(seed)
    Y = generator.random((n, 3))
    bend = np.abs(Y @ [1.0, 0.5, 0.2] - 0.8)
    C = np.stack([1 + bend + 0.3 * np.sin(3 * Y[:, 1]), 2 + Y[:, 2] ** 2 + bend], axis=1)
    C += noise * generator.normal(size=C.shape)
    found = from_arrays(Y, C, split="1/0/0")
    solver = found.solver.copy()
    solver["seconds"] = seconds
    return dataclasses.replace(found, solver=solver)
