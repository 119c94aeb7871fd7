"""What `import surrogates` gives: fit, train, load, and the surrogate that they return."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import os
import pickle
import re
import signal
import zipfile
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from commands import run

import surrogates
from surrogates import InputError, TrainConfig
from surrogates import config as configuration
from surrogates.data import Dataset, Split
from surrogates.data.from_arrays import from_arrays
from surrogates.notebook import table
from surrogates.progress import TqdmBar
from surrogates.training.config import DEFAULTS, Network, Outputs
from surrogates.training.settings import settings_of

QUICK = {"stopping": {"work_units": 60}, "network.width": 4}
SAME = ("--effort", "fast", "--set", "stopping.work_units=60", "--set", "network.width=4")


def samples(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and two observables of them, far from zero."""
    Y = np.random.default_rng(0).random((n, 2))
    return Y, np.stack([3 + np.sin(3 * Y[:, 0]) + Y[:, 1], 2 + Y[:, 0] * Y[:, 1]], axis=1)


@pytest.fixture(scope="module")
def fitted() -> surrogates.LoadedSurrogate:
    Y, C = samples()
    names = {"y_names": ("a", "<b>"), "c_names": ("u", "v"), "c_units": ("m", "K")}
    return surrogates.fit(Y, C, **names, effort="fast", config=QUICK, split="0.7/0.2/0.1")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return from_arrays(*samples(), split=(0.7, 0.2, 0.1))


# What fit, train and load return


def test_arrays_become_a_surrogate_with_errors_that_a_user_would_compute(fitted):
    Y, C = samples()
    assert fitted.metadata["y_names"] == ["a", "<b>"] and fitted.metadata["c_units"] == ["m", "K"]
    rows = fitted.dataset.split == Split.TEST
    error = np.linalg.norm(fitted.predict(Y[rows]) - C[rows], axis=1)
    relative = error / np.linalg.norm(C[rows], axis=1)
    assert np.isclose(fitted.errors["test"].relative.mean, relative.mean(), rtol=1e-10)
    assert fitted.errors["test"].samples == rows.sum() == 6
    assert relative.mean() < 0.05
    assert fitted.predict_std(Y).shape == C.shape
    J, step = fitted.jacobian(Y[0]), 1e-6
    for k, unit in enumerate(np.eye(2)):
        ends = (fitted(Y[0] + sign * step * unit) for sign in (1, -1))
        assert np.allclose(J[:, k], np.subtract(*ends) / (2 * step), atol=1e-7)
    assert [record.iteration for record in fitted.history] == [*range(1, len(fitted.history) + 1)]


def test_a_saved_surrogate_is_read_as_it_was(fitted, tmp_path):
    fitted.save(tmp_path / "mine.pt")
    again = surrogates.load(tmp_path / "mine.pt")
    Y, _ = samples()
    assert np.array_equal(again.predict(Y), fitted.predict(Y))
    assert again.metadata == fitted.metadata and again.errors == fitted.errors
    assert again.history == () and again.dataset is None
    again.save(tmp_path / "again.pt")
    assert (tmp_path / "again.pt").read_bytes() == (tmp_path / "mine.pt").read_bytes()
    assert torch.jit.load(tmp_path / "mine.pt")(torch.from_numpy(Y)).shape == (60, 2)
    with pytest.raises(InputError, match="ends in .pt"):
        fitted.save(tmp_path / "mine.npz")


def test_a_surrogate_can_be_pickled_copied_and_sent_by_joblib(fitted, tmp_path):
    joblib = pytest.importorskip("joblib", reason="joblib comes with scikit-learn")
    joblib.dump(fitted, tmp_path / "s.joblib")
    Y, _ = samples()
    strict = pickle.loads(pickle.dumps(fitted))
    for other in (strict, copy.deepcopy(fitted), joblib.load(tmp_path / "s.joblib")):
        assert np.array_equal(other.predict(Y), fitted.predict(Y))
        assert np.array_equal(other.jacobian(Y), fitted.jacobian(Y))
        assert other.errors == fitted.errors and len(other.history) == len(fitted.history)
        assert other.members == fitted.members
    jobs = [joblib.delayed(fitted.predict)(part) for part in (Y[:30], Y[30:])]
    parts = np.concatenate(joblib.Parallel(n_jobs=2)(jobs))
    assert np.allclose(parts, fitted.predict(Y), rtol=1e-13, atol=0)


