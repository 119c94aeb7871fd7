r"""A linear part: the inputs beside a network's features, c = [F(y), y, 1] W^T.

W is eliminated, so the linear part costs the outer problem nothing: its columns have no parameters.
The network learns only the part that no linear map of the inputs explains.
"""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import torch
from torch import Tensor, nn

from surrogates.model.networks import FeatureExtractor, Sensitivities, SensitivitiesAlong
from surrogates.model.radial import Joined, Monomials


class WithInputs(nn.Module):
    """A network as training sees it, with its inputs as further features.

    Attributes:
        network: One of `surrogates.model.networks`.
        n_in: Number of inputs.
        trained: Number of features that have parameters, the first ones.
    """

    def __init__(self, network: nn.Module) -> None:
        """Keep the network; it is not copied."""
        super().__init__()
        self.network = cast(Any, network)
        self.n_in: int = self.network.n_in
        self.trained: int = self.network.width

    def forward(self, Y: Tensor) -> Tensor:
        """Map inputs (N, n_in) to features (N, trained + n_in)."""
        return torch.cat([self.network(Y), Y], dim=1)

    def sensitivities(self, Y: Tensor) -> Sensitivities:
        """Differentiate the network's features; the inputs' derivatives are zero and left out."""
        found: Sensitivities = self.network.sensitivities(Y)
        return dataclasses.replace(found, F=torch.cat([found.F, Y], dim=1))

    def tangents(self, Y: Tensor, V: Tensor) -> Tensor:
        """Differentiate the features along directions V (N, r, n_in), (N, r, trained + n_in)."""
        return torch.cat([self.network.tangents(Y, V), V], dim=2)

    def sensitivities_along(self, Y: Tensor, V: Tensor) -> SensitivitiesAlong:
        """Differentiate `sensitivities` along directions (N, r, n_in)."""
        found: SensitivitiesAlong = self.network.sensitivities_along(Y, V)
        return found

    def coordinates(self, theta: Tensor) -> Tensor:
        """Turn the parameters into the coordinates of `sensitivities`."""
        found: Tensor = self.network.coordinates(theta)
        return found

    def parameters_at(self, z: Tensor) -> Tensor:
        """Invert `coordinates`."""
        found: Tensor = self.network.parameters_at(z)
        return found

    def refined(self) -> WithInputs:
        """Return the refined network with its inputs."""
        return WithInputs(self.network.refined())

    def roughness(self) -> Tensor:
        """Return the network's roughness."""
        found: Tensor = self.network.roughness()
        return found


def joined(network: object) -> Joined:
    """Return a network and its inputs as features for a surrogate."""
    part = cast(FeatureExtractor, network)
    zeros = torch.zeros((2, part.n_in), dtype=torch.float64)
    inputs = Monomials(part.n_in, torch.zeros((0, 2), dtype=torch.int64))
    return Joined([part, inputs], zeros, zeros + 1)


def parted(features: object) -> tuple[object, bool]:
    """Return the network of `joined` features, and True; other features unchanged, and False.

    Both parts must have the same inputs.
    """
    if not (isinstance(features, Joined) and len(features.parts) == 2):
        return features, False
    network, inputs = features.parts
    linear = isinstance(inputs, Monomials) and len(inputs.pairs) == 0
    same = bool((features.shifts == 0).all()) and bool((features.scales == 1).all())
    return (network, True) if linear and same else (features, False)


def mixed(W: Tensor, mixing: Tensor) -> Tensor:
    """Turn linear weights of [F, mixing @ x, 1] into those of [F, x, 1].

    Args:
        W: (n_out, width + n_seen_in + 1).
        mixing: (n_seen_in, n_in).
    """
    first = W.shape[1] - 1 - len(mixing)
    return torch.cat([W[:, :first], W[:, first:-1] @ mixing.to(W), W[:, -1:]], dim=1)
