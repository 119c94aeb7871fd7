"""The linear part of a network: its derivatives, its training, and what starts from it."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from draws import GeneralSquares, classes, dataset, flat, labelled, normal, orders
from torch.nn.utils import parameters_to_vector

from surrogates.config import replaced
from surrogates.errors import InputError
from surrogates.model import describe
from surrogates.model import file as export
from surrogates.model.networks import MLP, AntisymmetricODE, ResNet, with_ones
from surrogates.model.radial import Joined, Monomials
from surrogates.training.beside import WithInputs, joined, mixed, parted
from surrogates.training.config import Network, Outputs, Regularisation, Stopping, TrainConfig
from surrogates.training.deploy import deployed
from surrogates.training.features import Features
from surrogates.training.fit import fit
from surrogates.training.initial import settings_of
from surrogates.training.inner.losses import CrossEntropy, LeastSquares
from surrogates.training.inner.solution import ReducedJacobian
from surrogates.training.inner.varpro import first_columns
from surrogates.training.outer.dense import gauss_newton_matrix
from surrogates.training.outer.gauss_newton import ReducedProblem
from surrogates.training.train import train
from surrogates.training.weights import Start

QUICK = TrainConfig(
    network=Network(width=4, linear=True),
    stopping=Stopping(work_units=120),
    outputs=Outputs(scaling="column"),
)
KINDS = {"ode": AntisymmetricODE, "resnet": ResNet, "mlp": MLP}
NONE = torch.zeros((0, 2), dtype=torch.int64)


def bent(n=80, n_in=3, n_out=2, seed=0, split="0.6/0.2/0.2"):
    """A linear map of the inputs, and a little that no linear map has."""
    Y = normal(n, n_in, seed=seed)
    C = Y @ normal(n_in, n_out, seed=8) + 0.1 * torch.sin(Y @ normal(n_in, n_out, seed=9))
    return dataset(Y.numpy(), C.numpy(), split)


def problem(kind="ode", loss=None, n_out=7, n=30):
    torch.manual_seed(1)
    module = WithInputs(KINDS[kind](5, 4, 2))
    C = normal(n, n_out, seed=2)
    if isinstance(loss, CrossEntropy):
        C = classes(n, n_out, seed=3)
    made = ReducedProblem(
        features=Features(module, 0.5 * normal(n, 5, seed=1)),
        C=C,
        alpha1=0.0,
        alpha2=1e-3,
        loss=loss or LeastSquares(),
    )
    return made, parameters_to_vector(module.parameters()).detach()


@pytest.mark.parametrize("n_out", [1, 2, 7, 40])  # fewer and more than the 9 features
@pytest.mark.parametrize("kind", KINDS)
def test_the_dense_matrix_is_that_of_products_with_the_jacobian(kind, n_out):
    made, theta = problem(kind, n_out=n_out)
    check_matrix(made, theta)


@pytest.mark.parametrize("loss", [CrossEntropy(), GeneralSquares()])
def test_so_it_is_for_other_losses(loss):
    check_matrix(*problem(loss=loss, n_out=3))


def check_matrix(made, theta):
    inner, structure = made.at(theta).inner, made.structure
    H = gauss_newton_matrix(structure, theta, inner)
    J = ReducedJacobian(made.features.jacobian(theta), inner)
    v = structure.parameters_at(normal(len(H), seed=5))
    exact = structure.coordinates(J.gram(v))
    assert torch.linalg.norm(H @ structure.coordinates(v) - exact) < 1e-10 * exact.norm()


def test_the_residual_is_differentiated():
    made, theta = problem()
    here, J, gradient = made.linearised(theta)
    v = 0.1 * normal(len(theta), seed=5)
    R, along = flat(here.inner.residual), flat(J @ v)
    remainders, values = [], []
    for k in range(6):
        there = made.at(theta + 2.0**-k * v)
        remainders.append(float((flat(there.inner.residual) - R - 2.0**-k * along).norm()))
        values.append(abs(there.phi - here.phi - 2.0**-k * float(gradient @ v)))
    assert min(orders(remainders)[-4:]) > 1.8
    assert min(orders(values)[-4:]) > 1.8


def test_features_without_derivatives_have_no_parameters():
    network = MLP(3, 4)
    module = WithInputs(network)
    Y = normal(6, 3, seed=0)
    assert torch.equal(module(Y)[:, :4], network(Y)) and torch.equal(module(Y)[:, 4:], Y)
    features = Features(module, Y)
    assert (features.width, features.trained) == (7, 4)
    assert Features(network, Y).trained == 4
    sensitivities = module.sensitivities(Y)
    assert sensitivities.F.shape == (6, 7) and sensitivities.D.shape[1] == 4


@pytest.mark.parametrize("shape", [(7, 9), (3, 9), (5, 7, 9)])
def test_first_columns_keep_the_gram_matrix(shape):
    L = normal(*shape, seed=0)
    assert first_columns(L, 9) is L
    found = first_columns(L, 4)
    assert found.shape[-1] == 4 and (L.ndim == 3 or len(found) <= 4)
    expected = L[..., :4].transpose(-1, -2) @ L[..., :4]
    torch.testing.assert_close(found.transpose(-1, -2) @ found, expected)


def test_weights_of_mixed_inputs_become_those_of_the_inputs():
    network = MLP(2, 4)
    mixing, W, X = normal(2, 3, seed=0), normal(5, 4 + 2 + 1, seed=1), normal(6, 3, seed=2)
    expected = with_ones(WithInputs(network)(X @ mixing.T)) @ W.T
    found = with_ones(joined(network.mixed(mixing))(X)) @ mixed(W, mixing).T
    torch.testing.assert_close(found, expected)


def test_a_network_with_its_inputs_is_told_from_other_joined_features():
    network = MLP(3, 4)
    assert parted(joined(network)) == (network, True)
    assert parted(network) == (network, False)
    zeros = torch.zeros(2, 3).double()
    pairs = torch.tensor([[0, 1]])
    others = [
        Joined([network, Monomials(3, pairs)], zeros, zeros + 1),
        Joined([network, Monomials(3, NONE)], zeros + 0.1, zeros + 1),
        Joined([network, Monomials(3, NONE)], zeros, zeros + 2),
        Joined([network, network], zeros, zeros + 1),
        Joined([network], zeros[:1], zeros[:1] + 1),
    ]
    for features in others:
        assert parted(features) == (features, False)
        assert settings_of(features) == {}
    assert settings_of(joined(network)) == {**settings_of(network), "network.linear": True}


@pytest.mark.parametrize("method", ["dense", "krylov", "kronecker"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_network_and_method_is_trained(kind, method):
    data = bent()
    settings = replaced(QUICK, {"network.kind": kind, "optimizer.method": method})
    result = fit(data, settings)
    assert result.history[-1].phi < 0.9 * result.history[0].phi
    assert result.features.width == 4 + 3 and result.W.shape == (2, 4 + 3 + 1)
    assert settings_of(result.features)["network.linear"]


@pytest.mark.parametrize("optimizer", ["gn", "lbfgs", "adam", "sgd"])
def test_other_optimizers_have_it_too(optimizer):
    settings = replaced(QUICK, {"optimizer.name": optimizer, "optimizer.method": "krylov"})
    result = fit(bent(), settings)
    assert result.W.shape == (2, 4 + 3 + 1)
    assert result.history[-1].phi < result.history[0].phi


def test_work_units_are_those_of_the_network_alone():
    plain, linear = (
        fit(
            bent(),
            replaced(
                QUICK,
                {"network.linear": linear, "stopping.work_units": 500, "stopping.patience": 1000},
            ),
        )
        for linear in (False, True)
    )
    # Of the dense steps, after 30 cheap ones, those that are tried again cost more than the least.
    spent = [[record.work_units for record in result.history[30:]] for result in (plain, linear)]
    assert [int(np.diff(units).min()) for units in spent] == [4 + 5, 4 + 5]


def test_a_linear_map_is_found_beside_a_network_that_has_no_part_in_it():
    Y = normal(60, 3, seed=0)
    C = Y @ normal(3, 2, seed=1) + 1
    result = fit(dataset(Y.numpy(), C.numpy()), replaced(QUICK, {"stopping.work_units": 30}))
    torch.testing.assert_close(result.predict(Y), C, rtol=0, atol=1e-6)


def test_it_learns_what_is_nearly_linear_with_fewer_features():
    data = bent(n=300, n_in=6, n_out=6)
    Y, C = map(torch.from_numpy, data.part("test"))
    errors = []
    for linear in (False, True):
        settings = replaced(QUICK, {"network.width": 2, "network.linear": linear})
        errors.append(float((fit(data, settings).predict(Y) - C).norm()))
    assert errors[1] < 0.5 * errors[0]


def test_levels_and_smooth_weights_work_with_it():
    settings = replaced(
        QUICK,
        {
            "network.kind": "ode",
            "network.cells": 1,
            "network.levels": 2,
            "regularisation.penalty": "smooth",
            "regularisation.alpha1": 1e-4,
        },
    )
    result = fit(bent(), settings)
    assert {record.level for record in result.history} == {0, 1}
    assert settings_of(result.features)["network.cells"] in (1, 2)


def test_inputs_that_do_not_vary_and_mixed_ones_are_all_taken():
    data = bent()
    still = dataclasses.replace(data, Y=np.column_stack([data.Y, np.full(len(data.Y), 3.0)]))
    info = dataclasses.replace(
        data.info,
        y_names=("a", "b", "c", "d"),
        y_units=("1",) * 4,
        y_lower=still.Y.min(axis=0),
        y_upper=still.Y.max(axis=0),
    )
    still = dataclasses.replace(still, info=info)
    Y, C = map(torch.from_numpy, still.part("validation"))
    for changes in ({}, {"inputs.whitening": 0.5, "regularisation.smoothing": 1.0}):
        result = fit(still, replaced(QUICK, changes))
        assert result.W.shape == (2, 4 + 4 + 1)
        best = min(record.validation_loss for record in result.history)
        scale = C.std(dim=0, unbiased=False)
        assert float(((result.predict(Y) - C) / scale).square().mean()) < 4 * best + 1e-6


def test_training_is_resumed_bit_for_bit(tmp_path):
    data, path = bent(), tmp_path / "c.checkpoint"
    whole = fit(data, QUICK)
    asked = itertools.chain([False] * 3, itertools.repeat(True))
    fit(data, QUICK, checkpoint=path, stop=lambda: next(asked))
    again = fit(data, QUICK, checkpoint=path, resume=True)
    assert torch.equal(whole.W, again.W) and len(whole.history) == len(again.history)
    with pytest.raises(InputError, match="configuration: network.linear is True there and False"):
        fit(data, replaced(QUICK, {"network.linear": False}), checkpoint=path, resume=True)


def test_a_checkpoint_of_an_older_release_is_resumed(tmp_path):
    data, path = bent(), tmp_path / "c.checkpoint"
    settings = replaced(QUICK, {"network.linear": False})
    whole = fit(data, settings, checkpoint=path)
    content = torch.load(path, weights_only=True)
    lines = [line for line in content["config"].splitlines() if not line.startswith("linear")]
    assert len(lines) == len(content["config"].splitlines()) - 1
    torch.save({**content, "config": "\n".join(lines)}, path)
    assert torch.equal(fit(data, settings, checkpoint=path, resume=True).W, whole.W)


def saved(data, tmp_path, settings=QUICK):
    found = train(data, settings, effort="fast")
    path = tmp_path / "old.pt"
    about = describe.metadata(data, training=found.training, errors=found.errors)
    export.save(found.surrogate, about, path, found.weights)
    return found, path


def test_a_training_starts_from_one_with_a_linear_part(tmp_path):
    data = bent()
    found, path = saved(data, tmp_path)
    start = Start.read(path)
    old, settings = start.network(
        TrainConfig(stopping=Stopping(work_units=60), outputs=Outputs(scaling="column")),
        frozenset(),
    )
    assert settings.network.linear and settings_of(old.features)["network.linear"]
    held = replaced(settings, {"regularisation.alpha1": 1e9, "regularisation.alpha2": 1e9})
    result = fit(data, held, start=old)
    Y = torch.from_numpy(data.Y)
    torch.testing.assert_close(result.predict(Y), found.surrogate(Y), rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="has network.linear True; got False"):
        fit(data, replaced(held, {"network.linear": False}), start=old)
    with pytest.raises(InputError, match="has network.linear True; got False"):
        start.network(replaced(QUICK, {"network.linear": False}), frozenset({"network.linear"}))


def test_classes_have_it_too():
    k = classes(90, 3, seed=0)
    Y = normal(90, 4, seed=1) + k @ normal(3, 4, seed=2)
    data = labelled(Y.numpy(), k.numpy())
    settings = TrainConfig(
        network=Network(width=4, linear=True),
        stopping=Stopping(work_units=120),
        regularisation=Regularisation(alpha1=1e-3, alpha2=1e-3),
    )
    result = fit(data, settings)
    assert result.W.shape == (3, 4 + 4 + 1)
    assert result.history[-1].phi < result.history[0].phi
    found = deployed(result, data)
    logits = result.predict(Y) / found.temperature
    torch.testing.assert_close(found(Y), logits, rtol=1e-9, atol=1e-9)


def test_it_is_for_the_networks_that_a_configuration_names():
    with pytest.raises(InputError, match="linear is for networks: .* take network.trend=1"):
        TrainConfig(network=Network(kind="rbf", linear=True))
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh()).double()
    with pytest.raises(InputError, match="network.linear are for the networks that"):
        fit(bent(), QUICK, network=network)
