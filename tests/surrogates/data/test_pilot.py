"""What a pilot set shows: functionals of c, and directions of y."""

import dataclasses

import numpy as np
import pytest
from samples import made_classes

from surrogates.data import Dataset
from surrogates.data.from_arrays import from_arrays
from surrogates.data.pilot import active_directions, functionals, scales
from surrogates.errors import InputError

N, N_C, N_Y = 60, 5, 4
RNG = np.random.default_rng(11)
LOWER, UPPER = np.array([0.0, -1, 10, 0]), np.array([1.0, 1, 40, 0.01])
RANGES = UPPER - LOWER
A = RNG.standard_normal((N_C, 2))
B = np.linalg.qr(RNG.standard_normal((N_Y, 2)))[0].T  # rows are orthonormal


def ridge(n=N, r=None, units=("V",) * N_C, factors=1.0):
    """A set of c = factors A g(B x) with x = y / ranges: c changes in two directions alone."""
    X = RNG.random((n, N_Y))
    inner = X @ B.T
    C = np.column_stack([np.sin(3 * inner[:, 0]), inner[:, 1] ** 2]) @ A.T * factors
    slopes = np.stack([3 * np.cos(3 * inner[:, 0]), 2 * inner[:, 1]], axis=1)
    J = (A * slopes[:, None]) @ B * np.reshape(factors, (-1, 1)) / RANGES
    given = {"dC_dY": J}
    if r is not None:
        U = np.stack([np.linalg.qr(RNG.standard_normal((N_Y, r)))[0].T for _ in range(n)])
        given = {"directions": U * RANGES, "dC_dV": J @ (U * RANGES).transpose(0, 2, 1)}
    return from_arrays(LOWER + RANGES * X, C, bounds=(LOWER, UPPER), c_units=units, **given)


def of(function, dataset, folder, r):
    dataset.write(folder / "pilot.h5")
    return function(folder / "pilot.h5", r)


def test_functionals_are_the_leading_singular_vectors_of_scaled_outputs(tmp_path):
    dataset = ridge()
    W, S, info = of(functionals, dataset, tmp_path, 2)
    centred = dataset.C - dataset.C.mean(axis=0)
    assert np.allclose(S, np.sqrt((centred**2).mean()))  # one unit: one scale
    assert np.allclose((W * S) @ (W * S).T, np.eye(2), atol=1e-14)
    energies = ((centred @ W.T) ** 2).mean(axis=0)
    assert energies[0] > energies[1]
    assert energies.sum() == pytest.approx(N_C, rel=1e-12)  # all of it: c has two dimensions
    assert info.c_names == dataset.info.c_names
    # The best single functional leaves less than any other direction.
    others = RNG.standard_normal((1000, N_C)) / S
    others /= np.linalg.norm(others * S, axis=1)[:, None]
    assert ((centred @ others.T) ** 2).mean(axis=0).max() <= energies[0]


def test_outputs_of_different_units_have_scales_of_their_own(tmp_path):
    factors = np.array([1.0, 1, 1e6, 1e6, 1e-5])
    units = ("V", "V", "Pa", "Pa", "1")
    dataset = ridge(units=units, factors=factors)
    _, S, _ = of(functionals, dataset, tmp_path, 2)
    spread = dataset.C.std(axis=0)
    for members in ([0, 1], [2, 3], [4]):
        assert np.allclose(S[members], np.sqrt((spread[members] ** 2).mean()))
    alone = scales(np.array([[1.0, 2, 0], [1, 3, 0]]), ("1", "1", "1"))
    assert alone.tolist() == [1.0, 0.5, 1.0]  # constants have their size, and zero one


def test_the_active_subspace_of_a_ridge_function_is_found(tmp_path):
    V, info = of(active_directions, ridge(), tmp_path, 2)
    U = V / RANGES
    assert np.allclose(U @ U.T, np.eye(2), atol=1e-13)
    assert np.allclose(U.T @ U, B.T @ B, atol=1e-10)  # the span of B
    assert info.y_names == ("y0", "y1", "y2", "y3")


