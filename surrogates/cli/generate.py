"""Commands that solve a PDE: generate, solve, plot model."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from surrogates import config
from surrogates.errors import InputError
from surrogates.files import check_writable

from .console import Interruption, Progress, complain, warn
from .options import PROBLEM, Commands, Parser, add_figure, add_settings, add_split
from .settings import list_of_problem
from .survey import add_survey_options, settings_of


def add_generate(commands: Commands) -> None:
    """Add generate."""
    sub = commands.add(
        "generate", generate, "solve a PDE for many parameters, under mpirun or alone"
    )
    sub.add_argument("problem", help=PROBLEM)
    sub.add_argument(
        "--samples",
        type=int,
        default=None,
        metavar="N",
        help="number of samples; default 800; more than a finished F.h5 has extend it",
    )
    sub.add_argument(
        "--points",
        type=os.path.abspath,  # a problem may change the working folder
        metavar="y.csv|.npy|.h5",
        help="solve for the y of a file, such as those of another dataset",
    )
    sub.add_argument("--out", default=None, metavar="F.h5", help="default: the problem's name, .h5")
    sub.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of the design and split; default 0"
    )
    sub.add_argument(
        "--ranks-per-sample",
        type=int,
        default=1,
        metavar="R",
        help="processes that share the mesh of a sample; default 1",
    )
    _add_derivatives(sub)
    sub.add_argument("--shard", default="1/1", metavar="I/N", help="solve the I-th of N parts")
    sub.add_argument(
        "--time-limit",
        type=float,
        default=3600.0,
        metavar="SECONDS",
        help="time limit of a sample, which fails beyond it; default 3600",
    )
    sub.add_argument(
        "--in-process",
        action="store_true",
        help="solve in the processes that were started; a crash of one then ends the run",
    )
    sub.add_argument(
        "--interface",
        default="",
        metavar="NAME|ADDRESS",
        help="where other hosts reach the host of rank 0; default: the networks that they share",
    )
    sub.add_argument("--repair", action="store_true", help="solve again for damaged samples")
    sub.add_argument("--retry-failed", action="store_true", help="solve again for failed samples")
    sub.add_argument(
        "--allow-version-change",
        action="store_true",
        help="go on with other versions of the libraries than before",
    )
    add_split(sub, default=None, text="0.8/0.1/0.1, or as the samples of F.h5 are")
    add_problem_settings(sub)


def _add_derivatives(sub: Parser) -> None:
    """Add the options that ask for derivatives of c."""
    text = "solve for dc/dy as well; with R in R random directions of each sample"
    sub.add_counted("--tangents", "R", text)
    sub.add_argument(
        "--subspace",
        type=os.path.abspath,  # a problem may change the working folder
        metavar="F.h5",
        help="dataset with derivatives: --tangents R in the R directions that matter most there",
    )
    sub.add_argument(
        "--adjoints",
        type=int,
        default=0,
        metavar="R",
        help="solve for dc/dy of R combinations of c, the leading ones of --pilot",
    )
    text = "dataset that shows them"
    sub.add_argument("--pilot", type=os.path.abspath, metavar="F.h5", help=text)
    text = "store derivatives of your own problem without the Taylor test that refuses wrong ones"
    sub.add_argument("--unchecked", action="store_true", help=text)


def add_solve(commands: Commands) -> None:
    """Add solve."""
    text = "solve a PDE for one sample and write model and solution for ParaView"
    sub = commands.add("solve", watched(solve), text)
    sub.add_argument("--out", required=True, metavar="F.vtu", help="or .xdmf")
    _add_sample(sub)


def add_model(plots: Commands) -> None:
    """Add plot model."""
    text = "solve the PDE for one sample and draw the solution"
    sub = plots.add("model", watched(plot_model), text)
    add_figure(sub)
    _add_sample(sub)


def _add_sample(sub: Parser) -> None:
    """Add the options that name a problem and one sample of it."""
    sub.add_argument("problem", help=PROBLEM)
    sub.add_argument("--sample", type=int, default=0, metavar="I", help="its number; default 0")
    sub.add_argument("--seed", type=int, default=0, metavar="S", help="of the design; default 0")
    sub.add_argument("--y", metavar="Y1,Y2,...", help="parameters in place of those of a sample")
    add_problem_settings(sub)


def add_problem_settings(sub: Parser) -> None:
    """Add the options that set a problem's settings, and those of a survey, which are some."""
    add_survey_options(sub)
    add_settings(sub, list_of_problem)


