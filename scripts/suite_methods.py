"""The methods that `benchmark_suite.py` compares the surrogate with, tuned on the training rows.

    python scripts/suite_methods.py METHOD DRAW.npz RESULT.npz [--seed S]

DRAW.npz holds Y_train, C_train, Y_test and task, but not the outputs at the test points: no method
can see them. RESULT.npz holds the predictions, the seconds of tuning and training, and the standard
deviations of the method's intervals if it has any.

Each method gets all training rows; those that need a validation part split them themselves. Inputs
and outputs are standardised by the training rows. Settings are chosen by five folds (perceptrons:
three), by the error of all outputs, each over its standard deviation. Methods that fit one model
for each output reduce more than 8 outputs to principal components.

Gaussian processes are scikit-learn's, with a constant times an anisotropic kernel plus white noise.
Only the marginal likelihood is evaluated here, because scikit-learn's gradient needs an array of
n x n x n_in numbers; `log_likelihood` needs only products of matrices.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC

from surrogates.config import check, unknown
from surrogates.types import Array

FOLDS = 5
PERCEPTRON_FOLDS = 3  # their searches take longest
SEPARATE_OUTPUTS = 8  # more than these are reduced to principal components
VARIANCE = 0.9999  # kept by the components of Gaussian processes and Kriging
BOOSTED_VARIANCE = 0.999
SEPARATE_COST = 2e10  # components times n^3; above it, one kernel for all components
ANISOTROPIC_INPUTS = 20  # with more, one common length scale is tried too
JITTER = 1e-10
SCALES, AMPLITUDES, NOISES = (1e-2, 1e3), (1e-3, 1e5), (1e-9, 1e1)
ROOT5 = 5**0.5
TREES = {0.03: 1000, 0.1: 300}  # largest number at each learning rate
TUNED_OUTPUTS = 3
MONOMIALS = 2000


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A fitted method's predictions at the test points.

    Attributes:
        mean: Outputs, (n_test, n_out), or labels, (n_test, 1).
        std: Standard deviations of observations, (n_test, n_out); None if the method has none.
    """

    mean: Array
    std: Array | None = None


Method = Callable[[Array, Array, Array, int], Fitted]


def available() -> list[str]:
    """List the methods that can run here: Kriging needs `smt`."""
    there = importlib.util.find_spec("smt") is not None
    return [name for name in REGRESSION if name != "smt_kriging" or there]


def of_task(task: str) -> dict[str, Method]:
    """Return the methods of regression or classification by their names."""
    return REGRESSION if task == "regression" else CLASSIFICATION


def run(method: str, task: str, Y: Array, C: Array, Y_test: Array, seed: int) -> Fitted:
    """Tune and train a method; return its predictions.

    Args:
        method: A name of `of_task`.
        task: ``regression`` or ``classification``.
        Y: Training inputs, (n, n_in).
        C: Training outputs, (n, n_out), or labels, (n, 1).
        Y_test: Test inputs, (n_test, n_in).
        seed: Seed of folds, starts and subsamples.

    Raises:
        InputError: If there is no such method for the task.
    """
    methods = of_task(task)
    check(method in methods, unknown(f"method {method!r} of {task}", method, methods))
    return methods[method](Y, C, Y_test, seed)


