"""Compare the potentials of a survey with pyGIMLi's and SimPEG's on one mesh, and their costs.

    python scripts/benchmark_survey.py [--survey FILE] [--data N] [--refine X] [--only NAME ...]
        [--mesh FILE] [--folder FOLDER]
    python scripts/benchmark_survey.py --compare FOLDER ...

Without a file the survey has 5 lines of 5 electrodes, dipole-dipole. The ground is homogeneous of
100 ohm m, or has an ellipsoid of 10 ohm m below the middle of the survey. gmsh makes a mesh of
tetrahedra (`surrogates survey --mesh`), which all solvers get, with the same mean conductivity in
each cell:

- pyGIMLi with elements of degree 1, and of degree 2, which its documentation advises,
- SimPEG's nodal formulation (degree 1),
- this project's way ``direct`` on the mesh, and, on flat ground, its way ``box`` without it.

A folder keeps the mesh and the results: a later run of the same survey, mesh and ground runs only
the solvers that have none there. ``--compare`` reads such folders, as of one survey on finer and
finer meshes, and compares all with the last folder's.

Apparent resistivities are 100 ohm m R / R0. All have the same R0, of the half-space or, on
topography, of this project; in the columns "own", R0 is that of the row's own solve for homogeneous
ground, as users of pyGIMLi have it on topography, of all data and of those that the ellipsoid
changes by more than 1 %. Each solver has a process of its own and one thread. Seconds are processor
time, first of the set-up with homogeneous ground, then of the next ground, with the ellipsoid. The
two others have the environments of scripts/adapters.py, or --pygimli and --simpeg name a Python
each: SimPEG's solves are faster if its environment has MKL's Pardiso (pydiso).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from adapters import environments
from scipy.spatial import cKDTree

from surrogates.survey import Survey, half_space_factors, made, read
from surrogates.survey.mesh import MeshSettings, write_mesh

HERE = Path(__file__).resolve().parent
BACKGROUND, BODY = 100.0, 10.0  # ohm m
LABELS = {
    "box": "this, box",
    "direct": "this, direct",
    "direct-1": "this, direct, degree 1",
    "direct-2": "this, direct, degree 2",
    "pygimli-1": "pyGIMLi, degree 1",
    "pygimli-2": "pyGIMLi, degree 2",
    "simpeg": "SimPEG, degree 1",
}
REFERENCE = "box", "direct-2", "direct", "pygimli-2", "direct-1"  # the first that is there
OWN = "box", "direct", "direct-1", "direct-2"
SOLVERS = "box", "direct", "pygimli-1", "pygimli-2", "simpeg"
SECONDS = "seconds homogeneous", "seconds ellipsoid"


def parsed() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--survey", metavar="FILE")
    parser.add_argument("--data", type=int, metavar="N", help="about N data, evenly chosen")
    parser.add_argument("--mesh", metavar="FILE", help="the mesh of all, of survey --mesh")
    parser.add_argument(
        "--cells", type=float, default=4.0, help="edges from electrode to electrode"
    )
    parser.add_argument("--growth", type=float, default=0.3, help="of edges with the distance")
    parser.add_argument("--refine", type=float, default=1.0, help="factor of shorter edges")
    parser.add_argument("--depth", type=float, metavar="M", help="depth of the ellipsoid's centre")
    parser.add_argument("--only", nargs="+", choices=tuple(LABELS), default=SOLVERS)
    for name in ("pygimli", "simpeg"):
        (there,) = [one for one in environments() if one.name == name]
        parser.add_argument(f"--{name}", metavar="PYTHON", default=str(there.python))
    parser.add_argument("--timeout", type=float, default=1800, metavar="S", help="for each solver")
    parser.add_argument("--folder", metavar="FOLDER", help="keep the mesh and the results here")
    parser.add_argument("--compare", nargs="+", metavar="FOLDER", help="results that were kept")
    parser.add_argument(
        "--solve", nargs=3, metavar=("WAY", "FOLDER", "OUT"), help=argparse.SUPPRESS
    )
    return parser.parse_args()


def survey_of(options: argparse.Namespace) -> Survey:
    """Read or make the survey, and choose among its data."""
    if not options.survey:
        return made("dipole-dipole", electrodes=5, spacing=1.0, lines=5, line_spacing=1.0)
    survey = read(options.survey)
    if not options.data or options.data >= len(survey.data):
        return survey
    chosen = np.linspace(0, len(survey.data) - 1, options.data).astype(int)
    data = survey.data[chosen]
    used = np.unique(data[data >= 0])
    number = np.full(len(survey.electrodes) + 1, -1)
    number[used] = np.arange(len(used))
    return dataclasses.replace(
        survey, electrodes=survey.electrodes[used], data=number[data], values={}
    )


def place_of(survey: Survey, depth: float | None) -> tuple[np.ndarray, float]:
    """Return the middle of a survey, and the depth of the ellipsoid's centre."""
    low, high = survey.electrodes.min(axis=0), survey.electrodes.max(axis=0)
    return (low + high) / 2, depth or 0.2 * float((high - low).max())


