r"""Count how often posteriors hold the truth, with and without the surrogate's errors.

    surrogates generate scripts/examples/darcy.py:Darcy --samples 140 --split 60/20/60 --out d.h5
    python scripts/examples/posterior_coverage.py d.h5 [--truths 20] [--noise 0.3]

A surrogate is trained on the training and validation samples of the dataset, few solves of the PDE.
The truths are its test samples: their c are solved by the PDE, and noise is added. The noise is
small: its deviation is a share of the surrogate's error (0.3 times its root mean square, for each
output). For each truth the posterior of y, with a uniform prior on the training box, is sampled by
an ensemble of walkers (Goodman and Weare 2010, "Ensemble samplers with affine invariance"), once
with the likelihood that counts the surrogate's errors and once with that of the noise alone.

If the likelihood is right, the interval of 90 % of a parameter holds 90 % of the truths, and so
does the region of the 90 % most probable samples. The program prints the counts, and the band of
chance: the central 95 % of the binomial distribution. The truths that a region holds are
independent; the parameters of one truth are not.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.stats import binom

import surrogates
from surrogates.data import Dataset
from surrogates.errors import InputError
from surrogates.model.likelihood import Likelihood
from surrogates.model.loaded import LoadedSurrogate
from surrogates.types import Array

LEVEL, WALKERS, STRETCH = 0.9, 64, 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, sample and count; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="with a test part, NAME.h5")
    parser.add_argument("--truths", type=int, default=20)
    parser.add_argument("--noise", type=float, default=0.3, help="over the surrogate's error")
    parser.add_argument(
        "--steps", type=int, default=1500, help="of the ensemble, for each posterior"
    )
    parser.add_argument("--samples", type=int, help="to train on; all if not given")
    parser.add_argument("--effort", default="default", help="of the training")
    parser.add_argument("--kind", help="of the network, such as rbf; chosen if not given")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        study(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def study(options: argparse.Namespace) -> None:
    """Print a line for each truth, and the counts."""
    dataset = Dataset.read(options.dataset)
    s = trained(dataset, options)
    Y, C = (part[: options.truths] for part in dataset.part("test"))
    error = np.sqrt(np.mean((s.predict(Y) - C) ** 2, axis=0))
    noise = options.noise * error
    chi2 = s.predict_cov(Y).chi2(C - s.predict(Y)) / s.n_out
    print(f"surrogate of {s.metadata['training']['samples']} samples: {s}")
    print(f"chi-squared of its errors over {s.n_out}: mean {chi2.mean():.2f}, std {chi2.std():.2f}")
    rng = np.random.default_rng(options.seed)
    data = C + noise * rng.standard_normal(C.shape)
    for counted in (True, False):
        held, regions, widths = [], [], []
        for y, d in zip(Y, data, strict=True):
            density = s.likelihood(d, noise, surrogate_errors=counted)
            first = started(density, s.bounds, rng)
            draws, values = sampled(density, first, s.bounds, options.steps, rng)
            ends = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
            held.append((ends[0] <= y) & (y <= ends[1]))
            regions.append(density(y) >= np.quantile(values, 1 - LEVEL))
            widths.append((ends[1] - ends[0]) / (s.bounds[1] - s.bounds[0]))
        told(counted, np.array(held), np.array(regions), np.array(widths))


def trained(dataset: Dataset, options: argparse.Namespace) -> LoadedSurrogate:
    """Train on the dataset's training and validation samples, or on the first of them."""
    rows = np.concatenate([dataset.rows_of("train"), dataset.rows_of("validation")])
    rows = rows[: options.samples]
    info = dataset.info
    return surrogates.fit(
        dataset.Y[rows],
        dataset.C[rows],
        y_names=info.y_names,
        c_names=info.c_names,
        split="0.8/0.2/0",
        config={"network.kind": options.kind} if options.kind else None,
        effort=options.effort,
        seed=options.seed,
    )


def started(density: Likelihood, bounds: Array, rng: np.random.Generator) -> Array:
    """Return walkers around the best fit, (n, n_in).

    The fits start at the most probable of many draws from the box. The walkers are drawn from the
    normal distribution of the Gauss-Newton Hessian.
    """
    draws = rng.uniform(*bounds, (2000, len(bounds[0])))
    best = draws[np.argsort(density(draws))[-4:]]
    width = bounds[1] - bounds[0]

    def misfit(x: Array) -> tuple[float, Array]:
        value, gradient = density.value_and_gradient(bounds[0] + width * np.clip(x, 0, 1))
        return -float(value), -gradient * width

    inside = [(0.0, 1.0)] * len(width)
    found = [
        minimize(misfit, (y - bounds[0]) / width, jac=True, bounds=inside, method="L-BFGS-B")
        for y in best
    ]
    y = bounds[0] + width * min(found, key=lambda fit: fit.fun).x
    H = density.hessian(y) + np.diag(12 / width**2)  # with the variance of the box
    step = np.linalg.cholesky(np.linalg.inv(H))
    return np.clip(y + rng.standard_normal((WALKERS, len(y))) @ step.T, *bounds)


def sampled(
    density: Callable[[Array], Array],
    walkers: Array,
    bounds: Array,
    steps: int,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Sample a density on a box; return samples, (n, n_in), and their log densities.

    A half of the steps is left out.
    """
    lower, upper = bounds
    X, log_p = walkers.copy(), density(walkers)
    kept = []
    halves = np.array_split(rng.permutation(len(X)), 2)
    for step in range(steps):
        for own, other in (halves, halves[::-1]):
            z = ((STRETCH - 1) * rng.random(len(own)) + 1) ** 2 / STRETCH
            partners = X[rng.choice(other, len(own))]
            moved = partners + z[:, None] * (X[own] - partners)
            inside = ((lower <= moved) & (moved <= upper)).all(axis=1)
            proposed = np.full(len(own), -np.inf)
            if inside.any():
                proposed[inside] = density(moved[inside])
            gain = (len(lower) - 1) * np.log(z) + proposed - log_p[own]
            taken = own[np.log(rng.random(len(own))) < gain]
            place = np.isin(own, taken)
            X[own[place]], log_p[own[place]] = moved[place], proposed[place]
        if step >= steps // 2:
            kept.append((X.copy(), log_p.copy()))
    return np.concatenate([x for x, _ in kept]), np.concatenate([v for _, v in kept])


def told(counted: bool, held: Array, regions: Array, widths: Array) -> None:
    """Print the counts of one likelihood."""
    n = len(held)
    low, high = (int(end) for end in binom.ppf([0.025, 0.975], n, LEVEL))
    print(f"{'with' if counted else 'without'} the surrogate's errors:")
    print(f"  truths in regions of {LEVEL:.0%}: {regions.sum()} of {n}, by chance {low} to {high}")
    counts = ", ".join(str(int(count)) for count in held.sum(axis=0))
    print(f"  in intervals, by parameter: {counts} of {n}; {held.mean():.0%} of all")
    median = np.median(widths)
    print(f"  widths of intervals, median: {median:.2%} of the prior's range", flush=True)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    sys.exit(main())
