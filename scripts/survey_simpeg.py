"""Solve for a survey by SimPEG for `benchmark_survey.py`: arrays in a .npz file, results in one.

    python scripts/survey_simpeg.py IN.npz OUT.npz

It runs in an environment of its own, with simpeg and without this project. The mesh of tetrahedra
is given, and SimPEG's nodal formulation has elements of degree 1 on it. Electrodes at infinity are
SimPEG's poles.
"""

import sys
import time
from pathlib import Path

import discretize
import numpy as np
from simpeg import maps
from simpeg.electromagnetics.static import resistivity as dc


def survey_of(task: dict) -> tuple[dc.Survey, np.ndarray]:
    """Group the data by their current electrodes; return the survey, and its order of the data."""
    places, data = task["electrodes"], task["data"]
    sources, order = [], []
    for pair in np.unique(data[:, :2], axis=0):
        mine = np.flatnonzero((data[:, :2] == pair).all(axis=1))
        receivers = []
        for poles in (False, True):
            rows = mine[(data[mine, 3] < 0) == poles]
            if len(rows):
                m, n = places[data[rows, 2]], places[data[rows, 3]]
                kind = dc.receivers.Pole(m) if poles else dc.receivers.Dipole(m, n)
                receivers.append(kind)
                order.append(rows)
        a, b = pair
        if b < 0:
            sources.append(dc.sources.Pole(receivers, location=places[a]))
        else:
            sources.append(dc.sources.Dipole(receivers, location_a=places[a], location_b=places[b]))
    return dc.Survey(sources), np.concatenate(order)


def main() -> None:
    """Solve for each conductivity."""
    task = dict(np.load(sys.argv[1]))
    start = time.process_time()
    mesh = discretize.SimplexMesh(task["points"], task["cells"])
    survey, order = survey_of(task)
    low, high = mesh.nodes.min(axis=0), mesh.nodes.max(axis=0)
    near = 1e-6 * (high - low).max()
    faces = mesh.boundary_faces
    far = (np.abs(faces - low) < near).any(axis=1)
    far |= (np.abs(faces - high) < near)[:, :2].any(axis=1)
    simulation = dc.Simulation3DNodal(
        mesh, survey=survey, sigmaMap=maps.IdentityMap(mesh), surface_faces=~far
    )
    text = f"{mesh.n_nodes} unknowns, {survey.nSrc} sources, {simulation.solver.__name__}"
    found, seconds = {"text": text}, {}
    for name in ("homogeneous", "body"):
        R = np.empty(len(order))
        R[order] = simulation.dpred(task[name])
        found[name], seconds[name] = R, time.process_time()
    found["seconds homogeneous"] = seconds["homogeneous"] - start
    found["seconds ellipsoid"] = seconds["body"] - seconds["homogeneous"]
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = [line for line in lines if line.startswith("VmHWM")]
    found["memory"] = 1024 * int(peak.split()[1])  # ru_maxrss has the parent's too
    np.savez(sys.argv[2], **found)


if __name__ == "__main__":
    main()
