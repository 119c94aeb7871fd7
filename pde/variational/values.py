"""Values and parts of the unknown: Dirichlet conditions and the state at t = 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem, mesh

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.types import Array

from ..fenicsx import collapsed, interpolation
from .parameters import Parameters, expanded, is_number
from .statement import Dirichlet, Value, components

Integers = npt.NDArray[np.int64]


def part(V: Any, wanted: Sequence[int]) -> tuple[Any, Integers]:
    """Find the space of some components of the functions of V.

    Args:
        V: The space.
        wanted: The components, counted through.

    Returns:
        The space, and the coefficients in V, of this process with its ghosts, of its coefficients.

    Raises:
        InputError: If the components are not all those of one subspace.
    """
    n = len(fem.Function(V).x.array)
    if len(wanted) == int(np.prod(ufl.TestFunction(V).ufl_shape, dtype=int)):
        return V, np.arange(n)
    first = 0
    for i in range(V.num_sub_spaces):
        W, inside = collapsed(V, i)
        size = int(np.prod(ufl.TestFunction(W).ufl_shape, dtype=int))
        if first <= min(wanted) and max(wanted) < first + size:
            inner, of = part(W, [k - first for k in wanted])
            return inner, inside[of]
        first += size
    raise InputError(f"the components {list(wanted)} of u are not those of one part of its space")


def is_mixed(V: Any) -> bool:
    """Return whether a space has parts that are no components of one vector."""
    return bool(V.num_sub_spaces > 0 and V.dofmap.index_map_bs == 1)


class Datum:
    """A function of x, y and t in a space, with its derivative by y."""

    def __init__(self, value: Value, W: Any, parameters: Parameters, what: str) -> None:
        """Prepare the interpolation.

        Args:
            value: A number, numbers, a function of points, or a UFL expression.
            W: The space.
            parameters: The parameters.
            what: A name for messages.

        Raises:
            InputError: If the value does not fit the space.
        """
        self._g = fem.Function(W)
        self._parameters = parameters
        self._steps: Any = []
        shape = ufl.TestFunction(W).ufl_shape
        if isinstance(value, ufl.core.expr.Expr) and is_number(value):
            items = [value[k] for k in np.ndindex(*value.ufl_shape)] if value.ufl_shape else [value]
            value = [float(item) for item in items]
        self.expression = value if isinstance(value, ufl.core.expr.Expr) else None
        if self.expression is None:
            _interpolate(self._g, value, shape, what)
            self._g.x.scatter_forward()
            return
        check(
            value.ufl_shape == shape,
            f"{what}: its value must have shape {shape}; got {value.ufl_shape}",
        )
        self._steps = [interpolation(value, W)]
        by_constants = parameters.by_constants(value)
        self._by_constants = None if by_constants is None else interpolation(by_constants, W)
        self._by_fields = []
        for one in parameters.fields:
            direction = fem.Function(one.k.function_space)
            derivative = expanded(ufl.derivative(value, one.k, direction))
            if derivative is not None:
                self._by_fields.append((one, direction, interpolation(derivative, W)))

    @property
    def depends_on_y(self) -> bool:
        """Whether it contains y."""
        return bool(self._steps) and (self._by_constants is not None or bool(self._by_fields))

    def values(self) -> Array:
        """Return the coefficients for the present y and t, of this process with its ghosts."""
        for interpolate in self._steps:
            interpolate(self._g)
            self._g.x.scatter_forward()
        return np.array(self._g.x.array)

    def tangent(self, V: Array) -> Array:
        """Return the derivative by y along directions V, (r, n_y): (n_local, r)."""
        result = np.zeros((len(self._g.x.array), len(V)))
        if not self.depends_on_y:
            return result
        for k, v in enumerate(V):
            if self._by_constants is not None:
                self._parameters.direction.value[:] = v
                result[:, k] += self._interpolated(self._by_constants)
            for one, direction, interpolate in self._by_fields:
                direction.x.array[:] = v[one.index] @ one.modes
                result[:, k] += self._interpolated(interpolate)
        return result

    def _interpolated(self, interpolate: Any) -> Array:
        interpolate(self._g)
        self._g.x.scatter_forward()
        return np.array(self._g.x.array)


def _interpolate(g: Any, value: Any, shape: tuple[int, ...], what: str) -> None:
    """Interpolate a number, numbers or a function of points."""
    size = int(np.prod(shape, dtype=int))

    def given(x: Array) -> Array:
        values = np.asarray(value(x) if callable(value) else value, dtype=np.float64)
        if not callable(value):
            values = values.reshape(-1, 1)
        whole = np.broadcast_to(values, (size, x.shape[1]))
        return np.array(whole if shape else whole[0])

    try:
        g.interpolate(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{what}: its value must be a number, {size} numbers, a function of points x (3, n) "
            f"that returns ({size}, n), or a UFL expression; got {value!r:.60} ({error})"
        ) from error


class State:
    """The function that `WeakForm.initial` gives: u at t = 0, or where Newton's method starts.

    Attributes:
        expressions: Its UFL expressions.
    """

    def __init__(self, value: Value, V: Any, parameters: Parameters) -> None:
        """Prepare the interpolation; of a mixed space, by its parts.

        Raises:
            InputError: If the value does not fit.
        """
        owned = V.dofmap.index_map.size_local * V.dofmap.index_map_bs
        self._n = owned
        parts = [(V, np.arange(len(fem.Function(V).x.array)))]
        values = [value]
        if is_mixed(V):
            parts = [collapsed(V, i) for i in range(V.num_sub_spaces)]
            values = list(value) if isinstance(value, list | tuple) else [value] * len(parts)
            check(
                len(values) == len(parts),
                f"initial: give a value for each of the {len(parts)} parts of the mixed space; got "
                f"{len(values)}",
            )
        self._parts: list[tuple[Datum, Integers, npt.NDArray[np.bool_]]] = []
        for one, (W, inside) in zip(values, parts, strict=True):
            self._parts.append((Datum(one, W, parameters, "initial"), inside, inside < owned))
        self.expressions = [d.expression for d, _, _ in self._parts if d.expression is not None]

    def values(self) -> Array:
        """Return the coefficients for the present y of this process, (n,)."""
        result = np.zeros(self._n)
        for datum, at, here in self._parts:
            result[at[here]] = datum.values()[here]
        return result

    def tangent(self, V: Array) -> Array:
        """Return their derivative along directions V, (r, n_y): (n, r)."""
        result = np.zeros((self._n, len(V)))
        for datum, at, here in self._parts:
            result[at[here]] = datum.tangent(V)[here]
        return result


class Conditions:
    """The Dirichlet conditions of a problem.

    Attributes:
        mask: Which coefficients that this process owns are given, (n,) bool.
        expressions: The UFL expressions of their values.
        depend_on_y: Whether a value contains y.
    """

    def __init__(self, given: Sequence[Dirichlet], u: Any, parameters: Parameters) -> None:
        """Find the coefficients; collective.

        Raises:
            InputError: If a condition holds nowhere, or its value does not fit.
        """
        V = u.function_space
        owned = V.dofmap.index_map.size_local * V.dofmap.index_map_bs
        self.mask = np.zeros(owned, dtype=bool)
        self._parts: list[tuple[Datum, Integers, Integers]] = []
        for number, one in enumerate(given):
            what = f"condition {number}"
            W, inside = part(V, components(u, one.u))
            dofs = _dofs(W, one.on, what)
            at = inside[dofs]
            here = at < owned
            total = V.mesh.comm.allreduce(int(here.sum()))
            check(total > 0, f"{what} holds nowhere: no node of the mesh satisfies its `on`")
            self.mask[at[here]] = True
            self._parts.append((Datum(one.value, W, parameters, what), at[here], dofs[here]))
        self.expressions = [d.expression for d, _, _ in self._parts if d.expression is not None]
        self.depend_on_y = any(datum.depends_on_y for datum, _, _ in self._parts)

    def put(self, values: Array) -> None:
        """Write the given values for the present y and t into coefficients, (n,)."""
        for datum, at, of in self._parts:
            values[at] = datum.values()[of]

    def tangent(self, V: Array) -> Array:
        """Return the given values' derivative along directions V, (r, n_y): (n, r), else zero."""
        result = np.zeros((len(self.mask), len(V)))
        for datum, at, of in self._parts:
            result[at] = datum.tangent(V)[of]
        return result


