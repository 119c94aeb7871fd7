"""Derivatives in dataset files: three kinds in the file, one form for a training."""

import dataclasses

import h5py
import numpy as np
import pytest
from samples import cut, made, with_derivatives

from surrogates.data import Dataset, Status, merge, opened, read_info
from surrogates.errors import InputError

KINDS = ("tangents", "directions", "adjoints")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_back_each_kind_bit_for_bit(tmp_path, kind):
    dataset = with_derivatives(made(13), kind)
    dataset.write(tmp_path / "f.h5")
    again = Dataset.read(tmp_path / "f.h5")
    for name in ("dC_dY", "directions", "dC_dV", "dW_dY"):
        ours, theirs = getattr(dataset, name), getattr(again, name)
        assert (ours is None) == (theirs is None)
        assert ours is None or np.array_equal(ours, theirs, equal_nan=True)
    assert np.array_equal(again.info.functionals, dataset.info.functionals)
    assert np.array_equal(again.info.c_scale, dataset.info.c_scale)
    assert (again.info.tangents, again.info.directions, again.info.adjoints) == {
        "tangents": (True, 0, 0),
        "directions": (False, 2, 0),
        "adjoints": (False, 0, 2),
    }[kind]
    assert dataset.info.differences(again.info) == []
    assert read_info(tmp_path / "f.h5")[0].adjoints == dataset.info.adjoints
    with opened(tmp_path / "f.h5") as stored:
        assert stored.digest == stored.summary().digest == dataset.digest == again.digest
        part = stored.rows(3, 7)
    rows = dataset.rows(slice(3, 7))
    for name in ("T", "V"):
        ours, theirs = (getattr(one.derivatives(), name) for one in (rows, part))
        assert np.array_equal(ours, theirs, equal_nan=True)
    assert dataset.digest != made(13).digest


def test_files_without_directions_keep_the_older_schema(tmp_path):
    versions = {}
    for kind in (None, *KINDS):
        dataset = made(4) if kind is None else with_derivatives(made(4), kind)
        dataset.write(tmp_path / "f.h5")
        with h5py.File(tmp_path / "f.h5") as file:
            versions[kind] = int(file.attrs["schema_version"])
    assert versions == {None: 2, "tangents": 2, "directions": 3, "adjoints": 3}


def test_whole_tangents_are_derivatives_along_each_y():
    dataset = with_derivatives(made(9), "tangents")
    rows = np.array([6, 0, 3])
    found = dataset.derivatives(rows)
    assert np.array_equal(found.T, dataset.dC_dY[rows])
    assert found.V.shape == (3, 2, 2) and (found.V == np.eye(2)).all()
    assert found.V.strides[0] == 0  # one copy
    assert found.there.all()
    assert made(9).derivatives(rows) is None


def test_directions_are_what_they_are():
    dataset = with_derivatives(made(9), "directions")
    found = dataset.derivatives(slice(0, 4))
    assert np.array_equal(found.V, dataset.directions[:4])
    assert np.array_equal(found.T, dataset.dC_dV[:4])
    assert found.there.all()


