"""Budgets, numbers of samples, and the levels of the looks."""

from __future__ import annotations

import math

import pytest

from surrogates.errors import InputError
from surrogates.learning.asked import Budget
from surrogates.learning.estimate import Estimate
from surrogates.learning.policy import Curve, Look, Policy, left


def look(round: int, n: int, error: float, level: float | None = None, solves: int = 0) -> Look:
    estimate = Estimate(value=error, lower=0.8 * error, upper=1.2 * error, samples=20)
    return Look(round=round, trained=n, solves=solves or n + 20, estimate=estimate, level=level)


def test_budgets_are_solves_or_time_or_both():
    assert Budget.read("2000") == Budget(solves=2000) == Budget.read(2000)
    assert Budget.read("2h") == Budget(hours=2.0)
    assert Budget.read("90min").hours == pytest.approx(1.5)
    assert Budget.read("500, 1.5d") == Budget(solves=500, hours=36.0)
    assert Budget.read(None) == Budget()
    for wrong in ("many", "2.5", "2h,3h", "", "-4", "10 h h"):
        with pytest.raises(InputError, match="cannot read the budget"):
            Budget.read(wrong)
    with pytest.raises(InputError, match="at least 12 solves"):
        Budget.read(3)


def test_the_curve_is_the_power_law_of_exact_errors():
    looks = [look(k, n, 3 * n**-1.5) for k, n in enumerate((20, 40, 80, 160))]
    curve = Curve.of(looks)
    assert 1.35 < curve.slope < 1.5  # a prior of 1 pulls it a little
    assert curve.samples(curve.error(300)) == pytest.approx(300)
    assert curve.samples(3 * 400**-1.5) == pytest.approx(400, rel=0.1)
    flat = Curve.of([look(k, n, 0.05) for k, n in enumerate((20, 80, 320, 1280))])
    assert flat.samples(0.001) > 1e4


def test_levels_of_all_looks_together_are_ten_per_cent():
    policy, looks, spent = Policy(target=0.01, budget=Budget()), [], 0.0
    for k in range(30):
        step = policy.fresh(looks, 100, 0.009, math.inf)
        assert step["level"] is not None
        spent += step["level"]
        looks.append(look(k, 100, 0.009, step["level"]))
    assert 0.09 < spent < 0.1 + 1e-12
    assert looks[0].level == pytest.approx(0.05)


def test_far_from_the_target_a_look_spends_nothing_and_cannot_stop():
    policy = Policy(target=0.01, budget=Budget())
    step = policy.fresh([], 40, 0.3, math.inf)
    assert step == {"kind": "fresh", "samples": 12, "level": None}
    lucky = look(0, 40, 0.001, None)
    assert not lucky.certifies(0.01) and policy.stop([lucky], 0.0, 0.0) == ""
    assert look(0, 40, 0.001, 0.05).certifies(0.01)


def test_a_batch_has_the_samples_that_the_precision_needs():
    policy = Policy(target=0.01, budget=Budget())
    known = [look(0, 200, 0.006), look(1, 300, 0.004)]
    sizes = [policy.fresh(known, n, 1.0, math.inf)["samples"] for n in (170, 250, 500)]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] >= 12
    assert sizes[0] > 12 == policy.fresh(known, 170, 1.0, 12)["samples"]  # the budget's


def test_a_seeming_success_is_measured_again_rather_than_trained_again():
    policy = Policy(target=0.01, budget=Budget())
    first = look(0, 200, 0.007, 0.05)
    step = policy.next([first], math.inf)
    assert step["kind"] == "fresh" and step["level"] == pytest.approx(0.1 / 6)
    assert not step["alone"]
    assert policy.next([look(0, 200, 0.012, 0.05)], math.inf)["kind"] == "design"


def test_samples_that_have_chosen_a_look_do_not_count_in_it():
    """A look that could not end the run was low: a test must not use the same samples."""
    policy = Policy(target=0.01, budget=Budget())
    step = policy.next([look(0, 200, 0.004, None)], math.inf)
    assert step["kind"] == "fresh" and step["alone"] and step["level"] == pytest.approx(0.05)


def test_the_last_surrogate_is_left_unless_it_is_clearly_worse():
    falling = [look(0, 40, 0.05), look(1, 80, 0.02)]
    assert left(falling) is falling[1]
    alike = [look(0, 40, 0.05), look(1, 80, 0.020), look(2, 120, 0.022)]
    assert left(alike) is alike[2]
    failed = [look(0, 40, 0.05), look(1, 80, 0.020), look(2, 120, 0.2)]
    assert left(failed) is failed[1]


def test_projections_are_of_a_curve_with_a_floor():
    policy = Policy(target=0.01, budget=Budget())
    few = policy.projected([look(0, 40, 0.05)])
    assert few.low == few.middle == few.high > 60 and not few.hopeless
    falling = [look(k, n, 2 / n) for k, n in enumerate((20, 40, 80, 120))]
    found = policy.projected(falling)
    assert found.low < 220 < found.high and not found.hopeless
    flat = [look(k, n, 0.05 + 40 / n**2) for k, n in enumerate((20, 40, 80, 160, 320, 640))]
    found = policy.projected(flat)
    assert found.hopeless and found.high == math.inf
    assert policy.stop(flat, 0.0, 0.0) == "floor"
    limited = Policy(target=0.01, budget=Budget(solves=5000))
    assert limited.stop(flat, 0.0, 0.0) == ""  # the budget's to end


def test_a_budget_ends_a_run_and_leaves_samples_for_its_last_look():
    policy = Policy(target=0.01, budget=Budget(solves=100))
    assert policy.first(6, None) == 30 and policy.first(2, None) == 20
    assert policy.first(50, None) == 88  # twelve are left to measure
    step = policy.next([look(0, 80, 0.1, solves=70)], 30)
    assert step == {"kind": "design", "samples": 18}  # of 20, for a half more
    assert policy.stop([look(0, 50, 0.1, solves=70)], 0.0, 0.0) == ""
    assert policy.stop([look(0, 50, 0.1, solves=90)], 0.0, 0.0) == "budget"
    timed = Policy(target=0.01, budget=Budget(hours=1.0))
    assert timed.stop([look(0, 50, 0.1)], 0.8, 0.1) == ""
    assert timed.stop([look(0, 50, 0.1)], 0.8, 0.3) == "budget"
