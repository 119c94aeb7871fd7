"""Measure the test error of training with the default setting, over seeds.

    python scripts/benchmark_published_cdr.py FILE [--seeds 10] [--set KEY=VALUE ...]

For each seed, the 400/200/200 split and the starting weights are both redrawn. The published
code, GNvpro with 3 levels of 200 work units, has a mean of 1.04 % over ten seeds on the published
convection-diffusion-reaction data; the last column is the time until the validation error is below
that. The test samples are looked at here only.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import sys
import time
from pathlib import Path

import torch

from surrogates import config
from surrogates.config import check
from surrogates.dataset import Dataset, assign_split
from surrogates.errors import InputError
from surrogates.importing import import_file
from surrogates.surrogate import relative_errors
from surrogates.training.fit import TrainConfig, fit

SPLIT = "400/200/200"


def main() -> int:
    """Print one line per seed, then the mean over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="the published data: its .mat file, or an imported dataset")
    parser.add_argument("--seeds", type=int, default=10, help="seeds 0, 1, ... (default 10)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    try:
        check(options.seeds >= 1, f"--seeds must be at least 1; got {options.seeds}")
        read = Dataset.read if Path(options.file).suffix == ".h5" else import_file
        dataset = read(options.file)
        measure(dataset, options.seeds, config.read(TrainConfig, None, options.set))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def measure(dataset: Dataset, seeds: int, settings: TrainConfig) -> None:
    """Train for each seed and print the errors on test, in per cent."""
    print("relative error on test, %")
    print("seed   mean    std    min    max  work units  seconds  to 1.04 %")
    means, times, until = [], [], []
    for seed in range(seeds):
        split = assign_split(SPLIT, len(dataset.Y), seed)
        drawn = dataclasses.replace(dataset, split=split)
        start = time.perf_counter()
        result = fit(drawn, dataclasses.replace(settings, seed=seed))
        times.append(time.perf_counter() - start)
        reached = (r.seconds for r in result.history if r.validation_error < 0.0104)
        until.append(next(reached, math.inf))
        Y, C = (torch.from_numpy(array) for array in drawn.part("test"))
        errors = 100 * relative_errors(result.predict(Y), C)
        means.append(float(errors.mean()))
        print(
            f"{seed:4d} {means[-1]:6.3f} {float(errors.std()):6.3f} {float(errors.min()):6.3f} "
            f"{float(errors.max()):6.3f} {result.history[-1].work_units:11d} {times[-1]:8.2f} "
            f"{until[-1]:10.2f}",
            flush=True,
        )
    print(
        f"median over seeds {statistics.median(means):.3f} %, mean {statistics.mean(means):.3f} % "
        f"({min(means):.3f} to {max(means):.3f}), {statistics.mean(times):.2f} s each, "
        f"{statistics.median(until):.2f} s to 1.04 %"
    )


if __name__ == "__main__":
    sys.exit(main())
