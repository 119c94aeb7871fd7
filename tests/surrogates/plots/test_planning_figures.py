"""Figures of learning curves."""

from __future__ import annotations

import numpy as np
import pytest

from surrogates.plots.planning import planning

pytest.importorskip("matplotlib", reason="the plots extra is not installed")


@pytest.mark.parametrize("samples", [None, (300.0, 400.0, 500.0)])
def test_a_learning_curve_shows_points_band_target_and_samples(tmp_path, drawn, samples):
    n, errors = np.array([50.0, 100.0, 200.0]), np.array([0.08, 0.04, 0.02])
    at = np.array([50.0, 200.0, 800.0])
    band = np.array([[0.07, 0.08, 0.09], [0.018, 0.02, 0.022], [0.004, 0.005, 0.007]])
    points = (n, errors, np.full(3, 0.1))
    planning(points, (at, band), tmp_path / "l.png", target=0.01, there=250, samples=samples)
    (axes,) = drawn[0].axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.lines[0].get_ydata().tolist() == band[:, 1].tolist()
    assert [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"] == [250]
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert ("samples for it, 90 %" in legend) == (samples is not None)
