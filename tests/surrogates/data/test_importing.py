"""Imported samples: what the dataset says, what is left out, masked or noted."""

from __future__ import annotations

import re

import numpy as np
import pytest
from imports import write_npz, written
from places import PUBLISHED

from surrogates.data import PARTS, Dataset, Split, Status, as_dataset, import_file
from surrogates.errors import InputError


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


def test_masked_arrays_are_refused(arrays):
    Y, C = arrays
    given = {"problem": "p", "task": "regression", "split": "1/0/0", "seed": 0}
    names = {"y_names": [f"y{i}" for i in range(Y.shape[1])], "c_names": ["c"] * C.shape[1]}
    as_dataset(Y, C, **given, **names)
    for one, other, what in ((np.ma.masked_less(Y, 0), C, "Y"), (Y, np.ma.masked_less(C, 0), "C")):
        with pytest.raises(InputError, match=f"{what} is a masked array; leave its masked values"):
            as_dataset(one, other, **given, **names)


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


def test_logarithms_of_inputs_are_proposed_where_they_are_drawn_so(tmp_path):
    even = (np.arange(1000) + 0.5) / 1000
    np.savez(tmp_path / "a.npz", Y=np.c_[even, 10 ** (8 * even)], C=even[:, None])
    notes: list[str] = []
    import_file(tmp_path / "a.npz", samples="rows", note=notes.append)
    assert notes == [
        "y1 spans 7.2 decades: train --log-inputs y1 learns its logarithm",
        "c0 spans 3.3 decades: train --log c0 learns its logarithm",
    ]


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published data are not beside the checkout")
def test_published_data():
    dataset = import_file(PUBLISHED, split="400/200/200")
    assert dataset.Y.shape == (800, 55) and dataset.C.shape == (800, 72)
    np.testing.assert_allclose(dataset.Y.sum(axis=1), 1, atol=1e-6)  # single precision
    assert 10 < dataset.C.min() and dataset.C.max() < 68
    assert dataset.info.problem == "CDR_Data"
