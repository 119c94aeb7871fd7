"""The command check."""

from __future__ import annotations

import argparse
from typing import Any

from surrogates import config
from surrogates.errors import InputError

from .console import warn
from .generate import add_problem_settings, take_survey, watched
from .options import PROBLEM, Commands


def add_check(commands: Commands) -> None:
    """Add check."""
    text = "check a problem at a few random parameters, with its derivatives"
    sub = commands.add("check", watched(check), text)
    sub.add_argument("problem", help=PROBLEM)
    sub.add_argument(
        "--samples", type=int, default=4, metavar="N", help="number of parameters; default 4"
    )
    sub.add_argument("--seed", type=int, default=0, metavar="S", help="their seed; default 0")
    sub.add_argument(
        "--ranks-per-sample",
        type=int,
        default=1,
        metavar="R",
        help="processes that share the mesh of a sample; default 1",
    )
    add_problem_settings(sub)


def check(options: argparse.Namespace) -> int:
    """Check a problem, print what was found, and return 1 if something is wrong."""
    from surrogates.pde import collective, needed
    from surrogates.pde.checks import run

    comm = needed.mpi().COMM_WORLD
    root = comm.rank == 0
    take_survey(options)

    def read() -> tuple[Any, Any]:
        problem = needed.problem_of(options.problem)
        return problem, config.read(problem.Config, options.config, options.set)

    try:
        problem, settings = collective.on_each(comm, read)
        report = run.checked_on(
            comm,
            problem,
            settings,
            file=options.problem,
            samples=options.samples,
            seed=options.seed,
            ranks_per_sample=options.ranks_per_sample,
            on_note=warn,
        )
    except InputError:
        if root:
            raise
        return 2
    if root:
        print(report)
    return 0 if report.ok else 1
