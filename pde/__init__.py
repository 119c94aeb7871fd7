"""PDE problems to dataset files: the built-in ones, and those of users. Never imports torch.

    from surrogates.pde import Problem, Settings, Solution
    from surrogates.pde import SOLVER, Batch  # to solve for many samples at a time

is what a problem of one's own starts from; see `surrogates.pde.problem`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .problem import SOLVER, Batch, Problem, Settings, Solution

__all__ = ["SOLVER", "Batch", "Problem", "Settings", "Solution"]


def __getattr__(name: str) -> Any:
    """Import what `problem` defines when it is first asked for: processes without it start fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import problem

    return getattr(problem, name)
