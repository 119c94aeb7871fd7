r"""Measure chi-squared of surrogates' errors, and whether estimates of y hold the truth.

    python scripts/benchmark_covariance.py [cdr.pt cdr.h5 ...] [--functions 9] [--first 0]

Surrogates are read with the dataset whose test part is new to them, or trained on random functions.
These have 3 to 6 inputs and 50 to 400 correlated outputs, along a line x: pulses that move, sums of
smooth modes, sums of exponentials. A third of them is trained by kernels, a third by one network of
the effort ``fast``, and a third by the default choice, on 40 to 300 samples.

For errors e = c - prediction at test samples it prints the mean, the median and the standard
deviation of chi-squared over the number of outputs, and the deviation that `predict_cov` says. Then
the estimate of y from data without noise, one Gauss-Newton step from the truth,

    H^-1 J^T C^-1 e,    H = J^T C^-1 J

has the covariance H^-1 if Cov(y) is right: it prints the share of truths in the regions of 50 and
90 %, by normal errors, and by `surrogates.model.likelihood`, whose tails are heavier. For files it
prints the time of a log density for one y and for a batch, with surrogate errors at each y, at one
y, and without; ``--engine c`` names the engine.
"""

from __future__ import annotations

import argparse
import functools
import logging
import math
import timeit
from collections.abc import Callable

import numpy as np
from scipy.stats import chi2 as chi_squared

import surrogates
from surrogates.data import Dataset
from surrogates.model.loaded import LoadedSurrogate
from surrogates.model.low_rank import LowRank
from surrogates.model.scale_mixture import ScaleMixture
from surrogates.types import Array

_LEVELS, _TRUTHS, _DRAWS = (0.5, 0.9), 100, 400
KINDS = ("pulses", "modes", "exponentials")
HOW = ("rbf", "fast", "default")


def drawn(rng: np.random.Generator, kind: str) -> tuple[int, Callable[[Array], Array]]:
    """Draw a function; return its number of inputs, and itself."""
    n_in, m = int(rng.integers(3, 7)), int(rng.integers(50, 401))
    x, K = np.linspace(0, 1, m), rng.standard_normal((12, n_in)) / np.sqrt(n_in)
    phases, b = rng.uniform(0, 6, 12), rng.uniform(-1, 1, 12)
    modes = np.array(
        [np.cos(np.pi * i * x + phase) / (1 + i) ** 1.2 for i, phase in enumerate(phases)]
    )

    def function(Y: Array) -> Array:
        t = Y @ K.T
        if kind == "pulses":
            width = 0.12 * np.exp(0.3 * t[:, 1:2])
            pulse = np.exp(-(((x - 0.5 - 0.15 * t[:, :1]) / width) ** 2) / 2)
            return (1 + 0.4 * t[:, 2:3]) * pulse + 0.3 * np.sin(3 * x + t[:, 1:2])
        if kind == "modes":
            z = t + b
            parts = (np.sin(2 * z), np.exp(z / 2), 1 / (1 + z * z))
            return np.choose(np.arange(12) % 3, parts) @ modes
        fast, slow = np.exp(2.5 + 0.6 * t[:, 1:2]), np.exp(1 + 0.6 * t[:, :1])
        decays = (np.exp(-2 * slow * x) - np.exp(-2 * fast * x)) * slow / (fast + slow)
        return np.exp(0.3 * t[:, 2:3]) * decays + 0.1 * np.tanh(t[:, 3:4] + 3 * x)

    return n_in, function


