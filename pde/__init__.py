"""PDE problems to dataset files: the built-in ones, and those of users. Never imports torch.

    from surrogates.pde import Problem, Settings, Solution

is what a problem of one's own starts from; see `surrogates.pde.problem`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .problem import Problem, Settings, Solution

__all__ = ["Problem", "Settings", "Solution"]


def __getattr__(name: str) -> Any:
    """Import what `problem` defines when it is first asked for: processes without it start fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import problem

    return getattr(problem, name)