def mesh_settings(survey: Survey, options: argparse.Namespace) -> MeshSettings:
    """Return the mesh's: edges are an eighth of the depth in and around the ellipsoid."""
    middle, depth = place_of(survey, options.depth)
    top = survey.ground().top
    bounds = [(x - 0.75 * depth, x + 0.75 * depth) for x in middle[:2]]
    bounds.append((top - 1.6 * depth, top - 0.4 * depth))
    fine = (*np.ravel(bounds).tolist(), depth / 8)
    sizes = {"cells": options.cells, "growth": options.growth, "refine": options.refine}
    return MeshSettings(**sizes, fine=fine)


def settings_of(folder: Path, way: str, depth: float | None) -> Any:
    """Return the configuration: an ellipsoid in the middle of the survey, and the background y."""
    from surrogates.pde.ert.config import ERTConfig, MeshFile, Observable, Solver, SurveySettings
    from surrogates.pde.ert.direct import DirectSettings
    from surrogates.pde.ert.models.settings import BodySettings, ModelSettings

    middle, depth = place_of(read(folder / "survey.ohm"), depth)
    axes = {"a1": 0.6 * depth, "a2": 0.6 * depth, "a3": 0.5 * depth}
    body = {"x1": middle[0], "x2": middle[1], "depth": depth, **axes}
    body |= {"rotation": 0.0, "resistivity": BODY}
    method, _, degree = way.partition("-")
    return ERTConfig(
        survey=SurveySettings(file=str(folder / "survey.ohm")),
        model=ModelSettings(kind="body", background=(BACKGROUND / 2, 2 * BACKGROUND)),
        body=BodySettings(
            **{key: (float(value), float(value)) for key, value in body.items()}, blend=0.1 * depth
        ),
        mesh=MeshFile(file="" if way == "box" else str(folder / "ground.msh")),
        solver=Solver(method=method),
        direct=DirectSettings(degree=int(degree) if degree else None),
        observable=Observable(kind="resistance"),
    )


