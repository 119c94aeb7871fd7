"""Surveys travel as coordinates of their data, with electrodes at infinity and unused ones."""

import numpy as np
import pytest

from surrogates import InputError
from surrogates.survey import INFINITY, Survey, coordinates_of, made, survey_of

PLACES = np.array([[0.0, 0, 5], [1.5, 0.25, 5.5], [3, 0, 6], [4, 1, 2], [9, 9, 0], [0, 0, 0]])
DATA = np.array([[3, INFINITY, 0, 2], [0, 2, INFINITY, 3], [5, 3, 2, INFINITY]])


def test_the_survey_comes_back_without_the_electrodes_that_no_datum_uses():
    survey = Survey(electrodes=PLACES, data=DATA)
    found = survey_of(coordinates_of(survey), "s.pt")
    np.testing.assert_allclose(found.electrodes, PLACES[[0, 2, 3, 5]], rtol=1e-15)
    assert found.data.tolist() == [[2, -1, 0, 1], [0, 1, -1, 2], [3, 2, 1, -1]]
    T = {frozenset(pair): 1 / (1 + i) for i, pair in enumerate(survey.pairs.tolist())}
    resistances = survey.combine(np.array([T[frozenset(pair)] for pair in survey.pairs.tolist()]))
    used = [0, 2, 3, 5]
    moved = [T[frozenset({used[i], used[j]})] for i, j in found.pairs.tolist()]
    np.testing.assert_allclose(found.combine(np.array(moved)), resistances, rtol=1e-14)


def test_some_of_the_data_have_their_electrodes():
    survey = made("pole-dipole", electrodes=8, spacing=2.0)
    some = np.array([7, 3, 11])
    coordinates = {key: values[some] for key, values in coordinates_of(survey).items()}
    found = survey_of({**coordinates, "k": np.ones(3)}, "s.pt")
    there = survey.data[some] != INFINITY
    np.testing.assert_array_equal(found.data != INFINITY, there)
    np.testing.assert_allclose(
        found.electrodes[found.data][there], survey.electrodes[survey.data[some]][there]
    )
    assert found.values["k"].tolist() == [1, 1, 1]


def test_other_coordinates_are_refused_in_one_line():
    with pytest.raises(InputError, match="^s.pt has no survey: .* problem ert do$"):
        survey_of({"time": np.zeros(3)}, "s.pt")
    coordinates = coordinates_of(Survey(electrodes=PLACES, data=DATA))
    coordinates["b_x2"] = coordinates["b_x2"] + [0, 1, 0]
    with pytest.raises(InputError, match=r"electrode \[3\] has different places"):
        survey_of(coordinates, "s.pt")
