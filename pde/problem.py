"""The class `Problem`: a PDE with parameters and observables, from which users derive their own.

Your own problem is a class in your own file:

    import numpy as np
    from surrogates.pde import Problem

    class Oscillator(Problem):
        y_names, y_units = ("stiffness", "damping"), ("N/m", "kg/s")
        y_lower, y_upper = (1.0, 0.0), (4.0, 0.5)
        c_names, c_units = ("x(1 s)", "x(2 s)"), "m"

        def solve(self, y):
            stiffness, damping = y
            omega = np.sqrt(stiffness - damping**2 / 4)
            return [np.exp(-damping * t / 2) * np.cos(omega * t) for t in (1, 2)]

`loading.load` finds it as ``oscillator.py:Oscillator``. This module imports neither MPI nor
DOLFINx.
"""

from __future__ import annotations

import inspect
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from surrogates.config import check, unknown
from surrogates.data import SOLVER as SOLVER
from surrogates.errors import InputError
from surrogates.types import Array

from .results import Batch, Solution, texts
from .sampling import DESIGNS, draw
from .solving import described, made, one_by_one, solved

if TYPE_CHECKING:
    from mpi4py import MPI

    from .fields import Field


BUILT_IN = ("cdr", "dcr", "ert")
"""Names of the problems that come with this package."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of every user's problem; derive from it to add others.

    Attributes:
        design: Sampling design, one of `DESIGNS`.
        batch: Samples that are solved together, saved together, and repeated after a kill.
    """

    design: str = "box"
    batch: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(self.design in DESIGNS, unknown(f"design {self.design!r}", self.design, DESIGNS))
        check(self.batch >= 1, f"batch must be at least 1; got {self.batch}")


