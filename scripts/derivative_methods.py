"""The methods that `benchmark_derivatives.py` compares the surrogate with: they learn c and dc/dy.

    PYTHON scripts/derivative_methods.py METHOD DRAW.npz RESULT.npz [--seed S] [--quick]

PYTHON is that of an environment with the packages `REQUIRED`, which bring another numpy than the
surrogate's; so this file imports nothing of `surrogates`. DRAW.npz holds Y_train, C_train,
dC_dY_train, lower, upper and Y_test, but no outputs at the test points: no method can see them.
RESULT.npz holds the predictions of c and dc/dy there, and the seconds of tuning and training.

jenn    Jacobian-enhanced perceptrons (Berguin 2024, "Jacobian-Enhanced Neural Networks"), trained
        by Adam on all outputs together. Iterations, regularisation and sizes are around those of
        its own tutorials.
gekpls  Gradient-enhanced Kriging with partial least squares (Bouhlel and Martins 2019,
        "Gradient-enhanced kriging for high-dimensional problems"), in the Surrogate Modeling
        Toolbox; a model for each output. It needs two inputs or more.

Each setting of a grid is tried on four fifths of the rows, and the smallest error of c on the
fifth that was held out decides; the chosen setting is trained on all rows. Of jenn, three starts
are trained then, and the smallest loss decides. Inputs are scaled to their box, outputs to
variance 1.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

REQUIRED = ("jenn==2.1.1", "smt==2.15.0")
STARTS = 3
TRIAL_ITERATIONS, ITERATIONS, QUICK_ITERATIONS = 3000, 10_000, 300
MOST_POINTS = 600  # of a Kriging model: those around a sample count, and its cost grows as a cube
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Samples with derivatives, scaled.

    Attributes:
        X: Inputs in their box, (n, n_in), from 0 to 1.
        T: Outputs of mean 0 and variance 1 on the training rows, (n, n_out).
        J: Derivatives dT/dX, (n, n_out, n_in).
    """

    X: Array
    T: Array
    J: Array

    def rows(self, chosen: Array) -> Rows:
        """Return some of the samples."""
        return Rows(X=self.X[chosen], T=self.T[chosen], J=self.J[chosen])


Predict = Callable[[Array], tuple[Array, Array]]
"""Maps X to T and dT/dX."""


def jenn(data: Rows, setting: dict[str, Any], seed: int) -> tuple[Predict, float]:
    """Train a Jacobian-enhanced perceptron; return it and its loss."""
    from jenn.core.model import NeuralNet

    hidden = setting["hidden"]
    model = NeuralNet(layer_sizes=[data.X.shape[1], *hidden, data.T.shape[1]])
    model.fit(
        data.X.T,
        data.T.T,
        np.moveaxis(data.J, 0, 2),
        is_normalize=True,
        alpha=setting["alpha"],
        lambd=setting["lambd"],
        max_iter=setting["iterations"],
        random_state=seed,
    )

    def predict(X: Array) -> tuple[Array, Array]:
        y, dydx = model(X.T)
        return y.T, np.moveaxis(dydx, 2, 0)

    T, J = predict(data.X)
    slopes = data.J - J
    scale = data.X.std(axis=0)  # the loss is of normalised data
    return predict, float(((data.T - T) ** 2).sum() + ((slopes * scale) ** 2).sum())


def gekpls(data: Rows, setting: dict[str, Any], seed: int) -> tuple[Predict, float]:
    """Train gradient-enhanced Kriging for each output; the second number has no meaning."""
    from smt.surrogate_models import GEKPLS

    n_in = data.X.shape[1]
    models = []
    for j in range(data.T.shape[1]):
        model = GEKPLS(
            xlimits=np.array([[0.0, 1.0]] * n_in),
            theta0=[1e-2] * setting["n_comp"],
            n_comp=setting["n_comp"],
            extra_points=setting["extra_points"],
            delta_x=setting["delta_x"],
            n_start=5,
            print_global=False,
            seed=seed,
        )
        model.set_training_values(data.X, data.T[:, j : j + 1])
        for k in range(n_in):
            model.set_training_derivatives(data.X, data.J[:, j, k : k + 1], k)
        model.train()
        models.append(model)

    def predict(X: Array) -> tuple[Array, Array]:
        T = np.concatenate([model.predict_values(X) for model in models], axis=1)
        J = [[model.predict_derivatives(X, k)[:, 0] for k in range(n_in)] for model in models]
        return T, np.moveaxis(np.array(J), 2, 0)

    return predict, 0.0


