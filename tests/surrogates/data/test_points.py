"""Points in files come back to the bit; columns are matched by name; mistakes are one line."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from surrogates.data.points import digest_of, read_points, write_points
from surrogates.errors import InputError

NAMES = ("depth", "volume", "u(0, 1)")
Y = np.random.default_rng(0).normal(size=(7, 3)) * 10.0 ** np.arange(-3, 4, 3)


@pytest.mark.parametrize("ending", ["csv", "npy", "h5"])
def test_points_come_back_to_the_bit(tmp_path, ending):
    path = tmp_path / f"next.{ending}"
    write_points(path, Y[:, ::-1].T.T, NAMES[::-1])
    if ending == "npy":
        assert read_points(path, NAMES).tobytes() == np.ascontiguousarray(Y[:, ::-1]).tobytes()
        return
    for names, expected in ((NAMES, Y), (NAMES[::-1], Y[:, ::-1])):
        assert read_points(path, names).tobytes() == np.ascontiguousarray(expected).tobytes()


def test_a_dataset_is_points_by_its_y(dataset, tmp_path):
    dataset.write(tmp_path / "set.h5")
    names = dataset.info.y_names
    assert np.array_equal(read_points(tmp_path / "set.h5", names), dataset.Y)
    assert np.array_equal(read_points(tmp_path / "set.h5", names[::-1]), dataset.Y[:, ::-1])


def test_the_digest_is_of_the_numbers_alone(tmp_path):
    for ending in ("csv", "h5"):
        write_points(tmp_path / f"next.{ending}", Y, NAMES)
        assert digest_of(read_points(tmp_path / f"next.{ending}", NAMES)) == digest_of(Y)
    others = (Y[:6], Y[:, ::-1], Y.reshape(3, 7), np.nextafter(Y, 9))
    assert len({digest_of(Y), *map(digest_of, others)}) == 5


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (("depth", "volume", "width"), r"must have one column u\(0, 1\); it has"),
        (("depth", "volume"), "has 2 names for 3 columns"),
        (("depth", "depth", "volume"), r"must have one column depth, u\(0, 1\); it has"),
    ],
)
def test_other_columns_are_refused(tmp_path, there, message):
    with h5py.File(tmp_path / "next.h5", "w") as file:
        file["Y"] = Y
        file["Y"].attrs["names"] = list(there)
    with pytest.raises(InputError, match=message):
        read_points(tmp_path / "next.h5", NAMES)


def test_no_points_are_refused(tmp_path):
    np.save(tmp_path / "none.npy", np.empty((0, 3)))
    with pytest.raises(InputError, match="holds no points"):
        read_points(tmp_path / "none.npy", NAMES)
