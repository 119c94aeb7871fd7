"""The contest of networks: what is tried, what it may cost, and who wins."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from contests import BASE, NOTHING, Fake, Plain, contest, effort, names

from surrogates.config import replaced
from surrogates.training.config import Network, Stopping, TrainConfig
from surrogates.training.selection.contest import SHARE, trained
from surrogates.training.selection.folds import Fold
from surrogates.training.selection.squares import ALONG, NETWORKS


def cost(of, settings):
    """What a contest costs: the first round of each, and the dearest on all folds."""
    costs = sorted(of.seconds(one) for one in settings)
    return SHARE * sum(costs) + len(of.folds) * costs[-1]


def test_settings_are_tried_in_their_order_up_to_the_number_asked():
    for number in (1, 3, 10):
        found = contest().affordable(BASE, NOTHING, effort(candidates=number))
        expected = [replaced(BASE, choice) for choice in NETWORKS[:number]]
        assert found == expected


def test_what_is_given_is_kept_and_nothing_is_tried_twice():
    base = replaced(BASE, {"network.kind": "resnet", "network.width": 5, "seed": 3})
    found = contest().affordable(
        base, frozenset({"network.kind", "network.width"}), effort(candidates=10)
    )
    assert {(one.network.kind, one.network.width, one.seed) for one in found} == {("resnet", 5, 3)}
    alphas = [one.regularisation.alpha1 for one in found]
    assert (
        len(set(alphas))
        == len(alphas)
        == len({choice["regularisation.alpha1"] for choice in NETWORKS})
    )
    given = frozenset({"network.kind", "network.width", "regularisation.alpha1"})
    assert contest().affordable(base, given, effort()) == [base]


@pytest.mark.parametrize("seconds", [1.0, 3.0, 10.0, 30.0, 60.0])
def test_what_is_tried_is_estimated_to_cost_no_more_than_asked(seconds):
    of, asked = contest(), effort(seconds=seconds)
    found = of.affordable(BASE, NOTHING, asked)
    if len(found) > 1:
        assert cost(of, found) <= seconds
    assert len(of.affordable(BASE, NOTHING, effort(seconds=2 * seconds))) >= len(found)


def test_where_not_one_is_affordable_its_work_is_cut_and_then_it_is_left_out():
    of = contest()
    least = min(of.seconds(replaced(BASE, choice)) for choice in NETWORKS[:5])
    (found,) = of.affordable(BASE, NOTHING, effort(seconds=5 * least / 2))
    assert found.stopping.work_units == pytest.approx(BASE.stopping.work_units / 2, abs=1)
    assert of.seconds(found) * 5 <= 5 * least / 2
    assert of.affordable(BASE, NOTHING, effort(seconds=5 * least / 10)) == []


def test_networks_are_not_tried_on_few_samples():
    assert contest(n=19).affordable(BASE, NOTHING, effort()) == []
    assert contest(n=20).affordable(BASE, NOTHING, effort()) != []
    assert contest(n=19).winners(BASE, NOTHING, effort(), 1.0) == []


def test_more_samples_may_cost_more():
    given = frozenset({"network.kind", "network.width", "regularisation.alpha1"})
    work_units = []
    for of in (contest(n=1000, n_out=1), contest(n=4000, n_out=1)):
        half = effort(seconds=0.5 * len(of.folds) * of.seconds(BASE))
        (found,) = of.affordable(BASE, given, half)
        work_units.append(found.stopping.work_units)
    # What is asked is for 1000 samples; four times that may be spent on 4000.
    assert work_units == [
        pytest.approx(BASE.stopping.work_units / 2, abs=1),
        BASE.stopping.work_units,
    ]


def test_costs_grow_with_work_width_and_samples():
    of = contest()
    base = of.seconds(BASE)
    assert of.seconds(replaced(BASE, {"stopping.work_units": 3600})) == pytest.approx(3 * base)
    # Twice the width is fewer iterations, each of which costs far more.
    wide = of.seconds(replaced(BASE, {"network.width": 64}))
    iterations = (BASE.network.width + 5) / (64 + 5)
    assert wide > 2 * iterations * base
    assert contest(n=5000).seconds(BASE) > base
    assert contest(n_in=50).seconds(BASE) > base
    assert base > 0


def test_the_best_of_a_short_round_are_trained_on_all_folds():
    run, told = Fake(), []
    of = contest(run=run, told=told)
    found = of.winners(BASE, NOTHING, effort(), 1.0)
    # 1e-6 of ode 8 is the best by far: no other is near.
    assert names(found) == ["ode 8, alpha1 1e-06"]
    short = [
        (s, f)
        for s, f in run.calls
        if s.stopping.work_units == int(SHARE * BASE.stopping.work_units)
    ]
    whole = [(s, f) for s, f in run.calls if s.stopping.work_units == BASE.stopping.work_units]
    assert len(short) == 5 * 2  # on two folds, of few samples
    assert {id(fold) for _, fold in short} == {id(fold) for fold in of.folds[:2]}
    assert len(whole) == 5
    assert {id(fold) for _, fold in whole} == {id(fold) for fold in of.folds}
    for residual, fold in zip(found[0].held, of.folds, strict=True):
        assert residual.shape == (len(fold.held), 2)
        torch.testing.assert_close(residual, torch.full_like(residual, 1e-6), rtol=1e-6, atol=0)
    assert [done for done, _, _ in told] == [*range(1, 11), *range(1, 6)]


def test_of_many_samples_one_fold_is_enough_for_the_short_round():
    run = Fake()
    contest(n=400, run=run).winners(BASE, NOTHING, effort(), 1.0)
    short = [
        settings
        for settings, _ in run.calls
        if settings.stopping.work_units < BASE.stopping.work_units
    ]
    assert len(short) == 5


def test_others_that_are_near_are_trained_on_all_folds_too():
    base = replaced(BASE, {"regularisation.alpha1": 0.01})  # the same error for all
    run = Fake()
    found = contest(run=run).winners(
        base, frozenset({"regularisation.alpha1"}), effort(finalists=3), 1.0
    )
    assert len(found) == 3


def test_far_worse_networks_win_nothing():
    run = Fake()
    of = contest(run=run)
    assert of.winners(BASE, NOTHING, effort(), (1e-6 / 2.1) ** 2) == []
    assert all(settings.stopping.work_units < BASE.stopping.work_units for settings, _ in run.calls)
    assert of.winners(BASE, NOTHING, effort(), (1e-6 / 1.9) ** 2) != []


def test_errors_are_in_units_of_the_scale():
    judge = Plain(scale=torch.tensor([1.0, 10.0]).double(), n_seen=2)
    of = dataclasses.replace(contest(run=Fake()), judge=judge)
    (found,) = of.winners(BASE, NOTHING, effort(finalists=1), 1.0)
    expected = torch.tensor([1e-6, 1e-7]).double().expand_as(found.held[0])
    torch.testing.assert_close(found.held[0], expected, rtol=1e-5, atol=0)


def test_a_task_trains_on_its_fold_alone():
    settings = TrainConfig(network=Network(width=4), stopping=Stopping(work_units=60))
    of = contest(n=40)
    fold = Fold(train=np.arange(0, 20), held=np.arange(20, 30))
    expected = trained(of.dataset, settings, fold)
    changed = of.dataset.C.copy()
    changed[30:] = np.nan
    found = trained(dataclasses.replace(of.dataset, C=changed), settings, fold)
    assert torch.equal(found.W, expected.W)
    torch.testing.assert_close(found.y_shift, torch.from_numpy(of.dataset.Y[:20]).mean(dim=0))


def along(directions, **others):
    """Return a contest whose samples have derivatives along some directions on average."""
    of = contest(**others)
    return dataclasses.replace(of, judge=dataclasses.replace(of.judge, directions=directions))


def test_where_samples_have_derivatives_wider_networks_with_less_penalty_are_tried():
    few, values = (
        of.affordable(BASE, NOTHING, effort(candidates=6)) for of in (along(0.5), contest())
    )
    assert few == values == [replaced(BASE, choice) for choice in NETWORKS[:6]]
    found = along(1.0).affordable(BASE, NOTHING, effort(candidates=6))
    assert found == [replaced(BASE, choice) for choice in ALONG[:6]]
    assert max(one.network.width for one in found) > max(one.network.width for one in values)

    def least(settings):
        return min(s.regularisation.alpha1 for s in settings if s.network.kind == "mlp")

    assert least(found) < least(values)
    one_layer = next(one for one in found if one.network.cells == 1)
    name = "mlp 32, cells 1, alpha1 1e-06"
    assert along(1.0).judge.name(one_layer) == name
    given = frozenset({"network.width"})
    base = replaced(BASE, {"network.width": 5})
    assert {s.network.width for s in along(1.0).affordable(base, given, effort())} == {5}


@pytest.mark.parametrize(("directions", "folds"), [(2.9, 2), (3.0, 1), (0.0, 2)])
def test_rows_of_derivatives_count_for_the_number_of_folds_of_the_short_round(directions, folds):
    run = Fake()
    along(directions, n=100, run=run).winners(BASE, NOTHING, effort(), 1.0)
    whole = BASE.stopping.work_units
    short = [settings for settings, _ in run.calls if settings.stopping.work_units < whole]
    assert len(short) == 5 * folds


class Along(Fake):
    """Trainings whose scores with derivatives fall as those of values grow."""

    def __call__(self, tasks):
        for number, result in super().__call__(tasks):
            settings = tasks[number].arguments["settings"]
            score = 1e-3 / settings.regularisation.alpha1
            result.used = object()
            result.history = [SimpleNamespace(validation_score=k * score) for k in (2, 1, 3)]
            yield number, result


def test_derivatives_of_held_out_samples_rank_networks():
    run = Along()
    base = replaced(BASE, {"network.kind": "mlp", "network.width": 16})
    given = frozenset({"network.kind", "network.width"})
    found = along(3.0, run=run).winners(base, given, effort(candidates=10), 1.0)
    assert names(found) == ["mlp 16, alpha1 1e-02"]  # by values it is the worst
    # What is hopeless is by values: kernels have no score with derivatives.
    of = along(3.0, run=Along())
    assert of.winners(base, given, effort(candidates=10), (1e-2 / 2.1) ** 2) == []
    assert of.winners(base, given, effort(candidates=10), (1e-2 / 1.9) ** 2) != []
