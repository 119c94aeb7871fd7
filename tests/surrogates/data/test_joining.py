"""Shards put together (merge), and several sets joined to one (append)."""

from __future__ import annotations

import dataclasses
import os
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import assert_same, cut, made, made_classes, maker, sound

from surrogates.data import (
    PARTS,
    SOLVER,
    Dataset,
    Info,
    Split,
    Status,
    append,
    as_dataset,
    assign_split,
    merge,
    opened,
)
from surrogates.data import stored as stored_module
from surrogates.errors import InputError


def solved(n, seed, order=(0, 1, 2), **changes):
    """Samples of a solver with tangents, the last failed; ``order`` is that of the observables."""
    rng = np.random.default_rng(seed)
    Y, C = rng.random((n, 2)), rng.random((n, 3))
    status = np.full(n, Status.DONE, np.uint8)
    status[-1], C[-1] = Status.FAILED, np.nan
    fields = {
        "problem": "toy",
        "config": "[mesh]\nn = 3\n",
        "design": "uniform",
        "seed": seed,
        "split": "0.5/0.25/0.25",
        "total": n,
        "tangents": True,
        "y_names": ("a", "b"),
        "y_units": ("m", "1"),
        "y_lower": np.array([0.0, -seed]),
        "y_upper": np.array([1.0 + seed, 1.0]),
        "c_names": tuple(np.array(["u", "v", "w"])[list(order)]),
        "c_units": tuple(np.array(["V", "V", "A"])[list(order)]),
        "coordinates": {"time": np.array([0.1, 0.2, 0.3])[list(order)]},
        "mesh": "3 cells",
        "versions": {"numpy": "1"},
        "command": f"surrogates generate toy --seed {seed}",
        "created": "2026-01-01T00:00:00+00:00",
        "revision": "abc",
    }
    return Dataset(
        info=Info(**{**fields, **changes}),
        Y=Y,
        C=C[:, order],
        status=status,
        split=assign_split("0.5/0.25/0.25", n, seed),
        failure=[*[""] * (n - 1), "diverged"],
        solver=np.array([(seed, 1e-9, 0.1)] * n, SOLVER),
        dC_dY=rng.random((n, 3, 2)),
    )


def joined(folder, *sets, out="out.h5"):
    paths = [folder / f"{i}.h5" for i in range(len(sets))]
    for path, one in zip(paths, sets, strict=True):
        one.write(path)
    found = append(paths, folder / out)
    return found, Dataset.read(folder / out)


def test_samples_keep_all_that_they_have(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_module, "WINDOW_BYTES", 100)
    one, other = solved(7, 1), solved(5, 2, order=(2, 0, 1))
    result, found = joined(tmp_path, one, other)
    back = [1, 2, 0]
    for name in ("Y", "status", "split", "solver"):
        both = np.concatenate([getattr(one, name), getattr(other, name)])
        np.testing.assert_array_equal(getattr(found, name), both)
    np.testing.assert_array_equal(found.C, np.r_[one.C, other.C[:, back]])
    np.testing.assert_array_equal(found.dC_dY, np.r_[one.dC_dY, other.dC_dY[:, back]])
    assert list(found.failure) == [*one.failure, *other.failure]
    info = found.info
    assert result.info.total == info.total == 12 and info.first == 0 and result.repeated == ()
    assert (info.design, info.split, info.mesh) == ("joined", "0.5/0.25/0.25", "3 cells")
    assert info.config == one.info.config and info.tangents
    assert info.y_lower.tolist() == [0, -2] and info.y_upper.tolist() == [3, 1]
    assert info.c_units == ("V", "V", "A") and info.coordinates["time"].tolist() == [0.1, 0.2, 0.3]
    assert [maker["command"][-1] for maker in info.makers] == ["1", "2"]
    assert found.made_by.tolist() == [0] * 7 + [1] * 5
    assert found.problems() == ["2 samples failed, first 6 (diverged)"]


def test_a_generated_and_an_imported_set(tmp_path):
    one = solved(6, 1, y_units=("1", "1"), c_units=("1",) * 3)
    Y, C = np.random.default_rng(3).random((8, 2)), np.random.default_rng(4).random((8, 3))
    C[2, 1] = np.nan
    names = {"problem": "mine", "task": "regression", "seed": 0}
    other = as_dataset(
        Y, C, y_names=["b", "a"], c_names=["w", "v", "u"], split="4/2/2", missing="mask", **names
    )
    for sets, start in (((one, other), 6), ((other, one), 0)):
        _, found = joined(tmp_path, *sets, out=f"{start}.h5")
        rows = slice(start, start + 8)
        turned = found.info.y_names == ("a", "b")
        np.testing.assert_array_equal(found.Y[rows], Y[:, ::-1] if turned else Y)
        np.testing.assert_array_equal(found.C[rows], C[:, ::-1] if turned else C)
        info = found.info
        assert (info.problem, info.config, info.missing) == ("toy", "", "mask")
        assert info.split == "joined" and info.tangents
        # Samples of the set without derivatives have none, and that is no fault.
        assert np.isnan(found.dC_dY[rows]).all()
        rest = np.delete(found.dC_dY, np.arange(14)[rows], axis=0)
        assert np.array_equal(rest, one.dC_dY if turned else one.dC_dY[:, ::-1, ::-1])
        failed = 5 if turned else 13
        assert found.problems() == [f"1 sample failed, first {failed} (diverged)"]
        times = dict(zip(info.c_names, info.coordinates["time"], strict=True))
        assert times == {"u": 0.1, "v": 0.2, "w": 0.3}
        (tmp_path / f"{start}.h5").unlink()


