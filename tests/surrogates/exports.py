"""Write surrogates, compare what an export of them computes, run scripts without this package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

import surrogates
from surrogates.loading import with_engine
from surrogates.model import file as export
from surrogates.model.loaded import LoadedSurrogate
from surrogates.model.metadata import FORMAT, SCHEMA_VERSION
from surrogates.model.surrogate import Surrogate

METHODS = ("predict", "jacobian", "jvp", "vjp", "hvp", "predict_std", "in_domain")


def saved(surrogate: Surrogate, path: Path, **metadata) -> LoadedSurrogate:
    """Write a surrogate file, and read it."""
    n_out, n_in = len(surrogate.c), len(surrogate.lower)
    about = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "problem": "toy",
        "y_names": [f"y{i}" for i in range(n_in)],
        "y_units": ["m"] * n_in,
        "y_lower": surrogate.lower.tolist(),
        "y_upper": surrogate.upper.tolist(),
        "c_names": [f"c{j}" for j in range(n_out)],
        "c_units": ["V"] * n_out,
        "coordinates": {},
        "training": {},
    }
    export.save(surrogate, {**about, **metadata}, path)
    return surrogates.load(path)


def in_numpy(loaded: LoadedSurrogate) -> LoadedSurrogate:
    """The same surrogate, evaluated by numpy."""
    return with_engine(loaded, "numpy")


def arguments(surrogate: Surrogate, method: str, n: int) -> list[np.ndarray]:
    """What a method takes besides n rows of y."""
    n_in, n_out = len(surrogate.lower), len(surrogate.c)
    sizes = {"jvp": [n_in], "vjp": [n_out], "hvp": [n_out, n_in]}.get(method, [])
    return [np.random.default_rng(3).standard_normal((n, size)) for size in sizes]


def expected(surrogate: Surrogate, method: str, *given: np.ndarray) -> np.ndarray:
    """What torch gives."""
    name = "forward" if method == "predict" else method
    return np.asarray(getattr(surrogate, name)(*map(torch.from_numpy, given)))


def check_close(found, right, what: str) -> None:
    """Compare to 1e-12 of the largest value."""
    assert found.dtype == right.dtype and found.shape == right.shape, what
    if found.dtype == bool:
        assert found.tolist() == right.tolist(), what
    else:
        atol = 1e-12 * np.abs(right).max(initial=0, where=np.isfinite(right))
        np.testing.assert_allclose(found, right, rtol=1e-12, atol=atol, err_msg=what)


WITHOUT_THIS_PACKAGE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "surrogates":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
try:
    import surrogates
    raise SystemExit("the package is there after all")
except ModuleNotFoundError:
    pass
import torch
"""


def alone(script: str, *arguments: object, cwd: Path) -> str:
    """Run a script where this package cannot be imported; give what it prints."""
    command = [sys.executable, "-I", "-W", "ignore", "-c", WITHOUT_THIS_PACKAGE + script]
    words = [str(argument) for argument in arguments]
    run = subprocess.run([*command, *words], capture_output=True, text=True, cwd=cwd, timeout=100)
    assert run.returncode == 0, run.stderr
    return run.stdout
