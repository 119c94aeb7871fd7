"""Measure what derivatives of a problem cost, in samples of a batch without them.

    python scripts/benchmark_tangents.py cdr [--samples 40] [--repeats 3] [--set mesh.cells=[16,16]]
    python scripts/benchmark_tangents.py dcr [--samples 10]
    python scripts/benchmark_tangents.py scripts/examples/darcy.py:Darcy --samples 10 --repeats 100

For a batch it prints the seconds of a sample without derivatives, with all tangents, with r
directions, and with r functionals; and the ratio of the latter to the first, which includes the
sample itself. The kinds take turns. Each figure is the smallest of the repeats in processor time of
the one process, which other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from surrogates import config
from surrogates.config import check
from surrogates.errors import InputError
from surrogates.pde.loading import load

NUMBERS = {"cdr": (1, 3, 6, 12, 24), "dcr": (1, 2, 3)}


def main() -> int:
    """Print the table of one problem."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problem", help="cdr, dcr or FILE.py:CLASS")
    parser.add_argument("--samples", type=int, metavar="N", help="default: the problem's batch")
    parser.add_argument("--repeats", type=int, default=3, metavar="K", help="default 3")
    parser.add_argument("--numbers", type=int, nargs="*", metavar="R", help="of directions")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    try:
        check(options.repeats >= 1, f"repeats must be at least 1; got {options.repeats}")
        problem = load(options.problem)
        settings = config.read(problem.Config, None, options.set)
        n = problem.batch(settings) if options.samples is None else options.samples
        check(n >= 1, f"samples must be at least 1; got {n}")
        numbers = options.numbers
        if numbers is None:
            numbers = NUMBERS.get(options.problem, (1, 2, 6))
        show(problem(settings, MPI.COMM_SELF), n, options.repeats, numbers)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def show(solver: Any, n: int, repeats: int, numbers: Sequence[int]) -> None:
    """Print the seconds of a sample for each kind of derivatives, and their ratio to none."""
    Y = solver.parameters(solver.config, total=n, seed=0, start=0, stop=n)
    about = solver.describe(solver.config)
    n_c, spread = len(about["c_names"]), about["y_upper"] - about["y_lower"]
    draw = np.random.default_rng(0).standard_normal

    def directions(r: int) -> dict[str, Any]:
        return {"tangents": draw((n, r, Y.shape[1])) * spread}

    kinds: dict[str, dict[str, Any]] = {"values alone": {}, "all tangents": {"tangents": True}}
    kinds |= {f"{r} directions": directions(r) for r in numbers}
    kinds |= {f"{r} functionals": {"adjoints": draw((r, n_c))} for r in numbers}
    for given in kinds.values():
        seconds(lambda given=given: solver.solve_batch(Y[:1], **cut(given)))  # sets up
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(repeats):
        for kind, given in kinds.items():
            found[kind].append(seconds(lambda given=given: solver.solve_batch(Y, **given)) / n)
    alone = min(found["values alone"])
    print(f"{solver.name}, {n} samples together, {Y.shape[1]} parameters; {solver.mesh}")
    for kind, times in found.items():
        print(
            f"  {kind:16}{1e3 * min(times):9.2f} ms a sample{min(times) / alone:9.2f}", flush=True
        )


def cut(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments for the first sample alone."""
    V = given.get("tangents")
    return {**given, "tangents": V[:1]} if isinstance(V, np.ndarray) else given


def seconds(action: Callable[[], Any]) -> float:
    """Return the processor time of an action."""
    start = time.process_time()
    batch = action()
    taken = time.process_time() - start
    check(not any(batch.failure), f"a solve failed: {max(batch.failure)}")
    return taken


if __name__ == "__main__":
    sys.exit(main())