def take_survey(options: argparse.Namespace) -> None:
    """Let the problem be `ert` if the options name a survey, and set its settings.

    Raises:
        InputError: If the problem has no survey, or the options do not fit each other.
    """
    settings = settings_of(options)
    if settings:
        config.check(
            options.problem in ("dcr", "ert"),
            f"--survey and --array are for dcr and ert, DC resistivity; got {options.problem}",
        )
        options.problem, options.set = "ert", [*settings, *options.set]


def watched(
    run: Callable[[Any], int], on_end: Callable[[Any, str], None] = lambda options, how: None
) -> Callable[[Any], int]:
    """Return a command that runs in a watched process, which a solve may end.

    Args:
        run: The command.
        on_end: Called with the options, and how the process has ended, if a solve ended it.
    """

    def watching(options: Any) -> int:
        from surrogates.pde.ensemble import processes

        if options.called or "mpi4py.MPI" in sys.modules:
            return run(options)
        status, how = processes.watched(lambda: run(options))
        if how:
            on_end(options, how)
            complain(f"ended before all was done: {how}")
        return status

    return watching


def generate(options: argparse.Namespace) -> int:
    """Solve a PDE for many parameters."""
    from surrogates.pde.ensemble import processes, solvers
    from surrogates.pde.needed import mpi, problem_of

    take_survey(options)

    def begin() -> solvers.LocalSolver:
        mpi()
        return solvers.LocalSolver(problem_of(options.problem))

    # Processes that share a mesh need each other's MPI. A caller's process must not be forked, nor
    # one that has started MPI.
    if options.called or "mpi4py.MPI" in sys.modules:
        return _generated(options, begin)
    if options.in_process or options.ranks_per_sample > 1:
        if processes.is_launched():  # the launcher sees how its processes end
            return _generated(options, begin)
        return watched(lambda options: _generated(options, begin), _mark_the_end)(options)
    process = processes.SolverProcess(begin)
    try:
        return _generated(options, process.ready)
    finally:
        process.close(kill=True)  # unless it has ended


def _mark_the_end(options: argparse.Namespace, how: str) -> None:
    """Write how the process has ended, for the next run, into the marks of its samples."""
    from surrogates.pde.ensemble import limits

    out = _out(options)
    limits.complete_all(out.with_name(f"{out.name}.parts"), how)


def _out(options: argparse.Namespace) -> Path:
    """Return the file that `generate` writes."""
    name = options.problem.rpartition(":")[2].lower()
    return Path(f"{name}.h5" if options.out is None else options.out)


def _generated(options: argparse.Namespace, begin: Callable[[], Any]) -> int:
    """Generate a dataset by the solver that ``begin`` returns on each process."""
    here = Path.cwd()  # a problem may change it
    from surrogates.pde import collective, needed
    from surrogates.pde.ensemble import work

    comm = needed.mpi().COMM_WORLD

    root, out = comm.rank == 0, _out(options)
    progress = Progress("samples") if root else None
    try:
        solver = collective.on_each(comm, begin)
        with Interruption() as interruption:
            summary = _solved(options, solver, comm, here / out, progress, interruption)
    except InputError:
        if root:
            raise
        return 2
    finally:
        if progress is not None:
            progress.close()
    if summary.done < summary.total:
        if root:
            complain(
                f"stopped with {summary.done} of {summary.total} samples, all saved; run the same "
                "command again to go on"
            )
        return 130 if interruption.kind == signal.SIGINT else work.TEMPORARY_FAILURE
    if root:
        _tell(summary, out, comm.size)
    return 1 if summary.failed else 0


