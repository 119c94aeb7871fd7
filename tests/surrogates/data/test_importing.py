from __future__ import annotations

import gzip
import re

import h5py
import numpy as np
import pytest
import scipy.io
from places import PUBLISHED

from surrogates.data import PARTS, Dataset, Split, Status, as_dataset, import_file
from surrogates.errors import InputError


@pytest.fixture
def arrays():
    """Y and C with samples in rows, (10, 3) and (10, 4)."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(10, 3)), rng.normal(size=(10, 4))


def write_mat5(path, Y, C):
    scipy.io.savemat(path, {"Y": Y, "C": C, "note": "text"}, do_compression=True)


def write_mat73(path, Y, C):
    """As MATLAB does: a block of text first, and arrays with their dimensions reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file["Y"], file["C"] = Y.T, C.T
        file.create_group("#refs#")
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(128))


def write_npz(path, Y, C):
    np.savez(path, Y=Y, C=C, other=1)


WRITERS = {"5.mat": write_mat5, "73.mat": write_mat73, "a.npz": write_npz}


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


def test_the_dataset_says_what_it_is_and_is_sound(tmp_path, arrays):
    Y, C = arrays
    write_npz(tmp_path / "pump.npz", Y, C)
    dataset = import_file(tmp_path / "pump.npz", split="5/3/1", seed=7)
    info = dataset.info
    assert (info.problem, info.design, info.seed, info.split, info.total, info.first) == (
        *("pump", "imported", 7, "5/3/1", 10, 0),
    )
    assert info.y_names == ("y0", "y1", "y2") and info.c_names == ("c0", "c1", "c2", "c3")
    assert info.y_units == ("1",) * 3 and info.c_units == ("1",) * 4
    assert np.array_equal(info.y_lower, Y.min(axis=0))
    assert np.array_equal(info.y_upper, Y.max(axis=0))
    assert {"python", "numpy", "h5py"} <= set(info.versions)
    assert info.command and info.created
    assert [len(dataset.part(name)[0]) for name in ("train", "validation", "test")] == [5, 3, 1]
    assert (dataset.status == Status.DONE).all() and (dataset.solver["residual"] == 0).all()
    assert dataset.problems() == []
    dataset.write(tmp_path / "pump.h5")
    assert Dataset.read(tmp_path / "pump.h5").digest == dataset.digest


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


def test_masked_arrays_are_refused(arrays):
    Y, C = arrays
    given = {"problem": "p", "task": "regression", "split": "1/0/0", "seed": 0}
    names = {"y_names": [f"y{i}" for i in range(Y.shape[1])], "c_names": ["c"] * C.shape[1]}
    as_dataset(Y, C, **given, **names)
    for one, other, what in ((np.ma.masked_less(Y, 0), C, "Y"), (Y, np.ma.masked_less(C, 0), "C")):
        with pytest.raises(InputError, match=f"{what} is a masked array; leave its masked values"):
            as_dataset(one, other, **given, **names)


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


def test_arguments_out_of_range_are_one_clear_line(tmp_path, arrays):
    write_npz(tmp_path / "a.npz", *arrays)
    for name, options, message in [
        ("a.npz", {"split": "8/2/1"}, "the split 8/2/1 needs 11 samples; there are 10"),
        ("a.npz", {"split": "much"}, "cannot read the split 'much'; write 400/200/200"),
        ("a.npz", {"seed": -1}, "the seed must be at least 0 and below 2^63; got -1"),
        ("a.npz", {"samples": "colums"}, "unknown orientation 'colums'; did you mean 'columns'?"),
        ("a.npz", {"task": "classificaton"}, "unknown task 'classificaton'; did you mean"),
        ("missing.mat", {}, "there is no file"),
        ("missing.csv", {}, "there is no file"),
        ("a.xlsx", {}, "a.xlsx: the known endings are .mat, .npz, .h5, .hdf5, .npy, .csv, .tsv,"),
        ("a.npz", {"missing": "drop"}, "unknown meaning of missing 'drop'; known are fail, mask"),
        ("a.npz", {"exclude": "10"}, "there is no row 10: there are 10, from 0 to 9"),
        ("a.npz", {"exclude": "0-9"}, "no samples are left"),
        ("a.npz", {"inputs": "X"}, "unknown array 'X'; known are Y, C, other"),
        ("a.npz", {"outputs": "other"}, "a.npz: other must have 2 dimensions; got 0"),
    ]:
        with pytest.raises(InputError, match=re.escape(message)):
            import_file(tmp_path / name, **options)


