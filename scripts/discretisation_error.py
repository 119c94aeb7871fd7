"""Measure the discretisation error of c: the default mesh and time step against finer ones.

    python scripts/discretisation_error.py [--samples 20] [--seed 0] [--set KEY=VALUE ...]

The reference has twice the cells in each direction and a quarter of the time step. The relative
error of a sample is ||c - reference|| / ||reference||.
"""

import argparse
import dataclasses
import time

import numpy as np
from mpi4py import MPI

from surrogates import config
from surrogates.pde.cdr import CDR, CDRConfig


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=20, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    base = config.read(CDRConfig, None, options.set)
    n = options.samples
    Y = CDR.parameters(base, total=n, seed=options.seed, start=0, stop=n)
    cells = (2 * base.mesh.cells[0], 2 * base.mesh.cells[1])
    mesh = dataclasses.replace(base.mesh, cells=cells)
    steps, most = (dataclasses.replace(base.time, steps=k * base.time.steps) for k in (2, 4))
    reference = dataclasses.replace(base, mesh=mesh, time=most)
    C = CDR(reference, MPI.COMM_SELF).solve(Y).C
    print(f"relative error of c over {n} parameters, in per cent")
    print(f"{'':26}{'mean':>9}{'std':>9}{'min':>9}{'max':>9}{'ms a sample':>13}")
    for name, settings in (
        ("default", base),
        ("default, half the step", dataclasses.replace(base, time=steps)),
        ("default, twice the cells", dataclasses.replace(base, mesh=mesh)),
    ):
        problem = CDR(settings, MPI.COMM_SELF)
        start = time.perf_counter()
        c = problem.solve(Y).C
        seconds = time.perf_counter() - start
        errors = 100 * np.linalg.norm(c - C, axis=1) / np.linalg.norm(C, axis=1)
        numbers = (errors.mean(), errors.std(), errors.min(), errors.max())
        row = "".join(f"{number:9.4f}" for number in numbers)
        print(f"{name:26}{row}{1e3 * seconds / n:13.2f}")


if __name__ == "__main__":
    main()
