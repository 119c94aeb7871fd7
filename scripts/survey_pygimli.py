"""Solve for a survey by pyGIMLi for `benchmark_survey.py`: arrays in a .npz file, results in one.

    python scripts/survey_pygimli.py IN.npz OUT.npz DEGREE

It runs in an environment of its own, with pygimli and without this project. The mesh of tetrahedra
is given; elements of degree 2, as pyGIMLi's documentation advises for accurate solutions without a
singularity removal, have the mesh's edges as further nodes.
"""

import sys
import time
from pathlib import Path

import numpy as np
import pygimli as pg
from pygimli.physics import ert


def mesh_of(task: dict) -> pg.Mesh:
    """Build the mesh; the surface has no flux, the other sides have mixed conditions."""
    mesh = pg.Mesh(3)
    nodes = [mesh.createNode(pg.Pos(*x)) for x in task["points"].tolist()]
    for cell in task["cells"].tolist():
        mesh.createCell([nodes[i].id() for i in cell], 0)
    mesh.createNeighborInfos()
    low, high = task["points"].min(axis=0), task["points"].max(axis=0)
    near = 1e-6 * (high - low).max()
    for face in mesh.boundaries():
        if face.outside():
            x = np.array([[node.x(), node.y(), node.z()] for node in face.nodes()])
            on = (np.abs(x - low) < near).all(axis=0) | (np.abs(x - high) < near).all(axis=0)
            on[2] = (np.abs(x[:, 2] - low[2]) < near).all()
            mixed, free = pg.core.MARKER_BOUND_MIXED, pg.core.MARKER_BOUND_HOMOGEN_NEUMANN
            face.setMarker(mixed if on.any() else free)
    return mesh


def main() -> None:
    """Solve for each conductivity."""
    task = dict(np.load(sys.argv[1]))
    data = pg.DataContainerERT()
    for x in task["electrodes"].tolist():
        data.createSensor(pg.Pos(*x))
    for row in task["data"].tolist():
        data.createFourPointData(data.size(), *row)
    data["valid"] = np.ones(data.size())
    data["k"] = np.ones(data.size())
    start = time.process_time()
    degree = int(sys.argv[3])
    mesh = mesh_of(task)
    if degree == 2:
        mesh = mesh.createP2()
    found, seconds = {"text": f"{mesh.nodeCount()} unknowns"}, {}
    for name in ("homogeneous", "body"):
        resistivity = 1 / task[name]
        done = ert.simulate(mesh, data, resistivity, sr=False, calcOnly=True, verbose=False)
        found[name], seconds[name] = np.array(done["r"]), time.process_time()
    found["seconds homogeneous"] = seconds["homogeneous"] - start
    found["seconds ellipsoid"] = seconds["body"] - seconds["homogeneous"]
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = [line for line in lines if line.startswith("VmHWM")]
    found["memory"] = 1024 * int(peak.split()[1])  # ru_maxrss has the parent's too
    np.savez(sys.argv[2], **found)


if __name__ == "__main__":
    main()
