"""The command verify."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from surrogates import config
from surrogates.data import Info, Status, Stored, opened
from surrogates.errors import InputError
from surrogates.folders import Folder
from surrogates.pde.ensemble import lock
from surrogates.pde.ensemble.journal import Journal, described

from .generate import watched
from .info import run_folder, size
from .options import Commands


def add_verify(commands: Commands) -> None:
    """Add verify."""
    text = "check a dataset, and solve for a few samples again"
    sub = commands.add("verify", watched(verify), text)
    sub.add_argument("file")
    sub.add_argument(
        "--max-residual",
        type=float,
        default=1e-5,
        metavar="R",
        help="largest relative residual of a solve; default 1e-5",
    )
    sub.add_argument(
        "--recompute",
        type=int,
        default=None,
        metavar="K",
        help="solve again for K samples; default 3, where that can be done",
    )
    sub.add_argument(
        "--tolerance",
        type=float,
        default=1e-6,
        metavar="R",
        help="largest relative difference of c and of its derivatives, then and now, that is "
        "allowed; default 1e-6",
    )
    sub.add_argument(
        "--problem",
        metavar="FILE.py:CLASS",
        help="where a problem of your own is; it must be the file that made the dataset",
    )


def verify(options: argparse.Namespace) -> int:
    """Check a dataset file, or an unfinished run."""
    _check_numbers(options)
    if folder := run_folder(options.file):
        return _verify_run(folder)
    unchecked = ""
    with opened(options.file) as stored:
        problems = stored.problems(options.max_residual)
        try:
            problems += _recompute(options, stored)
        except InputError as error:
            unchecked = f"not checked: whether samples can be solved again ({error})"
        for problem in problems:
            print(f"{options.file}: {problem}")
        if not problems:
            verdict = f"nothing wrong found; {unchecked}" if unchecked else "all is well"
            print(f"{options.file}: {size(stored)}: {verdict}")
        elif unchecked:
            print(f"{options.file}: {unchecked}")
    # A requested check that could not be done is a failure.
    asked = options.problem if options.recompute is None else options.recompute
    return 1 if problems or (unchecked and asked) else 0


def _check_numbers(options: argparse.Namespace) -> None:
    """Refuse limits that no dataset, or every dataset, would meet."""
    residual, n, tolerance = options.max_residual, options.recompute, options.tolerance
    # c = 0 has a residual of 1.
    config.check(
        0 <= residual < 1, f"--max-residual must be below 1 and at least 0; got {residual:g}"
    )
    config.check(n is None or n >= 0, f"--recompute must be at least 0; got {n}")
    config.check(
        0 <= tolerance < 1, f"--tolerance must be below 1 and at least 0; got {tolerance:g}"
    )


def _recompute(options: argparse.Namespace, stored: Stored) -> list[str]:
    """Solve again for some samples, print the largest difference, and return the faults.

    Raises:
        InputError: If no sample can or should be solved for.
    """
    info, n = stored.info, 3 if options.recompute is None else options.recompute
    if not info.config and options.recompute is None and options.problem is None:
        config.check(info.design != "joined", "it is joined of several sets")
        return []  # imported: no problem of this package made it
    config.check(n > 0, "--recompute 0")
    config.check(bool(info.config), "it has no configuration of a problem")
    config.check(bool((stored.status == Status.DONE).any()), "none is done")
    problem = _problem(options.problem, info)
    from surrogates.pde.ensemble.recompute import recompute

    found = recompute(stored, problem, n, seed=int(np.random.default_rng().integers(2**31)))
    slopes = [one.derivatives for one in found if one.derivatives is not None]
    print(
        f"{options.file}: solved again for samples {', '.join(str(one.sample) for one in found)}: "
        f"c differs by {max(one.c for one in found):.1e} at most"
        + (f", its derivatives by {max(slopes):.1e}" if slopes else "")
    )
    return [
        f"sample {one.sample} is not reproduced: y differs by {one.y:.1e}, c by {one.c:.1e}"
        + ("" if one.derivatives is None else f", its derivatives by {one.derivatives:.1e}")
        + (f", their directions by {one.directions:.1e}" if one.directions else "")
        for one in found
        if not (
            one.c <= options.tolerance
            and (one.derivatives or 0.0) <= options.tolerance
            and max(one.y, one.directions) <= 1e-12
        )
    ]


def _problem(given: str | None, info: Info) -> Any:
    """Return the problem that made a dataset.

    A dataset never names code to run: users name the file of a problem of their own.

    Args:
        given: The problem that the user named.
        info: The dataset's description.
    """
    from surrogates.pde.needed import problem_of
    from surrogates.pde.problem import BUILT_IN

    name = given or info.problem
    config.check(
        given is not None or name in BUILT_IN,
        "give --problem FILE.py:CLASS, where the problem is",
    )
    problem = problem_of(name, info)
    config.check(problem.source == info.source, f"{name} is not what made it")
    return problem


def _verify_run(folder: Folder) -> int:
    """Check what a run has finished so far."""
    info = described(folder)
    journal = Journal(folder, info)
    damage = list(journal.damage())
    for path, what in damage:
        print(f"{path}: damaged: {what}; generate --repair solves for them again")
    blocks = journal.all_blocks()
    total = lock.progress(folder).get("total", info.total)
    print(f"{folder.path}: not finished: {sum(b.count for b in blocks)} of {total} samples")
    return 1
