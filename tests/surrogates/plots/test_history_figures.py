"""Figures of training histories."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from drawings import records

from surrogates.plots.history import history

pytest.importorskip("matplotlib", reason="the plots extra is not installed")


def test_history_shows_the_records_against_work_units_and_marks_levels(tmp_path, drawn):
    gnvpro, adam = records(levels=3), records(n=10, levels=1, train_error=0.5)
    history({"gnvpro": gnvpro, "adam": adam, "none": []}, tmp_path / "h.png")
    loss, error = drawn[0].axes
    for axes, quantity in ((loss, "loss"), (error, "error")):
        assert axes.get_yscale() == "log" and "work units" in axes.get_xlabel()
        assert len(axes.lines) == 4
        for line, run, part in zip(
            axes.lines, (gnvpro, gnvpro, adam, adam), ("train", "validation") * 2, strict=True
        ):
            assert line.get_xdata().tolist() == [r["work_units"] for r in run]
            assert line.get_ydata().tolist() == [r[f"{part}_{quantity}"] for r in run]
        assert axes.lines[0].get_markevery() == [0, 10, 20]
        assert axes.lines[0].get_color() == axes.lines[1].get_color()
        assert axes.lines[0].get_color() != axes.lines[2].get_color()
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["gnvpro", "adam", "training", "validation", "start of a level"]


def test_history_against_time_has_a_logarithmic_axis_of_seconds(tmp_path, drawn):
    run = [record | {"seconds": 1e-3 * record["work_units"]} for record in records(n=20)]
    history({"a": run}, tmp_path / "h.png", against="time")
    for axes in drawn[0].axes:
        assert (axes.get_xscale(), axes.get_xlabel()) == ("log", "seconds")
        assert axes.lines[0].get_xdata().tolist() == [record["seconds"] for record in run]
        assert axes.lines[0].get_markevery() == [0, 10]


def test_history_takes_objects_and_runs_without_validation(tmp_path, drawn):
    nothing = {"validation_loss": np.nan, "validation_error": np.nan}
    plain = records(levels=1, **nothing)
    kind = dataclasses.make_dataclass("Record", list(plain[0]))
    history({"a": [kind(**record) for record in plain]}, tmp_path / "a.png")
    history({"a": plain}, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["training", "validation"]


def test_many_runs_are_all_drawn_and_named(tmp_path, drawn):
    history({f"run {i}": records(4) for i in range(150)}, tmp_path / "a.png")
    assert [len(axes.lines) for axes in drawn[-1].axes] == [300, 300]
    assert len(drawn[-1].legends[0].get_texts()) == 153
    assert min(axes.get_window_extent().height for axes in drawn[-1].axes) > 100


def test_a_history_says_what_its_error_is_where_the_task_is_known(tmp_path, drawn):
    zero = records(train_error=0.0)  # nothing misclassified: no place on a logarithmic axis
    for task, loss, error in (
        ("", "loss", "error (mean relative, or misclassified)"),
        ("regression", "loss (of scaled observables)", "mean relative error"),
        ("classification", "mean cross-entropy", "misclassified"),
    ):
        history({"a": zero}, tmp_path / "h.png", task=task)
        assert [axes.get_ylabel() for axes in drawn[-1].axes] == [loss, error]
    history({"a": records(train_error=0, validation_error=0)}, tmp_path / "h.png")
    assert [axes.get_yscale() for axes in drawn[-1].axes] == ["log", "linear"]
