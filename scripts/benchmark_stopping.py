"""Whether the error that `surrogates.learn` prints at its end holds on new samples.

    python scripts/benchmark_stopping.py FOLDER                      # 25 trials on each problem
    python scripts/benchmark_stopping.py FOLDER --problems peaked --trials 5
    python scripts/benchmark_stopping.py FOLDER --report             # count what is there

A trial is a whole run with a seed of its own: a first design, trainings, suggested samples, fresh
ones, and the stop. Its surrogate is then called at 1000 new samples of the problem's design, which
are solved for once for all trials. Counted is how often the mean error there lies in the interval
that the run has printed, how often it is below the target, and the solves of a run.

The problems are CDR with six parameters on a coarse mesh, DCR on a coarse mesh, Darcy flow on 12 x
12 squares, and a function of six parameters with a peak in a corner. All solves are real ones. The
trainings are of one network (``--effort fast``), to afford a hundred runs.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

import surrogates
from surrogates.config import read
from surrogates.data import Dataset
from surrogates.learning.estimate import estimated, parts
from surrogates.pde import Problem
from surrogates.pde.needed import problem_of

NEW = 1000
TEST_SEED = 987_654_321
DARCY = Path(__file__).parent / "examples" / "darcy.py"


class Peaked(Problem):
    """Three functions of six parameters, with a peak in a corner of (0, 1)^6."""

    y_names, y_lower, y_upper = tuple(f"y{k}" for k in range(6)), 0.0, 1.0
    c_names = ("a", "b", "c")

    def solve(self, y):
        """Return c."""
        peak = np.exp(-2 * (((y - 0.9) / [0.5, 0.5, 0.7, 0.9, 1.2, 1.5]) ** 2).sum())
        ground = 2 + 0.3 * np.sin(2 * y[0] + y[2]) + 0.2 * y[1] * y[3] + 0.1 * y[4] ** 2 * y[5]
        return ground + peak, ground + 2 * peak**2, 1.5 * ground - 0.5 * peak


@dataclass(frozen=True, kw_only=True)
class Case:
    """A problem and the error that is asked for."""

    make: Callable[[], Problem]
    target: float
    budget: int = 200
    training: Mapping[str, Any] = field(default_factory=dict)


def built_in(name: str, *settings: str) -> Callable[[], Problem]:
    """Return a function that makes a problem with other settings, once for all runs."""

    def make() -> Problem:
        found = problem_of(name)
        own = type(f"Small{name.upper()}", (found,), {"name": f"small-{name}", "source": ""})
        return own(read(found.Config, None, settings), MPI.COMM_SELF)

    return make


def darcy() -> Problem:
    """Return Darcy flow on a coarse mesh."""
    found = problem_of(f"{DARCY}:Darcy")
    own = type("SmallDarcy", (found,), {"cells": 12, "name": "small-darcy", "source": ""})
    return own(found.Config(), MPI.COMM_SELF)


CASES = {
    "cdr": Case(
        make=built_in(
            "cdr",
            *("mesh.cells=[6,6]", "mesh.degree=2", "time.steps=15", "bumps.lattice=[3,2]"),
        ),
        target=0.002,
        training={"stopping.work_units": 200},
    ),
    "dcr": Case(
        make=built_in(
            "dcr",
            *("mesh.cells=[8,8,10]", "mesh.above=2", "mesh.layers=6", "mesh.extrapolate=false"),
            *("stations.number=[7,7]", "stations.spacing=[15.0,15.0]"),
        ),
        target=0.0003,
    ),
    "darcy": Case(make=darcy, target=0.07),
    "peaked": Case(
        make=lambda: Peaked(Peaked.Config(), MPI.COMM_SELF),
        target=0.01,
    ),
}


def new_samples(name: str, problem: Problem, folder: Path) -> Dataset:
    """Return the new samples, which are solved for once."""
    path = folder / f"{name}-new.h5"
    if not path.exists():
        how: dict[str, Any] = {"samples": NEW, "seed": TEST_SEED, "split": "0/0/1"}
        surrogates.generate(problem, out=path, **how)
    return Dataset.read(path)


def trial(name: str, case: Case, problem: Problem, seed: int, folder: Path) -> dict[str, Any]:
    """Run one trial, and return what it has printed and what is true."""
    out = folder / f"{name}-{seed}.pt"
    looks: list[Any] = []
    start = time.perf_counter()
    found = surrogates.learn(
        problem,
        target=case.target,
        out=out,
        budget=case.budget,
        seed=seed,
        effort="fast",
        training=case.training,
        on_look=lambda look, needed: looks.append(look),
    )
    seconds = time.perf_counter() - start
    new = new_samples(name, problem, folder)
    truth = estimated(parts(found, new.Y, new.C, "relative"), "relative").value
    last = looks[-1].estimate
    for path in (out, out.with_suffix(".h5"), out.with_suffix(".html")):
        path.unlink(missing_ok=True)
    shutil.rmtree(out.with_name(f"{out.name}.learn"))
    return {
        "problem": name,
        "seed": seed,
        "target": case.target,
        "met": looks[-1].certifies(case.target),
        "error": last.value,
        "lower": last.lower,
        "upper": last.upper,
        "fresh": last.samples,
        "true": truth,
        "solves": looks[-1].solves,
        "looks": len(looks),
        "seconds": round(seconds, 1),
    }


def report(rows: list[dict[str, Any]]) -> None:
    """Print the counts."""
    print("problem  trials  inside  below  above  met  wrong stops  solves (median)  fresh  width")
    for name in [*CASES, "all"]:
        mine = [row for row in rows if name in (row["problem"], "all")]
        if not mine:
            continue
        below = sum(row["true"] < row["lower"] for row in mine)
        above = sum(row["true"] > row["upper"] for row in mine)
        met = [row for row in mine if row["met"]]
        wrong = sum(row["true"] >= row["target"] for row in met)
        solves, fresh, width = (
            float(np.median(values))
            for values in (
                [row["solves"] for row in mine],
                [row["fresh"] for row in mine],
                [row["upper"] / max(row["lower"], 1e-12) for row in mine],
            )
        )
        n = len(mine)
        print(
            f"{name:7}  {n:6}  {n - below - above:6}  {below:5}  {above:5}  {len(met):3}  "
            f"{wrong:11}  {solves:15.0f}  {fresh:5.0f}  {width:5.1f}"
        )


def main() -> None:
    """Run the trials that are missing, and print the counts."""
    logging.getLogger("surrogates").setLevel(logging.ERROR)  # of coarse meshes, on purpose
    parser = argparse.ArgumentParser(description="Check the errors that learn prints.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--problems", default=",".join(CASES), metavar="P1,P2")
    parser.add_argument("--trials", type=int, default=25, metavar="N", help="of each; default 25")
    parser.add_argument("--report", action="store_true", help="only count what is there")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    record = options.folder / "trials.jsonl"
    rows = [json.loads(line) for line in record.open()] if record.exists() else []
    there = {(row["problem"], row["seed"]) for row in rows}
    names = options.problems.split(",")
    problems: dict[str, Problem] = {}
    for seed in () if options.report else range(options.trials):
        for name in names:
            if (name, seed) in there:
                continue
            if name not in problems:
                problems[name] = CASES[name].make()
            rows.append(trial(name, CASES[name], problems[name], seed, options.folder))
            with record.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    report(rows)


if __name__ == "__main__":
    main()
