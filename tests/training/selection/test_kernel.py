"""Kernel regression against dense references, and its gradient against differences."""

import numpy as np
import pytest
import torch
from draws import normal, orders

from surrogates.training.selection import kernel
from surrogates.training.selection import likelihood as searching
from surrogates.training.selection.kernel import Fit, Form, blocks_left_out, solve
from surrogates.training.selection.likelihood import _Likelihood as Likelihood
from surrogates.training.selection.likelihood import search

N, N_IN = 18, 2
FORMS = [
    Form(kernel=name, degree=degree, anova=anova)
    for name in ("gaussian", "matern52")
    for degree in range(3)
    for anova in (False, True)
]
each_form = pytest.mark.parametrize(
    "form", FORMS, ids=lambda form: f"{'anova ' * form.anova}{form.kernel}{form.degree}"
)


def samples(n=N, n_in=N_IN, n_out=2, noise=0.1, seed=0):
    """Standardised inputs and targets of a smooth function with noise."""
    X = normal(n, n_in, seed=seed)
    X = (X - X.mean(dim=0)) / X.std(dim=0, correction=0)
    C = torch.sin(X @ normal(n_in, n_out, seed=seed + 1)) + 0.5 * X[:, :1]
    C = C + noise * normal(n, n_out, seed=seed + 2)
    return X, C - C.mean(dim=0)


def fit_of(form, n_in=N_IN, nugget=1e-2):
    scales = torch.linspace(0.5, 0.9, n_in).double()
    shares = torch.linspace(0.3, 0.8, n_in).double() if form.anova else None
    return Fit(form=form, scales=scales, nugget=nugget, shares=shares)


def kappa(fit, A, B):
    """The kernel's matrix, by differences, in numpy."""
    r = np.abs((A[:, None] - B[None]) * fit.scales.numpy())
    if not fit.form.anova:
        r = np.sqrt((r**2).sum(axis=2, keepdims=True))
    s = np.sqrt(5) * r
    laws = {"gaussian": np.exp(-(r**2) / 2), "matern52": (1 + s + s**2 / 3) * np.exp(-s)}
    shares = fit.shares.numpy() if fit.form.anova else 1.0
    return np.prod(1 + shares * (laws[fit.form.kernel] - 1), axis=2)


def trend(form, X):
    """The trend's monomials, the constant last."""
    columns = [X[:, i] for i in range(X.shape[1]) if form.degree]
    if form.degree == 2:
        columns += [X[:, i] * X[:, j] for i in range(X.shape[1]) for j in range(i, X.shape[1])]
    return np.stack([*columns, np.ones(len(X))], axis=1)


class Reference:
    """Universal kriging by its dense equations [K H; H^T 0] [a; b] = [c; 0]."""

    def __init__(self, fit, X, C):
        self.fit, self.form, self.nugget = fit, fit.form, fit.nugget
        self.X = np.asarray(X)
        k = kappa(fit, self.X, self.X)
        H = trend(self.form, self.X)
        q = H.shape[1]
        K = k + self.nugget * np.eye(len(k))
        self.system = np.block([[K, H], [H.T, np.zeros((q, q))]])
        right = np.vstack([np.asarray(C), np.zeros((q, C.shape[1]))])
        self.weights = np.linalg.solve(self.system, right).T

    def _row(self, at):
        at = np.asarray(at)
        return np.hstack([kappa(self.fit, at, self.X), trend(self.form, at)])

    def predict(self, at):
        return self._row(at) @ self.weights.T

    def variance(self, at):
        """Of c at new points, noise included, over the output's variance v_j."""
        row = self._row(at)
        return 1 + self.nugget - (row * np.linalg.solve(self.system, row.T).T).sum(axis=1)


def told_variance(found, at):
    """The variance of a prediction from the rows M and N (see `Kriging`)."""
    fit = found.fit
    k = torch.from_numpy(kappa(fit, at.numpy(), found.centres.numpy()))
    both = torch.cat([k, fit.form.trend(at)], dim=1)
    less = (k @ found.negative.T).square().sum(dim=1)
    return 1 + fit.nugget - less + (both @ found.positive.T).square().sum(dim=1)


