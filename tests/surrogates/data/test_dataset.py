from __future__ import annotations

import dataclasses
import itertools
import os
import re
import subprocess
import sys
import tracemalloc
from fractions import Fraction

import h5py
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from surrogates import data
from surrogates.data import (
    PARTS,
    SOLVER,
    Dataset,
    Info,
    Split,
    Status,
    assign_split,
    is_dataset,
    merge,
    opened,
    read_info,
    write,
)
from surrogates.data import format as format_module
from surrogates.data import stored as stored_module
from surrogates.data.format import SCHEMA_VERSION
from surrogates.data.split import check_classes, rows_of_classes
from surrogates.data.statistics import RunningStats
from surrogates.errors import InputError

ARRAYS = ("Y", "C", "status", "split", "solver", "made_by")


def made(n, n_y=2, n_c=3, seed=0, tangents=False):
    """Random samples of two makers, every fifth failed; iterations are the sample's number."""
    rng = np.random.default_rng([seed, n])
    status = np.where(np.arange(n) % 5 == 4, Status.FAILED, Status.DONE).astype(np.uint8)
    C = rng.standard_normal((n, n_c))
    C[status == Status.FAILED] = np.nan
    solver = np.zeros(n, SOLVER)
    solver["iterations"] = np.arange(n)
    solver["residual"] = 1e-10
    info = Info(
        problem="toy",
        config="[mesh]\nn = 3\n",
        seed=seed,
        split="0.5/0.25/0.25",
        total=n,
        tangents=tangents,
        y_names=tuple(f"y{i}" for i in range(n_y)),
        y_units=("1",) * n_y,
        y_lower=np.zeros(n_y),
        y_upper=np.ones(n_y),
        c_names=tuple(f"c{i}" for i in range(n_c)),
        c_units=("V",) * n_c,
        later_makers=(maker("2"),),
    )
    return Dataset(
        info=info,
        Y=rng.random((n, n_y)),
        C=C,
        status=status,
        split=assign_split(info.split, n, seed),
        failure=["" if s == Status.DONE else f"sample {i}: ü" for i, s in enumerate(status)],
        solver=solver,
        dC_dY=rng.standard_normal((n, n_c, n_y)) if tangents else None,
        made_by=(np.arange(n) % 3 == 0).astype(np.uint16),
    )


def maker(version, command="surrogates generate toy"):
    return {
        "versions": {"numpy": version},
        "command": command,
        "created": f"2026-01-0{version}T00:00:00+00:00",
        "revision": f"r{version}",
    }


def made_classes(n, seed=0):
    """As `made`, but a classification with rows of probabilities, one-hot but for the first."""
    whole = made(n, seed=seed)
    C = np.eye(3)[np.random.default_rng(seed).integers(3, size=n)]
    C[0] = [0.2, 0.3, 0.5]
    C[whole.status == Status.FAILED] = np.nan
    names = {"c_names": ("corn", "oats", "hay"), "c_units": ("1",) * 3}
    info = dataclasses.replace(whole.info, task="classification", **names)
    return dataclasses.replace(whole, info=info, C=C)


def cut(whole, start, stop):
    """Return the samples from start to stop as a shard."""
    rows = slice(start, stop)
    return dataclasses.replace(
        whole,
        info=dataclasses.replace(whole.info, first=start),
        **{name: getattr(whole, name)[rows] for name in (*ARRAYS, "failure")},
        dC_dY=None if whole.dC_dY is None else whole.dC_dY[rows],
    )


def assert_same(a, b):
    for field in dataclasses.fields(Info):
        one, other = getattr(a.info, field.name), getattr(b.info, field.name)
        if field.name == "coordinates":
            assert one.keys() == other.keys()
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])
        else:
            np.testing.assert_array_equal(one, other, err_msg=field.name)
    for name in ARRAYS:
        one, other = getattr(a, name), getattr(b, name)
        assert one.dtype == other.dtype and one.shape == other.shape
        assert one.tobytes() == other.tobytes(), name
    assert list(a.failure) == list(b.failure)
    assert (a.dC_dY is None) == (b.dC_dY is None)
    np.testing.assert_array_equal(a.dC_dY, b.dC_dY)
    assert a.digest == b.digest


def test_everything_comes_back_from_a_file(dataset, tmp_path):
    path = tmp_path / "a.h5"
    dataset.write(path)
    assert_same(Dataset.read(path), dataset)
    info, n = read_info(path)
    assert (info.problem, n) == ("toy", len(dataset.Y))
    assert is_dataset(path)
    assert os.listdir(tmp_path) == ["a.h5"]


texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    name=texts,
    unit=texts,
    command=texts,
    reason=texts,
    seed=st.integers(0, 2**63 - 1),
    value=st.floats(),
)
def test_any_text_and_number_comes_back(tmp_path_factory, name, unit, command, reason, seed, value):
    whole = made(3)
    C = np.full_like(whole.C, value)
    info = dataclasses.replace(
        whole.info,
        seed=seed,
        command=command,
        y_names=(name, unit),
        c_units=(unit, name, ""),
        coordinates={"time": np.array([0.5, value, -1.0])},
    )
    whole = dataclasses.replace(whole, info=info, C=C, failure=["", reason, "x"])
    path = tmp_path_factory.mktemp("texts") / "a.h5"
    whole.write(path)
    assert_same(Dataset.read(path), whole)


