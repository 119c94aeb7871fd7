"""The figures of CDR and DCR: what they show, and what they refuse."""

from __future__ import annotations

import os
import re

import matplotlib
import numpy as np
import pytest
from panels import MAGIC, X1, X2, bar_label, mapped, panels_of

from surrogates.errors import InputError
from surrogates.pde.cdr import figures as cdr_figures
from surrogates.pde.dcr import figures as dcr_figures
from surrogates.plots import style

pytestmark = pytest.mark.fenicsx


def pictured(**changes):
    """Arguments of a drawing of a tetrahedron under 4 x 3 stations; ``part__name`` changes one."""
    x1, x3 = np.linspace(-5, 5, 11), np.linspace(-4, 0, 12)
    potential = np.outer(np.linspace(0.5, 1, 12), x1)
    potential[11, 10], potential[4, 5] = 1e6, np.nan
    rng = np.random.default_rng(0)
    parts = {
        "box": ((-3, 3), (-4, 4), (-2, 0)),
        "body": {
            "vertices": np.array([[0, 0, -1], [1, 0, -2], [0, 1, -2], [-1, -1, -2.0]]),
            "triangles": np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]),
            "stations": np.array([[x, y, 0] for y in X2 for x in X1]),
            "electrodes": np.array([[-2.5, 0, 0], [9, 0, 0]]),
        },
        "section": {
            "x1": x1,
            "x3": x3,
            "conductivity": np.where(np.abs(x1) + x3[:, None] < 0, 1, 0.01),
            "potential": potential,
        },
        "maps": {
            "x1": X1,
            "x2": X2,
            "values": np.stack([rng.uniform(1, 2, (3, 4)), rng.uniform(-1, 3, (3, 4))]),
            "anomaly": rng.uniform(-1, 1, (2, 3, 4)),
        },
    }
    for key, value in changes.items():
        part, _, name = key.partition("__")
        parts[part] = {**parts[part], name: value} if name else value
    return parts


@pytest.mark.parametrize("ending", MAGIC)
def test_figures_of_problems_in_every_format(tmp_path, ending):
    points = np.random.default_rng(0).random((50, 2))
    marks = {"sensors": points[:3]}
    how = {"titles": ["a", "b"], "markers": marks, "title": "T"}
    cdr_figures.draw(points, points.T.copy(), tmp_path / f"c{ending}", **how)
    dcr_figures.draw(tmp_path / f"d{ending}", **pictured(), title="T")
    for name in "cd":
        content = (tmp_path / f"{name}{ending}").read_bytes()
        assert content.startswith(MAGIC[ending]) and len(content) > 4000


def test_dcr_shows_the_body_in_its_box(tmp_path, drawn):
    parts = pictured()
    dcr_figures.draw(tmp_path / "r.png", **parts, title="T")
    assert drawn[0].get_suptitle() == "T" and len(drawn[0].axes) == 1 + 2 + 4
    assert drawn[0].get_size_inches()[0] == style.WIDTH
    axes = drawn[0].axes[0]
    assert [axes.get_xlim(), axes.get_ylim(), axes.get_zlim()] == list(parts["box"])
    sides = np.array([6, 8, 2])
    np.testing.assert_allclose(axes._box_aspect / axes._box_aspect[0], sides / sides[0])
    labels = [axes.get_xlabel(), axes.get_ylabel(), axes.get_zlabel()]
    assert labels == ["$x_1$ [m]", "$x_2$ [m]", "$x_3$ [m]"]
    (surface,) = axes.collections
    assert len(surface.get_facecolor()) == 4
    assert axes.zaxis.get_data_interval()[0] == -2
    stations, electrodes = axes.lines
    np.testing.assert_array_equal(np.transpose(stations.get_data_3d()), parts["body"]["stations"])
    np.testing.assert_array_equal(np.transpose(electrodes.get_data_3d()), [[-2.5, 0, 0]])
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["body", "stations", "electrodes"]


def test_dcr_shows_a_section_and_maps(tmp_path, drawn):
    parts = pictured()
    dcr_figures.draw(tmp_path / "r.png", **parts)
    panels = panels_of(drawn[0])
    conductivity, potential = panels["conductivity"], panels["potential"]
    values, limits, colors = mapped(conductivity)
    np.testing.assert_array_equal(values, parts["section"]["conductivity"])
    assert limits == (0.01, 1) and colors == "cividis" and bar_label(conductivity) == "[S/m]"
    assert isinstance(conductivity.collections[0].norm, matplotlib.colors.LogNorm)
    assert potential.get_xlim() == (-5, 5) and potential.get_ylim() == (-4, 0)
    assert bar_label(potential) == "[V]"
    filled, lines = (c.levels for c in potential.collections)
    np.testing.assert_array_equal(filled, lines)
    np.testing.assert_allclose(filled, -filled[::-1], atol=1e-12)
    low, high = np.nanpercentile(parts["section"]["potential"], (1, 99))
    assert max(-low, high) <= filled[-1] < 1.2 * max(-low, high) < 10  # not 1e6, at the electrode
    for axes in (conductivity, potential):
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("$x_1$ [m]", "$x_3$ [m]")
    for what, name in ((r"$\Delta V$", "values"), ("anomaly", "anomaly")):
        for i, volts in enumerate(parts["maps"][name], 1):
            axes = panels[f"{what} along $x_{i}$"]
            values, limits, colors = mapped(axes)
            np.testing.assert_array_equal(values, 1e3 * volts)
            signed = (what, i) != (r"$\Delta V$", 1)
            limit = np.abs(values).max()
            assert limits == ((-limit, limit) if signed else (values.min(), limit))
            assert colors == ("RdBu_r" if signed else "cividis") and bar_label(axes) == "[mV]"
            assert axes.get_xlim() == (-2.5, 2.5) and axes.get_ylim() == (-4.5, 4.5)
            assert axes.get_aspect() == 1


