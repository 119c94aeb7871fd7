"""The examples of classification: accuracy, figures and the files that remain, quick and small."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys

import classification
import digits
import numpy as np
import pytest
import scipy.io
import segment_hyperspectral as segment
import torch
from matplotlib.image import imread
from places import EXAMPLES

import surrogates
from surrogates.data import Split, assign_split

BANDS, CLASSES = 20, (2, 3, 5)
SPLIT, SEEDS = "200/130/90", (3, 4, 3)


def size_of(png):
    """Decode a PNG; give its width and height, and check that it is no blank sheet."""
    pixels = imread(png)[:, :, :3]
    assert pixels.std() > 0.05
    assert png.read_bytes()[16:24] == struct.pack(">II", pixels.shape[1], pixels.shape[0])
    return pixels.shape[1], pixels.shape[0]


def accuracies(text, method):
    """Read a method's lines: per cent of training, validation and test, (n_seeds, 3)."""
    lines = re.findall(rf"^{method} +\d+((?: +[\d.]+){{3}})", text, re.MULTILINE)
    return np.array([line.split() for line in lines], dtype=float)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Write fields of three classes whose spectra overlap, and their ground truth."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:26, :22]
    truth = np.array([0, *CLASSES])[(rows // 7 + columns // 6) % 4].astype(np.uint8)
    x = np.linspace(0, 1, BANDS)
    spectra = np.stack([np.exp(-(((x - c) / 0.2) ** 2)) for c in (0.5, 0.4, 0.5, 0.6)])
    cube = 1000 * (1 + spectra[np.searchsorted([0, *CLASSES], truth)])
    cube *= rng.uniform(0.8, 1.2, (*truth.shape, 1))
    cube += rng.normal(0, 200, cube.shape)
    folder = tmp_path_factory.mktemp("scene")
    paths = folder / "field.mat", folder / "field_gt.mat"
    scipy.io.savemat(paths[0], {"field": cube})
    scipy.io.savemat(paths[1], {"field_gt": truth})
    return (str(paths[0]), "--ground-truth", str(paths[1])), cube, truth


@pytest.fixture(scope="module")
def segmented(scene, tmp_path_factory):
    """Run the command as a user does, and give what it prints, and its file."""
    out = tmp_path_factory.mktemp("segmented") / "field.pt"
    words = (
        *("--split", SPLIT, "--seeds", *map(str, SEEDS), "--reference", "--out", str(out)),
        *("--set=network.width=6", "--set=stopping.work_units=150"),
    )
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "segment_hyperspectral.py"), *scene[0], *words],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, out


@pytest.mark.thorough
def test_a_scene_is_segmented_and_compared_by_the_command(segmented):
    text, out = segmented
    assert re.search(r"26 x 22 pixels, 20 bands; 4\d\d pixels of 3 classes: train 200, va", text)
    found = accuracies(text, "GNvpro")
    assert found.shape == (len(SEEDS), 3) and found.min() > 85
    assert np.array_equal(found[0], found[2]) and not np.array_equal(found[0], found[1])
    for method in ("SVM, Gaussian", "logistic regression"):
        for inputs in ("", ", mixed"):
            assert accuracies(text, method + inputs).shape == (len(SEEDS), 3)
            assert accuracies(text, method + inputs).min() > 85
    stated = re.search(r"^GNvpro +([\d.]+) \+- ([\d.]+) +([\d.]+) \+- ([\d.]+)", text, re.M)
    expected = [f(found[:, k]) for k in (0, 1) for f in (np.mean, lambda x: np.std(x, ddof=1))]
    np.testing.assert_allclose([float(x) for x in stated.groups()], expected, atol=0.011)
    width, height = size_of(out.with_suffix(".png"))
    assert width == 1260 and 400 < height < 1000
    for name in (".confusion.png", ".convergence.png"):
        assert min(size_of(out.with_suffix(name))) > 300


@pytest.mark.thorough
def test_its_file_predicts_the_map(scene, segmented):
    _, cube, truth = scene
    text, out = segmented
    labels = truth[truth > 0]
    module = torch.jit.load(out)
    predicted = np.array(CLASSES)[module.predict(torch.from_numpy(cube[truth > 0])).numpy()]
    split = assign_split(SPLIT, len(labels), SEEDS[0])
    stated = accuracies(text, "GNvpro")[0]
    for part, accuracy in zip(Split, stated, strict=False):
        share = (predicted == labels)[split == part].mean()
        assert 100 * share == pytest.approx(accuracy, abs=0.006), part
    held = split == Split.VALIDATION
    matrix = [((labels == a) & (predicted == b))[held].sum() for a in CLASSES for b in CLASSES]
    rows = re.findall(r"^ *\d class \d((?: +(?:\d+|\.))+)$", text, re.M)
    assert [int(n.replace(".", "0")) for row in rows for n in row.split()] == matrix
    share = 100 * (predicted != labels)[split != Split.TRAIN].mean()
    assert f"{share:.2f}" == re.search(r"not trained on: ([\d.]+) % wrong", text)[1]