def test_a_long_reason_is_cut_between_characters(tmp_path):
    long = dataclasses.replace(made(3), failure=["x" + "ü" * 300, "", ""])
    long.write(tmp_path / "a.h5")
    assert list(Dataset.read(tmp_path / "a.h5").failure) == ["x" + "ü" * 99, "", ""]


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    n=st.integers(1, 40),
    n_y=st.integers(1, 3),
    n_c=st.integers(1, 4),
    tangents=st.booleans(),
    data=st.data(),
)
def test_shards_in_any_order_merge_to_the_whole(tmp_path_factory, n, n_y, n_c, tangents, data):
    folder = tmp_path_factory.mktemp("shards")
    whole = made(n, n_y, n_c, tangents=tangents)
    cuts = sorted(data.draw(st.sets(st.integers(1, n - 1), max_size=4))) if n > 1 else []
    shards = []
    for start, stop in zip([0, *cuts], [*cuts, n], strict=True):
        shards.append(folder / f"{start}.h5")
        cut(whole, start, stop).write(shards[-1])
    info = merge(data.draw(st.permutations(shards)), folder / "all.h5")
    assert (info.first, info.total) == (0, n)
    assert_same(Dataset.read(folder / "all.h5"), whole)


def test_files_that_do_not_make_up_the_set_are_refused_by_sample_number(tmp_path):
    whole = made(10)
    pieces = {}
    for start, stop in ((0, 4), (3, 6), (4, 6), (4, 8), (6, 10)):
        pieces[start, stop] = tmp_path / f"{start}-{stop}.h5"
        cut(whole, start, stop).write(pieces[start, stop])
    out = tmp_path / "all.h5"
    for asked, message in (
        ([(0, 4), (6, 10)], "samples 4 to 5 are missing"),
        ([(4, 6)], "samples 0 to 3 and 6 to 9 are missing"),
        ([(4, 6), (6, 10)], "samples 0 to 3 are missing"),
        ([(0, 4), (4, 8)], "samples 8 to 9 are missing"),
        ([(0, 4), (3, 6), (6, 10)], "sample 3 is there twice; .*3-6.h5 starts at 3"),
        ([(0, 4), (0, 4)], "samples 0 to 3 are there twice"),
        ([], "nothing to merge"),
    ):
        with pytest.raises(InputError, match=message):
            merge([pieces[key] for key in asked], out)
        assert not out.exists()
    info = merge([pieces[6, 10], pieces[4, 6]], out, whole=False)
    assert info.first == 4
    assert_same(Dataset.read(out), cut(whole, 4, 10))


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (made, {"seed": 1}, "is of another set than .*: seed is 0 there and 1 here"),
        (made, {"problem": "other"}, "problem is toy there and other here"),
        (made, {"total": 11}, "total is 10 there and 11 here"),
        (made, {"config": "[mesh]\nn = 4\n"}, "mesh.n is 3 there and 4 here"),
        (made_classes, {"task": "regression"}, "task is classification there and regression here"),
        (made_classes, {"c_names": ("oats", "corn", "hay")}, "the classes have other names there"),
    ],
)
def test_shards_of_another_set_are_refused(tmp_path, kind, change, message):
    first, second = cut(kind(10), 0, 5), cut(kind(10), 5, 10)
    second = dataclasses.replace(second, info=dataclasses.replace(second.info, **change))
    first.write(tmp_path / "0.h5")
    second.write(tmp_path / "1.h5")
    with pytest.raises(InputError, match=message):
        merge([tmp_path / "0.h5", tmp_path / "1.h5"], tmp_path / "all.h5")
    assert sorted(os.listdir(tmp_path)) == ["0.h5", "1.h5"]


def test_a_classification_comes_back_in_shards_too(tmp_path):
    whole = made_classes(20)
    for start, stop in ((0, 8), (8, 20)):
        cut(whole, start, stop).write(tmp_path / f"{start}.h5")
    merge([tmp_path / "8.h5", tmp_path / "0.h5"], tmp_path / "all.h5")
    assert_same(Dataset.read(tmp_path / "all.h5"), whole)
    with opened(tmp_path / "all.h5") as stored:
        summary = stored.summary()
    done = whole.status == Status.DONE
    for part in PARTS:
        rows = done & (whole.split == Split[part.upper()])
        counts = np.bincount(whole.C[rows].argmax(axis=1), minlength=3)
        np.testing.assert_array_equal(summary.classes[:, PARTS.index(part)], counts)
    assert summary.classes.sum() == 16


def test_classes_are_counted_window_by_window(tmp_path, monkeypatch):
    made_classes(5000).write(tmp_path / "a.h5")
    with opened(tmp_path / "a.h5") as stored:
        at_once = stored.summary().classes
        monkeypatch.setattr(stored_module, "WINDOW_BYTES", 1)
        assert len(list(stored._pieces("C"))) > 3
        np.testing.assert_array_equal(stored.summary().classes, at_once)


def test_a_file_that_says_no_task_is_a_regression(tmp_path):
    made(4).write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file.attrs["task"]
    assert_same(Dataset.read(tmp_path / "a.h5"), made(4))


