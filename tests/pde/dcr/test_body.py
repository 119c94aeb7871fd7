"""The buried body: its volume, its edge, and the normal of that."""

import numpy as np
import pytest
from surveys import settings

pytestmark = pytest.mark.fenicsx


@pytest.mark.parametrize("shape", ["ellipsoid", "cuboid"])
def test_body_has_its_volume_and_a_smooth_edge(shape):
    body = settings(f'body.shape="{shape}"').body
    y = np.array([27.0, 3000.0, 0.7])
    axis = np.linspace(-25, 25, 101)
    x = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1) - [0, 0, 27.0]
    S, _ = body.indicator(y, x.reshape(-1, 3))
    assert S.min() == 0
    assert S.max() == 1
    # The edge is symmetric about the surface: to first order the volume is that of S.
    volume = S.sum() * 0.5**3
    assert abs(volume / 3000 - 1) < (0.1 if shape == "ellipsoid" else 0.02)
    plane, upwards = body.reach(3000.0)
    inside = (np.hypot(x[..., 0], x[..., 1]) <= plane) & (np.abs(x[..., 2] + 27) <= upwards)
    assert S.reshape(x.shape[:-1])[~inside].max() == 0


@pytest.mark.parametrize("shape", ["ellipsoid", "cuboid"])
def test_indicator_s_normal_is_along_its_gradient(shape):
    body = settings(f'body.shape="{shape}"').body
    y = np.array([27.0, 3000.0, 0.7])
    x = np.random.default_rng(0).uniform(-12, 12, (4000, 3)) - [0, 0, 27.0]
    S, normal = body.indicator(y, x)
    edge = (S > 0.05) & (S < 0.95)
    assert edge.sum() > 100
    step = 1e-6
    gradient = np.stack(
        [
            (body.indicator(y, x + step * e)[0] - body.indicator(y, x - step * e)[0]) / (2 * step)
            for e in np.eye(3)
        ],
        axis=1,
    )
    cosine = (
        -(gradient * normal).sum(axis=1)[edge]
        / (np.linalg.norm(gradient, axis=1) * np.linalg.norm(normal, axis=1))[edge]
    )
    # For the ellipsoid d is the distance to first order only.
    assert cosine.min() > (0.97 if shape == "ellipsoid" else 1 - 1e-6)
