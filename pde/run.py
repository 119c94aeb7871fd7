"""Generate a dataset, or check a problem, from Python: `surrogates.generate`, `surrogates.check`.

The solves run in this process, without forks or signal handlers, for notebooks; or in processes
that mpirun starts (`launch`), as with ``surrogates generate``.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surrogates import config as configuration
from surrogates.data import Dataset
from surrogates.data.points import write_points
from surrogates.progress import Told, bar_of

from .launch import launch
from .needed import mpi, problem_of
from .problem import BUILT_IN, Problem

if TYPE_CHECKING:
    from .checks.reports import Report
    from .ensemble.solvers import LocalSolver

PathLike = str | os.PathLike[str]

_log = logging.getLogger(__name__)


def generate(
    problem: str | type[Problem] | Problem,
    *,
    samples: int | None = None,
    points: Any = None,
    out: PathLike | None = None,
    config: Any = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    split: str | None = None,
    tangents: bool | int = False,
    subspace: PathLike | None = None,
    adjoints: int = 0,
    pilot: PathLike | None = None,
    processes: int = 1,
    ranks_per_sample: int = 1,
    time_limit: float = 3600.0,
    repair: bool = False,
    retry_failed: bool = False,
    allow_version_change: bool = False,
    unchecked: bool = False,
    progress: bool | Told = False,
) -> Dataset:
    """Solve a PDE for many parameters, as ``surrogates generate`` does.

    Args:
        problem: ``cdr``, ``dcr``, ``FILE.py:CLASS``; or a notebook's class or object.
        samples: Number of samples, by default 800; more than a finished ``out`` has extend it.
        points: Points y in place of random ones: a file, a dataset, an array (n, n_y), a table.
        out: The dataset's file; None for no file. The same call finishes an interrupted run.
        config: Settings: a TOML file, or a ``Config`` of the problem; the defaults if None.
        settings: Single settings by their keys, such as ``{"mesh.degree": 2}``, over ``config``.
        seed: Seed of the sampling design and the split.
        split: Counts or fractions of training, validation and test samples; 0.8/0.1/0.1 if new.
        tangents: Whether to solve for dc/dy, or in how many random directions a sample.
        subspace: A dataset with derivatives: directions in which c changes most there, not random.
        adjoints: Number of combinations of c to differentiate, those that vary most in ``pilot``.
        pilot: A dataset of the problem.
        processes: 1 solves in this process (and mpirun's others); more are started by mpirun.
        ranks_per_sample: Processes that share a mesh.
        time_limit: Seconds before a sample fails; without ``processes`` there is no limit.
        repair: Whether to solve again for samples that are damaged on disk.
        retry_failed: Whether to solve again for samples that failed.
        allow_version_change: Whether to continue with other versions of the libraries.
        unchecked: Whether to store derivatives of a user's problem without a Taylor test.
        progress: Whether to show a bar; or a function that is called with done, total and a note.

    Returns:
        The dataset. Failed samples are marked, and a warning is logged.

    Raises:
        InputError: If an argument does not fit, or ``out`` is another dataset.
        KeyboardInterrupt: If interrupted; finished samples are kept beside ``out``.
    """
    run: dict[str, Any] = {"samples": samples, "points": _absolute(points), "seed": seed}
    run |= {"split": split, "tangents": tangents, "subspace": _absolute(subspace)}
    run |= {"adjoints": adjoints, "pilot": _absolute(pilot), "ranks_per_sample": ranks_per_sample}
    run |= {"time_limit": time_limit, "repair": repair, "retry_failed": retry_failed}
    run |= {"allow_version_change": allow_version_change, "unchecked": unchecked}
    return _Asked(problem, config, settings or {}, run).done(_absolute(out), processes, progress)


def generate_apart(
    problem: str,
    out: PathLike,
    config: PathLike,
    run: Mapping[str, Any],
    *,
    processes: int = 1,
    launcher: str = "",
    progress: bool | Told = False,
) -> Dataset:
    """Solve by the command ``surrogates generate`` in other processes, even if it is one.

    A solve that ends its process then ends none of this one's work, time limits hold, and MPI is
    not started here.

    Args:
        problem: A name, or ``FILE.py:CLASS``.
        out: The dataset's file.
        config: Settings, a TOML file.
        run: Further arguments of `generate`, from ``samples`` to ``unchecked``.
        processes: Number of processes.
        launcher: As for `launch.launch`.
        progress: As for `generate`.

    Raises:
        InputError: As for `generate`.
        KeyboardInterrupt: As for `generate`.
    """
    asked = _Asked(problem, config, {}, run)
    return asked.by_command(Path(out).absolute(), processes, progress, launcher)


def settled(
    problem: str | type[Problem] | Problem, config: Any, settings: Mapping[str, Any] | None
) -> tuple[type[Problem], Any]:
    """Return a problem's class and its settings; arguments and errors are those of `generate`."""
    found, text = _Asked(problem, config, settings or {}, {})._settings()
    return found, configuration.from_toml(found.Config, text)


def _absolute(path: Any) -> Any:
    """Return a path that stays true if a problem changes the working folder; others as they are."""
    return Path(path).absolute() if isinstance(path, str | os.PathLike) else path


def check(
    problem: str | type[Problem] | Problem,
    *,
    samples: int = 4,
    config: Any = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    ranks_per_sample: int = 1,
) -> Report:
    """Check a problem at a few random parameters, as ``surrogates check`` does.

    It takes about 30 solves for each sample, and more if c is not smooth.

    Args:
        problem: As for `generate`.
        samples: Number of parameters.
        config: As for `generate`.
        settings: As for `generate`.
        seed: Seed of the parameters.
        ranks_per_sample: Processes that share a mesh, of those that mpirun has started.

    Returns:
        The report: its text is a table and a line of verdict, ``ok`` says whether nothing is wrong,
        and ``report["tangents"]`` is the finding of one check.

    Raises:
        InputError: If an argument does not fit, or the problem cannot be made or used.
    """
    asked = _Asked(problem, config, settings or {}, {})
    comm = mpi().COMM_WORLD
    from .checks.run import checked_on
    from .collective import on_each

    found, text = on_each(comm, asked._settings)
    return checked_on(
        comm,
        found,
        configuration.from_toml(found.Config, text),
        file=problem if isinstance(problem, str) else "",
        samples=samples,
        seed=seed,
        ranks_per_sample=ranks_per_sample,
        given=problem if isinstance(problem, Problem) else None,
        on_note=_log.warning,
    )


@dataclass(frozen=True)
class _Asked:
    """The caller's arguments.

    Attributes:
        problem: Name, class or object.
        config: File or object.
        settings: Single settings.
        run: Arguments for `ensemble.generate.generate`.
    """

    problem: str | type[Problem] | Problem
    config: Any
    settings: Mapping[str, Any]
    run: Mapping[str, Any]

    def done(self, out: Path | None, processes: int, progress: bool | Told) -> Dataset:
        """Solve in this process, or in several that mpirun starts; without ``out`` for no file."""
        configuration.check(processes >= 1, f"processes must be at least 1; got {processes}")
        with tempfile.TemporaryDirectory(prefix="surrogates-") as folder:
            out = out or Path(folder) / "samples.h5"
            if processes > 1:
                return self.by_command(out, processes, progress)
            return self.here(out, progress)

    def here(self, out: Path, progress: bool | Told) -> Dataset:
        """Solve in this process; collective over those that mpirun has started."""
        comm = mpi().COMM_WORLD
        from .collective import on_each
        from .ensemble.generate import generate as generated
        from .ensemble.request import Hooks, Request

        solver = on_each(comm, self._solver)
        out = comm.bcast(out)
        bars = bar_of(progress) if comm.rank == 0 else None
        bar = None if bars is None else bars("samples")
        try:
            hooks = Hooks(
                on_progress=None if bar is None else lambda state: bar.update(*_told(state)),
                on_note=_log.warning,
            )
            summary = generated(solver, comm, Request(out=out, **self.run), hooks)
        finally:
            if bar is not None:
                bar.close()
        if summary.failed and comm.rank == 0:
            _warn_of_failures(summary.failed, summary.total, summary.reason)
        dataset = on_each(comm, lambda: Dataset.read(out))
        comm.barrier()  # rank 0 may remove the file
        return dataset

    def by_command(
        self, out: Path, processes: int, progress: bool | Told, launcher: str = ""
    ) -> Dataset:
        """Solve in processes that mpirun or another launcher starts."""
        configuration.check(
            isinstance(self.problem, str),
            "mpirun's processes cannot know a class or an object of this one: write the class to a "
            'file, and give "FILE.py:CLASS", or leave processes out',
        )
        with tempfile.TemporaryDirectory(prefix="surrogates-") as folder:
            words = ["generate", str(self.problem), "--out", str(out)]
            if self.config is not None or self.settings:
                file = Path(folder) / "settings.toml"
                _, text = self._settings()
                file.write_text(text, encoding="utf-8")
                words += ["--config", str(file)]
            for name, value in {**self.run, "points": self._written(Path(folder))}.items():
                option = f"--{name.replace('_', '-')}"
                if isinstance(value, bool):
                    words += [option] * value
                elif value is not None:
                    words += [option, str(value)]
            launch(words, processes, progress, launcher)
        dataset = Dataset.read(out)
        failed = [text for text in dataset.failure if text]
        if failed:
            _warn_of_failures(len(failed), len(dataset.Y), failed[0])
        return dataset

    def _written(self, folder: Path) -> Path | None:
        """Return the file of the points for mpirun's processes; an array is written to a folder."""
        points = self.run.get("points")
        if points is None or isinstance(points, Path):
            return points
        from .ensemble.solvers import LocalSolver

        found, text = self._settings()
        space = LocalSolver(found, configuration.from_toml(found.Config, text)).space()
        write_points(path := folder / "points.npy", space.points(points), space.names)
        return path

    def _settings(self) -> tuple[type[Problem], str]:
        """Return the problem's class, and all settings as TOML text."""
        found = self._found()
        path, defaults = self.config, None
        if isinstance(self.problem, Problem) and path is None:
            path = self.problem.config
        if isinstance(path, found.Config):
            path, defaults = None, path
        configuration.check(
            path is None or isinstance(path, str | os.PathLike),
            f"config must be a TOML file, or a {found.name} Config; got {path!r:.60}",
        )
        overrides = [configuration.override(key, value) for key, value in self.settings.items()]
        return found, configuration.to_toml(
            configuration.read(found.Config, path, overrides, defaults)
        )

    def _found(self) -> type[Problem]:
        if isinstance(self.problem, str):
            return problem_of(self.problem)
        found = type(self.problem) if isinstance(self.problem, Problem) else self.problem
        configuration.check(
            isinstance(found, type) and issubclass(found, Problem),
            "problem must be a name, or a class or an object that derives from "
            f"surrogates.pde.Problem; got {found!r:.60}",
        )
        configuration.check(
            not isinstance(self.problem, Problem)
            or getattr(self.problem, "comm", None) is not None,
            f"the {found.name} has no communicator: make it with one, as in "
            f"{found.name}(config, MPI.COMM_SELF), or give the class",
        )
        configuration.check(
            found.solve is not Problem.solve or found.solve_batch is not Problem.solve_batch,
            f"{found.name} has no method solve(self, y)",
        )
        return found

    def _solver(self) -> LocalSolver:
        from .ensemble.solvers import LocalSolver, UnfiledSolver

        found, text = self._settings()
        config = configuration.from_toml(found.Config, text)
        if found.source or found.name in BUILT_IN:
            return LocalSolver(found, config, limited=False)
        given = self.problem if isinstance(self.problem, Problem) else None
        return UnfiledSolver(found, config, given)


def _told(state: Any) -> tuple[int, int, str]:
    return state.done, state.total, f", {state.failed} failed" if state.failed else ""


def _warn_of_failures(failed: int, total: int, reason: str) -> None:
    _log.warning("%d of %d samples failed; the first: %s", failed, total, reason)
