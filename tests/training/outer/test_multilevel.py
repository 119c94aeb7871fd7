"""Levels: what each starts with, why it ends, and the best of all that is kept."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from trainings import OTHERS, SMALL, part, smooth, weights

from surrogates.config import replaced
from surrogates.errors import InputError
from surrogates.model.metrics import relative_errors
from surrogates.model.networks import AntisymmetricODE
from surrogates.training.config import (
    OPTIMIZERS,
    Network,
    Optimizer,
    Regularisation,
    Stopping,
    TrainConfig,
)
from surrogates.training.data import Data
from surrogates.training.fit import fit
from surrogates.training.outer.baselines import Stochastic
from surrogates.training.outer.gauss_newton import GaussNewton
from surrogates.training.outer.multilevel import Multilevel, Reason, State


def test_the_history_keeps_the_books():
    result = fit(smooth(), SMALL)
    records = result.history
    assert [record.iteration for record in records] == list(range(1, len(records) + 1))
    assert {record.level for record in records} == {0, 1}
    for level in (0, 1):
        of_level = [record for record in records if record.level == level]
        before = 0 if level == 0 else SMALL.stopping.work_units
        spent = of_level[-1].work_units - before
        assert spent <= SMALL.stopping.work_units
        phis = [record.phi for record in of_level]
        assert all(b <= a for a, b in zip(phis, phis[1:], strict=False))
        # One level's work: two passes, two for each Krylov vector, one for each step tried again.
        steps = sum(2 + 2 * record.rank for record in of_level)
        assert steps <= spent
    assert all(0 < record.rank <= SMALL.optimizer.krylov_rank for record in records)
    assert all(a.seconds <= b.seconds for a, b in zip(records, records[1:], strict=False))
    assert records[0].phi >= records[0].train_loss > 0


def test_refinement_goes_on_where_the_coarse_level_ended():
    settings = replaced(
        SMALL,
        {
            "network.levels": 3,
            "network.cells": 4,
            "stopping.work_units": 300,
            "network.final_time": 1.0,
            "seed": 1,
        },
    )
    records = fit(smooth(), settings).history
    for level in (1, 2):
        last = [record for record in records if record.level == level - 1][-1]
        first = next(record for record in records if record.level == level)
        assert max(first.phi, last.phi) < 0.05 * records[0].phi


def test_every_setting_reaches_its_level(monkeypatch):
    problems, step = [], GaussNewton.step

    def watched(self, problem, *rest):
        problems.append((self, problem))
        return step(self, problem, *rest)

    monkeypatch.setattr(GaussNewton, "step", watched)
    settings = TrainConfig(
        optimizer=Optimizer(method="krylov", krylov_rank=5, krylov_tolerance=0.25),
        network=Network(width=3, cells=2, levels=3, final_time=2.0, gamma=1e-2),
        stopping=Stopping(work_units=40),
        regularisation=Regularisation(alpha1=3e-5, alpha2=7e-6),
    )
    result = fit(smooth(), settings)
    levels = [record.level for record in result.history]
    assert set(levels) == {0, 1, 2}
    for level, (method, problem) in zip(levels, problems, strict=True):
        assert (method.rank, method.tolerance) == (5, 0.25)
        assert (problem.alpha1, problem.alpha2) == (3e-5 / 2**level, 7e-6)
        network = problem.features.module
        assert (network.n_cells, network.width) == (2 * 2**level, 3)
        assert (network.final_time, network.gamma) == (2.0, 1e-2)


def test_the_best_of_an_earlier_level_is_kept_with_its_own_weights():
    # Few noisy samples: the validation loss falls, then rises.
    data = smooth(n=60)
    noise = np.random.default_rng(2).normal(size=data.C.shape)
    data = dataclasses.replace(data, C=data.C + data.C.std() * noise)
    result = fit(
        data,
        TrainConfig(
            network=Network(width=8, cells=1, levels=2), stopping=Stopping(work_units=800), seed=1
        ),
    )
    best = int(np.argmin([record.validation_score for record in result.history]))
    assert result.history[best].level == 0 and result.history[-1].level == 1
    assert best + 1 < sum(record.level == 0 for record in result.history)
    Y, C = part(data, "validation")
    error = float(relative_errors(result.predict(Y), C).mean())
    assert error == pytest.approx(result.history[best].validation_error, rel=1e-10)
    assert 0 < best


def test_a_level_after_a_stalled_one_starts_with_a_radius_of_its_own():
    data = smooth()
    samples = Data.of(part(data, "train"), part(data, "validation"))
    network = AntisymmetricODE(3, 3, 1, generator=torch.Generator().manual_seed(0))
    theta = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
    method = Multilevel(
        levels=2,
        work_units=20,
        alpha1=0.0,
        alpha2=1e-10,
        tolerance=0.0,
        patience=9,
        method=GaussNewton(),
        warm_up=GaussNewton(),
    )
    for reason, least, most in ((Reason.STALLED, 1e-3, 100.0), (Reason.PATIENCE, 0.0, 1e-13)):
        state = State(level=0, theta=theta, radius=1e-14, reason=reason)
        first = method.run(network, samples, state=state).records[0]
        assert first.level == 1 and least < first.radius < most


def test_a_level_starts_with_the_w_and_the_epoch_of_the_one_before(monkeypatch):
    memories, step = [], Stochastic.step

    def watched(self, *given):
        memories.append(given[-1])
        return step(self, *given)

    monkeypatch.setattr(Stochastic, "step", watched)
    records = fit(smooth(), OTHERS["adam"]).history
    assert [record.level for record in records] == [0] * 30 + [1] * 30
    assert memories[0] == {} and set(memories[30]) == {"W", "epoch"}
    assert int(memories[30]["epoch"]) == 30 and int(memories[59]["epoch"]) == 59
    assert float((memories[30]["W"] - memories[29]["W"]).norm()) > 0
    assert len(memories[31]) > 2


def test_a_run_that_diverges_ends_with_its_best_weights():
    data = smooth()
    settings = replaced(OTHERS["sgd"], {"optimizer.learning_rate": 100.0, "network.levels": 1})
    result = fit(
        data, replaced(settings, {"stopping.work_units": 10_000, "stopping.patience": 10_000})
    )
    assert result.reason is Reason.STALLED
    assert torch.isfinite(weights(result)).all()


def test_reasons():
    data = smooth()
    assert fit(data, SMALL).reason is Reason.WORK_UNITS
    loose = replaced(SMALL, {"stopping.tolerance": 0.5, "stopping.work_units": 10_000})
    assert fit(data, loose).reason is Reason.TOLERANCE
    long = replaced(
        SMALL, {"network.levels": 1, "stopping.work_units": 100_000, "stopping.tolerance": 0.0}
    )
    # The last 2 iterations, or by default 10 dense ones, have not lowered the score by 2 %.
    for settings, patience in (
        (replaced(long, {"stopping.patience": 2}), 2),
        (replaced(long, {"optimizer.method": "dense"}), 10),
        (replaced(long, {"optimizer.method": "kronecker"}), 50),
    ):
        stopped = fit(data, settings)
        assert stopped.reason is Reason.PATIENCE
        scores = [record.validation_score for record in stopped.history]
        mark = scores[-patience - 1]
        assert min(scores[:-patience]) > 0.98 * mark and min(scores[-patience:]) > 0.98 * mark
        assert mark < min(scores[: -patience - 1])  # progress adds up from mark to mark


def test_progress_of_less_than_the_threshold_an_iteration_adds_up():
    settings = replaced(
        OTHERS["adam"], {"network.levels": 1, "stopping.patience": 5, "stopping.work_units": 24}
    )
    slow = fit(smooth(), replaced(settings, {"optimizer.learning_rate": 0.01}))
    scores = [record.validation_score for record in slow.history]
    assert min(new / old for old, new in itertools.pairwise(scores)) > 0.98
    assert slow.reason is Reason.WORK_UNITS
    slower = fit(smooth(), replaced(settings, {"optimizer.learning_rate": 0.001}))
    assert slower.reason is Reason.PATIENCE and len(slower.history) == 6


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_network_that_overflows_at_the_start_is_refused(optimizer):
    settings = TrainConfig(
        optimizer=Optimizer(name=optimizer),
        network=Network(kind="resnet", activation="relu", cells=110, final_time=1e5),
    )
    with pytest.raises(InputError, match="overflow at the first weights of level 1; take a small"):
        fit(smooth(), settings)
