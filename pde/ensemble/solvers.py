"""Solvers: in this process, or in a separate process (`processes`).

Both have the same methods. A run uses them for everything that needs the problem's class, so that a
process that keeps a solver imports neither the problem nor DOLFINx.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import scipy

from surrogates import config as configuration
from surrogates.config import check, from_toml, to_toml
from surrogates.data import Info, assign_split
from surrogates.errors import InputError
from surrogates.folders import Folder
from surrogates.provenance import Provenance, provenance
from surrogates.types import Array

from ..checks.lines import fault
from ..inputs import NEIGHBOURS, expect, files, inputs, undeclared
from ..prescribed import Space
from ..problem import Problem
from ..results import Batch, derivatives
from ..solving import drawn, made, noted, solved
from ..wanted import Wanted
from .journal import largest
from .limits import NoLimit, TimeLimit, TimeLimitError

if TYPE_CHECKING:
    from mpi4py import MPI

# The version of each is recorded once the problem has imported it. numpy's and scipy's always are:
# the designs draw with them, and import their parts only then.
_LIBRARIES = ("dolfinx", "ufl", "basix", "ffcx", "petsc4py", "mpi4py", "h5py")

_TEST_SAMPLES = 8  # whose time limits a test of the derivatives may take


class Solver(Protocol):
    """The methods of a solver that a run uses; `LocalSolver` describes each."""

    @property
    def name(self) -> str:
        """The problem's name."""

    def settings(self, file: str | None, overrides: Sequence[str]) -> str:
        """Read settings; return them as TOML text."""

    def configure(self, text: str) -> None:
        """Take settings."""

    def space(self) -> Space:
        """Return the space of the parameters."""

    def drawn(self, total: int, seed: int) -> Array | None:
        """Draw all samples by the problem's own method; None if it has none."""

    def describe(
        self, samples: int, seed: int, split: str, wanted: Wanted, there: Sequence[str]
    ) -> tuple[Info, int]:
        """Check the arguments, and describe the set."""

    def notes(self) -> tuple[str, ...]:
        """Return notes for the users of the samples."""

    def needs(self, there: Sequence[str]) -> dict[str, str]:
        """Return the digests of the files that the samples depend on."""

    def expect(self, known: Mapping[str, str]) -> None:
        """Refuse to import other modules."""

    def changes(self, info: Info) -> list[str]:
        """Name the files that have changed."""

    def compile(self) -> None:
        """Compile the problem's forms; every process then finds them in a cache."""

    def make(
        self, comm: MPI.Comm | None, folder: Folder, seconds: float, size: int, wanted: Wanted
    ) -> str:
        """Make the problem."""

    def remake(self) -> None:
        """Make the problem again."""

    def fault(self, seed: int, seconds: float) -> str:
        """Return what is wrong with the derivatives."""

    def solve(self, Y: Array, V: Array | None, start: int, seconds: float) -> Batch:
        """Solve for consecutive samples."""

    def settle(self) -> None:
        """Remove the marks of ended processes, as their samples are saved."""

    def close(self, *, kill: bool = False) -> None:
        """Close the solver; ``kill`` ends a solve at once."""


