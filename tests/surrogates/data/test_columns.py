"""Which columns and arrays of a file are Y and C, and what is refused."""

from __future__ import annotations

import gzip
import re

import h5py
import numpy as np
import pytest
import scipy.io
from imports import WRITERS, write_npz, written

from surrogates.data import import_file
from surrogates.errors import InputError


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("samples", ["rows", "columns"])
def test_either_orientation_of_each_format(tmp_path, arrays, name, samples):
    Y, C = arrays
    as_in_file = (Y, C) if samples == "rows" else (Y.T, C.T)
    WRITERS[name](tmp_path / name, *as_in_file)
    for asked in ("auto", samples):
        dataset = import_file(tmp_path / name, samples=asked)
        assert np.array_equal(dataset.Y, Y) and np.array_equal(dataset.C, C)
        assert dataset.Y.flags.c_contiguous and dataset.C.dtype == np.float64
    other = "columns" if samples == "rows" else "rows"
    with pytest.raises(InputError, match=f"not as many samples in {other}"):
        import_file(tmp_path / name, samples=other)


def test_csv_takes_columns_by_their_names(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('c1,Y_depth,"c(2, x)",y2\n1,2,3,4\n5,6,7,8\n9,10,11,12e0\n')
    dataset = import_file(path, split="1/1/1")
    assert dataset.Y.tolist() == [[2, 4], [6, 8], [10, 12]]
    assert dataset.C.tolist() == [[1, 3], [5, 7], [9, 11]]
    assert dataset.info.y_names == ("Y_depth", "y2")
    assert dataset.info.c_names == ("c1", "c(2, x)")


def test_one_column_may_have_one_dimension(tmp_path):
    Y, C = np.arange(5.0), np.arange(5.0) ** 2
    for pair in ((Y, C), (Y[:, None], C), (Y, C[:, None]), (Y[None], C[None]), (Y[None], C)):
        np.savez(tmp_path / "a.npz", Y=pair[0], C=pair[1])
        dataset = import_file(tmp_path / "a.npz")
        assert dataset.Y.tolist() == Y[:, None].tolist()
        assert dataset.C.tolist() == C[:, None].tolist()
    several = np.arange(10.0).reshape(5, 2)
    for array in (several, several.T):
        np.savez(tmp_path / "a.npz", Y=Y, C=array)
        assert np.array_equal(import_file(tmp_path / "a.npz").C, several)
        scipy.io.savemat(tmp_path / "a.mat", {"Y": array, "C": Y})  # MATLAB's are 1 x 5
        assert np.array_equal(import_file(tmp_path / "a.mat").Y, several)


def test_where_both_dimensions_agree_nothing_is_guessed(tmp_path):
    Y = np.arange(9.0).reshape(3, 3)
    write_npz(tmp_path / "a.npz", Y, -Y)
    with pytest.raises(InputError, match=r"Y is 3 x 3 and C is 3 x 3: .* rows or in columns; say"):
        import_file(tmp_path / "a.npz")
    assert np.array_equal(import_file(tmp_path / "a.npz", samples="rows").Y, Y)
    assert np.array_equal(import_file(tmp_path / "a.npz", samples="columns").C, -Y.T)
    np.savez(tmp_path / "a.npz", Y=Y[0], C=Y)
    with pytest.raises(InputError, match=r"Y is 3 and C is 3 x 3: .* rows or in columns; say"):
        import_file(tmp_path / "a.npz")


def test_a_few_columns_are_not_taken_for_samples(tmp_path):
    Y = np.random.default_rng(0).random((40, 3))
    np.savez(tmp_path / "a.npz", Y=Y, C=Y)
    notes: list[str] = []
    assert len(import_file(tmp_path / "a.npz", note=notes.append).Y) == 40
    assert notes == [
        "Y is 40 x 3 and C is 40 x 3: taken as 40 samples in rows (--samples says otherwise)"
    ]
    np.savez(tmp_path / "a.npz", Y=Y, C=Y[:30])
    with pytest.raises(InputError, match="as many samples in rows; --samples columns takes .* 3"):
        import_file(tmp_path / "a.npz")
    assert len(import_file(tmp_path / "a.npz", samples="columns").Y) == 3


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_found_where_they_lie_in_the_file(
    tmp_path, arrays, name, value
):
    Y, C = arrays
    Y[6, 2] = value
    message = rf"{name}: Y is {value} at row {{}}, column {{}} \(counted from 1; 1 such values\)"
    for turned, place in ((True, (3, 7)), (False, (7, 3))):
        WRITERS[name](tmp_path / name, *((Y.T, C.T) if turned else (Y, C)))
        with pytest.raises(InputError, match=message.format(*place) + "; --exclude 6 leaves it"):
            import_file(tmp_path / name)
        dataset = import_file(tmp_path / name, exclude="6")
        assert np.array_equal(dataset.Y, np.delete(Y, 6, axis=0))
        assert np.array_equal(dataset.C, np.delete(C, 6, axis=0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y0,c0\n1,2\nNA,2\n", "row 3, column 1: 'NA' is not a finite number; --exclude 1 leaves"),
        ("y0,c0\n1,2\ninf,2\n", "row 3, column 1: 'inf' is not a finite number"),
        ("y0,c0\n1,2\n3,?\n", "row 3, column 2: '?' is not a finite number"),
        ("y0,c0\n1,2\n,3\n", "row 3, column 1: '' is not a finite number"),
        ('y0,c0\n1,2\n3,"1,234"\n', "row 3, column 2: '1,234' is not a finite number"),
        ("y0,c0\n1,2,3\n", "row 2: expected 2 columns; got 3"),
        ("1,2\n3,4\n", "a.csv has 2 columns without names; say how many of them are parameters"),
        ("y0,c0\n1,2\n3,4\n", "2 of 2 samples can be used: a surrogate needs at least 3"),
        ("y0,c0\n1,2\n3,\n4,5\n", "2 of 3 samples can be used: a surrogate needs at least 3"),
        ("y0,c0,c0\n1,2,3\n", "the columns 2 and 3 have one name, 'c0'"),
        ("y0,,c0\n1,2,3\n", "column 2 has no name"),
        ("y0,c0\n", "holds no numbers"),
        ("y0,y1\n1,2\n", "a.csv has the columns y0, y1; name parameters y... and outputs c..., or"),
        ("c0,c1\n1,2\n", "a.csv has the columns c0, c1; name"),
        ("y0,c0,z\n1,2,3\n", "a.csv has the columns y0, c0, z; name parameters y... and"),
    ],
)
def test_csv_with_faults_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        import_file(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", WRITERS)
def test_truncated_and_foreign_files_are_one_clear_line(tmp_path, arrays, name):
    path = tmp_path / name
    WRITERS[name](path, *arrays)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:300], b"", b"hello, world\n" * 50):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"{name} is not a whole|has no array") as caught:
            import_file(path)
        assert len(str(caught.value).splitlines()) == 1


