r"""DC resistivity surveys: parameters y of the ground to the data c of a survey.

Strong form below the surface, lengths in m, conductivity m in S/m, current I in A, potential u
in V, for each current electrode e:

    -div(m(x; y) grad u) = I delta(x - x_e),   m grad u . n = 0 at the surface,   u -> 0 far away

A datum has current electrodes a and b, and potential electrodes m and n. Its transfer resistance is
R = T_am - T_an - T_bm + T_bn, where T_ij is the potential at j of 1 A into i. By reciprocity
T_ij = T_ji, so one solve for each electrode serves all data. The apparent resistivity is k R, with
the geometric factor k = 1 / R of a homogeneous ground of 1 ohm m with the same surface.

`case` reads the survey and chooses among three ways to find T: `layers` (exact), `box` (a body
below flat ground) and `direct` (any mesh).
"""

from __future__ import annotations

import os
import time
from functools import cached_property
from typing import Any

import numpy as np
from mpi4py import MPI

from surrogates.config import check
from surrogates.data import SOLVER
from surrogates.survey import coordinates_of
from surrogates.types import Array

from .. import meshes
from ..fields import Field
from ..problem import Problem
from ..results import Batch
from . import figures, visible
from .case import Case, case_of
from .config import ERTConfig
from .stiffness import Stiffness
from .ways import way_of

_UNITS = {"apparent-resistivity": "ohm m", "log10-apparent-resistivity": "1", "resistance": "ohm"}
_SYMBOLS = {
    "apparent-resistivity": "rhoa",
    "log10-apparent-resistivity": "log10 rhoa",
    "resistance": "R",
}


