"""The likelihood of data: dense matrices, finite differences, engines, data and noise given."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from exports import check_close, in_numpy
from extended import N_IN, N_OUT, both, every_surrogate, points

from surrogates.errors import InputError
from surrogates.model.scale_mixture import scales

NOISE = 0.05


def of(loaded, Y, **settings):
    """Data near a prediction, and a likelihood of it."""
    data = loaded.predict(Y[0]) + 0.1 * np.random.default_rng(0).standard_normal(N_OUT)
    return data, loaded.likelihood(data, NOISE, **settings)


def dense_terms(loaded, y, data, noise):
    """Matrices, and the logarithms of their weights times the densities."""
    cov, r = loaded.predict_cov(y), data - loaded.predict(y)
    known = loaded.engine.correlation
    assert known.along > 1
    matrices, terms = [], []
    for s, log_weight in zip(*scales(float(known.scatter[0]), float(known.along)), strict=True):
        C = s * cov.factor @ cov.factor.T + np.diag(known.along * cov.diagonal) + noise
        sign, logdet = np.linalg.slogdet(2 * np.pi * C)
        assert sign == 1
        matrices.append(C)
        terms.append(log_weight - (r @ np.linalg.solve(C, r) + logdet) / 2)
    return matrices, np.array(terms)


def dense_log_density(loaded, y, data, noise):
    return np.logaddexp.reduce(dense_terms(loaded, y, data, noise)[1])


def mean_inverse(loaded, y, data, noise):
    matrices, terms = dense_terms(loaded, y, data, noise)
    shares = np.exp(terms - np.logaddexp.reduce(terms))
    return sum(share * np.linalg.inv(C) for share, C in zip(shares, matrices, strict=True))


@pytest.mark.parametrize("scatter", [0.0, 0.1, 1.0, 2.0])
def test_logarithms_of_scales_are_those_of_half_a_normal_distribution(scatter):
    s, log_weights = scales(scatter)
    weights = np.exp(log_weights)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-12)
    assert s[0] == 1 and (np.diff(np.log(s)) < 0.26).all()
    assert abs(weights @ np.log(s) - scatter * np.sqrt(2 / np.pi)) <= 0.03 * scatter
    assert abs(np.sqrt(weights @ np.log(s) ** 2) - scatter) <= 0.03 * scatter
    np.testing.assert_allclose(scales(scatter, 3.0)[0], 3 * s, rtol=1e-15)


@every_surrogate
def test_it_is_that_of_the_dense_matrix(name):
    surrogate, loaded = both(name)
    Y = points(surrogate)
    for s in (loaded, in_numpy(loaded)):
        data, found = of(s, Y)
        values = found.log_density(Y)
        right = [dense_log_density(s, y, data, NOISE**2 * np.eye(N_OUT)) for y in Y]
        np.testing.assert_allclose(values, right, rtol=1e-10)
        np.testing.assert_allclose(found(Y[2]), values[2], rtol=1e-10)


@every_surrogate
def test_the_gradient_is_that_of_differences(name):
    """With the derivative of the covariance; steps of 1e-5, central, of a fourth order formula."""
    surrogate, loaded = both(name)
    lower, upper = surrogate.lower.numpy(), surrogate.upper.numpy()
    inside = np.random.default_rng(4).uniform(lower, upper, (3, N_IN))
    outside = inside + 0.7 * (upper - lower)  # the covariance grows there
    Y = np.concatenate([inside, outside])
    for s in (loaded, in_numpy(loaded)):
        _, found = of(s, Y)
        value, gradient = found.value_and_gradient(Y)
        np.testing.assert_allclose(value, found.log_density(Y), rtol=1e-12)
        for y, row in zip(Y, gradient, strict=True):
            steps = 2e-4 * np.eye(N_IN) * np.maximum(1, np.abs(y))
            at = [found.log_density(y + t * steps) for t in (-2, -1, 1, 2)]
            differences = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * np.diag(steps))
            size = np.abs(differences).max()
            np.testing.assert_allclose(row, differences, rtol=2e-6, atol=2e-6 * size)


@every_surrogate
def test_the_hessian_is_that_of_the_dense_matrix(name):
    surrogate, loaded = both(name)
    Y = points(surrogate)[:4]
    for s in (loaded, in_numpy(loaded)):
        data, found = of(s, Y)
        noise = NOISE**2 * np.eye(N_OUT)
        inverse = np.array([mean_inverse(s, y, data, noise) for y in Y])
        J = s.jacobian(Y)
        right = np.swapaxes(J, 1, 2) @ inverse @ J
        size = np.abs(right).max(axis=(1, 2), keepdims=True)
        assert (np.abs(found.hessian(Y) - right) < 1e-10 * size).all()


def test_any_leading_dimensions_and_pickles():
    surrogate, loaded = both("everything")
    Y = points(surrogate)[:12]
    _, found = of(loaded, Y)
    cube = Y.reshape(2, 3, 2, -1)
    again = pickle.loads(pickle.dumps(found))
    for name, shape in {"log_density": (), "gradient": (N_IN,), "hessian": (N_IN, N_IN)}.items():
        flat = getattr(found, name)(Y)
        check_close(getattr(again, name)(cube).reshape(flat.shape), flat, name)
        assert getattr(found, name)(cube[:0]).shape == (0, 3, 2, *shape)
        np.testing.assert_allclose(getattr(found, name)(Y[3]), flat[3], rtol=1e-9)


def test_without_the_surrogates_errors():
    surrogate, loaded = both("everything")
    Y = points(surrogate)
    data, found = of(loaded, Y, surrogate_errors=False)
    r = (data - loaded.predict(Y)) / NOISE
    right = -(r**2).sum(1) / 2 - N_OUT * np.log(NOISE * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(found.log_density(Y), right, rtol=1e-12)
    np.testing.assert_allclose(found.gradient(Y), loaded.vjp(Y, r / NOISE), rtol=1e-9)
    with pytest.raises(InputError, match="expected noise > 0 without surrogate errors"):
        loaded.likelihood(data, 0.0, surrogate_errors=False)


@pytest.mark.parametrize("noise", ["deviations", "matrix", "covariance"])
def test_noise_in_each_form(noise):
    surrogate, loaded = both("everything")
    Y = points(surrogate)
    A = 0.1 * np.random.default_rng(7).standard_normal((N_OUT, N_OUT))
    given, dense = {
        "deviations": (np.arange(1, N_OUT + 1) / 10, np.diag((np.arange(1, N_OUT + 1) / 10) ** 2)),
        "matrix": (A @ A.T + 0.1 * np.eye(N_OUT), A @ A.T + 0.1 * np.eye(N_OUT)),
        "covariance": (loaded.predict_cov(Y[1]), loaded.predict_cov(Y[1]).dense()),
    }[noise]
    data = loaded.predict(Y[0])
    found = loaded.likelihood(data, given)
    right = [dense_log_density(loaded, y, data, dense) for y in Y]
    np.testing.assert_allclose(found.log_density(Y), right, rtol=1e-10)
    step = 1e-5 * np.eye(N_IN)
    central = (found.log_density(Y[0] + step) - found.log_density(Y[0] - step)) / 2e-5
    np.testing.assert_allclose(found.gradient(Y[0]), central, rtol=1e-6, atol=1e-6)


def test_data_of_some_outputs():
    surrogate, loaded = both("everything")
    Y, rows = points(surrogate), [7, 0, 3]
    whole = np.full(N_OUT, np.nan)
    whole[rows] = loaded.predict(Y[0])[rows]
    sigma = np.arange(1, N_OUT + 1) / 10
    of_names = {f"c{i}": whole[i] for i in rows}
    noise_of_names = {f"c{i}": sigma[i] for i in reversed(rows)}
    for s in (loaded, in_numpy(loaded)):
        masked, named = s.likelihood(whole, sigma), s.likelihood(of_names, noise_of_names)
        np.testing.assert_allclose(named.log_density(Y), masked.log_density(Y), rtol=1e-12)
        np.testing.assert_allclose(named.gradient(Y), masked.gradient(Y), rtol=1e-8)
        right = dense_log_density(s.select(rows), Y[2], whole[rows], np.diag(sigma[rows] ** 2))
        np.testing.assert_allclose(masked.log_density(Y[2]), right, rtol=1e-10)


def test_frames_in_and_out():
    pandas = pytest.importorskip("pandas")
    surrogate, loaded = both("everything")
    Y = points(surrogate)
    _, found = of(loaded, Y)
    gradient = found.gradient(pandas.DataFrame(Y, columns=loaded.y_names))
    assert list(gradient.columns) == list(loaded.y_names)
    series = pandas.Series(loaded.predict(Y[0]), index=loaded.c_names)
    right = loaded.likelihood(series.to_numpy(), NOISE).log_density(Y)
    np.testing.assert_allclose(loaded.likelihood(series, NOISE).log_density(Y), right, rtol=1e-9)


def noises():
    """Noise in each form, as given and as a dense matrix."""
    A = 0.1 * np.random.default_rng(7).standard_normal((N_OUT, N_OUT))
    deviations = np.arange(1, N_OUT + 1) / 50
    return {
        "none": (0.0, np.zeros((N_OUT, N_OUT))),
        "number": (NOISE, NOISE**2 * np.eye(N_OUT)),
        "deviations": (deviations, np.diag(deviations**2)),
        "matrix": (A @ A.T + 1e-4 * np.eye(N_OUT), A @ A.T + 1e-4 * np.eye(N_OUT)),
    }


@every_surrogate
@pytest.mark.parametrize("noise", ["none", "number", "deviations", "matrix"])
def test_with_the_covariance_at_one_y_it_is_that_of_its_dense_matrix(name, noise):
    surrogate, loaded = both(name)
    Y = points(surrogate)
    given, dense = noises()[noise]
    for s in (loaded, in_numpy(loaded)):
        data, _ = of(s, Y)
        found = s.likelihood(data, given, at=Y[1])
        r = data - s.predict(Y)
        right, inverses, chi2 = [], [], []
        for row in r:
            matrices, terms = dense_terms(s, Y[1], row + s.predict(Y[1]), dense)
            right.append(np.logaddexp.reduce(terms))
            shares = np.exp(terms - right[-1])
            inverses.append(np.einsum("s,sij->ij", shares, np.linalg.inv(matrices)))
            chi2.append(row @ inverses[-1] @ row)
        np.testing.assert_allclose(found.log_density(Y), right, rtol=1e-9)
        np.testing.assert_allclose(found.chi2(Y), chi2, rtol=1e-9)
        J = s.jacobian(Y)
        hessians = np.swapaxes(J, 1, 2) @ np.array(inverses) @ J
        size = np.abs(hessians).max(axis=(1, 2), keepdims=True)
        assert (np.abs(found.hessian(Y) - hessians) < 1e-9 * size).all()
        slopes = np.einsum("nji,njk,nk->ni", J, inverses, r)
        size = np.abs(slopes).max(axis=1, keepdims=True)
        assert (np.abs(found.gradient(Y) - slopes) < 1e-9 * size).all()


@every_surrogate
def test_with_the_covariance_at_one_y_it_is_the_full_one_there(name):
    surrogate, loaded = both(name)
    Y = points(surrogate)
    data, full = of(loaded, Y)
    found = loaded.likelihood(data, NOISE, at=Y[2])
    for method in ("log_density", "chi2", "hessian"):
        one, right = getattr(found, method)(Y[2]), getattr(full, method)(Y[2])
        np.testing.assert_allclose(one, right, rtol=1e-9, atol=1e-9 * np.abs(right).max())
    assert abs(found(Y[3]) - full(Y[3])) > 1e-6 * abs(full(Y[3]))


@every_surrogate
def test_with_the_covariance_at_one_y_the_gradient_passes_a_taylor_test(name):
    surrogate, loaded = both(name)
    lower, upper = surrogate.lower.numpy(), surrogate.upper.numpy()
    rng = np.random.default_rng(4)
    y, centre = rng.uniform(lower, upper, (2, N_IN))
    v = 0.05 * rng.standard_normal(N_IN) * (upper - lower)
    data = loaded.predict(y) + 0.1 * rng.standard_normal(N_OUT)
    found = loaded.likelihood(data, NOISE, at=centre)
    value, gradient = found.value_and_gradient(y)
    steps = 0.5 ** np.arange(2, 14)
    left = np.abs(found(y + steps[:, None] * v) - value - steps * (gradient @ v))
    above = left > 1e-11 * abs(value)
    orders = np.log2(left[:-1] / left[1:])[above[1:]]
    assert len(orders) >= 4 and (orders[-4:] > 1.8).all()


def test_at_one_y_without_the_surrogates_errors_and_with_data_of_some_outputs():
    surrogate, loaded = both("everything")
    Y = points(surrogate)
    data, right = of(loaded, Y, surrogate_errors=False)
    found = loaded.likelihood(data, NOISE, surrogate_errors=False, at=Y[1])
    np.testing.assert_allclose(found.log_density(Y), right.log_density(Y), rtol=1e-12)
    np.testing.assert_allclose(found.hessian(Y), right.hessian(Y), rtol=1e-9)
    rows = [7, 0, 3]
    masked = np.full(N_OUT, np.nan)
    masked[rows] = data[rows]
    at = {name: value for name, value in zip(loaded.y_names[::-1], Y[1, ::-1], strict=True)}
    some = loaded.likelihood(masked, NOISE, at=at)
    small = loaded.select(rows).likelihood(data[rows], NOISE, at=Y[1])
    np.testing.assert_allclose(some.gradient(Y), small.gradient(Y), rtol=1e-9)
    again = pickle.loads(pickle.dumps(some))
    np.testing.assert_allclose(again.log_density(Y[:, None]), small(Y)[:, None], rtol=1e-12)
    assert some.hessian(Y[:0]).shape == (0, N_IN, N_IN)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (np.ones(4), r"expected at of shape \(5,\), .* got \(4,\)"),
        (1.0, r"expected at of shape \(5,\)"),
        (np.full(N_IN, np.nan), "expected finite numbers in at; got NaN or infinity"),
        (np.ones((2, N_IN)), r"expected one y in at, \(5,\); got the shape \(2, 5\)"),
        ({"y9": 1.0}, "y9"),
    ],
)
def test_a_y_that_does_not_fit_is_refused(at, message):
    surrogate, loaded = both("everything")
    with pytest.raises(InputError, match=message) as refused:
        loaded.likelihood(loaded.predict(points(surrogate)[0]), NOISE, at=at)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("data", "noise", "message"),
    [
        (
            np.ones(3),
            NOISE,
            "expected data of 11 outputs, in their order, or by their names; got 3",
        ),
        (np.full(N_OUT, np.nan), NOISE, "expected data of at least one output; all are NaN"),
        (np.full(N_OUT, np.inf), NOISE, "expected finite numbers in data"),
        ({"c99": 1.0}, NOISE, "there is no output 'c99'"),
        (np.ones(N_OUT), -1.0, "expected each std of the noise >= 0"),
        (np.ones(N_OUT), np.ones(4), "expected noise as one std, 11 of them, or a covariance"),
    ],
)
def test_what_does_not_fit_is_refused(data, noise, message):
    _, loaded = both("everything")
    with pytest.raises(InputError, match=message):
        loaded.likelihood(data, noise)