def log_likelihood(
    theta: Array, X: Array, targets: Array, smooth: bool
) -> tuple[float, Array, tuple[Array, Array]]:
    """Evaluate the log marginal likelihood of a Gaussian process and its gradient.

    The kernel is a constant times an RBF (``smooth``) or Matern 5/2 kernel plus white noise. With
    A = (K^-1 y y^T K^-1 - K^-1), summed over outputs, the derivative to log l_k is
    1/2 sum_ij A_ij S_ij (x_ik - x_jk)^2 / l_k^2, where S is the kernel's slope: three products of
    matrices for all k.

    Args:
        theta: Logarithms of the constant, the length scales (n_in or one) and the noise.
        X: Inputs, (n, n_in).
        targets: Outputs that share the kernel, (n, n_out).
        smooth: RBF instead of Matern 5/2.

    Returns:
        The value, its gradient, and K^-1 y with the diagonal of K^-1, for leave-one-out residuals.

    Raises:
        LinAlgError: If K is not positive definite in double precision.
    """
    constant, scales, noise = np.exp(theta[0]), np.exp(theta[1:-1]), np.exp(theta[-1])
    n, n_out = targets.shape
    Z = X / scales
    squares = cdist(Z, Z, "sqeuclidean")
    if smooth:
        kernel = slope = constant * np.exp(-0.5 * squares)
    else:
        r = ROOT5 * np.sqrt(squares)
        decay = constant * np.exp(-r)
        kernel, slope = (1 + r + r**2 / 3) * decay, 5 / 3 * (1 + r) * decay
    K = kernel + (noise + JITTER) * np.eye(n)
    factor = cho_factor(K, lower=True, check_finite=False)
    alpha = cho_solve(factor, targets, check_finite=False)
    half, failed = dpotri(factor[0], lower=True)
    if failed:
        raise LinAlgError("the inverse of the kernel matrix does not exist")
    inverse = np.tril(half) + np.tril(half, -1).T
    log_det = 2 * np.log(np.diag(factor[0])).sum()
    value = -0.5 * (targets * alpha).sum() - 0.5 * n_out * (log_det + n * np.log(2 * np.pi))
    A = alpha @ alpha.T - n_out * inverse
    weights = A * slope
    sums = weights.sum(axis=1)
    steps = (sums @ Z**2) - np.einsum("nk,nk->k", Z, weights @ Z)
    gradient = np.concatenate(
        [
            [0.5 * (A * kernel).sum()],
            steps if len(scales) > 1 or X.shape[1] == 1 else [steps.sum()],
            [0.5 * noise * np.trace(A)],
        ]
    )
    return float(value), gradient, (alpha, np.diag(inverse))


def maximise(
    X: Array, targets: Array, smooth: bool, n_scales: int, starts: Sequence[Array]
) -> tuple[Array, float]:
    """Return the theta of the largest likelihood over starts, with its leave-one-out error."""
    bounds = [np.log(b) for b in (AMPLITUDES, *[SCALES] * n_scales, NOISES)]

    def objective(theta: Array) -> tuple[float, Array]:
        try:
            value, gradient, _ = log_likelihood(theta, X, targets, smooth)
        except LinAlgError:
            return 1e25, np.zeros_like(theta)
        return -value, -gradient

    found = [
        minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds) for start in starts
    ]
    best = min(found, key=lambda result: float(result.fun)).x
    _, _, (alpha, diagonal) = log_likelihood(best, X, targets, smooth)
    return best, float(np.mean((alpha / diagonal[:, None]) ** 2))


def starts(n_in: int, n_scales: int, seed: int) -> list[Array]:
    """Return first values of theta: short and long scales, little and much noise, one random.

    The likelihood has several maxima: with any single one of these starts, Ishigami's function or
    Friedman's with noise is fitted as pure noise at some seed.
    """
    wide = n_in**0.5
    pairs = [(0.5, 1e-3), (1.0, 1e-6), (1.0, 1e-2), (wide, 1e-6), (2 * wide, 1e-1)]
    theta = [np.log([1.0, *[scale] * n_scales, noise]) for scale, noise in pairs]
    return [*theta, theta[3] + np.random.default_rng(seed).normal(size=n_scales + 2)]


def _regressor(theta: Array, smooth: bool, normalise: bool) -> GaussianProcessRegressor:
    constant, scales, noise = np.exp(theta[0]), np.exp(theta[1:-1]), np.exp(theta[-1])
    kernel = RBF(scales) if smooth else Matern(scales, nu=2.5)
    return GaussianProcessRegressor(
        ConstantKernel(constant) * kernel + WhiteKernel(noise),
        alpha=JITTER,
        optimizer=None,
        normalize_y=normalise,
    )


