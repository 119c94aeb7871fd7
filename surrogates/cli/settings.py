"""The command settings, and the lists of settings in the help of other commands."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Iterable
from typing import Any

from surrogates import config
from surrogates.data import TASKS
from surrogates.errors import InputError

from .options import Commands


def add_settings_command(commands: Commands) -> None:
    """Add settings."""
    text = "print the settings of train or of a problem, as a TOML file to start from"
    sub = commands.add("settings", settings, text)
    sub.add_argument("subject", metavar="SUBJECT", help="train, cdr, dcr, ert, or FILE.py:CLASS")
    sub.add_argument(
        "--task", choices=TASKS, default=None, help="of the settings of train; default regression"
    )


def settings(options: argparse.Namespace) -> int:
    """Print the settings of training, or of a problem, as a TOML file."""
    subject, task = options.subject, options.task
    if subject == "train":
        defaults = of_training(task or "regression")
        command = f"train F.h5{' of a classification' * (task == 'classification')}"
        notes = [
            "Training keeps every setting that this file has, and chooses the others by held-out "
            "errors.",
            "So delete the lines that you do not change, except for --effort fast, which chooses "
            "nothing.",
        ]
    else:
        config.check(task is None, "--task is for the settings of train")
        defaults, command, notes = of_problem(subject), f"generate {subject}", []
    if any(one.value is None for one in config.described(defaults)):
        notes.append("A setting that is a comment here is auto: the program chooses it.")
    print(f"# The default settings of: surrogates {command}")
    print("# Change some, and name this file by --config.")
    print(*(f"# {note}" for note in notes), "", config.template(defaults), sep="\n", end="")
    return 0


def of_training(task: str = "regression") -> Any:
    """Return the default settings of a training on datasets of a task."""
    from surrogates.training.config import DEFAULTS

    return DEFAULTS[task]


def of_problem(name: str) -> Any:
    """Return the default settings of a problem: ``cdr``, ``dcr`` or ``FILE.py:CLASS``."""
    from surrogates.pde.problem import BUILT_IN

    known = ("train", *BUILT_IN)
    if ":" not in name and name not in known:
        raise InputError(f"{config.unknown(f'settings {name!r}', name, known)} or FILE.py:CLASS")
    return _defaults(name)


def _defaults(name: str) -> Any:
    """Load a problem and return its default settings; what its file prints goes to stderr."""
    from surrogates.pde.needed import problem_of

    with contextlib.redirect_stdout(sys.stderr):
        return problem_of(name).Config()


def list_of_training(options: Any) -> list[str]:
    """Return the lines of ``train --help`` on its settings."""
    head = "settings, by --set KEY=VALUE or --config; as a file: surrogates settings train"
    return [head, *_listed(config.described(of_training()))]


def list_of_problem(options: Any) -> list[str]:
    """Return the lines of ``generate --help`` on settings, those of a problem if it is named."""
    name = options.problem
    if name is None:
        return [
            "settings depend on the problem: surrogates settings cdr prints those of cdr,",
            "and surrogates generate cdr --help lists them",
        ]
    try:
        found = config.described(_defaults(name))
    except InputError as error:
        return [f"its settings cannot be listed: {error}"]
    head = f"settings, by --set KEY=VALUE or --config; as a file: surrogates settings {name}"
    return [head, *_listed(found)]


def _listed(found: Iterable[config.Setting]) -> list[str]:
    """Return a line for each setting, cut at the width of a terminal."""
    rows = [(f"  {one.key}", _cut(one.shown, 20), one.text) for one in found]
    widths = [max((len(row[i]) for row in rows), default=0) for i in (0, 1)]
    room = shutil.get_terminal_size((1000, 24)).columns
    return [
        _cut(f"{key:{widths[0]}}  {shown:{widths[1]}}  {text}".rstrip(), room)
        for key, shown, text in rows
    ]


def _cut(text: str, width: int) -> str:
    """Return a text of at most ``width`` letters; dots replace the rest."""
    return text if len(text) <= width else f"{text[: width - 3]}..."
