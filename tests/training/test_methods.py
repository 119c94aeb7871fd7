"""The method of each training: chosen by task and cost, after a warm-up, or another optimizer."""

import math

import pytest
import torch
from draws import classes, labelled
from trainings import DENSE, OTHERS, SMALL, best_of, part, same, smooth, weights

from surrogates.config import replaced
from surrogates.model.metrics import relative_errors
from surrogates.training.fit import fit
from surrogates.training.outer.baselines import STOCHASTIC
from surrogates.training.outer.gauss_newton import GaussNewton
from surrogates.training.outer.kronecker import Kronecker
from surrogates.training.outer.lbfgs import LBFGS
from surrogates.training.outer.multilevel import WARM_UP, Reason


def test_the_method_is_chosen_by_task_and_cost(monkeypatch):
    used = []

    def watched(self, *given):
        used.append("kronecker" if isinstance(self, Kronecker) else self.dense)
        return 1 / 0

    monkeypatch.setattr(GaussNewton, "step", watched)
    monkeypatch.setattr(Kronecker, "step", watched)
    monkeypatch.setattr("surrogates.training.outer.multilevel.WARM_UP", 0)
    of_classes = labelled(smooth().Y, classes(100, 3, seed=0).numpy())
    for data, method, limit, krylov, expected in (
        (smooth(), None, 1e12, 0.0, True),
        (smooth(), None, 1e3, 0.0, "kronecker"),
        (smooth(), None, 1e3, 100.0, True),  # one from a Krylov space would cost as much
        (smooth(), "dense", 1e3, 0.0, True),
        (smooth(), "krylov", 1e12, 100.0, False),
        (smooth(), "kronecker", 1e12, 100.0, "kronecker"),
        (of_classes, None, 1e12, 100.0, "kronecker"),
        (of_classes, "dense", 1e3, 0.0, True),
    ):
        monkeypatch.setattr("surrogates.training.methods._KRYLOV_FLOPS", krylov)
        monkeypatch.setattr("surrogates.training.methods._DENSE_FLOPS", limit)
        with pytest.raises(ZeroDivisionError):
            fit(data, replaced(DENSE, {"optimizer.method": method}))
        assert used[-1] == expected


def watched_methods(monkeypatch):
    """Note the method of each step."""
    methods = []
    for kind in (LBFGS, GaussNewton):
        step = kind.step

        def watched(self, *given, step=step):
            methods.append(self)
            return step(self, *given)

        monkeypatch.setattr(kind, "step", watched)
    return methods


def test_dense_steps_follow_a_warm_up_by_l_bfgs_that_no_patience_ends(monkeypatch):
    methods = watched_methods(monkeypatch)
    settings = replaced(
        DENSE, {"network.levels": 1, "stopping.patience": 1, "stopping.work_units": 300}
    )
    records = fit(smooth(), settings).history
    kinds = [type(method) for method in methods]
    assert kinds[:WARM_UP] == [LBFGS] * WARM_UP and set(kinds[WARM_UP:]) == {GaussNewton}
    assert len(kinds) > WARM_UP and all(method.dense for method in methods[WARM_UP:])
    steps = [b.validation_loss / a.validation_loss for a, b in pairs(records[:WARM_UP])]
    assert max(steps) > 0.98  # patience of 1 would have ended it
    methods.clear()
    fit(smooth(), SMALL)
    assert {type(method) for method in methods} == {GaussNewton}


def pairs(values):
    return zip(values, values[1:], strict=False)


def test_a_warm_up_that_fails_gives_way(monkeypatch):
    methods = watched_methods(monkeypatch)
    monkeypatch.setattr("surrogates.training.methods.LBFGS", lambda: LBFGS(decrease=1e6))
    result = fit(smooth(), replaced(DENSE, {"network.levels": 1, "stopping.work_units": 300}))
    assert [type(method) for method in methods[:3]] == [LBFGS, GaussNewton, GaussNewton]
    assert math.isnan(result.history[0].ratio) and result.reason is not Reason.STALLED
    phis = [record.phi for record in result.history]
    assert phis[-1] < 0.2 * phis[0]


@pytest.mark.parametrize("settings", OTHERS.values(), ids=OTHERS)
def test_other_optimizers_train_the_same_network_for_as_much_work(settings):
    data = smooth()
    settings = replaced(settings, {"network.cells": 4, "network.final_time": 1.0})
    result = fit(data, settings)
    records = result.history
    assert {record.level for record in records} == {0, 1} and result.reason is Reason.WORK_UNITS
    assert 0 <= 2 * settings.stopping.work_units - records[-1].work_units < 2 * 6
    if settings.optimizer.name in ("adam", "sgd"):
        assert [record.work_units for record in records] == [2 * i for i in range(1, 61)]
    for level in (0, 1):
        phis = [record.phi for record in records if record.level == level]
        assert phis[-1] < phis[0]
    Y, C = part(data, "validation")
    error = float(relative_errors(result.predict(Y), C).mean())
    assert error == pytest.approx(best_of(result).validation_error)


def test_a_learning_rate_is_the_one_given_or_the_optimizer_s():
    data = smooth()
    for name, method in STOCHASTIC.items():
        rate = method.learning_rate
        default = fit(data, OTHERS[name])
        given = [
            fit(data, replaced(OTHERS[name], {"optimizer.learning_rate": r})) for r in (rate, 0.1)
        ]
        assert same(default, given[0])
        assert not torch.equal(weights(default), weights(given[1]))
