"""Measure the test error of training, and its error bars, over seeds.

    python scripts/benchmark_published_cdr.py FILE [--seeds 10] [--effort E] [--set KEY=VALUE ...]

Each seed redraws the 400/200/200 split and the starting weights. The published code, GNvpro with 3
levels of 200 work units, has a mean of 1.04 % over ten seeds on the published
convection-diffusion-reaction data. Seconds are those of `surrogates.train`. With --effort fast, one
column is the time until the validation error is below that. The last three columns are the shares
of the test errors in 50, 90 and 95 % intervals. The test samples are used here only.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import surrogates
from surrogates import Dataset, InputError, TrainConfig, config
from surrogates.config import check
from surrogates.data import assign_split, import_file
from surrogates.model.summaries import LEVELS
from surrogates.training.make import Effort
from surrogates.training.pool import keep_memory
from surrogates.training.selection.effort import EFFORTS

SPLIT = "400/200/200"


def main() -> int:
    """Print one line per seed, then the mean over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="the published data: its .mat file, or an imported dataset")
    parser.add_argument("--seeds", type=int, default=10, help="seeds 0, 1, ... (default 10)")
    parser.add_argument("--effort", choices=EFFORTS, default="fast")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    keep_memory()
    try:
        check(options.seeds >= 1, f"--seeds must be at least 1; got {options.seeds}")
        read = Dataset.read if Path(options.file).suffix == ".h5" else import_file
        dataset = read(options.file)
        values = config.entries(config.to_toml(config.read(TrainConfig, None, options.set)))
        given = {key: values[key] for key in config.keys(None, options.set)}
        measure(dataset, options.seeds, given, options.effort)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def measure(dataset: Dataset, seeds: int, given: Mapping[str, Any], effort: Effort) -> None:
    """Train for each seed and print the errors on test, in per cent."""
    print("relative error on test, %")
    print("seed   mean    std    min    max  work units  seconds  to 1.04 %   in 50, 90, 95 %")
    means, times, until, coverages = [], [], [], []
    for seed in range(seeds):
        split = assign_split(SPLIT, len(dataset.Y), seed)
        drawn = dataclasses.replace(dataset, split=split)
        start = time.perf_counter()
        surrogate = surrogates.train(drawn, given, effort=effort, seed=seed)
        times.append(time.perf_counter() - start)
        history = surrogate.history
        one = effort == "fast"
        reached = (r.seconds for r in history if one and r.validation_error < 0.0104)
        until.append(next(reached, math.inf))
        test = surrogate.evaluate(drawn)
        means.append(100 * test.relative.mean)
        coverages.append([100 * share for share in test.coverage])
        errors = (100 * x for x in (test.relative.std, test.relative.min, test.relative.max))
        print(
            f"{seed:4d}",
            *(f"{x:6.3f}" for x in (means[-1], *errors)),
            f"{history[-1].work_units if history else 0:11d} {times[-1]:8.2f} {until[-1]:10.2f}",
            *(f"{x:6.1f}" for x in coverages[-1]),
            flush=True,
        )
    print(
        f"median over seeds {statistics.median(means):.3f} %, mean {statistics.mean(means):.3f} % "
        f"({min(means):.3f} to {max(means):.3f}), {statistics.mean(times):.2f} s each, "
        f"{statistics.median(until):.2f} s to 1.04 %"
    )
    for level, shares in zip(LEVELS, zip(*coverages, strict=True), strict=True):
        print(
            f"in {level:.0%} intervals: mean {statistics.mean(shares):.1f} % "
            f"({min(shares):.1f} to {max(shares):.1f})"
        )


if __name__ == "__main__":
    sys.exit(main())
