"""Files in the unified data format, as pyGIMLi, BERT and people write them."""

from __future__ import annotations

import numpy as np
import pytest
from written import LINE, parsed, refusal


def test_a_small_file_is_read(tmp_path):
    survey = parsed(tmp_path, LINE)
    np.testing.assert_allclose(survey.electrodes, [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]])
    assert survey.data.tolist() == [[0, 3, 1, 2]]
    np.testing.assert_allclose(survey.values["r"], [5.5])
    assert len(survey.topography) == 0


@pytest.mark.parametrize(
    "head, row, place",
    [
        ("# x y z", "1 2 3", (1, 2, 3)),
        ("#x\tz", "1\t3", (1, 0, 3)),
        ("# z x", "3 1", (1, 0, 3)),
        ("# x y", "1 2", (1, 2, 0)),
        ("# X Y Z of each electrode", "1 2 3", (1, 2, 3)),
        ("# x/cm z/mm", "100 3000", (1, 0, 3)),
        ("# prose\n\n# x z", "1 3", (1, 0, 3)),
        ("#x\th\td", "1\t3\t0.5", (1, 0, 2.5)),
        ("# x d", "1 0.5", (1, 0, -0.5)),
        ("# x z d", "1 3 0.5", (1, 0, 3)),  # z is the electrode's
        ("# prose", "1 2 3", (1, 2, 3)),
        ("# prose", "1 3", (1, 0, 3)),
        ("", "1", (1, 0, 0)),
    ],
)
def test_places_have_their_columns_in_any_order(tmp_path, head, row, place):
    text = f"2 # electrodes\n{head}\n{row}\n" + " ".join("9" for _ in row.split())
    survey = parsed(tmp_path, f"{text}\n1\n# a b m n\n1 0 2 0\n0\n")
    np.testing.assert_allclose(survey.electrodes[0], place)


@pytest.mark.parametrize(
    "head, row, values",
    [
        ("# a b m n rhoa", "1 4 2 3 100", {"rhoa": 100}),
        ("#a b m n\tR/Ohm", "1 4 2 3 5.5", {"r": 5.5}),
        ("# A B M N Rhoa/Ohmm err/%", "1 4 2 3 100 3", {"rhoa": 100, "err": 0.03}),
        ("# rhoa n m b a", "100 3 2 4 1", {"rhoa": 100}),
        ("# c1 c2 p1 p2 rho", "1 4 2 3 5.5", {"r": 5.5}),
        ("# a b m n U I/mA", "1 4 2 3 0.5 100", {"u": 0.5, "i": 0.1, "r": 5}),
        ("# a b m n u/mV i/mA ip/mrad", "1 4 2 3 500 100 7", {"u": 0.5, "r": 5, "ip": 7}),
        ("# a b m n Rho/Ohmm", "1 4 2 3 100", {"rhoa": 100}),
        ("# a b m n Rho_a Rho/Ohm", "1 4 2 3 100 5", {"rhoa": 100, "r": 5}),
        ("# a b m n rhoa err/1", "1 4 2 3 100 0.02", {"rhoa": 100, "err": 0.02}),
        ("# a b m n rhoa(1) rhoa(2)", "1 4 2 3 100 110", {"rhoa(1)": 100, "rhoa(2)": 110}),
        ("# a b m n rhoa for each datum", "1 4 2 3 100", {"rhoa": 100}),
        ("# a b m n k rhoa stacks", "1 4 2 3 6.28 100 4", {"k": 6.28, "stacks": 4}),
        ("", "1 4 2 3 100 0.03", {"rhoa": 100, "err": 0.03}),
        ("# a, b, m, n, r", "1 4 2 3 5.5", {"r": 5.5}),
        ("#A\tB\tM\tN\tR/Ohm\terr/Ohm", "1 4 2 3 -5.5 0.11", {"r": -5.5, "err": 0.02}),
        ("# a b m n rhoa/Ohmm err/Ohmm", "1 4 2 3 100 3", {"rhoa": 100, "err": 0.03}),
        ("# a b m n U/mV I/mA err/uV", "1 4 2 3 -5 10 100", {"r": -0.5, "err": 0.02}),
        ("# a b m n rhoa x z", "1 4 2 3 100 1.5 -0.5", {"rhoa": 100, "x": 1.5, "z": -0.5}),
        ("# a b m n Rho/Ohm x z", "1 4 2 3 5.5 1.5 -0.5", {"r": 5.5, "z": -0.5}),
        ("# a b m n rhoa time", "1 4 2 3 100 12:30:01", {"rhoa": 100}),
    ],
)
def test_data_have_their_columns_in_any_order_and_unit(tmp_path, head, row, values):
    survey = parsed(tmp_path, f"4\n# x\n0\n1\n2\n3\n1\n{head}\n{row}\n0\n")
    assert survey.data.tolist() == [[0, 3, 1, 2]]
    assert values.keys() <= survey.values.keys()
    for name, value in values.items():
        np.testing.assert_allclose(survey.values[name], [value], rtol=1e-12)


