"""What a user writes of a variational problem: its weak form, conditions, observables and time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ufl
from ufl.classes import FixedIndex, Indexed, ListTensor, MultiIndex

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.types import Array

Value = Any
"""A number, a function of points x (3, n), or a UFL expression of x, y, t and fields."""


@dataclass(frozen=True)
class Dirichlet:
    """The condition ``u = value`` on a part of the boundary.

    Attributes:
        u: The unknown, or a part of it: ``u[1]``, ``ufl.split(u)[0]``.
        value: A number, a sequence of numbers for a vector, a function of points x (3, n) as
            DOLFINx's ``interpolate`` takes it, or a UFL expression of `x`, y, t and fields.
        on: Function of points x, (3, n), that returns where the condition holds, (n,) bool; or
            indices of facets of this process, (n,) int32.
    """

    u: Any
    value: Value
    on: Callable[[Array], Any] | Any


@dataclass(frozen=True)
class At:
    """The observables ``u(x)`` at points.

    Attributes:
        u: The unknown, if it is a scalar, or a component of it: ``u[1]``.
        points: Coordinates, (n, 1 to 3); points must lie in the mesh.
    """

    u: Any
    points: Any


@dataclass(frozen=True, kw_only=True)
class Time:
    """The interval of a transient problem, its steps, and the times of its observables.

    Attributes:
        final: Its end, in the problem's unit of time; it begins at 0.
        steps: Number of steps, all of one length.
        observed: Multiples of the step's length in ]0, final]; ``(final,)`` if empty.
    """

    final: float
    steps: int
    observed: Sequence[float] = ()

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(self.final > 0, f"Time: final must be positive; got {self.final:g}")
        check(
            self.steps >= 1 and self.steps % 1 == 0,
            f"Time: steps must be a whole number, at least 1; got {self.steps}",
        )
        _ = self.observed_steps

    @property
    def step(self) -> float:
        """The length of a step."""
        return self.final / self.steps

    @property
    def observed_steps(self) -> list[int]:
        """The steps after which there are observables, counted from 1."""
        steps = []
        for t in self.observed if len(self.observed) else (self.final,):
            k = round(t / self.step)
            check(
                abs(k * self.step - t) <= 1e-9 * self.final and 1 <= k <= self.steps,
                f"Time: observed must be multiples of {self.step:g} (final / steps) up to "
                f"{self.final:g}; got {t:g}",
            )
            steps.append(k)
        check(
            all(a < b for a, b in zip(steps, steps[1:], strict=False)),
            f"Time: observed must increase; got {tuple(self.observed)}",
        )
        return steps


@dataclass(frozen=True, kw_only=True)
class WeakForm:
    """A variational problem: find u with F(u, y; v) = 0 for all v.

    Attributes:
        residual: F, a UFL form that is linear in the test function v. It may contain u, y, fields,
            the time `VariationalProblem.t` and du/dt as `VariationalProblem.u_t`.
        observables: `At` objects, and UFL forms without arguments: functionals J(u, y). In this
            order they make c; at several times, those of the first time come first.
        conditions: Dirichlet conditions. Where two meet, the later one holds.
        time: The interval, if F contains du/dt.
        initial: u at t = 0, as the value of a `Dirichlet`; of a mixed space, a list of such values,
            one for each part. Without time it is where Newton's method starts.
    """

    residual: Any
    observables: Sequence[Any]
    conditions: Sequence[Dirichlet] = field(default_factory=tuple)
    time: Time | None = None
    initial: Value = 0.0

    def __post_init__(self) -> None:
        """Check the kinds."""
        check(
            isinstance(self.residual, ufl.Form) and not self.residual.empty(),
            "WeakForm: residual must be a UFL form, F in F = 0, with every term times a measure "
            f"such as dx; got {_kinds(self.residual)}",
        )
        for what, kinds, allowed in (
            ("observables", (At, ufl.Form), "At(u, points) or UFL forms"),
            ("conditions", (Dirichlet,), "Dirichlet(u, value, on)"),
        ):
            given = getattr(self, what)
            check(
                isinstance(given, list | tuple) and all(isinstance(one, kinds) for one in given),
                f"WeakForm: {what} must be a list of {allowed}; got {_kinds(given)}",
            )
        check(len(self.observables) > 0, "WeakForm: observables is empty: c needs at least one")


def _kinds(given: Any) -> str:
    """Name the kind of an object, and of the items of a list."""
    if isinstance(given, list | tuple):
        return f"[{', '.join(_kinds(one) for one in given)}]"
    return (
        "an empty form" if isinstance(given, ufl.Form) and given.empty() else type(given).__name__
    )


def components(u: Any, part: Any) -> list[int]:
    """Return which components of u's value, counted through, a part of it has.

    Args:
        u: The unknown.
        part: It, ``u[k]``, or an item of ``ufl.split(u)``.

    Raises:
        InputError: If it is anything else.
    """
    if part is u:
        return list(range(int(np.prod(u.ufl_shape, dtype=int))))
    if isinstance(part, Indexed) and part.ufl_operands[0] is u:
        indices = part.ufl_operands[1]
        assert isinstance(indices, MultiIndex)
        if all(isinstance(index, FixedIndex) for index in indices):
            at = tuple(int(index) for index in indices)
            within = all(0 <= k < n for k, n in zip(at, u.ufl_shape, strict=True))
            if within:
                return [int(np.ravel_multi_index(at, u.ufl_shape))]
    if isinstance(part, ListTensor):
        return [k for one in part.ufl_operands for k in components(u, one)]
    raise InputError(
        f"a condition or an observable must be of the unknown u or a part u[k] of it; got "
        f"{part!s:.60}"
    )
