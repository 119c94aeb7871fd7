"""The discrete equations of one stage, F(u, u_base, t; y) = 0: solve, differentiate, transpose.

A steady problem is one stage without a base. The conditions are part of the equations: rows and
columns of given coefficients are those of the identity, which keeps a symmetric matrix symmetric.
With I the free coefficients, B the given ones and g their values,

    A du = R v,   R v = [-(dF/dy v + dF/du_base du_base + A_IB dg/dy v); dg/dy v].

A linear F is solved by one factorisation; a nonlinear one by Newton's method with line search,
PETSc's SNES. A and the factors of the last solve serve tangents and adjoints. `affine` spares a
linear F most of its assemblies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import ufl
from petsc4py import PETSc

from surrogates.config import check
from surrogates.types import Array

from ..fenicsx import form as compiled
from .affine import Affine
from .forms import ByParameters, check_residual, vector, with_degree
from .linear import LARGEST, RTOL, Matrix, Solver, Unsolved, norm, with_options
from .parameters import Parameters, contains, expanded
from .values import Conditions, is_mixed

_REASONS = {
    value: name.lower()
    for name, value in vars(PETSc.SNES.ConvergedReason).items()
    if isinstance(value, int) and value < 0
}


class Equations:
    """The equations of a stage.

    Attributes:
        u: The unknown, and the last solution.
        base: What du/dt is counted from, a function; see `march`.
        linear: Whether F is affine in u.
        residual: The largest relative residual since `start`.
        solver: The linear solver.
    """

    def __init__(
        self,
        F: Any,
        u: Any,
        v: Any,
        base: Any,
        t: Any,
        conditions: Conditions,
        parameters: Parameters,
        *,
        options: Mapping[str, Any],
        prefix: str,
    ) -> None:
        """Differentiate and compile.

        Args:
            F: The residual, with du/dt replaced.
            u: The unknown.
            v: The test function.
            base: What du/dt is counted from.
            t: The time, a constant.
            conditions: The Dirichlet conditions.
            parameters: The parameters.
            options: PETSc's options.
            prefix: Their prefix.

        Raises:
            InputError: If F is not linear in v, or does not contain u.
        """
        check_residual(F, v)
        F = with_degree(F)
        V = u.function_space
        self.u, self.base, self._conditions, self._comm = u, base, conditions, V.mesh.comm
        self._mask = conditions.mask
        index_map, bs = V.dofmap.index_map, V.dofmap.index_map_bs
        self.n = index_map.size_local * bs
        first = index_map.local_range[0] * bs
        self._given = (first + np.flatnonzero(self._mask)).astype(PETSc.IntType)
        self._F = compiled(F)
        J = expanded(ufl.derivative(F, u, ufl.TrialFunction(V)))
        check(J is not None, "residual: the unknown u is in none of its terms")
        self.linear = not contains(J, u)
        self._J = Matrix(J, parameters, (u, base, t))
        B = expanded(ufl.derivative(F, base, ufl.TrialFunction(V)))
        self._by_base = None if B is None else Matrix(B, parameters, (u, base, t))
        self._affine: Affine | None = None
        # Where the matrices change at each stage, F is assembled in less time than they are.
        if self.linear and (B is None or not contains(B, u, base, t)):
            self._affine = Affine(F, (u, base, t), parameters, self._J, self._by_base, self._F)
        self._by_y = None if self._affine else ByParameters(F, parameters, u, base, t)
        self._whole: Matrix | None = None
        if self.linear:
            self._whole, self._J = self._J, self._J.duplicate()
        elif conditions.depend_on_y:
            self._whole = Matrix(J, parameters, (u, base, t))
        simple = V.mesh.topology.dim < 3 and not is_mixed(V)
        self.solver = Solver(self._J, options, prefix, simple=simple)
        self._snes: Any = None if self.linear else self._newton(options, prefix)
        self._factored: Any = None
        self.start(0)

    def start(self, sample: int) -> None:
        """Begin a sample."""
        self._sample, self._stage, self.residual = sample, 0, 0.0
        self.solver.iterations = 0

    def set(self, values: Array) -> None:
        """Write the coefficients of this process, (n,), into u."""
        self.u.x.array[: self.n] = values
        self.u.x.scatter_forward()

    def get(self) -> Array:
        """Return the coefficients of this process, (n,)."""
        return np.array(self.u.x.array[: self.n])

    def solve(self, guess: Array, stage: int) -> Array:
        """Solve for u from a guess, (n,), with the present y, base and t.

        Raises:
            Unsolved: If the solve does not converge; its text says why.
        """
        values = guess.copy()
        self._conditions.put(values)
        if self.linear:
            self.factor(stage)
        first = self._residual(values)
        if not np.isfinite(norm(first, self._comm)):
            raise Unsolved("the residual F is not finite at the u where the solve starts")
        if self.linear:
            step = self.solver.solve(first[:, None])
            self.set(values - step[:, 0])
            self._check(first, self.solver.defect[:, 0], "")
        else:
            reason = self._solve_nonlinear(values)
            self._check(first, self._residual(self.get()), reason)
        return self.get()

    def factor(self, stage: int) -> None:
        """Assemble and factor A for the present u, y and t, unless it still is."""
        self._stage = stage
        key = self._J.key((self._sample, stage))
        if self._factored == key:
            return
        self._factored = None
        if self.linear:
            assert self._whole is not None
            self._whole.assemble((self._sample, stage))
            self._J.take(self._whole)
            self._J.mat.zeroRowsColumns(self._given, diag=1.0)
        else:
            self._assemble()
        self.solver.factor()
        self._factored = key

    def right(self, V: Array, dbase: Array | None = None) -> Array:
        """Return R v for the present u, y and t.

        Args:
            V: Directions, (r, n_y).
            dbase: The derivative of the base along them, (n, r).

        Returns:
            This process's rows, (n, r).
        """
        at = self._sample, self._stage
        if self._affine is not None:
            R = -self._affine.by_y(at, V)
        else:
            assert self._by_y is not None
            R = -self._by_y(V)
        if dbase is not None and self._by_base is not None:
            self._by_base.assemble(at)
            R -= self._by_base @ dbase
        if self._conditions.depend_on_y:
            assert self._whole is not None
            dg = self._conditions.tangent(V)
            self._whole.assemble(at)
            R -= self._whole @ dg
            R[self._mask] = dg[self._mask]
        else:
            R[self._mask] = 0
        return R

    def base_adjoint(self, mu: Array) -> Array:
        """Return -(dF/du_base)^T mu for this process's rows of mu, (n, r)."""
        if self._by_base is None:
            return np.zeros_like(mu)
        self._by_base.assemble((self._sample, self._stage))
        return -self._by_base.transposed_times(np.where(self._mask[:, None], 0, mu))

    def _residual(self, values: Array) -> Array:
        """Return F for u's coefficients, (n,); the given ones have their values, so zero."""
        if self._affine is not None:
            F = self._affine.residual((self._sample, self._stage), values)
        else:
            self.set(values)
            F = vector(self._F)
        F[self._mask] = 0
        return F

    def _assemble(self) -> None:
        """Assemble the matrix of a nonlinear F for the present u."""
        self._J.assemble()
        self._J.mat.zeroRowsColumns(self._given, diag=1.0)

    def _newton(self, options: Mapping[str, Any], prefix: str) -> Any:
        """Prepare PETSc's SNES with the linear solver."""
        snes = PETSc.SNES().create(self._comm)
        snes.setOptionsPrefix(prefix)
        snes.setType("newtonls")
        snes.setTolerances(rtol=1e-12, atol=1e-300, stol=1e-13, max_it=50)
        snes.setKSP(self.solver.ksp)
        self._x, self._f = self._J.mat.createVecs()

        def residual(snes: Any, x: Any, f: Any) -> None:
            f.array[:] = self._residual(x.array_r)

        def jacobian(snes: Any, x: Any, A: Any, P: Any) -> None:
            self.set(x.array_r)
            self._assemble()
            self.solver.choose()

        snes.setFunction(residual, self._f)
        snes.setJacobian(jacobian, self._J.mat)
        with_options(snes, options, prefix)
        return snes

    def _solve_nonlinear(self, values: Array) -> str:
        """Run Newton's method; return why it did not converge by its own tests, else nothing."""
        self._factored = None
        self._x.array[:] = values
        self._snes.solve(None, self._x)
        self.set(self._x.array_r)
        steps = self._snes.getIterationNumber()
        self.solver.iterations += max(steps, self._snes.getLinearSolveIterations())
        reason = self._snes.getConvergedReason()
        name = _REASONS.get(reason, str(reason))
        return "" if reason > 0 else f"Newton's method: {name} after {steps} iterations"

    def _check(self, first: Array, last: Array, reason: str) -> None:
        """Record the relative residual; raise `Unsolved` if it is too large.

        It is relative to the residual at the guess or to A u, as the guess may be the solution.
        Newton's method may also end at rounding's limit, where no line search finds a descent.

        Args:
            first: The residual at the guess, (n,).
            last: The residual at u, (n,).
            reason: Why Newton's method ended by its own tests; empty if it converged.
        """
        size, scale = norm(last, self._comm), norm(first, self._comm)
        if size > RTOL * scale:
            if not self.linear:
                self._assemble()
            scale = max(scale, norm((self._J @ self.get()[:, None])[:, 0], self._comm))
        relative = size / scale if scale > 0 else 0.0 if size == 0 else np.inf
        # The comparison is false for NaN.
        if not relative <= LARGEST:
            raise Unsolved(reason or f"relative residual {relative:.1e} above {LARGEST:.0e}")
        self.residual = max(self.residual, relative)
