"""A plan in words, and as plain values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .errors import WORDS

FARTHEST = 100
"""Multiple of the samples beyond which an error is not reachable."""

if TYPE_CHECKING:
    from .plan import Cost, Plan


def answer(plan: Plan) -> str:
    """Return the answer in one line."""
    low, middle, high = plan.samples
    goal = f"{WORDS[plan.measure]} {_share(plan.target)}"
    if plan.answer == "met":
        return f"{goal}: reached with the {plan.n} samples that are there"
    if plan.answer == "needed":
        return f"{goal}: {_count(middle)} samples (90 %: {_count(low)} to {_count(high)})"
    if plan.answer == "not reachable":
        below, floor, above = plan.curve.floors()
        if below > 0:
            left = f"the floor is {_share(floor)} (90 %: {_share(below)} to {_share(above)})"
        else:
            left = f"{FARTHEST} times the samples leave {_share(plan.left[1])}"
        return f"{goal}: not reachable, {left}"
    near = middle < FARTHEST * plan.n
    perhaps = f"perhaps {_count(middle)}, but " if near else "the error hardly falls, "
    return f"{goal}: more than {_count(low)} samples; {perhaps}too far to tell"


def lines(plan: Plan) -> list[str]:
    """Return a plan in lines."""
    low, middle, high = plan.error
    found = [
        answer(plan),
        f"samples there:    {plan.n} for training and validation, of {plan.of} in the file",
        f"error with these: {_share(middle)} (90 %: {_share(low)} to {_share(high)})",
    ]
    slope, floor = plan.curve.slopes(), plan.curve.floors()
    text = f"falls as n^-{slope[1]:.2f} ({slope[0]:.2f} to {slope[2]:.2f})"
    bound = f"below {_share(floor[2])}" if floor[0] == 0 else f"{_share(floor[1])}"
    found += [
        f"learning curve:   {text}, floor {bound}",
        f"measured:         {_points(plan)}",
        f"candidates:       {', '.join(plan.candidates)}",
    ]
    if plan.answer == "needed":
        more = [max(0, math.ceil(m) - plan.n) for m in plan.samples]
        whole = math.ceil(math.ceil(plan.samples[1]) * plan.of / plan.n)
        found.append(
            f"to come:          {more[1]} ({more[0]} to {more[2]}) more samples; with the file's "
            f"split, generate --samples {whole}"
        )
    if plan.cost is not None:
        found += _costs(plan, plan.cost)
    found += [
        f"change:           {e.change}, at {e.samples} samples: error times {e.factor[1]:.2f} "
        f"({e.factor[0]:.2f} to {e.factor[2]:.2f})"
        for e in plan.effects
    ]
    return [*found, *(f"note:             {note}" for note in plan.notes)]


def _points(plan: Plan) -> str:
    pairs = zip(plan.curve.n, plan.curve.errors, strict=True)
    return ", ".join(f"{_share(error)} at {n:.0f}" for n, error in pairs)


def _costs(plan: Plan, cost: Cost) -> list[str]:
    ranks = f" on {cost.ranks} ranks" if cost.ranks > 1 else ""
    found = [f"a solve:          {cost.solve:.3g} core-seconds{ranks}"]
    if plan.answer == "needed":
        found.append(f"core-hours:       {_three(cost.core_hours)} for the samples to come")
    if not math.isfinite(cost.calls[1]):
        slower = cost.call is not None and cost.call >= cost.solve
        why = "a call costs as much as a solve" if slower else "the number of samples is unknown"
        return [*found, f"break-even:       unknown: {why}"]
    call = "a call's time not counted" if cost.call is None else f"{cost.call * 1e6:.0f} us a call"
    return [
        *found,
        f"break-even:       after {_three(cost.calls)} calls ({cost.training:.0f} core-seconds of "
        f"training, {call})",
    ]


def _three(values: Sequence[float]) -> str:
    low, middle, high = (f"{v:.0f}" if v >= 1000 else f"{v:.3g}" for v in values)
    return f"{middle} ({low} to {high})"


def _share(value: float) -> str:
    return f"{100 * value:.3g} %"


def _count(value: float) -> str:
    return "infinitely many" if math.isinf(value) else str(math.ceil(value))


def plain(plan: Plan) -> dict[str, Any]:
    """Return plain values, for JSON; an infinite one is None."""
    curve = plan.curve
    found = {
        one.name: getattr(plan, one.name) for one in dataclasses.fields(plan) if one.name != "curve"
    }
    found["curve"] = {
        "n": curve.n.tolist(),
        "errors": curve.errors.tolist(),
        "deviations": curve.deviations.tolist(),
        "scatter": curve.scatter,
        "slope": curve.slopes(),
        "floor": curve.floors(),
    }
    found["text"] = answer(plan)
    cleaned = _clean(found)
    assert isinstance(cleaned, dict)
    return cleaned


def _clean(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _clean(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {key: _clean(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