class Problem:
    """A PDE with its parameters and observables, discretised on one communicator.

    Your own class describes y and c by these class attributes, and defines `solve`. Make objects
    that all samples share once, in ``__init__``. For settings, nest a dataclass; its fields are
    then keys of ``--set`` and of the configuration file:

        @dataclass(frozen=True, kw_only=True)
        class Config(Settings):
            cells: int = 32

    Attributes:
        name: ``cdr``, ``dcr``, ``ert``, or the file's name and the class's: ``darcy.py:Darcy``.
        source: SHA-256 of that file, empty for a built-in problem.
        neighbours: SHA-256 of the modules from its folder that it had imported when it was loaded.
        data_files: Files that the samples depend on, by their paths from that folder. A dataset
            keeps their digests and those of `neighbours`, and a run stops if one changes.
        file_settings: Keys of settings that name such files, such as ``mesh.file``.
        has_tangents: Whether `solve_batch` can return dc/dy.
        has_directions: Whether it can return dc/dy in directions alone. Without it, dc/dy is
            solved for as a whole, and multiplied.
        has_adjoints: Whether it can return the derivatives of functionals of c.
        needs_bounds: Whether it solves only within the bounds of y, as for a mesh made for them.
        keeps_solution: Whether derivatives at the y that it has solved for last cost no new solve.
        Config: Dataclass of the settings.
        y_names: Names of the parameters.
        y_lower: Their lower bounds; one number holds for all.
        y_upper: Their upper bounds; one number holds for all.
        y_units: Their units; one text holds for all, and ``1`` means none.
        c_names: Names of the observables.
        c_units: Their units; one text holds for all.
        coordinates: Numbers that say where or when each c is observed, n_c of them by name
            (``time``, ``x1``, ...).
        config: The settings of this problem.
        comm: The processes that share its mesh.
        solution: The DOLFINx function that `solve` has found, or a dict of several by name, all on
            one mesh. ``surrogates plot model`` draws it, and ``surrogates solve`` writes it for
            ParaView; without it, a problem must override `picture` and `field` for these. `solve`
            sets it for each sample, for example by ``self.solution = function(V, x.array)``
            (`surrogates.pde.points.function`) with a PETSc vector x.
    """

    name: ClassVar[str]
    source: ClassVar[str] = ""
    neighbours: ClassVar[Mapping[Path, str]] = {}
    data_files: ClassVar[Sequence[str]] = ()
    file_settings: ClassVar[Sequence[str]] = ()
    has_tangents: ClassVar[bool] = False
    has_directions: ClassVar[bool] = False
    has_adjoints: ClassVar[bool] = False
    needs_bounds: ClassVar[bool] = False
    keeps_solution: ClassVar[bool] = False
    Config: ClassVar[type[Any]] = Settings
    y_names: ClassVar[Sequence[str]] = ()
    y_lower: ClassVar[float | Sequence[float] | Array]
    y_upper: ClassVar[float | Sequence[float] | Array]
    y_units: ClassVar[str | Sequence[str]] = "1"
    c_names: ClassVar[Sequence[str]] = ()
    c_units: ClassVar[str | Sequence[str]] = "1"
    coordinates: ClassVar[Mapping[str, Sequence[float] | Array]] = {}

    config: Any
    comm: MPI.Comm
    solution: Any = None

    def __init_subclass__(cls) -> None:
        """Name the class, for messages, until `load` sets its full name."""
        super().__init_subclass__()
        if "name" not in vars(cls):
            cls.name = cls.__name__

    def __init__(self, config: Any, comm: MPI.Comm) -> None:
        """Prepare the objects that all samples share; collective.

        Args:
            config: Settings, a `Config`.
            comm: The processes that share the mesh.
        """
        self.config = config
        self.comm = comm

    @classmethod
    def check(cls, config: Any) -> None:
        """Raise `InputError` if a file that the settings name does not fit them."""
        return  # most settings name no file

    @classmethod
    def notes(cls, config: Any) -> tuple[str, ...]:
        """Return notes for the users of a dataset, one line each.

        Examples are an estimated discretisation error, or mended faults of a mesh. Notes are
        printed when a run begins, stored in the dataset, and printed by ``surrogates info``.
        """
        return ()  # most problems have none

    @classmethod
    def compile(cls, config: Any) -> None:
        """Compile the forms into the cache, on one process, before the others need them.

        The base class makes the problem twice, as FFCx 0.5 names a form differently the first
        time. Override this if that takes long.
        """
        from mpi4py import MPI

        for _ in range(2):
            made(cls, config, MPI.COMM_SELF)

    @classmethod
    def design(cls, config: Any) -> str:
        """Return the name of the sampling design."""
        return str(config.design)

    @classmethod
    def batch(cls, config: Any) -> int:
        """Return the number of samples that are solved and saved together."""
        return int(config.batch)

    @classmethod
    def describe(cls, config: Any) -> dict[str, Any]:
        """Describe parameters and observables: their fields of `surrogates.data.Info`.

        They come from the class's attributes; override this if they depend on the settings.

        Raises:
            InputError: If an attribute is missing or does not fit the others.
        """
        y_names, c_names = (_names(cls, attribute) for attribute in ("y_names", "c_names"))
        n_y, n_c = len(y_names), len(c_names)
        if cls.design(config) == "simplex":
            lower, upper = np.zeros(n_y), np.ones(n_y)
        else:
            lower, upper = (
                _numbers(cls, side, getattr(cls, side, None), n_y, "y_names")
                for side in ("y_lower", "y_upper")
            )
        wrong = np.flatnonzero(lower >= upper)
        if len(wrong):
            k = wrong[0]
            raise InputError(
                f"{cls.name}: y_lower must be below y_upper; got {lower[k]:g} and {upper[k]:g} "
                f"for {y_names[k]}"
            )
        check(
            isinstance(cls.coordinates, Mapping),
            f"{cls.name}: coordinates must be a dict; got {cls.coordinates!r:.60}",
        )
        return {
            "y_names": y_names,
            "y_units": _units(cls, "y_units", n_y),
            "y_lower": lower,
            "y_upper": upper,
            "c_names": c_names,
            "c_units": _units(cls, "c_units", n_c),
            "coordinates": {
                key: _numbers(cls, f"coordinates[{key!r}]", values, n_c, "c_names")
                for key, values in cls.coordinates.items()
            },
        }

    @classmethod
    def parameters(cls, config: Any, *, total: int, seed: int, start: int, stop: int) -> Array:
        """Draw the samples ``start`` to ``stop``: Y, (stop - start, n_y); see `sampling.draw`.

        Override this for a distribution of your own. Row i must depend on the settings, the seed
        and i alone, so that runs go on and a dataset can be extended.
        """
        about = described(cls.describe, config)
        return draw(
            cls.design(config),
            about["y_lower"],
            about["y_upper"],
            total=total,
            seed=seed,
            start=start,
            stop=stop,
        )

    @classmethod
    def has_own_parameters(cls) -> bool:
        """Return whether a class draws its samples by its own `parameters`."""
        own, base = (inspect.getattr_static(one, "parameters") for one in (cls, Problem))
        return own is not base

    @classmethod
    def has_own_batches(cls) -> bool:
        """Return whether a user's class has its own method that solves for batches."""
        return cls.solve_batch is not Problem.solve_batch and cls.name not in BUILT_IN

    @property
    def mesh(self) -> str:
        """The dataset's line on the mesh; collective at its first use."""
        return self._mesh

    @mesh.setter
    def mesh(self, text: str) -> None:
        check(
            isinstance(text, str),
            f"{self.name}: self.mesh is the text about the mesh in the dataset; "
            "call the mesh itself self.domain",
        )
        self._mesh = text

    _mesh = ""

    def solve(self, y: Array) -> Any:
        """Solve for one sample; collective.

        If it raises an error, the sample fails for that reason, and the run continues. After a
        `MemoryError` the sample is tried once more, in a new process. With ``--in-process`` a
        `MemoryError` ends the run.

        After each solve the state of the process is restored: working folder, umask, environment,
        locale, resource limits, numpy's and the processor's floating-point settings. Samples are
        solved for in any order: seed random numbers by y, for example by
        ``np.random.default_rng(y.view(np.uint64))``.

        Args:
            y: Parameters, (n_y,) float64.

        Returns:
            c, (n_c,), or a `Solution` that holds it; the value on rank 0 of the communicator is
            used. If c has names (`surrogates.given`), it is ordered by them.
        """
        batch = solved(self, np.asarray(y)[None])
        check(not batch.failure[0], f"the solve failed: {batch.failure[0]}")
        return Solution(
            batch.C[0],
            residual=float(batch.solver["residual"][0]),
            iterations=int(batch.solver["iterations"][0]),
        )

    def solve_batch(self, Y: Array, *, tangents: Any = False) -> Batch:
        """Solve for a batch; collective. The base class calls `solve` for one sample after another.

        A class that solves many samples at a time overrides this, with the same arguments:

            def solve_batch(self, Y, *, tangents=False):
                C = ...  # (n, n_c)
                solver = np.zeros(len(Y), SOLVER)  # iterations, residual, seconds
                return Batch(C=C, failure=[""] * len(Y), solver=solver)

        If an override raises an error or returns something wrong, all samples of the batch fail,
        and the run goes on. `solve` says what happens after a `MemoryError`, and what is restored.

        A class with ``has_adjoints`` takes one more keyword, ``adjoints=None``, which is passed
        only when it is asked for: functionals W, (r, n_c), in 1 over units of c. The batch then
        has ``dW_dY``, (n, r, n_y), with ``dW_dY[i, k] = W[k] @ dc_i/dy``.

        Args:
            Y: Parameters, (n, n_y) float64, the same on every process of the communicator: a copy,
                which the method may change.
            tangents: Whether to solve for dc/dy as well, ``dC_dY`` of the batch, if
                ``has_tangents``. If ``has_directions``, this may also be directions V,
                (n, r, n_y), in units of y: the batch then has ``dC_dV``, (n, n_c, r), with
                ``dC_dV[i, :, k] = dc_i/dy @ V[i, k]``.

        Returns:
            The batch; the value on rank 0 of the communicator is used.

        Raises:
            InputError: On every process, if `solve` does not return n_c real numbers.
        """
        assert tangents is False
        return one_by_one(self, Y)

    def picture(self, y: Array, path: str | os.PathLike[str]) -> None:
        """Solve for one sample and draw ``self.solution``; collective, rank 0 writes the file.

        On a line each function is drawn as a curve; in the plane as filled contours, with arrows if
        it is a vector; in space on three sections through the middle of the mesh. Override this to
        draw in another way.

        Args:
            y: Parameters, (n_y,).
            path: The figure: .png, .pdf or .svg.

        Raises:
            InputError: If the solve fails, or leaves no functions in ``self.solution``.
        """
        functions = self._solved_functions(y)
        from . import figures

        figures.draw(functions, path)

    def field(self, y: Array) -> Field:
        """Solve for one sample and return ``self.solution`` on the whole mesh; collective.

        For functions of a degree above 1, cells are divided into smaller ones with straight sides.

        Args:
            y: Parameters, (n_y,).

        Returns:
            The field, whole on rank 0 of the communicator and without cells on others.

        Raises:
            InputError: If the solve fails, or leaves no functions in ``self.solution``.
        """
        functions = self._solved_functions(y)
        from .functions import sampled

        return sampled(functions)

    def _solved_functions(self, y: Array) -> dict[str, Any]:
        """Solve for one sample, and return the DOLFINx functions in `solution` by their names."""
        batch = solved(self, np.asarray(y, dtype=np.float64)[None])
        check(not batch.failure[0], f"the solve failed: {batch.failure[0]}")
        check(
            self.solution is not None,
            f"{self.name} has no solution to draw or write: let solve set self.solution to a "
            "DOLFINx function, or to a dict of such functions by name; or define `picture` and "
            "`field`",
        )
        from .functions import checked

        return checked(self.solution, self.name)


