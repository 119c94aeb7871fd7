"""Solve DC resistivity on random meshes, with and without faults: each must be right or refused.

    python scripts/check_random_meshes.py --meshes 100

A mesh is right if the body's contribution to c agrees with that on the built-in mesh within the
error that the mesh's note states. Meshes are of graded and jittered hexahedra and tetrahedra, from
Delaunay's method on jittered points, and from gmsh if it is installed; half of them are then
damaged. The exit status is 1 if c is wrong on any mesh, or an error is not one line.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import meshio
import numpy as np
import numpy.typing as npt
import torch
from mpi4py import MPI
from scipy.spatial import Delaunay

from surrogates import config
from surrogates.errors import InputError
from surrogates.model.metrics import relative_errors
from surrogates.pde import meshes
from surrogates.pde.dcr import problem as dcr
from surrogates.pde.dcr.survey import DCRConfig
from surrogates.types import Array

try:
    import gmsh
except (ImportError, OSError):  # OSError: gmsh lacks a graphics library
    gmsh = None

Integers = npt.NDArray[np.int64]
Cells = tuple[str, Array, Integers]

LARGE = (
    "sampling.volume=[300000.0,500000.0]",
    "sampling.depth=[90.0,110.0]",
    "body.blend=40.0",
    "stations.number=[4,4]",
    "stations.spacing=[50.0,50.0]",
    "stations.first=[-75.0,-75.0,0.0]",
    "stations.dipole=10.0",
    "source.electrodes=[[-150.0,-20.0,0.0],[140.0,0.0,0.0]]",
    "solver.rtol=1e-8",
)
"""Bodies so large that few cells are enough."""
PROBLEMS = {
    "ellipsoid": (),
    "resistive cuboid": ("conductivity.body=1e-4", "body.shape='cuboid'"),
    "sphere aside": ("body.aspect=[1.0,1.0,1.0]", "body.centre=[20.0,-15.0]", "body.blend=30.0"),
}
Y = np.array([[90, 3e5, 0.2], [90, 5e5, 1.2], [110, 3e5, -1.0], [110, 5e5, -0.4]])
CORE = np.array([[-110.0, 110.0], [-110.0, 110.0], [-170.0, -30.0]])
SIDES = np.array([[-500.0, 500.0], [-500.0, 500.0], [-500.0, 0.0]])


def settings(problem: str, *more: str) -> DCRConfig:
    """Return a problem's settings."""
    return config.read(DCRConfig, None, (*LARGE, *PROBLEMS[problem], *more))


def solve(case: DCRConfig) -> Array:
    """Return the bodies' contribution to c, (n, n_c)."""
    problem = dcr.DCR(case, MPI.COMM_SELF)
    batch = problem.solve_batch(Y)
    assert not any(batch.failure), batch.failure
    return np.asarray(batch.C - problem.background)


def axes(random: np.random.Generator, step: float, growth: float) -> list[Array]:
    """Place nodes along each direction: steps around a size in the core, growing outwards."""
    found = []
    for (low, high), (first, last) in zip(SIDES, CORE, strict=True):
        steps = random.uniform(0.7, 1.3, max(2, round((last - first) / step)))
        inner = first + (last - first) * np.concatenate([[0], steps.cumsum()]) / steps.sum()

        def outer(length: float) -> Array:
            n = max(1, round(np.log1p(length * (growth - 1) / step / growth) / np.log(growth)))
            grown = (growth ** np.arange(1, n + 1)).cumsum()
            return np.asarray(length * grown / grown[-1])

        found.append(np.concatenate([first - outer(first - low)[::-1], inner]))
        found[-1] = np.concatenate([found[-1], last + outer(high - last)])
    return found