def peak() -> int:
    """Return the largest memory of this process so far in bytes; ru_maxrss has its parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])


def solve(way: str, folder: Path, out: Path, depth: float | None) -> None:
    """Solve by this project: for homogeneous ground, and for the ellipsoid."""
    from mpi4py import MPI

    from surrogates.pde.ert.problem import ERT

    start = time.process_time()
    config = settings_of(folder, way, depth)
    problem = ERT(config, MPI.COMM_SELF)
    found: dict[str, Any] = {"homogeneous": BACKGROUND / problem.case.factors}
    found["seconds homogeneous"] = time.process_time() - start
    start = time.process_time()
    batch = problem.solve_batch(np.array([[np.log10(BACKGROUND)]]))
    assert not batch.failure[0], batch.failure
    found["body"], found["seconds ellipsoid"] = batch.C[0], time.process_time() - start
    found["memory"] = peak()
    found["text"] = problem.mesh
    np.savez(out, **found)


def task(folder: Path, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Return the arrays that the two others need."""
    from surrogates.pde import meshes
    from surrogates.pde.ert.case import case_of

    case = case_of(settings_of(folder, "direct", options.depth))
    cells, y = case.cells, np.array([np.log10(BACKGROUND)])
    shape, weights = meshes.quadrature(cells.kind)
    points = np.einsum("qv,nvi->nqi", shape, cells.points[cells.vertices])
    ground = case.ground
    known = half_space_factors(case.survey, ground) if ground.flat else np.zeros(0)
    return {
        "points": cells.points,
        "cells": cells.vertices,
        "electrodes": case.electrodes,
        "data": case.survey.data,
        "homogeneous": np.full(len(points), 1 / BACKGROUND),
        "body": case.model.at(y, points) @ weights,
        "half-space": BACKGROUND / known,
    }


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """Write survey, mesh and arrays into a folder; remove results of another survey or ground."""
    survey = survey_of(options)
    survey.write(folder / "survey.ohm")
    start = time.perf_counter()
    if options.mesh:
        if Path(options.mesh).resolve() != (folder / "ground.msh").resolve():
            shutil.copyfile(options.mesh, folder / "ground.msh")
        text = f"of {options.mesh}"
    else:
        write_mesh(survey, folder / "ground.msh", mesh_settings(survey, options))
        text = f"by gmsh in {time.perf_counter() - start:.1f} s"
    new, path = task(folder, options), folder / "task.npz"
    if path.is_file():
        old = dict(np.load(path))
        if any(key not in old or not np.array_equal(new[key], old[key]) for key in new):
            for name in LABELS:
                (folder / f"{name}.npz").unlink(missing_ok=True)
    np.savez(path, **new)
    print(f"{survey.name}: {len(survey.electrodes)} electrodes, {len(survey.data)} data")
    size = f"{len(new['points'])} nodes, {len(new['cells'])} tetrahedra"
    print(f"mesh: {size}, {text}", flush=True)


def environment(folder: Path) -> dict[str, str]:
    """Return variables of a process of one thread, with an empty cache but for compiled forms."""
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fenics"
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir()
    own.mkdir(parents=True, exist_ok=True)
    (cache / "fenics").symlink_to(own)
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    return {**os.environ, **one, "XDG_CACHE_HOME": str(cache)}


def run(folder: Path, name: str, options: argparse.Namespace) -> None:
    """Run a solver in a process of its own, unless its results are there."""
    out = folder / f"{name}.npz"
    if out.is_file():
        return
    kind, _, degree = name.partition("-")
    if name in OWN:
        command = [sys.executable, __file__, "--solve", name, str(folder), str(out)]
        command += ["--depth", str(options.depth)] if options.depth else []
    else:
        command = [vars(options)[kind], str(HERE / f"survey_{kind}.py")]
        command += [str(folder / "task.npz"), str(out), degree]
    try:
        subprocess.run(
            command,
            check=True,
            timeout=options.timeout,
            env=environment(folder),
            capture_output=True,
            text=True,
        )
    except subprocess.TimeoutExpired:
        print(f"{name}: no result after {options.timeout:g} s", flush=True)
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:]
        print(f"{name}: status {error.returncode}: {last}", flush=True)


def rows_of(folder: Path, prefix: str = "") -> dict[str, dict[str, Any]]:
    """Read the results in a folder, by label."""
    paths = {name: folder / f"{name}.npz" for name in LABELS}
    return {
        prefix + LABELS[name]: {**np.load(path), "name": name}
        for name, path in paths.items()
        if path.is_file()
    }


