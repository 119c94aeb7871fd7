"""Draw the error of c against the mesh and the time step, with a finer reference.

    python scripts/convergence.py {cdr,dcr} --out F.png [--samples 2] [--seed 0]

An error is the mean over the samples of ||c - reference|| / ||reference||; for dcr both are centred
by the mean of the reference, the part without the body. The manufactured solutions of tests/pde
check the order of the solution itself.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import numpy as np
import torch
from mpi4py import MPI

from surrogates.model.metrics import relative_errors
from surrogates.pde.loading import load
from surrogates.plots import style
from surrogates.types import Array

Curve = tuple[str, list[float], list[float]]
"""A curve's label, cells or steps, and errors."""


def changed(config: Any, table: str, **values: Any) -> Any:
    """Return a configuration with other values in one of its tables."""
    part = dataclasses.replace(getattr(config, table), **values)
    return dataclasses.replace(config, **{table: part})


class Study:
    """The samples of a problem, and errors of c at any settings."""

    def __init__(self, name: str, samples: int, seed: int) -> None:
        """Draw the samples."""
        self.problem = load(name)
        self.base = self.problem.Config()
        self.Y = self.problem.parameters(self.base, total=samples, seed=seed, start=0, stop=samples)

    def solve(self, config: Any) -> Array:
        """Return the observables, (n, n_c)."""
        return np.asarray(self.problem(config, MPI.COMM_SELF).solve_batch(self.Y).C)

    def error(self, config: Any, reference: Array, centre: Array | float = 0.0) -> float:
        """Return the mean relative error at some settings."""
        centred = (torch.from_numpy(C - centre) for C in (self.solve(config), reference))
        return float(relative_errors(*centred).mean())


def cdr(study: Study) -> list[tuple[str, list[Curve]]]:
    """Return the panels of CDR: cells by degree, and steps of time."""
    base = study.base
    fine = changed(changed(base, "mesh", cells=(16, 16)), "time", steps=240)
    reference = study.solve(fine)
    space = []
    for degree, cells in ((1, (8, 16, 32)), (2, (4, 8, 16)), (4, (2, 4, 8))):
        errors = [
            study.error(changed(fine, "mesh", cells=(n, n), degree=degree), reference)
            for n in cells
        ]
        space.append((f"degree {degree}", [float(n) for n in cells], errors))
    steps = (15, 30, 60, 120)
    errors = [study.error(changed(fine, "time", steps=n), reference) for n in steps]
    return [
        ("cells in each direction", space),
        ("time steps", [("IMEX (4,4,3)", [float(n) for n in steps], errors)]),
    ]


def dcr(study: Study) -> list[tuple[str, list[Curve]]]:
    """Return the panel of DCR: cells on one mesh, and with extrapolation from a coarser one."""

    def on(cells: tuple[int, int, int], above: int, layers: int, extrapolate: bool) -> Any:
        return changed(
            study.base, "mesh", cells=cells, above=above, layers=layers, extrapolate=extrapolate
        )

    reference = study.solve(on((36, 36, 45), 6, 21, True))
    centre = reference.mean(axis=0)
    one = (((12, 12, 15), 2, 8), ((16, 16, 20), 2, 10), ((24, 24, 30), 3, 15))
    two = (((12, 12, 15), 3, 9), ((18, 18, 24), 3, 12), ((24, 24, 30), 3, 15))
    curves = [
        (
            label,
            [float(mesh[0][0]) for mesh in meshes],
            [study.error(on(*mesh, extrapolate), reference, centre) for mesh in meshes],
        )
        for label, meshes, extrapolate in (("one mesh", one, False), ("extrapolated", two, True))
    ]
    return [("cells across the region that bodies reach", curves)]


def main() -> None:
    """Measure, print, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problem", choices=("cdr", "dcr"))
    parser.add_argument("--out", required=True, metavar="F.png")
    parser.add_argument("--samples", type=int, default=2, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    options = parser.parse_args()
    study = Study(options.problem, options.samples, options.seed)
    panels = {"cdr": cdr, "dcr": dcr}[options.problem](study)
    with style.saved_figure(options.out, (style.WIDTH, style.HEIGHT), "") as figure:
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (label, curves) in zip(row, panels, strict=True):
            for (name, sizes, errors), color in zip(curves, style.CYCLE, strict=False):
                print(
                    f"{label}, {name}: "
                    + ", ".join(f"{n:g}: {e:.3g}" for n, e in zip(sizes, errors, strict=True))
                )
                axes.loglog(sizes, errors, "o-", color=color, label=name)
            ticks = sorted({n for _, sizes, _ in curves for n in sizes})
            axes.set_xticks(ticks, [f"{n:g}" for n in ticks])
            axes.minorticks_off()
            axes.set_xlabel(label)
            axes.set_ylabel("relative error of c")
            axes.legend()


if __name__ == "__main__":
    main()
