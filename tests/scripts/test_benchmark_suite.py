"""The suite: errors, the summary of rows, what a second run does, the surrogate's commands."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the suite compares with scikit-learn")

import benchmark_suite as suite

QUICK = ["--sets", "diabetes", "--sizes", "40", "--seeds", "1", "--methods", "quadratic_ridge"]


def run(monkeypatch, out, *words):
    monkeypatch.setattr(sys, "argv", ["benchmark_suite.py", "--out", str(out), *words])
    return suite.main()


def row(method, error, *, name="ishigami", size=100, seed=1, **others):
    given = {"set": name, "size": size, "seed": seed, "method": method, "arguments": ""}
    given |= {"samples": size, "tests": 1000, "task": "regression", "limit": 300.0}
    state = {"status": "time limit"} if error is None else {"status": "done", "error": error}
    return {**given, **state, "seconds": 1.0, "coverage": None, **others}


def test_the_error_is_relative_to_each_output_s_standard_deviation():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(1000, 2)) * [1e-3, 1e3]
    off = truth + truth.std(axis=0) * [0.3, 0.4]
    assert suite.error(off, truth, "regression") == pytest.approx(math.sqrt(0.125))
    constant = np.column_stack([truth, np.full(1000, 5.0)])
    moved = np.column_stack([off, np.full(1000, 6.0)])
    assert suite.error(moved, constant, "regression") == pytest.approx(math.sqrt(0.125))
    labels = np.array([[0.0], [1], [2], [2]])
    assert suite.error(labels, labels[[0, 1, 2, 1]], "classification") == 0.25
    assert suite.error(np.full_like(truth, np.nan), truth, "regression") == math.inf


def test_coverages_are_those_of_normal_intervals():
    rng = np.random.default_rng(1)
    mean, std = rng.normal(size=(20_000, 1)), np.full((20_000, 1), 0.5)
    observed = mean + std * rng.normal(size=mean.shape)
    assert suite.coverage(mean, std, observed) == pytest.approx([0.5, 0.9, 0.95], abs=0.01)


def test_ratios_are_of_medians_and_a_missing_seed_is_infinite():
    rows = [row("surrogate", error, seed=s) for s, error in enumerate((0.2, 0.4, 9.0))]
    rows += [row("gp_rbf", error, seed=s) for s, error in enumerate((0.1, None, 0.2))]
    rows += [row("boosting", error, seed=s) for s, error in enumerate((0.01, None, None))]
    (cell,) = suite.medians(rows)
    assert cell.errors == {"surrogate": 0.4, "gp_rbf": 0.2, "boosting": math.inf}
    assert cell.ratio == pytest.approx(2)
    assert cell.seeds == 3


def test_errors_too_small_to_matter_count_as_the_smallest():
    exact = [row("surrogate", 1e-9), row("quadratic_ridge", 1e-14)]
    digits = {"name": "digits", "task": "classification", "tests": 500}
    none_wrong = [row("surrogate", 0.002, **digits), row("gp_rbf", 0.0, **digits)]
    first, second = suite.medians([*exact, *none_wrong])
    assert first.ratio == 1
    assert second.ratio == pytest.approx(2)


def test_the_summary_counts_bad_ratios_and_surrogates_that_failed():
    rows = [row("gp_rbf", 0.1, name=name) for name in ("ishigami", "piston", "borehole")]
    rows += [row("surrogate", 0.4), row("surrogate", 0.1, name="piston")]
    rows += [row("surrogate", None, name="borehole")]
    lines = "\n".join(suite.summary(suite.medians(rows)))
    assert "geometric mean 2, largest 4 (ishigami, 100 rows)" in lines
    assert "above 1.5: 2 of 3 rows of this table, 2 of 3 sets" in lines
    assert "no surrogate, failed or over the limit: 1 rows" in lines
    assert suite.summary(suite.medians(rows[:3])) == [
        "no ratio: that takes the surrogate and another method"
    ]


@pytest.mark.thorough
def test_a_second_run_trains_only_what_is_missing(monkeypatch, tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    assert run(monkeypatch, out, *QUICK) == 0
    first = out.read_text()
    assert json.loads(first)["status"] == "done"
    assert run(monkeypatch, out, *QUICK) == 0
    assert out.read_text() == first
    out.write_text(first + first[:40])  # stopped while it wrote
    capsys.readouterr()
    assert run(monkeypatch, out, *QUICK, "--seeds", "1,2", "--figure", str(tmp_path / "f.png")) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["seed"] for row in rows] == [1, 2]
    assert f"{np.median([row['error'] for row in rows]):.4g}" in capsys.readouterr().out
    assert (tmp_path / "f.png").stat().st_size > 1000


def test_the_time_limit_ends_a_training_and_a_larger_one_tries_again(monkeypatch, tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    for limit in ("0.01", "0.01", "300"):
        assert run(monkeypatch, out, *QUICK, "--limit", limit) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["status"] for row in rows] == ["time limit", "done"]
    assert "over the time limit" in capsys.readouterr().err


def test_a_size_beyond_a_data_set_is_left_out_when_a_smaller_one_has_all(
    monkeypatch, tmp_path, capsys
):
    out = tmp_path / "rows.jsonl"
    assert run(monkeypatch, out, *QUICK, "--sizes", "400,1000") == 0
    assert [json.loads(line)["samples"] for line in out.read_text().splitlines()] == [353]
    assert "diabetes 1000: left out" in capsys.readouterr().err


def test_sets_without_their_files_are_left_out(monkeypatch, tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    assert run(monkeypatch, out, *QUICK, "--sets", "darcy") == 0
    assert not out.exists()
    assert "darcy: left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sets", "ishigamy"], "unknown set 'ishigamy'"),
        (["--methods", "gp"], "unknown method 'gp'"),
        (["--sizes", "5"], "--sizes must be at least 20; got 5"),
        (["--limit", "0"], "--limit must be above 0; got 0"),
    ],
)
def test_wrong_options_are_one_line(monkeypatch, tmp_path, capsys, words, message):
    assert run(monkeypatch, tmp_path / "rows.jsonl", *words) == 2
    assert message in capsys.readouterr().err


def test_a_file_of_something_else_is_refused(monkeypatch, tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    out.write_text("some notes\nof mine\n")
    assert run(monkeypatch, out, *QUICK) == 2
    assert "line 1 is none of this script" in capsys.readouterr().err
    assert out.read_text() == "some notes\nof mine\n"


def test_other_methods_are_not_given_the_outputs_at_the_test_points(monkeypatch, tmp_path):
    seen = []

    def call(command, limit, threads):
        with np.load(command[2]) as arrays:
            seen.append(set(arrays))
            np.savez(command[3], mean=np.zeros((len(arrays["Y_test"]), 1)), seconds=np.array(1.0))
        return ""

    monkeypatch.setattr(suite, "call", call)
    assert run(monkeypatch, tmp_path / "rows.jsonl", *QUICK) == 0
    assert seen == [{"Y_train", "C_train", "Y_test", "task"}]


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["friedman1_noise", "digits"])
def test_the_surrogate_is_trained_and_measured_by_the_command_line(monkeypatch, tmp_path, name):
    out = tmp_path / "rows.jsonl"
    words = ["--sets", name, "--sizes", "100", "--methods", "surrogate"]
    train = ["--train-arguments", "--set stopping.work_units=40"]
    assert run(monkeypatch, out, *QUICK, *words, *train) == 0
    found = json.loads(out.read_text())
    assert found["status"] == "done", found.get("message")
    assert (found["samples"], found["arguments"]) == (100, "--set stopping.work_units=40 0.8/0.2/0")
    assert 0 < found["error"] < 0.9
    if name == "digits":
        assert found["coverage"] is None
    else:
        assert found["error_observed"] != found["error"]
        assert len(found["coverage"]) == 3


@pytest.mark.thorough
def test_a_surrogate_that_fails_says_why_and_is_tried_again(monkeypatch, tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    words = [*QUICK, "--methods", "surrogate", "--train-arguments", "--set widht=3"]
    for _ in range(2):
        assert run(monkeypatch, out, *words) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert "'widht'; did you mean 'network.width'?" in rows[0]["message"]
