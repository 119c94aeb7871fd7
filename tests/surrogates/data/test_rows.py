"""Tables of parameters and of observables, in and out."""

from __future__ import annotations

import os

import h5py
import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.data.rows import read_table, write_table
from surrogates.errors import InputError


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    table=arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(1, 4)),
        elements=st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_tables_come_back_to_the_bit(tmp_path_factory, table):
    folder = tmp_path_factory.mktemp("tables")
    names = [f"u(s{i}, 0.5)" for i in range(table.shape[1])]
    for ending in ("csv", "npy"):
        write_table(folder / f"t.{ending}", table, names)
        found = read_table(folder / f"t.{ending}", names)
        assert found.tobytes() == table.tobytes()
    write_table(folder / "t.h5", table, names)
    with h5py.File(folder / "t.h5", "r") as file:
        assert file["C"][:].tobytes() == table.tobytes()
        assert list(file["C"].attrs["names"]) == names


def test_tables_of_other_programs_are_read(dataset, tmp_path):
    (tmp_path / "bare.csv").write_text("1, 2e3\n\n-3,4\r\n")
    assert read_table(tmp_path / "bare.csv", ["a", "b"]).tolist() == [[1, 2000], [-3, 4]]
    (tmp_path / "turned.csv").write_text("b,a\n1,2\n")
    assert read_table(tmp_path / "turned.csv", ["a", "b"]).tolist() == [[2, 1]]
    np.save(tmp_path / "one.npy", np.array([1, 2], np.int32))
    assert read_table(tmp_path / "one.npy", ["a", "b"]).tolist() == [[1, 2]]
    dataset.write(tmp_path / "set.h5")
    names = list(dataset.info.y_names)
    for others, Y in ((names, dataset.Y), (names[::-1], dataset.Y[:, ::-1])):
        assert np.array_equal(read_table(tmp_path / "set.h5", others), Y)
    assert np.array_equal(read_table(tmp_path / "set.h5", ["y0", "y1", "y2", "y3"]), dataset.Y)
    with pytest.raises(InputError, match="must have one column e; it has"):
        read_table(tmp_path / "set.h5", [*names[:3], "e"])
    np.save(tmp_path / "named.npy", np.array([(1, 2), (3, 4)], [("b", "f4"), ("a", "i2")]))
    assert read_table(tmp_path / "named.npy", ["a", "b"]).tolist() == [[2, 1], [4, 3]]
    with pytest.raises(InputError, match="named.npy lacks 'c', has the unknown 'b'"):
        read_table(tmp_path / "named.npy", ["a", "c"])
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["Y"] = h5py.ExternalLink(str(tmp_path / "set.h5"), "Y")
    with pytest.raises(InputError, match="link.h5: Y is not in the file itself"):
        read_table(tmp_path / "link.h5", dataset.info.y_names)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.txt", "1,2", "cannot tell the format of .*t.txt: know .csv, .npy, .h5"),
        ("t.csv", "a,b,c\n1,2,3\n", "has 3 columns; expected 2, one for each parameter"),
        ("t.csv", "a,c\n1,2\n", "must have one column b; it has"),
        ("t.csv", "a,a\n1,2\n", "must have one column a, b; it has"),
        ("t.csv", "a,b\n1,2\n3,nan\n", "row 3, column 2: 'nan' is not a finite number"),
        ("t.csv", "a,b\n1,2\n-inf,4\n", "row 3, column 1: '-inf' is not a finite number"),
        ("t.csv", "1,2\n1,x\n", "row 2, column 2: 'x' is not a finite number"),
        ("t.csv", "a,b\n1,2\n\n3\n", "row 4: expected 2 columns; got 1"),
        ("t.csv", "a,b\n", "holds no numbers"),
        ("t.csv", "", "holds no numbers"),
        ("t.csv", b"\xff\xfe\x00", "is not a whole .csv file"),
        ("t.npy", b"\x93NUMPY\x01\x00v\x00{'descr'", "is not a whole .npy file"),
        ("t.npy", b"PK", "is not a whole .npy file"),
        ("t.h5", b"\x89HDF\r\n\x1a\n", "is not a whole .h5 file"),
    ],
)
def test_tables_with_faults_are_one_clear_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        read_table(path, ["a", "b"])
    assert len(str(caught.value).splitlines()) == 1


def test_arrays_with_faults_are_one_clear_line(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1.0, 2.0], [np.inf, np.nan]]))
    with pytest.raises(InputError, match=r"is inf at row 2, column 1 \(counted from 1; 2 such"):
        read_table(tmp_path / "a.npy", ["a", "b"])
    np.save(tmp_path / "a.npy", np.ones((2, 2, 2)))
    with pytest.raises(InputError, match="must have 2 dimensions; got 3"):
        read_table(tmp_path / "a.npy", ["a", "b"])
    np.save(tmp_path / "a.npy", np.array([["x", "y"]]))
    with pytest.raises(InputError, match="not real numbers"):
        read_table(tmp_path / "a.npy", ["a", "b"])
    np.savez(tmp_path / "a.npz", Y=np.ones((2, 2)))
    os.replace(tmp_path / "a.npz", tmp_path / "a.npy")
    with pytest.raises(InputError, match="a.npy is an .npz file, not one array"):
        read_table(tmp_path / "a.npy", ["a", "b"])
    np.save(tmp_path / "a.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(InputError, match="is not a whole .npy file"):
        read_table(tmp_path / "a.npy", ["a", "b"])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["X"] = np.ones((2, 2))
    with pytest.raises(InputError, match="has no array /Y"):
        read_table(tmp_path / "a.h5", ["a", "b"])
    with pytest.raises(InputError, match="there is no file"):
        read_table(tmp_path / "missing.npy", ["a", "b"])
    for path in (tmp_path / "missing" / "c.csv", tmp_path / "c.txt"):
        with pytest.raises(InputError, match="cannot"):
            write_table(path, np.ones((1, 1)), ["c"])
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "a.npy"]
