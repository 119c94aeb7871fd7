"""Measure the discretisation error of c: the default mesh and time step against finer ones.

    python scripts/discretisation_error.py {cdr,dcr} [--samples 20] [--seed 0] [--set KEY=VALUE ...]

The reference has twice the cells in each direction (and, for cdr, a quarter of the time step). The
relative error of a sample is ||c - reference|| / ||reference||, or, centred,
||c - reference|| / ||reference - mean of reference||.
"""

import argparse
import dataclasses
import time
from typing import Any

import torch
from mpi4py import MPI

from surrogates import config
from surrogates.model.metrics import relative_errors
from surrogates.pde.loading import load


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problem", choices=("cdr", "dcr"))
    parser.add_argument("--samples", type=int, default=20, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    problem = load(options.problem)
    base = config.read(problem.Config, None, options.set)
    n = options.samples
    Y = problem.parameters(base, total=n, seed=options.seed, start=0, stop=n)
    reference, others = {"cdr": refine_cdr, "dcr": refine_dcr}[options.problem](base)
    C = torch.from_numpy(problem(reference, MPI.COMM_SELF).solve_batch(Y).C)
    mean = C.mean(dim=0)
    print(f"error of c over {n} parameters, in per cent")
    print(
        f"{'':26}{'mean':>9}{'std':>9}{'min':>9}{'max':>9}{'ms a sample':>13}  centred: mean, max"
    )
    for name, settings in others.items():
        one = problem(settings, MPI.COMM_SELF)
        start = time.perf_counter()
        c = torch.from_numpy(one.solve_batch(Y).C)
        seconds = time.perf_counter() - start
        errors = 100 * relative_errors(c, C).numpy()
        centred = 100 * relative_errors(c - mean, C - mean).numpy()
        numbers = (errors.mean(), errors.std(), errors.min(), errors.max())
        row = "".join(f"{number:9.4f}" for number in numbers)
        print(f"{name:26}{row}{1e3 * seconds / n:13.2f}{centred.mean():13.3f}{centred.max():9.3f}")


def refine_cdr(base: Any) -> tuple[Any, dict[str, Any]]:
    """Return the reference settings, and the settings to compare with them by name."""
    cells = (2 * base.mesh.cells[0], 2 * base.mesh.cells[1])
    mesh = dataclasses.replace(base.mesh, cells=cells)
    steps, most = (dataclasses.replace(base.time, steps=k * base.time.steps) for k in (2, 4))
    return dataclasses.replace(base, mesh=mesh, time=most), {
        "default": base,
        "default, half the step": dataclasses.replace(base, time=steps),
        "default, twice the cells": dataclasses.replace(base, mesh=mesh),
    }


def refine_dcr(base: Any) -> tuple[Any, dict[str, Any]]:
    """Return the reference settings, and the settings to compare with them by name."""
    old = base.mesh
    mesh = dataclasses.replace(
        old, cells=tuple(2 * n for n in old.cells), above=2 * old.above, layers=2 * old.layers
    )
    alone = dataclasses.replace(old, extrapolate=False)
    return dataclasses.replace(base, mesh=mesh), {
        "default": base,
        "default, not extrapolated": dataclasses.replace(base, mesh=alone),
    }


if __name__ == "__main__":
    main()
