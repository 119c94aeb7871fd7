"""Surrogates of one network of each kind, with each activation, for tests of exports."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import torch
from exports import saved

from surrogates.model.loaded import LoadedSurrogate
from surrogates.model.networks import MLP, AntisymmetricODE, ResNet
from surrogates.model.parts import Domain, ErrorBars
from surrogates.model.surrogate import Surrogate

CLASSES = {"ode": AntisymmetricODE, "resnet": ResNet, "mlp": MLP}
# Kind, activation, inputs, features, outputs, depth: each kind with each activation; the fewest are
# features, inputs, outputs in turn.
NETWORKS = [
    ("ode", "tanh", 9, 5, 7, 2),
    ("ode", "softplus", 8, 11, 17, 3),
    ("ode", "sigmoid", 12, 9, 4, 1),
    ("ode", "relu", 10, 8, 16, 2),
    ("resnet", "tanh", 3, 6, 9, 1),
    ("resnet", "softplus", 20, 16, 8, 2),
    ("resnet", "sigmoid", 17, 4, 25, 3),
    ("resnet", "relu", 4, 9, 5, 2),
    ("mlp", "tanh", 6, 12, 4, 1),
    ("mlp", "softplus", 5, 2, 3, 4),
    ("mlp", "sigmoid", 1, 1, 1, 1),
    ("mlp", "relu", 9, 7, 6, 2),
]


def made(kind, activation, n_in, width, n_out, depth, *, bars=True) -> Surrogate:
    """A surrogate with rough weights, whose domain is a box, or a flat for an even n_in."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    net = CLASSES[kind](n_in, width, depth, activation=activation)
    for parameter in net.parameters():
        parameter.data = 0.7 * draw(*parameter.shape)
    Y = 2 + 3 * np.random.default_rng(1).random((500, n_in))
    if n_in % 2 == 0:
        Y /= Y.sum(axis=1, keepdims=True)
    error_bars = ErrorBars(
        leverage=draw(width + 1, width + 1) / 3, floor=0.25, sigma=0.01 + draw(n_out).abs()
    )
    return Surrogate(
        net,
        draw(n_out, width + 1),
        Y.mean(axis=0),
        Y.std(axis=0),
        Domain.of(Y),
        error_bars if bars else None,
    )


@functools.cache
def both(*network) -> tuple[Surrogate, LoadedSurrogate]:
    """A surrogate of `NETWORKS`, and what comes of it in a file."""
    surrogate = made(*network)
    with tempfile.TemporaryDirectory() as folder:
        return surrogate, saved(surrogate, Path(folder, "s.pt"))


def points(surrogate: Surrogate) -> np.ndarray:
    """Points in the domain, around it and far outside, (21, n_in)."""
    rng = np.random.default_rng(2)
    lower, upper = surrogate.lower.numpy(), surrogate.upper.numpy()
    Y = rng.uniform(lower, upper, (7, len(lower)))
    if len(surrogate.normals):
        Y /= Y.sum(axis=1, keepdims=True)
    near = Y + 1e-2 * rng.standard_normal(Y.shape) * (upper - lower)
    return np.concatenate([Y, near, Y + 5 * rng.standard_normal(Y.shape) * (upper - lower)])


class Sine(torch.nn.Module):
    """A feature extractor of a user's."""

    def __init__(self) -> None:
        super().__init__()
        self.n_in = self.width = 4
        self.scale = torch.nn.Parameter(torch.ones(4))

    def forward(self, Y: torch.Tensor) -> torch.Tensor:
        return torch.sin(Y * self.scale)

    def forward_and_jacobian(self, Y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.forward(Y), torch.diag_embed(self.scale * torch.cos(Y * self.scale))