def test_arrays_that_do_not_fit_are_one_clear_line(tmp_path, arrays):
    Y, C = arrays
    path = tmp_path / "a.npz"
    for contents, message in [
        ({"Y": Y}, "a.npz has no array C; it has Y"),
        ({"X": Y}, "a.npz has no array Y; it has X"),
        ({}, "a.npz has no array Y; it has nothing"),
        ({"Y": Y, "C": C[:9]}, "Y is 10 x 3 and C is 9 x 4: no dimension that would be"),
        ({"Y": Y[:2], "C": C[:2]}, "2 of 2 samples can be used: a surrogate needs at least 3"),
        ({"Y": Y, "C": np.ones((10, 2, 2))}, "a.npz: C must have 2 dimensions; got 3"),
        ({"Y": Y, "C": C * 1j}, "a.npz: C holds complex128, not real numbers"),
        ({"Y": Y, "C": np.full((10, 2), "x")}, "not real numbers"),
        ({"Y": Y, "C": np.array([{}])}, "a.npz: C holds objects, not real numbers"),
        ({"Y": Y, "C": np.full(10, "2020-01-01", "M8[D]")}, "C holds datetime64[D], not real"),
        ({"Y": Y[:0], "C": C[:0]}, "holds no samples"),
    ]:
        np.savez(path, **contents)
        with pytest.raises(InputError, match=re.escape(message)) as caught:
            import_file(path)
        assert len(str(caught.value).splitlines()) == 1
    with open(path, "wb") as file:
        np.save(file, Y)
    with pytest.raises(InputError, match="holds one array, not Y and C"):
        import_file(path)
    np.save(tmp_path / "a.npy", Y[:0])
    with pytest.raises(InputError, match="a.npy holds no samples"):
        import_file(tmp_path / "a.npy", inputs="1")


