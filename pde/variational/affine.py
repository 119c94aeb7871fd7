"""A linear residual as products of its matrices, in place of assemblies.

If F is affine in u and in u_base, what du/dt is counted from,

    F(u, u_base, t; y) = A u + B u_base + F_0(t; y),

F_0 is assembled again only if y or t is in it. If y enters A and B as constants alone, affinely,
their terms A_j and B_j also give

    dF/dy_j = A_j u + B_j u_base + dF_0/dy_j.

For problems in time whose matrices are the same at all stages, a stage then needs no assembly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import ufl

from surrogates.types import Array

from .forms import ByParameters, vector
from .linear import Matrix
from .parameters import Parameters, contains, expanded

At = tuple[int, int]
"""The numbers of a sample and its stage."""


class Affine:
    """A residual that is affine in u and u_base."""

    def __init__(
        self,
        F: Any,
        symbols: tuple[Any, Any, Any],
        parameters: Parameters,
        A: Matrix,
        B: Matrix | None,
        compiled_F: Any,
    ) -> None:
        """Find what changes in the parts.

        Args:
            F: The residual, a UFL form.
            symbols: u, u_base and t.
            parameters: The parameters.
            A: The derivative by u.
            B: The derivative by u_base; None if F does not contain it.
            compiled_F: F, compiled.
        """
        u, base, t = symbols
        self._u, self._base, self._F, self._A, self._B = u, base, compiled_F, A, B
        self._n_y = len(parameters.symbols)
        rest = without(F, u, base)
        apart = rest is None or not contains(rest, u, base)
        fields = [one.k for one in parameters.fields]
        self._of_y = contains(rest, parameters.constant, *fields)
        self._of_stage = contains(rest, t)
        self._F_0: tuple[Any, Array] | None = None
        by_terms = apart and all(M is None or M.has_terms or not M.of_y for M in (A, B))
        self._matrices = [M for M in (A, B) if M is not None and M.has_terms] if by_terms else []
        part = rest if by_terms else F
        self._by_terms = by_terms
        self._by_y = None if part is None else ByParameters(part, parameters, u, base, t)
        self._kept: tuple[Any, Array, Array] | None = None

    def residual(self, at: At, values: Array) -> Array:
        """Return F for u's coefficients and the present u_base, t and y, this process's (n,)."""
        n = len(values)
        key = self._key(at)
        if self._F_0 is None or self._F_0[0] != key:
            base = self._base.x.array.copy()
            self._base.x.array[:] = 0
            self._u.x.array[:] = 0
            self._F_0 = key, vector(self._F)
            self._base.x.array[:] = base
        F = self._F_0[1] + self._A.times(values)
        if self._B is not None:
            self._B.assemble(at)
            F += self._B.times(self._base.x.array[:n])
        return F

    def by_y(self, at: At, V: Array) -> Array:
        """Differentiate F for the present state along directions V, (r, n_y): (n, r)."""
        n = self._A.mat.getLocalSize()[0]
        if not self._by_terms:
            assert self._by_y is not None
            return self._by_y(V)
        result = np.zeros((n, len(V))) if self._by_y is None else self._rest_by_y(at, V).copy()
        for M, x in ((self._A, self._u), (self._B, self._base)):
            if M is not None and M.has_terms:
                columns, index = M.by_y(x.x.array[:n])
                result += columns @ V[:, index].T
        return result

    def _rest_by_y(self, at: At, V: Array) -> Array:
        """Differentiate F_0; the result is kept for the next stages with the same directions."""
        assert self._by_y is not None
        key = self._key(at)
        if self._kept is None or self._kept[0] != key or not np.array_equal(self._kept[1], V):
            self._kept = key, V.copy(), self._by_y(V)
        return self._kept[2]

    def _key(self, at: At) -> At:
        """Return what of a sample and its stage F_0 depends on."""
        return (at[0] if self._of_y else 0, at[1] if self._of_stage else 0)


def without(form: Any, *functions: Any) -> Any:
    """Remove the terms with some functions from a form that is affine in them.

    Returns:
        The other terms, None if there are none; the form itself where UFL cannot tell them apart.
    """
    rest = expanded(form)
    for one in functions:
        if rest is not None and contains(rest, one):
            argument = ufl.TrialFunction(one.function_space)
            try:
                rest = -ufl.rhs(ufl.replace(rest, {one: argument}))
            except Exception:  # of UFL, whose kind differs between its versions
                return form
            rest = None if rest.empty() else rest
    return rest
