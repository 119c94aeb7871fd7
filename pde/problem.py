"""What a PDE problem is to the code that generates datasets and pictures, and where to find one.

A problem of one's own is a class in a file of one's own:

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

which `load` finds as ``oscillator.py:Oscillator``. This module imports neither MPI nor DOLFINx.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from surrogates import config as configuration
from surrogates.config import check, unknown
from surrogates.data import SOLVER as SOLVER
from surrogates.errors import InputError
from surrogates.given import numbers
from surrogates.pipes import take_no_sigpipe
from surrogates.provenance import readable
from surrogates.types import Array

from .ensemble.limits import TimeLimitError
from .inputs import NEIGHBOURS, check_files
from .sampling import DESIGNS, draw
from .surroundings import surroundings_kept

if TYPE_CHECKING:
    from mpi4py import MPI

    from surrogates.data import Info


BUILT_IN = ("cdr", "dcr")
"""Names of the problems that come with this package."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The result of `Problem.solve_batch`; rank 0 of the communicator must have it whole.

    Attributes:
        C: Observables, (n, n_c) real numbers; NaN where a solve failed.
        failure: Why a solve failed, empty where it did not; n texts, or none if no solve failed.
        solver: Iterations, largest relative residual and seconds, (n,) of dtype `SOLVER`. Without
            it there are no iterations and the residual is not known.
        dC_dY: Tangents, (n, n_c, n_y), if they were asked for; NaN where a solve failed.
    """

    C: Array
    failure: list[str] = field(default_factory=list)
    solver: npt.NDArray[np.void] = field(default_factory=lambda: np.empty(0, SOLVER))
    dC_dY: Array | None = None

    def __post_init__(self) -> None:
        """Fill in what was left out."""
        if not len(self.failure):
            object.__setattr__(self, "failure", [""] * len(self.C))
        if not len(self.solver):
            object.__setattr__(self, "solver", _unknown(len(self.C)))


@dataclass(frozen=True)
class Solution:
    """What a solve gave, where c alone would leave out how good it is.

    Attributes:
        c: Observables, (n_c,).
        residual: Largest relative residual of the linear solves, NaN if it is not known.
        iterations: Their iterations, together.
    """

    c: npt.ArrayLike
    residual: float = field(default=np.nan, kw_only=True)
    iterations: int = field(default=0, kw_only=True)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every problem of one's own lets its users set; derive from it to add to these.

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


@dataclass(frozen=True, kw_only=True)
class Field:
    """A solution on the whole mesh, for a file that others read.

    Attributes:
        points: Nodes, (n, 3).
        kind: What meshio calls the cells: ``quad``, ``hexahedron``, ``tetra``.
        cells: Their nodes in meshio's order, (n_cells, k).
        at_points: Values at the nodes by name, (n,) each.
        at_cells: Values of the cells by name, (n_cells,) or (n_cells, 9) each.
    """

    points: Array
    kind: str
    cells: npt.NDArray[np.int64]
    at_points: dict[str, Array]
    at_cells: dict[str, Array]


class Problem:
    """A PDE with its parameters and observables, discretised on one communicator.

    A class of one's own says what y and c are, by the class attributes here, and defines `solve`.
    What all samples share is made once, in ``__init__``. One with settings nests a dataclass, whose
    fields are then keys of ``--set`` and of the configuration file:

        @dataclass(frozen=True, kw_only=True)
        class Config(Settings):
            cells: int = 32

    Attributes:
        name: ``cdr``, ``dcr``, or the file's name and the class's: ``darcy.py:Darcy``.
        source: SHA-256 of that file, empty for a built-in problem.
        neighbours: SHA-256 of the modules from its folder that it had imported when it was loaded.
        data_files: Files that the samples depend on, by their paths from that folder. A dataset
            keeps what they hold, and a run does not go on with others; so for `neighbours`.
        file_settings: Keys of settings that name such files, as ``mesh.file``.
        has_tangents: Whether `solve_batch` can give dc/dy.
        Config: Dataclass of the settings.
        y_names: Names of the parameters.
        y_lower: Their lower bounds; a number is that of all.
        y_upper: Their upper bounds, likewise.
        y_units: Their units; a text is that of all, ``1`` if they have none.
        c_names: Names of the observables.
        c_units: Their units, likewise.
        coordinates: Numbers that say where or when each c is observed, n_c of them by name
            (``time``, ``x1``, ...).
        config: The settings of this problem.
        comm: The processes that share its mesh.
    """

    name: ClassVar[str]
    source: ClassVar[str] = ""
    neighbours: ClassVar[Mapping[Path, str]] = {}
    data_files: ClassVar[Sequence[str]] = ()
    file_settings: ClassVar[Sequence[str]] = ()
    has_tangents: ClassVar[bool] = False
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

    def __init_subclass__(cls) -> None:
        """Name the class, for messages, until `load` does it better."""
        super().__init_subclass__()
        if "name" not in vars(cls):
            cls.name = cls.__name__

    def __init__(self, config: Any, comm: MPI.Comm) -> None:
        """Prepare all that the samples share; collective.

        Args:
            config: Settings, a `Config`.
            comm: The processes that share the mesh.
        """
        self.config = config
        self.comm = comm

    @classmethod
    def check(cls, config: Any) -> None:
        """Raise `InputError` if a file that the configuration names does not fit it."""
        return  # most name none

    @classmethod
    def notes(cls, config: Any) -> tuple[str, ...]:
        """Say what the users of a dataset must know about its samples, one line each.

        Examples are an estimated discretisation error, or what was mended in a mesh. They are
        printed when a run begins, stored in the dataset, and printed by ``surrogates info``.
        """
        return ()  # most have nothing to say

    @classmethod
    def compile(cls, config: Any) -> None:
        """Compile what every process then finds in a cache; on one process, before the others.

        Here by making the problem, twice, as FFCx 0.5 names forms otherwise the first time. Where
        that takes long, a class overrides this.
        """
        from mpi4py import MPI

        for _ in range(2):
            made(cls, config, MPI.COMM_SELF)

    @classmethod
    def design(cls, config: Any) -> str:
        """Give the sampling design."""
        return str(config.design)

    @classmethod
    def batch(cls, config: Any) -> int:
        """Give the number of samples that are solved and saved together."""
        return int(config.batch)

    @classmethod
    def describe(cls, config: Any) -> dict[str, Any]:
        """Name parameters and observables: the fields of `surrogates.data.Info` about them.

        From the class's attributes; a problem where they depend on the settings overrides this.

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
        """Draw the samples ``start`` to ``stop``: Y, (stop - start, n_y); see `sampling.draw`."""
        about = _about(cls.describe, config)
        return draw(
            cls.design(config),
            about["y_lower"],
            about["y_upper"],
            total=total,
            seed=seed,
            start=start,
            stop=stop,
        )

    @property
    def mesh(self) -> str:
        """What the dataset says of the mesh, one line; collective when first asked for."""
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

        What it raises is the sample's reason of failure, and the run goes on. After a
        `MemoryError` the sample is tried once more, in a new process; within the process that was
        started it ends the run.

        What it changes of its process is put back: working folder, mask of new files' rights,
        environment, locale, limits of resources, numpy's and the processor's floating-point
        settings. Where it draws random numbers, their generator should be made from y, as in
        ``np.random.default_rng(y.view(np.uint64))``: samples are solved for in any order.

        Args:
            y: Parameters, (n_y,) float64.

        Returns:
            c, (n_c,), or a `Solution` with it; only that on rank 0 of the communicator is used. A c
            that bears names (`surrogates.given`) is matched by them.
        """
        batch = solved(self, np.asarray(y)[None])
        check(not batch.failure[0], f"the solve failed: {batch.failure[0]}")
        return Solution(
            batch.C[0],
            residual=float(batch.solver["residual"][0]),
            iterations=int(batch.solver["iterations"][0]),
        )

    def solve_batch(self, Y: Array, *, tangents: bool = False) -> Batch:
        """Solve for a batch; collective. Here one sample after another, by `solve`.

        A class that solves many samples at a time overrides this, with the same arguments:

            def solve_batch(self, Y, *, tangents=False):
                C = ...  # (n, n_c)
                solver = np.zeros(len(Y), SOLVER)  # iterations, residual, seconds
                return Batch(C=C, failure=[""] * len(Y), solver=solver)

        What an override raises or returns wrong is the failure of all samples of the batch, and
        the run goes on; for `MemoryError`, and for what is put back, see `solve`.

        Args:
            Y: Parameters, (n, n_y) float64, the same on every process of the communicator: a copy,
                which the method may change.
            tangents: Whether to solve for dc/dy as well, where ``has_tangents``.

        Returns:
            The batch; only that on rank 0 of the communicator is used.

        Raises:
            InputError: On every process, if `solve` does not give n_c real numbers.
        """
        assert not tangents
        comm = _comm(self)
        names = _about(self.describe, self.config)["c_names"]
        C = np.full((len(Y), len(names)), np.nan)
        solver = _unknown(len(Y))
        failure = []
        for i, y in enumerate(Y):
            start = time.perf_counter()
            mistake, reason, solution = "", "", Solution(())
            try:
                with surroundings_kept():
                    given = self.solve(y.copy())
                solution = given if isinstance(given, Solution) else Solution(given)
            except BaseException as error:
                if not _is_failure(error):
                    raise
                reason = _one_line(error)
            else:
                if comm.rank == 0:
                    c, mistake = _observables(solution.c, names, C.shape[1:], "solve", "c")
                    reason = "" if mistake else _record(solution, solver[i]) or _unusable(c, "c")
            # One process may have failed where others did not.
            if comm.size > 1:
                reports = comm.allgather((reason, mistake))
                reason, mistake = (max(texts, key=bool) for texts in zip(*reports, strict=True))
            failure.append(reason)
            if not reason:
                check(not mistake, _cleaned(f"{self.name}: {mistake}"))
                if comm.rank == 0:
                    C[i] = c
            solver["seconds"][i] = time.perf_counter() - start
        return Batch(C=C, failure=failure, solver=solver)

    def picture(self, y: Array, path: str | os.PathLike[str]) -> None:
        """Solve for one sample, y (n_y,), and draw the solution; on one process."""
        raise InputError(f"{self.name} draws no picture: it does not define `picture`")

    def field(self, y: Array) -> Field:
        """Solve for one sample, y (n_y,); on one process."""
        raise InputError(f"{self.name} writes no field: it does not define `field`")


def load(name: str, info: Info | None = None) -> type[Problem]:
    """Find a problem.

    Args:
        name: One of `BUILT_IN`, or ``FILE.py:CLASS``. The file is run as a script would be: its
            folder is the first where its imports are looked for.
        info: A dataset that the problem must have made: else nothing of the file is run.

    Raises:
        InputError: If there is none of that name, the file fails, the class cannot be used, or it
            has not made the dataset.
        ImportError: If a built-in problem's libraries are missing.
    """
    NEIGHBOURS.expected = None
    try:
        return _found(name, info)
    finally:
        take_no_sigpipe()


def _found(name: str, info: Info | None) -> type[Problem]:
    file, _, wanted = name.rpartition(":") if ":" in name else (name, "", "")
    if info is not None:
        full = f"{Path(file).name}:{wanted}" if wanted else name
        check(full == info.problem, f"its problem is {info.problem}, not {full}")
    if name in BUILT_IN:
        module = importlib.import_module(f"{__package__}.{name}")
        return cast(type[Problem], getattr(module, name.upper()))
    known = unknown(f"problem {name!r}", name, BUILT_IN)
    check(file.endswith(".py"), f"{known} or FILE.py:CLASS")
    path = Path(file)
    module, source = _run(path, info)
    own: dict[str, Any] = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    }
    problems = [key for key, value in own.items() if issubclass(value, Problem)]
    if wanted not in own:
        check(bool(problems), f"{path} defines no class that derives from surrogates.pde.Problem")
        raise InputError(f"{path}: {unknown(f'class {wanted!r}', wanted, problems)}")
    found, full = own[wanted], f"{path.name}:{wanted}"
    check(wanted in problems, f"{full} does not derive from surrogates.pde.Problem")
    check(
        found.solve is not Problem.solve or found.solve_batch is not Problem.solve_batch,
        f"{full} has no method solve(self, y)",
    )
    check(
        found.name in (wanted, full)
        and vars(found).get("source", source) == source
        and ("neighbours" not in vars(found) or "source" in vars(found)),
        f"{full}: `name`, `source` and `neighbours` are what the dataset says of the class; "
        "call attributes of your own something else",
    )
    _check_batches(full, found.solve_batch)
    _check_settings(full, found.Config)
    if "source" not in vars(found):
        found.neighbours = NEIGHBOURS.modules(path.resolve())
    found.name, found.source = full, source
    return cast(type[Problem], found)


def _run(path: Path, info: Info | None) -> tuple[ModuleType, str]:
    """Run a file as a module, once for each content of it and of the modules from its folder.

    Returns:
        The module, and the SHA-256 of the file's content.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    source, place = hashlib.sha256(content).hexdigest(), path.resolve()
    # No import can be of this name; it is the same on every process, where settings are sent.
    name = f"{path.stem}-{hashlib.sha256(f'{place} {source}'.encode()).hexdigest()[:16]}"
    name = name.replace(".", "-")
    NEIGHBOURS.watch(place)
    changed = NEIGHBOURS.forget_changed()
    if info is not None:
        check_files(place, source, info)
    if name in sys.modules and not changed:
        return sys.modules[name], source
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    if str(place.parent) not in sys.path:
        sys.path.insert(0, str(place.parent))
    sys.modules[name] = module
    try:
        # Not by the spec's loader: the content that was hashed, and nothing cached.
        with NEIGHBOURS.looking():
            exec(compile(content, place, "exec"), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(f"{path}{_explained(error, place)}") from error
    return module, source


def made(problem: type[Problem], config: Any, comm: MPI.Comm) -> Problem:
    """Make a problem; collective.

    Raises:
        InputError: If a class of a user's raises an error, which is said in one line.
    """
    try:
        with NEIGHBOURS.looking(bool(problem.source)):
            return problem(config, comm)
    except Exception as error:
        if not problem.source or isinstance(error, InputError | MemoryError):
            raise
        place = Path(problem.__init__.__code__.co_filename)
        raise InputError(f"{problem.name}{_explained(error, place)}") from error
    finally:
        take_no_sigpipe()


def noted(problem: type[Problem], config: Any) -> tuple[str, ...]:
    """Return a problem's notes, each as one line.

    Raises:
        InputError: If they are no texts, or a class of a user's raises an error.
    """
    try:
        given = problem.notes(config)
    except Exception as error:
        if not problem.source or isinstance(error, InputError | MemoryError):
            raise
        place = Path(str(sys.modules[problem.__module__].__file__))
        raise InputError(f"{problem.name}{_explained(error, place)}") from error
    finally:
        take_no_sigpipe()
    check(
        isinstance(given, tuple | list) and all(isinstance(text, str) for text in given),
        f"{problem.name}: notes must return a tuple of texts; got {given!r:.60}",
    )
    return tuple(" ".join(text.split()) for text in given)


def _explained(error: BaseException, place: Path) -> str:
    """Say where in a file an error comes from, and what it is."""
    stack = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in stack if frame.filename == str(place)]
    text = _one_line(error)
    if isinstance(error, SyntaxError) and error.filename == str(place):
        lines, text = [error.lineno], f"{type(error).__name__}: {error.msg}"
    return f"{f', line {lines[-1]}' if lines else ''}: {text}"


