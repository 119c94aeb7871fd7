"""The choice by held-out errors: its weights, and what it takes for what data."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from draws import dataset, normal

from surrogates.config import replaced
from surrogates.errors import InputError
from surrogates.training.config import Outputs, Stopping, TrainConfig
from surrogates.training.pool import Interrupted
from surrogates.training.selection import regression_candidates
from surrogates.training.selection.bars import _shape, features_of
from surrogates.training.selection.effort import Terms
from surrogates.training.selection.regression import choose
from surrogates.training.selection.stacking import _ALIKE, _LEFT_OUT, _by_output, chosen, stacked

QUICK = TrainConfig(stopping=Stopping(work_units=150), outputs=Outputs(scaling="column"))
GRID = 200


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    """Let contests be of two small networks, for the tests' time."""
    settings = [("mlp", 1e-3), ("ode", 1e-6)]
    small = tuple(
        {"network.kind": name, "network.width": 4, "regularisation.alpha1": alpha}
        for name, alpha in settings
    )
    monkeypatch.setattr("surrogates.training.selection.squares.NETWORKS", small)


def smooth(n=40, n_in=2, noise=0.0, seed=0):
    """Samples of two smooth functions, a fifth of them for validation."""
    Y = normal(n, n_in, seed=seed).numpy()
    s = Y.sum(axis=1)
    C = np.stack([np.sin(s) + Y[:, 0] ** 2 / 4, np.cos(Y[:, 0] - 0.5)], axis=1)
    return dataset(Y, C + noise * normal(n, 2, seed=seed + 1).numpy(), "0.8/0.2/0")


def quick(data, settings=QUICK, **others):
    return choose(data, Terms(settings=settings, **{"processes": 1, **others}))


def predicted(selection, Y):
    weights = [member.weight for member in selection.members]
    assert sum(weights) == pytest.approx(1, abs=1e-12)
    Y = torch.as_tensor(Y)
    return sum(w * m.predict(Y) for w, m in zip(weights, selection.members, strict=True))


def simplex(k):
    """Weights >= 0 and of sum one, on a grid."""
    for rest in itertools.product(range(GRID + 1), repeat=k - 1):
        if sum(rest) <= GRID:
            yield np.array([*rest, GRID - sum(rest)]) / GRID


def misfit(residuals, weights):
    mean = sum(float(w) * r for w, r in zip(weights, residuals, strict=True))
    return float(mean.square().sum())


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [1.0, 1e-9])
def test_weights_are_the_best_of_a_grid(k, seed, size):
    shared = normal(20, 2, seed=seed)
    residuals = [
        size * (shared + (0.5 + j) * normal(20, 2, seed=10 * seed + j + 1)) for j in range(k)
    ]
    found = stacked(residuals)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1, abs=1e-12)
    assert bool(((found == 0) | (found >= _LEFT_OUT)).all())
    flat = torch.stack([residual.reshape(-1) for residual in residuals])
    gram = (flat @ flat.T / size**2).numpy()
    best = min(
        (w for w in simplex(k) if ((w == 0) | (w >= _LEFT_OUT)).all()), key=lambda w: w @ gram @ w
    )
    assert found @ gram @ found <= best @ gram @ best * (1 + 1e-3)


def test_two_that_are_independent_are_weighed_by_their_variances():
    first = torch.tensor([[1.0], [0.0]]).double()
    second = torch.tensor([[0.0], [2.0]]).double()
    np.testing.assert_allclose(stacked([first, second]), [0.8, 0.2], rtol=1e-6)


def test_one_candidate_has_all_weight():
    assert stacked([normal(5, 2, seed=0)]).tolist() == [1.0]


def test_a_duplicate_changes_nothing():
    first, second = normal(20, 2, seed=0), normal(20, 2, seed=1)
    pair = stacked([first, second])
    three = stacked([first, second, first.clone()])
    assert three.min() >= 0 and three.sum() == pytest.approx(1, abs=1e-12)
    assert three[0] + three[2] == pytest.approx(pair[0], abs=1e-4)


