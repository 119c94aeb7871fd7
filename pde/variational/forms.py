"""Forms of a variational problem: checks, quadrature, derivatives by y, and their assembly."""

from __future__ import annotations

from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem.petsc import assemble_vector
from petsc4py import PETSc
from ufl.algorithms.apply_algebra_lowering import apply_algebra_lowering
from ufl.algorithms.apply_derivatives import apply_derivatives
from ufl.algorithms.check_arities import ArityMismatch, check_form_arity
from ufl.algorithms.estimate_degrees import estimate_total_polynomial_degree
from ufl.algorithms.remove_complex_nodes import remove_complex_nodes

from surrogates.errors import InputError
from surrogates.types import Array

from ..fenicsx import form as compiled
from .linear import Matrix
from .parameters import Parameters, contains, expanded


def with_degree(form: Any) -> Any:
    """Set the degree of quadrature that UFL estimates for each integral of a form.

    Its derivatives then have the same quadrature, so that they are derivatives of the discrete
    form to rounding. UFL would estimate other degrees for them.
    """
    integrals = []
    for integral in form.integrals():
        metadata = dict(integral.metadata())
        if metadata.get("quadrature_degree", -1) in (-1, "auto", None):
            plain = apply_derivatives(apply_algebra_lowering(integral.integrand()))
            metadata["quadrature_degree"] = estimate_total_polynomial_degree(plain)
        integrals.append(integral.reconstruct(metadata=metadata))
    return ufl.Form(integrals)


def check_residual(form: Any, v: Any) -> None:
    """Raise `InputError` unless a form is linear in its test function, with no other argument."""
    arguments = form.arguments()
    if any(one.number() > 0 for one in arguments):
        raise InputError("residual: write the unknown u itself, not a TrialFunction")
    if not arguments:
        raise InputError("residual: the test function v is in none of its terms")
    if arguments[0] != v:
        raise InputError("residual: its test function must be the v that define gets")
    try:
        plain = remove_complex_nodes(apply_derivatives(apply_algebra_lowering(form)))
        check_form_arity(plain, arguments)
    except (ArityMismatch, NotImplementedError) as error:  # the latter where UFL fails to name v
        raise InputError(f"residual: it must be linear in the test function v ({error})") from error


def vector(form: Any) -> Array:
    """Assemble a compiled linear form: this process's coefficients, (n,)."""
    b = assemble_vector(form)
    b.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)
    values = np.array(b.array)
    b.destroy()
    return values


class ByParameters:
    """The derivative of a form by y along directions.

    For y as constants, each direction is an assembly. For fields, the derivative by a field's
    coefficients is assembled once, and multiplied by the modes.
    """

    def __init__(self, form: Any, parameters: Parameters, *changing: Any) -> None:
        """Compile the derivatives.

        Args:
            form: A UFL form of no argument, or of one.
            parameters: The parameters.
            changing: What changes from one call to the next besides y and its fields.
        """
        self._parameters = parameters
        self._rank = len(form.arguments())
        symbols = (*changing, parameters.constant, *(one.k for one in parameters.fields))
        self._by_constants: Any = None
        self._constants_used: list[int] = []
        self._kept: Array | None = None
        derivative = parameters.by_constants(form)
        if derivative is not None:
            self._by_constants = compiled(derivative)
            self._constants_used = sorted(parameters.used_as_constants(form))
            self._fixed = self._rank == 1 and not contains(derivative, *symbols)
        self._by_fields: list[tuple[Any, Any, bool]] = []
        self._products: list[tuple[Any, Array]] = []
        for one in parameters.fields:
            W = one.k.function_space
            argument = ufl.TrialFunction(W) if self._rank else ufl.TestFunction(W)
            derivative = expanded(ufl.derivative(form, one.k, argument))
            if derivative is not None:
                made: Any = Matrix(derivative) if self._rank else compiled(derivative)
                fixed = self._rank == 1 and not contains(derivative, *symbols)
                self._by_fields.append((one, made, fixed))
        self._n = 1
        if self._rank:
            dofmap = form.arguments()[0].ufl_function_space().dofmap
            self._n = dofmap.index_map.size_local * dofmap.index_map_bs

    def __call__(self, V: Array) -> Array:
        """Differentiate for the present u and y along directions V, (r, n_y).

        Returns:
            (n, r), this process's coefficients of a linear form; for a functional (1, r), this
            process's part of a sum.
        """
        result = np.zeros((self._n, len(V)))
        if self._by_constants is not None:
            used = V[:, self._constants_used]
            if self._fixed:
                if self._kept is None:
                    units = np.eye(V.shape[1])[self._constants_used]
                    self._kept = np.stack([self._along(v) for v in units], axis=1)
                result += self._kept @ used.T
            else:
                for k in np.flatnonzero(used.any(axis=1)):
                    result[:, k] += self._along(V[k])
        self._add_fixed_fields()
        for one, product in self._products:
            result += product @ V[:, one.index].T
        for one, made, _ in self._by_fields:
            directions = one.modes[:, : one.owned].T @ V[:, one.index].T
            if self._rank:
                made.assemble()
                result += made @ directions
            else:
                result += vector(made) @ directions
        return result

    def _add_fixed_fields(self) -> None:
        """Multiply, once for all samples, derivatives that nothing changes by their modes."""
        for one, made, fixed in self._by_fields:
            if fixed:
                made.assemble()
                self._products.append((one, made @ one.modes[:, : one.owned].T))
                made.mat.destroy()
        self._by_fields = [item for item in self._by_fields if not item[2]]

    def _along(self, v: Array) -> Any:
        """Assemble the derivative by the constants in one direction, (n_y,)."""
        self._parameters.direction.value[:] = v
        if self._rank:
            return vector(self._by_constants)
        return fem.assemble_scalar(self._by_constants)
