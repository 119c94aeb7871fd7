"""Derivatives in dataset files: three kinds in the file, one form for a training."""

import dataclasses

import h5py
import numpy as np
import pytest
from samples import cut, made, with_derivatives

from surrogates import cli
from surrogates.data import Dataset, Status, append, merge, opened, read_info
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


# Finished sets


def _set(kind, n, seed, r=2, order=(0, 1, 2)):
    """A finished set with its observables, and their functionals, in another order."""
    whole = made(n, seed=seed) if kind is None else with_derivatives(made(n, seed=seed), kind, r)
    c = list(order)
    info = whole.info
    changes = {"c_names": tuple(f"c{i}" for i in c)}
    if info.adjoints:
        changes |= {"functionals": info.functionals[:, c], "c_scale": info.c_scale[c]}
    arrays = {"C": whole.C[:, c]}
    for name in ("dC_dY", "dC_dV"):
        if (values := getattr(whole, name)) is not None:
            arrays[name] = values[:, c]
    return dataclasses.replace(whole, info=dataclasses.replace(info, **changes), **arrays)


def _appended(folder, *sets):
    paths = [folder / f"{i}.h5" for i in range(len(sets))]
    for path, one in zip(paths, sets, strict=True):
        one.write(path)
    append(paths, folder / "all.h5")
    return Dataset.read(folder / "all.h5")


@pytest.mark.parametrize("kind", KINDS)
def test_joined_sets_keep_their_derivatives_in_the_first_ones_order(tmp_path, kind):
    one, other = _set(kind, 6, 1), _set(kind, 4, 2, order=(2, 0, 1))
    found = _appended(tmp_path, one, other)
    J = np.concatenate([one.derivatives().T, other.derivatives().T[:, [1, 2, 0]]])
    assert np.allclose(found.derivatives().T, J, rtol=1e-12)
    assert np.array_equal(found.info.functionals, one.info.functionals)


def test_sets_with_different_numbers_of_directions_are_joined(tmp_path):
    sets = [_set("directions", 6, 1, r=1), _set("tangents", 4, 2), _set(None, 3, 3)]
    sets.append(_set("directions", 3, 4, r=3, order=(1, 2, 0)))
    found = _appended(tmp_path, *sets)
    assert found.info.directions == 3 and not found.info.tangents and found.dC_dY is None
    got = found.derivatives()
    there = np.zeros((16, 3), dtype=bool)
    there[:6, :1] = there[6:10, :2] = there[13:] = True
    assert np.array_equal(got.there, there)
    assert np.array_equal(got.T[:6, :, :1], sets[0].dC_dV)
    assert np.array_equal(got.T[6:10, :, :2], sets[1].dC_dY)
    assert np.array_equal(got.V[6:10, :2], np.tile(np.eye(2), (4, 1, 1)))
    assert np.array_equal(got.T[13:], sets[3].dC_dV[:, [2, 0, 1]])
    with opened(tmp_path / "all.h5") as stored:
        assert not [text for text in stored.problems() if "finite" in text]
        summary = stored.summary()
    done = found.status == Status.DONE
    some = got.there.any(axis=1) & done
    assert summary.derivatives == some.sum()
    assert summary.derivative_rows == 3 * some.sum()
    assert summary.derivative_gaps == (~got.there[some]).sum()


def test_functionals_are_joined_with_none_or_the_same_alone(tmp_path):
    adjoint = _set("adjoints", 6, 1)
    found = _appended(tmp_path, _set(None, 4, 2), adjoint)
    assert np.isnan(found.dW_dY[:4]).all() and np.array_equal(found.dW_dY[4:], adjoint.dW_dY)
    for kind, said in (("tangents", "tangents dc/dy"), ("directions", "dc/dy in 2 directions")):
        with pytest.raises(InputError, match=f"cannot be joined: they have .*{said}"):
            _appended(tmp_path, _set(kind, 4, 2), adjoint)
    info = dataclasses.replace(adjoint.info, functionals=2 * adjoint.info.functionals)
    with pytest.raises(InputError, match="2 functionals of c and .*, others$"):
        _appended(tmp_path, dataclasses.replace(adjoint, info=info), adjoint)


# Faults, and what is said of a set


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_of_a_run_that_are_not_finite_are_faults(kind):
    dataset = with_derivatives(made(9), kind)
    name = {"tangents": "dC_dY", "directions": "dC_dV", "adjoints": "dW_dY"}[kind]
    assert not [text for text in dataset.problems() if "finite" in text]
    getattr(dataset, name)[2, 1, 1] = np.nan
    getattr(dataset, name)[4] = np.nan  # a failed one
    assert f"1 sample with a value of {name} that is not finite, first 2" in dataset.problems()
    imported = dataclasses.replace(dataset.info, design="imported")
    found = dataclasses.replace(dataset, info=imported)
    assert not [text for text in found.problems() if "finite" in text]
    getattr(dataset, name)[0, 0, 0] = np.inf
    assert f"1 sample with a value of {name} that is not finite, first 0" in found.problems()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("tangents", "tangents dc/dy"),
        ("directions", "dc/dy in 2 directions"),
        ("adjoints", "dc/dy of 2 functionals of c"),
    ],
)
def test_info_says_which_derivatives_there_are_and_how_many_are_left_out(
    tmp_path, capsys, kind, words
):
    dataset = with_derivatives(made(9), kind)
    dataset.write(tmp_path / "f.h5")
    assert cli.main(["info", str(tmp_path / "f.h5")]) == 0
    said = capsys.readouterr().out
    assert f"9 samples, 2 parameters, 3 outputs, with {words}; 8 done, 1 failed" in said
    assert "derivatives:" not in said
    assert words in dataset._repr_html_()
    name = {"tangents": "dC_dY", "directions": "dC_dV", "adjoints": "dW_dY"}[kind]
    getattr(dataset, name)[2, 1, 1] = np.nan
    getattr(dataset, name)[3] = np.nan
    dataset.write(tmp_path / "f.h5")
    assert cli.main(["info", str(tmp_path / "f.h5")]) == 0
    said = capsys.readouterr().out
    assert "7 of 8 done samples have them; 1 of their 14 rows are not finite" in said
