from __future__ import annotations

import re
import subprocess
import sys
import warnings

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from surrogates.data import arrays
from surrogates.errors import InputError

A = np.arange(12.0).reshape(4, 3)
SPARSE = np.where(A > 6, A, 0)


def put(file, name, array, kind, **attributes):
    """Write an array as MATLAB does in version 7.3."""
    data = file.create_dataset(name, data=array)
    data.attrs["MATLAB_class"] = np.bytes_(kind)
    for key, value in attributes.items():
        data.attrs[key] = value


def put_sparse(file, name, array):
    matrix = scipy.sparse.csc_matrix(array)
    group = file.create_group(name)
    group.attrs["MATLAB_class"] = np.bytes_("double")
    group.attrs["MATLAB_sparse"] = np.uint64(array.shape[0])
    group["jc"] = matrix.indptr.astype(np.uint64)
    if matrix.nnz:
        group["data"], group["ir"] = matrix.data, matrix.indices.astype(np.uint64)


@pytest.fixture
def matlab(tmp_path):
    """The files of either format with everything that MATLAB has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a structure's form, by scipy
        scipy.io.savemat(
            tmp_path / "5.mat",
            {
                **{"full": A, "single": A.astype("f4"), "int": A.astype("i2"), "logical": A > 3},
                **{"sparse": scipy.sparse.csc_matrix(SPARSE), "none": np.zeros((0, 3))},
                "zero": scipy.sparse.csc_matrix((4, 3)),
                **{"complex": A * 1j, "struct": {"a": A}, "char": "hello"},
                "cell": np.array([A, "b"], dtype=object),
            },
        )
    with h5py.File(tmp_path / "73.mat", "w", userblock_size=512) as file:
        put(file, "full", A.T, "double")
        put(file, "single", A.T.astype("f4"), "single")
        put(file, "int", A.T.astype("i2"), "int16")
        put(file, "logical", (A.T > 3).astype("u1"), "logical", MATLAB_int_decode=1)
        put_sparse(file, "sparse", SPARSE)
        put_sparse(file, "zero", 0 * A)
        put(file, "none", np.array([0, 3], "u8"), "double", MATLAB_empty=1)
        put(file, "char", np.frombuffer(b"hello", "u1").astype("u2"), "char", MATLAB_int_decode=2)
        put(file, "string", np.zeros((1, 6), "u4"), "string", MATLAB_object_decode=3)
        put(file, "datetime", np.zeros((1, 6), "u4"), "datetime", MATLAB_object_decode=3)
        put(file, "function", np.zeros((1, 6), "u4"), "function_handle")
        put(file, "object", np.zeros((1, 6), "u4"), "uint32", MATLAB_object_decode=3)
        put(file, "complex", np.zeros((3, 4), [("real", "f8"), ("imag", "f8")]), "double")
        group = file.create_group("struct")
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        put(group, "a", A.T, "double")
        references = np.array([file["full"].ref], dtype=h5py.ref_dtype)
        put(file, "cell", references, "cell")
        file.create_group("#refs#")["a"] = A
    return tmp_path


@pytest.mark.parametrize("file", ["5.mat", "73.mat"])
def test_matlab_arrays_of_numbers_are_read_right(matlab, file):
    expected = {"full": A, "single": A, "int": A, "logical": A > 3, "sparse": SPARSE, "zero": 0 * A}
    for name, array in expected.items():
        assert name in arrays.names(matlab / file)
        np.testing.assert_array_equal(arrays.read(matlab / file, name), array)


def test_a_class_may_be_written_in_any_form_of_text(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        for name, kind in (
            ("a", "double"),
            ("b", np.array([b"double"])),
            ("c", np.array([b"char"])),
        ):
            file[name] = A.T
            file[name].attrs["MATLAB_class"] = kind
    for name in "ab":
        np.testing.assert_array_equal(arrays.read(tmp_path / "a.mat", name), A)
        assert arrays.has_order(tmp_path / "a.mat", name)
    with pytest.raises(InputError, match="c is a MATLAB char, not an array of numbers"):
        arrays.read(tmp_path / "a.mat", "c")


DAMAGED_SPARSE = """
import sys
from pathlib import Path
from surrogates.data import arrays
from surrogates.errors import InputError
for path in map(Path, sys.argv[1:]):
    for name in arrays.names(path):
        try:
            arrays.read(path, name)
        except InputError as error:
            print(str(error).count("is not a whole .mat file"))
