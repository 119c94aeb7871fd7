"""``train --from`` as users run it: two fidelities, more data, and what it refuses."""

import ctypes
import dataclasses
import functools
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import names, refused, run
from compiled import C99, Library, build

import surrogates
from surrogates.data import Dataset
from surrogates.export import npz
from surrogates.model import file as export
from surrogates.model import torchscript
from surrogates.model.file import weights_in

SMALL = ("--set", "stopping.work_units=60")
FAST = ("--effort", "fast", "--set", "stopping.work_units=100", "--set", "network.width=4")


def high(Y):
    y0, y1 = Y.T
    return np.stack([np.sin(6 * y0) + y0 * y1**2, np.cos(5 * y0 + 2 * y1)], axis=1)


def low(Y):
    return 0.7 * high(Y) + np.stack([np.exp(Y[:, 1]) / 2, Y[:, 0]], axis=1)


def imported(folder: Path, name: str, function, n: int, seed: int, *words) -> Path:
    Y = np.random.default_rng(seed).uniform(0, 1, (n, 2))
    np.savez(folder / f"{name}.npz", Y=Y, C=function(Y))
    out = folder / f"{name}.h5"
    assert run("import", folder / f"{name}.npz", "--out", out, *words) == 0
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two fidelities; a chosen surrogate of the cheap one, and one of a network."""
    folder = tmp_path_factory.mktemp("from")
    cheap = imported(folder, "low", low, 60, 0)
    imported(folder, "high", high, 12, 1, "--split", "0.8/0.2/0")
    assert run("train", cheap, "--out", folder / "old.pt", *SMALL) == 0
    assert run("train", cheap, "--out", folder / "net.pt", *FAST) == 0
    return folder


def read_weights(content: bytes, folder: Path) -> bytes:
    (folder / "before.pt").write_bytes(content)
    return weights_in(surrogates.load(folder / "before.pt").members)


def worst(path: Path) -> float:
    Y = np.random.default_rng(9).uniform(0.1, 0.9, (500, 2))
    C = high(Y)
    return float(((surrogates.load(path)(Y) - C).std(axis=0) / C.std(axis=0)).max())


def test_another_fidelity_from_the_command_line(folder, tmp_path, capsys):
    new = ("train", folder / "high.h5", *SMALL, "--out")
    assert run(*new, tmp_path / "alone.pt") == 0
    assert run(*new, tmp_path / "from.pt", "--from", folder / "old.pt") == 0
    assert "old" in capsys.readouterr().out.rpartition("tried")[0]
    assert names(tmp_path) == ["alone.history.jsonl", "alone.pt", "from.history.jsonl", "from.pt"]
    assert 3 * worst(tmp_path / "from.pt") < worst(tmp_path / "alone.pt")
    training = export.load(tmp_path / "from.pt").metadata["training"]
    assert (
        training["from"] and "from" not in export.load(tmp_path / "alone.pt").metadata["training"]
    )
    assert run("info", tmp_path / "from.pt") == 0


def test_coarse_samples_beside_the_surrogate_of_them(folder, tmp_path, capsys):
    nested = imported(tmp_path, "nested", high, 12, 0, "--split", "0.8/0.2/0")
    new = ("train", nested, *SMALL, "--out", tmp_path / "both.pt", "--from", folder / "old.pt")
    assert run(*new, "--coarse", folder / "low.h5") == 0
    found = capsys.readouterr().out
    assert "old" in found.partition("tried")[2]
    assert worst(tmp_path / "both.pt") < 0.05
    assert any(
        one["name"].startswith("old") and one["weight"] > 0
        for one in export.load(tmp_path / "both.pt").metadata["training"]["tried"]
    )


def test_coarse_samples_that_do_not_fit_are_refused(folder, tmp_path, capsys):
    train = ("train", folder / "high.h5", "--out", tmp_path / "x.pt")
    cheap = ("--coarse", folder / "low.h5")
    assert "need the surrogate of them" in refused(capsys, *train, *cheap)
    line = refused(capsys, *train, "--from", folder / "old.pt", *cheap)
    assert "0 of the 12 samples have parameters that are among the coarse samples" in line
    line = refused(capsys, *train, "--from", folder / "net.pt", *cheap, "--effort", "fast")
    assert "leave --effort fast and --coarse out, or one of them" in line
    np.savez(tmp_path / "named.npz", Y=np.random.rand(9, 2), C=np.random.rand(9, 3))
    assert run("import", tmp_path / "named.npz", "--out", tmp_path / "named.h5") == 0
    more = ("--from", folder / "old.pt", "--coarse", tmp_path / "named.h5")
    assert "the dataset (named) has 2 and 3" in refused(capsys, *train, *more)
    assert names(tmp_path) == ["named.h5", "named.npz"]


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_every_form_of_such_a_surrogate_agrees(folder, tmp_path):
    path = tmp_path / "from.pt"
    new = ("train", folder / "high.h5", "--out", path, "--from", folder / "old.pt", *SMALL)
    assert run(*new) == 0
    for kind in ("c", "npz"):
        words = ("--format", kind, "--out", tmp_path / f"net.{kind}")
        assert run("export", path, *words) == 0
    build("cc", *C99, "-O2", "-shared", "-fPIC", "net.c", "-o", "net.so", "-lm", cwd=tmp_path)
    library = Library(ctypes.CDLL(str(tmp_path / "net.so")), "net", 2, 2)
    loaded, numpy = surrogates.load(path), npz.load(tmp_path / "net.npz")
    Y = np.random.default_rng(2).uniform(0, 1, (20, 2))
    # Kernels have weights of 1e6 and more, whose sum leaves as many digits less; a deviation is the
    # root of a difference of squares.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
    for method in ("predict", "jacobian", "predict_std"):
        right = getattr(loaded, method)(Y)
        atol = (1e-4 if method == "predict_std" else 1e-6) * np.abs(right).max()
        close(library(method, Y), right, atol=atol)
        close(np.asarray(getattr(numpy, method)(Y)), right, atol=atol)
        eager = getattr(loaded.eager(), "forward" if method == "predict" else method)
        close(eager(torch.from_numpy(Y)).numpy(), right, atol=atol)


def test_one_training_from_a_network_and_on(folder, tmp_path, capsys):
    out = tmp_path / "net.pt"
    command = ("train", folder / "low.h5", "--out", out, "--effort", "fast")
    start = ("--from", folder / "net.pt", "--set", "stopping.work_units=60")
    assert run(*command, *start) == 0
    settings = export.load(out).metadata["training"]["settings"]
    network = settings["network"]
    assert (network["kind"], network["width"], settings["stopping"]["work_units"]) == ("ode", 4, 60)
    before = out.read_bytes()
    assert run(*command, *start, "--resume") == 0  # from the finished checkpoint: to the same
    assert weights_in(surrogates.load(out).members) == read_weights(before, tmp_path)
    more = ("--set", "stopping.work_units=120", "--set", "network.width=4", "--resume")
    assert "started from other weights" in refused(capsys, *command, *more)
    assert run(*command, "--from", folder / "net.pt", *more) == 0


def test_an_old_surrogate_that_does_not_do_is_one_clear_line(folder, tmp_path, capsys):
    new = ("train", folder / "high.h5", "--out", tmp_path / "x.pt", "--from")
    older = tmp_path / "older.pt"
    loaded = export.load(folder / "net.pt")
    export.save(loaded.eager(), loaded.metadata, older)
    assert "has no weights to start from" in refused(capsys, *new, older)
    assert "there is no file" in refused(capsys, *new, tmp_path / "none.pt")
    few = imported(tmp_path, "few", low, 8, 3, "--split", "0.8/0.2/0")
    assert run("train", few, "--out", tmp_path / "kernels.pt", *SMALL) == 0
    line = refused(capsys, *new, tmp_path / "kernels.pt", "--effort", "fast")
    assert "no network that one training could start from" in line
    line = refused(capsys, *new, folder / "net.pt", *FAST, "--set", "network.width=5")
    assert "has network.width 4; got 5: leave network.width out" in line
    line = refused(capsys, *new, folder / "net.pt", "--log-inputs", "y0")
    assert "learned the logarithms of no inputs" in line
    data = Dataset.read(folder / "high.h5")
    info = dataclasses.replace(data.info, y_names=("a", "b"))
    dataclasses.replace(data, info=info).write(tmp_path / "named.h5")
    line = refused(capsys, "train", tmp_path / "named.h5", "--from", folder / "net.pt")
    assert "has the input 'y0' where the dataset has 'a'" in line
    assert not (tmp_path / "x.pt").exists()


def test_weights_of_another_surrogate_are_refused(folder, tmp_path, capsys):
    members = torchscript.read(folder / "net.pt")
    with np.load(io.BytesIO(members["extra/weights.npz"])) as file:
        arrays = {name: file[name] for name in file.files}
    entry = json.loads(str(arrays["about"]))["members"][0]
    for name in ("y_shift", "W"):
        content = io.BytesIO()
        np.savez(content, **{**arrays, entry[name]: arrays[entry[name]][..., :-1]})
        forged = {**members, "extra/weights.npz": content.getvalue()}
        (tmp_path / "net.pt").write_bytes(torchscript.pack(forged))
        line = refused(capsys, "train", folder / "high.h5", "--from", tmp_path / "net.pt")
        assert "net.pt is damaged: its weights are of another surrogate" in line


def test_weights_that_would_fill_the_memory_or_are_no_numbers_are_refused(folder, tmp_path, capsys):
    members = torchscript.read(folder / "net.pt")
    with np.load(io.BytesIO(members["extra/weights.npz"])) as file:
        arrays = {name: file[name] for name in file.files}
    entry = json.loads(str(arrays["about"]))["members"][0]["features"]
    about = str(arrays["about"])
    assert '"width": 4' in about and '"n_in": 2' in about
    theta = arrays[entry["theta"]]
    changes = {
        "parameters of another network": {"about": about.replace('"width": 4', '"width": 40000')},
        "theta that are not finite": {entry["theta"]: theta * np.nan},
        "compressed members unpack to": {"more": np.zeros(2**24)},
    }
    changes["parameters of another network "] = {
        "about": about.replace('"n_in": 2', '"n_in": 2000000000')
    }
    for message, change in changes.items():
        content = io.BytesIO()
        np.savez_compressed(content, **{**arrays, **change})
        forged = {**members, "extra/weights.npz": content.getvalue()}
        (tmp_path / "net.pt").write_bytes(torchscript.pack(forged))
        line = refused(capsys, "train", folder / "high.h5", "--from", tmp_path / "net.pt")
        assert message.strip() in line


def test_a_damaged_file_is_refused(folder, tmp_path, capsys):
    path = tmp_path / "net.pt"
    content = bytearray((folder / "net.pt").read_bytes())
    at = content.index(b"weights.npz") + 400
    content[at] ^= 255
    path.write_bytes(bytes(content))
    line = refused(capsys, "train", folder / "high.h5", "--from", path)
    assert "is damaged: the checksum of " in line
