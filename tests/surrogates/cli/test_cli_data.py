"""The commands import, append, info and verify, and files that are in the way."""

import subprocess
import sys

import numpy as np
import pytest
from commands import refused, run

from surrogates.data import Dataset

WRITER = """
import os, signal, sys
import h5py
file = h5py.File(sys.argv[1], "a", libver=("v110", "v110"))
if sys.argv[2] == "swmr":
    file.swmr_mode = True
file.flush()
if sys.argv[2] == "crash":
    os.kill(os.getpid(), signal.SIGKILL)
print("open", flush=True)
sys.stdin.read()
"""


def test_info_and_verify_name_what_a_file_is(folder, capsys):
    capsys.readouterr()
    assert run("info", folder / "map.h5") == 0
    assert run("verify", folder / "map.h5") == 0
    assert run("info", folder / "map.pt") == 0
    text = capsys.readouterr().out
    assert "120 samples, 3 parameters, 5 outputs" in text
    assert "all is well" in text
    assert "gnvpro, 96 samples" in text
    assert "test error:" in text and "near_zero" not in text
    assert "code:             functions of tensors alone" in text
    assert run("export", folder / "map.pt", "--format", "npz", "--out", folder / "info.npz") == 0
    capsys.readouterr()
    assert run("info", folder / "info.npz") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "code:             none: numbers and texts alone" in lines
    assert {line for line in lines if "code:" not in line} < set(text.splitlines())
    assert Dataset.read(folder / "map.h5").digest in text


def test_sizes_that_disagree_are_named(folder, tmp_path, capsys):
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "other.npz", Y=rng.random((30, 4)), C=rng.random((30, 5)))
    assert run("import", tmp_path / "other.npz", "--out", tmp_path / "other.h5") == 0
    error = refused(capsys, "evaluate", folder / "map.pt", tmp_path / "other.h5")
    assert "takes 3 parameters" in error
    np.save(tmp_path / "y.npy", rng.random((2, 4)))
    words = ("--in", tmp_path / "y.npy", "--out", tmp_path / "c.npy")
    assert "3" in refused(capsys, "predict", folder / "map.pt", *words)
    assert not (tmp_path / "c.npy").exists()


def test_a_truncated_file_is_refused(folder, tmp_path, capsys):
    for name, what in (("map.h5", "dataset"), ("map.pt", "surrogate")):
        whole = (folder / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        assert f"not a whole {what} file" in refused(capsys, "info", tmp_path / name)


def test_an_import_does_not_write_over_another_dataset(folder, tmp_path, capsys):
    before = (folder / "map.h5").read_bytes()
    words = ("import", folder / "map.npz", "--out", folder / "map.h5")
    assert "seed is 0 there and 1 here" in refused(capsys, *words, "--seed", "1")
    other = np.load(folder / "map.npz")
    np.savez(tmp_path / "map.npz", Y=other["Y"], C=2 * other["C"])
    words = ("import", tmp_path / "map.npz", "--out", folder / "map.h5")
    assert "its numbers differ" in refused(capsys, *words)
    assert (folder / "map.h5").read_bytes() == before


def test_an_import_says_what_a_user_ought_to_know(tmp_path, capsys):
    rng = np.random.default_rng(0)
    table = np.c_[np.arange(60), rng.random((60, 4))]
    table[:, 4] = 10 ** (5 * table[:, 4])
    table[[3, 17], 3] = np.nan
    table[41, 3] = 1e7
    names = ";depth;volume;load;flow"
    path, out = tmp_path / "a.txt", tmp_path / "a.h5"
    np.savetxt(path, table, delimiter=";", header=names, comments="", fmt="%.6g")
    assert run("import", path, "--inputs", "depth,volume", "--out", out) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}: 60 samples, 2 parameters, 2 outputs\n"
    lines = said.err.splitlines()
    assert lines[:2] == [
        "column 1, without a name, counts the samples and is left out",
        "2 samples of 60 have no finite c and are kept as failed: 3, 17",
    ]
    assert lines[2].startswith("warning: sample 41 is far from the others: ")
    assert lines[2].endswith(" robust deviations in load; --exclude 41 leaves it out")
    assert lines[3].startswith("flow spans ") and "train --log flow learns" in lines[3]
    assert len(lines) == 4
    words = ("import", path, "--inputs", "2", "--exclude", "41", "--missing", "mask")
    assert run(*words, "--out", tmp_path / "b.h5") == 0
    assert "2 of 118 entries of c are missing and masked, in 2 of 59" in capsys.readouterr().err
    assert run("info", tmp_path / "b.h5") == 0
    assert "missing in c:     2 entries, masked" in capsys.readouterr().out
    assert run("verify", tmp_path / "b.h5") == 0


