"""Covariances of errors: identities against dense matrices, every engine, files, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exports import check_close, in_numpy, saved
from extended import N_IN, N_OUT, SURROGATES, both, every_surrogate, made, points

import surrogates
from surrogates.errors import InputError
from surrogates.export import npz
from surrogates.export.c import library
from surrogates.loading import with_engine
from surrogates.model.covariance import Covariance

M, K = 30, 4
needs_compiler = pytest.mark.skipif(not library.available(), reason="no C compiler")


def of_numbers(*lead: int, scatter: tuple[float, float] = (0.0, 0.0)) -> Covariance:
    rng = np.random.default_rng(0)
    return Covariance(
        mean=rng.standard_normal((*lead, M)),
        factor=rng.standard_normal((*lead, M, K)),
        diagonal=0.3 + rng.random((*lead, M)),
        scatter=np.array(scatter),
    )


def residual(*lead: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((*lead, M))


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_identities_of_the_dense_matrix(lead):
    found, r = of_numbers(*lead), residual(*lead)
    dense = found.dense()
    right = np.linalg.solve(dense, r[..., None])[..., 0]
    np.testing.assert_allclose(found.solve(r), right, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.chi2(r), (r * right).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(found.logdet(), np.linalg.slogdet(dense)[1], rtol=1e-12)
    diagonal = np.diagonal(dense, axis1=-2, axis2=-1)
    np.testing.assert_allclose(found.variance, diagonal, rtol=1e-14)
    whitened = found._factorised.inverse_diagonal()
    inverse = np.linalg.inv(dense)
    np.testing.assert_allclose(
        whitened, np.diagonal(inverse, axis1=-2, axis2=-1), rtol=1e-12, atol=1e-13
    )
    J = np.random.default_rng(2).standard_normal((*lead, M, 3))
    between = np.swapaxes(J, -1, -2) @ inverse @ J
    np.testing.assert_allclose(found._factorised.inverse_between(J), between, rtol=1e-11)


def test_chi_squared_has_no_cancellation_where_little_is_unique():
    """Residuals in the span of a factor that is 1e6 times larger than the rest."""
    rng = np.random.default_rng(3)
    F, x = rng.standard_normal((M, K)), rng.standard_normal(K)
    found = Covariance(mean=np.zeros(M), factor=F, diagonal=np.full(M, 1e-12))
    np.testing.assert_allclose(found.chi2(F @ x), x @ x, rtol=1e-9)


def test_one_y_is_a_row_of_a_batch():
    found, r = of_numbers(3), residual(3)
    one = Covariance(mean=found.mean[1], factor=found.factor[1], diagonal=found.diagonal[1])
    np.testing.assert_allclose(found.solve(r)[1], one.solve(r[1]), rtol=1e-13)
    np.testing.assert_allclose(found.chi2(r)[1], one.chi2(r[1]), rtol=1e-13)


@pytest.mark.parametrize("noise", ["number", "numbers", "diagonal", "matrix", "covariance"])
def test_noise_is_added(noise):
    found, rng = of_numbers(2), np.random.default_rng(4)
    A = rng.standard_normal((M, M))
    given, dense = {
        "number": (0.5, 0.5 * np.eye(M)),
        "numbers": (np.arange(1.0, M + 1), np.diag(np.arange(1.0, M + 1))),
        "diagonal": (np.diag(np.arange(1.0, M + 1)), np.diag(np.arange(1.0, M + 1))),
        "matrix": (A @ A.T + np.eye(M), A @ A.T + np.eye(M)),
        "covariance": (of_numbers(), of_numbers().dense()),
    }[noise]
    total = found + given
    np.testing.assert_allclose(total.dense(), found.dense() + dense, rtol=1e-12, atol=1e-12)
    right = np.linalg.solve(found.dense() + dense, residual(2)[..., None])[..., 0]
    np.testing.assert_allclose(total.solve(residual(2)), right, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (np.ones(3), "expected noise as one variance, 30 of them, or a covariance matrix"),
        (-1.0, "expected each variance of the noise >= 0"),
        (np.full(M, np.nan), "expected finite numbers in noise"),
        ("a", "expected real numbers in noise, of dtype float64; got <U1"),
        (None, "expected real numbers in noise; got an object of type NoneType"),
        (np.ones((M, M)), "expected a positive definite covariance matrix"),
        (np.triu(np.ones((M, M))), "expected a symmetric covariance matrix"),
    ],
)
def test_bad_noise_is_refused(noise, message):
    with pytest.raises(InputError, match=message):
        _ = of_numbers() + noise


def test_noise_may_come_first():
    found, variances = of_numbers(), 0.5 + np.random.default_rng(4).random(M)
    for noise in (0.25, np.float64(0.25), variances, np.diag(variances)):
        sums = noise + found, found + noise
        assert type(sums[0]) is Covariance
        np.testing.assert_allclose(sums[0].dense(), sums[1].dense(), rtol=1e-12, atol=1e-13)
    both = sum([found, found]).dense()
    np.testing.assert_allclose(both, 2 * found.dense(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a", "expected real numbers in residuals, of dtype float64; got <U1"),
        (None, "expected real numbers in residuals; got an object of type NoneType"),
        (np.ones(M) * 1j, "got complex128"),
        (np.ma.masked_less(np.arange(M), 2), "residuals is a masked array"),
        (np.ones(M + 1), "expected residuals of shape"),
    ],
)
def test_what_is_no_residual_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        of_numbers().chi2(given)


def test_what_is_no_number_of_draws_is_refused():
    for n in (-1, 2.5, None, "3"):
        with pytest.raises(InputError, match="expected a number of draws >= 0; got "):
            of_numbers().sample(n)
    assert of_numbers().sample(np.int64(2)).shape == (2, M)


def test_outputs_without_error_have_no_inverse_until_noise_is_added():
    found = Covariance(mean=np.zeros(2), factor=np.zeros((2, 1)), diagonal=np.array([1.0, 0.0]))
    with pytest.raises(InputError, match="variance of an output is 0; add noise"):
        found.solve(np.ones(2))
    assert np.isfinite((found + 1e-3).solve(np.ones(2))).all()


@pytest.mark.parametrize("scatter", [(0.0, 0.0), (0.4, 0.6)])
def test_draws_have_the_covariance_and_the_spread_of_chi_squared(scatter):
    found = of_numbers(scatter=scatter)
    draws = found.sample(100_000, seed=1)
    errors = draws - found.mean
    dense, n = found.dense(), len(draws)
    spread = np.sqrt(np.outer(found.variance, found.variance) * 8 / n)  # heavy tails: 8 for 2
    assert (np.abs(errors.T @ errors / n - dense) < 5 * spread).all()
    chi2 = found.chi2(errors)
    assert abs(chi2.mean() / M - 1) < 0.02
    assert abs(chi2.std() / found.chi2_std - 1) < 0.1
    np.testing.assert_array_equal(found.sample(5, seed=1), found.sample(5, seed=1))


@every_surrogate
def test_every_engine_has_the_covariance(name):
    surrogate, loaded = both(name)
    Y = points(surrogate)
    right = surrogate.predict_cov(torch.from_numpy(Y))
    for found in (loaded, in_numpy(loaded)):
        cov = found.predict_cov(Y)
        check_close(cov.factor, right[0].numpy(), name)
        check_close(cov.diagonal, right[1].numpy(), name)
        check_close(cov.mean, found.predict(Y), name)
        one = found.predict_cov(Y[3])
        np.testing.assert_allclose(one.dense(), cov.dense()[3], rtol=1e-10, atol=1e-14)
        lead = found.predict_cov(Y.reshape(2, 9, -1))
        check_close(lead.factor.reshape(cov.factor.shape), cov.factor, name)
        assert found.predict_cov(Y[:0]).diagonal.shape == (0, N_OUT)
        assert found.predict_cov(Y[:0]).chi2(np.empty((0, N_OUT))).shape == (0,)


@every_surrogate
def test_the_variances_are_those_of_the_error_bars_times_a_diagonal(name):
    """With sizes of one, and the variances of one that the bars are for: `predict_std` squared."""
    surrogate, loaded = both(name)
    Y = points(surrogate)
    known = loaded.engine.correlation
    place = surrogate.place(surrogate._seen(torch.from_numpy(Y))).numpy()
    size = known.size(place)
    assert size.std(axis=0).min() > 0.01
    own = size[:, 1:] * known.unique + size[:, :1] * (known.loadings**2).sum(axis=1)
    std, variance = loaded.predict_std(Y), loaded.predict_cov(Y).variance
    spread = np.zeros_like(std)
    if surrogate.members is not None:
        factor = loaded.predict_cov(Y).factor[..., known.loadings.shape[1] :]
        spread = (factor**2).sum(axis=-1)
    np.testing.assert_allclose(variance, (std**2 - spread) * own + spread, rtol=1e-9)


@needs_compiler
def test_the_c_engine_has_the_covariance():
    surrogate, loaded = both("everything")
    Y = points(surrogate)
    found, right = with_engine(loaded, "c").predict_cov(Y), loaded.predict_cov(Y)
    check_close(found.factor, right.factor, "c")
    check_close(found.diagonal, right.diagonal, "c")


def test_npz_files_keep_it(tmp_path):
    surrogate, loaded = both("everything")
    npz.save(loaded, tmp_path / "s.npz")
    found = surrogates.load(tmp_path / "s.npz")
    for name in ("loadings", "unique", "scatter", "sizes", "ends", "along"):
        right = getattr(loaded.engine.correlation, name)
        np.testing.assert_array_equal(getattr(found.engine.correlation, name), right)
    with np.load(tmp_path / "s.npz") as file:
        arrays = dict(file)
    for name in ("sizes", "ends", "along"):  # as in a file of an older version
        del arrays[name]
    np.savez(tmp_path / "older.npz", **arrays)
    older = surrogates.load(tmp_path / "older.npz").engine.correlation
    assert older.along == 1 and (older.size(np.ones((3, 5))) == 1).all()
    arrays["unique"] = -arrays["unique"]
    np.savez(tmp_path / "damaged.npz", **arrays)
    with pytest.raises(InputError, match=r"damaged: it has a unique variance that is not > 0"):
        surrogates.load(tmp_path / "damaged.npz")


def test_some_outputs_have_their_part():
    surrogate, loaded = both("everything")
    y = points(surrogate)[0]
    rows = [7, 0, 3]
    right = loaded.predict_cov(y).dense()[np.ix_(rows, rows)]
    for found in (loaded, in_numpy(loaded)):
        some = found.select(rows).predict_cov(y)
        np.testing.assert_allclose(some.dense(), right, rtol=1e-12)
        assert found.select(rows).sample(y, 4).shape == (4, 3)


def test_draws_of_positive_outputs_are_positive():
    surrogate, loaded = both("everything")
    Y = points(surrogate)[:2]
    wide = loaded.sample(Y, 2000, seed=3)
    assert wide.shape == (2, 2000, N_OUT)
    marks = loaded.engine.log_outputs
    assert marks.any() and (wide[..., marks] > 0).all()
    again = loaded.sample(Y, 2000, seed=np.random.default_rng(3))
    np.testing.assert_allclose(wide, again, rtol=1e-9, atol=1e-12)  # torch compiles anew
    plain = loaded.predict_cov(Y).sample(2000, seed=3)
    np.testing.assert_allclose(wide[..., ~marks], plain[..., ~marks], rtol=1e-9, atol=1e-12)
    c = loaded.predict(Y)[:, None, :]
    logs = np.log(wide[..., marks] / c[..., marks])
    np.testing.assert_allclose(logs, (plain / c - 1)[..., marks], rtol=1e-9, atol=1e-12)


def test_files_without_it_say_so(tmp_path):
    old = saved(made(*SURROGATES["gaussian"], correlated=False), tmp_path / "old.pt")
    for found in (old, in_numpy(old)):
        with pytest.raises(InputError, match=r"has no covariance of its outputs' errors.*train"):
            found.predict_cov(np.ones(N_IN))
        with pytest.raises(InputError, match="train it again"):
            found.sample(np.ones(N_IN), 3)
