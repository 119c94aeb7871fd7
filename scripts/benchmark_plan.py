"""Whether the numbers of samples that `surrogates.plan` names are those that turn out to be needed.

    python scripts/benchmark_plan.py FOLDER                 # 100 trials on four problems
    python scripts/benchmark_plan.py FOLDER --design        # the sets that the method was chosen on
    python scripts/benchmark_plan.py FOLDER --report        # judge what is there again

A trial draws n samples from a pool that is made once, and measures their learning curve as
``surrogates plan`` does. Then it trains on larger and larger sets, which contain the first, and
measures each error on 500 samples that no training has seen. The target is the error, by the mean
curve of the problem's trials, at a multiple of n that is drawn between 1.3 and 2.5. The number that
turns out to be needed is where the trial's own curve, a straight line between trainings on the
logarithmic scales, first falls below the target. It is inside or outside of the interval.

The trainings, the same before and after, are affordable ones: a kernel of one kind whose scales are
sought for each set; a small network for some of the design sets.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from suite_sets import HELD_OUT, SETS, Function

import surrogates
from surrogates.data import Dataset
from surrogates.data.from_arrays import from_arrays
from surrogates.training.planning.curve import fit_curve
from surrogates.training.planning.errors import spreads, total, values
from surrogates.training.planning.measure import by_kernel, by_network
from surrogates.training.planning.plan import WIDEST, plan
from surrogates.training.selection.folds import Fold
from surrogates.training.selection.kernel import Fit, Form
from surrogates.training.settings import settings_of

MULTIPLES = (1.0, 1.4, 2.0, 2.8, 4.0)
REACHES = (1.3, 2.5)
TEST = 500
DARCY = Path(__file__).parent / "examples" / "darcy.py"
KERNEL = {"network.kind": "rbf", "network.kernel": "matern52", "network.trend": 1}
SMOOTH = {"network.kind": "rbf", "network.kernel": "gaussian", "network.trend": 1}
MANY = {"network.kind": "rbf", "network.kernel": "gaussian", "network.trend": 0}
NETWORK = {"network.width": 4, "stopping.work_units": 400}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A problem, the training of its surrogates, and the sizes of its first sets."""

    pool: Callable[[Path], Dataset]
    config: dict[str, Any]
    sizes: tuple[int, ...]
    effort: str = "default"
    measure: str = "relative"


def peaked(Y: np.ndarray) -> np.ndarray:
    """Return three outputs with a peak in a corner of (0, 1)^4, above a smooth ground."""
    square = np.square((Y - 0.85) / [0.25, 0.3, 0.5, 0.8]).sum(axis=1)
    ground = 1 + 0.3 * np.sin(2 * Y[:, 0] + Y[:, 2]) + 0.2 * Y[:, 1] * Y[:, 3]
    peak = np.exp(-square)
    return np.stack([ground + peak, ground + 2 * peak**2, 1.5 * ground - 0.5 * peak], axis=1)


def generated(problem: str, samples: int) -> Callable[[Path], Dataset]:
    """Return a function that makes or reads a pool."""

    def pool(folder: Path) -> Dataset:
        path = folder / f"{problem.rpartition(':')[2].lower()}.h5"
        if not path.exists():
            surrogates.generate(problem, samples=samples, seed=11, split="1/0/0", out=path)
        return Dataset.read(path)

    return pool


def drawn(evaluate: Callable[[np.ndarray], np.ndarray], n_in: int) -> Callable[[Path], Dataset]:
    """Return a function that evaluates a function at uniform points."""

    def pool(folder: Path) -> Dataset:
        Y = np.random.default_rng(7).random((3000, n_in))
        return from_arrays(Y, evaluate(Y), split="1/0/0")

    return pool


def of_suite(name: str) -> Callable[[Path], Dataset]:
    """Return a function that evaluates a function of the suite, with its noise."""

    def pool(folder: Path) -> Dataset:
        one = {**SETS, **HELD_OUT}[name]
        assert isinstance(one, Function)
        Y = one.sample(1500, 7)
        C = one(Y)
        scale = one.noise + one.relative_noise * C.std(axis=0)
        C = C + scale * np.random.default_rng(8).normal(size=C.shape)
        return from_arrays(Y, C, split="1/0/0")

    return pool


REPORTED = {
    "cdr": Case(pool=generated("cdr", 1600), config=MANY, sizes=(120, 160)),
    "dcr": Case(pool=generated("dcr", 1600), config=KERNEL, sizes=(120, 160)),
    "darcy": Case(pool=generated(f"{DARCY}:Darcy", 1600), config=SMOOTH, sizes=(120, 160)),
    "peaked": Case(pool=drawn(peaked, 4), config=SMOOTH, sizes=(120, 160)),
}

DESIGN = {
    **{
        name: Case(pool=of_suite(name), config=KERNEL, sizes=(120, 180), measure="spread")
        for name in ("piston", "environmental", "friedman1_noise", "friedman2", "robot_arm")
    },
    **{
        f"{name}, smooth": Case(
            pool=of_suite(name), config=SMOOTH, sizes=(90, 140), measure="spread"
        )
        for name in ("cantilever", "ishigami", "heat_rod", "lotka_volterra", "robertson")
    },
    "burgers": Case(pool=of_suite("burgers"), config=KERNEL, sizes=(90, 140), measure="spread"),
    "burgers, network": Case(
        pool=of_suite("burgers"),
        config=NETWORK,
        sizes=(120, 180),
        effort="fast",
        measure="spread",
    ),
}