@each_form
def test_the_trend_is_that_of_the_degree(form):
    X, _ = samples()
    assert np.array_equal(form.trend(X).numpy(), trend(form, X.numpy()))
    assert form.size(N_IN) == trend(form, X.numpy()).shape[1]


@each_form
@pytest.mark.parametrize("seed", [0, 1])
def test_the_gradient_of_the_likelihood_is_exact(form, seed):
    X, C = samples(seed=10 * seed)
    likelihood = Likelihood(X, C, form)
    x = likelihood.begin(0.6, 1e-2)
    x = x + 0.3 * normal(len(x), seed=seed).numpy()
    direction = normal(len(x), seed=seed + 5).numpy()
    value, gradient = likelihood(x)
    slope = float(gradient @ direction)
    steps = [2.0**-k for k in range(3, 10)]
    remainders = [abs(likelihood(x + h * direction)[0] - value - h * slope) for h in steps]
    assert remainders[-1] > 1e-9  # above rounding
    assert all(order > 1.8 for order in orders(remainders)[-4:])


@pytest.mark.parametrize("name", ["gaussian", "matern52"])
def test_the_gradient_is_exact_where_inputs_share_a_scale(name, monkeypatch):
    monkeypatch.setattr(kernel, "EACH", 2)
    monkeypatch.setattr(searching, "EACH", 2)
    X, C = samples(n_in=3)
    likelihood = Likelihood(X, C, Form(kernel=name, degree=1))
    assert len(likelihood.bounds) == 2
    x, direction = likelihood.begin(0.6, 1e-2), np.array([0.8, -0.6])
    value, gradient = likelihood(x)
    steps = [2.0**-k for k in range(3, 10)]
    slope = float(gradient @ direction)
    remainders = [abs(likelihood(x + h * direction)[0] - value - h * slope) for h in steps]
    assert all(order > 1.8 for order in orders(remainders)[-4:])


@each_form
def test_the_likelihood_is_the_restricted_one(form):
    X, C = samples()
    likelihood = Likelihood(X, C, form)
    values = []
    for scale, nugget in ((0.5, 1e-2), (0.8, 1e-1)):
        x = likelihood.begin(scale, nugget)
        scales, half = torch.full((2, N_IN), 0.5, dtype=torch.float64)
        scales = scale + 0 * scales
        fit = Fit(form=form, scales=scales, nugget=nugget, shares=half if form.anova else None)
        K = kappa(fit, X.numpy(), X.numpy()) + nugget * np.eye(N)
        H = trend(form, X.numpy())
        inverse = np.linalg.inv(K)
        gram = H.T @ inverse @ H
        P = inverse - inverse @ H @ np.linalg.solve(gram, H.T @ inverse)
        dof = N - H.shape[1]
        v = np.einsum("ij,ij->j", C.numpy(), P @ C.numpy()) / dof
        minus = np.log(v).mean() * dof + np.linalg.slogdet(K)[1] + np.linalg.slogdet(gram)[1]
        far = (np.log(scale) - np.log(0.2)) / 3
        values.append((likelihood(x)[0], minus / 2 + N_IN * far**2 / 2))
    (first, expected), (second, other) = values
    assert first == pytest.approx(expected, rel=1e-8, abs=1e-8)
    assert second == pytest.approx(other, rel=1e-8, abs=1e-8)


@each_form
def test_weights_are_those_of_the_kriging_equations(form):
    X, C = samples()
    found = solve(X, C, fit_of(form))
    reference = Reference(fit_of(form), X, C)
    np.testing.assert_allclose(found.weights, reference.weights, rtol=1e-8, atol=1e-9)
    fresh = normal(7, N_IN, seed=50)
    np.testing.assert_allclose(
        found.predict(fresh), reference.predict(fresh), rtol=1e-9, atol=1e-10
    )


