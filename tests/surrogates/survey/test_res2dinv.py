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


@pytest.mark.parametrize("kind", [1, 2])
def test_elevations_of_the_electrodes_themselves(tmp_path, kind):
    """Electrodes along a slope of 3 : 4 : 5 to 2, level behind it; a sheet fills lines by tabs."""
    heights = dict(zip("0123", ("5", "5.6", "6.2", "6.2"), strict=True))
    rows = "\n".join(
        "\t".join(["4", *(word for x in line for word in (x, heights[x])), "50"])
        for line in ("0312", "0123", "1320")
    )
    head = "from a sheet\t\t\n\t1\t\n11\t\n7\t\nType\tof\t(0=app.\t1=res)\n0\t\n3\t\n"
    head += f"\t{kind}\t\n0\t\n"
    survey = parsed(tmp_path, f"{head}{rows}\n0\t\n0\t\n0\t\n")
    expected = [[0, 5], [0.8, 5.6], [1.6, 6.2], [2.6, 6.2]]
    if kind == 1:
        expected = [[float(x), float(z)] for x, z in heights.items()]
    np.testing.assert_allclose(survey.electrodes[:, [0, 2]], expected, rtol=1e-12)
    assert survey.data.tolist() == [[0, 3, 1, 2], [0, 1, 2, 3], [1, 3, 2, 0]]


def test_electrodes_of_boreholes_are_not_along_the_ground(tmp_path):
    rows = "4 0 0 0 -1 5 0 5 -2 30\n3 0 -1 5 0 5 -2 31"
    text = f"holes\n1\n11\n0\nType\n1\n2\n2\n0\n{rows}\n0\n0\n"
    survey = parsed(tmp_path, text)
    np.testing.assert_allclose(survey.electrodes[:, [0, 2]], [[0, -1], [0, 0], [5, -2], [5, 0]])


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


def test_thirds_are_whole_numbers_of_spacings(tmp_path):
    """Devices write the separation of dipoles of 1, 1.5, ... m in lengths of the dipole."""
    n, rows = 37, []
    for a in range(1, 10):
        for s in range(2, 10):
            x = [-0.25 + 0.5 * i for i in range(n - 2 * a - s)]
            rows += [f"{x0:.2f}\t{0.5 * a:.2f}\t{s / a:.4f}\t 100.0" for x0 in x]
    text = "\n".join(["SAS", "0.50", "3", str(len(rows)), "0", "0", *rows, "0", "0"])
    survey = parsed(tmp_path, text)
    np.testing.assert_allclose(survey.electrodes[:, 0], -0.25 + 0.5 * np.arange(n), atol=1e-12)


def test_places_that_rounding_divides_are_one_electrode(tmp_path):
    """Places of one thousandth of a millionth apart, at any part of a millionth of the extent."""
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0, 41.5, 40)).cumsum()
    rows = []
    for i in range(len(x) - 3):
        for part in (0.0, 1e-9):
            places = x[[i, i + 3, i + 1, i + 2]] * (1 + part)
            rows.append(f"4 {' '.join(f'{place!r} 0' for place in places.tolist())} 100")
    head = ["title", "1", "11", "0", "Type", "0", str(len(rows)), "1", "0"]
    survey = parsed(tmp_path, "\n".join([*head, *rows, "0"]))
    np.testing.assert_allclose(survey.electrodes[:, 0], x, rtol=1e-8)


@pytest.mark.parametrize("array, row", [(2, "1.5 1 12"), (6, "2 1 1 12")])
def test_remote_electrodes_have_places(tmp_path, array, row):
    remote = "Remote electrodes included\nC2 remote electrode X, Y and Z location\n-25,10,0.0\n"
    if array == 2:
        remote += "P2 remote electrode X, Y and Z location\n60.0,0,0\n"
    remote += "Exact Geometric factor used\n"
    text = indexed(array, 1, row).replace(f"\n{array}\n", f"\n{array}\n{remote}", 1)
    survey = parsed(tmp_path, text)
    places = survey.electrodes[survey.data[0]]
    expected = {
        2: [[1, 0, 0], [-25, 10, 0], [2, 0, 0], [60, 0, 0]],
        6: [[1, 0, 0], [-25, 10, 0], [2, 0, 0], [3, 0, 0]],
    }
    np.testing.assert_allclose(places, expected[array], atol=1e-12)


@pytest.mark.parametrize("errors, ratios", [((0.03, 0.2), (0.03, 0.2)), ((3, 20), (0.03, 0.2))])
def test_errors_of_the_unit_1_are_ratios_or_per_cent(tmp_path, errors, ratios):
    rows = "\n".join(f"{i} 1 1 50 {error}" for i, error in enumerate(errors))
    text = f"title\n1\n3\n2\n0\n0\nError estimate for data present\nType\n1\n{rows}\n0\n"
    np.testing.assert_allclose(parsed(tmp_path, text).values["err"], ratios)


def test_polarisations_have_errors_too(tmp_path):
    errors = "Error estimate for data present (limits 1, 2)\nType of error estimate\n0\n"
    rows = "3 0 0 2 0 3 0 50 1 7.5 0.3\n3 1 0 3 0 4 0 40 2 8.5 0.4"
    text = f"title\n1\n11\n0\nType\n0\n2   \n1\n1\nPhase\nmrad\n0,1.25\n{errors}{rows}\n"
    values = parsed(tmp_path, text).values
    for name, expected in (("err", [0.02, 0.05]), ("ip", [7.5, 8.5]), ("iperr", [0.3, 0.4])):
        np.testing.assert_allclose(values[name], expected)


@pytest.mark.parametrize(
    "old, new",
    [
        ("\n11\n", "\n15\n"),  # multiple gradient
        ("Type of measurement (0=app. resistivity,1=resistance)\n", ""),
        ("Line 7, #3", ""),
        ("Line 7, #3", "; of a device\n\nLine 7"),
        ("1.0\n11", "1.0D0 ; spacing\n\n11"),
        ("100.5", "1.005D+02"),
        ("\n", "\r\n"),
        ("0\n0\n0\n0\n", "0\n0\n0\n\x1a"),
        (" ", "\t"),
        ("\n3\n1\n0\n", "\n3\n1\n11\nChargeability\nmV/V\n0.1 0.2\n"),
    ],
)
def test_devices_and_programs_write_variants(tmp_path, old, new):
    text = GENERAL
    if "Charge" in new:  # of several windows, the first
        text = (
            text.replace("100.5", "100.5 7 6").replace(" 90", " 90 7 6").replace(" 81", " 81 7 6")
        )
    assert old in text
    text = text.replace(old, new) if old in ("\n", " ") else text.replace(old, new, 1)
    survey = parsed(tmp_path, text)
    assert survey.data.tolist() == [[0, 3, 1, 2], [0, -1, 2, 3], [0, -1, 3, -1]]
    np.testing.assert_allclose(survey.values["rhoa"], [100.5, 90, 81])


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
