from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from surrogates.data import SOLVER, Dataset, Info, Status, append, as_dataset, assign_split, opened
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
        assert info.split == "joined" and not info.tangents and found.dC_dY is None
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