def test_two_arrays_are_imported_and_sets_are_joined(tmp_path, capsys):
    rng = np.random.default_rng(0)
    Y, C = rng.random((20, 3)), rng.random((20, 2))
    np.save(tmp_path / "Y.npy", Y)
    np.save(tmp_path / "C.npy", C)
    sets = [tmp_path / "a.h5", tmp_path / "b.h5"]
    pair = (tmp_path / "Y.npy", tmp_path / "C.npy")
    assert run("import", *pair, "--out", sets[0]) == 0
    assert run("import", *pair, "--out", sets[1], "--split", "10/5/0", "--exclude", "0-4") == 0
    out = tmp_path / "c.h5"
    capsys.readouterr()
    assert run("append", *sets, "--out", out) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}: 35 samples from 2 files\n"
    assert said.err == (
        "samples that repeat the y and c of an earlier one: 15, all kept; the first is 20, "
        "which repeats 5\n"
    )
    found = Dataset.read(out)
    assert np.array_equal(found.Y, np.r_[Y, Y[5:]]) and np.array_equal(found.C, np.r_[C, C[5:]])
    assert "exists; it is left as it is" in refused(capsys, "append", *sets, "--out", sets[0])
    assert "takes one file or two" in refused(capsys, "import", *pair, pair[0], "--out", out)
    words = ("import", "indian_pines", "--inputs", "3", "--out", tmp_path / "d.h5")
    assert "--inputs is not for a scene" in refused(capsys, *words)


def test_no_command_writes_over_what_it_reads_or_what_is_not_its_own(folder, tmp_path, capsys):
    data, surrogate = folder / "map.h5", folder / "map.pt"
    for name in ("diary.pt", "y.csv"):
        (tmp_path / name).write_text("0.1,0.2,0.3\n")
    kept = {path: path.read_bytes() for path in (*tmp_path.iterdir(), surrogate)}
    cases = {
        ("train", data, "--out", tmp_path / "diary.pt"): "is not a surrogate; it is left as it is",
        ("train", data, "--out", tmp_path / "a.checkpoint"): "ends in .pt",
        ("train", data, "--out", "/dev/null"): "is a device or pipe",
        ("train", ""): "there is no file ''",
        ("predict", surrogate, "--in", tmp_path / "y.csv", "--out", tmp_path / "y.csv"): "an input",
        ("merge", data, "--out", data): "exists; it is left as it is",
        ("verify", data, "--max-residual", "nan"): "at least 0; got nan",
        ("verify", data, "--max-residual", "1"): "--max-residual must be below 1",
        ("verify", data, "--tolerance", "inf"): "--tolerance must be below 1",
    }
    for words, message in cases.items():
        assert message in refused(capsys, *words), words
    assert {path: path.read_bytes() for path in (*tmp_path.iterdir(), surrogate)} == kept


def test_no_command_writes_over_a_dataset(folder, capsys):
    data, before = folder / "map.h5", (folder / "map.h5").read_bytes()
    assert "is a dataset" in refused(capsys, "train", data, "--out", data)
    assert "is a dataset" in refused(
        capsys, "predict", folder / "map.pt", "--in", data, "--out", data
    )
    assert data.read_bytes() == before


@pytest.mark.parametrize("how", ["open", "swmr", "crash"])
def test_a_dataset_that_another_program_writes_is_said_to_be(folder, tmp_path, capsys, how):
    path = tmp_path / "used.h5"
    path.write_bytes((folder / "map.h5").read_bytes())
    right = f"error: {path} is open for writing in another program; close it there\n"
    if how != "open":
        right = (
            f"error: {path} is open for writing in another program, or one that crashed has left "
            f"it so: close it there, or h5clear -s {path}\n"
        )
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout.readline() == ("" if how == "crash" else "open\n")
        for words in (
            ("info", path),
            ("verify", path),
            ("train", path, "--out", tmp_path / "a.pt"),
            ("predict", folder / "map.pt", "--in", folder / "map.h5", "--out", path),
            ("predict", folder / "map.pt", "--in", path, "--out", tmp_path / "c.csv"),
        ):
            assert refused(capsys, *words) == right, words
