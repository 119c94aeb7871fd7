"""Variants of the best networks of a contest, and alpha2 of their last W."""

import dataclasses
from operator import attrgetter

import numpy as np
import pytest
import torch
from contests import BASE, NOTHING, Fake, contest, effort, names, never
from draws import dataset, normal

from surrogates.config import replaced
from surrogates.model.networks import with_ones
from surrogates.training.config import Network, Outputs, Regularisation, Stopping, TrainConfig
from surrogates.training.inner.varpro import solve_w
from surrogates.training.selection.contest import SHARE, Contest, trained
from surrogates.training.selection.folds import divided
from surrogates.training.selection.squares import ALPHAS, Squares


class Second(Fake):
    """Trainings whose error is `errors` of their variant, times alpha1."""

    def __init__(self, errors):
        super().__init__()
        self.errors = errors

    def predictor(self, data, settings):
        factor = self.errors[settings.regularisation.alpha2 > 1e-10, settings.network.linear]
        return super().predictor(
            data,
            replaced(settings, {"regularisation.alpha1": settings.regularisation.alpha1 * factor}),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unsolved(Squares):
    """Tries variants, and solves for no W anew."""

    alphas: tuple = ()


ERRORS = {(False, False): 1.0, (True, False): 0.8, (True, True): 0.3, (False, True): 0.7}


def second(run, **others):
    return contest(run=run, judge=Unsolved, **others)


def test_variants_of_the_best_are_tried_after_the_first_round():
    run, told = Second(ERRORS), []
    of = second(run, told=told)
    found = of.winners(BASE, NOTHING, effort(), 1.0)
    assert names(found) == ["ode 8, alpha1 1e-06, alpha2 1e-06, linear part"]
    short = [
        s for s, _ in run.calls if s.stopping.work_units == int(SHARE * BASE.stopping.work_units)
    ]
    assert [(s.network.kind, s.network.width) for s in short[10:]] == [
        ("ode", 8)
    ] * 6  # on two folds each
    tried = {(s.regularisation.alpha2, s.network.linear) for s in short[10:]}
    assert tried == {(1e-6, False), (1e-6, True), (1e-10, True)}
    assert [note for _, _, note in told][10:16] == [", networks, second round"] * 6
    errors = [{**ERRORS, key: 2.0} for key in ERRORS if key != (False, False)]
    for changed in errors:  # the best of them, whichever it is
        (found, *_) = second(Second(changed)).winners(BASE, NOTHING, effort(finalists=1), 1.0)
        alpha2, linear = min(changed, key=changed.get)
        assert ("linear part" in found.name, "alpha2" in found.name) == (linear, alpha2)


def test_of_variants_of_the_best_only_one_is_trained_on_all_folds():
    base = replaced(
        BASE, {"regularisation.alpha1": 0.01}
    )  # the same error for all, but for variants
    run = Second({**ERRORS, (True, False): 0.9, (True, True): 0.8, (False, True): 1.0})
    found = second(run).winners(
        base, frozenset({"regularisation.alpha1"}), effort(finalists=3), 1.0
    )
    assert names(found) == [
        "mlp 16, alpha1 1e-02, alpha2 1e-06, linear part",
        "ode 8, alpha1 1e-02",
        "ode 12, alpha1 1e-02",
    ]
    worse = Second({key: 1.0 + sum(key) for key in ERRORS})
    found = second(worse).winners(
        base, frozenset({"regularisation.alpha1"}), effort(finalists=2), 1.0
    )
    assert names(found) == ["mlp 16, alpha1 1e-02", "ode 8, alpha1 1e-02"]


VARIED = ("regularisation.alpha2", "network.linear")


@pytest.mark.parametrize(("key", "other"), [VARIED, VARIED[::-1]])
def test_what_is_given_has_no_variants(key, other):
    run = Second(ERRORS)
    second(run).winners(BASE, frozenset({key}), effort(), 1.0)
    assert {attrgetter(key)(settings) for settings, _ in run.calls} == {attrgetter(key)(BASE)}
    assert len({attrgetter(other)(settings) for settings, _ in run.calls}) == 2


def test_one_setting_has_variants_too():
    run = Second(ERRORS)
    given = frozenset({"network.kind", "network.width", "regularisation.alpha1"})
    (found,) = second(run).winners(BASE, given, effort(finalists=1), 1e9)
    assert "linear part" in found.name and "alpha2 1e-06" in found.name
    short = [s for s, _ in run.calls if s.stopping.work_units < BASE.stopping.work_units]
    assert len(short) == 2 * 4
    assert len({(s.regularisation.alpha2, s.network.linear) for s in short}) == 4


def test_a_linear_part_takes_samples():
    run = Second(ERRORS)
    second(run, n_in=40).winners(BASE, NOTHING, effort(), 1.0)
    assert not any(settings.network.linear for settings, _ in run.calls)
    assert any(settings.regularisation.alpha2 > 1e-10 for settings, _ in run.calls)


def test_variants_cost_no_more_than_is_asked():
    of = second(never)
    (one,) = of.affordable(
        BASE, frozenset({"network.kind", "network.width", "regularisation.alpha1"}), effort()
    )
    seconds = (SHARE * 2 + len(of.folds)) * of.seconds(replaced(one, {"network.linear": True}))
    for factor, number in ((0.8, 0), (1.01, 1), (1.01 + 2 * SHARE, 3)):
        asked = effort(seconds=factor * seconds)
        assert len(of._variants(one, [one], NOTHING, asked)) == number
    # Beyond three settings, others are tried only if there is room for the variants.
    for budget in (10.0, 15.0, 20.0, 30.0):
        found = of.affordable(BASE, NOTHING, effort(seconds=budget, candidates=10))
        dearest = max(found, key=of.seconds)
        if len(found) > 3:
            assert len(of._variants(dearest, found, NOTHING, effort(seconds=budget))) >= 2


def test_hopeless_networks_have_no_second_round():
    run = Second(ERRORS)
    assert second(run).winners(BASE, NOTHING, effort(), (1e-6 / 2.1) ** 2) == []
    assert len(run.calls) == 5 * 2


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "ode 8, alpha1 1e-06"),
        ({"network.linear": True}, "ode 8, alpha1 1e-06, linear part"),
        ({"regularisation.alpha2": 1e-5}, "ode 8, alpha1 1e-06, alpha2 1e-05"),
    ],
)
def test_alpha2_and_the_linear_part_are_named_where_they_are_no_defaults(changes, name):
    judge = Squares(scale=torch.ones(1).double(), n_seen=1)
    assert judge.name(replaced(BASE, changes)) == name


