"""The constants of a surrogate are the same, whichever engine evaluates it."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import needs_cc
from every_kind import case

import surrogates
from surrogates.export import npz
from surrogates.export.constants import constants
from surrogates.export.jax import write
from surrogates.loading import with_engine

ENGINES = ("torch", "numpy", pytest.param("c", marks=needs_cc))


@pytest.mark.parametrize("kind", ["everything", "kernel", "classes"])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_export_takes_a_surrogate_of_every_engine(kind, engine, tmp_path):
    """All take their numbers from here: C, Fortran, JAX, ONNX, the page, .npz, other engines."""
    _, loaded, Y = case(kind)
    right = loaded(Y)
    surrogate = with_engine(loaded, engine)
    assert surrogate.engine.NAME == engine
    assert write.text("s", constants(surrogate)) == write.text("s", constants(loaded))
    npz.save(surrogate, tmp_path / "s.npz")
    for found in (surrogates.load(tmp_path / "s.npz"), with_engine(surrogate, "numpy")):
        np.testing.assert_allclose(found(Y), right, rtol=1e-10, atol=1e-10 * np.abs(right).max())


@pytest.mark.parametrize("engine", ENGINES)
def test_so_do_some_of_its_outputs(engine, tmp_path):
    _, loaded, Y = case("everything")
    right = loaded(Y)[:, [2, 0]]
    npz.save(with_engine(loaded, engine).select([2, 0]), tmp_path / "s.npz")
    found = surrogates.load(tmp_path / "s.npz")
    np.testing.assert_allclose(found(Y), right, rtol=1e-10, atol=1e-10 * np.abs(right).max())
