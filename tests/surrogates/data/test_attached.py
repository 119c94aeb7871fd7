"""Derivatives from callers and from files of other programs."""

import logging
import re

import h5py
import numpy as np
import pytest
import scipy.io

import surrogates
from surrogates.data import import_file
from surrogates.data.from_arrays import from_arrays
from surrogates.errors import InputError

N, N_C, N_Y, R = 12, 2, 3, 4
RNG = np.random.default_rng(5)
Y, C = RNG.random((N, N_Y)), RNG.random((N, N_C))
J, V = RNG.random((N, N_C, N_Y)), RNG.random((N, R, N_Y))
T = J @ V.transpose(0, 2, 1)
WHOLE, ALONG = {"dC_dY": J}, {"directions": V, "dC_dV": T}


def test_arrays_become_a_dataset_with_derivatives():
    whole = from_arrays(Y, C, **WHOLE)
    assert whole.info.tangents and np.array_equal(whole.dC_dY, J)
    assert np.array_equal(whole.derivatives().T, J)
    along = from_arrays(Y, C, directions=V.tolist(), dC_dV=T)
    assert along.info.directions == R and not along.info.tangents
    assert np.array_equal(along.derivatives().V, V) and np.array_equal(along.derivatives().T, T)
    assert whole.digest != from_arrays(Y, C).digest


def test_the_arrays_of_the_caller_are_not_changed():
    mine = J.copy()
    mine[3, 0, 1] = np.nan
    before = mine.copy()
    dataset = from_arrays(Y, C, dC_dY=mine)
    assert np.array_equal(mine, before, equal_nan=True)
    assert np.isnan(dataset.dC_dY[3, :, 1]).all() and not np.isnan(mine[3, 1, 1])


def test_axes_of_length_one_may_be_left_out():
    gradient = from_arrays(Y, C[:, 0], dC_dY=J[:, 0])
    assert np.array_equal(gradient.dC_dY, J[:, :1])
    one = from_arrays(Y, C, directions=V[:, 0], dC_dV=T[:, :, 0])
    assert one.info.directions == 1 and np.array_equal(one.dC_dV, T[:, :, :1])
    of_one_y = from_arrays(Y[:, 0], C, dC_dY=J[:, :, 0])
    assert np.array_equal(of_one_y.dC_dY, J[:, :, :1])
    of_one_y = from_arrays(Y[:, 0], C, directions=V[:, :, 0], dC_dV=T)
    assert of_one_y.directions.shape == (N, R, 1)


def test_rows_that_are_not_finite_are_left_out_and_counted(caplog):
    bad, holes = J.copy(), C.copy()
    bad[1, 0, 0] = np.nan
    bad[4] = np.inf
    holes[7, 1] = np.nan  # a failed sample: its derivatives are not counted
    with caplog.at_level(logging.WARNING):
        dataset = from_arrays(Y, holes, dC_dY=bad)
    assert caplog.messages == [
        "4 of 33 rows of dC_dY are not finite and are left out, in 2 of 11 samples"
    ]
    there = np.ones((N, N_Y), dtype=bool)
    there[1, 0] = False
    there[[4, 7]] = False
    assert np.array_equal(dataset.derivatives().there, there)
    assert not np.isinf(dataset.dC_dY).any()
    assert dataset.problems() == ["1 sample failed, first 7 (no finite c in the imported file)"]
    caplog.clear()
    wild = V.copy()
    wild[2, 1, 0] = np.nan
    dataset = from_arrays(Y, C, directions=wild, dC_dV=T)
    assert caplog.messages == [
        "1 of 48 rows of dC_dV are not finite and are left out, in 1 of 12 samples"
    ]
    assert np.argwhere(~dataset.derivatives().there).tolist() == [[2, 1]]


