"""The module of JAX functions, run by JAX itself without this package, against torch."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import extended
import numpy as np
import pytest
from every_kind import KINDS, NETWORKS, case, check_columns, of_torch
from exports import arguments

from surrogates.errors import InputError
from surrogates.export import jax as export

# A Python that has jax, which needs neither torch nor this package: that of the adapters, if none
# is named.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
ADAPTERS = CACHE / "varpro-surrogates" / "adapters" / "numpyro" / "bin" / "python"
PYTHON = os.environ.get("JAX_PYTHON") or (
    sys.executable if importlib.util.find_spec("jax") else str(ADAPTERS) * ADAPTERS.exists()
)
needs_jax = pytest.mark.skipif(
    not PYTHON, reason="there is no jax: scripts/test.sh --adapters jax fetches it"
)

# Compiling takes most of the time, and twice as long without these.
QUICKLY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
COMPILED = [kind for kind in KINDS if kind not in list(NETWORKS)[2::3]]

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


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict:
    """What jax computes for each surrogate."""
    folder = tmp_path_factory.mktemp("jax")
    for kind in COMPILED:
        surrogate, loaded, Y = case(kind)
        w, v = arguments(surrogate, "hvp", len(Y))
        export.save(loaded, folder / f"{kind}.py")
        np.savez(folder / f"{kind}.given.npz", Y=Y, w=w, v=v)
    run = subprocess.run(
        [PYTHON, "-I", "-W", "error", "-c", SCRIPT, str(folder)],
        capture_output=True,
        text=True,
        timeout=280,
        env={"JAX_PLATFORMS": "cpu", "PATH": os.environ["PATH"], "XLA_FLAGS": QUICKLY},
    )
    assert run.returncode == 0, run.stderr
    return {kind: np.load(folder / f"{kind}.found.npz") for kind in COMPILED}


@needs_jax
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", COMPILED)
def test_jax_computes_what_torch_does(kind, results):
    found, right, loaded = results[kind], of_torch(kind), case(kind)[1]
    right.setdefault("predict", right["forward"])
    for what, values in right.items():
        check_columns(found[what], values, what)
    assert ("predict_std" in found) == ("predict_std" in right)
    assert found["nan"].shape == right["jacobian"].shape and np.isnan(found["nan"]).all()
    np.testing.assert_array_equal(found["bounds"], loaded.bounds)
    for what in ("y_names", "y_units", "c_names", "c_units"):
        assert tuple(found[what]) == getattr(loaded, what)
    assert str(found["errors"]) == repr(loaded.metadata.get("errors", {}))


@needs_jax
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_single_samples_leading_dimensions_and_vmap_give_the_same(results):
    found, right = results["everything"], of_torch("everything")
    c = right["forward"]
    for what in ("forward", "jacobian", "predict_std", "in_domain"):
        assert found[f"one {what}"].shape == right[what][:3].shape
        scale = np.abs(right[what]).max(axis=0)
        error = np.abs(found[f"one {what}"].astype(float) - right[what][:3])
        assert (error <= 1e-12 * scale).all(), what
    check_columns(found["vmap"], c, "vmap")
    check_columns(found["more"].reshape(c.shape), c, "more")
    assert found["more"].shape == (1, 2, len(c) // 2, c.shape[1])


def test_the_module_is_formatted_and_lints_clean(tmp_path):
    """Tables of one row, and texts with both kinds of quotes, have a form of their own."""
    pytest.importorskip("ruff", reason="there is no ruff")
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--no-cache", "--isolated", "--line-length", "100"]
    for i, kind in enumerate(KINDS):
        export.save(case(kind)[1], tmp_path / f"s{i}.py")
    odd = ("names", "mlp_sigmoid_1_1_1_1")
    others = [tmp_path / f"s{i}.py" for i, kind in enumerate(KINDS) if kind not in odd]
    for words in (
        [*ruff, "format", "--check", *options, *others],
        [*ruff, "check", "--select", "E,F,B,I,UP,PLE", *options, tmp_path],
    ):
        run = subprocess.run(words, capture_output=True, text=True, timeout=60)
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
