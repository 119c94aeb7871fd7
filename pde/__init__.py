"""From PDE problems, built-in or a user's, to dataset files. Never imports torch.

    from surrogates.pde import Problem, Settings, Solution
    from surrogates.pde import SOLVER, Batch  # to solve for many samples at a time

    from surrogates.pde import VariationalProblem, WeakForm, Dirichlet, At, Time  # in weak form

import the base classes of your own problem; see `surrogates.pde.problem` and
`surrogates.pde.variational`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surrogates.data import SOLVER

    from .fenicsx import function_space
    from .fields import Field
    from .problem import Problem, Settings
    from .results import Batch, Solution
    from .simulator import Simulator
    from .variational import At, Dirichlet, Time, VariationalProblem, WeakForm

_MODULES = {
    "SOLVER": "surrogates.data.format",
    "At": "surrogates.pde.variational",
    "Batch": "surrogates.pde.results",
    "Dirichlet": "surrogates.pde.variational",
    "Field": "surrogates.pde.fields",
    "Problem": "surrogates.pde.problem",
    "Settings": "surrogates.pde.problem",
    "Simulator": "surrogates.pde.simulator",
    "Solution": "surrogates.pde.results",
    "Time": "surrogates.pde.variational",
    "VariationalProblem": "surrogates.pde.variational",
    "WeakForm": "surrogates.pde.variational",
    "function_space": "surrogates.pde.fenicsx",
}

__all__ = [
    "SOLVER",
    "At",
    "Batch",
    "Dirichlet",
    "Field",
    "Problem",
    "Settings",
    "Simulator",
    "Solution",
    "Time",
    "VariationalProblem",
    "WeakForm",
    "function_space",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: processes without it start fast."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