class LocalSolver:
    """A problem and its solver in this process, which a crash of a solve ends.

    Attributes:
        name: The problem's name.
        source: SHA-256 of its file, empty for a built-in problem.
    """

    def __init__(self, problem: type[Problem], config: Any = None, *, limited: bool = True) -> None:
        """Take a problem, and its settings.

        Args:
            problem: A class from `loading.load`.
            config: Its settings, unless `configure` is called.
            limited: Whether solves have a time limit, which uses this process's signals.
        """
        self.name, self.source = problem.name, problem.source
        self._problem = problem
        self._config = config
        self._limit: TimeLimit | NoLimit | None = None
        self._limited = limited
        self._wanted = Wanted()
        self._here = Path.cwd()  # the problem may change it

    def settings(self, file: str | None, overrides: Sequence[str]) -> str:
        """Read settings from a file, and from texts such as ``mesh.degree=2``.

        Returns:
            The settings as TOML text, with all defaults.
        """
        return to_toml(configuration.read(self._problem.Config, file, overrides))

    def configure(self, text: str) -> None:
        """Take settings from the TOML text of `settings`."""
        self._config = from_toml(self._problem.Config, text)

    def space(self) -> Space:
        """Return the space of the parameters.

        Raises:
            InputError: If a setting is out of range.
        """
        problem, config = self._problem, self._config
        problem.check(config)
        about = problem.describe(config)
        return Space(
            problem=problem.name,
            names=about["y_names"],
            lower=about["y_lower"],
            upper=about["y_upper"],
            sums=problem.design(config) == "simplex",
            needs_bounds=problem.needs_bounds,
        )

    def drawn(self, total: int, seed: int) -> Array | None:
        """Draw all samples by the problem's own `Problem.parameters`; None if it has none."""
        return drawn(self._problem, self._config, total, seed)

    def describe(
        self, samples: int, seed: int, split: str, wanted: Wanted, there: Sequence[str]
    ) -> tuple[Info, int]:
        """Check the arguments, and describe the set.

        Args:
            samples: Samples in the whole set.
            seed: Seed of the sampling design and the split.
            split: Counts or fractions of train, validation and test.
            wanted: The derivatives to solve for as well.
            there: Names of the files that samples of an earlier run depend on.

        Returns:
            The set's description, and the number of samples of a batch.

        Raises:
            InputError: If an argument is out of range.
        """
        problem, config = self._problem, self._config
        problem.check(config)
        assign_split(split, samples, seed)
        about = problem.describe(config)
        wanted.check(problem, about)
        self._wanted = wanted
        info = Info(
            problem=problem.name,
            source=problem.source,
            config=to_toml(config),
            design=problem.design(config),
            seed=seed,
            split=split,
            total=samples,
            tangents=wanted.whole,
            directions=wanted.directions,
            functionals=wanted.functionals,
            c_scale=wanted.c_scale,
            inputs=self.needs(there),
            **_made(),
            **about,
        )
        size, most = problem.batch(config), largest(info)
        check(size <= most, f"a batch can have {most} samples at most; got {size}")
        return info, size

    def compile(self) -> None:
        """Compile the problem's forms on one process; the others then find them in a cache."""
        self._problem.compile(self._config)

    def make(
        self, comm: MPI.Comm | None, folder: Folder, seconds: float, size: int, wanted: Wanted
    ) -> str:
        """Make the problem; collective.

        Args:
            comm: The processes that share a mesh; None for this process alone.
            folder: Folder for the mark of a process that does not return.
            seconds: Limit of a sample's time.
            size: Samples of a batch.
            wanted: The derivatives to solve for as well.

        Returns:
            The dataset's line on the mesh.
        """
        if comm is None:
            from mpi4py import MPI

            comm = MPI.COMM_SELF
        self._comm = comm
        self._size = size
        self._wanted = wanted
        if self._limited:
            self._limit = TimeLimit(seconds, folder, interrupt=comm.size == 1)
        else:
            self._limit = NoLimit()
        self.remake()
        return self._solver.mesh

    def notes(self) -> tuple[str, ...]:
        """Return notes for the users of the samples, one line each."""
        return noted(self._problem, self._config)

    def needs(self, there: Sequence[str]) -> dict[str, str]:
        """Return the digests of the files that the samples depend on; see `inputs.inputs`.

        Once the problem is made, they include the modules that its ``__init__`` has imported.
        """
        found = inputs(self._problem, self._config, there, here=self._here)
        return dict(sorted({**found, **self._wanted.inputs}.items()))

    def expect(self, known: Mapping[str, str]) -> None:
        """From now on, refuse to import a module whose digest is not known."""
        expect(self._problem, known)

    def changes(self, info: Info) -> list[str]:
        """Name the files that have changed while samples were solved, or are unknown."""
        unknown = [
            f"{name} was read by {self.name} and is not among its data_files: this dataset does "
            "not know its content"
            for name in undeclared(self._problem, self._config, info.inputs)
        ]
        try:
            now = files(self._problem, self._config, here=self._here)
        except InputError as error:
            text = f"{error}, now that samples are solved: it may have changed meanwhile"
            return [text, *unknown]
        changed = info.changed(dataclasses.replace(info, inputs=now))
        texts = [f"{x} has changed while samples were solved: they may be of both" for x in changed]
        return [*(f"{text} contents" for text in texts), *unknown]

    def remake(self) -> None:
        """Make the problem again, for example after an interrupted solve."""
        self._solver = made(self._problem, self._config, self._comm)

    def fault(self, seed: int, seconds: float) -> str:
        """Test the derivatives that are wanted at one random y; collective.

        Args:
            seed: Seed of the test.
            seconds: Time limit of a sample.

        Returns:
            What is wrong with them, in one line; empty if they are right, or the time limit is
            reached.
        """
        assert self._limit is not None
        try:
            with self._limit(0, 0, _TEST_SAMPLES * seconds):
                return fault(self._solver, self._asked(), seed)
        except TimeLimitError:
            self.remake()
            return ""

    def _asked(self) -> dict[str, Any]:
        """Return the derivatives that are wanted, for `fault`."""
        wanted = self._wanted
        if len(wanted.functionals):
            return {"adjoints": wanted.functionals}
        return {"tangents": True if wanted.whole else np.empty(0)}

    def mark(self) -> str | None:
        """Return the name of the file that names the samples at work."""
        return self._limit.mark if self._limit is not None else None

    def solve(self, Y: Array, V: Array | None, start: int, seconds: float) -> Batch:
        """Solve for consecutive samples, batch by batch; collective.

        Args:
            Y: Parameters, (n, n_y).
            V: Directions of derivatives, (n, r, n_y), in units of y; None for none.
            start: Index of the first sample.
            seconds: Time limit of all samples together.

        Raises:
            TimeLimitError: At the limit; the problem must then be made again.
        """
        assert self._limit is not None
        n, size, limit = len(Y), self._size, self._limit

        def begins(first: int) -> None:
            if n > size:
                limit.at(start + first, start + min(first + size, n))

        with limit(start, start + n, seconds):
            return solved(self._solver, Y, size=size, begins=begins, **self._derivatives(V))

    def _derivatives(self, V: Array | None) -> dict[str, Any]:
        """Return the arguments of `solved` for the derivatives; V are the samples' directions."""
        wanted = self._wanted
        adjoints = wanted.functionals if len(wanted.functionals) else None
        return {"tangents": wanted.whole if V is None else V, "adjoints": adjoints}

    def settle(self) -> None:
        """Do nothing: this process has not ended."""

    def close(self, *, kill: bool = False) -> None:
        """Remove the mark, and restore the signals; ``kill`` has no effect."""
        NEIGHBOURS.expected = None
        if self._limit is not None:
            self._limit.close()
            self._limit = None


