"""Compare the solver on the built-in grid with the box, for a sphere near the electrodes.

    python scripts/body_near_electrodes.py [--tops 0.25 0.5 1] [--cells 4 6] [--resistivity 5]

Seven electrodes are 1 m apart on ground of 100 ohm m, with a sphere of 0.7 m radius below one of
them, and then between two. Its edge is blended over 0.2 m. For each depth of the blended edge's
top, in electrode spacings, the errors of the data of all arrays are printed, next to those of the
method `box`, in %: the median and the largest.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from mpi4py import MPI

from surrogates import config
from surrogates.pde.ert import ERT, ERTConfig
from surrogates.pde.ert.ways import way_of
from surrogates.survey import made
from surrogates.survey.arrays import ARRAYS

N, RADIUS, BLEND = 7, 0.7, 0.2
LINE = ("survey.array=pole-pole", f"survey.electrodes={N}", "observable.kind=resistance")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tops", type=float, nargs="+", default=[0.25, 0.5, 1.0])
    parser.add_argument("--cells", type=int, nargs="+", default=[4, 6])
    parser.add_argument("--resistivity", type=float, default=5.0)
    options = parser.parse_args()
    print(f"{'top':>6}{'x1':>6}" + "".join(f"{f'{n} cells':>16}" for n in options.cells))
    for top in options.tops:
        for x1 in (3.0, 3.5):
            body = _body(x1, top + RADIUS + BLEND / 2, options.resistivity)
            right = _data(*body, "solver.method=box")
            cells = ""
            for n in options.cells:
                found = _data(*body, "solver.method=direct", f"grid.cells={n}")
                error = 100 * np.abs(found / right - 1)
                cells += f"{np.median(error):8.2f},{error.max():5.2f} %"
            print(f"{top:6.2f}{x1:6.1f}{cells}", flush=True)


def _body(x1: float, depth: float, resistivity: float) -> tuple[str, ...]:
    """Return the settings of a sphere."""
    values = {"x1": x1, "x2": 0.0, "depth": depth, "resistivity": resistivity}
    values |= {f"a{i}": RADIUS for i in (1, 2, 3)}
    fixed = (f"body.{name}=[{value},{value}]" for name, value in values.items())
    return "model.kind=body", "model.background=[100,101]", f"body.blend={BLEND}", *fixed


def _data(*settings: str) -> Any:
    """Return the resistances of all arrays."""
    problem = ERT(config.read(ERTConfig, None, (*LINE, *settings)), MPI.COMM_SELF)
    T = way_of(problem.case, MPI.COMM_SELF).solve(problem.case.model.y_lower)
    where = {tuple(pair): k for k, pair in enumerate(problem.case.survey.pairs)}
    surveys = [made(array, N) for array in ARRAYS]
    found = [one.combine(T[[where[tuple(pair)] for pair in one.pairs]]) for one in surveys]
    return np.concatenate(found)


if __name__ == "__main__":
    main()
