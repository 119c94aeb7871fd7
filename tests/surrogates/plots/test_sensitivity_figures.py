"""Figures of where a survey's data see the ground."""

from __future__ import annotations

import numpy as np
import pytest
from commands import refused, run

from surrogates.plots.sensitivity import sensitivities
from surrogates.survey import Survey, made
from surrogates.survey.describing import describe

pytest.importorskip("matplotlib", reason="the plots extra is not installed")


def values(axes):
    """The map of axes and the places of its cells."""
    cells = axes.collections[0]
    corners = cells.get_coordinates()
    return np.ma.filled(cells.get_array(), np.nan), (corners[1:, 1:] + corners[:-1, :-1]) / 2


def test_the_coverage_falls_with_depth_and_beside_the_line(tmp_path, drawn):
    sensitivities(describe(made("wenner", 16, 2.0)), tmp_path / "c.png", title="W")
    assert drawn[0].get_suptitle() == "W"
    shown, places = values(drawn[0].axes[0])
    x, z = places[..., 0], places[..., 1]
    assert np.isnan(shown[z > 0]).all() and (shown[z < 0] > 0).all()
    middle = np.abs(x - 15) < 4
    by_depth = [shown[middle & (z < -d) & (z > -d - 1)].mean() for d in (1, 3, 6)]
    assert by_depth[0] > 3 * by_depth[1] > 9 * by_depth[2]


def test_one_datum_has_both_signs_and_its_electrodes_in_the_title(tmp_path, drawn):
    line = made("wenner", 8, 2.0)
    sensitivities(describe(line), tmp_path / "s.png", 0, title="W")
    assert drawn[0].get_suptitle() == "W, datum 1: a = 1, b = 4, m = 2, n = 3"
    shown, places = values(drawn[0].axes[0])
    low, high = drawn[0].axes[0].collections[0].get_clim()
    assert low == -high < 0
    x, z = places[..., 0], places[..., 1]
    shallow = (z < 0) & (z > -0.5)
    assert (shown[shallow & (np.abs(x - 1) < 0.5)] < 0).all()  # between a and m
    assert (shown[shallow & (np.abs(x - 3) < 0.5)] > 0).all()  # between m and n


def test_planes_pass_through_the_datum_of_a_grid(tmp_path, drawn):
    grid = made("dipole-dipole", 8, 2.0, lines=5, line_spacing=4.0)
    found = describe(grid)
    datum = int(np.flatnonzero(grid.electrodes[grid.data[:, 0], 1] == 12)[3])
    sensitivities(found, tmp_path / "s.png", datum)
    level, first, second, _ = drawn[0].axes
    middle = grid.electrodes[grid.data[datum]].mean(axis=0)
    assert first.get_title() == "sensitivity, $x_2$ = 12 m"
    assert second.get_title() == f"sensitivity, $x_1$ = {middle[0]:g} m"
    assert "−" in level.get_title()


def test_the_air_above_topography_is_blank(tmp_path, drawn):
    line = made("wenner", 8, 2.0)
    raised = line.electrodes + np.outer(np.sin(line.electrodes[:, 0] / 4), [0, 0, 2.0])
    sensitivities(describe(Survey(electrodes=raised, data=line.data)), tmp_path / "s.png")
    shown, places = values(drawn[0].axes[0])
    top = np.interp(places[..., 0], raised[:, 0], raised[:, 2])
    np.testing.assert_array_equal(np.isnan(shown), places[..., 1] > top)


def test_the_command_draws_them(tmp_path, capsys):
    words = ("survey", "--array", "wenner", "--electrodes", 8, "--sensitivity", tmp_path / "s.png")
    assert run(*words, "--datum", 2) == 0
    assert f"wrote {tmp_path / 's.png'}" in capsys.readouterr().out
    assert (tmp_path / "s.png").stat().st_size > 4000
    assert "has the data 1 to 7; got 8" in refused(capsys, *words, "--datum", 8)
    assert "--datum needs --sensitivity" in refused(capsys, *words[:5], "--datum", 1)
