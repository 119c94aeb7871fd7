"""Figures of DC resistivity surveys."""

from __future__ import annotations

import numpy as np
import pytest
from commands import run
from panels import MAGIC

from surrogates.plots.survey import places, survey
from surrogates.survey import Survey, made
from surrogates.survey.describing import describe
from surrogates.survey.profiles import profiles

pytest.importorskip("matplotlib", reason="the plots extra is not installed")


def test_lines_are_found_in_any_direction():
    grid = made("wenner", 8, 2.0, lines=4, line_spacing=3.0, both=True)
    angle = 0.3
    turned = grid.electrodes.copy()
    turned[:, 0] = np.cos(angle) * grid.electrodes[:, 0] - np.sin(angle) * grid.electrodes[:, 1]
    turned[:, 1] = np.sin(angle) * grid.electrodes[:, 0] + np.cos(angle) * grid.electrodes[:, 1]
    for electrodes in (grid.electrodes, turned):
        found = profiles(Survey(electrodes=electrodes, data=grid.data))
        assert [len(line.electrodes) for line in found] == [8] * 4 + [4] * 8
        for line in found:
            along = np.sort(line.along(electrodes[line.electrodes]))
            np.testing.assert_allclose(np.diff(along), 2.0 if len(along) == 8 else 3.0, rtol=1e-9)
    assert sum(len(line.data) for line in found) == len(grid.data)


def test_data_off_one_line_are_on_no_profile():
    electrodes = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [1, 2, 0]])
    assert profiles(Survey(electrodes=electrodes, data=np.array([[0, 1, 2, 3]]))) == []


def test_lines_are_drawn_as_pseudosections(tmp_path, drawn):
    line = made("dipole-dipole", 12, 2.0, lines=2, line_spacing=9.0)
    rhoa = np.linspace(50, 100, len(line.data))
    rhoa[[3, 4]] = -1.0
    found = describe(Survey(electrodes=line.electrodes, data=line.data, values={"rhoa": rhoa}))
    for ending, magic in MAGIC.items():
        survey(found, tmp_path / f"s{ending}", title="two lines")
        assert (tmp_path / f"s{ending}").read_bytes().startswith(magic)
    first, second, bar = drawn[0].axes
    assert bar.get_ylabel() == "apparent resistivity [ohm m]"
    assert first.get_title().startswith("from $x_1$ = 0, $x_2$ = 0 m, at 0°")
    assert second.get_title().startswith("from $x_1$ = 0, $x_2$ = 9 m")
    points = first.collections[0]
    kept = np.setdiff1d(np.arange(len(rhoa) // 2), [3, 4])
    np.testing.assert_allclose(points.get_array(), rhoa[kept])
    np.testing.assert_allclose(points.get_offsets(), places(found)[kept][:, [0, 2]])
    np.testing.assert_allclose(first.lines[0].get_xdata(), places(found)[[3, 4], 0])  # crosses


def test_data_between_boreholes_are_drawn_by_both_depths(tmp_path, drawn):
    places = np.array([[x, 0.0, -z] for x in (0.0, 6.0) for z in range(9)])
    data = np.array([(i, i + 1, 9 + j, 10 + j) for i in range(8) for j in range(8)])
    found = describe(Survey(electrodes=places, data=data))
    survey(found, tmp_path / "s.png")
    axes = drawn[0].axes[0]
    assert "of m and n" in axes.get_ylabel()
    offsets = np.asarray(axes.collections[0].get_offsets())
    shown = np.isfinite(found.factors)
    expected = [(-i - 0.5, -j - 0.5) for i in range(8) for j in range(8)]
    np.testing.assert_allclose(offsets, np.array(expected)[shown])


def test_grids_are_drawn_in_space(tmp_path, drawn):
    grid = made("pole-pole", 5, lines=7, both=True)
    survey(describe(grid), tmp_path / "s.png")
    axes, bar = drawn[0].axes
    assert axes.name == "3d" and bar.get_ylabel() == "geometric factor [m]"
    assert len(axes.collections[0].get_array()) == len(grid.data)


def test_data_lie_below_the_surface_on_topography():
    line = made("wenner", 8)
    raised = line.electrodes + np.array([0, 0, 10]) + 0.5 * line.electrodes[:, [1, 2, 0]]
    found = describe(Survey(electrodes=raised, data=line.data))
    assert not found.ground.flat
    middle = raised[line.data].mean(axis=1)
    np.testing.assert_allclose(places(found)[:, :2], middle[:, :2])
    np.testing.assert_allclose(places(found)[:, 2], middle[:, 2] - found.depths)
    slope = np.hypot(1, 0.5)  # depths are those of distances along the slope
    np.testing.assert_allclose(found.depths, slope * describe(line).depths, rtol=1e-3)


def test_equal_values_are_drawn(tmp_path):
    line = made("wenner", 4)
    survey(describe(line), tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 1000


def test_the_command_draws(tmp_path, capsys):
    out = tmp_path / "s.svg"
    assert run("survey", "--array", "wenner", "--plot", out) == 0
    assert out.read_bytes().startswith(MAGIC[".svg"])
    assert f"wrote {out}" in capsys.readouterr().out