def noisy(n=60, noise=1.0):
    """Two outputs of sizes 1 and 100, the second of noise alone, and a constant one."""
    Y, e = normal(n, 3, seed=0).numpy(), noise * normal(n, 2, seed=1).numpy()
    C = np.column_stack([np.sin(Y[:, 0]) + e[:, 0], 100 * e[:, 1], np.full(n, 1 / 3)])
    return dataset(Y, C, "1/0/0")


def solved_anew(data, settings, results, folds, judge):
    of = Contest(dataset=data, folds=folds, judge=judge, run=never, on_progress=never)
    return of._solved_anew(settings, results)


@pytest.mark.parametrize("linear", [False, True])
def test_alpha2_of_the_last_w_has_the_least_held_out_error_over_all_folds(linear):
    data = noisy()
    folds = divided(np.arange(60), 3, 0)
    judge = Squares(scale=torch.tensor([1.0, 100.0, 1.0]).double(), n_seen=2)
    settings = TrainConfig(
        network=Network(width=8, linear=linear),
        stopping=Stopping(work_units=120),
        outputs=Outputs(scaling="column"),
    )
    results = [trained(data, settings, fold) for fold in folds]

    def error(results):
        pieces = [judge.held(data, r, f.held) for r, f in zip(results, folds, strict=True)]
        return float(torch.cat(pieces).square().mean())

    chosen, solved = solved_anew(data, settings, results, folds, judge)
    assert (
        settings.regularisation.alpha2 < chosen.regularisation.alpha2 <= 1e-2
    )  # of noise, much is left out
    assert replaced(chosen, {"regularisation.alpha2": settings.regularisation.alpha2}) == settings
    errors = {}
    for alpha2 in ALPHAS:
        others = []
        for result, fold in zip(results, folds, strict=True):
            Y, C = (torch.from_numpy(values[fold.train]) for values in (data.Y, data.C))
            Z = with_ones(result.features((Y - result.y_shift) / result.y_scale))
            shift = C.mean(dim=0)
            W = solve_w(Z.detach(), C - shift, alpha2)
            W[:, -1] += shift
            others.append(dataclasses.replace(result, W=W))
        errors[alpha2] = error(others)
    assert chosen.regularisation.alpha2 == min(errors, key=errors.get)
    assert error(solved) == pytest.approx(min(errors.values()), rel=1e-6)
    assert error(solved) < error(results)
    Y = torch.from_numpy(data.Y)
    for before, after in zip(results, solved, strict=True):
        assert after.features is before.features
        assert (after.predict(Y)[:, 2] == 1 / 3).all()  # a constant stays one


def test_without_noise_w_stays_as_training_found_it():
    data = noisy(noise=0.0)
    data = dataclasses.replace(data, C=data.C[:, :1], info=dataset(data.Y, data.C[:, :1]).info)
    folds = divided(np.arange(60), 3, 0)
    judge = Squares(scale=torch.ones(1).double(), n_seen=1)
    settings = TrainConfig(network=Network(width=8), stopping=Stopping(work_units=300))
    results = [trained(data, settings, fold) for fold in folds]
    chosen, solved = solved_anew(data, settings, results, folds, judge)
    assert chosen.regularisation.alpha2 <= 1e-7
    assert chosen != settings or all(a is b for a, b in zip(solved, results, strict=True))


def test_an_alpha2_that_is_given_is_that_of_the_last_w():
    data = noisy()
    of = Contest(
        dataset=data,
        folds=divided(np.arange(60), 3, 0),
        judge=Squares(scale=torch.tensor([1.0, 100.0, 1.0]).double(), n_seen=2),
        run=lambda tasks: ((i, trained(**task.arguments)) for i, task in enumerate(tasks)),
        on_progress=lambda *arguments: None,
    )
    base = TrainConfig(
        network=Network(width=4, linear=True),
        stopping=Stopping(work_units=60),
        outputs=Outputs(scaling="column"),
        regularisation=Regularisation(alpha2=1e-7),
    )
    given = {"network.kind", "network.width", "regularisation.alpha1", "network.linear"}
    (found,) = of.winners(base, frozenset(given | {"regularisation.alpha2"}), effort(), 1e9)
    assert found.name == "ode 4, alpha1 1e-06, alpha2 1e-07, linear part"
    (other,) = of.winners(base, frozenset(given), effort(finalists=1), 1e9)
    assert other.name == "ode 4, alpha1 1e-06, alpha2 1e-02, linear part"
    rows = [fold.held for fold in of.folds]
    for winner in (found, other):
        for result, held, some in zip(winner.results, winner.held, rows, strict=True):
            assert torch.equal(held, of.judge.held(data, result, some))