@each_form
def test_left_out_residuals_are_those_of_samples_left_out(form):
    X, C = samples()
    found = solve(X, C, fit_of(form))
    for i in range(N):
        others = torch.arange(N) != i
        reference = Reference(fit_of(form), X[others], C[others])
        left = reference.predict(X[i : i + 1])[0] - C[i].numpy()
        np.testing.assert_allclose(found.left_out[i], left, rtol=1e-8, atol=1e-10)
        assert float(found.variance[i]) == pytest.approx(
            float(reference.variance(X[i : i + 1])[0]), rel=1e-8
        )


@each_form
@pytest.mark.parametrize("centres", [1000, 12])
def test_samples_of_one_number_are_left_out_together(form, centres, monkeypatch):
    monkeypatch.setattr(kernel, "CENTRES", centres)
    X, C = samples()
    same = np.array([0, 1, 1, 2, 3, 3, 3, *range(4, N - 3)])
    X[2], X[5], X[6] = X[1], X[4], X[4]
    found = solve(X, C, fit_of(form), same)
    for number in range(4):
        held = torch.from_numpy(same == number)
        if centres < N:
            left = Subset(fit_of(form), found.centres, X[~held], C[~held])
        else:
            left = Reference(fit_of(form), X[~held], C[~held])
        residual = left.predict(X[held]) - C[held].numpy()
        np.testing.assert_allclose(found.left_out[held], residual, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.variance[held], left.variance(X[held]), rtol=1e-4)


@each_form
def test_blocks_left_out_are_folds_left_out(form):
    X, C = samples()
    folds = torch.arange(N) % 4
    found = blocks_left_out(X, C, fit_of(form), folds)
    for fold in range(4):
        held = folds == fold
        reference = Reference(fit_of(form), X[~held], C[~held])
        np.testing.assert_allclose(
            found[held], reference.predict(X[held]) - C[held].numpy(), rtol=1e-7, atol=1e-10
        )


@each_form
def test_the_variance_of_a_prediction_is_that_of_kriging(form):
    X, C = samples()
    found = solve(X, C, fit_of(form))
    fresh = 2 * normal(9, N_IN, seed=50)
    expected = Reference(fit_of(form), X, C).variance(fresh)
    np.testing.assert_allclose(told_variance(found, fresh), expected, rtol=1e-8)


class Subset:
    """Subset of regressors by dense algebra: features kappa(x, x_k) L^-T, ridge on them alone."""

    def __init__(self, fit, centres, X, C):
        self.fit, self.centres = fit, centres.numpy()
        k = kappa(fit, self.centres, self.centres)
        self.inverse = np.linalg.inv(np.linalg.cholesky(k + 1e-10 * np.eye(len(k))))
        Z = self.features(X.numpy())
        self.n_ridge = len(k)
        ridge = np.zeros((Z.shape[1], Z.shape[1]))
        ridge[: len(k), : len(k)] = fit.nugget * np.eye(len(k))
        self.covariance = np.linalg.inv(Z.T @ Z + ridge)
        self.weights = self.covariance @ Z.T @ C.numpy()

    def features(self, X):
        k = kappa(self.fit, X, self.centres)
        return np.hstack([k @ self.inverse.T, trend(self.fit.form, X)])

    def predict(self, X):
        return self.features(X.numpy()) @ self.weights

    def variance(self, X):
        Z = self.features(X.numpy())
        posterior = np.einsum("ij,jk,ik->i", Z, self.covariance, Z)
        prior = 1 - (Z[:, : self.n_ridge] ** 2).sum(axis=1)
        return prior + self.fit.nugget * (1 + posterior)


