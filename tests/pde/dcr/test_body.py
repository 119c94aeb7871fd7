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


@pytest.mark.parametrize(
    "overrides",
    [(), ("body.shape=cuboid",), ("conductivity.body=1e-4", "body.aspect=[1.0,1.0,1.0]")],
)
def test_derivatives_are_those_of_the_complex_step(overrides):
    case = settings(*overrides)
    y, random = np.array([27.0, 3000.0, 0.7]), np.random.default_rng(0)
    middles = random.uniform(-15, 15, (3000, 1, 3)) - [0, 0, 27.0]
    middles[0, 0] = [0, 0, -27.0]  # the body's centre, where the normal is 0
    points = middles + random.uniform(-1, 1, (3000, 8, 3)) * (np.arange(3000) > 0)[:, None, None]
    weights = np.full(8, 1 / 8)
    contrast = case.conductivity.body / case.conductivity.background
    V = np.diag([1.0, 400.0, 0.15]) @ np.array([[1, 0, 0], [0, 1, 0], [0.3, -2.0, 0.5]]).T
    ours = case.body.derivatives(y, V.T, contrast, points, weights)
    for found, v in zip(ours, V.T, strict=True):
        expected = case.body.tensor(y + 1e-30j * v, contrast, points, weights).imag / 1e-30
        assert np.abs(expected).max() > 1e-3
        assert np.abs(found - expected).max() < 1e-13 * np.abs(expected).max()