def _solved(
    options: argparse.Namespace,
    solver: Any,
    comm: Any,
    out: Path,
    progress: Progress | None,
    interruption: Interruption,
) -> Any:
    """Configure the solver, solve, and return the summary of the run; collective."""
    from surrogates.pde import collective
    from surrogates.pde.ensemble import generate
    from surrogates.pde.ensemble.request import Hooks, Request

    def on_progress(state: Any) -> None:
        if progress is not None:
            failed = f", {state.failed} failed" if state.failed else ""
            progress.update(state.done, state.total, failed)

    read = collective.on_root(comm, lambda: solver.settings(options.config, options.set))
    collective.on_each(comm, lambda: solver.configure(read))
    shard = collective.on_root(comm, lambda: _read_shard(options.shard))
    same = (
        *("samples", "seed", "split", "ranks_per_sample", "time_limit", "repair", "retry_failed"),
        *("tangents", "subspace", "adjoints", "pilot", "allow_version_change", "interface"),
        *("unchecked", "points"),
    )
    asked = {name: getattr(options, name) for name in same}
    hooks = Hooks(stop=lambda: interruption.asked, on_progress=on_progress, on_note=warn)
    return generate.generate(solver, comm, Request(out=out, shard=shard, **asked), hooks)


def _tell(summary: Any, out: Path, size: int) -> None:
    """Print the summary of a run."""
    rate = f", {summary.solved / summary.seconds:.3g} a second" if summary.solved else ""
    print(
        f"{out}: {summary.total} samples, {summary.solved} solved now on {size} "
        f"process{'es' if size > 1 else ''} in {summary.seconds:.1f} s{rate}"
    )
    if summary.mesh:
        print(f"mesh: {summary.mesh}")
    if summary.failed:
        complain(
            f"{summary.failed} of {summary.total} samples failed and are marked so in "
            f"{out}; the first: {summary.reason}"
        )


def _read_shard(text: str) -> tuple[int, int]:
    try:
        i, n = (int(number) for number in text.split("/"))
    except ValueError:
        raise InputError(f"cannot read the shard {text!r}; write 1/4 to 4/4") from None
    return i, n


def plot_model(options: argparse.Namespace) -> int:
    """Draw the solution of one sample."""
    out = Path(options.out).absolute()  # the problem may change the working folder
    problem, y = _one_sample(options)
    problem.picture(y, out)
    return drawn(options)


def solve(options: argparse.Namespace) -> int:
    """Solve one sample, and write its fields."""
    out = Path(options.out).absolute()
    problem, y = _one_sample(options)
    from surrogates.pde import fields

    _, *beside = fields.write(out, problem.field(y))
    drawn(options)
    for path in beside:
        print(Path(options.out).with_name(Path(path).name))
    return 0


def _one_sample(options: argparse.Namespace) -> tuple[Any, Any]:
    """Return the problem, made on this process, and the requested parameters."""
    from surrogates.pde.needed import mpi, problem_of

    MPI = mpi()
    check_writable(options.out)
    take_survey(options)
    problem = problem_of(options.problem)
    settings = config.read(problem.Config, options.config, options.set)
    config.check(options.sample >= 0, f"the sample must be at least 0; got {options.sample}")
    if options.y is None:
        rows = {"total": options.sample + 1, "start": options.sample, "stop": options.sample + 1}
        y = problem.parameters(settings, seed=options.seed, **rows)[0]
    else:
        names = problem.describe(settings)["y_names"]
        try:
            y = np.array([float(word) for word in options.y.split(",")])
        except ValueError:
            y = np.array([np.nan])
        config.check(
            len(y) == len(names) and bool(np.isfinite(y).all()),
            f"--y must be {len(names)} numbers, {names[0]} to {names[-1]}; got {options.y!r}",
        )
    from surrogates.pde.solving import made, noted

    problem.check(settings)
    for note in noted(problem, settings):
        warn(note)
    return made(problem, settings, MPI.COMM_SELF), y


def drawn(options: argparse.Namespace) -> int:
    """Say which figure was written."""
    print(options.out)
    return 0