class UnfiledSolver(LocalSolver):
    """A solver of a problem that was defined in no file, such as a notebook's, in this process."""

    def __init__(self, problem: type[Problem], config: Any, given: Problem | None) -> None:
        """Take a class and its settings, and perhaps an object of it to solve with."""
        super().__init__(problem, config, limited=False)
        self._given = given

    def notes(self) -> tuple[str, ...]:
        """Return the problem's notes, and one that its code is not known."""
        unknown = (
            f"{self.name} was defined in no file: this dataset does not know its code, so that a "
            "run does not notice a change of it, and samples cannot be solved for again"
        )
        return (*super().notes(), unknown)

    def compile(self) -> None:
        """Compile the class's forms, unless there is an object already."""
        if self._given is None:
            super().compile()

    def remake(self) -> None:
        """Use the object, or make one of the class."""
        if self._given is None:
            super().remake()
        else:
            self._solver = self._given


def joined(batches: list[Batch]) -> Batch:
    """Join batches of consecutive samples."""
    if len(batches) == 1:
        return batches[0]
    kinds = {
        name: np.concatenate([derivatives(batch)[name] for batch in batches])
        for name in derivatives(batches[0])
    }
    return Batch(
        C=np.concatenate([batch.C for batch in batches]),
        failure=[text for batch in batches for text in batch.failure],
        solver=np.concatenate([batch.solver for batch in batches]),
        **kinds,
    )


def _made() -> Provenance:
    """Return the versions that make the samples, of the libraries imported so far."""
    from mpi4py import MPI

    others = (sys.modules[name] for name in _LIBRARIES if name in sys.modules)
    made = provenance(np, scipy, *others)
    vendor, number = MPI.get_vendor()
    below = {vendor: number}
    if "petsc4py.PETSc" in sys.modules:
        below["PETSc"] = sys.modules["petsc4py.PETSc"].Sys.getVersion()
    texts = {name: ".".join(map(str, numbers)) for name, numbers in below.items()}
    return {**made, "versions": {**made["versions"], **texts}}
