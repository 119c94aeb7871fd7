from __future__ import annotations

import gzip
import re

import numpy as np
import pytest

from surrogates.data import tables
from surrogates.errors import InputError

CUT = gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:30]  # its name must not tell the time


def read(folder, text, name="a.csv"):
    content = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(content)
    return tables.read(folder / name)


SAME = {
    "comma": "a,b\n1.5,2\n-3,40\n",
    "blanks about cells": 'a, "b"\n 1.5 , 2\n-3, 40\n',
    "semicolon and decimal comma": "a;b\n1,5;2\n-3;4,0e1\n",
    "tab": "a\tb\n1.5\t2\n-3\t40\n",
    "tab and decimal comma": "a\tb\n1,5\t2\n-3\t40\n",
    "runs of blanks": "  a   b\n 1.5    2 \n-3  40\n",
    "blanks and decimal comma": "a b\n1,5 2\n-3 40\n",
    "Fortran": "a b\n1.5D+00 2.\n-3 .4d2\n",
    "comments": "# one\n% two\na,b\n# three\n1.5,2\n\n-3,40\n# four\n",
    "commented names": "# by a solver\n# a b\n1.5 2\n-3 40\n",
    "commented names with commas": "% a, b\n1.5 2\n-3 40\n",
    "byte order mark": "\ufeffa,b\n1.5,2\n-3,40\n",
    "UTF-16": "a\tb\n1.5\t2\n-3\t40\n".encode("utf-16"),
    "gzip": gzip.compress(b"a,b\n1.5,2\n-3,40\n", mtime=0),
    "Macintosh": "a,b\r1.5,2\r-3,40\r",
    "Windows": "a,b\r\n1.5,2\r\n-3,40",
    "said by Excel": "sep=;\na;b\n1,5;2\n-3;40\n",
    "separator at the end": "a,b,\n1.5,2,\n-3,40,\n",
    "separator at the end of numbers": "a,b\n1.5,2,\n-3,40,\n",
    "empty rows": "a,b\n1.5,2\n,\n-3,40\n,\n",
}


@pytest.mark.parametrize("kind", SAME)
def test_one_table_in_the_ways_that_programs_write_it(tmp_path, kind):
    table = read(tmp_path, SAME[kind])
    assert table.names == ("a", "b") and not table.odd and table.indices() == []
    assert table.values.tolist() == [[1.5, 2], [-3, 40]]
    names, values = tables.read_csv(tmp_path / "a.csv")
    assert names == ["a", "b"] and np.array_equal(values, table.values)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1.5 2\n-3 40\n", None),
        ("1.5,2,\n-3,40,\n", None),
        ("# made by a solver\n1.5 2\n-3 40\n", None),
        ("# a b\n\n1.5 2\n-3 40\n", None),  # not right above
        ("# 3 4\n1.5 2\n-3 40\n", None),
        ('"a\nb","c, ""d"""\n1.5,2\n-3,40\n', ("a b", 'c, "d"')),
        ("depth [m];volume\n1,5;2\n-3;40\n", ("depth [m]", "volume")),
    ],
)
def test_names(tmp_path, text, names):
    table = read(tmp_path, text)
    assert table.names == names and table.values.tolist() == [[1.5, 2], [-3, 40]]


def test_names_as_pandas_and_r_write_them(tmp_path):
    for text, names, indices in (
        (",a,b\n0,1.5,2\n1,3,4\n", ("", "a", "b"), [0]),
        ("Unnamed: 0,a,b\n0,1.5,2\n1,3,4\n", ("Unnamed: 0", "a", "b"), [0]),
        ('"a" "b"\n"1" 1.5 2\n"2" 3 4\n', ("", "a", "b"), [0]),
        (",0,1\n0,1.5,2\n1,3,4\n", ("", "0", "1"), [0]),
        ("a,b,ID\n1.5,2,1\n3,4,2\n", ("a", "b", "ID"), [2]),
        ("a,b,id\n1.5,2,1\n3,4,3\n", ("a", "b", "id"), []),
        ("a,b,number\n1.5,2,1\n3,4,2\n", ("a", "b", "number"), []),
    ):
        table = read(tmp_path, text)
        assert table.names == names and table.indices() == indices
        kept = table.without(indices)
        assert kept.values[:, :2].tolist() == [[1.5, 2], [3, 4]]
    table = read(tmp_path, "0,1,2\n1.5,2,3\n3,4,5\n")
    assert table.names == ("0", "1", "2") and table.values.tolist() == [[1.5, 2, 3], [3, 4, 5]]
    assert table.lines == [2, 3]
    assert read(tmp_path, "0,1,2\n1,2,3\n3,4,5\n").names is None  # a row as all others


