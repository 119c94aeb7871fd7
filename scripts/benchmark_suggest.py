"""Count the solves to the same error with designed samples and with random ones.

    python scripts/benchmark_suggest.py corner --trials 10
    python scripts/benchmark_suggest.py corner borehole robot_arm --trials 5 --sizes 30,50,80,120
    python scripts/benchmark_suggest.py dcr.h5 --trials 10 --measure spread

A set is a function: `corner`, of six parameters with a peak in a corner; `ridge`, `front` or
`two_peaks`, on which the method was chosen; or one of scripts/suite_sets.py. Or it is a dataset, a
pool whose samples stand for solves: its last 800 or, of fewer than 3000, its last third measure the
error, and the others are the candidates.

Each trial begins with the same random samples for both. Then one goes on with random samples, and
the other with those that `Designer` suggests, a batch from one size to the next, with a training
after each. Trainings are of ridges and kernels alone, without networks, as these are quick: those
of `surrogates train` take minutes. A line for each trial has the errors at the sizes; then come the
medians, and the solves to the error of the last random set over the size of this set, interpolated
between sizes on logarithmic scales. A mark > says that this error was not reached.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import surrogates
from surrogates.data import Dataset
from surrogates.data.from_arrays import from_arrays
from surrogates.design.sizes import MEASURES
from surrogates.model import describe
from surrogates.model import file as files
from surrogates.training.config import TrainConfig
from surrogates.training.deploy import assembled
from surrogates.training.pool import Task
from surrogates.training.selection import regression
from surrogates.training.selection.effort import COSTS, Asked
from surrogates.training.selection.frame import framed
from surrogates.training.selection.regression_candidates import kernels, ridges
from surrogates.types import Array

N_TEST = 1500
BEYOND = 1.5
"""Designed samples are at most this many times the random ones."""


def corner(Y: Array) -> Array:
    """Return eight outputs with a peak in a corner of six parameters, and a gentle background."""
    t = np.linspace(1, 2, 8)
    peak = np.exp(-2 * t * ((1 - Y) ** 2).sum(axis=1)[:, None])
    return np.asarray(peak + 0.05 * (1 + 0.2 * Y[:, :1] * t))


def ridge(Y: Array) -> Array:
    """Return six outputs of four parameters that rise towards a side."""
    t = np.linspace(0.5, 1.5, 6)
    side = 1 / (0.15 + Y[:, :1] + 0.5 * Y[:, 1:2] * t)
    return np.asarray(side + np.sin(2 * Y[:, 2:3] + Y[:, 3:4] * t))


def front(Y: Array) -> Array:
    """Return six outputs of three parameters with a steep front across the cube."""
    z, t = Y @ np.array([1, 0.7, 0.4]), np.linspace(0.8, 1.2, 6)
    return np.asarray(1.5 + np.tanh(6 * (z[:, None] - t)) + 0.2 * Y[:, :1] * Y[:, 1:2])


def two_peaks(Y: Array) -> Array:
    """Return six outputs of four parameters with peaks in two opposite corners."""
    first, second = (((Y - centre) ** 2).sum(axis=1)[:, None] for centre in (0.15, 0.85))
    t = np.linspace(0.7, 1.3, 6)
    return np.asarray(1 + 2 * np.exp(-first / 0.18) * t + 2 * np.exp(-second / 0.18) / t)


FUNCTIONS: dict[str, tuple[Callable[[Array], Array], int]] = {
    "corner": (corner, 6),
    "ridge": (ridge, 4),
    "front": (front, 3),
    "two_peaks": (two_peaks, 4),
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A set: where samples lie, what they cost nothing to solve for, and test samples.

    Attributes:
        lower: Lower ends of the parameters.
        upper: Upper ends.
        design: Name of the sampling design.
        solve: Returns C of Y.
        pool: Candidates; None if any y can be solved for.
        Y: Test samples.
        C: Their observables.
    """

    lower: Array
    upper: Array
    design: str
    solve: Callable[[Array], Array]
    pool: Array | None
    Y: Array
    C: Array

    def random(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n samples as the problem does."""
        if self.pool is not None:
            return self.pool[rng.permutation(len(self.pool))[:n]]
        return np.asarray(self.lower + (self.upper - self.lower) * rng.random((n, len(self.lower))))


def problem(name: str) -> Problem:
    """Return a set by its name, or of a dataset's file."""
    if Path(name).suffix == ".h5":
        return of_pool(Dataset.read(name))
    if name in FUNCTIONS:
        function, n_in = FUNCTIONS[name]
        lower, upper = np.zeros(n_in), np.ones(n_in)
    else:
        import suite_sets

        known: Any = {**suite_sets.SETS, **suite_sets.HELD_OUT}
        surrogates.errors.check(name in known, f"no set {name}; there are {', '.join(known)}")
        function = known[name]
        lower, upper = (np.array(end, np.float64) for end in (function.lower, function.upper))
    Y = lower + (upper - lower) * np.random.default_rng(999).random((N_TEST, len(lower)))
    return Problem(
        lower=lower, upper=upper, design="box", solve=function, pool=None, Y=Y, C=function(Y)
    )


def of_pool(dataset: Dataset) -> Problem:
    """Return a set of a dataset's samples."""
    there = np.isfinite(dataset.C).all(axis=1)
    Y, C, info = dataset.Y[there], dataset.C[there], dataset.info
    n_test = 800 if len(Y) >= 3000 else len(Y) // 3
    row = {y.tobytes(): c for y, c in zip(Y, C, strict=True)}
    return Problem(
        lower=np.array(info.y_lower),
        upper=np.array(info.y_upper),
        design=info.design,
        solve=lambda wanted: np.stack([row[y.tobytes()] for y in wanted]),
        pool=Y[:-n_test],
        Y=Y[-n_test:],
        C=C[-n_test:],
    )


def trained(one: Problem, Y: Array, C: Array) -> surrogates.LoadedSurrogate:
    """Train on samples: ridges and kernels, chosen by left-out residuals."""
    bounds = (one.lower, one.upper)
    data = from_arrays(Y, C, split="1/0/0", bounds=None if one.design == "simplex" else bounds)
    data = dataclasses.replace(data, info=dataclasses.replace(data.info, design=one.design))
    frame = framed(data, TrainConfig())

    def each(tasks: Sequence[Task]) -> Iterator[tuple[int, Any]]:
        return ((i, task.function(**task.arguments)) for i, task in enumerate(tasks))

    asked = Asked(
        settings=TrainConfig(),
        given=frozenset(),
        effort=COSTS["default"],
        each=each,
        on_progress=lambda *_: None,
    )
    found = [*ridges(frame), *kernels(frame, asked, apart=False)]
    # Without the factor by which errors grow where scales are found anew: it costs ten trainings.
    found = sorted((dataclasses.replace(c, growth=None) for c in found), key=lambda c: c.score)
    module = assembled(regression._combined(frame, found), data)
    about = describe.metadata(data, training={"samples": len(Y)}, errors={})
    return files.in_memory(files.archive(module, about))


def error(one: Problem, surrogate: surrogates.LoadedSurrogate, measure: str) -> float:
    """Return the error on the test samples."""
    apart = surrogate.predict(one.Y) - one.C
    if measure == "relative":
        ratio = np.linalg.norm(apart, axis=1) / np.linalg.norm(one.C, axis=1)
        return float(ratio.mean())
    by_output = np.sqrt((apart**2).mean(axis=0)) / one.C.std(axis=0)
    return float(by_output.max() if measure == "worst" else np.sqrt((by_output**2).mean()))


def curves(
    one: Problem, sizes: Sequence[int], measure: str, seed: int
) -> tuple[Array, Array, list[int]]:
    """Return the errors with random and with designed samples, and the sizes of the latter.

    Designed samples go on beyond the last size, until the error of the random ones is reached, or
    there are `BEYOND` times as many.
    """
    everything = one.random(sizes[-1], np.random.default_rng([seed, 1]))
    randoms = [everything[:n] for n in sizes]
    models = [trained(one, Y, one.solve(Y)) for Y in randoms]
    errors = np.array([error(one, model, measure) for model in models])
    Y, surrogate, found = randoms[0], models[0], [errors[0]]
    step = max(1, (sizes[-1] - sizes[-2]) // 2)
    there, further = [sizes[0]], [*sizes[1:], *range(sizes[-1], int(BEYOND * sizes[-1]) + 1, step)]
    for n in further:
        if n > sizes[-1] and min(found) <= errors[-1] or n == len(Y):
            continue
        about: dict[str, Any] = {"seed": seed, "measure": measure}
        if one.pool is not None:
            taken = {y.tobytes() for y in Y}
            about["candidates"] = np.stack([y for y in one.pool if y.tobytes() not in taken])
        Y = np.concatenate([Y, surrogates.Designer(surrogate, **about).suggest(n - len(Y))])
        surrogate = trained(one, Y, one.solve(Y))
        found.append(error(one, surrogate, measure))
        there.append(n)
    return errors, np.array(found), there


def needed(sizes: Sequence[int], errors: Array, target: float) -> tuple[float, bool]:
    """Return the samples to an error, and whether it is reached."""
    n, logs = np.log(sizes), np.minimum.accumulate(np.log(errors))
    there = np.flatnonzero(logs <= np.log(target))
    if not len(there):
        return float(sizes[-1]), False
    i = int(there[0])
    if i == 0:
        return float(sizes[0]), True
    share = (logs[i - 1] - np.log(target)) / (logs[i - 1] - logs[i])
    return float(np.exp(n[i - 1] + share * (n[i] - n[i - 1]))), True


def main() -> None:
    """Print a line for each trial, and the medians."""
    logging.disable(logging.WARNING)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("sets", nargs="+", help="names of functions, or datasets")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="seed of the first trial")
    parser.add_argument("--sizes", default="40,60,90,130", help="sizes of the sets of samples")
    parser.add_argument("--measure", choices=MEASURES, default="relative")
    options = parser.parse_args()
    sizes = [int(text) for text in options.sizes.split(",")]
    for name in options.sets:
        one, ratios, every = problem(name), [], []
        for seed in range(options.first, options.first + options.trials):
            random, designed, there = curves(one, sizes, options.measure, seed)
            n, reached = needed(there, designed, random[-1])
            ratios.append(n / sizes[-1])
            every.append([random, designed[: len(sizes)]])
            texts = ["  ".join(f"{e:.3g}" for e in errors) for errors in (random, designed)]
            print(
                f"{name} {seed}: random {texts[0]}, designed {texts[1]}: "
                f"{'' if reached else '>'}{ratios[-1]:.2f}",
                flush=True,
            )
        middle = np.median(every, axis=0)
        for way, errors in zip(("random", "designed"), middle, strict=True):
            print(f"{name}, median of {way}: {'  '.join(f'{value:.3g}' for value in errors)}")
        print(
            f"{name}, solves to the same error: {np.median(ratios):.2f} (median), "
            f"{min(ratios):.2f} to {max(ratios):.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
