"""Where solves take place: in this process, or in one of its own (`processes`).

Both kinds have the same methods. A run asks one of them for everything that needs the problem's
class, so that a process that keeps a solver need not import the problem, nor DOLFINx.
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

from ..inputs import NEIGHBOURS, expect, files, inputs, undeclared
from ..problem import Problem
from ..results import Batch
from ..solving import made, noted, solved
from .journal import largest
from .limits import NoLimit, TimeLimit

if TYPE_CHECKING:
    from mpi4py import MPI

# Each counts once the problem has imported it. numpy and scipy always count: the designs draw with
# them, and import the parts that they need only then.
_LIBRARIES = ("dolfinx", "ufl", "basix", "ffcx", "petsc4py", "mpi4py", "h5py")


class Solver(Protocol):
    """What a run needs of a problem; each method is as in `LocalSolver`."""

    @property
    def name(self) -> str:
        """The problem's name."""

    def settings(self, file: str | None, overrides: Sequence[str]) -> str:
        """Read settings; TOML text."""

    def configure(self, text: str) -> None:
        """Take settings."""

    def describe(
        self, samples: int, seed: int, split: str, tangents: bool, there: Sequence[str]
    ) -> tuple[Info, int]:
        """Check what is asked for, and describe it."""

    def notes(self) -> tuple[str, ...]:
        """Return what the users of the samples must know."""

    def needs(self, there: Sequence[str]) -> dict[str, str]:
        """Return the digests of the files that the samples depend on."""

    def expect(self, known: Mapping[str, str]) -> None:
        """Let no other module be imported."""

    def changes(self, info: Info) -> list[str]:
        """Say which files have changed."""

    def compile(self) -> None:
        """Compile what every process then finds in a cache."""

    def make(
        self, comm: MPI.Comm | None, folder: Folder, seconds: float, size: int, tangents: bool
    ) -> str:
        """Make the problem."""

    def remake(self) -> None:
        """Make it again."""

    def solve(self, Y: Array, start: int, seconds: float) -> Batch:
        """Solve for consecutive samples."""

    def settle(self) -> None:
        """Forget the ends of processes, as their samples are saved."""

    def close(self, *, kill: bool = False) -> None:
        """Take leave, or end what is at work."""


