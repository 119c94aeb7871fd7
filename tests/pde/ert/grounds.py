"""Meshes of boxes, and exact potentials of grounds with images."""

import itertools

import numpy as np

from surrogates.pde import meshes

KUHN = [
    [0, *np.cumsum([1 << axis for axis in order])] for order in itertools.permutations(range(3))
]
"""Six tetrahedra of a hexahedron, by its vertices in DOLFINx's order."""


def axis(nodes, first, far, factor=1.6):
    """Return nodes, with cells that grow to both sides from a first length to +-far."""
    steps = first * factor ** np.arange(1, 60)
    out = np.cumsum(steps)
    out = np.append(out[out < far - nodes.max() - steps[0]], far - nodes.max())
    return np.concatenate([nodes.min() - out[::-1], nodes, nodes.max() + out])


def box(inner, h, *, wide=None, far=150.0, deep=80.0, fine=3.0, move=None, tetrahedra=False):
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
    """
    x, y = (
        axis(np.arange(-round(half / h), round(half / h) + 1) * h, h, far)
        for half in (inner, wide or inner)
    )
    z = axis(np.arange(-round(fine / h), 1) * h, h, deep)
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


def all_pairs(n):
    """Return all pairs i < j of n electrodes."""
    return np.array(list(itertools.combinations(range(n), 2)))


def isotropic(conductivity):
    """Return the tensors of conductivities (n,): (n, 6)."""
    return np.asarray(conductivity)[:, None] * np.array([1.0, 1, 1, 0, 0, 0])