def test_a_line_of_units_below_the_names(tmp_path):
    for text, units in (
        ("a,b,c\nmm,,N\n1,2,3\n4,5,6\n", ("mm", "", "N")),
        ("a;b;c\nmm;%;kN\n1,5;2;3\n4;5;6\n", ("mm", "%", "kN")),
        (",a,b\n-,mm,N\n0,1,2\n1,4,5\n", ("-", "mm", "N")),
        ("a,b\nmm,N\n0,1,2\n1,4,5\n", ("", "mm", "N")),  # row numbers without a name
        ("a,b,c\nNA,NA,oak\n1,2,elm\n", ()),  # a sample with a class and no numbers
        ("a,b\nNA,NA\n1,2\n", ()),
    ):
        (tmp_path / "a.csv").write_text(text)
        table = tables.read(tmp_path / "a.csv")
        assert table.units == units
        assert list(table.lines)[-1] == len(text.splitlines())
        assert len(table.values) == len(text.splitlines()) - (2 if units else 1)
    (tmp_path / "a.csv").write_text("a,b,c\nmm,N\n1,2,3\n")
    with pytest.raises(InputError, match="row 2: expected 3 columns; got 2"):
        tables.read(tmp_path / "a.csv")


def test_cells_that_are_no_numbers_keep_their_text_and_place(tmp_path):
    table = read(tmp_path, "# c\na,b\n1,\n\nNA,3\nnan,N/A\nnull,4\n5,inf\n1_0,0x1\n**,1 2\n")
    assert np.isnan(table.values).sum() == 9 and np.isinf(table.values).sum() == 1
    assert table.odd == {
        **{(0, 1): "", (1, 0): "NA", (2, 0): "nan", (2, 1): "N/A", (3, 0): "null"},
        **{(4, 1): "inf", (5, 0): "1_0", (5, 1): "0x1", (6, 0): "**", (6, 1): "1 2"},
    }
    texts = {cell for cell in table.odd.values() if tables.is_text(cell)}
    assert texts == {"1_0", "0x1", "**", "1 2"}
    with pytest.raises(InputError, match=r"a.csv, row 10, column 1: '\*\*' is not a finite number"):
        table.refuse(6, 0)
    with pytest.raises(InputError, match=r"a.csv, row 3, column 2: '' is not a finite number"):
        tables.read_csv(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.csv holds no numbers"),
        ("# a\n", "a.csv holds no numbers"),
        ("a,b\n", "a.csv holds no numbers"),
        ("a,b\n1,2\n3\n", "row 3: expected 2 columns; got 1"),
        ("a,b\n1,2\n3,4,5\n", "row 3: expected 2 columns; got 3"),
        ("a,b\n7,1,2\n9,3,4\n", "row 2: expected 2 columns; got 3"),
        ("depth [m] volume\n1 2\n3 4\n", "row 2: expected 3 columns; got 2"),
        (
            "a;b\n2;3\n1,234;5.5\n",
            "row 3, column 1: '1,234' has a comma, and other numbers have points; write numbers",
        ),
        ("a;b\n2.5;3\n1;5,5\n", "row 3, column 2: '5,5' has a comma"),
        ("t °C,b\n1,2\n".encode("latin-1"), "byte 2 is not UTF-8 text; save it as UTF-8"),
        (
            gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:30],
            "a.csv is not a whole .csv file: Compressed",
        ),
    ],
)
def test_tables_with_faults_are_one_clear_line(tmp_path, text, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 1


def test_endings(tmp_path):
    for name in ("a.csv", "a.TSV", "b.txt", "c.dat", "a.csv.gz", "a.b.txt.gz"):
        assert tables.is_table(tmp_path / name)
    for name in ("a.npz", "a.gz", "csv", "a.csv.zip"):
        assert not tables.is_table(tmp_path / name)
    with pytest.raises(InputError, match="there is no file"):
        tables.read(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            ("64,696;523", "1,234;7", "17;8"),
            "row 1, column 1: '64,696' has a comma, and other numb",
        ),
        (
            ("636,961.69;523", "1,234.50;7"),
            "row 1, column 1: '636,961.69' is not a finite number; w",
        ),
        (
            ("636 961;523", "1 234;7"),
            "row 1, column 1: '636 961' is not a finite number; write num",
        ),
        (("636.961,5;523", "1.234,5;7"), "row 1, column 1: '636.961,5' is not a finite number; wr"),
    ],
)
def test_thousands_separators_are_refused(tmp_path, cells, message):
    path = tmp_path / "a.csv"
    path.write_text("\n".join(cells))
    with pytest.raises(InputError) as caught:
        tables.read_csv(path)
    assert message in str(caught.value)
    assert str(caught.value).endswith("write numbers without thousands separators")


def test_commas_that_could_separate_thousands_are_said(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("64,696;3\n1,234;4\n")
    table = tables.read(path)
    assert table.values.tolist() == [[64.696, 3], [1.234, 4]]
    assert table.comma == f"{path}, row 1, column 1: '64,696'"
    path.write_text("64,696;3\n1,25;4\n2;5\n")  # no group of thousands has two digits
    assert tables.read(path).comma == ""


def test_an_error_of_a_spreadsheet_is_no_comment(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("y0,c0\n1,2\n#DIV/0!,3\n# a comment\n#N/A,4\n")
    table = tables.read(path)
    assert len(table.values) == 3 and table.odd == {(1, 0): "#DIV/0!", (2, 0): "#N/A"}


def test_text_of_another_encoding_is_one_clear_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("y0,c0\n1,2\n3,4\n5,6\n", encoding="utf-16-le")
    with pytest.raises(InputError, match="row 1: a null byte, so that it is not UTF-8 text"):
        tables.read(path)
