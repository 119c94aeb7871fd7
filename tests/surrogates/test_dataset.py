from __future__ import annotations

import dataclasses
import os

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.dataset import (
    PARTS,
    SCHEMA_VERSION,
    SOLVER,
    Dataset,
    Info,
    Split,
    Status,
    assign_split,
    is_dataset,
    merge,
    read_info,
)
from surrogates.errors import InputError

ARRAYS = ("Y", "C", "status", "split", "solver")


def made(n, n_y=2, n_c=3, seed=0, tangents=False):
    """Random samples of which every fifth failed; each knows its number by its iterations."""
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
    )


def cut(whole, start, stop):
    """Give the samples from start to stop as a shard."""
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
        ([(4, 6), (6, 10)], "samples 0 to 3 are missing"),
        ([(0, 4), (4, 8)], "samples 8 to 9 are missing"),
        ([(0, 4), (3, 6), (6, 10)], "samples 3 to 3 are there twice"),
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
    ("change", "message"),
    [
        ({"seed": 1}, "is of another set than .*: seed is 0 there and 1 here"),
        ({"problem": "other"}, "problem is toy there and other here"),
        ({"total": 11}, "total is 10 there and 11 here"),
        ({"config": "[mesh]\nn = 4\n"}, "mesh.n is 3 there and 4 here"),
    ],
)
def test_shards_of_another_set_are_refused(tmp_path, change, message):
    first, second = cut(made(10), 0, 5), cut(made(10), 5, 10)
    second = dataclasses.replace(second, info=dataclasses.replace(second.info, **change))
    first.write(tmp_path / "0.h5")
    second.write(tmp_path / "1.h5")
    with pytest.raises(InputError, match=message):
        merge([tmp_path / "0.h5", tmp_path / "1.h5"], tmp_path / "all.h5")
    assert sorted(os.listdir(tmp_path)) == ["0.h5", "1.h5"]


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
    message = r"samples 5 to 9 do not fit those before them: C of one sample is \(4,\) here and"
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
        (lambda f: _replace(f, "failure", np.array([b"x"])), "20 samples and 1 reasons"),
        (lambda f: f["Y"].attrs.__delitem__("names"), "names"),
        (lambda f: f["Y"].attrs.create("lower", np.zeros(3)), "3 lower bounds for 4 names"),
        (lambda f: f["C"].attrs.create("coordinate_time", [1.0]), "1 values of time for 6 names"),
        (lambda f: f.attrs.create("total", 0), "first sample is 0 of 0"),
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
    with pytest.raises(TypeError):
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
    if sum(counts) == 1:  # reads as fractions
        return
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


def test_problems_are_named_with_their_first_sample():
    good = made(10)
    good = dataclasses.replace(
        good, status=np.ones(10, np.uint8), C=np.ones((10, 3)), failure=[""] * 10
    )
    assert good.problems() == []

    def faults(**changes):
        return dataclasses.replace(good, **changes).problems()

    def edited(name, row, value):
        array = getattr(good, name).copy()
        array[row] = value
        return array

    solver = good.solver.copy()
    solver["residual"][6] = np.nan
    failed = {"status": edited("status", 3, 2), "failure": [*[""] * 3, "diverged", *[""] * 6]}
    for changes, expected in (
        ({"C": edited("C", 7, np.inf)}, "1 samples with a value of C that is not finite, first 7"),
        ({"Y": edited("Y", 2, 1.5)}, "1 samples with parameters out of bounds, first 2"),
        ({"solver": solver}, "1 samples with a residual above 1e-05, first 6"),
        ({"status": edited("status", 4, 9)}, "1 samples with an unknown status, first 4"),
        ({"split": edited("split", 5, 7)}, "1 samples with an unknown split, first 5"),
        ({"status": edited("status", 8, 0)}, "1 samples missing, first 8"),
        ({**failed, "C": edited("C", 3, np.nan)}, "1 samples failed, first 3 (diverged)"),
    ):
        assert faults(**changes) == [expected]
    assert len(faults(Y=edited("Y", 2, np.nan))) == 2
    assert cut(good, 2, 5).problems() == ["3 of 10 samples: a shard; merge it with the others"]