def grid(method: str, n: int, n_in: int, quick: bool) -> list[dict[str, Any]]:
    """Return the settings to try; one alone where ``quick``."""
    if method == "jenn":
        choices: dict[str, Sequence[Any]] = {
            "hidden": [(12, 12), (24, 24)],
            "alpha": [1e-3, 1e-2],
            "lambd": [1e-3, 1e-2, 1e-1],
            "iterations": [TRIAL_ITERATIONS],
        }
    else:
        around = [k for k in (0, 1, n_in) if n * (k + 1) <= MOST_POINTS]
        choices = {
            "extra_points": sorted({*around, min(n_in, max(MOST_POINTS // n - 1, 0))}),
            "n_comp": sorted({2, min(n_in, 4)}),
            "delta_x": [1e-4, 1e-2, 5e-2],
        }
    found = [
        dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())
    ]
    return found[:1] if quick else found


METHODS = {"jenn": jenn, "gekpls": gekpls}


def tuned(method: str, data: Rows, seed: int, quick: bool) -> tuple[Predict, dict[str, Any]]:
    """Choose a setting by a held-out fifth of the rows, and train on all; return both."""
    n, n_in = data.X.shape
    train = METHODS[method]
    order = np.random.default_rng(seed).permutation(n)
    held, rest = data.rows(order[: max(1, n // 5)]), data.rows(order[max(1, n // 5) :])
    best: tuple[float, dict[str, Any]] | None = None
    reason: Exception | None = None
    settings = grid(method, n, n_in, quick)
    for setting in settings if len(settings) > 1 else []:
        try:
            predict, _ = train(rest, setting, seed)
            error = float(np.sqrt(((predict(held.X)[0] - held.T) ** 2).mean()))
        except (ValueError, np.linalg.LinAlgError, FloatingPointError) as fault:
            reason = fault  # a kernel matrix without a factor, say
            continue
        if np.isfinite(error) and (best is None or error < best[0]):
            best = error, setting
    if best is None and len(settings) > 1:
        raise ValueError(f"no setting of {method} can be trained: {reason}")
    chosen = settings[0] if best is None else best[1]
    if "iterations" in chosen:
        chosen = {**chosen, "iterations": QUICK_ITERATIONS if quick else ITERATIONS}
    starts = range(STARTS if method == "jenn" and not quick else 1)
    found = [train(data, chosen, seed + start) for start in starts]
    return min(found, key=lambda pair: pair[1])[0], chosen


def run(
    method: str, drawn: dict[str, Array], seed: int, quick: bool = False
) -> dict[str, npt.NDArray[Any]]:
    """Tune and train a method; return its predictions in physical units, and its setting."""
    lower, ranges = drawn["lower"], drawn["upper"] - drawn["lower"]
    C = drawn["C_train"]
    mean, std = C.mean(axis=0), C.std(axis=0)
    std = np.where(std > 0, std, 1.0)
    J = drawn["dC_dY_train"] * ranges / std[:, None]
    data = Rows(X=(drawn["Y_train"] - lower) / ranges, T=(C - mean) / std, J=J)
    start = time.perf_counter()
    predict, setting = tuned(method, data, seed, quick)
    seconds = time.perf_counter() - start
    T, J = predict((drawn["Y_test"] - lower) / ranges)
    return {
        "mean": mean + std * T,
        "jacobian": J * std[:, None] / ranges,
        "seconds": np.array(seconds),
        "setting": np.array(str(setting)),
    }


def main() -> int:
    """Run one method on one draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("draw", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one setting, short trainings")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # kernel matrices are ill-conditioned
    with np.load(options.draw) as arrays:
        drawn = {name: arrays[name] for name in arrays.files}
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        found = run(options.method, drawn, options.seed, options.quick)
    np.savez(options.result, **found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