def test_rows_that_are_no_class_probabilities_are_found():
    whole = made_classes(10)
    assert not [line for line in whole.problems() if "probabilities" in line]
    for row, bad in ((2, [0.5, 0.6, 0]), (3, [1.5, -0.5, 0]), (4, [0, 0, 0]), (6, [1, 1e-5, 0])):
        whole.C[row] = bad  # the fourth is of a sample that failed
    whole.C[7] += 1e-7
    whole.C[8] = [np.inf, -np.inf, 0]
    found = [line for line in whole.problems() if "probabilities" in line]
    assert found == ["3 samples with a C that is not a set of class probabilities, first 2"]
    info = dataclasses.replace(whole.info, task="regression")
    assert "probabilities" not in str(dataclasses.replace(whole, info=info).problems())


@pytest.mark.parametrize("tangents", [(True, False), (False, True)])
def test_shards_with_and_without_tangents_are_refused(tmp_path, tangents):
    for i, has_tangents in enumerate(tangents):
        cut(made(10, tangents=has_tangents), 5 * i, 5 * i + 5).write(tmp_path / f"{i}.h5")
    message = f"tangents is {tangents[0]} there and {tangents[1]} here"
    with pytest.raises(InputError, match=message):
        merge([tmp_path / "0.h5", tmp_path / "1.h5"], tmp_path / "all.h5")
    assert sorted(os.listdir(tmp_path)) == ["0.h5", "1.h5"]


def test_shards_with_different_arrays_are_refused(tmp_path):
    cut(made(10), 0, 5).write(tmp_path / "0.h5")
    cut(made(10, n_c=4), 5, 10).write(tmp_path / "1.h5")
    message = r"samples 5 to 9 do not fit .*: /C is float64 \(5, 4\); expected float64 \(5, 3\)"
    with pytest.raises(InputError, match=message):
        merge([tmp_path / "0.h5", tmp_path / "1.h5"], tmp_path / "all.h5")
    assert sorted(os.listdir(tmp_path)) == ["0.h5", "1.h5"]


def test_the_same_numbers_in_another_shape_have_another_digest():
    a = made(4, 2, 3)
    assert a.digest == made(4, 2, 3).digest
    for change in (
        {"Y": a.Y.reshape(2, 4)},
        {"C": a.C + 1e-16 + np.spacing(a.C)},
        {"status": np.zeros(4, np.uint8)},
        {"split": a.split[::-1].copy() ^ 1},
    ):
        assert dataclasses.replace(a, **change).digest != a.digest


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


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    counts=st.tuples(*3 * [st.integers(0, 30)]),
    spare=st.integers(0, 5),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_split_by_counts_is_exact_and_the_same_for_a_seed(counts, spare, seed):
    n = sum(counts) + spare
    assume(sum(counts) != 1)  # which reads as fractions
    split = assign_split("/".join(map(str, counts)), n, seed)
    assert split.dtype == np.uint8 and split.shape == (n,)
    assert [int((split == Split[part.upper()]).sum()) for part in PARTS] == list(counts)
    assert int((split == Split.UNUSED).sum()) == spare
    np.testing.assert_array_equal(split, assign_split("/".join(map(str, counts)), n, seed))


def test_a_split_by_fractions_uses_every_sample_at_random():
    split = assign_split("0.5/0.25/0.25", 801, 0)
    assert [int((split == part).sum()) for part in range(3)] == [400, 201, 200]
    for n in range(1, 30):
        for fractions, part in (("0.5/0.5/0", 2), ("0.5/0/0.5", 1), ("0/0.3/0.7", 0)):
            assert not (assign_split(fractions, n, 0) == part).any()
    assert 150 < int((split[:400] == Split.TRAIN).sum()) < 250
    assert not np.array_equal(split, assign_split("0.5/0.25/0.25", 801, 1))


