from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from surrogates.data import Info
from surrogates.errors import InputError
from surrogates.model.classifier import assess
from surrogates.plots import style
from surrogates.plots.classification import confusion, reliability
from surrogates.plots.history import history
from surrogates.plots.regression import observations, parity

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
    from matplotlib.figure import Figure

    figures = []
    savefig = Figure.savefig

    def keep(figure, *args, **kwargs):
        figures.append(figure)
        return savefig(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


@pytest.fixture
def data(dataset):
    """The dataset's description, and true and predicted observables of its done samples."""
    C = dataset.C[:-1]
    factors = 1 + 0.01 * np.arange(len(C))
    return dataset.info, C, factors[:, None] * C


X1, X2 = np.array([-2.0, -1.0, 1.0, 2.0]), np.array([-3.0, 0.0, 3.0])


@pytest.fixture
def survey():
    """The description of a survey: at 4 x 3 places differences along x1, then along x2."""
    n = 2 * len(X1) * len(X2)
    return Info(
        problem="toy",
        total=3,
        y_names=("a",),
        y_units=("m",),
        y_lower=np.zeros(1),
        y_upper=np.ones(1),
        c_names=tuple(f"c{i}" for i in range(n)),
        c_units=("V",) * n,
        coordinates={
            "direction": np.repeat([1.0, 2.0], n // 2),
            "x1": np.tile(X1, 2 * len(X2)),
            "x2": np.tile(np.repeat(X2, len(X1)), 2),
        },
    )


def surveyed(n=3):
    """Observables (n, 24): those along x1 positive, those along x2 of both signs; predictions."""
    rng = np.random.default_rng(0)
    C = np.concatenate([rng.uniform(1, 2, (n, 12)), rng.uniform(-2, 1, (n, 12))], axis=1)
    return C, C + rng.normal(0, 0.1, C.shape)


def panels_of(figure):
    """Its axes by their title; the colour bars are inside them."""
    return {axes.get_title(): axes for axes in figure.axes}


def mapped(axes):
    """The values, limits of the colours, and the name of the colours of a map."""
    (cells,) = axes.collections
    return np.asarray(cells.get_array()), cells.get_clim(), cells.get_cmap().name


def bar_label(axes):
    (bar,) = axes.child_axes
    return bar.get_ylabel()


def draw_all(folder, ending, info, C, prediction):
    history({"a": records(), "b": records()}, folder / f"h{ending}", title="T")
    parity(prediction, C, folder / f"p{ending}", unit="V", title="T")
    observations(prediction, C, info, folder / f"o{ending}", title="T")


@pytest.mark.parametrize(
    "ending", [".png", *[pytest.param(x, marks=pytest.mark.thorough) for x in (".pdf", ".svg")]]
)
def test_every_figure_in_every_format(tmp_path, data, ending):
    draw_all(tmp_path, ending, data[0], data[1], data[2])
    assert sorted(os.listdir(tmp_path)) == [f"{name}{ending}" for name in "hop"]
    for path in tmp_path.iterdir():
        assert path.read_bytes().startswith(MAGIC[ending]) and path.stat().st_size > 4000


def test_the_resolution_is_150_dots_per_inch(tmp_path, data, drawn):
    parity(data[2], data[1], tmp_path / "p.png")
    header = (tmp_path / "p.png").read_bytes()[16:24]
    width, height = (int.from_bytes(header[i : i + 4], "big") for i in (0, 4))
    inches = drawn[0].get_size_inches()
    assert (width, height) == (round(150 * inches[0]), round(150 * inches[1]))


def test_figures_have_one_width_and_one_row_of_panels_one_height(tmp_path, data, survey, drawn):
    info, C, prediction = data
    out = tmp_path / "a.png"
    history({"a": records(), "b": records()}, out)
    parity(prediction, C, out)
    observations(prediction, C, info, out, rows=[0])
    confusion([[3, 1], [0, 2]], ("a", "b"), out)
    reliability(assess(lambda Y: Y, torch.eye(2), torch.eye(2)), out)
    one_row = [tuple(figure.get_size_inches()) for figure in drawn]
    assert one_row == [(style.WIDTH, style.HEIGHT)] * 5
    observations(prediction, C, info, out)
    observations(*reversed(surveyed()), survey, out)
    assert [figure.get_size_inches()[0] for figure in drawn[5:]] == [style.WIDTH] * 2


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


def test_parity_shows_every_value_and_the_errors_of_all_samples(tmp_path, data, drawn):
    _, C, prediction = data
    parity(prediction, C, tmp_path / "p.png", unit="V")
    left, right = drawn[0].axes[:2]
    assert left.collections[0].get_array().sum() == C.size
    assert left.get_xlim() == left.get_ylim() and "[V]" in left.get_xlabel()
    assert sum(bar.get_height() for bar in right.patches) == np.sum(prediction != C, axis=0)[0]
    legend = " ".join(text.get_text() for text in right.get_legend().get_texts())
    assert "mean 9.00 %" in legend and "min 0.00 %" in legend and "max 18.00 %" in legend


def test_observations_are_one_time_series_for_each_place(tmp_path, data, drawn):
    info, C, prediction = data
    observations(prediction, C, info, tmp_path / "o.png", rows=(3, 0, 99))
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
    observations(prediction, C, info, tmp_path / "o.png", rows=[5])
    (axes,) = drawn[0].axes
    true, predicted = axes.lines
    assert true.get_xdata().tolist() == [0, 1, 2, 3, 4, 5]
    assert true.get_ydata().tolist() == C[5].tolist()
    assert predicted.get_ydata().tolist() == prediction[5].tolist()
    assert axes.get_xlabel() == "index of the observable" and axes.get_ylabel() == "observable [V]"


def test_observations_on_grids_are_maps_of_two_samples(tmp_path, survey, drawn):
    C, prediction = surveyed()
    # The order of the observables must not matter: they are placed by their coordinates.
    order = np.random.default_rng(1).permutation(C.shape[1])
    coordinates = {name: x[order] for name, x in survey.coordinates.items()}
    survey = dataclasses.replace(survey, coordinates=coordinates)
    observations(prediction[:, order], C[:, order], survey, tmp_path / "o.png", rows=(2, 0, 1))
    assert len(drawn[0].axes) == 2 * 2 * 3
    for part, row in zip(drawn[0].subfigs, (2, 0), strict=True):
        error = np.linalg.norm(prediction[row] - C[row]) / np.linalg.norm(C[row])
        assert part.get_suptitle() == f"sample {row}: relative error {100 * error:.2f} %"
        panels = panels_of(part)
        for i in (1, 2):
            true, predicted = (
                1e3 * values[row].reshape(2, 3, 4)[i - 1] for values in (C, prediction)
            )
            names = [f"{what} along $x_{i}$" for what in ("observed", "predicted")]
            both = [mapped(panels[name]) for name in names]
            for (values, limits, colors), expected in zip(both, (true, predicted), strict=True):
                np.testing.assert_array_equal(values, expected)
                low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
                limit = max(-low, high)
                assert limits == ((low, high) if i == 1 else (-limit, limit))
                assert colors == ("cividis" if i == 1 else "RdBu_r")
            difference = panels[f"predicted - observed along $x_{i}$"]
            values, limits, colors = mapped(difference)
            np.testing.assert_array_equal(values, predicted - true)
            limit = np.abs(predicted - true).max()
            assert limits == (-limit, limit) and colors == "RdBu_r"
            for axes in (panels[names[0]], difference):
                assert bar_label(axes) == "[mV]"
                assert axes.get_xlim() == (-2.5, 2.5) and axes.get_ylim() == (-4.5, 4.5)


def test_observations_minus_a_mean(tmp_path, survey, drawn):
    C, prediction = surveyed()
    mean = C.mean(axis=0)
    observations(prediction, C, survey, tmp_path / "o.png", rows=[1], mean=mean)
    observations(prediction, C, survey, tmp_path / "p.png", rows=[1])
    error = np.linalg.norm(prediction[1] - C[1]) / np.linalg.norm(C[1])
    centred = np.linalg.norm(prediction[1] - C[1]) / np.linalg.norm(C[1] - mean)
    assert drawn[0].subfigs[0].get_suptitle() == (
        f"sample 1 minus the training mean: relative error {100 * error:.2f} %, "
        f"centred {100 * centred:.2f} %"
    )
    panels, whole = panels_of(drawn[0]), panels_of(drawn[1])
    for name, values in (("observed", C), ("predicted", prediction)):
        shown = mapped(panels[f"{name} along $x_2$"])[0]
        np.testing.assert_array_equal(shown, 1e3 * (values[1] - mean)[12:].reshape(3, 4))
    same = "predicted - observed along $x_2$"
    np.testing.assert_allclose(mapped(panels[same])[0], mapped(whole[same])[0], atol=1e-9)


def test_a_mean_that_does_not_fit_is_refused(tmp_path, survey):
    C, prediction = surveyed()
    for mean, words in (
        (C[0, :5], "expected a mean of shape (24,); got (5,)"),
        (np.full(24, np.nan), "cannot draw a mean: a value is not finite"),
        (C[1], "sample 1 has no relative error: its observables are all the mean's"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            observations(prediction, C, survey, tmp_path / "o.png", mean=mean)


@pytest.mark.parametrize("change", ["hole", "twice", "line", "no direction"])
def test_observations_on_no_full_grid_are_drawn_in_their_order(tmp_path, survey, drawn, change):
    C, prediction = surveyed()
    coordinates = {name: x.copy() for name, x in survey.coordinates.items()}
    if change == "hole":
        coordinates["x1"][23] = 7
    elif change == "twice":
        coordinates["x1"][23] = coordinates["x1"][22]
    elif change == "line":
        coordinates["x1"][:] = np.arange(24)
        coordinates["x2"][:] = 0
    else:
        del coordinates["direction"]
    survey = dataclasses.replace(survey, coordinates=coordinates)
    observations(prediction, C, survey, tmp_path / "o.png")
    visible = [axes for axes in drawn[0].axes if axes.get_visible()]
    assert len(visible) == 3
    for axes, true in zip(visible, C, strict=True):
        assert axes.lines[0].get_ydata().tolist() == true.tolist()


def test_exact_predictions_are_drawn(tmp_path, data):
    parity(data[1], data[1], tmp_path / "p.png")
    parity(np.ones((1, 1)), np.ones((1, 1)), tmp_path / "q.png")
    assert sorted(os.listdir(tmp_path)) == ["p.png", "q.png"]


def test_what_cannot_be_drawn_is_one_clear_line_and_leaves_no_file(tmp_path, data):
    info, C, prediction = data
    out = tmp_path / "a.png"
    nan, zero = C.copy(), C.copy()
    nan[2, 1] = np.nan
    zero[2] = 0
    for draw, message in (
        (lambda: history({"a": []}, out), "the history is empty"),
        (lambda: parity(C[:3], C, out), "expected predictions of shape (19, 6); got (3,"),
        (lambda: parity(nan, C, out), "cannot draw predictions that are not finite"),
        (lambda: parity(C, nan, out), "cannot draw observables that are not finite"),
        (lambda: parity(C, zero, out), "sample 2 has no relative error"),
        (lambda: parity(C, C, tmp_path / "a.jpg"), "known endings are .png, .pdf, .svg"),
        (lambda: parity(C, C, tmp_path / "b" / "a.png"), "there is no folder"),
        (
            lambda: observations(prediction, C, info, out, rows=[19]),
            "there is no such sample among the 19",
        ),
        (
            lambda: observations(C[:, :2], C[:, :2], info, out),
            "expected 6 observables",
        ),
    ):
        with pytest.raises(InputError, match=re.escape(message)) as caught:
            draw()
        assert len(str(caught.value).splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install varpro-surrogates\[plots\]"):
        parity(data[1], data[1], tmp_path / "a.png")
    assert os.listdir(tmp_path) == []


def test_drawing_changes_no_setting_and_never_starts_pyplot(tmp_path):
    code = """
import sys
import threading
import surrogates.plots.regression
assert "matplotlib" not in sys.modules
import matplotlib
import numpy as np
matplotlib.rcParams["image.origin"] = "lower"
before = matplotlib.rcParams.copy()
surrogates.plots.regression.parity(np.ones((2, 2)), np.ones((2, 2)), sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules
assert matplotlib.rcParams.copy() == before
"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], check=True, timeout=120)


HOSTILE = """
text.usetex: True
text.parse_math: False
image.origin: lower
font.family: serif
axes.prop_cycle: cycler('color', ['r'])
axes.formatter.use_locale: True
axes.unicode_minus: False
figure.autolayout: True
savefig.bbox: tight
savefig.dpi: 30
savefig.transparent: True
svg.fonttype: none
pdf.fonttype: 42
"""


@pytest.mark.parametrize("backend", ["nope", "module://nope", "tkagg"])
def test_no_setting_of_the_user_changes_a_figure(tmp_path, backend):
    code = """
import os
import sys
import threading
import numpy as np
from surrogates.plots.classification import confusion
from surrogates.plots.regression import parity
os.chdir(sys.argv[1])
for ending in ("png", "pdf", "svg"):
    confusion([[3, 1], [0, 2]], ("a", "$b$"), f"c.{ending}", title="T")
    parity(np.eye(3) + 1, np.eye(3) - 3, f"p.{ending}", unit="V")
import matplotlib
assert os.environ.get("MPLBACKEND", "") == sys.argv[2]
if "MPLBACKEND" in os.environ and sys.argv[2] != "nope":  # for figures of the user's own
    assert matplotlib.rcParams["backend"].lower() == sys.argv[2]
"""
    usual = {key: os.environ[key] for key in os.environ if not key.startswith("MPL")}
    (tmp_path / "matplotlibrc").write_text(HOSTILE)
    hostile = {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "MPLBACKEND": backend}
    made = []
    for name, own in (("usual", {}), ("hostile", hostile)):
        (tmp_path / name).mkdir()
        command = [sys.executable, "-c", code, tmp_path / name, own.get("MPLBACKEND", "")]
        subprocess.run(command, check=True, timeout=240, env={**usual, **own})
        made.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert len(made[0]) == 6 and made[0] == made[1]


def test_settings_that_matplotlib_cannot_read_are_one_clear_line(tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(b"font.family: \xff\n")
    code = """
import sys
import threading
import numpy as np
from surrogates.errors import InputError
from surrogates.plots.regression import parity
try:
    parity(np.ones((2, 2)), np.ones((2, 2)), sys.argv[1])
except InputError as error:
    sys.exit(str(error))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.png"],
        env={**os.environ, "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")},
        timeout=240,
        capture_output=True,
        text=True,
    )
    last = ended.stderr.splitlines()[-1]
    assert ended.returncode == 1 and last.startswith("matplotlib cannot read its settings")


NAMES = {
    "_hidden": "_hidden",
    "$a$ for $b$": r"\$a\$ for \$b\$",
    "$": r"\$",
    r"\frac{1}{2}^_%": r"\frac{1}{2}^_%",
    "a\n b\tc": "a b c",
    "水 in \0🌾\udc80": "\ufffd in \ufffd\ufffd\ufffd",
    "\u202eabc\u200b": "\ufffdabc\ufffd",
    "e\u0301": "é",
    "x" * 10_000: "x" * 59 + "…",
    "": "",
}


@pytest.mark.parametrize("ending", MAGIC)
def test_names_are_plain_text_on_one_line(tmp_path, drawn, ending):
    out, shown = tmp_path / f"a{ending}", list(NAMES.values())

    def legend():
        ((found,),) = (figure.legends for figure in drawn[-1:])
        return [text.get_text() for text in found.get_texts()]

    history({name: records() for name in NAMES}, out, title="$x$ 水")
    assert legend() == [*shown, "training", "validation", "start of a level"]
    assert drawn[-1].texts[0].get_text() == "\\$x\\$ \ufffd"
    confusion(np.eye(len(NAMES)), list(NAMES), out)
    axes = drawn[-1].axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == shown
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"{s} (1)" for s in shown]
    parity(np.ones((2, 2)), np.ones((2, 2)), out, unit="$m$")
    assert drawn[-1].axes[0].get_xlabel() == r"true observable [\$m\$]"


def test_characters_that_cannot_be_drawn_are_told(caplog):
    assert style.plain("a水") == "a\ufffd"
    assert style.plain("é²₁Δ — ok") == "é²₁Δ — ok"
    (record,) = caplog.records
    assert record.getMessage() == (
        r"the figures' font lacks characters of 'a\u6c34': drawn as a" "\ufffd"
    )


def test_many_runs_are_all_drawn_and_named(tmp_path, drawn):
    history({f"run {i}": records(4) for i in range(150)}, tmp_path / "a.png")
    assert [len(axes.lines) for axes in drawn[-1].axes] == [300, 300]
    assert len(drawn[-1].legends[0].get_texts()) == 153
    assert min(axes.get_window_extent().height for axes in drawn[-1].axes) > 100


def texts(axes):
    return [text.get_text() for text in axes.texts]


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


def test_a_confusion_matrix_shows_the_shares_of_each_true_class(tmp_path, drawn):
    counts = [[30, 10, 0], [1, 398, 1], [0, 0, 0]]
    names = ("corn", "grass", "hay")
    confusion(counts, names, tmp_path / "c.png", title="test samples")
    assert (tmp_path / "c.png").read_bytes()[:4] == MAGIC[".png"]
    axes = drawn[-1].axes[0]
    shares = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_allclose(shares[:2], [[75, 25, 0], [0.25, 99.5, 0.25]])
    assert np.isnan(shares[2]).all()
    assert texts(axes) == ["75", "25", "100"]  # what is less than a half is left blank
    assert [label.get_text() for label in axes.get_xticklabels()] == list(names)
    rows = ["corn (40)", "grass (400)", "hay (0)"]
    assert [label.get_text() for label in axes.get_yticklabels()] == rows


@pytest.mark.parametrize("n", [2, 16, 40])
def test_the_numbers_of_a_confusion_matrix_stay_in_their_cells(tmp_path, drawn, n):
    names = [f"Buildings-Grass-Trees-Drives {i}" for i in range(n)]
    confusion(100 * np.eye(n) + 1, names, tmp_path / "c.png")
    drawn[-1].draw_without_rendering()  # at its own resolution, not the file's
    axes = drawn[-1].axes[0]
    cell = axes.get_window_extent().width / n
    assert len(axes.texts) == (0 if n == 40 else n * n)
    assert all(text.get_window_extent().width < cell for text in axes.texts)
    heights = [label.get_window_extent().height for label in axes.get_yticklabels()]
    assert max(heights) < cell  # the names do not overlap
    assert min(label.get_window_extent().x0 for label in axes.get_yticklabels()) > 0
    assert axes.yaxis.label.get_window_extent().x0 >= 0


def test_reliability_shows_accuracy_where_there_are_samples(tmp_path, drawn):
    p = np.array([0.95] * 6 + [0.65] * 4)
    C = np.eye(2)[[0] * 5 + [1] + [0] * 3 + [1]]
    logits = torch.from_numpy(np.log(np.stack([p, 1 - p], axis=1)))
    found = assess(lambda Y: Y, logits, torch.from_numpy(C))
    reliability(found, tmp_path / "r.pdf")
    assert (tmp_path / "r.pdf").read_bytes()[:4] == MAGIC[".pdf"]
    left, right = drawn[-1].axes
    np.testing.assert_allclose([bar.get_height() for bar in left.patches], [3 / 4, 5 / 6])
    np.testing.assert_allclose([bar.get_x() for bar in left.patches], [0.6, 0.9])
    assert [bar.get_height() for bar in right.patches] == [4, 6]
    assert left.get_title() == "expected calibration error 11.0 %"


def test_reliability_of_soft_labels_is_that_of_their_probabilities(tmp_path, drawn):
    p = torch.tensor([0.95] * 6 + [0.65] * 4, dtype=torch.float64)
    C = torch.stack([p, 1 - p], dim=1)
    reliability(assess(lambda Y: Y, C.log(), C), tmp_path / "r.png")
    left, _ = drawn[-1].axes
    np.testing.assert_allclose([bar.get_height() for bar in left.patches], [0.65, 0.95])
    assert left.get_title() == "expected calibration error 0.0 %"


def test_what_is_no_confusion_matrix_is_one_clear_line(tmp_path):
    for counts, message in (
        (np.ones((2, 3)), r"expected counts of shape \(2, 2\); got \(2, 3\)"),
        ([[1, -1], [0, 1]], "expected counts >= 0, not all 0"),
        (np.zeros((2, 2)), "expected counts >= 0, not all 0"),
        ([[np.nan, 1], [1, 1]], "a value is not finite"),
    ):
        with pytest.raises(InputError, match=message):
            confusion(counts, ("a", "b"), tmp_path / "c.png")
    assert not list(tmp_path.iterdir())


def test_figures_of_several_threads_leave_the_settings_as_they_were(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    inside, left = threading.Event(), threading.Event()

    def other():
        with style.saved_figure(tmp_path / "b.png", (2, 2), ""):
            inside.set()
            left.wait(20)

    before, thread = dict(matplotlib.rcParams), threading.Thread(target=other)
    with style.saved_figure(tmp_path / "a.png", (2, 2), ""):
        thread.start()
        inside.wait(0.5)  # which it must not be
    left.set()
    thread.join(20)
    assert (tmp_path / "b.png").is_file() and dict(matplotlib.rcParams) == before
