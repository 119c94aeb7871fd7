"""Imported classes: labels, one-hot rows and probabilities."""

from __future__ import annotations

import re

import h5py
import numpy as np
import pytest
from imports import WRITERS, written

from surrogates.data import PARTS, Status, import_file
from surrogates.errors import InputError

LABELS = np.array([2, 0, 1, 1, 0, 2, 2, 1, 0, 0])


def one_hot(labels):
    return np.eye(labels.max() + 1)[labels]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("samples", ["rows", "columns"])
@pytest.mark.parametrize("shape", [(10,), (10, 1), (1, 10), "one-hot"])
def test_labels_and_one_hot_rows_are_the_same_classes(tmp_path, arrays, name, samples, shape):
    Y = np.ascontiguousarray(arrays[0][:, :2])
    C = one_hot(LABELS) if shape == "one-hot" else LABELS.astype(np.uint8).reshape(shape)
    if samples == "columns" and shape == "one-hot":
        C = C.T
    WRITERS[name](tmp_path / name, Y if samples == "rows" else Y.T, C)
    for asked in ("auto", samples):
        dataset = import_file(tmp_path / name, task="classification", samples=asked)
        assert np.array_equal(dataset.Y, Y) and np.array_equal(dataset.C, one_hot(LABELS))
        assert dataset.Y.flags.c_contiguous and dataset.C.dtype == np.float64
        info = dataset.info
        assert info.task == "classification" and info.c_names == ("class 0", "class 1", "class 2")
        assert info.c_units == ("1",) * 3 and not info.coordinates
        assert dataset.problems() == []


def test_probabilities_come_as_they_are(tmp_path, arrays):
    C = np.array([[0.25, 0.75], [1, 0], [0, 1], [0.5, 0.5], [1 / 3, 2 / 3]])
    np.savez(tmp_path / "a.npz", Y=arrays[0][:5], C=C.astype(np.float32))
    dataset = import_file(tmp_path / "a.npz", task="classification", split="5/0/0")
    np.testing.assert_array_equal(dataset.C, C.astype(np.float32))
    assert dataset.problems() == []