def test_adjoints_are_what_the_functionals_see_of_the_tangents():
    whole = with_derivatives(made(9), "tangents")
    dataset = with_derivatives(made(9), "adjoints")
    done = dataset.status == Status.DONE
    W, S = dataset.info.functionals, dataset.info.c_scale
    found = dataset.derivatives(done)
    J = whole.dC_dY[done]
    assert np.allclose(W @ found.T, W @ J, rtol=1e-12)  # nothing seen is lost
    # The rest is orthogonal to the functionals' span in units of the scales.
    span = S[:, None] * (W * S).T
    rest = (J - found.T) / S[:, None]
    assert np.abs(rest.transpose(0, 2, 1) @ (span / S[:, None])).max() < 1e-12
    assert (found.V == np.eye(2)).all()
    one = dataclasses.replace(dataset.info, c_scale=np.ones(3))
    plain = dataclasses.replace(dataset, info=one).derivatives(done).T
    assert np.allclose(plain, np.linalg.pinv(W) @ (W @ J), rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_direction_with_a_nan_is_marked_and_the_others_stay(kind):
    dataset = with_derivatives(made(9), kind)
    before = dataset.derivatives()
    name = {"tangents": "dC_dY", "directions": "dC_dV", "adjoints": "dW_dY"}[kind]
    getattr(dataset, name)[2, 1, 1] = np.nan
    getattr(dataset, name)[4] = np.nan
    getattr(dataset, name)[5, 0, 0] = np.inf
    found = dataset.derivatives()
    there = np.ones((9, 2), dtype=bool)
    there[2, 1] = there[5, 0] = False
    there[4] = False
    assert np.array_equal(found.there, there)
    assert np.isnan(found.T.transpose(0, 2, 1)[~there]).all()
    same = before.T.transpose(0, 2, 1)[there], found.T.transpose(0, 2, 1)[there]
    assert np.array_equal(*same)
    assert np.isfinite(found.V).all()


def test_a_direction_that_is_nan_itself_has_no_data():
    dataset = with_derivatives(made(9), "directions")
    dataset.directions[3, 1] = np.nan
    found = dataset.derivatives()
    assert np.argwhere(~found.there).tolist() == [[3, 1]]
    assert np.isfinite(found.V).all() and np.isnan(found.T[3, :, 1]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_shards_merge_to_the_whole_with_their_derivatives(tmp_path, kind):
    whole = with_derivatives(made(11), kind)
    for start, stop in ((0, 4), (4, 11)):
        cut(whole, start, stop).write(tmp_path / f"{start}.h5")
    merge([tmp_path / "4.h5", tmp_path / "0.h5"], tmp_path / "whole.h5")
    merged = Dataset.read(tmp_path / "whole.h5")
    assert merged.digest == whole.digest
    assert np.array_equal(merged.info.functionals, whole.info.functionals)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"functionals": np.ones((2, 3))}, "the functionals of c are others there than here"),
        ({"functionals": np.ones((1, 3))}, "adjoints is 2 there and 1 here"),
        ({"functionals": np.empty((0, 0)), "directions": 2}, "directions is 0 there and 2 here"),
    ],
)
def test_shards_of_other_directions_or_functionals_do_not_merge(tmp_path, changes, reason):
    whole = with_derivatives(made(8), "adjoints")
    cut(whole, 0, 4).write(tmp_path / "a.h5")
    info = dataclasses.replace(whole.info, **changes)
    other, drop = cut(dataclasses.replace(whole, info=info), 4, 8), {}
    if info.adjoints == 1:
        drop = {"dW_dY": other.dW_dY[:, :1]}
    if info.directions:
        drop = {"dW_dY": None, "directions": np.ones((4, 2, 2)), "dC_dV": np.ones((4, 3, 2))}
    dataclasses.replace(other, **drop).write(tmp_path / "b.h5")
    with pytest.raises(InputError, match=reason):
        merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "whole.h5")


def test_functionals_that_differ_by_rounding_are_the_same(tmp_path):
    whole = with_derivatives(made(8), "adjoints")
    off = whole.info.functionals * (1 + 1e-13)
    other = dataclasses.replace(whole, info=dataclasses.replace(whole.info, functionals=off))
    cut(whole, 0, 4).write(tmp_path / "a.h5")
    cut(other, 4, 8).write(tmp_path / "b.h5")
    assert merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "whole.h5").adjoints == 2


def _without(name):
    def change(file):
        del file[name]

    return change


def _both(file):
    file["dC_dY"] = np.zeros((4, 3, 2))


def _wide(file):
    scale = file["functionals"].attrs["scale"]
    del file["functionals"]
    file["functionals"] = np.zeros((2, 5))
    file["functionals"].attrs["scale"] = scale


def _negative(file):
    file["functionals"].attrs["scale"] = -np.ones(3)


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("directions", _without("directions"), "it has /dC_dV without /directions"),
        ("directions", _without("dC_dV"), "it has /directions without /dC_dV"),
        ("adjoints", _without("functionals"), "it has /dW_dY without /functionals"),
        ("adjoints", _without("dW_dY"), "it has /functionals without /dW_dY"),
        ("adjoints", _both, "it has both /dC_dY and /dW_dY"),
        ("directions", _both, "it has both /dC_dY and /dC_dV"),
        ("adjoints", _wide, "its functionals are not numbers for 3 observables"),
        ("adjoints", _negative, "its functionals are not numbers"),
    ],
)
def test_arrays_that_do_not_belong_together_are_one_line(tmp_path, kind, change, reason):
    with_derivatives(made(4), kind).write(tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        change(file)
    with pytest.raises(InputError, match=reason):
        Dataset.read(tmp_path / "f.h5")