def fit_process(X: Array, targets: Array, smooth: bool, seed: int, first: Array | None) -> Array:
    """Choose theta for outputs that share a kernel, (n, n_out), by marginal likelihood.

    With many inputs one length scale and one for each input are both tried, and the smaller
    leave-one-out error decides. From ``first`` a single search is made.
    """
    n_in = X.shape[1]
    if first is not None:
        return maximise(X, targets, smooth, len(first) - 2, [first])[0]
    if n_in <= ANISOTROPIC_INPUTS:
        return maximise(X, targets, smooth, n_in, starts(n_in, n_in, seed))[0]
    one, error = maximise(X, targets, smooth, 1, starts(n_in, 1, seed))
    wide = np.concatenate([one[:1], np.full(n_in, one[1]), one[-1:]])
    each, other = maximise(X, targets, smooth, n_in, [wide])
    return each if other < error else one


def gaussian_process(smooth: bool) -> Method:
    """Return the Gaussian process with an RBF (``smooth``) or Matern 5/2 kernel."""

    def method(Y: Array, C: Array, Y_test: Array, seed: int) -> Fitted:
        inputs = StandardScaler().fit(Y)
        X, X_test = inputs.transform(Y), inputs.transform(Y_test)
        reduced = Reduced(C, VARIANCE)
        scores = reduced.scores
        unit = scores / scores.std(axis=0)
        shared, theta = False, None
        if reduced.components is not None:
            shared = scores.shape[1] * len(X) ** 3 > SEPARATE_COST
            common = scores / scores.std()
            theta = fit_process(X, common, smooth, seed, None)
        if shared:
            process = _regressor(theta, smooth, False).fit(X, common)
            means, stds = process.predict(X_test, return_std=True)
            stds = stds.reshape(len(X_test), -1) * np.ones((1, scores.shape[1]))
            return reduced.restore(means * scores.std(), stds * scores.std())
        means, stds = np.empty((2, len(X_test), scores.shape[1]))
        for k, score in enumerate(scores.T):
            best = fit_process(X, unit[:, k : k + 1] - unit[:, k].mean(), smooth, seed + k, theta)
            process = _regressor(best, smooth, True).fit(X, score)
            means[:, k], stds[:, k] = process.predict(X_test, return_std=True)
        return reduced.restore(means, stds)

    return method


class Reduced:
    """Standardised outputs, either themselves or as scores of principal components.

    Attributes:
        scores: Scores of the training rows, (n, n_scores).
        components: (n_scores, n_out); None if the outputs are not reduced.
    """

    def __init__(self, C: Array, variance: float) -> None:
        """Reduce more than 8 outputs to components with that share of the variance."""
        self._scaler = StandardScaler().fit(C)
        standard = self._scaler.transform(C)
        self.components: Array | None = None
        self.scores = standard
        if C.shape[1] > SEPARATE_OUTPUTS:
            pca = PCA(variance, svd_solver="full").fit(standard)
            self.scores, self.components = pca.transform(standard), pca.components_

    def restore(self, means: Array, stds: Array | None = None) -> Fitted:
        """Return the outputs from scores, with standard deviations as of independent scores."""
        if self.components is not None:
            means = means @ self.components
            if stds is not None:
                stds = np.sqrt(stds**2 @ self.components**2)
        scale = self._scaler.scale_
        return Fitted(
            mean=self._scaler.inverse_transform(means), std=None if stds is None else stds * scale
        )


def searched(model: BaseEstimator, grid: dict[str, Any], folds: int = FOLDS) -> Method:
    """Return a regressor of all outputs at once whose settings are chosen by folds.

    Args:
        model: The regressor; its ``random_state`` becomes the seed if it has one.
        grid: Settings to try.
        folds: Number of folds.
    """

    def method(Y: Array, C: Array, Y_test: Array, seed: int) -> Fitted:
        outputs = StandardScaler().fit(C)
        targets = outputs.transform(C)
        chosen = GridSearchCV(
            make_pipeline(StandardScaler(), _seeded(model, seed)),
            _prefixed(model, grid),
            scoring="neg_mean_squared_error",
            cv=KFold(folds, shuffle=True, random_state=seed),
        ).fit(Y, targets[:, 0] if targets.shape[1] == 1 else targets)
        means = chosen.predict(Y_test).reshape(len(Y_test), -1)
        return Fitted(mean=outputs.inverse_transform(means))

    return method


