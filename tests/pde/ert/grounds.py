"""Meshes of boxes, and exact potentials of grounds with images."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from surrogates.pde import meshes

KUHN = [
    [0, *np.cumsum([1 << axis for axis in order])] for order in itertools.permutations(range(3))
]
"""Six tetrahedra of a hexahedron, by its vertices in DOLFINx's order."""


def axis(nodes, first, far, factor):
    """Return nodes, with cells that grow to both sides from a first length to +-far."""
    steps = first * factor ** np.arange(1, 60)
    out = np.cumsum(steps)
    out = np.append(out[out < far - nodes.max() - steps[0]], far - nodes.max())
    return np.concatenate([nodes.min() - out[::-1], nodes, nodes.max() + out])


def box(
    inner, h, *, wide=None, far=150.0, deep=80.0, fine=3.0, move=None, tetrahedra=False, growth=1.6
):
    """Mesh a box with cells of h in the middle of the top, down to a depth; growing outside.

    Args:
        inner: Half-width of the core along x1 and x2 [m].
        h: Size of its cells [m].
        wide: Half-width of the core along x2 [m], if it is another one.
        far: Half-width of the box [m].
        deep: Its depth [m].
        fine: Depth of the core [m].
        move: Maps points (n, 3) to others, for topography.
        tetrahedra: Whether each cell is divided into six tetrahedra.
        growth: Ratio of neighbouring cells outside of the core.
    """
    x, y = (
        axis(np.arange(-round(half / h), round(half / h) + 1) * h, h, far, growth)
        for half in (inner, wide or inner)
    )
    z = axis(np.arange(-round(fine / h), 1) * h, h, deep, growth)
    grid = meshes.Grid((x, y, z[z <= 0]), (slice(0), slice(0), slice(0)))
    cells = grid.cells()
    points = cells.points if move is None else move(cells.points)
    if not tetrahedra:
        return meshes.Cells("hexahedron", points, cells.vertices)
    vertices = np.concatenate([cells.vertices[:, tetra] for tetra in KUHN])
    volume = np.linalg.det(points[vertices[:, 1:]] - points[vertices[:, :1]])
    vertices[volume < 0] = vertices[volume < 0][:, [0, 2, 1, 3]]
    return meshes.Cells("tetrahedron", points, vertices)


def distances(electrodes, pairs, mirror=None):
    """Return the distance of each pair, or that of one electrode from the image of the other."""
    other = electrodes if mirror is None else mirror(electrodes)
    return np.linalg.norm(electrodes[pairs[:, 0]] - other[pairs[:, 1]], axis=1)


def below(electrodes):
    """Mirror points in the surface x3 = 0."""
    return electrodes * [1, 1, -1]


def half_space(electrodes, pairs):
    """Return T of unit resistivity [V/A] below x3 = 0, by the image in the surface."""
    near, far = distances(electrodes, pairs), distances(electrodes, pairs, below)
    return (1 / near + 1 / far) / (4 * np.pi)


def contact(electrodes, pairs, place, left, right):
    """Return T [V/A] of conductivities to the left and right of x1 = place, by images."""
    x = electrodes[:, 0]
    here = np.where(x < place, left, right)[pairs[:, 0]]
    there = np.where(x < place, left, right)[pairs[:, 1]]
    same = (x[pairs[:, 0]] < place) == (x[pairs[:, 1]] < place)

    def across(points):
        return points * [-1, 1, 1] + [2 * place, 0, 0]

    direct = 4 * np.pi * half_space(electrodes, pairs)
    images = [distances(electrodes, pairs, f) for f in (across, lambda p: below(across(p)))]
    mirrored = sum(1 / np.where(same, r, 1.0) for r in images)
    k = np.where(x[pairs[:, 0]] < place, 1, -1) * (left - right) / (left + right)
    inside = (direct + k * mirrored) / (4 * np.pi * here)
    return np.where(same, inside, 2 * direct / (4 * np.pi * (here + there)))


def two_layers(electrodes, pairs, thickness, upper, lower, terms=400):
    """Return T [V/A] of electrodes at the surface of two layers, by the series of images."""
    r = distances(electrodes, pairs)
    k = (upper - lower) / (upper + lower)
    n = np.arange(1, terms + 1)
    images = 2 * k**n / np.sqrt(r[:, None] ** 2 + (2 * n * thickness) ** 2)
    return (1 / r + images.sum(axis=1)) / (2 * np.pi * upper)