def test_a_direction_of_size_zero_is_left_out_and_counted(caplog):
    still = V.copy()
    still[3, 1] = 0
    with caplog.at_level(logging.WARNING):
        dataset = from_arrays(Y, C, directions=still, dC_dV=T)
    assert caplog.messages == [
        "1 of 48 rows of dC_dV are not finite or along a direction of size 0, and are left out, "
        "in 1 of 12 samples"
    ]
    assert np.argwhere(~dataset.derivatives().there).tolist() == [[3, 1]]
    with pytest.raises(InputError, match="no finite derivative along a direction"):
        from_arrays(Y, C, directions=0 * V, dC_dV=0 * T)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"dC_dY": J[:5]}, "dC_dY must be of shape (n, n_c, n_y) = (12, 2, 3); got (5, 2, 3)"),
        ({"dC_dY": J.transpose(0, 2, 1)}, "= (12, 2, 3); got (12, 3, 2)"),
        ({"dC_dY": J[0]}, "= (12, 2, 3); got (2, 3)"),
        ({"dC_dY": J[..., None]}, "= (12, 2, 3); got (12, 2, 3, 1)"),
        ({"directions": V}, "give dC_dY, or directions with dC_dV; got directions"),
        ({"dC_dV": T}, "give dC_dY, or directions with dC_dV; got dC_dV"),
        ({**WHOLE, **ALONG}, "got dC_dY and directions and dC_dV"),
        ({**ALONG, "dC_dV": T[:, :, :2]}, "dC_dV must be of shape (n, n_c, r) = (12, 2, 4); got"),
        ({**ALONG, "directions": V[:, :, :2]}, "directions must be of shape (n, r, n_y) = (12, 4,"),
        ({"dC_dY": J * np.nan}, "dC_dY has no finite derivative of a sample with a finite c"),
        ({"dC_dY": J * 1j}, "expected real numbers in dC_dY"),
        ({"dC_dY": np.ma.masked_less(J, 0.5)}, "dC_dY is a masked array"),
        ({"dC_dY": "none"}, "in dC_dY"),
    ],
)
def test_derivatives_that_do_not_fit_are_one_line(given, reason):
    with pytest.raises(InputError, match=re.escape(reason)) as error:
        from_arrays(Y, C, **given)
    assert "\n" not in str(error.value)


def test_classes_have_no_derivatives():
    with pytest.raises(InputError, match="derivatives are of a regression; leave out dC_dY"):
        from_arrays(Y, labels=["a", "b"] * 6, **WHOLE)


# Files


def _npz(path, **arrays):
    np.savez(path.with_suffix(".npz"), **arrays)
    return path.with_suffix(".npz")


def _mat(path, **arrays):
    scipy.io.savemat(path.with_suffix(".mat"), arrays)
    return path.with_suffix(".mat")


def _h5(path, **arrays):
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path.with_suffix(".h5")


def _turned(arrays):
    """Return arrays as MATLAB's users keep them: samples, and vectors, are columns."""
    found = {name: np.moveaxis(array, 0, -1) for name, array in arrays.items()}
    if "directions" in found:
        found["directions"] = arrays["directions"].transpose(2, 1, 0)
    return found


@pytest.mark.parametrize("kind", [WHOLE, ALONG], ids=["whole", "along"])
@pytest.mark.parametrize("save", [_npz, _mat, _h5])
@pytest.mark.parametrize("turned", [False, True])
def test_files_of_arrays_may_hold_derivatives(tmp_path, kind, save, turned):
    arrays = {"Y": Y, "C": C, **kind}
    path = save(tmp_path / "f", **(_turned(arrays) if turned else arrays))
    found = import_file(path, samples="columns" if turned else "rows", exclude="0,5-6")
    rows = np.delete(np.arange(N), [0, 5, 6])
    expected = from_arrays(Y[rows], C[rows], **{name: x[rows] for name, x in kind.items()})
    for name in ("Y", "C", *kind):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    found.write(tmp_path / "set.h5")
    assert surrogates.Dataset.read(tmp_path / "set.h5").digest == found.digest


def test_the_import_says_how_many_rows_are_left_out(tmp_path):
    bad = J.copy()
    bad[1, 0, 0] = np.nan
    path, said = _npz(tmp_path / "f", Y=Y, C=C, dC_dY=bad), []
    import_file(path, note=said.append)
    assert said == ["1 of 36 rows of dC_dY are not finite and are left out, in 1 of 12 samples"]


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        (
            {"dC_dY": J[:5]},
            "dC_dY is 5 x 2 x 3; expected 12 samples along the first axis, as in Y: (n, n_c,",
        ),
        (
            {"dC_dY": np.moveaxis(J, 0, -1)},
            "dC_dY is 2 x 3 x 12; expected 12 samples along the",
        ),
        ({"dC_dY": J.transpose(0, 2, 1)}, "dC_dY must be of shape (n, n_c, n_y) = (12, 2, 3); got"),
        ({"dC_dY": np.full((N, N_C, N_Y), "a")}, "dC_dY holds no real numbers"),
        ({"dC_dY": np.float64(1)}, "expected 12 samples along the first axis"),
        ({"directions": V}, "give dC_dY, or directions with dC_dV; got directions"),
    ],
)
def test_files_whose_derivatives_do_not_fit_are_one_line(tmp_path, arrays, reason):
    path = _npz(tmp_path / "f", Y=Y, C=C, **arrays)
    with pytest.raises(InputError, match=re.escape(reason)) as error:
        import_file(path, samples="rows")
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_turned_files_say_their_own_shape(tmp_path):
    path = _npz(tmp_path / "f", Y=Y.T, C=C.T, directions=V, dC_dV=np.moveaxis(T, 0, -1))
    with pytest.raises(InputError, match=re.escape("along the last axis, as in Y: (n_y, r, n)")):
        import_file(path, samples="columns")
