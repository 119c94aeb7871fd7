"""The command survey, which says what is in a survey file, and the options that name a survey."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from .console import print_rows, warn
from .options import Commands

if TYPE_CHECKING:
    from surrogates.survey import Survey
    from surrogates.survey.mesh import MeshMade


def add_survey(commands: Commands) -> None:
    """Add survey."""
    text = "say what is in a file of a DC resistivity survey, draw it, convert it"
    sub = commands.add("survey", survey, text)
    sub.add_argument("file", metavar="FILE", help=".ohm, .dat, .shm, .csv")
    text = "elevation of flat ground in metres; default: found from the electrodes"
    sub.add_argument("--top", type=float, metavar="M", help=text)
    sub.add_argument("--json", action="store_true", help="print JSON")
    text = "write a mesh of tetrahedra with the electrodes as nodes (needs gmsh)"
    sub.add_argument("--mesh", metavar="F.msh", help=text)
    text = "edges from an electrode of the mesh to its nearest neighbour, 4 by default"
    sub.add_argument("--mesh-cells", type=float, metavar="N", help=text)
    text = "factor by which all edges of the mesh are shorter, 1 by default"
    sub.add_argument("--mesh-refine", type=float, metavar="N", help=text)


def survey(options: argparse.Namespace) -> int:
    """Describe a survey; return 1 if something in it is doubtful."""
    from surrogates.survey import describing, read

    given = read(options.file)
    made = _mesh(given, options) if options.mesh else None
    found = describing.describe(given, options.top)
    if options.json:
        more = {"mesh": dataclasses.asdict(made)} if made else {}
        print(json.dumps({**found.json(), **more}, indent=1))
    else:
        print_rows(found.rows() | ({"mesh": str(made)} if made else {}))
        for question in found.questions:
            warn(f"{options.file}: {question}")
    return 1 if found.questions else 0


def _mesh(survey: Survey, options: argparse.Namespace) -> MeshMade:
    """Write a mesh for a survey."""
    from surrogates.survey.mesh import MeshSettings, write_mesh

    given = {"cells": options.mesh_cells, "refine": options.mesh_refine}
    settings = MeshSettings(**{key: value for key, value in given.items() if value is not None})
    return write_mesh(survey, options.mesh, settings, top=options.top)
