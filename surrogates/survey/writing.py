"""Writing of surveys in the unified data format; `unified` reads it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from surrogates.files import atomic
from surrogates.types import Array

if TYPE_CHECKING:
    from .survey import Survey


def write(survey: Survey, path: str | os.PathLike[str]) -> None:
    """Write a survey: places in metres, columns in SI units, with all their digits.

    Raises:
        InputError: If the file cannot be written.
    """
    names = [name for name in survey.values if not np.isnan(survey.values[name]).any()]
    columns = [survey.values[name] for name in names]
    lines = [f"{len(survey.electrodes)}\t# electrodes", "# x y z", *_places(survey.electrodes)]
    lines += [f"{len(survey.data)}\t# data", "\t".join(["# a b m n", *names])]
    for i, datum in enumerate((survey.data + 1).tolist()):
        numbers = [repr(float(column[i])) for column in columns]
        lines.append("\t".join([*map(str, datum), *numbers]))
    lines += [f"{len(survey.topography)}\t# points of topography", *_places(survey.topography)]
    with atomic(path) as beside:
        beside.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _places(places: Array) -> list[str]:
    """Return a line for each place, (n, 3)."""
    return ["\t".join(repr(x) for x in place) for place in places.tolist()]