ROWS = np.random.default_rng(1).random((12, 5)).round(3).tolist()
NAMES = ["depth", "volume", "rot", "t1", "t(2, x)"]


@pytest.mark.parametrize(
    ("options", "inputs", "outputs"),
    [
        ({"inputs": "depth,volume, rot"}, [0, 1, 2], [3, 4]),
        ({"inputs": "rot,depth"}, [2, 0], [1, 3, 4]),
        ({"inputs": "3"}, [0, 1, 2], [3, 4]),
        ({"outputs": "2"}, [0, 1, 2], [3, 4]),
        ({"outputs": "t1"}, [0, 1, 2, 4], [3]),
        ({"outputs": "t(2, x)"}, [0, 1, 2, 3], [4]),
        ({"outputs": '"t(2, x)",rot'}, [0, 1, 3], [4, 2]),
        ({"inputs": "3", "outputs": "1"}, [0, 1, 2], [4]),
        ({"inputs": "volume", "outputs": "t1,depth"}, [1], [3, 0]),
    ],
)
def test_columns_are_named_or_counted(tmp_path, options, inputs, outputs):
    quoted = [f'"{name}"' for name in NAMES]
    found = import_file(written(tmp_path / "a.csv", quoted, ROWS), **options)
    table = np.array(ROWS)
    assert np.array_equal(found.Y, table[:, inputs]) and np.array_equal(found.C, table[:, outputs])
    assert found.info.y_names == tuple(NAMES[i] for i in inputs)
    assert found.info.c_names == tuple(NAMES[i] for i in outputs)
    if all(text.isdecimal() for text in options.values()):
        np.save(tmp_path / "a.npy", table)
        for path in (written(tmp_path / "bare.dat", None, ROWS, " "), tmp_path / "a.npy"):
            bare = import_file(path, **options)
            assert bare.digest == found.digest and bare.info.y_names[0] == "y0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "a.csv has the columns depth, volume, rot, t1, t(2; x); name parameters y... and out"),
        ({"inputs": "dpth"}, "unknown column 'dpth'; did you mean 'depth'?"),
        ({"inputs": "depth,depth"}, "--inputs names 'depth' twice"),
        ({"inputs": ""}, "--inputs has an empty name: ''"),
        ({"outputs": "depth,"}, "--outputs has an empty name: 'depth,'"),
        ({"inputs": "0"}, "--inputs 0: "),
        ({"outputs": "5"}, "a.csv has 5 columns, of which at least one is an input and one an out"),
        ({"inputs": "3", "outputs": "3"}, "rot is an input and an output"),
        ({"inputs": "rot", "outputs": "t1,rot"}, "rot is an input and an output"),
        ({"inputs": "depth,volume,rot,t1,t(2; x)"}, "--inputs leaves no column for the outputs"),
        ({"inputs": "3", "samples": "columns"}, "a.csv is a table, and has its samples in rows"),
    ],
)
def test_columns_that_cannot_be_told_are_one_clear_line(tmp_path, options, message):
    path = written(tmp_path / "a.csv", [*NAMES[:4], "t(2; x)"], ROWS)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        import_file(path, **options)
    assert len(str(caught.value).splitlines()) == 1


def test_a_column_that_counts_the_samples_is_named_and_left_out(tmp_path):
    for name, start in (("", 0), ("index", 1), ("Sample", 0), ("Unnamed: 0", 0)):
        rows = [[start + i, *row] for i, row in enumerate(ROWS)]
        path = written(tmp_path / "a.csv", [name, "y1", "y2", "y3", "c1", "c2"], rows)
        notes: list[str] = []
        dataset = import_file(path, note=notes.append)
        assert np.array_equal(dataset.Y, np.array(ROWS)[:, :3])
        said = repr(name) if name else "without a name"
        assert notes == [f"column 1, {said}, counts the samples and is left out"]
        assert import_file(path, inputs="3").digest == dataset.digest
    path = written(tmp_path / "a.csv", ["id", "a", "b", "c", "d", "e"], rows)
    assert import_file(path, inputs="id,a").info.y_names == ("id", "a")


def test_compressed_tables_and_their_names(tmp_path):
    plain = import_file(
        written(tmp_path / "plain.csv", NAMES[:4], np.array(ROWS)[:, :4]), inputs="3"
    )
    for name in ("pump.csv.gz", "pump.tsv.gz"):
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / "plain.csv").read_bytes()))
        dataset = import_file(tmp_path / name, inputs="3")
        assert dataset.digest == plain.digest and dataset.info.problem == "pump"


