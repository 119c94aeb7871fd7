"""The choice of classifiers: what it takes for what data, and what it cannot do."""

import dataclasses

import numpy as np
import pytest
import torch
from draws import labelled, normal

from surrogates.config import replaced
from surrogates.errors import InputError
from surrogates.training.config import DEFAULTS
from surrogates.training.deploy import assembled_classes
from surrogates.training.pool import Interrupted
from surrogates.training.selection.classes import Choice, choose
from surrogates.training.selection.effort import Terms
from surrogates.training.train import chooses, train

QUICK = replaced(DEFAULTS["classification"], {"stopping.work_units": 60})
RBF = replaced(QUICK, {"network.kind": "rbf", "network.kernel": "matern52"})
ONLY = {"given": frozenset({"network.kind", "network.kernel"})}


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch):
    """Let contests be of two small networks and kernels of two scales, for the tests' time."""
    small = tuple({"network.kind": name, "network.width": 4} for name in ("mlp", "ode"))
    monkeypatch.setattr("surrogates.training.selection.entropy.NETWORKS", small)
    monkeypatch.setattr("surrogates.training.selection.class_candidates._SCALES", (0.5, 1.0))


def rings(n, seed=0, split="0.8/0.2/0"):
    """Three classes by the distance from the origin, which no line tells apart."""
    Y = 2 * normal(n, 2, seed=seed).numpy()
    labels = np.digitize((Y**2).sum(axis=1), [2.0, 6.0])
    labels[:6] = np.arange(6) % 3
    return labelled(Y, np.eye(3)[labels], split)


def straight(n, n_classes=3, seed=0, split="0.8/0.2/0"):
    """Classes by their linear parts, some noise among them."""
    Y = normal(n, 4, seed=seed)
    scores = Y @ normal(4, n_classes, seed=99) + 0.3 * normal(n, n_classes, seed=seed + 1)
    labels = scores.argmax(dim=1)
    labels[: 2 * n_classes] = torch.arange(2 * n_classes) % n_classes
    return labelled(Y.numpy(), np.eye(n_classes)[labels], split)


def quick(data, settings=QUICK, **others) -> Choice:
    return choose(data, Terms(settings=settings, **{"processes": 1, **others}))


def error(choice, data, fresh):
    found = assembled_classes(choice, data).predict(torch.from_numpy(fresh.Y))
    return float((found.numpy() != fresh.C.argmax(axis=1)).mean())


@pytest.mark.thorough
def test_curved_classes_are_not_given_to_the_linear_one():
    data, fresh = rings(120), rings(1000, seed=7)
    choice = quick(data)
    names = [one.name for one in choice.tried]
    assert any(name.startswith("rbf") for name in names)
    linear = next(one for one in choice.tried if one.name.startswith("linear"))
    assert linear.weight == 0 and linear.error > 0.3
    assert error(choice, data, fresh) < 0.15
    assert sum(one.weight for one in choice.tried) == pytest.approx(1, abs=1e-12)
    assert sum(member.weight for member in choice.members) == pytest.approx(1, abs=1e-12)
    entropies = [one.cross_entropy for one in choice.tried]
    assert entropies == sorted(entropies)


@pytest.mark.thorough
def test_straight_classes_are_learned_about_as_well_as_they_can_be():
    data, fresh = straight(100), straight(1000, seed=7)
    choice = quick(data)
    linear = next(one for one in choice.tried if one.name.startswith("linear"))
    assert linear.cross_entropy < 1.5 * choice.tried[0].cross_entropy
    assert error(choice, data, fresh) < 0.2


def test_held_out_errors_are_of_the_size_of_those_on_new_samples():
    data, fresh = straight(200), straight(2000, seed=7)
    choice = quick(data, RBF, **ONLY)
    held = float((choice.logits.argmax(dim=1).numpy() != data.C[choice.rows].argmax(axis=1)).mean())
    assert held == pytest.approx(error(choice, data, fresh), abs=0.06)
    assert sorted(choice.rows) == list(range(200)) == sorted(choice.train)


def test_a_network_that_is_given_is_the_only_kind_and_the_mean_of_its_folds():
    settings = replaced(QUICK, {"network.kind": "mlp", "network.width": 5})
    choice = quick(straight(60), settings, given=frozenset({"network.kind", "network.width"}))
    assert all(one.name.startswith("mlp 5, alpha1 ") for one in choice.tried)
    assert len(choice.members) == 5
    assert {member.weight for member in choice.members} == {0.2}