def test_many_duplicates_do_not_break():
    found = stacked([normal(20, 2, seed=0)] * 12)
    assert found.min() >= 0 and found.sum() == pytest.approx(1, abs=1e-12)


def test_residuals_of_zero_do_not_break():
    zero = torch.zeros(6, 1).double()
    found = stacked([zero, zero])
    assert found.min() >= 0 and found.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(stacked([zero, zero + 1]), [1, 0], atol=1e-6)


def test_tiny_errors_beside_a_large_one_are_told_apart():
    # Exact data: one member is wrong by rounding, one by a little, one by all.
    tiny, small, large = (
        1e-9 * normal(20, 1, seed=0),
        5e-8 * normal(20, 1, seed=1),
        normal(20, 1, seed=2),
    )
    assert stacked([tiny, small, large]).tolist() == [1, 0, 0]


def test_small_weights_are_dropped():
    first = torch.tensor([[1.0], [0.0]]).double()
    second = torch.tensor([[0.0], [7.0]]).double()  # the best weights are 0.98 and 0.02
    assert stacked([first, second]).tolist() == [1, 0]


def unlike(n=60, n_out=2, seed=0):
    """Residuals of two candidates, of which each is the better one for half of the outputs."""
    sizes = [torch.tensor([1.0 if (j + k) % 2 else 0.1 for j in range(n_out)]) for k in range(2)]
    return [size.double() * normal(n, n_out, seed=seed + k) for k, size in enumerate(sizes)]


