"""Plans: how many samples an error takes, on functions whose curve is measured otherwise too."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from planned import RBF, rough

from surrogates.data import Split
from surrogates.data.from_arrays import from_arrays
from surrogates.errors import InputError
from surrogates.training.planning import measure
from surrogates.training.planning.errors import drawn, resampled, spreads, total, values
from surrogates.training.planning.plan import plan


@pytest.fixture(scope="module")
def found():
    return plan(rough(100), 0.004, config=RBF, processes=1)


def true_error(n: int, seeds: range) -> float:
    """Return the mean relative error on new samples of kernels found on n samples."""
    test, logs = rough(500, seed=99), []
    for seed in seeds:
        data = rough(n + 500, seed=seed)
        C = np.concatenate([data.C[:n], test.C])
        Y = np.concatenate([data.Y[:n], test.Y])
        both = dataclasses.replace(data, Y=Y, C=C)
        fold = measure.Fold(train=np.arange(n), held=np.arange(n, n + 500))
        from surrogates.training.selection.kernel import Fit, Form

        form = Form(kernel="matern52", degree=0)
        start = Fit(form=form, scales=torch.full((3,), 0.3, dtype=torch.float64), nugget=1e-6)
        residual = measure.by_kernel(both, start, fold)
        logs.append(np.log(values("relative", residual, test.C, spreads(test.C)).mean()))
    return float(np.exp(np.mean(logs)))


def test_the_interval_holds_the_number_that_turns_out_to_be_needed():
    target = true_error(150, range(1, 5))
    low, middle, high = plan(rough(100), target, config=RBF, processes=1).samples
    assert low < 150 < high
    assert 100 < middle < 220


def test_points_are_errors_of_trainings_on_nested_subsets(found):
    assert found.n == 100 and found.curve.n[-1] == 80
    assert found.curve.errors[-1] == pytest.approx(true_error(80, range(1, 5)), rel=0.25)
    assert (np.diff(found.curve.errors) < 0).all()


def test_a_target_that_is_met_says_so(found):
    assert found.answer in ("needed", "too far")
    met = plan(rough(100), 0.5, config=RBF, processes=1)
    assert met.answer == "met" and "reached with the 100 samples" in str(met)
    assert met.cost.core_hours == (0, 0, 0)


def test_noise_is_a_floor_and_no_slope():
    noisy = plan(rough(160, noise=0.3), 0.01, config={**RBF, "network.trend": 0}, processes=1)
    assert noisy.answer == "not reachable" or noisy.samples[0] > 5 * noisy.n
    assert noisy.curve.floors()[2] > 0.05
    assert "not reachable, " in str(noisy) or "the error hardly falls" in str(noisy)


def test_cost_and_break_even_follow_from_the_solver_times():
    found = plan(rough(200), 0.003, config=RBF, processes=1)
    assert found.answer == "needed"
    cost = found.cost
    assert cost.solve == pytest.approx(2.0)
    for m, hours, calls in zip(found.samples, cost.core_hours, cost.calls, strict=True):
        assert hours == pytest.approx(max(0, m - 200) * 2 / 3600)
        assert calls == pytest.approx((max(m, 200) * 2 + cost.training) / 2)
    dear = plan(rough(200, seconds=20.0), 0.003, config=RBF, processes=1).cost
    assert dear.core_hours == pytest.approx([10 * h for h in cost.core_hours])
    assert plan(rough(200, seconds=0.0), 0.003, config=RBF, processes=1).cost is None


def test_failed_solves_are_paid_for_and_shared_solves_counted_by_ranks():
    data = rough(120)
    status = data.status.copy()
    status[:20] = 2
    C = data.C.copy()
    C[:20] = np.nan
    info = dataclasses.replace(data.info, command="surrogates generate x --ranks-per-sample 4")
    failed = dataclasses.replace(data, status=status, C=C, info=info)
    found = plan(failed, 0.05, config=RBF, processes=1)
    assert found.n == found.of == 100 and found.cost.ranks == 4
    assert found.cost.solve == pytest.approx(2.0 * 4 * 120 / 100)


def test_test_samples_are_not_trained_on_but_are_solved_for():
    data = rough(125)
    split = data.split.copy()
    split[::5] = Split.TEST
    found = plan(dataclasses.replace(data, split=split), 0.0045, config=RBF, processes=1)
    assert (found.n, found.of) == (100, 125)
    middle = found.samples[1]
    if found.answer == "needed":
        hours = max(0, middle - 100) * 1.25 * 2 / 3600
        assert found.cost.core_hours[1] == pytest.approx(hours)


def test_plain_values_are_json(found):
    table = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert table["answer"] == found.answer and table["n"] == 100
    assert table["curve"]["errors"] == pytest.approx(found.curve.errors.tolist())


def test_a_plan_depends_on_the_seed_alone(found):
    again = plan(rough(100), 0.004, config=RBF, processes=1)
    assert again.samples == found.samples
    other = plan(rough(100), 0.004, config=RBF, processes=1, seed=3)
    assert other.samples != found.samples


def test_one_network_is_planned_by_effort_fast():
    config = {"network.width": 4, "stopping.work_units": 120}
    found = plan(rough(80), 0.02, config=config, effort="fast", processes=1)
    assert found.candidates == ("ode 4, alpha1 1e-06 (100%)",)
    assert found.effects[0].change == "a network of width 6 instead of 4"
    low, middle, high = found.effects[0].factor
    assert 0 < low < middle < high


def test_derivatives_are_compared_with_values_alone():
    generator = np.random.default_rng(2)
    Y = generator.random((60, 2))
    C = 2 + np.sin(4 * Y @ [[1.0, 0.5], [0.7, 1.0]])
    J = (4 * np.cos(4 * Y @ [[1.0, 0.5], [0.7, 1.0]]))[:, :, None] * [[1.0, 0.7], [0.5, 1.0]]
    data = from_arrays(Y, C, dC_dY=J, split="1/0/0")
    config = {"network.width": 6, "stopping.work_units": 200}
    found = plan(data, 0.02, config=config, effort="fast", processes=1)
    effects = {one.change: one.factor for one in found.effects}
    assert effects["the values alone, without derivatives"][1] > 1.5
    assert not any("no derivatives" in note for note in found.notes)


def test_a_choice_weighs_kernels_ridges_and_a_network():
    config = {"network.width": 4, "stopping.work_units": 60}
    found = plan(rough(60), 0.02, config=config, processes=1)
    assert "rbf" in " ".join(found.candidates)


def test_measures_are_those_of_an_evaluation():
    from surrogates.model.metrics import compared

    generator = np.random.default_rng(0)
    C, residual = 2 + generator.random((50, 4)), 0.1 * generator.normal(size=(50, 4))
    spread = spreads(C)
    tensors = [torch.from_numpy(one) for one in (C + residual, C, C.mean(axis=0), spread)]
    told = compared(tensors[0], tensors[1], mean=tensors[2], spread=tensors[3])
    expected = {
        "relative": told.relative.mean,
        "spread": np.sqrt(np.square(told.output_spread).mean()),
        "worst": max(told.output_spread),
    }
    for name, value in expected.items():
        part = values(name, residual, C, spread)
        assert float(total(name, part.mean(axis=0))) == pytest.approx(value, rel=1e-12)
        draws = resampled(name, [part, 4 * part])
        assert draws[:, 0].std() > 0
        factor = 4 if name == "relative" else 2
        assert draws[:, 1] == pytest.approx(factor * draws[:, 0])


def test_the_deviation_by_draws_is_told_from_that_by_held_out_samples():
    generator, found = np.random.default_rng(1), {}
    for true in (0.0, 0.2):
        own = []
        for _ in range(20):
            shared = generator.exponential(size=(5, 40))  # one sample is hard for all trainings
            noise = np.exp(0.4 * generator.normal(size=(5, 5, 40)))
            draws = np.exp(true * generator.normal(size=(5, 5)))
            parts = [
                [(draws[k, f] * shared[f] * noise[k, f])[:, None] for f in range(5)]
                for k in range(5)
            ]
            own.append(drawn("relative", parts))
        found[true] = float(np.sqrt(np.square(own).mean()))
    assert found[0.0] < 0.06 and found[0.2] == pytest.approx(0.2, rel=0.2)


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        ({}, {"target": 0.0}, "positive error"),
        ({}, {"target": math.nan}, "positive error"),
        ({}, {"measure": "mean"}, "unknown measure"),
        ({"n": 30}, {}, "at least 40 samples.*got 30"),
    ],
)
def test_what_cannot_be_planned_is_refused(change, arguments, said):
    data = rough(change.get("n", 60))
    with pytest.raises(InputError, match=said):
        plan(data, **{"target": 0.01, "config": RBF, "processes": 1, **arguments})


def test_classes_and_masked_data_are_refused():
    data = rough(60)
    for change, said in (
        ({"task": "classification"}, "regressions"),
        ({"missing": "mask"}, "masked"),
    ):
        other = dataclasses.replace(data, info=dataclasses.replace(data.info, **change))
        with pytest.raises(InputError, match=said):
            plan(other, 0.01)