def _check_batches(name: str, solve_batch: Callable[..., Any]) -> None:
    """Check that a method takes what it is called with."""
    try:
        inspect.signature(solve_batch).bind(None, None, tangents=False)
    except TypeError as error:
        raise InputError(
            f"{name}: solve_batch must be solve_batch(self, Y, *, tangents=False): {error}"
        ) from error


def _check_settings(name: str, settings: Any) -> None:
    """Check that a class of settings can be told by users and kept in files."""
    check(
        isinstance(settings, type)
        and issubclass(settings, Settings)
        and "__dataclass_fields__" in vars(settings),
        f"{name}: Config must be a dataclass that derives from surrogates.pde.Settings, "
        "with @dataclass(frozen=True, kw_only=True) above it",
    )
    try:
        defaults = settings()
        same = configuration.from_toml(settings, configuration.to_toml(defaults)) == defaults
        check(same, "a default changes as it is written to a file and read")
    except Exception as error:  # what a user's annotations and defaults raise has no common type
        text = str(error) if isinstance(error, InputError) else _one_line(error)
        raise InputError(
            f"{name}: the fields of Config must be bool, int, float, str or tuples of these, "
            f"each with a default: {text}"
        ) from error


@functools.lru_cache(maxsize=1)
def _about(describe: Callable[[Any], dict[str, Any]], config: Any) -> dict[str, Any]:
    """Describe a problem once, however often a small batch is drawn and solved."""
    return describe(config)


