"""Measure the potential in layered ground: its error against images, empymod, and its seconds.

    python scripts/layered_earth.py

empymod (PyPI) is compared where it is installed: transfer resistances of buried dipoles, at 1 mHz.
Its own digital filters limit the agreement. Seconds are of the processor, one run each.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from surrogates.pde.ert.layers import Layers, grid_potentials, pair_derivatives, pair_potentials
from surrogates.types import Array

GROUNDS = (
    ((100.0, 10.0), (5.0,)),
    ((10.0, 1000.0), (5.0,)),
    ((100.0, 3.0, 700.0), (2.0, 2.5)),
    ((10.0, 900.0, 4.0, 50.0), (2.0, 0.05, 2.9)),
)
DIPOLES = (
    ((0, 0, -0.7), (5, 0, -0.7), (10, 0, -0.9), (15, 0, -0.9)),
    ((0, 0, -0.7), (5, 2, -0.7), (3, 10, -1.3), (9, 14, -1.3)),
    ((0, 0, -2.02), (4, 0, -2.02), (6, 0, -5.5), (6, 3, -9.0)),
)


def images(ground: Layers, r: Array) -> Array:
    """Return the potential of two layers at the surface by the series of images, (n,)."""
    rho1, rho2 = ground.resistivity
    k = (rho2 - rho1) / (rho2 + rho1)
    n = np.arange(1, int(np.log(1e-17) / np.log(abs(k))) + 2)
    powers = np.cumprod(np.full(len(n), k))
    found = np.empty(len(r))
    for i, distance in enumerate(r):
        terms = powers / np.hypot(distance, 2 * n * ground.thickness[0])
        found[i] = rho1 / (2 * np.pi) * (1 / distance + 2 * terms.sum())
    return found


def against_images() -> None:
    """Print the largest errors at r / h from 1e-4 to 1e4."""
    r = np.geomspace(1e-4, 1e4, 81)
    places = np.zeros((len(r) + 1, 3))
    places[1:, 0] = r
    pairs = np.array([(0, i + 1) for i in range(len(r))])
    for contrast in (1e-4, 1e-2, 0.1, 10.0, 1e2, 1e4):
        ground = Layers(resistivity=np.array([1.0, contrast]), thickness=np.ones(1))
        exact = images(ground, r)
        error = np.abs(pair_potentials(ground, places, pairs) - exact)
        primary = 2 * np.pi * r
        print(
            f"images, rho2 / rho1 = {contrast:g}: {(error / exact).max():.1e} of the potential, "
            f"{(error * primary).max():.1e} of the primary one"
        )


def against_empymod() -> None:
    """Print differences of transfer resistances of buried dipoles."""
    import empymod

    pairs = np.array([(0, 2), (0, 3), (1, 2), (1, 3)])
    for resistivity, thickness in GROUNDS:
        ground = Layers(resistivity=np.array(resistivity), thickness=np.array(thickness))
        differences = []
        for dipoles in DIPOLES:
            places = np.array(dipoles, dtype=np.float64)
            own = pair_potentials(ground, places, pairs) @ [1, -1, -1, 1]
            ends = places * [1, 1, -1]
            source, receiver = (ends[i : i + 2].T.ravel() for i in (0, 2))
            other = -empymod.bipole(
                list(source),
                list(receiver),
                depth=[0, *ground.depths],
                res=[2e14, *resistivity],
                freqtime=1e-3,
                srcpts=64,
                recpts=64,
                strength=1,
                verb=0,
            ).real
            differences.append(abs(float(other) / own - 1))
        text = ", ".join(f"{x:.1e}" for x in differences)
        print(f"empymod, {resistivity} ohm m, {thickness} m: {text}")


def seconds(label: str, what: Callable[[], object]) -> None:
    """Print the processor time of a call."""
    start = time.process_time()
    what()
    print(f"{label}: {time.process_time() - start:.2f} s")


def times() -> None:
    """Print seconds for 577 electrodes at the surface and 300 in boreholes, four layers."""
    ground = Layers(
        resistivity=np.array([100.0, 10.0, 1000.0, 50.0]), thickness=np.array([2.0, 5.0, 10.0])
    )
    random = np.random.default_rng(0)
    surface = np.column_stack([random.uniform(0, 120, (577, 2)), np.zeros(577)])
    buried = random.uniform(0, 1, (300, 3)) * [40, 40, -30]
    axes = np.linspace(30, 80, 30), np.linspace(30, 80, 30), -np.linspace(0, 40, 30)
    for name, electrodes in (("at the surface", surface), ("in the ground", buried)):
        n = len(electrodes)
        pairs = np.array(np.triu_indices(n, 1)).T
        label = f"{n} electrodes {name}"
        args = ground, electrodes
        seconds(f"{label}, {len(pairs)} pairs", lambda a=args, p=pairs: pair_potentials(*a, p))
        seconds(f"{label}, derivatives", lambda a=args, p=pairs: pair_derivatives(*a, p))
        seconds(f"{label}, 30 x 30 x 30 nodes", lambda a=args: grid_potentials(*a, axes))


if __name__ == "__main__":
    against_images()
    if find_spec("empymod"):
        against_empymod()
    times()
