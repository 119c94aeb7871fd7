"""Measure what coarse solves save: core-seconds to an error, against fine solves alone.

    python scripts/benchmark_fidelity.py cdr FOLDER --alone 100 200 400 --fine 10 20 --coarse 400
    python scripts/benchmark_fidelity.py dcr FOLDER --alone 50 100 200 --fine 6 12 --coarse 100

A surrogate of n coarse samples is the start of a training on m fine ones, ``train --from``. Errors
are mean relative errors on fine test samples, which no training has seen. The fine points are the
first of the coarse ones (nested), as two files of one seed are, and the training gets the coarse
samples too, ``--coarse``; ``--apart`` takes other fine points, and ``--old`` no coarse samples.

A solve's core-seconds are processor time of a batch, the smaller of two runs of each fidelity in
turn; those of wall time that the files hold depend on other work on the machine. For each error of
two fidelities the script prints the core-seconds of fine samples alone for this error, by log-log
interpolation between their numbers. Solves are kept in FOLDER, and are not repeated; ``--set``
gives other settings of a coarse solve, for which FOLDER must be another one.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import surrogates
from surrogates.config import check, overridden
from surrogates.data import Dataset
from surrogates.errors import InputError
from surrogates.types import Array

COARSE: dict[str, dict[str, Any]] = {
    "cdr": {"time.steps": 30, "mesh.cells": [4, 4]},
    "dcr": {
        "mesh.extrapolate": False,
        "mesh.cells": [16, 16, 20],
        "mesh.above": 2,
        "mesh.layers": 10,
    },
}
"""Half the steps and cells; and the coarser mesh of the two that are extrapolated from."""
BATCH = {"cdr": 40, "dcr": 5}
_APART, _TEST = 7, 99  # seeds of samples
_DRAWS = 100  # seeds of one kind: those of draw k are k * _DRAWS and more


@dataclass(frozen=True, kw_only=True)
class Sets:
    """Samples of both fidelities.

    Attributes:
        coarse: Coarse samples.
        fine: Fine samples.
        test: Fine samples for the errors.
        cost: Core-seconds of one coarse and of one fine solve.
    """

    coarse: Dataset
    fine: Dataset
    test: Dataset
    cost: tuple[float, float]


@dataclass(kw_only=True)
class Table:
    """Core-seconds and errors of fine samples alone, ascending in cost."""

    rows: list[tuple[float, float]] = field(default_factory=list)

    def needed(self, error: float) -> tuple[str, float]:
        """Return the core-seconds for an error, with ``>`` or ``<`` beyond the table's ends."""
        cost, errors = np.array(self.rows).T
        best = np.minimum.accumulate(errors)
        if error < best[-1]:
            return ">", float(cost[-1])
        if error >= best[0]:
            return "<", float(cost[0])
        k = int(np.argmax(best <= error))
        share = np.log(best[k - 1] / error) / np.log(best[k - 1] / best[k])
        return "", float(np.exp(np.log(cost[k - 1]) + share * np.log(cost[k] / cost[k - 1])))


