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

PYGIMLI = """9
# x y z
0 0 0
1 0 0
2 0 0
3 0 0
1.6 0.5 -0.5
1.6 0.5 -1.5
1.6 0.5 -3
4.5 1 0
4.5 1 -2
6
# a b m n err i ip iperr k r rhoa u valid
1 4 2 3 3e-02 0 0 0 6.28318530717959e+00 1.59154943091895e+01 100 0 1
1 0 5 6 3e-02 0 0 0 4.94319700688204e+01 2.02298228981725e+00 100 0 1
5 7 8 9 3e-02 0 0 0 9.93527740164084e+01 1.00651442287343e+00 100 0 1
6 0 9 0 3e-02 0 0 0 2.26952851470718e+01 4.40620152388357e+00 100 0 1
2 5 7 3 3e-02 0 0 0 2.98292474037071e+01 3.35241444903408e+00 100 0 1
1 2 3 4 3e-02 0 0 0 -1.88495559215388e+01 -5.30516476972984e+00 100 0 1
0
"""
"""Electrodes at the surface and in two boreholes; written by pyGIMLi 1.6.1, with its factors k."""


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
