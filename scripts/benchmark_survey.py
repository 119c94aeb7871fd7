"""Compare the potentials of a survey with pyGIMLi's and SimPEG's on one mesh, and their costs.

    python scripts/benchmark_survey.py [--survey FILE] [--data N] [--refine X] [--only NAME ...]

Without a file the survey has 5 lines of 5 electrodes, dipole-dipole. The ground is homogeneous of
100 ohm m, or has an ellipsoid of 10 ohm m below the middle of the survey. gmsh makes a mesh of
tetrahedra (`surrogates survey --mesh`), which all solvers get, with the same mean conductivity in
each cell:

- pyGIMLi with elements of degree 1, and of degree 2, which its documentation advises,
- SimPEG's nodal formulation (degree 1),
- this project's way ``direct`` on the mesh, and, on flat ground, its way ``box`` without it.

Apparent resistivities are 100 ohm m R / R0. All have the same R0, of the half-space or, on
topography, of this project; in the columns "own", R0 is that of the row's own solve for homogeneous
ground, as users of pyGIMLi have it on topography. Each solver has a process of its own and one
thread; the two others have the environments of scripts/adapters.py, or --pygimli and --simpeg name
a Python each.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from adapters import environments

from surrogates.survey import Survey, made, read
from surrogates.survey.mesh import MeshSettings, write_mesh

HERE = Path(__file__).resolve().parent
BACKGROUND, BODY = 100.0, 10.0  # ohm m
REFERENCE = "this, box", "this, direct", "pyGIMLi, degree 2"  # the first of these that is there


def parsed() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--survey", metavar="FILE")
    parser.add_argument("--data", type=int, metavar="N", help="about N data, evenly chosen")
    parser.add_argument(
        "--cells", type=float, default=4.0, help="edges from electrode to electrode"
    )
    parser.add_argument("--refine", type=float, default=1.0, help="factor of shorter edges")
    parser.add_argument("--depth", type=float, metavar="M", help="depth of the ellipsoid's centre")
    parser.add_argument("--only", nargs="+", choices=("box", "direct", "pygimli", "simpeg"))
    for name in ("pygimli", "simpeg"):
        (there,) = [one for one in environments() if one.name == name]
        parser.add_argument(f"--{name}", metavar="PYTHON", default=str(there.python))
    parser.add_argument("--degrees", type=int, nargs="+", default=[1, 2], help="pyGIMLi's elements")
    parser.add_argument("--timeout", type=float, default=1800, metavar="S", help="for each solver")
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
    return MeshSettings(cells=options.cells, refine=options.refine, fine=fine)


def settings_of(folder: Path, way: str, depth: float | None) -> Any:
    """Return the configuration: an ellipsoid in the middle of the survey, and the background y."""
    from surrogates.pde.ert.config import ERTConfig, MeshFile, Observable, Solver, SurveySettings
    from surrogates.pde.ert.models.settings import BodySettings, ModelSettings

    middle, depth = place_of(read(folder / "survey.ohm"), depth)
    axes = {"a1": 0.6 * depth, "a2": 0.6 * depth, "a3": 0.5 * depth}
    body = {"x1": middle[0], "x2": middle[1], "depth": depth, **axes}
    body |= {"rotation": 0.0, "resistivity": BODY}
    return ERTConfig(
        survey=SurveySettings(file=str(folder / "survey.ohm")),
        model=ModelSettings(kind="body", background=(BACKGROUND / 2, 2 * BACKGROUND)),
        body=BodySettings(
            **{key: (float(value), float(value)) for key, value in body.items()}, blend=0.1 * depth
        ),
        mesh=MeshFile(file="" if way == "box" else str(folder / "ground.msh")),
        solver=Solver(method=way),
        observable=Observable(kind="resistance"),
    )


def peak() -> int:
    """Return the largest memory of this process so far in bytes; ru_maxrss has its parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])


def solve(way: str, folder: Path, out: Path, depth: float | None) -> None:
    """Solve by this project: the ellipsoid twice, for the seconds of the next sample."""
    from mpi4py import MPI

    from surrogates.pde.ert.problem import ERT

    start = time.perf_counter()
    config = settings_of(folder, way, depth)
    problem = ERT(config, MPI.COMM_SELF)
    found: dict[str, Any] = {"homogeneous": BACKGROUND / problem.case.factors}
    found["seconds mesh"] = time.perf_counter() - start
    for name, y in (("body", np.log10(1.1 * BACKGROUND)), ("next", np.log10(BACKGROUND))):
        start = time.perf_counter()
        batch = problem.solve_batch(np.array([[y]]))
        assert not batch.failure[0], batch.failure
        found[name], found[f"seconds {name}"] = batch.C[0], time.perf_counter() - start
    found["body"] = found.pop("next")
    found["memory"] = peak()
    found["text"] = problem.mesh
    np.savez(out, **found)