def trained(case: Case, data: Dataset, fold: Fold) -> np.ndarray:
    """Train on rows as the plan's trainings do, and return the residuals of others."""
    settings, _ = settings_of(case.config, "regression")
    if case.effort == "fast":
        return by_network(data, settings, fold)
    network = settings.network
    form = Form(kernel=str(network.kernel), degree=int(network.trend or 0))
    scales = torch.full((data.Y.shape[1],), 0.2, dtype=torch.float64)
    return by_kernel(data, Fit(form=form, scales=scales, nugget=1e-4), fold, steps=60)


def trial(case: Case, data: Dataset, seed: int) -> dict[str, Any]:
    """Measure the curve of a few samples, and the errors of trainings on more."""
    n0 = case.sizes[seed % len(case.sizes)]
    order = np.random.default_rng(seed).permutation(len(data.Y))
    most = min(MULTIPLES[-1], (len(order) - TEST) / n0)
    first, test = order[:n0], order[-TEST:]
    split = np.full(len(data.Y), 255, np.uint8)
    split[first] = 0
    start = time.process_time()
    some = dataclasses.replace(data, split=split)
    found = plan(
        some,
        0.01,
        measure=case.measure,
        config=case.config,
        effort=case.effort,
        seed=seed,
        processes=1,
    )
    seconds = time.process_time() - start
    spread, sizes, errors = spreads(data.C[first]), [], []
    for multiple in MULTIPLES:
        n = round(n0 * min(multiple, most))
        residual = trained(case, data, Fold(train=order[:n], held=test))
        sizes.append(n)
        part = values(case.measure, residual, data.C[test], spread)
        errors.append(float(total(case.measure, part.mean(axis=0))))
    return {
        "seed": seed,
        "n0": n0,
        "n": found.curve.n.tolist(),
        "errors": found.curve.errors.tolist(),
        "covariance": found.curve.covariance.tolist(),
        "scatter": found.curve.scatter,
        "sizes": sizes,
        "truth": errors,
        "seconds": seconds,
    }


def crossed(sizes: list[int], errors: list[float], target: float) -> float:
    """Return where a curve, straight on logarithmic scales, falls below a target; or infinity."""
    x, y, goal = np.log(sizes), np.log(errors), math.log(target)
    if y[0] <= goal:
        return float(sizes[0])
    for i in range(len(x) - 1):
        if y[i + 1] <= goal:
            return math.exp(x[i] + (x[i + 1] - x[i]) * (y[i] - goal) / (y[i] - y[i + 1]))
    return math.inf


def judged(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Set each trial a target, and compare the interval with the number that was needed."""
    found = []
    for one in trials:
        same = [t for t in trials if t["n0"] == one["n0"]]
        mean = np.exp(np.mean([np.log(t["truth"]) for t in same], axis=0))
        low, high = np.log(REACHES)
        reach = math.exp(np.random.default_rng((one["seed"], 1)).uniform(low, high))
        goal = np.interp(math.log(one["n0"] * reach), np.log(one["sizes"]), np.log(mean))
        target = math.exp(float(goal))
        needed = crossed(one["sizes"], one["truth"], target)
        arrays = (np.array(one[key]) for key in ("n", "errors", "covariance"))
        interval = fit_curve(*arrays, one["scatter"]).samples_for(target)
        found.append({"needed": needed, "interval": interval, "n0": one["n0"], "reach": reach})
    return found


def report(name: str, found: list[dict[str, Any]]) -> None:
    """Print how often the number that was needed lies in the interval, and the widths."""
    n = len(found)
    low, middle, high = np.array([one["interval"] for one in found]).T
    needed = np.array([one["needed"] for one in found])
    n0 = np.array([one["n0"] for one in found])
    inside = (low <= needed) & ((needed <= high) | (needed <= n0) & (high <= n0))
    ratio = high / low
    told = ratio <= WIDEST
    with np.errstate(invalid="ignore"):
        off = np.median(np.abs(np.log(middle / needed)))
    print(
        f"{name:26}{n:4} trials: {inside.sum():3} inside; told {told.sum():3}, of these inside "
        f"{(inside & told).sum():3}, {(needed < low).sum():2} below, {(needed > high).sum():2} "
        f"above; width median {np.median(ratio):.2f}; middle off by {np.exp(off):.2f}"
    )


def main() -> None:
    """Run the trials that are not there yet, and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--design", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--trials", type=int, default=None, help="of each problem; default 25, 4")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    cases = DESIGN if options.design else REPORTED
    each = options.trials or (4 if options.design else 25)
    everything = []
    for name, case in cases.items():
        path = options.folder / f"trials-{name.replace(', ', '-')}.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        done = {one["seed"]: one for one in map(json.loads, lines)}
        if not options.report:
            data = case.pool(options.folder)
            for seed in range(each):
                if seed not in done:
                    done[seed] = trial(case, data, seed)
                    with path.open("a") as file:
                        file.write(json.dumps(done[seed]) + "\n")
        if done:
            found = judged(list(done.values()))
            report(name, found)
            everything += found
    report("all", everything)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
