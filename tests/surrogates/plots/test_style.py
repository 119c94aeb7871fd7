"""The style of all figures: formats, sizes, plain names, and no setting of the user's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from drawings import records, surveyed
from panels import MAGIC
from waiting import SECONDS, until

from surrogates.errors import InputError
from surrogates.model.classifier import assess
from surrogates.plots import style
from surrogates.plots.classification import confusion, reliability
from surrogates.plots.history import history
from surrogates.plots.regression import observations, parity

matplotlib = pytest.importorskip("matplotlib", reason="the plots extra is not installed")


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


@pytest.mark.parametrize(
    "backend",
    [
        "nope",
        *(pytest.param(name, marks=pytest.mark.thorough) for name in ("module://nope", "tkagg")),
    ],
)
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


class Noted:
    """A lock that notes when somebody has to wait for it."""

    def __init__(self) -> None:
        self.lock, self.waited_for = threading.Lock(), threading.Event()

    def __enter__(self) -> None:
        if not self.lock.acquire(blocking=False):
            self.waited_for.set()
            self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def test_figures_of_several_threads_leave_the_settings_as_they_were(tmp_path, monkeypatch):
    drawing, inside, left = Noted(), threading.Event(), threading.Event()
    monkeypatch.setattr(style, "_DRAWING", drawing)

    def other():
        with style.saved_figure(tmp_path / "b.png", (2, 2), ""):
            inside.set()
            left.wait(SECONDS)

    before, thread = dict(matplotlib.rcParams), threading.Thread(target=other)
    with style.saved_figure(tmp_path / "a.png", (2, 2), ""):
        thread.start()
        until(lambda: drawing.waited_for.is_set() or inside.is_set())
    left.set()
    thread.join(SECONDS)
    assert drawing.waited_for.is_set()
    assert (tmp_path / "b.png").is_file() and dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (10, 1000, 5, [10, 30, 100, 300, 1000]),
        (50, 500, 4, [50, 100, 200, 500]),
        (40, 900, 3, [100, 300]),
        (1e-8, 1e-2, 4, [1e-8, 1e-6, 1e-4, 1e-2]),
        (39.9, 42.6, 5, [40, 40.8, 41.6, 42.4]),
    ],
)
def test_ticks_of_logarithmic_scales_are_round_and_fit(low, high, most, ticks):
    np.testing.assert_allclose(style.log_ticks(low, high, most), ticks, rtol=1e-9)


def test_every_logarithmic_scale_has_two_ticks():
    rng = np.random.default_rng(0)
    for low, ratio, most in zip(
        10 ** rng.uniform(-9, 9, 300),
        10 ** rng.uniform(0.01, 12, 300),
        rng.integers(3, 8, 300),
        strict=True,
    ):
        ticks = style.log_ticks(low, low * ratio, most)
        assert 2 <= len(ticks) <= most, (low, ratio, most)
        assert low * (1 - 1e-6) <= ticks[0] < ticks[-1] <= low * ratio * (1 + 1e-6)


def test_logarithmic_colours_leave_out_what_has_no_logarithm():
    name, norm = style.log_colors(np.array([3.0, np.nan, -1, 0, 300, np.inf]))
    assert (norm.vmin, norm.vmax) == (3, 300) and name == style.COLORMAP
    assert style.log_colors(np.array([1.0, 1e6]), decades=2)[1].vmin == pytest.approx(1e4)
    one = style.log_colors(np.array([5.0, 5 + 1e-12]))[1]
    assert one.vmin < 5 < one.vmax
    assert style.log_colors(np.zeros(0))[1].vmin > 0
