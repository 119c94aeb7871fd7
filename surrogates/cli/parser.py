"""The command line's parser. The module of each group of commands adds their options."""

from __future__ import annotations

import argparse

from surrogates import __version__

from . import (
    check,
    completion,
    data,
    generate,
    info,
    learn,
    plan,
    plot,
    settings,
    suggest,
    survey,
    train,
    use,
    verify,
)
from .options import Commands, Parser

_COMMANDS = (
    generate.add_generate,
    check.add_check,
    learn.add_learn,
    data.add_import,
    info.add_info,
    verify.add_verify,
    data.add_merge,
    data.add_append,
    plan.add_plan,
    train.add_train,
    use.add_evaluate,
    use.add_predict,
    use.add_export,
    use.add_explore,
    use.add_serve,
    suggest.add_suggest,
    generate.add_solve,
    plot.add_plots,
    survey.add_survey,
    settings.add_settings_command,
    completion.add_completion,
)
"""Each adds a command, in the order of ``surrogates --help``."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = Parser(prog="surrogates", description="PDE surrogates by variable projection.")
    parser.add_argument("--version", action="version", version=f"surrogates {__version__}")
    commands = Commands(parser, "commands", "COMMAND")
    for add in _COMMANDS:
        add(commands)
    return parser
