"""The C templates of this folder. Words after a dollar sign are filled in.

    engine.c.in, vectors.c.in         calls from Python, and lanes of eight numbers
    lanes.c.in, kernels.c.in          values of networks, and of functions about centres, in them
    surrogate.c.in, surrogate.h.in    source and header of every surrogate
    bars.c.in, bars.h.in              their functions for error bars
    covariance.c.in                   and for the covariance of errors, where it is known
    classes.c.in, classes.h.in        their functions for classes, in place of error bars
    network.c.in, radial.c.in,
    anova.c.in, polynomial.c.in       the features of one block, by its kind
    joined.c.in                       the features of several blocks
    phi.c.in, kappa.c.in              activation functions and kernels
    jacobian.c.in                     the body of NAME_jacobian
    logarithms.c.in, optional.c.in    functions and statements that only some surrogates need
    module.f90.in, loader.py.in       the Fortran module and the Python module beside them

The file of the covariance and those of the last four lines have sections; see
`surrogates.export.templates`.
"""

from __future__ import annotations

from collections.abc import Mapping

from .. import templates
from ..templates import filled

__all__ = ["filled", "read", "sections"]

_PACKAGE = "surrogates.export.c"


def read(name: str) -> str:
    """Return the text of a template."""
    return templates.read(_PACKAGE, name)


def sections(name: str) -> Mapping[str, str]:
    """Return the sections of a template by their names."""
    return templates.sections(_PACKAGE, name)