"""


def test_a_damaged_sparse_matrix_is_refused_and_breaks_nothing(tmp_path):
    """Places outside of it were written to, which ended the process, or something worse."""
    good = scipy.sparse.csc_matrix(SPARSE)
    broken = good.copy()
    broken.indices = broken.indices + 10**6
    scipy.io.savemat(tmp_path / "5.mat", {"sparse": broken})
    with h5py.File(tmp_path / "73.mat", "w", userblock_size=512) as file:
        for i, (jc, ir) in enumerate(
            (
                (good.indptr, broken.indices),
                (good.indptr, good.indices.astype(np.int64) - 10**6),
                (good.indptr + 10**6, good.indices),
                (good.indptr[::-1], good.indices),
            )
        ):
            put_sparse(file, f"sparse{i}", SPARSE)
            del file[f"sparse{i}/jc"], file[f"sparse{i}/ir"]
            file[f"sparse{i}/jc"], file[f"sparse{i}/ir"] = jc, ir
    words = [sys.executable, "-c", DAMAGED_SPARSE, tmp_path / "5.mat", tmp_path / "73.mat"]
    run = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "1\n" * 5


def test_fields_of_a_structure_have_paths(matlab):
    names = arrays.names(matlab / "73.mat")
    assert "struct/a" in names and not any(name.startswith("#") for name in names)
    np.testing.assert_array_equal(arrays.read(matlab / "73.mat", "/struct/a"), A)


@pytest.mark.parametrize(
    ("file", "name", "message"),
    [
        *(("5.mat", name, f"{name} is a MATLAB {name}, not an") for name in ("struct", "cell")),
        ("5.mat", "char", "char is a MATLAB char, not an array of numbers"),
        ("5.mat", "fll", "unknown array 'fll'; did you mean 'full'?"),
        *(
            ("73.mat", name, f"{name} is a MATLAB {name}")
            for name in ("char", "string", "datetime", "cell", "struct", "function")
        ),
        ("73.mat", "none", "none is empty"),
        ("73.mat", "object", "object is an object of MATLAB"),
    ],
)
def test_what_is_no_array_of_numbers_is_one_clear_line(matlab, file, name, message):
    with pytest.raises(InputError, match=message) as caught:
        arrays.read(matlab / file, name)
    assert len(str(caught.value).splitlines()) == 1


def test_numbers_that_are_not_real_are_refused(matlab, tmp_path):
    for file, message in (("5.mat", "complex128"), ("73.mat", "a structure of real, imag")):
        with pytest.raises(InputError, match=f"C holds {message}, not real numbers"):
            arrays.check_numbers(arrays.read(matlab / file, "complex"), "C")
    for array in (np.array("x"), np.array(b"x"), np.array("2020-01-01", "M8"), np.array([{}])):
        with pytest.raises(InputError, match="C holds .*, not real numbers"):
            arrays.check_numbers(array, "C")
    for array in (A[0], A, A.astype("f2"), A > 3, A.astype("u8")):
        arrays.check_numbers(array, "C")


def test_hdf5_by_path(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["run/1/C"], file["Y"], file["note"] = A, A[:, 0], "text"
        file["link"] = h5py.SoftLink("/run/1/C")
        file["lost"] = h5py.SoftLink("/nothing")
        file["away"] = h5py.ExternalLink("none.h5", "/Y")
        file["empty"] = h5py.Empty("f8")
        filled = file.create_dataset("filled", data=np.where(A == 5, 9.96e36, A))
        filled.attrs["_FillValue"] = 9.96e36
        file.create_dataset("packed", data=A).attrs["scale_factor"] = 0.1
    assert set(arrays.names(path)) == {"run/1/C", "Y", "note", "empty", "filled", "packed"}
    for name in ("run/1/C", "/run/1/C", "link"):
        np.testing.assert_array_equal(arrays.read(path, name), A)
    np.testing.assert_array_equal(arrays.read(path, "filled"), np.where(A == 5, np.nan, A))
    for name, message in (
        ("lost", "unknown array 'lost'"),
        ("away", "away is not in the file itself: it is a link to another file"),
        ("empty", "a.h5: empty is empty"),
        ("packed", "packed is packed (scale_factor): unpack it first"),
        ("run", "run is a group of arrays, not an array"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            arrays.read(path, name)


def test_numpy_files(tmp_path):
    np.savez(tmp_path / "a.npz", Y=A, O=np.array([{}]))
    np.testing.assert_array_equal(arrays.read(tmp_path / "a.npz", "Y"), A)
    np.save(tmp_path / "a.npy", A)
    np.testing.assert_array_equal(arrays.read_npy(tmp_path / "a.npy"), A)
    np.save(tmp_path / "o.npy", np.array([{}]))
    with open(tmp_path / "z.npy", "wb") as file:
        np.savez(file, Y=A)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:90])
    for name, message in (
        ("o.npy", "o.npy holds objects, not real numbers"),
        ("z.npy", "z.npy is an .npz file, not one array"),
        ("cut.npy", "cut.npy is not a whole .npy file"),
        ("none.npy", "there is no file"),
    ):
        with pytest.raises(InputError, match=message):
            arrays.read_npy(tmp_path / name)
    with pytest.raises(InputError, match="a.npz: O holds objects, not real numbers"):
        arrays.read(tmp_path / "a.npz", "O")


@pytest.mark.parametrize("name", ["linked", "group/linked", "group/virtual", "raw", "sparse"])
def test_an_array_of_another_file_is_not_read(tmp_path, name):
    path, other = tmp_path / "a.h5", str(tmp_path / "b.h5")
    with h5py.File(other, "w") as file:
        file["A"] = A
        put_sparse(file, "S", SPARSE)
    with h5py.File(path, "w") as file:
        file["linked"] = h5py.ExternalLink(other, "A")
        group = file.create_group("group")
        group["linked"] = h5py.SoftLink("/linked")
        group["round"] = h5py.SoftLink("round")
        layout = h5py.VirtualLayout(A.shape, A.dtype)
        layout[:] = h5py.VirtualSource(other, "A", A.shape)
        group.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", (4,), "u1", external=[(other, 0, h5py.h5f.UNLIMITED)])
        put_sparse(file, "sparse", SPARSE)
        del file["sparse/data"]
        file["sparse/data"] = h5py.ExternalLink(other, "S/data")
    with pytest.raises(InputError, match="is not in the file itself: it is a link to another"):
        arrays.read(path, name)
    with pytest.raises(InputError, match="unknown array 'group/round'"):
        arrays.read(path, "group/round")