def classifier(model: BaseEstimator, grid: dict[str, Any]) -> Method:
    """Return a classifier whose settings, and whose scaling of inputs, are chosen by folds."""

    def method(Y: Array, C: Array, Y_test: Array, seed: int) -> Fitted:
        steps = make_pipeline(StandardScaler(), _seeded(model, seed))
        scaling = {"standardscaler": [StandardScaler(), MinMaxScaler()]}
        chosen = GridSearchCV(
            steps,
            {**scaling, **_prefixed(model, grid)},
            cv=StratifiedKFold(FOLDS, shuffle=True, random_state=seed),
        ).fit(Y, C[:, 0])
        return Fitted(mean=chosen.predict(Y_test).reshape(-1, 1))

    return method


def _seeded(model: BaseEstimator, seed: int) -> BaseEstimator:
    has_seed = "random_state" in model.get_params()
    return clone(model).set_params(random_state=seed) if has_seed else clone(model)


def _prefixed(model: BaseEstimator, grid: dict[str, Any]) -> dict[str, Any]:
    return {f"{type(model).__name__.lower()}__{key}": values for key, values in grid.items()}


def kernel_ridge(Y: Array, C: Array, Y_test: Array, seed: int) -> Fitted:
    """Predict by kernel ridge regression, RBF; gamma is relative to the number of inputs."""
    grid = {"alpha": np.logspace(-9, 1, 11), "gamma": np.logspace(-3, 1, 9) / Y.shape[1]}
    return searched(KernelRidge(kernel="rbf"), grid)(Y, C, Y_test, seed)


def boosting(Y: Array, C: Array, Y_test: Array, seed: int) -> Fitted:
    """Predict by gradient boosting: number of trees, learning rate and depth by folds.

    The settings are common to all outputs and are chosen on at most the first three of them, or of
    their principal components.
    """
    reduced = Reduced(C, BOOSTED_VARIANCE)
    X = StandardScaler().fit(Y)
    Z, Z_test = X.transform(Y), X.transform(Y_test)
    model = GradientBoostingRegressor(
        subsample=0.7,
        min_samples_leaf=3,
        max_features="sqrt" if Y.shape[1] > ANISOTROPIC_INPUTS else None,
        random_state=seed,
    )
    folds = list(KFold(FOLDS, shuffle=True, random_state=seed).split(Z))
    best, settings = np.inf, (0.1, 3, 1)
    for rate, trees in TREES.items():
        for depth in (2, 3, 5):
            model.set_params(learning_rate=rate, max_depth=depth, n_estimators=trees)
            errors = np.zeros(trees)
            for score in reduced.scores.T[:TUNED_OUTPUTS]:
                for train, held in folds:
                    stages = clone(model).fit(Z[train], score[train]).staged_predict(Z[held])
                    errors += [((stage - score[held]) ** 2).sum() for stage in stages]
            if errors.min() < best:
                best, settings = errors.min(), (rate, depth, int(errors.argmin()) + 1)
    rate, depth, trees = settings
    model.set_params(learning_rate=rate, max_depth=depth, n_estimators=trees)
    means = [clone(model).fit(Z, score).predict(Z_test) for score in reduced.scores.T]
    return reduced.restore(np.stack(means, axis=1))


def quadratic_ridge(Y: Array, C: Array, Y_test: Array, seed: int) -> Fitted:
    """Predict by ridge regression on monomials of degree 1 or 2.

    Weights, for each output, and the degree are chosen by leave-one-out residuals. Degree 2 is not
    tried if it has too many monomials.
    """
    n_in = Y.shape[1]
    outputs = StandardScaler().fit(C)
    best, means = -np.inf, np.empty(0)
    for degree in (1, 2) if n_in * (n_in + 3) // 2 <= MONOMIALS else (1,):
        ridge = RidgeCV(np.logspace(-8, 5, 40), alpha_per_target=True)
        monomials = PolynomialFeatures(degree, include_bias=False)
        pipeline = make_pipeline(StandardScaler(), monomials, StandardScaler(), ridge)
        pipeline.fit(Y, outputs.transform(C))
        if (score := float(np.mean(ridge.best_score_))) > best:
            best, means = score, pipeline.predict(Y_test).reshape(len(Y_test), -1)
    return Fitted(mean=outputs.inverse_transform(means))


