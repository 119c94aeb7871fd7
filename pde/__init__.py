"""From PDE problems, built-in or a user's, to dataset files. Never imports torch.

    from surrogates.pde import Problem, Settings, Solution
    from surrogates.pde import SOLVER, Batch  # to solve for many samples at a time

import the base classes of your own problem; see `surrogates.pde.problem`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surrogates.data import SOLVER

    from .fields import Field
    from .problem import Problem, Settings
    from .results import Batch, Solution

_MODULES = {
    "SOLVER": "surrogates.data.format",
    "Batch": "surrogates.pde.results",
    "Field": "surrogates.pde.fields",
    "Problem": "surrogates.pde.problem",
    "Settings": "surrogates.pde.problem",
    "Solution": "surrogates.pde.results",
}

__all__ = ["SOLVER", "Batch", "Field", "Problem", "Settings", "Solution"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: processes without it start fast."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
