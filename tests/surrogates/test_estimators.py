"""The estimators of scikit-learn: its own checks, and the ways in which they are used."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6", reason="the extra sklearn is not installed")

import joblib
from sklearn.base import clone
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import surrogates
from surrogates import GNvproClassifier, GNvproRegressor, InputError

QUICK = {"effort": "fast", "work_units": 60, "width": 4}
QUICKEST = {"effort": "fast", "work_units": 16, "width": 2}


@parametrize_with_checks([GNvproRegressor(**QUICKEST), GNvproClassifier(**QUICKEST)])
def test_scikit_learn_finds_no_fault(estimator, check):
    check(estimator)


def samples(n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(1).random((n, 2))
    return X, np.sin(3 * X[:, 0]) + X[:, 1]


@pytest.fixture(scope="module")
def regressor() -> GNvproRegressor:
    return GNvproRegressor(**QUICK).fit(*samples())


@pytest.fixture(scope="module")
def classifier() -> GNvproClassifier:
    X, y = samples()
    return GNvproClassifier(**QUICK).fit(X, np.where(y > 1.4, "high", "low"))


def test_predictions_are_the_surrogate_s(regressor):
    X, y = samples()
    mean, std = regressor.predict(X, return_std=True)
    assert mean.shape == std.shape == y.shape and (std > 0).all()
    assert np.array_equal(mean, regressor.surrogate_.predict(X)[:, 0])
    assert np.array_equal(std, regressor.surrogate_.predict_std(X)[:, 0])
    assert regressor.score(X, y) > 0.99
    both = clone(regressor).fit(X, np.stack([y, -y], axis=1))
    assert both.predict(X).shape == (80, 2)


def test_classes_are_those_given(classifier):
    X, y = samples()
    assert list(classifier.classes_) == ["high", "low"]
    assert (classifier.predict(X) == np.where(y > 1.4, "high", "low")).mean() > 0.9
    assert np.allclose(classifier.predict_proba(X).sum(axis=1), 1)


def test_a_surrogate_of_a_file_is_a_fitted_estimator(regressor, classifier, tmp_path):
    """What scikit-learn inspects, and pipelines call, need not be trained by it."""
    pandas = pytest.importorskip("pandas")
    X, y = samples()
    regressor.surrogate_.save(tmp_path / "r.pt")
    found = GNvproRegressor.of(surrogates.load(tmp_path / "r.pt"))
    frame = pandas.DataFrame(X, columns=list(regressor.surrogate_.y_names))
    right = regressor.predict(X)
    np.testing.assert_allclose(found.predict(frame), right, rtol=1e-9, atol=1e-12)
    weight = permutation_importance(found, frame, y, n_repeats=2, random_state=0).importances_mean
    assert (weight > 0.1).all()
    average = partial_dependence(found, frame, [0], grid_resolution=5).average
    assert average.shape == (1, 5)
    with pytest.raises(ValueError, match="feature names should match"):
        found.predict(frame[frame.columns[::-1]])
    classes = GNvproClassifier.of(classifier.surrogate_)
    frame.columns = classifier.surrogate_.y_names
    assert np.array_equal(classes.predict(frame), classifier.predict(X))
    assert np.array_equal(classes.classes_, classifier.classes_)
    for kind, of in ((GNvproRegressor, classifier), (GNvproClassifier, regressor)):
        with pytest.raises(InputError, match="; this estimator is not"):
            kind.of(of.surrogate_)


@pytest.mark.parametrize("name", ["regressor", "classifier"])
def test_an_estimator_can_be_cloned_pickled_and_kept_by_joblib(name, request, tmp_path):
    estimator = request.getfixturevalue(name)
    X, _ = samples()
    joblib.dump(estimator, tmp_path / "e.joblib")
    for again in (pickle.loads(pickle.dumps(estimator)), joblib.load(tmp_path / "e.joblib")):
        assert np.array_equal(again.predict(X), estimator.predict(X))
    other = clone(estimator)
    assert other.get_params() == estimator.get_params() and not hasattr(other, "surrogate_")


def test_settings_are_searched_in_a_pipeline():
    X, y = samples()
    steps = make_pipeline(StandardScaler(), GNvproRegressor(**QUICK))
    grid = {"gnvproregressor__width": [1, 4], "gnvproregressor__alpha1": [1e-6]}
    search = GridSearchCV(steps, grid, cv=2).fit(X, y)
    assert search.best_params_["gnvproregressor__width"] == 4
    settings = search.best_estimator_[-1].surrogate_.metadata["training"]["settings"]
    assert settings["network"]["width"] == 4 and settings["regularisation"]["alpha1"] == 1e-6
    assert cross_val_score(steps, X, y, cv=2).min() > 0.9


def test_scores_of_classes_are_cross_validated():
    X, y = samples()
    scores = cross_val_score(GNvproClassifier(**QUICK), X, y > 1.4, cv=2, n_jobs=2)
    assert scores.min() > 0.8


def test_a_seed_decides_and_every_class_is_trained_on():
    X, y = samples(12)
    labels = np.array(["rare", *["often"] * 11])
    found = [GNvproClassifier(**QUICK, random_state=seed).fit(X, labels) for seed in (0, 0, 1)]
    proba = [one.predict_proba(X) for one in found]
    assert np.array_equal(proba[0], proba[1]) and not np.array_equal(proba[0], proba[2])
    assert found[0].surrogate_.dataset.split[0] == 0
    state = np.random.RandomState(0)
    assert GNvproRegressor(**QUICK, random_state=state).fit(X, y).score(X, y) > 0.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"width": 0}, "width must be at least 1"),
        ({"config": {"network.widht": 2}}, "did you mean 'network.width'"),
        ({"effort": "slow"}, "unknown effort 'slow'"),
        ({"validation_fraction": 1.0}, "validation_fraction must be between 0 and 1"),
    ],
)
def test_a_mistake_is_one_clear_line(given, message):
    with pytest.raises(InputError, match=message):
        GNvproRegressor(**{**QUICK, **given}).fit(*samples(8))