def test_random_directions_show_the_same_subspace(tmp_path):
    # The mean of P J^T J P has the eigenvectors of J^T J in expectation alone.
    errors = []
    for n in (200, 20000):
        V, _ = of(active_directions, ridge(n, r=2), tmp_path, 2)
        U = V / RANGES
        errors.append(np.linalg.norm(U.T @ U - B.T @ B))
    assert errors[1] < 0.05
    assert errors[1] < errors[0] / 3


def test_all_directions_show_what_whole_tangents_do(tmp_path):
    along, whole = ridge(r=N_Y), None
    J = along.dC_dV @ np.linalg.inv(along.directions.transpose(0, 2, 1))
    info = dataclasses.replace(along.info, directions=0, tangents=True)
    whole = dataclasses.replace(along, info=info, dC_dY=J, directions=None, dC_dV=None)
    found = [of(active_directions, one, tmp_path, 2)[0] for one in (along, whole)]
    assert np.allclose(*found, rtol=1e-8)


def test_rows_without_data_are_left_out(tmp_path):
    dataset = ridge()
    dataset.dC_dY[3:20, :, 1] = np.nan
    dataset.dC_dY[20:40] = np.nan
    V, _ = of(active_directions, dataset, tmp_path, 2)
    assert np.isfinite(V).all()
    seen = np.nan_to_num(np.delete(dataset.dC_dY, range(20, 40), axis=0)) * RANGES
    seen /= scales(dataset.C, dataset.info.c_units)[:, None]
    values, vectors = np.linalg.eigh(np.einsum("ick,icl->kl", seen, seen) / len(seen))
    U = V / RANGES
    assert values[1] < values[2] and np.allclose(np.abs(U @ vectors[:, :-3:-1]), np.eye(2))


def test_signs_do_not_depend_on_rounding(tmp_path):
    dataset = ridge()
    W, _, _ = of(functionals, dataset, tmp_path, 2)
    V, _ = of(active_directions, dataset, tmp_path, 2)
    assert (np.take_along_axis(W, np.abs(W).argmax(axis=1)[:, None], 1) > 0).all()
    U = V / RANGES
    assert (np.take_along_axis(U, np.abs(U).argmax(axis=1)[:, None], 1) > 0).all()


def _plain():
    dataset = ridge()
    info = dataclasses.replace(dataset.info, tangents=False)
    return dataclasses.replace(dataset, info=info, dC_dY=None)


def _gaps():
    C = RNG.random((9, 2))
    C[2, 1] = np.nan
    return from_arrays(RNG.random((9, 2)), C, missing="mask")


@pytest.mark.parametrize(
    ("function", "make", "r", "reason"),
    [
        (functionals, ridge, 3, "the outputs vary in 2 ways; asked for 3"),
        (functionals, ridge, 0, "the outputs vary in 2 ways; asked for 0"),
        (active_directions, ridge, 3, "c changes in 2 ways; asked for 3"),
        (active_directions, _plain, 1, "has no derivatives: a subspace needs a set made with"),
        (functionals, _gaps, 1, "lacks entries of c"),
        (functionals, lambda: made_classes(9), 1, "is a classification"),
        (functionals, lambda: ridge().rows(slice(0, 1)), 1, "has 1 done samples"),
    ],
)
def test_a_set_that_shows_nothing_is_refused(tmp_path, function, make, r, reason):
    dataset: Dataset = make()
    with pytest.raises(InputError, match=reason):
        of(function, dataset, tmp_path, r)


def test_a_file_that_is_no_dataset_is_refused(tmp_path):
    (tmp_path / "no.h5").write_text("no")
    for function in (functionals, active_directions):
        with pytest.raises(InputError, match="no.h5"):
            function(tmp_path / "no.h5", 1)
        with pytest.raises(InputError, match="there is no file"):
            function(tmp_path / "absent.h5", 1)
