"""Compare corrections of point sources on a mesh, on random layered grounds.

    python scripts/point_sources.py [--grounds 12] [--seed 24] [--far 4]

For each array over three random layers, the errors of apparent resistivities against the exact
ones are printed, in %: the median and the 95 % quantile of the data, averaged over the grounds. The
corrections are that of `surrogates.pde.ert.correction` with homogeneous ground as the reference,
the ratio of exact and computed potentials of homogeneous ground alone, and their difference times
the first layer's resistivity alone.
"""

from __future__ import annotations

import argparse

import numpy as np
from mpi4py import MPI

from surrogates.pde.ert.direct import Direct, DirectSettings
from surrogates.pde.ert.grid import GridSettings, flat_grid
from surrogates.pde.ert.layers import Layers, pair_potentials
from surrogates.pde.ert.models.layered import LayeredModel, layer_quantities
from surrogates.survey import made

SPACING = 2.5
SURVEYS = {
    array: made(array, 12, SPACING)
    for array in ("gradient", "pole-dipole", "dipole-dipole", "wenner", "pole-pole")
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grounds", type=int, default=12, metavar="N")
    parser.add_argument("--seed", type=int, default=24, metavar="S")
    parser.add_argument("--far", type=float, default=GridSettings.far, metavar="EXTENTS")
    options = parser.parse_args()
    places = SURVEYS["wenner"].electrodes
    n = len(places)
    pairs = np.stack(np.triu_indices(n, 1), axis=1)
    number = np.zeros((n, n), dtype=int)
    number[tuple(pairs.T)] = np.arange(len(pairs))
    unit = Layers(resistivity=np.ones(1), thickness=np.empty(0))
    known = pair_potentials(unit, places, pairs)
    cells = flat_grid(places, GridSettings(far=options.far)).cells()
    direct = Direct(cells, places, pairs, DirectSettings(), MPI.COMM_SELF, homogeneous=known)
    computed = known / direct.correction.ratio
    errors: dict[tuple[str, str], list[tuple[float, float]]] = {}
    rng = np.random.default_rng(options.seed)
    for _ in range(options.grounds):
        rho, thickness = 10 ** rng.uniform(1, 3, 3), SPACING * rng.uniform(0.7, 2.5, 2)
        model = LayeredModel(
            layer_quantities([(a, a) for a in rho], [(a, a) for a in thickness]), 3
        )
        y = np.empty(0)
        K = model.tensor(y, direct.points, direct.weights)
        exact = pair_potentials(model.layers(y), places, pairs)
        raw = direct.uncorrected(K)
        found = {
            "correction": direct.correction.apply(raw, K),
            "ratio": raw * direct.correction.ratio,
            "difference": raw + (known - computed) * rho[0],
        }
        for array, survey in SURVEYS.items():
            chosen = number[tuple(survey.pairs.T)]
            right = survey.combine(exact[chosen])
            for name, T in found.items():
                error = 100 * np.abs(survey.combine(T[chosen]) / right - 1)
                ends = float(np.median(error)), float(np.quantile(error, 0.95))
                errors.setdefault((array, name), []).append(ends)
    print(f"{direct.description()}\n{'':16}" + "".join(f"{name:>18}" for name in found))
    for array in SURVEYS:
        rows = (np.mean(errors[array, name], axis=0) for name in found)
        print(f"{array:16}" + "".join(f"{a:9.2f}, {b:5.2f} %" for a, b in rows))


if __name__ == "__main__":
    main()