def written(path, names, rows, separator=","):
    """Write a table, and return its path."""
    lines = [separator.join(map(str, row)) for row in ([names] if names else []) + list(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


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


@pytest.mark.parametrize("form", ["npz", "csv"])
def test_samples_without_a_finite_c_are_kept_as_failed(tmp_path, arrays, form):
    Y, C = np.random.default_rng(0).random((30, 2)), np.random.default_rng(1).random((30, 3))
    C[3], C[7, 1], C[9, 2] = np.nan, np.inf, np.nan
    if form == "npz":
        np.savez(tmp_path / "a.npz", Y=Y, C=C)
    else:
        blank = [["N/A" if np.isnan(v) else v for v in row] for row in np.c_[Y, C].tolist()]
        written(tmp_path / "a.csv", ["y0", "y1", "c0", "c1", "c2"], blank)
    notes: list[str] = []
    dataset = import_file(tmp_path / f"a.{form}", note=notes.append)
    failed = [3, 7, 9]
    assert notes == ["3 samples of 30 have no finite c and are kept as failed: 3, 7, 9"]
    assert np.flatnonzero(dataset.status == Status.FAILED).tolist() == failed
    assert np.isnan(dataset.C[failed]).all() and np.array_equal(dataset.Y, Y)
    assert (dataset.split[failed] == Split.UNUSED).all()
    assert [dataset.size(part) for part in PARTS] == [22, 2, 3]
    assert dataset.problems() == ["3 samples failed, first 3 (no finite c in the imported file)"]
    notes.clear()
    dataset = import_file(tmp_path / f"a.{form}", exclude="3,20-22", note=notes.append)
    assert notes == [
        "2 samples of 26 have no finite c and are kept as failed: 7, 9",
        "samples are counted from 0, before --exclude",
    ]
    with pytest.raises(InputError, match=r"needs 30 samples; there are 27 \(3 without c\)"):
        import_file(tmp_path / f"a.{form}", split="20/5/5")


def test_missing_entries_are_masked_where_that_is_asked_for(tmp_path):
    Y, C = np.random.default_rng(0).random((30, 2)), np.random.default_rng(1).random((30, 3))
    C[3], C[7, 1], C[9, 2], C[11, 0] = np.nan, np.inf, np.nan, np.nan
    np.savez(tmp_path / "a.npz", Y=Y, C=C)
    notes: list[str] = []
    dataset = import_file(tmp_path / "a.npz", missing="mask", note=notes.append)
    assert notes == [
        "2 samples of 30 have no finite c and are kept as failed: 3, 7",
        "2 of 84 entries of c are missing and masked, in 2 of 28 samples",
    ]
    assert dataset.info.missing == "mask"
    assert np.argwhere(np.isnan(np.delete(dataset.C, [3, 7], axis=0))).tolist() == [[7, 2], [9, 0]]
    assert dataset.problems() == ["2 samples failed, first 3 (no finite c in the imported file)"]
    assert import_file(tmp_path / "a.npz", missing="fail").info.missing == ""
    np.savez(tmp_path / "a.npz", Y=Y, C=np.where(np.isfinite(C), C, 0))
    assert import_file(tmp_path / "a.npz", missing="mask").info.missing == ""
    np.savez(tmp_path / "a.npz", Y=Y, C=np.where([True, False, True], C, np.nan))
    with pytest.raises(InputError, match="c1 has no value in any sample"):
        import_file(tmp_path / "a.npz", missing="mask")
    np.savez(tmp_path / "a.npz", Y=Y, C=np.arange(30) % 2)
    with pytest.raises(InputError, match="masked in a regression only"):
        import_file(tmp_path / "a.npz", missing="mask", task="classification")


@pytest.mark.parametrize("n", range(3, 21))
def test_small_sets_are_accepted(tmp_path, n):
    np.savez(tmp_path / "a.npz", Y=np.arange(n * 2.0).reshape(n, 2), C=np.arange(float(n)))
    dataset = import_file(tmp_path / "a.npz")
    counts = [int((dataset.split == part).sum()) for part in range(3)]
    assert sum(counts) == n and counts[0] >= 0.6 * n and counts[0] + counts[1] >= 3


def test_two_samples_are_enough_only_where_none_is_for_training(tmp_path):
    np.savez(tmp_path / "a.npz", Y=np.arange(2.0), C=np.arange(2.0))
    with pytest.raises(
        InputError, match="2 of 2 samples can be used: a surrogate needs at least 3"
    ):
        import_file(tmp_path / "a.npz")
    assert import_file(tmp_path / "a.npz", split="0/0/1").size("test") == 2


def test_rows_far_away_are_named_as_exclude_takes_them(tmp_path):
    Y, C = np.random.default_rng(0).random((40, 2)), np.random.default_rng(1).random((40, 3))
    np.savez(tmp_path / "a.npz", Y=Y, C=C)
    notes: list[str] = []
    import_file(tmp_path / "a.npz", note=notes.append)
    assert notes == []
    Y[5, 1], C[25, 2], C[30] = 1e9, -1e6, 1e5 * C[30]
    np.savez(tmp_path / "a.npz", Y=Y, C=C)
    import_file(tmp_path / "a.npz", exclude="5", note=notes.append)
    assert len(notes) == 2 and notes[1] == "samples are counted from 0, before --exclude"
    found = re.fullmatch(
        r"warning: samples 25, 30 are far from the others: up to (\S+) robust deviations in c2 "
        r"\(sample 25\); --exclude 5,25,30 leaves them out",
        notes[0],
    )
    assert found and 1e6 < float(found[1]) < 1e7
    notes.clear()
    import_file(tmp_path / "a.npz", exclude="25,30", note=notes.append)
    assert (
        notes[0].startswith("warning: sample 5 is far from the others: 2") and "in y1; " in notes[0]
    )
    notes.clear()
    import_file(tmp_path / "a.npz", exclude="25,30,5", note=notes.append)
    assert notes == []


def test_outputs_of_many_decades_are_named_in_one_line(tmp_path):
    Y, wide = np.random.default_rng(0).random((40, 2)), 10 ** np.linspace(0, 5, 40)
    notes: list[str] = []
    for C, expected in (
        (wide, ["c0 spans 5 decades: train --log c0 learns its logarithm"]),
        (wide**0.5, []),
        (wide - 1, []),
        (-wide, []),
        (
            np.c_[wide, 1 + Y[:, 0], wide**1.6],
            ["c0, c2 span 5 to 8 decades: train --log c0,c2 learns their logarithms"],
        ),
    ):
        notes.clear()
        np.savez(tmp_path / "a.npz", Y=Y, C=C)
        import_file(tmp_path / "a.npz", note=notes.append)
        assert notes == expected


LABELS = np.array([2, 0, 1, 1, 0, 2, 2, 1, 0, 0])


def one_hot(labels):
    return np.eye(labels.max() + 1)[labels]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("samples", ["rows", "columns"])
@pytest.mark.parametrize("shape", [(10,), (10, 1), (1, 10), "one-hot"])
def test_labels_and_one_hot_rows_are_the_same_classes(tmp_path, arrays, name, samples, shape):
    Y = np.ascontiguousarray(arrays[0][:, :2])
    C = one_hot(LABELS) if shape == "one-hot" else LABELS.astype(np.uint8).reshape(shape)
    if samples == "columns" and shape == "one-hot":
        C = C.T
    WRITERS[name](tmp_path / name, Y if samples == "rows" else Y.T, C)
    for asked in ("auto", samples):
        dataset = import_file(tmp_path / name, task="classification", samples=asked)
        assert np.array_equal(dataset.Y, Y) and np.array_equal(dataset.C, one_hot(LABELS))
        assert dataset.Y.flags.c_contiguous and dataset.C.dtype == np.float64
        info = dataset.info
        assert info.task == "classification" and info.c_names == ("class 0", "class 1", "class 2")
        assert info.c_units == ("1",) * 3 and not info.coordinates
        assert dataset.problems() == []


def test_probabilities_come_as_they_are(tmp_path, arrays):
    C = np.array([[0.25, 0.75], [1, 0], [0, 1], [0.5, 0.5], [1 / 3, 2 / 3]])
    np.savez(tmp_path / "a.npz", Y=arrays[0][:5], C=C.astype(np.float32))
    dataset = import_file(tmp_path / "a.npz", task="classification", split="5/0/0")
    np.testing.assert_array_equal(dataset.C, C.astype(np.float32))
    assert dataset.problems() == []


def test_csv_of_labels_or_one_hot_columns_which_name_the_classes(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("y0,c\n" + "".join(f"{i / 7},{label}\n" for i, label in enumerate(LABELS)))
    dataset = import_file(path, task="classification")
    assert np.array_equal(dataset.C, one_hot(LABELS))
    assert dataset.info.c_names == ("class 0", "class 1", "class 2")
    lines = (f"{i / 7},{a:g},{b:g},{c:g}\n" for i, (a, b, c) in enumerate(one_hot(LABELS)))
    path.write_text("y0,c_oats,c_corn,c_hay\n" + "".join(lines))
    dataset = import_file(path, task="classification")
    assert np.array_equal(dataset.C, one_hot(LABELS))
    assert dataset.info.c_names == ("c_oats", "c_corn", "c_hay")


def test_labels_in_a_table_name_the_classes(tmp_path):
    crops = ["oats", "hay pale", "corn"]
    for labels, names in (
        ([crops[i] for i in LABELS], ("corn", "hay pale", "oats")),
        ([("yes", "no", "no")[i] for i in LABELS], ("no", "yes")),
        ([(3, -1, 7)[i] for i in LABELS], ("class -1", "class 3", "class 7")),
        ([1 + i for i in LABELS], ("class 1", "class 2", "class 3")),
    ):
        rows = [[i / 7, -i, label] for i, label in enumerate(labels)]
        path = written(tmp_path / "a.csv", ["a", "b", "crop"], rows)
        for options in ({"inputs": "a,b"}, {"outputs": "crop"}):
            dataset = import_file(path, task="classification", **options)
            assert dataset.info.c_names == names and dataset.Y.shape == (10, 2)
            found = [names[k] for k in dataset.C.argmax(axis=1)]
            assert found == [x if isinstance(x, str) else f"class {x}" for x in labels]
            assert dataset.problems() == []
    with pytest.raises(InputError, match="row 2, column 3: 'oats' is not a finite number"):
        import_file(written(path, ["a", "b", "c"], [[1, 2, "oats"]] * 3), inputs="2")


def test_logarithms_of_inputs_are_proposed_where_they_are_drawn_so(tmp_path):
    even = (np.arange(1000) + 0.5) / 1000
    np.savez(tmp_path / "a.npz", Y=np.c_[even, 10 ** (8 * even)], C=even[:, None])
    notes: list[str] = []
    import_file(tmp_path / "a.npz", samples="rows", note=notes.append)
    assert notes == [
        "y1 spans 7.2 decades: train --log-inputs y1 learns its logarithm",
        "c0 spans 3.3 decades: train --log c0 learns its logarithm",
    ]


def test_labels_that_are_texts_in_an_array_or_a_file_of_their_own(tmp_path, arrays):
    labels = np.array([["oats", "corn", ""][i] for i in LABELS])
    np.savez(tmp_path / "a.npz", Y=arrays[0], C=labels)
    np.savez(tmp_path / "row.npz", Y=arrays[0], C=labels[None].astype("S"))
    np.save(tmp_path / "Y.npy", arrays[0])
    table = written(tmp_path / "crops.csv", ["crop"], [[label or "NA"] for label in labels])
    for paths in (["a.npz"], ["row.npz"], ["Y.npy", table]):
        dataset = import_file(*(tmp_path / path for path in paths), task="classification")
        assert dataset.info.c_names == ("corn", "oats")
        assert np.array_equal(dataset.status == Status.DONE, LABELS < 2)
        done = LABELS < 2
        assert np.array_equal(dataset.C[done], np.eye(2)[1 - LABELS[done]])
    with pytest.raises(InputError, match="C holds text, not real numbers"):
        import_file(tmp_path / "a.npz")


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


def test_samples_without_a_class_are_kept_as_failed(tmp_path, arrays):
    labels = [["oats", "corn", ""][i] for i in LABELS]
    path = written(tmp_path / "a.csv", ["y", "c"], [[i, x] for i, x in enumerate(labels)])
    known = LABELS < 2
    C = np.where(known[:, None], np.eye(3)[LABELS][:, :2], np.nan)
    for form in (path, tmp_path / "labels.npz", tmp_path / "rows.npz"):
        np.savez(tmp_path / "labels.npz", Y=arrays[0], C=np.where(known, LABELS, np.nan))
        np.savez(tmp_path / "rows.npz", Y=arrays[0], C=C)
        notes: list[str] = []
        dataset = import_file(form, task="classification", note=notes.append)
        assert notes == ["3 samples of 10 have no class and are kept as failed: 0, 5, 6"]
        assert np.array_equal(dataset.status == Status.DONE, known)
        expected = C[:, ::-1] if form == path else C  # by name
        np.testing.assert_array_equal(dataset.C, expected)


def with_label(label, at=4):
    labels = LABELS.astype(float)
    labels[at] = label
    return labels


def with_row(*row):
    C = one_hot(LABELS)
    C[6] = row
    return C


@pytest.mark.parametrize(
    ("C", "message"),
    [
        (
            with_label(1.5),
            "a.npz: C of sample 5 is 1.5; labels are integers from 0 (samples counted",
        ),
        (with_label(-1), "C of sample 5 is -1; labels are integers from 0"),
        (
            LABELS + 1,
            "from 1 to 3, but no sample of class 0; labels are integers from 0: subtract 1",
        ),
        (LABELS + 2, "from 2 to 4, but no sample of class 0; labels are integers from 0"),
        (2 * LABELS, "labels from 0 to 4, but no sample of class 1"),
        (with_label(1e12), "labels from 0 to 1e+12, but no sample of class 3"),
        (0 * LABELS, "there is a single class; a classifier needs two"),
        (with_row(0.5, 0.6, 0), "a.npz: C of sample 7 is not a set of class probabilities"),
        (
            with_row(1.5, -0.5, 0),
            "C of sample 7 is not a set of class probabilities: none is negative",
        ),
        (with_row(0, 0, 0), "their sum is 1 (samples counted from 1; 1 such samples)"),
        (np.eye(4)[LABELS], "there are no training samples of 'class 3'"),
    ],
)
def test_targets_that_are_no_classes_are_one_clear_line(tmp_path, arrays, C, message):
    np.savez(tmp_path / "a.npz", Y=arrays[0][:, :2], C=C)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        import_file(tmp_path / "a.npz", task="classification", split="1/0/0")
    assert len(str(caught.value).splitlines()) == 1
    assert ("subtract 1" in str(caught.value)) == ("subtract 1" in message)


def test_classes_in_a_csv_that_are_none_are_one_clear_line(tmp_path):
    for text, message in (
        ("y0,c\n1,1\n2,corn\n3,0\n", "row 3, column 2: 'corn' is not a finite number among"),
        ("y0,c\n1,1\n2,0.5\n3,0\n", "a.csv: C of sample 2 is 0.5; labels are integers from 0"),
        ("y0,c,c\n1,1,0\n2,0,1\n", "a.csv: the columns 2 and 3 have one name, 'c'"),
        ("y0,c\n1,\n2,NA\n3,\n", "a.csv: no sample has a class"),
    ):
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(InputError, match=re.escape(message)):
            import_file(tmp_path / "a.csv", task="classification")


def test_a_class_without_training_samples_is_refused_unless_nothing_is_for_training(
    tmp_path, arrays
):
    np.savez(tmp_path / "a.npz", Y=arrays[0], C=np.arange(10) // 9)
    options = {"task": "classification", "split": "5/4/1"}
    seeds = [seed for seed in range(20) if not has_training_samples(tmp_path, options, seed)]
    assert 0 < len(seeds) < 20
    dataset = import_file(tmp_path / "a.npz", task="classification", split="0/0/1", seed=seeds[0])
    assert dataset.size("test") == 10


def has_training_samples(folder, options, seed):
    """Whether class 1 has any, as the import says by its refusal."""
    try:
        dataset = import_file(folder / "a.npz", seed=seed, **options)
    except InputError as error:
        assert str(error).startswith("there are no training samples of 'class 1'; give another")
        return False
    assert dataset.part("train")[1][:, 1].sum() == 1
    return True


def test_a_balanced_split_of_an_import(tmp_path):
    labels = np.repeat([0, 1], [30, 15])
    np.savez(tmp_path / "a.npz", Y=np.arange(45.0), C=labels)
    dataset = import_file(tmp_path / "a.npz", task="classification", split="balanced:8/10/0.25")
    counts = [dataset.part(part)[1].sum(axis=0).tolist() for part in PARTS]
    assert counts == [[6, 4], [22, 10], [2, 1]] and dataset.info.split == "balanced:8/10/0.25"
    with pytest.raises(InputError, match="the split 'balanced' is for a classification"):
        import_file(tmp_path / "a.npz", samples="rows", split="balanced")
    np.savez(tmp_path / "a.npz", Y=np.arange(40.0), C=labels[:40])
    message = "the split balanced needs 11 samples of each class; 'class 1' has 10"
    with pytest.raises(InputError, match=message):
        import_file(tmp_path / "a.npz", task="classification", split="balanced")


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published data are not beside the checkout")
def test_published_data():
    dataset = import_file(PUBLISHED, split="400/200/200")
    assert dataset.Y.shape == (800, 55) and dataset.C.shape == (800, 72)
    np.testing.assert_allclose(dataset.Y.sum(axis=1), 1, atol=1e-6)  # single precision
    assert 10 < dataset.C.min() and dataset.C.max() < 68
    assert dataset.info.problem == "CDR_Data"


def test_labels_that_are_no_text_and_half_a_sparse_matrix_are_one_clear_line(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, Y=np.random.default_rng(0).random((4, 3)), C=np.array([b"\xe4", b"b"] * 2))
    with pytest.raises(
        InputError, match=r"a.npz: C has the label b'\\xe4', which is not UTF-8 text"
    ):
        import_file(path, task="classification")
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["C"], file["Y/data"], file["Y/jc"] = np.ones((1, 3)), [1.0], [0, 1]
        file["Y"].attrs.update({"MATLAB_class": b"double", "MATLAB_sparse": 3})
    with pytest.raises(InputError, match="a.mat: Y is a sparse matrix without its ir"):
        import_file(tmp_path / "a.mat")
