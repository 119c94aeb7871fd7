"""Reading of survey files of any format that is known."""

from __future__ import annotations

import os

from surrogates.errors import InputError

from . import unified
from .lines import lines_of
from .survey import Survey


def read(path: str | os.PathLike[str]) -> Survey:
    """Read a survey; its format is recognised by its content.

    Args:
        path: A file in the unified data format.

    Raises:
        InputError: If there is no such file, it has none of these formats, is cut short, or holds
            something wrong; the message names the line.
    """
    lines = lines_of(path)
    if not any(line.words for line in lines):
        raise InputError(f"{path} holds no numbers")
    return unified.parse(lines, os.fspath(path))