def grid(random: np.random.Generator, step: float, growth: float, kind: str) -> Cells:
    """Make a graded, jittered grid of hexahedra, of their tetrahedra, or of Delaunay's."""
    nodes = axes(random, step, growth)
    points = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    shortest = [
        np.minimum(*(np.pad(np.diff(a), p, mode="edge") for p in ((1, 0), (0, 1)))) for a in nodes
    ]
    room = np.stack(np.meshgrid(*shortest, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = (points > SIDES[:, 0]) & (points < SIDES[:, 1])
    jitter = random.choice([0.0, 0.1, 0.2]) if kind != "delaunay" else 0.3
    points = points + np.where(inside, jitter * room * random.uniform(-1, 1, points.shape), 0)
    if kind == "delaunay":
        vertices = Delaunay(points).simplices
        corners = points[vertices]
        flat = (np.ptp(corners, axis=1) < 1e-9).any(axis=1)  # on a side
        return "tetra", points, vertices[~flat].astype(np.int64)
    vertices = meshes.corners(*(len(a) for a in nodes))
    if kind == "hexahedron":
        return kind, points, vertices[:, meshes.VTK["hexahedron"]]
    paths = [[0, 1 << a, (1 << a) | (1 << b), 7] for a, b in itertools.permutations(range(3), 2)]
    return kind, points, np.concatenate([vertices[:, path] for path in paths])


def unstructured(random: np.random.Generator, step: float, growth: float) -> Cells:
    """Make tetrahedra by gmsh, which grow away from a ball that holds the bodies."""
    gmsh.initialize(interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        (x, _), (y, _), (z, _) = SIDES
        gmsh.model.occ.addBox(x, y, z, *np.ptp(SIDES, axis=1))
        gmsh.model.occ.synchronize()
        field = gmsh.model.mesh.field.add("MathEval")
        away = "(Sqrt(x^2+y^2+(z+100)^2)-110)"
        expression = f"{step}+{growth - 1}*({away}+Fabs{away})/2"
        gmsh.model.mesh.field.setString(field, "F", expression)
        gmsh.model.mesh.field.setAsBackgroundMesh(field)
        for name in ("ExtendFromBoundary", "FromPoints", "FromCurvature"):
            gmsh.option.setNumber(f"Mesh.MeshSize{name}", 0)
        gmsh.option.setNumber("Mesh.Algorithm3D", int(random.choice([1, 10])))
        gmsh.model.mesh.generate(3)
        tags, places, _ = gmsh.model.mesh.getNodes()
        number = np.zeros(int(tags.max()) + 1, dtype=np.int64)
        number[tags] = np.arange(len(tags))
        cells = gmsh.model.mesh.getElementsByType(4)[1]
        return "tetra", places.reshape(-1, 3), number[cells].reshape(-1, 4)
    finally:
        gmsh.finalize()


def some(random: np.random.Generator, points: Array, vertices: Integers) -> npt.NDArray[np.bool_]:
    """Choose the cells around a point of the core."""
    at = random.uniform(*CORE.T)
    distance = np.linalg.norm(points[vertices].mean(axis=1) - at, axis=1)
    return np.asarray(distance <= np.sort(distance)[random.integers(1, 60)])


def twice(random: np.random.Generator, points: Array, vertices: Integers) -> tuple[Array, Integers]:
    """Repeat cells."""
    return points, np.concatenate([vertices, vertices[some(random, points, vertices)]])


def without(
    random: np.random.Generator, points: Array, vertices: Integers
) -> tuple[Array, Integers]:
    """Leave cells out."""
    return points, vertices[~some(random, points, vertices)]


def permuted(
    random: np.random.Generator, points: Array, vertices: Integers
) -> tuple[Array, Integers]:
    """Put the corners of cells in any order."""
    vertices, chosen = vertices.copy(), some(random, points, vertices)
    vertices[chosen] = vertices[chosen][:, random.permutation(vertices.shape[1])]
    return points, vertices


def torn(random: np.random.Generator, points: Array, vertices: Integers) -> tuple[Array, Integers]:
    """Separate cells from their neighbours: their points become copies, slightly moved or not."""
    vertices, chosen = vertices.copy(), some(random, points, vertices)
    nodes, inverse = np.unique(vertices[chosen], return_inverse=True)
    vertices[chosen] = len(points) + inverse.reshape(vertices[chosen].shape)
    return np.concatenate([points, points[nodes] + random.choice([0.0, 1e-6, 0.3])]), vertices


def moved(random: np.random.Generator, points: Array, vertices: Integers) -> tuple[Array, Integers]:
    """Move a point of the core."""
    points = points.copy()
    inside = np.flatnonzero(((points > CORE[:, 0]) & (points < CORE[:, 1])).all(axis=1))
    points[random.choice(inside)] += random.normal(0, random.choice([1.0, 10.0, 50.0]), 3)
    return points, vertices


def rough(random: np.random.Generator, points: Array, vertices: Integers) -> tuple[Array, Integers]:
    """Make the top rough."""
    height = random.choice([1e-4, 5e-3, 0.5]) * random.random(len(points))
    return points - np.outer(np.where(points[:, 2] == 0, height, 0), [0, 0, 1]), vertices


def second(
    random: np.random.Generator, points: Array, vertices: Integers
) -> tuple[Array, Integers]:
    """Add a second part: other cells in the same place."""
    again = vertices[some(random, points, vertices)]
    return np.concatenate([points, points + 1]), np.concatenate([vertices, again + len(points)])


def unused(
    random: np.random.Generator, points: Array, vertices: Integers
) -> tuple[Array, Integers]:
    """Add points that belong to no cell."""
    return np.concatenate([random.normal(0, 1e3, (9, 3)), points]), vertices + 9


DAMAGES: tuple[Callable[..., tuple[Array, Integers]], ...] = (
    twice, without, permuted, torn, moved, rough, second, unused,
)  # fmt: skip


def attempt(seed: int, path: Path, references: dict[str, Array]) -> tuple[str, str]:
    """Solve on a random mesh.

    Returns:
        The verdict (right, refused or wrong), and a line about it.
    """
    random = np.random.default_rng(seed)
    problem = str(random.choice(list(PROBLEMS)))
    kinds = ["hexahedron", "tetra", "delaunay", *(["gmsh"] if gmsh else [])]
    kind, step, growth = str(random.choice(kinds)), random.uniform(14, 32), random.uniform(1.3, 3)
    if kind == "gmsh":
        name, points, vertices = unstructured(random, step, min(growth, 1.6))
    else:
        name, points, vertices = grid(random, step, growth, kind)
    damage = random.choice(DAMAGES) if random.random() < 0.5 else None
    if damage is not None:
        points, vertices = damage(random, points, vertices)
    order = random.permutation(len(points))
    meshio.write(path, meshio.Mesh(points[order], [(name, np.argsort(order)[vertices])]))
    about = f"{seed} {problem}, {len(vertices)} of {kind}, {damage.__name__ if damage else 'whole'}"
    case = settings(problem, f'mesh.file="{path}"')
    try:
        said = dcr.DCR.notes(case)[-1]
        found = solve(case)
    except InputError as error:
        text = str(error).replace(str(path), "it")
        return ("refused" if "\n" not in text else "wrong"), f"{about}: {text}"
    bound = float(said.split("adds to c has an error of up to ")[1].split(" %")[0]) / 100
    if problem not in references:
        references[problem] = solve(settings(problem))
    pair = map(torch.from_numpy, (found, references[problem]))
    error = float(relative_errors(*pair).max())
    return "right" if error <= bound else "wrong", f"{about}: error {error:.3f}, bound {bound:.3f}"


def main() -> int:
    """Try random meshes and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--meshes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the first mesh")
    args = parser.parse_args()
    counts, references = Counter[str](), dict[str, Array]()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seed, args.seed + args.meshes):
            verdict, line = attempt(seed, Path(folder) / "mesh.vtu", references)
            counts[verdict] += 1
            print(f"{verdict}: {line}", flush=True)
    print(", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items())))
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
