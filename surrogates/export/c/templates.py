"""The C templates of this folder. Words after a dollar sign are filled in.

    engine.c.in, lanes.c.in           calls from Python, and values in lanes of eight
    surrogate.c.in, surrogate.h.in    source and header of every surrogate
    bars.c.in, bars.h.in              their functions for error bars
    classes.c.in, classes.h.in        their functions for classes, in place of error bars
    network.c.in, radial.c.in,
    anova.c.in, polynomial.c.in       the features of one block, by its kind
    joined.c.in                       the features of several blocks
    phi.c.in, kappa.c.in              activation functions and kernels
    jacobian.c.in                     the body of NAME_jacobian
    logarithms.c.in, optional.c.in    functions and statements that only some surrogates need

The files of the last three lines have sections. A section begins after a line ``//: ITS NAME`` and
ends before the next one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources
from string import Template


@functools.cache
def read(name: str) -> str:
    """Return the text of a template."""
    return resources.files("surrogates.export.c").joinpath(name).read_text(encoding="utf-8")


@functools.cache
def sections(name: str) -> Mapping[str, str]:
    """Return the sections of a template by their names."""
    _, *pieces = re.split(r"^//: (.*)\n", read(name), flags=re.MULTILINE)
    return dict(zip(pieces[::2], pieces[1::2], strict=True))


def filled(text: str, words: Mapping[str, object]) -> str:
    """Return a template's text with the words filled in. Each word must be there."""
    return Template(text).substitute(words)