def task(folder: Path, options: argparse.Namespace) -> None:
    """Write the arrays that the two others need."""
    from surrogates.pde import meshes
    from surrogates.pde.ert.case import case_of

    case = case_of(settings_of(folder, "direct", options.depth))
    cells, y = case.cells, np.array([np.log10(BACKGROUND)])
    shape, weights = meshes.quadrature(cells.kind)
    points = np.einsum("qv,nvi->nqi", shape, cells.points[cells.vertices])
    np.savez(
        folder / "task.npz",
        points=cells.points,
        cells=cells.vertices,
        electrodes=case.electrodes,
        data=case.survey.data,
        homogeneous=np.full(len(points), 1 / BACKGROUND),
        body=case.model.at(y, points) @ weights,
        degrees=np.array(options.degrees),
    )


def run(folder: Path, options: argparse.Namespace, flat: bool) -> dict[str, dict[str, Any]]:
    """Run all solvers; return R of both grounds, nodes, seconds and memory of each."""
    ways = options.only or ["box", "direct", "pygimli", "simpeg"]
    rows: dict[str, dict[str, Any]] = {}
    for name in ways:
        out = folder / f"{name}.npz"
        own = [sys.executable, __file__, "--solve", name, str(folder), str(out)]
        if options.depth:
            own += ["--depth", str(options.depth)]
        other = {"pygimli": options.pygimli, "simpeg": options.simpeg}.get(name)
        script = [other, str(HERE / f"survey_{name}.py"), str(folder / "task.npz"), str(out)]
        if name == "box" and not flat:
            continue
        one = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        try:
            subprocess.run(
                script if other else own,
                check=True,
                timeout=options.timeout,
                env=one,
                capture_output=True,
                text=True,
            )
        except subprocess.TimeoutExpired:
            print(f"{name}: no result after {options.timeout:g} s", flush=True)
            continue
        except subprocess.CalledProcessError as error:
            print(f"{name}: {error.stderr.strip().splitlines()[-1:]}", flush=True)
            continue
        found = dict(np.load(out))
        if not other:
            print(f"this, {name}: {found['text']}", flush=True)
            rows[f"this, {name}"] = found
        for degree in options.degrees if other else ():
            if f"body {degree}" in found:
                label = {"pygimli": "pyGIMLi", "simpeg": "SimPEG"}[name]
                rows[f"{label}, degree {degree}"] = {
                    "homogeneous": found[f"homogeneous {degree}"],
                    "body": found[f"body {degree}"],
                    "seconds mesh": found["seconds mesh"],
                    "seconds body": found[f"seconds homogeneous {degree}"],
                    "seconds next": found[f"seconds body {degree}"],
                    "memory": found["memory"],
                }
    return rows


def compare(rows: dict[str, dict[str, Any]], known: np.ndarray) -> None:
    """Print the differences of all rows from the first of `REFERENCE` that is there."""
    name = next(name for name in REFERENCE if name in rows)
    reference = BACKGROUND * rows[name]["body"] / known
    spread = np.percentile(reference, [0, 50, 100])
    print(f"\napparent resistivities with the ellipsoid, by {name}: {spread.round(2)} ohm m")
    print("differences in %: median, 95 %, largest; homogeneous ground, and the ellipsoid")
    print(f"{'':20}{'homogeneous':>24}{'ellipsoid':>24}{'own':>24}{'start':>8}{'first':>8}", end="")
    print(f"{'next':>8}{'MB':>8}")
    for label, row in rows.items():
        own = BACKGROUND * row["body"] / row["homogeneous"]
        cells = [
            100 * np.abs(row["homogeneous"] / known - 1),
            100 * np.abs(BACKGROUND * row["body"] / known / reference - 1),
            100 * np.abs(own / reference - 1),
        ]
        texts = ["{:.3f} {:.2f} {:.2f}".format(*np.percentile(c, [50, 95, 100])) for c in cells]
        seconds = [float(row[f"seconds {key}"]) for key in ("mesh", "body", "next")]
        print(f"{label:20}" + "".join(f"{text:>24}" for text in texts), end="")
        print("".join(f"{s:8.1f}" for s in seconds) + f"{float(row['memory']) / 1e6:8.0f}")


def main() -> None:
    """Compare."""
    options = parsed()
    if options.solve:
        way, folder, out = options.solve
        solve(way, Path(folder), Path(out), options.depth)
        return
    survey = survey_of(options)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        survey.write(folder / "survey.ohm")
        start = time.perf_counter()
        made_mesh = write_mesh(survey, folder / "ground.msh", mesh_settings(survey, options))
        size = f"{made_mesh.nodes} nodes, {made_mesh.cells} tetrahedra"
        print(f"{survey.name}: {len(survey.electrodes)} electrodes, {len(survey.data)} data")
        print(f"mesh: {size}, by gmsh in {time.perf_counter() - start:.1f} s", flush=True)
        task(folder, options)
        ground = survey.ground()
        rows = run(folder, options, ground.flat)
    if ground.flat:
        from surrogates.survey import half_space_factors

        known = BACKGROUND / half_space_factors(survey, ground)
    else:
        known = rows["this, direct"]["homogeneous"]
    compare(rows, known)


if __name__ == "__main__":
    main()
