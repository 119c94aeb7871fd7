"""What the tests of training share: numbers, losses, networks, datasets, matrices written out."""

import dataclasses
import math

import numpy as np
import torch
from torch import nn

from surrogates.data import SOLVER, Dataset, Info, Status, assign_split
from surrogates.model.networks import MLP, AntisymmetricODE, ResNet
from surrogates.training.inner.losses import LeastSquares, Loss
from surrogates.training.inner.tall import Tall


class Poisson(Loss):
    """Counts with the mean exp(o)."""

    def values(self, outputs, C):
        return (outputs.exp() - C * outputs).sum(dim=1)


class PseudoHuber(Loss):
    """Nearly the absolute value far away, where the curvature vanishes."""

    def values(self, outputs, C):
        return ((1 + (outputs - C).square()).sqrt() - 1).sum(dim=1)


class GeneralSquares(Loss):
    """Least squares by the way of all other losses, derivatives included."""

    values = LeastSquares.values


def normal(*shape, seed):
    """Draw standard normal numbers, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def classes(n, n_classes, seed):
    """Draw classes as one-hot rows, each with two samples or more, float64."""
    generator = torch.Generator().manual_seed(seed)
    k = torch.randint(n_classes, (n,), generator=generator)
    k[: min(n, 2 * n_classes)] = torch.arange(min(n, 2 * n_classes)) % n_classes
    return torch.nn.functional.one_hot(k, n_classes).double()


def orders(remainders):
    """Return the orders at which remainders fall as a step is halved again and again."""
    return [math.log2(a / b) for a, b in zip(remainders, remainders[1:], strict=False)]


def flat(M):
    """Form a matrix, one vector by rows."""
    return torch.cat([M.rows(slice(None)), M.last]).reshape(-1)


def tall(r, m, n_out):
    """Invert `flat`, for m lower rows."""
    rows = r.view(-1, n_out)
    n = len(rows) - m
    eye = torch.eye(n_out, dtype=r.dtype)
    return Tall(parts=((rows[:n], eye),), last=rows[n:], n_samples=n)


def dataset(Y, C, split="0.6/0.2/0.2", seed=0):
    """Make a dataset of arrays, all of its samples done."""
    n, n_in = Y.shape
    n_out = C.shape[1]
    info = Info(
        problem="test",
        split=split,
        total=n,
        y_names=tuple(f"y{i}" for i in range(n_in)),
        y_units=("1",) * n_in,
        y_lower=Y.min(axis=0),
        y_upper=Y.max(axis=0),
        c_names=tuple(f"c{i}" for i in range(n_out)),
        c_units=("V",) * n_out,
    )
    return Dataset(
        info=info,
        Y=Y,
        C=C,
        status=np.full(n, Status.DONE, dtype=np.uint8),
        split=assign_split(split, n, seed),
        failure=[""] * n,
        solver=np.zeros(n, SOLVER),
    )


def labelled(Y, C, split="0.6/0.2/0.2", seed=0):
    """Make a dataset of inputs and class probabilities."""
    made = dataset(Y, C, split, seed)
    info = dataclasses.replace(made.info, task="classification", c_units=("1",) * C.shape[1])
    return dataclasses.replace(made, info=info)


class Convolution(nn.Module):
    """A network of a user: nothing but a forward pass."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(1, 3, 3, padding=1, dtype=torch.float64)
        self.last = nn.Linear(3 * 6, 4, dtype=torch.float64)

    def forward(self, Y):
        return torch.tanh(self.last(torch.relu(self.first(Y[:, None])).flatten(1)))


def networks():
    generator = torch.Generator().manual_seed(0)
    layers = (nn.Linear(6, 5), nn.Softplus(), nn.Linear(5, 4), nn.Sigmoid())
    return {
        "ode": AntisymmetricODE(6, 4, 2, 2.0, generator=generator),
        "mlp": MLP(6, 4, 2, generator=generator),
        "resnet": ResNet(6, 4, 3, 2.0, generator=generator),
        "sequential": nn.Sequential(*layers).double(),
        "convolution": Convolution(),
    }
