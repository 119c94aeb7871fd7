"""Survey files of tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surrogates.errors import InputError
from surrogates.survey import Survey, read

LINE = """4
# x z
0 0
1 0
2 0
3 0
1
# a b m n r
1 4 2 3 5.5
"""


def written(folder: Path, text: str, name: str = "file.ohm", encoding: str = "utf-8") -> Path:
    """Write a file and return its path."""
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def parsed(folder: Path, text: str, name: str = "file.ohm", encoding: str = "utf-8") -> Survey:
    """Return the survey of a text."""
    return read(written(folder, text, name, encoding))


def refusal(folder: Path, text: str, name: str = "file.ohm") -> str:
    """Return the message with which a file is refused: one line that names the file."""
    with pytest.raises(InputError) as caught:
        parsed(folder, text, name)
    message = str(caught.value)
    assert "\n" not in message and name in message
    return message


def line_survey(x: list[float], data: list[tuple[int, int, int, int]], **more: object) -> Survey:
    """Return a survey of electrodes along x1; data count from 0."""
    electrodes = np.zeros((len(x), 3))
    electrodes[:, 0] = x
    return Survey(electrodes=electrodes, data=np.array(data), **more)