def test_alpha2_that_is_given_is_that_of_radial_functions_only_with_them():
    settings = replaced(RBF, {"regularisation.alpha2": 0.02})
    choice = quick(
        straight(60),
        settings,
        given=frozenset({"network.kind", "network.kernel", "regularisation.alpha2"}),
    )
    assert all("alpha2 2e-02" in one.name for one in choice.tried)
    linear = quick(straight(60), settings, given=frozenset({"regularisation.alpha2"})).tried
    assert any("alpha2" in one.name and "2e-02" not in one.name for one in linear)


@pytest.mark.thorough
@pytest.mark.parametrize(("n_classes", "most"), [(2, 0.3), (20, 0.8)])
def test_two_classes_and_many(n_classes, most):
    data = straight(3 * n_classes + 10, n_classes)
    choice = quick(data, RBF, **ONLY)
    assert bool(torch.isfinite(choice.logits).all())
    assert choice.logits.shape[1] == n_classes
    assert error(choice, data, data) < most


def test_samples_of_the_only_one_of_a_class_are_learned_and_not_held_out():
    data = straight(40)
    C = np.eye(4)[data.C.argmax(axis=1)]
    C[17] = [0, 0, 0, 1]
    data = labelled(data.Y, C, "0.8/0.2/0")
    choice = quick(data, RBF, **ONLY)
    assert 17 not in choice.rows and 17 in choice.train
    assert len(choice.rows) == 39
    found = assembled_classes(choice, data)(torch.from_numpy(data.Y))
    assert bool(torch.isfinite(found).all())


@pytest.mark.parametrize("labels", [[0, 0, 1], [0, 1, 1, 2], [0, 1, 0, 1, 0]])
def test_few_samples_do(labels):
    n = len(labels)
    Y = normal(n, 2, seed=0).numpy()
    data = labelled(Y, np.eye(max(labels) + 1)[labels], f"{n - 1}/1/0")
    choice = quick(data)
    assert bool(torch.isfinite(assembled_classes(choice, data)(torch.from_numpy(Y))).all())


def test_where_nothing_can_be_held_out_one_line_says_so():
    data = labelled(normal(3, 2, seed=0).numpy(), np.eye(3), "2/1/0")
    with pytest.raises(InputError, match="every class has a single sample"):
        quick(data)
    with pytest.raises(InputError, match="at least 3 samples for training and validation; got 2"):
        quick(labelled(normal(2, 1, seed=0).numpy(), np.eye(2), "1/1/0"))
    absent = straight(20)
    with pytest.raises(InputError, match="there are no training samples of 'c3'"):
        quick(labelled(absent.Y, np.pad(absent.C, ((0, 0), (0, 1))), "0.8/0.2/0"))
    with pytest.raises(InputError, match="there is a single class"):
        quick(labelled(absent.Y, np.ones((20, 1)), "0.8/0.2/0"))
    with pytest.raises(InputError, match="radial functions of classes have no trend; got 1"):
        quick(straight(30), replaced(RBF, {"network.trend": 1}), **ONLY)
    with pytest.raises(InputError, match="no candidate could be fitted"):
        quick(
            straight(15),
            replaced(QUICK, {"network.kind": "mlp"}),
            given=frozenset({"network.kind"}),
        )


@pytest.mark.thorough
def test_constant_inputs_and_repeated_ones_with_other_labels_do():
    data = straight(40)
    Y = data.Y.copy()
    Y[:, 1] = 3.0
    Y[20:] = Y[:20]
    choice = quick(labelled(Y, data.C, "0.8/0.2/0"))
    assert bool(torch.isfinite(choice.logits).all()) and choice.temperature > 0
    nothing = quick(labelled(np.ones((40, 4)), data.C, "0.8/0.2/0"), RBF, **ONLY)
    p = torch.softmax(nothing.logits / nothing.temperature, dim=1)
    shares = data.C.mean(axis=0)
    # Nothing is known but how frequent the classes are.
    np.testing.assert_allclose(p.mean(dim=0), shares, atol=0.1)


