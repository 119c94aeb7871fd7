"""The file format: whatever is cut, damaged, foreign or of another version is one error line."""

from __future__ import annotations

import dataclasses
import os

import h5py
import numpy as np
import pytest
from samples import assert_same, cut, flip, made, maker, sound, with_derivatives

from surrogates.data import Dataset, is_dataset, merge, opened, read_info, write
from surrogates.data import format as format_module
from surrogates.data.format import SCHEMA_VERSION
from surrogates.errors import InputError


def test_a_file_that_says_no_task_is_a_regression(tmp_path):
    made(4).write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file.attrs["task"]
    assert_same(Dataset.read(tmp_path / "a.h5"), made(4))


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_one_line(tmp_path, fraction):
    path = tmp_path / "a.h5"
    made(200).write(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    for read in (Dataset.read, read_info):
        with pytest.raises(InputError, match="a.h5 is not a whole dataset file") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_damaged_block_is_an_error_and_never_a_wrong_number(tmp_path):
    path = tmp_path / "a.h5"
    whole = made(300)
    whole.write(path)
    content = bytearray(path.read_bytes())
    at = bytes(content).find(whole.Y[100].tobytes())
    assert at > 0
    content[at + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a whole dataset file"):
        Dataset.read(path)
    assert read_info(path)[1] == 300


def test_a_damaged_text_is_an_error_and_never_another_word(dataset, tmp_path):
    path = tmp_path / "a.h5"
    dataset.write(path)
    content = path.read_bytes()
    for word in (b"n = 3", b"uniform", b"3 cells", b"u(s1, 0.5)", "γ".encode()):
        place = content.index(word)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(InputError, match="not a whole dataset file") as caught:
            Dataset.read(path)
        assert "\n" not in str(caught.value)


def _replace(file, name, values):
    del file[name]
    file[name] = values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: _replace(f, "split", np.zeros(5, np.uint8)), r"/split is uint8 \(5,\)"),
        (lambda f: _replace(f, "status", np.ones(20)), "/status is float64 .*expected uint8"),
        (
            lambda f: _replace(f, "failure", np.array([b"x"])),
            r"/failure is \|S1 \(1,\); expected \|S200",
        ),
        (lambda f: f["Y"].attrs.__delitem__("names"), "names"),
        (
            lambda f: f["Y"].attrs.create("lower", np.zeros(3)),
            "it has no 4 numbers as lower bounds",
        ),
        (
            lambda f: f["C"].attrs.create("coordinate_time", [1.0]),
            "it has no 6 numbers as values of time",
        ),
        (lambda f: f["Y"].attrs.create("lower", np.zeros((4, 2))), "no 4 numbers as lower bounds"),
        (lambda f: f["Y"].attrs.create("lower", np.array([b"a"] * 4)), "no 4 numbers as lower"),
        (lambda f: f["Y"].attrs.create("lower", np.full(4, 99.0)), "bound of y is not below"),
        (lambda f: f["Y"].attrs.create("upper", np.full(4, np.nan)), "bound of y is not below"),
        (lambda f: f["C"].attrs.create("coordinate_x1", np.zeros((6, 2))), "as values of x1"),
        (lambda f: f.attrs.create("versions", np.bytes_("[1]")), "versions is not what this"),
        (lambda f: f.attrs.create("inputs", np.bytes_('{"a": 1}')), "inputs is not what this"),
        (lambda f: f.attrs.create("notes", np.bytes_("[[]]")), "notes is not what this package"),
        (lambda f: f.attrs.create("later_makers", np.bytes_("[3]")), "later_makers is not what"),
        (lambda f: f.attrs.create("seed", -1), "seed is not what this package writes"),
        (lambda f: f.attrs.create("total", 0), "first sample is 0 of 0"),
        (lambda f: f.attrs.create("task", np.bytes_("regresion")), "did you mean 'regression'"),
        (lambda f: f.attrs.create("schema_version", -3), "schema version -3"),
        (lambda f: f.attrs.create("config", np.bytes_("= 3")), "not a whole dataset file"),
    ],
)
def test_parts_that_do_not_fit_together_are_one_line(dataset, tmp_path, change, message):
    path = tmp_path / "a.h5"
    dataset.write(path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(InputError, match=message) as caught:
        Dataset.read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_foreign_and_missing_files_are_one_line(tmp_path):
    (tmp_path / "text.h5").write_text("Y,C\n1,2\n")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["Y"] = np.ones((2, 2))
    with h5py.File(tmp_path / "hollow.h5", "w") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
    for name, message in (
        ("text.h5", "is not a whole dataset file"),
        ("other.h5", "is an HDF5 file but not a dataset of this package"),
        ("hollow.h5", "is not a whole dataset file"),
        ("absent.h5", "there is no file"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            Dataset.read(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert is_dataset(tmp_path / name) == (name == "hollow.h5")


def test_a_newer_schema_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    made(3).write(path)
    with h5py.File(path, "a") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION + 1
    message = f"has schema version {SCHEMA_VERSION + 1}, this package reads {SCHEMA_VERSION}"
    with pytest.raises(InputError, match=message):
        Dataset.read(path)


def test_nothing_is_left_when_writing_fails(tmp_path):
    path = tmp_path / "a.h5"
    made(5).write(path)
    before = path.read_bytes()
    broken = dataclasses.replace(made(5), C=np.ones((4, 3)))
    with pytest.raises(InputError, match=r"/C is float64 \(4, 3\); expected float64 \(5, 3\)"):
        broken.write(path)
    assert path.read_bytes() == before
    for folder in (tmp_path / "absent" / "a.h5", tmp_path):
        with pytest.raises(InputError, match="there is no folder|is a folder"):
            made(5).write(folder)
    assert os.listdir(tmp_path) == ["a.h5"]


@pytest.mark.parametrize("kind", ["tangents", "directions", "adjoints"])
def test_no_flipped_bit_gives_another_number_or_word(tmp_path, kind):
    small, path, bad = with_derivatives(made(30), kind), tmp_path / "a.h5", tmp_path / "bad.h5"
    makers = tuple(maker(str(i), "x" * 300) for i in range(2, 14))
    config = "text = '" + "y" * 5000 + "'\n"
    info = dataclasses.replace(small.info, later_makers=makers, config=config)
    small = dataclasses.replace(small, info=info)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(format_module, "_CHUNK_ROWS", 8)
        small.write(path)
    refused = 0
    for place in range(11, path.stat().st_size, 41):
        flip(path, bad, place)
        try:
            found = Dataset.read(bad)
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
        else:  # the bit is of no account
            assert_same(found, small)
    assert refused > 300


def test_short_arrays_are_compressed_and_every_array_is_checked(tmp_path):
    n = 5000
    whole = dataclasses.replace(made(n), failure=["the solver diverged after 1000 steps"] * n)
    whole.write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        packed = {name for name in file if file[name].compression == "gzip"}
        assert packed == {"status", "split", "failure", "made_by"}
        assert all(file[name].fletcher32 for name in file)
        assert all(file[name].shuffle for name in packed)
        stored = sum(file[name].id.get_storage_size() for name in packed)
    assert stored < 10 * n
    assert_same(Dataset.read(tmp_path / "a.h5"), whole)


@pytest.mark.parametrize("n", [4, 6])
def test_pieces_of_another_number_leave_no_file(tmp_path, n):
    whole = made(5)
    with pytest.raises(ValueError, match=f"not the 6 announced|more than the {n} samples"):
        write(tmp_path / "a.h5", whole.info, n, [cut(whole, 0, 3), cut(whole, 3, 5)])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", [None, "tangents", "directions", "adjoints"])
def test_a_description_alone_is_a_file(dataset, tmp_path, kind):
    path = tmp_path / "description.h5"
    about = dataset.info if kind is None else with_derivatives(dataset, kind).info
    info = dataclasses.replace(about, later_makers=(maker("2"),))
    write(path, info, 0, [])
    found, n = read_info(path)
    assert n == 0 and is_dataset(path)
    assert found.differences(info) == [] and found.makers == info.makers
    assert_same(dataclasses.replace(dataset, info=found), dataclasses.replace(dataset, info=info))
    for read in (Dataset.read, lambda path: opened(path).__enter__()):
        with pytest.raises(InputError, match="is not a whole dataset file: it has 0 samples"):
            read(path)


def test_a_file_from_before_makers_and_sources_is_read(tmp_path):
    whole = sound(6)
    info = dataclasses.replace(whole.info, source="12ab", later_makers=())
    dataclasses.replace(whole, info=info, made_by=np.zeros(6, np.uint16)).write(tmp_path / "a.h5")
    assert read_info(tmp_path / "a.h5")[0].source == "12ab"
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["made_by"], file.attrs["source"], file.attrs["checksums"], file.attrs["missing"]
        assert "later_makers" not in file.attrs
    found = Dataset.read(tmp_path / "a.h5")
    assert found.made_by.tolist() == [0] * 6 and found.made_by.dtype == np.uint16
    assert found.info.source == found.info.missing == "" and len(found.info.makers) == 1
    assert found.digest == whole.digest
    with opened(tmp_path / "a.h5") as stored:
        assert stored.problems() == [] and stored.summary().made_by == (6,)
    merge([tmp_path / "a.h5"], tmp_path / "b.h5")
    assert Dataset.read(tmp_path / "b.h5").made_by.tolist() == [0] * 6


# Files from elsewhere


@pytest.mark.parametrize("kind", ["external", "soft", "raw", "virtual"])
@pytest.mark.parametrize("name", ["C", "split"])
def test_an_array_that_is_kept_in_another_file_is_refused(tmp_path, kind, name):
    sound(6).write(tmp_path / "mine.h5")
    sound(6).write(tmp_path / "foreign.h5")
    with h5py.File(tmp_path / "foreign.h5", "r+") as file:
        shape, dtype, attributes = file[name].shape, file[name].dtype, dict(file[name].attrs)
        del file[name]
        if kind == "external":
            file[name] = h5py.ExternalLink(str(tmp_path / "mine.h5"), name)
        elif kind == "soft":
            file["other"] = h5py.ExternalLink(str(tmp_path / "mine.h5"), "/")
            file[name] = h5py.SoftLink(f"/other/{name}")
        elif kind == "raw":
            raw = [(str(tmp_path / "mine.h5"), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset(name, shape, dtype, external=raw)
        else:
            layout = h5py.VirtualLayout(shape, dtype)
            layout[:] = h5py.VirtualSource(str(tmp_path / "mine.h5"), name, shape)
            file.create_virtual_dataset(name, layout)
        if kind in ("raw", "virtual"):
            file[name].attrs.update(attributes)
    message = f"foreign.h5: .*{name} is not in the file itself: it is a link to another file"
    for read in (Dataset.read, read_info):
        with pytest.raises(InputError, match=message):
            read(tmp_path / "foreign.h5")


def test_arrays_that_a_file_only_declares_are_refused(tmp_path):
    """HDF5 would make them in memory, or `verify` look at them for hours."""
    path, n = tmp_path / "huge.h5", 10**9
    sound(6).write(path)
    with h5py.File(path, "r+") as file:
        for name in list(file):
            kind, attributes = file[name], dict(file[name].attrs)
            types = {key: kind.attrs.get_id(key).dtype for key in attributes}
            shape, dtype = kind.shape[1:], kind.dtype
            del file[name]
            empty = file.create_dataset(name, (n, *shape), dtype, chunks=(1024, *shape))
            for key, value in attributes.items():
                empty.attrs.create(key, value, dtype=types[key])
        file.attrs["total"] = n
    with pytest.raises(InputError, match="huge.h5: Y would be of .* bytes, which a file of"):
        Dataset.read(path)
    with pytest.raises(InputError, match="huge.h5: Y would be of"):
        read_info(path)


def test_filters_that_are_plug_ins_are_refused(tmp_path):
    """HDF5 would load a library by their number, from where its environment says."""
    path = tmp_path / "packed.h5"
    sound(6).write(path)
    with h5py.File(path, "r+") as file:
        content = file["status"][()]
        del file["status"]
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_chunk((6,))
        layout.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (2, 2, 0, 0, 5, 1, 1))
        space = h5py.h5s.create_simple((6,))
        raw = h5py.h5d.create(file.id, b"status", h5py.h5t.STD_U8LE, space, layout)
        h5py.Dataset(raw).id.write_direct_chunk((0,), content.tobytes())
    with pytest.raises(InputError, match="status takes the filter 32001, a plug-in of HDF5"):
        Dataset.read(path)
