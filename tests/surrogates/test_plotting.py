from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from surrogates import plotting
from surrogates.errors import InputError

matplotlib = pytest.importorskip("matplotlib", reason="the plots extra is not installed")

MAGIC = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


def records(n=30, levels=2, **changes):
    made = []
    for i in range(n):
        falling = np.exp(-i / 5)
        record = {
            "level": i * levels // n,
            "work_units": 20.0 * (i + 1),
            "train_loss": falling,
            "validation_loss": 2 * falling,
            "train_error": 0.1 * falling,
            "validation_error": 0.2 * falling,
        }
        made.append({**record, **changes})
    return made


@pytest.fixture
def drawn(monkeypatch):
    """Keep each figure that is written, for a look at what is in it."""
    figures = []
    savefig = matplotlib.figure.Figure.savefig

    def keep(figure, *args, **kwargs):
        figures.append(figure)
        return savefig(figure, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    return figures


@pytest.fixture
def data(dataset):
    """The dataset's description, and true and predicted observables of its done samples."""
    C = dataset.C[:-1]
    factors = 1 + 0.01 * np.arange(len(C))
    return dataset.info, C, factors[:, None] * C


def draw_all(folder, ending, info, C, prediction):
    points = np.random.default_rng(0).random((50, 2))
    plotting.history({"a": records(), "b": records()}, folder / f"h{ending}", title="T")
    plotting.parity(prediction, C, folder / f"p{ending}", unit="V", title="T")
    plotting.observations(prediction, C, info, folder / f"o{ending}", title="T")
    plotting.field(
        points,
        np.stack([points[:, 0], points[:, 1]]),
        folder / f"f{ending}",
        titles=["a", "b"],
        markers={"sensors": points[:3]},
        title="T",
    )


@pytest.mark.parametrize("ending", MAGIC)
def test_every_figure_in_every_format(tmp_path, data, ending):
    draw_all(tmp_path, ending, data[0], data[1], data[2])
    assert sorted(os.listdir(tmp_path)) == [f"{name}{ending}" for name in "fhop"]
    for path in tmp_path.iterdir():
        assert path.read_bytes().startswith(MAGIC[ending]) and path.stat().st_size > 4000


def test_the_resolution_is_150_dots_per_inch(tmp_path, data, drawn):
    plotting.parity(data[2], data[1], tmp_path / "p.png")
    header = (tmp_path / "p.png").read_bytes()[16:24]
    width, height = (int.from_bytes(header[i : i + 4], "big") for i in (0, 4))
    inches = drawn[0].get_size_inches()
    assert (width, height) == (round(150 * inches[0]), round(150 * inches[1]))


def test_history_shows_the_records_against_work_units_and_marks_levels(tmp_path, drawn):
    gnvpro, adam = records(levels=3), records(n=10, levels=1, train_error=0.5)
    plotting.history({"gnvpro": gnvpro, "adam": adam, "none": []}, tmp_path / "h.png")
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


def test_history_takes_objects_and_runs_without_validation(tmp_path, drawn):
    nothing = {"validation_loss": np.nan, "validation_error": np.nan}
    plain = records(levels=1, **nothing)
    kind = dataclasses.make_dataclass("Record", list(plain[0]))
    plotting.history({"a": [kind(**record) for record in plain]}, tmp_path / "a.png")
    plotting.history({"a": plain}, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["training", "validation"]


def test_parity_shows_every_value_and_the_errors_of_all_samples(tmp_path, data, drawn):
    _, C, prediction = data
    plotting.parity(prediction, C, tmp_path / "p.png", unit="V")
    left, right = drawn[0].axes[:2]
    assert left.collections[0].get_array().sum() == C.size
    assert left.get_xlim() == left.get_ylim() and "[V]" in left.get_xlabel()
    assert sum(bar.get_height() for bar in right.patches) == np.sum(prediction != C, axis=0)[0]
    legend = " ".join(text.get_text() for text in right.get_legend().get_texts())
    assert "mean 9.00 %" in legend and "min 0.00 %" in legend and "max 18.00 %" in legend


def test_observations_are_one_time_series_for_each_place(tmp_path, data, drawn):
    info, C, prediction = data
    plotting.observations(prediction, C, info, tmp_path / "o.png", rows=(3, 0, 99))
    panels = [axes for axes in drawn[0].axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == [
        "sample 3: relative error 3.00 %",
        "sample 0: relative error 0.00 %",
    ]
    for axes, row in zip(panels, (3, 0), strict=True):
        assert axes.get_xlabel() == "time"
        for place, (true, predicted) in enumerate(
            zip(axes.lines[::2], axes.lines[1::2], strict=True)
        ):
            assert true.get_xdata().tolist() == predicted.get_xdata().tolist() == [0.5, 1.0]
            assert true.get_ydata().tolist() == C[row, place::3].tolist()
            assert predicted.get_ydata().tolist() == prediction[row, place::3].tolist()
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["true", "predicted", "(0.1)", "(0.2)", "(0.3)"]


def test_observations_without_time_are_drawn_in_their_order(tmp_path, data, drawn):
    info, C, prediction = data
    info = dataclasses.replace(info, coordinates={})
    plotting.observations(prediction, C, info, tmp_path / "o.png", rows=[5])
    (axes,) = drawn[0].axes
    true, predicted = axes.lines
    assert true.get_xdata().tolist() == [0, 1, 2, 3, 4, 5]
    assert true.get_ydata().tolist() == C[5].tolist()
    assert predicted.get_ydata().tolist() == prediction[5].tolist()
    assert axes.get_xlabel() == "index of the observable" and axes.get_ylabel() == "observable [V]"


def test_field_panels_share_one_colour_scale_and_mark_places(tmp_path, drawn):
    points = np.random.default_rng(0).random((60, 2))
    values = np.outer(np.arange(1, 6), points[:, 0])
    sensors = np.array([[0.2, 0.3], [0.6, 0.7]])
    plotting.field(
        points, values, tmp_path / "f.png", titles=list("abcde"), markers={"sensors": sensors}
    )
    panels = [axes for axes in drawn[0].axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == list("abcde")
    limits = {axes.collections[0].get_clim() for axes in panels}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low <= values.min() and high >= values.max()
    for axes in panels:
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), sensors)
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["sensors"]


def test_a_constant_field_and_exact_predictions_are_drawn(tmp_path, data):
    plotting.field(np.random.default_rng(0).random((9, 2)), np.ones(9), tmp_path / "f.png")
    plotting.parity(data[1], data[1], tmp_path / "p.png")
    plotting.parity(np.ones((1, 1)), np.ones((1, 1)), tmp_path / "q.png")
    assert sorted(os.listdir(tmp_path)) == ["f.png", "p.png", "q.png"]


def test_what_cannot_be_drawn_is_one_clear_line_and_leaves_no_file(tmp_path, data):
    info, C, prediction = data
    out, points = tmp_path / "a.png", np.random.default_rng(0).random((9, 2))
    nan, zero = C.copy(), C.copy()
    nan[2, 1] = np.nan
    zero[2] = 0
    for draw, message in (
        (lambda: plotting.history({"a": []}, out), "the history is empty"),
        (lambda: plotting.parity(C[:3], C, out), "expected predictions of shape (19, 6); got (3,"),
        (lambda: plotting.parity(nan, C, out), "cannot draw predictions that are not finite"),
        (lambda: plotting.parity(C, nan, out), "cannot draw observables that are not finite"),
        (lambda: plotting.parity(C, zero, out), "sample 2 has no relative error"),
        (lambda: plotting.parity(C, C, tmp_path / "a.jpg"), "known endings are .png, .pdf, .svg"),
        (lambda: plotting.parity(C, C, tmp_path / "b" / "a.png"), "there is no folder"),
        (
            lambda: plotting.observations(prediction, C, info, out, rows=[19]),
            "there is no such sample among the 19",
        ),
        (
            lambda: plotting.observations(C[:, :2], C[:, :2], info, out),
            "expected 6 observables",
        ),
        (lambda: plotting.field(points, np.ones(8), out), "expected points (n, 2) for values (8,)"),
        (lambda: plotting.field(points[:2], np.ones(2), out), "at least 3 points; got 2"),
        (lambda: plotting.field(points, np.ones(9), out, titles=["a", "b"]), "1 titles; got 2"),
        (lambda: plotting.field(points, np.full(9, np.nan), out), "not finite"),
    ):
        with pytest.raises(InputError, match=re.escape(message)) as caught:
            draw()
        assert len(str(caught.value).splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install varpro-surrogates\[plots\]"):
        plotting.parity(data[1], data[1], tmp_path / "a.png")
    assert os.listdir(tmp_path) == []


def test_drawing_changes_no_setting_and_never_starts_pyplot(tmp_path):
    code = """
import sys
import surrogates.plotting
assert "matplotlib" not in sys.modules
import matplotlib
import numpy as np
before = matplotlib.rcParams.copy()
surrogates.plotting.parity(np.ones((2, 2)), np.ones((2, 2)), sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules
assert matplotlib.rcParams.copy() == before
"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], check=True, timeout=120)
