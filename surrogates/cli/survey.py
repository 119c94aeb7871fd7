"""The command survey, which says what is in a survey file, and the options that name a survey."""

from __future__ import annotations

import argparse
import json

from .console import print_rows, warn
from .options import Commands


def add_survey(commands: Commands) -> None:
    """Add survey."""
    text = "say what is in a file of a DC resistivity survey, draw it, convert it"
    sub = commands.add("survey", survey, text)
    sub.add_argument("file", metavar="FILE", help=".ohm, .dat, .shm, .csv")
    text = "elevation of flat ground in metres; default: found from the electrodes"
    sub.add_argument("--top", type=float, metavar="M", help=text)
    sub.add_argument("--json", action="store_true", help="print JSON")


def survey(options: argparse.Namespace) -> int:
    """Describe a survey; return 1 if something in it is doubtful."""
    from surrogates.survey import describing, read

    found = describing.describe(read(options.file), options.top)
    if options.json:
        print(json.dumps(found.json(), indent=1))
    else:
        print_rows(found.rows())
        for question in found.questions:
            warn(f"{options.file}: {question}")
    return 1 if found.questions else 0