def boundary_measures(domain: Any, on: Sequence[Callable[[Array], Any]]) -> tuple[Any, ...]:
    """Make measures of parts of a mesh's boundary; see `VariationalProblem.boundaries`.

    Raises:
        InputError: If a part has no facet on any process.
    """
    dim = domain.topology.dim - 1
    tags: dict[int, int] = {}
    for k, one in enumerate(on):
        try:
            facets = mesh.locate_entities_boundary(domain, dim, one)
        except Exception as error:  # of the user's function
            raise InputError(f"boundaries: part {k} fails for points x (3, n): {error}") from error
        check(
            domain.comm.allreduce(len(facets)) > 0,
            f"boundaries: part {k} has no facet: all corners of a facet must satisfy its function",
        )
        for facet in facets:
            tags.setdefault(int(facet), k)
    facets = np.array(sorted(tags), dtype=np.int32)
    values = np.array([tags[int(facet)] for facet in facets], dtype=np.int32)
    data = mesh.meshtags(domain, dim, facets, values)
    ds = ufl.Measure("ds", domain=domain, subdomain_data=data)
    return tuple(ds(k) for k in range(len(on)))


def _dofs(W: Any, on: Any, what: str) -> Integers:
    """Return the coefficients of a space where a condition holds, of this process with ghosts."""
    if callable(on):
        try:
            blocks = fem.locate_dofs_geometrical(W, on)
        except Exception as error:  # of the user's function
            raise InputError(f"{what}: `on` fails for points x (3, n): {error}") from error
    else:
        facets = np.asarray(on)
        check(
            facets.ndim == 1 and facets.dtype.kind in "iu",
            f"{what}: `on` must be a function of points x (3, n), or indices of facets; got "
            f"{on!r:.60}",
        )
        dim = W.mesh.topology.dim - 1
        W.mesh.topology.create_connectivity(dim, dim + 1)
        blocks = fem.locate_dofs_topological(W, dim, facets.astype(np.int32))
    bs = W.dofmap.index_map_bs
    whole = np.asarray(blocks, dtype=np.int64)[:, None] * bs + np.arange(bs)
    return np.asarray(whole.ravel())
