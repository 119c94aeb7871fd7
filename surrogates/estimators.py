"""Surrogates as estimators of scikit-learn: `GNvproRegressor` and `GNvproClassifier`.

    from sklearn.model_selection import GridSearchCV
    search = GridSearchCV(GNvproRegressor(effort="fast"), {"width": [4, 8, 16]}).fit(X, y)

Each setting of a training is a flat argument of the constructor, so that scikit-learn can clone an
estimator and search its settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast

import numpy as np
import numpy.typing as npt

from surrogates.config import check
from surrogates.data.from_arrays import from_arrays
from surrogates.errors import InputError
from surrogates.model.loaded import LoadedClassifier, LoadedSurrogate
from surrogates.training.make import train
from surrogates.types import Array

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise InputError(
        f"the estimators need scikit-learn 1.6 or later: pip install 'varpro-surrogates[sklearn]' "
        f"({error})"
    ) from error

_E = TypeVar("_E", bound="GNvproEstimator")
_KEYS = {
    "network": "network.kind",
    "activation": "network.activation",
    "width": "network.width",
    "linear": "network.linear",
    "cells": "network.cells",
    "optimizer": "optimizer.name",
    "work_units": "stopping.work_units",
    "patience": "stopping.patience",
    "alpha1": "regularisation.alpha1",
    "alpha2": "regularisation.alpha2",
    "scale": "inputs.scale",
    "whitening": "inputs.whitening",
    "smoothing": "regularisation.smoothing",
    "noise": "inputs.noise",
}
"""Keys of the settings of a training, by the arguments of an estimator."""


class GNvproEstimator(BaseEstimator):
    """The settings and the training that both estimators share.

    An interrupt ends a fit with the best so far (see `surrogates.train`); a search goes on with its
    next fit, unless a second interrupt comes before.

    Args:
        effort: ``default``, a choice by held-out errors; ``high``, of more; or ``fast``, the
            training of one network. See `surrogates.train`.
        network: ``ode``, ``resnet``, ``mlp``, or ``rbf``. This and the next arguments are settings
            of `surrogates.TrainConfig`; None is a choice, or with ``effort="fast"`` the default.
        activation: Activation of the network.
        width: Number of the network's features.
        linear: Whether the inputs are further features.
        cells: Cells, or layers, of the network.
        optimizer: ``gnvpro``, ``gn``, ``lbfgs``, ``adam`` or ``sgd``.
        work_units: Work units of a training.
        patience: Iterations without progress on validation after which a training ends.
        alpha1: Weight of the regularisation of the network.
        alpha2: Weight of the regularisation of the linear weights.
        scale: Standard deviation of the scaled inputs.
        whitening: Power of the principal components' variances that scales the inputs.
        smoothing: Weight of the differences of neighbouring inputs' first weights.
        noise: Power of the inputs' noise that divides them.
        config: Further settings by their keys, which the arguments above override; None for none.
        validation_fraction: Share of the samples that stops a training, and chooses its weights; a
            choice by held-out errors takes all samples for both.
        random_state: Seed of that share and of the first weights.
        n_jobs: Processes of a choice; None for 1, -1 for one on each core.

    Attributes:
        surrogate_: The surrogate, once it is fitted.
        n_features_in_: Number of its inputs.
        feature_names_in_: Their names, if the samples had any.
    """

    surrogate_: LoadedSurrogate
    n_features_in_: int
    feature_names_in_: npt.NDArray[Any]

    def __init__(
        self,
        *,
        effort: Literal["fast", "default", "high"] = "default",
        network: str | None = None,
        activation: str | None = None,
        width: int | None = None,
        linear: bool | None = None,
        cells: int | None = None,
        optimizer: str | None = None,
        work_units: int | None = None,
        patience: int | None = None,
        alpha1: float | None = None,
        alpha2: float | None = None,
        scale: float | None = None,
        whitening: float | None = None,
        smoothing: float | None = None,
        noise: float | None = None,
        config: Mapping[str, Any] | None = None,
        validation_fraction: float = 0.2,
        random_state: Any = 0,
        n_jobs: int | None = None,
    ) -> None:
        """Keep the settings; they are checked when samples are given."""
        self.effort = effort
        self.network = network
        self.activation = activation
        self.width = width
        self.linear = linear
        self.cells = cells
        self.optimizer = optimizer
        self.work_units = work_units
        self.patience = patience
        self.alpha1 = alpha1
        self.alpha2 = alpha2
        self.scale = scale
        self.whitening = whitening
        self.smoothing = smoothing
        self.noise = noise
        self.config = config
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.n_jobs = n_jobs

    @classmethod
    def of(cls: type[_E], surrogate: LoadedSurrogate) -> _E:
        """Return a fitted estimator of a surrogate, such as one of a file.

        Its features have the names of the parameters, so that scikit-learn checks those of data
        frames, and warns of arrays. A clone is not fitted: a search or ensemble trains anew, unless
        the estimator is within a ``sklearn.frozen.FrozenEstimator``.

        Args:
            surrogate: From `surrogates.load`, `fit` or `train`, of this estimator's task.

        Raises:
            InputError: If it is of the other task.
        """
        found = cls()
        classes = issubclass(cls, ClassifierMixin)
        check(
            classes == (surrogate.task == "classification"),
            f"{surrogate.path} is for {surrogate.task}; this estimator is not",
        )
        found.surrogate_ = surrogate
        found.n_features_in_ = surrogate.n_in
        found.feature_names_in_ = np.array(surrogate.y_names, dtype=object)
        found._adopt(surrogate)
        return found

    def _adopt(self, surrogate: LoadedSurrogate) -> None:
        """Take from a surrogate what `fit` takes from the samples."""

    def _fitted(self, X: Array, groups: npt.NDArray[Any] | None, **targets: Any) -> LoadedSurrogate:
        """Return a surrogate of samples; ``groups`` are the classes, from 0."""
        check(
            0 < self.validation_fraction < 1,
            f"validation_fraction must be between 0 and 1; got {self.validation_fraction}",
        )
        state = self.random_state
        fixed = isinstance(state, int | np.integer)
        seed = int(state) if fixed else int(check_random_state(state).randint(2**31 - 1))
        n = len(X)
        check(n >= 3, f"n_samples={n}: a surrogate needs at least 3 samples")
        parts = _parts(n, self.validation_fraction, seed, groups)
        names = getattr(self, "feature_names_in_", [f"x{k}" for k in range(X.shape[1])])
        dataset = from_arrays(X, y_names=list(names), split=parts, seed=seed, **targets)
        settings = dict(self.config or {})
        given = {key: getattr(self, name) for name, key in _KEYS.items()}
        settings |= {key: value for key, value in given.items() if value is not None}
        processes = 1 if self.n_jobs is None else None if self.n_jobs < 0 else self.n_jobs
        return train(dataset, settings, effort=self.effort, seed=seed, processes=processes)


class GNvproRegressor(RegressorMixin, GNvproEstimator):
    """A regression by a surrogate, of one output or several.

    `GNvproEstimator` has the arguments and attributes.
    """

    def fit(self, X: Any, y: Any) -> GNvproRegressor:
        """Train a surrogate.

        Args:
            X: Inputs, (n_samples, n_features).
            y: Outputs, (n_samples,) or (n_samples, n_outputs).

        Returns:
            This.

        Raises:
            InputError: If a setting does not fit, or there are fewer than 3 samples. It is a
                ValueError.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self._one = y.ndim == 1
        self.surrogate_ = self._fitted(X, None, C=y)
        return self

    def _adopt(self, surrogate: LoadedSurrogate) -> None:
        self._one = surrogate.n_out == 1

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the outputs.

        Args:
            X: Inputs, (n_samples, n_features).
            return_std: Whether to return the standard deviations of the errors as well.

        Returns:
            Outputs, of the shape of y in `fit`; or these and their standard deviations.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        found = [self.surrogate_.predict(X)]
        if return_std:
            found.append(self.surrogate_.predict_std(X))
        found = [values[:, 0] if self._one else values for values in found]
        return tuple(found) if return_std else found[0]

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: several outputs are allowed."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class GNvproClassifier(ClassifierMixin, GNvproEstimator):
    """A classification by a surrogate, of two classes or more.

    `GNvproEstimator` has the arguments and attributes; ``classes_`` are the classes.
    """

    classes_: npt.NDArray[Any]

    def fit(self, X: Any, y: Any) -> GNvproClassifier:
        """Train a classifier.

        Args:
            X: Inputs, (n_samples, n_features).
            y: Classes, (n_samples,): texts, integers or others.

        Returns:
            This.

        Raises:
            InputError: If a setting does not fit, there are fewer than 3 samples, or there is a
                single class; it is a ValueError.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        check(len(self.classes_) > 1, "there is only one class; a classifier needs two")
        names = [str(label) for label in self.classes_]
        self.surrogate_ = self._fitted(X, index, labels=index, c_names=names)
        return self

    def _adopt(self, surrogate: LoadedSurrogate) -> None:
        self.classes_ = np.array(surrogate.c_names)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Predict the classes, (n_samples,), of inputs (n_samples, n_features)."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def predict_proba(self, X: Any) -> Array:
        """Predict the probabilities, (n_samples, n_classes), in the order of ``classes_``."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return cast(LoadedClassifier, self.surrogate_).probabilities(X)


def _parts(
    n: int, share: float, seed: int, groups: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.str_]:
    """Return the part of each sample, ``train`` or ``validation``, at random.

    Each class has its share in both; a class of one sample is trained on.
    """
    rng = np.random.default_rng(seed)
    parts = np.full(n, "train", dtype="U10")
    for group in range(1 if groups is None else groups.max() + 1):
        rows = np.arange(n) if groups is None else np.flatnonzero(groups == group)
        held = min(max(1, round(share * len(rows))), len(rows) - 1)
        parts[rng.permutation(rows)[:held]] = "validation"
    return parts