class ERT(Problem):
    """The discrete problem on one communicator, ready for any number of samples."""

    name = "ert"
    file_settings = ("survey.file", "mesh.file")
    has_tangents = True
    has_directions = True
    has_adjoints = True
    needs_bounds = True
    keeps_solution = True
    Config = ERTConfig

    def __init__(self, config: ERTConfig, comm: MPI.Comm) -> None:
        """Read the survey, and prepare all that does not depend on the sample.

        Args:
            config: The configuration.
            comm: Communicator over which the work of a sample is divided.

        Raises:
            InputError: If the survey, the mesh and the settings do not fit each other.
        """
        super().__init__(config, comm)
        self.case = case_of(config)
        self._way = way_of(self.case, comm)
        self._factors = self.case.factors
        self._kept: tuple[Array, Array, Any] | None = None  # y, R and record of the last solve

    @classmethod
    def check(cls, config: ERTConfig) -> None:
        """Check the survey, the model and the mesh; raises `InputError`."""
        case_of(config).check()

    @classmethod
    def notes(cls, config: ERTConfig) -> tuple[str, ...]:
        """Return what users of a dataset should know of the survey, the model and the mesh."""
        return case_of(config).notes()

    @classmethod
    def compile(cls, config: ERTConfig) -> None:
        """Compile the forms, which every process and later run then finds in the cache."""
        case = case_of(config)
        if case.method != "direct":
            return
        kind = case.cells.kind
        one = meshes.Cells(kind, *meshes.one_cell(kind))
        for _ in range(2):  # as for CDR
            domain = one.create(MPI.COMM_SELF)
            degree = config.direct.degree_on(case.cells)
            Stiffness(domain, degree, one.points.mean(axis=0)[None], np.zeros(3))

    @classmethod
    def design(cls, config: ERTConfig) -> str:
        """Return the name of the sampling design."""
        return config.sampling.design

    @classmethod
    def parameters(
        cls, config: ERTConfig, *, total: int, seed: int, start: int, stop: int
    ) -> Array:
        """Draw the samples ``start`` to ``stop`` of the model's prior, as `Problem.parameters`.

        Coefficients of a field are normal within their bounds: uniform ones would make fields that
        are larger than the field's deviation says. The other parameters are uniform.
        """
        Y = super().parameters(config, total=total, seed=seed, start=start, stop=stop)
        return case_of(config).model.of_prior(Y)

    @classmethod
    def batch(cls, config: ERTConfig) -> int:
        """Return the number of samples that are solved and saved together."""
        return config.solver.batch

    @cached_property
    def mesh(self) -> str:
        """The way and its mesh, one line; collective at its first use."""
        return self._way.description()

    def solve_batch(
        self, Y: Array, *, tangents: bool | Array = False, adjoints: Array | None = None
    ) -> Batch:
        """Solve for a batch of samples.

        Args:
            Y: Parameters, (n, n_y), the same on every process of the communicator.
            tangents: Whether to solve for dc/dy as well; or directions, (n, r, n_y), in units of y.
            adjoints: Functionals of c, (r, n_c), in 1 over units of c. All of dc/dy comes from the
                potentials of the solve, so that functionals cost as much as tangents. Derivatives
                at the y that was solved for last need no new solve.

        Returns:
            The batch, complete on every process.

        Raises:
            InputError: If a parameter is outside the bounds, for which the mesh is made.
        """
        model = self.case.model
        check(
            bool(((model.y_lower <= Y) & (model.y_upper >= Y)).all()),
            f"parameters must be within {model.y_lower.tolist()} and {model.y_upper.tolist()}",
        )
        n, n_y = Y.shape
        n_c = len(self.case.survey.data)
        every = np.broadcast_to(np.eye(n_y), (n, n_y, n_y))
        V = tangents if isinstance(tangents, np.ndarray) else every
        found: dict[str, Any] = {"C": np.full((n, n_c), np.nan)}
        name = "dC_dV" if isinstance(tangents, np.ndarray) else "dC_dY"
        if tangents is not False:
            found[name] = np.full((n, n_c, V.shape[1]), np.nan)
        if adjoints is not None:
            found["dW_dY"] = np.full((n, len(adjoints), n_y), np.nan)
        solver = np.zeros(n, SOLVER)
        reasons = []
        for i, y in enumerate(Y):
            start = time.perf_counter()
            R, reason = self._solve_one(y, solver[i], again=tangents is False and adjoints is None)
            reasons.append(reason)
            if not reason:
                found["C"][i] = self._observed(R)
                if name in found:
                    found[name][i] = self._changes(R, y, V[i])
                if adjoints is not None:
                    found["dW_dY"][i] = adjoints @ self._changes(R, y, every[i])
            solver["seconds"][i] = time.perf_counter() - start
        return Batch(failure=reasons, solver=solver, **found)

    def _solve_one(self, y: Array, record: Any, *, again: bool) -> tuple[Array, str]:
        """Solve for one sample, and fill in a record: transfer resistances, and why it failed.

        The last sample's solution is kept: the same y is solved for ``again`` only if that is said.
        """
        if self._kept is not None and not again and np.array_equal(self._kept[0], y):
            record["iterations"], record["residual"] = self._kept[2]
            return self._kept[1], ""
        self._kept = None
        R = self.case.survey.combine(self._way.solve(y))
        record["iterations"], record["residual"] = self._way.iterations, self._way.residual
        reason = self._way.failure
        if not reason and self.config.observable.kind.startswith("log10"):
            wrong = np.flatnonzero(~(self._factors * R > 0))
            if len(wrong):
                reason = (
                    f"the apparent resistivity of datum {wrong[0] + 1} is "
                    f"{self._factors[wrong[0]] * R[wrong[0]]:.3g} ohm m, which has no logarithm; "
                    "take observable.kind=apparent-resistivity"
                )
        if not reason:
            self._kept = y.copy(), R, (self._way.iterations, self._way.residual)
        return R, reason

    def _observed(self, R: Array) -> Array:
        """Return c from transfer resistances [ohm], (n_d,)."""
        kind = self.config.observable.kind
        if kind == "resistance":
            return R
        rhoa = self._factors * R
        return np.asarray(np.log10(rhoa) if kind.startswith("log10") else rhoa)

    def _changes(self, R: Array, y: Array, V: Array) -> Array:
        """Return derivatives of c in directions V (r, n_y) of the solved sample, (n_c, r)."""
        dR = self.case.survey.combine(self._way.tangents(y, V)).T
        kind = self.config.observable.kind
        if kind == "resistance":
            return np.asarray(dR)
        if kind.startswith("log10"):
            return np.asarray(dR / (np.log(10) * R[:, None]))
        return np.asarray(self._factors[:, None] * dR)

    def picture(self, y: Array, path: str | os.PathLike[str]) -> None:
        """Solve for one sample, y (n_y,), and draw ground, electrodes and data; on one process."""
        figures.draw(self.case, y, self._resistivities(y), path)

    def field(self, y: Array) -> Field:
        """Solve for one sample, y (n_y,); return its ground, electrodes and data; on one process.

        The ground is on the mesh of the way ``direct``, also if the survey is solved in another
        way.
        """
        return visible.field(self.case, y, self._resistivities(y))

    def _resistivities(self, y: Array) -> Array:
        """Return the apparent resistivities of a sample [ohm m], (n_d,)."""
        c = np.asarray(self.solve(y).c)
        kind = self.config.observable.kind
        if kind == "resistance":
            return np.asarray(self._factors * c)
        return np.asarray(10**c if kind.startswith("log10") else c)

    @classmethod
    def describe(cls, config: ERTConfig) -> dict[str, Any]:
        """Return the fields of `Info` on parameters and observables: names, units, bounds.

        The coordinates hold each datum's electrodes a, b, m and n as survey files number them, from
        1 with 0 at infinity, their places (`surrogates.survey.coordinates`), its geometric factor k
        [m], and where pseudosections draw it.
        """
        case = case_of(config)
        model, data = case.model, case.survey.data
        kind = config.observable.kind
        names = [
            f"{_SYMBOLS[kind]} {i}({','.join(str(e) for e in abmn)})"
            for i, abmn in enumerate((data + 1).tolist(), start=1)
        ]
        places = case.places
        return {
            "y_names": model.y_names,
            "y_units": model.y_units,
            "y_lower": model.y_lower,
            "y_upper": model.y_upper,
            "c_names": tuple(names),
            "c_units": (_UNITS[kind],) * len(names),
            "coordinates": {
                **coordinates_of(case.survey),
                "k": case.factors,
                **dict(zip(("x1", "x2", "x3"), places.T, strict=True)),
            },
        }


def standard_deviations(case: Case, c: Array) -> Array:
    """Return the standard deviations of noise in data c, by the noise model of the settings.

    Args:
        case: The survey and its settings.
        c: Data, (..., n_d), of the observable's kind.

    Returns:
        Standard deviations in the units of c, (..., n_d).
    """
    noise, kind, k = case.config.noise, case.config.observable.kind, case.factors
    R = c if kind == "resistance" else (10**c if kind.startswith("log10") else c) / k
    of_R = noise.absolute / noise.current + noise.relative * np.abs(R)
    if kind == "resistance":
        return np.asarray(of_R)
    if kind.startswith("log10"):
        return np.asarray(of_R / (np.log(10) * np.abs(R)))
    return np.asarray(np.abs(k) * of_R)
