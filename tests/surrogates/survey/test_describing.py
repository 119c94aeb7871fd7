"""What `surrogates survey` says of a survey."""

from __future__ import annotations

import json

import numpy as np
import pytest
from commands import refused, run
from written import LINE, line_survey, written

from surrogates.survey import Survey, read
from surrogates.survey.depth import median_depths
from surrogates.survey.describing import describe


@pytest.mark.parametrize(
    "places, datum, depth",
    [
        ([0, 1, 2, 3], (0, 3, 1, 2), 0.519),  # Wenner: Edwards 1977
        ([0, 1], (0, -1, 1, -1), 0.8660),  # pole-pole: sqrt(3) / 2
        ([0, 1, 2, 3], (0, 1, 2, 3), 0.4165),  # dipole-dipole, n = 1: 0.139 of its length 3
        ([0, 1, 7, 8], (0, 1, 2, 3), 1.730),  # n = 6: Edwards 1977
    ],
)
def test_median_depths_are_the_published_ones(places, datum, depth):
    survey = line_survey(places, [datum])
    found = median_depths(survey, survey.ground())
    np.testing.assert_allclose(found, depth, rtol=2e-3)


@pytest.mark.parametrize("depths", [(0.0, 0.0), (0.0, 1.5), (0.7, 1.5), (2.0, 2.0)])
def test_median_depths_are_those_of_the_sensitivity_by_quadrature(depths):
    """The layer characteristic from its definition: the plane integral of grad G . grad G."""
    r = 1.3
    survey = Survey(
        electrodes=np.array([[0, 0, -depths[0]], [r, 0, -depths[1]]]),
        data=np.array([[0, -1, 1, -1]]),
    )
    (found,) = median_depths(survey, survey.ground(0.0))
    # In cylindrical coordinates about the first electrode, radius on a graded grid.
    radius = np.concatenate([[0], np.geomspace(1e-3, 1e3, 500)])
    angle = (np.arange(48) + 0.5) * np.pi / 48
    rho, phi = np.meshgrid((radius[1:] + radius[:-1]) / 2, angle, indexing="ij")
    x, y = rho * np.cos(phi), rho * np.sin(phi)

    def field(place: float, depth: float, z: float) -> np.ndarray:
        total = 0.0
        for at in (depth, -depth):
            apart = np.array([x - place, y, np.full_like(x, z - at)])
            total = total + apart / np.linalg.norm(apart, axis=0) ** 3
        return total

    def density(z: float) -> float:
        product = (field(0.0, depths[0], z) * field(r, depths[1], z)).sum(axis=0)
        return float((product * rho * np.diff(radius)[:, None]).sum() * 2 * np.pi / 48)

    # Depths that avoid the electrodes, with the total of the closed form: 4 pi (1 / R + 1 / R').
    apart, image = np.hypot(r, depths[1] - depths[0]), np.hypot(r, sum(depths))
    total = 4 * np.pi * (1 / apart + 1 / image)
    cuts = sorted({0.0, *(min(d, found) for d in depths), found})
    above = 0.0
    nodes, weights = np.polynomial.legendre.leggauss(24)
    for low, high in zip(cuts, cuts[1:], strict=False):
        middle, half = (high + low) / 2, (high - low) / 2
        above += half * sum(
            w * density(middle + half * s) for s, w in zip(nodes, weights, strict=True)
        )
    np.testing.assert_allclose(above / total, 0.5, atol=0.01)


@pytest.mark.parametrize(
    "places, datum, kind",
    [
        ([0, 1, 2, 3], (0, 3, 1, 2), "wenner"),
        ([0, 1, 2, 3], (1, 2, 0, 3), "wenner"),  # by reciprocity
        ([0, 1.01, 2, 2.98], (0, 3, 1, 2), "wenner"),  # as in the field
        ([0, 3, 4, 7], (0, 3, 1, 2), "schlumberger"),
        ([0, 1, 2, 7], (0, 3, 1, 2), "gradient"),
        ([0, 1, 4, 5], (0, 1, 3, 2), "dipole-dipole"),
        ([0, 1, 2, 3], (0, 2, 1, 3), "wenner-gamma"),
        ([0, 1, 2, 3], (0, -1, 1, 2), "pole-dipole"),
        ([0, 1, 2, 3], (-1, 0, 1, 2), "pole-dipole"),
        ([0, 1, 2, 3], (0, 1, 3, -1), "dipole-pole"),
        ([0, 1, 2, 3], (0, -1, -1, 2), "pole-pole"),
    ],
)
def test_arrays_are_recognised(places, datum, kind):
    assert describe(line_survey(places, [datum])).kinds == {kind: 1}


def test_arrays_off_one_line_and_with_buried_electrodes_are_named():
    places = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [1, 2, 0], [0, 0, -2]])
    survey = Survey(electrodes=places, data=np.array([[0, 1, 2, 3], [0, 1, 2, 4]]))
    assert describe(survey).kinds == {"off one line": 1, "with buried electrodes": 1}


def test_a_line_along_any_direction_is_a_line():
    direction = np.array([0.6, -0.8, 0])
    places = np.array([5, 9, 0]) + np.arange(4)[:, None] * direction
    survey = Survey(electrodes=places, data=np.array([[0, 3, 1, 2]]))
    assert describe(survey).kinds == {"wenner": 1}


def section(resistivity: np.ndarray, **more: np.ndarray) -> Survey:
    """Return a dipole-dipole section of 62 data with these apparent resistivities."""
    data = [(i, i + 1, i + n + 1, i + n + 2) for n in range(1, 5) for i in range(18 - n)]
    values = {"rhoa": resistivity[: len(data)], **{k: v[: len(data)] for k, v in more.items()}}
    return line_survey(list(range(20)), data, values=values)


