"""The programs that the surrogate with derivatives is compared with: scaling, choice, real fits."""

from __future__ import annotations

import os
import subprocess

import derivative_methods as methods
import numpy as np
import pytest


def given(n=40, seed=0):
    """A smooth map of two inputs of very different ranges, with its Jacobian."""
    rng = np.random.default_rng(seed)
    lower, upper = np.array([-1.0, 1e3]), np.array([2.0, 5e3])
    ranges = upper - lower

    def outputs(Y):
        a, b = ((Y - lower) / ranges).T
        C = np.stack([np.sin(2 * a) + b**2, 1e4 * a * b], axis=1)
        J = np.stack([np.stack([2 * np.cos(2 * a), 2 * b], 1), 1e4 * np.stack([b, a], 1)], 1)
        return C, J / ranges

    Y, Y_test = (lower + ranges * rng.random((m, 2)) for m in (n, 100))
    C, J = outputs(Y)
    drawn = {"Y_train": Y, "C_train": C, "dC_dY_train": J, "lower": lower, "upper": upper}
    return {**drawn, "Y_test": Y_test}, outputs(Y_test)


def errors(found, truth):
    C, J = truth
    c = np.sqrt(((found["mean"] - C) ** 2).mean(axis=0)) / C.std(axis=0)
    j = np.linalg.norm(found["jacobian"] - J, axis=(0, 2)) / np.linalg.norm(J, axis=(0, 2))
    return c.max(), j.max()


def polynomial(data, setting, seed):
    """Fit monomials up to a degree to values and derivatives, by least squares."""
    degree = setting["degree"]
    powers = [(p, q) for p in range(degree + 1) for q in range(degree + 1 - p)]

    def rows(X):
        a, b = X.T
        F = np.stack([a**p * b**q for p, q in powers], axis=1)
        slopes = [[p * a ** max(p - 1, 0) * b**q for p, q in powers]]
        slopes += [[q * a**p * b ** max(q - 1, 0) for p, q in powers]]
        return F, np.array(slopes).transpose(2, 0, 1)

    F, slopes = rows(data.X)
    A = np.concatenate([F, *slopes.transpose(1, 0, 2)])
    T = np.concatenate([data.T, *data.J.transpose(2, 0, 1)])
    W = np.linalg.lstsq(A, T, rcond=None)[0]

    def predict(X):
        F, slopes = rows(X)
        return F @ W, (slopes @ W).transpose(0, 2, 1)

    return predict, float(np.linalg.norm(A @ W - T))


@pytest.fixture
def polynomials(monkeypatch):
    tried = []

    def method(data, setting, seed):
        tried.append((setting["degree"], len(data.X)))
        return polynomial(data, setting, seed)

    degrees = [{"degree": degree} for degree in (1, 8, 2)]
    monkeypatch.setitem(methods.METHODS, "polynomial", method)
    monkeypatch.setattr(methods, "grid", lambda *_: degrees)
    return tried


def test_predictions_are_in_physical_units(polynomials):
    drawn, truth = given()
    found = methods.run("polynomial", drawn, seed=1)
    assert max(errors(found, truth)) < 1e-4


def test_the_setting_with_the_least_error_on_held_out_rows_is_trained_on_all(polynomials):
    drawn, _ = given()
    found = methods.run("polynomial", drawn, seed=1)
    assert polynomials == [(1, 32), (8, 32), (2, 32), (8, 40)]
    assert str(found["setting"]) == "{'degree': 8}"


def test_a_setting_that_cannot_be_trained_is_left_out_and_all_of_them_are_an_error(monkeypatch):
    def method(data, setting, seed):
        if setting["degree"] > 2:
            raise np.linalg.LinAlgError("singular")
        return polynomial(data, setting, seed)

    drawn, _ = given()
    monkeypatch.setitem(methods.METHODS, "polynomial", method)
    monkeypatch.setattr(methods, "grid", lambda *_: [{"degree": d} for d in (5, 2, 1)])
    assert str(methods.run("polynomial", drawn, 1)["setting"]) == "{'degree': 2}"
    monkeypatch.setattr(methods, "grid", lambda *_: [{"degree": d} for d in (5, 6)])
    with pytest.raises(ValueError, match="no setting of polynomial can be trained: singular"):
        methods.run("polynomial", drawn, 1)


@pytest.mark.parametrize(("n", "n_in"), [(10, 2), (25, 2), (100, 8), (400, 15), (1000, 3)])
def test_grids_of_kriging_bound_the_points_of_a_model(n, n_in):
    for setting in methods.grid("gekpls", n, n_in, quick=False):
        assert setting["extra_points"] <= n_in
        assert n * (setting["extra_points"] + 1) <= max(methods.MOST_POINTS, n)
        assert 2 <= setting["n_comp"] <= max(n_in, 2)
    assert len(methods.grid("gekpls", n, n_in, quick=True)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("method", methods.METHODS)
def test_the_programs_learn_a_smooth_map_in_their_own_environment(tmp_path, method):
    python = os.environ.get("SURROGATES_COMPARATORS")
    if not python:
        pytest.skip(
            "SURROGATES_COMPARATORS is not the Python of an environment with jenn and smt, such as "
            "benchmark_derivatives.py makes: CACHE/comparators/bin/python"
        )
    drawn, truth = given(20)
    np.savez(tmp_path / "draw.npz", **drawn)
    words = [python, methods.__file__, method, tmp_path / "draw.npz", tmp_path / "result.npz"]
    subprocess.run([*words, "--quick"], check=True, timeout=300)
    with np.load(tmp_path / "result.npz") as found:
        c, j = errors(found, truth)
        assert found["seconds"] > 0
    assert c < 0.7 and j < 0.9
