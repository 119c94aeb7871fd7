"""Figures of classifiers: confusion and reliability."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from panels import MAGIC

from surrogates.errors import InputError
from surrogates.model.classifier import assess
from surrogates.plots.classification import confusion, reliability

pytest.importorskip("matplotlib", reason="the plots extra is not installed")


def texts(axes):
    return [text.get_text() for text in axes.texts]


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
