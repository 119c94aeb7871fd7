"""The class `VariationalProblem`: a user's PDE in weak form, with tangents and adjoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc

from surrogates.config import check
from surrogates.data import SOLVER
from surrogates.errors import InputError
from surrogates.types import Array

from ..fenicsx import function_space, quiet
from ..points import digest, function
from ..problem import Problem
from ..results import Batch, one_line
from ..solving import is_failure
from .equations import Equations
from .linear import Unsolved
from .march import GAMMA, March
from .observables import Observables
from .parameters import Parameters, contains
from .statement import WeakForm
from .values import Conditions, State, boundary_measures, is_mixed


class VariationalProblem(Problem):
    """A problem in weak form: find u in V with F(u, y; v) = 0 for all v; then c observes u.

    Your own class names y and c as every `Problem` does, and has two methods:

        class Rod(VariationalProblem):
            y_names, y_lower, y_upper = ("conductivity", "source"), (1.0, 0.5), (3.0, 2.0)
            c_names = ("u(0.3)", "u(0.6)")

            def space(self):
                return function_space(mesh.create_unit_interval(self.comm, 40), degree=2)

            def define(self, u, v, y):
                return WeakForm(
                    residual=y[0] * dot(grad(u), grad(v)) * dx - y[1] * v * dx,
                    conditions=[Dirichlet(u, 0, lambda x: np.isclose(x[0], 0))],
                    observables=[At(u, [[0.3], [0.6]])],
                )

    It solves, and differentiates the discrete map from y to c: tangents and adjoint products are
    those of the discrete solution, exact to the solver's tolerance.

    A residual that is affine in u is solved by one factorisation, any other by Newton's method with
    line search. A residual with du/dt (`u_t`) is solved in time by the method of `march`.

    Attributes:
        petsc_options: Options of PETSc's linear solver (``ksp_type``, ``pc_type``) and of Newton's
            method (``snes_max_it``). Without any, matrices are factored. Iterative solvers have the
            tolerance 1e-10 unless the options name another.
        t: The time, a UFL constant, for `define`.
        u_t: du/dt, for `define`.
        x: The coordinates, a UFL expression, for `define`.
        domain: The mesh of the space.
    """

    has_tangents: ClassVar[bool] = True
    has_directions: ClassVar[bool] = True
    has_adjoints: ClassVar[bool] = True
    petsc_options: ClassVar[Mapping[str, Any]] = {}

    def space(self) -> Any:
        """Make the space of the unknown on a mesh of `comm`.

        `surrogates.pde.fenicsx.function_space` makes Lagrange spaces, of vectors too. Mixed
        elements are made as your version of DOLFINx makes them.
        """
        raise NotImplementedError

    def define(self, u: Any, v: Any, y: tuple[Any, ...]) -> WeakForm:
        """State the problem.

        Args:
            u: The unknown, a DOLFINx function of the space.
            v: The test function.
            y: The parameters, n_y scalars of UFL; `expansion` makes fields of them.
        """
        raise NotImplementedError

    def expansion(self, y: Sequence[Any], modes: Any, space: Any = 1) -> Any:
        """Make the field k(x; y), the sum of y_j phi_j(x); for `define`.

        Args:
            y: The y_j, a part of those that `define` gets: ``y``, ``y[:8]``.
            modes: phi_j as a function of points x (3, n) that returns (m, n), evaluated at the
                nodes; a list of functions that each return (n,); a list of DOLFINx functions of the
                space; or coefficients on this process with its ghosts, (m, n_local).
            space: Degree of Lagrange elements, or a scalar space.

        Returns:
            k, a DOLFINx function.
        """
        W = function_space(self.domain, space) if isinstance(space, int) else space
        return self._parameters.add_field(modes, y, W)

    def boundaries(self, *on: Callable[[Array], Any]) -> tuple[Any, ...]:
        """Make measures of parts of the boundary, for `define`, which calls this once.

        Args:
            on: For each part, a function of points x (3, n) that returns whether they are on it,
                (n,) bool. Where parts meet, a facet belongs to the first.

        Returns:
            UFL measures, to be used as ``ds``.
        """
        check(
            not self._has_boundaries,
            "boundaries: name all parts in one call, as UFL takes one set of marks for a form",
        )
        self._has_boundaries = True
        return boundary_measures(self.domain, on)

    _has_boundaries = False

    def __init__(self, config: Any, comm: MPI.Comm) -> None:
        """Make the space, state the problem, compile its forms; collective.

        It calls `space` and `define`: an override sets what they need before it calls this one.

        Raises:
            InputError: If the statement is wrong.
        """
        super().__init__(config, comm)
        about = self.describe(config)
        n_y, n_c = len(about["y_names"]), len(about["c_names"])
        for method in ("space", "define"):
            check(
                getattr(type(self), method) is not getattr(VariationalProblem, method),
                f"{self.name} has no method {method}, see surrogates.pde.VariationalProblem",
            )
        self.V = self.space()
        check(
            hasattr(self.V, "dofmap"),
            f"{self.name}: space must return a DOLFINx function space; got {self.V!r:.60}",
        )
        self.domain = self.V.mesh
        check(
            MPI.Comm.Compare(self.domain.comm, comm) in (MPI.IDENT, MPI.CONGRUENT),
            f"{self.name}: space must make its mesh on self.comm, the processes of one sample",
        )
        self.x = ufl.SpatialCoordinate(self.domain)
        self.t = fem.Constant(self.domain, PETSc.ScalarType(0))
        self.u_t = fem.Function(self.V)
        sizes = np.maximum(*(np.abs(about[key]) for key in ("y_lower", "y_upper")))
        self._parameters = Parameters(self.domain, np.broadcast_to(sizes, n_y))
        self._u, v = fem.Function(self.V), ufl.TestFunction(self.V)
        try:
            with quiet():
                weak = self.define(self._u, v, self._parameters.symbols)
                kind = type(weak).__name__
                check(isinstance(weak, WeakForm), f"define must return a WeakForm; got {kind}")
                self._march = self._prepared(weak, v)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error
        check(
            self._march.n_c == n_c,
            f"{self.name}: the observables are {self._march.n_c} numbers at all times together, "
            f"but c_names has {n_c}",
        )
        self._samples = 0

    def _prepared(self, weak: WeakForm, v: Any) -> March:
        """Check the statement, and compile it."""
        u, parameters = self._u, self._parameters
        transient = contains(weak.residual, self.u_t)
        check(
            transient == (weak.time is not None),
            "residual contains du/dt (u_t), so WeakForm needs time=Time(final=..., steps=...)"
            if transient
            else "WeakForm has a time, but its residual does not contain du/dt (u_t)",
        )
        base = fem.Function(self.V)
        F = weak.residual
        if weak.time is not None:
            dt = fem.Constant(self.domain, PETSc.ScalarType(GAMMA * weak.time.step))
            F = ufl.replace(F, {self.u_t: (u - base) / dt})
        conditions = Conditions(weak.conditions, u, parameters)
        initial = State(weak.initial, self.V, parameters)
        observables = Observables(weak.observables, u, parameters)
        for one in (*conditions.expressions, *initial.expressions, *observables.forms):
            check(
                not contains(one, self.u_t),
                "du/dt (u_t) may only be in the residual, not in conditions, observables, initial",
            )
        self._check_used(weak.residual, *conditions.expressions, *initial.expressions, observables)
        prefix = f"{type(self).__name__.lower()}_"
        self._equations = Equations(
            F,
            u,
            v,
            base,
            self.t,
            conditions,
            parameters,
            options=self.petsc_options,
            prefix=prefix,
        )
        return March(self._equations, observables, initial, self.t, weak.time)

    def _check_used(self, *parts: Any) -> None:
        """Raise `InputError` if a parameter is in no part of the statement."""
        used: set[int] = set()
        for one in parts:
            for form in one.forms if isinstance(one, Observables) else (one,):
                used |= self._parameters.used(form)
        names = self.describe(self.config)["y_names"]
        unused = [name for j, name in enumerate(names) if j not in used]
        check(
            not unused,
            f"y is not used: {', '.join(unused[:5])}{' ...' if len(unused) > 5 else ''} in no term "
            "of the residual, the conditions or the observables",
        )

    @cached_property
    def _mesh(self) -> str:  # type: ignore[override]
        """Return the text of `mesh`; collective at its first use."""
        cells = self.domain.topology.index_map(self.domain.topology.dim).size_global
        n = self.V.dofmap.index_map.size_global * self.V.dofmap.index_map_bs
        own = self.domain.geometry.x[: self.domain.geometry.index_map().size_local]
        return f"{cells} cells, {n} unknowns, sha256 {digest(self.comm, own)}"

    def solve_batch(
        self, Y: Array, *, tangents: Any = False, adjoints: Array | None = None
    ) -> Batch:
        """Solve for one sample after another.

        Args:
            Y: Parameters, (n, n_y).
            tangents: Whether to solve for dc/dy; or directions in units of y, (n, r, n_y).
            adjoints: Functionals of c, (r, n_c), in 1 over units of c.

        Returns:
            The batch. A sample whose solve does not converge has failed, with the reason.
        """
        n, n_y = Y.shape
        n_c, r = self._march.n_c, 0
        directions: Array | None = None
        if not isinstance(tangents, bool | np.bool_):
            directions = np.asarray(tangents, dtype=np.float64)
            r = directions.shape[1]
        whole = directions is None and bool(tangents)
        C, failure, solver = np.full((n, n_c), np.nan), [""] * n, np.zeros(n, SOLVER)
        dC = np.full((n, n_c, n_y if whole else r), np.nan)
        dW = np.full((n, 0 if adjoints is None else len(adjoints), n_y), np.nan)
        for i, y in enumerate(Y):
            start = time.perf_counter()
            V = np.eye(n_y) if whole else None if directions is None else directions[i]
            try:
                C[i], dC[i], dW[i] = self._solved(y, V, adjoints)
            except BaseException as error:
                if not is_failure(error):
                    raise
                failure[i] = str(error) if isinstance(error, Unsolved) else one_line(error)
                C[i], dC[i], dW[i] = np.nan, np.nan, np.nan
            solver["iterations"][i] = self._equations.solver.iterations
            solver["residual"][i] = self._equations.residual
            solver["seconds"][i] = time.perf_counter() - start
        return Batch(
            C=C,
            failure=failure,
            solver=solver,
            dC_dY=dC if whole else None,
            dC_dV=None if directions is None else dC,
            dW_dY=None if adjoints is None else dW,
        )

    def _solved(self, y: Array, V: Array | None, W: Array | None) -> tuple[Array, Any, Any]:
        """Solve for a sample: c, dc/dy V^T (n_c, r), and W dc/dy (r, n_y)."""
        self._samples += 1
        self._equations.start(self._samples)
        self._parameters.give(y)
        c, dc, stages = self._march.run(V, keep=W is not None)
        self.solution = self._functions()
        dw = None if W is None else self._march.adjoint(np.asarray(W, float), stages, len(y))
        return c, dc if V is not None and len(V) else 0.0, 0.0 if dw is None else dw

    def _functions(self) -> Any:
        """Return u for pictures and ParaView: at several times, and by the parts of a mixed u."""
        found = {}
        for time_, values in self._march.snapshots.items():
            u = function(self.V, values)
            parts = {"u": u}
            if is_mixed(self.V):
                parts = {f"u{i}": u.sub(i).collapse() for i in range(self.V.num_sub_spaces)}
            found.update({f"{name}({time_})" if time_ else name: w for name, w in parts.items()})
        return found if len(found) > 1 else next(iter(found.values()))