def test_unlike_outputs_have_weights_of_their_own():
    found = chosen(unlike(n_out=4))
    assert found.shape == (2, 4)
    assert found.sum(axis=0) == pytest.approx(np.ones(4), abs=1e-12)
    np.testing.assert_allclose(found[1, ::2], 0, atol=0.05)
    np.testing.assert_allclose(found[0, 1::2], 0, atol=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_outputs_that_are_alike_keep_common_weights(seed):
    shared = normal(60, 1, seed=seed)
    mixing = normal(1, 30, seed=seed + 50)
    alike = [
        shared @ mixing * a + 0.01 * normal(60, 30, seed=seed + i) for i, a in ((1, 1), (2, 2))
    ]
    found = chosen(alike)
    assert found.shape == (2, 1)
    mean = stacked(alike)
    assert found[:, 0].tolist() in ([1.0, 0.0], mean.tolist())


def test_weights_by_output_are_those_of_a_grid_for_the_drawn_covariance():
    residuals = torch.stack([*unlike(), 0.5 * normal(60, 2, seed=9)]).numpy()
    gram = np.einsum("anj,bnj->jab", residuals, residuals)
    whole = gram.sum(axis=0)
    for nu in (10.0, 300.0):
        found = _by_output(gram, 60, nu)
        for j in range(2):
            size = gram[j].diagonal().min() / whole.diagonal().min()
            drawn = gram[j] + nu / 60 * size * whole
            best = min(
                (w for w in simplex(3) if ((w == 0) | (w >= _LEFT_OUT)).all()),
                key=lambda w, drawn=drawn: w @ drawn @ w,
            )
            if best @ drawn @ best < 0.95**2 * drawn.diagonal().min():
                w = found[:, j]
                assert w @ drawn @ w == pytest.approx(best @ drawn @ best, rel=1e-3)
            else:
                assert found[:, j].tolist() == np.eye(3)[drawn.diagonal().argmin()].tolist()


def test_weights_by_output_do_not_depend_on_units_of_an_output_that_are_common():
    residuals = unlike()
    np.testing.assert_allclose(
        chosen([1e-9 * one for one in residuals]), chosen(residuals), rtol=1e-6, atol=1e-9
    )


def test_weights_by_output_are_better_where_outputs_differ_and_not_worse_where_they_do_not():
    gains = []
    for seed in range(20):
        for factor in (1.0, 4.0):  # alike, unlike
            sizes = [
                torch.tensor([1.0, 1.2, 1.0]).double(),
                torch.tensor([1.0, 1.2, factor]).double(),
            ]
            held, fresh = (
                [s * normal(n, 3, seed=100 * seed + 10 * (n > 50) + k) for k, s in enumerate(sizes)]
                for n in (30, 2000)
            )
            own, common = chosen(held), np.repeat(stacked(held)[:, None], 3, axis=1)
            errors = [
                sum(torch.from_numpy(w) * r for w, r in zip(weights, fresh, strict=True))
                .square()
                .mean(dim=0)
                for weights in (own, common)
            ]
            gains.append(float((errors[0] / errors[1]).log().mean()))
    alike, differ = np.array(gains).reshape(-1, 2).T
    assert alike.mean() < 0.02
    assert differ.mean() < -0.1


def test_constant_outputs_and_few_residuals_do_not_break():
    residuals = [torch.cat([one, 0 * one[:, :1]], dim=1) for one in unlike()]
    found = chosen(residuals)
    assert found.shape == (2, 3) and np.isfinite(found).all()
    assert chosen([one[:10] for one in residuals]).shape == (2, 1)
    assert min(_ALIKE) > 0


def test_a_smooth_function_is_given_to_the_kernel():
    data = smooth()
    selection = quick(data)
    best = selection.tried[0]
    assert best.name.startswith("rbf") and best.weight > 0.5
    assert [one.error for one in selection.tried] == sorted(one.error for one in selection.tried)
    assert any(one.name.startswith("mlp") for one in selection.tried) or best.error < 0.01
    fresh = smooth(seed=7)
    error = (predicted(selection, fresh.Y) - torch.from_numpy(fresh.C)).square().mean().sqrt()
    ridge = next(one for one in selection.tried if one.name == "linear ridge")
    assert float(error) < 0.5 * ridge.error


def test_held_out_residuals_are_of_the_size_of_those_on_new_samples():
    data = smooth(n=60, noise=0.2)
    settings = replaced(QUICK, {"network.kind": "rbf"})
    selection = quick(data, settings, given=frozenset({"network.kind"}))
    fresh = smooth(n=500, noise=0.2, seed=7)
    error = (predicted(selection, fresh.Y) - torch.from_numpy(fresh.C)).square().mean().sqrt()
    held = selection.residual.square().mean().sqrt()
    assert 0.6 < float(error / held) < 1.6
    assert sorted(selection.rows) == list(range(60))


@pytest.mark.parametrize("network", ["rbf", pytest.param("mlp", marks=pytest.mark.thorough)])
def test_held_out_residuals_are_of_that_size_where_samples_are_repeated(network):
    once = smooth(n=24)
    data = dataset(*(np.repeat(values, 3, axis=0) for values in (once.Y, once.C)), "0.8/0.2/0")
    settings = replaced(QUICK, {"network.kind": network})
    selection = quick(data, settings, given=frozenset({"network.kind"}))
    fresh = smooth(n=500, seed=7)
    error = (predicted(selection, fresh.Y) - torch.from_numpy(fresh.C)).square().mean().sqrt()
    held = selection.residual.square().mean().sqrt()
    assert 0.3 < float(error / held) < 3


@pytest.mark.thorough
def test_held_out_residuals_are_of_that_size_where_a_trend_takes_half_of_the_samples():
    def curved(n, seed):
        Y = np.random.default_rng(seed).uniform(-1, 1, (n, 8))
        C = np.exp(Y @ np.linspace(0.1, 1, 8)) * np.cos(Y[:, 0])
        return dataset(Y, C[:, None], "0.8/0.2/0")

    settings = replaced(
        QUICK, {"network.kind": "rbf", "network.kernel": "gaussian", "network.trend": 2}
    )
    ratios = []
    for seed in range(4):
        given = frozenset({"network.kind", "network.kernel", "network.trend"})
        selection = quick(curved(92, seed), settings, given=given)
        fresh = curved(1000, 50 + seed)
        error = predicted(selection, fresh.Y) - torch.from_numpy(fresh.C)
        ratios.append(float(error.abs().median() / selection.residual.abs().median()))
    assert 0.7 < np.exp(np.mean(np.log(ratios))) < 1.6


@pytest.mark.parametrize("n", [12, 40])
def test_linear_data_are_predicted_to_rounding(n):
    Y = 50 + normal(n, 3, seed=0).numpy() * [1e-3, 1, 1e3]
    slopes = normal(3, 2, seed=1).numpy() / np.array([[1e-3], [1], [1e3]])
    data = dataset(Y, Y @ slopes - 7, "0.8/0.2/0")
    selection = quick(data, replaced(QUICK, {"network.kernel": "gaussian"}))
    fresh = 50 + normal(30, 3, seed=5).numpy() * [1e-3, 1, 1e3]
    error = predicted(selection, fresh).numpy() - (fresh @ slopes - 7)
    assert np.abs(error / data.C.std(axis=0)).max() < 1e-8


def test_a_kernel_s_error_grows_where_it_may_be_a_member_and_elsewhere_costs_nothing(monkeypatch):
    settings = replaced(
        QUICK, {"network.kind": "rbf", "network.kernel": "gaussian", "network.trend": 0}
    )
    given = frozenset({"network.kind", "network.kernel", "network.trend"})

    def told(growth):
        monkeypatch.setattr(regression_candidates, "_growth", lambda *arguments: growth)
        return quick(smooth(), settings, given=given).tried[0].error

    assert told(2.5) == pytest.approx(2.5 * told(1.0), rel=1e-12)
    monkeypatch.delattr(regression_candidates, "_growth")
    Y = normal(40, 3, seed=0).numpy()
    data = dataset(Y, Y[:, :1] * Y[:, 1:], "0.8/0.2/0")  # the quadratic ridge is exact
    found = quick(data, replaced(QUICK, {"network.kernel": "gaussian", "network.trend": 0}))
    assert [one.name.split()[0] for one in found.tried[:1]] == ["quadratic"]
    assert any(one.name.startswith("rbf") and one.error > 0 for one in found.tried)


def test_a_network_that_is_given_is_the_only_kind():
    settings = replaced(
        QUICK, {"network.kind": "mlp", "network.width": 6, "stopping.work_units": 60}
    )
    selection = quick(smooth(n=30), settings, given=frozenset({"network.kind", "network.width"}))
    assert selection.tried
    assert all(one.name.startswith("mlp 6") for one in selection.tried)
    assert selection.kriging is None
    assert selection.variance is None
    assert len(selection.members) % 5 == 0  # means over the folds
    assert selection.history
    shares = [m.weight for m in selection.members if m.group == 0]
    assert shares == [shares[0]] * 5


def test_radial_functions_that_are_given_are_the_only_kind():
    settings = replaced(QUICK, {"network.kind": "rbf"})
    selection = quick(smooth(), settings, given=frozenset({"network.kind"}))
    assert all(one.name.startswith("rbf") for one in selection.tried)
    assert selection.history == ()


def ishigami(n, seed):
    Y = np.random.default_rng(seed).uniform(-np.pi, np.pi, (n, 3))
    a, b, c = np.sin(Y[:, 0]), np.sin(Y[:, 1]), Y[:, 2] ** 4
    return dataset(Y, (a + 7 * b**2 + 0.1 * c * a)[:, None], "0.8/0.2/0")


def test_a_sum_of_functions_of_few_inputs_is_learned_as_such():
    """Far better than by distances, to which all inputs are one: there the error is above 0.4."""
    settings = replaced(QUICK, {"network.kind": "rbf"})
    selection = quick(ishigami(80, 0), settings, given=frozenset({"network.kind"}))
    fresh = ishigami(1000, 1)
    error = predicted(selection, fresh.Y) - torch.from_numpy(fresh.C)
    assert float(error.square().mean().sqrt()) < 0.2 * fresh.C.std()
    names = [one.name for one in selection.tried]
    assert names[0].startswith("rbf anova") and not names[1].startswith("rbf anova")
    assert selection.tried[1].error > 2 * selection.tried[0].error


@pytest.mark.parametrize("trend", [None, 1])
def test_outputs_of_different_inputs_have_scales_of_their_own(trend):
    def local(n, seed):
        Y = normal(n, 6, seed=seed).numpy()
        pairs = [(0, 1), (2, 3), (4, 5)]
        waves = [np.sin(1.2 * Y[:, i] + 0.6 * Y[:, j]) for i, j in pairs]
        return dataset(Y, np.stack(waves, axis=1), "0.8/0.2/0")

    settings = replaced(
        QUICK, {"network.kind": "rbf", "network.kernel": "gaussian", "network.trend": trend}
    )
    given = frozenset({"network.kind", "network.kernel", "network.trend"})
    selection = quick(local(60, 0), settings, given=given)
    assert selection.tried[0].name.endswith("scales by output")
    shared = min(one.error for one in selection.tried if "scales by" not in one.name)
    assert selection.tried[0].error < 0.5 * shared
    fresh = local(1000, 1)
    error = predicted(selection, fresh.Y) - torch.from_numpy(fresh.C)
    assert float(error.square().mean().sqrt()) < 1.5 * selection.tried[0].error
    # The shape of the error bars is the variance of the kernel of all outputs.
    shape, _ = _shape(selection, torch.from_numpy(fresh.Y), torch.from_numpy(local(60, 0).Y))
    (member,), shared = selection.members, selection.kriging
    X = (torch.from_numpy(fresh.Y) - member.y_shift) / member.y_scale
    k, h = shared.fit.kappa(X, shared.centres), shared.fit.form.trend(X)
    variance = 1 + shared.fit.nugget - (k @ shared.negative.T).square().sum(dim=1)
    variance += (torch.cat([k, h], dim=1) @ shared.positive.T).square().sum(dim=1)
    found = shape.at(features_of(selection, torch.from_numpy(fresh.Y)))
    torch.testing.assert_close(found, variance, rtol=1e-6, atol=1e-9)


def test_products_of_too_many_inputs_are_one_clear_line():
    data = smooth(n=50, n_in=21)
    settings = replaced(QUICK, {"network.kind": "rbf", "network.kernel": "anova_gaussian"})
    with pytest.raises(InputError, match="kernel 'anova_gaussian' takes at most 20 inputs; got 21"):
        quick(data, settings, given=frozenset({"network.kind", "network.kernel"}))
    settings = replaced(QUICK, {"network.kind": "rbf"})
    selection = quick(data, settings, given=frozenset({"network.kind"}))
    assert all("anova" not in one.name for one in selection.tried)


def test_a_kernel_and_a_trend_that_are_set_are_kept():
    settings = replaced(
        QUICK, {"network.kind": "rbf", "network.kernel": "matern52", "network.trend": 1}
    )
    selection = quick(smooth(), settings, given=frozenset({"network.kind"}))
    names = {one.name for one in selection.tried}
    assert names == {"rbf matern52, linear trend", "rbf matern52, linear trend, scales by output"}


@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_few_samples_do(n):
    Y = normal(n, 2, seed=0).numpy()
    data = dataset(Y, np.sin(Y), f"{n - 1}/1/0")
    selection = quick(data)
    assert bool(torch.isfinite(predicted(selection, Y)).all())
    assert bool(torch.isfinite(selection.residual).all())
    assert sorted(selection.rows) == list(range(n))


def test_fewer_than_three_samples_are_refused():
    data = dataset(normal(2, 1, seed=0).numpy(), normal(2, 1, seed=1).numpy(), "1/1/0")
    with pytest.raises(InputError, match="at least 3 samples for training and validation; got 2"):
        quick(data)


def test_a_network_that_is_given_needs_samples():
    settings = replaced(QUICK, {"network.kind": "mlp"})
    with pytest.raises(InputError, match="no candidate"):
        quick(smooth(n=10), settings, given=frozenset({"network.kind"}))


def test_a_trend_of_more_terms_than_samples_is_refused():
    settings = replaced(QUICK, {"network.kind": "rbf", "network.trend": 2})
    with pytest.raises(InputError, match="too few for a trend of degree 2"):
        quick(smooth(n=12, n_in=4), settings, given=frozenset({"network.kind"}))


def test_test_samples_are_not_looked_at():
    data = smooth(n=50)
    split = data.split.copy()
    split[::5] = 2
    changed = data.C.copy()
    changed[::5] = np.nan
    settings = replaced(QUICK, {"network.kind": "rbf", "network.kernel": "gaussian"})
    selections = [
        quick(
            dataclasses.replace(data, C=C, split=split), settings, given=frozenset({"network.kind"})
        )
        for C in (data.C, changed)
    ]
    first, second = (predicted(selection, data.Y) for selection in selections)
    assert torch.equal(first, second)
    assert not set(range(0, 50, 5)) & set(selections[0].train.tolist())


def test_validation_samples_are_the_fold_of_many_samples(monkeypatch):
    monkeypatch.setattr("surrogates.training.selection.frame.FOLDED", 30)
    data = smooth(n=60)
    held = data.rows_of("validation")
    settings = replaced(QUICK, {"network.kind": "rbf"})
    selection = quick(data, settings, given=frozenset({"network.kind"}))
    assert sorted(selection.rows) == sorted(held)
    assert not set(held.tolist()) & set(selection.train.tolist())
    found = predicted(selection, data.Y[selection.rows]).numpy() - data.C[selection.rows]
    np.testing.assert_allclose(selection.residual, found, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("network", [pytest.param("rbf", marks=pytest.mark.thorough), "mlp"])
def test_the_result_does_not_depend_on_the_number_of_processes(network):
    data = smooth(n=24, noise=0.5)
    shape = {
        "network.kind": network,
        "network.width": 4,
        "network.kernel": "matern52",
        "network.trend": 1,
    }
    settings = replaced(QUICK, {"stopping.work_units": 60, **shape})
    given = frozenset({"network.kind", "network.width", "regularisation.alpha1"})
    one, two = (quick(data, settings, given=given, processes=k) for k in (1, 2))
    # To rounding: sums of arrays that lie elsewhere in memory may be taken in another order.
    assert [tried.name for tried in one.tried] == [tried.name for tried in two.tried]
    for a, b in zip(one.tried, two.tried, strict=True):
        assert (a.error, a.weight) == pytest.approx((b.error, b.weight), rel=1e-5)
    torch.testing.assert_close(one.residual, two.residual, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(predicted(one, data.Y), predicted(two, data.Y), rtol=1e-5, atol=1e-5)


def test_progress_is_told_and_stop_is_heard():
    told = []
    settings = replaced(QUICK, {"network.kind": "mlp", "stopping.work_units": 60})
    network = frozenset({"network.kind", "network.width", "regularisation.alpha1"})
    quick(
        smooth(),
        settings,
        given=network,
        on_progress=lambda done, total, note: told.append((done, total)),
    )
    assert told and all(done <= total for done, total in told)
    assert told[-1][0] == told[-1][1]
    with pytest.raises(Interrupted):
        quick(smooth(), settings, given=network, stop=lambda: True)


def test_a_choice_that_is_stopped_is_among_what_was_judged():
    told = []
    whole = quick(smooth())
    part = quick(smooth(), on_progress=lambda *one: told.append(one), stop=lambda: bool(told))
    assert part.interrupted and not whole.interrupted
    errors = {one.name: one.error for one in whole.tried}
    assert {one.name: one.error for one in part.tried}.items() < errors.items()
    assert part.tried[0].error == min(one.error for one in part.tried)
    assert predicted(part, smooth().Y).shape == (40, 2)
