"""The commands as users run them: the whole path, and one clear line for each mistake."""

import subprocess
import sys

import pytest
from commands import refused

from surrogates.data import Dataset

ISOLATION = {
    "surrogates.pde.ensemble.generate": ("torch",),
    "surrogates.training.fit": ("dolfinx", "petsc4py", "mpi4py"),
    "surrogates.model.file": ("dolfinx", "petsc4py", "mpi4py"),
    "surrogates.cli": ("torch", "dolfinx", "petsc4py", "mpi4py"),
}


def test_mistakes_are_one_clear_line(folder, tmp_path, capsys):
    data, surrogate, out = folder / "map.h5", folder / "map.pt", tmp_path / "out.pt"
    train = ("train", data, "--out", out)
    cases = {
        ("generate", "cdrr"): "unknown problem 'cdrr'; did you mean 'cdr'?",
        ("train",): "F.h5",
        ("train", data, "--optimizer", "sgdd"): "unknown optimizer.name 'sgdd'",
        ("train", data, "--out", out, "--set", "widht=3"): "did you mean 'network.width'",
        (*train, "--set", "network.width=0"): "width must be at least 1; got 0",
        (*train, "--set", "width"): "write key=value",
        (*train, "--resume", "--effort", "fast"): "no checkpoint",
        (*train, "--effort", "slow"): "'slow'",
        (*train, "--exclude", "120"): "there is no row 120: there are 120",
        (*train, "--exclude", "x"): "write 3,77,100-120",
        (*train, "--log", "c9"): "unknown name 'c9' for a logarithm; did you mean 'c",
        (*train, "--log-inputs", "depth"): "unknown name 'depth' for a logarithm; known are y0",
        (*train, "--set", "outputs.scaling=units"): "did you mean 'unit'?",
        ("train", tmp_path / "none.h5"): "there is no file",
        ("train", surrogate, "--out", out): "not a whole dataset file",
        ("train", data, "--out", tmp_path / "no" / "a.pt"): "there is no folder",
        ("train", data, "--out", tmp_path): "is a folder",
        ("evaluate", data, data): "not a whole surrogate file",
        ("info", folder / "map.npz"): "is an .npz file but not a surrogate of this package",
        ("import", data, "--out", tmp_path / "a.h5"): "is a dataset already, and needs no import",
        ("import", folder / "map.npz", "--out", tmp_path / "a.h5", "--split", "200/1/1"): (
            "needs 202 samples; there are 120"
        ),
        ("predict", surrogate, "--in", folder / "map.npz", "--out", out): "know .csv, .npy, .h5",
        ("export", surrogate, "--format", "c", "--out", tmp_path / "a.cc"): "expected NAME.c",
        ("export", surrogate, "--format", "npz", "--out", out): "the name of an .npz file",
        ("export", surrogate, "--format", "pt2", "--out", out): "the name of a .pt2 file",
        ("export", surrogate, "--format", "tflite", "--out", out): "'tflite'",
        ("export", surrogate, "--format", "onnx", "--out", out): "the name of an .onnx file",
        ("export", surrogate, "--format", "jax", "--out", out): "expected NAME.py",
        ("export", surrogate, "--format", "ctypes", "--out", out): "expected NAME.py",
        ("export", surrogate, "--format", "fortran", "--out", out): "expected NAME.f90",
        ("export", surrogate, "--format", "c", "--out", tmp_path / "1.c"): "expected NAME.c",
        ("export", surrogate, "--format", "pt2", "--out", tmp_path / "a.pt2", "--method", "vj"): (
            "unknown method; did you mean 'vjp'?"
        ),
        ("export", surrogate, "--format", "npz", "--out", tmp_path / "a.npz", "--method", "vjp"): (
            "--method is for --format pt2 and onnx"
        ),
        ("export", data, "--format", "c", "--out", tmp_path / "a.c"): "not a whole surrogate file",
        ("plot", "history", data, "--out", tmp_path / "a.png"): "cannot read the history",
        ("plot", "parity", surrogate, data, "--out", tmp_path / "a.bmp"): "endings",
        ("merge", data, data, "--out", tmp_path / "a.h5"): "are there twice",
    }
    for words, message in cases.items():
        assert message in refused(capsys, *words), words
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_stops_reading_is_no_error(folder):
    line = f"{sys.executable} -m surrogates info {folder / 'map.h5'} | true"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_standard_files_that_are_closed_are_no_error(folder, tmp_path, closed):
    # Nor does a file that is opened later get the number of one, and what is printed.
    out = tmp_path / "map.h5"
    line = f"{sys.executable} -m surrogates import {folder / 'map.npz'} --out {out} {closed}"
    assert subprocess.run(["bash", "-c", line], timeout=60).returncode == 0
    assert Dataset.read(out).digest == Dataset.read(folder / "map.h5").digest


def test_the_module_is_the_command():
    words = [sys.executable, "-m", "surrogates", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("surrogates 0.")


@pytest.mark.fenicsx
@pytest.mark.parametrize("module", ISOLATION)
def test_parts_import_only_what_is_theirs(module):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint(ISOLATION[module])
    assert loaded.isdisjoint({"pde", "training"})  # the names of other packages
