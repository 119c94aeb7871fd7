"""Networks of each kind, and networks of the caller's own."""

import copy
import dataclasses
import doctest
import functools
import sys

import pytest
import torch
from trainings import TAME, linear, mean_error, part, same, smooth

from surrogates.config import replaced
from surrogates.errors import InputError
from surrogates.model.networks import ACTIVATIONS, MLP, AntisymmetricODE, ResNet
from surrogates.training.config import Network, Optimizer, Stopping, TrainConfig
from surrogates.training.data import Data
from surrogates.training.fit import fit


@pytest.mark.parametrize(
    ("method", "activation"),
    [
        ("krylov", "tanh"),
        *[("dense", activation) for activation in ACTIVATIONS],
        *[
            pytest.param("krylov", activation, marks=pytest.mark.thorough)
            for activation in ACTIVATIONS
            if activation != "tanh"
        ],
    ],
)
@pytest.mark.parametrize("network", ["ode", "resnet", "mlp"])
def test_every_network_and_activation_is_trained(network, activation, method):
    settings = TrainConfig(
        optimizer=Optimizer(method=method),
        network=Network(kind=network, activation=activation, width=6, cells=2),
        stopping=Stopping(work_units=300),
    )
    result = fit(smooth(), settings)
    expected = {"ode": AntisymmetricODE, "resnet": ResNet, "mlp": MLP}[network]
    assert type(result.features) is expected and result.features.activation == activation
    phis = [record.phi for record in result.history]
    assert phis[-1] < 0.2 * phis[0]


@pytest.mark.parametrize("method", ["dense", "krylov"])
def test_the_example_of_a_network_of_the_callers(method):
    data = smooth(n_in=7)
    names = {
        "dataset": data,
        "fit": fit,
        "torch": torch,
        "Network": Network,
        "TrainConfig": functools.partial(
            TrainConfig, optimizer=Optimizer(method=method), stopping=Stopping(work_units=400)
        ),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for example in doctest.DocTestParser().get_examples(sys.modules[fit.__module__].__doc__):
            exec(example.source, names)
            if "Sequential" in example.source:
                start = copy.deepcopy(names["layers"].state_dict())
    result, layers = names["result"], names["layers"]
    assert all(torch.equal(value, start[key]) for key, value in layers.state_dict().items())
    assert type(result.features) is torch.nn.Sequential
    assert not torch.equal(result.features[1].weight, layers[1].weight)
    phis = [record.phi for record in result.history]
    assert phis[-1] < 0.2 * phis[0]
    assert mean_error(data, result) < 0.1


def test_a_network_of_the_callers_equals_the_same_one_described():
    # A described one sees the inputs in an order, and with signs, that their samples define.
    data = smooth()
    samples = Data.of(part(data, "train"), part(data, "validation"), ordered=True)
    data = dataclasses.replace(data, Y=data.Y @ samples.mixing.numpy().T)
    samples = Data.of(part(data, "train"), part(data, "validation"), ordered=True)
    assert torch.equal(samples.mixing, torch.eye(3, dtype=torch.float64))
    network = AntisymmetricODE(
        3,
        3,
        1,
        TAME.network.final_time,
        TAME.network.gamma,
        generator=torch.Generator().manual_seed(0),
    )
    other = replaced(
        TAME, {"network.kind": "resnet", "network.activation": "relu", "network.cells": 7}
    )
    assert same(fit(data, TAME), fit(data, other, network=network))


@pytest.mark.parametrize(
    ("network", "settings", "message"),
    [
        (linear(4), {}, r"must take inputs \(N, 3\)"),
        (linear(3, 5), {}, r"float64 features \(2, 3\), .*; got \(2, 5\)"),
        (linear(3, 3, torch.nn.Flatten(0)), {}, r"got \(6,\)"),
        (torch.nn.Linear(3, 3), {}, r"float64 \(network.double\(\)\); it has torch.float32"),
        (torch.nn.Tanh(), {}, "it has none"),
        (linear(3, 3, torch.nn.BatchNorm1d(3)), {}, "BatchNorm1d in training mode"),
        (linear(3, 3, torch.nn.Dropout(0.5)), {}, "Dropout in training mode"),
        (linear(3, 3, torch.nn.Softmax(dim=0)), {}, "depend on the other samples"),
        (linear(), {"network.levels": 2}, "without a method refined; got 2"),
    ],
)
def test_networks_that_do_not_fit(network, settings, message):
    with pytest.raises(InputError, match=message):
        fit(smooth(), replaced(TrainConfig(), {"network.width": 3, **settings}), network=network)


def test_batch_normalisation_in_evaluation_mode_is_only_a_scaling():
    network = linear(3, 3, torch.nn.BatchNorm1d(3), torch.nn.Tanh()).eval()
    for method in ("dense", "krylov"):
        settings = TrainConfig(
            optimizer=Optimizer(method=method),
            network=Network(width=3),
            stopping=Stopping(work_units=400),
        )
        phis = [record.phi for record in fit(smooth(), settings, network=network).history]
        assert phis[-1] < 0.5 * phis[0]