@each_form
def test_more_samples_than_centres_are_a_subset_of_regressors(form, monkeypatch):
    monkeypatch.setattr(kernel, "CENTRES", 20)
    X, C = samples(n=60)
    fit = fit_of(form)
    found = solve(X, C, fit)
    assert len(found.centres) == 20
    assert all(bool((X == centre).all(dim=1).any()) for centre in found.centres)
    reference = Subset(fit, found.centres, X, C)
    fresh = normal(9, N_IN, seed=50)
    np.testing.assert_allclose(found.predict(fresh), reference.predict(fresh), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(told_variance(found, fresh), reference.variance(fresh), rtol=1e-5)
    for i in range(0, 60, 7):
        others = torch.arange(60) != i
        left = Subset(fit, found.centres, X[others], C[others])
        residual = left.predict(X[i : i + 1])[0] - C[i].numpy()
        np.testing.assert_allclose(found.left_out[i], residual, rtol=1e-4, atol=1e-6)
        expected = float(left.variance(X[i : i + 1])[0])
        assert float(found.variance[i]) == pytest.approx(expected, rel=1e-4)


def test_a_quadratic_is_reproduced_by_a_quadratic_trend():
    X, _ = samples(n=30, n_in=3)
    C = X[:, :1] * X[:, 1:2] - 2 * X[:, 2:] ** 2 + X[:, :1] + 1
    for name in ("gaussian", "matern52"):
        fit = search(X, C, Form(kernel=name, degree=2))
        found = solve(X, C, fit)
        fresh = normal(10, 3, seed=50)
        exact = fresh[:, :1] * fresh[:, 1:2] - 2 * fresh[:, 2:] ** 2 + fresh[:, :1] + 1
        assert float((found.predict(fresh) - exact).abs().max()) < 1e-8
        assert float(found.left_out.abs().max()) < 1e-8


@each_form
def test_repeated_inputs_with_different_outputs_are_averaged(form):
    X, C = samples(n=15)
    X, C = torch.cat([X, X]), torch.cat([C + 0.3, C - 0.3])
    fit = search(X, C, form)
    found = solve(X, C, fit)
    assert bool(torch.isfinite(found.left_out).all())
    # Where a sample is left out, its twin is the best guess: 0.6 away, within what others say.
    size = float(found.left_out.square().mean().sqrt())
    assert 0.2 < size < 1.2
    assert fit.nugget > 1e-5  # far from its bound, 1e-10


@pytest.mark.parametrize("name", ["gaussian", "matern52"])
def test_noise_is_not_interpolated(name):
    X, C = samples(n=80, noise=0.3, seed=4)
    clean = samples(n=80, noise=0.0, seed=4)[1]
    found = solve(X, C, search(X, C, Form(kernel=name, degree=1)))
    error = float((found.predict(X) - clean).square().mean().sqrt())
    assert error < 0.2
    left = float(found.left_out.square().mean().sqrt())
    assert 0.25 < left < 0.45  # the noise, and a little more


def test_an_input_that_does_not_vary_has_scale_zero():
    X, C = samples(n=25, n_in=3)
    X[:, 1] = 0
    fit = search(X, C, Form(kernel="gaussian", degree=0))
    assert float(fit.scales[1]) == 0
    assert bool((fit.scales[[0, 2]] > 0).all())
    found = solve(X, C, fit)
    moved = X.clone()
    moved[:, 1] = 5
    assert torch.equal(found.predict(moved), found.predict(X))


def test_a_start_is_at_least_as_likely_as_what_it_begins_with():
    X, C = samples(n=30)
    form = Form(kernel="matern52", degree=0)
    likelihood = Likelihood(X, C, form)
    given = fit_of(form)
    found = search(X, C, form, start=given)
    assert likelihood(likelihood.at(found))[0] <= likelihood(likelihood.at(given))[0]


def test_the_scales_of_many_samples_are_sought_on_some(monkeypatch):
    monkeypatch.setattr(searching, "_SEARCHED", 30)
    X, C = samples(n=90)
    rows = torch.linspace(0, 89, 30).round().long()
    form = Form(kernel="gaussian", degree=0)
    some, all_of_them = search(X[rows], C[rows], form), search(X, C, form)
    assert torch.equal(some.scales, all_of_them.scales)