@pytest.mark.thorough
def test_pixels_of_indian_pines_are_segmented_like_the_maps_say(tmp_path, capsys):
    pytest.importorskip("tensorly", reason="the scene comes with tensorly")
    out = tmp_path / "pines.pt"
    words = (
        "--split",
        "balanced:70/10/0.2",
        "--set=stopping.work_units=126",
        f"--out={out}",
    )
    assert segment.main([*words]) == 0
    text = capsys.readouterr().out
    assert "145 x 145 pixels, 200 bands; 10249 pixels of 16 classes: train 7" in text
    assert accuracies(text, "GNvpro").min() > 70
    assert re.search(r"^Woods +\d+\.\d\d \(\d+\) ", text, re.M)
    pixels = (255 * imread(out.with_suffix(".png"))[:, :, :3]).round().astype(int)
    colors = {tuple(color) for color in pixels.reshape(-1, 3)}
    for color in segment.class_colors(16):
        assert tuple((255 * np.array(color)).round().astype(int)) in colors


@pytest.mark.thorough
def test_other_methods_are_compared_on_the_same_network(scene, tmp_path, capsys):
    out = tmp_path / "field.pt"
    words = ("--split", SPLIT, "--compare", "--set=network.width=4", "--set=stopping.work_units=20")
    assert segment.main([*scene[0], *words, "--settings", "source", f"--out={out}"]) == 0
    text = capsys.readouterr().out
    assert (
        "network.final_time=4.0" in text
        and "network.levels=3" in text
        and "regularisation.penalty=smooth" in text
    )
    for label in classification.OPTIMIZERS.values():
        assert accuracies(text, label).min() > 75, label
    assert surrogates.load(out).metadata["training"]["settings"]["optimizer"]["name"] == "gnvpro"


def test_digits_are_recognised_and_the_file_is_the_network(tmp_path, capsys):
    out = tmp_path / "digits.pt"
    words = (
        "--split",
        "400/300/300",
        "--set=stopping.work_units=70",
        "--set=network.width=16",
        f"--out={out}",
    )
    assert digits.main([*words]) == 0
    text = capsys.readouterr().out
    for label in ("GNvpro", "L-BFGS, VarPro", "Adam"):
        found = np.array(re.search(rf"^{label}((?: +[\d.]+){{3}})", text, re.M)[1].split(), float)
        assert found.min() > 88, label
    right = int(re.search(r"classifies (\d+) of 300 test", text)[1])
    first = re.search(r"^GNvpro((?: +[\d.]+){3})", text, re.M)[1].split()
    assert 100 * right / 300 == pytest.approx(float(first[2]), abs=0.006)
    assert min(size_of(out.with_suffix(".png"))) > 300
    Y = digits.read("400/300/300", 0).Y[:3]
    module = torch.jit.load(out)
    exact = torch.func.jacrev(lambda y: module(y))(torch.from_numpy(Y[0]))
    torch.testing.assert_close(
        module.jacobian(torch.from_numpy(Y))[0], exact, rtol=1e-10, atol=1e-12
    )


def test_mistakes_are_one_line(scene, tmp_path, capsys):
    (cube, _, truth), _, _ = scene
    out = f"--out={tmp_path / 'c.pt'}"
    for program, words, message in (
        (segment, (cube, out), "--ground-truth GT.mat must say what the pixels of"),
        (segment, (cube, "--ground-truth", str(tmp_path / "no.mat"), out), "there is no file"),
        (segment, ("--ground-truth", truth, out), "has its ground truth; leave out"),
        (
            segment,
            (cube, "--ground-truth", truth, "--split", "500/9/9", out),
            "needs 518 samples; there are 430",
        ),
        (
            segment,
            (cube, "--ground-truth", truth, "--set=widht=3", out),
            "did you mean 'network.width'",
        ),
        (
            segment,
            (cube, "--ground-truth", truth, "--set=optimizer.name=adam", out),
            "--compare has",
        ),
        (segment, (cube, "--ground-truth", truth, "--set=seed=3", out), "that of --seeds here"),
        (segment, (cube, "--ground-truth", truth, "--seeds", "-1", out), "the seed must be"),
        (segment, (cube, "--ground-truth", truth, "--settings", "bset", out), "'bset'"),
        (segment, (cube, "--ground-truth", truth, "--out=c.png"), "ends in .pt; got 'c.png'"),
        (digits, ("--out", str(tmp_path / "none" / "d.pt")), "there is no folder"),
        (digits, ("--set=network.levels=2", out), "levels must be 1 for a network without"),
        (digits, ("--seed=x", out), "--seed: "),
    ):
        assert program.main(words) == 2, words
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ") and message in error, words
    assert not list(tmp_path.iterdir())
