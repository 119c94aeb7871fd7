"""The commands on datasets of classes."""

import csv
import dataclasses
import json

import h5py
import numpy as np
import pytest
import torch
from commands import FEW, QUICK, SMALL_CHOICE, refused, run

import surrogates
from surrogates.data import Dataset
from surrogates.export import npz


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


@pytest.mark.thorough
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
