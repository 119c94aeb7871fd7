"""The command train: what it leaves, says, resumes and chooses."""

import dataclasses
import os
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest
from commands import FEW, QUICK, SMALL_CHOICE, imported, names, over_spread, refused, run, trained

import surrogates
from surrogates.data import Dataset, Split


@pytest.fixture(scope="module")
def logarithmic(tmp_path_factory) -> Path:
    """A dataset of positive y and c0, which spans two decades, and of c1 that has both signs."""
    rng = np.random.default_rng(0)
    Y = rng.uniform(0.5, 2, (120, 2))
    C = np.c_[np.exp(4 * Y[:, 0] * np.sin(Y[:, 1]) - 3), Y[:, 0] - Y[:, 1]]
    return imported(tmp_path_factory.mktemp("log"), Y, C)


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


def test_training_needs_no_test_samples(folder, capsys):
    words = ("import", folder / "map.npz", "--out", folder / "all.h5", "--split", "100/20/0")
    assert run(*words) == 0
    capsys.readouterr()
    assert run("train", folder / "all.h5", "--out", folder / "all.pt", *QUICK) == 0
    assert "validation" in (text := capsys.readouterr().out) and "test:" not in text
    assert "has no test samples" in refused(
        capsys, "evaluate", folder / "all.pt", folder / "all.h5"
    )


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


def test_an_interrupted_choice_saves_the_best_of_what_was_tried(
    folder, tmp_path, monkeypatch, capsys
):
    from surrogates.training import train

    choose = train.choose

    def stopped(learned, terms, **how):
        told = []
        changes = {"on_progress": lambda *one: told.append(one), "stop": lambda: bool(told)}
        return choose(learned, dataclasses.replace(terms, **changes), **how)

    monkeypatch.setattr(train, "choose", stopped)
    out = tmp_path / "a.pt"
    words = ("train", folder / "map.h5", "--out", out)
    capsys.readouterr()
    assert run(*words) == 130
    said = capsys.readouterr()
    assert f"error: interrupted; {out} is the best of what was tried so far\n" in said.err
    assert "tried, error over spread:" in said.out and names(tmp_path) == [
        "a.history.jsonl",
        "a.pt",
    ]
    assert surrogates.load(out).metadata["training"]["reason"] == "interrupted"
    assert "no checkpoint is kept of a choice" in refused(capsys, *words, "--resume")
    before = out.read_bytes()
    assert run(*words, "--seed", "1") == 130
    said = capsys.readouterr()
    assert f"error: interrupted; {out} was there before, and is left as it was\n" in said.err
    assert "history: none" in said.out and out.read_bytes() == before


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