def compare(rows: dict[str, dict[str, Any]], reference: str, half_space: np.ndarray) -> None:
    """Print the differences of all rows from one of them, and their costs."""
    known = half_space if len(half_space) else rows[reference]["homogeneous"]
    right = BACKGROUND * rows[reference]["body"] / known
    print(f"\napparent resistivities with the ellipsoid, by {reference}: ", end="")
    print(f"{np.percentile(right, [0, 50, 100]).round(2)} ohm m")
    changed = np.abs(right / BACKGROUND - 1) > 0.01
    print(f"the ellipsoid changes {changed.sum()} of {len(right)} data by more than 1 %")
    print("differences in %: median, 95 %, largest; homogeneous ground, and the ellipsoid")
    width = max(map(len, rows)) + 1
    heads = "homogeneous", "ellipsoid", "own", "own, changed"
    print(" " * width + "".join(f"{head:>20}" for head in heads), end="")
    print(f"{'seconds:':>9}{'next':>9}{'MB':>8}")
    for label, row in rows.items():
        own = BACKGROUND * row["body"] / row["homogeneous"]
        cells = [
            100 * np.abs(row["homogeneous"] / known - 1),
            100 * np.abs(BACKGROUND * row["body"] / known / right - 1),
            100 * np.abs(own / right - 1),
            100 * np.abs(own / right - 1)[changed],
        ]
        texts = [
            "{:.3f} {:.2f} {:.2f}".format(*np.percentile(c, [50, 95, 100])) if len(c) else "-"
            for c in cells
        ]
        print(f"{label:{width}}" + "".join(f"{text:>20}" for text in texts), end="")
        print("".join(f"{float(row[key]):9.1f}" for key in SECONDS), end="")
        print(f"{float(row['memory']) / 1e6:8.0f}", flush=True)
    for label, row in rows.items():
        if row.get("text"):
            print(f"{label}: {row['text']}")


def by_distance(rows: dict[str, dict[str, Any]], reference: str, task: dict[str, Any]) -> None:
    """Print the differences in homogeneous ground for data of near and of distant electrodes.

    The distance is the least of a current from a potential electrode, over the larger distance of
    these two from their nearest neighbours: 1 is that of neighbours.
    """
    places, data = task["electrodes"], task["data"]
    nearest = cKDTree(places).query(places, k=2)[0][:, 1]
    distances = []
    for current, potential in ((data[:, i], data[:, j]) for i in (0, 1) for j in (2, 3)):
        away = np.linalg.norm(places[current] - places[potential], axis=1)
        away /= np.maximum(nearest[current], nearest[potential])
        distances.append(np.where((current < 0) | (potential < 0), np.inf, away))
    least = np.min(distances, axis=0)
    print("homogeneous ground, by the least distance of current and potential electrodes")
    for low, high in ((0.0, 1.5), (1.5, 2.5), (2.5, np.inf)):
        some = (least >= low) & (least < high)
        print(f"{low:g} to {high:g} spacings, {some.sum()} data")
        for label, row in rows.items() if some.any() else ():
            change = 100 * np.abs(row["homogeneous"] / rows[reference]["homogeneous"] - 1)[some]
            print("  {}: {:.2f} {:.2f} {:.2f}".format(label, *np.percentile(change, [50, 95, 100])))


def first_of(rows: dict[str, dict[str, Any]]) -> str:
    """Return the label of the row with which the others are compared."""
    names = {row["name"]: label for label, row in rows.items()}
    return next(names[name] for name in (*REFERENCE, *LABELS) if name in names)


def main() -> None:
    """Compare."""
    options = parsed()
    if options.solve:
        way, folder, out = options.solve
        solve(way, Path(folder), Path(out), options.depth)
        return
    if options.compare:
        folders = [Path(folder) for folder in options.compare]
        rows = [rows_of(folder, f"{folder.name}: ") for folder in folders]
        task_there = dict(np.load(folders[-1] / "task.npz"))
        together, reference = {k: v for some in rows for k, v in some.items()}, first_of(rows[-1])
        compare(together, reference, task_there["half-space"])
        by_distance(together, reference, task_there)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder, options)
        flat = read(folder / "survey.ohm").ground().flat
        for name in options.only:
            if flat or name != "box":
                run(folder, name, options)
        rows = rows_of(folder)
        if rows:
            compare(rows, first_of(rows), np.load(folder / "task.npz")["half-space"])


if __name__ == "__main__":
    main()
