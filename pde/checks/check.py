"""Check a problem at a few random parameters, before it makes thousands of samples.

Each check compares c or its derivatives with something that the problem cannot know: c that is
solved for again, in another order and in another process; c along a curve through the bounds
(`smoothness`); differences of c along random lines (`lines`); tangents with adjoints.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from surrogates.types import Array

from ..derivatives import has
from ..problem import Problem
from ..results import Batch
from .lines import CONDITION, Lines
from .reports import Finding, Report, percent, taylor_table
from .smoothness import NOISE, Smoothness, searched
from .taylor import DOUBT
from .trial import AGREEMENT, Trial, difference, inverse

RESIDUAL = 1e-5
"""Largest relative residual of a solve, as for ``verify``."""

_POINTS = 8  # of the coarse grid on the curve, for each sample
_FUNCTIONALS = 3  # that are compared
_KINK = 0.02  # change of the slope that is worth a word
_FEW = 4  # parameters that a place names

Elsewhere = Callable[[Array], "Array | str"]
"""Solves for Y in another process: returns C, (n, n_c), or a text that says why it cannot."""


def checked(
    problem: Problem,
    *,
    samples: int = 4,
    seed: int = 0,
    elsewhere: Elsewhere | None = None,
    told: Callable[[str], None] = lambda what: None,
) -> Report:
    """Check a problem; collective over its communicator.

    Args:
        problem: The problem.
        samples: Parameters y at which it is checked: the first ones of a design with this seed.
        seed: Seed of the design, and of the lines.
        elsewhere: Solves in another process, to compare; None if that cannot be done.
        told: Called with the name of each check before it begins.

    Returns:
        The report, the same on every process but for times.

    Raises:
        InputError: If an argument is out of range, or `Problem.solve` does not return c.
    """
    return _Check(Trial(problem, samples, seed), elsewhere, told).report()


class _Check:
    """The checks of one problem."""

    def __init__(
        self, trial: Trial, elsewhere: Elsewhere | None, told: Callable[[str], None]
    ) -> None:
        self._trial, self._elsewhere, self._told = trial, elsewhere, told
        self._kind = type(trial.problem)
        self._lines: Lines | None = None

    def report(self) -> Report:
        """Do all checks."""
        trial = self._trial
        findings = self._findings()
        tests = [] if self._lines is None else [*self._lines.tests.values()]
        return Report(
            problem=trial.problem.name,
            samples=len(trial.Y),
            sizes=(trial.Y.shape[1], len(trial.about["c_names"])),
            mesh=trial.problem.mesh,
            findings=tuple(findings),
            table=taylor_table(tests),
        )

    def _findings(self) -> list[Finding]:
        """Do the checks that the earlier ones allow."""
        trial, told, kind = self._trial, self._told, self._kind
        told("solves")
        first = trial.solve(trial.Y)
        start = time.perf_counter()
        again = trial.values(trial.Y)
        seconds = (time.perf_counter() - start) / len(trial.Y)
        found = [_solves(first, seconds)]
        self._done = np.flatnonzero([not text for text in first.failure])
        if not len(self._done):
            return found
        self._C = first.C[self._done]
        # The scale of each c: its spread, or its size if there is one sample.
        self._scale = np.ptp(self._C, axis=0) if len(self._C) > 1 else np.abs(self._C[0])
        told("repeatability")
        found += [self._repeatable(again), _residuals(first, self._done)]
        if found[1].state == "wrong":
            return found
        told("smoothness")
        found.append(self._smooth())
        if not has(kind):
            return found
        told("derivatives")
        found.append(self._slopes())
        if found[-1].state == "wrong" and self._lines is not None and self._lines.reason:
            return found
        if kind.has_adjoints and (kind.has_tangents or kind.has_directions):
            told("adjoints")
            found.append(self._adjoints())
        if kind.has_directions and kind.has_tangents:
            told("directions")
            found.append(self._directions())
        return found

    def _repeatable(self, again: Array) -> Finding:
        """Compare c with solves again, in another order, and in another process."""
        trial = self._trial
        batches = [slice(i, i + trial.size) for i in range(0, len(trial.Y), trial.size)]
        backwards = [trial.values(trial.Y[rows]) for rows in reversed(batches)]
        found = {"again": again, "in another order": np.concatenate(backwards[::-1])}
        apart = None if self._elsewhere is None else self._elsewhere(trial.Y)
        unknown = f"; not in another process: {apart}" if isinstance(apart, str) else ""
        if apart is not None and not isinstance(apart, str):
            found["in another process"] = apart
        name, rounding = "repeatable", ""
        for how, other in found.items():
            C = other[self._done]
            if C.tobytes() == self._C.tobytes():
                continue
            size = difference(C, self._C)
            rounding = f"c differs by {size:.1e} when it is solved for {how}"
            if size > AGREEMENT:
                text = f"{rounding}: it must depend on y and the settings alone"
                return Finding(name, "wrong", text)
        if rounding:
            return Finding(name, "ok", f"{rounding}, which is rounding{unknown}")
        *some, last = found
        return Finding(name, "ok", f"the same bits {', '.join(some)} and {last}{unknown}")

    def _smooth(self) -> Finding:
        """Search c along a curve through the bounds."""
        trial = self._trial
        phases = trial.rng.random(trial.Y.shape[1])
        found = searched(
            lambda t: trial.values(trial.curve(phases, t)),
            _POINTS * max(2, len(trial.Y)),
            tuple(trial.about["c_units"]),
        )
        if found is None:
            return Finding("smooth", "note", "not known: half of the solves on a curve failed")
        return self._told_smooth(found, trial.curve(phases, np.array([found.at]))[0])

    def _told_smooth(self, found: Smoothness, y: Array) -> Finding:
        """Say in words what the search has found at y, (n_y,)."""
        about, name = self._trial.about, "smooth"
        named = [f"{key} = {v:.4g}" for key, v in zip(about["y_names"], y, strict=True)]
        place = ", ".join([*named[:_FEW], *["..."] * (len(named) > _FEW)])
        c, size = about["c_names"][found.output], percent(found.size)
        if found.kind == "kink":
            text = f"not differentiable: the slope of {c} changes at once by {size} at {place}"
            return Finding(name, "wrong" if has(self._kind) else "note", text)
        if found.kind == "jump":
            text = f"not continuous: {c} jumps by {size} of its spread at {place}"
            return Finding(name, "wrong", text)
        noise = np.nanmax([found.noise, found.size if found.kind == "noise" else 0.0])
        if noise > NOISE:
            text = f"c has noise of {noise:.0e} of its spread: let the solver be more precise"
            return Finding(name, "wrong", text)
        # The search may have ended before it could tell small ones.
        hidden = found.kind == "smooth" and found.size > _KINK
        small = f" above {size} of the slope" * hidden
        text = f"no jump or kink{small} along a curve through the bounds"
        text += f"; noise {noise:.0e} of the spread"
        return Finding(name, "note" if noise > 1e-8 else "ok", text)

    def _slopes(self) -> Finding:
        """Test tangents, or adjoints where there are no others, by differences of c."""
        asked: dict[str, Any] = {"tangents": True}
        if not self._kind.has_tangents:
            asked = {"tangents": self._trial.D}
            if not self._kind.has_directions:
                asked = {"adjoints": self._functionals()}
        lines = Lines(self._trial, self._done, asked, self._scale)
        self._lines, name, tests = lines, lines.name, [*lines.tests.values()]
        if lines.reason:
            return Finding(name, "wrong", lines.reason)
        if not tests:
            return Finding(name, "note", "not tested: solves on the lines failed")
        if wrong := lines.fault():
            return Finding(name, "wrong", wrong + lines.located(self._scale))
        certain = max(test.certain for test in tests)
        orders = [test.order for test in tests if np.isfinite(test.order)]
        order = (
            f"Taylor tests of order {np.median(orders):.2f}" if orders else "remainders of rounding"
        )
        many = f"{len(tests)} random lines" if len(tests) > 1 else "a random line"
        text = f"{order} on {many}; error below {certain:.0e}; they take {lines.cost:.2g} solves"
        if certain > DOUBT:
            return Finding(name, "note", f"{text}; noise of c hides smaller errors")
        return Finding(name, "ok", text)

    def _functionals(self) -> Array:
        """Draw functionals of c, (r, n_c), in 1 over the scale of each c."""
        W = self._trial.rng.standard_normal((_FUNCTIONALS, len(self._scale)))
        return np.asarray(W * inverse(self._scale))

    def _adjoints(self) -> Finding:
        """Compare w^T dc/dy by adjoint solves with that by tangents."""
        trial, W = self._trial, self._functionals()
        Y, D = (X[self._done] for X in (trial.Y, trial.D))
        given = trial.solve(Y, adjoints=W)
        text = "w^T dc/dy by adjoints and by tangents"
        if not self._kind.has_tangents:
            there = trial.solve(Y, tangents=D[:, None])
            assert there.dC_dV is not None and given.dW_dY is not None
            pair = W @ there.dC_dV, given.dW_dY @ D[:, :, None]
        else:
            there = trial.solve(Y, tangents=True)
            assert there.dC_dY is not None and given.dW_dY is not None
            pair = W @ there.dC_dY * trial.range, given.dW_dY * trial.range
        return _agreement("adjoints", text, (given, there), pair)

    def _directions(self) -> Finding:
        """Compare dc/dy in directions with whole tangents."""
        trial, per = self._trial, inverse(self._scale)[:, None]
        Y = trial.Y[self._done]
        V = trial.rng.standard_normal((len(Y), _FUNCTIONALS, Y.shape[1])) * trial.range
        given, there = trial.solve(Y, tangents=V), trial.solve(Y, tangents=True)
        assert given.dC_dV is not None and there.dC_dY is not None
        pair = there.dC_dY @ V.transpose(0, 2, 1) * per, given.dC_dV * per
        text = "dc/dy in directions and as a whole"
        return _agreement("directions", text, (given, there), pair)


def _solves(first: Batch, seconds: float) -> Finding:
    """Say whether solves succeed, and how fast."""
    failed = [text for text in first.failure if text]
    if failed:
        text = f"{len(failed)} of {len(first.failure)} samples failed: {failed[0]}"
        return Finding("solves", "wrong", text)
    return Finding("solves", "ok", f"c is finite; {seconds:.3g} s a sample")


def _residuals(batch: Batch, done: Any) -> Finding:
    """Say how precise the solves are."""
    name, solver = "residuals", batch.solver[done]
    worst, iterations = float(np.max(solver["residual"])), solver["iterations"]
    low, high = int(iterations.min()), int(iterations.max())
    count = f"; {low if low == high else f'{low} to {high}'} iterations a sample" * (high > 0)
    if np.isnan(worst):
        return Finding(name, "none", f"not known: the problem returns none{count}")
    if worst > RESIDUAL:
        return Finding(name, "wrong", f"up to {worst:.1e}, where {RESIDUAL:g} is the limit{count}")
    return Finding(name, "ok", f"{worst:.1e} at most{count}")


def _agreement(
    name: str, text: str, batches: tuple[Batch, Batch], pair: tuple[Array, Array]
) -> Finding:
    """Compare derivatives that were solved for in two ways, (n, ...) each.

    Iterative solves cannot agree better than their residuals; that is a note.
    """
    failed = [reason for batch in batches for reason in batch.failure if reason]
    if failed:
        return Finding(name, "wrong", f"the solve with {name} failed: {failed[0]}")
    residual = max(float(np.nan_to_num(b.solver["residual"]).max()) for b in batches)
    apart = difference(*pair)
    if apart <= AGREEMENT:
        return Finding(name, "ok", f"{text} differ by {apart:.0e}")
    if apart <= CONDITION * residual:
        text += f" differ by {apart:.1e}, as residuals of {residual:.0e} allow"
        return Finding(name, "note", text)
    limit = f"{AGREEMENT:g} is the limit"
    return Finding(name, "wrong", f"{text} differ by {apart:.1e}, where {limit}")
