"""Templates of source code, which lie beside the modules that fill them in.

Words after a dollar sign are filled in. Some templates have sections: a section begins after a line
``//: ITS NAME``, or ``#: ITS NAME`` in Python, and ends before the next one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources
from string import Template


@functools.cache
def read(package: str, name: str) -> str:
    """Return the text of a template.

    Args:
        package: The package that it lies in, such as ``surrogates.export.c``.
        name: Its file's name.
    """
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


@functools.cache
def sections(package: str, name: str) -> Mapping[str, str]:
    """Return the sections of a template by their names."""
    _, *pieces = re.split(r"^(?://|#): (.*)\n", read(package, name), flags=re.MULTILINE)
    return dict(zip(pieces[::2], pieces[1::2], strict=True))


def filled(text: str, words: Mapping[str, object]) -> str:
    """Return a template's text with the words filled in. Each word must be there."""
    return Template(text).substitute(words)
