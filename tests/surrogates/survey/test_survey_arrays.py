"""Made arrays: places, numbers, factors."""

from __future__ import annotations

import numpy as np
import pytest
from commands import refused, run

from surrogates.errors import InputError
from surrogates.survey import ARRAYS, half_space_factors, made, read
from surrogates.survey.describing import describe

NUMBERS = {
    "dipole-dipole": sum(12 - n - 2 for n in range(1, 9)),
    "wenner": 9 + 6 + 3,
    "schlumberger": 9 + 7 + 5 + 3 + 1,
    "pole-dipole": 2 * sum(range(1, 11)),
    "pole-pole": sum(range(1, 12)),
    "gradient": 7 + 4,  # a b of length 11 at 0, and of length 5 at 0, 2, 4, 6
}


@pytest.mark.parametrize("array", ARRAYS)
def test_an_array_is_what_its_name_says(array):
    survey = made(array, 12, 2.5)
    np.testing.assert_allclose(survey.electrodes[:, 0], 2.5 * np.arange(12))
    found = describe(survey).kinds
    kinds = {
        "gradient": {"gradient", "schlumberger", "wenner"},
        "schlumberger": {"schlumberger", "wenner"},
    }
    assert found.keys() <= kinds.get(array, {array})
    assert len(survey.data) == len(np.unique(survey.data, axis=0))
    assert np.isfinite(half_space_factors(survey, survey.ground())).all()


@pytest.mark.parametrize("array", ARRAYS)
def test_the_number_of_data_is_that_of_the_places(array):
    assert len(made(array, 12).data) == NUMBERS[array]


def test_a_gradient_array_keeps_off_its_current_electrodes():
    survey = made("gradient", 12)
    a, b, m, n = survey.data.T
    assert (b - a).max() == 11 and (m - a >= 2).all() and (b - n >= 2).all() and (n - m == 1).all()
    assert len(made("gradient", 12, levels=1).data) == 7


def test_the_level_limits_the_separation():
    survey = made("dipole-dipole", 30, levels=3)
    a, b, m, n = survey.data.T
    assert (m - b).max() == 3 and len(survey.data) == 27 + 26 + 25


def test_grids_of_lines():
    survey = made("wenner", 7, 2.0, lines=4, line_spacing=5.0, both=True)
    assert survey.electrodes.shape == (28, 3)
    np.testing.assert_allclose(survey.electrodes[-1], [12, 15, 0])
    assert len(survey.data) == 4 * (4 + 1) + 7 * 1
    assert describe(survey).kinds == {"wenner": 27}
    k = half_space_factors(survey, survey.ground())
    assert set(np.round(k / (2 * np.pi), 9)) == {2.0, 4.0, 5.0}
    apart = made("pole-dipole", 7, 2.0, lines=4, line_spacing=5.0)
    assert len(apart.data) == 4 * len(made("pole-dipole", 7).data)
    assert np.isin(apart.data[:, 1], -1).all() and (apart.data[:, [0, 2, 3]] >= 0).all()


@pytest.mark.parametrize(
    "words, message",
    [
        (("wener",), "unknown array 'wener'; did you mean 'wenner'"),
        (("wenner", 3), "a line of wenner has at least 4 electrodes; got 3"),
        (("wenner", 4, 0.0), "the spacing must be positive; got 0"),
    ],
)
def test_wrong_arrays_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        made(*words)
    for more, told in (
        ({"lines": 0}, "at least one line"),
        ({"line_spacing": -1.0}, "line spacing must be positive"),
        ({"levels": 0}, "the largest level is at least 1"),
        ({"both": True, "lines": 3}, "at least 4 for wenner; got 3"),
    ):
        with pytest.raises(InputError, match=told):
            made("wenner", **more)


def test_the_command_makes_and_writes_arrays(tmp_path, capsys):
    out = tmp_path / "made.ohm"
    words = ("survey", "--array", "wenner", "--electrodes", "12", "--spacing", "2", "--lines", "2")
    assert run(*words, "--out", out) == 0
    assert "36 wenner" in capsys.readouterr().out
    survey = read(out)
    np.testing.assert_allclose(survey.electrodes, made("wenner", 12, 2.0, lines=2).electrodes)
    assert survey.data.tolist() == made("wenner", 12, 2.0, lines=2).data.tolist()
    assert "not both" in refused(capsys, "survey", out, "--array", "wenner")
    assert "not both" in refused(capsys, "survey", out, "--lines", "2")
    assert "give the file of a survey, or --array" in refused(capsys, "survey")
    assert "at least 4" in refused(capsys, "survey", "--array", "wenner", "--electrodes", "3")