class LocalSolver:
    """A problem and its solver in this process, which a crash of a solve ends.

    Attributes:
        name: The problem's name.
        source: SHA-256 of its file, empty for a built-in problem.
    """

    def __init__(self, problem: type[Problem], config: Any = None, *, limited: bool = True) -> None:
        """Take a problem, and its settings.

        Args:
            problem: A class of `loading.load`.
            config: Its settings, unless `configure` tells them.
            limited: Whether solves have a time limit, for which this process's signals are used.
        """
        self.name, self.source = problem.name, problem.source
        self._problem = problem
        self._config = config
        self._limit: TimeLimit | NoLimit | None = None
        self._limited = limited
        self._here = Path.cwd()  # the problem may leave it

    def settings(self, file: str | None, overrides: Sequence[str]) -> str:
        """Read settings from a file, and from texts such as ``mesh.degree=2``.

        Returns:
            The same as TOML text, with all defaults.
        """
        return to_toml(configuration.read(self._problem.Config, file, overrides))

    def configure(self, text: str) -> None:
        """Take settings from the TOML text of `settings`."""
        self._config = from_toml(self._problem.Config, text)

    def describe(
        self, samples: int, seed: int, split: str, tangents: bool, there: Sequence[str]
    ) -> tuple[Info, int]:
        """Check what is asked for.

        Args:
            samples: Samples in the whole set.
            seed: Seed of the sampling design and the split.
            split: Counts or fractions of train, validation and test.
            tangents: Whether to solve for dc/dy as well.
            there: Names of the files that samples of an earlier run depend on.

        Returns:
            The set's description, and the number of samples of a batch.

        Raises:
            InputError: If an argument is out of range.
        """
        problem, config = self._problem, self._config
        check(
            problem.has_tangents or not tangents,
            f"{problem.name} has no tangents; leave out --tangents",
        )
        problem.check(config)
        assign_split(split, samples, seed)
        info = Info(
            problem=problem.name,
            source=problem.source,
            config=to_toml(config),
            design=problem.design(config),
            seed=seed,
            split=split,
            total=samples,
            tangents=tangents,
            inputs=self.needs(there),
            **_made(),
            **problem.describe(config),
        )
        size, most = problem.batch(config), largest(info)
        check(size <= most, f"a batch can have {most} samples at most; got {size}")
        return info, size

    def compile(self) -> None:
        """Compile what every process then finds in a cache; on one process, before the others."""
        self._problem.compile(self._config)

    def make(
        self, comm: MPI.Comm | None, folder: Folder, seconds: float, size: int, tangents: bool
    ) -> str:
        """Make the problem; collective.

        Args:
            comm: The processes that share a mesh; None for this one alone.
            folder: Where a process that does not come back leaves its mark.
            seconds: Limit of a sample's time.
            size: Samples of a batch.
            tangents: Whether to solve for dc/dy as well.

        Returns:
            What the dataset says of the mesh.
        """
        if comm is None:
            from mpi4py import MPI

            comm = MPI.COMM_SELF
        self._comm = comm
        self._size = size
        self._tangents = tangents
        if self._limited:
            self._limit = TimeLimit(seconds, folder, interrupt=comm.size == 1)
        else:
            self._limit = NoLimit()
        self.remake()
        return self._solver.mesh

    def notes(self) -> tuple[str, ...]:
        """Return what the users of the samples must know, one line each."""
        return noted(self._problem, self._config)

    def needs(self, there: Sequence[str]) -> dict[str, str]:
        """Return the digests of the files that the samples depend on; see `inputs.inputs`.

        Once the problem is made, those that its ``__init__`` has imported are among them.
        """
        return inputs(self._problem, self._config, there, here=self._here)

    def expect(self, known: Mapping[str, str]) -> None:
        """Let no module be imported from now on whose digest is not among the known ones."""
        expect(self._problem, known)

    def changes(self, info: Info) -> list[str]:
        """Say which files have changed while samples were solved, or are unknown, a line each."""
        unknown = [
            f"{name} was read by {self.name} and is none of its data_files: this dataset does not "
            "know what it held"
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
        """Make the problem again, as after a solve that was interrupted."""
        self._solver = made(self._problem, self._config, self._comm)

    def mark(self) -> str | None:
        """Return the name of the file that says what this process is doing."""
        return self._limit.mark if self._limit is not None else None

    def solve(self, Y: Array, start: int, seconds: float) -> Batch:
        """Solve for consecutive samples, batch by batch; collective.

        Args:
            Y: Parameters, (n, n_y).
            start: Index of the first.
            seconds: Limit of the time of all of them.

        Raises:
            TimeLimitError: At the limit; then the problem is to be made again.
        """
        assert self._limit is not None
        n, size, limit = len(Y), self._size, self._limit

        def begins(first: int) -> None:
            if n > size:
                limit.at(start + first, start + min(first + size, n))

        with limit(start, start + n, seconds):
            return solved(self._solver, Y, size=size, tangents=self._tangents, begins=begins)

    def settle(self) -> None:
        """Do nothing: a process whose samples are saved has not ended."""

    def close(self, *, kill: bool = False) -> None:
        """Take leave: remove the mark, and give the signals back; this process cannot be killed."""
        NEIGHBOURS.expected = None
        if self._limit is not None:
            self._limit.close()
            self._limit = None


class UnfiledSolver(LocalSolver):
    """A solver of a problem that was defined in no file, such as a notebook's, in this process."""

    def __init__(self, problem: type[Problem], config: Any, given: Problem | None) -> None:
        """Take a class and its settings, and an object of it, if that is to solve."""
        super().__init__(problem, config, limited=False)
        self._given = given

    def notes(self) -> tuple[str, ...]:
        """Return the notes of the problem, and that its code is not known."""
        unknown = (
            f"{self.name} was defined in no file: this dataset does not know its code, so that a "
            "run does not notice a change of it, and samples cannot be solved for again"
        )
        return (*super().notes(), unknown)

    def compile(self) -> None:
        """Compile as the class does, unless the object is there already."""
        if self._given is None:
            super().compile()

    def remake(self) -> None:
        """Take the object, or make one of the class."""
        if self._given is None:
            super().remake()
        else:
            self._solver = self._given


def joined(batches: list[Batch]) -> Batch:
    """Join batches of consecutive samples."""
    if len(batches) == 1:
        return batches[0]
    tangents = [batch.dC_dY for batch in batches if batch.dC_dY is not None]
    return Batch(
        C=np.concatenate([batch.C for batch in batches]),
        failure=[text for batch in batches for text in batch.failure],
        solver=np.concatenate([batch.solver for batch in batches]),
        dC_dY=np.concatenate(tangents) if tangents else None,
    )


def _made() -> Provenance:
    """Say which versions make the samples: of what the problem has imported by now."""
    from mpi4py import MPI

    others = (sys.modules[name] for name in _LIBRARIES if name in sys.modules)
    made = provenance(np, scipy, *others)
    vendor, number = MPI.get_vendor()
    below = {vendor: number}
    if "petsc4py.PETSc" in sys.modules:
        below["PETSc"] = sys.modules["petsc4py.PETSc"].Sys.getVersion()
    texts = {name: ".".join(map(str, numbers)) for name, numbers in below.items()}
    return {**made, "versions": {**made["versions"], **texts}}
