"""The commands as users run them: the whole path, and one clear line for each mistake."""

import contextlib
import csv
import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import surrogates
from surrogates import cli
from surrogates.data import Dataset, Split
from surrogates.export import npz

QUICK = ("--effort", "fast", "--set", "stopping.work_units=130", "--set", "network.width=4")


def run(*words: object) -> int:
    try:
        return cli.main([str(word) for word in words])
    except SystemExit as stop:  # argparse's
        return int(stop.code or 0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(capsys, *words: object) -> str:
    """Return the error line of a command that must refuse."""
    capsys.readouterr()
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with an imported dataset of a smooth map and a surrogate of it."""
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    Y = rng.random((120, 3))
    A = rng.normal(size=(3, 5))
    np.savez(folder / "map.npz", Y=Y, C=2 + np.tanh(Y @ A) + 0.1 * (Y @ A) ** 2)
    assert run("import", folder / "map.npz", "--out", folder / "map.h5") == 0
    assert run("train", folder / "map.h5", "--out", folder / "map.pt", *QUICK) == 0
    return folder


def test_training_leaves_a_surrogate_and_its_history_and_a_checkpoint_and_nothing_else(
    folder, tmp_path
):
    assert run("train", folder / "map.h5", "--out", tmp_path / "a.pt", *QUICK) == 0
    assert names(tmp_path) == ["a.checkpoint", "a.history.jsonl", "a.pt"]


def test_training_does_not_begin_where_its_history_cannot_be_written(folder, tmp_path, capsys):
    (tmp_path / "a.history.jsonl").mkdir()
    assert run("train", folder / "map.h5", "--out", tmp_path / "a.pt", *QUICK) == 2
    assert "a.history.jsonl' is a folder; give the name of a file" in capsys.readouterr().err
    assert not (tmp_path / "a.pt").exists()


def trained(folder: Path, out: Path, *words: str, **more: str) -> Path:
    """Train in a process of its own: other tests in this one may have changed the last bits."""
    words = ("train", str(folder / "map.h5"), "--out", str(out), *QUICK, *words)
    command = [sys.executable, "-m", "surrogates", *words]
    environment = {**os.environ, **more}
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=environment)
    return out


@pytest.fixture(scope="module")
def apart(folder, tmp_path_factory) -> Path:
    return trained(folder, tmp_path_factory.mktemp("apart") / "map.pt")


def test_the_same_training_makes_the_same_bytes_in_any_process(folder, apart, tmp_path):
    files = apart, trained(folder, tmp_path / "other.pt", PYTHONHASHSEED="7")
    one, other = ({i.filename: i.CRC for i in zipfile.ZipFile(f).infolist()} for f in files)
    assert one == other
    assert files[0].read_bytes() == files[1].read_bytes()


def test_another_optimizer_leaves_the_same_files_and_its_name(folder, tmp_path, capsys):
    for words in (("--optimizer", "adam"), ("--set", "optimizer.name=adam")):
        assert run("train", folder / "map.h5", "--out", tmp_path / "a.pt", *QUICK, *words) == 0
        assert names(tmp_path) == ["a.checkpoint", "a.history.jsonl", "a.pt"]
        capsys.readouterr()
        assert run("info", tmp_path / "a.pt") == 0
        assert "training:         adam, " in capsys.readouterr().out


def test_evaluate_prints_the_error_that_a_user_would_compute(folder, capsys):
    capsys.readouterr()
    assert run("evaluate", folder / "map.pt", folder / "map.h5", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    Y, C = Dataset.read(folder / "map.h5").part("test")
    np.save(folder / "y.npy", Y)
    assert (
        run("predict", folder / "map.pt", "--in", folder / "y.npy", "--out", folder / "c.npy") == 0
    )
    c = np.load(folder / "c.npy")
    errors = np.linalg.norm(c - C, axis=1) / np.linalg.norm(C, axis=1)
    assert np.isclose(printed["relative"]["mean"], errors.mean(), rtol=1e-9)
    assert np.isclose(printed["relative"]["max"], errors.max(), rtol=1e-9)
    assert errors.mean() < 0.1


def test_predictions_are_the_same_from_every_kind_of_table(folder):
    Y = Dataset.read(folder / "map.h5").part("test")[0]
    np.save(folder / "in.npy", Y)
    np.savetxt(folder / "in.csv", Y, delimiter=",", fmt="%.17g")
    for kind in ("npy", "csv"):
        words = ("--in", folder / f"in.{kind}", "--out", folder / f"out_{kind}.npy")
        assert run("predict", folder / "map.pt", *words) == 0
    assert np.array_equal(np.load(folder / "out_npy.npy"), np.load(folder / "out_csv.npy"))


def test_every_exported_form_predicts_the_same(folder, tmp_path):
    pytest.importorskip("torch", minversion="2.6", reason="torch.export cannot before")
    surrogate = surrogates.load(folder / "map.pt")
    Y = Dataset.read(folder / "map.h5").part("test")[0]
    for kind in ("c", "npz", "pt2"):
        out = tmp_path / f"map.{kind}"
        assert run("export", folder / "map.pt", "--format", kind, "--out", out) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"map.c", "map.h", "map.npz", "map.pt2"}
    assert "void map_forward(" in (tmp_path / "map.h").read_text()
    program = torch.export.load(tmp_path / "map.pt2").module()
    for c in (npz.load(tmp_path / "map.npz").predict(Y), program(torch.from_numpy(Y))):
        np.testing.assert_allclose(c, surrogate.predict(Y), rtol=1e-12)


def test_a_sample_of_zeros_has_no_relative_error_and_every_command_says_so(
    folder, tmp_path, capsys
):
    arrays = np.load(folder / "map.npz")
    C = arrays["C"].copy()
    C[:, 2] = 0
    C[::6] = 0
    np.savez(tmp_path / "zero.npz", Y=arrays["Y"], C=C)
    assert run("import", tmp_path / "zero.npz", "--out", tmp_path / "zero.h5") == 0
    assert run("train", tmp_path / "zero.h5", "--out", tmp_path / "zero.pt", *QUICK) == 0
    assert run("info", tmp_path / "zero.pt") == 0
    both = (tmp_path / "zero.pt", tmp_path / "zero.h5")
    assert run("evaluate", *both) == 0
    text = capsys.readouterr().out
    assert text.count("undefined, as a sample has c = 0") >= 4
    assert "nan" not in text and text.count("worst ") == 3 and "(c2)" not in text
    assert run("evaluate", *both, "--json") == 0
    printed = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert printed["relative"]["mean"] is None
    assert printed["output_rms"][2] < 1e-9


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


def test_every_plot_is_a_picture(folder):
    assert run("plot", "history", folder / "map.history.jsonl", "--out", folder / "h.png") == 0
    for kind in ("parity", "observations"):
        words = (folder / "map.pt", folder / "map.h5", "--out", folder / f"{kind}.png")
        assert run("plot", kind, *words) == 0
    for name in ("h", "parity", "observations"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.fenicsx
def test_the_solution_is_drawn(tmp_path):
    assert run("plot", "model", "cdr", "--out", tmp_path / "u.png") == 0
    assert (tmp_path / "u.png").stat().st_size > 10_000


def signalled(monkeypatch, kind: int, times: int) -> None:
    """Let the second iteration of a training send signals to this process."""
    from surrogates.training import train

    whole = train.fit

    def interrupted(*args, on_iteration, **kwargs):
        def send(record):
            on_iteration(record)
            for _ in range(times * (record.iteration == 2)):
                os.kill(os.getpid(), kind)

        return whole(*args, on_iteration=send, **kwargs)

    monkeypatch.setattr(train, "fit", interrupted)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_saves_its_best_and_goes_on_to_the_same_surrogate(
    folder, tmp_path, kind, monkeypatch, capsys
):
    words = ("train", folder / "map.h5", "--out", tmp_path / "again.pt", *QUICK)
    before = signal.getsignal(kind)
    with monkeypatch.context() as patch:
        signalled(patch, kind, 1)
        assert run(*words) == 130
    assert signal.getsignal(kind) is before
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == (
        f"error: interrupted; {tmp_path / 'again.pt'} has the best weights so far, --resume goes on"
    )
    assert "(it was interrupted)" in told.out
    assert len((tmp_path / "again.history.jsonl").read_text().splitlines()) == 2
    assert run("evaluate", tmp_path / "again.pt", folder / "map.h5") == 0
    before = (tmp_path / "again.checkpoint").read_bytes()
    assert "go on with --resume, or remove it" in refused(capsys, *words)
    assert (tmp_path / "again.checkpoint").read_bytes() == before
    assert run(*words, "--resume") == 0
    assert names(tmp_path) == ["again.checkpoint", "again.history.jsonl", "again.pt"]
    Y = Dataset.read(folder / "map.h5").part("test")[0]
    np.save(tmp_path / "y.npy", Y)
    found = []
    for path in (folder / "map.pt", tmp_path / "again.pt"):
        out = tmp_path / "c.npy"
        assert run("predict", path, "--in", tmp_path / "y.npy", "--out", out) == 0
        found.append(np.load(out))
    assert np.array_equal(*found)


def test_a_second_interruption_ends_at_once(folder, tmp_path, monkeypatch, capsys):
    signalled(monkeypatch, signal.SIGINT, 2)
    assert run("train", folder / "map.h5", "--out", tmp_path / "again.pt", *QUICK) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["again.checkpoint"]


def test_mistakes_are_one_clear_line(folder, tmp_path, capsys):
    data, surrogate, out = folder / "map.h5", folder / "map.pt", tmp_path / "out.pt"
    train = ("train", data, "--out", out)
    cases = {
        ("generate", "cdrr"): "unknown problem 'cdrr'; did you mean 'cdr'?",
        ("train",): "F.h5",
        ("train", data, "--optimizer", "sgdd"): "unknown optimizer 'sgdd'",
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
        ("export", surrogate, "--format", "onnx", "--out", out): "'onnx'",
        ("export", surrogate, "--format", "c", "--out", tmp_path / "1.c"): "expected NAME.c",
        ("export", surrogate, "--format", "pt2", "--out", tmp_path / "a.pt2", "--method", "vj"): (
            "unknown method; did you mean 'vjp'?"
        ),
        ("export", surrogate, "--format", "npz", "--out", tmp_path / "a.npz", "--method", "vjp"): (
            "--method is for --format pt2"
        ),
        ("export", data, "--format", "c", "--out", tmp_path / "a.c"): "not a whole surrogate file",
        ("plot", "history", data, "--out", tmp_path / "a.png"): "cannot read the history",
        ("plot", "parity", surrogate, data, "--out", tmp_path / "a.bmp"): "endings",
        ("merge", data, data, "--out", tmp_path / "a.h5"): "are there twice",
    }
    for words, message in cases.items():
        assert message in refused(capsys, *words), words
    assert list(tmp_path.iterdir()) == []


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


def test_runs_of_one_name_are_all_drawn(folder, tmp_path, monkeypatch):
    from surrogates.plots import history

    drawn = []
    monkeypatch.setattr(history, "history", lambda records, *_, **__: drawn.append(list(records)))
    (tmp_path / "map.history.jsonl").write_bytes((folder / "map.history.jsonl").read_bytes())
    (tmp_path / "lr0.1.history.jsonl").write_bytes((folder / "map.history.jsonl").read_bytes())
    paths = [str(tmp_path / f"{name}.history.jsonl") for name in ("map", "lr0.1")]
    assert run("plot", "history", *paths, "--out", tmp_path / "h.png") == 0
    both = [str(folder / "map.history.jsonl"), paths[0]]
    assert run("plot", "history", *both, "--out", tmp_path / "h.png") == 0
    assert drawn == [["map", "lr0.1"], both]


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


def test_training_needs_no_test_samples(folder, capsys):
    words = ("import", folder / "map.npz", "--out", folder / "all.h5", "--split", "100/20/0")
    assert run(*words) == 0
    capsys.readouterr()
    assert run("train", folder / "all.h5", "--out", folder / "all.pt", *QUICK) == 0
    assert "validation" in (text := capsys.readouterr().out) and "test:" not in text
    assert "has no test samples" in refused(
        capsys, "evaluate", folder / "all.pt", folder / "all.h5"
    )


def test_no_command_writes_over_a_dataset(folder, capsys):
    data, before = folder / "map.h5", (folder / "map.h5").read_bytes()
    assert "is a dataset" in refused(capsys, "train", data, "--out", data)
    assert "is a dataset" in refused(
        capsys, "predict", folder / "map.pt", "--in", data, "--out", data
    )
    assert data.read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ("import", "map.npz", "--out", "new.h5", "--split", "60/30/30"),
        ("merge", "map.h5", "--out", "new.h5"),
        ("predict", "map.pt", "--in", "map.h5", "--out", "new.csv"),
        ("predict", "map.pt", "--in", "map.h5", "--out", "new.npy"),
        ("predict", "map.pt", "--in", "map.h5", "--out", "new.h5"),
        ("export", "map.pt", "--format", "c", "--out", "new.c"),
        ("export", "map.pt", "--format", "npz", "--out", "new.npz"),
        ("export", "map.pt", "--format", "pt2", "--out", "new.pt2"),
        ("plot", "parity", "map.pt", "map.h5", "--out", "new.png"),
    ],
    ids=lambda words: f"{words[0]} {words[-1] if words[0] in ('predict', 'export') else ''}",
)
def test_a_disk_that_is_full_is_one_clear_line_and_leaves_nothing_half_written(
    folder, monkeypatch, capsys, words
):
    if "new.pt2" in words:
        pytest.importorskip("torch", minversion="2.6", reason="torch.export cannot before")
    before = names(folder)
    monkeypatch.chdir(folder)
    with full_disk():
        status = run(*words)
    error = capsys.readouterr().err
    assert status == 1, error
    assert error.startswith("error: cannot write new.")
    assert error.count("\n") == 1
    assert names(folder) == before


@contextlib.contextmanager
def full_disk(limit: int = 3000) -> Iterator[None]:
    """Let no file have more bytes: the system refuses them, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def on_a_full_disk(
    folder: Path, *words: str, limit: int = 3000, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a process on a full disk, whose limit it inherits."""
    with full_disk(limit):
        return subprocess.run(
            [sys.executable, "-m", "surrogates", *words],
            cwd=folder,
            env={**os.environ, **more},
            capture_output=True,
            text=True,
            timeout=240,
        )


@pytest.mark.thorough
def test_a_training_whose_surrogate_has_no_room_is_in_its_checkpoint(folder, apart, tmp_path):
    words = ("train", str(folder / "map.h5"), "--out", "new.pt", *QUICK)
    room = (folder / "map.checkpoint").stat().st_size + 4000
    assert room < (folder / "map.pt").stat().st_size
    done = on_a_full_disk(tmp_path, *words, limit=room)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: cannot write new.pt: File too large; the training is in new.checkpoint: make room, "
        "and --resume writes it"
    )
    assert names(tmp_path) == ["new.checkpoint"]
    trained(folder, tmp_path / "new.pt", "--resume")
    Y = Dataset.read(folder / "map.h5").Y
    found, expected = (surrogates.load(path).predict(Y) for path in (tmp_path / "new.pt", apart))
    assert np.array_equal(found, expected)


@pytest.mark.thorough
def test_a_training_that_finds_no_room_at_all_says_so_and_leaves_nothing(folder, tmp_path):
    (tmp_path / "temporary").mkdir()
    words = ("train", str(folder / "map.h5"), "--out", "new.pt", *QUICK)
    done = on_a_full_disk(tmp_path, *words, TMPDIR=str(tmp_path / "temporary"))
    assert done.returncode == 1
    warned = [line for line in done.stderr.splitlines() if "new.checkpoint" in line]
    assert warned == [
        f"WARNING: cannot write {tmp_path / 'new.checkpoint'}: File too large; the training goes "
        "on, and tries it again"
    ]
    assert done.stderr.splitlines()[-1] == "error: cannot write new.pt: File too large"
    assert names(tmp_path) == ["temporary"]
    assert names(tmp_path / "temporary") == []


@pytest.mark.thorough
def test_a_surrogate_without_room_is_kept_in_a_temporary_folder(folder, apart, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(disk)]
    able = os.geteuid() == 0 and shutil.which("mount")
    if not able or subprocess.run(mount, capture_output=True, timeout=20).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        words = ("train", str(folder / "map.h5"), "--out", str(disk / "new.pt"), *QUICK)
        done = on_a_full_disk(tmp_path, *words, limit=10**9, TMPDIR=str(tmp_path))
        assert names(disk) == []
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True, timeout=20)
    assert done.returncode == 1
    (kept,) = tmp_path.glob("surrogates-*/new.pt")
    assert done.stderr.splitlines()[-1] == (
        f"error: cannot write {disk / 'new.pt'}: No space left on device; the surrogate is in "
        f"{kept}: move it"
    )
    assert kept.parent.stat().st_mode & 0o077 == 0
    Y = Dataset.read(folder / "map.h5").Y
    expected = surrogates.load(apart).predict(Y)
    assert np.array_equal(surrogates.load(kept).predict(Y), expected)


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


# What training says


FEW = ("--effort", "fast", "--set", "stopping.work_units=40", "--set", "network.width=4")


def imported(folder: Path, Y, C, *words: object) -> Path:
    """Import arrays; give the dataset's path."""
    np.savez(folder / "made.npz", Y=Y, C=C)
    assert run("import", folder / "made.npz", "--out", folder / "made.h5", *words) == 0
    return folder / "made.h5"


def over_spread(surrogate, data: Dataset, part: str, seen=("train",)):
    """Compute what training and evaluate say of each output."""
    Y, C = data.part(part)
    spread = np.concatenate([data.part(name)[1] for name in seen]).std(axis=0)
    return np.sqrt(((surrogate.predict(Y) - C) ** 2).mean(axis=0)) / spread


def test_the_error_over_spread_is_the_one_that_a_user_would_compute(folder, tmp_path, capsys):
    out = tmp_path / "a.pt"
    capsys.readouterr()
    assert run("train", folder / "map.h5", "--out", out, *QUICK) == 0
    printed = capsys.readouterr().out
    surrogate, data = surrogates.load(out), Dataset.read(folder / "map.h5")
    for part in ("validation", "test"):
        errors = over_spread(surrogate, data, part)
        assert 1e-3 < errors.max() < 0.5
        said = f"median {np.median(errors):.4f}, worst {errors.max():.4f} (c{errors.argmax()})"
        assert f"error over spread, {part + ':':<12}{said}\n" in printed
    assert run("evaluate", out, folder / "map.h5") == 0
    assert f"error over spread: {said}\n" in capsys.readouterr().out
    assert run("evaluate", out, folder / "map.h5", "--json") == 0
    found = json.loads(capsys.readouterr().out)["output_spread"]
    np.testing.assert_allclose(found, errors, rtol=1e-9)


def test_the_history_holds_the_errors_over_spread_on_validation(folder):
    from surrogates.training import history

    records = history.read(folder / "map.history.jsonl")
    best = min(records, key=lambda record: record.validation_loss)
    surrogate, data = surrogates.load(folder / "map.pt"), Dataset.read(folder / "map.h5")
    errors = over_spread(surrogate, data, "validation")
    # Of an odd number of outputs, whose median is one of them.
    assert best.validation_median == pytest.approx(np.median(errors), rel=1e-6)
    assert best.validation_worst == pytest.approx(errors.max(), rel=1e-6)
    assert records[0].validation_worst > best.validation_worst


def test_training_warns_of_outputs_that_are_badly_fitted_and_of_few_samples(tmp_path, capsys):
    rng = np.random.default_rng(0)
    Y = rng.random((60, 35))
    data = imported(tmp_path, Y, np.c_[Y @ rng.normal(size=35), rng.normal(size=60)])
    capsys.readouterr()
    assert run("train", data, *FEW) == 0
    said = capsys.readouterr().err
    poor = over_spread(surrogates.load(data.with_suffix(".pt")), Dataset.read(data), "test")
    assert poor[1] > 0.5
    start = "warning: badly fitted, by their error over their spread on test: "
    assert f"{start}c1 {poor[1]:.2f}" in said
    assert "warning: 54 samples of 35 inputs are fewer than 2 for each" in said
    assert "lies far from" not in said
    assert run("evaluate", data.with_suffix(".pt"), data) == 0
    assert f"{start}c1 {poor[1]:.2f}" in capsys.readouterr().err


def test_training_warns_where_a_ridge_regression_is_better(folder, tmp_path, capsys):
    rng = np.random.default_rng(0)
    Y = rng.random((60, 3))
    data = imported(tmp_path, Y, Y @ rng.normal(size=(3, 2)))
    warning = "warning: linear ridge regression on the same rows has less error on the test samples"
    capsys.readouterr()
    assert run("train", data, *FEW) == 0
    assert f"{warning} than this surrogate: take --effort default" in capsys.readouterr().err
    words = ("--effort", "fast", "--set", "stopping.work_units=800")
    assert run("train", folder / "map.h5", "--out", tmp_path / "map.pt", *words) == 0
    assert "regression on the same rows" not in capsys.readouterr().err


def test_training_warns_of_test_samples_that_it_has_seen(tmp_path, capsys):
    rng = np.random.default_rng(0)
    Y = np.repeat(rng.random((30, 3)), 2, axis=0)
    data = imported(tmp_path, Y, np.sin(Y @ rng.normal(size=(3, 2))))
    split = Dataset.read(data).split
    n = sum(split[i ^ 1] < Split.TEST for i in np.flatnonzero(split == Split.TEST))
    assert n > 0
    capsys.readouterr()
    assert run("train", data, *FEW) == 0
    own = (split == Split.TEST).sum()
    warning = f"warning: {n} of {own} test samples have the inputs of a sample that is trained on"
    assert warning in capsys.readouterr().err


def test_training_names_an_outlier_and_leaves_out_what_it_is_told_to(tmp_path, capsys):
    rng = np.random.default_rng(0)
    Y = rng.random((60, 3))
    C = np.sin(Y @ rng.normal(size=(3, 2)))
    data = imported(tmp_path, Y, C)
    row = int(np.flatnonzero(Dataset.read(data).split == 0)[5])
    C[row, 1] = 1e6
    data.unlink()
    imported(tmp_path, Y, C)
    capsys.readouterr()
    assert run("train", data, *FEW) == 0
    said = capsys.readouterr()
    assert f"warning: sample {row} (from 0) lies far from all others, by up to " in said.err
    assert "robust deviations (c1), and may decide the fit: --exclude leaves it out" in said.err
    assert ".pt: 48 training samples" in said.out
    assert run("train", data, *FEW, "--exclude", row) == 0
    said = capsys.readouterr()
    assert "lies far from" not in said.err and ".pt: 47 training samples" in said.out
    errors = over_spread(surrogates.load(data.with_suffix(".pt")), Dataset.read(data), "test")
    assert errors[1] < 1e-4  # over a spread that the outlier makes


def test_a_relative_error_that_says_little_says_so(folder, tmp_path, capsys):
    arrays = np.load(folder / "map.npz")
    C = arrays["C"] - arrays["C"].mean(axis=0)
    C[::4] *= 1e-4
    data = imported(tmp_path, arrays["Y"], C)
    near = int((Dataset.read(data).part("test")[1] ** 2).sum(axis=1).__lt__(1e-4).sum())
    assert near > 0
    capsys.readouterr()
    assert run("train", data, *FEW) == 0
    assert run("evaluate", data.with_suffix(".pt"), data) == 0
    printed = capsys.readouterr().out
    assert printed.count(f" (says little: c is near 0 in {near} samples)\n") == 2
    assert run("evaluate", folder / "map.pt", folder / "map.h5") == 0
    assert "says little" not in capsys.readouterr().out


# Logarithms


@pytest.fixture(scope="module")
def logarithmic(tmp_path_factory) -> Path:
    """A dataset of positive y and c0, which spans two decades, and of c1 that has both signs."""
    rng = np.random.default_rng(0)
    Y = rng.uniform(0.5, 2, (120, 2))
    C = np.c_[np.exp(4 * Y[:, 0] * np.sin(Y[:, 1]) - 3), Y[:, 0] - Y[:, 1]]
    return imported(tmp_path_factory.mktemp("log"), Y, C)


@pytest.mark.parametrize("words", [(), ("--log-inputs", "all")], ids=["outputs", "inputs"])
def test_logarithms_give_positive_physical_outputs_and_their_derivatives(
    logarithmic, tmp_path, words
):
    out = tmp_path / "log.pt"
    plan = ("--effort", "fast", "--set", "stopping.work_units=600")
    assert run("train", logarithmic, "--out", out, "--log", "c0", *words, *plan) == 0
    surrogate = surrogates.load(out)
    Y, C = Dataset.read(logarithmic).part("test")
    c = surrogate.predict(Y)
    assert np.abs(c[:, 0] / C[:, 0] - 1).max() < 0.1 and np.abs(c[:, 1] - C[:, 1]).max() < 0.1
    assert C[:, 0].max() > 50 * C[:, 0].min()
    far = np.array([[0.01, 9.0], [9.0, 0.01], [30.0, 30.0]])
    assert (surrogate.predict(far)[:, 0] > 0).all() or words
    step = 1e-6
    for j in range(2):
        e = step * np.eye(2)[j]
        difference = (surrogate.predict(Y + e) - surrogate.predict(Y - e)) / (2 * step)
        np.testing.assert_allclose(surrogate.jacobian(Y)[:, :, j], difference, rtol=1e-6, atol=1e-7)
    low, high = np.moveaxis(surrogate.predict_interval(Y, 0.9), 1, 0)
    assert (0 < low[:, 0]).all() and (high - c > c - low)[:, 0].all()
    np.testing.assert_allclose(low[:, 0] * high[:, 0], c[:, 0] ** 2, rtol=1e-10)
    np.testing.assert_allclose((high - c)[:, 1], (c - low)[:, 1], rtol=1e-7)


def test_a_value_without_a_logarithm_is_named(logarithmic, tmp_path, capsys):
    data = Dataset.read(logarithmic)
    row = int(np.flatnonzero(data.C[:, 1] <= 0)[0])
    number = int((data.C[:, 1] <= 0).sum())
    words = ("train", logarithmic, "--out", tmp_path / "a.pt")
    for log in ("c1", "all"):
        error = refused(capsys, *words, "--log", log)
        value = data.C[row, 1]
        message = f"c1 of sample {row} is {value:g}: it has no logarithm ({number} such values)"
        assert message in error
    assert list(tmp_path.iterdir()) == []


# Resumed with more work, and chosen by held-out errors


def test_a_finished_training_goes_on_with_more_work_and_with_the_same_is_done(
    folder, tmp_path, capsys
):
    data, out = folder / "map.h5", tmp_path / "a.pt"
    history = tmp_path / "a.history.jsonl"
    assert run("train", data, "--out", out, *QUICK) == 0
    first, Y = history.read_text().splitlines(), Dataset.read(data).part("test")[0]
    before = surrogates.load(out).predict(Y)
    assert run("train", data, "--out", out, *QUICK, "--resume") == 0
    assert history.read_text().splitlines() == first
    assert np.array_equal(surrogates.load(out).predict(Y), before)
    more = (*QUICK[:2], "--set", "stopping.work_units=400", *QUICK[4:])
    assert run("train", data, "--out", out, *more, "--resume") == 0
    longer = history.read_text().splitlines()
    assert len(longer) > len(first) and longer[: len(first)] == first
    other = (*more, "--set", "regularisation.alpha1=1e-3", "--resume")
    assert "alpha1 is 1e-06 there" in refused(capsys, "train", data, "--out", out, *other)
    # Without --resume a finished training is done anew.
    assert run("train", data, "--out", out, *QUICK) == 0
    assert len(history.read_text().splitlines()) == len(first)


SMALL_CHOICE = (
    "--set",
    "network.kind=mlp",
    "--set",
    "network.width=4",
    "--set",
    "stopping.work_units=60",
)


def test_the_default_is_chosen_by_held_out_errors(folder, tmp_path, capsys):
    data, out = folder / "map.h5", tmp_path / "a.pt"
    assert run("train", data, "--out", out, *SMALL_CHOICE, "--effort", "fast") == 0
    capsys.readouterr()
    words = ("train", data, "--out", out, *SMALL_CHOICE)
    assert "no checkpoint is kept of a choice" in refused(capsys, *words, "--resume")
    assert run(*words) == 0
    printed = capsys.readouterr().out
    assert names(tmp_path) == ["a.history.jsonl", "a.pt"]
    tried = printed.split("tried, error over spread:      ")[1].splitlines()[0].split(", alpha1 ")
    assert len(tried) >= 2 and all("mlp 4" in name for name in tried[:-1])  # what was given stays
    assert "error over spread, held out:   median " in printed and ", test:       " in printed
    assert "\nmembers:                       " in printed
    surrogate = surrogates.load(out)
    assert surrogate.n_members == surrogate.metadata["training"]["members"] >= 5
    errors = over_spread(surrogate, Dataset.read(data), "test", ("train", "validation"))
    assert f"(c{errors.argmax()})" in printed and f"worst {errors.max():.4f}" in printed
    before = out.read_bytes()
    assert run(*words, "--resume") == 0
    assert "nothing is left to do" in capsys.readouterr().out and out.read_bytes() == before


def test_an_interrupted_choice_writes_nothing_and_says_so(folder, tmp_path, monkeypatch, capsys):
    from surrogates.training import pool, train

    def interrupted(*_, **__):
        raise pool.Interrupted

    monkeypatch.setattr(train, "choose", interrupted)
    capsys.readouterr()
    assert run("train", folder / "map.h5", "--out", tmp_path / "a.pt") == 130
    assert capsys.readouterr().err == (
        "error: interrupted before anything was chosen; nothing is written\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_few_samples_are_fitted_without_a_network(tmp_path, capsys):
    rng = np.random.default_rng(0)
    Y = rng.random((16, 2))
    data = imported(tmp_path, Y, np.sin(Y @ rng.normal(size=(2, 3))))
    capsys.readouterr()
    assert run("train", data) == 0
    printed = capsys.readouterr().out
    assert "linear ridge" in printed and "mlp" not in printed
    history = data.with_suffix(".history.jsonl")
    assert history.read_text() == ""
    message = "the history is empty"
    assert message in refused(capsys, "plot", "history", history, "--out", tmp_path / "a.png")
    assert run("evaluate", data.with_suffix(".pt"), data) == 0


def test_radial_basis_functions_are_fitted_whatever_the_effort(tmp_path, capsys):
    rng = np.random.default_rng(0)
    Y = rng.random((40, 2))
    data = imported(tmp_path, Y, np.sin(3 * Y @ rng.normal(size=(2, 1))))
    words = (
        "--set",
        "network.kind=rbf",
        "--set",
        "network.kernel=matern52",
        "--set",
        "network.trend=1",
    )
    assert run("train", data, *words, "--effort", "fast") == 0
    printed = capsys.readouterr().out
    assert "(rbf matern52, linear trend)" in printed and "ridge" not in printed
    surrogate = surrogates.load(data.with_suffix(".pt"))
    assert surrogate.metadata["training"]["chosen"] == "rbf matern52, linear trend"
    assert run("info", data.with_suffix(".pt")) == 0
    assert "chosen:           rbf matern52, linear trend" in capsys.readouterr().out


@pytest.mark.thorough
@pytest.mark.parametrize(("n", "n_in", "n_out"), [(30, 4, 5000), (60, 300, 3)])
def test_wide_sets_are_trained_at_the_default_effort(tmp_path, capsys, n, n_in, n_out):
    rng = np.random.default_rng(0)
    Y = rng.random((n, n_in))
    waves = np.sin(Y[:, :4] @ rng.normal(size=(4, 3)))
    data = imported(tmp_path, Y, waves @ rng.normal(size=(3, n_out)))
    capsys.readouterr()
    assert run("train", data) == 0
    said = capsys.readouterr()
    assert "tried, error over spread:" in said.out
    assert ("are fewer than 2 for each" in said.err) is (n_in > n)
    surrogate = surrogates.load(data.with_suffix(".pt"))
    errors = over_spread(surrogate, Dataset.read(data), "test", ("train", "validation"))
    assert np.median(errors) < (1.5 if n_in > n else 0.3)
    assert surrogate.jacobian(Y[0]).shape == (n_out, n_in)


@pytest.fixture(scope="module")
def classes(tmp_path_factory) -> Path:
    """A folder with a dataset of three classes, of which ``b, c`` is rare, and a classifier."""
    folder = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    Y = rng.uniform(-1, 1, (300, 2))
    labels = np.digitize(Y[:, 0] ** 2 + Y[:, 1] + 0.1 * rng.normal(size=300), [0.3, 0.45])
    np.savez(folder / "map.npz", Y=Y, C=labels)
    words = ("--task", "classification", "--split", "150/100/50")
    assert run("import", folder / "map.npz", "--out", folder / "plain.h5", *words) == 0
    plain = Dataset.read(folder / "plain.h5")
    info = dataclasses.replace(plain.info, c_names=("a", "b, c", "100 % d"))
    dataclasses.replace(plain, info=info).write(folder / "map.h5")
    assert run("train", folder / "map.h5", "--out", folder / "map.pt", *QUICK) == 0
    return folder


def test_a_classifier_is_trained_and_described_by_its_accuracy(classes, tmp_path, capsys):
    capsys.readouterr()
    assert run("train", classes / "map.h5", "--out", tmp_path / "again.pt", *QUICK) == 0
    printed = capsys.readouterr().out
    loaded = surrogates.load(tmp_path / "again.pt")
    Y, C = Dataset.read(classes / "map.h5").part("validation")
    right = (loaded.predict(Y) == C.argmax(axis=1)).mean()
    assert right > 0.7
    accuracy = f"{100 * right:.1f} %"
    assert f"accuracy, validation:      {accuracy}, cross-entropy " in printed
    assert f"temperature:               {loaded.temperature:.4g}\n" in printed
    assert "relative error" not in printed and "error bars" not in printed
    assert run("info", tmp_path / "again.pt") == 0
    printed = capsys.readouterr().out
    assert "task:             classification\n" in printed
    assert "gives:            3 classes, a to 100 % d\n" in printed
    assert f"accuracy:         {accuracy} (validation), " in printed
    assert f"calibration:      temperature {loaded.temperature:.4g}, expected " in printed


def test_a_class_of_a_single_sample_is_warned_of(classes, tmp_path, capsys):
    data = Dataset.read(classes / "map.h5")
    C = np.eye(3)[np.where(data.C.argmax(axis=1) == 2, 1, data.C.argmax(axis=1))]
    C[np.flatnonzero(data.split == 0)[0]] = [0, 0, 1]
    dataclasses.replace(data, C=C).write(tmp_path / "one.h5")
    capsys.readouterr()
    assert run("train", tmp_path / "one.h5", *FEW) == 0
    assert "warning: classes with a single sample: 100 % d\n" in capsys.readouterr().err
    assert run("train", classes / "map.h5", "--out", tmp_path / "a.pt", *FEW) == 0
    assert "single sample" not in capsys.readouterr().err


def test_a_classifier_is_chosen_by_held_out_cross_entropies(classes, tmp_path, capsys):
    data, out = classes / "map.h5", tmp_path / "a.pt"
    words = ("train", data, "--out", out, *SMALL_CHOICE, "--set", "network.cells=1")
    capsys.readouterr()
    assert run(*words) == 0
    printed = capsys.readouterr().out
    tried = printed.split("tried, wrong and cross-entropy: ")[1].splitlines()[0].split("; ")
    assert tried and all(name.startswith("mlp 4, alpha1 ") for name in tried)  # what was given
    loaded = surrogates.load(out)
    about = loaded.metadata["training"]
    assert about["effort"] == "default" and about["samples"] == 250
    best = about["tried"][0]
    assert f"{best['name']}: {100 * best['error']:.1f} %, {best['cross_entropy']:.3g}" in tried
    assert f"\nmembers:                       {about['members']}; a call costs" in printed
    assert about["members"] >= 5
    held = loaded.metadata["errors"]["validation"]
    assert held["samples"] == 250
    assert f"accuracy, held out:        {100 * held['accuracy']:.1f} %, cross-entropy " in printed
    Y, C = Dataset.read(data).part("test")
    right = (loaded.predict(Y) == C.argmax(axis=1)).mean()
    assert f"accuracy, test:            {100 * right:.1f} %" in printed and right > 0.7
    assert run("evaluate", out, data, "--split", "validation") == 0
    assert "it has been trained on these samples too" in capsys.readouterr().err
    before = out.read_bytes()
    assert run(*words, "--resume") == 0
    assert out.read_bytes() == before


def test_a_chosen_classifier_of_several_kinds_is_the_same_in_every_export(
    classes, tmp_path, monkeypatch
):
    pytest.importorskip("torch", minversion="2.6", reason="torch.export cannot before")
    from surrogates.training.selection import classes as choice

    def all_of(logits, C):
        return np.full(len(logits), 1 / len(logits))

    small = ({"network.kind": "mlp", "network.width": 4},)
    monkeypatch.setattr("surrogates.training.selection.entropy.NETWORKS", small)
    monkeypatch.setattr("surrogates.training.selection.class_candidates._SCALES", (1.0,))
    monkeypatch.setattr(choice, "mixed", all_of)
    monkeypatch.setattr(choice, "_PAYS", np.inf)
    out = tmp_path / "a.pt"
    assert run("train", classes / "map.h5", "--out", out, "--set", "stopping.work_units=60") == 0
    loaded = surrogates.load(out)
    chosen = loaded.metadata["training"]["chosen"]
    assert "linear" in chosen and "rbf" in chosen and "mlp 4" in chosen
    Y = Dataset.read(classes / "map.h5").part("test")[0]
    right = loaded.probabilities(Y)
    np.testing.assert_allclose(right.sum(axis=1), 1, rtol=1e-12)
    assert run("export", out, "--format", "npz", "--out", tmp_path / "a.npz") == 0
    plain = npz.load(tmp_path / "a.npz").probabilities(Y)
    np.testing.assert_allclose(plain, right, rtol=1e-6, atol=1e-9)
    words = ("--format", "pt2", "--method", "probabilities", "--out", tmp_path / "a.pt2")
    assert run("export", out, *words) == 0
    program = torch.export.load(tmp_path / "a.pt2").module()
    np.testing.assert_allclose(program(torch.from_numpy(Y)), right, rtol=1e-6, atol=1e-9)
    assert run("export", out, "--format", "c", "--out", tmp_path / "a.c") == 0
    assert "_probabilities(" in (tmp_path / "a.h").read_text()


def test_evaluate_prints_what_a_user_would_compute_of_a_classifier(classes, capsys):
    capsys.readouterr()
    both = (classes / "map.pt", classes / "map.h5")
    assert run("evaluate", *both, "--json") == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    loaded = surrogates.load(classes / "map.pt")
    Y, C = Dataset.read(classes / "map.h5").part("test")
    p, true = loaded.probabilities(Y), C.argmax(axis=1)
    right = p.argmax(axis=1) == true
    assert found["accuracy"] == pytest.approx(right.mean()) and found["samples"] == 50
    assert found["cross_entropy"] == pytest.approx(-np.log(p[C == 1]).mean())
    assert [sum(row) for row in found["confusion"]] == C.sum(axis=0).tolist()
    assert sum(bin["samples"] for bin in found["reliability"]) == 50
    assert run("evaluate", *both) == 0
    text = capsys.readouterr().out
    assert f"accuracy:         {100 * right.mean():.1f} %\n" in text
    worst = min(range(3), key=lambda k: right[true == k].mean())
    share = f"{100 * right[true == worst].mean():.1f} % of {(true == worst).sum()}"
    assert f"worst classes:    {loaded.class_names[worst]} {share}" in text
    last = p.max(axis=1) > 0.9
    mean = f"{100 * p.max(axis=1)[last].mean():.1f} %"
    share = f"{100 * right[last].mean():.1f} %"
    assert f"       90 to 100 %{mean:>9}{share:>10}{last.sum():9}\n" in text


def test_predictions_of_a_classifier_are_probabilities_and_in_a_csv_file_names(classes, tmp_path):
    Y = Dataset.read(classes / "map.h5").part("test")[0]
    np.save(tmp_path / "y.npy", Y)
    for kind in ("csv", "npy", "h5"):
        words = ("--in", tmp_path / "y.npy", "--out", tmp_path / f"p.{kind}")
        assert run("predict", classes / "map.pt", *words) == 0
    loaded = surrogates.load(classes / "map.pt")
    p = loaded.probabilities(Y)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), p)
    with h5py.File(tmp_path / "p.h5") as file:
        np.testing.assert_array_equal(file["C"], p)
        assert list(file["C"].attrs["names"]) == list(loaded.class_names)
    with open(tmp_path / "p.csv", newline="", encoding="utf-8") as text:
        first, *rows = csv.reader(text)
    assert first == ["class", *loaded.class_names]
    assert [row[0] for row in rows] == [loaded.class_names[k] for k in loaded.predict(Y)]
    np.testing.assert_array_equal(np.array([row[1:] for row in rows], dtype=float), p)


def test_a_classifier_is_exported_and_drawn_and_other_plots_name_its_own(
    classes, folder, tmp_path, capsys
):
    pytest.importorskip("torch", minversion="2.6", reason="torch.export cannot before")
    for kind in ("c", "npz", "pt2"):
        words = ("--format", kind, "--out", tmp_path / f"map.{kind}")
        assert run("export", classes / "map.pt", *words) == 0
        assert "2 parameters, 3 classes" in capsys.readouterr().out
    words = ("--format", "pt2", "--method", "probabilities", "--out", tmp_path / "p.pt2")
    assert run("export", classes / "map.pt", *words) == 0
    loaded, Y = surrogates.load(classes / "map.pt"), np.array([[0.1, 0.2], [-0.9, 0.4]])
    program = torch.export.load(tmp_path / "p.pt2").module()
    plain = npz.load(tmp_path / "map.npz")
    for p in (program(torch.from_numpy(Y)), plain.probabilities(Y)):
        np.testing.assert_allclose(p, loaded.probabilities(Y), rtol=1e-10)
    both = (classes / "map.pt", classes / "map.h5", "--out", tmp_path / "a.png")
    others = (folder / "map.pt", folder / "map.h5", "--out", tmp_path / "b.png")
    for plot in ("confusion", "reliability"):
        (tmp_path / "a.png").unlink(missing_ok=True)
        assert run("plot", plot, *both) == 0
        assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
        message = "is for regression: draw it by plot parity or observations"
        assert message in refused(capsys, "plot", plot, *others)
    (tmp_path / "a.png").unlink()
    for plot in ("parity", "observations"):
        message = "is for classification: draw it by plot confusion or reliability"
        assert message in refused(capsys, "plot", plot, *both)
    assert run("plot", "history", classes / "map.history.jsonl", "--out", tmp_path / "h.png") == 0
    assert not (tmp_path / "a.png").exists() and not (tmp_path / "b.png").exists()
    words = ("--format", "pt2", "--method", "predict_std", "--out", tmp_path / "std.pt2")
    assert "unknown method" in refused(capsys, "export", classes / "map.pt", *words)
    message = "map.pt is for regression; the dataset (map) is for classification"
    assert message in refused(capsys, "evaluate", folder / "map.pt", classes / "map.h5")


def test_the_module_is_the_command():
    words = [sys.executable, "-m", "surrogates", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("surrogates 0.")


ISOLATION = {
    "surrogates.pde.ensemble.generate": ("torch",),
    "surrogates.training.fit": ("dolfinx", "petsc4py", "mpi4py"),
    "surrogates.model.file": ("dolfinx", "petsc4py", "mpi4py"),
    "surrogates.cli": ("torch", "dolfinx", "petsc4py", "mpi4py"),
}


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
