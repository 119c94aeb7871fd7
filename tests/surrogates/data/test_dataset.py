"""A dataset in memory: it comes back from its file, and names what is wrong with it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import assert_same, cut, made, made_classes, sound

from surrogates import data
from surrogates.data import PARTS, Dataset, Split, Status, is_dataset, opened, read_info
from surrogates.errors import InputError


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
