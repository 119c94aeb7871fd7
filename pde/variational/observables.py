"""Observables of a variational problem: values, tangents, and the adjoint's right-hand sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from scipy.sparse import csr_matrix

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.types import Array

from ..fenicsx import form as compiled
from ..linear import destroy
from ..points import evaluation
from .forms import ByParameters, vector, with_degree
from .linear import total
from .parameters import Parameters, expanded
from .statement import At, components
from .values import part


class Observables:
    """The observables c of one state: point values, and functionals J(u, y).

    Attributes:
        forms: The functionals.
    """

    def __init__(self, given: Sequence[Any], u: Any, parameters: Parameters) -> None:
        """Prepare them; collective.

        Raises:
            InputError: If a point is not in the mesh, or a functional has arguments.
        """
        self._u, self._comm = u, u.function_space.mesh.comm
        self._n_y = len(parameters.symbols)
        self.forms = [one for one in given if isinstance(one, ufl.Form)]
        self._items: list[_Points | _Functional] = [
            _Points(one, u) if isinstance(one, At) else _Functional(one, u, parameters)
            for one in given
        ]

    def __len__(self) -> int:
        """Return their number."""
        return sum(item.n for item in self._items)

    def values(self) -> Array:
        """Evaluate them for the present u and y: (n_o,) on every process."""
        return np.concatenate([item.values() for item in self._items])

    def tangent(self, dU: Array, V: Array) -> Array:
        """Differentiate them along directions.

        Args:
            dU: The derivative of u's coefficients, (n, r).
            V: The directions, (r, n_y).

        Returns:
            (n_o, r), on every process.
        """
        return np.concatenate([item.tangent(dU, V) for item in self._items])

    def adjoint(self, W: Array) -> tuple[Array, Array]:
        """Differentiate functionals of them.

        Args:
            W: The functionals, (r, n_o).

        Returns:
            Their derivatives by u's coefficients, (n, r), and by y at fixed u, (r, n_y).
        """
        owned = self._u.function_space.dofmap
        n = owned.index_map.size_local * owned.index_map_bs
        by_u, by_y, first = np.zeros((n, len(W))), np.zeros((len(W), self._n_y)), 0
        for item in self._items:
            item.add_adjoint(W[:, first : first + item.n], by_u, by_y)
            first += item.n
        return by_u, by_y


class _Points:
    """Values at points: the sum of each process's part, one sparse product for all columns."""

    def __init__(self, given: At, u: Any) -> None:
        self._u, self._comm = u, u.function_space.mesh.comm
        wanted = components(u, given.u)
        check(
            len(wanted) == 1,
            f"At: observe a component of u, as in At(u[0], points); u has {len(wanted)}",
        )
        W, inside = part(u.function_space, wanted)
        dim = W.mesh.geometry.dim
        try:
            given_points = np.atleast_2d(np.asarray(given.points, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise InputError(f"At: points must be numbers, (n, {dim}): {error}") from error
        check(
            given_points.ndim == 2 and dim <= given_points.shape[1] <= 3 and given_points.size > 0,
            f"At: points must have shape (n, {dim}) or (n, 3); got {given_points.shape}",
        )
        points = np.zeros((len(given_points), 3))
        points[:, : given_points.shape[1]] = given_points
        self.n = len(points)
        try:
            P = evaluation(W, points)
        except InputError as error:
            raise InputError(f"At: {error}") from error
        columns = P.transpose().getValuesCSR()[::-1]  # of P, those of this process's unknowns
        destroy(P)
        owned = W.dofmap.index_map.size_local
        self._inside = inside[:owned]
        self._columns = csr_matrix(columns, shape=(owned, self.n))
        self._rows = self._columns.T.tocsr()

    def values(self) -> Array:
        return self._of(self._u.x.array)

    def tangent(self, dU: Array, V: Array) -> Array:
        return self._of(dU)

    def _of(self, U: Array) -> Array:
        return np.asarray(total(self._rows @ U[self._inside], self._comm))

    def add_adjoint(self, W: Array, by_u: Array, by_y: Array) -> None:
        by_u[self._inside] += self._columns @ W.T


class _Functional:
    """A UFL form without arguments, J(u, y)."""

    n = 1

    def __init__(self, J: Any, u: Any, parameters: Parameters) -> None:
        check(
            not J.arguments(),
            "an observable is a form without test function, or At(u, points); got a form with "
            f"{len(J.arguments())} arguments",
        )
        J = with_degree(J)
        V = u.function_space
        self._comm = V.mesh.comm
        self._J = compiled(J)
        by_u = expanded(ufl.derivative(J, u, ufl.TestFunction(V)))
        self._by_u = None if by_u is None else compiled(by_u)
        self._zero = np.zeros(V.dofmap.index_map.size_local * V.dofmap.index_map_bs)
        self._by_y = ByParameters(J, parameters)

    def values(self) -> Array:
        return np.array([total(float(fem.assemble_scalar(self._J)), self._comm)])

    def tangent(self, dU: Array, V: Array) -> Array:
        return np.asarray(total(self._gradient() @ dU + self._by_y(V)[0], self._comm)[None])

    def add_adjoint(self, W: Array, by_u: Array, by_y: Array) -> None:
        by_u += self._gradient()[:, None] * W[:, 0]
        by_y += np.outer(W[:, 0], total(self._by_y(np.eye(by_y.shape[1]))[0], self._comm))

    def _gradient(self) -> Array:
        return self._zero if self._by_u is None else vector(self._by_u)
