"""Provenance: how, when and by which versions a file was made."""

from __future__ import annotations

import datetime
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TypedDict

from . import __version__


class Provenance(TypedDict):
    """How a file was made; the keys are fields of `surrogates.data.Info`.

    Attributes:
        versions: Versions of Python, this package and the libraries used.
        command: The command line.
        created: The time, ISO 8601 in UTC.
        revision: git revision of the code, empty unless it runs from a checkout.
    """

    versions: Mapping[str, str]
    command: str
    created: str
    revision: str


def provenance(*libraries: ModuleType) -> Provenance:
    """Return the provenance of a file that this process writes now.

    Args:
        libraries: Modules whose ``__version__`` may change the content of the file.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "versions": {
            "python": platform.python_version(),
            **{module.__name__: str(module.__version__) for module in libraries},
            "varpro-surrogates": __version__,
        },
        "command": readable(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])),
        "created": now.isoformat(timespec="seconds"),
        "revision": revision(),
    }


def readable(name: str) -> str:
    """Return a file's name as valid text: the bytes of a file system need not be UTF-8."""
    return name.encode(errors="replace").decode()


def revision() -> str:
    """Return the git revision of the checkout that this package runs from, empty elsewhere."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    if not (folder.parent / ".git").exists():  # installed: a repository around it is not its own
        return ""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout.strip()
