"""The command survey, which says what is in a survey file, and the options that name a survey."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.errors import InputError, check

from .console import print_rows, warn
from .options import Commands

if TYPE_CHECKING:
    from surrogates.survey import Survey
    from surrogates.survey.mesh import MeshMade

ARRAY_OPTIONS = ("electrodes", "spacing", "lines", "line_spacing", "levels")
"""Options that describe a made array, besides ``array``; None if they are not given."""


def add_survey(commands: Commands) -> None:
    """Add survey."""
    text = "say what is in a file of a DC resistivity survey, draw it, convert it"
    sub = commands.add("survey", survey, text)
    sub.add_argument("file", nargs="?", metavar="FILE", help=".ohm, .dat, .shm, .csv, Res2DInv")
    add_array_options(sub)
    text = "elevation of flat ground in metres; default: found from the electrodes"
    sub.add_argument("--top", type=float, metavar="M", help=text)
    sub.add_argument("--json", action="store_true", help="print JSON")
    text = "draw pseudosections of its lines, or all data in space; or .pdf, .svg"
    sub.add_argument("--plot", metavar="F.png", help=text)
    text = "draw where the data see homogeneous ground: the sum of the sizes of sensitivities"
    sub.add_argument("--sensitivity", metavar="F.png", help=text)
    text = "draw the sensitivity of one datum, by its number from 1"
    sub.add_argument("--datum", type=int, metavar="N", help=text)
    sub.add_argument("--out", metavar="F.ohm", help="write it in the unified data format")
    text = "leave out of --out outliers, negative resistivities and undefined geometric factors"
    sub.add_argument("--clean", action="store_true", help=text)
    text = "write a mesh of tetrahedra with the electrodes as nodes (needs gmsh)"
    sub.add_argument("--mesh", metavar="F.msh", help=text)
    text = "edges from an electrode of the mesh to its nearest neighbour, 4 by default"
    sub.add_argument("--mesh-cells", type=float, metavar="N", help=text)
    text = "box of the mesh with edges of about H or less, as around a body, in metres"
    numbers = ("X1", "X1", "X2", "X2", "X3", "X3", "H")
    sub.add_argument("--mesh-fine", type=float, nargs=7, metavar=numbers, help=text)
    text = "factor by which all edges of the mesh are shorter, 1 by default"
    sub.add_argument("--mesh-refine", type=float, metavar="N", help=text)


def add_survey_options(sub: argparse.ArgumentParser) -> None:
    """Add the options that name a survey: a file, or a made array."""
    sub.add_argument("--survey", metavar="FILE", help="survey: .ohm, .dat, .shm, .csv, Res2DInv")
    add_array_options(sub)


def add_array_options(sub: argparse.ArgumentParser) -> None:
    """Add the options of a made array."""
    from surrogates.survey.arrays import ARRAYS

    sub.add_argument("--array", choices=ARRAYS, help="made survey in place of FILE")
    for name, kind, metavar, text in (
        ("--electrodes", int, "N", "of a line of the made survey; default 24"),
        ("--spacing", float, "M", "of its electrodes in metres; default 1"),
        ("--lines", int, "N", "of the made survey; default 1"),
        ("--line-spacing", float, "M", "of its lines; default that of the electrodes"),
        ("--levels", int, "N", "largest separation of the made survey in spacings; default all"),
    ):
        sub.add_argument(name, type=kind, metavar=metavar, help=text)


def survey_of(file: str | None, options: argparse.Namespace) -> Survey:
    """Return the survey that options name.

    Args:
        file: The file, or None.
        options: The options of `add_array_options`.

    Raises:
        InputError: If there is neither a file nor an array, or both.
    """
    from surrogates import survey as surveys

    given = {name: getattr(options, name) for name in ARRAY_OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    if file is not None:
        check(
            options.array is None and not given,
            f"give the file {file} or --array with its options, not both",
        )
        return surveys.read(file)
    if options.array is None:
        raise InputError("give the file of a survey, or --array NAME to make one")
    return surveys.made(options.array, **given)


def settings_of(options: argparse.Namespace) -> list[str]:
    """Return the settings of the problem ``ert`` that the options of `add_survey_options` mean.

    Raises:
        InputError: If there is both a file and an array, or an option of an array without one.
    """
    given = {name: getattr(options, name) for name in ("survey", "array", *ARRAY_OPTIONS)}
    given = {name: value for name, value in given.items() if value is not None}
    made = [f"--{name.replace('_', '-')}" for name in given if name not in ("survey", "array")]
    check(
        not ({"survey", "array"} <= given.keys()),
        "give --survey FILE or --array NAME, not both",
    )
    check(not made or "array" in given, f"{', '.join(made)} needs --array NAME")
    if "survey" in given:
        given["file"] = given.pop("survey")
    return [f"survey.{name}={json.dumps(value)}" for name, value in given.items()]


def _wrote(options: argparse.Namespace, path: str) -> None:
    """Say that a file is written, unless JSON is printed."""
    if not options.json:
        print(f"wrote {path}")


def survey(options: argparse.Namespace) -> int:
    """Describe a survey; return 1 if something in it is doubtful."""
    from surrogates.survey import describing

    check(options.datum is None or options.sensitivity, "--datum needs --sensitivity F.png")
    check(not options.clean or options.out is not None, "--clean needs --out F.ohm")
    given = survey_of(options.file, options)
    made = _mesh(given, options) if options.mesh else None
    found = describing.describe(given, options.top)
    if options.json:
        more = {"mesh": dataclasses.asdict(made)} if made else {}
        print(json.dumps({**found.json(), **more}, indent=1))
    else:
        print_rows(found.rows() | ({"mesh": str(made)} if made else {}))
        for question in found.questions:
            warn(f"{found.survey.name}: {question}")
    if options.plot is not None:
        from surrogates.plots.survey import survey as draw

        draw(found, options.plot, title=Path(found.survey.name).name)
        _wrote(options, options.plot)
    if options.sensitivity is not None:
        from surrogates.plots.sensitivity import sensitivities

        datum = None if options.datum is None else options.datum - 1
        sensitivities(found, options.sensitivity, datum, title=Path(found.survey.name).name)
        _wrote(options, options.sensitivity)
    if options.out is not None:
        kept = found.usable() if options.clean else np.ones(len(found.survey.data), dtype=bool)
        check(bool(kept.any()), f"{found.survey.name} has no data that are usable")
        found.survey.select(kept).write(options.out)
        _wrote(options, options.out)
    return 1 if found.questions else 0


def _mesh(survey: Survey, options: argparse.Namespace) -> MeshMade:
    """Write a mesh for a survey."""
    from surrogates.survey.mesh import MeshSettings, write_mesh

    given: dict[str, Any] = {"cells": options.mesh_cells, "refine": options.mesh_refine}
    given["fine"] = options.mesh_fine and tuple(options.mesh_fine)
    settings = MeshSettings(**{key: value for key, value in given.items() if value is not None})
    return write_mesh(survey, options.mesh, settings, top=options.top)