def smt_kriging(Y: Array, C: Array, Y_test: Array, seed: int) -> Fitted:
    """Predict by SMT's Kriging with estimated noise, a model for each output or component."""
    from smt.surrogate_models import KRG

    inputs = StandardScaler().fit(Y)
    X, X_test = inputs.transform(Y), inputs.transform(Y_test)
    reduced = Reduced(C, VARIANCE)
    means, stds = np.empty((2, len(X_test), reduced.scores.shape[1]))
    for k, score in enumerate(reduced.scores.T):
        model = KRG(
            theta0=[1e-2] * X.shape[1],
            theta_bounds=[1e-6, 20.0],
            eval_noise=True,
            print_global=False,
        )
        model.set_training_values(X, score[:, None])
        model.train()
        means[:, k] = model.predict_values(X_test)[:, 0]
        variance = model.predict_variances(X_test)[:, 0] + float(np.mean(model.optimal_noise))
        stds[:, k] = np.sqrt(np.maximum(variance, 0))
    return reduced.restore(means, stds)


_ALPHAS = [1e-5, 1e-2, 1.0]
_LBFGS = {"hidden_layer_sizes": [(16,), (50,), (50, 50)], "alpha": _ALPHAS}
_ADAM = {"hidden_layer_sizes": [(64, 64)], "learning_rate_init": [1e-3, 5e-3]}
_ADAM_SETTINGS = {
    "early_stopping": True,
    "validation_fraction": 0.1,
    "n_iter_no_change": 100,
    "tol": 1e-7,
    "max_iter": 1000,
}
_ACTIVATIONS = {"activation": ["tanh", "relu"]}

REGRESSION: dict[str, Method] = {
    "gp_rbf": gaussian_process(smooth=True),
    "gp_matern": gaussian_process(smooth=False),
    "kernel_ridge": kernel_ridge,
    "boosting": boosting,
    "mlp_lbfgs": searched(
        MLPRegressor(solver="lbfgs", activation="tanh", max_iter=1000), _LBFGS, PERCEPTRON_FOLDS
    ),
    "mlp_adam": searched(
        MLPRegressor(**_ADAM_SETTINGS), {**_ADAM, **_ACTIVATIONS}, PERCEPTRON_FOLDS
    ),
    "quadratic_ridge": quadratic_ridge,
    "smt_kriging": smt_kriging,
}

CLASSIFICATION: dict[str, Method] = {
    "gp_rbf": classifier(
        GaussianProcessClassifier(ConstantKernel(10.0) * RBF(8.0), n_restarts_optimizer=1), {}
    ),
    "gp_matern": classifier(
        GaussianProcessClassifier(ConstantKernel(10.0) * Matern(8.0, nu=2.5)), {}
    ),
    "kernel_ridge": classifier(
        SVC(), {"C": np.logspace(-1, 3, 5), "gamma": ["scale", *np.logspace(-4, 0, 9)]}
    ),
    "boosting": classifier(
        HistGradientBoostingClassifier(early_stopping=True, n_iter_no_change=20, max_iter=500),
        {"learning_rate": [0.05, 0.15], "max_depth": [2, 4], "min_samples_leaf": [3, 10]},
    ),
    "mlp_lbfgs": classifier(
        MLPClassifier(solver="lbfgs", max_iter=1000),
        {"hidden_layer_sizes": [(50,), (100,)], "alpha": [1e-3, 1e-1, 1.0, 10.0]},
    ),
    "mlp_adam": classifier(MLPClassifier(**_ADAM_SETTINGS), _ADAM),
    "quadratic_ridge": classifier(LogisticRegression(max_iter=2000), {"C": np.logspace(-4, 2, 7)}),
}


def main() -> int:
    """Run one method on one draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method")
    parser.add_argument("draw")
    parser.add_argument("result")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # searches do not converge, folds are ill-conditioned
    with np.load(options.draw) as arrays:
        Y, C, Y_test, task = (arrays[name] for name in ("Y_train", "C_train", "Y_test", "task"))
    start = time.perf_counter()
    fitted = run(options.method, str(task), Y, C, Y_test, options.seed)
    seconds = time.perf_counter() - start
    found = {"mean": fitted.mean, "seconds": np.array(seconds)}
    np.savez(options.result, **found, **({} if fitted.std is None else {"std": fitted.std}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
