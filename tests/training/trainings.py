"""Small trainings: settings, smooth data, and what is compared of their results."""

import dataclasses

import numpy as np
import torch
from draws import dataset

from surrogates.config import replaced
from surrogates.model.metrics import relative_errors
from surrogates.training.config import Network, Optimizer, Stopping, TrainConfig

SMALL = TrainConfig(
    optimizer=Optimizer(method="krylov", krylov_rank=8),
    network=Network(width=3, cells=1, levels=2),
    stopping=Stopping(work_units=120),
)
DENSE = TrainConfig(network=Network(width=3, cells=1, levels=2), stopping=Stopping(work_units=120))
OTHERS = {
    name: replaced(SMALL, {"optimizer.name": name, "stopping.work_units": 60})
    for name in ("gn", "lbfgs", "adam", "sgd")
}
OTHERS["kronecker"] = replaced(SMALL, {"optimizer.method": "kronecker", "stopping.work_units": 60})
# Well conditioned, so that rounding stays small.
TAME = replaced(
    SMALL, {"inputs.scale": 1.0, "regularisation.alpha1": 1e-4, "regularisation.alpha2": 1e-4}
)


def smooth(n=100, n_in=3, n_out=5, seed=0):
    """A smooth map, in units far from one."""
    rng = np.random.default_rng(seed)
    Y = rng.uniform(10, 30, (n, n_in))
    X = np.sin(Y / 20 @ rng.normal(size=(n_in, 2))) @ rng.normal(size=(2, n_out))
    return dataset(Y, 1e3 * (X + 4))


def part(data, name):
    return tuple(torch.from_numpy(array) for array in data.part(name))


def mean_error(data, result):
    Y, C = part(data, "test")
    return float(relative_errors(result.predict(Y), C).mean())


def timeless(records):
    return [dataclasses.replace(record, seconds=0.0) for record in records]


def weights(result):
    theta = torch.nn.utils.parameters_to_vector(result.features.parameters())
    return torch.cat([theta, result.W.reshape(-1)])


def best_of(result):
    """Return the record of the least validation loss."""
    return min(result.history, key=lambda record: record.validation_score)


def same(a, b):
    """Whether two results are equal bit for bit, but for wall time."""
    # Written out, a ratio that is NaN equals itself.
    records = [repr(timeless(result.history)) for result in (a, b)]
    return torch.equal(weights(a), weights(b)) and records[0] == records[1] and a.reason == b.reason


class Stopped(Exception):
    pass


def stop_at(iteration):
    def on_iteration(record):
        if record.iteration == iteration:
            raise Stopped

    return on_iteration


def linear(n_in=3, width=3, *more):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(n_in, width), *more).double()
