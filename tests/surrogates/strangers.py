"""Files of strangers: code that would run, and that they are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import surrogates
from surrogates.errors import InputError

MARK = "written"


def refused(path: Path, message: str) -> None:
    """Check that a file is refused in one line, and has written nothing."""
    before = sorted(os.listdir(path.parent))
    with pytest.raises(InputError, match=message) as caught:
        surrogates.load(path)
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(os.listdir(path.parent)) == before


class Shell:
    """An object that writes `MARK` when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {MARK}",)
