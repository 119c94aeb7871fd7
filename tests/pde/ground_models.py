"""Models of the ground and cells for tests: no PDE is solved."""

import numpy as np
from scipy.special import roots_legendre

from surrogates import config
from surrogates.pde.ert.models import GroundConfig, make

LOWER, UPPER = np.array([-40.0, -30.0, -25.0]), np.array([60.0, 30.0, 0.0])
"""The box of a survey [m]."""

BODY = (
    "body.x1=[5,15]",
    "body.x2=[-6,4]",
    "body.depth=[12,14]",
    "body.a1=[5,8]",
    "body.a2=[3,6]",
    "body.a3=[4,5]",
    "body.rotation=[-0.6,0.9]",
    "body.blend=3.0",
)
LAYERS = ("layers.resistivity=[[10,50],[100,900],[3,8]]", "layers.thickness=[[2,5],[6,11]]")
KINDS = {
    "half-space": ("model.kind=half-space",),
    "ellipsoid": ("model.kind=body", *BODY),
    "cuboid": ("model.kind=body", "body.shape=cuboid", *BODY),
    "layers": ("model.kind=layers", *LAYERS),
    "body in layers": ("model.kind=body-in-layers", *LAYERS, *BODY),
    "interface": ("model.kind=interface", "interface.strike=[-0.5,0.7]"),
    "blended interface": (
        "model.kind=interface",
        "interface.strike=[-0.5,0.7]",
        "interface.blend=6.0",
    ),
    "regions": (
        "model.kind=regions",
        'regions.names=["clay","sand","dyke"]',
        "regions.resistivity=[[5,20],[100,500],[1000,1000]]",
    ),
    "field": ("model.kind=field", "field.mean=[50,500]", "field.terms=12"),
}
"""Settings of a model of each kind."""

MESH_REGIONS = ("sand", "dyke", "clay")
"""Regions of a mesh, in another order than in the settings."""


def model(*overrides):
    """Make a model in the box of the survey."""
    return make(config.read(GroundConfig, None, overrides), LOWER, UPPER, MESH_REGIONS)


def inner(made, seed=0):
    """Draw parameters from the inner part of the bounds."""
    unit = np.random.default_rng(seed).uniform(0.15, 0.85, len(made.y_names))
    return made.y_lower + unit * (made.y_upper - made.y_lower)


def boxes(lower, upper, n, order=2):
    """Return the Gauss points (n1 n2 n3, order^3, 3) of boxes, their weights, and their x3 axis."""
    axes = [np.linspace(*ends, m + 1) for *ends, m in zip(lower, upper, n, strict=True)]
    nodes, weights = roots_legendre(order)
    along = [(a[1:] + a[:-1])[:, None] / 2 + np.diff(a)[:, None] / 2 * nodes for a in axes]
    points = np.stack(np.meshgrid(*(x.ravel() for x in along), indexing="ij"), axis=-1).reshape(
        n[0], order, n[1], order, n[2], order, 3
    )
    w = weights / 2
    return (
        points.transpose(0, 2, 4, 1, 3, 5, 6).reshape(-1, order**3, 3),
        np.einsum("i,j,k->ijk", w, w, w).ravel(),
        axes[2],
    )
