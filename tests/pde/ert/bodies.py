"""A small model of the ground: the ellipsoid of `dcr` in layers."""

import numpy as np

from surrogates.pde.dcr.body import Body
from surrogates.pde.ert.layers import Layers
from surrogates.pde.ert.models import Model


class BodyInLayers(Model):
    """m = m_layer (m_body / m_layer)^S, y = (depth, volume, rotation, log10 of resistivities ...).

    The resistivities are those of the layers, from the top, then their thicknesses [m].
    """

    def __init__(
        self,
        body=None,
        resistivity=(100.0,),
        thickness=(),
        ratio=100.0,
        lower=(20.0, 1500.0, -1.5),
        upper=(35.0, 4000.0, 1.5),
    ):
        self.body = body or Body()
        self.ratio = ratio
        rest = np.array([*np.log10(resistivity), *thickness])
        self.n = len(resistivity)
        self.y_lower = np.array([*lower, *(rest - 0.2)])
        self.y_upper = np.array([*upper, *(rest + 0.2)])
        self.y_names = tuple(f"y{i}" for i in range(len(self.y_lower)))
        self.y_units = ("",) * len(self.y_names)
        plane, up = self.body.reach(upper[1])
        centre = np.array(self.body.centre)
        self.reach = (
            np.array([*(centre - plane), -upper[0] - up]),
            np.array([*(centre + plane), -lower[0] + up]),
        )

    def layers(self, y):
        return Layers(resistivity=10 ** y[3 : 3 + self.n], thickness=y[3 + self.n :])

    def _ground(self, y, points):
        layers = self.layers(y)
        which = np.searchsorted(np.cumsum(layers.thickness), -points[..., 2])
        return (1 / layers.resistivity)[which]

    def tensor(self, y, points, weights, tags=None):
        """All points of a cell are in the same layer: the box divides cells at interfaces."""
        m = self._ground(y, points[:, 0])
        K = self.body.tensor(y[:3], self.ratio, points, weights)
        K[:, :3] += 1
        return K * m[:, None]

    def derivatives(self, y, V, points, weights, tags=None):
        m = self._ground(y, points[:, 0])
        dK = self.body.derivatives(y[:3], V[:, :3], self.ratio, points, weights)
        by_layer = np.log(10) * (self.layers(y).resistivity[:, None] == 1 / m)
        by_layer = -(V[:, 3 : 3 + self.n] @ by_layer)  # of log m
        return dK * m[:, None] + by_layer[..., None] * self.tensor(y, points, weights)

    def changed(self, y, points):
        return self.body.indicator(y[:3], points)[0].any(axis=1)

    def at(self, y, points, tags=None):
        return self._ground(y, points) * self.ratio ** self.body.indicator(y[:3], points)[0]