def _names(cls: type[Problem], attribute: str) -> tuple[str, ...]:
    given = getattr(cls, attribute)
    names = _texts(given)
    check(
        len(names) > 0 and not isinstance(given, str),
        f"{cls.name}: {attribute} must be a sequence of names; got {given!r:.60}",
    )
    twice = [name for name, count in Counter(names).items() if count > 1]
    check(not twice, f"{cls.name}: {attribute} has {twice[:1]} twice")
    return names


def _units(cls: type[Problem], attribute: str, n: int) -> tuple[str, ...]:
    given = getattr(cls, attribute)
    units = (given,) * n if isinstance(given, str) else _texts(given)
    check(
        len(units) == n,
        f"{cls.name}: {attribute} must be a text or {n} of them, one for each name; "
        f"got {given!r:.60}",
    )
    return units


def _texts(given: Any) -> tuple[str, ...]:
    """Give the texts of a sequence of such, none of anything else."""
    sequence = isinstance(given, Iterable) and all(isinstance(text, str) for text in given)
    return tuple(str(text) for text in given) if sequence else ()


def _numbers(cls: type[Problem], what: str, given: Any, n: int, names: str) -> Array:
    """Read n finite numbers from as many, or from one."""
    try:
        values = np.broadcast_to(np.asarray(given, dtype=np.float64), n).copy()
    except (TypeError, ValueError):
        values = np.full(n, np.nan)
    check(
        bool(np.isfinite(values).all()),
        f"{cls.name}: {what} must be a finite number or {n} of them, as {names}; got {given!r:.60}",
    )
    return values


