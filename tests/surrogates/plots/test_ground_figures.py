"""Figures of the ground below surveys: panels, maps, electrodes and data, whose texts are apart."""

from __future__ import annotations

import numpy as np
import pytest
from panels import MAGIC

from surrogates.plots import style
from surrogates.plots.ground import Quantity, View, ground
from surrogates.survey import Survey, made
from surrogates.survey.describing import describe
from surrogates.survey.planes import planes

pytest.importorskip("matplotlib", reason="the plots extra is not installed")

BODY = (
    np.array([[6.0, 5, -2], [9, 5, -4], [6, 8, -4], [4, 4, -4]]),
    np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]),
)


def holes():
    places = [[x, 0, -z] for x in (0, 5) for z in range(1, 11)] + [[2, 0, 0], [3, 0, 0]]
    data = [[i, i + 1, i + 10, i + 11] for i in range(9)]
    return Survey(electrodes=np.array(places, dtype=float), data=np.array(data))


def view(survey, quantities=2, body=None, **more):
    rhoa = np.linspace(50, 900, len(survey.data))
    survey = Survey(electrodes=survey.electrodes, data=survey.data, values={"rhoa": rhoa})
    found = describe(survey)
    of = planes(found, None if body is None else body[0])
    maps = []
    for plane in of:
        places = plane.pixels()[2]
        rho = 10 ** (1 + places.sum(axis=2) / 20)
        maps.append(np.where(places[..., 2] <= 0, rho, np.nan))
    colors = style.log_colors(*maps)
    shown = [
        Quantity(name=name, label=f"{name} [ohm m]", maps=maps, colors=colors)
        for name in ("resistivity", "coverage")[:quantities]
    ]
    return View(found=found, planes=of, quantities=shown, body=body, **more)


def texts(figure):
    """The boxes of all texts that are seen, in pixels."""
    figure.draw_without_rendering()  # for places at the figure's own resolution
    canvas = figure.canvas.get_renderer()
    found = {}
    for axes in figure.axes:
        every = [axes.title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = np.sort(axis.get_view_interval())
            shown = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
            every += [label for tick in shown for label in (tick.label1, tick.label2)]
        for text in every:
            if text.get_text() and text.get_visible():
                found[text] = axes, text.get_window_extent(canvas)
    return found


def overlapping(figure):
    flat = [(*where, text.get_text()) for text, where in texts(figure).items()]
    flat = [(axes, box.shrunk(0.9, 0.9), text) for axes, box, text in flat if axes.name != "3d"]
    return [
        (text, other)
        for i, (axes, box, text) in enumerate(flat)
        for beside, second, other in flat[:i]
        if box.overlaps(second) and (axes is not beside or text != other)
    ]


@pytest.mark.parametrize(
    ("survey", "body", "panels"),
    [
        (made("dipole-dipole", 24, 2.0), None, 3 * 2),
        (made("wenner", 48, 1.0), None, 3 * 2),
        (holes(), None, 3 * 2),
        (made("dipole-dipole", 10, 2.0, lines=6, line_spacing=3.0), BODY, 1 + 3 + 2 * 4),
        (made("dipole-dipole", 6, 2.0, lines=12, line_spacing=3.0), None, 1 + 3 + 2 * 4),
    ],
)
def test_texts_are_apart_and_within_the_figure(tmp_path, drawn, survey, body, panels):
    ground(view(survey, body=body), tmp_path / "g.png", title="T")
    (figure,) = drawn
    assert len(figure.axes) == panels
    assert not overlapping(figure)
    width, height = figure.bbox.size
    for text, (_, box) in texts(figure).items():
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1, text.get_text()
        assert box.y1 <= height + 1, text.get_text()


def test_maps_have_one_scale_and_the_electrodes_on_them(tmp_path, drawn):
    shown = view(made("dipole-dipole", 12, 2.0))
    for ending, magic in MAGIC.items():
        ground(shown, tmp_path / f"g{ending}")
        assert (tmp_path / f"g{ending}").read_bytes().startswith(magic)
    resistivity, bar, *_, data, _ = drawn[0].axes
    assert resistivity.get_aspect() == 1 and resistivity.get_title() == "resistivity, $x_2$ = 0 m"
    cells = resistivity.collections[0]
    np.testing.assert_allclose(
        np.ma.filled(cells.get_array(), np.nan), shown.quantities[0].maps[0], rtol=1e-12
    )
    assert np.ma.getmaskarray(cells.get_array()).any()  # above the surface
    np.testing.assert_allclose(resistivity.lines[0].get_xdata(), np.arange(12) * 2)
    assert bar.get_ylabel().replace("\n", " ") == "resistivity [ohm m]"
    assert resistivity.get_xlim() == data.get_xlim()
    place, other = (axes.get_window_extent().width for axes in (resistivity, data))
    assert place == pytest.approx(other, rel=1e-6)  # data stand below their places
    points = data.collections[0]
    np.testing.assert_allclose(points.get_array(), shown.found.resistivity)


def test_boreholes_stand_side_by_side(tmp_path, drawn):
    ground(view(holes()), tmp_path / "g.png")
    first, bar, second, *_ = drawn[0].axes
    assert first.get_position().y0 == second.get_position().y0
    assert bar.get_xlabel() == "resistivity [ohm m]"
    surface, buried = first.lines
    np.testing.assert_allclose(surface.get_xdata(), [2, 3])
    assert len(buried.get_xdata()) == 20
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["electrode", "buried electrode"]


def test_grids_have_the_body_in_space_and_slices_of_data(tmp_path, drawn):
    grid = made("dipole-dipole", 10, 2.0, lines=6, line_spacing=3.0)
    shown = view(grid, body=BODY)
    ground(shown, tmp_path / "g.png")
    space, shallow, deep, _, *maps = drawn[0].axes
    assert space.name == "3d" and len(space.collections[0].get_facecolor()) == 4
    parts = [axes.collections[0].get_array() for axes in (shallow, deep)]
    np.testing.assert_allclose(np.sort(np.concatenate(parts)), shown.found.resistivity)
    depths = shown.found.depths
    ends = [axes.get_title().split()[1::2] for axes in (shallow, deep)]
    assert float(ends[0][1][:4]) <= np.median(depths) < float(ends[1][1][:4])
    titles = [axes.get_title() for axes in maps if axes.get_title()]
    assert titles[:3] == [
        f"resistivity, {name}" for name in ("$x_3$ = −3 m", "$x_2$ = 6 m", "$x_1$ = 6.5 m")
    ]
    level = maps[0]
    np.testing.assert_allclose(level.lines[0].get_xydata(), grid.electrodes[:, :2])
    section = maps[1]
    np.testing.assert_allclose(section.lines[0].get_xdata(), np.arange(10) * 2)  # of one line


def test_one_quantity_without_data(tmp_path, drawn):
    grid = made("dipole-dipole", 6, 2.0, lines=6, line_spacing=3.0)
    ground(view(grid, quantities=1, data=False), tmp_path / "g.png")
    assert len(drawn[0].axes) == 3 + 1 and not overlapping(drawn[0])
    ground(view(made("wenner", 12), quantities=1, data=False), tmp_path / "l.png")
    assert len(drawn[1].axes) == 2
