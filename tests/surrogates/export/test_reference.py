from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import METHODS, arguments, check_close, expected, saved
from plain import NETWORKS, Sine, both, made, points

import surrogates
from surrogates.errors import InputError
from surrogates.export import npz
from surrogates.export.constants import constants
from surrogates.model.networks import ACTIVATIONS
from surrogates.model.surrogate import Surrogate


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_is_the_surrogate_also_after_a_round_trip(network, tmp_path):
    surrogate, loaded = both(*network)
    npz.save(loaded, tmp_path / "s.npz")
    Y = points(surrogate)
    inside = surrogate.in_domain(torch.from_numpy(Y))
    assert inside.any() and not inside.all()
    for found in (constants(loaded), npz.load(tmp_path / "s.npz")):
        assert found.metadata == loaded.metadata
        for method in METHODS:
            more = arguments(surrogate, method, len(Y))
            for rows in (slice(None), slice(0, 1), 0):
                given = [x[rows] for x in (Y, *more)]
                result = np.asarray(getattr(found, method)(*given))
                check_close(result, expected(surrogate, method, *given), f"{method} {rows}")


def test_is_the_surrogate_file(surrogate, Y, tmp_path):
    loaded = saved(surrogate, tmp_path / "s.pt")
    found = constants(loaded)
    for method in METHODS:
        given = (Y.numpy(), *arguments(surrogate, method, len(Y)))
        check_close(getattr(found, method)(*given), getattr(loaded, method)(*given), method)


ALONE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        allowed = {"numpy", "surrogates", *sys.stdlib_module_names}
        if name.split(".")[0] not in allowed:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
sys.path.insert(0, sys.argv[1])
try:
    import torch
    raise SystemExit("torch is there after all")
except ModuleNotFoundError:
    pass