@pytest.mark.parametrize("seed", range(3))
def test_a_small_set_is_split_sensibly(seed):
    counts = {}
    for n in range(3, 21):
        split = assign_split("0.8/0.1/0.1", n, seed)
        counts[n] = [int((split == part).sum()) for part in range(3)]
        assert sum(counts[n]) == n and counts[n][0] >= 2
    assert [counts[n] for n in (3, 4, 5, 6, 8, 10, 20)] == [
        *([2, 1, 0], [3, 1, 0], [4, 0, 1], [5, 0, 1], [6, 1, 1], [8, 1, 1], [16, 2, 2]),
    ]
    for fractions in ("0.1/0.1/0.8", "0.3/0/0.7", "0.01/0.98/0.01", "0.01/0/0.99"):
        for n in range(1, 21):
            split = assign_split(fractions, n, seed)
            train, validation = (int((split == part).sum()) for part in range(2))
            assert train >= 1 and train + validation >= min(n, 3)
    for n in range(1, 21):
        assert not (assign_split("0/0.5/0.5", n, seed) == Split.TRAIN).any()


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("400/200/200", "the split 400/200/200 needs 800 samples; there are 10"),
        ("5/3/3", "the split 5/3/3 needs 11 samples; there are 10"),
        ("4/4", "cannot read the split '4/4'; write 400/200/200 or 0.8/0.1/0.1"),
        ("a/b/c", "cannot read the split"),
        ("-1/1/1", "cannot read the split"),
        ("nan/0.5/0.5", "cannot read the split"),
        ("inf/1/1", "cannot read the split"),
        ("", "cannot read the split"),
        ("0.8/0.1/0.2", "neither counts nor fractions that add up to 1"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(split, message):
    with pytest.raises(InputError, match=message):
        assign_split(split, 10, 0)


def of_sizes(sizes):
    """Return shuffled labels of classes with so many samples each, and the classes' rows."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    return labels, rows_of_classes("abcde"[: len(sizes)], np.eye(len(sizes))[labels])


SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=5)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(sizes=SIZES, more=st.integers(0, 12))
def test_a_balanced_split_that_holds_back_a_whole_class_is_refused(sizes, more):
    labels, classes = of_sizes(sizes)
    held = min(sizes) + more
    with pytest.raises(InputError, match=f"needs {held + 1} samples of each class; '[a-e]' has"):
        assign_split(f"balanced:20/{held}/0.2", len(labels), 0, classes)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    sizes=SIZES,
    most=st.integers(1, 40),
    held=st.integers(0, 12),
    share=st.sampled_from([0.0, 0.2, 0.5, 0.99]),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_balanced_split_takes_as_many_of_each_class_as_it_says(sizes, most, held, share, seed):
    assume(min(sizes) > held)
    labels, classes = of_sizes(sizes)
    text, n = f"balanced:{most}/{held}/{share}", len(labels)
    split = assign_split(text, n, seed, classes)
    assert split.dtype == np.uint8 and split.shape == (n,)
    for k, m in enumerate(sizes):
        train, validation, test = np.bincount(split[labels == k], minlength=3)
        pool = min(most, m - held)
        assert train + test == pool and validation == m - pool >= held
        assert train >= 1 and (
            abs(test - share * pool) <= 0.5 or (train == 1 and test < share * pool)
        )
    np.testing.assert_array_equal(split, assign_split(text, n, seed, classes))


def test_a_balanced_split_is_random_and_by_default_as_in_the_paper():
    labels = np.repeat([0, 1, 2], [1000, 20, 300])
    classes = rows_of_classes("abc", np.eye(3)[labels])
    split = assign_split("balanced", 1320, 0, classes)
    counts = [np.bincount(split[labels == k], minlength=3).tolist() for k in range(3)]
    assert counts == [[200, 750, 50], [8, 10, 2], [200, 50, 50]]
    np.testing.assert_array_equal(split, assign_split("balanced:250/10/0.2", 1320, 0, classes))
    assert 70 < int((split[:500] == Split.TRAIN).sum()) < 130
    assert not np.array_equal(split, assign_split("balanced", 1320, 1, classes))


@pytest.mark.parametrize(
    "numbers", ["250", "250/10", "0/10/0.2", "2.5/10/0.2", "250/1.5/0.2", "250/10/1", "a/b/c"]
)
def test_a_balanced_split_that_cannot_be_made_is_refused(numbers):
    classes = rows_of_classes("ab", np.eye(2)[np.arange(100) % 2])
    message = f"cannot read the split 'balanced:{numbers}'; write balanced:250/10/0.2"
    with pytest.raises(InputError, match=message):
        assign_split(f"balanced:{numbers}", 100, 0, classes)
    with pytest.raises(InputError, match="is for a classification; write 0.8/0.1/0.1"):
        assign_split(f"balanced:{numbers}", 100, 0)


def test_training_samples_that_no_classifier_can_learn_from_are_refused():
    check_classes("ab", np.array([[0.9, 0.1], [1, 0]]))
    for C, message in (
        ([[1.0], [1.0]], "there is a single class; a classifier needs two"),
        ([[1.0, 0.0, 0.0]], "there are no training samples of 'b', 'c'; give another split"),
    ):
        with pytest.raises(InputError, match=message):
            check_classes("abc"[: len(C[0])], np.array(C))


def test_a_part_holds_its_done_samples_and_an_empty_one_is_refused(dataset):
    rows = [Split[part.upper()] for part in PARTS]
    parts = [dataset.part(part) for part in PARTS]
    done = dataset.status == Status.DONE
    for row, (Y, C) in zip(rows, parts, strict=True):
        np.testing.assert_array_equal(Y, dataset.Y[done & (dataset.split == row)])
        assert np.isfinite(C).all() and len(C) == len(Y)
    assert sum(len(Y) for Y, _ in parts) == int(done.sum()) == 19
    with pytest.raises(InputError, match="unknown part 'tset'; did you mean 'test'"):
        dataset.part("tset")
    none = dataclasses.replace(dataset, split=np.zeros_like(dataset.split))
    with pytest.raises(InputError, match="no test samples; its split is 10/5/5"):
        none.part("test")


def sound(n):
    """Samples of which nothing is wrong."""
    status = np.full(n, Status.DONE, np.uint8)
    return dataclasses.replace(made(n), status=status, C=np.ones((n, 3)), failure=[""] * n)


def test_problems_are_named_with_their_first_sample():
    good = sound(10)
    assert good.problems() == []

    def faults(**changes):
        return dataclasses.replace(good, **changes).problems()

    def edited(name, row, value):
        array = getattr(good, name).copy()
        array[row] = value
        return array

    solver = good.solver.copy()
    solver["residual"][6:8] = 2e-5, np.nan  # the second gives none: no fault
    failed = {"status": edited("status", 3, 2), "failure": [*[""] * 3, "diverged", *[""] * 6]}
    for changes, expected in (
        ({"C": edited("C", 7, np.inf)}, "1 sample with a value of C that is not finite, first 7"),
        ({"Y": edited("Y", [2, 5], 1.5)}, "2 samples with parameters out of bounds, first 2"),
        ({"solver": solver}, "1 sample with a residual above 1e-05, first 6"),
        ({"status": edited("status", 4, 9)}, "1 sample with an unknown status, first 4"),
        ({"split": edited("split", 5, 7)}, "1 sample with an unknown split, first 5"),
        ({"made_by": edited("made_by", 6, 2)}, "1 sample with an unknown maker, first 6"),
        ({"status": edited("status", 8, 0)}, "sample 8 is missing"),
        ({"status": edited("status", [0, 5, 6, 7, 9], 0)}, "samples 0, 5 to 7 and 9 are missing"),
        ({**failed, "C": edited("C", 3, np.nan)}, "1 sample failed, first 3 (diverged)"),
    ):
        assert faults(**changes) == [expected]
    assert dataclasses.replace(good, solver=solver).problems(3e-5) == []
    assert len(faults(Y=edited("Y", 2, np.nan))) == 2
    assert cut(good, 2, 5).problems() == ["3 of 10 samples: a shard; merge it with the others"]


def test_missing_entries_of_done_samples_are_no_fault_where_they_are_masked(tmp_path):
    good = sound(10)
    C = good.C.copy()
    C[2, 1] = C[7, 0] = C[7, 2] = np.nan
    C[3] = 3
    fault = "{} with a value of C that is not finite, first {}"
    assert dataclasses.replace(good, C=C).problems() == [fault.format("2 samples", 2)]
    masked = dataclasses.replace(good, C=C, info=dataclasses.replace(good.info, missing="mask"))
    assert masked.problems() == []
    for row, value in ((5, np.nan), (6, np.inf)):
        wrong = C.copy()
        wrong[row, slice(None) if np.isnan(value) else 0] = value
        found = dataclasses.replace(masked, C=wrong).problems()
        assert found == [fault.format("1 sample", row)]
    masked.write(tmp_path / "a.h5")
    assert_same(Dataset.read(tmp_path / "a.h5"), masked)
    with opened(tmp_path / "a.h5") as stored:
        summary = stored.summary()
        assert stored.problems() == []
    assert summary.missing == 3 and summary.c_range == (1, 3)
    size = np.sqrt(np.nanmean(C**2, axis=0))
    np.testing.assert_allclose(summary.spread, np.nanstd(C, axis=0) / size, rtol=1e-12)
    expected = ["entries of c are masked in one of them only"]
    assert masked.info.differences(good.info) == expected
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.attrs["missing"] = np.bytes_("zero")
    with pytest.raises(InputError, match="the meaning of its missing entries, 'zero', is unknown"):
        read_info(tmp_path / "a.h5")


@settings(derandomize=True, deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(1, 39), max_size=6), seed=st.integers(0, 99))
def test_masked_pieces_of_any_size_have_the_range_and_spread_of_the_whole(cuts, seed):
    rng = np.random.default_rng(seed)
    rows = 5 + rng.normal(size=(40, 3))
    rows[rng.random((40, 3)) < rng.choice([0.1, 0.9])] = np.nan
    rows[:, 2] = np.nan
    stats = RunningStats(np.ones(40, dtype=bool), "mask")
    ends = sorted({0, 40, *cuts})
    for _ in stats.over(rows[a:b] for a, b in itertools.pairwise(ends)):
        pass
    known = rows[~np.isnan(rows)]
    assert stats.missing == rows.size - known.size
    assert stats.range == (known.min(), known.max())
    for k in range(2):
        column = rows[~np.isnan(rows[:, k]), k]
        expected = column.std() / np.sqrt((column**2).mean()) if len(column) else np.nan
        np.testing.assert_allclose(stats.spread[k], expected, rtol=1e-10, atol=1e-12)
    assert np.isnan(stats.spread[2])


# Files larger than a window, a chunk at a time


N_LARGE = 2500


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A dataset of several chunks in each of its arrays, and its file."""
    whole = made(N_LARGE, n_c=60, tangents=True)
    path = tmp_path_factory.mktemp("large") / "a.h5"
    whole.write(path)
    return whole, path


def chunk(path, name, number):
    """Rows of a chunk, and its place in the file."""
    with h5py.File(path) as file:
        array = file[name]
        start = number * array.chunks[0]
        assert start < len(array) and len(array) > array.chunks[0], "there is one chunk alone"
        place = array.id.get_chunk_info_by_coord((start,) + (0,) * (array.ndim - 1))
    rows = range(start, min(start + array_rows(path, name), N_LARGE))
    return rows, range(place.byte_offset, place.byte_offset + place.size)


def array_rows(path, name):
    with h5py.File(path) as file:
        return int(file[name].chunks[0])


def flip(path, out, *places):
    """Write a copy with one bit changed at each place."""
    content = bytearray(path.read_bytes())
    for place in places:
        content[place] ^= 1 << (place % 8)
    out.write_bytes(content)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(size=st.integers(1, 5_000_000))
def test_windows_of_any_size_give_the_same_as_the_whole(large, size):
    whole, path = large
    with pytest.MonkeyPatch.context() as patch, opened(path) as stored:
        patch.setattr(stored_module, "WINDOW_BYTES", size)
        windows = list(stored.windows(size))
        assert [window.info.first for window in windows] == list(
            np.cumsum([0, *(len(window.Y) for window in windows[:-1])])
        )
        assert all(window.info.first % array_rows(path, "C") == 0 for window in windows)
        for name in (*ARRAYS, "dC_dY"):
            joined = np.concatenate([getattr(window, name) for window in windows])
            np.testing.assert_array_equal(joined, getattr(whole, name))
        assert [text for window in windows for text in window.failure] == whole.failure
        assert stored.digest == whole.digest
        assert stored.problems() == whole.problems()
        assert stored.damage() == [] and stored.readable_rows().all()
        summary = stored.summary()
    C = whole.C[whole.status == Status.DONE]
    assert summary.status == {Status.MISSING: 0, Status.DONE: 2000, Status.FAILED: 500}
    assert summary.split == {"train": 1250, "validation": 625, "test": 625}
    assert summary.made_by == (N_LARGE - 834, 834)
    assert summary.y_range == (whole.Y.min(), whole.Y.max())
    assert summary.c_range == (C.min(), C.max())
    assert summary.digest == whole.digest
    np.testing.assert_allclose(summary.spread, C.std(axis=0) / np.sqrt((C**2).mean(0)), 1e-12)


def test_windows_are_of_the_size_asked_for(large):
    whole, path = large
    with opened(path) as stored:
        assert len(stored) == N_LARGE
        assert len(list(stored.windows(10**9))) == 1
        assert len(list(stored.windows(1))) == -(-N_LARGE // array_rows(path, "C"))
        np.testing.assert_array_equal(stored.status, whole.status)
        np.testing.assert_array_equal(stored.split, whole.split)
        assert_same(stored.rows(700, 703), cut(whole, 700, 703))


def test_missing_samples_are_one_run_across_windows(tmp_path):
    whole = sound(3000)
    whole.status[900:2100] = Status.MISSING
    whole.write(tmp_path / "a.h5")
    with pytest.MonkeyPatch.context() as patch, opened(tmp_path / "a.h5") as stored:
        patch.setattr(stored_module, "WINDOW_BYTES", 1)
        assert len(list(stored.windows(1))) == 3
        assert stored.problems() == ["samples 900 to 2099 are missing"]


def test_a_small_spread_about_a_large_mean_keeps_its_digits(tmp_path):
    n = 2100
    rng = np.random.default_rng(0)
    C = np.stack([1e9 + 1e-3 * rng.standard_normal(n), np.zeros(n)], axis=1)
    whole = dataclasses.replace(made(n, n_c=2), C=C, status=np.ones(n, np.uint8), failure=[""] * n)
    whole.write(tmp_path / "a.h5")
    with opened(tmp_path / "a.h5") as stored:
        spread = stored.summary().spread
    exact = [Fraction(value) for value in C[:, 0].tolist()]
    mean = sum(exact) / n
    variance = sum((value - mean) ** 2 for value in exact) / n
    assert spread[0] == pytest.approx(float(variance) ** 0.5 / float(mean), rel=1e-6)
    assert np.isnan(spread[1])


def test_a_range_with_a_value_that_is_no_number_says_so(tmp_path):
    n = 2100
    whole = dataclasses.replace(made(n), C=np.ones((n, 3)), status=np.ones(n, np.uint8))
    for row in (0, n - 1):
        C = whole.C.copy()
        C[row] = np.nan
        dataclasses.replace(whole, C=C).write(tmp_path / "a.h5")
        with pytest.MonkeyPatch.context() as patch, opened(tmp_path / "a.h5") as stored:
            patch.setattr(stored_module, "WINDOW_BYTES", 1)
            assert np.isnan(stored.summary().c_range).all()


def test_a_file_without_a_done_sample_has_a_summary(tmp_path):
    none = dataclasses.replace(made(4), status=np.full(4, 2, np.uint8), C=np.full((4, 3), np.nan))
    none.write(tmp_path / "a.h5")
    with opened(tmp_path / "a.h5") as stored:
        summary = stored.summary()
    assert np.isnan(summary.c_range).all() and np.isnan(summary.spread).all()
    assert summary.digest == none.digest


def test_memory_holds_a_window_and_not_the_file(tmp_path):
    n, path = 10_000, tmp_path / "a.h5"
    piece = sound(100)
    piece = dataclasses.replace(piece, C=np.ones((100, 400)))
    names = tuple(f"c{i}" for i in range(400))
    info = dataclasses.replace(piece.info, total=n, c_names=names, c_units=names)
    tracemalloc.start()
    try:
        write(path, info, n, (piece for _ in range(n // 100)))
        with opened(path) as stored:
            assert stored.problems() == []
            assert stored.damage() == []
            assert stored.summary().status[Status.DONE] == n
        merge([path], tmp_path / "b.h5")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 32e6
    assert peak < 30e6


@pytest.mark.parametrize("name", [*ARRAYS, "failure", "dC_dY"])
def test_damage_costs_the_rows_of_its_chunk_and_is_named(large, tmp_path, name):
    whole, path = large
    bad = tmp_path / "bad.h5"
    rows, places = chunk(path, name, 1)
    for place in (places[0], places[len(places) // 2], places[-1]):
        flip(path, bad, place)
        with pytest.raises(InputError, match="is not a whole dataset file"):
            Dataset.read(bad)
        with opened(bad) as stored:  # opens whichever array is damaged
            assert stored.damage() == [(name, rows)]
            mask = stored.readable_rows()
            assert [*np.flatnonzero(~mask)] == [*rows]
            assert_same(stored.rows(rows.stop, N_LARGE), cut(whole, rows.stop, N_LARGE))
            first, *rest = stored.problems()
        assert first == (
            f"samples {rows.start} to {rows.stop - 1} are damaged: the checksum of /{name} is wrong"
        )
        failed = (whole.status == Status.FAILED) & mask
        assert rest == [f"{failed.sum()} samples failed, first 4 (sample 4: ü)"]


def test_damage_of_several_chunks_is_one_line_for_each_array(large, tmp_path):
    whole, path = large
    shard = tmp_path / "shard.h5"
    info = dataclasses.replace(whole.info, first=10_000, total=20_000)
    dataclasses.replace(whole, info=info).write(shard)
    (_, a), (_, b), (c, d) = (chunk(shard, "C", number) for number in (0, 1, 3))
    (s, e) = chunk(shard, "status", 2)
    flip(shard, tmp_path / "bad.h5", a[9], b[9], d[9], e[0])
    with opened(tmp_path / "bad.h5") as stored:
        found = stored.problems()
        runs = [range(2 * len(c)), c]
        assert stored.damage() == [*(("C", run) for run in runs), ("status", s)]
        with pytest.raises(InputError, match="is not a whole dataset file"):
            stored.summary()
        with pytest.raises(InputError, match="is not a whole dataset file"):
            len(stored.status)
    assert found[:2] == [
        f"samples 10000 to {10_000 + 2 * len(c) - 1} and {10_000 + c.start} to "
        f"{10_000 + c.stop - 1} are damaged: the checksum of /C is wrong",
        f"samples {10_000 + s.start} to 12499 are damaged: the checksum of /status is wrong",
    ]
    assert found[2] == "2500 of 20000 samples: a shard; merge it with the others"
    readable = set(range(N_LARGE)) - set(runs[0]) - set(c) - set(s)
    failed = [10_000 + row for row in sorted(readable) if row % 5 == 4]
    assert found[3].startswith(f"{len(failed)} samples failed, first {failed[0]} ")


def test_no_flipped_bit_gives_another_number_or_word(tmp_path):
    small, path, bad = made(30, tangents=True), tmp_path / "a.h5", tmp_path / "bad.h5"
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


def test_a_cut_file_is_refused_wherever_it_is_cut(large, tmp_path):
    content = large[1].read_bytes()
    for size in range(0, len(content), len(content) // 25):
        (tmp_path / "cut.h5").write_bytes(content[:size])
        with pytest.raises(InputError, match="is not a whole dataset file"):
            opened(tmp_path / "cut.h5").__enter__()


def test_a_failure_while_a_file_is_open_stays_what_it_is(large):
    for fault in (OSError("the disk is full"), KeyError("a bug")):
        with pytest.raises(type(fault)) as caught, opened(large[1]):
            raise fault
        assert caught.value is fault


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


@settings(derandomize=True, deadline=None, max_examples=10)
@given(cuts=st.sets(st.integers(1, N_LARGE - 1), max_size=12))
def test_pieces_of_any_size_make_the_same_file(large, cuts):
    whole, path = large
    edges = [0, *sorted(cuts), N_LARGE]
    pieces = (cut(whole, *pair) for pair in zip(edges, edges[1:], strict=False))
    write(path.parent / "b.h5", whole.info, N_LARGE, pieces)
    assert_same(Dataset.read(path.parent / "b.h5"), whole)


@pytest.mark.parametrize("n", [4, 6])
def test_pieces_of_another_number_leave_no_file(tmp_path, n):
    whole = made(5)
    with pytest.raises(ValueError, match=f"not the 6 announced|more than the {n} samples"):
        write(tmp_path / "a.h5", whole.info, n, [cut(whole, 0, 3), cut(whole, 3, 5)])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("tangents", [False, True])
def test_a_description_alone_is_a_file(dataset, tmp_path, tangents):
    path = tmp_path / "description.h5"
    info = dataclasses.replace(dataset.info, tangents=tangents, later_makers=(maker("2"),))
    write(path, info, 0, [])
    found, n = read_info(path)
    assert n == 0 and is_dataset(path)
    assert found.differences(info) == [] and found.makers == info.makers
    assert_same(dataclasses.replace(dataset, info=found), dataclasses.replace(dataset, info=info))
    for read in (Dataset.read, lambda path: opened(path).__enter__()):
        with pytest.raises(InputError, match="is not a whole dataset file: it has 0 samples"):
            read(path)


# Who made what


def test_makers_are_known_by_versions_and_revision():
    info = made(3).info
    same = {**maker("2"), "command": "another", "created": "later"}
    assert info.with_maker(same) == (info, 1)
    first = {**same, "versions": info.versions, "revision": info.revision}
    assert info.with_maker(first) == (info, 0)
    for other in ({**same, "revision": "r3"}, {**same, "versions": {"numpy": "3"}}):
        more, index = info.with_maker(other)
        assert index == 2 and more.makers == (*info.makers, other)
        assert more.differences(info) == []


def test_shards_of_several_makers_keep_who_made_each_sample(tmp_path):
    whole = made(9)
    makers = [maker("1"), maker("2"), maker("3")]
    shards = {0: (makers[:2], [0, 1, 0, 1]), 4: (makers[1:], [0, 1]), 6: (makers[::-1], [0, 1, 2])}
    for start, (known, made_by) in shards.items():
        shard = cut(whole, start, start + len(made_by))
        info = dataclasses.replace(shard.info, **known[0], later_makers=tuple(known[1:]))
        dataclasses.replace(shard, info=info, made_by=np.array(made_by, np.uint16)).write(
            tmp_path / f"{start}.h5"
        )
    info = merge([tmp_path / f"{start}.h5" for start in shards], tmp_path / "all.h5")
    merged = Dataset.read(tmp_path / "all.h5")
    assert list(merged.info.makers) == list(info.makers) == makers
    assert merged.made_by.tolist() == [0, 1, 0, 1, 1, 2, 2, 1, 0]
    assert merged.digest == whole.digest
    assert merged.problems() == whole.problems()


def test_a_maker_that_the_file_does_not_name_is_refused_when_merged(tmp_path):
    dataclasses.replace(made(3), made_by=np.full(3, 2, np.uint16)).write(tmp_path / "a.h5")
    with pytest.raises(InputError, match="a.h5 is not a whole dataset file: index 2"):
        merge([tmp_path / "a.h5"], tmp_path / "b.h5")
    assert os.listdir(tmp_path) == ["a.h5"]


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


def test_another_file_of_the_problem_is_another_set():
    info = made(3).info
    other = dataclasses.replace(info, source="12ab")
    assert other.differences(other) == []
    name = "the file of the problem"
    assert info.differences(other) == [f"{name} has no SHA-256 there and 12ab here"]
    assert other.differences(info) == [f"{name} has SHA-256 12ab there and none here"]


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


def test_shards_of_other_files_or_another_mesh_do_not_merge(tmp_path):
    whole = sound(6)
    files = {"own.py": "ab" * 32, "m": "cd" * 32}
    config = "m = 'a.msh'\n"
    info = dataclasses.replace(whole.info, inputs=files, mesh="8 cells", config=config)
    changes = {
        "own.py has SHA-256 abababababab there and 12 here": {"inputs": {**files, "own.py": "12"}},
        "own.py has SHA-256 abababababab there and none here": {"inputs": {"m": "cd" * 32}},
        "m has SHA-256 cdcdcdcdcdcd there and 12 here": {"inputs": {**files, "m": "12"}},
        "more.py has no SHA-256 there and 12 here": {"inputs": {**files, "more.py": "12"}},
        "the mesh is 8 cells there and 9 cells here": {"mesh": "9 cells"},
    }
    dataclasses.replace(cut(whole, 0, 3), info=info).write(tmp_path / "0.h5")
    second = dataclasses.replace(info, first=3)
    for message, change in changes.items():
        other = dataclasses.replace(second, **change)
        dataclasses.replace(cut(whole, 3, 6), info=other).write(tmp_path / "1.h5")
        with pytest.raises(InputError, match=re.escape(message)):
            merge([tmp_path / "0.h5", tmp_path / "1.h5"], tmp_path / "all.h5")
    # What a path holds counts, not the path, if that is known.
    moved = dataclasses.replace(second, config="m = 'b.msh'\n")
    dataclasses.replace(cut(whole, 3, 6), info=moved).write(tmp_path / "1.h5")
    assert merge([tmp_path / "0.h5", tmp_path / "1.h5"], tmp_path / "all.h5").inputs == files
    assert info.changed(dataclasses.replace(info, inputs={"own.py": "12", "m": "cd" * 32})) == [
        "own.py"
    ]
    unknown = [dataclasses.replace(one, inputs={}) for one in (info, moved)]
    assert unknown[0].differences(unknown[1]) == ["m is a.msh there and b.msh here"]


def test_a_file_of_another_set_is_refused_and_an_edited_file_named():
    info = dataclasses.replace(made(3).info, problem="own.py:P", source="ab" * 32)
    info.check_same(info, "a.h5")
    with pytest.raises(InputError, match="^a.h5 is another dataset: seed is .*; it is left as it"):
        info.check_same(dataclasses.replace(info, seed=7), "a.h5")
    with pytest.raises(InputError, match=r"restore own.py \(an edit .*\), or give another --out$"):
        info.check_same(dataclasses.replace(info, source="12"), "a.h5")
    with pytest.raises(InputError, match="another dataset: its numbers are others; it is left"):
        info.check_same(info, "a.h5", ["its numbers are others"])


def test_the_public_names_are_there_and_a_file_is_read_without_scipy(tmp_path):
    made(3).write(tmp_path / "a.h5")
    assert all(hasattr(data, name) for name in data.__all__)
    with pytest.raises(AttributeError, match="surrogates.data"):
        _ = data.no_such_name
    code = (
        "import sys; from surrogates.data import Dataset; Dataset.read(sys.argv[1]);"
        "print(*{'scipy', 'torch', 'dolfinx', 'mpi4py'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.h5"],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert run.stdout.strip() == ""
