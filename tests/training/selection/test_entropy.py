"""What judges classifiers: calibrated cross-entropies, weights of logits, costs of trainings."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from draws import classes, labelled, normal

from surrogates.config import replaced
from surrogates.training.config import DEFAULTS
from surrogates.training.fit import fit
from surrogates.training.inner.losses import CrossEntropy
from surrogates.training.selection.entropy import (
    _LEFT_OUT,
    NETWORKS,
    Entropy,
    HeldOutEntropy,
    calibrated,
    mixed,
)

BASE = DEFAULTS["classification"]


def logits_of(C, strength, seed):
    """Logits that tell the classes, with noise."""
    return strength * C + normal(*C.shape, seed=seed)


def entropy(logits, C):
    return float(CrossEntropy().values(logits, C).mean())


@pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
def test_a_score_does_not_depend_on_the_size_of_logits(size):
    C = classes(60, 3, seed=0)
    logits = logits_of(C, 2.0, seed=1)
    t, found = calibrated(size * logits, C)
    assert found == pytest.approx(calibrated(logits, C)[1], rel=1e-6)
    smooth = (60 * C + 1 / 3) / 61
    there = entropy(size * logits / t, smooth)
    assert there <= min(entropy(size * logits / (t * factor), smooth) for factor in (0.9, 1.1))
    assert found == pytest.approx(entropy(size * logits / t, C), rel=1e-12)
    assert calibrated(logits * np.nan, C)[1] == np.inf


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_weights_are_the_best_of_a_grid(k, seed):
    C = classes(80, 3, seed=seed)
    logits = [logits_of(C, 0.5 + 0.4 * j, seed=10 * seed + j) for j in range(k)]
    logits = [one / calibrated(one, C)[0] for one in logits]
    found = mixed(logits, C)
    assert found.min() >= 0 and found.sum() == pytest.approx(1, abs=1e-12)
    assert bool(((found == 0) | (found >= _LEFT_OUT)).all())

    def score(weights):
        return calibrated(sum(float(w) * one for w, one in zip(weights, logits, strict=True)), C)[1]

    grid = (w for w in itertools.product(np.arange(0, 1.01, 0.1), repeat=k) if sum(w) > 0)
    assert score(found) <= min(map(score, grid)) * 1.02


def test_useless_logits_have_no_weight_and_one_has_all():
    C = classes(100, 3, seed=0)
    good = logits_of(C, 3.0, seed=1)
    assert mixed([good], C).tolist() == [1]
    assert mixed([good, -good], C).tolist() == [1, 0]
    zero = torch.zeros_like(good)
    assert mixed([good, zero], C).tolist() == [1, 0]
    assert mixed([-good, zero], C).sum() == 1


def test_logits_that_are_all_right_have_finite_weights():
    C = classes(30, 3, seed=0)
    found = mixed([10 * C, 8 * C], C)
    assert np.isfinite(found).all() and found.min() > 0.1


def test_the_judge_returns_logits_and_their_score():
    Y, C = normal(20, 2, seed=0), classes(20, 3, seed=1)
    data, rows = labelled(Y.numpy(), C.numpy()), np.array([3, 7, 11])
    judge = Entropy(n_classes=3)
    held = judge.held(data, SimpleNamespace(predict=lambda Y: Y @ normal(2, 3, seed=2)), rows)
    torch.testing.assert_close(held, Y[rows] @ normal(2, 3, seed=2))
    assert judge.score(data, held, rows) == calibrated(held, C[rows])[1]


def test_the_settings_tried_are_distinct_valid_and_begin_with_those_of_fast():
    settings = [replaced(BASE, choice) for choice in NETWORKS]
    assert settings[0] == BASE
    names = {Entropy(n_classes=3).name(one) for one in settings}
    assert len(names) == len(settings)
    assert "ode 8, alpha1 1e-03, alpha2 1e-03" in names


def test_costs_grow_with_classes_width_samples_and_work():
    def seconds(n_classes=3, n=400, n_in=10, settings=BASE):
        return Entropy(n_classes=n_classes).seconds(settings, n, n_in)

    base = seconds()
    assert seconds(n_classes=100) > 2 * base
    assert seconds(n=200000) > 3 * base
    assert seconds(n_in=5000) > 2 * base
    assert seconds(settings=replaced(BASE, {"network.width": 100})) > 2 * base
    assert seconds(settings=replaced(BASE, {"stopping.work_units": 22})) < 0.2 * base


def test_the_best_weights_on_a_fold_are_those_of_the_least_loss():
    C = classes(60, 3, seed=0)
    data = labelled((normal(60, 2, seed=1) + C @ normal(3, 2, seed=2)).numpy(), C.numpy())
    loss = Entropy(n_classes=3).loss
    assert isinstance(loss, HeldOutEntropy)
    result = fit(data, replaced(BASE, {"network.width": 3, "stopping.work_units": 60}), loss=loss)
    Y, C = map(torch.from_numpy, data.part("validation"))
    least = min(record.validation_loss for record in result.history)
    assert entropy(result.predict(Y), C) == pytest.approx(least, rel=1e-9)


def test_logits_that_are_all_right_are_not_sure():
    C = classes(100, 3, seed=0)
    for size in (1.0, 1e3):
        t, _ = calibrated(size * C, C)
        p = torch.softmax(size * C / t, dim=1).max(dim=1).values
        # One sample in 101 is of any class.
        assert float(p.mean()) == pytest.approx(1 - (2 / 3) / 101, abs=1e-4)
