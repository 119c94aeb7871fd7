"""Tables of surveys: numbers with places of electrodes, or places in each row."""

from __future__ import annotations

import numpy as np
import pytest
from written import parsed, refusal, written

PLACES = "electrode,x,y,z\n1,0,0,0\n2,1,0,0\n3,2,0,0\n4,3,0,0.5\n"
DATA = "a,b,m,n,rhoa [ohm m],err [%]\n1,4,2,3,102.5,2\n1,0,2,3,99,3\n"


@pytest.mark.parametrize(
    "text", [PLACES + DATA, DATA + "\n" + PLACES, f"# places\n{PLACES}\n\n{DATA}"]
)
def test_two_tables_in_one_file(tmp_path, text):
    check_both(parsed(tmp_path, text, "file.csv"))


def check_both(survey):
    assert survey.data.tolist() == [[0, 3, 1, 2], [0, -1, 1, 2]]
    np.testing.assert_allclose(survey.electrodes[3], [3, 0, 0.5])
    np.testing.assert_allclose(survey.values["rhoa"], [102.5, 99])
    np.testing.assert_allclose(survey.values["err"], [0.02, 0.03])


def test_electrodes_in_a_file_beside(tmp_path):
    written(tmp_path, PLACES, "file.electrodes.csv")
    check_both(parsed(tmp_path, DATA, "file.csv"))


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_quotes_and_decimal_commas(tmp_path, separator):
    text = (PLACES + DATA).replace(",", separator).replace(".", ",").replace("rhoa", '"rhoa"')
    check_both(parsed(tmp_path, text.replace('"rhoa" [ohm m]', '"rhoa [ohm m]"'), "file.csv"))


def test_numbers_of_electrodes_are_those_of_their_table(tmp_path):
    places = "z,no,x\n0,10,0\n0,20,1\n0,30,2\n0.5,40,3\n"
    data = "n,m,b,a,rhoa,err\n30,20,40,10,102.5,0.02\n30,20,0,10,99,0.03\n"
    check_both(parsed(tmp_path, places + data, "file.csv"))


@pytest.mark.parametrize(
    "head",
    [
        "xa,za,xb,zb,xm,zm,xn,zn,R [ohm]",
        "A(x),A(z),B(x),B(z),M(x),M(z),N(x),N(z),R/Ohm",
        "c1x,c1z,c2x,c2z,p1x,p1z,p2x,p2z,resistance (Ohm)",
        "x_a [m],z_a [m],x_b [m],z_b [m],x_m [m],z_m [m],x_n [m],z_n [m],r",
    ],
)
def test_places_in_each_row(tmp_path, head):
    rows = "0,0,3,-1,1,0,2,0,5.2\n0,0,,,1,0,2,0,6\n3,-1,inf,inf,1,0,,,7\n"
    survey = parsed(tmp_path, f"{head}\n{rows}", "file.csv")
    np.testing.assert_allclose(survey.electrodes, [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, -1]])
    assert survey.data.tolist() == [[0, 3, 1, 2], [0, -1, 1, 2], [3, -1, 1, -1]]
    np.testing.assert_allclose(survey.values["r"], [5.2, 6, 7])


def test_a_pole_pole_table_needs_no_columns_of_b_and_n(tmp_path):
    survey = parsed(
        tmp_path, "line,xa [cm],xm [cm],u/mV,i/mA\nL1,0,100,50,10\nL1,100,200,40,10\n", "file.csv"
    )
    assert survey.data.tolist() == [[0, -1, 1, -1], [1, -1, 2, -1]]
    np.testing.assert_allclose(survey.electrodes[:, 0], [0, 1, 2])
    np.testing.assert_allclose(survey.values["r"], [5, 4])
    assert "line" not in survey.values  # it holds texts


@pytest.mark.parametrize(
    "text, message",
    [
        (DATA, "line 1: the table has numbers of electrodes; add a table with x, y, z"),
        (PLACES, "has electrodes and no data"),
        (
            PLACES + DATA.replace("1,4,2,3", "1,4,2,9"),
            "line 7: electrode n = 9 is not in the table",
        ),
        (PLACES + DATA.replace("1,4,2,3", "1,4,2,2"), "line 7: m and n are one electrode"),
        (PLACES + DATA.replace("102.5", "x"), "line 7: expected a number rhoa [ohm m]; got 'x'"),
        (PLACES + DATA.replace(",102.5", ""), "line 7: expected 6 cells, as in line 6; got 5"),
        (
            PLACES.replace("3,2,", "3,1,") + DATA,
            "line 4: electrode 3 is at the place of electrode 2",
        ),
        (PLACES.replace("\n3,", "\n2,") + DATA, "line 1: two electrodes have one number"),
        (PLACES + DATA + DATA, "line 9: the file has two such tables"),
        (PLACES + "a,b,m,n\n", "line 6: the table has no data"),
        ("xa,xb,xm,xn,ya\n0,3,1,2,\n", "line 2: a coordinate of a is missing"),
        ("xa,xb,xm,xn,xa\n0,3,1,2,5\n", "line 1: two columns are x of one electrode"),
        ("some words\n1 2 3\n", "line 1: expected the number of electrodes"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, text, message):
    assert message in refusal(tmp_path, text, "file.csv")