def solved(
    problem: Problem,
    Y: Array,
    *,
    size: int = 0,
    tangents: bool = False,
    begins: Callable[[int], None] = lambda first: None,
) -> Batch:
    """Solve for samples by `Problem.solve_batch`, and check what it returns; collective.

    Args:
        problem: The problem.
        Y: Parameters, (n, n_y); the problem gets copies.
        size: Samples of a batch; 0 for all of them in one.
        tangents: Whether to solve for dc/dy as well.
        begins: Called before each batch with the row of its first sample.

    Returns:
        The samples, complete on rank 0 of the problem's communicator; ``failure`` is so on every
        process. C and dC_dY are NaN where a sample failed. The arrays are not the problem's, which
        may use its own again.

    Raises:
        InputError: On every process, if `Problem.solve` does not give n_c real numbers.
    """
    comm, n, own = _comm(problem), len(Y), _is_own(problem)
    about = _about(problem.describe, problem.config)
    n_c = len(about["c_names"])
    batch = Batch(
        C=np.full((n, n_c), np.nan),
        failure=[""] * n,
        solver=_unknown(n),
        dC_dY=np.full((n, n_c, Y.shape[1]), np.nan) if tangents else None,
    )
    for start in range(0, n, size or n):
        rows = slice(start, min(start + (size or n), n))
        given, reason = None, ""
        begins(start)
        try:
            with surroundings_kept() if own else contextlib.nullcontext():  # else `solve` has it
                with NEIGHBOURS.looking(bool(problem.source)):
                    given = problem.solve_batch(Y[rows].copy(), tangents=tangents)
        except BaseException as error:
            if not own or not _is_failure(error):
                raise
            reason = _one_line(error)
        if not reason and comm.rank == 0:
            try:
                reason = _take(given, batch, rows, about)
            except Exception as error:  # of an object of theirs that numpy or a text is made of
                if isinstance(error, MemoryError):
                    raise
                reason = _one_line(error)
        if reason:
            batch.failure[rows] = [reason] * (rows.stop - start)
    if comm.rank == 0:
        _judge(batch)
    _settle(batch, comm)
    return batch