def ridge(points):
    """Bend the plane x3 = 0 to a ridge along x2 with slopes of 45 degrees: a right angle."""
    return points - np.abs(points[:, :1]) * [0, 0, 1]


def under_ridge(electrodes, pairs):
    """Return T of unit resistivity [V/A] under `ridge`, by three images."""

    def mirror(points, sign):
        return points[:, [2, 1, 0]] * [sign, 1, sign]

    images = (
        electrodes,
        mirror(electrodes, 1),
        mirror(electrodes, -1),
        mirror(mirror(electrodes, 1), -1),
    )
    return sum(1 / distances(electrodes, pairs, lambda _, p=p: p) for p in images) / (4 * np.pi)


def pit(n, radius, far):
    """Mesh a half-space with a half-sphere cut out, and the far side a half-sphere.

    Args:
        n: Cells along a quarter of a circle.
        radius: Radius of the pit [m]; its centre is at 0.
        far: Radius of the far side [m].
    """
    axis_ = np.linspace(-1, 1, 2 * n + 1)
    cube = meshes.Grid((axis_, axis_, axis_[: n + 1]), (slice(0), slice(0), slice(0))).cells()
    local = [[0, 4, 6, 2], [1, 3, 7, 5], [0, 1, 5, 4], [2, 6, 7, 3], [0, 2, 3, 1]]
    faces = cube.vertices[:, local].reshape(-1, 4)
    x = cube.points[faces]
    on_side = (np.abs(np.abs(x[..., :2]) - 1) < 1e-9).all(axis=1).any(axis=1)
    faces = faces[on_side | (np.abs(x[..., 2] + 1) < 1e-9).all(axis=1)]
    used, faces = np.unique(faces, return_inverse=True)
    faces = faces.reshape(-1, 4)
    directions = np.tan(np.pi / 4 * cube.points[used])
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    layers = int(np.ceil(np.log(far / radius) / (np.pi / 2 / n)))
    radii = radius * (far / radius) ** (np.arange(layers + 1) / layers)
    points = (radii[:, None, None] * directions).reshape(-1, 3)
    a, b, c, d = faces.T
    ring = np.stack([a, b, d, c], axis=1)
    k = np.arange(layers)[:, None, None] * len(used)
    vertices = np.concatenate([ring + k, ring + k + len(used)], axis=2).reshape(-1, 8)
    return meshes.Cells("hexahedron", points, vertices)


def with_pit(electrodes, pairs, radius):
    """Return T of unit resistivity [V/A] around `pit`, as around an insulating sphere.

    The source and its image in the surface are in a whole space, where a source at distance a from
    the centre of the sphere has, at distance s, the potential (1 / r + sum_n n / (n + 1)
    R^(2 n + 1) / (a s)^(n + 1) P_n) / (4 pi). Both parts of n / (n + 1) = 1 - 1 / (n + 1) have a
    closed form.
    """
    s = np.linalg.norm(electrodes, axis=1)
    i, j = pairs.T
    x, total = radius**2 / (s[i] * s[j]), np.zeros(len(pairs))
    for mirror in (lambda p: p, below):
        c = np.einsum("ni,ni->n", electrodes[i], mirror(electrodes)[j]) / (s[i] * s[j])
        root = np.sqrt(1 - 2 * x * c + x**2)
        up = np.where(c > 0, 1 + c, root + x - c)
        logarithm = np.log(up / np.where(c > 0, root - x + c, 1 - c))
        total += 1 / distances(electrodes, pairs, mirror) + (x / root - logarithm) / radius
    return total / (4 * np.pi)


def all_pairs(n):
    """Return all pairs i < j of n electrodes."""
    return np.array(list(itertools.combinations(range(n), 2)))


def isotropic(conductivity):
    """Return the tensors of conductivities (n,): (n, 6)."""
    return np.asarray(conductivity)[:, None] * np.array([1.0, 1, 1, 0, 0, 0])


def of_one_and_two_processes(program, folder):
    """Run a program by one process and by two; return the arrays that it writes, of each."""
    found = []
    for ranks in (1, 2):
        out = folder / f"{ranks}.npz"
        words = [sys.executable, "-c", program, str(Path(__file__).parent), str(out)]
        run = words if ranks == 1 else ["mpirun", "-n", "2", "--oversubscribe", *words]
        root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **root}
        done = subprocess.run(run, env=environment, timeout=200, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(np.load(out))
    return found
