"""The commands that use a surrogate: evaluate, predict, export, plot."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import FEW, QUICK, imported, over_spread, run

import surrogates
from surrogates.data import Dataset
from surrogates.export import npz


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
    for kind in ("c", "npz", "pt2", "html"):
        out = tmp_path / f"map.{kind}"
        assert run("export", folder / "map.pt", "--format", kind, "--out", out) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"map.c", "map.h", "map.npz", "map.pt2", "map.html"}
    assert "void map_forward(" in (tmp_path / "map.h").read_text()
    program = torch.export.load(tmp_path / "map.pt2").module()
    for c in (npz.load(tmp_path / "map.npz").predict(Y), program(torch.from_numpy(Y))):
        np.testing.assert_allclose(c, surrogate.predict(Y), rtol=1e-12)


def test_modules_for_other_programs_are_written_with_the_files_that_they_call(folder, tmp_path):
    for kind, name in {"jax": "m_jax.py", "ctypes": "m_c.py", "fortran": "m_f.f90"}.items():
        assert run("export", folder / "map.pt", "--format", kind, "--out", tmp_path / name) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"m_jax.py", "m_c.py", "m_c.c", "m_c.h", "m_f.f90", "m_f_c.c", "m_f_c.h"}


def test_an_onnx_file_has_all_methods_or_one(folder, tmp_path):
    onnx = pytest.importorskip("onnx", reason="there is no onnx")
    words = ("export", folder / "map.pt", "--format", "onnx", "--out", tmp_path / "a.onnx")
    for more, names in (((), "c jacobian std in_domain"), (("--method", "forward"), "c")):
        assert run(*words, *more) == 0
        graph = onnx.load(tmp_path / "a.onnx").graph
        assert [output.name for output in graph.output] == names.split()


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


def test_explore_writes_a_page_and_opens_it(folder, tmp_path, capsys, monkeypatch):
    surrogate = folder / "map.pt"
    capsys.readouterr()
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{seen}"\n')
    browser.chmod(0o755)
    page = tmp_path / "map.html"
    monkeypatch.setenv("BROWSER", str(browser))
    assert run("explore", surrogate, "--out", page) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert seen.read_text().strip() == page.as_uri()
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert run("explore", surrogate) == 0
    path, said = capsys.readouterr().out.splitlines()
    assert said == "there is no display here: open the page in any browser, on any machine"
    assert Path(path).read_bytes() == page.read_bytes() and Path(path).name == "map.html"
    assert run("explore", surrogate, "--out", tmp_path / "a.pdf") == 2
    assert "the name of an .html file" in capsys.readouterr().err


def test_explore_keeps_the_page_when_its_browser_is_interrupted(folder, tmp_path):
    browser, page = tmp_path / "browser", tmp_path / "map.html"
    browser.write_text("#!/bin/sh\necho up\nexec sleep 60\n")
    browser.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "surrogates", "explore", folder / "map.pt", "--out", page],
        env={**os.environ, "BROWSER": f"{browser} %s"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == [f"{page}\n", "up\n"]
        os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C
        _, complaint = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, complaint) == (130, "interrupted; the page stays\n")
    assert page.stat().st_size > 10_000
