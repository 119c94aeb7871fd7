"""The module of JAX functions, run by JAX itself without this package, against torch."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import extended
import numpy as np
import plain
import pytest
import torch
from exports import arguments, saved

from surrogates.errors import InputError
from surrogates.export import jax as export
from surrogates.model.classifier import Classifier
from surrogates.model.parts import Domain
from surrogates.model.radial import RadialBasis
from surrogates.model.surrogate import Surrogate

# A Python that has jax, which needs neither torch nor this package.
PYTHON = os.environ.get("JAX_PYTHON") or (importlib.util.find_spec("jax") and sys.executable)
needs_jax = pytest.mark.skipif(
    not PYTHON, reason="there is no jax: JAX_PYTHON=PYTHON names a Python that has it"
)

# Evaluates modules in a folder at the points beside them: alone, in batches, by transformations.
SCRIPT = """
import importlib, pathlib, sys
import numpy as np

folder = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(folder))
import jax

for given in sorted(folder.glob("*.given.npz")):
    name = given.name.partition(".")[0]
    m, at = importlib.import_module(name), np.load(given)
    Y, w, v = at["Y"], at["w"], at["v"]
    classes = hasattr(m, "probabilities")
    names = ["forward", "jacobian", "predict", "in_domain"]
    names += ["probabilities"] if classes else ["predict_std"] if hasattr(m, "predict_std") else []
    found = {name: getattr(m, name)(Y) for name in names}
    if name == "everything":
        found |= {f"one {key}": np.stack([getattr(m, key)(y) for y in Y[:3]]) for key in names}
        found["vmap"] = jax.vmap(jax.jit(m.forward))(Y)
        found["more"] = m.forward(Y.reshape(1, 2, -1, Y.shape[1]))
    gradient = jax.vmap(jax.grad(lambda y, w: m.forward(y) @ w), (0, 0))
    found["vjp"] = gradient(Y, w)
    found["hvp"] = jax.jvp(lambda y: gradient(y, w), (Y,), (v,))[1]
    found["nan"] = m.jacobian(Y * np.nan)
    found["bounds"], found["errors"] = m.bounds, np.array(repr(m.errors))
    for what in ("y_names", "y_units", "c_names", "c_units"):
        found[what] = np.array(getattr(m, what))
    np.savez(folder / f"{name}.found.npz", **{k: np.asarray(x) for k, x in found.items()})
try:
    import surrogates
    raise SystemExit("this package is there, but must not be needed")
except ModuleNotFoundError:
    pass
"""


def kernel() -> Surrogate:
    """Radial functions of both kernels about some of the points at which they are evaluated."""
    centres = torch.from_numpy(np.random.default_rng(4).uniform(-1, 1, (6, 3)))
    scales = torch.tensor([0.3, 0.5, 0.9], dtype=torch.float64)
    W = extended.draw(2, 7, seed=3)
    domain = Domain.of(centres.numpy())
    return Surrogate(
        RadialBasis(centres, scales, "matern52"), W, np.zeros(3), np.ones(3), domain, None
    )


def classifier() -> Classifier:
    features = extended.joined("ode gaussian quadratic", 3)
    W, domain = extended.draw(4, features.width + 1, seed=3), Domain.of(points(None))
    return Classifier(features, W, np.zeros(3), np.ones(3), domain, temperature=1.5)


def points(surrogate: Surrogate | None) -> np.ndarray:
    """Six points and their neighbours, (12, 3)."""
    Y = np.random.default_rng(4).uniform(-1, 1, (6, 3))
    return np.concatenate([Y, Y + 0.1])


def cases(folder: Path) -> dict:
    """Surrogates of each kind, each with its file and points."""
    found = {}
    for name in extended.SURROGATES:
        found[name] = (*extended.both(name), extended.points)
    for network in NETWORKS:
        found["_".join(map(str, network))] = (*plain.both(*network), plain.points)
    relative = {"mean": 0.5, "std": 0.1, "min": 0.1, "max": 1.0}
    about = {"errors": {"test": {"samples": 3, "relative": relative}}}
    names = {"c_names": ["quote\" ' and \\", 'ends """ and\n'], "c_units": ["\U0001f600\x85", "é"]}
    one, classes = kernel(), classifier()
    found["kernel"] = (one, saved(one, folder / "k.pt", **about, **names), points)
    about = {"task": "classification", "schema_version": 4}
    found["classes"] = (classes, saved(classes, folder / "c.pt", **about), points)
    return found


