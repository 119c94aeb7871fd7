"""The .npz file: what it holds, that numpy alone reads it, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
from exports import METHODS, arguments, check_close, expected, in_numpy, saved
from extended import N_IN, N_OUT, SURROGATES, both, every_surrogate, made, points
from strangers import Shell

import surrogates
from surrogates.errors import InputError
from surrogates.export import npz

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


# Members, signs, logarithms, tails and joined features


@every_surrogate
def test_numpy_is_the_surrogate_also_after_a_round_trip(name, tmp_path):
    surrogate, loaded = both(name)
    npz.save(loaded, tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as arrays:
        assert int(arrays["schema_version"]) == (3 if surrogate.tail is not None else 2)
    Y = points(surrogate)
    for found in (in_numpy(loaded), npz.load(tmp_path / "s.npz")):
        for method in METHODS:
            more = arguments(surrogate, method, len(Y))
            for rows in (slice(None), slice(0, 1), 0):
                given_rows = [x[rows] for x in (Y, *more)]
                result = np.asarray(getattr(found, method)(*given_rows))
                check_close(result, expected(surrogate, method, *given_rows), f"{method} {rows}")
            bad = np.full((1, N_IN), np.nan)
            given_bad = (bad, *(x[:1] for x in more))
            nan = expected(surrogate, method, *given_bad)
            result = getattr(found.engine, "forward" if method == "predict" else method)(*given_bad)
            check_close(np.asarray(result), nan, method)
        for rows in (slice(None), 0):
            right = surrogate.predict_interval(torch.from_numpy(Y)[rows], 0.9).numpy()
            check_close(found.predict_interval(Y[rows], 0.9), right, "interval")


def test_the_documented_formula_of_version_3_needs_no_module_of_ours(tmp_path):
    """The text of `surrogates.export.npz`, read as a user of the arrays alone reads it."""
    _, loaded = both("everything")
    npz.save(loaded, tmp_path / "s.npz")
    y = points(both("everything")[0])[0]
    with np.load(tmp_path / "s.npz", allow_pickle=False) as a:
        kinds = ["network", "radial", "radial", "polynomial", "polynomial", "network"]
        assert a["blocks"].tolist() == kinds
        x = np.where(a["log_inputs"], np.log(y), y)
        u = []
        for i, kind in enumerate(kinds):
            block = {
                key.removeprefix(f"block{i}_"): a[key]
                for key in a.files
                if key.startswith(f"block{i}_")
            }
            u.append(FORMULAS[kind](block, x))
        u = np.concatenate(u)
        log_c = a["W"] @ u + a["c_0"]
        c = np.where(a["log_outputs"], np.exp(log_c), log_c)
        check_close(c, loaded.predict(y), "c")
        lower, upper = (np.where(a["log_inputs"], np.log(a[k]), a[k]) for k in ("lower", "upper"))
        beyond = np.maximum(0, np.maximum(lower - x, x - upper)) / a["unit"]
        off = a["normals"] @ ((x - a["centre"]) / a["unit"])
        z = a["leverage"] @ u + a["constant"]
        share = a["floor"] + a["signs"] @ z**2 + beyond @ beyond + off @ off
        variance = a["sigma"] ** 2 * max(1e-12, share)
        start = 0
        for width, bias, weight in zip(
            a["member_widths"], a["member_biases"], a["member_weights"], strict=True
        ):
            columns = slice(start, start + width)
            c_m = a["member_W"][:, columns] @ u[columns] + bias
            variance += a["spread"] * weight * (c_m - log_c) ** 2
            start += width
        std = np.sqrt(variance) * np.where(a["log_outputs"], c, 1)
        check_close(std, loaded.predict_std(y), "std")
        q = NormalDist().inv_cdf(0.975)
        half = q * np.exp(a["tail"] * (q**2 - 1.5802399386074917) / 2) * np.sqrt(variance)
        ends = np.stack([log_c - half, log_c + half])
        right = loaded.predict_interval(y, 0.95)
        check_close(np.where(a["log_outputs"], np.exp(ends), ends), right, "interval")


def network_formula(block, x):
    phi = {
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "relu": lambda x: np.maximum(0, x),
    }[str(block["phi"])]
    u = phi(block["K_in"] @ x + block["b_in"])
    for A, b in zip(block["A"], block["b"], strict=True):
        k = [phi(A[0] @ u + b[0])]
        for i in range(1, len(A)):
            k.append(phi(A[i] @ (u + block["lengths"][i] * k[i - 1]) + b[i]))
        u = block["carry"] * u + block["weights"] @ k
    return u


def radial_formula(block, x):
    r = np.linalg.norm((x - block["shift"]) * block["factor"] - block["centres"], axis=1)
    s = 5**0.5 * r
    return {"gaussian": np.exp(-(r**2) / 2), "matern52": (1 + s + s**2 / 3) * np.exp(-s)}[
        str(block["kernel"])
    ]


def anova_formula(block, x):
    r = np.abs((x - block["shift"]) * block["factor"] - block["centres"])
    s = 5**0.5 * r
    laws = {"gaussian": np.exp(-(r**2) / 2), "matern52": (1 + s + s**2 / 3) * np.exp(-s)}
    return np.prod(1 + block["shares"] * (laws[str(block["kernel"])] - 1), axis=1)


def polynomial_formula(block, x):
    x = (x - block["shift"]) / block["scale"]
    return np.concatenate([x, x[block["first"]] * x[block["second"]]])


FORMULAS = {
    "network": network_formula,
    "radial": radial_formula,
    "anova": anova_formula,
    "polynomial": polynomial_formula,
}


def test_damaged_files_of_version_3_are_one_line(tmp_path):
    npz.save(both("everything")[1], tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as file:
        arrays = {name: file[name] for name in file.files}
    changes = {
        "kind": (
            {"blocks": [*arrays["blocks"][:-1], "wavelet"]},
            "has a block of the kind 'wavelet'",
        ),
        "fewer": ({"blocks": arrays["blocks"][:-1]}, "its blocks or members have not 38 features"),
        "widths": ({"member_widths": np.array([1, 1])}, "its blocks or members have not 38 feat"),
        "type": ({"log_inputs": np.zeros(5)}, "is damaged: log_inputs is float64 of shape"),
        "tail": ({"tail": np.zeros((N_OUT, 1))}, "is damaged: tail is float64 of shape"),
        "block": ({"block1_centres": np.zeros((9, 4))}, "is damaged: block1_centres is float64"),
    }
    for name, (change, message) in changes.items():
        np.savez(tmp_path / f"{name}.npz", **{**arrays, **change})
        with pytest.raises(InputError, match=message) as caught:
            npz.load(tmp_path / f"{name}.npz")
        assert len(str(caught.value).splitlines()) == 1


# Arrays of strangers


def test_an_npz_file_cannot_run_code(here):
    np.savez(here / "s.npz", format=npz.FORMAT, W=np.array([Shell()], dtype=object))
    with pytest.raises(InputError, match="s.npz is not a whole .npz file"):
        npz.load(here / "s.npz")
    with zipfile.ZipFile(here / "p.npz", "w") as archive:
        archive.writestr("format.npy", pickle.dumps(Shell()))
    with pytest.raises(InputError, match="p.npz is "):
        npz.load(here / "p.npz")
    assert sorted(os.listdir(here)) == ["p.npz", "s.npz"]


def test_an_npz_file_with_wrong_content_is_one_line(tmp_path):
    npz.save(saved(made(*SURROGATES["everything"]), tmp_path / "s.pt"), tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays["metadata"]))
    first = next(name for name in arrays if name.endswith("_first"))
    kernel = next(name for name in arrays if name.endswith("_kernel"))
    changes = {
        "version": ({"schema_version": np.array("x")}, "is not a whole .npz file"),
        "no-version": ({"schema_version": None}, "is not a whole .npz file"),
        "index": ({first: arrays[first] + 99}, "is no index of an input"),
        "kernel": ({kernel: np.array("x")}, "_kernel is 'x'"),
        "finite": ({"c_0": arrays["c_0"] * np.nan}, "c_0 is not finite"),
        "weights": ({"block0_A": arrays["block0_A"] + np.inf}, "block0_A is not finite"),
        "box": ({"lower": arrays["upper"] + 1}, "lower is out of its range"),
        "unit": ({"unit": 0 * arrays["unit"]}, "unit is out of its range"),
        "sigma": ({"sigma": -arrays["sigma"]}, "sigma is out of its range"),
        "signs": ({"signs": 7 * arrays["signs"]}, "signs is out of its range"),
        "tail": ({"tail": arrays["tail"] + 9}, "tail is out of its range"),
        "spread": ({"spread": np.array(-1.0)}, "spread is out of its range"),
        "old": ({"schema_version": np.array(0)}, "has the schema version 0"),
        "widths": ({"member_widths": -arrays["member_widths"]}, "blocks or members have not"),
        "metadata": ({"metadata": np.array("{}")}, "is an .npz file but not a surrogate"),
        "names": (
            {"metadata": np.array(json.dumps({**about, "y_names": ["a"], "y_units": ["1"]}))},
            "y_lower = .* expected a list of 1 numbers",
        ),
    }
    for name, (change, message) in changes.items():
        kept = {key: value for key, value in {**arrays, **change}.items() if value is not None}
        np.savez(tmp_path / f"{name}.npz", **kept)
        with pytest.raises(InputError, match=message) as caught:
            npz.load(tmp_path / f"{name}.npz")
        assert len(str(caught.value).splitlines()) == 1
    np.savez_compressed(tmp_path / "packed.npz", **arrays)
    with pytest.raises(InputError, match="packed.npz is refused: its compressed members unpack to"):
        npz.load(tmp_path / "packed.npz")


def test_a_surrogate_of_some_outputs_is_written_and_read(tmp_path):
    surrogate, loaded = both("members")
    relative = {"mean": 0.5, "std": 0.1, "min": 0.1, "max": 1.0}
    about = {"errors": {"test": {"samples": 3, "relative": relative, "output_rms": [0.5] * 11}}}
    one = saved(surrogate, tmp_path / "s.pt", schema_version=2, **about).select(["c3", "c1"])
    npz.save(one, tmp_path / "one.npz")
    found = npz.load(tmp_path / "one.npz")
    Y = points(surrogate)
    assert found.c_names == ("c3", "c1") and "relative error" not in repr(found)
    check_close(found.predict(Y), loaded.predict(Y)[:, [3, 1]], "predict")
    done = subprocess.run(
        [sys.executable, "-m", "surrogates", "info", str(tmp_path / "one.npz")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "2 observables, c3 to c1" in done.stdout and "error" not in done.stdout, done.stderr
