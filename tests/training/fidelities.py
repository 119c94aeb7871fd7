"""Functions of two inputs, a dear and a cheap one, and surrogates of their samples."""

import numpy as np
import torch
from draws import dataset

from surrogates.model import describe
from surrogates.model import file as export
from surrogates.training.config import Network, Outputs, Stopping, TrainConfig
from surrogates.training.train import train
from surrogates.training.weights import Start

QUICK = TrainConfig(stopping=Stopping(work_units=150), outputs=Outputs(scaling="column"))
FAST = TrainConfig(network=Network(kind="mlp", width=4), stopping=Stopping(work_units=100))
INFINITE = {"regularisation.alpha1": 1e10, "regularisation.alpha2": 1e10}


def high(Y):
    """Forrester's function of y0 (Forrester et al. 2008), changed by y1, and another one."""
    y0, y1 = Y.T
    first = (6 * y0 - 2) ** 2 * np.sin(12 * y0 - 4) + 8 * y0 * np.sin(4 * y1)
    return np.stack([first, np.cos(5 * y0 + 2 * y1)], axis=1)


def low(Y):
    """A cheap version of it: scaled, and with an error that is smooth."""
    y0, y1 = Y.T
    return 0.5 * high(Y) + np.stack([10 * y0 + np.exp(y1), 0.3 * np.sin(2 * y0) * y1], axis=1)


def drawn(n, seed):
    return np.random.default_rng(seed).uniform(0, 1, (n, 2))


def of(function, Y, split="0.9/0.1/0"):
    return dataset(Y, function(Y), split)


def trained(data, **others):
    return train(data, **{"settings": QUICK, "processes": 1, **others})


def saved(found, data, path):
    about = describe.metadata(data, training=found.training, errors=found.errors)
    export.save(found.surrogate, about, path, found.weights)
    return path


def started(found, data, folder):
    return Start.read(saved(found, data, folder / "old.pt"))


def error(found, function):
    """Root mean square error of each output over its spread, on many samples."""
    Y = drawn(2000, 99)
    C = function(Y)
    residual = found.surrogate(torch.from_numpy(Y)).numpy() - C
    return np.sqrt((residual**2).mean(axis=0)) / C.std(axis=0)
