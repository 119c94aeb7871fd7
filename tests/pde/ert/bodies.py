"""Bodies under surveys: models, electrodes, and the exact potentials of spheres."""

import numpy as np
from scipy.special import eval_legendre

from surrogates import config
from surrogates.pde.ert.models import GroundConfig, make


def body(depth, axes, *overrides, resistivity=1.0, background=100.0, blend=2.0, x=(0.0, 0.0)):
    """Make a body in a half-space: numbers are fixed, and pairs are bounds."""
    given = {"x1": x[0], "x2": x[1], "depth": depth, "resistivity": resistivity}
    given |= {f"a{i + 1}": axis for i, axis in enumerate(axes)}
    settings = ["model.kind=body", f"model.background={_pair(background)}", f"body.blend={blend}"]
    settings += [f"body.{key}={_pair(value)}" for key, value in given.items()]
    ground = config.read(GroundConfig, None, (*settings, *overrides))
    return make(ground, np.array([-50.0, -50.0, -50.0]), np.array([50.0, 50.0, 0.0]))


def _pair(value):
    return np.broadcast_to(np.asarray(value, dtype=float), 2).tolist()


def in_layers(*overrides):
    """Make a body that bottoms of layers cut; all but its place in the plane is free."""
    return body(
        (20, 35),
        ((10, 12), (7, 9), (5, 7)),
        "model.kind=body-in-layers",
        "layers.resistivity=[[60,160],[12,32],[190,480]]",
        "layers.thickness=[[3.5,5],[20,28]]",
        "body.rotation=[-0.5,0.8]",
        *overrides,
        resistivity=(1, 4),
    )


def inner(model):
    """Draw parameters from the inner part of the bounds."""
    unit = np.random.default_rng(0).uniform(0.15, 0.85, len(model.y_names))
    return model.y_lower + unit * (model.y_upper - model.y_lower)


def electrodes(n=12, seed=0):
    """Place some at the surface, and some in a borehole beside the body; with all pairs."""
    random = np.random.default_rng(seed)
    places = random.uniform(-40, 40, (n, 3))
    places[:, 2] = 0
    places[: n // 4, :2] = 45.0, 10.0
    places[: n // 4, 2] = -np.linspace(5, 40, n // 4)
    return places, pairs(n)


def pairs(n):
    """Return all pairs of n electrodes."""
    return np.array([(i, j) for j in range(n) for i in range(j)])


def deep_sphere(resistivity, distance, radius=10.0, blend=2.0, depth=5000.0):
    """A sphere so deep that the surface hardly matters, and electrodes around it.

    Returns:
        Model, y, electrodes, pairs, and the change of the potentials that the sphere brings.
    """
    model = body(depth, [(0.9 * radius, 1.1 * radius)] * 3, resistivity=resistivity, blend=blend)
    random = np.random.default_rng(0)
    rays = random.standard_normal((12, 3))
    lengths = random.uniform(distance, 1.6 * distance, 12)
    rays *= (lengths / np.linalg.norm(rays, axis=1))[:, None]
    y = np.full(3, radius)
    exact = sphere(*_shells(model, y, depth, radius, blend), 0.01, rays, pairs(12))
    return model, y, rays - [0, 0, depth], pairs(12), exact


def hemisphere(resistivity, distance, radius=10.0, blend=2.0):
    """A hemisphere at the surface, electrodes at the surface and buried, as `deep_sphere`."""
    depth = 1e-9
    model = body(depth, [(0.9 * radius, 1.1 * radius)] * 3, resistivity=resistivity, blend=blend)
    random = np.random.default_rng(0)
    angle, length = random.uniform(0, 2 * np.pi, 12), random.uniform(distance, 1.6 * distance, 12)
    places = np.stack([length * np.cos(angle), length * np.sin(angle), np.zeros(12)], axis=1)
    places[:4, 2] = -np.array([5.0, 10.0, 15.0, 20.0])
    y = np.full(3, radius)
    shells = _shells(model, y, depth, radius, blend)
    both = np.concatenate([places, places * [1, 1, -1]])  # with their images in the surface
    exact = sum(sphere(*shells, 0.01, both, pairs(12) + image) for image in ([0, 0], [0, 12]))
    return model, y, places, pairs(12), exact


def _shells(model, y, depth, radius, blend):
    """Return conductivities of thin shells, and their outer radii."""
    edges = radius + blend * (np.linspace(0, 1, 401) - 0.5)
    points = np.zeros((len(edges), 3))
    points[:, 0] = np.append(0, (edges[1:] + edges[:-1]) / 2)
    points[:, 2] = -depth
    return model.at(y, points), edges


def sphere(conductivity, radii, background, places, pairs, terms=200):
    """Return the change of the potential [V/A] that a sphere brings in a whole space.

    In each shell, u = (A r^n + B r^(-n-1)) P_n; the admittance y = s r u' / u is continuous.

    Args:
        conductivity: Of each shell from the centre outwards [S/m], (k,).
        radii: Outer radius of each shell [m], (k,).
        background: Conductivity outside [S/m].
        places: Electrodes outside, from the sphere's centre [m], (n_e, 3).
        pairs: Pairs of them, (n_p, 2).
        terms: Number of Legendre polynomials.
    """
    distance = np.linalg.norm(places, axis=1)
    i, j = np.asarray(pairs).T
    cosine = (places[i] * places[j]).sum(axis=1) / distance[i] / distance[j]
    n = np.arange(1, terms + 1)
    y = n * conductivity[0]
    for s, inner, outer in zip(conductivity[1:], radii[:-1], radii[1:], strict=True):
        b = (n * s - y) / (y + (n + 1) * s) * (inner / outer) ** (2.0 * n + 1)
        y = s * (n - (n + 1) * b) / (1 + b)
    b = (n * background - y) / (y + (n + 1) * background)
    a = radii[-1]
    factors = (a * a / (distance[i] * distance[j]))[:, None] ** (n + 1) / a * b
    return (factors * eval_legendre(n, cosine[:, None])).sum(axis=1) / (4 * np.pi * background)