def test_probabilities_in_place_of_labels_do():
    data = straight(60)
    C = 0.8 * data.C + 0.2 / 3
    choice = quick(labelled(data.Y, C, "0.8/0.2/0"), RBF, **ONLY)
    p = torch.softmax(choice.logits / choice.temperature, dim=1)
    assert float(p.max()) < 0.98
    assert choice.tried[0].cross_entropy >= float(-(C[0] * np.log(C[0])).sum()) - 1e-9


def test_validation_samples_are_the_fold_of_many_samples(monkeypatch):
    monkeypatch.setattr("surrogates.training.selection.classes.FOLDED", 30)
    data = straight(60)
    held = data.rows_of("validation")
    choice = quick(data, RBF, **ONLY)
    assert choice.rows.tolist() == sorted(held)
    assert not set(held.tolist()) & set(choice.train.tolist())
    found = assembled_classes(choice, data)(torch.from_numpy(data.Y[choice.rows]))
    expected = choice.logits / choice.temperature
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    none = labelled(data.Y, data.C, "1/0/0")
    assert 4 <= len(quick(none, RBF, **ONLY).rows) <= 8


@pytest.mark.slow
def test_test_samples_are_not_looked_at():
    data = straight(60, split="0.6/0.2/0.2")
    changed = data.C.copy()
    changed[data.split == 2] = np.nan
    first = quick(data, RBF, **ONLY)
    second = quick(dataclasses.replace(data, C=changed), RBF, **ONLY)
    assert torch.equal(first.logits, second.logits)
    assert not set(np.flatnonzero(data.split == 2)) & set(first.train.tolist())


@pytest.mark.thorough
def test_the_result_does_not_depend_on_processes_nor_on_the_order_of_samples_and_classes():
    data = straight(40)
    one, two = (quick(data, RBF, processes=k, **ONLY) for k in (1, 2))
    torch.testing.assert_close(one.logits, two.logits, rtol=1e-5, atol=1e-5)
    mixed = np.random.default_rng(0).permutation(40)
    other = dataclasses.replace(
        data, Y=data.Y[mixed], C=data.C[mixed][:, [1, 2, 0]], split=data.split[mixed]
    )
    three = quick(other, RBF, **ONLY)
    assert [a.name for a in one.tried] == [b.name for b in three.tried]
    place = np.argsort(mixed)
    torch.testing.assert_close(one.logits[:, [1, 2, 0]], three.logits[place], rtol=1e-3, atol=1e-3)


def test_progress_is_told_and_stop_is_heard():
    told = []
    quick(
        straight(40), RBF, on_progress=lambda done, total, note: told.append((done, total)), **ONLY
    )
    assert told and all(done <= total for done, total in told)
    with pytest.raises(Interrupted):
        quick(straight(40), RBF, stop=lambda: True, **ONLY)


def test_a_choice_that_is_stopped_is_among_what_was_judged():
    notes = []
    part = quick(
        straight(40),
        on_progress=lambda done, total, note: notes.append(note),
        stop=lambda: ", linear" not in notes[-1:] and bool(notes),
    )
    assert part.interrupted and [one.name.split(",")[0] for one in part.tried] == ["linear"]
    assert part.logits.shape == (40, 3)


def test_training_tells_what_was_tried_and_the_errors_that_were_held_out():
    data = straight(60, split="0.6/0.2/0.2")
    found = train(data, RBF, processes=1, **ONLY)
    about = found.training
    assert about["effort"] == "default" and about["chosen"] == found.reason
    assert len(about["tried"]) == len(found.tried) == 2
    assert {"name", "error", "cross_entropy", "samples", "weight"} == set(about["tried"][0])
    assert found.errors["validation"].samples == 48 and found.errors["test"].samples == 12
    chosen = [one for one in found.tried if one.weight > 0]
    if len(chosen) == 1:
        assert 1 - found.errors["validation"].accuracy == pytest.approx(chosen[0].error)
        assert found.errors["validation"].cross_entropy == pytest.approx(chosen[0].cross_entropy)
    assert about["temperature"] == float(found.surrogate.temperature)
    assert not found.interrupted and found.seconds > 0


def test_there_is_a_choice_for_what_is_neither_fast_nor_for_other_methods():
    data = straight(30)
    assert chooses(data, QUICK, "default") and chooses(data, RBF, "fast")
    for change in (
        {"optimizer.name": "adam"},
        {"network.levels": 2},
        {"regularisation.penalty": "smooth"},
    ):
        assert not chooses(data, replaced(QUICK, change), "default")
    assert not chooses(data, QUICK, "fast")
