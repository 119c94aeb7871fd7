"""The parser of the commands, and options that several commands share."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from surrogates.data import PARTS

from .console import complain_once

PROBLEM = "cdr, dcr, ert, or FILE.py:CLASS, one of your own"

Run = Callable[[Any], int]
"""A command: it takes its options and returns the exit status."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, and whose help may end with a list of settings.

    Attributes:
        settings: Returns the lines below the options in ``--help``. Its argument holds the options
            before ``--help``, such as the problem in ``generate cdr --help``.
        counted: Options that may be followed by a number, and are a word by themselves without
            one: in ``--tangents cdr`` the next word is another argument.
    """

    settings: Callable[[Any], Sequence[str]] | None = None
    counted: Sequence[str] = ()

    def __init__(self, **keywords: Any) -> None:
        """Take the keywords of argparse."""
        super().__init__(**keywords, add_help=False)
        self.add_argument(
            "-h",
            "--help",
            action=_Help,
            nargs=0,
            default=argparse.SUPPRESS,
            help="show this help message and exit",
        )

    def add_counted(self, option: str, metavar: str, text: str) -> None:
        """Add an option that is False if absent, True if it is there, or the number after it."""
        self.counted = (*self.counted, option)
        self.add_argument(
            option, nargs="?", type=_count, const=True, default=False, metavar=metavar, help=text
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, but give no word that is no number to `counted` options."""
        words = list(sys.argv[1:] if args is None else args)
        for i, (word, after) in enumerate(itertools.pairwise([*words, "-"])):
            if word in self.counted and not _is_number(after):
                words[i] = f"{word}={_ALL}"
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Complain, and end the process with status 2."""
        complain_once(f"{message}; see '{self.prog} --help'")
        raise SystemExit(2)


_ALL = "all"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _count(text: str) -> bool | int:
    """Read the value of a `Parser.counted` option."""
    if text == _ALL:
        return True
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number; got {text!r}") from None


class _Help(argparse.Action):
    """Print the help and the settings, and end the process."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Print, and end."""
        parser.print_help()
        if isinstance(parser, Parser) and parser.settings is not None:
            print("", *parser.settings(namespace), sep="\n", flush=True)
        parser.exit()


class Commands:
    """The commands of a parser.

    Args:
        parser: The parser.
        title: The heading of the commands' list in the help.
        name: The placeholder of a command in the usage.
    """

    def __init__(self, parser: argparse.ArgumentParser, title: str, name: str) -> None:
        """Make a place for them."""
        self.parser = parser
        self._parsers = parser.add_subparsers(
            title=title, metavar=name, required=True, parser_class=Parser
        )

    def add(self, name: str, run: Run, text: str) -> Parser:
        """Add a command; ``text`` describes it in the list of commands."""
        sub = self.group(name, text)
        sub.set_defaults(run=run)
        return sub

    def group(self, name: str, text: str) -> Parser:
        """Add a command that has commands itself."""
        description = f"{text[0].upper()}{text[1:]}."
        return self._parsers.add_parser(name, help=text, description=description)


def add_settings(sub: Parser, listed: Callable[[Any], Sequence[str]]) -> None:
    """Add the options that set settings.

    Args:
        sub: The parser of the command.
        listed: Returns the lines that list the settings; see `Parser.settings`.
    """
    sub.settings = listed
    sub.add_argument("--config", metavar="F.toml", help="settings; the rest are defaults")
    sub.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override one setting, such as reaction.rate=3; may be repeated",
    )


def add_figure(sub: argparse.ArgumentParser) -> None:
    """Add ``--out`` of a command that draws."""
    sub.add_argument("--out", required=True, metavar="F.png", help="or .pdf, .svg")


def add_part(sub: argparse.ArgumentParser) -> None:
    """Add ``--split`` of a command that takes one part of a dataset."""
    sub.add_argument("--split", choices=PARTS, default="test", help="default test")


def add_split(
    sub: argparse.ArgumentParser, default: str | None = "0.8/0.1/0.1", text: str = "0.8/0.1/0.1"
) -> None:
    """Add ``--split`` of a command that makes a dataset; ``text`` says what the default is."""
    sub.add_argument(
        "--split",
        default=default,
        metavar="A/B/C",
        help="counts or fractions of train, validation and test, or balanced (import of a "
        f"classification); default {text}",
    )


def add_refuse_outside(sub: argparse.ArgumentParser) -> None:
    """Add ``--refuse-outside``."""
    sub.add_argument(
        "--refuse-outside", action="store_true", help="refuse y outside the training domain"
    )


def add_trust(sub: argparse.ArgumentParser) -> None:
    """Add ``--trust`` of a command that reads a surrogate file."""
    sub.add_argument(
        "--trust",
        action="store_true",
        help="load a surrogate file whose code is not known to be harmless",
    )