def test_two_files_are_Y_and_C(tmp_path, arrays):
    Y, C = arrays
    np.save(tmp_path / "Y.npy", Y)
    for name, array in (("C.npy", C), ("c.npy", C[:, 0]), ("T.npy", C[:, :1].T)):
        np.save(tmp_path / name, array)
        dataset = import_file(tmp_path / "Y.npy", tmp_path / name)
        assert np.array_equal(dataset.Y, Y)
        assert np.array_equal(dataset.C, C if name == "C.npy" else C[:, :1])
    np.savetxt(tmp_path / "C.txt", C, header="made by a solver")
    np.savez(tmp_path / "one.npz", C=C)
    for name in ("C.txt", "one.npz"):
        assert import_file(tmp_path / "Y.npy", tmp_path / name).C.tolist() == C.tolist()
    np.savez(tmp_path / "two.npz", A=C, B=C)
    np.save(tmp_path / "o.npy", np.array([{}]))
    for files, options, message in (
        (("Y.npy",), {}, "Y.npy has 3 columns without names; give two files, Y.npy C.npy, or say"),
        (("Y.npy", "C.npy"), {"inputs": "3"}, "of two files, the first is Y and the second C"),
        (("Y.npy", "none.npy"), {}, "there is no file"),
        (("Y.npy", "o.npy"), {}, "o.npy holds objects, not real numbers"),
        (("Y.npy", "two.npz"), {}, "two.npz has no array C, nor a single one; it has A, B"),
        (("Y.npy", "C.xlsx"), {}, "cannot import .*C.xlsx: the known endings are"),
    ):
        with pytest.raises(InputError, match=message):
            import_file(*(tmp_path / name for name in files), **options)


def test_arrays_are_named(tmp_path, arrays):
    Y, C = arrays
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["run/Y"], file["run/C"], file["a"], file["b"] = Y, C, Y[:, 0], Y[:, 1]
    dataset = import_file(tmp_path / "a.h5", inputs="/run/Y", outputs="run/C")
    assert np.array_equal(dataset.Y, Y) and np.array_equal(dataset.C, C)
    dataset = import_file(tmp_path / "a.h5", inputs="a,b", outputs="run/C")
    assert np.array_equal(dataset.Y, Y[:, :2]) and dataset.info.y_names == ("a", "b")
    np.savez(tmp_path / "a.npz", X=Y, Y=C)
    scipy.io.savemat(tmp_path / "a.mat", {"X": Y, "Y": C})
    for name in ("a.npz", "a.mat"):
        dataset = import_file(tmp_path / name, inputs="X", outputs="Y")
        assert np.array_equal(dataset.Y, Y) and np.array_equal(dataset.C, C)
        with pytest.raises(
            InputError, match="no array C; it has X, Y; --inputs NAME and --outputs"
        ):
            import_file(tmp_path / name)
    with pytest.raises(InputError, match="a.h5: run/Y is not of one dimension"):
        import_file(tmp_path / "a.h5", inputs="a,run/Y", outputs="run/C")
    dataset.write(tmp_path / "set.h5")
    with pytest.raises(InputError, match="set.h5 is a dataset already, and needs no import"):
        import_file(tmp_path / "set.h5")
    again = import_file(tmp_path / "set.h5", inputs="Y", outputs="C", exclude="2")
    assert np.array_equal(again.C, np.delete(C, 2, axis=0))


def test_units_below_the_names(tmp_path):
    rows = ["mm,,kN,-", *(f"{i},{i * i},{i % 3},{-i}" for i in range(9))]
    (tmp_path / "a.csv").write_text("\n".join(["a,b,c,d", *rows]))
    for i, name in enumerate(("Y.csv", "C.csv")):
        cells = [row.split(",")[2 * i : 2 * i + 2] for row in ["a,b,c,d", *rows]]
        (tmp_path / name).write_text("\n".join(map(",".join, cells)))
    notes: list[str] = []
    one = import_file(tmp_path / "a.csv", inputs="2", note=notes.append)
    two = import_file(tmp_path / "Y.csv", tmp_path / "C.csv")
    for dataset in (one, two):
        assert dataset.info.y_units == ("mm", "1") and dataset.info.c_units == ("kN", "1")
        assert dataset.Y.shape == (9, 2)
    assert notes == ["the line below the names has the units: mm, -, kN, -"]