def _names(cls: type[Problem], attribute: str) -> tuple[str, ...]:
    given = getattr(cls, attribute)
    names = texts(given)
    check(
        len(names) > 0 and not isinstance(given, str),
        f"{cls.name}: {attribute} must be a sequence of names; got {given!r:.60}",
    )
    twice = [name for name, count in Counter(names).items() if count > 1]
    check(not twice, f"{cls.name}: {attribute} has {twice[:1]} twice")
    return names


def _units(cls: type[Problem], attribute: str, n: int) -> tuple[str, ...]:
    given = getattr(cls, attribute)
    units = (given,) * n if isinstance(given, str) else texts(given)
    check(
        len(units) == n,
        f"{cls.name}: {attribute} must be a text or {n} of them, one for each name; "
        f"got {given!r:.60}",
    )
    return units


def _numbers(cls: type[Problem], what: str, given: Any, n: int, names: str) -> Array:
    """Read n finite numbers from n numbers, or from one for all."""
    try:
        values = np.broadcast_to(np.asarray(given, dtype=np.float64), n).copy()
    except (TypeError, ValueError):
        values = np.full(n, np.nan)
    check(
        bool(np.isfinite(values).all()),
        f"{cls.name}: {what} must be a finite number or {n} of them, as {names}; got {given!r:.60}",
    )
    return values