def test_dcr_without_contrast_or_current_is_drawn(tmp_path):
    dcr_figures.draw(
        tmp_path / "r.png",
        **pictured(
            section__conductivity=np.ones((12, 11)),
            section__potential=np.zeros((12, 11)),
            maps__values=np.zeros((2, 3, 4)),
            maps__anomaly=np.zeros((2, 3, 4)),
        ),
    )
    assert os.listdir(tmp_path) == ["r.png"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"box": ((0, 1), (0, 1))}, "expected a box of shape (3, 2); got (2, 2)"),
        ({"box": ((0, 1), (0, 1), (0, -1))}, "expected low < high in the box"),
        ({"maps": {"x1": X1}}, "expected for maps: anomaly, values, x1, x2; got x1"),
        ({"section__extra": X1}, "expected for section: conductivity, potential, x1, x3; got"),
        ({"body__vertices": np.ones((4, 2))}, "expected vertices of shape (4, 3); got (4, 2)"),
        ({"body__stations": np.ones((0, 3))}, "expected stations of shape (1, 3); got (0, 3)"),
        ({"body__electrodes": np.ones((3, 3))}, "expected electrodes of shape (2, 3); got (3, 3)"),
        ({"body__triangles": np.array([[0, 1, 4]])}, "expected triangles of integers from 0 to 3"),
        ({"body__triangles": np.ones((1, 3))}, "expected triangles of integers from 0 to 3"),
        ({"section__x1": -np.arange(11.0)}, "expected at least 2 increasing x1 of the section"),
        (
            {"section__conductivity": np.ones((11, 12))},
            "a conductivity of shape (12, 11); got (11,",
        ),
        ({"section__conductivity": np.zeros((12, 11))}, "expected a conductivity > 0"),
        ({"section__potential": np.ones(9)}, "expected a potential of shape (12, 11); got (9,)"),
        ({"section__potential": np.full((12, 11), np.nan)}, "the potential is NaN everywhere"),
        ({"section__potential": np.full((12, 11), np.inf)}, "a potential: a value is not finite"),
        ({"maps__x2": X2[:1]}, "expected at least 2 increasing x2 of the maps; got shape (1,)"),
        ({"maps__values": np.ones((2, 4, 3))}, "expected values of shape (2, 3, 4); got (2, 4, 3)"),
        ({"maps__anomaly": np.full((2, 3, 4), np.nan)}, "an anomaly: a value is not finite"),
    ],
)
def test_what_dcr_cannot_draw(tmp_path, changes, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        dcr_figures.draw(tmp_path / "r.png", **pictured(**changes))
    assert len(str(caught.value).splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_cdr_panels_share_one_colour_scale_and_mark_places(tmp_path, drawn):
    points = np.random.default_rng(0).random((60, 2))
    values = np.outer(np.arange(1, 6), points[:, 0])
    sensors = np.array([[0.2, 0.3], [0.6, 0.7]])
    cdr_figures.draw(
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


def test_cdr_names_are_plain_text_and_every_mark_is_named(tmp_path, drawn):
    points, out = np.random.default_rng(0).random((9, 2)), tmp_path / "f.png"
    names = ["$x$", "_a", "a%b", *(f"mark {i}" for i in range(7))]
    shown = [r"\$x\$", *names[1:]]
    marks = {name: points[:2] for name in names}
    cdr_figures.draw(points, np.ones((10, 9)), out, titles=names, label="$u$", markers=marks)
    assert [text.get_text() for text in drawn[-1].legends[0].get_texts()] == shown
    assert [axes.get_title() for axes in drawn[-1].axes[:10]] == shown
    assert drawn[-1].axes[-1].get_ylabel() == r"\$u\$"
    assert len(drawn[-1].axes[0].lines) == 10


def test_what_cdr_cannot_draw(tmp_path):
    points, out = np.random.default_rng(0).random((9, 2)), tmp_path / "f.png"
    for draw, message in (
        (lambda: cdr_figures.draw(points, np.ones(8), out), "expected points (n, 2) for values (8"),
        (lambda: cdr_figures.draw(points[:2], np.ones(2), out), "at least 3 points; got 2"),
        (lambda: cdr_figures.draw(points, np.ones(9), out, titles=["a", "b"]), "1 titles; got 2"),
        (lambda: cdr_figures.draw(points, np.full(9, np.nan), out), "not finite"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            draw()
    assert os.listdir(tmp_path) == []