def _comm(problem: Problem) -> MPI.Comm:
    """Return the communicator of a problem, or say that its class has left it out."""
    check(
        hasattr(problem, "comm"),
        f"{problem.name}: __init__ must call super().__init__(config, comm)",
    )
    return problem.comm


def _is_failure(error: BaseException) -> bool:
    """Tell whether what a solve raises is a failure of its sample, or ends more than that."""
    return not isinstance(error, KeyboardInterrupt | MemoryError | TimeLimitError)


def _is_own(problem: Problem) -> bool:
    """Tell whether a user's class has a method of its own that solves for batches."""
    method = type(problem).solve_batch
    return method is not Problem.solve_batch and problem.name not in BUILT_IN


def _take(given: Any, into: Batch, rows: slice, about: Mapping[str, Any]) -> str:
    """Copy what `Problem.solve_batch` has returned, checked, into some rows.

    Returns:
        In what it is wrong as a whole, empty if it is not. What is wrong with some of the samples
        is their ``failure``.
    """
    n = rows.stop - rows.start
    if not isinstance(given, Batch):
        return _cleaned(f"solve_batch must give a surrogates.pde.Batch; got {_shown(given)}")
    shape = into.C[rows].shape
    C, mistake = _observables(given.C, about["c_names"], shape, "solve_batch", "C")
    dC_dY = None
    if into.dC_dY is not None and not mistake:
        names, shape = about["y_names"], into.dC_dY[rows].shape
        dC_dY, mistake = _observables(given.dC_dY, names, shape, "solve_batch", "dC_dY")
    solver, failure = np.asanyarray(given.solver), given.failure
    if not mistake and isinstance(solver, np.ma.MaskedArray):
        mistake = "solve_batch must give solver without a mask"
    listed = isinstance(failure, Sequence | np.ndarray) and not isinstance(failure, str)
    if not mistake and (not listed or len(failure) != n or len(_texts(failure)) != n):
        mistake = f"solve_batch must give failure as a list of {n} texts; got {_shown(failure)}"
    if not mistake and (solver.dtype != SOLVER or solver.shape != (n,)):
        mistake = f"solve_batch must give solver of shape {(n,)} and dtype SOLVER; got "
        mistake += f"{solver.shape}, {solver.dtype}"
    if mistake:
        return _cleaned(mistake)
    with np.errstate(over="ignore"):  # to infinity, which is judged below
        into.C[rows] = C
    into.solver[rows] = solver
    if into.dC_dY is not None:
        into.dC_dY[rows] = dC_dY
    into.failure[rows] = [text and (_cleaned(text) or "failed") for text in failure]
    for values, name in ((C, "c"), (dC_dY, "dC_dY")):
        if isinstance(values, np.ma.MaskedArray):
            for i, one in enumerate(values, rows.start):
                into.failure[i] = into.failure[i] or _unusable(one, name)
    return ""