class Texts(HTMLParser):
    """The texts and the tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts, self.open, self.tags = [], [], set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_a_notebook_shows_sizes_errors_and_domain_with_names_escaped(fitted):
    page = Texts(fitted._repr_html_())
    assert not page.open and page.tags <= {"table", "caption", "thead", "tr", "th", "td"}
    assert "a, <b>" in page.texts and "<b>" in page.texts
    assert f"{100 * fitted.errors['test'].relative.mean:.3g} % (mean)" in page.texts
    lower = samples()[0][fitted.dataset.split == Split.TRAIN].min(axis=0)
    assert f"{lower[0]:.6g}" in page.texts
    assert "2 parameters, 2 observables" in repr(fitted) and "\n" not in repr(fitted)


def test_a_notebook_shows_each_warning_in_a_row_of_its_own(fitted):
    told = dataclasses.replace(fitted, warnings=("few samples", "a & b"))
    page = Texts(told._repr_html_())
    assert page.texts.count("warning") == 2
    assert {"few samples", "a & b"} <= set(page.texts)


def test_a_notebook_aligns_numbers_alone_to_the_right():
    row = "x", "1", "m"
    named = table("T", ("name", "number", "unit"), [row])
    assert re.findall(r"right.>(\w+)", named) == ["number", "1"]
    assert "right" not in table("T", (), [row])


def test_a_notebook_shows_a_dataset(dataset):
    page = Texts(dataset._repr_html_())
    assert not page.open
    for text in ("60", "42, 12, 6", "y0, y1", "c0, c1"):
        assert text in page.texts


def test_a_surrogate_draws_itself(fitted, tmp_path):
    pytest.importorskip("matplotlib")
    for picture in (fitted.plot.parity(), fitted.plot.observations(), fitted.plot.history()):
        assert picture._repr_png_().startswith(b"\x89PNG")
    fitted.plot.parity(split="train").save(tmp_path / "parity.svg")
    assert "<svg" in (tmp_path / "parity.svg").read_text()
    with pytest.raises(InputError, match="is for regression: draw it by plot.parity"):
        fitted.plot.confusion()
    alone = pickle.loads(pickle.dumps(fitted))
    with pytest.raises(InputError, match="give a dataset"):
        alone.plot.parity()
    assert alone.plot.parity(fitted.dataset)._repr_png_() == fitted.plot.parity()._repr_png_()


# Classes


@pytest.mark.parametrize("kind", [str, int])
def test_labels_become_a_classifier(kind, tmp_path):
    Y, _ = samples(90)
    labels = np.where(Y[:, 0] > 0.5, "10", np.where(Y[:, 1] > 0.6, "9", "2")).astype(kind)
    found = surrogates.fit(Y, labels=labels, effort="fast", config={"stopping.work_units": 100})
    assert isinstance(found, surrogates.LoadedClassifier)
    assert list(found.class_names) == [str(label) for label in sorted(set(labels.tolist()))]
    predicted = np.array(found.class_names)[found.predict(Y)].astype(kind)
    assert (predicted == labels).mean() > 0.85
    test = found.dataset.split == Split.TEST
    assert found.errors["test"].accuracy == (predicted == labels)[test].mean()
    settings = found.metadata["training"]["settings"]["regularisation"]
    assert settings["alpha1"] == DEFAULTS["classification"].regularisation.alpha1
    page = Texts(found._repr_html_())
    assert "accuracy, test" in page.texts
    found.save(tmp_path / "classes.pt")
    there = surrogates.load(tmp_path / "classes.pt").errors
    assert repr(there) == repr(found.errors)  # empty bins of the reliability are NaN
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(again.probabilities(Y), found.probabilities(Y))
    if pytest.importorskip("matplotlib"):
        assert found.plot.confusion()._repr_png_() and found.plot.reliability()._repr_png_()


# The chain, and its files


def test_training_from_python_leaves_the_bytes_of_the_command(dataset, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    data = tmp_path / "map.h5"
    dataset.write(data)
    assert run("train", data, "--out", tmp_path / "a" / "map.pt", *SAME) == 0
    found = surrogates.train(data, QUICK, out=tmp_path / "b" / "map.pt", effort="fast")
    there = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert there == ["map.checkpoint", "map.history.jsonl", "map.pt"]
    own, theirs = ((tmp_path / name / "map.pt").read_bytes() for name in "ba")
    assert own == theirs
    found.save(tmp_path / "saved.pt")
    assert (tmp_path / "saved.pt").read_bytes() == own
    lines = (tmp_path / "b" / "map.history.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["phi"] == found.history[-1].phi
    assert surrogates.train(Dataset.read(data), QUICK, effort="fast").members == found.members
    resumed = surrogates.train(
        data, QUICK, out=tmp_path / "b" / "map.pt", effort="fast", resume=True
    )
    assert resumed.members == found.members


@pytest.mark.parametrize("how", ["path", "object"])
def test_a_training_starts_from_a_surrogate_or_its_file(dataset, fitted, tmp_path, how):
    first = surrogates.train(dataset, QUICK, effort="fast", seed=3)
    first.save(tmp_path / "first.pt")
    start = tmp_path / "first.pt" if how == "path" else first
    found = surrogates.train(dataset, {"stopping.work_units": 30}, effort="fast", start=start)
    assert found.metadata["training"]["from"]
    assert found.metadata["training"]["settings"]["network"]["width"] == 4
    assert found.history[0].train_loss < 0.2 * first.history[0].train_loss


def test_a_choice_keeps_the_settings_that_are_given(dataset):
    told = []
    config = {"network": {"kind": "rbf", "kernel": "gaussian", "trend": 1}}
    found = surrogates.train(dataset, config, processes=1, progress=lambda *one: told.append(one))
    assert found.metadata["training"]["effort"] == "default"
    assert "gaussian" in found.metadata["training"]["chosen"].lower() or found.n_members > 1
    assert found.errors.keys() == {"validation", "test"}
    assert all(0 <= done <= total for done, total, note in told)


def test_progress_is_told_to_a_function_or_shown_or_neither(dataset, capfd):
    told = []
    surrogates.train(dataset, QUICK, effort="fast", progress=lambda *one: told.append(one))
    done = [one[0] for one in told]
    assert done == sorted(done) and told[-1][1] == 60 and "validation loss" in told[-1][2]
    assert capfd.readouterr() == ("", "")
    surrogates.train(dataset, QUICK, effort="fast", progress=True)
    assert "work units" in capfd.readouterr().err


def test_a_bar_that_ends_early_is_whole_unless_an_exception_ends_it(capfd):
    bar = TqdmBar("steps")
    bar.update(3, 10, ", a note")
    bar.close()
    shown = capfd.readouterr().err
    assert "3/10" in shown and "a note" in shown and "3/3" in shown.split("\r")[-1]
    with contextlib.suppress(ZeroDivisionError):
        bar = TqdmBar("steps")
        try:
            bar.update(3, 10)
            raise ZeroDivisionError
        finally:
            bar.close()
    assert "3/10" in capfd.readouterr().err.split("\r")[-1]


def interrupted_after(n: int, times: int = 1):
    """Return a function for progress that sends an interrupt to this process, as Ctrl-C does."""
    calls = []

    def tell(done: int, total: int, note: str) -> None:
        calls.append(done)
        if len(calls) in range(n, n + times):
            os.kill(os.getpid(), signal.SIGINT)

    return tell


def test_an_interrupt_keeps_the_best_weights_and_the_training_goes_on(dataset, tmp_path, caplog):
    whole = surrogates.train(dataset, QUICK, effort="fast")
    out = tmp_path / "map.pt"
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
    asked = {"effort": "fast", "out": out}
    found = surrogates.train(dataset, QUICK, **asked, progress=interrupted_after(2))
    assert {kind: signal.getsignal(kind) for kind in before} == before
    assert 2 <= len(found.history) < len(whole.history)
    assert found.metadata["training"]["reason"] == "interrupted"
    assert "has the best weights so far" in caplog.text
    assert surrogates.load(out).errors == found.errors
    with pytest.raises(InputError, match="go on with --resume"):
        surrogates.train(dataset, QUICK, **asked)
    again = surrogates.train(dataset, QUICK, **asked, resume=True)
    assert again.members == whole.members


def test_an_interrupted_choice_is_the_best_of_what_was_tried(dataset, tmp_path, caplog):
    out = tmp_path / "map.pt"
    asked = {"out": out, "processes": 1}
    found = surrogates.train(dataset, **asked, progress=interrupted_after(1))
    training = found.metadata["training"]
    assert training["reason"] == "interrupted" and training["chosen"]
    assert training["tried"] and not any("alpha1" in one["name"] for one in training["tried"])
    assert "is the best of what was tried so far" in caplog.text and "left as" not in caplog.text
    before = out.read_bytes()
    assert surrogates.load(out).errors == found.errors
    with pytest.raises(InputError, match="no checkpoint is kept of a choice"):
        surrogates.train(dataset, **asked, resume=True)
    again = surrogates.train(dataset, **asked, seed=1, progress=interrupted_after(1))
    assert again.metadata["training"]["settings"]["seed"] == 1
    assert out.read_bytes() == before and f"{out} is left as it was" in caplog.text


def test_a_choice_interrupted_before_anything_was_tried_is_given_up(dataset, tmp_path):
    config = {"network.kind": "mlp"}
    with pytest.raises(KeyboardInterrupt, match="before anything was chosen"):
        surrogates.train(
            dataset, config, out=tmp_path / "map.pt", processes=1, progress=interrupted_after(1)
        )
    assert list(tmp_path.iterdir()) == []


# What is given


def test_settings_are_a_mapping_a_file_or_a_config(tmp_path):
    path = tmp_path / "train.toml"
    path.write_text("[network]\nwidth = 5\n")
    for config in ({"network": {"width": 5}}, {"network.width": np.int64(5)}, path, str(path)):
        settings, given = settings_of(config, "classification", ["seed=2"])
        assert settings.network.width == 5 and settings.seed == 2
        assert given == {"network.width", "seed"}
        assert settings.regularisation == DEFAULTS["classification"].regularisation
    config = TrainConfig(network=Network(width=5), outputs=Outputs(weights=("u=2",)))
    settings, given = settings_of(config, "regression")
    assert settings == config and given == {"network.width", "outputs.weights"}


def test_a_data_frame_names_its_columns_and_predictions_match_them():
    pandas = pytest.importorskip("pandas")
    Y, C = samples()
    frame = pandas.DataFrame(Y, columns=["width", "depth"])
    found = surrogates.fit(frame, pandas.Series(C[:, 0], name="head"), effort="fast", config=QUICK)
    assert found.metadata["y_names"] == ["width", "depth"]
    assert found.metadata["c_names"] == ["head"]
    assert np.array_equal(found.predict(frame[["depth", "width"]]), found.predict(Y))
    labels = pandas.DataFrame({"kind": np.where(Y[:, 0] > 0.5, "dry", "wet")})
    assert from_arrays(frame, labels=labels).info.c_names == ("dry", "wet")


def test_bounds_split_and_missing_entries_are_those_given():
    Y, C = samples(10)
    C[3, 1] = np.nan
    parts = ["train"] * 6 + ["validation"] * 2 + ["test", "unused"]
    bounds = {"b": (-1, 2)}
    dataset = from_arrays(Y, C, y_names=("a", "b"), bounds=bounds, split=parts)
    assert dataset.info.y_lower.tolist() == [Y[:, 0].min(), -1]
    assert dataset.info.y_upper.tolist() == [Y[:, 0].max(), 2]
    assert dataset.failure[3] and dataset.split.tolist() == [0, 0, 0, 255, 0, 0, 1, 1, 2, 255]
    masked = from_arrays(Y, C, missing="mask", split=parts)
    assert masked.info.missing == "mask" and masked.split[3] == Split.TRAIN
    counts = from_arrays(Y, C, split=(5, 3, 1))
    assert [counts.size(name) for name in ("train", "validation", "test")] == [5, 3, 1]


Y0, C0 = samples(8)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"C": None}, "give either C, observables, or labels"),
        ({"labels": [0] * 8}, "give either C, observables, or labels"),
        ({"C": C0[:5]}, "Y has 8 samples, and 5 are given to learn from it"),
        ({"Y": np.where(Y0 > 0.9, np.nan, Y0)}, r"y\d of sample \d is nan: expected finite"),
        ({"y_names": ("a",)}, "Y has 2 columns, and 1 names are given"),
        ({"y_names": ("a", "a")}, r"y_names has \['a'\] twice"),
        ({"y_names": "ab"}, "y_names must be a list of names"),
        ({"c_units": ("m",)}, "c_units must be 2 texts"),
        ({"Y": Y0[None]}, r"expected Y of shape \(n, k\)"),
        ({"Y": [["a", "b"]] * 8}, "expected real numbers in Y"),
        ({"bounds": {"z": (0, 1)}}, "unknown name 'z' in bounds"),
        ({"bounds": ([0.9, 0.9], [1, 1])}, "outside its bounds 0.9 to 1"),
        ({"bounds": ([1, 1], [0, 0])}, "no lower one above its upper one"),
        ({"bounds": {"y0": 3}}, "bounds of y0 must be two numbers"),
        ({"split": "a/b"}, "cannot read the split"),
        ({"split": ["train"] * 7 + ["trian"]}, "unknown part 'trian' in split; did you mean"),
        ({"split": ["train"] * 5}, "expected the part of each of 8 samples"),
        ({"split": [1, 2]}, "expected a split of three counts or fractions"),
        ({"missing": "drop"}, "unknown meaning of missing 'drop'"),
        ({"config": {"network.widht": 3}}, "did you mean 'network.width'"),
        ({"config": {"network.width": "many"}}, "width must be of type int"),
        ({"config": {"network.width": object()}}, "width must be a number, a text"),
        ({"config": 3}, "config must be a TrainConfig, a mapping of settings"),
        ({"effort": "slow"}, "unknown effort 'slow'"),
        ({"log": ["c9"]}, "unknown name 'c9' for a logarithm"),
        ({"out": "a.txt"}, "a surrogate's file ends in .pt"),
    ],
)
def test_a_mistake_is_one_clear_line(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        surrogates.fit(**{"Y": Y0, "C": C0, "effort": "fast", "config": QUICK, **given})
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.5] * 8, "expected texts or integers as labels"),
        (["a", None] * 4, "expected texts or integers as labels"),
        (["a"] * 8, "there is a single class"),
        (np.zeros((8, 2), int), "expected one label for each sample"),
    ],
)
def test_a_mistake_in_labels_is_one_clear_line(labels, message):
    with pytest.raises(InputError, match=message):
        surrogates.fit(Y0, labels=labels, effort="fast", config=QUICK)


def test_mistakes_of_train_are_one_clear_line(dataset, tmp_path):
    for given, message in (
        ({"dataset": tmp_path / "none.h5"}, "there is no file|cannot read|no such"),
        ({"exclude": [99]}, "there is no sample"),
        ({"exclude": "1-"}, "cannot read the rows"),
        ({"resume": True}, "resume goes on from a file"),
        ({"start": tmp_path / "none.pt"}, "none.pt"),
    ):
        with pytest.raises(InputError, match=message):
            surrogates.train(**{"dataset": dataset, "config": QUICK, "effort": "fast", **given})


def test_samples_that_are_excluded_are_not_learned(dataset):
    found = surrogates.train(dataset, QUICK, effort="fast", exclude=[0, 1, 2])
    assert (found.dataset.split[:3] == Split.UNUSED).all()
    by_text = surrogates.train(dataset, QUICK, effort="fast", exclude="0-2")
    assert by_text.members == found.members


def test_a_file_of_a_release_without_tables_of_settings_is_known_as_finished(dataset, tmp_path):
    out = tmp_path / "old.pt"
    surrogates.train(dataset, QUICK, effort="fast", out=out)
    with zipfile.ZipFile(out) as old:
        members = {name: old.read(name) for name in old.namelist()}
    (name,) = (name for name in members if name.endswith("metadata.json"))
    about = json.loads(members[name])
    now = configuration.flat(about["training"]["settings"])
    about["training"]["settings"] = {
        **{old: now.pop(key) for old, key in TrainConfig.MOVED.items()},
        **now,
        **{"method": "auto", "kernel": "auto", "trend": -1, "patience": 0, "learning_rate": 0.0},
    }
    members[name] = json.dumps(about).encode()
    with zipfile.ZipFile(out, "w") as new:
        for member, content in members.items():
            new.writestr(member, content)
    before = out.read_bytes()
    (tmp_path / "old.checkpoint").unlink()
    surrogates.train(dataset, QUICK, effort="fast", out=out, resume=True)
    assert out.read_bytes() == before
