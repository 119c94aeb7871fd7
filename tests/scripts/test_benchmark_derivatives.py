"""The benchmark of derivatives: ratios from rows, what a second run does, real trainings."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the suite's functions are read with scikit-learn")

import benchmark_derivatives as benchmark
import derivative_sets as sets

from surrogates.errors import InputError


def row(method, size, error, *, name="darcy", seed=1, dc_dy=None):
    given = {"set": name, "size": size, "seed": seed, "method": method, "arguments": ""}
    if error is None:
        return {**given, "status": "time limit"}
    return {**given, "status": "done", "error": error, "dc_dy": dc_dy or 2 * error}


def options(*words):
    found = benchmark.parser().parse_args(words)
    benchmark.check_options(found)
    return found


def test_medians_count_a_training_without_a_result_as_infinite():
    rows = [row("values", 25, e, seed=s) for s, e in enumerate((0.1, None, 0.3))]
    rows += [row("values", 50, e, seed=s) for s, e in enumerate((0.1, None, math.nan))]
    found = benchmark.curves(rows, "error")
    assert found == {("darcy", "values"): {25: 0.3, 50: math.inf}}


@pytest.mark.parametrize("order", [0.5, 1.0, 3.0])
def test_samples_for_an_error_follow_the_line_in_logarithms(order):
    curve = {n: 7.0 * n**-order for n in (25, 50, 100, 200)}
    for n in (25, 33, 100, 170, 200):
        assert benchmark.samples_for(7.0 * n**-order, curve) == pytest.approx(n)
    assert benchmark.samples_for(7.0 * 201.0**-order, curve) == math.inf
    assert benchmark.samples_for(1e3, curve) == 25


def test_an_error_that_grows_with_samples_is_that_of_fewer():
    curve = {25: 0.4, 50: 0.2, 100: 0.3, 200: 0.1}
    assert benchmark.samples_for(0.2, curve) == pytest.approx(50)
    assert benchmark.samples_for(0.1, curve) == pytest.approx(200)
    middle = benchmark.samples_for(math.sqrt(0.2 * 0.1), curve)
    assert middle == pytest.approx(math.sqrt(100 * 200))


def test_a_gain_is_that_of_solver_seconds():
    plain = {n: 1.0 / n for n in (25, 50, 100, 200, 400)}
    assert benchmark.gain(1 / 200, 50, plain, 0.5) == pytest.approx((2.0, False))
    assert benchmark.gain(1 / 1000, 50, plain, 0.5) == pytest.approx((4.0, True))
    assert math.isnan(benchmark.gain(math.inf, 50, plain, 0.5)[0])
    assert math.isnan(benchmark.gain(0.1, 50, {}, 0.5)[0])


def test_the_table_of_a_problem_has_the_three_ratios():
    rows = [row("values", n, 1 / n, dc_dy=4 / n) for n in (25, 100)]
    rows += [row("tangents", 25, 1 / 50, dc_dy=1 / 25)]
    errors, slopes = (benchmark.curves(rows, what) for what in ("error", "dc_dy"))
    seconds = {"values": 1e-3, "tangents": 1.6e-3}
    lines = benchmark.of_problem("darcy", errors, slopes, seconds, options())
    cells = lines[-1].split()
    assert cells[:2] == ["tangents", "25"]
    of_4n, cheaper, of_slopes = float(cells[4]), float(cells[5]), float(cells[-1])
    assert of_4n == pytest.approx((1 / 50) / (1 / 100), abs=0.01)
    assert cheaper == pytest.approx(50 / 25 / 1.6, abs=0.01)
    assert of_slopes == pytest.approx((1 / 25) / (4 / 25), abs=0.01)


def test_the_table_of_functions_compares_with_the_best_other():
    rows = [row("tangents", 25, 0.1, name="sphere"), row("jenn", 25, 0.4, name="sphere")]
    rows += [row("gekpls", 25, 0.2, name="sphere"), row("values", 25, 0.3, name="sphere")]
    asked = options("--sizes", "25", "--sets", "sphere")
    errors, slopes = (benchmark.curves(rows, what) for what in ("error", "dc_dy"))
    lines = benchmark.of_functions(["sphere"], errors, slopes, asked)
    assert lines[1].split() == ["sphere,", "25", "30", "%", "10", "%", "40", "%", "20", "%", "0.50"]
    assert lines[2] == "  tangents over the best other: geometric mean 0.5, largest 0.5"


def test_larger_sets_are_of_values_alone():
    asked = options("--sizes", "25,50", "--sets", "darcy", "--seeds", "1")
    found = list(benchmark.trainings(asked))
    sizes = {method: [s for _, s, _, m in found if m == method] for method in benchmark.METHODS}
    assert sizes["values"] == [25, 50, 100, 200]
    assert sizes["tangents"] == sizes["jenn"] == [25, 50]


def test_methods_are_of_their_sets(tmp_path):
    asked = options("--cache", str(tmp_path))
    assert benchmark.drawn("sinusoid", 20, 1, "gekpls", asked) is None
    assert benchmark.drawn("sphere", 20, 1, "directions", asked) is None
    assert benchmark.drawn("darcy", 20, 1, "jenn", asked) is None
    plain, tests = benchmark.drawn("sphere", 20, 1, "values", asked)
    with_tangents, same = benchmark.drawn("sphere", 20, 1, "tangents", asked)
    assert plain.derivatives() is None and with_tangents.dC_dY.shape == (20, 1, 2)
    assert np.array_equal(plain.C, with_tangents.C) and np.array_equal(tests.C, same.C)
    assert tests.size("test") == sets.N_TEST


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--sets", "darcie"), "set 'darcie'"),
        (("--methods", "jen"), "method 'jen'"),
        (("--sizes", "5"), "--sizes must be at least 10; got 5"),
        (("--seeds", "10000"), "the test samples have seed 10000"),
        (("--jobs", "0"), "--jobs must be at least 1; got 0"),
    ],
)
def test_wrong_options_are_one_line(words, reason, capsys):
    with pytest.raises(InputError, match=reason):
        options(*words)
    assert benchmark.main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_errors_of_a_function_are_those_of_its_test_points(tmp_path):
    words = ("--quick", "--sets", "rosenbrock", "--methods", "tangents", "--sizes", "20")
    files = ("--out", str(tmp_path / "d.jsonl"), "--cache", str(tmp_path / "cache"))
    assert benchmark.main([*words, *files]) == 0
    (found,) = (json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines())
    assert 0 < found["error"] == found["over_std"] < 1
    assert 0 < found["dc_dy"] == found["jacobian_rms"] < 1
    assert found["derivatives"]["samples"] > 0


@pytest.mark.slow
@pytest.mark.fenicsx
def test_a_problem_s_curves_are_drawn_and_its_trainings_run_once(tmp_path, capsys):
    words = ("--quick", "--sets", "darcy", "--methods", "values,tangents", "--sizes", "10")
    files = ("--out", str(tmp_path / "d.jsonl"), "--cache", str(tmp_path / "cache"))
    assert benchmark.main([*words, *files, "--figure", str(tmp_path / "d.png")]) == 0
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")
    first = capsys.readouterr().out
    assert "darcy: solver time of a sample: values " in first
    rows = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    done = [(r["method"], r["size"], r["status"]) for r in rows]
    assert done == [("values", 10, "done"), ("tangents", 10, "done"), ("values", 40, "done")]
    assert all(row["error"] == row["centred"] and row["dc_dy"] == row["jacobian"] for row in rows)
    assert rows[1]["derivatives"]["samples"] > 0 and not rows[0]["derivatives"]
    assert benchmark.main([*words, *files]) == 0
    again = capsys.readouterr()
    assert again.out == first and again.err == ""
    assert len((tmp_path / "d.jsonl").read_text().splitlines()) == 3