import numpy as np
from surrogates.export import npz
r = npz.load(sys.argv[2])
y = np.load(sys.argv[3])
np.savez(sys.argv[4], predict=r.predict(y), jacobian=r.jacobian(y), predict_std=r.predict_std(y))
"""


def test_needs_only_numpy(surrogate, Y, tmp_path):
    loaded = saved(surrogate, tmp_path / "s.pt")
    npz.save(loaded, tmp_path / "s.npz")
    np.save(tmp_path / "y.npy", Y.numpy())
    words = [Path(surrogates.__file__).parents[1], *(tmp_path / n for n in ("s.npz", "y.npy", "r"))]
    command = [sys.executable, "-I", "-W", "error", "-c", ALONE, *map(str, words)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    with np.load(tmp_path / "r.npz") as results:
        for name in results.files:
            check_close(results[name], getattr(loaded, name)(Y.numpy()), name)


def test_the_documented_formula_needs_no_module_of_ours(surrogate, Y, tmp_path):
    """The module's text, read as a user of the arrays alone reads it."""
    loaded = saved(surrogate, tmp_path / "s.pt")
    npz.save(loaded, tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz", allow_pickle=False) as a:
        assert (str(a["format"]), int(a["schema_version"])) == ("varpro-surrogates-npz", 1)
        assert json.loads(str(a["metadata"])) == loaded.metadata and str(a["phi"]) == "sigmoid"
        y = Y[0].numpy()

        def phi(x):
            return 1 / (1 + np.exp(-x))

        u = phi(a["K_in"] @ y + a["b_in"])
        n_steps, n_stages = a["A"].shape[:2]
        for j in range(n_steps):
            k = [phi(a["A"][j, 0] @ u + a["b"][j, 0])]
            for i in range(1, n_stages):
                k.append(phi(a["A"][j, i] @ (u + a["lengths"][i] * k[i - 1]) + a["b"][j, i]))
            u = a["carry"] * u + a["weights"] @ k
        check_close(a["W"] @ u + a["c_0"], loaded.predict(y), "c")
        beyond = np.maximum(0, np.maximum(a["lower"] - y, y - a["upper"])) / a["unit"]
        off = a["normals"] @ ((y - a["centre"]) / a["unit"])
        squares = [(x**2).sum() for x in (a["leverage"] @ u + a["constant"], beyond, off)]
        check_close(a["sigma"] * np.sqrt(a["floor"] + sum(squares)), loaded.predict_std(y), "std")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_and_huge_numbers_go_through_without_a_warning(activation, tmp_path):
    surrogate, loaded = both(*next(network for network in NETWORKS if network[1] == activation))
    found = constants(loaded)
    Y = points(surrogate)[:4]
    Y[0, 2], Y[1], Y[2] = np.nan, 1e200, -1e200
    for method in METHODS:
        given = (Y, *arguments(surrogate, method, 4))
        result = getattr(found, method)(*given)
        check_close(result[1:], expected(surrogate, method, *given)[1:], method)
        assert method == "in_domain" or np.isnan(result[0]).all()
    assert found.in_domain(Y).tolist() == [False, False, False, True]
    assert np.isinf(found.predict_std(Y)[1:3]).all()
    found.predict(np.full(len(Y[0]), np.inf))


@pytest.mark.parametrize("change", [{"schema_version": 1}, {}])
def test_without_error_bars_the_deviation_is_nan(change, tmp_path):
    surrogate = made("mlp", "tanh", 3, 4, 2, 1, bars=bool(change))
    loaded = saved(surrogate, tmp_path / "s.pt", **change)
    npz.save(loaded, tmp_path / "s.npz")
    y = surrogate.lower.numpy()
    assert np.isnan(npz.load(tmp_path / "s.npz").predict_std(y)).all()
    check_close(npz.load(tmp_path / "s.npz").predict(y), loaded.predict(y), "predict")


def test_other_features_are_refused(parts, tmp_path):
    changes = {"features": Sine(), "W": torch.ones(6, 5), "error_bars": None}
    loaded = saved(Surrogate(**{**parts, **changes}), tmp_path / "user.pt")
    with pytest.raises(InputError, match=r"user.pt cannot be exported: .* features are another m"):
        npz.save(loaded, tmp_path / "user.npz")
    assert os.listdir(tmp_path) == ["user.pt"]


def test_bad_paths_leave_nothing(surrogate, tmp_path):
    loaded = saved(surrogate, tmp_path / "s.pt")
    (tmp_path / "folder.npz").mkdir()
    for name, message in {
        "s.npy": "expected the name of an .npz file",
        "missing/s.npz": "there is no folder",
        "folder.npz": "is a folder",
    }.items():
        with pytest.raises(InputError, match=message):
            npz.save(loaded, tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["folder.npz", "s.pt"]


def test_the_same_surrogate_is_the_same_file(surrogate, tmp_path):
    loaded = saved(surrogate, tmp_path / "s.pt")
    for name in ("a.npz", "b.npz"):
        npz.save(loaded, tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_foreign_damaged_and_newer_files_are_one_line(surrogate, tmp_path):
    npz.save(saved(surrogate, tmp_path / "s.pt"), tmp_path / "s.npz")
    whole = (tmp_path / "s.npz").read_bytes()
    with np.load(tmp_path / "s.npz") as file:
        arrays = {name: file[name] for name in file.files}
    weight = surrogate.W.numpy().tobytes()[:8]
    assert whole.count(weight) == 1
    contents = {
        "truncated": (whole[: len(whole) // 2], "is not a whole .npz file"),
        "end-missing": (whole[:-10], "is not a whole .npz file"),
        "empty": (b"", "is not a whole .npz file"),
        "text": (b"y0,y1\n1,2\n", "is not a whole .npz file"),
        "flipped": (whole.replace(weight, np.float64(3.14).tobytes()), "not a whole .npz file"),
    }
    for name, (content, message) in contents.items():
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, message)
    np.save(tmp_path / "array.npy", np.ones(3))
    refused(tmp_path / "array.npy", "is not a whole .npz file")
    np.savez(tmp_path / "pickle.npz", format=np.array({"a": 1}, dtype=object))
    refused(tmp_path / "pickle.npz", "is not a whole .npz file")
    refused(tmp_path / "s.pt", "is not a whole|is an .npz file but not a surrogate")
    refused(tmp_path / "missing.npz", "there is no file .*missing.npz")
    refused(tmp_path, "there is no file")
    changes = {
        "foreign": ({"format": "other"}, "is an .npz file but not a surrogate of this package"),
        "newer": ({"schema_version": 4}, "schema version 4, this package reads up to 3; update"),
        "shape": ({"W": arrays["W"][:, 1:]}, r"is damaged: leverage is float64 of shape \(6, 5\)"),
        "type": ({"b_in": arrays["b_in"].astype("f4")}, "is damaged: b_in is float32 of shape"),
        "absent": ({"sigma": None}, "is damaged: sigma is"),
    }
    for name, (change, message) in changes.items():
        kept = {key: value for key, value in {**arrays, **change}.items() if value is not None}
        np.savez(tmp_path / f"{name}.npz", **kept)
        refused(tmp_path / f"{name}.npz", message)


def refused(path, message):
    with pytest.raises(InputError, match=message) as caught:
        npz.load(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("y", [np.ones(3), np.ones((2, 5)), 1.0, np.ones((0, 4)), ["a"] * 4, 1j])
def test_parameters_that_do_not_fit_are_one_line(surrogate, tmp_path, y):
    found = constants(saved(surrogate, tmp_path / "s.pt"))
    for method in ("predict", "jacobian", "predict_std", "in_domain"):
        with pytest.raises(
            InputError,
            match=r"expected (y of shape \(4,\) or \(n, 4\)|real numbers in y, of dtype float64)",
        ):
            getattr(found, method)(y)
    with pytest.raises(
        InputError, match=r"expected v of shape \(2, 4\), one for each y; got \(4,\)"
    ):
        found.jvp(np.ones((2, 4)), np.ones(4))
    with pytest.raises(InputError, match=r"expected w of shape \(6,\), one for each y; got \(4,\)"):
        found.vjp(np.ones(4), np.ones(4))
