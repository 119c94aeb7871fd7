"""Shared code of the examples as programs: options, one-line errors, and the figure."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from surrogates.config import check_seed
from surrogates.errors import InputError
from surrogates.plots import style as plotting


class Parser(argparse.ArgumentParser):
    """A parser that raises an `InputError` for wrong options."""

    def error(self, message: str) -> NoReturn:
        """Refuse the options in one line."""
        raise InputError(f"{message}; see --help")


def program(
    description: str,
    options: Mapping[str, tuple[int | float | str, str]],
    study: Callable[[argparse.Namespace, Any], None],
    height: float,
    arguments: Sequence[str] | None,
) -> int:
    """Run a program that takes a surrogate and draws a figure.

    Args:
        description: Description of the program, one line.
        options: Default and description of each option, by name; the default has the option's type.
        study: Does the work, with the options and the figure.
        height: Height of the figure, in inches; all figures have one width.
        arguments: The words after the program's name; the process's own if None.

    Returns:
        The exit status: 2, after an error line, for a user's mistake, else 0.
    """
    parser = Parser(description=description)
    parser.add_argument("surrogate", metavar="F.pt")
    for name, (default, text) in options.items():
        parser.add_argument(
            f"--{name}", type=type(default), default=default, help=f"{text}; default {default}"
        )

    def run() -> None:
        given = parser.parse_args(arguments)
        check_seed(given.seed)
        # The figure first: a file that cannot be written is refused before the work.
        with plotting.saved_figure(given.out, (plotting.WIDTH, height), "") as figure:
            study(given, figure)
        print(f"\nfigure: {given.out}")

    return ended(run)


def ended(run: Callable[[], None]) -> int:
    """Run a program; return its exit status: 2, with an error line, for a user's mistake, or 0."""
    try:
        run()
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def say(text: str) -> None:
    """Print the program's progress."""
    print(text, file=sys.stderr, flush=True)


def missing(error: ImportError) -> NoReturn:
    """End a program that lacks a package."""
    print(
        "error: this example needs DOLFINx, petsc4py, mpi4py (scripts/setup.sh), SALib and emcee "
        f"(pip install 'varpro-surrogates[examples]'): {error}",
        file=sys.stderr,
    )
    raise SystemExit(2)
