"""Figures of predictions: parity, time series and maps."""

from __future__ import annotations

import dataclasses
import os
import re

import numpy as np
import pytest
from drawings import surveyed
from panels import bar_label, mapped, panels_of

from surrogates.errors import InputError
from surrogates.plots.regression import observations, parity

pytest.importorskip("matplotlib", reason="the plots extra is not installed")


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
