"""Files of Res2DInv, general and index-based, as devices and other programs write them."""

from __future__ import annotations

import numpy as np
import pytest
from written import parsed, refusal

GENERAL = """Line 7, #3
1.0
11
0
Type of measurement (0=app. resistivity,1=resistance)
0
3
1
0
4 0.0 0 3.0 0 1.0 0 2.0 0 100.5
3, 0.0, 0, 2.0, 0, 3.0, 0, 90
2 0.0 0  3.0 0  81
0
0
0
0
"""


def test_a_general_array_is_read(tmp_path):
    survey = parsed(tmp_path, GENERAL, "file.dat")
    np.testing.assert_allclose(survey.electrodes[:, 0], [0, 1, 2, 3])
    assert survey.data.tolist() == [[0, 3, 1, 2], [0, -1, 2, 3], [0, -1, 3, -1]]
    np.testing.assert_allclose(survey.values["rhoa"], [100.5, 90, 81])
    assert survey.values.keys() == {"rhoa"}


def test_resistances_errors_and_polarisation(tmp_path):
    text = GENERAL.replace("resistance)\n0", "resistance)\n1").replace("\n3\n1\n0\n", HEAD)
    for old, new in (("100.5", "100 5 1.1"), ("90", "-90 9 1.2"), (" 81", " 81 0.81 1.3")):
        text = text.replace(old, new)
    survey = parsed(tmp_path, text)
    np.testing.assert_allclose(survey.values["r"], [100, -90, 81])
    np.testing.assert_allclose(survey.values["err"], [0.05, 0.1, 0.01])
    np.testing.assert_allclose(survey.values["ip"], [1.1, 1.2, 1.3])


HEAD = """
3
1
1
Phase angle
mrad
0,90.0
Error estimate for data present
Type of error estimate (0=same unit as data)
0
"""


def topography(kind: int, points: list[tuple[float, float]]) -> str:
    """Return the end of a file."""
    lines = [f"{x} {z}" for x, z in points]
    return "\n".join(
        ["Topography in separate list", str(kind), str(len(points)), *lines, "1", "0", "0", ""]
    )


def test_topography_at_true_distances(tmp_path):
    points = [(-1.0, 10.0), (1.0, 12.0), (9.0, 12.0)]
    text = GENERAL[: GENERAL.index("0\n0\n0\n0\n")] + topography(1, points)
    survey = parsed(tmp_path, text)
    np.testing.assert_allclose(survey.electrodes[:, [0, 2]], [[0, 11], [1, 12], [2, 12], [3, 12]])
    np.testing.assert_allclose(survey.topography[:, [0, 2]], points)


@pytest.mark.parametrize("kind", [1, 2])
def test_topography_along_the_ground(tmp_path, kind):
    """Electrodes at 0, 1, 2, 3 along a slope of 3 : 4 : 5 that becomes level after 2.5."""
    points = (
        [(0.0, 5.0), (2.0, 6.5), (6.0, 6.5)] if kind == 1 else [(0.0, 5.0), (2.5, 6.5), (6.5, 6.5)]
    )
    text = GENERAL.replace("\n3\n1\n0\n", "\n3\n2\n0\n")
    text = text[: text.index("0\n0\n0\n0\n")] + topography(kind, points)
    survey = parsed(tmp_path, text)
    expected = [[0, 5], [0.8, 5.6], [1.6, 6.2], [2.5, 6.5]]
    np.testing.assert_allclose(survey.electrodes[:, [0, 2]], expected, rtol=1e-12)
    np.testing.assert_allclose(survey.topography[:, 0], [0, 2, 6])


def indexed(array: int, kind: int, row: str) -> str:
    return f"title\n1\n{array}\n1\n{kind}\n0\n{row}\n0\n0\n0\n"


@pytest.mark.parametrize(
    "array, row, places, middle",
    [
        (1, "10 2 77", [10, 16, 12, 14], 13),
        (2, "10 2 77", [10, None, 12, None], 11),
        (3, "10 2 3 77", [10, 12, 18, 20], 15),
        (4, "10 2 77", [10, 12, 14, 16], 13),
        (5, "10 2 77", [10, 14, 12, 16], 13),
        (6, "10 2 3 77", [10, None, 16, 18], 14),
        (6, "10 2 -3 77", [18, None, 12, 10], 14),
        (7, "10 2 3 77", [10, 24, 16, 18], 17),
    ],
)
def test_index_based_arrays(tmp_path, array, row, places, middle):
    for kind, text in ((0, row), (1, row.replace("10", str(middle), 1))):
        survey = parsed(tmp_path, indexed(array, kind, text))
        found = [None if i < 0 else survey.electrodes[i, 0] for i in survey.data[0]]
        assert [x is None for x in found] == [x is None for x in places]
        there = [(x, y) for x, y in zip(found, places, strict=True) if y is not None]
        np.testing.assert_allclose(*zip(*there, strict=True), rtol=1e-12)
        np.testing.assert_allclose(survey.values["rhoa"], [77])


def test_electrodes_of_index_based_arrays_are_one_in_spite_of_rounding(tmp_path):
    rows = "\n".join(f"{0.1 * i!r} {0.1 * a!r} 50" for a in (1, 2, 3) for i in range(10 - 3 * a))
    survey = parsed(
        tmp_path,
        indexed(1, 0, rows)
        .replace("\n1\n1\n0", "\n1\n1\n0")
        .replace("\n1\n1\n1\n", f"\n1\n1\n{rows.count(chr(10)) + 1}\n", 1),
    )
    assert len(survey.electrodes) == 10


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("0\n0\n0\n0\n", "", ""),  # nothing is missing: topography may be left out
        (
            "2 0.0 0  3.0 0  81\n0\n0\n0\n0\n",
            "",
            "cut short: it ends at line 11, before data 3 of 3",
        ),
        ("4 0.0", "5 0.0", "line 10: expected the number of electrodes, 2, 3 or 4; got 5"),
        ("2.0 0 100.5", "2.0 0", "line 10: expected x and z of 4 electrodes and a value"),
        ("2.0 0 100.5", "1.0 0 100.5", "line 10: m and n are one electrode"),
        ("100.5", "x", "line 10: expected a number; got 'x'"),
        ("\n11\n0\n", "\n8\n0\n", "line 3: the array 8 is not known"),
        ("\n3\n1\n0\n", "\n3\n4\n0\n", "line 8: expected how x is given, 0, 1 or 2; got 4"),
        ("\n3\n1\n0\n", "\nthree\n1\n0\n", "line 7: expected the number of data; got 'three'"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, old, new, message):
    assert old in GENERAL
    text = GENERAL.replace(old, new, 1)
    if message:
        assert message in refusal(tmp_path, text)
    else:
        parsed(tmp_path, text)


def test_wrong_topography_is_refused(tmp_path):
    start = GENERAL[: GENERAL.index("0\n0\n0\n0\n")]
    for kind, points, message in (
        (1, [(0.0, 5.0), (0.0, 6.0)], "must have increasing x"),
        (2, [(0.0, 5.0), (1.0, 7.0)], "rise by more than their distance"),
    ):
        assert message in refusal(tmp_path, start + topography(kind, points))
    cut = start + "1\n3\n0 5\n"
    assert "before point 2 of 3 of the topography" in refusal(tmp_path, cut)
