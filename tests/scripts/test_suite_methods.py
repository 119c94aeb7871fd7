"""The methods of the suite: the likelihood against scikit-learn's, what is fitted exactly."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from surrogates.errors import InputError

pytest.importorskip("sklearn", reason="the suite compares with scikit-learn")

import suite_methods as methods


def samples(n, n_out=1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return X, rng.normal(size=(n, n_out))


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("scales", [[0.7, 1.5, 3.0], [1.2]])
def test_the_likelihood_and_its_gradient_are_those_of_scikit_learn(smooth, scales):
    X, targets = samples(40, n_out=2)
    theta = np.log([2.0, *scales, 0.05])
    value, gradient, _ = methods.log_likelihood(theta, X, targets, smooth)
    kernel_scales = np.exp(theta[1:-1]) if len(scales) > 1 else float(np.exp(theta[1]))
    assert np.size(kernel_scales) == len(scales)
    process = methods._regressor(theta, smooth, False).fit(X, targets)
    expected, slope = process.log_marginal_likelihood(process.kernel_.theta, eval_gradient=True)
    assert value == pytest.approx(expected, rel=1e-10)
    assert gradient == pytest.approx(slope, rel=1e-8, abs=1e-8)


def test_the_leave_one_out_error_is_that_of_models_without_the_row():
    X, targets = samples(20)
    theta, error = methods.maximise(X, targets, True, 3, [np.log([1, 1, 1, 1, 0.3])])
    residuals = []
    for i in range(20):
        rest = np.arange(20) != i
        process = methods._regressor(theta, True, False).fit(X[rest], targets[rest, 0])
        residuals.append(process.predict(X[[i]])[0] - targets[i, 0])
    assert error == pytest.approx(np.mean(np.square(residuals)), rel=1e-6)


@pytest.mark.parametrize("method", ["gp_rbf", "gp_matern"])
def test_a_gaussian_process_follows_smooth_outputs_with_sound_intervals(method):
    rng = np.random.default_rng(1)
    Y, Y_test = rng.uniform(-2, 2, (60, 2)), rng.uniform(-1.8, 1.8, (200, 2))

    def outputs(Y):
        wave = np.sin(Y @ [1, 0.5])
        return np.stack([1e-3 * wave, 1e3 * (wave + Y[:, 0])], axis=1)

    fitted = methods.run(method, "regression", Y, outputs(Y), Y_test, 0)
    errors = np.abs(fitted.mean - outputs(Y_test)) / outputs(Y_test).std(axis=0)
    assert errors.max() < 0.05
    assert (np.abs(fitted.mean - outputs(Y_test)) < 4 * fitted.std).mean() > 0.95


def test_many_inputs_may_share_a_length_scale():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(40, 25))
    theta = methods.fit_process(X, np.tanh(X @ rng.normal(size=(25, 1)) / 5), True, 0, None)
    assert len(theta) in (3, 27)
    few = methods.fit_process(X[:, :3], X[:, :1], True, 0, None)
    assert len(few) == 5


def test_a_start_alone_can_miss_the_largest_likelihood():
    """Friedman's first function with noise at this draw: from long scales it is half noise."""
    rng = np.random.default_rng(1)
    X = rng.uniform(size=(100, 10))
    wave = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2
    targets = (wave + 10 * X[:, 3] + 5 * X[:, 4] + rng.normal(size=100))[:, None]
    X, targets = ((a - a.mean(axis=0)) / a.std(axis=0) for a in (X, targets))
    found = methods.starts(10, 10, 0)
    values = [
        methods.log_likelihood(
            methods.maximise(X, targets, True, 10, [start])[0], X, targets, True
        )[0]
        for start in found
    ]
    best = methods.maximise(X, targets, True, 10, found)[0]
    assert methods.log_likelihood(best, X, targets, True)[0] == pytest.approx(max(values))
    assert min(values) < max(values) - 1


def test_many_outputs_are_restored_from_their_components():
    rng = np.random.default_rng(3)
    C = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 12)) * np.logspace(-3, 3, 12) + 7
    reduced = methods.Reduced(C, 0.9999)
    assert reduced.scores.shape == (50, 2)
    fitted = reduced.restore(reduced.scores, np.ones_like(reduced.scores))
    assert fitted.mean == pytest.approx(C, rel=1e-8)
    spread = np.abs(reduced.components.T * C.std(axis=0)[:, None])
    assert fitted.std[0] == pytest.approx(np.sqrt((spread**2).sum(axis=1)))
    assert methods.Reduced(C[:, :8], 0.9).components is None


def test_quadratics_are_exact_for_quadratic_ridge_in_every_unit():
    rng = np.random.default_rng(4)
    Y, Y_test = rng.uniform(1, 2, (60, 3)), rng.uniform(1, 2, (20, 3))

    def outputs(Y):
        return np.stack([1e-3 * Y[:, 0] * Y[:, 1], 1e3 * Y[:, 2] ** 2], axis=1)

    fitted = methods.run("quadratic_ridge", "regression", Y, outputs(Y), Y_test, 0)
    # Older scikit-learn chooses another weight, which leaves 2e-5.
    assert fitted.mean == pytest.approx(outputs(Y_test), rel=1e-4)


def test_kernel_ridge_chooses_settings_that_follow_a_wave():
    Y, Y_test = np.linspace(0, 6, 60)[:, None], np.linspace(0.1, 5.9, 50)[:, None]
    fitted = methods.run("kernel_ridge", "regression", Y, np.sin(Y), Y_test, 0)
    assert np.abs(fitted.mean - np.sin(Y_test)).max() < 1e-3


def test_kriging_is_offered_where_smt_is_installed():
    there = importlib.util.find_spec("smt") is not None
    assert ("smt_kriging" in methods.available()) == there
    tasks = (methods.of_task(task) for task in ("regression", "classification"))
    assert [sum("smt" in name for name in found) for found in tasks] == [1, 0]


def test_a_classifier_predicts_labels():
    rng = np.random.default_rng(5)
    Y = rng.normal(size=(90, 2))
    labels = (Y[:, :1] > 0).astype(float) + (Y[:, 1:] > 0)
    fitted = methods.run("kernel_ridge", "classification", Y[:60], labels[:60], Y[60:], 0)
    assert fitted.mean.shape == (30, 1)
    assert (fitted.mean == labels[60:]).mean() > 0.8


def test_unknown_methods_are_named_with_the_nearest():
    X, targets = samples(10)
    with pytest.raises(InputError, match="'gp_rfb' of regression.*gp_rbf"):
        methods.run("gp_rfb", "regression", X, targets, X, 0)


def test_a_method_runs_in_a_process_that_has_no_outputs_of_the_test_points(tmp_path):
    X, _ = samples(40)
    given, result = tmp_path / "draw.npz", tmp_path / "result.npz"
    np.savez(given, Y_train=X, C_train=X[:, :1] ** 2, Y_test=X[:5], task=np.array("regression"))
    command = [sys.executable, methods.__file__, "quadratic_ridge"]
    subprocess.run([*command, str(given), str(result)], check=True, timeout=120)
    with np.load(result) as arrays:
        assert arrays["mean"] == pytest.approx(X[:5, :1] ** 2, abs=1e-3)
        assert arrays["seconds"] > 0
        assert "std" not in arrays
