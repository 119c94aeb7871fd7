"""The parameters y of a variational problem, as UFL symbols: constants, and terms of fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from petsc4py import PETSc
from ufl.algorithms.apply_algebra_lowering import apply_algebra_lowering
from ufl.algorithms.apply_derivatives import apply_derivatives
from ufl.corealg.traversal import unique_pre_traversal

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.types import Array


@dataclass(frozen=True)
class Field:
    """The sum k(x; y) of y_j phi_j(x) over some j.

    Attributes:
        k: The DOLFINx function.
        modes: Coefficients of phi_j on this process with its ghosts, (m, n_local).
        index: Which parameters y_j they belong to, (m,).
        owned: How many of the coefficients this process owns.
    """

    k: Any
    modes: Array
    index: npt.NDArray[np.int64]
    owned: int


class Parameters:
    """The parameters y.

    Attributes:
        symbols: The y_j, scalar UFL expressions.
        sizes: A size of each y_j that is not zero, in its units, (n_y,).
        constant: The DOLFINx constant that holds them, (n_y,).
        direction: A constant for directions of derivatives, (n_y,).
        fields: The fields so far.
    """

    def __init__(self, domain: Any, sizes: Array) -> None:
        """Make the symbols.

        Args:
            domain: The mesh.
            sizes: The largest |y_j|, (n_y,).
        """
        n_y = len(sizes)
        self.sizes = np.where(sizes > 0, sizes, 1.0)
        self.constant, self.direction = (
            fem.Constant(domain, np.zeros(n_y, dtype=PETSc.ScalarType)) for _ in range(2)
        )
        self.symbols = tuple(self.constant[j] for j in range(n_y))
        self.fields: list[Field] = []

    def give(self, y: Array) -> None:
        """Set the values of the symbols and fields for a sample, (n_y,)."""
        self.constant.value[:] = y
        for one in self.fields:
            one.k.x.array[:] = y[one.index] @ one.modes

    def add_field(self, modes: Any, symbols: Sequence[Any], W: Any) -> Any:
        """Make the field sum_j y_j phi_j of a space.

        Args:
            modes: phi_j as `VariationalProblem.expansion` takes them.
            symbols: The y_j.
            W: The space.

        Returns:
            The DOLFINx function.

        Raises:
            InputError: If the modes do not fit.
        """
        check(
            isinstance(symbols, list | tuple),
            "expansion: its coefficients must be a part of y, such as y[:8] or [y[0]]; got "
            f"{symbols!s:.60}",
        )
        numbers = {id(symbol): j for j, symbol in enumerate(self.symbols)}
        index = [numbers.get(id(symbol), -1) for symbol in symbols]
        check(
            len(index) > 0 and min(index) >= 0 and len(set(index)) == len(index),
            "expansion: the coefficients must be different parameters y[j]; got "
            f"{[str(symbol) for symbol in symbols]!r:.60}",
        )
        check(
            ufl.TestFunction(W).ufl_shape == (),
            "expansion: the field's space must be one of scalars; make a vector of several fields",
        )
        k = fem.Function(W)
        values = _coefficients(modes, k, len(index))
        owned = W.dofmap.index_map.size_local * W.dofmap.index_map_bs
        self.fields.append(Field(k, values, np.array(index), owned))
        return k

    def by_constants(self, form: Any) -> Any:
        """Differentiate a form or an expression by y, as constants, in `direction`.

        Returns:
            The derivative; None if y is not in it.
        """
        if not contains(form, self.constant):
            return None
        variable = ufl.variable(self.constant)
        shifted = ufl.replace(form, {self.constant: variable})

        def differentiated(e: Any) -> Any:
            return ufl.dot(ufl.diff(e, variable), self.direction)

        if not isinstance(form, ufl.Form):
            return expanded(differentiated(shifted))
        return expanded(
            ufl.Form(
                [
                    integral.reconstruct(integrand=differentiated(integral.integrand()))
                    for integral in shifted.integrals()
                ]
            )
        )

    def is_affine(self, form: Any) -> bool:
        """Return whether a form contains y as constants, and is affine in them."""
        derivative = self.by_constants(form)
        return derivative is not None and not contains(derivative, self.constant)

    def used_as_constants(self, form: Any) -> set[int]:
        """Return which y_j a form or an expression contains directly."""
        return {
            int(node.ufl_operands[1][0])
            for node in nodes(form)
            if isinstance(node, ufl.classes.Indexed) and node.ufl_operands[0] is self.constant
        }

    def used(self, form: Any) -> set[int]:
        """Return which y_j a form or an expression contains, directly or by fields."""
        fields = [one.index for one in self.fields if contains(form, one.k)]
        return self.used_as_constants(form) | {int(j) for index in fields for j in index}


def _coefficients(modes: Any, k: Any, m: int) -> Array:
    """Return the coefficients of m modes in the space of a function, (m, n_local)."""
    n = len(k.x.array)
    listed = isinstance(modes, list | tuple)
    values: Any
    if isinstance(modes, np.ndarray):
        values = modes
    elif listed and all(isinstance(mode, fem.Function) for mode in modes):
        for mode in modes:
            mode.x.scatter_forward()
        values = [mode.x.array for mode in modes]
    elif listed and all(callable(mode) for mode in modes):
        values = [_interpolated(k, mode) for mode in modes]
    elif callable(modes):
        points = k.function_space.tabulate_dof_coordinates()
        values = modes(np.ascontiguousarray(points.T)) if len(points) else np.zeros((m, 0))
    else:
        raise InputError(
            "expansion: modes must be a function of points x (3, n) that returns (m, n), a list of "
            f"such functions that return (n,), DOLFINx functions, or an array; got {modes!r:.60}"
        )
    try:
        values = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"expansion: the modes are not arrays of numbers: {error}") from error
    check(
        values.shape == (m, n),
        f"expansion: modes of {m} coefficients y_j must have shape ({m}, {n}), one column for each "
        f"node of this process; got {values.shape}",
    )
    check(bool(np.isfinite(values).all()), "expansion: a mode is not finite")
    return np.ascontiguousarray(values)


def _interpolated(k: Any, mode: Callable[[Array], Any]) -> Array:
    """Interpolate a function of points in the space of a DOLFINx function."""
    work = fem.Function(k.function_space)
    work.interpolate(mode)
    work.x.scatter_forward()
    return np.array(work.x.array)


def nodes(form: Any) -> Any:
    """Visit the nodes of a form's integrands, or of an expression."""
    if isinstance(form, ufl.Form):
        for integral in form.integrals():
            yield from unique_pre_traversal(integral.integrand())
    elif isinstance(form, ufl.core.expr.Expr):
        yield from unique_pre_traversal(form)


def contains(form: Any, *symbols: Any) -> bool:
    """Return whether a form or an expression contains one of some functions and constants."""
    return any(any(node is symbol for symbol in symbols) for node in nodes(form))


def is_number(expression: Any) -> bool:
    """Return whether an expression contains numbers alone, so that UFL knows no mesh for it."""
    kinds = (ufl.constantvalue.ConstantValue, ufl.core.multiindex.MultiIndex)
    terminals = [node for node in nodes(expression) if not node.ufl_operands]
    return all(isinstance(node, kinds) for node in terminals)


def expanded(form: Any) -> Any:
    """Carry out the derivatives in a form or an expression; None if nothing is left."""
    result = apply_derivatives(apply_algebra_lowering(form))
    if isinstance(result, ufl.Form):
        return None if result.empty() else result
    return None if isinstance(result, ufl.constantvalue.Zero) else result