def test_csv_of_labels_or_one_hot_columns_which_name_the_classes(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("y0,c\n" + "".join(f"{i / 7},{label}\n" for i, label in enumerate(LABELS)))
    dataset = import_file(path, task="classification")
    assert np.array_equal(dataset.C, one_hot(LABELS))
    assert dataset.info.c_names == ("class 0", "class 1", "class 2")
    lines = (f"{i / 7},{a:g},{b:g},{c:g}\n" for i, (a, b, c) in enumerate(one_hot(LABELS)))
    path.write_text("y0,c_oats,c_corn,c_hay\n" + "".join(lines))
    dataset = import_file(path, task="classification")
    assert np.array_equal(dataset.C, one_hot(LABELS))
    assert dataset.info.c_names == ("c_oats", "c_corn", "c_hay")


def test_labels_in_a_table_name_the_classes(tmp_path):
    crops = ["oats", "hay pale", "corn"]
    for labels, names in (
        ([crops[i] for i in LABELS], ("corn", "hay pale", "oats")),
        ([("yes", "no", "no")[i] for i in LABELS], ("no", "yes")),
        ([(3, -1, 7)[i] for i in LABELS], ("class -1", "class 3", "class 7")),
        ([1 + i for i in LABELS], ("class 1", "class 2", "class 3")),
    ):
        rows = [[i / 7, -i, label] for i, label in enumerate(labels)]
        path = written(tmp_path / "a.csv", ["a", "b", "crop"], rows)
        for options in ({"inputs": "a,b"}, {"outputs": "crop"}):
            dataset = import_file(path, task="classification", **options)
            assert dataset.info.c_names == names and dataset.Y.shape == (10, 2)
            found = [names[k] for k in dataset.C.argmax(axis=1)]
            assert found == [x if isinstance(x, str) else f"class {x}" for x in labels]
            assert dataset.problems() == []
    with pytest.raises(InputError, match="row 2, column 3: 'oats' is not a finite number"):
        import_file(written(path, ["a", "b", "c"], [[1, 2, "oats"]] * 3), inputs="2")


def test_labels_that_are_texts_in_an_array_or_a_file_of_their_own(tmp_path, arrays):
    labels = np.array([["oats", "corn", ""][i] for i in LABELS])
    np.savez(tmp_path / "a.npz", Y=arrays[0], C=labels)
    np.savez(tmp_path / "row.npz", Y=arrays[0], C=labels[None].astype("S"))
    np.save(tmp_path / "Y.npy", arrays[0])
    table = written(tmp_path / "crops.csv", ["crop"], [[label or "NA"] for label in labels])
    for paths in (["a.npz"], ["row.npz"], ["Y.npy", table]):
        dataset = import_file(*(tmp_path / path for path in paths), task="classification")
        assert dataset.info.c_names == ("corn", "oats")
        assert np.array_equal(dataset.status == Status.DONE, LABELS < 2)
        done = LABELS < 2
        assert np.array_equal(dataset.C[done], np.eye(2)[1 - LABELS[done]])
    with pytest.raises(InputError, match="C holds text, not real numbers"):
        import_file(tmp_path / "a.npz")


def test_samples_without_a_class_are_kept_as_failed(tmp_path, arrays):
    labels = [["oats", "corn", ""][i] for i in LABELS]
    path = written(tmp_path / "a.csv", ["y", "c"], [[i, x] for i, x in enumerate(labels)])
    known = LABELS < 2
    C = np.where(known[:, None], np.eye(3)[LABELS][:, :2], np.nan)
    for form in (path, tmp_path / "labels.npz", tmp_path / "rows.npz"):
        np.savez(tmp_path / "labels.npz", Y=arrays[0], C=np.where(known, LABELS, np.nan))
        np.savez(tmp_path / "rows.npz", Y=arrays[0], C=C)
        notes: list[str] = []
        dataset = import_file(form, task="classification", note=notes.append)
        assert notes == ["3 samples of 10 have no class and are kept as failed: 0, 5, 6"]
        assert np.array_equal(dataset.status == Status.DONE, known)
        expected = C[:, ::-1] if form == path else C  # by name
        np.testing.assert_array_equal(dataset.C, expected)


def with_label(label, at=4):
    labels = LABELS.astype(float)
    labels[at] = label
    return labels


def with_row(*row):
    C = one_hot(LABELS)
    C[6] = row
    return C


@pytest.mark.parametrize(
    ("C", "message"),
    [
        (
            with_label(1.5),
            "a.npz: C of sample 5 is 1.5; labels are integers from 0 (samples counted",
        ),
        (with_label(-1), "C of sample 5 is -1; labels are integers from 0"),
        (
            LABELS + 1,
            "from 1 to 3, but no sample of class 0; labels are integers from 0: subtract 1",
        ),
        (LABELS + 2, "from 2 to 4, but no sample of class 0; labels are integers from 0"),
        (2 * LABELS, "labels from 0 to 4, but no sample of class 1"),
        (with_label(1e12), "labels from 0 to 1e+12, but no sample of class 3"),
        (0 * LABELS, "there is a single class; a classifier needs two"),
        (with_row(0.5, 0.6, 0), "a.npz: C of sample 7 is not a set of class probabilities"),
        (
            with_row(1.5, -0.5, 0),
            "C of sample 7 is not a set of class probabilities: none is negative",
        ),
        (with_row(0, 0, 0), "their sum is 1 (samples counted from 1; 1 such samples)"),
        (np.eye(4)[LABELS], "there are no training samples of 'class 3'"),
    ],
)
def test_targets_that_are_no_classes_are_one_clear_line(tmp_path, arrays, C, message):
    np.savez(tmp_path / "a.npz", Y=arrays[0][:, :2], C=C)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        import_file(tmp_path / "a.npz", task="classification", split="1/0/0")
    assert len(str(caught.value).splitlines()) == 1
    assert ("subtract 1" in str(caught.value)) == ("subtract 1" in message)


def test_classes_in_a_csv_that_are_none_are_one_clear_line(tmp_path):
    for text, message in (
        ("y0,c\n1,1\n2,corn\n3,0\n", "row 3, column 2: 'corn' is not a finite number among"),
        ("y0,c\n1,1\n2,0.5\n3,0\n", "a.csv: C of sample 2 is 0.5; labels are integers from 0"),
        ("y0,c,c\n1,1,0\n2,0,1\n", "a.csv: the columns 2 and 3 have one name, 'c'"),
        ("y0,c\n1,\n2,NA\n3,\n", "a.csv: no sample has a class"),
    ):
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(InputError, match=re.escape(message)):
            import_file(tmp_path / "a.csv", task="classification")


def test_a_class_without_training_samples_is_refused_unless_nothing_is_for_training(
    tmp_path, arrays
):
    np.savez(tmp_path / "a.npz", Y=arrays[0], C=np.arange(10) // 9)
    options = {"task": "classification", "split": "5/4/1"}
    seeds = [seed for seed in range(20) if not has_training_samples(tmp_path, options, seed)]
    assert 0 < len(seeds) < 20
    dataset = import_file(tmp_path / "a.npz", task="classification", split="0/0/1", seed=seeds[0])
    assert dataset.size("test") == 10


def has_training_samples(folder, options, seed):
    """Whether class 1 has any, as the import says by its refusal."""
    try:
        dataset = import_file(folder / "a.npz", seed=seed, **options)
    except InputError as error:
        assert str(error).startswith("there are no training samples of 'class 1'; give another")
        return False
    assert dataset.part("train")[1][:, 1].sum() == 1
    return True


def test_a_balanced_split_of_an_import(tmp_path):
    labels = np.repeat([0, 1], [30, 15])
    np.savez(tmp_path / "a.npz", Y=np.arange(45.0), C=labels)
    dataset = import_file(tmp_path / "a.npz", task="classification", split="balanced:8/10/0.25")
    counts = [dataset.part(part)[1].sum(axis=0).tolist() for part in PARTS]
    assert counts == [[6, 4], [22, 10], [2, 1]] and dataset.info.split == "balanced:8/10/0.25"
    with pytest.raises(InputError, match="the split 'balanced' is for a classification"):
        import_file(tmp_path / "a.npz", samples="rows", split="balanced")
    np.savez(tmp_path / "a.npz", Y=np.arange(40.0), C=labels[:40])
    message = "the split balanced needs 11 samples of each class; 'class 1' has 10"
    with pytest.raises(InputError, match=message):
        import_file(tmp_path / "a.npz", task="classification", split="balanced")


def test_labels_that_are_no_text_and_half_a_sparse_matrix_are_one_clear_line(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, Y=np.random.default_rng(0).random((4, 3)), C=np.array([b"\xe4", b"b"] * 2))
    with pytest.raises(
        InputError, match=r"a.npz: C has the label b'\\xe4', which is not UTF-8 text"
    ):
        import_file(path, task="classification")
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["C"], file["Y/data"], file["Y/jc"] = np.ones((1, 3)), [1.0], [0, 1]
        file["Y"].attrs.update({"MATLAB_class": b"double", "MATLAB_sparse": 3})
    with pytest.raises(InputError, match="a.mat: Y is a sparse matrix without its ir"):
        import_file(tmp_path / "a.mat")
