"""Solves and core-seconds of `surrogates.learn` against fixed numbers of random samples.

    python scripts/benchmark_learn.py FOLDER --problem dcr --target 0.005 --sizes 8,12,16,20,24
    python scripts/benchmark_learn.py FOLDER --problem small-dcr --measure spread --target 0.1

A fixed number reaches the target if the error on new samples is below it in 9 of 10 trials, each a
training on random samples of a pool. A trial of learn is a whole run with a seed of its own: all
its solves count, those of its fresh samples too, and its error is measured on the same new samples.
Core-seconds are those of the solves. The trainings are of one network (``--effort fast``) in both,
unless another effort is given.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_stopping import CASES

import surrogates
from surrogates.data import Dataset, Split
from surrogates.learning.estimate import estimated, parts

NEW = 300
POOL = 320
POOL_SEED = 123_456_789


def problem_named(name: str) -> Any:
    """Return a problem: a name, or one of the coarse ones of ``benchmark_stopping.py``."""
    return CASES[name.removeprefix("small-")].make() if name.startswith("small-") else name


def error(found: Any, new: Dataset, measure: str) -> float:
    """Return a surrogate's error on new samples."""
    return estimated(parts(found, new.Y, new.C, measure), measure).value


def fixed(pool: Dataset, new: Dataset, sizes: list[int], options: Any) -> dict[int, list[float]]:
    """Return the errors of trainings on random samples, by their number."""
    found: dict[int, list[float]] = {}
    for n in sizes:
        for trial in range(options.trials):
            rows = np.random.default_rng([n, trial]).choice(len(pool.Y), n, replace=False)
            split = np.full(len(pool.Y), Split.UNUSED, np.uint8)
            split[rows] = Split.TRAIN
            split[rows[: max(1, round(0.1 * n))]] = Split.VALIDATION
            data = dataclasses.replace(pool, split=split)
            trained = surrogates.train(data, effort=options.effort, seed=trial)
            found.setdefault(n, []).append(error(trained, new, options.measure))
        good = sum(value < options.target for value in found[n])
        median = float(np.median(found[n]))
        print(f"{n} samples: {good} of {options.trials} below, median {median:.3g}", flush=True)
    return found


def learn(problem: Any, new: Dataset, seed: int, options: Any) -> dict[str, Any]:
    """Run learn once, and return what it has spent and reached."""
    out = options.folder / f"learn-{seed}.pt"
    how: dict[str, Any] = {"measure": options.measure, "effort": options.effort, "seed": seed}
    found = surrogates.learn(problem, target=options.target, out=out, budget=POOL, **how)
    data = Dataset.read(out.with_suffix(".h5"))
    row = {
        "seed": seed,
        "met": found.metadata["learned"]["met"],
        "error": error(found, new, options.measure),
        "solves": len(data.Y),
        "core_seconds": float(np.nansum(data.solver["seconds"])),
    }
    for path in (out, out.with_suffix(".h5"), out.with_suffix(".html")):
        path.unlink()
    shutil.rmtree(out.with_name(f"{out.name}.learn"))
    return row


def main() -> None:
    """Run the trials, and print the numbers."""
    parser = argparse.ArgumentParser(description="Compare learn with fixed numbers of samples.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--problem", default="dcr")
    parser.add_argument("--target", type=float, default=0.005)
    parser.add_argument("--measure", default="relative")
    parser.add_argument("--effort", default="fast")
    parser.add_argument("--sizes", default="20,40,60,80,120,160", metavar="N1,N2")
    parser.add_argument("--trials", type=int, default=10, metavar="N")
    options = parser.parse_args()
    logging.getLogger("surrogates").setLevel(logging.ERROR)
    options.folder.mkdir(exist_ok=True)
    problem, path = problem_named(options.problem), options.folder / f"{options.problem}-pool.h5"
    if not path.exists():
        surrogates.generate(problem, samples=POOL + NEW, seed=POOL_SEED, split="1/0/0", out=path)
    every = Dataset.read(path)
    pool, new = every.rows(slice(0, POOL)), every.rows(slice(POOL, None))
    rows = []
    for seed in range(options.trials):
        rows.append(learn(problem, new, seed, options))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    solves = float(np.median([row["solves"] for row in rows]))
    seconds = float(np.median([row["core_seconds"] for row in rows]))
    met = sum(row["met"] for row in rows)
    true = sum(row["error"] < options.target for row in rows)
    print(
        f"learn: {met} of {len(rows)} met, {true} truly below; median {solves:.0f} solves, "
        f"{seconds:.3g} core-seconds"
    )
    errors = fixed(pool, new, [int(n) for n in options.sizes.split(",")], options)
    enough = [
        n
        for n, values in errors.items()
        if sum(value < options.target for value in values) >= 0.9 * options.trials
    ]
    each = float(np.nanmean(pool.solver["seconds"]))
    best = f"{min(enough)} samples, {min(enough) * each:.3g} core-seconds" if enough else "none"
    print(f"fewest fixed samples that reach it in 9 of 10 trials: {best}")


if __name__ == "__main__":
    main()