NETWORKS = plain.NETWORKS[::4] + plain.NETWORKS[1::4]
CASES = (*extended.SURROGATES, *("_".join(map(str, n)) for n in NETWORKS), "kernel", "classes")


def in_torch(module: torch.nn.Module, method: str, *given: np.ndarray) -> np.ndarray:
    return np.asarray(getattr(module, method)(*map(torch.from_numpy, given)))


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict:
    """What torch and jax compute for each surrogate."""
    folder = tmp_path_factory.mktemp("jax")
    right = {}
    for name, (module, loaded, made) in cases(folder).items():
        Y = made(module)
        Y = Y[: len(Y) // 2 * 2]
        w, v = arguments(module, "hvp", len(Y))
        right[name] = {
            **{method: in_torch(module, method, Y) for method in ("forward", "jacobian")},
            "in_domain": in_torch(module, "in_domain", Y),
            "vjp": in_torch(module, "vjp", Y, w),
            "hvp": in_torch(module, "hvp", Y, w, v),
        }
        more = ("probabilities", "predict") if name == "classes" else ("predict_std",)
        right[name].update({method: in_torch(module, method, Y) for method in more})
        export.save(loaded, folder / f"{name}.py")
        np.savez(folder / f"{name}.given.npz", Y=Y, w=w, v=v)
        right[name]["loaded"] = loaded
    run = subprocess.run(
        [PYTHON, "-I", "-W", "error", "-c", SCRIPT, str(folder)],
        capture_output=True,
        text=True,
        timeout=280,
        env={"JAX_PLATFORMS": "cpu", "PATH": os.environ["PATH"]},
    )
    assert run.returncode == 0, run.stderr
    return {name: (right[name], np.load(folder / f"{name}.found.npz")) for name in right}


@needs_jax
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", CASES)
def test_jax_computes_what_torch_does(name, results):
    right, found = results[name]
    loaded = right.pop("loaded")
    right |= {
        "vmap": right["forward"],
        "more": right["forward"][None].reshape(1, 2, -1, loaded.n_out),
    }
    right.setdefault("predict", right["forward"])
    for what, values in right.items():
        if what == "predict_std" and np.isnan(values).all():  # without error bars
            assert what not in found
            continue
        for prefix in ("", "one "):
            if prefix + what not in found:
                continue
            got, want = found[prefix + what], values[:3] if prefix else values
            assert got.shape == want.shape, what
            if want.dtype.kind != "f":
                assert (got == want).all(), what
                continue
            scale = np.abs(values).max(axis=0, where=np.isfinite(values), initial=1e-300)
            np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want), err_msg=what)
            error = np.abs(got - want)[np.isfinite(want)]
            assert (error <= (1e-12 * scale + 0 * want)[np.isfinite(want)]).all(), what
    assert np.isnan(found["nan"]).all()
    np.testing.assert_array_equal(found["bounds"], loaded.bounds)
    for what in ("y_names", "y_units", "c_names", "c_units"):
        assert tuple(found[what]) == getattr(loaded, what)
    assert str(found["errors"]) == repr(loaded.metadata.get("errors", {}))


def test_the_module_is_formatted_and_lints_clean(tmp_path):
    for name in extended.SURROGATES:
        export.save(extended.both(name)[1], tmp_path / f"{name}_jax.py")
    for words in (["format", "--check"], ["check", "--select", "E,F,B,I,UP,PLE"]):
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "ruff",
                *words,
                "--no-cache",
                "--isolated",
                "--line-length",
                "100",
            ]
            + [str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("name", ["s.txt", "1s.py", "a-b.py"])
def test_a_name_that_cannot_be_imported_is_refused(name, tmp_path):
    with pytest.raises(InputError, match="expected NAME.py, where NAME is a letter"):
        export.save(extended.both("linear")[1], tmp_path / name)


@pytest.mark.parametrize("name", ["jax.py", "numpy.py", "json.py"])
def test_a_name_that_hides_a_module_is_refused(name, tmp_path):
    with pytest.raises(InputError, match="it would hide the module"):
        export.save(extended.both("linear")[1], tmp_path / name)
    assert not list(tmp_path.iterdir())