def main() -> int:
    """Print the tables of one problem."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problem", choices=sorted(COARSE))
    parser.add_argument("folder", type=Path, help="of the solves")
    numbers: dict[str, Any] = {"type": int, "nargs": "+", "metavar": "N"}
    parser.add_argument("--alone", default=[50, 100, 200, 400], **numbers)
    parser.add_argument("--fine", default=[10, 20, 40], **numbers)
    parser.add_argument("--coarse", default=[400], **numbers)
    parser.add_argument("--seeds", type=int, default=1, help="draws; the table has medians")
    parser.add_argument("--test", type=int, default=200, metavar="N", help="fine test samples")
    parser.add_argument("--apart", action="store_true", help="fine points not among the coarse")
    parser.add_argument("--old", action="store_true", help="without the coarse samples")
    parser.add_argument("--effort", choices=("fast", "default", "high"), default="default")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="coarse")
    options = parser.parse_args()
    try:
        check(options.seeds >= 1, f"seeds must be at least 1; got {options.seeds}")
        options.folder.mkdir(parents=True, exist_ok=True)
        run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    """Train with and without coarse samples, and print what each takes."""
    cheap = overridden(options.set) or COARSE[options.problem]
    cost = costs(options.problem, cheap)
    draws = [solved(options, seed, cost, cheap) for seed in range(options.seeds)]
    print(
        f"{options.problem}: core-seconds of a solve {cost[0]:.4g} coarse, {cost[1]:.4g} fine: "
        f"{cost[1] / cost[0]:.2f} times"
    )
    table = Table()
    for n in options.alone:
        error = float(np.median([alone(draw, n, options.effort) for draw in draws]))
        table.rows.append((n * cost[1], error))
        print(f"  fine alone {n:5}: {n * cost[1]:8.3g} s, error {100 * error:.3g} %", flush=True)
    for n in options.coarse:
        starts = [trained(first(draw.coarse, n), options.effort) for draw in draws]
        pairs = list(zip(draws, starts, strict=True))
        untouched = float(np.median([error_of(start, draw) for draw, start in pairs]))
        print(f"  coarse {n:5} alone: {n * cost[0]:8.3g} s, error {100 * untouched:.3g} %")
        for m in options.fine:
            show(n, m, pairs, table, options)


def show(n: int, m: int, pairs: Sequence[Any], table: Table, options: argparse.Namespace) -> None:
    """Print the errors of n coarse and m fine samples, and what fine samples alone would take."""
    beside = not (options.old or options.apart)
    found = []
    for draw, start in pairs:
        how = {"start": start, "coarse": first(draw.coarse, n) if beside else None}
        found.append((trained(first(draw.fine, m), options.effort, **how), draw))
    error = float(np.median([error_of(surrogate, draw) for surrogate, draw in found]))
    coarse, fine = found[0][1].cost
    spent = n * coarse + m * fine
    sign, needed = table.needed(error)
    print(
        f"  coarse {n:5} and fine {m:4}: {spent:8.3g} s, error {100 * error:.3g} %; alone "
        f"{sign}{needed:.3g} s, {sign}{needed / spent:.2f} times; "
        f"{found[0][0].metadata['training'].get('chosen', '')}",
        flush=True,
    )


def solved(
    options: argparse.Namespace, seed: int, cost: tuple[float, float], cheap: dict[str, Any]
) -> Sets:
    """Return the samples of one draw, which are solved for unless they are there."""
    name, folder = options.problem, options.folder

    def made(kind: str, n: int, offset: int, coarse: bool) -> Dataset:
        path = folder / f"{name}-{kind}-{seed}.h5"
        if not path.exists() or len(Dataset.read(path).Y) < n:
            settings = cheap if coarse else {}
            how: dict[str, Any] = {"split": "0.9/0.1/0", "seed": _DRAWS * seed + offset}
            surrogates.generate(name, samples=n, out=path, settings=settings, **how)
        return Dataset.read(path)

    most = max(*options.alone, *options.fine)
    return Sets(
        coarse=made("coarse", max(options.coarse), _APART if options.apart else 0, True),
        fine=made("fine", most, 0, False),
        test=made("test", options.test, _TEST, False),
        cost=cost,
    )


def costs(name: str, cheap: dict[str, Any]) -> tuple[float, float]:
    """Return the core-seconds of one coarse and of one fine solve, in processor time."""
    from mpi4py import MPI

    from surrogates.pde.run import settled

    solvers = []
    for settings in (cheap, {}):
        problem, config = settled(name, None, settings)
        solvers.append(problem(config, MPI.COMM_SELF))
    n = BATCH[name]
    Y = problem.parameters(config, total=n, seed=0, start=0, stop=n)
    for solver in solvers:
        solver.solve_batch(Y[:1])  # sets up
    times = np.array([[_seconds(solver, Y) for solver in solvers] for _ in range(2)])
    coarse, fine = times.min(axis=0) / n
    return float(coarse), float(fine)


def _seconds(solver: Any, Y: Array) -> float:
    """Return the processor time of a batch."""
    start = time.process_time()
    solver.solve_batch(Y)
    return time.process_time() - start


def first(data: Dataset, n: int) -> Dataset:
    """Return the first n samples; all are for training, and a choice makes its own folds."""
    check(len(data.Y) >= n, f"there are {len(data.Y)} samples of {n}")
    cut = data.rows(slice(0, n))
    return dataclasses.replace(cut, split=np.zeros(n, np.uint8))


def alone(draw: Sets, n: int, effort: str) -> float:
    """Return the error of a training on n fine samples."""
    return error_of(trained(first(draw.fine, n), effort), draw)


def trained(data: Dataset, effort: str, **how: Any) -> Any:
    """Train, in this process alone; further arguments are those of `surrogates.train`."""
    how |= {"effort": effort, "seed": 0, "processes": 1}
    return surrogates.train(data, **how)


def error_of(surrogate: Any, draw: Sets) -> float:
    """Return the mean relative error on the fine test samples."""
    Y, C = draw.test.Y, draw.test.C
    residual = surrogate.predict(Y) - C
    return float(np.mean(np.linalg.norm(residual, axis=1) / np.linalg.norm(C, axis=1)))


if __name__ == "__main__":
    sys.exit(main())
