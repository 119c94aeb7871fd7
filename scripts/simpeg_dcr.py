"""Solve DC resistivity by SimPEG for `benchmark_dcr.py`: a task on stdin, results as JSON lines.

It runs in a separate environment, with simpeg and without this project.
"""

import json
import sys
import time

import discretize
import numpy as np
from simpeg import maps
from simpeg.electromagnetics.static import resistivity as dc


def main() -> None:
    """Solve on two typical meshes of SimPEG: a core of equal cells, with padding around it."""
    task = json.load(sys.stdin)
    for h in (4.0, 3.0):
        for mean in ("arithmetic", "geometric"):
            solve(task, h, mean)


def solve(task: dict, h: float, mean: str) -> None:
    """Solve for all bodies with cells of size h [m] and a mean over each, and without a body."""
    half, depth, n, factor = 18.0, 46.0, 13, 1.25
    along = [(h, n, -factor), (h, round(2 * half / h)), (h, n, factor)]
    mesh = discretize.TensorMesh([along, along, [(h, n, -factor), (h, round(depth / h))]], x0="CCN")
    plus, minus = np.array(task["plus"]), np.array(task["minus"])
    source = dc.sources.Dipole(
        [dc.receivers.Dipole(locations_m=plus, locations_n=minus)],
        location_a=np.array(task["electrodes"][0]),
        location_b=np.array(task["electrodes"][1]),
    )
    simulation = dc.Simulation3DNodal(
        mesh, survey=dc.Survey([source]), sigmaMap=maps.IdentityMap(mesh), bc_type="Neumann"
    )
    background, body = task["conductivity"]
    zero = simulation.dpred(np.full(mesh.n_cells, background))
    anomaly, seconds = [], []
    for y in task["Y"]:
        model = conductivity(mesh, y, task, mean)
        start = time.perf_counter()
        anomaly.append((simulation.dpred(model) - zero).tolist())
        seconds.append(time.perf_counter() - start)
    solver = simulation.solver.__name__
    result = {
        "solver": solver,
        "cells": mesh.n_cells,
        "mean": mean,
        "anomaly": anomaly,
        "seconds": seconds,
    }
    print(json.dumps(result), flush=True)


def conductivity(mesh: discretize.TensorMesh, y: list, task: dict, mean: str) -> np.ndarray:
    """Average the blended ellipsoid's conductivity, or its logarithm, over each cell."""
    background, body = task["conductivity"]
    depth, volume, rotation = y
    axes = np.array(task["aspect"])
    axes = axes * (volume / (4 / 3 * np.pi * axes.prod())) ** (1 / 3)
    c, s = np.cos(rotation), np.sin(rotation)
    gauss, weights = np.polynomial.legendre.leggauss(3)
    total = np.zeros(mesh.n_cells)
    sizes = mesh.h_gridded
    for i, j, k in np.ndindex(3, 3, 3):
        x = mesh.cell_centers + sizes / 2 * gauss[[i, j, k]]
        z = np.stack([c * x[:, 0] + s * x[:, 1], c * x[:, 1] - s * x[:, 0], x[:, 2] + depth], 1)
        q = np.sqrt(((z / axes) ** 2).sum(axis=1))
        d = (q - 1) * q / np.sqrt(((z / axes**2) ** 2).sum(axis=1))
        t = np.clip(0.5 - d / task["blend"], 0, 1)
        logarithm = np.log(body / background) * t**3 * (10 + t * (6 * t - 15))
        value = np.exp(logarithm) if mean == "arithmetic" else logarithm
        total += weights[[i, j, k]].prod() / 8 * value
    return background * (total if mean == "arithmetic" else np.exp(total))


if __name__ == "__main__":
    main()