def test_the_same_sample_twice_is_reported_and_kept(tmp_path):
    one, other = solved(7, 1), solved(5, 2, order=(2, 0, 1))
    other.Y[3], other.C[3] = one.Y[4], one.C[4][[2, 0, 1]]
    other.Y[4] = one.Y[6]  # both failed: no sample at all
    result, found = joined(tmp_path, one, other)
    assert result.repeated == ((10, 4),) and len(found.Y) == 12
    again = append([tmp_path / "0.h5", tmp_path / "0.h5"], tmp_path / "twice.h5")
    assert again.repeated == tuple((7 + i, i) for i in range(6))
    with opened(tmp_path / "twice.h5") as stored:
        assert len(stored) == 14 and len(stored.info.makers) == 1


def test_classes_are_matched_by_name(tmp_path):
    def classes(names, seed):
        rng = np.random.default_rng(seed)
        C = np.eye(len(names))[np.arange(12) % len(names)]
        kinds = {"problem": "crops", "task": "classification", "split": "1/0/0", "seed": 0}
        return as_dataset(rng.random((12, 2)), C, y_names=["a", "b"], c_names=names, **kinds)

    one, other = classes(["corn", "oats"], 1), classes(["oats", "corn"], 2)
    _, found = joined(tmp_path, one, other)
    assert found.info.c_names == ("corn", "oats") and found.problems() == []
    np.testing.assert_array_equal(found.C, np.r_[one.C, other.C[:, ::-1]])
    (tmp_path / "out.h5").unlink()
    with pytest.raises(InputError, match="1.h5 and .*0.h5 have not the same classes: hay"):
        joined(tmp_path, one, classes(["oats", "corn", "hay"], 2))
    with pytest.raises(InputError, match="classification and regression cannot be joined"):
        joined(tmp_path, solved(6, 1), other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_names": ("a", "c")}, "1.h5 and {}/0.h5 have not the same parameters: b, c"),
        ({"c_names": ("u", "v", "x")}, "have not the same observables: w, x"),
        ({"c_names": ("u", "v", "v")}, "have not the same observables: w"),
        ({"y_units": ("km", "1")}, "have other units: a is in 'km' and 'm'"),
        ({"coordinates": {"time": np.arange(3.0)}}, "have other coordinates time"),
        (
            {"config": "[mesh]\nn = 4\n"},
            "0.h5 are of different problems: mesh.n is 4 there and 3 here",
        ),
        ({"problem": "other"}, "are of different problems: problem is 'other' and 'toy'"),
        (
            {"source": "12ab"},
            "different problems: the file of the problem has SHA-256 12ab there and none here",
        ),
        ({"inputs": {"k.py": "12ab"}}, "problems: k.py has SHA-256 12ab there and none here"),
        ({"total": 9}, "1.h5 has 5 of 9 samples: a shard; merge it with the others first"),
    ],
)
def test_sets_that_do_not_fit_are_one_clear_line(tmp_path, changes, message):
    with pytest.raises(InputError, match=re.escape(message.format(tmp_path))) as caught:
        joined(tmp_path, solved(7, 1), solved(5, 2, **changes))
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out.h5").exists()


def test_fewer_than_two_sets_or_a_maker_that_is_not_named(tmp_path):
    with pytest.raises(InputError, match="name at least two datasets; got 1"):
        joined(tmp_path, solved(7, 1))
    bad = dataclasses.replace(solved(5, 2), made_by=np.full(5, 3, np.uint16))
    with pytest.raises(InputError, match="1.h5 is not a whole dataset file: index 3"):
        joined(tmp_path, solved(7, 1), bad)
    assert not (tmp_path / "out.h5").exists()


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


def test_notes_say_where_the_samples_of_each_set_come_from(tmp_path):
    config = '[sampling]\ndesign = "box"\n'
    drawn = solved(5, 1, config=config, design="box", notes=("coarse",))
    given = solved(
        4,
        2,
        config=config.replace("box", "sobol"),  # which says nothing about c at a y
        design="points",
        inputs={"--points": "1a" * 32},
        notes=("coarse", "1 of 4 points lies outside"),
        split="0.5/0.25/0.25 of 2 + 0.5/0.25/0.25 of 2",
    )
    found, _ = joined(tmp_path, given, drawn, out="both.h5")
    expected = (
        "joined: 4 samples of given points, SHA-256 1a1a1a1a1a1a",
        "coarse",
        "1 of 4 points lies outside",
        "joined: 5 samples of box, seed 1",
    )
    assert found.info.notes == expected
    assert (found.info.inputs, found.info.split) == ({}, "joined")
    both, third = Dataset.read(tmp_path / "both.h5"), solved(3, 3, config=config, design="box")
    last, _ = joined(tmp_path, both, third)
    assert last.info.notes == (*expected, "joined: 3 samples of box, seed 3")
    assert last.info.config == given.info.config
