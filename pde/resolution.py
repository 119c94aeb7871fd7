"""Estimate the discretisation error of c, and write a note on it.

The configurations themselves (`cdr`, `survey`) refuse meshes that miss a length of the problem
completely: no estimate would notice that. Otherwise a few samples are solved for, and again with
each number of the discretisation (cells, layers, time steps) made larger by itself, which separates
the parts of the error. An error of order p is the difference over 1 - factor^-p (Richardson).

The error of c is relative to c's spread over the parameters, which a surrogate learns and an
inversion uses: root mean squares over samples and observables. Below `SMALL` there is no note, as a
surrogate's own error is no smaller. Above `LARGE`, c hardly depends on y. Between, c is inaccurate,
which may suffice for a trial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mpi4py import MPI

from surrogates import config as configuration
from surrogates.errors import InputError
from surrogates.types import Array

from .problem import Problem

SMALL = 0.01
"""Error of c, relative to its spread, below which there is no note."""
LARGE = 2.0
"""Error of c, relative to its spread, above which a discretisation is refused."""
_SAMPLES = 4


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """One way to make a discretisation finer.

    Attributes:
        order: Order of the error in the step.
        factor: Factor by which the estimate divides the step.
        settings: Returns the settings of a step divided by a factor, in the form of ``--set``; for
            the factor 1 they are the configuration's own.
    """

    order: int
    factor: float
    settings: Callable[[float], tuple[str, ...]]

    def apply(self, config: Any) -> Any:
        """Return the configuration with the smaller step."""
        return configuration.read(type(config), None, self.settings(self.factor), config)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimate of the discretisation error of c.

    Attributes:
        error: Error relative to c's spread over the parameters; NaN if fewer than two samples could
            be solved.
        relative: Error relative to c.
        parts: Part of `error` that each refinement would remove.
        reason: Why samples could not be solved; empty if all were.
    """

    error: float = np.nan
    relative: float = np.nan
    parts: list[float] = field(default_factory=list)
    reason: str = ""


def estimate(
    problem: type[Problem], config: Any, refinements: Sequence[Refinement], samples: int = _SAMPLES
) -> Estimate:
    """Estimate the discretisation error of c, on this process alone.

    Args:
        problem: The problem.
        config: Its settings.
        refinements: Ways to make the discretisation finer.
        samples: Number of samples to solve for.
    """
    Y = problem.parameters(config, total=samples, seed=0, start=0, stop=samples)
    finer = [refinement.apply(config) for refinement in refinements]
    batches = [problem(each, MPI.COMM_SELF).solve_batch(Y) for each in (config, *finer)]
    C, *others = (batch.C for batch in batches)
    solved = np.isfinite([c.sum(axis=1) for c in (C, *others)]).all(axis=0)
    reasons = [text for batch in batches for text in batch.failure if text]
    if solved.sum() < 2:
        return Estimate(reason=reasons[0])
    C = C[solved]
    differences = [
        (other[solved] - C) / (1 - refinement.factor**-refinement.order)
        for other, refinement in zip(others, refinements, strict=True)
    ]
    size = _norm(C, len(C))
    spread = _norm(C - C.mean(axis=0), len(C) - 1)
    if spread < 1e-9 * size:  # the parameters do not vary
        spread = size
    total = _norm(np.sum(differences, axis=0), len(C))
    return Estimate(
        error=total / (spread or 1.0),
        relative=total / (size or 1.0),
        parts=[_norm(difference, len(C)) / (spread or 1.0) for difference in differences],
        reason=reasons[0] if reasons else "",
    )


def notes(
    problem: type[Problem], config: Any, refinements: Sequence[Refinement], work: float
) -> tuple[str, ...]:
    """Return the note on the discretisation error of c, none if it is small.

    Args:
        problem: The problem.
        config: Its settings.
        refinements: Ways to make the discretisation finer.
        work: Cost of an estimate over the largest cost: above 1 none is made.

    Raises:
        InputError: If the error is larger than `LARGE`.
    """
    if work > 1:
        return (
            "the discretisation error of c has not been estimated, as one process would need long "
            f"for it: compare with c of {' '.join(_finer(refinements))}",
        )
    found = estimate(problem, config, refinements)
    if np.isnan(found.error):
        return (f"the discretisation error of c could not be estimated: {found.reason}",)
    if found.error <= SMALL:
        return ()
    said = (
        f"the discretisation error of c is about {_percent(found.error)} of its spread over the "
        f"parameters, {_percent(found.relative)} of c"
    )
    # The parts' limits add up to `SMALL`.
    limit = SMALL / len(refinements)
    now, then = list[str](), list[str]()
    for refinement, part in zip(refinements, found.parts, strict=True):
        if part > limit:
            now += refinement.settings(1.0)
            then += refinement.settings((part / limit) ** (1 / refinement.order))
    would = f"with {' '.join(now)}; {' '.join(then)} would make it {_percent(SMALL)}"
    if found.error > LARGE:
        raise InputError(f"the mesh or the time step is too coarse: {said}, {would}")
    return (f"{said}, {would}",)


def _percent(value: float) -> str:
    return f"{100 * value:.2g} %" if value < 0.995 else f"{100 * value:.0f} %"


def _finer(refinements: Sequence[Refinement]) -> list[str]:
    return [text for each in refinements for text in each.settings(each.factor)]


def _norm(values: Array, n: int) -> float:
    return float(np.sqrt((values**2).sum() / n))