def of_function(seed: int) -> None:
    """Train on a random function, and print its line."""
    rng = np.random.default_rng(seed)
    kind, how = KINDS[seed % 3], HOW[seed // 3 % 3]
    n_in, function = drawn(rng, kind)
    Y, T = (rng.uniform(-1, 1, (n, n_in)) for n in (int(rng.integers(40, 301)), 300))
    s = surrogates.fit(
        Y,
        function(Y),
        split="0.8/0.2/0",
        effort="fast" if how == "fast" else "default",
        config={"network.kind": "rbf"} if how == "rbf" else None,
        seed=seed,
        processes=1,
    )
    told(f"{kind}, {how}, {len(Y)} samples", s, T, function(T))


def told(name: str, s: LoadedSurrogate, Y: Array, C: Array) -> None:
    """Print the line of a surrogate at new samples."""
    cov = s.predict_cov(Y)
    ratio = cov.chi2(C - cov.mean) / s.n_out
    shares = [inside(s, y, c) for y, c in zip(Y[:_TRUTHS], C, strict=False)]
    normal, whole = np.mean(shares, axis=0).tolist()
    print(
        f"{name}: {s.n_in} inputs, {s.n_out} outputs; chi-squared mean {ratio.mean():.2f}, median "
        f"{np.median(ratio):.2f}, std {ratio.std():.2f} (said {cov.chi2_std / s.n_out:.2f}); in "
        f"regions of 50 % {normal[0]:.0%}, 90 % {normal[1]:.0%}; by the likelihood {whole[0]:.0%}, "
        f"{whole[1]:.0%}",
        flush=True,
    )


def inside(s: LoadedSurrogate, y: Array, c: Array) -> tuple[list[bool], list[bool]]:
    """Return whether y is in the regions of `_LEVELS`, by a normal density and the likelihood.

    Both are linear in y around the truth. The regions of the likelihood are those of samples of a
    normal distribution around the estimate, twice as wide as its own, weighted by the likelihood.
    """
    cov, J, rng = s.predict_cov(y), s.jacobian(y), np.random.default_rng(0)
    e = c - cov.mean
    whole = LowRank(cov.diagonal, cov.factor)
    values, vectors = np.linalg.eigh(whole.inverse_between(J))
    seen = values > 1e-10 * values[-1]
    along = vectors[:, seen] / np.sqrt(values[seen])  # the estimate's covariance is along along^T
    step = along.T @ (J.T @ whole.solve(e))
    limits = chi_squared.ppf(_LEVELS, seen.sum())
    known = s.engine.correlation
    assert known is not None
    scatter, least = float(known.scatter[0]), float(known.along)
    base = LowRank(least * cov.diagonal, np.empty((s.n_out, 0)))
    drawn = step + 2 * math.sqrt(least) * rng.standard_normal((_DRAWS, len(step)))
    x = np.concatenate([np.zeros((1, len(step))), drawn])
    r = e - x @ (J @ along).T
    log_p = ScaleMixture(r, base, cov.factor[None], scatter, least).log_density
    weights = log_p[1:] + ((x[1:] - step) ** 2).sum(axis=1) / (8 * least)
    weights = np.exp(weights - weights.max())
    above = float(weights[log_p[1:] > log_p[0]].sum() / weights.sum())
    return [step @ step < limit for limit in limits], [above < level for level in _LEVELS]


def timed(s: LoadedSurrogate, y: Array) -> None:
    """Print the time of a log density, the least of some calls, for one y and 42 together."""
    data, Y = s.predict(y), np.tile(y, (42, 1))
    noise = 0.01 * np.abs(data).max()
    for name, likelihood in (
        ("with surrogate errors", s.likelihood(data, noise)),
        ("with those at one y", s.likelihood(data, noise, at=y)),
        ("without", s.likelihood(data, noise, surrogate_errors=False)),
    ):
        found = [
            1e6 * min(timeit.repeat(functools.partial(likelihood, rows), number=1, repeat=repeat))
            for rows, repeat in ((y, 3000), (Y, 100))
        ]
        print(
            f"log density {name}: {found[0]:.0f} us, in a batch of {len(Y)} "
            f"{found[1] / len(Y):.1f} us each",
            flush=True,
        )


def main() -> None:
    """Print a line for each surrogate."""
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description="chi-squared and coverage of covariances")
    parser.add_argument("files", nargs="*", help="pairs F.pt F.h5")
    parser.add_argument("--functions", type=int, default=9)
    parser.add_argument("--first", type=int, default=0, help="seed of the first function")
    parser.add_argument("--engine", help="of the surrogates that are read")
    options = parser.parse_args()
    for surrogate, dataset in zip(options.files[::2], options.files[1::2], strict=True):
        s = surrogates.load(surrogate, engine=options.engine)
        Y, C = Dataset.read(dataset).part("test")
        told(surrogate, s, Y, C)
        timed(s, Y[0])
    for seed in range(options.first, options.first + options.functions):
        of_function(seed)


if __name__ == "__main__":
    main()
