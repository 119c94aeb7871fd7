"""Reading of survey files of any format that is known."""

from __future__ import annotations

import os
from collections.abc import Sequence

from surrogates.errors import InputError

from . import res2dinv, tables, unified
from .lines import Line, lines_of
from .survey import Survey


def read(path: str | os.PathLike[str]) -> Survey:
    """Read a survey; its format is recognised by its content, whatever its ending.

    Args:
        path: A file in the unified data format (`unified`), of Res2DInv (`res2dinv`), or a table
            (`tables`).

    Raises:
        InputError: If there is no such file, it has none of these formats, is cut short, or holds
            something wrong; the message names the line.
    """
    lines, name = lines_of(path), os.fspath(path)
    if tables.is_table(lines):
        return tables.parse(lines, name)
    if not any(line.words for line in lines):
        raise InputError(f"{path} holds no numbers")
    if not _is_unified(lines):
        plain = [line for line in lines_of(path, mark=";") if line.text.strip()]
        if res2dinv.is_res2dinv(plain):
            return res2dinv.parse(plain, name)
    first = next(line for line in lines if line.words)
    first.check(
        _is_count(first),
        "expected the number of electrodes (unified data format), a line of names with a, b, m, n "
        "(table), or a title with the spacing and the number of the array below (Res2DInv); got "
        f"{first.text.strip()[:40]!r}",
    )
    return unified.parse(lines, name)


def _is_unified(lines: Sequence[Line]) -> bool:
    """Return whether the first number counts electrodes, and is no title: # names columns below."""
    first = next(line for line in lines if line.words)
    return _is_count(first) and any(line.comment is not None for line in lines)


def _is_count(line: Line) -> bool:
    """Return whether a line holds one number."""
    try:
        float(line.text)
    except ValueError:
        return False
    return True
