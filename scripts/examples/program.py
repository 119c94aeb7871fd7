"""What the examples are as programs: their options, one-line errors, and the figure they draw."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from surrogates.config import check_seed
from surrogates.errors import InputError
from surrogates.plots import style as plotting


class Parser(argparse.ArgumentParser):
    """A parser of options that raises an `InputError` where it cannot read them."""

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
        description: Of the program, one line.
        options: By name, the default, whose type is that of the option, and what it is.
        study: Does it, with the options and the figure.
        height: Of the figure, in inches; its width is that of all figures.
        arguments: The words after the program's name; those of the process if None.

    Returns:
        The exit status: 2, with one line, for a user's mistake, else 0.
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
    """Run a program, and give its exit status: 2, with one line, for a user's mistake, else 0."""
    try:
        run()
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def say(text: str) -> None:
    """Tell how far the program is."""
    print(text, file=sys.stderr, flush=True)


def missing(error: ImportError) -> NoReturn:
    """End a program that cannot import what it needs."""
    print(
        "error: this example needs DOLFINx, petsc4py, mpi4py (scripts/setup.sh), SALib and emcee "
        f"(pip install 'varpro-surrogates[examples]'): {error}",
        file=sys.stderr,
    )
    raise SystemExit(2)
