"""The Python module beside a C export, in a process without this package and without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from compiled import needs_cc
from every_kind import KINDS, case, check_columns, of_torch
from exports import arguments

from surrogates.errors import InputError
from surrogates.export.c import loader

# Calls the module with numpy, and then, as in a process without it, with lists.
SCRIPT = """
import json, sys
import numpy as np
import toy

at = np.load("given.npz")
Y, w, v = at["Y"], at["w"], at["v"]
more = {"jvp": (v,), "vjp": (w,), "hvp": (w, v)}
names = ["forward", "jacobian", "predict", "in_domain", *more]
names += [name for name in ("predict_std", "probabilities") if hasattr(toy, name)]
found = {name: getattr(toy, name)(Y, *more.get(name, ())) for name in names}
found["more"] = toy.forward(Y.reshape(1, 2, -1, Y.shape[1]))
found["one"] = toy.jacobian(Y[0])
found["broadcast"] = toy.vjp(Y, w[0])
if hasattr(toy, "predict_cov"):
    found["factor"], found["diagonal"] = toy.predict_cov(Y)
np.savez("found.npz", **found)
del sys.modules["numpy"]
rows = [[x[:2].tolist() for x in (Y, *more.get(name, ()))] for name in names]
lists = {}
for name, given in zip(names, rows):
    lists[name] = [getattr(toy, name)(*row) for row in zip(*given)]
if "factor" in found:
    lists["factor"], lists["diagonal"] = zip(*map(toy.predict_cov, rows[0][0]))
about = [toy.y_names, toy.c_names, toy.y_units, toy.c_units, toy.bounds, toy.errors]
print(json.dumps([lists, about]))
for wrong in ([1.0] * (toy.n_in + 1), at["Y"][:, 1:]):
    sys.modules["numpy"] = np
    try:
        toy.forward(wrong)
        raise SystemExit("a wrong size was not refused")
    except ValueError as error:
        assert "expected" in str(error)
assert not {"torch", "surrogates"} & sys.modules.keys()
"""


def called(folder: Path) -> list:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONWARNINGS": "error"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_cc
@pytest.mark.parametrize("kind", ["everything", "gaussian", "classes", "names", KINDS[-5]])
def test_the_module_computes_what_torch_does(kind, tmp_path):
    surrogate, loaded, Y = case(kind)
    w, v = arguments(surrogate, "hvp", len(Y))
    loader.save(loaded, tmp_path / "toy.py")
    np.savez(tmp_path / "given.npz", Y=Y, w=w, v=v)
    lists, about = called(tmp_path)
    found, right = np.load(tmp_path / "found.npz"), of_torch(kind)
    right.setdefault("predict", right["forward"])
    if surrogate.loadings is not None:
        right["factor"], right["diagonal"] = map(
            np.asarray, surrogate.predict_cov(torch.from_numpy(Y))
        )
    assert ("factor" in found) == ("factor" in right)
    for what, values in right.items():
        check_columns(found[what], values, what)
        assert lists[what] == found[what][:2].tolist(), what
    assert ("predict_std" in found) == ("predict_std" in right)
    np.testing.assert_array_equal(found["more"].reshape(found["forward"].shape), found["forward"])
    assert found["more"].shape[:2] == (1, 2)
    np.testing.assert_array_equal(found["one"], found["jacobian"][0])
    np.testing.assert_array_equal(found["broadcast"][0], found["vjp"][0])
    names = ("y_names", "c_names", "y_units", "c_units")
    assert about[:4] == [list(getattr(loaded, name)) for name in names]
    np.testing.assert_array_equal(about[4], loaded.bounds)
    assert about[5] == loaded.metadata.get("errors", {})


@needs_cc
def test_the_library_is_made_once_and_again_for_a_new_source(tmp_path):
    loader.save(case("linear")[1], tmp_path / "toy.py")
    ask = "import toy; print(len(toy.forward([1.0] * toy.n_in)))"

    def call() -> str:
        return subprocess.run(
            [sys.executable, "-c", ask],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        ).stdout  # a second import: libtoy.so must not be taken for a module

    assert call() == "11\n"
    library = tmp_path / "libtoy.so"
    first = library.stat().st_mtime_ns
    assert call() == "11\n" and library.stat().st_mtime_ns == first
    other = case("gaussian")[1].select([2, 3, 5])
    loader.save(other, tmp_path / "toy.py")
    later = library.stat().st_mtime + 2
    os.utime(tmp_path / "toy.c", (later, later))
    assert call() == "3\n" and library.stat().st_mtime_ns != first


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.c", "expected NAME.py"), ("ctypes.py", "hide the module"), ("fenv.py", "hide the header")],
)
def test_a_name_that_c_or_python_cannot_have_is_refused(name, message, tmp_path):
    with pytest.raises(InputError, match=message):
        loader.save(case("linear")[1], tmp_path / name)
    assert not list(tmp_path.iterdir())