def test_outliers_are_found_among_smooth_data():
    rng = np.random.default_rng(3)
    place = np.linspace(0, 3, 62)
    resistivity = 100 * np.exp(0.4 * np.sin(place) + 0.02 * rng.standard_normal(62))
    assert not len(describe(section(resistivity)).outliers)
    resistivity[[7, 40]] *= [3.0, 0.4]
    assert describe(section(resistivity)).outliers.tolist() == [7, 40]


def test_outliers_between_boreholes_are_found_among_data_of_both_depths():
    places = np.array([[x, 0.0, -z] for x in (0.0, 6.0) for z in range(13)])
    data = np.array([(i, i + 1, 13 + j, 14 + j) for i in range(12) for j in range(12) if i != j])
    rhoa = 100 * np.exp(0.02 * (data[:, 0] - 12) + 0.15 * (data[:, 2] - 13))
    rhoa *= np.exp(0.01 * np.random.default_rng(4).standard_normal(len(rhoa)))
    rhoa[[20, 77]] *= [1.6, 0.6]
    survey = Survey(electrodes=places, data=data, values={"rhoa": rhoa})
    assert describe(survey).outliers.tolist() == [20, 77]


def test_reciprocal_pairs_and_their_misfit():
    data = [(0, 1, 2, 3), (2, 3, 0, 1), (3, 2, 0, 1), (0, 3, 1, 2), (0, 1, 2, 3)]
    survey = line_survey([0, 1, 2, 3], data, values={"r": np.array([1, 1.1, -1, 5, 1.0])})
    found = describe(survey)
    assert found.reciprocal.tolist() == [[0, 1], [0, 2], [1, 4]]
    np.testing.assert_allclose(found.misfits, [0.1 / 1.05, 0, 0.1 / 1.05], atol=1e-12)
    assert found.repeated.tolist() == [2, 4]


def test_units_in_question_are_said():
    rng = np.random.default_rng(2)
    rhoa = 100 * np.exp(0.1 * rng.standard_normal(62))
    right = section(rhoa)
    assert describe(right).questions == []
    k = describe(right).factors
    for survey, words in (
        (section(rhoa, r=1000 * rhoa / k), "0.001 times r k"),
        (section(rhoa, k=k / (2 * np.pi)), "k are 0.159 times"),
        (section(rhoa / np.abs(k)), "the column rhoa behaves as r"),
        (section(rhoa * 1e9), "median apparent resistivity is"),
        (section(rhoa, err=np.full(62, 3.0)), "err/%"),
        (
            section(np.where(np.arange(62) == 5, -rhoa, rhoa)),
            "1 apparent resistivity is negative (datum 6): leave them out",
        ),
    ):
        (question,) = describe(survey).questions
        assert words in question
    assert describe(section(rhoa, r=rhoa / k, k=k)).questions == []


def test_elevations_in_the_column_y_are_in_question():
    line = np.stack([np.arange(8.0), np.zeros(8), np.zeros(8)], axis=1)
    data = np.array([[0, 3, 1, 2]])
    rising = line + np.sin(line[:, [1, 0, 1]])
    (question,) = describe(Survey(electrodes=rising, data=data)).questions
    assert "name the columns x z y" in question
    for electrodes in (line, line + 0.3 * line[:, [1, 0, 1]], line + np.sin(line[:, [1, 1, 0]])):
        assert describe(Survey(electrodes=electrodes, data=data)).questions == []


def test_boreholes_with_positive_depths_are_in_question():
    line = [[x, 0, 0] for x in range(6)]
    for sign in (1, -1):
        hole = [[2.5, 0, sign * z] for z in range(1, 9)]
        survey = Survey(electrodes=np.array(line + hole, float), data=np.array([[0, 1, 8, 9]]))
        asked = [words for words in describe(survey).questions if "depths are negative" in words]
        assert len(asked) == (sign > 0)


def test_the_command_cleans(tmp_path, capsys):
    rng = np.random.default_rng(5)
    rhoa = 100 * np.exp(0.02 * rng.standard_normal(62))
    rhoa[[3, 9]] = -5, 900
    section(rhoa).write(tmp_path / "raw.ohm")
    assert run("survey", tmp_path / "raw.ohm", "--clean", "--out", tmp_path / "clean.ohm") == 1
    assert run("survey", tmp_path / "clean.ohm") == 0
    cleaned = read(tmp_path / "clean.ohm")
    np.testing.assert_allclose(cleaned.values["rhoa"], np.delete(rhoa, [3, 9]))
    assert "--clean needs --out" in refused(capsys, "survey", tmp_path / "raw.ohm", "--clean")


def test_the_command_prints_lines_or_json(tmp_path, capsys):
    path = written(tmp_path, LINE)
    assert run("survey", path) == 0
    told = capsys.readouterr().out
    assert "1 wenner" in told and "flat at x3 = 0 m" in told and "6.283 m" in told
    assert run("survey", path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["electrodes"] == 4 and found["arrays"] == {"wenner": 1}
    np.testing.assert_allclose(found["geometric_factor"], 2 * np.pi)


def test_the_command_ends_with_1_for_doubtful_data_and_with_2_for_bad_files(tmp_path, capsys):
    path = written(tmp_path, LINE.replace("5.5", "-5.5"))
    assert run("survey", path) == 1
    assert "warning: " in capsys.readouterr().err
    path = written(tmp_path, LINE.replace("1 4 2 3", "1 4 2 2"))
    assert "line 9: m and n are one electrode" in refused(capsys, "survey", path)
    assert "above the surface" in refused(capsys, "survey", written(tmp_path, LINE), "--top", "-1")