def _judge(batch: Batch) -> None:
    """Fail the samples of a batch whose numbers are no data, unless they have failed already."""
    suspect = ~np.isfinite(batch.C).all(axis=1)
    suspect |= (batch.solver["residual"] < 0) | (batch.solver["iterations"] < 0)
    seconds = batch.solver["seconds"]
    suspect |= ~((seconds >= 0) & (seconds < np.inf))
    if batch.dC_dY is not None:
        suspect |= ~np.isfinite(batch.dC_dY).all(axis=(1, 2))
    for i in np.flatnonzero(suspect):
        record = {name: batch.solver[i][name] for name in ("residual", "iterations")}
        batch.failure[i] = (
            batch.failure[i]
            or _record(Solution((), **record), batch.solver[i])
            or _unusable(batch.C[i], "c")
            or "dC_dY is not finite"
        )


def _settle(batch: Batch, comm: MPI.Comm) -> None:
    """Fail the samples that have failed on any process, and keep no numbers of them."""
    if comm.size > 1:
        reports = comm.allgather(batch.failure)
        batch.failure[:] = [max(texts, key=bool) for texts in zip(*reports, strict=True)]
    if any(batch.failure):
        bad = [bool(text) for text in batch.failure]
        batch.C[bad] = np.nan
        if batch.dC_dY is not None:
            batch.dC_dY[bad] = np.nan


