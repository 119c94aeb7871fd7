"""Time a body below a survey's electrodes on one core, and compare it with finer cells.

    python scripts/benchmark_box.py SURVEY [--set KEY=VALUE ...] [--samples 2] [--finer 9]

The survey's electrodes are put on flat ground. Seconds are processor time of this process: of the
first sample with its set-up, of the next ones, and of all tangents of one. ``--finer`` solves the
first sample again with that many cells over the least semi-axis (the default has 6), and prints by
how much the data change, and the anomaly, which is data over those without the body minus 1. Memory
is the largest of the process before that.
"""

import argparse
import dataclasses
import resource
import time

import numpy as np
from mpi4py import MPI

from surrogates import config
from surrogates.pde.ert.box import Box
from surrogates.pde.ert.case import Case
from surrogates.pde.ert.config import ERTConfig
from surrogates.pde.ert.layers import pair_potentials
from surrogates.survey import read


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("survey")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--samples", type=int, default=2, metavar="N")
    parser.add_argument("--finer", type=float, metavar="CELLS")
    options = parser.parse_args()
    survey = read(options.survey)
    survey = dataclasses.replace(survey, electrodes=survey.electrodes * [1.0, 1.0, 0.0])
    case = Case(config.read(ERTConfig, None, options.overrides), survey, survey.ground(0.0))
    low, high = case.model.y_lower, case.model.y_upper
    unit = np.random.default_rng(0).uniform(size=(options.samples, len(low)))
    Y = low + unit * (high - low)
    print(f"{len(survey.electrodes)} electrodes, {len(survey.data)} data, {len(low)} parameters")
    first, cells = run(case, Y)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"largest memory of the process: {memory:.0f} MB")
    if options.finer:
        n = round(cells * (options.finer / case.config.box.resolution) ** 3)
        compare(case, Y[0], first, dataclasses.replace(case.config.box, number=n))


def run(case, Y):
    """Solve for samples, print seconds; return the first one's potentials and the cells."""
    settings, start = case.config.box, time.process_time()
    box = Box(case.electrodes, case.survey.pairs, case.model, settings, MPI.COMM_SELF)
    print(box.description())
    found = None
    for y in Y:
        T = box.solve(y)
        found = T if found is None else found
        seconds = time.process_time() - start
        columns = [level._R.shape[0] for level in box._levels]
        print(
            f"sample: {seconds:.1f} s, {columns} columns, residual {box.residual:.1e}", box.failure
        )
        start = time.process_time()
    box.tangents(Y[-1], np.eye(Y.shape[1]))
    print(f"all tangents: {time.process_time() - start:.1f} s")
    return found, np.prod([part.stop - part.start - 1 for part in box._levels[0]._grid.core])


def compare(case, y, T, settings):
    """Compare a sample with one on finer cells."""
    box = Box(case.electrodes, case.survey.pairs, case.model, settings, MPI.COMM_SELF)
    known = pair_potentials(case.model.layers(y), case.electrodes, case.survey.pairs)
    fine = case.survey.combine(box.solve(y))
    coarse, without = case.survey.combine(T), case.survey.combine(known)
    median, most = np.quantile(np.abs(coarse / fine - 1), [0.5, 0.95])
    anomaly = np.linalg.norm((coarse - fine) / without) / np.linalg.norm(fine / without - 1)
    print(
        f"against {settings.number} cells: data {median:.1e} (median), {most:.1e} (95 %); "
        f"anomaly {anomaly:.1e}"
    )


if __name__ == "__main__":
    main()
