"""Training with cross-entropy as a whole: what it finds, repeats, resumes and refuses."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from draws import Poisson, PseudoHuber, classes, dataset, labelled, normal
from trainings import Stopped, part, same, stop_at

from surrogates.config import replaced
from surrogates.errors import InputError
from surrogates.model.networks import AntisymmetricODE
from surrogates.training.config import (
    OPTIMIZERS,
    Inputs,
    Network,
    Optimizer,
    Regularisation,
    Stopping,
    TrainConfig,
)
from surrogates.training.fit import fit
from surrogates.training.inner import solve

SMALL = TrainConfig(
    optimizer=Optimizer(method="krylov", krylov_rank=8),
    network=Network(width=3, cells=1),
    stopping=Stopping(work_units=100),
    regularisation=Regularisation(alpha1=1e-4, alpha2=1e-3),
    inputs=Inputs(scale=1.0),
)
SETTINGS = {
    "dense": replaced(SMALL, {"optimizer.method": "dense", "stopping.work_units": 90}),
    "krylov": SMALL,
    "kronecker": replaced(
        SMALL, {"optimizer.method": "kronecker", "network.levels": 2, "stopping.work_units": 40}
    ),
    "levels": replaced(SMALL, {"network.levels": 3, "stopping.work_units": 40}),
    "smooth": replaced(
        SMALL, {"network.levels": 2, "stopping.work_units": 40, "regularisation.penalty": "smooth"}
    ),
    "mixed": replaced(
        SMALL, {"inputs.whitening": 0.25, "regularisation.smoothing": 10.0, "inputs.noise": 0.5}
    ),
    **{
        name: replaced(
            SMALL, {"optimizer.name": name, "network.levels": 2, "stopping.work_units": 24}
        )
        for name in ("gn", "lbfgs", "adam", "sgd")
    },
}
RESUMED = ("dense", "levels")  # of the others, those of squares
each_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)


def planted(n=1000, n_in=4, n_classes=3, seed=0):
    """Samples with the most probable class of a network."""
    generator = torch.Generator().manual_seed(seed)
    net = AntisymmetricODE(n_in, 3, 1, generator=generator)
    Y = torch.randn((n, n_in), generator=generator, dtype=torch.float64)
    W = torch.randn((n_classes, 3), generator=generator, dtype=torch.float64)
    with torch.no_grad():
        F = net(Y)
    outputs = (F - F.mean(dim=0)) @ W.T
    C = torch.nn.functional.one_hot(outputs.argmax(dim=1), n_classes).double()
    return labelled(10 + 5 * Y.numpy(), C.numpy())


def noisy(n=120, n_in=3, n_classes=3, seed=0):
    """Samples whose classes overlap."""
    k = classes(n, n_classes, seed=seed)
    Y = normal(n, n_in, seed=seed + 1) + k @ normal(n_classes, n_in, seed=seed + 2)
    return labelled(Y.numpy(), k.numpy())


def measured(result, data, name):
    """The mean cross-entropy and the share of misclassified samples, by `predict`."""
    Y, C = part(data, name)
    outputs = result.predict(Y)
    loss = torch.nn.functional.cross_entropy(outputs, C)
    return float(loss), float((outputs.argmax(dim=1) != C.argmax(dim=1)).double().mean())


@pytest.mark.parametrize(("method", "work"), [("dense", 400), ("krylov", 1000), ("kronecker", 400)])
def test_classes_of_a_network_are_learned(method, work):
    data = planted()
    settings = TrainConfig(
        optimizer=Optimizer(method=method),
        network=Network(width=4, cells=1),
        inputs=Inputs(scale=1.0),
        regularisation=Regularisation(alpha1=1e-6, alpha2=1e-6),
        stopping=Stopping(work_units=work, patience=200),
    )
    result = fit(data, settings)
    assert measured(result, data, "test")[1] <= 0.1
    # The most frequent class alone would miss half of them.
    assert np.bincount(data.part("test")[1].argmax(axis=1)).max() < 110
    assert result.history[-1].train_error <= 0.02  # 3 of 150: which ones differs by rounding


@each_setting
def test_the_history_tells_what_the_result_predicts(settings):
    data = noisy()
    result = fit(data, settings)
    best = min(result.history, key=lambda one: (one.validation_error, one.validation_loss))
    for name in ("train", "validation"):
        loss, error = measured(result, data, name)
        assert getattr(best, f"{name}_loss") == pytest.approx(loss, rel=1e-9)
        assert getattr(best, f"{name}_error") == pytest.approx(error, abs=1e-12)
    assert result.history[-1].train_loss < result.history[0].train_loss
    assert result.features.n_in == 3


def test_every_method_decreases_phi_and_without_variable_projection_far_less():
    data = planted(n=200)
    found = {}
    for name in OPTIMIZERS:
        settings = replaced(
            SMALL,
            {
                "optimizer.name": name,
                "optimizer.method": "dense",
                "network.width": 4,
                "regularisation.alpha1": 1e-6,
                "regularisation.alpha2": 1e-6,
                "stopping.work_units": 150,
            },
        )
        phis = [record.phi for record in fit(data, settings).history]
        assert phis[-1] < 0.8 * phis[0]
        found[name] = phis[-1]
    others = min(found[name] for name in ("gn", "adam", "sgd"))
    assert max(found["gnvpro"], found["lbfgs"]) < 0.2 * others, found


def test_the_first_w_is_searched_for_once(monkeypatch):
    data, searches, minimise = noisy(), [], solve.minimise

    def counted(*arguments, **options):
        found = minimise(*arguments, **options)
        searches.append(found.iterations)
        return found

    monkeypatch.setattr(solve, "minimise", counted)
    fit(data, SETTINGS["kronecker"])
    assert searches[0] > 3 and searches[1] == 0


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(value, id=name, marks=[pytest.mark.thorough] * (name not in RESUMED))
        for name, value in SETTINGS.items()
    ],
)
def test_resumed_training_equals_uninterrupted_training_bit_for_bit(tmp_path, settings):
    data, checkpoint = noisy(), tmp_path / "run.ckpt"
    whole = fit(data, settings)
    assert same(whole, fit(data, settings))
    n = len(whole.history)
    assert n >= 4
    ends = [a.iteration for a, b in itertools.pairwise(whole.history) if a.level != b.level]
    assert len(ends) == settings.network.levels - 1
    for iteration in sorted({1, *ends[:1], n - 1}):
        with pytest.raises(Stopped):
            fit(data, settings, checkpoint=checkpoint, on_iteration=stop_at(iteration))
        assert same(whole, fit(data, settings, checkpoint=checkpoint, resume=True))
        checkpoint.unlink()


def test_a_large_alpha1_makes_smooth_weights_constant_in_time():
    def spread(result):
        nodes = torch.cat([result.features.K.flatten(1), result.features.b], dim=1)
        return float((nodes - nodes.mean(dim=0)).norm() / nodes.norm())

    data = noisy(n=300)
    free, held = (
        fit(
            data,
            replaced(
                SMALL,
                {
                    "network.cells": 2,
                    "regularisation.penalty": "smooth",
                    "regularisation.alpha1": alpha1,
                    "stopping.work_units": 300,
                },
            ),
        )
        for alpha1 in (1e-8, 1e-1)
    )
    assert spread(held) < 0.05 < 0.3 < spread(free)
    # What is not penalised does move.
    assert float(held.features.b.norm()) > 1e-3


def test_a_loss_of_ones_own_takes_the_targets_as_they_are():
    rng = np.random.default_rng(0)
    Y = rng.uniform(-1, 1, (400, 2))
    mean = np.exp(1 + np.sin(2 * Y) @ np.array([[1.0, 0.3], [-0.5, 1.0]]))
    data = dataset(Y, rng.poisson(mean).astype(float))
    settings = replaced(SMALL, {"network.width": 4, "stopping.work_units": 200})
    result = fit(data, settings, loss=Poisson())
    test, _ = part(data, "test")
    expected = mean[data.split == 2]
    predicted = np.exp(result.predict(test).numpy())
    assert np.abs(predicted / expected - 1).mean() < 0.2
    # Far better than the mean of all.
    assert np.abs(predicted - expected).mean() < 0.3 * np.abs(expected - mean.mean(axis=0)).mean()


def test_a_checkpoint_of_another_loss_is_refused(tmp_path):
    data, checkpoint = noisy(), tmp_path / "run.ckpt"
    fit(data, SMALL, checkpoint=checkpoint)
    with pytest.raises(InputError, match="another loss: CrossEntropy there, Poisson here"):
        fit(data, SMALL, loss=Poisson(), checkpoint=checkpoint, resume=True)


def test_bad_classes_and_settings():
    data = noisy()
    few = data.C.copy()
    absent = data.C.argmax(axis=1) == 2
    few[absent & (data.split == 0)] = [1.0, 0.0, 0.0]
    with pytest.raises(InputError, match="there are no training samples of 'c2'"):
        fit(dataclasses.replace(data, C=few), SMALL)
    with pytest.raises(InputError, match="there is a single class"):
        fit(labelled(data.Y, np.ones((120, 1))), SMALL)
    with pytest.raises(InputError, match="penalty must be tikhonov for an mlp"):
        TrainConfig(network=Network(kind="mlp"), regularisation=Regularisation(penalty="smooth"))
    own = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh()).double()
    for change in (
        {"inputs.whitening": 0.5},
        {"regularisation.smoothing": 1.0},
        {"inputs.noise": 0.5},
        {"regularisation.penalty": "smooth"},
    ):
        with pytest.raises(InputError, match="are for the networks that a configuration names"):
            fit(data, replaced(SMALL, change), network=own)
    assert fit(data, SMALL, network=own).history


def test_targets_that_newton_s_steps_do_not_reach_are_refused():
    Y = normal(40, 3, seed=0).numpy()
    far = dataset(Y, 1e4 * normal(40, 2, seed=1).numpy())
    with pytest.raises(InputError, match="W is not found at the first weights of level 1"):
        fit(far, replaced(SMALL, {"regularisation.alpha2": 1e-8}), loss=PseudoHuber())


def test_classes_that_are_separate_need_alpha2():
    k = classes(100, 2, seed=0)
    Y = normal(100, 2, seed=1) + 30 * k
    settings = replaced(SMALL, {"regularisation.alpha2": 0.0, "stopping.work_units": 400})
    with pytest.raises(InputError, match="the features separate the training samples"):
        fit(labelled(Y.numpy(), k.numpy()), settings)