def _unknown(n: int) -> npt.NDArray[np.void]:
    """Return the records of n solves of which nothing is known."""
    solver = np.zeros(n, SOLVER)
    solver["residual"] = np.nan
    return solver


def _observables(
    given: Any, names: Sequence[str], shape: tuple[int, ...], method: str, name: str
) -> tuple[Any, str]:
    """Read real numbers of a shape.

    Args:
        given: The numbers, as `surrogates.given` takes them; a mask is kept.
        names: Of the entries of the last axis.
        shape: The shape.
        method: What has given them.
        name: What they are.

    Returns:
        They, masked where they were, and in what they are not as they should be, empty if they are.
    """
    what = f"{method} must give {name}"
    try:
        values = _detached(given)
        if isinstance(values, list | tuple):
            values = [_detached(value) for value in values]
            if any(isinstance(value, np.ma.MaskedArray) for value in values):
                values = np.ma.stack(values)
        if not isinstance(values, np.ma.MaskedArray):
            values = numbers(values, names, name)
    except Exception as error:  # of rows of different lengths, or of another library's array
        reason = str(error) if isinstance(error, InputError) else _one_line(error)
        return None, f"{what} as real numbers; got {_shown(given)} ({reason})"
    if values.dtype.kind not in "iuf":
        return None, f"{what} as real numbers; got {_shown(given)}"
    if values.shape != shape:
        return None, f"{what} of shape {shape}, as {name[0].lower()}_names; got {values.shape}"
    return values, ""


def _detached(value: Any) -> Any:
    """Return a tensor of torch without its graph, which numpy does not take; else the value."""
    return value.detach().cpu() if hasattr(value, "detach") else value


def _unusable(values: Any, name: str) -> str:
    """Say why the numbers of one sample are no data, empty if they are."""
    if isinstance(values, np.ma.MaskedArray) and np.any(values.mask):
        return f"{name} has masked values"
    return "" if np.isfinite(np.asarray(values)).all() else f"{name} is not finite"


def _record(solution: Solution, into: Any) -> str:
    """Keep how good a solution is; say what is wrong with that, empty if nothing is."""
    residual, iterations = _scalar(solution.residual), _scalar(solution.iterations)
    if not isinstance(residual, float | int) or residual < 0:
        return f"residual must be a number of at least 0, or NaN; got {_shown(solution.residual)}"
    whole = isinstance(iterations, float | int) and iterations % 1 == 0
    if not whole or not 0 <= iterations < 2**63:
        return f"iterations must be a whole number, >= 0; got {_shown(solution.iterations)}"
    if not 0 <= into["seconds"] < np.inf:
        return f"seconds must be a number of at least 0; got {into['seconds']}"
    into["residual"], into["iterations"] = residual, iterations
    return ""


def _scalar(value: Any) -> Any:
    """Return the number in a scalar of numpy or torch; anything else, or a mask, as it is."""
    masked = isinstance(value, np.ma.MaskedArray)
    return value.item() if getattr(value, "shape", None) == () and not masked else value


def _shown(value: Any) -> str:
    """Return how a value is written, at most 60 characters; its class where it cannot be."""
    try:
        return f"{value!r:.60}"
    except Exception:  # of a class of theirs
        return f"a {type(value).__name__}"


def _cleaned(text: str) -> str:
    """Make a text one line that files can hold."""
    return readable(" ".join(text.replace("\0", " ").split()))


def _one_line(error: BaseException) -> str:
    """Say what was raised; of several lines the first, and the last, where PETSc's reason is."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # of a class of theirs
        lines = []
    return _cleaned(": ".join([type(error).__name__, *lines[:1], *lines[1:][-1:]]))