def test_ends_of_old_files_and_dots_of_windows(tmp_path):
    text = LINE.replace("2 0\n", "2 0 # lose Erde \x85 nass\n") + "0\n\x1a"
    assert len(parsed(tmp_path, text, encoding="latin-1").electrodes) == 4


def test_names_may_stand_at_the_count(tmp_path):
    survey = parsed(tmp_path, "2# x z\n0 1\n1 1\n1# a b m n r\n1 0 2 0 7\n")
    np.testing.assert_allclose(survey.electrodes[:, 2], 1)
    np.testing.assert_allclose(survey.values["r"], 7)


def test_an_electrode_at_infinity_is_0(tmp_path):
    survey = parsed(tmp_path, LINE.replace("1 4 2 3", "1 0 2 3"))
    assert survey.data.tolist() == [[0, -1, 1, 2]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_text_of_windows_with_comments_anywhere(tmp_path, encoding):
    text = LINE.replace("2 0\n", "2 0 # lose Schüttung\n\n# noch einmal: Schüttung\n")
    survey = parsed(tmp_path, text.replace("\n", "\r\n"), encoding=encoding)
    assert len(survey.electrodes) == 4


def test_columns_of_zeros_are_not_there_and_invalid_data_are_left_out(tmp_path):
    head = "# a b m n err k r rhoa valid"
    rows = "1 4 2 3 0 0 5 0 1\n4 1 2 3 0 0 nan 0 0"
    survey = parsed(tmp_path, LINE[: LINE.index("1\n# a")] + f"2\n{head}\n{rows}\n0\n")
    assert survey.values.keys() == {"r"} and survey.data.tolist() == [[0, 3, 1, 2]]


def test_topography_raises_electrodes_that_have_no_elevation(tmp_path):
    survey = parsed(tmp_path, LINE + "3\n-1 10\n1 12\n9 12\n")
    np.testing.assert_allclose(survey.electrodes[:, 2], [11, 12, 12, 12])
    assert len(survey.topography) == 3
    given = parsed(tmp_path, LINE.replace("3 0\n", "3 1\n") + "2\n-1 10\n9 12\n")
    np.testing.assert_allclose(given.electrodes[:, 2], [0, 0, 0, 1])


def test_what_is_written_is_read_again(tmp_path):
    text = LINE.replace("0 0\n", "0.1 0.3\n").replace("# a b m n r", "# a b m n r err/%")
    survey = parsed(tmp_path, text.replace("5.5", "5.5 1.7") + "2\n-1 0.25\n9 12\n")
    survey.write(tmp_path / "again.ohm")
    again = parsed(tmp_path, (tmp_path / "again.ohm").read_text())
    for one, other in (
        (survey.electrodes, again.electrodes),
        (survey.topography, again.topography),
        (survey.values["err"], again.values["err"]),
        (survey.values["r"], again.values["r"]),
    ):
        np.testing.assert_allclose(other, one, rtol=1e-15)
    assert again.data.tolist() == survey.data.tolist()


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("1 4 2 3 5.5\n", "", "cut short: it ends at line 8, before data 1 of 1"),
        ("2 0\n3 0\n", "2 0\n", "line 6: expected 2 numbers"),
        (
            "3 0\n1\n",
            "3 0\n4 0\n1\n",
            "line 7: expected the number of data; got '4 0': is the count",
        ),
        ("3 0\n1\n", "3 0\n2\n", "before data 2 of 2"),
        (
            "1\n# a b m n r\n1 4 2 3 5.5",
            "2\n# a b m n r\n1 4 2 3 5.5\n4 1 3",
            "line 10: the file is cut short here, in data 2 of 2",
        ),
        ("1 4 2 3 5.5", "1 4 2 3 5.5\n1 4 3 2 5.5", "line 10: expected the number of points"),
        ("2 0\n", "1 0\n", "line 5: electrode 3 is at the place of electrode 2 (line 4)"),
        ("1 4 2 3", "1 1 2 3", "line 9: a and b are one electrode, 1"),
        ("1 4 2 3", "1 4 2 2", "line 9: m and n are one electrode, 2"),
        ("1 4 2 3", "1 4 4 3", "line 9: b and m are one electrode, 4"),
        ("1 4 2 3", "1 4 2 5", "line 9: electrode n = 5 is not there; numbers go from 1 to 4"),
        ("1 4 2 3", "1 4 2 -1", "electrode n = -1 is not there"),
        ("1 4 2 3", "0 0 2 3", "line 9: both current electrodes a and b are at infinity"),
        ("1 4 2 3", "1 4 0 0", "both potential electrodes m and n are at infinity"),
        ("1 4 2 3", "1 4 2 3.5", "line 9: electrode n must be a whole number; got 3.5"),
        ("5.5", "5,5", "line 9: expected a number; got '5,5'; write a decimal point"),
        ("5.5", "nan", "line 9: r is nan; leave the datum out, or mark it by valid = 0"),
        ("1 4 2 3", "inf 4 2 3", "line 9: electrode a must be a whole number; got inf"),
        ("3 0\n", "3 nan\n", "line 6: expected a number; got 'nan'"),
        ("# a b m n r", "# a b m r", "expected 4 numbers, a b m r; got 5"),
        ("# a b m n r", "# a b m k r", "no column of the data is named n"),
        ("# a b m n r", "# a b m n r/furlong", "unknown unit 'furlong' of r"),
        ("# a b m n r\n1 4 2 3 5.5", "# a b m n rhoa err/Ohm\n1 4 2 3 5 1", "need a column r"),
        ("# a b m n r\n1 4 2 3 5.5", "# a b m n r err err/Ohm\n1 4 2 3 5 1 1", "columns are err"),
        ("# a b m n r\n1 4 2 3 5.5", "# a b m n r z\n1 4 2 3 5 1", "two columns have one name"),
        ("# x z", "# x x", "two columns have one name"),
        ("# x z", "# x z/furlong", "unknown unit 'furlong' of z"),
        ("4\n# x", "4.5\n# x", "line 1: expected the number of electrodes; got '4.5'"),
        ("1\n# a", "0\n# a", "line 7: the file has no data"),
        (
            "1\n# a b m n r\n1 4 2 3 5.5",
            "2\n# a b m n k\n1 4 2 3 6\n2 4 1 3 0\n",
            "line 10: the geometric factor k is 0",
        ),
        (
            "1\n# a b m n r\n1 4 2 3 5.5",
            "2\n# a b m n u i\n1 4 2 3 6 1\n2 4 1 3 5 0\n",
            "line 10: the current i is 0",
        ),
        ("# a b m n r\n1 4 2 3 5.5", "# a b m n\n1 4\n", "line 9: expected 4 numbers"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, old, new, message):
    assert old in LINE
    assert message in refusal(tmp_path, LINE.replace(old, new))


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n\n"])
def test_an_empty_file_is_refused(tmp_path, text):
    assert "holds no numbers" in refusal(tmp_path, text)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    from surrogates.errors import InputError
    from surrogates.survey import read

    with pytest.raises(InputError, match="there is no file"):
        read(tmp_path / "none.ohm")
    (tmp_path / "file.ohm").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="bytes that are no text"):
        read(tmp_path / "file.ohm")
