"""How inputs are mixed: what a network can learn stays the same, what is small or near changes."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from draws import classes, normal

from surrogates.errors import InputError
from surrogates.training.data import Data, Mix
from surrogates.training.inner.losses import CrossEntropy

N, N_IN = 300, 6

MIXES = {
    "whitening": Mix(whitening=0.25),
    "white": Mix(whitening=1.0),
    "smoothing": Mix(smoothing=10.0),
    "noise": Mix(noise=0.5),
    "all": Mix(whitening=0.25, smoothing=10.0, noise=0.5),
}
each_mix = pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)


def curves(n=N, n_in=N_IN, seed=0):
    """Inputs of which neighbours are much the same, in units of their own."""
    steps = normal(n, n_in, seed=seed).cumsum(dim=1) + 0.3 * normal(n, n_in, seed=seed + 1)
    return 7 + steps * torch.linspace(1, 30, n_in, dtype=torch.float64)


def standardised(Y):
    return (Y - Y.mean(dim=0)) / Y.std(dim=0, correction=0)


def covariance(X):
    return X.T @ X / len(X)


def mixed(mix, Y, scale=1.0):
    arrays = [(Y.clone(), classes(len(Y), 3, seed=2)) for _ in range(2)]
    return Data.of(*arrays, scale=scale, mix=mix, loss=CrossEntropy())


@each_mix
@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_mixed_inputs_are_a_linear_map_of_the_scaled_with_the_mean_variance_of_scale(mix, scale):
    Y = curves()
    data = mixed(mix, Y, scale)
    assert data.mixing.shape == (N_IN, N_IN)
    expected = scale * standardised(Y) @ data.mixing.T
    for part in (data.train, data.validation):
        torch.testing.assert_close(part.Y, expected, rtol=1e-10, atol=1e-12)
    variances = covariance(data.train.Y)
    assert float(variances.diagonal().mean()) == pytest.approx(scale**2, rel=1e-10)


def test_whitening_takes_a_power_of_the_variances_out():
    X = standardised(curves())
    values = torch.linalg.eigvalsh(covariance(X))
    for power in (0.0, 0.25, 1.0):
        found = covariance(X @ Mix(whitening=power, smoothing=1e-30).of(covariance(X)).T)
        expected = values ** (1 - power)
        torch.testing.assert_close(torch.linalg.eigvalsh(found), expected / expected.mean())


@each_mix
def test_rounding_of_the_covariance_changes_no_more_than_rounding(mix):
    # Signs of principal components, and all of those of one variance, are anyone's.
    same = torch.eye(N_IN, dtype=torch.float64)
    for C in (covariance(standardised(curves())), same):
        for seed in range(5):
            E = 1e-15 * normal(N_IN, N_IN, seed=seed)
            torch.testing.assert_close(mix.of(C + E + E.T), mix.of(C), rtol=1e-9, atol=1e-9)


def test_smoothing_is_a_penalty_on_differences_of_neighbouring_weights():
    C = covariance(standardised(curves()))
    mixing = Mix(smoothing=10.0).of(C)
    ratios = []
    for seed in range(3):
        K = normal(4, N_IN, seed=seed)  # weights of the mixed inputs
        K_x = K @ mixing
        norm = K_x.square().sum() + 10 * K_x.diff(dim=1).square().sum()
        ratios.append(float(norm / K.square().sum()))
    assert ratios == pytest.approx([ratios[0]] * 3, rel=1e-10)


def test_noise_is_what_a_linear_regression_on_all_others_leaves():
    X = standardised(curves())
    deviations = []
    for j in range(N_IN):
        others = torch.cat([X[:, :j], X[:, j + 1 :]], dim=1)
        rest = X[:, j] - others @ torch.linalg.lstsq(others, X[:, j : j + 1]).solution[:, 0]
        deviations.append(math.sqrt(float(rest.square().mean())))
    for power in (0.5, 1.0):
        mixing = Mix(noise=power).of(covariance(X))
        # A rotation of the divided inputs has their Gram matrix.
        found = (mixing.T @ mixing).numpy()
        expected = np.diag(np.array(deviations) ** (-2 * power))
        size = found[0, 0] / expected[0, 0]
        assert np.abs(found - size * expected).max() < 1e-8 * np.abs(found).max()


@pytest.mark.parametrize("case", ["constant", "few"])
@each_mix
def test_directions_without_samples_are_left_out(mix, case):
    Y = curves(n=4) if case == "few" else curves()
    if case == "constant":
        Y[:, 2] = 5.0
    data = mixed(mix, Y)
    rank = 3 if case == "few" else N_IN - 1
    assert int(torch.linalg.matrix_rank(data.mixing, rtol=1e-8)) == rank
    assert bool(torch.isfinite(data.mixing).all())
    if case == "constant":  # what training has not seen has no effect
        assert bool((data.mixing[:, 2] == 0).all())


def test_inputs_that_follow_from_others_do_not_drown_the_rest():
    Y = curves()
    Y[:, 1] = 3 * Y[:, 0]
    norms = mixed(Mix(noise=1.0), Y).mixing.norm(dim=0)
    assert float(norms.max() / norms.min()) < 1e3


def test_inputs_of_which_none_varies_are_refused():
    with pytest.raises(InputError, match="no input varies"):
        mixed(Mix(noise=0.5), torch.ones((N, N_IN), dtype=torch.float64))


def test_no_mix_is_no_map():
    data = mixed(None, curves())
    assert data.mixing is None
    torch.testing.assert_close(data.train.Y, standardised(curves()))
    assert torch.equal(data.train.C, classes(N, 3, seed=2))
    assert dataclasses.astuple(Mix()) == (0.0, 0.0, 0.0)
