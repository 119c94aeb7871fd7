"""A PDE as a function of arrays: y to c with derivatives, called as a surrogate is.

    from surrogates.pde import Simulator

    model = Simulator("ert", settings={"survey.file": "line.ohm", "model.kind": "layers"})
    c, J = model.predict(y), model.jacobian(y)

`surrogates.adapters` of pyGIMLi and SimPEG take it in place of a surrogate; scipy and samplers take
its methods. Each new y is a solve. What is known at the last y is kept: c and dc/dy there cost one
solve if the problem keeps its solution (``keeps_solution``, as `ert` does). Other problems solve
for c and dc/dy together once a caller has asked for both at one y.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from surrogates import given
from surrogates.config import check, from_toml, to_toml
from surrogates.errors import InputError
from surrogates.types import Array

from .derivatives import has
from .needed import mpi, problem_of
from .problem import BUILT_IN, Problem
from .run import settled
from .solving import described, made, solved

if TYPE_CHECKING:
    from mpi4py import MPI

_ROUNDING = 1e-9  # of the bounds' distance: y that are as little outside count as at the bound


@dataclass(frozen=True, kw_only=True)
class Domain:
    """Where a problem's parameters lie; a surrogate's domain has the same attributes.

    Attributes:
        lower: Lower bounds, (n_in,), units of y.
        upper: Upper bounds, (n_in,).
        normals: Rows a with a . (y - centre) = 0, (k, n_in): one for weights that sum to one.
        centre: A point of the domain, (n_in,).
        contains: Returns whether y lies in it, bool () or (n,).
    """

    lower: Array
    upper: Array
    normals: Array
    centre: Array
    contains: Callable[[npt.ArrayLike], npt.NDArray[np.bool_]] = field(repr=False)


@dataclass(kw_only=True, eq=False)
class _Point:
    """What is known at one y: c, perhaps dc/dy, and how many products with dc/dy were asked."""

    y: Array
    c: Array
    J: Array | None = None
    products: int = 0


class Simulator:
    """A problem that is solved when it is called.

    Each method takes one sample y, (n_in,), or samples with any leading dimensions, (..., n_in), in
    the units of `y_units`, and returns float64 with the same leading dimensions; see
    `surrogates.LoadedSurrogate`, whose methods these are. All raise an `InputError` of one line for
    a wrong size, numbers that are not finite, y outside the bounds, and a solve that fails.

    Attributes:
        problem: The problem, for its own methods, such as ``picture`` and ``field``.
        solves: Number of samples that were solved for. Derivatives by a solution that the problem
            has kept do not count.
        path: The problem's name, for messages.
        y_names: Names of the parameters.
        y_units: Their units.
        c_names: Names of the observables.
        c_units: Their units.
        c_coordinates: Coordinates of the observables, (n_out,) each, by their names.
    """

    def __init__(
        self,
        problem: str | type[Problem] | Problem,
        *,
        config: Any = None,
        settings: Mapping[str, Any] | None = None,
        comm: MPI.Comm | None = None,
    ) -> None:
        """Make the problem; collective.

        Args:
            problem: ``cdr``, ``dcr``, ``ert``, ``FILE.py:CLASS``; or a class, or an object of one.
            config: Settings: a TOML file, or a ``Config`` of the problem; the defaults if None.
            settings: Single settings by their keys, such as ``{"mesh.degree": 2}``, over
                ``config``.
            comm: The processes that share its mesh, all of which make the same calls; this process
                alone if None. An object keeps its own.

        Raises:
            InputError: If an argument does not fit, or the problem cannot be made.
        """
        here = mpi().COMM_SELF if comm is None else comm
        found, settings_ = settled(problem, config, settings)
        found.check(settings_)
        if isinstance(problem, Problem):
            check(
                config is None and not settings,
                f"this {found.name} is made already: give its class to change settings",
            )
            self.problem = problem
        else:
            if here.size > 1:
                if here.rank == 0:
                    found.compile(settings_)  # the other processes then find it in the cache
                here.barrier()
            self.problem = made(found, settings_, here)
        about = described(found.describe, self.problem.config)
        self._name = problem if isinstance(problem, str) else ""
        self.path, self.solves = found.name, 0
        self.y_names, self.y_units = tuple(about["y_names"]), tuple(about["y_units"])
        self.c_names, self.c_units = tuple(about["c_names"]), tuple(about["c_units"])
        self.c_coordinates = {k: np.array(v, float) for k, v in about["coordinates"].items()}
        self.bounds = np.stack([about["y_lower"], about["y_upper"]]).astype(float)
        self._sum = found.design(self.problem.config) == "simplex"
        self._point: _Point | None = None
        self._solved: Array | None = None  # the y whose solution the problem has kept
        self._together = False  # c and dc/dy: a caller has asked for both at one y
        self._many = False  # products with dc/dy: a caller has asked for several at one y

    @classmethod
    def of(
        cls,
        source: Any,
        *,
        file: str = "",
        settings: Mapping[str, Any] | None = None,
        comm: MPI.Comm | None = None,
    ) -> Simulator:
        """Make the problem that a surrogate or a dataset comes from, with its settings.

        Files that the settings name, such as ``survey.file``, are found from this folder.

        Args:
            source: A surrogate of `surrogates.load`, or a `surrogates.Dataset`.
            file: ``FILE.py:CLASS``, where that is a problem of your own.
            settings: Other settings by their keys, as of a finer mesh.
            comm: As for the class.

        Raises:
            InputError: If the source does not say its problem, or parameters and observables are
                not the source's, as those of another survey file.
        """
        about = getattr(source, "info", None)
        if about is None:
            metadata = source.metadata
            name, text = metadata["problem"], metadata.get("dataset", {}).get("config", "")
            names = tuple(metadata["y_names"]), tuple(metadata["c_names"])
        else:
            name, text, names = about.problem, about.config, (about.y_names, about.c_names)
        check(
            bool(text) and (name in BUILT_IN or bool(file)),
            f"give the problem as file='FILE.py:CLASS': its name here is {name!r}",
        )
        found = problem_of(file or name)
        own = from_toml(found.Config, text)
        made_ = cls(file or name, config=own, settings=settings, comm=comm)
        check(
            (made_.y_names, made_.c_names) == names,
            f"parameters or observables are not those of {name} with these settings: has a file "
            "that they name changed, or are some outputs left out?",
        )
        return made_

    @property
    def n_in(self) -> int:
        """Number of parameters."""
        return len(self.y_names)

    @property
    def n_out(self) -> int:
        """Number of observables."""
        return len(self.c_names)

    @property
    def domain(self) -> Domain:
        """The parameters' domain: the box of `bounds`, and whether they sum to one."""
        lower, upper = self.bounds
        n = self.n_in
        return Domain(
            lower=lower.copy(),
            upper=upper.copy(),
            normals=np.full((int(self._sum), n), n**-0.5),
            centre=np.full(n, 1 / n) if self._sum else (lower + upper) / 2,
            contains=self.in_domain,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it as what makes it again in another process, which then solves alone.

        Raises:
            InputError: If the problem is in no file that another process could load.
        """
        check(
            bool(self._name),
            f"{self.path} cannot be sent to another process: make it by a name, FILE.py:CLASS",
        )
        return _again, (self._name, to_toml(self.problem.config))

    def __repr__(self) -> str:
        """Return one line with its sizes."""
        return f"<{self.path}: {self.n_in} parameters to {self.n_out} observables, by solves>"

    def __call__(self, y: npt.ArrayLike) -> Array:
        """Return `predict`."""
        return self.predict(y)

    def predict(self, y: npt.ArrayLike) -> Array:
        """Solve for the observables, (..., n_out), units of `c_units`."""
        Y = self._parameters(y)
        if Y.size == self.n_in:
            return self._at(Y.reshape(-1)).c.reshape(*Y.shape[:-1], self.n_out).copy()
        C = self._solve(Y.reshape(-1, self.n_in))[0]
        return C.reshape(*Y.shape[:-1], self.n_out)

    def jacobian(self, y: npt.ArrayLike) -> Array:
        """Return dc/dy, (..., n_out, n_in)."""
        Y = self._parameters(y)
        self._check_derivatives()
        if Y.size == self.n_in:
            J = self._at(Y.reshape(-1), whole=True).J
            assert J is not None
        else:
            J = self._solve(Y.reshape(-1, self.n_in), tangents=True)[1]
        return np.array(J).reshape(*Y.shape[:-1], self.n_out, self.n_in)

    def jvp(self, y: npt.ArrayLike, v: npt.ArrayLike) -> Array:
        """Apply the Jacobian to directions v, (..., n_in): (..., n_out).

        A product is solved for as such if the problem can, by directions, and for `vjp` by
        adjoints. A second one at the same y solves for the whole Jacobian, which is kept: inversion
        codes ask for many. From then on the first one at a new y does so too.
        """
        return self._products(y, "v", v, self.y_names)

    def vjp(self, y: npt.ArrayLike, w: npt.ArrayLike) -> Array:
        """Apply the transposed Jacobian to w, (..., n_out): (..., n_in); see `jvp`."""
        return self._products(y, "w", w, self.c_names)

    def in_domain(self, y: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return whether y lies within the bounds and satisfies relations: bool, (...)."""
        Y = self._array("y", y, self.y_names)
        lower, upper = self.bounds
        slack = _ROUNDING * (upper - lower)
        with np.errstate(invalid="ignore"):  # of infinity
            inside = ((lower - slack <= Y) & (upper + slack >= Y)).all(axis=-1)
            if self._sum:
                inside &= np.abs(Y.sum(axis=-1) - 1) <= _ROUNDING
        return np.asarray(inside)

    def _products(
        self, y: npt.ArrayLike, name: str, vectors: npt.ArrayLike, names: tuple[str, ...]
    ) -> Array:
        """Return products with dc/dy, or for w its transpose, of each y with its vector."""
        Y, X = self._parameters(y), self._array(name, vectors, names)
        check(bool(np.isfinite(X).all()), f"expected finite numbers in {name}; got NaN or infinity")
        self._check_derivatives()
        try:
            lead = np.broadcast_shapes(Y.shape[:-1], X.shape[:-1])
        except ValueError as error:
            raise InputError(
                f"expected {name} for each y, or of a shape that broadcasts with it; got "
                f"{X.shape} for y {Y.shape}"
            ) from error
        rows, vectors_ = (
            np.broadcast_to(x, (*lead, x.shape[-1])).reshape(-1, x.shape[-1]) for x in (Y, X)
        )
        found = [self._product(*pair, name) for pair in zip(rows, vectors_, strict=True)]
        return np.array(found).reshape(*lead, self.n_out if name == "v" else self.n_in)

    def _product(self, y: Array, x: Array, name: str) -> Array:
        """Return dc/dy @ x for a direction v, x @ dc/dy for a cotangent w."""
        known = self._known(y)
        can = self.problem.has_directions if name == "v" else self.problem.has_adjoints
        first = known is None or (known.J is None and known.products == 0)
        if can and first and not self._many:
            asked = {"tangents": x[None, None]} if name == "v" else {"adjoints": x[None]}
            C, product = self._solve(y[None], **asked)
            self._point = _Point(y=y, c=C[0], products=1)
            return product[0, :, 0] if name == "v" else product[0, 0]
        self._many = self._many or (can and not first)
        J = self._at(y, whole=True).J
        assert J is not None
        return J @ x if name == "v" else x @ J

    def _known(self, y: Array) -> _Point | None:
        """Return what is kept at y, None if that is another y."""
        known = self._point
        return known if known is not None and np.array_equal(known.y, y) else None

    def _at(self, y: Array, *, whole: bool = False) -> _Point:
        """Return c, and dc/dy if the ``whole`` is wanted, at one y: kept, or solved for."""
        known = self._known(y)
        if known is not None and (known.J is not None or not whole):
            return known
        if known is not None and not self.problem.keeps_solution:
            self._together = True
        C, J = self._solve(y[None], tangents=whole or self._together)
        self._point = _Point(y=y, c=C[0], J=J[0] if J.size else None)
        return self._point

    def _solve(self, Y: Array, **asked: Any) -> tuple[Array, Array]:
        """Solve for samples, (n, n_in); return C and the derivatives that are asked for."""
        last = self._solved is not None and len(Y) == 1 and np.array_equal(Y[0], self._solved)
        derived = any(value is not False for value in asked.values())
        if not (self.problem.keeps_solution and derived and last):
            self.solves += len(Y)
        self._solved = None
        batch = solved(self.problem, Y, size=self.problem.batch(self.problem.config), **asked)
        for y, reason in zip(Y, batch.failure, strict=True):
            if reason:
                self._fail(y, reason)
        self._solved = Y[-1].copy()
        given_ = (batch.dC_dY, batch.dC_dV, batch.dW_dY)
        derivative = next((x for x in given_ if x is not None), np.empty(0))
        if self.problem.comm.size == 1:
            return batch.C, derivative
        found: tuple[Array, Array] = self.problem.comm.bcast((batch.C, derivative))
        return found

    def _fail(self, y: Array, reason: str) -> NoReturn:
        at = ", ".join(f"{name} {x:.6g}" for name, x in zip(self.y_names, y.tolist(), strict=True))
        raise InputError(f"{self.path}: the solve failed at {at:.200}: {reason}")

    def _check_derivatives(self) -> None:
        check(
            has(type(self.problem)),
            f"{self.path} has no derivatives: minimise without them, or by differences of predict",
        )

    def _parameters(self, y: npt.ArrayLike) -> Array:
        """Return parameters, (..., n_in), checked; those outside by rounding are at the bound."""
        Y = self._array("y", y, self.y_names)
        check(bool(np.isfinite(Y).all()), "expected finite numbers in y; got NaN or infinity")
        inside, rows = np.atleast_1d(self.in_domain(Y)).reshape(-1), Y.reshape(-1, self.n_in)
        if not inside.all():
            i = int(np.flatnonzero(~inside)[0])
            raise InputError(
                f"y is outside the domain of {self.path} in {int((~inside).sum())} of {len(rows)} "
                f"samples, first in sample {i} (from 0): {self._why_outside(rows[i])}"
            )
        return np.clip(Y, *self.bounds)

    def _why_outside(self, y: Array) -> str:
        lower, upper = self.bounds
        j = int((np.maximum(lower - y, y - upper) / (upper - lower)).argmax())
        if lower[j] <= y[j] <= upper[j]:
            return f"its sum is {y.sum():.9g}, not 1"
        return f"{self.y_names[j]} is {y[j]:.6g}, its bounds are {lower[j]:.6g} and {upper[j]:.6g}"

    def _array(self, name: str, values: npt.ArrayLike, names: tuple[str, ...]) -> Array:
        array, size = given.real(values, names, name), len(names)
        check(
            array.ndim > 0 and array.shape[-1] == size,
            f"{self.path} takes {self.n_in} parameters and gives {self.n_out} observables: "
            f"expected {name} of shape ({size},), (n, {size}) or (..., {size}); got {array.shape}",
        )
        return array


def _again(name: str, text: str) -> Simulator:
    """Make a problem by its name and its settings as TOML text, on this process alone."""
    return Simulator(name, config=from_toml(problem_of(name).Config, text))
